"""One filter's life (behaviour topic 1): made once, initialised, asked, stopped; and every way to fail in it."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from zope.interface import implementer

from fwx.data_pump import DataPump
from fwx.impl.filterhost import FilterFault, FilterHost
from fwx.impl.raw import Ref, raw
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    FwxFilterHookEvents,
    IFWXFilter,
    fwx_Connect_Tcp,
    fwx_dfpc_Middle,
    fwx_Listen,
)
from fwx.interfaces.hresult import E_FAIL, E_NOTIMPL, E_OUTOFMEMORY, S_FALSE, S_OK, COMError
from fwx.testing import MemoryFirewall
from tests.impl.parts import ScriptedFilter, ScriptedSessionFilter

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

MASK = int(fwx_Connect_Tcp) | FWX_ALL_SOURCES
SESSION_MASK = int(fwx_Listen) | FWX_ALL_SOURCES


def raising(error: BaseException) -> Any:
    def method(*args: Any) -> Any:
        raise error

    return method


def test_a_life(rig: Rig) -> None:
    """B1.3, B1.4, B1.6, B1.8, B1.39: one object; FilterInit with the firewall; FilterShutdown once."""
    given: list[Any] = []

    def init(firewall: Any) -> FwxFilterHookEvents:
        given.append(firewall)
        return FwxFilterHookEvents(MASK)

    host = rig.host(init=init)
    assert given == [rig.firewall]
    assert (host.state, host.mask, host.reason) == ("ready", MASK, "")
    host.stop()
    host.stop()
    assert host.state == "stopped"
    assert [entry[1] for entry in rig.journal] == ["init", "shutdown"]
    assert not rig.alerts


def test_there_is_one_object(rig: Rig) -> None:
    """B1.4: made at the start, whatever sessions there are."""
    made: list[ScriptedFilter] = []

    def factory() -> ScriptedFilter:
        made.append(ScriptedFilter("one", rig.journal))
        return made[-1]

    host = FilterHost("one", uuid4(), factory, rig.faults, everywhere=True, opens_on_error=False)
    assert not made
    host.start(rig.firewall)
    for client in ("127.0.0.1", "127.0.0.2"):
        assert rig.session(client).session_filter(host, fwx_Connect_Tcp).script is made[0]
    assert len(made) == 1
    host.stop()


@implementer(IFWXFilter)
class Writing(Unknown):
    """It keeps every structure of a mask that it has filled in."""

    def __init__(self) -> None:
        self.kept: list[FwxFilterHookEvents] = []

    def FilterInit(self, pIFWXFirewall: Any) -> FwxFilterHookEvents:
        self.kept.append(FwxFilterHookEvents(MASK))
        return self.kept[-1]

    def AttachToSession(self, piSession: Any, pFilterHookEvents: FwxFilterHookEvents) -> Any:
        pFilterHookEvents.dwGlobalEvents = SESSION_MASK
        self.kept.append(pFilterHookEvents)
        return ScriptedSessionFilter(ScriptedFilter("writing", []), piSession)

    def FilterShutdown(self) -> None:
        pass


def test_the_structure_of_the_mask_is_the_services(rig: Rig) -> None:
    """B1.7: what the filter has written into it counts when the call returns; on the COM face FilterInit fills it too.

    What a filter that has kept it writes later changes nothing.
    """
    writing = Writing()
    host = FilterHost("writing", uuid4(), lambda: writing, rig.faults, everywhere=True, opens_on_error=False)
    host.start(rig.firewall)
    rig.engine.filters = (host,)
    session = rig.session()
    assert session.session_filter(host, fwx_Connect_Tcp) is None  # attached, and it has asked for another event
    for events in writing.kept:
        events.dwGlobalEvents = 0
    assert (len(writing.kept), host.mask) == (2, MASK)
    assert session.session_filter(host, fwx_Listen) is not None
    cell = Ref[FwxFilterHookEvents]()
    assert raw(writing, IFWXFilter).FilterInit(rig.firewall, cell) == S_OK
    assert cell.value == FwxFilterHookEvents(MASK)


@pytest.mark.parametrize("filters_first", [True, False])
def test_everything_is_detached_before_anything_is_let_go_of(filters_first: bool) -> None:
    """B1.40, B1.41: then nothing of the service holds an object that the filter has made, nor the filter."""
    told: list[str] = []

    class Told(DataPump):
        def ended(self) -> None:
            told.append("data filter detached")

    def attach(session: Any) -> Any:
        made = ScriptedSessionFilter(ScriptedFilter("f", [], handle=handle, detach=detach), session)
        weakref.finalize(made, told.append, "session filter gone")
        return made

    def handle(event: Any) -> None:
        data_filter = Told()
        weakref.finalize(data_filter, told.append, "data filter gone")
        event.Parameters.Connect.piConnection.AttachDataFilter(data_filter, fwx_dfpc_Middle, None)

    def detach() -> None:
        told.append("session filter detached")

    def make() -> Any:
        made = ScriptedFilter("f", [], attach=attach, shutdown=lambda: told.append("shut down"))
        weakref.finalize(made, told.append, "filter gone")
        return made

    firewall = MemoryFirewall()
    firewall.start(make)
    firewall.open().established()
    gc.collect()
    assert told == []
    firewall.stop(filters_first=filters_first)
    gc.collect()
    place = {words: told.index(words) for words in told}
    assert len(place) == len(told) == 6
    assert (place["shut down"] < place["session filter detached"]) is filters_first
    assert place["data filter detached"] < place["data filter gone"]
    assert place["session filter detached"] < place["session filter gone"]
    assert max(place["shut down"], place["session filter detached"]) < place["filter gone"]
    firewall.close()


@pytest.mark.parametrize(
    ("init", "words"),
    [
        (raising(ValueError("no rules file")), "ValueError: no rules file"),
        (raising(COMError(E_OUTOFMEMORY)), "E_OUTOFMEMORY"),
        (raising(SystemExit(1)), "SystemExit"),
        (lambda firewall: E_FAIL, "E_FAIL"),
        (lambda firewall: 0x80004001, "E_NOTIMPL"),
        (lambda firewall: None, "returned None, not FwxFilterHookEvents"),
        (lambda firewall: "text", "not FwxFilterHookEvents"),
        (lambda firewall: FwxFilterHookEvents("everything"), "everything"),  # type: ignore[arg-type]
    ],
)
def test_a_filter_that_cannot_start(rig: Rig, init: Any, words: str) -> None:
    """B1.11, B1.12: it is failed, with an alert; the service goes on; it is not shut down, as it was not up."""
    host = rig.host(init=init)
    assert (host.state, host.mask) == ("failed", 0)
    assert words in host.reason
    assert len(rig.alerts) == 1
    host.stop()
    assert host.state == "failed"
    assert [entry[1] for entry in rig.journal] == ["init"]


@pytest.mark.parametrize(
    ("factory", "words"),
    [(lambda: 1 / 0, "ZeroDivisionError"), (lambda: None, "not FwxFilterHookEvents"), (lambda: E_FAIL, "E_FAIL")],
)
def test_a_filter_that_cannot_be_made(rig: Rig, factory: Any, words: str) -> None:
    host = FilterHost("broken", uuid4(), factory, rig.faults, everywhere=False, opens_on_error=False)
    host.start(rig.firewall)
    assert host.state == "failed"
    assert words in host.reason


def test_an_empty_mask_is_a_filter_that_is_never_called(rig: Rig) -> None:
    """B1.11, B1.12."""
    host = rig.host(mask=0)
    assert host.state == "ready"
    assert rig.session().session_filter(host, fwx_Connect_Tcp) is None


def test_attach_asks_for_the_sessions_own_events(rig: Rig) -> None:
    """B1.18, B1.19: the mask comes filled from FilterInit and may be changed freely."""
    host = rig.host(session_mask=0x123)
    session_filter, mask = host.attach(rig.session())
    assert session_filter is not None
    assert mask == 0x123
    assert rig.journal[-1] == ("filter", "attach", MASK)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"attach": lambda session: None}, "returned None, not an IFWXSessionFilter"),
        ({"attach": lambda session: "text"}, "not an IFWXSessionFilter"),
        ({"attach": lambda session: E_OUTOFMEMORY}, "E_OUTOFMEMORY"),
        ({"attach": raising(KeyError("who"))}, "KeyError: 'who'"),
        ({"session_mask": "everything"}, "everything"),
    ],
)
def test_attach_that_fails(rig: Rig, script: Any, words: str) -> None:
    """B1.21."""
    host = rig.host(**script)
    with pytest.raises(FilterFault, match=words.replace("(", r"\(")):
        host.attach(rig.session())
    assert len(rig.alerts) == 1


@pytest.mark.parametrize(
    ("answer", "fails"),
    [
        (lambda event: None, False),
        (lambda event: S_OK, False),
        (lambda event: S_FALSE, False),
        (lambda event: E_NOTIMPL, False),
        (lambda event: 0x80004001, False),
        (lambda event: E_OUTOFMEMORY, True),
        (raising(COMError(E_NOTIMPL)), True),
        (raising(NotImplementedError()), True),
        (raising(ValueError()), True),
    ],
)
def test_events(rig: Rig, answer: Any, fails: bool) -> None:
    """B2.38, B2.39: only a returned E_NOTIMPL means "not handled"."""

    class Event:
        EventType = fwx_Connect_Tcp

    host = rig.host(handle=answer)
    session_filter, _ = host.attach(rig.session())
    if fails:
        with pytest.raises(FilterFault, match="failed in FirewallEventHandler"):
            host.handle(session_filter, Event())
    else:
        host.handle(session_filter, Event())
    assert bool(rig.alerts) is fails


@pytest.mark.parametrize(
    ("shutdown", "alerts"),
    [
        (lambda: None, 0),
        (lambda: S_FALSE, 0),
        (lambda: E_FAIL, 1),
        (raising(ValueError()), 1),
        (raising(SystemExit()), 1),
    ],
)
def test_shutdown_that_fails(rig: Rig, shutdown: Any, alerts: int) -> None:
    """B1.39: reported, and the service stops all the same."""
    host = rig.host(shutdown=shutdown)
    host.stop()
    assert (host.state, len(rig.alerts)) == ("stopped", alerts)


def test_failed_reports_what_others_met(rig: Rig) -> None:
    assert rig.host().failed("CompleteAsyncIO", ValueError("x")).endswith("failed in CompleteAsyncIO: ValueError: x")
    assert len(rig.alerts) == 1
