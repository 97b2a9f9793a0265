"""The command line's group: lazy, complete, and loud about a missing command."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

import fwx
from fwx.cli import COMMANDS, LazyGroup, main


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_exists(runner: CliRunner, name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    result = runner.invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output


def test_help_lists_the_table(runner: CliRunner) -> None:
    output = " ".join(runner.invoke(main, ["--help"]).output.split())
    for name, line in COMMANDS.items():
        assert f"{name} {line}" in output


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--version"], 0, fwx.__version__),
        (["-h"], 0, "Commands"),
        (["nonsense"], 2, "No such command 'nonsense'"),
        (["--nonsense"], 2, "No such option"),
    ],
)
def test_exit_codes(runner: CliRunner, arguments: list[str], code: int, text: str) -> None:
    result = runner.invoke(main, arguments)
    assert result.exit_code == code
    assert text in result.output


def test_a_missing_command_module_is_an_error() -> None:
    group = LazyGroup("broken", table={"no_such_command": "Is not there."})
    with pytest.raises(ModuleNotFoundError, match="no_such_command"):
        group.get_command(click.Context(group), "no_such_command")


def test_a_module_without_its_command_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import fwx.commands.check as module

    monkeypatch.delattr(module, "check")
    with pytest.raises(TypeError, match="no command named 'check'"):
        main.get_command(click.Context(main), "check")


def test_version_imports_no_command_and_not_the_service() -> None:
    script = (
        "import sys; from fwx.cli import main\n"
        "main(['--version'], standalone_mode=False)\n"
        "print(sorted(name for name in sys.modules if name.startswith('fwx') or name in {'uvloop', 'pydantic'}))"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "['fwx', 'fwx.cli', 'fwx.garbage']"


@pytest.mark.parametrize("enabled", [True, False])
def test_the_search_for_garbage_is_as_before_when_a_command_is_imported(
    monkeypatch: pytest.MonkeyPatch, enabled: bool
) -> None:
    """It is off during the import alone, also of one that fails."""
    seen = []

    def import_module(name: str) -> ModuleType:
        seen.append(gc.isenabled())
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("fwx.cli.import_module", import_module)
    was = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ModuleNotFoundError):
            main.get_command(click.Context(main), "check")
        assert (seen, gc.isenabled()) == ([False], enabled)
    finally:
        (gc.enable if was else gc.disable)()


def test_a_service_begins_when_its_modules_are_out_of_the_search_for_garbage(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fwx.commands.serve as module

    did = []

    async def run_service(config: Path | None) -> int:
        did.append("service")
        return 0

    monkeypatch.setattr(module.gc, "set_threshold", lambda *_: None)
    monkeypatch.setattr(module.gc, "freeze", lambda: did.append("freeze"))
    monkeypatch.setattr(module, "run_service", run_service)
    monkeypatch.setattr(module.logging, "basicConfig", lambda **_: None)
    assert runner.invoke(main, ["serve"]).exit_code == 0
    assert did == ["freeze", "service"]


def test_check_imports_what_it_needs(tmp_path: Path) -> None:
    """A file without filters, directories and databases is judged without the parts that use them."""
    file = tmp_path / "fwx.toml"
    file.write_text("[service]\n")
    script = (
        "import sys; from fwx.cli import main\n"
        f"main(['check', {str(file)!r}], standalone_mode=False)\n"
        "print(sorted(sys.modules.keys() & {'fwx.impl.engine', 'fwx.service', 'fwx.directories.radius', 'ldap3', "
        "'smtplib', 'sqlalchemy', 'uvloop', 'h11', 'argon2', 'asyncio'}))"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "[]"


def test_python_dash_m_is_the_console_script() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "fwx", "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == f"fwx, version {fwx.__version__}\n"
