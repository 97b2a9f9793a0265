"""Which ranges, and which sets of domains, hold what: compiled answers are those of looking at each."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.impl.domainset import DomainSet, DomainSets
from fwx.impl.networks import AddressRange, ComputerSet, LocalAddresses, Network, Networks
from fwx.impl.rangeindex import RangeIndex

TOP = (1 << 32) - 1
# Few numbers, so that ends touch and coincide; the ends of both families.
NUMBERS = st.sampled_from((0, 1, 2, 3, 4, 5, 6, 7, TOP - 1, TOP))
LONG = st.sampled_from((1 << 40, (1 << 40) + 1, (1 << 128) - 1))


def ranges(version: int) -> st.SearchStrategy[AddressRange]:
    number = NUMBERS if version == 4 else st.one_of(NUMBERS, LONG)
    return st.tuples(number, number).map(lambda ends: AddressRange(version, min(ends), max(ends)))


@given(
    st.lists(st.lists(st.one_of(ranges(4), ranges(6)), max_size=4), max_size=5),
    st.lists(st.one_of(NUMBERS, LONG), min_size=1, max_size=10),
)
def test_an_index_says_what_the_ranges_say(named: list[list[AddressRange]], numbers: list[int]) -> None:
    index = RangeIndex((f"n{number}", each) for number, each in enumerate(named))
    for number in numbers:
        # IPv4 numbers are asked for in both families.
        for address in [ip_address(number)] * (number <= TOP) + [ip_address(number.to_bytes(16, "big"))]:
            expected = tuple(f"n{at}" for at, each in enumerate(named) if any(address in one for one in each))
            assert index.of(address) == expected


def networks(*computers: ComputerSet) -> Networks:
    trie = "Local:\n   |-- 10.1.0.1\n      /32 host LOCAL\n"
    local = LocalAddresses(reader=lambda path: trie if path.endswith("fib_trie") else "", clock=lambda: 0.0)
    return Networks((Network("internal", ("10.1.0.0/16",)), Network("lab", ("10.3.0.0/24",))), local, computers)


PRINTERS = ComputerSet("printers", ("10.1.0.0/24", "10.3.0.7", "203.0.113.9"))
SELF = ComputerSet("self", ("10.1.0.1", "127.0.0.0/8"))


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("10.1.0.5", ("internal", "any", "printers")),
        ("10.1.7.5", ("internal", "any")),
        ("10.3.0.7", ("lab", "any", "printers")),
        # a set makes no network of what is outside
        ("203.0.113.9", ("external", "any", "printers")),
        # the firewall itself is named by what lies wholly inside it alone
        ("10.1.0.1", ("localhost", "self")),
        ("127.0.0.1", ("localhost", "self")),
    ],
)
def test_a_set_of_computers_overlaps_networks(address: str, names: tuple[str, ...]) -> None:
    known = networks(PRINTERS, SELF)
    assert known.of(address) == names
    assert known.networks_of(address) == tuple(name for name in names if name not in ("printers", "self"))
    assert known.network_names == {"internal", "lab", "any", "external", "localhost"}


@pytest.mark.parametrize(("name", "why"), [("lab", "taken by another network"), ("any", "predefined")])
def test_the_name_of_a_set_is_its_own(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"set of computers '{name}': the name is {why}"):
        networks(ComputerSet(name, ("10.0.0.1",)))
    with pytest.raises(ValueError, match="set of computers 'x': 'y' is no address range"):
        ComputerSet("x", ("y",))


LABELS = st.lists(st.sampled_from(("a", "b", "org")), min_size=1, max_size=4).map(".".join)
ENTRIES = st.one_of(LABELS, LABELS.map("*.".__add__))


@given(st.lists(st.lists(ENTRIES, max_size=4), max_size=4), LABELS)
def test_sets_of_domains_say_what_each_says(written: list[list[str]], name: str) -> None:
    sets = [DomainSet(f"s{number}", tuple(names)) for number, names in enumerate(written)]
    assert DomainSets(sets).of(name) == {each.name for each in sets if each.matches(name)}
