"""What clients say first: found at the same byte in whatever pieces it comes; garbage is refused."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.filters.server_split.hearing import BAD_REQUEST, MISDIRECTED, TOO_LARGE, FirstLine, HearingError, HostName

LIMIT = 16384


def hello(name: str | None) -> bytes:
    """What OpenSSL sends first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def heard(data: bytes, size: int = LIMIT) -> tuple[Any, int]:
    """The hearing, and how many bytes it took."""
    hearing = HostName(LIMIT)
    for start in range(0, len(data), size):
        hearing.feed(data[start : start + size])
        if hearing.done:
            return hearing, start + size
    return hearing, len(data)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n", "www.example.org"),
        (b"GET / HTTP/1.1\r\nhOST:WWW.example.org:8080 \r\n\r\n", "www.example.org"),
        (b"GET http://other.example:80/x HTTP/1.1\r\nHost: www.example.org\r\n\r\n", "other.example"),
        (b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", "2001:db8::1"),
        (b"GET / HTTP/1.0\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", None),
        (b"CONNECT a.example:443 HTTP/1.1\r\nHost: b.example\r\n\r\n", "b.example"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, LIMIT])
def test_a_host_of_http(head: bytes, name: str | None, size: int) -> None:
    """RFC 9112, 3.2: the host of the target counts, then the field Host."""
    hearing, taken = heard(head + b"body", size)
    assert (hearing.done, hearing.name) == (True, name)
    assert taken >= len(head)
    assert hearing.farewell(MISDIRECTED).startswith(b"HTTP/1.1 421 Misdirected Request\r\n")


@pytest.mark.parametrize("name", ["www.example.org", None])
@pytest.mark.parametrize("size", [1, LIMIT])
def test_a_host_of_tls(name: str | None, size: int) -> None:
    data = hello(name)
    hearing, taken = heard(data, size)
    assert (hearing.done, hearing.name, taken) == (True, name, max(size, len(data)))
    assert hearing.farewell(MISDIRECTED) == b"\x15\x03\x03\x00\x02\x02\x70"
    assert hearing.farewell(BAD_REQUEST)[-1:] == b"\x50"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x00\x01\x02\r\n\r\n", BAD_REQUEST),
        (b"SSH-2.0-x\r\n\r\n", BAD_REQUEST),
        (b"PRI * HTTP/2.0\r\n\r\n", BAD_REQUEST),
        (b"GET / HTTP/1.1\r\n\r\n", BAD_REQUEST),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", BAD_REQUEST),
        (b"GET / HTTP/1.1\r\nHost: [a\r\n\r\n", BAD_REQUEST),
        (b"GET / HTTP/1.1\r\nHost: a.example:80@b.example\r\n\r\n", BAD_REQUEST),
        (b"GET / HTTP/1.1\r\nHost: a.example/b\r\n\r\n", BAD_REQUEST),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * LIMIT, TOO_LARGE),
        (b"\x16\x03\x01\x00\x00", BAD_REQUEST),
        (b"\x16\x00\x01\x00\x05hello", BAD_REQUEST),
    ],
)
def test_garbage(data: bytes, status: int) -> None:
    with pytest.raises(HearingError) as refused:
        heard(data)
    assert refused.value.refusal.status == status
    assert refused.value.refusal.words


@given(st.binary(max_size=200))
def test_nothing_else_is_raised(data: bytes) -> None:
    hearing = HostName(LIMIT)
    try:
        for byte in data:
            if not hearing.done:
                hearing.feed(bytes([byte]))
        hearing.end()
    except HearingError:
        return
    pytest.fail("the end of an unfinished request is no request")


@pytest.mark.parametrize(
    ("pieces", "line"),
    [
        ((b"HELO red\r\n",), b"HELO red"),
        ((b"HELO red\nmore",), b"HELO red"),
        ((b"HELO", b" red\r", b"\nmore"), b"HELO red"),
        ((b"\n",), b""),
    ],
)
def test_a_line(pieces: tuple[bytes, ...], line: bytes) -> None:
    hearing = FirstLine(b"NO\r\n")
    for piece in pieces:
        assert not hearing.done
        hearing.feed(piece)
    assert (hearing.done, hearing.line, hearing.farewell(MISDIRECTED)) == (True, line, b"NO\r\n")


def test_a_line_that_the_end_ends() -> None:
    hearing = FirstLine(b"")
    hearing.feed(b"HELO red")
    hearing.end()
    assert (hearing.done, hearing.line) == (True, b"HELO red")
