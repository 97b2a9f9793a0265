"""A real service in a process of its own, real servers behind it, and raw clients in front of it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import coverage
import pytest

import fwx
from fwx.firewall_log import read
from tests.integration.associate import Associated, Upper, associations, uppers
from tests.integration.tlsparts import Certificates, Controls

Address = tuple[str, int]
Handler = Callable[[socket.socket], None]

LISTENER = """
[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:0"
"""
# A module of the service is changed before it starts; the rest of the program is what `python -m fwx` runs.
RUNNER = """
from fwx.cli import main
{prelude}
main(prog_name="fwx")
"""
# Around what a test says of its filter: one that attaches a `Data` to each connection. The test's text comes last and
# replaces what it defines anew.
FILTER = """
from __future__ import annotations
from fwx import sdk

class Data(sdk.DataPump):
    def __init__(self, firewall, connection):
        super().__init__()
        self.firewall, self.connection = firewall, connection

@sdk.implementer(sdk.IFWXSessionFilter)
class Session(sdk.Unknown):
    def __init__(self, firewall):
        self.firewall = firewall

    def FirewallEventHandler(self, pProxyEvent):
        connection = pProxyEvent.Parameters.Connect.piConnection
        connection.AttachDataFilter(Data(self.firewall, connection), sdk.fwx_dfpc_Middle, None)

    def Detach(self):
        self.firewall = None

@sdk.implementer(sdk.IFWXFilter)
class Filter(sdk.Unknown):
    def FilterInit(self, pIFWXFirewall):
        self.firewall = pIFWXFirewall
        return sdk.FwxFilterHookEvents(sdk.fwx_Connect_Tcp | sdk.FWX_ALL_SOURCES)

    def AttachToSession(self, piSession, pFilterHookEvents):
        return Session(self.firewall)

    def FilterShutdown(self):
        self.firewall = None
"""
FILTER_TABLE = """
[[filter]]
name = "{name}"
use = "filter_{name}:Filter"
everywhere = true
"""
COMPLAINTS = ("Traceback (most recent call last)", "ResourceWarning", "Exception ignored", "never awaited")


# For what must come: only a machine that stands still needs all of it.
PATIENCE = 60.0


def wait_until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Poll *condition* until it is true and return its value; fail after *seconds*, naming *what* did not happen."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() >= deadline:
            pytest.fail(f"after {seconds:g} s still waiting for: {what}")
        time.sleep(0.005)
    return value


class Firewall:
    """One running ``fwx serve``: where it listens, what it says, what it logs, what it holds."""

    def __init__(self, command: list[str], folder: Path, environment: Mapping[str, str], config: Path | None) -> None:
        self.folder = folder
        self.traceback_expected = False
        self.leaves = {"firewall.db", "history"}
        self.state = folder / "state"
        self._stderr = folder / "stderr.txt"
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr,
                start_new_session=True)  # fmt: skip
        self.pid = self.process.pid
        text = "" if config is None else config.read_text()
        names = [table["name"] for table in tomllib.loads(text).get("listener", [{"name": "proxy"}])]
        wait_until(lambda: self._listening(names), "the service to listen", PATIENCE)
        self.base_line = self.descriptors()

    def _listening(self, names: list[str]) -> bool:
        if self.process.poll() is not None:
            pytest.fail(f"fwx serve ended with {self.process.returncode}:\n{self.stderr()}")
        return all(f"fwx: {name} listens on " in self.stderr() for name in names)

    def stderr(self) -> str:
        return self._stderr.read_text(errors="backslashreplace")

    def address(self, name: str = "proxy") -> Address:
        """Where the listener *name* listens."""
        found = re.search(rf"^fwx: {name} listens on \[?(.+?)\]?:(\d+)$", self.stderr(), re.MULTILINE)
        assert found is not None
        return found[1], int(found[2])

    def rows(self, **where: str | int) -> list[dict[str, Any]]:
        """The firewall log so far."""
        return list(read(self.state / "firewall.db", where=where))

    def alerts(self) -> list[dict[str, Any]]:
        return list(read(self.state / "firewall.db", alerts=True))

    def wait_rows(self, count: int = 1, **where: str | int) -> list[dict[str, Any]]:
        """Wait for *count* records like *where*; there must not be more."""
        found = wait_until(
            lambda: rows if len(rows := self.rows(**where)) >= count else None, f"{count} record(s) like {where}"
        )
        assert len(found) == count, found
        return found

    def wait_row(self, **where: str | int) -> dict[str, Any]:
        return self.wait_rows(1, **where)[0]

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def wait_base_line(self) -> None:
        """Wait until the service holds no more descriptors than after its start."""
        wait_until(lambda: self.descriptors() <= self.base_line, f"{self.base_line} descriptors in the service")

    def status(self, field: str) -> list[str]:
        """The words of a line of ``/proc/PID/status``."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return next(line.split()[1:] for line in text.splitlines() if line.startswith(f"{field}:"))

    def memory(self) -> int:
        """Resident bytes."""
        return int(self.status("VmRSS")[0]) * 1024

    def tell(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait_stopped(self, status: int = 0, seconds: float = PATIENCE) -> None:
        """Wait for the end; it must leave no process, no complaint and, in its state folder, the database alone."""
        assert self.process.wait(seconds) == status, self.stderr()
        with pytest.raises(ProcessLookupError):
            os.killpg(self.pid, 0)
        complaints = [words for words in COMPLAINTS[self.traceback_expected :] if words in self.stderr()]
        assert not complaints, self.stderr()
        assert {path.name for path in self.state.iterdir()} == self.leaves

    def stop(self) -> None:
        """SIGTERM, and wait for a clean end."""
        if self.process.poll() is None:
            self.tell()
        self.wait_stopped()

    def discard(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Servers:
    """Makes services; the fixture ``serve``."""

    def __init__(self, python: str) -> None:
        self._python = python
        self._started: list[Firewall] = []
        self._folders: list[Path] = []

    def __call__(
        self,
        config: str | None = "",
        *,
        loop: str = "uvloop",
        filters: Mapping[str, str] | None = None,
        prelude: str = "",
        folder: Path | None = None,
        prefix: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
    ) -> Firewall:
        """Start a service and wait until it listens.

        :param config: the configuration; a proxy listener on a free port is added when it has none. ``None``: no file.
        :param filters: texts of modules ``filter_NAME``, see ``FILTER``; the filter NAME sees every connection unless
            the configuration has a table for it. :param prelude: Python to run in the service's process first.
        :param prefix: a command to run it under, such as ``ip netns exec NAME``.
        """
        folder = self.make_folder() if folder is None else folder
        command, environment = self.command(folder, prelude)
        for name, source in (filters or {}).items():
            (folder / f"filter_{name}.py").write_text(FILTER + source)
        path = None
        if config is not None:
            path = folder / "fwx.toml"
            path.write_text(config + self._missing_tables(config, filters or {}))
            command += ["--config", str(path)]
        firewall = Firewall([*prefix, *command, "--loop", loop], folder, {**environment, **(env or {})}, path)
        self._started.append(firewall)
        return firewall

    def refused(self, config: str, folder: Path | None = None) -> tuple[Path, int, str]:
        """Start a service that must end by itself; return its folder, its exit status and what it said."""
        folder = self.make_folder() if folder is None else folder
        command, environment = self.command(folder, "")
        path = folder / "fwx.toml"
        path.write_text(config + self._missing_tables(config, {}))
        ended = subprocess.run(
            [*command, "--config", str(path)], cwd=folder, env=environment, capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip
        return folder, ended.returncode, ended.stderr

    def _missing_tables(self, config: str, filters: Mapping[str, str]) -> str:
        unnamed = (name for name in filters if f'use = "filter_{name}:' not in config)
        return ("" if "[[listener]]" in config else LISTENER) + "".join(FILTER_TABLE.format(name=n) for n in unnamed)

    def make_folder(self) -> Path:
        """A folder that an account without privileges can reach, unlike pytest's when root runs it."""
        folder = Path(tempfile.mkdtemp(prefix="fwx-"))
        folder.chmod(0o711)
        self._folders.append(folder)
        return folder

    def command(self, folder: Path, prelude: str) -> tuple[list[str], dict[str, str]]:
        """The beginning of the command line, and the environment."""
        top = Path(fwx.__file__).parent.parent
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(top)))}
        if coverage.Coverage.current() is not None:
            # Root is dropped: the data file goes where anybody may write, and is fetched in the end.
            data = self.make_folder()
            data.chmod(0o1777)
            environment |= {"COVERAGE_FILE": str(data / ".coverage"), "COVERAGE_PROCESS_START": str(top / "setup.cfg")}
            environment.pop("COVERAGE_PROCESS_CONFIG", None)  # it would win, with the data file of this process
        program = ["-m", "fwx"]
        if prelude:
            (folder / "runner.py").write_text(RUNNER.format(prelude=prelude))
            program = [str(folder / "runner.py")]
        return [self._python, "-W", "default::ResourceWarning", *program, "serve"], environment

    def close(self) -> None:
        try:
            for firewall in self._started:
                if firewall.process.returncode is None:
                    firewall.stop()
        finally:
            for firewall in self._started:
                firewall.discard()
            for folder in self._folders:
                _fetch_coverage(folder)
                shutil.rmtree(folder)


def _fetch_coverage(folder: Path) -> None:
    measuring = coverage.Coverage.current()
    if measuring is not None:
        destination = Path(str(measuring.get_option("run:data_file"))).absolute().parent
        for data in folder.glob(".coverage*"):
            shutil.move(data, destination / data.name)


class Origin:
    """A server on a free port that runs one handler per connection, each on a thread of its own.

    It may be given a socket that listens, of another network namespace.
    """

    def __init__(self, handler: Handler, host: str, listener: socket.socket | None = None) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = listener or socket.create_server((host, 0), family=family, backlog=1024)
        self._handler = handler
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self.failures: list[Exception] = []
        self.connections = 0
        self.address: Address = self._listener.getsockname()[:2]
        self.host, self.port = self.address
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            self._open.add(client)
            self.connections += 1
            self._threads.append(threading.Thread(target=self._run, args=(client,)))
            self._threads[-1].start()

    def _run(self, client: socket.socket) -> None:
        try:
            with client:
                self._handler(client)
        except ConnectionError:  # what many a test provokes; the test looks at the other end
            return
        except Exception as error:
            self.failures.append(error)
        finally:
            self._open.discard(client)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in list(self._open):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        assert not self.failures, self.failures


def echo(client: socket.socket) -> None:
    """Send back what comes, until the end, which is sent back too."""
    while data := client.recv(65536):
        client.sendall(data)


def answer_at_end(client: socket.socket) -> None:
    """Read to the end, then answer with the number of bytes: works over a half-closed connection alone."""
    total = 0
    while data := client.recv(65536):
        total += len(data)
    client.sendall(b"%d bytes" % total)


HANDLERS: Mapping[str, Handler] = {"echo": echo, "answer_at_end": answer_at_end}


class Client:
    """A raw client of a proxy port."""

    def __init__(self, opened: contextlib.ExitStack) -> None:
        self._opened = opened

    def connect(self, to: Address, source: str | None = None) -> socket.socket:
        """A plain connection that the fixture closes; *source* is the address to come from."""
        # The kernel has to choose the port late, else a thousand of them collide.
        opened = socket.socket(socket.AF_INET6 if ":" in to[0] else socket.AF_INET)
        self._opened.callback(opened.close)
        if source is not None:
            opened.bind((source, 0))
        # Without a time-out the kernel answers before the firewall can reset what it refuses.
        opened.connect(to)
        opened.settimeout(60)
        return opened

    def socks(self, proxy: Address, target: Address, source: str | None = None) -> socket.socket:
        """A connection to *target* through the proxy."""
        opened, code = self.ask(proxy, target, source)
        assert code == 0, f"SOCKS5 reply {code}"
        return opened

    def socks_code(self, proxy: Address, target: Address, source: str | None = None) -> int:
        """The reply code of a SOCKS5 request for *target*; the connection is closed again."""
        opened, code = self.ask(proxy, target, source)
        opened.close()
        return code

    def ask(self, proxy: Address, target: Address, source: str | None) -> tuple[socket.socket, int]:
        opened = self.connect(proxy, source)
        opened.sendall(b"\x05\x01\x00" + self.socks_request(target))
        assert self.exactly(opened, 2) == b"\x05\x00"
        head = self.exactly(opened, 4)
        assert head[0] == 5
        self.exactly(opened, {1: 6, 4: 18}[head[3]])
        return opened, head[1]

    def socks_request(self, target: Address) -> bytes:
        host, port = target
        for family, kind in ((socket.AF_INET, b"\x01"), (socket.AF_INET6, b"\x04")):
            with contextlib.suppress(OSError):
                return b"\x05\x01\x00" + kind + socket.inet_pton(family, host) + port.to_bytes(2, "big")
        return b"\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + port.to_bytes(2, "big")

    def http_status(self, proxy: Address, target: Address) -> int:
        """The status of an HTTP CONNECT request for *target*; the connection is closed again."""
        with self.connect(proxy) as opened:
            host = f"[{target[0]}]" if ":" in target[0] else target[0]
            opened.sendall(f"CONNECT {host}:{target[1]} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            line = opened.makefile("rb").readline()
        return int(line.split()[1])

    def exactly(self, source: socket.socket, count: int) -> bytes:
        """Read *count* bytes."""
        parts: list[bytes] = []
        left = count
        while left and (part := source.recv(left)):
            parts.append(part)
            left -= len(part)
        data = b"".join(parts)
        if left:
            pytest.fail(f"{data[:80]!r}, {len(data)} bytes, came in place of {count} bytes")
        return data

    def to_end(self, source: socket.socket) -> bytes:
        """Read to the end."""
        return b"".join(iter(lambda: source.recv(1 << 20), b""))

    def reset(self, opened: socket.socket) -> None:
        """Close with a reset."""
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        opened.close()


@pytest.fixture
def serve() -> Iterator[Servers]:
    """Start ``fwx serve``; what still runs at the end is stopped and must end well."""
    servers = Servers(sys.executable)
    yield servers
    servers.close()


@pytest.fixture(scope="module")
def serve_for_module() -> Iterator[Servers]:
    """As ``serve``, for a service that many tests of a module use in turn."""
    servers = Servers(sys.executable)
    yield servers
    servers.close()


@pytest.fixture
def origin() -> Iterator[Callable[..., Origin]]:
    """Make a server: of a handler, or of the name of one (``echo``, ``answer_at_end``)."""
    with contextlib.ExitStack() as made:

        def make(
            handler: Handler | str = "echo", host: str = "127.0.0.1", listener: socket.socket | None = None
        ) -> Origin:
            server = Origin(HANDLERS[handler] if isinstance(handler, str) else handler, host, listener)
            made.callback(server.close)
            return server

        yield make


@pytest.fixture
def client() -> Iterator[Client]:
    """Raw clients; every connection is closed at the end."""
    with contextlib.ExitStack() as opened:
        yield Client(opened)


@pytest.fixture
def associate() -> Iterator[Callable[..., Associated]]:
    """Make UDP associations with a proxy; they are closed at the end."""
    with associations() as made:
        yield made


@pytest.fixture
def upper() -> Iterator[Callable[..., Upper]]:
    """Make UDP servers that answer in capitals; they are closed at the end."""
    with uppers() as made:
        yield made


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """``eventually(condition, what, seconds=PATIENCE)``: poll until *condition* is true, and return its value."""
    return wait_until


@pytest.fixture
def background() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a program that is killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str, **options: Any) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(command, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def network_namespace(ip: str, name: str) -> Iterator[str]:
    """Make the network namespace *name*, which reaches nothing but itself; *ip* is the program."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a network namespace")
    made = subprocess.run([ip, "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        if os.environ.get("FWX_CI") == "1":
            pytest.fail(made.stderr, pytrace=False)
        pytest.skip(f"cannot make a network namespace: {made.stderr.strip()}")
    try:
        subprocess.run([ip, "-n", name, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run([ip, "netns", "del", name], check=True)


@pytest.fixture
def namespace(program_path: Callable[[str], str]) -> Iterator[str]:
    """The name of a network namespace that reaches nothing but itself; for tests marked ``requires("ip")``."""
    with network_namespace(program_path("ip"), f"fwx-{os.getpid()}") as name:
        yield name


@pytest.fixture(scope="module")
def namespace_for_module(program_path: Callable[[str], str]) -> Iterator[str]:
    """As ``namespace``, for a gateway that many tests of a module use in turn."""
    with network_namespace(program_path("ip"), f"fwx-{os.getpid()}-m") as name:
        yield name


@pytest.fixture(scope="session")
def certificates() -> Iterator[Certificates]:
    """Certificates in a folder that every account may look into; the keys are their owner's alone."""
    with tempfile.TemporaryDirectory(prefix="fwx-tls-") as text:
        Path(text).chmod(0o755)
        yield Certificates(Path(text))


@pytest.fixture
def controls(program_path: Callable[[str], str], tmp_path: Path) -> Iterator[Controls]:
    """Start HAProxy and other programs that listen."""
    made = Controls(program_path, tmp_path, wait_until)
    yield made
    made.close()
