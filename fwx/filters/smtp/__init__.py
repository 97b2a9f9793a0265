"""smtp: checks the commands, the replies and the messages of SMTP (RFC 5321), and refuses what breaks its rules."""

from fwx.filters.smtp.filter import SmtpFilter, SmtpOptions

__all__ = ["SmtpFilter", "SmtpOptions"]
