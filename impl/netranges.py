"""Which network each address belongs to: a table that covers all of IPv4 and IPv6, one network for each address."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address
from itertools import pairwise
from typing import Final, Generic, TypeVar

from fwx.impl.networks import Address, AddressRange

Owner = TypeVar("Owner")

_LAST: Final = {4: (1 << 32) - 1, 6: (1 << 128) - 1}
_MAPPED_FIRST: Final = int(IPv6Address("::ffff:0:0"))
_MAPPED_LAST: Final = _MAPPED_FIRST + _LAST[4]


class RangeTable(Generic[Owner]):
    """Owners of address ranges. It does not change once it has been made."""

    __slots__ = ("_owners", "_uppers")

    def __init__(self, rest: Owner, claims: Iterable[tuple[Owner, Iterable[AddressRange]]]) -> None:
        """Give each address to the last of *claims* that holds it, and to *rest* what nobody claims."""
        self._uppers = {version: [last] for version, last in _LAST.items()}
        self._owners: dict[int, list[Owner]] = {version: [rest] for version in _LAST}
        for owner, ranges in claims:
            for known in ranges:
                self._paint(known, owner)
        for version in _LAST:
            self._join(version)

    def owner(self, address: Address) -> Owner:
        """Return to whom a normalised *address* belongs."""
        return self._owners[address.version][bisect_left(self._uppers[address.version], int(address))]

    def ranges(self, version: int) -> Iterator[tuple[AddressRange, Owner]]:
        """Go through the ranges of IP *version* in rising order."""
        first = 0
        for upper, owner in zip(self._uppers[version], self._owners[version], strict=True):
            yield AddressRange(version, first, upper), owner
            first = upper + 1

    def bounds(self) -> Iterator[tuple[IPv6Address, Owner]]:
        """Go through the last address of each range in rising order; IPv4 stands in its IPv4-mapped form."""
        inside = [(_MAPPED_FIRST + known.last, owner) for known, owner in self.ranges(4)]
        for known, owner in self.ranges(6):
            if known.first < _MAPPED_FIRST:
                yield IPv6Address(min(known.last, _MAPPED_FIRST - 1)), owner
            if known.last >= _MAPPED_FIRST:
                yield from ((IPv6Address(upper), each) for upper, each in inside)
                inside = []
            if known.last > _MAPPED_LAST:
                yield IPv6Address(known.last), owner

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RangeTable):
            return NotImplemented
        # Inside the mapped block IPv6 ranges differ without meaning: no normalised address is there.
        return list(self.bounds()) == list(other.bounds())

    __hash__ = None  # type: ignore[assignment]

    def _paint(self, known: AddressRange, owner: Owner) -> None:
        uppers, owners = self._uppers[known.version], self._owners[known.version]
        low, high = bisect_left(uppers, known.first), bisect_left(uppers, known.last)
        start = uppers[low - 1] + 1 if low else 0
        pieces = [(known.first - 1, owners[low])] if known.first > start else []
        pieces.append((known.last, owner))
        if known.last < uppers[high]:
            pieces.append((uppers[high], owners[high]))
        uppers[low : high + 1] = [upper for upper, _ in pieces]
        owners[low : high + 1] = [each for _, each in pieces]

    def _join(self, version: int) -> None:
        """Make one range of neighbours that belong to one owner."""
        pairs = list(zip(self._uppers[version], self._owners[version], strict=True))
        kept = [before for before, after in pairwise(pairs) if after[1] is not before[1]] + pairs[-1:]
        self._uppers[version] = [upper for upper, _ in kept]
        self._owners[version] = [owner for _, owner in kept]
