"""What is denied: so many records of it, and an alert for a client address that is denied too often (B11.6, B11.8)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, NamedTuple

from fwx.impl.logrecord import Action, LogRecord
from fwx.interfaces.hresult import (
    E_OUTOFMEMORY,
    FWX_E_IS_BUSY,
    FWX_E_NO_BACKLOG_PACKET_DROPPED,
    FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED,
)

FLOOD_RECORDS: Final = 100
"""Records in a second of what limits refuse, whatever is configured: who floods the service does not fill its log."""

_FLOODS: Final = frozenset(
    map(int, (E_OUTOFMEMORY, FWX_E_IS_BUSY, FWX_E_NO_BACKLOG_PACKET_DROPPED, FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED))
)
_MINUTE: Final = 60.0
# The table is swept of addresses whose minute is over when it has grown to this many.
_SWEEP_AT: Final = 4096


class DenialFigures(NamedTuple):
    """How much is denied before something happens; ``None`` for no limit.

    :ivar alert: denials of one address in a minute, from where on there is an alert. :ivar records_a_second: records of
        denials in a second. :ivar records_a_minute: those of one address in a minute.
    """

    alert: int = 600
    records_a_second: int | None = None
    records_a_minute: int | None = None


class _Minute:
    __slots__ = ("denied", "since", "written")

    def __init__(self, since: float) -> None:
        self.since = since
        self.denied = 0
        self.written = 0


class Denials:
    """Stands before the firewall log: lets records pass, of denials no more than there may be.

    What is left out is counted, and told in a record of its own, at the latest at :meth:`flush`. From any thread.
    """

    def __init__(
        self,
        write: Callable[[LogRecord], None],
        clock: Callable[[], float],
        figures: DenialFigures,
        exceeded: Callable[[str, str], object],
    ) -> None:
        """*write* takes the records; *exceeded* is told of an address that is denied too often, once in its minute."""
        self._write = write
        self._clock = clock
        self.figures = figures
        self._exceeded = exceeded
        self._lock = threading.Lock()
        self._second = clock()
        self._written = self._of_floods = 0
        self._minutes: dict[str, _Minute] = {}
        self._sweep_at = _SWEEP_AT
        self._left_out = 0
        self._last: LogRecord | None = None

    def write(self, record: LogRecord) -> None:
        """Hand *record* to the log, unless it is one denial too many."""
        if record.action is not Action.Denied:
            self._write(record)
            return
        with self._lock:
            minute = self._minute_of(record.source_ip)
            minute.denied += 1
            is_over = minute.denied == self.figures.alert and record.source_ip != ""
            passes = self._passes(minute, record.resultcode in _FLOODS)
            if not passes:
                self._left_out += 1
                self._last = record
        if passes:
            self._write(record)
        if is_over:
            words = f"{record.source_ip} was denied {self.figures.alert} times in a minute (denials_before_alert)"
            self._exceeded(record.source_ip, words)

    def flush(self) -> None:
        """Write how many denials were left out, if any were; called now and then, and before the log is closed."""
        with self._lock:
            count, last, self._left_out, self._last = self._left_out, self._last, 0, None
        if last is not None:
            reason = f"{count} denials are not in the log, of which this is the last one: {last.reason}"
            self._write(last._replace(reason=reason))

    def _minute_of(self, address: str) -> _Minute:
        now = self._clock()
        minute = self._minutes.get(address)
        if minute is None or now - minute.since >= _MINUTE:
            if minute is None and len(self._minutes) >= self._sweep_at:
                self._minutes = {key: each for key, each in self._minutes.items() if now - each.since < _MINUTE}
                self._sweep_at = max(_SWEEP_AT, 2 * len(self._minutes))
            minute = self._minutes[address] = _Minute(now)
        return minute

    def _passes(self, minute: _Minute, is_of_flood: bool) -> bool:
        """Count a record, unless it is too many."""
        now, figures = self._clock(), self.figures
        if now - self._second >= 1:
            self._second, self._written, self._of_floods = now, 0, 0
        if is_of_flood and self._of_floods >= FLOOD_RECORDS:
            return False
        if figures.records_a_second is not None and self._written >= figures.records_a_second:
            return False
        if figures.records_a_minute is not None and minute.written >= figures.records_a_minute:
            return False
        self._written += 1
        self._of_floods += is_of_flood
        minute.written += 1
        return True
