"""Registration of filters and protocols, and the objects of the administration SDK that the interfaces name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from zope.interface import taggedValue

from fwx.interfaces.com import GUID, LPCWSTR, REFCLSID, REFGUID, UINT, Idl, IUnknown, LengthOf, Out


class IFPCPolicyRule(IUnknown):
    """A policy rule of the administration SDK. Only its name is needed here: no IID, no members."""


class IFPCVendorParametersSets(IUnknown):
    """The parameter sets of a vendor, of the administration SDK. Only its name is needed here: no IID, no members."""


class IFPCVendorParametersSet(IUnknown):
    """One parameter set of a vendor, of the administration SDK. Only its name is needed here: no IID, no members."""


class IFPCProtocolDefinition(IUnknown):
    """A protocol definition of the administration SDK. Only its name is needed here: no IID, no members."""


class IFPCApplicationFilter(IUnknown):
    """An installed filter of the administration SDK. Only its name is needed here: no IID, no members."""


class IFWXFilterAdmin(IUnknown):
    """Registers filters and protocols in the stored configuration (B1.48). Used by a filter's set-up."""

    taggedValue("iid", UUID("52B0BF15-962F-4937-8C37-E4C640C27E8F"))

    def InstallFilter(
        guidFilter: REFCLSID,
        Name: LPCWSTR,
        Description: LPCWSTR,
        Vendor: LPCWSTR,
        VersionString: LPCWSTR,
        Reserved: LPCWSTR | None,
        AssociatedProtocols: Annotated[Sequence[GUID], Idl("GUID[]", "size_is(ProtocolsNumber)")],
        ProtocolsNumber: Annotated[UINT | None, LengthOf("AssociatedProtocols")] = None,
    ) -> None:
        """Register a filter. Name, description, vendor and version are for people only.

        :param guidFilter: the CLSID by which the service makes the filter.
        :param Reserved: ``None``.
        :param AssociatedProtocols: the protocols that belong to the filter.
        :param ProtocolsNumber: how many of them; ``None`` for all.
        :raises COMError: ``HRESULT_FROM_WIN32(ERROR_ALREADY_EXISTS)``, it is registered already.
        """

    def UninstallFilter(guidFilter: REFCLSID) -> None:
        """Take a filter out of the configuration.

        :param guidFilter: the filter's CLSID.
        :raises COMError: ``REGDB_E_CLASSNOTREG``, there is no such filter.
        """

    def RegisterProtocol(
        guidProtocol: REFGUID,
        szProtocolName: LPCWSTR,
        szDescription: LPCWSTR,
        ProtocolCatagory: Annotated[int, Idl("long")],
        Reserved: LPCWSTR | None,
    ) -> None:
        """Register a protocol, which administrators then see.

        :param guidProtocol: the GUID of the protocol.
        :param ProtocolCatagory: categories, ORed; the IDL spells it so.
        :param Reserved: ``None``.
        :raises COMError: ``HRESULT_FROM_WIN32(ERROR_ALREADY_EXISTS)``, the protocol is defined already.
        """

    def UnregisterProtocol(guidProtocol: REFGUID) -> None:
        """Take out a protocol that a filter has registered.

        :param guidProtocol: the GUID of the protocol.
        :raises COMError: ``HRESULT_FROM_WIN32(ERROR_NOT_FOUND)``, there is no such protocol.
        """

    def GetParameterSets(guidFilter: REFCLSID) -> Annotated[IFPCVendorParametersSets, Out("ppParameterSets")]:
        """Return the parameter sets of a filter.

        :param guidFilter: the filter's CLSID.
        :returns: *ppParameterSets*.
        :raises COMError: ``REGDB_E_CLASSNOTREG``, there is no such filter.
        """

    def GetFilterParameterSet(guidFilter: REFCLSID) -> Annotated[IFPCVendorParametersSet, Out("ppParameterSet")]:
        """Return the private parameter set of a filter.

        :param guidFilter: the filter's CLSID.
        :returns: *ppParameterSet*.
        :raises COMError: ``REGDB_E_CLASSNOTREG``, there is no such filter.
        """

    def GetProtocol(guidProtocol: REFGUID) -> Annotated[IFPCProtocolDefinition, Out("ppProtocol")]:
        """Return the definition of a protocol, to change it.

        :param guidProtocol: the GUID given to ``RegisterProtocol``.
        :returns: *ppProtocol*.
        :raises COMError: the Windows error 2 (file not found) as an HRESULT, there is no such protocol.
        """

    def GetFilter(guidFilter: REFCLSID) -> Annotated[IFPCApplicationFilter, Out("ppPlugin")]:
        """Return the administration object of a filter.

        :param guidFilter: the filter's CLSID.
        :returns: *ppPlugin*.
        :raises COMError: the Windows error 2 (file not found) as an HRESULT, there is no such filter.
        """
