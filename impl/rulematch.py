"""How one rule of the policy fits one connection."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING
from uuid import UUID

from fwx.impl.domainset import DomainSet
from fwx.impl.networks import ANY, LOCALHOST
from fwx.impl.user import AUTHENTICATED, Who

if TYPE_CHECKING:
    from fwx.impl.policy import Rule


class Match(Enum):
    NO = auto()
    BY_ADDRESS = auto()
    BY_NAME = auto()
    UNDECIDED = auto()


@dataclass(frozen=True, slots=True)
class Traffic:
    """The protocols of one transport and port: their names for rules, and the first one's for filters and the log."""

    names: frozenset[str]
    name: str
    guid: UUID


@dataclass(frozen=True, slots=True)
class Question:
    """One connection, as the rules see it; *target* holds the names of the address, none while it is not known."""

    traffic: Traffic
    client: tuple[str, ...]
    name: str | None
    target: tuple[str, ...]
    text: str
    who: Who


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

    def match(self, question: Question) -> Match:
        """Tell whether the rule fits, whoever the client is."""
        if self.source.isdisjoint(question.client) or self.protocols.isdisjoint(question.traffic.names):
            return Match.NO
        if self.networks >= {ANY, LOCALHOST} or not self.networks.isdisjoint(question.target):
            return Match.BY_ADDRESS
        if question.name is not None and any(domains.matches(question.name) for domains in self.domains):
            return Match.BY_NAME
        return Match.UNDECIDED if self.networks and not question.target else Match.NO

    def rebinds(self, match: Match, question: Question) -> bool:
        """Tell whether a name leads to the firewall itself, which the rule does not name."""
        return self.rule.action == "allow" and match is Match.BY_NAME and LOCALHOST in question.target
