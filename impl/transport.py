"""What the engine needs of the network: the host hands in an object with this shape (``fwx.network``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

# Bits of the mask that a handler gets; the numbers of Linux's epoll, so that the poller passes them through.
READABLE = 0x001
WRITABLE = 0x004
ERROR = 0x008
HANGUP = 0x010
PEER_CLOSED = 0x2000
ENDING = ERROR | HANGUP | PEER_CLOSED
INPUT = READABLE | ENDING
OUTPUT = WRITABLE | ERROR | HANGUP

Handler = Callable[[int], None]


class Transport(Protocol):
    """One non-blocking stream socket. Readiness comes as edges: a handler is told once until the call would block."""

    fd: int
    recv: Callable[[int], bytes]
    send: Callable[[Any], int]
    recv_into: Callable[[Any], int]

    def watch(self, handler: Handler) -> None:
        """Have *handler* called with a mask: soon with what is ready now, then at every edge of readiness.

        It replaces the handler there was.
        """

    def start_connect(self, sockaddr: tuple[Any, ...]) -> None:
        """Begin to connect; the watching handler is told when it has ended. :raises OSError: it failed at once."""

    def take_error(self) -> int:
        """Return and clear the pending socket error, an errno or 0."""

    def bind(self, sockaddr: tuple[Any, ...]) -> None: ...

    def listen(self, backlog: int) -> None: ...

    def watch_accept(self, handler: Handler) -> None:
        """Have *handler* called while connections wait to be accepted."""

    def pause_accept(self) -> None:
        """Leave waiting connections in the backlog until :meth:`watch_accept` is called again."""

    def accept(self) -> tuple[Transport, tuple[Any, ...]]:
        """Take one connection. :raises BlockingIOError: there is none. :raises OSError: it failed."""

    def getsockname(self) -> tuple[Any, ...]: ...

    def getpeername(self) -> tuple[Any, ...]: ...

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None: ...

    def getsockopt(self, level: int, option: int, length: int) -> bytes: ...

    def shutdown_write(self) -> None:
        """Send FIN. A connection that has gone already is left as it is."""

    def close(self, abortive: bool) -> None:
        """Give the descriptor back; *abortive* resets the connection. Closing twice does nothing."""


class Network(Protocol):
    """Makes transports."""

    def stream(self, family: int) -> Transport:
        """Make an unconnected TCP socket of *family*. :raises OSError: out of descriptors or unknown family."""
