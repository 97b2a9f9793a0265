"""IFWXIpFilter: a set of IPv4 addresses, kept as ranges (B6.31)."""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from ipaddress import IPv4Address
from itertools import pairwise
from typing import Any

from zope.interface import implementer

from fwx.impl.networks import normalise
from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXIpFilter
from fwx.interfaces.hresult import E_INVALIDARG, E_POINTER, HRESULT, S_FALSE, S_OK, COMError

# Guards the bounds of every filter while they change: that is rare, and a filter may be shared by threads.
_changing = threading.Lock()


@implementer(IFWXIpFilter)
class FWXIpFilter(Unknown):
    """The ranges as one sorted array of bounds: the first address inside, the first one outside again, and so on.

    An address is inside when an odd number of bounds lies at or below it: one search by halves, whatever the number
    of ranges.
    """

    __slots__ = ("_bounds",)

    def __init__(self, bounds: array[int] | None = None) -> None:
        """Made by ``CreateIpFilter``, empty; or with the *bounds* of another one, which become its own."""
        self._bounds = array("Q") if bounds is None else bounds

    def IncludeRange(self, IP_From: IPv4Address, IP_To: IPv4Address) -> None:
        """Add the addresses from *IP_From* to *IP_To*, both included.

        :raises COMError: ``E_INVALIDARG`` the last is below the first, or not an IPv4 address.
        """
        self._put(_number(IP_From, "IP_From"), _number(IP_To, "IP_To"), 0)

    def ExcludeRange(self, IP_From: IPv4Address, IP_To: IPv4Address) -> None:
        """Take the addresses from *IP_From* to *IP_To* out, both included.

        :raises COMError: ``E_INVALIDARG`` the last is below the first, or not an IPv4 address.
        """
        self._put(_number(IP_From, "IP_From"), _number(IP_To, "IP_To"), 1)

    def IncludeFilter(self, pIpFilter: IFWXIpFilter) -> None:
        """Add the addresses of another filter.

        :raises COMError: ``E_POINTER`` there is none; ``E_INVALIDARG`` it is not one of the service's.
        """
        other = require_ip_filter(pIpFilter)._bounds
        with _changing:
            self._bounds = _combined(self._bounds, other, (False, True, True, True))

    def ExcludeFilter(self, pIpFilter: IFWXIpFilter) -> None:
        """Take the addresses of another filter out.

        :raises COMError: ``E_POINTER`` there is none; ``E_INVALIDARG`` it is not one of the service's.
        """
        other = require_ip_filter(pIpFilter)._bounds
        with _changing:
            self._bounds = _combined(self._bounds, other, (False, True, False, False))

    def IsIncluded(self, IP: IPv4Address) -> HRESULT:
        """Return ``S_OK`` when the address is inside, ``S_FALSE`` when it is not.

        :raises COMError: ``E_INVALIDARG`` not an IPv4 address.
        """
        return S_OK if bisect_right(self._bounds, _number(IP, "IP")) & 1 else S_FALSE

    def Compare(self, pIpFilter: IFWXIpFilter) -> HRESULT:
        """Return ``S_OK`` when the other filter holds the same addresses, ``S_FALSE`` when it does not.

        :raises COMError: ``E_POINTER`` there is none; ``E_INVALIDARG`` it is not one of the service's.
        """
        return S_OK if self._bounds == require_ip_filter(pIpFilter)._bounds else S_FALSE

    def Clone(self) -> FWXIpFilter:
        """Return a copy with a life of its own."""
        return FWXIpFilter(self._bounds[:])

    # The service's side.

    def admits(self, host: str) -> bool:
        """Tell whether the literal address *host* is inside. An IPv6 one never is: the filter cannot name it."""
        address = normalise(host)
        return address.version == 4 and bool(bisect_right(self._bounds, int(address)) & 1)

    def ranges(self) -> Iterator[tuple[IPv4Address, IPv4Address]]:
        """Go through the ranges in order, each by its first and its last address."""
        for first, beyond in list(pairwise(self._bounds))[::2]:
            yield IPv4Address(first), IPv4Address(beyond - 1)

    def _put(self, first: int, last: int, outside: int) -> None:
        """Make all from *first* to *last* inside, or *outside* (1): drop the bounds between, set new ones at the ends.

        A bound is needed at an end where the other state lies beyond it, which the parity of its place tells.
        """
        if last < first:
            raise COMError(E_INVALIDARG, f"{IPv4Address(last)} is below {IPv4Address(first)}")
        with _changing:
            bounds = self._bounds
            low, high = bisect_left(bounds, first), bisect_right(bounds, last + 1)
            ends = [first] if low & 1 == outside else []
            if high & 1 == outside:
                ends.append(last + 1)
            bounds[low:high] = array("Q", ends)


def require_ip_filter(ip_filter: Any) -> FWXIpFilter:
    """Make sure that *ip_filter* is one of the service's, whose ranges can be read, and return it.

    :raises COMError: ``E_POINTER`` it is ``None``; ``E_INVALIDARG`` it is something else.
    """
    if ip_filter is None:
        raise COMError(E_POINTER, "an IP filter is needed")
    if not isinstance(ip_filter, FWXIpFilter):
        raise COMError(E_INVALIDARG, f"an IP filter of CreateIpFilter is needed, not {type(ip_filter).__name__}")
    return ip_filter


def _combined(left: array[int], right: array[int], inside: tuple[bool, bool, bool, bool]) -> array[int]:
    """Return the bounds of a combination; *inside* by: in neither, only in *left*, only in *right*, in both."""
    result = array("Q")
    place, other, state = 0, 0, False
    # A bound that both have comes twice; the second time it changes nothing.
    for bound in sorted([*left, *right]):
        place += place < len(left) and left[place] == bound
        other += other < len(right) and right[other] == bound
        if inside[(place & 1) + 2 * (other & 1)] is not state:
            state = not state
            result.append(bound)
    return result


def _number(address: Any, name: str) -> int:
    if not isinstance(address, IPv4Address):
        raise COMError(E_INVALIDARG, f"{name} is {address!r}, not an IPv4 address")
    return int(address)
