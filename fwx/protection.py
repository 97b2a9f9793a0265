"""What keeps a service alive under load: the ceilings of memory, and of what is pending; wired for one service."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from fwx.memory_watch import MemoryWatch, ResidentMemory, collect_garbage, memory_of_machine

if TYPE_CHECKING:
    from fwx.crowd import Crowd
    from fwx.impl.engine import Engine
    from fwx.service_events import ServiceEvents

SHARE_OF_MACHINE: Final = 0.75
"""Of the memory that the service may have at all, its ceiling unless ``memory_megabytes`` says another."""


class Protection:
    """Has the figures of a :class:`~fwx.crowd.Crowd` hold in the engine, also when they change.

    The service makes it, calls :meth:`start` when it lets clients in, and :meth:`close` at the end.

    :ivar memory: what measures the memory.
    """

    def __init__(self, engine: Engine, crowd: Crowd, events: ServiceEvents) -> None:
        self._engine = engine
        self._crowd = crowd
        self._events = events
        self._measure = ResidentMemory()
        self._ceiling = engine.queue.ceiling
        self._ceiling.exceeded = events.connection_memory
        self.memory = MemoryWatch(
            self._measured,
            self._ceiling,
            engine.recoverer,
            self._short,
            time.monotonic,
            engine.call_later,
            collect_garbage,
        )
        crowd.exceeded = events.crowd
        crowd.on_change = self._use
        engine.look_ups.refused = crowd.look_up_refused
        self._use()

    def start(self) -> None:
        """Begin to measure."""
        self.memory.start()

    def close(self) -> None:
        self.memory.close()
        self._measure.close()

    def _use(self) -> None:
        figures = self._crowd.figures
        self._ceiling.use(figures.memory_per_connection)
        self._engine.look_ups.most = figures.look_ups
        self.memory.most = figures.memory

    def _measured(self) -> int:
        self._crowd.memory = in_use = self._measure()
        return in_use

    def _short(self, is_short: bool, words: str) -> None:
        self._crowd.is_short = is_short
        if is_short:
            self._events.memory_short.signal(words)


def default_memory() -> int | None:
    """Return the ceiling of a service that is told none, in bytes; ``None`` where the machine does not tell its own."""
    most = memory_of_machine()
    return None if most is None else int(most * SHARE_OF_MACHINE)
