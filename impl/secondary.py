"""The secondary connections of one session: what filters have announced for its client (behaviour topic 6)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from fwx.impl.announcement import (
    CONNECT_FLAGS,
    Terms,
    check_local,
    check_reach,
    check_target,
    check_terms,
    primary_of,
)
from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.firewallaction import FWXFirewallAction
from fwx.impl.loopthread import on_loop
from fwx.impl.notice import Notice, notice_of
from fwx.impl.permission import Permission
from fwx.impl.permissions import TRANSPORTS
from fwx.interfaces.constants import FWX_FLAG_TIMEOUT, FWX_PROTOCOL_TCP
from fwx.interfaces.hresult import (
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TERMINATING,
    WSAENOBUFS,
    COMError,
    winsock_error,
)

if TYPE_CHECKING:
    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.engine import Engine
    from fwx.impl.filterhost import FilterHost
    from fwx.impl.session import FWXSession
    from fwx.interfaces import SocketAddress

MOST_ANNOUNCED = 256
"""What may be announced for one session at a time."""


class Announced(Protocol):
    """What ends with the session.

    :ivar host: the filter that is called for it, ``None`` for none.
    """

    @property
    def host(self) -> FilterHost | None: ...

    def end(self) -> None: ...


class Secondary:
    """Announces for one session, and ends with it what was announced. Any thread may call the methods of filters.

    :ivar session: the session.
    """

    __slots__ = ("_announced", "session")

    def __init__(self, session: FWXSession) -> None:
        self.session = session
        self._announced: set[Announced] = set()

    def __len__(self) -> int:
        return len(self._announced)

    @property
    def engine(self) -> Engine:
        return self.session.engine

    def close(self) -> None:
        """The session ends, or the service stops."""
        for announced in list(self._announced):
            announced.end()

    def has_any_of(self, host: FilterHost) -> bool:
        """Tell whether *host* will be called for something that was announced."""
        return any(announced.host is host for announced in self._announced)

    def keep(self, announced: Announced) -> None:
        """Have *announced* end with the session, until :meth:`forget`."""
        self._announced.add(announced)

    def forget(self, announced: Announced) -> None:
        self._announced.discard(announced)

    def require_room(self, count: int = 1) -> None:
        """:raises COMError: ``FWX_E_TERMINATING`` the session has ended, or the service stops; ``WSAENOBUFS`` too much
        is announced."""
        if self.session.terminated:
            raise COMError(FWX_E_TERMINATING, "the session has ended")
        if self.engine.stopping:
            raise COMError(FWX_E_TERMINATING, "the service is stopping")
        if len(self._announced) + count > MOST_ANNOUNCED:
            raise winsock_error(WSAENOBUFS, f"{len(self._announced)} secondary connections are announced")

    # What the methods that announce share; on the loop thread.

    def permission(
        self, primary: ConnectionBase | None, target: SocketAddress, terms: Terms, notice: Notice | None
    ) -> Permission:
        """Make the permission for a connection of the client to *target*; nobody finds it yet.

        :raises COMError: ``FWX_E_ADDRESS_NOT_ALLOWED`` it is the firewall itself; ``FWX_E_POLICY_RULES_DENIED`` UDP
            through an upstream that carries none.
        """
        permissions, transport = self.engine.permissions, TRANSPORTS[terms.protocol]
        verdict = permissions.verdict(primary, target, terms.guid, transport)
        own = permissions.own_address_of(primary)
        if target.address is not None and not permissions.may_reach(target, own, transport):
            raise COMError(FWX_E_ADDRESS_NOT_ALLOWED, f"{target} is an address of the firewall itself")
        refusal = self.engine.routes[verdict.upstream].no_datagrams
        if refusal and terms.protocol != FWX_PROTOCOL_TCP:
            raise COMError(FWX_E_POLICY_RULES_DENIED, f"{verdict.reason}, {refusal}")
        permission = Permission(self.session, target, terms.protocol, terms.flags, verdict, notice, own=own)
        self.start_clock(permission, terms)
        return permission

    def start_clock(self, permission: Permission, terms: Terms) -> None:
        """Have *permission* lapse unused if the flags say so (B6.7)."""
        if terms.flags & FWX_FLAG_TIMEOUT:
            self.engine.permissions.start_clock(permission)

    def action(self, permission: Permission) -> FWXFirewallAction:
        """Return what the filter can cancel *permission* by."""

        def withdraw() -> bool:
            if permission.has_ended:
                return False
            permission.end()
            return True

        return FWXFirewallAction(partial(on_loop, self.engine.queue, withdraw))

    # AllowFutureConnect.

    def allow_future_connect(
        self, address: Any, length: Any, leaves_from: Any, leaves_from_length: Any, given: Terms, connection: Any
    ) -> FWXFirewallAction:
        """Do :meth:`fwx.impl.session.FWXSession.AllowFutureConnect`."""
        target = check_target(address, length)
        local = check_local(leaves_from, leaves_from_length)
        terms = check_terms(self.engine, CONNECT_FLAGS, given)
        return on_loop(self.engine.queue, self._allow, target, local, terms, connection)

    def _allow(
        self, target: SocketAddress, local: SocketAddress | None, terms: Terms, connection: Any
    ) -> FWXFirewallAction:
        self.require_room()
        primary = primary_of(self.session, connection)
        notice = notice_of(self.session, terms.session_filter, terms.context)
        check_reach(self.engine, terms.flags, None if primary is None else primary.leads_to, target)
        permission = self.permission(primary, target, terms, notice)
        if local is not None and not isinstance(primary, FWXDatagramConnection) and local == _leaves_from(primary):
            local = local.with_port(0)  # the primary connection has the port
        permission.leaves_from = local
        permission.on_ended = partial(self._ended, permission)
        self.keep(permission)
        self.engine.permissions.add(permission)
        return self.action(permission)

    def _ended(self, permission: Permission) -> None:
        self.forget(permission)
        self.engine.permissions.remove(permission)


def _leaves_from(connection: ConnectionBase | None) -> SocketAddress | None:
    try:
        return None if connection is None else connection.GetExternalSocketName()
    except COMError:
        return None
