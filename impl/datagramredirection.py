"""A UDP port inside, from where a client's datagrams go on to another address (B6.22 to B6.25)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fwx.impl.clientdatagrams import ClientDatagrams
from fwx.impl.connectionrecord import redirected_record
from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.localend import LocalEnd
from fwx.impl.logrecord import Action
from fwx.impl.transport import ENDING, INPUT
from fwx.impl.turnedaway import TurnedAway
from fwx.interfaces import SocketAddress
from fwx.interfaces.constants import FWX_PROTOCOL_UDP
from fwx.interfaces.hresult import FWX_E_ADDRESS_NOT_ALLOWED, FWX_E_IS_BUSY, HRESULT_FROM_WIN32, S_OK, COMError

if TYPE_CHECKING:
    from fwx.impl.filterhost import FilterHost
    from fwx.impl.permission import Permission
    from fwx.impl.session import FWXSession
    from fwx.impl.transport import DatagramTransport

MOST_AT_ONCE: Final = 64
"""Ports of the client that use one redirected port at a time."""

# Datagrams taken at one event, so that a flood leaves the others their turn.
_TAKEN_AT_ONCE: Final = 256


class DatagramRedirection:
    """Takes what the client of one session sends, and nobody else; its permission says how often, and when it is over.

    A port of the client is to it what a connection is to TCP: it has a UDP connection of its own, which ends when it
    was quiet for a while. Where only one may come, the packet filter lets nobody else in after that, and the
    redirection ends with it.

    :ivar address: where the client sends to; :attr:`fd`, the descriptor of that port.
    """

    __slots__ = (
        "_clients",
        "_engine",
        "_local_end",
        "_permission",
        "_session",
        "_transport",
        "_turned_away",
        "address",
        "fd",
    )

    def __init__(self, session: FWXSession, permission: Permission, transport: DatagramTransport) -> None:
        """*transport* is bound to the inside address, and belongs to the redirection."""
        engine = session.engine
        self._session = session
        self._engine = engine
        self._permission = permission
        self._transport = transport
        self._local_end = LocalEnd(engine, FWX_PROTOCOL_UDP, engine.network.datagram)
        self._local_end.transport = transport
        self._clients: dict[SocketAddress, tuple[ClientDatagrams, FWXDatagramConnection]] = {}
        self._turned_away = TurnedAway(engine.clock)
        self.address = SocketAddress.from_sockaddr(transport.getsockname())
        self.fd = transport.fd
        permission.on_ended = self._permission_ended

    def start(self) -> None:
        """Open the port and listen. :raises COMError: the Winsock error; nothing is open then."""
        self._session.secondary.keep(self)
        try:
            self._local_end.open_port(None, self._port_answered)
        except BaseException:
            self.end()
            raise
        self._transport.watch(self._event)

    @property
    def host(self) -> FilterHost | None:
        """The filter that is told of its connections, if one is."""
        return self._permission.host

    def end(self) -> None:
        """Close the port, and end what uses it: UDP has no end to wait for. Again it does nothing."""
        if self._local_end.transport is None:
            return
        self._local_end.transport = None
        self._transport.close(False)
        self._local_end.close_ports()
        self._session.secondary.forget(self)
        self._permission.end()
        for _, connection in list(self._clients.values()):
            connection.end(S_OK, "the redirection ended")

    def send_to(self, data: Any, client: SocketAddress, source: tuple[Any, ...]) -> None:
        """Send a client what came for it from *source*. :raises OSError: no room, ..."""
        self._transport.send_to(data, client.sockaddr)

    def _port_answered(self, code: int) -> None:
        if code:
            self._log(None, Action.Failed, HRESULT_FROM_WIN32(code), "the packet filter did not open the port")
            self.end()

    def _permission_ended(self) -> None:
        """Nobody new may come. Who is there goes on, and the port is open to them alone."""
        if not self._clients:
            self.end()
            return
        kept = iter(list(self._clients))
        try:
            self._local_end.keep_port(next(kept), self._port_answered)
            for client in kept:
                self._local_end.open_port(client, self._port_answered)
        except COMError as error:
            self._log(None, Action.Failed, error.hresult, str(error))
            self.end()

    # Datagrams.

    def _event(self, mask: int) -> None:
        if mask & ENDING:
            while self._local_end.transport is not None and self._transport.take_error() is not None:
                """The client was not there for an answer: whoever has sent it is not told so."""
        if mask & INPUT:
            self._take()

    def _take(self) -> None:
        for _ in range(_TAKEN_AT_ONCE):
            if self._local_end.transport is None:
                return
            try:
                data, sockaddr = self._transport.receive()
            except BlockingIOError:
                return
            except InterruptedError:
                break
            except OSError:
                self._transport.take_error()
                continue
            source = SocketAddress.from_sockaddr(sockaddr)
            known = self._clients.get(source)
            client = known[0] if known is not None else self._meet(source)
            if client is not None:
                client.take(data, self._permission.target.sockaddr)
        self._engine.queue.defer(self._take)

    def _meet(self, source: SocketAddress) -> ClientDatagrams | None:
        """Open a connection for the client of the session, and for nobody else."""
        if not self._engine.accepting():
            return None  # fails closed (B9.18); there is nowhere to log it to
        if source.host != self._session.address.host:
            reason = f"the port is for {self._session.address.host} alone"
            self._turn_away(source, FWX_E_ADDRESS_NOT_ALLOWED, reason)
            return None
        if not self._permission.is_open or len(self._clients) >= MOST_AT_ONCE:
            self._turn_away(source, FWX_E_IS_BUSY, "another port of the client uses the redirection")
            return None
        client = ClientDatagrams(self, source)
        connection = FWXDatagramConnection(
            self._session,
            source,
            client,  # type: ignore[arg-type]  # it never binds or connects
            self._engine.gateway.hosts_of,
            interface="redirected",
            permission=self._permission,
            on_ended=partial(self._forget, source),
        )
        self._clients[source] = client, connection
        self._watch(client, connection)
        connection.start()
        return client

    def _watch(self, client: ClientDatagrams, connection: FWXDatagramConnection) -> None:
        client.moved = False
        self._engine.datagram_deadlines.add(partial(self._look, client, connection))

    def _look(self, client: ClientDatagrams, connection: FWXDatagramConnection) -> None:
        if client.closed:
            return
        if client.moved:
            self._watch(client, connection)
        else:
            connection.end(S_OK, "")

    def _forget(self, source: SocketAddress, connection: FWXDatagramConnection) -> None:
        client, _ = self._clients.pop(source)
        client.close(True)
        self._local_end.close_port(source)
        if self._permission.has_ended and not self._clients:
            self.end()
        self._engine.gateway.connection_ended(connection)

    # The log.

    def _turn_away(self, client: SocketAddress, result: int, reason: str) -> None:
        if self._turned_away.is_news(client):
            self._log(client, Action.Denied, result, reason)

    def _log(self, client: SocketAddress | None, action: Action, result: int, reason: str) -> None:
        """Write a record of a *client* that got no connection, or of the port itself."""
        self._engine.write_record(
            redirected_record(
                self._session, "UDP", client, self.address, self._permission.verdict, (action, result, reason)
            )
        )
