from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.config_lines import LineIndex, index_lines
from fwx.config_problems import KeyPath

TEXT = '''\
# a comment with [brackets] and "quotes
title = "x # no comment"

[service]
name = 'a'
"state dir" = """one
[not.a.table]
two""\\"""""
deep . "dotted.key" = 1979-05-27 07:32:00  # a date with a blank

[[rule]]
from = [
    "a", # ] no end
    "b",
    ["c",
     { d = 1 }],
]
limits = { per = 1, "of" = { x = [
  1, 2] } }

[[rule]]
name = \'\'\'
raw ' text''\'\'\'

[[rule.items]]
x = 1
[[rule.items]]
[rule.items.sub]
y = 2
[a.b]
'''

LINES: dict[KeyPath, int] = {
    ("title",): 2,
    ("service",): 4,
    ("service", "name"): 5,
    ("service", "state dir"): 6,
    ("service", "deep"): 9,
    ("service", "deep", "dotted.key"): 9,
    ("rule",): 11,
    ("rule", 0): 11,
    ("rule", 0, "from"): 12,
    ("rule", 0, "from", 0): 13,
    ("rule", 0, "from", 1): 14,
    ("rule", 0, "from", 2): 15,
    ("rule", 0, "from", 2, 0): 15,
    ("rule", 0, "from", 2, 1): 16,
    ("rule", 0, "from", 2, 1, "d"): 16,
    ("rule", 0, "limits"): 18,
    ("rule", 0, "limits", "per"): 18,
    ("rule", 0, "limits", "of"): 18,
    ("rule", 0, "limits", "of", "x"): 18,
    ("rule", 0, "limits", "of", "x", 0): 19,
    ("rule", 0, "limits", "of", "x", 1): 19,
    ("rule", 1): 21,
    ("rule", 1, "name"): 22,
    ("rule", 1, "items"): 25,
    ("rule", 1, "items", 0): 25,
    ("rule", 1, "items", 0, "x"): 26,
    ("rule", 1, "items", 1): 27,
    ("rule", 1, "items", 1, "sub"): 28,
    ("rule", 1, "items", 1, "sub", "y"): 29,
    ("a",): 30,
    ("a", "b"): 30,
}


def paths_of(data: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Every path of what tomllib made of a text."""
    if path:
        yield path
    if isinstance(data, dict):
        for key, value in data.items():
            yield from paths_of(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from paths_of(value, (*path, index))


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_every_path_has_its_line(ending: str) -> None:
    text = TEXT.replace("\n", ending)
    assert set(paths_of(tomllib.loads(text))) == set(LINES)
    assert index_lines(text).paths == LINES


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("rule", 0, "to"), 11),
        (("rule", 1, "limits", "x"), 21),
        (("service", "deep", "other"), 9),
        (("console", "bind"), 1),
        ((), 1),
    ],
)
def test_what_is_not_written_stands_where_its_table_does(path: KeyPath, line: int) -> None:
    assert index_lines(TEXT).line(path) == line


def test_an_empty_text_has_no_paths() -> None:
    assert index_lines("").paths == {}
    assert index_lines("# nothing\n\n").paths == {}


def test_a_text_that_is_no_toml_is_refused() -> None:
    with pytest.raises(ValueError, match=r"line 2: not valid TOML"):
        index_lines("a = 1\n! = 2\n")


def test_nothing_is_sought_before_a_line_is_asked_for() -> None:
    lines = LineIndex(b"! = 2")
    with pytest.raises(ValueError, match=r"line 1: not valid TOML"):
        lines.line(("a",))


def test_the_items_of_a_long_array_have_their_lines() -> None:
    text = (
        'a = 1\nnames = [ # "none"\n'
        + "".join(f'"n{number}", # "{number}"\n\n' for number in range(2500))
        + "]\nb = 2\n"
    )
    lines = index_lines(text)
    assert [lines.line(("names", index)) for index in (0, 1, 999, 1000, 2499)] == [3, 5, 2001, 2003, 5001]
    assert lines.line(("names", 2500)) == 2
    assert lines.line(("names", "x")) == 2
    assert lines.line(("b",)) == 5004
    assert set(lines.paths) == set(paths_of(tomllib.loads(text)))


def test_values_may_be_nested_as_deeply_as_tomllib_takes_them() -> None:
    depth = 300
    text = "a = " + "[" * depth + "\n{ b = 1 }" + "]" * depth
    tomllib.loads(text)

    def deeper(frames: int) -> int:
        return deeper(frames - 1) if frames else index_lines(text).line(("a", *[0] * depth, "b"))

    assert deeper(sys.getrecursionlimit() // 2) == 2


_gaps = st.sampled_from(["", " ", "\t"])
_blanks = st.sampled_from(["", " ", "\n", " # ] } = [ \" '\n", "\n\n\t"])
_strings = st.sampled_from(
    ['""', "''", '"\\"] # \\\\"', "'] # \"'", '"""\n[x]\n\\""" """', "'''\n'' }\n'''", '"""a"""""', "'''b'''''"]
)
_others = st.sampled_from(["true", "-1.5e3", "inf", "1979-05-27T07:32:00Z", "1979-05-27 07:32:00", "07:32:00", "0xf"])
_key_styles = st.sampled_from(["{}", '"{}"', "'{}'", '"{}.\\u005b \\" # "', "'{}.= ]'"])


class _Writer:
    """Draws a document piece by piece and notes the line of every key and item as it is written."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[KeyPath, int] = {}
        self.count = 0

    def put(self, piece: str) -> None:
        self.text += piece

    @property
    def line(self) -> int:
        return self.text.count("\n") + 1

    def new_key(self) -> tuple[str, str]:
        self.count += 1
        written = self.draw(_key_styles).format(f"k{self.count}")
        return written, next(iter(tomllib.loads(f"{written} = 0")))

    def pair(self, table: KeyPath, depth: int) -> None:
        path = table
        for number in range(self.draw(st.integers(1, 2))):
            written, key = self.new_key()
            path = (*path, key)
            self.lines[path] = self.line
            self.put(("." if number else "") + self.draw(_gaps) + written + self.draw(_gaps))
        self.put("=" + self.draw(_gaps))
        self.value(path, depth)

    def value(self, path: KeyPath, depth: int) -> None:
        match self.draw(st.integers(0, 3 if depth else 1)):
            case 0:
                self.put(self.draw(_strings))
            case 1:
                self.put(self.draw(_others))
            case 2:
                self.array(path, depth - 1)
            case _:
                self.inline_table(path, depth - 1)

    def array(self, path: KeyPath, depth: int) -> None:
        self.put("[" + self.draw(_blanks))
        size = self.draw(st.integers(0, 3))
        for index in range(size):
            self.lines[(*path, index)] = self.line
            self.value((*path, index), depth)
            self.put(self.draw(_blanks))
            if index < size - 1 or self.draw(st.booleans()):
                self.put("," + self.draw(_blanks))
        self.put("]")

    def inline_table(self, path: KeyPath, depth: int) -> None:
        self.put("{" + self.draw(_gaps))
        size = self.draw(st.integers(0, 2))
        for index in range(size):
            self.pair(path, depth)
            self.put(self.draw(_gaps) + ("," + self.draw(_gaps) if index < size - 1 else ""))
        self.put("}")

    def end_line(self) -> None:
        self.put(self.draw(st.sampled_from(["\n", " # '\n", "\n\n"])))

    def pairs(self, table: KeyPath) -> None:
        for _ in range(self.draw(st.integers(0, 3))):
            self.put(self.draw(_gaps))
            self.pair(table, 3)
            self.end_line()

    def array_of_tables(self, outer_written: str, outer: KeyPath, depth: int) -> None:
        written, key = self.new_key()
        name, path = outer_written + written, (*outer, key)
        for index in range(self.draw(st.integers(1, 2))):
            self.lines.setdefault(path, self.line)
            self.lines[(*path, index)] = self.line
            self.put(f"[[ {name}\t]]")
            self.end_line()
            self.pairs((*path, index))
            if depth and self.draw(st.booleans()):
                self.array_of_tables(f"{name} . ", (*path, index), depth - 1)


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[KeyPath, int]]:
    writer = _Writer(draw)
    writer.pairs(())
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            writer.array_of_tables("", (), 1)
            continue
        written, key = writer.new_key()
        writer.lines[(key,)] = writer.line
        writer.put(f"[{written}]")
        writer.end_line()
        writer.pairs((key,))
    return writer.text, writer.lines


@given(documents())
def test_the_index_has_the_paths_of_tomllib_and_the_lines_of_the_writer(
    document: tuple[str, dict[KeyPath, int]],
) -> None:
    text, lines = document
    index = index_lines(text)
    assert set(index.paths) == set(paths_of(tomllib.loads(text)))
    assert index.paths == lines
