"""The numbers of SOCKS5 (RFC 1928) that both sides of it speak."""

from __future__ import annotations

from typing import Final

CONNECT: Final = 0x01
BIND: Final = 0x02
UDP_ASSOCIATE: Final = 0x03
RESOLVE: Final = 0xF0
"""Tor's extension: the address of a name. With the same number in SOCKS4a (socks-extensions section 2)."""
RESOLVE_PTR: Final = 0xF1
"""Tor's extension: the name of an address."""

NO_AUTHENTICATION: Final = 0x00
USER_PASSWORD: Final = 0x02
"""User name and password (RFC 1929)."""
NO_ACCEPTABLE_METHOD: Final = 0xFF

IPV4: Final = 0x01
NAME: Final = 0x03
IPV6: Final = 0x04
