"""Live connections, judged again: the rules may say something else now than when they began (B7.18, B7.19)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from fwx.impl.acceptedconnection import FWXAcceptedConnection
from fwx.impl.admission import admit, admit_arrival
from fwx.impl.connection import FWXConnection
from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.listeningconnection import FWXListeningConnection
from fwx.impl.udpdestination import STANDING, Destination, State
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import FWX_E_POLICY_CONNECTION_CLOSED, S_OK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.engine import Engine
    from fwx.impl.policy import Policy, Verdict
    from fwx.impl.route import Route
    from fwx.impl.user import SessionUser, Who
    from fwx.impl.webrequest import WebRequest

AT_ONCE: Final = 100
"""Connections that are judged in one round of the loop."""


class Disallowed(NamedTuple):
    """What the rules do not allow any more, and why: a connection, or one *destination* of a UDP connection."""

    connection: ConnectionBase
    reason: str
    destination: Destination | None = None

    def end(self) -> None:
        """End it; the log gets ``FWX_E_POLICY_CONNECTION_CLOSED``."""
        reason = f"no longer allowed: {self.reason}"
        if self.destination is None:
            self.connection.end(FWX_E_POLICY_CONNECTION_CLOSED, reason)
        elif isinstance(self.connection, FWXDatagramConnection):
            self.connection.end_destination(self.destination, FWX_E_POLICY_CONNECTION_CLOSED, reason)


def end_disallowed(engine: Engine) -> int:
    """End every connection, and every destination over UDP, that the rules do not allow any more; return how many.

    On the loop thread, which does nothing else until then.
    """
    connections = engine.sessions.connections()
    found = [each for connection in connections for each in _disallowed(connection)]
    for each in found:
        each.end()
    _forget_refusals(connections)
    return len(found)


def end_in_turns(engine: Engine, done: Callable[[int], None]) -> None:
    """Do :func:`end_disallowed` a few connections at a time, so that others go on meanwhile; *done* gets the number.

    What is opened meanwhile has been judged by what the rules say now.
    """
    _take_turn(engine, engine.sessions.connections(), 0, done)


def _take_turn(engine: Engine, left: list[ConnectionBase], count: int, done: Callable[[int], None]) -> None:
    connections = left[-AT_ONCE:]
    turn = [each for connection in connections for each in _disallowed(connection)]
    del left[-AT_ONCE:]
    for each in turn:
        each.end()
    _forget_refusals(connections)
    if left:
        engine.queue.defer(_take_turn, engine, left, count + len(turn), done)
    else:
        done(count + len(turn))


def _forget_refusals(connections: list[ConnectionBase]) -> None:
    """Have destinations over UDP that the rules refused judged anew when something is sent there (B7.18).

    What filters refuse stays refused (B2.19).
    """
    for connection in connections:
        for each in connection.destinations if isinstance(connection, FWXDatagramConnection) else ():
            refused = each.verdict is not None and not (each.verdict.allowed or each.secondary)
            if refused and each.state is State.DENIED:
                connection.end_destination(each, S_OK, "")


class Judgement(NamedTuple):
    """What connections are judged by: the policy, its routes, and by which names it knows users."""

    policy: Policy
    routes: Mapping[str, Route]
    known_as: Callable[[SessionUser], Who]

    def enforce(self, engine: Engine) -> None:
        """Have *engine* judge so from now on."""
        engine.policy, engine.routes, engine.known_as = self


def disallowed_by(engine: Engine, other: Judgement, done: Callable[[list[Disallowed]], None]) -> None:
    """Find what *other* would not allow, a few connections at a time; *done* gets it.

    Nothing is ended, and nobody else is judged by *other*.
    """
    _look_on(engine, other, engine.sessions.connections(), [], done)


def _look_on(
    engine: Engine,
    other: Judgement,
    left: list[ConnectionBase],
    found: list[Disallowed],
    done: Callable[[list[Disallowed]], None],
) -> None:
    in_force = Judgement(engine.policy, engine.routes, engine.known_as)
    other.enforce(engine)
    try:
        found += [each for connection in left[-AT_ONCE:] for each in _disallowed(connection)]
    finally:
        in_force.enforce(engine)
    del left[-AT_ONCE:]
    if left:
        engine.queue.defer(_look_on, engine, other, left, found, done)
    else:
        done(found)


def disallowed(engine: Engine) -> Iterator[Disallowed]:
    """Go through what the rules do not allow any more; nothing is ended.

    A connection that is allowed by another rule now goes on as it began: with the filters, the way out and the log flag
    of the rule that let it in.
    """
    for connection in engine.sessions.connections():
        yield from _disallowed(connection)


def _disallowed(connection: ConnectionBase) -> Iterator[Disallowed]:
    if connection.terminating:
        return
    if isinstance(connection, FWXDatagramConnection):
        yield from _destinations(connection)
    elif reason := _complaint(connection):
        yield Disallowed(connection, reason)


def judge_again(connection: FWXConnection) -> Verdict:
    """Return what the rules say now to a TCP connection that a client has asked for, or that has arrived for one."""
    engine, who = connection.engine, connection.session.who
    if isinstance(connection, FWXAcceptedConnection):
        return admit_arrival(engine, connection.target, connection.local, who)
    return judge_request(connection, connection.web)


def judge_request(connection: FWXConnection, web: WebRequest | None) -> Verdict:
    """Return what the rules say to *web*, if that is what a client's TCP connection carries or is to carry next."""
    engine, who = connection.engine, connection.session.who
    verdict, _ = admit(engine, connection.client_address, connection.target, _addresses(connection), who=who, web=web)
    return verdict


def _addresses(connection: FWXConnection) -> list[SocketAddress] | None:
    """Return what a name stands for; ``None`` where the target is no name, or an upstream looks it up."""
    return connection.candidates if connection.address is None else _resolved(connection)


def _resolved(what: FWXConnection | Destination) -> list[SocketAddress] | None:
    return None if what.target.address is not None or what.address is None else [what.address]


def _complaint(connection: ConnectionBase) -> str:
    """Say why *connection* is not allowed any more; nothing if it is."""
    if connection.verdict.needs_resolution:
        return ""  # its name is being looked up, and judged then
    if not connection.is_secondary and isinstance(connection, FWXConnection):
        verdict = judge_again(connection)
    elif not connection.is_secondary and isinstance(connection, FWXListeningConnection) and connection.bound:
        verdict = connection.engine.policy.judge_waiting(connection.bound, connection.session.who)
    else:
        return _without_rule(connection, connection.verdict)
    return "" if verdict.allowed else verdict.reason


def _without_rule(connection: ConnectionBase, verdict: Verdict) -> str:
    """Judge what a filter has announced, or what waits for others: it stands under a rule, which holds or does not."""
    if not verdict.allowed or connection.engine.policy.is_in_force(verdict.rule):
        return ""
    return f"rule {verdict.rule!r}, under which it stands, is not in force"


def _destinations(connection: FWXDatagramConnection) -> Iterator[Disallowed]:
    engine, who = connection.engine, connection.session.who
    for destination in connection.destinations:
        verdict = destination.verdict
        if destination.state not in STANDING or verdict is None:
            continue
        if destination.secondary or destination.permission is not None:
            reason = _without_rule(connection, verdict)
        else:
            client, target = connection.client_address, destination.target
            verdict, _ = admit(engine, client, target, _resolved(destination), "UDP", who)
            reason = "" if verdict.allowed else verdict.reason
        if reason:
            yield Disallowed(connection, reason, destination)
