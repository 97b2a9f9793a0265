"""A network in memory: the peer of ``fwx.network``, without a kernel, without time, the same in every run.

The real endpoints, sockets and chains of the engine run over it, on a :class:`~fwx.testing.memoryloop.MemoryLoop`.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from fwx.impl.transport import ERROR, HANGUP, PEER_CLOSED, READABLE, WRITABLE, Handler
from fwx.interfaces import SocketAddress
from fwx.testing.memorydatagrams import MemoryDatagrams
from fwx.testing.memoryloop import MemoryLoop
from fwx.testing.memorymachine import MemoryMachine, MemoryMachines

CAPACITY = 64 << 10
"""How many bytes one direction of a connection takes before its reader must read."""

_FIRST_PORT = 49152
_FIRST_DESCRIPTOR = 1 << 20


class MemoryTransport:
    """One end of a connection in memory, or a listener (:class:`fwx.impl.transport.Transport`).

    It behaves like a kernel's socket on an edge-triggered poller: bounded room, half-close, resets that overtake
    nothing, a reset where unread data is thrown away.
    """

    fault = ""

    def __init__(self, network: MemoryNetwork, family: int) -> None:
        self.network = network
        self.family = family
        self.fd = network.next_descriptor()
        self.closed = False
        self.peer: MemoryTransport | None = None
        self.local: SocketAddress | None = None
        self.remote: SocketAddress | None = None
        self.backlog: deque[MemoryTransport] | None = None
        self.recv: Callable[[int], bytes] = self._recv
        self.send: Callable[[Any], int] = self._send
        self.recv_into: Callable[[Any], int] = self._recv_into
        self._inbox = bytearray()
        self._ended = False
        self._shut = False
        self._blocked = False
        self._reset = False
        self._error = 0
        self._handler: Handler | None = None
        self._acceptor: Handler | None = None
        self._options: dict[tuple[int, int], int | bytes] = {}
        network.open_transports.add(self)

    # Readiness.

    def watch(self, handler: Handler) -> None:
        self._handler = None if self.closed else handler
        if not self.closed:
            self.network.loop.edge(self)

    def take_over(self, handler: Handler) -> None:
        self._handler = None if self.closed else handler

    def watch_accept(self, handler: Handler) -> None:
        self._acceptor = handler
        self.network.loop.edge(self)

    def pause_accept(self) -> None:
        self._acceptor = None

    def dispatch(self) -> None:
        """Tell the handler what is ready; called by the loop."""
        if self.closed:
            return
        if self._acceptor is not None and self.backlog:
            self._acceptor(READABLE)
            if self._acceptor is not None and self.backlog:
                self.network.loop.edge(self)
        elif self._handler is not None and self.backlog is None:
            mask = self._mask()
            if mask:
                self._handler(mask)

    def _mask(self) -> int:
        failed = bool(self._error) or self._reset
        mask = READABLE if self._inbox or self._ended or failed else 0
        mask |= ERROR if self._error else 0
        mask |= HANGUP if failed or (self._ended and self._shut) else 0
        mask |= PEER_CLOSED if self._ended or failed else 0
        if failed or (self.peer is not None and (self._shut or self.peer.room)):
            mask |= WRITABLE
        return mask

    @property
    def room(self) -> int:
        """How many bytes it takes before its reader must read."""
        return max(self.network.capacity - len(self._inbox), 0)

    # Data.

    def _recv(self, size: int) -> bytes:
        self._require_open()
        if self._inbox:
            block = bytes(self._inbox[:size])
            del self._inbox[:size]
            self._tell_room()
            return block
        self._raise_error()
        if self._ended or self._reset:
            return b""
        if self.peer is None:
            raise _failure(errno.ENOTCONN)
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
            raise _failure(errno.EPIPE)
        peer = self.peer
        if peer is None:
            raise _failure(errno.ENOTCONN)
        view = memoryview(data).cast("B")
        if peer.closed:
            self.take_reset()  # as TCP does it: the bytes leave, a reset answers
            return len(view)
        taken = min(len(view), peer.room)
        self._blocked = taken < len(view)
        if not taken and len(view):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        peer.take_data(view[:taken])
        return taken

    def take_data(self, data: memoryview) -> None:
        """Bytes have come from the peer."""
        self._inbox += data
        self.network.loop.edge(self)

    def take_end(self) -> None:
        """The peer sends no more."""
        self._ended = True
        self.network.loop.edge(self)

    def take_room(self) -> None:
        """The peer has read."""
        if self._blocked:
            self._blocked = False
            self.network.loop.edge(self)

    def take_reset(self) -> None:
        """The peer has reset the connection; what came before can still be read."""
        if not self.closed and not self._reset:
            self._reset = True
            self._error = errno.ECONNRESET
            self.network.loop.edge(self)

    def shutdown_write(self) -> None:
        if self._shut or self.peer is None or self.closed:
            return
        self._shut = True
        if not self._reset:
            self.peer.take_end()
        if self._ended:
            self.network.loop.edge(self)

    def close(self, abortive: bool) -> None:
        if self.closed:
            return
        self.closed = True
        self._handler = self._acceptor = None
        self.network.forget(self)
        peer = self.peer
        if peer is not None and not self._reset:
            if abortive or self._inbox:
                peer.take_reset()
            elif not self._shut:
                peer.take_end()
        for waiting in self.backlog or ():
            waiting.close(True)

    # Connecting.

    def start_connect(self, sockaddr: tuple[Any, ...]) -> None:
        self._require_open()
        listener = self.network.listener_at(sockaddr[0], sockaddr[1])
        if self.local is None:
            self.local = self.network.free_address(self.family)
        if listener is None or listener.backlog is None:
            self._error = errno.ECONNREFUSED
            return
        self.remote = SocketAddress.from_sockaddr(sockaddr)
        accepted = MemoryTransport(self.network, self.family)
        accepted.local, accepted.remote = self.remote, self.local
        accepted.peer, self.peer = self, accepted
        listener.backlog.append(accepted)
        self.network.loop.edge(listener)

    def bind(self, sockaddr: tuple[Any, ...], *, alone: bool = False) -> None:  # noqa: ARG002  it always is
        self._require_open()
        if self.local is not None:
            raise _failure(errno.EINVAL)
        host, port = sockaddr[0], sockaddr[1] or self.network.free_port()
        if self.network.is_bound(host, port):
            raise _failure(errno.EADDRINUSE)
        self.local = SocketAddress(host, port)

    def listen(self, backlog: int) -> None:  # noqa: ARG002  there is room for all
        self._require_open()
        self.backlog = deque()

    def accept(self) -> tuple[MemoryTransport, tuple[Any, ...]]:
        self._require_open()
        if not self.backlog:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        transport = self.backlog.popleft()
        return transport, transport.getpeername()

    # The rest.

    def has_data(self) -> bool:
        return bool(self._inbox) or self._ended or self._reset or bool(self._error)

    def take_error(self) -> int:
        error, self._error = self._error, 0
        return error

    def getsockname(self) -> tuple[Any, ...]:
        self._require_open()
        return (self.local or SocketAddress(_unspecified(self.family))).sockaddr

    def getpeername(self) -> tuple[Any, ...]:
        self._require_open()
        if self.remote is None:
            raise _failure(errno.ENOTCONN)
        return self.remote.sockaddr

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        self._require_open()
        self._options[level, option] = value

    def getsockopt(self, level: int, option: int, length: int) -> bytes:
        self._require_open()
        value = self._options.get((level, option), 0)
        return (value if isinstance(value, bytes) else struct.pack("i", value))[:length]

    def _tell_room(self) -> None:
        if self.peer is not None:
            self.peer.take_room()

    def _raise_error(self) -> None:
        if self._error:
            raise _failure(self.take_error())

    def _require_open(self) -> None:
        if self.closed:
            raise _failure(errno.EBADF)


class MemoryNetwork:
    """Makes the transports of one loop (:class:`fwx.impl.transport.Network`) and joins them.

    :ivar open_transports: the streams that have not been closed, by whoever made them.
    :ivar open_datagrams: likewise the datagram sockets.
    :ivar machines: what adapters, addresses and routes the firewall has.
    """

    def __init__(self, loop: MemoryLoop, capacity: int = CAPACITY) -> None:
        """*capacity* is the room of one direction in bytes."""
        self.loop = loop
        self.capacity = capacity
        self.open_transports: set[MemoryTransport] = set()
        self.open_datagrams: set[MemoryDatagrams] = set()
        self.machines = MemoryMachines(loop)
        self._ports = _FIRST_PORT
        self._given: deque[SocketAddress] = deque()
        self._descriptors = _FIRST_DESCRIPTOR

    def stream(self, family: int) -> MemoryTransport:
        """Make an unconnected stream socket. :raises OSError: *family* is neither IPv4 nor IPv6."""
        if family not in (socket.AF_INET, socket.AF_INET6):
            raise _failure(errno.EAFNOSUPPORT)
        return MemoryTransport(self, family)

    def datagram(self, family: int) -> MemoryDatagrams:
        """Make an unbound datagram socket. :raises OSError: *family* is neither IPv4 nor IPv6."""
        if family not in (socket.AF_INET, socket.AF_INET6):
            raise _failure(errno.EAFNOSUPPORT)
        return MemoryDatagrams(self, family)

    def machine(self, changed: Callable[[], None]) -> MemoryMachine:
        """Follow the adapters, addresses and routes. :raises OSError: ``machines`` is set to fail."""
        return self.machines.follow(changed)

    def pair(self, left: SocketAddress, right: SocketAddress) -> tuple[MemoryTransport, MemoryTransport]:
        """Make two connected ends with these addresses."""
        ends = MemoryTransport(self, left.family), MemoryTransport(self, right.family)
        for end, other, local, remote in ((ends[0], ends[1], left, right), (ends[1], ends[0], right, left)):
            end.peer, end.local, end.remote = other, local, remote
        return ends

    def listen(self, address: SocketAddress) -> MemoryTransport:
        """Make a listener at *address*, port 0 for a free one. :raises OSError: the address is taken."""
        transport = self.stream(address.family)
        try:
            transport.bind(address.sockaddr)
        except OSError:
            transport.close(False)
            raise
        transport.listen(16)
        return transport

    def listener_at(self, host: str, port: int) -> MemoryTransport | None:
        """Return the listener that a connect to *host* and *port* reaches."""
        for transport in self.open_transports:
            local = transport.local
            if transport.backlog is None or local is None or local.port != port:
                continue
            if local.host in (host, _unspecified(transport.family)):
                return transport
        return None

    def is_bound(self, host: str, port: int) -> bool:
        """Tell whether a socket is bound to exactly this place."""
        place = SocketAddress(host, port)
        return any(each.local == place and each.peer is None for each in self.open_transports)

    def datagrams_at(self, address: SocketAddress) -> MemoryDatagrams | None:
        """Return the datagram socket that a datagram to *address* reaches."""
        return next((each for each in self.open_datagrams if each.is_reached_by(address)), None)

    def hand_out(self, *names: SocketAddress) -> None:
        """Have the next streams that take any port get the ports of *names*, in this order; then any others.

        One that connects is called by all of its name. A datagram socket that connects is called by the host of the
        next one, which is how the service finds its own address.
        """
        self._given.extend(names)

    def free_address(self, family: int, *, takes: bool = True) -> SocketAddress:
        """Return a local address for a socket that connects without having been bound; a stream *takes* a name."""
        given = self._given[0] if self._given else None
        if given is not None and given.family == family:
            return self._given.popleft() if takes else given.with_port(self.next_port())
        return SocketAddress("127.0.0.1" if family == socket.AF_INET else "::1", self.next_port())

    def free_port(self) -> int:
        """Return a port for a stream that is bound to any."""
        return self._given.popleft().port if self._given else self.next_port()

    def next_port(self) -> int:
        self._ports += 1
        return self._ports

    def next_descriptor(self) -> int:
        self._descriptors += 1
        return self._descriptors

    def forget(self, transport: MemoryTransport) -> None:
        self.open_transports.discard(transport)


class MemoryPeer:
    """The outside's end of a connection, driven by the test: a client or a server."""

    def __init__(self, transport: MemoryTransport) -> None:
        self._transport = transport
        self._loop = transport.network.loop
        self.ended = False
        self.was_reset = False

    def send(self, data: bytes, make_room: Callable[[], bool] = lambda: False) -> None:
        """Send all of *data*, letting the loop run.

        :param make_room: called when the other side takes no more; tells whether it may again.
        :raises AssertionError: the other side takes no more of it.
        """
        view = memoryview(data)
        while view:
            try:
                view = view[self._transport.send(view) :]
            except BlockingIOError:
                if not make_room():
                    words = f"the other side takes no more: {len(view)} of {len(data)} bytes left"
                    raise AssertionError(words) from None
            self._loop.run()

    def receive(self) -> bytes:
        """Let the loop run and return everything that has come since the last time."""
        self._loop.run()
        received = bytearray()
        while not (self.ended or self.was_reset or self._transport.closed):
            try:
                block = self._transport.recv(CAPACITY)
            except BlockingIOError:
                break
            except OSError:
                self.was_reset = True
                break
            self.ended = not block
            received += block
            self._loop.run()
        return bytes(received)

    def shutdown(self) -> None:
        """Send the end, and go on receiving."""
        self._transport.shutdown_write()
        self._loop.run()

    def close(self) -> None:
        """Leave: by an end, or by a reset where something has not been received."""
        self._transport.close(False)
        self._loop.run()

    def reset(self) -> None:
        """Leave by a reset."""
        self._transport.close(True)
        self._loop.run()


def _unspecified(family: int) -> str:
    return "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104  nothing is bound for real


def _failure(number: int) -> OSError:
    return OSError(number, os.strerror(number))
