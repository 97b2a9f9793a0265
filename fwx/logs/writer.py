"""The writer of one sink of the firewall log: a queue, a thread that commits, one that spools when that fails.

The queue takes records without a lock. The committing thread takes batches from it, or from the spool while something
waits there, and tries each until the sink has it. It sleeps until a record comes, which waits a quarter of a second for
others. With a spool a second thread looks after records that would otherwise wait in memory: when the batch under way
fails or takes long, it writes that one, and all that comes behind it, to the spool.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from fwx.firewall_log_schema import FirewallLogError, Row, RowMaker
from fwx.impl.alert import Alert
from fwx.impl.logrecord import LogRecord
from fwx.logs.retention import ClockWatch
from fwx.logs.sink import Batch, Sink, in_steps
from fwx.logs.spool import Spool

logger = logging.getLogger("fwx.firewall_log")

SLOW_SECONDS: Final = 0.2
"""How long a batch may be under way before it is spooled; together with the times below, less than a second."""

STUCK_SECONDS: Final = 30.0
"""How long a write may take before it counts as a failure (B9.19)."""

PRUNE_SECONDS: Final = 300.0
"""How often the sink is asked to delete what is not kept any more."""

_WATCH_SECONDS = 0.1
_RETRY_SECONDS = 1.0
_CLOSING_RETRY_SECONDS = 0.05
_BATCH = 8192
_SPOOLED_BATCH = 1024
_JOIN_SECONDS = 2.0


class _Mark(threading.Event):
    """Stands in the queue for a caller of ``flush``; set once everything before it is committed."""


Item = LogRecord | Alert | _Mark


class LogWriter:
    """Feeds one sink. :class:`fwx.firewall_log.FirewallLog` makes one for each, and hands it every record and alert."""

    def __init__(
        self,
        sink: Sink,
        spool: Spool | None = None,
        *,
        on_error: Literal["close", "open"] = "close",
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        flush_interval: float = 0.25,
        capacity: int = 65536,
        on_failure: Callable[[str], object] | None = None,
        on_recovery: Callable[[], object] | None = None,
    ) -> None:
        """Prepare; nothing is touched before :meth:`open`.

        :param on_error: whether connections begin while records cannot be kept: ``close``, no; ``open``, yes, and
            records beyond *capacity* are counted and lost (B9.18).
        :param clock: seconds since the epoch; *monotonic*, seconds that only grow.
        :param flush_interval: seconds between two transactions.
        :param capacity: records that may wait in memory before :attr:`accepting` turns false.
        :param on_failure: called with the reason when writing starts to fail, and when the spool does too, on a thread
            of the writer's; *on_recovery* when it works again.
        """
        self._sink = sink
        self._spool = spool
        self._on_error = on_error
        self._clock = clock
        self._monotonic = monotonic
        self._clock_watch = ClockWatch(clock, monotonic)
        self._flush_interval = flush_interval
        self._capacity = capacity
        self._on_failure = on_failure
        self._on_recovery = on_recovery
        self._queue: deque[Item] = deque()
        # Held while records change places between the queue, the batch under way and the spool; never while the sink
        # writes.
        self._places = threading.Lock()
        self._current: Batch | None = None
        self._current_marks: list[_Mark] = []
        self._spooled_marks: list[_Mark] = []
        self._current_since = 0.0
        self._is_spooled = False
        self._unspooled = ""
        self._failed: str | None = None
        self._failed_since = 0.0
        self._reported = ""
        self._reporting = threading.Lock()
        self._dropped = 0
        # Whoever queues something and finds the threads asleep wakes them.
        self._due = threading.Condition()
        self._asleep = False
        self._urgent = False
        self._deadline: float | None = None
        self._stopped = threading.Event()
        self._finished = False
        self._rows = RowMaker()
        self._prune_at = monotonic()
        self._threads: list[threading.Thread] = []
        self.write: Callable[[LogRecord | Alert], None] = self._append if on_error == "close" else self._append_bounded
        """Queue a record or an alert; never blocks, from any thread. With *on_error* ``close`` it is taken whatever
        :attr:`accepting` says: the connections that live on still end, and those records must not be lost."""

    def open(self) -> None:
        """Open the sink and the spool and start the threads. :raises FirewallLogError: one of them cannot be used."""
        self._sink.open()
        try:
            if self._spool is not None:
                self._spool.open()
        except BaseException:
            self._sink.close()
            raise
        self._start(self._commit_all, "fwx-firewall-log")
        if self._spool is not None:
            self._start(self._watch, "fwx-firewall-log-spool")

    @property
    def name(self) -> str:
        return self._sink.name

    @property
    def paths(self) -> tuple[Path, ...]:
        """The sink's files and folders, and the spool."""
        return self._sink.paths if self._spool is None else (*self._sink.paths, self._spool.path)

    @property
    def failed(self) -> str | None:
        """Why the sink fails at the moment, or ``None``."""
        return self._failed

    @property
    def accepting(self) -> bool:
        """Whether new connections may be accepted: what they will have logged can be kept, in the sink, on disk, or in
        memory, or is not asked to be."""
        if not self._threads or self._deadline is not None:
            return False
        if self._on_error == "open":
            return True
        if self._failed is not None and (self._spool is None or self._unspooled):
            return False
        return self._in_memory() < self._capacity

    def look(self) -> None:
        """Count a write as failed that has taken :data:`STUCK_SECONDS` (B9.19); asked now and then by the loop thread.

        The writer's threads cannot tell when all of them stand still: without a spool, or where its disk does not
        answer either. Never waits.
        """
        current, since = self._current, self._current_since
        if current is None or self._failed is not None or self._monotonic() - since < STUCK_SECONDS:
            return
        is_free = self._places.acquire(blocking=False)
        try:
            if self._current is not current:
                return
            self._failed_since = since
            if self._spool is not None and not is_free:
                self._unspooled = f"{self._spool_name} takes no records"
            self._failed = f"{self.name}: a write takes more than {STUCK_SECONDS:g} s"
        finally:
            if is_free:
                self._places.release()
        self._report_failure()

    def flush(self, timeout: float) -> bool:
        """Wait until everything queued so far is in the sink; tell whether it is. *timeout* in seconds."""
        mark = _Mark()
        self._queue.append(mark)
        with self._due:
            self._urgent = True
            self._asleep = False
            self._due.notify_all()
        return mark.wait(timeout)

    def close(self, timeout: float) -> int:
        """Write what is queued, close sink and spool, end the threads; return how many records and alerts are lost.

        A failing sink is tried again until the time is up; what the spool can take waits there for the next start.
        """
        self.stop(timeout)
        return self.wait_stopped(timeout)

    def stop(self, timeout: float) -> None:
        """Begin to close; :meth:`wait_stopped` follows."""
        with self._due:
            self._deadline = time.monotonic() + timeout
            self._asleep = False
            self._due.notify_all()

    def wait_stopped(self, timeout: float) -> int:
        """Wait for the end that :meth:`stop` has begun; return how many records and alerts are lost."""
        if self._finished:
            return 0
        for thread in self._threads:
            thread.join(timeout + _JOIN_SECONDS)
            self._stopped.set()
        with self._places:
            self._finished = True
            if self._spool is not None:
                self._spool_everything(self._spool)
            waiting = 0 if self._spool is None else len(self._spool)
            left = 0 if self._current is None or self._is_spooled else len(self._current)
            lost = left + sum(not isinstance(item, _Mark) for item in self._queue) + self._dropped
            if self._spool is not None:
                self._spool.close()
            self._current = None
            self._queue.clear()
        if waiting:
            logger.warning(
                "%s: %d batches of records wait in %s for the next start", self.name, waiting, self._spool_name
            )
        if lost:
            why = self._failed or "the database did not answer in time"
            logger.error("%d record(s) of the firewall log %s are lost: %s", lost, self.name, why)
        return lost

    def _start(self, run: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    # Any thread.

    def _append(self, item: LogRecord | Alert) -> None:
        self._queue.append(item)
        if self._asleep:
            self._wake()
        if self._finished:
            self._refuse_late(item)

    def _append_bounded(self, item: LogRecord | Alert) -> None:
        if len(self._queue) >= self._capacity:
            self._dropped += 1
            return
        self._append(item)

    def _wake(self) -> None:
        with self._due:
            self._asleep = False
            self._due.notify_all()

    def _refuse_late(self, item: LogRecord | Alert) -> None:
        try:
            self._queue.remove(item)
        except ValueError:  # close() has seen it: written, or counted as lost
            return
        logger.error("the firewall log %s is closed, this is lost: %r", self.name, item)

    def _in_memory(self) -> int:
        current = self._current
        return len(self._queue) + (0 if current is None or self._is_spooled else len(current))

    @property
    def _spool_name(self) -> str:
        return "" if self._spool is None else str(self._spool.path)

    # The committing thread.

    def _commit_all(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._pause()
            self._drain()
            if self._failed is not None:
                stopping = self._is_late() or (stopping and self._is_on_disk())
            else:
                self._prune()
        self._stopped.set()
        try:
            self._sink.close()
        except Exception as error:  # noqa: BLE001 - of whatever sink
            logger.warning("%s: %s", self.name, error)

    def _pause(self) -> bool:
        """Wait until there is a reason to write; tell whether the log is being closed."""
        with self._due:
            if self._failed is None and self._deadline is None:
                self._sleep()
            if self._deadline is not None and self._failed is not None:
                self._due.wait(_CLOSING_RETRY_SECONDS)
            else:
                patience = self._flush_interval if self._failed is None else _RETRY_SECONDS
                self._due.wait_for(lambda: self._urgent or self._deadline is not None, patience)
            self._urgent = False
            return self._deadline is not None

    def _sleep(self) -> None:
        """Wait until something is queued, or old records are to be deleted; :attr:`_due` is held."""
        self._asleep = True
        if self._queue or self._urgent:  # it has come before it could see that this thread sleeps
            self._asleep = False
            return
        if not self._due.wait_for(lambda: not self._asleep, max(self._prune_at - self._monotonic(), 0.0)):
            self._asleep = False
            self._due.notify_all()  # the other thread looks on whenever this one may work

    def _drain(self) -> None:
        while True:
            try:
                if not self._take():
                    return
                if self._current is not None:
                    self._sink.commit(self._current)
            except FirewallLogError as error:
                self._fail(str(error))
                return
            except Exception as error:
                logger.exception("the writer of the firewall log %s failed", self.name)
                self._fail(repr(error))
                return
            self._committed()
            if self._is_late():
                return

    def _is_on_disk(self) -> bool:
        """Tell whether everything waits in the spool, so that a stop need not wait for the sink."""
        return self._spool is not None and not self._unspooled and not self._in_memory()

    def _is_late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _take(self) -> bool:
        """See to it that there is a batch under way, the oldest records; tell whether there is anything to do."""
        with self._places:
            # Before there is a batch: whoever looks how long it takes must not see when an earlier one began.
            self._current_since = self._monotonic()
            if self._current is None and self._spool is not None and len(self._spool):
                with contextlib.suppress(IndexError):
                    self._current, self._is_spooled = self._spool.head(), True
            if self._current is None:
                items = list(itertools.islice(self._queue, _BATCH))
                if not items:
                    return False
                batch = self._batch_of(items)
                self._forget(len(items))
                self._current_marks = [item for item in items if isinstance(item, _Mark)]
                self._current, self._is_spooled = batch, False
            return True

    def _batch_of(self, items: list[Item]) -> Batch:
        records: list[Row] = []
        row = self._rows.record_row
        for some in in_steps(items):
            records += [row(item) for item in some if type(item) is LogRecord]
        alerts = [self._rows.alert_row(item) for item in items if isinstance(item, Alert)]
        return Batch(uuid.uuid4().hex, records, alerts)

    def _forget(self, count: int) -> None:
        for _ in range(count):
            self._queue.popleft()

    def _committed(self) -> None:
        with self._places:
            if self._finished:  # close() has not waited so long; what it has spooled is known by its token
                return
            if self._is_spooled and self._spool is not None:
                try:
                    self._spool.drop()
                except OSError as error:
                    logger.error("%s: %s; what it holds may be written twice", self._spool_name, error.strerror)
            self._current, self._is_spooled = None, False
            self._unspooled = ""
            marks, self._current_marks = self._current_marks, []
            if self._spool is None or not len(self._spool):
                marks += self._spooled_marks
                self._spooled_marks = []
        for mark in marks:
            mark.set()
        if self._failed is None:
            return
        self._failed = None
        self._reported = ""
        dropped, self._dropped = self._dropped, 0
        lasted = self._monotonic() - self._failed_since
        logger.warning("%s: writes again after %.1f s", self.name, lasted)
        if dropped:
            logger.error("%d record(s) of the firewall log %s are lost: it could not be written", dropped, self.name)
        _report(self._on_recovery)

    def _fail(self, error: str) -> None:
        if self._failed is None:
            self._failed_since = self._monotonic()
        self._failed = error if error.startswith(self.name) else f"{self.name}: {error}"
        if self._spool is not None:
            with self._places:
                self._spool_everything(self._spool)
        self._report_failure()

    def _report_failure(self) -> None:
        """Say what fails and what follows from it; once, and again when that becomes another thing."""
        reason = self._failed
        if reason is None:
            return
        if self._spool is not None and not self._unspooled:
            kind, follows = "spools", f"records wait in {self._spool_name}"
        elif self._on_error == "open":
            kind, follows = "loses", "connections go on without it"
        else:
            kind, follows = "refuses", "new connections are refused"
        if self._spool is not None and self._unspooled:
            reason = f"{reason}; {self._unspooled}"
        with self._reporting:
            if self._reported == kind:
                return
            self._reported = kind
        logger.error("the firewall log cannot be written, %s: %s", follows, reason)
        if self._on_failure is not None:
            _report(self._on_failure, f"{follows}: {reason}")

    def _prune(self) -> None:
        """Have the sink delete a little; more of it follows as long as nothing waits to be written."""
        jump = self._clock_watch.jump()
        if jump:
            logger.warning(
                "%s: the clock was set by %+.0f s; no record is deleted for its age for a day", self.name, jump
            )
        if self._monotonic() < self._prune_at:
            return
        try:
            while self._sink.prune(self._clock() if self._clock_watch.trusted else None):
                if self._queue or self._deadline is not None:
                    return
        except Exception as error:  # noqa: BLE001 - of whatever sink
            logger.warning("%s: old records cannot be deleted: %s", self.name, error)
        self._prune_at = self._monotonic() + PRUNE_SECONDS

    # The spooling thread.

    def _watch(self) -> None:
        spool = self._spool
        assert spool is not None
        while not self._stopped.wait(_WATCH_SECONDS):
            with self._due:
                self._due.wait_for(lambda: not self._asleep)
            with self._places:
                if self._current is None:
                    continue
                since = self._current_since
                takes = self._monotonic() - since
                crowded = len(self._queue) > self._capacity // 2
                if self._failed is None and takes < SLOW_SECONDS and not crowded:
                    continue
                self._spool_everything(spool)
            if self._failed is None and takes >= STUCK_SECONDS:
                self._failed_since = since
                self._failed = f"{self.name}: a write takes more than {STUCK_SECONDS:g} s"
            self._report_failure()

    def _spool_everything(self, spool: Spool) -> None:
        """Move the batch under way and the queue to the spool, in order; what finds no room stays where it is."""
        try:
            moved = self._current is not None and not self._is_spooled
            if self._current is not None and not self._is_spooled:
                spool.append(self._current)
                self._is_spooled = True
            while items := list(itertools.islice(self._queue, _SPOOLED_BATCH)):
                marks = [item for item in items if isinstance(item, _Mark)]
                if len(marks) < len(items):
                    spool.append(self._batch_of(items))
                self._forget(len(items))
                self._spooled_marks += marks
                moved = True
            if moved:
                spool.sync()
            self._unspooled = ""
        except Exception as error:  # noqa: BLE001 - a record that cannot be formatted fails closed too
            self._unspooled = getattr(error, "strerror", None) or str(error)
            if "spool" not in self._unspooled:
                self._unspooled = f"{self._spool_name}: {self._unspooled}"


def _report(callback: Callable[..., object] | None, *arguments: str) -> None:
    if callback is None:
        return
    try:
        callback(*arguments)
    except Exception:
        logger.exception("%r failed", callback)
