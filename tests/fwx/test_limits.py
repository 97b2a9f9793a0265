"""Limits per client address: connections (behaviour topic 11), and wrong passwords."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from fwx import limits
from fwx.composition import denials_of, limits_of
from fwx.config_model import Limits
from fwx.impl.networks import AddressRange, AddressSet
from fwx.interfaces.hresult import FWX_E_IS_BUSY, FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED
from fwx.limits import AddressLimits, AttemptLimits, Figures, LimitTable


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def counting(clock: Clock, **figures: int) -> AddressLimits:
    return AddressLimits(LimitTable(Figures(**figures)), clock)


def outcome(result: object) -> object:
    return result if result is None else result[0]  # type: ignore[index]


def test_concurrent_connections(clock: Clock) -> None:
    """B11.1, B11.2: no further connection of that address; another address is not touched; one that ends makes room."""
    table = counting(clock, tcp=2, tcp_a_minute=100)
    assert [outcome(table.admit("a")) for _ in range(4)] == [None, None, FWX_E_IS_BUSY, FWX_E_IS_BUSY]
    assert (table.concurrent("a"), table.concurrent("b")) == (2, 0)
    assert table.admit("b") is None
    table.release("a")
    assert [outcome(table.admit("a")) for _ in range(2)] == [None, FWX_E_IS_BUSY]


def test_connections_in_a_minute(clock: Clock) -> None:
    """B11.7: counted from the first one, anew after a minute; what was refused is not counted."""
    table = counting(clock, tcp=100, tcp_a_minute=3)
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
    table = counting(clock, tcp=concurrent, tcp_a_minute=per_minute)
    table.admit("a")
    refused = table.admit("a")
    assert refused is not None
    assert refused[1].startswith("a ")
    assert words in refused[1]


def test_addresses_that_no_longer_count_are_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of addresses does not fill memory; an address with a connection, or in its minute, stays."""
    monkeypatch.setattr(limits, "_SWEEP_AT", 4)
    table = counting(clock, tcp=1, tcp_a_minute=2)
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
    table = counting(clock, tcp=1, tcp_a_minute=3)
    table.admit("a")
    assert [outcome(table.begin("a")) for _ in range(3)] == [None, None, FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED]
    assert table.concurrent("a") == 1
    clock.now += 60
    assert table.begin("a") is None


def test_connections_that_are_being_opened(clock: Clock) -> None:
    """The half-open ones of B11's table: what is open, or has failed, makes room; nothing is counted in the minute."""
    table = counting(clock, half_open=2, tcp_a_minute=1)
    assert [outcome(table.begin_opening("a")) for _ in range(3)] == [None, None, FWX_E_IS_BUSY]
    assert table.begin_opening("b") is None
    table.end_opening("a")
    assert [outcome(table.begin_opening("a")) for _ in range(2)] == [None, FWX_E_IS_BUSY]


def test_http_requests_in_a_minute(clock: Clock) -> None:
    """A minute of their own begins with the first of them."""
    table = counting(clock, http_a_minute=2)
    table.admit("a")
    clock.now += 30
    assert [outcome(table.request("a")) for _ in range(3)] == [None, None, FWX_E_IS_BUSY]
    clock.now += 59.9
    refused = table.request("a")
    assert refused is not None
    assert refused[1] == "a has made 2 HTTP requests in a minute (http_requests_per_minute_per_address)"
    clock.now += 0.1
    assert table.request("a") is None


class Udp:
    """A session over UDP."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def end(self, result: int, reason: str) -> None:
        assert result == FWX_E_IS_BUSY
        self.ended.append(reason)


def test_the_oldest_udp_session_makes_room(clock: Clock) -> None:
    """B11.3: the oldest of that address; one that has ended has no place to give."""
    table = counting(clock, udp=2)
    first, second, third, fourth, other = (Udp() for _ in range(5))
    table.begin_udp("b", other)
    for session in (first, second):
        table.begin_udp("a", session)
    table.end_udp("a", first)
    for session in (third, fourth):
        table.begin_udp("a", session)
    assert second.ended == ["made room for a newer one: a has 2 UDP sessions (udp_per_address)"]
    table.end_udp("a", second)
    assert not any(each.ended for each in (first, third, fourth, other))
    table.begin_udp("a", Udp())
    assert len(third.ended) == 1


def test_the_figures_of_the_table() -> None:
    """B11.4, B11.5: each row of B11's table, its default and that of the exceptions; what is written replaces it."""
    written = Limits.model_validate({"exceptions": {"addresses": ["192.0.2.9"]}})
    table = limits_of(written)
    assert table.of("192.0.2.1") == Figures(160, 600, 80, 600, 160)
    assert table.of("192.0.2.9") == Figures(400, 6000, 200, 6000, 400), "half of the open ones may be half-open"
    assert written.udp_new_per_second_per_rule == 1000
    for figure, fits in ((99, False), (100, True), (9_999_999, True), (10_000_000, False)):
        with nullcontext() if fits else pytest.raises(ValueError, match="udp_new_per_second_per_rule"):
            Limits.model_validate({"udp_new_per_second_per_rule": figure})
    assert denials_of(written).alert == 600
    figures = {
        "tcp_per_address": 1,
        "tcp_connects_per_minute_per_address": 2,
        "tcp_half_open_per_address": 3,
        "http_requests_per_minute_per_address": 4,
        "udp_per_address": 5,
    }
    table = limits_of(Limits.model_validate({**figures, "exceptions": {"addresses": ["192.0.2.9"], **figures}}))
    assert table.of("192.0.2.1") == table.of("192.0.2.9") == Figures(1, 2, 3, 4, 5)


def test_addresses_that_need_more(clock: Clock) -> None:
    """B11.5: each figure of their own, in whatever form the address comes; the others keep theirs."""
    exceptions = AddressSet(map(AddressRange.parse, ("192.0.2.0/28", "2001:db8::7")))
    table = AddressLimits(LimitTable(Figures(1, 9, 1, 1, 1), exceptions, Figures(2, 9, 2, 2, 2)), clock)
    for count in (table.admit, table.begin_opening, table.request):
        for address, most in (("192.0.2.15", 2), ("2001:db8::7", 2), ("192.0.2.16", 1), ("2001:db8::8", 1)):
            assert [count(address) is None for _ in range(3)] == [number < most for number in range(3)]
    sessions = [Udp() for _ in range(4)]
    for session, address in zip(sessions, ("192.0.2.1", "192.0.2.1", "192.0.2.99", "192.0.2.99"), strict=True):
        table.begin_udp(address, session)
    assert [bool(session.ended) for session in sessions] == [False, False, True, False]
    assert LimitTable(Figures(1), exceptions, Figures(2)).of("::ffff:192.0.2.3").tcp == 2


def test_other_figures_while_it_counts(clock: Clock) -> None:
    table = counting(clock, tcp=2)
    assert [table.admit("a") for _ in range(2)] == [None, None]
    table.use(LimitTable(Figures(tcp=1)))
    assert outcome(table.admit("a")) == FWX_E_IS_BUSY
    table.use(LimitTable(Figures(tcp=3)))
    assert [outcome(table.admit("a")) for _ in range(2)] == [None, FWX_E_IS_BUSY]


def test_each_refusal_is_told(clock: Clock) -> None:
    """B11.6: with the address, and which limit it is."""
    table = counting(clock, tcp=1, tcp_a_minute=2, half_open=1, http_a_minute=1, udp=1)
    told: list[tuple[str, str]] = []
    table.exceeded = lambda address, words: told.append((address, words.rpartition("(")[2]))
    for count in (table.admit, table.begin_opening, table.request):
        count("a")
        count("a")
    table.begin("a")
    table.begin("a")
    table.begin_udp("a", Udp())
    table.begin_udp("a", Udp())
    assert told == [
        ("a", "tcp_per_address)"),
        ("a", "tcp_half_open_per_address)"),
        ("a", "http_requests_per_minute_per_address)"),
        ("a", "tcp_connects_per_minute_per_address)"),
        ("a", "udp_per_address)"),
    ]
    assert table.refusals == 5


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
