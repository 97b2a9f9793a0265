"""Edits of the rules of one configuration file: what is asked for, and the text that comes of it if that is valid."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fwx.config_check import checked
from fwx.config_problems import ConfigurationError, KeyPath, Problem, did_you_mean
from fwx.config_references import DEFAULT_RULE
from fwx.config_source import source_of
from fwx.rule_file.layout import Block, LayoutError, RuleLayout

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


class RuleEditor:
    """Edits one file as it was read. Each method is an edit of its own; none writes anything.

    Each raises :class:`EditError`, and :class:`~fwx.config_problems.ConfigurationError` where the file that would come
    of it is not valid: with the lines that it would have.
    """

    def __init__(self, path: Path, content: bytes) -> None:
        """:raises ConfigurationError: the file is not valid, or its rules are written so that they cannot be edited."""
        self._source = source_of(path, content)
        checked(self._source)
        self._text = content.decode()
        try:
            self._layout = RuleLayout(self._text)
        except LayoutError as error:
            raise self._layout_problem(error) from error
        self._names = [str(rule["name"]) for rule in self._source.data.get("rule", ())]

    @property
    def newline(self) -> str:
        """How new lines are to end."""
        return self._layout.newline

    def add(self, text: str, place: Place) -> Edit:
        """Put the ``[[rule]]`` table *text*, whole lines, in its *place*."""
        table = tomllib.loads(text)["rule"][0]
        index, behind = self._place(place)
        self._layout.insert(index, Block(text), behind=behind)
        words = f"rule {table.get('name')!r} added"
        if not self._names:
            words += "; it is the first one: what no rule allows is denied from now on, to this machine as well"
        return self._edited(lambda rules: rules.insert(index, table), index, words)

    def move(self, name: str, place: Place) -> Edit:
        """Put the rule *name*, with its comments, in its *place*."""
        old = self._index(name, "moved")
        if place.rule == name:
            raise EditError(f"rule {name!r} cannot stand {place.kind} itself")
        index, behind = self._place(place)
        index -= index > old
        if index == old:
            return self._unchanged(old, f"rule {name!r} stands there already")
        block = self._layout.take(old)
        self._layout.insert(index, block, behind=behind)
        return self._edited(
            lambda rules: rules.insert(index, rules.pop(old)), index, f"rule {name!r} moved here from line {block.line}"
        )

    def remove(self, name: str) -> Edit:
        """Take out the rule *name* with its comments."""
        index = self._index(name, "removed")
        line = self._layout.take(index).line
        words = f"{self._source.file}:{line}: rule {name!r} removed"
        if not self._layout.blocks:
            words += "; it was the last one: without a rule this machine itself is allowed everything, and nobody else"
        return self._finished(lambda rules: rules.pop(index), words)

    def enable(self, name: str, value: bool) -> Edit:
        """Switch the rule *name* on or off."""
        word = "enabled" if value else "disabled"
        index = self._index(name, word)
        if self._source.data["rule"][index].get("enabled", True) == value:
            return self._unchanged(index, f"rule {name!r} is {word} already")
        try:
            block = self._layout.blocks[index].with_enabled(value, self.newline)
        except LayoutError as error:
            raise self._layout_problem(error) from error
        self._layout.blocks[index] = block
        return self._edited(lambda rules: rules[index].update(enabled=value), index, f"rule {name!r} {word}")

    def _index(self, name: str, done: str) -> int:
        if name == DEFAULT_RULE and name not in self._names:
            raise EditError(f"the last rule, {DEFAULT_RULE!r}, is built in: it denies everything, and cannot be {done}")
        if name not in self._names:
            hint = did_you_mean(name, self._names) or "; 'fwx rule list' has them all"
            raise EditError(f"{self._source.file} has no rule {name!r}{hint}")
        return self._names.index(name)

    def _place(self, place: Place) -> tuple[int, bool]:
        """Return at which place of the list that is, and whether behind the rule before it or above the next one."""
        if place.kind == "first":
            return 0, False
        if place.kind == "last" or (place.kind == "before" and place.rule == DEFAULT_RULE):
            return len(self._names), True
        if place.rule == DEFAULT_RULE:
            raise EditError(f"the last rule, {DEFAULT_RULE!r}, is built in: none stands after it")
        index = self._index(place.rule, "moved")
        return (index, False) if place.kind == "before" else (index + 1, True)

    def _unchanged(self, index: int, words: str) -> Edit:
        line = self._source.lines.line(("rule", index))
        return Edit(self._text.encode(), f"{self._source.file}:{line}: {words}", checked(self._source))

    def _edited(self, change: Callable[[list[Any]], object], index: int, words: str) -> Edit:
        edit = self._finished(change, words)
        place: KeyPath = ("rule", index)
        return Edit(edit.content, f"{self._source.file}:{edit.configuration.line(place)}: {words}", edit.configuration)

    def _finished(self, change: Callable[[list[Any]], object], words: str) -> Edit:
        """Judge what has come of it, against the *change* as it is made to the data alone."""
        content = self._layout.text.encode()
        path = self._source.path
        assert path is not None
        source = source_of(path, content)
        configuration = checked(source)
        expected = dict(tomllib.loads(self._text))
        change(expected.setdefault("rule", []))
        if not expected["rule"]:
            del expected["rule"]
        if expected != source.data:
            raise EditError(f"{path}: this file cannot be edited by command without changing more than was asked for")
        return Edit(content, words, configuration)

    def _layout_problem(self, error: LayoutError) -> ConfigurationError:
        return ConfigurationError([Problem(self._source.file, error.line, error.key, str(error))])
