"""The threads for what may block: file accesses, and tasks of filters that say so."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from fwx.interfaces import E_OUTOFMEMORY, FWX_E_TERMINATING, COMError

logger = logging.getLogger("fwx.workers")

WORKERS = 8
"""Threads that work at one time; those that have announced that they block do not count."""

MOST_THREADS = 64
"""Threads of a pool altogether."""

Work = Callable[[], object]


class WorkerPool:
    """A bounded pool of daemon threads (:class:`fwx.impl.workers.Workers`).

    No thread starts before there is work. While *most* is not reached, a thread that announces that it blocks is
    replaced as soon as work waits, and one too many ends when it is back.
    """

    def __init__(self, workers: int = WORKERS, most: int = MOST_THREADS) -> None:
        """*workers* threads work at one time, *most* there are with those that block."""
        self.most_blocked = most - workers
        self._workers = workers
        self._most = most
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._rest = threading.Condition(self._lock)
        self._waiting: deque[Work] = deque()
        self._threads: set[threading.Thread] = set()
        self._named = 0
        self._done = 0
        self._seen = 0
        self._starting = 0
        self._idle = 0
        self._blocked: set[threading.Thread] = set()
        # Those that wait for the loop thread.
        self._awaiting: set[threading.Thread] = set()
        self._closed = False

    def __len__(self) -> int:
        """The number of threads there are."""
        return len(self._threads)

    @property
    def threads(self) -> frozenset[threading.Thread]:
        """The threads there are."""
        with self._lock:
            return frozenset(self._threads)

    def submit(self, work: Work) -> None:
        """Have *work* called once on a thread of the pool, in the order of the calls as far as there are threads.

        :raises COMError: ``FWX_E_TERMINATING`` after :meth:`close`; ``E_OUTOFMEMORY`` no thread can be started.
        """
        with self._lock:
            if self._closed:
                raise COMError(FWX_E_TERMINATING, "the service stops")
            self._waiting.append(work)
            self._grow()
            self._work.notify()

    def thread_blocks(self) -> None:
        """The calling thread blocks; a thread that is none of the pool's changes nothing."""
        with self._lock:
            if threading.current_thread() in self._threads:
                self._blocked.add(threading.current_thread())
                self._rest.notify_all()
                if not self._closed:
                    self._grow()

    def thread_works(self) -> None:
        """The calling thread blocks no more."""
        with self._lock:
            self._blocked.discard(threading.current_thread())

    def thread_waits(self) -> None:
        """The calling thread waits for the loop thread: :meth:`settle` does not wait for it."""
        with self._lock:
            if threading.current_thread() in self._threads:
                self._awaiting.add(threading.current_thread())
                self._rest.notify_all()

    def thread_goes_on(self, thread: threading.Thread) -> None:
        """*thread*, which waited for the loop thread, has been told."""
        with self._lock:
            self._awaiting.discard(thread)

    def settle(self, news: Callable[[], object], seconds: float, *, leaves_blocked: bool = False) -> bool:
        """Wait until all work has been done, or *news* is true; :meth:`wake` has it asked again.

        One that *leaves_blocked* does not wait for threads that have announced that they block. Returns whether there
        was anything to wait for, or any work has ended since the last time: what it did may still have to be looked at.

        :raises TimeoutError: it does not end within *seconds*.
        """
        with self._lock:
            waited = not self._at_rest(leaves_blocked)
            if waited and not self._rest.wait_for(lambda: self._at_rest(leaves_blocked) or news(), seconds):
                raise TimeoutError(f"a thread of the pool has not come back within {seconds:g} s")
            ended, self._seen = self._done != self._seen, self._done
            return waited or ended

    def wake(self) -> None:
        """Let :meth:`settle` look again."""
        with self._lock:
            self._rest.notify_all()

    def close(self) -> None:
        """Take no more work; the threads do what waits and end."""
        with self._lock:
            self._closed = True
            self._work.notify_all()

    def join(self, seconds: float) -> int:
        """Wait at most *seconds* after :meth:`close` for the threads to end; return how many have not.

        What still waits then is dropped, with a line in the log: a thread that hangs holds nobody up.
        """
        end = time.monotonic() + seconds
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(end - time.monotonic(), 0))
        with self._lock:
            dropped, left = len(self._waiting), len(self._threads)
            self._waiting.clear()
        if left:
            logger.warning("%d threads still block, %d calls that waited for one are dropped", left, dropped)
        return left

    def _at_rest(self, leaves_blocked: bool) -> bool:
        left = self._awaiting | self._blocked if leaves_blocked else self._awaiting
        return not self._waiting and len(self._threads) == self._idle + len(left)

    def _grow(self) -> None:
        """Start a thread if work waits that no idle one will take; called with the lock."""
        threads = len(self._threads)
        if len(self._waiting) <= self._idle + self._starting:
            return
        if threads - len(self._blocked) >= self._workers or threads >= self._most:
            return
        thread = threading.Thread(target=self._run, name=f"fwx-worker-{self._named}", daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError as error:
            self._threads.discard(thread)
            if not self._threads:
                self._waiting.pop()
                raise COMError(E_OUTOFMEMORY, f"no thread can be started: {error}") from error
            logger.warning("no further thread can be started: %s", error)
            return
        self._named += 1
        self._starting += 1

    def _run(self) -> None:
        starts = 1
        while (work := self._next(starts)) is not None:
            starts = 0
            try:
                work()
            except BaseException:  # a thread of the pool outlives whatever it is given
                logger.exception("%r failed on a thread of the pool", work)
            del work
            with self._lock:
                self._done += 1

    def _next(self, starts: int) -> Work | None:
        """Return the next call, or ``None`` when this thread is to end; *starts* is 1 when it has just begun."""
        with self._lock:
            self._starting -= starts
            while not self._is_to_end():
                if self._waiting:
                    return self._waiting.popleft()
                self._idle += 1
                self._rest.notify_all()
                self._work.wait()
                self._idle -= 1
            self._threads.discard(threading.current_thread())
            self._work.notify()  # it may have been woken for work that it leaves to another
            self._rest.notify_all()
            return None

    def _is_to_end(self) -> bool:
        if len(self._threads) - len(self._blocked) > self._workers:
            return True
        return self._closed and not self._waiting
