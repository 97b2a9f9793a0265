"""FWXDatagramsForClient: a UDP port on the outside that a filter has bound for a client (B6.12 to B6.17)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fwx.impl.admission import admit_arrival
from fwx.impl.announcement import check_client
from fwx.impl.clientsideports import MOST_PORTS, ClientSidePorts
from fwx.impl.connectionrecord import datagram_port_record
from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.logrecord import Action
from fwx.impl.loopthread import on_loop
from fwx.impl.ownaddress import address_towards
from fwx.impl.turnedaway import TurnedAway
from fwx.impl.udpdestination import STANDING, State
from fwx.impl.winsock import winsock_code
from fwx.interfaces import SocketAddress
from fwx.interfaces.constants import FWX_PROTOCOL_UDP
from fwx.interfaces.hresult import (
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_IS_BUSY,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_OK,
    COMError,
)

if TYPE_CHECKING:
    from fwx.impl.filterhost import FilterHost
    from fwx.impl.ipfilter import FWXIpFilter
    from fwx.impl.permission import Permission
    from fwx.impl.policy import Verdict
    from fwx.impl.session import FWXSession
    from fwx.impl.transport import DatagramTransport
    from fwx.impl.udpdestination import Destination

MOST_AT_ONCE: Final = MOST_PORTS
"""Peers of one port at a time: whoever is outside may write to it, and no limit of a client's counts those."""


class FWXDatagramsForClient(FWXDatagramConnection):
    """A port where a client waits that has bound none itself, over UDP. A peer is to it what a connection is to TCP.

    It takes one peer, or several, as its permission says. The one peer has the port for itself: the packet filter lets
    nobody else in any more. A peer is forgotten when it was quiet for a while, and the port of one peer is over then.
    Who may come is the IP filter's to say, for the rule of the primary connection allows the secondary one too; without
    a primary connection the rules are asked. What the client answers leaves from the port, to the peer that it answers.

    :ivar bound: the port. :ivar waits: nobody has come, or those who had are gone.
    """

    __slots__ = (
        "_flags",
        "_has_primary",
        "_ports",
        "_transport",
        "_turned_away",
        "bound",
        "permission",
        "waits",
    )

    def __init__(
        self,
        session: FWXSession,
        permission: Permission,
        flags: int,
        has_primary: bool,
        transport: DatagramTransport,
        ip_filter: FWXIpFilter | None = None,
    ) -> None:
        """*permission* is for the client's address, which is all zeros where it is not known yet (B6.16).

        :param flags: which addresses ``SetClientAddress`` may give. :param has_primary: whether a primary connection's
            rule stands behind it. :param transport: is bound, and belongs to the connection.
        """
        target = permission.target
        known = target.address is not None and not target.address.is_unspecified
        self._ports = ClientSidePorts(session, target if known else None, self._way_closed)
        super().__init__(
            session,
            target,
            self._ports,  # type: ignore[arg-type]  # it never binds or connects
            session.engine.gateway.hosts_of,
            interface="bound for client",
            on_ended=self._gone,
        )
        self.permission = permission
        self._flags = flags
        self._has_primary = has_primary
        self._ip_filter = None if ip_filter is None else ip_filter.Clone()
        self._transport: DatagramTransport | None = transport
        self._turned_away = TurnedAway(self.engine.clock)
        self.bound = SocketAddress.from_sockaddr(transport.getsockname())
        self.is_secondary = True
        self.verdict = permission.verdict
        self.waits = True
        permission.on_ended = self._permission_ended

    @property
    def host(self) -> FilterHost | None:
        """The filter that is told of its peers, if one is (:class:`fwx.impl.secondary.Announced`)."""
        return self.permission.host

    # The host's side: bind, then listen; or refuse.

    async def show(self, verdict: Verdict) -> bool:
        """Show the bind to the filters of *verdict* (B2.20); ``False`` when one refuses, :attr:`result` says why."""
        self.verdict = verdict
        return await self.bind(self.bound, self.engine.gateway.hosts_of(verdict))

    def listen(self, backlog: int) -> None:
        """Open the port, to whoever may come. If that fails the connection ends."""
        transport, self._transport = self._transport, None
        assert transport is not None
        self.leave_by(transport, self.bound.family)
        try:
            self._servers.open_to_all(False)
        except OSError as error:
            code = winsock_code(error)
            self.refuse(HRESULT_FROM_WIN32(code), f"listening at {self.bound}: the packet filter: {error}")
            return
        self.start()
        if self.verdict.log and not self.terminating:
            self.engine.write_record(datagram_port_record(self, Action.Bind, self.verdict, (S_OK, "")))

    def refuse(self, result: int, reason: str, action: Action = Action.Failed) -> None:
        """End it before anybody was let in."""
        self._stop_moving()
        super().refuse(result, reason, action)

    def places_bound(self, protocol: int) -> tuple[SocketAddress, ...]:
        """The client has bound nothing: the filter has."""
        return ()

    # Who comes.

    def _hear(self, source: SocketAddress) -> Destination | None:
        """Take up somebody new, if it may come; what is remembered of *source* is that it may not."""
        if not self.engine.accepting():
            return None  # fails closed (B9.18); there is nowhere to log it to
        known = self._destinations.get(source)
        if known is not None:
            return known
        verdict = self._judge(source)
        if not verdict.allowed:
            self._turn_away(source, verdict)
            return None
        destination = self._destinations.remember(source)
        destination.secondary, destination.verdict = True, verdict
        self.permission.take()
        self._admitted(destination, [source])
        return destination

    async def _admit(self, destination: Destination, addresses: list[SocketAddress] | None) -> None:
        """Let a peer in that no filter refuses; meanwhile a port for one is that peer's."""
        await super()._admit(destination, addresses)
        if self.terminating:
            return
        if destination.state is State.OPEN:
            self.waits = False
            self.permission.use(self, destination.target)
        else:
            self.permission.give_back()
        self._watch(destination)

    def _judge(self, peer: SocketAddress) -> Verdict:
        """Say whether *peer* may write to the client."""
        verdict, engine = self.verdict, self.engine
        local = self._local_towards(peer)
        if not self.admits(peer):
            reason = f"the IP filter does not include {peer}"
            return replace(verdict, allowed=False, hresult=FWX_E_ADDRESS_NOT_ALLOWED, reason=reason)
        if not self._has_primary:
            judged = admit_arrival(engine, peer, local, self.session.who, "UDP")
            if not judged.allowed:
                return judged
            verdict = replace(judged, protocol=verdict.protocol, protocol_guid=verdict.protocol_guid)
        if not self.permission.is_open:
            reason = "the port is for one, who has come"
        elif len(self._destinations) >= MOST_AT_ONCE:
            reason = f"the port has {MOST_AT_ONCE} peers"
        else:
            networks = engine.policy.networks_of
            source, destination = networks(peer.host)[0], networks(local.host)[0]
            return replace(verdict, upstream="", source_network=source, destination_network=destination)
        return replace(verdict, allowed=False, hresult=FWX_E_IS_BUSY, reason=reason)

    def _local_towards(self, peer: SocketAddress) -> SocketAddress:
        """Return the port as *peer* reaches it."""
        address = self.bound.address
        if self._has_primary or address is None or not address.is_unspecified:
            return self.bound
        return (address_towards(self.engine.network, peer) or self.bound).with_port(self.bound.port)

    def _turn_away(self, peer: SocketAddress, verdict: Verdict) -> None:
        if verdict.log and self._turned_away.is_news(peer):
            outcome = int(verdict.hresult), verdict.reason
            self.engine.write_record(datagram_port_record(self, Action.Denied, verdict, outcome, peer))

    def _permission_ended(self) -> None:
        """It was used up, has lapsed, or has ended with the session."""
        if self._has_peers():
            self._servers.close_to(self.bound)
        else:
            self.end(S_OK, "the port is not needed any more")

    def _has_peers(self) -> bool:
        return any(each.state is State.OPEN for each in self._destinations.values())

    # Who goes.

    def _watch(self, destination: Destination) -> None:
        seen = destination.sent, destination.received
        self.engine.datagram_deadlines.add(partial(self._look, destination, seen))

    def _judge_destinations(self) -> None:
        """The IP filter is another one (B6.32): it holds for those who have come already too."""
        for destination in list(self._destinations.values()):
            if not self.terminating and destination.state in STANDING and not self.admits(destination.address):
                reason = f"the IP filter does not include {destination.target}"
                self._forget(destination, FWX_E_ADDRESS_NOT_ALLOWED, reason)

    def _look(self, destination: Destination, seen: tuple[int, int]) -> None:
        if self.terminating or self._destinations.get(destination.target) is not destination:
            return
        if seen == (destination.sent, destination.received):
            self._forget(destination, S_OK, "")
        else:
            self._watch(destination)

    def _forget(self, destination: Destination, result: int, reason: str) -> None:
        self._destinations.expire(destination, result, reason)
        self._ports.forget(destination.target.sockaddr)
        if self._has_peers():
            return
        if self.permission.has_ended:
            self.end(result, reason)
        elif not self.waits:
            self.waits = True
            self.engine.sessions.rest(self.session)

    # The end.

    def _stop_moving(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close(False)
        super()._stop_moving()

    def _gone(self, connection: Any) -> None:
        self.permission.end()
        self.session.secondary.forget(self)
        self.engine.gateway.connection_ended(connection)

    def _write_record(self, action: Action, filters: str, seconds: float) -> None:
        """Write that of the port; the peers have their own."""
        result, reason = self.result
        unlogged = self._turned_away.unlogged
        if unlogged:
            reason = f"{reason}{'; ' if reason else ''}{unlogged} more datagrams were turned away"
        record = datagram_port_record(self, action, self.verdict, (result, reason))
        self.engine.write_record(record._replace(filters=filters, connection_time=int(seconds * 1000)))

    # IFWXConnection.

    def SetClientAddress(self, ClientAddress: SocketAddress, ClientAddressLength: int | None = None) -> None:
        """Say where the client is (B6.16): what has come for it already is sent there now. From any thread.

        :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` no literal address with a port; ``FWX_E_ADDRESS_NOT_ALLOWED``
            one that the flags of ``BindForClient`` do not allow; ``FWX_E_TERMINATING``.
        """
        address = check_client(ClientAddress, ClientAddressLength, self.session, self._flags, FWX_PROTOCOL_UDP)
        on_loop(self.engine.queue, self._set_client_address, address)

    def _set_client_address(self, address: SocketAddress) -> None:
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection has ended")
        self.client_address = address
        self._ports.set_client(address)
