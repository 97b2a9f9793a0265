"""What is wrong with a configuration: a :class:`Problem` per fault, all of them in one :class:`ConfigurationError`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a configuration file.

    ``line`` counts from 1; 0 stands for the file as a whole. ``key`` is the dotted key, empty where no key is at
    fault.
    """

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (where, self.key, self.message) if part)


class ConfigurationError(Exception):
    """A configuration that cannot be used. ``problems`` holds every fault that was found, in the file's order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.line)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def dotted(path: KeyPath) -> str:
    """Return *path* as it reads in a message: names joined by dots, without the indices of arrays."""
    return ".".join(part for part in path if isinstance(part, str))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean '...'?"`` with the *known* name nearest to *name*, or ``""`` when none is near."""
    spelling = {candidate.casefold(): candidate for candidate in sorted(known)}
    near = difflib.get_close_matches(name.casefold(), spelling, n=1)
    return f"; did you mean {spelling[near[0]]!r}?" if near else ""
