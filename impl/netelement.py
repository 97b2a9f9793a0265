"""IFWXNetworkElement and IFWXNetworkSet: the networks of the configuration, and the set of all but the firewall."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid5

from zope.interface import implementer

from fwx.impl.netcontext import ContextSlots, NetworkItem
from fwx.impl.networks import Address, normalise
from fwx.impl.sockets import check_address
from fwx.interfaces import IFWXNetworkElement, IFWXNetworkSet
from fwx.interfaces.hresult import E_FAIL, E_INVALIDARG, HRESULT, S_FALSE, S_OK, COMError

if TYPE_CHECKING:
    from fwx.impl.netcollection import FWXNetworkElements
    from fwx.interfaces import SocketAddress

_NAMESPACE: Final = UUID("a2f6a9c1-6d0f-5c52-8f0e-5a6f3c1d7e24")


def network_guid(name: str) -> UUID:
    """Return the GUID of the network, or the set, that is called *name*: the same in every run."""
    return uuid5(_NAMESPACE, name)


def literal(address: Any, length: Any) -> Address:
    """Return the address that a caller has given. :raises COMError: ``E_POINTER``, ``E_INVALIDARG``."""
    check_address(address, length)
    if address.address is None:
        raise COMError(E_INVALIDARG, f"{address} is no literal address")
    return normalise(address.host)


@implementer(IFWXNetworkElement)
class FWXNetworkElement(NetworkItem):
    """One network, as rules name it. It does not change, but what belongs to this computer does."""

    __slots__ = ("_guid", "_holds_local", "_kind", "name")

    def __init__(
        self,
        slots: ContextSlots,
        name: str,
        kind: int,
        holds_local: Callable[[FWXNetworkElement, Address], bool],
    ) -> None:
        """:param kind: one of the ``fpc...`` constants. :param holds_local: answers :meth:`IsLocalAddress`."""
        super().__init__(slots)
        self.name = name
        self._kind = kind
        self._guid = network_guid(name)
        self._holds_local = holds_local

    def GetGUID(self) -> UUID:
        """Return the GUID, which is made from the name."""
        return self._guid

    def GetName(self) -> str:
        """Return the name that rules use."""
        return self.name

    def GetType(self) -> int:
        """Return ``fpcLocalHost``, ``fpcDefaultExternal``, ``fpcInternalNetwork`` for the one that is called
        ``internal``, else ``fpcStandardNetwork``.
        """
        return self._kind

    def IsLocalAddress(self, Address: SocketAddress, AddressLength: int | None = None) -> HRESULT:
        """Return ``S_OK`` if *Address* lies in the ranges of this network and is this computer's now, else ``S_FALSE``.

        :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` no literal address.
        """
        return S_OK if self._holds_local(self, literal(Address, AddressLength)) else S_FALSE

    def GetConnectingNetworkGUID(self) -> UUID:
        """No network here connects others. :raises COMError: ``E_FAIL``."""
        raise COMError(E_FAIL, f"no network connects {self.name!r}")


@implementer(IFWXNetworkSet)
class FWXNetworkSet(NetworkItem):
    """A set of networks; its members change with the configuration."""

    __slots__ = ("_guid", "members")

    def __init__(self, slots: ContextSlots, name: str, members: FWXNetworkElements) -> None:
        super().__init__(slots)
        self._guid = network_guid(name)
        self.members = members

    def GetGUID(self) -> UUID:
        """Return the GUID, which is made from the name."""
        return self._guid

    def GetNetworkElements(self) -> FWXNetworkElements:
        """Return the networks of the set."""
        return self.members
