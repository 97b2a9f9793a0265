"""A filter that puts what servers send into upper case, written as coroutines."""

from fwx import sdk


class Shouting(sdk.AsyncDataFilter):
    async def run(
        self, internal: sdk.AsyncSocket, external: sdk.AsyncSocket, connection: object, context: object
    ) -> None:
        await sdk.together(sdk.pump(internal, external), self.shout(external, internal))

    async def shout(self, source: sdk.AsyncSocket, sink: sdk.AsyncSocket) -> None:
        async for buffer in source:
            await sink.send(bytes(buffer.GetBufferAndSize()).upper())
        sink.shutdown()


@sdk.implementer(sdk.IFWXSessionFilter)
class ShoutSession(sdk.Unknown):
    def FirewallEventHandler(self, pProxyEvent: sdk.FwxFirewallEvent) -> None:
        pProxyEvent.Parameters.Connect.piConnection.AttachDataFilter(Shouting(), sdk.fwx_dfpc_Middle, None)

    def Detach(self) -> None:
        """Nothing to give back."""


@sdk.implementer(sdk.IFWXFilter)
class Shout(sdk.Unknown):
    def FilterInit(self, pIFWXFirewall: sdk.IFWXFirewall) -> sdk.FwxFilterHookEvents:
        return sdk.FwxFilterHookEvents(sdk.fwx_Connect_Tcp | sdk.FWX_ALL_SOURCES)

    def AttachToSession(
        self, piSession: sdk.IFWXSession, pFilterHookEvents: sdk.FwxFilterHookEvents
    ) -> sdk.IFWXSessionFilter:
        return ShoutSession()

    def FilterShutdown(self) -> None:
        """Nothing to give back."""
