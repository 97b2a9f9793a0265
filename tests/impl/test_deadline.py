"""Deadlines: one timer for many, in order, cancelled for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fwx.impl.deadline import DeadlineQueue
from fwx.impl.runqueue import TURN_SECONDS

if TYPE_CHECKING:
    from tests.impl.conftest import Clock


@pytest.fixture
def deadlines(clock: Clock) -> DeadlineQueue:
    return DeadlineQueue(10.0, clock, clock.call_later)


def test_each_in_its_time(clock: Clock, deadlines: DeadlineQueue) -> None:
    called: list[float] = []
    for _ in range(3):
        deadlines.add(lambda: called.append(clock.now - 1000.0))
        clock.advance(2.0)
    assert len(clock.timers) == 1, "one timer, whatever their number"
    for _ in range(10):
        clock.advance(1.0)
    assert called == [10.0, 12.0, 14.0]
    assert clock.timers == []


def test_cancelled(clock: Clock, deadlines: DeadlineQueue) -> None:
    called: list[str] = []
    first, second, third = (deadlines.add(lambda name=name: called.append(name)) for name in "abc")
    first.cancel()
    second.cancel()
    second.cancel()
    clock.advance(10.0)
    assert called == ["c"]
    third.cancel()


def test_all_cancelled_leaves_no_timer_behind(clock: Clock, deadlines: DeadlineQueue) -> None:
    deadlines.add(lambda: None).cancel()
    clock.advance(10.0)
    assert clock.timers == []


def test_a_callback_adds_another(clock: Clock, deadlines: DeadlineQueue) -> None:
    called: list[str] = []
    deadlines.add(lambda: deadlines.add(lambda: called.append("second")) and None)
    clock.advance(10.0)
    assert (called, len(clock.timers)) == ([], 1)
    clock.advance(9.0)
    assert called == []
    clock.advance(1.0)
    assert called == ["second"]


def test_a_callback_that_fails_does_not_take_the_others_with_it(clock: Clock, deadlines: DeadlineQueue) -> None:
    called: list[str] = []
    deadlines.add(lambda: print(1 // 0))
    deadlines.add(lambda: called.append("second"))
    with pytest.raises(ZeroDivisionError):
        clock.advance(10.0)
    clock.advance(0.01)
    assert called == ["second"]


def test_close(clock: Clock, deadlines: DeadlineQueue) -> None:
    deadlines.close()
    deadlines.add(lambda: pytest.fail("it was closed"))
    deadlines.close()
    assert clock.timers == []
    clock.advance(100.0)


def test_close_in_a_callback(clock: Clock, deadlines: DeadlineQueue) -> None:
    deadlines.add(deadlines.close)
    deadlines.add(lambda: pytest.fail("it was closed"))
    clock.advance(20.0)
    assert clock.timers == []


def test_another_time(clock: Clock, deadlines: DeadlineQueue) -> None:
    """It holds from now on; who waits already has at the latest so long from now."""
    called: list[tuple[str, float]] = []

    def add(name: str) -> None:
        deadlines.add(lambda: called.append((name, clock.now - 1000.0)))

    add("early")
    clock.advance(8.0)
    add("late")
    deadlines.change(5.0)
    add("new")
    for _ in range(10):
        clock.advance(1.0)
    assert called == [("early", 10.0), ("late", 13.0), ("new", 13.0)]
    assert clock.timers == []
    deadlines.change(3.0)
    assert clock.timers == []
    add("last")
    deadlines.change(20.0)
    clock.advance(3.0)
    assert called[3:] == [("last", 21.0)]


def test_many_at_a_time_leave_the_loop_its_turns(clock: Clock, deadlines: DeadlineQueue) -> None:
    """Thousands of handshakes that nobody has ended are not given up in one turn: data does not wait for that."""
    called: list[float] = []

    def slow() -> None:
        clock.now += TURN_SECONDS / 2
        called.append(clock.now)

    for _ in range(20):
        deadlines.add(slow)
    before = clock.now
    clock.advance(10.0)
    assert 0 < len(called) < 20
    while clock.timers:
        clock.advance(TURN_SECONDS)
    assert len(called) == 20
    assert clock.now - before < 11
