"""``fwx check --deep`` for alerts: whether their commands can be run, and their mail servers take part."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from fwx.alerts.definitions import mail_action, tables_here
from fwx.alerts.mail import Delivery
from fwx.config_alerts import Mail
from fwx.config_model import Configuration
from fwx.config_problems import KeyPath
from fwx.secret_file import read_secret

# Mail servers are asked side by side: each may take as long as a mail may.
_AT_ONCE: Final = 8


def alert_faults(configuration: Configuration) -> Iterator[tuple[KeyPath, str]]:
    """Yield the commands that this user cannot run, and the mail servers that cannot be greeted, or refuse the user.

    No command is run and no mail is sent.
    """
    asked: list[tuple[KeyPath, Delivery]] = []
    for index, table in tables_here(configuration):
        if table.command is not None:
            fault = command_fault(table.command[0])
            if fault:
                yield ("alert", index, "command"), fault
        if table.mail is not None:
            path = ("alert", index, "mail")
            try:
                action = mail_action(configuration, table.mail, _password(configuration, table.mail))
            except ValueError as error:
                yield (*path, "password_file"), str(error)
            else:
                asked.append(((*path, "server"), Delivery(action, None)))
    with ThreadPoolExecutor(_AT_ONCE, "fwx-mail") as pool:
        for (place, _), fault in zip(asked, pool.map(lambda each: each[1].run(), asked), strict=True):
            if fault:
                yield place, fault


def command_fault(program: str) -> str:
    """Say why *program*, a path or a name, cannot be run from the service's folder, or ``""``."""
    if "/" not in program:
        found = shutil.which(program)
        return "" if found else f"no program {program!r} is in PATH; expected one that can be run, or its whole path"
    path = Path("/") / program  # the folder that commands are run in
    if not path.exists():
        return f"{program} does not exist; expected a program, by its whole path"
    if not path.is_file() or not os.access(path, os.X_OK):
        return f"{program} cannot be run by this user; expected a program"
    return ""


def _password(configuration: Configuration, mail: Mail) -> str:
    """:raises ValueError: it cannot be read."""
    return "" if mail.password_file is None else read_secret(configuration.beside(mail.password_file))
