"""Token buckets in a time of the test's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.filters.throttle.bucket import Bucket, Shares


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_burst_comes_at_once_and_the_rest_in_time(clock: Clock) -> None:
    bucket = Bucket(100, 50, clock)
    assert [bucket.take(50), bucket.take(10), bucket.take(10)] == [0, 0.1, 0.2]
    clock.now += 0.2
    assert bucket.take(0) == 0
    assert bucket.take(100) == pytest.approx(1)
    clock.now += 100
    assert bucket.is_full
    assert bucket.take(51) == pytest.approx(0.01)


def test_what_was_not_used_comes_back(clock: Clock) -> None:
    bucket = Bucket(100, 50, clock)
    bucket.take(70)
    bucket.give_back(20)
    assert bucket.take(10) == pytest.approx(0.1)
    bucket.give_back(1000)
    assert bucket.take(50) == 0


def test_a_clock_that_goes_back_gives_nothing(clock: Clock) -> None:
    bucket = Bucket(100, 50, clock)
    bucket.take(50)
    clock.now -= 10
    assert bucket.take(10) == pytest.approx(0.1)


@given(steps=st.lists(st.tuples(st.integers(1, 200), st.floats(0, 3)), min_size=1, max_size=40))
def test_the_rate_is_kept(steps: list[tuple[int, float]]) -> None:
    """Whatever is asked for when: by the time that was told, no more has gone than burst and rate allow."""
    clock = Clock()
    bucket, sent = Bucket(100, 50, clock), 0
    for count, pause in steps:
        delay = bucket.take(count)
        clock.now += delay
        sent += count
        assert sent <= 50 + 100 * (clock.now - 100) + 1e-6
        clock.now += pause


def test_who_has_the_same_key_shares(clock: Clock) -> None:
    shares = Shares(lambda: Bucket(100, 50, clock))
    one, two, other = shares.join("a"), shares.join("a"), shares.join("b")
    assert one is two
    assert one is not other
    one.take(50)
    assert two.take(10) == pytest.approx(0.1)
    assert len(shares) == 2


def test_who_comes_back_gets_no_new_burst(clock: Clock) -> None:
    shares = Shares(lambda: Bucket(100, 50, clock))
    shares.join("a").take(50)
    shares.leave("a")
    assert shares.join("a").take(10) == pytest.approx(0.1)
    shares.leave("a")
    clock.now += 1
    shares.join("b")
    assert len(shares) == 1
    assert shares.join("a").take(50) == 0


def test_what_nobody_uses_is_forgotten(clock: Clock) -> None:
    shares = Shares(lambda: Bucket(100, 50, clock))
    for number in range(1000):
        shares.join(str(number)).take(1)
        shares.leave(str(number))
    assert len(shares) == 1000
    clock.now += 1
    shares.join("again")
    shares.leave("again")
    assert len(shares) == 0
