"""Notices that a schedule has begun or ended, and has live connections judged again (B7.19)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from fwx.impl.rejudgement import end_in_turns

if TYPE_CHECKING:
    from fwx.impl.deadline import Timer
    from fwx.impl.engine import Engine

logger = logging.getLogger("fwx.schedules")

LOOK_SECONDS = 1.0
"""How often it looks: the clock on the wall may be set at any time, so no timer knows when a period ends."""


class PeriodWatch:
    """Looks at the clock as long as the service runs and a rule has a schedule."""

    def __init__(self, engine: Engine, call_later: Callable[[float, Callable[[], None]], Timer]) -> None:
        self._engine = engine
        self._call_later = call_later
        self._timer: Timer | None = None
        self._seen: frozenset[str] = frozenset()

    def start(self) -> None:
        """Look from now on."""
        policy = self._engine.policy
        self._seen = policy.period
        if policy.has_schedules:
            self._timer = self._call_later(LOOK_SECONDS, self._look)

    def renew(self) -> None:
        """Another policy is in force, by which all connections are judged again anyhow."""
        self.stop()
        self.start()

    def stop(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _look(self) -> None:
        self._timer = self._call_later(LOOK_SECONDS, self._look)
        period = self._engine.policy.period
        if period == self._seen:
            return
        begun, ended = sorted(period - self._seen), sorted(self._seen - period)
        self._seen = period
        words = "schedules begun: %s; ended: %s; %d connections ended"
        end_in_turns(self._engine, lambda count: logger.info(words, begun or "none", ended or "none", count))
