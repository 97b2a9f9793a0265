"""``fwx rollback``: a configuration that was in force before."""

from __future__ import annotations

from pathlib import Path

import click

from fwx.change.place import state_dir_of
from fwx.commands.apply import tell
from fwx.config import ConfigurationError
from fwx.control import ControlError


@click.command()
@click.argument("number", required=False, type=click.IntRange(1))
@click.option("--config", "file", type=click.Path(path_type=Path), help="The configuration that the service has.")
@click.option("--dry-run", is_flag=True, help="Say what differs and which connections would end; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def rollback(number: int | None, file: Path | None, dry_run: bool, as_json: bool) -> None:
    """Have the running service go by the version NUMBER of its history, or by the one before that in force.

    It is put in force as 'fwx apply' does, as a new version. The service's file stays what it is. Exit code 1: nothing
    has been changed; it is said why.
    """
    try:
        folder = state_dir_of(file)
        tell(folder, "rollback", b"", {"number": number}, dry_run=dry_run, as_json=as_json)
    except (ConfigurationError, ControlError, TimeoutError) as error:
        raise click.ClickException(str(error) or "the service does not go on with its answer") from error
