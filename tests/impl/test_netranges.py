"""The table of networks and the map of routes, compared with what one address after the other says (B13.10)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import pairwise
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from fwx.impl.machine import NOWHERE, RouteState
from fwx.impl.netranges import RangeTable
from fwx.impl.netroutes import RouteMap
from fwx.impl.networks import AddressRange

TOP = (1 << 32) - 1
# Few numbers, so that ranges overlap, touch and reach the ends.
EDGES = st.sampled_from([*range(12), TOP - 2, TOP - 1, TOP])
RANGES4 = st.tuples(EDGES, EDGES).map(lambda ends: AddressRange(4, min(ends), max(ends)))
MAPPED = 0xFFFF << 32
EDGES6 = st.sampled_from([0, 1, 5, MAPPED - 1, MAPPED, MAPPED + 9, MAPPED + TOP, MAPPED + TOP + 1, (1 << 128) - 1])
RANGES6 = st.tuples(EDGES6, EDGES6).map(lambda ends: AddressRange(6, min(ends), max(ends)))
CLAIMS = st.lists(st.tuples(st.sampled_from("abc"), st.lists(RANGES4 | RANGES6, max_size=4)), max_size=5)


def owner_of(claims: Any, address: Any) -> str:
    found = [owner for owner, ranges in claims if any(address in known for known in ranges)]
    return found[-1] if found else "rest"


@given(CLAIMS)
def test_the_last_claim_holds(claims: Any) -> None:
    table = RangeTable("rest", claims)
    for number in (*range(14), TOP - 3, TOP - 2, TOP - 1, TOP):
        address = IPv4Address(number)
        assert table.owner(address) == owner_of(claims, address)
    for number in (0, 1, 2, 5, 6, MAPPED - 2, MAPPED - 1, MAPPED + TOP + 1, MAPPED + TOP + 2, (1 << 128) - 1):
        six = IPv6Address(number)
        assert table.owner(six) == owner_of(claims, six)


@given(CLAIMS)
def test_the_bounds_say_the_same(claims: Any) -> None:
    """Each range is as long as it can be, but for the ends of the mapped block."""
    table = RangeTable("rest", claims)
    bounds = list(table.bounds())
    uppers = [upper for upper, _ in bounds]
    assert uppers == sorted(set(uppers))
    assert int(uppers[-1]) == (1 << 128) - 1
    first = 0
    for upper, owner in bounds:
        for number in (first, int(upper)):
            six = IPv6Address(number)
            assert table.owner(six.ipv4_mapped or six) == owner
        first = int(upper) + 1
    for (upper, owner), (_, after) in pairwise(bounds):
        assert owner != after or int(upper) in (MAPPED - 1, MAPPED + TOP)


@given(CLAIMS, CLAIMS)
@example([], [("a", [AddressRange(6, MAPPED, MAPPED)])])
def test_tables_are_the_same_when_their_answers_are(one: Any, other: Any) -> None:
    left, right = RangeTable("rest", one), RangeTable("rest", other)
    assert (left == right) is (list(left.bounds()) == list(right.bounds()))


def prefix(number: int, length: int) -> AddressRange:
    size = 1 << (32 - length)
    first = number // size * size
    return AddressRange(4, first, first + size - 1)


LENGTHS = st.sampled_from([0, 1, 28, 29, 30, 31, 32])
ROUTES = st.lists(
    st.builds(
        RouteState,
        st.builds(prefix, st.integers(0, 15), LENGTHS),
        st.sampled_from([NOWHERE, 1, 2]),
        st.sampled_from([0, 10]),
    ),
    max_size=8,
)


@given(ROUTES)
def test_the_kernels_choice(routes: list[RouteState]) -> None:
    """The longest prefix, then the lowest metric; where several are left, through each of them."""
    found = RouteMap((1, 2), tuple(routes), {})
    for number in (*range(16), TOP):
        fits = [route for route in routes if ip_address(number) in route.destination]
        best = min(((_size(route), route.metric) for route in fits), default=None)
        wanted = {route.adapter for route in fits if (_size(route), route.metric) == best}
        reached = {index for index in (1, 2) if found.reached(index).admits(str(IPv4Address(number)))}
        assert reached == wanted - {NOWHERE}, number


def _size(route: RouteState) -> int:
    return route.destination.last - route.destination.first


@given(ROUTES, ROUTES)
def test_changes_are_those_of_answers(before: list[RouteState], after: list[RouteState]) -> None:
    old, new = RouteMap((1, 2), tuple(before), {}), RouteMap((2, 3), tuple(after), {})
    same = old.reached(2).Compare(new.reached(2)) == 0 and old.has_default(2) == new.has_default(2)
    assert list(new.changed_since(old)) == ([] if same else [2])


def test_only_within_the_network() -> None:
    found = RouteMap((1,), (RouteState(prefix(0, 0), 1, 0),), {1: (prefix(8, 29),)})
    assert list(found.reached(1).ranges()) == [(IPv4Address(8), IPv4Address(15))]
    assert list(found.reached(9).ranges()) == []
