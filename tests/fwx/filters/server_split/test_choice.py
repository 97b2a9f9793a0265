"""Which servers are tried, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from fwx.filter_loader import FilterOptionsError, make_filter
from fwx.filters.server_split import ServerSplit, SplitOptions
from fwx.filters.server_split.choice import REST_SECONDS, Choice

RED, BLUE, GREY = "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def choice(by: str, clock: Any = None, **keys: Any) -> Choice:
    """*keys* are what the three servers have, in their order."""
    servers = [
        {"address": address, **({key: keys[key][place] for key in keys})}
        for place, address in enumerate((RED, BLUE, GREY))
    ]
    options = SplitOptions.model_validate({"listen": ("192.0.2.7:80",), "by": by, "servers": servers}, strict=False)
    return Choice(options, clock or Clock())


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("www.example.org", [RED, GREY]),
        ("WWW.EXAMPLE.ORG.", [RED, GREY]),
        ("shop.example.org", [BLUE]),
        ("a.b.example.org", [BLUE]),
        ("example.org", [GREY]),
        ("other.example", [GREY]),
        (None, [GREY]),
    ],
)
def test_by_host(name: str | None, found: list[str]) -> None:
    """The most exact name wins, so that no site is served by another one's server because its own is down."""
    hosts = (("www.example.org",), ("*.example.org",), ("www.example.org", "*"))
    assert choice("host", hosts=hosts).by_host(name) == found


def test_by_host_and_none_fits() -> None:
    made = choice("host", hosts=(("a",), ("b",), ("*.c",)))
    assert [made.by_host(name) for name in ("c", "x", None)] == [[], [], []]


def test_by_line() -> None:
    made = choice("line", lines=((r"HELO red.*",), (r"HELO \w+", "\N{LATIN SMALL LETTER U WITH DIAERESIS}"), (".*",)))
    assert made.by_line(b"HELO red") == [RED, BLUE, GREY]
    assert made.by_line(b"HELO blue") == [BLUE, GREY]
    assert made.by_line("\N{LATIN SMALL LETTER U WITH DIAERESIS}".encode()) == [BLUE, GREY]
    assert made.by_line(b"x HELO red") == [GREY]


def test_by_address() -> None:
    made = choice("address", clients=(("10.0.0.0/8",), ("0.0.0.0/0",), ("2001:db8::/32",)))
    assert made.by_address("10.1.2.3") == [RED, BLUE]
    assert made.by_address("192.0.2.1") == [BLUE]
    assert made.by_address("2001:db8::9") == [GREY]
    assert made.by_address("2001:db9::9") == []


def test_in_turn() -> None:
    made = choice("round-robin")
    assert [made.in_turn()[0] for _ in range(4)] == [RED, BLUE, GREY, RED]
    assert made.in_turn() == [BLUE, GREY, RED]


def test_one_that_did_not_answer_is_tried_last() -> None:
    clock = Clock()
    made = choice("line", clock, lines=((".*",), (".*",), ("x",)))
    made.failed(RED)
    assert made.by_line(b"y") == [BLUE, RED]
    clock.now += REST_SECONDS
    assert made.by_line(b"y") == [RED, BLUE]
    made.failed(RED)
    made.answered(RED)
    assert made.by_line(b"y") == [RED, BLUE]


SERVER = {"address": RED}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "servers"),
        ({"servers": []}, "servers"),
        ({"listen": ["www.example.org:80"]}, "literal address with a port"),
        ({"listen": ["192.0.2.7:0"]}, "literal address with a port"),
        ({"listen": ["192.0.2.7"]}, "an address with a port"),
        ({"servers": [{"address": "0.0.0.0:80"}]}, "address of a computer"),
        ({"by": "port"}, "round-robin"),
        ({"by": "host"}, "expected hosts of each server"),
        ({"by": "host", "servers": [{**SERVER, "hosts": ["a"], "lines": ["b"]}]}, "no other key"),
        ({"by": "host", "servers": [{**SERVER, "hosts": ["*x"]}]}, "name of a host"),
        ({"by": "host", "servers": [{**SERVER, "hosts": ["a"]}], "refusal": "no"}, "refusal"),
        ({"by": "line", "servers": [{**SERVER, "lines": ["("]}]}, "regular expression"),
        ({"by": "address", "servers": [{**SERVER, "clients": ["10.0.0.1/8"]}]}, "clients"),
        ({"servers": [{**SERVER, "clients": ["10.0.0.0/8"]}]}, "nothing but addresses"),
        ({"bytes": 10}, "64"),
        ({"seconds": 0}, "0"),
        ({"connections": 0}, "1"),
        ({"sessions": "public"}, "private"),
        ({"weight": 1}, "weight"),
    ],
)
def test_wrong_options(options: dict[str, Any], words: str) -> None:
    fit = {"listen": ["192.0.2.7:80"], "by": "round-robin", "servers": [SERVER]} if options else {}
    with pytest.raises(FilterOptionsError, match=words):
        make_filter(ServerSplit, {**fit, **options})
