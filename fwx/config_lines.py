"""Where each key of a TOML text stands: :func:`index_lines` maps every path of the parsed document to its line.

:mod:`tomllib` yields values without positions, so this reads the text a second time. It may rely on the text being
valid TOML and therefore only tells tokens apart.
"""

from __future__ import annotations

import bisect
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Literal, NamedTuple

from fwx.config_problems import KeyPath
from fwx.config_toml import pieces_of

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_KEY_GAP = re.compile(r"[ \t]*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})' r"|'''.*?'''(?:'{0,2})" r'|"(?:\\.|[^"\\])*"' r"|'[^']*'",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN_NAME = re.compile(r"([A-Za-z0-9_-]+)[ \t]*=[ \t]*(?![ \t\n#])")
_SCALAR = re.compile(r"[^,\]}#\n]+")
_PLAIN_ITEM = re.compile(r'"[^"]*+"|#[^\n]*+')


class LineIndex:
    """The lines of a document's keys, from 1, by their paths (names and array indices).

    Nothing is sought before the first line is asked for: a file without a fault has no need of any.
    """

    def __init__(self, content: bytes = b"") -> None:
        """:param content: of the document, as UTF-8; :func:`tomllib.loads` must have accepted it."""
        self._content = content

    @property
    def paths(self) -> Mapping[KeyPath, int]:
        """Each path of the document with its line."""
        keys, arrays = self._scanned
        items = ((path, array.lines()) for path, array in arrays.items())
        return {**keys, **{(*path, index): line for path, lines in items for index, line in enumerate(lines)}}

    def line(self, path: KeyPath) -> int:
        """Return the line of *path*, or of the innermost table around it that is written; 1 when nothing is."""
        keys, arrays = self._scanned
        for length in range(len(path), 0, -1):
            found = keys.get(path[:length])
            if found is not None:
                return found
            array, index = arrays.get(path[: length - 1]), path[length - 1]
            if array is not None and isinstance(index, int) and (line := array.line(index)) is not None:
                return line
        return 1

    @cached_property
    def _scanned(self) -> tuple[dict[KeyPath, int], dict[KeyPath, _PlainArray]]:
        return _Scanner(_text_of(self._content)).scan()


class _PlainArray:
    """An array of plain strings: where its pieces are in the text, and nothing yet of each string."""

    def __init__(self, text: str, first: int, start: int, pieces: list[tuple[int, int]]) -> None:
        """:param first: the line where it begins. :param start: where that is in *text*."""
        self._text, self._first, self._start, self._pieces = text, first, start, pieces
        self._lines: list[int] | None = None

    def line(self, index: int) -> int | None:
        """Return the line of the item at *index*; ``None`` where there is none."""
        lines = self.lines()
        return lines[index] if 0 <= index < len(lines) else None

    def lines(self) -> list[int]:
        """Return the line of each item."""
        if self._lines is None:
            self._lines = list(self._sought())
        return self._lines

    def _sought(self) -> Iterator[int]:
        line, at = self._first, self._start
        for start, end in self._pieces:
            for item in _PLAIN_ITEM.finditer(self._text, start, end):
                if item[0].startswith("#"):
                    continue
                line += self._text.count("\n", at, item.start())
                at = item.start()
                yield line


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
    scanner = _Scanner(_text_of(text.encode()))
    scanner.scan()
    return tuple(scanner.items)


def index_lines(text: str) -> LineIndex:
    """Index *text*, which :func:`tomllib.loads` must have accepted.

    A table stands where it is first named, an array of tables at its first header, an array's item where it starts.
    """
    index = LineIndex(text.encode())
    index.line(())  # what is no TOML is refused here
    return index


def _text_of(content: bytes) -> str:
    return content.decode().replace("\r\n", "\n")


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._paths: dict[KeyPath, int] = {}
        self._array_sizes: dict[KeyPath, int] = {}
        self._arrays: dict[KeyPath, _PlainArray] = {}
        self.items: list[Item] = []

    def scan(self) -> tuple[dict[KeyPath, int], dict[KeyPath, _PlainArray]]:
        """Return the lines of all paths, but for the items of arrays of plain strings, which are told as a whole."""
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
        return self._paths, self._arrays

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
        path = self._name(table)
        self._value(path)
        return path

    def _name(self, table: KeyPath) -> KeyPath:
        """Step over a key of *table* and the equals sign behind it."""
        line = self._line()
        path = table
        if plain := _PLAIN_NAME.match(self._text, self._at):
            path = (*path, plain[1])
            self._paths.setdefault(path, line)
            self._at = plain.end()
            return path
        for part in self._key():
            path = (*path, part)
            self._paths.setdefault(path, line)
        self._at += 1  # the equals sign
        self._skip(_BLANK)
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
        """Step over the value of *path*, however deep it is: those around it are on a stack of its own."""
        around: list[_Open] = []
        while True:
            match self._text[self._at]:
                case "[":
                    if not self._plain_array(path):
                        around.append(_Open("]", path))
                case "{":
                    around.append(_Open("}", path))
                case '"' | "'":
                    self._take(_STRING)
                case _:
                    self._take(_SCALAR)
            while around and self._closed(around[-1].bracket):
                around.pop()
            if not around:
                return
            inner = around[-1]
            if inner.bracket == "}":
                path = self._name(inner.path)
            else:
                path = (*inner.path, inner.count)
                inner.count += 1
                self._paths[path] = self._line()

    def _plain_array(self, path: KeyPath) -> bool:
        """Step over an array of plain strings; tell whether it is one."""
        pieces, end = pieces_of(self._text, self._at)
        if not pieces:
            return False
        self._arrays[path] = _PlainArray(self._text, self._line(), self._at, pieces)
        self._at = end
        return True

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


class _Open:
    """An array or an inline table that is not closed yet, with the items that it has so far."""

    __slots__ = ("bracket", "count", "path")

    def __init__(self, bracket: Literal["]", "}"], path: KeyPath) -> None:
        self.bracket, self.path, self.count = bracket, path, 0
