"""``fwx sessions``: what clients have open, and the end of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from fwx.config import ConfigurationError, load
from fwx.control import ControlError
from fwx.control.client import follow
from fwx.interfaces import SocketAddress

ANSWER_SECONDS: Final = 120.0

_OPTIONS: Final = (
    click.option("--config", "file", type=click.Path(path_type=Path), help="The configuration that the service has."),
    click.option("--user", metavar="NAME", default="", help="Of the user NAME, as the log calls it."),
    click.option("--rule", metavar="NAME", default="", help="Let in by the rule NAME."),
    click.option("--filter", "filter_", metavar="NAME", default="", help="Seen by the filter NAME."),
    click.option("--from", "from_", metavar="ADDR", help="Of the client ADDR, or of a network: 192.0.2.0/24."),
    click.option("--to", metavar="ADDR:PORT", help="To ADDR, a name or an address; :PORT is any."),
    click.option("--session", metavar="NUMBER", type=click.IntRange(1), help="Of this session."),
    click.option("--connection", metavar="NUMBER", type=click.IntRange(1), help="This connection."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
)


def _choosing(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command* the options that both commands have."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group(invoke_without_command=True)
@_choosing
@click.option(
    "--seconds",
    type=click.FloatRange(0, 60),
    default=1.0,
    show_default=True,
    help="What rates are taken over, 0 for none.",
)
@click.pass_context
def sessions(context: click.Context, /, file: Path | None, as_json: bool, seconds: float, **chosen: Any) -> None:
    """List the sessions of the running service and their live connections, with what passes in a second.

    Options that choose go together: what is listed fits all of them.
    """
    if context.invoked_subcommand is not None:
        if file is not None or any(chosen.values()):
            raise click.UsageError(f"options that choose go behind '{context.invoked_subcommand}'")
        return
    found = _grouped(_asked(file, "sessions", interval=seconds, **_request(**chosen)))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for session in found:
        click.echo("\n".join(_words(session)))
    if not found:
        click.echo("nothing that fits is open", err=True)


@sessions.command()
@_choosing
@click.option("--dry-run", is_flag=True, help="Say what would end, and end nothing.")
def kill(file: Path | None, as_json: bool, dry_run: bool, **chosen: Any) -> None:
    """End live connections, those that fit all the options that choose, of which one is needed.

    The log gets a record of each that says so. Exit code 1: nothing fits.
    """
    if not any(chosen.values()):
        raise click.UsageError("say which: --user, --rule, --filter, --from, --to, --session or --connection")
    found = [line["connection"] for line in _asked(file, "kill sessions", **{"dry run": dry_run}, **_request(**chosen))]
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        for connection in found:
            click.echo(f"{'would end' if dry_run else 'ended'} {_line(connection)}")
    if not found:
        raise click.ClickException("nothing that fits is open")


def _asked(file: Path | None, command: str, **request: Any) -> list[Mapping[str, Any]]:
    """Return the lines that the service answers. :raises click.ClickException: there are none."""
    try:
        with follow(load(file).state_dir, command, seconds=ANSWER_SECONDS, **request) as answer:
            return list(iter(lambda: answer.line(ANSWER_SECONDS), None))
    except (ConfigurationError, ControlError, TimeoutError) as error:
        raise click.ClickException(str(error) or "the service does not go on with its answer") from error


def _request(
    user: str, rule: str, filter_: str, from_: str | None, to: str | None, session: int | None, connection: int | None
) -> dict[str, Any]:
    host, port = ("", 0) if to is None else _target(to)
    asked: dict[str, Any] = {"user": user, "rule": rule, "filter": filter_, "from": from_, "host": host, "port": port}
    return asked | {"session": session or 0, "connection": connection or 0}


def _target(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``, ``:PORT``, ``HOST`` or an address. :raises click.BadParameter: no port."""
    if text.startswith(":") and text[1:].isdecimal() and 0 < int(text[1:]) <= 65535:
        return "", int(text[1:])
    try:
        found = SocketAddress.parse(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}", param_hint="'--to'") from None
    return found.host, found.port


def _grouped(lines: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Put connections with their sessions."""
    found: list[dict[str, Any]] = []
    for line in lines:
        if "session" in line:
            found.append({**line["session"], "connections": []})
        else:
            found[-1]["connections"].append(line["connection"])
    return found


def _words(session: Mapping[str, Any]) -> Iterator[str]:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(session["since"]))
    user = session["user"] or "no user"
    private = ", private" if session["private"] else ""
    rates = _rates(session)
    yield f"session {session['session']}  {session['client']}  {user}  {session['kind']}{private}  since {since}{rates}"
    yield from (f"  {_line(connection)}" for connection in session["connections"])


def _line(told: Mapping[str, Any]) -> str:
    """Say what a connection is, in one line."""
    target = told["target"] + (f" ({told['address']})" if told["address"] else "")
    towards = "from" if told["arrived"] else "to"
    what = f"{told['transport']} {told['client']}" + (f" {towards} {target}" if target else "")
    state = "" if told["state"] == "open" else f"  {told['state']}"
    filters = f"  filters {', '.join(told['filters'])}" if told["filters"] else ""
    upstream = f"  by {told['upstream']}" if told["upstream"] else ""
    rule = f"  rule {told['rule']!r}" if told["rule"] else ""
    moved = f"  {told['seconds']:.0f} s, {told['sent']} B out, {told['received']} B in"
    return f"connection {told['connection']}  {what}{state}{rule}{upstream}{filters}{moved}{_rates(told)}"


def _rates(told: Mapping[str, Any]) -> str:
    if "sent_per_second" not in told:
        return ""
    return f"  {told['sent_per_second']:.0f} B/s out, {told['received_per_second']:.0f} B/s in"
