"""``fwx explain``: which rule decides a connection, and why."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from fwx.config import Configuration, ConfigurationError, load
from fwx.control import ControlError
from fwx.control.client import follow
from fwx.explanation import Asked, explainer_of, in_words, known_as, request_for
from fwx.interfaces import SocketAddress

_TIMES = ("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")
ANSWER_SECONDS = 60.0

EPHEMERAL = 49152
"""The client's port where none is given: the first one that no protocol is assigned (RFC 6335 section 6)."""


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="The configuration that is asked about.")
@click.option("--from", "from_", metavar="ADDR[:PORT]", help="The client; its port is 49152 if not given.")
@click.option("--to", metavar="HOST:PORT", help="Where it wants to go: a name or an address.")
@click.option("--address", "addresses", metavar="ADDR", multiple=True, help="What the name resolves to; repeatable.")
@click.option("--url", metavar="URL", help="A request in plain HTTP: in the place of --to.")
@click.option("--content-type", metavar="TYPE", help="What the server answers the request with, such as text/html.")
@click.option("--udp", is_flag=True, help="Datagrams, not a TCP connection.")
@click.option("--user", metavar="NAME", default="", help="Who the client is; the file knows the groups of its users.")
@click.option("--group", "groups", metavar="NAME", multiple=True, help="A group that the user is in; repeatable.")
@click.option("--at", metavar="TIME", help="When, in local time: '2026-11-26 10:00'; without it, now.")
@click.option(
    "--connection", type=click.IntRange(1), metavar="NUMBER", help="A live connection of the service instead."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def explain(file: Path | None, connection: int | None, as_json: bool, **asked: Any) -> None:
    """Say which rules are tried for a connection, which element does not match, and which rule decides.

    Either for one that there might be, by the rules of the file: --from and --to. Or for a live one, by the rules of
    the service that runs with the file: --connection, by its number in the log.
    """
    if asked["url"] and (asked["to"] or asked["udp"]):
        raise click.UsageError("--url goes with neither --to nor --udp: it has the target, over TCP")
    if asked["content_type"] and not asked["url"]:
        raise click.UsageError("--content-type is of a response to plain HTTP; --url is needed")
    given = [f"--{key.rstrip('_')}" for key, value in asked.items() if value]
    if connection is not None and given:
        raise click.UsageError(f"{', '.join(given)} does not go with --connection, which is what it is")
    if connection is None and not (asked["from_"] and (asked["to"] or asked["url"])):
        raise click.UsageError("--from and --to are needed, or --connection")
    try:
        configuration = load(file)
        told = list(_hypothetical(configuration, **asked) if connection is None else _live(configuration, connection))
    except (ConfigurationError, ControlError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    for number, each in enumerate(told):
        click.echo("\n" * bool(number) + "\n".join(_lines(each)))


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    if began := told.get("began"):
        place = f" at {began['place']}" if began["place"] else ""
        announced = ", which a filter has announced," if began["announced"] else ""
        yield (
            f"connection {told['connection']} of {began['client']} by {began['interface']}{announced} began under rule "
            f"{began['rule']!r}{place}; way out: {began['upstream'] or 'straight'}; "
            f"filters: {', '.join(began['filters']) or 'none'}"
        )
    if "asked" in told:
        yield from in_words(told)


def _live(configuration: Configuration, connection: int) -> Iterator[Mapping[str, Any]]:
    """:raises ControlError: there is no service, or it has no such connection."""
    with follow(configuration.state_dir, "explain", connection=connection) as answer:
        while (line := answer.line(ANSWER_SECONDS)) is not None:
            yield line


def _hypothetical(
    configuration: Configuration,
    from_: str,
    to: str | None,
    addresses: tuple[str, ...],
    url: str | None,
    content_type: str | None,
    udp: bool,
    user: str,
    groups: tuple[str, ...],
    at: str | None,
) -> Iterator[Mapping[str, Any]]:
    """:raises click.BadParameter: what is asked about makes no sense."""
    source = _client(from_)
    try:
        destination, web = (_target(to or ""), None) if url is None else request_for(url, content_type)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--url'") from None
    if addresses and destination.address is not None:
        raise click.BadParameter(f"{destination.host} is an address already", param_hint="'--address'")
    if groups and not user:
        raise click.BadParameter("only a user is in groups; --user is needed", param_hint="'--group'")
    own = next((known.groups for known in configuration.users if known.name == user), ())
    who, moment = known_as(user, (*own, *groups)), None if at is None else _moment(at)
    explainer = explainer_of(configuration, datagrams=udp)
    for address in addresses or ("",):
        resolved = _literal(address, "'--address'") if address else ""
        asked = Asked(source, destination, "UDP" if udp else "TCP", resolved, who, user, moment, web=web)
        yield explainer.explain(asked)


def _client(text: str) -> SocketAddress:
    try:
        return SocketAddress(_literal(text, "'--from'"), EPHEMERAL)
    except click.BadParameter:
        found = _parsed(text, "'--from'")
        if found.address is None:
            raise
        return found


def _target(text: str) -> SocketAddress:
    found = _parsed(text, "'--to'")
    if not found.port:
        raise click.BadParameter(f"{text!r} has no port", param_hint="'--to'")
    return found


def _parsed(text: str, option: str) -> SocketAddress:
    try:
        return SocketAddress.parse(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}", param_hint=option) from None


def _literal(text: str, option: str) -> str:
    try:
        address = SocketAddress(text, 0)
    except ValueError:
        address = None
    if address is None or address.address is None:
        raise click.BadParameter(f"{text!r} is no address; expected 10.1.0.5 or fd00:1::5", param_hint=option)
    return address.host


def _moment(text: str) -> float:
    """Return the seconds since the epoch of a local time."""
    for form in _TIMES:
        try:
            return time.mktime(time.strptime(text, form))
        except (ValueError, OverflowError):
            continue
    raise click.BadParameter(f"{text!r} is no time; expected '2026-11-26 10:00'", param_hint="'--at'")
