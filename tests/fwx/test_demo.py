"""``fwx demo``: it does what it says, leaves nothing behind, and fails when anything is not as it must be."""

from __future__ import annotations

import configparser
import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
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
from fwx.demo.checks import collector_report, connection_rows, pattern_alerts
from fwx.demo.clients import Reader, programs, through_connect, through_socks5
from fwx.demo.plan import FILTERS, DemoFilter, chain, choose, configuration
from fwx.demo.processes import Child, LineSink, listens, poll
from fwx.demo.screen import Screen
from fwx.demo.text import blocks, in_upper_case
from fwx.demo.traffic import PATTERN, Answer, Job, check, run_all
from fwx.filter_loader import InstalledFilter
from fwx.firewall_log import FirewallLog
from fwx.impl.alert import Alert, Severity
from fwx.impl.logrecord import Action, LogRecord
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


# Text, clients and traffic.


@pytest.mark.parametrize("size", [0, 1, 100, 50_000])
def test_a_text_has_its_size_and_differs_from_the_next(size: int) -> None:
    text = b"".join(blocks(1, size))
    assert len(text) == size
    assert text == b"".join(blocks(1, size))
    assert size < 10 or text != b"".join(blocks(2, size))


def test_upper_case_of_a_cut_text() -> None:
    assert b"".join(in_upper_case(["ﬁn ".encode(), "ß".encode()[:1]], b"end")) == b"FIN \xc3end"


@pytest.mark.parametrize(
    ("pieces", "outcome"),
    [
        ([b"HTTP/1.0 200 OK\r\n\r\nbody"], b"body"),
        ([b"HTTP/1.0 200 OK\r\nA: b\r", b"\n\r", b"\nbo", b"dy"], b"bo"),
        ([b"HTTP/1.0 404 NO\r\n\r\n"], "the origin answered b'HTTP/1.0 404 NO'"),
        ([b"HTTP/1.0 200 OK\r\n"], "ended before the answer's body"),
        ([b"x" * 70_000], "head has no end"),
    ],
)
def test_an_answer(pieces: list[bytes], outcome: bytes | str) -> None:
    reader = Reader()

    def read() -> Answer:
        for piece in pieces:
            reader.feed(piece)
        return reader.answer()

    if isinstance(outcome, bytes):
        assert read().beginning == outcome
    else:
        with pytest.raises(DemoError, match=re.escape(outcome)):
            read()


@contextlib.contextmanager
def saying(reply: bytes) -> Iterator[SocketAddress]:
    """A server that sends *reply* to one client, whatever that says."""

    def serve() -> None:
        client, _ = listening.accept()
        with client:
            client.sendall(reply)
            client.shutdown(socket.SHUT_WR)
            while client.recv(1 << 16):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        thread = threading.Thread(target=serve)
        thread.start()
        yield SocketAddress.from_sockaddr(listening.getsockname())
        thread.join()


@pytest.mark.parametrize(
    ("connect", "reply", "message"),
    [
        (through_socks5, b"\x05\xff", r"answered b'\\x05\\xff'"),
        (through_socks5, b"\x05\x00\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00", "expected 10 bytes"),
        (through_socks5, b"", "answered b''"),
        (through_connect, b"HTTP/1.1 403 Forbidden\r\n\r\n", "403 Forbidden"),
        (through_connect, b"HTTP/1.1 200", "answered CONNECT with b'HTTP/1.1 200'"),
    ],
)
def test_a_proxy_that_refuses(connect: Callable[..., Any], reply: bytes, message: str) -> None:
    with saying(reply) as proxy, pytest.raises(DemoError, match=message):
        connect(proxy, SocketAddress("127.0.0.1", 1))


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'cannot connect' >&2; exit 7", "exit status 7: cannot connect"),
        ("exec sleep 60", "did not end within 0.5 s"),
    ],
)
def test_a_program_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str) -> None:
    (tmp_path / "curl").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "curl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("fwx.demo.clients.SECONDS", 0.5)
    with pytest.raises(DemoError, match=message):
        programs()["curl over SOCKS5"](ADDRESS, ADDRESS, "/")


def job(sent: Sequence[bytes] = (b"abc",), error: Exception | None = None) -> Job:
    def run(advance: Callable[[int], None]) -> Answer:
        if error is not None:
            raise error
        advance(7)
        return Answer(3, "", b"abc")

    return Job("the job", run, lambda: sent)


def test_all_jobs_run_and_tell() -> None:
    moved: list[int] = []
    done: list[int] = []
    assert len(run_all([job()] * 20, moved.append, done.append)) == 20
    assert (moved, done) == ([7] * 20, [1] * 20)


@pytest.mark.parametrize("error", [DemoError("no good"), ConnectionResetError("no good")])
def test_a_job_that_fails_is_named(error: Exception) -> None:
    with pytest.raises(DemoError, match=r"^the job: no good$"):
        run_all([job(), job(error=error)], lambda _: None, lambda _: None)


@pytest.mark.parametrize(
    ("answer", "appended", "good"),
    [
        (b"abc", None, True),
        (b"ABC!", b"!", True),
        (b"abC", None, False),
        (b"abc", b"!", False),
        (b"ABC", b"!", False),
    ],
)
def test_every_byte_counts(answer: bytes, appended: bytes | None, good: bool) -> None:
    reader = Reader(head=False)
    reader.feed(answer)
    with contextlib.nullcontext() if good else pytest.raises(DemoError, match=r"^the job: .* expected [34] bytes"):
        check(job(), reader.answer(), appended)


# What the log and the collector say.


NAMES = "upper-case, data-monitor, collector"


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a log of records and alerts, and let the checks wait for nothing."""
    monkeypatch.setattr("fwx.demo.checks._SECONDS", 0.0)

    def write(*items: LogRecord | Alert) -> Path:
        log = FirewallLog(tmp_path / "firewall.db")
        log.open()
        for item in items:
            log.write(item) if isinstance(item, LogRecord) else log.write_alert(item)
        assert log.close(10) == 0
        return log.path

    return write


def record(**changes: Any) -> LogRecord:
    values = {"interface": "proxy", "filters": NAMES, "bytes_sent": 10, "bytes_received": 20, **changes}
    return LogRecord(time=1.0, action=Action.Terminate, **values)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([record()], "the log has 1 records of connections; 2 were made"),
        ([record(), record(interface="")], "the log has 1 records"),
        ([record()] * 3, "the log has 3 records"),
        ([record(), record(resultcode=0x80072746)], "result 0x80072746"),
        ([record(), record(filters="data-monitor, upper-case, collector")], "filters 'data-monitor, upper-case"),
    ],
)
def test_the_log_has_to_agree(database: Callable[..., Path], records: list[LogRecord], message: str) -> None:
    with pytest.raises(DemoError, match=re.escape(message)):
        connection_rows(database(*records), 2, IN_ORDER)


def test_a_log_that_agrees(database: Callable[..., Path]) -> None:
    assert len(connection_rows(database(record(), record(), record(interface="")), 2, IN_ORDER)) == 2


def alert(message: str) -> Alert:
    return Alert(1.0, "Pattern found in data", Severity.WARNING, "data-monitor", "", message)


@pytest.mark.parametrize("messages", [[], ["of something else"], [PATTERN.decode(), PATTERN.decode()]])
def test_one_alert_has_to_be_there(database: Callable[..., Path], messages: list[str]) -> None:
    with pytest.raises(DemoError, match="expected one alert"):
        pattern_alerts(database(*map(alert, messages)))


@pytest.mark.parametrize(
    ("report", "line", "message"),
    [
        ("client ::1: 0 open, 1 ended, 10 bytes to servers, 20 bytes to clients\n", {}, None),
        ("client ::1: 1 open, 1 ended, 10 bytes to servers, 20 bytes to clients\n", {}, "the collector reports"),
        ("client ::1: 0 open, 1 ended, 11 bytes to servers, 20 bytes to clients\n", {}, "the collector reports"),
        ("", {}, "the collector reports"),
        ("client ::1: 0 open, 1 ended, 10 bytes to servers, 20 bytes to clients\n", {"to_client": 21}, "add up to"),
    ],
)
def test_the_collector_has_to_agree(
    database: Callable[..., Path], report: str, line: dict[str, int], message: str | None
) -> None:
    rows = connection_rows(database(record()), 1, IN_ORDER)
    with LineSink() as sink, saying(report.encode()) as address:
        sink.take(json.dumps({"to_server": 10, "to_client": 20, **line}).encode())
        with contextlib.nullcontext() if message is None else pytest.raises(DemoError, match=message):
            assert collector_report(address, sink, rows) == (report, 1)


# Processes and ends.


def test_a_process_that_ends_at_once_is_quoted() -> None:
    with Child("fwx", ("no-such-command",), "stderr") as child, pytest.raises(DemoError, match="No such command"):
        child.address("listens on (.*)")


def test_lines_come_from_every_connection_even_one_that_is_reset() -> None:
    with LineSink() as sink:
        for count in (1, 2):
            with socket.create_connection(sink.address.sockaddr) as connection:
                connection.sendall(b"line\n")
                assert sink.wait(count, 10) == [b"line\n"] * count
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        assert listens(sink.address)
    assert not listens(sink.address)


def test_polling_ends() -> None:
    answers = iter([False, True])
    assert poll(lambda: next(answers), 10)
    assert not poll(lambda: False, 0)


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
