"""The UDP associations of a service's proxy ports: what they share, and which there are."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from fwx.impl.networks import normalise

if TYPE_CHECKING:
    from fwx.impl.deadline import DeadlineQueue
    from fwx.impl.networks import LocalAddresses
    from fwx.interfaces import SocketAddress
    from fwx.limits import AddressLimits


class Association(Protocol):
    """One association (:class:`fwx.associate_entry.AssociateEntry`)."""

    def close(self) -> None:
        """The service stops."""

    def end(self, result: int, reason: str) -> None:
        """It is the oldest of a client address that has too many."""


class Associations:
    """Knows the associations of all proxy ports.

    :ivar idle: how long one may be quiet. :ivar limits: where each has a place.
    """

    def __init__(self, limits: AddressLimits, idle: DeadlineQueue) -> None:
        self.limits = limits
        self.idle = idle
        self._relays: dict[Association, SocketAddress] = {}
        self._ports: Counter[int] = Counter()

    def __len__(self) -> int:
        """The number of associations that have a relay port now."""
        return len(self._relays)

    def add(self, association: Association, relay: SocketAddress) -> None:
        """Remember an association, whose client sends to *relay*."""
        self._relays[association] = relay
        self._ports[relay.port] += 1

    def discard(self, association: Association) -> None:
        """The relay port of *association*, if it had one, is closed."""
        relay = self._relays.pop(association, None)
        if relay is not None:
            self._ports[relay.port] -= 1

    def is_reached_by(self, address: SocketAddress, local: LocalAddresses) -> bool:
        """Tell whether a datagram to the literal *address* reaches a relay port; *local* are this host's addresses."""
        if not self._ports[address.port]:
            return False
        target = normalise(address.host)
        return target.is_unspecified or target in local

    def close(self) -> None:
        """End every association: UDP has no end to wait for."""
        for association in list(self._relays):
            association.close()
