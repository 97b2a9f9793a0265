"""``fwx conform``: the table, the exit codes, the filters that ship and the examples."""

from __future__ import annotations

import importlib
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

import fwx
from fwx import sdk
from fwx.commands.conform import conform

TOP = Path(fwx.__file__).parent.parent
MODULES = tuple(path.stem for path in (TOP / "examples").glob("*.py") if not path.stem.startswith("test_"))
PACKAGES = tuple(path.parent.name for path in (TOP / "examples").glob("*/fwx_*/__init__.py"))
FOLDERS = (".", *(path.parents[1].name for path in (TOP / "examples").glob("*/fwx_*/__init__.py")))
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
    assert lines[-1] == "DataMonitor: 35 ok, 6 skipped"


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


EXAMPLES = (
    ("closed_hosts:CloseHosts", "--option", "file=closed.txt"),
    ("from_cache:FromCache",),
    ("ftp_ports:FtpPorts", "--target", "198.51.100.1:21"),
    ("fwx_collector:Collector",),
    ("fwx_collector:Collector", "--option", "report_to=198.51.100.7:7"),
    ("fwx_upper_case:UpperCase", "--changes-data"),
    ("fwx_upper_case:UpperCase", "--changes-data", "--option", "direction='both'", "--option", "append=bye"),
    ("only_tls:OnlyTls", "--script", "examples/only_tls.toml"),
    ("refuse_telnet:RefuseTelnet",),
    ("refuse_telnet:RefuseTelnet", "--target", "198.51.100.1:23"),
    ("shout:Shout", "--changes-data"),
    ("starttls:StartTls", "--option", "certificate=server.pem", "--option", "key=server.pem"),
)


@pytest.fixture
def examples(source_tree: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = set(sys.modules)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for folder in FOLDERS:
        monkeypatch.syspath_prepend(source_tree / "examples" / folder)
    yield
    for name in set(sys.modules) - before:
        if name.startswith((*PACKAGES, *MODULES)):
            del sys.modules[name]


@pytest.mark.usefixtures("examples")
@pytest.mark.parametrize("arguments", EXAMPLES, ids=" ".join)
def test_the_examples_keep_every_rule(
    arguments: tuple[str, ...], source_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.issue_cert("mail.example").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    (tmp_path / "examples").symlink_to(source_tree / "examples")
    (tmp_path / "closed.txt").write_text("203.0.113.99\n")
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 0, result.output


@pytest.mark.usefixtures("examples")
def test_there_is_no_other_example() -> None:
    tried = {arguments[0] for arguments in EXAMPLES}
    found = set[str]()
    for module in (*MODULES, *PACKAGES):
        named = vars(importlib.import_module(module)).items()
        found |= {f"{module}:{name}" for name, value in named if isinstance(value, type) and is_filter(value)}
    assert found == tried


def is_filter(candidate: type) -> bool:
    return sdk.IFWXFilter.implementedBy(candidate)


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
    assert "DataMonitor: 35 ok, 6 skipped" in text


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with a filter that wants to hear its protocol first, at one port alone."""
    package = tmp_path / "fwx_greeted"
    package.mkdir()
    (package / "__init__.py").write_text("from fwx_greeted.filter import Greeted\n")
    (package / "filter.py").write_text(GREETED)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    for name in [name for name in sys.modules if name.startswith("fwx_greeted")]:
        del sys.modules[name]


GREETED = """
from fwx import sdk


class Greeting(sdk.DataPump):
    def __init__(self, word):
        super().__init__()
        self.word = word

    def inspect(self, to_server, buffer):
        if to_server and self.word:
            assert bytes(buffer.GetBufferAndSize()) == self.word
            self.word = b""
        return buffer


class Greeted(sdk.ConnectionFilter):
    class Options(sdk.FilterOptions):
        word: str

    def __init__(self, options):
        super().__init__()
        self.word = options.word.encode()

    def data_filter(self, asked):
        return Greeting(self.word) if asked.target.port == 7 else None
"""
SAID = """
options = { word = "hello" }
target = "198.51.100.1:7"
opening = [{ side = "client", data = "hello" }]
"""


@pytest.mark.parametrize("use", ["fwx_greeted:Greeted", "fwx_greeted.filter:Greeted"])
def test_what_the_package_says_is_taken(packaged: Path, use: str) -> None:
    assert run(use).exit_code == 2
    (packaged / "conform.toml").write_text(SAID)
    result = run(use)
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "Greeted: 35 ok, 6 skipped")


def test_the_command_line_has_the_last_word(packaged: Path, tmp_path: Path) -> None:
    (packaged / "conform.toml").write_text(SAID)
    assert run("fwx_greeted:Greeted", "--option", "word=good day").exit_code == 1
    assert run("fwx_greeted:Greeted", "--target", "198.51.100.1:8").output.splitlines()[-1].endswith("23 skipped")
    other = tmp_path / "other.toml"
    other.write_text(SAID.replace("hello", "good day"))
    assert run("fwx_greeted:Greeted", "--script", str(other), "--option", "word=hello").exit_code == 1
    assert run("fwx_greeted:Greeted", "--script", str(other)).exit_code == 0


def test_a_package_with_a_script_that_is_wrong(packaged: Path) -> None:
    (packaged / "conform.toml").write_text("target = 7\n")
    result = run("fwx_greeted:Greeted")
    assert result.exit_code == 2
    assert "fwx_greeted/conform.toml" in "".join(result.output.split())
    assert "target" in result.output
