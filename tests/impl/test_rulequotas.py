"""What a rule lets through of each user and address, and in a second: counted, refused, told, given back."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.gateway import Gateway
from fwx.impl.logrecord import Action
from fwx.impl.policy import Rule
from fwx.impl.rulequotas import Place, Refused, RuleLimits, RuleQuotas
from fwx.impl.user import LDAP_NAMESPACE, FWXAuthenticatedUser
from fwx.interfaces import SocketAddress, fwxSourceWSP
from fwx.interfaces.hresult import FWX_E_IS_BUSY, FWX_E_RULE_QUOTA_EXCEEDED_DROPPED
from tests.impl.door import Door
from tests.impl.test_datagramconnection import Association

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

ANYWHERE = ("any", "localhost")
ONE_A_USER = RuleLimits(connections_per_user=1)
TWO_A_SECOND = RuleLimits(new_per_second_per_address=2)


def limited(rig: Rig, limits: RuleLimits | None = None) -> list[tuple[str, str]]:
    """Have everything allowed by a rule with *limits*; return what is told of refusals."""
    rig.engine.policy = rig.policy(Rule("all", "allow", ("any",), ANYWHERE, ANYWHERE, limits=limits))
    told: list[tuple[str, str]] = []
    rig.engine.quotas.exceeded = lambda rule, words: told.append((rule, words))
    return told


def session(rig: Rig, host: str = "192.0.2.1", user: FWXAuthenticatedUser | None = None) -> Any:
    return rig.sessions.of(SocketAddress(host, 0), fwxSourceWSP, user)


@pytest.fixture
def servers() -> Iterator[list[SocketAddress]]:
    """Addresses of UDP servers that never answer."""
    with ExitStack() as stack:
        made = [stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(4)]
        for sock in made:
            sock.bind(("127.0.0.1", 0))
        yield [SocketAddress.from_sockaddr(sock.getsockname()) for sock in made]


def taken(quotas: RuleQuotas, *arguments: Any) -> bool:
    return not isinstance(quotas.take(*arguments), Refused)


def test_open_connections_of_a_user(rig: Rig) -> None:
    """From whatever address; another user, one of another directory, and nobody have their own."""
    quotas = rig.engine.quotas
    alice = FWXAuthenticatedUser("alice")
    first = quotas.take("rule", ONE_A_USER, session(rig, user=alice), "TCP")
    assert isinstance(first, Place)
    refused = quotas.take("rule", ONE_A_USER, session(rig, "192.0.2.2", alice), "TCP")
    words = "rule 'rule' has let in 1 connections of user alice (connections_per_user), and 192.0.2.2 wants one more"
    assert refused == Refused(FWX_E_IS_BUSY, words, is_first=True)
    others = (FWXAuthenticatedUser("bob"), FWXAuthenticatedUser("alice", namespace=LDAP_NAMESPACE), None)
    assert all(taken(quotas, "rule", ONE_A_USER, session(rig, user=user), "TCP") for user in others)
    assert taken(quotas, "other rule", ONE_A_USER, session(rig, user=alice), "TCP")
    assert not taken(quotas, "rule", ONE_A_USER, session(rig), "TCP"), "192.0.2.1 as nobody"
    assert taken(quotas, "rule", ONE_A_USER, session(rig, "192.0.2.2"), "TCP")
    first.give_back()
    assert ("fwx", "alice") not in quotas.open_of("rule")
    assert taken(quotas, "rule", ONE_A_USER, session(rig, "192.0.2.2", alice), "TCP")


def test_new_connections_in_a_second(rig: Rig) -> None:
    """What was refused is not counted; another address has its own; the next second begins anew."""
    quotas, told = rig.engine.quotas, limited(rig)
    one, two = session(rig), session(rig, "192.0.2.2")
    assert [taken(quotas, "rule", TWO_A_SECOND, one, "TCP") for _ in range(3)] == [True, True, False]
    assert taken(quotas, "rule", TWO_A_SECOND, two, "UDP")
    words = "rule 'rule' has let in 2 new connections in a second (new_per_second_per_address), and 192.0.2.1 wants"
    (rule, said) = told.pop()
    assert (rule, said[: len(words)]) == ("rule", words)
    rig.clock.advance(0.9)
    assert not taken(quotas, "rule", TWO_A_SECOND, one, "TCP")
    rig.clock.advance(0.1)
    assert taken(quotas, "rule", TWO_A_SECOND, one, "TCP")


def test_datagram_sessions_of_a_rule_in_a_second(rig: Rig) -> None:
    """B11.4: TCP is not counted, the counter restarts; B11.6, B11.7: the event names the address."""
    quotas, told = rig.engine.quotas, limited(rig)
    quotas.non_tcp_a_second = 2
    hosts = [session(rig, f"192.0.2.{number}") for number in range(1, 4)]
    assert [taken(quotas, "rule", None, host, "UDP") for host in hosts] == [True, True, False]
    assert told == [
        (
            "rule",
            "rule 'rule' has let in 2 UDP sessions in a second (udp_new_per_second_per_rule), "
            "and 192.0.2.3 wants one more",
        )
    ]
    assert taken(quotas, "rule", None, hosts[2], "TCP")
    assert taken(quotas, "other rule", None, hosts[2], "UDP")
    again = quotas.take("rule", None, hosts[2], "UDP")
    assert isinstance(again, Refused)
    assert (again.result, again.is_first) == (FWX_E_RULE_QUOTA_EXCEEDED_DROPPED, False)
    rig.clock.advance(1)
    kinds = ("TCP", "TCP", "UDP", "UDP", "UDP", "TCP")
    assert [taken(quotas, "rule", None, hosts[2], kind) for kind in kinds] == [True, True, True, True, False, True]


def test_a_connection_too_many_is_refused_and_makes_no_difference(rig: Rig) -> None:
    """The client hears it, the log too; when the first one has ended there is room."""
    told = limited(rig, ONE_A_USER)
    first, second, third = Door(rig), Door(rig), Door(rig)
    first.open()
    first.accept()
    second.open()
    rig.until(lambda: rig.records)
    assert (second.refusals, second.bound) == ([FWX_E_IS_BUSY], [])
    (record,) = rig.records
    assert (record.action, record.resultcode, record.rule) == (Action.Denied, int(FWX_E_IS_BUSY), "all")
    assert record.reason == told[0][1]
    assert rig.engine.quotas.open_of("all") == {"127.0.0.1": 1}
    (connection,) = rig.sessions.connections()
    connection.end()
    rig.settle()
    assert rig.engine.quotas.open_of("all") == {}
    third.open()
    third.accept()
    for door in (first, second, third):
        door.listener.close()
        door.gateway.close()


def test_a_connection_that_fails_gives_its_place_back(rig: Rig, closed: SocketAddress) -> None:
    limited(rig, ONE_A_USER)
    door = Door(rig)
    door.open(closed)
    rig.until(lambda: rig.records)
    assert door.refusals
    rig.settle()
    assert rig.engine.quotas.open_of("all") == {}
    door.listener.close()


def test_destinations_count(rig: Rig, servers: list[SocketAddress]) -> None:
    """One too many is dropped and logged; one that is forgotten makes room, and the end gives back the rest."""
    Gateway(rig.engine, rig.sessions, lambda _: None)
    limited(rig, RuleLimits(connections_per_user=2))
    association = Association(rig)
    for server in servers[:3]:
        association.say(b"x", server)
    assert rig.engine.quotas.open_of("all") == {"127.0.0.1": 2}
    (record,) = rig.records
    assert (record.action, record.destination_port, record.protocol) == (Action.Denied, servers[2].port, "UDP")
    association.connection.end_destination(association.connection.destinations[0], 0, "")
    association.say(b"x", servers[2])
    assert [each.target for each in association.connection.destinations] == servers[1:3]
    association.end()
    rig.settle()
    assert rig.engine.quotas.open_of("all") == {}


def test_too_many_destinations_in_a_second(rig: Rig, servers: list[SocketAddress]) -> None:
    """B11.4: what is one too many is dropped, and logged once a second; what is there goes on."""
    Gateway(rig.engine, rig.sessions, lambda _: None)
    told = limited(rig)
    rig.engine.quotas.non_tcp_a_second = 1
    association = Association(rig)
    for server in (servers[0], servers[1], servers[1], servers[0]):
        association.say(b"x", server)
    assert [(each.target, each.sent) for each in association.connection.destinations] == [(servers[0], 2)]
    assert len(told) == 2
    (record,) = rig.records
    assert (record.action, record.resultcode) == (Action.Denied, int(FWX_E_RULE_QUOTA_EXCEEDED_DROPPED))
    rig.clock.advance(1)
    association.say(b"x", servers[1])
    assert len(association.connection.destinations) == 2
    association.end()
