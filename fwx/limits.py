"""Limits per client address: connections (behaviour topic 11), and wrong passwords."""

from __future__ import annotations

from collections.abc import Callable

from fwx.interfaces.hresult import FWX_E_IS_BUSY, FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED, HRESULT

_MINUTE = 60.0
# The table is swept of addresses that no longer count when it has grown to this many.
_SWEEP_AT = 4096


class _Usage:
    __slots__ = ("concurrent", "since", "started")

    def __init__(self, now: float) -> None:
        self.concurrent = 0
        self.started = 0
        self.since = now


class AddressLimits:
    """Counts the TCP connections of each client address: those there are, and those begun in the current minute."""

    def __init__(self, concurrent: int, per_minute: int, clock: Callable[[], float]) -> None:
        self._concurrent = concurrent
        self._per_minute = per_minute
        self._clock = clock
        self._usage: dict[str, _Usage] = {}
        self._sweep_at = _SWEEP_AT

    def admit(self, address: str) -> tuple[HRESULT, str] | None:
        """Count a new connection of *address*; return the result and the words for the log if it is one too many.

        An admitted connection must be given back by :meth:`release`.
        """
        usage = self._current(address)
        if (refused := self._over_rate(address, usage)) is not None:
            return refused
        if usage.concurrent >= self._concurrent:
            return FWX_E_IS_BUSY, f"{address} has {usage.concurrent} connections (tcp_per_address)"
        usage.started += 1
        usage.concurrent += 1
        return None

    def begin(self, address: str) -> tuple[HRESULT, str] | None:
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

    def concurrent(self, address: str) -> int:
        """Return the number of connections that *address* has now."""
        usage = self._usage.get(address)
        return 0 if usage is None else usage.concurrent

    def _current(self, address: str) -> _Usage:
        """Return what *address* uses, its minute begun anew if it is over."""
        now = self._clock()
        usage = self._usage.get(address)
        if usage is None:
            if len(self._usage) >= self._sweep_at:
                self._sweep(now)
            usage = self._usage[address] = _Usage(now)
        elif now - usage.since >= _MINUTE:
            usage.since, usage.started = now, 0
        return usage

    def _over_rate(self, address: str, usage: _Usage) -> tuple[HRESULT, str] | None:
        if usage.started < self._per_minute:
            return None
        return (
            FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED,
            f"{address} has begun {usage.started} connections in a minute (tcp_connects_per_minute_per_address)",
        )

    def _sweep(self, now: float) -> None:
        self._usage = {
            address: usage for address, usage in self._usage.items() if usage.concurrent or now - usage.since < _MINUTE
        }
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
