"""Filters that hold up others, hoard, or are exchanged while the service runs; with curl in front of it."""

from __future__ import annotations

import contextlib
import re
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fwx.interfaces.hresult import E_UNEXPECTED
from tests.integration.conftest import FILTER

LOOPS = ("uvloop", "asyncio")
SERVICE = "[service]\nblocked_loop_seconds = 0.2\n"

# It waits, on the loop thread, until the test has seen what the service says about that.
SLUGGARD = """
import pathlib, time
FLAG = pathlib.Path(__file__).with_name("go")

class Session(Session):
    def FirewallEventHandler(self, pProxyEvent):
        while not FLAG.exists():
            time.sleep(0.01)
        super().FirewallEventHandler(pProxyEvent)
"""

# It puts its version in place of what the server says, and writes down its life.
VERSION = """
import pathlib
VERSION = "{version}"

def note(what):
    with (pathlib.Path(__file__).parent / "state" / "journal").open("a") as journal:
        print(VERSION, what, file=journal)

class Data(Data):
    def inspect(self, to_server, buffer):
        data = bytes(buffer.GetBufferAndSize())
        if to_server or not data:
            return buffer
        return self.firewall.CreateConstBuffer(data.replace(b"hello", VERSION.encode()), None)

    def ended(self):
        note("detached")

class Session(Session):
    def Detach(self):
        note("session detached")
        super().Detach()

class Filter(Filter):
    class Options(sdk.FilterOptions):
        {options}

    def __init__(self, options):
        super().__init__()

    def FilterInit(self, pIFWXFirewall):
        note("init")
        return super().FilterInit(pIFWXFirewall)

    def AttachToSession(self, piSession, pFilterHookEvents):
        return Session(self.firewall)

    def FilterShutdown(self):
        note("shutdown")
        super().FilterShutdown()
"""

# It knows each connection by what it has made of the rule.
RULED = """
@sdk.implementer(sdk.IFWXPerRuleDataplugin)
class Words(sdk.Unknown):
    def __init__(self, words):
        self.words = words

    def CompareRulesData(self, pProcessedRulesData):
        return sdk.S_OK if self.words == pProcessedRulesData.words else sdk.S_FALSE

class Session(Session):
    def FirewallEventHandler(self, pProxyEvent):
        assert pProxyEvent.Parameters.Connect.PerRuleProcessedData.words == VERSION
        super().FirewallEventHandler(pProxyEvent)

@sdk.implementer(sdk.IFWXPerRuleData)
class Filter(Filter):
    def PrepareRulesData(self, pPolicyRule):
        note(f"prepares {pPolicyRule.Name}")
        return Words(VERSION)
"""

# Its calls come on threads.
BLOCKING = """
Filter = sdk.implementer(sdk.IBlocking)(Filter)
"""


def write_version(folder: Path, version: str, options: str = "pass", extra: str = "") -> None:
    """Have the next reload get this."""
    (folder / "filter_tag.py").write_text(FILTER + VERSION.format(version=version, options=options) + extra)


@pytest.fixture
def curl(program_path: Callable[[str], str]) -> Callable[..., subprocess.Popen[bytes]]:
    """Start curl without the environment's proxies."""

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        command = [program_path("curl"), "-q", "-sS", "--noproxy", "", "--max-time", "30", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    return start


def answer(client: socket.socket) -> None:
    """A web server that answers one request."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(65536)
    client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")


@pytest.fixture
def web(origin: Any) -> str:
    return "http://{}:{}/".format(*origin(answer).address)


def finish(process: subprocess.Popen[bytes]) -> bytes:
    """What curl has printed; it must have succeeded."""
    printed, complaints = process.communicate(timeout=30)
    assert process.returncode == 0, complaints
    return printed


@pytest.mark.requires("curl")
@pytest.mark.parametrize("loop", LOOPS)
def test_the_watchdog_names_the_filter(
    serve: Any, web: str, curl: Any, eventually: Callable[..., Any], loop: str
) -> None:
    firewall = serve(SERVICE, filters={"sluggard": SLUGGARD}, loop=loop)
    host, port = firewall.address()
    waiting = curl("--socks5", f"{host}:{port}", web)
    eventually(lambda: "every connection waits for filter 'sluggard'" in firewall.stderr(), "the watchdog")
    (firewall.folder / "go").touch()
    assert finish(waiting) == b"hello"
    place = re.escape(str(firewall.folder / "filter_sluggard.py"))
    eventually(lambda: "every connection waited at least" in firewall.stderr(), "the end of the incident")
    firewall.stop()
    said = firewall.stderr()
    assert re.search(rf"waits for filter 'sluggard' in FirewallEventHandler \(Session\.\S+, {place}:\d+\)", said)
    assert re.search(rf'File "{place}", line \d+, in FirewallEventHandler', said)  # the stack
    [alert] = firewall.alerts()
    assert (alert["event"], alert["key"]) == ("Filter blocks the service", "sluggard/FirewallEventHandler")
    assert re.match(r"every connection waited at least [\d.]+ s for filter 'sluggard' in", alert["message"])


# ---- memory ----------------------------------------------------------------------------------------------------------

# It posts the next Recv at once and never waits for a Send: whatever the client sends waits inside.
IMPATIENT = """
class Data(Data):
    def CompleteAsyncIO(self, success, code, buffer, user_data, address, length):
        if not success or not buffer.GetBufferSizes()[1]:
            return super().CompleteAsyncIO(success, code, buffer, user_data, address, length)
        source, sink = self._internal, self._external
        if user_data != "to server":
            source, sink = sink, source
        sink.Send(buffer, None, None)
        source.Recv(None, self, user_data)
"""
# For each buffer it makes ever more of its own.
GREEDY = """
class Data(Data):
    def inspect(self, to_server, buffer):
        while to_server and buffer.GetBufferSizes()[1]:
            self._external.Send(self.firewall.CreateConstBuffer(bytes(1 << 20), None), None, None)
        return buffer
"""


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What servers wait for; set at the end."""
    event = threading.Event()
    yield event
    event.set()


MOST = 256 << 20


def push(sock: socket.socket) -> int:
    """Send until nothing has moved for a while; return how much went."""
    sock.settimeout(0.5)
    sent, block = 0, bytes(1 << 16)
    with contextlib.suppress(TimeoutError):
        while sent < MOST:
            sent += sock.send(block)
    return sent


def test_what_a_filter_sends_ahead_holds_its_client_back(
    serve: Any, origin: Any, client: Any, released: threading.Event
) -> None:
    """The service gives a filter no more while 256 KiB that it has sent wait: the client comes to a stop, and the
    service keeps little of it."""
    firewall = serve(filters={"impatient": IMPATIENT})
    server = origin(lambda sock: released.wait(60))
    opened = [client.socks(firewall.address(), server.address) for _ in range(8)]
    before = firewall.memory()
    assert all(push(sock) < MOST for sock in opened)
    assert firewall.memory() - before < len(opened) * (2 << 20)
    released.set()


def test_a_filter_that_sends_without_end_is_ended(
    serve: Any, origin: Any, client: Any, released: threading.Event
) -> None:
    """8 MiB may wait in one direction; the call after that fails, which is the filter's fault and ends the connection.
    Others go on."""
    firewall = serve(filters={"greedy": GREEDY})
    firewall.traceback_expected = True
    before = firewall.memory()

    def speak_at_last(sock: socket.socket) -> None:
        released.wait(60)
        sock.sendall(b"still there")

    other = client.socks(firewall.address(), origin(speak_at_last).address)
    greedy = client.socks(firewall.address(), origin(lambda sock: released.wait(60)).address)
    greedy.sendall(b"x")
    row = firewall.wait_row()
    assert row["resultcode"] == int(E_UNEXPECTED)
    assert "filter 'greedy' failed in CompleteAsyncIO" in row["reason"]
    assert "WSAENOBUFS" in row["reason"]
    assert firewall.memory() - before < 24 << 20
    released.set()
    assert client.to_end(other) == b"still there"
    other.close()
    firewall.wait_rows(2)
    firewall.wait_base_line()


# ---- hot reload ------------------------------------------------------------------------------------------------------


class Reloading:
    """A service with the filter ``tag`` in its first version, and what a test does with it."""

    def __init__(self, serve: Any, curl: Any, web: str, **how: str) -> None:
        folder = serve.make_folder()
        folder.chmod(0o755)  # the account that the service becomes has to find the new code
        source = VERSION.format(version="the first", options="pass") + how.pop("extra", "")
        self.firewall = serve(filters={"tag": source}, folder=folder, **how)
        self.firewall.leaves.add("journal")
        self.folder = folder
        self._curl = curl
        self._web = web

    def fetch(self) -> bytes:
        """What a new connection brings."""
        host, port = self.firewall.address()
        return finish(self._curl("--socks5", f"{host}:{port}", self._web))

    def start(self, name: str = "tag") -> subprocess.Popen[str]:
        """Start ``fwx filters reload``."""
        return subprocess.Popen(
            [sys.executable, "-m", "fwx", "filters", "reload", name, "--config", str(self.folder / "fwx.toml")],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip

    def reload(self, name: str = "tag") -> tuple[int, str]:
        """Run ``fwx filters reload``; return its exit code and what it says."""
        process = self.start(name)
        said = process.communicate(timeout=30)[0]
        return process.returncode, said.strip()

    def journal(self) -> list[str]:
        return (self.firewall.state / "journal").read_text().splitlines()


@pytest.fixture
def reloading(serve: Any, curl: Any, web: str) -> Reloading:
    return Reloading(serve, curl, web)


@pytest.mark.requires("curl")
@pytest.mark.parametrize(("loop", "extra"), [*((loop, "") for loop in LOOPS), ("uvloop", BLOCKING)])
def test_new_connections_get_the_new_code(
    serve: Any, curl: Any, web: str, origin: Any, client: Any, eventually: Callable[..., Any], loop: str, extra: str
) -> None:
    """B1.4, B1.39: the old code finishes what it began, in the same session; then its session filter is detached and it
    is shut down; on threads as on the loop. B7.12, B7.13: either code has its own data of the rule."""
    extra = RULED + extra
    reloading = Reloading(serve, curl, web, loop=loop, extra=extra)
    assert reloading.fetch() == b"the first"
    eventually(lambda: "the first detached" in reloading.journal(), "the end of curl's connection")
    old = client.socks(reloading.firewall.address(), origin().address)
    old.sendall(b"hello")
    assert client.exactly(old, 9) == b"the first"

    write_version(reloading.folder, "the next one", extra=extra)
    said = "filter 'tag' has been reloaded; connections that finish with the old code: 1"
    assert reloading.reload() == (0, said)
    assert reloading.fetch() == b"the next one"
    old.sendall(b"hello")
    assert client.exactly(old, 9) == b"the first"
    assert "the first shutdown" not in reloading.journal()
    old.close()
    eventually(lambda: "the first shutdown" in reloading.journal(), "the old filter to be shut down")
    assert reloading.fetch() == b"the next one"
    reloading.firewall.wait_base_line()
    reloading.firewall.stop()
    assert [line for line in reloading.journal() if not line.endswith("one detached")] == [
        "the first init",
        "the first prepares Embedded default",
        "the first detached",
        "the next one init",
        "the next one prepares Embedded default",
        "the first detached",
        "the first session detached",
        "the first shutdown",
        *reloading.journal()[-2:],
    ]
    assert sorted(reloading.journal()[-2:]) == ["the next one session detached", "the next one shutdown"]
    assert not reloading.firewall.alerts()


# The module that others would import is the one that the code is in.
STRICT = """
import sys

class Session(Session):
    def FirewallEventHandler(self, pProxyEvent):
        assert vars(sys.modules[__name__]) is globals()
        super().FirewallEventHandler(pProxyEvent)
"""
BROKEN = {
    "a module that is wrong": ("pass", "\nthis is no Python\n", "importing filter_tag:Filter raised SyntaxError"),
    "a module that exits": ("pass", "\nraise SystemExit(1)\n", "importing filter_tag:Filter raised SystemExit"),
    "a module that is interrupted": ("pass", "\nraise KeyboardInterrupt\n", "raised KeyboardInterrupt"),
    "no filter": ("pass", "\nFilter = 7\n", "is 7; expected a class"),
    "an option that is missing": ("word: str", "", "word: "),
    "FilterInit": (
        "pass",
        "\nclass Filter(Filter):\n    def FilterInit(self, firewall):\n        raise ValueError('boom')\n",
        "filter 'tag' failed in FilterInit: ValueError: boom",
    ),
    "PrepareRulesData": (
        "pass",
        RULED.replace("return Words(VERSION)", "raise ValueError('bang')"),
        "filter 'tag' failed in PrepareRulesData: ValueError: bang (rule 'Embedded default')",
    ),
}


@pytest.mark.requires("curl")
def test_new_code_that_fails_leaves_the_old(serve: Any, curl: Any, web: str) -> None:
    """Whatever is wrong with it: it is said why, and connections still get the old code; nothing is half applied."""
    reloading = Reloading(serve, curl, web, extra=STRICT)
    reloading.firewall.traceback_expected = True
    for what, (options, extra, words) in BROKEN.items():
        write_version(reloading.folder, f"not good: {what}", options, extra)
        status, said = reloading.reload()
        assert status == 1, what
        assert said.startswith("Error: filter 'tag' goes on with the code that it has: "), said
        assert words in said
        assert reloading.fetch() == b"the first"
    write_version(reloading.folder, "the last one")
    assert reloading.reload()[0] == 0
    assert reloading.fetch() == b"the last one"
    assert reloading.journal().count("the first shutdown") == 1


# Its import does not end before the test says so.
HANGING = """
import time
note("importing")
while not pathlib.Path(__file__).with_name("go").exists():
    time.sleep(0.01)
"""


@pytest.mark.requires("curl")
def test_an_import_that_hangs(serve: Any, curl: Any, web: str, eventually: Callable[..., Any]) -> None:
    """It is given up, and what comes of it later is not used; clients do not notice."""
    prelude = "import fwx.filter_reload\nfwx.filter_reload.IMPORT_SECONDS = 0.3"
    reloading = Reloading(serve, curl, web, prelude=prelude)
    write_version(reloading.folder, "the slow one", extra=HANGING)
    status, said = reloading.reload()
    assert (status, said.rpartition(": ")[2]) == (1, "its modules have not been imported after 0.3 s")
    assert reloading.fetch() == b"the first"
    write_version(reloading.folder, "the last one")
    status, said = reloading.reload()
    assert (status, said.rpartition(": ")[2]) == (
        1,
        "modules that an earlier request had imported are still busy with that",
    )
    (reloading.folder / "go").touch()
    eventually(lambda: reloading.reload()[0] == 0, "the import to end")
    assert reloading.fetch() == b"the last one"
    assert "the slow one init" not in reloading.journal()


def test_a_service_stops_while_an_import_hangs(reloading: Reloading, eventually: Callable[..., Any]) -> None:
    write_version(reloading.folder, "the slow one", extra=HANGING)
    waiting = reloading.start()
    eventually(lambda: "the slow one importing" in reloading.journal(), "the import to begin")
    reloading.firewall.stop()
    assert waiting.communicate(timeout=30)[0] == "Error: the service ended before it answered\n"
    assert waiting.returncode == 1


def test_a_name_that_no_filter_has(reloading: Reloading) -> None:
    assert reloading.reload("tog") == (1, "Error: the service has no filter 'tog'; did you mean 'tag'?")


def test_nobody_else_gets_at_the_control_socket(reloading: Reloading) -> None:
    control = reloading.firewall.state / "control"
    assert stat.S_IMODE(control.stat().st_mode) == 0o600
    assert control.stat().st_uid == reloading.firewall.state.stat().st_uid
    reloading.firewall.stop()
    assert reloading.reload() == (1, f"Error: no service runs with the state folder {reloading.firewall.state}")


def test_one_state_folder_is_for_one_service(reloading: Reloading, serve: Any) -> None:
    _folder, status, said = serve.refused(f'[service]\nstate_dir = "{reloading.firewall.state}"\n')
    assert status == 1
    assert f"another service runs with the state folder {reloading.firewall.state}" in said


def test_what_a_service_left_behind_is_no_obstacle(reloading: Reloading, serve: Any) -> None:
    """It was killed, so its socket is still there; nobody answers."""
    reloading.firewall.discard()
    assert (reloading.firewall.state / "control").is_socket()
    again = serve(folder=reloading.folder)
    assert reloading.reload("x")[1] == "Error: the service has no filter 'x'; there are none"
    again.leaves |= {"journal"}
    again.stop()
