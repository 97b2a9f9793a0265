"""What the service and the maker of its transparent sockets say to each other: one packet each way for each socket.

The maker makes sockets of three kinds and nothing else. Both sides refuse what is malformed.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from fwx.interfaces import SocketAddress

LARGEST = 64

_ORDER = struct.Struct("!BBHI16s")
_ANSWER = struct.Struct("!II")


class OrderError(Exception):
    """What came is none of the protocol."""


class Kind(IntEnum):
    """What a socket is for."""

    STREAM = 1
    """TCP towards a server, from a client's address; the port is chosen when it connects."""
    DATAGRAM = 2
    """UDP towards servers, from a client's address."""
    ANSWER = 3
    """UDP towards clients, from the address and the port of a server; it receives nothing."""


class Order(NamedTuple):
    """One socket that the service wants, bound to *address*."""

    kind: Kind
    serial: int
    address: SocketAddress


class Answer(NamedTuple):
    """*code* is 0, and the socket comes with it, or an errno."""

    serial: int
    code: int


def pack_order(order: Order) -> bytes:
    literal = order.address.address
    if literal is None:
        raise ValueError(f"{order.address} is no literal address")
    return _ORDER.pack(order.kind, literal.version, order.address.port, order.serial, literal.packed)


def unpack_order(data: bytes) -> Order:
    """:raises OrderError: it is none, or wants what no listener needs."""
    if len(data) != _ORDER.size:
        raise OrderError(f"an order of {len(data)} bytes")
    kind, version, port, serial, packed = _ORDER.unpack(data)
    try:
        known = Kind(kind)
    except ValueError:
        raise OrderError(f"kind {kind} is unknown") from None
    if version == 6:
        host = str(IPv6Address(packed))
    elif version == 4 and not packed[4:].strip(b"\0"):
        host = str(IPv4Address(packed[:4]))
    else:
        raise OrderError(f"no address of IP version {version}")
    if bool(port) != (known is Kind.ANSWER):
        raise OrderError(f"{known.name} with port {port}")
    return Order(known, serial, SocketAddress(host, port))


def pack_answer(answer: Answer) -> bytes:
    return _ANSWER.pack(*answer)


def unpack_answer(data: bytes) -> Answer:
    """:raises OrderError: it is none."""
    if len(data) != _ANSWER.size:
        raise OrderError(f"an answer of {len(data)} bytes")
    return Answer(*_ANSWER.unpack(data))
