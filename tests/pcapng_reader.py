"""A strict reader of pcapng files with packets of TCP, for tests: what it does not know, it refuses."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path


@dataclass(frozen=True)
class Packet:
    """One packet of TCP; ``source`` and ``target`` are addresses with ports."""

    nanoseconds: int
    source: tuple[str, int]
    target: tuple[str, int]
    flags: str
    number: int
    acknowledged: int
    data: bytes
    comment: str


def packets_of(path: Path) -> list[Packet]:
    """Read the packets of a file to its last byte."""
    blocks = list(_blocks(path.read_bytes()))
    assert [kind for kind, _ in blocks[:2]] == [0x0A0D0D0A, 1]
    assert blocks[0][1][:16] == struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
    assert _options(blocks[0][1][16:])[4] == b"fwx capture"
    assert blocks[1][1][:8] == struct.pack("<HHI", 101, 0, 0)
    assert _options(blocks[1][1][8:])[9] == b"\x09"
    assert all(kind == 6 for kind, _ in blocks[2:])
    return [_packet(body) for _, body in blocks[2:]]


def streams_of(packets: list[Packet]) -> dict[tuple[tuple[str, int], tuple[str, int]], bytes]:
    """Put together what each side has said, from the sequence numbers; they must have no gap."""
    streams: dict[tuple[tuple[str, int], tuple[str, int]], bytes] = {}
    expected: dict[tuple[tuple[str, int], tuple[str, int]], int] = {}
    for packet in packets:
        way, back = (packet.source, packet.target), (packet.target, packet.source)
        if "S" in packet.flags:
            streams[way], expected[way] = b"", packet.number
        assert packet.number == expected[way], packet
        assert packet.acknowledged == (expected[back] if "A" in packet.flags else 0), packet
        streams[way] += packet.data
        expected[way] += len(packet.data) + ("S" in packet.flags) + ("F" in packet.flags)
    return streams


def _blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        kind, length = struct.unpack_from("<II", data)
        assert length % 4 == 0
        assert 12 <= length <= len(data)
        assert struct.unpack_from("<I", data, length - 4)[0] == length
        yield kind, data[8 : length - 4]
        data = data[length:]


def _options(data: bytes) -> dict[int, bytes]:
    found = {}
    while data:
        code, length = struct.unpack_from("<HH", data)
        if code == 0:
            assert (length, len(data)) == (0, 4)
            return found
        assert code not in found
        found[code] = data[4 : 4 + length]
        padded = 4 + length + -length % 4
        assert not any(data[4 + length : padded])
        data = data[padded:]
    raise AssertionError("options without an end")


def _packet(body: bytes) -> Packet:
    interface, high, low, captured, original = struct.unpack_from("<IIIII", body)
    assert (interface, captured) == (0, original)
    data, rest = body[20 : 20 + captured], body[20 + captured + -captured % 4 :]
    assert len(data) == captured
    comment = _options(rest)[1].decode() if rest else ""
    source, target, segment = _ip(data)
    ports = struct.unpack_from("!HH", segment)
    number, acknowledged, words, flags = struct.unpack_from("!IIBB", segment, 4)
    letters = "".join(letter for bit, letter in enumerate("FSRPA") if flags & 1 << bit)
    text = segment[(words >> 4) * 4 :]
    return Packet(
        high << 32 | low, (source, ports[0]), (target, ports[1]), letters, number, acknowledged, text, comment
    )


def _ip(data: bytes) -> tuple[str, str, bytes]:
    if data[0] >> 4 == 4:
        assert data[0] & 15 == 5
        assert struct.unpack_from("!H", data, 2)[0] == len(data)
        assert _sum(data[:20]) == 0xFFFF
        protocol, addresses, segment = data[9], (data[12:16], data[16:20]), data[20:]
    else:
        assert data[0] >> 4 == 6
        assert struct.unpack_from("!H", data, 4)[0] == len(data) - 40
        protocol, addresses, segment = data[6], (data[8:24], data[24:40]), data[40:]
    assert protocol == 6
    assert _sum(b"".join(addresses) + struct.pack("!II", len(segment), 6) + segment) == 0xFFFF
    return str(ip_address(addresses[0])), str(ip_address(addresses[1])), segment


def _sum(data: bytes) -> int:
    """The sum of RFC 1071, in the slow way of its text."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
