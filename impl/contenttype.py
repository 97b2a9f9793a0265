"""Content types of HTTP responses as rules name them (B7.7)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_TOKEN: Final = r"[A-Za-z0-9!#$&^_.+-]+"  # noqa: S105  RFC 6838 section 4.2, no password
_NAMED: Final = re.compile(rf"{_TOKEN}/(?:{_TOKEN}|\*)")
_SENT: Final = re.compile(rf"[ \t]*({_TOKEN}/{_TOKEN})[ \t]*(?:;.*)?", re.DOTALL)


def sent_type(values: Iterable[str]) -> str:
    """Return the type that the ``Content-Type`` fields of a message say, in lower case, without parameters.

    Empty where there is none, more than one, or one that is malformed: readers would disagree on it.
    """
    fields = list(values)
    found = _SENT.fullmatch(fields[0]) if len(fields) == 1 else None
    return found[1].lower() if found else ""


class ContentTypes:
    """A set of content types, each exact or with ``*`` for every subtype."""

    __slots__ = ("_exact", "_kinds")

    def __init__(self, types: Iterable[str]) -> None:
        """:param types: such as ``text/html`` or ``image/*``. :raises ValueError: one is none."""
        self._exact = set()
        self._kinds = set()
        for text in types:
            if not _NAMED.fullmatch(text):
                raise ValueError(f"{text!r} is no content type; expected text/html or image/*")
            kind, _, subtype = text.lower().partition("/")
            if subtype == "*":
                self._kinds.add(kind)
            else:
                self._exact.add(text.lower())

    def __contains__(self, content_type: str) -> bool:
        """Tell whether *content_type*, as of :func:`sent_type`, is one of these; nothing is never."""
        return content_type in self._exact or content_type.partition("/")[0] in self._kinds

    def covers(self, other: ContentTypes) -> bool:
        """Tell whether everything in *other* is in this one."""
        return other._kinds <= self._kinds and all(each in self for each in other._exact)
