"""The commands of the command line, one module each; :mod:`fwx.cli` imports them by name."""
