"""BIND of a rule that names an upstream, which the test plays: two replies, lies, and every way to end (topic 8)."""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from fwx.impl.policy import Rule
from fwx.impl.route import routes
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    SocketAddress,
    fwx_AcceptedConnection,
    fwx_Bind_Tcp,
    fwx_dfpc_Middle,
    fwx_Listen,
)
from fwx.interfaces.hresult import (
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_POLICY_RULES_DENIED,
    HRESULT_FROM_WIN32,
    WSAEACCES,
    WSAEAFNOSUPPORT,
    WSAECONNABORTED,
    WSAECONNREFUSED,
    WSAECONNRESET,
    WSAETIMEDOUT,
)
from fwx.proxy.http_connect_client import HttpConnectClient
from fwx.proxy.socks5 import packed_address
from fwx.proxy.socks5_client import Socks5Client
from fwx.proxy.socks5_codes import BIND
from tests.impl.binder import PEER, Binder
from tests.impl.conftest import Rig
from tests.impl.peers import Peer
from tests.impl.way import GREETED, Way

BOUND = SocketAddress("203.0.113.9", 4000)
COMES = SocketAddress("127.0.0.1", 50000)
THROUGH = Rule("through", "allow", ("any",), ("localhost",), ("any", "localhost"), upstream="parent")
ALL = fwx_Bind_Tcp | fwx_Listen | fwx_AcceptedConnection | FWX_ALL_SOURCES


def reply(address: SocketAddress, code: int = 0) -> bytes:
    return bytes((5, code, 0)) + packed_address(address)


def asks(peer: SocketAddress) -> bytes:
    return b"\x05\x02\x00" + packed_address(peer)


def winsock(code: int) -> int:
    return int(HRESULT_FROM_WIN32(code))


class Through(Binder):
    """A client whose BIND goes to an upstream."""

    def __init__(self, rig: Rig, way: Way, rule: Rule = THROUGH) -> None:
        super().__init__(rig)
        self.way = way
        rig.engine.policy = rig.policy(rule)
        rig.engine.routes = routes([way.upstream(binding=partial(Socks5Client, command=BIND))])

    def closed(self) -> None:
        """Where the upstream says that it listens, nobody does."""

    def asked(self, target: SocketAddress = PEER, asked: SocketAddress | None = None, **more: Any) -> Peer:
        """Have the client ask; return the upstream's end, which has been asked."""
        self.bind(target, **more)
        upstream = self.way.accept()
        upstream.expect(GREETED)
        upstream.send(b"\x05\x00")
        upstream.expect(asks(asked or target))
        return upstream


@pytest.fixture
def through(rig: Rig, way: Way) -> Through:
    return Through(rig, way)


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_two_replies(rig: Rig, through: Through, watcher: Any, filtered: bool, together: bool) -> None:
    """B8.8: the same events, with the addresses that the upstream lends; what comes with a reply is not lost."""
    events: list[Any] = []
    watching = watcher()

    def handle(event: Any) -> None:
        events.append(event)
        if filtered and event.EventType == fwx_AcceptedConnection:
            event.Parameters.Accept.piConnectionAccepted.AttachDataFilter(watching, fwx_dfpc_Middle, None)

    rig.host(handle=handle, mask=ALL)
    upstream = through.asked(early=b"early")
    if together:
        upstream.send(reply(BOUND) + reply(COMES) + b"220 ready")
    else:
        upstream.send(reply(BOUND))
        rig.until(lambda: through.told)
        for byte in reply(COMES):
            assert not through.peers
            upstream.send(bytes((byte,)))
            rig.settle()
        upstream.send(b"220 ready")
    rig.until(lambda: through.peers)
    assert (through.told, through.peers) == ([BOUND], [COMES])
    through.client.expect(b"220 ready")
    through.client.send(b" and late")
    upstream.expect(b"early and late")
    bind, listen, accept = (event.Parameters for event in events)
    assert bind.Bind.Address.host == "127.0.0.1"
    assert listen.Listen.Address == BOUND
    assert (accept.Accept.RemoteAddress, accept.Accept.LocalAddress) == (COMES, BOUND)
    assert not len(rig.packet_filter)
    upstream.shutdown()
    through.client.expect_end()
    through.client.shutdown()
    upstream.expect_end()
    rig.until(lambda: through.left)
    record = next(record for record in rig.records if record.source_port == COMES.port)
    assert (record.destination_ip, record.destination_port, record.destination_proxy) == (BOUND.host, 4000, "parent")
    assert (record.bytes_sent, record.bytes_received, record.rule) == (9, 14, "through")
    if filtered:
        assert b"".join(bytes(buffer.GetBufferAndSize()) for buffer in watching.passed[False]) == b"220 ready"


def test_an_unspecified_address(rig: Rig, through: Through, way: Way) -> None:
    """What it leaves out is where it was reached."""
    through.asked().send(reply(SocketAddress("0.0.0.0", 4000)))
    rig.until(lambda: through.told)
    assert through.told == [way.address.with_port(4000)]
    through.client.close()
    assert through.refusal() == winsock(WSAECONNRESET)


def test_anybody(rig: Rig, through: Through) -> None:
    """The upstream is asked for anybody, and our rules still say who."""
    anybody = SocketAddress("0.0.0.0", 0)
    upstream = through.asked(anybody)
    upstream.send(reply(BOUND) + reply(SocketAddress("203.0.113.66", 1)))
    assert through.refusal() == winsock(WSAECONNREFUSED)
    upstream.expect_reset()
    assert FWX_E_POLICY_RULES_DENIED in [record.resultcode for record in rig.records]


def test_a_name(rig: Rig, through: Through) -> None:
    """It is resolved here, as its addresses are judged; the upstream is asked for the first one that may come."""
    rig.names.table["peer.example"] = ["203.0.113.1", "127.0.0.1"]
    upstream = through.asked(SocketAddress("peer.example", 21), PEER)
    upstream.send(reply(BOUND) + reply(COMES))
    rig.until(lambda: through.peers)


def test_it_lets_the_wrong_peer_in(rig: Rig, through: Through) -> None:
    """Nobody else will come, so the client is told."""
    upstream = through.asked()
    upstream.send(reply(BOUND) + reply(SocketAddress("127.0.0.66", 1)))
    assert through.refusal() == winsock(WSAECONNREFUSED)
    upstream.expect_reset()
    (record,) = [record for record in rig.records if record.action is Action.Denied]
    assert (record.source_ip, record.resultcode) == ("127.0.0.66", FWX_E_ADDRESS_NOT_ALLOWED)


def test_a_filter_denies_who_has_come(rig: Rig, through: Through) -> None:
    def handle(event: Any) -> None:
        if event.EventType == fwx_AcceptedConnection:
            event.Parameters.Accept.piConnectionAccepted.Deny(0)

    rig.host("denying", handle=handle, mask=ALL)
    upstream = through.asked()
    upstream.send(reply(BOUND) + reply(COMES))
    assert through.refusal() == winsock(WSAECONNREFUSED)
    upstream.expect_reset()


def test_a_filter_kills_it_as_the_upstream_listens(rig: Rig, through: Through) -> None:
    def handle(event: Any) -> None:
        if event.EventType == fwx_Listen:
            event.Parameters.Listen.piConnection.Kill()

    rig.host("killing", handle=handle, mask=ALL)
    upstream = through.asked()
    upstream.send(reply(BOUND))
    assert through.refusal() == winsock(WSAECONNABORTED)
    assert not through.told
    upstream.expect_reset()


REFUSALS = {
    "not allowed": (reply(PEER, 2), WSAEACCES),
    "no BIND": (reply(PEER, 7), WSAECONNABORTED),
    "a name": (b"\x05\x00\x00\x03\x01a\x00\x50", WSAECONNABORTED),
    "no port": (reply(SocketAddress("203.0.113.9", 0)), WSAECONNABORTED),
    "nonsense": (b"HTTP/1.1 400", WSAECONNABORTED),
    "second: timed out": (reply(BOUND) + reply(PEER, 6), WSAETIMEDOUT),
    "second: a name": (reply(BOUND) + b"\x05\x00\x00\x03\x01a\x00\x50", WSAECONNABORTED),
    "second: nonsense": (reply(BOUND) + b"HTTP/1.1 400", WSAECONNABORTED),
}


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(("said", "code"), REFUSALS.values(), ids=REFUSALS)
def test_it_refuses(rig: Rig, through: Through, said: bytes, code: int, at_once: bool) -> None:
    upstream = through.asked()
    if at_once:
        upstream.send(said)
    else:
        for byte in said[:-1]:
            upstream.send(bytes((byte,)))
            if through.refusals:
                break
        else:
            upstream.send(said[-1:])
    assert through.refusal() == winsock(code)
    assert "parent" in rig.records[-1].reason
    assert bool(through.told) == (said[: len(reply(BOUND))] == reply(BOUND))


@pytest.mark.parametrize("when", ["first", "second"])
@pytest.mark.parametrize("how", ["end", "reset"])
def test_it_goes_away(rig: Rig, through: Through, when: str, how: str) -> None:
    upstream = through.asked()
    if when == "second":
        upstream.send(reply(BOUND))
        rig.until(lambda: through.told)
    upstream.close() if how == "end" else upstream.reset()
    assert through.refusal() == winsock(WSAECONNRESET)


@pytest.mark.parametrize("when", ["first", "second"])
def test_the_client_goes_away(rig: Rig, through: Through, when: str) -> None:
    """The upstream is let go at once."""
    upstream = through.asked()
    if when == "second":
        upstream.send(reply(BOUND))
        rig.until(lambda: through.told)
    through.client.close()
    assert through.refusal() == winsock(WSAECONNRESET)
    upstream.expect_reset()


def test_it_does_not_answer(rig: Rig, through: Through) -> None:
    upstream = through.asked()
    rig.clock.advance(20.0)
    assert through.refusal() == winsock(WSAETIMEDOUT)
    upstream.expect_reset()


def test_addresses_that_the_protocol_cannot_say(rig: Rig, through: Through) -> None:
    upstream = through.asked(families=(socket.AF_INET,))
    upstream.send(reply(SocketAddress("2001:db8::9", 4000)))
    assert through.refusal() == winsock(WSAEAFNOSUPPORT)
    upstream.expect_reset()


def test_a_protocol_without_it(rig: Rig, way: Way) -> None:
    """HTTP has no BIND: refused, and nobody is asked."""
    through = Through(rig, way)
    rig.engine.routes = routes([way.upstream(HttpConnectClient)])
    through.bind()
    assert through.refusal() == FWX_E_POLICY_RULES_DENIED
    assert "through upstream 'parent', whose protocol has no BIND" in rig.records[0].reason
    assert way.nobody_comes()
