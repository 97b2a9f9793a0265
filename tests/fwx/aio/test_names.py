"""Look-ups in a coroutine: they wait where the COM call asks the filter to call again."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from fwx import sdk
from fwx.impl.engine import Answer
from tests.fwx.aio.conftest import RealWorld, World

ADDRESS = ip_address("192.0.2.7")
FOUND = sdk.Hostent("server.example", (), (ADDRESS,))


def answer(world: World, found: Answer) -> None:
    """End the look-up that is under way; in memory it ends by itself."""
    if isinstance(world, RealWorld):
        world.rig.names.answer(found)
    world.settle()


def know(world: World) -> None:
    """Have a name and its address that have to be looked up."""
    if not isinstance(world, RealWorld):
        names = world.memory.names  # type: ignore[attr-defined]
        names.table["server.example"] = [str(ADDRESS)]
        names.reverse[str(ADDRESS)] = "server.example"
        names.slow |= {"server.example", str(ADDRESS), "nobody.example"}


@pytest.fixture(params=["firewall", "session"])
def owner(request: pytest.FixtureRequest, world: World) -> Any:
    know(world)
    return world.firewall if request.param == "firewall" else world.open().connection.GetSession()


def test_a_name_is_waited_for(world: World, owner: Any) -> None:
    """The COM call raises WSATRY_AGAIN meanwhile."""
    task = world.loop.create_task(sdk.get_host_by_name(owner, "server.example"))
    world.settle()
    answer(world, Answer(FOUND))
    assert task.result() == FOUND
    assert owner.GetHostByName("server.example") == FOUND


def test_an_address_is_waited_for(world: World, owner: Any) -> None:
    task = world.loop.create_task(sdk.get_host_by_addr(owner, ADDRESS))
    world.settle()
    answer(world, Answer(FOUND))
    assert task.result() == FOUND


def test_a_number_is_answered_without_asking(world: World, owner: Any) -> None:
    assert world.run(sdk.get_host_by_name(owner, "192.0.2.7")).addresses == (ADDRESS,)


def test_a_name_that_nobody_has(world: World, owner: Any) -> None:
    task = world.loop.create_task(sdk.get_host_by_name(owner, "nobody.example"))
    world.settle()
    answer(world, Answer(None, sdk.WSAHOST_NOT_FOUND))
    with pytest.raises(sdk.COMError) as raised:
        task.result()
    assert raised.value.hresult == sdk.HRESULT_FROM_WIN32(sdk.WSAHOST_NOT_FOUND)


@pytest.mark.parametrize(("name", "code"), [(None, sdk.E_POINTER), (7, sdk.E_INVALIDARG)])
def test_a_name_that_is_none(world: World, owner: Any, name: Any, code: int) -> None:
    with pytest.raises(sdk.COMError) as raised:
        world.run(sdk.get_host_by_name(owner, name))
    assert raised.value.hresult == code


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_cancelling_cancels_the_look_up(kind: str) -> None:
    world = RealWorld(kind)
    task = world.start(sdk.get_host_by_name(world.firewall, "server.example"))
    assert world.firewall.names.pending == 1
    task.cancel()
    world.settle()
    assert task.cancelled()
    assert world.firewall.names.pending == 0
    assert world.rig.names.cancelled == 1
    world.close()


def test_the_end_of_the_owner_ends_the_look_up() -> None:
    world = RealWorld("asyncio")
    task = world.start(sdk.get_host_by_name(world.rig.session(), "server.example"))
    world.rig.sessions.close()
    world.settle()
    with pytest.raises(sdk.COMError) as raised:
        task.result()
    assert raised.value.hresult == sdk.FWX_E_TERMINATING
    world.close()
