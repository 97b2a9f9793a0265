"""The watchdog: a thread that notices when the loop thread stands still, and says in which filter."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

from fwx.impl.culprit import Culprit

if TYPE_CHECKING:
    from fwx.impl.alert import EventDefinition
    from fwx.impl.deadline import Timer

logger = logging.getLogger("fwx.watchdog")

# How often the loop gives a sign, as a part of the time that it may stand still.
_BEATS = 4


class _Incident(NamedTuple):
    since: float
    culprit: Culprit


class Watchdog:
    """The loop gives a sign from time to time, by a timer of its own; one that is late is an incident.

    An incident is logged with the loop thread's stack when it is noticed, and with its length when it is over; one in a
    filter raises an alert then. It costs the loop one short call every quarter of the time, and the data nothing. The
    thread sleeps until the next sign would be too late, so it wakes up less than once in that time.
    """

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], Timer],
        judge: Callable[[FrameType], Culprit],
        event: EventDefinition,
    ) -> None:
        """Made on the loop thread, by the service.

        :param seconds: how long the loop may stand still. :param clock: seconds that only grow.
        :param call_later: the loop's. :param judge: says who a frame of the loop thread belongs to.
        :param event: what a filter's incident signals.
        """
        self.seconds = seconds  # a change of the configuration may set it
        self._clock = clock
        self._call_later = call_later
        self._judge = judge
        self._event = event
        self._thread_of_loop = threading.get_ident()
        self._lock = threading.Lock()
        # When the next sign is expected.
        self._due = 0.0
        self._incident: _Incident | None = None
        self._told_to_stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._timer: Timer | None = None

    def start(self) -> None:
        """Watch from now on, on a thread; called on the loop's."""
        self.beat()
        self._thread = threading.Thread(target=self._run, name="fwx-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End thread and timer, if they are there; called on the loop's thread."""
        self._told_to_stop.set()
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def beat(self) -> None:
        """The loop is there; on its thread."""
        with self._lock:
            incident, self._incident = self._incident, None
            self._due = self._clock() + self.seconds / _BEATS
        self._timer = self._call_later(self.seconds / _BEATS, self.beat)
        if incident is not None:
            self._tell(incident)

    def look(self) -> float:
        """See how late the loop is, and return in how many seconds to look again; on the watchdog's thread."""
        due = self._due
        late = self._clock() - due
        if self._incident is not None:
            return self.seconds
        if late < self.seconds:
            return self.seconds - late
        self._notice(due, late)
        return self.seconds

    def _notice(self, due: float, seconds: float) -> None:
        culprit = self._judge(sys._current_frames()[self._thread_of_loop])
        with self._lock:
            if self._due != due:  # it has given a sign meanwhile: the stack is of something else
                return
            self._incident = _Incident(due, culprit)
        words = "every connection waits for %s: the loop has stood still for %.1f s\n%s"
        logger.error(words, culprit, seconds, culprit.stack.rstrip())

    def _tell(self, incident: _Incident) -> None:
        culprit = incident.culprit
        words = f"every connection waited at least {self._clock() - incident.since:.1f} s for {culprit}"
        if not culprit.filters:
            logger.warning("%s", words)
            return
        logger.error("%s", words)
        self._event.signal(words, key=f"{'/'.join(culprit.filters)}/{culprit.method}", traceback=culprit.stack)

    def _run(self) -> None:
        pause = self.seconds
        while not self._told_to_stop.wait(pause):
            try:
                pause = self.look()
            except Exception:
                logger.exception("the watchdog failed")
                pause = self.seconds
