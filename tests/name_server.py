"""A real DNS server on a free port of 127.0.0.1 that knows one name; several tests start one."""

from __future__ import annotations

import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME, ADDRESS = "www.example", "192.0.2.80"
_TRIES = 5


@contextmanager
def name_server(program: str) -> Iterator[int]:
    """Run *program*, dnsmasq, and yield its port. It takes the same port of TCP too, which somebody may have."""
    with tempfile.TemporaryDirectory() as folder:
        process, port = _start(program, Path(folder))
        try:
            yield port
        finally:
            process.terminate()
            process.communicate()


def _start(program: str, folder: Path) -> tuple[subprocess.Popen[str], int]:
    said = ""
    for _ in range(_TRIES):
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            stream.bind(("127.0.0.1", 0))
            port: int = stream.getsockname()[1]
            try:
                datagrams.bind(("127.0.0.1", port))
            except OSError:
                continue
        arguments = ["--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--bind-interfaces"]
        arguments += [f"--port={port}", "--listen-address=127.0.0.1", f"--address=/{NAME}/{ADDRESS}"]
        arguments += [f"--pid-file={folder / 'pid'}", "--user=root", "--log-facility=-"]
        process = subprocess.Popen([program, *arguments], stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        said = process.stderr.readline()
        if "started" in said:
            return process, port
        process.communicate()
    raise AssertionError(f"no name server: {said}")


def dig(program: str, port: int, seconds: int = 5) -> str:
    """Ask the server at *port* for the name; return the address, or ``no answer``."""
    command = [program, "+short", "+tries=1", f"+time={seconds}", "-p", str(port), "@127.0.0.1", NAME]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return told if told == ADDRESS else "no answer"
