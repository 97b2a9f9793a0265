"""TOML as :func:`tomllib.loads` reads it, in a fraction of its time where a file has long arrays of strings.

:mod:`tomllib` is Python, and spends microseconds on each string; a list of blocked names has 100,000 of them. Such
arrays are taken out of the text by regular expressions first. What is left is read by :mod:`tomllib`, which finds a
number in place of each.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

# As tomllib has it: comments and basic strings may have tabs, but no other control characters.
_NO_CONTROL: Final = r"\x00-\x08\n-\x1f\x7f"
_GAP: Final = rf"(?:[ \t\n]|#[^{_NO_CONTROL}]*+\n)*+"
_ITEM: Final = rf'"[^"\\{_NO_CONTROL}]*+"'
_HEAD: Final = re.compile(r"=[ \t]*+(?=\[)")
_BEGINNING: Final = re.compile(rf"\[{_GAP}")
# So few at once that no other thread waits for long: a regular expression is not interrupted.
_ITEMS: Final = re.compile(rf"(?:{_ITEM}{_GAP},{_GAP}){{1,1000}}+")
_TAIL: Final = re.compile(rf"(?:{_ITEM}{_GAP})?+\]")
_STRINGS: Final = re.compile(r'"([^"]*+)"|#[^\n]*+')


def loads(text: str) -> dict[str, Any]:
    """Return what *text* says, as :func:`tomllib.loads` does; :func:`~fwx.config_source.source_of` calls it.

    :raises tomllib.TOMLDecodeError: it is not TOML; as :func:`tomllib.loads` tells it. :raises RecursionError: arrays
        or tables are nested too deeply.
    """
    shorter = _Shorter(text.replace("\r\n", "\n"))
    try:
        if shorter.arrays and (data := shorter.data()) is not None:
            return data
    except (tomllib.TOMLDecodeError, ValueError):
        pass  # places are those of the whole text: read that
    return tomllib.loads(text)


def pieces_of(text: str, start: int) -> tuple[list[tuple[int, int]], int]:
    """Return where the items of the array at *start* of *text* are, as the ends of pieces of up to 1,000 of them.

    There are none where the array has anything but basic strings without escapes. *text* has no other ends of lines
    than ``\\n``. The other number is how far the text has been looked at: behind the bracket, if it is such an array.
    """
    beginning = _BEGINNING.match(text, start)
    assert beginning is not None
    at, pieces = beginning.end(), []
    while items := _ITEMS.match(text, at):
        pieces.append(items.span())
        at = items.end()
    tail = _TAIL.match(text, at)
    if tail is None or (not pieces and tail[0] == "]"):
        return [], at
    pieces.append(tail.span())
    return pieces, tail.end()


class _Shorter:
    """A text with numbers in place of its arrays of plain strings.

    Something that looks like such an array may stand in a comment or in a string. Its number is not found as a value
    then. Where all are found, each stood in the place of a value, and the data is that of the whole text.
    """

    def __init__(self, text: str) -> None:
        self.arrays: dict[str, list[str]] = {}
        exponent = 10_000_000
        while str(exponent) in text:
            exponent += 1
        parts: list[str] = []
        begun = at = 0
        while head := _HEAD.search(text, at):
            # What has been looked at in vain is not looked at again, or it would take forever.
            start = head.end()
            pieces, at = pieces_of(text, start)
            if not pieces:
                continue
            number = f"{len(self.arrays) + 10_000_000}e-{exponent}"
            self.arrays[number] = [string for piece in pieces for string in _strings(text, *piece)]
            parts += (text[begun:start], number)
            begun = at
        parts.append(text[begun:])
        self._text = "".join(parts)
        self._found: list[_Found] = []

    def data(self) -> dict[str, Any] | None:
        """Return the data of the whole text; ``None`` where it has to be read as a whole."""
        data = tomllib.loads(self._text, parse_float=self._number)
        if len(self._found) != len(self.arrays):
            return None
        _fill(data)
        return data

    def _number(self, text: str) -> Any:
        array = self.arrays.get(text)
        if array is None:
            return float(text)
        self._found.append(_Found(array))
        return self._found[-1]


class _Found:
    """An array, where :mod:`tomllib` takes it for a number: it wants no lists for these."""

    __slots__ = ("array",)

    def __init__(self, array: list[str]) -> None:
        self.array = array


def _strings(text: str, start: int, end: int) -> list[str]:
    if text.find("#", start, end) < 0:
        return _STRINGS.findall(text, start, end)
    return [found[1] for found in _STRINGS.finditer(text, start, end) if found[1] is not None]


def _fill(value: Any) -> None:
    """Put the arrays in place of what was found for them, all through *value*."""
    if isinstance(value, dict):
        for key, item in value.items():
            if type(item) is _Found:
                value[key] = item.array
            elif isinstance(item, dict | list):
                _fill(item)
    else:
        for item in value:
            if isinstance(item, dict | list):
                _fill(item)
