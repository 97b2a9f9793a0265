"""The parts of ``fwx demo``: its text, its clients, its checks and its processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fwx.demo import DemoError
from fwx.demo.checks import collector_report, connection_rows, pattern_alerts
from fwx.demo.clients import Reader, programs, through_connect, through_socks5
from fwx.demo.plan import FILTERS
from fwx.demo.processes import Child, LineSink, listens, poll
from fwx.demo.text import blocks, in_upper_case
from fwx.demo.traffic import PATTERN, Answer, Job, check, run_all
from fwx.firewall_log import FirewallLog
from fwx.impl.alert import Alert, Severity
from fwx.impl.logrecord import Action, LogRecord
from fwx.interfaces import SocketAddress

IN_ORDER = tuple(sorted(FILTERS, key=lambda one: one.priority))
ADDRESS = SocketAddress("192.0.2.1", 1234)


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
        listening.settimeout(60)
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
