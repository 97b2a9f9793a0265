"""A connection with 0 to 3 data filters between real sockets: streams, ends, resets, faults, and the order of it all."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from zope.interface import implementer

from fwx.data_pump import DataPump
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.junction import junction
from fwx.impl.logrecord import Action
from fwx.impl.sockets import FWXSocket
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    IFWXConnection,
    IFWXDataFilter,
    IFWXNetworkSocket,
    IFWXSocket,
    SocketAddress,
    fwx_Connect_Tcp,
    fwx_ConnectionTerminating,
    fwx_dfpc_Emulation,
    fwx_dfpc_External,
    fwx_dfpc_Internal,
    fwx_dfpc_Middle,
    fwx_dfpc_NAT,
    fwx_dfpc_PostTrust,
    fwx_dfpc_PreTrust,
)
from fwx.interfaces.hresult import (
    E_FAIL,
    E_INVALIDARG,
    E_NOINTERFACE,
    E_NOTIMPL,
    E_OUTOFMEMORY,
    E_POINTER,
    E_UNEXPECTED,
    FWX_E_BAD_CONTEXT,
    FWX_E_FILTER_NOT_REGISTERED,
    FWX_E_NOT_EMULATED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_FALSE,
    S_OK,
    WSAECONNABORTED,
    WSAECONNREFUSED,
    WSAECONNRESET,
    WSAEINVAL,
    WSAENOTSOCK,
    COMError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.impl.conftest import Opened, Rig

CHAINS = [pytest.param(count, id=f"{count} filters") for count in range(4)]
FILTERED = CHAINS[1:]
LARGE = bytes(range(256)) * 40_000  # 10 MiB


def code_of(call: Callable[..., object], *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


# ---- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", CHAINS)
def test_both_directions_whole_and_in_order(rig: Rig, watcher: Any, count: int) -> None:
    """B3.1, B3.3, B3.5: every byte, in order, both ways, at any length of the chain."""
    _, client, server = rig.open(*(watcher() for _ in range(count)))
    for near, far in ((client, server), (server, client)):
        sender = threading.Thread(target=_send_blocking, args=(near._sock, LARGE))
        sender.start()
        far.expect(LARGE)
        sender.join()
    client.shutdown()
    server.expect_end()
    server.shutdown()
    client.expect_end()


def _send_blocking(sock: Any, data: bytes) -> None:
    sock.setblocking(True)
    sock.sendall(data)
    sock.setblocking(False)


@pytest.mark.parametrize("count", CHAINS)
def test_what_came_with_the_request_goes_first(rig: Rig, watcher: Any, count: int) -> None:
    opened = rig.open(*(watcher() for _ in range(count)), prefix=b"early ")
    opened.server.expect(b"early ")
    opened.client.send(b"late")
    opened.server.expect(b"late")


@pytest.mark.parametrize("count", FILTERED)
def test_one_buffer_object_travels_down_the_chain(rig: Rig, watcher: Any, count: int) -> None:
    """B3.12: the same buffer object with the same block, at every filter, in both directions."""
    filters = [watcher() for _ in range(count)]
    opened = rig.open(*filters)
    opened.client.send(b"to the server")
    opened.server.expect(b"to the server")
    opened.server.send(b"to the client")
    opened.client.expect(b"to the client")
    for to_server in (True, False):
        buffers = {id(each.passed[to_server][0]) for each in filters}
        blocks = {id(each.passed[to_server][0].GetBufferAndSize().obj) for each in filters}
        assert (len(buffers), len(blocks)) == (1, 1)


def test_an_earlier_filter_changes_what_the_later_ones_see(rig: Rig, watcher: Any) -> None:
    """B3.9, B3.11: the client's data meets the lower class first, the server's data the higher."""

    class Marking(DataPump):
        def __init__(self, mark: bytes) -> None:
            super().__init__()
            self.mark = mark

        def inspect(self, to_server: bool, buffer: Any) -> Any:
            return FWXIOBuffer(bytes(buffer.GetBufferAndSize()) + self.mark) if buffer.GetBufferSizes()[1] else buffer

    opened = rig.open((Marking(b"P"), fwx_dfpc_PreTrust), (Marking(b"I"), fwx_dfpc_Internal))
    opened.client.send(b"up ")
    opened.server.expect(b"up IP")
    opened.server.send(b"down ")
    opened.client.expect(b"down PI")


def test_priority_classes_are_the_order_of_the_chain(rig: Rig, watcher: Any) -> None:
    """B3.7, B3.10: from the client's side to the server's by class, in one class in the order of attaching."""
    order = [
        fwx_dfpc_NAT,
        fwx_dfpc_Internal,
        fwx_dfpc_PostTrust,
        fwx_dfpc_Middle,
        fwx_dfpc_PreTrust,
        fwx_dfpc_External,
        fwx_dfpc_Emulation,
    ]
    seen: list[str] = []

    class Noting(DataPump):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def inspect(self, to_server: bool, buffer: Any) -> Any:
            seen.append(self.name)
            return buffer

    wanted = [*((Noting(each.name), each) for each in order), (Noting("second middle"), fwx_dfpc_Middle)]
    opened = rig.open(*reversed(wanted[:-1]), wanted[-1])
    names = [each.name for each in order]
    names.insert(4, "second middle")
    opened.client.send(b"x")
    opened.server.expect(b"x")
    assert seen == names
    seen.clear()
    opened.server.send(b"x")
    opened.client.expect(b"x")
    assert seen == names[::-1]


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_buffer_size(rig: Rig, watcher: Any, size: int) -> None:
    """B3.20: SetBufferSize is the most that one Recv brings."""
    watching = watcher()
    opened = rig.open(watching)
    opened.connection.SetBufferSize(size)
    opened.client.send(b"z" * 5000)
    opened.server.expect(b"z" * 5000)
    assert {buffer.GetBufferSizes()[1] for buffer in watching.passed[True]} <= set(range(1, size + 1))
    assert code_of(opened.connection.SetBufferSize, 0) == E_INVALIDARG
    assert code_of(opened.connection.SetBufferSize, (1 << 20) + 1) == E_INVALIDARG


def test_buffer_size_asked_for_in_the_event(rig: Rig, watcher: Any) -> None:
    """B3.20: before the connection is there."""
    watching = watcher()

    def handle(event: Any) -> None:
        event.Parameters.Connect.piConnection.AttachDataFilter(watching, fwx_dfpc_Middle, None)
        event.Parameters.Connect.piConnection.SetBufferSize(2)

    opened = rig.open(hosts=(rig.host(handle=handle),))
    opened.client.send(b"abcd")
    opened.server.expect(b"abcd")
    assert {buffer.GetBufferSizes()[1] for buffer in watching.passed[True]} == {2}


# ---- blindness -------------------------------------------------------------------------------------------------------


def test_no_filter_can_tell_its_neighbours(rig: Rig, watcher: Any) -> None:
    """B3.4, B4.1: network on the left, filter on the right, or the reverse: one class, the same answers."""
    filters = [watcher(), watcher(), watcher()]
    rig.open(*filters)
    sockets = [socket for each in filters for socket in each.sockets]
    assert len(set(map(id, sockets))) == 6
    assert len({type(socket) for socket in sockets}) == 1
    for socket in sockets:
        assert code_of(socket.QueryInterface, IFWXNetworkSocket) == E_NOINTERFACE
        assert IFWXNetworkSocket(socket, None) is None
        assert code_of(socket._IsDataAvailable) == E_NOTIMPL
        assert socket.QueryInterface(IFWXSocket) is socket


def test_the_sockets_come_from_the_registry(rig: Rig, watcher: Any) -> None:
    """DESIGN 4: looked up by connection and data filter, the same ones that SetSockets brought."""
    watching = watcher()
    opened = rig.open(watching)
    found = [
        rig.registry.getMultiAdapter((opened.connection, watching), IFWXSocket, name=name)
        for name in ("internal", "external")
    ]
    assert tuple(found) == watching.sockets
    with pytest.raises(LookupError, match="not attached"):
        rig.registry.getMultiAdapter((opened.connection, watcher()), IFWXSocket, name="internal")


def test_sockets_asked_for_before_there_are_any(rig: Rig, watcher: Any) -> None:
    """DESIGN 4: a look-up in the event's handler is refused, and spoils nothing."""
    watching = watcher()
    refused: list[int] = []

    def handle(event: Any) -> None:
        connection = event.Parameters.Connect.piConnection
        connection.AttachDataFilter(watching, fwx_dfpc_Middle, None)
        for name in ("internal", "external"):
            refused.append(
                code_of(rig.registry.getMultiAdapter, (connection, watching), IFWXSocket, name)
            )

    opened = rig.open(hosts=(rig.host(handle=handle),))
    assert refused == [FWX_E_BAD_CONTEXT, FWX_E_BAD_CONTEXT]
    opened.client.send(b"works")
    opened.server.expect(b"works")


def test_the_context_is_handed_on(rig: Rig, watcher: Any) -> None:
    """B1.26: exactly what was given to AttachDataFilter."""
    watching, context = watcher(), Unknown()
    rig.open(
        hosts=(
            rig.host(
                handle=lambda event: event.Parameters.Connect.piConnection.AttachDataFilter(
                    watching, fwx_dfpc_Middle, context
                )
            ),
        )
    )
    assert watching.journal == [("watcher", "sockets", context)]


# ---- half close, end, reset ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", CHAINS)
@pytest.mark.parametrize("first", ["client", "server"])
def test_half_close_is_kept(rig: Rig, watcher: Any, count: int, first: str) -> None:
    """B3.24, B3.25, B3.29: one side ends, the other goes on for long, then ends as well."""
    filters = [watcher() for _ in range(count)]
    opened = rig.open(*filters)
    near, far = (opened.client, opened.server) if first == "client" else (opened.server, opened.client)
    near.send(b"request")
    near.shutdown()
    far.expect(b"request")
    far.expect_end()
    for part in (b"one", b"two", b"three"):
        far.send(part)
        near.expect(part)
        rig.settle()
    far.shutdown()
    near.expect_end()
    rig.until_gone(opened.connection)
    (record,) = rig.records
    assert (record.action, record.resultcode) == (Action.Terminate, 0)
    sent, received = (7, 11) if first == "client" else (11, 7)
    assert (record.bytes_sent, record.bytes_received) == (sent, received)
    assert [each.detached for each in filters] == [1] * count


@pytest.mark.parametrize("count", CHAINS)
@pytest.mark.parametrize("first", ["client", "server"])
def test_a_reset_is_passed_on(rig: Rig, watcher: Any, count: int, first: str) -> None:
    """B3.26, B3.30: a real RST of one side is a real RST at the other side."""
    filters = [watcher() for _ in range(count)]
    opened = rig.open(*filters)
    near, far = (opened.client, opened.server) if first == "client" else (opened.server, opened.client)
    near.send(b"x")
    far.expect(b"x")
    near.reset()
    far.expect_reset()
    rig.until_gone(opened.connection)
    assert rig.records[-1].resultcode == HRESULT_FROM_WIN32(WSAECONNRESET)
    assert [each.detached for each in filters] == [1] * count
    assert not rig.alerts


@pytest.mark.parametrize("count", FILTERED)
def test_a_reset_of_a_side_that_has_ended(rig: Rig, watcher: Any, count: int) -> None:
    """B3.30: after its FIN a client can still be reset; when the filters do not see it, the connection ends in time."""
    opened = rig.open(*(watcher() for _ in range(count)))
    opened.client.shutdown()
    opened.server.expect_end()
    opened.client.reset()
    rig.settle()
    rig.clock.advance(30.0)
    rig.until_gone(opened.connection)


@pytest.mark.parametrize("count", CHAINS)
def test_kill(rig: Rig, watcher: Any, count: int) -> None:
    """B3.32: from any thread; both sides are reset, the filters are detached."""
    filters = [watcher() for _ in range(count)]
    opened = rig.open(*filters)
    killer = threading.Thread(target=opened.connection.Kill)
    killer.start()
    killer.join()
    opened.client.expect_reset()
    opened.server.expect_reset()
    rig.until_gone(opened.connection)
    opened.connection.Kill()
    assert rig.records[-1].reason == "killed by a filter"
    assert len(rig.records) == 1
    assert [each.detached for each in filters] == [1] * count


def test_a_filter_that_ends_one_side_only(rig: Rig, watcher: Any) -> None:
    """DESIGN 5: a connection that one side has left and that stands still is ended."""

    class Deserter(DataPump):
        def CompleteAsyncIO(self, *args: Any) -> None:
            self._external.Close(False)  # type: ignore[union-attr]

    opened = rig.open(Deserter())
    opened.client.send(b"x")
    opened.server.expect_end()
    rig.settle()
    assert rig.records == []
    rig.clock.advance(30.0)
    rig.until_gone(opened.connection)
    assert "did not end the other" in rig.records[0].reason


# ---- a reader that stops ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("chain", ["none", "waiting", "waiting 3", "heedless", "heedless 3", "mixed"])
def test_a_reader_that_stops_costs_a_bounded_number_of_buffers(
    rig: Rig, watcher: Any, heedless: Any, direction: str, chain: str
) -> None:
    """DESIGN 5, B3.14: with filters that wait for their Sends and with filters that do not, in both directions."""
    kinds = {
        "none": [],
        "waiting": [watcher],
        "waiting 3": [watcher] * 3,
        "heedless": [heedless],
        "heedless 3": [heedless] * 3,
        "mixed": [heedless, watcher, heedless],
    }
    opened = rig.open(*(kind() for kind in kinds[chain]), small=True)
    near, far = (opened.client, opened.server) if direction == "up" else (opened.server, opened.client)
    taken = near.push()
    # The kernel's buffers of both sockets, and for each filter its high water mark and the block that reached it.
    assert taken <= (2 + len(kinds[chain])) * (1 << 19) + (1 << 19)
    far.expect(bytes(taken))
    near.send(b"more")
    far.expect(b"more")


# ---- the end of a filter's life --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["client ends", "client resets", "killed", "filter closes"])
def test_what_is_pending_completes_before_detach(rig: Rig, recorder: Any, how: str) -> None:
    """B3.31, B1.29: every posted operation completes exactly once, and all of them before Detach."""

    @implementer(IFWXDataFilter)
    class Poster(Unknown):
        """Posts many Recvs, and at each failure another one."""

        def __init__(self) -> None:
            self.posted = self.refused = self.completed = self.after = 0
            self.detached = False
            self.sockets: tuple[Any, ...] = ()
            self.completion = recorder(self.complete)

        def post(self) -> None:
            for socket in self.sockets:
                try:
                    socket.Recv(None, self.completion, 0)
                except COMError:
                    self.refused += 1
                else:
                    self.posted += 1

        def complete(self, done: Any) -> None:
            self.completed += 1
            self.after += self.detached
            if not done.success or not done.data:
                if how == "filter closes" or not done.success:
                    self.sockets[0].Close(False)
                    self.sockets[1].Close(False)
                self.post()

        def SetSockets(self, internal: Any, external: Any, connection: Any, context: Any) -> None:
            self.sockets = (internal, external)
            for _ in range(3):
                self.post()

        def Detach(self) -> None:
            self.detached = True

    poster = Poster()
    opened = rig.open(poster)
    if how == "client resets":
        opened.client.reset()
    elif how == "killed":
        opened.connection.Kill()
    elif how == "client ends":
        opened.client.shutdown()
        rig.settle()
        opened.connection.end()
    else:
        opened.client.shutdown()
    rig.until_gone(opened.connection)
    rig.settle()
    assert poster.detached
    assert poster.posted >= 6
    assert (poster.completed, poster.after) == (poster.posted, 0)


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_a_recv_that_is_held_back_completes_before_detach(rig: Rig, heedless: Any, how: str) -> None:
    """B3.31: also one that waits for the filter's other side to drain."""
    calls: list[tuple[str, Any]] = []

    class Telling(heedless):  # type: ignore[misc]
        def CompleteAsyncIO(self, ok: Any, *args: Any) -> None:
            calls.append(("completion", ok))
            super().CompleteAsyncIO(ok, *args)

        def Detach(self) -> None:
            calls.append(("detach", None))

    opened = rig.open(Telling(), small=True)
    opened.client.push()
    calls.clear()
    if how == "killed":
        opened.connection.Kill()
    else:
        opened.connection.end()
    rig.until_gone(opened.connection)
    rig.settle()
    assert [call for call in calls if call[0] == "completion"] == [("completion", False)] * 2
    assert calls[-1] == ("detach", None)


@pytest.mark.parametrize("how", ["Close", "Shutdown"])
def test_a_socket_closed_by_the_filter_lets_its_other_side_read_on(rig: Rig, heedless: Any, how: str) -> None:
    """DESIGN 5: nothing holds a Recv back once its data can go nowhere anyway."""

    class Turning(heedless):  # type: ignore[misc]
        received = 0

        def CompleteAsyncIO(self, ok: Any, code: int, buffer: Any, tag: Any, *args: Any) -> None:
            if self.sockets[1] is not None:
                super().CompleteAsyncIO(ok, code, buffer, tag, *args)
            elif ok:
                self.received += len(buffer.GetBufferAndSize())
                self.sockets[0].Recv(None, self, tag)

    data_filter = Turning()
    opened = rig.open(data_filter, small=True)
    opened.client.push()
    external = data_filter.sockets[1]
    data_filter.sockets = (data_filter.sockets[0], None)
    getattr(external, how)(how == "Close")
    opened.client.send(LARGE)
    rig.until(lambda: data_filter.received >= len(LARGE))


@pytest.mark.parametrize("count", FILTERED)
def test_after_detach_the_sockets_refuse(rig: Rig, watcher: Any, recorder: Any, count: int) -> None:
    """B1.31, B3.28: nothing can be posted any more; Close does nothing."""
    filters = [watcher() for _ in range(count)]
    opened = rig.open(*filters)
    opened.connection.Kill()
    rig.until_gone(opened.connection)
    for each in filters:
        for socket in each.sockets:
            assert code_of(socket.Send, FWXIOBuffer(b"x"), None, 0) == FWX_E_TERMINATING
            assert code_of(socket.Recv, None, recorder(), 0) == FWX_E_TERMINATING
            assert code_of(socket.Shutdown, False) == FWX_E_TERMINATING
            socket.Close(False)


def test_a_filter_that_closes_twice_and_sends_after_close(rig: Rig, watcher: Any) -> None:
    """B3.28: Close twice does nothing, Send after Close says WSAENOTSOCK."""
    watching = watcher()
    opened = rig.open(watching)
    internal, external = watching.sockets
    internal.Close(False)
    internal.Close(False)
    internal.Close(True)
    assert code_of(internal.Send, FWXIOBuffer(b"x"), None, 0) == HRESULT_FROM_WIN32(WSAENOTSOCK)
    external.Close(False)
    opened.client.expect_end()
    opened.server.expect_end()
    rig.until_gone(opened.connection)


def test_a_filter_that_keeps_a_buffer(rig: Rig) -> None:
    """B3.15: what a filter keeps stays what it was, whatever the connection and others do afterwards."""
    kept: list[Any] = []

    class Keeper(DataPump):
        def inspect(self, to_server: bool, buffer: Any) -> Any:
            kept.append(buffer)
            return buffer

    opened = rig.open(Keeper())
    texts = [b"%04d" % number for number in range(50)]
    for text in texts:
        opened.client.send(text)
        opened.server.expect(text)
    opened.connection.Kill()
    rig.until_gone(opened.connection)
    other = rig.open(Keeper())
    other.client.send(b"another connection")
    other.server.expect(b"another connection")
    assert [bytes(buffer.GetBufferAndSize()) for buffer in kept[:50]] == texts


def test_a_filter_that_never_asks(rig: Rig) -> None:
    """DESIGN 5: nothing is read, nothing is lost; when both sides have gone the connection goes."""

    @implementer(IFWXDataFilter)
    class Idle(Unknown):
        detached = False

        def SetSockets(self, *args: Any) -> None:
            """Do nothing."""

        def Detach(self) -> None:
            self.detached = True

    idle = Idle()
    opened = rig.open(idle, small=True)
    assert opened.client.push() < 1 << 20
    opened.client.reset()
    rig.settle()
    rig.clock.advance(30.0)
    rig.until_gone(opened.connection)
    assert idle.detached


# ---- faults ----------------------------------------------------------------------------------------------------------


def raising(error: BaseException) -> None:
    raise error


class Faulty(DataPump):
    """Fails in one place, by raising or by returning."""

    def __init__(self, place: str, fault: Any) -> None:
        super().__init__()
        self.place, self.fault, self.detached = place, fault, 0

    def _fail(self, place: str) -> Any:
        return self.fault() if place == self.place else None

    def SetSockets(self, *args: Any) -> Any:
        super().SetSockets(*args)
        return self._fail("SetSockets")

    def CompleteAsyncIO(self, *args: Any) -> Any:
        super().CompleteAsyncIO(*args)
        return self._fail("CompleteAsyncIO")

    def Detach(self) -> Any:
        self.detached += 1
        super().Detach()
        return self._fail("Detach")


FAULTS = [
    pytest.param(lambda: raising(ValueError("a bug")), id="raises"),
    pytest.param(lambda: raising(COMError(E_OUTOFMEMORY)), id="raises E_OUTOFMEMORY"),
    pytest.param(lambda: raising(SystemExit(3)), id="exits"),
    pytest.param(lambda: E_OUTOFMEMORY, id="returns E_OUTOFMEMORY"),
    pytest.param(lambda: 0x80004005, id="returns a number"),
]


@pytest.mark.parametrize("opens", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place", ["SetSockets", "CompleteAsyncIO"])
def test_a_fault_while_data_flows_ends_this_connection_only(
    rig: Rig, watcher: Any, place: str, fault: Any, opens: bool
) -> None:
    """B1.27, B5.9: the connection is reset, logged and alerted, also with on_error = open; another one goes on."""
    other = rig.open(watcher())
    faulty, innocent = Faulty(place, fault), watcher()
    hosts = (rig.attaching(faulty, name="faulty", opens=opens), rig.attaching(innocent, name="innocent"))
    opened = rig.open(hosts=hosts)
    if place == "CompleteAsyncIO":
        opened.client.send(b"x")
    opened.client.expect_reset()
    opened.server.expect_reset()
    rig.until_gone(opened.connection)
    assert (faulty.detached, innocent.detached) == (1, 1)
    (record,) = rig.records
    assert record.resultcode == E_UNEXPECTED
    assert record.filters == "faulty, innocent"
    assert f"'faulty' failed in {place}" in record.reason
    assert [alert.event for alert in rig.alerts] == ["Filter fault"]
    other.client.send(b"still here")
    other.server.expect(b"still here")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_detach_is_reported_and_changes_nothing(rig: Rig, watcher: Any, fault: Any) -> None:
    """B1.31: the record is written, the other filters are detached."""
    faulty, innocent = Faulty("Detach", fault), watcher()
    opened = rig.open(faulty, innocent)
    opened.connection.Kill()
    rig.until_gone(opened.connection)
    assert (faulty.detached, innocent.detached) == (1, 1)
    assert len(rig.records) == 1
    assert [alert.key for alert in rig.alerts] == ["filter/Detach"]


def test_a_pump_that_is_told_late_raises_no_fault(rig: Rig, recorder: Any) -> None:
    """B3.30: a success that was under way when the pump closed its sockets for a failure is no fault of the pump."""
    (inner, client), (outer, server) = junction(rig.queue), junction(rig.queue)
    faults: list[BaseException] = []
    owner: Any = SimpleNamespace(completion_failed=faults.append)
    client_side, server_side = FWXSocket(rig.queue, owner, inner), FWXSocket(rig.queue, owner, outer)
    pump = DataPump()
    pump.SetSockets(FWXSocket(rig.queue, owner, client), FWXSocket(rig.queue, owner, server), None, None)
    client_side.Send(FWXIOBuffer(b"up"), None, 0)
    server_side.Send(FWXIOBuffer(b"down"), None, 0)
    rig.settle()
    client_side.Close(True)  # fails the pump's Send to the client ...
    server_side.Recv(None, recorder(), 0)  # ... before its Send to the server succeeds
    rig.settle()
    assert faults == []


# ---- the event -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "opens", "passes", "result"),
    [
        (None, False, True, None),
        (S_OK, False, True, None),
        (S_FALSE, False, True, None),
        (E_NOTIMPL, False, True, None),
        (COMError(E_NOTIMPL), False, False, E_UNEXPECTED),
        (COMError(E_NOTIMPL), True, True, None),
        (E_FAIL, False, False, E_UNEXPECTED),
        (E_FAIL, True, True, None),
        (E_OUTOFMEMORY, False, False, E_UNEXPECTED),
        (ValueError("a bug"), False, False, E_UNEXPECTED),
        (ValueError("a bug"), True, True, None),
        (NotImplementedError(), False, False, E_UNEXPECTED),
        (SystemExit(1), False, False, E_UNEXPECTED),
    ],
)
def test_what_a_handler_answers(
    rig: Rig, watcher: Any, answer: Any, opens: bool, passes: bool, result: int | None
) -> None:
    """B2.38, B2.39: a returned E_NOTIMPL passes, a raised one denies; every other failure denies unless open."""
    attached = watcher()

    def handle(event: Any) -> Any:
        event.Parameters.Connect.piConnection.AttachDataFilter(attached, fwx_dfpc_Middle, None)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    faulty = not passes or opens
    connection = rig.connection()
    assert connection.raise_connect_event((rig.host(handle=handle, opens=opens),)) is passes
    if result is not None:
        assert connection.result[0] == result
    assert attached.detached == faulty, "what a failing handler attached is detached and left out (B1.30)"
    assert bool(rig.alerts) is faulty


@pytest.mark.parametrize(
    ("attach", "opens", "passes"),
    [
        (lambda session: E_OUTOFMEMORY, False, False),
        (lambda session: None, False, False),
        (lambda session: "no session filter", False, False),
        (lambda session: 1 / 0, False, False),
        (lambda session: 1 / 0, True, True),
        (lambda session: E_OUTOFMEMORY, True, True),
    ],
)
def test_attach_to_session_that_fails(rig: Rig, attach: Any, opens: bool, passes: bool) -> None:
    """B1.21: the request fails, unless the filter is open on errors; the next event tries again."""
    host = rig.host(attach=attach, opens=opens)
    for _ in range(2):
        connection = rig.connection()
        assert connection.raise_connect_event((host,)) is passes
    assert [entry[1] for entry in rig.journal].count("attach") == 2


@pytest.mark.parametrize("opens", [False, True])
def test_a_filter_that_failed_to_start(rig: Rig, opens: bool) -> None:
    """B1.11, B1.12: what names it is denied unless it is open on errors."""
    host = rig.host(init=lambda firewall: 1 / 0, opens=opens)
    connection = rig.connection()
    assert connection.raise_connect_event((host,)) is opens
    if not opens:
        result, reason = connection.result
        assert result == FWX_E_FILTER_NOT_REGISTERED
        assert "ZeroDivisionError" in reason


def test_deny(rig: Rig) -> None:
    """B2.36, B2.37: the client's connect is refused with 10061; later filters do not see the event."""
    later = rig.host("later")
    denying = rig.host("denying", handle=lambda event: event.Parameters.Connect.piConnection.Deny(0))
    connection = rig.connection()
    assert not connection.raise_connect_event((denying, later))
    assert connection.result == (HRESULT_FROM_WIN32(WSAECONNREFUSED), "denied by filter 'denying'")
    assert ("later", "event", fwx_Connect_Tcp) not in rig.journal


def test_deny_then_fail_still_denies(rig: Rig) -> None:
    """B2.36: an open filter that denied before it failed has denied."""

    def handle(event: Any) -> None:
        event.Parameters.Connect.piConnection.Deny(0)
        raise ValueError

    assert not rig.connection().raise_connect_event((rig.host(handle=handle, opens=True),))


def test_kill_in_the_handler(rig: Rig) -> None:
    """B3.32: the request goes no further."""
    connection = rig.connection()
    host = rig.host(handle=lambda event: event.Parameters.Connect.piConnection.Kill())
    assert not connection.raise_connect_event((host,))
    assert connection.result[0] == HRESULT_FROM_WIN32(WSAECONNABORTED)
    rig.until_gone(connection)


def test_bad_calls_in_the_handler(rig: Rig, watcher: Any) -> None:
    """B2.35, B2.36: what AttachDataFilter and Deny refuse while the event is handled."""
    found: list[int] = []

    def handle(event: Any) -> None:
        connection = event.Parameters.Connect.piConnection
        attached = watcher()
        connection.AttachDataFilter(attached, fwx_dfpc_Middle, None)
        found.extend(
            code_of(*call)
            for call in (
                (connection.AttachDataFilter, attached, fwx_dfpc_Middle, None),
                (connection.AttachDataFilter, None, fwx_dfpc_Middle, None),
                (connection.AttachDataFilter, object(), fwx_dfpc_Middle, None),
                (connection.AttachDataFilter, watcher(), 7, None),
                (connection.Deny, 1),
                (connection.GetExternalSocketName,),
                (connection.GetExternalPeerName,),
            )
        )

    assert rig.connection().raise_connect_event((rig.host(handle=handle),))
    invalid = HRESULT_FROM_WIN32(WSAEINVAL)
    assert found == [E_INVALIDARG, E_POINTER, E_INVALIDARG, E_INVALIDARG, E_INVALIDARG, invalid, invalid]


@pytest.mark.parametrize("when", ["before", "established", "in SetSockets", "after the event"])
def test_attach_and_deny_outside_a_handler(rig: Rig, watcher: Any, when: str) -> None:
    """B2.34, B2.36: FWX_E_BAD_CONTEXT at any other time."""
    found: list[int] = []

    class Late(DataPump):
        def SetSockets(self, *args: Any) -> None:
            super().SetSockets(*args)
            if when == "in SetSockets":
                self.ask(args[2])

        def ask(self, connection: Any) -> None:
            found.append(code_of(connection.AttachDataFilter, watcher(), fwx_dfpc_Middle, None))
            found.append(code_of(connection.Deny, 0))

    late = Late()
    if when == "before":
        late.ask(rig.connection())
    elif when == "after the event":
        connection = rig.connection()
        connection.raise_connect_event((rig.attaching(late),))
        late.ask(connection)
    else:
        opened = rig.open(late)
        if when == "established":
            late.ask(opened.connection)
    assert found == [FWX_E_BAD_CONTEXT] * 2


def test_the_event_says_what_is_asked_for(rig: Rig) -> None:
    """B2.7, B2.12: type, source, address, connection; the outbound connection does not exist yet."""
    events: list[Any] = []
    connection = rig.connection(target="www.example.org:443")
    assert connection.raise_connect_event((rig.host(handle=events.append),))
    (event,) = events
    parameters = event.Parameters.Connect
    assert event.EventType == fwx_Connect_Tcp
    assert event.EventSource == connection.session.source
    assert parameters.Address == SocketAddress("www.example.org", 443)
    assert parameters.AddressLength == parameters.Address.length
    assert parameters.piConnection is connection
    assert not parameters.IsSecondary


# ---- order, record, names --------------------------------------------------------------------------------------------


def test_the_order_of_the_end(rig: Rig, watcher: Any) -> None:
    """B1.29, B1.35, B2.29: Detach of the data filters, the terminating event, the record, then the owner."""
    asks = fwx_Connect_Tcp | fwx_ConnectionTerminating | FWX_ALL_SOURCES
    watching = watcher("data", rig.journal)
    host = rig.attaching(watching, session_mask=asks)
    rig.engine.write_record = lambda record: rig.journal.append(("rig", "record", record.filters))
    opened = rig.open(hosts=(host,))
    rig.journal.clear()
    opened.connection.Kill()
    rig.until_gone(opened.connection)
    assert [entry[:2] for entry in rig.journal] == [
        ("data", "detach"),
        ("filter", "event"),
        ("rig", "record"),
        ("rig", "ended"),
    ]
    assert rig.journal[1][2] == fwx_ConnectionTerminating


def test_the_terminating_event_makes_no_session_filter(rig: Rig) -> None:
    """B2.30: asked for in FilterInit alone it attaches nothing."""
    host = rig.host(mask=fwx_ConnectionTerminating | FWX_ALL_SOURCES)
    connection = rig.connection()
    assert connection.raise_connect_event((host,))
    connection.end()
    rig.until_gone(connection)
    assert [entry[1] for entry in rig.journal] == ["init", "ended"]


def test_a_handler_that_fails_at_the_end(rig: Rig) -> None:
    """B2.39: the connection has ended already; the fault is reported and the record is written."""

    def handle(event: Any) -> None:
        if event.EventType == fwx_ConnectionTerminating:
            raise ValueError

    asks = fwx_Connect_Tcp | fwx_ConnectionTerminating | FWX_ALL_SOURCES
    connection = rig.connection()
    assert connection.raise_connect_event((rig.host(handle=handle, session_mask=asks),))
    connection.end()
    rig.until_gone(connection)
    assert len(rig.records) == 1
    assert len(rig.alerts) == 1


def test_a_refused_request_detaches_filters_that_have_no_sockets(rig: Rig, watcher: Any) -> None:
    """B1.30, B2.38: Detach without SetSockets, and the terminating event; one record."""
    watching = watcher()
    asks = fwx_Connect_Tcp | fwx_ConnectionTerminating | FWX_ALL_SOURCES
    connection = rig.connection()
    assert connection.raise_connect_event((rig.attaching(watching, session_mask=asks),))
    connection.refuse(HRESULT_FROM_WIN32(WSAECONNREFUSED), "connecting failed")
    connection.refuse(E_FAIL, "a second time")
    rig.until_gone(connection)
    assert watching.journal == [("watcher", "detach", None)]
    assert rig.journal[-2] == ("filter", "event", fwx_ConnectionTerminating)
    (record,) = rig.records
    assert (record.action, record.resultcode) == (Action.Failed, HRESULT_FROM_WIN32(WSAECONNREFUSED))
    assert record.reason == "connecting failed"


def test_the_record(rig: Rig, watcher: Any) -> None:
    """B9.16: who, where to, by which rule, how much, how long, and which filters."""
    opened = rig.open(watcher())
    opened.client.send(b"abc")
    opened.server.expect(b"abc")
    opened.server.send(b"defgh")
    opened.client.expect(b"defgh")
    rig.clock.advance(1.5)
    opened.connection.end()
    rig.until_gone(opened.connection)
    (record,) = rig.records
    assert record._replace(time=0.0, reason="") == type(record)(
        time=0.0,
        action=Action.Terminate,
        servername="rig",
        source_ip="127.0.0.1",
        source_port=40000,
        destination_ip="127.0.0.1",
        destination_port=80,
        source_network="localhost",
        destination_network="localhost",
        resultcode=0,
        rule="everything",
        application_protocol="HTTP",
        bytes_sent=3,
        bytes_received=5,
        connection_time=1500,
        session_id=opened.connection.session.id,
        connection_id=opened.connection.id,
        interface="proxy",
        filters="filter",
    )


def test_a_rule_without_log_writes_no_record(rig: Rig) -> None:
    from dataclasses import replace  # noqa: PLC0415

    rig.engine.policy = rig.policy(replace(rig.engine.policy.rules[0], log=False))
    opened = rig.open()
    opened.connection.end()
    rig.until_gone(opened.connection)
    assert rig.records == []


def test_external_names(rig: Rig, watcher: Any) -> None:
    """GetExternalSocketName, GetExternalPeerName: the real socket's, from SetSockets on, until the end."""
    names: list[SocketAddress] = []

    class Asking(DataPump):
        def SetSockets(self, *args: Any) -> None:
            super().SetSockets(*args)
            names.extend((args[2].GetExternalSocketName(), args[2].GetExternalPeerName()))

    opened = rig.open(Asking())
    assert names == [SocketAddress.from_sockaddr(opened.server._sock.getpeername()), opened.server.address]


def test_the_rest_of_the_interface(rig: Rig) -> None:
    """IFWXConnection, B3.39, B4.11: what this version answers, and that nothing works once it is over."""
    opened: Opened = rig.open()
    connection = opened.connection
    assert connection.QueryInterface(IFWXConnection) is connection
    assert connection.GetSession() is connection.session
    assert connection.GetConnectionFlags() == 0
    assert connection.GetIpFilter() is None
    connection.SetIpFilter(None)
    address = SocketAddress("127.0.0.1", 1)
    refused = [
        (connection.IncrementBytesSentCounter, (1,), FWX_E_NOT_EMULATED),
        (connection.SetIpFilter, (object(),), E_NOTIMPL),
        (connection.AttachDataFilterWithDestination, (None, 0, None, None), E_NOTIMPL),
        (connection.EmulateConnection, (None, address, None, address), E_NOTIMPL),
        (connection.SetSocketName, (address,), E_NOTIMPL),
        (connection.SetClientAddress, (address,), E_NOTIMPL),
        (connection.EmulateForConnect, (None, None), E_NOTIMPL),
        (connection.EmulateForBind, (), E_NOTIMPL),
    ]
    for call, arguments, code in refused:
        assert code_of(call, *arguments) == code
    connection.end()
    over = [
        (connection.GetSession, ()),
        (connection.SetBufferSize, (10,)),
        (connection.GetExternalSocketName, ()),
        (connection.GetExternalPeerName, ()),
        (connection.AttachDataFilter, (None, fwx_dfpc_Middle, None)),
    ]
    for call, arguments in over:
        assert code_of(call, *arguments) == FWX_E_TERMINATING
