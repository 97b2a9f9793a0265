"""Names of clients in LDAP filters and distinguished names: nothing in them means anything there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_IN_FILTERS: Final = re.compile(r"[\x00()*\\]")
_IN_NAMES: Final = re.compile(r'[\x00"+,;<=>\\]|^[ #]| $')
_PLACEHOLDER: Final = re.compile(r"\{(\w*)\}")


def escape_in_filter(text: str) -> str:
    """Return *text* as a value within a search filter (RFC 4515 section 3)."""
    return _IN_FILTERS.sub(lambda found: f"\\{ord(found[0]):02x}", text)


def escape_in_name(text: str) -> str:
    """Return *text* as a value within a distinguished name (RFC 4514 section 2.4)."""
    return _IN_NAMES.sub(lambda found: f"\\{ord(found[0]):02x}", text)


def placeholders(template: str) -> frozenset[str]:
    """Return the words in braces of a filter's *template*."""
    return frozenset(_PLACEHOLDER.findall(template))


def fill_filter(template: str, values: Mapping[str, str]) -> str:
    """Put *values*, escaped, where *template* has their names in braces; what they hold is not looked through again."""
    return _PLACEHOLDER.sub(lambda found: escape_in_filter(values[found[1]]), template)
