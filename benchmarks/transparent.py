"""The benchmark of transparent listeners: fwx beside HAProxy, between a client's network namespace and a server's.

    sudo python benchmarks/transparent.py [--quick] [--rounds N] [--seconds N] [--only fwx,haproxy] [--json FILE]

It needs root, nftables and iproute2, and does nothing without them. Nothing leaves the namespaces.
benchmarks/README.rst says what the columns are and how to read them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from harness import load, tools
from harness.namespaces import SERVER, Namespaces, missing
from harness.process import PATIENCE, find
from harness.relays import HAPROXY_HEAD, Relay, run_haproxy, serve
from harness.rounds import STEP_SECONDS, medians, take
from harness.socket_load import exchange_datagrams, reflect
from harness.table import table

CLIENTS = 32
DATAGRAM_CLIENTS = 8
DATAGRAM_WINDOW = 8
PORT = 15001
COLUMNS = {
    "bulk": "Gbit/s",
    "bulk CPU": "s/GB",
    "new": "conn/s",
    "new CPU": "us/conn",
    "kept": "req/s",
    "kept CPU": "us/req",
}
DATAGRAM_COLUMNS = {"64 B": "trips/s", "64 B CPU": "us/trip", "1200 B": "trips/s", "1200 B CPU": "us/trip"}

_FWX = """\
[service]
state_dir = "{folder}/state"

[[network]]
name = "inside"
ranges = ["10.1.0.0/16"]

[[listener]]
name = "relay"
kind = "transparent"
mode = "tproxy"
transport = "{transport}"
bind = "0.0.0.0:15001"
keep_client_address = {keep}

[[protocol]]
name = "load"
ports = [
    {{ transport = "tcp", direction = "outbound", first = 1, last = 65535 }},
    {{ transport = "udp", direction = "send_receive", first = 1, last = 65535 }},
]

[[rule]]
name = "all"
action = "allow"
protocols = ["any"]
from = ["inside"]
to = ["any"]

[limits]
tcp_per_address = 100000
tcp_connects_per_minute_per_address = 100000000
"""
_HAPROXY = """\
  bind 0.0.0.0:15001 transparent
  default_backend servers
backend servers
  source 0.0.0.0 {source}
  server any *
"""

Start = Callable[[Path], Relay]


class Plan(NamedTuple):
    """How long and how often to measure."""

    seconds: float
    rounds: int


def start_fwx(folder: Path, keep: bool = False, transport: str = "tcp") -> Relay:
    configuration = _FWX.format(folder=folder, keep=str(keep).lower(), transport=transport)
    return serve(folder, configuration, "relay listens on")


def start_haproxy(folder: Path, keep: bool = False) -> Relay:
    configuration = HAPROXY_HEAD + _HAPROXY.format(source="usesrc clientip" if keep else "")
    return run_haproxy(folder, configuration, PORT, host="0.0.0.0")


def relays() -> dict[str, Start]:
    found: dict[str, Start] = {"fwx": start_fwx, "fwx+keep": partial(start_fwx, keep=True)}
    if find("haproxy") is not None:
        found |= {"haproxy": start_haproxy, "haproxy+keep": partial(start_haproxy, keep=True)}
    return found


class Bench:
    """Measures one relay after the other against the same origins."""

    def __init__(self, plan: Plan, folder: Path, spaces: Namespaces, stack: ExitStack) -> None:
        """Start the origins; *stack* ends them."""
        self._plan = plan
        self._folder = folder
        self._spaces = spaces
        self._runs = 0
        with spaces.inside(spaces.server):
            self._bulk = stack.enter_context(tools.bulk_origin(folder, SERVER))
            self._requests = stack.enter_context(tools.request_origin(folder, SERVER))
            self._datagrams = stack.enter_context(load.origin(reflect, socket.SOCK_DGRAM, SERVER))

    def measure(self, start: Start | None) -> Iterator[tuple[str, float]]:
        """Give each column with its figure; every kind of load meets a relay that has just started.

        Without a relay the firewall forwards, which is what the machine can do.
        """
        seconds = self._plan.seconds
        with ExitStack() as stack:
            cpu = self._begin(start, stack)
            moved, spent = tools.push(self._bulk, seconds, SERVER)
            yield "bulk", moved * 8 / 1e9 / spent
            if start is not None:
                yield "bulk CPU", cpu() / (moved / 1e9)
        for name, keep in (("new", False), ("kept", True)):
            with ExitStack() as stack:
                cpu = self._begin(start, stack)
                answers, spent = tools.ask(self._requests, CLIENTS, seconds, keep, SERVER)
                yield name, answers / spent
                if start is not None:
                    yield f"{name} CPU", cpu() / answers * 1e6

    def measure_datagrams(self, start: Start | None) -> Iterator[tuple[str, float]]:
        """Give each column of the part with datagrams."""
        for size in (64, 1200):
            with ExitStack() as stack:
                cpu = self._begin(start, stack)
                load_of = (self._datagrams, DATAGRAM_CLIENTS, DATAGRAM_WINDOW, size, self._plan.seconds, SERVER)
                done = load.run(exchange_datagrams, *load_of, patience=self._plan.seconds + PATIENCE)
                yield f"{size} B", done.units / done.seconds
                if start is not None:
                    yield f"{size} B CPU", cpu() / done.units * 1e6

    def _begin(self, start: Start | None, stack: ExitStack) -> Callable[[], float]:
        """Start the relay, and be in the client's namespace; return what tells the CPU that it has taken since."""
        spaces = self._spaces
        if start is None:
            spaces.only_forward()
            stack.enter_context(spaces.inside(spaces.client))
            return float
        spaces.divert()
        self._runs += 1
        folder = self._folder / str(self._runs)
        folder.mkdir()
        with spaces.inside(spaces.firewall):
            running = start(folder)
        stack.push(running.process)
        stack.enter_context(spaces.inside(spaces.client))
        before = running.cpu()
        return lambda: running.cpu() - before


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load (default 3)")
    parser.add_argument("--rounds", type=int, default=3, help="the medians are of so many (default 3)")
    parser.add_argument("--quick", action="store_true", help="one round with loads of one second")
    parser.add_argument("--only", default="", metavar="NAMES", help="relays, with commas between them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure there")
    options = parser.parse_args()
    if options.seconds <= 0 or options.rounds < 1:
        parser.error("--seconds needs a number above 0, --rounds one of 1 or more")
    options.relays = {"routed": None, **relays()}
    wanted = set(filter(None, options.only.split(",")))
    if wanted - options.relays.keys():
        parser.error(f"--only: {min(wanted - options.relays.keys())!r} is not here")
    options.relays = {name: start for name, start in options.relays.items() if name in (wanted or relays())}
    return options


def main() -> int:
    options = _options()
    reason = missing()
    if reason:
        print(f"left out: {reason}")
        return 0
    plan = Plan(1.0, 1) if options.quick else Plan(options.seconds, options.rounds)
    with tempfile.TemporaryDirectory(prefix="fwx-bench-") as text, ExitStack() as stack:
        folder = Path(text)
        folder.chmod(0o755)  # workers that drop root read their files here
        bench = Bench(plan, folder, Namespaces(stack), stack)
        step = plan.seconds + STEP_SECONDS
        taken, problems = take(
            {name: partial(bench.measure, start) for name, start in options.relays.items()}, plan.rounds, step
        )
        datagram_relays = {name: start for name, start in options.relays.items() if not name.startswith("haproxy")}
        for name in datagram_relays.keys() - {"routed"}:
            datagram_relays[name] = partial(start_fwx, keep=name.endswith("keep"), transport="udp")
        datagrams, more = take(
            {name: partial(bench.measure_datagrams, start) for name, start in datagram_relays.items()},
            plan.rounds,
            step,
        )
    problems += more
    print(f"load by {', '.join(f'{who} ({what})' for what, who in tools.used().items())}; rounds: {plan.rounds}\n")
    middle = medians(taken)
    print(table(middle, COLUMNS, [name for name in ("haproxy", "haproxy+keep") if middle.get(name)]))
    print(f"\nUDP, which HAProxy does not relay\n\n{table(medians(datagrams), DATAGRAM_COLUMNS, [])}")
    for problem in problems:
        print(problem, file=sys.stderr)
    if options.json is not None:
        about = {"python": platform.python_version(), "kernel": platform.release(), "cpus": os.cpu_count()}
        report = {"about": {**about, "load": tools.used(), "plan": plan._asdict()}, "problems": problems}
        report |= {"units": COLUMNS | DATAGRAM_COLUMNS, "rounds": taken, "datagrams": datagrams}
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
