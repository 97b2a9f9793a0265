"""What ``fwx limits`` says of client addresses and rules."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from fwx.control import ControlError
from fwx.impl.gateway import Gateway
from fwx.impl.policy import Rule
from fwx.impl.rulequotas import RuleLimits
from fwx.impl.user import FWXAuthenticatedUser
from fwx.interfaces import SocketAddress, fwxSourceWSP
from fwx.limits import AddressLimits, Figures, LimitTable
from fwx.limits_control import LimitsControl, descriptors_open

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

ANYWHERE = ("any", "localhost")


class Lines:
    """What would be sent."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, Any]] = []

    async def send(self, line: Mapping[str, Any]) -> None:
        self.sent.append(json.loads(json.dumps(line)))


class Session:
    """One over UDP."""

    def end(self, result: int, reason: str) -> None:
        raise AssertionError((result, reason))


def asked(rig: Rig, limits: AddressLimits, **request: Any) -> list[Mapping[str, Any]]:
    lines: Any = Lines()
    control = LimitsControl(rig.engine, limits, lambda: (12, 1024))
    rig.loop.run_until_complete(control.limits(request, lines))
    assert lines.sent[0] == {"done": {}}
    return list(lines.sent[1:])


@pytest.fixture
def limits(rig: Rig) -> AddressLimits:
    Gateway(rig.engine, rig.sessions, lambda _: None)
    return AddressLimits(LimitTable(Figures(2, 10, 3, 4, 5)), rig.clock)


def test_addresses(rig: Rig, limits: AddressLimits) -> None:
    """What is open is told as long as it is, what has begun for a minute."""
    for _ in range(3):
        limits.admit("192.0.2.1")
    limits.begin_opening("192.0.2.1")
    limits.request("192.0.2.2")
    limits.begin_udp("192.0.2.3", Session())
    service, *addresses = [*asked(rig, limits)]
    assert service["service"]["refused"] == {"addresses": 1, "rules": 0}
    assert service["service"]["descriptors"] == {"is": 12, "most": 1024}
    told = {line["address"]["address"]: line["address"] for line in addresses}
    assert list(told) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    first = told["192.0.2.1"]
    assert (first["tcp"], first["tcp_a_minute"], first["half_open"]) == (
        {"is": 2, "most": 2},
        {"is": 2, "most": 10},
        {"is": 1, "most": 3},
    )
    assert told["192.0.2.2"]["http_a_minute"] == {"is": 1, "most": 4}
    assert told["192.0.2.3"]["udp"] == {"is": 1, "most": 5}
    (line,) = asked(rig, limits, **{"from": "192.0.2.2/32"})[1:]
    assert line["address"]["address"] == "192.0.2.2"
    rig.clock.advance(60)
    later = {line["address"]["address"]: line["address"] for line in asked(rig, limits)[1:]}
    assert list(later) == ["192.0.2.1", "192.0.2.3"]
    assert later["192.0.2.1"]["tcp_a_minute"] == {"is": 0, "most": 10}


def test_rules(rig: Rig, limits: AddressLimits) -> None:
    """Those that have limits, with their users, and those that let in datagrams in this second."""
    limited = RuleLimits(3, 7)
    rig.engine.policy = rig.policy(
        Rule("limited", "allow", ("any",), ANYWHERE, ANYWHERE, limits=limited),
        Rule("free", "allow", ("any",), ANYWHERE, ANYWHERE),
        Rule("datagrams", "allow", ("any",), ANYWHERE, ANYWHERE),
    )
    quotas = rig.engine.quotas
    alice = rig.sessions.of(SocketAddress("192.0.2.1", 0), fwxSourceWSP, FWXAuthenticatedUser("alice"))
    for session in (alice, alice, rig.session("192.0.2.9")):
        quotas.take("limited", limited, session, "TCP")
    quotas.take("datagrams", None, alice, "UDP")
    told = [line["rule"] for line in asked(rig, limits) if "rule" in line]
    assert told == [
        {
            "rule": "limited",
            "users": [{"user": "alice", "is": 2, "most": 3}, {"user": "192.0.2.9", "is": 1, "most": 3}],
            "new_per_second_per_address": 7,
            "udp": {"is": 0, "most": 1000},
        },
        {"rule": "datagrams", "users": [], "new_per_second_per_address": None, "udp": {"is": 1, "most": 1000}},
    ]
    rig.clock.advance(1)
    assert [line["rule"]["rule"] for line in asked(rig, limits) if "rule" in line] == ["limited"]


def test_an_address_that_is_none(rig: Rig, limits: AddressLimits) -> None:
    with pytest.raises(ControlError, match=r"'from' is 'x'; expected an address, or a network"):
        asked(rig, limits, **{"from": "x"})


def test_descriptors() -> None:
    have, most = descriptors_open()
    assert 2 < have < most
