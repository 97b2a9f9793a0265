"""dns: checks the messages of DNS (RFC 1035) over UDP and TCP, and refuses what breaks its rules or the policy."""

from fwx.filters.dns.filter import DnsFilter, DnsOptions

__all__ = ["DnsFilter", "DnsOptions"]
