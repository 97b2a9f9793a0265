"""Datagrams that are diverted to the service: each client's go on to where they were going, and the answers come back
from there."""

from __future__ import annotations

import errno
import logging
import os
import socket
from typing import TYPE_CHECKING, Any

from fwx.datagram_listener import DatagramListener
from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.logrecord import Action
from fwx.impl.turnedaway import TurnedAway
from fwx.impl.winsock import winsock_code
from fwx.interfaces import SocketAddress
from fwx.interfaces.enums import fwxSourceNAT
from fwx.interfaces.hresult import FWX_E_POLICY_RULES_DENIED, HRESULT_FROM_WIN32
from fwx.network import SocketDatagrams
from fwx.open_port import ClosedPort
from fwx.transparent.answers import Answers
from fwx.transparent.kernel import ANCILLARY_BYTES, ask_destinations, destination_of, make_transparent, os_error
from fwx.transparent.orders import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwx.impl.clientdatagrams import ClientDatagrams
    from fwx.impl.deadline import DeadlineQueue
    from fwx.impl.gateway import Gateway
    from fwx.impl.transport import Network
    from fwx.limits import AddressLimits
    from fwx.network import SocketNetwork
    from fwx.transparent.sockets import Ordered, SocketMaker

logger = logging.getLogger("fwx.transparent")


class TransparentDatagramListener(DatagramListener):
    """Opens a connection for each client address and port (``fwxSourceNAT``), which has a destination for each server.

    :ivar keeps_client_address: servers of new clients see the client's address; it may change.
    :ivar answers: the sockets that answers leave by.
    """

    def __init__(
        self,
        name: str,
        bind: SocketAddress,
        network: SocketNetwork,
        gateway: Gateway,
        idle: DeadlineQueue,
        limits: AddressLimits,
        accepting: Callable[[], bool],
        maker: SocketMaker,
        *,
        keeps_client_address: bool,
        is_own_listener: Callable[[SocketAddress, str], bool],
    ) -> None:
        """As of :class:`DatagramListener`, whose limits hold. :param maker: makes the sockets that speak for others.

        :param keeps_client_address: servers see the client's address. :param is_own_listener: tells whether an address
            over ``UDP`` is a port of this service, where nothing that was diverted was going.
        """
        self.answers = Answers(maker)
        self._maker = maker
        self._poller = network.poller
        self.keeps_client_address = keeps_client_address
        self._is_own_listener = is_own_listener
        self._ordered: dict[SocketAddress, Ordered] = {}
        self._turned_away = TurnedAway(gateway.engine.clock)
        super().__init__(name, bind, None, network, gateway, idle, limits, accepting)

    def close(self, reason: str = "its listener was closed") -> None:
        super().close(reason)
        for ordered in self._ordered.values():
            ordered.cancel()
        self._ordered.clear()
        self.answers.close()

    def send_to(self, data: Any, client: SocketAddress, source: tuple[Any, ...]) -> None:
        """Send a client what came for it from *source*, as if it came from there itself."""
        self.answers.send(data, client, source)

    def _make(self, network: Network, family: int) -> SocketDatagrams:
        """Make the socket that gets what was sent to others. :raises OSError: it cannot be made or transparent."""
        transport = network.datagram(family)
        assert isinstance(transport, SocketDatagrams)
        try:
            make_transparent(transport, family)
            ask_destinations(transport, family)
        except OSError:
            transport.close(True)
            raise
        return transport

    def _port(self) -> ClosedPort:
        return ClosedPort(self.address)

    def _receive(self) -> tuple[bytes, tuple[Any, ...], tuple[Any, ...]]:
        transport = self._transport
        assert isinstance(transport, SocketDatagrams)
        data, ancillary, sockaddr = transport.receive_with(ANCILLARY_BYTES)
        target = destination_of(ancillary)
        if target is None or self._is_own_listener(target, "UDP"):
            self._turn_away(SocketAddress.from_sockaddr(sockaddr), target)
            raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
        return data, sockaddr, target.sockaddr

    def _turn_away(self, source: SocketAddress, target: SocketAddress | None) -> None:
        """Drop what was sent to a port of the service itself; log it, but not so often that it would fill the log."""
        if not self._turned_away.is_news(source):
            return
        reason = f"nothing diverted the datagram: it is for {target}, a listener's port"
        self._log(source, Action.Denied, FWX_E_POLICY_RULES_DENIED, reason)

    def _open(self, source: SocketAddress, client: ClientDatagrams) -> FWXDatagramConnection:
        gateway = self._gateway
        return FWXDatagramConnection(
            gateway.sessions.of(source, fwxSourceNAT),
            source,
            client,  # type: ignore[arg-type]  # it never binds or connects
            gateway.hosts_of,
            interface=self.name,
            on_ended=lambda ended: self._forget(source, ended),
            diverted=True,
        )

    def _begin(self, client: ClientDatagrams, connection: FWXDatagramConnection) -> None:
        """No filter is shown a bind: that is a Firewall client's (B2.20)."""
        if not self.keeps_client_address:
            connection.start()
            return
        source = client.source

        def made(sock: socket.socket | None, code: int) -> None:
            self._ordered.pop(source, None)
            if sock is None:
                self._fail(connection, os_error(code))
            elif connection.terminating:
                sock.close()
            else:
                connection.leave_by(SocketDatagrams(sock, self._poller), source.family)
                connection.start()

        try:
            self._ordered[source] = self._maker.order(Kind.DATAGRAM, source.with_port(0), made)
        except OSError as error:
            self._fail(connection, error)

    def _fail(self, connection: FWXDatagramConnection, error: OSError) -> None:
        result = HRESULT_FROM_WIN32(winsock_code(error))
        reason = f"no socket with the client's address: {error.strerror}"
        self._log(connection.client_address, Action.Failed, result, reason)
        connection.end(result, reason)

    def _forget(self, source: SocketAddress, connection: FWXDatagramConnection) -> None:
        ordered = self._ordered.pop(source, None)
        if ordered is not None:
            ordered.cancel()
        self.answers.forget(source)
        super()._forget(source, connection)
