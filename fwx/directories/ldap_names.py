"""Names of clients in LDAP filters and distinguished names: nothing in them means anything there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

# More than either RFC asks for: ldap3 looks for operators such as "~=" in the values of filters as well, and cuts off
# what is a blank in any script.
_SPECIAL: Final = re.compile(r"[^A-Za-z0-9._@-]+")
_PLACEHOLDER: Final = re.compile(r"\{(\w*)\}")


def escape(text: str) -> str:
    """Return *text* as a value within a search filter (RFC 4515 section 3) or a distinguished name (RFC 4514 section
    2.4); in both, a backslash and two digits stand for any byte.
    """
    return _SPECIAL.sub(lambda found: "".join(f"\\{byte:02x}" for byte in found[0].encode()), text)


def placeholders(template: str) -> frozenset[str]:
    """Return the words in braces of a filter's *template*."""
    return frozenset(_PLACEHOLDER.findall(template))


def fill_filter(template: str, values: Mapping[str, str]) -> str:
    """Put *values*, escaped, where *template* has their names in braces; what they hold is not looked through again."""
    return _PLACEHOLDER.sub(lambda found: escape(values[found[1]]), template)
