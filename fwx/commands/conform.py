"""``fwx conform``: does a filter keep the contract?"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import click
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fwx.filter_loader import FilterLoadError, FilterOptionsError, load_filter_class
from fwx.interfaces import SocketAddress
from fwx.testing.battery import Battery, Check, Outcome
from fwx.testing.datafilters import Dialogue
from fwx.testing.filters import check_filter
from fwx.testing.sockets import SERVER

_HEADINGS = ("CHECK", "FACTS", "RESULT", "REASON")
_STYLES = {Outcome.PASSED: "green", Outcome.FAILED: "red", Outcome.SKIPPED: "dim"}


@click.command()
@click.argument("use")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="An option of the filter, as in TOML.")
@click.option("--target", default=str(SERVER), show_default=True, help="What clients ask for, host:port.")
@click.option("--changes-data", is_flag=True, help="Changing what passes is the filter's purpose.")
@click.option(
    "--script",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the two sides say: a TOML file, see docs/testing-a-filter.rst.",
)
def conform(use: str, options: tuple[str, ...], target: str, changes_data: bool, script: Path | None) -> None:
    """Try the filter USE, the name of an entry point of fwx.filters or module:Class, against the contract.

    It runs in a firewall in memory. Exit code 0: it keeps every rule, 1: it breaks some, 2: it cannot be tried.
    """
    try:
        filter_class = load_filter_class(use)
        given = dict(_option(text) for text in options)
        dialogue = Dialogue(target=_address(target), changes_data=changes_data, **_said(script))
        battery = check_filter(filter_class, given, dialogue=dialogue)
    except FilterLoadError as error:
        raise click.UsageError(str(error)) from error
    except FilterOptionsError as error:
        raise click.UsageError(f"--option {error}") from error
    if sys.stdout.isatty():
        Console().print(_table(battery))
    else:
        click.echo("\n".join(_aligned([_HEADINGS, *map(_cells, battery)])))
    click.echo(_summary(battery))
    sys.exit(not battery.passed)


def _option(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise click.UsageError(f"--option {text!r}: expected KEY=VALUE")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        # A bare word, which nobody wants to quote twice for the shell.
        return key, value


def _said(script: Path | None) -> dict[str, Any]:
    """Read what the two sides say; bytes are written as text of ISO 8859-1."""
    if script is None:
        return {}
    try:
        said = _Script.model_validate(tomllib.loads(script.read_text()))
        spoken: dict[str, Any] = {"opening": tuple((line.side, line.data.encode("latin-1")) for line in said.opening)}
        for key, text in (("to_server", said.to_server), ("to_client", said.to_client), ("elsewhere", said.elsewhere)):
            if text:
                spoken[key] = text.encode("latin-1") * said.times
    except (ValueError, OSError) as error:
        raise click.UsageError(f"--script {script}: {error}") from error
    return spoken


class _Line(BaseModel):
    side: Literal["client", "server"]
    data: str


class _Script(BaseModel):
    model_config = ConfigDict(extra="forbid")

    opening: tuple[_Line, ...] = ()
    to_server: str = ""
    to_client: str = ""
    elsewhere: str = ""
    times: int = 1


def _address(text: str) -> SocketAddress:
    try:
        address = SocketAddress.parse(text)
    except ValueError as error:
        raise click.UsageError(f"--target: {error}") from error
    if address.address is None:
        raise click.UsageError(f"--target {text}: expected a literal address, such as {SERVER}")
    return address


def _cells(check: Check) -> tuple[str, ...]:
    return check.name, " ".join(check.facts), str(check.outcome), check.reason


def _table(battery: Battery) -> Table:
    table = Table(*_HEADINGS)
    for check in battery:
        name, facts, outcome, reason = _cells(check)
        table.add_row(Text(name), facts, Text(outcome, style=_STYLES[check.outcome]), Text(reason))
    return table


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (" ".join(cell.splitlines()).ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _summary(battery: Battery) -> str:
    counts = [(sum(check.outcome is outcome for check in battery), outcome) for outcome in Outcome]
    return f"{battery.subject}: {_join(f'{count} {outcome}' for count, outcome in counts if count)}"


def _join(words: Iterable[str]) -> str:
    return ", ".join(words)
