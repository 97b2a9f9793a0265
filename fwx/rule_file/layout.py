"""The text of a configuration file, cut into its rules and what stands between them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fwx.config_lines import Item, items_of

_ENABLED = re.compile(r"""(\s*["']?enabled["']?\s*=\s*)(?:true|false)""")


class LayoutError(ValueError):
    """The rules are written in a way that they cannot be edited in.

    :ivar line: where, from 1. :ivar key: the key at fault.
    """

    def __init__(self, line: int, key: str, words: str) -> None:
        self.line, self.key = line, key
        super().__init__(words)


class Block(NamedTuple):
    """The table of a rule with all that goes with it: the comments directly above and below, and its own tables.

    :ivar text: whole lines. :ivar line: that of the header in the file as it was read, 0 for a new one.
    """

    text: str
    line: int = 0

    def with_enabled(self, value: bool, newline: str) -> Block:
        """Return the block with ``enabled`` as *value*, the rest as it was.

        :raises LayoutError: the key is written in a way of its own.
        """
        lines = lines_of(self.text)
        items = {item.path[2:]: item for item in items_of(self.text)}
        word = "true" if value else "false"
        written = items.get(("enabled",))
        if written is not None:
            line = lines[written.first - 1]
            changed, count = _ENABLED.subn(rf"\g<1>{word}", line, count=1)
            if not count:
                raise LayoutError(self.line, "enabled", f"is written otherwise than as enabled = {word}")
            lines[written.first - 1] = changed
        else:
            name = items["name",]
            above = lines[name.first - 1]
            indent = above[: len(above) - len(above.lstrip())]
            lines.insert(name.last, f"{indent}enabled = {word}{newline}")
        return Block("".join(lines), self.line)


class RuleLayout:
    """The rules of a file in their order, each with its text, and the text between them: the tables of one name.

    Comments directly above such a table are part of it, and comments below it up to a blank line. Other comments, and
    other tables, stay where they are.

    :ivar newline: how the file ends its lines, for the most part.
    """

    def __init__(self, text: str, table: str = "rule") -> None:
        """:param text: valid TOML. :param table: the name of the tables.

        :raises LayoutError: the rules cannot be edited in this form.
        """
        self.newline = newline_of(text)
        self._ends_line = not text or text.endswith("\n")
        whole = text if self._ends_line else text + self.newline
        self.blocks: list[Block] = []
        # One more than there are blocks: what stands before the first, between two, and behind the last.
        self._gaps: list[str] = []
        lines, at = lines_of(whole), 0
        for first, header, last in _spans(table, lines, items_of(text)):
            self._gaps.append("".join(lines[at:first]))
            self.blocks.append(Block("".join(lines[first : last + 1]), header + 1))
            at = last + 1
        self._gaps.append("".join(lines[at:]))

    @property
    def text(self) -> str:
        """The whole file; the end of its last line is as it was."""
        parts = [self._gaps[0]]
        for block, gap in zip(self.blocks, self._gaps[1:], strict=True):
            parts += (block.text, gap)
        whole = "".join(parts)
        return whole if self._ends_line else whole.removesuffix("\n").removesuffix("\r")

    def take(self, index: int) -> Block:
        """Take out the rule at *index*, and one of the blank lines around it."""
        before, after = self._gaps[index], self._gaps.pop(index + 1)
        if not after:
            before = _without_blank_end(before)
        elif _begins_blank(after) and (not before or _ends_blank(before)):
            after = after[after.index("\n") + 1 :]
        self._gaps[index] = before + after
        return self.blocks.pop(index)

    def insert(self, index: int, block: Block, *, behind: bool) -> None:
        """Put *block* at *index*: directly *behind* the rule that comes before it, or directly above the next one.

        A blank line parts it from other text.
        """
        gap = self._gaps[index]
        if behind and index:
            before, after = self.newline, gap
        elif index < len(self.blocks):
            before, after = gap, self.newline
        else:
            before, after = gap, ""
        if before and not _ends_blank(before):
            before += self.newline
        if after and not _begins_blank(after):
            after = self.newline + after
        self._gaps[index : index + 1] = [before, after]
        self.blocks.insert(index, block)


def lines_of(text: str) -> list[str]:
    """Return the lines of *text* with their ends. Only what ends a line in TOML does."""
    lines = [f"{line}\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def newline_of(text: str) -> str:
    """Return how *text* ends its lines, for the most part."""
    return "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"


def _spans(table: str, lines: Sequence[str], items: Sequence[Item]) -> Iterable[tuple[int, int, int]]:
    """Yield of each rule the place in *lines* of its first line, of its header and of its last line."""
    known: dict[int, tuple[int, int]] = {}
    current: int | None = None
    taken = {line - 1 for item in items for line in range(item.first, item.last + 1)}
    headers = {item.first - 1 for item in items if item.kind != "key"}
    for item in items:
        if item.path[0] != table:
            current = None
            continue
        if len(item.path) < 2 or not isinstance(item.path[1], int):
            raise LayoutError(
                item.first, table, f"is one array; write each rule as a table [[{table}]] to have it edited"
            )
        index = item.path[1]
        if item.kind == "array" and len(item.path) == 2:
            known[index] = (item.first - 1, item.last - 1)
        elif current != index:
            words = "is not together with the rest of its rule; put it directly below that"
            raise LayoutError(item.first, ".".join(str(part) for part in item.path if isinstance(part, str)), words)
        else:
            known[index] = (known[index][0], item.last - 1)
        current = index
    claimed = {line for header in headers for line in _comments_above(lines, header, taken)}
    for header, last in known.values():
        first = min(_comments_above(lines, header, taken), default=header)
        while last + 1 < len(lines) and last + 1 not in claimed and _is_comment(lines[last + 1]):
            last += 1
        yield first, header, last


def _comments_above(lines: Sequence[str], header: int, taken: set[int]) -> list[int]:
    found: list[int] = []
    line = header - 1
    while line >= 0 and line not in taken and _is_comment(lines[line]):
        found.append(line)
        line -= 1
    return found


def _is_comment(line: str) -> bool:
    return line.lstrip(" \t").startswith("#")


def _is_blank(line: str) -> bool:
    return not line.strip(" \t\r\n")


def _begins_blank(text: str) -> bool:
    return _is_blank(lines_of(text)[0])


def _ends_blank(text: str) -> bool:
    return _is_blank(lines_of(text)[-1])


def _without_blank_end(text: str) -> str:
    lines = lines_of(text)
    while lines and _is_blank(lines[-1]):
        lines.pop()
    return "".join(lines)
