"""The clients of one UDP port, told apart by their addresses: each has a transport of its own."""

from __future__ import annotations

import errno
import os
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

from fwx.impl.transport import READABLE, Handler

if TYPE_CHECKING:
    from fwx.interfaces import SocketAddress

MOST_WAITING: Final = 256
"""Datagrams of one client that wait for its connection to take them; more are lost."""

MOST_LARGE_WAITING: Final = 8
"""The same for those of more than :data:`LARGE` bytes."""

LARGE: Final = 2048
"""Bytes of a datagram that is larger than what networks carry whole."""


class Port(Protocol):
    """The port that the clients send to.

    :ivar fd: its descriptor. :ivar address: where it is bound.
    """

    fd: int
    address: SocketAddress

    def send_to(self, data: Any, client: SocketAddress, source: tuple[Any, ...]) -> None:
        """Send a client what came for it from *source*. :raises OSError: no room, ..."""


class ClientDatagrams:
    """One client of a port, as a datagram transport of the engine.

    What it receives comes with the target, what it sends goes with the source.

    :ivar source: the client's address. :ivar moved: whether anything has passed since somebody looked.
    """

    __slots__ = ("_handler", "_inbox", "_port", "closed", "fd", "moved", "source")

    def __init__(self, port: Port, source: SocketAddress) -> None:
        self._port = port
        self._inbox: deque[tuple[bytes, tuple[Any, ...]]] = deque()
        self._handler: Handler | None = None
        self.source = source
        self.fd = port.fd
        self.closed = False
        self.moved = True

    def take(self, data: bytes, target: tuple[Any, ...]) -> None:
        """A datagram of this client for *target* has come."""
        if self.closed or len(self._inbox) >= (MOST_WAITING if len(data) <= LARGE else MOST_LARGE_WAITING):
            return
        self.moved = True
        self._inbox.append((data, target))
        if self._handler is not None:
            self._handler(READABLE)

    def watch(self, handler: Handler) -> None:
        self._handler = handler
        if self._inbox:
            handler(READABLE)

    def receive(self) -> tuple[bytes, tuple[Any, ...]]:
        if not self._inbox:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return self._inbox.popleft()

    def send_to(self, data: Any, sockaddr: tuple[Any, ...]) -> None:
        self.moved = True
        self._port.send_to(data, self.source, sockaddr)

    def take_error(self) -> None:
        """The port's socket serves all clients: its errors are nobody's."""
        return

    def has_data(self) -> bool:
        return bool(self._inbox)

    def getsockname(self) -> tuple[Any, ...]:
        return self._port.address.sockaddr

    def close(self, abortive: bool) -> None:
        self.closed = True
        self._handler = None
        self._inbox.clear()
