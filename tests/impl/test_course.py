"""Courses of the engine: coroutines that wait for threads and for nothing else."""

from __future__ import annotations

import pytest

from fwx.impl.course import Pending, proceed, take_step


async def twice(first: Pending[int], second: Pending[int]) -> int:
    return await first + await second


async def failing(waits: Pending[None] | None = None) -> None:
    if waits is not None:
        await waits
    raise LookupError("it is not there")


def test_what_need_not_wait_has_ended_at_once() -> None:
    first, second = Pending[int](), Pending[int]()
    first.settle(1)
    second.settle(2)
    course = proceed(twice(first, second))
    assert course.has_ended
    assert course.result() == 3


def test_it_goes_on_when_what_it_waits_for_is_settled() -> None:
    first, second, heard = Pending[int](), Pending[int](), list[str]()
    course = proceed(twice(first, second))
    course.when_ended(lambda: heard.append("ended"))
    second.settle(2)
    assert not course.has_ended
    first.settle(1)
    assert course.result() == 3
    assert heard == ["ended"]
    course.when_ended(lambda: heard.append("late"))
    assert heard == ["ended", "late"]


def test_several_wait_for_the_same_in_their_order() -> None:
    pending, order = Pending[str](), list[tuple[int, str]]()

    async def wait(number: int) -> None:
        order.append((number, await pending))

    for number in range(3):
        proceed(wait(number))
    pending.settle("now")
    pending.settle("again")
    assert order == [(0, "now"), (1, "now"), (2, "now")]
    assert pending.outcome == "now"


def test_a_failure_before_it_waits_is_raised() -> None:
    with pytest.raises(LookupError):
        proceed(failing())


@pytest.mark.parametrize("waits", [False, True])
def test_who_starts_it_may_hear_of_a_failure(waits: bool) -> None:
    pending, heard = Pending[None](), list[Exception]()
    course = proceed(failing(pending if waits else None), heard.append)
    pending.settle(None)
    assert [str(error) for error in heard] == ["it is not there"]
    with pytest.raises(LookupError):
        course.result()


def test_a_later_failure_that_nobody_asked_for_reaches_who_settled() -> None:
    """There the run queue writes it down: it is not swallowed."""
    pending = Pending[None]()
    course = proceed(failing(pending))
    with pytest.raises(LookupError):
        pending.settle(None)
    assert course.has_ended


def test_a_step_tells_of_each_failure_once() -> None:
    """What raises in the call itself, at once in its coroutine, and later; a step that waits for nothing is done."""
    waits, failures, done = Pending[None](), list[Exception](), list[int]()
    take_step(failures.append, done.append, 1)
    assert done == [1]
    take_step(failures.append, done.remove, 2)
    take_step(failures.append, failing)
    take_step(failures.append, failing, waits)
    assert [type(error) for error in failures] == [ValueError, LookupError]
    waits.settle(None)
    assert [type(error) for error in failures] == [ValueError, LookupError, LookupError]
