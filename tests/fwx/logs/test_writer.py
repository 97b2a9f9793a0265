from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fwx.firewall_log_schema import FirewallLogError
from fwx.logs import writer as writer_module
from fwx.logs.sink import Batch
from fwx.logs.spool import Spool
from fwx.logs.writer import STUCK_SECONDS, LogWriter
from tests.fwx.logs.records import PATIENCE, Clock, Shelf, alert, record


class Reports:
    """What the writer says of its state."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.failed = threading.Semaphore(0)
        self.recovered = threading.Event()

    def on_failure(self, reason: str) -> None:
        self.words.append(reason)
        self.failed.release()

    def wait(self) -> str:
        assert self.failed.acquire(timeout=PATIENCE)
        return self.words[-1]


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long."""
    for name in ("_RETRY_SECONDS", "_WATCH_SECONDS", "SLOW_SECONDS"):
        monkeypatch.setattr(writer_module, name, 0.005)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.spool"


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def opened(shelf: Shelf, reports: Reports, path: Path) -> Iterator[Callable[..., LogWriter]]:
    writers: list[LogWriter] = []

    def make(spool_bytes: int = 1 << 20, **options: Any) -> LogWriter:
        spool = Spool(path, spool_bytes) if spool_bytes else None
        options = {"flush_interval": 0.005, "on_failure": reports.on_failure, **options}
        writers.append(LogWriter(shelf, spool, on_recovery=reports.recovered.set, **options))
        writers[-1].open()
        return writers[-1]

    yield make
    shelf.goes_on.set()
    for writer in writers:
        writer.close(PATIENCE)
    assert not shelf.is_open


def test_what_a_broken_sink_cannot_take_waits_on_disk_and_is_replayed_in_order(
    opened: Callable[..., LogWriter], shelf: Shelf, reports: Reports, path: Path
) -> None:
    """B9.18, B9.19: a queue lies in between; connections go on."""
    writer = opened(capacity=10)
    shelf.break_down()
    for number in range(100):
        writer.write(record(number))
    assert reports.wait() == f"records wait in {path}: shelf: broken"
    writer.write(alert("among them"))
    until(lambda: not writer._in_memory(), "everything to be on disk")
    assert path.stat().st_size > 5000
    assert writer.accepting
    assert writer.failed == "shelf: broken"
    shelf.error = None
    assert writer.flush(PATIENCE)
    assert reports.recovered.wait(PATIENCE)
    writer.write(record(100))
    assert writer.flush(PATIENCE)
    assert shelf.numbers == list(range(101))
    assert [each.alerts[0][5] for each in shelf.taken if each.alerts] == ["among them"]
    assert not path.exists()
    assert len(reports.words) == 1


def test_records_behind_a_slow_write_are_on_disk_meanwhile_and_are_written_once(
    opened: Callable[..., LogWriter], shelf: Shelf, path: Path
) -> None:
    writer = opened()
    shelf.goes_on.clear()
    writer.write(record(0))
    assert shelf.entered.wait(PATIENCE)
    for number in range(1, 50):
        writer.write(record(number))
    until(lambda: not writer._in_memory(), "everything to be on disk")
    assert b'"' in path.read_bytes()
    assert writer.failed is None
    shelf.goes_on.set()
    assert writer.flush(PATIENCE)
    assert shelf.numbers == list(range(50))
    assert not path.exists()


def test_records_that_come_faster_than_a_sink_takes_them_do_not_fill_the_memory(
    opened: Callable[..., LogWriter], shelf: Shelf, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "SLOW_SECONDS", 1e9)
    writer = opened(capacity=100)
    shelf.goes_on.clear()
    writer.write(record(0))
    assert shelf.entered.wait(PATIENCE)
    for number in range(1, 100):
        writer.write(record(number))
    until(lambda: not writer._in_memory(), "everything to be on disk")
    assert writer.accepting
    shelf.goes_on.set()
    assert writer.flush(PATIENCE)
    assert shelf.numbers == list(range(100))


def test_a_write_of_thirty_seconds_is_a_failure(
    opened: Callable[..., LogWriter], shelf: Shelf, reports: Reports, path: Path
) -> None:
    """B9.19."""
    monotonic = Clock()
    writer = opened(monotonic=monotonic)
    shelf.goes_on.clear()
    writer.write(record(0))
    assert shelf.entered.wait(PATIENCE)
    monotonic.now += STUCK_SECONDS
    assert reports.wait() == f"records wait in {path}: shelf: a write takes more than 30 s"
    shelf.goes_on.set()
    assert reports.recovered.wait(PATIENCE)
    assert writer.failed is None


@pytest.mark.parametrize(("on_error", "accepts"), [("close", False), ("open", True)])
def test_a_write_of_thirty_seconds_without_a_spool(
    opened: Callable[..., LogWriter], shelf: Shelf, reports: Reports, on_error: str, accepts: bool
) -> None:
    """B9.19: the loop thread notices, and nobody new is let in, unless that is switched off; the record is not lost."""
    monotonic = Clock()
    writer = opened(spool_bytes=0, monotonic=monotonic, on_error=on_error)
    writer.look()
    shelf.goes_on.clear()
    writer.write(record(0))
    assert shelf.entered.wait(PATIENCE)
    monotonic.now += STUCK_SECONDS - 0.1
    writer.look()
    assert (writer.accepting, writer.failed) == (True, None)
    monotonic.now += 0.1
    for _ in range(2):
        writer.look()
    assert writer.accepting is accepts
    follows = "connections go on without it" if accepts else "new connections are refused"
    assert reports.words == [f"{follows}: shelf: a write takes more than 30 s"]
    shelf.goes_on.set()
    assert reports.recovered.wait(PATIENCE)
    assert (writer.accepting, writer.failed, shelf.numbers) == (True, None, [0])


def test_a_look_at_the_moment_that_a_batch_begins(opened: Callable[..., LogWriter], reports: Reports) -> None:
    """B9.19: when an earlier batch began says nothing of this one."""
    writers: list[LogWriter] = []
    looking = threading.local()

    def monotonic() -> float:
        if writers and not getattr(looking, "is_on", False):
            looking.is_on = True
            writers[0].look()
            looking.is_on = False
        return 1000.0

    writers.append(opened(spool_bytes=0, monotonic=monotonic))
    writers[0].write(record(0))
    assert writers[0].flush(PATIENCE)
    assert (reports.words, writers[0].failed) == ([], None)


def test_a_write_and_a_spool_that_do_not_end(
    opened: Callable[..., LogWriter], shelf: Shelf, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B9.19: both stand on the disk that does not answer, so nothing can be kept: nobody new is let in."""
    monotonic, spooling, disk = Clock(), threading.Event(), threading.Event()
    append = Spool.append

    def stand_still(spool: Spool, batch: Batch) -> None:
        spooling.set()
        assert disk.wait(PATIENCE)
        append(spool, batch)

    monkeypatch.setattr(Spool, "append", stand_still)
    writer = opened(monotonic=monotonic)
    shelf.goes_on.clear()
    writer.write(record(0))
    assert shelf.entered.wait(PATIENCE)
    monotonic.now += STUCK_SECONDS
    assert spooling.wait(PATIENCE)
    writer.look()
    assert not writer.accepting
    assert "takes no records" in reports.words[0]
    disk.set()
    shelf.goes_on.set()
    assert reports.recovered.wait(PATIENCE)
    assert writer.flush(PATIENCE)
    assert (writer.accepting, shelf.numbers) == (True, [0])


def test_a_full_spool_refuses_new_connections_and_loses_nothing(
    opened: Callable[..., LogWriter], shelf: Shelf, reports: Reports, path: Path
) -> None:
    """B9.18."""
    writer = opened(spool_bytes=4000)
    shelf.break_down()
    writer.write(record(0))
    assert reports.wait().startswith("records wait in")
    for number in range(1, 40):
        writer.write(record(number))
    said = reports.wait()
    assert said.startswith("new connections are refused: shelf: broken; the spool ")
    assert "is full" in said
    assert not writer.accepting
    shelf.error = None
    assert writer.flush(PATIENCE)
    assert shelf.numbers == list(range(40))
    assert writer.accepting


def test_open_goes_on_and_counts_what_is_lost(
    opened: Callable[..., LogWriter], shelf: Shelf, reports: Reports, caplog: pytest.LogCaptureFixture
) -> None:
    """B9.18: the switch is off."""
    writer = opened(spool_bytes=0, on_error="open", capacity=5)
    shelf.break_down()
    writer.write(record(0))
    assert reports.wait() == "connections go on without it: shelf: broken"
    for number in range(1, 20):
        writer.write(record(number))
    assert writer.accepting
    with caplog.at_level(logging.ERROR, "fwx.firewall_log"):
        shelf.error = None
        assert reports.recovered.wait(PATIENCE)
        assert writer.flush(PATIENCE)
    assert shelf.numbers == list(range(6))
    assert "14 record(s) of the firewall log shelf are lost: it could not be written" in caplog.text


def test_what_waits_when_the_service_stops_is_there_at_the_next_start(
    opened: Callable[..., LogWriter], shelf: Shelf, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.break_down()
    first = opened()
    for number in range(10):
        first.write(record(number))
    with caplog.at_level(logging.WARNING, "fwx.firewall_log"):
        assert first.close(0.05) == 0
    assert f"wait in {path} for the next start" in caplog.text
    shelf.error = None
    second = opened()
    second.write(record(10))
    assert second.flush(PATIENCE)
    assert shelf.numbers == list(range(11))


def test_a_sink_that_hangs_does_not_keep_the_service_from_stopping(
    opened: Callable[..., LogWriter], shelf: Shelf, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_JOIN_SECONDS", 0.05)
    writer = opened()
    shelf.goes_on.clear()
    writer.write(record(0))
    assert shelf.entered.wait(PATIENCE)
    writer.write(record(1))
    assert writer.close(0.0) == 0
    assert path.exists()
    shelf.goes_on.set()
    for thread in writer._threads:
        thread.join(PATIENCE)
    waiting = Spool(path)
    waiting.open()
    token = waiting.head().token
    waiting.close()
    assert shelf.taken[0].token == token, "a sink that remembers it does not take it twice"


def test_old_records_are_deleted_little_by_little_and_not_before_new_ones_are_written(
    opened: Callable[..., LogWriter], shelf: Shelf
) -> None:
    clock, monotonic = Clock(), Clock(0.0)
    shelf.to_prune = 3
    writer = opened(clock=clock, monotonic=monotonic)
    assert writer.flush(PATIENCE)
    until(lambda: len(shelf.pruned) == 3, "three small deletions")
    assert writer.flush(PATIENCE)
    assert shelf.pruned == [clock.now] * 3
    clock.now += writer_module.PRUNE_SECONDS
    monotonic.now += writer_module.PRUNE_SECONDS
    assert writer.flush(PATIENCE)
    until(lambda: len(shelf.pruned) == 4, "the next time")


@pytest.mark.parametrize("jump", [10 * 365 * 86400.0, -86400.0])
def test_a_clock_that_jumps_is_named_and_deletes_nothing_for_a_day(
    opened: Callable[..., LogWriter], shelf: Shelf, jump: float, caplog: pytest.LogCaptureFixture
) -> None:
    clock, monotonic = Clock(), Clock(0.0)
    writer = opened(clock=clock, monotonic=monotonic)
    until(lambda: len(shelf.pruned) == 1, "the first time")
    with caplog.at_level(logging.WARNING, "fwx.firewall_log"):
        clock.now += jump
        writer.write(record(1))
        assert writer.flush(PATIENCE)
        until(lambda: "the clock was set by" in caplog.text, "it to be named")
    assert f"{jump:+.0f} s" in caplog.text
    monotonic.now += 3600
    clock.now += 3600
    assert writer.flush(PATIENCE)
    until(lambda: len(shelf.pruned) == 2, "the second time")
    assert shelf.pruned[1] is None
    monotonic.now += 86400
    clock.now += 86400
    assert writer.flush(PATIENCE)
    until(lambda: len(shelf.pruned) == 3, "the third time")
    assert shelf.pruned[2] == clock.now
    assert shelf.numbers == [1]


def test_deleting_that_fails_is_named_and_tried_again_later(
    opened: Callable[..., LogWriter], shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(now: float | None) -> bool:
        raise FirewallLogError("read only")

    monkeypatch.setattr(shelf, "prune", refuse)
    with caplog.at_level(logging.WARNING, "fwx.firewall_log"):
        writer = opened()
        writer.write(record(1))
        assert writer.flush(PATIENCE)
        until(lambda: "shelf: old records cannot be deleted: read only" in caplog.text, "it to be named")
    assert writer.accepting


def test_nothing_wakes_up_while_nothing_is_written_and_a_record_wakes_all(
    opened: Callable[..., LogWriter], shelf: Shelf, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    looked_for: list[int] = []

    def monotonic() -> float:
        looks.append(threading.current_thread().name)
        return time.monotonic()

    writer = opened(monotonic=monotonic)
    pause = writer._stopped.wait

    def counted(timeout: float) -> bool:
        looks.append(threading.current_thread().name)
        return pause(timeout)

    monkeypatch.setattr(writer._stopped, "wait", counted)
    for number in range(3):
        until(lambda: writer._asleep, "the writer to sleep")
        looks.clear()
        threading.Event().wait(0.05)  # ten times as long as each of its pauses
        assert looks == []
        looked_for.append(number)
        writer.write(record(number))
        until(lambda: shelf.numbers[-1:] == looked_for[-1:], "the record")
    until(lambda: writer._asleep, "the writer to sleep")
    shelf.goes_on.clear()
    writer.write(record(3))
    writer.write(record(4))
    until(path.exists, "the record to be on disk while the sink keeps it")
    shelf.goes_on.set()


def test_old_records_are_deleted_while_nothing_is_written(
    opened: Callable[..., LogWriter], shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "PRUNE_SECONDS", 0.01)
    opened()
    until(lambda: len(shelf.pruned) > 5, "it to look several times")


def test_a_spool_that_cannot_be_used_closes_the_sink_again(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(FirewallLogError, match="Is a directory"):
        LogWriter(shelf, Spool(tmp_path)).open()
    assert not shelf.is_open


def test_batches_have_tokens_of_their_own(opened: Callable[..., LogWriter], shelf: Shelf) -> None:
    writer = opened()
    for number in range(3):
        writer.write(record(number))
        assert writer.flush(PATIENCE)
    tokens: list[str] = [each.token for each in shelf.taken if isinstance(each, Batch)]
    assert len(set(tokens)) == len(tokens) >= 3


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for what another thread does; the writer tells nobody of it."""
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.005)):
        if condition():
            return
        pause.wait(0.005)
    pytest.fail(f"still waiting for {what}")
