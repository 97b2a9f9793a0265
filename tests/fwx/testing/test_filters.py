"""The battery for whole filters: each rule, and a filter that breaks it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from typing import Any, ClassVar

import pytest

from fwx import sdk
from fwx.filter_loader import FilterOptionsError
from fwx.testing import Battery, Outcome, check_data_filter, check_filter, filters
from fwx.testing.hosts import EVERYTHING
from tests.fwx.testing.faulty import only


@sdk.implementer(sdk.IFWXSessionFilter)
class Session(sdk.Unknown):
    def __init__(self, owner: Any, session: Any) -> None:
        self.owner = owner

    def FirewallEventHandler(self, pProxyEvent: Any) -> Any:
        connection = pProxyEvent.Parameters.Connect.piConnection
        connection.AttachDataFilter(sdk.DataPump(), sdk.fwx_dfpc_Middle, None)

    def Detach(self) -> None:
        """Nothing to give back."""


@sdk.implementer(sdk.IFWXFilter)
class Right(sdk.Unknown):
    """A filter that keeps every rule; the wrong ones change one method."""

    session_class: ClassVar[type[Session]] = Session
    mask: ClassVar[int] = sdk.fwx_Connect_Tcp | sdk.FWX_ALL_SOURCES

    def FilterInit(self, pIFWXFirewall: Any) -> sdk.FwxFilterHookEvents:
        return sdk.FwxFilterHookEvents(self.mask)

    def AttachToSession(self, piSession: Any, pFilterHookEvents: sdk.FwxFilterHookEvents) -> Any:
        return self.session_class(self, piSession)

    def FilterShutdown(self) -> None:
        """Nothing to give back."""


class OtherNames(Right):
    def AttachToSession(self, session: Any, events: sdk.FwxFilterHookEvents) -> Any:  # type: ignore[override]
        return super().AttachToSession(session, events)


@sdk.implementer(sdk.IFWXPolicyChangeNotification)
class NeverReloads(Right):
    """Promises ReloadConfiguration and has none."""


class FailsToStart(Right):
    def FilterInit(self, pIFWXFirewall: Any) -> sdk.FwxFilterHookEvents:
        raise OSError("no such file: policy.dat")


class ForgetsSources(Right):
    mask = int(sdk.fwx_Connect_Tcp)


class ForgetsEvents(Right):
    mask = int(sdk.FWX_ALL_SOURCES)


class AsksForMore(Right):
    mask = sdk.fwx_Connect_Tcp | sdk.FWX_ALL_SOURCES | 0x1000


class OneForAll(Right):
    one: Any = None

    def AttachToSession(self, piSession: Any, pFilterHookEvents: sdk.FwxFilterHookEvents) -> Any:
        self.one = self.one or Session(self, piSession)
        return self.one


class MakesNone(Right):
    def AttachToSession(self, piSession: Any, pFilterHookEvents: sdk.FwxFilterHookEvents) -> Any:
        return None


class FailsEvents(Right):
    class session_class(Session):
        def FirewallEventHandler(self, pProxyEvent: Any) -> Any:
            raise KeyError("unknown event")


class NeedsItsFilter(Right):
    """Detach needs what FilterShutdown has given back."""

    report: list[str] | None = None

    class session_class(Session):
        def Detach(self) -> None:
            self.owner.report.append("session")

    def FilterInit(self, pIFWXFirewall: Any) -> sdk.FwxFilterHookEvents:
        self.report = []
        return super().FilterInit(pIFWXFirewall)

    def FilterShutdown(self) -> None:
        self.report = None


class NeedsItsSessions(Right):
    """FilterShutdown needs what Detach has given back."""

    sessions = 0

    class session_class(Session):
        def __init__(self, owner: Any, session: Any) -> None:
            super().__init__(owner, session)
            owner.sessions += 1

        def Detach(self) -> None:
            self.owner.sessions -= 1

    def FilterShutdown(self) -> None:
        assert self.sessions, "there was a session"


class KeepsConnections(Right):
    class session_class(Session):
        def FirewallEventHandler(self, pProxyEvent: Any) -> Any:
            self.connection = pProxyEvent.Parameters.Connect.piConnection
            super().FirewallEventHandler(pProxyEvent)


class KeepsSessions(Right):
    def AttachToSession(self, piSession: Any, pFilterHookEvents: sdk.FwxFilterHookEvents) -> Any:
        self.session = piSession
        return super().AttachToSession(piSession, pFilterHookEvents)


class LeavesAPortOpen(Right):
    def FilterInit(self, pIFWXFirewall: Any) -> sdk.FwxFilterHookEvents:
        socket = pIFWXFirewall.CreateNetworkSocket(sdk.FWX_PROTOCOL_TCP)
        socket.Bind(sdk.SocketAddress("127.0.0.1", 7777), None, None)
        socket.Listen(1)
        return super().FilterInit(pIFWXFirewall)


class LeavesAThread(Right):
    end: ClassVar[threading.Event] = threading.Event()

    def FilterInit(self, pIFWXFirewall: Any) -> sdk.FwxFilterHookEvents:
        threading.Thread(target=self.end.wait, name="left behind", daemon=True).start()
        return super().FilterInit(pIFWXFirewall)


@pytest.fixture(autouse=True)
def _threads_end() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    LeavesAThread.end.set()
    for thread in set(threading.enumerate()) - before:
        thread.join()
    LeavesAThread.end.clear()


class SeesEverything(Right):
    """Right, and asks for all there is."""

    mask = EVERYTHING

    class session_class(Session):
        def FirewallEventHandler(self, pProxyEvent: Any) -> Any:
            if pProxyEvent.EventType == sdk.fwx_Connect_Tcp:
                super().FirewallEventHandler(pProxyEvent)
            elif pProxyEvent.EventType == sdk.fwx_AcceptedConnection:
                accepted = pProxyEvent.Parameters.Accept.piConnectionAccepted
                accepted.AttachDataFilter(sdk.DataPump(), sdk.fwx_dfpc_Middle, None)


def stumbles(event_type: int, secondary: bool = False) -> type:
    """A filter that fails one event, of secondary connections alone if *secondary*."""

    class Stumbles(SeesEverything):
        class session_class(SeesEverything.session_class):
            def FirewallEventHandler(self, pProxyEvent: Any) -> Any:
                details = getattr(pProxyEvent.Parameters, NAMES.get(event_type, "Connect"), None)
                if pProxyEvent.EventType == event_type and (not secondary or details.IsSecondary):
                    raise KeyError("unknown event")
                super().FirewallEventHandler(pProxyEvent)

    return Stumbles


NAMES = {sdk.fwx_AcceptedConnection: "Accept"}


class KnowsIPv4Alone(Right):
    class session_class(Session):
        def FirewallEventHandler(self, pProxyEvent: Any) -> Any:
            IPv4Address(pProxyEvent.Parameters.Connect.Address.host)
            super().FirewallEventHandler(pProxyEvent)


class CutsIPv6(Right):
    class session_class(Session):
        def FirewallEventHandler(self, pProxyEvent: Any) -> Any:
            if ":" in pProxyEvent.Parameters.Connect.Address.host:
                pProxyEvent.Parameters.Connect.piConnection.AttachDataFilter(Cuts(), sdk.fwx_dfpc_Middle, None)
            else:
                super().FirewallEventHandler(pProxyEvent)


class Cuts(sdk.DataPump):
    def inspect(self, to_server: bool, buffer: Any) -> Any:
        return None


class NeedsItsSockets(Right):
    """Its data filter cannot be detached without sockets, which a denied connection has not got."""

    class session_class(Session):
        def FirewallEventHandler(self, pProxyEvent: Any) -> Any:
            pProxyEvent.Parameters.Connect.piConnection.AttachDataFilter(Closes(), sdk.fwx_dfpc_Middle, None)


class Closes(sdk.DataPump):
    def Detach(self) -> None:
        self._internal.Close(False)  # type: ignore[union-attr]
        super().Detach()


class KeepsUdpConnections(SeesEverything):
    class session_class(SeesEverything.session_class):
        def FirewallEventHandler(self, pProxyEvent: Any) -> Any:
            if pProxyEvent.EventType == sdk.fwx_Udp_Destination:
                self.kept = pProxyEvent.Parameters.UdpDest.piConnection
            super().FirewallEventHandler(pProxyEvent)


@sdk.implementer(sdk.IFWXPerRuleDataplugin)
class Words(sdk.Unknown):
    """A filter's data of one rule."""

    def __init__(self, words: object) -> None:
        self.words = words

    def CompareRulesData(self, pProcessedRulesData: Any) -> Any:
        return sdk.S_OK if self.words == pProcessedRulesData.words else sdk.S_FALSE


@sdk.implementer(sdk.IFWXPerRuleData, sdk.IFWXPolicyChangeNotification)
class HasRuleData(Right):
    def PrepareRulesData(self, pPolicyRule: Any) -> Any:
        return Words(pPolicyRule.Name)

    def ReloadConfiguration(self) -> None:
        """Nothing to read."""


class NeverTheSame(HasRuleData):
    def PrepareRulesData(self, pPolicyRule: Any) -> Any:
        return Words(float("nan"))


class AnswersByTruth(HasRuleData):
    class data_class(Words):
        def CompareRulesData(self, pProcessedRulesData: Any) -> Any:
            return self.words == pProcessedRulesData.words

    def PrepareRulesData(self, pPolicyRule: Any) -> Any:
        return self.data_class(pPolicyRule.Name)


class CountsItsRules(HasRuleData):
    count = 0

    def PrepareRulesData(self, pPolicyRule: Any) -> Any:
        self.count += 1
        return Words(self.count)


class PreparesOnce(HasRuleData):
    asked = False

    def PrepareRulesData(self, pPolicyRule: Any) -> Any:
        asked, self.asked = self.asked, True
        return None if asked else Words(pPolicyRule.Name)


class CannotReload(HasRuleData):
    def ReloadConfiguration(self) -> None:
        raise OSError("no such file: policy.dat")


DATAGRAMS = "handles the datagrams that it asks for"
SAME_DATA = "the same rule, prepared again, gives the same data"
OTHER_EVENTS = "handles look-ups, binds and secondary connections that it asks for"

WRONG: tuple[tuple[str, type, str], ...] = (
    (
        OTHER_EVENTS,
        stumbles(sdk.fwx_GetHostByName),
        "fwx_GetHostByName, and the connect behind it: Firewall",
    ),
    (OTHER_EVENTS, stumbles(sdk.fwx_Bind_Tcp), "a client's bind, and who came to it: FirewallEventHandler: KeyError"),
    (OTHER_EVENTS, stumbles(sdk.fwx_Listen), "a client's bind, and who came to it: FirewallEventHandler: KeyError"),
    (OTHER_EVENTS, stumbles(sdk.fwx_AcceptedConnection), "a client's bind, and who came to it: FirewallEventHandler"),
    (OTHER_EVENTS, stumbles(sdk.fwx_Connect_Tcp, True), "secondary connections, outwards and inwards: Firewall"),
    (OTHER_EVENTS, stumbles(sdk.fwx_AcceptedConnection, True), "secondary connections, outwards and inwards: Firewall"),
    ("handles clients and servers of IPv6", KnowsIPv4Alone, "a connect of 2001:db8::1 to [2001:db8::80]:80: Firewall"),
    ("handles clients and servers of IPv6", CutsIPv6, "from an IPv6 client to its server: 0 of 760 bytes came"),
    (DATAGRAMS, stumbles(sdk.fwx_Bind_Udp), "datagrams of fwxSourceWSP: FirewallEventHandler: KeyError"),
    (DATAGRAMS, stumbles(sdk.fwx_Udp_Destination), "datagrams of fwxSourceWSP: FirewallEventHandler: KeyError"),
    (DATAGRAMS, KeepsUdpConnections, "a UDP connection that has ended is still held"),
    ("bears that another filter denies", NeedsItsSockets, "a connect that another filter denied behind it: Detach"),
    ("bears that another filter denies", KeepsConnections, "that another filter has denied is still held"),
    (
        "has every member of IFWXFilter to the letter",
        OtherNames,
        "IFWXFilter.AttachToSession: expected the parameters (piSession, pFilterHookEvents), found (session, events)",
    ),
    (
        "its optional interfaces have every member to the letter",
        NeverReloads,
        "IFWXPolicyChangeNotification.ReloadConfiguration: expected a method (), found nothing",
    ),
    ("FilterInit succeeds", FailsToStart, "FilterInit failed: FilterInit: OSError: no such file: policy.dat"),
    (
        "its data of a rule is the same as itself",
        NeverTheSame,
        "CompareRulesData with itself returned <HRESULT 0x000000",
    ),
    (
        "its data of a rule is the same as itself",
        AnswersByTruth,
        "CompareRulesData with itself returned True, expected",
    ),
    (
        SAME_DATA,
        CountsItsRules,
        "CompareRulesData with that of the same rule, made earlier returned <HRESULT 0x00000001",
    ),
    (SAME_DATA, PreparesOnce, "the number of rules with data, prepared again: expected 1, found 0"),
    (
        "reads its configuration again",
        CannotReload,
        "while a connection is open: ReloadConfiguration: OSError: no such",
    ),
    ("the mask names events and their sources, or nothing", ForgetsSources, "names events and no source"),
    ("the mask names events and their sources, or nothing", ForgetsEvents, "names sources and no event"),
    (
        "the mask names events and their sources, or nothing",
        AsksForMore,
        "has bits that no event and no source has: 0x1000",
    ),
    ("AttachToSession makes a session filter for each session", OneForAll, "the same session filter for two sessions"),
    ("AttachToSession makes a session filter for each session", MakesNone, "AttachToSession returned None"),
    (
        "handles the events that it asks for",
        FailsEvents,
        "fwxSourceWSP: FirewallEventHandler: KeyError: 'unknown event'",
    ),
    (
        "stops: FilterShutdown, then Detach",
        NeedsItsFilter,
        "FilterShutdown before the session filter's Detach: Detach: Attr",
    ),
    ("stops: Detach, then FilterShutdown", NeedsItsSessions, "FilterShutdown: AssertionError: there was a session"),
    ("lets go of a connection that has ended", KeepsConnections, "a connection that has ended is still held"),
    ("Detach lets go of the session", KeepsSessions, "after Detach the session is still held"),
    ("leaves no network socket open", LeavesAPortOpen, "expected [], found ['127.0.0.1:7777']"),
    ("leaves no thread running", LeavesAThread, "expected [], found ['left behind']"),
)


@pytest.mark.parametrize(("rule", "wrong", "reason"), WRONG)
def test_the_rule_catches(
    rule: str,
    wrong: type,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caught: Callable[[Battery, str, str], None],
) -> None:
    only(monkeypatch, filters, rule)
    caught(check_filter(wrong), rule, reason)


def test_there_is_a_wrong_filter_for_every_rule(shared_rules: tuple[str, ...]) -> None:
    """The rules for data filters have theirs in test_data_filters.py."""
    battery = check_filter(Right)
    battery.require()
    of_data_filters = {check.name for check in check_data_filter(sdk.DataPump)}
    rules = {check.name for check in battery}
    assert of_data_filters < rules
    assert rules - of_data_filters - set(shared_rules) == {rule for rule, _, _ in WRONG}


def test_a_filter_that_asks_for_everything() -> None:
    battery = check_filter(SeesEverything)
    battery.require()
    outcomes = {check.name: check.outcome for check in battery}
    assert outcomes[OTHER_EVENTS] is outcomes[DATAGRAMS] is Outcome.PASSED


def test_a_filter_with_data_of_rules() -> None:
    battery = check_filter(HasRuleData)
    battery.require()
    outcomes = {check.name: check.outcome for check in battery}
    assert outcomes[SAME_DATA] is outcomes["reads its configuration again"] is Outcome.PASSED


class Wants(sdk.FilterOptions):
    limit: int


class WithOptions(Right):
    Options = Wants

    def __init__(self, options: Wants) -> None:
        self.limit = options.limit


def test_options_reach_the_filter_and_are_checked() -> None:
    check_filter(WithOptions, {"limit": 3}).require()
    with pytest.raises(FilterOptionsError, match="limit"):
        check_filter(WithOptions, {"limit": "three"})
    with pytest.raises(FilterOptionsError, match="limit"):
        check_filter(WithOptions)


class StandsAside(Right):
    class session_class(Session):
        def FirewallEventHandler(self, pProxyEvent: Any) -> Any:
            return sdk.E_NOTIMPL


class Refuses(Right):
    class session_class(Session):
        def FirewallEventHandler(self, pProxyEvent: Any) -> Any:
            pProxyEvent.Parameters.Connect.piConnection.Deny(0)


class AsksForNothing(Right):
    mask = 0


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (StandsAside, "it attaches no data filter"),
        (AsksForNothing, "it attaches no data filter"),
        (Refuses, "it refuses a connection to 198.51.100.1:80: HRESULT_FROM_WIN32(WSAECONNREFUSED)"),
    ],
)
def test_a_filter_without_data_filters_skips_their_rules(kind: type, reason: str) -> None:
    battery = check_filter(kind)
    battery.require()
    skipped = {check.name: check.reason for check in battery if check.outcome is Outcome.SKIPPED}
    assert reason in skipped["data passes whole, both ways"]


def test_a_data_filter_of_a_filter_is_tried() -> None:
    class Loses(sdk.DataPump):
        def inspect(self, to_server: bool, buffer: Any) -> Any:
            return None

    class Attaches(Right):
        class session_class(Session):
            def FirewallEventHandler(self, pProxyEvent: Any) -> Any:
                pProxyEvent.Parameters.Connect.piConnection.AttachDataFilter(Loses(), sdk.fwx_dfpc_Internal, None)

    assert "data passes whole, both ways" in {check.name for check in check_filter(Attaches).failures}
