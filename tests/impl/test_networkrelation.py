"""GetNetworkRelation: what the configuration says of two addresses, without network rules."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fwx.config import load
from fwx.impl.domainset import DomainSet
from fwx.impl.networkrelation import network_relation
from fwx.impl.networks import LocalAddresses, Network, Networks
from fwx.impl.policy import Policy, Rule
from fwx.impl.raw import Ref, raw
from fwx.interfaces import (
    COMError,
    FwxNetworkRelation,
    IFWXFirewall3,
    SocketAddress,
    fwx_nrt_NAT,
    fwx_nrt_NoRelation,
    fwx_nrt_ReverseNAT,
    fwx_nrt_Route,
    fwx_nrt_SameNetwork,
)
from fwx.interfaces.hresult import E_INVALIDARG, E_POINTER, S_OK
from fwx.service import Service

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

SWAPPED = {fwx_nrt_NAT: fwx_nrt_ReverseNAT, fwx_nrt_ReverseNAT: fwx_nrt_NAT}
INTERNAL, OTHER_INTERNAL, SERVER, LAB, WORLD = "10.1.0.1", "fd00:1::9", "10.2.0.5", "10.3.0.1", "198.51.100.7"
BROWSE = Rule("browse", "allow", ("HTTP",), ("internal",), ("external",), users=("alice",))
PUBLISH = Rule("www", "allow", ("any",), ("external", "internal"), ("servers",))
UPDATES = Rule("updates", "allow", ("any",), ("lab",), ("updates",))
BLOCK = Rule("no", "deny", ("any",), ("lab",), ("any",))


def policy_of(*rules: Rule) -> Policy:
    networks = (
        Network("internal", ("10.1.0.0/16", "fd00:1::/64")),
        Network("servers", ("10.2.0.0/24",)),
        Network("lab", ("10.3.0.0/24",)),
    )
    local = LocalAddresses(reader=lambda path: "")
    return Policy(Networks(networks, local), (DomainSet("updates", ("pypi.org",)),), (), rules)


@pytest.mark.parametrize(
    ("rules", "source", "destination", "relation"),
    [
        ((), INTERNAL, "10.1.9.9", fwx_nrt_SameNetwork),
        ((), INTERNAL, OTHER_INTERNAL, fwx_nrt_SameNetwork),
        ((), WORLD, "203.0.113.1", fwx_nrt_SameNetwork),
        ((), "127.0.0.1", "::1", fwx_nrt_SameNetwork),
        ((), INTERNAL, "127.0.0.1", fwx_nrt_Route),
        ((), INTERNAL, WORLD, fwx_nrt_NoRelation),
        ((BROWSE,), INTERNAL, WORLD, fwx_nrt_NAT),
        ((replace(BROWSE, enabled=False),), INTERNAL, WORLD, fwx_nrt_NoRelation),
        ((BROWSE,), INTERNAL, f"::ffff:{WORLD}", fwx_nrt_NAT),
        ((BROWSE,), INTERNAL, SERVER, fwx_nrt_NoRelation),
        ((PUBLISH,), INTERNAL, SERVER, fwx_nrt_NAT),
        ((PUBLISH,), WORLD, SERVER, fwx_nrt_ReverseNAT),
        ((PUBLISH,), INTERNAL, WORLD, fwx_nrt_NoRelation),
        ((BROWSE, PUBLISH), SERVER, LAB, fwx_nrt_NoRelation),
        ((UPDATES,), LAB, WORLD, fwx_nrt_NAT),
        ((UPDATES,), LAB, SERVER, fwx_nrt_ReverseNAT),
        ((BLOCK,), LAB, WORLD, fwx_nrt_NoRelation),
    ],
)
def test_relations(rules: tuple[Rule, ...], source: str, destination: str, relation: FwxNetworkRelation) -> None:
    """B7.6: and the other way round."""
    policy = policy_of(*rules)
    assert network_relation(policy, source, destination, keeps_client_addresses=False) is relation
    swapped = network_relation(policy, destination, source, keeps_client_addresses=False)
    assert swapped is SWAPPED.get(relation, relation)


@pytest.mark.parametrize(("upstream", "relation"), [("", fwx_nrt_Route), ("parent", fwx_nrt_NAT)])
def test_where_clients_keep_their_addresses(upstream: str, relation: FwxNetworkRelation) -> None:
    """B7.6: a route; an upstream connects with an address of its own."""
    policy = policy_of(Rule("browse", "allow", ("any",), ("internal",), ("external",), upstream=upstream))
    assert network_relation(policy, INTERNAL, WORLD, keeps_client_addresses=True) is relation
    assert network_relation(policy, INTERNAL, SERVER, keeps_client_addresses=True) is fwx_nrt_NoRelation


def test_a_filter_asks(rig: Rig) -> None:
    """IFWXFirewall3: the ports do not matter; from any thread, by both faces."""
    rig.engine.policy = policy_of(BROWSE)
    firewall = rig.firewall.QueryInterface(IFWXFirewall3)
    here, there = SocketAddress(INTERNAL, 1), SocketAddress(WORLD, 2)
    assert firewall.GetNetworkRelation(here, None, there) is fwx_nrt_NAT
    cell = Ref()
    assert raw(firewall, IFWXFirewall3).GetNetworkRelation(here, 16, there, 16, cell) == S_OK
    assert cell.value == fwx_nrt_NAT
    rig.engine.keeps_client_addresses = True
    answers: list[Any] = []
    asker = threading.Thread(target=lambda: answers.append(firewall.GetNetworkRelation(there, 16, here, 16)))
    asker.start()
    rig.until(lambda: answers)
    asker.join(5)
    assert answers == [fwx_nrt_Route]


@pytest.mark.parametrize(
    ("source", "length", "code"),
    [
        (None, None, E_POINTER),
        ("10.0.0.1", None, E_INVALIDARG),
        (SocketAddress("host.example", 0), None, E_INVALIDARG),
        (SocketAddress(WORLD, 0), 17, E_INVALIDARG),
    ],
)
def test_no_address(rig: Rig, source: Any, length: Any, code: int) -> None:
    good = SocketAddress(WORLD, 0)
    for arguments in ((source, length, good, None), (good, None, source, length)):
        with pytest.raises(COMError) as failure:
            rig.firewall.GetNetworkRelation(*arguments)
        assert failure.value.hresult == code


ROUTED = """
[[network]]
name = "internal"
ranges = ["10.1.0.0/16"]

[[listener]]
name = "in"
kind = "transparent"
bind = "0.0.0.0:15001"
keep_client_address = true

[[rule]]
name = "out"
action = "allow"
protocols = ["any"]
from = ["internal"]
to = ["external"]
"""
PROXY = '[[listener]]\nname = "proxy"\nkind = "proxy"\nbind = "127.0.0.1:0"\n'


@pytest.mark.parametrize(("more", "relation"), [("", fwx_nrt_Route), (PROXY, fwx_nrt_NAT)])
def test_a_configuration(tmp_path: Path, more: str, relation: FwxNetworkRelation) -> None:
    """B7.6: what its listeners say."""
    path = tmp_path / "fwx.toml"
    path.write_text(ROUTED + more)

    async def ask() -> FwxNetworkRelation:
        service = Service(load(path))
        try:
            told = service.firewall.GetNetworkRelation(SocketAddress(INTERNAL, 0), None, SocketAddress(WORLD, 0), None)
        finally:
            await service.stop(0)
        return told

    assert asyncio.run(ask()) is relation
