"""``fwx apply``: another configuration for the service that runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import click

from fwx.change.place import state_dir_of
from fwx.change.words import document_of, words_of
from fwx.config import ConfigurationError
from fwx.control import ControlError
from fwx.control.client import follow

ANSWER_SECONDS: Final = 300.0
"""How long the service may take: directories are asked, filters are initialised."""


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--config", "running", type=click.Path(path_type=Path), help="The configuration that the service has.")
@click.option("--dry-run", is_flag=True, help="Say what differs and which connections would end; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def apply(file: Path | None, running: Path | None, dry_run: bool, as_json: bool) -> None:
    """Have the running service go by the configuration FILE: all of it or, if anything is wrong, nothing.

    Without FILE the service reads its own file again. The service is found by the state folder of --config, or of FILE.
    What differs is printed; connections that are no longer allowed are ended, the others go on. Exit code 1: nothing
    has been changed; it is said why.
    """
    try:
        folder = state_dir_of(file if running is None else running)
        asked: dict[str, Any] = {}
        body = b""
        if file is not None:
            body = file.read_bytes()
            asked = {"path": str(file.absolute()), "bytes": len(body)}
        tell(folder, "apply", body, asked, dry_run=dry_run, as_json=as_json)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    except (ControlError, TimeoutError, OSError) as error:
        raise click.ClickException(str(error) or "the service does not go on with its answer") from error


def tell(folder: Path, command: str, body: bytes, asked: dict[str, Any], *, dry_run: bool, as_json: bool) -> None:
    """Have the service in *folder* do *command*, and print what came of it; exits with 1 where nothing has changed.

    :raises ControlError: it was not begun, or there is no service. :raises TimeoutError: it does not go on.
    """
    with follow(folder, command, seconds=ANSWER_SECONDS, body=body, **asked, **{"dry run": dry_run}) as answer:
        told = document_of(iter(lambda: answer.line(ANSWER_SECONDS), None), dry_run=dry_run)
    is_done = not told["reason"]
    click.echo(json.dumps(told, indent=2) if as_json else "\n".join(words_of(told)), err=not is_done and not as_json)
    if not is_done:
        sys.exit(1)
