"""The tasks of a service: held, reported, cancelled at the end; and sdk.spawn, by which filters start them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest

from fwx import sdk
from fwx.aio.tasks import Tasks
from fwx.testing import MemoryFirewall
from tests.fwx.aio.conftest import World


async def waits(ended: list[str] | None = None) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        if ended is not None:
            ended.append("cancelled")


async def fails() -> None:
    await asyncio.sleep(0)
    raise ValueError("boom")


def test_a_task_is_held_until_it_is_done(world: World) -> None:
    """Nobody else holds it, nor what it waits on."""
    woken: list[asyncio.Event] = []

    async def wait() -> None:
        woken.append(asyncio.Event())
        await woken[0].wait()

    sdk.spawn(world.firewall, wait(), name="collector")
    world.settle()
    gc.collect()
    assert len(world.tasks) == 1
    woken[0].set()
    world.settle()
    assert len(world.tasks) == 0


@pytest.mark.parametrize("owner", ["firewall", "connection", "session"])
def test_spawn_takes_whatever_leads_to_the_registry(world: World, owner: str) -> None:
    ran: list[str] = []

    async def run() -> None:
        ran.append(asyncio.current_task().get_name())  # type: ignore[union-attr]

    opened = world.open()
    owners = {
        "firewall": world.firewall,
        "connection": opened.connection,
        "session": opened.connection.GetSession(),
    }
    task = sdk.spawn(owners[owner], run(), name="collector")
    assert isinstance(task, asyncio.Task)
    world.settle()
    assert ran == ["collector"]


def test_a_fault_is_reported_under_the_filters_name(world: World) -> None:
    """And ends the task alone."""
    sdk.spawn(world.firewall, fails(), name="collector")
    world.settle()
    (fault,) = world.faults
    assert fault == (
        "fails: ValueError: boom" if world.kind == "memory" else "filter 'collector' failed in fails: ValueError: boom"
    )
    assert len(world.tasks) == 0


def test_a_task_may_be_cancelled_before_it_starts(world: World) -> None:
    task = sdk.spawn(world.firewall, waits(), name="collector")
    task.cancel()
    world.settle()
    assert task.cancelled()
    assert world.faults == []
    gc.collect()


def test_cancelling_is_no_fault(world: World) -> None:
    ended: list[str] = []
    task = sdk.spawn(world.firewall, waits(ended), name="collector")
    world.settle()
    task.cancel()
    world.settle()
    assert (ended, world.faults) == (["cancelled"], [])


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_settling_waits_for_the_cancelled_alone(kind: str, world_of: Any) -> None:
    world, ended = world_of(kind), []

    async def slowly() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            ended.append("cancelled")

    cancelled, other = (sdk.spawn(world.firewall, slowly(), name="collector") for _ in range(2))
    world.settle()
    cancelled.cancel()
    world.run(world.tasks.settle(5))
    assert (ended, cancelled.done(), other.done()) == (["cancelled"], True, False)
    world.run(world.tasks.close(5))
    assert (ended, len(world.tasks)) == (["cancelled"] * 2, 0)
    world.run(world.tasks.settle(5))


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_a_task_that_does_not_end_is_left_behind(kind: str, world_of: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is named, and nobody waits for it any more: asyncio.run would wait for ever."""
    world = world_of(kind)
    stubborn = True

    async def stays() -> None:
        while stubborn:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    task = sdk.spawn(world.firewall, stays(), name="stubborn")
    world.settle()
    world.run(world.tasks.close(0.01))
    assert "a task of filter 'stubborn' does not end when it is cancelled" in caplog.text
    assert task not in asyncio.all_tasks(world.loop)
    stubborn = False
    task.cancel()
    world.settle()
    assert task.done()


@pytest.fixture
def world_of() -> Iterator[Any]:
    from tests.fwx.aio.conftest import RealWorld

    made: list[RealWorld] = []

    def make(kind: str) -> RealWorld:
        made.append(RealWorld(kind))
        return made[-1]

    yield make
    for world in made:
        world.close()


def test_a_firewall_in_memory_cancels_what_is_left() -> None:
    ended: list[str] = []
    firewall = MemoryFirewall()
    sdk.spawn(firewall.firewall, waits(ended), name="collector")
    firewall.loop.run()
    firewall.close()
    assert ended == ["cancelled"]


def test_a_filter_that_listens_in_a_task() -> None:
    """The whole of it without a network: bound and started in FilterInit, cancelled in FilterShutdown."""

    @sdk.implementer(sdk.IFWXFilter)
    class Greeter(sdk.Unknown):
        def FilterInit(self, pIFWXFirewall: Any) -> Any:
            self.listener = sdk.AsyncSocket(pIFWXFirewall.CreateNetworkSocket(6))
            self.listener.socket.Bind(sdk.SocketAddress("127.0.0.1", 7), None, None)
            self.listener.socket.Listen(5)
            self.task = sdk.spawn(pIFWXFirewall, self.greet(), name="greeter")
            return sdk.FwxFilterHookEvents(0)

        async def greet(self) -> None:
            async with self.listener:
                while True:
                    accepted = await self.listener.accept()
                    async with accepted.socket as client:
                        await client.send(f"hello {accepted.remote.host}\n".encode())

        def AttachToSession(self, piSession: Any, pFilterHookEvents: Any) -> Any:
            raise AssertionError("it asked for no event")

        def FilterShutdown(self) -> None:
            self.task.cancel()

    firewall = MemoryFirewall()
    assert firewall.start(Greeter).state == "ready"
    from fwx.testing import MemoryPeer

    for _ in range(2):
        transport = firewall.network.stream(sdk.SocketAddress("127.0.0.1").family)
        transport.start_connect(("127.0.0.1", 7))
        client = MemoryPeer(transport)
        assert client.receive() == b"hello 127.0.0.1\n"
        assert client.ended
        client.close()
    firewall.close()
    assert firewall.faults == ()
    assert not firewall.network.open_transports


def test_tasks_need_a_loop_and_a_reporter_alone() -> None:
    """Used by the service and by the memory firewall alike."""
    firewall = MemoryFirewall()
    assert isinstance(firewall.engine.tasks, Tasks)
    firewall.close()
