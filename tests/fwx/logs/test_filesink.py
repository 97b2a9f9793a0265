"""What both logs in files have in common: rotation, retention, and what a crash or a full disk leaves."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fwx.firewall_log_schema import FirewallLogError
from fwx.logs.filesink import FileSink
from fwx.logs.jsonlines import JsonSink
from fwx.logs.retention import Keep
from fwx.logs.spool import Spool
from fwx.logs.w3c import W3cSink
from fwx.logs.writer import LogWriter
from tests.fwx.logs.records import PATIENCE, T0, Clock, batch, record

DAY = 86400.0
KINDS = {
    "w3c": (W3cSink, {"fields": ("connection ID",)}),
    "jsonl": (JsonSink, {"fields": ("connectionid",)}),
}


@pytest.fixture(params=list(KINDS))
def suffix(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def first(suffix: str) -> str:
    return f"FWXLOG_20260102_FWS_000.{suffix}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def opened(folder: Path, suffix: str) -> Iterator[Callable[..., FileSink]]:
    """Open a sink whose lines tell of the number of a connection alone."""
    sinks: list[FileSink] = []
    kind, fields = KINDS[suffix]

    def make(**options: Any) -> FileSink:
        sinks.append(kind(folder, **{"clock": Clock(), **fields, **options}))
        sinks[-1].open()
        return sinks[-1]

    yield make
    for sink in sinks:
        sink.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("FWX*"))


def numbers(file: Path) -> list[int]:
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    return [json.loads(line)["connectionid"] if file.suffix == ".jsonl" else int(line) for line in lines]


def test_another_day_is_another_file_and_a_clock_set_back_goes_on_with_the_old_one(
    opened: Callable[..., FileSink], folder: Path, first: str, suffix: str
) -> None:
    clock = Clock()
    sink = opened(clock=clock)
    for number, now in enumerate((T0, T0 + DAY, T0, T0 + 20 * 365 * DAY)):
        clock.now = now
        sink.commit(batch(str(number), record(number)))
    assert names(folder) == [first, f"FWXLOG_20260103_FWS_000.{suffix}", f"FWXLOG_20451228_FWS_000.{suffix}"]
    assert numbers(folder / first) == [0, 2]


def test_a_full_file_is_followed_by_another(opened: Callable[..., FileSink], folder: Path, suffix: str) -> None:
    sink = opened(most_bytes=200)
    for number in range(100):
        sink.commit(batch(str(number), record(number)))
    assert [number for name in names(folder) for number in numbers(folder / name)] == list(range(100))
    assert len(names(folder)) > 2
    assert names(folder)[1] == f"FWXLOG_20260102_FWS_001.{suffix}"
    last = names(folder)[-1]
    sink.close()
    assert opened(most_bytes=10_000).path.name == last, "a new start goes on where the last one was"


def test_a_line_that_a_crash_has_cut_off_is_removed(opened: Callable[..., FileSink], folder: Path, first: str) -> None:
    opened().commit(batch("a", record(1234)))
    with (folder / first).open("a") as file:
        file.write('{"conn')
    opened().commit(batch("b", record(5)))
    assert numbers(folder / first) == [1234, 5]


@pytest.mark.parametrize("written", ["all of it", "half of it", "nothing"])
@pytest.mark.parametrize("later", [0.0, DAY])
def test_a_batch_that_was_under_way_when_the_service_was_killed_is_there_once(
    opened: Callable[..., FileSink], folder: Path, first: str, suffix: str, written: str, later: float
) -> None:
    """It comes again from the spool, with its mark."""
    under_way = batch("b", *(record(number) for number in range(2, 50)))
    killed = opened()
    killed.commit(batch("a", record(1)))
    whole = (folder / first).stat().st_size
    killed.commit(under_way)
    with (folder / first).open("r+") as file:
        file.truncate(
            {"all of it": (folder / first).stat().st_size, "half of it": whole + 150, "nothing": whole}[written]
        )
    again = opened(clock=Clock(T0 + later))
    again.commit(under_way)
    again.commit(batch("c", record(50)))
    assert [number for name in names(folder) for number in numbers(folder / name)] == list(range(1, 51))


def test_another_batch_leaves_the_last_one_alone(opened: Callable[..., FileSink], folder: Path, first: str) -> None:
    """Lines that look the same are not the same batch."""
    opened().commit(batch("a", record(1)))
    again = opened()
    again.commit(batch("b", record(1)))
    again.commit(batch("a", record(2)))
    assert numbers(folder / first) == [1, 1, 2]


@pytest.mark.parametrize(
    "harm", [b"", b"nonsense\n", b'["a", "../other", 0]', b'["a", "FWXLOG_19990101_FWS_000.w3c", 0]']
)
def test_without_a_mark_that_can_be_read_nothing_is_lost(
    opened: Callable[..., FileSink], folder: Path, first: str, suffix: str, harm: bytes
) -> None:
    opened().commit(batch("a", record(1)))
    (folder / f".{suffix}-position").write_bytes(harm)
    opened().commit(batch("a", record(1)))
    assert numbers(folder / first) == [1, 1]


def test_a_file_that_was_moved_away_is_made_anew(opened: Callable[..., FileSink], folder: Path, first: str) -> None:
    sink = opened()
    sink.commit(batch("a", record(1)))
    taken = (folder / first).rename(folder / f"taken{Path(first).suffix}")
    sink.commit(batch("b", record(2)))
    assert numbers(taken) == [1]
    assert numbers(folder / first) == [2]


def test_a_batch_that_finds_no_room_is_not_there_by_half(
    opened: Callable[..., FileSink], folder: Path, first: str
) -> None:
    sink = opened()
    sink.commit(batch("a", *map(record, range(300))))
    size, before = (folder / first).stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 3, before[1]))
    try:
        with pytest.raises(FirewallLogError, match=f"{first}: File too large"):
            sink.commit(batch("b", record(22222)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (folder / first).stat().st_size == size
    sink.commit(batch("b", record(22222)))
    assert numbers(folder / first) == [*range(300), 22222]


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        (Keep(), 4),
        (Keep(days=2), 3),
        (Keep(days=400), 4),
        (Keep(bytes=-1), 1),
    ],
)
def test_old_files_are_removed_one_by_one_and_never_the_last(
    opened: Callable[..., FileSink], folder: Path, keep: Keep, left: int
) -> None:
    clock = Clock()
    sink = opened(clock=clock, keep=keep)
    for day in range(4):
        clock.now = T0 + day * DAY
        sink.commit(batch(str(day), *(record(number) for number in range(30))))
    (folder / "somebody else's").touch()
    assert not sink.prune(None) or keep.bytes is not None
    while sink.prune(clock.now):
        pass
    assert len(names(folder)) == left
    assert sink.path.exists()
    assert (folder / "somebody else's").exists()


def test_files_together_are_no_larger_than_is_kept(opened: Callable[..., FileSink], folder: Path, first: str) -> None:
    clock = Clock()
    opened(clock=clock).commit(batch("0", *map(record, range(30))))
    size = (folder / first).stat().st_size
    sink = opened(clock=clock, keep=Keep(bytes=2 * size + 1))
    for day in range(1, 4):
        clock.now = T0 + day * DAY
        sink.commit(batch(str(day), *map(record, range(30))))
    while sink.prune(clock.now):
        pass
    assert [name[7:15] for name in names(folder)] == ["20260104", "20260105"]


def test_a_file_of_a_day_to_come_is_not_kept_for_ever_when_the_clock_has_been_set_back(
    opened: Callable[..., FileSink], folder: Path, first: str
) -> None:
    clock = Clock(T0 + 20 * 365 * DAY)
    sink = opened(clock=clock, keep=Keep(bytes=1))
    sink.commit(batch("0", record(0)))
    clock.now = T0
    sink.commit(batch("1", record(1)))
    assert sink.prune(clock.now)
    assert names(folder) == [first]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for kind, words in ((W3cSink, "W3C"), (JsonSink, "JSON")):
        with pytest.raises(FirewallLogError, match=rf"file/log: the {words} log cannot be opened: Not a directory"):
            kind(tmp_path / "file" / "log").open()


def test_a_folder_that_is_gone_is_a_failure(opened: Callable[..., FileSink], folder: Path) -> None:
    sink = opened()
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    with pytest.raises(FirewallLogError, match="No such file or directory"):
        sink.commit(batch("a", record(1)))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a tmpfs")
def test_records_wait_in_the_spool_while_the_disk_of_the_files_is_full(
    suffix: str, tmp_path: Path, folder: Path, first: str
) -> None:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=32k,mode=700", "tmpfs", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"cannot mount a tmpfs: {made.stderr.strip()}")
    failed, recovered, reasons = threading.Event(), threading.Event(), []

    def on_failure(reason: str) -> None:
        reasons.append(reason)
        failed.set()

    kind, fields = KINDS[suffix]
    sink = kind(folder, **fields, clock=Clock())
    options = {"flush_interval": 0.001, "on_failure": on_failure, "on_recovery": recovered.set}
    writer = LogWriter(sink, Spool(tmp_path / "x.spool"), **options)
    try:
        writer.open()
        writer.write(record(0))
        assert writer.flush(PATIENCE)
        with (folder / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while filler.write(bytes(4096)):
                continue
        for number in range(1, 3000):
            writer.write(record(number))
        assert failed.wait(PATIENCE)
        assert reasons == [f"records wait in {tmp_path}/x.spool: {folder}: {first}: No space left on device"]
        assert writer.accepting
        (folder / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,size=1m", str(folder)], check=True)
        assert recovered.wait(PATIENCE)
        assert writer.flush(PATIENCE)
        assert numbers(folder / first) == list(range(3000))
    finally:
        writer.close(PATIENCE)
        subprocess.run(["umount", "-l", str(folder)], check=True)
