"""``fwx explain``: what is said of a connection that there might be, as words and as JSON, and what it refuses."""

from __future__ import annotations

import calendar
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from fwx.commands.explain import explain
from fwx.config import load
from fwx.explanation import Asked, Explainer, explainer_of, in_words, known_as
from fwx.impl.domainset import DomainSet
from fwx.impl.networkrules import NetworkRule
from fwx.impl.networks import ComputerSet, LocalAddresses, Network, Networks
from fwx.impl.policy import Policy, Rule
from fwx.impl.protocol import Protocol
from fwx.impl.schedule import Calendar, Schedule
from fwx.impl.urlset import Url, UrlSet
from fwx.impl.webrequest import WebRequest
from fwx.interfaces import SocketAddress
from fwx.interfaces.protocols import PortRange, ProtocolConnection

CONFIG = """
[[network]]
name = "internal"
ranges = ["10.1.0.0/16"]

[[domains]]
name = "updates"
names = ["*.debian.org"]

[[user]]
name = "alice"
groups = ["staff"]
password = "$argon2id$v=19$m=65536,t=3,p=4$..."

[[schedule]]
name = "work"
days = "mon-fri"
hours = "08:00-18:00"

[[upstream]]
name = "parent"
kind = "http"
address = "10.1.0.1:3128"

[[filter]]
name = "monitor"
use = "data-monitor"

[[filter]]
name = "all"
use = "data-monitor"
everywhere = true

[[rule]]
name = "mail"
action = "allow"
protocols = ["SMTP"]
from = ["internal"]
to = ["external"]

[[rule]]
name = "low"
action = "deny"
protocols = ["any"]
from = ["internal"]
to = ["any"]
source_ports = ["1-1023", "2000"]

[[rule]]
name = "off"
enabled = false
action = "deny"
protocols = ["any"]
from = ["any"]
to = ["any"]

[[rule]]
name = "staff"
action = "allow"
protocols = ["HTTPS"]
from = ["internal"]
to = ["external"]
groups = ["staff"]
schedule = "work"
upstream = "parent"
filters = ["monitor"]

[[rule]]
name = "try"
action = "deny"
shadow = true
protocols = ["any"]
from = ["internal"]
to = ["any"]

[[rule]]
name = "updates"
action = "allow"
protocols = ["any"]
from = ["internal"]
to = ["updates"]
log = false

[[rule]]
name = "datagrams"
action = "allow"
protocols = ["DNS"]
from = ["internal"]
to = ["external"]
upstream = "parent"
"""

CLIENT = ("--from", "10.1.0.5")
WORKDAY, NIGHT = ("--at", "2026-11-02 10:00"), ("--at", "2026-11-02T22:00:00")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explain") / "fwx.toml"
    path.write_text(CONFIG)
    return path


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(explain, ["--config", str(config), *arguments])


def told(config: Path, *arguments: str) -> Any:
    result = run(config, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_in_words(config: Path) -> None:
    result = run(config, *CLIENT, "--to", "deb.debian.org:443", "--address", "203.0.113.7", *NIGHT)
    assert result.exit_code == 0
    lines = result.stdout.replace(str(config), "fwx.toml").splitlines()
    assert lines == [
        "10.1.0.5:49152 to deb.debian.org:443 at 203.0.113.7, TCP, Mon 2026-11-02 22:00:00",
        "  HTTPS; from internal, any; to external, any",
        "  fwx.toml:34: rule 'mail': protocols: TCP port 443 is HTTPS, not SMTP",
        "  fwx.toml:41: rule 'low': source_ports: the client's port is 49152, not 1-1023 or 2000",
        "  fwx.toml:49: rule 'off': disabled",
        "  fwx.toml:57: rule 'staff': schedule: it is Mon 2026-11-02 22:00:00, not work",
        "  fwx.toml:68: shadow rule 'try': matches and would deny it; a shadow rule decides nothing",
        "  fwx.toml:76: rule 'updates': matches by the name: allow",
        "allowed by rule 'updates'",
        "  way out: straight; filters: all",
        "  log: yes",
    ]


def test_the_way_out_and_the_filters(config: Path) -> None:
    """The groups of the file's users are known; filters of every connection come first."""
    (found,) = told(config, *CLIENT, "--to", "203.0.113.7:443", "--user", "alice", *WORKDAY)
    decision = found["decision"]
    assert (decision["allowed"], decision["rule"], decision["upstream"]) == (True, "staff", "parent")
    assert (decision["filters"], decision["result"], decision["log"]) == (["all", "monitor"], "S_OK", True)
    assert decision["place"].endswith("fwx.toml:57")
    assert (found["asked"]["user"], found["asked"]["protocol"]) == ("alice", "HTTPS")
    assert [rule["element"] for rule in found["rules"]] == ["protocols", "source_ports", "enabled", None]
    assert [rule["decides"] for rule in found["rules"]] == [False, False, False, True]


def test_who_is_nobody_is_told_that_a_user_could(config: Path) -> None:
    result = run(config, *CLIENT, "--to", "203.0.113.7:443", *WORKDAY)
    assert "users: the client is nobody, not group staff\n" in result.stdout
    assert result.stdout.endswith("\n  a client that authenticates itself may be allowed\n")
    (found,) = told(config, *CLIENT, "--to", "203.0.113.7:443", "--user", "bob", "--group", "staff", *WORKDAY)
    assert found["decision"]["allowed"]


def test_a_name_without_its_address_may_not_be_decided(config: Path) -> None:
    result = run(config, *CLIENT, "--to", "www.example.org:25")
    assert (
        "rule 'mail': depends on the address of www.example.org\nnot decided before the name is resolved"
        in result.stdout
    )
    both = told(config, *CLIENT, "--to", "www.example.org:25", "--address", "203.0.113.7", "--address", "10.1.0.7")
    assert [found["decision"]["allowed"] for found in both] == [True, False]


def test_a_way_out_that_carries_no_datagrams(config: Path) -> None:
    (found,) = told(config, *CLIENT, "--to", "203.0.113.7:53", "--udp")
    assert (found["decision"]["allowed"], found["decision"]["rule"]) == (False, "datagrams")
    assert "whose protocol carries no UDP" in found["decision"]["reason"]
    assert found["rules"][-1]["decides"]


def test_the_source_port_can_be_given(config: Path) -> None:
    result = run(config, "--from", "10.1.0.5:2000", "--to", "203.0.113.7:443")
    assert "denied, FWX_E_POLICY_RULES_DENIED: rule 'low' denies" in result.stdout


def test_the_embedded_default() -> None:
    result = CliRunner().invoke(explain, ["--from", "127.0.0.1", "--to", "127.0.0.1:80"])
    assert "allowed by rule 'Embedded default'" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "--from and --to are needed, or --connection"),
        (CLIENT, "--from and --to are needed"),
        ((*CLIENT, "--connection", "3"), "--from does not go with --connection"),
        ((*CLIENT, "--url", "http://x/", "--to", "x:80"), "--url goes with neither --to nor --udp"),
        ((*CLIENT, "--url", "https://x/"), "scheme 'https' is not supported"),
        ((*CLIENT, "--to", "x:80", "--content-type", "text/html"), "--url is needed"),
        (("--from", "inside", "--to", "x:1"), "'--from'"),
        (("--from", "inside:80", "--to", "x:1"), "'inside:80' is no address; expected 10.1.0.5"),
        ((*CLIENT, "--to", "www.example.org"), "'--to'"),
        ((*CLIENT, "--to", "www.example.org:0"), "'www.example.org:0' has no port"),
        ((*CLIENT, "--to", "x:80", "--address", "y"), "'y' is no address"),
        ((*CLIENT, "--to", "10.2.0.1:80", "--address", "10.2.0.1"), "10.2.0.1 is an address already"),
        ((*CLIENT, "--to", "x:80", "--group", "staff"), "only a user is in groups"),
        ((*CLIENT, "--to", "x:80", "--at", "noon"), "'noon' is no time; expected '2026-11-26 10:00'"),
    ],
)
def test_what_makes_no_sense(config: Path, arguments: tuple[str, ...], complaint: str) -> None:
    result = run(config, *arguments)
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.split()).replace("│ ", "")


def test_a_wrong_file_and_no_service(tmp_path: Path) -> None:
    (tmp_path / "fwx.toml").write_text("[service]\nstate_dir = 'nowhere'\n")
    result = run(tmp_path / "fwx.toml", "--connection", "1")
    assert (result.exit_code, "no service runs with the state folder" in result.stderr) == (1, True)
    assert run(tmp_path / "none.toml", *CLIENT, "--to", "x:1").exit_code == 1


SOURCES = st.sampled_from((("any",), ("internal",), ("external", "internal"), ("localhost", "any"), ("few",)))
TARGETS = st.sampled_from(
    (
        ("any",),
        ("internal",),
        ("external", "internal"),
        ("localhost", "any"),
        ("few", "servers"),
        ("names",),
        ("pages",),
    )
)
RULES = st.lists(
    st.tuples(
        st.sampled_from(("allow", "deny")),
        SOURCES,
        TARGETS,
        st.booleans(),
        st.sampled_from(("any", "alice", "staff")),
        st.sampled_from(("", "", "system", "typed", "disabled")),
        st.sampled_from((("any",), ("any",), ("HTTP",), ("odd",))),
        st.sampled_from(((), (), ((1, 1023),), ((500, 500), (4000, 5000)))),
        st.sampled_from(("", "", "work", "night")),
    ),
    max_size=6,
)
SCHEDULES = (Schedule("work", frozenset(range(5)), ((480, 1080),)), Schedule("night", frozenset({0}), ((1320, 360),)))
ODD = Protocol.configured("odd", None, (ProtocolConnection("tcp", "outbound", (PortRange(1, 100),)),))
# Noon, and shortly before and after midnight, of a Monday; local time is UTC.
MOMENTS = tuple(calendar.timegm((2026, 11, *time_, 0)) for time_ in ((2, 12, 0), (2, 23, 59), (3, 0, 1)))
NETWORK_RULES = st.lists(
    st.tuples(
        st.sampled_from(("internal", "servers", "any")),
        st.sampled_from(("external", "any")),
        st.sampled_from(("nat", "route")),
    ),
    max_size=2,
)
# A path and the type of what is answered, of a request in plain HTTP.
REQUESTS = st.one_of(
    st.none(),
    st.tuples(st.sampled_from(("/a/b", "/a/../b", "/")), st.sampled_from((None, "", "text/html", "image/png"))),
)


def rule_of(number: int, drawn: Any) -> Rule:
    action, source, target, shadow, user, kind, protocols, ports, schedule = drawn
    return Rule(
        f"r{number}",
        action,
        protocols,
        source,
        ("localhost",) if kind == "system" else target,
        shadow=shadow,
        users=(user,) if user != "staff" else ("any",),
        groups=("staff",) if user == "staff" else (),
        content_types=("text/*",) if kind == "typed" and action == "allow" else (),
        system=kind == "system",
        enabled=kind != "disabled",
        source_ports=ports,
        schedule=schedule,
    )


def policy_of(rules: Any, network_rules: Any, moment: float) -> Policy:
    local = LocalAddresses(reader=lambda _path: "", clock=lambda: 0.0)
    networks = (Network("internal", ("10.1.0.0/16",)), Network("servers", ("10.2.0.0/24",)))
    return Policy(
        Networks(networks, local, (ComputerSet("few", ("10.1.0.5", "203.0.113.9")),)),
        (DomainSet("names", ("www.example.org",)),),
        (ODD,),
        [rule_of(number, drawn) for number, drawn in enumerate(rules)],
        Calendar(SCHEDULES, lambda: moment, time.gmtime),
        url_sets=(UrlSet("pages", ("www.example.org/a/*", "10.1.0.9")),),
        network_rules=[
            NetworkRule(f"n{number}", (source,), (target,), relation)
            for number, (source, target, relation) in enumerate(network_rules)
        ],
    )


def elements(document: Any) -> list[tuple[str, str]]:
    return [(rule["rule"], rule["element"]) for rule in document["rules"]]


@given(
    RULES,
    NETWORK_RULES,
    st.sampled_from(("10.1.0.5", "10.2.0.5", "203.0.113.5", "127.0.0.1")),
    st.sampled_from(("10.1.0.9:80", "10.2.0.7:80", "203.0.113.9:443", "127.0.0.1:1", "www.example.org:80", "a..b:1")),
    st.sampled_from(("", "10.1.0.9", "203.0.113.9", "127.0.0.1")),
    st.sampled_from(("", "alice", "bob")),
    st.sampled_from(("TCP", "UDP")),
    REQUESTS,
    st.sampled_from((500, 4000, 40000)),
    st.sampled_from(MOMENTS),
)
def test_it_agrees_with_the_decision(
    rules: Any,
    network_rules: Any,
    client: str,
    to: str,
    resolved: str,
    user: str,
    transport: str,
    request_: Any,
    port: int,
    moment: float,
) -> None:
    """The document's decision and its deciding rule are the policy's own, whatever the policy and the connection; now,
    and for a time that is asked about.
    """
    policy = policy_of(rules, network_rules, moment)
    earlier = policy_of(rules, network_rules, MOMENTS[0])
    destination = SocketAddress.parse(to)
    who = known_as(user, ("staff",) if user == "alice" else ())
    resolved = resolved if destination.address is None else ""
    is_web = request_ is not None and transport == "TCP"
    web = WebRequest(Url(destination.host, destination.port, request_[0]), request_[1]) if is_web else None
    # What is remembered for another port is not said of this one.
    policy.judge(client, 40000 if port == 500 else 500, destination, transport, resolved or None, who, web=web)
    asked = Asked(SocketAddress(client, port), destination, transport, resolved, who, user, web=web)
    found = Explainer(policy, (), {}, {}).explain(asked)
    then = Explainer(earlier, (), {}, {}).explain(replace(asked, moment=moment))
    assert then["decision"] == found["decision"]
    assert elements(then) == elements(found)
    verdict = policy.judge(client, port, destination, transport, resolved or None, who, web=web)
    # What is remembered is what was said.
    assert policy.judge(client, port, destination, transport, resolved or None, who, web=web) == verdict
    decision = found["decision"]
    assert (decision["allowed"], decision["rule"], decision["result"]) == (
        verdict.allowed,
        verdict.rule,
        verdict.hresult.name,
    )
    assert (decision["needs_user"], decision["needs_resolution"]) == (verdict.needs_user, verdict.needs_resolution)
    assert decision["shadows"] == [rule.name for rule in verdict.shadows]
    assert decision["translates"] is verdict.translates
    assert [rule["rule"] for rule in found["rules"] if rule["decides"]] == [verdict.rule] * (
        verdict.rule not in ("Default rule", "")
    )
    assert found["network_rules"]["asked"] is (bool(network_rules) and web is None)
    assert bool(found["network_rules"]["words"]) is found["network_rules"]["asked"]
    json.dumps(found)
    assert all(isinstance(line, str) for line in in_words(found))


WEB = """
[[network]]
name = "internal"
ranges = ["10.1.0.0/16"]
[[urls]]
name = "pages"
urls = ["www.example.org/a/*"]
[[network_rule]]
name = "out"
from = ["internal"]
to = ["external"]
relation = "nat"
[[system_rule]]
name = "self"
action = "deny"
protocols = ["any"]
from = ["any"]
to = ["localhost"]
[[rule]]
name = "page"
action = "allow"
protocols = ["HTTP"]
from = ["internal"]
to = ["pages"]
content_types = ["text/html"]
[[rule]]
name = "rest"
action = "allow"
protocols = ["HTTP"]
from = ["internal"]
to = ["external"]
"""


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explain") / "fwx.toml"
    path.write_text(WEB)
    return path


def said(config: Path, *arguments: str) -> list[str]:
    result = run(config, *CLIENT, *arguments, *WORKDAY)
    assert result.exit_code == 0, result.output
    return result.stdout.replace(str(config), "fwx.toml").splitlines()[1:]


def test_a_request_in_words(web: Path) -> None:
    url, address = ("--url", "http://www.example.org/a/b?c"), ("--address", "203.0.113.7")
    assert said(web, *url, *address, "--content-type", "image/png; x=y") == [
        "  HTTP; from internal, any; to external, any",
        "  for http://www.example.org:80/a/b, answered with image/png",
        "  fwx.toml:13: system rule 'self': to: http://www.example.org:80/a/b at 203.0.113.7 is in external, any, not "
        "localhost",
        "  fwx.toml:19: rule 'page': content_types: the response is image/png, not text/html",
        "  fwx.toml:26: rule 'rest': matches: allow",
        "allowed by rule 'rest'",
        "  way out: straight; filters: none",
        "  log: yes",
    ]
    assert "  fwx.toml:19: rule 'page': matches by the URL: allow" in said(web, *url, *address)
    assert (
        "  fwx.toml:19: rule 'page': to: http://www.example.org:80/b at 203.0.113.7 is in external, any, not pages"
        in (said(web, "--url", "http://www.example.org/b", *address))
    )


def test_network_rules_in_words(web: Path) -> None:
    """B7.2: they come first, and where they refuse, no rule is tried."""
    assert said(web, "--to", "203.0.113.7:80")[1] == "  network rule 'out': NAT"
    assert said(web, "--to", "10.1.0.9:80")[1] == "  no network rule is needed: one network"
    assert said(web, "--to", "www.example.org:80")[1] == "  network rules depend on the address of www.example.org"
    refused = run(web, "--from", "203.0.113.7", "--to", "10.1.0.9:80")
    assert "network rule 'out': NAT, in reverse" in refused.stdout
    unrelated = web.with_name("unrelated.toml")
    unrelated.write_text(WEB.replace('to = ["external"]\nrelation', 'to = ["servers"]\nrelation') + SERVERS)
    assert said(unrelated, "--to", "203.0.113.7:80")[1:] == [
        "  no network rule relates internal and external",
        "denied, FWX_E_NETWORK_RULES_DENIED: no network rule relates internal and external: denied HTTP from 10.1.0.5 "
        "(internal) to 203.0.113.7:80 (external)",
    ]


SERVERS = '[[network]]\nname = "servers"\nranges = ["10.2.0.0/24"]\n'


def test_the_configuration_of_a_service_is_what_is_explained(config: Path) -> None:
    """The policy of the file, with its schedules, source ports and shadows."""
    explainer = explainer_of(load(config), datagrams=False)
    found = explainer.explain(Asked(SocketAddress("10.1.0.5", 2000), SocketAddress("x.debian.org", 80)))
    assert found["decision"]["needs_resolution"]
    assert found["decision"]["rule"] == "low"
