"""Takes packets on the loop thread, and writes them on a thread of the service's pool."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from fwx import sdk
from fwx.filters.capture.files import Files
from fwx.filters.capture.flow import Flow
from fwx.filters.capture.packet import Segment
from fwx.filters.capture.pcapng import packet

MOST_WAITING = 8 << 20
"""Bytes that may wait to be written before the connections are held back."""
RETRY_SECONDS = 10.0
"""After a failure nothing is tried for so long."""
_COST = 200  # bytes of memory that a segment takes beside its data

_Waiting = tuple[int, Flow, Segment]


class Writer:
    """One capture's queue. Its methods are for the loop thread, but for the task's."""

    def __init__(
        self,
        firewall: Any,
        files: Files,
        troubled: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """:param troubled: told in words, on a thread of the pool, what could not be written.

        :param clock: returns seconds; *wall_clock*, nanoseconds since the epoch.
        """
        self._firewall = firewall
        self._files = files
        self._troubled = troubled
        self._clock, self._wall_clock = clock, wall_clock
        self._lock = threading.Lock()
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0
        self._running = self._closing = False
        self._taken = self._added = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._lost = 0
        self._retry_at: float | None = None
        # How often something could not be written.
        self.failures = 0

    # On the loop thread.

    def add(self, flow: Flow, segments: Iterator[Segment]) -> None:
        """Have *segments* of *flow* written, with the time of now."""
        now = self._wall_clock()
        made = [(now, flow, segment) for segment in segments]
        with self._lock:
            self._queue.extend(made)
            self._bytes += sum(len(segment.data) + _COST for _, _, segment in made)
            self._added += len(made)
            starts = not self._running and bool(made)
            self._running = self._running or starts
        if starts:
            self._firewall.PostTaskCompletion(WriteTask(self), None)

    @property
    def is_behind(self) -> bool:
        """Whether so much waits that whoever adds should wait too."""
        return self._bytes > MOST_WAITING

    async def catch_up(self) -> None:
        """Wait until all that has been added is written, or lost."""
        if self._taken < self._added:
            future = asyncio.get_running_loop().create_future()
            self._waiters.append((self._added, future))
            await future

    def close(self) -> None:
        """Write what waits, and close the files; nothing is added after it."""
        with self._lock:
            self._closing = True
            starts, self._running = not self._running, True
        if starts:
            self._firewall.PostTaskCompletion(WriteTask(self), None)

    def tell_waiters(self) -> None:
        """Let go on who waits for what has been taken."""
        waiters, self._waiters = self._waiters, []
        for position, future in waiters:
            if future.done():
                continue
            if position <= self._taken:
                future.set_result(None)
            else:
                self._waiters.append((position, future))

    # On a thread of the pool.

    def work(self) -> None:
        """Write until nothing waits."""
        while True:
            with self._lock:
                batch = list(self._queue)
                self._queue.clear()
                if not batch:
                    self._running = False
                    if self._closing:
                        self._files.close()
                    return
            self._write(batch)
            with self._lock:
                self._bytes -= sum(len(segment.data) + _COST for _, _, segment in batch)
                self._taken += len(batch)
            self._firewall.PostTaskCompletion(ProgressTask(self), None)

    def _write(self, batch: list[_Waiting]) -> None:
        if self._retry_at is not None and self._clock() < self._retry_at:
            self._lose(batch)
            return
        try:
            self._files.write(self._blocks(batch))
        except OSError as error:
            self._lose(batch)
            self._retry_at = self._clock() + RETRY_SECONDS
            self._troubled(f"{error.strerror or error}: {len(batch)} packets were not recorded")
            return
        self._lost, self._retry_at = 0, None

    def _lose(self, batch: list[_Waiting]) -> None:
        self._lost += len(batch)
        self.failures += 1

    def _blocks(self, batch: list[_Waiting]) -> list[bytes]:
        blocks = []
        gap = f"{self._lost} packets before this one were not recorded" if self._lost else ""
        for when, flow, segment in batch:
            begins = not segment.number and segment.from_client and not segment.data
            comment = "; ".join(part for part in (gap, flow.comment if begins else "") if part)
            blocks.append(packet(when, flow.ends.packet(segment), comment))
            gap = ""
        return blocks


@sdk.implementer(sdk.IFWXTaskCompletion, sdk.IBlocking)
class WriteTask(sdk.Unknown):
    """Writes, on a thread of the pool."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def CompleteTask(self, UserData: object) -> None:
        self._writer.work()


@sdk.implementer(sdk.IFWXTaskCompletion)
class ProgressTask(sdk.Unknown):
    """Tells, on the loop thread, that something has been written."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def CompleteTask(self, UserData: object) -> None:
        self._writer.tell_waiters()
