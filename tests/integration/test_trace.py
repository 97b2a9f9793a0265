"""``fwx trace``: real clients and servers are recorded, and the tests that come of it pass, until a filter changes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import runpy
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner, Result

import fwx
from fwx.commands.trace import trace
from fwx.control.place import short_path
from fwx.testing import MemoryFirewall, PlaybookError
from fwx.tracing.control import ENDED
from fwx.tracing.conversation import SERVICE_GONE
from fwx.tracing.recording import TOO_SLOW
from tests.integration.conftest import Firewall, Origin, wait_until
from tests.integration.file_servers import FILE, MODES, PythonServer, programs
from tests.integration.test_example_tests import OPTIONS
from tests.integration.test_smtp import MailServer
from tests.name_server import ADDRESS, NAME, name_server

pytestmark = pytest.mark.requires("curl", "dig", "dnsmasq", "swaks")

EXAMPLE = Path(fwx.__file__).parent.parent / "examples" / "upper-case"
BEGUN, OVER = "fwx trace records up to", "fwx trace records no longer"
PORTS = ("web", "mail", "files", "names", "slow", "none", "secret")
CONFIG = """
[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:0"

[[listener]]
name = "web"
kind = "publish"
bind = "127.0.0.1:0"
to = "127.0.0.1:{web}"
tls = {{ certificate = "www.pem", key = "www.key" }}

[[listener]]
name = "mail"
kind = "publish"
bind = "127.0.0.1:0"
to = "127.0.0.1:{mail}"

[[listener]]
name = "names"
kind = "publish"
transport = "udp"
bind = "127.0.0.1:0"
to = "127.0.0.1:{names}"

[[filter]]
name = "web filter"
use = "fwx_upper_case:UpperCase"
options = {{ append = "!" }}

[[filter]]
name = "mail filter"
use = "smtp"
options = {{ refuse_words = ["winner"] }}

[[filter]]
name = "files filter"
use = "ftp"

[[filter]]
name = "names filter"
use = "dns"

[[filter]]
name = "slow filter"
use = "throttle"
options = {{ down = 200000, burst = 20000 }}

[[filter]]
name = "secret filter"
use = "filter_deny:Filter"
"""
TCP, UDP = 'transport = "tcp", direction = "outbound"', 'transport = "udp", direction = "send_receive"'
RULE = """
[[protocol]]
name = "{name}"
ports = [{{ {transport}, first = {port} }}]

[[rule]]
name = "{name}"
action = "allow"
protocols = ["{name}"]
from = ["localhost"]
to = ["localhost"]
filters = [{filters}]
"""
DENY = """
class Session(Session):
    def FirewallEventHandler(self, pProxyEvent):
        pProxyEvent.Parameters.Connect.piConnection.Deny(0)

class Filter(Filter):
    def AttachToSession(self, piSession, pFilterHookEvents):
        return Session(self.firewall)
"""


def answer(client: socket.socket, promised: int = 0) -> None:
    """A web server: what is asked for is how many bytes; so many more are *promised*, for the filter to append."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(65536)
    count = int(head.split(b" ")[1][1:])
    client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (count + promised))
    client.sendall(b"hello %d\n" % count + b"y" * (count - len(b"hello %d\n" % count)))
    client.shutdown(socket.SHUT_WR)


def echo(client: socket.socket) -> None:
    while data := client.recv(65536):
        client.sendall(data)


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory, program_path: Callable[[str], str]) -> Iterator[dict[str, int]]:
    """The servers' ports."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("mail.example").configure_cert(context)
    with contextlib.ExitStack() as opened:
        start = opened.enter_context(programs())
        appended = partial(answer, promised=1)
        servers = {name: Origin(handler, "127.0.0.1") for name, handler in (("web", appended), ("none", echo))}
        servers |= {"slow": Origin(answer, "127.0.0.1"), "secret": Origin(echo, "127.0.0.1")}
        for server in servers.values():
            opened.callback(server.close)
        mail = MailServer(context)
        opened.callback(mail.close)
        yield {
            **{name: server.port for name, server in servers.items()},
            "mail": mail.port,
            "files": PythonServer(tmp_path_factory.mktemp("ftp") / "served", start).port,
            "names": opened.enter_context(name_server(program_path("dnsmasq"))),
        }


@pytest.fixture(scope="module")
def firewall(serve_for_module: Any, ports: dict[str, int]) -> Iterator[Firewall]:
    folder: Path = serve_for_module.make_folder()
    (folder / "fwx_upper_case").symlink_to(EXAMPLE / "fwx_upper_case")
    leaf = trustme.CA().issue_cert("www.example")
    leaf.private_key_pem.write_to_path(folder / "www.key")
    leaf.cert_chain_pems[0].write_to_path(folder / "www.pem")
    (folder / "www.key").chmod(0o600)
    config = CONFIG.format(**ports) + "".join(
        RULE.format(
            name=name,
            port=ports[name],
            transport=UDP if name == "names" else TCP,
            filters="" if name == "none" else f'"{name} filter"',
        )
        for name in PORTS
    )
    started = serve_for_module(config, filters={"deny": DENY}, folder=folder)
    sys.path.insert(0, str(folder))
    yield started
    sys.path.remove(str(folder))


class Recorder:
    """Runs ``fwx trace`` here, with clients on a thread."""

    def __init__(self, firewall: Firewall, folder: Path) -> None:
        self.firewall = firewall
        self.folder = folder

    def __call__(self, *arguments: str, doing: Callable[[], object] | None = None) -> Result:
        """Begin with *arguments*, let *doing* happen once the service records, and return what came of it."""
        before = self.firewall.stderr().count(BEGUN)
        failures: list[BaseException] = []

        def act() -> None:
            try:
                wait_until(lambda: self.firewall.stderr().count(BEGUN) > before, "the recording to begin")
                assert doing is not None
                doing()
            except BaseException as error:  # the test is on another thread
                failures.append(error)

        thread = threading.Thread(target=act)
        if doing is not None:
            thread.start()
        command = ["--config", str(self.firewall.folder / "fwx.toml"), "--seconds", "20", *arguments]
        result = CliRunner().invoke(trace, [*command, "-o", str(self.folder)] if "-o" not in arguments else command)
        if doing is not None:
            thread.join(30)
        assert not failures, (failures, result.output)
        return result

    def one(self, *arguments: str, doing: Callable[[], object]) -> Path:
        """Record one connection, whole, and return the test."""
        result = self(*arguments, doing=doing)
        assert (result.exit_code, result.exception) == (0, None), result.output
        (path,) = self.folder.glob("test_*.py")
        return path


@pytest.fixture
def record(firewall: Firewall, tmp_path: Path) -> Recorder:
    return Recorder(firewall, tmp_path / "recorded")


@pytest.fixture
def curl(program_path: Callable[[str], str], firewall: Firewall) -> Callable[..., bytes]:
    def run(port: int, path: str, scheme: str = "http", *options: str) -> bytes:
        command = [program_path("curl"), "-q", "-sS", "--noproxy", "", "--max-time", "30", *options]
        host, proxy = firewall.address()
        command += ["--proxy", f"socks5://{host}:{proxy}", f"{scheme}://127.0.0.1:{port}/{path}"]
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def replay(path: Path, **changes: str) -> None:
    """Run the test at *path*, in which the keys of *changes* stand for what they say."""
    text = path.read_text()
    for old, new in changes.items():
        assert old in text, text
        text = text.replace(old, new)
    changed = path.with_name(f"changed_{path.name}")
    changed.write_text(text)
    if path.with_suffix(".bin").exists():
        changed.with_suffix(".bin").write_bytes(path.with_suffix(".bin").read_bytes())
    memory = MemoryFirewall()
    try:
        runpy.run_path(str(changed))["test_recorded_connection"](memory)
    finally:
        memory.close()
    assert memory.faults == ()


def run_pytest(folder: Path, *, path: Path) -> str:
    """Run pytest as anybody would, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    source = str(Path(fwx.__file__).parent.parent)
    environment |= {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join((source, str(path), *sys.path)),
    }
    command = [sys.executable, "-m", "pytest", *OPTIONS, "-rA", str(folder)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=90)
    return done.stdout + done.stderr


def test_curl_through_upper_case(record: Recorder, ports: dict[str, int], curl: Any, firewall: Firewall) -> None:
    """The test passes with pytest; it fails with another option, and with a filter that does something else."""
    path = record.one("--filter", "web filter", doing=lambda: curl(ports["web"], "100"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert 'fwx_firewall.load("fwx_upper_case:UpperCase", {"append": "!"}, "web filter")' in text
    assert 'b"HTTP/1.1 200 OK\\r\\n"' in text
    assert '+ b"Y" * 90' in text
    assert "book.calls(" in text
    assert text.endswith("    book.play()\n")
    for old, new in (('"append": "!"', '"append": "?"'), ('"append": "!"', '"append": "!", "direction": "to server"')):
        with pytest.raises(PlaybookError, match="went otherwise"):
            replay(path, **{old: new})
    path.with_name("test_changed.py").write_text(text.replace('"append": "!"', '"append": ""'))
    told = run_pytest(record.folder, path=firewall.folder)
    assert re.search(rf"^PASSED {path.name}::test_recorded_connection$", told, re.MULTILINE), told
    assert re.search(r"^FAILED test_changed.py::test_recorded_connection", told, re.MULTILINE), told
    assert "went otherwise than written" in told


@pytest.mark.parametrize("way", ["tls", "http"])
def test_other_ways_in(record: Recorder, ports: dict[str, int], program_path: Callable[[str], str], way: str) -> None:
    """What is recorded is plain: behind TLS, and of plain HTTP what the server is asked."""
    host, port = record.firewall.address("web" if way == "tls" else "proxy")
    command = [program_path("curl"), "-q", "-sS", "--noproxy", "", "--max-time", "30"]
    if way == "tls":
        command += ["--insecure", f"https://{host}:{port}/100"]
    else:
        command += ["--proxy", f"http://{host}:{port}", f"http://127.0.0.1:{ports['web']}/100"]

    def ask() -> None:
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
        assert done.stdout.startswith(b"HELLO 100\nYYY"), done.stderr

    path = record.one("--rule", "web", doing=ask)
    text = path.read_text()
    assert "GET /100 HTTP/1.1\\r\\n" in text
    assert ("source=fwxSourceNAT" in text) == (way == "tls")
    replay(path)
    with pytest.raises(PlaybookError, match="went otherwise"):
        replay(path, **{'"append": "!"': '"append": "?"'})


def test_more_than_fits_beside_the_code(record: Recorder, ports: dict[str, int], curl: Any) -> None:
    """Two connections, of which one client waits for the other's end: each has its test."""

    def both() -> None:
        curl(ports["web"], "200000")
        curl(ports["web"], "1000")

    result = record("--rule", "web", "--count", "2", doing=both)
    assert result.exit_code == 0, result.output
    first, second = sorted(record.folder.glob("test_*.py"), key=lambda path: path.stat().st_mtime_ns)
    replay(first)
    replay(second)
    assert "timely" not in second.read_text()


def test_what_is_too_long_to_read_is_put_beside_the_test(record: Recorder, ports: dict[str, int], client: Any) -> None:
    """Without a filter; the client sends what no literal makes readable, and both ends close at once."""
    data = os.urandom(100_000)

    def talk() -> None:
        opened = client.socks(record.firewall.address(), ("127.0.0.1", ports["none"]))
        opened.sendall(data)
        opened.shutdown(socket.SHUT_WR)
        assert client.to_end(opened) == data
        opened.close()

    path = record.one("--to", f"127.0.0.1:{ports['none']}", doing=talk)
    beside = path.with_suffix(".bin")
    assert stat.S_IMODE(beside.stat().st_mode) == 0o600
    assert beside.stat().st_size < 2 * len(data)
    replay(path)
    beside.write_bytes(beside.read_bytes()[:-1] + b"?")
    replay(path)  # it is both sent and got


def test_swaks_through_smtp(record: Recorder, firewall: Firewall, program_path: Callable[[str], str]) -> None:
    host, port = firewall.address("mail")
    command = [program_path("swaks"), "--from", "a@example.org", "--to", "b@example.org", "--suppress-data"]
    command += ["--helo", "client.example", "--server", host, "--port", str(port), "--body", "you may win\n.dot\n"]

    def send() -> None:
        assert subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0

    path = record.one("--filter", "mail filter", doing=send)
    assert "source=fwxSourceNAT" in path.read_text()
    replay(path)
    with pytest.raises(PlaybookError, match="554"):
        replay(path, winner="may")


@pytest.mark.parametrize("mode", MODES)
def test_curl_through_ftp(record: Recorder, ports: dict[str, int], curl: Any, mode: str) -> None:
    """The control connection is the test; of the data connection it says that it was there."""
    done = lambda: curl(ports["files"], "file", "ftp", *MODES[mode], "--proxytunnel") == FILE  # noqa: E731
    path = record.one("--filter", "files filter", doing=done)
    text = path.read_text()
    assert "# Not recorded: a secondary connection, with 127.0.0.1:" in text
    assert ("hand_out" in text) == (mode in ("PORT", "EPRT"))
    replay(path)
    with pytest.raises(PlaybookError, match="client gets b'5"):
        replay(path, **{'"ftp", {}': '"ftp", {"refuse_verbs": ["RETR"]}'})


def test_dig_through_dns(record: Recorder, firewall: Firewall, program_path: Callable[[str], str]) -> None:
    port = firewall.address("names")[1]
    command = [program_path("dig"), "+tries=1", "+time=5", "-p", str(port), "@127.0.0.1", NAME, "+short", "+notcp"]

    def ask() -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.stdout == f"{ADDRESS}\n"
        os.kill(os.getpid(), signal.SIGINT)

    # Datagrams have no end: the recording has, with the command.
    path = record.one("--filter", "names filter", doing=ask)
    text = path.read_text()
    assert ('transport="udp"' in text, "skip" in text) == (True, False)
    replay(path)
    with pytest.raises(PlaybookError, match="server gets"):
        replay(path, **{'"dns", {}': f'"dns", {{"refuse_names": ["{NAME}"]}}'})


def test_time_that_matters(record: Recorder, ports: dict[str, int], curl: Any) -> None:
    path = record.one("--filter", "slow filter", doing=lambda: curl(ports["slow"], "60000"))
    assert "book.passes(" in path.read_text()
    replay(path)
    with pytest.raises(PlaybookError):
        replay(path, **{'"down": 200000': '"down": 20000'})


def test_a_connection_that_a_filter_denies(record: Recorder, ports: dict[str, int], client: Any) -> None:
    target = ("127.0.0.1", ports["secret"])
    path = record.one("--rule", "secret", doing=lambda: client.socks_code(record.firewall.address(), target))
    assert "book.refused()" in path.read_text()
    replay(path)
    with pytest.raises(PlaybookError, match="refused"):
        replay(path, **{'fwx_firewall.load("filter_deny:Filter", {}, "secret filter")': "pass"})


# ---- what is not whole -----------------------------------------------------------------------------------------------


def test_more_than_may_be_recorded(record: Recorder, ports: dict[str, int], curl: Any) -> None:
    """The client gets all of it; the test is skipped and says why."""
    result = record("--filter", "web filter", "--max-bytes", "5000", doing=lambda: curl(ports["web"], "50000"))
    assert result.exit_code == 1, result.output
    assert "not whole, the test is skipped: it has more than 5000 bytes" in result.output
    (path,) = record.folder.glob("test_*.py")
    [mark] = runpy.run_path(str(path))["test_recorded_connection"].pytestmark
    assert (mark.name, mark.kwargs) == ("skip", {"reason": "the recording is not whole: it has more than 5000 bytes"})


def start(firewall: Firewall, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start ``fwx trace`` as a process of its own, and wait until the service records."""
    before = firewall.stderr().count(BEGUN)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(Path(fwx.__file__).parent.parent), *sys.path))}
    command = [sys.executable, "-m", "fwx", "trace", "--config", str(firewall.folder / "fwx.toml"), "-o", str(folder)]
    process = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    wait_until(lambda: firewall.stderr().count(BEGUN) > before, "the recording to begin", 30)
    return process


def test_ctrl_c_writes_what_there_is(record: Recorder, ports: dict[str, int], client: Any) -> None:
    process = start(record.firewall, record.folder, "--count", "3")
    opened = client.socks(record.firewall.address(), ("127.0.0.1", ports["none"]))
    opened.sendall(b"half")
    assert client.exactly(opened, 4) == b"half"
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=30)
    assert process.returncode == 1, told
    assert f"not whole, the test is skipped: {ENDED}" in told
    (path,) = record.folder.glob("test_*.py")
    replay(path)
    assert 'book.client_gets(b"half")' in path.read_text()
    opened.sendall(b"more")  # which nobody records
    assert client.exactly(opened, 4) == b"more"


def begun(firewall: Firewall, sock: socket.socket, **request: Any) -> Any:
    """Ask for a recording as the command does; return the lines, of which the first has come."""
    with short_path(firewall.state) as path:
        sock.connect(path)
    sock.settimeout(60)
    sock.sendall(json.dumps({"command": "trace", **request}).encode() + b"\n")
    lines = sock.makefile("rb")
    assert json.loads(lines.readline()) == {"done": {}}
    return lines


def test_a_command_that_is_gone(firewall: Firewall, ports: dict[str, int], client: Any) -> None:
    """Killed, with lines that it has not read: the service records no longer, and the connection goes on."""
    before = firewall.stderr().count(OVER)
    with socket.socket(socket.AF_UNIX) as sock, begun(firewall, sock, rule="none"):
        opened = client.socks(firewall.address(), ("127.0.0.1", ports["none"]))
        opened.sendall(b"half")
        assert client.exactly(opened, 4) == b"half"
    wait_until(lambda: firewall.stderr().count(OVER) > before, "the recording to end")
    opened.sendall(b"more")
    assert client.exactly(opened, 4) == b"more"


def test_a_command_that_does_not_read(firewall: Firewall, ports: dict[str, int], client: Any) -> None:
    """It holds up nobody, costs a bounded part of memory, and gets what it has missed as a cut."""
    with socket.socket(socket.AF_UNIX) as sock:
        lines = begun(firewall, sock, **{"rule": "none", "max bytes": 64 << 20})
        opened = client.socks(firewall.address(), ("127.0.0.1", ports["none"]))
        block = os.urandom(1 << 20)
        before = firewall.memory()
        for _ in range(16):  # each passes twice
            sender = threading.Thread(target=opened.sendall, args=(block,))
            sender.start()
            assert client.exactly(opened, len(block)) == block
            sender.join()
        assert firewall.memory() - before < 48 << 20
        sock.shutdown(socket.SHUT_WR)
        *_, last = (json.loads(line) for line in lines)
        lines.close()
    assert (last["what"], last["words"]) == ("cut", TOO_SLOW)


def test_a_service_that_stops(serve: Any, origin: Any, client: Any, tmp_path: Path) -> None:
    firewall = serve()
    record = Recorder(firewall, tmp_path / "recorded")
    server = origin("echo")

    def talk() -> None:
        opened = client.socks(firewall.address(), server.address)
        opened.sendall(b"half")
        assert client.exactly(opened, 4) == b"half"
        firewall.tell()

    result = record(doing=talk)
    assert result.exit_code == 1, result.output
    assert f"not whole, the test is skipped: {SERVICE_GONE}" in result.output
    (path,) = record.folder.glob("test_*.py")
    replay(path)
    result = record()
    assert result.exit_code == 1
    assert "no service runs with the state folder" in result.output or "has not answered" in result.output


# ---- what cannot be done ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--filter", "web"), 1, "the service has no filter 'web'; there are web filter, mail filter"),
        (("--filter", "web filtre"), 1, "the service has no filter 'web filtre'; did you mean 'web filter'?"),
        (("--rule", "nosuch"), 1, "the service has no rule 'nosuch'"),
        (("--from", "somewhere"), 1, "'from' is 'somewhere'; expected an address, or a network"),
        (("--to", "192.0.2.1"), 2, "is not host:port"),
        (("--count", "0"), 2, "'--count'"),
        (("--seconds", "0.2"), 1, "no connection was recorded: none that fits was opened"),
        (("--count", "2", "-o", "one.py"), 2, "one.py is one file; give a folder for 2 connections"),
        (("-o", "/dev/null/one.py"), 1, "/dev/null is no folder"),
        (("-o", "/dev/null/sub/folder"), 1, "/dev/null/sub/folder cannot be made: Not a directory"),
        (("-o", "fwx.toml.py"), 1, "fwx.toml.py exists; it is not overwritten"),
    ],
)
def test_what_cannot_be_done(
    record: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fwx.toml.py").touch()
    result = record(*arguments)
    assert (result.exit_code, words in " ".join(result.output.split())) == (code, True), result.output


def test_a_folder_that_is_not_there_any_more(record: Recorder, ports: dict[str, int], curl: Any) -> None:
    def act() -> None:
        record.folder.rmdir()
        curl(ports["web"], "100")

    result = record("--rule", "web", doing=act)
    assert result.exit_code == 1
    assert "cannot be written: No such file or directory" in result.output
