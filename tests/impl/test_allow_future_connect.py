"""AllowFutureConnect: a connection that no rule allows, because a filter has announced it (B6.5 to B6.11)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from fwx.impl.firewallaction import FWXFirewallAction
from fwx.impl.loopthread import on_loop
from fwx.impl.policy import Rule
from fwx.impl.raw import Ref, raw
from fwx.impl.secondary import MOST_ANNOUNCED
from fwx.impl.user import FWXAuthenticatedUser
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    FWX_FLAG_ADDRESS_BASED,
    FWX_FLAG_ALLOW_ADDRESSES_ALL,
    FWX_FLAG_ALLOW_ADDRESSES_IN_CLASS_C_NETWORK,
    FWX_FLAG_ALLOW_ADDRESSES_IN_NETWORK,
    FWX_FLAG_ALLOW_MULTIPLE,
    FWX_FLAG_BIDIRECTIONAL,
    FWX_FLAG_TIMEOUT,
    FWX_PROTOCOL_TCP,
    FWX_PROTOCOL_UDP,
    GUID_NULL,
    IFWXFirewallAction,
    IFWXSession,
    SocketAddress,
    fwx_Connect_Tcp,
    fwx_dfpc_Middle,
    fwxAssociatedProtocolsAllConnections,
    fwxSourceNAT,
    fwxSourceWSP,
)
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_POINTER,
    E_UNEXPECTED,
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_BAD_CONTEXT,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAECONNREFUSED,
    WSAENOBUFS,
    COMError,
)
from fwx.interfaces.protocols import by_title
from tests.impl.announcing import PRIMARY_MASK, Scene
from tests.impl.door import CLIENT
from tests.impl.way import GREETED, REPLY

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

FTP = by_title()["FTP"].guid


@pytest.fixture
def scene(rig: Rig) -> Iterator[Scene]:
    scene = Scene(rig)
    yield scene
    scene.close()


def code_of(call: Any, *args: Any, **more: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args, **more)
    return failure.value.hresult


def test_what_no_rule_allows(scene: Scene) -> None:
    """B6.5, B6.6: closed before, open for one connection, closed again."""
    door, again = scene.door(), scene.door()
    assert scene.connects(door=scene.door()) is None
    assert scene.rig.records[-1].resultcode == FWX_E_POLICY_RULES_DENIED
    scene.announce(door.address)
    server = scene.connects(door=door)
    assert server is not None
    door.client.send(b"hello")
    server.expect(b"hello")
    assert scene.connects(door.address, door=again) is None
    assert len(scene.rig.engine.permissions) == len(scene.session.secondary) == 0


def test_somewhere_else(scene: Scene) -> None:
    """B6.5: it is for one address and port."""
    door, other = scene.door(), scene.door()
    scene.announce(door.address)
    assert scene.connects(door=other) is None
    assert scene.connects(SocketAddress("127.0.0.2", door.address.port)) is None
    assert scene.doors[-1].refusals == [FWX_E_POLICY_RULES_DENIED]
    outside = SocketAddress("203.0.113.7", 20)
    action = scene.announce(outside)
    others = (outside.with_port(21), SocketAddress("203.0.113.8", 20), SocketAddress("203.0.113.7.example", 20))
    assert scene.session.announces(outside)
    assert not any(scene.session.announces(each) for each in others)
    action.Cancel()
    assert scene.connects(door=door) is not None


def test_as_often_as_it_likes(scene: Scene) -> None:
    """B6.6."""
    door = scene.door()
    action = scene.announce(door.address, dwFlags=FWX_FLAG_ALLOW_MULTIPLE)
    for _ in range(3):
        entry = scene.door()
        entry.open(door.address)
        scene.rig.until(lambda entry=entry: entry.bound)
    action.Cancel()
    assert scene.connects(door.address) is None


def test_one_at_a_time_until_one_is_there(scene: Scene, deaf: SocketAddress) -> None:
    """B6.6: while a connection is being made no other may; one that fails leaves the permission as it was."""
    scene.announce(deaf)
    first = scene.door()
    first.open(deaf)
    scene.rig.settle()
    assert first.refusals == []
    assert scene.connects(deaf) is None
    scene.rig.clock.advance(20.0)
    scene.rig.until(lambda: first.refusals)
    (permission,) = scene.permissions
    assert permission.is_open


def test_a_refused_connection_uses_nothing_up(scene: Scene, closed: SocketAddress) -> None:
    scene.announce(closed)
    assert scene.connects(closed) is None
    assert scene.rig.records[-1].resultcode == HRESULT_FROM_WIN32(WSAECONNREFUSED)
    with socket.create_server((closed.host, closed.port)):
        door = scene.door()
        door.open(closed)
        scene.rig.until(lambda: door.bound)


def test_a_client_that_is_gone_uses_nothing_up(scene: Scene) -> None:
    door = scene.door()
    door.client_is_there = False
    scene.announce(door.address)
    door.open()
    scene.rig.until(lambda: door.ended)
    (permission,) = scene.permissions
    assert permission.is_open


@pytest.mark.parametrize(("seconds", "lapsed"), [(59.0, False), (60.0, True)])
def test_the_minute(scene: Scene, seconds: float, lapsed: bool) -> None:
    """B6.7: unused it lapses by itself; without the flag it does not."""
    door, other = scene.door(), scene.door()
    action = scene.announce(door.address, dwFlags=FWX_FLAG_TIMEOUT)
    scene.announce(other.address)
    scene.rig.clock.advance(seconds)
    assert (scene.connects(door=door) is None) is lapsed
    assert scene.connects(door=other) is not None
    assert code_of(action.Cancel) == FWX_E_TERMINATING


def test_what_is_used_in_time_does_not_lapse(scene: Scene) -> None:
    """B6.7: the minute is for what is not used."""
    door = scene.door()
    scene.announce(door.address, dwFlags=FWX_FLAG_TIMEOUT | FWX_FLAG_ALLOW_MULTIPLE)
    assert scene.connects(door=door) is not None
    scene.rig.clock.advance(600.0)
    assert scene.session.announces(door.address)


@pytest.mark.parametrize("based", [True, False])
def test_another_session_of_the_address(scene: Scene, based: bool) -> None:
    """B6.8: with the flag it is for the client's address, whatever the user; without, for the session."""
    door = scene.door()
    scene.announce(door.address, dwFlags=FWX_FLAG_ADDRESS_BASED * based)
    ann = FWXAuthenticatedUser("ann")
    assert scene.rig.sessions.of(CLIENT, fwxSourceNAT).announces(door.address) is based
    assert not scene.rig.sessions.of(SocketAddress("127.0.0.2"), fwxSourceWSP).announces(door.address)
    assert (scene.connects(door=door, user=ann) is not None) is based


def test_where_it_leaves_from(scene: Scene) -> None:
    """B6.9: from the address that is given, and its port; from that of the primary connection, but another port."""
    with socket.socket() as free:
        free.bind(("127.0.0.5", 0))
        chosen = SocketAddress.from_sockaddr(free.getsockname())
    primary = scene.connection.GetExternalSocketName()
    for given, host, port in (
        (chosen, "127.0.0.5", chosen.port),
        (SocketAddress("127.0.0.6"), "127.0.0.6", None),
        (SocketAddress("0.0.0.0"), "127.0.0.1", None),
        (primary, primary.host, None),
    ):
        door = scene.door()
        scene.announce(door.address, ProxyExternalAddress=given)
        assert scene.connects(door=door) is not None
        (bound,) = door.bound
        assert bound.host == host
        assert port is None or bound.port == port


def test_where_nothing_can_leave_from(scene: Scene) -> None:
    """B6.9: an address that is none of this machine's fails the connection, which may be tried again."""
    door = scene.door()
    scene.announce(door.address, ProxyExternalAddress=SocketAddress("203.0.113.9"))
    assert scene.connects(door=door) is None
    record = scene.rig.records[-1]
    assert record.reason.startswith("connecting failed")
    assert "203.0.113.9" in record.reason
    assert len(scene.permissions) == 1


@pytest.mark.parametrize("to", ["the announcer", "nobody"])
def test_who_is_told(scene: Scene, to: str) -> None:
    """B2.31, B2.32, B2.33, B2.45, B6.10: the session filter that was named, with its context, and nobody else."""
    everything = 0x3FF | FWX_ALL_SOURCES | fwxAssociatedProtocolsAllConnections
    other = scene.rig.host("other", mask=everything)
    assert scene.session.session_filter(other, fwx_Connect_Tcp) is not None
    door, context = scene.door(), FWXFirewallAction(lambda: True)
    filter_ = scene.session_filter if to == "the announcer" else None
    scene.announce(door.address, pSessionFilter=filter_, punkContext=context)
    scene.rig.journal.clear()
    assert scene.connects(door=door) is not None
    if filter_ is None:
        assert scene.told == []
        return
    (event,) = scene.told
    assert (event.Protocol, event.Address, event.AddressLength) == (FWX_PROTOCOL_TCP, door.address, 16)
    assert event.UserContext is context
    assert event.piConnection in scene.session.connections
    assert event.piConnection is not scene.connection
    assert event.piConnection.GetExternalPeerName() == door.address
    assert [entry[0] for entry in scene.rig.journal if entry[2] == 0x200] == ["announcer"]


def test_a_filter_cannot_attach_then(scene: Scene, watcher: Any) -> None:
    """B2.34: a data filter is attached in fwx_Connect_Tcp, by a filter that asks for secondary connections."""
    codes: list[int] = []

    def handle(event: Any) -> None:
        attach = event.Parameters.EstablishedConnection.piConnection.AttachDataFilter
        codes.append(code_of(attach, watcher(), fwx_dfpc_Middle, None))

    told = scene.rig.host("told", handle=handle)
    scene.session.AttachFilter(told.clsid)
    door = scene.door()
    scene.announce(door.address, pSessionFilter=scene.session.session_filter(told, fwx_Connect_Tcp))
    assert scene.connects(door=door) is not None
    assert codes == [FWX_E_BAD_CONTEXT]


@pytest.mark.parametrize("opens", [False, True])
def test_who_is_told_fails(scene: Scene, opens: bool) -> None:
    """DESIGN 5: a fault ends the connection, unless the filter is open."""
    told = scene.rig.host("told", handle=lambda event: 1 / 0, opens=opens)
    scene.session.AttachFilter(told.clsid)
    door = scene.door()
    scene.announce(door.address, pSessionFilter=scene.session.session_filter(told, fwx_Connect_Tcp))
    server = scene.connects(door=door)
    assert server is not None
    if opens:
        server.expect_nothing()
    else:
        scene.rig.until(lambda: door.ended)
        assert scene.rig.records[-1].resultcode == E_UNEXPECTED
    assert [alert.key for alert in scene.rig.alerts] == ["told/FirewallEventHandler"]


def test_who_is_told_has_gone(scene: Scene) -> None:
    """The session filter of another session, which has ended, hears nothing any more."""
    other = scene.rig.session("127.0.0.9")
    told = other.session_filter(scene.host, fwx_Connect_Tcp)
    door = scene.door()
    scene.announce(door.address, pSessionFilter=told)
    other.terminate()
    assert scene.connects(door=door) is not None
    assert scene.told == []


@pytest.mark.parametrize("asks", [False, True])
def test_secondary_connections_call_who_asks_for_them(rig: Rig, watcher: Any, asks: bool) -> None:
    """B2.4, B2.11: IsSecondary; only a mask with fwxAssociatedProtocolsAllConnections shows them."""
    watching = watcher()

    def handle(event: Any) -> None:
        connect = event.Parameters.Connect
        seen.append(connect)
        if connect.IsSecondary:
            connect.piConnection.AttachDataFilter(watching, fwx_dfpc_Middle, None)

    seen: list[Any] = []
    rig.host("scanner", handle=handle, mask=PRIMARY_MASK | fwxAssociatedProtocolsAllConnections * asks)
    scene = Scene(rig)
    door = scene.door()
    scene.announce(door.address, ProtocolGuid=FTP)
    server = scene.connects(door=door)
    assert server is not None
    assert [event.IsSecondary for event in seen] == ([False, True] if asks else [False])
    assert [event.IsSecondary for event in scene.seen] == [False]
    if asks:
        assert seen[-1].ProtocolGuid == FTP
        server.send(b"watched")
        door.client.expect(b"watched")
        assert [bytes(each.GetBufferAndSize()) for each in watching.passed[False]] == [b"watched"]
    scene.close()


@pytest.mark.parametrize(("guid", "protocol"), [(GUID_NULL, "unidentified TCP"), (FTP, "FTP")])
def test_what_is_logged(scene: Scene, guid: UUID, protocol: str) -> None:
    """The rule of the primary connection, and the protocol that the filter has named."""
    door = scene.door()
    scene.announce(door.address, ProtocolGuid=guid)
    server = scene.connects(door=door)
    assert server is not None
    server.close()
    door.client.close()
    scene.rig.until(lambda: door.ended)
    record = scene.rig.records[-1]
    assert (record.rule, record.application_protocol) == ("everything", protocol)
    assert (record.destination_network, record.session_id) == ("localhost", scene.session.id)


def test_a_rule_that_logs_nothing(rig: Rig) -> None:
    """The log flag is that of the primary connection's rule."""
    rig.engine.policy = rig.policy(
        Rule("quiet", "allow", ("any",), ("any", "localhost"), ("any", "localhost"), (), False)
    )
    scene = Scene(rig)
    door = scene.door()
    scene.announce(door.address)
    server = scene.connects(door=door)
    assert server is not None
    server.close()
    door.client.close()
    rig.until(lambda: door.ended)
    assert rig.records == []
    scene.close()


def test_without_a_primary_connection(scene: Scene) -> None:
    """The newest connection of the session counts; where there is none, no rule does, and the firewall is out of
    reach."""
    door = scene.door()
    scene.announce(door.address, pConnection=None)
    assert scene.connects(door=door) is not None
    other = scene.rig.session("127.0.0.9")
    scene.session = other
    assert code_of(scene.announce, door.address, pConnection=None) == FWX_E_ADDRESS_NOT_ALLOWED
    scene.announce(SocketAddress("203.0.113.7", 20), pConnection=None)
    (permission,) = scene.permissions
    assert (permission.verdict.rule, permission.verdict.upstream, permission.verdict.log) == ("", "", True)


def test_cancel(scene: Scene) -> None:
    """B6.11, B2.43: withdrawn once; letting go of the action withdraws nothing."""
    door, other = scene.door(), scene.door()
    action = scene.announce(door.address)
    scene.announce(other.address)
    assert action.QueryInterface(IFWXFirewallAction) is action
    action.Cancel()
    assert code_of(action.Cancel) == FWX_E_TERMINATING
    assert scene.connects(door=door) is None
    assert scene.connects(door=other) is not None


def test_cancelled_by_the_service(scene: Scene) -> None:
    """IFWXFirewallAction: what was used up is cancelled already."""
    door = scene.door()
    action = scene.announce(door.address)
    assert scene.connects(door=door) is not None
    assert code_of(action.Cancel) == FWX_E_TERMINATING


def test_cancelled_while_it_connects(scene: Scene, deaf: SocketAddress) -> None:
    """What has come of it already goes on, and cannot give it back."""
    action = scene.announce(deaf)
    door = scene.door()
    door.open(deaf)
    scene.rig.settle()
    action.Cancel()
    assert door.refusals == []
    scene.rig.clock.advance(20.0)
    scene.rig.until(lambda: door.refusals)
    assert scene.permissions == []


def test_released_on_the_com_face(scene: Scene) -> None:
    """B6.11: the last Release leaves the permission standing."""
    door, cell = scene.door(), Ref()
    face = raw(scene.session, IFWXSession)
    address = door.address
    arguments = (address, 16, None, 0, FWX_PROTOCOL_TCP, 0, GUID_NULL, None, None, scene.connection, cell)
    assert face.AllowFutureConnect(*arguments) == S_OK
    action = raw(cell.value, IFWXFirewallAction)
    while action.Release():
        continue
    assert scene.connects(door=door) is not None


def test_it_ends_with_the_session(scene: Scene) -> None:
    action = scene.announce(SocketAddress("203.0.113.7", 20), dwFlags=FWX_FLAG_ALLOW_MULTIPLE | FWX_FLAG_ADDRESS_BASED)
    scene.connection.end()
    scene.rig.settle()
    scene.session.terminate()
    assert len(scene.rig.engine.permissions) == 0
    assert code_of(action.Cancel) == FWX_E_TERMINATING
    assert code_of(scene.announce, SocketAddress("203.0.113.7", 20), pConnection=None) == FWX_E_TERMINATING


def test_the_service_itself_is_never_the_target(scene: Scene) -> None:
    """Its listeners are not, and of the firewall's own addresses only the one that the primary connection leads to."""
    door = scene.door()
    scene.rig.own_listeners.add(door.address)
    assert code_of(scene.announce, door.address) == FWX_E_ADDRESS_NOT_ALLOWED
    elsewhere = SocketAddress("127.0.0.2", door.address.port)
    assert code_of(scene.announce, elsewhere) == FWX_E_ADDRESS_NOT_ALLOWED
    mapped = SocketAddress("::ffff:127.0.0.2", 80)
    assert code_of(scene.announce, mapped) == FWX_E_ADDRESS_NOT_ALLOWED
    assert scene.permissions == []


def test_what_becomes_the_service_itself(scene: Scene) -> None:
    """The question is asked again when the connection comes."""
    door = scene.door()
    scene.announce(door.address)
    scene.rig.own_listeners.add(door.address)
    assert scene.connects(door=door) is None
    assert scene.rig.records[-1].resultcode == FWX_E_POLICY_RULES_DENIED


def test_a_name_that_stands_for_the_address(scene: Scene) -> None:
    """A client that has its proxy look names up asks for the server's name, and the port that was announced."""
    door = scene.door()
    scene.rig.names.table["ftp.example"] = ["203.0.113.5", "127.0.0.1"]
    name = SocketAddress("ftp.example", door.address.port)
    assert scene.connects(name) is None
    scene.announce(door.address)
    assert scene.connects(name, door=door) is not None
    assert scene.permissions == []


def test_a_name_that_stands_for_something_else(scene: Scene) -> None:
    door = scene.door()
    scene.rig.names.table["ftp.example"] = ["203.0.113.5"]
    scene.announce(door.address)
    assert scene.connects(SocketAddress("ftp.example", door.address.port)) is None
    assert scene.rig.records[-1].resultcode == FWX_E_POLICY_RULES_DENIED
    assert len(scene.permissions) == 1


def test_a_name_that_was_announced(scene: Scene) -> None:
    """Extended passive mode has a port alone: the filter announces the name that the client has asked for."""
    door = scene.door()
    port = door.address.port
    scene.rig.names.table.update({"ftp.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]})
    scene.announce(SocketAddress("FTP.example", port))
    assert scene.connects(SocketAddress("other.example", port)) is None
    assert scene.connects(SocketAddress("ftp.example", port), door=door) is not None


def test_a_name_that_leads_to_the_firewall(scene: Scene) -> None:
    """The addresses of a name are judged too."""
    scene.rig.names.table["ftp.example"] = ["127.0.0.2"]
    scene.announce(SocketAddress("ftp.example", 2000))
    assert scene.connects(SocketAddress("ftp.example", 2000)) is None


def test_through_an_upstream(rig: Rig, way: Any) -> None:
    """The way out is that of the primary connection's rule; a name that was announced is left to the upstream."""
    scene = Scene(rig)
    upstream = way.upstream()
    rig.engine.routes = {**rig.engine.routes, "parent": upstream}
    scene.connection.verdict = rig.policy(
        Rule("up", "allow", ("any",), ("localhost",), ("any",), (), True, "parent")
    ).judge("127.0.0.1", 1, SocketAddress("203.0.113.1", 21))
    target = SocketAddress("ftp.example", 2000)
    scene.announce(target)
    door = scene.door()
    door.open(target)
    parent = way.accept()
    parent.expect(GREETED)
    parent.send(b"\x05\x00")
    parent.expect(b"\x05\x01\x00\x03\x0bftp.example\x07\xd0")
    parent.send(REPLY)
    rig.until(lambda: door.bound)
    assert code_of(scene.announce, target, Protocol=FWX_PROTOCOL_UDP) == FWX_E_POLICY_RULES_DENIED
    scene.close()


@pytest.mark.parametrize(
    ("flags", "target", "allowed"),
    [
        (0, "203.0.113.7", True),
        (FWX_FLAG_ALLOW_ADDRESSES_IN_CLASS_C_NETWORK, "198.51.100.1", True),
        (FWX_FLAG_ALLOW_ADDRESSES_IN_CLASS_C_NETWORK, "198.51.100.77", True),
        (FWX_FLAG_ALLOW_ADDRESSES_IN_CLASS_C_NETWORK, "198.51.101.77", False),
        (FWX_FLAG_ALLOW_ADDRESSES_IN_CLASS_C_NETWORK, "2001:db8::1", False),
        (FWX_FLAG_ALLOW_ADDRESSES_IN_CLASS_C_NETWORK, "ftp.example", False),
        (FWX_FLAG_ALLOW_ADDRESSES_IN_NETWORK, "198.51.101.77", True),
        (FWX_FLAG_ALLOW_ADDRESSES_IN_NETWORK, "203.0.113.7", False),
        (FWX_FLAG_ALLOW_ADDRESSES_IN_NETWORK | FWX_FLAG_ALLOW_ADDRESSES_ALL, "203.0.113.7", True),
    ],
)
def test_allowed_addresses(scene: Scene, flags: int, target: str, allowed: bool) -> None:
    """B6.35: seen from the server of the primary connection; 203.0.113.0/24 is a network of its own."""
    scene.connection.address = SocketAddress("198.51.100.1", 21)
    address = SocketAddress(target, 2000)
    if allowed:
        scene.announce(address, dwFlags=flags)
    else:
        assert code_of(scene.announce, address, dwFlags=flags) == FWX_E_ADDRESS_NOT_ALLOWED


TARGET = SocketAddress("203.0.113.7", 20)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"target": None}, E_POINTER),
        ({"target": "203.0.113.7:20"}, E_INVALIDARG),
        ({"target": TARGET.with_port(0)}, E_INVALIDARG),
        ({"target": SocketAddress("0.0.0.0", 20)}, E_INVALIDARG),
        ({"AddressLength": 17}, E_INVALIDARG),
        ({"ProxyExternalAddress": SocketAddress("a.name", 0)}, E_INVALIDARG),
        ({"ProxyExternalAddress": TARGET, "ProxyExternalAddressLength": 99}, E_INVALIDARG),
        ({"Protocol": 47}, E_INVALIDARG),
        ({"Protocol": None}, E_INVALIDARG),
        ({"dwFlags": FWX_FLAG_BIDIRECTIONAL}, E_INVALIDARG),
        ({"dwFlags": -1}, E_INVALIDARG),
        ({"ProtocolGuid": None}, E_POINTER),
        ({"ProtocolGuid": uuid4()}, E_INVALIDARG),
        ({"ProtocolGuid": "FTP"}, E_INVALIDARG),
        ({"pSessionFilter": object()}, E_INVALIDARG),
        ({"pConnection": object()}, E_INVALIDARG),
    ],
)
def test_bad_arguments(scene: Scene, arguments: dict[str, Any], code: int) -> None:
    """B6.35: nothing is announced, with flags that are for another method neither."""
    assert code_of(scene.announce, **{"target": TARGET, **arguments}) == code
    assert scene.permissions == []
    assert len(scene.session.secondary) == 0


def test_connections_of_others(scene: Scene) -> None:
    """The primary connection is one of the session's, and has not ended."""
    other = scene.rig.connection(scene.rig.session("127.0.0.9"))
    assert code_of(scene.announce, TARGET, pConnection=other) == E_INVALIDARG
    scene.connection.end()
    assert code_of(scene.announce, TARGET) == FWX_E_TERMINATING


def test_too_much(scene: Scene) -> None:
    """What is announced for one session is bounded."""
    for port in range(1, MOST_ANNOUNCED + 1):
        scene.announce(TARGET.with_port(port))
    assert code_of(scene.announce, TARGET.with_port(9999)) == HRESULT_FROM_WIN32(WSAENOBUFS)


def test_from_another_thread(scene: Scene) -> None:
    """A filter announces from any thread, and cancels."""
    door = scene.door()
    actions: list[Any] = []
    thread = threading.Thread(target=lambda: actions.append(scene.announce(door.address)))
    thread.start()
    scene.rig.until(lambda: actions)
    thread.join()
    assert scene.session.announces(door.address)
    codes: list[int] = []

    def cancel() -> None:
        actions[0].Cancel()
        codes.append(code_of(actions[0].Cancel))

    thread = threading.Thread(target=cancel)
    thread.start()
    scene.rig.until(lambda: codes)
    thread.join()
    assert codes == [FWX_E_TERMINATING]
    assert not scene.session.announces(door.address)


def test_a_loop_that_does_not_answer(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for it is told, and what comes too late is not done any more."""
    monkeypatch.setattr("fwx.impl.loopthread.ANSWER_SECONDS", 0.01)
    done: list[int] = []
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(code_of(on_loop, rig.queue, done.append, 1)))
    thread.start()
    thread.join()
    assert codes == [FWX_E_TERMINATING]
    rig.settle()
    assert done == []


def test_a_filter_denies_it(rig: Rig) -> None:
    """B2.14: a secondary connection can be denied like any other; the permission stays."""

    def handle(event: Any) -> None:
        if event.Parameters.Connect.IsSecondary:
            event.Parameters.Connect.piConnection.Deny(0)

    rig.host("scanner", handle=handle, mask=PRIMARY_MASK | fwxAssociatedProtocolsAllConnections)
    scene = Scene(rig)
    door = scene.door()
    scene.announce(door.address)
    assert scene.connects(door=door) is None
    assert len(scene.permissions) == 1
    scene.close()


def test_announces(scene: Scene) -> None:
    """B2.13: what a transparent listener asks of a destination that no protocol definition has."""
    session = scene.session
    assert not session.announces(TARGET)
    scene.announce(TARGET)
    scene.announce(TARGET, Protocol=FWX_PROTOCOL_UDP)
    assert session.announces(TARGET)
    assert session.announces(TARGET, "UDP")
    assert session.announces(SocketAddress("::ffff:203.0.113.7", 20))
    assert not session.announces(TARGET.with_port(21))
