"""The enumerations of the interfaces, and their enumerators as module-level names, as C has them."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final


class FwxFirewallEventType(IntFlag):
    """What happened, one bit each (B2.1); a filter ORs the types it wants into ``dwGlobalEvents`` (B2.5).

    This version raises ``fwx_Connect_Tcp``, ``fwx_Bind_Udp``, ``fwx_Udp_Destination`` and
    ``fwx_ConnectionTerminating``; the others can be asked for and do not come.
    """

    fwx_Connect_Tcp = 0x001
    """A client asks to connect a TCP socket (B2.12); details in ``FwxConnectEvent``."""
    fwx_Udp_Destination = 0x002
    """A client connects a UDP socket or sends to a new destination (B2.15); details in ``FwxUdpDestination``."""
    fwx_Bind_Tcp = 0x004
    """A client, or a filter by ``BindForClient``, asks to bind a TCP socket (B2.20); details in ``FwxBindEvent``."""
    fwx_Bind_Udp = 0x008
    """A client, or a filter by ``BindForClient``, asks to bind a UDP socket (B2.20); details in ``FwxBindEvent``."""
    fwx_Listen = 0x010
    """A client, or a filter by ``BindForClient``, asks to listen on a TCP socket (B2.21); details in
    ``FwxListenEvent``.
    """
    fwx_AcceptedConnection = 0x020
    """A connection has come in on a listening TCP socket (B2.23); details in ``FwxAcceptEvent``."""
    fwx_GetHostByName = 0x040
    """A Firewall client looks up a name, never a SecureNAT client (B2.25); details in ``FwxGetHostByNameEvent``."""
    fwx_GetHostByAddr = 0x080
    """A Firewall client looks up an address, never a SecureNAT client (B2.25); details in ``FwxGetHostByAddrEvent``."""
    fwx_ConnectionTerminating = 0x100
    """A connection ends and goes once all references are released (B2.29); details in ``FwxEndConnectionEvent``. Ask
    for it in ``AttachToSession`` (B2.30).
    """
    fwx_EstablishedConnection = 0x200
    """A connection that the filter itself prepared has come about (B2.31); details in
    ``FwxEstablishedConnectionEvent``. It goes to that filter alone and needs no bit (B2.32).
    """
    fwx_NatPtConnection = 0x400
    """Not an event: the filter says with it that it can serve NAT-PT connections (B2.2)."""


class FwxTimeoutType(IntFlag):
    """The kinds of time-out that a socket has, one bit each. No method of the SDK's interfaces takes them; here
    :class:`fwx.sdk.ISocketTimeouts` does.
    """

    fwxSendTimeout = 0x01
    """Of a send."""
    fwxRecvTimeout = 0x02
    """Of a receive."""
    fwxAcceptTimeout = 0x04
    """Of an accept, from its start to the ACK that ends it."""
    fwxAcceptExTimeout = 0x08
    """Of an AcceptEx, from its start to the first data (PUSH)."""
    fwxAcceptExRecvTimeout = 0x10
    """Of an AcceptEx, from the end of the TCP handshake to the first data (PUSH)."""
    fwxConnectExSendTimeout = 0x20
    """Of a ConnectEx."""


class FwxSslSocketSide(IntEnum):
    """The side of the firewall that an SSL socket is on, for ``CreateSSLNetworkSocket`` (B4.16)."""

    fwxServerSide = 1
    """Towards the server: the socket plays the TLS client."""
    fwxClientSide = 2
    """Towards the client: the socket plays the TLS server."""


class FwxFirewallEventSource(IntFlag):
    """The kind of client that an event comes from (B2.3); ``FWX_ALL_SOURCES`` stands for both.

    In ``dwGlobalEvents`` it selects, in ``FwxFirewallEvent.EventSource`` it tells. A filter sees an event only if type
    and source are in its mask (B2.5).
    """

    fwxSourceWSP = 0x4000_0000
    """A Firewall client: here a client of the proxy port."""
    fwxSourceNAT = 0x8000_0000
    """A SecureNAT client: here one whose traffic a transparent listener takes."""


class FwxFirewallEventProtocolSource(IntFlag):
    """The protocols and connections whose events a filter wants; to be ORed into ``dwGlobalEvents`` (B2.4).

    In this version the first bit is accepted and changes nothing: rules say which connections a filter sees.
    """

    fwxAnyProtocol = 0x0100_0000
    """Events of every protocol, also of those that no application filter serves. With IP routing on, TMG sends the
    latter past the service.
    """
    fwxAssociatedProtocolsAllConnections = 0x0200_0000
    """Events of secondary connections too; without it only primary ones call the filter."""


class FwxFilterAccess(IntEnum):
    """The access status of an event; the service's own, a filter neither sets it nor relies on it (B2.8). This version
    always shows ``FWX_PASS``.
    """

    FWX_ALLOW = 0
    """Permitted, over the head of the built-in check of protocol and permission."""
    FWX_DENY = 1
    """Denied."""
    FWX_PASS = 2
    """Allowed if nobody denies it and somebody, built-in rules included, allows it; the default."""
    FWX_EMULATE = 3
    """A filter takes the request over and plays the external connection itself."""
    FWX_INTERNAL1 = 4
    """For the service alone."""
    FWX_INTERNAL2 = 5
    """For the service alone."""


class FwxDataFilterPriorityClass(IntEnum):
    """The place of a data filter in the chain of one connection, from the client side to the server side (B3.7).

    Inside one class the order is arbitrary (B3.10). A filter nearer to the client tends to see first what the client
    sends and last what is sent to the client (B3.9).
    """

    fwx_dfpc_NAT = 0
    """Nearest to the client; for SecureNAT editors only (B3.8)."""
    fwx_dfpc_Internal = 1
    """Nearest to the client for all others."""
    fwx_dfpc_PostTrust = 2
    """Near the client."""
    fwx_dfpc_Middle = 3
    """In the middle; the place of virus scanners (B3.8)."""
    fwx_dfpc_PreTrust = 4
    """Near the server."""
    fwx_dfpc_External = 5
    """As near to the server as can be."""
    fwx_dfpc_Emulation = 6
    """For emulation: the filter itself is where the data comes from (B3.8, B3.37)."""


class FwxPFOptions(IntEnum):
    """The direction of a packet filter; for the service alone. Perhaps what ``__SetPacketFilterOptions`` takes; both
    meanings are inferred.
    """

    fwx_ApplyInbound = 0
    """Inbound traffic."""
    fwx_ApplyOutbound = 1
    """Outbound traffic."""


class FwxNcdEventType(IntEnum):
    """The types of network configuration events (B13.10); enterprise networks and network sets never raise one."""

    fwx_ncd_AddNetworkElement = 0
    """A network was added."""
    fwx_ncd_RemoveNetworkElement = 1
    """A network was removed."""
    fwx_ncd_AddNetworkAdapter = 2
    """A network adapter was added."""
    fwx_ncd_RemoveNetworkAdapter = 3
    """A network adapter was removed."""
    fwx_ncd_AddNetworkAddress = 4
    """The firewall got one more address."""
    fwx_ncd_RemoveNetworkAddress = 5
    """The firewall lost an address."""
    fwx_ncd_AddNetworkSet = 6
    """A network set was added."""
    fwx_ncd_RemoveNetworkSet = 7
    """A network set was removed."""
    fwx_ncd_AddNetworkElementToSet = 8
    """A network was put into a network set."""
    fwx_ncd_RemoveNetworkElementFromSet = 9
    """A network left a network set."""
    fwx_ncd_ChangeIpRange = 10
    """Address ranges changed networks; the new table comes along, and the reason."""
    fwx_ncd_ChangeAdapterRoute = 11
    """The addresses that are routed through an adapter changed."""
    fwx_ncd_Startup = 12
    """What a new registration hears first; its handle comes along."""
    fwx_ncd_Shutdown = 13
    """The detection shuts down; the event has no details."""
    fwx_ncd_SyncConfig = 14
    """End of the events of one change; the snapshot that they lead to comes along."""


class FwxNcdRangesChangeReason(IntEnum):
    """Why address ranges changed networks, in ``FwxIpRangesToNetworkElementsNotification``. The meanings are inferred
    from the names.
    """

    fwx_ncd_ServiceStartup = 0
    """The service starts."""
    fwx_ncd_StorageChanged = 1
    """The stored configuration changed."""
    fwx_ncd_VpnConnection = 2
    """A VPN connection was made."""
    fwx_ncd_VpnDisconnection = 3
    """A VPN connection ended."""
    fwx_ncd_ServiceShutdown = 4
    """The service stops."""


class FwxNetworkRelation(IntEnum):
    """How the networks of a source and a destination are related (B7.6); answered by
    ``IFWXFirewall3.GetNetworkRelation``.
    """

    fwx_nrt_NoRelation = 0
    """No network rule joins the two networks."""
    fwx_nrt_SameNetwork = 1
    """Both addresses are in one network."""
    fwx_nrt_NAT = 2
    """Addresses of the source network are translated on the way to the destination."""
    fwx_nrt_ReverseNAT = 3
    """Translation is defined the other way, from the destination's network to the source's."""
    fwx_nrt_Route = 4
    """Packets are routed with their addresses as they are."""


fwx_Connect_Tcp: Final = FwxFirewallEventType.fwx_Connect_Tcp
fwx_Udp_Destination: Final = FwxFirewallEventType.fwx_Udp_Destination
fwx_Bind_Tcp: Final = FwxFirewallEventType.fwx_Bind_Tcp
fwx_Bind_Udp: Final = FwxFirewallEventType.fwx_Bind_Udp
fwx_Listen: Final = FwxFirewallEventType.fwx_Listen
fwx_AcceptedConnection: Final = FwxFirewallEventType.fwx_AcceptedConnection
fwx_GetHostByName: Final = FwxFirewallEventType.fwx_GetHostByName
fwx_GetHostByAddr: Final = FwxFirewallEventType.fwx_GetHostByAddr
fwx_ConnectionTerminating: Final = FwxFirewallEventType.fwx_ConnectionTerminating
fwx_EstablishedConnection: Final = FwxFirewallEventType.fwx_EstablishedConnection
fwx_NatPtConnection: Final = FwxFirewallEventType.fwx_NatPtConnection
fwxSendTimeout: Final = FwxTimeoutType.fwxSendTimeout
fwxRecvTimeout: Final = FwxTimeoutType.fwxRecvTimeout
fwxAcceptTimeout: Final = FwxTimeoutType.fwxAcceptTimeout
fwxAcceptExTimeout: Final = FwxTimeoutType.fwxAcceptExTimeout
fwxAcceptExRecvTimeout: Final = FwxTimeoutType.fwxAcceptExRecvTimeout
fwxConnectExSendTimeout: Final = FwxTimeoutType.fwxConnectExSendTimeout
fwxServerSide: Final = FwxSslSocketSide.fwxServerSide
fwxClientSide: Final = FwxSslSocketSide.fwxClientSide
fwxSourceWSP: Final = FwxFirewallEventSource.fwxSourceWSP
fwxSourceNAT: Final = FwxFirewallEventSource.fwxSourceNAT
fwxAnyProtocol: Final = FwxFirewallEventProtocolSource.fwxAnyProtocol
fwxAssociatedProtocolsAllConnections: Final = FwxFirewallEventProtocolSource.fwxAssociatedProtocolsAllConnections
FWX_ALLOW: Final = FwxFilterAccess.FWX_ALLOW
FWX_DENY: Final = FwxFilterAccess.FWX_DENY
FWX_PASS: Final = FwxFilterAccess.FWX_PASS
FWX_EMULATE: Final = FwxFilterAccess.FWX_EMULATE
FWX_INTERNAL1: Final = FwxFilterAccess.FWX_INTERNAL1
FWX_INTERNAL2: Final = FwxFilterAccess.FWX_INTERNAL2
fwx_dfpc_NAT: Final = FwxDataFilterPriorityClass.fwx_dfpc_NAT
fwx_dfpc_Internal: Final = FwxDataFilterPriorityClass.fwx_dfpc_Internal
fwx_dfpc_PostTrust: Final = FwxDataFilterPriorityClass.fwx_dfpc_PostTrust
fwx_dfpc_Middle: Final = FwxDataFilterPriorityClass.fwx_dfpc_Middle
fwx_dfpc_PreTrust: Final = FwxDataFilterPriorityClass.fwx_dfpc_PreTrust
fwx_dfpc_External: Final = FwxDataFilterPriorityClass.fwx_dfpc_External
fwx_dfpc_Emulation: Final = FwxDataFilterPriorityClass.fwx_dfpc_Emulation
fwx_ApplyInbound: Final = FwxPFOptions.fwx_ApplyInbound
fwx_ApplyOutbound: Final = FwxPFOptions.fwx_ApplyOutbound
fwx_ncd_AddNetworkElement: Final = FwxNcdEventType.fwx_ncd_AddNetworkElement
fwx_ncd_RemoveNetworkElement: Final = FwxNcdEventType.fwx_ncd_RemoveNetworkElement
fwx_ncd_AddNetworkAdapter: Final = FwxNcdEventType.fwx_ncd_AddNetworkAdapter
fwx_ncd_RemoveNetworkAdapter: Final = FwxNcdEventType.fwx_ncd_RemoveNetworkAdapter
fwx_ncd_AddNetworkAddress: Final = FwxNcdEventType.fwx_ncd_AddNetworkAddress
fwx_ncd_RemoveNetworkAddress: Final = FwxNcdEventType.fwx_ncd_RemoveNetworkAddress
fwx_ncd_AddNetworkSet: Final = FwxNcdEventType.fwx_ncd_AddNetworkSet
fwx_ncd_RemoveNetworkSet: Final = FwxNcdEventType.fwx_ncd_RemoveNetworkSet
fwx_ncd_AddNetworkElementToSet: Final = FwxNcdEventType.fwx_ncd_AddNetworkElementToSet
fwx_ncd_RemoveNetworkElementFromSet: Final = FwxNcdEventType.fwx_ncd_RemoveNetworkElementFromSet
fwx_ncd_ChangeIpRange: Final = FwxNcdEventType.fwx_ncd_ChangeIpRange
fwx_ncd_ChangeAdapterRoute: Final = FwxNcdEventType.fwx_ncd_ChangeAdapterRoute
fwx_ncd_Startup: Final = FwxNcdEventType.fwx_ncd_Startup
fwx_ncd_Shutdown: Final = FwxNcdEventType.fwx_ncd_Shutdown
fwx_ncd_SyncConfig: Final = FwxNcdEventType.fwx_ncd_SyncConfig
fwx_ncd_ServiceStartup: Final = FwxNcdRangesChangeReason.fwx_ncd_ServiceStartup
fwx_ncd_StorageChanged: Final = FwxNcdRangesChangeReason.fwx_ncd_StorageChanged
fwx_ncd_VpnConnection: Final = FwxNcdRangesChangeReason.fwx_ncd_VpnConnection
fwx_ncd_VpnDisconnection: Final = FwxNcdRangesChangeReason.fwx_ncd_VpnDisconnection
fwx_ncd_ServiceShutdown: Final = FwxNcdRangesChangeReason.fwx_ncd_ServiceShutdown
fwx_nrt_NoRelation: Final = FwxNetworkRelation.fwx_nrt_NoRelation
fwx_nrt_SameNetwork: Final = FwxNetworkRelation.fwx_nrt_SameNetwork
fwx_nrt_NAT: Final = FwxNetworkRelation.fwx_nrt_NAT
fwx_nrt_ReverseNAT: Final = FwxNetworkRelation.fwx_nrt_ReverseNAT
fwx_nrt_Route: Final = FwxNetworkRelation.fwx_nrt_Route
