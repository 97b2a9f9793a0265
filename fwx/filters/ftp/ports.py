"""The data ports of one control connection: opened through its session, one at a time, for the two ends alone."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from fwx import sdk

LOWEST_PORT = 1024
"""Ports below are those of other services (RFC 2577, 3)."""


class PortRefusedError(Exception):
    """A data port that is not opened. ``reply`` is what the client is told; ``str()`` is for the log.

    :ivar is_attack: whether somebody has tried to have a connection made to a third party.
    """

    def __init__(self, reply: str, words: str, *, is_attack: bool = False) -> None:
        self.reply = reply
        self.is_attack = is_attack
        super().__init__(words)


class DataPorts:
    """Opens the data port that client and server have agreed on; the one before is closed if nobody has used it."""

    def __init__(
        self,
        firewall: Any,
        asked: sdk.AskedConnection,
        *,
        published: bool = False,
        public_address: IPv4Address | None = None,
        low_ports: bool = False,
        corrects: bool = False,
    ) -> None:
        """*asked* is the control connection. The client of a *published* server knows the firewall's address alone, or
        *public_address*. *low_ports* allows those below 1024; *corrects* has a foreign address of the server replaced.
        """
        self._firewall = firewall
        self._known: sdk.AskedConnection | None = asked
        self._published = published
        self._public_address = public_address
        self._low_ports = low_ports
        self._corrects = corrects
        self._withdraw: Callable[[], None] | None = None

    def passive(self, host: str, port: int) -> sdk.SocketAddress:
        """The server waits at *port*, of *host* if it said so: open the way, and return where the client has to go.

        :raises PortRefusedError: another host than the server (RFC 2577), a low port, or the service refuses.
        """
        self.close()
        no_port = "425 Can't open data connection"
        try:
            server = self._control.server()
            self._check_host(host, server.host, no_port)
            self._check_port(port, no_port)
            return self._open_passive(server.with_port(port))
        except sdk.COMError as error:
            raise PortRefusedError(no_port, f"port {port} of the server: {error}") from error

    def active(self, client: sdk.SocketAddress) -> sdk.SocketAddress:
        """The client waits at *client*: have the server let through, and return what it has to be told.

        A client that has bound a port of the firewall by itself gets its server there; for all others one is bound
        (B6.20). Only the server may come (B6.32).

        :raises PortRefusedError: another host than the client (RFC 2577), a low port, or the service refuses.
        """
        self.close()
        self._check_port(client.port, "504 Port not allowed")
        try:
            return self._open_active(client)
        except sdk.COMError as error:
            raise PortRefusedError("425 Can't open data connection", f"a port for {client}: {error}") from error

    def close(self) -> None:
        """Close what has not been used; a data connection that is there goes on (B6.11)."""
        withdraw, self._withdraw = self._withdraw, None
        if withdraw is not None:
            try:
                withdraw()
            except sdk.COMError as error:
                if error.hresult != sdk.FWX_E_TERMINATING:  # used, or lapsed
                    raise

    def _open_passive(self, target: sdk.SocketAddress) -> sdk.SocketAddress:
        tcp, flags, asked, leaves_from = (
            sdk.FWX_PROTOCOL_TCP,
            sdk.FWX_FLAG_TIMEOUT,
            self._control,
            self._control.outside(),
        )
        if not self._published:
            action = asked.session.AllowFutureConnect(
                target, None, leaves_from, None, tcp, flags, asked.protocol, None, None, asked.connection
            )
            self._withdraw = action.Cancel
            return target
        reached, actions = asked.session.RedirectConnections(
            [target], None, None, leaves_from, None, tcp, flags, asked.protocol, None, None
        )
        self._withdraw = actions[0].Cancel
        return sdk.SocketAddress(str(self._public_address or reached.host), reached.port)

    def _open_active(self, client: sdk.SocketAddress) -> sdk.SocketAddress:
        asked, server, outside = self._control, self._control.server(), self._control.outside()
        if not isinstance(server.address, IPv4Address):
            # An IP filter cannot name an IPv6 address (B6.31), so everybody could come.
            raise PortRefusedError("522 Active mode is for IPv4 alone, use EPSV", f"a port for {server.host}")
        if client.host not in (asked.client.host, outside.host):
            words = f"the client, {asked.client.host}, names {client}"
            raise PortRefusedError("504 Address not allowed", words, is_attack=True)
        only_server = self._firewall.CreateIpFilter()
        only_server.IncludeRange(server.address, server.address)
        if self._has_bound(client, only_server):
            return outside.with_port(client.port)
        tcp, flags = sdk.FWX_PROTOCOL_TCP, sdk.FWX_FLAG_TIMEOUT
        bound, connections = asked.session.BindForClient(
            [client], None, outside, None, tcp, None, flags, 1, asked.protocol, None, None, only_server
        )
        self._withdraw = connections[0].Kill
        return bound

    def detach(self) -> None:
        """The control connection has ended: close, and let go of it."""
        self.close()
        self._known = self._firewall = None

    def _has_bound(self, client: sdk.SocketAddress, only_server: Any) -> bool:
        asked = self._control
        if asked.protocol == sdk.GUID_NULL:
            return False
        try:
            asked.session.RetroactiveAllowBind(sdk.FWX_PROTOCOL_TCP, client, None, asked.protocol, 0, only_server)
        except sdk.COMError:
            return False
        return True

    @property
    def _control(self) -> sdk.AskedConnection:
        """:raises COMError: ``FWX_E_TERMINATING`` it has ended."""
        if self._known is None:
            raise sdk.COMError(sdk.FWX_E_TERMINATING, "the control connection has ended")
        return self._known

    def _check_host(self, host: str, server: str, reply: str) -> None:
        if host and host != server and not self._corrects:
            raise PortRefusedError(reply, f"the server, {server}, names {host}", is_attack=True)

    def _check_port(self, port: int, reply: str) -> None:
        if port < LOWEST_PORT and not self._low_ports:
            raise PortRefusedError(reply, f"port {port} is below {LOWEST_PORT}", is_attack=True)
