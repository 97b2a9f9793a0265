"""A UDP connection through a firewall in memory: the client's end, the server's, and what became of it."""

from __future__ import annotations

import errno
import os
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fwx.impl.transport import READABLE, Handler
from fwx.impl.udpdestination import State
from fwx.interfaces import E_ACCESSDENIED, HRESULT, SocketAddress

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwx.impl.datagramconnection import FWXDatagramConnection
    from fwx.testing.memory import MemoryNetwork


class MemoryRelay:
    """The client of a UDP connection, as the engine has it (:class:`fwx.impl.transport.DatagramTransport`).

    What it receives comes with the target, what it sends goes with the source, as from an entry.
    """

    def __init__(self, network: MemoryNetwork) -> None:
        self.network = network
        self.fd = network.next_descriptor()
        self.closed = False
        self.sent: list[tuple[bytes, SocketAddress]] = []
        self._inbox: deque[tuple[bytes, tuple[Any, ...]]] = deque()
        self._handler: Handler | None = None

    def say(self, data: bytes, target: SocketAddress) -> None:
        """The client sends a datagram to *target*. :raises OSError: the connection has ended."""
        if self.closed:
            raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
        self._inbox.append((data, target.sockaddr))
        self.network.loop.edge(self)

    def watch(self, handler: Handler) -> None:
        self._handler = handler
        self.network.loop.edge(self)

    def dispatch(self) -> None:
        """Tell the handler what is ready; called by the loop."""
        if self._handler is not None and self._inbox:
            self._handler(READABLE)

    def has_data(self) -> bool:
        return bool(self._inbox)

    def receive(self) -> tuple[bytes, tuple[Any, ...]]:
        if not self._inbox:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return self._inbox.popleft()

    def send_to(self, data: Any, sockaddr: tuple[Any, ...]) -> None:
        self.sent.append((bytes(data), SocketAddress.from_sockaddr(sockaddr)))

    def take_error(self) -> None:
        """There are none."""

    def close(self, abortive: bool) -> None:  # noqa: ARG002  there is no reset
        self.closed = True
        self._handler = None
        self._inbox.clear()


class DatagramClient:
    """The client, driven by the test."""

    ended = was_reset = False

    def __init__(self, relay: MemoryRelay, target: SocketAddress) -> None:
        self._relay = relay
        self._target = target

    def send(self, data: bytes, make_room: Callable[[], bool] = lambda: False) -> None:  # noqa: ARG002  it never waits
        """Send one datagram and let the loop run. :raises OSError: the connection has ended."""
        self._relay.say(data, self._target)
        self._relay.network.loop.run()

    def receive(self) -> list[bytes]:
        """Let the loop run and return the datagrams that have come since the last time."""
        self._relay.network.loop.run()
        received, self._relay.sent = self._relay.sent, []
        return [data for data, _ in received]


class DatagramServer:
    """The server, driven by the test: it answers whoever has sent last."""

    ended = was_reset = False

    def __init__(self, network: MemoryNetwork, address: SocketAddress) -> None:
        self._network = network
        self._socket = network.datagram(address.family)
        self._socket.bind(address.sockaddr)
        self._asker: tuple[Any, ...] | None = None

    def send(self, data: bytes, make_room: Callable[[], bool] = lambda: False) -> None:  # noqa: ARG002  it never waits
        """Send one datagram and let the loop run. :raises AssertionError: nothing has come that it could answer."""
        if self._asker is None:
            raise AssertionError("nobody has sent anything to the server")
        self._socket.send_to(data, self._asker)
        self._network.loop.run()

    def receive(self) -> list[bytes]:
        """Let the loop run and return the datagrams that have come since the last time."""
        self._network.loop.run()
        received = []
        while self._socket.has_data():
            data, self._asker = self._socket.receive()
            received.append(data)
        return received

    def close(self) -> None:
        self._socket.close(False)


@dataclass(slots=True)
class MemoryDatagramConnection:
    """The UDP connection of a client that talks to one target.

    :ivar connection: the service's ``IFWXConnection``. :ivar client: the client's end. :ivar server: the server's.
    """

    connection: FWXDatagramConnection
    client: DatagramClient
    server: DatagramServer
    target: SocketAddress

    @property
    def refused(self) -> HRESULT | None:
        """Why the client's bind was refused, or an error where its target was denied; ``None`` where nothing was."""
        if self.connection.terminating:
            return HRESULT(self.connection.result[0])
        found = next((each for each in self.connection.destinations if each.target == self.target), None)
        return E_ACCESSDENIED if found is not None and found.state is State.DENIED else None

    def established(self) -> tuple[DatagramClient, DatagramServer]:
        """Return both ends."""
        return self.client, self.server
