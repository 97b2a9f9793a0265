"""What a coroutine waits on until a completion has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Wait(Generic[T]):
    """The outcome of one operation, to be awaited once, by one task of *loop*.

    It keeps asyncio's protocol for future-like objects, so every task can wait on it. Unlike a future it lets the task
    go on inside the completion that settles it: without another round of the event loop, and in the order in which
    completions come. It is therefore settled on the loop's thread alone, as all completions come.

    :ivar pending: it has been neither settled nor cancelled.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_context", "_error", "_loop", "_value", "pending")

    _callback: Callable[[Any], object] | None
    _context: Context
    _error: BaseException | None
    _value: T

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop  # a task that finds no get_loop() asks for it by this name
        self._callback = self._error = None
        self.pending = True

    def succeed(self, value: T) -> None:
        """Settle it with *value*; without effect when it is not pending."""
        if self.pending:
            self.pending = False
            self._value = value
            if self._callback is not None:
                self._wake(self._callback)

    def fail(self, error: BaseException) -> None:
        """Settle it with *error*; without effect when it is not pending."""
        if self.pending:
            self.pending = False
            self._error = error
            if self._callback is not None:
                self._wake(self._callback)

    def __await__(self) -> Generator[Any, None, T]:
        if self.pending:
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    # asyncio's protocol.

    def result(self) -> T:
        """Return the value, or raise the error, of a wait that is not pending."""
        if self._error is not None:
            raise self._error
        return self._value

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context) -> None:
        """Have *callback* called once, when it is settled or cancelled; a task does this for itself."""
        self._context = context
        self._callback = callback

    def cancel(self, msg: Any = None) -> bool:
        """Cancel it, because its task is; tell whether it was pending."""
        if not self.pending:
            return False
        self.pending = False
        self._error = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        if self._callback is not None:
            # Who cancels runs in a task of its own: the cancelled one goes on later.
            self._loop.call_soon(self._callback, self, context=self._context)
        return True

    def _wake(self, callback: Callable[[Any], object]) -> None:
        loop = self._loop
        running = asyncio.current_task(loop)
        if running is None:
            self._context.run(callback, self)
            return
        # The run queue is being drained by a task, the service's own when it stops: step out of it meanwhile.
        asyncio._leave_task(loop, running)
        try:
            self._context.run(callback, self)
        finally:
            asyncio._enter_task(loop, running)
