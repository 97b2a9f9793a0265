from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fwx
from fwx.impl.logrecord import Action
from fwx.logs.w3c import W3cSink
from fwx.logs.w3cfields import FIELDS
from tests.fwx.logs.records import Clock, batch, record

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
        ({"destination_ip": "2001:db8::1", "destination_port": 80}, "[2001:db8::1]:80"),
        ({"destination_ip": "fe80::1%a\nb", "destination_port": 80}, r"[fe80::1%a\nb]:80"),
    ],
)
def test_ports_and_what_stands_in_their_place(
    opened: Callable[..., W3cSink], folder: Path, fields: dict[str, Any], expected: str
) -> None:
    """B9.6: of ICMP the code stands where the destination's port does, the type where the source's does."""
    opened(fields=("destination",)).commit(batch("t", record(1, **{"destination_ip": "192.0.2.1", **fields})))
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
        ("#Fields: forged", r"\x23Fields: forged"),
        ("#", r"\x23"),
        ("", "-"),
    ],
)
def test_no_value_ends_another_or_the_line(
    opened: Callable[..., W3cSink], folder: Path, name: str, written: str
) -> None:
    opened(fields=("username", "agent")).commit(batch("t", record(1, username=name, agent="a")))
    assert (folder / FIRST).read_text().split("\n")[4:] == [f"{written}\ta", ""]
