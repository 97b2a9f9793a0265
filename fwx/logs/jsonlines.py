"""The firewall log as JSON lines: one object a record."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from fwx.firewall_log_schema import COLUMNS, WRITTEN, Row
from fwx.logs.filesink import FileSink
from fwx.logs.retention import Keep
from fwx.logs.sink import in_steps

FIELDS: Final = tuple(name for name in COLUMNS if name in WRITTEN and name != "logTime")
"""What an object may have: columns of the database, as ``fwx log --json`` prints them. The time is ``GmtLogTime``, UTC
as RFC 3339 writes it; there is no local one, and nothing that is the same in every record."""


class JsonSink(FileSink):
    """Appends records to files with the extension ``jsonl``."""

    def __init__(
        self,
        directory: Path,
        *,
        fields: Sequence[str] = FIELDS,
        most_bytes: int | None = None,
        keep: Keep | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is touched before :meth:`open`.

        :param fields: names of :data:`FIELDS`, in any order; those that are left out are not in the objects.
            The others as :class:`fwx.logs.filesink.FileSink` has them.
        """
        super().__init__("JSON", "jsonl", directory, most_bytes, keep, clock)
        self._names = tuple(name for name in FIELDS if name in fields)
        places = [WRITTEN.index(name) for name in self._names]
        # Of one place, itemgetter would return no tuple.
        first = places[0]
        self._pick: Callable[[Row], tuple[Any, ...]] = (
            itemgetter(*places) if len(places) > 1 else lambda row: (row[first],)
        )
        self._encode = json.JSONEncoder().encode
        marks = (f'"{name}": ' + ("%d" if COLUMNS[name] == "INTEGER" else '"%s"') for name in self._names)
        self._plain = "{" + ", ".join(marks) + "}"
        self._quotes = self._plain.count('"')

    def _lines(self, records: Sequence[Row]) -> bytes:
        lines = [line for some in in_steps(records) for line in map(self._line, some)]
        lines.append("")
        return "\n".join(lines).encode("ascii")

    def _line(self, row: Row) -> str:
        """Return the object of *row*. Most have nothing to be escaped; those are made several times as fast."""
        values = self._pick(row)
        try:
            line = self._plain % values
        except TypeError:  # a text where a number belongs
            line = ""
        if "\\" in line or line.count('"') != self._quotes or not (line.isascii() and line.isprintable()):
            line = self._encode(dict(zip(self._names, map(_readable, values), strict=True)))
        return line


def _readable(value: Any) -> str | int:
    """Return a number, or a text without lone surrogates, which json writes and many programs refuse to read."""
    return value if isinstance(value, int) else str(value).encode("utf-8", "backslashreplace").decode()
