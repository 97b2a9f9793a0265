"""SOCKS4 and SOCKS4a on the proxy port: bytes in, request or error out."""

from __future__ import annotations

import pytest

from fwx.interfaces.address import SocketAddress
from fwx.proxy import AuthenticationError, HandshakeError, Outcome, ProxyHandshake, ProxyRequest

REJECTED = b"\x00\x5b" + bytes(6)


def to_address(packed: bytes, port: int = 80, user: bytes = b"", command: int = 1) -> bytes:
    return bytes((4, command)) + port.to_bytes(2, "big") + packed + user + b"\0"


def to_name(name: bytes, port: int = 443, user: bytes = b"") -> bytes:
    return to_address(b"\0\0\0\1", port, user) + name + b"\0"


LONG_NAME = ".".join(["a" * 63] * 3 + ["b" * 61])
REQUESTS = {
    "address": (to_address(b"\xc0\0\2\1"), SocketAddress("192.0.2.1", 80), ""),
    "address and user": (to_address(b"\xc0\0\2\1", 22, b"ann"), SocketAddress("192.0.2.1", 22), "ann"),
    "unspecified address": (to_address(bytes(4)), SocketAddress("0.0.0.0", 80), ""),
    "name": (to_name(b"www.Example.com"), SocketAddress("www.Example.com", 443), ""),
    "name and user": (to_name(b"a", 1, b"ann"), SocketAddress("a", 1), "ann"),
    "another marker": (to_name(b"a").replace(b"\0\0\0\1", b"\0\0\0\xff"), SocketAddress("a", 443), ""),
    "longest name": (to_name(LONG_NAME.encode()), SocketAddress(LONG_NAME, 443), ""),
    "longest user": (to_address(b"\xc0\0\2\1", 80, b"u" * 255), SocketAddress("192.0.2.1", 80), "u" * 255),
    "user that cannot be printed": (to_address(b"\xc0\0\2\1", 80, b"a\x1b\xff"), SocketAddress("192.0.2.1", 80), "a?ÿ"),
    "IPv4 literal as name": (to_name(b"127.0.0.1"), SocketAddress("127.0.0.1", 443), ""),
    "IPv6 literal as name": (to_name(b"2001:DB8:0::1"), SocketAddress("2001:db8::1", 443), ""),
}


@pytest.mark.parametrize("demand", ["off", "optional"])
@pytest.mark.parametrize("early", [b"", b"\0early\0"])
@pytest.mark.parametrize(("data", "target", "user"), REQUESTS.values(), ids=REQUESTS)
def test_request(data: bytes, target: SocketAddress, user: str, early: bytes, demand: str) -> None:
    """The user id is a claim; it makes nobody known."""
    handshake = ProxyHandshake(demand)  # type: ignore[arg-type]
    assert handshake.receive(data + early) == b""
    assert handshake.request == ProxyRequest("SOCKS4", "connect", target, "", early, user)
    assert handshake.credentials is None
    handshake.eof()


BAD_REQUESTS = {
    "command": (to_address(b"\xc0\0\2\1", command=0), "SOCKS4 command 0x00 is not CONNECT, BIND or RESOLVE"),
    "RESOLVE_PTR": (to_address(b"\xc0\0\2\1", command=0xF1), "SOCKS4 command 0xf1 is not"),
    "RESOLVE for no name": (to_address(b"\0\0\0\1", 0, command=0xF0) + b"\0", "SOCKS4 RESOLVE: '' is not a host name"),
    "port 0": (to_address(b"\xc0\0\2\1", 0), "port 0 is outside 1 to 65535"),
    "BIND for no name": (to_address(b"\0\0\0\1", 0, command=2) + b"\0", "SOCKS4 BIND: '' is not a host name"),
    "no name": (to_name(b""), "'' is not a host name"),
    "user too long": (to_address(b"\xc0\0\2\1", 80, b"u" * 256), "SOCKS4 user id over 255 bytes"),
    "endless user": (to_address(b"\xc0\0\2\1")[:-1] + b"u" * 256, "SOCKS4 user id over 255 bytes"),
    "name too long": (to_name(b"a." * 128), "SOCKS4 name over 255 bytes"),
    "endless name": (to_name(b"")[:-1] + b"a" * 256, "SOCKS4 name over 255 bytes"),
    "long label": (to_name(b"a" * 64), "is not a host name"),
    "not ASCII": (to_name("bücher.example".encode()), "IDNA form"),
    "short IPv4": (to_name(b"127.1"), "four decimal parts"),
    "newline": (to_name(b"a\n"), "is not a host name"),
}


BINDS = {
    "address": (to_address(b"\xc0\0\2\1", 21, command=2), SocketAddress("192.0.2.1", 21), ""),
    "no port": (to_address(b"\xc0\0\2\1", 0, b"ann", command=2), SocketAddress("192.0.2.1", 0), "ann"),
    "anybody": (to_address(bytes(4), 0, command=2), SocketAddress("0.0.0.0", 0), ""),
    "name": (to_address(b"\0\0\0\1", 0, command=2) + b"Peer.example\0", SocketAddress("Peer.example", 0), ""),
}


@pytest.mark.parametrize("early", [b"", b"\0early\0"])
@pytest.mark.parametrize(("data", "target", "user"), BINDS.values(), ids=BINDS)
def test_bind(data: bytes, target: SocketAddress, user: str, early: bytes) -> None:
    """It is split at every byte, and answered twice."""
    for cut in range(1, len(data) + 1):
        handshake = ProxyHandshake()
        assert handshake.receive(data[:cut]) == b""
        assert (handshake.request is None) == (cut < len(data))
        if cut < len(data):
            assert handshake.receive(data[cut:] + early) == b""
            assert handshake.request == ProxyRequest("SOCKS4", "bind", target, "", early, user)
        assert handshake.succeeded(SocketAddress("192.0.2.9", 0x1234)) == b"\0\x5a\x12\x34\xc0\0\2\x09"
        assert handshake.succeeded(SocketAddress("192.0.2.1", 20)) == b"\0\x5a\0\x14\xc0\0\2\1"
        assert handshake.refused(Outcome.TIMED_OUT) == REJECTED


RESOLVES = {
    "name": (b"\4\xf0\0\0\0\0\0\1u\0www.example\0", SocketAddress("www.example", 0), "u"),
    "port": (b"\4\xf0\0\x50\0\0\0\1\0www.example\0", SocketAddress("www.example", 0), ""),
    "address": (b"\4\xf0\0\0\xc0\0\2\1\0", SocketAddress("192.0.2.1", 0), ""),
}


@pytest.mark.parametrize(("data", "target", "user"), RESOLVES.values(), ids=RESOLVES)
def test_resolve(data: bytes, target: SocketAddress, user: str) -> None:
    """Tor's socks-extensions section 2; the bytes are what tor-resolve sends, and what Tor replies."""
    for cut in range(1, len(data)):
        handshake = ProxyHandshake()
        handshake.receive(data[:cut])
        assert handshake.request is None
        assert handshake.receive(data[cut:]) == b""
        assert handshake.request == ProxyRequest("SOCKS4", "resolve", target, "", b"", user)
        assert handshake.succeeded(SocketAddress("127.201.31.189", 0)) == b"\x00Z\x00\x00\x7f\xc9\x1f\xbd"
        assert handshake.refused(Outcome.NAME_NOT_FOUND) == REJECTED


@pytest.mark.parametrize(("data", "reason"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_bad_request(data: bytes, reason: str) -> None:
    with pytest.raises(HandshakeError) as caught:
        ProxyHandshake().receive(data)
    assert reason in caught.value.reason
    assert caught.value.reply == REJECTED
    assert not isinstance(caught.value, AuthenticationError)


@pytest.mark.parametrize("data", [to_address(b"\xc0\0\2\1", 80, b"a\x07"), to_name(b"example.com", 443, b"a\x07")])
def test_it_is_not_enough_where_clients_authenticate(data: bytes) -> None:
    with pytest.raises(AuthenticationError, match="SOCKS4 cannot authenticate") as caught:
        ProxyHandshake("required").receive(data)
    assert (caught.value.reply, caught.value.claimed_user) == (REJECTED, "a?")


@pytest.mark.parametrize("outcome", Outcome)
def test_refused(outcome: Outcome) -> None:
    handshake = ProxyHandshake()
    handshake.receive(to_address(b"\xc0\0\2\1"))
    assert handshake.refused(outcome) == REJECTED


@pytest.mark.parametrize(
    ("bound", "reply"),
    [
        (SocketAddress("192.0.2.9", 0x1234), b"\0\x5a\x12\x34\xc0\0\2\x09"),
        (SocketAddress("::1", 80), b"\0\x5a\0\x50\0\0\0\0"),
    ],
)
def test_succeeded(bound: SocketAddress, reply: bytes) -> None:
    handshake = ProxyHandshake()
    handshake.receive(to_address(b"\xc0\0\2\1"))
    assert handshake.succeeded(bound) == reply


def test_closed_too_early() -> None:
    handshake = ProxyHandshake()
    handshake.receive(to_name(b"example.com")[:-1])
    with pytest.raises(HandshakeError, match=r"^the client closed before its SOCKS4 request was complete$"):
        handshake.eof()


def test_there_are_no_credentials_to_answer() -> None:
    handshake = ProxyHandshake("optional")
    handshake.receive(to_address(b"\xc0\0\2\1"))
    for answer in (handshake.accepted, handshake.rejected):
        with pytest.raises(RuntimeError, match="no credentials"):
            answer()
