"""``fwx explain``: what is said of a connection that there might be, as words and as JSON, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from fwx.commands.explain import explain
from fwx.config import load
from fwx.explanation import Asked, Explainer, explainer_of, known_as
from fwx.impl.networks import LocalAddresses, Network, Networks
from fwx.impl.policy import Policy, Rule
from fwx.interfaces import SocketAddress

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


ENTRIES = st.sampled_from((("any",), ("internal",), ("external", "internal"), ("localhost", "any")))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("allow", "deny")),
            ENTRIES,
            ENTRIES,
            st.booleans(),
            st.sampled_from(("any", "alice", "staff")),
        ),
        max_size=6,
    ),
    st.sampled_from(("10.1.0.5", "203.0.113.5", "127.0.0.1")),
    st.sampled_from(("10.1.0.9:80", "203.0.113.9:443", "127.0.0.1:1", "www.example.org:80")),
    st.sampled_from(("", "10.1.0.9", "127.0.0.1")),
    st.sampled_from(("", "alice", "bob")),
)
def test_it_agrees_with_the_decision(rules: Any, client: str, to: str, resolved: str, user: str) -> None:
    """The document's decision and its deciding rule are the policy's own, whatever the policy and the connection."""
    made = [
        Rule(
            f"r{number}",
            action,
            ("any",),
            source,
            target,
            shadow=shadow,
            users=(user_,) if user_ != "staff" else ("any",),
            groups=("staff",) if user_ == "staff" else (),
        )
        for number, (action, source, target, shadow, user_) in enumerate(rules)
    ]
    local = LocalAddresses(reader=lambda _path: "", clock=lambda: 0.0)
    policy = Policy(Networks((Network("internal", ("10.1.0.0/16",)),), local), (), (), made)
    destination = SocketAddress.parse(to)
    who = known_as(user, ("staff",) if user == "alice" else ())
    resolved = resolved if destination.address is None else ""
    found = Explainer(policy, (), {}, {}).explain(
        Asked(SocketAddress(client, 4000), destination, "TCP", resolved, who, user)
    )
    verdict = policy.judge(client, 4000, destination, "TCP", resolved or None, who)
    decision = found["decision"]
    assert (decision["allowed"], decision["rule"], decision["result"]) == (
        verdict.allowed,
        verdict.rule,
        verdict.hresult.name,
    )
    assert (decision["needs_user"], decision["needs_resolution"]) == (verdict.needs_user, verdict.needs_resolution)
    assert decision["shadows"] == [rule.name for rule in verdict.shadows]
    assert [rule["rule"] for rule in found["rules"] if rule["decides"]] == [verdict.rule] * (
        verdict.rule != "Default rule"
    )
    json.dumps(found)


def test_the_configuration_of_a_service_is_what_is_explained(config: Path) -> None:
    """The policy of the file, with its schedules, source ports and shadows."""
    explainer = explainer_of(load(config), datagrams=False)
    found = explainer.explain(Asked(SocketAddress("10.1.0.5", 2000), SocketAddress("x.debian.org", 80)))
    assert found["decision"]["needs_resolution"]
    assert found["decision"]["rule"] == "low"
