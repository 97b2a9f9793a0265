from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from fwx.firewall_log import FirewallLog
from fwx.firewall_log_schema import COLUMNS, FirewallLogError
from fwx.impl.logrecord import Action
from fwx.logs import sql as sql_module
from fwx.logs import writer as writer_module
from fwx.logs.reader import AnyOf, read
from fwx.logs.retention import Keep
from fwx.logs.sql import SqlSink
from fwx.logs.sqldatabase import SqlDatabase
from tests.fwx.logs.records import PATIENCE, T0, Clock, alert, batch, record
from tests.postgresql import PostgreSQL

pytestmark = pytest.mark.requires("initdb", "postgres")


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long."""
    for name in ("_RETRY_SECONDS", "_WATCH_SECONDS", "SLOW_SECONDS"):
        monkeypatch.setattr(writer_module, name, 0.02)


@pytest.fixture
def opened(tmp_path: Path, url: str) -> Iterator[Callable[..., FirewallLog]]:
    """Opens logs with a spool that write to SQLite and to the database."""
    logs: list[FirewallLog] = []

    def make(**options: Any) -> FirewallLog:
        sink = SqlSink(url, "test")
        options = {"spool_directory": tmp_path, "spool_bytes": 1 << 20, "flush_interval": 0.005, **options}
        logs.append(FirewallLog(tmp_path / "firewall.db", others=[("sql", sink)], **options))
        logs[-1].open()
        return logs[-1]

    yield make
    for log in logs:
        log.close(PATIENCE)


@pytest.fixture
def sink(url: str) -> Iterator[SqlSink]:
    sink = SqlSink(url, "test")
    yield sink
    sink.close()


def numbers(source: Path | str, **options: Any) -> list[int]:
    return [row["connectionid"] for row in read(source, **options)]


@contextlib.contextmanager
def connected(url: str) -> Iterator[sqlalchemy.Connection]:
    with sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool).connect() as connection:
        yield connection


class Reports:
    def __init__(self) -> None:
        self.words: list[str] = []
        self.failed = threading.Event()
        self.recovered = threading.Event()
        self.options = {"on_failure": self._on_failure, "on_recovery": self.recovered.set}

    def _on_failure(self, words: str) -> None:
        self.words.append(words)
        self.failed.set()


def test_both_databases_have_the_same_rows(opened: Callable[..., FirewallLog], tmp_path: Path, url: str) -> None:
    """B9.8, B9.9: every column, in the same order."""
    log = opened()
    for number in range(50):
        log.write(record(number, username="alice", resultcode=0xC004000D, bytes_sent=2**40, logged_before=(1, 2, 3)))
    log.write_alert(alert("it broke"))
    assert log.flush(PATIENCE)
    for alerts in (False, True):
        assert list(read(url, alerts=alerts)) == list(read(tmp_path / "firewall.db", alerts=alerts)) != []
    assert list(next(read(url))) == ["id", *COLUMNS]


@pytest.mark.parametrize(
    ("field", "value", "column", "stored"),
    [
        ("username", "lone \udcff surrogate", "ClientUserName", "lone \\udcff surrogate"),
        ("destination_name", "nul\0and\nline\ttab \\N", "DestinationName", "nul\\x00and\nline\ttab \\N"),
        ("username", r"EXAMPLE\new", "ClientUserName", r"EXAMPLE\new"),
        ("agent", "caf\xe9 \U0001f600", "ClientAgent", "caf\xe9 \U0001f600"),
        ("bytes_sent", 2**64, "bytessent", 2**63 - 1),
        ("source_ip", IPv4Address("10.0.0.1"), "SourceIP", "10.0.0.1"),
    ],
)
def test_no_value_from_the_network_stops_the_log(
    sink: SqlSink, url: str, field: str, value: object, column: str, stored: object
) -> None:
    sink.commit(batch("t", record(1, **{field: value})))
    assert next(read(url))[column] == stored


@pytest.mark.parametrize(
    ("encoding", "stored"),
    [("LATIN1", ["caf\xe9", "\\u20ac", "x" * 4096]), ("SQL_ASCII", ["caf\xe9", "\u20ac", "x" * 65536])],
)
def test_a_database_of_another_encoding(postgresql: PostgreSQL, encoding: str, stored: list[str]) -> None:
    """A name that it cannot hold is written in escapes, it does not stop the log: clients choose names."""
    url = postgresql.create(encoding)
    sink = SqlSink(url, "test")
    sink.commit(batch("t", record(1, username="caf\xe9")))
    sink.commit(batch("u", record(2, username="\u20ac"), record(3, username="x" * 65536)))
    sink.close()
    assert [row["ClientUserName"] for row in read(url)] == stored


def test_another_database_is_written_by_sqlalchemy_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/other.db"
    sink = SqlSink(url, "test", Keep(days=1))
    sink.commit(batch("t", record(1, username="lone \udcff"), record(2, time=T0 + 86400 * 2)))
    assert [(row["connectionid"], row["ClientUserName"]) for row in read(url)] == [(1, "lone \\udcff"), (2, "")]
    assert sink.prune(T0 + 86400 * 2)
    assert not sink.prune(T0 + 86400 * 2)
    sink.close()
    assert numbers(url) == [2]


def test_a_table_of_an_earlier_version_gets_the_columns_that_it_lacks(url: str) -> None:
    with connected(url) as connection:
        connection.exec_driver_sql('CREATE TABLE firewall_log (id bigserial PRIMARY KEY, "GmtLogTime" varchar(32))')
        connection.exec_driver_sql("INSERT INTO firewall_log (\"GmtLogTime\") VALUES ('2020-01-01T00:00:00.000Z')")
        connection.commit()
    sink = SqlSink(url, "test")
    sink.commit(batch("t", record(7, rule="r")))
    sink.close()
    assert [(row["connectionid"], row["rule"]) for row in read(url)] == [(0, ""), (7, "r")]


def test_a_batch_that_was_written_as_the_service_was_killed_is_not_written_again(url: str) -> None:
    for _ in range(2):
        sink = SqlSink(url, "test")
        sink.commit(batch("same", record(1)))
        sink.commit(batch("same", record(1)))
        sink.close()
    other = SqlSink(url, "another service")
    other.commit(batch("same", record(2)))
    other.close()
    assert numbers(url) == [1, 2]


def test_while_the_database_is_away_records_wait_on_disk_and_come_in_order(
    opened: Callable[..., FirewallLog], postgresql: PostgreSQL, tmp_path: Path, url: str
) -> None:
    """B9.19: connections go on, and SQLite has its rows at once."""
    reports = Reports()
    log = opened(**reports.options)
    for number in range(10):
        log.write(record(number))
    assert log.flush(PATIENCE)
    postgresql.stop()
    for number in range(10, 500):
        log.write(record(number))
    assert reports.failed.wait(PATIENCE)
    assert f"records wait in {tmp_path}/firewall-log.sql.spool: postgresql+psycopg://fwx@/fwx_" in reports.words[0]
    assert log.accepting
    assert not log.flush(0.1)
    assert numbers(tmp_path / "firewall.db") == list(range(500))
    postgresql.start()
    assert reports.recovered.wait(PATIENCE)
    assert log.flush(PATIENCE)
    assert numbers(url) == list(range(500))
    assert log.close(PATIENCE) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["firewall.db"]


def test_a_service_starts_without_its_database(
    opened: Callable[..., FirewallLog], postgresql: PostgreSQL, url: str
) -> None:
    postgresql.stop()
    reports = Reports()
    log = opened(**reports.options)
    log.write(record(1))
    assert reports.failed.wait(PATIENCE)
    assert log.close(0.1) == 0
    postgresql.start()
    log = opened()
    log.write(record(2))
    assert log.flush(PATIENCE)
    assert numbers(url) == [1, 2]


def test_records_behind_a_statement_that_waits_are_on_disk_and_are_written_once(
    opened: Callable[..., FirewallLog], tmp_path: Path, url: str
) -> None:
    log, spool = opened(), tmp_path / "firewall-log.sql.spool"
    log.write(record(0))
    assert log.flush(PATIENCE)
    with connected(url) as connection:
        connection.exec_driver_sql("LOCK TABLE firewall_log")
        for number in range(1, 100):
            log.write(record(number))
        pause = threading.Event()
        while not spool.exists() or b'"' not in spool.read_bytes():
            pause.wait(0.005)
        connection.rollback()
    assert log.flush(PATIENCE)
    assert numbers(url) == list(range(100))


def test_old_rows_are_deleted_in_small_batches(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_module, "_PRUNED_ROWS", 10)
    sink = SqlSink(url, "test", Keep(days=3))
    sink.commit(batch("t", *(record(number, time=T0 + number * 86400) for number in range(30))))
    steps = 0
    while sink.prune(T0 + 29 * 86400):
        steps += 1
    assert steps == 3
    assert not sink.prune(None)
    sink.close()
    assert numbers(url) == [27, 28, 29] or numbers(url) == [26, 27, 28, 29]


# Reading


@pytest.fixture(params=["sqlite", "postgresql"])
def three(request: pytest.FixtureRequest, opened: Callable[..., FirewallLog], tmp_path: Path, url: str) -> Path | str:
    """A log with records, in either database."""
    log = opened()
    log.write(record(1, username="alice", source_ip="10.0.0.1", action=Action.Terminate))
    log.write(record(2, time=T0 + 1, destination_ip="10.0.0.1", action=Action.Denied, resultcode=0xC004000D))
    log.write(record(3, time=T0 + 2, username="bob", destination_name="10.0.0.1"))
    assert log.flush(PATIENCE)
    return tmp_path / "firewall.db" if request.param == "sqlite" else url


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 2, 3]),
        ({"limit": 2}, [2, 3]),
        ({"limit": 0}, []),
        ({"where": {"ClientUserName": "alice"}}, [1]),
        ({"conditions": [AnyOf((("SourceIP", "=", "10.0.0.1"), ("DestinationIP", "=", "10.0.0.1")))]}, [1, 2]),
        ({"conditions": [AnyOf((("GmtLogTime", ">=", "2026-01-02T03:04:06.678Z"),))]}, [2, 3]),
        ({"conditions": [AnyOf((("GmtLogTime", "<", "2026-01-02T03:04:06.678Z"),))]}, [1]),
        ({"conditions": [AnyOf((("Action", "=", 8),))], "where": {"resultcode": 0xC004000D}}, [2]),
    ],
)
def test_what_is_read(three: Path | str, options: dict[str, Any], expected: list[int]) -> None:
    assert numbers(three, **options) == expected


def test_following_the_database(sink: SqlSink, url: str) -> None:
    sink.commit(batch("0", record(0)))
    batches = iter([batch("1", record(1)), batch("2"), batch("3", record(2), record(3))])
    rows = read(url, limit=1, follow=True, wait=lambda: sink.commit(next(batches)))
    assert [next(rows)["connectionid"] for _ in range(4)] == [0, 1, 2, 3]
    rows.close()


# What is no database


def test_a_database_that_is_no_log_is_refused(url: str) -> None:
    with pytest.raises(FirewallLogError, match="it is a database, but not a firewall log"):
        next(read(url))


def test_no_password_is_told(postgresql: PostgreSQL) -> None:
    url = postgresql.url_of("missing").replace("fwx@", "fwx:secret@")
    for use in (lambda: next(read(url)), SqlDatabase(url).ask):
        with pytest.raises(FirewallLogError, match='database "missing" does not exist') as refusal:
            use()
        assert "fwx:***@" in str(refusal.value)
        assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("nonsense://x", "SQLAlchemy does not know this URL"),
        ("postgresql+nonsense://x", "SQLAlchemy does not know this URL"),
        ("mysql+pymysql://x/y", "the database's driver is not installed: pymysql"),
    ],
)
def test_a_database_nobody_can_speak_to_is_refused_at_once(url: str, complaint: str) -> None:
    with pytest.raises(FirewallLogError, match=complaint):
        SqlSink(url, "test")


def test_without_sqlalchemy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(FirewallLogError, match=r"install fwx\[sql\]"):
        SqlSink("postgresql+psycopg://x", "test")


def test_a_clock_that_goes_back_keeps_the_order_of_the_rows(url: str, tmp_path: Path) -> None:
    clock = Clock()
    log = FirewallLog(tmp_path / "x.db", others=[("sql", SqlSink(url, "t"))], clock=clock)
    log.open()
    for number, when in enumerate((T0, T0 - 86400, T0 + 86400)):
        clock.now = when
        log.write(record(number, time=when))
        assert log.flush(PATIENCE)
    log.close(PATIENCE)
    assert numbers(url) == numbers(tmp_path / "x.db") == [0, 1, 2]
