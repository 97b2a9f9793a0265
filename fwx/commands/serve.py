"""``fwx serve``: runs the Firewall service in the foreground until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import click
import uvloop

from fwx.config import ConfigurationError, load
from fwx.control import ControlError
from fwx.filter_loader import FilterLoadError
from fwx.firewall_log_schema import FirewallLogError
from fwx.listener import ListenError
from fwx.notification import READY, STOPPING, extend_timeout, notify
from fwx.packetfilter.process import HelperError
from fwx.passed_sockets import PassedSockets
from fwx.privileges import PrivilegeError
from fwx.registry import RegistryError
from fwx.service import Service
from fwx.transparent.sockets import SocketMakerError

COLLECT_AFTER: Final = 20_000
"""How many more objects live before Python looks for cycles among the youngest, in the place of its 700.

What a connection is made of has no cycles and goes by itself. With 700, a few dozen connections that come and go make
the collector look at all of them again and again, for nothing.
"""

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


@click.command()
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The configuration file; without it the embedded default holds.",
)
@click.option("--loop", type=click.Choice(sorted(LOOPS)), default="uvloop", show_default=True, help="The event loop.")
@click.option("-v", "--verbose", is_flag=True, help="Say more on standard error.")
def serve(config: Path | None, loop: str, verbose: bool) -> None:
    """Run the Firewall service until it is told to stop.

    SIGTERM and SIGINT drain it: no new clients, ten seconds for the connections; a second signal ends them at once.
    SIGHUP has it read its file again, as 'fwx apply' does; the outcome is on standard error.
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, format="fwx: %(levelname)s: %(message)s", stream=sys.stderr
    )
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
    gc.freeze()  # the modules stay as long as the service: no search for garbage need look through them
    try:
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            lost = runner.run(run_service(config))
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    except (
        ControlError,
        FilterLoadError,
        FirewallLogError,
        HelperError,
        ListenError,
        PrivilegeError,
        RegistryError,
        SocketMakerError,
        OSError,
    ) as error:
        raise click.ClickException(str(error)) from error
    if lost:
        raise SystemExit(1)


async def run_service(config: Path | None) -> int:
    """Run until a signal comes; return the number of log records that were lost in the end."""
    loop = asyncio.get_running_loop()
    passed = PassedSockets.from_environment(os.environ, os.getpid())
    try:
        service = Service(load(config), passed)
        service.engine.more_time = partial(extend_timeout, environment=os.environ)
    except BaseException:
        passed.close()
        raise
    told = asyncio.Event()
    at_once = asyncio.Event()

    def stop() -> None:
        if told.is_set():
            at_once.set()
        told.set()

    service.alerting.stop = told.set
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, service.changer.signalled)
    try:
        await service.start()
    except BaseException:
        passed.close()
        await service.stop(0)
        raise
    for listener in service.ways_in.listeners:
        click.echo(f"fwx: {listener.name} listens on {listener.address}", err=True)
    for datagrams in service.ways_in.datagram_listeners:
        click.echo(f"fwx: {datagrams.name} listens on {datagrams.address}", err=True)
    notify(READY, os.environ)
    await told.wait()
    notify(STOPPING, os.environ)
    click.echo("fwx: stopping", err=True)
    stopping = asyncio.ensure_future(service.stop())
    hurry = asyncio.ensure_future(at_once.wait())
    await asyncio.wait((stopping, hurry), return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        service.hurry()
    lost = await stopping
    hurry.cancel()
    return lost
