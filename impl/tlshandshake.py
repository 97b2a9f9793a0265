"""The handshake that lays TLS over a transport, in either role, before a deadline."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from fwx.impl.clienthello import HANDSHAKE, described
from fwx.impl.tlscontext import words
from fwx.impl.tlstransport import TlsTransport
from fwx.impl.winsock import winsock_code
from fwx.interfaces.hresult import WSAECONNABORTED, WSAETIMEDOUT

if TYPE_CHECKING:
    from fwx.impl.deadline import DeadlineQueue
    from fwx.impl.runqueue import RunQueue
    from fwx.impl.stragglers import Stragglers
    from fwx.impl.tlscodec import Codec
    from fwx.impl.tlsrole import Role
    from fwx.impl.transport import Transport

_BLOCK: Final = 16 << 10
_ALERT: Final = 0x15


class Secured(NamedTuple):
    """How a handshake has ended.

    :ivar transport: the plain side, ``None`` where the handshake failed; the transport underneath is then the caller's
        again. :ivar code: the Windows error then, with *reason* in words. :ivar alert: what TLS has the peer told.
    """

    transport: TlsTransport | None
    code: int = 0
    reason: str = ""
    alert: bytes = b""


class TlsHandshake:
    """One handshake over *lower*, which belongs to it until *done* is called, once.

    Application data that comes with the handshake stays with the transport that is made. Before OpenSSL may say
    anything, a peer that does not begin as TLS does is recognised by its first byte.
    """

    __slots__ = ("_codec", "_deadline", "_done", "_ended", "_first", "_lower", "_peer", "_pending", "_queue", "_role",
                 "_stragglers")  # fmt: skip

    def __init__(
        self,
        lower: Transport,
        role: Role,
        first: bytes,
        peer: str,
        queue: RunQueue,
        stragglers: Stragglers,
        deadlines: DeadlineQueue,
        done: Callable[[Secured], None],
    ) -> None:
        """:param first: what has come over *lower* already. :param peer: who it is, for the reasons: *the client*."""
        self._lower = lower
        self._role = role
        self._first = first
        self._peer = peer
        self._queue = queue
        self._stragglers = stragglers
        self._done: Callable[[Secured], None] | None = done
        self._codec: Codec | None = None
        self._ended = False
        self._pending = b""
        self._deadline = deadlines.add(self._timed_out)

    def start(self) -> None:
        """Begin; *done* is called later."""
        self._lower.watch(self._event)

    def cancel(self) -> None:
        """Give up: *done* is not called, the transport underneath is reset."""
        self._settle()
        self._lower.close(True)

    def _event(self, _mask: int) -> None:
        if self._done is None:
            return
        try:
            self._flush()
            while (secured := self._advance()) is None:
                self._take(self._lower.recv(_BLOCK))
        except BlockingIOError:
            return
        except ssl.SSLError as error:
            secured = self._refused(error)
        except OSError as error:
            reason = f"{self._peer} went away during the TLS handshake: {error.strerror}"
            secured = Secured(None, winsock_code(error), reason)
        self._finish(secured)

    def _take(self, data: bytes) -> None:
        self._ended = not data
        if self._codec is None:
            self._first += data
        elif data:
            self._first = self._first or data[:8]
            self._codec.feed(data)
        else:
            self._codec.feed_end()

    def _advance(self) -> Secured | None:
        """Go on with what is there; return how it has ended.

        :raises ssl.SSLError: the handshake failed. :raises OSError: the connection did.
        """
        foreign = self._foreign()
        if foreign:
            return Secured(None, WSAECONNABORTED, foreign)
        codec = self._codec
        if codec is None:
            codec = self._codec = self._role.begin(self._first, self._ended)
            if codec is None:
                return None
            codec.feed(self._first)
            if self._ended:
                codec.feed_end()
        is_done = codec.handshake()
        self._pending += codec.take()
        self._flush()
        if not is_done:
            return None
        return Secured(TlsTransport(self._lower, codec, self._role, self._pending, self._queue, self._stragglers))

    def _foreign(self) -> str:
        """Say what the peer speaks where its first byte is not of TLS, or ``""``. A server may begin with an alert."""
        if not self._first or self._first[0] in (HANDSHAKE, _ALERT):
            return ""
        return f"{self._peer} does not speak TLS: {described(self._first)}"

    def _flush(self) -> None:
        """Send what is to be sent; what finds no room waits for the next edge."""
        try:
            while self._pending:
                self._pending = self._pending[self._lower.send(self._pending) :]
        except BlockingIOError:
            return

    def _refused(self, error: ssl.SSLError) -> Secured:
        alert = b"" if self._codec is None else self._codec.take()
        if isinstance(error, ssl.SSLEOFError):
            when = "during the TLS handshake" if self._first else "before a TLS handshake"
            reason = f"{self._peer} ended the connection {when}"
        else:
            reason = f"the TLS handshake failed: {words(error)}"
        return Secured(None, WSAECONNABORTED, reason, self._pending + alert)

    def _timed_out(self) -> None:
        self._finish(Secured(None, WSAETIMEDOUT, "the TLS handshake was not complete before the deadline"))

    def _finish(self, secured: Secured) -> None:
        done = self._done
        self._settle()
        assert done is not None
        done(secured)

    def _settle(self) -> None:
        self._deadline.cancel()
        self._done = None
