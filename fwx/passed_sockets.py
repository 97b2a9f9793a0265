"""Sockets that systemd has opened and passed to the service (sd_listen_fds(3)), each for the listener of its name."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, MutableMapping
from typing import Any, Final

from fwx.interfaces import SocketAddress
from fwx.listener import ListenError
from fwx.network import KernelSocket, Poller, SocketDatagrams, SocketNetwork, SocketTransport

_FIRST: Final = 3
_PID, _COUNT, _NAMES = "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"
_KINDS: Final[dict[int, str]] = {socket.SOCK_STREAM: "ListenStream", socket.SOCK_DGRAM: "ListenDatagram"}


class PassedSockets:
    """What was passed, by name; ``serve`` makes it once, and closes what no listener has taken."""

    def __init__(self, sockets: Iterable[tuple[str, socket.socket]] = ()) -> None:
        """Take over *sockets*. :raises ListenError: two have one name."""
        self._sockets: dict[str, socket.socket] = {}
        twice = ""
        for name, sock in sockets:
            if name in self._sockets:
                twice = name
                sock.close()
            else:
                self._sockets[name] = sock
        if twice:
            self.close()
            raise ListenError(f"two sockets named {twice!r} were passed; each needs a FileDescriptorName of its own")

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str], pid: int) -> PassedSockets:
        """Take what *environment* says was passed to the process *pid*, and take the variables away.

        Programs that the service starts get neither.

        :raises ListenError: the variables contradict each other, or a descriptor is no socket.
        """
        told, count, names = (environment.pop(name, "") for name in (_PID, _COUNT, _NAMES))
        if told != str(pid):
            return cls()  # they are meant for another process, or there are none
        if not count.isdecimal():
            raise ListenError(f"{_COUNT}={count!r}: expected the number of sockets that were passed")
        known = names.split(":") if names else ["unknown"] * int(count)
        if len(known) != int(count):
            raise ListenError(f"{_NAMES}={names!r}: expected {count} names, as {_COUNT} says")
        return cls([(name, _socket(name, number)) for number, name in enumerate(known, _FIRST)])

    def network_for(self, name: str, network: SocketNetwork) -> SocketNetwork:
        """Return what the listener *name* makes its socket with: the one that was passed for it, or *network*."""
        sock = self._sockets.pop(name, None)
        return network if sock is None else PassedNetwork(network.poller, sock)

    def check_all_taken(self, listeners: Iterable[str]) -> None:
        """:raises ListenError: a socket was passed for none of *listeners*."""
        for name in self._sockets:
            words = (
                f"a socket named {name!r} was passed, and no listener has that name: FileDescriptorName must be one of"
            )
            raise ListenError(f"{words} {', '.join(map(repr, listeners))}")

    def close(self) -> None:
        """Close what no listener has taken."""
        while self._sockets:
            self._sockets.popitem()[1].close()


def _socket(name: str, number: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=number)
    except OSError as error:
        raise ListenError(f"descriptor {number}, passed as {name!r}, is no socket: {error.strerror}") from error
    sock.set_inheritable(False)
    return sock


class PassedNetwork(SocketNetwork):
    """Makes one socket, the one that was passed; what a listener asks of it is compared with what it is."""

    __slots__ = ("_sock",)

    def __init__(self, poller: Poller, sock: socket.socket) -> None:
        super().__init__(poller)
        self._sock = sock

    def stream(self, family: int) -> SocketTransport:
        self._check(family, socket.SOCK_STREAM)
        if not self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            self._refuse("it does not listen; Accept must be no")
        return PassedStream(self._sock, self.poller)

    def datagram(self, family: int) -> SocketDatagrams:
        self._check(family, socket.SOCK_DGRAM)
        return PassedDatagrams(self._sock, self.poller)

    def _check(self, family: int, kind: int) -> None:
        if self._sock.type != kind:
            self._refuse(f"it is of another kind; expected {_KINDS[kind]}")
        if self._sock.family != family:
            self._refuse(f"it is of the family {self._sock.family.name}; expected {socket.AddressFamily(family).name}")

    def _refuse(self, why: str) -> None:
        self._sock.close()
        raise _unfit(why)


class _Passed(KernelSocket):
    """A socket that somebody else has bound, and keeps open."""

    __slots__ = ()

    def bind(self, sockaddr: tuple[Any, ...], *, alone: bool = False) -> None:  # noqa: ARG002  it is bound already
        """Compare; port 0 is any."""
        have, wanted = (SocketAddress.from_sockaddr(each) for each in (self.getsockname(), sockaddr))
        if have.address != wanted.address or wanted.port not in (0, have.port):
            raise _unfit(f"it is bound to {have}; its unit and bind must agree")

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        if (level, option) != (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
            super().setsockopt(level, option, value)
        elif self._sock.getsockopt(level, option) != value:  # it cannot be changed once bound
            raise _unfit("it takes IPv4 too; expected BindIPv6Only=ipv6-only")

    def close(self, abortive: bool) -> None:  # noqa: ARG002  there is nothing to reset
        if not self._closed:
            self._closed = True
            self._poller.release(self._sock)


class PassedStream(_Passed, SocketTransport):
    """A listening TCP socket that was passed."""

    __slots__ = ()


class PassedDatagrams(_Passed, SocketDatagrams):
    """A UDP socket that was passed."""

    __slots__ = ()


def _unfit(why: str) -> OSError:
    return OSError(errno.EINVAL, f"the socket that was passed does not fit: {why}")
