"""FWXListeningConnection: a client's port on the outside, where it waits for others (B2.20 to B2.24, B6.12)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from fwx.impl.acceptedconnection import ClientSide, FWXAcceptedConnection
from fwx.impl.accepting import Accepted, Acceptor, PostedAccept, listen_on
from fwx.impl.connectionbase import ConnectionBase
from fwx.impl.connectionrecord import listening_record, turned_away_record
from fwx.impl.course import proceed
from fwx.impl.event import bind_tcp_event, listen_event
from fwx.impl.ipfilter import require_ip_filter
from fwx.impl.localend import LocalEnd
from fwx.impl.logrecord import Action
from fwx.impl.loopthread import on_loop
from fwx.impl.policy import Verdict
from fwx.impl.proxied import IProxied
from fwx.impl.sockets import check_address
from fwx.impl.winsock import winsock_name
from fwx.interfaces import GUID_NULL, SocketAddress
from fwx.interfaces.constants import FWX_PROTOCOL_TCP
from fwx.interfaces.enums import fwx_Bind_Tcp, fwx_Listen
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_UNEXPECTED,
    FAILED,
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_IS_BUSY,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAEADDRINUSE,
    WSAEINVAL,
    COMError,
    winsock_error,
)

if TYPE_CHECKING:
    from fwx.impl.bindapproval import BindApproval
    from fwx.impl.filterhost import FilterHost
    from fwx.impl.session import FWXSession
    from fwx.impl.transport import Transport
    from fwx.interfaces import IFWXConnection, IFWXDataFilter, IFWXIpFilter

logger = logging.getLogger("fwx.listeningconnection")

Judge = Callable[[SocketAddress, SocketAddress], Verdict]
"""Whether a peer, the first address, may connect to the second one, the client's on the outside."""

HostsOf = Callable[[Verdict], "tuple[FilterHost, ...]"]

# Before the policy was asked; never shown to a filter.
_UNJUDGED = Verdict(True, "", (), True, S_OK, "", GUID_NULL, "", "", "")


@implementer(IProxied)
class FWXListeningConnection(ConnectionBase):
    """What a client has bound on the outside: the port, whoever arrives there, and the events of both.

    The host makes one for a client that binds, and calls, in this order, :meth:`take`, :meth:`bind` and
    :meth:`listen`; or :meth:`refuse`. Several are made to have consecutive ports. From there it lives, and takes one
    connection after the other, until the host, a filter or the service ends it; *on_ended* hears of that. Connections
    that were accepted live on.

    Each arrival is judged, shown to the filters of its own verdict, and joined with what the client's side brings.

    :ivar verdict: why the client may wait here; set by :meth:`bind`. :ivar is_secondary: for the events (B2.11).
    :ivar claimed_user: whom the client says that it is, where nothing vouches for it. :ivar source_proxy: who spoke for
        the client, by the PROXY header that is :attr:`proxy_header`. What arrives has all three too.
    """

    __slots__ = (
        "_accepted_ended",
        "_acceptor",
        "_hosts",
        "_hosts_of",
        "_judge",
        "_local_end",
        "_side",
        "bound",
        "claimed_user",
        "proxy_header",
        "source_proxy",
    )

    def __init__(
        self,
        session: FWXSession,
        client_address: SocketAddress,
        side: ClientSide,
        judge: Judge,
        hosts_of: HostsOf,
        *,
        ip_filter: IFWXIpFilter | None = None,
        is_secondary: bool = False,
        interface: str = "",
        agent: str = "",
        on_ended: Callable[[Any], None] | None = None,
        on_accepted_ended: Callable[[Any], None] | None = None,
    ) -> None:
        """:param side: brings the client's end of each connection. :param judge: says who may connect.

        :param hosts_of: gives the filters that see what a verdict allows. :param ip_filter: who may connect besides
            (B6.32), a copy is kept; ``None`` for whoever *judge* allows.
        :param on_ended: called when it is gone; :attr:`result` says why. :param on_accepted_ended: called with each
            connection that has arrived here, when that is gone.
        :raises COMError: ``E_INVALIDARG`` *ip_filter* is none of the service's.
        """
        super().__init__(session, client_address, _UNJUDGED, interface=interface, agent=agent, on_ended=on_ended)
        self._side = side
        self._judge = judge
        self._hosts_of = hosts_of
        self._hosts: tuple[FilterHost, ...] = ()
        self._accepted_ended = on_accepted_ended
        self._local_end: LocalEnd[Transport] = LocalEnd(self.engine, FWX_PROTOCOL_TCP, self.engine.network.stream)
        self._ip_filter = None if ip_filter is None else require_ip_filter(ip_filter).Clone()
        self._acceptor: Acceptor | None = None
        self.bound: SocketAddress | None = None
        self.is_secondary = is_secondary
        self.claimed_user = ""
        self.source_proxy: SocketAddress | None = None
        self.proxy_header: object = None

    # The host's side.

    def take(self, address: SocketAddress, *, alone: bool = True) -> SocketAddress:
        """Take the literal local *address*, port 0 for a free one; return it with its port. No packet is let in yet.

        Nothing is logged, and it may be called again with another address if it fails. Without *alone* it does not
        fail because of connections that ended at the port a moment ago, and :meth:`listen` may fail in its place.

        :raises COMError: the Winsock error of the bind, ``WSAEADDRINUSE`` ...
        """
        self._local_end.bind(address, alone=alone)
        self.bound = self._local_end.name()
        return self.bound

    def take_over(self, transport: Transport) -> SocketAddress:
        """Use *transport*, which is bound already, in the place of :meth:`take`; it belongs to the connection."""
        self._local_end.transport = transport
        self.bound = self._local_end.name()
        return self.bound

    async def bind(self, verdict: Verdict) -> bool:
        """Show the bind to the filters of *verdict* (B2.20); ``False`` when one refuses, :attr:`result` says why.

        The host calls :meth:`refuse` then: the client sees an address in use (B2.37).
        """
        bound = self.bound
        assert bound is not None
        self.verdict = verdict
        self._hosts = self._hosts_of(verdict)
        passes = await self.raise_event(self._hosts, fwx_Bind_Tcp, lambda: bind_tcp_event(self, bound), WSAEADDRINUSE)
        if passes and self.emulation is not None:
            # A filter keeps the place: nobody connects here, and the port goes back.
            self._stop_moving()
            self.bound = self.emulation.name = self.emulation.name or bound
        return passes

    def listen(self, backlog: int, done: Callable[[], None] = lambda: None) -> None:
        """Open the port, tell the filters (B2.21) and take who comes.

        *done* is called when that is so, never inside the call. If it fails the connection ends, and *done* is not
        called.
        """
        if self.emulation is not None:
            self.engine.queue.post(self._listens, done)
            return
        try:
            listen_on(self._local_end, backlog, partial(self._opened, done))
        except COMError as error:
            self.refuse(error.hresult, f"listening at {self.bound}: {error}")

    def places_bound(self, protocol: int) -> tuple[SocketAddress, ...]:
        return () if self.bound is None or protocol != FWX_PROTOCOL_TCP else (self.bound,)

    def approve(self, approval: BindApproval, bursts: bool) -> None:
        """What comes from now on is secondary, and the approval's IP filter holds for it (B6.18)."""
        self.approval = approval
        self.is_secondary = True
        self._ip_filter = approval.ip_filter

    async def listen_elsewhere(self, bound: SocketAddress) -> bool:
        """Another machine listens for the client, at *bound*: tell the filters, and give the own port back.

        The host hands in who comes there by :meth:`arrive`. ``False`` when a filter has ended the connection.
        """
        self._give_back()
        self.bound = bound
        return await self._tell_of_listening()

    def refuse(self, result: int, reason: str, action: Action = Action.Failed) -> None:
        """End it before anybody was let in."""
        self._stop_moving()
        super().refuse(result, reason, action)

    def _opened(self, done: Callable[[], None], code: int) -> None:
        if self.terminating:
            return
        if code:
            reason = f"the packet filter did not open {self.bound}: {winsock_name(code)}"
            self.refuse(HRESULT_FROM_WIN32(code), reason)
            return
        # Inside listen_on the kernel does not listen yet, and may refuse to.
        self.engine.queue.post(self._listens, done)

    def _listens(self, done: Callable[[], None]) -> None:
        proceed(self._begin(done))

    async def _begin(self, done: Callable[[], None]) -> None:
        transport = self._local_end.transport
        if self.terminating or (transport is None and self.emulation is None) or not await self._tell_of_listening():
            return
        if transport is not None:
            self._acceptor = Acceptor(transport, self._admit, self._accepted, self.engine)
            self._wait()
        done()

    async def _tell_of_listening(self) -> bool:
        """No filter can make a listen fail (B2.22): each is told, whatever another one does; but one can kill it."""
        bound = self.bound
        assert bound is not None
        for host in self._hosts:
            if self.terminating:
                return False
            passed = await self.raise_event((host,), fwx_Listen, lambda: listen_event(self, bound), WSAEADDRINUSE)
            if not passed and not self.terminating:
                self._result, self._reason = S_OK, ""
        if self.terminating:
            return False
        if self.verdict.log:
            self.engine.write_record(listening_record(self, Action.Listen, "", 0.0))
        return True

    # Arrivals.

    async def arrive(self, accepted: Accepted) -> None:
        """Take what has come where another machine listens, as if it had come here; who may not connect is reset."""
        admitted = self._admit(accepted)
        if admitted is None:
            accepted.transport.close(True)
        else:
            await self._take_arrival(admitted)

    def _wait(self) -> None:
        """Ask for one connection."""
        if self._acceptor is not None:
            self._acceptor.post(PostedAccept(None, None, self.engine.clock()))

    def _admit(self, accepted: Accepted) -> Accepted | None:
        """Return *accepted* if the peer may connect; who may not is logged (B6.34)."""
        if not self.engine.accepting():
            return None  # fails closed (B9.18); there is nowhere to log it to
        verdict = self._decide(accepted.remote, accepted.local)
        return accepted._replace(verdict=verdict) if verdict.allowed else None

    def _decide(self, peer: SocketAddress, local: SocketAddress) -> Verdict:
        """Say whether *peer* may connect to *local*; who may not is logged (B6.34)."""
        approval = self.approval
        if self.admits(peer):
            ask = self._judge if approval is None else approval.verdict
            verdict = ask(peer, local)
        else:
            reason = f"the IP filter does not include {peer}"
            verdict = replace(self.verdict, allowed=False, hresult=FWX_E_ADDRESS_NOT_ALLOWED, reason=reason)
        if not verdict.allowed and verdict.log:
            self.engine.write_record(turned_away_record(self, peer, local, verdict))
        return verdict

    def _accepted(self, _accept: PostedAccept, accepted: Accepted | None, code: int) -> None:
        if accepted is not None:
            self.engine.queue.post(self._arrived, accepted)
        elif not self.terminating:
            logger.debug("accepting at %s: %s", self.bound, winsock_name(code))
            self.engine.queue.post(self._wait)

    def _arrived(self, accepted: Accepted) -> None:
        proceed(self._take_arrival(accepted))
        if not self.terminating:
            self._wait()

    async def _take_arrival(self, accepted: Accepted) -> None:
        """Show the arrival to the filters, and have the client's end brought; the client need not be there yet."""
        verdict = accepted.verdict
        if self.terminating or verdict is None:
            accepted.transport.close(True)
            return
        transport, local, remote, _, early = accepted
        connection = FWXAcceptedConnection(self, transport, remote, local, verdict, self._accepted_ended, early)
        await self._show(connection)

    async def _show(self, connection: FWXAcceptedConnection) -> None:
        verdict = connection.verdict
        try:
            passes = await connection.raise_accepted_event(self._hosts_of(verdict))
            if passes and not connection.terminating:
                connection.join(self._side)
            else:
                connection.turn_away(*connection.result, Action.Denied)
        except Exception as error:
            logger.exception("taking a connection from %s at %s failed", connection.target, connection.local)
            connection.turn_away(E_UNEXPECTED, f"internal failure: {type(error).__name__}: {error}")

    def _emulate(
        self, data_filter: IFWXDataFilter, remote: SocketAddress, local: SocketAddress
    ) -> FWXAcceptedConnection:
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection is ending")
        if self.emulation is None:
            raise winsock_error(WSAEINVAL, "no filter emulates the connection")
        if not self.engine.accepting():
            raise COMError(FWX_E_IS_BUSY, "the firewall log fails")  # fails closed (B9.18)
        verdict = self._decide(remote, local)
        if not verdict.allowed:
            raise COMError(verdict.hresult, verdict.reason)
        connection = FWXAcceptedConnection(self, None, remote, local, verdict, self._accepted_ended)
        try:
            connection.emulate(self.emulation.host, data_filter)
        except COMError as error:
            connection.refuse(error.hresult, str(error))
            raise
        proceed(self._show(connection))
        if connection.terminating:
            raise refusal(connection)
        return connection

    def _judge_peers(self) -> None:
        """Who comes from now on is judged; who has come has a connection with a filter of its own."""

    # The end.

    def _stop_moving(self) -> None:
        self._give_back()

    def _give_back(self) -> None:
        """Give the port back, in the kernel and in its packet filter."""
        acceptor, self._acceptor = self._acceptor, None
        transport, self._local_end.transport = self._local_end.transport, None
        if acceptor is not None:
            acceptor.close()
        elif transport is not None:
            transport.close(False)
        self._local_end.close_ports()

    def _write_record(self, action: Action, filters: str, seconds: float) -> None:
        self.engine.write_record(listening_record(self, action, filters, seconds))

    # IFWXConnection.

    def EmulateConnection(
        self,
        piDataFilter: IFWXDataFilter,
        RemoteAddress: SocketAddress,
        RemoteAddressLength: int | None,
        LocalAddress: SocketAddress,
        LocalAddressLength: int | None = None,
    ) -> IFWXConnection:
        """Make a connection to the client, with *piDataFilter* as the peer: it gets the internal socket alone (B3.35,
        B3.37). The client is told *RemoteAddress* where its protocol tells it who has come (B3.36). The rules are asked
        as for anybody who comes from there to *LocalAddress*. From any thread.

        Where a blocking filter is to see it, nobody waits for that filter here: one that is refused ends.

        :raises COMError: ``WSAEINVAL`` no filter emulates the bind; ``E_POINTER``, ``E_INVALIDARG`` no data filter, or
            no literal addresses; ``FWX_E_POLICY_RULES_DENIED`` the rules let nobody come from there, or
            ``FWX_E_ADDRESS_NOT_ALLOWED`` the IP filter; ``FWX_E_IS_BUSY`` the log fails; ``FWX_E_TERMINATING``; why
            the connection was refused, by a filter for one.
        """
        for address, length in ((RemoteAddress, RemoteAddressLength), (LocalAddress, LocalAddressLength)):
            check_address(address, length)
            if address.address is None:
                raise COMError(E_INVALIDARG, f"{address} is no literal address")
        made: IFWXConnection = on_loop(self.engine.queue, self._emulate, piDataFilter, RemoteAddress, LocalAddress)
        return made

    def GetExternalSocketName(self) -> SocketAddress:
        """Return the address on the outside.

        :raises COMError: ``WSAEINVAL`` there is none yet; ``FWX_E_TERMINATING``.
        """
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection has ended")
        if self.bound is None:
            raise winsock_error(WSAEINVAL, "the connection is not bound yet")
        return self.bound


def refusal(connection: ConnectionBase) -> COMError:
    """Return why *connection* was refused; or that it has ended, perhaps while a blocking filter was being asked."""
    result, reason = connection.result
    return COMError(result if FAILED(result) else FWX_E_TERMINATING, reason or "the connection has ended")


def end_all(connections: Iterable[ConnectionBase], result: int, reason: str) -> None:
    """End those of *connections* that listen: the service stops."""
    for connection in connections:
        if isinstance(connection, FWXListeningConnection):
            connection.end(result, reason)
