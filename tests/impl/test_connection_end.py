"""The end of a connection: what completes, who is told, in which order, and the record."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from zope.interface import implementer

from fwx.data_pump import DataPump
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.logrecord import Action
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    IFWXConnection,
    IFWXDataFilter,
    SocketAddress,
    fwx_Connect_Tcp,
    fwx_ConnectionTerminating,
    fwx_dfpc_Middle,
)
from fwx.interfaces.hresult import (
    E_FAIL,
    E_INVALIDARG,
    FWX_E_BAD_CONTEXT,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    WSAECONNABORTED,
    WSAECONNREFUSED,
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


def test_what_another_thread_posted_completes_before_detach(rig: Rig, recorder: Any) -> None:
    """B3.31, B5.10: also what was still on its way to the socket when the connection ended."""
    order: list[str] = []

    class Threaded(DataPump):
        def SetSockets(self, internal: Any, external: Any, *rest: Any) -> None:
            self.internal = internal

        def ended(self) -> None:
            order.append("detach")

    threaded = Threaded()
    opened = rig.open(threaded)
    completions = recorder(lambda done: order.append(f"{done.tag} {done.success}"))

    def post() -> None:
        threaded.internal.Send(FWXIOBuffer(b"x"), completions, "send")
        threaded.internal.Recv(None, completions, "recv")

    thread = threading.Thread(target=post)
    thread.start()
    thread.join()
    opened.connection.end()
    rig.until_gone(opened.connection)
    rig.settle()
    assert order == ["send False", "recv False", "detach"]


def test_a_side_that_is_still_being_read_is_waited_for(rig: Rig) -> None:
    """DESIGN 5: when one side has gone, data that moves, or that a peer takes its time for, keeps the connection."""
    internal: list[Any] = []

    class Sending(DataPump):
        def SetSockets(self, *sockets: Any) -> None:
            internal.append(sockets[0])
            sockets[1].Close(False)

    opened = rig.open(Sending(), small=True)
    opened.server.expect_end()
    internal[0].Send(FWXIOBuffer(bytes(1 << 20)), None, 0)
    for _ in range(3):
        rig.clock.advance(30.0)
        rig.settle()
    opened.client.expect(bytes(1 << 20))
    rig.clock.advance(30.0)
    rig.settle()
    assert rig.records == []
    rig.clock.advance(30.0)
    rig.until_gone(opened.connection)
    assert rig.records[0].resultcode == HRESULT_FROM_WIN32(WSAECONNABORTED)


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
    assert rig.through(connection.raise_connect_event((host,)))
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
    assert rig.through(connection.raise_connect_event((rig.host(handle=handle, session_mask=asks),)))
    connection.end()
    rig.until_gone(connection)
    assert len(rig.records) == 1
    assert len(rig.alerts) == 1


def test_a_refused_request_detaches_filters_that_have_no_sockets(rig: Rig, watcher: Any) -> None:
    """B1.30, B2.38: Detach without SetSockets, and the terminating event; one record."""
    watching = watcher()
    asks = fwx_Connect_Tcp | fwx_ConnectionTerminating | FWX_ALL_SOURCES
    connection = rig.connection()
    assert rig.through(connection.raise_connect_event((rig.attaching(watching, session_mask=asks),)))
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
    from dataclasses import replace

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
    """IFWXConnection, B4.11, B6.16: what a connection answers, and that nothing works once it is over."""
    opened: Opened = rig.open()
    connection = opened.connection
    assert connection.QueryInterface(IFWXConnection) is connection
    assert connection.GetSession() is connection.session
    assert connection.GetConnectionFlags() == 0
    assert connection.GetIpFilter() is None
    connection.SetIpFilter(None)
    address = SocketAddress("127.0.0.1", 1)
    refused = [
        (connection.AttachDataFilterWithDestination, (None, 0, None, None), FWX_E_BAD_CONTEXT),
        (connection.SetClientAddress, (address,), E_INVALIDARG),
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
        (connection.AttachDataFilterWithDestination, (None, fwx_dfpc_Middle, None, address)),
    ]
    for call, arguments in over:
        assert code_of(call, *arguments) == FWX_E_TERMINATING
