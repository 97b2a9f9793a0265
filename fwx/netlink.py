"""The machine's adapters, addresses and routes by rtnetlink(7), and the notice that something about them has changed.

One socket hears the kernel's notices and throws them away: whoever wants to know reads everything anew, so a notice
that the kernel has dropped (``ENOBUFS``) costs nothing but another read. A read is a socket of its own with three
dumps, which the kernel answers while it is asked.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_interface
from typing import TYPE_CHECKING, Final

from fwx.impl.machine import NOWHERE, AddressState, MachineState, RouteState
from fwx.impl.networks import AddressRange

if TYPE_CHECKING:
    from fwx.network import Poller

logger = logging.getLogger("fwx.netlink")

# linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h; the socket module has none of them.
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_NEWLINK, _RTM_GETLINK = 16, 18
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_NLM_F_REQUEST, _NLM_F_DUMP, _NLM_F_DUMP_INTR = 0x01, 0x300, 0x10
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_PRIORITY, _RTA_MULTIPATH, _RTA_TABLE = 1, 4, 6, 9, 15
_RT_TABLE_MAIN, _RT_TABLE_LOCAL = 254, 255
_RTN_UNICAST, _RTN_LOCAL = 1, 2
_RTN_NOWHERE: Final = frozenset({6, 7, 8})  # blackhole, unreachable, prohibit
_KINDS: Final = frozenset({_RTN_UNICAST, _RTN_LOCAL, *_RTN_NOWHERE})
_GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # links, IPv4 and IPv6 addresses, IPv4 and IPv6 routes

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_HOP = struct.Struct("=HBBi")  # struct rtnexthop
_NUMBER = struct.Struct("=I")
_ROOM: Final = 1 << 18
# A dump during which something changed is not whole; after so many of them the last one has to do.
_TRIES: Final = 5
_SECONDS: Final = 2.0

Attributes = dict[int, bytes]


class NetlinkMachine:
    """This machine, as the kernel tells (:class:`fwx.impl.machine.Machine`)."""

    __slots__ = ("_changed", "_closed", "_notices", "_poller")

    def __init__(self, poller: Poller, changed: Callable[[], None]) -> None:
        """Listen to the kernel; *changed* is called on the loop thread, once for all notices that wait.

        :raises OSError: the process may not have such a socket (``EAFNOSUPPORT`` in a sandbox without ``AF_NETLINK``),
            or there are no descriptors.
        """
        self._poller = poller
        self._changed = changed
        self._closed = False
        self._notices = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        try:
            self._notices.bind((0, _GROUPS))
        except OSError:
            self._notices.close()
            raise
        poller.watch(self._notices.fileno(), self._ready)

    def read(self) -> MachineState:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
            sock.settimeout(_SECONDS)
            sock.bind((0, 0))
            for attempt in range(1, _TRIES + 1):
                reader = _Reader(sock)
                state = reader.state()
                if not reader.interrupted:
                    break
                logger.debug("the machine changed while it was read, %d", attempt)
        return state

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._poller.retire(self._notices)

    def _ready(self, _mask: int) -> None:
        heard = False
        while True:
            try:
                self._notices.recv(_ROOM)
                heard = True
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                heard = True
        if heard:
            self._changed()


class _Reader:
    """One reading of everything over *sock*. :ivar interrupted: something changed meanwhile."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sequence = 0
        self.interrupted = False

    def state(self) -> MachineState:
        """Return what there is. :raises OSError: the kernel refuses, or what it says makes no sense (``EBADMSG``)."""
        try:
            return self._state()
        except (struct.error, ValueError) as error:
            raise OSError(errno.EBADMSG, f"rtnetlink: {error}") from error

    def _state(self) -> MachineState:
        adapters = sorted(_LINK.unpack_from(body)[2] for body in self._dump(_RTM_GETLINK, _RTM_NEWLINK))
        addresses = list(_addresses(self._dump(_RTM_GETADDR, _RTM_NEWADDR)))
        routes: list[RouteState] = []
        # An IPv6 address that is being tried out (tentative) has no route yet and is the machine's own all the same.
        local = {_range(each.interface.ip.packed, each.interface.max_prefixlen) for each in addresses}
        for body in self._dump(_RTM_GETROUTE, _RTM_NEWROUTE):
            _read_route(body, routes, local)
        return MachineState(
            tuple(adapters),
            tuple(sorted(addresses, key=lambda each: each.adapter)),
            tuple(sorted(routes, key=lambda each: (each.destination, each.metric, each.adapter))),
            tuple(sorted(local)),
        )

    def _dump(self, ask: int, wanted: int) -> Iterator[bytes]:
        """Go through the bodies of all *wanted* messages that answer *ask*, of both IP versions.

        :raises OSError: the kernel refuses, or does not answer.
        """
        self._sequence += 1
        body = bytes(_LINK.size)  # AF_UNSPEC, nothing said; as long as the kernel wants the longest of them
        self._sock.send(
            _HEADER.pack(_HEADER.size + len(body), ask, _NLM_F_REQUEST | _NLM_F_DUMP, self._sequence, 0) + body
        )
        while True:
            for kind, flags, sequence, content in _messages(self._sock.recv(_ROOM)):
                if sequence != self._sequence:
                    continue  # of an earlier dump that was given up
                self.interrupted |= bool(flags & _NLM_F_DUMP_INTR)
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    number = -int.from_bytes(content[:4], "little" if _LITTLE else "big", signed=True)
                    raise OSError(number, f"rtnetlink: {os.strerror(number)}")
                if kind == wanted:
                    yield content


_LITTLE: Final = _NUMBER.pack(1)[0] == 1


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Go through the messages of one answer. :raises OSError: it is none (``EBADMSG``)."""
    at = 0
    while at < len(data):
        if len(data) - at < _HEADER.size:
            raise OSError(errno.EBADMSG, f"rtnetlink: {len(data) - at} octets where a message was expected")
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= length <= len(data) - at:
            raise OSError(errno.EBADMSG, f"rtnetlink: a message of {length} octets in {len(data) - at}")
        yield kind, flags, sequence, data[at + _HEADER.size : at + length]
        at += _aligned(length)


def _attributes(data: bytes) -> Attributes:
    """Return the attributes by their kind. :raises OSError: there is no telling where one ends (``EBADMSG``)."""
    found: Attributes = {}
    at = 0
    while len(data) - at >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= length <= len(data) - at:
            raise OSError(errno.EBADMSG, f"rtnetlink: an attribute of {length} octets in {len(data) - at}")
        found[kind & 0x3FFF] = data[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)
    return found


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _addresses(bodies: Iterator[bytes]) -> Iterator[AddressState]:
    """Read the addresses; the kernel names an adapter's primary one before the secondary ones."""
    seen: set[tuple[int, int]] = set()
    for body in bodies:
        _, prefix, _, _, adapter = _ADDRESS.unpack_from(body)
        found = _attributes(body[_ADDRESS.size :])
        # On a link between two points IFA_ADDRESS is the other end.
        packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
        if packed is None:
            continue
        interface = ip_interface(f"{ip_address(packed)}/{prefix}")
        key = (adapter, interface.version)
        yield AddressState(adapter, interface, key not in seen)
        seen.add(key)


def _read_route(body: bytes, routes: list[RouteState], local: set[AddressRange]) -> None:
    """Put one route where it belongs, if anywhere.

    Wide local routes of other tables than the kernel's are for transparent proxies, as in :mod:`fwx.impl.networks`.
    """
    family, prefix, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(body)
    if family not in (socket.AF_INET, socket.AF_INET6) or kind not in _KINDS:
        return
    found = _attributes(body[_ROUTE.size :])
    if _RTA_TABLE in found:
        (table,) = _NUMBER.unpack(found[_RTA_TABLE])
    wide = 4 if family == socket.AF_INET else 16
    destination = _range(found.get(_RTA_DST, bytes(wide)), prefix)
    if kind == _RTN_LOCAL:
        if table in (_RT_TABLE_MAIN, _RT_TABLE_LOCAL) or prefix == wide * 8:
            local.add(destination)
    elif table == _RT_TABLE_MAIN:
        metric = _NUMBER.unpack(found[_RTA_PRIORITY])[0] if _RTA_PRIORITY in found else 0
        adapters = (NOWHERE,) if kind in _RTN_NOWHERE else _adapters_of(found)
        routes.extend(RouteState(destination, adapter, metric) for adapter in adapters)


def _range(packed: bytes, prefix: int) -> AddressRange:
    """Return the range of a prefix. IPv4-mapped IPv6 stays IPv6 here: it is not by such a route that IPv4 is sent."""
    bits = len(packed) * 8
    if bits not in (32, 128) or prefix > bits:
        raise ValueError(f"a prefix of {prefix} bits and an address of {bits}")
    size = 1 << (bits - prefix)
    first = int.from_bytes(packed, "big") // size * size
    return AddressRange(4 if bits == 32 else 6, first, first + size - 1)


def _adapters_of(found: Attributes) -> Iterator[int]:
    """Go through the adapters of one route, which has several where its load is shared."""
    if _RTA_OIF in found:
        yield from _NUMBER.unpack(found[_RTA_OIF])
    hops = found.get(_RTA_MULTIPATH, b"")
    while len(hops) >= _HOP.size:
        length, _, _, adapter = _HOP.unpack_from(hops)
        yield adapter
        hops = hops[max(_aligned(length), _HOP.size) :]
