"""The command line: ``fwx`` and ``python -m fwx``.

Every command lives in the module of its name under :mod:`fwx.commands` and is imported only when it is asked for, so
that ``fwx --version`` and ``fwx check`` do not pay for the service. Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import click

from fwx import __version__
from fwx.garbage import uncollected

COMMANDS: Final[Mapping[str, str]] = {
    "serve": "Run the Firewall service until it is told to stop.",
    "demo": "Start a service, send real traffic through its filters and show the log.",
    "check": "Judge a configuration file.",
    "rule": "List and edit the rules of a configuration file.",
    "apply": "Have the running service go by another configuration.",
    "history": "Say which configurations were in force.",
    "rollback": "Have the running service go by an earlier configuration.",
    "explain": "Say which rule decides a connection, and why.",
    "doctor": "Examine the machine that the service is to run on.",
    "filters": "List the filters that are installed and configured.",
    "trace": "Record live connections as tests.",
    "conform": "Try a filter against the contract.",
    "components": "Print what the registry holds.",
    "sessions": "List what clients have open, and end it.",
    "limits": "Say what clients use of their limits.",
    "alerts": "Say which alerts are in force, and reset them.",
    "log": "Print the firewall log.",
    "user": "Make the table of a user for a configuration.",
    "idl": "Print the interfaces as IDL.",
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and help line, and imports a command's module on first use."""

    def __init__(self, *args: Any, table: Mapping[str, str], **kwargs: Any) -> None:
        """Make a group of *table*: name of a module under ``fwx.commands`` to the line that ``--help`` shows."""
        super().__init__(*args, **kwargs)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (the signature is click's)
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (the signature is click's)
        """Return the command called *cmd_name*, ``None`` for a name outside the table.

        :raises ImportError: the module is missing or broken; that is a defect of the installation.
        :raises TypeError: the module has no command of its own name.
        """
        if cmd_name not in self._table:
            return None
        with uncollected():
            module = import_module(f"fwx.commands.{cmd_name}")
        command = getattr(module, cmd_name, None)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module.__name__} has no command named {cmd_name!r}")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 (the signature is click's)
        with formatter.section("Commands"):
            formatter.write_dl(list(self._table.items()))


@click.group(
    cls=LazyGroup, table=COMMANDS, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="fwx")
def main() -> None:
    """An application-layer firewall with filters in Python."""
