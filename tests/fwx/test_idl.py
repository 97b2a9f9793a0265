"""``fwx idl``: what is printed for which names. tests/integration/test_idl_compiler.py has it compiled."""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import pytest
from click.testing import CliRunner
from zope.interface import taggedValue

from fwx import idl
from fwx.cli import main
from fwx.interfaces import DWORD, Idl, IUnknown, com_interfaces, constants, enums, hresult, protocols, structs

IFWXUDPDESTINATION = """\
/* The application filter interfaces, printed by fwx idl.

   A C program that needs socket headers (winsock2.h, or sys/socket.h and netinet/in.h) includes them before the header
   that the IDL compiler makes of this. */

import "unknwn.idl";

interface IFWXUdpDestination;

[object, uuid(4752E12E-5715-47BB-B884-73A45669707B), pointer_default(unique)]
interface IFWXUdpDestination : IUnknown
{
    HRESULT Deny(
        DWORD Reserved);
};
"""

EVENT = """
    {ref}DWORD AddressLength;
    IFWXConnection* piConnection;
    {more}FwxFilterAccess FilterAccess;
    IFWXPerRuleDataplugin* PerRuleProcessedData;
    GUID ProtocolGuid;
    BOOL IsSecondary;
"""
ADDRESS = "[ref] LPSOCKADDR Address; "

# The second entry of the structures: attributes, IDL type and name of each member, in the order of the memory.
STRUCTURES = {
    "FwxConnectEvent": EVENT.format(ref=ADDRESS, more=""),
    "FwxBindEvent": EVENT.format(ref=ADDRESS, more=""),
    "FwxUdpDestination": EVENT.format(ref=ADDRESS, more="IFWXUdpDestination* piUdpDestination; "),
    "FwxListenEvent": """
        [ref] LPSOCKADDR Address;
        DWORD AddressLength;
        IFWXConnection* piConnection;
        GUID ProtocolGuid;
    """,
    "FwxAcceptEvent": """
        [ref] LPSOCKADDR RemoteAddress;
        DWORD RemoteAddressLength;
        [ref] LPSOCKADDR LocalAddress;
        DWORD LocalAddressLength;
        IFWXConnection* piConnectionAccepted;
        FwxFilterAccess FilterAccess;
        IFWXPerRuleDataplugin* PerRuleProcessedData;
        GUID ProtocolGuid;
        BOOL IsSecondary;
    """,
    "FwxGetHostByAddrEvent": """
        [size_is(AddressLength), length_is(AddressLength)] BYTE* Address;
        DWORD AddressLength;
        INT AddressType;
        LPHOSTENT Hostent;
        DWORD HostentLength;
        BOOL fBeforeAction;
        FwxFilterAccess FilterAccess;
        IFWXGetXByY* piGetXByY;
    """,
    "FwxGetHostByNameEvent": """
        [ref] LPSTR Hostname;
        LPHOSTENT Hostent;
        DWORD HostentLength;
        BOOL fBeforeAction;
        FwxFilterAccess FilterAccess;
        IFWXGetXByY* piGetXByY;
    """,
    "FwxEndConnectionEvent": "IFWXConnection* piConnection;",
    "FwxEstablishedConnectionEvent": """
        INT Protocol;
        [ref] LPSOCKADDR Address;
        DWORD AddressLength;
        IFWXConnection* piConnection;
        IUnknown* UserContext;
    """,
    "FwxFilterHookEvents": "DWORD dwGlobalEvents;",
    "FwxIpRangeToNetworkElement": "struct in6_addr IpRangeUpperBound; IFWXNetworkElement* pNetworkElement;",
    "FwxIpRangesToNetworkElements": """
        [size_is(IpRangesNumber)] FwxIpRangeToNetworkElement* IpRanges;
        unsigned int IpRangesNumber;
    """,
    "FwxIpRangesToNetworkElementsNotification": "FwxIpRangesToNetworkElements Table; FwxNcdRangesChangeReason eReason;",
    "FwxNetElementMembershipInNetworkSet": "IFWXNetworkElement* pNetElement; IFWXNetworkSet* pNetSet;",
    "FwxFirewallEventParameters": """
        [case(fwx_Connect_Tcp)] FwxConnectEvent Connect;
        [case(fwx_Udp_Destination)] FwxUdpDestination UdpDest;
        [case(fwx_Bind_Tcp, fwx_Bind_Udp)] FwxBindEvent Bind;
        [case(fwx_Listen)] FwxListenEvent Listen;
        [case(fwx_AcceptedConnection)] FwxAcceptEvent Accept;
        [case(fwx_GetHostByAddr)] FwxGetHostByAddrEvent GetHostByAddr;
        [case(fwx_GetHostByName)] FwxGetHostByNameEvent GetHostByName;
        [case(fwx_ConnectionTerminating)] FwxEndConnectionEvent EndConnect;
        [case(fwx_EstablishedConnection)] FwxEstablishedConnectionEvent EstablishedConnection;
    """,
    "FwxNcdEventParameters": """
        [case(fwx_ncd_Startup)] unsigned int uiContextSlot;
        [case(fwx_ncd_AddNetworkElement, fwx_ncd_RemoveNetworkElement)] IFWXNetworkElement* pNetworkElement;
        [case(fwx_ncd_AddNetworkAdapter, fwx_ncd_RemoveNetworkAdapter, fwx_ncd_ChangeAdapterRoute)]
            IFWXNetworkAdapter* pNetworkAdapter;
        [case(fwx_ncd_AddNetworkAddress, fwx_ncd_RemoveNetworkAddress)] IFWXNetworkAddress* pNetworkAddress;
        [case(fwx_ncd_AddNetworkSet, fwx_ncd_RemoveNetworkSet)] IFWXNetworkSet* pNetworkSet;
        [case(fwx_ncd_AddNetworkElementToSet, fwx_ncd_RemoveNetworkElementFromSet)]
            FwxNetElementMembershipInNetworkSet NetElementSetMembership;
        [case(fwx_ncd_ChangeIpRange)] FwxIpRangesToNetworkElementsNotification IpRangesToNetworkElements;
        [case(fwx_ncd_SyncConfig)] IFWXNetConfigDetectionSnapshot* pNetConfigDetectionSnapshot;
        [case(fwx_ncd_Shutdown)];
    """,
    "FwxFirewallEvent": """
        FwxFirewallEventType EventType;
        FwxFirewallEventSource EventSource;
        [switch_is(EventType)] FwxFirewallEventParameters Parameters;
    """,
    "FwxNcdEvent": "FwxNcdEventType EventType; [switch_is(EventType)] FwxNcdEventParameters Parameters;",
}


def body(text: str) -> str:
    """Return what stands in the braces, with single spaces."""
    return " ".join(text.partition("{")[2].rpartition("}")[0].split())


def names_of(text: str) -> list[str]:
    """Return what *text* defines, in its order."""
    return re.findall(r"^(?:\} |interface |typedef .*\*)(\w+)(?=;| :)", text, re.MULTILINE)


def test_structures_are_those_of_the_table() -> None:
    own = {name for name, value in vars(structs).items() if getattr(value, "__module__", "") == structs.__name__}
    printed = {name: body(each.text) for name, each in idl.definitions().items() if name in own}
    assert printed == {name: " ".join(members.split()) for name, members in STRUCTURES.items()}
    assert len(printed) == 18


def test_one_interface_without_needs() -> None:
    assert idl.render(["IFWXUdpDestination"]) == IFWXUDPDESTINATION


def test_needs_come_first_and_other_interfaces_are_only_declared() -> None:
    assert names_of(idl.render(["IFWXNetworkSocket"])) == [
        "LPSOCKADDR",
        "LPINT",
        *(
            "IFWXAcceptCompletion",
            "IFWXIOBuffer",
            "IFWXIOCompletion",
            "IFWXIpFilter",
            "IFWXNetworkSocket",
            "IFWXSocket",
        ),
        "IFWXSocket",
        "IFWXNetworkSocket",
    ]
    assert names_of(idl.render(["FwxNcdEvent"]))[-8:] == [
        "FwxNcdEventType",
        "FwxNetElementMembershipInNetworkSet",
        "FwxIpRangeToNetworkElement",
        "FwxIpRangesToNetworkElements",
        "FwxNcdRangesChangeReason",
        "FwxIpRangesToNetworkElementsNotification",
        "FwxNcdEventParameters",
        "FwxNcdEvent",
    ]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("IFWXSession", "        [in, size_is(dwNumberOfAddresses), length_is(dwNumberOfAddresses)] LPSOCKADDR Cl"),
        (
            "IFWXSession",
            "        [out, size_is(dwNumberOfAddresses), length_is(dwNumberOfAddresses)] IFWXConnection* Con",
        ),
        ("IFWXSession", "        [in, out] LPSOCKADDR ProxyAddress,\n"),
        ("IFWXIOBuffer", "    [local]\n    HRESULT ReadAt(\n"),
        ("IFWXAuthenticatedUser", '    [propget, id(2), helpstring("property Namespace")]\n    HRESULT Namespace('),
        ("IFWXNetworkSocket", "    HRESULT __SetPacketFilterOptions(\n"),
        ("IFWXNetworkSocketInspection", "459-D18C2AB441A2), pointer_default(unique), hidden]\n"),
        ("IFPCPolicyRule", "\n\ninterface IFPCPolicyRule;\n"),
        ("IClassFactory", 'import "unknwn.idl";\n'),
        ("FwxFirewallEventSource", "    fwxSourceNAT = 0x80000000\n} FwxFirewallEventSource;\n"),
        ("FpcNetworkTypes", "    fpcLocalHost = 2,\n"),
        ("PFwxFilterHookEvents", "} FwxFilterHookEvents;\n\ntypedef FwxFilterHookEvents *PFwxFilterHookEvents;\n"),
        ("FWX_FLAG_PROXY_MODE", 'cpp_quote("#define FWX_FLAG_PROXY_MODE 0x20")\n'),
        ("FWX_PROTOCOL_UDP", 'cpp_quote("#define FWX_PROTOCOL_UDP 17")\n'),
        ("FWX_E_IS_BUSY", 'cpp_quote("#define FWX_E_IS_BUSY ((HRESULT)0xC0040011)")\n'),
        ("AUTHENTICATED_AD_USER_NAMESPACE", r'#define AUTHENTICATED_AD_USER_NAMESPACE \"AD\"")'),
        ("AOL_PROTOCOL_GUID", r"#define AOL_PROTOCOL_GUID \"{C9753840-D4A2-11D2-BBC4-00A0C9D785A6}\""),
    ],
)
def test_what_a_name_prints(name: str, line: str) -> None:
    assert line in idl.render([name])


def test_everything_is_printed_and_once() -> None:
    printed = idl.render()
    for module in (constants, enums, hresult):
        missing = [name for name in vars(module) if name.startswith(("FWX_", "Fwx", "fwx")) and name not in printed]
        assert missing == []
    for name, value in vars(protocols).items():
        if isinstance(value, UUID) and value.int:
            assert rf"#define {name} \"{{{str(value).upper()}}}\"" in printed
    assert len(re.findall(r"^interface \w+ : ", printed, re.MULTILINE)) == 47
    defined = [name for name in names_of(printed) if not name.startswith("I")]
    assert len(defined) == len(set(defined))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["IFWXUdpDestination"], 0, IFWXUDPDESTINATION),
        (["IFWXSoket"], 1, "called 'IFWXSoket'; did you mean IFWXSocket?"),
        (["ifwxsocket"], 1, "called 'ifwxsocket'; did you mean IFWXSocket?"),
        (["IFWXSocket", "zzz"], 1, "called 'zzz'; fwx idl without a name prints all there are"),
        (["Bogus1", "FwxBindEvnt"], 1, "did you mean FwxBindEvent?"),
    ],
)
def test_the_command(arguments: list[str], code: int, said: str) -> None:
    result = CliRunner().invoke(main, ["idl", *arguments])
    assert result.exit_code == code
    assert said in result.output
    assert (result.stdout == "") == (code != 0)


def test_the_command_prints_everything_without_a_name() -> None:
    result = CliRunner().invoke(main, ["idl"])
    assert (result.exit_code, result.output) == (0, idl.render())


StrangeType: TypeAlias = Annotated[int, Idl("STRANGE")]


class IStrange(IUnknown):
    """Mentions a type that nobody defines."""

    taggedValue("iid", UUID("8B7A9C50-5A0E-4B1E-9E55-6C1B7F5D2A10"))

    def Do(x: DWORD, y: StrangeType) -> None:
        """Mention it."""


@dataclasses.dataclass
class FwxStrange:
    Member: complex


@pytest.mark.parametrize(
    ("patched", "value", "said"),
    [
        (
            "com_interfaces",
            lambda: [*com_interfaces(), IStrange],
            "IStrange mentions the IDL type STRANGE, which has no definition",
        ),
        ("_structures", lambda: iter([FwxStrange]), "FwxStrange.Member: there is no IDL type for <class 'complex'>"),
    ],
)
def test_a_declaration_that_the_idl_cannot_say(
    monkeypatch: pytest.MonkeyPatch, patched: str, value: Any, said: str
) -> None:
    monkeypatch.setattr(idl, patched, value)
    with pytest.raises(LookupError, match=said):
        idl.render()
