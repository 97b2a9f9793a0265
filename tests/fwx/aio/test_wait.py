"""Wait: what every kind of asyncio task waits on, and wakes from inside the completion."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import pytest

from fwx.aio.wait import Wait
from tests.fwx.aio.conftest import World

# The task in C, and the one in Python, which other interpreters and debuggers use.
TASKS = pytest.mark.parametrize("kind", [asyncio.Task, asyncio.tasks._PyTask], ids=["c", "python"])  # type: ignore[attr-defined]
Kind = Callable[..., Any]
MARK: contextvars.ContextVar[str] = contextvars.ContextVar("MARK", default="outside")


async def on(wait: Wait[Any]) -> Any:
    return await wait


@TASKS
def test_a_task_goes_on_at_once_when_its_wait_is_settled(world: World, kind: Kind) -> None:
    wait: Wait[str] = Wait(world.loop)
    task = kind(on(wait), loop=world.loop)
    world.settle()
    outcome: list[bool] = []

    def settle() -> None:
        wait.succeed("value")
        outcome.append(task.done())

    world.loop.call_soon(settle)
    world.settle()
    assert outcome == [True]
    assert task.result() == "value"


@TASKS
def test_an_error_is_raised_in_the_task(world: World, kind: Kind) -> None:
    wait: Wait[str] = Wait(world.loop)
    task = kind(on(wait), loop=world.loop)
    world.settle()
    world.loop.call_soon(wait.fail, LookupError("no"))
    world.settle()
    with pytest.raises(LookupError, match="no"):
        task.result()


@TASKS
@pytest.mark.parametrize("settle", [lambda wait: wait.succeed(1), lambda wait: wait.fail(LookupError())])
def test_what_is_settled_before_does_not_wait(world: World, kind: Kind, settle: Callable[[Wait[int]], None]) -> None:
    wait: Wait[int] = Wait(world.loop)
    settle(wait)
    task = kind(on(wait), loop=world.loop)
    world.settle()
    assert task.done()
    assert task.exception() is None or isinstance(task.exception(), LookupError)


@TASKS
def test_a_cancelled_task_leaves_its_wait(world: World, kind: Kind) -> None:
    wait: Wait[int] = Wait(world.loop)
    task = kind(on(wait), loop=world.loop)
    world.settle()
    task.cancel("why")
    assert not wait.pending
    assert not task.done(), "it runs when it is its turn, not inside the call that cancels it"
    world.settle()
    assert task.cancelled()
    with pytest.raises(asyncio.CancelledError, match="why"):
        task.result()
    wait.succeed(1)
    wait.fail(LookupError())


@TASKS
def test_a_task_that_was_cancelled_while_it_ran_does_not_wait(world: World, kind: Kind) -> None:
    wait: Wait[int] = Wait(world.loop)

    async def cancels_itself() -> None:
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        await wait

    task = kind(cancels_itself(), loop=world.loop)
    world.settle()
    assert task.cancelled()
    assert not wait.pending


@TASKS
def test_a_wait_is_settled_once(world: World, kind: Kind) -> None:
    wait: Wait[int] = Wait(world.loop)
    task = kind(on(wait), loop=world.loop)
    world.settle()
    for settle in (lambda: wait.succeed(1), lambda: wait.succeed(2), lambda: wait.fail(LookupError())):
        world.loop.call_soon(settle)
    world.settle()
    assert task.result() == 1
    assert not wait.cancel()


@TASKS
def test_the_task_keeps_its_context(world: World, kind: Kind) -> None:
    wait: Wait[None] = Wait(world.loop)

    async def look() -> str:
        MARK.set("inside")
        await wait
        return MARK.get()

    task = kind(look(), loop=world.loop)
    world.settle()
    world.loop.call_soon(wait.succeed, None)
    world.settle()
    assert task.result() == "inside"
    assert MARK.get() == "outside"


@TASKS
def test_a_wait_that_is_settled_within_another_task(world: World, kind: Kind) -> None:
    """The service drains its run queue in a task of its own when it stops; each task is the current one in its turn."""
    wait: Wait[None] = Wait(world.loop)
    seen: list[Any] = []

    async def woken() -> None:
        await wait
        seen.append(asyncio.current_task())
        async with asyncio.timeout(10):
            await asyncio.sleep(0)

    task = kind(woken(), loop=world.loop)
    world.settle()

    async def drains() -> None:
        wait.succeed(None)
        assert seen == [task]
        assert asyncio.current_task() is not task
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    outer = world.start(drains())
    assert outer.done()
    outer.result()
    assert seen == [task, outer]
    assert task.done()
