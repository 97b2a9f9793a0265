"""What the service and its helper say to each other: frames of a length and a body, fixed records in them.

A helper accepts openings and nothing else, so that a service that was taken over cannot write rules. Both sides refuse
what is malformed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from fwx.packetfilter.hole import Address, Hole, check_hole

LARGEST_BODY = 1 << 16
MOST_RECORDS = 1024
MOST_TEXT = 2000

_LENGTH = struct.Struct("!I")
_HEADER = struct.Struct("!BII")
# Open or close, protocol, IP version, whether there is a remote end, the two ports, the two addresses.
_RECORD = struct.Struct("!BBBBHH16s16s")


class MessageError(Exception):
    """What came is no message of the protocol."""


class Kind(IntEnum):
    """The first byte of a body: what the service says, then what the helper says."""

    CHANGE = 1
    """Open and close; answered with DONE."""
    BEAT = 2
    """The service lives: what is open stays open, and is compared with the kernel; answered with DONE."""
    REMOVE = 3
    """Delete the table, answer DONE, end."""
    LOCK = 4
    """Leave the table with nothing open, answer DONE, end."""
    DONE = 16
    """An answer; its code is 0 or an errno, its text says why."""
    READY = 17
    """The table is there; the text names what writes it."""
    NOTE = 18
    """Something for the log."""
    DIFFERENCE = 19
    """The kernel held something else than what was written; it has been put right."""
    DROPPED = 20
    """Before READY: the text tells what was dropped in a lockdown that has ended now, packets and bytes."""


ORDERS = frozenset({Kind.CHANGE, Kind.BEAT, Kind.REMOVE, Kind.LOCK})


class Change(NamedTuple):
    """One record of a CHANGE."""

    opens: bool
    hole: Hole


class Order(NamedTuple):
    """What the service wants. Only a CHANGE has changes."""

    kind: Kind
    serial: int
    changes: tuple[Change, ...] = ()


class Answer(NamedTuple):
    """What the helper says. *serial* is that of the order; 0 where it was not asked."""

    kind: Kind
    serial: int = 0
    code: int = 0
    text: str = ""


class Drops(NamedTuple):
    """What was dropped in a lockdown: packets, and their bytes. The text of a DROPPED."""

    packets: int = 0
    octets: int = 0

    @classmethod
    def parse(cls, text: str) -> Drops:
        """Read what :meth:`__str__` has written. :raises ValueError: it is something else."""
        packets, octets = map(int, text.split(" "))
        return cls(packets, octets)

    def __str__(self) -> str:
        return f"{self.packets} {self.octets}"


def pack_order(order: Order) -> bytes:
    body = [_HEADER.pack(order.kind, order.serial, len(order.changes))]
    body += [_pack_change(change) for change in order.changes]
    return _frame(b"".join(body))


def pack_answer(answer: Answer) -> bytes:
    """A text that is too long is cut."""
    text = answer.text.encode()[:MOST_TEXT]
    return _frame(_HEADER.pack(answer.kind, answer.serial, answer.code) + text)


def unpack_order(body: bytes) -> Order:
    """:raises MessageError: it is none, or it wants what no socket needs."""
    kind, serial, count = _unpack_header(body)
    if kind not in ORDERS:
        raise MessageError(f"{kind.name} is no order")
    if (count and kind is not Kind.CHANGE) or count > MOST_RECORDS:
        raise MessageError(f"{kind.name} with {count} records")
    records = body[_HEADER.size :]
    if len(records) != count * _RECORD.size:
        raise MessageError(f"{len(records)} bytes for {count} records")
    return Order(kind, serial, tuple(_unpack_changes(records)))


def unpack_answer(body: bytes) -> Answer:
    """:raises MessageError: it is none."""
    kind, serial, code = _unpack_header(body)
    if kind in ORDERS:
        raise MessageError(f"{kind.name} is no answer")
    text = body[_HEADER.size :]
    if len(text) > MOST_TEXT:
        raise MessageError(f"a text of {len(text)} bytes")
    return Answer(kind, serial, code, text.decode(errors="replace"))


class Frames:
    """Cuts what arrives into bodies."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take *data* and yield the bodies that are whole. :raises MessageError: one is too long to be any."""
        self._data += data
        while len(self._data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data)
            if length > LARGEST_BODY:
                raise MessageError(f"a body of {length} bytes")
            end = _LENGTH.size + length
            if len(self._data) < end:
                return
            body = bytes(self._data[_LENGTH.size : end])
            del self._data[:end]
            yield body


def _frame(body: bytes) -> bytes:
    return _LENGTH.pack(len(body)) + body


def _unpack_header(body: bytes) -> tuple[Kind, int, int]:
    if len(body) < _HEADER.size:
        raise MessageError(f"a body of {len(body)} bytes")
    kind, serial, number = _HEADER.unpack_from(body)
    try:
        return Kind(kind), serial, number
    except ValueError:
        raise MessageError(f"kind {kind} is unknown") from None


def _pack_change(change: Change) -> bytes:
    hole = change.hole
    remote = b"" if hole.remote is None else hole.remote.packed
    return _RECORD.pack(
        1 if change.opens else 2,
        hole.protocol,
        hole.local.version,
        hole.remote is not None,
        hole.port,
        hole.remote_port,
        hole.local.packed,
        remote,
    )


def _unpack_changes(records: bytes) -> Iterable[Change]:
    for change, protocol, version, has_remote, port, remote_port, local, remote in _RECORD.iter_unpack(records):
        if change not in (1, 2) or has_remote not in (0, 1):
            raise MessageError(f"a record with {change} and {has_remote} where 1 or 2, and 0 or 1 may stand")
        if not has_remote and remote.strip(b"\0"):
            raise MessageError("a remote address that is said not to be there")
        try:
            far = _address(version, remote) if has_remote else None
            hole = check_hole(Hole(protocol, _address(version, local), port, far, remote_port))
        except ValueError as error:
            raise MessageError(str(error)) from error
        yield Change(change == 1, hole)


def _address(version: int, packed: bytes) -> Address:
    if version == 6:
        return IPv6Address(packed)
    if version != 4 or packed[4:].strip(b"\0"):
        raise ValueError(f"no address of IP version {version}")
    return IPv4Address(packed[:4])
