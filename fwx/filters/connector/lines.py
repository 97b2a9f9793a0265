"""Lines of a text protocol; they end with LF or CRLF."""

from __future__ import annotations

import re

_STOPS = re.compile(rb"\x00|\r\n|\r|\n")
_WORDS = {b"\x00": "a NUL", b"\r": "a bare CR"}


class LineError(ValueError):
    """What comes is no line: ``str()`` says why."""


class Lines:
    """Cuts a stream into lines. What is wrong is found at the same byte however the stream comes in pieces."""

    __slots__ = ("_data", "_limit")

    def __init__(self, limit: int) -> None:
        """*limit* is the most bytes of a line, its end included."""
        self._data = bytearray()
        self._limit = limit

    def feed(self, data: bytes | memoryview) -> None:
        self._data += data

    def next(self) -> tuple[bytes, bytes] | None:
        """Return the next line and its end, ``None`` if it has not come whole.

        :raises LineError: a NUL, a CR without LF, or a line over the limit.
        """
        data = self._data
        found = _STOPS.search(data)
        if found is not None and found[0] == b"\r" and found.end() == len(data):
            found = None  # its LF may be on the way
        length = len(data) if found is None else found.end()
        if length > self._limit:
            raise LineError(f"a line of more than {self._limit} bytes")
        if found is None:
            return None
        if found[0] in _WORDS:
            raise LineError(f"{_WORDS[found[0]]} in a line")
        line = bytes(data[: found.start()]), bytes(found[0])
        del found  # a match holds on to what it was found in
        del data[:length]
        return line
