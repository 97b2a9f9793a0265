"""``fwx conform``: does a filter keep the contract?"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fwx.filter_loader import FilterLoadError, FilterOptionsError, load_filter_class, module_of
from fwx.interfaces import SocketAddress
from fwx.testing.battery import Battery, Check, Outcome
from fwx.testing.filters import check_filter
from fwx.testing.script import Script, ScriptError, address_of, read_script, script_of
from fwx.testing.sockets import SERVER

_HEADINGS = ("CHECK", "FACTS", "RESULT", "REASON")
_STYLES = {Outcome.PASSED: "green", Outcome.FAILED: "red", Outcome.SKIPPED: "dim"}


@click.command()
@click.argument("use")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="An option of the filter, as in TOML.")
@click.option("--target", help=f"What clients ask for, host:port.  [default: {SERVER}]")
@click.option("--changes-data", is_flag=True, help="Changing what passes is the filter's purpose.")
@click.option(
    "--script",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="How to try it: a TOML file, see docs/testing-a-filter.rst.  [default: conform.toml of the filter's package]",
)
def conform(use: str, options: tuple[str, ...], target: str | None, changes_data: bool, script: Path | None) -> None:
    """Try the filter USE, the name of an entry point of fwx.filters or module:Class, against the contract.

    It runs in a firewall in memory. Exit code 0: it keeps every rule, 1: it breaks some, 2: it cannot be tried.
    """
    try:
        filter_class = load_filter_class(use)
        given = dict(_option(text) for text in options)
        way = _script(use, script)
        dialogue = way.dialogue()
        if target is not None:
            dialogue = replace(dialogue, target=_address(target))
        if changes_data:
            dialogue = replace(dialogue, changes_data=True)
        battery = check_filter(filter_class, way.options | given, dialogue=dialogue)
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


def _script(use: str, path: Path | None) -> Script:
    try:
        return read_script(path) if path else script_of(module_of(use)) or Script()
    except ScriptError as error:
        raise click.UsageError(f"--script {error}" if path else str(error)) from error


def _address(text: str) -> SocketAddress:
    try:
        return address_of(text)
    except ValueError as error:
        raise click.UsageError(f"--target: {error}") from error


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
