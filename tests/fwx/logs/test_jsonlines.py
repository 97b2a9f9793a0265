from __future__ import annotations

import contextlib
import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fwx.firewall_log import FirewallLog, read
from fwx.firewall_log_schema import NEVER_KNOWN
from fwx.impl.logrecord import Action
from fwx.logs.jsonlines import FIELDS, JsonSink
from tests.fwx.logs.records import PATIENCE, T0, Clock, batch, record

FIRST = "FWXLOG_20260102_FWS_000.jsonl"


def written(folder: Path, *records: Any, **options: Any) -> list[str]:
    sink = JsonSink(folder, **{"clock": Clock(), **options})
    sink.open()
    with contextlib.closing(sink):
        sink.commit(batch("t", *records))
    return (folder / FIRST).read_text().splitlines()


def test_a_record_is_an_object_like_the_row_of_the_database(tmp_path: Path) -> None:
    """The names and values are those of ``fwx log --json``, but for what is local or always the same."""
    folder = tmp_path / "json"
    log = FirewallLog(tmp_path / "firewall.db", others=[("json", JsonSink(folder, clock=Clock()))])
    log.open()
    log.write(
        record(
            4,
            action=Action.Denied,
            servername="fw1",
            source_ip="10.0.0.1",
            source_port=1234,
            resultcode=0xC004000D,
            rule="Default rule",
            bytes_sent=50,
            logged_before=(20, 0, 0),
        )
    )
    assert log.close(PATIENCE) == 0
    (row,) = read(tmp_path / "firewall.db")
    (line,) = (folder / FIRST).read_text().splitlines()
    found = json.loads(line)
    assert found == {name: value for name, value in row.items() if name not in {"id", "logTime", *NEVER_KNOWN}}
    assert tuple(found) == FIELDS
    assert (found["Action"], found["bytessentDelta"], found["resultcode"]) == (8, 30, 0xC004000D)
    when = datetime.fromisoformat(found["GmtLogTime"])
    assert (when.tzinfo, round(when.timestamp(), 3)) == (UTC, T0)
    assert found["GmtLogTime"].endswith("Z")
    modes = {stat.S_IMODE(folder.stat().st_mode), *(stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir())}
    assert modes == {0o700, 0o600}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (("rule", "SourceIP"), {"SourceIP": "10.0.0.1", "rule": "r"}),
        (("rule",), {"rule": "r"}),
    ],
)
def test_a_field_that_is_left_out_is_not_in_the_objects(
    tmp_path: Path, fields: tuple[str, ...], expected: dict[str, str]
) -> None:
    lines = written(tmp_path, record(1, source_ip="10.0.0.1", rule="r"), record(2), fields=fields)
    assert json.loads(lines[0]) == expected
    assert json.loads(lines[1]) == dict.fromkeys(expected, "")


@pytest.mark.parametrize(
    "name",
    [
        "two words",
        'a", "forged": "',
        "a\n{}",
        "back\\slash",
        "\x1b[2J\x85\u2028\0",
        "caf\xe9 \U0001f600",
        "lone \udcff",
    ],
)
def test_no_value_ends_another_or_the_line(tmp_path: Path, name: str) -> None:
    (line,) = written(tmp_path, record(1, username=name))
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line)["ClientUserName"]
    assert found == name.encode("utf-8", "backslashreplace").decode()  # strict programs read no lone surrogates


def test_what_no_number_or_text_is_becomes_text(tmp_path: Path) -> None:
    (line,) = written(tmp_path, record(1, username=Path("/x"), bytes_sent=2**70))
    found = json.loads(line)
    assert (found["ClientUserName"], found["bytessent"]) == ("/x", 2**70)
