"""The filter ftp in a running service: lftp and curl against pyftpdlib and vsftpd.

The rules allow the control port alone.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fwx.impl.logrecord import Action

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
FILE = bytes(range(256)) * 4096
USER, PASSWORD = "ann", "correct horse"
PYFTPDLIB = """
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

authorizer = FTPHandler.authorizer = DummyAuthorizer()
authorizer.add_user(sys.argv[2], sys.argv[3], sys.argv[1], perm="elradfmwMT")
authorizer.add_anonymous(sys.argv[1])
server = FTPServer(("127.0.0.1", 0), FTPHandler)
print(server.address[1], flush=True)
server.serve_forever()
"""


class FileServer:
    """A real FTP server with one folder.

    :ivar folder: what it serves, with ``file`` in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "file").write_bytes(FILE)
        self.port = 0


class PythonServer(FileServer):
    """pyftpdlib, in a process of its own: it sets logging up, and imports what warns."""

    def __init__(self, folder: Path, start: Callable[..., Any]) -> None:
        super().__init__(folder)
        command = [sys.executable, "-W", "ignore", "-c", PYFTPDLIB, str(folder), USER, PASSWORD]
        process = start(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.port = int(process.stdout.readline())


class VsFtpServer(FileServer):
    """vsftpd, for anonymous users alone."""

    def __init__(self, folder: Path, program: str, start: Callable[..., Any], eventually: Callable[..., Any]) -> None:
        super().__init__(folder)
        folder.chmod(0o755)
        for parent in folder.parents:
            if str(parent).startswith("/tmp/"):
                parent.chmod(parent.stat().st_mode | 0o111)
        (folder / "up").mkdir()
        (folder / "up").chmod(0o777)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        config = folder.parent / "vsftpd.conf"
        empty = folder.parent / "empty"
        empty.mkdir()
        config.write_text(
            f"listen=YES\nlisten_address=127.0.0.1\nlisten_port={self.port}\nbackground=NO\nanonymous_enable=YES\n"
            f"local_enable=NO\nanon_root={folder}\nsecure_chroot_dir={empty}\nseccomp_sandbox=NO\n"
            "write_enable=YES\nanon_upload_enable=YES\nconnect_from_port_20=NO\nxferlog_enable=NO\nno_anon_password=YES\n"
        )
        self._process = start(program, str(config))
        eventually(self._answers, "vsftpd to listen")

    def _answers(self) -> bool:
        assert self._process.poll() is None, "vsftpd has ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def python_server(tmp_path: Path, background: Any) -> PythonServer:
    folder = tmp_path / "served"
    folder.mkdir()
    return PythonServer(folder, background)


@pytest.fixture(params=["pyftpdlib", pytest.param("vsftpd", marks=pytest.mark.requires("vsftpd"))])
def server(request: pytest.FixtureRequest, tmp_path: Path, program_path: Any, background: Any, eventually: Any) -> Any:
    if request.param == "pyftpdlib":
        return request.getfixturevalue("python_server")
    if os.geteuid() != 0:
        pytest.skip("vsftpd needs root")
    folder = tmp_path / "served"
    folder.mkdir()
    return VsFtpServer(folder, program_path("vsftpd"), background, eventually)


@pytest.fixture
def service(serve: Any) -> Callable[..., Any]:
    def start(server: FileServer, options: str = "", filters: str = '"files"', **keys: Any) -> Any:
        return serve(CONFIG.format(port=server.port, options=options, filters=filters), **keys)

    return start


Transfer = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def curl(program_path: Callable[[str], str]) -> Transfer:
    def run(port: int, *options: str, path: str = "file") -> subprocess.CompletedProcess[bytes]:
        command = [program_path("curl"), "-sS", "-m", "20", *options, f"ftp://127.0.0.1:{port}/{path}"]
        return subprocess.run(command, capture_output=True, timeout=60, check=False)

    return run


@pytest.fixture
def lftp(program_path: Callable[[str], str]) -> Transfer:
    def run(port: int, settings: str, commands: str) -> subprocess.CompletedProcess[bytes]:
        script = f"set net:max-retries 1; set net:timeout 10; set cmd:fail-exit yes; {settings}; "
        script += f"open -u anonymous,x 127.0.0.1:{port}; {commands}; quit"
        command = [program_path("lftp"), "--norc", "-c", script]
        return subprocess.run(command, capture_output=True, timeout=60, check=False)

    return run


MODES = {
    "PASV": ("--disable-epsv",),
    "EPSV": (),
    "PORT": ("--ftp-port", "127.0.0.1", "--disable-eprt"),
    "EPRT": ("--ftp-port", "127.0.0.1"),
}


def data_rows(firewall: Any) -> list[dict[str, Any]]:
    """The records of data connections: what has moved the file."""
    return [row for row in firewall.rows() if row["bytessent"] + row["bytesrecvd"] == len(FILE)]


@pytest.mark.requires("curl")
@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
@pytest.mark.path(entry="http-connect", exit="direct", transport="tcp")
@pytest.mark.path(entry="publish", exit="direct", transport="tcp")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("way", ["socks5", "http-connect", "publish"])
def test_curl(service: Any, server: FileServer, curl: Transfer, eventually: Any, way: str, mode: str) -> None:
    """B6.2, B6.5, B6.12, B6.20, B6.22, B6.23, B6.32: a file comes, with the control port alone in the rules."""
    firewall = service(server, "published = true" if way == "publish" else "")
    if way == "publish":
        got = curl(firewall.address("published")[1], *MODES[mode])
    else:
        host, port = firewall.address("proxy")
        proxy = f"socks5://{host}:{port}" if way == "socks5" else f"http://{host}:{port}"
        got = curl(server.port, "--proxytunnel", "--proxy", proxy, *MODES[mode])
    assert (got.returncode, got.stderr, got.stdout == FILE) == (0, b"", True)
    (data,) = eventually(lambda: data_rows(firewall), "the record of the data connection")
    assert data["rule"] == "ftp"
    assert {row["reason"] for row in firewall.rows(Action=int(Action.Denied))} == set()
    firewall.wait_base_line()
