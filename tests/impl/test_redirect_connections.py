"""RedirectConnections and reserved ports: an inside address whose connections go on elsewhere (B6.22 to B6.26)."""

from __future__ import annotations

import errno
import gc
import os
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.logrecord import Action
from fwx.impl.portrun import bind_run
from fwx.impl.raw import Ref, raw
from fwx.impl.redirection import MOST_AT_ONCE
from fwx.impl.reservedports import MOST_RESERVED
from fwx.interfaces import (
    FWX_FLAG_ADDRESS_BASED,
    FWX_FLAG_ALLOW_MULTIPLE,
    FWX_FLAG_TIMEOUT,
    FWX_PROTOCOL_TCP,
    FWX_PROTOCOL_UDP,
    IFWXFirewall3,
    IFWXReservedPorts,
    IFWXSession,
    IFWXSession2,
    SocketAddress,
    fwxAssociatedProtocolsAllConnections,
)
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_POINTER,
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_IS_BUSY,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAEACCES,
    WSAEADDRINUSE,
    WSAEADDRNOTAVAIL,
    WSAENOBUFS,
    COMError,
)
from tests.impl.announcing import PRIMARY_MASK, Scene

if TYPE_CHECKING:
    from tests.impl.conftest import Rig
    from tests.impl.door import Door
    from tests.impl.peers import Peer

LOCAL = SocketAddress("127.0.0.1", 0)


@pytest.fixture
def scene(rig: Rig) -> Iterator[Scene]:
    scene = Scene(rig)
    yield scene
    scene.close()


def code_of(call: Any, *args: Any, **more: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args, **more)
    return failure.value.hresult


def arrives(scene: Scene, door: Door) -> Peer:
    """The server of *door* gets a connection."""
    taken: list[socket.socket] = []
    door.listener.setblocking(False)

    def come() -> bool:
        try:
            taken.append(door.listener.accept()[0])
        except BlockingIOError:
            return False
        return True

    scene.rig.until(come)
    return scene.rig.peer(taken[0])


def is_listening(address: SocketAddress) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(address.sockaddr) == 0


def test_one_target(scene: Scene) -> None:
    """B6.22, B6.23, B6.25: an inside address comes back, open for one connection, which goes on to the target."""
    door = scene.door()
    inside, (action,) = scene.redirect(door.address)
    assert inside.host == "127.0.0.1"
    assert scene.is_open(inside)
    client = scene.come(inside)
    server = arrives(scene, door)
    client.send(b"hello")
    server.expect(b"hello")
    server.send(b"welcome")
    client.expect(b"welcome")
    assert not scene.is_open(inside)
    assert not is_listening(inside)
    assert code_of(action.Cancel) == FWX_E_TERMINATING
    server.shutdown()
    client.expect_end()


def test_a_run_of_ports(scene: Scene) -> None:
    """B6.24, B6.25: consecutive ports, the lowest comes back; an action for each."""
    doors = [scene.door() for _ in range(3)]
    first, actions = scene.redirect(*(door.address for door in doors))
    ports = [first.with_port(first.port + number) for number in range(3)]
    assert [scene.is_open(port) for port in ports] == [True] * 3
    actions[1].Cancel()
    assert [scene.is_open(port) for port in ports] == [True, False, True]
    for number in (2, 0):
        scene.come(ports[number]).send(b"to %d" % number)
        arrives(scene, doors[number]).expect(b"to %d" % number)
    assert [scene.is_open(port) for port in ports] == [False] * 3


def test_as_often_as_it_likes(scene: Scene) -> None:
    """B6.25."""
    door = scene.door()
    inside, (action,) = scene.redirect(door.address, dwFlags=FWX_FLAG_ALLOW_MULTIPLE)
    pairs = [(scene.come(inside), arrives(scene, door)) for _ in range(3)]
    action.Cancel()
    assert not is_listening(inside)
    for client, server in pairs:
        client.send(b"still")
        server.expect(b"still")


def test_too_many_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is gone makes room."""
    assert MOST_AT_ONCE == 64
    monkeypatch.setattr("fwx.impl.redirection.MOST_AT_ONCE", 1)
    door = scene.door()
    inside, _ = scene.redirect(door.address, dwFlags=FWX_FLAG_ALLOW_MULTIPLE)
    client, server = scene.come(inside), arrives(scene, door)
    scene.come(inside).expect_reset()
    assert scene.rig.records[-1].resultcode == FWX_E_IS_BUSY
    server.close()
    client.close()
    scene.rig.until(lambda: len(scene.session.connections) == 1)
    scene.come(inside)
    arrives(scene, door)


def test_the_minute(scene: Scene) -> None:
    inside, _ = scene.redirect(scene.door().address, dwFlags=FWX_FLAG_TIMEOUT)
    scene.rig.clock.advance(59.0)
    assert scene.is_open(inside)
    scene.rig.clock.advance(1.0)
    assert not scene.is_open(inside)
    assert not is_listening(inside)


def test_somebody_else(scene: Scene) -> None:
    """The port is for the client of the session alone; whoever else comes uses nothing up."""
    door = scene.door()
    inside, _ = scene.redirect(door.address)
    scene.come(inside, "127.0.0.2").expect_reset()
    record = scene.rig.records[-1]
    assert (record.action, record.resultcode) == (Action.Denied, FWX_E_ADDRESS_NOT_ALLOWED)
    assert (record.source_ip, record.destination_port, record.rule) == ("127.0.0.2", inside.port, "everything")
    scene.come(inside)
    arrives(scene, door)


def test_a_target_that_refuses(scene: Scene, closed: SocketAddress) -> None:
    """The client is reset; it may try again."""
    inside, _ = scene.redirect(closed)
    for _ in range(2):
        scene.come(inside).expect_reset()
    assert scene.is_open(inside)


def test_one_at_a_time(scene: Scene, deaf: SocketAddress) -> None:
    """B6.25: while a connection is being made there is no second one."""
    inside, _ = scene.redirect(deaf)
    first = scene.come(inside)
    scene.rig.settle()
    scene.come(inside).expect_reset()
    assert scene.rig.records[-1].resultcode == FWX_E_IS_BUSY
    first.expect_nothing()
    first.reset()
    scene.rig.until(lambda: len(scene.session.connections) == 1)


def test_who_is_told(scene: Scene) -> None:
    """B2.31, B2.33."""
    door, context = scene.door(), scene.rig.firewall.CreateIpFilter()
    inside, _ = scene.redirect(door.address, pSessionFilter=scene.session_filter, punkContext=context)
    scene.come(inside)
    arrives(scene, door)
    (event,) = scene.told
    assert (event.Protocol, event.Address, event.UserContext) == (FWX_PROTOCOL_TCP, door.address, context)
    assert event.piConnection in scene.session.connections


def test_filters_see_a_secondary_connection(rig: Rig) -> None:
    """B2.11: its connect event names the target."""
    seen: list[Any] = []
    handle = lambda event: seen.append(event.Parameters.Connect)  # noqa: E731
    rig.host("scanner", handle=handle, mask=PRIMARY_MASK | fwxAssociatedProtocolsAllConnections)
    scene = Scene(rig)
    door = scene.door()
    inside, _ = scene.redirect(door.address)
    scene.come(inside)
    arrives(scene, door)
    assert [(event.Address, event.IsSecondary) for event in seen[1:]] == [(door.address, True)]
    scene.close()


def test_where_it_leaves_from(scene: Scene) -> None:
    door = scene.door()
    inside, _ = scene.redirect(door.address, ProxyExternalAddress=SocketAddress("127.0.0.7"))
    scene.come(inside)
    assert arrives(scene, door)._sock.getpeername()[0] == "127.0.0.7"


def test_it_ends_with_the_session(scene: Scene) -> None:
    inside, (action,) = scene.redirect(scene.door().address)
    scene.connection.end()
    scene.rig.settle()
    scene.session.terminate()
    assert not is_listening(inside)
    assert code_of(action.Cancel) == FWX_E_TERMINATING
    assert code_of(scene.redirect, LOCAL.with_port(9)) == FWX_E_TERMINATING


def test_it_ends_when_the_service_takes_no_more(scene: Scene) -> None:
    inside, _ = scene.redirect(scene.door().address)
    scene.doors[0].gateway.close()
    assert not is_listening(inside)
    assert not scene.is_open(inside)


def test_a_packet_filter_that_does_not_open(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later, as one of the kernel answers: the port is closed, and the log says why."""
    monkeypatch.setattr(
        type(scene.rig.packet_filter), "open", lambda self, claim: scene.rig.queue.post(claim.settle, WSAEACCES)
    )
    inside, (action,) = scene.redirect(scene.door().address)
    scene.rig.settle()
    assert not is_listening(inside)
    assert code_of(action.Cancel) == FWX_E_TERMINATING
    assert scene.rig.records[-1].resultcode == HRESULT_FROM_WIN32(WSAEACCES)


def test_a_packet_filter_that_fails(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: nothing is left, of the other ports either."""
    count = 0

    def open_(_self: Any, claim: Any) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise PermissionError(13, "no")
        claim.settle(0)

    monkeypatch.setattr(type(scene.rig.packet_filter), "open", open_)
    monkeypatch.setattr(type(scene.rig.packet_filter), "close", lambda self, claim: claim.withdraw())
    targets = [scene.door().address, scene.door().address]
    assert code_of(scene.redirect, *targets) == HRESULT_FROM_WIN32(WSAEACCES)
    assert len(scene.session.secondary) == 0


TARGET = SocketAddress("203.0.113.7", 20)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"ConnectAddresses": None}, E_POINTER),
        ({"ConnectAddresses": TARGET}, E_INVALIDARG),
        ({"ConnectAddresses": ()}, E_INVALIDARG),
        ({"ConnectAddresses": (TARGET, None)}, E_POINTER),
        ({"ConnectAddresses": (TARGET,) * 65}, E_INVALIDARG),
        ({"ConnectAddresses": (TARGET.with_port(0),)}, E_INVALIDARG),
        ({"ConnectAddresses": (SocketAddress("127.0.0.2", 80),)}, FWX_E_ADDRESS_NOT_ALLOWED),
        ({"ConnectAddressLength": 99}, E_INVALIDARG),
        ({"dwNumberOfAddresses": 2}, E_INVALIDARG),
        ({"dwNumberOfAddresses": 0}, E_INVALIDARG),
        ({"Protocol": 1}, E_INVALIDARG),
        ({"dwFlags": FWX_FLAG_ADDRESS_BASED}, E_INVALIDARG),
        ({"ProtocolGuid": None}, E_POINTER),
        ({"pSessionFilter": object()}, E_INVALIDARG),
        ({"ReservedPorts": None}, E_POINTER),
        ({"ReservedPorts": object()}, E_INVALIDARG),
    ],
)
def test_bad_arguments(scene: Scene, arguments: dict[str, Any], code: int) -> None:
    """Nothing is left of the call."""
    before = len(scene.rig.packet_filter)
    assert code_of(scene.redirect, **{"ConnectAddresses": (TARGET,), **arguments}) == code
    assert (len(scene.session.secondary), len(scene.rig.packet_filter)) == (0, before)


def test_fewer_than_are_given(scene: Scene) -> None:
    _, actions = scene.redirect(TARGET, TARGET.with_port(21), dwNumberOfAddresses=1)
    assert len(actions) == 1


def test_the_com_face(scene: Scene) -> None:
    """The address comes back in the middle, with its length; the actions in an array."""
    face, address, length, actions = raw(scene.session, IFWXSession), Ref(), Ref(16), Ref()
    guid = scene.connection.verdict.protocol_guid
    arguments = ([TARGET], 16, 1, address, length, None, 0, FWX_PROTOCOL_TCP, 0, guid, None, None, actions)
    assert face.RedirectConnections(*arguments) == S_OK
    assert (address.value.host, length.value, len(actions.value)) == ("127.0.0.1", 16, 1)


# ---- reserved ports --------------------------------------------------------------------------------------------------


def test_a_reservation(scene: Scene, rig: Rig) -> None:
    """B6.26: a run of ports that nobody else gets, and that is closed."""
    firewall = rig.firewall.QueryInterface(IFWXFirewall3)
    reserved = firewall.ReservePorts(FWX_PROTOCOL_TCP, LOCAL, None, 3)
    assert (reserved.GetCount(), reserved.GetTransportProtocol()) == (3, FWX_PROTOCOL_TCP)
    ports = [LOCAL.with_port(reserved.GetFirstPort() + number) for number in range(3)]
    for port in ports:
        assert not scene.is_open(port)
        assert not is_listening(port)
        assert code_of(firewall.ReservePorts, FWX_PROTOCOL_TCP, port, None, 1) == HRESULT_FROM_WIN32(WSAEADDRINUSE)
    doors = [scene.door(), scene.door()]
    actions: Any = scene.redirect(*(door.address for door in doors), ReservedPorts=reserved)
    assert len(actions) == 2
    assert [scene.is_open(port) for port in ports] == [True, True, False]
    scene.come(ports[1]).send(b"second")
    arrives(scene, doors[1]).expect(b"second")
    assert code_of(scene.redirect, TARGET, ReservedPorts=reserved) == E_INVALIDARG


def test_a_reservation_that_does_not_fit(scene: Scene, rig: Rig) -> None:
    """B6.26: fewer ports than addresses, or another transport."""
    for protocol, count in ((FWX_PROTOCOL_TCP, 1), (FWX_PROTOCOL_UDP, 2)):
        reserved = rig.firewall.ReservePorts(protocol, LOCAL, None, count)
        assert code_of(scene.redirect, TARGET, TARGET, ReservedPorts=reserved) == E_INVALIDARG
        assert reserved.GetCount() == count


@pytest.mark.parametrize("how", ["dropped", "released"])
@pytest.mark.parametrize("protocol", [FWX_PROTOCOL_TCP, FWX_PROTOCOL_UDP])
def test_a_reservation_ends_with_its_last_reference(rig: Rig, how: str, protocol: int) -> None:
    """IFWXReservedPorts: on either face."""
    cell = Ref()
    assert raw(rig.firewall, IFWXFirewall3).ReservePorts(protocol, LOCAL, 16, 2, cell) == S_OK
    assert len(rig.firewall._reservations) == 2
    first = Ref()
    face = raw(cell.value, IFWXReservedPorts)
    assert face.GetFirstPort(first) == S_OK
    if how == "released":
        while face.Release():
            continue
        assert len(rig.firewall._reservations) == 0
    del face
    cell.value = None
    gc.collect()
    assert len(rig.firewall._reservations) == 0
    rig.firewall.ReservePorts(protocol, LOCAL.with_port(first.value), None, 2)


def test_a_reservation_that_is_dropped_on_another_thread(rig: Rig) -> None:
    """The garbage collector runs where it likes."""
    kept = [rig.firewall.ReservePorts(FWX_PROTOCOL_TCP, LOCAL, None, 1)]
    thread = threading.Thread(target=kept.clear)
    thread.start()
    thread.join()
    rig.settle()
    assert len(rig.firewall._reservations) == 0


def test_reservations_end_with_the_service(rig: Rig) -> None:
    reserved = rig.firewall.ReservePorts(FWX_PROTOCOL_TCP, LOCAL, None, 2)
    rig.firewall.close_sockets()
    assert len(rig.firewall._reservations) == 0
    assert code_of(rig.firewall.ReservePorts, FWX_PROTOCOL_TCP, LOCAL, None, 1) == FWX_E_TERMINATING
    assert reserved.GetCount() == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((1, LOCAL, None, 1), E_INVALIDARG),
        ((FWX_PROTOCOL_TCP, None, None, 1), E_POINTER),
        ((FWX_PROTOCOL_TCP, SocketAddress("a.name"), None, 1), E_INVALIDARG),
        ((FWX_PROTOCOL_TCP, LOCAL, 17, 1), E_INVALIDARG),
        ((FWX_PROTOCOL_TCP, LOCAL, None, 0), E_INVALIDARG),
        ((FWX_PROTOCOL_TCP, LOCAL, None, 65), E_INVALIDARG),
        ((FWX_PROTOCOL_TCP, SocketAddress("203.0.113.9"), None, 1), HRESULT_FROM_WIN32(WSAEADDRNOTAVAIL)),
        ((FWX_PROTOCOL_TCP, LOCAL.with_port(65535), None, 2), HRESULT_FROM_WIN32(WSAEADDRINUSE)),
    ],
)
def test_bad_reservations(rig: Rig, arguments: tuple[Any, ...], code: int) -> None:
    assert code_of(rig.firewall.ReservePorts, *arguments) == code
    assert len(rig.firewall._reservations) == 0


def test_too_many_reservations(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_RESERVED == 1024
    monkeypatch.setattr("fwx.impl.reservedports.MOST_RESERVED", 3)
    kept = rig.firewall.ReservePorts(FWX_PROTOCOL_TCP, LOCAL, None, 2)
    assert code_of(rig.firewall.ReservePorts, FWX_PROTOCOL_TCP, LOCAL, None, 2) == HRESULT_FROM_WIN32(WSAENOBUFS)
    kept.end()
    rig.firewall.ReservePorts(FWX_PROTOCOL_TCP, LOCAL, None, 2)


def test_what_a_session_is(scene: Scene) -> None:
    assert scene.session.QueryInterface(IFWXSession2) is scene.session


class InUse:
    """A socket whose port somebody else has got."""

    def bind(self, sockaddr: Any, *, alone: bool) -> None:
        assert alone
        raise OSError(errno.EADDRINUSE, "in use")

    def close(self, abortive: bool) -> None:
        assert not abortive


def test_a_run_that_meets_a_port_in_use(rig: Rig) -> None:
    """B6.24: another place is looked for, and nothing is left of the first one."""
    made: list[Any] = []

    def make(family: int) -> Any:
        transport = rig.network.stream(family)
        made.append(transport)
        if len(made) == 2:
            transport.close(False)
            return InUse()
        return transport

    run = bind_run(make, LOCAL, 3)
    ports = [transport.getsockname()[1] for transport in run]
    assert ports == list(range(ports[0], ports[0] + 3))
    assert run == made[-3:]
    for transport in made[:-3]:  # more than two where a port of the machine is in use as well
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            transport.getsockname()
    for transport in run:
        transport.close(False)
