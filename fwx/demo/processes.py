"""The processes of the demonstration: the origin and the service, and the ends that listen here."""

from __future__ import annotations

import re
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from fwx.demo import DemoError
from fwx.interfaces import SocketAddress

_START_SECONDS = 20.0
_STOP_SECONDS = 20.0
_SHOWN_LINES = 20


class Child:
    """A running Python module of this project, one stream of which is read line by line."""

    def __init__(self, module: str, arguments: Sequence[str], stream: str) -> None:
        """Start ``python -m`` *module*; *stream* is ``stdout`` or ``stderr``, the other one is inherited.

        :raises OSError: it cannot be started.
        """
        self.name = module
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        # An end of standard input tells the origin that this process is gone, however that happened.
        self._process = subprocess.Popen(  # noqa: S603 (this interpreter, our modules)
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            text=True,
            errors="replace",
            stdout=subprocess.PIPE if stream == "stdout" else None,
            stderr=subprocess.PIPE if stream == "stderr" else None,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def lines(self) -> tuple[str, ...]:
        """What it has said so far."""
        with self._news:
            return tuple(self._lines)

    def address(self, pattern: str) -> SocketAddress:
        """Wait until it says a line that *pattern* matches, and return the address in the pattern's group.

        :raises DemoError: it ended, or did not say so in time; its last lines are quoted.
        """

        def found() -> re.Match[str] | None:
            return next(filter(None, (re.search(pattern, line) for line in self._lines)), None)

        with self._news:
            self._news.wait_for(lambda: found() or self._ended, _START_SECONDS)
            match = found()
        if match is None:
            raise DemoError(f"{self.name} did not say where it listens. It said:\n{self.last_lines()}")
        return SocketAddress.parse(match[1])

    def last_lines(self) -> str:
        return "\n".join(f"    {line}" for line in self.lines[-_SHOWN_LINES:])

    def stop(self) -> int:
        """Send SIGTERM and return the exit status; a process that does not obey is killed, its status is negative."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        status = self._process.wait()
        self._reader.join()
        if self._process.stdin is not None:
            self._process.stdin.close()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _read(self) -> None:
        stream = self._process.stdout or self._process.stderr
        assert stream is not None
        with stream:
            for line in stream:
                with self._news:
                    self._lines.append(line.rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


def start_origin() -> Child:
    """Start the origin; its line is ``origin listens on ADDRESS``."""
    return Child("fwx.demo.origin", (), "stdout")


def start_service(configuration: Path, loop: str) -> Child:
    """Start ``fwx serve``; its line is ``fwx: NAME listens on ADDRESS``."""
    return Child("fwx", ("serve", "--config", str(configuration), "--loop", loop), "stderr")


class _LineHandler(socketserver.StreamRequestHandler):
    server: LineSink

    def handle(self) -> None:
        try:
            for line in self.rfile:
                self.server.take(line)
        except ConnectionResetError:  # the service closes a session's socket this way
            return


class LineSink(socketserver.ThreadingTCPServer):
    """Listens on a free port and keeps the lines that come: where the collector's sessions report to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _LineHandler)
        self.address = SocketAddress.from_sockaddr(self.socket.getsockname())
        self._lines: list[bytes] = []
        self._news = threading.Condition()
        self._serving = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1})
        self._serving.start()

    def take(self, line: bytes) -> None:
        """Keep *line*; called by the handlers' threads."""
        with self._news:
            self._lines.append(line)
            self._news.notify_all()

    def wait(self, count: int, seconds: float) -> list[bytes]:
        """Wait until *count* lines have come, at most *seconds*; return those that have."""
        with self._news:
            self._news.wait_for(lambda: len(self._lines) >= count, seconds)
            return list(self._lines)

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._serving.join()
        self.server_close()


def read_all(address: SocketAddress, seconds: float) -> str:
    """Connect to *address* and return all that is said there, waiting at most *seconds* for each piece.

    :raises OSError: it cannot be read.
    """
    with socket.create_connection(address.sockaddr, seconds) as connection:
        return b"".join(iter(lambda: connection.recv(1 << 16), b"")).decode(errors="replace")


def listens(address: SocketAddress) -> bool:
    """Tell whether a connection to *address* is accepted."""
    try:
        socket.create_connection(address.sockaddr, 1.0).close()
    except ConnectionRefusedError:
        return False
    return True


def poll(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask *condition*, again and again for *seconds* at most, until it is true; tell whether it is."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True
