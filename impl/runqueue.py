"""The run queue: completions wait here until the callback that caused them has returned."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from fwx.impl.ceiling import Ceiling

logger = logging.getLogger("fwx.runqueue")

# One turn runs at most this many items, so that filters that feed each other for ever cannot starve the loop.
TURN = 256


class RunQueue:
    """Calls to make on the loop thread, in order, never inside the call that posted them (DESIGN 5).

    *call_soon* and *call_soon_threadsafe* are the event loop's. The poller drains the queue after every batch of
    events; a post from elsewhere on the loop thread schedules a drain, a post from another thread wakes the loop.

    :ivar local: what a thread is for: its ``strand``, while it works for one (:class:`fwx.impl.strand.Strand`).
    :ivar ceiling: how much may wait in the sockets that complete by this queue.
    :ivar acting: the strand whose call the loop thread answers at this moment (:func:`fwx.impl.loopthread.on_loop`).
    """

    __slots__ = (
        "_call_soon",
        "_call_soon_threadsafe",
        "_items",
        "_running",
        "_scheduled",
        "acting",
        "ceiling",
        "local",
        "thread",
    )

    def __init__(
        self,
        call_soon: Callable[[Callable[[], object]], object],
        call_soon_threadsafe: Callable[[Callable[[], object]], object],
    ) -> None:
        self._call_soon = call_soon
        self._call_soon_threadsafe = call_soon_threadsafe
        self._items: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
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
        """Run ``function(*args)`` in the loop's next round, after the others' turn; on the loop thread only."""
        self._call_soon(partial(function, *args))

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
        left = TURN
        try:
            while items and left:
                left -= 1
                function, args = items.popleft()
                try:
                    function(*args)
                except Exception:
                    logger.exception("%r failed in the run queue", function)
        finally:
            self._running = False
        if items and not self._scheduled:
            self._scheduled = True
            self._call_soon(self.drain)
