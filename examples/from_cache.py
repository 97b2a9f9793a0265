"""A filter that answers for cached.example itself: neither the name nor the server exists."""

from ipaddress import IPv4Address

from fwx import sdk

HERE = sdk.Hostent("cached.example", (), (IPv4Address("192.0.2.1"),))
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\nfrom the cache\n"


class Cache(sdk.AsyncDataFilter):
    async def run(
        self, internal: sdk.AsyncSocket, external: sdk.AsyncSocket, connection: object, context: object
    ) -> None:
        head = b""
        async for buffer in internal:
            head += bytes(buffer.GetBufferAndSize())
            if b"\r\n\r\n" in head:
                await internal.send(ANSWER)
                return


@sdk.implementer(sdk.IFWXSessionFilter)
class CacheSession(sdk.Unknown):
    def FirewallEventHandler(self, pProxyEvent: sdk.FwxFirewallEvent) -> None:
        if pProxyEvent.EventType == sdk.fwx_GetHostByName:
            look_up = pProxyEvent.Parameters.GetHostByName
            if look_up.fBeforeAction and look_up.Hostname == HERE.name:
                look_up.piGetXByY.SetResult(HERE)
        elif pProxyEvent.Parameters.Connect.Address.host == HERE.name:
            connection = pProxyEvent.Parameters.Connect.piConnection
            connection.EmulateForConnect(Cache(), None)
            connection.SetSocketName(sdk.SocketAddress(HERE.addresses[0]))

    def Detach(self) -> None:
        """Nothing to give back."""


@sdk.implementer(sdk.IFWXFilter)
class FromCache(sdk.Unknown):
    def FilterInit(self, pIFWXFirewall: sdk.IFWXFirewall) -> sdk.FwxFilterHookEvents:
        return sdk.FwxFilterHookEvents(sdk.fwx_GetHostByName | sdk.fwx_Connect_Tcp | sdk.fwxSourceWSP)

    def AttachToSession(
        self, piSession: sdk.IFWXSession, pFilterHookEvents: sdk.FwxFilterHookEvents
    ) -> sdk.IFWXSessionFilter:
        return CacheSession()

    def FilterShutdown(self) -> None:
        """Nothing to give back."""
