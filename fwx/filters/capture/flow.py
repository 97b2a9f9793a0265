"""One connection as the segments of TCP that it would have been."""

from __future__ import annotations

from collections.abc import Iterator

from fwx.filters.capture.packet import ACK, FIN, MOST_IN_PACKET, PSH, RST, SYN, Ends, Segment

_MODULUS = 1 << 32


class Flow:
    """Counts sequence numbers, from 0 on each side, and makes segments of what happens.

    :ivar ends: who speaks. :ivar comment: what stands beside the first packet.
    """

    __slots__ = ("_next", "_over", "comment", "ends")

    def __init__(self, ends: Ends, comment: str) -> None:
        self.ends = ends
        self.comment = comment
        self._next = {True: 0, False: 0}
        self._over = False

    def opening(self) -> Iterator[Segment]:
        """The connection is established."""
        yield self._segment(True, SYN, 1)
        yield self._segment(False, SYN | ACK, 1)
        yield self._segment(True, ACK, 0)

    def data(self, from_client: bool, data: bytes) -> Iterator[Segment]:
        """One side has sent *data*."""
        for start in range(0, len(data), MOST_IN_PACKET):
            piece = data[start : start + MOST_IN_PACKET]
            yield self._segment(from_client, PSH | ACK, len(piece), piece)

    def end(self, from_client: bool) -> Iterator[Segment]:
        """One side sends no more."""
        if not self._over:
            yield self._segment(from_client, FIN | ACK, 1)

    def reset(self, from_client: bool) -> Iterator[Segment]:
        """One side has reset the connection."""
        if not self._over:
            self._over = True
            yield self._segment(from_client, RST | ACK, 0)

    def _segment(self, from_client: bool, flags: int, count: int, data: bytes = b"") -> Segment:
        number = self._next[from_client]
        acknowledged = self._next[not from_client] if flags & ACK else 0
        self._next[from_client] = (number + count) % _MODULUS
        return Segment(from_client, flags, number, acknowledged, data)
