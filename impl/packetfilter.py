"""The dynamic packet filter: the ports that sockets have open, each for as long as its socket needs it (B4.21)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from fwx.interfaces import SocketAddress

Answered = Callable[[int], object]


class Opening(NamedTuple):
    """One hole in the packet filter.

    :ivar protocol: ``FWX_PROTOCOL_TCP`` or ``FWX_PROTOCOL_UDP``.
    :ivar local: the socket's own address; port 0 where the kernel has yet to choose one.
    :ivar remote: the only peer that it is for; ``None`` for whoever comes, within the socket's IP filter.
    """

    protocol: int
    local: SocketAddress
    remote: SocketAddress | None = None


class Claim:
    """What one socket has open, or waits for: two sockets may claim the same opening, which stays for the last one.

    :ivar opening: what is claimed. :ivar withdrawn: whether it has been closed or has failed.
    """

    __slots__ = ("_settled", "_waiting", "opening", "withdrawn")

    def __init__(self, opening: Opening, done: Answered) -> None:
        """*done* gets 0 when the opening is there, or the Windows error; never after the claim was closed."""
        self.opening = opening
        self.withdrawn = False
        self._settled = False
        self._waiting: list[Answered] = [done]

    def then(self, done: Answered) -> None:
        """Have *done* told too: now if it is open, else with the others."""
        if self._settled:
            done(0)
        else:
            self._waiting.append(done)

    def settle(self, code: int) -> None:
        """Tell the socket, once; called by the back end."""
        waiting, self._waiting = self._waiting, []
        self._settled = True
        if code:
            self.withdrawn = True
        for done in waiting:
            done(code)

    def withdraw(self) -> None:
        """The socket no longer wants to hear of it; called by the back end."""
        self.withdrawn = True
        self._waiting.clear()


class PacketFilter(Protocol):
    """A back end. A socket claims what an operation needs before it does it, and closes it when it ends itself."""

    def open(self, claim: Claim) -> None:
        """Let traffic of the claim's opening through, and settle the claim: at once, or later on the loop thread.

        A claim that is settled with an error is not open, and not to be closed.

        :raises OSError: the back end cannot open anything; the operation fails with it.
        """

    def close(self, claim: Claim) -> None:
        """Take back one :meth:`open`; the claim is not settled any more."""


class MemoryPacketFilter:
    """The back end that needs no privileges: it knows what is open, the kernel filters nothing.

    What is open is enforced where it is used: sockets turn away a peer that none of their openings is for.
    """

    def __init__(self) -> None:
        self._open: Counter[Opening] = Counter()

    def __iter__(self) -> Iterator[Opening]:
        """Go through what is open, each as often as it was opened."""
        return self._open.elements()

    def __len__(self) -> int:
        return self._open.total()

    def open(self, claim: Claim) -> None:
        self._open[claim.opening] += 1
        claim.settle(0)

    def close(self, claim: Claim) -> None:
        """:raises KeyError: it is not open."""
        opening = claim.opening
        if claim.withdrawn or not self._open[opening]:
            raise KeyError(opening)
        claim.withdraw()
        self._open[opening] -= 1
        if not self._open[opening]:
            del self._open[opening]
