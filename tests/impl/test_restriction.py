"""SetIpFilter of a connection: who is outside is not connected to, not heard, and dropped where he is there already."""

from __future__ import annotations

import threading
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.ipfilter import FWXIpFilter
from fwx.impl.logrecord import Action
from fwx.impl.policy import Rule
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    FWX_FLAG_BIDIRECTIONAL,
    FWX_PROTOCOL_UDP,
    COMError,
    SocketAddress,
    fwx_AcceptedConnection,
    fwx_Bind_Tcp,
    fwx_Bind_Udp,
    fwx_dfpc_Middle,
    fwx_Udp_Destination,
)
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_NOT_SUPPORTED,
    FWX_E_TERMINATING,
    S_OK,
)
from fwx.interfaces.protocols import by_title
from tests.impl.door import Door
from tests.impl.inward import Handed, Inward
from tests.impl.test_datagramconnection import UDP_MASK, Association, Passing, Server
from tests.impl.test_emulation import Cache
from tests.impl.test_upstream import BY_NAME, NAME, chain, tunnel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.impl.conftest import Opened, Rig

HERE, THERE = "127.0.0.1", "127.0.0.2"


def only(*hosts: str) -> FWXIpFilter:
    ip_filter = FWXIpFilter()
    for host in hosts:
        ip_filter.IncludeRange(IPv4Address(host), IPv4Address(host))
    return ip_filter


def code_of(call: Any, *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return int(failure.value.hresult)


@pytest.fixture
def door(rig: Rig) -> Iterator[Door]:
    door = Door(rig)
    yield door
    door.gateway.close()
    door.listener.close()


@pytest.fixture
def servers() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def make(host: str = HERE) -> Server:
        made.append(Server(host))
        return made[-1]

    yield make
    for server in made:
        server.sock.close()


def restricting(rig: Rig, ip_filter: FWXIpFilter | None) -> Any:
    """A filter that gives each connection it sees connect *ip_filter*."""
    return rig.host(handle=lambda event: event.Parameters.Connect.piConnection.SetIpFilter(ip_filter))


# ---- TCP -------------------------------------------------------------------------------------------------------------


def test_the_answers(rig: Rig) -> None:
    """B4.11, B6.33: a copy goes in, a copy comes out; ``None`` is everybody; what is over takes no filter."""
    connection = rig.open().connection
    given = only(HERE)
    connection.SetIpFilter(given)
    given.ExcludeRange(IPv4Address(HERE), IPv4Address(HERE))
    told: Any = connection.GetIpFilter()
    assert told.Compare(only(HERE)) == S_OK
    told.IncludeRange(IPv4Address(THERE), IPv4Address(THERE))
    assert connection.GetIpFilter().Compare(only(HERE)) == S_OK  # type: ignore[union-attr]
    assert code_of(connection.SetIpFilter, object()) == E_INVALIDARG
    connection.SetIpFilter(None)
    assert connection.GetIpFilter() is None
    connection.end()
    assert code_of(connection.SetIpFilter, only()) == FWX_E_TERMINATING
    connection.SetIpFilter(None)


@pytest.mark.parametrize("filtered", [False, True])
def test_an_established_connection(rig: Rig, watcher: Any, filtered: bool) -> None:
    """B6.33, B6.34: it goes on with a peer inside, and ends with one outside, or with nobody inside."""
    opened: Opened = rig.open(*([watcher()] if filtered else []))
    opened.connection.SetIpFilter(only(HERE))
    opened.client.send(b"on")
    opened.server.expect(b"on")
    opened.connection.SetIpFilter(only())
    opened.client.expect_reset()
    opened.server.expect_reset()
    rig.until_gone(opened.connection)
    (record,) = rig.records
    assert (record.action, record.resultcode) == (Action.Terminate, FWX_E_ADDRESS_NOT_ALLOWED)
    assert record.reason == "the IP filter does not include 127.0.0.1:80"


def test_from_another_thread(rig: Rig) -> None:
    """It is judged on the loop thread, which the caller waits for."""
    opened: Opened = rig.open()
    caller = threading.Thread(target=opened.connection.SetIpFilter, args=(only(THERE),))
    caller.start()
    opened.client.expect_reset()
    opened.server.expect_reset()
    caller.join(5)
    rig.until_gone(opened.connection)


@pytest.mark.parametrize("named", [False, True])
def test_in_the_handler_of_its_event(rig: Rig, door: Door, named: bool) -> None:
    """B6.34: nobody outside is connected to, and the client is refused."""
    rig.names.table["www.example"] = [HERE]
    restricting(rig, only(THERE))
    door.open(SocketAddress("www.example", door.address.port) if named else None)
    assert door.refusal() == FWX_E_ADDRESS_NOT_ALLOWED
    assert rig.records[0].action is Action.Denied
    door.listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        door.listener.accept()


def test_the_addresses_of_a_name(rig: Rig, door: Door, closed: SocketAddress) -> None:
    """B6.34: those inside are tried, the others not."""
    rig.names.table["www.example"] = [THERE, HERE]
    restricting(rig, only(HERE))
    door.open(SocketAddress("www.example", door.address.port))
    server = door.accept()
    server.send(b"here")
    door.client.expect(b"here")
    (connection,) = rig.sessions.connections()
    assert connection.GetExternalPeerName() == door.address
    connection.end()
    rig.until(lambda: door.ended)
    assert rig.records[0].destination_ip == HERE


def test_while_it_is_dialled(rig: Rig, door: Door, deaf: SocketAddress) -> None:
    """The literal address is known before it is connected to."""
    door.open(deaf)
    (connection,) = rig.sessions.connections()
    connection.SetIpFilter(only(HERE))
    rig.settle()
    assert not door.refusals
    connection.SetIpFilter(only(THERE))
    assert door.refusal() == FWX_E_ADDRESS_NOT_ALLOWED


def test_while_a_name_is_dialled(rig: Rig, door: Door) -> None:
    """Where the name has led to nobody yet, it is judged when it has."""
    rig.names.table["www.example"] = [HERE]
    door.open(SocketAddress("www.example", door.address.port))
    (connection,) = rig.sessions.connections()
    connection.SetIpFilter(only(THERE))
    assert not connection.terminating
    assert door.refusal() == FWX_E_ADDRESS_NOT_ALLOWED
    assert not door.bound


@pytest.mark.parametrize("late", [False, True])
def test_whom_an_upstream_knows(rig: Rig, way: Any, door: Door, late: bool) -> None:
    """A name that an upstream has looked up is at no address that a filter could include: it fails closed."""
    chain(rig, way, BY_NAME)
    if not late:
        restricting(rig, only(HERE))
    door.open(NAME)
    if late:
        tunnel(way, NAME)
        rig.until(lambda: door.bound)
        (connection,) = rig.sessions.connections()
        connection.SetIpFilter(only(HERE))
        door.client.expect_reset()
        rig.until(lambda: door.ended)
    else:
        assert door.refusal() == FWX_E_ADDRESS_NOT_ALLOWED
        assert way.nobody_comes()
    assert [one.resultcode for one in rig.records] == [FWX_E_ADDRESS_NOT_ALLOWED]


def test_an_emulated_connection(rig: Rig, door: Door) -> None:
    """B3.39: it takes none; one that was set before means nothing on it."""
    answers: list[int] = []

    def handle(event: Any) -> None:
        connection = event.Parameters.Connect.piConnection
        connection.SetIpFilter(only(THERE))
        connection.EmulateForConnect(Cache(), None)
        answers.append(code_of(connection.SetIpFilter, only(THERE)))

    rig.host(handle=handle)
    door.open()
    rig.until(lambda: door.bound)
    door.client.send(b"GET /")
    door.client.expect(b"cached: GET /")
    assert answers == [FWX_E_NOT_SUPPORTED]


# ---- arrivals --------------------------------------------------------------------------------------------------------


def test_an_arrival(rig: Rig) -> None:
    """B6.34: in the handler it is turned away; later it ends."""
    transport, client = rig.pair()
    rig.closing.append(lambda: transport.close(False))
    kept: list[Any] = []

    def handle(event: Any) -> None:
        if event.EventType == fwx_AcceptedConnection:
            kept.append(event.Parameters.Accept.piConnectionAccepted)
            kept[-1].SetIpFilter(only(HERE))

    rig.host(handle=handle, mask=fwx_AcceptedConnection | FWX_ALL_SOURCES)
    inward = Inward(rig, Handed(transport))
    inward.listen()
    inward.come(THERE).expect_reset()
    assert (rig.records[-1].action, rig.records[-1].resultcode) == (Action.Denied, FWX_E_ADDRESS_NOT_ALLOWED)
    peer = inward.come(HERE)
    peer.send(b"me")
    client.expect(b"me")
    kept[-1].SetIpFilter(only(THERE))
    peer.expect_reset()
    client.expect_reset()
    rig.until(lambda: len(inward.accepted_ended) == 2)
    assert (rig.records[-1].action, rig.records[-1].resultcode) == (Action.Terminate, FWX_E_ADDRESS_NOT_ALLOWED)


def test_an_emulated_bind(rig: Rig) -> None:
    """B3.39: it takes none."""
    emulate = lambda event: event.Parameters.Bind.piConnection.EmulateForBind()  # noqa: E731
    rig.host(handle=emulate, mask=fwx_Bind_Tcp | FWX_ALL_SOURCES)
    transport, _ = rig.pair()
    rig.closing.append(lambda: transport.close(False))
    inward = Inward(rig, Handed(transport))
    inward.listen()
    assert code_of(inward.connection.SetIpFilter, only()) == FWX_E_NOT_SUPPORTED


# ---- UDP -------------------------------------------------------------------------------------------------------------


def test_destinations_outside(rig: Rig, servers: Any) -> None:
    """B6.34, B2.16: refused without an event, logged once; another filter has them judged anew."""
    seen: list[Any] = []
    made = Association(rig, rig.host(handle=seen.append, mask=fwx_Udp_Destination | FWX_ALL_SOURCES))
    inside, outside = servers(HERE), servers(THERE)
    made.connection.SetIpFilter(only(HERE))
    for server in (inside, outside, outside):
        made.say(b"x", server.address)
    assert inside.answer() == b"x"
    outside.sock.settimeout(0)
    with pytest.raises(BlockingIOError):
        outside.sock.recv(10)
    assert [event.Parameters.UdpDest.Address for event in seen] == [inside.address]
    (record,) = rig.records
    assert (record.action, record.resultcode) == (Action.Denied, FWX_E_ADDRESS_NOT_ALLOWED)
    assert record.destination_ip == THERE
    made.connection.SetIpFilter(None)
    made.say(b"y", outside.address)
    outside.sock.settimeout(5)
    assert outside.answer() == b"y"
    assert len(rig.records) == 1


def test_destinations_that_are_there(rig: Rig, servers: Any) -> None:
    """B6.34: ended with their filters, their ports closed, and logged; what they still send is dropped and counted."""
    attached: list[Passing] = []

    def handle(event: Any) -> None:
        attached.append(Passing())
        event.Parameters.UdpDest.piConnection.AttachDataFilter(attached[-1], fwx_dfpc_Middle, None)

    made = Association(rig, rig.host(handle=handle, mask=fwx_Udp_Destination | FWX_ALL_SOURCES))
    inside, outside = servers(HERE), servers(THERE)
    askers = []
    for server in (inside, outside):
        made.say(b"x", server.address)
        askers.append(server.sock.recvfrom(10)[1])
    made.connection.SetIpFilter(only(HERE))
    rig.settle()
    (record,) = rig.records
    assert (record.action, record.resultcode, record.destination_ip, record.bytes_sent) == (
        Action.Terminate,
        FWX_E_ADDRESS_NOT_ALLOWED,
        THERE,
        1,
    )
    assert [each.detached for each in attached] == [0, 1]
    assert {opening.remote for opening in rig.packet_filter} == {inside.address}
    for _ in range(3):
        outside.sock.sendto(b"late", askers[1])
    inside.sock.sendto(b"true", askers[0])
    rig.until(lambda: made.client.got)
    rig.settle()
    assert made.client.got == [(b"true", inside.address)]
    made.end()
    record = rig.records[-1]
    assert (record.action, record.resultcode, record.protocol) == (Action.Denied, FWX_E_ADDRESS_NOT_ALLOWED, "UDP")
    assert record.reason == "datagrams were dropped: 3 from outside the IP filter"


def test_in_the_handlers_of_udp(rig: Rig, servers: Any) -> None:
    """B6.34: set at the bind it holds from the beginning; set at a destination for that one too, and what is attached
    is detached.
    """
    inside, outside = servers(HERE), servers(THERE)
    data_filter = Passing()

    def handle(event: Any) -> None:
        if event.EventType == fwx_Bind_Udp:
            event.Parameters.Bind.piConnection.SetIpFilter(only(HERE))
        elif event.Parameters.UdpDest.Address == inside.address:
            connection = event.Parameters.UdpDest.piConnection
            connection.AttachDataFilter(data_filter, fwx_dfpc_Middle, None)
            connection.SetIpFilter(only(THERE))

    made = Association(rig, rig.host(handle=handle, mask=UDP_MASK))
    made.say(b"x", outside.address)
    made.say(b"x", inside.address)
    made.say(b"y", outside.address)
    assert outside.sock.recv(10) == b"y"
    inside.sock.settimeout(0)
    with pytest.raises(BlockingIOError):
        inside.sock.recv(10)
    assert [record.destination_ip for record in rig.records] == [THERE, HERE]
    assert (data_filter.detached, data_filter.sockets) == (1, None)


def test_set_by_a_data_filter_of_the_destination(rig: Rig, servers: Any) -> None:
    """In SetSockets its own destination goes, and the connection lives."""
    inside, outside = servers(HERE), servers(THERE)

    class Strict(Passing):
        def SetSockets(self, internal: Any, external: Any, connection: Any, context: Any) -> None:
            super().SetSockets(internal, external, connection, context)
            connection.SetIpFilter(only(HERE))

    data_filter = Strict()

    def handle(event: Any) -> None:
        if event.Parameters.UdpDest.Address == outside.address:
            event.Parameters.UdpDest.piConnection.AttachDataFilter(data_filter, fwx_dfpc_Middle, None)

    made = Association(rig, rig.host(handle=handle, mask=fwx_Udp_Destination | FWX_ALL_SOURCES))
    made.say(b"x", outside.address)
    made.say(b"x", inside.address)
    assert inside.answer() == b"x"
    assert data_filter.detached == 1
    assert [each.target for each in made.connection.destinations] == [inside.address]


def test_the_addresses_of_a_name_over_udp(rig: Rig, servers: Any) -> None:
    """The first inside is the destination's; none inside, and it is refused."""
    made, server = Association(rig), servers(HERE)
    rig.names.table |= {"both.example": [THERE, HERE], "outside.example": [THERE]}
    made.connection.SetIpFilter(only(HERE))
    made.say(b"x", SocketAddress("both.example", server.address.port))
    assert server.answer() == b"x"
    made.say(b"x", SocketAddress("outside.example", 53))
    assert [(one.destination_name, one.resultcode) for one in rig.records] == [
        ("outside.example", FWX_E_ADDRESS_NOT_ALLOWED)
    ]


def test_strangers(rig: Rig, servers: Any) -> None:
    """B6.18, B6.34: who may write to the client because a filter approves it has to be inside too."""
    dns = by_title()["DNS"].guid
    made, server = Association(rig), servers()
    made.say(b"x", server.address)
    _, asker = server.sock.recvfrom(10)
    rig.engine.policy = rig.policy(Rule("dns", "allow", ("DNS",), ("localhost",), ("any", "localhost")))
    bound = made.connection.GetExternalSocketName()
    allow = rig.session().RetroactiveAllowBind
    assert allow(FWX_PROTOCOL_UDP, bound, None, dns, FWX_FLAG_BIDIRECTIONAL, None) == S_OK
    made.connection.SetIpFilter(only(HERE))
    inside, outside = servers(HERE), servers(THERE)
    outside.sock.sendto(b"forged", asker)
    inside.sock.sendto(b"true", asker)
    rig.until(lambda: made.client.got)
    rig.settle()
    assert made.client.got == [(b"true", inside.address)]
    made.end()
    assert "1 from outside the IP filter" in rig.records[-1].reason
