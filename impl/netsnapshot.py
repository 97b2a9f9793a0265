"""IFWXNetConfigDetectionSnapshot: the network configuration at one moment, and what leads from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import UUID

from zope.interface import implementer

from fwx.impl.netelement import literal
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    FwxIpRangesToNetworkElements,
    FwxIpRangesToNetworkElementsNotification,
    FwxIpRangeToNetworkElement,
    FwxNcdEventType,
    FwxNcdRangesChangeReason,
    FwxNetElementMembershipInNetworkSet,
    IFWXNetConfigDetectionSnapshot,
    fpcDefaultExternal,
    fpcLocalHost,
    fpcQuarantinedVPNClients,
    fpcVPNClients,
    fwx_ncd_AddNetworkAdapter,
    fwx_ncd_AddNetworkAddress,
    fwx_ncd_AddNetworkElement,
    fwx_ncd_AddNetworkElementToSet,
    fwx_ncd_AddNetworkSet,
    fwx_ncd_ChangeAdapterRoute,
    fwx_ncd_ChangeIpRange,
    fwx_ncd_RemoveNetworkAdapter,
    fwx_ncd_RemoveNetworkAddress,
    fwx_ncd_RemoveNetworkElement,
    fwx_ncd_RemoveNetworkElementFromSet,
    fwx_ncd_ServiceStartup,
    fwx_ncd_StorageChanged,
    fwx_ncd_SyncConfig,
)
from fwx.interfaces.hresult import ERROR_NOT_FOUND, HRESULT_FROM_WIN32, COMError

if TYPE_CHECKING:
    from fwx.impl.netadapter import FWXNetworkAdapter
    from fwx.impl.netcollection import FWXNetworkAdapters, FWXNetworkAddresses, FWXNetworkElements, FWXNetworkSets
    from fwx.impl.netelement import FWXNetworkElement, FWXNetworkSet
    from fwx.impl.netranges import RangeTable
    from fwx.impl.netroutes import RouteMap
    from fwx.interfaces import SocketAddress

Item = TypeVar("Item")


class Change(NamedTuple):
    """One notice to be: the type of the event, and what makes its details."""

    event_type: FwxNcdEventType
    details: Callable[[], Any]


@implementer(IFWXNetConfigDetectionSnapshot)
class FWXNetConfigDetectionSnapshot(Unknown):
    """A picture that does not change; the objects in it are those of the pictures before, where they are the same."""

    __slots__ = ("_adapters", "_addresses", "_elements", "_members", "_sets", "_table", "routes")

    # Nothing of the outside hangs on the count.
    _can_return = True

    def __init__(
        self,
        elements: FWXNetworkElements,
        sets: FWXNetworkSets,
        adapters: FWXNetworkAdapters,
        addresses: FWXNetworkAddresses,
        table: RangeTable[FWXNetworkElement],
        routes: RouteMap,
    ) -> None:
        self._elements = elements
        self._sets = sets
        # A set is one object for all pictures; who is in it now is told from who was in it then.
        self._members = tuple((network_set, member) for network_set in sets for member in network_set.members)
        self._adapters = adapters
        self._addresses = addresses
        self._table = table
        self.routes = routes

    def GetNetworkSets(self) -> FWXNetworkSets:
        """Return the sets of networks: here one, of all networks but ``localhost``, which rules call ``any``."""
        return self._sets

    def GetNetworkElements(self) -> FWXNetworkElements:
        """Return the networks of the configuration in their order, then ``localhost`` and ``external``."""
        return self._elements

    def GetNetworkAdapters(self) -> FWXNetworkAdapters:
        """Return the adapters of the machine, by their index."""
        return self._adapters

    def GetNetworkAddresses(self) -> FWXNetworkAddresses:
        """Return the addresses of the machine, adapter after adapter."""
        return self._addresses

    def GetIpRangesToNetworkElements(self) -> FwxIpRangesToNetworkElements:
        """Return the table of all addresses; each call makes one of its own. It tells what
        :meth:`LookupNetworkElementByAddress` answers.
        """
        ranges = tuple(FwxIpRangeToNetworkElement(upper, element) for upper, element in self._table.bounds())
        return FwxIpRangesToNetworkElements(ranges, len(ranges))

    def LookupNetworkElementByAddress(
        self, Address: SocketAddress, AddressLength: int | None = None
    ) -> FWXNetworkElement:
        """Return ``localhost`` for what is this computer's, else the first network of the configuration whose ranges
        hold the address, else ``external``.

        :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` no literal address.
        """
        return self._table.owner(literal(Address, AddressLength))

    def LookupNetworkElementByGuid(self, pguidNetworkElement: UUID) -> FWXNetworkElement:
        """Return the network with this GUID.

        :raises COMError: ``HRESULT_FROM_WIN32(ERROR_NOT_FOUND)`` there is none.
        """
        return self._first(lambda each: each.GetGUID() == pguidNetworkElement, f"the GUID {pguidNetworkElement}")

    def GetLocalHostNetworkElement(self) -> FWXNetworkElement:
        """Return ``localhost``."""
        return self._of_type(fpcLocalHost)

    def GetDefaultExternalNetworkElement(self) -> FWXNetworkElement:
        """Return ``external``."""
        return self._of_type(fpcDefaultExternal)

    def GetVpnClientsNetworkElement(self) -> FWXNetworkElement:
        """There is no such network here. :raises COMError: ``HRESULT_FROM_WIN32(ERROR_NOT_FOUND)``."""
        return self._of_type(fpcVPNClients)

    def GetQuarantinedVpnClientsNetworkElement(self) -> FWXNetworkElement:
        """There is no such network here. :raises COMError: ``HRESULT_FROM_WIN32(ERROR_NOT_FOUND)``."""
        return self._of_type(fpcQuarantinedVPNClients)

    def _of_type(self, kind: int) -> FWXNetworkElement:
        return self._first(lambda each: each.GetType() == kind, f"the type {kind}")

    def _first(self, matches: Callable[[FWXNetworkElement], bool], what: str) -> FWXNetworkElement:
        found = next(filter(matches, self._elements), None)
        if found is None:
            raise COMError(HRESULT_FROM_WIN32(ERROR_NOT_FOUND), f"no network has {what}")
        return found

    # The service's side.

    def element_of(self, address: Any) -> FWXNetworkElement:
        """Return the network of a normalised address."""
        return self._table.owner(address)

    def additions(self) -> Iterator[Change]:
        """Go through what makes up the picture, for one who knows nothing yet; the picture itself comes last."""
        yield from _items(fwx_ncd_AddNetworkElement, self._elements)
        yield from _items(fwx_ncd_AddNetworkSet, self._sets)
        yield from _memberships(fwx_ncd_AddNetworkElementToSet, self._members)
        yield from _items(fwx_ncd_AddNetworkAdapter, self._adapters)
        yield from _items(fwx_ncd_AddNetworkAddress, self._addresses)
        yield self._ranges(fwx_ncd_ServiceStartup)
        yield Change(fwx_ncd_SyncConfig, lambda: self)

    def changes_since(self, before: FWXNetConfigDetectionSnapshot) -> list[Change]:
        """Return what leads from *before* to this picture, nothing where they are the same.

        What goes comes first, the inner before the outer; then what comes, the other way round.
        """
        changes = [
            *_items(fwx_ncd_RemoveNetworkAddress, _only(before._addresses, self._addresses)),
            *_items(fwx_ncd_RemoveNetworkAdapter, _only(before._adapters, self._adapters)),
            *_memberships(fwx_ncd_RemoveNetworkElementFromSet, _without(before._members, self._members)),
            *_items(fwx_ncd_RemoveNetworkElement, _only(before._elements, self._elements)),
            *_items(fwx_ncd_AddNetworkElement, _only(self._elements, before._elements)),
            *_memberships(fwx_ncd_AddNetworkElementToSet, _without(self._members, before._members)),
            *_items(fwx_ncd_AddNetworkAdapter, _only(self._adapters, before._adapters)),
            *_items(fwx_ncd_ChangeAdapterRoute, self._rerouted(before)),
            *_items(fwx_ncd_AddNetworkAddress, _only(self._addresses, before._addresses)),
        ]
        if self._table != before._table:
            changes.append(self._ranges(fwx_ncd_StorageChanged))
        return [*changes, Change(fwx_ncd_SyncConfig, lambda: self)] if changes else []

    def _rerouted(self, before: FWXNetConfigDetectionSnapshot) -> Iterator[FWXNetworkAdapter]:
        changed = set(self.routes.changed_since(before.routes))
        yield from (adapter for adapter in self._adapters if adapter.index in changed)

    def _ranges(self, reason: FwxNcdRangesChangeReason) -> Change:
        def make() -> FwxIpRangesToNetworkElementsNotification:
            return FwxIpRangesToNetworkElementsNotification(self.GetIpRangesToNetworkElements(), reason)

        return Change(fwx_ncd_ChangeIpRange, make)


def _items(event_type: FwxNcdEventType, items: Iterable[Any]) -> Iterator[Change]:
    for item in items:
        yield Change(event_type, partial(_same, item))


def _same(item: Any) -> Any:
    return item


def _memberships(
    event_type: FwxNcdEventType, members: Iterable[tuple[FWXNetworkSet, FWXNetworkElement]]
) -> Iterator[Change]:
    for network_set, element in members:
        yield Change(event_type, partial(FwxNetElementMembershipInNetworkSet, element, network_set))


def _only(items: Iterable[Item], others: Iterable[Item]) -> Iterator[Item]:
    """Go through those *items* that are not among the *others*; each is one object for all pictures."""
    known = {id(other) for other in others}
    return (item for item in items if id(item) not in known)


def _without(pairs: Iterable[Item], others: Iterable[Item]) -> Iterator[Item]:
    known = set(others)
    return (pair for pair in pairs if pair not in known)
