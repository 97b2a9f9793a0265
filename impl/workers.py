"""What the engine needs of threads: the host hands in an object with this shape (``fwx.workers``)."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Protocol


class Workers(Protocol):
    """A bounded pool of threads for what may block. Any thread may call.

    :ivar most_blocked: how many threads may announce at one time that they block.
    """

    most_blocked: int

    def submit(self, work: Callable[[], object]) -> None:
        """Have *work* called once on a thread of the pool.

        :raises COMError: ``FWX_E_TERMINATING`` the service stops; ``E_OUTOFMEMORY`` there is no thread, and none more.
        """

    def thread_blocks(self) -> None:
        """The calling thread is about to block for long; where it is one of the pool, another may take its place."""

    def thread_works(self) -> None:
        """The calling thread, which announced that it blocks, does so no more."""

    def thread_waits(self) -> None:
        """The calling thread is about to wait for something that the loop thread will tell it."""

    def thread_goes_on(self, thread: Thread) -> None:
        """*thread*, which waited for the loop thread, goes on; called by who tells it, and by itself afterwards."""
