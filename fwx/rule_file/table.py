"""A new rule as text: a table as people write it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from typing import TypeAlias

Value: TypeAlias = str | bool | Iterable[str]


def table_of(table: str, values: Mapping[str, Value], written: Iterable[str], comment: str, newline: str) -> str:
    """Return a *table*, ``rule`` or ``system_rule``: *values* by their keys, in that order, then the pairs *written*.

    :param comment: stands above it, line by line; none where it is empty.
    :raises ValueError: something in it is no printable text.
    """
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    if not all(map(str.isprintable, lines)):
        raise ValueError("the comment has control characters in it")
    lines += [f"[[{table}]]", *(f"{key} = {_toml(value)}" for key, value in values.items()), *written]
    return "".join(f"{line}{newline}" for line in lines)


def pair_of(text: str) -> tuple[str, str]:
    """Return the key of *text*, which is ``KEY=VALUE`` with a value of TOML, and the pair as it is to be written.

    :raises ValueError: it is not one such pair on one line.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    written = f"{key} = {value}"
    words = f"{text!r} is no key with a value of TOML, such as 'limits={{ connections_per_user = 5 }}'"
    try:
        found = tomllib.loads(written) if equals and "\n" not in text else {}
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{words}: {error}") from None
    if list(found) != [key]:
        raise ValueError(words)
    return key, written


def _toml(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if not value.isprintable():
            raise ValueError(f"{value!r} has control characters in it")
        return json.dumps(value, ensure_ascii=False)  # a string of JSON is one of TOML
    return f"[{', '.join(map(_toml, value))}]"
