"""``fwx idl``: the interfaces as IDL, for compiled filters and for other implementations."""

from __future__ import annotations

import click

from fwx.idl import UnknownNameError, render


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
def idl(names: tuple[str, ...]) -> None:
    """Print the interfaces as IDL: all of it, or the interfaces, enumerations, structures and constants NAME with the
    types they need.

    Exit code 0: printed, 1: there is no such name.
    """
    try:
        text = render(names)
    except UnknownNameError as error:
        raise click.ClickException(str(error)) from error
    click.echo(text, nl=False)
