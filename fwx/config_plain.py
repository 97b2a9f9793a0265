"""The plain forms of what a configuration may have very many of, judged without the cost of all the other forms.

What is not plain is no error here: the readers in :mod:`fwx.config_values` judge it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from pydantic import ValidatorFunctionWrapHandler, WrapValidator

from fwx.interfaces.address import plain_prefix

# A DNS name in ASCII, maybe behind "*.", whose last letter is none of an address. Labels are up to 63 long.
_LABEL: Final = r"(?![a-z0-9_-]{64})[a-z0-9_]++(?:-++[a-z0-9_]++)*+"
_NAME: Final = re.compile(rf"(?:\*\.)?+(?!.{{254}})(?:{_LABEL}\.)*+{_LABEL}(?<=[a-z])", re.ASCII | re.IGNORECASE)


def is_plain_name(text: str) -> bool:
    """Tell whether *text* is a DNS name of ASCII, or ``*.`` before one, that ends with a letter."""
    return _NAME.fullmatch(text) is not None


def is_plain_prefix(text: str) -> bool:
    """Tell whether *text* is an IPv4 address with its prefix length, and has no bits behind that."""
    return plain_prefix(text) is not None


def are_plain(is_plain: Callable[[str], bool]) -> WrapValidator:
    """Make what takes an array of strings as it is where all of them are plain, and has it validated where not."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        # One after the other in Python: other threads have their turn meanwhile.
        if isinstance(value, list) and value and all(isinstance(item, str) and is_plain(item) for item in value):
            return tuple(value)
        return handler(value)

    return WrapValidator(validate)
