"""A service whose configuration changes while clients are connected."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from fwx.cli import main
from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import FWX_E_POLICY_CONNECTION_CLOSED
from tests.integration.proxies import free_port

RULE = """
[[rule]]
name = "{name}"
action = "allow"
protocols = ["any"]
from = ["{source}"]
to = ["localhost"]
filters = {filters}
"""
NETWORKS = """
[[network]]
name = "staff"
ranges = ["127.0.0.10"]

[[network]]
name = "guests"
ranges = ["127.0.0.20"]

[[network]]
name = "office"
ranges = ["127.0.0.1"]
"""
LISTENERS = """
[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:0"
"""
PUBLISHED = """
[[listener]]
name = "www"
kind = "publish"
bind = "127.0.0.1:{port}"
to = "{to}"
"""
MARK = """
[[filter]]
name = "mark"
use = "filter_mark:Filter"
options = {{ text = "{text}" }}
"""
# Says by a file what happens to it, and puts its text before what the server sends first.
MARK_FILTER = """
import os

class Options(sdk.FilterOptions):
    text: str

def note(*words):
    with open("marks", "a") as file:
        print(*words, file=file)

class Data(sdk.AsyncDataFilter):
    def __init__(self, text):
        super().__init__()
        self.text = text

    async def run(self, internal, external, connection, context):
        await sdk.together(sdk.pump(internal, external), self.mark(external, internal))

    async def mark(self, source, sink):
        await sink.send(self.text.encode())
        async for buffer in source:
            await sink.send(buffer)
        sink.shutdown()

@sdk.implementer(sdk.IFWXSessionFilter)
class Session(sdk.Unknown):
    def __init__(self, text):
        self.text = text

    def FirewallEventHandler(self, pProxyEvent):
        note(self.text, "sees one")
        connect = pProxyEvent.Parameters.Connect
        assert connect.PerRuleProcessedData.name == sdk.IRecorded(connect.piConnection).rule
        connect.piConnection.AttachDataFilter(Data(self.text), sdk.fwx_dfpc_Middle, None)

    def Detach(self):
        pass

@sdk.implementer(sdk.IFWXPerRuleDataplugin)
class Rule(sdk.Unknown):
    def __init__(self, name):
        self.name = name

    def CompareRulesData(self, pProcessedRulesData):
        return sdk.S_OK if pProcessedRulesData.name == self.name else sdk.S_FALSE

@sdk.implementer(sdk.IFWXFilter, sdk.IFWXPerRuleData, sdk.IFWXPolicyChangeNotification)
class Filter(sdk.Unknown):
    Options = Options

    def __init__(self, options):
        self.text = options.text

    def FilterInit(self, pIFWXFirewall):
        note(self.text, "begins")
        if self.text == "bad":
            raise RuntimeError("this text is bad")
        return sdk.FwxFilterHookEvents(sdk.fwx_Connect_Tcp | sdk.FWX_ALL_SOURCES)

    def AttachToSession(self, piSession, pFilterHookEvents):
        return Session(self.text)

    def FilterShutdown(self):
        note(self.text, "ends")

    def PrepareRulesData(self, pPolicyRule):
        note(self.text, "prepares", pPolicyRule.Name)
        if pPolicyRule.Name == "odd":
            raise ValueError("an odd rule")
        return Rule(pPolicyRule.Name)

    def ReloadConfiguration(self):
        note(self.text, "reloads")
        if self.text == "two":
            raise OSError("no such file: words")
"""


def rule(name: str, source: str = "", *filters: str) -> str:
    return RULE.format(name=name, source=source or name, filters=json.dumps(filters))


class Operator:
    """Somebody with the command line."""

    def __init__(self, firewall: Any) -> None:
        self.file = firewall.folder / "fwx.toml"

    def run(self, *arguments: str, fails: bool = False) -> str:
        result = CliRunner().invoke(main, [*arguments], catch_exceptions=False)
        assert result.exit_code == fails, result.output
        return result.output

    def apply(self, text: str, *options: str, fails: bool = False) -> str:
        self.file.write_text(text)
        return self.run("apply", str(self.file), *options, fails=fails)

    def refused(self, text: str) -> str:
        """Apply what cannot be used; the file is then what it was."""
        before = self.file.read_text()
        try:
            return self.apply(text, "--config", str(self.file), fails=True)
        finally:
            self.file.write_text(before)

    def history(self) -> Any:
        return json.loads(self.run("history", "--config", str(self.file), "--json"))

    @property
    def version(self) -> int:
        number: int = self.history()["running"]["version"]
        return number


def web_server(opened: socket.socket) -> None:
    """Answer requests without a body."""
    while opened.recv(65536):
        opened.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def requested(opened: socket.socket, target: tuple[str, int]) -> int:
    """Return the status of a request in plain HTTP on a connection that is kept."""
    host = f"{target[0]}:{target[1]}"
    opened.sendall(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += opened.recv(65536)
    return int(head.split()[1])


@pytest.fixture
def served(serve: Any) -> Callable[..., tuple[Any, Operator]]:
    def start(text: str, **options: Any) -> tuple[Any, Operator]:
        folder = serve.make_folder()
        folder.chmod(0o777)  # the filter notes what happens to it there
        firewall = serve(text, folder=folder, **options)
        return firewall, Operator(firewall)

    return start


@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
@pytest.mark.path(entry="publish", exit="direct", transport="tcp")
def test_what_a_change_leaves_alone_and_what_it_ends(served: Any, origin: Any, client: Any, eventually: Any) -> None:
    """B7.18: all existing connections are checked, those no longer allowed end, and the log says so; B7.19, B7.20."""
    first, second = origin(), origin(lambda opened: opened.sendall(b"second"))
    port = free_port()
    www = PUBLISHED.format(port=port, to=f"127.0.0.1:{first.port}")
    before = LISTENERS + www + NETWORKS + rule("staff") + rule("guests") + rule("www", "office")
    firewall, operator = served(before)
    proxy = firewall.address()
    staff = client.socks(proxy, first.address, "127.0.0.10")
    guest = client.socks(proxy, first.address, "127.0.0.20")
    published = client.connect(("127.0.0.1", port))
    for opened in (staff, guest, published):
        opened.sendall(b"before")
        assert client.exactly(opened, 6) == b"before"
    web = origin(web_server)
    browser = client.connect(proxy, "127.0.0.20")
    assert requested(browser, web.address) == 200
    # The published server is another one, by another name of its listener; guests have gone; the port stays open.
    www = PUBLISHED.format(port=port, to=f"127.0.0.1:{second.port}").replace('"www"', '"shop"')
    after = LISTENERS + www + NETWORKS + rule("staff") + rule("www", "office")

    told = json.loads(operator.apply(after, "--dry-run", "--json"))
    assert [(each["connection"], each["rule"]) for each in told["ends"]] == [(2, "guests"), (4, "guests")]
    assert told["ends"][0]["reason"].startswith("no rule allows ")
    assert operator.version == 1
    assert {(each["kind"], each["name"], each["what"]) for each in told["differences"]} == {
        ("listener", "www", "removed"),
        ("listener", "shop", "added"),
        ("rule", "guests", "removed"),
    }

    assert operator.apply(after).endswith("version 2 is in force; connections ended: 2\n")
    with pytest.raises(ConnectionResetError):
        guest.recv(1)
    row = firewall.wait_row(rule="guests", DestinationPort=first.port)
    assert (row["Action"], row["resultcode"]) == (Action.Terminate, int(FWX_E_POLICY_CONNECTION_CLOSED))
    assert requested(browser, web.address) == 403  # B7.20: at its next traffic
    for opened in (staff, published):
        opened.sendall(b"after")
        assert client.exactly(opened, 5) == b"after"
    assert client.to_end(client.connect(("127.0.0.1", port))) == b"second"
    assert client.socks_code(proxy, first.address, "127.0.0.20") == 2

    # A listener that is removed closes its port; its connections are allowed, and go on.
    operator.apply(LISTENERS + NETWORKS + rule("staff") + rule("www", "office"))
    with pytest.raises(ConnectionRefusedError):
        client.connect(("127.0.0.1", port))
    published.sendall(b"still")
    assert client.exactly(published, 5) == b"still"

    # Back to the first version, whose relative paths mean what they meant; then forward again.
    assert "version 4 is in force" in operator.run("rollback", "1", "--config", str(operator.file))
    assert client.connect(("127.0.0.1", port)) is not None
    assert client.socks_code(proxy, first.address, "127.0.0.20") == 0
    history = operator.history()
    assert [(each["number"], each["how"], each["of"], each["uid"]) for each in history["versions"]] == [
        (1, "start", 0, os.getuid()),
        (2, "apply", 0, os.getuid()),
        (3, "apply", 0, os.getuid()),
        (4, "rollback", 1, os.getuid()),
    ]
    assert (history["running"]["version"], history["file"]["differs"]) == (4, True)
    assert operator.run("history", "--config", str(operator.file), "show", "2") == after
    kept = firewall.state / "history"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in kept.iterdir()} == {0o600}
    assert len(list(kept.iterdir())) == 4

    # Everybody goes where every rule does.
    operator.apply(LISTENERS + rule("nobody", "external"))
    for opened in (staff, published):
        with pytest.raises(ConnectionResetError):
            opened.recv(1)
    eventually(lambda: client.socks_code(proxy, first.address, "127.0.0.10") == 2, "nobody to be let in")


@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
def test_filters_that_stay_go_and_come(served: Any, origin: Any, client: Any, eventually: Any) -> None:
    """B1.4, B1.39: what is unchanged is not touched, what goes finishes its connections, what fails changes nothing.

    B7.12, B7.15: each filter makes its data of the new rules before, and is told afterwards; who applies hears of it.
    B7.21, B7.22: filters are not asked again about what they have let pass; who wants that ended does it by hand.
    """
    server = origin()

    def text(*words: str) -> str:
        tables = "".join(MARK.format(text=word) for word in words)
        return LISTENERS + tables + rule("all", "localhost", *(["mark"] if words else []))

    firewall, operator = served(text("one"), filters={"mark": MARK_FILTER})
    firewall.traceback_expected = True
    marks = firewall.folder / "marks"
    heard = [0]

    def new_marks() -> list[str]:
        lines = marks.read_text().splitlines()
        heard[0], before = len(lines), heard[0]
        return lines[before:]

    def said(opened: Any, expected: bytes) -> None:
        opened.sendall(b".")
        assert client.exactly(opened, len(expected)) == expected

    first = client.socks(firewall.address(), server.address)
    said(first, b"one.")
    assert new_marks() == ["one begins", "one prepares all", "one sees one"]
    # No filter is asked again about what it has let pass (B7.21).
    operator.apply(text("one") + NETWORKS)
    assert new_marks() == ["one prepares all", "one reloads"]
    odd = operator.refused(text("one") + rule("odd", "localhost"))
    assert (
        "fwx.toml:9: filter.use: filter 'mark' failed in PrepareRulesData: ValueError: an odd rule (rule 'odd')" in odd
    )
    assert new_marks() == ["one prepares all", "one prepares odd"]
    output = operator.refused(text("bad"))
    assert "fwx.toml:9: filter.use: filter 'mark' failed in FilterInit: RuntimeError: this text is bad" in output
    assert operator.version == 2
    assert new_marks() == ["bad begins"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        operator.refused(text("three") + PUBLISHED.format(port=taken.getsockname()[1], to="10.0.0.1:1"))
    assert new_marks() == ["three begins", "three prepares all", "one prepares all", "three ends"]
    assert "filter 'mark' failed in ReloadConfiguration: OSError: no such file: words" in operator.apply(text("two"))
    second = client.socks(firewall.address(), server.address)
    said(second, b"two.")
    said(first, b".")
    assert new_marks() == [
        "two begins",
        "two prepares all",
        "one prepares all",
        "two reloads",
        "one reloads",
        "two sees one",
    ]
    operator.apply(text())
    said(client.socks(firewall.address(), server.address), b".")
    first.close()
    eventually(lambda: "one ends" in marks.read_text(), "the first filter to be shut down")
    said(second, b".")
    # What a change leaves is ended by hand (B7.22).
    operator.run("sessions", "kill", "--filter", "mark", "--config", str(operator.file))
    with pytest.raises(ConnectionResetError):
        second.recv(1)
    eventually(lambda: "two ends" in marks.read_text(), "the second filter to be shut down")

    # The file can be edited by command, and applied at once (B7.7).
    last = client.socks(firewall.address(), server.address)
    said(last, b".")
    output = operator.run("rule", "disable", "all", "--apply", "--config", str(operator.file))
    assert "rule 'all' disabled\n" in output
    assert f"version {operator.version} is in force" in output
    with pytest.raises(ConnectionResetError):
        last.recv(1)


def refusals(taken: int) -> Iterator[tuple[str, str]]:
    """Texts that cannot be applied, each with what is said of it."""
    rules = rule("all", "localhost")
    yield LISTENERS + rules + 'colour = "blue"\n', "fwx.toml:14: rule.colour: "
    yield LISTENERS + rules + '[[schedule]]\nname = "never"\nhours = "25:00-26:00"\n', "fwx.toml:16: schedule.hours: "
    yield LISTENERS + '[[network]]\nname = "n"\nranges = ["10.0.0.1/8"]\n', "fwx.toml:8: network.ranges: "
    tls = 'tls = {{ certificate = "{0}", key = "{0}" }}\n'
    yield LISTENERS + tls.format("none.pem") + rules, "listener.tls.certificate: "
    yield LISTENERS + tls.format("fwx.toml") + rules, "listener.tls.certificate: "
    # One that can be bound comes before it, and is closed again.
    free = PUBLISHED.format(port=0, to="10.0.0.1:1").replace("www", "free")
    www = PUBLISHED.format(port=taken, to="10.0.0.1:1")
    yield LISTENERS + free + www, "fwx.toml:16: listener.bind: listener 'www': cannot"
    upstream = '[[upstream]]\nname = "u"\nkind = "socks5"\naddress = "10.0.0.1:1"\nuser = "u"\npassword_file = "none"\n'
    yield LISTENERS + upstream, "fwx.toml:11: upstream.password_file: "
    directory = """[[directory]]
name = "d"
kind = "radius"
servers = ["127.0.0.1:9"]
secret_file = "secret"
timeout_seconds = 0.3
"""
    yield LISTENERS + directory, "fwx.toml:9: directory.servers: directory 'd': "
    yield LISTENERS + '[[filter]]\nname = "f"\nuse = "no_such:Filter"\n', "fwx.toml:8: filter.use: "
    yield LISTENERS + '[service]\nname = "other"\n', "fwx.toml:7: service.name: is changed; it takes a restart"
    yield LISTENERS + '[log]\nsqlite = "other.db"\n', "fwx.toml:7: log.sqlite: "
    transparent = '[[listener]]\nname = "t"\nkind = "transparent"\nbind = "127.0.0.1:0"\n'
    yield LISTENERS + transparent, "fwx.toml:9: listener.bind: is a port that takes what is sent to others"
    yield "[[", "not valid TOML"


def test_what_cannot_be_applied_changes_nothing(served: Any, origin: Any, client: Any, eventually: Any) -> None:
    """Each is refused with file, line and key; the policy that runs stays, and the history has none of it."""
    server = origin()
    first = LISTENERS + rule("all", "localhost")
    firewall, operator = served(first)
    (firewall.folder / "secret").write_text("shared")
    (firewall.folder / "secret").chmod(0o600)
    os.chown(firewall.folder / "secret", (firewall.state / "control").stat().st_uid, -1)
    live = client.socks(firewall.address(), server.address)
    held = firewall.descriptors()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for text, said in refusals(taken.getsockname()[1]):
            output = operator.refused(text)
            assert said in output, output
            assert "nothing has been changed" in output
    assert operator.version == 1
    assert len(list((firewall.state / "history").iterdir())) == 1
    eventually(lambda: firewall.descriptors() <= held, "what was made for refused configurations to be closed")

    # Nor is anything put in force that the history cannot keep.
    (firewall.state / "history").chmod(0o500)
    assert "the history cannot be written: Permission denied" in operator.refused(first + NETWORKS)
    (firewall.state / "history").chmod(0o700)
    assert operator.version == 1

    # A signal has the file read again: faulty ones are logged, good ones are in force, whatever number of signals come.
    operator.file.write_text(first + 'colour = "blue"\n')
    firewall.tell(signal.SIGHUP)
    eventually(lambda: "fwx.toml:14: rule.colour: " in firewall.stderr(), "the fault to be logged")
    assert operator.history()["file"]["differs"]
    operator.file.write_text(first + NETWORKS)
    for _ in range(50):
        firewall.tell(signal.SIGHUP)
    eventually(lambda: not operator.history()["file"]["differs"], "the file to be in force")
    live.sendall(b"live")
    assert client.exactly(live, 4) == b"live"


class Transfer:
    """Sends blocks to a server that sends them back, and compares the checksums, until it is told to stop."""

    def __init__(self, opened: socket.socket, number: int) -> None:
        self._opened = opened
        self._data = random.Random(number)
        self._told = threading.Event()
        self.blocks = 0
        self.fault: Exception | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._told.set()
        self._thread.join(20)

    def _run(self) -> None:
        sent, got = hashlib.sha256(), hashlib.sha256()
        try:
            while not self._told.is_set():
                block = self._data.randbytes(40_000)
                sent.update(block)
                self._opened.sendall(block)
                left = len(block)
                while left:
                    part = self._opened.recv(left)
                    assert part, "the connection ended"
                    got.update(part)
                    left -= len(part)
                self.blocks += 1
            assert sent.digest() == got.digest()
        except Exception as error:  # the test looks at it
            self.fault = error


@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
def test_many_changes_under_load(served: Any, origin: Any, client: Any, eventually: Any) -> None:
    """B7.18: what stays allowed through twenty changes is not disturbed; others end by the change that they are for."""
    server, port = origin(), free_port()
    www = PUBLISHED.format(port=port, to=f"127.0.0.1:{server.port}")
    limits = "\n[limits]\ntcp_per_address = 500\ntcp_connects_per_minute_per_address = {}\n"
    common = LISTENERS + NETWORKS + rule("staff") + limits
    texts = [
        common.format(5000) + rule("guests"),
        common.format(6000) + www + MARK.format(text="m") + rule("all", "office", "mark"),
    ]
    firewall, operator = served(texts[0])
    (firewall.folder / "filter_mark.py").write_text("from fwx import sdk\n" + MARK_FILTER)
    staff = [client.socks(firewall.address(), server.address, "127.0.0.10") for _ in range(200)]
    transfers = [Transfer(opened, number) for number, opened in enumerate(staff[:8])]
    try:
        for number in range(1, 21):
            guests = []
            if number % 2:
                guests = [client.socks(firewall.address(), server.address, "127.0.0.20") for _ in range(10)]
            before = [each.blocks for each in transfers]
            told = json.loads(operator.apply(texts[number % 2], "--json"))
            assert (told["applied"]["version"], told["applied"]["ended"]) == (number + 1, len(guests))
            for opened in guests:
                with pytest.raises(ConnectionResetError):
                    opened.recv(1)
            eventually(
                lambda b=before: all(each.blocks > was for each, was in zip(transfers, b, strict=True)), "data to move"
            )
    finally:
        for transfer in transfers:
            transfer.stop()
    assert [transfer.fault for transfer in transfers] == [None] * len(transfers)
    for opened in staff[8:]:
        opened.sendall(b"still here")
        assert client.exactly(opened, 10) == b"still here"
    marks = (firewall.folder / "marks").read_text().split("\n")
    assert (marks.count("m begins"), marks.count("m ends")) == (10, 10)
    # Without any rule the embedded policy holds: all is allowed from this machine.
    assert "connections ended: 0" in operator.apply(LISTENERS)
    staff[9].sendall(b"x")
    assert client.exactly(staff[9], 1) == b"x"


SLOW_FILTER = """
import time

@sdk.implementer(sdk.IFWXFilter, sdk.IBlocking)
class Filter(sdk.Unknown):
    def FilterInit(self, pIFWXFirewall):
        open("slow-" + str(len(__import__("os").listdir("."))), "w").close()
        while not __import__("os").path.exists("go on"):
            time.sleep(0.01)
        return sdk.FwxFilterHookEvents(sdk.fwx_Connect_Tcp | sdk.FWX_ALL_SOURCES)

    def AttachToSession(self, piSession, pFilterHookEvents):
        raise NotImplementedError

    def FilterShutdown(self):
        open("shut down", "w").close()
"""
SLOW = '[[filter]]\nname = "slow"\nuse = "filter_slow:Filter"\n'
LATE_FILTER = """
import os
import sys
import time

with open("turns", "w") as file:
    file.write(str(sys.getswitchinterval()))

@sdk.implementer(sdk.IFWXFilter, sdk.IFWXPerRuleData, sdk.IBlocking)
class Filter(sdk.Unknown):
    def FilterInit(self, pIFWXFirewall):
        return sdk.FwxFilterHookEvents(sdk.fwx_Connect_Tcp | sdk.FWX_ALL_SOURCES)

    def AttachToSession(self, piSession, pFilterHookEvents):
        raise NotImplementedError

    def PrepareRulesData(self, pPolicyRule):
        while not os.path.exists("prepared"):
            time.sleep(0.01)

    def FilterShutdown(self):
        open("late is shut down", "w").close()
"""
LATE = '[[filter]]\nname = "monitor"\nuse = "data-monitor"\n[[filter]]\nname = "late"\nuse = "filter_late:Filter"\n'


def test_a_filter_that_hangs_and_a_stop_meanwhile(
    served: Any, origin: Any, client: Any, eventually: Any, background: Any
) -> None:
    """One change at a time; the one that hangs is called off, by its time or by the stop, and leaves nothing."""
    server = origin()
    first = LISTENERS + rule("all", "localhost")
    hasty = "import fwx.change.live\nfwx.change.live.INIT_SECONDS = 1.0"
    firewall, operator = served(first, prelude=hasty)
    (firewall.folder / "filter_slow.py").write_text("from fwx import sdk\n" + SLOW_FILTER)

    def begin() -> Any:
        waiting = len(list(firewall.folder.glob("slow-*")))
        command = [sys.executable, "-m", "fwx", "apply", str(operator.file)]
        process = background(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        eventually(lambda: len(list(firewall.folder.glob("slow-*"))) > waiting, "the filter to be initialised")
        return process

    operator.file.write_text(first + SLOW)
    process = begin()
    assert "another change is under way (apply, by user " in operator.run("apply", str(operator.file), fails=True)
    assert client.socks_code(firewall.address(), server.address) == 0
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "fwx.toml:16: filter.use: FilterInit has not returned after 1 s" in output
    (firewall.folder / "go on").touch()
    eventually(lambda: (firewall.folder / "shut down").exists(), "the filter that is not wanted to be shut down")
    (firewall.folder / "go on").unlink()
    (firewall.folder / "filter_late.py").write_text("from fwx import sdk\n" + LATE_FILTER)
    output = operator.apply(first + LATE, fails=True)
    assert "fwx.toml:19: filter.use: PrepareRulesData of filter 'late' has not returned after 1 s" in output
    assert float((firewall.folder / "turns").read_text()) < 0.001, "the loop had its turns while that was imported"
    (firewall.folder / "prepared").touch()
    eventually(lambda: (firewall.folder / "late is shut down").exists(), "the other filter to be shut down")
    operator.file.write_text(first + SLOW)
    process = begin()
    firewall.tell()
    (firewall.folder / "go on").touch()
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    firewall.wait_stopped()
    assert [file.name for file in (firewall.state / "history").iterdir()] == ["000001.toml"]
