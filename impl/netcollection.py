"""The collections of the network configuration: counted from 1, in a fixed order, never changing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from zope.interface import implementer

from fwx.impl.argument import whole
from fwx.impl.netadapter import FWXNetworkAdapter, FWXNetworkAddress
from fwx.impl.netelement import FWXNetworkElement, FWXNetworkSet
from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXNetworkAdapters, IFWXNetworkAddresses, IFWXNetworkElements, IFWXNetworkSets

Item = TypeVar("Item")


class NetworkCollection(Unknown, Generic[Item]):
    """What the four collections have in common."""

    __slots__ = ("_items",)

    # Nothing of the outside hangs on the count.
    _can_return = True

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = tuple(items)

    def GetCount(self) -> int:
        """Return how many there are."""
        return len(self._items)

    def GetItem(self, uiItemIndex: int) -> Item:
        """Return the one at *uiItemIndex*; the first is 1.

        :raises COMError: ``E_INVALIDARG`` there is none at that place.
        """
        return self._items[whole(uiItemIndex, "uiItemIndex", 1, len(self._items)) - 1]

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)


@implementer(IFWXNetworkElements)
class FWXNetworkElements(NetworkCollection[FWXNetworkElement]):
    """Networks, in the order of the configuration."""

    __slots__ = ()


@implementer(IFWXNetworkSets)
class FWXNetworkSets(NetworkCollection[FWXNetworkSet]):
    """Sets of networks."""

    __slots__ = ()


@implementer(IFWXNetworkAdapters)
class FWXNetworkAdapters(NetworkCollection[FWXNetworkAdapter]):
    """Adapters, by their index."""

    __slots__ = ()


@implementer(IFWXNetworkAddresses)
class FWXNetworkAddresses(NetworkCollection[FWXNetworkAddress]):
    """Addresses, adapter after adapter."""

    __slots__ = ()
