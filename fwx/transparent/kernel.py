"""What Linux offers to see and to use addresses that are not this machine's (ip(7), ipv6(7)).

The socket module has no names for most of the options.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Protocol

from fwx.interfaces import SocketAddress

IP_TRANSPARENT = 19
IPV6_TRANSPARENT = 75
_IP_RECVORIGDSTADDR = 20
_IPV6_RECVORIGDSTADDR = 74
# SO_ORIGINAL_DST of netfilter, and IP6T_SO_ORIGINAL_DST, which is the same number at another level.
_ORIGINAL_DST = 80

_SOCKADDR_IN = struct.Struct("!2xH4s8x")
_SOCKADDR_IN6 = struct.Struct("!2xHI16sI")
ANCILLARY_BYTES = socket.CMSG_SPACE(_SOCKADDR_IN6.size)
"""Room for what comes with a datagram."""


class Options(Protocol):
    """A socket, or a transport of the engine."""

    def setsockopt(self, level: int, option: int, value: int, /) -> None: ...


class Readable(Protocol):
    """A transport of the engine."""

    def getsockopt(self, level: int, option: int, length: int, /) -> bytes: ...


def make_transparent(sock: Options, family: int) -> None:
    """Let *sock* be bound to, and speak for, any address. :raises PermissionError: this process may not."""
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
    except PermissionError as error:
        raise PermissionError(errno.EPERM, "a transparent socket needs the capability CAP_NET_ADMIN") from error


def ask_destinations(sock: Options, family: int) -> None:
    """Have each datagram of *sock* come with the address that it was sent to."""
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVORIGDSTADDR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVORIGDSTADDR, 1)


def destination_of(ancillary: Iterable[tuple[int, int, bytes]]) -> SocketAddress | None:
    """Return where a datagram was sent, by what came with it; ``None`` where the kernel does not say."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_RECVORIGDSTADDR):
            return _ipv4(data)
        if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_RECVORIGDSTADDR):
            return _ipv6(data)
    return None


def redirected_from(transport: Readable, family: int) -> SocketAddress:
    """Return where the client of an accepted connection wanted to go before netfilter redirected it.

    Of a connection that nobody redirected that is where it arrived.

    :raises OSError: the kernel follows no connection of this kind, so nothing can have redirected it.
    """
    if family == socket.AF_INET6:
        data = transport.getsockopt(socket.IPPROTO_IPV6, _ORIGINAL_DST, _SOCKADDR_IN6.size)
        return _ipv6(data)
    data = transport.getsockopt(socket.IPPROTO_IP, _ORIGINAL_DST, _SOCKADDR_IN.size)
    return _ipv4(data)


def _ipv4(data: bytes) -> SocketAddress:
    port, host = _SOCKADDR_IN.unpack_from(data)
    return SocketAddress(str(IPv4Address(host)), port)


def _ipv6(data: bytes) -> SocketAddress:
    port, _, host, _ = _SOCKADDR_IN6.unpack_from(data)
    return SocketAddress(str(IPv6Address(host)), port)


def bound_for_nobody(sock: socket.socket, sockaddr: tuple[Any, ...]) -> None:
    """Bind a transparent UDP *sock* so that it sends from *sockaddr* and gets nothing that is sent there.

    It is connected to a port of loopback, from where no packet comes in: the kernel gives it what comes from there
    alone, and so leaves what clients send to the listener. It may send to anybody still.

    :raises OSError: it cannot be bound.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(sockaddr)
    sock.connect(("::1" if sock.family == socket.AF_INET6 else "127.0.0.1", _DISCARD))


_DISCARD = 9


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
