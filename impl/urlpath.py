"""The path of a URL, as the servers that there are may read it.

One path can be written in many ways, and servers differ in which of them they take for the same. So a path has several
*readings*: what an allow rule names has to fit in all of them, what a deny rule names in any.
"""

from __future__ import annotations

import itertools
import re
from typing import Final
from urllib.parse import unquote_to_bytes

_MOST_DECODED: Final = 4

LONGEST_ODD: Final = 4096
"""Characters of a path that can be read in several ways; in a longer one that would take too long."""

# Nothing in it is read in two ways.
_PLAIN: Final = re.compile(r"(?:/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*)*/?")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
# A percent sign that begins no escape, or one that only some servers know (%u002F).
_BROKEN: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_FOREIGN: Final = re.compile(r"%u[0-9A-Fa-f]{4}", re.IGNORECASE)
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PARAMETERS: Final = re.compile(r";[^/]*")
_REPEATED: Final = re.compile(r"/{2,}")
# How each may be done: percent-escapes, backslashes, parameters behind a semicolon, repeated slashes, dot segments.
_WAYS: Final = tuple(
    itertools.product((0, 1, _MOST_DECODED), (False, True), (False, True), (False, True), (False, True))
)


def readings(path: str) -> tuple[str, ...] | None:
    """Return *path* as it may be read; one reading where it is plain, else one for each way, always in one order.

    ``None`` where nobody can say what it is: broken or too many escapes, a NUL, what is no UTF-8, or too long for that.
    """
    if _PLAIN.fullmatch(path):
        return (path,)
    if len(path) > LONGEST_ODD:
        return None
    decoded = {}
    for times in (0, 1, _MOST_DECODED):
        text = _decoded(path, times)
        if text is None:
            return None
        decoded[times] = text
    # Most ways make no difference to most paths.
    dots_of: dict[str, str] = {}
    found = []
    for times, backslashes, parameters, repeated, dots in _WAYS:
        text = _joined(decoded[times], backslashes, parameters, repeated)
        if dots:
            if text not in dots_of:
                dots_of[text] = without_dots(text)
            text = dots_of[text]
        found.append(text)
    return tuple(found)


def _decoded(path: str, times: int) -> str | None:
    if not times:
        if _BROKEN.search(path):
            return None
        return _ESCAPE.sub(_without_needless, path)
    for _ in range(times):
        if "%" not in path:
            break
        try:
            path = unquote_to_bytes(path).decode()
        except UnicodeDecodeError:
            return None
    if "\0" in path or _FOREIGN.search(path) or (times == _MOST_DECODED and _ESCAPE.search(path)):
        return None
    return path


def _without_needless(escape: re.Match[str]) -> str:
    """Decode what needs no escape (RFC 3986 section 6.2.2.2), spell the others in one way."""
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0].upper()


def _joined(path: str, backslashes: bool, parameters: bool, repeated: bool) -> str:
    if backslashes and "\\" in path:
        path = path.replace("\\", "/")
    if parameters and ";" in path:
        path = _PARAMETERS.sub("", path)
    if repeated and "//" in path:
        path = _REPEATED.sub("/", path)
    return path


def without_dots(path: str) -> str:
    """Remove dot segments (RFC 3986 section 5.2.4); what would climb above the root stays there."""
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments[1:]:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    ending = "/" if segments[-1] in (".", "..") and kept else ""
    return "/" + "/".join(kept) + ending
