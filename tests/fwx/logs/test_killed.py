"""What a service that is killed leaves: nothing that is older than a second is lost, wherever it was then."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy

from fwx.firewall_log import FirewallLog, read
from fwx.logs.jsonlines import JsonSink
from fwx.logs.sink import Sink
from fwx.logs.sql import SqlSink
from tests.fwx.logs.records import PATIENCE
from tests.postgresql import PostgreSQL

RUNS = int(os.environ.get("FWX_KILLS", "1"))
"""How often each test kills."""

KILLED = """
import sys, time
from pathlib import Path
from fwx.firewall_log import FirewallLog
from fwx.impl.logrecord import Action, LogRecord
from fwx.logs.jsonlines import JsonSink
from fwx.logs.sql import SqlSink
path, url = Path(sys.argv[1]), sys.argv[2]
others = [("sql", SqlSink(url, "killed"))] if url else []
others.append(("json", JsonSink(path.parent / "json")))
log = FirewallLog(path, others=others, spool_directory=path.parent, spool_bytes=1 << 28)
log.open()
print("open", flush=True)
sys.stdin.readline()
number = 0
while True:
    log.write(LogRecord(time.time(), Action.Terminate, connection_id=number))
    print(number, time.monotonic(), flush=True)
    number += 1
    time.sleep(0.0005)  # a pace that every disk keeps up with
"""


def killed(
    path: Path, url: str = "", *, seconds: float = 1.3, opened: Callable[[], object] = lambda: None
) -> tuple[list[int], list[int]]:
    """Kill a log that is being written to; return the numbers of what was written, those older than a second first.

    It is written to for *seconds*. *opened* is called when the log is open and nothing has been written.
    """
    command = [sys.executable, "-c", KILLED, path, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        opened()
        child.stdin.write("go on\n")
        child.stdin.flush()
        written: list[tuple[int, float]] = []
        for line in child.stdout:
            number, when = line.split()
            written.append((int(number), float(when)))
            if written[-1][1] - written[0][1] > seconds:
                break
        child.kill()
    last = written[-1][1]
    old = [number for number, when in written if when < last - 1.0]
    assert len(old) > 10
    return old, [number for number, _ in written]


def require(source: Path | str, old: list[int], all_of_them: list[int]) -> None:
    """What is old is there, once and in order; of what came later, none is there before another that came earlier."""
    require_numbers([row["connectionid"] for row in read(source)], old, all_of_them)


def require_numbers(found: list[int], old: list[int], all_of_them: list[int]) -> None:
    assert found[: len(old)] == old
    assert found == list(range(len(found)))
    assert len(found) <= len(all_of_them) + 1000  # what was printed and not read any more


def go_on(path: Path, url: str = "") -> None:
    """Start again, as the service does: what waits in the spool is written."""
    others: list[tuple[str, Sink]] = [("json", JsonSink(path.parent / "json"))]
    if url:
        others.append(("sql", SqlSink(url, "killed")))
    log = FirewallLog(path, others=others, spool_directory=path.parent, spool_bytes=1 << 28)
    log.open()
    assert log.flush(PATIENCE)
    log.close(PATIENCE)
    assert not list(path.parent.glob("*.spool"))


@pytest.fixture(params=range(RUNS))
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / "firewall.db"


def numbers_of(folder: Path) -> list[int]:
    """Return the numbers in JSON lines."""
    lines = [line for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]
    return [json.loads(line)["connectionid"] for line in lines]


def test_while_sqlite_and_the_json_lines_take_everything(path: Path) -> None:
    old, everything = killed(path)
    require(path, old, everything)
    go_on(path)
    require_numbers(numbers_of(path.parent / "json"), old, everything)


def test_while_sqlite_is_locked(path: Path) -> None:
    """The log opens, then the lock comes."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        # So long that SQLite, which gives up after a second and is tried again after another, says nothing at the end.
        old, everything = killed(path, seconds=2.8, opened=lambda: connection.execute("BEGIN IMMEDIATE"))
        connection.execute("ROLLBACK")
    go_on(path)
    require(path, old, everything)


@pytest.mark.requires("initdb", "postgres")
def test_while_postgresql_is_away(path: Path, url: str, postgresql: PostgreSQL) -> None:
    postgresql.stop()
    old, everything = killed(path, url)
    postgresql.start()
    go_on(path, url)
    require(url, old, everything)


@pytest.mark.requires("initdb", "postgres")
def test_while_postgresql_keeps_a_statement_waiting(path: Path, url: str) -> None:
    go_on(path, url)
    with sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool).connect() as connection:
        connection.exec_driver_sql("LOCK TABLE firewall_log")
        old, everything = killed(path, url)
        connection.rollback()
    go_on(path, url)
    require(url, old, everything)
