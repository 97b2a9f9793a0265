"""What the user sees: a line for each result, and a progress bar where there is a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from fwx.demo.clients import Advance

_WIDTH = 11


class Screen:
    """Shows the demonstration on *console*: bars and colours on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, title: str, text: str) -> None:
        """Show a result: what it is about, and what it is; further lines of *text* are indented alike."""
        lines = text.splitlines() or [""]
        for heading, line in zip([title, *[""] * (len(lines) - 1)], lines, strict=True):
            if self._console.is_terminal:
                self._console.print(Text(heading.ljust(_WIDTH), "bold"), Text(line), soft_wrap=True)
            else:
                click.echo(f"{heading.ljust(_WIDTH)} {line}".rstrip(), file=self._console.file)

    @contextlib.contextmanager
    def progress(self, title: str, total: int, *, in_bytes: bool = False) -> Iterator[Advance]:
        """Show how far a step of *total* units is; the function takes units done, on any thread."""
        if not self._console.is_terminal:
            yield lambda _: None
            return
        count = DownloadColumn(binary_units=True) if in_bytes else MofNCompleteColumn()
        columns = TextColumn("{task.description}"), BarColumn(), count, TimeElapsedColumn()
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(title.ljust(_WIDTH), total=total)
            yield lambda units: progress.advance(task, units)
