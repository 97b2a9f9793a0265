"""Lines of commands and replies: they end with CRLF, and CR, LF and NUL stand nowhere else (RFC 5321, 2.3.8).

In looser protocols a line may end with LF alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_STOPS = re.compile(rb"\x00|\r\n|\r|\n")
_WORDS = {b"\x00": "a NUL", b"\r": "a bare CR", b"\n": "a bare LF"}


class LineError(ValueError):
    """A line that breaks the rules: ``str()`` says how."""


class Lines:
    """Cuts a stream into lines. What is wrong is found at the same byte however the stream comes in pieces."""

    __slots__ = ("_data", "_ends", "_limit_of")

    def __init__(self, limit_of: Callable[[bytes], int], *, takes_lf: bool = False) -> None:
        """*limit_of* gives the most bytes, the end included, of the line that begins with what it is given.

        *takes_lf* has a line end with LF too.
        """
        self._data = bytearray()
        self._limit_of = limit_of
        self._ends = (b"\r\n", b"\n") if takes_lf else (b"\r\n",)

    def __len__(self) -> int:
        """Bytes that no line has been made of."""
        return len(self._data)

    def feed(self, data: bytes | memoryview) -> None:
        self._data += data

    def clear(self) -> None:
        """Forget what no line has been made of."""
        self._data.clear()

    def take_rest(self) -> bytes:
        """Give away what no line has been made of."""
        rest = bytes(self._data)
        self._data.clear()
        return rest

    def next(self) -> bytes | None:
        """Return the next line without its end, ``None`` if it has not come whole. :raises LineError: as below."""
        found = self.next_with_end()
        return None if found is None else found[0]

    def next_with_end(self) -> tuple[bytes, bytes] | None:
        """Return the next line and its end, ``None`` if it has not come whole.

        :raises LineError: a NUL, a CR or LF that ends no line, or a line over its limit.
        """
        data = self._data
        found = _STOPS.search(data)
        if found is not None and found[0] == b"\r" and found.end() == len(data):
            found = None  # its LF may be on the way
        length = len(data) if found is None else found.end()
        limit = self._limit_of(bytes(data[: min(length, 8)]))
        if length > limit:
            raise LineError(f"a line of more than {limit} bytes")
        if found is None:
            return None
        if found[0] not in self._ends:
            raise LineError(f"{_WORDS[found[0]]} in a line")
        line = bytes(data[: found.start()]), bytes(found[0])
        del data[: found.end()]
        return line
