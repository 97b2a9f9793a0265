"""The service's end of ``fwx sessions``: the commands ``sessions`` and ``kill sessions`` of the control socket."""

from __future__ import annotations

import asyncio
import logging
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fwx.connection_criteria import ConnectionCriteria, name_in, network_in, text_in, whole_in
from fwx.control import ControlError
from fwx.interfaces.constants import FWX_SESSION_NAT, FWX_SESSION_PRIVATE
from fwx.interfaces.hresult import HRESULT_FROM_WIN32, WSAECONNABORTED
from fwx.live_traffic import Live, live_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwx.control.server import Lines
    from fwx.impl.engine import Engine
    from fwx.impl.session import FWXSession

logger = logging.getLogger("fwx.sessions")

MOST_SECONDS: Final = 60
"""Seconds between the two looks that rates come from, at most."""

_AT_ONCE: Final = 100
_LARGEST_NUMBER: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class SessionCriteria(ConnectionCriteria):
    """What a connection and its session have to be; what is not given is anything.

    :ivar user: whom the log names. :ivar session: a session's number, 0 for any. :ivar connection: likewise.
    """

    user: str
    session: int
    connection: int

    @classmethod
    def of(cls, request: Mapping[str, Any], engine: Engine) -> SessionCriteria:
        """Return what *request* asks for. :raises ControlError: it makes no sense, or names what is not there."""
        return cls(
            filter=name_in(request, "filter", _filters(engine)),
            rule=name_in(request, "rule", _rules(engine)),
            client=network_in(request, "from"),
            host=text_in(request, "host"),
            port=whole_in(request, "port", 0, 65535, 0),
            user=text_in(request, "user"),
            session=whole_in(request, "session", 0, _LARGEST_NUMBER, 0),
            connection=whole_in(request, "connection", 0, _LARGEST_NUMBER, 0),
        )

    def __str__(self) -> str:
        target = f"{self.host}:{self.port}" if self.port else self.host
        asked: dict[str, object] = {"user": self.user, "rule": self.rule, "filter": self.filter, "from": self.client}
        asked |= {"to": target, "session": self.session, "connection": self.connection}
        return " ".join(f"--{key} {shlex.quote(str(value))}" for key, value in asked.items() if value)

    @property
    def is_about_traffic(self) -> bool:
        """It tells the destinations of one UDP connection apart."""
        return bool(self.rule or self.filter or self.host or self.port)

    def fits_session(self, session: FWXSession) -> bool:
        """Tell whether connections of *session* may be wanted."""
        if (self.user and self.user != session.user_name) or (self.session and self.session != session.id):
            return False
        return self.fits_client(session.address)


class _Look(NamedTuple):
    """What a session has that fits, each with the bytes that had passed, and when it was looked at."""

    session: FWXSession
    lives: list[tuple[Live, tuple[int, int], float]]


class SessionsControl:
    """Lists what clients have open, with what passes in a second, and ends what a person names."""

    def __init__(self, engine: Engine, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        """*sleep* waits between the two looks that rates come from."""
        self._engine = engine
        self._looked_at = 0
        self._sleep = sleep

    async def sessions(self, request: Mapping[str, Any], lines: Lines) -> None:
        """Do the command ``sessions``: a line for each session, followed by one for each of its connections.

        With ``interval`` it looks twice, so many seconds apart, and says how many bytes passed in a second; what was
        over at the second look is left out. Sessions without a connection are told where nothing is asked of
        connections.

        :raises ControlError: the request is wrong.
        """
        criteria, engine = SessionCriteria.of(request, self._engine), self._engine
        seconds = _interval_in(request)
        looks = [look async for look in self._looks(criteria)]
        if seconds:
            await self._sleep(seconds)
        await lines.send({"done": {}})
        for session, lives in looks:
            connections = []
            for live, before, at in lives:
                if not live.has_ended:
                    connections.append(_with_rates(live, before, engine.clock() - at if seconds else 0.0))
                await self._breathe()
            if connections or not (criteria.is_about_traffic or criteria.connection or session.terminated):
                await lines.send({"session": self._session(session, connections)})
                for told in connections:
                    await lines.send({"connection": told})
                    await self._breathe()
            await self._breathe()

    async def kill(self, request: Mapping[str, Any], lines: Lines) -> None:
        """Do the command ``kill sessions``: end what fits, and send a line for each; with ``dry run`` nothing is ended.

        Of a UDP connection the destinations are ended that fit, where a rule, a filter or a target is asked for.

        :raises ControlError: the request is wrong, or asks for nothing in particular.
        """
        criteria = SessionCriteria.of(request, self._engine)
        if not str(criteria):
            raise ControlError("nothing says which connections are to end")
        ends = not _flag_in(request, "dry run")
        reason = f"ended by an operator: fwx sessions kill {criteria}"
        told: list[dict[str, Any]] = []
        for session in self._sessions(criteria):
            for live in _fitting(session, criteria, criteria.is_about_traffic):
                if not live.has_ended:  # with one before it
                    told.append(live.told())
                    if ends:
                        live.end(HRESULT_FROM_WIN32(WSAECONNABORTED), reason)
                await self._breathe()
            await self._breathe()
        if ends:
            logger.warning("fwx sessions kill %s has ended %d connections", criteria, len(told))
        await lines.send({"done": {}})
        for line in told:
            await lines.send({"connection": line})
            await self._breathe()

    async def _looks(self, criteria: SessionCriteria) -> AsyncIterator[_Look]:
        """Go through the sessions, with what each has that fits, and what of it has passed up to now."""
        for session in self._sessions(criteria):
            look = _Look(session, [])
            for live in _fitting(session, criteria):
                look.lives.append((live, live.traffic, self._engine.clock()))
                await self._breathe()
            yield look
            await self._breathe()

    async def _breathe(self) -> None:
        """Let data move after one more connection or session, if those before are enough for a turn of the loop."""
        self._looked_at += 1
        if self._looked_at >= _AT_ONCE:
            self._looked_at = 0
            await asyncio.sleep(0)

    def _sessions(self, criteria: SessionCriteria) -> list[FWXSession]:
        sessions = sorted(self._engine.sessions, key=lambda session: session.id)
        return [session for session in sessions if criteria.fits_session(session)]

    def _session(self, session: FWXSession, connections: list[dict[str, Any]]) -> dict[str, Any]:
        """Say what a session is; its figures are the sums of those of *connections*."""
        engine, flags = self._engine, session.GetSessionFlags()
        figures = ("sent", "received", "sent_per_second", "received_per_second")
        return {
            "session": session.id,
            "client": session.address.host,
            "user": session.user_name,
            "namespace": "" if session.user is None else session.user.Namespace,
            "kind": "SecureNAT" if flags & FWX_SESSION_NAT else "Firewall client",
            "private": bool(flags & FWX_SESSION_PRIVATE),
            "network": engine.policy.networks_of(session.address.host)[0],
            "server": engine.server_name,
            "since": engine.wall_clock() - (engine.clock() - session.started),
            "connections": len(connections),
            **{key: sum(each[key] for each in connections) for key in figures if all(key in c for c in connections)},
        }


def _fitting(session: FWXSession, criteria: SessionCriteria, by_destination: bool = True) -> Iterator[Live]:
    """Go through what *session* has that *criteria* mean."""
    for live in live_in(session, by_destination=by_destination):
        if criteria.connection in (0, live.connection.id) and live.fits(criteria):
            yield live


def _with_rates(live: Live, before: tuple[int, int], elapsed: float) -> dict[str, Any]:
    told = live.told()
    if elapsed > 0:
        sent, received = before
        told["sent_per_second"] = round((told["sent"] - sent) / elapsed, 1)
        told["received_per_second"] = round((told["received"] - received) / elapsed, 1)
    return told


def _filters(engine: Engine) -> Iterator[str]:
    return (host.name for host in (*engine.filters, *engine.retired))


def _rules(engine: Engine) -> Iterator[str]:
    """Go through the rules that there are, and those that live connections were let in by."""
    known = {rule.name: None for rule in engine.policy.rules}
    for session in engine.sessions:
        known |= {live.rule: None for live in live_in(session) if live.rule}
    return iter(known)


def _flag_in(request: Mapping[str, Any], key: str) -> bool:
    value = request.get(key, False)
    if not isinstance(value, bool):
        raise ControlError(f"{key!r} is {value!r}; expected true or false")
    return value


def _interval_in(request: Mapping[str, Any]) -> float:
    value = request.get("interval", 0)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= MOST_SECONDS:
        raise ControlError(f"'interval' is {value!r}; expected a number from 0 to {MOST_SECONDS}")
    return float(value)
