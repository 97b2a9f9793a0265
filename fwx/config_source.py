"""A configuration file as it was read: its TOML data, its lines, and the syntax errors that stop everything else."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fwx.config_lines import LineIndex
from fwx.config_problems import ConfigurationError, KeyPath, Problem, dotted
from fwx.config_toml import loads
from fwx.garbage import uncollected

# Longer than what int() takes.
_LONG_NUMBER = re.compile(r"(?<=[=,\[\s+-])[0-9_]{4301,}")
_SYNTAX_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Source:
    """What is written. ``path`` is ``None`` for the embedded default, whose ``data`` is empty.

    ``content`` are the bytes that ``data`` was read from.
    """

    path: Path | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    lines: LineIndex = field(default_factory=LineIndex)
    content: bytes = field(default=b"", repr=False)

    @property
    def file(self) -> str:
        """The file's name as it stands in messages."""
        return str(self.path) if self.path is not None else "(embedded default)"

    def problem(self, path: KeyPath, message: str, *, key: KeyPath | None = None) -> Problem:
        """Make the problem of the key at *path*; *key* is the key to print where it differs."""
        return Problem(self.file, self.lines.line(path), dotted(path if key is None else key), message)

    def tables(self, name: str) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
        """Yield the path and the data of each ``[[name]]`` table, passing over what is no table."""
        found = self.data.get(name)
        for index, table in enumerate(found if isinstance(found, list) else ()):
            if isinstance(table, dict):
                yield (name, index), table


def read_source(path: Path) -> Source:
    """Read the TOML file *path*.

    :raises ConfigurationError: it cannot be read, is not UTF-8, or is not TOML.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _failure(path, 0, f"cannot be read: {error.strerror or error}") from error
    return source_of(path, content)


def source_of(path: Path, content: bytes) -> Source:
    """Return *content*, which was read from the TOML file *path*, whoever has read it.

    :raises ConfigurationError: it is not UTF-8, or not TOML.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise _failure(path, _line_of(content[: error.start]), "is not UTF-8 text") from error
    try:
        with uncollected():
            return Source(path, loads(text), LineIndex(content), content)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_failure(path, text, str(error)) from error
    except RecursionError as error:
        raise _failure(path, 0, "has arrays or tables nested too deeply") from error
    except ValueError as error:  # the only other one that tomllib lets through is Python's own limit of digits
        raise _failure(path, _line_of_long_number(text), "has a number of more digits than can be read") from error


def _line_of_long_number(text: str) -> int:
    """Return the line of what is most likely the number, 0 where there is none."""
    found = _LONG_NUMBER.search(text)
    return _line_of(text[: found.start()].encode()) if found else 0


def _syntax_failure(path: Path, text: str, message: str) -> ConfigurationError:
    place = _SYNTAX_PLACE.search(message)
    line = int(place[1]) if place and place[1] else _line_of(text.rstrip().encode())
    return _failure(path, line, f"not valid TOML: {_SYNTAX_PLACE.sub('', message)}")


def _failure(path: Path, line: int, message: str) -> ConfigurationError:
    return ConfigurationError([Problem(str(path), line, "", message)])


def _line_of(before: bytes) -> int:
    return before.count(b"\n") + 1
