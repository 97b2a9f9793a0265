"""How the networks of two addresses are related (B7.6): by network rules, or by what there is without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwx.impl.networks import LOCALHOST, share_network
from fwx.interfaces import (
    FwxNetworkRelation,
    fwx_nrt_NAT,
    fwx_nrt_NoRelation,
    fwx_nrt_ReverseNAT,
    fwx_nrt_Route,
    fwx_nrt_SameNetwork,
)

if TYPE_CHECKING:
    from fwx.impl.policy import Policy, Rule


def network_relation(
    policy: Policy, source: str, destination: str, *, keeps_client_addresses: bool
) -> FwxNetworkRelation:
    """Return the relation of the literal addresses *source* and *destination*; swapped, NAT is reverse NAT.

    Where there are network rules, they say it. Without them, networks are related where a rule allows anything from one
    to the other, in either direction. The firewall connects with an address of its own, so that is NAT, from the
    network that the configuration names first; ``external`` is the last. With *keeps_client_addresses* servers see the
    clients, unless an upstream connects, so that is a route. So is what begins or ends at the firewall itself.

    :raises ValueError: one of them is no address.
    """
    here, there = policy.networks_of(source), policy.networks_of(destination)
    if policy.network_rules:
        related = policy.network_rules.between(here, there)
        return fwx_nrt_NoRelation if related is None else related.relation
    if share_network(here, there):
        return fwx_nrt_SameNetwork
    if LOCALHOST in here or LOCALHOST in there:
        return fwx_nrt_Route
    order = [network.name for network in policy.configured_networks]
    here, there = policy.names_of(source), policy.names_of(destination)
    known = policy.address_names
    joining = [rule for rule in policy.rules if _joins(rule, here, there, known) or _joins(rule, there, here, known)]
    if not joining:
        return fwx_nrt_NoRelation
    if keeps_client_addresses and not any(rule.upstream for rule in joining):
        return fwx_nrt_Route
    return fwx_nrt_NAT if _rank(here, order) < _rank(there, order) else fwx_nrt_ReverseNAT


def _joins(rule: Rule, source: tuple[str, ...], destination: tuple[str, ...], known: frozenset[str]) -> bool:
    """Tell whether *rule* allows something that way; what a name or a URL leads to may be anywhere."""
    if rule.action != "allow" or not rule.enabled or not frozenset(rule.source).intersection(source):
        return False
    return any(name in destination or name not in known for name in rule.destination)


def _rank(names: tuple[str, ...], order: list[str]) -> int:
    return min((order.index(name) for name in names if name in order), default=len(order))
