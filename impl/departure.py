"""Where a connection outward leaves from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwx.impl.transport import Streams, Transport
    from fwx.interfaces import SocketAddress


class Departure:
    """Makes the stream for each attempt to connect: one with a free port, or the one that ``Bind`` made.

    A bound stream allows one attempt, to the first address of its family. It belongs to the departure until then.
    """

    __slots__ = ("_before", "_bound", "_bound_family", "_streams")

    def __init__(
        self,
        streams: Streams,
        bound: Transport | None = None,
        bound_family: int = 0,
        before: Callable[[SocketAddress], None] | None = None,
    ) -> None:
        """:param bound: the stream that is bound already, of the family *bound_family*.

        :param before: called with each address before it is connected to; what it raises ends that attempt.
        """
        self._streams = streams
        self._bound = bound
        self._bound_family = bound_family
        self._before = before

    def reachable(self, addresses: list[SocketAddress]) -> list[SocketAddress]:
        """Return those of *addresses* that can be connected to from here."""
        if not self._bound_family:
            return addresses
        if self._bound is None:
            return []
        return [address for address in addresses if address.family == self._bound_family][:1]

    def stream(self, address: SocketAddress) -> Transport:
        """Make the stream that is to connect to *address*; it is the caller's.

        :raises OSError: out of descriptors, or unknown family. :raises COMError: the packet filter failed.
        """
        if self._before is not None:
            self._before(address)
        bound, self._bound = self._bound, None
        return bound if bound is not None else self._streams.stream(address.family)

    def close(self) -> None:
        """Close the bound stream if no attempt has taken it."""
        bound, self._bound = self._bound, None
        if bound is not None:
            bound.close(False)
