"""The secondary connections of one session: what filters have announced for its client (behaviour topic 6)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from fwx.impl.announcement import (
    CONNECT_FLAGS,
    REDIRECT_FLAGS,
    check_flags,
    check_guid,
    check_local,
    check_many,
    check_protocol,
    check_reach,
    check_target,
    primary_of,
)
from fwx.impl.firewallaction import FWXFirewallAction
from fwx.impl.inside import inside_address
from fwx.impl.loopthread import on_loop
from fwx.impl.notice import Notice, notice_of
from fwx.impl.permission import Permission
from fwx.impl.permissions import TRANSPORTS, peer_of
from fwx.impl.portrun import bind_run
from fwx.impl.redirection import Redirection
from fwx.impl.reservedports import take_reserved
from fwx.interfaces import SocketAddress
from fwx.interfaces.constants import FWX_FLAG_TIMEOUT, FWX_PROTOCOL_TCP
from fwx.interfaces.hresult import (
    E_NOTIMPL,
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_TERMINATING,
    WSAENOBUFS,
    COMError,
    winsock_error,
)

if TYPE_CHECKING:
    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.engine import Engine
    from fwx.impl.session import FWXSession
    from fwx.impl.transport import Transport

MOST_ANNOUNCED = 256
"""What may be announced for one session at a time."""


class Announced(Protocol):
    """What ends with the session."""

    def end(self) -> None: ...


class Secondary:
    """Announces for one session, and ends with it what was announced. Any thread may call the methods of filters."""

    __slots__ = ("_announced", "_session")

    def __init__(self, session: FWXSession) -> None:
        self._session = session
        self._announced: set[Announced] = set()

    def __len__(self) -> int:
        return len(self._announced)

    @property
    def _engine(self) -> Engine:
        return self._session.engine

    def close(self) -> None:
        """The session ends."""
        for announced in list(self._announced):
            announced.end()

    def keep(self, announced: Announced) -> None:
        """Have *announced* end with the session, until :meth:`forget`."""
        self._announced.add(announced)

    def forget(self, announced: Announced) -> None:
        self._announced.discard(announced)

    def require_room(self, count: int = 1) -> None:
        """:raises COMError: ``FWX_E_TERMINATING`` the session has ended; ``WSAENOBUFS`` too much is announced."""
        if self._session.terminated:
            raise COMError(FWX_E_TERMINATING, "the session has ended")
        if len(self._announced) + count > MOST_ANNOUNCED:
            raise winsock_error(WSAENOBUFS, f"{len(self._announced)} secondary connections are announced")

    # AllowFutureConnect.

    def allow_future_connect(
        self,
        address: Any,
        length: Any,
        leaves_from: Any,
        leaves_from_length: Any,
        protocol: Any,
        flags: Any,
        guid: Any,
        session_filter: Any,
        context: Any,
        connection: Any,
    ) -> FWXFirewallAction:
        """Do :meth:`fwx.impl.session.FWXSession.AllowFutureConnect`."""
        target = check_target(address, length)
        local = check_local(leaves_from, leaves_from_length)
        protocol, flags = check_protocol(protocol), check_flags(flags, CONNECT_FLAGS)
        guid = check_guid(self._engine, guid)
        if protocol != FWX_PROTOCOL_TCP and local is not None:
            raise COMError(E_NOTIMPL, "the datagrams of a client all leave from one address")
        permit = partial(self._permit, target, protocol, flags, guid, session_filter, context, connection, local)
        return on_loop(self._engine.queue, permit)

    def _permit(
        self,
        target: SocketAddress,
        protocol: int,
        flags: int,
        guid: UUID,
        session_filter: Any,
        context: Any,
        connection: Any,
        local: SocketAddress | None,
    ) -> FWXFirewallAction:
        self.require_room()
        primary = primary_of(self._session, connection)
        notice = notice_of(self._session, session_filter, context)
        check_reach(self._engine, flags, peer_of(primary), target)
        permission = self._permission(primary, target, protocol, flags, guid, notice)
        if local is not None and primary is not None and local == _leaves_from(primary):
            local = local.with_port(0)  # the primary connection has the port
        permission.leaves_from = local
        permission.on_ended = partial(self._permission_ended, permission)
        self.keep(permission)
        self._engine.permissions.add(permission)
        return self._action(permission)

    def _permission(
        self,
        primary: ConnectionBase | None,
        target: SocketAddress,
        protocol: int,
        flags: int,
        guid: UUID,
        notice: Notice | None,
    ) -> Permission:
        permissions, transport = self._engine.permissions, TRANSPORTS[protocol]
        verdict = permissions.verdict(primary, target, guid, transport)
        own = permissions.own_address_of(primary)
        if target.address is not None and not permissions.may_reach(target, own, transport):
            raise COMError(FWX_E_ADDRESS_NOT_ALLOWED, f"{target} is an address of the firewall itself")
        if verdict.upstream and protocol != FWX_PROTOCOL_TCP:
            raise COMError(E_NOTIMPL, f"upstream {verdict.upstream!r} carries TCP only in this version")
        permission = Permission(self._session, target, protocol, flags, verdict, notice, own=own)
        if flags & FWX_FLAG_TIMEOUT:
            permissions.start_clock(permission)
        return permission

    def _permission_ended(self, permission: Permission) -> None:
        self.forget(permission)
        self._engine.permissions.remove(permission)

    def _action(self, permission: Permission) -> FWXFirewallAction:
        def withdraw() -> bool:
            if permission.has_ended:
                return False
            permission.end()
            return True

        return FWXFirewallAction(partial(on_loop, self._engine.queue, withdraw))

    # RedirectConnections.

    def redirect(
        self,
        addresses: Any,
        length: Any,
        count: Any,
        reserved: Any,
        leaves_from: Any,
        leaves_from_length: Any,
        protocol: Any,
        flags: Any,
        guid: Any,
        session_filter: Any,
        context: Any,
    ) -> tuple[SocketAddress, tuple[FWXFirewallAction, ...]]:
        """Do ``RedirectConnections``; ``RedirectConnectionsReservedPorts`` with *reserved*, which is a list of one."""
        targets = [check_target(address, length) for address in check_many(addresses, length, count)]
        local = check_local(leaves_from, leaves_from_length)
        protocol, flags = check_protocol(protocol), check_flags(flags, REDIRECT_FLAGS)
        guid = check_guid(self._engine, guid)
        if protocol != FWX_PROTOCOL_TCP:
            raise COMError(E_NOTIMPL, "datagrams are not redirected in this version")
        if local is not None and local.port and len(targets) > 1:
            local = local.with_port(0)
        run = partial(self._redirect, targets, reserved, local, flags, guid, session_filter, context)
        return on_loop(self._engine.queue, run)

    def _redirect(
        self,
        targets: list[SocketAddress],
        reserved: Any,
        local: SocketAddress | None,
        flags: int,
        guid: UUID,
        session_filter: Any,
        context: Any,
    ) -> tuple[SocketAddress, tuple[FWXFirewallAction, ...]]:
        self.require_room(len(targets))
        engine, primary = self._engine, primary_of(self._session, None)
        notice = notice_of(self._session, session_filter, context)
        permissions: list[Permission] = []
        bound: list[Transport] = []
        try:
            for target in targets:
                permissions.append(self._permission(primary, target, FWX_PROTOCOL_TCP, flags, guid, notice))
                permissions[-1].leaves_from = local
            if reserved is None:
                bound = bind_run(engine.network.stream, inside_address(self._session), len(targets))
            else:
                bound = take_reserved(reserved[0], FWX_PROTOCOL_TCP, len(targets))
            first = SocketAddress.from_sockaddr(bound[0].getsockname())
            for permission in permissions:
                # It owns the transport, also when it cannot listen.
                redirection = Redirection(self._session, permission, bound.pop(0))
                permission.on_ended = redirection.end
                redirection.start()
        except BaseException:
            for transport in bound:
                transport.close(False)
            for permission in permissions:
                permission.end()
            raise
        return first, tuple(self._action(permission) for permission in permissions)


def _leaves_from(connection: ConnectionBase) -> SocketAddress | None:
    try:
        return connection.GetExternalSocketName()
    except COMError:
        return None
