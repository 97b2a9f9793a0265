"""A filter that refuses connections to port 23, whatever the rules say."""

from __future__ import annotations

from fwx import sdk


@sdk.implementer(sdk.IFWXSessionFilter)
class TelnetSession(sdk.Unknown):
    def FirewallEventHandler(self, pProxyEvent: sdk.FwxFirewallEvent) -> None:
        connect = pProxyEvent.Parameters.Connect
        if connect.Address.port == 23:
            connect.piConnection.Deny(0)

    def Detach(self) -> None:
        """Nothing to give back."""


@sdk.implementer(sdk.IFWXFilter)
class RefuseTelnet(sdk.Unknown):
    def FilterInit(self, pIFWXFirewall: sdk.IFWXFirewall) -> sdk.FwxFilterHookEvents:
        return sdk.FwxFilterHookEvents(sdk.fwx_Connect_Tcp | sdk.FWX_ALL_SOURCES)

    def AttachToSession(
        self, piSession: sdk.IFWXSession, pFilterHookEvents: sdk.FwxFilterHookEvents
    ) -> sdk.IFWXSessionFilter:
        return TelnetSession()

    def FilterShutdown(self) -> None:
        """Nothing to give back."""
