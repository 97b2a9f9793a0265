"""The networks, adapters and addresses of the firewall, and the notices of their changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias
from uuid import UUID

from zope.interface import taggedValue

from fwx.interfaces.com import (
    BOOL,
    BSTR,
    DWORD,
    GUID,
    SOCKADDR,
    Idl,
    IUnknown,
    Length,
    LengthOf,
    Out,
    unsigned_int,
)
from fwx.interfaces.hresult import HRESULT

if TYPE_CHECKING:
    from fwx.interfaces.ipfilter import IFWXIpFilter
    from fwx.interfaces.structs import FwxIpRangesToNetworkElements, FwxNcdEvent

FpcNetworkTypes: TypeAlias = Annotated[int, Idl("FpcNetworkTypes")]


class IFWXNetConfigDetectionNotification(IUnknown):
    """Told of changes of the network configuration. Implemented by a filter."""

    taggedValue("iid", UUID("3F426CDB-D64E-4D13-8B3A-451D8CA54492"))

    def NotifyNetworkChange(pEvent: Annotated[FwxNcdEvent, Idl("const FwxNcdEvent*", "ref")]) -> HRESULT | None:
        """Take one notice. Called by the service: after ``Register`` with ``fwx_ncd_Startup`` first and then everything
        there is, later one notice for each thing that has changed. ``fwx_ncd_SyncConfig`` ends a series.

        :param pEvent: what has changed.
        :returns: ``None`` or ``S_OK``; the filter deals with its errors itself.
        """


class IFWXNetworkElement(IUnknown):
    """A network of the configuration. Implemented by the service."""

    taggedValue("iid", UUID("1744BFAD-9969-4CAE-99DE-537E7DFFDE0B"))

    def SetContext(uiContextSlot: unsigned_int, punkContext: IUnknown | None) -> None:
        """Keep an object of the filter's own with this network.

        :param uiContextSlot: the handle of the filter's registration.
        :param punkContext: the object; ``None`` empties the slot.
        :raises COMError: ``E_INVALIDARG``, there is no such registration.
        """

    def GetContext(uiContextSlot: unsigned_int) -> Annotated[IUnknown | None, Out("ppunkContext")]:
        """Return the object that the filter keeps with this network.

        :param uiContextSlot: the handle of the filter's registration.
        :returns: *ppunkContext*, ``None`` for an empty slot.
        :raises COMError: ``E_INVALIDARG``, there is no such registration.
        """

    def GetGUID() -> Annotated[GUID, Out("pGuid")]:
        """Return the GUID of the network.

        :returns: *pGuid*.
        :raises COMError: none of its own.
        """

    def GetName() -> Annotated[BSTR, Out("pBstrName")]:
        """Return the name of the network.

        :returns: *pBstrName*.
        :raises COMError: none of its own.
        """

    def GetType() -> Annotated[FpcNetworkTypes, Out("pFpcNetworkType")]:
        """Return the kind of network: user-defined, VPN clients (in quarantine or not), local host, external, internal.

        :returns: *pFpcNetworkType*, one of the ``fpc...`` constants.
        :raises COMError: none of its own.
        """

    def IsLocalAddress(
        Address: SOCKADDR, AddressLength: Annotated[DWORD | None, LengthOf("Address")] = None
    ) -> HRESULT:
        """Tell whether an address lies in this network and belongs to this computer.

        :param Address: the address; its port is not looked at.
        :param AddressLength: its size in bytes; ``None`` for its own.
        :returns: ``S_OK``, both hold; ``S_FALSE``, one does not. Both are successes: compare, never test for truth.
        :raises COMError: ``E_INVALIDARG``, not an address.
        """

    def GetConnectingNetworkGUID() -> Annotated[GUID, Out("pGuid")]:
        """Return the GUID of the connecting network.

        :returns: *pGuid*.
        :raises COMError: ``E_FAIL``, there is none.
        """


class IFWXNetworkElements(IUnknown):
    """A collection of networks, counted from 1. Implemented by the service."""

    taggedValue("iid", UUID("1A9B845B-F653-4897-8D27-06AB8D7E286B"))

    def GetCount() -> Annotated[unsigned_int, Out("puiCount")]:
        """Return how many there are.

        :returns: *puiCount*.
        :raises COMError: none of its own.
        """

    def GetItem(uiItemIndex: unsigned_int) -> Annotated[IFWXNetworkElement, Out("ppNetworkElement")]:
        """Return one of them.

        :param uiItemIndex: its place; the first is 1.
        :returns: *ppNetworkElement*; NULL on failure.
        :raises COMError: ``E_INVALIDARG``, there is none at that place.
        """


class IFWXNetworkAdapter(IUnknown):
    """A network adapter. Implemented by the service."""

    taggedValue("iid", UUID("CF11DCD1-3F4C-42E5-BCCE-105DF45D284D"))

    def SetContext(uiContextSlot: unsigned_int, punkContext: IUnknown | None) -> None:
        """Keep an object of the filter's own with this adapter.

        :param uiContextSlot: the handle of the filter's registration.
        :param punkContext: the object; ``None`` empties the slot.
        :raises COMError: ``E_INVALIDARG``, there is no such registration.
        """

    def GetContext(uiContextSlot: unsigned_int) -> Annotated[IUnknown | None, Out("ppunkContext")]:
        """Return the object that the filter keeps with this adapter.

        :param uiContextSlot: the handle of the filter's registration.
        :returns: *ppunkContext*, ``None`` for an empty slot.
        :raises COMError: ``E_INVALIDARG``, there is no such registration.
        """

    def GetAdapterIndex() -> Annotated[DWORD, Out("pdwIndex")]:
        """Return the index that the operating system gives the adapter.

        :returns: *pdwIndex*.
        :raises COMError: none of its own.
        """

    def GetRouteTable() -> Annotated[IFWXIpFilter, Out("ppIpRange")]:
        """Return the addresses reached through the adapter; ``fwx_ncd_ChangeAdapterRoute`` tells of a change.

        :returns: *ppIpRange*.
        :raises COMError: none of its own.
        """


class IFWXNetworkAdapter2(IFWXNetworkAdapter):
    """An adapter that tells of its gateway. Had by ``QueryInterface``; only its shape is documented."""

    taggedValue("iid", UUID("A1E9686F-2C6D-4810-9A70-14E49E5D6F0A"))

    def IsDefaultGateway() -> Annotated[BOOL, Out("pfDefaultGateway")]:
        """Tell whether the default gateway is reached through the adapter.

        :returns: *pfDefaultGateway*.
        :raises COMError: none of its own.
        """


class IFWXNetworkAdapters(IUnknown):
    """A collection of adapters, counted from 1. Implemented by the service."""

    taggedValue("iid", UUID("CCB41DD9-942E-4885-B2D3-31346F33C50D"))

    def GetCount() -> Annotated[unsigned_int, Out("puiCount")]:
        """Return how many there are.

        :returns: *puiCount*.
        :raises COMError: none of its own.
        """

    def GetItem(uiItemIndex: unsigned_int) -> Annotated[IFWXNetworkAdapter, Out("ppNetworkAdapter")]:
        """Return one of them.

        :param uiItemIndex: its place; the first is 1.
        :returns: *ppNetworkAdapter*; NULL on failure.
        :raises COMError: ``E_INVALIDARG``, there is none at that place.
        """


class IFWXNetworkAddress(IUnknown):
    """An address of this computer. Implemented by the service."""

    taggedValue("iid", UUID("A5C3281B-F4E1-4FF2-B7AF-F2E51BB66BBC"))

    def SetContext(uiContextSlot: unsigned_int, punkContext: IUnknown | None) -> None:
        """Keep an object of the filter's own with this address.

        :param uiContextSlot: the handle of the filter's registration.
        :param punkContext: the object; ``None`` empties the slot.
        :raises COMError: ``E_INVALIDARG``, there is no such registration.
        """

    def GetContext(uiContextSlot: unsigned_int) -> Annotated[IUnknown | None, Out("ppunkContext")]:
        """Return the object that the filter keeps with this address.

        :param uiContextSlot: the handle of the filter's registration.
        :returns: *ppunkContext*, ``None`` for an empty slot.
        :raises COMError: ``E_INVALIDARG``, there is no such registration.
        """

    def GetAddress() -> Annotated[SOCKADDR, Out("Address", length=Length("AddressLength", "DWORD*"))]:
        """Return the address itself.

        :returns: *Address*; *AddressLength* of the COM face holds the room there is and gets the length.
        :raises COMError: ``HRESULT_FROM_WIN32(WSAEFAULT)``, too little room (COM face only).
        """

    def GetMask() -> Annotated[SOCKADDR, Out("Mask", length=Length("MaskLength", "DWORD*"))]:
        """Return the subnet mask of the address.

        :returns: *Mask*, with *MaskLength* as in ``GetAddress``.
        :raises COMError: ``HRESULT_FROM_WIN32(WSAEFAULT)``, too little room (COM face only).
        """

    def GetNetworkAdapter() -> Annotated[IFWXNetworkAdapter, Out("ppNetworkAdapter")]:
        """Return the adapter that has the address.

        :returns: *ppNetworkAdapter*.
        :raises COMError: none of its own.
        """

    def GetNetworkElement() -> Annotated[IFWXNetworkElement, Out("ppNetworkElement")]:
        """Return the network that the address belongs to.

        :returns: *ppNetworkElement*.
        :raises COMError: none of its own.
        """

    def IsPrimaryIpAddress() -> Annotated[BOOL, Out("pfPrimary")]:
        """Tell whether this is the first address of its adapter.

        :returns: *pfPrimary*; the result code does not tell.
        :raises COMError: none of its own.
        """


class IFWXNetworkAddresses(IUnknown):
    """A collection of addresses, counted from 1. Implemented by the service."""

    taggedValue("iid", UUID("FEA0487F-2C94-46BC-B238-81A3284D0DFD"))

    def GetCount() -> Annotated[unsigned_int, Out("puiCount")]:
        """Return how many there are.

        :returns: *puiCount*.
        :raises COMError: none of its own.
        """

    def GetItem(uiItemIndex: unsigned_int) -> Annotated[IFWXNetworkAddress, Out("ppNetworkAddress")]:
        """Return one of them.

        :param uiItemIndex: its place; the first is 1.
        :returns: *ppNetworkAddress*; NULL on failure.
        :raises COMError: ``E_INVALIDARG``, there is none at that place.
        """


class IFWXNetworkSet(IUnknown):
    """A set of networks of the configuration. Implemented by the service."""

    taggedValue("iid", UUID("392CAFBC-173F-41AC-89C4-A93DC9C291F0"))

    def SetContext(uiContextSlot: unsigned_int, punkContext: IUnknown | None) -> None:
        """Keep an object of the filter's own with this set.

        :param uiContextSlot: the handle of the filter's registration.
        :param punkContext: the object; ``None`` empties the slot.
        :raises COMError: ``E_INVALIDARG``, there is no such registration.
        """

    def GetContext(uiContextSlot: unsigned_int) -> Annotated[IUnknown | None, Out("ppunkContext")]:
        """Return the object that the filter keeps with this set.

        :param uiContextSlot: the handle of the filter's registration.
        :returns: *ppunkContext*, ``None`` for an empty slot.
        :raises COMError: ``E_INVALIDARG``, there is no such registration.
        """

    def GetGUID() -> Annotated[GUID, Out("pGuid")]:
        """Return the GUID of the set.

        :returns: *pGuid*.
        :raises COMError: none of its own.
        """

    def GetNetworkElements() -> Annotated[IFWXNetworkElements, Out("ppNetworkElements")]:
        """Return the networks of the set, those alone.

        :returns: *ppNetworkElements*.
        :raises COMError: none of its own.
        """


class IFWXNetworkSets(IUnknown):
    """A collection of network sets, counted from 1. Implemented by the service."""

    taggedValue("iid", UUID("1FDC0D89-9C9B-4045-B0B1-6A535FAC25C5"))

    def GetCount() -> Annotated[unsigned_int, Out("puiCount")]:
        """Return how many there are.

        :returns: *puiCount*.
        :raises COMError: none of its own.
        """

    def GetItem(uiItemIndex: unsigned_int) -> Annotated[IFWXNetworkSet, Out("ppNetworkSet")]:
        """Return one of them.

        :param uiItemIndex: its place; the first is 1.
        :returns: *ppNetworkSet*; NULL on failure.
        :raises COMError: ``E_INVALIDARG``, there is none at that place.
        """


class IFWXNetConfigDetectionSnapshot(IUnknown):
    """The whole network configuration at one moment; it never changes. Implemented by the service."""

    taggedValue("iid", UUID("99890BF5-6973-41C7-BBB9-8A366F734969"))

    def GetNetworkSets() -> Annotated[IFWXNetworkSets, Out("pNetworkSets")]:
        """Return all sets of networks.

        :returns: *pNetworkSets*.
        :raises COMError: none of its own.
        """

    def GetNetworkElements() -> Annotated[IFWXNetworkElements, Out("pNetworkElements")]:
        """Return all networks.

        :returns: *pNetworkElements*.
        :raises COMError: none of its own.
        """

    def GetNetworkAdapters() -> Annotated[IFWXNetworkAdapters, Out("pNetworkAdapters")]:
        """Return all adapters.

        :returns: *pNetworkAdapters*.
        :raises COMError: none of its own.
        """

    def GetNetworkAddresses() -> Annotated[IFWXNetworkAddresses, Out("pNetworkAddresses")]:
        """Return all addresses.

        :returns: *pNetworkAddresses*.
        :raises COMError: none of its own.
        """

    def GetIpRangesToNetworkElements() -> Annotated[
        FwxIpRangesToNetworkElements, Out("ppIpRanges", "FwxIpRangesToNetworkElements**")
    ]:
        """Return the table that says to which network each address belongs. A range is named by its highest address.

        :returns: *ppIpRanges*.
        :raises COMError: none of its own.
        """

    def LookupNetworkElementByAddress(
        Address: SOCKADDR, AddressLength: Annotated[DWORD | None, LengthOf("Address")] = None
    ) -> Annotated[IFWXNetworkElement, Out("ppNetworkElement")]:
        """Return the network that an address belongs to.

        :param Address: the address; its port is not looked at.
        :param AddressLength: its size in bytes; ``None`` for its own.
        :returns: *ppNetworkElement*.
        :raises COMError: ``HRESULT_FROM_WIN32(ERROR_NOT_FOUND)``, it belongs to none.
        """

    def LookupNetworkElementByGuid(
        pguidNetworkElement: Annotated[GUID, Idl("GUID*")],
    ) -> Annotated[IFWXNetworkElement, Out("ppNetElement")]:
        """Return the network that has a GUID.

        :param pguidNetworkElement: the GUID.
        :returns: *ppNetElement*.
        :raises COMError: ``HRESULT_FROM_WIN32(ERROR_NOT_FOUND)``, there is none.
        """

    def GetLocalHostNetworkElement() -> Annotated[IFWXNetworkElement, Out("ppNetworkElement")]:
        """Return the network of the firewall itself.

        :returns: *ppNetworkElement*.
        :raises COMError: none of its own.
        """

    def GetDefaultExternalNetworkElement() -> Annotated[IFWXNetworkElement, Out("ppNetworkElement")]:
        """Return the external network.

        :returns: *ppNetworkElement*.
        :raises COMError: none of its own.
        """

    def GetVpnClientsNetworkElement() -> Annotated[IFWXNetworkElement, Out("ppNetworkElement")]:
        """Return the network of the VPN clients.

        :returns: *ppNetworkElement*.
        :raises COMError: none of its own.
        """

    def GetQuarantinedVpnClientsNetworkElement() -> Annotated[IFWXNetworkElement, Out("ppNetworkElement")]:
        """Return the network of the VPN clients in quarantine.

        :returns: *ppNetworkElement*.
        :raises COMError: none of its own.
        """


class IFWXNetConfigDetector(IUnknown):
    """Registers filters for notices of the network configuration, and shows it. Implemented by the service (B13.10)."""

    taggedValue("iid", UUID("F4DAF10A-38CB-4DA8-BC8F-3BBA1BB0E8E0"))

    def Register(
        ipNcdNotification: IFWXNetConfigDetectionNotification, fIssueAllNotifications: BOOL
    ) -> Annotated[unsigned_int, Out("puiNcdRegistrationHandle")]:
        """Register for notices; first come all notices that make up the present configuration.

        :param ipNcdNotification: told of everything.
        :param fIssueAllNotifications: true, the first notices come before the method returns; false, after that.
        :returns: *puiNcdRegistrationHandle*, also the context slot of this registration.
        :raises COMError: ``E_POINTER``, nobody to tell.
        """

    def Unregister(uiNcdRegistrationHandle: unsigned_int) -> None:
        """End a registration.

        :param uiNcdRegistrationHandle: from ``Register``.
        :raises COMError: ``E_INVALIDARG``, there is no such registration.
        """

    def LookupNetworkElementByAddress(
        Address: SOCKADDR, AddressLength: Annotated[DWORD | None, LengthOf("Address")] = None
    ) -> Annotated[IFWXNetworkElement, Out("ppIFWXNetworkElement")]:
        """Return the network that an address belongs to.

        :param Address: the address; its port is not looked at.
        :param AddressLength: its size in bytes; ``None`` for its own.
        :returns: *ppIFWXNetworkElement*.
        :raises COMError: ``HRESULT_FROM_WIN32(ERROR_NOT_FOUND)``, it belongs to none.
        """

    def GetCurrentSnapshot() -> Annotated[IFWXNetConfigDetectionSnapshot, Out("ppIFWXNetConfigDetectionSnapshot")]:
        """Return the present configuration. A change makes a new snapshot.

        :returns: *ppIFWXNetConfigDetectionSnapshot*.
        :raises COMError: none of its own.
        """
