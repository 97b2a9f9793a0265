"""The relay benchmark: fwx beside HAProxy and nginx with njs, each in turn, several rounds, medians and ratios.

    python benchmarks/relay.py [--quick] [--rounds N] [--seconds N] [--only fwx,haproxy] [--json FILE]

Everything stays on 127.0.0.1. benchmarks/README.rst says what the columns are and how to read them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from harness import load, tools
from harness.process import PATIENCE
from harness.relays import Relay, Start, installed, relay
from harness.rounds import STEP_SECONDS, Taken, medians, take
from harness.table import table

CLIENTS = 32
STALLED = 8
# Enough that what the interpreter takes from the system in one piece is small beside it.
IDLE = 400
MIB = 1 << 20
# Column -> unit, and whether more is better.
COLUMNS = {
    "bulk": "Gbit/s",
    "bulk CPU": "s/GB",
    "new": "conn/s",
    "new CPU": "us/conn",
    "kept": "req/s",
    "kept CPU": "us/req",
    "to stalled": "MiB/conn",
    "from stalled": "MiB/conn",
    "idle": "KiB/pair",
}


class Plan(NamedTuple):
    """How long and how often to measure."""

    seconds: float
    rounds: int
    stall_seconds: float


class Bench:
    """Measures one relay after the other against the same origins."""

    def __init__(self, plan: Plan, folder: Path, bulk_port: int, request_port: int) -> None:
        self._plan = plan
        self._folder = folder
        self._bulk_port = bulk_port
        self._request_port = request_port
        self._runs = 0

    def measure(self, start: Start) -> Iterator[tuple[str, float]]:
        """Give each column with its figure; every kind of load meets a relay that has just started."""
        yield from self._bulk(start)
        yield from self._requests(start, keep=False)
        yield from self._requests(start, keep=True)
        yield "to stalled", self._stalled(start, load.flood, self._read_one)
        yield "from stalled", self._stalled(start, load.ignore, self._fill)
        yield "idle", self._idle(start)

    def _bulk(self, start: Start) -> Iterator[tuple[str, float]]:
        with relay(start, self._next_folder(), self._bulk_port) as running:
            before = running.cpu()
            moved, seconds = tools.push(running.port, self._plan.seconds)
            yield "bulk", moved * 8 / 1e9 / seconds
            yield "bulk CPU", (running.cpu() - before) / (moved / 1e9)

    def _requests(self, start: Start, *, keep: bool) -> Iterator[tuple[str, float]]:
        name = "kept" if keep else "new"
        with relay(start, self._next_folder(), self._request_port) as running:
            before = running.cpu()
            answers, seconds = tools.ask(running.port, CLIENTS, self._plan.seconds, keep)
            yield name, answers / seconds
            yield f"{name} CPU", (running.cpu() - before) / answers * 1e6

    def _stalled(
        self, start: Start, serve: Callable[[socket.socket], None], use: Callable[[list[socket.socket]], None]
    ) -> float:
        """Return by how many MiB the relay grows for each connection whose receiver has stopped reading."""
        with load.origin(serve) as port, relay(start, self._next_folder(), port) as running, ExitStack() as clients:
            with _connect(running) as warm:
                use([warm])
            before = running.memory()
            opened = [clients.enter_context(_connect(running)) for _ in range(STALLED)]
            use(opened)
            return (running.memory() - before) / STALLED / MIB

    def _read_one(self, clients: list[socket.socket]) -> None:
        """The origin sends without end; the clients read one byte and stop."""
        for client in clients:
            if not client.recv(1):
                raise RuntimeError("the relay closed a connection that nobody reads")
        time.sleep(self._plan.stall_seconds)

    def _fill(self, clients: list[socket.socket]) -> None:
        """The origin never reads; the clients send as long as anything goes in."""
        block = bytes(65536)
        end = time.monotonic() + self._plan.stall_seconds
        for client in clients:
            client.setblocking(False)
        while time.monotonic() < end:
            for client in clients:
                if not load.push_on(client, block):
                    raise RuntimeError("the relay closed a connection that nobody reads")
            time.sleep(0.001)

    def _idle(self, start: Start) -> float:
        """Return the KiB that an idle connection and its partner cost, after one exchange on each."""
        with relay(start, self._next_folder(), self._request_port) as running, ExitStack() as clients:
            for _ in range(CLIENTS):
                with _connect(running) as warm:
                    _exchange(warm)
            before = running.memory()
            for _ in range(IDLE):
                _exchange(clients.enter_context(_connect(running)))
            return (running.memory() - before) / IDLE / 1024

    def _next_folder(self) -> Path:
        self._runs += 1
        return self._folder / str(self._runs)


def _connect(running: Relay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.port), PATIENCE)  # its timeout is that of every step


def _exchange(client: socket.socket) -> None:
    client.sendall(load.REQUEST)
    if not client.recv(4096).startswith(b"HTTP/1.1 200"):
        raise RuntimeError("no answer came through the relay")


def run(plan: Plan, relays: dict[str, Start]) -> tuple[Taken, list[str]]:
    """Measure every relay in every round; return the figures and what went wrong."""
    with tempfile.TemporaryDirectory(prefix="fwx-bench-") as text, ExitStack() as origins:
        folder = Path(text)
        folder.chmod(0o755)  # workers that drop root read their files here
        ports = [origins.enter_context(start(folder)) for start in (tools.bulk_origin, tools.request_origin)]
        bench = Bench(plan, folder, *ports)
        step = plan.seconds + 2 * plan.stall_seconds + STEP_SECONDS
        return take({name: partial(bench.measure, start) for name, start in relays.items()}, plan.rounds, step)


def _options(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load (default 3)")
    parser.add_argument("--rounds", type=int, default=3, help="the medians are of so many (default 3)")
    parser.add_argument("--quick", action="store_true", help="one round with loads of one second")
    parser.add_argument("--only", metavar="NAMES", help="relays, with commas between them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure there")
    options = parser.parse_args(argv)
    if options.seconds <= 0 or options.rounds < 1:
        parser.error("--seconds needs a number above 0, --rounds one of 1 or more")
    there = installed()
    options.relays = {name: there[name] for name in (options.only or ",".join(there)).split(",") if name in there}
    missing = set((options.only or "").split(",")) - {""} - there.keys()
    if missing:
        parser.error(f"--only: {min(missing)!r} is not here; there are {', '.join(there)}")
    return options


def main() -> int:
    options = _options()
    plan = Plan(1.0, 1, 1.5) if options.quick else Plan(options.seconds, options.rounds, 5.0)
    figures, problems = run(plan, options.relays)
    middle = medians(figures)
    bases = [name for name in ("haproxy", "nginx+njs") if name in middle]
    print(f"load by {', '.join(f'{who} ({what})' for what, who in tools.used().items())}; rounds: {plan.rounds}\n")
    print(table(middle, COLUMNS, bases))
    for problem in problems:
        print(problem, file=sys.stderr)
    if options.json is not None:
        about = {
            "python": platform.python_version(),
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
            "load": tools.used(),
            "plan": plan._asdict(),
        }
        report = {"about": about, "units": COLUMNS, "medians": middle, "rounds": figures, "problems": problems}
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
