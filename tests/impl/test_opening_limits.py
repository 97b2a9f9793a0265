"""Connections of one client address that are being opened: bounded, and given back however that ends (B11's table)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fwx.impl.logrecord import Action
from fwx.impl.policy import Rule
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import FWX_E_IS_BUSY
from fwx.limits import AddressLimits, Figures, LimitTable
from tests.impl.door import CLIENT, Door

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.impl.conftest import Rig


class Doors:
    """One gateway with a limit, and clients at its door."""

    def __init__(self, rig: Rig, half_open: int) -> None:
        self._rig = rig
        self.limits = AddressLimits(LimitTable(Figures(half_open=half_open)), rig.clock)
        self.made: list[Door] = []

    def client(self) -> Door:
        door = Door(self._rig)
        door.gateway.opening_limits = self.limits
        self.made.append(door)
        return door

    @property
    def opening(self) -> int:
        return next((usage.half_open for address, usage in self.limits.all() if address == CLIENT.host), 0)


@pytest.fixture
def doors(rig: Rig) -> Iterator[Doors]:
    made = Doors(rig, 1)
    yield made
    for door in made.made:
        door.gateway.close()
        door.listener.close()
    assert made.opening == 0


def test_one_too_many_is_refused(rig: Rig, doors: Doors) -> None:
    """While the first one's name is looked up; when it is connected there is room."""
    first, second, third = doors.client(), doors.client(), doors.client()
    first.open(SocketAddress("www.example", first.address.port))
    assert doors.opening == 1
    second.open()
    rig.until(lambda: rig.records)
    assert second.refusals == [FWX_E_IS_BUSY]
    (record,) = rig.records
    assert (record.action, record.resultcode) == (Action.Denied, int(FWX_E_IS_BUSY))
    assert record.reason == "127.0.0.1 has 1 connections that are being opened (tcp_half_open_per_address)"
    assert doors.opening == 1
    rig.names.asked.pop()([first.address], 0)
    first.accept()
    assert doors.opening == 0
    third.open()
    third.accept()


def test_a_refusal_that_is_not_logged(rig: Rig, doors: Doors) -> None:
    """B11.6: where that is switched off."""
    doors.limits.logs = False
    first, second = doors.client(), doors.client()
    first.open(SocketAddress("www.example", first.address.port))
    second.open()
    rig.settle()
    assert (second.refusals, rig.records) == ([FWX_E_IS_BUSY], [])


@pytest.mark.parametrize("how", ["denied", "not there", "client gone", "killed"])
def test_what_is_not_opened_makes_room(rig: Rig, doors: Doors, closed: SocketAddress, how: str) -> None:
    door = doors.client()
    if how == "denied":
        rig.engine.policy = rig.policy(Rule("nothing", "deny", ("any",), ("any", "localhost"), ("any", "localhost")))
        door.open()
    elif how == "not there":
        door.open(closed)
    else:
        door.open(SocketAddress("www.example", 80))
        assert doors.opening == 1
        if how == "killed":
            rig.sessions.connections()[0].end()
        else:
            door.client.reset()
    rig.until(lambda: door.refusals)
    assert doors.opening == 0
