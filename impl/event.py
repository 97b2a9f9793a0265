"""The events of a connection, as session filters get them (behaviour topic 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwx.interfaces.enums import fwx_Connect_Tcp, fwx_ConnectionTerminating
from fwx.interfaces.structs import (
    FwxConnectEvent,
    FwxEndConnectionEvent,
    FwxFirewallEvent,
    FwxFirewallEventParameters,
)

if TYPE_CHECKING:
    from fwx.impl.connection import FWXConnection
    from fwx.impl.connectionbase import ConnectionBase


def connect_event(connection: FWXConnection) -> FwxFirewallEvent:
    """Make ``fwx_Connect_Tcp`` for a connection that is not dialled yet (B2.12), with what the client named."""
    target = connection.target
    details = FwxConnectEvent(target, target.length, connection, ProtocolGuid=connection.verdict.protocol_guid)
    return FwxFirewallEvent(
        fwx_Connect_Tcp, connection.session.source, FwxFirewallEventParameters.of(fwx_Connect_Tcp, details)
    )


def terminating_event(connection: ConnectionBase) -> FwxFirewallEvent:
    """Make ``fwx_ConnectionTerminating`` (B2.29), upon which a filter drops the connection (B1.35)."""
    return FwxFirewallEvent(
        fwx_ConnectionTerminating,
        connection.session.source,
        FwxFirewallEventParameters.of(fwx_ConnectionTerminating, FwxEndConnectionEvent(connection)),
    )
