"""Whom a UDP socket exchanges datagrams with, and what the log says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fwx.impl import datagramflows
from fwx.impl.datagramflows import DatagramFlows
from fwx.impl.socketrecord import SocketLog
from fwx.interfaces import SocketAddress

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

LOCAL = SocketAddress("127.0.0.1", 53)


def stranger(number: int) -> SocketAddress:
    return SocketAddress(f"192.0.2.{number}", 1000)


@pytest.fixture
def flows(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> DatagramFlows:
    monkeypatch.setattr(datagramflows, "MOST_FLOWS", 1)
    monkeypatch.setattr(datagramflows, "MOST_RECORDS", 3)
    return DatagramFlows(SocketLog(rig.engine, None), rig.clock, lambda: LOCAL, rig.journal.append)


def come(flows: DatagramFlows, *numbers: int) -> None:
    for number in numbers:
        flows.open(stranger(number), None, "DNS")
        flows.received(stranger(number), 10)


def test_a_flood_of_strangers_does_not_flood_the_log(rig: Rig, flows: DatagramFlows) -> None:
    """The first ones of a second have records of their own, the others share one, of which nothing is missing."""
    come(flows, *range(1, 10))
    assert [record.destination_ip for record in rig.records] == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    rig.clock.advance(1.0)
    come(flows, 10)
    crowd, after = rig.records[3:]
    assert (crowd.destination_ip, crowd.source_ip, crowd.source_port, crowd.bytes_received) == ("", "127.0.0.1", 53, 50)
    assert crowd.reason == "5 more addresses, too many for records of their own"
    assert after.destination_ip == "192.0.2.9"
    assert rig.journal == [stranger(number) for number in range(1, 10)]


def test_the_end_leaves_nothing_out(rig: Rig, flows: DatagramFlows) -> None:
    come(flows, *range(1, 8))
    flows.end_all()
    assert sum(record.bytes_received for record in rig.records) == 70
    assert [record.reason.partition(" ")[0] for record in rig.records] == ["", "", "", "", "3"]
    flows.end_all()
    assert len(rig.records) == 5


def test_what_a_policy_allowed_has_its_record(rig: Rig, flows: DatagramFlows) -> None:
    """A session's datagrams go where its filter sends them: no stranger makes them, and each is accounted for."""
    verdict = rig.engine.policy.judge("127.0.0.1", 1, stranger(1), "UDP")
    for number in range(1, 10):
        flows.open(stranger(number), verdict, "")
    assert len(rig.records) == 8
