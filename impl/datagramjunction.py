"""The link between two neighbouring data filters on UDP: whole datagrams, each with its external address (B3.21)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwx.impl.junction import JunctionEnd, Lane

if TYPE_CHECKING:
    from fwx.impl.operation import DatagramOperation
    from fwx.impl.runqueue import RunQueue


class DatagramLane(Lane):
    """One direction: each Send meets one Recv, and its address travels with it.

    So the external party stays the same all along the chain: what one filter sends to a target on its external socket,
    the next receives from its internal socket with that target, and the other way round with the source.
    """

    __slots__ = ()

    def end(self) -> None:
        """The sender has no more; datagrams have no end that a receiver could read."""
        self.shut = True

    def _match(self) -> None:
        queue = self._queue
        matched = False
        while self.sends and self.recvs and not self.code:
            send: DatagramOperation = self.sends.popleft()  # type: ignore[assignment]  # a lane of datagrams
            recv: DatagramOperation = self.recvs.popleft()  # type: ignore[assignment]
            self.backlog -= len(send.data)
            matched = True
            if recv.buffer is None:
                recv.external = send.target
                recv.succeed(queue, send.handed_on())
            else:
                recv.deliver_from(queue, send.data, send.target)
            send.succeed(queue, send.buffer)
        if matched and self.on_room is not None:
            self.on_room()


class DatagramJunctionEnd(JunctionEnd):
    """One filter's view of the junction with its neighbour on UDP."""

    datagrams = True

    __slots__ = ()

    def has_data(self) -> bool:
        return bool(self._inbound.sends) or bool(self._inbound.code)


def datagram_junction(queue: RunQueue) -> tuple[DatagramJunctionEnd, DatagramJunctionEnd]:
    """Make the two ends of a link between neighbours: the client side's and the server side's."""
    to_server, to_client = DatagramLane(queue), DatagramLane(queue)
    return (
        DatagramJunctionEnd(inbound=to_client, outbound=to_server),
        DatagramJunctionEnd(inbound=to_server, outbound=to_client),
    )
