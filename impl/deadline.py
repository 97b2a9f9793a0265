"""Deadlines that all lie equally far ahead: a queue in order of time and one timer, whatever their number."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from fwx.impl.runqueue import TURN_SECONDS


class Timer(Protocol):
    def cancel(self) -> None: ...


class Deadline:
    """One pending deadline; :meth:`cancel` forgets it."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class DeadlineQueue:
    """Calls back *seconds* after each :meth:`add`, on the loop thread."""

    __slots__ = ("_call_later", "_clock", "_pending", "_timer", "seconds")

    def __init__(
        self, seconds: float, clock: Callable[[], float], call_later: Callable[[float, Callable[[], None]], Timer]
    ) -> None:
        """*clock* gives seconds that only grow; *call_later* is the event loop's."""
        self.seconds = seconds
        self._clock = clock
        self._call_later = call_later
        self._pending: deque[Deadline] = deque()
        self._timer: Timer | None = None

    def add(self, callback: Callable[[], None]) -> Deadline:
        pending = self._pending
        while pending and pending[0].callback is None:
            pending.popleft()
        deadline = Deadline(self._clock() + self.seconds, callback)
        self._pending.append(deadline)
        if self._timer is None:
            self._timer = self._call_later(self.seconds, self._expire)
        return deadline

    def change(self, seconds: float) -> None:
        """Call back *seconds* after each :meth:`add` from now on; what is pending comes at the latest then, too."""
        self.seconds = seconds
        latest = self._clock() + seconds
        for deadline in self._pending:
            deadline.when = min(deadline.when, latest)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._call_later(max(self._pending[0].when - self._clock(), 0.001), self._expire)

    def close(self) -> None:
        """Forget every deadline."""
        self._pending.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        pending = self._pending
        now = self._clock()
        try:
            while pending and (pending[0].callback is None or pending[0].when <= now):
                callback = pending.popleft().callback
                if callback is not None:
                    callback()
                    if self._clock() - now > TURN_SECONDS:  # data has its turn before the others
                        break
        finally:
            if pending and self._timer is None:
                self._timer = self._call_later(max(pending[0].when - now, 0.001), self._expire)
