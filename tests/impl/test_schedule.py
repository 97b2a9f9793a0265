"""Periods of the week: their edges, midnight, the clock that is put forward and back, and a clock that is set."""

from __future__ import annotations

import calendar
import time

import pytest

from fwx.impl.schedule import Calendar, Schedule

WEEKDAYS = frozenset(range(5))
WORK = Schedule("work", WEEKDAYS, ((480, 720), (780, 1080)))
NIGHT = Schedule("night", frozenset({4}), ((1320, 360),))
LAST_HOUR = Schedule("last hour", frozenset({6}), ((1380, 1440),))
EVERY_HOUR_OF_2 = Schedule("two o'clock", frozenset(range(7)), ((120, 180),))

# The night of 25 October 2026 in Berlin: at 01:00 UTC, 03:00 there, the clock goes back to 02:00. On 29 March at 01:00
# UTC, 02:00 there, it goes forward to 03:00.
BACK = calendar.timegm((2026, 10, 25, 1, 0, 0))
FORWARD = calendar.timegm((2026, 3, 29, 1, 0, 0))


def berlin(moment: float) -> time.struct_time:
    return time.gmtime(moment + (7200 if FORWARD <= moment < BACK else 3600))


class Wall:
    """A clock that only the test moves."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def utc(day: int, hour: int, minute: int = 0, second: int = 0) -> float:
    """A moment of November 2026, whose 2nd is a Monday."""
    return calendar.timegm((2026, 11, day, hour, minute, second))


@pytest.mark.parametrize(
    ("schedule", "weekday", "hour", "minute", "holds"),
    [
        (WORK, 0, 7, 59, False),
        (WORK, 0, 8, 0, True),
        (WORK, 4, 11, 59, True),
        (WORK, 4, 12, 0, False),
        (WORK, 4, 17, 59, True),
        (WORK, 4, 18, 0, False),
        (WORK, 5, 9, 0, False),
        (NIGHT, 4, 21, 59, False),
        (NIGHT, 4, 22, 0, True),
        (NIGHT, 4, 5, 0, False),  # Friday's morning is Thursday's night
        (NIGHT, 5, 0, 0, True),
        (NIGHT, 5, 5, 59, True),
        (NIGHT, 5, 6, 0, False),
        (NIGHT, 5, 22, 0, False),
        (LAST_HOUR, 6, 23, 59, True),
        (LAST_HOUR, 0, 0, 0, False),
    ],
)
def test_edges(schedule: Schedule, weekday: int, hour: int, minute: int, holds: bool) -> None:
    assert schedule.holds(weekday, hour * 60 + minute) is holds


def test_sunday_s_night_is_monday_s_morning() -> None:
    night = Schedule("night", frozenset({6}), ((1320, 360),))
    assert night.holds(0, 0)
    assert not night.holds(6, 0)


@pytest.mark.parametrize(
    ("days", "spans", "complaint"),
    [
        (frozenset(), ((0, 60),), "days []"),
        (frozenset({7}), ((0, 60),), "days [7]"),
        (WEEKDAYS, (), "no hours"),
        (WEEKDAYS, ((60, 60),), "60 to 60"),
        (WEEKDAYS, ((1440, 60),), "1440 to 60"),
        (WEEKDAYS, ((0, 1441),), "0 to 1441"),
        (WEEKDAYS, ((-1, 60),), "-1 to 60"),
    ],
)
def test_what_no_clock_shows_is_refused(
    days: frozenset[int], spans: tuple[tuple[int, int], ...], complaint: str
) -> None:
    with pytest.raises(ValueError, match=r"schedule 'odd': ") as caught:
        Schedule("odd", days, spans)
    assert complaint in str(caught.value)


def test_two_schedules_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="schedule 'work': the name is taken"):
        Calendar((WORK, WORK))


def test_without_schedules_nobody_asks_for_the_time() -> None:
    def never() -> float:
        raise AssertionError("asked")

    assert Calendar((), never).holding == frozenset()


def test_the_holding_ones_are_one_object_until_they_change() -> None:
    wall = Wall(utc(2, 8))
    found = Calendar((WORK,), wall, time.gmtime)
    held = found.holding
    assert held == {"work"}
    wall.now = utc(2, 11, 59, 59)
    assert found.holding is held
    wall.now = utc(2, 12)
    assert found.holding == frozenset()


def test_a_clock_that_is_set_is_noticed_both_ways() -> None:
    """B7.19: also when the clock changes."""
    wall = Wall(utc(2, 9))
    found = Calendar((WORK,), wall, time.gmtime)
    assert found.holding == {"work"}
    wall.now = utc(1, 9)  # back to Sunday
    assert found.holding == frozenset()
    wall.now = utc(30, 9)  # forward by weeks
    assert found.holding == {"work"}


def test_the_hour_that_comes_twice_counts_twice() -> None:
    found = Calendar((EVERY_HOUR_OF_2,), local=berlin)
    held = [bool(found.holding_at(BACK + 60 * minute)) for minute in range(-90, 120)]
    assert held == [False] * 30 + [True] * 120 + [False] * 60


def test_the_hour_that_is_skipped_does_not_count() -> None:
    found = Calendar((EVERY_HOUR_OF_2,), local=berlin)
    assert not any(found.holding_at(FORWARD + 60 * minute) for minute in range(-90, 120))


def test_local_time_is_what_counts() -> None:
    found = Calendar((WORK,), local=berlin)
    assert found.holding_at(utc(2, 7)) == {"work"}  # 08:00 in Berlin
    assert found.holding_at(utc(2, 6, 59)) == frozenset()
