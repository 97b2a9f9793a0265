"""The battery for IP filters: a right one, and one that breaks each rule."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

import pytest
from zope.interface import implementer

from fwx.impl.unknown import Unknown
from fwx.interfaces import E_INVALIDARG, E_POINTER, HRESULT, S_FALSE, S_OK, COMError, IFWXIpFilter
from fwx.testing import Battery, check_ip_filter

Ranges = list[tuple[int, int]]


def number(address: Any) -> int:
    if not isinstance(address, IPv4Address):
        raise COMError(E_INVALIDARG, f"{address!r} is no IPv4 address")
    return int(address)


@implementer(IFWXIpFilter)
class RangeSet(Unknown):
    """A right IP filter: ranges in order that neither overlap nor touch."""

    def __init__(self) -> None:
        self.ranges: Ranges = []

    def IncludeRange(self, IP_From: IPv4Address, IP_To: IPv4Address) -> None:
        first, last = self.ends(IP_From, IP_To)
        apart = [each for each in self.ranges if each[1] < first - 1 or each[0] > last + 1]
        joined = [each for each in self.ranges if each not in apart]
        merged = (min([first, *(each[0] for each in joined)]), max([last, *(each[1] for each in joined)]))
        self.ranges = sorted([*apart, merged])

    def ExcludeRange(self, IP_From: IPv4Address, IP_To: IPv4Address) -> None:
        first, last = self.ends(IP_From, IP_To)
        left = [(low, min(high, first - 1)) for low, high in self.ranges if low < first]
        right = [(max(low, last + 1), high) for low, high in self.ranges if high > last]
        self.ranges = sorted(set(left + right))

    def IncludeFilter(self, pIpFilter: IFWXIpFilter) -> None:
        for first, last in self.other(pIpFilter):
            self.IncludeRange(IPv4Address(first), IPv4Address(last))

    def ExcludeFilter(self, pIpFilter: IFWXIpFilter) -> None:
        for first, last in self.other(pIpFilter):
            self.ExcludeRange(IPv4Address(first), IPv4Address(last))

    def IsIncluded(self, IP: IPv4Address) -> HRESULT:
        at = number(IP)
        return S_OK if any(first <= at <= last for first, last in self.ranges) else S_FALSE

    def Compare(self, pIpFilter: IFWXIpFilter) -> HRESULT:
        return S_OK if self.ranges == self.other(pIpFilter) else S_FALSE

    def Clone(self) -> IFWXIpFilter:
        clone = type(self)()
        clone.ranges = list(self.ranges)
        return clone

    def ends(self, low: Any, high: Any) -> tuple[int, int]:
        first, last = number(low), number(high)
        if last < first:
            raise COMError(E_INVALIDARG, f"{high} is below {low}")
        return first, last

    def other(self, ip_filter: Any) -> Ranges:
        if ip_filter is None:
            raise COMError(E_POINTER, "there is no other filter")
        return list(ip_filter.ranges)


class OtherNames(RangeSet):
    def IsIncluded(self, ip: IPv4Address) -> HRESULT:
        return super().IsIncluded(ip)


class StartsFull(RangeSet):
    def __init__(self) -> None:
        self.ranges = [(0, 0xFFFFFFFF)]


class LosesTheUpperEnd(RangeSet):
    def IncludeRange(self, IP_From: IPv4Address, IP_To: IPv4Address) -> None:
        first, last = self.ends(IP_From, IP_To)
        super().IncludeRange(IP_From, IPv4Address(max(first, last - 1)))


class NeverSplits(RangeSet):
    def ExcludeRange(self, IP_From: IPv4Address, IP_To: IPv4Address) -> None:
        first, last = self.ends(IP_From, IP_To)
        self.ranges = [each for each in self.ranges if each[1] < first or each[0] > last]


class HasSignedNumbers(RangeSet):
    """Takes addresses above 127.255.255.255 for negative numbers."""

    def ends(self, low: Any, high: Any) -> tuple[int, int]:
        first, last = number(low), number(high)
        if (last ^ 1 << 31) < (first ^ 1 << 31) or last < first or last >> 31 > first >> 31:
            raise COMError(E_INVALIDARG)
        return first, last


class Replaces(RangeSet):
    def IncludeFilter(self, pIpFilter: IFWXIpFilter) -> None:
        self.ranges = self.other(pIpFilter)


class TakesFromTheOther(RangeSet):
    def ExcludeFilter(self, pIpFilter: Any) -> None:
        super().ExcludeFilter(pIpFilter)
        if pIpFilter is not self:
            pIpFilter.ranges.clear()


class ComparesAsWritten(RangeSet):
    """Keeps ranges as they came, so equal sets may look different."""

    def IncludeRange(self, IP_From: IPv4Address, IP_To: IPv4Address) -> None:
        self.ranges.append(self.ends(IP_From, IP_To))


class ComparesByTruth(RangeSet):
    def Compare(self, pIpFilter: IFWXIpFilter) -> Any:
        return self.ranges == self.other(pIpFilter)


class ClonesItself(RangeSet):
    def Clone(self) -> IFWXIpFilter:
        return self


class ClonesTheSameRanges(RangeSet):
    def IncludeRange(self, IP_From: IPv4Address, IP_To: IPv4Address) -> None:
        super().IncludeRange(IP_From, IP_To)
        self.shared[:] = self.ranges
        self.ranges = self.shared

    def __init__(self) -> None:
        super().__init__()
        self.shared: Ranges = []

    def Clone(self) -> IFWXIpFilter:
        clone = type(self)()
        clone.ranges = clone.shared = self.shared
        return clone


class TurnsAround(RangeSet):
    def ends(self, low: Any, high: Any) -> tuple[int, int]:
        first, last = sorted((number(low), number(high)))
        return first, last


class TakesNoneForEmpty(RangeSet):
    def other(self, ip_filter: Any) -> Ranges:
        return [] if ip_filter is None else super().other(ip_filter)


class TakesEverythingForAddresses(RangeSet):
    def IsIncluded(self, IP: Any) -> HRESULT:
        return super().IsIncluded(IPv4Address(IP))


class ForgetsOld(RangeSet):
    """Has room for four ranges."""

    def IncludeRange(self, IP_From: IPv4Address, IP_To: IPv4Address) -> None:
        super().IncludeRange(IP_From, IP_To)
        del self.ranges[4:]


WRONG: tuple[tuple[str, type, str], ...] = (
    (
        "has every member of IFWXIpFilter to the letter",
        OtherNames,
        "IFWXIpFilter.IsIncluded: expected the parameters (IP), found (ip)",
    ),
    (
        "starts empty, which is nobody",
        StartsFull,
        "a new filter includes nobody: 10.0.0.x lacks x = [] and has x = [0, 1",
    ),
    ("IncludeRange adds a range with both ends", LosesTheUpperEnd, "lacks x = [12]"),
    ("ExcludeRange takes a range out", NeverSplits, "after a range was taken out: 10.0.0.x lacks x = [10, 11, 15"),
    ("ranges reach from the lowest to the highest address", HasSignedNumbers, "it raised COMError: E_INVALIDARG"),
    ("IncludeFilter unites", Replaces, "IncludeFilter: 10.0.0.x lacks x = [1, 2, 3, 20, 21, 22]"),
    ("ExcludeFilter subtracts", TakesFromTheOther, "the other filter after ExcludeFilter: 10.0.0.x lacks x = [3, 4"),
    (
        "Compare tells whether the addresses are the same",
        ComparesAsWritten,
        "whether ((1, 10),) and ((1, 5), (6, 10)) are the same: expected True, found False",
    ),
    (
        "Compare tells whether the addresses are the same",
        ComparesByTruth,
        "Compare: expected S_OK or S_FALSE, found True",
    ),
    ("Clone copies, with a life of its own", ClonesItself, "Clone returned the filter itself"),
    ("Clone copies, with a life of its own", ClonesTheSameRanges, "after its clone has changed"),
    ("a range from high to low is E_INVALIDARG", TurnsAround, "IncludeRange from high to low: expected E_INVALIDARG"),
    (
        "no other filter is E_POINTER",
        TakesNoneForEmpty,
        "IncludeFilter(None): expected E_POINTER, found the result None",
    ),
    (
        "what is no IPv4 address is E_INVALIDARG",
        TakesEverythingForAddresses,
        "expected E_INVALIDARG, found AddressValueError",
    ),
    ("agrees with a set of addresses", ForgetsOld, "operations: 10.0.0.x lacks"),
)


@pytest.mark.parametrize(("rule", "wrong", "reason"), WRONG)
def test_the_rule_catches(rule: str, wrong: type, reason: str, caught: Callable[[Battery, str, str], None]) -> None:
    caught(check_ip_filter(wrong), rule, reason)


def test_a_right_one_keeps_every_rule_and_each_has_a_wrong_one(shared_rules: tuple[str, ...]) -> None:
    battery = check_ip_filter(RangeSet)
    battery.require()
    assert {check.name for check in battery} - set(shared_rules) == {rule for rule, _, _ in WRONG}
