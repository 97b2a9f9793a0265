"""Rules that can never match, because an earlier one matches all that they could."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

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
    coverage = _Coverage(configuration)
    rules = configuration.all_rules
    for later, rule in enumerate(rules):
        for earlier, other in enumerate(rules[:later]):
            if rule.enabled and other.enabled and not other.shadow and coverage.covers(other, rule):
                line = configuration.line((*configuration.rule_path(earlier), "name"))
                words = (
                    f"rule {rule.name!r} can never match: rule {other.name!r} in line {line} matches all of it first"
                )
                yield configuration.source.problem((*configuration.rule_path(later), "name"), words)
                break


_LOCAL: Final = AddressSet(ALWAYS_LOCAL)
# A range of so few addresses may be made of the firewall's own.
_FEW: Final = 16


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

    def covers(self, wide: Rule, narrow: Rule) -> bool:
        """Tell whether *wide* matches all that *narrow* does."""
        return (
            (ANY in wide.protocols or set(narrow.protocols) <= set(wide.protocols))
            and wide.schedule in (None, narrow.schedule)
            and _has_users(wide, narrow)
            and _has_ports(wide.source_ports, narrow.source_ports)
            and _has_content(wide, narrow)
            and self._has_places(wide.source, narrow.source)
            and self._has_places(wide.destination, narrow.destination, urls=_reads_urls_as(wide, narrow))
        )

    def _has_places(self, wide: Iterable[str], narrow: Iterable[str], *, urls: bool = True) -> bool:
        """:param urls: what a set of URLs matches for the one, it matches for the other."""
        names = frozenset(wide)
        if names >= {ANY, LOCALHOST}:
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
        if name in PREDEFINED or any(map(self._may_be_local, self._ranges[name])):
            return False
        if ANY in wide:
            return True
        ranges = self._addresses_of.get(wide)
        if ranges is None:
            ranges = AddressSet(each for other in wide for each in self._ranges.get(other, ()))
            self._addresses_of[wide] = ranges
        return all(ranges.covers(each) for each in self._ranges[name])

    def _may_be_local(self, wanted: AddressRange) -> bool:
        """Tell whether the range can hold an address of the firewall itself, which a wider range never does."""
        return wanted.last - wanted.first < _FEW or _LOCAL.covers(wanted)


def _has_users(wide: Rule, narrow: Rule) -> bool:
    if ANY in wide.users and not wide.groups:
        return True
    if ANY in narrow.users and not narrow.groups:
        return False
    if AUTHENTICATED in wide.users:
        return True
    users, groups = set(narrow.users) - {ANY}, set(narrow.groups)
    return users <= set(wide.users) and groups <= set(wide.groups)


def _has_content(wide: Rule, narrow: Rule) -> bool:
    if not wide.content_types:
        return True
    return bool(narrow.content_types) and ContentTypes(wide.content_types).covers(ContentTypes(narrow.content_types))


def _reads_urls_as(wide: Rule, narrow: Rule) -> bool:
    """Tell whether *wide* takes a URL for one of a set whenever *narrow* does: who denies, takes more for it."""
    return wide.action == "deny" or narrow.action == "allow"


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
