"""The table of medians, and how many times another contender's each of them is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.rounds import Figures


def table(medians: Mapping[str, Figures], columns: Mapping[str, str], bases: Sequence[str]) -> str:
    """Return the medians by *columns*, which map to their units, and below them the ratios to each of *bases*."""
    widths = [max(map(len, medians), default=0) + 2, *(max(13, len(column) + 2) for column in columns)]
    lines = [_row("", columns, widths), _row("", columns.values(), widths)]
    lines += [_row(name, (_number(row.get(column)) for column in columns), widths) for name, row in medians.items()]
    for base in bases:
        lines += ["", f"ratio to {base}"]
        lines += [
            _row(name, (_ratio(row.get(column), medians[base].get(column)) for column in columns), widths)
            for name, row in medians.items()
            if name != base
        ]
    return "\n".join(lines)


def _row(name: str, cells: Iterable[str], widths: Sequence[int]) -> str:
    return name.ljust(widths[0]) + "".join(map(str.rjust, cells, widths[1:]))


def _number(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:,.0f}" if abs(figure) >= 1000 else f"{figure:.3g}"


def _ratio(figure: float | None, base: float | None) -> str:
    return f"{figure / base:.2f}" if figure is not None and base and base > 0 else "-"
