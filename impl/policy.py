"""The policy: ordered rules, the first that matches decides, and what no rule allows is denied.

A literal address is judged once. A name is judged first by itself, and then together with each address that it resolved
to::

    verdict = policy.judge("10.1.0.5", 40000, SocketAddress("www.example.org", 443))
    if verdict.allowed or verdict.needs_resolution:
        for address in resolve("www.example.org"):
            verdict = policy.judge("10.1.0.5", 40000, SocketAddress("www.example.org", 443), resolved=address)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal, Self
from uuid import UUID, uuid5

from fwx.impl.domainset import DomainSet, is_address, normalise_name
from fwx.impl.networks import ANY, LOCALHOST, Address, LocalAddresses, Network, Networks, normalise
from fwx.impl.rulematch import CompiledRule, Match, Question, Traffic
from fwx.impl.user import AUTHENTICATED, NOBODY, Who, group_key, user_key
from fwx.interfaces.address import SocketAddress
from fwx.interfaces.hresult import FWX_E_POLICY_RULES_DENIED, HRESULT, S_OK
from fwx.interfaces.protocols import (
    GUID_NULL,
    WELL_KNOWN_PROTOCOLS,
    PortRange,
    ProtocolConnection,
    ProtocolDefinition,
    by_title,
)

DEFAULT_RULE: Final = "Default rule"
EMBEDDED_RULE: Final = "Embedded default"

_MEMO_ENTRIES: Final = 16384
_LAST_PORT: Final = 0xFFFF
_NAMESPACE: Final = UUID("6b6a6c5c-3a53-5d83-9d5b-0f2f8f6f1f11")
_OUTBOUND: Final = frozenset({"outbound", "send", "send_receive"})
_INBOUND: Final = frozenset({"inbound", "receive", "receive_send"})


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol that rules can name, with the identifier that filters see."""

    name: str
    guid: UUID
    connections: tuple[ProtocolConnection, ...]

    @classmethod
    def of(cls, definition: ProtocolDefinition) -> Self:
        """Make the protocol of a well-known *definition*; its title is the name."""
        return cls(definition.title, definition.guid, definition.connections)

    @classmethod
    def configured(cls, name: str, guid: UUID | None, connections: tuple[ProtocolConnection, ...]) -> Self:
        """Make a configured protocol; without *guid* it has the one that its *name* is known by, else a stable own."""
        known = by_title().get(name)
        return cls(name, guid or (known.guid if known else uuid5(_NAMESPACE, name)), connections)

    def outbound(self) -> Iterator[tuple[str, PortRange]]:
        """Give the transport (``TCP``) and the destination ports of each connection that a client begins."""
        return self._in_directions(_OUTBOUND)

    def inbound(self) -> Iterator[tuple[str, PortRange]]:
        """Give the transport and the ports of each connection that others begin, to where a client waits for it."""
        return self._in_directions(_INBOUND)

    def _in_directions(self, directions: frozenset[str]) -> Iterator[tuple[str, PortRange]]:
        for known in self.connections:
            if known.direction in directions:
                yield from ((known.transport.upper(), ports) for ports in known.ports)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what it matches, and what then happens.

    *protocols* are names of protocols or ``any``; *source* networks; *destination* networks and domain sets. ``any``,
    ``external`` and ``localhost`` are networks. *filters* are the names of the filters that see the connection,
    *upstream* is the name of the route that it takes, empty for straight out. *users* are names, or ``any``, or
    ``authenticated``; with *groups*, ``any`` is not everybody but the groups.
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
    rule allows some users.
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
    ) -> None:
        """Judge by *rules*. The well-known protocols are known already; *protocols* come before and may replace them.

        :raises ValueError: a name is taken or unknown, or a rule lacks a part; names the rule and the name.
        """
        self._networks = networks
        self._domain_sets = _by_name(domain_sets, networks.names)
        configured = tuple(protocols)
        replaced = {protocol.name for protocol in configured}
        well_known = (Protocol.of(known) for known in WELL_KNOWN_PROTOCOLS if known.title not in replaced)
        self._protocols = (*configured, *well_known)
        self._reach = tuple((*opening, protocol) for protocol in self._protocols for opening in protocol.outbound())
        self._arrivals = tuple((*opening, protocol) for protocol in self._protocols for opening in protocol.inbound())
        self.rules: tuple[Rule, ...] = tuple(rules)
        self._compiled = self._compile()
        self._traffic: dict[tuple[str, int, bool], Traffic] = {}
        # The names that tell clients apart; all other names of a client change nothing.
        self._names = NOBODY.union((AUTHENTICATED,), *(compiled.who or () for compiled in self._compiled))
        self._known: dict[Who, Who] = {}
        self._verdicts: dict[tuple[str, str, int, str, str | Address | None, Who, bool], Verdict] = {}
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

        *resolved* is an address that the name in *destination* resolved to; it is ignored for a literal destination. No
        rule depends on *source_port* yet. A domain set judges the name that the client used, never a reverse look-up.
        *who* is by which names the rules know the client. What *arrives* where somebody waits for it is also what a
        protocol calls inbound; *who* is then who waits.

        :raises ValueError: *source* or *resolved* is no address.
        """
        self._forget()
        if who:
            who = self._known_names(who)
        key = (source, destination.host, destination.port, transport, resolved, who, arrives)
        verdict = self._verdicts.get(key)
        if verdict is None:
            traffic = self._traffic_of(transport, destination.port, arrives)
            verdict = self._verdicts[key] = self._judge(source, destination, traffic, resolved, who)
        return verdict

    def judge_waiting(self, local: SocketAddress, who: Who = NOBODY, transport: str = "TCP") -> Verdict:
        """Judge whether a client that is known as *who* may wait for others at the literal address *local*.

        It may, unless no rule could allow anybody to connect there. The verdict has no source network.
        """
        self._forget()
        who = self._known_names(who)
        traffic, target = self._traffic_of(transport, local.port, True), self._networks.of(local.host)
        question = Question(traffic, ("",), None, target, f"waiting for {traffic.name} at {local} ({target[0]})", who)
        for compiled in self._compiled:
            if not compiled.is_about(who) or not compiled.reaches(question):
                continue
            if compiled.rule.action == "allow":
                return _decided(question, compiled.rule)
            if compiled.source >= {ANY, LOCALHOST}:
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
        generation = self._networks.generation
        remembered = len(self._verdicts) + len(self._look_ups) + len(self._known)
        if generation != self._generation or remembered >= _MEMO_ENTRIES:
            self._verdicts.clear()
            self._look_ups.clear()
            self._known.clear()
            self._generation = generation

    def _judge_look_up(self, source: str, host: str, who: Who) -> Verdict:
        client = self._networks.of(source)
        text = f"looking up {host} from {source} ({client[0]})"
        literal = is_address(host)
        target = self._networks.of(host) if literal else ()
        try:
            name = None if literal else normalise_name(host)
        except ValueError as error:
            return _denied(Question(self._any_traffic, client, None, target, text, who), f"{error}; denied {text}")
        question = Question(self._any_traffic, client, name, target, text, who)
        left = self._traffic_kinds
        for compiled, kinds in self._reaching:
            match = compiled.match(question)
            if match is Match.NO or left.isdisjoint(kinds) or not compiled.is_about(who):
                continue
            if compiled.rule.action == "allow":
                return _decided(question, compiled.rule)
            if match is not Match.UNDECIDED:
                left -= kinds
                if not left:
                    return _decided(question, compiled.rule)
        return _denied(question, f"no rule allows {text}")

    @cached_property
    def _any_traffic(self) -> Traffic:
        return Traffic(frozenset(protocol.name for protocol in self._protocols) | {ANY}, "", GUID_NULL)

    @cached_property
    def _traffic_kinds(self) -> frozenset[frozenset[str]]:
        """What the rules can tell apart: the sets of names that the protocols of one transport and port have."""
        edges = {
            (transport, port)
            for transport, ports, _ in self._reach
            for port in (ports.first, ports.last + 1)
            if port <= _LAST_PORT
        }
        return frozenset(self._traffic_of(*edge).names for edge in edges | {("TCP", 1), ("UDP", 1)})

    @cached_property
    def _reaching(self) -> tuple[tuple[CompiledRule, frozenset[frozenset[str]]], ...]:
        """Each rule with the kinds of traffic that it speaks of."""
        return tuple(
            (compiled, frozenset(kind for kind in self._traffic_kinds if not compiled.protocols.isdisjoint(kind)))
            for compiled in self._compiled
        )

    def protocol_name(self, guid: UUID) -> str | None:
        """Return the name of the protocol with the identifier *guid*, ``None`` where there is none."""
        return next((protocol.name for protocol in self._protocols if protocol.guid == guid), None)

    def beginning_of(self, guid: UUID) -> tuple[str, int] | None:
        """Return the transport and the lowest port of the first connection that a client begins in the protocol *guid*;
        ``None`` where there is no such protocol or connection.
        """
        protocol = next((protocol for protocol in self._protocols if protocol.guid == guid), None)
        first = None if protocol is None else next(protocol.outbound(), None)
        return None if first is None else (first[0], first[1].first)

    def rule_for(self, source: str, guid: UUID, who: Who = NOBODY) -> Rule | None:
        """Return the first rule that allows a client at *source*, known as *who*, the protocol *guid* to anywhere."""
        wanted, client, who = {self.protocol_name(guid), ANY}, self._networks.of(source), self._known_names(who)
        for compiled in self._compiled:
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
        self, source: str, destination: SocketAddress, traffic: Traffic, resolved: str | Address | None, who: Who
    ) -> Verdict:
        literal = destination.address
        known = literal if literal is not None else resolved
        client = self._networks.of(source)
        target = () if known is None else self._networks.of(known)
        text = _describe(traffic, source, client, destination, None if known is None else normalise(known), target)
        try:
            name = normalise_name(destination.host) if literal is None else None
        except ValueError as error:
            return _denied(Question(traffic, client, None, target, text, who), f"{error}; denied {text}")
        return self._first_match(Question(traffic, client, name, target, text, who))

    def _first_match(self, question: Question) -> Verdict:
        # The first rule that would allow it a user, and whom the rules before that deny it.
        barred: CompiledRule | None = None
        turned_away: set[str] = set()
        for compiled in self._compiled:
            match = compiled.match(question)
            if match is Match.NO:
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

    def _traffic_of(self, transport: str, port: int, arrives: bool = False) -> Traffic:
        traffic = self._traffic.get((transport, port, arrives))
        if traffic is None:
            found = [
                protocol
                for known_transport, ports, protocol in ((*self._arrivals, *self._reach) if arrives else self._reach)
                if known_transport == transport and ports.first <= port <= ports.last
            ]
            name, guid = (found[0].name, found[0].guid) if found else (f"unidentified {transport}", GUID_NULL)
            names = frozenset(protocol.name for protocol in found) | {ANY}
            traffic = self._traffic[transport, port, arrives] = Traffic(names, name, guid)
        return traffic

    def _compile(self) -> tuple[CompiledRule, ...]:
        networks = self._networks.names
        protocols = {protocol.name for protocol in self._protocols} | {ANY}
        compiled: dict[str, CompiledRule] = {}
        for rule in self.rules:
            if rule.name in compiled or rule.name == DEFAULT_RULE:
                raise ValueError(f"rule {rule.name!r}: the name is taken; choose another one")
            if rule.action not in ("allow", "deny"):
                raise ValueError(f"rule {rule.name!r}: action {rule.action!r}, expected 'allow' or 'deny'")
            compiled[rule.name] = CompiledRule(
                rule,
                _known(rule, "protocols", rule.protocols, protocols),
                _known(rule, "source", rule.source, networks),
                _known(rule, "destination", rule.destination, networks | self._domain_sets.keys()) & networks,
                tuple(self._domain_sets[name] for name in rule.destination if name in self._domain_sets),
                rule.who,
            )
        return tuple(compiled.values())


def _by_name(domain_sets: Iterable[DomainSet], taken: frozenset[str]) -> dict[str, DomainSet]:
    known: dict[str, DomainSet] = {}
    for domains in domain_sets:
        if domains.name in taken or domains.name in known:
            raise ValueError(
                f"domain set {domains.name!r}: the name is taken; networks and domain sets share their names"
            )
        known[domains.name] = domains
    return known


def _known(rule: Rule, part: str, names: tuple[str, ...], known: Iterable[str]) -> frozenset[str]:
    if not names:
        raise ValueError(f"rule {rule.name!r}: {part} is empty; name at least one, or {ANY!r}")
    wanted = frozenset(names)
    if missing := wanted.difference(known):
        raise ValueError(f"rule {rule.name!r}: {part} names {min(missing)!r}, which is not defined")
    return wanted


def _describe(
    traffic: Traffic,
    source: str,
    client: tuple[str, ...],
    destination: SocketAddress,
    address: Address | None,
    target: tuple[str, ...],
) -> str:
    text = f"{traffic.name} from {source} ({client[0]}) to {destination}"
    if address is None:
        return text
    return f"{text} ({target[0]})" if str(address) == destination.host else f"{text} ({address}, {target[0]})"


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
