"""Rules that hold at times, from ports, or in the shadow: what is decided, remembered and explained."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.impl.domainset import DomainSet
from fwx.impl.networks import LocalAddresses, Network, Networks
from fwx.impl.policy import DEFAULT_RULE, Policy, Rule, Verdict
from fwx.impl.rulematch import Explanation, Match, Miss
from fwx.impl.schedule import Calendar, Schedule
from fwx.impl.user import AUTHENTICATED, Who, group_key, user_key
from fwx.interfaces.address import SocketAddress
from fwx.interfaces.protocols import HTTP_PROTOCOL_GUID

ANY = ("any",)
EVERYTHING = ("any", "localhost")
WORK = Schedule("work", frozenset(range(5)), ((480, 1080),))
NIGHT = Schedule("night", frozenset(range(7)), ((1320, 360),))
MONDAY = calendar.timegm((2026, 11, 2, 0, 0, 0))
HOUR = 3600
ALICE: Who = frozenset({AUTHENTICATED, user_key("alice"), group_key("staff")})
BOB: Who = frozenset({AUTHENTICATED, user_key("bob")})


class Wall:
    """A clock that only the test moves; local time is UTC."""

    def __init__(self) -> None:
        self.now: float = MONDAY + 9 * HOUR
        self.asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return self.now


def make(*rules: Rule, wall: Wall | None = None) -> Policy:
    local = LocalAddresses(reader=lambda _path: "", clock=lambda: 0.0)
    networks = Networks((Network("inside", ("10.1.0.0/16",)), Network("servers", ("10.2.0.0/24",))), local)
    calendar_ = Calendar((WORK, NIGHT), wall or Wall(), time.gmtime)
    return Policy(networks, (DomainSet("updates", ("*.debian.org",)),), (), rules, calendar_)


def rule(name: str, action: Any = "allow", **parts: Any) -> Rule:
    return Rule(name, action, parts.pop("protocols", ANY), parts.pop("source", ANY), parts.pop("to", ANY), **parts)


def ask(policy: Policy, to: str = "203.0.113.1:80", port: int = 40000, who: Who = frozenset()) -> Verdict:
    return policy.judge("10.1.0.5", port, SocketAddress.parse(to), who=who)


def explain(policy: Policy, to: str = "203.0.113.1:80", **asked: Any) -> Explanation:
    return policy.explain("10.1.0.5", asked.pop("port", 40000), SocketAddress.parse(to), **asked)


# Schedules.


def test_a_rule_decides_while_its_schedule_holds() -> None:
    """B7.7: schedule or always."""
    wall = Wall()
    policy = make(
        rule("by day", schedule="work"),
        rule("at night", "deny", schedule="night"),
        rule("web", to=("servers",)),
        wall=wall,
    )
    assert ask(policy).rule == "by day"
    wall.now = MONDAY + 18 * HOUR - 1
    assert ask(policy).rule == "by day"
    wall.now = MONDAY + 18 * HOUR
    assert (ask(policy).rule, ask(policy).allowed) == (DEFAULT_RULE, False)
    wall.now = MONDAY + 23 * HOUR
    assert (ask(policy).rule, ask(policy, "10.2.0.5:80").rule) == ("at night", "at night")
    wall.now = MONDAY + 9 * HOUR  # the clock is put back
    assert ask(policy).rule == "by day"


def test_every_question_keeps_to_the_time() -> None:
    """Look-ups, waiting for others, and the rule for a protocol are judged by the rules that hold."""
    wall = Wall()
    policy = make(rule("by day", schedule="work", to=EVERYTHING, source=EVERYTHING), wall=wall)
    bound = SocketAddress.parse("10.1.0.1:5000")

    def answers() -> tuple[bool, bool, bool, bool]:
        web = policy.rule_for("10.1.0.5", HTTP_PROTOCOL_GUID)
        look_up = policy.judge_look_up("10.1.0.5", "www.example.org").allowed
        return look_up, policy.judge_waiting(bound).allowed, web is not None, policy.is_in_force("by day")

    assert answers() == (True, True, True, True)
    wall.now = MONDAY + 20 * HOUR
    assert answers() == (False, False, False, False)
    wall.now = MONDAY + 33 * HOUR
    assert answers() == (True, True, True, True)


def test_verdicts_are_remembered_within_a_period() -> None:
    wall = Wall()
    policy = make(rule("by day", schedule="work"), wall=wall)
    first = ask(policy)
    wall.now += 8 * HOUR
    assert ask(policy) is first
    wall.now += 2 * HOUR
    assert ask(policy) is not first


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="rule 'r': schedule names 'wrok', which is not defined"):
        make(rule("r", schedule="wrok"))


# Source ports.


def test_source_ports() -> None:
    """B7.7: a source-port range."""
    policy = make(rule("low", "deny", source_ports=((1, 1023), (5000, 5000))), rule("rest"))
    answers = {port: ask(policy, port=port).rule for port in (0, 1, 1023, 1024, 4999, 5000, 5001, 65535)}
    assert [port for port, name in answers.items() if name == "low"] == [1, 1023, 5000]
    assert ask(policy, port=7) is ask(policy, port=8), "ports that no rule tells apart share a verdict"


def test_a_deny_from_some_ports_forbids_no_look_up_and_no_waiting() -> None:
    policy = make(
        rule("low", "deny", source_ports=((1, 1023),), source=EVERYTHING, to=EVERYTHING),
        rule("rest", source=EVERYTHING, to=EVERYTHING),
    )
    assert policy.judge_look_up("10.1.0.5", "www.example.org").allowed
    assert policy.judge_waiting(SocketAddress.parse("10.1.0.1:5000")).allowed


# Shadow rules.


def test_a_shadow_rule_decides_nothing_and_is_told() -> None:
    policy = make(
        rule("other", "deny", shadow=True, to=("servers",)),
        rule("try", "deny", shadow=True),
        rule("web", log=False),
        rule("late", "deny", shadow=True),
    )
    verdict = ask(policy)
    assert (verdict.allowed, verdict.rule, verdict.log) == (True, "web", True)
    assert [each.name for each in verdict.shadows] == ["try"]
    assert verdict.remark == "shadow rule 'try' would deny it"


def test_a_shadow_rule_that_does_not_log_does_not_make_others_log() -> None:
    verdict = ask(make(rule("try", "deny", shadow=True, log=False), rule("web", log=False)))
    assert not verdict.log
    assert verdict.shadows


def test_a_shadow_rule_allows_nothing() -> None:
    policy = make(rule("try", shadow=True, source=EVERYTHING, to=EVERYTHING))
    assert (ask(policy).allowed, ask(policy).remark) == (False, "shadow rule 'try' would allow it")
    assert not policy.judge_look_up("10.1.0.5", "www.example.org").allowed
    assert not policy.judge_waiting(SocketAddress.parse("10.1.0.1:5000")).allowed
    assert policy.rule_for("10.1.0.5", HTTP_PROTOCOL_GUID) is None
    assert not policy.is_in_force("try")


def test_a_shadow_rule_about_users_asks_nobody_to_log_in() -> None:
    verdict = ask(make(rule("try", shadow=True, users=("alice",)), rule("no", "deny")))
    assert (verdict.needs_user, verdict.shadows) == (False, ())


# Explanations.


def test_a_disabled_rule_matches_nothing() -> None:
    """It neither decides, nor forbids a look-up, nor is told as a shadow, whatever its schedule (B7.7)."""
    off = rule("off", "deny", enabled=False)
    policy = make(off, rule("ghost", "deny", shadow=True, enabled=False, schedule="work"), rule("all"))
    verdict = ask(policy)
    assert (verdict.rule, verdict.shadows) == ("all", ())
    assert policy.judge_look_up("10.1.0.5", "example.org").rule == "all"
    assert not policy.is_in_force("off")
    assert [(step.rule.name, step.outcome) for step in explain(policy).steps] == [
        ("off", Miss.DISABLED),
        ("ghost", Miss.DISABLED),
        ("all", Match.BY_ADDRESS),
    ]
    assert ask(make(rule("all", enabled=False))).rule == DEFAULT_RULE


def test_each_rule_is_told_with_the_element_that_does_not_fit() -> None:
    """B7.9: the protocol is compared first, then the source; of several that do not fit the first one is told."""
    servers, low = ("servers",), ((1, 1023),)
    policy = make(
        rule("mail", protocols=("SMTP",), source=servers, source_ports=low, to=servers, users=("alice",)),
        rule("from servers", source=servers, source_ports=low, to=servers, users=("alice",)),
        rule("low ports", source_ports=low, to=servers, users=("alice",)),
        rule("at night", schedule="night", protocols=("SMTP",), source=servers),
        rule("to servers", to=servers, users=("alice",)),
        rule("alice", users=("alice",)),
        rule("try", "deny", shadow=True),
        rule("web", protocols=("HTTP",)),
        rule("after", "deny"),
    )
    found = explain(policy)
    assert [(step.rule.name, step.outcome) for step in found.steps] == [
        ("mail", Miss.PROTOCOL),
        ("from servers", Miss.SOURCE),
        ("low ports", Miss.SOURCE_PORT),
        ("at night", Miss.SCHEDULE),
        ("to servers", Miss.DESTINATION),
        ("alice", Miss.USER),
        ("try", Match.BY_ADDRESS),
        ("web", Match.BY_ADDRESS),
    ]
    assert found.verdict == ask(policy)


def test_another_time_can_be_asked_about() -> None:
    wall = Wall()
    policy = make(rule("by day", schedule="work"), rule("late", "deny"), wall=wall)
    assert explain(policy, moment=MONDAY + 20 * HOUR).verdict.rule == "late"
    assert explain(policy).verdict.rule == "by day"
    assert ask(policy).rule == "by day", "what was asked changes nothing"


def some(*names: str) -> Any:
    return st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True).map(tuple)


RULES = st.lists(
    st.builds(
        Rule,
        name=st.just(""),
        action=st.sampled_from(("allow", "deny")),
        protocols=some("any", "HTTP", "SMTP", "DNS"),
        source=some("any", "inside", "servers", "external", "localhost"),
        destination=some("any", "inside", "servers", "external", "localhost", "updates"),
        users=some("any", "alice", "bob", "authenticated"),
        schedule=st.sampled_from(("", "", "work", "night")),
        source_ports=st.sampled_from(((), (), ((1, 1023),), ((500, 500), (2000, 65535)))),
        shadow=st.booleans(),
        enabled=st.sampled_from((True, True, True, False)),
    ),
    max_size=8,
).map(lambda rules: tuple(_renamed(rules)))


def _renamed(rules: list[Rule]) -> Iterator[Rule]:
    for number, each in enumerate(rules):
        fields = {name: getattr(each, name) for name in Rule.__slots__}
        yield Rule(**{**fields, "name": f"r{number}"})


CONNECTIONS = st.tuples(
    st.sampled_from(("10.1.0.5", "10.2.0.5", "203.0.113.1", "127.0.0.1")),
    st.sampled_from((0, 1, 500, 1023, 1024, 2000, 65535)),
    st.sampled_from(("10.1.0.9", "10.2.0.9", "203.0.113.9", "127.0.0.1", "ftp.debian.org", "www.example.org")),
    st.sampled_from((25, 53, 80, 9999)),
    st.sampled_from(("TCP", "UDP")),
    st.sampled_from((None, "10.2.0.9", "203.0.113.9", "127.0.0.1")),
    st.sampled_from((frozenset(), ALICE, BOB)),
)
HOURS = st.integers(0, 7 * 24 - 1)


def fits(each: Rule, asked: Any, hour: int) -> bool | None:
    """Say by the words of the documentation whether a rule fits; ``None`` where it depends on an unknown address."""
    source, port, host, to_port, transport, resolved, who = asked
    day, clock = divmod(hour, 24)
    held = {"": True, "work": day < 5 and 8 <= clock < 18, "night": clock >= 22 or clock < 6}
    kinds = {25: "SMTP", 53: "DNS", 80: "HTTP"}
    known = transport == "TCP" or to_port == 53
    networks = {
        "10.1": {"inside", "any"},
        "10.2": {"servers", "any"},
        "203.0": {"external", "any"},
        "127.0": {"localhost"},
    }

    def of(address: str) -> set[str]:
        return next(names for start, names in networks.items() if address.startswith(start))

    is_name = host[0].isalpha()
    address = resolved if is_name else host
    users = set(each.users)
    is_user = "any" in users or ("authenticated" in users and bool(who)) or any(user_key(name) in who for name in users)
    if not (
        each.enabled
        and held[each.schedule]
        and is_user
        and (set(each.protocols) & ({"any"} | ({kinds.get(to_port, "any")} if known else set())))
        and set(each.source) & of(source)
        and (not each.source_ports or any(first <= port <= last for first, last in each.source_ports))
    ):
        return False
    wanted = set(each.destination)
    if wanted >= {"any", "localhost"} or (address and wanted & of(address)):
        return True
    if is_name and "updates" in wanted and host.endswith(".debian.org"):
        return True
    return None if address is None and wanted - {"updates"} else False


@given(RULES, st.lists(st.tuples(CONNECTIONS, HOURS), min_size=1, max_size=6))
def test_what_is_explained_is_what_is_decided(rules: tuple[Rule, ...], asked: list[tuple[Any, int]]) -> None:
    """Over random policies, connections and times: the explanation, the decision, and what the rules say in words."""
    wall = Wall()
    policy = make(*rules, wall=wall)
    for connection, hour in asked:
        source, port, host, to_port, transport, resolved, who = connection
        target = SocketAddress(host, to_port)
        moment = MONDAY + hour * HOUR + 1800
        wall.now = MONDAY + 9 * HOUR
        foretold = policy.explain(source, port, target, transport, resolved, who, moment=moment)
        wall.now = moment
        verdict = policy.judge(source, port, target, transport, resolved, who)
        explained = policy.explain(source, port, target, transport, resolved, who)
        assert explained == foretold
        assert explained.verdict == verdict
        _agrees(explained, rules, [fits(each, connection, hour) for each in rules])


def _agrees(explained: Explanation, rules: tuple[Rule, ...], fitting: list[bool | None]) -> None:
    """Compare with what each rule says by itself: the first that fits, or may, decides, and no step says otherwise."""
    deciding = [
        n for n, (each, fit) in enumerate(zip(rules, fitting, strict=True)) if fit is not False and not each.shadow
    ]
    steps, verdict = explained.steps, explained.verdict
    assert [step.rule for step in steps] == list(rules[: deciding[0] + 1] if deciding else rules)
    assert verdict.rule == (rules[deciding[0]].name if deciding else DEFAULT_RULE)
    for step, fit in zip(steps, fitting, strict=False):
        assert isinstance(step.outcome, Miss) == (fit is False), step
        assert (step.outcome is Match.UNDECIDED) == (fit is None), step
    assert verdict.needs_resolution == bool(deciding and fitting[deciding[0]] is None)
    if not verdict.needs_resolution and verdict.allowed:
        assert rules[deciding[0]].action == "allow"
    told = [step.rule for step in steps if step.rule.shadow and step.outcome in (Match.BY_ADDRESS, Match.BY_NAME)]
    assert list(verdict.shadows) == told
