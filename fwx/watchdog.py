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

logger = logging.getLogger("fwx.watchdog")

# How often the loop is asked, as a part of the time that it may take to answer.
_LOOKS = 4


class _Incident(NamedTuple):
    asked: float
    culprit: Culprit


class Watchdog:
    """Asks the loop for an answer from time to time; one that stays away is an incident.

    An incident is logged with the loop thread's stack when it is noticed, and with its length when it is over; one in a
    filter raises an alert then. It costs the loop one short call every quarter of the time, and the data nothing.
    """

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float],
        call_soon_threadsafe: Callable[[Callable[[], object]], object],
        judge: Callable[[FrameType], Culprit],
        event: EventDefinition,
    ) -> None:
        """Made on the loop thread, by the service.

        :param seconds: how long the loop may stand still. :param clock: seconds that only grow.
        :param call_soon_threadsafe: the loop's. :param judge: says who a frame of the loop thread belongs to.
        :param event: what a filter's incident signals.
        """
        self.seconds = seconds
        self._clock = clock
        self._call_soon = call_soon_threadsafe
        self._judge = judge
        self._event = event
        self._thread_of_loop = threading.get_ident()
        self._lock = threading.Lock()
        self._asked: float | None = None
        self._incident: _Incident | None = None
        self._told_to_stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Watch from now on, on a thread."""
        self._thread = threading.Thread(target=self._run, name="fwx-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, if there is one."""
        self._told_to_stop.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def look(self) -> None:
        """Ask the loop, or see how long it has not answered; on the watchdog's thread."""
        now = self._clock()
        with self._lock:
            asked = self._asked
            if asked is None:
                self._asked = now
        if asked is None:
            self._call_soon(self._answer)
        elif self._incident is None and now - asked >= self.seconds:
            self._notice(asked, now - asked)

    def _notice(self, asked: float, seconds: float) -> None:
        culprit = self._judge(sys._current_frames()[self._thread_of_loop])
        with self._lock:
            if self._asked != asked:  # it has answered meanwhile: the stack is of something else
                return
            self._incident = _Incident(asked, culprit)
        words = "every connection waits for %s: the loop has stood still for %.1f s\n%s"
        logger.error(words, culprit, seconds, culprit.stack.rstrip())

    def _answer(self) -> None:
        """The loop is there; on its thread."""
        with self._lock:
            incident, self._incident, self._asked = self._incident, None, None
        if incident is None:
            return
        culprit = incident.culprit
        words = f"every connection waited at least {self._clock() - incident.asked:.1f} s for {culprit}"
        if not culprit.filters:
            logger.warning("%s", words)
            return
        logger.error("%s", words)
        self._event.signal(words, key=f"{'/'.join(culprit.filters)}/{culprit.method}", traceback=culprit.stack)

    def _run(self) -> None:
        while not self._told_to_stop.wait(self.seconds / _LOOKS):
            try:
                self.look()
            except Exception:
                logger.exception("the watchdog failed")
