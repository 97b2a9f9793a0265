"""Descriptors and threads of filters under a memory loop: tried and waited for when nothing else is left to do."""

from __future__ import annotations

from fwx.descriptors import Descriptor
from fwx.impl.transport import READABLE, WRITABLE, Handler
from fwx.testing.memoryloop import MemoryLoop
from fwx.workers import WorkerPool

PATIENCE_SECONDS = 10.0
"""How long, in real time, a test waits for a task that blocks."""


class MemoryWatcher:
    """Tells that descriptors may be ready (:class:`fwx.handles.Watcher`) by having them tried: no poller, no waiting.

    :meth:`MemoryLoop.run` has everything tried that waits, each time when nothing else is ready.
    """

    def __init__(self, loop: MemoryLoop) -> None:
        self._loop = loop
        self._handlers: dict[int, Handler] = {}
        loop.ask(self._try)

    def watch(self, fd: int, handler: Handler) -> None:
        self._handlers[fd] = handler

    def release(self, descriptor: Descriptor) -> None:
        self._handlers.pop(descriptor.fileno(), None)
        descriptor.close()

    def _try(self) -> bool:
        for fd, handler in list(self._handlers.items()):
            if self._handlers.get(fd) is handler:
                handler(READABLE | WRITABLE)
        return bool(len(self._loop.queue))


def settle(workers: WorkerPool, loop: MemoryLoop, leaves_blocked: bool) -> bool:
    """Wait for the tasks that *workers* have: until they have ended, or one has posted something.

    :raises RuntimeError: neither happens.
    """
    try:
        return workers.settle(lambda: len(loop.queue), PATIENCE_SECONDS, leaves_blocked=leaves_blocked)
    except TimeoutError as error:
        raise RuntimeError(f"MemoryLoop.run does not end: {error}") from error
