from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fwx.logs.sqlite
from fwx.firewall_log import FirewallLog
from fwx.firewall_log_schema import ALERT_COLUMNS, COLUMNS, FirewallLogError
from fwx.logs import writer as writer_module
from fwx.logs.reader import read
from fwx.logs.retention import Keep
from fwx.logs.sink import Batch
from fwx.logs.sqlite import SqliteSink
from tests.fwx.logs.records import PATIENCE, T0, batch, record

DAY = 86400.0
ADDED = [
    name
    for name in COLUMNS
    if name in ("bytessentDelta", "bytesrecvdDelta", "connectiontimeDelta", "SourceName", "IPHeader", "Payload")
    or list(COLUMNS).index("GmtLogTime") < list(COLUMNS).index(name) < list(COLUMNS).index("filters")
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "firewall.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[..., SqliteSink]]:
    sinks: list[SqliteSink] = []

    def make(keep: Keep | None = None) -> SqliteSink:
        sinks.append(SqliteSink(path, keep))
        sinks[-1].open()
        return sinks[-1]

    yield make
    for sink in sinks:
        sink.close()


def numbers(path: Path) -> list[int]:
    return [row["connectionid"] for row in read(path)]


def version_2(path: Path) -> None:
    """Make a database as the version before made it, with one record."""
    connection = sqlite3.connect(path)
    for table, columns in (("firewall_log", COLUMNS), ("alerts", ALERT_COLUMNS)):
        declared = ", ".join(f'"{name}" {kind}' for name, kind in columns.items() if name not in ADDED)
        connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, {declared})")
    connection.execute("CREATE INDEX firewall_log_time ON firewall_log (GmtLogTime)")
    connection.execute(
        "INSERT INTO firewall_log (logTime, GmtLogTime, connectionid, rule) VALUES ('', '2026', 1, 'old')"
    )
    connection.execute("PRAGMA user_version = 2")
    connection.commit()
    connection.close()


def test_a_database_of_the_version_before_is_brought_to_this_one_in_place(
    opened: Callable[..., SqliteSink], path: Path
) -> None:
    version_2(path)
    (before,) = read(path)
    assert (before["rule"], before["bytessentDelta"], before["NATAddress"]) == ("old", 0, "")
    assert list(before) == ["id", *COLUMNS]
    sink = opened()
    sink.commit(batch("t", record(2, rule="new", bytes_sent=5, nat_address="198.51.100.1")))
    rows = list(read(path))
    assert rows[0] == before
    assert (rows[1]["rule"], rows[1]["bytessentDelta"], rows[1]["NATAddress"]) == ("new", 5, "198.51.100.1")
    assert list(rows[1]) == ["id", *COLUMNS]
    sink.close()
    opened()
    assert numbers(path) == [1, 2]


def test_a_batch_that_is_there_already_is_not_written_again(opened: Callable[..., SqliteSink], path: Path) -> None:
    sink = opened()
    for _ in range(2):
        sink.commit(batch("same", record(1)))
    sink.close()
    opened().commit(batch("same", record(1)))
    assert numbers(path) == [1]


def test_what_is_too_old_is_deleted_in_small_batches(
    opened: Callable[..., SqliteSink], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fwx.logs.sqlite, "_PRUNED_ROWS", 10)
    sink = opened(Keep(days=5))
    old = Batch("a", [], [["2020-01-01T00:00:00.000Z", "event", 1, "fwx", "", "old", "", 1]])
    sink.commit(old)
    sink.commit(batch("b", *(record(number, time=T0 + number * DAY) for number in range(30))))
    assert not sink.prune(None)
    steps = 0
    while sink.prune(T0 + 29.5 * DAY):
        steps += 1
    assert steps == 3
    assert numbers(path) == [25, 26, 27, 28, 29]
    assert list(read(path, alerts=True)) == []


def test_a_database_that_is_too_large_loses_its_oldest_records(
    opened: Callable[..., SqliteSink], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fwx.logs.sqlite, "_PRUNED_ROWS", 100)
    sink = opened(Keep(bytes=400_000))
    sizes = []
    for round_ in range(10):
        sink.commit(batch(str(round_), *(record(round_ * 500 + n, reason="x" * 200) for n in range(500))))
        while sink.prune(None):
            pass
        sizes.append(path.stat().st_size)
    kept = numbers(path)
    assert kept == list(range(kept[0], 5000))
    assert 500 < len(kept) < 1500
    sink.close()
    assert path.stat().st_size < 800_000, "freed pages are used again"


def test_a_database_that_breaks_while_the_service_runs_is_named_and_the_records_wait(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections are served meanwhile; the next start with a mended file writes what has waited."""
    monkeypatch.setattr(writer_module, "_RETRY_SECONDS", 0.01)
    made = FirewallLog(path)
    made.open()
    for number in range(3000):
        made.write(record(number))
    made.close(PATIENCE)
    whole = path.read_bytes()
    failed, words = threading.Event(), []

    def on_failure(reason: str) -> None:
        words.append(reason)
        failed.set()

    options: dict[str, Any] = {"spool_directory": tmp_path, "spool_bytes": 1 << 20, "flush_interval": 0.005}
    log = FirewallLog(path, on_failure=on_failure, **options)
    log.open()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (len(whole) - 4096))
    log.write(record(3000))
    assert failed.wait(PATIENCE)
    assert words == [f"records wait in {tmp_path}/firewall-log.sqlite.spool: {path}: database disk image is malformed"]
    assert log.accepting
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(whole[4096:])
    assert log.close(PATIENCE) == 0
    again = FirewallLog(path, **options)
    again.open()
    assert again.flush(PATIENCE)
    again.close(PATIENCE)
    assert numbers(path) == list(range(3001))


def fill(path: Path) -> None:
    log = SqliteSink(path)
    log.open()
    log.commit(batch("t", *(record(number, reason="x" * 200) for number in range(500))))
    log.close()


def damage(path: Path, start: int, end: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * (end - start))


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (lambda path: damage(path, 0, 100), "file is not a database"),
        (lambda path: damage(path, 4096, 20 * 4096), "database disk image is malformed"),
        (lambda path: os.truncate(path, 10 * 4096), "database disk image is malformed"),
        (lambda path: path.write_bytes(b"text" * 5000), "file is not a database"),
    ],
)
def test_a_damaged_database_is_named_at_the_start_and_left_as_it_is(
    path: Path, harm: Callable[[Path], object], complaint: str
) -> None:
    fill(path)
    harm(path)
    before = path.read_bytes()
    with pytest.raises(FirewallLogError) as raised:
        SqliteSink(path).open()
    words = f"{path}: the firewall log cannot be opened: {complaint}; it is left as it is: mend it, or move it away"
    assert str(raised.value).startswith(words)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["firewall.db"]
