"""Where a connection outward leaves from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fwx.interfaces.hresult import winsock_error

if TYPE_CHECKING:
    from fwx.impl.packetfilter import Answered
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
        before: Callable[[SocketAddress, Answered], None] | None = None,
    ) -> None:
        """:param bound: the stream that is bound already, of the family *bound_family*.

        :param before: called with each address before it is connected to, and with what is to be told, at once or
            later, 0 or the Windows error that ends that attempt; raising ends it too.
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

    @property
    def is_open(self) -> bool:
        """Packets may leave at once, wherever they go."""
        return self._before is None

    def open(self, address: SocketAddress, done: Answered) -> bool:
        """Tell whether packets may leave for *address*; if not yet, *done* gets 0 later, or the Windows error.

        :raises COMError: they may not.
        """
        if self._before is None:
            return True
        answers: list[int] = []
        returned = False

        def answered(code: int) -> None:
            if returned:
                done(code)
            else:
                answers.append(code)

        self._before(address, answered)
        returned = True
        if answers and answers[0]:
            raise winsock_error(answers[0], "the packet filter")
        return bool(answers)

    def stream(self, address: SocketAddress) -> Transport:
        """Make the stream that is to connect to *address*, for which packets may leave; it is the caller's.

        :raises OSError: out of descriptors, or unknown family.
        """
        bound, self._bound = self._bound, None
        return bound if bound is not None else self._streams.stream(address.family)

    def close(self) -> None:
        """Close the bound stream if no attempt has taken it."""
        bound, self._bound = self._bound, None
        if bound is not None:
            bound.close(False)
