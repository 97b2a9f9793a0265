"""Whose answers they are: the addresses that the destinations of one UDP connection answer from, by the way there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fwx.impl.udpdestination import Destination, State

if TYPE_CHECKING:
    from fwx.impl.upstreamdatagrams import UpstreamDatagrams
    from fwx.interfaces import SocketAddress

MOST_ANSWERING = 16
"""Addresses that may answer for one name which an upstream looks up."""


class DatagramAnswers:
    """Finds the destination that a datagram from outside belongs to.

    :ivar straight: those that are sent to straight, by address.
    """

    __slots__ = ("_through", "straight")

    def __init__(self) -> None:
        self.straight: dict[SocketAddress, Destination] = {}
        self._through: dict[UpstreamDatagrams, dict[SocketAddress, Destination]] = {}

    def learn(self, destination: Destination, address: SocketAddress) -> None:
        """Know *address* as the destination's; of two names for one address the last has the answers."""
        way = destination.way
        known = self.straight if way is None else self._through.setdefault(way, {})
        known[address] = destination
        destination.answering.add(address)

    def through(
        self, way: UpstreamDatagrams, source: SocketAddress, destinations: Iterable[Destination]
    ) -> Destination | None:
        """Return whom *source* answers for by *way*, one of the open *destinations*; ``None`` for a stranger."""
        destination = self._through.get(way, {}).get(source)
        if destination is None and source.address is not None:
            destination = _named(way, source, destinations)
            if destination is not None:
                self.learn(destination, source)
        return destination

    def forget(self, destination: Destination, destinations: Iterable[Destination]) -> list[SocketAddress]:
        """Give the destination's addresses to one of *destinations* that has them too; return those nobody has."""
        way, orphans = destination.way, []
        known = self.straight if way is None else self._through.get(way, {})
        for address in destination.answering:
            if known.get(address) is not destination:
                continue
            heirs = (each for each in destinations if each.way is way and address in each.answering)
            heir = next((each for each in heirs if each is not destination and each.state is State.OPEN), None)
            if heir is not None:
                known[address] = heir
            else:
                del known[address]
                orphans.append(address)
        return orphans

    def close(self, way: UpstreamDatagrams) -> None:
        """Nothing comes by *way* any more."""
        self._through.pop(way, None)

    def clear(self) -> None:
        self.straight.clear()
        self._through.clear()


def _named(way: UpstreamDatagrams, source: SocketAddress, destinations: Iterable[Destination]) -> Destination | None:
    """Find the name that the upstream has looked up as *source*, which it alone knows.

    It is one with this port: rather one that nothing has answered for yet, and then one that filters watch, which so
    miss nothing; of several the one that was quiet for longest.
    """
    candidates = [
        each
        for each in destinations
        if each.way is way
        and each.address is None
        and each.state is State.OPEN
        and each.target.port == source.port
        and len(each.answering) < MOST_ANSWERING
    ]
    return min(candidates, key=lambda each: (bool(each.answering), not each.members), default=None)
