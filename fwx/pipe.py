"""A connection inside the process: two ends that the engine takes for sockets."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn

from fwx.impl.transport import ERROR, HANGUP, PEER_CLOSED, READABLE, WRITABLE, Handler

if TYPE_CHECKING:
    from fwx.impl.runqueue import RunQueue

CAPACITY: Final = 64 << 10
"""Bytes that one direction of a pipe takes before its reader must read."""


class PipeEnd:
    """One end of a pipe (:class:`fwx.impl.transport.Transport`), on the loop thread alone.

    It behaves as a TCP socket of the kernel does on an edge-triggered poller: bounded room, half-close, a reset where
    unread data is thrown away. Edges are told through the run queue, never inside the call that made them.
    """

    fault = ""

    __slots__ = (
        "_blocked",
        "_edge_is_due",
        "_ended",
        "_error",
        "_handler",
        "_inbox",
        "_names",
        "_peer",
        "_queue",
        "_reset",
        "_shut",
        "closed",
        "fd",
        "recv",
        "recv_into",
        "send",
    )

    def __init__(self, queue: RunQueue, local: tuple[Any, ...], remote: tuple[Any, ...]) -> None:
        """Made by :func:`pipe`; *local* and *remote* are what the engine gets as its names."""
        self.fd = -1
        self.closed = False
        self.recv: Callable[[int], bytes] = self._recv
        self.recv_into: Callable[[Any], int] = self._recv_into
        self.send: Callable[[Any], int] = self._send
        self._queue = queue
        self._names = local, remote
        self._peer: PipeEnd = self
        self._inbox = bytearray()
        self._ended = False
        self._shut = False
        self._blocked = False
        self._reset = False
        self._error = 0
        self._handler: Handler | None = None
        self._edge_is_due = False

    # Readiness.

    def watch(self, handler: Handler) -> None:
        if not self.closed:
            self._handler = handler
            self._edge()

    def take_over(self, handler: Handler) -> None:
        self.watch(handler)

    def _edge(self) -> None:
        if self._handler is not None and not self._edge_is_due:
            self._edge_is_due = True
            self._queue.post(self._dispatch)

    def _dispatch(self) -> None:
        self._edge_is_due = False
        if self._handler is not None:
            mask = self._mask()
            if mask:
                self._handler(mask)

    def _mask(self) -> int:
        failed = self._reset or bool(self._error)
        mask = READABLE if self._inbox or self._ended or failed else 0
        mask |= ERROR if self._error else 0
        mask |= HANGUP if failed or (self._ended and self._shut) else 0
        mask |= PEER_CLOSED if failed or self._ended else 0
        mask |= WRITABLE if failed or self._shut or self._peer.room else 0
        return mask

    @property
    def room(self) -> int:
        """How many bytes it takes before its reader must read."""
        return max(CAPACITY - len(self._inbox), 0)

    def has_data(self) -> bool:
        return bool(self._inbox) or self._ended or self._reset

    # Data.

    def _recv(self, size: int) -> bytes:
        self._require_open()
        if self._inbox:
            block = bytes(memoryview(self._inbox)[:size])
            del self._inbox[:size]
            self._peer._take_room()
            return block
        self._raise_error()
        if self._ended or self._reset:
            return b""
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _recv_into(self, target: Any) -> int:
        view = memoryview(target).cast("B")
        block = self._recv(len(view))
        view[: len(block)] = block
        return len(block)

    def _send(self, data: Any) -> int:
        self._require_open()
        self._raise_error()
        if self._shut or self._reset:
            _fail(errno.EPIPE)
        view = memoryview(data).cast("B")
        peer = self._peer
        if peer.closed:
            self._take_reset()  # as TCP does it: the bytes leave, a reset answers
            return len(view)
        taken = min(len(view), peer.room)
        if taken < len(view):
            self._blocked = True
            if not taken:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        peer._inbox += view[:taken]
        peer._edge()
        return taken

    def _take_room(self) -> None:
        if self._blocked:
            self._blocked = False
            self._edge()

    def _take_end(self) -> None:
        self._ended = True
        self._edge()

    def _take_reset(self) -> None:
        if not self.closed and not self._reset:
            self._reset = True
            self._error = errno.ECONNRESET
            self._edge()

    def take_error(self) -> int:
        error, self._error = self._error, 0
        return error

    def _raise_error(self) -> None:
        error = self.take_error()
        if error:
            _fail(error)

    def _require_open(self) -> None:
        if self.closed:
            _fail(errno.EBADF)

    # The end.

    def shutdown_write(self) -> None:
        if not self._shut and not self.closed:
            self._shut = True
            if not self._reset:
                self._peer._take_end()
            if self._ended:
                self._edge()

    def close(self, abortive: bool) -> None:
        if self.closed:
            return
        self.closed = True
        self._handler = None
        if not self._reset:
            if abortive or self._inbox:
                self._peer._take_reset()
            elif not self._shut:
                self._peer._take_end()
        self._inbox = bytearray()

    # Names, and what a pipe has not.

    def getsockname(self) -> tuple[Any, ...]:
        return self._names[0]

    def getpeername(self) -> tuple[Any, ...]:
        return self._names[1]

    def bind(self, sockaddr: tuple[Any, ...], *, alone: bool = False) -> None:  # noqa: ARG002
        _fail(errno.EINVAL)

    def start_connect(self, sockaddr: tuple[Any, ...]) -> None:  # noqa: ARG002
        _fail(errno.EISCONN)

    def listen(self, backlog: int) -> None:  # noqa: ARG002
        _fail(errno.EINVAL)

    def watch_accept(self, handler: Handler) -> None:  # noqa: ARG002
        _fail(errno.EINVAL)

    def pause_accept(self) -> None:
        _fail(errno.EINVAL)

    def accept(self) -> NoReturn:
        _fail(errno.EINVAL)

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:  # noqa: ARG002
        _fail(errno.ENOPROTOOPT)

    def getsockopt(self, level: int, option: int, length: int) -> NoReturn:  # noqa: ARG002
        _fail(errno.ENOPROTOOPT)


def pipe(queue: RunQueue, near: tuple[Any, ...], far: tuple[Any, ...]) -> tuple[PipeEnd, PipeEnd]:
    """Make two connected ends; *near* and *far* are the names that they tell, as ``sockaddr`` tuples."""
    ends = PipeEnd(queue, near, far), PipeEnd(queue, far, near)
    ends[0]._peer, ends[1]._peer = ends[1], ends[0]
    return ends


def _fail(number: int) -> NoReturn:
    raise OSError(number, os.strerror(number))
