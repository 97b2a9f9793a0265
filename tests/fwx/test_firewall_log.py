from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

import fwx.logs.sqlite
from fwx import firewall_log_schema
from fwx.firewall_log import FirewallLog, read
from fwx.firewall_log_schema import FirewallLogError
from fwx.impl.alert import Alert, Severity
from fwx.impl.logrecord import Action, LogRecord
from tests.fwx.logs.records import Shelf

T0 = 1_767_323_045.678  # 2026-01-02 03:04:05.678 UTC
NEVER = 3600.0
PATIENCE = 30.0


def record(number: int = 0, **fields: Any) -> LogRecord:
    return LogRecord(fields.pop("time", T0), fields.pop("action", Action.Terminate), connection_id=number, **fields)


def numbers(path: Path) -> list[int]:
    return [row["connectionid"] for row in read(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "firewall.db"


@pytest.fixture
def opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FirewallLog]]:
    """Opens logs on *path* that do not wait long for a lock, and sees to it that they are closed."""
    monkeypatch.setattr(fwx.logs.sqlite, "BUSY_SECONDS", 0.01)
    logs: list[FirewallLog] = []

    def make(**options: Any) -> FirewallLog:
        logs.append(FirewallLog(path, **options))
        logs[-1].open()
        return logs[-1]

    yield make
    for log in logs:
        log.close(PATIENCE)


@pytest.fixture
def two_hours_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "XYZ-2")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Watch:
    """Callbacks for failure and recovery that a test can wait for."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.has_failed = threading.Event()
        self.has_recovered = threading.Event()
        self.options = {"on_failure": self._on_failure, "on_recovery": self.has_recovered.set}

    def _on_failure(self, reason: str) -> None:
        self.reasons.append(reason)
        self.has_failed.set()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold another writer's lock on the database."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def test_a_record_becomes_a_row_with_the_columns_of_the_sdk(
    opened: Callable[..., FirewallLog], path: Path, two_hours_east: None
) -> None:  # B9.3, B9.8, B9.9, B8.10
    log = opened()
    log.write(
        LogRecord(
            time=T0,
            action=Action.Denied,
            servername="fw1",
            source_ip="10.0.0.1",
            source_port=1234,
            destination_ip="192.0.2.1",
            destination_port=443,
            destination_name="example.org",
            original_client_ip="10.0.0.9",
            source_network="internal",
            destination_network="external",
            resultcode=0xC004000D,
            rule="Default rule",
            application_protocol="HTTPS",
            bytes_sent=5,
            bytes_received=2**40,
            connection_time=77,
            source_proxy="branch",
            destination_proxy="parent, grandparent",
            username="alice",
            agent="curl",
            session_id=3,
            connection_id=4,
            interface="proxy",
            filters="monitor, upper",
            reason="no rule allows it",
            nat_address="198.51.100.1",
            logged_before=(2, 2**39, 70),
        )
    )
    assert log.flush(PATIENCE)
    (row,) = read(path)
    assert row == {
        "id": 1,
        "servername": "fw1",
        "logTime": "2026-01-02T05:04:05.678",
        "protocol": "TCP",
        "SourceIP": "10.0.0.1",
        "SourcePort": 1234,
        "DestinationIP": "192.0.2.1",
        "DestinationPort": 443,
        "OriginalClientIP": "10.0.0.9",
        "SourceNetwork": "internal",
        "DestinationNetwork": "external",
        "Action": 8,
        "resultcode": 0xC004000D,
        "rule": "Default rule",
        "ApplicationProtocol": "HTTPS",
        "Bidirectional": 0,
        "bytessent": 5,
        "bytessentDelta": 3,
        "bytesrecvd": 2**40,
        "bytesrecvdDelta": 2**39,
        "connectiontime": 77,
        "connectiontimeDelta": 7,
        "SourceProxy": "branch",
        "DestinationProxy": "parent, grandparent",
        "SourceName": "",
        "DestinationName": "example.org",
        "ClientUserName": "alice",
        "ClientAgent": "curl",
        "sessionid": 3,
        "connectionid": 4,
        "Interface": "proxy",
        "IPHeader": "",
        "Payload": "",
        "GmtLogTime": "2026-01-02T03:04:05.678Z",
        "ipsScanResult": 0,
        "ipsSignature": "",
        "NATAddress": "198.51.100.1",
        "FwcClientFqdn": "",
        "FwcAppPath": "",
        "FwcAppSHA1Hash": "",
        "FwcAppTrusState": 0,
        "FwcAppInternalName": "",
        "FwcAppProductName": "",
        "FwcAppProductVersion": "",
        "FwcAppFileVersion": "",
        "FwcAppOrgFileName": "",
        "InternalServiceInfo": 0,
        "ipsApplicationProtocol": "",
        "FwcVersion": "",
        "filters": "monitor, upper",
        "reason": "no rule allows it",
    }
    assert list(row) == ["id", *firewall_log_schema.COLUMNS]
    assert list(row)[33:36] == ["GmtLogTime", "ipsScanResult", "ipsSignature"], "the 33 older columns, then the fifteen"


@pytest.mark.parametrize(
    ("when", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (T0, "2026-01-02T03:04:05.678Z"),
        (T0 + 0.3217, "2026-01-02T03:04:06.000Z"),
        (T0 + 60, "2026-01-02T03:05:05.678Z"),
    ],
)
def test_times_have_milliseconds(opened: Callable[..., FirewallLog], path: Path, when: float, text: str) -> None:
    log = opened()
    log.write(record(time=T0))
    log.write(record(time=when))
    log.close(PATIENCE)
    assert [row["GmtLogTime"] for row in read(path)] == ["2026-01-02T03:04:05.678Z", text]


def test_an_alert_becomes_a_row(opened: Callable[..., FirewallLog], path: Path) -> None:
    log = opened()
    log.write_alert(Alert(T0, "filter fault", Severity.WARNING, "monitor", "k", "it broke", "Traceback", 3))
    log.close(PATIENCE)
    assert list(read(path, alerts=True)) == [
        {
            "id": 1,
            "time": "2026-01-02T03:04:05.678Z",
            "event": "filter fault",
            "severity": 1,
            "filter": "monitor",
            "key": "k",
            "message": "it broke",
            "traceback": "Traceback",
            "count": 3,
        }
    ]
    assert list(read(path)) == []


@pytest.mark.parametrize(
    ("field", "value", "column", "stored"),
    [
        ("username", "lone \udcff surrogate", "ClientUserName", "lone \\udcff surrogate"),
        ("destination_name", "nul\0and\nline", "DestinationName", "nul\0and\nline"),
        ("agent", "caf\xe9 \U0001f600", "ClientAgent", "caf\xe9 \U0001f600"),
        ("bytes_sent", 2**64, "bytessent", 2**63 - 1),
        ("source_ip", IPv4Address("10.0.0.1"), "SourceIP", "10.0.0.1"),
    ],
)
def test_no_value_from_the_network_stops_the_log(
    opened: Callable[..., FirewallLog], path: Path, field: str, value: object, column: str, stored: object
) -> None:
    log = opened()
    log.write(record(1))
    log.write(record(2, **{field: value}))
    assert log.flush(PATIENCE)
    assert log.failed is None
    assert [(row["connectionid"], row[column] == stored) for row in read(path)] == [(1, False), (2, True)]


def test_what_several_threads_write_is_all_there_and_each_thread_in_order(
    opened: Callable[..., FirewallLog], path: Path
) -> None:
    log, each, start = opened(flush_interval=0.001), 5000, threading.Barrier(4)

    def produce(first: int) -> None:
        start.wait()
        for number in range(first, first + each):
            log.write(record(number))

    threads = [threading.Thread(target=produce, args=(index * each,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.close(PATIENCE) == 0
    written = numbers(path)
    assert sorted(written) == list(range(4 * each))
    for index in range(4):
        mine = [number for number in written if number // each == index]
        assert mine == sorted(mine)


# Opening


def test_the_files_belong_to_their_owner_alone(opened: Callable[..., FirewallLog], path: Path) -> None:
    opened()
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"firewall.db": 0o600, "firewall.db-wal": 0o600, "firewall.db-shm": 0o600}


def test_every_file_is_open_before_anything_is_written(opened: Callable[..., FirewallLog], path: Path) -> None:
    opened(flush_interval=NEVER)
    links = {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
    assert {str(path), f"{path}-wal", f"{path}-shm"} <= links


DROPPED = """
import os, sys
from fwx.firewall_log import FirewallLog
from fwx.impl.logrecord import Action, LogRecord
log = FirewallLog(sys.argv[1])
log.open()
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for number in range(20000):
    log.write(LogRecord(1.0, Action.Terminate, connection_id=number))
assert log.flush(30), log.failed
sys.exit(log.close(30))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop root")
def test_it_goes_on_writing_when_root_is_dropped(path: Path) -> None:
    path.parent.chmod(0o700)
    subprocess.run([sys.executable, "-c", DROPPED, path], check=True, timeout=60)
    assert numbers(path) == list(range(20000))


def test_an_existing_log_is_continued(opened: Callable[..., FirewallLog], path: Path) -> None:
    for number in (1, 2):
        log = opened()
        log.write(record(number))
        assert log.close(PATIENCE) == 0
    assert numbers(path) == [1, 2]


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(FirewallLogError, match=r"missing/firewall\.db: .*No such file or directory"):
        FirewallLog(tmp_path / "missing" / "firewall.db").open()


def test_a_log_is_opened_once(opened: Callable[..., FirewallLog]) -> None:
    with pytest.raises(FirewallLogError, match="open already"):
        opened().open()


# Failure


def test_a_database_that_cannot_be_written_is_reported_once_and_nothing_is_lost(
    opened: Callable[..., FirewallLog], path: Path
) -> None:  # B9.18
    watch = Watch()
    log = opened(flush_interval=0.001, **watch.options)
    assert log.accepting
    with locked(path):
        log.write(record(1))
        assert watch.has_failed.wait(PATIENCE)
        assert not log.accepting
        log.write(record(2))
        assert not log.flush(0.2), "tried again, failed again"
    assert watch.has_recovered.wait(PATIENCE)
    assert log.flush(PATIENCE)
    assert (log.failed, log.accepting) == (None, True)
    assert watch.reasons == [f"new connections are refused: {path}: database is locked"]
    assert numbers(path) == [1, 2]


FULL = """
import resource, sys, threading
from fwx.firewall_log import FirewallLog
from fwx.impl.logrecord import Action, LogRecord
failed, recovered, reasons = threading.Event(), threading.Event(), []
log = FirewallLog(sys.argv[1], on_failure=lambda why: (reasons.append(why), failed.set()), on_recovery=recovered.set)
log.open()
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
for number in range(5000):
    log.write(LogRecord(1.0, Action.Terminate, connection_id=number))
assert failed.wait(30) and not log.accepting and reasons[0].endswith(log.failed)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert recovered.wait(30)
assert log.close(30) == 0
print(*reasons)
"""


def test_a_full_disk_is_a_failure_and_room_made_on_it_a_recovery(path: Path) -> None:
    child = subprocess.run([sys.executable, "-c", FULL, path], check=True, timeout=60, capture_output=True, text=True)
    assert f"{path}: " in child.stdout
    assert "disk" in child.stdout
    assert child.stdout.count("\n") == 1, "reported once"
    assert numbers(path) == list(range(5000))


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (lambda path: path.rename(path.with_suffix(".old")), "was removed"),
        (lambda path: (path.rename(path.with_suffix(".old")), path.touch()), "was replaced"),
    ],
)
def test_a_database_that_loses_its_name_is_a_failure_until_it_is_put_back(
    opened: Callable[..., FirewallLog], path: Path, harm: Callable[[Path], object], complaint: str
) -> None:
    watch = Watch()
    log = opened(flush_interval=0.001, **watch.options)
    harm(path)
    log.write(record(1))
    assert watch.has_failed.wait(PATIENCE)
    assert complaint in watch.reasons[0]
    path.with_suffix(".old").rename(path)
    assert watch.has_recovered.wait(PATIENCE)
    assert log.flush(PATIENCE)
    assert numbers(path) == [1]


def test_a_fault_of_the_writer_itself_fails_closed_and_is_logged(
    opened: Callable[..., FirewallLog], caplog: pytest.LogCaptureFixture
) -> None:
    watch = Watch()
    log = opened(flush_interval=0.001, **watch.options)
    with caplog.at_level(logging.ERROR, "fwx.firewall_log"):
        log.write(record(1, time=float("nan")))
        assert watch.has_failed.wait(PATIENCE)
        assert not log.accepting
        assert log.close(0.1) == 1
    assert "Traceback" in caplog.text


def test_a_callback_that_raises_does_not_stop_the_writer(
    opened: Callable[..., FirewallLog], path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    called = threading.Event()

    def broken(reason: str) -> None:
        called.set()
        raise RuntimeError("broken callback")

    log = opened(flush_interval=0.001, on_failure=broken)
    with caplog.at_level(logging.ERROR, "fwx.firewall_log"):
        with locked(path):
            log.write(record(1))
            assert called.wait(PATIENCE)
        assert log.flush(PATIENCE)
    assert "broken callback" in caplog.text


def test_a_full_queue_accepts_no_new_connections(opened: Callable[..., FirewallLog], path: Path) -> None:
    log = opened(capacity=3, flush_interval=NEVER)
    accepting = []
    for number in range(4):
        log.write(record(number))
        accepting.append(log.accepting)
    assert accepting == [True, True, False, False]
    assert log.flush(PATIENCE)
    assert log.accepting
    assert numbers(path) == [0, 1, 2, 3], "what is written beyond the capacity is kept all the same"


def test_a_log_that_is_not_open_accepts_nothing(opened: Callable[..., FirewallLog], path: Path) -> None:
    assert not FirewallLog(path).accepting
    log = opened()
    log.close(PATIENCE)
    assert not log.accepting


# Closing


def test_close_writes_what_is_queued_and_leaves_one_file_and_no_thread(
    opened: Callable[..., FirewallLog], path: Path
) -> None:
    before = set(threading.enumerate())
    log = opened(flush_interval=NEVER)
    assert len(set(threading.enumerate()) - before) == 1
    for number in range(10_000):
        log.write(record(number))
    assert log.close(PATIENCE) == 0
    assert set(threading.enumerate()) == before
    assert [file.name for file in path.parent.iterdir()] == ["firewall.db"]
    assert numbers(path) == list(range(10_000))
    assert log.close(PATIENCE) == 0


def test_close_counts_what_it_could_not_write(
    opened: Callable[..., FirewallLog], path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = set(threading.enumerate())
    log = opened(flush_interval=NEVER)
    with caplog.at_level(logging.ERROR, "fwx.firewall_log"), locked(path):
        log.write(record(1))
        log.write_alert(Alert(T0, "e", Severity.ERROR, "s", "", "m"))
        assert log.close(0.2) == 2
    assert set(threading.enumerate()) == before
    assert f"2 record(s) of the firewall log {path} are lost: {path}: database is locked" in caplog.text


def test_close_goes_on_trying_until_its_time_is_up(opened: Callable[..., FirewallLog], path: Path) -> None:
    watch = Watch()
    log = opened(flush_interval=NEVER, **watch.options)
    lost: list[int] = []
    with locked(path):
        log.write(record(1))
        closer = threading.Thread(target=lambda: lost.append(log.close(PATIENCE)))
        closer.start()
        assert watch.has_failed.wait(PATIENCE)
    closer.join(PATIENCE)
    assert lost == [0]
    assert numbers(path) == [1]


def test_what_is_written_after_close_is_not_lost_silently(
    opened: Callable[..., FirewallLog], caplog: pytest.LogCaptureFixture
) -> None:
    log = opened()
    log.close(PATIENCE)
    with caplog.at_level(logging.ERROR, "fwx.firewall_log"):
        log.write(record(4711))
        log.write_alert(Alert(T0, "e", Severity.ERROR, "s", "", "too late"))
    assert "connection_id=4711" in caplog.text
    assert "too late" in caplog.text


def test_it_works_again_when_no_sink_fails(opened: Callable[..., FirewallLog], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told so while another sink still fails."""
    monkeypatch.setattr("fwx.logs.writer._RETRY_SECONDS", 0.01)
    first, second = Shelf(), Shelf()
    first.break_down()
    second.break_down()
    both_fail, told, recovered = threading.Semaphore(0), list[str | None](), threading.Event()

    def on_recovery() -> None:
        told.append(log.failed)
        if second.taken:
            recovered.set()

    log = opened(
        others=[("first", first), ("second", second)],
        flush_interval=0.01,
        on_failure=lambda _: both_fail.release(),
        on_recovery=on_recovery,
    )
    log.write(record(1))
    assert all(both_fail.acquire(timeout=PATIENCE) for _ in range(2))
    first.error = None
    assert log._writers[1].flush(PATIENCE)
    second.error = None
    assert recovered.wait(PATIENCE)
    assert told == [None]
