"""Rules that can never match: which are found, and that what is found never decides anything."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fwx import rule_warnings
from fwx.commands.check import check
from fwx.composition import policy_of
from fwx.config import Configuration, parse
from fwx.config_lines import index_lines
from fwx.config_source import Source
from fwx.impl.networks import LocalAddresses
from fwx.impl.rulematch import Match
from fwx.impl.urlset import Url
from fwx.impl.user import AUTHENTICATED, group_key, user_key
from fwx.impl.webrequest import WebRequest
from fwx.interfaces import SocketAddress
from fwx.rule_warnings import unreachable_rules

NETWORKS = """
[[network]]
name = "wide"
ranges = ["10.0.0.0/8", "192.0.2.0/25", "192.0.2.128/25"]
[[computers]]
name = "inner"
ranges = ["10.1.0.0/16", "192.0.2.0/24"]
[[computers]]
name = "one"
ranges = ["10.1.0.1"]
[[network]]
name = "loop"
ranges = ["127.0.0.0/24"]
[[domains]]
name = "debian"
names = ["*.debian.org", "debian.org"]
[[domains]]
name = "mirrors"
names = ["deb.debian.org", "*.ftp.debian.org"]
[[domains]]
name = "exact"
names = ["debian.org"]
[[urls]]
name = "pages"
urls = ["*.debian.org/a/*", "debian.org/a/b", "http://10.9.0.1/x"]
[[urls]]
name = "page"
urls = ["debian.org/a/b"]
[[user]]
name = "alice"
groups = ["staff"]
password = "$argon2id$v=19$m=65536,t=3,p=4$..."
[[user]]
name = "bob"
groups = ["guests"]
password = "$argon2id$v=19$m=65536,t=3,p=4$..."
[[schedule]]
name = "work"
hours = "08:00-18:00"
"""
NAMES = ("any", "localhost", "external", "wide", "inner", "one", "loop")


def table(kind: str = "rule", /, **parts: Any) -> str:
    parts = {"action": "allow", "protocols": ["any"], "from": ["any"], "to": ["any"], **parts}
    spelled = (
        f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}" for key, value in parts.items()
    )
    return f"[[{kind}]]\n" + "\n".join(spelled) + "\n"


def configured(*rules: dict[str, Any]) -> Configuration:
    """Those with ``system`` are system rules, to the firewall itself."""
    text = NETWORKS
    for number, rule in enumerate(rules):
        parts = {key: value for key, value in rule.items() if key != "system"}
        if rule.get("system"):
            text += table("system_rule", **{"name": f"r{number}", **parts, "to": ["localhost"]})
        else:
            text += table(**{"name": f"r{number}", **parts})
    configuration, problems = parse(Source(Path("fwx.toml"), tomllib.loads(text), index_lines(text)))
    assert configuration is not None, problems
    assert problems == []
    return configuration


def found(*rules: dict[str, Any]) -> list[tuple[int, int]]:
    """Return the numbers of the rules that are found, each with that of the rule before it."""
    told = [problem.message.split() for problem in unreachable_rules(configured(*rules))]
    return [(int(words[1][2:-1]), int(words[6][2:-1])) for words in told]


@pytest.mark.parametrize(
    ("wide", "narrow", "covered"),
    [
        ({}, {}, True),
        ({"action": "deny"}, {"protocols": ["HTTP"]}, True),
        ({"protocols": ["HTTP"]}, {}, False),
        ({"protocols": ["HTTP", "HTTPS"]}, {"protocols": ["HTTPS"]}, True),
        ({"from": ["wide"]}, {"from": ["inner"]}, True),
        ({"from": ["inner"]}, {"from": ["wide"]}, False),
        ({"from": ["wide"]}, {"from": ["any"]}, False),
        ({}, {"from": ["external", "inner"]}, True),
        ({"from": ["external"]}, {}, False),
        # The firewall itself is in neither any nor a wider network.
        ({}, {"from": ["localhost"]}, False),
        ({}, {"from": ["one"]}, False),
        ({}, {"to": ["loop"]}, False),
        ({"to": ["wide"]}, {"to": ["one"]}, False),
        ({"to": ["one"]}, {"to": ["one"]}, True),
        ({"to": ["any", "localhost"]}, {"to": ["loop", "one", "localhost"]}, True),
        # A name that resolves to the firewall is in no other network.
        ({}, {"to": ["mirrors"]}, False),
        ({"to": ["any", "localhost"]}, {"to": ["mirrors"]}, True),
        ({"to": ["debian"]}, {"to": ["mirrors"]}, True),
        ({"to": ["debian"]}, {"to": ["exact"]}, True),
        ({"to": ["mirrors"]}, {"to": ["debian"]}, False),
        ({"to": ["exact"]}, {"to": ["mirrors"]}, False),
        ({"to": ["debian"]}, {"to": ["mirrors", "inner"]}, False),
        ({"to": ["debian", "wide"]}, {"to": ["mirrors", "inner"]}, True),
        ({"users": ["alice"]}, {}, False),
        ({}, {"users": ["alice"]}, True),
        ({"users": ["authenticated"]}, {"groups": ["staff"]}, True),
        ({"users": ["alice"]}, {"users": ["alice", "bob"]}, False),
        ({"users": ["alice", "bob"]}, {"users": ["bob"]}, True),
        ({"groups": ["staff"]}, {"users": ["alice"]}, False),
        ({"groups": ["staff"]}, {"groups": ["staff"]}, True),
        ({"schedule": "work"}, {}, False),
        ({}, {"schedule": "work"}, True),
        ({"schedule": "work"}, {"schedule": "work"}, True),
        ({"source_ports": ["1-1023"]}, {"source_ports": ["22", "80-90"]}, True),
        ({"source_ports": ["1-1023"]}, {"source_ports": ["1000-1030"]}, False),
        ({"source_ports": ["1-1023"]}, {}, False),
        # A URL set is taken more widely by who denies.
        ({"to": ["pages"]}, {"to": ["pages"]}, True),
        ({"to": ["pages"]}, {"to": ["page"]}, True),
        ({"to": ["page"]}, {"to": ["pages"]}, False),
        ({"to": ["pages"]}, {"to": ["page"], "action": "deny"}, False),
        ({"to": ["pages"], "action": "deny"}, {"to": ["page"], "action": "deny"}, True),
        ({"to": ["any", "localhost"]}, {"to": ["page"]}, True),
        ({}, {"to": ["page"]}, False),
        ({"content_types": ["text/*"]}, {}, False),
        ({"content_types": ["text/*"]}, {"content_types": ["text/html", "text/plain"]}, True),
        ({"content_types": ["text/html"]}, {"content_types": ["text/*"]}, False),
        ({}, {"content_types": ["text/*"]}, True),
        ({"system": True}, {"to": ["localhost"]}, True),
        ({"system": True}, {}, False),
        ({"shadow": True}, {}, False),
        ({"enabled": False}, {}, False),
        ({}, {"enabled": False}, False),
        ({}, {"shadow": True}, True),
    ],
)
def test_one_rule_before_another(wide: dict[str, Any], narrow: dict[str, Any], covered: bool) -> None:
    assert found(wide, narrow) == ([(1, 0)] if covered else [])


def test_the_first_that_suffices_is_named() -> None:
    assert found({"protocols": ["SMTP"]}, {"from": ["wide"]}, {}, {"from": ["inner"]}) == [(3, 1)]


def test_check_warns(tmp_path: Path) -> None:
    """Both rules are named, with file and lines; the file is right all the same."""
    path = tmp_path / "fwx.toml"
    path.write_text(table(name="all") + table(name="web", protocols=["HTTP"]))
    result = CliRunner().invoke(check, [str(path)])
    assert result.exit_code == 0
    assert result.stderr == (
        f"{path}:12: rule.name: warning: rule 'web' can never match: rule 'all' in line 6 matches all of it first\n"
    )


def some(*names: str) -> Any:
    return st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)


# Rules that are much alike, so that many are found, and near misses are many.
PARTS = st.fixed_dictionaries(
    {},
    optional={
        "protocols": st.just(["HTTP"]),
        "from": some(*NAMES),
        "to": some(*NAMES, "debian", "mirrors", "exact", "pages", "page"),
        "users": some("alice", "bob", "authenticated"),
        "groups": some("staff", "guests"),
        "schedule": st.just("work"),
        "source_ports": some("1-1023", "22", "4000-65535"),
        "shadow": st.just(True),
        "system": st.just(True),
        "action": st.just("deny"),
    },
)
PLAIN = st.fixed_dictionaries({}, optional={"from": some(*NAMES), "to": some(*NAMES, "debian", "mirrors", "exact")})
WEB = st.fixed_dictionaries(
    {},
    optional={
        "to": some("pages", "page", "debian", "any"),
        "content_types": some("text/html", "text/*", "image/png"),
    },
)
WEB_DENIED = st.fixed_dictionaries({"action": st.just("deny")}, optional={"to": some("pages", "page", "exact")})
RULES = st.lists(st.one_of(PLAIN, PARTS, WEB, WEB_DENIED), min_size=2, max_size=4)
PATHS = st.sampled_from((None, "/a/b", "/a/", "/x", "/a/%62", "/c/../a/b", "/A/B", "/a%2Fb", "/%"))
CONTENTS = st.sampled_from((None, "", "text/html", "text/css", "image/png"))
ADDRESSES = ("10.1.0.1", "10.1.0.2", "10.9.0.1", "127.0.0.1", "127.0.9.1", "192.0.2.200", "203.0.113.1")
HOSTS = (*ADDRESSES, "debian.org", "deb.debian.org", "x.ftp.debian.org", "x.debian.org", "example.org")
CLIENTS = (
    frozenset[str](),
    frozenset({AUTHENTICATED, user_key("alice"), group_key("staff")}),
    frozenset({AUTHENTICATED, user_key("bob"), group_key("guests")}),
)
CONNECTIONS = st.tuples(
    st.sampled_from(ADDRESSES),
    st.sampled_from((22, 1024, 50000)),
    st.sampled_from(HOSTS),
    st.sampled_from((80, 81)),
    st.sampled_from((None, *ADDRESSES)),
    st.sampled_from(CLIENTS),
    st.sampled_from((1793613600.0, 1793649600.0)),
    PATHS,
    CONTENTS,
)


@given(RULES, st.lists(CONNECTIONS, min_size=30, max_size=30))
def test_what_is_found_never_matches(rules: list[dict[str, Any]], connections: list[Any]) -> None:
    """Whatever connects, and also where one of the addresses is the firewall's own."""
    configuration = configured(*rules)
    told = {problem.message.split("'")[1] for problem in unreachable_rules(configuration)}
    trie = "Local:\n   |-- 10.1.0.1\n      /32 host LOCAL\n"
    local = LocalAddresses(reader=lambda path: trie if path.endswith("fib_trie") else "", clock=lambda: 0.0)
    policy = policy_of(configuration, local)
    # A system rule leaves it open whether a name is the firewall, so that rules behind it leave it open, too.
    sure = {Match.BY_ADDRESS, Match.BY_NAME, Match.BY_URL} if configuration.system_rules else set(Match)
    for source, port, host, to_port, resolved, who, moment, path, content in connections:
        web = None if path is None else WebRequest(Url(host, to_port, path), content)
        target = SocketAddress(host, to_port)
        explained = policy.explain(source, port, target, "TCP", resolved, who, moment=moment, web=web)
        matching = {step.rule.name for step in explained.steps if step.outcome in sure}
        assert not matching & told, explained


def test_what_many_rules_say_is_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[object] = []
    original = rule_warnings._has_users

    def counted(wide: Any, narrow: Any) -> bool:
        compared.append((wide, narrow))
        return original(wide, narrow)

    monkeypatch.setattr(rule_warnings, "_has_users", counted)
    users = [["alice"], ["bob"]]
    rules = [{"from": ["wide"], "source_ports": [str(number)], "users": users[number % 2]} for number in range(1, 40)]
    assert found(*rules, {"from": ["inner"], "source_ports": ["7"], "users": ["bob"]}) == [(39, 6)]
    assert len(compared) == 4
