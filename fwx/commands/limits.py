"""``fwx limits``: what counts in the running service, and how much of it there may be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from fwx.config import ConfigurationError, load
from fwx.control import ControlError
from fwx.control.client import follow

ANSWER_SECONDS: Final = 60.0

_FIGURES: Final = {
    "tcp": "TCP connections",
    "tcp_a_minute": "new ones in the minute",
    "half_open": "being opened",
    "http_a_minute": "HTTP requests in the minute",
    "udp": "UDP sessions",
}
_TOGETHER: Final = {
    "handshakes": "that have not said yet what they want",
    "connects": "being opened",
    "look_ups": "look-ups",
    "udp_sessions": "UDP sessions",
}
_KIB: Final = 1 << 10
_MIB: Final = 1 << 20


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="The configuration that the service has.")
@click.option("--from", "from_", metavar="ADDR", help="The client ADDR alone, or a network: 192.0.2.0/24.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def limits(file: Path | None, from_: str | None, as_json: bool) -> None:
    """Say how much of its limits each client address uses now, and each rule that has limits.

    An address is listed while it has something open, and up to a minute after it has begun something.
    """
    try:
        asked: dict[str, Any] = {"from": from_}
        with follow(load(file).state_dir, "limits", **asked) as answer:
            lines = list(iter(lambda: answer.line(ANSWER_SECONDS), None))
    except (ConfigurationError, ControlError, TimeoutError) as error:
        raise click.ClickException(str(error) or "the service does not go on with its answer") from error
    addresses = [line["address"] for line in lines if "address" in line]
    rules = [line["rule"] for line in lines if "rule" in line]
    told = {"service": lines[0]["service"], "addresses": addresses, "rules": rules}
    click.echo(json.dumps(told, indent=2) if as_json else "\n".join(_words(told)))


def _words(told: Mapping[str, Any]) -> Iterator[str]:
    service = told["service"]
    refused = service["refused"]
    yield (
        f"{service['sessions']} sessions, {service['connections']} connections, {service['opening']} being opened; "
        f"descriptors {_of(service['descriptors'])}; refused by address {refused['addresses']} times, "
        f"by rule {refused['rules']} times"
    )
    memory, of_connection = service["memory"], service["memory_per_connection"]
    most = "without a ceiling" if memory["most"] is None else f"of {memory['most'] // _MIB}"
    yield (
        f"memory: {memory['is'] // _MIB} MiB in use {most}, at most {of_connection['most'] // _KIB} KiB wait in a "
        f"connection; {of_connection['refused']} Sends refused"
    )
    together = ", ".join(f"{_of(service[key])} {words}" for key, words in _TOGETHER.items())
    others = ", ".join(f"{key} {count} times" for key, count in service["refused_together"].items())
    yield f"all clients: {together}" + (f"; refused by {others}" if others else "")
    for each in told["addresses"]:
        yield f"{each['address']}: " + ", ".join(f"{_of(each[key])} {words}" for key, words in _FIGURES.items())
    for rule in told["rules"]:
        new = rule["new_per_second_per_address"]
        yield f"rule {rule['rule']!r}: {_of(rule['udp'])} UDP sessions in the second" + (
            f", at most {new} new connections of an address in a second" if new else ""
        )
        yield from (f"  {user['user']}: {_of(user)} connections" for user in rule["users"])


def _of(figure: Mapping[str, Any]) -> str:
    return f"{figure['is']}/{figure['most']}"
