"""What the engine needs to know of the machine: adapters, addresses and routes, as the host's network object tells."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import Final, Protocol, TypeAlias

from fwx.impl.networks import AddressRange

Interface: TypeAlias = IPv4Interface | IPv6Interface

NOWHERE: Final = 0
"""In place of an adapter's index: the route leads to nobody (blackhole, unreachable, prohibit)."""


@dataclass(frozen=True, slots=True)
class AddressState:
    """One address of this machine.

    :ivar adapter: the index of the adapter that has it.
    :ivar interface: the address with the length of its prefix.
    :ivar is_primary: it is the first one of its adapter and IP version.
    """

    adapter: int
    interface: Interface
    is_primary: bool


@dataclass(frozen=True, slots=True)
class RouteState:
    """One route of the main table: *destination* through *adapter*, or :data:`NOWHERE`.

    :ivar metric: of two routes to one destination the lower one holds.
    """

    destination: AddressRange
    adapter: int
    metric: int

    @property
    def is_default(self) -> bool:
        """Whether it is for what no other route is for."""
        span = 1 << (32 if self.destination.version == 4 else 128)
        return self.destination.last - self.destination.first + 1 == span


@dataclass(frozen=True, slots=True)
class MachineState:
    """The machine at one moment.

    :ivar adapters: their indices, in rising order.
    :ivar addresses: adapter after adapter, in the order in which the kernel has them.
    :ivar routes: in a fixed order.
    :ivar local: what the kernel delivers to this machine itself.
    """

    adapters: tuple[int, ...] = ()
    addresses: tuple[AddressState, ...] = ()
    routes: tuple[RouteState, ...] = ()
    local: tuple[AddressRange, ...] = ()


class Machine(Protocol):
    """Follows the machine until it is closed; on the loop thread."""

    def read(self) -> MachineState:
        """Return the state as it is now. :raises OSError: the kernel does not tell."""

    def close(self) -> None:
        """Follow no more."""
