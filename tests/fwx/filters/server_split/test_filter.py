"""The filter in a firewall in memory: clients outside, servers inside, and what is left of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fwx import sdk
from fwx.filter_loader import make_filter
from fwx.filters.server_split import ServerSplit
from fwx.impl.logrecord import Action
from fwx.impl.networks import LocalAddresses, Networks
from fwx.impl.policy import Policy, Rule
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import HRESULT_FROM_WIN32, WSAECONNREFUSED
from fwx.testing import MemoryFirewall, Outcome, check_filter
from fwx.testing.firewall import CONNECT_SECONDS, SESSION_SECONDS
from fwx.testing.memory import MemoryPeer
from fwx.testing.sockets import CLIENT as ASKING
from fwx.testing.sockets import SERVER

PLACE = SocketAddress("192.0.2.7", 80)
RED, BLUE = SocketAddress("10.0.0.1", 80), SocketAddress("10.0.0.2", 8080)
CLIENT = SocketAddress("203.0.113.9", 40000)
LINES: dict[str, Any] = {
    "listen": [str(PLACE)],
    "by": "line",
    "servers": [{"address": str(RED), "lines": ["red.*"]}, {"address": str(BLUE), "lines": ["blue.*", "red or.*"]}],
}
TURNS: dict[str, Any] = {
    "listen": [str(PLACE)],
    "by": "round-robin",
    "servers": [{"address": str(RED)}, {"address": str(BLUE)}],
}


class World:
    """Servers inside, and clients outside."""

    def __init__(self, firewall: MemoryFirewall) -> None:
        self.firewall = firewall
        self.servers = {address: firewall.network.listen(address) for address in (RED, BLUE)}
        self._ports = CLIENT.port

    def start(self, options: dict[str, Any], **keys: Any) -> Any:
        made: list[Any] = []
        host = self.firewall.start(lambda: made.append(make_filter(ServerSplit, {**options, **keys})) or made[0])
        assert host.state == "ready", host.reason
        return made[0]

    def come(self, client: str = CLIENT.host, place: SocketAddress = PLACE) -> MemoryPeer:
        """Somebody connects."""
        transport = self.firewall.network.stream(place.family)
        self._ports += 1
        transport.local = SocketAddress(client, self._ports)
        transport.start_connect(place.sockaddr)
        peer = MemoryPeer(transport)
        self.firewall.loop.run()
        return peer

    def taken(self, address: SocketAddress) -> MemoryPeer:
        """The connection that has come to a server."""
        return MemoryPeer(self.servers[address].accept()[0])

    def waiting(self) -> list[int]:
        return [len(server.backlog or ()) for server in self.servers.values()]

    def dies(self, address: SocketAddress) -> None:
        self.servers.pop(address).close(False)

    def records(self, interface: str) -> list[Any]:
        return [each for each in self.firewall.records if each.interface == interface]

    def emulated(self) -> list[Any]:
        """The records of connections to the servers."""
        return [each for each in self.records("emulated for client") if each.source_ip == CLIENT.host]

    def close(self) -> None:
        for server in self.servers.values():
            server.close(False)


@pytest.fixture
def world(fwx_firewall: MemoryFirewall) -> Any:
    made = World(fwx_firewall)
    yield made
    made.close()
    fwx_firewall.loop.run()
    fwx_firewall.stop()
    fwx_firewall.close()
    assert not fwx_firewall.network.open_transports
    assert not fwx_firewall.faults


def test_the_contract() -> None:
    """Every rule for data filters holds of what is between a client and its server: two connections, and two halves."""
    battery = check_filter(ServerSplit, {"by": "round-robin", "servers": [{"address": str(SERVER)}]})
    battery.require()
    tried = {check.name for check in battery if check.outcome is Outcome.PASSED}
    assert {"much data passes whole", "keeps connections apart", "a reader that stops holds the sender back"} <= tried


def test_what_the_client_says_decides(world: World) -> None:
    """B6.27, B3.37, B3.39, B3.40: nobody sees a byte less or more; the log names the client outside and the server."""
    world.start(LINES)
    for line, address in ((b"red hello\r\n", RED), (b"blue hello\n", BLUE)):
        client = world.come()
        for byte in line:
            assert world.waiting() == [0, 0]
            client.send(bytes([byte]))
        server = world.taken(address)
        client.send(b"more")
        assert server.receive() == line + b"more"
        server.send(b"an answer" * 7000)
        assert client.receive() == b"an answer" * 7000
        client.shutdown()
        assert (server.receive(), server.ended) == (b"", True)
        server.send(b"late")  # half-closed
        server.shutdown()
        assert (client.receive(), client.ended, client.was_reset) == (b"late", True, False)
        record = world.emulated()[-1]
        assert (record.action, record.resultcode, record.filters) == (Action.Terminate, 0, "filter")
        assert (record.source_ip, record.destination_ip) == (CLIENT.host, PLACE.host)
        assert (record.original_client_ip, record.rule) == (address.host, "everything")
        assert (record.bytes_sent, record.bytes_received) == (len(line) + 4, 9 * 7000 + 4)
        client.close()
        server.close()


def test_who_fits_none(world: World) -> None:
    made = world.start(LINES, refusal="NO\r\n")
    client = world.come()
    client.send(b"green\r\nmore")
    assert (client.receive(), client.ended) == (b"NO\r\n", True)
    client.close()
    assert world.waiting() == [0, 0]
    (record,) = world.records("the firewall's socket")
    assert record.reason == "server-split: no server for line 'green'"
    (alert,) = world.firewall.alerts
    assert (alert.event, alert.key) == ("Split refused", CLIENT.host)
    assert not made._clients


@pytest.mark.parametrize(
    ("said", "words", "status"),
    [
        (b"", "after 0 bytes", b""),
        (b"GET / HT", "after 8 bytes", b"HTTP/1.1 408 Request Timeout"),
        (b"\x16\x03\x01", "after 3 bytes", b"\x15\x03\x03\x00\x02\x02\x50"),
    ],
)
def test_a_client_that_says_nothing(world: World, said: bytes, words: str, status: bytes) -> None:
    hosts = [{"address": str(RED), "hosts": ["*"]}]
    world.start(LINES, by="host", servers=hosts, seconds=5)
    client = world.come()
    client.send(said)
    world.firewall.loop.advance(4.9)
    assert (client.receive(), client.ended) == (b"", False)
    world.firewall.loop.advance(0.2)
    assert client.receive().partition(b"\r")[0] == status
    assert client.ended
    client.close()
    assert words in world.records("the firewall's socket")[0].reason


def test_one_that_never_leaves_is_reset(world: World) -> None:
    """After the farewell it has two seconds."""
    world.start(LINES)
    client = world.come()
    client.send(b"green\n")
    world.firewall.loop.advance(2.1)
    client.receive()
    assert client.was_reset or client.ended
    assert not world.firewall.sessions.connections()
    client.close()


def test_a_line_that_is_too_long(world: World) -> None:
    world.start(LINES, bytes=64)
    client = world.come()
    client.send(b"r" * 64)
    assert (client.receive(), client.ended) == (b"", True)
    client.close()
    assert "64 bytes (bytes)" in world.records("the firewall's socket")[0].reason


def test_one_that_goes_before_it_is_chosen_for(world: World) -> None:
    made = world.start(LINES)
    for leave in ("reset", "close"):
        client = world.come()
        client.send(b"re")
        getattr(client, leave)()
        assert not made._clients
    assert world.waiting() == [0, 0]


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_reset_reaches_the_other_side(world: World, side: str) -> None:
    """B3.30."""
    made = world.start(LINES)
    client = world.come()
    client.send(b"red\n")
    server = world.taken(RED)
    leaver, other = (client, server) if side == "client" else (server, client)
    leaver.reset()
    other.receive()
    assert other.was_reset
    other.close()
    assert not made._clients
    (record,) = world.emulated()
    assert record.reason == (
        "server-split: the client has reset the connection" if side == "client" else "reset by a peer"
    )


def test_a_dead_server_has_the_next_one_tried(world: World) -> None:
    """It rests for ten seconds; the log tells of each attempt."""
    world.start(LINES)
    world.dies(RED)
    client = world.come()
    client.send(b"red or blue\n")
    server = world.taken(BLUE)
    assert server.receive() == b"red or blue\n"
    failed, *_ = world.emulated()
    assert (failed.action, failed.original_client_ip) == (Action.Failed, RED.host)
    assert [alert.key for alert in world.firewall.alerts] == [str(RED)]
    for peer in (client, server):
        peer.close()
    client = world.come()
    client.send(b"red or blue\n")
    assert len([each for each in world.emulated() if each.action == Action.Failed]) == 1
    world.taken(BLUE).close()
    client.close()


def test_all_servers_dead(world: World) -> None:
    world.start(LINES, by="host", servers=[{"address": str(RED), "hosts": ["*"]}])
    world.dies(RED)
    client = world.come()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert client.receive().startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    client.close()
    assert f"none of {RED} answers" in world.records("the firewall's socket")[0].reason


def test_a_server_that_never_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's own time-out for connecting holds."""
    world.start(TURNS)
    transport = type(world.servers[RED])
    monkeypatch.setattr(transport, "start_connect", _only_to(PLACE, transport))
    client = world.come()
    for _ in range(2):
        world.firewall.loop.advance(CONNECT_SECONDS + 1)
    assert client.receive() == b""
    assert client.ended or client.was_reset
    client.close()
    failed = [each.original_client_ip for each in world.emulated() if each.action == Action.Failed]
    assert failed == [RED.host, BLUE.host]


def _only_to(place: SocketAddress, transport: Any) -> Callable[..., None]:
    real = transport.start_connect

    def connect(self: Any, sockaddr: Any) -> None:
        if sockaddr[0] == place.host:
            real(self, sockaddr)

    return connect


def test_in_turn(world: World) -> None:
    world.start(TURNS)
    peers = []
    for address in (RED, BLUE, RED):
        peers.append(world.come())
        peers.append(world.taken(address))
    for peer in peers:
        peer.reset()


def test_by_address(world: World) -> None:
    servers = [{"address": str(RED), "clients": ["10.0.0.0/8"]}, {"address": str(BLUE), "clients": ["192.0.2.0/24"]}]
    world.start(TURNS, by="address", servers=servers)
    client = world.come("192.0.2.200")
    world.taken(BLUE).reset()
    client.close()
    stranger = world.come("203.0.113.1")
    assert (stranger.receive(), stranger.ended) == (b"", True)
    stranger.close()
    assert "no server for client 203.0.113.1" in world.records("the firewall's socket")[-1].reason


def test_a_connection_of_a_rule(world: World) -> None:
    """B3.33, B3.34, B3.39: the filter plays the server that was asked for, and another one takes the client."""
    made = world.start(LINES, listen=[])
    client = world.firewall.open(PLACE, answers=False).client
    client.send(b"blue\n")
    server = world.taken(BLUE)
    assert server.receive() == b"blue\n"
    server.send(b"answer")
    assert client.receive() == b"answer"
    client.shutdown()
    assert (server.receive(), server.ended) == (b"", True)
    server.send(b"late")
    server.close()
    assert (client.receive(), client.ended) == (b"late", True)
    client.close()
    outer, inner = sorted(world.firewall.records[-2:], key=lambda record: record.interface, reverse=True)
    assert (outer.source_ip, outer.destination_ip, outer.filters) == (ASKING.host, PLACE.host, "filter")
    assert (inner.source_ip, inner.destination_ip, inner.original_client_ip) == (ASKING.host, PLACE.host, BLUE.host)
    for record in (outer, inner):
        assert (record.bytes_sent, record.bytes_received, record.resultcode) == (5, 10, 0)
    assert not made._clients


@pytest.mark.parametrize("leaver", ["client", "server"])
def test_a_reset_of_a_connection_of_a_rule(world: World, leaver: str) -> None:
    made = world.start(LINES, listen=[])
    client = world.firewall.open(PLACE, answers=False).client
    client.send(b"blue\n")
    server = world.taken(BLUE)
    first, second = (client, server) if leaver == "client" else (server, client)
    first.reset()
    second.receive()
    assert second.was_reset
    second.close()
    assert not made._clients


def test_what_fits_none_of_a_rule(world: World) -> None:
    """A name has no place that the rules could be asked about; its connection is denied."""
    world.start(LINES, listen=[], refusal="NO")
    client = world.firewall.open(PLACE, answers=False).client
    client.send(b"green\n")
    assert (client.receive(), client.ended) == (b"NO", True)
    client.close()
    assert world.firewall.records[-1].reason == "server-split: no server for line 'green'"
    world.firewall.names.table["www.example"] = ["192.0.2.8"]
    refused = world.firewall.open(SocketAddress("www.example", 80), answers=False)
    assert refused.refused == HRESULT_FROM_WIN32(WSAECONNREFUSED)
    refused.client.close()


def policy(firewall: MemoryFirewall, *rules: Rule) -> None:
    local = LocalAddresses(reader=lambda _: "", clock=firewall.loop.time)
    firewall.engine.policy = Policy(Networks((), local), (), (), rules)


def test_the_rules_judge_each_client(world: World) -> None:
    """B6.29: what comes is the server's own inbound connection; nobody whom no rule lets come gets through."""
    made = world.start(TURNS)
    policy(world.firewall)
    client = world.come()
    assert (client.receive(), client.ended) == (b"", True)
    client.close()
    record = next(each for each in world.records("emulated for client"))
    assert (record.action, record.original_client_ip, record.rule) == (Action.Denied, "", "Default rule")
    assert world.waiting() == [0, 0]
    assert not made._clients


def test_other_filters_see_it(world: World, watching: Any) -> None:
    """B3.37, B2.23: as the server's inbound connection."""
    seen = watching(world.firewall)
    world.start(TURNS)
    client = world.come()
    server = world.taken(RED)
    client.send(b"hello")
    assert server.receive() == b"hello"
    assert [(asked.target, asked.client.host) for asked in seen.asked] == [(PLACE, RED.host)]
    assert world.firewall.sessions.connections()
    for peer in (client, server):
        peer.close()
    assert world.emulated()[-1].filters in ("watching, filter", "filter, watching")


@pytest.fixture
def watching() -> Callable[[MemoryFirewall], Any]:
    class Watching(sdk.ConnectionFilter):
        asked: list[sdk.AskedConnection]

        def data_filter(self, asked: sdk.AskedConnection) -> sdk.IFWXDataFilter:
            self.asked.append(asked)
            return sdk.AsyncDataFilter()

    def start(firewall: MemoryFirewall) -> Any:
        made = Watching()
        made.asked = []
        firewall.start(lambda: made, "watching")
        return made

    return start


@pytest.mark.parametrize("sessions", ["private", "client"])
def test_the_session_is_over_and_made_anew(world: World, sessions: str) -> None:
    """B6.28, B6.29: with it goes who is connected; who comes next has a new one."""
    world.start(TURNS, sessions=sessions, servers=TURNS["servers"][:1])
    known = []
    for _ in range(2):
        client = world.come()
        server = world.taken(RED)
        (session,) = set(world.firewall.sessions)
        assert bool(session.GetSessionFlags() & sdk.FWX_SESSION_PRIVATE) == (sessions == "private")
        assert session.GetClientAddress().host == RED.host
        known.append(session)
        for connection in list(session.connections):
            connection.Kill()
        world.firewall.loop.run()
        client.receive()
        server.receive()
        assert (client.was_reset, server.was_reset) == (True, True)
        for peer in (client, server):
            peer.close()
        world.firewall.loop.advance(SESSION_SECONDS + 1)
        assert session.terminated
    assert known[0] is not known[1]


def test_a_session_rests_and_the_bind_with_it(world: World) -> None:
    """The port outside goes on listening while nothing is kept for the servers."""
    world.start(TURNS)
    for _ in range(2):
        client = world.come()
        for peer in (client, world.taken(RED if _ == 0 else BLUE)):
            peer.close()
        world.firewall.loop.advance(SESSION_SECONDS + 1)
        assert not len(world.firewall.sessions)


def test_no_more_than_so_many(world: World) -> None:
    made = world.start(LINES, per_client=2, connections=3)
    clients = [world.come() for _ in range(3)]
    others = [world.come("203.0.113.10"), world.come("203.0.113.11")]
    for each in (*clients, *others):
        each.receive()
    assert [each.was_reset for each in (*clients, *others)] == [False, False, True, False, True]
    reasons = [each.reason for each in world.records("the firewall's socket")]
    assert reasons == [
        f"server-split: {CLIENT.host} has 2 connections (per_client)",
        "server-split: there are 3 connections (connections)",
    ]
    for each in (*clients, *others):
        each.close()
    assert not made._clients


def test_a_thousand_connections(world: World) -> None:
    """Nothing is left of them."""
    made = world.start(TURNS, per_client=0)
    peers = []
    for number in range(1000):
        peers.append(world.come())
        peers.append(world.taken((RED, BLUE)[number % 2]))
    assert len(world.firewall.sessions.connections()) == 1002
    for number in range(0, 2000, 2):
        peers[number].send(b"%d" % number)
        assert peers[number + 1].receive() == b"%d" % number
    for peer in peers:
        peer.close()
    assert not made._clients
    assert not any(task for task in made._tasks if "_serve" in repr(task))
    assert len(world.firewall.sessions.connections()) == 2


def test_the_service_stops(world: World) -> None:
    """Who is undecided goes, who is connected is ended by the service, who comes is not taken."""
    world.start(LINES)
    undecided, connected = world.come(), world.come()
    connected.send(b"red\n")
    server = world.taken(RED)
    world.firewall.gateway.close()
    late = world.come()
    late.send(b"blue\n")
    assert (late.receive(), late.ended) == (b"", True)
    assert world.waiting() == [0, 0]
    connected.send(b"still")
    assert server.receive() == b"red\nstill"
    world.firewall.stop()
    world.firewall.close()
    for peer in (undecided, connected, server):
        peer.receive()
        assert peer.was_reset
        peer.close()
    late.close()


def test_a_port_that_is_taken(world: World) -> None:
    taken = world.firewall.network.listen(PLACE)
    host = world.firewall.start(lambda: make_filter(ServerSplit, TURNS))
    assert host.state == "failed"
    assert "WSAEADDRINUSE" in host.reason
    taken.close(False)
    world.firewall._faults.words.clear()
