"""``fwx demo``: a service with filters, an origin, real clients, and what the log says afterwards."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.console import Console

from fwx.commands.log import alert_line, record_line
from fwx.commands.serve import LOOPS
from fwx.demo import DemoError
from fwx.demo.checks import collector_report, connection_rows, pattern_alerts
from fwx.demo.plan import APPENDED, chain, choose, configuration
from fwx.demo.processes import LineSink, listens, start_origin, start_service
from fwx.demo.screen import Screen
from fwx.demo.traffic import Job, Traffic, check, run_all
from fwx.firewall_log import LogRow
from fwx.firewall_log_schema import FirewallLogError
from fwx.interfaces import SocketAddress

MIB = 1 << 20

_DOWNLOADS = 4, 32 * MIB
_UPLOADS = 2, 32 * MIB
_SHORT = 200
_SHOWN_ROWS = 5
# What a service leaves in its state folder: the log, and the configurations that were in force.
KEPT = frozenset({"firewall.db", "history"})


@click.command()
@click.option("--loop", type=click.Choice(sorted(LOOPS)), default="uvloop", show_default=True, help="The event loop.")
def demo(loop: str) -> None:
    """Start a service, send real traffic through its filters and show the log.

    It listens on free ports of 127.0.0.1 only and leaves nothing behind. Exit code 0: every byte came as it must.
    """
    screen = Screen(Console(file=sys.stdout))
    try:
        with _ending_at_sigterm(), contextlib.ExitStack() as stack:
            Demonstration(screen, stack, loop).run()
    except (DemoError, FirewallLogError, OSError) as error:
        raise click.ClickException(str(error)) from error


class Demonstration:
    """One run: everything is started by the constructor, and ended by *stack* at the latest."""

    def __init__(self, screen: Screen, stack: contextlib.ExitStack, loop: str) -> None:
        """:raises DemoError: a part does not start."""
        self._screen = screen
        self._filters, missing = choose()
        for one in missing:
            screen.say(
                "filter", f"{one.name} is not installed and left out; from a checkout: pip install -e {one.folder}"
            )
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fwx-demo-")))
        # The service gives up root and still has to reach its state folder here.
        self._folder.chmod(0o711)
        self._sink = stack.enter_context(LineSink())
        file = self._folder / "fwx.toml"
        file.write_text(configuration(self._filters, self._sink.address))
        origin = stack.enter_context(start_origin())
        self._service = stack.enter_context(start_service(file, loop))
        self._proxy = self._service.address(r"^fwx: proxy listens on (\S+)$")
        target = origin.address(r"listens on (\S+)$")
        self._traffic = Traffic(self._proxy, target)
        screen.say("origin", f"http.server on {target}, process {origin.pid}")
        screen.say("service", f"fwx serve on {self._proxy}, process {self._service.pid}, {loop}")

    @property
    def _state(self) -> Path:
        return self._folder / "state"

    def run(self) -> None:
        """Send the traffic, show what it left in the log, stop the service.

        :raises DemoError: something is not as it must be. :raises FirewallLogError: the log cannot be read.
        """
        try:
            self._send()
            collector = self._show()
        except DemoError as error:
            raise DemoError(f"{error}\nThe service said:\n{self._service.last_lines()}") from error
        self._stop([self._proxy] if collector is None else [self._proxy, collector])

    def _send(self) -> None:
        traffic = self._traffic
        self._bulk("downloads", traffic.downloads(*_DOWNLOADS), _DOWNLOADS[0] * _DOWNLOADS[1])
        self._bulk("uploads", traffic.uploads(*_UPLOADS), _UPLOADS[0] * _UPLOADS[1])
        jobs = traffic.downloads(_SHORT)
        seconds = self._run("short", jobs, len(jobs), by_bytes=False)
        self._screen.say("short", f"{len(jobs)} connections in {seconds:.1f} s, {len(jobs) / seconds:.0f} a second")
        jobs = traffic.by_programs()
        if jobs:
            self._run("programs", jobs, len(jobs), by_bytes=False)
        names = ", ".join(job.name for job in jobs)
        self._screen.say("programs", names or "neither curl nor ncat is installed, so none was used")
        self._run("pattern", traffic.forbidden(), 1, by_bytes=False)

    def _bulk(self, title: str, jobs: Sequence[Job], size: int) -> None:
        seconds = self._run(title, jobs, size, by_bytes=True)
        rate = f"{size / MIB / seconds:.0f} MiB/s, {size * 8e-9 / seconds:.2f} Gbit/s"
        self._screen.say(title, f"{size // MIB} MiB in {len(jobs)} connections, {seconds:.1f} s: {rate}")

    def _run(self, title: str, jobs: Sequence[Job], total: int, *, by_bytes: bool) -> float:
        """Run *jobs*, then check their answers; return the seconds that they took to run."""
        with self._screen.progress(title, total, in_bytes=by_bytes) as advance:
            start = time.monotonic()
            answers = run_all(jobs, advance, _nothing) if by_bytes else run_all(jobs, _nothing, advance)
            seconds = time.monotonic() - start
        appended = APPENDED.encode() if self._has("upper-case") else None
        for job, answer in zip(jobs, answers, strict=True):
            check(job, answer, appended)
        return seconds

    def _show(self) -> SocketAddress | None:
        """Show what the log and the filters say; return the address of the collector's report, if there is one."""
        database = self._state / "firewall.db"
        rows = connection_rows(database, self._traffic.connections, self._filters)
        self._screen.say("chain", chain(self._filters))
        self._show_rows(rows)
        if self._has("data-monitor"):
            self._screen.say("alert", "\n".join(map(alert_line, pattern_alerts(database))))
        if not self._has("collector"):
            return None
        address = self._service.address(r"the collector's report is on (\S+)$")
        report, lines = collector_report(address, self._sink, rows)
        self._screen.say("collector", f"{report}and {lines} lines over a socket of the session")
        return address

    def _show_rows(self, rows: Sequence[LogRow]) -> None:
        newest = "\n".join(map(record_line, rows[-_SHOWN_ROWS:]))
        self._screen.say("log", f"the newest {_SHOWN_ROWS} of {len(rows)} connections, all as they must be:\n{newest}")

    def _stop(self, ports: Sequence[SocketAddress]) -> None:
        status = self._service.stop()
        if status:
            raise DemoError(f"the service ended with status {status}. It said:\n{self._service.last_lines()}")
        left = [str(port) for port in ports if listens(port)]
        left += [path.name for path in self._state.iterdir() if path.name not in KEPT]
        if left:
            raise DemoError(f"the service left behind: {', '.join(left)}")
        self._screen.say("stopped", "SIGTERM: the service drained and ended; nothing is left of it but the log and the")
        self._screen.say("", "history of its configuration, which go with the temporary folder now")

    def _has(self, name: str) -> bool:
        return any(one.name == name for one in self._filters)


def _nothing(_: int) -> None:
    """What is told of progress that is not shown."""


@contextlib.contextmanager
def _ending_at_sigterm() -> Iterator[None]:
    """Let SIGTERM end this process as SIGINT does, so that what it started is ended first."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
