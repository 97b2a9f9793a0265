"""The filter ftp in a running service: lftp and curl against pyftpdlib and vsftpd.

The rules allow the control port alone.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from tests.integration.file_servers import (
    FILE,
    MODES,
    PASSWORD,
    USER,
    Curl,
    FileServer,
    Lftp,
    PythonServer,
    Start,
    VsFtpServer,
    programs,
)

CONFIG = """
[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:0"

[[listener]]
name = "published"
kind = "publish"
bind = "127.0.0.1:0"
to = "127.0.0.1:{port}"

[[protocol]]
name = "control"
ports = [{{ transport = "tcp", direction = "outbound", first = {port} }}]

[[filter]]
name = "files"
use = "fwx.filters.ftp:FtpFilter"
options = {{ {options} }}

[[rule]]
name = "ftp"
action = "allow"
protocols = ["control"]
from = ["localhost"]
to = ["localhost"]
filters = [{filters}]
"""


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    with programs() as started:
        yield started


@pytest.fixture(scope="module")
def python_server(tmp_path_factory: pytest.TempPathFactory, start: Start) -> PythonServer:
    return PythonServer(tmp_path_factory.mktemp("pyftpdlib") / "served", start)


@pytest.fixture(scope="module")
def other_server(
    tmp_path_factory: pytest.TempPathFactory, program_path: Any, start: Start, eventually: Any
) -> VsFtpServer:
    if os.geteuid() != 0:
        pytest.skip("vsftpd needs root")
    return VsFtpServer(tmp_path_factory.mktemp("vsftpd") / "served", program_path("vsftpd"), start, eventually)


@pytest.fixture(params=["python_server", pytest.param("other_server", marks=pytest.mark.requires("vsftpd"))])
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def service(serve: Any) -> Callable[..., Any]:
    def start(server: FileServer, options: str = "", filters: str = '"files"', **keys: Any) -> Any:
        return serve(CONFIG.format(port=server.port, options=options, filters=filters), **keys)

    return start


@pytest.fixture(scope="module")
def shared(serve_for_module: Any) -> Callable[..., Any]:
    """As ``service``, one for all tests that ask for the same."""
    running: dict[tuple[int, str], Any] = {}

    def start(server: FileServer, options: str = "") -> Any:
        key = server.port, options
        if key not in running:
            running[key] = serve_for_module(CONFIG.format(port=server.port, options=options, filters='"files"'))
        return running[key]

    return start


@pytest.fixture
def curl(program_path: Callable[[str], str]) -> Curl:
    return Curl(program_path("curl"))


@pytest.fixture
def lftp(program_path: Callable[[str], str]) -> Lftp:
    return Lftp(program_path("lftp"))


def data_rows(firewall: Any, before: int) -> list[dict[str, Any]]:
    """The records of data connections behind the first *before*: what has moved the file."""
    return [row for row in firewall.rows()[before:] if row["bytessent"] + row["bytesrecvd"] == len(FILE)]


@pytest.mark.requires("curl")
@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
@pytest.mark.path(entry="http-connect", exit="direct", transport="tcp")
@pytest.mark.path(entry="publish", exit="direct", transport="tcp")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("way", ["socks5", "http-connect", "publish"])
def test_curl(shared: Any, server: FileServer, curl: Curl, eventually: Any, way: str, mode: str) -> None:
    """B6.2, B6.5, B6.12, B6.20, B6.22, B6.23, B6.32: a file comes, with the control port alone in the rules."""
    firewall = shared(server, "published = true" if way == "publish" else "")
    before = len(firewall.rows())
    if way == "publish":
        got = curl(firewall.address("published")[1], *MODES[mode])
    else:
        host, port = firewall.address("proxy")
        proxy = f"socks5://{host}:{port}" if way == "socks5" else f"http://{host}:{port}"
        got = curl(server.port, "--proxytunnel", "--proxy", proxy, *MODES[mode])
    assert (got.returncode, got.stderr, got.stdout == FILE) == (0, b"", True)
    (data,) = eventually(lambda: data_rows(firewall, before), "the record of the data connection")
    assert data["rule"] == "ftp"
    assert {row["reason"] for row in firewall.rows(Action=int(Action.Denied))} == set()
    firewall.wait_base_line()


@pytest.mark.requires("curl")
@pytest.mark.parametrize("mode", ["PASV", "EPSV"])
def test_without_the_filter(service: Any, python_server: PythonServer, curl: Curl, mode: str) -> None:
    """B6.4: without it the control connection passes, unfiltered, and no other port is open."""
    firewall = service(python_server, filters="")
    host, port = firewall.address("proxy")
    got = curl(python_server.port, "--proxy", f"socks5://{host}:{port}", *MODES[mode])
    assert got.returncode == 97, got  # refused by the proxy
    # For EPSV curl then tries PASV, in vain.
    denied = firewall.wait_rows(2 if mode == "EPSV" else 1, Action=int(Action.Denied))
    assert python_server.port not in {row["DestinationPort"] for row in denied}


@pytest.mark.requires("curl")
@pytest.mark.parametrize("mode", MODES)
def test_an_upload(service: Any, python_server: PythonServer, curl: Curl, tmp_path: Path, mode: str) -> None:
    firewall = service(python_server)
    host, port = firewall.address("proxy")
    (tmp_path / "up").write_bytes(FILE)
    proxy = (
        "--proxy",
        f"socks5://{host}:{port}",
        "--user",
        f"{USER}:{PASSWORD}",
        "--upload-file",
        str(tmp_path / "up"),
    )
    got = curl(python_server.port, *proxy, *MODES[mode], path="stored")
    assert (got.returncode, got.stderr) == (0, b"")
    assert (python_server.folder / "stored").read_bytes() == FILE
    firewall.wait_base_line()


@pytest.mark.requires("curl")
@pytest.mark.parametrize(
    "options",
    [
        ("--upload-file", "/dev/null"),
        ("--append", "--upload-file", "/dev/null"),
        ("--quote", "DELE file"),
        ("--quote", "MKD folder"),
        ("--quote", "RNFR file"),
        ("--quote", "SITE CHMOD 777 file"),
        ("--quote", "MFMT 20200101000000 file"),
    ],
)
def test_read_only(
    service: Any, python_server: PythonServer, curl: Curl, eventually: Any, options: tuple[str, ...]
) -> None:
    """The user may do all that at the server; the filter does not let it, and reading works."""
    firewall = service(python_server, "read_only = true")
    host, port = firewall.address("proxy")
    proxy = ("--proxy", f"socks5://{host}:{port}", "--user", f"{USER}:{PASSWORD}")
    before = [(path.name, path.stat().st_mtime, path.stat().st_mode) for path in python_server.folder.iterdir()]
    got = curl(python_server.port, *proxy, *options)
    assert got.returncode in (21, 25), got
    assert b"550" in got.stderr
    assert [(path.name, path.stat().st_mtime, path.stat().st_mode) for path in python_server.folder.iterdir()] == before
    assert curl(python_server.port, *proxy).stdout == FILE
    eventually(
        lambda: any("550 Permission denied, read only" in row["reason"] for row in firewall.rows()), "the reason"
    )
    assert firewall.alerts() == []


@pytest.mark.requires("lftp")
@pytest.mark.path(entry="http-connect", exit="direct", transport="tcp")
@pytest.mark.parametrize("settings", ["set ftp:prefer-epsv yes", "set ftp:prefer-epsv no"])
def test_lftp_by_the_proxy_port(shared: Any, server: FileServer, lftp: Lftp, tmp_path: Path, settings: str) -> None:
    firewall = shared(server)
    host, port = firewall.address("proxy")
    proxy = f"set ftp:proxy http://{host}:{port}; set ftp:use-hftp no; {settings}"
    got = lftp(server.port, proxy, f"ls; get file -o {tmp_path / 'one'}; get file -o {tmp_path / 'two'}")
    assert got.returncode == 0, got.stderr
    assert b"file" in got.stdout
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == FILE
    assert firewall.rows(Action=int(Action.Denied)) == []


@pytest.mark.requires("lftp")
@pytest.mark.path(entry="publish", exit="direct", transport="tcp")
@pytest.mark.path(entry="publish", exit="direct", transport="bind")
@pytest.mark.parametrize(
    "settings",
    [
        "set ftp:prefer-epsv yes",
        "set ftp:prefer-epsv no; set ftp:fix-pasv-address no",
        "set ftp:passive-mode no; set ftp:port-ipv4 127.0.0.1",
    ],
)
def test_lftp_published(
    shared: Any, server: FileServer, lftp: Lftp, tmp_path: Path, eventually: Any, settings: str
) -> None:
    """B6.22, B6.23, B6.12: the ports that the client uses are the firewall's."""
    firewall = shared(server, "published = true")
    before = len(firewall.rows())
    commands = f"ls; get file -o {tmp_path / 'one'}; get file -o {tmp_path / 'two'}"
    got = lftp(firewall.address("published")[1], settings, commands)
    assert got.returncode == 0, got.stderr
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == FILE
    eventually(lambda: len(data_rows(firewall, before)) == 2, "the records of two data connections")
    assert firewall.rows(Action=int(Action.Denied)) == []
    firewall.wait_base_line()


@pytest.mark.requires("lftp")
def test_lftp_mirrors(shared: Any, python_server: PythonServer, lftp: Lftp, tmp_path: Path) -> None:
    """Four control connections of one session at a time, each with its own port."""
    for number in range(12):
        (python_server.folder / f"small{number}").write_bytes(b"%d" % number * 1000)
    firewall = shared(python_server, "published = true")
    got = lftp(
        firewall.address("published")[1], "set net:connection-limit 4", f"mirror --parallel=4 . {tmp_path / 'to'}"
    )
    assert got.returncode == 0, got.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "to").iterdir()} == {
        path.name: path.read_bytes() for path in python_server.folder.iterdir()
    }
    firewall.wait_base_line()


@pytest.mark.requires("curl")
def test_tls_is_refused(shared: Any, python_server: PythonServer, curl: Curl) -> None:
    """A client that may do without goes on in the clear; one that may not, does not."""
    firewall = shared(python_server, "published = true")
    port = firewall.address("published")[1]
    assert curl(port, "--ssl").stdout == FILE
    assert curl(port, "--ssl-reqd").returncode == 64


class Raw:
    """A client that says what it likes; its connection is the fixture's."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lines = sock.makefile("rb")
        assert self.reply().startswith(b"220")

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._sock.close()

    def reply(self) -> bytes:
        while True:
            line: bytes = self._lines.readline()
            if not line or line[3:4] != b"-":
                return line

    def say(self, line: bytes, size: int = 1 << 16) -> bytes:
        data = line + b"\r\n"
        for start in range(0, len(data), size):
            self._sock.sendall(data[start : start + size])
        return self.reply()


@pytest.mark.parametrize("size", [1, 1 << 16])
@pytest.mark.parametrize("line", [b"PORT 127,0,0,9,%d,%d", b"EPRT |1|127.0.0.9|%d|"])
def test_a_bounce(service: Any, server: FileServer, client: Any, eventually: Any, size: int, line: bytes) -> None:
    """RFC 2577: a third party that would take the connection hears nothing, whatever the client sends next."""
    firewall = service(server, "published = true")
    published = client.connect(firewall.address("published"))
    with socket.create_server(("127.0.0.9", 0)) as third, Raw(published) as raw:
        third.settimeout(0.3)
        port = third.getsockname()[1]
        assert raw.say(b"USER anonymous").startswith(b"331")
        assert raw.say(b"PASS x").startswith(b"230")
        named = line % ((port >> 8, port & 255) if line.startswith(b"PORT") else (port,))
        assert raw.say(named, size) == b"504 Address not allowed\r\n"
        assert raw.say(b"RETR file", size)[:1] in (b"4", b"5", b"1")
        with pytest.raises(TimeoutError):
            third.accept()
    row = eventually(lambda: next(iter(firewall.rows(Action=int(Action.Terminate))), None), "the record")
    assert f"names 127.0.0.9:{port}" in row["reason"]
    (alert,) = eventually(firewall.alerts, "the alert")
    assert (alert["event"], alert["key"]) == ("FTP refused", "127.0.0.1")


def transfer(raw: Raw, client: Any, data: socket.socket) -> None:
    """Have the file sent over *data*."""
    assert raw.say(b"RETR file")[:3] in (b"125", b"150")
    assert client.to_end(data) == FILE
    data.close()
    assert raw.reply().startswith(b"226")


def announced(raw: Raw) -> int:
    """Log in; return the port that the server, or the firewall, waits at."""
    raw.say(b"USER anonymous")
    raw.say(b"PASS x")
    raw.say(b"TYPE I")
    return int(raw.say(b"EPSV").split(b"|")[3])


def test_only_the_port_is_open(service: Any, python_server: PythonServer, client: Any) -> None:
    """B6.2, B6.6: the announced port once, and no other."""
    firewall = service(python_server)
    proxy = firewall.address("proxy")
    with Raw(client.socks(proxy, ("127.0.0.1", python_server.port))) as raw:
        port = announced(raw)
        assert client.socks_code(proxy, ("127.0.0.1", port + 1)) == 2
        transfer(raw, client, client.socks(proxy, ("127.0.0.1", port)))
        assert client.socks_code(proxy, ("127.0.0.1", port)) == 2
    firewall.wait_base_line()


def test_only_the_client_may_come(service: Any, python_server: PythonServer, client: Any) -> None:
    """B6.22, B6.25: a published server's data port takes the client, once."""
    firewall = service(python_server, "published = true")
    with Raw(client.connect(firewall.address("published"))) as raw:
        port = announced(raw)
        with pytest.raises(ConnectionResetError):
            client.connect(("127.0.0.1", port), source="127.0.0.9").recv(1)
        transfer(raw, client, client.connect(("127.0.0.1", port)))
        with pytest.raises(ConnectionRefusedError):
            client.connect(("127.0.0.1", port))
    firewall.wait_base_line()


@pytest.mark.path(entry="socks5", exit="direct", transport="bind")
def test_a_port_that_the_client_has_bound(serve: Any, python_server: PythonServer, client: Any) -> None:
    """B6.18, B6.20: the client's own BIND, which its rule allows, is opened for the server, who hears of that port."""
    config = CONFIG.format(port=python_server.port, options="", filters='"files"')
    firewall = serve(config.replace('protocols = ["control"]', 'protocols = ["any"]'))
    proxy = firewall.address("proxy")
    with Raw(client.socks(proxy, ("127.0.0.1", python_server.port))) as raw, client.connect(proxy) as bind:
        raw.say(b"USER anonymous")
        raw.say(b"PASS x")
        raw.say(b"TYPE I")
        bind.sendall(b"\5\1\0\5\2\0\1\x7f\0\0\1" + python_server.port.to_bytes(2, "big"))
        told = client.exactly(bind, 12)
        assert told[2:4] == b"\5\0", told
        port = int.from_bytes(told[-2:], "big")
        assert raw.say(b"PORT 127,0,0,1,%d,%d" % (port >> 8, port & 255)).startswith(b"200")
        assert raw.say(b"RETR file")[:3] in (b"125", b"150")
        assert client.exactly(bind, 10)[:2] == b"\5\0"
        assert client.to_end(bind) == FILE
        assert raw.reply().startswith(b"226")
    assert firewall.rows(Action=int(Action.Denied)) == []
    firewall.wait_base_line()


def test_garbage(service: Any, python_server: PythonServer, client: Any) -> None:
    firewall = service(python_server, "published = true")
    raw = client.connect(firewall.address("published"))
    raw.sendall(bytes(range(256)) * 64)
    assert b"500 Syntax error" in client.to_end(raw)
    client.reset(raw)
    firewall.wait_base_line()
