"""The first bytes of a TLS client: OpenSSL's own, cut and changed in every way."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.impl.clienthello import Greeting, read_greeting


def hello(name: str | None, protocols: tuple[str, ...] = ("h2", "http/1.1")) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.set_alpn_protocols(list(protocols))
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


HELLO = hello("www.example.com")


def records(message: bytes, size: int) -> bytes:
    """Spread the handshake message of one record over records of *size* bytes."""
    body = message[5:]
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(message[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def test_the_name_is_found() -> None:
    assert read_greeting(HELLO) == Greeting(True, "www.example.com")
    assert read_greeting(HELLO + b"more") == Greeting(True, "www.example.com")
    assert read_greeting(hello(None)) == Greeting(True, None)
    assert read_greeting(hello("127.0.0.1")) == Greeting(True, None)


def test_every_beginning_is_incomplete() -> None:
    assert {read_greeting(HELLO[:length]) for length in range(len(HELLO))} == {Greeting(False, None)}


@pytest.mark.parametrize("size", [10, 33, 100, 1000])
def test_a_hello_in_many_records(size: int) -> None:
    whole = records(HELLO, size)
    assert read_greeting(whole) == Greeting(True, "www.example.com")
    assert not read_greeting(whole[:-1]).complete


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x17\x03\x03\x00\x05hello",
        b"\x16\x02\x00\x00\x05hello",
        b"\x16\x03\x01\x00\x00\x00",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        HELLO[:5] + b"\x01\x00\x00\x02\x03\x03" + HELLO[11:],
    ],
)
def test_what_is_no_hello_waits_for_nothing(data: bytes) -> None:
    complete, name, fault = read_greeting(data)
    assert (complete, name) == (True, None)
    assert fault


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"G", "the client does not speak TLS: first byte 0x47, as HTTP has it"),
        (b"\x05\x01\x00", "the client does not speak TLS: first byte 0x05, as SOCKS has it"),
        (b"SSH-2.0-x\r\n", "the client does not speak TLS: first byte 0x53, as SSH has it"),
        (b"PROXY TCP4", "the client does not speak TLS: first byte 0x50, as the PROXY protocol has it"),
        (b"\x80\x2e\x01\x03\x01", "the client does not speak TLS: first byte 0x80"),
        (b"\x16\x02\x00\x00\x05hello", "the client's ClientHello is malformed"),
        (b"\x16\x03\x01\x00\x04\x01\xff\xff\xff", "the client's ClientHello has 16777215 bytes, more than 16384"),
        (records(HELLO, 1), "the client's ClientHello is spread over more than 64 records"),
    ],
)
def test_why_it_is_none(data: bytes, fault: str) -> None:
    assert read_greeting(data) == Greeting(True, None, fault)


def test_what_costs_too_much_to_read_is_left_to_openssl() -> None:
    """Each byte that comes has the whole read again."""
    assert read_greeting(records(HELLO, 1))[:2] == (True, None)
    assert read_greeting(b"\x16\x03\x01\x40\x01")[:2] == (True, None)


@given(st.binary(max_size=200))
def test_any_bytes_are_judged(data: bytes) -> None:
    assert isinstance(read_greeting(data).complete, bool)


@given(st.integers(0, len(HELLO) - 1), st.integers(0, 255))
def test_any_change_is_judged(position: int, value: int) -> None:
    changed = HELLO[:position] + bytes([value]) + HELLO[position + 1 :]
    assert isinstance(read_greeting(changed).complete, bool)
