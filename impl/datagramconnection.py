"""FWXDatagramConnection: the UDP socket of a client, and all that it exchanges with the world (B2.15 to B2.20)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from fwx.impl.connectionrecord import kept_off_record
from fwx.impl.course import proceed
from fwx.impl.datagramchain import DatagramChain
from fwx.impl.datagramendpoint import REPORTED
from fwx.impl.datagramservers import DatagramServers
from fwx.impl.datagramways import DatagramWays
from fwx.impl.destinationadmission import DestinationAdmission, HostsOf
from fwx.impl.destinationevent import HasDestinations
from fwx.impl.destinations import Destinations
from fwx.impl.event import bind_udp_event
from fwx.impl.logrecord import Action
from fwx.impl.policy import Verdict
from fwx.impl.tiedfilters import TiedFilters
from fwx.impl.transport import ENDING, INPUT
from fwx.impl.udpdestination import Destination, Exit, State
from fwx.impl.winsock import winsock_code
from fwx.interfaces import GUID_NULL, SocketAddress
from fwx.interfaces.constants import FWX_PROTOCOL_UDP
from fwx.interfaces.enums import fwx_Bind_Udp
from fwx.interfaces.hresult import (
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAEACCES,
    WSAEADDRINUSE,
    WSAEINVAL,
    COMError,
    winsock_error,
)

if TYPE_CHECKING:
    from fwx.impl.bindapproval import BindApproval
    from fwx.impl.chain import Member
    from fwx.impl.datagramchain import Datagram, Passed
    from fwx.impl.filterhost import FilterHost
    from fwx.impl.permission import Permission
    from fwx.impl.session import FWXSession
    from fwx.impl.transport import DatagramTransport
    from fwx.impl.upstreamdatagrams import UpstreamDatagrams

logger = logging.getLogger("fwx.datagramconnection")

MOST_DESTINATIONS = 160
"""Destinations that one UDP socket of a client has at a time; the one that was quiet for longest makes room."""
MOST_STRANGERS = 16
"""Of those, who wrote to the client by themselves, where a filter has approved that; what others write is lost."""
# Datagrams taken at one event, so that a flood leaves the others their turn.
_TAKEN_AT_ONCE = 256
_BOUND = Verdict(True, "", (), False, S_OK, "", GUID_NULL, "", "", "")


class Receiver(Protocol):
    """Where datagrams come from: a transport, or an association with an upstream."""

    def receive(self) -> tuple[bytes, tuple[Any, ...]]: ...

    def take_error(self) -> object: ...


class FWXDatagramConnection(HasDestinations):
    """One UDP socket of a client: its destinations are judged, shown to the filters, counted and logged one by one.

    The entry hands in *client*, a datagram transport that speaks the client's protocol: what it receives comes with the
    target, what it sends goes with the source. The host calls :meth:`bind`, then :meth:`start`. It lives until the
    entry, a filter or the service ends it.
    """

    __slots__ = (
        "_admission",
        "_bind_chain",
        "_client",
        "_kept_off",
        "_servers",
        "_ways",
        "source_proxy",
    )

    def __init__(
        self,
        session: FWXSession,
        client_address: SocketAddress,
        client: DatagramTransport,
        hosts_of: HostsOf,
        *,
        interface: str = "",
        agent: str = "",
        most_destinations: int = MOST_DESTINATIONS,
        on_ended: Any = None,
        diverted: bool = False,
        permission: Permission | None = None,
    ) -> None:
        """:param hosts_of: gives the filters that see what a verdict allows.

        :param permission: what a filter has announced, which the connection is for alone.
        :param diverted: the client's datagrams are taken on their way: only what a protocol begins with, or a filter
            has announced, is let on (B2.13).
        """
        super().__init__(session, client_address, _BOUND, interface=interface, agent=agent, on_ended=on_ended)
        self._client = client
        self._hosts_of = hosts_of
        self._servers = DatagramServers(self.engine, self._server_event, self._way_closed)
        self._destinations = Destinations(self, self._servers, most_destinations)
        self._admission = DestinationAdmission(
            self, self._destinations, hosts_of, self._admitted, permission, diverted=diverted
        )
        self._ways = DatagramWays(self.engine, self._way_event)
        self._bind_chain: DatagramChain | None = None
        self._tied = None
        self._shown = None
        # Datagrams from outside the IP filter.
        self._kept_off = 0
        # Who spoke for the client, by a PROXY header; the host sets it.
        self.source_proxy: SocketAddress | None = None

    # The host's side.

    async def bind(self, address: SocketAddress, hosts: Iterable[FilterHost]) -> bool:
        """Show the client's bind to the filters (B2.20); ``False`` when one refuses it, and :attr:`result` says why."""
        event = partial(bind_udp_event, self, address)
        return await self.raise_event(hosts, fwx_Bind_Udp, event, WSAEADDRINUSE, at=(address,))

    async def open(self, address: SocketAddress, hosts: Iterable[FilterHost]) -> None:
        """Do :meth:`bind`, then :meth:`start`; or end where a filter refuses the bind."""
        passes = await self.bind(address, hosts)
        if self.terminating:
            return
        if passes:
            self.start()
        else:
            self.refuse(*self.result)

    def start(self) -> None:
        """Begin to carry datagrams."""
        if self._members:
            ends = self._from_client, self._to_client
            self._bind_chain = DatagramChain(_ordered(self._members), self.engine.queue, *ends, self)
            if not self._set_sockets(self._members):
                return
        self._client.watch(self._client_event)

    def leave_by(self, server: DatagramTransport, family: int) -> None:
        """Have datagrams to addresses of *family* leave by *server*, which is bound and now the connection's.

        Called before :meth:`start`, by an entry that has the servers see another address than the firewall's.
        """
        self._servers.take(server, family)

    @property
    def destinations(self) -> tuple[Destination, ...]:
        """What is remembered, the one that was quiet for longest first."""
        return tuple(self._destinations.values())

    @property
    def has_met_anyone(self) -> bool:
        """It has had a destination, of which the log was told as the rule has it."""
        return self._destinations.has_met_anyone

    def end_destination(self, destination: Destination, result: int, reason: str) -> None:
        """Forget *destination*, and log why; what the client sends there next is judged anew."""
        self._destinations.expire(destination, result, reason)

    def places_bound(self, protocol: int) -> tuple[SocketAddress, ...]:
        return self._servers.names if protocol == FWX_PROTOCOL_UDP else ()

    def approve(self, approval: BindApproval, bursts: bool) -> None:
        """Let strangers write to the client: the own ports are open to everybody then (B6.18)."""
        try:
            self._servers.open_to_all(bursts)
        except OSError as error:
            raise winsock_error(winsock_code(error), f"the packet filter: {error.strerror or error}") from error
        self.approval = approval

    def GetExternalSocketName(self) -> SocketAddress:
        """Return the local address of the socket towards the outside; of the IPv4 one where there are two.

        :raises COMError: ``WSAEINVAL`` nothing has been sent yet; ``FWX_E_TERMINATING``.
        """
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection has ended")
        name = self._servers.name
        if name is not None:
            return name
        for way in self._ways:
            if way.is_open:
                return SocketAddress.from_sockaddr(way.getsockname())
        raise winsock_error(WSAEINVAL, "nothing has been sent yet")

    # From the client.

    def _client_event(self, mask: int) -> None:
        if mask & INPUT:
            self._take(self._client, self._client_received)

    def _client_received(self, data: Datagram, target: SocketAddress) -> None:
        if self._bind_chain is None:
            self._from_client(data, target)
        else:
            self._bind_chain.from_client(data, target)

    def _from_client(self, data: Datagram, target: SocketAddress) -> None:
        """A datagram has passed the filters of the socket: on to its destination, which is new or remembered."""
        if self.terminating:
            return
        destination = self._destinations.get(target)
        if destination is None or destination.state is State.HEARD:
            if not self.engine.accepting():
                return  # fails closed (B9.18), until the log works again
            destination = self._destinations.remember(target)
            self._admission.judge(destination)
        else:
            self._destinations.move_to_end(target)
        if destination.state is State.OPEN:
            self._outward(destination, data)
        elif destination.state is not State.DENIED and destination.takes_more() and self.has_room(len(data)):
            destination.waiting.append(data)

    def _outward(self, destination: Destination, data: Datagram) -> None:
        if self._tied is None:
            self._to_destination(destination, data)
        else:
            self._tied.from_client(data, destination.target)

    def _past_tied(self, data: Datagram, target: SocketAddress) -> None:
        """The tied filters have let a datagram out: they reach what the client does, and nobody whom they name else."""
        destination = self._destinations.get(target)
        if destination is not None and destination.state is State.OPEN:
            self._to_destination(destination, data)

    def _to_destination(self, destination: Destination, data: Datagram) -> None:
        if destination.chain is None:
            self._to_server(destination, data, destination.target)
        else:
            destination.chain.from_client(data, destination.target)

    def _to_server(self, destination: Destination, data: Datagram, _target: SocketAddress) -> None:
        """Send to the destination, whatever address its filters named: they cannot reach what was not judged."""
        if self.terminating or destination.exit is None:
            return
        try:
            send_datagram(destination.exit, data, destination.sockaddr)
        except OSError as error:
            # No room, no route, too long: UDP loses it. What the network reports comes by the same way.
            logger.debug("a datagram to %s is lost: %s", destination.target, error)
            return
        destination.sent += len(data)

    # From the outside.

    def _server_event(self, server: DatagramTransport, mask: int) -> None:
        if mask & ENDING:
            while server.take_error() is not None:
                """The network says that a datagram did not arrive: UDP's client is not told so."""
        if mask & INPUT:
            self._take(server, self._server_received)

    def _server_received(self, data: Datagram, source: SocketAddress) -> None:
        destination = self._destinations.answers.straight.get(source) or self._hear(source)
        if destination is not None and destination.state in (State.OPEN, State.HEARD):  # else a stranger
            self._answered(destination, data, source)

    def _hear(self, source: SocketAddress) -> Destination | None:
        """Take up a stranger if a filter has approved that others write to the client (B6.18, B2.15)."""
        known = self._destinations.get(source)
        if known is not None and known.secondary and known.state is State.DENIED:
            return known  # a filter has refused it (B2.19)
        if not self.admits(source):
            self._kept_off += 1
            return None
        approval = self.approval if self.engine.accepting() else None
        if approval is None or not approval.admits(source) or self._destinations.strangers >= MOST_STRANGERS:
            return None
        destination = self._destinations.remember(source)
        destination.secondary = True
        destination.verdict = approval.verdict(source, self._servers.names[0])
        if approval.bidirectional:
            self._admitted(destination, [source])
        else:
            destination.address = source
            proceed(self._heard(destination))
        return destination

    async def _heard(self, destination: Destination) -> None:
        if await self._show(destination):
            self._begin(destination)
            destination.state = State.HEARD

    def _answered(self, destination: Destination, data: Datagram, source: SocketAddress) -> None:
        destination.received += len(data)
        self._destinations.move_to_end(destination.target)
        if destination.chain is None:
            self._inward(data, source)
        else:
            destination.chain.from_server(data, source)

    def _inward(self, data: Datagram, source: SocketAddress) -> None:
        if self._tied is None:
            self._to_socket(data, source)
        else:
            self._tied.from_server(data, source)

    def _to_socket(self, data: Datagram, source: SocketAddress) -> None:
        if self._bind_chain is None:
            self._to_client(data, source)
        else:
            self._bind_chain.from_server(data, source)

    def _to_client(self, data: Datagram, source: SocketAddress) -> None:
        if self.terminating:
            return
        try:
            self._client.send_to(data, source.sockaddr)
        except OSError as error:
            logger.debug("a datagram to client %s is lost: %s", self.client_address, error)

    # Destinations.

    def _admitted(self, destination: Destination, addresses: list[SocketAddress] | None) -> None:
        proceed(self._admit(destination, addresses))

    async def _admit(self, destination: Destination, addresses: list[SocketAddress] | None) -> None:
        """Show it to the filters of its rule, and take its route, to the first address or to the name itself."""
        assert destination.verdict is not None
        upstream = destination.verdict.upstream
        if upstream and self._ways.rests(upstream):
            self._destinations.drop(destination)
            return
        addresses = self.admitted(addresses)
        destination.address = addresses[0] if addresses else None
        if not self.admits(destination.address):
            self._destinations.bar(destination)
            return
        if destination.permission is not None:
            destination.permission.take()
        if not await self._show(destination):
            return
        if upstream:
            self._associate(destination, upstream)
            return
        assert destination.address is not None
        if destination.verdict.translates:
            destination.hides_behind = self._servers.hiding(destination.address.family)
        try:
            self._servers.open_to(destination.address, destination.leaves_from)
        except OSError as error:
            result = int(HRESULT_FROM_WIN32(WSAEACCES))
            self._destinations.deny(destination, result, f"the way out could not be opened: {error}", Action.Failed)
            return
        self._begin(destination)

    def _begin(self, destination: Destination) -> None:
        """Its way is open: let its filters work, and send what has waited."""
        address = destination.address or destination.target
        destination.exit = destination.way or self._servers.of(address.family, destination.leaves_from)
        destination.sockaddr = address.sockaddr
        destination.state = State.OPEN
        if self.engine.logs_establishing and destination.verdict is not None and destination.verdict.log:
            self._destinations.log_going_on(destination, Action.Establish)
        if destination.address is not None:
            self._destinations.answers.learn(destination, destination.address)
        if destination.tied:
            self._tie(destination.tied)
        outward: Passed = partial(self._to_server, destination)
        inward: Passed = self._inward
        tracer = self.engine.tracer
        if tracer is not None:
            inward = tracer.destination(self, destination, outward, inward)
        if destination.members:
            destination.chain = DatagramChain(_ordered(destination.members), self.engine.queue, outward, inward, self)
        if not self._set_sockets([*destination.tied, *destination.members]):
            return
        if tracer is not None:
            tracer.destination_ready(destination)
        if destination.permission is not None:
            destination.permission.use(self)
        waiting, destination.waiting = destination.waiting, type(destination.waiting)()
        for data in waiting:
            self._outward(destination, data)

    def _tie(self, members: list[Member]) -> None:
        """Have all datagrams pass *members* from now on."""
        if self._tied is None:
            self._tied = TiedFilters(self.engine.queue, self._past_tied, self._to_socket, self)
        self._tied.add(members)

    # Through upstreams.

    def _associate(self, destination: Destination, upstream: str) -> None:
        """Have it wait until datagrams can go through *upstream*, if they cannot yet."""
        way = self._ways.through(upstream)
        destination.way = way
        if way.code:
            self._destinations.fail(way)
        elif way.is_open:
            self._begin(destination)
        else:
            destination.state = State.ASSOCIATING

    def _way_event(self, way: UpstreamDatagrams, mask: int) -> None:
        if self.terminating:
            return
        if way.code:
            self._destinations.fail(way)
            return
        for destination in self._destinations.waiting_for(way):
            if not self.terminating:
                self._begin(destination)
        if mask & INPUT:
            self._take(way, partial(self._way_received, way))

    def _way_received(self, way: UpstreamDatagrams, data: Datagram, source: SocketAddress) -> None:
        destination = self._destinations.answers.through(way, source, self._destinations.values())
        if destination is not None and destination.state is State.OPEN:
            self._answered(destination, data, source)
        elif not self.admits(source):
            self._kept_off += 1

    # The sockets.

    @property
    def bytes_waiting(self) -> int:
        chains = (self._bind_chain, self._tied)
        return self._destinations.bytes_waiting + sum(chain.backlog for chain in chains if chain is not None)

    def _set_sockets(self, members: list[Member]) -> bool:
        for member in list(members):
            if self.terminating:
                return False
            error = member.set_sockets()
            if error is not None:
                self.filter_failed(member.host, "SetSockets", error)
                return False
        return not self.terminating

    def _way_closed(self, code: int, reason: str) -> None:
        self.end(HRESULT_FROM_WIN32(code), reason)

    def _take(self, transport: Receiver, received: Callable[[Datagram, SocketAddress], None]) -> None:
        """Hand on what has come, a turn's worth; the rest in the loop's next round."""
        for _ in range(_TAKEN_AT_ONCE):
            if self.terminating:
                return
            try:
                data, sockaddr = transport.receive()
            except BlockingIOError:
                return
            except InterruptedError:
                break
            except OSError as error:
                transport.take_error()
                logger.debug("receiving for client %s: %s", self.client_address, error)
                continue
            received(data, SocketAddress.from_sockaddr(sockaddr))
        self.engine.queue.defer(self._take, transport, received)

    # The end.

    def _stop_moving(self) -> None:
        self._client.close(True)
        self._servers.close()
        self._ways.close()
        if self._bind_chain is not None:
            self._bind_chain.abort()
        if self._tied is not None:
            self._tied.abort()
        self._destinations.abort()

    def _log_parts(self, action: Action) -> None:
        """Log every destination, and what the IP filter has kept off."""
        self._destinations.log_all(action, *self.result)
        if self._kept_off:
            seconds = self.engine.clock() - self._started
            self.engine.write_record(kept_off_record(self, self._kept_off, seconds))

    def _let_go(self) -> None:
        self._bind_chain = self._tied = None
        self._destinations.clear()
        self._servers.clear()

    def _write_record(self, action: Action, filters: str, seconds: float) -> None:
        """Its destinations have their records."""

    def log_interim(self, now: float, interval: float) -> None:
        """See :meth:`fwx.impl.connectionbase.ConnectionBase.log_interim`; each destination is due by itself."""
        if not self.terminating:
            self._destinations.log_interim(now, interval)


def send_datagram(server: Exit, data: Datagram, sockaddr: tuple[Any, ...]) -> None:
    """Send one datagram; once more, if what failed was an earlier one, of which the network has told meanwhile.

    :raises OSError: no room, too long, no route, ...
    """
    try:
        server.send_to(data, sockaddr)
    except OSError as error:
        if error.errno not in REPORTED or server.take_error() is None:
            raise
        while server.take_error() is not None:
            """None of them is this datagram's."""
        server.send_to(data, sockaddr)


def _ordered(members: Iterable[Member]) -> list[Member]:
    return sorted(members, key=lambda member: member.priority)
