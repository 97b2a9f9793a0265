"""The records of connections that last: one with running totals every quarter of an hour (B9.11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.deadline import Timer
    from fwx.impl.engine import Engine

INTERMEDIATE_SECONDS: Final = 15 * 60.0
"""How old a connection is when its first *Intermediate* record is written, and how long after it the next ones are."""

_LOOKS = 30
_CONNECTIONS_A_TURN = 500


class InterimRecords:
    """Looks at the live connections of a service now and then, and has those logged that are due.

    The host makes it, starts it when clients are let in, and closes it. Nothing is kept for a connection, so short ones
    cost nothing. A record comes up to a thirtieth of the interval late.
    """

    __slots__ = ("_engine", "_timer", "_waiting", "interval")

    def __init__(self, engine: Engine, interval: float = INTERMEDIATE_SECONDS) -> None:
        """*interval* in seconds of the engine's clock; it may change, and does so from the next look on."""
        self._engine = engine
        self.interval = interval
        self._timer: Timer | None = None
        self._waiting: list[ConnectionBase] = []

    def start(self) -> None:
        """Begin; on the loop thread."""
        self._timer = self._engine.call_later(self.interval / _LOOKS, self._look)

    def close(self) -> None:
        """End; nothing is called any more."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Take the next connections; those of many are spread over turns of the loop, between which data moves."""
        if not self._waiting:
            self._waiting = self._engine.sessions.connections()
        taken, self._waiting = self._waiting[:_CONNECTIONS_A_TURN], self._waiting[_CONNECTIONS_A_TURN:]
        now = self._engine.clock()
        for connection in taken:
            connection.log_interim(now, self.interval)
        self._timer = self._engine.call_later(0 if self._waiting else self.interval / _LOOKS, self._look)
