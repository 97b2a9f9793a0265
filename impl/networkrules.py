"""Network rules: which networks may talk with each other at all, and whether by route or by NAT (B7.1, B7.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from fwx.impl.networks import ANY, LOCALHOST, share_network
from fwx.interfaces.enums import (
    FwxNetworkRelation,
    fwx_nrt_NAT,
    fwx_nrt_ReverseNAT,
    fwx_nrt_Route,
    fwx_nrt_SameNetwork,
)

_MOST_FOUND: Final = 4096
_RELATIONS: Final = ("route", "nat")


@dataclass(frozen=True, slots=True)
class NetworkRule:
    """Relates each network of *source* with each of *destination*, in both directions.

    The names are those of networks, ``any`` or ``external``. With *relation* ``nat`` servers do not see the addresses
    of clients, whichever side these are on.
    """

    name: str
    source: tuple[str, ...]
    destination: tuple[str, ...]
    relation: Literal["route", "nat"]


class Related(NamedTuple):
    """How two networks are related, and by which rule; empty where none is needed."""

    relation: FwxNetworkRelation
    rule: str = ""

    @property
    def translates(self) -> bool:
        """Whether servers see an address of the firewall in the place of the client's."""
        return self.relation in (fwx_nrt_NAT, fwx_nrt_ReverseNAT)


class NetworkRules:
    """The network rules of a policy, in their order; the first that relates two networks decides how.

    Two addresses of one network need no rule, and the firewall itself is related with everybody by a route. To be used
    by one thread.
    """

    def __init__(self, rules: Iterable[NetworkRule], networks: frozenset[str]) -> None:
        """Know *rules*, which name some of *networks*.

        :raises ValueError: a name is taken or unknown, or a rule lacks a part; names the rule and the name.
        """
        self._networks = networks
        self._rules = tuple(rules)
        self._found: dict[tuple[tuple[str, ...], tuple[str, ...]], Related | None] = {}
        names: set[str] = set()
        for rule in self._rules:
            self._check(rule, names)
            names.add(rule.name)
        self._ways = tuple((rule, frozenset(rule.source), frozenset(rule.destination)) for rule in self._rules)

    def __bool__(self) -> bool:
        """Tell whether there are any; without one all networks are related."""
        return bool(self._rules)

    def between(self, here: tuple[str, ...], there: tuple[str, ...]) -> Related | None:
        """Return how the networks of two addresses are related, of each all names; ``None`` where they are not."""
        key = (here, there)
        if key in self._found:
            return self._found[key]
        if len(self._found) >= _MOST_FOUND:
            self._found.clear()
        found = self._found[key] = self._find(*(self._networks.intersection(names) for names in key))
        return found

    def relates_all_with(self, here: tuple[str, ...]) -> bool:
        """Tell whether an address of the names *here* is related with every address that there can be."""
        names = frozenset(here)
        return LOCALHOST in names or any(
            (ANY in destination and not names.isdisjoint(source))
            or (ANY in source and not names.isdisjoint(destination))
            for _, source, destination in self._ways
        )

    def _find(self, here: frozenset[str], there: frozenset[str]) -> Related | None:
        if share_network(here, there):
            return Related(fwx_nrt_SameNetwork)
        if LOCALHOST in here or LOCALHOST in there:
            return Related(fwx_nrt_Route)
        for rule, source, destination in self._ways:
            if not source.isdisjoint(here) and not destination.isdisjoint(there):
                return Related(fwx_nrt_Route if rule.relation == "route" else fwx_nrt_NAT, rule.name)
            if not source.isdisjoint(there) and not destination.isdisjoint(here):
                return Related(fwx_nrt_Route if rule.relation == "route" else fwx_nrt_ReverseNAT, rule.name)
        return None

    def _check(self, rule: NetworkRule, taken: set[str]) -> None:
        if rule.name in taken:
            raise ValueError(f"network rule {rule.name!r}: the name is taken; choose another one")
        if rule.relation not in _RELATIONS:
            raise ValueError(f"network rule {rule.name!r}: relation {rule.relation!r}, expected 'route' or 'nat'")
        for part, names in (("source", rule.source), ("destination", rule.destination)):
            if not names:
                raise ValueError(f"network rule {rule.name!r}: {part} is empty; name at least one network")
            for name in names:
                if name == LOCALHOST:
                    words = f"names {LOCALHOST!r}, which is related with every network"
                    raise ValueError(f"network rule {rule.name!r}: {part} {words}")
                if name not in self._networks:
                    raise ValueError(f"network rule {rule.name!r}: {part} names {name!r}, which is not defined")
