"""TLS over a transport, which is a transport again: pump, endpoints and entries do not know the difference."""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn

from fwx.impl.tlscontext import words
from fwx.impl.transport import ENDING, OUTPUT, READABLE, WRITABLE, Handler

if TYPE_CHECKING:
    from fwx.impl.runqueue import RunQueue
    from fwx.impl.stragglers import Stragglers
    from fwx.impl.tlscodec import Codec
    from fwx.impl.tlsrole import Role
    from fwx.impl.transport import Transport

# Plain text that one send encrypts at most; so much may wait for the peer before the next send blocks.
_MOST: Final = 256 << 10
# A peer can have TLS answer again and again (KeyUpdate): when so much waits that it does not take, it is at fault.
_MOST_WAITING: Final = 2 * _MOST
# What a peer may send at one turn that brings no plain text; then the others have theirs.
_MOST_FRUITLESS: Final = 64 << 10
# What a record costs beside its plain text, and the rest of one that is begun.
_OVERHEAD: Final = 512
# Blocks that are read and thrown away when the transport is closed with data unread.
_DISCARDS: Final = 16


class TlsTransport:
    """The plain side of a connection whose handshake is done (:class:`fwx.impl.transport.Transport`).

    Readiness is that of the transport underneath, told on to the handler; what OpenSSL holds back makes an edge of its
    own, through the run queue. close_notify is FIN on this side: an end without it is an error, after everything that
    came before it (RFC 8446, 6.1). What the peer does not take is bounded by one block, which stays behind when the
    transport is closed in order, until it is taken.

    :ivar fault: what was wrong with the peer's TLS, in words; empty while all is well.
    """

    __slots__ = (
        "_closed",
        "_codec",
        "_edge_is_due",
        "_end_is_due",
        "_ending",
        "_error",
        "_handler",
        "_lower",
        "_pending",
        "_plain",
        "_queue",
        "_role",
        "_shut",
        "_stragglers",
        "fault",
        "fd",
        "recv",
        "recv_into",
        "send",
    )

    def __init__(
        self, lower: Transport, codec: Codec, role: Role, pending: bytes, queue: RunQueue, stragglers: Stragglers
    ) -> None:
        """Take over *lower*; *pending* is to be sent over it first. :class:`fwx.impl.tlshandshake.TlsHandshake` makes
        it."""
        self.fd = lower.fd
        self.fault = ""
        self.recv: Callable[[int], bytes] = self._recv
        self.recv_into: Callable[[Any], int] = self._recv_into
        self.send: Callable[[Any], int] = self._send
        self._lower = lower
        self._codec = codec
        self._role: Role | None = role
        self._queue = queue
        self._stragglers = stragglers
        self._pending: Any = pending or None
        # Plain text that was read before it was asked for, which shutting down makes necessary.
        self._plain = b""
        # What the next call that receives fails with, where something came before it.
        self._error: OSError | None = None
        self._handler: Handler | None = None
        self._edge_is_due = False
        self._ending = 0
        self._shut = False
        self._end_is_due = False
        self._closed = False
        lower.watch(self._event)

    # Readiness.

    def watch(self, handler: Handler) -> None:
        if not self._closed:
            self._handler = handler
            self._edge()

    def take_over(self, handler: Handler) -> None:
        self.watch(handler)

    def _edge(self) -> None:
        """Have the handler look again, soon."""
        if not self._edge_is_due and self._handler is not None:
            self._edge_is_due = True
            self._queue.post(self._dispatch)

    def _dispatch(self) -> None:
        self._edge_is_due = False
        if self._handler is not None:
            self._handler(READABLE | self._ending | (WRITABLE if self._pending is None else 0))

    def _event(self, mask: int) -> None:
        if mask & ENDING:
            self._ending |= mask & ENDING
        if self._pending is not None and mask & OUTPUT:
            try:
                self._flush()
            except OSError:
                # The connection is gone: whoever sends or receives next hears of it; of a straggler nobody does.
                if self._closed:
                    self._leave(True)
            if self._pending is not None:
                mask &= ~WRITABLE
        if self._handler is not None and mask:
            self._handler(mask)

    def has_data(self) -> bool:
        if not self._plain and not self._codec.has_data():
            try:
                self._plain = self._recv(_OVERHEAD)
            except BlockingIOError:
                return False
            except OSError:
                return True
        return True

    # Data.

    def _recv(self, size: int) -> bytes:
        """Return up to *size* bytes; fewer only where the transport underneath has no more for the moment.

        :raises ssl.SSLError: the peer broke the rules of TLS, or ended without close_notify.
        """
        if self._closed:
            _fail(errno.EBADF)
        if self._plain:
            block, self._plain = self._plain[:size], self._plain[size:]
            self._edge()
            return block
        if self._error is not None:
            self._failed(self._error)
            raise self._error
        codec = self._codec
        try:
            received = codec.read(size)
            if received is None or 0 < len(received) < size:
                received = self._fill(size, received)
        except ssl.SSLError as error:
            self._failed(error)
            raise
        self._carry()
        if self.waiting > _MOST_WAITING and self._error is None:
            self._error = ssl.SSLError(ssl.SSL_ERROR_SSL, "the peer has TLS answer without end and takes no answer")
            if received is None:
                self._failed(self._error)
                raise self._error
        if received is None:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if 0 < len(received) < size and (self._error is not None or codec.has_data()):
            self._edge()  # the end, or an error, is behind it
        return received

    def _fill(self, size: int, block: bytes | None) -> bytes | None:
        """Feed OpenSSL until *size* bytes are there or the transport underneath has no more."""
        codec = self._codec
        parts = [] if block is None else [block]
        left = size - len(block or b"")
        is_drained = False
        fruitless = 0
        while left and not is_drained:
            if fruitless > _MOST_FRUITLESS:
                self._queue.defer(self._dispatch)
                break
            wanted = left + (left >> 6) + _OVERHEAD
            try:
                data = self._lower.recv(wanted)
                if data:
                    codec.feed(data)
                    fruitless += len(data)
                    is_drained = len(data) < wanted and not self._ending
                else:
                    codec.feed_end()
                block = codec.read(left)
            except BlockingIOError:
                break
            except OSError as error:
                if not parts:
                    raise
                self._error = error  # what came before it was sent by the peer
                break
            if block is not None:
                fruitless = 0
                parts.append(block)
                left -= len(block)
                if not block:
                    break
        if not parts:
            return None
        self._remember()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _recv_into(self, target: Any) -> int:
        view = memoryview(target).cast("B")
        block = self._recv(len(view))
        view[: len(block)] = block
        return len(block)

    def _send(self, data: Any) -> int:
        """Take up to a block of *data*. :raises BlockingIOError: the last one has not been taken yet."""
        if self._closed:
            _fail(errno.EBADF)
        if self._shut:
            _fail(errno.EPIPE)
        if self._pending is not None and not self._flush():
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        part = data if len(data) <= _MOST else memoryview(data)[:_MOST]
        try:
            self._codec.write(part)
        except ssl.SSLError as error:
            self._failed(error)
            raise
        self._pending = self._codec.take()
        self._flush()
        return len(part)

    def _carry(self) -> None:
        """Send what OpenSSL has to say by itself; an error is met by whoever sends or receives next."""
        said = self._codec.take()
        if said:
            self._pending = said if self._pending is None else bytes(self._pending) + said
            try:
                self._flush()
            except OSError:
                self._pending = None

    def _flush(self) -> bool:
        """Send what is pending; tell whether nothing is left. :raises OSError: the connection is gone."""
        pending = self._pending
        try:
            sent = self._lower.send(pending) if pending else 0
        except BlockingIOError:
            return False
        if sent < len(pending):
            self._pending = memoryview(pending)[sent:]
            return False
        self._pending = None
        if self._end_is_due:
            self._end_is_due = False
            self._lower.shutdown_write()
        if self._closed:
            self._leave(False)
        return True

    def _failed(self, error: OSError) -> None:
        """Where the peer's TLS is broken, it gets the alert that OpenSSL has for it."""
        if isinstance(error, ssl.SSLError) and not self.fault:
            self.fault = f"TLS failed: {words(error)}"
            self._carry()

    def _remember(self) -> None:
        """Keep the session, once data has come: by then its tickets have."""
        role, self._role = self._role, None
        if role is not None:
            role.remember(self._codec)

    # The end.

    def shutdown_write(self) -> None:
        """Send close_notify behind what is pending, then FIN."""
        if self._closed or self._shut:
            return
        self._end_write()
        if self._pending is None:
            self._lower.shutdown_write()
        else:
            self._end_is_due = True

    def _end_write(self) -> None:
        self._shut = True
        if self.fault or self._error is not None:
            return
        # OpenSSL would throw away what has come and has not been read.
        parts = [self._plain]
        try:
            while block := self._codec.read(_MOST):
                parts.append(block)
        except ssl.SSLError as error:
            self._failed(error)
        self._plain = b"".join(parts)
        self._codec.end()
        self._carry()
        if self._plain or self._codec.has_data():
            self._edge()

    def close(self, abortive: bool) -> None:
        if self._closed:
            return
        self._handler = None
        if not abortive and not self._shut:
            self._end_write()
        self._closed = True
        self._plain = b""
        if abortive or self._pending is None:
            self._close_lower(abortive)
        else:
            self._stragglers.add(self)

    def abort(self) -> None:
        """Nobody takes what was pending when the transport was closed."""
        self._leave(True)

    def _leave(self, abortive: bool) -> None:
        self._pending = None
        self._stragglers.discard(self)
        self._close_lower(abortive)

    def _close_lower(self, abortive: bool) -> None:
        """Close what is underneath; with something unread the kernel would reset it and throw away what was sent."""
        try:
            for _ in range(0 if abortive else _DISCARDS):
                if not self._lower.recv(_MOST):
                    break
        except OSError:
            pass
        self._lower.close(abortive)

    @property
    def waiting(self) -> int:
        """Bytes that the transport underneath has not taken."""
        return 0 if self._pending is None else len(self._pending)

    # What is the transport's underneath, and what a connection has not.

    def take_error(self) -> int:
        return self._lower.take_error()

    def getsockname(self) -> tuple[Any, ...]:
        return self._lower.getsockname()

    def getpeername(self) -> tuple[Any, ...]:
        return self._lower.getpeername()

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        self._lower.setsockopt(level, option, value)

    def getsockopt(self, level: int, option: int, length: int) -> bytes:
        return self._lower.getsockopt(level, option, length)

    def bind(self, sockaddr: tuple[Any, ...], *, alone: bool = False) -> None:
        _fail(errno.EINVAL)

    def start_connect(self, sockaddr: tuple[Any, ...]) -> None:
        _fail(errno.EISCONN)

    def listen(self, backlog: int) -> None:
        _fail(errno.EINVAL)

    def watch_accept(self, handler: Handler) -> None:
        _fail(errno.EINVAL)

    def pause_accept(self) -> None:
        _fail(errno.EINVAL)

    def accept(self) -> NoReturn:
        _fail(errno.EINVAL)


def _fail(number: int) -> NoReturn:
    raise OSError(number, os.strerror(number))
