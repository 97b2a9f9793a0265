"""RetroactiveAllowBind: what a client has bound by itself is open to others after the event (B6.18 to B6.21)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fwx.impl.announcement import check_flags, check_guid, check_protocol, primary_of
from fwx.impl.ipfilter import FWXIpFilter, require_ip_filter
from fwx.impl.loopthread import on_loop
from fwx.impl.permissions import TRANSPORTS
from fwx.impl.sockets import check_address
from fwx.interfaces import GUID_NULL
from fwx.interfaces.constants import FWX_FLAG_BIDIRECTIONAL, FWX_INCREASE_RECEIVE_BUFFER, FWX_PROTOCOL_UDP
from fwx.interfaces.enums import fwxSourceWSP
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    ERROR_NOT_FOUND,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TERMINATING,
    HRESULT,
    HRESULT_FROM_WIN32,
    S_FALSE,
    S_OK,
    COMError,
)

if TYPE_CHECKING:
    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.engine import Engine
    from fwx.impl.policy import Verdict
    from fwx.impl.session import FWXSession
    from fwx.interfaces import SocketAddress

_UDP_FLAGS = FWX_FLAG_BIDIRECTIONAL | FWX_INCREASE_RECEIVE_BUFFER


class BindApproval:
    """What a filter has said of a bind: the protocol it is for, and who may come.

    :ivar ip_filter: who may come, ``None`` for everyone (B6.33).
    :ivar bidirectional: the client may answer those who wrote to its UDP socket (B6.21).
    """

    __slots__ = ("_engine", "_verdict", "bidirectional", "ip_filter")

    def __init__(
        self, engine: Engine, verdict: Verdict, ip_filter: FWXIpFilter | None = None, *, bidirectional: bool = False
    ) -> None:
        """*verdict* is that of the rule behind it; a copy of *ip_filter* is kept, ``None`` is everyone (B6.33)."""
        self._engine = engine
        self._verdict = verdict
        self.ip_filter = None if ip_filter is None else ip_filter.Clone()
        self.bidirectional = bidirectional

    def admits(self, peer: SocketAddress) -> bool:
        return self.ip_filter is None or self.ip_filter.admits(peer.host)

    def verdict(self, peer: SocketAddress, local: SocketAddress) -> Verdict:
        """Return what holds for *peer*, who comes to the client's address *local* on the outside."""
        networks = self._engine.policy.networks_of
        source, destination = networks(peer.host)[0], networks(local.host)[0]
        return replace(self._verdict, source_network=source, destination_network=destination)


def retroactive_allow_bind(
    session: FWXSession, protocol: Any, address: Any, length: Any, guid: Any, flags: Any, ip_filter: Any
) -> HRESULT:
    """Do :meth:`fwx.impl.session.FWXSession.RetroactiveAllowBind`."""
    protocol = check_protocol(protocol)
    check_address(address, length)
    if address.address is None or not address.port:
        raise COMError(E_INVALIDARG, f"{address} is no literal address with a port")
    guid = check_guid(session.engine, guid)
    if guid == GUID_NULL:
        raise COMError(E_INVALIDARG, "the bind has to be tied to a protocol")
    flags = check_flags(flags, _UDP_FLAGS if protocol == FWX_PROTOCOL_UDP else 0)
    restriction = None if ip_filter is None else require_ip_filter(ip_filter)
    return on_loop(session.engine.queue, _allow, session, protocol, address, guid, flags, restriction)


def _allow(
    session: FWXSession, protocol: int, address: SocketAddress, guid: UUID, flags: int, ip_filter: FWXIpFilter | None
) -> HRESULT:
    engine = session.engine
    if session.terminated:
        raise COMError(FWX_E_TERMINATING, "the session has ended")
    bound = _bound_at(session, protocol, address)
    if bound.terminating:
        raise COMError(FWX_E_TERMINATING, f"the bind of {address} is being torn down")
    if bound.approval is not None:
        return S_FALSE
    rule = engine.policy.rule_for(session.address.host, guid, session.who)
    if rule is None:
        name = engine.policy.protocol_name(guid)
        raise COMError(FWX_E_POLICY_RULES_DENIED, f"no rule lets the client use protocol {name!r}")
    verdict = engine.permissions.verdict(primary_of(session, None), address, guid, TRANSPORTS[protocol])
    if not verdict.rule:
        verdict = replace(verdict, rule=rule.name, filters=rule.filters, log=rule.log)
    approval = BindApproval(
        engine, replace(verdict, upstream=""), ip_filter, bidirectional=bool(flags & FWX_FLAG_BIDIRECTIONAL)
    )
    bound.approve(approval, bool(flags & FWX_INCREASE_RECEIVE_BUFFER))
    return S_OK


def _bound_at(session: FWXSession, protocol: int, address: SocketAddress) -> ConnectionBase:
    """Return the connection that has bound *address*, the unspecified address and a port standing for any with it.

    :raises COMError: ``ERROR_NOT_FOUND`` no Firewall client has.
    """
    if session.source == fwxSourceWSP:
        for connection in sorted(session.connections, key=lambda each: each.terminating):
            for place in connection.places_bound(protocol):
                if place.port == address.port and (place.host == address.host or _is_any(place) or _is_any(address)):
                    return connection
    raise COMError(HRESULT_FROM_WIN32(ERROR_NOT_FOUND), f"the client has not bound {address}")


def _is_any(address: SocketAddress) -> bool:
    return address.address is not None and address.address.is_unspecified
