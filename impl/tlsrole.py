"""The two roles of a TLS connection: how each begins, and what each keeps for the next time."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Protocol

from fwx.impl.clienthello import HANDSHAKE, read_greeting
from fwx.impl.tlscodec import Codec, PlainCodec, TlsCodec

if TYPE_CHECKING:
    from fwx.impl.tlscredentials import TlsCredentials


class Role(Protocol):
    def begin(self, first: bytes, last: bool) -> Codec | None:
        """Return the codec for a peer whose first bytes are *first*; ``None`` while they do not tell which.

        *last*: no more will come.
        """

    def remember(self, codec: Codec) -> None:
        """Keep what the next connection can use; called when data has been received, and at the end."""


class ClientRole:
    """Speaks first; resumes its last session with the server."""

    __slots__ = ("_anonymous", "_credentials", "_host_name")

    def __init__(self, credentials: TlsCredentials, host_name: str | None, *, anonymous: bool) -> None:
        """:param host_name: the server's, checked and written as certificates write it. :param anonymous: show no
        certificate.
        """
        self._credentials = credentials
        self._host_name = host_name
        self._anonymous = anonymous

    def begin(self, first: bytes, last: bool) -> Codec | None:
        host_name, session = self._host_name, None
        if host_name is not None:
            session = self._credentials.session_for(host_name, anonymous=self._anonymous)
        return TlsCodec(self._credentials.client_context(anonymous=self._anonymous), host_name, session)

    def remember(self, codec: Codec) -> None:
        if self._host_name is not None and isinstance(codec, TlsCodec):
            session = codec.session
            if session is not None:
                self._credentials.keep_session(self._host_name, session, anonymous=self._anonymous)


class ServerRole:
    """Waits for the client's first bytes where they decide something: the credentials, or whether it is TLS at all."""

    __slots__ = ("_allows_tunnel", "_asks", "_credentials")

    def __init__(self, credentials: TlsCredentials, *, asks: bool, allows_tunnel: bool) -> None:
        """:param asks: want a certificate. :param allows_tunnel: pass a peer through that speaks no TLS."""
        self._credentials = credentials
        self._asks = asks
        self._allows_tunnel = allows_tunnel

    def begin(self, first: bytes, last: bool) -> Codec | None:
        """:raises ssl.SSLError: the client asks for a name that is none, at which Python's ``ssl`` would stumble."""
        credentials = self._credentials
        if self._allows_tunnel:
            if not first and not last:
                return None
            if first and first[0] != HANDSHAKE:
                return PlainCodec()
        greeting = read_greeting(first)
        if not greeting.complete and not last:
            return None
        if greeting.name is not None and not greeting.name.isascii():
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, "the host name that the client asks for is not ASCII")
        return TlsCodec(credentials.for_name(greeting.name).server_context(asks=self._asks))

    def remember(self, codec: Codec) -> None:
        """Sessions of the server role are OpenSSL's to keep, or with the client in tickets."""
