"""What the policy says to a connection: tables of questions and answers, and that remembering changes no answer."""

from __future__ import annotations

import dataclasses
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.impl.domainset import DomainSet, normalise_name
from fwx.impl.networks import LocalAddresses, Network, Networks
from fwx.impl.policy import Policy, Rule, Verdict
from fwx.impl.protocol import Protocol
from fwx.interfaces.address import SocketAddress
from fwx.interfaces.hresult import FWX_E_POLICY_RULES_DENIED, S_OK
from fwx.interfaces.protocols import GUID_NULL, HTTP_PROTOCOL_GUID, PortRange, ProtocolConnection

OWN = "10.1.0.1"
ALWAYS = ("any",)


class Host:
    """The firewall's own addresses, under a clock that only the test moves."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.now = 0.0
        self.local = LocalAddresses(reader=self._read, clock=lambda: self.now)

    def _read(self, path: str) -> str:
        if path.endswith("if_inet6"):
            return ""
        return "Local:\n" + "".join(f"   |-- {address}\n      /32 host LOCAL\n" for address in self.addresses)


NETWORKS = (
    Network("internal", ("127.0.0.0/8", "10.1.0.0/16", "fd00:1::/64")),
    Network("servers", ("10.2.0.0/24",)),
    Network("wide", ("192.0.2.0/24", "0.0.0.0/1")),
)
DOMAINS = (
    DomainSet("updates", ("*.debian.org", "PyPI.org.", "bücher.example")),
    DomainSet("bad", ("*.evil.example", "evil.example")),
)
CUSTOM = Protocol.configured("backup", None, (ProtocolConnection("tcp", "outbound", (PortRange(9000, 9010),)),))
RULES = (
    Rule("no evil", "deny", ALWAYS, ("internal",), ("bad",), log=False),
    Rule("self service", "allow", ("HTTP",), ("internal",), ("localhost",)),
    Rule("updates", "allow", ALWAYS, ("internal",), ("updates",), filters=("monitor",)),
    Rule("no servers", "deny", ("SMTP",), ("internal",), ("servers",)),
    Rule("browse", "allow", ("HTTP", "HTTPS"), ("internal",), ("external",), filters=("monitor", "second")),
    Rule("backup", "allow", ("backup",), ("internal",), ("servers",), log=False),
    Rule("late", "deny", ALWAYS, ("internal",), ("external",)),
    Rule("www", "allow", ALWAYS, ("external", "internal"), ("servers",)),
)


def make(*rules: Rule, host: Host | None = None) -> Policy:
    return Policy(Networks(NETWORKS, (host or Host(OWN)).local), DOMAINS, (CUSTOM,), rules or RULES)


def ask(policy: Policy, source: str, destination: str, resolved: str | None = None, transport: str = "TCP") -> Verdict:
    return policy.judge(source, 40000, SocketAddress.parse(destination), transport, resolved)


@pytest.mark.parametrize(
    ("source", "destination", "allowed", "rule"),
    [
        # first match decides
        ("10.1.0.5", "203.0.113.1:80", True, "browse"),
        ("10.1.0.5", "203.0.113.1:443", True, "browse"),
        ("10.1.0.5", "203.0.113.1:22", False, "late"),
        ("10.1.0.5", "10.2.0.5:25", False, "no servers"),
        ("10.1.0.5", "10.2.0.5:9000", True, "backup"),
        ("10.1.0.5", "10.2.0.5:9010", True, "backup"),
        ("10.1.0.5", "10.2.0.5:9011", True, "www"),
        ("203.0.113.1", "10.2.0.5:8080", True, "www"),
        # nothing matches
        ("203.0.113.1", "203.0.113.2:80", False, "Default rule"),
        ("10.2.0.5", "203.0.113.1:80", False, "Default rule"),
        ("10.1.0.5", "10.1.0.6:80", False, "Default rule"),
        # IPv4-mapped forms are IPv4, on both sides
        ("::ffff:10.1.0.5", "[::ffff:10.2.0.5]:25", False, "no servers"),
        ("::ffff:10.1.0.5", "[::ffff:203.0.113.1]:80", True, "browse"),
        ("fd00:1::5", "[2001:db8::1]:443", True, "browse"),
        # the firewall itself: only a rule that names it, for what that rule allows
        ("10.1.0.5", "10.1.0.1:80", True, "self service"),
        ("10.1.0.5", "10.1.0.1:22", False, "Default rule"),
        ("10.1.0.5", "[::ffff:10.1.0.1]:22", False, "Default rule"),
        ("10.1.0.5", "0.0.0.0:80", True, "self service"),
        ("10.1.0.5", "0.0.0.0:443", False, "Default rule"),
        ("10.1.0.5", "[::]:443", False, "Default rule"),
        ("10.1.0.5", "169.254.169.254:443", False, "Default rule"),
        ("10.1.0.5", "[fe80::1]:443", False, "Default rule"),
        ("10.1.0.5", "[fe80::1%eth0]:443", False, "Default rule"),
        ("10.1.0.5", "127.0.0.1:443", False, "Default rule"),
        # as a source it is itself, not a member of the network around it
        ("10.1.0.1", "203.0.113.1:80", False, "Default rule"),
        ("127.0.0.1", "203.0.113.1:80", True, "browse"),
    ],
)
def test_literal_destination(source: str, destination: str, allowed: bool, rule: str) -> None:
    """B7.4: the first rule that matches decides, and what none matches is denied."""
    verdict = ask(make(), source, destination)
    assert (verdict.allowed, verdict.rule, verdict.needs_resolution) == (allowed, rule, False)
    assert verdict.hresult == (S_OK if allowed else FWX_E_POLICY_RULES_DENIED)


@pytest.mark.parametrize(
    ("destination", "resolved", "outcome", "rule"),
    [
        # what the name alone decides
        ("evil.example:80", None, "deny", "no evil"),
        ("WWW.Evil.Example.:80", None, "deny", "no evil"),
        ("ftp.debian.org:21", None, "allow", "updates"),
        ("a.b.debian.org:21", None, "allow", "updates"),
        ("pypi.org.:21", None, "allow", "updates"),
        ("bücher.example:21", None, "allow", "updates"),
        ("xn--bcher-kva.example:21", None, "allow", "updates"),
        ("BÜCHER。example:21", None, "allow", "updates"),
        # an earlier rule depends on the address
        ("ftp.debian.org:80", None, "resolve", "self service"),
        ("www.example.org:443", None, "resolve", "browse"),
        ("debian.org:21", None, "resolve", "late"),
        # name and address together
        ("ftp.debian.org:80", "203.0.113.1", "allow", "updates"),
        ("ftp.debian.org:80", "10.2.0.5", "allow", "updates"),
        ("evil.example:80", "10.2.0.5", "deny", "no evil"),
        ("debian.org:21", "203.0.113.1", "deny", "late"),
        ("xpypi.org:21", "203.0.113.1", "deny", "late"),
        ("www.example.org:443", "203.0.113.1", "allow", "browse"),
        ("www.example.org:443", "2001:db8::1", "allow", "browse"),
        ("www.example.org:443", "::ffff:10.2.0.5", "allow", "www"),
        ("www.example.org:443", "10.1.0.1", "deny", "Default rule"),
        ("www.example.org:443", "10.1.0.6", "deny", "Default rule"),
        # a name that leads to the firewall itself
        ("ftp.debian.org:21", "127.0.0.1", "deny", "updates"),
        ("ftp.debian.org:21", "10.1.0.1", "deny", "updates"),
        ("ftp.debian.org:21", "::ffff:10.1.0.1", "deny", "updates"),
        ("ftp.debian.org:21", "169.254.169.254", "deny", "updates"),
        ("ftp.debian.org:21", "0.0.0.0", "deny", "updates"),
        ("ftp.debian.org:21", "::1", "deny", "updates"),
        ("ftp.debian.org:80", "10.1.0.1", "allow", "self service"),
        # spellings of addresses that only the resolver knows
        ("2130706433:443", None, "resolve", "browse"),
        ("2130706433:443", "127.0.0.1", "deny", "Default rule"),
        # what is no name
        ("a..b:80", None, "deny", "Default rule"),
        (f"{'a' * 64}.example:80", None, "deny", "Default rule"),
        ("a." * 127 + "a:80", None, "deny", "Default rule"),
        ("a..b:80", "203.0.113.1", "deny", "Default rule"),
    ],
)
def test_named_destination(destination: str, resolved: str | None, outcome: str, rule: str) -> None:
    verdict = ask(make(), "10.1.0.5", destination, resolved)
    assert (verdict.allowed, verdict.needs_resolution) == (outcome == "allow", outcome == "resolve")
    assert verdict.rule == rule
    assert verdict.hresult == (S_OK if outcome == "allow" else FWX_E_POLICY_RULES_DENIED)


@pytest.mark.parametrize(
    ("source", "host", "allowed", "rule"),
    [
        # a deny rule for the name and every protocol comes first
        ("10.1.0.5", "evil.example", False, "no evil"),
        ("10.1.0.5", "WWW.Evil.Example.", False, "no evil"),
        # some rule could allow something there, for one port and one address at least
        ("10.1.0.5", "ftp.debian.org", True, "self service"),
        ("10.1.0.5", "www.example.org", True, "self service"),
        ("203.0.113.1", "www.example.org", True, "www"),
        ("203.0.113.1", "evil.example", True, "www"),
        # no rule speaks of the client
        ("10.2.0.5", "www.example.org", False, "Default rule"),
        # addresses
        ("10.1.0.5", "203.0.113.1", True, "browse"),
        ("10.1.0.5", "::ffff:203.0.113.1", True, "browse"),
        ("10.1.0.5", "2001:db8::1", True, "browse"),
        ("10.1.0.5", "10.1.0.1", True, "self service"),
        ("10.1.0.5", "10.1.0.6", False, "Default rule"),
        ("203.0.113.1", "203.0.113.2", False, "Default rule"),
        ("203.0.113.1", "10.2.0.5", True, "www"),
        # what is no name
        ("10.1.0.5", "a..b", False, "Default rule"),
        ("10.1.0.5", f"{'a' * 64}.example", False, "Default rule"),
    ],
)
def test_look_ups(source: str, host: str, allowed: bool, rule: str) -> None:
    verdict = make().judge_look_up(source, host)
    assert (verdict.allowed, verdict.rule, verdict.needs_resolution) == (allowed, rule, False)
    assert verdict.hresult == (S_OK if allowed else FWX_E_POLICY_RULES_DENIED)
    assert (verdict.protocol, verdict.protocol_guid) == ("", GUID_NULL)
    assert host in verdict.reason


@pytest.mark.parametrize(
    ("denied", "then_allowed", "host", "allowed"),
    [
        (("HTTP",), ("HTTP",), "evil.example", False),
        (("HTTP",), ("HTTPS",), "evil.example", True),
        (("HTTP",), ("any",), "evil.example", True),
        (("HTTP", "web"), ("HTTP",), "evil.example", False),
        (("HTTP",), ("web",), "evil.example", True),  # port 8000 is left
        (("web",), ("HTTP",), "evil.example", False),  # port 80 is the web's too
        (("any",), ("HTTP",), "evil.example", False),
        (("any",), ("HTTP",), "www.example.org", True),
    ],
)
def test_a_look_up_is_denied_when_nothing_is_left(
    denied: tuple[str, ...], then_allowed: tuple[str, ...], host: str, allowed: bool
) -> None:
    """Protocols are told apart by their ports, as connections are."""
    ports = (PortRange(80, 80), PortRange(8000, 8000))
    web = Protocol.configured("web", None, (ProtocolConnection("tcp", "outbound", ports),))
    rules = (
        Rule("denies", "deny", denied, ("internal",), ("bad",)),
        Rule("allows", "allow", then_allowed, ("internal",), ("external", "bad")),
    )
    policy = Policy(Networks(NETWORKS, Host(OWN).local), DOMAINS, (web,), rules)
    assert policy.judge_look_up("10.1.0.5", host).allowed is allowed


@pytest.mark.parametrize(
    ("destination", "host", "allowed"),
    [
        (("external",), "www.example.org", True),  # which of them it is in, its address would say
        (("any",), "www.example.org", True),
        (("any", "localhost"), "www.example.org", False),
        (("external",), "203.0.113.1", False),
        (("bad",), "www.example.org", True),
    ],
)
def test_a_rule_that_needs_the_address_denies_no_look_up(
    destination: tuple[str, ...], host: str, allowed: bool
) -> None:
    policy = make(
        Rule("denies", "deny", ALWAYS, ("internal",), destination),
        Rule("allows", "allow", ALWAYS, ("internal",), ("any",)),
    )
    assert policy.judge_look_up("10.1.0.5", host).allowed is allowed


def test_a_look_up_says_why() -> None:
    policy = make()
    denied = policy.judge_look_up("10.1.0.5", "evil.example")
    assert (denied.reason, denied.log) == (
        "rule 'no evil' denies looking up evil.example from 10.1.0.5 (internal)",
        False,
    )
    assert policy.judge_look_up("10.2.0.5", "10.1.0.6").reason == (
        "no rule allows looking up 10.1.0.6 from 10.2.0.5 (servers)"
    )
    allowed = policy.judge_look_up("10.1.0.5", "203.0.113.1")
    assert (allowed.source_network, allowed.destination_network) == ("internal", "external")
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
        policy.judge_look_up("client", "www.example.org")


def test_domain_set_never_matches_an_address() -> None:
    policy = make(Rule("names", "allow", ALWAYS, ("internal",), ("updates",)))
    literal = policy.judge("10.1.0.5", 1, SocketAddress("203.0.113.1", 443), resolved="203.0.113.1")
    assert (literal.allowed, literal.rule) == (False, "Default rule")


@pytest.mark.parametrize(
    ("destinations", "allowed"),
    [
        (("updates",), False),
        (("updates", "any"), False),
        (("updates", "localhost"), True),
        (("updates", "internal"), True),  # its range 127.0.0.0/8 names loopback
        (("updates", "wide"), False),  # 0.0.0.0/1 is wider than loopback
    ],
)
def test_rebinding_needs_a_rule_that_names_the_firewall(destinations: tuple[str, ...], allowed: bool) -> None:
    policy = make(Rule("names", "allow", ALWAYS, ("internal",), destinations))
    assert ask(policy, "10.1.0.5", "ftp.debian.org:443", "127.0.0.1").allowed is allowed


def test_rebinding_says_why() -> None:
    verdict = ask(make(), "10.1.0.5", "ftp.debian.org:21", "127.0.0.1")
    assert verdict.reason == (
        "the name resolved to an address of the firewall itself, and rule 'updates' does not name localhost: "
        "denied FTP from 10.1.0.5 (internal) to ftp.debian.org:21 (127.0.0.1, internal)"
    )


def test_own_address_is_not_in_the_wide_range_around_it() -> None:
    host = Host(OWN)
    policy = make(Rule("wide", "allow", ALWAYS, ("internal",), ("wide", "any")), host=host)
    assert ask(policy, "10.1.0.5", "192.0.2.7:443").allowed
    host.addresses.append("192.0.2.7")
    host.now = 0.5
    assert ask(policy, "10.1.0.5", "192.0.2.7:443").allowed, "the addresses are a second old at most"
    host.now = 1.5
    assert not ask(policy, "10.1.0.5", "192.0.2.7:443").allowed


def test_any_is_everything_but_localhost() -> None:
    policy = make(Rule("all", "allow", ALWAYS, ALWAYS, ALWAYS))
    assert ask(policy, "203.0.113.9", "10.2.0.5:1").allowed
    assert not ask(policy, "203.0.113.9", f"{OWN}:1").allowed
    assert not ask(policy, OWN, "10.2.0.5:1").allowed
    assert ask(policy, "203.0.113.9", "www.example.org:1").needs_resolution


@pytest.mark.parametrize(
    ("destination", "transport", "name", "guid"),
    [
        ("203.0.113.1:80", "TCP", "HTTP", HTTP_PROTOCOL_GUID),
        ("203.0.113.1:9005", "TCP", "backup", CUSTOM.guid),
        ("203.0.113.1:53", "UDP", "DNS", UUID("01B44810-D4A3-11D2-BBC4-00A0C9D785A6")),
        ("203.0.113.1:53", "TCP", "DNS", UUID("01B44810-D4A3-11D2-BBC4-00A0C9D785A6")),
        ("203.0.113.1:1", "TCP", "unidentified TCP", GUID_NULL),
        ("203.0.113.1:9005", "UDP", "unidentified UDP", GUID_NULL),
        ("203.0.113.1:1745", "TCP", "unidentified TCP", GUID_NULL),  # direction not known
    ],
)
def test_application_protocol(destination: str, transport: str, name: str, guid: UUID) -> None:
    verdict = ask(make(), "10.1.0.5", destination, transport=transport)
    assert (verdict.protocol, verdict.protocol_guid) == (name, guid)


def test_inbound_protocol_is_no_client_connection() -> None:
    policy = make(Rule("published", "allow", ("HTTPS Server",), ("internal",), ALWAYS))
    assert not ask(policy, "10.1.0.5", "203.0.113.1:443").allowed


def test_configured_protocol_replaces_the_well_known_one() -> None:
    http = Protocol.configured("HTTP", None, (ProtocolConnection("TCP", "outbound", (PortRange(8080, 8080),)),))
    assert http.guid == HTTP_PROTOCOL_GUID
    rule = Rule("web", "allow", ("HTTP",), ALWAYS, ALWAYS)
    policy = Policy(Networks((), Host(OWN).local), (), (http,), (rule,))
    assert ask(policy, "203.0.113.9", "203.0.113.1:8080").protocol == "HTTP"
    assert not ask(policy, "203.0.113.9", "203.0.113.1:80").allowed


def test_protocol_identifier_is_stable() -> None:
    assert CUSTOM.guid == Protocol.configured("backup", None, ()).guid != Protocol.configured("other", None, ()).guid


def test_verdict_carries_everything_for_the_log() -> None:
    assert ask(make(), "10.1.0.5", "203.0.113.1:80") == Verdict(
        allowed=True,
        rule="browse",
        filters=("monitor", "second"),
        log=True,
        hresult=S_OK,
        protocol="HTTP",
        protocol_guid=HTTP_PROTOCOL_GUID,
        source_network="internal",
        destination_network="external",
        reason="rule 'browse' allows HTTP from 10.1.0.5 (internal) to 203.0.113.1:80 (external)",
    )


@pytest.mark.parametrize(
    ("source", "destination", "log", "networks", "reason"),
    [
        ("10.1.0.5", "evil.example:80", False, ("internal", ""), "rule 'no evil' denies HTTP from 10.1.0.5 (internal)"),
        (
            "8.8.4.4",
            "8.8.8.8:80",
            True,
            ("wide", "wide"),
            "no rule allows HTTP from 8.8.4.4 (wide) to 8.8.8.8:80 (wide)",
        ),
        (
            "10.1.0.5",
            "x.org:80",
            True,
            ("internal", ""),
            "rule 'self service' depends on the address: HTTP from 10.1.0.5",
        ),
        ("10.1.0.5", "a..b:80", True, ("internal", ""), "'a..b' is no DNS name: "),
    ],
)
def test_denial_has_no_filters_and_a_reason(
    source: str, destination: str, log: bool, networks: tuple[str, str], reason: str
) -> None:
    verdict = ask(make(), source, destination)
    assert verdict.filters == ()
    assert verdict.log is log
    assert (verdict.source_network, verdict.destination_network) == networks
    assert verdict.reason.startswith(reason)


@pytest.mark.parametrize(
    ("source", "destination", "allowed"),
    [
        ("127.0.0.1", "203.0.113.1:1", True),
        ("127.0.0.1", "www.example.org:1", True),
        ("::1", "127.0.0.1:1", True),
        ("::ffff:127.0.0.1", "[::1]:1", True),
        (OWN, f"{OWN}:1", True),
        ("10.1.0.5", "203.0.113.1:1", False),
        ("10.1.0.5", "127.0.0.1:1", False),
    ],
)
def test_embedded_default_serves_this_machine_alone(source: str, destination: str, allowed: bool) -> None:
    verdict = ask(Policy.embedded_default(Host(OWN).local), source, destination)
    assert verdict.allowed is allowed
    assert verdict.rule == ("Embedded default" if allowed else "Default rule")
    assert not verdict.needs_resolution


RULE = Rule("r", "allow", ALWAYS, ALWAYS, ALWAYS)


def test_the_built_in_rule_stays_last() -> None:
    """B7.5: no rule takes its place, and none gets behind it."""
    for rules in ((), (RULE,), (dataclasses.replace(RULE, name="s", system=True, destination=("localhost",)), RULE)):
        policy = make(*rules) if rules else Policy(Networks(NETWORKS, Host(OWN).local), DOMAINS, (), ())
        assert "Default rule" not in [rule.name for rule in policy.rules]
        verdict = ask(policy, OWN, "203.0.113.1:80")
        assert (verdict.allowed, verdict.rule, verdict.log) == (False, "Default rule", True)
    with pytest.raises(ValueError, match="rule 'Default rule': the name is taken"):
        make(dataclasses.replace(RULE, name="Default rule"))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ((dataclasses.replace(RULE, protocols=("HTP",)),), "rule 'r': protocols names 'HTP', which is not defined"),
        ((dataclasses.replace(RULE, source=("inside",)),), "rule 'r': source names 'inside', which is not defined"),
        ((dataclasses.replace(RULE, source=("updates",)),), "rule 'r': source names 'updates', which is not defined"),
        ((dataclasses.replace(RULE, destination=("up",)),), "rule 'r': destination names 'up', which is not defined"),
        ((dataclasses.replace(RULE, destination=()),), "rule 'r': destination is empty; name at least one, or 'any'"),
        ((RULE, RULE), "rule 'r': the name is taken"),
        ((dataclasses.replace(RULE, action="drop"),), "rule 'r': action 'drop', expected 'allow' or 'deny'"),
    ],
)
def test_rules_are_checked(rules: tuple[Rule, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(*rules)


@pytest.mark.parametrize("names", [("internal",), ("any",), ("updates", "updates")])
def test_networks_and_domain_sets_share_their_names(names: tuple[str, ...]) -> None:
    sets = [DomainSet(name, ("example.org",)) for name in names]
    with pytest.raises(ValueError, match=f"domain set '{names[-1]}': the name is taken"):
        Policy(Networks(NETWORKS, Host(OWN).local), sets, (), ())


@pytest.mark.parametrize("name", ["*", "*.", "", "a..b", "*foo.org", "a.*.org", "10.1.0.1", "::1", "a" * 64])
def test_domain_set_refuses_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"^domain set 'd', '"):
        DomainSet("d", ("ok.example", name))


def test_name_of_full_length() -> None:
    longest = ".".join(["a" * 63] * 3 + ["a" * 61])
    assert normalise_name(longest) == normalise_name(longest.upper() + ".") == longest
    with pytest.raises(ValueError, match="is longer than a DNS name can be"):
        normalise_name(longest + "a")


@pytest.mark.parametrize(("source", "resolved"), [("client", None), ("10.1.0.5", "www.example.org")])
def test_addresses_must_be_addresses(source: str, resolved: str | None) -> None:
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
        ask(make(), source, "www.example.org:80", resolved)


HOSTS = ("10.1.0.5", "10.1.0.1", "::ffff:10.1.0.1", "127.0.0.1", "10.2.0.5", "203.0.113.1", "::1", "fd00:1::5")
NAMES = ("ftp.debian.org", "evil.example", "www.example.org", "a..b")
QUESTION = st.tuples(
    st.sampled_from(("10.1.0.5", "10.1.0.1", "203.0.113.1")),
    st.sampled_from((*NAMES, "10.2.0.5", "::ffff:10.1.0.1")),
    st.sampled_from((80, 9000)),
    st.sampled_from((None, "127.0.0.1", "10.2.0.5", "203.0.113.1")),
    st.sampled_from(("TCP", "UDP")),
)
STEP = st.one_of(QUESTION, st.sampled_from(("10.2.0.5", "203.0.113.1", "10.1.0.1")))


@given(st.lists(STEP, max_size=30))
def test_remembered_verdicts_are_those_of_a_new_policy(
    steps: list[tuple[str, str, int, str | None, str] | str],
) -> None:
    """A step is a question, or an own address that comes or goes."""
    host = Host(OWN)
    warm = make(host=host)
    for step in steps:
        if isinstance(step, str):
            (host.addresses.remove if step in host.addresses else host.addresses.append)(step)
            host.now += 2
            continue
        source, name, port, resolved, transport = step
        destination = SocketAddress(name, port)
        cold = make(host=Host(*host.addresses))
        fresh = cold.judge(source, 1, destination, transport, resolved)
        assert warm.judge_look_up(source, name) == cold.judge_look_up(source, name)
        assert warm.judge(source, 1, destination, transport, resolved) == fresh
        assert warm.judge(source, 2, destination, transport, resolved) == fresh


ACTIONS = st.sampled_from(("allow", "deny"))
DRAWN_RULES = st.lists(
    st.tuples(
        ACTIONS,
        st.sampled_from((("any",), ("HTTP",), ("HTTP", "HTTPS"), ("backup",))),
        st.sampled_from((("internal",), ("servers",), ("any", "localhost"))),
        st.sampled_from((("any",), ("any", "localhost"), ("updates",), ("bad", "servers"), ("external", "localhost"))),
    ),
    min_size=1,
    max_size=5,
)


@given(DRAWN_RULES, st.sampled_from(("10.1.0.5", "10.2.0.5")), st.sampled_from((*NAMES[:3], "10.2.0.5", "203.0.113.1")))
def test_a_look_up_is_allowed_where_a_connection_could_be(
    drawn: list[tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]], source: str, host: str
) -> None:
    """And for an address, which leaves nothing open, only there."""
    policy = make(*(Rule(f"r{number}", *parts) for number, parts in enumerate(drawn)))  # type: ignore[arg-type]
    could = any(
        policy.judge(source, 1, SocketAddress(host, port), resolved=address).allowed
        for port in (80, 443, 9000, 7)
        for address in HOSTS
    )
    verdict = policy.judge_look_up(source, host)
    assert verdict.allowed or not could
    if host not in NAMES:
        assert verdict.allowed is could


@given(st.sampled_from(HOSTS), st.sampled_from(NAMES), st.sampled_from(HOSTS), st.integers(1, 65535))
def test_no_name_reaches_the_firewall_over_a_rule_that_does_not_name_it(
    source: str, name: str, resolved: str, port: int
) -> None:
    policy = make(
        Rule("sets", "allow", ALWAYS, ("internal", "localhost"), ("updates", "bad")),
        Rule("rest", "allow", ALWAYS, ("internal", "localhost"), ("any", "servers", "external", "wide")),
    )
    verdict = policy.judge(source, 1, SocketAddress(name, port), resolved=resolved)
    literal = policy.judge(source, 1, SocketAddress(resolved, port))
    if verdict.allowed:
        assert literal.allowed


@pytest.mark.parametrize(
    "other",
    [
        ("203.0.113.1", "ftp.debian.org", 80, "10.1.0.1", "TCP"),
        ("10.1.0.5", "evil.example", 80, "10.1.0.1", "TCP"),
        ("10.1.0.5", "ftp.debian.org", 443, "10.1.0.1", "TCP"),
        ("10.1.0.5", "ftp.debian.org", 80, "203.0.113.1", "TCP"),
        ("10.1.0.5", "ftp.debian.org", 80, "10.1.0.1", "UDP"),
    ],
)
def test_every_part_of_the_question_counts(other: tuple[str, str, int, str, str]) -> None:
    policy = make()
    assert ask(policy, "10.1.0.5", "ftp.debian.org:80", "10.1.0.1").rule == "self service"
    source, name, port, resolved, transport = other
    assert policy.judge(source, 40000, SocketAddress(name, port), transport, resolved).rule != "self service"


def test_warm_verdict_is_the_same_object() -> None:
    policy = make()
    assert ask(policy, "10.1.0.5", "203.0.113.1:80") is ask(policy, "10.1.0.5", "203.0.113.1:80")
    assert policy.judge_look_up("10.1.0.5", "pypi.org") is policy.judge_look_up("10.1.0.5", "pypi.org")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fwx.impl.verdictmemory.MOST_REMEMBERED", 10)
    policy = make()
    for number in range(100):
        assert not ask(policy, "203.0.113.9", f"203.0.113.{number}:80").allowed
        assert not policy.judge_look_up("203.0.113.9", f"203.0.113.{number}").allowed
        assert len(policy._memory) <= 10
