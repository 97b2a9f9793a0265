"""What all clients together may have pending, and who is refused when that is too much (B11.9)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from fwx.impl.ceiling import MOST_QUEUED
from fwx.impl.lookups import MOST_LOOK_UPS_OF_ALL
from fwx.interfaces.hresult import E_OUTOFMEMORY, FWX_E_IS_BUSY, FWX_E_NO_BACKLOG_PACKET_DROPPED, HRESULT

Refusal: TypeAlias = tuple[HRESULT, str]
"""Why there is no room: the result and the words for the log."""

MIB: Final = 1 << 20


class CrowdFigures(NamedTuple):
    """What all clients together may have, by the keys of ``[limits]``.

    :ivar handshakes: clients that have not said yet what they want. :ivar connects: connections that are being opened.
    :ivar look_ups: names that are being looked up. :ivar udp_sessions: sessions over UDP.
    :ivar memory: bytes of the service, ``None`` without a ceiling. :ivar memory_per_connection: bytes that wait in one.
    """

    handshakes: int = 4096
    connects: int = 4096
    look_ups: int = MOST_LOOK_UPS_OF_ALL
    udp_sessions: int = 8192
    memory: int | None = None
    memory_per_connection: int = MOST_QUEUED


class Crowd:
    """Counts what all clients together have pending. One for a service; whoever lets something begin asks it.

    :ivar handshakes: the clients that have not said yet what they want, put here by their entries.
    :ivar most_handshakes: so many there may be; none while memory is short. :ivar most_udp_sessions: likewise.
    :ivar connects: connections that are being opened. :ivar udp_sessions: sessions over UDP, both counted by
        :class:`fwx.limits.AddressLimits`.
    :ivar memory: bytes that the service has in use, as they were measured last.
    :ivar exceeded: told of each refusal: the key of ``[limits]``, and words. :ivar on_change: told of new figures.
    :ivar refusals: how many there were, by key.
    """

    def __init__(self, figures: CrowdFigures | None = None) -> None:
        self.figures = figures or CrowdFigures()
        self.handshakes: set[Any] = set()
        self.connects = 0
        self.udp_sessions = 0
        self.memory = 0
        self.exceeded: Callable[[str, str], object] = lambda _key, _words: None
        self.on_change: Callable[[], object] = lambda: None
        self.refusals: Counter[str] = Counter()
        self._is_short = False
        self._set()

    def use(self, figures: CrowdFigures) -> None:
        """Go by *figures* from now on; what is there stays, and counts."""
        self.figures = figures
        self._set()
        self.on_change()

    @property
    def is_short(self) -> bool:
        """Memory is short: nobody new is let in."""
        return self._is_short

    @is_short.setter
    def is_short(self, value: bool) -> None:
        self._is_short = value
        self._set()

    def refuse_client(self) -> Refusal:
        """Refuse a new client, which there is no room for: more than :attr:`most_handshakes` would be there."""
        if self._is_short:
            return self._refuse_for_memory()
        words = f"{len(self.handshakes)} clients have not said yet what they want (handshakes)"
        return self._refuse(FWX_E_NO_BACKLOG_PACKET_DROPPED, "handshakes", words)

    def refuse_udp_session(self) -> Refusal:
        """Refuse a new client of a UDP port, which there is no room for."""
        if self._is_short:
            return self._refuse_for_memory()
        words = f"there are {self.udp_sessions} UDP sessions (udp_sessions)"
        return self._refuse(FWX_E_NO_BACKLOG_PACKET_DROPPED, "udp_sessions", words)

    def refuse_connect(self) -> Refusal:
        """Refuse to open a connection: more than the figure would be under way."""
        words = f"{self.connects} connections are being opened (connects)"
        return self._refuse(FWX_E_IS_BUSY, "connects", words)

    def look_up_refused(self, words: str) -> None:
        """A look-up was refused because too many of all clients are under way; *words* say so."""
        self.refusals["look_ups"] += 1
        self.exceeded("look_ups", f"{words} (look_ups)")

    def told(self, look_ups: int) -> dict[str, Any]:
        """Return what JSON has for it: each figure, and what it may be."""
        counts: Mapping[str, tuple[int, int | None]] = {
            "handshakes": (len(self.handshakes), self.figures.handshakes),
            "connects": (self.connects, self.figures.connects),
            "look_ups": (look_ups, self.figures.look_ups),
            "udp_sessions": (self.udp_sessions, self.figures.udp_sessions),
            "memory": (self.memory, self.figures.memory),
        }
        return {name: {"is": count, "most": most} for name, (count, most) in counts.items()}

    def _refuse_for_memory(self) -> Refusal:
        most = "" if self.figures.memory is None else f" of {self.figures.memory // MIB}"
        words = f"the service has {self.memory // MIB}{most} MiB in use (memory_megabytes)"
        return self._refuse(E_OUTOFMEMORY, "memory_megabytes", words)

    def _refuse(self, result: HRESULT, key: str, words: str) -> Refusal:
        self.refusals[key] += 1
        self.exceeded(key, words)
        return result, words

    def _set(self) -> None:
        self.most_handshakes = 0 if self._is_short else self.figures.handshakes
        self.most_udp_sessions = 0 if self._is_short else self.figures.udp_sessions
