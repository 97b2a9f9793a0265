from __future__ import annotations

import logging
import os
import resource
import stat
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from fwx.firewall_log_schema import WRITTEN, FirewallLogError
from fwx.logs.sink import Batch
from fwx.logs.spool import Spool
from tests.fwx.logs.records import batch, numbers_of, record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.spool"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    spool = Spool(path)
    spool.open()
    yield spool
    spool.close()


def taken(spool: Spool) -> list[list[int]]:
    found = []
    while len(spool):
        found.append(numbers_of(spool.head()))
        spool.drop()
    return found


def test_what_goes_in_comes_out_in_order_and_nothing_is_left(spool: Spool, path: Path) -> None:
    assert not path.exists()
    for number in range(3):
        spool.append(batch(str(number), record(number), record(number + 10)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(spool) == 3
    assert taken(spool) == [[0, 10], [1, 11], [2, 12]]
    assert not path.exists()
    spool.append(batch("again", record(7)))
    assert taken(spool) == [[7]]


def test_the_next_run_finds_what_was_not_taken(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = Spool(path)
    first.open()
    for number in range(3):
        first.append(batch(f"t{number}", record(number, username="lone \udcff surrogate")))
    first.drop()
    first.close()
    second = Spool(path)
    with caplog.at_level(logging.WARNING, "fwx.firewall_log"):
        second.open()
    assert f"{path}: 2 batches of records wait since the last run" in caplog.text
    assert second.head().token == "t1"
    assert taken(second) == [[1], [2]]
    second.close()


@pytest.mark.parametrize("cut", [1, 40])
def test_a_batch_that_a_crash_has_cut_off_is_named_and_the_others_are_there(
    path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(path)
    spool.open()
    spool.append(batch("whole", record(1)))
    spool.append(batch("cut", record(2)))
    spool.close()
    os.truncate(path, path.stat().st_size - cut)
    with caplog.at_level(logging.WARNING, "fwx.firewall_log"):
        spool.open()
    assert "the last batch was cut off" in caplog.text
    spool.append(batch("new", record(3)))
    assert taken(spool) == [[1], [3]]
    spool.close()


@pytest.mark.parametrize(
    "line",
    [
        b"+nonsense\n",
        b'+["token", ["rule"], [[{}]], []]\n',
        b'+["token", ["rule"], [["a", "b"]], []]\n',
        b'+["token", [], [], [["one"]]]\n',
        b"+[]\n",
        b"\n",
        b'x["t", [], [], []]\n',
    ],
)
def test_what_is_no_batch_is_named_and_left_out(path: Path, line: bytes, caplog: pytest.LogCaptureFixture) -> None:
    spool = Spool(path)
    spool.open()
    spool.append(batch("a", record(1)))
    spool.close()
    path.write_bytes(line + path.read_bytes())
    spool.open()
    with caplog.at_level(logging.ERROR, "fwx.firewall_log"):
        assert numbers_of(spool.head()) == [1]
    assert f"{path}: {len(line)} bytes at 0 are no records of the firewall log and lost" in caplog.text
    spool.drop()
    spool.close()


def test_a_large_file_is_found_whole(path: Path) -> None:
    spool = Spool(path)
    spool.open()
    for number in range(30):
        spool.append(batch(str(number), *(record(number, reason="x" * 1000) for _ in range(100))))
    spool.close()
    assert path.stat().st_size > 3_000_000
    spool.open()
    assert [found[0] for found in taken(spool)] == list(range(30))
    spool.close()


def test_a_batch_of_a_version_with_other_columns_is_read(path: Path) -> None:
    path.write_text('+["t", ["rule", "sessionid", "gone"], [["r", 7, "x"]], []]\n')
    spool = Spool(path)
    spool.open()
    row = dict(zip(WRITTEN, spool.head().records[0], strict=True))
    assert (row["rule"], row["sessionid"], row["connectionid"], row["filters"]) == ("r", 7, 0, "")
    spool.drop()
    spool.close()


def test_it_is_bounded(path: Path) -> None:
    spool = Spool(path, 4000)
    spool.open()
    spool.append(batch("a", record(1)))
    large = batch("large", record(2, reason="x" * 4000))
    with pytest.raises(FirewallLogError, match=f"the spool {path} is full: it may have 4000 bytes"):
        spool.append(large)
    for number in range(3):
        spool.append(batch(str(number), record(number + 2)))
    assert path.stat().st_size <= 4000
    before = len(spool)
    assert len(taken(spool)) == before
    spool.append(batch("room again", record(9)))
    assert taken(spool) == [[9]]
    spool.close()


def test_a_batch_that_finds_no_room_on_the_disk_is_not_there_by_half(spool: Spool, path: Path) -> None:
    spool.append(batch("a", record(1)))
    size, before = path.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            spool.append(batch("b", record(2)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.stat().st_size == size
    spool.append(batch("c", record(3)))
    assert taken(spool) == [[1], [3]]


def test_what_cannot_be_a_spool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FirewallLogError, match=r"the spool of the firewall log: Is a directory"):
        Spool(tmp_path).open()


def test_a_spool_is_no_symbolic_link(tmp_path: Path, path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FirewallLogError, match="Too many levels of symbolic links"):
        Spool(path).open()


def test_alerts_are_kept_too(spool: Spool) -> None:
    spool.append(Batch("t", [], [["2026", "event", 1, "fwx", "", "m", "", 1]]))
    assert spool.head().alerts == [["2026", "event", 1, "fwx", "", "m", "", 1]]
    spool.drop()


def test_an_object_among_the_values_is_kept_as_text(spool: Spool) -> None:
    spool.append(batch("t", record(1, source_ip=IPv4Address("10.0.0.1"))))
    row = dict(zip(WRITTEN, spool.head().records[0], strict=True))
    assert (row["SourceIP"], row["connectionid"]) == ("10.0.0.1", 1)
    spool.drop()
