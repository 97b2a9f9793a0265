"""Which ports a table guards, and what it is called."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.composition import plan_of
from fwx.config import load
from fwx.packetfilter.plan import TABLE, Plan, Range, read_ranges, table_name, without, write_ranges
from fwx.packetfilter.ruleset import make_table

RANGES = st.lists(
    st.tuples(st.integers(1, 60), st.integers(1, 60)).map(lambda pair: (min(pair), max(pair))), max_size=6
)


def members(ranges: list[Range] | tuple[Range, ...]) -> set[int]:
    return {port for first, last in ranges for port in range(first, last + 1)}


@given(RANGES, RANGES)
def test_what_is_guarded_is_what_no_exception_has(ranges: list[Range], exceptions: list[Range]) -> None:
    left = without(ranges, exceptions)
    assert members(left) == members(ranges) - members(exceptions)
    assert all(first <= last < following for (first, last), (following, _) in pairwise(left))
    assert read_ranges(write_ranges(left)) == left


def test_guards() -> None:
    plan = Plan("fwx_t", without([(1, 65535)], [(22, 22)]), ((500, 600),))
    assert [plan.guards("tcp", port) for port in (1, 21, 22, 23, 65535)] == [True, True, False, True, True]
    assert [plan.guards("udp", port) for port in (499, 500, 600, 601)] == [False, True, True, False]


@pytest.mark.parametrize("text", ["x", "1", "0-1", "2-1", "1-65536", "1-2-3", "1-2;3-4"])
def test_ranges_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"range|invalid literal"):
        read_ranges(text)


@pytest.mark.parametrize(
    ("service", "table"),
    [
        ("gw", "fwx_gw"),
        ("GW.Example-1", "fwx_gw_example_1"),
        ("Übergang", "fwx_bergang"),
        ("…", "fwx_service"),
        ('x"; flush ruleset', "fwx_x_flush_ruleset"),
        ("a" * 300, "fwx_" + "a" * 40),
    ],
)
def test_the_name_of_the_table(service: str, table: str) -> None:
    assert table_name(service) == table
    assert TABLE.fullmatch(table)


LISTENERS = """
[[listener]]
name = "one"
kind = "transparent"
mode = "redirect"
bind = "0.0.0.0:15002"

[[listener]]
name = "two"
kind = "transparent"
mode = "redirect"
bind = "[::]:15002"

[[listener]]
name = "three"
kind = "transparent"
bind = "0.0.0.0:15001"

[[listener]]
name = "four"
kind = "transparent"
mode = "redirect"
bind = "0.0.0.0:0"

[packet_filter]
backend = "nftables"
except = ["tcp/22"]
"""


def test_ports_that_are_redirected_to(tmp_path: Path) -> None:
    """They are not open as those of other listeners are; a port that nobody can name is none of them."""
    (tmp_path / "fwx.toml").write_text(LISTENERS)
    plan = plan_of(load(tmp_path / "fwx.toml"))
    assert plan.redirected == ((15002, 15002),)
    (rule,) = [each for each in make_table(plan, None, (), 60) if "dnat" in str(each)]
    expressions = rule["add"]["rule"]["expr"]
    assert "15002" in str(expressions[0])
    assert expressions[-1] == {"accept": None}
    assert "dnat" not in str(make_table(plan._replace(redirected=()), None, (), 60))
