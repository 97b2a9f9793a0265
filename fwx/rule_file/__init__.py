"""The rules of a configuration file, edited in place: what a command does not touch stays as it is, byte for byte."""
