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
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cached_property
from typing import Final, Literal, Self
from uuid import UUID, uuid5

from fwx.impl.networks import ANY, LOCALHOST, Address, LocalAddresses, Networks, normalise
from fwx.interfaces.address import SocketAddress, parse_ip
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


def normalise_name(name: str) -> str:
    """Return the DNS *name* as policy compares it: lower-case A-labels without the final dot.

    :raises ValueError: *name* cannot be a DNS name.
    """
    if len(name) > 253 + name.endswith("."):
        raise ValueError(f"{name[:40]!r}... is longer than a DNS name can be")
    try:
        text = name.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError as error:
        raise ValueError(f"{name!r} is no DNS name: {error}") from None
    if not text:
        raise ValueError("a DNS name is not empty")
    return text


@dataclass(frozen=True, slots=True)
class DomainSet:
    """A named set of DNS *names*, each exact or ``*.example.org``, which is every name below it but not itself.

    :raises ValueError: a name is none; names the set and the name.
    """

    name: str
    names: tuple[str, ...]
    _exact: frozenset[str] = field(init=False, repr=False, compare=False)
    _parents: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        exact = frozenset(self._checked(name) for name in self.names if not name.startswith("*."))
        parents = frozenset(self._checked(name) for name in self.names if name.startswith("*."))
        object.__setattr__(self, "_exact", exact)
        object.__setattr__(self, "_parents", parents)

    def _checked(self, name: str) -> str:
        bare = name.removeprefix("*.")
        try:
            if "*" in bare or _is_address(bare):
                raise ValueError("expected a DNS name or *.name; addresses belong in a network")
            return normalise_name(bare)
        except ValueError as error:
            raise ValueError(f"domain set {self.name!r}, {name!r}: {error}") from None

    def matches(self, name: str) -> bool:
        """Tell whether *name*, in its normalised form, is in the set."""
        if name in self._exact:
            return True
        parent = name
        while parent := parent.partition(".")[2]:
            if parent in self._parents:
                return True
        return False


def _is_address(text: str) -> bool:
    try:
        parse_ip(text)
    except ValueError:
        return False
    return True


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
        for known in self.connections:
            if known.direction in _OUTBOUND:
                yield from ((known.transport.upper(), ports) for ports in known.ports)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what it matches, and what then happens.

    *protocols* are names of protocols or ``any``; *source* networks; *destination* networks and domain sets. ``any``,
    ``external`` and ``localhost`` are networks. *filters* are the names of the filters that see the connection,
    *upstream* is the name of the route that it takes, empty for straight out.
    """

    name: str
    action: Literal["allow", "deny"]
    protocols: tuple[str, ...]
    source: tuple[str, ...]
    destination: tuple[str, ...]
    filters: tuple[str, ...] = ()
    log: bool = True
    upstream: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says to one connection, and why.

    ``allowed`` for a name without an address is provisional: each address is judged too. ``needs_resolution`` says that
    the name alone does not decide; the verdict then denies. ``hresult`` is ``S_OK`` or ``FWX_E_POLICY_RULES_DENIED``.
    ``destination_network`` is empty while no address is known. ``reason`` is for people. ``upstream`` names the
    route of what is allowed, empty for straight out.
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


class _Match(Enum):
    NO = auto()
    BY_ADDRESS = auto()
    BY_NAME = auto()
    UNDECIDED = auto()


@dataclass(frozen=True, slots=True)
class _Traffic:
    """The protocols of one transport and port: their names for rules, and the first one's for filters and the log."""

    names: frozenset[str]
    name: str
    guid: UUID


@dataclass(frozen=True, slots=True)
class _Question:
    """One connection, as the rules see it; *target* holds the names of the address, none while it is not known."""

    traffic: _Traffic
    client: tuple[str, ...]
    name: str | None
    target: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A rule with its names resolved."""

    rule: Rule
    protocols: frozenset[str]
    source: frozenset[str]
    networks: frozenset[str]
    domains: tuple[DomainSet, ...]

    def match(self, question: _Question) -> _Match:
        if self.source.isdisjoint(question.client) or self.protocols.isdisjoint(question.traffic.names):
            return _Match.NO
        if self.networks >= {ANY, LOCALHOST} or not self.networks.isdisjoint(question.target):
            return _Match.BY_ADDRESS
        if question.name is not None and any(domains.matches(question.name) for domains in self.domains):
            return _Match.BY_NAME
        return _Match.UNDECIDED if self.networks and not question.target else _Match.NO

    def rebinds(self, match: _Match, question: _Question) -> bool:
        """Tell whether a name leads to the firewall itself, which the rule does not name."""
        return self.rule.action == "allow" and match is _Match.BY_NAME and LOCALHOST in question.target


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
        self.rules: tuple[Rule, ...] = tuple(rules)
        self._compiled = self._compile()
        self._traffic: dict[tuple[str, int], _Traffic] = {}
        self._verdicts: dict[tuple[str, str, int, str, str | Address | None], Verdict] = {}
        self._look_ups: dict[tuple[str, str], Verdict] = {}
        self._generation = networks.generation

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
    ) -> Verdict:
        """Judge a connection from the address *source* to *destination*; called for every connection.

        *resolved* is an address that the name in *destination* resolved to; it is ignored for a literal destination. No
        rule depends on *source_port* yet. A domain set judges the name that the client used, never a reverse look-up.

        :raises ValueError: *source* or *resolved* is no address.
        """
        self._forget()
        key = (source, destination.host, destination.port, transport, resolved)
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._verdicts[key] = self._judge(source, destination, transport, resolved)
        return verdict

    def judge_look_up(self, source: str, host: str) -> Verdict:
        """Judge whether a client at *source* may have *host*, a name or a literal address, looked up.

        It may, unless no rule could allow it anything there, whatever the port. A rule that depends on the address of a
        name denies no look-up. The verdict has no protocol.

        :raises ValueError: *source* is no address.
        """
        self._forget()
        verdict = self._look_ups.get((source, host))
        if verdict is None:
            verdict = self._look_ups[source, host] = self._judge_look_up(source, host)
        return verdict

    def _forget(self) -> None:
        """Drop what is remembered when an address may have got other names, or when it is too much."""
        generation = self._networks.generation
        if generation != self._generation or len(self._verdicts) + len(self._look_ups) >= _MEMO_ENTRIES:
            self._verdicts.clear()
            self._look_ups.clear()
            self._generation = generation

    def _judge_look_up(self, source: str, host: str) -> Verdict:
        client = self._networks.of(source)
        text = f"looking up {host} from {source} ({client[0]})"
        literal = _is_address(host)
        target = self._networks.of(host) if literal else ()
        try:
            name = None if literal else normalise_name(host)
        except ValueError as error:
            return _denied(_Question(self._any_traffic, client, None, target, text), f"{error}; denied {text}")
        question = _Question(self._any_traffic, client, name, target, text)
        left = self._traffic_kinds
        for compiled, kinds in self._reaching:
            match = compiled.match(question)
            if match is _Match.NO or left.isdisjoint(kinds):
                continue
            if compiled.rule.action == "allow":
                return _decided(question, compiled.rule)
            if match is not _Match.UNDECIDED:
                left -= kinds
                if not left:
                    return _decided(question, compiled.rule)
        return _denied(question, f"no rule allows {text}")

    @cached_property
    def _any_traffic(self) -> _Traffic:
        return _Traffic(frozenset(protocol.name for protocol in self._protocols) | {ANY}, "", GUID_NULL)

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
    def _reaching(self) -> tuple[tuple[_Compiled, frozenset[frozenset[str]]], ...]:
        """Each rule with the kinds of traffic that it speaks of."""
        return tuple(
            (compiled, frozenset(kind for kind in self._traffic_kinds if not compiled.protocols.isdisjoint(kind)))
            for compiled in self._compiled
        )

    def protocol_name(self, guid: UUID) -> str | None:
        """Return the name of the protocol with the identifier *guid*, ``None`` where there is none."""
        return next((protocol.name for protocol in self._protocols if protocol.guid == guid), None)

    def _judge(
        self, source: str, destination: SocketAddress, transport: str, resolved: str | Address | None
    ) -> Verdict:
        literal = destination.address
        known = literal if literal is not None else resolved
        traffic = self._traffic_of(transport, destination.port)
        client = self._networks.of(source)
        target = () if known is None else self._networks.of(known)
        text = _describe(traffic, source, client, destination, None if known is None else normalise(known), target)
        try:
            name = normalise_name(destination.host) if literal is None else None
        except ValueError as error:
            return _denied(_Question(traffic, client, None, target, text), f"{error}; denied {text}")
        return self._first_match(_Question(traffic, client, name, target, text))

    def _first_match(self, question: _Question) -> Verdict:
        for compiled in self._compiled:
            match compiled.match(question):
                case _Match.NO:
                    continue
                case _Match.UNDECIDED:
                    reason = f"rule {compiled.rule.name!r} depends on the address: {question.text}"
                    return _denied(question, reason, compiled.rule, needs_resolution=True)
                case matched if compiled.rebinds(matched, question):
                    reason = (
                        f"the name resolved to an address of the firewall itself, and rule {compiled.rule.name!r} does "
                        f"not name {LOCALHOST}: denied {question.text}"
                    )
                    return _denied(question, reason, compiled.rule)
                case _:
                    return _decided(question, compiled.rule)
        return _denied(question, f"no rule allows {question.text}")

    def _traffic_of(self, transport: str, port: int) -> _Traffic:
        traffic = self._traffic.get((transport, port))
        if traffic is None:
            found = [
                protocol
                for known_transport, ports, protocol in self._reach
                if known_transport == transport and ports.first <= port <= ports.last
            ]
            name, guid = (found[0].name, found[0].guid) if found else (f"unidentified {transport}", GUID_NULL)
            names = frozenset(protocol.name for protocol in found) | {ANY}
            traffic = self._traffic[transport, port] = _Traffic(names, name, guid)
        return traffic

    def _compile(self) -> tuple[_Compiled, ...]:
        networks = self._networks.names
        protocols = {protocol.name for protocol in self._protocols} | {ANY}
        compiled: dict[str, _Compiled] = {}
        for rule in self.rules:
            if rule.name in compiled or rule.name == DEFAULT_RULE:
                raise ValueError(f"rule {rule.name!r}: the name is taken; choose another one")
            if rule.action not in ("allow", "deny"):
                raise ValueError(f"rule {rule.name!r}: action {rule.action!r}, expected 'allow' or 'deny'")
            compiled[rule.name] = _Compiled(
                rule,
                _known(rule, "protocols", rule.protocols, protocols),
                _known(rule, "source", rule.source, networks),
                _known(rule, "destination", rule.destination, networks | self._domain_sets.keys()) & networks,
                tuple(self._domain_sets[name] for name in rule.destination if name in self._domain_sets),
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
    traffic: _Traffic,
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


def _decided(question: _Question, rule: Rule) -> Verdict:
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


def _denied(question: _Question, reason: str, rule: Rule | None = None, *, needs_resolution: bool = False) -> Verdict:
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
