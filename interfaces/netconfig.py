"""The networks, adapters and addresses of the firewall, and the notices of their changes (B13.10).

The way in is ``IFWXFirewall2.GetNetConfigDetector``. Where the SDK is silent, a method says what an implementation here
is held to.
"""

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
    """Told of changes of the network configuration (B13.10). Implemented by a filter."""

    taggedValue("iid", UUID("3F426CDB-D64E-4D13-8B3A-451D8CA54492"))

    def NotifyNetworkChange(pEvent: Annotated[FwxNcdEvent, Idl("const FwxNcdEvent*", "ref")]) -> HRESULT | None:
        """Take one notice. Called by the service: after ``Register`` with ``fwx_ncd_Startup`` first and then everything
        there is, in a logical order, later one notice for each thing that has changed. ``fwx_ncd_SyncConfig`` ends a
        series. The thread is not specified; here it is the loop thread.

        :param pEvent: what has changed; valid during the call, the objects in it stay valid.
        :returns: ``None`` or ``S_OK``; the filter deals with its errors itself.
        :raises COMError: never documented; a failure, raised or returned, is reported as the filter's fault.
        """


class IFWXNetworkElement(IUnknown):
    """A network of the configuration. Implemented by the service."""

    taggedValue("iid", UUID("1744BFAD-9969-4CAE-99DE-537E7DFFDE0B"))

    def SetContext(uiContextSlot: unsigned_int, punkContext: IUnknown | None) -> None:
        """Keep an object of the filter's own with this network, so that later notices need not look it up again. Called
        by a registered filter, at any time.

        :param uiContextSlot: the handle of the filter's registration, from ``Register`` or ``fwx_ncd_Startup``.
        :param punkContext: the object, which is kept referenced. Not specified is ``None``; here it empties the slot.
        :raises COMError: not specified; here ``E_INVALIDARG``, there is no such registration.
        """

    def GetContext(uiContextSlot: unsigned_int) -> Annotated[IUnknown | None, Out("ppunkContext")]:
        """Return the object that the filter keeps with this network. Called by a registered filter, at any time.

        :param uiContextSlot: the handle of the filter's registration, from ``Register`` or ``fwx_ncd_Startup``.
        :returns: *ppunkContext*. Not specified is an empty slot; here it gives ``None``.
        :raises COMError: the SDK names no code; here ``E_INVALIDARG``, there is no such registration.
        """

    def GetGUID() -> Annotated[GUID, Out("pGuid")]:
        """Return the GUID of the network. Called by any holder, at any time.

        :returns: *pGuid*.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """

    def GetName() -> Annotated[BSTR, Out("pBstrName")]:
        """Return the name of the network. Called by any holder, at any time.

        :returns: *pBstrName*; on the COM face the caller frees it (B1.46).
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """

    def GetType() -> Annotated[FpcNetworkTypes, Out("pFpcNetworkType")]:
        """Return the kind of network: user-defined, VPN clients (in quarantine or not), local host, external, internal.
        Called by any holder, at any time.

        :returns: *pFpcNetworkType*, one of the ``fpc...`` constants.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """

    def IsLocalAddress(
        Address: SOCKADDR, AddressLength: Annotated[DWORD | None, LengthOf("Address")] = None
    ) -> HRESULT:
        """Tell whether an address lies in this network and belongs to this computer. Called by any holder, at any time.

        :param Address: the address; its port is not looked at.
        :param AddressLength: its size in bytes; ``None`` for its own.
        :returns: ``S_OK``, both hold; ``S_FALSE``, one does not. Both are successes: compare, never test for truth.
        :raises COMError: ``E_INVALIDARG``, not a literal address; ``E_POINTER``, none.
        """

    def GetConnectingNetworkGUID() -> Annotated[GUID, Out("pGuid")]:
        """Return the GUID of the connecting network. Called by any holder, at any time. The SDK does not say which
        network that is; the service has none.

        :returns: *pGuid*.
        :raises COMError: not specified; here ``E_FAIL``, there is none.
        """


class IFWXNetworkElements(IUnknown):
    """A collection of networks, counted from 1. Implemented by the service; it never changes."""

    taggedValue("iid", UUID("1A9B845B-F653-4897-8D27-06AB8D7E286B"))

    def GetCount() -> Annotated[unsigned_int, Out("puiCount")]:
        """Return how many there are. Called by any holder, at any time.

        :returns: *puiCount*.
        :raises COMError: not specified; an implementation here does not fail.
        """

    def GetItem(uiItemIndex: unsigned_int) -> Annotated[IFWXNetworkElement, Out("ppNetworkElement")]:
        """Return one of them. Called by any holder, at any time.

        :param uiItemIndex: its place; the first is 1.
        :returns: *ppNetworkElement*; NULL on failure.
        :raises COMError: not specified; here ``E_INVALIDARG``, there is none at that place.
        """


class IFWXNetworkAdapter(IUnknown):
    """A network adapter, as the operating system reports it. Implemented by the service."""

    taggedValue("iid", UUID("CF11DCD1-3F4C-42E5-BCCE-105DF45D284D"))

    def SetContext(uiContextSlot: unsigned_int, punkContext: IUnknown | None) -> None:
        """Keep an object of the filter's own with this adapter, so that later notices need not look it up again. Called
        by a registered filter, at any time.

        :param uiContextSlot: the handle of the filter's registration, from ``Register`` or ``fwx_ncd_Startup``.
        :param punkContext: the object, which is kept referenced. Not specified is ``None``; here it empties the slot.
        :raises COMError: the SDK names no code; here ``E_INVALIDARG``, there is no such registration.
        """

    def GetContext(uiContextSlot: unsigned_int) -> Annotated[IUnknown | None, Out("ppunkContext")]:
        """Return the object that the filter keeps with this adapter. Called by a registered filter, at any time.

        :param uiContextSlot: the handle of the filter's registration, from ``Register`` or ``fwx_ncd_Startup``.
        :returns: *ppunkContext*. Not specified is an empty slot; here it gives ``None``.
        :raises COMError: not specified; here ``E_INVALIDARG``, there is no such registration.
        """

    def GetAdapterIndex() -> Annotated[DWORD, Out("pdwIndex")]:
        """Return the index that the operating system gives the adapter. Called by any holder, at any time.

        :returns: *pdwIndex*.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """

    def GetRouteTable() -> Annotated[IFWXIpFilter, Out("ppIpRange")]:
        """Return the addresses reached through the adapter; ``fwx_ncd_ChangeAdapterRoute`` tells of a change. Called by
        any holder, at any time. Addresses outside the adapter's own network are left out.

        :returns: *ppIpRange*.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """


class IFWXNetworkAdapter2(IFWXNetworkAdapter):
    """An adapter that tells of its gateway. Had by ``QueryInterface`` on an adapter; implemented by the service. Only
    its shape is documented.
    """

    taggedValue("iid", UUID("A1E9686F-2C6D-4810-9A70-14E49E5D6F0A"))

    def IsDefaultGateway() -> Annotated[BOOL, Out("pfDefaultGateway")]:
        """Tell whether the default gateway is reached through the adapter. Called by any holder, at any time.

        :returns: *pfDefaultGateway*; the result code does not tell. Where several adapters have one, each says so.
        :raises COMError: not specified; an implementation here does not fail.
        """


class IFWXNetworkAdapters(IUnknown):
    """A collection of adapters, counted from 1. Implemented by the service; it never changes."""

    taggedValue("iid", UUID("CCB41DD9-942E-4885-B2D3-31346F33C50D"))

    def GetCount() -> Annotated[unsigned_int, Out("puiCount")]:
        """Return how many there are. Called by any holder, at any time.

        :returns: *puiCount*.
        :raises COMError: not specified; an implementation here does not fail.
        """

    def GetItem(uiItemIndex: unsigned_int) -> Annotated[IFWXNetworkAdapter, Out("ppNetworkAdapter")]:
        """Return one of them. Called by any holder, at any time.

        :param uiItemIndex: its place; the first is 1.
        :returns: *ppNetworkAdapter*; NULL on failure.
        :raises COMError: not specified; here ``E_INVALIDARG``, there is none at that place.
        """


class IFWXNetworkAddress(IUnknown):
    """An address of this computer. Implemented by the service."""

    taggedValue("iid", UUID("A5C3281B-F4E1-4FF2-B7AF-F2E51BB66BBC"))

    def SetContext(uiContextSlot: unsigned_int, punkContext: IUnknown | None) -> None:
        """Keep an object of the filter's own with this address, so that later notices need not look it up again. Called
        by a registered filter, at any time.

        :param uiContextSlot: the handle of the filter's registration, from ``Register`` or ``fwx_ncd_Startup``.
        :param punkContext: the object, which is kept referenced. Not specified is ``None``; here it empties the slot.
        :raises COMError: the SDK names no code; here ``E_INVALIDARG``, there is no such registration.
        """

    def GetContext(uiContextSlot: unsigned_int) -> Annotated[IUnknown | None, Out("ppunkContext")]:
        """Return the object that the filter keeps with this address. Called by a registered filter, at any time.

        :param uiContextSlot: the handle of the filter's registration, from ``Register`` or ``fwx_ncd_Startup``.
        :returns: *ppunkContext*. Not specified is an empty slot; here it gives ``None``.
        :raises COMError: not specified; here ``E_INVALIDARG``, there is no such registration.
        """

    def GetAddress() -> Annotated[SOCKADDR, Out("Address", length=Length("AddressLength", "DWORD*"))]:
        """Return the address itself. Called by any holder, at any time.

        :returns: *Address*, with port 0; *AddressLength* of the COM face holds the room there is, in bytes, and gets
            the length.
        :raises COMError: the SDK names no code; here ``HRESULT_FROM_WIN32(WSAEFAULT)``, too little room (COM face
            only).
        """

    def GetMask() -> Annotated[SOCKADDR, Out("Mask", length=Length("MaskLength", "DWORD*"))]:
        """Return the subnet mask of the address. Called by any holder, at any time.

        :returns: *Mask*, with port 0; *MaskLength* of the COM face holds the room there is, in bytes, and gets the
            length.
        :raises COMError: the SDK names no code; here ``HRESULT_FROM_WIN32(WSAEFAULT)``, too little room (COM face
            only).
        """

    def GetNetworkAdapter() -> Annotated[IFWXNetworkAdapter, Out("ppNetworkAdapter")]:
        """Return the adapter that has the address. Called by any holder, at any time.

        :returns: *ppNetworkAdapter*.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """

    def GetNetworkElement() -> Annotated[IFWXNetworkElement, Out("ppNetworkElement")]:
        """Return the network that the address belongs to. Called by any holder, at any time. Here that is the network
        whose ranges hold it, so that of the computers around it: the look-ups by address give ``localhost`` instead.

        :returns: *ppNetworkElement*.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """

    def IsPrimaryIpAddress() -> Annotated[BOOL, Out("pfPrimary")]:
        """Tell whether this is the first address of its adapter, here for IPv4 and IPv6 each. Called by any holder, at
        any time.

        :returns: *pfPrimary*; the result code does not tell.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """


class IFWXNetworkAddresses(IUnknown):
    """A collection of addresses, counted from 1. Implemented by the service; it never changes."""

    taggedValue("iid", UUID("FEA0487F-2C94-46BC-B238-81A3284D0DFD"))

    def GetCount() -> Annotated[unsigned_int, Out("puiCount")]:
        """Return how many there are. Called by any holder, at any time.

        :returns: *puiCount*.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """

    def GetItem(uiItemIndex: unsigned_int) -> Annotated[IFWXNetworkAddress, Out("ppNetworkAddress")]:
        """Return one of them. Called by any holder, at any time.

        :param uiItemIndex: its place; the first is 1.
        :returns: *ppNetworkAddress*; NULL on failure.
        :raises COMError: the SDK names no code; here ``E_INVALIDARG``, there is none at that place.
        """


class IFWXNetworkSet(IUnknown):
    """A set of networks of the configuration. Implemented by the service."""

    taggedValue("iid", UUID("392CAFBC-173F-41AC-89C4-A93DC9C291F0"))

    def SetContext(uiContextSlot: unsigned_int, punkContext: IUnknown | None) -> None:
        """Keep an object of the filter's own with this set, so that later notices need not look it up again. Called by
        a registered filter, at any time.

        :param uiContextSlot: the handle of the filter's registration, from ``Register`` or ``fwx_ncd_Startup``.
        :param punkContext: the object, which is kept referenced. Not specified is ``None``; here it empties the slot.
        :raises COMError: the SDK names no code; here ``E_INVALIDARG``, there is no such registration.
        """

    def GetContext(uiContextSlot: unsigned_int) -> Annotated[IUnknown | None, Out("ppunkContext")]:
        """Return the object that the filter keeps with this set. Called by a registered filter, at any time.

        :param uiContextSlot: the handle of the filter's registration, from ``Register`` or ``fwx_ncd_Startup``.
        :returns: *ppunkContext*. Not specified is an empty slot; here it gives ``None``.
        :raises COMError: the SDK names no code; here ``E_INVALIDARG``, there is no such registration.
        """

    def GetGUID() -> Annotated[GUID, Out("pGuid")]:
        """Return the GUID of the set. Called by any holder, at any time.

        :returns: *pGuid*.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """

    def GetNetworkElements() -> Annotated[IFWXNetworkElements, Out("ppNetworkElements")]:
        """Return the networks of the set, those alone. Called by any holder, at any time.

        :returns: *ppNetworkElements*.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """


class IFWXNetworkSets(IUnknown):
    """A collection of network sets, counted from 1. Implemented by the service; it never changes."""

    taggedValue("iid", UUID("1FDC0D89-9C9B-4045-B0B1-6A535FAC25C5"))

    def GetCount() -> Annotated[unsigned_int, Out("puiCount")]:
        """Return how many there are. Called by any holder, at any time.

        :returns: *puiCount*.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """

    def GetItem(uiItemIndex: unsigned_int) -> Annotated[IFWXNetworkSet, Out("ppNetworkSet")]:
        """Return one of them. Called by any holder, at any time.

        :param uiItemIndex: its place; the first is 1.
        :returns: *ppNetworkSet*; NULL on failure.
        :raises COMError: not specified; here ``E_INVALIDARG``, there is none at that place.
        """


class IFWXNetConfigDetectionSnapshot(IUnknown):
    """The whole network configuration at one moment; it never changes. Had by ``GetCurrentSnapshot`` or from
    ``fwx_ncd_SyncConfig``; implemented by the service. It holds nothing of the enterprise.
    """

    taggedValue("iid", UUID("99890BF5-6973-41C7-BBB9-8A366F734969"))

    def GetNetworkSets() -> Annotated[IFWXNetworkSets, Out("pNetworkSets")]:
        """Return all sets of networks. Called by any holder, at any time.

        :returns: *pNetworkSets*.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """

    def GetNetworkElements() -> Annotated[IFWXNetworkElements, Out("pNetworkElements")]:
        """Return all networks. Called by any holder, at any time.

        :returns: *pNetworkElements*.
        :raises COMError: not specified; an implementation here does not fail.
        """

    def GetNetworkAdapters() -> Annotated[IFWXNetworkAdapters, Out("pNetworkAdapters")]:
        """Return all adapters. Called by any holder, at any time.

        :returns: *pNetworkAdapters*.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """

    def GetNetworkAddresses() -> Annotated[IFWXNetworkAddresses, Out("pNetworkAddresses")]:
        """Return all addresses. Called by any holder, at any time.

        :returns: *pNetworkAddresses*.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """

    def GetIpRangesToNetworkElements() -> Annotated[
        FwxIpRangesToNetworkElements, Out("ppIpRanges", "FwxIpRangesToNetworkElements**")
    ]:
        """Return the table that says to which network each address belongs. Called by any holder, at any time. A range
        is named by its highest address; together the ranges cover all addresses.

        :returns: *ppIpRanges*. Not specified is who frees it on the COM face; it lives as long as the snapshot.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """

    def LookupNetworkElementByAddress(
        Address: SOCKADDR, AddressLength: Annotated[DWORD | None, LengthOf("Address")] = None
    ) -> Annotated[IFWXNetworkElement, Out("ppNetworkElement")]:
        """Return the network that an address belongs to. Called by any holder, at any time.

        :param Address: the address; its port is not looked at.
        :param AddressLength: its size in bytes; ``None`` for its own.
        :returns: *ppNetworkElement*; NULL on failure.
        :raises COMError: the SDK names no code; here ``HRESULT_FROM_WIN32(ERROR_NOT_FOUND)``, it belongs to none;
            ``E_INVALIDARG``, not a literal address; ``E_POINTER``, none.
        """

    def LookupNetworkElementByGuid(
        pguidNetworkElement: Annotated[GUID, Idl("GUID*")],
    ) -> Annotated[IFWXNetworkElement, Out("ppNetElement")]:
        """Return the network that has a GUID. Called by any holder, at any time.

        :param pguidNetworkElement: the GUID.
        :returns: *ppNetElement*; NULL on failure.
        :raises COMError: the SDK names no code; here ``HRESULT_FROM_WIN32(ERROR_NOT_FOUND)``, there is none.
        """

    def GetLocalHostNetworkElement() -> Annotated[IFWXNetworkElement, Out("ppNetworkElement")]:
        """Return the network of the firewall itself. Called by any holder, at any time.

        :returns: *ppNetworkElement*.
        :raises COMError: the SDK names no code; an implementation here does not fail.
        """

    def GetDefaultExternalNetworkElement() -> Annotated[IFWXNetworkElement, Out("ppNetworkElement")]:
        """Return the external network. Called by any holder, at any time.

        :returns: *ppNetworkElement*.
        :raises COMError: not specified; an implementation here does not fail.
        """

    def GetVpnClientsNetworkElement() -> Annotated[IFWXNetworkElement, Out("ppNetworkElement")]:
        """Return the network of the VPN clients. Called by any holder, at any time.

        :returns: *ppNetworkElement*.
        :raises COMError: the SDK names no code; here ``HRESULT_FROM_WIN32(ERROR_NOT_FOUND)``, there is no such network.
        """

    def GetQuarantinedVpnClientsNetworkElement() -> Annotated[IFWXNetworkElement, Out("ppNetworkElement")]:
        """Return the network of the VPN clients in quarantine. Called by any holder, at any time.

        :returns: *ppNetworkElement*.
        :raises COMError: the SDK names no code; here ``HRESULT_FROM_WIN32(ERROR_NOT_FOUND)``, there is no such network.
        """


class IFWXNetConfigDetector(IUnknown):
    """Registers filters for notices of the network configuration, and shows it (B13.10). Had by
    ``IFWXFirewall2.GetNetConfigDetector``; implemented by the service.
    """

    taggedValue("iid", UUID("F4DAF10A-38CB-4DA8-BC8F-3BBA1BB0E8E0"))

    def Register(
        ipNcdNotification: IFWXNetConfigDetectionNotification, fIssueAllNotifications: BOOL
    ) -> Annotated[unsigned_int, Out("puiNcdRegistrationHandle")]:
        """Register for notices; first come all notices that make up the present configuration. Called by a filter, as a
        rule in ``FilterInit``.

        :param ipNcdNotification: its ``NotifyNetworkChange`` is told of everything.
        :param fIssueAllNotifications: true, the first notices come before the method returns; false, after that. The
            SDK does not say which is which.
        :returns: *puiNcdRegistrationHandle*, also the context slot of this registration; never
            ``FWX_INVALID_NCD_HANDLE_VALUE``.
        :raises COMError: the SDK names no code; here ``E_POINTER``, nobody to tell; ``E_INVALIDARG``, something else;
            ``FWX_E_TERMINATING``, the service stops; a Winsock error as an HRESULT, the machine cannot be read.
        """

    def Unregister(uiNcdRegistrationHandle: unsigned_int) -> None:
        """End a registration. Called by the filter that made it. No notice comes after that, and its contexts are
        dropped.

        :param uiNcdRegistrationHandle: from ``Register``.
        :raises COMError: the SDK names no code; here ``E_INVALIDARG``, there is no such registration.
        """

    def LookupNetworkElementByAddress(
        Address: SOCKADDR, AddressLength: Annotated[DWORD | None, LengthOf("Address")] = None
    ) -> Annotated[IFWXNetworkElement, Out("ppIFWXNetworkElement")]:
        """Return the network that an address belongs to now. Called by any holder, at any time.

        :param Address: the address; its port is not looked at.
        :param AddressLength: its size in bytes; ``None`` for its own.
        :returns: *ppIFWXNetworkElement*; NULL on failure.
        :raises COMError: the SDK names no code; here ``HRESULT_FROM_WIN32(ERROR_NOT_FOUND)``, it belongs to none;
            ``E_INVALIDARG``, not a literal address; ``E_POINTER``, none.
        """

    def GetCurrentSnapshot() -> Annotated[IFWXNetConfigDetectionSnapshot, Out("ppIFWXNetConfigDetectionSnapshot")]:
        """Return the present configuration. Called by any holder, at any time. A change makes a new snapshot.

        :returns: *ppIFWXNetConfigDetectionSnapshot*.
        :raises COMError: the SDK names no code; here ``FWX_E_TERMINATING``, the service stops; a Winsock error as an
            HRESULT, the machine cannot be read.
        """
