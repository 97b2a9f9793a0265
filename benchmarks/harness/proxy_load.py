"""The loads of benchmarks/proxy_port.py: clients of SOCKS5, made by ``fast_load.c``; the bulk one in Python."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import load
from harness.process import PATIENCE, Running, find, run_to_end
from harness.socket_load import COMPILER_PATIENCE, Done

_SOURCE = Path(__file__).with_name("fast_load.c")
_CHUNK = 1 << 20


class ProxyLoads:
    """Makes the loads. They need a compiler: Python would be the limit."""

    def __init__(self, folder: Path) -> None:
        """Compile the loads into *folder*. :raises RuntimeError: there is no gcc, or it failed."""
        self._folder = folder
        self._program = folder / "fast_load"
        compiler = find("gcc")
        if compiler is None:
            raise RuntimeError("gcc is not installed, and the loads are written in C")
        run_to_end([compiler, "-O2", "-o", self._program, _SOURCE], COMPILER_PATIENCE)

    def connect(self, proxy: int, target: int, clients: int, seconds: float) -> Done:
        """Count the connections that *clients* have made, one after the other, to a target that ends them."""
        return self._run("socks", proxy, target, clients, seconds)

    def datagrams(self, proxy: int, target: int, clients: int, window: int, size: int, seconds: float) -> Done:
        """Count the datagrams that come back to *clients*, each an association with *window* under way."""
        return self._run("associate", proxy, target, clients, window, size, seconds)

    def push(self, proxy: int, target: int, seconds: float) -> Done:
        """Send as much as goes through one connection."""
        count, spent = load.run(push, proxy, target, seconds, patience=seconds + PATIENCE)
        return Done(count, 0, spent)

    @contextmanager
    def closer(self) -> Iterator[int]:
        """Run what accepts connections and ends them; give its port."""
        with self._server("close") as port:
            yield port

    @contextmanager
    def reflector(self) -> Iterator[int]:
        """Run what sends every datagram back; give its port."""
        with self._server("reflect") as port:
            yield port

    @contextmanager
    def _server(self, name: str) -> Iterator[int]:
        with Running([str(self._program), name], self._folder / f"{name}.said") as process:
            yield int(process.wait_for_text(r"^(\d+)\n"))

    def _run(self, name: str, *numbers: float) -> Done:
        said = run_to_end([str(self._program), name, *map(str, numbers)], numbers[-1] + PATIENCE)
        count, lost, seconds = said.split()
        return Done(int(count), int(lost), float(seconds))


def push(proxy: int, target: int, seconds: float) -> tuple[int, float]:
    """Send zeros through the proxy for *seconds*; return the bytes that arrived and the seconds until they had."""
    with tempfile.TemporaryFile() as file, socket.create_connection(("127.0.0.1", proxy), PATIENCE) as client:
        file.truncate(_CHUNK)
        client.sendall(b"\x05\x01\x00")
        client.recv(2, socket.MSG_WAITALL)
        client.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + target.to_bytes(2, "big"))
        if client.recv(10, socket.MSG_WAITALL)[1:2] != b"\x00":
            raise RuntimeError("the proxy refused the connection")
        started = time.monotonic()
        client.sendfile(file, 0, _CHUNK)
        while time.monotonic() - started < seconds:
            client.sendfile(file, 0, _CHUNK)
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(8, socket.MSG_WAITALL)
        if len(answer) < 8:
            raise RuntimeError("the connection was closed before all had arrived")
        return int.from_bytes(answer, "big"), time.monotonic() - started
