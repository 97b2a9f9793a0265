"""BindForClient: ports outside for a run of client addresses (B6.12 to B6.17), or reserved ones (B6.26)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fwx.impl.announcement import BIND_FLAGS, Terms, check_client, check_many, check_terms, primary_of
from fwx.impl.argument import INT_MOST, whole
from fwx.impl.boundforclient import FWXBoundForClient
from fwx.impl.course import proceed
from fwx.impl.datagramsforclient import FWXDatagramsForClient
from fwx.impl.ipfilter import require_ip_filter
from fwx.impl.listeningconnection import refusal
from fwx.impl.logrecord import Action
from fwx.impl.loopthread import on_loop
from fwx.impl.notice import notice_of
from fwx.impl.permission import Permission
from fwx.impl.permissions import TRANSPORTS
from fwx.impl.portrun import bind_run
from fwx.impl.reservedports import take_reserved
from fwx.impl.sockets import check_address
from fwx.interfaces import SocketAddress
from fwx.interfaces.constants import FWX_PROTOCOL_TCP
from fwx.interfaces.hresult import E_INVALIDARG, S_OK, COMError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.ipfilter import FWXIpFilter
    from fwx.impl.secondary import Secondary

ForClient = FWXBoundForClient | FWXDatagramsForClient
Bound = tuple[SocketAddress, tuple[ForClient, ...]]


def bind_for_client(
    secondary: Secondary,
    clients: Any,
    length: Any,
    count: Any,
    place: tuple[Any, Any],
    backlog: Any,
    ip_filter: Any,
    given: Terms,
    reserved: list[Any] | None = None,
) -> Bound:
    """Do ``BindForClient``; ``BindForClientOnReservedPorts`` with *reserved*, a list of one.

    *place* is ``ProxyAddress`` with its length. Returns the first address that was bound, and the connections.
    """
    session = secondary.session
    addresses = check_many(clients, length, count)
    if reserved is None:
        check_address(*place)
        if place[0].address is None:
            raise COMError(E_INVALIDARG, f"{place[0]} is no literal address of the firewall")
    terms = check_terms(secondary.engine, BIND_FLAGS, given)
    for address in addresses:
        if not _is_unknown(address):
            check_client(address, length, session, terms.flags, terms.protocol)
    backlog = whole(backlog, "Backlog", -INT_MOST, INT_MOST)
    restriction = None if ip_filter is None else require_ip_filter(ip_filter)

    def run() -> Bound:
        secondary.require_room(len(addresses))
        binding = _Binding(secondary, terms, restriction)
        network = secondary.engine.network
        make: Callable[[int], Any] = network.stream if terms.protocol == FWX_PROTOCOL_TCP else network.datagram
        if reserved is None:
            bound = bind_run(make, place[0], len(addresses))
        else:
            bound = take_reserved(reserved[0], terms.protocol, len(addresses))
        return binding.of(addresses, bound, backlog)

    return on_loop(secondary.engine.queue, run)


class _Binding:
    """One call, on the loop thread."""

    def __init__(self, secondary: Secondary, terms: Terms, ip_filter: FWXIpFilter | None) -> None:
        """:raises COMError: ``E_INVALIDARG`` a session filter that the service does not have."""
        self._secondary = secondary
        self._terms = terms
        self._ip_filter = ip_filter
        self._primary: ConnectionBase | None = primary_of(secondary.session, None)
        self._notice = notice_of(secondary.session, terms.session_filter, terms.context)

    def of(self, addresses: list[SocketAddress], bound: list[Any], backlog: int) -> Bound:
        """Wait at each of *bound*, which are taken over, for the client at the address of the same place.

        Where a blocking filter is to see a bind, nobody waits for that filter here: what is refused ends.

        :raises COMError: one of them was refused; nothing is left of the others.
        """
        made: list[ForClient] = []
        try:
            first = SocketAddress.from_sockaddr(bound[0].getsockname())
            for address in addresses:
                made.append(self._make(address, bound))  # noqa: PERF401  those before are ended if one fails
        except BaseException:
            for transport in bound:
                transport.close(False)
            _end(made)
            raise
        course = proceed(self._begin(made, backlog), self._secondary.engine.strands.unheard)
        if course.has_ended:
            course.result()
        return first, tuple(made)

    async def _begin(self, made: list[ForClient], backlog: int) -> None:
        """Raise the bind events, then listen. :raises COMError: one of them was refused; the others have ended."""
        try:
            for connection in made:
                await self._show(connection)
            for connection in made:
                connection.listen(backlog)
                if connection.terminating:
                    raise refusal(connection)
        except BaseException:
            _end(made)
            raise

    def _make(self, address: SocketAddress, bound: list[Any]) -> ForClient:
        """Make the connection for the first of *bound*; nobody may come yet."""
        secondary, terms = self._secondary, self._terms
        session, transport = secondary.session, TRANSPORTS[terms.protocol]
        local = SocketAddress.from_sockaddr(bound[0].getsockname())
        verdict = secondary.engine.permissions.verdict(self._primary, local, terms.guid, transport)
        permission = Permission(session, address, terms.protocol, terms.flags, verdict, self._notice)
        has_primary = self._primary is not None
        connection: ForClient
        if terms.protocol == FWX_PROTOCOL_TCP:
            connection = FWXBoundForClient(session, permission, terms.flags, has_primary, self._ip_filter)
            connection.take_over(bound.pop(0))
            secondary.keep(permission)
        else:
            connection = FWXDatagramsForClient(
                session, permission, terms.flags, has_primary, bound.pop(0), self._ip_filter
            )
            secondary.keep(connection)
        secondary.start_clock(permission, terms)
        return connection

    async def _show(self, connection: ForClient) -> None:
        """Raise the bind event (B6.17). :raises COMError: the rules, or a filter, refuse the bind."""
        verdict, bound = connection.permission.verdict, connection.bound
        assert bound is not None
        if self._primary is None:
            policy, transport = self._secondary.engine.policy, TRANSPORTS[self._terms.protocol]
            waiting = policy.judge_waiting(bound, self._secondary.session.who, transport)
            if not waiting.allowed:
                connection.verdict = waiting
                self._refuse(connection, int(waiting.hresult), waiting.reason)
            verdict = replace(waiting, protocol=verdict.protocol, protocol_guid=verdict.protocol_guid)
        if not await connection.show(verdict):
            connection.refuse(*connection.result, Action.Denied)
            raise refusal(connection)

    def _refuse(self, connection: ForClient, result: int, reason: str) -> None:
        connection.refuse(result, reason, Action.Denied)
        raise COMError(result, reason)


def _end(made: list[ForClient]) -> None:
    for connection in made:
        connection.end(S_OK, "another port of the same call was refused")


def _is_unknown(address: SocketAddress) -> bool:
    """Tell whether it is all zeros (B6.16)."""
    return not address.port and address.address is not None and address.address.is_unspecified
