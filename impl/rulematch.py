"""How one rule of the policy fits one connection."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from fwx.impl.contenttype import ContentTypes
from fwx.impl.networks import ANY, LOCALHOST
from fwx.impl.urlset import UrlSet
from fwx.impl.user import AUTHENTICATED, Who

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from fwx.impl.domainset import DomainSet
    from fwx.impl.networkrules import Related
    from fwx.impl.networks import Address
    from fwx.impl.protocol import Traffic
    from fwx.impl.rule import Rule
    from fwx.impl.verdict import Verdict
    from fwx.interfaces import SocketAddress

NO_SETS: Final[frozenset[str]] = frozenset()


class Match(Enum):
    """How a rule fits."""

    BY_ADDRESS = auto()
    BY_NAME = auto()
    BY_URL = auto()
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
    CONTENT = "content_types"


@dataclass(frozen=True, slots=True)
class Question:
    """One connection, as the rules see it.

    *client* and *target* hold the names of the two addresses, the latter none while it is not known; *domains* the sets
    that hold the target's name; *urls* the sets that hold the URL however it is read, *maybe_urls* those that hold it
    in one reading. *port* is the client's, ``None`` where any is meant. *is_web* stands for plain HTTP, *content* is
    the type of the response, ``None`` while it is not known. *is_literal*: the client named the address itself.
    """

    traffic: Traffic
    client: tuple[str, ...]
    target: tuple[str, ...]
    text: str
    who: Who
    port: int | None = None
    domains: frozenset[str] = NO_SETS
    urls: frozenset[str] = NO_SETS
    maybe_urls: frozenset[str] = NO_SETS
    is_web: bool = False
    content: str | None = None
    is_literal: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A rule that was tried, and how that went: the element that does not fit, or how it fits."""

    rule: Rule
    outcome: Match | Miss


class Explanation(NamedTuple):
    """A verdict, and the rules that were tried for it, in order, up to the one that decides.

    :ivar related: how the two networks are related, ``None`` where they are not, or where that was not asked.
    :ivar asks_networks: network rules were asked, which come first.
    """

    verdict: Verdict
    steps: tuple[Step, ...]
    related: Related | None = None
    asks_networks: bool = False


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule with its names resolved: *networks*, sets of computers among them, *domains* and *urls* are names of what
    it leads to. *is_everywhere* says that it leads to every address; *waits_for_address*, that it may fit a name whose
    address is not known."""

    rule: Rule
    protocols: frozenset[str]
    source: frozenset[str]
    networks: frozenset[str]
    domains: frozenset[str]
    urls: frozenset[str]
    who: Who | None
    content_types: ContentTypes | None
    is_everywhere: bool
    waits_for_address: bool

    def is_for_others_than(self, turned_away: set[str]) -> bool:
        """Tell whether it is about a user that goes by none of the names *turned_away*."""
        return AUTHENTICATED not in turned_away and (self.who is None or not self.who <= turned_away)

    def is_about(self, who: Who) -> bool:
        """Tell whether the rule is about a client that is known so; one about users is about nobody else (B7.10)."""
        return self.who is None or not self.who.isdisjoint(who)

    def reaches(self, question: Question) -> bool:
        """Tell whether the rule fits a known address, whoever connects and from wherever."""
        if self.protocols.isdisjoint(question.traffic.names) or self.content_types is not None:
            return False
        return self.is_everywhere or not self.networks.isdisjoint(question.target)

    def match(self, question: Question) -> Match | Miss:
        """Tell how the rule fits, or by what it does not, whoever the client is; it is in force."""
        if self.protocols.isdisjoint(question.traffic.names):
            return Miss.PROTOCOL
        if self.source.isdisjoint(question.client):
            return Miss.SOURCE
        if self.rule.source_ports and not self.is_from(question.port):
            return Miss.SOURCE_PORT
        found = self._lead_to(question)
        if self.content_types is None or found is Miss.DESTINATION or self._has_content(question):
            return found
        return Miss.CONTENT

    def _lead_to(self, question: Question) -> Match | Miss:
        if self.is_everywhere or not self.networks.isdisjoint(question.target):
            return Match.BY_ADDRESS
        if not self.domains.isdisjoint(question.domains):
            return Match.BY_NAME
        # Who allows a URL means it alone; who denies one means whatever a server may take for it.
        if not self.urls.isdisjoint(question.urls if self.rule.action == "allow" else question.maybe_urls):
            return Match.BY_URL
        return Match.UNDECIDED if self.waits_for_address and not question.target else Miss.DESTINATION

    def _has_content(self, question: Question) -> bool:
        assert self.content_types is not None
        return question.is_web and (question.content is None or question.content in self.content_types)

    def is_from(self, port: int | None) -> bool:
        """Tell whether the client's *port* is one of the rule's; ``None`` stands for any."""
        return port is None or any(first <= port <= last for first, last in self.rule.source_ports)

    def rebinds(self, match: Match, question: Question) -> bool:
        """Tell whether a name leads to the firewall itself, which the rule does not name."""
        by_name = match is Match.BY_NAME or (match is Match.BY_URL and not question.is_literal)
        return by_name and self.rule.action == "allow" and LOCALHOST in question.target

    @property
    def is_about_all_traffic(self) -> bool:
        """Whether it fits more than plain HTTP: it leads elsewhere than to URLs, and looks at no content."""
        return self.content_types is None and bool(self.networks or self.domains)

    @property
    def is_for_any_client(self) -> bool:
        """Whether it is about every address and port that a client can have."""
        return self.source >= {ANY, LOCALHOST} and not self.rule.source_ports


Tried: TypeAlias = "list[Step] | None"
"""Where the rules that were tried are noted, if somebody wants to know."""


class Known(NamedTuple):
    """What rules can name: *networks* with sets of computers, and the other names by kind."""

    networks: frozenset[str]
    domains: frozenset[str]
    urls: frozenset[str]
    protocols: frozenset[str]
    schedules: frozenset[str]


def compile_rules(rules: Iterable[Rule], known: Known, taken: str) -> tuple[CompiledRule, ...]:
    """Resolve the names of *rules*; *known* says what is defined, *taken* is a name that no rule may have.

    :raises ValueError: a name is taken or unknown, or a rule lacks a part; names the rule and the name.
    """
    compiled: dict[str, CompiledRule] = {}
    for rule in rules:
        if rule.name in compiled or rule.name == taken:
            raise ValueError(f"rule {rule.name!r}: the name is taken; choose another one")
        if rule.action not in ("allow", "deny"):
            raise ValueError(f"rule {rule.name!r}: action {rule.action!r}, expected 'allow' or 'deny'")
        if rule.schedule and rule.schedule not in known.schedules:
            raise ValueError(f"rule {rule.name!r}: schedule names {rule.schedule!r}, which is not defined")
        if rule.system and (LOCALHOST,) not in (rule.source, rule.destination):
            raise ValueError(f"rule {rule.name!r}: a system rule is from {LOCALHOST} or to {LOCALHOST} alone")
        compiled[rule.name] = _compiled(rule, known)
    return tuple(compiled.values())


def _compiled(rule: Rule, known: Known) -> CompiledRule:
    targets = _known(rule, "destination", rule.destination, known.networks | known.domains | known.urls)
    networks = targets & known.networks
    return CompiledRule(
        rule,
        _known(rule, "protocols", rule.protocols, known.protocols | {ANY}),
        _known(rule, "source", rule.source, known.networks),
        networks,
        targets & known.domains,
        targets & known.urls,
        rule.who,
        _content_types(rule),
        networks >= {ANY, LOCALHOST},
        # Before its address is known, no name is the firewall itself: it is judged again then.
        bool(networks) and not (rule.system and rule.action == "deny" and networks == {LOCALHOST}),
    )


def _content_types(rule: Rule) -> ContentTypes | None:
    if not rule.content_types:
        return None
    if rule.action == "deny":
        raise ValueError(f"rule {rule.name!r}: content_types are of rules that allow")
    try:
        return ContentTypes(rule.content_types)
    except ValueError as error:
        raise ValueError(f"rule {rule.name!r}: {error}") from None


def check_names(sets: Iterable[DomainSet | UrlSet], taken: frozenset[str]) -> None:
    """:raises ValueError: the name of one of *sets* is that of another one, or one of *taken*."""
    known = set(taken)
    for each in sets:
        if each.name in known:
            kind = "set of URLs" if isinstance(each, UrlSet) else "domain set"
            raise ValueError(f"{kind} {each.name!r}: the name is taken; networks and sets share their names")
        known.add(each.name)


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
