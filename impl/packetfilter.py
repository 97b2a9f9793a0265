"""The dynamic packet filter: the ports that sockets have open, each for as long as its socket needs it (B4.21)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from fwx.interfaces import SocketAddress


class Opening(NamedTuple):
    """One hole in the packet filter.

    :ivar protocol: ``FWX_PROTOCOL_TCP`` or ``FWX_PROTOCOL_UDP``.
    :ivar local: the socket's own address.
    :ivar remote: the only peer that it is for; ``None`` for whoever comes, within the socket's IP filter.
    """

    protocol: int
    local: SocketAddress
    remote: SocketAddress | None = None


class PacketFilter(Protocol):
    """A back end. A socket opens what an operation needs before it does it, and closes it when it ends itself."""

    def open(self, opening: Opening) -> None:
        """Let traffic of *opening* through. :raises OSError: the back end failed; the operation fails with it."""

    def close(self, opening: Opening) -> None:
        """Take back one :meth:`open`."""


class MemoryPacketFilter:
    """The back end that needs no privileges: it knows what is open, the kernel filters nothing."""

    def __init__(self) -> None:
        self._open: Counter[Opening] = Counter()

    def __iter__(self) -> Iterator[Opening]:
        """Go through what is open, each as often as it was opened."""
        return self._open.elements()

    def __len__(self) -> int:
        return self._open.total()

    def open(self, opening: Opening) -> None:
        self._open[opening] += 1

    def close(self, opening: Opening) -> None:
        """:raises KeyError: it is not open."""
        if not self._open[opening]:
            raise KeyError(opening)
        self._open[opening] -= 1
        if not self._open[opening]:
            del self._open[opening]
