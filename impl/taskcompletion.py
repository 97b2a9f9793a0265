"""Tasks of filters: on the loop thread, or on a thread of the pool where the task says that it blocks (B5.4)."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from fwx.impl.blocking import IBlocking
from fwx.impl.boundary import attempt
from fwx.interfaces import IFWXTaskCompletion
from fwx.interfaces.hresult import E_INVALIDARG, E_POINTER, E_UNEXPECTED, WSAENOBUFS, COMError, winsock_error

if TYPE_CHECKING:
    from fwx.impl.engine import Engine

# What may wait for a thread of the pool: a filter that posts faster than its tasks end is told so.
MOST_WAITING = 4096


class TaskCompletions:
    """Runs what ``IFWXFirewall2.PostTaskCompletion`` was given, once for each post."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._waiting = 0

    def post(self, task: IFWXTaskCompletion, user_data: object) -> None:
        """Have *task* run, later; any thread may call.

        :raises COMError: ``E_POINTER`` no task; ``E_INVALIDARG`` something else; and for one that blocks ``WSAENOBUFS``
            too many wait, ``FWX_E_TERMINATING`` the service stops; the former too for one of a blocking filter.
        """
        if task is None:
            raise COMError(E_POINTER, "PostTaskCompletion needs a completion")
        if not IFWXTaskCompletion.providedBy(task):
            raise COMError(E_INVALIDARG, f"an IFWXTaskCompletion is needed, not {type(task).__name__}")
        if not IBlocking.providedBy(task):
            self._post(task, user_data)
            return
        self._count(1)
        try:
            self._engine.workers.submit(partial(self._run_blocking, task, user_data))
        except COMError:
            self._count(-1)
            raise

    def _post(self, task: IFWXTaskCompletion, user_data: object) -> None:
        strand = self._engine.strands.current
        if strand is None:
            self._engine.queue.post(self._run, task, user_data)
            return
        self._count(1)

        def done(_result: object, error: BaseException | None) -> None:
            self._count(-1)
            if error is not None:
                self._engine.queue.call(strand.host.failed, "CompleteTask", error)

        strand.post(task, "CompleteTask", (user_data,), done)

    def _count(self, change: int) -> None:
        with self._lock:
            if change > 0 and self._waiting >= MOST_WAITING:
                raise winsock_error(WSAENOBUFS, f"{MOST_WAITING} tasks wait for a thread")
            self._waiting += change

    def _run(self, task: IFWXTaskCompletion, user_data: object) -> None:
        _, error = attempt(task, "CompleteTask", user_data)
        if error is not None:
            self._engine.faults.report(type(task).__name__, "CompleteTask", error)

    def _run_blocking(self, task: IFWXTaskCompletion, user_data: object) -> None:
        self._count(-1)
        self._run(task, user_data)
        starts = self._engine.blocking.abandon()
        if starts:
            error = COMError(E_UNEXPECTED, f"returned with {starts} heavy blocking operations that it had not ended")
            self._engine.faults.report(type(task).__name__, "CompleteTask", error)
