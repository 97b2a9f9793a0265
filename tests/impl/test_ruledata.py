"""What filters make of the rules (B7.12 to B7.15): when they are asked, what events carry, what a change does."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from zope.interface import alsoProvides, implementer

from fwx.impl.blocking import IBlocking
from fwx.impl.filterhost import FilterHost
from fwx.impl.policyrule import IPolicyRule
from fwx.impl.raw import Ref, raw
from fwx.impl.retirement import exchange
from fwx.impl.ruledata import RuleData, RuleDataError
from fwx.impl.unknown import TearOff, Unknown
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    FWX_PROTOCOL_TCP,
    GUID_NULL,
    FwxFilterHookEvents,
    IFPCPolicyRule,
    IFWXFilter,
    IFWXPerRuleData,
    IFWXPerRuleDataplugin,
    IFWXPolicyChangeNotification,
    IFWXSessionFilter,
    SocketAddress,
    fwx_AcceptedConnection,
    fwx_Bind_Tcp,
    fwx_Bind_Udp,
    fwx_Connect_Tcp,
    fwx_Listen,
    fwx_Udp_Destination,
    fwxAssociatedProtocolsAllConnections,
)
from fwx.interfaces.hresult import (
    E_FAIL,
    E_NOINTERFACE,
    FWX_E_FILTER_NOT_REGISTERED,
    FWX_E_POLICY_RULES_DENIED,
    S_FALSE,
    S_OK,
    COMError,
)
from fwx.testing import MemoryFirewall, Rule, verify
from tests.impl.binder import Binder

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

BOTH = ("any", "localhost")
WEB = Rule("web", "allow", ("HTTP",), BOTH, BOTH)
OFF = Rule("off", "allow", ("any",), BOTH, BOTH, enabled=False)
BAN = Rule("ban", "deny", ("Telnet",), BOTH, BOTH, log=False)
REST = Rule("rest", "allow", ("any",), BOTH, BOTH, users=("any",), source_ports=((1, 65535),))
POLICY = (WEB, OFF, BAN, REST)
EVENTS = fwx_Connect_Tcp | fwx_Udp_Destination | fwx_Bind_Tcp | fwx_Bind_Udp | fwx_Listen | fwx_AcceptedConnection


@implementer(IFWXPerRuleDataplugin)
class Data(Unknown):
    """One rule's data; *answer* is what the comparison returns, or raises."""

    def __init__(self, owner: Owner, rule: str) -> None:
        self.owner, self.rule, self.answer = owner, rule, owner.answer

    def CompareRulesData(self, pProcessedRulesData: Any) -> Any:
        self.owner.calls.append(("compare", self.rule, self.owner.made.index(pProcessedRulesData)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@implementer(IFWXFilter)
class Plain(Unknown):
    """Notes what it is called for, and what the events carry."""

    def __init__(self, name: str = "plain") -> None:
        self.name = name
        self.calls: list[tuple[Any, ...]] = []
        self.seen: list[Any] = []
        self.events: list[Any] = []
        self.threads: set[int] = set()

    def FilterInit(self, pIFWXFirewall: Any) -> FwxFilterHookEvents:
        self.calls.append(("init",))
        return FwxFilterHookEvents(EVENTS | FWX_ALL_SOURCES | fwxAssociatedProtocolsAllConnections)

    def AttachToSession(self, piSession: Any, pFilterHookEvents: Any) -> Any:
        return Session(self)

    def FilterShutdown(self) -> None:
        self.calls.append(("shutdown",))


@implementer(IFWXSessionFilter)
class Session(Unknown):
    def __init__(self, owner: Plain) -> None:
        self.owner = owner

    def FirewallEventHandler(self, pProxyEvent: Any) -> None:
        if pProxyEvent.EventType & EVENTS:
            self.owner.events.append(pProxyEvent)
            self.owner.seen.append(getattr(pProxyEvent.Parameters.member, "PerRuleProcessedData", "no such member"))

    def Detach(self) -> None:
        """Nothing to let go of."""


@implementer(IFWXPerRuleData, IFWXPolicyChangeNotification)
class Owner(Plain):
    """Has data of rules; *fails* at the rules of these names, and has *nothing* of those."""

    def __init__(self, name: str = "owner", *, fails: tuple[str, ...] = (), nothing: tuple[str, ...] = ()) -> None:
        super().__init__(name)
        self.fails, self.nothing = fails, nothing
        self.made: list[Data] = []
        self.rules: list[Any] = []
        self.answer: Any = S_FALSE
        self.reloads: Any = None

    def PrepareRulesData(self, pPolicyRule: Any) -> Any:
        self.threads.add(threading.get_ident())
        self.calls.append(("prepare", pPolicyRule.Name))
        self.rules.append(pPolicyRule)
        if pPolicyRule.Name in self.fails:
            raise COMError(E_FAIL, "no such table")
        if pPolicyRule.Name in self.nothing:
            return None
        self.made.append(Data(self, pPolicyRule.Name))
        return self.made[-1]

    def ReloadConfiguration(self) -> Any:
        self.threads.add(threading.get_ident())
        self.calls.append(("reload",))
        return self.reloads() if callable(self.reloads) else self.reloads


@pytest.fixture
def memory() -> Iterator[MemoryFirewall]:
    firewall = MemoryFirewall()
    firewall.apply_rules(*POLICY)
    yield firewall
    firewall.close()


def start(memory: MemoryFirewall, made: Plain, *, blocking: bool = False, opens: bool = False) -> FilterHost:
    if blocking:
        alsoProvides(made, IBlocking)
    return memory.start(lambda: made, made.name, opens_on_error=opens)


def prepared(*names: str) -> list[tuple[str, str]]:
    return [("prepare", name) for name in names]


# ---- at the start ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocking", [False, True])
def test_each_rule_is_prepared_once_when_the_service_starts(memory: MemoryFirewall, blocking: bool) -> None:
    """B7.12: after FilterInit, in the order of the rules, whatever they say; by a blocking filter on its thread."""
    owner = Owner()
    assert start(memory, owner, blocking=blocking).state == "ready"
    assert owner.calls == [("init",), *prepared("web", "off", "ban", "rest")]
    assert (threading.get_ident() in owner.threads) != blocking


def test_the_rule_as_a_filter_sees_it(memory: MemoryFirewall) -> None:
    """B7.7, B7.8: read-only, by the SDK's names; what it matches by ours."""
    owner = Owner()
    start(memory, owner)
    web, off, ban, rest = owner.rules
    verify(web, IFPCPolicyRule)
    assert [
        (each.Name, each.Order, each.Enabled, each.Action, each.EnableLogging, each.Type) for each in owner.rules
    ] == [
        ("web", 1, True, 0, True, 0),
        ("off", 2, False, 0, True, 0),
        ("ban", 3, True, 1, False, 0),
        ("rest", 4, True, 0, True, 0),
    ]
    assert web.QueryInterface(IFPCPolicyRule) is web
    ours = IPolicyRule(rest)
    assert {name: getattr(ours, name) for name in IPolicyRule.names()} == {
        "protocols": ("any",),
        "source": BOTH,
        "destination": BOTH,
        "users": ("any",),
        "groups": (),
        "schedule": "",
        "source_ports": ((1, 65535),),
        "filters": (),
        "upstream": "",
        "shadow": False,
        "content_types": (),
        "system": False,
    }
    for name in ("Name", "Enabled", "protocols"):
        with pytest.raises(AttributeError):
            setattr(web, name, "other")
    assert off.Release() == 0
    assert off.AddRef() == 1
    assert ban.Name == "ban"


def test_the_embedded_rule_is_one() -> None:
    """B7.12: of a service without rules there is one."""
    firewall, owner = MemoryFirewall(), Owner()
    start(firewall, owner)
    assert owner.calls == [("init",), *prepared("everything")]
    firewall.close()


def test_the_interface_may_be_on_a_tear_off(memory: MemoryFirewall) -> None:
    """B7.12: QueryInterface says who makes the data."""

    class Lender(Plain):
        def QueryInterface(self, riid: Any) -> Any:
            return face if riid is IFWXPerRuleData else super().QueryInterface(riid)

    @implementer(IFWXPerRuleData)
    class Face(TearOff):
        def PrepareRulesData(self, pPolicyRule: Any) -> Any:
            return keeper.PrepareRulesData(pPolicyRule)

    keeper, lender = Owner(), Lender()
    face = Face(lender)
    assert start(memory, lender).rule_data == {each.rule: each for each in keeper.made}


@pytest.mark.parametrize(("opens", "blocking"), [(False, False), (True, False), (False, True)])
def test_a_filter_that_cannot_prepare_has_failed(memory: MemoryFirewall, opens: bool, blocking: bool) -> None:
    """B7.12: as if FilterInit had failed (B1.12): what it should see is denied, unless it opens; it is shut down."""
    owner = Owner(fails=("ban",))
    host = start(memory, owner, opens=opens, blocking=blocking)
    assert (host.state, host.rule_data) == ("failed", None)
    assert host.reason.endswith("failed in PrepareRulesData: COMError: E_FAIL (0x80004005): no such table (rule 'ban')")
    assert owner.calls == [("init",), *prepared("web", "off", "ban"), ("shutdown",)]
    assert memory.open().refused == (None if opens else FWX_E_FILTER_NOT_REGISTERED)
    assert owner.seen == []
    memory.stop()
    assert owner.calls.count(("shutdown",)) == 1


def test_what_is_no_data_is_a_fault(memory: MemoryFirewall) -> None:
    owner = Owner()
    owner.PrepareRulesData = lambda _rule: object()  # type: ignore[method-assign]
    assert "not an IFWXPerRuleDataplugin (rule 'web')" in start(memory, owner).reason


@pytest.mark.parametrize("fails", [True, False])
def test_a_query_interface_that_fails_is_a_fault(memory: MemoryFirewall, fails: bool) -> None:
    """Only E_NOINTERFACE says that there is none."""

    class Odd(Plain):
        def QueryInterface(self, riid: Any) -> Any:
            if riid is IFWXPerRuleData:
                raise COMError(E_FAIL if fails else E_NOINTERFACE)
            return super().QueryInterface(riid)

    assert start(memory, Odd()).state == ("failed" if fails else "ready")


# ---- the events ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocking", [False, True])
def test_an_event_carries_the_filters_own_object_of_the_rule(memory: MemoryFirewall, blocking: bool) -> None:
    """B2.9, B7.13: each filter its own; nothing where it has none of that rule, or has no data of rules."""
    one, other, plain, partly = Owner("one"), Owner("other"), Plain(), Owner("partly", nothing=("rest",))
    for each in (one, plain, other, partly):
        start(memory, each, blocking=blocking and each is not other)
    memory.open(SocketAddress("203.0.113.1", 80))
    memory.open(SocketAddress("203.0.113.1", 81))
    assert one.seen == [one.made[0], one.made[3]]
    assert other.seen == [other.made[0], other.made[3]]
    assert plain.seen == [None, None]
    assert partly.seen == [partly.made[0], None]


def test_filters_without_data_share_one_event(memory: MemoryFirewall) -> None:
    """B2.9: what one filter sees of its data no other sees; who has none pays for no event of its own."""
    one, owner, two = Plain("one"), Owner(), Plain("two")
    for each in (one, owner, two):
        start(memory, each)
    memory.open()
    assert one.events[0] is two.events[0] is not owner.events[0]
    first, own = one.events[0].Parameters.Connect, owner.events[0].Parameters.Connect
    assert (own.piConnection, own.Address) == (first.piConnection, first.Address)


def test_a_destination_carries_the_data_of_its_own_rule(memory: MemoryFirewall) -> None:
    """B7.13: fwx_Udp_Destination, of the rule that matched it; the bind of a UDP socket fits no rule yet."""
    owner = Owner()
    start(memory, owner)
    opened = memory.open_datagrams(SocketAddress("203.0.113.1", 9))
    opened.client.send(b"x")
    memory.loop.run()
    assert owner.seen == [None, owner.made[3]]


def test_what_was_announced_carries_the_data_of_the_rule_it_stands_under(memory: MemoryFirewall) -> None:
    """B7.13: no rule has matched a secondary connection; the one of its primary connection lets it through."""
    memory.apply_rules(Rule("other", "deny", ("SMTP",), BOTH, BOTH), WEB)
    owner = Owner()
    start(memory, owner)
    primary = memory.open(SocketAddress("203.0.113.1", 80)).connection
    target = SocketAddress("203.0.113.1", 2000)
    assert memory.open(target).refused == FWX_E_POLICY_RULES_DENIED
    settings = (None, FWX_PROTOCOL_TCP, 0, GUID_NULL, None, None, primary)
    primary.GetSession().AllowFutureConnect(target, None, None, *settings)
    assert memory.open(target).refused is None
    assert owner.seen == [owner.made[1]] * 2


def test_a_bind_and_who_arrives(rig: Rig) -> None:
    """B7.13: fwx_Bind_Tcp and fwx_AcceptedConnection; the details of fwx_Listen have no such member."""
    owner = Owner()
    host = FilterHost("owner", uuid4(), lambda: owner, rig.faults, everywhere=True, opens_on_error=False)
    host.start(rig.firewall)
    RuleData(rig.engine).begin(host)
    rig.engine.filters = (host,)
    binder = Binder(rig)
    binder.wait()
    binder.come()
    rig.until(lambda: binder.peers)
    (data,) = owner.made
    assert owner.seen == [data, "no such member", data]


# ---- a change --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocking", [False, True])
def test_what_has_not_changed_stays(memory: MemoryFirewall, blocking: bool) -> None:
    """B7.12, B7.14: every rule is prepared anew and compared with what there was; the same keeps the old object."""
    owner = Owner()
    host = start(memory, owner, blocking=blocking)
    old, owner.calls[:] = tuple(owner.made), []
    owner.answer = S_OK
    memory.apply_rules(WEB, REST)
    assert owner.calls == [
        ("prepare", "web"),
        ("compare", "web", 0),
        ("prepare", "rest"),
        ("compare", "rest", 3),
        ("reload",),
    ]
    assert host.rule_data == {"web": old[0], "rest": old[3]}
    owner.answer = None
    memory.apply_rules(WEB)
    assert host.rule_data == {"web": old[0]}
    owner.answer = S_FALSE
    memory.apply_rules(WEB, Rule("new", "deny", ("any",), BOTH, BOTH))
    assert host.rule_data == {"web": owner.made[-2], "new": owner.made[-1]}
    memory.open(SocketAddress("203.0.113.1", 80))
    assert owner.seen == [owner.made[-2]]


@pytest.mark.parametrize("answer", [COMError(E_FAIL), E_FAIL, True, "same", 2])
def test_a_comparison_that_fails_counts_as_a_difference(memory: MemoryFirewall, answer: Any) -> None:
    """B7.14: it is a fault of the filter, and the change goes on."""
    owner = Owner()
    host = start(memory, owner)
    owner.answer = answer
    assert memory.apply_rules(WEB) == []
    assert host.rule_data == {"web": owner.made[-1]}
    assert [each.partition(":")[0] for each in memory.faults] == ["CompareRulesData"]


def test_one_object_for_all_times_is_the_same(memory: MemoryFirewall) -> None:
    owner = Owner()
    one = Data(owner, "one")
    owner.PrepareRulesData = lambda _rule: one  # type: ignore[method-assign]
    host = start(memory, owner)
    memory.apply_rules(WEB)
    assert host.rule_data == {"web": one}
    assert owner.calls == [("init",), ("reload",)]


def test_a_filter_that_cannot_prepare_forbids_the_change(memory: MemoryFirewall) -> None:
    """Nothing is kept, of no filter; every filter is asked, so that who applies it hears of all."""
    right, wrong, worse = Owner("right"), Owner("wrong"), Owner("worse")
    hosts = [start(memory, each) for each in (right, wrong, worse)]
    before, policy = [dict(host.rule_data or {}) for host in hosts], memory.engine.policy
    wrong.fails, worse.fails = ("web",), ("rest",)
    with pytest.raises(RuleDataError) as caught:
        memory.apply_rules(WEB, REST)
    told = "filter {!r} failed in PrepareRulesData: COMError: E_FAIL (0x80004005): no such table (rule {!r})"
    assert caught.value.failures == {"wrong": told.format("wrong", "web"), "worse": told.format("worse", "rest")}
    assert [host.rule_data for host in hosts] == before
    assert memory.engine.policy is policy
    assert [host.state for host in hosts] == ["ready"] * 3
    assert ("reload",) not in right.calls


def test_what_is_prepared_is_in_force_when_it_is_told_to_be(memory: MemoryFirewall) -> None:
    owner = Owner()
    host = start(memory, owner)
    before = host.rule_data
    course = RuleData(memory.engine).prepare(memory.engine.policy, (host,))
    assert host.rule_data is before
    made = course.result()
    assert made.policy is memory.engine.policy
    made.enforce()
    assert host.rule_data == {each.rule: each for each in owner.made[4:]}


def test_filters_are_told_one_after_the_other_and_who_applies_hears_what_failed(memory: MemoryFirewall) -> None:
    """B7.15: after the change is in force; a failure is an alert, is told, and takes nothing back."""
    owners = [Owner(name) for name in ("one", "two", "three")]
    order: list[tuple[str, Any]] = []
    for each in owners:
        start(memory, each, blocking=each.name == "two")
        each.reloads = lambda each=each: (
            order.append((each.name, memory.engine.policy.rules)) or (E_FAIL if each.name != "three" else S_OK)
        )
    start(memory, Plain())
    failed = Owner("failed", fails=("web",))
    start(memory, failed)
    failures = memory.apply_rules(WEB)
    assert order == [(name, (WEB,)) for name in ("one", "two", "three")]
    told = "failed in ReloadConfiguration: COMError: E_FAIL (0x80004005): returned by ReloadConfiguration"
    assert failures == [f"filter 'one' {told}", f"filter 'two' {told}"]
    assert ("reload",) not in failed.calls
    assert threading.get_ident() not in owners[1].threads


def test_telling_a_filter_and_shutting_it_down_do_not_overlap(memory: MemoryFirewall) -> None:
    """B7.15: FilterShutdown of a blocking filter comes when ReloadConfiguration has returned; then it is not called."""
    owner, go_on, reached = Owner(), threading.Event(), threading.Event()

    def reload() -> None:
        reached.set()
        assert go_on.wait(5)
        owner.calls.append(("reloaded",))

    host = start(memory, owner, blocking=True)
    owner.reloads = reload
    owner.calls.clear()
    with memory.loop.asyncio.running():
        told = RuleData(memory.engine).notify()
        assert reached.wait(5)
        host.stop()
    assert (told.has_ended, owner.calls) == (False, [("reload",)])
    go_on.set()
    memory.loop.run()
    assert (told.result(), owner.calls) == ([], [("reload",), ("reloaded",), ("shutdown",)])
    with memory.loop.asyncio.running():
        assert RuleData(memory.engine).notify().result() == []
    assert owner.calls[-1] == ("shutdown",)


def test_a_service_that_stops_does_not_stumble_over_data_that_is_being_made(memory: MemoryFirewall) -> None:
    """The filter does not come back; what is settled when the service stops must not raise in the middle of that."""
    go_on, reached = threading.Event(), threading.Event()

    class Slow(Owner):
        def PrepareRulesData(self, pPolicyRule: Any) -> Any:
            if waits:
                reached.set()
                assert go_on.wait(5)
            return super().PrepareRulesData(pPolicyRule)

    waits: list[bool] = []
    owner = Slow()
    host = start(memory, owner, blocking=True)
    before = host.rule_data
    waits.append(True)
    with memory.loop.asyncio.running():
        course = RuleData(memory.engine).prepare(memory.engine.policy, (host,))
        assert reached.wait(5)
        memory.engine.strands.abandon()
    assert course.has_ended
    with pytest.raises(RuleDataError, match="the service stops, and does not wait for the filter"):
        course.result()
    assert host.rule_data is before
    go_on.set()
    memory.loop.run()


def test_the_old_code_of_a_filter_is_asked_too(memory: MemoryFirewall) -> None:
    """It has connections still, whose events carry its own objects; what it fails in forbids no change."""
    old, new = Owner("old"), Owner("new")
    host = start(memory, old)
    server = SocketAddress("203.0.113.1", 9)
    opened = memory.open_datagrams(server)
    opened.client.send(b"x")
    memory.loop.run()
    successor = FilterHost("new", host.clsid, lambda: new, memory.engine.faults, everywhere=True, opens_on_error=False)
    with memory.loop.asyncio.running():
        successor.start(memory.firewall)
        RuleData(memory.engine).begin(successor)
        exchange(memory.engine, successor)
    memory.hosts.append(successor)
    assert memory.engine.retired == (host,)
    assert memory.apply_rules(WEB) == []
    assert host.rule_data == {"web": old.made[-1]}
    assert successor.rule_data == {"web": new.made[-1]}
    old.fails = ("rest",)
    memory.apply_rules(REST)
    assert host.rule_data == {"web": old.made[-1]}
    assert successor.rule_data == {"rest": new.made[-1]}
    assert old.calls[-1] == new.calls[-1] == ("reload",)


def test_nothing_of_it_outlives_the_filter(memory: MemoryFirewall) -> None:
    """B1.40: the service lets go of the data with the filter, also while somebody still has its host."""
    owner = Owner()
    host = start(memory, owner)
    memory.open()
    kept = [weakref.ref(each) for each in owner.made]
    memory.stop()
    owner.made.clear()
    owner.seen.clear()
    owner.events.clear()
    gc.collect()
    assert [each() for each in kept] == [None] * 4
    assert host.state == "stopped"


def test_by_the_com_face(memory: MemoryFirewall) -> None:
    """B7.12, B7.14: S_OK and an object; S_OK or S_FALSE."""
    owner = Owner()
    start(memory, owner)
    cell = Ref[Any]()
    assert raw(owner, IFWXPerRuleData).PrepareRulesData(owner.rules[0], cell) == S_OK
    assert cell.value is owner.made[-1]
    assert raw(owner.made[0], IFWXPerRuleDataplugin).CompareRulesData(owner.made[1]) == S_FALSE
