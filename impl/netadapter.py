"""IFWXNetworkAdapter and IFWXNetworkAddress: what the machine has, as its kernel tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zope.interface import implementer

from fwx.impl.netcontext import ContextSlots, NetworkItem
from fwx.interfaces import IFWXNetworkAdapter2, IFWXNetworkAddress, SocketAddress

if TYPE_CHECKING:
    from fwx.impl.ipfilter import FWXIpFilter
    from fwx.impl.machine import AddressState
    from fwx.impl.netelement import FWXNetworkElement
    from fwx.impl.netroutes import RouteMap


@implementer(IFWXNetworkAdapter2)
class FWXNetworkAdapter(NetworkItem):
    """One adapter. It is the same object in every snapshot and tells of its routes as they are now."""

    __slots__ = ("_routes", "index")

    def __init__(self, slots: ContextSlots, index: int, routes: Callable[[], RouteMap]) -> None:
        super().__init__(slots)
        self.index = index
        self._routes = routes

    def GetAdapterIndex(self) -> int:
        """Return the kernel's index of the interface (``ip link``)."""
        return self.index

    def GetRouteTable(self) -> FWXIpFilter:
        """Return a copy of the IPv4 addresses that the main routing table sends through the adapter and that belong to
        the networks in which the adapter's own addresses are; of an adapter without any, all that are sent.
        """
        return self._routes().reached(self.index)

    def IsDefaultGateway(self) -> bool:
        """Tell whether an IPv4 or IPv6 default route goes through the adapter."""
        return self._routes().has_default(self.index)


@implementer(IFWXNetworkAddress)
class FWXNetworkAddress(NetworkItem):
    """One address of this computer. It does not change: another mask, say, is another address."""

    __slots__ = ("_adapter", "_element", "_state")

    def __init__(
        self, slots: ContextSlots, state: AddressState, adapter: FWXNetworkAdapter, element: FWXNetworkElement
    ) -> None:
        super().__init__(slots)
        self._state = state
        self._adapter = adapter
        self._element = element

    def GetAddress(self) -> SocketAddress:
        """Return the address with port 0; a link-local IPv6 one has the adapter's index as its scope."""
        address = self._state.interface.ip
        scope = self._state.adapter if address.version == 6 and address.is_link_local else 0
        return SocketAddress(address, 0, scope)

    def GetMask(self) -> SocketAddress:
        """Return the mask of its subnet, with port 0; of an IPv6 address too."""
        return SocketAddress(self._state.interface.netmask)

    def GetNetworkAdapter(self) -> FWXNetworkAdapter:
        """Return the adapter that has the address."""
        return self._adapter

    def GetNetworkElement(self) -> FWXNetworkElement:
        """Return the network whose ranges hold the address, which is that of the computers around it. Of loopback and
        link-local addresses it is ``localhost``, without another one ``external``.
        """
        return self._element

    def IsPrimaryIpAddress(self) -> bool:
        """Tell whether it is the first address of its adapter, for IPv4 and IPv6 each."""
        return self._state.is_primary
