"""Between plain text and what goes over the wire: TLS by OpenSSL over memory, or nothing at all."""

from __future__ import annotations

import ssl
from ipaddress import ip_address
from typing import Any, Protocol, cast

from fwx.impl.tlscontext import TlsObject
from fwx.impl.tlsinfo import TlsInfo


class Codec(Protocol):
    """Turns bytes into other bytes; never blocks, never touches a socket.

    :ivar ended: the peer has said that it sends no more.
    """

    ended: bool

    def feed(self, data: bytes | memoryview) -> None:
        """Take what has come over the wire."""

    def feed_end(self) -> None:
        """The wire brings no more."""

    def handshake(self) -> bool:
        """Go on with the handshake; tell whether it is done. :raises ssl.SSLError: it has failed."""

    def read(self, size: int) -> bytes | None:
        """Return at most *size* bytes of plain text, none at the peer's end; ``None`` while more must be fed.

        :raises ssl.SSLError: the peer broke the rules, or ended without saying so.
        """

    def write(self, data: bytes | memoryview) -> None:
        """Take plain text to send. :raises ssl.SSLError: it cannot be sent."""

    def end(self) -> None:
        """Say that no more will be sent. :meth:`read` must have said ``None`` or the end before."""

    def take(self) -> bytes:
        """Return what is to go over the wire."""

    def has_data(self) -> bool:
        """Plain text, the end or an error has been met and not been read."""

    def info(self) -> TlsInfo | None:
        """Return what was agreed on."""


def is_literal(host_name: str) -> bool:
    """Tell whether *host_name* is an IP address."""
    try:
        ip_address(host_name)
    except ValueError:
        return False
    return True


class TlsCodec:
    """TLS by OpenSSL."""

    __slots__ = ("_error", "_input", "_output", "_tls", "ended")

    def __init__(
        self, context: ssl.SSLContext, host_name: str | None = None, session: ssl.SSLSession | None = None
    ) -> None:
        """*host_name* and *session* are of the client role; OpenSSL sends a name, not a literal address, as SNI."""
        self._input, self._output = ssl.MemoryBIO(), ssl.MemoryBIO()
        server_side = context.protocol == ssl.PROTOCOL_TLS_SERVER
        made = context.wrap_bio(self._input, self._output, server_side, host_name, session)
        self._tls = cast("TlsObject", made)
        if host_name is not None and not is_literal(host_name):
            self._tls.requested_name = host_name
        self._error: ssl.SSLError | None = None
        self.ended = False

    def feed(self, data: bytes | memoryview) -> None:
        self._input.write(data)

    def feed_end(self) -> None:
        self._input.write_eof()

    def handshake(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def read(self, size: int) -> bytes | None:
        if self._error is not None:
            raise self._error
        if self.ended:
            return b""
        parts = []
        read = self._tls.read
        try:
            # OpenSSL gives one record at a time.
            while size > 0:
                part = read(size)
                if not part:
                    self.ended = True
                    break
                parts.append(part)
                size -= len(part)
                if not self._input.pending and not self._input.eof:
                    # The end of what was fed, as a rule at the end of a record: spare OpenSSL the question.
                    size = min(size, self._tls.pending())
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            if not parts:
                raise
            self._error = error  # what came before it was sent by the peer
        if parts:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        return b"" if self.ended else None

    def write(self, data: bytes | memoryview) -> None:
        while len(data):
            data = memoryview(data)[self._tls.write(data) :]

    def end(self) -> None:
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            self._error = self._error or error  # the peer's doing; the next read meets it

    def take(self) -> bytes:
        return self._output.read() if self._output.pending else b""

    def has_data(self) -> bool:
        return self.ended or self._error is not None or bool(self._tls.pending())

    def info(self) -> TlsInfo | None:
        tls = self._tls
        cipher = tls.cipher()
        return TlsInfo(
            version=tls.version() or "",
            cipher=cipher[0] if cipher is not None else "",
            alpn=tls.selected_alpn_protocol(),
            server_name=tls.requested_name,
            peer_certificate=tls.getpeercert(True),
            session_reused=bool(tls.session_reused),
        )

    @property
    def session(self) -> ssl.SSLSession | None:
        """The session as far as it can be resumed now."""
        session: Any = self._tls.session
        return session if session is not None and (session.has_ticket or session.id) else None


class PlainCodec:
    """A tunnel: everything passes as it is."""

    __slots__ = ("_input", "_output", "_over", "ended")

    def __init__(self) -> None:
        self._input = bytearray()
        self._output = bytearray()
        self._over = False
        self.ended = False

    def feed(self, data: bytes | memoryview) -> None:
        self._input += data

    def feed_end(self) -> None:
        self._over = True

    def handshake(self) -> bool:
        return True

    def read(self, size: int) -> bytes | None:
        if not self._input:
            self.ended = self._over
            return b"" if self.ended else None
        block = bytes(self._input[:size])
        del self._input[:size]
        return block

    def write(self, data: bytes | memoryview) -> None:
        self._output += data

    def end(self) -> None:
        """The end of the wire is the end of the tunnel."""

    def take(self) -> bytes:
        taken = bytes(self._output)
        self._output.clear()
        return taken

    def has_data(self) -> bool:
        return bool(self._input) or self._over

    def info(self) -> TlsInfo | None:
        return None
