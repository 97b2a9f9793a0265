"""Messages of DNS for tests, put together byte by byte; dnspython makes others."""

from __future__ import annotations

import struct


def name(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".") if label) + b"\x00"


def question(text: str = "www.example", kind: int = 1, class_: int = 1) -> bytes:
    return name(text) + struct.pack("!HH", kind, class_)


def record(owner: bytes = b"\xc0\x0c", kind: int = 1, data: bytes = b"\xc0\x00\x02\x50", class_: int = 1) -> bytes:
    return owner + struct.pack("!HHIH", kind, class_, 60, len(data)) + data


def message(
    *parts: bytes, number: int = 7, flags: int = 0x0100, counts: tuple[int, int, int, int] = (1, 0, 0, 0)
) -> bytes:
    return struct.pack("!HHHHHH", number, flags, *counts) + b"".join(parts)


def query(text: str = "www.example", kind: int = 1, number: int = 7, class_: int = 1) -> bytes:
    return message(question(text, kind, class_), number=number)


def response(text: str = "www.example", kind: int = 1, number: int = 7, *, rcode: int = 0, extra: bytes = b"") -> bytes:
    parts = (question(text, kind), record())
    return message(*parts, extra, number=number, flags=0x8180 | rcode, counts=(1, 1, 0, 0))
