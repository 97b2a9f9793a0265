"""``fwx history``: which configurations were in force, which one is, and whether the file is that."""

from __future__ import annotations

import base64
import json
import pwd
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from fwx.change.history import digest_of
from fwx.change.place import state_dir_of
from fwx.config import ConfigurationError
from fwx.control import ControlError
from fwx.control.client import follow

ANSWER_SECONDS: Final = 60.0

_HOW: Final = {"start": "start of the service", "apply": "fwx apply", "signal": "SIGHUP", "rollback": "rollback"}
_SHOWN_DIGITS: Final = 12


@click.group(invoke_without_command=True)
@click.option("--config", "file", type=click.Path(path_type=Path), help="The configuration that the service has.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def history(context: click.Context, file: Path | None, as_json: bool) -> None:
    """Say which version of the configuration runs, whether the service's file is that, and which versions are kept."""
    context.obj = file
    if context.invoked_subcommand is not None:
        return
    with _in_words():
        told = _asked(file)
    click.echo(json.dumps(told, indent=2) if as_json else "\n".join(_words(told)))


@history.command()
@click.argument("number", type=click.IntRange(1))
@click.pass_obj
def show(file: Path | None, number: int) -> None:
    """Print the configuration of the version NUMBER, as it was."""
    with _in_words(), follow(state_dir_of(file), "show version", number=number) as answer:
        for line in iter(lambda: answer.line(ANSWER_SECONDS), None):
            click.echo(base64.b64decode(line["piece"]), nl=False)


def _asked(file: Path | None) -> dict[str, Any]:
    told: dict[str, Any] = {"running": None, "file": None, "versions": []}
    with follow(state_dir_of(file), "history") as answer:
        for line in iter(lambda: answer.line(ANSWER_SECONDS), None):
            if "kept" in line:
                told["versions"].append(line["kept"])
            else:
                told |= line
    own = told["file"]
    if own is not None and own["fault"]:  # the service may have given up the right to read it
        try:
            sha256 = digest_of(Path(own["path"]).read_bytes())
        except OSError:
            return told
        told["file"] = {
            "path": own["path"], "sha256": sha256, "fault": "", "differs": sha256 != told["running"]["sha256"]
        }  # fmt: skip
    return told


def _words(told: Mapping[str, Any]) -> Iterator[str]:
    running, own = told["running"], told["file"]
    number = "a version that is not kept" if running["version"] is None else f"version {running['version']}"
    yield f"runs: {number}, {running['path'] or '(embedded default)'}, sha256 {running['sha256'][:_SHOWN_DIGITS]}"
    if own is None:
        yield "file: none; the service was started without one"
    elif own["fault"]:
        yield f"file: {own['fault']}"
    else:
        verdict = "differs from what runs" if own["differs"] else "is what runs"
        yield f"file: {own['path']} {verdict}, sha256 {own['sha256'][:_SHOWN_DIGITS]}"
    for version in told["versions"]:
        mark = "*" if version["number"] == running["version"] else " "
        when = datetime.fromtimestamp(version["time"]).astimezone().isoformat(" ", "seconds")
        how = _HOW.get(version["how"], version["how"]) + (f" to version {version['of']}" if version["of"] else "")
        path = version["path"] or "(embedded default)"
        yield (
            f"{mark}{version['number']:>5}  {when}  {how}, by {_account(version['uid'])}: {path}, sha256 "
            + (version["sha256"][:_SHOWN_DIGITS])
        )


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except (ConfigurationError, ControlError, TimeoutError) as error:
        raise click.ClickException(str(error) or "the service does not go on with its answer") from error
