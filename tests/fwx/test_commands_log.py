from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from fwx.commands.log import log, record_line, table
from fwx.firewall_log import FirewallLog, read
from fwx.firewall_log_schema import RowMaker
from fwx.impl.alert import Alert, Severity
from fwx.impl.logrecord import Action, LogRecord
from fwx.logs.actions import result_name
from fwx.logs.sink import Batch
from fwx.logs.sql import SqlSink

T0 = 1_767_323_045.678  # 2026-01-02 03:04:05.678 UTC


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "firewall.db"


TERMINATED = LogRecord(
    time=T0,
    action=Action.Terminate,
    source_ip="10.0.0.1",
    source_port=1234,
    destination_ip="2001:db8::1",
    destination_port=443,
    destination_name="example.org",
    rule="staff browse",
    bytes_sent=5,
    bytes_received=6000,
    connection_time=77,
    username="alice",
    filters="monitor, upper",
)
DENIED = LogRecord(
    time=T0 + 1,
    action=Action.Denied,
    source_ip="10.0.0.1",
    source_port=1235,
    destination_port=25,
    destination_name="mail.example.org",
    rule="Default rule",
    resultcode=0xC004000D,
    reason="no rule allows it",
)
TERMINATED_LINE = (
    '2026-01-02 03:04:05.678 Terminate rule="staff browse" user=alice source=10.0.0.1:1234 '
    'destination="[2001:db8::1]:443 (example.org)" bytes=5/6000 ms=77 filters="monitor, upper"'
)
DENIED_LINE = (
    '2026-01-02 03:04:06.678 Denied result=FWX_E_POLICY_RULES_DENIED rule="Default rule" source=10.0.0.1:1235 '
    'destination=mail.example.org:25 bytes=0/0 ms=0 reason="no rule allows it"'
)


def write(path: Path, *items: LogRecord | Alert) -> None:
    written = FirewallLog(path)
    written.open()
    for item in items:
        if isinstance(item, LogRecord):
            written.write(item)
        else:
            written.write_alert(item)
    assert written.close(30) == 0


def run(*arguments: object) -> Result:
    return CliRunner().invoke(log, [str(argument) for argument in arguments])


def test_a_look_up_has_no_ports(path: Path) -> None:
    """B9.12."""
    found = LogRecord(T0, Action.GHBN, source_ip="10.0.0.1", destination_ip="2001:db8::1", destination_name="a.example")
    denied = LogRecord(T0, Action.GHBA, source_ip="10.0.0.1", destination_ip="2001:db8::2", resultcode=0xC004000D)
    write(path, found, denied)
    assert run("--database", path).output.splitlines() == [
        '2026-01-02 03:04:05.678 GHBN source=10.0.0.1 destination="2001:db8::1 (a.example)" bytes=0/0 ms=0',
        "2026-01-02 03:04:05.678 GHBA result=FWX_E_POLICY_RULES_DENIED source=10.0.0.1 destination=2001:db8::2 "
        "bytes=0/0 ms=0",
    ]


def test_one_line_a_record_oldest_first(path: Path) -> None:
    write(path, TERMINATED, DENIED)
    result = run("--database", path)
    assert (result.exit_code, result.output.splitlines()) == (0, [TERMINATED_LINE, DENIED_LINE])


@pytest.mark.parametrize(("options", "shown"), [((), 50), (("--limit", 3), 3), (("--limit", 0), 0)])
def test_the_newest_are_shown(path: Path, options: tuple[object, ...], shown: int) -> None:
    write(path, *(TERMINATED._replace(time=T0 + number, connection_id=number) for number in range(60)))
    result = run("--database", path, "--json", *options)
    assert [json.loads(line)["connectionid"] for line in result.output.splitlines()] == list(range(60 - shown, 60))


def test_json_has_every_column(path: Path) -> None:
    write(path, DENIED)
    (line,) = run("--database", path, "--json").output.splitlines()
    assert json.loads(line) == next(iter(read(path)))


def test_alerts_and_their_tracebacks(path: Path) -> None:
    write(path, Alert(T0, "filter fault", Severity.WARNING, "monitor", "", "it broke", "Traceback:\n  line 1", 3))
    expected = [
        '2026-01-02 03:04:05.678 warning filter fault source=monitor count=3 message="it broke"',
        "    Traceback:",
        "      line 1",
    ]
    assert run("--database", path, "--alerts").output.splitlines() == expected
    assert json.loads(run("--database", path, "--alerts", "--json").output)["event"] == "filter fault"


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("plain", "user=plain"),
        ("two words", 'user="two words"'),
        ("a\nforged line", 'user="a\\nforged line"'),
        ("\x1b[2Jcleared", 'user="\\x1b[2Jcleared"'),
        ("\x9b31m", 'user="\\x9b31m"'),
        ("\u202ereversed", 'user="\\u202ereversed"'),
        ('say "x"', 'user="say \\"x\\""'),
        ("back\\slash", 'user="back\\\\slash"'),
        ("caf\xe9", "user=caf\xe9"),
        ("", ""),
    ],
)
def test_names_from_the_network_cannot_forge_lines_or_drive_a_terminal(path: Path, name: str, printed: str) -> None:
    write(path, TERMINATED._replace(username=name))
    (line,) = run("--database", path).output.splitlines()
    assert line.partition('browse" ')[2].partition("source=")[0].strip() == printed
    console = Console(width=400, file=io.StringIO(), record=True)
    console.print(table(read(path)))
    assert not {"\x1b", "\x9b", "\u202e"} & set(console.export_text())


def test_the_table_holds_the_values_as_they_are(path: Path) -> None:
    write(path, TERMINATED._replace(rule="[red]markup[/red]"), DENIED)
    console = Console(width=300, file=io.StringIO(), record=True)
    console.print(table(read(path)))
    console.print(table(read(path, alerts=True), alerts=True))
    header, first, second, alerts = (line.split("  ") for line in console.export_text().splitlines())
    assert [cell.strip() for cell in header if cell][:4] == ["time", "action", "result", "rule"]
    assert "[red]markup[/red]" in [cell.strip() for cell in first]
    assert "FWX_E_POLICY_RULES_DENIED" in [cell.strip() for cell in second]
    assert "severity" in [cell.strip() for cell in alerts]


def test_a_terminal_gets_the_table(path: Path) -> None:
    write(path, TERMINATED)
    terminal, end = os.openpty()
    command = [sys.executable, "-m", "fwx", "log", "--database", str(path)]
    subprocess.run(command, check=True, stdout=end, timeout=60, env={**os.environ, "COLUMNS": "250"})
    os.close(end)
    shown = os.read(terminal, 65536).decode()
    os.close(terminal)
    assert "filters" in shown.splitlines()[0]
    assert "rule=" not in shown


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0, ""),
        (0xC004000D, "FWX_E_POLICY_RULES_DENIED"),
        (0x80004005, "E_FAIL"),
        (10061, "WSAECONNREFUSED"),
        (0x8007274D, "WSAECONNREFUSED"),
        (4711, "WIN32(4711)"),
        (0xC004FFFF, "0xC004FFFF"),
    ],
)
def test_results_have_names(code: int, name: str) -> None:  # B9.13
    assert result_name(code) == name


def test_an_action_of_a_later_version_is_shown_by_its_number(path: Path) -> None:
    write(path, TERMINATED)
    row: dict[str, Any] = next(iter(read(path))) | {"Action": 99}
    assert " Action(99) " in record_line(row)


# Where the log is


def test_the_log_of_a_configuration(tmp_path: Path) -> None:
    config = tmp_path / "fwx.toml"
    config.write_text('[service]\nstate_dir = "here"\n[log]\nsqlite = "other.db"\n')
    (tmp_path / "here").mkdir()
    write(tmp_path / "here" / "other.db", TERMINATED)
    assert run("--config", config).output.splitlines() == [TERMINATED_LINE]


def test_without_options_it_is_the_default_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (tmp_path / "fwx").mkdir()
    write(tmp_path / "fwx" / "firewall.db", TERMINATED)
    assert run().output.splitlines() == [TERMINATED_LINE]


def test_a_faulty_configuration_is_reported(tmp_path: Path) -> None:
    config = tmp_path / "fwx.toml"
    config.write_text('[service]\nnane = "fw1"\n')
    result = run("--config", config)
    assert result.exit_code == 1
    assert f"{config}:2: " in result.output


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "there is no such file"), (b"", "it is empty"), (b"text" * 100, "file is not a database")],
)
@pytest.mark.parametrize("option", ["--follow", "--json", "--alerts"])
def test_what_is_no_log_is_a_clear_error(path: Path, content: bytes | None, complaint: str, option: str) -> None:
    if content is not None:
        path.write_bytes(content)
    result = run("--database", path, option)
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {path}: ")
    assert complaint in result.output


def test_two_places_are_wrong_usage(path: Path) -> None:
    result = run("--database", path, "--config", path)
    assert result.exit_code == 2
    assert "not both" in result.output


# Choosing

FAILED = TERMINATED._replace(
    time=T0 + 2, action=Action.Failed, resultcode=0x8007274D, username="bob", rule="other", source_ip="10.0.0.9",
    nat_address="198.51.100.1",
)  # fmt: skip


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ((), "tdf"),
        (("--user", "alice"), "t"),
        (("--user", "alice", "--user", "bob"), "tf"),
        (("--rule", "Default rule"), "d"),
        (("--address", "10.0.0.1"), "td"),
        (("--address", "2001:db8::1", "--user", "bob"), "f"),
        (("--address", "mail.example.org"), "d"),
        (("--address", "Mail.Example.ORG"), "d"),
        (("--address", "2001:DB8:0::1"), "tf"),
        (("--address", "[2001:db8::1]"), "tf"),
        (("--address", "198.51.100.1"), "f"),
        (("--result", "FWX_E_POLICY_RULES_DENIED"), "d"),
        (("--result", "0xC004000D"), "d"),
        (("--result", "-1073479667"), "d"),
        (("--result", "fwx_e_policy_rules_denied"), "d"),
        (("--result", "WSAECONNREFUSED"), "f"),
        (("--result", "success"), "t"),
        (("--action", "denied", "--action", "Failed"), "df"),
        (("--action", "7"), "t"),
        (("--since", "2026-01-02 03:04:06"), "df"),
        (("--until", "2026-01-02T03:04:06"), "t"),
        (("--since", "2026-01-02T05:04:06+02:00", "--until", "2026-01-02T03:04:07.678Z"), "d"),
        (("--since", "2026-01-03"), ""),
        (("--since", "1h"), ""),
        (("--until", "2h"), "tdf"),
        (("--user", "alice", "--action", "Denied"), ""),
        (("--limit", "1", "--rule", "staff browse"), "t"),
    ],
)
def test_records_are_chosen(path: Path, options: tuple[str, ...], shown: str) -> None:
    write(path, TERMINATED, DENIED, FAILED)
    letters = {7: "t", 8: "d", 10: "f"}
    result = run("--database", path, "--json", *options)
    assert result.exit_code == 0, result.output
    assert "".join(letters[json.loads(line)["Action"]] for line in result.output.splitlines()) == shown


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
def test_a_name_is_found_in_any_case(path: Path, form: str) -> None:
    write(path, TERMINATED._replace(destination_name="WWW.Example.org"), DENIED)
    result = run("--database", form.format(path), "--address", "www.example.ORG")
    assert [line.split()[2] for line in result.output.splitlines()] == ["Terminate"]


def test_alerts_are_chosen_by_time(path: Path) -> None:
    write(path, *(Alert(T0 + number, "e", Severity.WARNING, "s", "", str(number)) for number in range(3)))
    result = run("--database", path, "--alerts", "--json", "--since", "2026-01-02T03:04:06Z")
    assert [json.loads(line)["message"] for line in result.output.splitlines()] == ["1", "2"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--since", "yesterday"), "'yesterday' is no time; expected a time such as 2026-01-02 03:04, or an age"),
        (("--since", "99999999d"), "is no time"),
        (("--result", "FWX_E_NO_SUCH"), "'FWX_E_NO_SUCH' is no result code; expected a number, or a name such as"),
        (("--result", "HRESULT"), "is no result code"),
        (("--result", "0x1C004000D"), "0x1C004000D is no result code; expected 32 bits"),
        (("--address", ""), "'' is no address and no name; expected an address such as 10.1.0.17 or a name"),
        (("--address", "10.0.0.0/8"), "is no address and no name"),
        (("--address", "10.0.0.1:80"), "is no address and no name"),
        (("--since", "1h", "--until", "2h"), "no record is from "),
        (("--limit", str(1 << 70)), "is not in the range"),
        (("--action", "eaten"), "'eaten' is no action; expected one of NotLogged, Bind"),
        (("--alerts", "--user", "alice"), "alerts can be chosen by --since and --until only"),
    ],
)
def test_what_cannot_be_chosen_by_is_wrong_usage(path: Path, options: tuple[str, ...], complaint: str) -> None:
    result = run("--database", path, *options)
    assert result.exit_code == 2
    assert complaint in " ".join(result.output.split())


def test_the_database_of_a_configuration(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/other.db"
    config = tmp_path / "fwx.toml"
    config.write_text("")
    result = run("--config", config, "--sql")
    assert (result.exit_code, result.output) == (1, "Error: the configuration names no database in log.sql\n")
    config.write_text(f'[log]\nsql = "{url}"\n')
    sink = SqlSink(url, "test")
    sink.commit(Batch("t", [list(RowMaker().record_row(TERMINATED))], []))
    sink.close()
    for place in (("--config", config, "--sql"), ("--database", url)):
        assert run(*place).output.splitlines() == [TERMINATED_LINE]
    result = run("--database", "postgresql+psycopg://fwx:secret@/fwx?host=/nonexistent")
    assert result.exit_code == 1
    assert result.output.startswith("Error: postgresql+psycopg://fwx:***@/fwx")


# Following


def test_follow_shows_what_is_written_next_until_it_is_interrupted(path: Path) -> None:
    write(path, TERMINATED)
    command = [sys.executable, "-m", "fwx", "log", "--database", str(path), "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline().rstrip() == TERMINATED_LINE
        write(path, DENIED)
        assert child.stdout.readline().rstrip() == DENIED_LINE
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=30) == ("", "")
    assert child.returncode == 0
