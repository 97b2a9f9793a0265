"""An event loop in memory, where nothing happens by itself: a test says when something may, and when time passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fwx.impl.runqueue import RunQueue
from fwx.testing.eventloop import MemoryEventLoop

_MOST_ROUNDS = 5000


class Ready(Protocol):
    """What the loop dispatches to."""

    def dispatch(self) -> None: ...


class MemoryTimer:
    """A call that is due at a time; made by :meth:`MemoryLoop.call_later`."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class MemoryLoop:
    """An event loop that only turns when it is told to; its run queue is the engine's.

    Descriptors and threads of filters are outside: once nothing else is ready, :meth:`run` asks what it was given by
    :meth:`ask` whether something has happened there.

    :ivar asyncio: the event loop of asyncio that tasks find running in it.
    """

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self._ready: dict[Ready, None] = {}
        self._timers: list[MemoryTimer] = []
        self._outside: list[Callable[[], bool]] = []
        self._on_post: Callable[[], None] = lambda: None
        # What was put off to the next round.
        self._soon: list[Callable[[], object]] = []
        self.queue = RunQueue(self._call_soon, lambda _: self._on_post(), self.time)
        self.asyncio = MemoryEventLoop(self)  # type: ignore[abstract]  # what it cannot do it refuses

    def time(self) -> float:
        """Return the time in seconds; only :meth:`advance` changes it."""
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> MemoryTimer:
        timer = MemoryTimer(self.now + delay, callback)
        self._timers.append(timer)
        return timer

    def ask(self, happened: Callable[[], bool], on_post: Callable[[], None] | None = None) -> None:
        """Call *happened* whenever nothing else is ready; it returns whether :meth:`run` should go on.

        *on_post* is called when another thread has posted to the run queue.
        """
        self._outside.append(happened)
        if on_post is not None:
            self._on_post = on_post

    def edge(self, ready: Ready) -> None:
        """Dispatch *ready* in the next round."""
        self._ready[ready] = None

    def _call_soon(self, function: Callable[[], object]) -> None:
        # Whatever the queue wants to be drained for, run() drains it.
        if function != self.queue.drain:
            self._soon.append(function)

    def run(self) -> None:
        """Let happen what is ready, and what that makes ready, until nothing is.

        :raises RuntimeError: it does not end: parts feed each other for ever.
        """
        with self.asyncio.running():
            for _ in range(_MOST_ROUNDS):
                if not (self._ready or self._soon or len(self.queue)) and not self._ask():
                    return
                soon, self._soon = self._soon, []
                for function in soon:
                    function()
                ready, self._ready = self._ready, {}
                for each in ready:
                    each.dispatch()
                self.queue.drain()
        raise RuntimeError(f"still busy after {_MOST_ROUNDS} rounds: parts feed each other for ever")

    def _ask(self) -> bool:
        goes_on = False
        for happened in self._outside:
            goes_on |= happened()
        return goes_on

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass: run what is ready, then what becomes due, in its order."""
        self.run()
        end = self.now + seconds
        while True:
            due = [timer for timer in self._timers if timer.callback is not None and timer.when <= end]
            if not due:
                break
            timer = min(due, key=lambda each: each.when)
            self._timers.remove(timer)
            self.now = max(self.now, timer.when)
            callback = timer.callback
            assert callback is not None
            with self.asyncio.running():
                callback()
            self.run()
        self.now = end
        self._timers = [timer for timer in self._timers if timer.callback is not None]
