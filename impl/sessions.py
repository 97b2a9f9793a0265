"""The sessions of a service: one per client address, kind of client and user (B1.14 to B1.16)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from fwx.impl.retirement import let_go
from fwx.impl.session import FWXSession
from fwx.interfaces.enums import fwxSourceNAT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.deadline import DeadlineQueue
    from fwx.impl.engine import Engine
    from fwx.impl.user import SessionUser, Who
    from fwx.interfaces import FwxFirewallEventSource, SocketAddress


# A user whose groups have changed has another session: the policy holds for what it is now.
_Key: TypeAlias = tuple[str, int, "tuple[str, str, Who] | None"]


class Sessions:
    """Finds or makes a client's session, and ends one that has had no connection for a while."""

    def __init__(self, engine: Engine, idle_deadlines: DeadlineQueue) -> None:
        """*idle_deadlines* says how long a session without connections is kept."""
        self._engine = engine
        self._idle = idle_deadlines
        self._sessions: dict[_Key, FWXSession] = {}
        self._private: set[FWXSession] = set()
        engine.sessions = self

    def __len__(self) -> int:
        return len(self._sessions) + len(self._private)

    def __iter__(self) -> Iterator[FWXSession]:
        return iter([*self._sessions.values(), *self._private])

    def of(self, client: SocketAddress, source: FwxFirewallEventSource, user: SessionUser | None = None) -> FWXSession:
        """Return the session of *client* (its port does not matter), known as *user*, that makes events of *source*."""
        key: _Key = (client.host, source, None) if user is None else _key(client, source, user)
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = FWXSession(self._engine, client.with_port(0), source, user)
        return session

    def find_or_make(self, client: SocketAddress) -> FWXSession:
        """Return the session of a SecureNAT client for a filter (B6.28); without connections it ends after a while."""
        session = self.of(client, fwxSourceNAT)
        self.rest(session)
        return session

    def make_private(self, client: SocketAddress, user: SessionUser | None, inside: SocketAddress | None) -> FWXSession:
        """Make a session that only the filter which asks for it knows (B6.29).

        It ends after a while without connections and without sockets. *inside*: the address that *client* reaches the
        firewall by.
        """
        session = FWXSession(self._engine, client.with_port(0), fwxSourceNAT, user, is_private=True)
        session.inside_address = inside
        self._private.add(session)
        self.rest(session)
        return session

    def connection_ended(self, connection: ConnectionBase) -> None:
        """Start the idle time of a session that has lost its last connection."""
        session = connection.session
        if not session.is_busy:
            self.rest(session)
        if self._engine.retired:
            let_go(self._engine)

    def rest(self, session: FWXSession) -> None:
        """Start the idle time of *session* if it has no connection, or such as wait for others alone."""
        if not session.is_busy and not session.terminated:
            session.rests += 1
            rest = session.rests
            self._idle.add(lambda: self._end_if_idle(session, rest))

    def connections(self) -> list[ConnectionBase]:
        return [connection for session in self for connection in session.connections]

    def close(self) -> None:
        """End every session; their connections must have ended."""
        sessions = list(self)
        self._sessions.clear()
        self._private.clear()
        for session in sessions:
            session.terminate()
        self._engine.permissions.close()

    def _end_if_idle(self, session: FWXSession, rest: int) -> None:
        """End *session* unless it has connections, or began to rest another time (and so got a later deadline)."""
        if session.is_busy or session.rests != rest or session.terminated:
            return
        if session.is_private:
            if session.has_sockets:
                self.rest(session)
                return
            self._private.discard(session)
        else:
            self._sessions.pop(_key(session.address, session.source, session.user), None)
        session.terminate()
        if self._engine.retired:
            let_go(self._engine)


def _key(client: SocketAddress, source: FwxFirewallEventSource, user: SessionUser | None) -> _Key:
    return client.host, source, None if user is None else (user.Namespace, user.Username, user.who)
