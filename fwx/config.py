"""Reading the configuration: :func:`load` is what the service and its tools call."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from fwx.config_model import Configuration
from fwx.config_problems import ConfigurationError, Problem
from fwx.config_references import reference_problems
from fwx.config_source import Source, read_source
from fwx.config_validation import form_problems
from fwx.garbage import uncollected

__all__ = ["Configuration", "ConfigurationError", "Problem", "load", "parse"]


def load(path: Path | None) -> Configuration:
    """Read the file *path*; ``None`` is the embedded default: an empty file, but with the system's state folder.

    Names are checked against each other, the filters that are named are not imported.

    :raises ConfigurationError: with every fault that the file has.
    """
    configuration, problems = parse(Source() if path is None else read_source(path))
    if configuration is None or problems:
        raise ConfigurationError(problems)
    return configuration


def parse(source: Source) -> tuple[Configuration | None, list[Problem]]:
    """Judge the form and the names of *source*. The configuration is ``None`` when its form is wrong."""
    with uncollected():
        problems = reference_problems(source)
        try:
            return Configuration.model_validate(source.data, context=source), problems
        except ValidationError as error:
            return None, form_problems(error, Configuration, source) + problems
