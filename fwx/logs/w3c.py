"""The firewall log as W3C extended files: one a day, and more where one grows too large (B9.1 to B9.7)."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import fwx
from fwx.firewall_log_schema import WRITTEN, FirewallLogError, Row
from fwx.logs.actions import action_name
from fwx.logs.retention import Keep
from fwx.logs.sink import Batch
from fwx.logs.w3cfields import FIELDS

NAME: Final = "FWXLOG_{day}_FWS_{number:03}.w3c"
"""What a file is called; the day is UTC."""

_OURS = re.compile(r"FWXLOG_(\d{8})_FWS_(\d{3,})\.w3c")
_NOT_A_VALUE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\\]")


class W3cSink:
    """Appends records to files of a folder; a :class:`fwx.logs.sink.Sink`. Alerts have no place in them.

    A batch that was written just as the service was killed may be there twice.
    """

    def __init__(
        self,
        directory: Path,
        *,
        fields: Sequence[str] = tuple(FIELDS),
        most_bytes: int | None = None,
        keep: Keep | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is touched before :meth:`open`.

        :param directory: made if it is not there. :param fields: names of :data:`FIELDS`, in any order; those that are
            left out are not in the files (B9.2).
        :param most_bytes: a file that has so many is followed by another of the same day.
        :param keep: for how many days files are kept, and how many bytes they have together.
        :param clock: seconds since the epoch; says which day it is.
        """
        self.name = str(directory)
        self._directory = directory
        self._fields = tuple(name for name in FIELDS if name in fields)
        self._readers = tuple(map(_reader_of, self._fields))
        self._most_bytes = most_bytes
        self._keep = Keep() if keep is None else keep
        self._clock = clock
        self._file = -1
        self._path = directory
        self._day = ""
        self._size = 0

    @property
    def path(self) -> Path:
        """The file that is being written."""
        return self._path

    @property
    def paths(self) -> tuple[Path, ...]:
        """The folder and all of its files that are this log's."""
        return (self._directory, *(path for _, _, path in self._files()))

    def open(self) -> None:
        """Make the folder (mode 0700) and open today's newest file (mode 0600).

        :raises FirewallLogError: one of them cannot be had.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._turn(self._today())
        except OSError as error:
            raise FirewallLogError(f"{self._directory}: the W3C log cannot be opened: {error.strerror}") from error

    def commit(self, batch: Batch) -> None:
        """Append the records. :raises FirewallLogError: they are not written."""
        if not batch.records:
            return
        lines = "".join(map(self._line, batch.records)).encode("utf-8", "backslashreplace")
        try:
            self._rotate()
            try:
                self._append(lines)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, self._size)
                raise
            self._size += len(lines)
        except OSError as error:
            raise FirewallLogError(f"{self._path.name}: {error.strerror}") from error

    def prune(self, now: float | None) -> bool:
        """Remove the oldest file if it is older, or all together are larger, than is to be kept.

        :raises OSError: the folder cannot be read, or the file not removed.
        """
        files = self._files()
        if not files or files[0][2] == self._path:
            return False
        day, _, oldest = files[0]
        before = self._keep.oldest(now)
        too_old = before is not None and day < before[:10].replace("-", "")
        most = self._keep.bytes
        if too_old or (most is not None and sum(path.stat().st_size for _, _, path in files) > most):
            oldest.unlink()
            return True
        return False

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    # The files.

    def _today(self) -> str:
        return time.strftime("%Y%m%d", time.gmtime(self._clock()))

    def _files(self) -> list[tuple[str, int, Path]]:
        found = ((_OURS.fullmatch(path.name), path) for path in self._directory.iterdir())
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
        path = self._directory / NAME.format(day=day, number=number)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self.close()
        self._file, self._path, self._day = file, path, day
        self._size = _whole_lines(file)
        if not self._size:
            head = self._head().encode()
            self._append(head)
            self._size = len(head)

    def _append(self, data: bytes) -> None:
        written = 0
        while written < len(data):
            written += os.pwrite(self._file, data[written:], self._size + written)
        os.fdatasync(self._file)

    def _head(self) -> str:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self._clock()))
        fields = "\t".join(self._fields)
        return f"#Software: fwx {fwx.__version__}\n#Version: 1.0\n#Date: {stamp}\n#Fields: {fields}\n"

    def _line(self, row: Row) -> str:
        return "\t".join([read(row) or "-" for read in self._readers]) + "\n"


def _reader_of(name: str) -> Callable[[Row], str]:
    """Return what makes the text of the field *name* of a row; empty for nothing."""
    columns = [WRITTEN.index(column) for column in FIELDS[name]]
    match name:
        case "date":
            return lambda row: row[columns[0]][:10]  # type: ignore[index]
        case "time":
            return lambda row: row[columns[0]][11:19]  # type: ignore[index]
        case "action":
            return lambda row: action_name(row[columns[0]])  # type: ignore[arg-type]
        case "status":
            return lambda row: f"0x{row[columns[0]]:x}"
        case "bidirectional":
            return lambda _: "0"
    match columns:
        case []:
            return lambda _: ""
        case [only]:
            return lambda row: _printable(str(row[only]))
    host, port = columns
    protocol = WRITTEN.index("protocol")
    return lambda row: _end_point(str(row[host]), int(row[port]), row[protocol] == "ICMP")


def _end_point(host: str, port: int, is_icmp: bool) -> str:
    """Return ``address:port`` where the transport has ports; for ICMP they are its type and code (B9.5, B9.6)."""
    if not host or (not port and not is_icmp):
        return _printable(host)
    return f"[{host}]:{port}" if ":" in host else f"{_printable(host)}:{port}"


def _printable(text: str) -> str:
    """Escape what would end a value or a line: names in the log come from the network."""
    if text.isprintable() and "\\" not in text:
        return text
    return _NOT_A_VALUE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


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
