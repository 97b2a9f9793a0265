"""The objects of the network configuration: made once, kept while the configuration has them, put into pictures."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fwx.impl.netadapter import FWXNetworkAdapter, FWXNetworkAddress
from fwx.impl.netcollection import FWXNetworkAdapters, FWXNetworkAddresses, FWXNetworkElements, FWXNetworkSets
from fwx.impl.netelement import FWXNetworkElement, FWXNetworkSet
from fwx.impl.netranges import RangeTable
from fwx.impl.netroutes import RouteMap
from fwx.impl.netsnapshot import FWXNetConfigDetectionSnapshot
from fwx.impl.networks import ALWAYS_LOCAL, ANY, EXTERNAL, LOCALHOST, Address, AddressRange, AddressSet
from fwx.interfaces import fpcDefaultExternal, fpcInternalNetwork, fpcLocalHost, fpcStandardNetwork

if TYPE_CHECKING:
    from fwx.impl.machine import MachineState
    from fwx.impl.netcontext import ContextSlots
    from fwx.impl.networks import Network

INTERNAL: Final = "internal"
"""How a configured network is called that is of the type ``fpcInternalNetwork``, in any case of letters."""

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


class Inventory:
    """Makes the pictures, one after the other, on the loop thread."""

    def __init__(self, slots: ContextSlots) -> None:
        self._slots = slots
        self._localhost = FWXNetworkElement(slots, LOCALHOST, fpcLocalHost, self._holds_local)
        self._external = FWXNetworkElement(slots, EXTERNAL, fpcDefaultExternal, self._holds_local)
        self._any = FWXNetworkSet(slots, ANY, FWXNetworkElements(()))
        self._elements: dict[str, FWXNetworkElement] = {}
        self._adapters: dict[int, FWXNetworkAdapter] = {}
        self._addresses: dict[Any, FWXNetworkAddress] = {}
        self._networks: dict[FWXNetworkElement, AddressSet] = {}
        self._local = AddressSet(ALWAYS_LOCAL)
        self._routes = RouteMap((), (), {})

    def picture(self, networks: tuple[Network, ...], state: MachineState) -> FWXNetConfigDetectionSnapshot:
        """Make the picture of the configured *networks* and the machine."""
        self._elements = _kept(self._elements, (network.name for network in networks), self._make_element)
        self._networks = {self._elements[network.name]: AddressSet(network.parsed) for network in networks}
        self._any.members = FWXNetworkElements((*self._elements.values(), self._external))
        self._local = AddressSet((*ALWAYS_LOCAL, *state.local))
        # Whoever comes later takes; the first network of the configuration comes before the others.
        claims = [(self._elements[network.name], network.parsed) for network in reversed(networks)]
        table = RangeTable(self._external, [*claims, (self._localhost, (*ALWAYS_LOCAL, *state.local))])
        self._adapters = _kept(self._adapters, state.adapters, self._make_adapter)
        # An address may be told of whose adapter has gone meanwhile.
        keys = [(each, self.around(each.interface.ip)) for each in state.addresses if each.adapter in self._adapters]
        self._addresses = _kept(self._addresses, keys, self._make_address)
        self._routes = RouteMap(state.adapters, state.routes, _within(keys, table))
        return FWXNetConfigDetectionSnapshot(
            FWXNetworkElements((*self._elements.values(), self._localhost, self._external)),
            FWXNetworkSets((self._any,)),
            FWXNetworkAdapters(self._adapters.values()),
            FWXNetworkAddresses(self._addresses.values()),
            table,
            self._routes,
        )

    def around(self, address: Address) -> FWXNetworkElement:
        """Return the network of the computers around an *address* of this one: by the ranges, whoever has it."""
        if address in _NEVER_OUTSIDE:
            return self._localhost
        return next((element for element, ranges in self._networks.items() if address in ranges), self._external)

    def _holds_local(self, element: FWXNetworkElement, address: Address) -> bool:
        if address not in self._local:
            return False
        if element is self._localhost:
            return True
        ranges = self._networks.get(element)
        return self.around(address) is element if ranges is None else address in ranges

    def _make_element(self, name: str) -> FWXNetworkElement:
        kind = fpcInternalNetwork if name.lower() == INTERNAL else fpcStandardNetwork
        return FWXNetworkElement(self._slots, name, kind, self._holds_local)

    def _make_adapter(self, index: int) -> FWXNetworkAdapter:
        return FWXNetworkAdapter(self._slots, index, lambda: self._routes)

    def _make_address(self, key: Any) -> FWXNetworkAddress:
        state, element = key
        return FWXNetworkAddress(self._slots, state, self._adapters[state.adapter], element)


_NEVER_OUTSIDE: Final = AddressSet(ALWAYS_LOCAL)


def _kept(known: dict[Key, Item], keys: Iterable[Key], make: Callable[[Key], Item]) -> dict[Key, Item]:
    """Return the items of *keys* in this order, those that are *known* where they are."""
    return {key: known[key] if key in known else make(key) for key in keys}


def _within(keys: Iterable[Any], table: RangeTable[FWXNetworkElement]) -> dict[int, tuple[AddressRange, ...]]:
    """Return by adapter the IPv4 ranges of the networks that its IPv4 addresses are in."""
    elements: dict[int, set[FWXNetworkElement]] = {}
    for state, element in keys:
        if state.interface.version == 4:
            elements.setdefault(state.adapter, set()).add(element)
    return {
        adapter: tuple(known for known, owner in table.ranges(4) if owner in mine) for adapter, mine in elements.items()
    }
