"""A log that appends lines to files of a folder: one file a day, and more where one grows too large."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from fwx.firewall_log_schema import FirewallLogError, Row
from fwx.logs.retention import Keep
from fwx.logs.sink import Batch

NAME: Final = "FWXLOG_{day}_FWS_{number:03}.{suffix}"
"""What a file is called; the day is UTC."""

POSITION_NAME: Final = ".{suffix}-position"
"""The file beside them that says where the last batch begins."""

# Written over in place: a full disk has room for it.
_POSITION_BYTES = 256


class _Position(NamedTuple):
    """Where the batch *token* begins: in the file *name* at *offset*."""

    token: str
    name: str
    offset: int


class FileSink(ABC):
    """Appends records to files of a folder; a :class:`fwx.logs.sink.Sink`. Alerts have no place in them.

    A batch that was written just as the service was killed is written over when it comes again, so it is there once.
    """

    def __init__(
        self,
        kind: str,
        suffix: str,
        directory: Path,
        most_bytes: int | None,
        keep: Keep | None,
        clock: Callable[[], float],
    ) -> None:
        """Nothing is touched before :meth:`open`.

        :param kind: what messages call it. :param suffix: what the names of the files end with.
        :param directory: made if it is not there.
        :param most_bytes: a file that has so many is followed by another of the same day.
        :param keep: for how many days files are kept, and how many bytes they have together.
        :param clock: seconds since the epoch; says which day it is.
        """
        self.name = str(directory)
        self._kind = kind
        self._suffix = suffix
        self._ours = re.compile(rf"FWXLOG_(\d{{8}})_FWS_(\d{{3,}})\.{re.escape(suffix)}")
        self._directory = directory
        self._most_bytes = most_bytes
        self._keep = Keep() if keep is None else keep
        self._clock = clock
        self._file = -1
        self._path = directory
        self._day = ""
        self._size = 0
        self._position_path = directory / POSITION_NAME.format(suffix=suffix)
        self._position_file = -1
        self._left: _Position | None = None

    @abstractmethod
    def _lines(self, records: Sequence[Row]) -> bytes:
        """Return the lines of *records*, each with its end; the same records give the same bytes."""

    def _head(self) -> bytes:
        """Return what a file begins with."""
        return b""

    @property
    def path(self) -> Path:
        """The file that is being written."""
        return self._path

    @property
    def paths(self) -> tuple[Path, ...]:
        """The folder and all of its files that are this log's."""
        return (self._directory, self._position_path, *(path for _, _, path in self._files()))

    def open(self) -> None:
        """Make the folder (mode 0700) and open today's newest file (mode 0600).

        :raises FirewallLogError: one of them cannot be had.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._turn(self._today())
            self._position_file = _open(self._position_path)
            self._left = _position_of(os.pread(self._position_file, _POSITION_BYTES, 0))
        except OSError as error:
            self.close()
            words = f"{self._directory}: the {self._kind} log cannot be opened: {error.strerror}"
            raise FirewallLogError(words) from error

    def commit(self, batch: Batch) -> None:
        """Append the records. :raises FirewallLogError: they are not written."""
        if not batch.records:
            return
        lines = self._lines(batch.records)
        try:
            if not self._write_again(batch.token, lines):
                self._rotate()
                self._note(_Position(batch.token, self._path.name, self._size))
                self._append(lines)
        except OSError as error:
            raise FirewallLogError(f"{self._path.name}: {error.strerror}") from error
        self._left = None

    def prune(self, now: float | None) -> bool:
        """Remove the oldest file if it is older, or all together are larger, than is to be kept.

        :raises OSError: the folder cannot be read, or the file not removed.
        """
        files = self._files()
        others = [each for each in files if each[2] != self._path]
        if not others:
            return False
        day, _, oldest = others[0]
        before = self._keep.oldest(now)
        too_old = before is not None and day < before[:10].replace("-", "")
        most = self._keep.bytes
        if too_old or (most is not None and sum(path.stat().st_size for _, _, path in files) > most):
            oldest.unlink()
            return True
        return False

    def close(self) -> None:
        """Close the files."""
        for file in (self._file, self._position_file):
            if file >= 0:
                os.close(file)
        self._file = self._position_file = -1

    # The batch that was under way at the end of the last run.

    def _note(self, position: _Position) -> None:
        data = json.dumps(position).encode().ljust(_POSITION_BYTES - 1) + b"\n"
        os.pwrite(self._position_file, data, 0)

    def _write_again(self, token: str, lines: bytes) -> bool:
        """Write *lines* where the last run has begun to, if they are its last batch; tell whether they were."""
        left = self._left
        if left is None or left.token != token:
            return False
        try:
            file = os.open(self._directory / left.name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            if os.fstat(file).st_size < left.offset:  # the machine has crashed, and lost it
                return False
            _write(file, lines, left.offset)
            os.ftruncate(file, left.offset + len(lines))  # another version may have written more
        finally:
            os.close(file)
        if left.name == self._path.name:
            self._size = left.offset + len(lines)
        return True

    # The files.

    def _today(self) -> str:
        return time.strftime("%Y%m%d", time.gmtime(self._clock()))

    def _files(self) -> list[tuple[str, int, Path]]:
        found = ((self._ours.fullmatch(path.name), path) for path in self._directory.iterdir())
        return sorted((match[1], int(match[2]), path) for match, path in found if match is not None)

    def _rotate(self) -> None:
        """Go on to another file when the day is another, this one is full, or it has lost its name."""
        today = self._today()
        full = self._most_bytes is not None and self._size >= self._most_bytes
        if self._file >= 0 and today == self._day and not full and self._is_in_place():
            return
        self._turn(today, full and today == self._day)

    def _is_in_place(self) -> bool:
        try:
            named, held = self._path.stat(), os.fstat(self._file)
        except FileNotFoundError:
            return False
        return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)

    def _turn(self, day: str, after: bool = False) -> None:
        """Open the newest file of *day*, or one *after* it; what a crash has cut off of its last line is removed."""
        number = max((number for its_day, number, _ in self._files() if its_day == day), default=0) + after
        path = self._directory / NAME.format(day=day, number=number, suffix=self._suffix)
        file = _open(path)
        before, self._file, self._path, self._day = self._file, file, path, day
        if before >= 0:
            os.close(before)
        self._size = _whole_lines(file)
        if not self._size and (head := self._head()):
            self._append(head)

    def _append(self, data: bytes) -> None:
        """Write *data* behind what is there, all of it or nothing."""
        try:
            _write(self._file, data, self._size)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _write(file: int, data: bytes, offset: int) -> None:
    """Write *data* at *offset*, durably."""
    written = 0
    while written < len(data):
        written += os.pwrite(file, data[written:], offset + written)
    os.fdatasync(file)


def _position_of(data: bytes) -> _Position | None:
    """Read what :meth:`FileSink._note` has written; ``None`` for nothing, or for what a crash has left of it."""
    try:
        match json.loads(data):
            case [str(token), str(name), int(offset)] if offset >= 0 and "/" not in name:
                return _Position(token, name, offset)
    except ValueError:
        pass
    return None


def _whole_lines(file: int) -> int:
    """Cut *file* behind its last whole line; return its size."""
    size = os.fstat(file).st_size
    end = size
    while end:
        start = max(end - 4096, 0)
        found = os.pread(file, end - start, start).rfind(b"\n")
        end = start + found + 1 if found >= 0 else start
        if found >= 0:
            break
    if end < size:
        os.ftruncate(file, end)
    return end
