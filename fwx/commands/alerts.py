"""``fwx alerts``: what is defined for events, what has been raised, and the reset of an alert."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from fwx.alerts.words import plain
from fwx.config import ConfigurationError, load
from fwx.control import ControlError
from fwx.control.client import ask, follow

ANSWER_SECONDS: Final = 60.0

_CONFIG = click.option(
    "--config", "file", type=click.Path(path_type=Path), help="The configuration that the service has."
)


@click.group(invoke_without_command=True)
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def alerts(context: click.Context, file: Path | None, as_json: bool) -> None:
    """List the alerts in force in the running service, how often each was raised, and those raised last."""
    if context.invoked_subcommand is not None:
        if file is not None or as_json:
            raise click.UsageError(f"options go behind '{context.invoked_subcommand}'")
        return
    try:
        with follow(load(file).state_dir, "alerts") as answer:
            lines = list(iter(lambda: answer.line(ANSWER_SECONDS), None))
    except (ConfigurationError, ControlError, TimeoutError) as error:
        raise click.ClickException(str(error) or "the service does not go on with its answer") from error
    told = {
        "alerts": [line["alert"] for line in lines if "alert" in line],
        "raised": [line["raised"] for line in lines if "raised" in line],
    }
    click.echo(json.dumps(told, indent=2) if as_json else "\n".join(map(plain, _words(told))))


@alerts.command()
@_CONFIG
@click.argument("name")
def reset(file: Path | None, name: str) -> None:
    """Have the alert NAME begin anew: it may be raised again, and what it has counted is forgotten."""
    try:
        ask(load(file).state_dir, "reset alert", name=name)
    except (ConfigurationError, ControlError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"alert {name!r} has been reset")


def _words(told: Mapping[str, Any]) -> Iterator[str]:
    for alert in told["alerts"]:
        yield _alert(alert)
        yield from (_action(action) for action in alert["actions"])
    if told["raised"]:
        yield "raised last:"
    for raised in told["raised"]:
        times = f" ({raised['count']} times)" if raised["count"] > 1 else ""
        key = f" [{raised['key']}]" if raised["key"] else ""
        yield f"  {raised['time']}  {raised['severity']}  {raised['name']}{key}: {raised['message']}{times}"


def _alert(alert: Mapping[str, Any]) -> str:
    kind = "built-in alert" if alert["built_in"] else "alert"
    of = "" if alert["built_in"] else f" of {alert['event']!r}"
    key = f" for {alert['additional_key']!r}" if alert["additional_key"] else ""
    unknown = ", which nobody has defined" if alert["defined_by"] is None else ""
    last = f", last {alert['last']}" if alert["last"] else ""
    held = f", {alert['held']} held back" if alert["held"] else ""
    counts = f"raised {_times(alert['raised'])}{last}; signalled {_times(alert['signals'])}{held}"
    return f"{kind} {alert['name']!r}{of}{key}{unknown}: {alert['severity'] or 'no severity'}, {counts}"


def _action(action: Mapping[str, Any]) -> str:
    failed = f", failed {_times(action['failed'])}" if action["failed"] else ""
    reason = f": {action['reason']}" if action["reason"] else ""
    return f"  {action['action']}: done {_times(action['done'])}{failed}{reason}"


def _times(number: int) -> str:
    return {0: "never", 1: "once"}.get(number, f"{number} times")
