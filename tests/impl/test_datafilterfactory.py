"""SetDataFilterFactory: the service makes the data filters of connections that were described (B2.40 to B2.43)."""

from __future__ import annotations

import asyncio
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest
from zope.interface import implementer

from fwx.aio.datafilter import AsyncDataFilter
from fwx.aio.pump import together
from fwx.connection_filter import ConnectionFilter
from fwx.data_pump import DataPump
from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.logrecord import Action
from fwx.impl.raw import Ref, raw
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    FWX_FLAG_ADDRESS_BASED,
    FWX_FLAG_TIMEOUT,
    IClassFactory,
    IFWXDataFilter,
    IFWXFirewallAction,
    IFWXSession,
    SocketAddress,
    fwx_AcceptedConnection,
    fwx_Bind_Tcp,
    fwx_Bind_Udp,
    fwx_Connect_Tcp,
    fwx_dfpc_Internal,
    fwx_dfpc_Middle,
    fwx_dfpc_PreTrust,
    fwx_Listen,
    fwx_Udp_Destination,
    fwxSourceNAT,
)
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_OUTOFMEMORY,
    E_POINTER,
    E_UNEXPECTED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAECONNREFUSED,
    COMError,
)
from fwx.testing.battery import run_rules
from fwx.testing.unknown import unknown_rules
from tests.impl.door import CLIENT, Door
from tests.impl.inward import Handed, Inward
from tests.impl.parts import ScriptedFilter, ScriptedSessionFilter, Watcher
from tests.impl.test_datagramconnection import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwx.testing import MemoryFirewall
    from tests.impl.conftest import Rig

ANY = SocketAddress("0.0.0.0", 0)


@implementer(IClassFactory)
class Factory(Unknown):
    """Makes a watcher each time; *makes* does something else instead."""

    def __init__(self, makes: Any = None) -> None:
        self.made: list[Any] = []
        self.asked: list[Any] = []
        self._makes = makes

    def CreateInstance(self, pUnkOuter: Any, riid: Any) -> Any:
        self.asked.append((pUnkOuter, riid))
        self.made.append(Watcher() if self._makes is None else self._makes())
        return self.made[-1]

    def LockServer(self, fLock: bool) -> None:
        """Nothing depends on it."""


def code_of(call: Any, *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


@pytest.fixture
def door(rig: Rig) -> Iterator[Door]:
    door = Door(rig)
    yield door
    door.gateway.close()
    door.listener.close()


def set_for(
    session: Any, factory: Any, address: SocketAddress = ANY, event: int = fwx_Connect_Tcp, flags: int = 0
) -> Any:
    return session.SetDataFilterFactory(event, address, None, factory, fwx_dfpc_Middle, None, flags)


def passes(rig: Rig, session: Any, target: str = "127.0.0.1:80", hosts: Any = ()) -> list[Any]:
    """Have a client of *session* ask for *target*; return the data filters of the connection."""
    connection = rig.connection(session, target)
    assert rig.through(connection.raise_connect_event(hosts)), connection.result
    attached = [member.data_filter for member in connection._members]
    connection.refuse(S_OK, "the test is over")
    return attached


def test_the_service_makes_the_data_filter_and_attaches_it(rig: Rig, door: Door) -> None:
    """B1.26, B1.28, B2.40: by IClassFactory, with the context; the filter need not ask (B2.41)."""
    factory, context = Factory(), Unknown()
    rig.host(mask=0)
    session = rig.session()
    session.SetDataFilterFactory(fwx_Connect_Tcp, door.address, None, factory, fwx_dfpc_Middle, context, 0)
    door.open()
    server = door.accept()
    door.client.send(b"through it")
    server.expect(b"through it")
    (made,) = factory.made
    assert factory.asked == [(None, IFWXDataFilter)]
    assert made.journal == [("watcher", "sockets", context)]
    assert [bytes(each.GetBufferAndSize()) for each in made.passed[True]] == [b"through it"]
    assert [entry for entry in rig.journal if entry[1] in ("attach", "event")] == []


@pytest.mark.parametrize(
    ("address", "target", "served"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("0.0.0.0:80", "127.0.0.2:80", True),
        ("0.0.0.0:80", "[::1]:80", True),
        ("0.0.0.0:80", "www.example:80", True),
        ("0.0.0.0:80", "127.0.0.1:81", False),
        ("127.0.0.1:0", "127.0.0.1:81", True),
        ("127.0.0.1:80", "[::ffff:127.0.0.1]:80", True),
        ("127.0.0.1:80", "www.example:80", False),
    ],
)
def test_which_addresses_it_is_for(rig: Rig, address: str, target: str, served: bool) -> None:
    """B2.40: one address or INADDR_ANY, one port or, as decided here, 0 for any."""
    factory = Factory()
    set_for(rig.session(), factory, SocketAddress.parse(address))
    assert bool(passes(rig, rig.session(), target)) is served


def test_a_name_is_served_by_what_it_leads_to(rig: Rig, door: Door) -> None:
    factory = Factory()
    rig.names.table["www.example"] = ["127.0.0.1"]
    set_for(rig.session(), factory, door.address)
    door.open(SocketAddress("www.example", door.address.port))
    door.accept()
    assert len(factory.made) == 1


def test_its_handler_is_not_called_and_those_of_others_are(rig: Rig) -> None:
    """B2.41: also of a filter that is registered for the event."""
    factory = Factory()

    def attach(session: Any) -> Any:
        set_for(session, factory, SocketAddress("127.0.0.1", 80))
        return ScriptedSessionFilter(cast("ScriptedFilter", asking._filter), session)

    asking, other = rig.host("asking", attach=attach), rig.host("other")
    assert passes(rig, rig.session(), "127.0.0.1:81", (asking, other)) == []
    assert len(passes(rig, rig.session(), "127.0.0.1:80", (asking, other))) == 1
    assert [entry[0] for entry in rig.journal if entry[1] == "event"] == ["asking", "other", "other"]


def test_who_asked_is_in_the_log(rig: Rig, door: Door) -> None:
    """The filter whose handler or AttachToSession asked, or the only one of the session."""
    factory = Factory()
    host = rig.host("asking", mask=fwx_Bind_Tcp | FWX_ALL_SOURCES)
    rig.session().AttachFilter(host.clsid)
    set_for(rig.session(), factory)
    door.open()
    server = door.accept()
    server.shutdown()
    door.client.shutdown()
    rig.until(lambda: door.ended)
    assert rig.records[0].filters == "asking"


class Asks(AsyncDataFilter):
    """A coroutine that asks for data filters when the client has sent something, in a task of its own or not."""

    def __init__(self, factory: Any, *, nested: bool) -> None:
        self.factory = factory
        self.nested = nested

    async def run(self, internal: Any, external: Any, connection: Any, context: Any) -> None:
        await internal.receive()
        asks = self._ask(connection)
        await (together(asks) if self.nested else asks)

    async def _ask(self, connection: Any) -> None:
        if self.nested:
            await asyncio.sleep(0)  # nothing of a completion is on the stack then
        set_for(connection.GetSession(), self.factory)


class AsksInCompletion(DataPump):
    """The same in a completion."""

    def __init__(self, factory: Any) -> None:
        super().__init__()
        self.factory = factory

    def SetSockets(self, internal: Any, external: Any, connection: Any, context: Any) -> None:
        self.session = connection.GetSession()
        super().SetSockets(internal, external, connection, context)

    def inspect(self, to_server: bool, buffer: Any) -> None:
        if buffer.GetBufferSizes()[1]:
            set_for(self.session, self.factory)


@pytest.mark.parametrize("asks", ["task", "nested task", "completion"])
def test_one_of_several_filters_asks_while_data_flows(fwx_firewall: MemoryFirewall, asks: str) -> None:
    """B2.40, B2.41: it is known by its data filter, so its handler is not called, and the log has its name."""
    factory, handled = Factory(), []

    class Filter(ConnectionFilter):
        def __init__(self, name: str) -> None:
            self.name = name

        def data_filter(self, asked: Any) -> Any:
            handled.append(self.name)
            if self.name == "bystander":
                return None
            return AsksInCompletion(factory) if asks == "completion" else Asks(factory, nested=asks == "nested task")

    for name in ("asking", "bystander"):
        fwx_firewall.start(partial(Filter, name), name)
    client, _ = fwx_firewall.open().established()
    client.send(b"x")
    assert handled == ["asking", "bystander"]
    opened = fwx_firewall.open(SocketAddress("198.51.100.9", 4000))
    assert handled == ["asking", "bystander", "bystander"]
    opened.client.reset()
    client.reset()
    fwx_firewall.loop.run()
    assert "asking" in [record.filters for record in fwx_firewall.records if record.destination_port == 4000]


def test_where_nobody_can_be_named_the_factory_is(rig: Rig, door: Door) -> None:
    set_for(rig.session(), Factory(lambda: 1 / 0))
    door.open()
    assert door.refusal() == E_UNEXPECTED
    assert "'Factory' failed in CreateInstance" in rig.records[0].reason


def test_the_priority_class(rig: Rig) -> None:
    """B3.7."""
    session, seen = rig.session(), []
    for place in (fwx_dfpc_PreTrust, fwx_dfpc_Internal):
        session.SetDataFilterFactory(fwx_Connect_Tcp, ANY, None, Factory(), place, None, 0)
    connection = rig.connection(session)
    assert rig.through(connection.raise_connect_event(()))
    seen = [member.priority for member in connection._members]
    connection.refuse(S_OK, "the test is over")
    assert seen == [fwx_dfpc_PreTrust, fwx_dfpc_Internal]


def test_a_refused_connection_gets_no_data_filter(rig: Rig) -> None:
    """Nothing is made for what another filter denies."""
    factory = Factory()
    set_for(rig.session(), factory)
    denying = rig.host(handle=lambda event: event.Parameters.Connect.piConnection.Deny(0))
    connection = rig.connection()
    assert not rig.through(connection.raise_connect_event((denying,)))
    assert connection.result[0] == HRESULT_FROM_WIN32(WSAECONNREFUSED)
    connection.refuse(*connection.result)
    assert factory.made == []


@pytest.mark.parametrize("flags", [0, FWX_FLAG_ADDRESS_BASED])
def test_other_sessions_of_the_same_address(rig: Rig, flags: int) -> None:
    """B2.42: another session of the address, as another process would have, and never another address."""
    factory = Factory()
    set_for(rig.session(), factory, flags=flags)
    assert len(passes(rig, rig.session())) == 1
    assert len(passes(rig, rig.session(source=fwxSourceNAT))) == (1 if flags else 0)
    assert passes(rig, rig.session("127.0.0.2")) == []


@pytest.mark.parametrize("flags", [0, FWX_FLAG_ADDRESS_BASED])
def test_cancelling_it(rig: Rig, flags: int) -> None:
    """B2.43: once; later connections are not served, and the second call says so."""
    factory = Factory()
    action = set_for(rig.session(), factory, flags=flags)
    assert len(passes(rig, rig.session())) == len(passes(rig, rig.session())) == 1
    action.Cancel()
    assert passes(rig, rig.session()) == []
    assert code_of(action.Cancel) == FWX_E_TERMINATING
    assert not len(rig.engine.factories)
    rules: Any = unknown_rules(IFWXFirewallAction, lambda made: made())
    run_rules("action", rules, lambda: _Made(rig)).require()


class _Made:
    """Makes an action for each rule."""

    def __init__(self, rig: Rig) -> None:
        self._action = set_for(rig.session(), Factory())

    def __enter__(self) -> Any:
        return lambda: self._action

    def __exit__(self, *_: Any) -> None:
        self._action.Cancel()


@pytest.mark.parametrize("flags", [0, FWX_FLAG_ADDRESS_BASED])
def test_it_ends_with_its_session(rig: Rig, flags: int) -> None:
    session = rig.session()
    action = set_for(session, Factory(), flags=flags)
    session.terminate()
    assert not len(rig.engine.factories)
    assert code_of(action.Cancel) == FWX_E_TERMINATING
    assert code_of(set_for, session, Factory()) == FWX_E_TERMINATING


def test_any_thread_may_ask_and_cancel(rig: Rig) -> None:
    """B1.45: the loop thread answers, and nobody else changes what it knows."""
    session, results, changed_by = rig.session(), list[int](), list[int]()

    class Watched(dict[Any, Any]):
        def setdefault(self, key: Any, value: Any) -> Any:
            changed_by.append(threading.get_ident())
            return super().setdefault(key, value)

        def __delitem__(self, key: Any) -> None:
            changed_by.append(threading.get_ident())
            super().__delitem__(key)

    rig.engine.factories._of_session = Watched()

    def other() -> None:
        action = set_for(session, Factory())
        results.append(len(rig.engine.factories))
        action.Cancel()
        results.append(len(rig.engine.factories))

    thread = threading.Thread(target=other)
    thread.start()
    rig.until(lambda: not thread.is_alive())
    assert results == [1, 0]
    assert changed_by == [threading.get_ident()] * 2


@pytest.mark.parametrize(
    "makes", [lambda: E_OUTOFMEMORY, lambda: None, lambda: object(), lambda: 1 / 0], ids=["memory", "none", "no", "bug"]
)
def test_a_factory_that_makes_nothing_fails_the_request(rig: Rig, door: Door, makes: Any) -> None:
    """As AttachToSession does (B1.21)."""
    set_for(rig.session(), Factory(makes))
    door.open()
    assert door.refusal() == E_UNEXPECTED


def test_a_factory_that_makes_the_same_again(rig: Rig) -> None:
    """One data filter has one place on a connection."""
    one = Watcher()
    for _ in range(2):
        set_for(rig.session(), Factory(lambda: one))
    connection = rig.connection()
    assert not rig.through(connection.raise_connect_event(()))
    connection.refuse(*connection.result)
    assert connection.result[0] == E_UNEXPECTED


def test_what_is_refused(rig: Rig) -> None:
    """B2.40."""
    session, factory = rig.session(), Factory()

    def ask(
        event: Any = fwx_Connect_Tcp, address: Any = ANY, made: Any = factory, place: Any = 3, flags: Any = 0
    ) -> int:
        return code_of(session.SetDataFilterFactory, event, address, None, made, place, None, flags)

    for event in (fwx_Bind_Tcp, fwx_Listen, fwx_Connect_Tcp | fwx_Bind_Udp, 0, "connect"):
        assert ask(event) == E_INVALIDARG
    for address in (None, SocketAddress("::1", 80), SocketAddress("www.example", 80), "127.0.0.1:80"):
        assert ask(address=address) == E_INVALIDARG
    assert ask(made=None) == E_POINTER
    assert ask(made=Unknown()) == E_INVALIDARG
    assert ask(place=7) == E_INVALIDARG
    for flags in (FWX_FLAG_TIMEOUT, -1, None):
        assert ask(flags=flags) == E_INVALIDARG
    assert not len(rig.engine.factories)


def test_the_com_face(rig: Rig) -> None:
    """B2.43: NULL is legal for the action."""
    face, action = raw(rig.session(), IFWXSession), Ref()
    arguments = (fwx_Connect_Tcp, ANY, ANY.length, Factory(), fwx_dfpc_Middle, None, 0)
    assert face.SetDataFilterFactory(*arguments, None) == S_OK
    assert face.SetDataFilterFactory(*arguments, action) == S_OK
    assert raw(action.value, IFWXFirewallAction).Cancel() == S_OK
    assert raw(action.value, IFWXFirewallAction).Cancel() == FWX_E_TERMINATING
    assert len(rig.engine.factories) == 1


# ---- the other events ------------------------------------------------------------------------------------------------


def test_datagrams_by_the_bound_address_or_the_destination(rig: Rig) -> None:
    """B2.40: of fwx_Bind_Udp the bound address, of fwx_Udp_Destination the remote one."""
    client, session = Client(), rig.session()
    bound, reached = Factory(_Silent), Factory(_Silent)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        target = SocketAddress.from_sockaddr(server.getsockname())
        set_for(session, bound, CLIENT, fwx_Bind_Udp)
        set_for(session, Factory(), CLIENT.with_port(1), fwx_Bind_Udp)
        set_for(session, reached, target, fwx_Udp_Destination)
        connection = FWXDatagramConnection(session, CLIENT, client, lambda verdict: ())  # type: ignore[arg-type]
        assert rig.through(connection.bind(CLIENT, ()))
        connection.start()
        assert (len(bound.made), len(reached.made)) == (1, 0)
        connection._from_client(b"x", target)
        connection._from_client(b"y", target)
        assert (len(bound.made), len(reached.made)) == (1, 1)
        connection.end()
        rig.settle()
    assert rig.records[-1].action is Action.Terminate


@implementer(IFWXDataFilter)
class _Silent(Unknown):
    """A data filter that does nothing."""

    def SetSockets(self, *_: Any) -> None:
        """It lets nothing through."""

    def Detach(self) -> None:
        """It has nothing."""


@pytest.mark.parametrize("other", [0, 1])
def test_an_accepted_connection_by_the_bound_address(rig: Rig, other: int) -> None:
    """B2.40: where the client waits, not where the peer comes from."""
    transport, client = rig.pair()
    inward, factory = Inward(rig, Handed(transport)), Factory()
    bound = inward.listen()
    set_for(rig.session(), factory, bound.with_port(bound.port + other), fwx_AcceptedConnection)
    peer = inward.come()
    peer.send(b"hello")
    client.expect(b"hello")
    assert len(factory.made) == 1 - other
    inward.connection.end()
