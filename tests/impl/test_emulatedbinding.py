"""Emulated binds: whoever comes for the client comes from a filter (B3.34 to B3.37, B6.27)."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from fwx import sdk
from fwx.impl.gateway import Gateway
from fwx.impl.ipfilter import FWXIpFilter
from fwx.impl.logrecord import Action
from fwx.impl.policy import Rule
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    FWX_CONNECTION_INTERNAL_ADDRESS_TRANSLATION,
    FWX_PROTOCOL_TCP,
    GUID_NULL,
    SocketAddress,
    fwx_AcceptedConnection,
    fwx_Bind_Tcp,
    fwx_ConnectionTerminating,
    fwx_dfpc_Internal,
    fwx_Listen,
)
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_POINTER,
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_ALREADY_EMULATED,
    FWX_E_ALREADY_EXISTS,
    FWX_E_IS_BUSY,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAEADDRINUSE,
    WSAECONNABORTED,
    WSAEINVAL,
    COMError,
)
from fwx.testing import MemoryFirewall
from tests.impl.inward import Handed, Inward
from tests.impl.test_emulation import Cache

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

ALL = fwx_Bind_Tcp | fwx_Listen | fwx_AcceptedConnection | FWX_ALL_SOURCES
PLACE = SocketAddress("192.0.2.1", 2121)
REMOTE = SocketAddress("203.0.113.9", 4000)


def code_of(call: Any, *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


def binds(event: Any) -> None:
    """A handler that emulates every bind, at PLACE."""
    if event.EventType == fwx_Bind_Tcp:
        connection = event.Parameters.Bind.piConnection
        connection.EmulateForBind()
        connection.SetSocketName(PLACE)


def waiting(rig: Rig) -> tuple[Inward, Any]:
    """A client whose bind is emulated, and the client's own end."""
    transport, client = rig.pair()
    rig.host("emulating", mask=ALL, handle=binds)
    inward = Inward(rig, Handed(transport))
    inward.listen()
    rig.closing.append(lambda: transport.close(False))
    return inward, client


def test_nobody_listens_where_a_bind_is_emulated(rig: Rig) -> None:
    """B3.34, B3.39: the port is given back, the name is the filter's, and the listen event comes all the same."""
    seen: list[int] = []

    def handle(event: Any) -> None:
        seen.append(event.EventType)
        if event.EventType == fwx_Bind_Tcp:
            connection = event.Parameters.Bind.piConnection
            ports.append(event.Parameters.Bind.Address)
            connection.EmulateForBind()
            assert code_of(connection.EmulateForBind) == FWX_E_ALREADY_EMULATED
            connection.SetSocketName(PLACE)
            assert code_of(connection.SetSocketName, PLACE) == FWX_E_ALREADY_EXISTS

    ports: list[SocketAddress] = []
    rig.host(mask=ALL, handle=handle)
    transport, _ = rig.pair()
    inward = Inward(rig, Handed(transport))
    inward.listen()
    with socket.socket() as other:
        other.bind(ports[0].sockaddr)
    assert not len(rig.packet_filter)
    assert inward.connection.GetExternalSocketName() == PLACE
    assert seen == [fwx_Bind_Tcp, fwx_Listen]
    inward.connection.end()
    transport.close(False)


def test_a_connection_comes_from_the_filter(rig: Rig) -> None:
    """B3.35, B3.36, B3.37, B1.36: by the address given; the data filter has the internal socket alone.

    The terminating event says when what was made must not be kept any more: then nothing of the service's holds it.
    """
    ended: list[Any] = []

    def handle(event: Any) -> None:
        if event.EventType == fwx_ConnectionTerminating:
            ended.append(event.Parameters.EndConnect.piConnection)

    rig.host("ending", mask=ALL, session_mask=ALL | fwx_ConnectionTerminating, handle=handle)
    inward, client = waiting(rig)
    cache = Cache()
    made: Any = inward.connection.EmulateConnection(cache, REMOTE, None, PLACE)
    assert cache.calls == [("SetSockets", None, None)]
    assert made.target == REMOTE
    assert made.GetExternalSocketName() == PLACE
    client.send(b"hello")
    client.expect(b"cached: hello")
    client.shutdown()
    rig.until(lambda: inward.accepted_ended)
    assert cache.calls[1:] == ["Detach"]
    assert ended == [made]
    assert code_of(made.GetSession) == FWX_E_TERMINATING
    record = rig.records[-1]
    assert (record.source_ip, record.destination_ip, record.filters) == (REMOTE.host, PLACE.host, "emulating")
    there = weakref.ref(made)
    del made
    ended.clear()
    inward.accepted_ended.clear()
    inward.connection._side.joined.clear()  # type: ignore[attr-defined]
    cache.__dict__.clear()
    gc.collect()
    assert there() is None
    inward.connection.end()


def test_other_filters_see_it_arrive(rig: Rig, watcher: Any) -> None:
    """B2.23, B3.37: they may stand between; the emulating one is nearest to the outside."""
    inward, client = waiting(rig)
    watching, cache = watcher(), Cache()

    def handle(event: Any) -> None:
        if event.EventType == fwx_AcceptedConnection:
            arrival = event.Parameters.Accept
            seen.append((arrival.RemoteAddress, arrival.LocalAddress))
            arrival.piConnectionAccepted.AttachDataFilter(watching, fwx_dfpc_Internal, None)

    seen: list[Any] = []
    rig.host("other", mask=ALL, handle=handle)
    inward.connection.EmulateConnection(cache, REMOTE, None, PLACE)
    client.send(b"x")
    client.expect(b"cached: x")
    assert seen == [(REMOTE, PLACE)]
    assert [bytes(each.GetBufferAndSize()) for each in watching.passed[True]] == [b"x"]
    inward.connection.end()


def test_another_filter_may_deny_it(rig: Rig) -> None:
    """B2.36, B1.30."""
    inward, _ = waiting(rig)
    cache = Cache()

    def handle(event: Any) -> None:
        if event.EventType == fwx_AcceptedConnection:
            event.Parameters.Accept.piConnectionAccepted.Deny(0)

    rig.host("denying", mask=ALL, handle=handle)
    result = code_of(inward.connection.EmulateConnection, cache, REMOTE, None, PLACE)
    assert result == HRESULT_FROM_WIN32(WSAECONNABORTED)
    rig.until(lambda: inward.accepted_ended)
    assert (cache.calls, rig.records[-1].action) == (["Detach"], Action.Denied)
    inward.connection.end()


def test_what_emulate_connection_refuses(rig: Rig) -> None:
    """B3.35: WSAEINVAL where no filter emulates the bind, or nobody listens; nothing is left of what fails."""
    inward, _ = waiting(rig)
    emulated = inward.connection
    assert code_of(emulated.EmulateConnection, None, REMOTE, None, PLACE) == E_POINTER
    assert code_of(emulated.EmulateConnection, object(), REMOTE, None, PLACE) == E_INVALIDARG
    name = SocketAddress("www.example", 80)
    assert code_of(emulated.EmulateConnection, Cache(), name, None, PLACE) == E_INVALIDARG
    assert code_of(emulated.EmulateConnection, Cache(), REMOTE, None, name) == E_INVALIDARG
    rig.settle()
    assert rig.sessions.connections() == [emulated]
    emulated.end()
    assert code_of(emulated.EmulateConnection, Cache(), REMOTE, None, PLACE) == FWX_E_TERMINATING
    rig.engine.filters = ()
    transport, _client = rig.pair()
    real = Inward(rig, Handed(transport))
    real.listen()
    result = code_of(real.connection.EmulateConnection, Cache(), REMOTE, None, PLACE)
    assert result == HRESULT_FROM_WIN32(WSAEINVAL)
    real.connection.end()
    transport.close(False)
    outward = rig.connection()
    result = code_of(outward.EmulateConnection, Cache(), REMOTE, None, PLACE)
    assert result == HRESULT_FROM_WIN32(WSAEINVAL)
    outward.refuse(S_OK, "the test is over")


def test_the_rules_are_asked_who_may_come(rig: Rig) -> None:
    """B3.35, B6.34: as of those who come by themselves; who may not is logged, and nothing is left."""
    inward, _ = waiting(rig)
    rig.engine.policy = rig.policy(Rule("no", "deny", ("any",), ("any", "localhost"), ("any", "localhost")))
    assert code_of(inward.connection.EmulateConnection, Cache(), REMOTE, None, PLACE) == FWX_E_POLICY_RULES_DENIED
    record = rig.records[-1]
    assert (record.action, record.rule, record.resultcode) == (Action.Denied, "no", FWX_E_POLICY_RULES_DENIED)
    assert (record.source_ip, record.destination_ip) == (REMOTE.host, PLACE.host)
    rig.settle()
    assert rig.sessions.connections() == [inward.connection]
    inward.connection.end()


def test_an_ip_filter_holds_for_who_comes_from_a_filter(rig: Rig) -> None:
    """B6.32, B6.34: one that the bind had before a filter emulated it."""
    transport, _client = rig.pair()
    rig.host("emulating", mask=ALL, handle=binds)
    inward = Inward(rig, Handed(transport), ip_filter=FWXIpFilter())
    inward.listen()
    assert code_of(inward.connection.EmulateConnection, Cache(), REMOTE, None, PLACE) == FWX_E_ADDRESS_NOT_ALLOWED
    assert rig.records[-1].reason == f"the IP filter does not include {REMOTE}"
    inward.connection.end()
    transport.close(False)


def test_nobody_comes_while_the_log_fails(rig: Rig) -> None:
    """B9.18."""
    inward, _ = waiting(rig)
    rig.engine.accepting = lambda: False
    before = len(rig.records)
    assert code_of(inward.connection.EmulateConnection, Cache(), REMOTE, None, PLACE) == FWX_E_IS_BUSY
    assert len(rig.records) == before
    inward.connection.end()


# ---- EmulateClientBind -----------------------------------------------------------------------------------------------


@pytest.fixture
def ready(rig: Rig) -> Any:
    """An engine with a gateway, and the client's listening socket."""
    Gateway(rig.engine, rig.sessions, lambda _: None)
    listener = socket.create_server(("127.0.0.1", 0))
    rig.closing.append(listener.close)
    return listener


def emulate(rig: Rig, listener: Any, **more: Any) -> Any:
    given = {
        "client": SocketAddress.from_sockaddr(listener.getsockname()),
        "place": PLACE,
        "protocol": FWX_PROTOCOL_TCP,
    }
    given |= {"guid": GUID_NULL, "translates": False} | more
    return rig.session().EmulateClientBind(
        given["client"], None, given["place"], None, given["protocol"], given["guid"], given["translates"]
    )


def test_a_client_that_bound_nothing_is_connected_to(rig: Rig, ready: Any) -> None:
    """B6.27: the bind event shows the place; each connection of the filter is dialled to the client."""
    seen: list[Any] = []

    def handle(event: Any) -> None:
        seen.append(event.EventType)
        if event.EventType == fwx_Bind_Tcp:
            assert event.Parameters.Bind.Address == PLACE
            assert not event.Parameters.Bind.IsSecondary

    rig.host(mask=ALL, session_mask=ALL | fwx_ConnectionTerminating, handle=handle)
    connection = emulate(rig, ready)
    for _ in range(2):
        cache = Cache()
        connection.EmulateConnection(cache, REMOTE, None, PLACE)
        ready.setblocking(True)
        client = rig.peer(ready.accept()[0])
        client.send(b"to the filter")
        client.expect(b"cached: to the filter")
        client.shutdown()
        client.expect_end()
    connection.Kill()
    rig.settle()
    assert not rig.sessions.connections()
    assert (seen[0], seen.count(fwx_AcceptedConnection), seen.count(fwx_ConnectionTerminating)) == (fwx_Bind_Tcp, 2, 3)
    assert not len(rig.session().secondary)


@pytest.mark.parametrize("translates", [False, True])
def test_its_flags(rig: Rig, ready: Any, translates: bool) -> None:
    connection = emulate(rig, ready, translates=translates)
    assert connection.GetConnectionFlags() == (FWX_CONNECTION_INTERNAL_ADDRESS_TRANSLATION if translates else 0)
    connection.end()


def test_it_ends_with_its_session(rig: Rig, ready: Any) -> None:
    connection = emulate(rig, ready)
    rig.session().terminate()
    assert connection.terminating
    rig.settle()


def test_the_rules_judge_who_comes_to_a_client_that_bound_nothing(rig: Rig, ready: Any) -> None:
    """B6.27, B6.29."""
    connection = emulate(rig, ready)
    rig.engine.policy = rig.policy(Rule("no", "deny", ("any",), ("any", "localhost"), ("any", "localhost")))
    assert code_of(connection.EmulateConnection, Cache(), REMOTE, None, PLACE) == FWX_E_POLICY_RULES_DENIED
    assert rig.records[-1].original_client_ip == "127.0.0.1"
    connection.end()
    rig.settle()


def test_nothing_begins_while_the_service_stops(rig: Rig, ready: Any) -> None:
    """Else a filter that tries again would hold up the stop."""
    connection = emulate(rig, ready)
    rig.engine.gateway.close()
    assert connection.terminating
    assert code_of(lambda: emulate(rig, ready)) == FWX_E_TERMINATING
    rig.settle()
    assert not rig.sessions.connections()


@pytest.mark.parametrize("names", [("one",), ("one", "two")])
def test_whose_it_is(names: tuple[str, ...]) -> None:
    """A task that a filter has started in FilterInit is known as the filter's, and so is what that starts; also of two
    filters of one class."""

    class Emulator(sdk.ConnectionFilter):
        events = 0

        def started(self, firewall: Any) -> None:
            sdk.spawn(firewall, self.wait(firewall), name="emulator")

        async def wait(self, firewall: Any) -> None:
            await asyncio.sleep(1)
            sdk.spawn(firewall, self.emulate(firewall), name="emulator")

        async def emulate(self, firewall: Any) -> None:
            client = SocketAddress("10.0.0.1", 80)
            session = firewall.CreatePrivateSession(client, None, None, None, None)
            bind = session.EmulateClientBind(client, None, PLACE, None, FWX_PROTOCOL_TCP, GUID_NULL, False)
            bind.EmulateConnection(sdk.AsyncDataFilter(), REMOTE, None, PLACE)

    memory = MemoryFirewall()
    for name in names:
        memory.start(Emulator, name)
    memory.loop.advance(2)
    memory.close()
    assert not memory.faults
    failed = [record.filters for record in memory.records if record.action == Action.Failed]
    assert failed == list(names)


def test_what_emulate_client_bind_refuses(rig: Rig, ready: Any) -> None:
    """B6.27."""

    def code(**more: Any) -> int:
        return code_of(lambda: emulate(rig, ready, **more))

    assert code(client=SocketAddress("127.0.0.2", 80)) == FWX_E_ADDRESS_NOT_ALLOWED
    assert code(client=None) == E_POINTER
    assert code(place=None) == E_POINTER
    assert code(place=SocketAddress("www.example", 80)) == E_INVALIDARG
    assert code(place=PLACE.with_port(0)) == E_INVALIDARG
    assert code(protocol=1) == E_INVALIDARG
    assert code(guid=None) == E_POINTER
    rig.host(mask=ALL, handle=lambda event: event.Parameters.Bind.piConnection.Deny(0))
    assert code() == HRESULT_FROM_WIN32(WSAEADDRINUSE)
    rig.engine.policy = rig.policy(Rule("no", "deny", ("any",), ("any", "localhost"), ("any", "localhost")))
    assert code() == FWX_E_POLICY_RULES_DENIED
    rig.settle()
    assert not rig.sessions.connections()
    assert {record.action for record in rig.records} == {Action.Denied}
    assert S_OK not in {record.resultcode for record in rig.records}
