"""The run queue: in order, never inside the posting call, from any thread, and never starving the loop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.runqueue import TURN, TURN_SECONDS, RunQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.impl.conftest import Rig


class Loop:
    """Collects what the queue schedules."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.threadsafe: list[Callable[[], None]] = []
        self.now = 0.0

    def work(self) -> None:
        """Take half of the time that a turn has."""
        self.now += TURN_SECONDS / 2

    def queue(self) -> RunQueue:
        return RunQueue(self.soon.append, self.threadsafe.append, lambda: self.now)


def test_in_order_and_scheduled_once() -> None:
    """DESIGN 5: a post schedules one drain, whatever the number of posts."""
    loop, done = Loop(), list[int]()
    queue = loop.queue()
    for number in range(5):
        queue.post(done.append, number)
    assert (done, len(queue), len(loop.soon)) == ([], 5, 1)
    loop.soon.pop()()
    assert (done, len(queue), len(loop.soon)) == ([0, 1, 2, 3, 4], 0, 0)
    queue.post(done.append, 5)
    assert len(loop.soon) == 1


def test_what_an_item_posts_runs_behind_it_in_the_same_turn() -> None:
    """DESIGN 5: no loop round trip each."""
    loop, done = Loop(), list[str]()
    queue = loop.queue()

    def first() -> None:
        queue.post(done.append, "second")
        done.append("first")

    queue.post(first)
    loop.soon.pop()()
    assert done == ["first", "second"]
    assert loop.soon == []


def test_a_drain_inside_a_drain_does_nothing() -> None:
    loop, done = Loop(), list[str]()
    queue = loop.queue()

    def first() -> None:
        queue.drain()
        done.append("first")

    queue.post(first)
    queue.post(done.append, "second")
    queue.drain()
    assert done == ["first", "second"]


def test_a_turn_is_bounded() -> None:
    """DESIGN 5: items that feed each other for ever leave the loop its turns."""
    loop, count = Loop(), [0]
    queue = loop.queue()

    def again() -> None:
        count[0] += 1
        queue.post(again)

    queue.post(again)
    loop.soon.pop()()
    assert (count[0], len(loop.soon)) == (TURN, 1)
    loop.soon.pop()()
    assert (count[0], len(loop.soon)) == (2 * TURN, 1)


def test_a_turn_ends_when_its_time_is_over() -> None:
    """Items that move megabytes have the loop wait no longer than others do: timers and signals have their turn."""
    loop, done = Loop(), list[int]()
    queue = loop.queue()
    for number in range(100):
        queue.post(loop.work)
        queue.post(done.append, number)
    loop.soon.pop()()
    assert 0 < len(done) < 10
    assert len(loop.soon) == 1
    while loop.soon:
        loop.soon.pop()()
    assert done == list(range(100))


def test_what_is_deferred_shares_the_time_of_a_turn() -> None:
    """Thousands of connections that have more to read do not all go on in one round of the loop."""
    loop, done = Loop(), list[int]()
    queue = loop.queue()

    def again(number: int) -> None:
        loop.work()
        done.append(number)
        if number < 100:
            queue.defer(again, number + 100)

    for number in range(100):
        queue.defer(again, number)
    assert len(loop.soon) == 1
    loop.soon.pop()()
    assert 0 < len(done) < 10
    while loop.soon:
        assert len(loop.soon) == 1
        loop.soon.pop()()
    assert done == list(range(200))


def test_what_is_deferred_meanwhile_has_the_next_round(caplog: pytest.LogCaptureFixture) -> None:
    loop, done = Loop(), list[str]()
    queue = loop.queue()
    queue.defer(queue.defer, done.append, "later")
    queue.defer(lambda: 1 / 0)
    queue.defer(done.append, "now")
    loop.soon.pop()()
    assert done == ["now"]
    assert "ZeroDivisionError" in caplog.text
    loop.soon.pop()()
    assert (done, loop.soon) == (["now", "later"], [])


def test_a_fault_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    loop, done = Loop(), list[int]()
    queue = loop.queue()
    queue.post(done.append, 1)
    queue.post(lambda: 1 / 0)
    queue.post(done.append, 2)
    loop.soon.pop()()
    assert done == [1, 2]
    assert "ZeroDivisionError" in caplog.text


def test_an_empty_drain() -> None:
    loop = Loop()
    loop.queue().drain()
    assert loop.soon == []


def test_another_thread_wakes_the_loop() -> None:
    """DESIGN 5: any thread may post."""
    loop, done = Loop(), list[Any]()
    queue = loop.queue()
    for call in (queue.post, queue.call):
        other = threading.Thread(target=call, args=(done.append, 1))
        other.start()
        other.join()
    assert (done, len(loop.soon), len(loop.threadsafe)) == ([], 0, 1)
    loop.threadsafe.pop()()
    assert done == [1, 1]


def test_call_runs_at_once_on_the_loops_thread() -> None:
    loop, done = Loop(), list[int]()
    loop.queue().call(done.append, 1)
    assert (done, loop.soon) == ([1], [])


def test_many_threads_and_a_real_loop(rig: Rig) -> None:
    """DESIGN 5: every post runs exactly once, in its thread's order, on the loop's thread."""
    done: list[tuple[int, int]] = []
    threads: set[int] = set()

    def note(thread: int, number: int) -> None:
        threads.add(threading.get_ident())
        done.append((thread, number))

    def post(thread: int) -> None:
        for number in range(1000):
            rig.queue.post(note, thread, number)

    others = [threading.Thread(target=post, args=(thread,)) for thread in range(4)]
    for other in others:
        other.start()
    rig.until(lambda: len(done) == 4000)
    for other in others:
        other.join()
    rig.settle()
    assert threads == {threading.get_ident()}
    for thread in range(4):
        assert [number for which, number in done if which == thread] == list(range(1000))
