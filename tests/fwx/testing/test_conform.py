"""``fwx conform``: the table, the exit codes, the filters that ship and the examples."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fwx.commands.conform import conform

MONITOR = "fwx.filters.data_monitor:DataMonitor"
WRONG = """
from fwx import sdk


@sdk.implementer(sdk.IFWXFilter)
class Silent(sdk.Unknown):
    def FilterInit(self, firewall): ...
    def AttachToSession(self, session, pFilterHookEvents): ...
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(conform, arguments)


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "fwx_wrong_filters.py").write_text(WRONG)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    yield "fwx_wrong_filters:Silent"
    sys.modules.pop("fwx_wrong_filters", None)


def test_the_filter_that_ships_keeps_every_rule() -> None:
    result = run(MONITOR, "--option", "alert_on=EICAR")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].split() == ["CHECK", "FACTS", "RESULT", "REASON"]
    (row,) = (line for line in lines if line.startswith("every Recv has a completion"))
    assert row.split()[-2:] == ["B3.13", "ok"]
    assert lines[-1] == "DataMonitor: 32 ok, 1 skipped"


def test_a_wrong_filter_fails_with_every_breach(wrong: str) -> None:
    result = run(wrong)
    assert result.exit_code == 1
    shape = next(line for line in result.output.splitlines() if line.startswith("has every member of IFWXFilter"))
    for words in (
        "FAILED",
        "IFWXFilter.FilterInit: expected the parameters (pIFWXFirewall), found (firewall)",
        "AttachToSession: expected the parameters (piSession, pFilterHookEvents), found (session, pFilterHookEvents)",
        "IFWXFilter.FilterShutdown: expected a method (), found nothing",
    ):
        assert words in shape
    assert result.output.splitlines()[-1].startswith("Silent: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument 'USE'"),
        (["no-such-filter"], "no distribution offers it in the entry point group fwx.filters"),
        (["fwx.sdk:DataPump"], "fwx.sdk:DataPump does not implement IFWXFilter"),
        (["no_such_module:Class"], "raised ModuleNotFoundError"),
        ([MONITOR, "--option", "alert_on"], "--option 'alert_on': expected KEY=VALUE"),
        ([MONITOR, "--option", "alert_on=7"], "--option alert_on: 7 is a whole number, not a string"),
        ([MONITOR, "--option", "volume=7"], "volume"),
        ([MONITOR, "--target", "example.org:80"], "expected a literal address"),
        ([MONITOR, "--target", "80"], "is not host:port"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


@pytest.fixture
def examples(source_tree: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = set(sys.modules)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for folder in ("examples", "examples/collector", "examples/upper-case"):
        monkeypatch.syspath_prepend(source_tree / folder)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("fwx_collector", "fwx_upper_case", "refuse_telnet", "shout")):
            del sys.modules[name]


@pytest.mark.usefixtures("examples")
@pytest.mark.parametrize(
    "arguments",
    [
        ["fwx_collector:Collector"],
        ["fwx_collector:Collector", "--option", "report_to=198.51.100.7:7"],
        ["fwx_upper_case:UpperCase", "--changes-data"],
        ["fwx_upper_case:UpperCase", "--changes-data", "--option", "direction='both'", "--option", "append=bye"],
        ["refuse_telnet:RefuseTelnet"],
        ["shout:Shout", "--changes-data"],
        ["refuse_telnet:RefuseTelnet", "--target", "198.51.100.1:23"],
    ],
)
def test_the_examples_keep_every_rule(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 0, result.output


@pytest.mark.usefixtures("examples")
def test_a_filter_that_changes_data_says_so() -> None:
    result = run("fwx_upper_case:UpperCase")
    assert result.exit_code == 1
    assert "declare it: changes_data" in result.output


def test_a_terminal_gets_a_table(source_tree: Path) -> None:
    controller, terminal = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "160"}
    process = subprocess.Popen(
        [sys.executable, "-m", "fwx", "conform", MONITOR],
        stdout=terminal,
        stderr=subprocess.STDOUT,
        cwd=source_tree,
        env=environment,
    )
    os.close(terminal)
    output = bytearray()
    while True:
        try:
            block = os.read(controller, 4096)
        except OSError:  # a terminal that nobody holds any more
            break
        output += block
        if not block:
            break
    os.close(controller)
    assert process.wait(60) == 0
    text = output.decode()
    assert "\x1b[32mok" in text
    assert "┃" in text
    assert "DataMonitor: 32 ok, 1 skipped" in text
