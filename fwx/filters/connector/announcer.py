"""What one primary connection has announced: through its session, for the two ends alone, bounded in number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from fwx import sdk
from fwx.filters.connector.signals import Place

Announced = tuple[sdk.SocketAddress, Callable[[], None] | None]
"""Where the other side has to go, and what withdraws it; ``None`` for what ends with the client's own bind."""
_TAKEN = frozenset(map(sdk.HRESULT_FROM_WIN32, (sdk.WSAEADDRINUSE, sdk.WSAEACCES)))
LOWEST_PORT = 1024
"""Ports below are those of other services."""


class RefusedError(Exception):
    """A secondary connection that is not announced; ``str()`` says why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be announced.

    :ivar most: so many stand at a time; a further one takes the place of the oldest. :ivar low_ports: below 1024 too.
    :ivar third_party: other hosts than the two ends too. :ivar published: the client knows the firewall's address, not
        the server's.
    """

    most: int = 8
    low_ports: bool = False
    third_party: bool = False
    published: bool = False


class Announcer:
    """Announces secondary connections; they are withdrawn with the primary one, unless they have been used."""

    def __init__(self, firewall: Any, asked: sdk.AskedConnection, limits: Limits) -> None:
        """*asked* is the primary connection; *firewall* is what ``FilterInit`` got."""
        self._firewall = firewall
        self._known: sdk.AskedConnection | None = asked
        self._limits = limits
        # What withdraws each, the oldest first.
        self._standing: dict[Place, Callable[[], None]] = {}

    def announce(self, place: Place) -> sdk.SocketAddress:
        """Have the service let the connection to *place* through; return where the other side has to go for it.

        :raises RefusedError: a low port, a third party, or the service does not have it.
        """
        self._withdraw(place)
        try:
            if place.port < LOWEST_PORT and not self._limits.low_ports:
                raise RefusedError(f"{place}: below {LOWEST_PORT}")
            opens = self._to_server if place.signal.opens == "to-server" else self._to_client
            told, withdraw = opens(place)
        except sdk.COMError as error:
            raise RefusedError(f"{place}: {error}") from error
        if withdraw is not None:
            while len(self._standing) >= self._limits.most:
                self._withdraw(next(iter(self._standing)))
            self._standing[place] = withdraw
        return told

    def detach(self) -> None:
        """The primary connection has ended: withdraw what has not been used, and let go."""
        for place in list(self._standing):
            self._withdraw(place)
        self._known = self._firewall = None

    def _to_server(self, place: Place) -> Announced:
        """The client is to connect (B6.5)."""
        asked, server = self._primary, self._primary.server()
        target = server.with_port(place.port)
        if place.host is not None and place.host != server.host:
            if not self._limits.third_party:
                raise RefusedError(f"{place}, and the server is {server.host}")
            target = sdk.SocketAddress(place.host, place.port)
        protocol, flags = place.protocol, place.signal.flags
        # Datagrams leave from anywhere.
        leaves_from = self._primary.outside() if protocol == sdk.FWX_PROTOCOL_TCP else None
        if not self._limits.published:
            action = asked.session.AllowFutureConnect(
                target, None, leaves_from, None, protocol, flags, asked.protocol, None, None, asked.connection
            )
            return target, action.Cancel
        reached, actions = asked.session.RedirectConnections(
            [target], None, None, leaves_from, None, protocol, flags, asked.protocol, None, None
        )
        return reached, actions[0].Cancel

    def _to_client(self, place: Place) -> Announced:
        """The server is to connect: to what the client has bound by itself, or else to a port of the firewall (B6.20).
        The server alone may (B6.32)."""
        asked, server, outside = self._primary, self._primary.server(), self._primary.outside()
        if not isinstance(server.address, IPv4Address):
            # An IP filter cannot name an IPv6 address (B6.31), so everybody could come.
            raise RefusedError(f"{place}: the server is {server.host}, and that one alone may be let in by IPv4")
        flags = place.signal.flags
        if place.host is not None and place.host not in (asked.client.host, outside.host):
            if not self._limits.third_party:
                raise RefusedError(f"{place}, and the client is {asked.client.host}")
            flags |= sdk.FWX_FLAG_ALLOW_ADDRESSES_ALL
        only_server = self._firewall.CreateIpFilter()
        only_server.IncludeRange(server.address, server.address)
        if self._has_bound(outside.with_port(place.port), place.protocol, only_server):
            return outside.with_port(place.port), None
        host = asked.client.host if place.host in (None, outside.host) else place.host
        return self._bind(sdk.SocketAddress(str(host), place.port), outside, place.protocol, flags, only_server)

    def _has_bound(self, bound: sdk.SocketAddress, protocol: int, only_server: Any) -> bool:
        asked = self._primary
        if asked.protocol == sdk.GUID_NULL:
            return False
        flags = sdk.FWX_FLAG_BIDIRECTIONAL if protocol == sdk.FWX_PROTOCOL_UDP else 0
        try:
            asked.session.RetroactiveAllowBind(protocol, bound, None, asked.protocol, flags, only_server)
        except sdk.COMError:
            return False
        return True

    def _bind(
        self, client: sdk.SocketAddress, outside: sdk.SocketAddress, protocol: int, flags: int, only_server: Any
    ) -> Announced:
        """Bind the client's own port number outside, where it is free, so that what it has said stays true."""
        asked = self._primary
        for port in (client.port, 0):
            try:
                bound, connections = asked.session.BindForClient(
                    [client], None, outside.with_port(port), None, protocol, None, flags, 1, asked.protocol, None, None,
                    only_server,
                )  # fmt: skip
            except sdk.COMError as error:
                if not port or error.hresult not in _TAKEN:
                    raise
            else:
                break
        return bound, connections[0].Kill

    def _withdraw(self, place: Place) -> None:
        withdraw = self._standing.pop(place, None)
        if withdraw is not None:
            try:
                withdraw()
            except sdk.COMError as error:
                if error.hresult != sdk.FWX_E_TERMINATING:  # used, or lapsed
                    raise

    @property
    def _primary(self) -> sdk.AskedConnection:
        """:raises COMError: ``FWX_E_TERMINATING`` it has ended."""
        if self._known is None:
            raise sdk.COMError(sdk.FWX_E_TERMINATING, "the primary connection has ended")
        return self._known
