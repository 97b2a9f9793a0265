"""The filter, from the stream of bytes outwards: the text, the data filter, the session filter, the filter object."""

from __future__ import annotations

import codecs
from typing import Any, Literal

from fwx import sdk


class UpperCaseOptions(sdk.FilterOptions):
    """The options of ``upper-case``: whose data changes, and what is sent behind it at the end."""

    direction: Literal["to client", "to server", "both"] = "to client"
    append: str = ""

    def changes(self, to_server: bool) -> bool:
        """Tell whether the data of a direction changes."""
        return self.direction in ("both", "to server" if to_server else "to client")


class UpperCaseText:
    """UTF-8 text in upper case, whatever pieces it comes in. What is no UTF-8 stays as it is."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        # The first bytes of a letter whose last bytes have not come yet.
        self._rest = b""

    def feed(self, data: bytes | memoryview, *, final: bool = False) -> bytes:
        """Return what can be said after *data*; with *final* that is everything."""
        block = self._rest + data
        if block.isascii():
            self._rest = b""
            return block.upper()
        text, used = codecs.utf_8_decode(block, "surrogateescape", final)
        self._rest = block[used:]
        return text.upper().encode("utf-8", "surrogateescape")


class UpperCasedConnection(sdk.DataPump):
    """The data filter: passes on new buffers in place of those it received."""

    def __init__(self, firewall: sdk.IFWXFirewall, options: UpperCaseOptions) -> None:
        super().__init__()
        self._firewall = firewall
        self._texts = {to_server: UpperCaseText() for to_server in (True, False) if options.changes(to_server)}
        self._append = options.append.encode()

    def inspect(self, to_server: bool, buffer: sdk.IFWXIOBuffer) -> sdk.IFWXIOBuffer | None:
        text = self._texts.get(to_server)
        if text is None:
            return buffer
        data = buffer.GetBufferAndSize()
        changed = text.feed(data) if len(data) else text.feed(b"", final=True) + self._append
        return self._firewall.CreateConstBuffer(changed) if changed else None


@sdk.implementer(sdk.IFWXSessionFilter)
class UpperCaseSession(sdk.Unknown):
    """The session filter: attaches a data filter to each connection, next to the client."""

    def __init__(self, firewall: sdk.IFWXFirewall, options: UpperCaseOptions) -> None:
        self._firewall = firewall
        self._options = options

    def FirewallEventHandler(self, pProxyEvent: sdk.FwxFirewallEvent) -> sdk.HRESULT | None:
        connection: Any
        match pProxyEvent.EventType:
            case sdk.fwx_Connect_Tcp:
                connection = pProxyEvent.Parameters.Connect.piConnection
            case sdk.fwx_AcceptedConnection:
                connection = pProxyEvent.Parameters.Accept.piConnectionAccepted
            case _:
                return sdk.E_NOTIMPL
        data_filter = UpperCasedConnection(self._firewall, self._options)
        connection.AttachDataFilter(data_filter, sdk.fwx_dfpc_Internal, None)
        return sdk.S_OK

    def Detach(self) -> None:
        """Nothing to give back."""


@sdk.implementer(sdk.IFWXFilter)
class UpperCase(sdk.Unknown):
    """The filter object."""

    Options = UpperCaseOptions

    def __init__(self, options: UpperCaseOptions) -> None:
        self._options = options
        self._firewall: sdk.IFWXFirewall | None = None

    def FilterInit(self, pIFWXFirewall: sdk.IFWXFirewall) -> sdk.FwxFilterHookEvents:
        self._firewall = pIFWXFirewall
        return sdk.FwxFilterHookEvents(sdk.fwx_Connect_Tcp | sdk.fwx_AcceptedConnection | sdk.FWX_ALL_SOURCES)

    def AttachToSession(
        self, piSession: sdk.IFWXSession, pFilterHookEvents: sdk.FwxFilterHookEvents
    ) -> sdk.IFWXSessionFilter:
        if self._firewall is None:
            raise sdk.COMError(sdk.FWX_E_TERMINATING, "the filter has been shut down")
        return UpperCaseSession(self._firewall, self._options)

    def FilterShutdown(self) -> None:
        self._firewall = None
