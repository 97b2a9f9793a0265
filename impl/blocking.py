"""Heavy blocking operations: which threads are inside one, how deep, and how many may be (B5.13 to B5.17)."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from zope.interface import Interface

from fwx.interfaces.hresult import (
    FWX_E_ALREADY_IN_BLOCKING_OP,
    FWX_E_BAD_CONTEXT,
    FWX_E_NOT_IN_BLOCKING_OP,
    FWX_E_THREAD_QUOTA_EXCEEDED,
    COMError,
)

if TYPE_CHECKING:
    from fwx.impl.engine import Engine

T = TypeVar("T")


class IBlocking(Interface):
    """Marks a filter's object whose methods may block: the service calls them on a thread of its pool.

    An ``IFWXTaskCompletion`` that provides it has its ``CompleteTask`` called there. Of an ``IFWXFilter`` whose class
    implements it every object is called there: those of a session one call at a time, a data filter one at a time.
    """


class ILoopBound(Interface):
    """Marks a completion that is the service's own, and called on the loop thread whatever it was posted for."""


class _Depth:
    """How many starts of one thread have no end yet. It dies with the thread, which then counts no more."""

    __slots__ = ("__weakref__", "starts")

    def __init__(self) -> None:
        self.starts = 0


class BlockingOperations:
    """The count behind ``StartHeavyBlockingOperation`` and ``EndHeavyBlockingOperation`` of one service."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._local = threading.local()
        self._blocked: weakref.WeakSet[_Depth] = weakref.WeakSet()

    def __len__(self) -> int:
        """The number of living threads inside a heavy blocking operation."""
        return len(self._blocked)

    def start(self) -> None:
        """Count the calling thread in; a second start is counted as well, and refused."""
        self._refuse_loop_thread("StartHeavyBlockingOperation")
        depth = self._depth()
        if depth.starts:
            depth.starts += 1
            raise COMError(FWX_E_ALREADY_IN_BLOCKING_OP, f"started {depth.starts} times on this thread: end each")
        most = self._engine.workers.most_blocked
        with self._lock:
            if len(self._blocked) >= most:
                raise COMError(FWX_E_THREAD_QUOTA_EXCEEDED, f"{most} threads are inside a heavy blocking operation")
            self._blocked.add(depth)
        depth.starts = 1
        self._engine.workers.thread_blocks()

    def end(self) -> None:
        """Take back one start of the calling thread; the last one counts it out."""
        self._refuse_loop_thread("EndHeavyBlockingOperation")
        depth = self._depth()
        if not depth.starts:
            raise COMError(FWX_E_NOT_IN_BLOCKING_OP, "this thread has not called StartHeavyBlockingOperation")
        depth.starts -= 1
        if not depth.starts:
            self._leave(depth)

    def abandon(self) -> int:
        """Count the calling thread out whatever it started, and return how many starts had no end.

        Called when a thread of the pool comes back from a filter.
        """
        depth = self._depth()
        starts, depth.starts = depth.starts, 0
        if starts:
            self._leave(depth)
        return starts

    def wait(self, begin: Callable[[Callable[[T], None]], object], seconds: float) -> T:
        """Block the calling thread, which is not the loop's, until the loop thread has an answer, and return that.

        *begin* is called with what takes the answer, once. Meanwhile the thread counts as inside a heavy blocking
        operation, if it is not and there is room for one more.

        :raises queue.Empty: nothing has come within *seconds*.
        """
        answers: SimpleQueue[T] = SimpleQueue()
        thread, workers, depth = threading.current_thread(), self._engine.workers, self._depth()

        def tell(answer: T) -> None:
            workers.thread_goes_on(thread)
            answers.put(answer)

        with self._lock:
            counts = not depth.starts and len(self._blocked) < workers.most_blocked
            if counts:
                self._blocked.add(depth)
        if counts:
            workers.thread_blocks()
        workers.thread_waits()
        try:
            begin(tell)
            return answers.get(timeout=seconds)
        finally:
            workers.thread_goes_on(thread)
            if counts:
                self._leave(depth)

    def _leave(self, depth: _Depth) -> None:
        with self._lock:
            self._blocked.discard(depth)
        self._engine.workers.thread_works()

    def _depth(self) -> _Depth:
        depth: _Depth | None = getattr(self._local, "depth", None)
        if depth is None:
            depth = self._local.depth = _Depth()
        return depth

    def _refuse_loop_thread(self, method: str) -> None:
        if threading.get_ident() == self._engine.queue.thread:
            raise COMError(
                FWX_E_BAD_CONTEXT,
                f"{method} on the loop thread, which must never block: every connection would wait; post a task that"
                " provides IBlocking, or have the filter's class implement it",
            )
