"""What two ends of a TLS connection agreed on, and how a filter asks an SSL socket for it."""

from __future__ import annotations

from dataclasses import dataclass

from zope.interface import Interface


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """The result of a handshake.

    :ivar version: ``TLSv1.2`` or ``TLSv1.3``.
    :ivar cipher: OpenSSL's name of the cipher suite.
    :ivar alpn: the application protocol that was agreed on; ``None`` for none.
    :ivar server_name: the host name that the client asked for (SNI); ``None`` where it asked for none.
    :ivar peer_certificate: the peer's certificate in DER; ``None`` where it showed none.
    :ivar session_reused: an earlier session was resumed: there was no full handshake.
    """

    version: str
    cipher: str
    alpn: str | None
    server_name: str | None
    peer_certificate: bytes | None
    session_reused: bool


class ITls(Interface):
    """What an SSL socket knows of its TLS. ``ITls(socket)`` gives it, and a ``TypeError`` for other sockets."""

    def tls_info() -> TlsInfo | None:
        """Return what was agreed on; ``None`` before the handshake is done, and for ever in a tunnel."""

    def is_tunnel() -> bool:
        """Tell whether the peer spoke no TLS and is passed through as it is, which tunnelling mode allows."""
