"""The filters of benchmarks/sockets.py, loaded by ``fwx serve``: each serves a port with network sockets of its own.

They see no connection of the service, and say on standard error where they listen.
"""

# The methods of a filter are spelled as the SDK spells them.
# ruff: noqa: N802, N803, ARG002

from __future__ import annotations

import sys
from typing import Any

from fwx import sdk

# Posted at a time: one that waits alone has the listening socket looked after again for each connection.
ACCEPTS = 64
# Posted at a time for the clients of the datagram relay, all together.
RECVS = 64
BACKLOG = 4096
_ANY_PORT = sdk.SocketAddress("127.0.0.1", 0)
_RECEIVED, _SENT = "received", "sent"


class ServingOptions(sdk.FilterOptions):
    """Where the filter connects to: a port of 127.0.0.1; and for TLS what it shows, in PEM files."""

    target: int = 0
    certificate: str = ""


class Serving(sdk.Unknown):
    """What the filters have in common: a bound socket of *protocol*, and no interest in the service's connections."""

    Options = ServingOptions
    protocol = sdk.FWX_PROTOCOL_TCP

    def __init__(self, options: ServingOptions) -> None:
        self.options = options
        self.target = sdk.SocketAddress("127.0.0.1", options.target)
        self.firewall: Any = None
        self.socket: Any = None

    def FilterInit(self, pIFWXFirewall: sdk.IFWXFirewall) -> sdk.FwxFilterHookEvents:
        self.firewall = pIFWXFirewall
        self.socket = pIFWXFirewall.CreateNetworkSocket(self.protocol)
        self.socket.Bind(_ANY_PORT, None, None)
        self.serve()
        print("the filter serves", self.socket.GetSockName(), file=sys.stderr, flush=True)
        return sdk.FwxFilterHookEvents(0)

    def serve(self) -> None:
        """Begin to use the bound socket."""
        raise NotImplementedError

    def AttachToSession(
        self, piSession: sdk.IFWXSession, pFilterHookEvents: sdk.FwxFilterHookEvents
    ) -> sdk.IFWXSessionFilter:
        raise sdk.COMError(sdk.E_NOTIMPL, "no events were asked for")

    def FilterShutdown(self) -> None:
        """The service closes the sockets."""


@sdk.implementer(sdk.IFWXAcceptCompletion)
class Accepting(Serving):
    """Accepts; :meth:`accepted` gets each connection."""

    def serve(self) -> None:
        self.socket.Listen(BACKLOG)
        for _ in range(ACCEPTS):
            self.socket.Accept(self, None)

    def accepted(self, client: sdk.IFWXNetworkSocket) -> None:
        raise NotImplementedError

    def CompleteAsyncAccept(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pListeningSocket: sdk.IFWXNetworkSocket,
        pAcceptedSocket: sdk.IFWXNetworkSocket | None,
        RemoteAddress: sdk.SocketAddress,
        RemoteAddressLength: int,
        LocalAddress: sdk.SocketAddress,
        LocalAddressLength: int,
        UserData: object,
    ) -> None:
        if Win32ErrorCode == sdk.ERROR_OPERATION_ABORTED:
            return
        self.socket.Accept(self, None)
        if pAcceptedSocket is not None:
            self.accepted(pAcceptedSocket)


@sdk.implementer(sdk.IFWXFilter)
class Door(Accepting):
    """Ends every connection at once."""

    def accepted(self, client: sdk.IFWXNetworkSocket) -> None:
        client.Close(False)


@sdk.implementer(sdk.IFWXIOCompletion)
class EchoConnection(sdk.Unknown):
    """Sends back what comes, one buffer at a time."""

    def __init__(self, socket: sdk.IFWXNetworkSocket) -> None:
        self._socket = socket
        socket.Recv(None, self, _RECEIVED)

    def CompleteAsyncIO(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pIOBuffer: sdk.IFWXIOBuffer | None,
        UserData: object,
        ExternalAddress: sdk.SocketAddress | None,
        ExternalAddressLength: int,
    ) -> None:
        if not fSuccess:
            self._socket.Close(True)
        elif UserData is _SENT:
            self._socket.Recv(None, self, _RECEIVED)
        elif pIOBuffer is not None and pIOBuffer.GetBufferSizes()[1]:
            self._socket.Send(pIOBuffer, self, _SENT)
        else:
            self._socket.Close(False)


@sdk.implementer(sdk.IFWXFilter)
class Echo(Accepting):
    """Sends back what comes on every connection."""

    def accepted(self, client: sdk.IFWXNetworkSocket) -> None:
        EchoConnection(client)


@sdk.implementer(sdk.IFWXFilter)
class Pump(Accepting):
    """Connects every client to the target."""

    def accepted(self, client: sdk.IFWXNetworkSocket) -> None:
        target = self.firewall.CreateNetworkSocket(sdk.FWX_PROTOCOL_TCP)
        target.Connect(self.target)
        sdk.DataPump().SetSockets(client, target, None, None)


@sdk.implementer(sdk.IFWXFilter)
class TlsPump(Accepting):
    """Connects every client, which speaks TLS, to the target, which does not."""

    def __init__(self, options: ServingOptions) -> None:
        super().__init__(options)
        self._credentials = sdk.TlsCredentials(certificate=options.certificate)

    def accepted(self, client: sdk.IFWXNetworkSocket) -> None:
        asks, name, length, default, no_timeout, tunnels = False, None, None, None, 0, False
        secure = self.firewall.QueryInterface(sdk.IFWXFirewall2).CreateSSLNetworkSocket(
            asks,
            name,
            length,
            self._credentials,
            default,
            sdk.fwxClientSide,
            sdk.GUID_NULL,
            no_timeout,
            no_timeout,
            tunnels,
            client,
        )
        target = self.firewall.CreateNetworkSocket(sdk.FWX_PROTOCOL_TCP)
        target.Connect(self.target)
        sdk.DataPump().SetSockets(secure, target, None, None)


@sdk.implementer(sdk.IFWXFilter, sdk.IFWXIOCompletion)
class DatagramRelay(Serving):
    """Exchanges the datagrams of every client with the target, on a socket for each client."""

    protocol = sdk.FWX_PROTOCOL_UDP

    def __init__(self, options: ServingOptions) -> None:
        super().__init__(options)
        self._outward: dict[sdk.SocketAddress, Any] = {}

    def serve(self) -> None:
        for _ in range(RECVS):
            self.socket.Recv(None, self, None)

    def CompleteAsyncIO(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pIOBuffer: sdk.IFWXIOBuffer | None,
        UserData: Any,
        ExternalAddress: sdk.SocketAddress | None,
        ExternalAddressLength: int,
    ) -> None:
        if Win32ErrorCode == sdk.ERROR_OPERATION_ABORTED:
            return
        client = UserData
        if client is None:
            self.socket.Recv(None, self, None)
            if fSuccess and ExternalAddress is not None:
                (self._outward.get(ExternalAddress) or self._open(ExternalAddress)).Send(pIOBuffer, None, None)
        else:
            self._outward[client].Recv(None, self, client)
            if fSuccess:
                self.socket.SendTo(pIOBuffer, client, None, None, None)

    def _open(self, client: sdk.SocketAddress) -> Any:
        outward = self._outward[client] = self.firewall.CreateNetworkSocket(sdk.FWX_PROTOCOL_UDP)
        outward.Connect(self.target)
        outward.Recv(None, self, client)
        return outward
