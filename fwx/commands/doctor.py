"""``fwx doctor``: can this machine run a service with this configuration?"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from fwx.config import ConfigurationError, load
from fwx.doctor.examination import examine
from fwx.doctor.finding import Finding, Verdict
from fwx.doctor.machine import Machine

_STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}
_INDENT = " " * 6


@click.command()
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The configuration file; without it the embedded default holds.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each finding.")
def doctor(config: Path | None, as_json: bool) -> None:
    """Examine the machine: may the service run here, and what is in its way.

    Each finding says what there is, what comes of it and which command mends it. Run it as the user that starts the
    service. Exit code 0: nothing fails, 1: something does.
    """
    try:
        configuration = load(config)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    with closing(Machine()) as machine:
        findings = list(examine(configuration, machine))
    if as_json:
        for finding in findings:
            click.echo(json.dumps(finding._asdict()))
    else:
        _show(findings)
    if any(finding.verdict is Verdict.FAIL for finding in findings):
        sys.exit(1)


def _show(findings: list[Finding]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        style = _STYLES[finding.verdict]
        verdict = f"[{style}]{finding.verdict:<4}[/{style}]"
        console.print(f"{verdict}  {finding.check:<{width}}  {escape(finding.found)}")
        if finding.why:
            console.print(f"{_INDENT}why:  {escape(finding.why)}")
        if finding.mend:
            console.print(f"{_INDENT}mend: {escape(finding.mend)}")
