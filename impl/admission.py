"""Whether a client may reach a target: the one question that every entry and every socket of a session asks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from fwx.impl.user import NOBODY
from fwx.interfaces import GUID_NULL
from fwx.interfaces.hresult import FWX_E_ADDRESS_NOT_ALLOWED, FWX_E_IS_BUSY, FWX_E_POLICY_RULES_DENIED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwx.impl.engine import Engine
    from fwx.impl.permission import Permission
    from fwx.impl.policy import Verdict
    from fwx.impl.route import Route
    from fwx.impl.session import FWXSession
    from fwx.impl.user import Who
    from fwx.impl.webrequest import WebRequest
    from fwx.interfaces import SocketAddress


def admit_client(
    session: FWXSession,
    source: SocketAddress,
    target: SocketAddress,
    resolved: list[SocketAddress] | None = None,
    transport: str = "TCP",
    permission: Permission | None = None,
    *,
    diverted: bool = False,
    web: WebRequest | None = None,
) -> tuple[Verdict, list[SocketAddress], Permission | None]:
    """Judge what the client of *session* itself asks for, as :func:`admit`; what a filter has announced comes first.

    The permission that lets it pass is to be taken before anything else happens; no rule is asked about a request for
    which there is one already, *permission*. A name that no rule allows, but whose port was announced, has to be
    resolved too: it may stand for the address that was announced. What was *diverted* keeps to known protocols. *web*
    is what the connection is for, where a request in plain HTTP is forwarded.
    Nothing is let on that could not be logged (B9.18).
    """
    verdict, addresses, permission = _admit_client(
        session, source, target, resolved, transport, permission, diverted, web
    )
    if (verdict.allowed or verdict.needs_resolution) and not session.engine.accepting():
        verdict = replace(
            verdict, allowed=False, needs_resolution=False, hresult=FWX_E_IS_BUSY, reason="the firewall log fails"
        )
        return verdict, [], None
    return verdict, addresses, permission


def _admit_client(
    session: FWXSession,
    source: SocketAddress,
    target: SocketAddress,
    resolved: list[SocketAddress] | None,
    transport: str,
    permission: Permission | None,
    diverted: bool,
    web: WebRequest | None,
) -> tuple[Verdict, list[SocketAddress], Permission | None]:
    engine = session.engine
    if permission is None:
        granted = engine.permissions.find(session, target, transport, resolved)
    else:
        granted = engine.permissions.grant(permission, target, transport, resolved)
    if granted is not None:
        return granted.verdict, granted.addresses, granted.permission
    if permission is not None:
        reason = f"{permission.verdict.reason}, which leads to the firewall itself"
        denied = replace(permission.verdict, allowed=False, hresult=FWX_E_ADDRESS_NOT_ALLOWED, reason=reason)
        return denied, [], None
    verdict, addresses = admit(engine, source, target, resolved, transport, session.who, web)
    if diverted:
        verdict, addresses = keep_to_protocols(session, target, verdict, addresses, transport)
    unknown = not verdict.allowed and resolved is None and target.address is None
    if unknown and engine.permissions.expects(session, target, transport):
        verdict = replace(verdict, needs_resolution=True)
    return verdict, addresses, None


def admit(
    engine: Engine,
    source: SocketAddress,
    target: SocketAddress,
    resolved: list[SocketAddress] | None = None,
    transport: str = "TCP",
    who: Who = NOBODY,
    web: WebRequest | None = None,
) -> tuple[Verdict, list[SocketAddress]]:
    """Judge *target* for a client at *source*; return the verdict and the addresses that may be connected to.

    A name is judged twice: without *resolved*, when the verdict may be that it has to be resolved first, and with the
    literal addresses it resolved to, each of which is judged like the name; those remain that the first allowed one's
    rule allows. What an upstream resolves is judged once: a route that takes names gets the name that is allowed by
    itself. An address that this service listens on is never a target. *transport* is ``TCP`` or ``UDP``;
    *who* is by which names the rules know the client. *web* is the request in plain HTTP that it is about.
    """
    if target.address is not None:
        literal = _judge(engine, source, target, transport, who, web)
        if literal.allowed and not engine.is_own_listener(target, transport):
            return literal, [target]
        return _keep_off_own(engine, literal, [target], transport) if literal.allowed else (literal, [])
    judge = partial(_judge, engine, source, target, transport, who, web)
    if resolved is None:
        return judge(), []
    verdict: Verdict | None = None
    allowed: list[SocketAddress] = []
    for address in resolved:
        judged = judge(address.host)
        if judged.allowed:
            if not allowed:
                verdict = judged
            # One verdict stands for the connection: what another rule allows may have other filters, and another
            # network rule another address to leave from.
            if verdict is not None and (judged.rule, judged.translates) == (verdict.rule, verdict.translates):
                allowed.append(address)
        elif verdict is None:
            verdict = judged
    if verdict is None:
        return judge(), []
    return _keep_off_own(engine, verdict, allowed, transport) if allowed else (verdict, [])


def admit_arrival(
    engine: Engine, peer: SocketAddress, local: SocketAddress, who: Who = NOBODY, transport: str = "TCP"
) -> Verdict:
    """Judge what has arrived from *peer* at *local*, where a session waits for it.

    The peer is the source, the firewall's own address the destination. *who* is by which names the rules know whoever
    waits.
    """
    return engine.policy.judge(peer.host, peer.port, local, transport, who=who, arrives=True)


def keep_to_protocols(
    session: FWXSession,
    target: SocketAddress,
    verdict: Verdict,
    addresses: list[SocketAddress],
    transport: str = "TCP",
) -> tuple[Verdict, list[SocketAddress]]:
    """Return what :func:`admit` has said, denied where nobody knows what a SecureNAT client wants there (B2.13).

    That is a port that no defined protocol begins with, at a destination which no filter of *session* has announced.
    """
    if not verdict.allowed or verdict.protocol_guid != GUID_NULL or session.announces(target, transport):
        return verdict, addresses
    reason = f"no protocol begins with {transport} port {target.port}, and no filter has announced {target}"
    return replace(verdict, allowed=False, hresult=FWX_E_POLICY_RULES_DENIED, reason=reason), []


def _judge(
    engine: Engine,
    source: SocketAddress,
    target: SocketAddress,
    transport: str,
    who: Who,
    web: WebRequest | None,
    resolved: str | None = None,
) -> Verdict:
    verdict = engine.policy.judge(source.host, source.port, target, transport, resolved, who, web=web)
    return verdict if transport == "TCP" else by_route(engine.routes, verdict, transport)


def by_route(routes: Mapping[str, Route], verdict: Verdict, transport: str) -> Verdict:
    """Return *verdict*, denied where the way out that it names carries no datagrams, which are to take it."""
    if verdict.upstream and transport != "TCP" and (refusal := routes[verdict.upstream].no_datagrams):
        # To go straight out instead would be another way than the rule's.
        reason = f"{verdict.reason}, {refusal}"
        return replace(verdict, allowed=False, hresult=FWX_E_POLICY_RULES_DENIED, reason=reason)
    return verdict


def _keep_off_own(
    engine: Engine, verdict: Verdict, addresses: list[SocketAddress], transport: str
) -> tuple[Verdict, list[SocketAddress]]:
    left = [address for address in addresses if not engine.is_own_listener(address, transport)]
    if left:
        return verdict, left
    reason = f"{addresses[0]} is a listener of this service"
    return replace(verdict, allowed=False, hresult=FWX_E_POLICY_RULES_DENIED, reason=reason), []
