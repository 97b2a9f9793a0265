"""Rules about plain HTTP: URLs and the content of responses."""

from __future__ import annotations

from typing import Any

import pytest

from fwx.impl.contenttype import ContentTypes, sent_type
from fwx.impl.domainset import DomainSet
from fwx.impl.networks import LocalAddresses, Network, Networks
from fwx.impl.policy import DEFAULT_RULE, Policy, Rule, Verdict
from fwx.impl.rulematch import Miss
from fwx.impl.urlset import Url, UrlSet
from fwx.impl.webrequest import WebRequest
from fwx.interfaces import SocketAddress

INSIDE, WORLD, SELF = "10.1.0.5", "203.0.113.7", "127.0.0.1"
ANY, EVERYWHERE = ("any",), ("any", "localhost")
SITE = UrlSet("site", ("www.example/public/*", "*.example/shared/*"))


def policy_of(*rules: Rule, sets: tuple[UrlSet, ...] = (SITE,)) -> Policy:
    local = LocalAddresses(reader=lambda path: "", clock=lambda: 0.0)
    networks = Networks((Network("internal", ("10.1.0.0/16",)),), local)
    return Policy(networks, (DomainSet("quiet", ("quiet.example",)),), (), rules, url_sets=sets)


def allow(name: str, *to: str, **more: Any) -> Rule:
    return Rule(name, "allow", ANY, ("internal",), to, **more)


def deny(name: str, *to: str, **more: Any) -> Rule:
    return Rule(name, "deny", ANY, ("internal",), to, **more)


def get(policy: Policy, url: str, content: str | None = None, resolved: str | None = None, **more: Any) -> Verdict:
    host, slash, path = url.partition("/")
    web = WebRequest(Url(host, 80, slash + path), content)
    return policy.judge(INSIDE, 40000, SocketAddress(host, 80), resolved=resolved, web=web, **more)


def connect(policy: Policy, host: str, resolved: str | None = None) -> Verdict:
    return policy.judge(INSIDE, 40000, SocketAddress(host, 80), resolved=resolved)


def test_an_allow_rule_needs_the_url_itself() -> None:
    policy = policy_of(allow("site", "site"))
    assert get(policy, "www.example/public/x").rule == "site"
    assert get(policy, "WWW.example./public/x?q", resolved=WORLD).allowed
    assert get(policy, "a.example/shared/x").allowed
    for other in ("www.example/", "www.example/public/../x", "www.example/Public/x", "evil.test/public/x"):
        verdict = get(policy, other, resolved=WORLD)
        assert (verdict.allowed, verdict.needs_resolution, verdict.rule) == (False, False, DEFAULT_RULE), other


def test_a_deny_rule_needs_no_more_than_a_reading() -> None:
    policy = policy_of(deny("no", "site"), allow("all", *EVERYWHERE))
    for denied in ("public/x", "PUBLIC/x", "%70ublic/x", "a/../public/x", "/public/x", "public%2fx", "%00"):
        assert get(policy, f"www.example/{denied}").rule == "no", denied
    for other in ("www.example/other", "other.example/public/x", "www.test/public/x"):
        assert get(policy, other).rule == "all", other


def test_what_shows_no_url_is_not_compared() -> None:
    """A set of URLs holds nothing of CONNECT, SOCKS and what was diverted, whoever the rule is about."""
    policy = policy_of(deny("no", "site"), allow("yes", "site"), allow("datagrams", *EVERYWHERE))
    assert connect(policy, "www.example").rule == "datagrams"
    judged = policy.judge(INSIDE, 1, SocketAddress("www.example", 80), "UDP")
    assert judged.rule == "datagrams"
    assert policy.rule_for(INSIDE, judged.protocol_guid) is policy.rules[2]


def test_a_url_that_leads_to_the_firewall() -> None:
    """As with names: the rule has to name localhost, too."""
    policy = policy_of(allow("site", "site"))
    verdict = get(policy, "www.example/public/x", resolved=SELF)
    assert (verdict.allowed, verdict.rule) == (False, "site")
    assert "does not name localhost" in verdict.reason
    assert get(policy_of(allow("site", "site", "localhost")), "www.example/public/x", resolved=SELF).allowed
    own = policy_of(allow("own", "own"), sets=(UrlSet("own", (f"{SELF}/status",)),))
    assert get(own, f"{SELF}/status").allowed  # whoever writes the address has named it
    assert not get(own, f"{SELF}/other").allowed


def test_look_ups_of_hosts_of_urls() -> None:
    """A set of URLs makes the look-up of its hosts needed; one that is denied leaves other URLs of the host."""
    policy = policy_of(allow("site", "site"))
    assert policy.judge_look_up(INSIDE, "www.example").allowed
    assert policy.judge_look_up(INSIDE, "b.example").allowed
    assert not policy.judge_look_up(INSIDE, "www.test").allowed
    assert policy_of(deny("no", "site"), allow("all", *ANY)).judge_look_up(INSIDE, "www.example").allowed
    assert policy_of(allow("typed", *ANY, content_types=("text/*",))).judge_look_up(INSIDE, "www.example").allowed


def test_urls_are_not_remembered() -> None:
    """They may be as long as a client likes."""
    policy = policy_of(allow("site", "site"))
    for number in range(100):
        assert get(policy, f"www.example/public/{number}").allowed
    assert len(policy._memory.verdicts) == 0
    assert len(policy._index._found) == 1
    # Where no rule looks at them, they share what is remembered of their target.
    local = LocalAddresses(reader=lambda path: "", clock=lambda: 0.0)
    plain = Policy(Networks((), local), (), (), (Rule("all", "allow", ANY, ANY, ANY),))
    assert not plain.judges_requests
    assert get(plain, "www.example/1", resolved=WORLD) is get(plain, "www.example/2", resolved=WORLD)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (None, "pages"),  # before the response
        ("text/html", "pages"),
        ("image/png", "pages"),
        ("text/plain", "others"),
        ("", "others"),
    ],
)
def test_the_first_rule_that_allows_the_content(content: str | None, rule: str) -> None:
    """B7.7: what one rule does not allow, a later one may."""
    pages = allow("pages", *EVERYWHERE, content_types=("text/html", "Image/*"))
    policy = policy_of(pages, allow("others", "internal", "external"))
    assert get(policy, "10.1.0.9/", content).rule == rule
    assert get(policy_of(pages), "10.1.0.9/", content).allowed is (rule == "pages")


def test_content_types_are_of_plain_http() -> None:
    """B7.7, B7.9: what shows no content is allowed by no rule about content; target and user are compared before it."""
    typed = allow("typed", *EVERYWHERE, content_types=("text/*",), users=("ann",))
    policy = policy_of(allow("inside", "internal", content_types=("text/*",), users=("ann",)), typed)
    assert not connect(policy, "www.example", WORLD).allowed
    target = SocketAddress(WORLD, 80)
    steps = policy.explain(INSIDE, 1, target).steps
    assert [step.outcome for step in steps] == [Miss.DESTINATION, Miss.USER]
    steps = policy.explain(INSIDE, 1, target, who=frozenset({"user ann"})).steps
    assert [step.outcome for step in steps] == [Miss.DESTINATION, Miss.CONTENT]
    assert not policy.judge_waiting(SocketAddress("127.0.0.1", 80)).allowed


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (deny("r", *ANY, content_types=("text/html",)), "rule 'r': content_types are of rules that allow"),
        (allow("r", *ANY, content_types=("html",)), "rule 'r': 'html' is no content type"),
        (allow("r", *ANY, content_types=("*/*",)), "rule 'r': '\\*/\\*' is no content type"),
        (allow("r", "sites"), "rule 'r': destination names 'sites', which is not defined"),
        (Rule("r", "allow", ANY, ("site",), ANY), "rule 'r': source names 'site', which is not defined"),
    ],
)
def test_what_is_no_rule(rule: Rule, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy_of(rule)


@pytest.mark.parametrize("name", ["internal", "quiet", "site"])
def test_sets_share_their_names(name: str) -> None:
    local = LocalAddresses(reader=lambda path: "", clock=lambda: 0.0)
    networks = Networks((Network("internal", ("10.1.0.0/16",)),), local)
    sets = (SITE, UrlSet(name, ("a.example",)))
    with pytest.raises(ValueError, match=f"set of URLs '{name}': the name is taken"):
        Policy(networks, (DomainSet("quiet", ("a.example",)),), (), (), url_sets=sets)


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        (["text/html"], "text/html"),
        (["Text/HTML; charset=utf-8"], "text/html"),
        ([" application/vnd.ms-excel ;x"], "application/vnd.ms-excel"),
        ([], ""),
        ([""], ""),
        (["text"], ""),
        (["text/html, image/png"], ""),
        (["text/html", "image/png"], ""),
        (["text /html"], ""),
        (["text/html\xa0"], ""),
        (["\x85text/html"], ""),
    ],
)
def test_what_a_response_says(fields: list[str], sent: str) -> None:
    """What readers could take for two things is none."""
    assert sent_type(fields) == sent
    assert ("" in ContentTypes(["text/*", "image/png"])) is False
