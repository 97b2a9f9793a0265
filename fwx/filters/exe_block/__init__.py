"""exe-block: holds each file of an FTP download back until it is known to be no program (behaviour topic 12)."""

from fwx.filters.exe_block.filter import ExeBlock, ExeBlockOptions

__all__ = ["ExeBlock", "ExeBlockOptions"]
