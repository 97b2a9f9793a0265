"""Connection limits per client address (behaviour topic 11)."""

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
        now = self._clock()
        usage = self._usage.get(address)
        if usage is None:
            if len(self._usage) >= self._sweep_at:
                self._sweep(now)
            usage = self._usage[address] = _Usage(now)
        elif now - usage.since >= _MINUTE:
            usage.since, usage.started = now, 0
        if usage.started >= self._per_minute:
            return (
                FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED,
                f"{address} has begun {usage.started} connections in a minute (tcp_connects_per_minute_per_address)",
            )
        if usage.concurrent >= self._concurrent:
            return FWX_E_IS_BUSY, f"{address} has {usage.concurrent} connections (tcp_per_address)"
        usage.started += 1
        usage.concurrent += 1
        return None

    def release(self, address: str) -> None:
        """Give back a connection that :meth:`admit` let in."""
        usage = self._usage[address]
        usage.concurrent -= 1

    def concurrent(self, address: str) -> int:
        """Return the number of connections that *address* has now."""
        usage = self._usage.get(address)
        return 0 if usage is None else usage.concurrent

    def _sweep(self, now: float) -> None:
        self._usage = {
            address: usage for address, usage in self._usage.items() if usage.concurrent or now - usage.since < _MINUTE
        }
        self._sweep_at = max(_SWEEP_AT, 2 * len(self._usage))
