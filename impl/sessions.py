"""The sessions of a service: one per client address, kind of client and user (B1.14 to B1.16)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from fwx.impl.session import FWXSession

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.deadline import DeadlineQueue
    from fwx.impl.engine import Engine
    from fwx.impl.user import FWXAuthenticatedUser
    from fwx.interfaces import FwxFirewallEventSource, SocketAddress


_Key: TypeAlias = tuple[str, int, tuple[str, str] | None]


class Sessions:
    """Finds or makes a client's session, and ends one that has had no connection for a while."""

    def __init__(self, engine: Engine, idle_deadlines: DeadlineQueue) -> None:
        """*idle_deadlines* says how long a session without connections is kept."""
        self._engine = engine
        self._idle = idle_deadlines
        self._sessions: dict[_Key, FWXSession] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[FWXSession]:
        return iter(list(self._sessions.values()))

    def of(
        self, client: SocketAddress, source: FwxFirewallEventSource, user: FWXAuthenticatedUser | None = None
    ) -> FWXSession:
        """Return the session of *client* (its port does not matter), known as *user*, that makes events of *source*."""
        key = _key(client, source, user)
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = FWXSession(self._engine, client.with_port(0), source, user)
        return session

    def connection_ended(self, connection: ConnectionBase) -> None:
        """Start the idle time of a session that has lost its last connection."""
        session = connection.session
        if not session.connections and not session.terminated:
            ended = session.last_ended = connection.id
            self._idle.add(lambda: self._end_if_idle(session, ended))

    def connections(self) -> list[ConnectionBase]:
        return [connection for session in self for connection in session.connections]

    def close(self) -> None:
        """End every session; their connections must have ended."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.terminate()

    def _end_if_idle(self, session: FWXSession, last: int) -> None:
        """End *session* unless it has connections, or lost another one (and so got a later deadline) since *last*."""
        if session.connections or session.last_ended != last or session.terminated:
            return
        self._sessions.pop(_key(session.address, session.source, session.user), None)
        session.terminate()


def _key(client: SocketAddress, source: FwxFirewallEventSource, user: FWXAuthenticatedUser | None) -> _Key:
    return client.host, source, None if user is None else (user.Namespace, user.Username)
