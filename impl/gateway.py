"""From a client's request to an established connection: judged, resolved, shown to the filters, dialled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from fwx.impl.admission import admit_client
from fwx.impl.binding import Binding, Waiter
from fwx.impl.clientlookup import ClientLookUp, Found
from fwx.impl.connection import FWXConnection
from fwx.impl.course import proceed
from fwx.impl.departure import Departure
from fwx.impl.dial import Dialled
from fwx.impl.filterhost import FilterHost
from fwx.impl.listeningconnection import end_all
from fwx.impl.logrecord import Action
from fwx.impl.policy import Verdict
from fwx.impl.portrun import bind_to
from fwx.impl.rulequotas import Refused
from fwx.impl.stragglers import Stragglers
from fwx.impl.tlshandshake import Secured, TlsHandshake
from fwx.impl.transport import ERROR, HANGUP
from fwx.impl.user import NOBODY
from fwx.interfaces import GUID_NULL, SocketAddress
from fwx.interfaces.enums import fwx_Connect_Tcp
from fwx.interfaces.hresult import (
    E_UNEXPECTED,
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_NOT_AUTHENTICATED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    WSAECONNABORTED,
    WSAECONNRESET,
    COMError,
)

if TYPE_CHECKING:
    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.engine import Engine
    from fwx.impl.permission import Permission
    from fwx.impl.session import FWXSession
    from fwx.impl.sessions import Sessions
    from fwx.impl.tlsrole import Role
    from fwx.impl.transport import Transport
    from fwx.impl.user import SessionUser, Who
    from fwx.impl.webrequest import WebRequest
    from fwx.interfaces import FwxFirewallEventSource
    from fwx.interfaces.hresult import HRESULT

logger = logging.getLogger("fwx.gateway")


class Entry(Protocol):
    """The way in that a request came by; it speaks the client's protocol."""

    def connected(self, bound: SocketAddress) -> bool:
        """Tell the client that its connection leaves from *bound*; ``False`` when it is gone."""

    def refused(self, result: int) -> None:
        """Tell the client that there is none, because of the HRESULT *result*, and close its transport.

        ``FWX_E_NOT_AUTHENTICATED`` stands for what policy denies to a client without a user, and allows some users.
        """


class OpeningLimits(Protocol):
    """Bounds how many connections of one client address are being opened (B11's table: half-open ones).

    :ivar logs: what is refused has a record.
    """

    logs: bool

    def begin_opening(self, address: str) -> tuple[HRESULT, str] | None:
        """Count one; or say why it is one too many."""

    def end_opening(self, address: str) -> None:
        """It is open, or is not to be."""


class Request:
    """What a client asks for, and how to answer it."""

    __slots__ = (
        "agent",
        "announcement",
        "claimed_user",
        "client",
        "client_address",
        "connection",
        "departure",
        "diverted",
        "early",
        "entry",
        "interface",
        "on_ended",
        "permission",
        "proxy_header",
        "session",
        "source",
        "source_proxy",
        "target",
        "to_tls",
        "user",
        "web",
    )

    def __init__(
        self,
        entry: Entry,
        client: Transport,
        client_address: SocketAddress,
        target: SocketAddress,
        *,
        source: FwxFirewallEventSource,
        interface: str,
        agent: str = "",
        early: bytes = b"",
        user: SessionUser | None = None,
        claimed_user: str = "",
        on_ended: Callable[[], None] | None = None,
        announcement: bytes = b"",
        source_proxy: SocketAddress | None = None,
        proxy_header: object = None,
        session: FWXSession | None = None,
        permission: Permission | None = None,
        diverted: bool = False,
        departure: Departure | None = None,
        to_tls: Callable[[], Role] | None = None,
        web: WebRequest | None = None,
    ) -> None:
        """:param source: the event source that the entry stands for. :param interface: the listener's name.

        :param agent: the client program. :param early: what the client sent behind its request.
        :param user: whom the entry has authenticated. :param claimed_user: whom the client says that it is, for the
            log. :param on_ended: called when the connection that is made for the request is gone.
        :param announcement: what the server is told first, which no filter sees: a PROXY header.
        :param source_proxy: who spoke for the client, by the PROXY header that came from it, which is *proxy_header*.
        :param session: whose connection it is, where the entry knows; else it is found by client, source and user.
        :param permission: what lets the client reach the target, where the entry knows that.
        :param diverted: the client asked for nothing, its packets were taken: only what a defined protocol begins with,
            or a filter has announced, is let on (B2.13).
        :param departure: where the connection leaves from when it goes straight out, in the place of anywhere.
        :param to_tls: makes the client's part of a TLS handshake with the server; filters see the plain bytes.
        :param web: the request in plain HTTP that is forwarded over the connection.
        """
        self.entry = entry
        self.client = client
        self.client_address = client_address
        self.target = target
        self.source = source
        self.interface = interface
        self.agent = agent
        self.early = early
        self.user = user
        self.claimed_user = claimed_user
        self.on_ended = on_ended
        self.announcement = announcement
        self.source_proxy = source_proxy
        self.proxy_header = proxy_header
        self.session = session
        self.permission = permission
        self.diverted = diverted
        self.departure = departure
        self.to_tls = to_tls
        self.web = web
        # What is made for it; none before that.
        self.connection: FWXConnection | None = None

    @property
    def who(self) -> Who:
        """By which names the rules know the client."""
        return NOBODY if self.user is None else self.user.who


class Gateway:
    """Opens connections for requests of every entry; knows all that are being opened.

    :ivar opening_limits: set by the host, if it has any.
    :ivar stragglers: the TLS transports of clients and servers that have been closed and still send.
    """

    def __init__(self, engine: Engine, sessions: Sessions, on_ended: Callable[[ConnectionBase], None]) -> None:
        """*on_ended* hears of every connection that was made for a request, when it is gone."""
        self.engine = engine
        self.sessions = sessions
        self.opening: set[Opening | Binding] = set()
        self.opening_limits: OpeningLimits | None = None
        self.departure = Departure(engine.network)
        self.stragglers = Stragglers(engine.linger_deadlines)
        self._on_ended = on_ended
        # By the filters of a verdict, for those of the engine at the time.
        self._hosts: dict[tuple[str, ...], tuple[FilterHost, ...]] = {}
        self._hosts_among: tuple[FilterHost, ...] = ()
        engine.gateway = self

    def open(self, request: Request) -> None:
        """Begin; the entry hears the outcome, the log too."""
        opening = Opening(self, request)
        self.opening.add(opening)
        opening.step(opening.start)

    def bind(self, request: Request, waiter: Waiter, families: tuple[int, ...]) -> Binding:
        """Begin to wait for a connection to the client; *waiter* hears the outcome, the log too. Its ``entry`` is not
        asked. *families* are those that the client's protocol can name, the preferred one first."""
        binding = Binding(self, request, waiter, families)
        self.opening.add(binding)
        binding.step(binding.start)
        return binding

    def connection_ended(self, connection: ConnectionBase) -> None:
        self.sessions.connection_ended(connection)
        self._on_ended(connection)

    def close(self) -> None:
        """Refuse what is still being opened, and let nobody in for clients any more: the service stops."""
        self.engine.stopping = True
        for opening in list(self.opening):
            opening.give_up(FWX_E_TERMINATING, "the service is stopping")
        end_all(self.sessions.connections(), FWX_E_TERMINATING, "the service is stopping")
        for session in self.sessions:
            session.secondary.close()

    @property
    def hosts_everywhere(self) -> tuple[FilterHost, ...]:
        """The filters that see every connection, in the order of their tables."""
        return tuple(host for host in self.engine.filters if host.everywhere)

    def hosts_of(self, verdict: Verdict) -> tuple[FilterHost, ...]:
        """Return the filters that see a connection of this verdict: those of every connection in the order of their
        tables, then the rule's in the order of the rule."""
        filters = self.engine.filters
        if filters is not self._hosts_among:
            self._hosts.clear()
            self._hosts_among = filters
        hosts = self._hosts.get(verdict.filters)
        if hosts is None:
            named = {host.name: host for host in filters if not host.everywhere}
            hosts = self.hosts_everywhere + tuple(named[name] for name in verdict.filters if name in named)
            self._hosts[verdict.filters] = hosts
        return hosts


class Opening:
    """One request on its way."""

    __slots__ = (
        "_cancel",
        "_connection",
        "_gateway",
        "_limits",
        "_permission",
        "_request",
        "_session",
        "_told",
        "_verdict",
    )

    def __init__(self, gateway: Gateway, request: Request) -> None:
        self._gateway = gateway
        self._request = request
        self._cancel: Callable[[], None] | None = None
        self._connection: FWXConnection | None = None
        self._verdict: Verdict | None = None
        self._permission: Permission | None = None
        # Where it is counted while it is being opened.
        self._limits: OpeningLimits | None = None
        # What the client's transport has told so far.
        self._told = 0
        self._session = request.session or gateway.sessions.of(request.client_address, request.source, request.user)

    def step(self, function: Callable[..., Coroutine[Any, Any, None] | None], *args: Any) -> None:
        """Go one step, which may wait; a fault of ours on the way refuses the client: a firewall fails closed."""
        try:
            course = function(*args)
            if course is not None:
                proceed(course, self._failed)
        except Exception as error:  # noqa: BLE001  whatever it is
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        logger.error("opening a connection for %s failed", self._request.client_address, exc_info=error)
        self._verdict = self._verdict or _undecided(f"internal failure: {type(error).__name__}")
        self.give_up(E_UNEXPECTED, f"internal failure: {type(error).__name__}: {error}")

    def start(self) -> Coroutine[Any, Any, None] | None:
        request, limits = self._request, self._gateway.opening_limits
        if limits is not None:
            refused = limits.begin_opening(request.client_address.host)
            if refused is not None:
                self._verdict = replace(_undecided(refused[1]), log=limits.logs)
                self._refuse(*refused, Action.Denied)
                return None
            self._limits = limits
        verdict, addresses = self._judge()
        if addresses:
            return self._admitted(addresses)
        if verdict.allowed and self._gateway.engine.routes[verdict.upstream].takes_names:
            return self._admitted(None)
        if verdict.allowed or verdict.needs_resolution:
            request.client.watch(self._client_event)
            self._look_up()
        else:
            self._deny(verdict)
        return None

    def _look_up(self) -> None:
        """Have the target's name looked up, which the filters may see that are known to see the connection."""
        assert self._verdict is not None
        connection = self._make_connection()
        hosts = self._gateway.hosts_of(self._verdict)
        done = partial(self.step, self._found)
        look_up = ClientLookUp(connection.session, hosts, self._request.target, done)
        self._cancel = look_up.cancel
        look_up.start()

    def give_up(self, result: int, reason: str) -> None:
        """Stop opening and refuse the client."""
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel()
        self._refuse(result, reason, Action.Failed)

    def _client_event(self, mask: int) -> None:
        """The client is watched for going away only: half-closed is not gone, and its data waits in the kernel."""
        self._told |= mask
        if mask & (ERROR | HANGUP):
            self.give_up(HRESULT_FROM_WIN32(WSAECONNRESET), "the client went away before it was connected")

    def _found(self, found: Found) -> Coroutine[Any, Any, None] | None:
        if self not in self._gateway.opening:
            return None
        self._cancel = None
        if not found.addresses:
            self._refuse(found.result, found.reason, found.action)
            return None
        verdict, allowed = self._judge(found.addresses)
        if allowed:
            return self._admitted(allowed)
        self._deny(verdict)
        return None

    def _judge(self, resolved: list[SocketAddress] | None = None) -> tuple[Verdict, list[SocketAddress]]:
        """Ask what was announced, then the rules."""
        request = self._request
        verdict, addresses, self._permission = admit_client(
            self._session,
            request.client_address,
            request.target,
            resolved,
            permission=request.permission,
            diverted=request.diverted,
            web=request.web,
        )
        self._verdict = verdict
        return verdict, addresses

    def _admitted(self, addresses: list[SocketAddress] | None) -> Coroutine[Any, Any, None] | None:
        """Show the request to the filters, then take its route, to *addresses* or to the name itself.

        Returns what does so where a filter is to see the request, which may wait.
        """
        connection = self._make_connection()
        if self._permission is not None:
            self._permission.take()
        elif connection.verdict.limits is not None:
            place = self._gateway.engine.quotas.take(
                connection.verdict.rule, connection.verdict.limits, self._session, "TCP"
            )
            if isinstance(place, Refused):
                self._refuse(place.result, place.reason, Action.Denied)
                return None
            connection.place = place
        connection.candidates = addresses
        hosts = self._gateway.hosts_of(connection.verdict)
        if connection.is_for_nobody(hosts, fwx_Connect_Tcp):
            self._request.client.watch(self._client_event)
            self._go_out(connection, addresses)
            return None
        return self._show(connection, hosts, addresses)

    async def _show(
        self, connection: FWXConnection, hosts: tuple[FilterHost, ...], addresses: list[SocketAddress] | None
    ) -> None:
        """Show the request to *hosts*, and take its route if they let it."""
        is_watched = any(host.is_blocking for host in hosts)
        if is_watched:  # it may take long
            self._request.client.watch(self._client_event)
        passes = await connection.raise_connect_event(hosts, addresses or ())
        if self not in self._gateway.opening:  # it has been given up meanwhile
            return
        if not passes:
            result, reason = connection.result
            self._refuse(result, reason, Action.Denied)
            return
        if not is_watched:
            self._request.client.watch(self._client_event)
        if connection.emulation is not None:
            # The entry may be in the middle of asking.
            self._gateway.engine.queue.post(self.step, self._emulated)
            return
        self._go_out(connection, addresses)

    def _go_out(self, connection: FWXConnection, addresses: list[SocketAddress] | None) -> None:
        """Take the route to *addresses*, or to the name itself."""
        engine = self._gateway.engine
        addresses = connection.admitted(addresses)
        if addresses is not None and not addresses:
            reason = f"the IP filter includes no address of {self._request.target}"
            self._refuse(FWX_E_ADDRESS_NOT_ALLOWED, reason, Action.Denied)
            return
        route = engine.routes[connection.verdict.upstream]
        dialled = partial(self.step, self._dialled)
        try:
            departure = self._departure()
        except COMError as error:
            self._refuse(error.hresult, f"connecting failed: {error}", Action.Failed)
            return
        cancel = route.dial(engine, departure, self._request.target, addresses, dialled)
        if self in self._gateway.opening:  # it has not ended yet
            self._cancel = cancel

    def _emulated(self) -> None:
        """A filter plays the server, and nothing is dialled."""
        if self in self._gateway.opening:
            self._establish(None, Dialled(None))

    def _departure(self) -> Departure:
        """Return where the connection leaves from: from the address that was announced (B6.9), from where the request
        says when it goes straight out and no network rule translates (B7.2), or anywhere.

        :raises COMError: the Winsock error of the bind.
        """
        leaves_from = None if self._permission is None else self._permission.leaves_from
        if leaves_from is None:
            assert self._verdict is not None
            elsewhere = self._verdict.upstream or self._verdict.translates
            straight = None if elsewhere else self._request.departure
            return straight or self._gateway.departure
        network = self._gateway.engine.network
        return Departure(network, bind_to(network.stream, leaves_from), leaves_from.family)

    def _dialled(self, dialled: Dialled) -> None:
        self._cancel = None
        connection, request, transport = self._connection, self._request, dialled.transport
        assert connection is not None
        if transport is None:
            reason = f"connecting to {request.target} failed" + f": {dialled.reason}" * bool(dialled.reason)
            self._refuse(HRESULT_FROM_WIN32(dialled.code), reason, Action.Failed)
            return
        if connection.terminating:
            transport.close(True)
            result, reason = connection.result
            self._refuse(result, reason, Action.Failed)
            return
        connection.address = dialled.address
        try:
            if not connection.admits(dialled.address):
                transport.close(True)
                reason = f"the IP filter does not include {dialled.address or request.target}"
                self._refuse(FWX_E_ADDRESS_NOT_ALLOWED, reason, Action.Denied)
            elif request.announcement and not _announce(transport, request.announcement):
                transport.close(True)
                reason = f"{request.target} did not take the PROXY header"
                self._refuse(HRESULT_FROM_WIN32(WSAECONNABORTED), reason, Action.Failed)
            elif request.to_tls is not None:
                self._secure(transport, dialled, request.to_tls())
            else:
                self._establish(transport, dialled)
        except BaseException:
            transport.close(True)
            raise

    def _secure(self, transport: Transport, dialled: Dialled, role: Role) -> None:
        """Shake hands with the server."""
        engine = self._gateway.engine
        handshake = TlsHandshake(
            transport,
            role,
            dialled.early,
            "the server",
            engine.queue,
            self._gateway.stragglers,
            engine.connect_deadlines,
            partial(self.step, self._secured, transport, dialled),
        )
        self._cancel = handshake.cancel
        handshake.start()

    def _secured(self, transport: Transport, dialled: Dialled, secured: Secured) -> None:
        self._cancel = None
        if secured.transport is None:
            _announce(transport, secured.alert)
            transport.close(False)
            reason = f"TLS to {self._request.target}: {secured.reason}"
            self._refuse(HRESULT_FROM_WIN32(secured.code), reason, Action.Failed)
            return
        try:
            self._establish(secured.transport, replace(dialled, early=b"", told=0))
        except BaseException:
            secured.transport.close(True)
            raise

    def _establish(self, server: Transport | None, dialled: Dialled) -> None:
        """Tell the client that it is connected, and pump; without a *server* a filter stands in its place."""
        connection, request = self._connection, self._request
        assert connection is not None
        name = None if connection.emulation is None else connection.emulation.name
        if name is None:
            sockaddr = (server or request.client).getsockname()
            name = SocketAddress.of_stream(sockaddr)
            if server is not None:
                connection.nat_address = sockaddr[0]
        if request.entry.connected(name):
            told = (self._told, dialled.told) if dialled.told else None
            connection.establish(request.client, server, request.early, dialled.early, told)
            if self._permission is not None:
                self._use_permission(connection)
        else:
            for transport in (server, request.client):
                if transport is not None:
                    transport.close(True)
            self._give_permission_back()
            connection.refuse(HRESULT_FROM_WIN32(WSAECONNABORTED), "the client went away as it was connected")
        self._leave()

    def _leave(self) -> None:
        """It is being opened no longer."""
        self._gateway.opening.discard(self)
        limits, self._limits = self._limits, None
        if limits is not None:
            limits.end_opening(self._request.client_address.host)

    def _use_permission(self, connection: FWXConnection) -> None:
        permission, self._permission = self._permission, None
        if permission is not None:
            permission.use(connection)

    def _give_permission_back(self) -> None:
        permission, self._permission = self._permission, None
        if permission is not None:
            permission.give_back()

    def _deny(self, verdict: Verdict) -> None:
        """Refuse what policy denies; the entry hears it where a user could have changed that."""
        told = FWX_E_NOT_AUTHENTICATED if verdict.needs_user else None
        self._refuse(verdict.hresult, verdict.reason, Action.Denied, told)

    def _refuse(self, result: int, reason: str, action: Action, told: int | None = None) -> None:
        if self not in self._gateway.opening:
            return
        self._leave()
        connection = self._make_connection()
        self._give_permission_back()
        connection.refuse(result, reason, action)
        self._request.entry.refused(result if told is None else told)

    def _make_connection(self) -> FWXConnection:
        """Return the connection, made when it is needed first, judged as it is now."""
        request = self._request
        assert self._verdict is not None
        if self._connection is not None:
            self._connection.verdict = self._verdict
            self._connection.is_secondary = self._permission is not None
            return self._connection
        self._connection = FWXConnection(
            self._session,
            request.client_address,
            request.target,
            self._verdict,
            interface=request.interface,
            agent=request.agent,
            on_ended=partial(_ended, self._gateway, request.on_ended),
        )
        request.connection = self._connection
        self._connection.web = request.web
        self._connection.is_secondary = self._permission is not None
        self._connection.claimed_user = request.claimed_user
        self._connection.source_proxy = request.source_proxy
        self._connection.proxy_header = request.proxy_header
        self._connection.on_abandoned = self._killed
        return self._connection

    def _killed(self) -> None:
        """A filter killed the connection while it was being opened."""
        assert self._connection is not None
        self.give_up(*self._connection.result)


def _ended(gateway: Gateway, told: Callable[[], None] | None, connection: FWXConnection) -> None:
    """The connection is gone, which may be long after it was opened: its request and its opening are no more."""
    if told is not None:
        told()
    gateway.connection_ended(connection)


def _announce(transport: Transport, announcement: bytes) -> bool:
    """Send what is no data of the client's; it is small and the socket's buffer is empty, so it goes whole."""
    if not announcement:
        return True
    try:
        return transport.send(announcement) == len(announcement)
    except OSError as error:
        logger.debug("a PROXY header, or an alert of TLS, could not be sent: %s", error)
        return False


def _undecided(reason: str) -> Verdict:
    """The verdict of a policy that could not be asked: denied, and logged."""
    return Verdict(False, "", (), True, E_UNEXPECTED, "", GUID_NULL, "", "", reason)
