"""ftp: reads the control stream of FTP (RFC 959, RFC 2428), opens the data ports, and refuses what breaks its rules."""

from fwx.filters.ftp.filter import FtpFilter, FtpOptions

__all__ = ["FtpFilter", "FtpOptions"]
