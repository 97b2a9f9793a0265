"""The real network: non-blocking sockets on one edge-triggered epoll set that the event loop watches.

The set is itself a descriptor that any loop can watch, so uvloop and asyncio behave alike and a connection costs one
``epoll_ctl`` per socket for its whole life, whatever its flow control does.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import select
import socket
import struct
from collections.abc import Callable
from typing import Any, Protocol

from fwx.impl.runqueue import TURN_SECONDS, RunQueue
from fwx.impl.transport import Handler
from fwx.netlink import NetlinkMachine

logger = logging.getLogger("fwx.network")

_EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
# Events that are handled before the time is looked at; each may move some megabytes.
_BATCH = 32
# Rounds of events handled before the loop gets its turn for timers and signals, which it gets sooner where they take
# longer than TURN_SECONDS.
_ROUNDS = 32
_RESET = struct.pack("ii", 1, 0)
# The C class below socket.socket: without the latter's IntEnum, files and counts, which nothing here needs.
_Socket = socket.SocketType
_STREAM = int(socket.SOCK_STREAM)
_STREAM_AT_ONCE = _STREAM | int(socket.SOCK_NONBLOCK)
_UNDER_WAY = (0, errno.EINPROGRESS, errno.EAGAIN, errno.EALREADY)
# The socket module has no names for these (ip(7), ipv6(7)).
_IP_RECVERR = 11
_IPV6_RECVERR = 25
_LARGEST_DATAGRAM = 0xFFFF


class Closable(Protocol):
    """A socket, or another owner of a descriptor."""

    def fileno(self) -> int: ...

    def close(self) -> None: ...


class Poller:
    """Dispatches readiness to handlers and drains the run queue after each batch. One per event loop.

    :ivar handlers: by the number of the descriptor; whose handler is replaced here is not told again what is ready.
    """

    __slots__ = ("_epoll", "_gone", "_loop", "handlers", "queue")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start watching on *loop*; :meth:`close` ends it."""
        self._loop = loop
        self.queue = RunQueue(loop.call_soon, loop.call_soon_threadsafe)
        self._epoll = select.epoll()
        self.handlers: dict[int, Handler] = {}
        # The numbers of what was closed during this batch of events.
        self._gone: set[int] = set()
        loop.add_reader(self._epoll.fileno(), self._dispatch)

    def __len__(self) -> int:
        """The number of watched descriptors; 0 when every socket has been closed."""
        return len(self.handlers)

    def watch(self, fd: int, handler: Handler) -> None:
        """Have *handler* called with what is ready now and at every edge of *fd*, in place of a handler there was."""
        if fd in self.handlers:
            self._epoll.modify(fd, _EDGES)
        else:
            self._epoll.register(fd, _EDGES)
        self.handlers[fd] = handler

    def watch_level(self, fd: int, handler: Handler) -> None:
        """Have *handler* called as long as *fd* can be read: for listening sockets."""
        self._epoll.register(fd, select.EPOLLIN)
        self.handlers[fd] = handler

    def release(self, descriptor: Closable) -> None:
        """Close *descriptor*, one of several for its open file: the kernel does not take such a one out of the set."""
        self.pause(descriptor.fileno())
        self.retire(descriptor)

    def retire(self, sock: Closable, fd: int = -1) -> None:
        """Close *sock* and drop it: the kernel takes a closed descriptor out of the set. *fd* is its number, if known.

        Another socket can get its number at once; the events that are left of this batch are not for that one.
        """
        if fd < 0:
            fd = sock.fileno()
        self.handlers.pop(fd, None)
        self._gone.add(fd)
        sock.close()

    def pause(self, fd: int) -> None:
        """Stop watching an open *fd*."""
        if self.handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        """Stop watching. Sockets are their owners' to close."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self.handlers.clear()

    def _dispatch(self) -> None:
        handlers, gone = self.handlers, self._gone
        poll = self._epoll.poll
        drain, clock = self.queue.drain, self.queue.clock
        end = clock() + TURN_SECONDS
        for _ in range(_ROUNDS):
            events = poll(0, _BATCH)
            if not events:
                return
            gone.clear()
            for fd, mask in events:
                handler = handlers.get(fd)
                if handler is None or fd in gone:
                    continue
                try:
                    handler(mask)
                except Exception:
                    logger.exception("the handler of descriptor %d failed", fd)
            drain()
            if self._epoll.closed or clock() > end:
                return


class KernelSocket:
    """A socket of the kernel on the poller (:class:`fwx.impl.transport.LocalTransport`)."""

    __slots__ = ("_closed", "_poller", "_sock", "fd")

    def __init__(self, sock: socket.SocketType, poller: Poller) -> None:
        """Take over *sock*, which becomes non-blocking."""
        if sock.gettimeout() != 0:
            sock.setblocking(False)
        self._sock = sock
        self._poller = poller
        self._closed = False
        self.fd = sock.fileno()

    def watch(self, handler: Handler) -> None:
        if not self._closed:
            self._poller.watch(self.fd, handler)

    def take_over(self, handler: Handler) -> None:
        handlers = self._poller.handlers
        if self.fd in handlers and not self._closed:
            handlers[self.fd] = handler

    def bind(self, sockaddr: tuple[Any, ...], *, alone: bool = False) -> None:  # noqa: ARG002  see transport
        self._sock.bind(sockaddr)

    def getsockname(self) -> tuple[Any, ...]:
        name: tuple[Any, ...] = self._sock.getsockname()
        return name

    def getpeername(self) -> tuple[Any, ...]:
        name: tuple[Any, ...] = self._sock.getpeername()
        return name

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        self._sock.setsockopt(level, option, value)

    def getsockopt(self, level: int, option: int, length: int) -> bytes:
        return self._sock.getsockopt(level, option, length)

    def has_data(self) -> bool:
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def close(self, abortive: bool) -> None:
        if not self._closed:
            self._closed = True
            if abortive:
                self._set_abortive()
            self._poller.retire(self._sock, self.fd)

    def _set_abortive(self) -> None:
        """Have the close reset the connection, where there is one."""


class SocketTransport(KernelSocket):
    """A TCP socket of the kernel, as the engine sees it (:class:`fwx.impl.transport.Transport`)."""

    fault = ""

    __slots__ = ("recv", "recv_into", "send")

    def __init__(self, sock: socket.SocketType, poller: Poller, *, has_no_delay: bool = False) -> None:
        """Take over *sock*, which becomes non-blocking, with Nagle's algorithm off; *has_no_delay*: it is already."""
        super().__init__(sock, poller)
        if not has_no_delay:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.recv: Callable[[int], bytes] = sock.recv
        self.recv_into: Callable[[Any], int] = sock.recv_into
        self.send: Callable[[Any], int] = sock.send

    def start_connect(self, sockaddr: tuple[Any, ...]) -> None:
        number = self._sock.connect_ex(sockaddr)  # which raises nothing where it only has to wait
        if number not in _UNDER_WAY:
            raise OSError(number, os.strerror(number))

    def take_error(self) -> int:
        return self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def bind(self, sockaddr: tuple[Any, ...], *, alone: bool = False) -> None:
        if not alone:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        super().bind(sockaddr)

    def listen(self, backlog: int) -> None:
        self._sock.listen(backlog)
        # Nobody can take the port of a listening socket; what its connections leave behind is to be in nobody's way.
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def watch_accept(self, handler: Handler) -> None:
        """Have *handler* called while connections wait."""
        self._poller.watch_level(self.fd, handler)

    def pause_accept(self) -> None:
        """Let connections wait in the backlog until :meth:`watch_accept` is called again."""
        self._poller.pause(self.fd)

    def accept(self) -> tuple[SocketTransport, tuple[Any, ...]]:
        # Without the class around the C one, whose making costs more than the call of the kernel. Linux hands the
        # options of the listening socket on.
        fd, sockaddr = self._sock._accept()  # type: ignore[attr-defined]  # what accept of socket.socket calls
        sock = _Socket(self._sock.family, _STREAM, self._sock.proto, fd)
        return SocketTransport(sock, self._poller, has_no_delay=True), sockaddr

    def shutdown_write(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            logger.debug("shutdown of descriptor %d: %s", self.fd, error)

    def _set_abortive(self) -> None:
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError as error:
            logger.debug("SO_LINGER on descriptor %d: %s", self.fd, error)


class SocketDatagrams(KernelSocket):
    """A UDP socket of the kernel (:class:`fwx.impl.transport.DatagramTransport`), which hears of ICMP errors."""

    __slots__ = ("_recv", "_recv_message", "_send", "_send_to")

    def __init__(self, sock: socket.SocketType, poller: Poller) -> None:
        """Take over *sock*, which becomes non-blocking."""
        super().__init__(sock, poller)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        self._recv = sock.recvfrom
        self._recv_message = sock.recvmsg
        self._send = sock.send
        self._send_to = sock.sendto

    def connect(self, sockaddr: tuple[Any, ...]) -> None:
        self._sock.connect(sockaddr)

    def receive(self) -> tuple[bytes, tuple[Any, ...]]:
        return self._recv(_LARGEST_DATAGRAM)

    def receive_with(self, ancillary_bytes: int) -> tuple[bytes, list[tuple[int, int, bytes]], tuple[Any, ...]]:
        """Take one datagram, what the kernel says with it, and its source. :raises OSError: as ``receive``."""
        data, ancillary, _, source = self._recv_message(_LARGEST_DATAGRAM, ancillary_bytes)
        return data, ancillary, source

    def send(self, data: Any) -> None:
        self._send(data)

    def send_to(self, data: Any, sockaddr: tuple[Any, ...]) -> None:
        self._send_to(data, sockaddr)

    def take_error(self) -> tuple[int, tuple[Any, ...] | None] | None:
        """Read the socket's queue of errors (ip(7)): the datagram's target, and a ``sock_extended_err`` beside it."""
        try:
            _, ancillary, _, target = self._sock.recvmsg(0, 512, socket.MSG_ERRQUEUE)
        except BlockingIOError:
            number = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            return (number, None) if number else None
        for level, kind, data in ancillary:
            if (level, kind) in ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)):
                (number,) = struct.unpack_from("=I", data)
                return number, target or None
        return None


class SocketNetwork:
    """Makes the transports of one service (:class:`fwx.impl.transport.Network`)."""

    __slots__ = ("poller",)

    def __init__(self, poller: Poller) -> None:
        self.poller = poller

    def stream(self, family: int) -> SocketTransport:
        return SocketTransport(_Socket(family, _STREAM_AT_ONCE), self.poller)

    def datagram(self, family: int) -> SocketDatagrams:
        return SocketDatagrams(socket.socket(family, socket.SOCK_DGRAM), self.poller)

    def machine(self, changed: Callable[[], None]) -> NetlinkMachine:
        return NetlinkMachine(self.poller, changed)
