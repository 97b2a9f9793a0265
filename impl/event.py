"""The events of a connection, as session filters get them (behaviour topic 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fwx.interfaces.enums import (
    fwx_AcceptedConnection,
    fwx_Bind_Tcp,
    fwx_Bind_Udp,
    fwx_Connect_Tcp,
    fwx_ConnectionTerminating,
    fwx_EstablishedConnection,
    fwx_Listen,
    fwx_Udp_Destination,
)
from fwx.interfaces.structs import (
    FwxAcceptEvent,
    FwxBindEvent,
    FwxConnectEvent,
    FwxEndConnectionEvent,
    FwxEstablishedConnectionEvent,
    FwxFirewallEvent,
    FwxFirewallEventParameters,
    FwxListenEvent,
    FwxUdpDestination,
)

CARRY_RULE_DATA: Final = fwx_Connect_Tcp | fwx_Udp_Destination | fwx_Bind_Tcp | fwx_Bind_Udp | fwx_AcceptedConnection
"""The types whose details have ``PerRuleProcessedData`` (B7.13)."""

if TYPE_CHECKING:
    from fwx.impl.acceptedconnection import FWXAcceptedConnection
    from fwx.impl.connection import FWXConnection
    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.listeningconnection import FWXListeningConnection
    from fwx.impl.policy import Verdict
    from fwx.interfaces import IFWXPerRuleDataplugin, IFWXUdpDestination, IUnknown, SocketAddress


def connect_event(connection: FWXConnection) -> FwxFirewallEvent:
    """Make ``fwx_Connect_Tcp`` for a connection that is not dialled yet (B2.12), with what the client named."""
    target = connection.target
    guid, secondary = connection.verdict.protocol_guid, connection.is_secondary
    details = FwxConnectEvent(target, target.length, connection, ProtocolGuid=guid, IsSecondary=secondary)
    return FwxFirewallEvent(
        fwx_Connect_Tcp, connection.session.source, FwxFirewallEventParameters.of(fwx_Connect_Tcp, details)
    )


def with_rule_data(event: FwxFirewallEvent, data: IFWXPerRuleDataplugin) -> FwxFirewallEvent:
    """Put a filter's own *data* of the rule that matched into *event*, which is one of :data:`CARRY_RULE_DATA` and is
    shown to that filter alone (B2.9); return it.
    """
    details: Any = event.Parameters.member
    details.PerRuleProcessedData = data
    return event


def terminating_event(connection: ConnectionBase) -> FwxFirewallEvent:
    """Make ``fwx_ConnectionTerminating`` (B2.29), upon which a filter drops the connection (B1.35)."""
    return FwxFirewallEvent(
        fwx_ConnectionTerminating,
        connection.session.source,
        FwxFirewallEventParameters.of(fwx_ConnectionTerminating, FwxEndConnectionEvent(connection)),
    )


def bind_tcp_event(connection: FWXListeningConnection, address: SocketAddress) -> FwxFirewallEvent:
    """Make ``fwx_Bind_Tcp`` for a client that waits for connections at *address* (B2.20)."""
    guid, secondary = connection.verdict.protocol_guid, connection.is_secondary
    details = FwxBindEvent(address, address.length, connection, ProtocolGuid=guid, IsSecondary=secondary)
    return FwxFirewallEvent(
        fwx_Bind_Tcp, connection.session.source, FwxFirewallEventParameters.of(fwx_Bind_Tcp, details)
    )


def listen_event(connection: FWXListeningConnection, address: SocketAddress) -> FwxFirewallEvent:
    """Make ``fwx_Listen`` for a client that is bound to *address* (B2.21)."""
    details = FwxListenEvent(address, address.length, connection, connection.verdict.protocol_guid)
    return FwxFirewallEvent(fwx_Listen, connection.session.source, FwxFirewallEventParameters.of(fwx_Listen, details))


def accepted_event(connection: FWXAcceptedConnection) -> FwxFirewallEvent:
    """Make ``fwx_AcceptedConnection`` for what has arrived and the client has not heard of yet (B2.23, B2.24)."""
    remote, local = connection.target, connection.local
    guid, secondary = connection.verdict.protocol_guid, connection.is_secondary
    details = FwxAcceptEvent(
        remote, remote.length, local, local.length, connection, ProtocolGuid=guid, IsSecondary=secondary
    )
    return FwxFirewallEvent(
        fwx_AcceptedConnection,
        connection.session.source,
        FwxFirewallEventParameters.of(fwx_AcceptedConnection, details),
    )


def bind_udp_event(connection: ConnectionBase, address: SocketAddress) -> FwxFirewallEvent:
    """Make ``fwx_Bind_Udp`` for a UDP socket of a client, bound to *address* (B2.20)."""
    guid, secondary = connection.verdict.protocol_guid, connection.is_secondary
    details = FwxBindEvent(address, address.length, connection, ProtocolGuid=guid, IsSecondary=secondary)
    return FwxFirewallEvent(
        fwx_Bind_Udp,
        connection.session.source,
        FwxFirewallEventParameters.of(fwx_Bind_Udp, details),
    )


def udp_destination_event(
    connection: ConnectionBase,
    target: SocketAddress,
    verdict: Verdict,
    destination: IFWXUdpDestination,
    secondary: bool,
) -> FwxFirewallEvent:
    """Make ``fwx_Udp_Destination`` for a *target* that the connection did not know (B2.15, B2.16).

    *secondary*: a filter has announced it (B2.11).
    """
    guid = verdict.protocol_guid
    details = FwxUdpDestination(
        target, target.length, connection, destination, ProtocolGuid=guid, IsSecondary=secondary
    )
    return FwxFirewallEvent(
        fwx_Udp_Destination,
        connection.session.source,
        FwxFirewallEventParameters.of(fwx_Udp_Destination, details),
    )


def established_event(
    connection: ConnectionBase, protocol: int, address: SocketAddress, context: IUnknown | None
) -> FwxFirewallEvent:
    """Make ``fwx_EstablishedConnection`` for a connection to *address* that was announced with *context* (B2.31)."""
    details = FwxEstablishedConnectionEvent(protocol, address, address.length, connection, context)
    return FwxFirewallEvent(
        fwx_EstablishedConnection,
        connection.session.source,
        FwxFirewallEventParameters.of(fwx_EstablishedConnection, details),
    )
