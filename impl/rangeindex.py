"""Which of many named ranges of addresses hold an address: compiled once, found by bisection."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from fwx.impl.networks import Address, AddressRange

_Edges: TypeAlias = "dict[int, list[tuple[int, int]]]"


class RangeIndex:
    """Ranges under names, which may overlap. Every stretch of addresses that the same ranges hold is kept once.

    An answer takes logarithmic time in the number of ranges, however many names there are.
    """

    __slots__ = ("_starts", "_stretches")

    def __init__(self, named: Iterable[tuple[str, Iterable[AddressRange]]]) -> None:
        """Know the ranges of each name; answers have the names in this order."""
        edges: dict[int, _Edges] = {4: {}, 6: {}}
        names = []
        for number, (name, ranges) in enumerate(named):
            names.append(name)
            for each in ranges:
                of_version = edges[each.version]
                of_version.setdefault(each.first, []).append((number, 1))
                of_version.setdefault(each.last + 1, []).append((number, -1))
        self._starts: dict[int, Sequence[int]] = {}
        self._stretches: dict[int, tuple[tuple[str, ...], ...]] = {}
        known: dict[tuple[int, ...], tuple[str, ...]] = {}
        for version, found in edges.items():
            starts: list[int] = [0]
            stretches: list[tuple[str, ...]] = [()]
            for start, numbers in _stretches(found):
                holders = known.setdefault(numbers, tuple(names[number] for number in numbers))
                if start == starts[-1]:
                    stretches[-1] = holders
                elif holders is not stretches[-1]:
                    starts.append(start)
                    stretches.append(holders)
            # Numbers of 32 bits fit into a machine word, those of 128 do not; the end of IPv4 is one more than 32 bits.
            self._starts[version] = array("Q", starts) if version == 4 else tuple(starts)
            self._stretches[version] = tuple(stretches)

    def of(self, address: Address) -> tuple[str, ...]:
        """Return the names whose ranges hold *address*."""
        version = address.version
        return self._stretches[version][bisect_right(self._starts[version], int(address)) - 1]


def _stretches(edges: _Edges) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Give the beginning of each stretch, with the numbers of what holds it."""
    open_ranges: dict[int, int] = {}
    for start in sorted(edges):
        for number, step in edges[start]:
            open_ranges[number] = open_ranges.get(number, 0) + step
            if not open_ranges[number]:
                del open_ranges[number]
        yield start, tuple(sorted(open_ranges))
