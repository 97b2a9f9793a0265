"""The sessions of a service: one per client address and kind of client (B1.14 to B1.16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwx.impl.session import FWXSession

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.deadline import DeadlineQueue
    from fwx.impl.engine import Engine
    from fwx.interfaces import FwxFirewallEventSource, SocketAddress


class Sessions:
    """Finds or makes a client's session, and ends one that has had no connection for a while."""

    def __init__(self, engine: Engine, idle_deadlines: DeadlineQueue) -> None:
        """*idle_deadlines* says how long a session without connections is kept."""
        self._engine = engine
        self._idle = idle_deadlines
        self._sessions: dict[tuple[str, int], FWXSession] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[FWXSession]:
        return iter(list(self._sessions.values()))

    def of(self, client: SocketAddress, source: FwxFirewallEventSource) -> FWXSession:
        """Return the session of *client* (its port does not matter) that makes events of *source*."""
        key = (client.host, source)
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = FWXSession(self._engine, client.with_port(0), source)
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
        self._sessions.pop((session.address.host, session.source), None)
        session.terminate()
