"""Data filters of a UDP connection that live as long as one of its destinations, and see every datagram all the same.

They are what ``IFWXConnection::AttachDataFilterWithDestination`` attaches.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fwx.impl.chain import chain_order
from fwx.impl.datagramchain import DatagramChain

if TYPE_CHECKING:
    from collections.abc import Collection

    from fwx.impl.ceiling import Holder
    from fwx.impl.chain import Member
    from fwx.impl.datagramchain import Datagram, Passed
    from fwx.impl.runqueue import RunQueue
    from fwx.interfaces import SocketAddress


class TiedFilters:
    """Stands between a connection's own filters and those of its destinations; filters come and go while data flows.

    Each has a chain of its own, which nobody else's coming or going disturbs. What is at a filter when it goes is lost,
    as datagrams may be.
    """

    __slots__ = ("_chains", "_holder", "_inward", "_members", "_outward", "_queue")

    def __init__(self, queue: RunQueue, outward: Passed, inward: Passed, holder: Holder | None = None) -> None:
        """:param outward: gets what has passed all of them on its way to a server. :param inward: to the client.

        :param holder: the connection.
        """
        self._holder = holder
        self._queue = queue
        self._outward = outward
        self._inward = inward
        # From client to server.
        self._members: list[Member] = []
        self._chains: dict[Member, DatagramChain] = {}

    @property
    def backlog(self) -> int:
        """Bytes that none of them has taken yet."""
        return sum(chain.backlog for chain in self._chains.values())

    def add(self, members: Collection[Member]) -> None:
        """Put *members* where their classes belong (B3.7); to call their ``SetSockets`` is the caller's."""
        for member in members:
            outward, inward = partial(self._passed_outward, member), partial(self._passed_inward, member)
            self._chains[member] = DatagramChain([member], self._queue, outward, inward, self._holder)
        self._members = sorted((*self._members, *members), key=chain_order)

    def remove(self, members: Collection[Member]) -> None:
        """Take those of *members* out that are here; what is pending at them fails."""
        for member in members:
            chain = self._chains.pop(member, None)
            if chain is not None:
                self._members.remove(member)
                chain.abort()

    def abort(self) -> None:
        """Fail what is pending everywhere: the connection ends."""
        for chain in self._chains.values():
            chain.abort()

    def from_client(self, data: Datagram, target: SocketAddress) -> None:
        """Pass a datagram of the client on; one for which there is no room is lost."""
        self._to_server_side(0, data, target)

    def from_server(self, data: Datagram, source: SocketAddress) -> None:
        """Pass a datagram for the client on."""
        self._to_client_side(len(self._members), data, source)

    def _passed_outward(self, member: Member, data: Datagram, target: SocketAddress) -> None:
        if member in self._chains:
            self._to_server_side(self._members.index(member) + 1, data, target)

    def _passed_inward(self, member: Member, data: Datagram, source: SocketAddress) -> None:
        if member in self._chains:
            self._to_client_side(self._members.index(member), data, source)

    def _to_server_side(self, place: int, data: Datagram, target: SocketAddress) -> None:
        """Hand on what has passed the first *place* filters."""
        if place < len(self._members):
            self._chains[self._members[place]].from_client(data, target)
        else:
            self._outward(data, target)

    def _to_client_side(self, place: int, data: Datagram, source: SocketAddress) -> None:
        """Hand on what has the first *place* filters still to pass."""
        if place:
            self._chains[self._members[place - 1]].from_server(data, source)
        else:
            self._inward(data, source)
