"""The policy: ordered rules, the first that matches decides, and what no rule allows is denied.

A literal address is judged once. A name is judged first by itself, and then together with each address that it resolved
to::

    verdict = policy.judge("10.1.0.5", 40000, SocketAddress("www.example.org", 443))
    if verdict.allowed or verdict.needs_resolution:
        for address in resolve("www.example.org"):
            verdict = policy.judge("10.1.0.5", 40000, SocketAddress("www.example.org", 443), resolved=address)
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal, Self
from uuid import UUID

from fwx.impl.domainset import DomainSet, is_address, normalise_name
from fwx.impl.networks import ANY, LOCALHOST, Address, LocalAddresses, Network, Networks, normalise
from fwx.impl.protocol import Protocol, Protocols, Traffic
from fwx.impl.rulematch import (
    CompiledRule,
    Explanation,
    Match,
    Miss,
    Question,
    RuleIndex,
    Step,
    Tried,
    compile_rules,
    describe,
    domain_sets_by_name,
)
from fwx.impl.rulequotas import RuleLimits
from fwx.impl.schedule import Calendar
from fwx.impl.user import AUTHENTICATED, NOBODY, Who, group_key, user_key
from fwx.interfaces.address import SocketAddress
from fwx.interfaces.hresult import FWX_E_POLICY_RULES_DENIED, HRESULT, S_OK

DEFAULT_RULE: Final = "Default rule"
EMBEDDED_RULE: Final = "Embedded default"

_MEMO_ENTRIES: Final = 16384


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what it matches, and what then happens.

    *protocols* are names of protocols or ``any``; *source* networks; *destination* networks and domain sets. ``any``,
    ``external`` and ``localhost`` are networks. *filters* are the names of the filters that see the connection,
    *upstream* is the name of the route that it takes, empty for straight out. *users* are names, or ``any``, or
    ``authenticated``; with *groups*, ``any`` is not everybody but the groups. It holds while *schedule* does, empty for
    always. *source_ports* are first and last ports of the client, none for any. A *shadow* rule decides nothing: what
    it would have decided is told with the verdict. *limits* are counted by who opens what the rule allows. One that is
    not *enabled* matches nothing (B7.7).
    """

    name: str
    action: Literal["allow", "deny"]
    protocols: tuple[str, ...]
    source: tuple[str, ...]
    destination: tuple[str, ...]
    filters: tuple[str, ...] = ()
    log: bool = True
    upstream: str = ""
    users: tuple[str, ...] = (ANY,)
    groups: tuple[str, ...] = ()
    schedule: str = ""
    source_ports: tuple[tuple[int, int], ...] = ()
    shadow: bool = False
    limits: RuleLimits | None = None
    enabled: bool = True

    @property
    def who(self) -> Who | None:
        """Whom the rule is about, in the names of :data:`Who`; ``None`` where it is everybody."""
        if ANY in self.users and not self.groups:
            return None
        users = (name if name == AUTHENTICATED else user_key(name) for name in self.users if name != ANY)
        return frozenset((*users, *map(group_key, self.groups)))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says to one connection, and why.

    ``allowed`` for a name without an address is provisional: each address is judged too. ``needs_resolution`` says that
    the name alone does not decide; the verdict then denies. ``hresult`` is ``S_OK`` or ``FWX_E_POLICY_RULES_DENIED``.
    ``destination_network`` is empty while no address is known. ``reason`` is for people. ``upstream`` names the
    route of what is allowed, empty for straight out. ``needs_user`` says that a client without a user was denied what a
    rule allows some users. ``shadows`` are the shadow rules that would have decided before the rule that does.
    ``limits`` are the rule's.
    """

    allowed: bool
    rule: str
    filters: tuple[str, ...]
    log: bool
    hresult: HRESULT
    protocol: str
    protocol_guid: UUID
    source_network: str
    destination_network: str
    reason: str
    needs_resolution: bool = False
    upstream: str = ""
    needs_user: bool = False
    shadows: tuple[Rule, ...] = ()
    limits: RuleLimits | None = None

    @property
    def remark(self) -> str:
        """What the log is to say of the shadow rules; empty without one."""
        return "; ".join(f"shadow rule {rule.name!r} would {rule.action} it" for rule in self.shadows)


class Policy:
    """Ordered rules over networks, domain sets and protocols. Immutable; a new configuration makes a new policy.

    To be used by one thread.
    """

    def __init__(
        self,
        networks: Networks,
        domain_sets: Iterable[DomainSet],
        protocols: Iterable[Protocol],
        rules: Iterable[Rule],
        calendar: Calendar | None = None,
    ) -> None:
        """Judge by *rules*. The well-known protocols are known already; *protocols* come before and may replace them.

        *calendar* has the schedules that rules name, and knows the time.

        :raises ValueError: a name is taken or unknown, or a rule lacks a part; names the rule and the name.
        """
        self._networks = networks
        self._domain_sets = domain_sets_by_name(domain_sets, networks.names)
        self._calendar = calendar or Calendar()
        self._protocols = Protocols(protocols)
        self.rules: tuple[Rule, ...] = tuple(rules)
        self._compiled = compile_rules(
            self.rules,
            networks.names,
            self._domain_sets,
            self._protocols.names,
            self._calendar.names,
            DEFAULT_RULE,
        )
        self._period = self._calendar.holding
        self._in_force = self._holding_in(self._period)
        self._index = RuleIndex(self._in_force)
        # Where a port may make a difference that the port before it does not.
        spans = [span for rule in self.rules for span in rule.source_ports]
        self._port_edges = sorted({edge for first, last in spans for edge in (first, last + 1)})
        # The names that tell clients apart; all other names of a client change nothing.
        self._names = NOBODY.union((AUTHENTICATED,), *(compiled.who or () for compiled in self._compiled))
        self._known: dict[Who, Who] = {}
        self._verdicts: dict[tuple[str, str, int, str, str | Address | None, Who, bool, int], Verdict] = {}
        self._look_ups: dict[tuple[str, str, Who], Verdict] = {}
        self._generation = networks.generation

    @property
    def configured_networks(self) -> tuple[Network, ...]:
        """The networks that rules can name, but for the predefined ones."""
        return self._networks.configured

    @classmethod
    def embedded_default(cls, local: LocalAddresses) -> Self:
        """Make the policy of a service without rules: all is allowed from this machine, to itself as well."""
        rule = Rule(EMBEDDED_RULE, "allow", (ANY,), (LOCALHOST,), (ANY, LOCALHOST))
        return cls(Networks((), local), (), (), (rule,))

    @property
    def period(self) -> frozenset[str]:
        """The schedules that hold now. When it changes, live connections are to be judged again (B7.19)."""
        return self._calendar.holding

    @property
    def has_schedules(self) -> bool:
        """Whether a rule depends on the time."""
        return any(rule.schedule for rule in self.rules)

    def is_in_force(self, name: str) -> bool:
        """Tell whether there is a rule *name* that decides now."""
        self._forget()
        return any(each.rule.name == name and not each.rule.shadow for each in self._in_force)

    def judge(
        self,
        source: str,
        source_port: int,
        destination: SocketAddress,
        transport: str = "TCP",
        resolved: str | Address | None = None,
        who: Who = NOBODY,
        arrives: bool = False,
    ) -> Verdict:
        """Judge a connection from the address *source* to *destination*; called for every connection.

        *resolved* is an address that the name in *destination* resolved to; it is ignored for a literal destination. A
        domain set judges the name that the client used, never a reverse look-up. *who* is by which names the rules know
        the client. What *arrives* where somebody waits for it is also what a protocol calls inbound; *who* is then who
        waits.

        :raises ValueError: *source* or *resolved* is no address.
        """
        self._forget()
        if who:
            who = self._known_names(who)
        kind = bisect_right(self._port_edges, source_port) if self._port_edges else 0
        key = (source, destination.host, destination.port, transport, resolved, who, arrives, kind)
        verdict = self._verdicts.get(key)
        if verdict is None:
            traffic = self._protocols.traffic(transport, destination.port, arrives)
            verdict = self._verdicts[key] = self._judge(
                source, source_port, destination, traffic, resolved, who, None, None
            )
        return verdict

    def explain(
        self,
        source: str,
        source_port: int,
        destination: SocketAddress,
        transport: str = "TCP",
        resolved: str | Address | None = None,
        who: Who = NOBODY,
        arrives: bool = False,
        moment: float | None = None,
    ) -> Explanation:
        """Judge as :meth:`judge` does, at *moment* in seconds since the epoch or now, and say which rules were tried.

        :raises ValueError: *source* or *resolved* is no address.
        """
        self._forget()
        period = self._period if moment is None else self._calendar.holding_at(moment)
        in_force = self._holding_in(period)
        tried: list[Step] = []
        verdict = self._judge(
            source,
            source_port,
            destination,
            self._protocols.traffic(transport, destination.port, arrives),
            resolved,
            self._known_names(who),
            in_force,
            tried,
        )
        return Explanation(verdict, tuple(self._all_steps(tried, in_force, verdict.rule)))

    def _all_steps(self, tried: list[Step], in_force: tuple[CompiledRule, ...], decider: str) -> Iterator[Step]:
        """Put the rules that are disabled or out of their period between those *tried*, up to the *decider*."""
        if in_force and not tried:
            return  # what is no name fits no rule
        left, holding = iter(tried), {compiled.rule.name for compiled in in_force}
        for compiled in self._compiled:
            if compiled.rule.name not in holding:
                yield Step(compiled.rule, Miss.SCHEDULE if compiled.rule.enabled else Miss.DISABLED)
            elif (step := next(left, None)) is not None:
                yield step
            if compiled.rule.name == decider:
                return

    def judge_waiting(self, local: SocketAddress, who: Who = NOBODY, transport: str = "TCP") -> Verdict:
        """Judge whether a client that is known as *who* may wait for others at the literal address *local*.

        It may, unless no rule could allow anybody to connect there. The verdict has no source network.
        """
        self._forget()
        who = self._known_names(who)
        traffic, target = self._protocols.traffic(transport, local.port, True), self._networks.of(local.host)
        question = Question(traffic, ("",), None, target, f"waiting for {traffic.name} at {local} ({target[0]})", who)
        for compiled in self._deciding:
            if not compiled.is_about(who) or not compiled.reaches(question):
                continue
            if compiled.rule.action == "allow" or compiled.is_for_any_client:
                return _decided(question, compiled.rule)
        return _denied(question, f"no rule allows {question.text}")

    def judge_look_up(self, source: str, host: str, who: Who = NOBODY) -> Verdict:
        """Judge whether a client at *source* may have *host*, a name or a literal address, looked up.

        It may, unless no rule could allow it anything there, whatever the port. A rule that depends on the address of a
        name denies no look-up. The verdict has no protocol.

        :raises ValueError: *source* is no address.
        """
        self._forget()
        who = self._known_names(who)
        verdict = self._look_ups.get((source, host, who))
        if verdict is None:
            verdict = self._look_ups[source, host, who] = self._judge_look_up(source, host, who)
        return verdict

    def _known_names(self, who: Who) -> Who:
        """Return those of the names *who* that a rule has, so that users whom no rule tells apart share verdicts."""
        known = self._known.get(who)
        if known is None:
            known = self._known[who] = who & self._names
        return known

    def _forget(self) -> None:
        """Drop what is remembered when an address may have got other names, or when it is too much."""
        if self._calendar.holding is not self._period:
            self._change_period()
        generation = self._networks.generation
        remembered = len(self._verdicts) + len(self._look_ups) + len(self._known)
        if generation != self._generation or remembered >= _MEMO_ENTRIES:
            self._clear()
            self._generation = generation

    def _change_period(self) -> None:
        """Judge by the rules that hold from now on."""
        self._period = self._calendar.holding
        self._in_force = self._holding_in(self._period)
        self._index = RuleIndex(self._in_force)
        for name in ("_deciding", "_reaching"):
            self.__dict__.pop(name, None)
        self._clear()

    def _clear(self) -> None:
        self._verdicts.clear()
        self._look_ups.clear()
        self._known.clear()

    def _judge_look_up(self, source: str, host: str, who: Who) -> Verdict:
        client = self._networks.of(source)
        text = f"looking up {host} from {source} ({client[0]})"
        literal = is_address(host)
        target = self._networks.of(host) if literal else ()
        try:
            name = None if literal else normalise_name(host)
        except ValueError as error:
            return _denied(
                Question(self._protocols.any_traffic, client, None, target, text, who), f"{error}; denied {text}"
            )
        question = Question(self._protocols.any_traffic, client, name, target, text, who)
        left = self._protocols.kinds
        for compiled, kinds in self._reaching:
            match = compiled.match(question)
            if match.__class__ is Miss or left.isdisjoint(kinds) or not compiled.is_about(who):
                continue
            if compiled.rule.action == "allow":
                return _decided(question, compiled.rule)
            if match is not Match.UNDECIDED and not compiled.rule.source_ports:
                left -= kinds
                if not left:
                    return _decided(question, compiled.rule)
        return _denied(question, f"no rule allows {text}")

    @cached_property
    def _reaching(self) -> tuple[tuple[CompiledRule, frozenset[frozenset[str]]], ...]:
        """Each rule with the kinds of traffic that it speaks of."""
        return tuple(
            (compiled, frozenset(kind for kind in self._protocols.kinds if not compiled.protocols.isdisjoint(kind)))
            for compiled in self._deciding
        )

    @cached_property
    def _deciding(self) -> tuple[CompiledRule, ...]:
        """The rules in force that are no shadows."""
        return tuple(compiled for compiled in self._in_force if not compiled.rule.shadow)

    def _holding_in(self, period: frozenset[str]) -> tuple[CompiledRule, ...]:
        enabled = (each for each in self._compiled if each.rule.enabled)
        return tuple(each for each in enabled if not each.rule.schedule or each.rule.schedule in period)

    def protocol_name(self, guid: UUID) -> str | None:
        """Return the name of the protocol with the identifier *guid*, ``None`` where there is none."""
        protocol = self._protocols.known(guid)
        return None if protocol is None else protocol.name

    def beginning_of(self, guid: UUID) -> tuple[str, int] | None:
        """Return the transport and the lowest port of the first connection that a client begins in the protocol *guid*;
        ``None`` where there is no such protocol or connection.
        """
        protocol = self._protocols.known(guid)
        first = None if protocol is None else next(protocol.outbound(), None)
        return None if first is None else (first[0], first[1].first)

    def rule_for(self, source: str, guid: UUID, who: Who = NOBODY) -> Rule | None:
        """Return the first rule that allows a client at *source*, known as *who*, the protocol *guid* to anywhere."""
        self._forget()
        wanted, client, who = {self.protocol_name(guid), ANY}, self._networks.of(source), self._known_names(who)
        for compiled in self._deciding:
            applies = compiled.is_about(who) and not compiled.source.isdisjoint(client)
            if applies and compiled.rule.action == "allow" and not compiled.protocols.isdisjoint(wanted):
                return compiled.rule
        return None

    def networks_of(self, address: str) -> tuple[str, ...]:
        """Return every name that the literal *address* has: configured networks, then the predefined ones.

        :raises ValueError: *address* is none.
        """
        return self._networks.of(address)

    def _judge(
        self,
        source: str,
        source_port: int,
        destination: SocketAddress,
        traffic: Traffic,
        resolved: str | Address | None,
        who: Who,
        rules: tuple[CompiledRule, ...] | None,
        tried: Tried,
    ) -> Verdict:
        literal = destination.address
        known = literal if literal is not None else resolved
        client = self._networks.of(source)
        target = () if known is None else self._networks.of(known)
        text = describe(traffic, source, client, destination, None if known is None else normalise(known), target)
        try:
            name = normalise_name(destination.host) if literal is None else None
        except ValueError as error:
            return _denied(Question(traffic, client, None, target, text, who), f"{error}; denied {text}")
        question = Question(traffic, client, name, target, text, who, source_port)
        return self._first_match(question, self._index.fitting(question) if rules is None else rules, tried)

    def _first_match(self, question: Question, rules: tuple[CompiledRule, ...], tried: Tried) -> Verdict:
        # The first rule that would allow it a user, and whom the rules before that deny it.
        barred: CompiledRule | None = None
        turned_away: set[str] = set()
        shadows: list[Rule] = []
        for compiled in rules:
            match = compiled.match(question)
            if tried is not None:
                fits = isinstance(match, Miss) or compiled.is_about(question.who)
                tried.append(Step(compiled.rule, match if fits else Miss.USER))
            if isinstance(match, Miss):
                continue
            if compiled.rule.shadow:
                if match is not Match.UNDECIDED and compiled.is_about(question.who):
                    shadows.append(compiled.rule)
                continue
            if not compiled.is_about(question.who):
                if compiled.rule.action == "deny":
                    if match is not Match.UNDECIDED:
                        turned_away |= compiled.who or NOBODY
                elif barred is None and not question.who and compiled.is_for_others_than(turned_away):
                    barred = compiled
                continue
            verdict = self._matched(question, compiled, match)
            break
        else:
            verdict = _denied(question, f"no rule allows {question.text}")
        if shadows:
            log = verdict.log or any(rule.log for rule in shadows)
            verdict = replace(verdict, shadows=tuple(shadows), log=log)
        if barred is None or verdict.allowed:
            return verdict
        reason = f"{verdict.reason} without a user; rule {barred.rule.name!r} is about users"
        return replace(verdict, reason=reason, needs_user=True)

    def _matched(self, question: Question, compiled: CompiledRule, match: Match) -> Verdict:
        name = compiled.rule.name
        if match is Match.UNDECIDED:
            reason = f"rule {name!r} depends on the address: {question.text}"
            return _denied(question, reason, compiled.rule, needs_resolution=True)
        if compiled.rebinds(match, question):
            reason = (
                f"the name resolved to an address of the firewall itself, and rule {name!r} does not name {LOCALHOST}: "
                f"denied {question.text}"
            )
            return _denied(question, reason, compiled.rule)
        return _decided(question, compiled.rule)


def _decided(question: Question, rule: Rule) -> Verdict:
    if rule.action == "deny":
        return _denied(question, f"rule {rule.name!r} denies {question.text}", rule)
    return Verdict(
        allowed=True,
        rule=rule.name,
        filters=rule.filters,
        log=rule.log,
        hresult=S_OK,
        protocol=question.traffic.name,
        protocol_guid=question.traffic.guid,
        source_network=question.client[0],
        destination_network=question.target[0] if question.target else "",
        reason=f"rule {rule.name!r} allows {question.text}",
        upstream=rule.upstream,
        limits=rule.limits,
    )


def _denied(question: Question, reason: str, rule: Rule | None = None, *, needs_resolution: bool = False) -> Verdict:
    return Verdict(
        allowed=False,
        rule=rule.name if rule else DEFAULT_RULE,
        filters=(),
        log=rule.log if rule else True,
        hresult=FWX_E_POLICY_RULES_DENIED,
        protocol=question.traffic.name,
        protocol_guid=question.traffic.guid,
        source_network=question.client[0],
        destination_network=question.target[0] if question.target else "",
        reason=reason,
        needs_resolution=needs_resolution,
    )
