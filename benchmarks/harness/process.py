"""Processes under measurement: started and ended, their CPU time and their memory, children included, from /proc."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 20.0
LOCALHOST = "127.0.0.1"
_QUIET_SECONDS = 0.25
_DAEMONS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def find(program: str) -> str | None:
    """Return the path of *program*, also of a daemon that is not on an ordinary user's path."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_DAEMONS]))


def run_to_end(command: Sequence[str | Path], patience: float = PATIENCE, **how: Any) -> str:
    """Run a program that ends by itself; return what it printed. *how* is for :class:`subprocess.Popen`.

    :raises RuntimeError: it failed, or did not end within *patience* seconds; quotes what it said.
    """
    name = Path(command[0]).name
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "errors": "replace", **how}
    try:
        result = subprocess.run(command, timeout=patience, check=False, **how)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{name} did not end within {patience:g} s: {' '.join(map(str, command))}") from error
    if result.returncode:
        said = (result.stderr or result.stdout or "it said nothing").strip()[-300:]
        raise RuntimeError(f"{' '.join(map(str, [name, *command[1:]]))} failed: {said}")
    return result.stdout or ""


def raise_descriptor_limit() -> int:
    """Let this process and its children open as many descriptors as the system allows; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM, host: str = LOCALHOST) -> int:
    """Return a port that was free a moment ago, for programs that cannot be asked to choose one."""
    with socket.socket(type=kind) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def family(pid: int) -> Iterator[int]:
    """Give *pid* and every descendant of it that lives."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found = children.read_text().split()
        except OSError:  # the thread has ended
            continue
        for child in found:
            yield from family(int(child))


def cpu_seconds(pid: int) -> float:
    """Return user and system seconds of *pid* and its children, those that have ended and been waited for too."""
    ticks = 0
    for member in family(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended; its parent has counted it
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS


def settled_cpu_seconds(pid: int) -> float:
    """Return :func:`cpu_seconds` once *pid* rests, so that work put off (a log) counts where it was caused."""
    seconds = cpu_seconds(pid)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        time.sleep(_QUIET_SECONDS)
        before, seconds = seconds, cpu_seconds(pid)
        if seconds - before < 1.5 / TICKS:
            break
    return seconds


def memory(pid: int) -> int:
    """Return the bytes of memory that *pid* and its children hold, shared pages by their share (Pss)."""
    total = 0
    for member in family(pid):
        try:
            found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{member}/smaps_rollup").read_text(), re.MULTILINE)
        except OSError:
            continue
        total += int(found[1]) * 1024 if found else 0
    return total


def settled_memory(pid: int) -> int:
    """Return :func:`memory` once it has stopped changing."""
    held = memory(pid)
    for _ in range(10):
        time.sleep(_QUIET_SECONDS)
        before, held = held, memory(pid)
        if abs(held - before) < 32 << 10:
            break
    return held


class Running:
    """A program in the foreground, in a process group of its own, ended at the end of a ``with`` block."""

    def __init__(self, command: list[str], errors: Path, cwd: Path | None = None) -> None:
        """Start *command* without a shell; what it says goes to the file *errors*."""
        self.command = command
        self.errors = errors
        self._file: BinaryIO = errors.open("wb")
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._file, stderr=self._file, cwd=cwd, start_new_session=True
        )
        self.pid = self._process.pid

    def wait_for_text(self, pattern: str) -> str:
        """Return the first group of *pattern* once the program has said it.

        :raises RuntimeError: it ended or stayed silent; quotes what it said.
        """
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = re.search(pattern, self.errors.read_text(errors="replace"))
            if found:
                return found[1]
            self._require_alive()
            time.sleep(0.02)
        raise RuntimeError(f"{self.command[0]} did not say {pattern!r} within {PATIENCE:g} s: {self._said()}")

    def wait_for_port(self, port: int, kind: socket.SocketKind = socket.SOCK_STREAM, host: str = LOCALHOST) -> None:
        """Return once the program listens on *port* of *host*, or has bound it for UDP; in the caller's network.

        :raises RuntimeError: it ended, or does not listen.
        """
        table, state = ("tcp", "0A") if kind == socket.SOCK_STREAM else ("udp", "07")
        (number,) = struct.unpack("=I", socket.inet_aton(host))
        wanted = f"{number:08X}:{port:04X} 00000000:0000 {state}"
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if wanted in Path(f"/proc/net/{table}").read_text():
                return
            self._require_alive()
            time.sleep(0.02)
        raise RuntimeError(f"{self.command[0]} does not listen on port {port} after {PATIENCE:g} s: {self._said()}")

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            os.killpg(self.pid, signal.SIGTERM)
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        except ProcessLookupError:
            self._process.wait()
        self._file.close()

    def _require_alive(self) -> None:
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.command[0]} ended with code {self._process.returncode}: {self._said()}")

    def _said(self) -> str:
        return self.errors.read_text(errors="replace").strip()[-500:] or "it said nothing"
