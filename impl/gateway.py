"""Where the requests of every entry are opened, and all that are under way known."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fwx.impl.binding import Binding, Waiter
from fwx.impl.departure import Departure
from fwx.impl.filterhost import FilterHost
from fwx.impl.listeningconnection import end_all
from fwx.impl.opening import Opening
from fwx.impl.policy import Verdict
from fwx.impl.stragglers import Stragglers
from fwx.interfaces.hresult import FWX_E_TERMINATING

if TYPE_CHECKING:
    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.engine import Engine
    from fwx.impl.request import OpeningLimits, Request
    from fwx.impl.sessions import Sessions


class Gateway:
    """Opens connections for requests of every entry; knows all that are being opened.

    :ivar opening_limits: set by the host, if it has any.
    :ivar stragglers: the TLS transports of clients and servers that have been closed and still send.
    """

    def __init__(self, engine: Engine, sessions: Sessions, on_ended: Callable[[ConnectionBase], None]) -> None:
        """*on_ended* hears of every connection that was made for a request, when it is gone."""
        self.engine = engine
        self.sessions = sessions
        self.opening: set[Opening | Binding] = set()
        self.opening_limits: OpeningLimits | None = None
        self.departure = Departure(engine.network)
        self.stragglers = Stragglers(engine.linger_deadlines)
        self._on_ended = on_ended
        # By the filters of a verdict, for those of the engine at the time.
        self._hosts: dict[tuple[str, ...], tuple[FilterHost, ...]] = {}
        self._hosts_among: tuple[FilterHost, ...] = ()
        engine.gateway = self

    def open(self, request: Request) -> None:
        """Begin; the entry hears the outcome, the log too."""
        opening = Opening(self, request)
        self.opening.add(opening)
        opening.step(opening.start)

    def bind(self, request: Request, waiter: Waiter, families: tuple[int, ...]) -> Binding:
        """Begin to wait for a connection to the client; *waiter* hears the outcome, the log too. Its ``entry`` is not
        asked. *families* are those that the client's protocol can name, the preferred one first."""
        binding = Binding(self, request, waiter, families)
        self.opening.add(binding)
        binding.step(binding.start)
        return binding

    def connection_ended(self, connection: ConnectionBase) -> None:
        self.sessions.connection_ended(connection)
        self._on_ended(connection)

    def close(self) -> None:
        """Refuse what is still being opened, and let nobody in for clients any more: the service stops."""
        self.engine.stopping = True
        for opening in list(self.opening):
            opening.give_up(FWX_E_TERMINATING, "the service is stopping")
        end_all(self.sessions.connections(), FWX_E_TERMINATING, "the service is stopping")
        for session in self.sessions:
            session.secondary.close()

    @property
    def hosts_everywhere(self) -> tuple[FilterHost, ...]:
        """The filters that see every connection, in the order of their tables."""
        return tuple(host for host in self.engine.filters if host.everywhere)

    def hosts_of(self, verdict: Verdict) -> tuple[FilterHost, ...]:
        """Return the filters that see a connection of this verdict: those of every connection in the order of their
        tables, then the rule's in the order of the rule."""
        filters = self.engine.filters
        if filters is not self._hosts_among:
            self._hosts.clear()
            self._hosts_among = filters
        hosts = self._hosts.get(verdict.filters)
        if hosts is None:
            named = {host.name: host for host in filters if not host.everywhere}
            hosts = self.hosts_everywhere + tuple(named[name] for name in verdict.filters if name in named)
            self._hosts[verdict.filters] = hosts
        return hosts
