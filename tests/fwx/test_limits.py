"""Limits per client address: connections (behaviour topic 11), and wrong passwords."""

from __future__ import annotations

import pytest

from fwx import limits
from fwx.interfaces.hresult import FWX_E_IS_BUSY, FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED
from fwx.limits import AddressLimits, AttemptLimits


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def outcome(result: object) -> object:
    return result if result is None else result[0]  # type: ignore[index]


def test_concurrent_connections(clock: Clock) -> None:
    """B11.1, B11.2: no further connection of that address; another address is not touched; one that ends makes room."""
    table = AddressLimits(concurrent=2, per_minute=100, clock=clock)
    assert [outcome(table.admit("a")) for _ in range(4)] == [None, None, FWX_E_IS_BUSY, FWX_E_IS_BUSY]
    assert (table.concurrent("a"), table.concurrent("b")) == (2, 0)
    assert table.admit("b") is None
    table.release("a")
    assert [outcome(table.admit("a")) for _ in range(2)] == [None, FWX_E_IS_BUSY]


def test_connections_in_a_minute(clock: Clock) -> None:
    """B11.7: counted from the first one, anew after a minute; what was refused is not counted."""
    table = AddressLimits(concurrent=100, per_minute=3, clock=clock)
    rate = FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED
    assert [outcome(table.admit("a")) for _ in range(5)] == [None, None, None, rate, rate]
    clock.now += 59.9
    assert outcome(table.admit("a")) == rate
    assert table.admit("b") is None
    clock.now += 0.1
    assert [outcome(table.admit("a")) for _ in range(4)] == [None, None, None, rate]


@pytest.mark.parametrize(
    ("concurrent", "per_minute", "words"),
    [(1, 9, "a has 1 connections (tcp_per_address)"), (9, 1, "(tcp_connects_per_minute_per_address)")],
)
def test_the_words_name_the_address_and_the_key(clock: Clock, concurrent: int, per_minute: int, words: str) -> None:
    """B11.6."""
    table = AddressLimits(concurrent, per_minute, clock)
    table.admit("a")
    refused = table.admit("a")
    assert refused is not None
    assert refused[1].startswith("a ")
    assert words in refused[1]


def test_addresses_that_no_longer_count_are_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of addresses does not fill memory; an address with a connection, or in its minute, stays."""
    monkeypatch.setattr(limits, "_SWEEP_AT", 4)
    table = AddressLimits(concurrent=1, per_minute=2, clock=clock)
    table.admit("stays")
    for number in range(3):
        table.admit(f"gone {number}")
        table.release(f"gone {number}")
    clock.now += 61.0
    table.admit("new")
    assert set(table._usage) == {"stays", "new"}
    assert outcome(table.admit("stays")) == FWX_E_IS_BUSY
    for number in range(5):
        table.admit(f"recent {number}")
        table.release(f"recent {number}")
    assert len(table._usage) == 7, "they are in their minute"


def test_connections_that_one_of_them_begins(clock: Clock) -> None:
    """B11.7: they count in the minute and take no place."""
    table = AddressLimits(concurrent=1, per_minute=3, clock=clock)
    table.admit("a")
    assert [outcome(table.begin("a")) for _ in range(3)] == [None, None, FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED]
    assert table.concurrent("a") == 1
    clock.now += 60
    assert table.begin("a") is None


def test_wrong_passwords(clock: Clock) -> None:
    """So many within a time, and the address is refused as long; another address is not touched."""
    attempts = AttemptLimits(most=3, seconds=60, clock=clock)
    left = []
    for _ in range(3):
        left.append(attempts.allowance("a"))
        attempts.failed("a")
        clock.now += 20
    assert left == [3, 2, 1]
    assert (attempts.allowance("a"), attempts.allowance("b")) == (0, 3)
    clock.now += 39.9
    assert attempts.allowance("a") == 0
    clock.now += 0.1
    assert attempts.allowance("a") == 3


def test_wrong_passwords_are_forgotten(clock: Clock) -> None:
    attempts = AttemptLimits(most=2, seconds=60, clock=clock)
    attempts.failed("a")
    clock.now += 60
    assert attempts.allowance("a") == 2
    attempts.failed("a")
    assert attempts.allowance("a") == 1


def test_the_table_of_wrong_passwords_does_not_grow(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_SWEEP_AT", 10)
    attempts = AttemptLimits(most=1, seconds=60, clock=clock)
    for number in range(1000):
        attempts.failed(f"address {number}")
        clock.now += 10
    assert len(attempts) <= 20
    assert attempts.allowance("address 999") == 0
