"""Rules about users and groups: whom they match, and what a client without a user is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.impl.domainset import DomainSet
from fwx.impl.networks import LocalAddresses, Network, Networks
from fwx.impl.policy import Policy, Rule, Verdict
from fwx.impl.user import NOBODY, FWXAuthenticatedUser, Who
from fwx.interfaces.address import SocketAddress

ANY = ("any",)
ANN = FWXAuthenticatedUser("ann", ("staff",)).who
BOB = FWXAuthenticatedUser("bob").who
# A user called like a group, and like what every user is called.
STAFF = FWXAuthenticatedUser("staff").who
OTHERS = FWXAuthenticatedUser("x", ("authenticated", "ann")).who
WHO = {"ann": ANN, "bob": BOB, "staff": STAFF, "others": OTHERS, "nobody": NOBODY}


def rule(
    name: str,
    action: str = "allow",
    users: tuple[str, ...] = ANY,
    groups: tuple[str, ...] = (),
    to: tuple[str, ...] = ANY,
) -> Rule:
    return Rule(name, action, ANY, ANY, to, users=users, groups=groups)  # type: ignore[arg-type]


def make(*rules: Rule) -> Policy:
    local = LocalAddresses(reader=lambda path: "", clock=lambda: 0.0)
    networks = Networks((Network("inside", ("10.0.0.0/8",)),), local)
    return Policy(networks, (DomainSet("good", ("good.example",)),), (), rules)


def ask(policy: Policy, who: Who, target: str = "203.0.113.1:80", resolved: str | None = None) -> Verdict:
    return policy.judge("10.1.0.5", 40000, SocketAddress.parse(target), "TCP", resolved, who)


@pytest.mark.parametrize(
    ("users", "groups", "matched"),
    [
        (ANY, (), {"ann", "bob", "staff", "others", "nobody"}),
        (("authenticated",), (), {"ann", "bob", "staff", "others"}),
        (("ann",), (), {"ann"}),
        (("ann", "bob"), (), {"ann", "bob"}),
        (ANY, ("staff",), {"ann"}),
        (("bob",), ("staff",), {"ann", "bob"}),
        (("authenticated",), ("staff",), {"ann", "bob", "staff", "others"}),
        (("staff",), (), {"staff"}),
        (ANY, ("ann", "authenticated"), {"others"}),
    ],
)
def test_whom_a_rule_is_about(users: tuple[str, ...], groups: tuple[str, ...], matched: set[str]) -> None:
    """B7.10: never a client without a user, where it names users; a group is not a user of the same name."""
    policy = make(rule("r", "allow", users, groups))
    assert {name for name, who in WHO.items() if ask(policy, who).allowed} == matched
    assert {name for name, who in WHO.items() if policy.judge_look_up("10.1.0.5", "a.example", who).allowed} == matched


def test_the_first_match_counts_for_each_user() -> None:
    policy = make(rule("not bob", "deny", ("bob",)), rule("users", "allow", ("authenticated",)), rule("no", "deny"))
    assert [ask(policy, who).rule for who in (ANN, BOB, NOBODY)] == ["users", "not bob", "no"]


@pytest.mark.parametrize(
    ("rules", "who", "needs"),
    [
        ((rule("r", "allow", ("ann",)),), NOBODY, True),
        ((rule("r", "allow", ("ann",)),), BOB, False),
        ((rule("r", "allow", ANY, ("staff",)),), NOBODY, True),
        ((rule("r", "allow", ("ann",)), rule("d", "deny")), NOBODY, True),
        ((rule("d", "deny"), rule("r", "allow", ("ann",))), NOBODY, False),
        ((rule("d", "deny", ("authenticated",)), rule("r", "allow", ("ann",))), NOBODY, False),
        ((rule("d", "deny", ("ann",)),), NOBODY, False),
        ((rule("r", "allow", ("ann",), to=("inside",)),), NOBODY, False),
        ((rule("r", "allow", ("ann",)), rule("all")), NOBODY, False),
        ((), NOBODY, False),
    ],
)
def test_a_user_would_be_needed(rules: tuple[Rule, ...], who: Who, needs: bool) -> None:
    """Only where a rule that allows would have come first for some user; who is known already needs no other name."""
    verdict = ask(make(*rules), who)
    assert verdict.needs_user is needs
    assert verdict.reason.endswith("without a user; rule 'r' is about users") is needs
    assert not (needs and verdict.allowed)


def test_who_is_known_and_named_by_no_rule_is_not_asked_again() -> None:
    """Else a browser would ask for a password for ever."""
    assert not ask(make(rule("r", "allow", ("ann",))), BOB).needs_user
    assert not ask(make(rule("r", "allow", ANY, ("staff",))), STAFF).needs_user


@pytest.mark.parametrize("to", [("good",), ("inside",)])
def test_a_name(to: tuple[str, ...]) -> None:
    """A rule about users that depends on the address has the name resolved only for them."""
    policy = make(rule("r", "allow", ("ann",), to=to))
    known = ask(policy, ANN, "good.example:80")
    assert (known.allowed, known.needs_resolution) == ((True, False) if to == ("good",) else (False, True))
    nobody = ask(policy, NOBODY, "good.example:80")
    assert (nobody.allowed, nobody.needs_resolution, nobody.needs_user) == (False, False, True)
    assert ask(policy, ANN, "good.example:80", "10.0.0.1").allowed
    assert ask(policy, NOBODY, "good.example:80", "10.0.0.1").needs_user


def test_users_that_no_rule_tells_apart_share_verdicts() -> None:
    policy = make(rule("r", "allow", ("authenticated",)))
    assert ask(policy, ANN) is ask(policy, BOB)
    assert ask(policy, ANN) is not ask(policy, NOBODY)
    named = make(rule("r", "allow", ("ann",)))
    assert ask(named, ANN) is not ask(named, BOB)
    assert ask(named, STAFF) is ask(named, BOB)


def test_what_is_remembered_of_users_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fwx.impl.verdictmemory.MOST_REMEMBERED", 10)
    policy = make(rule("r", "allow", ("authenticated",)))
    for number in range(100):
        assert ask(policy, FWXAuthenticatedUser(f"user {number}").who).allowed
    assert len(policy._memory.known) <= 10


names = st.sampled_from(["ann", "bob", "staff", "authenticated", "any"])
rules = st.lists(
    st.builds(
        rule,
        st.just("r"),
        st.sampled_from(["allow", "deny"]),
        st.lists(names, min_size=1, max_size=3).map(tuple),
        st.lists(st.sampled_from(["staff", "ann"]), max_size=2).map(tuple),
        st.sampled_from([("any",), ("inside",), ("good",)]),
    ),
    max_size=5,
).map(lambda drawn: [Rule(**{**_fields(each), "name": f"r{n}"}) for n, each in enumerate(drawn)])


def _fields(each: Rule) -> dict[str, object]:
    return {name: getattr(each, name) for name in Rule.__slots__}


@given(
    rules,
    st.lists(st.sampled_from(sorted(WHO)), min_size=2, max_size=6),
    st.sampled_from(["a.example:80", "10.0.0.1:80"]),
)
def test_remembering_changes_no_answer(drawn: list[Rule], order: list[str], target: str) -> None:
    warm = make(*drawn)
    for name in order:
        assert ask(warm, WHO[name], target) == ask(make(*drawn), WHO[name], target)


@given(rules)
def test_nobody_is_told_to_authenticate_where_it_can_help(drawn: list[Rule]) -> None:
    """Whenever some user is allowed what nobody is denied, and never somebody who is known already."""
    policy = make(*drawn)
    users, groups = ("ann", "bob", "staff", "y"), ((), ("staff",), ("ann",))
    verdicts = [ask(policy, FWXAuthenticatedUser(user, group).who) for user in users for group in groups]
    assert not any(verdict.needs_user for verdict in verdicts)
    nobody = ask(policy, NOBODY)
    if not nobody.allowed and any(verdict.allowed for verdict in verdicts):
        assert nobody.needs_user


@given(rules, st.sampled_from(sorted(WHO)))
def test_a_client_that_is_told_to_authenticate_could_be_allowed(drawn: list[Rule], name: str) -> None:
    """Some user that the rules name is allowed what nobody is asked to authenticate for."""
    policy = make(*drawn)
    if ask(policy, WHO[name]).needs_user:
        assert name == "nobody"
        users, groups = ("ann", "bob", "staff", "y"), ((), ("staff",), ("ann",))
        named = [FWXAuthenticatedUser(user, group).who for user in users for group in groups]
        assert any(ask(policy, who).allowed for who in named)
