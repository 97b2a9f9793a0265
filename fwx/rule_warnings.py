"""Rules that can never match, because an earlier one matches all that they could."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from fwx.impl.contenttype import ContentTypes
from fwx.impl.domainset import DomainSet, normalise_name
from fwx.impl.networks import ALWAYS_LOCAL, ANY, EXTERNAL, LOCALHOST, PREDEFINED, AddressRange, AddressSet
from fwx.impl.user import AUTHENTICATED

if TYPE_CHECKING:
    from fwx.config_model import Configuration
    from fwx.config_problems import Problem
    from fwx.config_rules import Rule


def unreachable_rules(configuration: Configuration) -> Iterator[Problem]:
    """Yield each rule of *configuration* that one earlier rule leaves nothing to match; ``fwx check`` warns of it.

    Only what is certain is told: whatever the addresses of the firewall, the users and the time, and one earlier rule
    suffices. What several of them match together is not found. A disabled rule matches nothing, and is not told of.
    """
    earlier = _EarlierRules(_Coverage(configuration))
    rules = configuration.all_rules
    for later, rule in enumerate(rules):
        if not rule.enabled:
            continue
        number = earlier.first_that_covers(rule)
        if number is not None:
            name, line = rules[number].name, configuration.line((*configuration.rule_path(number), "name"))
            words = f"rule {rule.name!r} can never match: rule {name!r} in line {line} matches all of it first"
            yield configuration.source.problem((*configuration.rule_path(later), "name"), words)
        if not rule.shadow:
            earlier.add(later, rule)


class _EarlierRules:
    """The rules so far, by each thing that a rule says. Many say the same, which is compared once."""

    def __init__(self, coverage: _Coverage) -> None:
        self._aspects = [_Aspect(value_of, covers) for value_of, covers in coverage.aspects()]
        self._all = 0

    def add(self, number: int, rule: Rule) -> None:
        """Know *rule*, too."""
        self._all |= 1 << number
        for aspect in self._aspects:
            aspect.add(rule, 1 << number)

    def first_that_covers(self, rule: Rule) -> int | None:
        """Return the number of the first one that matches all that *rule* does; ``None`` if none does."""
        left = self._all
        for aspect in self._aspects:
            if not left:
                return None
            left = aspect.covering(rule, left)
        return (left & -left).bit_length() - 1 if left else None


class _Aspect:
    """One thing that rules say, such as their sources: what they say, and which of them, as the bits of a number."""

    def __init__(self, value_of: Callable[[Rule], Any], covers: Callable[[Any, Any], bool]) -> None:
        """:param covers: tells whether its first argument matches all that its second does."""
        self._value_of, self._covers = value_of, covers
        self._rules: dict[Any, int] = {}
        self._values: list[Any] = []
        # For a value: how many of the others it has been compared with, and those of them that cover it.
        self._known: dict[Any, tuple[int, list[Any]]] = {}

    def add(self, rule: Rule, bit: int) -> None:
        value = self._value_of(rule)
        if value not in self._rules:
            self._rules[value] = 0
            self._values.append(value)
        self._rules[value] |= bit

    def covering(self, rule: Rule, among: int) -> int:
        """Return those *among* some rules that cover *rule* in this."""
        narrow = self._value_of(rule)
        count, covering = self._known.get(narrow, (0, []))
        covering += [wide for wide in self._values[count:] if self._covers(wide, narrow)]
        self._known[narrow] = len(self._values), covering
        found = 0
        for wide in covering:
            found |= self._rules[wide]
        return found & among


_LOCAL: Final = AddressSet(ALWAYS_LOCAL)
# A range of so few addresses may be made of the firewall's own.
_FEW: Final = 16
_EVERYWHERE: Final = frozenset({ANY, LOCALHOST})

_Who: TypeAlias = tuple[frozenset[str], frozenset[str]]
"""The users and the groups that a rule names."""


class _Coverage:
    """Compares rules by what they match."""

    def __init__(self, configuration: Configuration) -> None:
        networks = [(each.name, each.ranges) for each in configuration.networks]
        computers = [(each.name, each.ranges) for each in configuration.computers]
        self._ranges = {name: tuple(map(AddressRange.parse, ranges)) for name, ranges in (*networks, *computers)}
        self._domains = {each.name: each.names for each in configuration.domains}
        self._urls = {each.name: frozenset(each.urls) for each in configuration.urls}
        # What the names of one rule hold together, compared with many others.
        self._names_of: dict[frozenset[str], _Names] = {}
        self._addresses_of: dict[frozenset[str], AddressSet] = {}
        self._local: dict[str, bool] = {}

    def aspects(self) -> Iterator[tuple[Callable[[Rule], Any], Callable[[Any, Any], bool]]]:
        """Yield what of a rule is compared with that of another, and how; a rule covers another one in all of it."""
        yield (lambda rule: frozenset(rule.protocols)), (lambda wide, narrow: ANY in wide or narrow <= wide)
        yield (lambda rule: rule.schedule), (lambda wide, narrow: wide in (None, narrow))
        yield (lambda rule: (frozenset(rule.users), frozenset(rule.groups))), _has_users
        yield (lambda rule: rule.source_ports), _has_ports
        yield (lambda rule: rule.content_types), _has_content
        yield (lambda rule: frozenset(rule.source)), self._has_places
        yield (lambda rule: (frozenset(rule.destination), rule.action)), self._has_destinations

    def _has_destinations(self, wide: tuple[frozenset[str], str], narrow: tuple[frozenset[str], str]) -> bool:
        # Who denies takes more for a URL of a set than who allows.
        return self._has_places(wide[0], narrow[0], urls=wide[1] == "deny" or narrow[1] == "allow")

    def _has_places(self, names: frozenset[str], narrow: frozenset[str], *, urls: bool = True) -> bool:
        """:param urls: what a set of URLs matches for the one, it matches for the other."""
        if names >= _EVERYWHERE:
            return True
        return all(
            urls and self._has_urls(names, name)
            if name in self._urls
            else name in names or self._has_place(names, name)
            for name in narrow
        )

    def _has_urls(self, wide: frozenset[str], name: str) -> bool:
        """Tell whether each URL of the set *name* is written in one of the sets *wide*, too."""
        return self._urls[name] <= frozenset[str]().union(*(self._urls.get(other, ()) for other in wide))

    def _has_place(self, wide: frozenset[str], name: str) -> bool:
        """Tell whether what is called *name* is in networks or sets of domains of other names."""
        if name in self._domains:
            known = self._names_of.get(wide)
            if known is None:
                known = self._names_of[wide] = _Names(each for other in wide for each in self._domains.get(other, ()))
            return all(known.hold(each) for each in self._domains[name])
        if name == EXTERNAL:
            return ANY in wide
        if name in PREDEFINED or self._may_be_local(name):
            return False
        if ANY in wide:
            return True
        ranges = self._addresses_of.get(wide)
        if ranges is None:
            ranges = AddressSet(each for other in wide for each in self._ranges.get(other, ()))
            self._addresses_of[wide] = ranges
        return all(ranges.covers(each) for each in self._ranges[name])

    def _may_be_local(self, name: str) -> bool:
        """Tell whether a range of *name* may be addresses of the firewall alone, which are in no wider range."""
        known = self._local.get(name)
        if known is None:
            ranges = self._ranges[name]
            known = any(each.last - each.first < _FEW or _LOCAL.covers(each) for each in ranges)
            self._local[name] = known
        return known


def _has_users(wide: _Who, narrow: _Who) -> bool:
    (users, groups), (others, other_groups) = wide, narrow
    if ANY in users and not groups:
        return True
    if ANY in others and not other_groups:
        return False
    return AUTHENTICATED in users or (others - {ANY} <= users and other_groups <= groups)


def _has_content(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    if not wide:
        return True
    return bool(narrow) and ContentTypes(wide).covers(ContentTypes(narrow))


def _has_ports(wide: tuple[tuple[int, int], ...], narrow: tuple[tuple[int, int], ...]) -> bool:
    if not wide:
        return True
    return bool(narrow) and all(any(low <= first and last <= high for low, high in wide) for first, last in narrow)


class _Names:
    """Names of hosts and ``*.`` names together."""

    def __init__(self, names: Iterable[str]) -> None:
        known = tuple(names)
        self._all = DomainSet("known", known)
        self._below = DomainSet("known", tuple(each for each in known if each.startswith("*.")))

    def hold(self, name: str) -> bool:
        """Tell whether *name*, or every name below it where it begins with ``*.``, is one of these."""
        if not name.startswith("*."):
            return self._all.matches(normalise_name(name))
        return self._below.matches(f"x.{normalise_name(name[2:])}")
