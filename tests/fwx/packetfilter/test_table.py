"""The table in a kernel: what is written, what is read back, what is put right. Each test has its own namespace."""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from fwx.packetfilter import table as table_module
from fwx.packetfilter.hole import Hole
from fwx.packetfilter.messages import Change, Drops
from fwx.packetfilter.nft import Nft, NftError
from fwx.packetfilter.plan import Plan
from fwx.packetfilter.ruleset import drops_of, holder_of, holes_of, list_table, set_of
from fwx.packetfilter.table import Table, TableInUseError, table_exists

pytestmark = pytest.mark.requires("nft")

PLAN = Plan("fwx_t", ((1, 21), (23, 65535)), ((1, 65535),))
LOCAL4, REMOTE4 = IPv4Address("10.0.0.1"), IPv4Address("192.0.2.9")
LOCAL6, REMOTE6 = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::9")
# One for each set.
HOLES = [
    Hole(protocol, local, 80, *far)
    for protocol, locals_, remote in (
        (6, (LOCAL4, IPv4Address(0)), REMOTE4),
        (17, (LOCAL6, IPv6Address(0)), REMOTE6),
    )
    for local in locals_
    for far in ((None, 0), (remote, 4000))
]
SECONDS = 60


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(nft: Nft, clock: Clock) -> Table:
    table = Table(nft, PLAN, SECONDS, clock)
    assert not table.left_over()
    table.write(os.getpid())
    return table


def held(nft: Nft, name: str = "fwx_t") -> set[Hole]:
    """What the kernel has, by the library's listing."""
    return holes_of(nft.run(list_table(name)))


def opening(*holes: Hole) -> list[Change]:
    return [Change(True, hole) for hole in holes]


def closing(*holes: Hole) -> list[Change]:
    return [Change(False, hole) for hole in holes]


def test_each_kind_of_hole(table: Table, nft: Nft) -> None:
    assert len({set_of(hole) for hole in HOLES}) == 8
    assert table.change(opening(*HOLES)) == ""
    assert held(nft) == set(HOLES)
    assert table.compare() == ""
    assert table.change(closing(*HOLES[::2])) == ""
    assert held(nft) == set(HOLES[1::2])
    assert table.change([*closing(HOLES[1]), *opening(HOLES[1], HOLES[0]), *closing(HOLES[0], HOLES[2])]) == ""
    assert held(nft) == set(HOLES[1::2])
    assert table.compare() == ""


def test_what_is_open_lives_as_long_as_it_is_refreshed(table: Table, nft: Nft, clock: Clock) -> None:
    """The kernel's own time is not the test's: what it shows is how long each element still has."""

    def remaining() -> dict[int, int]:
        listing = nft.run(list_table("fwx_t"))
        elements = next(each["set"]["elem"] for each in listing if each.get("set", {}).get("name") == "any4")
        return {each["elem"]["val"]["concat"][1]: each["elem"]["expires"] for each in elements}

    old, new = Hole(6, IPv4Address(0), 80), Hole(6, IPv4Address(0), 81)
    short = Table(nft, PLAN, 1000, clock)
    short.write(os.getpid())
    short.change(opening(old))
    nft.run(
        [
            {operation: {"element": {"family": "inet", "table": "fwx_t", "name": "any4", "elem": [element]}}}
            for operation, element in (
                ("delete", {"concat": ["tcp", 80]}),
                ("add", {"elem": {"val": {"concat": ["tcp", 80]}, "timeout": 100}}),
            )
        ]
    )
    clock.now += 400
    short.change(opening(new))
    assert short.refresh() == ""
    assert remaining()[80] <= 100
    clock.now += 100  # half of the life of the old one
    assert short.refresh() == ""
    assert remaining()[80] > 900
    assert held(nft) == {old, new}


def test_an_opening_lapses_by_itself(nft: Nft, eventually: Any) -> None:
    """Nobody refreshes it: the port of a service that is lost closes."""
    table = Table(nft, PLAN, 1, lambda: 0.0)
    table.write(os.getpid())
    table.change(opening(HOLES[0]))
    eventually(lambda: not held(nft), "the element to lapse")


def test_what_lapsed_is_missed_and_written_anew(nft: Nft, clock: Clock, eventually: Any) -> None:
    table = Table(nft, PLAN, 1, clock)
    table.write(os.getpid())
    table.change(opening(HOLES[0]))
    eventually(lambda: not held(nft), "the element to lapse")
    clock.now += 10
    assert "1 openings are missing" in table.refresh()
    assert held(nft) == {HOLES[0]}


def test_a_table_that_others_change(table: Table, nft: Nft) -> None:
    table.change(opening(*HOLES))
    element = {"family": "inet", "table": "fwx_t", "name": "any4", "elem": [{"concat": ["tcp", 22]}]}
    nft.run([{"add": {"element": element}}])
    assert table.compare() == "1 elements are none of ours, such as tcp to 0.0.0.0 port 22"
    assert held(nft) == set(HOLES)
    nft.run([{"flush": {"set": {"family": "inet", "table": "fwx_t", "name": "port6"}}}])
    assert "1 openings are missing, such as udp to 2001:db8::1 port 80" in table.compare()
    assert held(nft) == set(HOLES)
    nft.run([{"flush": {"chain": {"family": "inet", "table": "fwx_t", "name": "input"}}}])
    assert table.compare() == "the rules of the table fwx_t were changed"
    nft.run([{"flush": {"ruleset": None}}])
    assert table.compare() == "the table fwx_t is gone"
    assert table.compare() == ""
    assert held(nft) == set(HOLES)


def test_a_change_of_a_table_that_is_gone(table: Table, nft: Nft) -> None:
    table.change(opening(HOLES[0]))
    nft.run([{"flush": {"ruleset": None}}])
    assert table.change(opening(HOLES[1])) == "the table fwx_t is gone"
    assert held(nft) == {HOLES[0], HOLES[1]}


def test_a_kernel_that_refuses(table: Table, nft: Nft, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be opened is not open, and is not tried again by itself."""
    table.change(opening(HOLES[0]))

    def refuse(commands: Any) -> Any:
        raise NftError("Error: Operation not permitted")

    with monkeypatch.context() as broken:
        broken.setattr(nft, "run", refuse)
        with pytest.raises(OSError, match="Operation not permitted"):
            table.change(opening(HOLES[1]))
        with pytest.raises(OSError, match="cannot be written anew"):
            table.compare()
    assert HOLES[1] not in table
    assert table.compare() == ""
    assert held(nft) == {HOLES[0]}


def test_an_answer_that_lies_is_found_out(table: Table, nft: Nft, monkeypatch: pytest.MonkeyPatch) -> None:
    """nftables ignores some mistakes in its JSON: what was written is read back."""
    with monkeypatch.context() as ignoring:
        ignoring.setattr(nft, "run", lambda commands, run=nft.run: run(commands) if "add" not in commands[0] else [])
        with pytest.raises(OSError, match="does not hold the elements"):
            table.change(opening(HOLES[0]))
    assert held(nft) == set()


def test_there_is_an_end_to_openings(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "MOST_HOLES", 2)
    table.change(opening(HOLES[0], HOLES[1]))
    with pytest.raises(OSError, match="2 openings are the most"):
        table.change(opening(HOLES[2]))
    assert table.change([*closing(HOLES[0]), *opening(HOLES[2])]) == ""


def test_lock_and_remove(table: Table, nft: Nft) -> None:
    """B11.13: in lockdown nothing is open, and the rules that drop what is new are there."""
    table.change(opening(*HOLES))
    table.lock()
    listing = nft.run(list_table("fwx_t"))
    assert holes_of(listing) == set()
    assert holder_of(listing) is None
    drops = [each["rule"]["expr"] for each in listing if "rule" in each and {"drop": None} in each["rule"]["expr"]]
    assert len(drops) == 2
    table.remove()
    assert not table_exists(nft, "fwx_t")
    table.remove()


def test_what_was_dropped_in_lockdown(table: Table, nft: Nft, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """B11.15, B11.16: counted by the kernel from then on, and told to whoever ends it, whose plan holds afterwards."""
    other = Table(nft, PLAN._replace(tcp=((80, 80),)), SECONDS, clock)
    drop = [{"match": {}}, {"counter": {"packets": 3, "bytes": 180}}, {"drop": None}]
    accept = [{"counter": {"packets": 9, "bytes": 900}}, {"accept": None}]
    assert drops_of([{"rule": {"expr": each}} for each in (drop, accept, drop)]) == (6, 360)
    assert other.left_over()
    assert other.dropped == Drops(), "it was no lockdown"
    table.lock()
    listing = nft.run(list_table("fwx_t"))
    counters = [part for each in listing for part in each.get("rule", {}).get("expr", ()) if "counter" in part]
    assert counters == [{"counter": {"packets": 0, "bytes": 0}}] * 2
    assert other.left_over()
    assert other.dropped == Drops(0, 0)
    with monkeypatch.context() as patch:
        patch.setattr(table_module, "drops_of", lambda _: (6, 360))
        assert other.left_over()
    assert other.dropped == Drops(6, 360)
    other.write(os.getpid())
    assert other.compare() == ""
    assert Drops.parse(str(Drops(6, 360))) == (6, 360)


def test_a_table_that_was_left_behind(table: Table, nft: Nft, clock: Clock) -> None:
    """One whose helper lives is nobody else's; what was open in one that is taken over is closed."""
    table.change(opening(*HOLES))
    other = Table(nft, PLAN, SECONDS, clock)
    assert other.left_over()  # this process is no helper
    table.lock()
    assert other.left_over()
    other.write(os.getpid())
    assert held(nft) == set()


def test_a_table_whose_helper_lives(table: Table, nft: Nft, clock: Clock, helper_like: int) -> None:
    table.write(helper_like)
    with pytest.raises(TableInUseError, match=f"process {helper_like} keeps the table fwx_t"):
        Table(nft, PLAN, SECONDS, clock).left_over()


def test_the_names_of_interfaces(nft: Nft, clock: Clock) -> None:
    table = Table(nft, PLAN._replace(interfaces=("eth0", "ppp*"), udp=()), SECONDS, clock)
    table.write(os.getpid())
    rules = [each["rule"]["expr"] for each in nft.run(list_table("fwx_t")) if "rule" in each]
    assert rules[0][0]["match"]["right"] == {"set": ["eth0", "ppp*"]}
    assert sum({"drop": None} in rule for rule in rules) == 1
    assert table.compare() == ""
