"""FWXEmulatedDatagrams: a UDP port that there is not, where others come for a client from a filter (B6.27)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fwx.impl.chain import chain_order
from fwx.impl.clientsideports import MOST_PORTS, ClientSidePorts
from fwx.impl.connectionrecord import datagram_port_record
from fwx.impl.course import proceed
from fwx.impl.datagramchain import DatagramChain
from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.emulation import Emulation
from fwx.impl.logrecord import Action
from fwx.impl.loopthread import on_loop
from fwx.impl.sockets import check_address
from fwx.impl.udpdestination import State
from fwx.interfaces.enums import fwx_dfpc_Emulation
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    FWX_E_ALREADY_EXISTS,
    FWX_E_TERMINATING,
    WSAECONNABORTED,
    WSAEINVAL,
    WSAENOBUFS,
    COMError,
    winsock_error,
)

if TYPE_CHECKING:
    from fwx.impl.chain import Member
    from fwx.impl.datagramchain import Datagram
    from fwx.impl.filterhost import FilterHost
    from fwx.impl.policy import Verdict
    from fwx.impl.session import FWXSession
    from fwx.impl.udpdestination import Destination
    from fwx.interfaces import IFWXConnection, IFWXDataFilter, SocketAddress

MOST_AT_ONCE: Final = MOST_PORTS
"""Peers that filters emulate at one port at a time."""


class FWXEmulatedDatagrams(FWXDatagramConnection):
    """Nothing is bound: each peer is a data filter, which ``EmulateConnection`` brings.

    A peer is to it what a connection is to TCP, so that method returns the connection itself.

    It lives until a filter kills it, its session ends or the service stops; a peer, until it was quiet for a while.

    :ivar bound: the place that the bind event shows. :ivar waits: there is no peer.
    """

    __slots__ = ("_flags", "_moved", "_ports", "bound", "waits")

    # It is a connection, which says by itself whose it is (:class:`fwx.impl.secondary.Announced`).
    host: FilterHost | None = None

    def __init__(self, session: FWXSession, client: SocketAddress, place: SocketAddress, flags: int, by: FilterHost):
        """*client* is where the datagrams go, *place* where others are said to send to. *by*: who emulates it."""
        self._ports = ClientSidePorts(session, client, self._way_closed)
        super().__init__(
            session,
            client,
            self._ports,  # type: ignore[arg-type]  # it never binds or connects
            session.engine.gateway.hosts_of,
            interface="emulated for client",
            on_ended=self._gone,
        )
        self._flags = flags
        # Those that something has passed to or from since somebody looked.
        self._moved: set[SocketAddress] = set()
        self.bound = place
        self.waits = True
        self.emulation = Emulation(by)
        self.emulation.name = place

    async def show(self, verdict: Verdict) -> bool:
        """Show the bind to the filters of *verdict*, and begin; ``False`` when one refuses, :attr:`result` says why."""
        self.verdict = verdict
        passes = await self.bind(self.bound, self.engine.gateway.hosts_of(verdict))
        if passes:
            self.start()
        return passes and not self.terminating

    # Peers.

    def _emulate(self, data_filter: IFWXDataFilter, remote: SocketAddress) -> FWXEmulatedDatagrams:
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection is ending")
        if remote in self._destinations:
            raise COMError(FWX_E_ALREADY_EXISTS, f"{remote} is emulated already")
        if len(self._destinations) >= MOST_AT_ONCE:
            raise winsock_error(WSAENOBUFS, f"{MOST_AT_ONCE} peers are emulated")
        if self.emulation is None:
            raise winsock_error(WSAEINVAL, "no filter emulates the connection any more")
        member = self._attach(data_filter, fwx_dfpc_Emulation, None, self.emulation.host)
        member.emulates = True
        destination = self._destinations.remember(remote)
        destination.verdict, destination.address = self.verdict, remote
        course = proceed(self._begin_peer(destination, member), self.engine.strands.unheard)
        if course.has_ended:
            course.result()
        return self

    async def _begin_peer(self, destination: Destination, member: Member) -> None:
        """Show the peer to the filters, and give its sockets to what plays it. :raises COMError: it is refused."""
        if not await self._show(destination):
            self._destinations.pop(destination.target, None)
            self.release([member])
            raise winsock_error(WSAECONNABORTED, f"a filter refuses {destination.target}")
        destination.members.append(member)
        destination.state = State.OPEN
        inward = partial(self._from_filter, destination)
        members = sorted(destination.members, key=chain_order)
        destination.chain = DatagramChain(members, self.engine.queue, None, inward, self)
        self.waits = False
        self._watch(destination)
        if destination.tied:
            self._tie(destination.tied)
        if not self._set_sockets([*destination.tied, *destination.members]):
            raise COMError(*self.result)

    def _from_filter(self, destination: Destination, data: Datagram, _source: SocketAddress) -> None:
        """A datagram for the client has come out of the chain: it is the peer's, whatever address filters named."""
        self._moved.add(destination.target)
        destination.received += len(data)
        self._inward(data, destination.target)

    def _to_destination(self, destination: Destination, data: Datagram) -> None:
        self._moved.add(destination.target)
        super()._to_destination(destination, data)

    def _watch(self, destination: Destination) -> None:
        self._moved.discard(destination.target)
        self.engine.datagram_deadlines.add(partial(self._look, destination))

    def _look(self, destination: Destination) -> None:
        if self.terminating or self._destinations.get(destination.target) is not destination:
            return
        if destination.target in self._moved:
            self._watch(destination)
            return
        self._destinations.expire(destination)
        self._ports.forget(destination.target.sockaddr)
        if not self._destinations:
            self.waits = True
            self.engine.sessions.rest(self.session)

    # The end.

    def refuse(self, result: int, reason: str, action: Action = Action.Failed) -> None:
        """End it before anybody came."""
        self._stop_moving()
        super().refuse(result, reason, action)

    def _gone(self, connection: Any) -> None:
        self.session.secondary.forget(self)
        self.engine.gateway.connection_ended(connection)

    def _write_record(self, action: Action, filters: str, seconds: float) -> None:
        """Write that of the place; the peers have their own."""
        sent = 0 if self.emulation is None else self.emulation.sent
        record = datagram_port_record(self, action, self.verdict, self.result)
        self.engine.write_record(record._replace(filters=filters, connection_time=int(seconds * 1000), bytes_sent=sent))

    # IFWXConnection.

    def EmulateConnection(
        self,
        piDataFilter: IFWXDataFilter,
        RemoteAddress: SocketAddress,
        RemoteAddressLength: int | None,
        LocalAddress: SocketAddress,
        LocalAddressLength: int | None = None,
    ) -> IFWXConnection:
        """Have *piDataFilter* be the peer *RemoteAddress*: it gets the internal socket alone (B3.35, B3.37), from which
        it receives what the client answers. The client sees an address of the firewall. From any thread.

        :returns: this connection.
        :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` no data filter, or no literal addresses; ``WSAEINVAL`` the
            filter that emulates it has failed; ``FWX_E_ALREADY_EXISTS`` the peer is emulated already; ``WSAENOBUFS``
            too many are; ``WSAECONNABORTED`` another filter refuses it; ``FWX_E_TERMINATING``.
        """
        for address, length in ((RemoteAddress, RemoteAddressLength), (LocalAddress, LocalAddressLength)):
            check_address(address, length)
            if address.address is None:
                raise COMError(E_INVALIDARG, f"{address} is no literal address")
        return on_loop(self.engine.queue, self._emulate, piDataFilter, RemoteAddress)

    def GetExternalSocketName(self) -> SocketAddress:
        """Return the place. :raises COMError: ``FWX_E_TERMINATING``."""
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection has ended")
        return self.bound

    def GetConnectionFlags(self) -> int:
        """Return ``FWX_CONNECTION_INTERNAL_ADDRESS_TRANSLATION`` if the filter has said so, else 0."""
        return self._flags
