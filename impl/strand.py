"""Strands: the calls of a blocking filter, one at a time and in order, on the threads of the pool (DESIGN 5)."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from weakref import WeakSet

from fwx.impl.boundary import attempt
from fwx.impl.course import Pending
from fwx.impl.deadline import Deadline, DeadlineQueue
from fwx.interfaces.hresult import E_UNEXPECTED, FWX_E_TERMINATING, COMError

if TYPE_CHECKING:
    from fwx.impl.engine import Engine
    from fwx.impl.filterhost import FilterHost

logger = logging.getLogger("fwx.strand")

ANSWER_SECONDS: Final = 60.0
"""How long the service waits for a call whose outcome it needs: an event's handler, ``Detach``, ``FilterInit`` ..."""

_TOLD_LATE: Final = frozenset({"Detach", "FilterShutdown"})

# Calls of one strand on a thread before the others get their turn.
_TURN: Final = 32

Outcome: TypeAlias = tuple[Any, BaseException | None]
"""What a method has returned, and the fault, raised or returned (:func:`fwx.impl.boundary.attempt`)."""


class Overdue(Exception):
    """A call of a filter has not returned in time."""


class _Call(NamedTuple):
    target: object
    name: str
    args: tuple[Any, ...]
    done: Callable[[Any, BaseException | None], object]


class _Asked(NamedTuple):
    """A call whose outcome is waited for."""

    strand: Strand
    deadline: Deadline


class Strand:
    """The calls of one filter that must not overlap: those of a session, of a data filter on its connection ...

    Any thread may post. What is called there may block: it finds itself on a thread of the pool.

    :ivar host: the filter.
    """

    __slots__ = ("__weakref__", "_current", "_is_running", "_lock", "_strands", "_thread", "_waiting", "host")

    def __init__(self, strands: Strands, host: FilterHost) -> None:
        """Made by :meth:`Strands.strand`."""
        self.host = host
        self._strands = strands
        self._lock = threading.Lock()
        self._waiting: deque[_Call] = deque()
        self._is_running = False
        self._current: _Call | None = None
        self._thread = 0

    def __len__(self) -> int:
        """The number of calls that wait or run."""
        return len(self._waiting) + self._is_running

    def post(
        self, target: object, name: str, args: tuple[Any, ...], done: Callable[[Any, BaseException | None], object]
    ) -> _Call:
        """Call the method *name* of *target*, a filter's, behind what was posted before; return what stands for that.

        *done* gets the result and the fault, on the thread; where no thread can be had, on the calling one.
        """
        call = _Call(target, name, args, done)
        with self._lock:
            self._waiting.append(call)
            starts, self._is_running = not self._is_running, True
        if starts:
            self._submit()
        return call

    def withdraw(self, call: _Call) -> None:
        """Do not make *call*, if it has not begun; its *done* is not called."""
        with self._lock:
            self._waiting = deque(each for each in self._waiting if each is not call)

    def tell(self, target: object, name: str, args: tuple[Any, ...], failed: Callable[[BaseException], object]) -> None:
        """Call *name* as :meth:`post` does; *failed* hears of a fault, on the loop thread."""
        self.post(target, name, args, partial(self._judge, failed))

    def fault(self, failed: Callable[[BaseException], object], error: BaseException) -> None:
        """Tell *failed* of a fault, on the loop thread; from any thread."""
        self._strands.engine.queue.call(failed, error)

    def ask(self, target: object, name: str, *args: Any) -> Pending[Outcome]:
        """Call *name* as :meth:`post` does, and let a course wait for the outcome; on the loop thread.

        One that does not return in time has failed with :class:`Overdue`; if it has not begun, it never does, unless it
        tells of an end: ``Detach`` and ``FilterShutdown`` come when the strand is free.
        """
        return self._strands.asked(self, target, name, args)

    def where(self) -> str:
        """Say what the running call is busy with, for the log; empty where there is none."""
        current, frame = self._current, sys._current_frames().get(self._thread)
        if current is None or frame is None:
            return ""
        own = [each for each, _ in traceback.walk_stack(frame)]
        return f"{current.name}, {own[0].f_code.co_qualname}, {own[0].f_code.co_filename}:{own[0].f_lineno}"

    def _judge(self, failed: Callable[[BaseException], object], _result: Any, error: BaseException | None) -> None:
        if error is not None:
            self.fault(failed, error)

    def _submit(self) -> None:
        try:
            self._strands.engine.workers.submit(self._run)
        except COMError as error:
            with self._lock:
                waiting, self._waiting, self._is_running = self._waiting, deque(), False
            for call in waiting:
                call.done(None, error)

    def _run(self) -> None:
        """Make the calls that wait, a turn's worth; on a thread of the pool."""
        self._strands.enter(self)
        self._thread = threading.get_ident()
        try:
            for _ in islice(iter(self._next, None), _TURN):
                self._make()
        finally:
            self._thread = 0
            self._strands.leave()
        with self._lock:
            self._is_running = bool(self._waiting)
        if self._is_running:
            self._submit()

    def _next(self) -> _Call | None:
        with self._lock:
            self._current = self._waiting.popleft() if self._waiting else None
        return self._current

    def _make(self) -> None:
        call = self._current
        assert call is not None
        result, error = attempt(call.target, call.name, *call.args)
        starts = self._strands.engine.blocking.abandon()
        if starts and error is None:
            error = COMError(E_UNEXPECTED, f"returned with {starts} heavy blocking operations that it had not ended")
        self._current = None
        try:
            call.done(result, error)
        except Exception:
            logger.exception("the outcome of %s of filter %r is lost", call.name, self.host.name)


class Strands:
    """The strands of one service, and the calls whose outcome it waits for.

    :ivar deadlines: when each of these is overdue.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.deadlines = DeadlineQueue(ANSWER_SECONDS, engine.clock, engine.call_later)
        self._asked: dict[Pending[Outcome], _Asked] = {}
        # Those that nobody waits for any more, because they did not come back when the service had to go on.
        self._abandoned: WeakSet[Strand] = WeakSet()

    def __len__(self) -> int:
        """The number of calls whose outcome is waited for."""
        return len(self._asked)

    def strand(self, host: FilterHost) -> Strand:
        """Make a strand for calls of *host*."""
        return Strand(self, host)

    @property
    def current(self) -> Strand | None:
        """The strand that the calling thread works for; ``None`` on the loop thread and on one of a filter's own."""
        strand: Strand | None = getattr(self.engine.queue.local, "strand", None)
        return strand

    def enter(self, strand: Strand) -> None:
        """The calling thread works for *strand*."""
        self.engine.queue.local.strand = strand

    def leave(self) -> None:
        """The calling thread works for no strand any more."""
        self.engine.queue.local.strand = None

    def asked(self, strand: Strand, target: object, name: str, args: tuple[Any, ...]) -> Pending[Outcome]:
        """Post a call to *strand*, and return what settles with its outcome."""
        pending: Pending[Outcome] = Pending()
        if strand in self._abandoned:
            pending.settle((None, _stopping()))
            return pending

        def done(result: Any, error: BaseException | None) -> None:
            self.engine.queue.post(self._settle, pending, (result, error))

        call = strand.post(target, name, args, done)
        deadline = self.deadlines.add(partial(self._overdue, pending, strand, call))
        self._asked[pending] = _Asked(strand, deadline)
        return pending

    def abandon(self) -> None:
        """Wait no longer for what is waited for now: each of these calls has failed. The service stops, and has to.

        Their strands are waited for no more; those of others go on.
        """
        for strand in {asked.strand for asked in self._asked.values()}:
            self._abandoned.add(strand)
            where = strand.where()
            if where:
                logger.warning("filter %r has not come back from %s", strand.host.name, where)
        for pending in list(self._asked):
            self._settle(pending, (None, _stopping()))

    def close(self) -> None:
        """Wait for nothing any more; the service has stopped."""
        self.abandon()
        self.deadlines.close()

    def unheard(self, error: Exception) -> None:
        """A course of which nobody waits for the end any more has failed: what it was about has ended.

        :raises Exception: *error*, if it is none of the SDK's: a bug of ours.
        """
        if not isinstance(error, COMError):
            raise error
        logger.debug("refused when the call had returned: %s", error)

    def _settle(self, pending: Pending[Outcome], outcome: Outcome) -> None:
        asked = self._asked.pop(pending, None)
        if asked is not None:
            asked.deadline.cancel()
        pending.settle(outcome)

    def _overdue(self, pending: Pending[Outcome], strand: Strand, call: _Call) -> None:
        if call.name not in _TOLD_LATE:  # else one that hangs would gather all that has ended meanwhile
            strand.withdraw(call)
        where = strand.where()
        busy = f": it is busy with {where}" if where else ": no thread is free"
        self._settle(pending, (None, Overdue(f"{call.name} has not returned for {ANSWER_SECONDS:g} s{busy}")))


def _stopping() -> COMError:
    return COMError(FWX_E_TERMINATING, "the service stops, and does not wait for the filter")
