"""The firewall log as W3C extended files (B9.1 to B9.7)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import fwx
from fwx.firewall_log_schema import WRITTEN, Row
from fwx.logs.actions import action_name
from fwx.logs.filesink import FileSink
from fwx.logs.retention import Keep
from fwx.logs.w3cfields import FIELDS

_NOT_A_VALUE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\\]")


class W3cSink(FileSink):
    """Appends records to files with the extension ``w3c``."""

    def __init__(
        self,
        directory: Path,
        *,
        fields: Sequence[str] = tuple(FIELDS),
        most_bytes: int | None = None,
        keep: Keep | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is touched before :meth:`open`.

        :param fields: names of :data:`FIELDS`, in any order; those that are left out are not in the files (B9.2).
            The others as :class:`fwx.logs.filesink.FileSink` has them.
        """
        super().__init__("W3C", "w3c", directory, most_bytes, keep, clock)
        self._fields = tuple(name for name in FIELDS if name in fields)
        self._readers = tuple(map(_reader_of, self._fields))

    def _lines(self, records: Sequence[Row]) -> bytes:
        return "".join(map(self._line, records)).encode("utf-8", "backslashreplace")

    def _head(self) -> bytes:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self._clock()))
        fields = "\t".join(self._fields)
        return f"#Software: fwx {fwx.__version__}\n#Version: 1.0\n#Date: {stamp}\n#Fields: {fields}\n".encode()

    def _line(self, row: Row) -> str:
        line = "\t".join([read(row) or "-" for read in self._readers]) + "\n"
        return line if line[0] != "#" else f"\\x23{line[1:]}"  # else a directive


def _reader_of(name: str) -> Callable[[Row], str]:
    """Return what makes the text of the field *name* of a row; empty for nothing."""
    columns = [WRITTEN.index(column) for column in FIELDS[name]]
    match name:
        case "date":
            return lambda row: row[columns[0]][:10]  # type: ignore[index]
        case "time":
            return lambda row: row[columns[0]][11:19]  # type: ignore[index]
        case "action":
            return lambda row: action_name(row[columns[0]])  # type: ignore[arg-type]
        case "status":
            return lambda row: f"0x{row[columns[0]]:x}"
        case "bidirectional":
            return lambda _: "0"
    match columns:
        case []:
            return lambda _: ""
        case [only]:
            return lambda row: _printable(str(row[only]))
    host, port = columns
    protocol = WRITTEN.index("protocol")
    return lambda row: _end_point(str(row[host]), int(row[port]), row[protocol] == "ICMP")


def _end_point(host: str, port: int, is_icmp: bool) -> str:
    """Return ``address:port`` where the transport has ports; for ICMP they are its type and code (B9.5, B9.6)."""
    if not host or (not port and not is_icmp):
        return _printable(host)
    return f"[{_printable(host)}]:{port}" if ":" in host else f"{_printable(host)}:{port}"


def _printable(text: str) -> str:
    """Escape what would end a value or a line: names in the log come from the network."""
    if text.isprintable() and "\\" not in text:
        return text
    return _NOT_A_VALUE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
