"""The way in of UDP on a proxy port: the control connection of a SOCKS5 association, and what hangs by it."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

from fwx.impl.course import proceed
from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.logrecord import Action, LogRecord
from fwx.impl.networks import normalise
from fwx.impl.transport import INPUT
from fwx.impl.winsock import winsock_code
from fwx.interfaces import FWX_PROTOCOL_UDP, SocketAddress
from fwx.interfaces.enums import fwxSourceWSP
from fwx.interfaces.hresult import (
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAEAFNOSUPPORT,
    WSAECONNABORTED,
    WSAECONNRESET,
)
from fwx.open_port import OpenPort
from fwx.proxy import Outcome
from fwx.proxy.udp_relay import UdpRelay

if TYPE_CHECKING:
    from fwx.entrance import Arrival, Entrance
    from fwx.impl.deadline import Deadline
    from fwx.impl.transport import DatagramTransport
    from fwx.impl.user import FWXAuthenticatedUser
    from fwx.proxy import ProxyHandshake

logger = logging.getLogger("fwx.associate_entry")

_BLOCK = 4096
# What a client may send on the control connection in one turn; nothing is expected, and it is thrown away.
_BLOCKS_AT_ONCE = 16


class AssociateEntry:
    """A client that has asked for UDP (RFC 1928, UDP ASSOCIATE).

    It gets a relay port on the address that it connected to. Session, user and rules are those of the control
    connection; relay port, opening in the packet filter and destinations go when that ends, and it ends when a filter
    kills them, when nothing has passed for a while, and when the service stops.
    """

    __slots__ = (
        "_address",
        "_arrival",
        "_client",
        "_connection",
        "_deadline",
        "_entrance",
        "_handshake",
        "_over",
        "_port",
        "_relay",
        "_started",
        "_transport",
        "_user",
    )

    def __init__(
        self,
        entrance: Entrance,
        arrival: Arrival,
        claimed: SocketAddress,
        handshake: ProxyHandshake,
        user: FWXAuthenticatedUser | None,
    ) -> None:
        """*claimed* is what the client says that it sends from; *handshake* waits for the reply."""
        self._entrance = entrance
        self._arrival = arrival
        self._client = arrival.client
        self._address = arrival.address
        self._handshake = handshake
        self._user = user
        self._started = entrance.gateway.engine.clock()
        self._over = False
        self._deadline: Deadline | None = None
        self._transport: DatagramTransport | None = None
        self._port: OpenPort | None = None
        self._relay: UdpRelay | None = None
        self._connection: FWXDatagramConnection | None = None
        entrance.pending.add(self)
        self._client.watch(self._event)
        if not self._over:
            self._open(claimed)

    def close(self) -> None:
        """The service stops."""
        self._end(FWX_E_TERMINATING, "the service stopped")

    def end(self, result: int, reason: str) -> None:
        """It is the client's oldest, and there are too many (B11.3)."""
        self._end(result, reason)

    # The relay port.

    def _open(self, claimed: SocketAddress) -> None:
        host = self._address.host
        self._entrance.associations.limits.begin_udp(host, self)
        try:
            local = SocketAddress.from_sockaddr(self._client.getsockname())
        except OSError as error:
            self._end(HRESULT_FROM_WIN32(winsock_code(error)), "the client went away as it asked for UDP")
            return
        if local.family != self._address.family:
            # A load balancer that translates: the client has no way to an address of the other family.
            reason = f"{host} cannot send datagrams to {local.host}, which its control connection has reached"
            self._refuse(HRESULT_FROM_WIN32(WSAEAFNOSUPPORT), reason)
            return
        try:
            address = self._bind(local)
            client = _client_of(claimed, self._address)
            remote = client if client.port else None
            self._port = OpenPort(self._entrance.gateway.engine, FWX_PROTOCOL_UDP, address, remote)
            self._relay = UdpRelay(self._transport, client, self._met)  # type: ignore[arg-type]  # it has been made
            self._port.open(self._opened)
        except OSError as error:
            reason = f"no relay port on {local.host}: {error.strerror or error}"
            self._refuse(HRESULT_FROM_WIN32(winsock_code(error)), reason)

    def _bind(self, local: SocketAddress) -> SocketAddress:
        """Bind the relay port on the address that the client has reached. :raises OSError: it cannot be."""
        transport = self._transport = self._entrance.gateway.engine.network.datagram(local.family)
        if local.family == socket.AF_INET6:
            transport.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        transport.bind(local.with_port(0).sockaddr)
        address = SocketAddress.from_sockaddr(transport.getsockname())
        self._entrance.associations.add(self, address)
        return address

    def _opened(self, code: int) -> None:
        """The packet filter has opened the relay port, or could not."""
        if self._over:
            return
        assert self._port is not None
        if code:
            self._refuse(HRESULT_FROM_WIN32(code), f"the packet filter did not open {self._port.address}")
            return
        gateway = self._entrance.gateway
        connection = self._connection = FWXDatagramConnection(
            gateway.sessions.of(self._address, fwxSourceWSP, self._user),
            self._address,
            self._relay,  # type: ignore[arg-type]  # it never binds or connects
            gateway.hosts_of,
            interface=self._entrance.name,
            on_ended=self._ended,
        )
        connection.source_proxy = self._arrival.source_proxy
        proceed(self._show(connection, self._port.address))

    async def _show(self, connection: FWXDatagramConnection, address: SocketAddress) -> None:
        """Have the filters see the client's bind, then let it know where its relay port is."""
        passes = await connection.bind(address, self._entrance.gateway.hosts_everywhere)
        if self._over:
            return
        if not passes:
            result, reason = connection.result
            connection.refuse(result, reason, Action.Denied)
            self._refuse(result, reason, Action.Denied, Outcome.DENIED)
            return
        if not self._entrance.answer(self._client, self._handshake.succeeded(address)):
            self._end(HRESULT_FROM_WIN32(WSAECONNABORTED), "the client went away as it got its relay port")
            return
        self._entrance.pending.discard(self)
        self._watch()
        connection.start()

    def _met(self, client: SocketAddress) -> None:
        """The client's first datagram has come: the records name its port, not that of the control connection."""
        if self._connection is not None:
            self._connection.client_address = client

    # Time.

    def _watch(self) -> None:
        assert self._relay is not None
        self._relay.moved = False
        self._deadline = self._entrance.associations.idle.add(self._look)

    def _look(self) -> None:
        assert self._relay is not None
        if self._relay.moved:
            self._watch()
        else:
            self._end(S_OK, "")

    # The control connection.

    def _event(self, mask: int) -> None:
        if mask & INPUT:
            self._drain()

    def _drain(self) -> None:
        """Nothing is expected but the end."""
        for _ in range(_BLOCKS_AT_ONCE):
            if self._over:
                return
            try:
                data = self._client.recv(_BLOCK)
            except BlockingIOError:
                return
            except OSError as error:
                self._end(HRESULT_FROM_WIN32(WSAECONNRESET), f"the control connection failed: {error.strerror}")
                return
            if not data:
                self._end(S_OK, "")
                return
        self._entrance.gateway.engine.queue.defer(self._drain)

    # The ends.

    def _refuse(self, result: int, reason: str, action: Action = Action.Failed, told: Outcome = Outcome.FAILED) -> None:
        """Tell client and log that there is no association."""
        if self._over:
            return
        self._log(action, int(result), reason)
        self._leave()
        self._entrance.release(self._address)
        self._entrance.say_farewell(self._client, self._handshake.refused(told))

    def _end(self, result: int, reason: str) -> None:
        """End what there is; before there is a connection that is the log's only word of the client."""
        if self._over:
            return
        if self._connection is not None:
            self._connection.end(result, reason)
            return
        self._log(Action.Failed, int(result), reason)
        self._leave()
        self._entrance.release(self._address)
        self._client.close(False)

    def _ended(self, connection: FWXDatagramConnection) -> None:
        """The connection is gone, whoever has ended it: the control connection goes with it."""
        if not self._over:
            self._leave()
            self._entrance.release(self._address)
            self._client.close(False)
            if not connection.has_met_anyone:
                result, reason = connection.result
                seconds = self._entrance.gateway.engine.clock() - self._started
                self._log(Action.Terminate, int(result), reason, seconds)
        self._entrance.gateway.sessions.connection_ended(connection)

    def _leave(self) -> None:
        """Give the relay port back, and the place among the client's associations."""
        self._over = True
        entrance = self._entrance
        entrance.pending.discard(self)
        entrance.associations.discard(self)
        entrance.associations.limits.end_udp(self._address.host, self)
        if self._deadline is not None:
            self._deadline.cancel()
        if self._transport is not None:
            self._transport.close(False)
        if self._port is not None:
            self._port.close()
        if self._relay is not None and self._relay.dropped:
            dropped = ", ".join(f"{count} {kind}" for kind, count in self._relay.dropped.items())
            self._log(Action.Denied, int(FWX_E_ADDRESS_NOT_ALLOWED), f"datagrams were dropped: {dropped}")

    def _log(self, action: Action, result: int, reason: str, seconds: float = 0.0) -> None:
        """Write a record of the association itself: destinations have their own, if there were any."""
        engine, relay, connection = self._entrance.gateway.engine, self._port, self._connection
        engine.write_record(
            LogRecord(
                time=engine.wall_clock(),
                action=action,
                servername=engine.server_name,
                protocol="UDP",
                source_ip=self._address.host,
                source_port=self._address.port if self._relay is None else self._relay.client.port,
                destination_ip="" if relay is None else relay.address.host,
                destination_port=0 if relay is None else relay.address.port,
                resultcode=result,
                connection_time=int(seconds * 1000),
                source_proxy="" if self._arrival.source_proxy is None else self._arrival.source_proxy.host,
                username="" if self._user is None else self._user.Username,
                session_id=0 if connection is None else connection.session.id,
                connection_id=0 if connection is None else connection.id,
                interface=self._entrance.name,
                reason=reason,
            )
        )


def _client_of(claimed: SocketAddress, control: SocketAddress) -> SocketAddress:
    """Return whom an association hears: the host of its control connection, at the port it has claimed, 0 for any.

    What claims another address sits behind an address translator, which changes its ports too.
    """
    claims_itself = normalise(claimed.host) == normalise(control.host) or normalise(claimed.host).is_unspecified
    return SocketAddress(str(normalise(control.host)), claimed.port if claims_itself else 0, control.scope_id)
