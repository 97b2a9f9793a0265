"""The blocks of a pcapng file (draft-ietf-opsawg-pcapng): a section, its one interface, packets with comments."""

from __future__ import annotations

import struct

LINKTYPE_RAW = 101
"""Packets begin with their IP header, of either version."""
_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_COMMENT, _APPLICATION, _NAME, _RESOLUTION = 1, 4, 2, 9
_NANOSECONDS = b"\x09"
_MOST_IN_COMMENT = 1000


def section(application: str, interface: str) -> bytes:
    """Return what a file begins with."""
    head = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
    start = _block(_SECTION, head + _options((_APPLICATION, application.encode())))
    described = struct.pack("<HHI", LINKTYPE_RAW, 0, 0)
    return start + _block(_INTERFACE, described + _options((_NAME, interface.encode()), (_RESOLUTION, _NANOSECONDS)))


def packet(nanoseconds: int, data: bytes, comment: str = "") -> bytes:
    """Return the block of one packet. *nanoseconds* are those since the epoch."""
    head = struct.pack("<IIIII", 0, nanoseconds >> 32, nanoseconds & 0xFFFFFFFF, len(data), len(data))
    text = comment.encode("utf-8", "replace")[:_MOST_IN_COMMENT].decode("utf-8", "ignore").encode()
    return _block(_PACKET, head + _padded(data) + (_options((_COMMENT, text)) if text else b""))


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def _options(*options: tuple[int, bytes]) -> bytes:
    written = b"".join(struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options)
    return written + bytes(4)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
