"""The time that filters have to end a connection of which one side has gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwx.impl.deadline import DeadlineQueue
    from fwx.impl.endpoint import Endpoint


class Linger:
    """Watches a connection until it has stood still for one deadline, then calls back, once.

    What waits for a peer to read is not standing still, a client may take its time for the rest; but it is where a
    filter has closed the socket: nobody is left who could end it otherwise.
    """

    __slots__ = ("_callback", "_deadline", "_deadlines", "_ends", "_moved")

    def __init__(self, ends: Iterable[Endpoint], deadlines: DeadlineQueue, callback: Callable[[], None]) -> None:
        """*ends* are the client's and, where no filter emulates it, the server's."""
        self._ends = tuple(ends)
        self._deadlines = deadlines
        self._callback = callback
        self._watch()

    def cancel(self) -> None:
        self._deadline.cancel()

    def _watch(self) -> None:
        self._moved = self._bytes()
        self._deadline = self._deadlines.add(self._expired)

    def _expired(self) -> None:
        waits = any(end.backlog and not end.closing for end in self._ends)
        if waits or self._bytes() != self._moved:
            self._watch()
        else:
            self._callback()

    def _bytes(self) -> int:
        return sum(end.sent + end.received for end in self._ends)
