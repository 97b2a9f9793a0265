"""Records, batches and sinks for the tests of the firewall log's parts."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from fwx.firewall_log_schema import WRITTEN, FirewallLogError, RowMaker
from fwx.impl.alert import Alert, Severity
from fwx.impl.logrecord import Action, LogRecord
from fwx.logs.sink import Batch

T0 = 1_767_323_045.678  # 2026-01-02 03:04:05.678 UTC
PATIENCE = 30.0


def record(number: int = 0, **fields: Any) -> LogRecord:
    return LogRecord(fields.pop("time", T0), fields.pop("action", Action.Terminate), connection_id=number, **fields)


def alert(message: str) -> Alert:
    return Alert(T0, "event", Severity.WARNING, "fwx", "", message)


def batch(token: str, *records: LogRecord) -> Batch:
    return Batch(token, [list(RowMaker().record_row(item)) for item in records], [])


def numbers_of(taken: Batch) -> list[int]:
    place = WRITTEN.index("connectionid")
    return [int(row[place]) for row in taken.records]


class Clock:
    """A clock that is moved by hand."""

    def __init__(self, now: float = T0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Shelf:
    """A sink that keeps what it takes, and that a test can break, hold up, and look into."""

    name = "shelf"
    paths: tuple[Path, ...] = ()

    def __init__(self) -> None:
        self.taken: list[Batch] = []
        self.error: Exception | None = None
        self.entered = threading.Event()
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.pruned: list[float | None] = []
        self.to_prune = 0
        self.is_open = False

    def open(self) -> None:
        self.is_open = True

    def commit(self, batch: Batch) -> None:
        self.entered.set()
        assert self.goes_on.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        self.taken.append(batch)

    def prune(self, now: float | None) -> bool:
        self.pruned.append(now)
        self.to_prune -= 1
        return self.to_prune > 0

    def close(self) -> None:
        self.is_open = False

    def break_down(self) -> None:
        self.error = FirewallLogError("broken")

    @property
    def numbers(self) -> list[int]:
        return [number for each in self.taken for number in numbers_of(each)]
