"""Network rules: which networks may talk at all, asked before every other rule, and what they mean for a connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.admission import admit
from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.departure import Departure
from fwx.impl.domainset import DomainSet
from fwx.impl.logrecord import Action
from fwx.impl.networkrelation import network_relation
from fwx.impl.networkrules import NetworkRule, NetworkRules
from fwx.impl.networks import ComputerSet, LocalAddresses, Network, Networks
from fwx.impl.policy import Policy, Rule, Verdict
from fwx.impl.urlset import Url
from fwx.impl.webrequest import WebRequest
from fwx.interfaces import SocketAddress
from fwx.interfaces.enums import (
    FwxNetworkRelation,
    fwx_nrt_NAT,
    fwx_nrt_NoRelation,
    fwx_nrt_ReverseNAT,
    fwx_nrt_Route,
    fwx_nrt_SameNetwork,
)
from fwx.interfaces.hresult import FWX_E_NETWORK_RULES_DENIED, FWX_E_POLICY_RULES_DENIED, S_OK
from tests.impl.datagrampeers import DatagramPeer
from tests.impl.door import CLIENT, Door
from tests.impl.test_datagramconnection import Client

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

INSIDE, NEIGHBOUR, SERVER, LAB, WORLD, SELF = (
    "10.1.0.5",
    "10.1.9.9",
    "10.2.0.5",
    "10.3.0.1",
    "198.51.100.7",
    "127.0.0.1",
)
OUT = NetworkRule("out", ("internal",), ("external",), "nat")
SERVERS = NetworkRule("servers", ("internal", "external"), ("servers",), "route")
EVERYTHING = Rule("all", "allow", ("any",), ("any", "localhost"), ("any", "localhost"), filters=("monitor",))


def policy_of(*network_rules: NetworkRule, rules: tuple[Rule, ...] = (EVERYTHING,)) -> Policy:
    networks = (Network("internal", ("10.1.0.0/16",)), Network("servers", ("10.2.0.0/24",)))
    computers = (ComputerSet("some", ("10.1.0.5", "198.51.100.7", "10.2.0.5")),)
    return Policy(
        Networks(networks, LocalAddresses(reader=lambda path: "", clock=lambda: 0.0), computers),
        (DomainSet("updates", ("www.example",)),),
        (),
        rules,
        network_rules=network_rules,
    )


def ask(policy: Policy, source: str, destination: str, resolved: str | None = None, **more: Any) -> Verdict:
    return policy.judge(source, 40000, SocketAddress(destination, 80), resolved=resolved, **more)


@pytest.mark.parametrize(
    ("rules", "source", "destination", "relation"),
    [
        ((OUT,), INSIDE, WORLD, fwx_nrt_NAT),
        ((OUT,), WORLD, INSIDE, fwx_nrt_ReverseNAT),
        ((OUT,), INSIDE, SERVER, fwx_nrt_NoRelation),
        ((OUT,), SERVER, WORLD, fwx_nrt_NoRelation),
        ((OUT, SERVERS), INSIDE, SERVER, fwx_nrt_Route),
        ((OUT, SERVERS), SERVER, WORLD, fwx_nrt_Route),
        # one network, whatever is written; a set of computers is none
        ((OUT,), INSIDE, NEIGHBOUR, fwx_nrt_SameNetwork),
        ((OUT,), WORLD, LAB, fwx_nrt_SameNetwork),
        ((SERVERS,), INSIDE, WORLD, fwx_nrt_NoRelation),
        # the firewall itself needs no rule
        ((OUT,), SERVER, SELF, fwx_nrt_Route),
        ((OUT,), SELF, SERVER, fwx_nrt_Route),
        ((OUT,), SELF, "::1", fwx_nrt_SameNetwork),
        # the first one decides, any is everything but the firewall
        ((NetworkRule("all", ("any",), ("any",), "route"), OUT), INSIDE, WORLD, fwx_nrt_Route),
        ((OUT, NetworkRule("all", ("any",), ("any",), "route")), INSIDE, WORLD, fwx_nrt_NAT),
        ((NetworkRule("all", ("any",), ("any",), "nat"),), SERVER, INSIDE, fwx_nrt_NAT),
    ],
)
def test_relations(rules: tuple[NetworkRule, ...], source: str, destination: str, relation: FwxNetworkRelation) -> None:
    """B7.1, B7.6: the relation that GetNetworkRelation tells is the one by which connections are judged."""
    policy = policy_of(*rules)
    assert network_relation(policy, source, destination, keeps_client_addresses=True) is relation
    verdict = ask(policy, source, destination)
    assert verdict.allowed is (relation is not fwx_nrt_NoRelation)
    assert verdict.translates is (relation in (fwx_nrt_NAT, fwx_nrt_ReverseNAT))


def test_without_network_rules_everything_is_related() -> None:
    policy = policy_of()
    for source in (INSIDE, SERVER, WORLD, SELF):
        for destination in (INSIDE, SERVER, WORLD, SELF):
            verdict = ask(policy, source, destination)
            assert (verdict.hresult, verdict.translates) == (S_OK, False)


@pytest.mark.parametrize("transport", ["TCP", "UDP"])
def test_they_come_before_every_other_rule(transport: str) -> None:
    """B7.2, B7.4: with a result of their own, no rule and no shadow; also where the rules would deny it, too."""
    shadow = Rule("shadow", "deny", ("any",), ("any",), ("any",), shadow=True)
    for rules in ((shadow, EVERYTHING), (), (Rule("no", "deny", ("any",), ("any",), ("any",)),)):
        policy = policy_of(OUT, rules=rules)
        verdict = ask(policy, INSIDE, SERVER, transport=transport)
        assert (verdict.allowed, verdict.hresult) == (False, FWX_E_NETWORK_RULES_DENIED)
        assert (verdict.rule, verdict.shadows, verdict.log, verdict.needs_user) == ("", (), True, False)
        assert verdict.reason.startswith("no network rule relates internal and servers: denied ")
        explained = policy.explain(INSIDE, 40000, SocketAddress(SERVER, 80), transport)
        assert (explained.verdict, explained.steps, explained.asks_networks) == (verdict, (), True)
    related = ask(policy_of(OUT, rules=()), INSIDE, WORLD, transport=transport)
    assert related.hresult == FWX_E_POLICY_RULES_DENIED


def test_a_name_has_to_be_resolved_first() -> None:
    """What nobody has resolved is in no network that is known; each of its addresses is judged."""
    policy = policy_of(OUT, rules=(Rule("by name", "allow", ("any",), ("internal",), ("updates",), upstream="u"),))
    name = ask(policy, INSIDE, "www.example")
    assert (name.allowed, name.needs_resolution, name.filters, name.upstream) == (False, True, (), "")
    assert ask(policy, INSIDE, "www.example", WORLD).allowed
    assert ask(policy, INSIDE, "www.example", SERVER).hresult == FWX_E_NETWORK_RULES_DENIED
    assert not ask(policy, INSIDE, "evil.example").needs_resolution
    # What is related with everything needs no address.
    every = policy_of(NetworkRule("all", ("internal",), ("any",), "route"), rules=policy.rules)
    assert ask(every, INSIDE, "www.example").allowed
    assert ask(every, SERVER, "www.example", INSIDE).hresult != FWX_E_NETWORK_RULES_DENIED


def test_forwarded_http_is_free_of_them() -> None:
    """B7.3: but not what a filter asks about."""
    policy = policy_of(OUT)
    url = Url(SERVER, 80, "/")
    for _ in range(2):
        assert ask(policy, INSIDE, SERVER, web=WebRequest(url)).allowed
        assert not ask(policy, INSIDE, SERVER, web=WebRequest(url, is_forwarded=False)).allowed
        assert not ask(policy, INSIDE, SERVER).allowed
    assert not ask(policy, INSIDE, WORLD, web=WebRequest(url)).translates


def test_look_ups_are_free_of_them() -> None:
    """A name is in no network."""
    assert policy_of(OUT).judge_look_up(INSIDE, SERVER).allowed


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ((OUT, OUT), "network rule 'out': the name is taken"),
        ((NetworkRule("r", ("lan",), ("external",), "nat"),), "source names 'lan', which is not defined"),
        ((NetworkRule("r", ("internal",), ("some",), "nat"),), "destination names 'some', which is not defined"),
        ((NetworkRule("r", ("internal",), ("localhost",), "nat"),), "which is related with every network"),
        ((NetworkRule("r", ("internal",), (), "nat"),), "destination is empty"),
        ((NetworkRule("r", ("internal",), ("external",), "none"),), "expected 'route' or 'nat'"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_network_rule(rules: tuple[NetworkRule, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy_of(*rules)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fwx.impl.networkrules._MOST_FOUND", 4)
    rules = NetworkRules([OUT], frozenset({"internal", "external", "any", "localhost"}))
    for number in range(20):
        assert rules.between(("internal", "any", f"set {number}"), ("external", "any")) is not None
        assert len(rules._found) <= 4


@pytest.fixture
def door(rig: Rig) -> Iterator[Door]:
    door = Door(rig)
    yield door
    door.gateway.close()
    door.listener.close()


def loopback(relation: Any, *, related: bool = True) -> Policy:
    """A policy for clients and servers of one machine: what loopback is not is named by no rule, or by one."""
    # An address of the firewall is related with everything, so the client has to come from elsewhere.
    networks = (Network("clients", ("203.0.113.0/24",)), Network("servers", ("192.0.2.0/24",)))
    local = LocalAddresses(reader=lambda path: "", clock=lambda: 0.0)
    rules = (NetworkRule("r", ("clients",), ("servers" if related else "external",), relation),)
    return Policy(Networks(networks, local), (), (), (EVERYTHING,), network_rules=rules)


STRANGER, THERE = SocketAddress("203.0.113.5", 40000), SocketAddress("192.0.2.80", 80)


def test_refused_at_the_gateway(rig: Rig, door: Door) -> None:
    """B7.2, B7.4: the client and the log hear why; no filter does."""
    rig.host()
    rig.engine.policy = loopback("nat", related=False)
    door.open(THERE, client_address=STRANGER)
    assert door.refusal() == FWX_E_NETWORK_RULES_DENIED
    (record,) = rig.records
    assert (record.action, record.resultcode, record.rule) == (Action.Denied, FWX_E_NETWORK_RULES_DENIED, "")
    assert "no network rule relates clients and servers" in record.reason
    assert [entry for entry in rig.journal if entry[1] == "event"] == []


@pytest.mark.parametrize(("relation", "own"), [("nat", True), ("route", False)])
def test_where_a_connection_leaves_from(rig: Rig, door: Door, relation: str, own: bool) -> None:
    """B7.2: by NAT from the firewall's own address, by a route from the client's, where the listener can do that."""
    rig.engine.policy = loopback(relation)
    left: list[Departure] = []

    class Route:
        takes_names, no_datagrams = False, ""

        def dial(self, engine: Any, departure: Departure, *_rest: Any) -> Any:
            left.append(departure)
            return lambda: None

    rig.engine.routes = {"": Route()}  # type: ignore[dict-item]
    clients = Departure(rig.network)
    door.open(THERE, client_address=STRANGER, departure=clients)
    assert left == [door.gateway.departure if own else clients]


@pytest.mark.parametrize(("relation", "own"), [("nat", True), ("route", False)])
def test_where_datagrams_leave_from(rig: Rig, relation: str, own: bool) -> None:
    """B7.2: what was given to speak for the client is not used where a network rule translates."""
    server = DatagramPeer(rig)
    local = LocalAddresses(reader=lambda path: "", clock=lambda: 0.0)
    policy = Policy(Networks((), local), (), (), (EVERYTHING,), network_rules=(OUT_OF_ANY,))
    judged = policy.judge(CLIENT.host, 1, server.address, "UDP")
    verdict = Verdict(**{**{each: getattr(judged, each) for each in judged.__slots__}, "translates": relation == "nat"})
    rig.engine.policy = type("Judge", (), {"judge": lambda *_, **__: verdict})()  # type: ignore[assignment]
    client = Client()
    connection = FWXDatagramConnection(rig.session(), CLIENT, client, lambda _: ())  # type: ignore[arg-type]
    foreign = rig.network.datagram(server.address.family)
    foreign.bind(("127.0.0.7", 0))
    connection.leave_by(foreign, server.address.family)
    connection.start()
    client.say(b"hello", server.address)
    rig.settle()
    assert (server.expect(b"hello").host == "127.0.0.7") is not own
    server.send(b"welcome")
    rig.settle()
    assert client.got == [(b"welcome", server.address)]
    connection.end()
    rig.settle()
    assert list(connection._servers) == []


OUT_OF_ANY = NetworkRule("any", ("any",), ("any",), "nat")


def test_addresses_of_one_name_that_leave_from_elsewhere(rig: Rig) -> None:
    """B7.2: it leaves from one place: of the addresses those count that are related as the first allowed one."""
    rig.engine.policy = policy_of(OUT, SERVERS)
    source, name = SocketAddress(INSIDE, 1), SocketAddress("www.example", 80)
    found = [SocketAddress(each, 80) for each in (WORLD, SERVER, "198.51.100.8")]
    verdict, addresses = admit(rig.engine, source, name, found)
    assert (verdict.translates, addresses) == (True, [found[0], found[2]])
    verdict, addresses = admit(rig.engine, source, name, found[1:])
    assert (verdict.translates, addresses) == (False, [found[1]])
