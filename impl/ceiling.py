"""How much of what connections carry may wait in the service, of each connection and while memory is short."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from fwx.interfaces import SocketAddress

SMALLEST_BLOCK: Final = 16 << 10
"""What is read at once of a connection at first, and at most while memory is short."""

LARGEST_BLOCK: Final = 256 << 10
"""What is read at once of a connection that brings much."""

HIGH_WATER: Final = 256 << 10
"""A filter that does not wait for its Sends is not given more data while this much of what it sent is queued."""

FREE: Final = 64 << 10
"""What each queue may hold whatever the others do: a direction that stands still does not stop the other one."""

MOST_QUEUED: Final = 8 << 20
"""What may wait in the queues of one connection, or of one socket that a filter has made, by default."""

# Connections whose refusal is remembered, so that each is told of once.
_MOST_KNOWN = 4096


class Holder(Protocol):
    """A connection whose queues share one ceiling."""

    id: int
    client_address: SocketAddress

    def has_room(self, ahead: int) -> bool:
        """Tell whether its queues may take one more Send, *ahead* bytes being on their way to them; any thread asks."""

    def exceeds(self, words: str) -> None:
        """It has been refused a Send; called once, from any thread."""


def has_room(queue: Any, waiting: int, ahead: int) -> bool:
    """Tell whether *queue*, which has more than :data:`FREE` bytes, may take one more Send.

    :param waiting: the bytes in it, and those that are on their way to it, which are *ahead*.
    """
    holder: Holder | None = queue.holder
    if holder is not None:
        return holder.has_room(ahead)
    most: int = queue._queue.ceiling.most
    return waiting < most


class Ceiling:
    """What may wait, one for a service: sockets, endpoints and pumps look here.

    :ivar most: bytes in all queues of one connection. :ivar block: bytes that are read at once, at most.
    :ivar high_water: bytes that a filter may have queued before it is given more.
    :ivar refusals: how many Sends were refused. :ivar exceeded: told once of a connection: its client, and words.
    :ivar is_tight: memory is short.
    """

    __slots__ = ("_configured", "_known", "block", "exceeded", "high_water", "is_tight", "most", "refusals")

    def __init__(self, most: int = MOST_QUEUED) -> None:
        self._known: set[int] = set()
        self.refusals = 0
        self.exceeded: Callable[[str, str], object] = lambda _address, _words: None
        self.is_tight = False
        self.use(most)

    def use(self, most: int) -> None:
        """Let *most* bytes wait in a connection from now on; what waits already stays."""
        self._configured = most
        self._set(self.is_tight)

    def tighten(self) -> None:
        """Memory is short: read little at once, and let nothing pile up."""
        self._set(True)

    def relax(self) -> None:
        """There is enough again."""
        self._set(False)

    def admits(self, waiting: int, holder: Holder) -> bool:
        """Tell whether *holder*, in whose queues *waiting* bytes are, may send more; from any thread."""
        if waiting < self.most:
            return True
        self.refusals += 1
        if holder.id not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known.add(holder.id)
            key = "memory is short" if self.is_tight else "memory_per_connection_kilobytes"
            words = f"{waiting} bytes wait in connection {holder.id}, a Send was refused ({key})"
            holder.exceeds(words)
            self.exceeded(holder.client_address.host, words)
        return False

    def _set(self, is_tight: bool) -> None:
        self.is_tight = is_tight
        self.most = FREE if is_tight else self._configured
        self.block = SMALLEST_BLOCK if is_tight else LARGEST_BLOCK
        self.high_water = FREE if is_tight else HIGH_WATER
