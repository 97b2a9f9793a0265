from __future__ import annotations

import resource
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fwx
from fwx.firewall_log_schema import FirewallLogError
from fwx.impl.logrecord import Action
from fwx.logs.retention import Keep
from fwx.logs.w3c import W3cSink
from fwx.logs.w3cfields import FIELDS
from tests.fwx.logs.records import T0, Clock, batch, record

DAY = 86400.0
FIRST = "FWXLOG_20260102_FWS_000.w3c"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "w3c"


@pytest.fixture
def opened(folder: Path) -> Iterator[Callable[..., W3cSink]]:
    sinks: list[W3cSink] = []

    def make(**options: Any) -> W3cSink:
        sinks.append(W3cSink(folder, **{"clock": Clock(), **options}))
        sinks[-1].open()
        return sinks[-1]

    yield make
    for sink in sinks:
        sink.close()


@pytest.fixture
def two_hours_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "XYZ-2")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def lines(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if not line.startswith("#")]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_begins_with_its_directives_and_has_tabs_between_values(
    opened: Callable[..., W3cSink], folder: Path, two_hours_east: None
) -> None:
    """B9.1, B9.3, B9.5, B9.7: UTC, whatever the time zone; the result and the action as TMG's readers know them."""
    sink = opened()
    denied = record(
        4,
        action=Action.Denied,
        servername="fw1",
        source_ip="10.0.0.1",
        source_port=1234,
        destination_ip="2001:db8::1",
        destination_port=443,
        resultcode=0xC004000D,
        rule="Default rule",
        bytes_sent=50,
        logged_before=(20, 0, 0),
    )
    sink.commit(batch("t", denied))
    text = (folder / FIRST).read_text().splitlines()
    assert text[:4] == [
        f"#Software: fwx {fwx.__version__}",
        "#Version: 1.0",
        "#Date: 2026-01-02 03:04:05",
        "#Fields: " + "\t".join(FIELDS),
    ]
    values = dict(zip(FIELDS, text[4].split("\t"), strict=True))
    assert values == dict.fromkeys(FIELDS, "-") | {
        "computer": "fw1",
        "date": "2026-01-02",
        "time": "03:04:05",
        "IP protocol": "TCP",
        "source": "10.0.0.1:1234",
        "destination": "[2001:db8::1]:443",
        "action": "Denied",
        "status": "0xc004000d",
        "rule": "Default rule",
        "bidirectional": "0",
        "bytes sent": "50",
        "bytes sent intermediate": "30",
        "bytes received": "0",
        "bytes received intermediate": "0",
        "connection time": "0",
        "connection time intermediate": "0",
        "session ID": "0",
        "connection ID": "4",
    }
    modes = {stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE((folder / FIRST).stat().st_mode)}
    assert modes == {0o700, 0o600}


def test_the_fields_come_in_the_order_of_the_sdk() -> None:
    assert list(FIELDS)[:6] == ["computer", "date", "time", "IP protocol", "source", "destination"]
    assert [list(FIELDS).index(name) for name in ("action", "bytes sent", "protocol payload")] == [9, 14, 30]


def test_a_field_that_is_left_out_is_not_in_the_file(opened: Callable[..., W3cSink], folder: Path) -> None:
    """B9.2; the order stays that of the table."""
    opened(fields=("rule", "source", "action")).commit(batch("t", record(1, source_ip="10.0.0.1", rule="r")))
    text = (folder / FIRST).read_text().splitlines()
    assert text[3:] == ["#Fields: source\taction\trule", "10.0.0.1\tTerminate\tr"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"protocol": "UDP", "destination_port": 53}, "192.0.2.1:53"),
        ({"protocol": "ICMP", "destination_port": 0}, "192.0.2.1:0"),
        ({"protocol": "ICMP", "destination_port": 4}, "192.0.2.1:4"),
        ({"protocol": "GRE"}, "192.0.2.1"),
    ],
)
def test_ports_and_what_stands_in_their_place(
    opened: Callable[..., W3cSink], folder: Path, fields: dict[str, Any], expected: str
) -> None:
    """B9.6: of ICMP the code stands where the destination's port does, the type where the source's does."""
    opened(fields=("destination",)).commit(batch("t", record(1, destination_ip="192.0.2.1", **fields)))
    assert lines(folder / FIRST) == [expected]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("two words", "two words"),
        ("a\tforged\tvalue", r"a\tforged\tvalue"),
        ("a\n#forged: line", r"a\n#forged: line"),
        ("back\\slash", r"back\\slash"),
        ("\x1b[2J\x85\u2028", r"\x1b[2J\x85\u2028"),
        ("caf\xe9", "caf\xe9"),
        ("lone \udcff", r"lone \udcff"),
        ("", "-"),
    ],
)
def test_no_value_ends_another_or_the_line(
    opened: Callable[..., W3cSink], folder: Path, name: str, written: str
) -> None:
    opened(fields=("username", "agent")).commit(batch("t", record(1, username=name, agent="a")))
    assert (folder / FIRST).read_text().split("\n")[4:] == [f"{written}\ta", ""]


def test_another_day_is_another_file_and_a_clock_set_back_goes_on_with_the_old_one(
    opened: Callable[..., W3cSink], folder: Path
) -> None:
    clock = Clock()
    sink = opened(clock=clock, fields=("connection ID",))
    for number, now in enumerate((T0, T0 + DAY, T0, T0 + 20 * 365 * DAY)):
        clock.now = now
        sink.commit(batch(str(number), record(number)))
    assert names(folder) == [FIRST, "FWXLOG_20260103_FWS_000.w3c", "FWXLOG_20451228_FWS_000.w3c"]
    assert lines(folder / FIRST) == ["0", "2"]


def test_a_full_file_is_followed_by_another(opened: Callable[..., W3cSink], folder: Path) -> None:
    sink = opened(fields=("connection ID",), most_bytes=200)
    for number in range(100):
        sink.commit(batch(str(number), record(number)))
    found = [int(line) for name in names(folder) for line in lines(folder / name)]
    assert found == list(range(100))
    assert len(names(folder)) > 2
    assert all((folder / name).read_text().startswith("#Software: ") for name in names(folder))
    assert names(folder)[1] == "FWXLOG_20260102_FWS_001.w3c"
    last = names(folder)[-1]
    sink.close()
    assert opened(most_bytes=10_000).path.name == last, "a new start goes on where the last one was"


def test_a_line_that_a_crash_has_cut_off_is_removed(opened: Callable[..., W3cSink], folder: Path) -> None:
    opened(fields=("connection ID",)).commit(batch("a", record(1234)))
    with (folder / FIRST).open("a") as file:
        file.write("12")
    opened(fields=("connection ID",)).commit(batch("b", record(5)))
    assert lines(folder / FIRST) == ["1234", "5"]


def test_a_file_that_was_moved_away_is_made_anew(opened: Callable[..., W3cSink], folder: Path) -> None:
    sink = opened(fields=("connection ID",))
    sink.commit(batch("a", record(1)))
    (folder / FIRST).rename(folder / "taken")
    sink.commit(batch("b", record(2)))
    assert lines(folder / "taken") == ["1"]
    assert lines(folder / FIRST) == ["2"]


def test_a_batch_that_finds_no_room_is_not_there_by_half(opened: Callable[..., W3cSink], folder: Path) -> None:
    sink = opened(fields=("connection ID",))
    sink.commit(batch("a", record(1)))
    size, before = (folder / FIRST).stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 3, before[1]))
    try:
        with pytest.raises(FirewallLogError, match=f"{FIRST}: File too large"):
            sink.commit(batch("b", record(22222)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    sink.commit(batch("b", record(22222)))
    assert lines(folder / FIRST) == ["1", "22222"]


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        (Keep(), 4),
        (Keep(days=2), 3),
        (Keep(days=400), 4),
        (Keep(bytes=350), 2),
        (Keep(bytes=1), 1),
    ],
)
def test_old_files_are_removed_one_by_one_and_never_the_last(
    opened: Callable[..., W3cSink], folder: Path, keep: Keep, left: int
) -> None:
    clock = Clock()
    sink = opened(clock=clock, keep=keep, fields=("connection ID",))
    for day in range(4):
        clock.now = T0 + day * DAY
        sink.commit(batch(str(day), *(record(number) for number in range(30))))
    (folder / "somebody else's").touch()
    assert not sink.prune(None) or keep.bytes is not None
    while sink.prune(clock.now):
        pass
    assert len([name for name in names(folder) if name.startswith("FWX")]) == left
    assert sink.path.exists()
    assert (folder / "somebody else's").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FirewallLogError, match=r"file/w3c: the W3C log cannot be opened: Not a directory"):
        W3cSink(tmp_path / "file" / "w3c").open()


def test_a_folder_that_is_gone_is_a_failure(opened: Callable[..., W3cSink], folder: Path) -> None:
    sink = opened()
    (folder / FIRST).unlink()
    folder.rmdir()
    with pytest.raises(FirewallLogError, match="No such file or directory"):
        sink.commit(batch("a", record(1)))
