"""Where each key of a TOML text stands: :func:`index_lines` maps every path of the parsed document to its line.

:mod:`tomllib` yields values without positions, so this reads the text a second time. It may rely on the text being
valid TOML and therefore only tells tokens apart.
"""

from __future__ import annotations

import bisect
import re
import tomllib
from collections.abc import Mapping
from typing import Literal, NamedTuple

from fwx.config_problems import KeyPath

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_KEY_GAP = re.compile(r"[ \t]*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})' r"|'''.*?'''(?:'{0,2})" r'|"(?:\\.|[^"\\])*"' r"|'[^']*'",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]+")


class LineIndex:
    """The lines of a document's keys. ``paths`` maps each path (names and array indices) to its line, from 1."""

    __slots__ = ("paths",)

    def __init__(self, paths: Mapping[KeyPath, int]) -> None:
        self.paths = paths

    def line(self, path: KeyPath) -> int:
        """Return the line of *path*, or of the innermost table around it that is written; 1 when nothing is."""
        for length in range(len(path), 0, -1):
            found = self.paths.get(path[:length])
            if found is not None:
                return found
        return 1


class Item(NamedTuple):
    """A header, or a key with its value. What is between items are blanks and comments.

    :ivar path: of the table that the header begins, or of the key. :ivar kind: ``table`` or ``array`` for a header.
    :ivar first: the line where it begins, from 1. :ivar last: the line where it ends.
    """

    path: KeyPath
    kind: Literal["table", "array", "key"]
    first: int
    last: int


def items_of(text: str) -> tuple[Item, ...]:
    """Return the items of *text*, which :func:`tomllib.loads` must have accepted, in its order."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.scan()
    return tuple(scanner.items)


def index_lines(text: str) -> LineIndex:
    """Index *text*, which :func:`tomllib.loads` must have accepted.

    A table stands where it is first named, an array of tables at its first header, an array's item where it starts.
    """
    return LineIndex(_Scanner(text.replace("\r\n", "\n")).scan())


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._paths: dict[KeyPath, int] = {}
        self._array_sizes: dict[KeyPath, int] = {}
        self.items: list[Item] = []

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            first = self._line()
            if self._text[self._at] == "[":
                kind: Literal["table", "array"] = "array" if self._text.startswith("[[", self._at) else "table"
                table = self._header()
                self.items.append(Item(table, kind, first, self._line()))
            else:
                path = self._pair(table)
                self.items.append(Item(path, "key", first, self._line()))
            self._skip(_BLANK)
        return self._paths

    def _header(self) -> KeyPath:
        line = self._line()
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        *outer, last = self._key()
        self._at += 2 if is_array else 1
        path: KeyPath = ()
        for part in outer:
            path = self._enter((*path, part), line)
        if not is_array:
            return self._enter((*path, last), line)
        path = (*path, last)
        self._array_sizes[path] = self._array_sizes.get(path, 0) + 1
        return self._enter(path, line)

    def _enter(self, path: KeyPath, line: int) -> KeyPath:
        """Note *path*; where it is an array of tables, step into its latest table."""
        self._paths.setdefault(path, line)
        size = self._array_sizes.get(path)
        if size is None:
            return path
        path = (*path, size - 1)
        self._paths.setdefault(path, line)
        return path

    def _pair(self, table: KeyPath) -> KeyPath:
        line = self._line()
        path = table
        for part in self._key():
            path = (*path, part)
            self._paths.setdefault(path, line)
        self._at += 1  # the equals sign
        self._skip(_BLANK)
        self._value(path)
        return path

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._skip(_KEY_GAP)
            parts.append(self._key_part())
            self._skip(_KEY_GAP)
            if self._text[self._at] != ".":
                return parts
            self._at += 1

    def _key_part(self) -> str:
        if self._text[self._at] not in "\"'":
            return self._take(_BARE_KEY)
        quoted = self._take(_STRING)
        return next(iter(tomllib.loads(f"{quoted} = 0")))

    def _value(self, path: KeyPath) -> None:
        match self._text[self._at]:
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case '"' | "'":
                self._take(_STRING)
            case _:
                self._take(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        index = 0
        while not self._closed("]"):
            self._paths[(*path, index)] = self._line()
            self._value((*path, index))
            index += 1

    def _inline_table(self, path: KeyPath) -> None:
        while not self._closed("}"):
            self._pair(path)

    def _closed(self, bracket: str) -> bool:
        """Step over the opening bracket or a comma and the blanks around it; tell whether *bracket* follows."""
        self._skip(_BLANK)
        if self._text[self._at] in "[{,":
            self._at += 1
            self._skip(_BLANK)
        if self._text[self._at] != bracket:
            return False
        self._at += 1
        return True

    def _line(self) -> int:
        return bisect.bisect_left(self._newlines, self._at) + 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        self._take(pattern)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise ValueError(f"line {self._line()}: not valid TOML; parse it with tomllib first")
        self._at = match.end()
        return match.group()
