"""How one rule of the policy fits one connection."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from fwx.impl.domainset import DomainSet
from fwx.impl.networks import ANY, LOCALHOST
from fwx.impl.user import AUTHENTICATED, Who

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from fwx.impl.networks import Address
    from fwx.impl.policy import Rule, Verdict
    from fwx.impl.protocol import Traffic
    from fwx.interfaces import SocketAddress

_MOST_FOUND: Final = 4096


class Match(Enum):
    """How a rule fits."""

    BY_ADDRESS = auto()
    BY_NAME = auto()
    UNDECIDED = auto()  # it depends on the address of a name


class Miss(Enum):
    """By which element a rule does not fit: the first one, in the order in which they are compared (B7.9)."""

    PROTOCOL = "protocols"
    SOURCE = "from"
    SOURCE_PORT = "source_ports"
    SCHEDULE = "schedule"
    DISABLED = "enabled"
    DESTINATION = "to"
    USER = "users"


@dataclass(frozen=True, slots=True)
class Question:
    """One connection, as the rules see it; *target* holds the names of the address, none while it is not known.

    *port* is the client's, ``None`` where any is meant.
    """

    traffic: Traffic
    client: tuple[str, ...]
    name: str | None
    target: tuple[str, ...]
    text: str
    who: Who
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A rule that was tried, and how that went: the element that does not fit, or how it fits."""

    rule: Rule
    outcome: Match | Miss


class Explanation(NamedTuple):
    """A verdict, and the rules that were tried for it, in order, up to the one that decides."""

    verdict: Verdict
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule with its names resolved."""

    rule: Rule
    protocols: frozenset[str]
    source: frozenset[str]
    networks: frozenset[str]
    domains: tuple[DomainSet, ...]
    who: Who | None

    def is_for_others_than(self, turned_away: set[str]) -> bool:
        """Tell whether it is about a user that goes by none of the names *turned_away*."""
        return AUTHENTICATED not in turned_away and (self.who is None or not self.who <= turned_away)

    def is_about(self, who: Who) -> bool:
        """Tell whether the rule is about a client that is known so; one about users is about nobody else (B7.10)."""
        return self.who is None or not self.who.isdisjoint(who)

    def reaches(self, question: Question) -> bool:
        """Tell whether the rule fits a known address, whoever connects and from wherever."""
        if self.protocols.isdisjoint(question.traffic.names):
            return False
        return self.networks >= {ANY, LOCALHOST} or not self.networks.isdisjoint(question.target)

    def match(self, question: Question) -> Match | Miss:
        """Tell how the rule fits, or by what it does not, whoever the client is; it is in force."""
        if self.protocols.isdisjoint(question.traffic.names):
            return Miss.PROTOCOL
        if self.source.isdisjoint(question.client):
            return Miss.SOURCE
        if self.rule.source_ports and not self.is_from(question.port):
            return Miss.SOURCE_PORT
        if self.networks >= {ANY, LOCALHOST} or not self.networks.isdisjoint(question.target):
            return Match.BY_ADDRESS
        if question.name is not None and any(domains.matches(question.name) for domains in self.domains):
            return Match.BY_NAME
        return Match.UNDECIDED if self.networks and not question.target else Miss.DESTINATION

    def is_from(self, port: int | None) -> bool:
        """Tell whether the client's *port* is one of the rule's; ``None`` stands for any."""
        return port is None or any(first <= port <= last for first, last in self.rule.source_ports)

    def rebinds(self, match: Match, question: Question) -> bool:
        """Tell whether a name leads to the firewall itself, which the rule does not name."""
        return self.rule.action == "allow" and match is Match.BY_NAME and LOCALHOST in question.target

    @property
    def is_for_any_client(self) -> bool:
        """Whether it is about every address and port that a client can have."""
        return self.source >= {ANY, LOCALHOST} and not self.rule.source_ports


class RuleIndex:
    """Finds the rules that can match, in their order, without walking them all.

    Connections that protocols and networks do not tell apart share what is found.
    """

    def __init__(self, rules: tuple[CompiledRule, ...]) -> None:
        self._rules = rules
        self._found: dict[tuple[object, ...], tuple[CompiledRule, ...]] = {}

    def fitting(self, question: Question) -> tuple[CompiledRule, ...]:
        """Return all rules but those that do not fit whatever the client's port, the name and the user are."""
        is_name = question.name is not None
        key = (question.traffic.names, question.client, question.target, is_name)
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= _MOST_FOUND:
                self._found.clear()
            plain = replace(question, name=None, port=None)
            found = tuple(each for each in self._rules if _can_fit(each, each.match(plain), is_name))
            self._found[key] = found
        return found


def _can_fit(compiled: CompiledRule, without_name: Match | Miss, is_name: bool) -> bool:
    if without_name is Miss.DESTINATION:
        return is_name and bool(compiled.domains)
    return not isinstance(without_name, Miss)


Tried: TypeAlias = "list[Step] | None"
"""Where the rules that were tried are noted, if somebody wants to know."""


def compile_rules(
    rules: Iterable[Rule],
    networks: frozenset[str],
    domain_sets: Mapping[str, DomainSet],
    protocols: frozenset[str],
    schedules: frozenset[str],
    taken: str,
) -> tuple[CompiledRule, ...]:
    """Resolve the names of *rules*; the other arguments say what is defined, *taken* is a name that no rule may have.

    :raises ValueError: a name is taken or unknown, or a rule lacks a part; names the rule and the name.
    """
    compiled: dict[str, CompiledRule] = {}
    for rule in rules:
        if rule.name in compiled or rule.name == taken:
            raise ValueError(f"rule {rule.name!r}: the name is taken; choose another one")
        if rule.action not in ("allow", "deny"):
            raise ValueError(f"rule {rule.name!r}: action {rule.action!r}, expected 'allow' or 'deny'")
        if rule.schedule and rule.schedule not in schedules:
            raise ValueError(f"rule {rule.name!r}: schedule names {rule.schedule!r}, which is not defined")
        compiled[rule.name] = CompiledRule(
            rule,
            _known(rule, "protocols", rule.protocols, protocols | {ANY}),
            _known(rule, "source", rule.source, networks),
            _known(rule, "destination", rule.destination, networks | domain_sets.keys()) & networks,
            tuple(domain_sets[name] for name in rule.destination if name in domain_sets),
            rule.who,
        )
    return tuple(compiled.values())


def domain_sets_by_name(domain_sets: Iterable[DomainSet], taken: frozenset[str]) -> dict[str, DomainSet]:
    """Return *domain_sets* by their names. :raises ValueError: a name is that of another one, or one of *taken*."""
    known: dict[str, DomainSet] = {}
    for domains in domain_sets:
        if domains.name in taken or domains.name in known:
            raise ValueError(
                f"domain set {domains.name!r}: the name is taken; networks and domain sets share their names"
            )
        known[domains.name] = domains
    return known


def _known(rule: Rule, part: str, names: tuple[str, ...], known: Collection[str]) -> frozenset[str]:
    if not names:
        raise ValueError(f"rule {rule.name!r}: {part} is empty; name at least one, or {ANY!r}")
    wanted = frozenset(names)
    if missing := wanted.difference(known):
        raise ValueError(f"rule {rule.name!r}: {part} names {min(missing)!r}, which is not defined")
    return wanted


def describe(
    traffic: Traffic,
    source: str,
    client: tuple[str, ...],
    destination: SocketAddress,
    address: Address | None,
    target: tuple[str, ...],
) -> str:
    """Say in words what is asked; *client* and *target* are the names of the two addresses."""
    text = f"{traffic.name} from {source} ({client[0]}) to {destination}"
    if address is None:
        return text
    return f"{text} ({target[0]})" if str(address) == destination.host else f"{text} ({address}, {target[0]})"
