"""Reading the log, and what is refused as no log by reader and writer alike."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fwx.firewall_log import FirewallLog, read
from fwx.firewall_log_schema import FirewallLogError
from fwx.impl.logrecord import Action, LogRecord

T0 = 1_767_323_045.678  # 2026-01-02 03:04:05.678 UTC
PATIENCE = 30.0


def record(number: int, rule: str = "", when: float = T0) -> LogRecord:
    return LogRecord(when, Action.Terminate, connection_id=number, rule=rule)


def numbers(path: Path, **options: Any) -> list[int]:
    return [row["connectionid"] for row in read(path, **options)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "firewall.db"


class Log:
    """The log of a service that goes on running; what is written is committed at once."""

    def __init__(self, path: Path) -> None:
        self._log = FirewallLog(path)
        self._log.open()
        self.close = self._log.close

    def write(self, *records: LogRecord) -> None:
        for item in records:
            self._log.write(item)
        assert self._log.flush(PATIENCE)
        assert self._log.failed is None


@pytest.fixture
def log(path: Path) -> Iterator[Log]:
    log = Log(path)
    yield log
    log.close(PATIENCE)


@pytest.fixture
def three(log: Log, path: Path) -> Path:
    log.write(record(1, "a", T0 + 1), record(2, "b", T0), record(3, "a", T0 + 2), record(4, "a", T0 + 3))
    return path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 2, 3, 4]),
        ({"limit": 3}, [2, 3, 4]),
        ({"limit": 50}, [2, 1, 3, 4]),
        ({"limit": 0}, []),
        ({"limit": 2, "where": {"rule": "a"}}, [3, 4]),
        ({"where": {"rule": "a", "connectionid": 3}}, [3]),
        ({"where": {"rule": "c"}}, []),
    ],
)
def test_what_is_read(three: Path, options: dict[str, Any], expected: list[int]) -> None:
    assert numbers(three, **options) == expected


def test_many_rows_are_all_read(log: Log, path: Path) -> None:
    log.write(*(record(number, "ab"[number % 2]) for number in range(2500)))
    assert numbers(path) == list(range(2500))
    assert numbers(path, where={"rule": "b"}) == list(range(1, 2500, 2))


def test_an_unknown_column_is_refused_with_those_there_are(three: Path) -> None:
    with pytest.raises(FirewallLogError, match="firewall_log has no column 'Rule'; it has servername, logTime"):
        list(read(three, where={"Rule": "a"}))


def test_a_missing_file_is_refused_and_not_made(path: Path) -> None:
    with pytest.raises(FirewallLogError, match="no such file"):
        list(read(path))
    assert not path.exists()


def test_an_empty_file_is_refused(path: Path) -> None:
    path.touch()
    with pytest.raises(FirewallLogError, match="empty, not a firewall log"):
        list(read(path))


def test_following_yields_what_is_written_later(log: Log, path: Path) -> None:
    batches = iter([[2], [], [3, 4], range(5, 2005)])
    log.write(record(0), record(1))
    rows = read(path, limit=1, follow=True, wait=lambda: log.write(*map(record, next(batches))))
    assert [row["connectionid"] for row in itertools.islice(rows, 2004)] == list(range(1, 2005))
    rows.close()


def test_following_goes_on_where_all_was_deleted_for_its_age(log: Log, path: Path) -> None:
    """SQLite counts from 1 again, then."""

    def begin_anew() -> None:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("DELETE FROM firewall_log")
            connection.commit()
        log.write(record(4))

    log.write(*map(record, (1, 2, 3)))
    once = iter([begin_anew])
    rows = read(path, follow=True, wait=lambda: next(once)())
    assert [next(rows)["connectionid"] for _ in range(4)] == [1, 2, 3, 4]
    rows.close()


def test_following_goes_on_with_the_file_that_takes_the_place_of_one_moved_away(log: Log, path: Path) -> None:
    other = path.with_name("other.db")

    def move_away() -> None:
        made = FirewallLog(other)
        made.open()
        for number in (10, 11, 12):
            made.write(record(number))
        made.close(PATIENCE)
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").rename(path.with_name(f"old{suffix}"))
        other.rename(path)

    log.write(*map(record, (1, 2)))
    once = iter([move_away])
    rows = read(path, follow=True, wait=lambda: next(once)())
    assert [next(rows)["connectionid"] for _ in range(5)] == [1, 2, 10, 11, 12]
    rows.close()


def test_following_passes_over_what_is_not_asked_for(log: Log, path: Path) -> None:
    batches = iter([[record(1, "b")], [record(2, "a")]])
    log.write(record(0, "b"))
    rows = read(path, where={"rule": "a"}, follow=True, wait=lambda: log.write(*next(batches)))
    assert next(rows)["connectionid"] == 2
    rows.close()


def test_a_slow_reader_does_not_hold_up_the_writer(log: Log, path: Path) -> None:
    log.write(*map(record, range(2000)))
    rows = read(path)
    assert next(rows)["connectionid"] == 0
    log.write(record(2000))
    assert [row["connectionid"] for row in rows] == list(range(1, 2001))


# What is no log


def _text(path: Path) -> None:
    path.write_text("this is a text file, long enough to be looked at by a database\n" * 20)


def _directory(path: Path) -> None:
    path.mkdir()


def _statements(*statements: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        connection = sqlite3.connect(path)
        for statement in statements:
            connection.execute(statement)
        connection.close()

    return make


_TABLES = ("CREATE TABLE firewall_log (id)", "CREATE TABLE alerts (id)")


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (_text, "file is not a database"),
        (_directory, "not a regular file"),
        (_statements("CREATE TABLE addresses (name)"), "not a firewall log"),
        (_statements("PRAGMA user_version = 1"), "not a firewall log"),
        (_statements(*_TABLES, "PRAGMA user_version = 1"), "version 1, this program knows versions 2 to 3"),
        (_statements(*_TABLES, "PRAGMA user_version = 4"), "version 4, this program knows versions 2 to 3"),
        (_statements(*_TABLES), "version 0, this program knows versions 2 to 3"),
    ],
)
def test_what_is_no_firewall_log_is_refused_and_left_as_it_is(
    path: Path, make: Callable[[Path], None], complaint: str
) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(FirewallLogError, match=complaint) as refusal:
        FirewallLog(path).open()
    assert str(path) in str(refusal.value)
    with pytest.raises(FirewallLogError, match=complaint):
        list(read(path))
    assert (path.read_bytes() if path.is_file() else b"") == before
