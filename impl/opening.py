"""One request on its way to an established connection: judged, resolved, shown to the filters, dialled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fwx.impl.admission import admit_client
from fwx.impl.clientlookup import ClientLookUp, Found
from fwx.impl.connection import FWXConnection
from fwx.impl.course import take_step
from fwx.impl.departure import Departure
from fwx.impl.dial import Dialled
from fwx.impl.filterhost import FilterHost
from fwx.impl.logrecord import Action
from fwx.impl.policy import Verdict
from fwx.impl.portrun import bind_to
from fwx.impl.rulequotas import Refused
from fwx.impl.tlshandshake import Secured, TlsHandshake
from fwx.impl.transport import ERROR, HANGUP
from fwx.interfaces import GUID_NULL, SocketAddress
from fwx.interfaces.enums import fwx_Connect_Tcp
from fwx.interfaces.hresult import (
    E_UNEXPECTED,
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_NOT_AUTHENTICATED,
    HRESULT_FROM_WIN32,
    WSAECONNABORTED,
    WSAECONNRESET,
    COMError,
)

if TYPE_CHECKING:
    from fwx.impl.gateway import Gateway
    from fwx.impl.permission import Permission
    from fwx.impl.request import OpeningLimits, Request
    from fwx.impl.tlsrole import Role
    from fwx.impl.transport import Transport

logger = logging.getLogger("fwx.gateway")


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
        take_step(self._failed, function, *args)

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
