"""``fwx trace``: has a running service record live connections, and writes each as a test."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from fwx.config import ConfigurationError, load
from fwx.control import ControlError
from fwx.control.client import Answer, follow
from fwx.interfaces import SocketAddress
from fwx.tracing import LARGEST, MOST_BYTES
from fwx.tracing.control import ENDED
from fwx.tracing.conversation import SERVICE_GONE, Conversation, Conversations
from fwx.tracing.text import TestText
from fwx.tracing.trial import script_of

FAREWELL_SECONDS = 5.0
"""How long the service may take for what is left, once it was told to end."""


class _Trace:
    """One run: what is asked for, what has come, how it stands."""

    def __init__(self, answer: Answer, count: int, seconds: float | None) -> None:
        self._answer = answer
        self._conversations = Conversations()
        self._left = count
        self._end = None if seconds is None else time.monotonic() + seconds
        self._is_stopped = False

    def listen(self) -> Iterator[Conversation]:
        """Go through the connections as they end, then through those that had not when it was enough."""
        reason = SERVICE_GONE
        try:
            yield from self._ended()
        except TimeoutError:
            self.stop()
            self._end = time.monotonic() + FAREWELL_SECONDS
            try:
                yield from self._ended()
            except TimeoutError:
                click.echo("the service has not said what was left", err=True)
        except ControlError as error:
            reason = f"the recording failed: {error}"
            click.echo(reason, err=True)
        yield from self._conversations.interrupt(ENDED if self._is_stopped else reason)

    def stop(self) -> None:
        """Have the service say what is left, and no more."""
        self._is_stopped = True
        self._answer.enough()

    def _ended(self) -> Iterator[Conversation]:
        """Go through the connections that end, up to the last one that is wanted, or the service's end.

        :raises TimeoutError: the time is up.
        """
        while self._left and (line := self._answer.line(self._seconds())) is not None:
            ended = self._conversations.take(line)
            if ended is not None:
                self._left -= 1
                yield ended

    def _seconds(self) -> float | None:
        """Return how long to wait. :raises TimeoutError: no time is left."""
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


@contextmanager
def _interrupted(stop: Callable[[], None]) -> Iterator[None]:
    """Have the first SIGINT or SIGTERM call *stop*; the next one does what it did before."""
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def take(_number: int, _frame: object) -> None:
        restore()
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, take)
    try:
        yield
    finally:
        restore()


class _Place:
    """Where the tests are written."""

    def __init__(self, path: Path, count: int) -> None:
        """:raises click.ClickException: nothing can be written there."""
        self._path = path
        self._is_file = path.suffix == ".py"
        folder = path.parent if self._is_file else path
        if self._is_file and count > 1:
            raise click.UsageError(f"{path} is one file; give a folder for {count} connections")
        if self._is_file and path.exists():
            raise click.ClickException(f"{path} exists; it is not overwritten")
        try:
            if not self._is_file:
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise click.ClickException(f"the folder {folder} cannot be made: {error.strerror}") from error
        if not folder.is_dir():
            raise click.ClickException(f"{folder} is no folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise click.ClickException(f"nothing can be written to the folder {folder}")

    def write(self, conversation: Conversation, text: TestText) -> Path:
        """Write *text* and return where. :raises click.ClickException: it cannot be written."""
        for path in self._paths(conversation):
            try:
                text.write(path)
            except FileExistsError:
                continue
            except OSError as error:
                raise click.ClickException(f"{path} cannot be written: {error.strerror}") from error
            return path
        raise click.ClickException(f"{self._path} exists; it is not overwritten")

    def _paths(self, conversation: Conversation) -> Iterator[Path]:
        if self._is_file:
            yield self._path
            return
        target = re.sub(r"[^a-z0-9]+", "_", str(conversation.target).lower()).strip("_")
        name = f"test_{target}_{conversation.connection}"
        yield self._path / f"{name}.py"
        yield from (self._path / f"{name}_{number}.py" for number in range(2, 1000))


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="The configuration that the service runs with.")
@click.option("--filter", "filter_", metavar="NAME", help="Connections that the filter NAME sees.")
@click.option("--rule", metavar="NAME", help="Connections that the rule NAME allows.")
@click.option("--from", "from_", metavar="ADDR", help="Connections of the client ADDR, or of a network: 192.0.2.0/24.")
@click.option("--to", metavar="ADDR:PORT", help="Connections to ADDR, a name or an address; :PORT is any.")
@click.option("--count", type=click.IntRange(1, 10_000), default=1, show_default=True, help="So many connections.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="For so long at most, else until Ctrl-C.")
@click.option(
    "--max-bytes", type=click.IntRange(1, MOST_BYTES), default=LARGEST, show_default=True, help="Of each connection."
)
@click.option("-o", "output", type=click.Path(path_type=Path), required=True, help="A folder, or a file NAME.py.")
def trace(
    file: Path | None,
    filter_: str | None,
    rule: str | None,
    from_: str | None,
    to: str | None,
    count: int,
    seconds: float | None,
    max_bytes: int,
    output: Path,
) -> None:
    """Record the next connections of the running service, each as a test of pytest that plays it again.

    What was said is written in plain, with the mode 0600. Exit code 0: each was recorded whole and goes the same way
    when it is played at once; 1: nothing was recorded, or it is not whole, or goes another way: it is said why.
    """
    place = _Place(output, count)
    host, port = ("", 0) if to is None else _target(to)
    asked: dict[str, Any] = {"filter": filter_ or "", "rule": rule or "", "from": from_, "host": host, "port": port}
    asked |= {"count": count, "max bytes": max_bytes}
    recorded = whole = 0
    try:
        folder = load(file).state_dir
        with follow(folder, "trace", **asked) as answer:
            tracing = _Trace(answer, count, seconds)
            with _interrupted(tracing.stop):
                click.echo("recording; Ctrl-C ends it", err=True)
                for conversation in tracing.listen():
                    recorded += 1
                    whole += _wrote(place, conversation)
    except (ConfigurationError, ControlError) as error:
        raise click.ClickException(str(error)) from error
    if not recorded:
        raise click.ClickException("no connection was recorded: none that fits was opened")
    if whole < recorded:
        raise click.exceptions.Exit(1)


def _wrote(place: _Place, conversation: Conversation) -> bool:
    """Write a test and say how it is; tell whether it is whole and goes the way that was recorded."""
    script, complaint = script_of(conversation)
    path = place.write(conversation, TestText(script, complaint))
    click.echo(f"{path}: connection {conversation.connection} of {conversation.client} with {conversation.target}")
    for note in conversation.notes:
        click.echo(f"  not recorded: {note}")
    if conversation.cut:
        click.echo(f"  not whole, the test is skipped: {conversation.cut}")
    if complaint:
        click.echo("  it goes otherwise when it is played:")
        click.echo("\n".join(f"    {line}" for line in complaint.splitlines()))
    return not (conversation.cut or complaint)


def _target(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``, ``:PORT``, ``HOST`` or an address. :raises click.BadParameter: no port."""
    if text.startswith(":") and text[1:].isdecimal() and int(text[1:]) <= 65535:
        return "", int(text[1:])
    try:
        found: Any = SocketAddress.parse(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}", param_hint="'--to'") from None
    return found.host, found.port
