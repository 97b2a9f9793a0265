"""Whose datagrams are turned away, for the log: whoever forges addresses must not fill it, which would shut the
firewall."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fwx.interfaces import SocketAddress

MOST_TURNED_AWAY: Final = 100
"""Records of one port within :data:`TURNED_AWAY_SECONDS`, one for each host."""
TURNED_AWAY_SECONDS: Final = 60.0


class TurnedAway:
    """Says which hosts of one port have a record coming; the others are counted.

    :ivar unlogged: datagrams that had none.
    """

    __slots__ = ("_clock", "_hosts", "_since", "unlogged")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = clock()
        self._hosts: set[str] = set()
        self.unlogged = 0

    def is_news(self, source: SocketAddress) -> bool:
        """Tell whether a datagram of *source*, which is turned away, is to be logged."""
        now = self._clock()
        if now - self._since >= TURNED_AWAY_SECONDS:
            self._since = now
            self._hosts.clear()
        if source.host in self._hosts or len(self._hosts) >= MOST_TURNED_AWAY:
            self.unlogged += 1
            return False
        self._hosts.add(source.host)
        return True
