"""The replies of an SMTP server (RFC 5321, 4.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fwx.filters.dialogue import ReplyError
from fwx.filters.lines import LineError, Lines

MOST_IN_LINE = 1024
"""Bytes of a line, CRLF included: twice what RFC 5321, 4.5.3.1.5, grants."""
MOST_LINES = 128
"""Lines of one reply."""

_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])([\t -~\x80-\xff]*))?")


@dataclass(slots=True)
class Reply:
    """One reply: its code, and the text of each line behind the code and its separator."""

    code: int
    lines: list[bytes]

    def __bytes__(self) -> bytes:
        last = len(self.lines) - 1
        return b"".join(
            b"%d%s%s\r\n" % (self.code, b"-" if place < last else b" ", text) for place, text in enumerate(self.lines)
        )


class Replies:
    """Cuts what a server says into replies."""

    __slots__ = ("_lines", "_texts")

    def __init__(self) -> None:
        self._lines = Lines(lambda _: MOST_IN_LINE)
        self._texts: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        """Bytes and lines that no reply has been made of."""
        return len(self._lines) + len(self._texts)

    def feed(self, data: bytes | memoryview) -> None:
        self._lines.feed(data)

    def next(self) -> Reply | None:
        """Return the next reply, ``None`` if it has not come whole.

        :raises ReplyError: it is none, its lines differ in their codes, or it is too long.
        """
        while True:
            try:
                line = self._lines.next()
            except LineError as error:
                raise ReplyError(str(error)) from error
            if line is None:
                return None
            found = _LINE.fullmatch(line)
            if found is None:
                raise ReplyError(f"{line[:60]!r} is no line of a reply")
            self._texts.append((int(found[1]), found[3] or b""))
            if self._texts[0][0] != self._texts[-1][0]:
                raise ReplyError("the lines of a reply have different codes")
            if found[2] != b"-":
                texts, self._texts = self._texts, []
                return Reply(texts[0][0], [text for _, text in texts])
            if len(self._texts) >= MOST_LINES:
                raise ReplyError(f"a reply of more than {MOST_LINES} lines")
