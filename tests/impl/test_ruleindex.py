"""The rules that an index finds are those that match, one by one."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fwx.impl.protocol import Traffic
from fwx.impl.rule import Rule
from fwx.impl.ruleindex import RuleIndex
from fwx.impl.rulematch import Known, Miss, Question, compile_rules
from fwx.interfaces import GUID_NULL

KNOWN = Known(
    frozenset({"any", "localhost", "external", "a", "b", "set"}),
    frozenset({"domains"}),
    frozenset({"urls", "pages"}),
    frozenset({"HTTP", "SSH"}),
    frozenset(),
)


def names(*known: str, least: int = 1) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(known), min_size=least, max_size=3, unique=True).map(tuple)


RULES = st.lists(
    st.tuples(
        st.sampled_from(("allow", "deny")),
        names("any", "HTTP", "SSH"),
        names("any", "localhost", "external", "a", "set"),
        names("any", "localhost", "a", "b", "set", "domains", "urls", "pages"),
        st.booleans(),
        st.booleans(),
    ),
    max_size=8,
)
QUESTIONS = st.builds(
    Question,
    names("HTTP", "SSH", least=0).map(lambda known: Traffic(frozenset((*known, "any")), "", GUID_NULL)),
    st.sampled_from((("a", "any"), ("external", "any", "set"), ("localhost",), ("a", "localhost", "set"))),
    st.sampled_from(((), ("b", "any"), ("external", "any"), ("localhost",), ("a", "any", "set"))),
    st.just("asked"),
    st.just(frozenset[str]()),
    st.just(None),
    names("domains", least=0).map(frozenset),
    names("urls", "pages", least=0).map(frozenset),
    names("urls", "pages", least=0).map(frozenset),
    st.booleans(),
)


@given(RULES, st.lists(QUESTIONS, max_size=4))
def test_the_rules_that_match(drawn: Any, questions: list[Question]) -> None:
    rules = (
        Rule(
            f"r{number}",
            action,
            protocols,
            source,
            ("localhost",) if system else target,
            content_types=("text/*",) if typed and action == "allow" else (),
            system=system,
        )
        for number, (action, protocols, source, target, typed, system) in enumerate(drawn)
    )
    compiled = compile_rules(rules, KNOWN, "Default rule")
    index = RuleIndex(compiled)
    for question in questions:
        expected = tuple(each for each in compiled if not isinstance(each.match(question), Miss))
        assert index.fitting(question) == expected
        assert index.fitting(question) == expected
