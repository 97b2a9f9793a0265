"""Limits per client address: what it may have open and begin (behaviour topic 11), and wrong passwords."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, Protocol

from fwx.crowd import Crowd, CrowdFigures, Refusal
from fwx.impl.networks import AddressSet, normalise
from fwx.interfaces.hresult import FWX_E_IS_BUSY, FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED, HRESULT

HALF_OPEN: Final = 80
"""TCP connections of one address that are being opened at a time, by default (B11's table)."""

_MINUTE = 60.0
# The table is swept of addresses that no longer count when it has grown to this many.
_SWEEP_AT = 4096


class UdpSession(Protocol):
    """What a client has open over UDP, and what has to go when it opens too much (B11.3)."""

    def end(self, result: int, reason: str) -> None:
        """End, for *result* and *reason* in the log; its place has been given back."""


class Figures(NamedTuple):
    """What one client address may have.

    :ivar tcp: TCP connections. :ivar tcp_a_minute: new ones in a minute. :ivar half_open: those that are being opened.
    :ivar http_a_minute: requests in plain HTTP in a minute. :ivar udp: sessions over UDP.
    """

    tcp: int = 160
    tcp_a_minute: int = 600
    half_open: int = HALF_OPEN
    http_a_minute: int = 600
    udp: int = 160


class LimitTable:
    """Which figures hold for which address (B11.5).

    :ivar crowd: those of all addresses together.
    """

    __slots__ = ("_excepted", "_exceptions", "_figures", "crowd")

    def __init__(
        self,
        figures: Figures,
        exceptions: AddressSet | None = None,
        excepted: Figures | None = None,
        crowd: CrowdFigures | None = None,
    ) -> None:
        """*excepted* hold for *exceptions*, *figures* for everybody else."""
        self.crowd = crowd or CrowdFigures()
        self._figures = figures
        self._exceptions = exceptions
        self._excepted = excepted or figures

    def of(self, address: str) -> Figures:
        """Return what holds for the literal *address*."""
        if self._exceptions is None:
            return self._figures
        return self._excepted if normalise(address) in self._exceptions else self._figures


class Usage:
    """What one client address has and has begun.

    :ivar udp: its sessions over UDP, the oldest first.
    """

    __slots__ = ("concurrent", "figures", "half_open", "requested", "requests_since", "since", "started", "udp")

    def __init__(self, figures: Figures) -> None:
        self.figures = figures
        self.concurrent = 0
        self.half_open = 0
        self.started = self.requested = 0
        self.since = self.requests_since = -math.inf  # begins with the first of them
        self.udp: dict[UdpSession, None] = {}

    def told(self, now: float) -> dict[str, Any]:
        """Return what JSON has for it: each figure, and what it may be."""
        most, started = self.figures, self.started if now - self.since < _MINUTE else 0
        requested = self.requested if now - self.requests_since < _MINUTE else 0
        counts = self.concurrent, started, self.half_open, requested, len(self.udp)
        return {name: {"is": count, "most": each} for name, count, each in zip(most._fields, counts, most, strict=True)}

    def counts(self, now: float) -> bool:
        """Tell whether the address has anything, or its minute is not over."""
        if self.concurrent or self.half_open or self.udp:
            return True
        return now - self.since < _MINUTE or now - self.requests_since < _MINUTE


class AddressLimits:
    """Counts what each client address has open, and what it has begun in the current minute.

    :ivar exceeded: told of each refusal: the address, and words (B11.6). :ivar refusals: how many there were.
    :ivar logs: what is refused has a record. :ivar crowd: counts all addresses together.
    """

    def __init__(self, table: LimitTable, clock: Callable[[], float]) -> None:
        self._table = table
        self._clock = clock
        self._usage: dict[str, Usage] = {}
        self._sweep_at = _SWEEP_AT
        self.exceeded: Callable[[str, str], object] = lambda _address, _words: None
        self.refusals = 0
        self.logs = True
        self.crowd = Crowd(table.crowd)

    def use(self, table: LimitTable) -> None:
        """Go by *table* from now on; what is open stays open, and counts."""
        self._table = table
        self.crowd.use(table.crowd)
        for address, usage in self._usage.items():
            usage.figures = table.of(address)

    def admit(self, address: str) -> Refusal | None:
        """Count a new connection of *address*; return the result and the words for the log if it is one too many.

        An admitted connection must be given back by :meth:`release`.
        """
        usage = self._current(address)
        if usage.started >= usage.figures.tcp_a_minute:
            return self._over_rate(address, usage)
        if usage.concurrent >= usage.figures.tcp:
            return self._refuse(FWX_E_IS_BUSY, address, f"has {usage.concurrent} connections (tcp_per_address)")
        usage.started += 1
        usage.concurrent += 1
        return None

    def begin(self, address: str) -> Refusal | None:
        """Count a connection that an admitted one begins for its client; as :meth:`admit` if it is one too many.

        Nothing is to be given back.
        """
        usage = self._current(address)
        if (refused := self._over_rate(address, usage)) is None:
            usage.started += 1
        return refused

    def release(self, address: str) -> None:
        """Give back a connection that :meth:`admit` let in."""
        usage = self._usage[address]
        usage.concurrent -= 1

    def begin_opening(self, address: str) -> Refusal | None:
        """Count a connection that is being opened for *address*, unless it is one too many; :meth:`end_opening` follows
        when it is open, or is not to be."""
        usage = self._usage.get(address) or self._known(address)
        if usage.half_open >= usage.figures.half_open:
            words = f"has {usage.half_open} connections that are being opened (tcp_half_open_per_address)"
            return self._refuse(FWX_E_IS_BUSY, address, words)
        crowd = self.crowd
        if crowd.connects >= crowd.figures.connects:
            return crowd.refuse_connect()
        usage.half_open += 1
        crowd.connects += 1
        return None

    def end_opening(self, address: str) -> None:
        """Give back what :meth:`begin_opening` has counted."""
        self._usage[address].half_open -= 1
        self.crowd.connects -= 1

    def request(self, address: str) -> Refusal | None:
        """Count a request in plain HTTP, unless it is one too many."""
        usage, now = self._known(address), self._clock()
        if now - usage.requests_since >= _MINUTE:
            usage.requests_since, usage.requested = now, 0
        if usage.requested >= usage.figures.http_a_minute:
            words = f"has made {usage.requested} HTTP requests in a minute (http_requests_per_minute_per_address)"
            return self._refuse(FWX_E_IS_BUSY, address, words)
        usage.requested += 1
        return None

    def begin_udp(self, address: str, session: UdpSession) -> None:
        """Count *session*; where it is one too many the oldest of *address* makes room (B11.3)."""
        usage = self._known(address)
        if len(usage.udp) >= usage.figures.udp:
            oldest = next(iter(usage.udp))
            del usage.udp[oldest]
            self.crowd.udp_sessions -= 1
            words = f"has {len(usage.udp) + 1} UDP sessions (udp_per_address)"
            result, reason = self._refuse(FWX_E_IS_BUSY, address, words)
            oldest.end(result, f"made room for a newer one: {reason}")
        usage.udp[session] = None
        self.crowd.udp_sessions += 1

    def end_udp(self, address: str, session: UdpSession) -> None:
        """Give back the place of *session*, if it has one."""
        usage = self._usage.get(address)
        if usage is not None and session in usage.udp:
            del usage.udp[session]
            self.crowd.udp_sessions -= 1

    def concurrent(self, address: str) -> int:
        """Return the number of connections that *address* has now."""
        usage = self._usage.get(address)
        return 0 if usage is None else usage.concurrent

    def all(self) -> Iterator[tuple[str, Usage]]:
        """Go through the addresses that count now."""
        now = self._clock()
        return ((address, usage) for address, usage in list(self._usage.items()) if usage.counts(now))

    def _known(self, address: str) -> Usage:
        """Return what *address* uses."""
        usage = self._usage.get(address)
        if usage is None:
            if len(self._usage) >= self._sweep_at:
                self._sweep(self._clock())
            usage = self._usage[address] = Usage(self._table.of(address))
        return usage

    def _current(self, address: str) -> Usage:
        """Return what *address* uses, its minute begun anew if it is over."""
        usage, now = self._usage.get(address) or self._known(address), self._clock()
        if now - usage.since >= _MINUTE:
            usage.since, usage.started = now, 0
        return usage

    def _over_rate(self, address: str, usage: Usage) -> Refusal | None:
        if usage.started < usage.figures.tcp_a_minute:
            return None
        words = f"has begun {usage.started} connections in a minute (tcp_connects_per_minute_per_address)"
        return self._refuse(FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED, address, words)

    def _refuse(self, result: HRESULT, address: str, words: str) -> Refusal:
        reason = f"{address} {words}"
        self.refusals += 1
        self.exceeded(address, reason)
        return result, reason

    def _sweep(self, now: float) -> None:
        self._usage = {address: usage for address, usage in self._usage.items() if usage.counts(now)}
        self._sweep_at = max(_SWEEP_AT, 2 * len(self._usage))


class AttemptLimits:
    """Counts the wrong passwords of each client address: so many within a time, and all its attempts are refused for as
    long again."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float]) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._failures: dict[str, tuple[float, int]] = {}
        self._refused: dict[str, float] = {}
        self._sweep_at = _SWEEP_AT

    def __len__(self) -> int:
        """The number of addresses that are remembered."""
        return len(self._failures) + len(self._refused)

    def allowance(self, address: str) -> int:
        """Return how many wrong passwords *address* may still try; 0 while it is refused."""
        now = self._clock()
        if (until := self._refused.get(address)) is not None:
            if now < until:
                return 0
            del self._refused[address]
        since, count = self._failures.get(address, (now, 0))
        return self._most - count if now - since < self._seconds else self._most

    def failed(self, address: str) -> None:
        """Count a wrong password of *address*."""
        now = self._clock()
        if len(self) >= self._sweep_at:
            self._sweep(now)
        since, count = self._failures.pop(address, (now, 0))
        if now - since >= self._seconds:
            since, count = now, 0
        if count + 1 >= self._most:
            self._refused[address] = now + self._seconds
        else:
            self._failures[address] = since, count + 1

    def _sweep(self, now: float) -> None:
        self._failures = {key: value for key, value in self._failures.items() if now - value[0] < self._seconds}
        self._refused = {key: until for key, until in self._refused.items() if now < until}
        self._sweep_at = max(_SWEEP_AT, 2 * len(self))
