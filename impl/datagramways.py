"""The upstreams that one UDP socket sends through: one association with each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from fwx.impl.route import Upstream
from fwx.impl.upstreamdatagrams import UpstreamDatagrams

if TYPE_CHECKING:
    from fwx.impl.engine import Engine

REST_SECONDS = 2.0
"""How long an upstream whose association has failed is left alone."""

Event = Callable[[UpstreamDatagrams, int], None]


class DatagramWays:
    """Makes an association when it is needed first, and again, after a rest, when it has failed."""

    __slots__ = ("_engine", "_event", "_resting", "_ways")

    def __init__(self, engine: Engine, event: Event) -> None:
        """*event* is called with an association and a mask: it is open, it has data, or it has failed."""
        self._engine = engine
        self._event = event
        self._ways: dict[str, UpstreamDatagrams] = {}
        self._resting: dict[str, float] = {}

    def __iter__(self) -> Iterator[UpstreamDatagrams]:
        """Go through the associations there are."""
        return iter(list(self._ways.values()))

    def rests(self, upstream: str) -> bool:
        """Tell whether *upstream* has failed a moment ago, so that nothing is sent through it now."""
        until = self._resting.get(upstream)
        if until is None:
            return False
        if self._engine.clock() < until:
            return True
        del self._resting[upstream]
        return False

    def through(self, upstream: str) -> UpstreamDatagrams:
        """Return the association with *upstream*, which does not rest; it may not be open yet, or have failed already.

        :raises KeyError: no upstream has that name.
        """
        way = self._ways.get(upstream)
        if way is None:
            route = self._engine.routes[upstream]
            assert isinstance(route, Upstream)
            way = self._ways[upstream] = UpstreamDatagrams(self._engine, route)
            way.watch(partial(self._told, way))
        return way

    def close(self) -> None:
        """End every association."""
        ways, self._ways = self._ways, {}
        for way in ways.values():
            way.close(True)

    def _told(self, way: UpstreamDatagrams, mask: int) -> None:
        if way.code:
            self._ways.pop(way.upstream.name, None)
            self._resting[way.upstream.name] = self._engine.clock() + REST_SECONDS
        self._event(way, mask)
