"""Courses of the engine that wait for threads: coroutines which no event loop of asyncio drives."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Pending(Generic[T]):
    """What a course waits for; several may wait for the same. It is settled once, on the loop thread."""

    __slots__ = ("_is_settled", "_outcome", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []
        self._is_settled = False
        self._outcome: Any = None

    @property
    def is_settled(self) -> bool:
        return self._is_settled

    @property
    def outcome(self) -> T:
        """What it was settled with."""
        assert self._is_settled
        outcome: T = self._outcome
        return outcome

    def settle(self, outcome: T) -> None:
        """Let those go on who wait, in the order in which they came; another time it does nothing."""
        if self._is_settled:
            return
        self._is_settled, self._outcome = True, outcome
        waiting, self._waiting = self._waiting, []
        for resume in waiting:
            resume()

    def when_settled(self, callback: Callable[[], None]) -> None:
        """Have *callback* called when it is settled, at once if it is."""
        if self._is_settled:
            callback()
        else:
            self._waiting.append(callback)

    def __await__(self) -> Generator[Pending[T], None, T]:
        if not self._is_settled:
            yield self
        return self.outcome


class Course(Generic[T]):
    """One coroutine of the engine on its way. Where nothing blocks it has ended when :func:`proceed` returns.

    On the loop thread only.

    :ivar has_ended: the coroutine has returned or raised.
    """

    __slots__ = ("_coroutine", "_ended", "_error", "_failed", "_result", "has_ended")

    def __init__(self, coroutine: Coroutine[Any, None, T], failed: Callable[[Exception], None] | None = None) -> None:
        self._coroutine = coroutine
        self._failed = failed
        self.has_ended = False
        # Made where somebody wants to hear of the end: most have ended before anybody can ask.
        self._ended: Pending[None] | None = None
        self._result: Any = None
        self._error: Exception | None = None

    def result(self) -> T:
        """Return what the coroutine returned, once it has ended, or raise what it raised."""
        if self._error is not None:
            raise self._error
        result: T = self._result
        return result

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Have *callback* called when the coroutine has ended, at once if it has."""
        if self.has_ended:
            callback()
            return
        if self._ended is None:
            self._ended = Pending()
        self._ended.when_settled(callback)

    def start(self) -> None:
        """Go as far as nothing blocks. :raises Exception: what the coroutine raises there, if nobody else is told."""
        self._go()
        if self._error is not None and self._failed is None:
            raise self._error

    def _resume(self) -> None:
        self._go()
        if self._error is not None and self._failed is None:
            raise self._error  # the run queue writes it down

    def _go(self) -> None:
        try:
            pending: Pending[Any] = self._coroutine.send(None)
        except StopIteration as stop:
            self._result = stop.value
            self._end()
        except Exception as error:  # noqa: BLE001  who started it is told, or whoever asks for the result
            self._error = error
            self._end()
            if self._failed is not None:
                self._failed(error)
        else:
            pending.when_settled(self._resume)

    def _end(self) -> None:
        self.has_ended = True
        if self._ended is not None:
            self._ended.settle(None)


def proceed(coroutine: Coroutine[Any, None, T], failed: Callable[[Exception], None] | None = None) -> Course[T]:
    """Run *coroutine*, which awaits nothing but :class:`Pending`; return once it has ended, or waits.

    :param failed: gets what it raises, whenever that is.
    :raises Exception: what it raises before it waits, where there is no *failed*.
    """
    course = Course(coroutine, failed)
    course.start()
    return course


def take_step(
    failed: Callable[[Exception], None], function: Callable[..., Coroutine[Any, Any, None] | None], *args: Any
) -> None:
    """Call *function*, and go on with the coroutine that it may return; *failed* gets what either of them raises."""
    try:
        coroutine = function(*args)
        if coroutine is not None:
            proceed(coroutine, failed)
    except Exception as error:  # noqa: BLE001  whatever it is
        failed(error)
