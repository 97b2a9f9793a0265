"""Which addresses are reached through which adapter, by the routing table (``IFWXNetworkAdapter.GetRouteTable``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from itertools import groupby

from fwx.impl.ipfilter import FWXIpFilter
from fwx.impl.machine import RouteState
from fwx.impl.networks import AddressRange


class RouteMap:
    """The routes of one moment. The sets are made when one is asked for: that is a pass over all routes."""

    __slots__ = ("_adapters", "_filters", "_routes", "_within")

    def __init__(
        self,
        adapters: Iterable[int],
        routes: tuple[RouteState, ...],
        within: Mapping[int, tuple[AddressRange, ...]],
    ) -> None:
        """*within* are, by adapter, the IPv4 ranges of the networks that it is connected to; without them, all."""
        self._adapters = tuple(adapters)
        self._routes = routes
        self._within = within
        self._filters: dict[int, FWXIpFilter] | None = None

    def reached(self, adapter: int) -> FWXIpFilter:
        """Return a copy of the addresses that are reached through *adapter*; none for one that there is not."""
        found = self._sets().get(adapter)
        return FWXIpFilter() if found is None else found.Clone()

    def has_default(self, adapter: int) -> bool:
        """Tell whether what no other route is for goes through *adapter*, in either IP version."""
        return any(route.is_default and route.adapter == adapter for route in self._routes)

    def changed_since(self, before: RouteMap) -> Iterator[int]:
        """Go through the adapters, had by both, whose answers are not those of *before*."""
        if (self._routes, self._within) == (before._routes, before._within):
            return
        new, old = self._sets(), before._sets()
        for adapter in self._adapters:
            if adapter in old and (
                list(new[adapter].ranges()) != list(old[adapter].ranges())
                or self.has_default(adapter) != before.has_default(adapter)
            ):
                yield adapter

    def _sets(self) -> dict[int, FWXIpFilter]:
        """Let each route take its addresses from all that are wider or come after it, as the kernel decides."""
        if self._filters is None:
            made = {adapter: FWXIpFilter() for adapter in self._adapters}
            ranked = sorted((route for route in self._routes if route.destination.version == 4), key=_rank)
            for _, group in groupby(ranked, key=_rank):
                routes = list(group)
                ends = IPv4Address(routes[0].destination.first), IPv4Address(routes[0].destination.last)
                through = {route.adapter for route in routes}
                for adapter, reached in made.items():
                    (reached.IncludeRange if adapter in through else reached.ExcludeRange)(*ends)
            for adapter, ranges in self._within.items():
                if adapter in made:
                    made[adapter].ExcludeFilter(_all_but(ranges))
            self._filters = made
        return self._filters


def _rank(route: RouteState) -> tuple[int, int, int]:
    """Routes that rank later win: the narrower, and of two the one of the lower metric."""
    destination = route.destination
    return destination.first - destination.last, destination.first, -route.metric


def _all_but(ranges: Iterable[AddressRange]) -> FWXIpFilter:
    made = FWXIpFilter()
    made.IncludeRange(IPv4Address(0), IPv4Address((1 << 32) - 1))
    for known in ranges:
        made.ExcludeRange(IPv4Address(known.first), IPv4Address(known.last))
    return made
