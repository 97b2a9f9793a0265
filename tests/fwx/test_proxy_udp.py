"""SOCKS5's UDP datagrams (RFC 1928 section 7): the header, and the relay that hears one client alone."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.interfaces import SocketAddress
from fwx.proxy.socks5_datagram import FragmentError, HeaderCodec, datagram_header, parse_datagram
from fwx.proxy.udp_relay import UdpRelay

CLIENT = SocketAddress("192.0.2.1", 4000)
FAR = SocketAddress("198.51.100.7", 53)

V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1")

# bytes, target, payload
GOOD = [
    (b"\0\0\0\1\xc6\x33\x64\x07\0\x35query", FAR, b"query"),
    (b"\0\0\0\1\xc6\x33\x64\x07\0\x35", FAR, b""),
    (b"\0\0\0\3\x0bname.example"[:-1] + b"\0\x35q", SocketAddress("name.exampl", 53), b"q"),
    (
        b"\0\0\0\4" + socket.inet_pton(socket.AF_INET6, "2001:db8::1") + b"\x01\xbbx",
        SocketAddress("2001:db8::1", 443),
        b"x",
    ),
]
BAD = [
    (b"", "0 bytes are no SOCKS5 datagram"),
    (b"\0\0\0", "3 bytes are no SOCKS5 datagram"),
    (b"\0\1\0\1\xc6\x33\x64\x07\0\x35", "the reserved bytes are not 00 00"),
    (b"\0\0\1\1\xc6\x33\x64\x07\0\x35query", "it is fragment 0x01"),
    (b"\0\0\x81\1\xc6\x33\x64\x07\0\x35query", "it is fragment 0x81"),
    (b"\0\0\0\2\xc6\x33\x64\x07\0\x35", "address type 0x02 is not 01, 03 or 04"),
    (b"\0\0\0\1\xc6\x33\x64", "the address is cut off"),
    (b"\0\0\0\1\xc6\x33\x64\x07\0", "the header is cut off"),
    (b"\0\0\0\3", "the name is cut off"),
    (b"\0\0\0\3\x05abc", "the address is cut off"),
    (b"\0\0\0\3\x02\xc3\xa4\0\x35", "not ASCII"),
    (b"\0\0\0\1\xc6\x33\x64\x07\0\0", "port"),
    (b"\0\0\0\3\0\0\x35", "name"),
]


@pytest.mark.parametrize(("datagram", "target", "payload"), GOOD)
def test_good_ones(datagram: bytes, target: SocketAddress, payload: bytes) -> None:
    found, told = parse_datagram(datagram)
    assert (bytes(found), told) == (payload, target)
    if target.address is not None:
        assert datagram_header(target) + payload == datagram


@pytest.mark.parametrize(("datagram", "reason"), BAD)
def test_bad_ones(datagram: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_datagram(datagram)


@pytest.mark.parametrize("datagram", [each[0] for each in GOOD])
def test_cut_off_anywhere(datagram: bytes) -> None:
    """Whatever is left is refused, or is a shorter payload; never an error from inside."""
    for length in range(len(datagram)):
        try:
            parse_datagram(datagram[:length])
        except ValueError:
            continue


@given(st.binary(max_size=300))
def test_garbage(datagram: bytes) -> None:
    try:
        payload, target = parse_datagram(datagram)
    except ValueError:
        return
    assert datagram.endswith(bytes(payload))
    assert target.port


def test_a_target_that_is_a_name() -> None:
    assert datagram_header(SocketAddress("name.exampl", 53)) + b"q" == GOOD[2][0]
    for name, words in (("n\xe4me.example", "ascii"), ("x" * 256, "256 bytes")):
        with pytest.raises(ValueError, match=words):
            datagram_header(SocketAddress(name, 1))


@pytest.mark.parametrize(("datagram", "target", "payload"), GOOD)
def test_headers_that_are_known(datagram: bytes, target: SocketAddress, payload: bytes) -> None:
    """The second time is as the first; what follows a known header may be anything, and cutting it off is no match."""
    codec = HeaderCodec()
    header = datagram[: len(datagram) - len(payload)]
    for data in (payload, payload, b"", b"\0" * 9000):
        assert codec.split(header + data) == (data, (target.host, target.port))
    for length in range(len(header)):
        with pytest.raises(ValueError, match=r"no SOCKS5 datagram|cut off|name|port|a literal|decimal"):
            codec.split(header[:length])
    with pytest.raises(FragmentError, match="fragment"):
        codec.split(b"\0\0\1" + datagram[3:])
    for _ in range(2):
        assert codec.header((target.host, target.port)) == header


def test_known_headers_are_bounded() -> None:
    codec = HeaderCodec()
    for port in range(1, 5000):
        codec.split(datagram_header(FAR.with_port(port)))
        codec.header((FAR.host, port))
    assert len(codec._targets) <= 1024
    assert len(codec._headers) <= 1024


@given(st.lists(st.binary(max_size=40) | st.sampled_from([each[0] for each in GOOD + BAD]), max_size=8))
def test_known_headers_change_nothing(datagrams: list[bytes]) -> None:
    """Whatever came before, a datagram is taken as one that comes first."""
    codec = HeaderCodec()
    for datagram in datagrams:
        try:
            payload, target = parse_datagram(datagram)
        except ValueError as error:
            with pytest.raises(type(error)):
                codec.split(datagram)
        else:
            assert codec.split(datagram) == (bytes(payload), (target.host, target.port))


class Datagrams:
    """A socket that brings what the test says."""

    fd = 7

    def __init__(self, *arrivals: tuple[bytes, SocketAddress]) -> None:
        self.arrivals = list(arrivals)
        self.sent: list[tuple[bytes, Any]] = []

    def receive(self) -> tuple[bytes, tuple[Any, ...]]:
        if not self.arrivals:
            raise BlockingIOError(errno.EAGAIN, "nothing")
        data, sender = self.arrivals.pop(0)
        return data, sender.sockaddr

    def send_to(self, data: Any, sockaddr: tuple[Any, ...]) -> None:
        self.sent.append((data, sockaddr))

    watch = take_error = has_data = getsockname = close = None


def relay(client: SocketAddress, *arrivals: tuple[bytes, SocketAddress]) -> UdpRelay:
    return UdpRelay(Datagrams(*arrivals), client)  # type: ignore[arg-type]


def test_one_client_alone() -> None:
    """Another host, another port, a fragment: dropped; the next good one comes."""
    made = relay(
        CLIENT,
        (GOOD[0][0], SocketAddress("192.0.2.2", 4000)),
        (GOOD[0][0], CLIENT.with_port(4001)),
        (BAD[3][0], CLIENT),
        (GOOD[0][0], CLIENT),
    )
    payload, target = made.receive()
    assert (bytes(payload), target) == (b"query", (FAR.host, FAR.port))
    assert made.dropped == {"of strangers": 2, "fragments": 1}
    with pytest.raises(BlockingIOError):
        made.receive()


def test_the_port_that_a_client_did_not_name() -> None:
    """The first good datagram's; until then there is nobody to send to, afterwards no other port counts."""
    made = relay(
        CLIENT.with_port(0), (b"junk", CLIENT.with_port(9)), (GOOD[0][0], CLIENT), (GOOD[0][0], CLIENT.with_port(9))
    )
    with pytest.raises(OSError, match="not connected"):
        made.send_to(b"x", FAR.sockaddr)
    made.receive()
    assert (made.client, made.moved) == (CLIENT, True)
    with pytest.raises(BlockingIOError):
        made.receive()
    made.send_to(memoryview(b"answer"), FAR.sockaddr)
    assert made._datagrams.sent == [(GOOD[1][0] + b"answer", CLIENT.sockaddr)]  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="not connected"):
        made.send(b"x")


def test_a_flood_is_left_for_the_next_turn() -> None:
    made = relay(CLIENT, *[(b"junk", CLIENT)] * 300)
    with pytest.raises(InterruptedError):
        made.receive()
    assert made.dropped == {"malformed": 256}
