"""``fwx user``: the users of a configuration."""

from __future__ import annotations

import sys

import argon2
import click

from fwx.config_values import read_name, read_user_name

# RFC 1929 section 2.
_LONGEST_PASSWORD = 255


@click.group()
def user() -> None:
    """Make tables of users for a configuration file."""


@user.command()
@click.argument("name")
@click.option("--group", "groups", multiple=True, metavar="NAME", help="A group that the user is in; may be repeated.")
def add(name: str, groups: tuple[str, ...]) -> None:
    """Print the [[user]] table of NAME with the hash of a password, to be put into the configuration file.

    The password is asked for, or read as one line from standard input where that is no terminal.
    """
    try:
        read_user_name(name)
        for group in groups:
            read_name(group)
    except ValueError as error:
        raise click.BadParameter(f"a name {error}") from None
    password = _read_password()
    click.echo("[[user]]")
    click.echo(f"name = {_quoted(name)}")
    if groups:
        click.echo(f"groups = [{', '.join(map(_quoted, groups))}]")
    click.echo(f"password = {_quoted(argon2.PasswordHasher().hash(password))}")


def _read_password() -> str:
    if sys.stdin.isatty():
        password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not 1 <= len(password.encode()) <= _LONGEST_PASSWORD:
        raise click.ClickException(f"the password has to be 1 to {_LONGEST_PASSWORD} bytes long")
    return password


def _quoted(text: str) -> str:
    """Return printable *text* as a TOML string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
