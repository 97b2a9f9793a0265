"""Registration of filters and protocols, and the objects of the administration SDK that the interfaces name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from zope.interface import Attribute, taggedValue

from fwx.interfaces.com import GUID, LPCWSTR, REFCLSID, REFGUID, UINT, Idl, IUnknown, LengthOf, Out


class IFPCPolicyRule(IUnknown):
    """A policy rule of the administration SDK (B7.7, B7.8). Implemented by the service; a filter gets it in
    ``IFWXPerRuleData.PrepareRulesData``.

    Here it has no IID and no place in a vtable: the attributes are of the Python face alone, and read-only. The SDK's
    other members are not here, nor is anything that changes a rule: the file does. What the rule matches is in
    :class:`fwx.sdk.IPolicyRule`, had by ``sdk.IPolicyRule(pPolicyRule)``.
    """

    taggedValue("has_vtable", False)

    Name: str = Attribute("The name of the rule, by which the log knows it too.")
    Order: int = Attribute("Its place among the rules, counted from 1.")
    Enabled: bool = Attribute("Whether it is switched on; one that is not matches nothing.")
    Action: int = Attribute("What it does: 0 allows, 1 denies.")
    EnableLogging: bool = Attribute("Whether what it decides is logged.")
    Type: int = Attribute("What kind of rule it is: 0, an access rule; this version has no other.")


class IFPCVendorParametersSets(IUnknown):
    """The parameter sets of a vendor, of the administration SDK. Only its name is needed here: no IID, no members."""


class IFPCVendorParametersSet(IUnknown):
    """One parameter set of a vendor, of the administration SDK. Only its name is needed here: no IID, no members."""


class IFPCProtocolDefinition(IUnknown):
    """A protocol definition of the administration SDK. Only its name is needed here: no IID, no members."""


class IFPCApplicationFilter(IUnknown):
    """An installed filter of the administration SDK. Only its name is needed here: no IID, no members."""


class IFWXFilterAdmin(IUnknown):
    """Registers filters and protocols in the stored configuration (B1.48). Used by a filter's set-up; implemented by
    the service, by the class EC7DD7CF-D037-420A-AFEC-E5BCDD68DC6D in the SDK.

    The service has no such object: filters are installed as Python distributions, and named in the configuration file,
    where protocols are defined too; a filter's set-up does not write there. What follows is for those who implement it.
    """

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
        """Register a filter. Called by its set-up; kept in the SDK for old ones. The service finds the filter by its
        CLSID (B1.47).

        :param guidFilter: the CLSID by which the service makes the filter.
        :param Name: its name, for people only.
        :param Description: what it does, for people only.
        :param Vendor: who made it, for people only.
        :param VersionString: its version, for people only.
        :param Reserved: ``None``.
        :param AssociatedProtocols: the protocols that belong to the filter.
        :param ProtocolsNumber: how many of them; ``None`` for all.
        :raises COMError: ``HRESULT_FROM_WIN32(ERROR_ALREADY_EXISTS)``, it is registered already.
        """

    def UninstallFilter(guidFilter: REFCLSID) -> None:
        """Take a filter out of the configuration. Called when the filter is removed.

        :param guidFilter: the filter's CLSID.
        :raises COMError: not specified; ``REGDB_E_CLASSNOTREG``, there is no such filter.
        """

    def RegisterProtocol(
        guidProtocol: REFGUID,
        szProtocolName: LPCWSTR,
        szDescription: LPCWSTR,
        ProtocolCatagory: Annotated[int, Idl("long")],
        Reserved: LPCWSTR | None,
    ) -> None:
        """Register a protocol, which administrators then see. Called by a filter's set-up; who takes inbound
        connections for SecureNAT clients must (B6.30).

        :param guidProtocol: the GUID of the protocol.
        :param szProtocolName: its name, as administrators see it.
        :param szDescription: what it is, for people only.
        :param ProtocolCatagory: categories, ORed; the IDL spells it so.
        :param Reserved: ``None``.
        :raises COMError: ``HRESULT_FROM_WIN32(ERROR_ALREADY_EXISTS)``, the protocol is defined already; other codes are
            not specified.
        """

    def UnregisterProtocol(guidProtocol: REFGUID) -> None:
        """Take out a protocol that a filter has registered. Called when the filter is removed.

        :param guidProtocol: the GUID of the protocol.
        :raises COMError: the SDK names no code; ``HRESULT_FROM_WIN32(ERROR_NOT_FOUND)``, there is no such protocol.
        """

    def GetParameterSets(guidFilter: REFCLSID) -> Annotated[IFPCVendorParametersSets, Out("ppParameterSets")]:
        """Return the parameter sets of a filter. Called by its set-up, or by a tool that configures it.

        :param guidFilter: the filter's CLSID.
        :returns: *ppParameterSets*.
        :raises COMError: the SDK names no code; ``REGDB_E_CLASSNOTREG``, there is no such filter.
        """

    def GetFilterParameterSet(guidFilter: REFCLSID) -> Annotated[IFPCVendorParametersSet, Out("ppParameterSet")]:
        """Return the private parameter set of a filter. Called by its set-up, or by a tool that configures it.

        :param guidFilter: the filter's CLSID.
        :returns: *ppParameterSet*.
        :raises COMError: the SDK names no code; ``REGDB_E_CLASSNOTREG``, there is no such filter.
        """

    def GetProtocol(guidProtocol: REFGUID) -> Annotated[IFPCProtocolDefinition, Out("ppProtocol")]:
        """Return the definition of a protocol, to change it. Called by a filter's set-up.

        :param guidProtocol: the GUID given to ``RegisterProtocol``.
        :returns: *ppProtocol*.
        :raises COMError: ``HRESULT_FROM_WIN32(ERROR_FILE_NOT_FOUND)`` (0x80070002), there is no such protocol;
            ``E_OUTOFMEMORY``.
        """

    def GetFilter(guidFilter: REFCLSID) -> Annotated[IFPCApplicationFilter, Out("ppPlugin")]:
        """Return the administration object of a filter. Called by its set-up.

        :param guidFilter: the filter's CLSID.
        :returns: *ppPlugin*.
        :raises COMError: ``HRESULT_FROM_WIN32(ERROR_FILE_NOT_FOUND)`` (0x80070002), there is no such filter;
            ``E_OUTOFMEMORY``.
        """
