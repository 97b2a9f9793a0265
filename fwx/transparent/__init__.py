"""Transparent listeners: what the kernel diverts to this machine on its way to somebody else."""
