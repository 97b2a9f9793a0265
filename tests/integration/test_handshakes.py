"""Clients of the proxy port that send garbage, too little, too slowly or too much."""

from __future__ import annotations

import random
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import HRESULT_FROM_WIN32, WSAECONNABORTED, WSAECONNRESET, WSAETIMEDOUT

LIMITS = """
[limits]
handshake_seconds = 0.3
tcp_per_address = 1000
tcp_connects_per_minute_per_address = 1000
"""
LATE = "the handshake was not complete before the deadline (handshake_seconds)"
REQUEST = b"\x05\x01\x00\x05\x01\x00\x03\x0blocalhost.."

# What is sent, how the answer starts, and the reason in the log.
UNFINISHED = {
    "nothing": (b"", b"", "it sent anything"),
    "a byte": (b"\x05", b"", "its SOCKS5 greeting was complete"),
    "half a greeting": (b"\x05\x03\x00\x01", b"", "its SOCKS5 greeting was complete"),
    "a greeting": (b"\x05\x01\x00", b"\x05\x00", "its SOCKS5 request was complete"),
    "half a request": (REQUEST, b"\x05\x00", "its SOCKS5 request was complete"),
    "half a SOCKS4 request": (b"\x04\x01\x00\x50\x7f\x00\x00\x01me", b"", "its SOCKS4 request was complete"),
    "half a SOCKS4a name": (b"\x04\x01\x00\x50\0\0\0\x01\0localh", b"", "its SOCKS4 request was complete"),
    "a letter": (b"C", b"", "its HTTP request head was complete"),
    "half a method": (b"GE", b"", "its HTTP request head was complete"),
    "half a plain head": (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n", b"", "its HTTP request head was complete"),
    "half a line": (b"CONNECT 127.0.0.1:80", b"", "its HTTP request head was complete"),
    "half a head": (b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: a\r\n", b"", "its HTTP request head was complete"),
}
WRONG = {
    "zeros": (b"\0" * 100_000, b"", "first byte 0x00 is neither SOCKS nor HTTP"),
    "ones": (b"\xff" * 100_000, b"", "first byte 0xff is neither SOCKS nor HTTP"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00", b"", "TLS (first byte 0x16) on the proxy port"),
    "SOCKS4 command": (b"\x04\x03\x00\x50\x7f\x00\x00\x01\x00", b"\x00\x5b", "SOCKS4 command 0x03"),
    "SOCKS4 user": (b"\x04\x01\x00\x50\x7f\x00\x00\x01" + b"u" * 999, b"\x00\x5b", "SOCKS4 user id over 255"),
    "SOCKS4a name": (b"\x04\x01\x00\x50\0\0\0\x01\0a b\0", b"\x00\x5b", "'a b' is not a host name"),
    "SOCKS5 password": (b"\x05\x01\x02", b"\x05\xff", "SOCKS5 methods 02 lack 00"),
    "SOCKS5 command": (b"\x05\x01\x00\x05\xf2\x00\x01\x7f\0\0\x01\0\x50", b"\x05\x00\x05\x07", "command 0xf2 is not"),
    "SOCKS5 address type": (b"\x05\x01\x00\x05\x01\x00\x02\0\0\0\0", b"\x05\x00\x05\x08", "address type 0x02"),
    "SOCKS5 port 0": (b"\x05\x01\x00\x05\x01\x00\x01\x7f\0\0\x01\0\0", b"\x05\x00\x05\x01", "port 0 is outside 1 to"),
    "no proxy's GET": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 400 ", "target '/' is not in absolute form"),
    "https": (b"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 501 ", "scheme 'https' is not supported"),
    "two lengths": (
        b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 400 ", "conflicting Content-Length",
    ),
    "bare LF": (b"GET http://a/ HTTP/1.1\nHost: a\n\n", b"HTTP/1.1 400 ", "a line ends with LF alone"),
    "bare LF to CONNECT": (b"CONNECT a:1 HTTP/1.1\nHost: a\n\n", b"HTTP/1.1 400 ", "a line ends with LF alone"),
    "HTTP port": (b"CONNECT a:x HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 400 ", "'a:x' is not host:port"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.1 505 ", "HTTP/2.0 is not supported"),
    "letters": (b"A" * 100_000, b"HTTP/1.1 431 ", "HTTP: "),
    "a long head": (b"CONNECT a:1 HTTP/1.1\r\n" + b"X: y\r\n" * 9000 + b"\r\n", b"HTTP/1.1 431 ", "HTTP: "),
}  # fmt: skip


def failed(code: int) -> tuple[int, int]:
    return Action.Failed, int(HRESULT_FROM_WIN32(code))


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def firewall(request: pytest.FixtureRequest, serve_for_module: Any) -> Any:
    return serve_for_module(LIMITS, loop=request.param)


@pytest.fixture
def new_row(firewall: Any) -> Any:
    """Wait for the only record that is written after this test's beginning, and return it."""
    before = len(firewall.rows())

    def wait() -> dict[str, Any]:
        row = firewall.wait_rows(before + 1)[-1]
        firewall.wait_base_line()
        return dict(row)

    return wait


@pytest.fixture
def send_all(firewall: Any, client: Any) -> Any:
    """Send every text of a table, each on a connection of its own; return what each was answered, and its record."""

    def talk(opened: socket.socket, data: bytes, *, then_end: bool) -> bytes:
        try:
            opened.sendall(data)
            if then_end:
                opened.shutdown(socket.SHUT_WR)
            return bytes(client.to_end(opened))
        except ConnectionError:  # there was more to read for the service than it wants of a stranger
            return b""
        finally:
            opened.close()

    def send(cases: dict[str, tuple[bytes, bytes, str]], *, then_end: bool = False) -> dict[str, Any]:
        crowd = [client.connect(firewall.address()) for _ in cases]
        ports = [opened.getsockname()[1] for opened in crowd]
        with ThreadPoolExecutor(len(cases)) as pool:
            sent = (case[0] for case in cases.values())
            talks = [pool.submit(talk, *pair, then_end=then_end) for pair in zip(crowd, sent, strict=True)]
        rows = [firewall.wait_row(SourcePort=port) for port in ports]
        firewall.wait_base_line()
        return {name: (talks[number].result(), rows[number]) for number, name in enumerate(cases)}

    return send


def test_too_slow(send_all: Any) -> None:
    """The deadline ends it, whatever has come."""
    for name, (answer, row) in send_all(UNFINISHED).items():
        assert answer == UNFINISHED[name][1], name
        assert ((row["Action"], row["resultcode"]), row["reason"]) == (failed(WSAETIMEDOUT), LATE), name
        assert (row["SourceIP"], row["Interface"], row["DestinationIP"]) == ("127.0.0.1", "proxy", ""), name


def test_truncated(send_all: Any) -> None:
    """The client ends its sending in the middle of the handshake."""
    for name, (answer, row) in send_all(UNFINISHED, then_end=True).items():
        assert answer == UNFINISHED[name][1], name
        assert (row["Action"], row["resultcode"]) == failed(WSAECONNABORTED), name
        assert row["reason"] == f"the client closed before {UNFINISHED[name][2]}"


def test_wrong(send_all: Any) -> None:
    """It is refused in the client's own protocol where there is one, and the refusal arrives."""
    for name, (answer, row) in send_all(WRONG).items():
        _, expected, reason = WRONG[name]
        assert answer.startswith(expected), name
        assert bool(answer) == bool(expected), name
        assert (row["Action"], row["resultcode"]) == failed(WSAECONNABORTED), name
        assert reason in row["reason"]


def test_reset(firewall: Any, client: Any, new_row: Any) -> None:
    opened = client.connect(firewall.address())
    opened.sendall(b"\x05\x01\x00")
    assert client.exactly(opened, 2) == b"\x05\x00"
    client.reset(opened)
    row = new_row()
    assert (row["Action"], row["resultcode"]) == failed(WSAECONNRESET)
    assert "the client went away during the handshake" in row["reason"]


@pytest.mark.parametrize("kind", ["SOCKS5", "HTTP"])
def test_byte_by_byte(firewall: Any, client: Any, origin: Any, new_row: Any, kind: str) -> None:
    """A handshake in single bytes, with the first data right behind it, is as good as any."""
    server = origin("answer_at_end")
    request = {
        "SOCKS5": b"\x05\x01\x00" + client.socks_request(server.address),
        "HTTP": b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: a\r\n\r\n" % server.port,
    }[kind]
    opened = client.connect(firewall.address())
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in request + b"early":
        opened.send(bytes([byte]))
    opened.shutdown(socket.SHUT_WR)
    assert client.to_end(opened).endswith(b"5 bytes")
    assert new_row()["bytessent"] == 5


def test_two_hundred_at_once(firewall: Any, client: Any, origin: Any) -> None:
    """A crowd that talks nonsense: each is sent away and logged, and others are served meanwhile."""
    before = len(firewall.rows())
    noise = random.Random(7)
    crowd = [client.connect(firewall.address()) for _ in range(200)]
    for opened in crowd:
        try:
            opened.sendall(noise.randbytes(noise.randrange(1, 3000)))
        except ConnectionError:  # sent away after the first bytes
            continue
    with client.socks(firewall.address(), origin("echo").address) as served:
        served.sendall(b"x")
        assert client.exactly(served, 1) == b"x"
    for opened in crowd:
        try:
            client.to_end(opened)
        except ConnectionResetError:
            continue
        finally:
            opened.close()
    rows = firewall.wait_rows(before + 201)[before:]
    assert [row["Action"] for row in rows].count(Action.Failed) == 200
    assert all(row["reason"] for row in rows if row["Action"] == Action.Failed)
    firewall.wait_base_line()
