"""The two sockets of the collector: one that serves the report, and one per session that sends lines."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fwx import sdk

logger = logging.getLogger("fwx.collector")

_BACKLOG = 16


@sdk.implementer(sdk.IFWXAcceptCompletion)
class ReportPort(sdk.Unknown):
    """Listens on a socket of the firewall and gives the report to whoever connects."""

    def __init__(
        self,
        firewall: sdk.IFWXFirewall,
        socket: sdk.IFWXNetworkSocket,
        address: sdk.SocketAddress,
        report: Callable[[], str],
    ) -> None:
        """Open the port; *report* makes the text.

        :raises COMError: the address cannot be bound.
        """
        self._firewall = firewall
        self._report = report
        socket.Bind(address, None, None)
        socket.Listen(_BACKLOG)
        self.address = socket.GetSockName()
        self._socket: sdk.IFWXNetworkSocket | None = socket
        socket.Accept(self, None)

    def CompleteAsyncAccept(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pListeningSocket: sdk.IFWXNetworkSocket,
        pAcceptSocket: sdk.IFWXNetworkSocket | None,
        RemoteAddress: sdk.SocketAddress,
        RemoteAddressLength: int,
        LocalAddress: sdk.SocketAddress,
        LocalAddressLength: int,
        UserData: object,
    ) -> None:
        if pAcceptSocket is not None:
            pAcceptSocket.Send(self._firewall.CreateConstBuffer(self._report().encode()), None, None)
            pAcceptSocket.Close(False)
        elif self._socket is not None:
            logger.error("no more reports on %s: accepting failed with error %d", self.address, Win32ErrorCode)
            self.close()
        if self._socket is not None:
            self._socket.Accept(self, None)

    def close(self) -> None:
        """Give the port back; closing again does nothing."""
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.Close(False)


@sdk.implementer(sdk.IFWXIOCompletion)
class LineSender(sdk.Unknown):
    """Sends lines to one address over a socket of a session. After the first trouble it says so and sends no more."""

    def __init__(
        self, firewall: sdk.IFWXFirewall, socket: sdk.IFWXNetworkSocket, address: sdk.SocketAddress, client: str
    ) -> None:
        """Start to connect; lines sent meanwhile wait for it. *client* names the session when something goes wrong."""
        self._firewall = firewall
        self._address = address
        self._client = client
        self._socket: sdk.IFWXNetworkSocket | None = socket
        try:
            socket.Connect(address)
            # Nobody is expected to answer: this learns of a peer that refuses or leaves.
            socket.Recv(None, self, None)
        except sdk.COMError as error:
            self._give_up(str(error))

    def send(self, line: str) -> None:
        """Send *line*, unless the peer is gone."""
        if self._socket is None:
            return
        try:
            self._socket.Send(self._firewall.CreateConstBuffer(f"{line}\n".encode()), None, None)
        except sdk.COMError as error:
            self._give_up(str(error))

    def close(self) -> None:
        """End the connection behind the lines that were sent; closing again does nothing."""
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.Close(False)

    def CompleteAsyncIO(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pIOBuffer: sdk.IFWXIOBuffer | None,
        UserData: object,
        ExternalAddress: sdk.SocketAddress | None,
        ExternalAddressLength: int,
    ) -> None:
        if self._socket is None:
            return
        if pIOBuffer is None or not fSuccess:
            self._give_up(f"error {Win32ErrorCode}")
        elif not pIOBuffer.GetBufferSizes()[1]:
            self._give_up("it closed the connection")
        else:
            self._socket.Recv(None, self, None)

    def _give_up(self, reason: str) -> None:
        logger.warning("no more lines to %s about client %s: %s", self._address, self._client, reason)
        self.close()
