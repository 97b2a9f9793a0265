"""``fwx filters``: which filters are there, and can they be loaded?"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fwx.config import Configuration, ConfigurationError, load
from fwx.config_model import Filter
from fwx.control import ControlError
from fwx.control.client import ask
from fwx.filter_loader import (
    GROUP,
    InstalledFilter,
    inspect_filter,
    installed_filters,
    load_filter_class,
    option_problems,
)

_LOADED = "ok"


class _Row(NamedTuple):
    name: str
    class_: str
    distribution: str
    options: str
    state: str


_HEADINGS = _Row("NAME", "CLASS", "DISTRIBUTION", "OPTIONS", "STATE")


@click.group(invoke_without_command=True)
@click.option("--config", "file", type=click.Path(path_type=Path), help="Also list the [[filter]] tables of this file.")
@click.pass_context
def filters(context: click.Context, file: Path | None) -> None:
    """List the installed filters with their options, and whether they load.

    Exit code 0: all load and all options fit, 1: some do not, or the configuration is wrong.
    """
    if context.invoked_subcommand is None:
        _list(file)
    elif file is not None:
        raise click.UsageError("give --config after the command's name")


@filters.command()
@click.argument("name")
@click.option("--config", "file", type=click.Path(path_type=Path), help="The configuration that the service runs with.")
def reload(name: str, file: Path | None) -> None:
    """Have the running service take the new code of the filter NAME, a [[filter]] table of its configuration.

    Its modules are read from disk again. New connections get the new code, the others finish with the old. The options
    stay those in force. Exit code 1: the old code goes on; it is said why.
    """
    try:
        done = ask(load(file).state_dir, "reload filter", name=name)
    except (ConfigurationError, ControlError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"filter {name!r} has been reloaded; connections that finish with the old code: {done['connections']}")


def _list(file: Path | None) -> None:
    configuration = _configuration(file)
    rows = [_row(found.name, found, found.error) for found in installed_filters()]
    _print_rows(rows, f"no distribution offers a filter in the entry point group {GROUP}")
    if configuration is not None:
        configured = [_configured(configuration, index, table) for index, table in enumerate(configuration.filters)]
        click.echo(f"\nconfigured in {file}:")
        _print_rows(configured, "no filter")
        rows += configured
    sys.exit(any(row.state != _LOADED for row in rows))


def _configuration(file: Path | None) -> Configuration | None:
    try:
        return load(file) if file is not None else None
    except ConfigurationError as error:
        click.echo(error, err=True)
        sys.exit(1)


def _configured(configuration: Configuration, index: int, table: Filter) -> _Row:
    found = inspect_filter(table.use)
    error = found.error
    if not error:
        root = ("filter", index, "options")
        problems = option_problems(load_filter_class(table.use), table.options, configuration.source, root)
        error = "; ".join(str(problem) for problem in problems)
    return _row(table.name, found, error)


def _row(name: str, found: InstalledFilter, error: str) -> _Row:
    distribution = f"{found.distribution} {found.version}".strip() or "-"
    return _Row(name, found.value or "-", distribution, ", ".join(found.options) or "-", error or _LOADED)


def _print_rows(rows: Sequence[_Row], when_empty: str) -> None:
    if not rows:
        click.echo(when_empty)
    elif sys.stdout.isatty():
        Console().print(_table(rows))
    else:
        click.echo("\n".join(_aligned([_HEADINGS, *rows])))


def _table(rows: Iterable[_Row]) -> Table:
    table = Table(*_HEADINGS)
    for row in rows:
        table.add_row(
            *(Text(cell) for cell in row[:-1]), Text(row.state, style="green" if row.state == _LOADED else "red")
        )
    return table


def _aligned(rows: Sequence[_Row]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
