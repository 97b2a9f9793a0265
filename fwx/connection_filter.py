"""A filter to start from: one that puts a data filter into each connection that it sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from zope.interface import implementer

from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    E_NOTIMPL,
    FWX_ALL_SOURCES,
    FWX_E_TERMINATING,
    HRESULT,
    S_OK,
    FwxDataFilterPriorityClass,
    FwxFilterHookEvents,
    FwxFirewallEvent,
    IFWXConnection,
    IFWXDataFilter,
    IFWXFilter,
    IFWXFirewall,
    IFWXPerRuleDataplugin,
    IFWXSession,
    IFWXSessionFilter,
    SocketAddress,
    fwx_AcceptedConnection,
    fwx_Connect_Tcp,
    fwx_dfpc_Middle,
    fwx_Udp_Destination,
)


@dataclass(frozen=True, slots=True)
class AskedConnection:
    """A connection that a :class:`ConnectionFilter` may put a data filter into.

    :ivar target: where the client wants to go, or which address it has reached. :ivar client: the session's address.
    :ivar transport: ``"tcp"``, or ``"udp"`` for one destination of a UDP socket. :ivar protocol: the GUID of the
        protocol definition that it fits, ``GUID_NULL`` where there is none. :ivar rule_data: what the filter's own
        ``PrepareRulesData`` made of the rule that allowed it (B7.13), ``None`` without.
    """

    session: IFWXSession
    connection: IFWXConnection
    target: SocketAddress
    client: SocketAddress
    transport: str
    protocol: UUID
    rule_data: IFWXPerRuleDataplugin | None = None

    def server(self) -> SocketAddress:
        """Return where the connection leads to; behind an upstream it is what the client has asked for.

        :raises COMError: as ``IFWXConnection.GetExternalPeerName``; it has not been made yet, or is terminating.
        """
        peer: SocketAddress = self.connection.GetExternalPeerName() if self.target.address is None else self.target
        return peer

    def outside(self) -> SocketAddress:
        """Return the firewall's address on the way to the server, port 0: where a secondary connection leaves from.

        :raises COMError: as ``IFWXConnection.GetExternalSocketName``.
        """
        own: SocketAddress = self.connection.GetExternalSocketName()
        return own.with_port(0)


@implementer(IFWXFilter)
class ConnectionFilter(Unknown):
    """A filter to derive from: override :meth:`data_filter`, which is asked at each connection.

    :cvar events: what it wants to see; add ``fwx_Udp_Destination`` for datagrams. :cvar priority: its place in chains.
    :ivar firewall: what ``FilterInit`` was given, up to ``FilterShutdown``.
    """

    events: int = fwx_Connect_Tcp | fwx_AcceptedConnection
    priority: FwxDataFilterPriorityClass = fwx_dfpc_Middle
    firewall: IFWXFirewall | None = None

    def data_filter(self, asked: AskedConnection) -> IFWXDataFilter | None:
        """Return a new data filter for the connection, or ``None`` to leave it alone. What it raises denies (B2.7)."""
        raise NotImplementedError

    def started(self, firewall: IFWXFirewall) -> None:
        """The service starts; called from FilterInit. Events are defined here."""

    def ended(self) -> None:
        """The service stops; called from FilterShutdown."""

    def FilterInit(self, pIFWXFirewall: IFWXFirewall) -> FwxFilterHookEvents:
        self.firewall = pIFWXFirewall
        self.started(pIFWXFirewall)
        return FwxFilterHookEvents(self.events | FWX_ALL_SOURCES)

    def AttachToSession(self, piSession: IFWXSession, pFilterHookEvents: FwxFilterHookEvents) -> IFWXSessionFilter:
        return ConnectionSession(self, piSession)

    def FilterShutdown(self) -> None:
        self.ended()
        self.firewall = None


@implementer(IFWXSessionFilter)
class ConnectionSession(Unknown):
    """Asks the filter about each connection of one session."""

    def __init__(self, owner: ConnectionFilter, session: IFWXSession) -> None:
        self._owner: ConnectionFilter | None = owner
        self._session: IFWXSession | None = session

    def FirewallEventHandler(self, pProxyEvent: FwxFirewallEvent) -> HRESULT:
        owner, session = self._owner, self._session
        if owner is None or session is None:
            return FWX_E_TERMINATING
        place = _place_of(pProxyEvent)
        if place is None:
            return E_NOTIMPL
        connection, target, transport, details = place
        asked = AskedConnection(
            session,
            connection,
            target,
            session.GetClientAddress(),
            transport,
            details.ProtocolGuid,
            details.PerRuleProcessedData,
        )
        data_filter = owner.data_filter(asked)
        if data_filter is not None:
            connection.AttachDataFilter(data_filter, owner.priority, None)
        return S_OK

    def Detach(self) -> None:
        self._owner = self._session = None


def _place_of(event: FwxFirewallEvent) -> tuple[Any, SocketAddress, str, Any] | None:
    parameters: Any = event.Parameters
    if event.EventType == fwx_Connect_Tcp:
        details = parameters.Connect
        return details.piConnection, details.Address, "tcp", details
    if event.EventType == fwx_AcceptedConnection:
        details = parameters.Accept
        return details.piConnectionAccepted, details.LocalAddress, "tcp", details
    if event.EventType == fwx_Udp_Destination:
        details = parameters.UdpDest
        return details.piConnection, details.Address, "udp", details
    return None
