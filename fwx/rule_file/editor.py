"""Edits of the rules of one configuration file: what is asked for, and the text that comes of it if that is valid."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from fwx.config_check import checked
from fwx.config_problems import ConfigurationError, Problem, did_you_mean
from fwx.config_references import DEFAULT_RULE
from fwx.config_source import source_of
from fwx.config_toml import loads
from fwx.rule_file.layout import Block, LayoutError, RuleLayout, newline_of

if TYPE_CHECKING:
    from fwx.config_model import Configuration


class EditError(Exception):
    """What is asked for cannot be done; says why, for people. Nothing has been written."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rule is to stand: at an end, or directly before or after another one.

    :ivar rule: the name of the other one, for ``before`` and ``after``.
    """

    kind: Literal["first", "last", "before", "after"]
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Edit:
    """What comes of an edit.

    :ivar content: the whole file as it is to be; the same as it was where there was nothing to do. :ivar words: what
        has been done, with the line.
    """

    content: bytes
    words: str
    configuration: Configuration


Table: TypeAlias = Literal["rule", "system_rule"]
"""The tables of rules: system rules come before all others, and the two do not mix."""


class RuleEditor:
    """Edits one file as it was read. Each method is an edit of its own; none writes anything.

    Each raises :class:`EditError`, and :class:`~fwx.config_problems.ConfigurationError` where the file that would come
    of it is not valid, with the lines that it would have, or where the rules are written so that they cannot be edited.
    """

    def __init__(self, path: Path, content: bytes) -> None:
        """:raises ConfigurationError: the file is not valid."""
        self._source = source_of(path, content)
        checked(self._source)
        self._text = content.decode()
        self._names: dict[Table, list[str]] = {
            "rule": [str(rule["name"]) for rule in self._source.data.get("rule", ())],
            "system_rule": [str(rule["name"]) for rule in self._source.data.get("system_rule", ())],
        }
        self.newline = newline_of(self._text)

    def add(self, text: str, place: Place, table: Table = "rule") -> Edit:
        """Put the *table* in *text*, whole lines, in its *place*."""
        new = tomllib.loads(text)[table][0]
        index, behind = self._place(place, table)
        layout = self._layout(table)
        layout.insert(index, Block(text), behind=behind)
        words = f"rule {new.get('name')!r} added"
        if table == "rule" and not self._names[table]:
            words += "; it is the first one: what no rule allows is denied from now on, to this machine as well"
        return self._edited(layout, lambda rules: rules.insert(index, new), table, index, words)

    def move(self, name: str, place: Place) -> Edit:
        """Put the rule *name*, with its comments, in its *place*."""
        table, old = self._found(name, "moved")
        if place.rule == name:
            raise EditError(f"rule {name!r} cannot stand {place.kind} itself")
        index, behind = self._place(place, table)
        index -= index > old
        if index == old:
            return self._unchanged(table, old, f"rule {name!r} stands there already")
        layout = self._layout(table)
        block = layout.take(old)
        layout.insert(index, block, behind=behind)
        words = f"rule {name!r} moved here from line {block.line}"
        return self._edited(layout, lambda rules: rules.insert(index, rules.pop(old)), table, index, words)

    def remove(self, name: str) -> Edit:
        """Take out the rule *name* with its comments."""
        table, index = self._found(name, "removed")
        layout = self._layout(table)
        line = layout.take(index).line
        words = f"{self._source.file}:{line}: rule {name!r} removed"
        if table == "rule" and not layout.blocks:
            words += "; it was the last one: without a rule this machine itself is allowed everything, and nobody else"
        return self._finished(layout, lambda rules: rules.pop(index), table, words)

    def enable(self, name: str, value: bool) -> Edit:
        """Switch the rule *name* on or off."""
        word = "enabled" if value else "disabled"
        table, index = self._found(name, word)
        if self._source.data[table][index].get("enabled", True) == value:
            return self._unchanged(table, index, f"rule {name!r} is {word} already")
        layout = self._layout(table)
        try:
            layout.blocks[index] = layout.blocks[index].with_enabled(value, self.newline)
        except LayoutError as error:
            raise self._layout_problem(error) from error
        return self._edited(
            layout, lambda rules: rules[index].update(enabled=value), table, index, f"rule {name!r} {word}"
        )

    def _found(self, name: str, done: str) -> tuple[Table, int]:
        """Return where the rule *name* is, which is to be *done*."""
        for table, names in self._names.items():
            if name in names:
                return table, names.index(name)
        if name == DEFAULT_RULE:
            raise EditError(f"the last rule, {DEFAULT_RULE!r}, is built in: it denies everything, and cannot be {done}")
        known = (*self._names["system_rule"], *self._names["rule"])
        hint = did_you_mean(name, known) or "; 'fwx rule list' has them all"
        raise EditError(f"{self._source.file} has no rule {name!r}{hint}")

    def _place(self, place: Place, table: Table) -> tuple[int, bool]:
        """Return at which place of the *table* that is, and whether behind the rule before it or above the next one."""
        if place.kind == "first":
            return 0, False
        is_end = place.kind == "before" and place.rule == DEFAULT_RULE and table == "rule"
        if place.kind == "last" or is_end:
            return len(self._names[table]), True
        if place.kind == "after" and place.rule == DEFAULT_RULE:
            raise EditError(f"the last rule, {DEFAULT_RULE!r}, is built in: none stands after it")
        found, index = self._found(place.rule, "moved")
        if found != table:
            kind = "a system rule" if found == "system_rule" else "no system rule"
            raise EditError(
                f"rule {place.rule!r} is {kind}: system rules come before all others, in tables of their own"
            )
        return (index, False) if place.kind == "before" else (index + 1, True)

    def _layout(self, table: Table) -> RuleLayout:
        try:
            return RuleLayout(self._text, table)
        except LayoutError as error:
            raise self._layout_problem(error) from error

    def _unchanged(self, table: Table, index: int, words: str) -> Edit:
        line = self._source.lines.line((table, index))
        return Edit(self._text.encode(), f"{self._source.file}:{line}: {words}", checked(self._source))

    def _edited(
        self, layout: RuleLayout, change: Callable[[list[Any]], object], table: Table, index: int, words: str
    ) -> Edit:
        edit = self._finished(layout, change, table, words)
        line = edit.configuration.line((table, index))
        return Edit(edit.content, f"{self._source.file}:{line}: {words}", edit.configuration)

    def _finished(self, layout: RuleLayout, change: Callable[[list[Any]], object], table: Table, words: str) -> Edit:
        """Judge what has come of it, against the *change* as it is made to the data alone."""
        content = layout.text.encode()
        path = self._source.path
        assert path is not None
        source = source_of(path, content)
        configuration = checked(source)
        expected = dict(loads(self._text))
        change(expected.setdefault(table, []))
        if not expected[table]:
            del expected[table]
        if expected != source.data:
            raise EditError(f"{path}: this file cannot be edited by command without changing more than was asked for")
        return Edit(content, words, configuration)

    def _layout_problem(self, error: LayoutError) -> ConfigurationError:
        return ConfigurationError([Problem(self._source.file, error.line, error.key, str(error))])
