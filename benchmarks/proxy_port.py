"""The benchmark of the proxy port: SOCKS5 CONNECT and UDP ASSOCIATE beside Dante and microsocks.

    python benchmarks/proxy_port.py [--quick] [--rounds N] [--seconds N] [--only connect,bulk,udp] [--relays fwx]
                                    [--json FILE]

Everything stays on 127.0.0.1. benchmarks/README.rst says what the columns are and how to read them.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from harness import load, proxy_relays
from harness.parts import Column, Part, options_of, run
from harness.process import raise_descriptor_limit
from harness.proxy_load import ProxyLoads
from harness.relays import Start, relay
from harness.socket_load import Done

CLIENTS = 32
BASES = ("dante", "microsocks")
DATAGRAMS = (64, 1400)
# All that is under way fits into the kernel's buffer of one socket, so that a loss is the relay's.
UDP_CLIENTS, WINDOW = 8, 8


class Plan(NamedTuple):
    """How long and how often to measure."""

    seconds: float
    rounds: int


class Bench:
    """Measures whoever is started; every load meets a proxy that has just started."""

    def __init__(self, plan: Plan, folder: Path, loads: ProxyLoads) -> None:
        self._plan = plan
        self._folder = folder
        self._loads = loads
        self._runs = 0

    def connect(self, start: Start) -> Iterator[Column]:
        use = partial(self._loads.connect, clients=CLIENTS, seconds=self._plan.seconds)
        done, cpu = self._loaded(start, self._loads.closer, use)
        yield "new", done.units / done.seconds
        yield "new CPU", cpu / done.units * 1e6

    def bulk(self, start: Start) -> Iterator[Column]:
        sink = partial(load.origin, load.sink)
        done, cpu = self._loaded(start, sink, partial(self._loads.push, seconds=self._plan.seconds))
        yield "bulk", done.units * 8 / 1e9 / done.seconds
        yield "bulk CPU", cpu / (done.units / 1e9)

    def datagrams(self, start: Start) -> Iterator[Column]:
        for size in DATAGRAMS:
            use = partial(
                self._loads.datagrams, clients=UDP_CLIENTS, window=WINDOW, size=size, seconds=self._plan.seconds
            )
            done, cpu = self._loaded(start, self._loads.reflector, use)
            yield f"{size} B", done.units / done.seconds
            yield f"{size} B CPU", cpu / done.units * 1e6
            yield f"{size} B lost", 100 * done.lost / (done.lost + done.units)

    def _loaded(
        self, start: Start, target: Callable[[], AbstractContextManager[int]], use: Callable[[int, int], Done]
    ) -> tuple[Done, float]:
        """Put a proxy under the load *use* towards *target*; return what was done and the proxy's CPU seconds."""
        self._runs += 1
        with target() as origin, relay(start, self._folder / str(self._runs), origin) as running:
            before = running.cpu()
            done = use(running.port, origin)
            if not done.units:
                raise RuntimeError("nothing came through")
            return done, running.cpu() - before


def parts(bench: Bench) -> dict[str, Part]:
    streams, keeping = proxy_relays.streams(), proxy_relays.half_closing()
    udp = {
        name: unit
        for size in DATAGRAMS
        for name, unit in ((f"{size} B", "trips/s"), (f"{size} B CPU", "us/trip"), (f"{size} B lost", "%"))
    }
    new, bulk = {"new": "conn/s", "new CPU": "us/conn"}, {"bulk": "Gbit/s", "bulk CPU": "s/GB"}
    return {
        "connect": Part("SOCKS5 CONNECT", new, streams, bench.connect, BASES),
        "bulk": Part("SOCKS5 CONNECT, bulk", bulk, keeping, bench.bulk, BASES),
        "udp": Part("SOCKS5 UDP ASSOCIATE", udp, keeping, bench.datagrams, BASES),
    }


def _options() -> argparse.Namespace:
    parser = options_of(__doc__)
    options = parser.parse_args()
    if options.seconds <= 0 or options.rounds < 1:
        parser.error("--seconds needs a number above 0, --rounds one of 1 or more")
    options.parser = parser
    return options


def main() -> int:
    options = _options()
    raise_descriptor_limit()
    plan = Plan(1.0, 1) if options.quick else Plan(options.seconds, options.rounds)
    with tempfile.TemporaryDirectory(prefix="fwx-bench-") as text:
        folder = Path(text)
        folder.chmod(0o755)  # a relay that drops root reads its files here
        try:
            loads = ProxyLoads(folder)
        except RuntimeError as error:
            print(f"left out: {error}")
            return 0
        about = {
            "python": platform.python_version(),
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
            "plan": plan._asdict(),
            "left out": [name for name in BASES if name not in proxy_relays.streams()],
        }
        try:
            return run(parts(Bench(plan, folder, loads)), options, plan.rounds, about)
        except ValueError as error:
            options.parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
