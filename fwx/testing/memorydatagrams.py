"""UDP sockets in memory: bounded, in order, and lossy where nobody listens or there is no room."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Any

from fwx.impl.transport import ERROR, READABLE, WRITABLE, Handler
from fwx.interfaces import SocketAddress

if TYPE_CHECKING:
    from fwx.testing.memory import MemoryNetwork

_LARGEST = 65507


class MemoryDatagrams:
    """One datagram socket in memory (:class:`fwx.impl.transport.DatagramTransport`).

    A datagram to an address that no socket has is answered as ICMP does it: the sender's next receive, or send, fails
    with ``ECONNREFUSED``. One for which its receiver has no room is lost.
    """

    def __init__(self, network: MemoryNetwork, family: int) -> None:
        self.network = network
        self.family = family
        self.fd = network.next_descriptor()
        self.closed = False
        self.local: SocketAddress | None = None
        self.remote: SocketAddress | None = None
        self._inbox: deque[tuple[bytes, SocketAddress]] = deque()
        self._room = network.capacity
        self._errors: deque[tuple[int, SocketAddress]] = deque()
        self._handler: Handler | None = None
        self._options: dict[tuple[int, int], int | bytes] = {}
        network.open_datagrams.add(self)

    # Readiness.

    def watch(self, handler: Handler) -> None:
        self._handler = None if self.closed else handler
        if not self.closed:
            self.network.loop.edge(self)

    def dispatch(self) -> None:
        """Tell the handler what is ready; called by the loop."""
        if self._handler is not None and not self.closed:
            received = READABLE if self._inbox or self._errors else 0
            self._handler(WRITABLE | received | (ERROR if self._errors else 0))

    def has_data(self) -> bool:
        return bool(self._inbox)

    # Data.

    def receive(self) -> tuple[bytes, tuple[Any, ...]]:
        self._require_open()
        self._raise_error()
        if not self._inbox:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        data, source = self._inbox.popleft()
        self._room += len(data) + 1
        return data, source.sockaddr

    def send(self, data: Any) -> None:
        self._require_open()
        if self.remote is None:
            raise _failure(errno.EDESTADDRREQ)
        self.send_to(data, self.remote.sockaddr)

    def send_to(self, data: Any, sockaddr: tuple[Any, ...]) -> None:
        self._require_open()
        self._raise_error()
        block, target = bytes(data), SocketAddress.from_sockaddr(sockaddr)
        if len(block) > _LARGEST:
            raise _failure(errno.EMSGSIZE)
        if target.family != self.family:
            raise _failure(errno.EAFNOSUPPORT)
        if self.local is None:
            self.local = self.network.free_address(self.family, takes=False)
        receiver = self.network.datagrams_at(target)
        if receiver is None:
            self._errors.append((errno.ECONNREFUSED, target))
            self.network.loop.edge(self)
        else:
            receiver.take_datagram(block, self.name_towards(target))

    def take_datagram(self, block: bytes, source: SocketAddress) -> None:
        """A datagram has come; it is lost where there is no room, or where the socket is connected to another peer."""
        if len(block) < self._room and (self.remote is None or self.remote == source):
            self._inbox.append((block, source))
            self._room -= len(block) + 1
            self.network.loop.edge(self)

    def take_error(self) -> tuple[int, tuple[Any, ...] | None] | None:
        if not self._errors:
            return None
        number, target = self._errors.popleft()
        return number, target.sockaddr

    # Names.

    def bind(self, sockaddr: tuple[Any, ...], *, alone: bool = False) -> None:  # noqa: ARG002  it always is
        self._require_open()
        if self.local is not None:
            raise _failure(errno.EINVAL)
        local = SocketAddress(sockaddr[0], sockaddr[1] or self.network.next_port())
        if any(each.local == local for each in self.network.open_datagrams):
            raise _failure(errno.EADDRINUSE)
        self.local = local

    def connect(self, sockaddr: tuple[Any, ...]) -> None:
        self._require_open()
        self.remote = SocketAddress.from_sockaddr(sockaddr)
        if self.local is None:
            self.local = self.network.free_address(self.family, takes=False)
        else:
            self.local = self.name_towards(self.remote)

    def name_towards(self, target: SocketAddress) -> SocketAddress:
        """Return the address that *target* sees: the wildcard address becomes the loopback one."""
        assert self.local is not None
        if self.local.host in ("0.0.0.0", "::"):  # noqa: S104  nothing is bound for real
            return SocketAddress("::1" if ":" in target.host else "127.0.0.1", self.local.port)
        return self.local

    def is_reached_by(self, address: SocketAddress) -> bool:
        if self.local is None or self.local.port != address.port or address.family != self.family:
            return False
        return self.local.host in (address.host, "0.0.0.0", "::")  # noqa: S104  nothing is bound for real

    def getsockname(self) -> tuple[Any, ...]:
        self._require_open()
        unspecified = "::" if self.family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104  likewise
        return (self.local or SocketAddress(unspecified)).sockaddr

    def getpeername(self) -> tuple[Any, ...]:
        self._require_open()
        if self.remote is None:
            raise _failure(errno.ENOTCONN)
        return self.remote.sockaddr

    # The rest.

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        self._require_open()
        self._options[level, option] = value

    def getsockopt(self, level: int, option: int, length: int) -> bytes:
        self._require_open()
        value = self._options.get((level, option), 0)
        return (value if isinstance(value, bytes) else struct.pack("i", value))[:length]

    def close(self, abortive: bool) -> None:  # noqa: ARG002  the protocol's signature; there is no reset
        if not self.closed:
            self.closed = True
            self._handler = None
            self.network.open_datagrams.discard(self)

    def _raise_error(self) -> None:
        if self._errors:
            raise _failure(self._errors[0][0])

    def _require_open(self) -> None:
        if self.closed:
            raise _failure(errno.EBADF)


def _failure(number: int) -> OSError:
    return OSError(number, os.strerror(number))
