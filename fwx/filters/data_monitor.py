"""DataMonitor: watches the data of TCP connections and raises an alert when a byte pattern passes.

After the SDK's sample of that name (behaviour topic 12). The pattern is found wherever buffers happen to end.
"""

from __future__ import annotations

from typing import Any

from fwx import sdk


class DataMonitorOptions(sdk.FilterOptions):
    """The options of ``data-monitor``. An empty ``alert_on`` watches without looking for anything."""

    alert_on: str = ""


class PatternWatch:
    """Finds a byte pattern in one direction of a stream, also when it is split across buffers."""

    __slots__ = ("_keep", "_pattern", "_tail", "total")

    def __init__(self, pattern: bytes) -> None:
        self._pattern = pattern
        self._keep = max(len(pattern) - 1, 0)
        self._tail = b""
        self.total = 0

    def feed(self, data: memoryview) -> bool:
        """Take the next *data*; tell whether the pattern ends in it."""
        self.total += len(data)
        if not self._pattern:
            return False
        keep = self._keep
        # The seam is searched on a few bytes; the buffer itself is not copied behind the tail.
        found = bool(self._tail) and self._pattern in self._tail + bytes(data[:keep])
        if not found:
            found = bytes(data).find(self._pattern) >= 0 if data.obj.__class__ is not bytes else self._in_block(data)
        if keep:
            self._tail = bytes(data[-keep:]) if len(data) >= keep else (self._tail + bytes(data))[-keep:]
        return found

    def _in_block(self, data: memoryview) -> bool:
        block: Any = data.obj
        return bool(block.find(self._pattern) >= 0) if len(block) == len(data) else bytes(data).find(self._pattern) >= 0


class MonitoredConnection(sdk.DataPump):
    """The data filter: passes everything on unchanged and watches it."""

    def __init__(self, session: MonitoredSession, pattern: bytes, target: sdk.SocketAddress) -> None:
        super().__init__()
        self._session: MonitoredSession | None = session
        self._target = target
        self._watches = {True: PatternWatch(pattern), False: PatternWatch(pattern)}

    def inspect(self, to_server: bool, buffer: sdk.IFWXIOBuffer) -> sdk.IFWXIOBuffer | None:
        if self._watches[to_server].feed(buffer.GetBufferAndSize()) and self._session is not None:
            self._session.found(to_server, self._target)
        return buffer

    def ended(self) -> None:
        self._session = None


@sdk.implementer(sdk.IFWXSessionFilter)
class MonitoredSession(sdk.Unknown):
    """The session filter: attaches a data filter to each connection."""

    def __init__(self, monitor: DataMonitor, session: sdk.IFWXSession) -> None:
        self._monitor: DataMonitor | None = monitor
        self._client = session.GetClientAddress().host

    def FirewallEventHandler(self, pProxyEvent: sdk.FwxFirewallEvent) -> sdk.HRESULT | None:
        if self._monitor is None:
            return sdk.FWX_E_TERMINATING
        if pProxyEvent.EventType == sdk.fwx_Connect_Tcp:
            connect = pProxyEvent.Parameters.Connect
            connection, target = connect.piConnection, connect.Address
        elif pProxyEvent.EventType == sdk.fwx_AcceptedConnection:
            accept = pProxyEvent.Parameters.Accept
            connection, target = accept.piConnectionAccepted, accept.LocalAddress
        else:
            return sdk.E_NOTIMPL
        data_filter = MonitoredConnection(self, self._monitor.pattern, target)
        connection.AttachDataFilter(data_filter, sdk.fwx_dfpc_Middle, None)
        return sdk.S_OK

    def Detach(self) -> None:
        self._monitor = None

    def found(self, to_server: bool, target: sdk.SocketAddress) -> None:
        """The pattern passed on a connection of this session to *target*."""
        if self._monitor is not None:
            way = "to" if to_server else "from"
            self._monitor.report(
                f"client {self._client} {'sent' if to_server else 'got'} it {way} {target}", self._client
            )


@sdk.implementer(sdk.IFWXFilter)
class DataMonitor(sdk.Unknown):
    """The filter object."""

    Options = DataMonitorOptions
    EVENTS = ("Pattern found in data",)

    def __init__(self, options: DataMonitorOptions) -> None:
        self.pattern = options.alert_on.encode()
        self._event: sdk.EventDefinition | None = None

    def FilterInit(self, pIFWXFirewall: sdk.IFWXFirewall) -> sdk.FwxFilterHookEvents:
        self._event = sdk.define_event(pIFWXFirewall, "Pattern found in data", source="data-monitor")
        return sdk.FwxFilterHookEvents(sdk.fwx_Connect_Tcp | sdk.fwx_AcceptedConnection | sdk.FWX_ALL_SOURCES)

    def AttachToSession(
        self, piSession: sdk.IFWXSession, pFilterHookEvents: sdk.FwxFilterHookEvents
    ) -> sdk.IFWXSessionFilter:
        return MonitoredSession(self, piSession)

    def FilterShutdown(self) -> None:
        self._event = None

    def report(self, message: str, client: str) -> None:
        """Raise the alert; called by the sessions."""
        if self._event is not None:
            sdk.signal(self._event, f"{self.pattern!r}: {message}", key=client)
