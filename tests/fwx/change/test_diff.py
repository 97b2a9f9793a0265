"""What two configurations differ in."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from fwx.change.diff import HIDDEN, MOST_ITEMS, Difference, differences
from fwx.config_source import Source


def told(old: str, new: str) -> list[Difference]:
    found = list(differences(Source(data=tomllib.loads(old)), Source(data=tomllib.loads(new))))
    # What goes over the control socket comes out as it was.
    assert [Difference.read(json.loads(json.dumps(each.told()))) for each in found] == found
    return found


def rules(*names: str) -> str:
    return "".join(f'[[rule]]\nname = "{name}"\n' for name in names)


def test_tables_by_kind_and_name() -> None:
    old = rules("one", "two") + '[limits]\ntcp_per_address = 5\n[[network]]\nname = "n"\nranges = ["10.0.0.0/8"]\n'
    new = rules("two", "three") + "[limits]\ntcp_per_address = 6\nudp_per_address = 7\n"
    assert [str(each) for each in told(old, new)] == [
        "- [[rule]] 'one'",
        "+ [[rule]] 'three'",
        "~ [limits]\n    tcp_per_address: 5 -> 6\n    udp_per_address: not written -> 7",
        "- [[network]] 'n'",
    ]
    assert told(new, new) == []


@pytest.mark.parametrize(
    ("old", "new", "moved"),
    [
        (("a", "b", "c"), ("c", "a", "b"), ["c"]),
        (("a", "b", "c"), ("x", "a", "c"), []),
        (("a", "b"), ("b", "a"), None),
    ],
)
def test_the_order_counts(old: tuple[str, ...], new: tuple[str, ...], moved: list[str] | None) -> None:
    """As few tables as explain it have moved; what came or went has not."""
    found = [each.name for each in told(rules(*old), rules(*new)) if each.what == "moved"]
    assert len(found) == 1 if moved is None else found == moved


def test_long_arrays_are_told_by_what_came_and_went() -> None:
    names = [f"n{number}.example" for number in range(1000)]
    (found,) = told(
        f'[[domains]]\nname = "d"\nnames = {json.dumps(names)}\n',
        f'[[domains]]\nname = "d"\nnames = {json.dumps([*names[100:], "new.example"])}\n',
    )
    (key,) = found.keys
    assert (key.came, key.went, key.more) == (("new.example",), tuple(names[:MOST_ITEMS]), 100 - MOST_ITEMS)
    (found,) = told('[[rule]]\nname = "r"\nfilters = ["a", "b"]\n', '[[rule]]\nname = "r"\nfilters = ["b", "a"]\n')
    assert "the same in another order" in str(found)


SECRETS: list[tuple[str, Any]] = [
    ('[[user]]\nname = "u"\npassword = {}\n', "$argon2id$one"),
    ('[[upstream]]\nname = "u"\npassword = {}\n', "one"),
    ('[[filter]]\nname = "f"\noptions = {{ list = "l", api_key = {} }}\n', "one"),
    ('[[directory]]\nname = "d"\noptions = {{ anything = {} }}\n', "one"),
    ("[log]\nsql = {}\n", "postgresql+psycopg://fwx:one@host/fwx"),
    ('[[x]]\nname = "x"\ntables = [{{ token = {} }}]\n', "one"),
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_secrets_are_not_told(text: str, secret: str) -> None:
    """Not when they come, go or change; that they differ is told."""
    one, two = (text.format(json.dumps(each)) for each in (secret, secret.replace("one", "other")))
    for old, new in (("", one), (one, ""), (one, two)):
        found = told(old, new)
        assert len(found) == 1
        words = str(found[0]) + json.dumps(found[0].told())
        assert "one" not in words.replace("None", "")
        assert "other" not in words
        if found[0].what != "removed" or found[0].keys:
            assert HIDDEN in words


def test_the_path_of_a_secret_is_none() -> None:
    (found,) = told("", '[[upstream]]\nname = "u"\npassword_file = "parent.secret"\n')
    assert "parent.secret" in str(found)
