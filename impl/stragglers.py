"""Transports that have been closed with something of theirs still on its way to the peer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fwx.impl.deadline import Deadline, DeadlineQueue


class Straggler(Protocol):
    """A closed transport that still sends.

    :ivar waiting: the bytes that have not been taken.
    """

    @property
    def waiting(self) -> int: ...

    def abort(self) -> None:
        """Give up what waits: reset the connection."""


class Stragglers:
    """Keeps them until their last byte has been taken, as the kernel does for its sockets.

    One whose peer has taken nothing for one deadline is given up.

    :ivar on_empty: called when the last one has gone.
    """

    def __init__(self, deadlines: DeadlineQueue) -> None:
        self._deadlines = deadlines
        self._members: dict[Straggler, tuple[Deadline, int]] = {}
        self.on_empty: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._members)

    def add(self, transport: Straggler) -> None:
        """Keep *transport*, which calls :meth:`discard` when all has been taken, or the connection has failed."""

        def expired() -> None:
            if transport.waiting < self._members[transport][1]:
                self.add(transport)
            else:
                transport.abort()

        self._members[transport] = self._deadlines.add(expired), transport.waiting

    def discard(self, transport: Straggler) -> None:
        deadline, _ = self._members.pop(transport)
        deadline.cancel()
        if not self._members and self.on_empty is not None:
            self.on_empty()

    def close(self) -> None:
        """The service stops: give them all up."""
        for transport in list(self._members):
            transport.abort()
