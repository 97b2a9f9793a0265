"""What one configuration has that another has not, table by table and key by key; secrets are never told."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from fwx.config_problems import KeyPath, dotted
from fwx.config_source import Source

MOST_ITEMS: Final = 20
"""Items of one array that are told, of those that came and of those that went; the others are counted."""

HIDDEN: Final = "(hidden)"
"""Stands for a secret that is there."""

_SECRET: Final = re.compile(r"pass(word|wd|phrase)|secret|token|credential|private|api_?key", re.IGNORECASE)
_ACCOUNT: Final = re.compile(r"(?<=://)[^/@]*(?=@)")


class Changed(NamedTuple):
    """One key: what it was and what it is, ``None`` where it is not written.

    :ivar came: of arrays, the first items that are new; :attr:`went`, those that are gone. :ivar more: how many more.
    """

    key: str
    old: Any = None
    new: Any = None
    came: tuple[Any, ...] = ()
    went: tuple[Any, ...] = ()
    more: int = 0

    def told(self) -> dict[str, Any]:
        """Return what JSON has for it."""
        if self.came or self.went or self.more:
            return {"key": self.key, "added": self.came, "removed": self.went, "more": self.more}
        return {"key": self.key, "old": self.old, "new": self.new}

    def __str__(self) -> str:
        if self.came or self.went or self.more:
            items = [*(f"+{item!r}" for item in self.came), *(f"-{item!r}" for item in self.went)]
            return f"{self.key}: {' '.join(items)}" + (f" and {self.more} more" if self.more else "")
        return f"{self.key}: {_shown(self.old)} -> {_shown(self.new)}"


class Difference(NamedTuple):
    """One table.

    :ivar kind: such as ``rule``. :ivar name: empty where there is one table of the kind. :ivar what: ``added``,
        ``removed``, ``changed``, or ``moved`` where its place among those of its kind counts and has changed.
    """

    kind: str
    name: str
    what: str
    keys: tuple[Changed, ...] = ()

    def told(self) -> dict[str, Any]:
        """Return what JSON has for it."""
        return {"kind": self.kind, "name": self.name, "what": self.what, "keys": [key.told() for key in self.keys]}

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Difference:
        """Return what :meth:`told` has told."""
        keys = []
        for key in told["keys"]:
            if "added" in key:
                keys.append(Changed(key["key"], None, None, tuple(key["added"]), tuple(key["removed"]), key["more"]))
            else:
                keys.append(Changed(key["key"], key["old"], key["new"]))
        return cls(told["kind"], told["name"], told["what"], tuple(keys))

    def __str__(self) -> str:
        sign = {"added": "+", "removed": "-", "changed": "~", "moved": ">"}[self.what]
        table = f"[[{self.kind}]] {self.name!r}" if self.name else f"[{self.kind}]"
        words = " has another place" if self.what == "moved" else ""
        return "\n".join([f"{sign} {table}{words}", *(f"    {key}" for key in self.keys)])


def differences(old: Source, new: Source) -> Iterator[Difference]:
    """Go through what *new* has otherwise than *old*, in the order of the kinds there and of their tables.

    Both are valid as configurations; what is not written is not told, whatever it means.
    """
    for kind in dict.fromkeys([*new.data, *old.data]):
        before, after = old.data.get(kind), new.data.get(kind)
        if isinstance(before if after is None else after, list):
            yield from _of_tables(kind, before or [], after or [])
        elif before != after:
            keys = tuple(_changed(kind, (), before or {}, after or {}))
            yield Difference(kind, "", _verb(before, after), keys)


def _of_tables(kind: str, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Iterator[Difference]:
    old, new = (
        {str(table.get("name", number)): table for number, table in enumerate(tables, 1)} for tables in (before, after)
    )
    yield from (Difference(kind, name, "removed") for name in old if name not in new)
    moved = _moved([name for name in old if name in new], [name for name in new if name in old])
    for name, table in new.items():
        if name not in old:
            yield Difference(kind, name, "added", tuple(_changed(kind, ("name",), {}, table)))
            continue
        if old[name] != table:
            yield Difference(kind, name, "changed", tuple(_changed(kind, ("name",), old[name], table)))
        if name in moved:
            yield Difference(kind, name, "moved")


def _moved(old: list[str], new: list[str]) -> frozenset[str]:
    """Return which of the same names have another place among the others; as few as explain it."""
    if old == new:
        return frozenset()
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    staying = {name for block in matcher.get_matching_blocks() for name in new[block.b : block.b + block.size]}
    return frozenset(new) - staying


def _changed(
    kind: str, without: tuple[str, ...], old: Mapping[str, Any], new: Mapping[str, Any], path: KeyPath = ()
) -> Iterator[Changed]:
    for name in dict.fromkeys([*old, *new]):
        before, after, place = old.get(name), new.get(name), (*path, name)
        if before == after or name in without:
            continue
        if _is_secret(kind, place):
            yield Changed(dotted(place), _hidden(before), _hidden(after))
        elif isinstance(before or {}, dict) and isinstance(after or {}, dict) and (before or after):
            yield from _changed(kind, (), before or {}, after or {}, place)
        elif _is_plain(before) and _is_plain(after):
            yield _of_arrays(dotted(place), before or [], after or [])
        else:
            yield Changed(dotted(place), _plain(kind, before), _plain(kind, after))


def _of_arrays(key: str, before: list[Any], after: list[Any]) -> Changed:
    was, is_ = dict.fromkeys(before), dict.fromkeys(after)
    came, went = [item for item in is_ if item not in was], [item for item in was if item not in is_]
    if not came and not went:
        return Changed(key, f"{len(before)} items", "the same in another order")
    more = max(len(came) - MOST_ITEMS, 0) + max(len(went) - MOST_ITEMS, 0)
    return Changed(key, None, None, tuple(came[:MOST_ITEMS]), tuple(went[:MOST_ITEMS]), more)


def _is_plain(value: Any) -> bool:
    """Tell whether *value* is an array of texts and numbers, or is not written."""
    return value is None or (isinstance(value, list) and all(isinstance(item, str | int) for item in value))


def _is_secret(kind: str, path: KeyPath) -> bool:
    """Tell whether the value at *path* is for nobody to see: passwords, and all that plugins are told."""
    if kind == "directory" and path[0] == "options":
        return True
    last = str(path[-1])
    return not last.endswith("_file") and _SECRET.search(last) is not None


def _hidden(value: Any) -> str | None:
    return None if value is None else HIDDEN


def _plain(kind: str, value: Any) -> Any:
    """Return *value* as JSON can have it, without what is secret inside it."""
    if isinstance(value, dict):
        return {key: _hidden(each) if _is_secret(kind, (key,)) else _plain(kind, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(kind, each) for each in value]
    if isinstance(value, str):
        return _ACCOUNT.sub(HIDDEN, value)
    return value if isinstance(value, bool | int | float | None) else str(value)


def _verb(before: Any, after: Any) -> str:
    if before is None:
        return "added"
    return "removed" if after is None else "changed"


def _shown(value: Any) -> str:
    return "not written" if value is None else repr(value)
