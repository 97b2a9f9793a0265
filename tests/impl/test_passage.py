"""Through upstreams: one handshake inside the other, one deadline for all, and upstreams that do not play along."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.departure import Departure
from fwx.impl.passage import MOST_TARGETS
from fwx.impl.route import Direct, routes
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import (
    WSAEACCES,
    WSAEAFNOSUPPORT,
    WSAECONNABORTED,
    WSAECONNREFUSED,
    WSAECONNRESET,
    WSAEHOSTUNREACH,
    WSAENETUNREACH,
    WSAETIMEDOUT,
    WSAHOST_NOT_FOUND,
)
from fwx.proxy.http_connect_client import HttpConnectClient
from fwx.proxy.socks5_client import Socks5Client
from tests.impl.way import ACCOUNT, GREETED, NAME, OTHER_V4, REPLY, V4, V6, Way, connect, request

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

# ---- it works ------------------------------------------------------------------------------------------------------


def test_by_name(rig: Rig, way: Way) -> None:
    """The upstream gets the name, which is looked up by nobody here (field row 33)."""
    way.dial(way.upstream())
    peer = way.accept()
    peer.expect(GREETED)
    peer.send(b"\x05\x00")
    peer.expect(request(NAME))
    peer.send(REPLY + b"220 ready")
    end = way.end()
    assert end.transport is not None
    assert (end.address, end.peer, end.early, end.code) == (None, way.address, b"220 ready", 0)
    assert rig.names.asked == []
    assert way.alerts() == []
    end.transport.send(b"hello")
    peer.expect(b"hello")


@pytest.mark.parametrize("target", [V4, V6])
def test_by_address(way: Way, target: SocketAddress) -> None:
    """What policy judged is what is asked for: another address cannot take the name's place."""
    way.dial(way.upstream(HttpConnectClient), NAME, [target])
    peer = way.accept()
    peer.expect(connect(target))
    peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
    assert way.end().address == target


def test_every_byte_by_itself(way: Way) -> None:
    way.dial(way.upstream(account=ACCOUNT))
    peer = way.accept()
    peer.expect(b"\x05\x02\x00\x02")
    for data, answer in (
        (b"\x05\x02", b"\x01\x06branch\x0bsecret word"),
        (b"\x01\x00", request(NAME)),
        (REPLY, b""),
    ):
        for byte in data:
            peer.expect_nothing()
            peer.send(bytes((byte,)))
        peer.expect(answer)
    assert way.end().early == b""


def test_the_upstreams_own_name_is_resolved(rig: Rig, way: Way) -> None:
    """And several addresses of it are tried as those of any server."""
    rig.names.table["proxy.example"] = ["::1", "127.0.0.1"]
    way.dial(way.upstream(HttpConnectClient, address=SocketAddress("proxy.example", way.address.port)))
    way.accept().send(b"HTTP/1.1 200 OK\r\n\r\n")
    end = way.end()
    assert (end.peer, end.code) == (way.address, 0)


def test_the_upstreams_name_is_resolved_later(rig: Rig, way: Way) -> None:
    way.dial(way.upstream(HttpConnectClient, address=SocketAddress("proxy.example", 8080)))
    rig.names.asked.pop()([way.address], 0)
    way.accept().send(b"HTTP/1.1 200 OK\r\n\r\n")
    assert way.end().code == 0


def test_a_chain(way: Way) -> None:
    """B8.1: the handshake of the second upstream runs inside the first, that of the third inside both."""
    first = way.upstream(name="first", account=ACCOUNT)
    second = way.upstream(HttpConnectClient, "second", address=SocketAddress("second.example", 8080), via=first)
    third = way.upstream(name="third", address=SocketAddress("10.3.0.1", 1080), via=second)
    assert third.path == "first, second, third"
    way.dial(third)
    peer = way.accept()
    peer.expect(b"\x05\x02\x00\x02")
    peer.send(b"\x05\x00")
    peer.expect(request(SocketAddress("second.example", 8080)))
    peer.send(REPLY)
    peer.expect(connect(SocketAddress("10.3.0.1", 1080)))
    peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
    peer.expect(GREETED)
    peer.send(b"\x05\x00")
    peer.expect(request(NAME))
    peer.send(REPLY + b"banner")
    assert way.end().early == b"banner"


def test_the_next_address_is_asked_for(way: Way) -> None:
    """Families in turn, over a new connection each, as far as the limit; the upstream's word on the last counts."""
    addresses = [V4, OTHER_V4, SocketAddress("192.0.2.3", 443), V6, SocketAddress("192.0.2.4", 443)]
    way.dial(way.upstream(HttpConnectClient), NAME, addresses)
    order = [V4, V6, OTHER_V4, SocketAddress("192.0.2.3", 443)]
    assert len(order) == MOST_TARGETS
    for number, address in enumerate(order):
        peer = way.accept()
        peer.expect(connect(address))
        peer.send(b"HTTP/1.1 %d No\r\n\r\n" % (503 if number < 3 else 504))
    assert way.failed()[0] == WSAETIMEDOUT
    assert way.alerts() == []


def test_the_second_address_answers(way: Way) -> None:
    way.dial(way.upstream(), NAME, [V6, V4])
    for address, reply in ((V6, b"\x05\x08"), (V4, REPLY)):
        peer = way.accept()
        peer.expect(GREETED)
        peer.send(b"\x05\x00")
        peer.expect(request(address))
        peer.send(reply)
    assert way.end().address == V4


# ---- it does not ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (b"\x05\x01", WSAEHOSTUNREACH, "SOCKS5 reply 0x01 (general failure)"),
        (b"\x05\x02", WSAEACCES, "SOCKS5 reply 0x02 (not allowed by its rules)"),
        (b"\x05\x03", WSAENETUNREACH, "SOCKS5 reply 0x03 (network unreachable)"),
        (b"\x05\x04", WSAEHOSTUNREACH, "SOCKS5 reply 0x04 (host unreachable)"),
        (b"\x05\x05", WSAECONNREFUSED, "SOCKS5 reply 0x05 (connection refused)"),
        (b"\x05\x06", WSAETIMEDOUT, "SOCKS5 reply 0x06 (TTL expired)"),
        (b"\x05\x08", WSAEAFNOSUPPORT, "SOCKS5 reply 0x08 (address type not supported)"),
    ],
)
def test_a_target_that_is_refused(way: Way, reply: bytes, code: int, words: str) -> None:
    """The client's error is that of a straight connection; nobody is alarmed: any client can ask for nonsense."""
    way.dial(way.upstream())
    peer = way.accept()
    peer.send(b"\x05\x00")
    peer.expect(GREETED + request(NAME))
    peer.send(reply)
    assert way.failed() == (code, f"upstream 'parent' ({way.address}): {words}")
    assert way.alerts() == []


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        (b"HTTP/1.1 403 No\r\n\r\n", WSAEACCES, "HTTP status 403 (Forbidden)"),
        (b"HTTP/1.1 502 No\r\n\r\n", WSAEHOSTUNREACH, "HTTP status 502 (Bad Gateway)"),
        (b"HTTP/1.1 504 No\r\n\r\n", WSAETIMEDOUT, "HTTP status 504 (Gateway Timeout)"),
        (
            b"HTTP/1.1 502 No\r\nProxy-Status: x; error=dns_error\r\n\r\n",
            WSAHOST_NOT_FOUND,
            "HTTP status 502 (Bad Gateway), dns_error",
        ),
    ],
)
def test_a_target_that_is_refused_in_http(way: Way, said: bytes, code: int, words: str) -> None:
    way.dial(way.upstream(HttpConnectClient))
    way.accept().send(said)
    assert way.failed() == (code, f"upstream 'parent' ({way.address}): {words}")
    assert way.alerts() == []


@pytest.mark.parametrize(
    ("codec", "said", "code"),
    [
        (Socks5Client, b"\x05\xff", WSAEACCES),
        (Socks5Client, b"\x05\x02\x01\x01", WSAEACCES),
        (HttpConnectClient, b"HTTP/1.1 407 No\r\n\r\n", WSAEACCES),
        (Socks5Client, b"\x04\x00", WSAECONNABORTED),
        (Socks5Client, b"\x05\x80", WSAECONNABORTED),
        (Socks5Client, b"\x05\x00\x04", WSAECONNABORTED),
        (Socks5Client, b"\x05\x00\x05\x07", WSAECONNABORTED),
        (Socks5Client, b"GET / HTTP/1.1\r\n\r\n", WSAECONNABORTED),
        (HttpConnectClient, b"\x05\x00", WSAECONNABORTED),
        (HttpConnectClient, b"HTTP/1.1 400 No\r\n\r\n", WSAECONNABORTED),
        (HttpConnectClient, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20000, WSAECONNABORTED),
    ],
)
def test_an_upstream_that_fails(way: Way, codec: Any, said: bytes, code: int) -> None:
    """It is an operator's matter: an alert says which upstream it was and why, and never the password."""
    way.dial(way.upstream(codec, account=ACCOUNT), NAME, [V4, V6])
    way.accept().send(said)
    result, reason = way.failed()
    assert result == code
    assert way.alerts() == [reason]
    assert reason.startswith(f"upstream 'parent' ({way.address}): ")


def test_a_reply_before_the_request(way: Way) -> None:
    """What was not asked for answers nothing."""
    way.dial(way.upstream())
    way.accept().send(b"\x05\x00" + REPLY)
    assert way.failed() == (WSAECONNABORTED, f"upstream 'parent' ({way.address}): it replied before it was asked")


@pytest.mark.parametrize("said", [b"", b"\x05", b"\x05\x00", b"\x05\x00\x05\x00\x00\x01"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_it_closes_in_the_middle(way: Way, said: bytes, how: str) -> None:
    way.dial(way.upstream())
    peer = way.accept()
    peer.expect(GREETED)
    if said:
        peer.send(said[:2])
        if len(said) > 1:
            peer.expect(request(NAME))
        if said[2:]:
            peer.send(said[2:])
    way.rig.settle()
    getattr(peer, how)()
    code, reason = way.failed()
    # Once it has been asked, that is all that is known of the target.
    assert code == (WSAECONNRESET if len(said) > 1 else WSAEHOSTUNREACH)
    words = "it closed the connection before its reply was complete" if how == "close" else "Connection reset by peer"
    assert reason == f"upstream 'parent' ({way.address}): {words}"
    assert way.alerts() == ([] if len(said) > 1 else [reason])


@pytest.mark.parametrize("said", [b"", b"\x05", b"\x05\x00", b"\x05\x00\x05\x00\x00\x03\xff"])
def test_it_hangs(rig: Rig, way: Way, said: bytes) -> None:
    """One deadline for all together; a slow upstream gets no more by sending a byte now and then."""
    way.dial(way.upstream())
    peer = way.accept()
    for byte in said:
        peer.send(bytes((byte,)))
        rig.settle()
        rig.clock.advance(2.0)
    rig.settle()
    rig.clock.advance(20.0 - 2.0 * len(said) - 0.1)
    assert way.ends == []
    rig.clock.advance(0.2)
    assert way.failed() == (WSAETIMEDOUT, f"upstream 'parent' ({way.address}): it did not answer in time")
    assert len(way.alerts()) == (len(said) < 2)


def test_it_says_more_and_more(rig: Rig, way: Way) -> None:
    """Interim responses without end: bounded in bytes."""
    way.dial(way.upstream(HttpConnectClient))
    peer = way.accept()
    taken = 0
    while not way.ends and taken < 1 << 20:
        try:
            taken += peer._sock.send(b"HTTP/1.1 102 Wait\r\n\r\n" * 50)
        except OSError:
            break
        rig.turns(3)
    assert way.failed()[0] == WSAECONNABORTED


def test_it_cannot_be_reached(way: Way, closed: SocketAddress) -> None:
    """To a client, "refused" would say that its own target refuses."""
    way.dial(way.upstream(address=closed))
    expected = f"upstream 'parent' ({closed}): it cannot be reached: WSAECONNREFUSED"
    assert way.failed() == (WSAEHOSTUNREACH, expected)
    assert way.alerts() == [expected]


def test_it_does_not_answer_at_all(rig: Rig, way: Way, deaf: SocketAddress) -> None:
    way.dial(way.upstream(address=deaf))
    rig.settle()
    rig.clock.advance(20.0)
    assert way.failed() == (WSAETIMEDOUT, f"upstream 'parent' ({deaf}): it did not answer in time")


def test_its_name_does_not_exist(rig: Rig, way: Way) -> None:
    rig.names.table["proxy.example"] = WSAHOST_NOT_FOUND
    way.dial(way.upstream(address=SocketAddress("proxy.example", 1)))
    expected = "upstream 'parent' (proxy.example:1): its name could not be resolved: WSAHOST_NOT_FOUND"
    assert way.failed() == (WSAEHOSTUNREACH, expected)


def test_its_name_is_not_resolved_in_time(rig: Rig, way: Way) -> None:
    way.dial(way.upstream(address=SocketAddress("proxy.example", 1)))
    rig.clock.advance(20.0)
    assert way.failed()[0] == WSAETIMEDOUT
    assert rig.names.cancelled == 1
    rig.names.asked.pop()([way.address], 0)
    assert way.nobody_comes()


def test_it_is_this_service_itself(rig: Rig, way: Way) -> None:
    """The service never connects to itself."""
    rig.own_listeners.add(way.address)
    rig.names.table["proxy.example"] = [way.address.host]
    way.dial(way.upstream(address=SocketAddress("proxy.example", way.address.port)))
    assert way.failed()[0] == WSAEACCES
    assert "is a listener of this service" in way.ends[0].reason


def test_the_second_of_a_chain_fails(way: Way) -> None:
    """The first one's word is not about the client's target."""
    first = way.upstream(name="first")
    way.dial(way.upstream(name="second", address=SocketAddress("10.2.0.1", 1080), via=first), NAME, [V4, V6])
    peer = way.accept()
    peer.send(b"\x05\x00")
    peer.expect(GREETED + request(SocketAddress("10.2.0.1", 1080)))
    peer.send(b"\x05\x05")
    code, reason = way.failed()
    asked = f"upstream 'first' ({way.address}, asked for upstream 'second')"
    assert (code, reason) == (WSAEHOSTUNREACH, f"{asked}: SOCKS5 reply 0x05 (connection refused)")
    assert way.alerts() == [reason]


def test_the_second_of_a_chain_refuses(way: Way) -> None:
    first = way.upstream(HttpConnectClient, "first")
    way.dial(way.upstream(HttpConnectClient, "second", address=SocketAddress("10.2.0.1", 8080), via=first))
    peer = way.accept()
    peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
    peer.expect(connect(SocketAddress("10.2.0.1", 8080)) + connect(NAME))
    peer.send(b"HTTP/1.1 403 No\r\n\r\n")
    assert way.failed() == (WSAEACCES, "upstream 'second' (10.2.0.1:8080): HTTP status 403 (Forbidden)")
    assert way.alerts() == []


def test_the_second_of_a_chain_speaks_too_early(way: Way) -> None:
    """What comes behind the first one's reply is the second one's word."""
    first = way.upstream(HttpConnectClient, "first")
    way.dial(way.upstream(name="second", address=SocketAddress("10.2.0.1", 1080), via=first))
    way.accept().send(b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0-x\r\n")
    words = "its answer starts with 0x53, which is no SOCKS5"
    assert way.failed() == (WSAECONNABORTED, f"upstream 'second' (10.2.0.1:1080): {words}")


def test_a_name_that_cannot_be_asked_for(way: Way) -> None:
    """A filter's socket may be given any name."""
    way.dial(way.upstream(HttpConnectClient), SocketAddress("a\r\nb", 80))
    way.accept().expect(b"")
    assert way.failed()[0] == WSAHOST_NOT_FOUND
    assert way.alerts() == []


@pytest.mark.parametrize("when", ["resolving", "connecting", "asking", "answered"])
def test_cancelled(rig: Rig, way: Way, deaf: SocketAddress, when: str) -> None:
    """Nobody is told, nothing is left; the fixtures count descriptors and what is watched."""
    address = {"resolving": SocketAddress("proxy.example", 1), "connecting": deaf}.get(when, way.address)
    cancel = way.dial(way.upstream(HttpConnectClient, address=address))
    rig.settle()
    if when in ("asking", "answered"):
        peer = way.accept()
        peer.expect(connect(NAME))
        if when == "answered":
            peer._sock.send(b"HTTP/1.1 200 OK\r\n\r\n")
    cancel()
    cancel()
    rig.settle()
    rig.clock.advance(100.0)
    assert way.ends == []
    assert rig.names.cancelled == (when == "resolving")


def test_a_bound_stream_asks_once(rig: Rig, way: Way) -> None:
    """It keeps its local address towards the upstream, and there is no second one to ask for another address with."""
    bound = rig.network.stream(socket.AF_INET)
    bound.bind(("127.0.0.1", 0))
    local = SocketAddress.from_sockaddr(bound.getsockname())
    departure = Departure(rig.network, bound, socket.AF_INET)
    way.upstream(HttpConnectClient).dial(rig.engine, departure, NAME, [V4, V6], way.ends.append)
    peer = way.accept()
    assert SocketAddress.from_sockaddr(peer._sock.getpeername()) == local
    peer.send(b"HTTP/1.1 503 No\r\n\r\n")
    assert way.failed()[0] == WSAEHOSTUNREACH


def test_a_bound_stream_is_closed_when_nothing_is_dialled(rig: Rig, way: Way) -> None:
    """The fixture counts the descriptors."""
    for name in ("nowhere.example", "slow.example"):
        bound = rig.network.stream(socket.AF_INET)
        bound.bind(("127.0.0.1", 0))
        rig.names.table["nowhere.example"] = WSAHOST_NOT_FOUND
        route = way.upstream(address=SocketAddress(name, 1))
        departure = Departure(rig.network, bound, socket.AF_INET)
        route.dial(rig.engine, departure, NAME, None, way.ends.append)()
    assert [end.code for end in way.ends] == [WSAEHOSTUNREACH]


def test_routes_by_name(way: Way) -> None:
    upstream = way.upstream()
    named = routes([upstream])
    assert named["parent"] is upstream
    assert isinstance(named[""], Direct)
    assert (named[""].takes_names, named[""].path, upstream.takes_names) == (False, "", True)
