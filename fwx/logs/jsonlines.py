"""The firewall log as JSON lines: one object a record."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from fwx.firewall_log_schema import WRITTEN, Row
from fwx.logs.filesink import FileSink
from fwx.logs.retention import Keep

FIELDS: Final = tuple(name for name in WRITTEN if name != "logTime")
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
        self._pick: Callable[[Row], Sequence[Any]] = (
            itemgetter(*places) if len(places) > 1 else lambda row: (row[first],)
        )
        self._encode = json.JSONEncoder(default=str).encode

    def _lines(self, records: Sequence[Row]) -> bytes:
        encode, names, pick = self._encode, self._names, self._pick
        lines = [encode(dict(zip(names, pick(row), strict=True))) for row in records]
        lines.append("")
        return "\n".join(lines).encode("ascii")
