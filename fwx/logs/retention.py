"""How long the firewall log is kept, and how the clock that this is counted by is trusted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

LARGEST_JUMP = 60.0
"""Seconds by which the clock of the day may differ from the one that only grows, before it counts as set anew."""

DISTRUST_SECONDS = 24 * 3600.0
"""How long nothing is deleted by age after the clock of the day has jumped."""

_DAY = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Keep:
    """What is kept: so many *days*, and so many *bytes*; ``None`` for no bound."""

    days: float | None = None
    bytes: int | None = None

    def oldest(self, now: float | None) -> str | None:
        """Return the UTC time before which rows are too old, as the log writes it; ``None``: none is.

        :param now: seconds since the epoch, or ``None`` where nobody knows for sure.
        """
        if self.days is None or now is None:
            return None
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(max(now - self.days * _DAY, 0.0)))


class ClockWatch:
    """Notices when the clock of the day is set, so that a wrong date does not delete the log."""

    def __init__(self, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        """*clock* gives seconds since the epoch, *monotonic* seconds that only grow."""
        self._clock = clock
        self._monotonic = monotonic
        self._offset = clock() - monotonic()
        self._trusted_at = float("-inf")

    def jump(self) -> float:
        """Return by how many seconds the clock of the day was set since the last call; 0 for less than a minute."""
        offset = self._clock() - self._monotonic()
        by, self._offset = offset - self._offset, offset
        if abs(by) < LARGEST_JUMP:
            return 0.0
        self._trusted_at = self._monotonic() + DISTRUST_SECONDS
        return by

    @property
    def trusted(self) -> bool:
        """Whether rows may be deleted for their age."""
        return self._monotonic() >= self._trusted_at
