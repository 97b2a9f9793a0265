"""When rules hold: periods of the week, by the clock on the wall where the firewall stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

_MINUTES_OF_DAY: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class Schedule:
    """A named period: on *days*, counted from Monday as 0, in *spans* of minutes after midnight, the end not included.

    A span that does not end after it begins runs over midnight and belongs to the day on which it begins. An hour that
    the clock shows twice counts both times, one that it skips not at all.

    :raises ValueError: there is no day or no span, or one that no clock shows; names the schedule.
    """

    name: str
    days: frozenset[int]
    spans: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if not self.days or not self.days <= set(range(7)):
            raise ValueError(f"schedule {self.name!r}: days {sorted(self.days)}; expected some of 0, Monday, to 6")
        if not self.spans:
            raise ValueError(f"schedule {self.name!r}: no hours; expected at least one span")
        for start, end in self.spans:
            if not (0 <= start < _MINUTES_OF_DAY and 0 <= end <= _MINUTES_OF_DAY and start != end):
                raise ValueError(f"schedule {self.name!r}: {start} to {end} is no span of the minutes of a day")

    def holds(self, weekday: int, minute: int) -> bool:
        """Tell whether it is in force on *weekday*, so many minutes after midnight."""
        today, yesterday = weekday in self.days, (weekday - 1) % 7 in self.days
        for start, end in self.spans:
            if start < end:
                if today and start <= minute < end:
                    return True
            elif (today and minute >= start) or (yesterday and minute < end):
                return True
        return False


class Calendar:
    """The schedules of a policy, and which of them hold now. To be used by one thread.

    Local times begin and end with minutes, so nothing changes within one; a clock that jumps is noticed, forward and
    back, when it is next looked at.
    """

    def __init__(
        self,
        schedules: Iterable[Schedule] = (),
        clock: Callable[[], float] = time.time,
        local: Callable[[float], time.struct_time] = time.localtime,
    ) -> None:
        """*clock* gives seconds since the epoch, *local* what the clock on the wall shows then.

        :raises ValueError: two schedules have one name.
        """
        self._schedules: dict[str, Schedule] = {}
        for schedule in schedules:
            if schedule.name in self._schedules:
                raise ValueError(f"schedule {schedule.name!r}: the name is taken by another schedule")
            self._schedules[schedule.name] = schedule
        self._clock = clock
        self._local = local
        self._minute: float | None = None
        self._holding: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._schedules)

    @property
    def holding(self) -> frozenset[str]:
        """The names of the schedules that hold now; the same object until that changes."""
        if not self._schedules:
            return self._holding
        now = self._clock()
        minute = now // 60
        if minute != self._minute:
            self._minute = minute
            holding = self.holding_at(now)
            if holding != self._holding:
                self._holding = holding
        return self._holding

    def holding_at(self, moment: float) -> frozenset[str]:
        """Return the names of the schedules that hold at *moment*, in seconds since the epoch."""
        shown = self._local(moment)
        minute = shown.tm_hour * 60 + shown.tm_min
        return frozenset(each.name for each in self._schedules.values() if each.holds(shown.tm_wday, minute))
