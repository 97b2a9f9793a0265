"""The filter: counts what passes, session by session."""

from __future__ import annotations

import json
import logging
from typing import Any

from pydantic import field_validator

from fwx import sdk
from fwx_collector.sockets import LineSender, ReportPort

logger = logging.getLogger("fwx.collector")


class CollectorOptions(sdk.FilterOptions):
    """The options of ``collector``: where the report is served, and who gets a line for each connection."""

    listen: str = "127.0.0.1:0"
    report_to: str = ""

    @field_validator("listen")
    @classmethod
    def _is_literal(cls, text: str) -> str:
        if sdk.SocketAddress.parse(text).address is None:
            raise ValueError(f"{text!r} is no literal address with a port, such as 127.0.0.1:0")
        return text

    @field_validator("report_to")
    @classmethod
    def _is_address(cls, text: str) -> str:
        if text:
            sdk.SocketAddress.parse(text)
        return text


class CountedConnection(sdk.DataPump):
    """The data filter: passes everything on unchanged and counts it."""

    def __init__(self, target: sdk.SocketAddress) -> None:
        super().__init__()
        self.target = target
        self.to_server = 0
        self.to_client = 0

    def inspect(self, to_server: bool, buffer: sdk.IFWXIOBuffer) -> sdk.IFWXIOBuffer | None:
        size = buffer.GetBufferSizes()[1]
        if to_server:
            self.to_server += size
        else:
            self.to_client += size
        return buffer


@sdk.implementer(sdk.IFWXSessionFilter)
class CountedSession(sdk.Unknown):
    """The session filter: counts each connection, next to the server, and adds it up when it has ended."""

    def __init__(self, collector: Collector, client: str, sender: LineSender | None) -> None:
        self._collector: Collector | None = collector
        self._client = client
        self._sender = sender
        self._open: dict[Any, CountedConnection] = {}
        self._ended = 0
        self._to_server = 0
        self._to_client = 0

    def FirewallEventHandler(self, pProxyEvent: sdk.FwxFirewallEvent) -> sdk.HRESULT | None:
        parameters = pProxyEvent.Parameters
        match pProxyEvent.EventType:
            case sdk.fwx_Connect_Tcp:
                self._begin(parameters.Connect.piConnection, parameters.Connect.Address)
            case sdk.fwx_AcceptedConnection:
                self._begin(parameters.Accept.piConnectionAccepted, parameters.Accept.LocalAddress)
            case sdk.fwx_ConnectionTerminating:
                self._end(parameters.EndConnect.piConnection)
            case _:
                return sdk.E_NOTIMPL
        return sdk.S_OK

    def Detach(self) -> None:
        if self._sender is not None:
            self._sender.close()
        if self._collector is not None:
            collector, self._collector = self._collector, None
            collector.session_ended(self)

    def summary(self) -> str:
        """Return the session's line of the report."""
        to_server = self._to_server + sum(counted.to_server for counted in self._open.values())
        to_client = self._to_client + sum(counted.to_client for counted in self._open.values())
        return (
            f"client {self._client}: {len(self._open)} open, {self._ended} ended, "
            f"{to_server} bytes to servers, {to_client} bytes to clients"
        )

    def _begin(self, connection: Any, target: sdk.SocketAddress) -> None:
        counted = CountedConnection(target)
        connection.AttachDataFilter(counted, sdk.fwx_dfpc_External, None)
        self._open[connection] = counted

    def _end(self, connection: Any) -> None:
        counted = self._open.pop(connection, None)
        if counted is None:
            return
        self._ended += 1
        self._to_server += counted.to_server
        self._to_client += counted.to_client
        if self._sender is not None:
            line = {"client": self._client, "target": str(counted.target)}
            self._sender.send(json.dumps({**line, "to_server": counted.to_server, "to_client": counted.to_client}))


@sdk.implementer(sdk.IFWXFilter)
class Collector(sdk.Unknown):
    """The filter object. Its report has a line for each session there is."""

    Options = CollectorOptions

    def __init__(self, options: CollectorOptions) -> None:
        self._listen = sdk.SocketAddress.parse(options.listen)
        self._report_to = sdk.SocketAddress.parse(options.report_to) if options.report_to else None
        self._port: ReportPort | None = None
        # In the order in which they came.
        self._sessions: dict[CountedSession, None] = {}

    def FilterInit(self, pIFWXFirewall: sdk.IFWXFirewall) -> sdk.FwxFilterHookEvents:
        registry: Any = sdk.IComponentLookup(pIFWXFirewall)
        firewall = registry.getUtility(sdk.IFWXFirewall)
        socket = registry.getAdapter(firewall, sdk.IFWXNetworkSocket, name="tcp")
        self._port = ReportPort(firewall, socket, self._listen, self.report)
        logger.info("the collector's report is on %s", self._port.address)
        return sdk.FwxFilterHookEvents(sdk.fwx_Connect_Tcp | sdk.fwx_AcceptedConnection | sdk.FWX_ALL_SOURCES)

    def AttachToSession(
        self, piSession: sdk.IFWXSession, pFilterHookEvents: sdk.FwxFilterHookEvents
    ) -> sdk.IFWXSessionFilter:
        pFilterHookEvents.dwGlobalEvents |= sdk.fwx_ConnectionTerminating
        client = piSession.GetClientAddress().host
        session = CountedSession(self, client, self._sender_for(piSession, client))
        self._sessions[session] = None
        return session

    def FilterShutdown(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            port.close()

    def report(self) -> str:
        """Return the report; asked for by the port."""
        lines = [session.summary() for session in self._sessions]
        return "".join(f"{line}\n" for line in [f"{len(lines)} sessions", *lines])

    def session_ended(self, session: CountedSession) -> None:
        """*session* has been detached; called by itself."""
        del self._sessions[session]

    def _sender_for(self, session: sdk.IFWXSession, client: str) -> LineSender | None:
        if self._report_to is None:
            return None
        registry: Any = sdk.IComponentLookup(session)
        socket = registry.getAdapter(session, sdk.IFWXNetworkSocket, name="tcp")
        return LineSender(registry.getUtility(sdk.IFWXFirewall), socket, self._report_to, client)
