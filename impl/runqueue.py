"""The run queue: completions wait here until the callback that caused them has returned."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from fwx.impl.ceiling import Ceiling

logger = logging.getLogger("fwx.runqueue")

# One turn runs at most this many items, so that filters that feed each other for ever cannot starve the loop.
TURN = 256

TURN_SECONDS = 0.01
"""After so long a turn leaves the rest for the next one: timers and signals wait for nobody who moves much data."""

# Items that are run before the time is looked at.
_UNWATCHED = 8


class RunQueue:
    """Calls to make on the loop thread, in order, never inside the call that posted them (DESIGN 5).

    *call_soon* and *call_soon_threadsafe* are the event loop's. The poller drains the queue after every batch of
    events; a post from elsewhere on the loop thread schedules a drain, a post from another thread wakes the loop.

    :ivar local: what a thread is for: its ``strand``, while it works for one (:class:`fwx.impl.strand.Strand`).
    :ivar ceiling: how much may wait in the sockets that complete by this queue.
    :ivar acting: the strand whose call the loop thread answers at this moment (:func:`fwx.impl.loopthread.on_loop`).
    :ivar clock: seconds that only grow, by which a turn ends.
    """

    __slots__ = (
        "_call_soon",
        "_call_soon_threadsafe",
        "_deferred",
        "_items",
        "_running",
        "_scheduled",
        "acting",
        "ceiling",
        "clock",
        "local",
        "thread",
    )

    def __init__(
        self,
        call_soon: Callable[[Callable[[], object]], object],
        call_soon_threadsafe: Callable[[Callable[[], object]], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self._call_soon = call_soon
        self._call_soon_threadsafe = call_soon_threadsafe
        self._items: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._deferred: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._running = False
        self._scheduled = False
        self.thread = threading.get_ident()
        self.local = threading.local()
        self.acting: Any = None
        self.ceiling = Ceiling()

    def __len__(self) -> int:
        return len(self._items)

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Queue ``function(*args)``; any thread may call."""
        self._items.append((function, args))
        if self._running or self._scheduled:
            return
        self._scheduled = True
        if threading.get_ident() == self.thread:
            self._call_soon(self.drain)
        else:
            self._call_soon_threadsafe(self.drain)

    def defer(self, function: Callable[..., object], *args: Any) -> None:
        """Run ``function(*args)`` in one of the loop's next rounds, after the others' turn; on the loop thread only."""
        self._deferred.append((function, args))
        if len(self._deferred) == 1:
            self._call_soon(self._run_deferred)

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Run ``function(*args)`` now on the loop thread, or queue it when called from another thread."""
        if threading.get_ident() == self.thread:
            function(*args)
        else:
            self.post(function, *args)

    def drain(self) -> None:
        """Run what is queued, at most one turn; called by the poller after its handlers and by the loop."""
        self._scheduled = False
        if self._running:
            return
        items = self._items
        if not items:
            return
        self._running = True
        left, end = TURN, self.clock() + TURN_SECONDS
        try:
            while items and left:
                left -= 1
                function, args = items.popleft()
                try:  # as _run; it costs no call here, where all data passes
                    function(*args)
                except Exception:
                    logger.exception("%r failed in the run queue", function)
                if not left % _UNWATCHED and self.clock() > end:
                    break
        finally:
            self._running = False
        if items and not self._scheduled:
            self._scheduled = True
            self._call_soon(self.drain)

    def _run_deferred(self) -> None:
        """Run what was deferred before this round, as much of it as a turn has time for."""
        deferred, end = self._deferred, self.clock() + TURN_SECONDS
        for _ in range(len(deferred)):
            # It stays in its place meanwhile: who defers now need not schedule anything.
            _run(*deferred[0])
            deferred.popleft()
            if self.clock() > end:
                break
        if deferred:
            self._call_soon(self._run_deferred)


def _run(function: Callable[..., object], args: tuple[Any, ...]) -> None:
    try:
        function(*args)
    except Exception:
        logger.exception("%r failed in the run queue", function)
