"""From the ``[[alert]]`` tables to the definitions of a service, with the passwords read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from fwx.alerts.actions import Action, CommandAction, LogAction, MailAction, StopAction
from fwx.config_alerts import Alert as AlertTable
from fwx.config_alerts import Mail
from fwx.config_model import Configuration
from fwx.config_problems import ConfigurationError, Problem
from fwx.impl.alert import Category, Severity
from fwx.impl.alertdefinition import ANY, AlertDefinition
from fwx.secret_file import is_closed, read_secret

_MINUTE: Final = 60.0


def definitions_of(configuration: Configuration, before: Iterable[AlertDefinition] = ()) -> tuple[AlertDefinition, ...]:
    """Return what *configuration* defines for this firewall, without what is not enabled or is for another server.

    :param before: what is in force, whose passwords are kept where this account may not read their files any more.
    :raises ConfigurationError: a password cannot be read; every one is named.
    """
    known = {
        action.password_file: action.password
        for definition in before
        for action in definition.actions
        if isinstance(action, MailAction) and action.password_file is not None
    }
    passwords = _passwords(configuration, known)
    return tuple(
        _definition(table, tuple(_actions(configuration, table, passwords.get(index, ""))))
        for index, table in tables_here(configuration)
    )


def tables_here(configuration: Configuration) -> Iterator[tuple[int, AlertTable]]:
    """Yield the tables that are in force on this firewall, each with its place in the file (B9.26)."""
    here = configuration.service.name
    for index, table in enumerate(configuration.alerts):
        if table.enabled and table.server in (None, here):
            yield index, table


def _definition(table: AlertTable, actions: tuple[Action, ...]) -> AlertDefinition:
    again = table.again_after_minutes
    return AlertDefinition(
        table.name,
        table.event,
        table.additional_key or ANY,
        None if table.severity is None else Severity[table.severity.upper()],
        None if table.category is None else Category[table.category.upper().replace(" ", "_")],
        table.after_events,
        table.events_per_second,
        None if again is None else again * _MINUTE,
        table.each_key,
        urgent=table.stop_service,
        actions=actions,
    )


def _actions(configuration: Configuration, table: AlertTable, password: str) -> Iterator[Action]:
    if table.log:
        yield LogAction()
    if table.command is not None:
        yield CommandAction(table.command, table.command_seconds)
    if table.mail is not None:
        yield mail_action(configuration, table.mail, password)
    if table.stop_service:
        yield StopAction()


def mail_action(configuration: Configuration, mail: Mail, password: str) -> MailAction:
    """Return the action of a table ``mail``, whose password file holds *password*."""
    authorities, file = (None if name is None else configuration.beside(name) for name in (mail.ca, mail.password_file))
    return MailAction(
        mail.to, mail.sender, mail.server, mail.seconds, mail.start_tls, authorities, mail.user, file, password
    )


def _passwords(configuration: Configuration, known: Mapping[Path, str]) -> dict[int, str]:
    """Read the passwords of the alerts that send mail, by their place in the file."""
    problems: list[Problem] = []
    found: dict[int, str] = {}
    for index, table in tables_here(configuration):
        if table.mail is None or table.mail.password_file is None:
            continue
        file = configuration.beside(table.mail.password_file)
        try:
            found[index] = known[file] if file in known and is_closed(file) else read_secret(file)
        except ValueError as error:
            problems.append(configuration.source.problem(("alert", index, "mail", "password_file"), str(error)))
    if problems:
        raise ConfigurationError(problems)
    return found
