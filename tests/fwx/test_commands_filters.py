from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fwx.commands import filters as command
from fwx.commands.filters import filters
from fwx.filter_loader import InstalledFilter

MODULE = """
from zope.interface import implementer

from fwx.filter_options import FilterOptions
from fwx.interfaces import IFWXFilter


class Words(FilterOptions):
    alert_on: str
    least: int = 3


@implementer(IFWXFilter)
class Watch:
    Options = Words
"""

GOOD = InstalledFilter("watch", "pkg:Watch", "dist", "1.0", "", ("alert_on: str", "least: int = 3"))
BROKEN = InstalledFilter("broken-one", "pkg:B", "", "", "importing pkg:B raised ImportError: [x]", ())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the module path with the filter fwx_probe_filters:Watch; it is the working directory."""
    (tmp_path / "fwx_probe_filters.py").write_text(MODULE)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "installed_filters", lambda: [GOOD])
    yield tmp_path
    sys.modules.pop("fwx_probe_filters", None)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(filters, arguments)


def test_what_is_installed_is_listed_in_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "installed_filters", lambda: [BROKEN, GOOD])
    result = run()
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "NAME        CLASS      DISTRIBUTION  OPTIONS                        STATE",
        "broken-one  pkg:B      -             -                              importing pkg:B raised ImportError: [x]",
        "watch       pkg:Watch  dist 1.0      alert_on: str, least: int = 3  ok",
    ]


def test_it_succeeds_when_all_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "installed_filters", lambda: [GOOD])
    assert run().exit_code == 0


def test_nothing_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "installed_filters", list)
    result = run()
    assert (result.exit_code, result.stdout) == (
        0,
        "no distribution offers a filter in the entry point group fwx.filters\n",
    )


def test_the_filters_of_a_configuration_follow(folder: Path) -> None:
    text = '[[filter]]\nname = "f"\nuse = "fwx_probe_filters:Watch"\noptions = { alert_on = "x" }\n'
    (folder / "fwx.toml").write_text(text)
    result = run("--config", "fwx.toml")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[2:] == [
        "",
        "configured in fwx.toml:",
        "NAME  CLASS                    DISTRIBUTION  OPTIONS                        STATE",
        "f     fwx_probe_filters:Watch  -             alert_on: str, least: int = 3  ok",
    ]


@pytest.mark.parametrize(
    ("use", "state"),
    [
        ("fwx_probe_filters:Watch", "fwx.toml:1: filter.options.alert_on: is missing; expected str"),
        ("fwx_probe_filters:Wach", "module 'fwx_probe_filters' has no attribute 'Wach'"),
    ],
)
def test_a_configured_filter_that_cannot_run_is_a_problem(folder: Path, use: str, state: str) -> None:
    (folder / "fwx.toml").write_text(f'[[filter]]\nname = "f"\nuse = "{use}"\n')
    result = run("--config", "fwx.toml")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].endswith(state)


def test_a_configuration_without_filters_says_so(folder: Path) -> None:
    (folder / "fwx.toml").write_text("")
    assert run("--config", "fwx.toml").stdout.endswith("\nconfigured in fwx.toml:\nno filter\n")


def test_a_configuration_that_is_wrong_is_a_problem(folder: Path) -> None:
    (folder / "fwx.toml").write_text("[servce]\n")
    result = run("--config", "fwx.toml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("fwx.toml:1: servce: unknown key 'servce'")


def test_an_option_that_is_none_is_wrong_usage() -> None:
    assert run("--nothing").exit_code == 2


def test_a_terminal_gets_a_table() -> None:
    script = (
        "from fwx.commands import filters as c\n"
        "from fwx.filter_loader import InstalledFilter as F\n"
        f"c.installed_filters = lambda: [F(*{tuple(GOOD)!r})]\n"
        "c.filters([])\n"
    )
    reader, writer = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    subprocess.run([sys.executable, "-c", script], stdout=writer, env=environment, check=True)
    os.close(writer)
    shown = os.read(reader, 65536).decode()
    os.close(reader)
    assert "│" in shown
    assert "pkg:Watch" in shown


def test_reload_without_a_service(folder: Path) -> None:
    """It looks in the state folder of the configuration, and says so."""
    (folder / "fwx.toml").write_text('[service]\nstate_dir = "elsewhere"\n')
    result = run("reload", "watch", "--config", "fwx.toml")
    assert result.exit_code == 1
    assert result.stderr == f"Error: no service runs with the state folder {folder / 'elsewhere'}\n"


def test_reload_with_a_configuration_that_is_wrong(folder: Path) -> None:
    (folder / "fwx.toml").write_text("[service]\nblocked_loop_seconds = 0\n")
    result = run("reload", "watch", "--config", "fwx.toml")
    assert result.exit_code == 1
    assert "fwx.toml:2: service.blocked_loop_seconds: " in result.stderr


def test_the_configuration_comes_after_the_commands_name(folder: Path) -> None:
    result = run("--config", "fwx.toml", "reload", "watch")
    assert result.exit_code == 2
    assert "give --config after the command's name" in result.stderr
