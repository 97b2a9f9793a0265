"""System rules: about traffic to and from the firewall itself, before all others (B7.1, B7.2)."""

from __future__ import annotations

from typing import Any

import pytest

from fwx.impl.domainset import DomainSet
from fwx.impl.networks import LocalAddresses, Network, Networks
from fwx.impl.policy import DEFAULT_RULE, Policy, Rule, Verdict
from fwx.impl.rulematch import Match, Miss
from fwx.interfaces import SocketAddress

INSIDE, WORLD, SELF = "10.1.0.5", "203.0.113.7", "10.1.0.1"
ANY, ALL = ("any",), ("any", "localhost")


def policy_of(*rules: Rule) -> Policy:
    trie = f"Local:\n   |-- {SELF}\n      /32 host LOCAL\n"
    local = LocalAddresses(reader=lambda path: trie if path.endswith("fib_trie") else "", clock=lambda: 0.0)
    networks = Networks((Network("internal", ("10.1.0.0/16",)),), local)
    return Policy(networks, (DomainSet("known", ("www.example",)),), (), rules)


def system(name: str, action: Any, *, to: tuple[str, ...] = ("localhost",), source: Any = ANY, **more: Any) -> Rule:
    return Rule(name, action, more.pop("protocols", ANY), source, to, system=True, **more)


def ask(policy: Policy, destination: str, resolved: str | None = None, source: str = INSIDE) -> Verdict:
    return policy.judge(source, 40000, SocketAddress.parse(destination), resolved=resolved)


EVERYTHING = Rule("all", "allow", ANY, ALL, ALL)
NO_SHELL = system("no shell", "deny", protocols=("SSH",))
NOTHING = Rule("nothing", "deny", ANY, ALL, ALL)


def test_they_come_first_and_are_about_the_firewall_alone() -> None:
    """B7.1, B7.2: wherever they stand."""
    policy = policy_of(EVERYTHING, NO_SHELL)
    assert [rule.name for rule in policy.rules] == ["no shell", "all"]
    assert ask(policy, f"{SELF}:22").rule == "no shell"
    assert ask(policy, "127.0.0.1:22").rule == "no shell"
    assert ask(policy, f"{SELF}:80").rule == "all"
    assert ask(policy, f"{WORLD}:22").rule == "all"
    opened = policy_of(NOTHING, system("web", "allow", protocols=("HTTP",)))
    assert [ask(opened, f"{host}:80").rule for host in (SELF, WORLD)] == ["web", "nothing"]


def test_what_the_firewall_itself_begins() -> None:
    updates = system("updates", "allow", source=("localhost",), to=("known", "external"))
    policy = policy_of(NOTHING, updates)
    assert ask(policy, f"{WORLD}:80", source=SELF).rule == "updates"
    assert ask(policy, "www.example:80", source=SELF).rule == "updates"
    assert ask(policy, f"{WORLD}:80").rule == "nothing"


def test_a_name_is_not_the_firewall_before_it_is_resolved() -> None:
    """So a system rule makes no name depend on its address that another rule allows by itself."""
    by_name = Rule("by name", "allow", ANY, ("internal",), ("known", "localhost"))
    for action in ("allow", "deny"):
        policy = policy_of(by_name, system("self", action))
        assert ask(policy, "www.example:80").rule == "by name"
        assert ask(policy, "www.example:80", WORLD).rule == "by name"
        assert ask(policy, "www.example:80", SELF).rule == "self"


def test_a_name_that_may_be_the_firewall_is_resolved() -> None:
    """Where nothing else allows it, what a system rule allows has to be found out."""
    policy = policy_of(system("self", "allow"))
    verdict = ask(policy, "fw.example:80")
    assert (verdict.allowed, verdict.needs_resolution, verdict.rule) == (False, True, "self")
    assert ask(policy, "fw.example:80", SELF).allowed
    assert ask(policy, "fw.example:80", WORLD).rule == DEFAULT_RULE
    assert not ask(policy_of(system("self", "deny")), "fw.example:80").needs_resolution
    users = policy_of(system("self", "allow", users=("ann",)))
    assert not ask(users, "fw.example:80").needs_resolution
    explained = policy.explain(INSIDE, 1, SocketAddress("fw.example", 80))
    assert [step.outcome for step in explained.steps] == [Match.UNDECIDED]
    denied = policy_of(system("self", "deny")).explain(INSIDE, 1, SocketAddress("fw.example", 80))
    assert [step.outcome for step in denied.steps] == [Miss.DESTINATION]


@pytest.mark.parametrize("places", [(ANY, ANY), (ANY, ALL), (ALL, ("external",))])
def test_a_system_rule_is_about_nothing_else(places: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
    source, to = places
    with pytest.raises(ValueError, match="rule 'r': a system rule is from localhost or to localhost alone"):
        policy_of(system("r", "allow", source=source, to=to))
