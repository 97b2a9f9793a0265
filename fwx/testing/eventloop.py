"""asyncio in memory: what asyncio's tasks, timers and locks ask of their event loop, given by a memory loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fwx.testing.memoryloop import MemoryLoop

logger = logging.getLogger("fwx.testing")


class MemoryEventLoop(asyncio.AbstractEventLoop):
    """The running event loop of what a :class:`MemoryLoop` runs: the same in every run, in the memory loop's time.

    ``asyncio.sleep``, ``asyncio.timeout``, task groups, locks and queues work in it. Threads, sockets and processes do
    not: they raise ``NotImplementedError``.
    """

    def __init__(self, memory: MemoryLoop) -> None:
        self._memory = memory

    @contextmanager
    def running(self) -> Iterator[None]:
        """Be the running loop; a loop that is running around it waits meanwhile."""
        outer = asyncio._get_running_loop()
        if outer is self:
            yield
            return
        task = None if outer is None else asyncio.current_task(outer)
        if outer is not None and task is not None:
            asyncio._leave_task(outer, task)
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            asyncio._set_running_loop(outer)
            if outer is not None and task is not None:
                asyncio._enter_task(outer, task)

    def time(self) -> float:
        return self._memory.time()

    def call_soon(  # type: ignore[override]  # typeshed has type variables here
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._memory.queue.post(_run, handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # the queue takes posts of any thread

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._memory.call_later(when - self.time(), lambda: _run(handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        logger.error("%s", context.get("message"), exc_info=context.get("exception"))

    def is_running(self) -> bool:
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        return False

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer does nothing when it is due."""


def _run(handle: asyncio.Handle) -> None:
    if not handle.cancelled():
        handle._run()
