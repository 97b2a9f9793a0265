"""UDP through an upstream that the test plays: association, nested relays, names, failures, what is left of them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl import upstreamdatagrams
from fwx.impl.datagramanswers import MOST_ANSWERING
from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.datagramways import REST_SECONDS
from fwx.impl.logrecord import Action
from fwx.impl.packetfilter import Claim
from fwx.impl.policy import Rule
from fwx.impl.route import routes
from fwx.interfaces import SocketAddress, fwx_dfpc_Middle, fwx_Udp_Destination
from fwx.interfaces.hresult import (
    HRESULT_FROM_WIN32,
    WSAEACCES,
    WSAECONNABORTED,
    WSAECONNRESET,
    WSAEHOSTUNREACH,
    WSAEINVAL,
    WSAETIMEDOUT,
)
from fwx.proxy.http_connect_client import HttpConnectClient
from fwx.proxy.socks5_datagram import datagram_header
from fwx.upstreams import socks5_relaying
from tests.impl.test_datagramconnection import CLIENT, UDP_MASK, Client, Passing
from tests.impl.way import ACCOUNT, Way

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwx.impl.route import Upstream
    from tests.impl.conftest import Peer, Rig

RULE = Rule("all", "allow", ("any",), ("localhost",), ("any", "localhost"), upstream="parent")
FAR, OTHER = SocketAddress("203.0.113.7", 53), SocketAddress("203.0.113.8", 53)
NAMED, ALSO_NAMED = SocketAddress("dns.example", 53), SocketAddress("ns.example", 53)
REQUEST = b"\x05\x03\x00\x01\0\0\0\0\0\0"


def is_gone(rig: Rig, peer: Peer) -> bool:
    """The control connection has ended, or was given up."""
    rig.until(lambda: peer.take() or peer.ended or peer.error is not None)
    return True


def reply(relay: SocketAddress) -> bytes:
    """The reply that says where the relay is."""
    return b"\x05\x00" + datagram_header(relay)[2:]


class Relay:
    """The UDP side of an upstream."""

    def __init__(self, rig: Rig) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(5)
        self.address = SocketAddress.from_sockaddr(self.socket.getsockname())
        self.client: Any = None
        rig.closing.append(self.socket.close)

    def hear(self) -> bytes:
        datagram, self.client = self.socket.recvfrom(0x10000)
        return datagram

    def say(self, data: bytes, *sources: SocketAddress) -> None:
        """Send *data* in headers of *sources*, the outermost first."""
        self.socket.sendto(b"".join(datagram_header(each) for each in sources) + data, self.client)

    def heard_nothing(self) -> bool:
        self.socket.setblocking(False)
        try:
            self.socket.recvfrom(1)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(5)
        return False


class Play:
    """A client whose destinations lie behind the upstream."""

    def __init__(self, rig: Rig, way: Way, *hosts: Any) -> None:
        self.rig, self.way = rig, way
        self.relay = Relay(rig)
        self.client = Client()
        rig.engine.policy = rig.policy(RULE)
        self.follow(way.upstream(relaying=socks5_relaying()))
        self.connection = FWXDatagramConnection(rig.session(), CLIENT, self.client, lambda _: hosts)  # type: ignore[arg-type]
        self.connection.start()

    def follow(self, *upstreams: Upstream) -> None:
        self.rig.engine.routes = routes(upstreams)

    def say(self, data: bytes, target: SocketAddress) -> None:
        self.client.say(data, target)
        self.rig.settle()

    def asked(self) -> Peer:
        """The control connection, with the request."""
        peer = self.way.accept()
        peer.expect(b"\x05\x01\x00")
        peer.send(b"\x05\x00")
        peer.expect(REQUEST)
        return peer

    def associated(self) -> Peer:
        peer = self.asked()
        peer.send(reply(self.relay.address))
        self.rig.settle()
        return peer

    def failure(self, count: int = 1) -> tuple[int, str]:
        """The one record there is: of a destination that has failed."""
        self.rig.until(lambda: len(self.rig.records) >= count)
        record = self.rig.records[-1]
        assert (len(self.rig.records), record.action, record.destination_proxy[-6:]) == (count, Action.Failed, "parent")
        return record.resultcode, record.reason

    def got(self, *expected: tuple[bytes, SocketAddress]) -> bool:
        self.rig.until(lambda: len(self.client.got) >= len(expected))
        self.rig.settle()
        return self.client.got == list(expected)


@pytest.fixture
def play(rig: Rig, way: Way) -> Iterator[Play]:
    made = Play(rig, way)
    yield made
    made.connection.end()
    rig.settle()
    assert not list(rig.packet_filter)


# ---- it works ------------------------------------------------------------------------------------------------------


def test_there_and_back(rig: Rig, play: Play) -> None:
    """One association for all destinations, what comes meanwhile waits, and the way is open to the relay alone."""
    for data in (b"one", b"two"):
        play.say(data, FAR)
    assert play.relay.heard_nothing()
    play.associated()
    play.say(b"three", OTHER)
    assert [play.relay.hear() for _ in range(3)] == [
        datagram_header(FAR) + b"one", datagram_header(FAR) + b"two", datagram_header(OTHER) + b"three"
    ]  # fmt: skip
    assert play.way.nobody_comes()
    assert [opening.remote for opening in rig.packet_filter] == [play.relay.address]
    assert play.connection.GetExternalSocketName().port == play.relay.client[1]
    play.relay.say(b"answer", OTHER)
    assert play.got((b"answer", OTHER))
    play.connection.end()
    rig.settle()
    told = {(each.destination_ip, each.bytes_sent, each.bytes_received, each.destination_proxy) for each in rig.records}
    assert told == {(FAR.host, 6, 0, "parent"), (OTHER.host, 5, 6, "parent")}


def test_strangers_and_nonsense(play: Play) -> None:
    """Who was not sent to, what does not come from the relay, what is malformed or comes from a name."""
    play.say(b"hello", FAR)
    play.associated()
    play.relay.hear()
    other = Relay(play.rig)
    other.client = play.relay.client
    other.say(b"not the relay", FAR)
    play.relay.say(b"a stranger", OTHER)
    play.relay.say(b"a name", NAMED)
    play.relay.say(b"malformed")
    play.relay.say(b"true", FAR)
    assert play.got((b"true", FAR))


def test_a_flood_of_nonsense_leaves_others_their_turn(play: Play, monkeypatch: Any) -> None:
    monkeypatch.setattr(upstreamdatagrams, "_DROPPED_AT_ONCE", 8)
    play.say(b"hello", FAR)
    play.associated()
    play.relay.hear()
    for _ in range(20):
        play.relay.say(b"nonsense")
    play.relay.say(b"true", FAR)
    assert play.got((b"true", FAR))


def test_the_relay_is_here(play: Play) -> None:
    """A reply of zeros stands for the upstream's own address."""
    play.say(b"hello", FAR)
    play.asked().send(reply(SocketAddress("0.0.0.0", play.relay.address.port)))
    play.rig.settle()
    assert play.relay.hear() == datagram_header(FAR) + b"hello"


def test_an_account(rig: Rig, play: Play, way: Way) -> None:
    play.follow(way.upstream(account=ACCOUNT, relaying=socks5_relaying(ACCOUNT)))
    play.say(b"hello", FAR)
    peer = way.accept()
    peer.expect(b"\x05\x02\x00\x02")
    peer.send(b"\x05\x02")
    peer.expect(b"\x01\x06branch\x0bsecret word")
    peer.send(b"\x01\x00")
    peer.expect(REQUEST)
    peer.send(reply(play.relay.address))
    rig.settle()
    assert play.relay.hear() == datagram_header(FAR) + b"hello"


def test_a_chain(rig: Rig, play: Play, way: Way) -> None:
    """The second's control connection goes through the first; datagrams for it travel within those for its relay."""
    inner = Relay(rig).address
    second = Way(rig)
    first = way.upstream(name="near", relaying=socks5_relaying())
    play.follow(first, second.upstream(name="parent", via=first, relaying=socks5_relaying()))
    play.say(b"hello", FAR)
    peers = {}
    for _ in range(2):
        peer = way.accept()
        peer.expect(b"\x05\x01\x00")
        peer.send(b"\x05\x00")
        rig.until(lambda peer=peer: peer.take() or len(peer.data) >= 10)
        peers[peer.data[1]] = peer
        peer.data.clear()
    peers[1].send(b"\x05\x00\x00\x01\0\0\0\0\0\0")
    peers[1].expect(b"\x05\x01\x00")
    peers[1].send(b"\x05\x00")
    peers[1].expect(REQUEST)
    peers[1].send(reply(inner))
    rig.settle()
    assert play.relay.heard_nothing()
    peers[3].send(reply(play.relay.address))
    rig.settle()
    assert play.relay.hear() == datagram_header(inner) + datagram_header(FAR) + b"hello"
    play.relay.say(b"not of the inner relay", OTHER, FAR)
    play.relay.say(b"true", inner, FAR)
    assert play.got((b"true", FAR))
    peers[3].close()
    assert play.failure()[0] == int(HRESULT_FROM_WIN32(WSAECONNRESET))
    rig.settle()
    assert is_gone(rig, peers[1])


# ---- names ---------------------------------------------------------------------------------------------------------


def test_a_name_is_left_to_the_upstream(play: Play) -> None:
    """It goes as a name; whoever answers on its port is it, and stays it; the answer has the literal address."""
    play.say(b"hello", NAMED)
    play.associated()
    assert play.relay.hear() == datagram_header(NAMED) + b"hello"
    play.relay.say(b"wrong port", FAR.with_port(54))
    for source in (FAR, OTHER, FAR):
        play.relay.say(b"answer", source)
    assert play.got((b"answer", FAR), (b"answer", OTHER), (b"answer", FAR))
    assert play.rig.names.asked == []
    (destination,) = play.connection.destinations
    assert (destination.answering, destination.received) == ({FAR, OTHER}, 18)


def test_two_names(play: Play) -> None:
    """Each gets an answer: the one that waits for longer first."""
    play.say(b"one", NAMED)
    play.say(b"two", ALSO_NAMED)
    play.associated()
    play.relay.hear()
    play.relay.say(b"answer", FAR)
    play.relay.say(b"answer", OTHER)
    assert play.got((b"answer", FAR), (b"answer", OTHER))
    assert [(each.target, each.answering) for each in play.connection.destinations] == [
        (NAMED, {FAR}), (ALSO_NAMED, {OTHER})
    ]  # fmt: skip


def test_a_name_has_so_many_addresses(play: Play) -> None:
    play.say(b"hello", NAMED)
    play.associated()
    play.relay.hear()
    sources = [SocketAddress(f"203.0.113.{number}", 53) for number in range(1, MOST_ANSWERING + 3)]
    for source in sources:
        play.relay.say(b"x", source)
    assert play.got(*((b"x", source) for source in sources[:MOST_ANSWERING]))


# ---- filters -------------------------------------------------------------------------------------------------------


def test_a_filter_that_ends_it_in_its_event(rig: Rig, way: Way) -> None:
    """The event comes before the upstream is asked; what is denied asks nobody."""

    def handle(event: Any) -> None:
        if event.EventType == fwx_Udp_Destination:
            event.Parameters.UdpDest.piUdpDestination.Deny(0)

    made = Play(rig, way, rig.host(mask=UDP_MASK, handle=handle))
    made.say(b"hello", FAR)
    (record,) = rig.records
    assert (record.action, record.reason) == (Action.Denied, "denied by filter 'filter'")
    assert way.nobody_comes()
    made.connection.end()
    rig.settle()


def test_the_name_that_filters_watch_has_the_answer(rig: Rig, way: Way) -> None:
    """Where it could be either name's, no filter misses it."""
    data_filter = Passing()

    def handle(event: Any) -> None:
        if event.EventType == fwx_Udp_Destination and event.Parameters.UdpDest.Address == ALSO_NAMED:
            event.Parameters.UdpDest.piConnection.AttachDataFilter(data_filter, fwx_dfpc_Middle, None)

    made = Play(rig, way, rig.host(mask=UDP_MASK, handle=handle))
    made.say(b"one", NAMED)
    made.say(b"two", ALSO_NAMED)
    made.associated()
    made.relay.hear()
    made.relay.say(b"answer", FAR)
    rig.until(lambda: made.connection.destinations[-1].received)
    assert made.connection.destinations[-1].target == ALSO_NAMED
    made.connection.end()
    rig.settle()


# ---- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (b"\x05\x07\x00\x01\0\0\0\0\0\0", WSAECONNABORTED, "SOCKS5 reply 0x07 (command not supported)"),
        (b"\x05\x02\x00\x01\0\0\0\0\0\0", WSAEACCES, "SOCKS5 reply 0x02 (not allowed by its rules)"),
        (b"\x05\x00\x00\x03\x04here\x04\x38", WSAEINVAL, "its reply names no address that datagrams could go to"),
        (b"\x05\x00\x00\x01\x7f\0\0\x01\0\0", WSAEINVAL, "its reply names no address that datagrams could go to"),
        (b"HTTP/1.1 400", WSAECONNABORTED, "its reply starts with 0x48, not 05"),
    ],
)
def test_an_upstream_that_refuses(rig: Rig, play: Play, answer: bytes, code: int, words: str) -> None:
    """A record and an alert; what comes while it rests is lost without a word; then it is asked again."""
    play.say(b"hello", FAR)
    peer = play.asked()
    peer.send(answer)
    result, reason = play.failure()
    assert (result, words in reason) == (int(HRESULT_FROM_WIN32(code)), True), reason
    assert is_gone(rig, peer)
    for _ in range(3):
        play.say(b"hello", FAR)
    assert play.way.nobody_comes()
    assert (len(rig.records), play.connection.destinations) == (1, ())
    rig.clock.advance(REST_SECONDS)
    play.say(b"hello", FAR)
    play.associated()
    assert play.relay.hear() == datagram_header(FAR) + b"hello"


def test_an_upstream_that_ends_it(rig: Rig, play: Play) -> None:
    """Every destination ends with its bytes and a record; an alert is raised; the client's own socket goes on."""
    play.say(b"hello", FAR)
    play.say(b"hello", OTHER)
    peer = play.associated()
    peer.send(b"whatever it says behind its reply")
    rig.settle()
    play.relay.hear()
    peer.close()
    rig.until(lambda: len(rig.records) == 2)
    code = int(HRESULT_FROM_WIN32(WSAECONNRESET))
    assert {(each.destination_ip, each.resultcode, each.bytes_sent) for each in rig.records} == {
        (FAR.host, code, 5), (OTHER.host, code, 5)
    }  # fmt: skip
    assert any("it ended the association" in each for each in play.way.alerts())
    assert not list(rig.packet_filter)
    assert not play.connection.terminating


def test_an_upstream_that_does_not_answer(rig: Rig, play: Play) -> None:
    play.say(b"hello", FAR)
    play.asked()
    rig.clock.advance(1000.0)
    assert play.failure()[0] == int(HRESULT_FROM_WIN32(WSAETIMEDOUT))


def test_an_upstream_that_is_not_there(rig: Rig, play: Play, way: Way) -> None:
    way.listener.close()
    play.say(b"hello", FAR)
    assert play.failure()[0] == int(HRESULT_FROM_WIN32(WSAEHOSTUNREACH))


@pytest.mark.parametrize("later", [False, True])
def test_the_way_to_the_relay_cannot_be_opened(rig: Rig, play: Play, later: bool, monkeypatch: Any) -> None:
    """What the packet filter does not open is not used."""
    claims: list[Claim] = []

    def refuse(claim: Claim) -> None:
        claims.append(claim)
        if not later:
            raise OSError(13, "the helper is gone")

    monkeypatch.setattr(rig.packet_filter, "open", refuse)
    play.say(b"hello", FAR)
    play.associated()
    if later:
        assert play.relay.heard_nothing()
        claims[0].settle(WSAEACCES)
    assert play.failure()[0] == int(HRESULT_FROM_WIN32(WSAEACCES))
    assert play.relay.heard_nothing()


@pytest.mark.parametrize("associated", [False, True])
def test_the_client_goes_away(rig: Rig, play: Play, associated: bool) -> None:
    """The upstream sees the end of the control connection; nothing is left."""
    play.say(b"hello", FAR)
    peer = play.associated() if associated else play.asked()
    play.connection.end()
    rig.settle()
    assert is_gone(rig, peer)
    assert [(each.action, each.bytes_sent) for each in rig.records] == [(Action.Terminate, 5 * associated)]


def test_room_for_other_destinations(rig: Rig, play: Play) -> None:
    """A destination that is forgotten takes nothing of the others'; its answers are a stranger's."""
    play.connection._destinations._most = 1
    play.say(b"hello", FAR)
    play.associated()
    play.say(b"hello", OTHER)
    play.relay.hear()
    play.relay.say(b"late", FAR)
    play.relay.say(b"answer", OTHER)
    assert play.got((b"answer", OTHER))
    assert [each.destination_ip for each in rig.records] == [FAR.host]


def test_who_carries_no_datagrams(way: Way) -> None:
    """HTTP, and what is reached through HTTP; whoever is asked says which."""
    http = way.upstream(HttpConnectClient, "web")
    behind = way.upstream(name="behind", via=http, relaying=socks5_relaying())
    assert http.no_datagrams == behind.no_datagrams == "through upstream 'web', whose protocol carries no UDP"
    assert way.upstream(relaying=socks5_relaying()).no_datagrams == ""


@pytest.mark.parametrize("host", ["203.0.113.7", "8.8.8.8", "224.0.0.251"])
def test_an_upstream_that_lends_a_relay_of_others(rig: Rig, play: Play, host: str) -> None:
    """What is sent to a relay no rule has judged: it has to be in the network of the upstream."""
    play.say(b"hello", FAR)
    peer = play.asked()
    peer.send(reply(SocketAddress(host, 53)))
    result, reason = play.failure()
    words = f"its reply names {host}:53, which is in another network than itself, as its relay"
    assert (result, words in reason) == (int(HRESULT_FROM_WIN32(WSAEACCES)), True), reason
    assert any(words in each for each in play.way.alerts())
    assert is_gone(rig, peer)
    assert not list(rig.packet_filter)


def test_an_upstream_that_lends_a_port_of_this_service(rig: Rig, play: Play, monkeypatch: Any) -> None:
    """Datagrams would go round and round."""
    listens = (play.relay.address, "UDP")
    monkeypatch.setattr(rig.engine, "is_own_listener", lambda address, transport: (address, transport) == listens)
    play.say(b"hello", FAR)
    play.asked().send(reply(play.relay.address))
    assert play.failure()[0] == int(HRESULT_FROM_WIN32(WSAEACCES))
    assert play.relay.heard_nothing()
