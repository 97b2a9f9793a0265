"""Rounds: every contender measured in turn, in an order that changes; the medians of what they gave."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable, Mapping

Figures = dict[str, float]
"""Column -> figure."""

Taken = dict[str, dict[str, list[float]]]
"""Contender -> column -> the figure of every round."""


def take(contenders: Mapping[str, Callable[[], Iterable[tuple[str, float]]]], rounds: int) -> tuple[Taken, list[str]]:
    """Measure every contender in every round; return the figures and what went wrong.

    A contender is a function that gives each column with its figure.
    """
    taken: Taken = {name: {} for name in contenders}
    problems = []
    names = list(contenders)
    for number in range(rounds):
        turn = number % len(names) if names else 0
        for name in names[turn:] + names[:turn]:
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            try:
                for column, figure in contenders[name]():
                    taken[name].setdefault(column, []).append(figure)
            except (RuntimeError, OSError) as error:
                problems.append(f"{name}, round {number + 1}: {error}")
    return taken, problems


def medians(taken: Taken) -> dict[str, Figures]:
    return {name: {column: statistics.median(each) for column, each in row.items()} for name, row in taken.items()}
