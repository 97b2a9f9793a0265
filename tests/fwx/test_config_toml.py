"""TOML is read as tomllib reads it, whether its arrays are taken out of the text first or not."""

from __future__ import annotations

import tomllib
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx import config_toml
from fwx.config_toml import loads


def outcome(read: Any, text: str) -> object:
    try:
        return read(text)
    except tomllib.TOMLDecodeError as error:
        return str(error)


@pytest.mark.parametrize(
    "text",
    [
        "",
        'a = ["x", "y"]',
        'a = []\nb = [[]]\nc = [["x"], ["y"]]',
        'a = [ # "no"\n "x#", # one\n\t"", "\t"\n # last\n, ]\r\nb = 1.5e3\n',
        'a = [\'x\']\nb = ["\\u0041"]\nc = ["""x"""]\nd = ["x", 1]',
        't = {a = ["x"], b = [{c = ["y"]}]}\n[[r]]\nfrom = ["z"]\n[["q"]]\n["a b"]\n',
        # What looks like an array, and is none.
        '# a = ["x"]\nb = ["y"]',
        'a = """b = ["x"]"""',
        'a = \'b = ["x"]\'\nc = ["y"]',
        'a = ["x", \'= ["y"]\', "z"]',
        '"a = [" = 1\n"]" = ["x"]',
        # Numbers that the text has already.
        'a = 10000000e-10000000\nb = ["x"]\nc = 1e-10000001',
        '# a = ["x"]\nb = 10000000e-10000000',
        # No TOML.
        'a = ["x"]\na = ["y"]',
        'a = ["x"]\n[a]\n',
        'a = ["x"]\n[[a]]\n',
        'a = ["x"]\na.b = 1',
        'a = ["x"]5',
        'a = ["x"]e5',
        'a = ["x"]_0',
        'a = ["x"].5',
        'a = ["x"] "y"',
        'a = ["x" "y"]',
        'a = ["x",, "y"]',
        'a = ["x\ny"]',
        'a = ["x", "\x01"]',
        'a = ["x"] # \x01',
        'a = [ # \x01\n"x"]',
        'a = ["x"]\r',
        'a = ["x"]\nb = ["y", "z"\nc = 1',
        'a = {b = ["x"]\n}',
    ],
)
def test_the_data_and_the_error_are_those_of_tomllib(text: str) -> None:
    assert outcome(loads, text) == outcome(tomllib.loads, text)


_tokens = r"""a b "k" . = [ ] [[ ]] { } , # "x" "y.z" "" " ' \"\"\" \ 1 1e5 e - [["t"]]""".replace(r"\"", '"').split()
_pieces = st.sampled_from([*_tokens, "\n", "\r\n", "\t", " ", "\x01", ' = ["x", "y"]', ' = [\n"x", # c\n]\n'])


@given(st.lists(_pieces, max_size=25).map("".join))
def test_whatever_the_text_the_outcome_is_that_of_tomllib(text: str) -> None:
    assert outcome(loads, text) == outcome(tomllib.loads, text)


def test_thousands_of_strings_are_not_read_one_by_one() -> None:
    names = [f"*.n{number}.example" for number in range(2500)]
    text = "a = [\n" + "".join(f'  "{name}",  # "{name}"\n' for name in names) + "]\nb = 1\n"
    with mock.patch.object(config_toml.tomllib, "loads", wraps=tomllib.loads) as read:
        assert loads(text) == {"a": names, "b": 1}
    [call] = read.call_args_list
    assert len(call.args[0]) < 50


@pytest.mark.timeout(20)
@pytest.mark.parametrize("line", ["# a = [\n", '# a = ["x", \n', '# = ["x", "= [", #= [\n'])
def test_arrays_that_are_comments_are_not_looked_at_again_and_again(line: str) -> None:
    assert loads(line * 30_000 + 'b = ["y"]\n') == {"b": ["y"]}
