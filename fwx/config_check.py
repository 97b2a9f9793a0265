"""What ``fwx check`` adds to reading a configuration: its filters are imported, and on request its files opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fwx.alert_events import undeclared_events
from fwx.config import parse
from fwx.config_model import Configuration
from fwx.config_problems import ConfigurationError, Problem
from fwx.config_source import Source, read_source
from fwx.directories.plugin import load_authenticator
from fwx.filter_loader import FilterLoadError, load_filter_class, option_problems


def load_checked(path: Path, *, deep: bool = False) -> Configuration:
    """Read the file *path*, import the filters that it names and validate their options.

    With *deep*, also open the files, secrets and directories that it names, once nothing else is wrong.

    :raises ConfigurationError: with every fault that was found.
    """
    configuration = checked(read_source(path))
    if deep:
        from fwx.config_deep import deep_problems  # it loads clients of directories and mail servers

        if problems := deep_problems(configuration):
            raise ConfigurationError(problems)
    return configuration


def checked(source: Source) -> Configuration:
    """Return *source* as a configuration, the filters and plugins that it names imported, their options validated.

    :raises ConfigurationError: with every fault that was found.
    """
    configuration, problems = parse(source)
    problems += filter_problems(source)
    problems += plugin_problems(source)
    problems += undeclared_events(source)[0]
    if configuration is None or problems:
        raise ConfigurationError(problems)
    return configuration


def filter_problems(source: Source) -> Iterator[Problem]:
    """Yield what is wrong with the classes and the options of the ``[[filter]]`` tables of *source*."""
    for path, table in source.tables("filter"):
        use, options = table.get("use"), table.get("options", {})
        if not isinstance(use, str):
            continue
        try:
            filter_class = load_filter_class(use)
        except FilterLoadError as error:
            yield source.problem((*path, "use"), str(error))
            continue
        if isinstance(options, dict):
            yield from option_problems(filter_class, options, source, (*path, "options"))


def plugin_problems(source: Source) -> Iterator[Problem]:
    """Yield what is wrong with the plugins and the options of the ``[[directory]]`` tables of *source*."""
    for path, table in source.tables("directory"):
        use, options = table.get("use"), table.get("options", {})
        if table.get("kind") != "plugin" or not isinstance(use, str):
            continue
        try:
            loaded = load_authenticator(use)
        except ValueError as error:
            yield source.problem((*path, "use"), str(error))
            continue
        if isinstance(options, dict):
            yield from option_problems(loaded, options, source, (*path, "options"))
