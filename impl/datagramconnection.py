"""FWXDatagramConnection: the UDP socket of a client, and all that it exchanges with the world (B2.15 to B2.20)."""

from __future__ import annotations

import logging
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from fwx.impl.admission import admit, keep_to_protocols
from fwx.impl.connectionbase import ConnectionBase
from fwx.impl.connectionrecord import destination_record
from fwx.impl.datagramchain import DatagramChain
from fwx.impl.event import bind_udp_event, udp_destination_event
from fwx.impl.logrecord import Action
from fwx.impl.lookups import MOST_LOOK_UPS
from fwx.impl.packetfilter import Claim, Opening
from fwx.impl.policy import Verdict
from fwx.impl.transport import ENDING, INPUT
from fwx.impl.udpdestination import MOST_WAITING, Destination, FWXUdpDestination, State
from fwx.interfaces import GUID_NULL, SocketAddress
from fwx.interfaces.constants import FWX_PROTOCOL_UDP
from fwx.interfaces.enums import fwx_Bind_Udp, fwx_Udp_Destination
from fwx.interfaces.hresult import (
    FWX_E_DNS_QUOTA_EXCEEDED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAEACCES,
    WSAEADDRINUSE,
    WSAECONNREFUSED,
    WSAEINVAL,
    COMError,
    winsock_error,
)

if TYPE_CHECKING:
    from fwx.impl.chain import Member
    from fwx.impl.datagramchain import Datagram
    from fwx.impl.filterhost import FilterHost
    from fwx.impl.session import FWXSession
    from fwx.impl.transport import DatagramTransport

logger = logging.getLogger("fwx.datagramconnection")

MOST_DESTINATIONS = 160
"""Destinations that one UDP socket of a client has at a time; the one that was quiet for longest makes room."""
"""Destinations whose names are being looked up at a time; datagrams to more are lost."""
# Datagrams taken at one event, so that a flood leaves the others their turn.
_TAKEN_AT_ONCE = 256
_ANYWHERE = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104  as sendto does it
_BOUND = Verdict(True, "", (), False, S_OK, "", GUID_NULL, "", "", "")

HostsOf = Callable[[Verdict], "tuple[FilterHost, ...]"]


class FWXDatagramConnection(ConnectionBase):
    """One UDP socket of a client: its destinations are judged, shown to the filters, counted and logged one by one.

    The entry hands in *client*, a datagram transport that speaks the client's protocol: what it receives comes with the
    target, what it sends goes with the source. The host calls :meth:`bind`, then :meth:`start`. It lives until the
    entry, a filter or the service ends it.
    """

    __slots__ = (
        "_bind_chain",
        "_by_address",
        "_claims",
        "_client",
        "_destinations",
        "_diverted",
        "_hosts_of",
        "_most",
        "_servers",
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
    ) -> None:
        """:param hosts_of: gives the filters that see what a verdict allows.

        :param diverted: the client's datagrams are taken on their way: only what a protocol begins with, or a filter
            has announced, is let on (B2.13).
        """
        super().__init__(session, client_address, _BOUND, interface=interface, agent=agent, on_ended=on_ended)
        self._client = client
        self._hosts_of = hosts_of
        self._most = most_destinations
        self._diverted = diverted
        self._destinations: OrderedDict[SocketAddress, Destination] = OrderedDict()
        self._by_address: dict[SocketAddress, Destination] = {}
        self._servers: dict[int, DatagramTransport] = {}
        self._claims: dict[SocketAddress, Claim] = {}
        self._bind_chain: DatagramChain | None = None
        # Who spoke for the client, by a PROXY header; the host sets it.
        self.source_proxy: SocketAddress | None = None

    # The host's side.

    def bind(self, address: SocketAddress, hosts: Iterable[FilterHost]) -> bool:
        """Show the client's bind to the filters (B2.20); ``False`` when one refuses it, and :attr:`result` says why."""
        return self.raise_event(hosts, fwx_Bind_Udp, lambda: bind_udp_event(self, address), WSAEADDRINUSE)

    def start(self) -> None:
        """Begin to carry datagrams."""
        if self._members:
            self._bind_chain = DatagramChain(
                _ordered(self._members), self.engine.queue, self._from_client, self._to_client
            )
            if not self._set_sockets(self._members):
                return
        self._client.watch(self._client_event)

    def leave_by(self, server: DatagramTransport, family: int) -> None:
        """Have datagrams to addresses of *family* leave by *server*, which is bound and now the connection's.

        Called before :meth:`start`, by an entry that has the servers see another address than the firewall's.
        """
        self._servers[family] = server
        server.watch(partial(self._server_event, server))

    def deny_destination(self) -> bool:
        """Note that the filter which handles ``fwx_Udp_Destination`` refuses it; ``False`` at any other time."""
        if self._event_type != fwx_Udp_Destination or self._attaching is None:
            return False
        self._denied_by = self._attaching.name
        return True

    @property
    def destinations(self) -> tuple[Destination, ...]:
        """What is remembered, the one that was quiet for longest first."""
        return tuple(self._destinations.values())

    def GetExternalSocketName(self) -> SocketAddress:
        """Return the local address of the socket towards the outside; of the IPv4 one where there are two.

        :raises COMError: ``WSAEINVAL`` nothing has been sent yet; ``FWX_E_TERMINATING``.
        """
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection has ended")
        server = self._servers.get(socket.AF_INET) or self._servers.get(socket.AF_INET6)
        if server is None:
            raise winsock_error(WSAEINVAL, "nothing has been sent yet")
        return SocketAddress.from_sockaddr(server.getsockname())

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
        if destination is None:
            destination = self._meet(target)
        else:
            self._destinations.move_to_end(target)
        if destination.state is State.OPEN:
            self._to_destination(destination, data)
        elif destination.state is State.RESOLVING and len(destination.waiting) < MOST_WAITING:
            destination.waiting.append(data)

    def _to_destination(self, destination: Destination, data: Datagram) -> None:
        assert destination.address is not None
        if destination.chain is None:
            self._to_server(destination, data, destination.address)
        else:
            destination.chain.from_client(data, destination.target)

    def _to_server(self, destination: Destination, data: Datagram, _target: SocketAddress) -> None:
        """Send to the destination, whatever address its filters named: they cannot reach what was not judged."""
        address = destination.address
        if address is None or self.terminating:
            return
        try:
            self._server(address.family).send_to(data, address.sockaddr)
        except OSError as error:
            # No room, no route, too long: UDP loses it. What the network reports comes by the same way.
            logger.debug("a datagram to %s is lost: %s", address, error)
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
        destination = self._by_address.get(source)
        if destination is None or destination.state is not State.OPEN:
            return  # a stranger
        destination.received += len(data)
        self._destinations.move_to_end(destination.target)
        if destination.chain is None:
            self._inward(data, source)
        else:
            destination.chain.from_server(data, source)

    def _inward(self, data: Datagram, source: SocketAddress) -> None:
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

    def _meet(self, target: SocketAddress) -> Destination:
        """Judge a new destination (B2.15); what it is afterwards is remembered, a denial too."""
        if len(self._destinations) >= self._most:
            self._forget(self._destinations.popitem(last=False)[1])
        destination = self._destinations[target] = Destination(target, self.engine.clock())
        verdict, addresses = admit(self.engine, self.client_address, target, transport="UDP", who=self.session.who)
        if self._diverted:
            verdict, addresses = keep_to_protocols(self.session, target, verdict, addresses, "UDP")
        destination.verdict = verdict
        if addresses:
            self._admitted(destination, addresses)
        elif verdict.allowed or verdict.needs_resolution:
            self._resolve(destination)
        else:
            self._deny(destination, int(verdict.hresult), verdict.reason)
        return destination

    def _resolve(self, destination: Destination) -> None:
        look_ups, host = self.engine.look_ups, self.client_address.host
        if look_ups.is_full(host):
            self._deny(destination, int(FWX_E_DNS_QUOTA_EXCEEDED), f"{host} has {MOST_LOOK_UPS} name look-ups pending")
            # Not remembered: the name may be asked for when there is room.
            self._destinations.pop(destination.target, None)
            return
        done = partial(self._resolved, destination)
        cancel = look_ups.begin(self.engine, host, destination.target, done)
        if destination.state is State.RESOLVING:
            destination.cancel = cancel

    def _resolved(self, destination: Destination, addresses: list[SocketAddress], code: int) -> None:
        destination.cancel = None
        if self.terminating or self._destinations.get(destination.target) is not destination:
            return
        if not addresses:
            reason = f"{destination.target.host} could not be resolved"
            self._deny(destination, int(HRESULT_FROM_WIN32(code)), reason, Action.Failed)
            self._destinations.pop(destination.target, None)
            return
        verdict, allowed = admit(
            self.engine, self.client_address, destination.target, addresses, "UDP", self.session.who
        )
        destination.verdict = verdict
        if allowed:
            self._admitted(destination, allowed)
        else:
            self._deny(destination, int(verdict.hresult), verdict.reason)

    def _admitted(self, destination: Destination, addresses: list[SocketAddress]) -> None:
        """Show it to the filters of its rule, open the way, and send what has waited."""
        destination.address = addresses[0]
        if not self._show(destination):
            return
        if destination.address in self._by_address:
            # Two names for one address: answers belong to the one that was used last.
            logger.debug("%s stands for several destinations", destination.address)
        try:
            self._open_way(destination.address)
        except OSError as error:
            result = int(HRESULT_FROM_WIN32(WSAEACCES))
            self._deny(destination, result, f"the way out could not be opened: {error}", Action.Failed)
            return
        self._by_address[destination.address] = destination
        destination.state = State.OPEN
        if destination.members:
            destination.chain = DatagramChain(
                _ordered(destination.members),
                self.engine.queue,
                partial(self._to_server, destination),
                self._inward,
            )
            if not self._set_sockets(destination.members):
                return
        waiting, destination.waiting = destination.waiting, type(destination.waiting)()
        for data in waiting:
            self._to_destination(destination, data)

    def _show(self, destination: Destination) -> bool:
        """Raise ``fwx_Udp_Destination``; what is attached in it belongs to the destination (B2.18)."""
        verdict = destination.verdict
        assert verdict is not None
        hosts = self._hosts_of(verdict)
        if not hosts:
            return True
        before = len(self._members)
        told = FWXUdpDestination(self)
        event = partial(udp_destination_event, self, destination.target, verdict, told)
        try:
            passes = self.raise_event(hosts, fwx_Udp_Destination, event, WSAECONNREFUSED)
        finally:
            told.invalidate()
        destination.members = self._members[before:]
        if passes or self.terminating:
            return passes
        result, reason = self.result
        self._denied_by, self._result, self._reason = "", S_OK, ""
        self._release(destination.members)
        destination.members = []
        self._deny(destination, result, reason)
        return False

    def _deny(self, destination: Destination, result: int, reason: str, action: Action = Action.Denied) -> None:
        destination.state = State.DENIED
        destination.waiting.clear()
        if destination.verdict is None or destination.verdict.log:
            self._log(destination, action, result, reason)

    def _forget(self, destination: Destination) -> None:
        """The destination makes room for others: it is logged, its filters are detached, its way is closed."""
        cancel: Any = destination.cancel
        if cancel is not None:
            cancel()
        was_open, destination.state = destination.state is State.OPEN, State.DENIED
        address = destination.address
        if address is not None and self._by_address.get(address) is destination:
            del self._by_address[address]
            self._close_way(address)
        if destination.chain is not None:
            destination.chain.abort()
        names = ", ".join(member.host.name for member in destination.members)
        self._release(destination.members)
        if was_open and destination.verdict is not None and destination.verdict.log:
            self._log(destination, Action.Terminate, S_OK, "", names)

    def _release(self, members: list[Member]) -> None:
        for member in members:
            member.terminate()
            if member in self._members:
                self._members.remove(member)
            self.engine.queue.post(member.detach)

    def _log(self, destination: Destination, action: Action, result: int, reason: str, filters: str = "") -> None:
        seconds = self.engine.clock() - destination.started
        self.engine.write_record(destination_record(self, destination, action, (int(result), reason), filters, seconds))

    # The sockets.

    def _set_sockets(self, members: list[Member]) -> bool:
        for member in list(members):
            if self.terminating:
                return False
            error = member.set_sockets()
            if error is not None:
                self.filter_failed(member.host, "SetSockets", error)
                return False
        return not self.terminating

    def _server(self, family: int) -> DatagramTransport:
        """Return the socket towards the outside, made when it is needed first. :raises OSError: it cannot be."""
        server = self._servers.get(family)
        if server is None:
            server = self.engine.network.datagram(family)
            try:
                server.bind((_ANYWHERE[socket.AddressFamily(family)], 0))
            except OSError:
                server.close(True)
                raise
            self._servers[family] = server
            server.watch(partial(self._server_event, server))
        return server

    def _open_way(self, address: SocketAddress) -> None:
        """Open the own port to *address* alone (B4.21). :raises OSError: it cannot be."""
        if address in self._claims:
            return
        local = SocketAddress.from_sockaddr(self._server(address.family).getsockname())
        claim = Claim(Opening(FWX_PROTOCOL_UDP, local, address), partial(self._way_answered, address))
        self._claims[address] = claim
        try:
            self.engine.packet_filter.open(claim)
        except OSError:
            del self._claims[address]
            raise

    def _way_answered(self, address: SocketAddress, code: int) -> None:
        """The packet filter has opened the way; or it could not, and the connection may not go on."""
        if code:
            self._claims.pop(address, None)
            self.end(HRESULT_FROM_WIN32(code), f"the packet filter did not open the way to {address}")

    def _close_way(self, address: SocketAddress) -> None:
        claim = self._claims.pop(address, None)
        if claim is not None:
            self.engine.packet_filter.close(claim)

    def _take(self, transport: DatagramTransport, received: Callable[[Datagram, SocketAddress], None]) -> None:
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
        for server in self._servers.values():
            server.close(True)
        if self._bind_chain is not None:
            self._bind_chain.abort()
        for destination in self._destinations.values():
            cancel: Any = destination.cancel
            if cancel is not None:
                cancel()
            if destination.chain is not None:
                destination.chain.abort()
        for address in list(self._claims):
            self._close_way(address)

    def _take_leave(self, action: Action) -> None:
        """Log every destination, then what every connection does."""
        result, reason = self.result
        for destination in self._destinations.values():
            if destination.state is State.OPEN and destination.verdict is not None and destination.verdict.log:
                names = ", ".join(member.host.name for member in destination.members)
                self._log(destination, action, result, reason, names)
        super()._take_leave(action)

    def _let_go(self) -> None:
        self._bind_chain = None
        self._destinations.clear()
        self._by_address.clear()
        self._servers.clear()

    def _write_record(self, action: Action, filters: str, seconds: float) -> None:
        """Its destinations have their records."""


def _ordered(members: Iterable[Member]) -> list[Member]:
    return sorted(members, key=lambda member: member.priority)
