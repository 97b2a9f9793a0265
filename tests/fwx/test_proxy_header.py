"""The PROXY protocol, both versions, both ways; every header split at every byte."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.interfaces import SocketAddress
from fwx.proxy.proxy_header import (
    LONGEST_V1,
    LONGEST_V2,
    ProxyHeader,
    ProxyHeaderCodec,
    ProxyHeaderError,
    proxy_header,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.7") + struct.pack("!HH", 40000, 443)
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") * 2 + struct.pack("!HH", 1, 65535)
FROM, TO = SocketAddress("192.0.2.1", 40000), SocketAddress("198.51.100.7", 443)
SIX = SocketAddress("2001:db8::1", 1), SocketAddress("2001:db8::1", 65535)


def block(command: int, family: int, body: bytes, length: int | None = None) -> bytes:
    return SIGNATURE + bytes((command, family)) + (len(body) if length is None else length).to_bytes(2, "big") + body


GOOD: list[tuple[bytes, ProxyHeader]] = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\n", ProxyHeader(1, FROM, TO)),
    (b"PROXY TCP6 2001:db8::1 2001:db8::1 1 65535\r\n", ProxyHeader(1, *SIX)),
    (b"PROXY UNKNOWN\r\n", ProxyHeader(1)),
    (b"PROXY UNKNOWN ffff::1 whatever it says 1\r\n", ProxyHeader(1)),
    (block(0x21, 0x11, V4), ProxyHeader(2, FROM, TO)),
    (block(0x21, 0x21, V6), ProxyHeader(2, *SIX)),
    (block(0x20, 0x00, b""), ProxyHeader(2)),
    (block(0x20, 0x11, V4), ProxyHeader(2)),
    (
        block(0x21, 0x11, V4 + b"\x02\x00\x03abc" + b"\x04\x00\x00"),
        ProxyHeader(2, FROM, TO, ((0x02, b"abc"), (0x04, b""))),
    ),
]
BAD: list[tuple[bytes, str]] = [
    (b"GET / HTTP/1.1\r\n", "does not begin with a PROXY header"),
    (b"\x16\x03\x01\x02\x00", "does not begin with a PROXY header"),
    (b"PROXY\r\n", "does not begin with a PROXY header"),
    (b"proxy TCP4 192.0.2.1 198.51.100.7 1 2\r\n", "does not begin"),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 40000\r\n", "malformed"),
    (b"PROXY TCP4  192.0.2.1 198.51.100.7 1 2\r\n", "malformed"),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n", "malformed"),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n", "malformed"),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 -1 2\r\n", "malformed"),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 65536 2\r\n", "bad address or port"),
    (b"PROXY TCP4 192.0.2.256 198.51.100.7 1 2\r\n", "bad address or port"),
    (b"PROXY TCP4 2001:db8::1 2001:db8::1 1 2\r\n", "bad address or port"),
    (b"PROXY TCP6 192.0.2.1 198.51.100.7 1 2\r\n", "bad address or port"),
    (b"PROXY UDP4 192.0.2.1 198.51.100.7 1 2\r\n", "malformed"),
    (b"PROXY UNKNOWNS\r\n", "malformed"),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n\r\n", "malformed"),
    (b"PROXY " + b"x" * LONGEST_V1, f"longer than {LONGEST_V1} bytes"),
    (block(0x22, 0x11, V4), "0x22, not 20 or 21"),
    (block(0x11, 0x11, V4), "0x11, not 20 or 21"),
    (block(0x21, 0x12, V4), "family 0x12"),
    (block(0x21, 0x31, b"x" * 216), "family 0x31"),
    (block(0x21, 0x00, b""), "family 0x00"),
    (block(0x21, 0x11, V4[:-1]), "too short for its addresses"),
    (block(0x21, 0x21, V4), "too short for its addresses"),
    (block(0x21, 0x11, V4 + b"\x02\x00\x03ab"), "a field of its PROXY header is cut off"),
    (block(0x21, 0x11, V4 + b"\x02\x00"), "a field of its PROXY header is cut off"),
    (block(0x21, 0x11, b"", 0xFFFF), f"more than {LONGEST_V2}"),
]


def read(*pieces: bytes) -> Any:
    codec = ProxyHeaderCodec()
    for piece in pieces[:-1]:
        assert codec.receive(piece) is None
    return codec.receive(pieces[-1])


@pytest.mark.parametrize(("data", "header"), GOOD)
def test_whole_and_with_what_follows(data: bytes, header: ProxyHeader) -> None:
    assert read(data) == (header, b"")
    assert read(data + b"PROXY again\r\n") == (header, b"PROXY again\r\n")


@pytest.mark.parametrize(("data", "header"), GOOD)
def test_split_at_every_byte(data: bytes, header: ProxyHeader) -> None:
    assert read(*(bytes((byte,)) for byte in data)) == (header, b"")
    for place in range(1, len(data)):
        assert read(data[:place], data[place:] + b"rest") == (header, b"rest")


@pytest.mark.parametrize(("data", "reason"), BAD)
def test_bad_ones(data: bytes, reason: str) -> None:
    """Refused, whole or in pieces, at the latest when they are complete; nothing is guessed."""
    with pytest.raises(ProxyHeaderError, match=reason):
        read(data)
    with pytest.raises(ProxyHeaderError):
        read(*(bytes((byte,)) for byte in data))


@given(st.binary(max_size=400), st.sampled_from([b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_garbage(data: bytes, start: bytes) -> None:
    with contextlib.suppress(ProxyHeaderError):
        found = ProxyHeaderCodec().receive(start + data)
        assert found is None or (start + data).endswith(found[1])


ADDRESSES = st.builds(SocketAddress, st.ip_addresses(v=4) | st.ip_addresses(v=6), st.integers(0, 65535))


@given(ADDRESSES, ADDRESSES, st.sampled_from([1, 2]))
def test_what_is_written_is_read(source: SocketAddress, destination: SocketAddress, version: int) -> None:
    """Two families become one: IPv4 goes as IPv4-mapped IPv6, which reads as the same address."""
    header, rest = read(proxy_header(version, source, destination) + b"data")
    assert rest == b"data"
    for told, meant in ((header.source, source), (header.destination, destination)):
        literal = told.address
        if literal.version == 6 and literal.ipv4_mapped is not None and meant.address is not None:
            literal = literal.ipv4_mapped if meant.address.version == 4 else literal
        assert (literal, told.port) == (meant.address, meant.port)


def test_a_name_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="literal addresses"):
        proxy_header(2, SocketAddress("name.example", 1), TO)


def test_the_longest_line() -> None:
    """107 bytes, the line end included, is the longest that version 1 can be (section 2.1)."""
    longest = b"PROXY UNKNOWN " + b"x" * (LONGEST_V1 - 16) + b"\r\n"
    assert len(longest) == LONGEST_V1
    assert read(longest + b"rest") == (ProxyHeader(1), b"rest")
    with pytest.raises(ProxyHeaderError, match="longer"):
        read(longest[:-2] + b"x\r\n")
