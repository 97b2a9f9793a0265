"""BindForClient: ports outside where a filter waits in the place of the client (B6.12 to B6.17, B6.32 to B6.34)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl import boundforclient
from fwx.impl.logrecord import Action
from fwx.impl.policy import Rule
from fwx.impl.raw import Ref, raw
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    FWX_FLAG_ALLOW_ADDRESSES_ALL,
    FWX_FLAG_ALLOW_ADDRESSES_IN_CLASS_C_NETWORK,
    FWX_FLAG_ALLOW_MULTIPLE,
    FWX_FLAG_BIDIRECTIONAL,
    FWX_FLAG_TIMEOUT,
    FWX_PROTOCOL_TCP,
    IFWXConnection,
    IFWXSession,
    SocketAddress,
    fwx_AcceptedConnection,
    fwx_Bind_Tcp,
    fwx_dfpc_Middle,
    fwx_EstablishedConnection,
    fwx_Listen,
    fwxAssociatedProtocolsAllConnections,
    fwxSourceNAT,
)
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_POINTER,
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_IS_BUSY,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAEADDRINUSE,
    WSAEADDRNOTAVAIL,
    WSAECONNREFUSED,
    WSAETIMEDOUT,
    COMError,
)
from fwx.interfaces.protocols import by_title
from tests.impl.announcing import OUTSIDE, Scene

if TYPE_CHECKING:
    from tests.impl.conftest import Rig
    from tests.impl.peers import Peer

ALL = fwx_Bind_Tcp | fwx_Listen | fwx_AcceptedConnection | FWX_ALL_SOURCES | fwxAssociatedProtocolsAllConnections
UNKNOWN = SocketAddress("0.0.0.0", 0)
FTP = by_title()["FTP"].guid


@pytest.fixture
def scene(rig: Rig) -> Iterator[Scene]:
    scene = Scene(rig)
    yield scene
    scene.close()


@pytest.fixture
def waiting() -> Iterator[socket.socket]:
    """Where the client listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def code_of(call: Any, *args: Any, **more: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args, **more)
    return failure.value.hresult


def place(server: socket.socket) -> SocketAddress:
    return SocketAddress.from_sockaddr(server.getsockname())


def gets(scene: Scene, server: socket.socket) -> Peer:
    """The client that listens at *server* gets a connection."""
    taken: list[socket.socket] = []

    def come() -> bool:
        try:
            taken.append(server.accept()[0])
        except BlockingIOError:
            return False
        return True

    scene.rig.until(come)
    return scene.rig.peer(taken[0])


def opened(scene: Scene, address: SocketAddress) -> SocketAddress:
    """Wait until the port is open."""
    scene.rig.settle()
    assert scene.is_open(address)
    return address


def is_listening(address: SocketAddress) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(address.sockaddr) == 0


def test_one_client_address(scene: Scene, waiting: socket.socket) -> None:
    """B6.12, B6.15: bound with port 0, it comes back with its port; open for one connection, which is the client's."""
    outside, (connection,) = scene.bind(place(waiting))
    assert (outside.host, connection.GetExternalSocketName()) == ("127.0.0.1", outside)
    assert IFWXConnection.providedBy(connection)
    peer = scene.come(opened(scene, outside))
    client = gets(scene, waiting)
    peer.send(b"data")
    client.expect(b"data")
    client.send(b"thanks")
    peer.expect(b"thanks")
    assert not scene.is_open(outside)
    assert not is_listening(outside)
    client.shutdown()
    peer.expect_end()
    peer.shutdown()
    client.expect_end()
    scene.rig.until(lambda: len(scene.session.connections) == 1)
    record = scene.rig.records[-1]
    assert (record.action, record.rule, record.interface) == (Action.Terminate, "everything", "bound for client")
    assert (record.bytes_sent, record.bytes_received) == (4, 6)


def test_a_run_of_ports(scene: Scene) -> None:
    """B6.12, B6.14: one connection for each client address, on consecutive ports."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        one.setblocking(False)
        other.setblocking(False)
        first, connections = scene.bind(place(one), place(other), UNKNOWN)
        ports = [first.with_port(first.port + number) for number in range(3)]
        assert [connection.GetExternalSocketName() for connection in connections] == ports
        scene.come(opened(scene, ports[1])).send(b"other")
        gets(scene, other).expect(b"other")
        scene.come(opened(scene, ports[0])).send(b"one")
        gets(scene, one).expect(b"one")
    assert [scene.is_open(port) for port in ports] == [False, False, True]


def test_a_certain_port(scene: Scene, waiting: socket.socket) -> None:
    """B6.15: a port that is given, or nothing."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        wanted = place(free)
        arguments = {"ProxyAddress": wanted}
        assert code_of(scene.bind, place(waiting), **arguments) == HRESULT_FROM_WIN32(WSAEADDRINUSE)
    outside, _ = scene.bind(place(waiting), **arguments)
    assert outside == wanted
    nowhere = SocketAddress("203.0.113.9", 0)
    assert code_of(scene.bind, place(waiting), ProxyAddress=nowhere) == HRESULT_FROM_WIN32(WSAEADDRNOTAVAIL)


def test_as_often_as_it_likes(scene: Scene, waiting: socket.socket) -> None:
    """With the flag; Kill ends it, and what was accepted goes on."""
    outside, (connection,) = scene.bind(place(waiting), dwFlags=FWX_FLAG_ALLOW_MULTIPLE)
    pairs = [(scene.come(opened(scene, outside)), gets(scene, waiting)) for _ in range(3)]
    connection.Kill()
    scene.rig.settle()
    assert not scene.is_open(outside)
    assert not is_listening(outside)
    for peer, client in pairs:
        peer.send(b"still")
        client.expect(b"still")


def test_so_many_at_a_time(scene: Scene, waiting: socket.socket, monkeypatch: Any) -> None:
    """Anybody outside could take all descriptors else; who has gone makes room."""
    monkeypatch.setattr(boundforclient, "MOST_AT_ONCE", 2)
    outside, _ = scene.bind(place(waiting), dwFlags=FWX_FLAG_ALLOW_MULTIPLE)
    pairs = [(scene.come(opened(scene, outside)), gets(scene, waiting)) for _ in range(2)]
    scene.come(outside).expect_reset()
    assert scene.rig.records[-1].reason == "the port has 2 connections"
    assert scene.rig.records[-1].resultcode == int(FWX_E_IS_BUSY)
    for each in pairs[0]:
        each.close()
    scene.rig.settle()
    peer, client = scene.come(outside), gets(scene, waiting)
    peer.send(b"room")
    client.expect(b"room")


def test_the_minute(scene: Scene, waiting: socket.socket) -> None:
    outside, (connection,) = scene.bind(place(waiting), dwFlags=FWX_FLAG_TIMEOUT)
    scene.rig.clock.advance(59.0)
    opened(scene, outside)
    scene.rig.clock.advance(1.0)
    assert not scene.is_open(outside)
    assert not is_listening(outside)
    assert code_of(connection.GetExternalSocketName) == FWX_E_TERMINATING


def test_one_at_a_time(scene: Scene, deaf: SocketAddress) -> None:
    """While the client is being dialled nobody else may come; when that fails the next one may."""
    outside, _ = scene.bind(deaf)
    first = scene.come(opened(scene, outside))
    scene.rig.settle()
    scene.come(outside).expect_reset()
    assert scene.rig.records[-1].resultcode == FWX_E_IS_BUSY
    scene.rig.clock.advance(20.0)
    first.expect_reset()
    opened(scene, outside)
    scene.come(outside).expect_nothing()


def test_a_client_that_refuses(scene: Scene, closed: SocketAddress) -> None:
    """The peer is reset, and may try again."""
    outside, _ = scene.bind(closed)
    for _ in range(2):
        scene.come(opened(scene, outside)).expect_reset()
        assert scene.rig.records[-1].resultcode == HRESULT_FROM_WIN32(WSAECONNREFUSED)


def test_a_client_address_that_comes_later(scene: Scene, waiting: socket.socket) -> None:
    """B6.16: who comes earlier waits."""
    outside, (connection,) = scene.bind(UNKNOWN)
    peer = scene.come(opened(scene, outside))
    peer.expect_nothing()
    connection.SetClientAddress(place(waiting))
    client = gets(scene, waiting)
    peer.send(b"at last")
    client.expect(b"at last")
    scene.rig.until(lambda: connection.terminating)
    assert code_of(connection.SetClientAddress, place(waiting)) == FWX_E_TERMINATING


def test_a_client_address_that_comes_first(scene: Scene, waiting: socket.socket) -> None:
    """B6.16: said once; what is known is not changed."""
    outside, (connection,) = scene.bind(UNKNOWN)
    connection.SetClientAddress(place(waiting), 16)
    assert code_of(connection.SetClientAddress, place(waiting)) == E_INVALIDARG
    _, (told,) = scene.bind(place(waiting))
    assert code_of(told.SetClientAddress, place(waiting)) == E_INVALIDARG
    scene.come(opened(scene, outside))
    gets(scene, waiting)


def test_a_client_address_that_does_not_come(scene: Scene) -> None:
    """B6.16: nobody waits for ever."""
    outside, _ = scene.bind(UNKNOWN)
    peer = scene.come(opened(scene, outside))
    peer.expect_nothing()
    scene.rig.clock.advance(20.0)
    peer.expect_reset()
    record = scene.rig.records[-1]
    assert record.resultcode == HRESULT_FROM_WIN32(WSAETIMEDOUT)
    assert "did not say in time where the client listens" in record.reason
    opened(scene, outside)


def test_a_peer_that_does_not_wait(scene: Scene, waiting: socket.socket) -> None:
    """B6.16: it uses nothing up."""
    outside, (connection,) = scene.bind(UNKNOWN)
    peer = scene.come(opened(scene, outside))
    scene.rig.settle()
    peer.reset()
    scene.rig.until(lambda: len(scene.session.connections) == 2)
    connection.SetClientAddress(place(waiting))
    scene.come(opened(scene, outside))
    gets(scene, waiting)


def test_who_waits_when_it_ends(scene: Scene) -> None:
    outside, (connection,) = scene.bind(UNKNOWN, dwFlags=FWX_FLAG_ALLOW_MULTIPLE)
    peers = [scene.come(opened(scene, outside)) for _ in range(2)]
    scene.rig.settle()
    connection.Kill()
    for peer in peers:
        peer.expect_reset()


@pytest.mark.parametrize(
    ("address", "flags", "allowed"),
    [
        ("127.0.0.1", 0, True),
        ("127.0.0.2", 0, False),
        ("198.51.100.7", 0, False),
        ("198.51.100.7", FWX_FLAG_ALLOW_ADDRESSES_IN_CLASS_C_NETWORK, False),
        ("198.51.100.7", FWX_FLAG_ALLOW_ADDRESSES_ALL, True),
        ("127.0.0.2", FWX_FLAG_ALLOW_ADDRESSES_ALL, False),
    ],
)
def test_where_the_client_may_be(scene: Scene, address: str, flags: int, allowed: bool) -> None:
    """B6.13, B6.35: at its own address, unless the flags say otherwise; never at an address of the firewall."""
    client = SocketAddress(address, 20)
    _, (later,) = scene.bind(UNKNOWN, dwFlags=flags)
    if allowed:
        scene.bind(client, dwFlags=flags)
        later.SetClientAddress(client)
    else:
        assert code_of(scene.bind, client, dwFlags=flags) == FWX_E_ADDRESS_NOT_ALLOWED
        assert code_of(later.SetClientAddress, client) == FWX_E_ADDRESS_NOT_ALLOWED


def test_the_service_does_not_listen_for_the_client(scene: Scene, waiting: socket.socket) -> None:
    scene.rig.own_listeners.add(place(waiting))
    assert code_of(scene.bind, place(waiting)) == FWX_E_ADDRESS_NOT_ALLOWED


@pytest.mark.parametrize("asks", [True, False])
def test_the_events(scene: Scene, waiting: socket.socket, watcher: Any, asks: bool) -> None:
    """B2.4, B2.11, B2.20, B2.21, B6.17: bind, listen and accept are shown as secondary, to who asks for that."""
    watching, seen = watcher(), []

    def handle(event: Any) -> None:
        seen.append(event)
        if event.EventType == fwx_AcceptedConnection:
            event.Parameters.Accept.piConnectionAccepted.AttachDataFilter(watching, fwx_dfpc_Middle, None)

    mask = ALL if asks else ALL & ~int(fwxAssociatedProtocolsAllConnections)
    scene.rig.host("watching", handle=handle, mask=mask)
    outside, (connection,) = scene.bind(place(waiting), ProtocolGuid=FTP)
    assert [event.EventType for event in seen] == ([fwx_Bind_Tcp] if asks else [])
    peer = scene.come(opened(scene, outside))
    client = gets(scene, waiting)
    peer.send(b"data")
    client.expect(b"data")
    if not asks:
        assert seen == []
        return
    bind, listen, accept = (event.Parameters for event in seen)
    assert (bind.Bind.Address, bind.Bind.piConnection) == (outside, connection)
    assert (listen.Listen.Address, listen.Listen.piConnection) == (outside, connection)
    assert (accept.Accept.RemoteAddress, accept.Accept.LocalAddress) == (peer.address, outside)
    assert {each.ProtocolGuid for each in (bind.Bind, listen.Listen, accept.Accept)} == {FTP}
    assert bind.Bind.IsSecondary
    assert accept.Accept.IsSecondary
    assert [bytes(each.GetBufferAndSize()) for each in watching.passed[False]] == [b"data"]


def test_a_filter_refuses_the_bind(scene: Scene, waiting: socket.socket) -> None:
    """B2.37: as if the address were in use; nothing is left of the other ports."""
    events = []

    def handle(event: Any) -> None:
        events.append(event)
        if len(events) == 2:
            event.Parameters.Bind.piConnection.Deny(0)

    scene.rig.host("refusing", handle=handle, mask=ALL)
    assert code_of(scene.bind, place(waiting), place(waiting)) == HRESULT_FROM_WIN32(WSAEADDRINUSE)
    scene.rig.settle()
    assert scene.session.connections == {scene.connection}
    assert len(scene.session.secondary) == 0
    assert not is_listening(events[0].Parameters.Bind.Address)


def test_a_filter_refuses_the_peer(scene: Scene, waiting: socket.socket) -> None:
    """B2.37: it is reset; the next one may come."""
    refused = []

    def handle(event: Any) -> None:
        if event.EventType == fwx_AcceptedConnection and not refused:
            refused.append(event)
            event.Parameters.Accept.piConnectionAccepted.Deny(0)

    scene.rig.host("refusing", handle=handle, mask=ALL)
    outside, _ = scene.bind(place(waiting))
    scene.come(opened(scene, outside)).expect_reset()
    scene.come(opened(scene, outside))
    gets(scene, waiting)


@pytest.mark.parametrize("denies", [False, True])
def test_nobody_else_may_come_while_a_blocking_filter_is_asked(
    scene: Scene, waiting: socket.socket, denies: bool
) -> None:
    """B6.6: it takes one connection; where the first is refused, the next one may come."""
    asked, answer = threading.Event(), threading.Event()

    def handle(event: Any) -> None:
        if event.EventType == fwx_AcceptedConnection and not asked.is_set():
            asked.set()
            assert answer.wait(10)
            if denies:
                event.Parameters.Accept.piConnectionAccepted.Deny(0)

    scene.rig.host("asked", handle=handle, mask=ALL, blocking=True)
    outside, _ = scene.bind(place(waiting))
    scene.rig.until(lambda: scene.is_open(outside))
    first = scene.come(outside)
    scene.rig.until(asked.is_set)
    scene.come(outside).expect_reset()
    answer.set()
    if denies:
        first.expect_reset()
        scene.come(outside)
    gets(scene, waiting)


def test_who_is_told(scene: Scene, waiting: socket.socket) -> None:
    """B2.31, B2.33: of the connection to the client, not of the port; with the peer's address."""
    context = scene.rig.firewall.CreateIpFilter()
    outside, (port,) = scene.bind(place(waiting), pSessionFilter=scene.session_filter, punkContext=context)
    assert scene.told == []
    peer = scene.come(opened(scene, outside))
    gets(scene, waiting)
    scene.rig.until(lambda: scene.told)
    (event,) = scene.told
    assert (event.Protocol, event.Address, event.UserContext) == (FWX_PROTOCOL_TCP, peer.address, context)
    assert event.piConnection is not port
    assert event.piConnection.GetExternalPeerName() == peer.address
    assert ("announcer", "event", fwx_EstablishedConnection) in scene.rig.journal


def test_who_may_come(scene: Scene, waiting: socket.socket) -> None:
    """B6.17, B6.32, B6.33, B6.34: the IP filter's addresses; a copy of it is kept, another one can be set."""
    ip_filter = scene.rig.firewall.CreateIpFilter()
    ip_filter.IncludeRange(IPv4Address("127.0.0.3"), IPv4Address("127.0.0.3"))
    outside, (connection,) = scene.bind(place(waiting), pIpFilter=ip_filter)
    ip_filter.IncludeRange(IPv4Address("127.0.0.1"), IPv4Address("127.0.0.1"))
    scene.come(opened(scene, outside)).expect_reset()
    assert scene.rig.records[-1].resultcode == FWX_E_ADDRESS_NOT_ALLOWED
    assert connection.GetIpFilter().IsIncluded(IPv4Address("127.0.0.1")) != S_OK
    connection.SetIpFilter(scene.rig.firewall.CreateIpFilter())
    scene.come(opened(scene, outside), "127.0.0.3").expect_reset()
    connection.SetIpFilter(ip_filter)
    scene.come(outside, "127.0.0.3")
    gets(scene, waiting)


def test_without_a_primary_connection_the_rules_are_asked(scene: Scene, waiting: socket.socket) -> None:
    """A session that a filter made for a SecureNAT client has no connection whose rule could stand behind it."""
    rig = scene.rig
    scene.session = rig.firewall.GetClientSession(SocketAddress("127.0.0.1", 7))
    assert scene.session.source == fwxSourceNAT
    assert code_of(scene.bind, place(waiting)) == FWX_E_POLICY_RULES_DENIED
    rig.settle()
    assert rig.records[-1].resultcode == FWX_E_POLICY_RULES_DENIED
    rig.engine.policy = rig.policy(Rule("inward", "allow", ("any",), ("localhost",), ("localhost",)))
    outside, _ = scene.bind(place(waiting))
    rig.engine.policy = rig.policy()
    scene.come(opened(scene, outside)).expect_reset()
    assert rig.records[-1].resultcode == FWX_E_POLICY_RULES_DENIED
    rig.engine.policy = rig.policy(Rule("inward", "allow", ("any",), ("localhost",), ("localhost",)))
    scene.come(outside)
    gets(scene, waiting)
    scene.session.terminate()


def test_it_ends_with_the_session(scene: Scene, waiting: socket.socket) -> None:
    """A port that only waits does not keep the session (B1.16)."""
    outside, (connection,) = scene.bind(place(waiting))
    scene.connection.on_ended = scene.rig.sessions.connection_ended
    scene.connection.end()
    opened(scene, outside)
    scene.rig.clock.advance(59.0)
    assert scene.is_open(outside)
    scene.rig.clock.advance(1.0)
    scene.rig.settle()
    assert scene.session.terminated
    assert not scene.is_open(outside)
    assert not is_listening(outside)
    assert connection.terminating
    assert code_of(scene.bind, place(waiting)) == FWX_E_TERMINATING


def test_it_ends_when_the_service_takes_no_more(scene: Scene, waiting: socket.socket) -> None:
    outside, _ = scene.bind(place(waiting))
    opened(scene, outside)
    scene.doors[0].gateway.close()
    assert not scene.is_open(outside)
    assert not is_listening(outside)


def test_on_reserved_ports(scene: Scene, waiting: socket.socket) -> None:
    """B6.26: the first port for the first address."""
    reserved = scene.rig.firewall.ReservePorts(FWX_PROTOCOL_TCP, OUTSIDE, None, 2)
    first = OUTSIDE.with_port(reserved.GetFirstPort())
    connections: Any = scene.bind(UNKNOWN, place(waiting), ReservedPorts=reserved)
    assert [each.GetExternalSocketName().port for each in connections] == [first.port, first.port + 1]
    scene.come(opened(scene, first.with_port(first.port + 1)))
    gets(scene, waiting)
    assert code_of(scene.bind, UNKNOWN, ReservedPorts=reserved) == E_INVALIDARG


def test_the_com_face(scene: Scene, waiting: socket.socket) -> None:
    """B6.15: the proxy's address goes in and comes out in one cell; the connections come in an array."""
    guid = scene.connection.verdict.protocol_guid
    cell, connections = Ref(OUTSIDE), Ref()
    arguments = ([place(waiting)], 16, cell, 16, FWX_PROTOCOL_TCP, 1, 0, 5, guid, None, None, None, connections)
    assert raw(scene.session, IFWXSession).BindForClient(*arguments) == S_OK
    assert cell.value.port
    assert len(connections.value) == 1


CLIENT = SocketAddress("127.0.0.1", 4000)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"ClientAddresses": None}, E_POINTER),
        ({"ClientAddresses": CLIENT}, E_INVALIDARG),
        ({"ClientAddresses": ()}, E_INVALIDARG),
        ({"ClientAddresses": (CLIENT, "somewhere")}, E_INVALIDARG),
        ({"ClientAddresses": (SocketAddress("a.name", 80),)}, E_INVALIDARG),
        ({"ClientAddresses": (CLIENT.with_port(0),)}, E_INVALIDARG),
        ({"ClientAddressLength": 17}, E_INVALIDARG),
        ({"dwNumberOfAddresses": 2}, E_INVALIDARG),
        ({"ProxyAddress": None}, E_POINTER),
        ({"ProxyAddress": SocketAddress("a.name", 0)}, E_INVALIDARG),
        ({"ProxyAddressLength": 99}, E_INVALIDARG),
        ({"Protocol": 1}, E_INVALIDARG),
        ({"dwFlags": FWX_FLAG_BIDIRECTIONAL}, E_INVALIDARG),
        ({"Backlog": "5"}, E_INVALIDARG),
        ({"ProtocolGuid": None}, E_POINTER),
        ({"pSessionFilter": object()}, E_INVALIDARG),
        ({"pIpFilter": object()}, E_INVALIDARG),
        ({"ReservedPorts": None}, E_POINTER),
    ],
)
def test_bad_arguments(scene: Scene, arguments: dict[str, Any], code: int) -> None:
    """Nothing is left of the call."""
    arguments = {"ClientAddresses": (CLIENT,), **arguments}
    assert code_of(scene.bind, **arguments) == code
    assert scene.session.connections == {scene.connection}
    assert len(scene.session.secondary) == 0
