"""The proxy port's codecs: SOCKS4, SOCKS5 and HTTP recognised by their first bytes, as pure functions of bytes.

Nothing here reads a socket or waits: the service feeds what a client sent into one :class:`ProxyHandshake` for each
connection and sends what comes back.
"""

from __future__ import annotations

from fwx.proxy.handshake import ProxyHandshake
from fwx.proxy.request import AuthenticationError, Credentials, Demand, HandshakeError, Outcome, ProxyRequest

__all__ = [
    "AuthenticationError",
    "Credentials",
    "Demand",
    "HandshakeError",
    "Outcome",
    "ProxyHandshake",
    "ProxyRequest",
]
