"""A UDP port of the service: each client address that sends to it gets a UDP connection of its own."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fwx.impl.clientdatagrams import ClientDatagrams
from fwx.impl.course import proceed
from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.logrecord import Action, LogRecord
from fwx.impl.networks import normalise
from fwx.impl.transport import INPUT
from fwx.interfaces import FWX_PROTOCOL_UDP, SocketAddress
from fwx.interfaces.enums import fwxSourceNAT
from fwx.interfaces.hresult import S_OK
from fwx.listener import ListenError
from fwx.open_port import ClosedPort, OpenPort

if TYPE_CHECKING:
    from fwx.impl.deadline import DeadlineQueue
    from fwx.impl.gateway import Gateway
    from fwx.impl.networks import LocalAddresses
    from fwx.impl.transport import DatagramTransport, Network
    from fwx.limits import AddressLimits

logger = logging.getLogger("fwx.datagram_listener")

# Datagrams taken at one event, so that a flood leaves the others their turn.
_TAKEN_AT_ONCE: Final = 256


class _Client(NamedTuple):
    """One client address. :ivar target: the server that it was led to, if the port is for one."""

    datagrams: ClientDatagrams
    connection: FWXDatagramConnection
    target: SocketAddress | None


class DatagramListener:
    """Tells the clients of one UDP port apart by their addresses, and opens a connection for each.

    A client that has neither sent nor got anything for a while is forgotten; so is every client when the port closes.

    :ivar name: for the log; it may change. :ivar target: the published server of new clients; it may change, too.
    :ivar address: where it is bound. :ivar port: its port in the packet filter, closed with the listener.
    """

    def __init__(
        self,
        name: str,
        bind: SocketAddress,
        target: SocketAddress | None,
        network: Network,
        gateway: Gateway,
        idle: DeadlineQueue,
        limits: AddressLimits,
        accepting: Callable[[], bool],
    ) -> None:
        """Bind; clients wait until :meth:`start`.

        :param target: the published server, if there is one. :param idle: how long a quiet client is remembered.
        :param limits: where each connection has a place; the oldest of an address that has too many makes room.
        :param accepting: whether the log can take records. :raises ListenError: the address cannot be bound.
        """
        self.name = name
        self.target = target
        self._gateway = gateway
        self._idle = idle
        self._limits = limits
        self._accepting = accepting
        self._clients: dict[SocketAddress, _Client] = {}
        transport: DatagramTransport | None = None
        try:
            transport = self._make(network, bind.family)
            if bind.family == socket.AF_INET6:
                transport.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            transport.bind(bind.sockaddr)
        except OSError as error:
            if transport is not None:
                transport.close(False)
            raise ListenError(f"listener {name!r}: cannot bind UDP {bind}: {error.strerror}") from error
        self._transport = transport
        self.fd = transport.fd
        self.address = SocketAddress.from_sockaddr(transport.getsockname())
        self.port = self._port()

    def __len__(self) -> int:
        """The number of clients that are known now."""
        return len(self._clients)

    def start(self) -> None:
        """Serve clients from now on."""
        self._transport.watch(self._event)

    def close(self, reason: str = "its listener was closed") -> None:
        """Give the port back and end every client's connection, for *reason*: UDP has no end to wait for."""
        self._transport.close(False)
        self.port.close()
        for client in list(self._clients.values()):
            client.connection.end(S_OK, reason)

    def is_reached_by(self, address: SocketAddress, local: LocalAddresses) -> bool:
        """Tell whether a datagram to the literal *address* ends here; *local* are this host's own addresses."""
        own, target = normalise(self.address.host), normalise(address.host)
        if address.port != self.address.port or own.version != target.version:
            return False
        return own == target or target.is_unspecified or (own.is_unspecified and target in local)

    def send_to(self, data: Any, client: SocketAddress, source: tuple[Any, ...]) -> None:  # noqa: ARG002  from the port
        """Send a client what came for it from *source*. :raises OSError: no room, ..."""
        self._transport.send_to(data, client.sockaddr)

    # What a transparent listener does otherwise.

    def _make(self, network: Network, family: int) -> DatagramTransport:
        """Make the socket that clients send to. :raises OSError: it cannot be."""
        return network.datagram(family)

    def _port(self) -> OpenPort | ClosedPort:
        return OpenPort(self._gateway.engine, FWX_PROTOCOL_UDP, self.address)

    def _receive(self) -> tuple[bytes, tuple[Any, ...], tuple[Any, ...] | None]:
        """Take one datagram: its data, its client, its target if that is not the client's own.

        :raises InterruptedError: it was dropped. :raises OSError: as that of a transport.
        """
        return (*self._transport.receive(), None)

    def _open(self, source: SocketAddress, client: ClientDatagrams) -> FWXDatagramConnection:
        """Make the connection of a new client."""
        gateway = self._gateway
        return FWXDatagramConnection(
            gateway.sessions.of(source, fwxSourceNAT),
            source,
            client,  # type: ignore[arg-type]  # it never binds or connects
            gateway.hosts_of,
            interface=self.name,
            on_ended=lambda ended: self._forget(source, ended),
        )

    def _begin(self, client: ClientDatagrams, connection: FWXDatagramConnection) -> None:  # noqa: ARG002
        """Let datagrams pass, if no filter refuses the client's bind."""
        proceed(connection.open(self.address, self._gateway.hosts_everywhere))

    def _event(self, mask: int) -> None:
        if mask & INPUT:
            self._take()

    def _take(self) -> None:
        for _ in range(_TAKEN_AT_ONCE):
            try:
                data, sockaddr, target = self._receive()
            except BlockingIOError:
                return
            except InterruptedError:
                continue
            except OSError as error:
                if error.errno == errno.EBADF:
                    return  # closed meanwhile
                self._transport.take_error()
                continue
            source = SocketAddress.from_sockaddr(sockaddr)
            known = self._clients.get(source)
            client = known if known is not None else self._meet(source)
            if client is None:
                continue
            if target is None:
                assert client.target is not None
                target = client.target.sockaddr
            client.datagrams.take(data, target)
        self._gateway.engine.queue.defer(self._take)

    def _meet(self, source: SocketAddress) -> _Client | None:
        """Open a connection for a new client, unless a filter refuses it."""
        if not self._accepting():
            return None  # fails closed (B9.18)
        crowd = self._limits.crowd
        if crowd.udp_sessions >= crowd.most_udp_sessions:
            self._refuse(source, *crowd.refuse_udp_session())
            return None
        client = ClientDatagrams(self, source)
        connection = self._open(source, client)
        met = self._clients[source] = _Client(client, connection, self.target)
        self._limits.begin_udp(source.host, connection)
        self._watch(source, client, connection)
        self._begin(client, connection)
        return met

    def _refuse(self, source: SocketAddress, result: int, reason: str) -> None:
        if self._limits.logs:
            self._log(source, Action.Denied, result, reason)

    def _watch(self, source: SocketAddress, client: ClientDatagrams, connection: FWXDatagramConnection) -> None:
        client.moved = False
        self._idle.add(lambda: self._look(source, client, connection))

    def _look(self, source: SocketAddress, client: ClientDatagrams, connection: FWXDatagramConnection) -> None:
        if client.closed:
            return
        if client.moved:
            self._watch(source, client, connection)
        else:
            connection.end(S_OK, "")

    def _forget(self, source: SocketAddress, connection: FWXDatagramConnection) -> None:
        known = self._clients.get(source)
        if known is not None and known.connection is connection:
            del self._clients[source]
            known.datagrams.close(True)
            self._limits.end_udp(source.host, connection)
        self._gateway.sessions.connection_ended(connection)

    def _log(self, source: SocketAddress, action: Action, result: int, reason: str) -> None:
        """Write a record of a client that gets no connection."""
        engine = self._gateway.engine
        engine.write_record(
            LogRecord(
                time=engine.wall_clock(),
                action=action,
                servername=engine.server_name,
                protocol="UDP",
                source_ip=source.host,
                source_port=source.port,
                resultcode=int(result),
                interface=self.name,
                reason=reason,
            )
        )
