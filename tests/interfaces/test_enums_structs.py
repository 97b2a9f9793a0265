"""Enumerations, structures, constants and protocol definitions against a second copy of the contract's tables."""

from __future__ import annotations

import dataclasses
from enum import IntFlag
from uuid import UUID

import pytest

from fwx.interfaces import constants, enums, protocols, structs
from fwx.interfaces.address import SocketAddress

ENUMS: dict[str, dict[str, int]] = {
    "FwxFirewallEventType": {
        "fwx_Connect_Tcp": 0x1,
        "fwx_Udp_Destination": 0x2,
        "fwx_Bind_Tcp": 0x4,
        "fwx_Bind_Udp": 0x8,
        "fwx_Listen": 0x10,
        "fwx_AcceptedConnection": 0x20,
        "fwx_GetHostByName": 0x40,
        "fwx_GetHostByAddr": 0x80,
        "fwx_ConnectionTerminating": 0x100,
        "fwx_EstablishedConnection": 0x200,
        "fwx_NatPtConnection": 0x400,
    },
    "FwxTimeoutType": {
        "fwxSendTimeout": 0x1,
        "fwxRecvTimeout": 0x2,
        "fwxAcceptTimeout": 0x4,
        "fwxAcceptExTimeout": 0x8,
        "fwxAcceptExRecvTimeout": 0x10,
        "fwxConnectExSendTimeout": 0x20,
    },
    "FwxSslSocketSide": {
        "fwxServerSide": 0x1,
        "fwxClientSide": 0x2,
    },
    "FwxFirewallEventSource": {
        "fwxSourceWSP": 0x40000000,
        "fwxSourceNAT": 0x80000000,
    },
    "FwxFirewallEventProtocolSource": {
        "fwxAnyProtocol": 0x1000000,
        "fwxAssociatedProtocolsAllConnections": 0x2000000,
    },
    "FwxFilterAccess": {
        "FWX_ALLOW": 0x0,
        "FWX_DENY": 0x1,
        "FWX_PASS": 0x2,
        "FWX_EMULATE": 0x3,
        "FWX_INTERNAL1": 0x4,
        "FWX_INTERNAL2": 0x5,
    },
    "FwxDataFilterPriorityClass": {
        "fwx_dfpc_NAT": 0x0,
        "fwx_dfpc_Internal": 0x1,
        "fwx_dfpc_PostTrust": 0x2,
        "fwx_dfpc_Middle": 0x3,
        "fwx_dfpc_PreTrust": 0x4,
        "fwx_dfpc_External": 0x5,
        "fwx_dfpc_Emulation": 0x6,
    },
    "FwxPFOptions": {
        "fwx_ApplyInbound": 0x0,
        "fwx_ApplyOutbound": 0x1,
    },
    "FwxNcdEventType": {
        "fwx_ncd_AddNetworkElement": 0x0,
        "fwx_ncd_RemoveNetworkElement": 0x1,
        "fwx_ncd_AddNetworkAdapter": 0x2,
        "fwx_ncd_RemoveNetworkAdapter": 0x3,
        "fwx_ncd_AddNetworkAddress": 0x4,
        "fwx_ncd_RemoveNetworkAddress": 0x5,
        "fwx_ncd_AddNetworkSet": 0x6,
        "fwx_ncd_RemoveNetworkSet": 0x7,
        "fwx_ncd_AddNetworkElementToSet": 0x8,
        "fwx_ncd_RemoveNetworkElementFromSet": 0x9,
        "fwx_ncd_ChangeIpRange": 0xA,
        "fwx_ncd_ChangeAdapterRoute": 0xB,
        "fwx_ncd_Startup": 0xC,
        "fwx_ncd_Shutdown": 0xD,
        "fwx_ncd_SyncConfig": 0xE,
    },
    "FwxNcdRangesChangeReason": {
        "fwx_ncd_ServiceStartup": 0x0,
        "fwx_ncd_StorageChanged": 0x1,
        "fwx_ncd_VpnConnection": 0x2,
        "fwx_ncd_VpnDisconnection": 0x3,
        "fwx_ncd_ServiceShutdown": 0x4,
    },
    "FwxNetworkRelation": {
        "fwx_nrt_NoRelation": 0x0,
        "fwx_nrt_SameNetwork": 0x1,
        "fwx_nrt_NAT": 0x2,
        "fwx_nrt_ReverseNAT": 0x3,
        "fwx_nrt_Route": 0x4,
    },
}

STRUCTS = {
    "FwxEstablishedConnectionEvent": ["Protocol", "Address", "AddressLength", "piConnection", "UserContext"],
    "FwxConnectEvent": [
        "Address",
        "AddressLength",
        "piConnection",
        "FilterAccess",
        "PerRuleProcessedData",
        "ProtocolGuid",
        "IsSecondary",
    ],
    "FwxUdpDestination": [
        "Address",
        "AddressLength",
        "piConnection",
        "piUdpDestination",
        "FilterAccess",
        "PerRuleProcessedData",
        "ProtocolGuid",
        "IsSecondary",
    ],
    "FwxEndConnectionEvent": ["piConnection"],
    "FwxBindEvent": [
        "Address",
        "AddressLength",
        "piConnection",
        "FilterAccess",
        "PerRuleProcessedData",
        "ProtocolGuid",
        "IsSecondary",
    ],
    "FwxListenEvent": ["Address", "AddressLength", "piConnection", "ProtocolGuid"],
    "FwxAcceptEvent": [
        "RemoteAddress",
        "RemoteAddressLength",
        "LocalAddress",
        "LocalAddressLength",
        "piConnectionAccepted",
        "FilterAccess",
        "PerRuleProcessedData",
        "ProtocolGuid",
        "IsSecondary",
    ],
    "FwxGetHostByAddrEvent": [
        "Address",
        "AddressLength",
        "AddressType",
        "Hostent",
        "HostentLength",
        "fBeforeAction",
        "FilterAccess",
        "piGetXByY",
    ],
    "FwxGetHostByNameEvent": ["Hostname", "Hostent", "HostentLength", "fBeforeAction", "FilterAccess", "piGetXByY"],
    "FwxFirewallEvent": ["EventType", "EventSource", "Parameters"],
    "FwxFilterHookEvents": ["dwGlobalEvents"],
    "FwxIpRangeToNetworkElement": ["IpRangeUpperBound", "pNetworkElement"],
    "FwxIpRangesToNetworkElements": ["IpRanges", "IpRangesNumber"],
    "FwxIpRangesToNetworkElementsNotification": ["Table", "eReason"],
    "FwxNetElementMembershipInNetworkSet": ["pNetElement", "pNetSet"],
    "FwxNcdEvent": ["EventType", "Parameters"],
}

FIREWALL_MEMBERS = {
    "Connect": ["fwx_Connect_Tcp"],
    "UdpDest": ["fwx_Udp_Destination"],
    "Bind": ["fwx_Bind_Udp", "fwx_Bind_Tcp"],
    "Listen": ["fwx_Listen"],
    "Accept": ["fwx_AcceptedConnection"],
    "GetHostByAddr": ["fwx_GetHostByAddr"],
    "GetHostByName": ["fwx_GetHostByName"],
    "EndConnect": ["fwx_ConnectionTerminating"],
    "EstablishedConnection": ["fwx_EstablishedConnection"],
}

NCD_MEMBERS = {
    "uiContextSlot": ["fwx_ncd_Startup"],
    "pNetworkElement": ["fwx_ncd_AddNetworkElement", "fwx_ncd_RemoveNetworkElement"],
    "pNetworkAdapter": ["fwx_ncd_AddNetworkAdapter", "fwx_ncd_RemoveNetworkAdapter", "fwx_ncd_ChangeAdapterRoute"],
    "pNetworkAddress": ["fwx_ncd_AddNetworkAddress", "fwx_ncd_RemoveNetworkAddress"],
    "pNetworkSet": ["fwx_ncd_AddNetworkSet", "fwx_ncd_RemoveNetworkSet"],
    "NetElementSetMembership": ["fwx_ncd_AddNetworkElementToSet", "fwx_ncd_RemoveNetworkElementFromSet"],
    "IpRangesToNetworkElements": ["fwx_ncd_ChangeIpRange"],
    "pNetConfigDetectionSnapshot": ["fwx_ncd_SyncConfig"],
}

CONSTANTS: dict[str, int | str] = {
    "FWX_SESSION_NAT": 1,
    "FWX_SESSION_AUTHENTICATED": 2,
    "FWX_SESSION_TERMINATED": 4,
    "FWX_SESSION_PRIVATE": 8,
    "FWX_CONNECTION_INTERNAL_ADDRESS_TRANSLATION": 2147483648,
    "FWX_FLAG_ALLOW_MULTIPLE": 1,
    "FWX_FLAG_TIMEOUT": 2,
    "FWX_FLAG_NO_KERNEL_MODE": 4,
    "FWX_FLAG_ADDRESS_BASED": 8,
    "FWX_FLAG_BIDIRECTIONAL": 16,
    "FWX_FLAG_PROXY_MODE": 32,
    "FWX_FLAG_RESERVED_0": 64,
    "FWX_FLAG_ALLOW_ADDRESSES_IN_CLASS_C_NETWORK": 128,
    "FWX_FLAG_ALLOW_ADDRESSES_IN_NETWORK": 256,
    "FWX_FLAG_ALLOW_ADDRESSES_ALL": 512,
    "FWX_INCREASE_RECEIVE_BUFFER": 1024,
    "FWX_FLAG_RESERVED_1": 2048,
    "FWX_FLAG_IGNORE_RESTRICTED_PORTS": 4096,
    "FWX_FLAG_EMULATE_PROTOCOL": 1,
    "FWX_PROTOCOL_UDP": 17,
    "FWX_PROTOCOL_TCP": 6,
    "FWX_PROTOCOL_GRE": 47,
    "FWX_FLAG_USE_MIME": 1,
    "FWX_FLAG_USE_EXTENTION": 2,
    "FWX_INVALID_NCD_HANDLE_VALUE": 0xFFFF_FFFF,
    "FWX_ALL_SOURCES": 0xC000_0000,
    "AUTHENTICATED_AD_USER_NAMESPACE": "AD",
    "AUTHENTICATED_RADIUS_USER_NAMESPACE": "RADIUS",
}

FLAGS = {"FwxFirewallEventType", "FwxTimeoutType", "FwxFirewallEventSource", "FwxFirewallEventProtocolSource"}
ADDRESS = SocketAddress("192.0.2.1", 80)
CONNECTION = object()


@pytest.mark.parametrize("name", ENUMS)
def test_enumeration_has_the_values_of_the_contract(name: str) -> None:
    enumeration = getattr(enums, name)
    assert {member.name: member.value for member in enumeration} == ENUMS[name]
    assert issubclass(enumeration, IntFlag) == (name in FLAGS)


@pytest.mark.parametrize(("enumeration", "member"), [(name, member) for name in ENUMS for member in ENUMS[name]])
def test_enumerator_is_a_name_of_the_module(enumeration: str, member: str) -> None:
    assert getattr(enums, member) is getattr(enums, enumeration)[member]


def test_flags_of_several_enumerations_combine() -> None:
    wanted = enums.fwx_Connect_Tcp | enums.fwxSourceNAT | enums.fwxAnyProtocol
    assert int(wanted) == 0x8100_0001
    assert wanted & enums.fwxSourceNAT
    assert not wanted & enums.fwxSourceWSP


@pytest.mark.parametrize("name", STRUCTS)
def test_structure_has_the_members_in_order(name: str) -> None:
    structure = getattr(structs, name)
    assert [field.name for field in dataclasses.fields(structure)] == STRUCTS[name]
    assert "__slots__" in vars(structure)


def test_hook_events_start_empty() -> None:
    assert structs.FwxFilterHookEvents() == structs.FwxFilterHookEvents(dwGlobalEvents=0)


def test_event_defaults() -> None:
    event = structs.FwxConnectEvent(ADDRESS, ADDRESS.length, CONNECTION)
    assert event.FilterAccess is enums.FWX_PASS
    assert event.PerRuleProcessedData is None
    assert event.ProtocolGuid == protocols.GUID_NULL
    assert event.IsSecondary is False


@pytest.mark.parametrize("name", CONSTANTS)
def test_constant(name: str) -> None:
    """B6.35: the flags among them."""
    assert getattr(constants, name) == CONSTANTS[name]
    assert type(getattr(constants, name)) is type(CONSTANTS[name])


def member_of(name: str) -> object:
    """Make a member of either union; only its type matters."""
    made = {
        "Connect": structs.FwxConnectEvent(ADDRESS, 16, CONNECTION),
        "UdpDest": structs.FwxUdpDestination(ADDRESS, 16, CONNECTION, object()),
        "Bind": structs.FwxBindEvent(ADDRESS, 16, CONNECTION),
        "Listen": structs.FwxListenEvent(ADDRESS, 16, CONNECTION),
        "Accept": structs.FwxAcceptEvent(ADDRESS, 16, ADDRESS, 16, CONNECTION),
        "GetHostByAddr": structs.FwxGetHostByAddrEvent(b"\x7f\0\0\1", 4, 2, None, 0, True),
        "GetHostByName": structs.FwxGetHostByNameEvent("www.example.org", structs.Hostent("www.example.org"), 0, False),
        "EndConnect": structs.FwxEndConnectionEvent(CONNECTION),
        "EstablishedConnection": structs.FwxEstablishedConnectionEvent(6, ADDRESS, 16, CONNECTION),
        "uiContextSlot": 7,
        "NetElementSetMembership": structs.FwxNetElementMembershipInNetworkSet(object(), object()),
        "IpRangesToNetworkElements": structs.FwxIpRangesToNetworkElementsNotification(
            structs.FwxIpRangesToNetworkElements(), enums.fwx_ncd_ServiceStartup
        ),
    }
    return made.get(name, CONNECTION)


UNIONS = [(structs.FwxFirewallEventParameters, FIREWALL_MEMBERS), (structs.FwxNcdEventParameters, NCD_MEMBERS)]
SELECTIONS = [(union, name, tag) for union, members in UNIONS for name, tags in members.items() for tag in tags]


@pytest.mark.parametrize(("union", "name", "tag"), SELECTIONS)
def test_tag_selects_its_member(union: type, name: str, tag: str) -> None:
    member = member_of(name)
    held = union.of(getattr(enums, tag), member)
    assert held.member_name == name
    assert held.member is member
    assert getattr(held, name) is member
    assert held == union(**{name: member})


@pytest.mark.parametrize(("union", "members"), UNIONS)
def test_another_member_cannot_be_read(union: type, members: dict[str, list[str]]) -> None:
    for name in members:
        held = union(**{name: member_of(name)})
        for other in members.keys() - {name}:
            with pytest.raises(AttributeError, match=f"^{union.__name__} holds {name}, not {other}$"):
                getattr(held, other)


def test_union_has_no_other_member_and_does_not_change() -> None:
    held = structs.FwxFirewallEventParameters(Connect=member_of("Connect"))
    with pytest.raises(AttributeError, match="has no member 'connect'"):
        held.connect  # noqa: B018
    with pytest.raises(AttributeError, match="immutable, cannot set Bind"):
        held.Bind = member_of("Bind")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "exactly one member, 0 were given"),
        ({"Connect": member_of("Connect"), "Bind": member_of("Bind")}, "exactly one member, 2 were given"),
        ({"connect": member_of("Connect")}, "has no member 'connect'; it has Connect, UdpDest"),
        ({"Bind": member_of("Connect")}, "Bind is a FwxBindEvent, not FwxConnectEvent"),
    ],
)
def test_union_refuses_other_than_one_fitting_member(members: dict[str, object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        structs.FwxFirewallEventParameters(**members)


def test_tag_without_a_member() -> None:
    with pytest.raises(ValueError, match=r"fwx_NatPtConnection.* selects no member"):
        structs.FwxFirewallEventParameters.of(enums.fwx_NatPtConnection, member_of("Connect"))
    empty = structs.FwxNcdEventParameters.of(enums.fwx_ncd_Shutdown)
    assert (empty.member_name, empty.member) == ("", None)
    assert structs.FwxNcdEvent(enums.fwx_ncd_Shutdown, empty).Parameters is empty
    with pytest.raises(AttributeError, match="holds no member, not pNetworkSet"):
        empty.pNetworkSet  # noqa: B018


@pytest.mark.parametrize(("union", "name", "tag"), SELECTIONS)
def test_event_takes_only_the_member_of_its_tag(union: type, name: str, tag: str) -> None:
    held = union(**{name: member_of(name)})
    members, tags = (
        (FIREWALL_MEMBERS, enums.FwxFirewallEventType)
        if union is structs.FwxFirewallEventParameters
        else (NCD_MEMBERS, enums.FwxNcdEventType)
    )
    for event_type in tags:
        if event_type.name in members[name]:
            assert make_event(event_type, held).Parameters is held
        else:
            with pytest.raises(ValueError, match=f"which holds {name}"):
                make_event(event_type, held)


def make_event(event_type: enums.FwxFirewallEventType | enums.FwxNcdEventType, held: object) -> object:
    if isinstance(event_type, enums.FwxFirewallEventType):
        return structs.FwxFirewallEvent(event_type, enums.fwxSourceWSP, held)
    return structs.FwxNcdEvent(event_type, held)


def test_protocol_definitions_are_complete_and_distinct() -> None:
    known = protocols.WELL_KNOWN_PROTOCOLS
    assert len(known) == 163
    for each in (lambda p: p.name, lambda p: p.title, lambda p: p.guid):
        assert len({each(definition) for definition in known}) == 163
    assert all(getattr(protocols, definition.name) == definition.guid for definition in known)


@pytest.mark.parametrize(
    ("title", "name", "guid", "connections"),
    [
        ("HTTP", "HTTP_PROTOCOL_GUID", "DF6CABC0-D4A3-11D2-BBC4-00A0C9D785A6", [("TCP", "outbound", (80,))]),
        ("HTTPS", "HTTPS_PROTOCOL_GUID", "FE3E20D0-D4A3-11D2-BBC4-00A0C9D785A6", [("TCP", "outbound", (443,))]),
        ("FTP", "FTP_PROTOCOL_GUID", "F2E5EE50-030C-11D3-ACD4-00A0C9D7559D", [("TCP", "outbound", (21,))]),
        ("FTP Server", "FTP_SERVER_PROTOCOL_GUID", "5CDDC642-932D-4134-A1DB-250574052D00", [("TCP", "inbound", (21,))]),
        (
            "DNS",
            "DNS_QUERY_CLIENT_PROTOCOL_GUID",
            "01B44810-D4A3-11D2-BBC4-00A0C9D785A6",
            [("UDP", "send_receive", (53,)), ("TCP", "outbound", (53,))],
        ),
        ("DHCPv6", "DHCPV6_PROTOCOL_GUID", "96748F9F-D159-4953-9B0C-54794BFC77B0", [("UDP", None, (546, 547))]),
        ("RTP", "RTP_PROTOCOL_GUID", "10585695-2024-48B3-B5AB-BD7F0466E333", []),
    ],
)
def test_protocol_by_title(
    title: str, name: str, guid: str, connections: list[tuple[str, str | None, tuple[int, ...]]]
) -> None:
    definition = protocols.by_title()[title]
    assert (definition.name, definition.guid) == (name, UUID(guid))
    assert [(c.transport, c.direction, tuple(p.first for p in c.ports)) for c in definition.connections] == connections


def test_protocols_without_ports() -> None:
    ping, esp = protocols.by_title()["Ping"], protocols.by_title()["IPsec ESP"]
    assert [(c.transport, c.types) for c in ping.connections] == [("ICMP", (8,))]
    assert [(c.transport, c.protocol) for c in esp.connections] == [("IP", 50)]


@pytest.mark.parametrize(("first", "last"), [(2, 1), (-1, 1), (1, 65536)])
def test_port_range_is_checked(first: int, last: int) -> None:
    with pytest.raises(ValueError, match=f"ports {first} to {last}: expected"):
        protocols.PortRange(first, last)


def test_port_range_holds_both_ends() -> None:
    ports = protocols.PortRange(20, 22)
    assert [port in ports for port in (19, 20, 22, 23)] == [False, True, True, False]
