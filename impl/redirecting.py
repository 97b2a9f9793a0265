"""RedirectConnections: ports inside for a run of targets (B6.22 to B6.25), or reserved ones (B6.26)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fwx.impl.announcement import REDIRECT_FLAGS, Terms, check_local, check_many, check_target, check_terms, primary_of
from fwx.impl.datagramredirection import DatagramRedirection
from fwx.impl.loopthread import on_loop
from fwx.impl.notice import notice_of
from fwx.impl.ownaddress import address_towards
from fwx.impl.portrun import bind_run
from fwx.impl.redirection import Redirection
from fwx.impl.reservedports import take_reserved
from fwx.interfaces import SocketAddress
from fwx.interfaces.constants import FWX_PROTOCOL_TCP
from fwx.interfaces.hresult import WSAENETUNREACH, winsock_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwx.impl.firewallaction import FWXFirewallAction
    from fwx.impl.permission import Permission
    from fwx.impl.secondary import Secondary
    from fwx.impl.session import FWXSession

Redirected = tuple[SocketAddress, "tuple[FWXFirewallAction, ...]"]


def redirect(
    secondary: Secondary,
    addresses: Any,
    length: Any,
    count: Any,
    leaves_from: Any,
    leaves_from_length: Any,
    given: Terms,
    reserved: list[Any] | None = None,
) -> Redirected:
    """Do ``RedirectConnections``; ``RedirectConnectionsReservedPorts`` with *reserved*, a list of one.

    Returns the first inside address, and the actions.
    """
    targets = [check_target(address, length) for address in check_many(addresses, length, count)]
    local = check_local(leaves_from, leaves_from_length)
    terms = check_terms(secondary.engine, REDIRECT_FLAGS, given)
    if local is not None and len(targets) > 1:
        local = local.with_port(0)
    return on_loop(secondary.engine.queue, _redirect, secondary, targets, local, terms, reserved)


def _redirect(
    secondary: Secondary,
    targets: list[SocketAddress],
    local: SocketAddress | None,
    terms: Terms,
    reserved: list[Any] | None,
) -> Redirected:
    session, network = secondary.session, secondary.engine.network
    streams = terms.protocol == FWX_PROTOCOL_TCP
    make: Callable[[int], Any] = network.stream if streams else network.datagram
    kind: type[Redirection | DatagramRedirection] = Redirection if streams else DatagramRedirection
    secondary.require_room(len(targets))
    primary = primary_of(session, None)
    notice = notice_of(session, terms.session_filter, terms.context)
    permissions: list[Permission] = []
    bound: list[Any] = []
    try:
        for target in targets:
            permission = secondary.permission(primary, target, terms, notice)
            permission.leaves_from = local
            permissions.append(permission)
        if reserved is None:
            bound = bind_run(make, _inside_address(session), len(targets))
        else:
            bound = take_reserved(reserved[0], terms.protocol, len(targets))
        first = SocketAddress.from_sockaddr(bound[0].getsockname())
        for permission in permissions:
            kind(session, permission, bound.pop(0)).start()
    except BaseException:
        for transport in bound:
            transport.close(False)
        for permission in permissions:
            permission.end()
        raise
    return first, tuple(secondary.action(permission) for permission in permissions)


def _inside_address(session: FWXSession) -> SocketAddress:
    """Return the address of the firewall, port 0, that the client of *session* reaches it by (B6.22, B6.29).

    :raises COMError: ``WSAENETUNREACH`` there is no way to the client.
    """
    inside = session.inside_address or address_towards(session.engine.network, session.address)
    if inside is None:
        raise winsock_error(WSAENETUNREACH, f"there is no way to {session.address.host}")
    return inside
