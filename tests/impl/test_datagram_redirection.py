"""RedirectConnections over UDP: an inside port whose datagrams go on elsewhere (B6.22 to B6.26)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl import datagramredirection, turnedaway
from fwx.impl.logrecord import Action
from fwx.impl.packetfilter import Opening
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    FWX_FLAG_ALLOW_MULTIPLE,
    FWX_FLAG_TIMEOUT,
    FWX_PROTOCOL_UDP,
    SocketAddress,
    fwx_dfpc_Middle,
    fwx_Udp_Destination,
    fwxAssociatedProtocolsAllConnections,
)
from fwx.interfaces.hresult import (
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_IS_BUSY,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    WSAEACCES,
    WSAHOST_NOT_FOUND,
    COMError,
)
from tests.impl.announcing import Scene
from tests.impl.datagrampeers import DatagramPeer
from tests.impl.test_datagramconnection import Passing

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

MASK = fwx_Udp_Destination | FWX_ALL_SOURCES | fwxAssociatedProtocolsAllConnections
LOCAL = SocketAddress("127.0.0.1", 0)

Peers = Callable[..., DatagramPeer]


@pytest.fixture
def scene(rig: Rig) -> Iterator[Scene]:
    scene = Scene(rig)
    yield scene
    scene.close()


@pytest.fixture
def udp(rig: Rig) -> Peers:
    return lambda host="127.0.0.1": DatagramPeer(rig, host)


def redirect(scene: Scene, *targets: SocketAddress, **more: Any) -> Any:
    return scene.redirect(*targets, Protocol=FWX_PROTOCOL_UDP, **more)


def code_of(call: Any, *args: Any, **more: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args, **more)
    return failure.value.hresult


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


def test_one_target(scene: Scene, udp: Peers) -> None:
    """B6.22, B6.23, B6.25: an inside address comes back, for one port of the client; answers come from there."""
    client, server, rig = udp(), udp(), scene.rig
    inside, (action,) = redirect(scene, server.address)
    assert scene.is_open(inside)
    client.send(b"hello", inside)
    outside = server.expect(b"hello")
    server.send(b"welcome")
    assert client.expect(b"welcome") == inside
    client.send(b"more")
    assert server.expect(b"more") == outside
    (way_out,) = [each for each in rig.packet_filter if each.remote == server.address]
    assert set(rig.packet_filter) == {way_out, Opening(FWX_PROTOCOL_UDP, inside, client.address)}
    assert code_of(action.Cancel) == FWX_E_TERMINATING
    rig.clock.advance(60.0)
    rig.clock.advance(60.0)
    rig.settle()
    assert not list(rig.packet_filter)
    assert is_free(scene, inside)
    record = rig.records[-1]
    assert (record.action, record.protocol, record.rule, record.interface) == (
        Action.Terminate,
        "UDP",
        "everything",
        "redirected",
    )
    assert (record.destination_port, record.bytes_sent, record.bytes_received) == (server.address.port, 9, 7)
    assert len(scene.session.secondary) == 0


def test_it_is_for_one_port_of_the_client(scene: Scene, udp: Peers) -> None:
    """B6.25."""
    client, other, server = udp(), udp(), udp()
    inside, _ = redirect(scene, server.address)
    client.send(b"mine", inside)
    other.send(b"too", inside)
    server.expect(b"mine")
    server.expect_nothing()
    (record,) = denied(scene)
    assert (record.resultcode, record.source_port) == (FWX_E_IS_BUSY, other.address.port)
    assert (record.destination_port, record.protocol) == (inside.port, "UDP")


def test_a_run_of_ports(scene: Scene, udp: Peers) -> None:
    """B6.24, B6.25: consecutive ports, the lowest comes back; an action for each."""
    servers, client = [udp() for _ in range(3)], udp()
    first, actions = redirect(scene, *(server.address for server in servers))
    ports = [first.with_port(first.port + number) for number in range(3)]
    actions[1].Cancel()
    assert [scene.is_open(port) for port in ports] == [True, False, True]
    assert is_free(scene, ports[1])
    for number in (2, 0):
        client.send(b"to %d" % number, ports[number])
        servers[number].expect(b"to %d" % number)


def test_as_often_as_it_likes(scene: Scene, udp: Peers) -> None:
    """B6.25: each port of the client has its own connection; what is there goes on after Cancel, nobody new comes."""
    server, clients = udp(), [udp() for _ in range(3)]
    inside, (action,) = redirect(scene, server.address, dwFlags=FWX_FLAG_ALLOW_MULTIPLE)
    ways = set()
    for client in clients:
        client.send(b"x", inside)
        ways.add(server.expect(b"x"))
    assert len(ways) == 3
    assert scene.is_open(inside)
    action.Cancel()
    assert not scene.is_open(inside)
    clients[0].send(b"still", inside)
    server.expect(b"still")
    server.send(b"here")
    clients[0].expect(b"here")
    late = udp()
    late.send(b"late", inside)
    server.expect_nothing()


def test_so_many_at_a_time(scene: Scene, udp: Peers, monkeypatch: Any) -> None:
    """Who was quiet makes room."""
    assert datagramredirection.MOST_AT_ONCE == 64
    monkeypatch.setattr(datagramredirection, "MOST_AT_ONCE", 1)
    server, one, other = udp(), udp(), udp()
    inside, _ = redirect(scene, server.address, dwFlags=FWX_FLAG_ALLOW_MULTIPLE)
    one.send(b"one", inside)
    other.send(b"other", inside)
    server.expect(b"one")
    server.expect_nothing()
    scene.rig.clock.advance(60.0)
    scene.rig.clock.advance(60.0)
    scene.rig.settle()
    other.send(b"other", inside)
    server.expect(b"other")


def test_the_minute(scene: Scene, udp: Peers) -> None:
    """B6.7."""
    inside, _ = redirect(scene, udp().address, dwFlags=FWX_FLAG_TIMEOUT)
    scene.rig.clock.advance(59.0)
    assert scene.is_open(inside)
    scene.rig.clock.advance(1.0)
    assert not scene.is_open(inside)
    assert is_free(scene, inside)


def test_somebody_else(scene: Scene, udp: Peers, monkeypatch: Any) -> None:
    """The port is for the client of the session alone; others use nothing up, and do not fill the log."""
    monkeypatch.setattr(turnedaway, "MOST_TURNED_AWAY", 1)
    server, client = udp(), udp()
    inside, _ = redirect(scene, server.address)
    for host in ("127.0.0.2", "127.0.0.3"):
        for _ in range(3):
            udp(host).send(b"forged", inside)
    server.expect_nothing()
    (record,) = denied(scene)
    assert (record.resultcode, record.source_ip) == (FWX_E_ADDRESS_NOT_ALLOWED, "127.0.0.2")
    client.send(b"true", inside)
    server.expect(b"true")


def test_who_else_answers(scene: Scene, udp: Peers) -> None:
    """Nobody but the target."""
    server, client, stranger = udp(), udp(), udp()
    inside, _ = redirect(scene, server.address)
    client.send(b"hello", inside)
    way = server.expect(b"hello")
    stranger.send(b"forged", way)
    client.expect_nothing()


def test_a_name(scene: Scene, udp: Peers) -> None:
    """It is looked up when the client comes; where that fails the client may come again."""
    server, client, again = udp(), udp(), udp()
    scene.rig.names.table["media.example"] = WSAHOST_NOT_FOUND
    inside, _ = redirect(scene, SocketAddress("media.example", server.address.port))
    client.send(b"hello", inside)
    assert scene.rig.records[-1].destination_name == "media.example"
    scene.rig.names.table["media.example"] = ["203.0.113.7"]
    again.send(b"hello", inside)
    assert not scene.is_open(inside)
    assert {each.remote for each in scene.rig.packet_filter if each.remote} >= {
        SocketAddress("203.0.113.7", server.address.port)
    }


@pytest.mark.parametrize("withdrawn", ["before the answer", "after it"])
def test_a_name_that_is_withdrawn_meanwhile(scene: Scene, udp: Peers, withdrawn: str) -> None:
    """Who came before it was cancelled, and was not let on yet, is not let on any more."""
    server, client = udp(), udp()
    inside, (action,) = redirect(scene, SocketAddress("media.example", server.address.port))
    client.send(b"hello", inside)
    answer = scene.rig.names.asked.pop()
    if withdrawn == "before the answer":
        action.Cancel()
        answer([SocketAddress("203.0.113.7", server.address.port)], 0)
    else:
        answer([], WSAHOST_NOT_FOUND)
        action.Cancel()
        client.send(b"hello", inside)
    scene.rig.settle()
    assert scene.rig.names.asked == []
    assert denied(scene)[-1].resultcode == FWX_E_POLICY_RULES_DENIED
    assert not any(each.remote for each in scene.rig.packet_filter if each.remote != client.address)


def test_filters_see_it(rig: Rig, udp: Peers) -> None:
    """B2.4, B2.11, B2.31: as a destination that was announced; a data filter is attached in that event."""
    seen, passing = [], Passing(b"!")

    def handle(event: Any) -> None:
        if event.EventType == fwx_Udp_Destination:
            seen.append(event.Parameters.UdpDest)
            event.Parameters.UdpDest.piConnection.AttachDataFilter(passing, fwx_dfpc_Middle, None)

    scene = Scene(rig)
    rig.host("scanner", handle=handle, mask=MASK)
    server, client = udp(), udp()
    inside, _ = redirect(scene, server.address, pSessionFilter=scene.session_filter)
    client.send(b"hello", inside)
    server.expect(b"hello!")
    server.send(b"welcome")
    client.expect(b"welcome!")
    assert [(event.Address, event.IsSecondary) for event in seen] == [(server.address, True)]
    (told,) = scene.told
    assert (told.Protocol, told.Address, told.piConnection) == (FWX_PROTOCOL_UDP, server.address, seen[0].piConnection)
    scene.close()


def test_a_filter_refuses(scene: Scene, udp: Peers) -> None:
    """B2.19: another port of the client may try."""
    refused = []

    def handle(event: Any) -> None:
        if not refused:
            refused.append(event)
            event.Parameters.UdpDest.piUdpDestination.Deny(0)

    scene.rig.host("refusing", handle=handle, mask=MASK)
    server, client, other = udp(), udp(), udp()
    inside, _ = redirect(scene, server.address)
    for _ in range(2):
        client.send(b"hello", inside)
    server.expect_nothing()
    other.send(b"hello", inside)
    server.expect(b"hello")


def test_where_it_leaves_from(scene: Scene, udp: Peers) -> None:
    """B6.9."""
    server, client = udp(), udp()
    inside, _ = redirect(scene, server.address, ProxyExternalAddress=SocketAddress("127.0.0.7"))
    client.send(b"hello", inside)
    assert server.expect(b"hello").host == "127.0.0.7"
    server.send(b"welcome")
    assert client.expect(b"welcome") == inside


def test_on_reserved_ports(scene: Scene, udp: Peers) -> None:
    """B6.26."""
    server, client = udp(), udp()
    reserved = scene.rig.firewall.ReservePorts(FWX_PROTOCOL_UDP, LOCAL, None, 1)
    inside = LOCAL.with_port(reserved.GetFirstPort())
    assert len(redirect(scene, server.address, ReservedPorts=reserved)) == 1
    client.send(b"hello", inside)
    server.expect(b"hello")


@pytest.mark.parametrize("used", [False, True])
def test_it_ends_with_the_session(scene: Scene, udp: Peers, used: bool) -> None:
    server, client = udp(), udp()
    inside, (action,) = redirect(scene, server.address, dwFlags=FWX_FLAG_ALLOW_MULTIPLE)
    if used:
        client.send(b"hello", inside)
    scene.connection.end()
    scene.rig.settle()
    scene.session.terminate()
    scene.rig.settle()
    assert not list(scene.rig.packet_filter)
    assert is_free(scene, inside)
    assert not scene.session.connections
    assert code_of(action.Cancel) == FWX_E_TERMINATING
    assert code_of(redirect, scene, LOCAL.with_port(9)) == FWX_E_TERMINATING


@pytest.mark.parametrize("used", [False, True])
def test_it_ends_when_the_service_takes_no_more(scene: Scene, udp: Peers, used: bool) -> None:
    server, client = udp(), udp()
    inside, _ = redirect(scene, server.address)
    if used:
        client.send(b"hello", inside)
    scene.doors[0].gateway.close()
    scene.rig.settle()
    assert not list(scene.rig.packet_filter)
    assert is_free(scene, inside)
    assert len(scene.session.secondary) == 0


def test_while_the_log_fails(scene: Scene, udp: Peers) -> None:
    """B9.18: nothing begins; what was announced stands."""
    server, client = udp(), udp()
    inside, _ = redirect(scene, server.address)
    before = scene.rig.sessions.connections()
    scene.rig.engine.accepting = lambda: False
    client.send(b"hello", inside)
    server.expect_nothing()
    assert scene.rig.sessions.connections() == before
    scene.rig.engine.accepting = lambda: True
    client.send(b"hello", inside)
    server.expect(b"hello")


@pytest.mark.parametrize("used", [False, True])
def test_a_packet_filter_that_does_not_open(scene: Scene, udp: Peers, monkeypatch: Any, used: bool) -> None:
    """Later, as one of the kernel answers: the port is closed, and the log says why."""
    server, client = udp(), udp()

    def open_(_self: Any, claim: Any) -> None:
        fails = claim.opening.remote == client.address if used else True
        scene.rig.queue.post(claim.settle, WSAEACCES if fails else 0)

    monkeypatch.setattr(type(scene.rig.packet_filter), "open", open_)
    monkeypatch.setattr(type(scene.rig.packet_filter), "close", lambda self, claim: claim.withdraw())
    inside, (action,) = redirect(scene, server.address)
    if used:
        client.send(b"hello", inside)
    scene.rig.settle()
    assert is_free(scene, inside)
    assert code_of(action.Cancel) == FWX_E_TERMINATING
    failed = [record for record in scene.rig.records if record.action == Action.Failed]
    assert [record.resultcode for record in failed] == [HRESULT_FROM_WIN32(WSAEACCES)]
    assert len(scene.session.secondary) == 0


@pytest.mark.parametrize("used", [False, True])
def test_a_packet_filter_that_fails(scene: Scene, udp: Peers, monkeypatch: Any, used: bool) -> None:
    """At once: nothing is left."""
    server, client = udp(), udp()

    def open_(_self: Any, claim: Any) -> None:
        if not used or claim.opening.remote == client.address:
            raise PermissionError(13, "no")
        claim.settle(0)

    monkeypatch.setattr(type(scene.rig.packet_filter), "open", open_)
    monkeypatch.setattr(type(scene.rig.packet_filter), "close", lambda self, claim: claim.withdraw())
    if used:
        inside, _ = redirect(scene, server.address)
        client.send(b"hello", inside)
        assert is_free(scene, inside)
    else:
        assert code_of(redirect, scene, server.address) == HRESULT_FROM_WIN32(WSAEACCES)
    scene.rig.settle()
    assert len(scene.session.secondary) == 0
