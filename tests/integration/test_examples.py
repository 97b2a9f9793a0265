"""The example distributions: what they filter, what they report over sockets of the firewall, what they install."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import random
import re
import shutil
import socket
import ssl
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trustme
from hypothesis import example, given
from hypothesis import strategies as st

import fwx
from fwx.config_source import Source
from fwx.filter_loader import load_filter_class, option_problems
from fwx.impl.logrecord import Action

TOP = Path(fwx.__file__).parent.parent
PACKAGES = {"upper-case": "fwx_upper_case", "collector": "fwx_collector"}
PATH = [str(TOP / "examples" / folder) for folder in PACKAGES]

UPPER_CASE = """
[[filter]]
name = "upper-case"
use = "fwx_upper_case:UpperCase"
everywhere = true
options = {{ {} }}
"""
COLLECTOR = """
[[filter]]
name = "collector"
use = "fwx_collector:Collector"
everywhere = true
options = {{ {} }}
"""


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in PATH:
        monkeypatch.syspath_prepend(folder)


@pytest.fixture
def run(serve: Any) -> Callable[[str], Any]:
    """Start a service that can import the examples."""
    return lambda config: serve(config, env={"PYTHONPATH": os.pathsep.join([str(TOP), *PATH])})


@pytest.fixture
def ask(client: Any) -> Callable[..., bytes]:
    """Send *pieces* through the proxy, half-close, and return the whole answer."""

    def exchange(firewall: Any, target: tuple[str, int], *pieces: bytes) -> bytes:
        with client.socks(firewall.address(), target) as opened:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                opened.sendall(piece)
            opened.shutdown(socket.SHUT_WR)
            answer: bytes = client.to_end(opened)
            return answer

    return exchange


# upper-case.


@pytest.fixture(scope="module")
def upper_case() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(PATH[0])
        yield importlib.import_module("fwx_upper_case.upper_case")


def in_upper_case(data: bytes) -> bytes:
    return data.decode(errors="surrogateescape").upper().encode(errors="surrogateescape")


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([b"plain"], [b"PLAIN", b""]),
        (["ﬁ".encode()], [b"FI", b""]),
        (["ŉ".encode()], [b"\xca\xbcN", b""]),
        ([b"stra\xc3", b"\x9fe"], [b"STRA", b"SSE", b""]),
        ([b"\xef", b"\xac", b"\x81x"], [b"", b"", b"FIX", b""]),
        ([b"cut \xc3"], [b"CUT ", b"\xc3"]),
        ([b"no letter \xff\x80 at all"], [b"NO LETTER \xff\x80 AT ALL", b""]),
        ([b"\xc3", b"x"], [b"", b"\xc3X", b""]),
    ],
)
def test_a_letter_is_put_together_first(upper_case: ModuleType, pieces: list[bytes], said: list[bytes]) -> None:
    text = upper_case.UpperCaseText()
    assert [*(text.feed(memoryview(piece)) for piece in pieces), text.feed(b"", final=True)] == said


@given(
    data=st.one_of(st.binary(max_size=40), st.text(max_size=20).map(lambda text: text.encode(errors="replace"))),
    cuts=st.lists(st.integers(0, 40), max_size=8),
)
@example(data="oﬃce ŉ ΐ".encode(), cuts=list(range(16)))
def test_no_split_changes_the_text(upper_case: ModuleType, data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    text = upper_case.UpperCaseText()
    said = [text.feed(data[start:stop]) for start, stop in itertools.pairwise(edges)]
    assert b"".join(said) + text.feed(b"", final=True) == in_upper_case(data)


SENT = "Straße, ﬁn".encode()
CHANGED = b"STRASSE, FIN"


@pytest.mark.parametrize(
    ("options", "server_got", "client_got"),
    [
        ("", SENT, CHANGED),
        ('append = "done\\n"', SENT, CHANGED + b"done\n"),
        ('direction = "to client"', SENT, CHANGED),
        ('direction = "to server", append = " done"', CHANGED + b" done", CHANGED + b" done"),
        ('direction = "both", append = "d"', CHANGED + b"d", CHANGED + b"Dd"),
    ],
)
def test_the_direction_and_the_end(
    run: Any, ask: Any, client: Any, origin: Any, options: str, server_got: bytes, client_got: bytes
) -> None:
    got = []

    def answer(connection: socket.socket) -> None:
        got.append(client.to_end(connection))
        connection.sendall(got[0])

    firewall, server = run(UPPER_CASE.format(options)), origin(answer)
    assert ask(firewall, server.address, SENT[:5], SENT[5:]) == client_got
    assert got == [server_got]
    row = firewall.wait_row(Interface="proxy")
    assert (row["filters"], row["resultcode"]) == ("upper-case", 0)
    # The log counts what the server's side carried.
    assert (row["bytessent"], row["bytesrecvd"]) == (len(server_got), len(server_got))


def test_a_long_text_of_letters_that_grow_and_shrink(run: Any, ask: Any, origin: Any) -> None:
    letters = random.Random(3).choices("aßﬁﬃŉΐ\n", k=700_000)
    text = "".join(letters).encode()
    firewall, server = run(UPPER_CASE.format("")), origin(lambda connection: connection.sendall(text))
    assert ask(firewall, server.address) == in_upper_case(text)


# collector.


def report_address(firewall: Any) -> tuple[str, int]:
    found = re.search(r"the collector's report is on (.+):(\d+)$", firewall.stderr(), re.MULTILINE)
    assert found is not None, firewall.stderr()
    return found[1], int(found[2])


@pytest.fixture
def report(client: Any) -> Callable[[Any], str]:
    def read(firewall: Any) -> str:
        text: bytes = client.to_end(client.connect(report_address(firewall)))
        return text.decode()

    return read


@pytest.fixture
def sink() -> Iterator[socket.socket]:
    """A socket that the sessions' lines may go to."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        yield listening


def text_of(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"


def reporting_to(sink: socket.socket) -> str:
    return COLLECTOR.format(f'report_to = "{text_of(sink.getsockname())}"')


def test_the_report_counts_connections_and_bytes(run: Any, ask: Any, origin: Any, client: Any, report: Any) -> None:
    firewall, server = run(COLLECTOR.format("")), origin("answer_at_end")
    assert report(firewall) == "0 sessions\n"
    assert ask(firewall, server.address, b"x" * 1000) == b"1000 bytes"
    assert ask(firewall, server.address, b"x" * 10) == b"10 bytes"
    firewall.wait_rows(2, Interface="proxy")
    summary = "client 127.0.0.1: {}, 1010 bytes to servers, 18 bytes to clients"
    assert report(firewall) == f"1 sessions\n{summary.format('0 open, 2 ended')}\n"
    with client.socks(firewall.address(), server.address):
        assert summary.format("1 open, 2 ended") in report(firewall)


@pytest.mark.path(entry="session-socket", exit="direct", transport="tcp")
def test_a_line_for_each_connection_comes_over_one_socket_of_the_session(
    run: Any, ask: Any, origin: Any, sink: socket.socket
) -> None:
    firewall, server = run(reporting_to(sink)), origin("answer_at_end")
    for count in (3, 0):
        ask(firewall, server.address, b"x" * count)
    connection, _ = sink.accept()
    with connection, connection.makefile() as lines:
        told = [json.loads(lines.readline()) for _ in range(2)]
    assert told == [
        {"client": "127.0.0.1", "target": text_of(server.address), "to_server": count, "to_client": 7}
        for count in (3, 0)
    ]


def test_nobody_at_report_to_costs_the_lines_alone(
    run: Any, ask: Any, origin: Any, sink: socket.socket, report: Any
) -> None:
    sink.close()
    firewall, server = run(COLLECTOR.format('report_to = "127.0.0.1:1"')), origin("answer_at_end")
    for _ in range(2):
        assert ask(firewall, server.address, b"x") == b"1 bytes"
    firewall.wait_rows(2, Interface="proxy")
    assert firewall.stderr().count("no more lines to 127.0.0.1:1 about client 127.0.0.1: error 10061") == 1
    assert "2 ended" in report(firewall)


def test_a_peer_that_closes_gets_no_more_lines(
    run: Any, ask: Any, origin: Any, eventually: Any, sink: socket.socket
) -> None:
    firewall, server = run(reporting_to(sink)), origin("answer_at_end")
    assert ask(firewall, server.address, b"x") == b"1 bytes"
    sink.accept()[0].close()
    eventually(lambda: "about client 127.0.0.1" in firewall.stderr(), "the collector to notice")
    assert ask(firewall, server.address, b"xx") == b"2 bytes"
    firewall.wait_rows(2, Interface="proxy")
    assert firewall.stderr().count("no more lines to") == 1


def test_a_sessions_socket_obeys_the_policy_and_the_firewalls_own_does_not(
    run: Any, ask: Any, origin: Any, sink: socket.socket, report: Any
) -> None:
    server = origin("answer_at_end")
    rule = f"""
[[protocol]]
name = "origin"
ports = [{{ transport = "tcp", direction = "outbound", first = {server.port} }}]

[[rule]]
name = "the origin alone"
action = "allow"
protocols = ["origin"]
from = ["localhost"]
to = ["localhost"]
"""
    firewall = run(reporting_to(sink) + rule)
    assert ask(firewall, server.address, b"x") == b"1 bytes"
    assert "FWX_E_POLICY_RULES_DENIED" in firewall.stderr()
    denied = firewall.wait_row(Action=int(Action.Denied))
    assert denied["DestinationPort"] == sink.getsockname()[1]
    firewall.wait_row(Interface="proxy")
    assert "1 ended" in report(firewall)


def test_the_end_of_the_service_tells_of_the_open_connections_and_closes_everything(
    run: Any, origin: Any, client: Any, eventually: Any, sink: socket.socket
) -> None:
    firewall, server = run(reporting_to(sink)), origin("echo")
    address = report_address(firewall)
    opened = client.socks(firewall.address(), server.address)
    opened.sendall(b"ping")
    assert client.exactly(opened, 4) == b"ping"
    connection, _ = sink.accept()
    firewall.tell()
    eventually(lambda: "waiting up to" in firewall.stderr(), "the service to drain")
    firewall.tell()
    with connection, connection.makefile() as lines:
        line = json.loads(lines.readline())
        assert (line["to_server"], line["to_client"]) == (4, 4)
    firewall.wait_stopped()
    with pytest.raises(ConnectionRefusedError):
        client.connect(address)


def test_a_port_that_is_taken_makes_the_filter_failed_and_denies(
    run: Any, origin: Any, client: Any, sink: socket.socket
) -> None:
    firewall = run(COLLECTOR.format(f'listen = "{text_of(sink.getsockname())}"'))
    firewall.traceback_expected = True
    assert client.socks_code(firewall.address(), origin("echo").address) != 0
    assert "filter 'collector' failed in FilterInit" in firewall.stderr()
    assert "WSAEADDRINUSE" in firewall.wait_row(Interface="proxy")["reason"]


# The distributions.


@pytest.mark.parametrize(
    ("use", "options", "problem"),
    [
        ("fwx_upper_case:UpperCase", {"direction": "sideways"}, "direction"),
        ("fwx_upper_case:UpperCase", {"append": 1}, "append"),
        ("fwx_upper_case:UpperCase", {"apend": "x"}, "apend"),
        ("fwx_collector:Collector", {"listen": "127.0.0.1"}, "listen"),
        ("fwx_collector:Collector", {"listen": "localhost:0"}, "listen"),
        ("fwx_collector:Collector", {"report_to": "nowhere"}, "report_to"),
        ("fwx_collector:Collector", {"report_to": "192.0.2.1:70000"}, "report_to"),
    ],
)
@pytest.mark.usefixtures("importable")
def test_a_bad_option_is_named(use: str, options: dict[str, Any], problem: str) -> None:
    (found,) = option_problems(load_filter_class(use), options, Source(data=options))
    assert found.key == problem


@pytest.mark.network
@pytest.mark.timeout(300)
@pytest.mark.parametrize("folder", PACKAGES)
def test_the_wheel_holds_one_package_and_its_entry_point(folder: str, tmp_path: Path) -> None:
    tree = tmp_path / folder
    left_out = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    shutil.copytree(TOP / "examples" / folder, tree, ignore=left_out)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(tree)]
    subprocess.run(command, check=True, timeout=280)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = next(archive.read(name).decode() for name in names if name.endswith("/entry_points.txt"))
    packages = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert packages == {PACKAGES[folder]}
    assert f"{PACKAGES[folder]}/py.typed" in names
    assert re.search(rf"^{folder} = {PACKAGES[folder]}:\w+$", entry_points, re.MULTILINE)


# only-tls, which was written from the docs alone.

ONLY_TLS = """
[[filter]]
name = "only TLS"
use = "only_tls:OnlyTls"
everywhere = true
"""


@pytest.mark.requires("curl")
@pytest.mark.path(entry="http-connect", exit="direct", transport="tcp")
def test_nothing_but_tls_passes(
    serve: Any, origin: Any, client: Any, program_path: Callable[[str], str], tmp_path: Path
) -> None:
    """curl with https gets its answer; curl with http, and whoever waits for the server to speak, gets nothing."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def answer(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as secure:
            secure.recv(65536)
            secure.sendall(b"HTTP/1.0 200 OK\r\n\r\nin secret")

    def ssh(sock: socket.socket) -> None:
        sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        client.to_end(sock)

    path = os.pathsep.join((str(TOP), str(TOP / "examples")))
    firewall = serve(ONLY_TLS, env={"PYTHONPATH": path})
    host, port = firewall.address()
    command = [program_path("curl"), "-q", "-sS", "--noproxy", "", "-p", "-x", f"http://{host}:{port}"]
    command += ["--cacert", str(tmp_path / "authority.pem"), "--max-time", "30"]

    secure = "https://{}:{}/".format(*origin(answer).address)
    assert subprocess.run([*command, secure], capture_output=True, check=True, timeout=60).stdout == b"in secret"
    plain = origin(ssh).address
    refused = subprocess.run([*command, "http://{}:{}/".format(*plain)], capture_output=True, check=False, timeout=60)
    assert (refused.returncode, refused.stdout) == (56, b""), refused.stderr
    row = firewall.wait_row(filters="only TLS", DestinationPort=plain[1])
    assert row["reason"] == "the client does not speak TLS"
    firewall.wait_base_line()
