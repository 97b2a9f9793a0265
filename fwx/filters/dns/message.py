"""A message of DNS, read to its last byte (RFC 1035, 4; RFC 6891, 6.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

LONGEST_NAME = 255
LONGEST_LABEL = 63
MOST_RECORDS = 4096
"""Records of one message, zone transfers included."""
MOST_POINTERS = 32
"""Compression pointers of one name."""
HEADER = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_OPTION = struct.Struct("!HH")
_POINTER = 0xC0

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, DNAME, OPT = 1, 2, 5, 6, 12, 15, 16, 28, 33, 39, 41
_SIZES = {A: 4, AAAA: 16}
# How many names the data of a type has, and how many bytes stand before and behind them.
_NAMES = {
    NS: (0, 1, 0),
    CNAME: (0, 1, 0),
    PTR: (0, 1, 0),
    DNAME: (0, 1, 0),
    MX: (2, 1, 0),
    SRV: (6, 1, 0),
    SOA: (0, 2, 20),
}

QR, AA, TC, RD, Z = 0x8000, 0x0400, 0x0200, 0x0100, 0x0040
QUERY, IQUERY, STATUS, NOTIFY, UPDATE = 0, 1, 2, 4, 5
FORMERR, SERVFAIL, REFUSED = 1, 2, 5


class MessageError(ValueError):
    """Bytes that are no message of DNS: ``str()`` says why."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. ``name`` is its text in small letters, without the last dot; ``wire`` its bytes likewise."""

    name: str
    wire: bytes
    type: int
    class_: int


@dataclass(frozen=True, slots=True)
class Message:
    """One message. ``counts`` are those of its sections; ``udp_size`` is what EDNS says, ``None`` without it."""

    id: int
    flags: int
    counts: tuple[int, int, int, int]
    question: Question | None
    udp_size: int | None

    @property
    def is_response(self) -> bool:
        return bool(self.flags & QR)

    @property
    def opcode(self) -> int:
        return self.flags >> 11 & 15

    @property
    def rcode(self) -> int:
        return self.flags & 15


def parse(data: bytes) -> Message:
    """Read a message. :raises MessageError: it is none, or more than one."""
    if len(data) < HEADER.size:
        raise MessageError(f"{len(data)} bytes are no header")
    number, flags, *counts = HEADER.unpack_from(data)
    if counts[0] > 1:  # RFC 9619
        raise MessageError(f"{counts[0]} questions")
    if sum(counts) > MOST_RECORDS:
        raise MessageError(f"{sum(counts)} records")
    question: Question | None = None
    udp_size: int | None = None
    place = HEADER.size
    if counts[0]:
        question, place = _question(data, place)
    # What a dynamic update has in its sections is of another form; RFC 2136, 2.4.
    is_update = flags >> 11 & 15 == UPDATE
    for section, count in enumerate(counts[1:], 1):
        for _ in range(count):
            place, size = _record(data, place, section, is_update)
            if size is not None:
                if udp_size is not None:
                    raise MessageError("two OPT records")
                udp_size = size
    if place != len(data):
        raise MessageError(f"{len(data) - place} bytes behind the last record")
    return Message(number, flags, (counts[0], counts[1], counts[2], counts[3]), question, udp_size)


def skip_name(data: bytes, place: int) -> int:
    """Return where the name at *place* ends. :raises MessageError: it is none, or it is compressed into a circle."""
    end, length, lowest, pointers = 0, 0, place, 0
    while True:
        if place >= len(data):
            raise MessageError("a name goes beyond the end")
        size = data[place]
        if size >= _POINTER:
            if place + 2 > len(data):
                raise MessageError("a pointer goes beyond the end")
            end = end or place + 2
            target = (size & 0x3F) << 8 | data[place + 1]
            # Each one points before what it is part of, so there is an end (RFC 1035, 4.1.4: "a prior occurrence").
            if not HEADER.size <= target < lowest:
                raise MessageError("a compression pointer that does not point back")
            pointers += 1
            if pointers > MOST_POINTERS:
                raise MessageError(f"a name of more than {MOST_POINTERS} pointers")
            place = lowest = target
            continue
        if size > LONGEST_LABEL:
            raise MessageError(f"a label of type {size >> 6}")
        length += size + 1
        if length > LONGEST_NAME:
            raise MessageError(f"a name of more than {LONGEST_NAME} bytes")
        place += size + 1
        if not size:
            return end or place


def _question(data: bytes, place: int) -> tuple[Question, int]:
    end = skip_name(data, place)
    wire = data[place:end].lower()
    if end + _QUESTION.size > len(data):
        raise MessageError("a question goes beyond the end")
    kind, class_ = _QUESTION.unpack_from(data, end)
    return Question(_text(wire), wire, kind, class_), end + _QUESTION.size


def _text(wire: bytes) -> str:
    labels, place = [], 0
    while wire[place]:
        label = wire[place + 1 : place + 1 + wire[place]]
        labels.append("".join(chr(letter) if _is_plain(letter) else f"\\{letter:03}" for letter in label))
        place += 1 + wire[place]
    return ".".join(labels)


def _is_plain(letter: int) -> bool:
    return 0x21 <= letter <= 0x7E and letter not in b".\\"


def _record(data: bytes, place: int, section: int, is_update: bool) -> tuple[int, int | None]:
    """Return where the record at *place* ends, and what an OPT record says of the size of datagrams."""
    start, place = place, skip_name(data, place)
    if place + _RECORD.size > len(data):
        raise MessageError("a record goes beyond the end")
    kind, class_, _, size = _RECORD.unpack_from(data, place)
    place += _RECORD.size
    end = place + size
    if end > len(data):
        raise MessageError("the data of a record go beyond the end")
    if kind == OPT:
        if section != 3 or data[start]:
            raise MessageError("an OPT record out of its place")
        _check_options(data, place, end)
        return end, class_
    if not (is_update and not size):
        _check_data(data, kind, place, end)
    return end, None


def _check_options(data: bytes, place: int, end: int) -> None:
    while place < end:
        if place + _OPTION.size > end:
            raise MessageError("an EDNS option goes beyond its record")
        place += _OPTION.size + _OPTION.unpack_from(data, place)[1]
    if place != end:
        raise MessageError("an EDNS option goes beyond its record")


def _check_data(data: bytes, kind: int, place: int, end: int) -> None:
    if kind in _SIZES:
        if end - place != _SIZES[kind]:
            raise MessageError(f"an address of {end - place} bytes")
    elif kind in _NAMES:
        before, names, behind = _NAMES[kind]
        place += before
        for _ in range(names):
            if place >= end:
                raise MessageError(f"the data of a record of type {kind} are too short")
            place = skip_name(data, place)
        if place + behind != end:
            raise MessageError(f"the data of a record of type {kind} are of another size than their names")
    elif kind == TXT:
        while place < end:
            place += 1 + data[place]
        if place != end:
            raise MessageError("a text goes beyond its record")


def answer(query: bytes, rcode: int, message: Message | None) -> bytes:
    """Make the answer to *query* that says *rcode* and nothing else.

    *message* is what the query was read as; without it, the header alone is answered.
    """
    number, flags = struct.unpack_from("!HH", query)
    flags = QR | flags & (0x7800 | RD) | rcode
    if message is None or message.question is None:
        return HEADER.pack(number, flags, 0, 0, 0, 0)
    end = skip_name(query, HEADER.size) + _QUESTION.size
    edns = b"\x00" + _RECORD.pack(OPT, 1232, 0, 0) if message.udp_size is not None else b""
    return HEADER.pack(number, flags, 1, 0, 0, bool(edns)) + query[HEADER.size : end] + edns
