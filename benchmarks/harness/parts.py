"""A benchmark in parts, each a table of its own: its options, its rounds, its report."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from harness.relays import Start
from harness.rounds import STEP_SECONDS, medians, take
from harness.table import table

Column = tuple[str, float]


class Part(NamedTuple):
    """One table: *columns* map to their units; *measure* gives each with its figure; the ratios are to *bases*."""

    title: str
    columns: dict[str, str]
    relays: dict[str, Start]
    measure: Callable[[Start], Iterator[Column]]
    bases: tuple[str, ...]


def options_of(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every benchmark in parts can be told."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load (default 3)")
    parser.add_argument("--rounds", type=int, default=3, help="the medians are of so many (default 3)")
    parser.add_argument("--quick", action="store_true", help="one round with loads of one second")
    parser.add_argument("--only", type=_names, default="", metavar="PARTS", help="parts, with commas between them")
    parser.add_argument("--relays", type=_names, default="", metavar="NAMES", help="relays, with commas between them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure there")
    return parser


def run(found: Mapping[str, Part], options: argparse.Namespace, rounds: int, about: Mapping[str, Any]) -> int:
    """Measure the parts and relays of *options*, and print and write what came of it, below what it is *about*.

    Returns the exit code. :raises ValueError: there is no such part.
    """
    unknown = options.only - found.keys()
    if unknown:
        raise ValueError(f"--only: {min(unknown)!r} is not here; there are {', '.join(found)}")
    print("\n".join(f"{name}: {each}" for name, each in about.items()), flush=True)
    results = {}
    for name, part in found.items():
        if name in options.only or not options.only:
            results[name] = _measure(part, rounds, options.relays, options.seconds + STEP_SECONDS)
            _show(part, results[name])
    if options.json is not None:
        options.json.write_text(json.dumps({"about": about, "parts": results}, indent=1) + "\n")
    return 1 if any(result["problems"] for result in results.values()) else 0


def _names(text: str) -> set[str]:
    return set(filter(None, text.split(",")))


def _measure(part: Part, rounds: int, names: set[str], step: float) -> dict[str, Any]:
    """Take the rounds of one part, of the relays that *names* holds, or of all."""
    relays = {name: start for name, start in part.relays.items() if name in names or not names}
    taken, problems = take({name: partial(part.measure, start) for name, start in relays.items()}, rounds, step)
    return {"units": part.columns, "medians": medians(taken), "rounds": taken, "problems": problems}


def _show(part: Part, result: dict[str, Any]) -> None:
    bases = [name for name in part.bases if result["medians"].get(name) and len(result["medians"]) > 1]
    print(f"\n{part.title}\n\n{table(result['medians'], part.columns, bases)}", flush=True)
    for problem in result["problems"]:
        print(problem, file=sys.stderr, flush=True)
