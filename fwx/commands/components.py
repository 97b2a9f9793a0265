"""``fwx components``: prints what the registry of a service holds, without starting it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from fwx.config import ConfigurationError, load
from fwx.filter_loader import FilterLoadError
from fwx.registry import Component, RegistryError
from fwx.service import Service


@click.command()
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The configuration file; without it the embedded default holds.",
)
def components(config: Path | None) -> None:
    """Print what the registry holds."""
    try:
        found = asyncio.run(_compose(config))
    except (ConfigurationError, FilterLoadError, RegistryError) as error:
        raise click.ClickException(str(error)) from error
    console = Console()
    if not console.is_terminal:
        for component in found:
            click.echo(" ".join(_cells(component)))
        return
    table = Table("kind", "asked of", "for", "name", "answered by", "registered at")
    for component in found:
        table.add_row(*_cells(component))
    console.print(table)


async def _compose(config: Path | None) -> list[Component]:
    service = Service(load(config))
    try:
        return list(service.registry.components())
    finally:
        await service.stop(0)


def _cells(component: Component) -> tuple[str, ...]:
    return (
        component.kind,
        ",".join(component.required) or "-",
        component.provided,
        component.name or "-",
        component.component,
        component.place,
    )
