"""Filters that block: what the service calls of them runs on threads of its pool (DESIGN 5, B5.13 to B5.17)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from zope.interface import implementer

from fwx.impl.course import proceed
from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.engine import Answer
from fwx.impl.gateway import Gateway
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.session import FWXSession
from fwx.impl.strand import ANSWER_SECONDS
from fwx.impl.threadedsocket import MOST_UNDER_WAY
from fwx.impl.transport import READABLE
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    FWX_PROTOCOL_TCP,
    Hostent,
    IClassFactory,
    IFWXSlowDataFilter,
    IFWXTaskCompletion,
    SocketAddress,
    fwx_AcceptedConnection,
    fwx_Bind_Tcp,
    fwx_Connect_Tcp,
    fwx_ConnectionTerminating,
    fwx_dfpc_Middle,
    fwx_GetHostByName,
    fwx_Listen,
    fwx_Udp_Destination,
    fwxAssociatedProtocolsAllConnections,
)
from fwx.interfaces.hresult import (
    E_FAIL,
    E_UNEXPECTED,
    FWX_E_BAD_CONTEXT,
    HRESULT_FROM_WIN32,
    S_FALSE,
    WSAEADDRINUSE,
    WSAECONNREFUSED,
    WSAECONNRESET,
    COMError,
)
from tests.impl.binder import Binder
from tests.impl.door import Door
from tests.impl.parts import Keeper, Recorder, ScriptedSessionFilter, Watcher

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

PATIENCE = 10.0
HERE = "here"


class Gate:
    """Where a thread of a filter waits until the test lets it go on."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    def wait(self, *_args: object) -> None:
        self.reached.set()
        assert self.go_on.wait(PATIENCE)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that is open at the end, so that no thread is left."""
    gate = Gate()
    yield gate
    gate.go_on.set()


@pytest.fixture
def door(rig: Rig) -> Iterator[Door]:
    door = Door(rig)
    yield door
    door.listener.close()


def place() -> str:
    name = threading.current_thread().name
    return "pool" if name.startswith("fwx-worker") else HERE


def code_of(call: Callable[..., object], *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


class Placed(Watcher):
    """Notes on which thread each of its methods runs, and in which order."""

    def __init__(self, name: str = "placed", journal: list[Any] | None = None) -> None:
        super().__init__(name, journal)
        self.places: list[tuple[str, str]] = []

    def SetSockets(self, *args: Any) -> Any:
        self.places.append(("SetSockets", place()))
        return super().SetSockets(*args)

    def CompleteAsyncIO(self, *args: Any) -> Any:
        self.places.append(("CompleteAsyncIO", place()))
        return super().CompleteAsyncIO(*args)

    def Detach(self) -> Any:
        self.places.append(("Detach", place()))
        return super().Detach()


# ---- where -----------------------------------------------------------------------------------------------------------


def test_every_call_comes_on_a_thread_of_the_pool(rig: Rig) -> None:
    """FilterInit, AttachToSession, the events, SetSockets, completions, Detach, FilterShutdown."""
    seen: list[tuple[str, str]] = []
    placed = Placed()

    def note(method: str, result: Any = None) -> Callable[..., Any]:
        def noted(*args: Any) -> Any:
            seen.append((method, place()))
            return result(*args) if callable(result) else result

        return noted

    def handle(event: Any) -> None:
        seen.append(("FirewallEventHandler", place()))
        if event.EventType == fwx_Connect_Tcp:
            event.Parameters.Connect.piConnection.AttachDataFilter(placed, fwx_dfpc_Middle, None)

    host = rig.host(
        blocking=True,
        mask=fwx_Connect_Tcp | fwx_ConnectionTerminating | FWX_ALL_SOURCES,
        handle=handle,
        detach=note("session Detach"),
        shutdown=note("FilterShutdown"),
    )
    assert host.is_blocking
    opened = rig.open(hosts=(host,))
    opened.client.send(b"up")
    opened.server.expect(b"up")
    opened.server.send(b"down")
    opened.client.expect(b"down")
    opened.client.close()
    opened.server.close()
    rig.until_gone(opened.connection)
    rig.sessions.close()
    rig.through(_course(host.stop))
    rig.until(lambda: len(seen) == 4)
    assert seen == [
        ("FirewallEventHandler", "pool"),
        ("FirewallEventHandler", "pool"),
        ("session Detach", "pool"),
        ("FilterShutdown", "pool"),
    ]
    assert {where for _, where in placed.places} == {"pool"}
    assert placed.places[0][0] == "SetSockets"
    assert placed.places[-1][0] == "Detach"
    assert placed.detached == 1
    order = [(name, what) for name, what, _ in rig.journal if name == "filter"]
    assert order == [("filter", what) for what in ("init", "attach", "event", "event", "session detached", "shutdown")]


async def _course(start: Callable[[], Any]) -> None:
    start()


def test_a_chain_of_filters_on_the_loop_and_on_threads(rig: Rig) -> None:
    """B3.5: each is called where it belongs, and the same buffer passes from one to the next."""
    first, second, third = Placed("first"), Placed("second"), Placed("third")
    hosts = (
        rig.attaching(first, name="one"),
        rig.attaching(second, name="two", blocking=True),
        rig.attaching(third, name="three"),
    )
    opened = rig.open(hosts=hosts)
    opened.client.send(b"through all three")
    opened.server.expect(b"through all three")
    opened.server.send(b"and back")
    opened.client.expect(b"and back")
    assert first.passed[True][0] is second.passed[True][0] is third.passed[True][0]
    opened.client.close()
    opened.server.close()
    rig.until_gone(opened.connection)
    assert [{where for _, where in each.places} for each in (first, second, third)] == [{HERE}, {"pool"}, {HERE}]


def test_a_filter_that_blocks_holds_up_its_own_connection_alone(rig: Rig, gate: Gate) -> None:
    held, other = Watcher(), Watcher()
    held.inspect = lambda to_server, buffer: (gate.wait(), buffer)[1]  # type: ignore[method-assign]
    waits, goes = (
        rig.open(hosts=(rig.attaching(held, blocking=True),)),
        rig.open(hosts=(rig.attaching(other, blocking=True),)),
    )
    waits.client.send(b"later")
    rig.until(gate.reached.is_set)
    goes.client.send(b"now")
    goes.server.expect(b"now")
    gate.go_on.set()
    waits.server.expect(b"later")


# ---- events ----------------------------------------------------------------------------------------------------------


def test_the_request_waits_for_the_handler_and_nobody_else_does(rig: Rig, door: Door, gate: Gate) -> None:
    """B2.37: a Deny that comes late refuses the client all the same; meanwhile the loop serves others."""

    def handle(event: Any) -> None:
        gate.wait()
        event.Parameters.Connect.piConnection.Deny(0)

    rig.host(blocking=True, handle=handle)
    door.open()
    rig.until(gate.reached.is_set)
    other = rig.open()  # of another client, whom no filter sees
    other.client.send(b"x")
    other.server.expect(b"x")
    assert not door.bound
    assert not door.refusals
    gate.go_on.set()
    rig.until(lambda: door.refusals)
    assert door.refusals == [HRESULT_FROM_WIN32(WSAECONNREFUSED)]
    assert "denied by filter 'filter'" in rig.records[-1].reason


def test_what_is_attached_on_a_thread_is_in_the_chain(rig: Rig, door: Door) -> None:
    watcher = Watcher()
    rig.attaching(watcher, blocking=True)
    door.open(early=b"early ")
    server = door.accept()
    door.client.send(b"data")
    server.expect(b"early data")
    assert bytes(watcher.passed[True][0].GetBufferAndSize()) == b"early "


@pytest.mark.parametrize("opens", [False, True])
@pytest.mark.parametrize("what", ["raises", "returns"])
def test_a_handler_that_fails(rig: Rig, opens: bool, what: str) -> None:
    """Fails closed, or open, as on the loop; what it had attached is detached without sockets."""
    keeper = Keeper()

    def handle(event: Any) -> Any:
        event.Parameters.Connect.piConnection.AttachDataFilter(keeper, fwx_dfpc_Middle, None)
        if what == "raises":
            raise RuntimeError("on a thread")
        return E_FAIL

    connection = rig.connection()
    host = rig.host(blocking=True, opens=opens, handle=handle)
    assert rig.through(connection.raise_connect_event((host,))) is opens
    assert len(rig.alerts) == 1
    assert "filter 'filter' failed in FirewallEventHandler" in rig.alerts[0].message
    rig.until(lambda: keeper.told == ["Detach"])
    if not opens:
        assert connection.result[0] == E_UNEXPECTED


def test_an_attach_that_fails(rig: Rig) -> None:
    """B1.17: the next event tries again."""
    outcomes = [RuntimeError("not now"), None]

    def attach(session: FWXSession) -> Any:
        error = outcomes.pop(0)
        if error is not None:
            raise error
        return kept(session)

    host = rig.host(blocking=True, attach=lambda session: attach(session))
    scripted = host._filter

    def kept(session: FWXSession) -> Any:
        return ScriptedSessionFilter(scripted, session)  # type: ignore[arg-type]

    assert not rig.through(rig.connection().raise_connect_event((host,)))
    assert rig.through(rig.connection().raise_connect_event((host,)))


def test_two_connections_attach_one_session_filter(rig: Rig, gate: Gate) -> None:
    """B1.17: the second request waits for the attachment that the first has begun; then the handlers come in order."""

    def attach(session: Any) -> Any:
        gate.wait()
        return ScriptedSessionFilter(host._filter, session)  # type: ignore[arg-type]

    shown: list[Any] = []
    host = rig.host(
        blocking=True, attach=attach, handle=lambda event: shown.append(event.Parameters.Connect.piConnection)
    )
    connections = [rig.connection() for _ in range(3)]
    courses = [proceed(connection.raise_connect_event((host,))) for connection in connections]
    rig.until(gate.reached.is_set)
    gate.go_on.set()
    rig.until(lambda: all(course.has_ended for course in courses))
    assert all(course.result() for course in courses)
    assert [what for _, what, _ in rig.journal] == ["init", "attach", "event", "event", "event"]
    assert shown == connections


def test_a_handler_that_hangs_is_a_fault_after_a_while(rig: Rig, door: Door, gate: Gate) -> None:
    """It fails closed, with an alert that says where the filter is."""
    rig.host(blocking=True, handle=gate.wait)
    door.open()
    rig.until(gate.reached.is_set)
    rig.clock.advance(ANSWER_SECONDS + 1)
    assert door.refusal() == E_UNEXPECTED
    assert "FirewallEventHandler has not returned for 60 s: it is busy with" in rig.alerts[0].message


def test_a_client_that_goes_away_meanwhile(rig: Rig, door: Door, gate: Gate) -> None:
    """B1.30: it is refused at once; the data filter is detached when the handler has returned, not before."""
    keeper = Keeper()

    def handle(event: Any) -> None:
        event.Parameters.Connect.piConnection.AttachDataFilter(keeper, fwx_dfpc_Middle, None)
        gate.wait()

    rig.host(blocking=True, handle=handle)
    door.open()
    rig.until(gate.reached.is_set)
    door.client.reset()
    rig.until(lambda: door.refusals)
    assert door.refusals == [HRESULT_FROM_WIN32(WSAECONNRESET)]
    rig.settle()
    assert not keeper.told
    assert not door.ended
    gate.go_on.set()
    rig.until(lambda: door.ended)
    assert keeper.told == ["Detach"]
    assert len(rig.records) == 1


def test_only_the_handler_may_deny_while_it_runs(rig: Rig, door: Door, gate: Gate) -> None:
    """``FWX_E_BAD_CONTEXT`` for everybody else, the loop thread and the filter's other threads among them."""
    seen: list[Any] = []

    def handle(event: Any) -> None:
        seen.append(event.Parameters.Connect.piConnection)
        gate.wait()

    rig.host(blocking=True, handle=handle)
    door.open()
    rig.until(gate.reached.is_set)
    (connection,) = seen
    assert code_of(connection.Deny, 0) == FWX_E_BAD_CONTEXT
    assert code_of(connection.AttachDataFilter, Keeper(), fwx_dfpc_Middle, None) == FWX_E_BAD_CONTEXT
    assert code_of(connection.EmulateForConnect, Keeper(), None) == FWX_E_BAD_CONTEXT
    others: list[int] = []
    thread = threading.Thread(target=lambda: others.append(code_of(connection.Deny, 0)))
    thread.start()
    rig.until(lambda: others)
    thread.join()
    assert others == [FWX_E_BAD_CONTEXT]
    gate.go_on.set()
    door.accept()


def test_a_data_filter_factory_is_asked_on_a_thread(rig: Rig) -> None:
    """B2.41: for the connections that the filter has described; asked for on a thread, it is that filter's."""
    places: list[str] = []
    watcher = Watcher()

    @implementer(IClassFactory)
    class Factory(Unknown):
        def CreateInstance(self, outer: object, interface: object) -> Any:
            places.append(place())
            return watcher

        def LockServer(self, lock: bool) -> None: ...

    def handle(event: Any) -> None:
        session = event.Parameters.Connect.piConnection.GetSession()
        everywhere = SocketAddress("0.0.0.0", 0)
        session.SetDataFilterFactory(fwx_Connect_Tcp, everywhere, None, Factory(), fwx_dfpc_Middle, None, 0)

    host = rig.host(blocking=True, handle=handle)
    assert rig.through(rig.connection().raise_connect_event((host,)))
    opened = rig.open(hosts=(host,))
    opened.client.send(b"x")
    opened.server.expect(b"x")
    assert places == ["pool"]
    assert len(watcher.passed[True]) == 1
    assert opened.connection._members[0].host is host


def test_a_name_event(rig: Rig, door: Door) -> None:
    """B2.26: the look-up waits for the handler, which may answer it."""

    def handle(event: Any) -> None:
        if event.EventType == fwx_GetHostByName and event.Parameters.GetHostByName.fBeforeAction:
            event.Parameters.GetHostByName.piGetXByY.Deny(0)

    rig.host(blocking=True, mask=fwx_GetHostByName | FWX_ALL_SOURCES, handle=handle)
    door.open(SocketAddress("denied.example", 80))
    door.refusal()
    assert "looking up denied.example was denied by filter 'filter'" in rig.records[0].reason


# ---- data ------------------------------------------------------------------------------------------------------------


class Slow(Watcher):
    """Posts many Recvs at once, and waits in the first completion."""

    COUNT = 64

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate
        self.received: list[bytes] = []

    def SetSockets(self, internal: Any, external: Any, connection: Any, context: Any) -> Any:
        for _ in range(self.COUNT):
            internal.Recv(None, self, "to server")

    def CompleteAsyncIO(self, ok: Any, code: Any, buffer: Any, tag: Any, address: Any, length: Any) -> Any:
        self.gate.wait()
        if ok:
            self.received.append(bytes(buffer.GetBufferAndSize()))


def test_a_slow_thread_costs_a_bounded_number_of_buffers(rig: Rig, gate: Gate) -> None:
    """Whatever it has posted: the rest stays in the kernel, and the sender stands still."""
    slow = Slow(gate)
    opened = rig.open(hosts=(rig.attaching(slow, blocking=True),), small=True)
    sent = opened.client.push()
    rig.until(gate.reached.is_set)
    assert sent < 16 << 20
    (member,) = opened.connection._members
    assert member.strand is not None
    assert len(member.strand) <= MOST_UNDER_WAY
    gate.go_on.set()
    rig.until(lambda: sum(map(len, slow.received)) >= sent or len(slow.received) == Slow.COUNT)
    assert b"".join(slow.received) == bytes(len(b"".join(slow.received)))


@pytest.mark.parametrize("what", ["raises", "returns"])
@pytest.mark.parametrize("where", ["SetSockets", "CompleteAsyncIO", "Detach"])
def test_a_data_filter_that_fails(rig: Rig, where: str, what: str) -> None:
    """The fault ends its connection with a reset, is reported under its name, and touches nobody else."""

    class Failing(Watcher):
        def fail(self) -> Any:
            if what == "raises":
                raise RuntimeError("on a thread")
            return E_FAIL

        def SetSockets(self, *args: Any) -> Any:
            super().SetSockets(*args)
            return self.fail() if where == "SetSockets" else None

        def CompleteAsyncIO(self, *args: Any) -> Any:
            super().CompleteAsyncIO(*args)
            return self.fail() if where == "CompleteAsyncIO" else None

        def Detach(self) -> Any:
            super().Detach()
            return self.fail() if where == "Detach" else None

    failing = Failing()
    opened = rig.open(hosts=(rig.attaching(failing, blocking=True),))
    rig.until(lambda: failing.connection is not None)
    if where == "CompleteAsyncIO":
        opened.client.send(b"x")
    elif where == "Detach":
        opened.connection.end()
    rig.until_gone(opened.connection)
    assert failing.detached == 1
    assert f"filter 'filter' failed in {where}" in rig.alerts[0].message
    if where != "Detach":
        assert opened.connection.result[0] == E_UNEXPECTED


def test_what_is_pending_completes_before_detach(rig: Rig, gate: Gate) -> None:
    """B3.31, B1.31: as on the loop, also where the end comes while a completion runs."""
    told: list[str] = []

    class Telling(Keeper):
        def SetSockets(self, internal: Any, external: Any, connection: Any, context: Any) -> None:
            super().SetSockets(internal, external, connection, context)
            for tag in ("one", "two", "three"):
                internal.Recv(None, recorder, tag)

        def Detach(self) -> None:
            told.append("Detach")

    def take(done: Any) -> None:
        if done.tag == "one":
            gate.wait()
        told.append(f"{done.tag} {'data' if done.success else 'failed'}")

    recorder = Recorder(take)
    opened = rig.open(hosts=(rig.attaching(Telling(), blocking=True),))
    opened.client.send(b"x")
    rig.until(gate.reached.is_set)
    opened.connection.Kill()
    rig.settle()
    assert not told
    gate.go_on.set()
    rig.until_gone(opened.connection)
    assert told == ["one data", "two failed", "three failed", "Detach"]


def test_a_data_filter_that_hangs_does_not_keep_its_connection(rig: Rig, gate: Gate) -> None:
    """The record is written, the place is free, when ``Detach`` has not come to be called for too long."""
    held = Watcher()
    held.inspect = lambda to_server, buffer: (gate.wait(), buffer)[1]  # type: ignore[method-assign]
    opened = rig.open(hosts=(rig.attaching(held, blocking=True),))
    opened.client.send(b"x")
    rig.until(gate.reached.is_set)
    opened.connection.Kill()
    rig.settle()
    assert rig.sessions.connections()
    rig.clock.advance(ANSWER_SECONDS + 1)
    rig.until_gone(opened.connection)
    assert "failed in Detach" in rig.alerts[0].message
    assert "it is busy with CompleteAsyncIO" in rig.alerts[0].message
    gate.go_on.set()
    rig.until(lambda: held.detached)


def test_one_that_has_data_left_is_asked_on_its_thread(rig: Rig) -> None:
    """B1.38."""
    places: list[str] = []

    @implementer(IFWXSlowDataFilter)
    class Held(Keeper):
        def OkToTerminate(self) -> Any:
            places.append(place())
            return S_FALSE if len(places) < 3 else None

    opened = rig.open(hosts=(rig.attaching(Held(), blocking=True),))
    opened.client.close()
    opened.server.close()
    for _ in range(4):
        rig.settle()
        rig.clock.advance(31)
        count = len(places)
        rig.until(lambda count=count: len(places) > count or not rig.sessions.connections())  # type: ignore[misc]
    rig.until_gone(opened.connection)
    assert places == ["pool"] * 3


# ---- what a thread may ask -------------------------------------------------------------------------------------------


def test_connect_blocks_and_returns_the_outcome(rig: Rig) -> None:
    """B4.14: on its thread a blocking filter's ``Connect`` ends when it is connected, or raises why it is not."""
    server = socket.create_server(("127.0.0.1", 0))
    rig.closing.append(server.close)
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    rig.closing.append(free.close)
    answers: list[Any] = []
    recorder = Recorder(lambda done: answers.append((done.tag, place(), done.success)))

    def handle(event: Any) -> None:
        made = rig.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)
        made.Connect(SocketAddress.from_sockaddr(server.getsockname()))
        answers.append(("peer", place(), made.GetPeerName().port == server.getsockname()[1]))
        made.Send(FWXIOBuffer(b"hello"), recorder, "sent")
        other = rig.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)
        answers.append(code_of(other.Connect, SocketAddress.from_sockaddr(free.getsockname())))
        named = rig.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)
        rig.names.table["server.example"] = ["127.0.0.1"]
        named.Connect(SocketAddress("server.example", server.getsockname()[1]))
        answers.append(named.GetPeerName().host)

    host = rig.host(blocking=True, handle=handle)
    assert rig.through(rig.connection().raise_connect_event((host,)))
    rig.until(lambda: len(answers) == 4)
    assert answers == [
        ("peer", "pool", True),
        HRESULT_FROM_WIN32(WSAECONNREFUSED),
        "127.0.0.1",
        ("sent", "pool", True),
    ]


def test_a_thread_that_waits_for_the_loop_does_not_count_as_one_that_works(rig: Rig, gate: Gate) -> None:
    """B5.14: eight look-ups that nobody answers leave room for another call."""
    hosts = [
        rig.host(f"f{n}", blocking=True, handle=lambda event: rig.firewall.GetHostByName("slow.example"))
        for n in range(8)
    ]
    courses = [
        proceed(rig.connection(rig.session(f"10.0.0.{n + 1}")).raise_connect_event((host,)))
        for n, host in enumerate(hosts)
    ]
    rig.until(lambda: len(rig.names.looking_up) == 8)
    assert len(rig.engine.blocking) == 8
    assert rig.through(rig.connection().raise_connect_event((rig.host("ninth", blocking=True),)))
    while rig.names.looking_up:
        rig.names.answer(Answer(None, 11001))
    rig.until(lambda: all(course.has_ended for course in courses))
    assert len(rig.engine.blocking) == 0


def test_tasks_and_look_ups_come_back_where_they_were_asked_for(rig: Rig) -> None:
    """B5.4: behind the filter's other calls; so does what a socket that was made there accepts."""
    seen: list[Any] = []
    rig.names.answers["known.example"] = _answer()

    @implementer(IFWXTaskCompletion)
    class Task(Unknown):
        def CompleteTask(self, tag: object) -> None:
            seen.append((tag, place()))

    def handle(event: Any) -> None:
        rig.firewall.PostTaskCompletion(Task(), "task")
        rig.firewall.names.look_up("known.example", lambda host, result: seen.append((host.name, place())))
        seen.append((rig.firewall.GetHostByName("known.example").name, place()))

    host = rig.host(blocking=True, handle=handle)
    assert rig.through(rig.connection().raise_connect_event((host,)))
    rig.until(lambda: len(seen) == 3)
    assert seen[0] == ("known.example", "pool")
    assert sorted(map(str, seen[1:])) == sorted(map(str, [("task", "pool"), ("known.example", "pool")]))


def _answer() -> Any:
    return Answer(Hostent("known.example", (), (ip_address("203.0.113.5"),)))


def test_every_method_of_a_connection_may_be_called_there(rig: Rig, door: Door) -> None:
    told: list[Any] = []

    class Asking(Watcher):
        def SetSockets(self, internal: Any, external: Any, connection: Any, context: Any) -> Any:
            told.extend(
                [
                    connection.GetExternalPeerName().port,
                    connection.GetExternalSocketName().host,
                    connection.GetSession().GetClientAddress().host,
                    connection.GetIpFilter(),
                    connection.GetConnectionFlags(),
                    code_of(connection.AttachDataFilter, Keeper(), fwx_dfpc_Middle, None),
                    code_of(connection.Deny, 0),
                ]
            )
            connection.SetBufferSize(100)
            super().SetSockets(internal, external, connection, context)

    asking = Asking()
    rig.attaching(asking, blocking=True)
    door.open()
    server = door.accept()
    door.client.send(bytes(1000))
    server.expect(bytes(1000))
    assert told == [door.address.port, "127.0.0.1", "127.0.0.1", None, 0, FWX_E_BAD_CONTEXT, FWX_E_BAD_CONTEXT]
    assert max(len(each.GetBufferAndSize()) for each in asking.passed[True]) == 100


def test_a_filter_attached_by_another_one(rig: Rig) -> None:
    """B1.23: nobody waits for it; its first event comes behind its AttachToSession."""
    blocking = rig.host("second", blocking=True)

    def attach(event: Any) -> None:
        event.Parameters.Connect.piConnection.GetSession().AttachFilter(blocking.clsid)

    first = rig.host("first", handle=attach)
    assert rig.through(rig.connection().raise_connect_event((first, blocking)))
    assert [(name, what) for name, what, _ in rig.journal if name == "second"] == [
        ("second", "init"),
        ("second", "attach"),
        ("second", "event"),
    ]


def test_the_end_that_a_thread_runs_into_is_no_fault(rig: Rig, gate: Gate) -> None:
    """B3.31: on the loop it cannot come in the middle of a call; what it raises there is reported to nobody."""

    class Late(Watcher):
        def SetSockets(self, *args: Any) -> Any:
            gate.wait()
            super().SetSockets(*args)

    late = Late()
    opened = rig.open(hosts=(rig.attaching(late, blocking=True),))
    rig.until(gate.reached.is_set)
    opened.connection.Kill()
    rig.settle()
    gate.go_on.set()
    rig.until_gone(opened.connection)
    assert late.detached == 1
    assert not rig.alerts


def test_nor_where_an_event_is_overtaken(rig: Rig, door: Door, gate: Gate) -> None:
    def handle(event: Any) -> None:
        gate.wait()
        event.Parameters.Connect.piConnection.AttachDataFilter(Keeper(), fwx_dfpc_Middle, None)

    rig.host(blocking=True, handle=handle)
    door.open()
    rig.until(gate.reached.is_set)
    door.client.reset()
    rig.until(lambda: door.refusals)
    gate.go_on.set()
    rig.until(lambda: door.ended)
    assert not rig.alerts


# ---- the other events ------------------------------------------------------------------------------------------------


class Datagrams:
    """A client of UDP: what it says, and what it gets."""

    def __init__(self) -> None:
        self.inbox: list[tuple[bytes, Any]] = []
        self.handler: Any = None

    def watch(self, handler: Any) -> None:
        self.handler = handler

    def say(self, data: bytes, target: SocketAddress) -> None:
        self.inbox.append((data, target.sockaddr))
        self.handler(READABLE)

    def receive(self) -> tuple[bytes, Any]:
        if not self.inbox:
            raise BlockingIOError(11, "nothing")
        return self.inbox.pop(0)

    def close(self, abortive: bool) -> None: ...


def test_destinations_are_shown_one_after_the_other(rig: Rig, gate: Gate) -> None:
    """B2.15 to B2.19: datagrams wait meanwhile; each answer belongs to its own destination."""
    servers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    for server in servers:
        server.bind(("127.0.0.1", 0))
        server.settimeout(PATIENCE)
        rig.closing.append(server.close)
    targets = [SocketAddress.from_sockaddr(server.getsockname()) for server in servers]
    inside: list[int] = []

    def handle(event: Any) -> None:
        told = event.Parameters.UdpDest
        inside.append(1)
        gate.wait()
        if told.Address == targets[1]:
            told.piUdpDestination.Deny(0)
        assert len(inside) == 1, "another handler of the same connection runs"
        inside.pop()

    host = rig.host(blocking=True, mask=fwx_Udp_Destination | FWX_ALL_SOURCES, handle=handle)
    client, ended = Datagrams(), list[Any]()
    connection = FWXDatagramConnection(
        rig.session(),
        SocketAddress("127.0.0.1", 4000),
        client,  # type: ignore[arg-type]
        lambda _: (host,),
        on_ended=ended.append,
    )
    connection.start()
    for target in targets:
        client.say(b"to " + str(target).encode(), target)
    rig.until(gate.reached.is_set)
    gate.go_on.set()
    states = ["OPEN", "DENIED", "OPEN"]
    rig.until(lambda: [each.state.name for each in connection.destinations] == states)
    for server, target in ((servers[0], targets[0]), (servers[2], targets[2])):
        assert server.recv(100) == b"to " + str(target).encode()
    connection.end()
    rig.until(lambda: ended)
    assert not rig.alerts


def test_a_destination_that_is_forgotten_meanwhile(rig: Rig, gate: Gate) -> None:
    """What was attached for it is detached; nothing is sent there."""
    keeper = Keeper()

    def handle(event: Any) -> None:
        event.Parameters.UdpDest.piConnection.AttachDataFilter(keeper, fwx_dfpc_Middle, None)
        gate.wait()

    host = rig.host(blocking=True, mask=fwx_Udp_Destination | FWX_ALL_SOURCES, handle=handle)
    client, ended = Datagrams(), list[Any]()
    connection = FWXDatagramConnection(
        rig.session(),
        SocketAddress("127.0.0.1", 4000),
        client,  # type: ignore[arg-type]
        lambda verdict: (host,) if verdict.rule else (),
        most_destinations=1,
        on_ended=ended.append,
    )
    connection.start()
    client.say(b"first", SocketAddress("127.0.0.1", 9))
    rig.until(gate.reached.is_set)
    client.say(b"second", SocketAddress("127.0.0.1", 10))
    gate.go_on.set()
    rig.until(lambda: keeper.told == ["Detach"])
    connection.end()
    rig.until(lambda: ended)


@pytest.mark.parametrize("denies", [False, True])
def test_a_clients_bind_and_who_arrives(rig: Rig, denies: bool) -> None:
    """B2.20 to B2.24: the client is told its port when the handler has returned; who comes waits for the next one."""
    binder, watcher, places = Binder(rig), Watcher(), list[tuple[Any, str]]()

    def handle(event: Any) -> None:
        places.append((event.EventType, place()))
        if event.EventType == fwx_AcceptedConnection:
            event.Parameters.Accept.piConnectionAccepted.AttachDataFilter(watcher, fwx_dfpc_Middle, None)
        elif event.EventType == fwx_Bind_Tcp and denies:
            event.Parameters.Bind.piConnection.Deny(0)

    mask = fwx_Bind_Tcp | fwx_Listen | fwx_AcceptedConnection | FWX_ALL_SOURCES
    rig.host(blocking=True, mask=mask, handle=handle)
    binder.bind()
    rig.until(lambda: binder.told or binder.refusals)
    if denies:
        assert binder.refusals == [HRESULT_FROM_WIN32(WSAEADDRINUSE)]
        rig.until(lambda: binder.ended)
        return
    peer = binder.come()
    rig.until(lambda: binder.peers)
    peer.send(b"hello")
    binder.client.expect(b"hello")
    assert [bytes(each.GetBufferAndSize()) for each in watcher.passed[False]] == [b"hello"]
    assert places == [(each, "pool") for each in (fwx_Bind_Tcp, fwx_Listen, fwx_AcceptedConnection)]


@pytest.mark.parametrize("leaves", [False, True])
def test_who_comes_while_the_first_is_asked_about(rig: Rig, gate: Gate, leaves: bool) -> None:
    """The client waits for one peer: another one, or any when the client has gone, never gets at its connection."""
    binder = Binder(rig)

    def handle(event: Any) -> None:
        if event.EventType == fwx_AcceptedConnection:
            gate.wait()

    rig.host(blocking=True, mask=fwx_AcceptedConnection | FWX_ALL_SOURCES, handle=handle)
    binder.wait()
    first, second = binder.come(), binder.come()
    rig.until(gate.reached.is_set)
    rig.until(lambda: len(binder.binding._listening.session.connections) == 3)
    if leaves:
        binder.client.close()
        rig.until(lambda: binder.refusals)
    gate.go_on.set()
    second.expect_reset()
    if leaves:
        first.expect_reset()
        assert not binder.peers
    else:
        first.send(b"hello")
        binder.client.expect(b"hello")
        assert binder.peers == [first.address]
        binder.client.close()
        first.close()
    rig.until(lambda: not binder.binding._listening.session.connections)


@pytest.mark.parametrize("denies", [False, True])
def test_a_port_bound_for_the_client(rig: Rig, denies: bool) -> None:
    """B6.17: BindForClient does not wait for a blocking filter; what that refuses ends."""
    Gateway(rig.engine, rig.sessions, lambda _: None)
    made: list[Any] = []

    def handle(event: Any) -> None:
        if event.EventType == fwx_Bind_Tcp:
            if denies:
                event.Parameters.Bind.piConnection.Deny(0)
            return
        session = event.Parameters.Connect.piConnection.GetSession()
        here, client = SocketAddress("127.0.0.1", 0), SocketAddress("127.0.0.1", 9)
        guid = event.Parameters.Connect.ProtocolGuid
        made.append(
            session.BindForClient((client,), None, here, None, FWX_PROTOCOL_TCP, None, 0, 5, guid, None, None, None)
        )

    mask = fwx_Connect_Tcp | fwx_Bind_Tcp | FWX_ALL_SOURCES | fwxAssociatedProtocolsAllConnections
    rig.host(blocking=True, mask=mask, handle=handle)
    (host,) = rig.engine.filters
    assert rig.through(rig.connection().raise_connect_event((host,)))
    ((first, (connection,)),) = made
    assert first.port
    if denies:
        rig.until(lambda: connection.terminating)
        assert connection.result[0] == HRESULT_FROM_WIN32(WSAEADDRINUSE)
    else:
        rig.until(lambda: connection._acceptor is not None)
