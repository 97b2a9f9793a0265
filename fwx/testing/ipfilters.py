"""The battery for IFWXIpFilter: the laws of a set of addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from fwx.interfaces import E_INVALIDARG, E_POINTER, HRESULT, S_FALSE, S_OK, IFWXIpFilter
from fwx.testing.battery import Battery, BreachError, Rule, expect, expect_equal, expect_failure, run_rules
from fwx.testing.unknown import shape_rule, unknown_rules

Maker = Callable[[], Any]

_UNIVERSE = range(64)
_LOWEST = IPv4Address("0.0.0.0")  # noqa: S104  the lowest address, nothing is bound to it
_HIGHEST = IPv4Address("255.255.255.255")


def check_ip_filter(maker: Maker) -> Battery:
    """Try an implementation of ``IFWXIpFilter``; *maker* returns a new one, as ``CreateIpFilter`` does (B6.31)."""
    return run_rules(type(maker()).__qualname__, _RULES, lambda: nullcontext(maker))


def _at(number: int) -> IPv4Address:
    """Return the address that stands for *number* in the rules."""
    return IPv4Address(0x0A000000 + number)


def _of(make: Maker, *ranges: tuple[int, int]) -> Any:
    made = make()
    for first, last in ranges:
        made.IncludeRange(_at(first), _at(last))
    return made


def _is(answer: object, what: str) -> bool:
    """Return what ``S_OK`` or ``S_FALSE`` says. :raises BreachError: *answer* is neither."""
    if isinstance(answer, HRESULT) and int(answer) in (int(S_OK), int(S_FALSE)):
        return int(answer) == int(S_OK)
    raise BreachError(f"{what}: expected S_OK or S_FALSE, found {answer!r}")


def _members(ip_filter: Any) -> set[int]:
    return {number for number in _UNIVERSE if _is(ip_filter.IsIncluded(_at(number)), "IsIncluded")}


def _expect_members(ip_filter: Any, wanted: Iterable[int], what: str) -> None:
    found, wanted = _members(ip_filter), set(wanted)
    missing, surplus = sorted(wanted - found), sorted(found - wanted)
    if missing or surplus:
        raise BreachError(f"{what}: 10.0.0.x lacks x = {missing} and has x = {surplus} too many")


def _same(left: Any, right: Any) -> bool:
    return _is(left.Compare(right), "Compare")


def _starts_empty(make: Maker) -> None:
    _expect_members(make(), (), "a new filter includes nobody")
    expect(not _is(make().IsIncluded(_LOWEST), "IsIncluded"), "a new filter includes 0.0.0.0")


def _includes(make: Maker) -> None:
    made = _of(make, (10, 12), (20, 20))
    _expect_members(made, (10, 11, 12, 20), "both ends of a range belong to it")
    made.IncludeRange(_at(11), _at(15))
    _expect_members(made, (*range(10, 16), 20), "after a range that overlaps")


def _excludes(make: Maker) -> None:
    made = _of(make, (10, 20))
    made.ExcludeRange(_at(12), _at(14))
    _expect_members(made, (10, 11, *range(15, 21)), "after a range was taken out")
    made.ExcludeRange(_at(30), _at(40))
    _expect_members(made, (10, 11, *range(15, 21)), "after a range was taken out that was not in")
    made.IncludeRange(_at(13), _at(13))
    _expect_members(made, (10, 11, 13, *range(15, 21)), "after one address was put back")


def _reaches_the_ends(make: Maker) -> None:
    made = make()
    made.IncludeRange(_LOWEST, _HIGHEST)
    for address in (_LOWEST, _at(0), _HIGHEST):
        expect(_is(made.IsIncluded(address), "IsIncluded"), f"the range of all addresses lacks {address}")
    made.ExcludeRange(_HIGHEST, _HIGHEST)
    expect(not _is(made.IsIncluded(_HIGHEST), "IsIncluded"), "the highest address was taken out and is in")
    expect(_is(made.IsIncluded(_LOWEST), "IsIncluded"), "taking the highest address out took the lowest too")


def _unites(make: Maker) -> None:
    made, other = _of(make, (1, 5), (20, 22)), _of(make, (4, 8), (30, 31))
    made.IncludeFilter(other)
    _expect_members(made, (*range(1, 9), 20, 21, 22, 30, 31), "IncludeFilter")
    _expect_members(other, (*range(4, 9), 30, 31), "the other filter after IncludeFilter")
    made.IncludeFilter(made)
    _expect_members(made, (*range(1, 9), 20, 21, 22, 30, 31), "IncludeFilter with itself")


def _subtracts(make: Maker) -> None:
    made, other = _of(make, (1, 10)), _of(make, (3, 4), (10, 20))
    made.ExcludeFilter(other)
    _expect_members(made, (1, 2, *range(5, 10)), "ExcludeFilter")
    _expect_members(other, (3, 4, *range(10, 21)), "the other filter after ExcludeFilter")
    made.ExcludeFilter(made)
    _expect_members(made, (), "ExcludeFilter with itself")


def _compares(make: Maker) -> None:
    pairs = (
        ((), (), True),
        (((1, 10),), ((1, 5), (6, 10)), True),
        (((1, 5), (3, 9)), ((3, 9), (1, 5)), True),
        (((1, 10),), ((1, 9),), False),
        (((1, 10),), (), False),
        (((1, 2),), ((1, 1), (3, 3)), False),
    )
    for left, right, wanted in pairs:
        first, second = _of(make, *left), _of(make, *right)
        expect(_same(first, first), f"Compare of {left} with itself is S_FALSE")
        for one, other in ((first, second), (second, first)):
            expect_equal(_same(one, other), wanted, f"whether {left} and {right} are the same")


def _clones(make: Maker) -> None:
    made = _of(make, (1, 5))
    clone = made.Clone()
    expect(clone is not made, "Clone returned the filter itself")
    expect(IFWXIpFilter.providedBy(clone), f"Clone returned {clone!r}, expected an IFWXIpFilter")
    expect(_same(made, clone), "Compare with the clone is S_FALSE")
    clone.IncludeRange(_at(9), _at(9))
    made.ExcludeRange(_at(1), _at(1))
    _expect_members(made, (2, 3, 4, 5), "the filter, after its clone has changed")
    _expect_members(clone, (1, 2, 3, 4, 5, 9), "the clone, after its original has changed")


def _refuses_reversed(make: Maker) -> None:
    made = _of(make, (1, 5))
    for name in ("IncludeRange", "ExcludeRange"):
        expect_failure(f"{name} from high to low", E_INVALIDARG, getattr(made, name), _at(4), _at(2))
        _expect_members(made, range(1, 6), f"after a refused {name}")


def _needs_another(make: Maker) -> None:
    made = _of(make, (1, 5))
    for name in ("IncludeFilter", "ExcludeFilter", "Compare"):
        expect_failure(f"{name}(None)", E_POINTER, getattr(made, name), None)
    _expect_members(made, range(1, 6), "after refused calls")


def _refuses_what_is_no_address(make: Maker) -> None:
    made = _of(make, (1, 5))
    for wrong in (IPv6Address("::1"), "10.0.0.1.2", 3.5, None):
        codes = (E_INVALIDARG, E_POINTER) if wrong is None else E_INVALIDARG
        expect_failure(f"IsIncluded({wrong!r})", codes, made.IsIncluded, wrong)
        expect_failure(f"IncludeRange({wrong!r}, ...)", codes, made.IncludeRange, wrong, _at(9))
        expect_failure(f"ExcludeRange(..., {wrong!r})", codes, made.ExcludeRange, _at(1), wrong)
    _expect_members(made, range(1, 6), "after refused calls")


def _agrees_with_a_set(make: Maker) -> None:
    """Many operations in a fixed order that looks random, next to a Python set."""
    made, model, state = make(), set[int](), 1
    for step in range(300):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        first, last = sorted((state >> 8 & 63, state >> 16 & 63))
        numbers = set(range(first, last + 1))
        if state >> 24 & 1:
            made.IncludeRange(_at(first), _at(last))
            model |= numbers
        else:
            made.ExcludeRange(_at(first), _at(last))
            model -= numbers
        _expect_members(made, model, f"after {step + 1} operations")


_RULES: tuple[Rule[Maker], ...] = (
    shape_rule(IFWXIpFilter, lambda make: make()),
    *unknown_rules(IFWXIpFilter, lambda make: make()),
    Rule("starts empty, which is nobody", ("B6.31", "B6.33"), _starts_empty),
    Rule("IncludeRange adds a range with both ends", ("B6.31",), _includes),
    Rule("ExcludeRange takes a range out", ("B6.31",), _excludes),
    Rule("ranges reach from the lowest to the highest address", ("B6.31",), _reaches_the_ends),
    Rule("IncludeFilter unites", ("B6.31",), _unites),
    Rule("ExcludeFilter subtracts", ("B6.31",), _subtracts),
    Rule("Compare tells whether the addresses are the same", ("B6.31",), _compares),
    Rule("Clone copies, with a life of its own", ("B6.31", "B4.11"), _clones),
    Rule("a range from high to low is E_INVALIDARG", ("B6.31",), _refuses_reversed),
    Rule("no other filter is E_POINTER", ("B6.31", "B6.33"), _needs_another),
    Rule("what is no IPv4 address is E_INVALIDARG", ("B6.31",), _refuses_what_is_no_address),
    Rule("agrees with a set of addresses", ("B6.31",), _agrees_with_a_set),
)
