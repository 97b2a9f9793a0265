"""asyncio in memory: the parts of asyncio that filters use do in it what they do in an event loop of asyncio."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from fwx.testing import MemoryLoop

Runner = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def memory() -> MemoryLoop:
    return MemoryLoop()


@pytest.fixture(params=["memory", "asyncio"])
def run(request: pytest.FixtureRequest, memory: MemoryLoop) -> Iterator[Runner]:
    """Run a coroutine to its end: in the memory loop, and in asyncio's own, which says what is right."""
    if request.param == "asyncio":
        with asyncio.Runner() as runner:
            yield runner.run
        return

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        task = memory.asyncio.create_task(coroutine)
        memory.advance(60)
        assert task.done()
        return task.result()

    yield run


def test_sleeping_and_time(run: Runner) -> None:
    async def sleep() -> list[str]:
        order: list[str] = []

        async def note(seconds: float, name: str) -> None:
            await asyncio.sleep(seconds)
            order.append(name)

        before = asyncio.get_running_loop().time()
        await asyncio.gather(note(0.02, "late"), note(0.01, "soon"), note(0, "now"))
        assert asyncio.get_running_loop().time() - before >= 0.02
        return order

    assert run(sleep()) == ["now", "soon", "late"]


def test_timeouts(run: Runner) -> None:
    async def wait() -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
        return await asyncio.wait_for(asyncio.sleep(0, "value"), 10)

    assert run(wait()) == "value"


def test_queues_locks_and_groups(run: Runner) -> None:
    async def work() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        lock, done = asyncio.Lock(), []

        async def produce() -> None:
            for number in range(5):
                await queue.put(number)

        async def consume() -> None:
            for _ in range(5):
                number = await queue.get()
                async with lock:
                    done.append(number)

        async with asyncio.TaskGroup() as group:
            group.create_task(produce(), name="producer")
            group.create_task(consume())
        return done

    assert run(work()) == list(range(5))


def test_a_group_fails_as_a_whole(run: Runner) -> None:
    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
            group.create_task(asyncio.sleep(0.01)).add_done_callback(lambda _: None)
            raise LookupError

    with pytest.raises(ExceptionGroup):
        run(work())


def test_cancelled_calls_do_not_run(run: Runner, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> list[str]:
        loop = asyncio.get_running_loop()
        ran: list[str] = []
        loop.call_soon(ran.append, "cancelled").cancel()
        loop.call_later(0.001, ran.append, "cancelled").cancel()
        loop.call_soon(ran.append, "soon")
        loop.call_soon_threadsafe(ran.append, "from a thread")
        loop.call_at(loop.time() + 0.002, ran.append, "later")
        await asyncio.sleep(0.01)
        return ran

    assert run(work()) == ["soon", "from a thread", "later"]
    assert not caplog.records


def test_what_nobody_caught_is_logged(run: Runner, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        task = asyncio.ensure_future(_fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert task.done()

    with caplog.at_level(logging.ERROR):
        run(work())
        gc.collect()
    errors = [record.exc_info[0] for record in caplog.records if record.exc_info]
    assert errors == [ZeroDivisionError, LookupError]


async def _fail() -> None:
    raise LookupError


def test_time_stands_still_until_it_is_told_to_pass(memory: MemoryLoop) -> None:
    task = memory.asyncio.create_task(asyncio.sleep(3600, "an hour"))
    memory.run()
    memory.advance(3599)
    assert not task.done()
    memory.advance(1)
    assert task.result() == "an hour"


def test_every_run_is_the_same() -> None:
    def order() -> list[int]:
        memory, order = MemoryLoop(), []

        async def work(number: int) -> None:
            for turn in range(number % 4):
                await asyncio.sleep(number % 3)
                order.append(number * 10 + turn)

        for number in range(12):
            memory.asyncio.create_task(work(number))
        memory.advance(100)
        return order

    assert order() == order()


def test_it_is_the_running_loop_of_what_it_runs_and_nothing_else(memory: MemoryLoop) -> None:
    seen: list[Any] = []
    memory.queue.post(lambda: seen.append(asyncio.get_running_loop()))
    memory.call_later(1, lambda: seen.append(asyncio.get_running_loop()))
    assert not memory.asyncio.is_running()
    memory.advance(1)
    assert seen == [memory.asyncio] * 2
    assert not memory.asyncio.is_closed()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_within_another_event_loop(memory: MemoryLoop) -> None:
    """A test that is a coroutine itself: its own loop waits while the memory loop runs."""

    async def inner() -> Any:
        await asyncio.sleep(1)
        return asyncio.current_task()

    async def outer() -> None:
        task = memory.asyncio.create_task(inner())
        this = asyncio.current_task()
        memory.advance(1)
        assert task.result() is task
        assert asyncio.current_task() is this
        assert asyncio.get_running_loop() is not memory.asyncio
        await asyncio.sleep(0)

    asyncio.run(outer())


def test_what_it_cannot_do_it_refuses(memory: MemoryLoop) -> None:
    async def work() -> None:
        await asyncio.to_thread(int)

    task = memory.asyncio.create_task(work())
    memory.run()
    with pytest.raises(NotImplementedError):
        task.result()
