"""A port inside, from where a client's connections go on to another address (B6.22 to B6.25)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwx.impl.accepting import Accepted, Acceptor, PostedAccept, listen_on
from fwx.impl.connectionrecord import redirected_record
from fwx.impl.localend import LocalEnd
from fwx.impl.logrecord import Action
from fwx.impl.request import Request
from fwx.interfaces import SocketAddress
from fwx.interfaces.constants import FWX_PROTOCOL_TCP
from fwx.interfaces.hresult import (
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_IS_BUSY,
    HRESULT_FROM_WIN32,
)

if TYPE_CHECKING:
    from fwx.impl.filterhost import FilterHost
    from fwx.impl.permission import Permission
    from fwx.impl.session import FWXSession
    from fwx.impl.transport import Transport

BACKLOG = 16
MOST_AT_ONCE = 64
"""Connections of one redirected port at a time."""


class Redirection:
    """Listens for the client of one session alone; its permission says how often, and when it is over.

    :ivar address: where the client connects to.
    """

    __slots__ = ("_acceptor", "_engine", "_local_end", "_permission", "_session", "address", "connections")

    def __init__(self, session: FWXSession, permission: Permission, transport: Transport) -> None:
        """*transport* is bound to the inside address, and belongs to the redirection, which ends with *permission*."""
        engine = session.engine
        self._session = session
        self._engine = engine
        self._permission = permission
        self._local_end = LocalEnd(engine, FWX_PROTOCOL_TCP, engine.network.stream)
        self._local_end.transport = transport
        self._acceptor: Acceptor | None = None
        self.address = SocketAddress.from_sockaddr(transport.getsockname())
        self.connections = 0
        permission.on_ended = self.end

    def start(self) -> None:
        """Open the port and listen. :raises COMError: the Winsock error; nothing is open then."""
        self._session.secondary.keep(self)
        try:
            listen_on(self._local_end, BACKLOG, self._port_answered)
        except BaseException:
            self.end()
            raise
        transport = self._local_end.transport
        assert transport is not None
        self._acceptor = Acceptor(transport, self._admit, self._came, self._engine)
        self._wait()

    @property
    def host(self) -> FilterHost | None:
        """The filter that is told of its connections, if one is."""
        return self._permission.host

    def end(self) -> None:
        """Close the port; connections go on. Again it does nothing."""
        self._session.secondary.forget(self)
        acceptor, self._acceptor = self._acceptor, None
        transport, self._local_end.transport = self._local_end.transport, None
        if acceptor is not None:
            acceptor.close()
        elif transport is not None:
            transport.close(False)
        self._local_end.close_ports()
        self._permission.end()

    def _wait(self) -> None:
        if self._acceptor is not None:
            self._acceptor.post(PostedAccept(None, None, self._engine.clock()))

    def _port_answered(self, code: int) -> None:
        if code:
            self._log(None, Action.Failed, HRESULT_FROM_WIN32(code), "the packet filter did not open the port")
            self.end()

    def _admit(self, accepted: Accepted) -> Accepted | None:
        """Take the client of the session, and nobody else."""
        if accepted.remote.host != self._session.address.host:
            reason = f"the port is for {self._session.address.host} alone"
            self._log(accepted.remote, Action.Denied, FWX_E_ADDRESS_NOT_ALLOWED, reason)
        elif not self._permission.is_open or self.connections >= MOST_AT_ONCE:
            self._log(accepted.remote, Action.Denied, FWX_E_IS_BUSY, "another connection of the port is under way")
        else:
            return accepted
        return None

    def _came(self, _accept: PostedAccept, accepted: Accepted | None, _code: int) -> None:
        if accepted is not None:
            RedirectedClient(self, accepted)
        self._engine.queue.post(self._wait)

    def open(self, client: RedirectedClient, accepted: Accepted) -> None:
        """Ask for the connection of a client that has come."""
        session, permission = self._session, self._permission
        self.connections += 1
        self._engine.gateway.open(
            Request(
                client,
                accepted.transport,
                accepted.remote,
                permission.target,
                source=session.source,
                interface="redirected",
                user=session.user,
                session=session,
                permission=permission,
                on_ended=self._ended,
            )
        )

    def _ended(self) -> None:
        self.connections -= 1

    def _log(self, client: SocketAddress | None, action: Action, result: int, reason: str) -> None:
        """Write a record of a *client* that got no connection."""
        self._engine.write_record(
            redirected_record(
                self._session, "TCP", client, self.address, self._permission.verdict, (action, result, reason)
            )
        )


class RedirectedClient:
    """The way in of a client that came to a redirected port (:class:`fwx.impl.gateway.Entry`)."""

    __slots__ = ("_transport",)

    def __init__(self, redirection: Redirection, accepted: Accepted) -> None:
        self._transport = accepted.transport
        redirection.open(self, accepted)

    def connected(self, bound: SocketAddress) -> bool:
        return True

    def refused(self, result: int) -> None:
        self._transport.close(True)
