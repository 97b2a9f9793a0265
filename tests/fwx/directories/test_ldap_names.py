"""Names in LDAP filters and distinguished names: whatever they hold, they are values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap3.operation.search import MATCH_EQUAL, FilterNode, parse_filter
from ldap3.protocol.convert import prepare_filter_for_sending
from ldap3.utils.dn import parse_dn

from fwx.directories.ldap_names import escape, fill_filter, placeholders

TEXTS = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=30)
HOSTILE = st.text(st.sampled_from("ab*()\\\0&|!=<>~ #,+\"';{}user"), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        # The texts of RFC 4515 section 4 and of RFC 4514 section 4.
        ("Parens R Us (for all)", r"Parens\20R\20Us\20\28for\20all\29"),
        ("*", r"\2a"),
        (r"C:\MyFile", r"C\3a\5cMyFile"),
        ("\0\0\0\4", r"\00\00\00\04"),
        ("Lučić", r"Lu\c4\8di\c4\87"),
        ('James "Jim" Smith, III', r"James\20\22Jim\22\20Smith\2c\20III"),
        ("Before\rAfter", r"Before\0dAfter"),
        ("#hash", r"\23hash"),
        ("a+b;c<d>e=f\\", r"a\2bb\3bc\3cd\3ee\3df\5c"),
        # What injects.
        ("x)(uid=*", r"x\29\28uid\3d\2a"),
        ("*)(|(uid=*", r"\2a\29\28\7c\28uid\3d\2a"),
        ("a~=b", r"a\7e\3db"),
        # What stays.
        ("bob.b_b-b@b9", "bob.b_b-b@b9"),
    ],
)
def test_escaped(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def test_what_is_put_in_is_not_looked_through() -> None:
    assert fill_filter("(&(uid={user})(member={dn}))", {"user": "{dn}", "dn": "{user}"}) == (
        r"(&(uid=\7bdn\7d)(member=\7buser\7d))"
    )
    assert placeholders("(|(uid={user})(member={dn}))") == {"user", "dn"}


@given(TEXTS | HOSTILE)
def test_a_filter_is_one_comparison_with_the_name(name: str) -> None:
    """As the library reads it that sends it."""
    root: FilterNode = parse_filter(fill_filter("(uid={user})", {"user": name}), None, False, None, None, False)
    (node,) = root.elements
    assert (node.tag, node.elements) == (MATCH_EQUAL, [])
    assert node.assertion["attr"] == "uid"
    assert prepare_filter_for_sending(node.assertion["value"]) == name.encode()


@given(TEXTS | HOSTILE)
def test_a_distinguished_name_keeps_its_parts(name: str) -> None:
    parts = parse_dn(f"uid={escape(name)},dc=example,dc=org")
    assert [(attribute, separator) for attribute, _, separator in parts] == [("uid", ","), ("dc", ","), ("dc", "")]
