"""Strands: the calls of a blocking filter, one at a time, in order, on threads of the pool (DESIGN 5)."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from fwx.impl.course import proceed
from fwx.impl.strand import _TURN, ANSWER_SECONDS, Overdue, Strand
from fwx.interfaces import E_FAIL, E_UNEXPECTED, FWX_E_ALREADY_IN_BLOCKING_OP, FWX_E_TERMINATING, S_OK, COMError
from fwx.interfaces import FWX_E_BAD_CONTEXT as BAD_CONTEXT
from tests.impl.conftest import Rig

PATIENCE = 10.0


class Target:
    """Notes each call, with its thread; *work* is called with what the call brings."""

    def __init__(self, work: Callable[[Any], Any] = lambda tag: None) -> None:
        self.calls: list[object] = []
        self.threads: set[str] = set()
        self.inside = 0
        self.most_inside = 0
        self._work = work

    def Call(self, tag: object) -> Any:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.threads.add(threading.current_thread().name)
        try:
            self.calls.append(tag)
            return self._work(tag)
        finally:
            self.inside -= 1


class Held:
    """Work that waits until :attr:`go_on`."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __call__(self, _tag: object) -> None:
        self.reached.set()
        assert self.go_on.wait(PATIENCE)


@pytest.fixture
def strand(rig: Rig) -> Strand:
    return rig.engine.strands.strand(rig.host())


def outcome(rig: Rig, strand: Strand, target: Target, tag: object = 0) -> Any:
    async def ask() -> Any:
        return await strand.ask(target, "Call", tag)

    return rig.through(ask())


def test_calls_come_in_order_and_one_at_a_time(rig: Rig, strand: Strand) -> None:
    """B5.10: many more than one turn of a thread, posted from the loop and from a thread."""
    target, failures = Target(), list[BaseException]()
    count = 3 * _TURN + 1
    for number in range(count):
        strand.tell(target, "Call", (number,), failures.append)
    rig.until(lambda: len(target.calls) == count)
    assert target.calls == list(range(count))
    assert target.most_inside == 1
    assert all(name.startswith("fwx-worker") for name in target.threads)
    rig.until(lambda: not len(strand))
    assert not failures


def test_strands_go_on_beside_each_other(rig: Rig, strand: Strand) -> None:
    """One that hangs holds up its own calls alone."""
    held, other = Held(), Target()
    hanging = Target(held)
    strand.tell(hanging, "Call", (0,), pytest.fail)
    strand.tell(hanging, "Call", (1,), pytest.fail)
    assert held.reached.wait(PATIENCE)
    assert outcome(rig, rig.engine.strands.strand(strand.host), other) == (None, None)
    assert hanging.calls == [0]
    held.go_on.set()
    rig.until(lambda: hanging.calls == [0, 1])


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (lambda tag: 1 / 0, "division by zero"),
        (lambda tag: E_FAIL, "returned by Call"),
        (lambda tag: (_ for _ in ()).throw(SystemExit(3)), "3"),
    ],
)
def test_a_fault_is_told_on_the_loop_thread(rig: Rig, strand: Strand, work: Any, words: str) -> None:
    heard: list[tuple[int, str]] = []
    strand.tell(Target(work), "Call", (0,), lambda error: heard.append((threading.get_ident(), str(error))))
    rig.until(lambda: heard)
    assert heard[0][0] == threading.get_ident()
    assert words in heard[0][1]
    _, error = outcome(rig, strand, Target(work))
    assert words in str(error)


def test_the_current_strand_is_known_where_its_calls_run(rig: Rig, strand: Strand) -> None:
    seen: list[object] = []
    outcome(rig, strand, Target(lambda tag: seen.append(rig.engine.strands.current)))
    assert seen == [strand]
    assert rig.engine.strands.current is None


def test_an_operation_that_was_not_ended_is_a_fault(rig: Rig, strand: Strand) -> None:
    """B5.14, B5.15: the next call on the thread is inside none."""

    def work(tag: object) -> int:
        rig.firewall.StartHeavyBlockingOperation()
        with pytest.raises(COMError) as failure:
            rig.firewall.StartHeavyBlockingOperation()
        return 0 if failure.value.hresult == FWX_E_ALREADY_IN_BLOCKING_OP else 1

    _, error = outcome(rig, strand, Target(work))
    assert isinstance(error, COMError)
    assert error.hresult == E_UNEXPECTED
    assert "2 heavy blocking operations" in str(error)
    assert len(rig.engine.blocking) == 0


def test_a_thread_that_has_announced_that_it_blocks_is_replaced(rig: Rig) -> None:
    """B5.14: eight calls that block leave room for the ninth if they say so."""
    strands, held = [rig.engine.strands.strand(rig.host()) for _ in range(8)], [Held() for _ in range(8)]

    def announced(each: Held) -> Callable[[object], None]:
        def work(tag: object) -> None:
            rig.firewall.StartHeavyBlockingOperation()
            each(tag)
            rig.firewall.EndHeavyBlockingOperation()

        return work

    for each, strand in zip(held, strands, strict=True):
        strand.tell(Target(announced(each)), "Call", (0,), pytest.fail)
    assert all(each.reached.wait(PATIENCE) for each in held)
    assert outcome(rig, rig.engine.strands.strand(rig.host()), Target(lambda tag: S_OK)) == (S_OK, None)
    for each in held:
        each.go_on.set()


def test_a_call_that_does_not_return_in_time_has_failed(rig: Rig, strand: Strand) -> None:
    """The words say where it is busy; what it returns then is of no use to anybody."""
    held, asked = Held(), list[Any]()

    async def ask() -> None:
        asked.append(await strand.ask(Target(held), "Call", 0))

    proceed(ask())
    assert held.reached.wait(PATIENCE)
    rig.clock.advance(ANSWER_SECONDS + 1)
    ((_, error),) = asked
    assert isinstance(error, Overdue)
    assert "Call has not returned for 60 s: it is busy with Call, " in str(error)
    held.go_on.set()
    rig.until(lambda: not len(strand))
    assert len(asked) == 1
    assert len(rig.engine.strands) == 0


def test_a_strand_that_hangs_gathers_nothing(rig: Rig, strand: Strand) -> None:
    """What is overdue and has not begun is let go of, with all that it was about; what tells of an end comes late."""
    held, asked, late = Held(), list[Any](), Target()
    late.Detach = lambda: late.calls.append("Detach")  # type: ignore[attr-defined]

    async def ask(target: Any, name: str, *args: object) -> None:
        asked.append(await strand.ask(target, name, *args))

    strand.tell(Target(held), "Call", (0,), pytest.fail)
    assert held.reached.wait(PATIENCE)
    for _ in range(100):
        proceed(ask(late, "Call", 0))
    proceed(ask(late, "Detach"))
    assert len(strand) == 102
    rig.clock.advance(ANSWER_SECONDS + 1)
    assert [type(error) for _, error in asked] == [Overdue] * 101
    assert len(strand) == 2
    held.go_on.set()
    rig.until(lambda: not len(strand))
    assert late.calls == ["Detach"]
    assert len(rig.engine.strands) == 0


def test_what_is_abandoned_is_waited_for_no_more(rig: Rig, strand: Strand, caplog: pytest.LogCaptureFixture) -> None:
    """A stop goes on; the strand that hangs takes nothing more, those of others do."""
    held, asked = Held(), list[Any]()

    async def ask() -> None:
        asked.append(await strand.ask(Target(held), "Call", 0))

    proceed(ask())
    assert held.reached.wait(PATIENCE)
    rig.engine.strands.abandon()
    assert asked[0][1].hresult == FWX_E_TERMINATING
    assert "filter 'filter' has not come back from Call, " in caplog.text
    never = Target()
    assert outcome(rig, strand, never)[1].hresult == FWX_E_TERMINATING
    assert outcome(rig, rig.engine.strands.strand(strand.host), Target()) == (None, None)
    held.go_on.set()
    rig.until(lambda: not len(strand))
    assert not never.calls


def test_calls_fail_when_there_are_no_threads_any_more(rig: Rig, strand: Strand) -> None:
    rig.workers.close()
    _, error = outcome(rig, strand, Target())
    assert error.hresult == FWX_E_TERMINATING
    assert not len(strand)


def test_the_loop_thread_is_no_place_to_block(rig: Rig) -> None:
    """B5.14: it is told how to have it."""
    with pytest.raises(COMError, match="have the filter's class implement it") as failure:
        rig.firewall.StartHeavyBlockingOperation()
    assert failure.value.hresult == BAD_CONTEXT


def test_a_strand_keeps_nothing(rig: Rig, strand: Strand) -> None:
    """What was called, and with what, goes when the call has returned, though the thread lives on."""
    target = Target()
    gone = weakref.ref(target)
    outcome(rig, strand, target)
    del target
    gc.collect()
    assert gone() is None
