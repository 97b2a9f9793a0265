"""BindForClient over UDP: a port outside whose datagrams are the client's (B6.12 to B6.17, B6.32 to B6.34)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl import datagramsforclient, turnedaway
from fwx.impl.clientsideports import MOST_HELD
from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.logrecord import Action
from fwx.impl.packetfilter import Opening
from fwx.impl.policy import Rule
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    FWX_FLAG_ALLOW_MULTIPLE,
    FWX_FLAG_TIMEOUT,
    FWX_PROTOCOL_TCP,
    FWX_PROTOCOL_UDP,
    IFWXConnection,
    SocketAddress,
    fwx_Bind_Udp,
    fwx_dfpc_Middle,
    fwx_Udp_Destination,
    fwxAssociatedProtocolsAllConnections,
)
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_POINTER,
    E_UNEXPECTED,
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_IS_BUSY,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAEACCES,
    WSAEADDRINUSE,
    COMError,
)
from fwx.interfaces.protocols import by_title
from tests.impl.announcing import OUTSIDE, PRIMARY_MASK, Scene
from tests.impl.datagrampeers import DatagramPeer
from tests.impl.test_datagramconnection import Client, Passing

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

ALL = fwx_Bind_Udp | fwx_Udp_Destination | FWX_ALL_SOURCES | fwxAssociatedProtocolsAllConnections
UNKNOWN = SocketAddress("0.0.0.0", 0)
FTP = by_title()["FTP"].guid
INWARD = Rule("inward", "allow", ("any",), ("localhost",), ("localhost",))

Peers = Callable[..., DatagramPeer]


@pytest.fixture
def scene(rig: Rig) -> Iterator[Scene]:
    scene = Scene(rig)
    yield scene
    scene.close()


@pytest.fixture
def udp(rig: Rig) -> Peers:
    return lambda host="127.0.0.1": DatagramPeer(rig, host)


def bind(scene: Scene, *clients: SocketAddress, **more: Any) -> Any:
    return scene.bind(*clients, Protocol=FWX_PROTOCOL_UDP, **more)


def code_of(call: Any, *args: Any, **more: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args, **more)
    return failure.value.hresult


def only(scene: Scene, *addresses: str) -> Any:
    ip_filter = scene.rig.firewall.CreateIpFilter()
    for address in addresses:
        ip_filter.IncludeRange(IPv4Address(address), IPv4Address(address))
    return ip_filter


def is_free(scene: Scene, address: SocketAddress) -> bool:
    """Nobody is bound to *address* any more."""
    transport = scene.rig.network.datagram(address.family)
    try:
        transport.bind(address.sockaddr)
    except OSError:
        return False
    else:
        return True
    finally:
        transport.close(True)


def denied(scene: Scene) -> list[Any]:
    return [record for record in scene.rig.records if record.action == Action.Denied]


def test_there_and_back(scene: Scene, udp: Peers) -> None:
    """B6.12, B6.15: what comes to the port is the client's, and the client's answer leaves from the port."""
    client, peer, rig = udp(), udp(), scene.rig
    outside, (connection,) = bind(scene, client.address)
    assert (outside.host, connection.GetExternalSocketName()) == ("127.0.0.1", outside)
    assert IFWXConnection.providedBy(connection)
    assert scene.is_open(outside)
    peer.send(b"data", outside)
    inside = client.expect(b"data")
    assert inside not in (peer.address, outside)
    client.send(b"thanks")
    assert peer.expect(b"thanks") == outside
    peer.send(b"more", outside)
    assert client.expect(b"more") == inside
    assert set(rig.packet_filter) == {
        Opening(FWX_PROTOCOL_UDP, outside, peer.address),
        Opening(FWX_PROTOCOL_UDP, inside, client.address),
    }
    connection.Kill()
    rig.settle()
    assert not list(rig.packet_filter)
    assert is_free(scene, outside)
    assert is_free(scene, inside)
    begun, one, port = rig.records[-3:]
    assert (begun.action, begun.rule, begun.interface) == (Action.Bind, "everything", "bound for client")
    assert (begun.destination_ip, begun.destination_port) == (outside.host, outside.port)
    assert (one.action, one.rule, one.protocol) == (Action.Terminate, "everything", "UDP")
    assert (one.destination_port, one.bytes_sent, one.bytes_received) == (peer.address.port, 6, 8)
    assert (port.action, port.destination_port) == (Action.Terminate, outside.port)


def test_a_run_of_ports(scene: Scene, udp: Peers) -> None:
    """B6.12, B6.14: one connection for each client address, on consecutive ports."""
    one, other, peer = udp(), udp(), udp()
    first, connections = bind(scene, one.address, other.address, UNKNOWN)
    ports = [first.with_port(first.port + number) for number in range(3)]
    assert [connection.GetExternalSocketName() for connection in connections] == ports
    peer.send(b"other", ports[1])
    other.expect(b"other")
    peer.send(b"one", ports[0])
    one.expect(b"one")
    assert [scene.is_open(port) for port in ports] == [False, False, True]


def test_it_is_for_one_peer(scene: Scene, udp: Peers) -> None:
    """B6.12: whoever came first has the port for itself, in the packet filter too; others are logged."""
    client, peer, stranger = udp(), udp(), udp("127.0.0.2")
    outside, _ = bind(scene, client.address)
    peer.send(b"mine", outside)
    client.expect(b"mine")
    assert not scene.is_open(outside)
    for _ in range(3):
        stranger.send(b"forged", outside)
    client.expect_nothing()
    (record,) = denied(scene)
    assert (record.resultcode, record.reason) == (FWX_E_IS_BUSY, "the port is for one, who has come")
    assert (record.source_ip, record.destination_port) == ("127.0.0.2", outside.port)
    assert record.original_client_ip == "127.0.0.1"


def test_as_many_as_like(scene: Scene, udp: Peers) -> None:
    """With the flag: each has a port inside of its own, so that each is answered; Kill ends all of them."""
    client = udp()
    outside, (connection,) = bind(scene, client.address, dwFlags=FWX_FLAG_ALLOW_MULTIPLE)
    peers = [udp() for _ in range(3)]
    insides = set()
    for number, peer in enumerate(peers):
        peer.send(b"%d" % number, outside)
        insides.add(client.expect(b"%d" % number))
        client.send(b"answer %d" % number)
        assert peer.expect(b"answer %d" % number) == outside
    assert len(insides) == 3
    assert scene.is_open(outside)
    connection.Kill()
    scene.rig.settle()
    assert not list(scene.rig.packet_filter)
    assert all(is_free(scene, inside) for inside in insides)


def test_so_many_at_a_time(scene: Scene, udp: Peers, monkeypatch: Any) -> None:
    """Whoever is outside fills neither memory nor descriptors; who has been quiet for long makes room."""
    assert datagramsforclient.MOST_AT_ONCE == 64
    monkeypatch.setattr(datagramsforclient, "MOST_AT_ONCE", 2)
    client, peers = udp(), [udp() for _ in range(3)]
    outside, (connection,) = bind(scene, client.address, dwFlags=FWX_FLAG_ALLOW_MULTIPLE)
    for peer in peers[:2]:
        peer.send(b"hello", outside)
        client.expect(b"hello")
    peers[2].send(b"too many", outside)
    client.expect_nothing()
    assert denied(scene)[-1].reason == "the port has 2 peers"
    scene.rig.clock.advance(60.0)
    peers[0].send(b"still", outside)
    client.expect(b"still")
    scene.rig.clock.advance(60.0)
    peers[2].send(b"room", outside)
    client.expect(b"room")
    assert [each.target for each in connection.destinations] == [peers[0].address, peers[2].address]


def test_quiet_peers_are_forgotten(scene: Scene, udp: Peers) -> None:
    """As every destination over UDP; the port of one peer is over then, another one waits again."""
    client, peer = udp(), udp()
    outside, (connection,) = bind(scene, client.address)
    several, (waiting,) = bind(scene, client.address, dwFlags=FWX_FLAG_ALLOW_MULTIPLE)
    for port in (outside, several):
        peer.send(b"x", port)
        client.expect(b"x")
    scene.rig.clock.advance(59.0)
    peer.send(b"y", outside)
    client.expect(b"y")
    scene.rig.clock.advance(1.0)
    assert not waiting.waits
    scene.rig.clock.advance(60.0)
    assert waiting.waits
    assert not waiting.terminating
    assert len(waiting._ports) == 0
    scene.rig.clock.advance(60.0)
    assert connection.terminating
    scene.rig.settle()
    assert list(scene.rig.packet_filter) == [Opening(FWX_PROTOCOL_UDP, several)]
    peer.send(b"again", several)
    client.expect(b"again")


def test_the_minute(scene: Scene, udp: Peers) -> None:
    """B6.7: what nobody used lapses, what somebody has used does not."""
    client, peer = udp(), udp()
    outside, (connection,) = bind(scene, client.address, dwFlags=FWX_FLAG_TIMEOUT)
    used, _ = bind(scene, client.address, dwFlags=FWX_FLAG_TIMEOUT)
    peer.send(b"x", used)
    scene.rig.clock.advance(59.0)
    peer.send(b"x", used)
    assert scene.is_open(outside)
    scene.rig.clock.advance(1.0)
    assert connection.terminating
    assert not scene.is_open(outside)
    assert is_free(scene, outside)
    peer.send(b"z", used)
    assert [client.take() for _ in range(4)] == [b"x", b"x", b"z", None]


def test_a_client_address_that_comes_later(scene: Scene, udp: Peers) -> None:
    """B6.16: what comes earlier waits, so much of it."""
    client, peer = udp(), udp()
    outside, (connection,) = bind(scene, UNKNOWN)
    for number in range(MOST_HELD + 4):
        peer.send(b"%d" % number, outside)
    connection.SetClientAddress(client.address, 16)
    for number in range(MOST_HELD):
        client.expect(b"%d" % number)
    client.expect_nothing()
    client.send(b"here")
    peer.expect(b"here")
    elsewhere = udp()
    connection.SetClientAddress(elsewhere.address)
    peer.send(b"moved", outside)
    elsewhere.expect(b"moved")
    client.send(b"late")
    peer.expect_nothing()
    connection.Kill()
    assert code_of(connection.SetClientAddress, client.address) == FWX_E_TERMINATING


def test_where_the_client_may_be(scene: Scene, udp: Peers) -> None:
    """B6.13: at its own address; the ports of the service over UDP are nobody's."""
    _, (later,) = bind(scene, UNKNOWN)
    relay, elsewhere = udp().address, SocketAddress("127.0.0.2", 9)
    scene.rig.engine.is_own_listener = lambda address, transport: (address, transport) == (relay, "UDP")
    for address in (relay, elsewhere):
        assert code_of(bind, scene, address) == FWX_E_ADDRESS_NOT_ALLOWED
        assert code_of(later.SetClientAddress, address) == FWX_E_ADDRESS_NOT_ALLOWED
    assert code_of(later.SetClientAddress, None) == E_POINTER


def test_nobody_but_the_client_answers(scene: Scene, udp: Peers) -> None:
    """Who finds the port inside cannot speak for the client."""
    client, peer, other = udp(), udp(), udp()
    outside, _ = bind(scene, client.address)
    peer.send(b"hello", outside)
    inside = client.expect(b"hello")
    other.send(b"forged", inside)
    peer.expect_nothing()
    client.send(b"true")
    peer.expect(b"true")


def test_a_client_that_is_not_there(scene: Scene, udp: Peers) -> None:
    """What the network reports ends nothing."""
    client, peer = udp(), udp()
    outside, (connection,) = bind(scene, client.address)
    client.close()
    for _ in range(3):
        peer.send(b"anybody?", outside)
    assert not connection.terminating
    again = scene.rig.network.datagram(client.address.family)
    again.bind(client.address.sockaddr)
    peer.send(b"back", outside)
    assert again.receive()[0] == b"back"
    again.close(True)


@pytest.mark.parametrize("asks", [True, False])
def test_the_events(scene: Scene, udp: Peers, asks: bool) -> None:
    """B2.4, B2.11, B2.15, B2.20, B6.17: the bind and each peer are shown as secondary, to who asks for that."""
    passing, seen = Passing(b"!"), []

    def handle(event: Any) -> None:
        seen.append(event)
        if event.EventType == fwx_Bind_Udp:
            event.Parameters.Bind.piConnection.AttachDataFilter(passing, fwx_dfpc_Middle, None)

    mask = ALL if asks else ALL & ~int(fwxAssociatedProtocolsAllConnections)
    scene.rig.host("watching", handle=handle, mask=mask)
    client, peer = udp(), udp()
    outside, (connection,) = bind(scene, client.address, ProtocolGuid=FTP)
    assert [event.EventType for event in seen] == ([fwx_Bind_Udp] if asks else [])
    peer.send(b"data", outside)
    client.expect(b"data!" if asks else b"data")
    client.send(b"thanks")
    peer.expect(b"thanks!" if asks else b"thanks")
    if not asks:
        assert seen == []
        return
    told, destination = (event.Parameters for event in seen)
    assert (told.Bind.Address, told.Bind.piConnection) == (outside, connection)
    assert (destination.UdpDest.Address, destination.UdpDest.piConnection) == (peer.address, connection)
    assert {told.Bind.ProtocolGuid, destination.UdpDest.ProtocolGuid} == {FTP}
    assert told.Bind.IsSecondary
    assert destination.UdpDest.IsSecondary
    connection.Kill()
    scene.rig.settle()
    assert passing.detached == 1


def test_a_filter_refuses_the_bind(scene: Scene, udp: Peers) -> None:
    """B2.37: as if the address were in use; nothing is left of the other ports."""
    events = []

    def handle(event: Any) -> None:
        events.append(event)
        if len(events) == 2:
            event.Parameters.Bind.piConnection.Deny(0)

    scene.rig.host("refusing", handle=handle, mask=ALL)
    client = udp().address
    assert code_of(bind, scene, client, client) == HRESULT_FROM_WIN32(WSAEADDRINUSE)
    scene.rig.settle()
    assert scene.session.connections == {scene.connection}
    assert len(scene.session.secondary) == 0
    assert not list(scene.rig.packet_filter)
    assert is_free(scene, events[0].Parameters.Bind.Address)
    assert [record.resultcode for record in denied(scene)] == [HRESULT_FROM_WIN32(WSAEADDRINUSE)]


def test_a_filter_refuses_a_peer(scene: Scene, udp: Peers) -> None:
    """B2.19: it is shown once, and never heard; the port is still there for another one."""
    shown = []

    def handle(event: Any) -> None:
        if event.EventType == fwx_Udp_Destination:
            shown.append(event.Parameters.UdpDest.Address)
            if len(shown) == 1:
                event.Parameters.UdpDest.piUdpDestination.Deny(0)

    scene.rig.host("refusing", handle=handle, mask=ALL)
    client, first, second = udp(), udp(), udp()
    outside, _ = bind(scene, client.address)
    for _ in range(3):
        first.send(b"refused", outside)
    client.expect_nothing()
    second.send(b"welcome", outside)
    client.expect(b"welcome")
    assert shown == [first.address, second.address]
    first.send(b"refused", outside)
    client.expect_nothing()


def test_a_faulty_filter(scene: Scene, udp: Peers) -> None:
    """It fails closed."""

    def handle(event: Any) -> None:
        if event.EventType == fwx_Udp_Destination:
            raise ValueError("a bug")

    scene.rig.host("faulty", handle=handle, mask=ALL)
    client, peer = udp(), udp()
    outside, _ = bind(scene, client.address)
    peer.send(b"hello", outside)
    client.expect_nothing()
    assert denied(scene)[-1].resultcode == E_UNEXPECTED


def test_who_is_told(scene: Scene, udp: Peers) -> None:
    """B2.31 to B2.33: of each peer, with its address."""
    context, client, peer = scene.rig.firewall.CreateIpFilter(), udp(), udp()
    outside, (connection,) = bind(
        scene, client.address, pSessionFilter=scene.session_filter, punkContext=context, dwFlags=FWX_FLAG_ALLOW_MULTIPLE
    )
    assert scene.told == []
    peer.send(b"x", outside)
    peer.send(b"x", outside)
    other = udp()
    other.send(b"x", outside)
    assert [(each.Protocol, each.Address) for each in scene.told] == [
        (FWX_PROTOCOL_UDP, peer.address),
        (FWX_PROTOCOL_UDP, other.address),
    ]
    assert {(each.piConnection, each.UserContext) for each in scene.told} == {(connection, context)}


def test_who_may_come(scene: Scene, udp: Peers) -> None:
    """B6.17, B6.32 to B6.34: a copy of the IP filter is kept; a new one holds for who is there already too."""
    client, peer, stranger = udp(), udp("127.0.0.3"), udp()
    ip_filter = only(scene, "127.0.0.3")
    outside, (connection,) = bind(scene, client.address, pIpFilter=ip_filter, dwFlags=FWX_FLAG_ALLOW_MULTIPLE)
    ip_filter.IncludeRange(IPv4Address("127.0.0.1"), IPv4Address("127.0.0.1"))
    stranger.send(b"forged", outside)
    client.expect_nothing()
    (record,) = denied(scene)
    assert (record.resultcode, record.source_port) == (FWX_E_ADDRESS_NOT_ALLOWED, stranger.address.port)
    assert connection.GetIpFilter().IsIncluded(IPv4Address("127.0.0.1")) != S_OK
    peer.send(b"data", outside)
    client.expect(b"data")
    inside = client.heard
    connection.SetIpFilter(only(scene, "127.0.0.1"))
    peer.send(b"late", outside)
    client.expect_nothing()
    assert is_free(scene, inside)
    stranger.send(b"friend", outside)
    client.expect(b"friend")
    connection.SetIpFilter(None)
    assert connection.GetIpFilter() is None
    peer.send(b"back", outside)
    client.expect(b"back")
    assert code_of(connection.SetIpFilter, object()) == E_INVALIDARG


def test_an_empty_ip_filter(scene: Scene, udp: Peers) -> None:
    """B6.33: it is nobody."""
    client, peer = udp(), udp()
    outside, _ = bind(scene, client.address, pIpFilter=only(scene))
    peer.send(b"hello", outside)
    client.expect_nothing()


def test_a_flood_of_strangers(scene: Scene, udp: Peers, monkeypatch: Any) -> None:
    """Whoever forges addresses fills neither memory nor log, and the others get their turn: the rest is counted."""
    assert turnedaway.MOST_TURNED_AWAY == 100
    monkeypatch.setattr(turnedaway, "MOST_TURNED_AWAY", 2)
    client, peer = udp(), udp()
    outside, (connection,) = bind(scene, client.address, pIpFilter=only(scene, "127.0.0.1"))
    strangers = [udp(f"127.0.0.{number}") for number in range(10, 14)]
    for _ in range(50):
        for stranger in strangers:
            stranger._sock.sendto(b"x", outside.sockaddr)
    peer.send(b"through", outside)
    client.expect(b"through")
    assert len(denied(scene)) == 2
    assert len(connection.destinations) == 1
    scene.rig.clock.advance(60.0)
    strangers[3].send(b"x", outside)
    assert [record.source_ip for record in denied(scene)] == ["127.0.0.10", "127.0.0.11", "127.0.0.13"]
    connection.Kill()
    scene.rig.settle()
    assert scene.rig.records[-1].reason == "killed by a filter; 198 more datagrams were turned away"


def test_while_the_log_fails(scene: Scene, udp: Peers) -> None:
    """B9.18: nobody new is heard; who is there goes on."""
    client, peer, other = udp(), udp(), udp()
    outside, _ = bind(scene, client.address, dwFlags=FWX_FLAG_ALLOW_MULTIPLE)
    peer.send(b"x", outside)
    client.expect(b"x")
    scene.rig.engine.accepting = lambda: False
    other.send(b"y", outside)
    client.expect_nothing()
    peer.send(b"z", outside)
    client.expect(b"z")


def test_without_a_primary_connection_the_rules_are_asked(scene: Scene, udp: Peers) -> None:
    """Of the bind, and of everybody who comes."""
    rig, client, peer = scene.rig, udp(), udp()
    scene.session = rig.firewall.GetClientSession(SocketAddress("127.0.0.1", 7))
    assert code_of(bind, scene, client.address) == FWX_E_POLICY_RULES_DENIED
    rig.settle()
    assert rig.records[-1].resultcode == FWX_E_POLICY_RULES_DENIED
    rig.engine.policy = rig.policy(INWARD)
    outside, _ = bind(scene, client.address)
    rig.engine.policy = rig.policy()
    peer.send(b"x", outside)
    client.expect_nothing()
    assert rig.records[-1].resultcode == FWX_E_POLICY_RULES_DENIED
    rig.engine.policy = rig.policy(INWARD)
    peer.send(b"y", outside)
    client.expect(b"y")
    everywhere, _ = bind(scene, client.address, ProxyAddress=SocketAddress("0.0.0.0", 0))
    peer.send(b"z", SocketAddress("127.0.0.1", everywhere.port))
    client.expect(b"z")
    for connection in list(scene.session.connections):
        connection.Kill()
    rig.settle()
    scene.session.terminate()


def test_a_rule_for_tcp_is_none_for_udp(scene: Scene, udp: Peers) -> None:
    rig = scene.rig
    scene.session = rig.firewall.GetClientSession(SocketAddress("127.0.0.1", 7))
    rig.engine.policy = rig.policy(Rule("inward", "allow", ("FTP",), ("localhost",), ("localhost",)))
    assert code_of(bind, scene, udp().address) == FWX_E_POLICY_RULES_DENIED


def test_it_ends_with_the_session(scene: Scene, udp: Peers) -> None:
    """A port that waits, or that nobody uses any more, does not keep the session (B1.16); one in use does."""
    client, peer = udp(), udp()
    outside, (connection,) = bind(scene, client.address, dwFlags=FWX_FLAG_ALLOW_MULTIPLE)
    peer.send(b"x", outside)
    client.expect(b"x")
    scene.connection.on_ended = scene.rig.sessions.connection_ended
    scene.connection.end()
    scene.rig.settle()
    scene.rig.clock.advance(59.0)
    peer.send(b"y", outside)
    scene.rig.clock.advance(1.0)
    assert not scene.session.terminated
    scene.rig.clock.advance(60.0)
    assert connection.waits
    scene.rig.clock.advance(59.0)
    assert scene.is_open(outside)
    scene.rig.clock.advance(1.0)
    scene.rig.settle()
    assert scene.session.terminated
    assert not scene.is_open(outside)
    assert is_free(scene, outside)
    assert connection.terminating
    assert code_of(bind, scene, client.address) == FWX_E_TERMINATING


@pytest.mark.parametrize("used", [False, True])
def test_it_ends_when_the_service_takes_no_more(scene: Scene, udp: Peers, used: bool) -> None:
    """UDP has no end to wait for."""
    client, peer = udp(), udp()
    outside, (connection,) = bind(scene, client.address)
    if used:
        peer.send(b"x", outside)
        client.expect(b"x")
    scene.doors[0].gateway.close()
    assert connection.terminating
    assert not list(scene.rig.packet_filter)
    assert is_free(scene, outside)
    assert len(scene.session.secondary) == used or not used
    scene.rig.settle()
    assert len(scene.session.secondary) == 0


def test_on_reserved_ports(scene: Scene, udp: Peers) -> None:
    """B6.26: the first port for the first address."""
    client, peer = udp(), udp()
    reserved = scene.rig.firewall.ReservePorts(FWX_PROTOCOL_UDP, OUTSIDE, None, 2)
    first = OUTSIDE.with_port(reserved.GetFirstPort())
    connections: Any = bind(scene, UNKNOWN, client.address, ReservedPorts=reserved)
    assert [each.GetExternalSocketName().port for each in connections] == [first.port, first.port + 1]
    peer.send(b"x", first.with_port(first.port + 1))
    client.expect(b"x")
    assert code_of(bind, scene, UNKNOWN, ReservedPorts=reserved) == E_INVALIDARG
    streams = scene.rig.firewall.ReservePorts(FWX_PROTOCOL_TCP, OUTSIDE, None, 1)
    assert code_of(bind, scene, UNKNOWN, ReservedPorts=streams) == E_INVALIDARG


def test_a_port_that_is_taken(scene: Scene, udp: Peers) -> None:
    """B6.15: a port that is given, or nothing."""
    taken = udp()
    assert code_of(bind, scene, UNKNOWN, ProxyAddress=taken.address) == HRESULT_FROM_WIN32(WSAEADDRINUSE)
    assert len(scene.session.secondary) == 0


@pytest.mark.parametrize("later", [False, True])
def test_a_packet_filter_that_does_not_open(scene: Scene, udp: Peers, monkeypatch: Any, later: bool) -> None:
    """The port is closed, and the log says why."""

    def open_(_self: Any, claim: Any) -> None:
        if not later:
            raise PermissionError(13, "no")
        scene.rig.queue.post(claim.settle, WSAEACCES)

    monkeypatch.setattr(type(scene.rig.packet_filter), "open", open_)
    monkeypatch.setattr(type(scene.rig.packet_filter), "close", lambda self, claim: claim.withdraw())
    if later:
        outside, (connection,) = bind(scene, UNKNOWN)
        scene.rig.settle()
        assert connection.terminating
        assert is_free(scene, outside)
    else:
        assert code_of(bind, scene, UNKNOWN) == HRESULT_FROM_WIN32(WSAEACCES)
    scene.rig.settle()
    assert len(scene.session.secondary) == 0
    assert scene.rig.records[-1].resultcode == HRESULT_FROM_WIN32(WSAEACCES)
    assert "the packet filter" in scene.rig.records[-1].reason


def test_a_packet_filter_that_does_not_open_the_way_to_the_client(scene: Scene, udp: Peers, monkeypatch: Any) -> None:
    client, peer = udp(), udp()
    outside, (connection,) = bind(scene, client.address)
    original = type(scene.rig.packet_filter).open

    def open_(self: Any, claim: Any) -> None:
        if claim.opening.remote == client.address:
            scene.rig.queue.post(claim.settle, WSAEACCES)
        else:
            original(self, claim)

    monkeypatch.setattr(type(scene.rig.packet_filter), "open", open_)
    peer.send(b"x", outside)
    assert connection.terminating
    assert not list(scene.rig.packet_filter)
    assert scene.rig.records[-1].reason.startswith("the packet filter did not open a port to the client")


# ---- the rule behind it ----------------------------------------------------------------------------------------------

RULES = [
    Rule(name, "allow", (name,), ("localhost",), ("localhost",)) for name in ("FTP", "HTTP", "DNS")
]  # told apart by the protocol of the primary connection


def rule_of(scene: Scene, client: SocketAddress) -> str:
    _, (connection,) = bind(scene, client)
    rule: str = connection.rule
    connection.Kill()
    return rule


def test_the_newest_connection(scene: Scene, udp: Peers) -> None:
    """Or the one whose event is being handled."""
    client, rules = udp().address, []

    def handle(event: Any) -> None:
        rules.append((event.Parameters.Connect.Address.port, rule_of(scene, client)))

    scene.rig.engine.policy = scene.rig.policy(*RULES)
    scene.rig.host("binding", handle=handle, mask=PRIMARY_MASK)
    slow, quick = scene.door(), scene.door()
    slow.open(SocketAddress("slow.example", 21))
    quick.open(SocketAddress("127.0.0.1", 80))
    scene.rig.names.asked.pop()([SocketAddress("127.0.0.1", 21)], 0)
    assert rules == [(80, "HTTP"), (21, "FTP")]
    scene.rig.settle()


def test_a_primary_connection_over_udp(scene: Scene, udp: Peers) -> None:
    """Its rules are those of its destinations: that which is being shown, else the one that was used last."""
    rig, told, rules = scene.rig, udp().address, []
    rig.engine.policy = rig.policy(
        Rule("first", "allow", ("any",), ("localhost",), ("localhost",)),
        Rule("second", "allow", ("any",), ("localhost",), ("outside",)),
    )
    client, server = Client(), udp()
    connection = FWXDatagramConnection(scene.session, server.address, client, lambda _: rig.engine.filters)  # type: ignore[arg-type]
    connection.start()
    client.say(b"hello", server.address)
    assert connection.leads_to == server.address
    assert rule_of(scene, told) == "first"
    rig.host("binding", handle=lambda _: rules.append(rule_of(scene, told)), mask=fwx_Udp_Destination | FWX_ALL_SOURCES)
    client.say(b"hello", SocketAddress("203.0.113.7", 9))
    assert rules == ["second"]
    assert rule_of(scene, told) == "second"
    client.say(b"again", server.address)
    assert rule_of(scene, told) == "first"
    connection.end()


def test_other_families_meet(scene: Scene, udp: Peers) -> None:
    """Outside IPv6, inside IPv4: only payloads pass."""
    client, peer = udp(), udp("::1")
    outside, _ = bind(scene, client.address, ProxyAddress=SocketAddress("::1", 0))
    peer.send(b"hello", outside)
    assert client.expect(b"hello").host == "127.0.0.1"
    client.send(b"yes")
    assert peer.expect(b"yes") == outside


def test_the_longest_datagram(scene: Scene, udp: Peers) -> None:
    """Whole, or not at all; an empty one is one too."""
    client, peer = udp(), udp()
    outside, _ = bind(scene, client.address)
    for data in (bytes(65507), b"", b"x"):
        peer.send(data, outside)
        client.expect(data)
        client.send(data)
        peer.expect(data)


@pytest.mark.parametrize("denies", [False, True])
def test_nobody_else_may_come_while_a_blocking_filter_is_asked(scene: Scene, udp: Peers, denies: bool) -> None:
    """B6.6: it takes one peer, and is closed to others then; where the first is refused, the next one may come."""
    client, first, second, rig = udp(), udp(), udp(), scene.rig
    asked, answer = threading.Event(), threading.Event()

    def handle(event: Any) -> None:
        if event.EventType == fwx_Udp_Destination and not asked.is_set():
            asked.set()
            assert answer.wait(10)
            if denies:
                event.Parameters.UdpDest.piUdpDestination.Deny(0)

    rig.host("asked", handle=handle, mask=ALL, blocking=True)
    outside, _ = bind(scene, client.address)
    rig.until(lambda: scene.is_open(outside))
    first.send(b"first", outside)
    rig.until(asked.is_set)
    second.send(b"second", outside)
    rig.until(lambda: denied(scene))
    assert denied(scene)[0].reason == "the port is for one, who has come"
    answer.set()
    if denies:
        rig.until(lambda: len(denied(scene)) == 2)
        assert scene.is_open(outside)
        second.send(b"lost", outside)  # as what comes while a filter is asked is
    rig.until(lambda: not scene.is_open(outside))
    (second if denies else first).send(b"again", outside)
    client.expect(b"again")
