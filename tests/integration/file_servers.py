"""Real FTP servers, pyftpdlib and vsftpd, and real clients, curl and lftp."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

FILE = bytes(range(256)) * 4096
USER, PASSWORD = "ann", "correct horse"
Start = Callable[..., "subprocess.Popen[bytes]"]
PYFTPDLIB = """
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

authorizer = FTPHandler.authorizer = DummyAuthorizer()
authorizer.add_user(sys.argv[2], sys.argv[3], sys.argv[1], perm="elradfmwMT")
authorizer.add_anonymous(sys.argv[1])
server = FTPServer((sys.argv[4], int(sys.argv[5])), FTPHandler)
print(server.address[1], flush=True)
server.serve_forever()
"""


@contextmanager
def programs() -> Iterator[Start]:
    """Start programs that are killed at the end."""
    with ExitStack() as started:

        def start(*command: str, **options: Any) -> subprocess.Popen[bytes]:
            process = started.enter_context(subprocess.Popen(command, **options))
            started.callback(process.kill)
            return process

        yield start


class FileServer:
    """A real FTP server with one folder.

    :ivar folder: what it serves, with ``file`` in it.
    """

    def __init__(self, folder: Path) -> None:
        """*folder* is made."""
        self.folder = folder
        folder.mkdir()
        (folder / "file").write_bytes(FILE)
        self.port = 0


class PythonServer(FileServer):
    """pyftpdlib, in a process of its own: it sets logging up, and imports what warns."""

    def __init__(
        self,
        folder: Path,
        start: Start,
        host: str = "127.0.0.1",
        port: int = 0,
        prefix: tuple[str, ...] = (),
    ) -> None:
        """*start* starts a program, which *prefix* may be a command to run it under, at *host* and *port*."""
        super().__init__(folder)
        place = (str(folder), USER, PASSWORD, host, str(port))
        command = [*prefix, sys.executable, "-W", "ignore", "-c", PYFTPDLIB, *place]
        process = start(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        with process.stdout as said:
            self.port = int(said.readline())


class VsFtpServer(FileServer):
    """vsftpd, for anonymous users alone."""

    def __init__(self, folder: Path, program: str, start: Start, eventually: Callable[..., Any]) -> None:
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
            "write_enable=YES\nanon_upload_enable=YES\nconnect_from_port_20=NO\nxferlog_enable=NO\n"
        )
        self._process = start(program, str(config))
        eventually(self._answers, "vsftpd to listen")

    def _answers(self) -> bool:
        assert self._process.poll() is None, "vsftpd has ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


MODES = {
    "PASV": ("--disable-epsv",),
    "EPSV": (),
    "PORT": ("--ftp-port", "127.0.0.1", "--disable-eprt"),
    "EPRT": ("--ftp-port", "127.0.0.1"),
}
"""How curl is told to agree on a data port."""


class Curl:
    """Fetches a file with curl, from a port of this machine."""

    def __init__(self, program: str) -> None:
        self._program = program

    def __call__(self, port: int, *options: str, path: str = "file") -> subprocess.CompletedProcess[bytes]:
        command = [self._program, "-sS", "-m", "20", *options, f"ftp://127.0.0.1:{port}/{path}"]
        return subprocess.run(command, capture_output=True, timeout=60, check=False)


class Lftp:
    """Has lftp do *commands* at a port of this machine, as an anonymous user; the first that fails ends it."""

    def __init__(self, program: str) -> None:
        self._program = program

    def __call__(self, port: int, settings: str, commands: str) -> subprocess.CompletedProcess[bytes]:
        script = f"set net:max-retries 1; set net:timeout 10; set cmd:fail-exit yes; {settings}; "
        script += f"open -u anonymous,x 127.0.0.1:{port}; {commands}; quit"
        command = [self._program, "--norc", "-c", script]
        return subprocess.run(command, capture_output=True, timeout=60, check=False)
