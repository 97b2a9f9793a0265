"""The battery for a whole filter: its life cycle, its session filters, and whatever it puts into streams."""

from __future__ import annotations

import functools
import gc
import operator
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from fwx.config_source import Source
from fwx.filter_loader import FilterOptionsError, make_filter, option_problems
from fwx.impl.boundary import attempt
from fwx.interfaces import (
    S_OK,
    COMInterfaceClass,
    FwxFilterHookEvents,
    FwxFirewallEventProtocolSource,
    FwxFirewallEventSource,
    FwxFirewallEventType,
    IFWXFilter,
    IFWXPerRuleData,
    IFWXPerRuleDataplugin,
    IFWXPolicyChangeNotification,
    IFWXSessionFilter,
    fwx_Connect_Tcp,
    fwxSourceNAT,
    fwxSourceWSP,
)
from fwx.testing.battery import Battery, NotApplicable, Rule, expect, expect_equal, run_rules
from fwx.testing.datafilters import DATA_RULES, Dialogue, Stage, stage_maker
from fwx.testing.filterevents import EVENT_RULES
from fwx.testing.firewall import SESSION_SECONDS
from fwx.testing.sockets import CLIENT
from fwx.testing.unknown import shape_rule, unknown_rules
from fwx.testing.verification import verify

_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})
_OPTIONAL = (IFWXPolicyChangeNotification, IFWXPerRuleData)


def _all_bits(flags: Iterable[int]) -> int:
    return functools.reduce(operator.or_, map(int, flags), 0)


_EVENTS = _all_bits(FwxFirewallEventType)
_SOURCES = _all_bits(FwxFirewallEventSource)
_KNOWN = _EVENTS | _SOURCES | _all_bits(FwxFirewallEventProtocolSource)


def check_filter(
    filter_class: type, options: Mapping[str, Any] = _NO_OPTIONS, *, dialogue: Dialogue | None = None
) -> Battery:
    """Try a filter: its class's shape, its life cycle, and every rule for the data filters that it attaches.

    Each rule gets an instance of its own, in a firewall in memory. *options* are those of a ``[[filter]]`` table;
    *dialogue* says what clients ask for and what passes. Called in a test, and by ``fwx conform``.

    :raises FilterOptionsError: *options* do not fit the class.
    """
    problems = option_problems(filter_class, options, Source(data=options))
    if problems:
        raise FilterOptionsError(problems)
    factory = functools.partial(make_filter, filter_class, options)
    make = stage_maker(factory, dialogue or Dialogue())
    return run_rules(filter_class.__qualname__, (*_FILTER_RULES, *EVENT_RULES, *DATA_RULES), make)


# ---- the rules -------------------------------------------------------------------------------------------------------


def _filter_of(stage: Stage) -> Any:
    expect(stage.filter is not None, f"the filter could not be made: {stage.host.reason}")
    return stage.filter


def _attach(stage: Stage, client: str = CLIENT.host) -> tuple[Any, FwxFilterHookEvents]:
    """Have the filter make a session filter by itself; return it with the mask it asked for."""
    _starts(stage)
    events = FwxFilterHookEvents(stage.host.mask)
    session_filter, error = attempt(_filter_of(stage), "AttachToSession", stage.firewall.session(client), events)
    expect(error is None, f"AttachToSession failed: {error}")
    expect(
        session_filter is not None and IFWXSessionFilter.providedBy(session_filter),
        f"AttachToSession returned {session_filter!r}, expected an IFWXSessionFilter",
    )
    return session_filter, events


def _verify_optional(stage: Stage) -> None:
    filter_object = _filter_of(stage)
    provided: list[COMInterfaceClass] = [each for each in _OPTIONAL if each.providedBy(filter_object)]
    if not provided:
        raise NotApplicable("it has no optional interface")
    for interface in provided:
        verify(filter_object, interface)


def _has_rule_data(stage: Stage) -> list[Any]:
    """Return what the filter has made of the rules when it started."""
    _starts(stage)
    if stage.host.rule_data is None:
        raise NotApplicable("it has no data of rules")
    return list(stage.host.rule_data.values())


def _knows_its_rule_data(stage: Stage) -> None:
    for data in _has_rule_data(stage):
        verify(data, IFWXPerRuleDataplugin)
        _expect_same(data, data, "with itself")


def _prepares_again(stage: Stage) -> None:
    before = _has_rule_data(stage)
    host, policy = stage.host, stage.firewall.engine.policy
    host.rule_data = None  # so that nothing is compared, and the new objects are shown
    stage.firewall.apply_rules(*policy.rules)
    stage.expect_no_fault("PrepareRulesData, for the same rules again")
    after: list[Any] = [] if host.rule_data is None else list(host.rule_data.values())
    expect_equal(len(after), len(before), "the number of rules with data, prepared again")
    for old, new in zip(before, after, strict=True):
        _expect_same(new, old, "with that of the same rule, made earlier")


def _expect_same(data: Any, other: Any, which: str) -> None:
    result, error = attempt(data, "CompareRulesData", other)
    expect(error is None, f"CompareRulesData {which}: {error!r}")
    expect(
        result is None or (not isinstance(result, bool) and result == S_OK),
        f"CompareRulesData {which} returned {result!r}, expected S_OK",
    )


def _reloads(stage: Stage) -> None:
    _starts(stage)
    if not IFWXPolicyChangeNotification.providedBy(_filter_of(stage)):
        raise NotApplicable("it is no IFWXPolicyChangeNotification")
    stage.firewall.open(stage.dialogue.target)
    stage.firewall.apply_rules(*stage.firewall.engine.policy.rules)
    stage.expect_no_fault("ReloadConfiguration, while a connection is open")
    stage.firewall.open(stage.dialogue.target)
    stage.expect_no_fault("a connection after ReloadConfiguration")


def _starts(stage: Stage) -> None:
    expect(stage.host.state == "ready", f"FilterInit failed: {'; '.join(stage.firewall.faults)}")


def _expect_mask(mask: int, method: str) -> None:
    unknown = mask & ~_KNOWN
    expect(not unknown, f"{method}: the mask {mask:#x} has bits that no event and no source has: {unknown:#x}")
    if mask:
        expect(mask & _EVENTS, f"{method}: the mask {mask:#x} names sources and no event")
        expect(mask & _SOURCES, f"{method}: the mask {mask:#x} names events and no source, it will see none")


def _asks_for_events(stage: Stage) -> None:
    _starts(stage)
    _expect_mask(stage.host.mask, "FilterInit")


def _makes_session_filters(stage: Stage) -> None:
    first, events = _attach(stage)
    second, _ = _attach(stage, "192.0.2.2")
    verify(first, IFWXSessionFilter)
    expect(first is not second, "AttachToSession returned the same session filter for two sessions")
    _expect_mask(int(events.dwGlobalEvents), "AttachToSession")


def _handles_events(stage: Stage) -> None:
    _starts(stage)
    sources = [source for source in (fwxSourceWSP, fwxSourceNAT) if stage.host.mask & source]
    if not sources or not stage.host.mask & fwx_Connect_Tcp:
        raise NotApplicable("it does not ask for fwx_Connect_Tcp")
    for source in sources:
        stage.firewall.open(stage.dialogue.target, source=source)
        stage.expect_no_fault(f"fwx_Connect_Tcp of {source.name}")


def _stops(filters_first: bool) -> Callable[[Stage], None]:
    def test(stage: Stage) -> None:
        _starts(stage)
        stage.firewall.open(stage.dialogue.target)
        stage.firewall.stop(filters_first=filters_first)
        order = "FilterShutdown before the session filter's Detach" if filters_first else "Detach before FilterShutdown"
        stage.expect_no_fault(order)

    return test


def _lets_go_of_connections(stage: Stage) -> None:
    _starts(stage)
    opened = stage.firewall.open(stage.dialogue.target)
    connection = weakref.ref(opened.connection)
    opened.connection = None
    stage.firewall.end_connections()
    gc.collect()
    expect(connection() is None, "a connection that has ended is still held: by the filter or its session filter")


def _lets_go_of_sessions(stage: Stage) -> None:
    _starts(stage)
    stage.firewall.open(stage.dialogue.target)
    session = weakref.ref(stage.firewall.session())
    stage.firewall.end_connections()
    stage.firewall.loop.advance(SESSION_SECONDS + 1)
    stage.expect_no_fault("Detach of the session filter")
    gc.collect()
    expect(session() is None, "after Detach the session is still held")


def _closes_its_sockets(stage: Stage) -> None:
    _starts(stage)
    opened = stage.firewall.open(stage.dialogue.target)
    stage.firewall.stop()
    opened.client.reset()
    if opened.server is not None:
        opened.server.reset()
    stage.settle()
    left = [str(transport.local) for transport in stage.firewall.network.open_transports]
    expect_equal(left, [], "sockets that are still open after FilterShutdown and Detach")


def _ends_its_threads(stage: Stage) -> None:
    _starts(stage)
    stage.firewall.open(stage.dialogue.target)
    stage.firewall.stop()
    # Threads of the pool are the service's, which ends them.
    others = stage.threads | stage.firewall.workers.threads
    left = [thread.name for thread in threading.enumerate() if thread not in others]
    expect_equal(left, [], "threads of the filter that outlive FilterShutdown")


_FILTER_RULES: tuple[Rule[Stage], ...] = (
    shape_rule(IFWXFilter, _filter_of),
    *unknown_rules(IFWXFilter, _filter_of),
    Rule("its optional interfaces have every member to the letter", ("B7.12", "B7.15"), _verify_optional),
    Rule("FilterInit succeeds", ("B1.6", "B1.10", "B1.11"), _starts),
    Rule("its data of a rule is the same as itself", ("B7.12", "B7.14"), _knows_its_rule_data),
    Rule("the same rule, prepared again, gives the same data", ("B7.12", "B7.14"), _prepares_again),
    Rule("reads its configuration again", ("B7.15",), _reloads),
    Rule("the mask names events and their sources, or nothing", ("B1.8", "B1.12", "B2.5"), _asks_for_events),
    Rule(
        "AttachToSession makes a session filter for each session", ("B1.17", "B1.18", "B1.20"), _makes_session_filters
    ),
    Rule("handles the events that it asks for", ("B1.22", "B2.38", "B2.39"), _handles_events),
    Rule("stops: FilterShutdown, then Detach", ("B1.39", "B1.41"), _stops(filters_first=True)),
    Rule("stops: Detach, then FilterShutdown", ("B1.39", "B1.41"), _stops(filters_first=False)),
    Rule("lets go of a connection that has ended", ("B1.35",), _lets_go_of_connections),
    Rule("Detach lets go of the session", ("B1.33",), _lets_go_of_sessions),
    Rule("leaves no network socket open", ("B3.28", "B1.39"), _closes_its_sockets),
    Rule("leaves no thread running", ("B1.43",), _ends_its_threads),
)
