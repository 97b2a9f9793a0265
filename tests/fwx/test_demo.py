"""``fwx demo``: it does what it says, leaves nothing behind, and fails when anything is not as it must be."""

from __future__ import annotations

import configparser
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import coverage
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from fwx.commands import demo as module
from fwx.config import load
from fwx.demo import DemoError
from fwx.demo.plan import FILTERS, DemoFilter, chain, choose, configuration
from fwx.demo.processes import Child
from fwx.demo.screen import Screen
from fwx.demo.traffic import PATTERN
from fwx.filter_loader import InstalledFilter
from fwx.interfaces import SocketAddress

CHAIN = (
    "client -> upper-case (fwx_dfpc_Internal) -> data-monitor (fwx_dfpc_Middle) -> collector (fwx_dfpc_External)"
    " -> server"
)
IN_ORDER = tuple(sorted(FILTERS, key=lambda one: one.priority))
ADDRESS = SocketAddress("192.0.2.1", 1234)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that an account without privileges can reach, unlike pytest's when root runs it."""
    folder = Path(tempfile.mkdtemp(prefix="fwx-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def temporary(reachable: Path, source_tree: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demonstration makes its folder; it must be empty in the end. Coverage of the processes is kept."""
    folder, data = reachable / "temporary", reachable / "coverage"
    folder.mkdir(mode=0o755)
    data.mkdir()
    data.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    measuring = coverage.Coverage.current()
    if measuring is not None:
        # Root is dropped: the data goes where anybody may write. The inherited settings would fix another place.
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        monkeypatch.setenv("COVERAGE_PROCESS_START", str(source_tree / "setup.cfg"))
        monkeypatch.setenv("COVERAGE_FILE", str(data / ".coverage"))
    yield folder
    assert not list(folder.iterdir())
    if measuring is not None:
        destination = Path(str(measuring.get_option("run:data_file"))).absolute().parent
        for file in data.glob(".coverage*"):
            shutil.move(file, destination / file.name)


@pytest.fixture
def distributions(
    source_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> Callable[..., None]:
    """Make folders of the checkout seem installed, with the entry points that their setup.cfg names."""

    def install(*folders: str) -> None:
        top = [source_tree / folder for folder in folders]
        for folder in top:
            setup = configparser.ConfigParser()
            setup.read(folder / "setup.cfg")
            name = setup["metadata"]["name"]
            info = tmp_path / f"{name.replace('-', '_')}-0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0\n")
            (info / "entry_points.txt").write_text(f"[fwx.filters]{setup['options.entry_points']['fwx.filters']}\n")
        paths = [str(path) for path in (tmp_path, source_tree, *top)]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
        for path in reversed(paths):
            monkeypatch.syspath_prepend(path)

    return install


@pytest.fixture
def installed(distributions: Callable[..., None]) -> None:
    distributions(".", "examples/upper-case", "examples/collector")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DOWNLOADS", (2, 300_000))
    monkeypatch.setattr(module, "_UPLOADS", (2, 300_000))
    monkeypatch.setattr(module, "_SHORT", 4)


def run_here(*arguments: str) -> Result:
    return CliRunner().invoke(module.demo, arguments)


# The command.


@pytest.mark.usefixtures("installed", "temporary")
def test_it_runs_to_its_end() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "fwx", "demo"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    said = result.stdout
    for expected in (
        r"^downloads +128 MiB in 4 connections, [\d.]+ s: \d+ MiB/s, [\d.]+ Gbit/s$",
        r"^uploads +64 MiB in 2 connections, ",
        r"^short +200 connections in [\d.]+ s, \d+ a second$",
        r"^programs +\S",
        rf"^chain +{re.escape(CHAIN)}$",
        r"^log +the newest 5 of 2\d\d connections, all as they must be:$",
        r" Terminate rule=\"Embedded default\" source=127\.0\.0\.1:\d+ .* "
        r"filters=\"upper-case, data-monitor, collector\"$",
        r"^alert .* warning Pattern found in data source=data-monitor key=127\.0\.0\.1 count=1 .*"
        rf"{PATTERN.decode()}.*sent it to",
        r"^collector +1 sessions\n +client 127\.0\.0\.1: 0 open, 2\d\d ended, ",
        r"^ +and 2\d\d lines over a socket of the session$",
        r"^stopped +SIGTERM: ",
    ):
        assert re.search(expected, said, re.MULTILINE), f"{expected}\n{said}"


@pytest.mark.usefixtures("installed", "temporary", "small")
def test_it_runs_on_plain_asyncio() -> None:
    result = run_here("--loop", "asyncio")
    assert result.exit_code == 0, result.output
    assert re.search(r"^service +fwx serve on \S+, process \d+, asyncio$", result.output, re.MULTILINE)
    assert CHAIN in result.output


@pytest.mark.usefixtures("small")
def test_without_the_examples_and_programs_it_says_so_and_runs(
    distributions: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    distributions(".")
    only = [one for one in module.choose()[0] if one.name == "data-monitor"]
    others = tuple(one for one in FILTERS if one not in only)
    monkeypatch.setattr(module, "choose", lambda: (tuple(only), others))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    result = run_here()
    assert result.exit_code == 0, result.output
    for name in ("collector", "upper-case"):
        assert f"{name} is not installed and left out; from a checkout: pip install -e examples/{name}" in result.output
    assert "neither curl nor ncat is installed" in result.output
    assert "client -> data-monitor (fwx_dfpc_Middle) -> server" in result.output
    assert re.search(r"^alert ", result.output, re.MULTILINE)


DENY = """
[[rule]]
name = "nothing"
action = "deny"
protocols = ["any"]
from = ["any", "localhost"]
to = ["any", "localhost"]
"""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text + DENY, "the proxy answered"),
        (lambda text: text.replace("append = ", 'direction = "both", append = '), "; expected "),
        (lambda text: text.replace(PATTERN.decode(), "something else"), "expected one alert about"),
        (lambda text: re.sub(r"(?s)\[\[filter\]\]\nname = \"data-monitor\".*?\n\n", "", text), "expected result 0 and"),
        (lambda text: re.sub(r"report_to = \S+", "", text), "the collector's lines add up to (0, 0, 0)"),
        (lambda text: text + "[nonsense]\n", "did not say where it listens. It said:\n"),
    ],
)
@pytest.mark.usefixtures("installed", "temporary", "small")
def test_what_is_not_as_it_must_be_is_the_reason_of_its_failure(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str], reason: str
) -> None:
    monkeypatch.setattr(module, "configuration", lambda *arguments: change(configuration(*arguments)))
    monkeypatch.setattr("fwx.demo.checks._SECONDS", 1.0)
    result = run_here()
    assert result.exit_code == 1, result.output
    assert reason in result.output
    assert re.search(r"(It|The service) said:\n +fwx: |said:\n +Error: ", result.output), result.output


def ended_with(status: int) -> Callable[[Child], int]:
    stop = Child.stop

    def stopped(child: Child) -> int:
        stop(child)
        return status

    return stopped


@pytest.mark.parametrize(
    ("target", "stand_in", "reason"),
    [
        ("fwx.commands.demo.listens", lambda _: True, "the service left behind: 127.0.0.1:"),
        ("fwx.demo.processes.Child.stop", ended_with(3), "the service ended with status 3. It said:\n"),
    ],
)
@pytest.mark.usefixtures("installed", "temporary", "small")
def test_an_end_that_is_not_clean(monkeypatch: pytest.MonkeyPatch, target: str, stand_in: Any, reason: str) -> None:
    monkeypatch.setattr(target, stand_in)
    result = run_here()
    assert result.exit_code == 1, result.output
    assert reason in result.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("installed", "temporary")
def test_a_signal_ends_everything(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "fwx", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        assert any(line.startswith("service") for line in process.stdout)
        process.send_signal(number)
        process.stdout.read()
        assert process.wait(30) == 1
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


# The plan.


def as_installed(*names: str, error: str = "") -> list[InstalledFilter]:
    return [InstalledFilter(name, "", "", "", error, ()) for name in names]


@pytest.mark.parametrize(
    ("names", "picture"),
    [
        (("data-monitor", "upper-case", "collector", "another"), CHAIN),
        (("collector",), "client -> collector (fwx_dfpc_External) -> server"),
        ((), "client -> server"),
    ],
)
def test_the_chain_stands_in_the_order_of_the_classes(names: tuple[str, ...], picture: str) -> None:
    filters, missing = choose(as_installed(*names))
    assert chain(filters) == picture
    assert {one.name for one in (*filters, *missing)} == {one.name for one in FILTERS}


def test_a_filter_that_cannot_be_loaded_is_not_left_out_in_silence() -> None:
    with pytest.raises(DemoError, match="'collector' cannot be loaded: no module"):
        choose(as_installed("collector", error="no module"))


@pytest.mark.parametrize("filters", [IN_ORDER, IN_ORDER[1:2], ()])
def test_the_configuration_is_one(filters: tuple[DemoFilter, ...], tmp_path: Path) -> None:
    file = tmp_path / "fwx.toml"
    file.write_text(configuration(filters, ADDRESS))
    loaded = load(file)
    assert {table.name for table in loaded.filters} == {one.name for one in filters}
    assert loaded.rules == ()


# The screen.


@pytest.mark.parametrize("terminal", [True, False])
def test_the_screen(terminal: bool) -> None:
    file = io.StringIO()
    screen = Screen(Console(file=file, force_terminal=terminal, width=80, color_system=None))
    with screen.progress("downloads", 100, in_bytes=True) as advance:
        advance(100)
    with screen.progress("short", 2) as advance:
        advance(1)
    screen.say("log", "one\ntwo")
    screen.say("", "")
    shown = click.unstyle(file.getvalue())
    assert ("100/100 bytes" in shown, "1/2" in shown) == (terminal, terminal)
    assert [line.rstrip() for line in shown.splitlines()[-3:]] == ["log         one", "            two", ""]
