"""IP filters: sets of ranges (behaviour B6.31 to B6.34)."""

from __future__ import annotations

import threading
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.impl.ipfilter import FWXIpFilter
from fwx.interfaces import E_INVALIDARG, E_POINTER, S_FALSE, S_OK, COMError
from fwx.testing import check_ip_filter

TOP = 0xFFFFFFFF
RANGES = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted)


def at(number: int) -> IPv4Address:
    return IPv4Address(number)


def made(*ranges: tuple[int, int]) -> FWXIpFilter:
    ip_filter = FWXIpFilter()
    for first, last in ranges:
        ip_filter.IncludeRange(at(first), at(last))
    return ip_filter


def members(ip_filter: FWXIpFilter) -> set[int]:
    return {number for number in range(42) if ip_filter.IsIncluded(at(number)) == S_OK}


def test_the_battery() -> None:
    """B6.31, B6.33."""
    check_ip_filter(FWXIpFilter).require()


@given(st.lists(st.tuples(st.booleans(), RANGES), max_size=12), st.lists(RANGES, max_size=6))
def test_it_agrees_with_sets(operations: Any, others: Any) -> None:
    """B6.31: whatever the order; and with the least number of ranges."""
    ip_filter, model = FWXIpFilter(), set[int]()
    for includes, (first, last) in operations:
        (ip_filter.IncludeRange if includes else ip_filter.ExcludeRange)(at(first), at(last))
        numbers = set(range(first, last + 1))
        model = model | numbers if includes else model - numbers
    other = made(*others)
    other_model = members(other)
    assert members(ip_filter) == model
    union, rest = ip_filter.Clone(), ip_filter.Clone()
    union.IncludeFilter(other)
    rest.ExcludeFilter(other)
    assert (members(union), members(rest)) == (model | other_model, model - other_model)
    assert members(other) == other_model
    assert ip_filter.Compare(made(*((number, number) for number in model))) == S_OK
    edges = sum((number - 1) not in model for number in model)
    assert len(list(ip_filter.ranges())) == edges


def test_ranges_are_told_in_order() -> None:
    assert list(made((5, 9), (1, 2), (10, 10), (TOP, TOP)).ranges()) == [
        (at(1), at(2)),
        (at(5), at(10)),
        (at(TOP), at(TOP)),
    ]


@pytest.mark.parametrize(
    ("host", "admitted"), [("0.0.0.5", True), ("::ffff:0.0.0.5", True), ("0.0.0.6", False), ("::5", False)]
)
def test_what_it_admits(host: str, admitted: bool) -> None:
    """B6.34: an IPv4-mapped address is the IPv4 address; another IPv6 address is in no IPv4 range."""
    assert made((5, 5)).admits(host) is admitted


def test_a_hundred_thousand_ranges() -> None:
    """In any order of coming; searched by halves, so that each answer takes a few steps."""
    numbers = [(number * 48271 % 99991) * 16 for number in range(1, 99991)]
    ip_filter = made(*((number, number + 7) for number in numbers))
    assert len(list(ip_filter.ranges())) == 99990
    assert ip_filter.IsIncluded(at(numbers[500] + 7)) == S_OK
    assert ip_filter.IsIncluded(at(numbers[500] + 8)) == S_FALSE
    twice = ip_filter.Clone()
    twice.IncludeFilter(ip_filter)
    assert twice.Compare(ip_filter) == S_OK
    twice.ExcludeFilter(ip_filter)
    assert list(twice.ranges()) == []


def test_threads_may_share_one() -> None:
    ip_filter = FWXIpFilter()

    def include(start: int) -> None:
        for number in range(start, 4000, 8):
            ip_filter.IncludeRange(at(number * 2), at(number * 2))

    threads = [threading.Thread(target=include, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [first for first, _ in ip_filter.ranges()] == [at(number * 2) for number in range(4000)]


@pytest.mark.parametrize("method", ["IncludeFilter", "ExcludeFilter", "Compare"])
@pytest.mark.parametrize(("wrong", "code"), [(None, E_POINTER), (object(), E_INVALIDARG), (at(1), E_INVALIDARG)])
def test_what_is_no_filter(method: str, wrong: Any, code: int) -> None:
    with pytest.raises(COMError) as failure:
        getattr(made((1, 2)), method)(wrong)
    assert failure.value.hresult == code
