"""SOCKS5 on the proxy port: bytes in, request or error out (RFC 1928)."""

from __future__ import annotations

from typing import Any

import pytest

from fwx.interfaces.address import SocketAddress
from fwx.proxy import HandshakeError, Outcome, ProxyHandshake, ProxyRequest

GREETING = b"\x05\x01\x00"
SELECTED = b"\x05\x00"
TO_IPV4 = b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50"


def failure(code: int) -> bytes:
    return bytes((5, code, 0, 1, 0, 0, 0, 0, 0, 0))


def to_name(name: bytes, port: int = 443, command: int = 1) -> bytes:
    return bytes((5, command, 0, 3)) + bytes((len(name),)) + name + port.to_bytes(2, "big")


def rejected(data: bytes) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        ProxyHandshake().receive(data)
    return caught.value


REQUESTS = {
    "IPv4": (TO_IPV4, SocketAddress("192.0.2.1", 80)),
    "IPv6": (
        b"\x05\x01\x00\x04" + b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01\x01\xbb",
        SocketAddress("2001:db8::1", 443),
    ),
    "name": (to_name(b"www.Example.com"), SocketAddress("www.Example.com", 443)),
    "name of one letter": (to_name(b"a", 1), SocketAddress("a", 1)),
    "absolute name": (to_name(b"example.com."), SocketAddress("example.com.", 443)),
    "IDNA form": (to_name(b"xn--bcher-kva.example"), SocketAddress("xn--bcher-kva.example", 443)),
    "underscore": (to_name(b"_sip.my_host"), SocketAddress("_sip.my_host", 443)),
    "longest label and name": (
        to_name(b".".join([b"a" * 63] * 3 + [b"b" * 61]), 0xFFFF),
        SocketAddress(".".join(["a" * 63] * 3 + ["b" * 61]), 0xFFFF),
    ),
    "longest absolute name": (to_name(b"a." * 126 + b"b."), SocketAddress("a." * 126 + "b.", 443)),
    "digits within a name": (to_name(b"4.3.2.1.in-addr.arpa"), SocketAddress("4.3.2.1.in-addr.arpa", 443)),
    "IPv4 literal as name": (to_name(b"127.0.0.1"), SocketAddress("127.0.0.1", 443)),
    "IPv6 literal as name": (to_name(b"2001:DB8:0::1"), SocketAddress("2001:db8::1", 443)),
}


@pytest.mark.parametrize(("data", "target"), REQUESTS.values(), ids=REQUESTS)
def test_request(data: bytes, target: SocketAddress) -> None:
    handshake = ProxyHandshake()
    assert handshake.receive(GREETING) == SELECTED
    assert handshake.request is None
    assert handshake.receive(data) == b""
    assert handshake.request == ProxyRequest("SOCKS5", "connect", target, "", b"")
    handshake.eof()


BINDS = {
    "IPv4": (b"\x05\x02\x00\x01\xc0\x00\x02\x01\x00\x15", SocketAddress("192.0.2.1", 21)),
    "no port": (b"\x05\x02\x00\x01\xc0\x00\x02\x01\x00\x00", SocketAddress("192.0.2.1", 0)),
    "IPv6": (b"\x05\x02\x00\x04" + bytes(15) + b"\x01\x00\x00", SocketAddress("::1", 0)),
    "name": (to_name(b"Peer.example", 0, 2), SocketAddress("Peer.example", 0)),
    "anybody": (b"\x05\x02\x00\x01" + bytes(6), SocketAddress("0.0.0.0", 0)),
    "anybody over IPv6": (b"\x05\x02\x00\x04" + bytes(18), SocketAddress("::", 0)),
}


@pytest.mark.parametrize(("data", "target"), BINDS.values(), ids=BINDS)
def test_bind(data: bytes, target: SocketAddress) -> None:
    """RFC 1928 sections 4 and 6: split at every byte; two replies, or a failure in place of either."""
    for cut in range(1, len(data)):
        handshake = ProxyHandshake()
        handshake.receive(GREETING + data[:cut])
        assert handshake.request is None
        assert handshake.receive(data[cut:] + b"early") == b""
        assert handshake.request == ProxyRequest("SOCKS5", "bind", target, "", b"early")
        assert handshake.succeeded(SocketAddress("192.0.2.9", 0x1234)) == b"\x05\0\0\x01\xc0\0\x02\x09\x12\x34"
        assert handshake.succeeded(SocketAddress("::1", 20)) == b"\x05\0\0\x04" + bytes(15) + b"\x01\0\x14"
        assert handshake.refused(Outcome.TIMED_OUT) == failure(6)


@pytest.mark.parametrize(
    ("packed", "target"),
    [
        (b"\x01\0\0\0\0\0\0", SocketAddress("0.0.0.0", 0)),
        (b"\x01\xc0\0\2\1\x9c\x40", SocketAddress("192.0.2.1", 40000)),
        (b"\x04" + bytes(16) + b"\0\0", SocketAddress("::", 0)),
    ],
)
def test_association(packed: bytes, target: SocketAddress) -> None:
    """The target is what the client says that it sends from; zeros are what a client says that does not know."""
    handshake = ProxyHandshake()
    handshake.receive(GREETING)
    handshake.receive(b"\x05\x03\x00" + packed)
    assert handshake.request == ProxyRequest("SOCKS5", "udp", target, "", b"")


RESOLVES = {
    "name": (b"\5\xf0\0\3\x0bwww.example\0\0", "resolve", SocketAddress("www.example", 0)),
    "port": (b"\5\xf0\0\3\x0bwww.example\0\x50", "resolve", SocketAddress("www.example", 0)),
    "address": (b"\5\xf0\0\1\x7f\0\0\1\0\0", "resolve", SocketAddress("127.0.0.1", 0)),
    "IPv6": (b"\5\xf0\0\4" + bytes(15) + b"\1\0\0", "resolve", SocketAddress("::1", 0)),
    "name of IPv4": (b"\5\xf1\0\1\x7f\0\0\1\0\0", "resolve-ptr", SocketAddress("127.0.0.1", 0)),
    "name of IPv6": (b"\5\xf1\0\4" + bytes(15) + b"\1\0\0", "resolve-ptr", SocketAddress("::1", 0)),
    "name of IPv4 in letters": (b"\5\xf1\0\3\x09127.0.0.1\0\0", "resolve-ptr", SocketAddress("127.0.0.1", 0)),
}


@pytest.mark.parametrize(("data", "command", "target"), RESOLVES.values(), ids=RESOLVES)
def test_resolve(data: bytes, command: Any, target: SocketAddress) -> None:
    """Tor's socks-extensions section 2: split at every byte."""
    for cut in range(1, len(data)):
        handshake = ProxyHandshake()
        handshake.receive(GREETING + data[:cut])
        assert handshake.request is None
        assert handshake.receive(data[cut:]) == b""
        assert handshake.request == ProxyRequest("SOCKS5", command, target, "", b"")


def test_what_was_resolved() -> None:
    """The bytes are those of Tor 0.4.7; a name only where one was asked for."""
    forward, backward = ProxyHandshake(), ProxyHandshake()
    forward.receive(GREETING + RESOLVES["name"][0])
    backward.receive(GREETING + RESOLVES["name of IPv4"][0])
    v6 = SocketAddress("feaf:4e23:1c27:4bd2:e1a6:7018:fc08:35fc", 0)
    assert forward.succeeded(v6) == b"\x05\x00\x00\x04\xfe\xafN#\x1c'K\xd2\xe1\xa6p\x18\xfc\x085\xfc\x00\x00"
    assert forward.succeeded(SocketAddress("127.0.0.1", 0)) == b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00"
    assert backward.succeeded(SocketAddress("www.example", 0)) == b"\5\0\0\3\x0bwww.example\0\0"
    with pytest.raises(ValueError, match="is a name"):
        forward.succeeded(SocketAddress("www.example", 0))
    assert backward.refused(Outcome.NAME_NOT_FOUND)[:2] == b"\5\4"


@pytest.mark.parametrize("greeting", [GREETING, b"\x05\x03\x02\x01\x00", b"\x05\xff" + bytes(range(255))])
def test_pipelined_greeting_request_and_data(greeting: bytes) -> None:
    handshake = ProxyHandshake()
    assert handshake.receive(greeting + TO_IPV4 + b"\x05\x00early\r\n") == SELECTED
    assert handshake.request is not None
    assert handshake.request.early == b"\x05\x00early\r\n"


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"\x05\x00", "SOCKS5 methods none lack 00 (no authentication)"),
        (b"\x05\x01\x02", "SOCKS5 methods 02 lack 00 (no authentication)"),
        (b"\x05\x02\x01\x02" + TO_IPV4, "SOCKS5 methods 01 02 lack 00 (no authentication)"),
    ],
)
def test_no_acceptable_method(greeting: bytes, reason: str) -> None:
    error = rejected(greeting)
    assert (error.reason, error.reply) == (reason, b"\x05\xff")
    assert error.client_fault


BAD_REQUESTS = {
    "BIND for no name": (to_name(b"", 0, 2), 0x01, "SOCKS5 BIND: '' is not a host name"),
    "BIND for a short IPv4": (to_name(b"127.1", 0, 2), 0x01, "four decimal parts"),
    "UDP ASSOCIATE from a name": (b"\x05\x03\x00\x03\x01a\x00\x35", 0x08, "SOCKS5 UDP ASSOCIATE: a name for where"),
    "command": (b"\x05\x09\x00\x01", 0x07, "command 0x09 is not supported"),
    "CONNECT_DIR": (b"\x05\xf2\x00\x01", 0x07, "command 0xf2 is not supported"),
    "RESOLVE of no name": (to_name(b"", 0, 0xF0), 0x01, "SOCKS5 RESOLVE: '' is not a host name"),
    "RESOLVE_PTR of a name": (to_name(b"www.example", 0, 0xF1), 0x08, "SOCKS5 RESOLVE_PTR: a name"),
    "address type": (b"\x05\x01\x00\x02", 0x08, "address type 0x02"),
    "version": (b"\x04", 0x01, "starts with 0x04"),
    "reserved byte": (b"\x05\x01\x01\x01", 0x01, "reserved byte is 0x01"),
    "port 0": (to_name(b"example.com", 0), 0x01, "port 0 is outside 1 to 65535"),
    "no name": (to_name(b""), 0x01, "'' is not a host name"),
    "NUL": (to_name(b"example.com\0.evil"), 0x01, r"'example.com\x00.evil' is not a host name"),
    "space": (to_name(b"example com"), 0x01, "is not a host name"),
    "newline at the end": (to_name(b"example.com\n"), 0x01, "is not a host name"),
    "empty label": (to_name(b"example..com"), 0x01, "is not a host name"),
    "long label": (to_name(b"a" * 64), 0x01, "is not a host name"),
    "long name": (to_name(b".".join([b"a" * 63] * 3 + [b"b" * 62])), 0x01, "is not a host name"),
    "not ASCII": (to_name("bücher.example".encode()), 0x01, "IDNA form"),
    "brackets": (to_name(b"[::1]"), 0x01, "is not an IPv6 address"),
    "scope": (to_name(b"fe80::1%eth0"), 0x01, "is not an IPv6 address"),
    "NUL in IPv6": (to_name(b"::1\0"), 0x01, "is not an IPv6 address"),
    "short IPv4": (to_name(b"127.1"), 0x01, "four decimal parts"),
    "IPv4 as one number": (to_name(b"2130706433"), 0x01, "four decimal parts"),
    "IPv4 in hexadecimal": (to_name(b"0x7F000001"), 0x01, "four decimal parts"),
    "IPv4 in octal": (to_name(b"0177.0.0.01"), 0x01, "four decimal parts"),
    "IPv4 with a dot at the end": (to_name(b"127.0.0.1."), 0x01, "four decimal parts"),
}


@pytest.mark.parametrize(("data", "code", "reason"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_bad_request(data: bytes, code: int, reason: str) -> None:
    handshake = ProxyHandshake()
    handshake.receive(GREETING)
    with pytest.raises(HandshakeError) as caught:
        handshake.receive(data)
    assert reason in caught.value.reason
    assert caught.value.reply == failure(code)
    assert rejected(GREETING + data).reply == SELECTED + failure(code), "a pipelining client waits for the method first"


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome.DENIED, 0x02),
        (Outcome.UNAUTHENTICATED, 0x02),
        (Outcome.CONNECTION_REFUSED, 0x05),
        (Outcome.NETWORK_UNREACHABLE, 0x03),
        (Outcome.HOST_UNREACHABLE, 0x04),
        (Outcome.NAME_NOT_FOUND, 0x04),
        (Outcome.TIMED_OUT, 0x06),
        (Outcome.BUSY, 0x01),
        (Outcome.FAILED, 0x01),
    ],
)
def test_refused(outcome: Outcome, code: int) -> None:
    handshake = ProxyHandshake()
    handshake.receive(GREETING + TO_IPV4)
    assert handshake.refused(outcome) == failure(code)


@pytest.mark.parametrize(
    ("bound", "reply"),
    [
        (SocketAddress("192.0.2.9", 0x1234), b"\x05\x00\x00\x01\xc0\x00\x02\x09\x12\x34"),
        (SocketAddress("::1", 80), b"\x05\x00\x00\x04" + bytes(15) + b"\x01\x00\x50"),
    ],
)
def test_succeeded(bound: SocketAddress, reply: bytes) -> None:
    handshake = ProxyHandshake()
    handshake.receive(GREETING + TO_IPV4)
    assert handshake.succeeded(bound) == reply


def test_a_name_is_no_local_address() -> None:
    handshake = ProxyHandshake()
    handshake.receive(GREETING + TO_IPV4)
    with pytest.raises(ValueError, match="example:80 is a name"):
        handshake.succeeded(SocketAddress("example", 80))


@pytest.mark.parametrize(
    ("data", "awaited"),
    [(b"\x05", "greeting"), (b"\x05\x02\x00", "greeting"), (GREETING, "request"), (GREETING + TO_IPV4[:-1], "request")],
)
def test_closed_too_early(data: bytes, awaited: str) -> None:
    handshake = ProxyHandshake()
    handshake.receive(data)
    with pytest.raises(HandshakeError) as caught:
        handshake.eof()
    assert caught.value.reason == f"the client closed before its SOCKS5 {awaited} was complete"
    assert caught.value.reply == b""
