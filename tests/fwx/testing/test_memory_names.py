"""The names of a firewall in memory: what a filter's test writes down is what the filter finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from fwx import sdk
from fwx.impl.logrecord import Action
from fwx.testing import MemoryFirewall

FOUR, SIX = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")
WEB = sdk.Hostent("www.example", (), (SIX, FOUR))


@pytest.fixture
def memory() -> Iterator[MemoryFirewall]:
    memory = MemoryFirewall()
    memory.names.table["www.example"] = ["2001:db8::1", "192.0.2.1"]
    memory.names.table["empty.example"] = []
    memory.names.reverse["192.0.2.1"] = "www.example"
    yield memory
    memory.close()


@pytest.fixture(params=["firewall", "session"])
def owner(request: pytest.FixtureRequest, memory: MemoryFirewall) -> Any:
    return memory.firewall if request.param == "firewall" else memory.session()


def code_of(call: Callable[..., object], *args: object) -> str:
    with pytest.raises(sdk.COMError) as failure:
        call(*args)
    return failure.value.hresult.name.removeprefix("HRESULT_FROM_WIN32(").removesuffix(")")


def test_answers_at_once(owner: Any) -> None:
    assert owner.GetHostByName("www.example") == WEB
    assert owner.GetHostByAddr(FOUR.packed, None, 2) == sdk.Hostent("www.example", (), (FOUR,))
    assert code_of(owner.GetHostByName, "nobody.example") == "WSAHOST_NOT_FOUND"
    assert code_of(owner.GetHostByName, "empty.example") == "WSANO_DATA"
    assert code_of(owner.GetHostByAddr, SIX.packed, None, 23) == "WSAHOST_NOT_FOUND"


def test_slow_names(memory: MemoryFirewall, owner: Any) -> None:
    memory.names.slow.update({"www.example", "192.0.2.1"})
    for _ in range(2):
        assert code_of(owner.GetHostByName, "www.example") == "WSATRY_AGAIN"
        assert code_of(owner.GetHostByAddr, FOUR.packed, None, 2) == "WSATRY_AGAIN"
    memory.loop.run()
    assert owner.GetHostByName("www.example") == WEB
    assert owner.GetHostByAddr(FOUR.packed, None, 2).name == "www.example"


@pytest.mark.parametrize("slow", [False, True])
def test_who_waits_is_told_when_the_loop_runs(memory: MemoryFirewall, owner: Any, slow: bool) -> None:
    if slow:
        memory.names.slow.add("www.example")
    told: list[Any] = []
    names: Any = sdk.IHostNames(owner)
    names.look_up("www.example", lambda *args: told.append(args))
    names.look_up("www.example", lambda *args: told.append("cancelled"))()
    names.look_up_address(FOUR, lambda *args: told.append(args))
    assert told == []
    memory.loop.run()
    assert len(told) == 2
    assert set(told) == {(sdk.Hostent("www.example", (), (FOUR,)), sdk.S_OK), (WEB, sdk.S_OK)}


def test_the_log(memory: MemoryFirewall) -> None:
    memory.session().GetHostByName("www.example")
    memory.firewall.GetHostByName("www.example")
    assert [(each.action, each.destination_name) for each in memory.records] == [(Action.GHBN, "www.example")]


def test_a_firewall_that_stops_tells_who_waits(memory: MemoryFirewall, owner: Any) -> None:
    memory.names.slow.add("www.example")
    told: list[Any] = []
    names: Any = sdk.IHostNames(owner)
    names.look_up("www.example", lambda *args: told.append(args))
    memory.sessions.close()
    memory.firewall.close_sockets()
    memory.loop.run()
    assert told == [(None, sdk.FWX_E_TERMINATING)]
