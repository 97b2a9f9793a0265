"""The proxy port's codecs: SOCKS5 and HTTP CONNECT recognised by their first byte, as pure functions of bytes.

Nothing here reads a socket or waits: the service feeds what a client sent into one :class:`ProxyHandshake` for each
connection and sends what comes back.
"""

from __future__ import annotations

from fwx.proxy.handshake import ProxyHandshake
from fwx.proxy.request import HandshakeError, Outcome, ProxyRequest

__all__ = ["HandshakeError", "Outcome", "ProxyHandshake", "ProxyRequest"]
