"""The data ports of one control connection: each has a data filter set for it before anybody hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from fwx import sdk
from fwx.filters.exe_block.port import DataPort
from fwx.filters.ftp.ports import LOWEST_PORT, PortRefusedError

UNUSED_SECONDS = 60.0
"""So long a port is watched that a transfer was asked for over when its control connection ended."""
_NO_PORT = "425 Can't open data connection"


@sdk.implementer(sdk.IClassFactory)
class ScannerFactory(sdk.Unknown):
    """Makes the data filter of each connection to one data port (B1.28)."""

    def __init__(self, make: Callable[[], sdk.IFWXDataFilter]) -> None:
        self._make = make

    def CreateInstance(self, pUnkOuter: Any, riid: Any) -> Any:
        return self._make()

    def LockServer(self, fLock: bool) -> None:
        """Nothing depends on it."""


class WatchedPorts:
    """Watches the data port that client and server have agreed on last (:class:`fwx.filters.ftp.dialogue.Ports`).

    It opens none: the rules do, or the filter ``ftp``. A data filter is asked for by the port alone (B2.40), because
    an IPv6 address cannot be said there, and a client need not believe the host in a reply 227; and for all sessions of
    the client's address (B2.42), for the data connection may be made as somebody else.

    :ivar current: that port, ``None`` where there is none.
    """

    def __init__(self, asked: sdk.AskedConnection, make: Callable[[DataPort], sdk.IFWXDataFilter]) -> None:
        """*asked* is the control connection; *make* makes a data filter for a connection to the port."""
        self.current: DataPort | None = None
        self._known: sdk.AskedConnection | None = asked
        self._make = make
        self._stop: Callable[[], None] | None = None

    def passive(self, host: str, port: int) -> sdk.SocketAddress:
        """The server waits at *port*, of *host* if it said so; that is where the client has to go.

        :raises PortRefusedError: a port below 1024: whatever the client fetches there of others in the same way, by an
            upstream or from the *host* that the server names, would be held; or its connections cannot be watched.
        """
        self.close()
        if port < LOWEST_PORT:
            raise PortRefusedError(_NO_PORT, f"port {port} of the server is below {LOWEST_PORT}", is_attack=True)
        record: Any = sdk.IRecorded
        try:
            connection = self._control.connection
            server = connection.GetExternalPeerName().host
            # Only the upstream knows what an address of the server is.
            hosts = set() if record(connection).upstream else {server, host} - {""}
            self._watch(sdk.fwx_Connect_Tcp, port, DataPort(hosts))
        except sdk.COMError as error:
            raise PortRefusedError(_NO_PORT, f"port {port} of the server cannot be watched: {error}") from error
        return sdk.SocketAddress(host or server, port)

    def active(self, client: sdk.SocketAddress) -> sdk.SocketAddress:
        """The server is told of *client*, a port of the firewall that leads to the client.

        :raises PortRefusedError: it is no port of the firewall, whose connections alone are those of the session; or
            they cannot be watched.
        """
        self.close()
        try:
            outside = self._control.connection.GetExternalSocketName().host
            if client.host != outside:
                words = f"{client} is no port of the firewall, {outside}, and cannot be watched"
                raise PortRefusedError("504 Address not allowed", words)
            self._watch(sdk.fwx_AcceptedConnection, client.port, DataPort())
        except sdk.COMError as error:
            raise PortRefusedError(_NO_PORT, f"{client} cannot be watched: {error}") from error
        return client

    def close(self) -> None:
        """Watch for no more connections; what is there goes on."""
        self.current = None
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()

    def detach(self, *, under_way: bool) -> None:
        """The control connection has ended: let go of it. A transfer that is *under way* may still begin."""
        known, self._known = self._known, None
        self.current = None
        stop, self._stop = self._stop, None
        if stop is None:
            return
        if under_way and known is not None:
            sdk.spawn(known.session, _later(stop), name="exe-block")
        else:
            stop()

    def _watch(self, event: sdk.FwxFirewallEventType, port: int, data_port: DataPort) -> None:
        action = self._control.session.SetDataFilterFactory(
            event,
            sdk.SocketAddress("0.0.0.0", port),  # noqa: S104  INADDR_ANY
            None,
            ScannerFactory(partial(self._make, data_port)),
            sdk.fwx_dfpc_Middle,
            None,
            sdk.FWX_FLAG_ADDRESS_BASED,
        )
        self.current, self._stop = data_port, partial(_cancel, action)

    @property
    def _control(self) -> sdk.AskedConnection:
        """:raises COMError: ``FWX_E_TERMINATING`` it has ended."""
        if self._known is None:
            raise sdk.COMError(sdk.FWX_E_TERMINATING, "the control connection has ended")
        return self._known


async def _later(stop: Callable[[], None]) -> None:
    await asyncio.sleep(UNUSED_SECONDS)
    stop()


def _cancel(action: Any) -> None:
    try:
        action.Cancel()
    except sdk.COMError as error:
        if error.hresult != sdk.FWX_E_TERMINATING:  # the session has ended
            raise
