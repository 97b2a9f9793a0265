"""The port of a listener in the packet filter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwx.impl.packetfilter import Answered, Claim, Opening

if TYPE_CHECKING:
    from fwx.impl.engine import Engine
    from fwx.interfaces import SocketAddress


class OpenPort:
    """Opens the port of one listener for whoever comes, until it is closed.

    :ivar address: the listener's.
    """

    def __init__(
        self, engine: Engine, protocol: int, address: SocketAddress, remote: SocketAddress | None = None
    ) -> None:
        """*protocol* is ``FWX_PROTOCOL_TCP`` or ``FWX_PROTOCOL_UDP``; nothing is open yet. *remote* is whom alone it is
        for, if that is known."""
        self._engine = engine
        self.address = address
        self._opening = Opening(protocol, address, remote)
        self._claim: Claim | None = None

    def open(self, done: Answered) -> None:
        """*done* gets 0 when the port is open, or the Windows error. :raises OSError: nothing can be opened."""
        claim = Claim(self._opening, done)
        self._engine.packet_filter.open(claim)
        self._claim = claim

    def close(self) -> None:
        """Close the port if it is open. Again it does nothing."""
        claim, self._claim = self._claim, None
        if claim is not None and not claim.withdrawn:
            self._engine.packet_filter.close(claim)


class ClosedPort:
    """The port of a transparent listener, which nobody may address: what is diverted there needs no opening."""

    def __init__(self, address: SocketAddress) -> None:
        self.address = address

    def open(self, done: Answered) -> None:
        """There is nothing to open."""
        done(0)

    def close(self) -> None:
        """There is nothing to close."""
