"""The asyncio tasks of one service's filters."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from fwx.impl.tasking import ITasks
from fwx.interfaces.hresult import FWX_E_BAD_CONTEXT, COMError

if TYPE_CHECKING:
    from fwx.impl.fault import FaultReporter

logger = logging.getLogger("fwx.aio")

Task = asyncio.Task[None]


@implementer(ITasks)
class Tasks:
    """Runs coroutines on one event loop: that of the service, or :class:`fwx.testing.MemoryEventLoop`.

    It holds every task until it is done, and lets no exception of one reach the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, faults: FaultReporter) -> None:
        self._loop = loop
        self._faults = faults
        self._tasks: set[Task] = set()
        self._thread = threading.get_ident()

    def __len__(self) -> int:
        """The number of tasks that are not done."""
        return len(self._tasks)

    def start(
        self, coroutine: Coroutine[Any, Any, object], name: str, failed: Callable[[BaseException], None] | None = None
    ) -> Task:
        """Run *coroutine*; *failed*, or the report of faults, gets what it raises. See :class:`ITasks`.

        :raises COMError: ``FWX_E_BAD_CONTEXT`` on another thread than the loop's.
        """
        if threading.get_ident() != self._thread:
            coroutine.close()
            raise COMError(
                FWX_E_BAD_CONTEXT, f"filter {name!r}: coroutines run on the loop thread, not in one that blocks"
            )
        if failed is None:
            failed = partial(self._report, name, getattr(coroutine, "__qualname__", "a task"))
        task: Task = asyncio.Task(_guarded(coroutine, failed), loop=self._loop, name=name)
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, coroutine))
        return task

    async def settle(self, seconds: float) -> None:
        """Wait for the tasks that have been cancelled, at most *seconds*."""
        await self._wait((task for task in self._tasks if task.cancelling()), seconds)

    async def close(self, seconds: float) -> None:
        """Cancel every task and wait for it, at most *seconds*; one that does not end then is left behind."""
        self.cancel()
        await self._wait(self._tasks, seconds)
        for task in self._tasks:
            logger.warning("a task of filter %r does not end when it is cancelled", task.get_name())
            # The loop would wait for it for ever when it is closed.
            asyncio._unregister_task(task)
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # as asyncio.gather does

    def cancel(self) -> None:
        """Cancel every task."""
        for task in self._tasks:
            task.cancel()

    async def _wait(self, tasks: Iterable[Task], seconds: float) -> None:
        waited = set(tasks)
        if waited:
            await asyncio.wait(waited, timeout=seconds)

    def _done(self, coroutine: Coroutine[Any, Any, object], task: Task) -> None:
        self._tasks.discard(task)
        coroutine.close()  # it was never started where the task was cancelled before

    def _report(self, name: str, method: str, error: BaseException) -> None:
        self._faults.report(name, method, error)


async def _guarded(coroutine: Coroutine[Any, Any, object], failed: Callable[[BaseException], None]) -> None:
    try:
        await coroutine
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001  a filter's coroutine may raise anything; SystemExit would end the loop
        failed(error)
