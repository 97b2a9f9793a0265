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
from dataclasses import replace
from functools import cached_property
from typing import Self
from uuid import UUID

from fwx.impl.domainset import DomainSet, DomainSets, is_address, normalise_name
from fwx.impl.networkrules import NetworkRule, NetworkRules, Related
from fwx.impl.networks import ANY, LOCALHOST, Address, LocalAddresses, Network, Networks, normalise
from fwx.impl.protocol import Protocol, Protocols, Traffic
from fwx.impl.rule import DEFAULT_RULE, EMBEDDED_DEFAULT, EMBEDDED_RULE, Rule
from fwx.impl.ruleindex import RuleIndex
from fwx.impl.rulematch import (
    NO_SETS,
    CompiledRule,
    Explanation,
    Known,
    Match,
    Miss,
    Question,
    Step,
    Tried,
    check_names,
    compile_rules,
    describe,
)
from fwx.impl.schedule import Calendar
from fwx.impl.urlset import NOWHERE, UrlSet, UrlSets
from fwx.impl.user import AUTHENTICATED, NOBODY, Who
from fwx.impl.verdict import Verdict, decided, denied, unrelated, waiting
from fwx.impl.verdictmemory import VerdictMemory
from fwx.impl.webrequest import WebRequest
from fwx.interfaces.address import SocketAddress
from fwx.interfaces.hresult import FWX_E_NETWORK_RULES_DENIED

__all__ = ["DEFAULT_RULE", "EMBEDDED_RULE", "Policy", "Rule", "Verdict"]


class Policy:
    """Ordered rules over networks, sets and protocols. Immutable; a new configuration makes a new policy.

    A connection is judged by the network rules, then by the system rules, then by the others (B7.2). To be used by one
    thread.
    """

    def __init__(
        self,
        networks: Networks,
        domain_sets: Iterable[DomainSet],
        protocols: Iterable[Protocol],
        rules: Iterable[Rule],
        calendar: Calendar | None = None,
        *,
        url_sets: Iterable[UrlSet] = (),
        network_rules: Iterable[NetworkRule] = (),
    ) -> None:
        """Judge by *rules*. The well-known protocols are known already; *protocols* come before and may replace them.

        *calendar* has the schedules that rules name, and knows the time. Without *network_rules* all networks are
        related. System rules come first, in their order.

        :raises ValueError: a name is taken or unknown, or a rule lacks a part; names the rule and the name.
        """
        self._networks = networks
        sets, urls = tuple(domain_sets), tuple(url_sets)
        check_names((*sets, *urls), networks.names)
        self._domains, self._urls = DomainSets(sets), UrlSets(urls)
        self._network_rules = NetworkRules(network_rules, networks.network_names)
        self._calendar = calendar or Calendar()
        self._protocols = Protocols(protocols)
        self.rules: tuple[Rule, ...] = tuple(sorted(rules, key=lambda rule: not rule.system))
        known = Known(
            networks.names,
            frozenset(each.name for each in sets),
            frozenset(each.name for each in urls),
            self._protocols.names,
            self._calendar.names,
        )
        self._compiled = compile_rules(self.rules, known, DEFAULT_RULE)
        self.judges_content = any(rule.content_types for rule in self.rules)
        self._period = self._calendar.holding
        self._in_force = self._holding_in(self._period)
        self._index = RuleIndex(self._in_force)
        # Where a port may make a difference that the port before it does not.
        spans = [span for rule in self.rules for span in rule.source_ports]
        self._port_edges = sorted({edge for first, last in spans for edge in (first, last + 1)})
        # The names that tell clients apart; all other names of a client change nothing.
        self._names = NOBODY.union((AUTHENTICATED,), *(compiled.who or () for compiled in self._compiled))
        self._memory = VerdictMemory()
        self._generation = networks.generation

    @property
    def configured_networks(self) -> tuple[Network, ...]:
        """The networks that rules can name, but for the predefined ones."""
        return self._networks.configured

    @classmethod
    def embedded_default(cls, local: LocalAddresses) -> Self:
        """Make the policy of a service without rules: all is allowed from this machine, to itself as well."""
        return cls(Networks((), local), (), (), (EMBEDDED_DEFAULT,))

    @property
    def address_names(self) -> frozenset[str]:
        """What rules can call addresses: the names of networks, the predefined ones, those of sets of computers."""
        return self._networks.names

    @property
    def network_rules(self) -> NetworkRules:
        """Which networks may talk at all."""
        return self._network_rules

    @property
    def judges_requests(self) -> bool:
        """Whether two plain HTTP requests to one server, or their responses, can have different verdicts."""
        return bool(self._urls) or self.judges_content

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
        web: WebRequest | None = None,
    ) -> Verdict:
        """Judge a connection from the address *source* to *destination*; called for every connection.

        *resolved* is an address that the name in *destination* resolved to; it is ignored for a literal destination. A
        domain set judges the name that the client used, never a reverse look-up. *who* is by which names the rules know
        the client. What *arrives* where somebody waits for it is also what a protocol calls inbound; *who* is then who
        waits. *web* is the request in plain HTTP that the connection is for.

        :raises ValueError: *source* or *resolved* is no address.
        """
        self._forget()
        if who:
            who = self._known_names(who)
        if web is not None and self.judges_requests:
            # URLs are too many, and may be too long, to be remembered.
            traffic = self._protocols.traffic(transport, destination.port, arrives)
            return self._judge(source, source_port, destination, traffic, resolved, who, web, None, None)
        kind = bisect_right(self._port_edges, source_port) if self._port_edges else 0
        forwarded = web is not None and web.is_forwarded
        key = (source, destination.host, destination.port, transport, resolved, who, arrives, kind, forwarded)
        verdicts = self._memory.verdicts
        verdict = verdicts.get(key)
        if verdict is None:
            self._memory.make_room()
            traffic = self._protocols.traffic(transport, destination.port, arrives)
            verdict = verdicts[key] = self._judge(
                source, source_port, destination, traffic, resolved, who, web, None, None
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
        web: WebRequest | None = None,
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
            web,
            in_force,
            tried,
        )
        asks_networks = bool(self._network_rules) and not (web is not None and web.is_forwarded)
        address = resolved if destination.address is None else destination.host
        related = self._related(source, address) if asks_networks and address is not None else None
        if verdict.hresult == FWX_E_NETWORK_RULES_DENIED:
            return Explanation(verdict, (), None, True)
        return Explanation(verdict, tuple(self._all_steps(tried, in_force, verdict.rule)), related, asks_networks)

    def _related(self, source: str, address: str | Address) -> Related | None:
        return self._network_rules.between(self._networks.of(source), self._networks.of(address))

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
        question = Question(traffic, ("",), target, f"waiting for {traffic.name} at {local} ({target[0]})", who)
        for compiled in self._deciding:
            if not compiled.is_about(who) or not compiled.reaches(question):
                continue
            if compiled.rule.action == "allow" or compiled.is_for_any_client:
                return decided(question, compiled.rule)
        return denied(question, f"no rule allows {question.text}")

    def judge_look_up(self, source: str, host: str, who: Who = NOBODY) -> Verdict:
        """Judge whether a client at *source* may have *host*, a name or a literal address, looked up.

        It may, unless no rule could allow it anything there, whatever the port. A rule that depends on the address of a
        name denies no look-up, and network rules deny none. The verdict has no protocol.

        :raises ValueError: *source* is no address.
        """
        self._forget()
        who = self._known_names(who)
        look_ups = self._memory.look_ups
        verdict = look_ups.get((source, host, who))
        if verdict is None:
            self._memory.make_room()
            verdict = look_ups[source, host, who] = self._judge_look_up(source, host, who)
        return verdict

    def _known_names(self, who: Who) -> Who:
        """Return those of the names *who* that a rule has, so that users whom no rule tells apart share verdicts."""
        known = self._memory.known.get(who)
        if known is None:
            self._memory.make_room()
            known = self._memory.known[who] = who & self._names
        return known

    def _forget(self) -> None:
        """Drop what is remembered when an address may have got other names, or the time has come for other rules."""
        if self._calendar.holding is not self._period:
            self._change_period()
        generation = self._networks.generation
        if generation != self._generation:
            self._memory.clear()
            self._generation = generation

    def _change_period(self) -> None:
        """Judge by the rules that hold from now on."""
        self._period = self._calendar.holding
        self._in_force = self._holding_in(self._period)
        self._index = RuleIndex(self._in_force)
        for name in ("_deciding", "_reaching"):
            self.__dict__.pop(name, None)
        self._memory.clear()

    def _judge_look_up(self, source: str, host: str, who: Who) -> Verdict:
        client = self._networks.of(source)
        text = f"looking up {host} from {source} ({client[0]})"
        literal = is_address(host)
        target = self._networks.of(host) if literal else ()
        try:
            domains = frozenset[str]() if literal else self._domains.of(normalise_name(host))
        except ValueError as error:
            question = Question(self._protocols.any_traffic, client, target, text, who)
            return denied(question, f"{error}; denied {text}")
        # Whatever the URL and the response: an allowed one makes the look-up needed, a denied one leaves others.
        urls = self._urls.of_host(host)
        question = Question(
            self._protocols.any_traffic, client, target, text, who, domains=domains, urls=urls, is_web=True
        )
        left = self._protocols.kinds
        for compiled, kinds in self._reaching:
            match = compiled.match(question)
            if match.__class__ is Miss or left.isdisjoint(kinds) or not compiled.is_about(who):
                continue
            if compiled.rule.action == "allow":
                return decided(question, compiled.rule)
            if match is not Match.UNDECIDED and not compiled.rule.source_ports:
                left -= kinds
                if not left:
                    return decided(question, compiled.rule)
        return denied(question, f"no rule allows {text}")

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
        """Return the first rule that allows a client at *source*, known as *who*, the protocol *guid* to anywhere.

        A rule about URLs or content types is none: it allows plain HTTP alone.
        """
        self._forget()
        wanted, client, who = {self.protocol_name(guid), ANY}, self._networks.of(source), self._known_names(who)
        for compiled in self._deciding:
            applies = (
                compiled.is_about(who) and not compiled.source.isdisjoint(client) and compiled.is_about_all_traffic
            )
            if applies and compiled.rule.action == "allow" and not compiled.protocols.isdisjoint(wanted):
                return compiled.rule
        return None

    def networks_of(self, address: str) -> tuple[str, ...]:
        """Return the networks that the literal *address* is in: configured ones, then the predefined ones.

        :raises ValueError: *address* is none.
        """
        return self._networks.networks_of(address)

    def names_of(self, address: str) -> tuple[str, ...]:
        """Return every name that rules have for the literal *address*: its networks, then sets of computers.

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
        web: WebRequest | None,
        rules: tuple[CompiledRule, ...] | None,
        tried: Tried,
    ) -> Verdict:
        literal = destination.address
        known = literal if literal is not None else resolved
        client = self._networks.of(source)
        target = () if known is None else self._networks.of(known)
        text = describe(traffic, source, client, destination, None if known is None else normalise(known), target)
        try:
            domains = self._domains.of(normalise_name(destination.host)) if literal is None else NO_SETS
        except ValueError as error:
            question = Question(traffic, client, target, text, who, source_port)
            return denied(question, f"{error}; denied {text}")
        urls = NOWHERE if web is None else self._urls.of(web.url)
        question = Question(
            traffic,
            client,
            target,
            text,
            who,
            source_port,
            domains,
            urls.surely,
            urls.maybe,
            web is not None,
            None if web is None else web.content,
            literal is not None,
        )
        rules = self._index.fitting(question) if rules is None else rules
        if not self._network_rules or (web is not None and web.is_forwarded):
            return self._first_match(question, rules, tried)
        if not target:
            verdict = self._first_match(question, rules, tried)
            return verdict if self._network_rules.relates_all_with(client) else waiting(question, verdict)
        related = self._network_rules.between(client, target)
        if related is None:
            return unrelated(question)
        verdict = self._first_match(question, rules, tried)
        return replace(verdict, translates=True) if verdict.allowed and related.translates else verdict

    def _first_match(self, question: Question, rules: tuple[CompiledRule, ...], tried: Tried) -> Verdict:
        # A system rule that may allow it once its address is known, if no other does before.
        pending: CompiledRule | None = None
        # The first rule that would allow it a user, and whom the rules before that deny it.
        barred: CompiledRule | None = None
        turned_away: set[str] = set()
        shadows: list[Rule] = []
        for compiled in rules:
            match = compiled.match(question)
            if tried is not None:
                # Users are compared before the content (B7.9).
                sooner = isinstance(match, Miss) and match is not Miss.CONTENT
                fits = sooner or compiled.is_about(question.who)
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
            if match is Match.UNDECIDED and compiled.rule.system:
                pending = pending or compiled
                continue
            verdict = self._matched(question, compiled, match)
            break
        else:
            verdict = denied(question, f"no rule allows {question.text}")
        if pending is not None and not (verdict.allowed or verdict.needs_resolution):
            verdict = self._matched(question, pending, Match.UNDECIDED)
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
            return denied(question, reason, compiled.rule, needs_resolution=True)
        if compiled.rebinds(match, question):
            reason = (
                f"the name resolved to an address of the firewall itself, and rule {name!r} does not name {LOCALHOST}: "
                f"denied {question.text}"
            )
            return denied(question, reason, compiled.rule)
        return decided(question, compiled.rule)
