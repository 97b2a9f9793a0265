"""The plain forms are a part of what the readers take: what is plain, they take as it is."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from fwx.config_plain import is_plain_name, is_plain_prefix
from fwx.config_values import Domains, Ranges, check_host_name
from fwx.impl.domainset import DomainSet
from fwx.interfaces.address import parse_ip, plain_prefix

_names = st.lists(
    st.sampled_from(["a", "Z9", "-", "_", ".", "*.", "*", "1", "255", "::", "é", "\u212a", "\n", " ", "x" * 63]),
    max_size=9,
).map("".join)
_prefixes = st.builds(
    "{}{}{}".format,
    st.sampled_from(["10.0.0.0", "10.1.2.3", "010.0.0.0", "10.0.0", "0.0.0.0", "10.0.0.0 ", "::", "255.255.255.254"]),
    st.sampled_from(["/", "", "//"]),
    st.sampled_from(["0", "8", "08", "31", "32", "33", "-1", "\u0663", "255.0.0.0", ""]),
)


@given(_names)
def test_a_plain_name_is_one_to_the_readers(name: str) -> None:
    if is_plain_name(name):
        bare = name.removeprefix("*.")
        assert check_host_name(bare) == bare
        with pytest.raises(ValueError, match="does not appear to be"):
            parse_ip(bare)
        assert DomainSet("d", (name,)).exact | DomainSet("d", (name,)).parents == {bare.lower()}


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("pypi.org", True),
        ("*.Debian.ORG", True),
        ("_sip._tcp.a-b.example", True),
        ("x" * 63 + ".y", True),
        ("x" * 64 + ".y", False),
        (".".join(["x" * 62] * 4) + ".y", True),
        (".".join(["x" * 63] * 4) + ".y", False),
        ("a.1", False),
        ("-a.b", False),
        ("a-.b", False),
        ("a..b", False),
        ("*.*.b", False),
        ("a.b.", False),
        ("a.\u212a", False),
        ("a.b\n", False),
        ("", False),
    ],
)
def test_which_names_are_plain(name: str, plain: bool) -> None:
    assert is_plain_name(name) is plain


@given(_prefixes)
def test_a_plain_prefix_is_the_network_of_that_name(text: str) -> None:
    found = plain_prefix(text)
    assert is_plain_prefix(text) is (found is not None)
    if found is not None:
        network = ip_network(text)
        assert found == (int(network[0]), int(network[-1]))


@pytest.mark.parametrize(("text", "plain"), [("10.1.0.0/16", True), ("10.1.0.1/16", False), ("10.1.0.1/32", True)])
def test_a_prefix_with_bits_behind_it_is_not_plain(text: str, plain: bool) -> None:
    assert is_plain_prefix(text) is plain


@pytest.mark.parametrize(
    ("kind", "items", "place"),
    [
        (Domains, ["a.example", "b.example", "10.0.0.1", "c..example"], [(2,), (3,)]),
        (Domains, ["a.example", 1], [(1,)]),
        (Ranges, ["10.0.0.0/8", "10.0.0.1/8", "nowhere"], [(1,), (2,)]),
        (Domains, [], [()]),
        (Ranges, "10.0.0.0/8", [()]),
    ],
)
def test_where_one_is_not_plain_each_fault_has_its_place(kind: object, items: object, place: list[object]) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(items)
    assert [error["loc"] for error in caught.value.errors()] == place


def test_what_is_not_plain_stands_beside_what_is() -> None:
    names = ["a.example", "bücher.example", "a.b."]
    assert TypeAdapter(Domains).validate_python(names) == tuple(names)
    ranges = ["10.0.0.0/8", "::/0", "10.0.0.1-10.0.0.9"]
    assert TypeAdapter(Ranges).validate_python(ranges) == tuple(ranges)
