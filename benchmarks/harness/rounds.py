"""Rounds: every contender measured in turn, in an order that changes; the medians of what they gave."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping

from harness.bound import within

Figures = dict[str, float]
"""Column -> figure."""

Taken = dict[str, dict[str, list[float]]]
"""Contender -> column -> the figure of every round."""


STEP_SECONDS = 90.0
"""The most that one column may take beside its load: to start two programs, to wait for them, and to end them."""


def take(
    contenders: Mapping[str, Callable[[], Iterable[tuple[str, float]]]], rounds: int, step: float
) -> tuple[Taken, list[str]]:
    """Measure every contender in every round; return the figures and what went wrong.

    A contender is a function that gives each column with its figure. One that takes more than *step* seconds to the
    next column is given up for this round, and so is one that raises RuntimeError or OSError; the problem says behind
    which column, and where.
    """
    taken: Taken = {name: {} for name in contenders}
    problems = []
    names = list(contenders)
    for number in range(rounds):
        turn = number % len(names) if names else 0
        for name in names[turn:] + names[:turn]:
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            last = ""
            try:
                figures = iter(contenders[name]())
                while (found := _next(figures, step)) is not None:
                    last, figure = found
                    taken[name].setdefault(last, []).append(figure)
            except (RuntimeError, OSError) as error:
                behind = f", behind {last!r}" if last else ""
                problems.append(f"{name}, round {number + 1}{behind}: {error}")
    return taken, problems


def _next(figures: Iterator[tuple[str, float]], step: float) -> tuple[str, float] | None:
    with within(step):
        return next(figures, None)


def medians(taken: Taken) -> dict[str, Figures]:
    return {name: {column: statistics.median(each) for column, each in row.items()} for name, row in taken.items()}
