"""What the firewall log could not hand to its database yet: batches in a file of the state folder, in order.

The file has one line a batch: ``+``, or ``-`` once the batch is in the database, and a JSON array of its token, the
names of the columns of its records, the records, and the alerts. So it can be read, also by a version with other
columns, and what a crash has cut off is known by its missing end of line.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections import deque
from pathlib import Path
from typing import Any, Final

from fwx.firewall_log_schema import ALERT_COLUMNS, COLUMNS, WRITTEN, FirewallLogError, Row
from fwx.logs.sink import Batch, in_steps, made_storable

logger = logging.getLogger("fwx.firewall_log")

MOST_BYTES: Final = 256 << 20
"""How large a spool grows unless it is told otherwise."""

_WAITS, _DONE = b"+", b"-"
_BLOCK = 1 << 20
_COLUMNS = json.dumps(WRITTEN)


class Spool:
    """Batches that wait on disk. Its calls must not overlap; the writer sees to that."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        """Nothing is touched before :meth:`open`; the file is there only while something waits.

        :param most_bytes: how large the file may become.
        """
        self.path = path
        self._most_bytes = most_bytes
        self._file = -1
        self._end = 0
        self._waiting: deque[tuple[int, int]] = deque()

    def __len__(self) -> int:
        """Return the number of batches that wait."""
        return len(self._waiting)

    def open(self) -> None:
        """Find what an earlier run has left.

        :raises FirewallLogError: the file is there and cannot be used.
        """
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        except OSError as error:
            raise FirewallLogError(f"{self.path}: the spool of the firewall log: {error.strerror}") from error
        try:
            self._find()
        except OSError as error:
            self._shut()
            raise FirewallLogError(f"{self.path}: the spool of the firewall log: {error.strerror}") from error

    def append(self, batch: Batch) -> None:
        """Write *batch* behind the others; all of it, or nothing. A crash of the machine loses it before :meth:`sync`.

        :raises FirewallLogError: the spool is full. :raises OSError: the file cannot be written.
        """
        try:
            line = _line_of(batch)
        except TypeError:  # an object, such as an address
            line = _line_of(made_storable(batch))
        if self._end + len(line) > self._most_bytes:
            raise FirewallLogError(f"the spool {self.path} is full: it may have {self._most_bytes} bytes")
        if self._file < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._file = os.open(self.path, flags, 0o600)
        try:
            self._write(line)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)
            if not self._end:
                self._remove()
            raise
        self._waiting.append((self._end, len(line)))
        self._end += len(line)

    def sync(self) -> None:
        """Have what was appended survive a crash of the machine. :raises OSError: it cannot."""
        if self._file >= 0:
            os.fdatasync(self._file)

    def head(self) -> Batch:
        """Return the oldest batch that waits; one that cannot be read is named in the service's log and left out.

        :raises IndexError: none waits. :raises OSError: the file cannot be read.
        """
        while True:
            start, length = self._waiting[0]
            line = os.pread(self._file, length, start)
            try:
                return _batch_of(line)
            except ValueError as error:
                logger.error(
                    "%s: %d bytes at %d are no records of the firewall log and lost: %s",
                    self.path,
                    length,
                    start,
                    error,
                )
                self.drop()

    def drop(self) -> None:
        """Take the oldest batch away: it is in the database. The file goes with the last one.

        :raises OSError: the file cannot be written; the batch is gone from this object all the same.
        """
        start, _ = self._waiting.popleft()
        if self._waiting:
            os.pwrite(self._file, _DONE, start)
            return
        os.ftruncate(self._file, 0)
        self._remove()

    def close(self) -> None:
        """Let go of the file; what waits in it is found by the next :meth:`open`."""
        if self._waiting:
            self._shut()
        else:
            self._remove()

    def _remove(self) -> None:
        """Do without a file, in which nothing waits."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                self.path.unlink()
        self._shut()
        self._end = 0

    def _shut(self) -> None:
        file, self._file = self._file, -1
        self._waiting.clear()
        if file >= 0:
            os.close(file)

    def _write(self, line: bytes) -> None:
        written = 0
        while written < len(line):
            written += os.pwrite(self._file, line[written:], self._end + written)

    def _find(self) -> None:
        """Look through the file for batches that wait; a line without an end was cut off by a crash."""
        line, at, waits = 0, 0, False
        while block := os.pread(self._file, _BLOCK, at):
            start = 0
            while start < len(block):
                if at + start == line:
                    waits = block[start : start + 1] != _DONE
                end = block.find(b"\n", start)
                if end < 0:
                    break
                if waits:
                    self._waiting.append((line, at + end + 1 - line))
                start = end + 1
                line = at + start
            at += len(block)
        if at > line:
            logger.warning("%s: the last batch was cut off, %d bytes", self.path, at - line)
            os.ftruncate(self._file, line)
        self._end = line
        if self._waiting:
            logger.warning("%s: %d batches of records wait since the last run", self.path, len(self._waiting))


def _line_of(batch: Batch) -> bytes:
    records = ", ".join(json.dumps(some)[1:-1] for some in in_steps(batch.records))
    return _WAITS + f"[{json.dumps(batch.token)}, {_COLUMNS}, [{records}], {json.dumps(batch.alerts)}]\n".encode()


def _batch_of(line: bytes) -> Batch:
    """Read a line. :raises ValueError: it is none of ours."""
    value: Any = json.loads(line[1:])
    match value if line[:1] == _WAITS else None:
        case [str(token), list(names), list(records), list(alerts)] if (
            _are_rows([names], len(names)) and _are_rows(records, len(names)) and _are_rows(alerts, len(ALERT_COLUMNS))
        ):
            return Batch(token, records if tuple(names) == WRITTEN else _translated(names, records), alerts)
    raise ValueError("expected a token, columns, records and alerts")


def _are_rows(rows: list[Any], width: int) -> bool:
    return all(
        isinstance(row, list) and len(row) == width and all(isinstance(value, str | int) for value in row)
        for row in rows
    )


def _translated(names: list[str], records: list[list[str | int]]) -> list[Row]:
    """Return *records*, of another version with the columns *names*, with the columns of this one."""
    default = [0 if COLUMNS[name] == "INTEGER" else "" for name in WRITTEN]
    rows = (dict(zip(names, record, strict=True)) for record in records)
    return [[row.get(name, default[place]) for place, name in enumerate(WRITTEN)] for row in rows]
