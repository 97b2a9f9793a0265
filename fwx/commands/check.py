"""``fwx check``: is this configuration right?"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from fwx.alert_events import undeclared_events
from fwx.config import Configuration, ConfigurationError
from fwx.config_check import load_checked
from fwx.config_support import unsupported
from fwx.policy_warnings import policy_warnings
from fwx.rule_warnings import unreachable_rules


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--deep", is_flag=True, help="Also open the files, secrets and directories that FILE names.")
def check(file: Path, deep: bool) -> None:
    """Judge the configuration FILE and the options of its filters.

    Prints every fault as file:line: key: what is wrong, what was expected, and warns of rules that can never match,
    of a file without rules, and of alerts for events that nobody may define.
    Exit code 0: no fault, 1: some.
    """
    try:
        configuration = load_checked(file, deep=deep)
    except ConfigurationError as error:
        click.echo(error, err=True)
        sys.exit(1)
    click.echo(f"{file}: ok: {_counts(configuration)}")
    for problem in (
        *policy_warnings(configuration),
        *unreachable_rules(configuration),
        *undeclared_events(configuration.source)[1],
    ):
        click.echo(replace(problem, message=f"warning: {problem.message}"), err=True)
    for problem in unsupported(configuration):
        click.echo(
            f"{problem.file}:{problem.line}: {problem.key}: 'fwx serve' refuses this: {problem.message}", err=True
        )


def _counts(configuration: Configuration) -> str:
    return ", ".join(
        (
            _count(len(configuration.listeners), "listener"),
            _count(len(configuration.all_rules), "rule"),
            _count(len(configuration.filters), "filter"),
            _count(len(configuration.networks), "network"),
            _count(len(configuration.protocols), "protocol"),
            _count(len(configuration.users), "user"),
        )
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
