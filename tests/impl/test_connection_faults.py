"""A connection whose filters fail or refuse: in the event, and while data flows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from fwx.data_pump import DataPump
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.junction import junction
from fwx.impl.sockets import FWXSocket
from fwx.interfaces import (
    SocketAddress,
    fwx_Connect_Tcp,
    fwx_dfpc_Middle,
)
from fwx.interfaces.hresult import (
    E_FAIL,
    E_INVALIDARG,
    E_NOTIMPL,
    E_OUTOFMEMORY,
    E_POINTER,
    E_UNEXPECTED,
    FWX_E_BAD_CONTEXT,
    FWX_E_FILTER_NOT_REGISTERED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_FALSE,
    S_OK,
    WSAECONNABORTED,
    WSAECONNREFUSED,
    WSAEINVAL,
    COMError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.impl.conftest import Rig

CHAINS = [pytest.param(count, id=f"{count} filters") for count in range(4)]
FILTERED = CHAINS[1:]
LARGE = bytes(range(256)) * 40_000  # 10 MiB


def code_of(call: Callable[..., object], *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


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
    assert rig.through(connection.raise_connect_event((rig.host(handle=handle, opens=opens),))) is passes
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
        assert rig.through(connection.raise_connect_event((host,))) is passes
    assert [entry[1] for entry in rig.journal].count("attach") == 2


@pytest.mark.parametrize("opens", [False, True])
def test_a_filter_that_failed_to_start(rig: Rig, opens: bool) -> None:
    """B1.11, B1.12: what names it is denied unless it is open on errors."""
    host = rig.host(init=lambda firewall: 1 / 0, opens=opens)
    connection = rig.connection()
    assert rig.through(connection.raise_connect_event((host,))) is opens
    if not opens:
        result, reason = connection.result
        assert result == FWX_E_FILTER_NOT_REGISTERED
        assert "ZeroDivisionError" in reason


def test_deny(rig: Rig) -> None:
    """B2.36, B2.37: the client's connect is refused with 10061; later filters do not see the event."""
    later = rig.host("later")
    denying = rig.host("denying", handle=lambda event: event.Parameters.Connect.piConnection.Deny(0))
    connection = rig.connection()
    assert not rig.through(connection.raise_connect_event((denying, later)))
    assert connection.result == (HRESULT_FROM_WIN32(WSAECONNREFUSED), "denied by filter 'denying'")
    assert ("later", "event", fwx_Connect_Tcp) not in rig.journal


def test_deny_then_fail_still_denies(rig: Rig) -> None:
    """B2.36: an open filter that denied before it failed has denied."""

    def handle(event: Any) -> None:
        event.Parameters.Connect.piConnection.Deny(0)
        raise ValueError

    assert not rig.through(rig.connection().raise_connect_event((rig.host(handle=handle, opens=True),)))


def test_kill_in_the_handler(rig: Rig, watcher: Any) -> None:
    """B3.32, B2.35: the request goes no further, and nothing can be attached to it any more."""
    connection = rig.connection()
    codes: list[int] = []

    def handle(event: Any) -> None:
        event.Parameters.Connect.piConnection.Kill()
        codes.append(code_of(event.Parameters.Connect.piConnection.AttachDataFilter, watcher(), fwx_dfpc_Middle, None))

    host = rig.host(handle=handle)
    assert not rig.through(connection.raise_connect_event((host,)))
    assert connection.result[0] == HRESULT_FROM_WIN32(WSAECONNABORTED)
    assert codes == [FWX_E_TERMINATING]
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

    assert rig.through(rig.connection().raise_connect_event((rig.host(handle=handle),)))
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
        rig.through(connection.raise_connect_event((rig.attaching(late),)))
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
    assert rig.through(connection.raise_connect_event((rig.host(handle=events.append),)))
    (event,) = events
    parameters = event.Parameters.Connect
    assert event.EventType == fwx_Connect_Tcp
    assert event.EventSource == connection.session.source
    assert parameters.Address == SocketAddress("www.example.org", 443)
    assert parameters.AddressLength == parameters.Address.length
    assert parameters.piConnection is connection
    assert not parameters.IsSecondary
