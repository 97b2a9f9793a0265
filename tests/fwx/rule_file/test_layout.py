"""The text of a configuration cut into its rules: what goes with a rule, what stays, byte for byte."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.rule_file.layout import Block, LayoutError, RuleLayout

GNARLY = """\
# The firewall of the branch office.
[service]
name = "fw1"  # [[rule]] is not here

# ---- who may browse ----

# Staff, by
# order of the office.
[[rule]]  # the first
  name = "staff"
  protocols = [
    "HTTP",   # plain

    "HTTPS",  # [[rule]]
  ]
# schedule = "work"

# ---- guests ----

[ log ]
sqlite = '''
# no comment
[[rule]]
'''
# directly above guests
[[ "rule" ]]
name = 'guests'
[rule.limits]  # their own
# as few as can be
connections_per_user = 5
  # and a last word

# Nobody else needs a rule.
[[rule]]
name = "rest"
limits = { connections_per_user = 1, new_per_second_per_address = 2 }
# the end"""


def test_what_goes_with_a_rule() -> None:
    layout = RuleLayout(GNARLY)
    staff, guests, rest = layout.blocks
    assert staff.text.startswith("# Staff, by\n# order of the office.\n[[rule]]  # the first\n")
    assert staff.text.endswith('  ]\n# schedule = "work"\n')
    assert guests.text.startswith('# directly above guests\n[[ "rule" ]]\n')
    assert guests.text.endswith("connections_per_user = 5\n  # and a last word\n")
    assert rest.text.startswith("# Nobody else needs a rule.\n[[rule]]\n")
    assert rest.text.endswith("# the end\n")
    assert [block.line for block in layout.blocks] == [9, 26, 34]
    assert layout.text == GNARLY


def test_what_stays_where_it_is() -> None:
    """Comments that a blank line parts from a rule head what follows; other tables have their own."""
    layout = RuleLayout(GNARLY)
    layout.insert(1, layout.take(0), behind=True)
    in_order = ["# ---- who may browse", "# ---- guests", "[ log ]", "'guests'", '"staff"', "# Nobody else", '"rest"']
    places = [layout.text.index(each) for each in in_order]
    assert places == sorted(places)
    assert "# ---- who may browse ----\n\n# ---- guests ----\n" in layout.text


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize(("old", "new"), [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)])
@pytest.mark.parametrize("behind", [True, False])
def test_moving_a_rule_changes_no_line(newline: str, ends: bool, old: int, new: int, behind: bool) -> None:
    """Every line but blank ones is there as it was; the rules are in their new order, the file ends as before."""
    text = (GNARLY + "\n" * ends).replace("\n", newline)
    names = ["staff", "guests", "rest"]
    layout = RuleLayout(text)
    assert layout.newline == newline
    layout.insert(new, layout.take(old), behind=behind)
    names.insert(new, names.pop(old))
    data = tomllib.loads(layout.text)
    assert [rule["name"] for rule in data["rule"]] == names
    assert {key: value for key, value in data.items() if key != "rule"} == {
        key: value for key, value in tomllib.loads(text).items() if key != "rule"
    }
    assert _lines(layout.text) == _lines(text)
    assert layout.text.endswith("\n") == ends
    assert ("\n" in layout.text.replace("\r\n", "")) == (newline == "\n")


def _lines(text: str) -> list[str]:
    return sorted(line for line in (text + "\n").splitlines() if line.strip())


def test_a_rule_that_is_taken_out_leaves_one_blank_line() -> None:
    text = "# head\n\n[[rule]]\nname = 1\n\n[[rule]]\nname = 2\n\n[[rule]]\nname = 3\n"
    layout = RuleLayout(text)
    layout.take(1)
    assert layout.text == "# head\n\n[[rule]]\nname = 1\n\n[[rule]]\nname = 3\n"
    layout.take(1)
    assert layout.text == "# head\n\n[[rule]]\nname = 1\n"
    layout.take(0)
    assert layout.text == "# head\n"


@pytest.mark.parametrize(
    ("text", "index", "behind", "expected"),
    [
        ("", 0, True, "NEW\n"),
        ("# c", 0, True, "# c\n\nNEW"),
        ("a = 1\n\n\n", 0, True, "a = 1\n\n\nNEW\n"),
        ("[[rule]]\n", 0, False, "NEW\n\n[[rule]]\n"),
        ("[[rule]]\n", 1, True, "[[rule]]\n\nNEW\n"),
        ("[[rule]]\n[log]\n", 1, True, "[[rule]]\n\nNEW\n\n[log]\n"),
        ("[log]\n[[rule]]\n", 0, False, "[log]\n\nNEW\n\n[[rule]]\n"),
        ("[[rule]]\n\n# s\n\n[[rule]]\n", 1, True, "[[rule]]\n\nNEW\n\n# s\n\n[[rule]]\n"),
        ("[[rule]]\n\n# s\n\n[[rule]]\n", 1, False, "[[rule]]\n\n# s\n\nNEW\n\n[[rule]]\n"),
    ],
)
def test_a_blank_line_parts_a_new_rule_from_the_rest(text: str, index: int, behind: bool, expected: str) -> None:
    layout = RuleLayout(text)
    layout.insert(index, Block("NEW\n"), behind=behind)
    assert layout.text == expected


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ('a = 1\nrule = [{ name = "a" }]\n', 2, "rule"),
        ('[[rule]]\nname = "a"\n[log]\nb = 1\n[rule.limits]\nconnections_per_user = 1\n', 5, "rule.limits"),
        ('rule.name = "a"\n', 1, "rule"),
        ("[rule]\nname = 1\n", 1, "rule"),
    ],
)
def test_what_cannot_be_edited(text: str, line: int, key: str) -> None:
    with pytest.raises(LayoutError) as caught:
        RuleLayout(text)
    assert (caught.value.line, caught.value.key) == (line, key)


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ('[[rule]]\nname = "a"\n', False, '[[rule]]\nname = "a"\nenabled = false\n'),
        (
            '# c\n[[rule]]\n\tprotocols = [\n"a"]\n\tname = "a"  # x\nb = 1\n',
            False,
            '# c\n[[rule]]\n\tprotocols = [\n"a"]\n\tname = "a"  # x\n\tenabled = false\nb = 1\n',
        ),
        (
            '[[rule]]\nname = "enabled = true"\n"enabled"=true# why\n[rule.limits]\nenabled = true\n',
            False,
            '[[rule]]\nname = "enabled = true"\n"enabled"=false# why\n[rule.limits]\nenabled = true\n',
        ),
        ("[[rule]]\nname = '''\na'''\n", False, "[[rule]]\nname = '''\na'''\nenabled = false\n"),
        ('[[rule]]\nenabled   =   false\nname = "a"\n', True, '[[rule]]\nenabled   =   true\nname = "a"\n'),
    ],
)
def test_a_rule_is_switched_in_place(text: str, value: bool, expected: str) -> None:
    assert Block(text, 1).with_enabled(value, "\n").text == expected


def test_a_key_that_is_spelled_in_its_own_way() -> None:
    with pytest.raises(LayoutError, match="is written otherwise than as enabled = false"):
        Block('[[rule]]\nname = "a"\n"\\u0065nabled" = true\n', 1).with_enabled(False, "\n")


PIECES = st.lists(
    st.sampled_from(
        (
            "\n",
            " \t\n",
            "# c\n",
            "  # d\n",
            "[[rule]]\nname = 1\n",
            "[[rule]] # x\nname = '''\n\n# y\n'''\n",
            "[rule.limits]\na = 1\n",
            "[[network]]\nb = [\n# z\n1]\n",
        )
    ),
    max_size=12,
).map("".join)


@given(PIECES, st.booleans(), st.data())
def test_whatever_the_file_looks_like(text: str, crlf: bool, data: st.DataObject) -> None:
    """Cut and put together it is the same; a rule that moves takes its data along, and loses no line."""
    text = text.replace("\n", "\r\n") if crlf else text
    text = text if data.draw(st.booleans()) else text.removesuffix("\n").removesuffix("\r")
    try:
        before = tomllib.loads(text)
        layout = RuleLayout(text)
    except (tomllib.TOMLDecodeError, LayoutError):
        return
    assert layout.text == text
    if not layout.blocks:
        return
    old = data.draw(st.integers(0, len(layout.blocks) - 1))
    block = layout.take(old)
    new = data.draw(st.integers(0, len(layout.blocks)))
    layout.insert(new, block, behind=data.draw(st.booleans()))
    after = tomllib.loads(layout.text)
    before["rule"].insert(new, before["rule"].pop(old))
    assert after == before
    assert _lines(layout.text) == _lines(text)
