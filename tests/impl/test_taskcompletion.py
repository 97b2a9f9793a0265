"""Tasks of filters: on the loop thread, or on a thread of the pool."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from zope.interface import implementer

from fwx import sdk
from fwx.impl import taskcompletion
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    E_FAIL,
    E_INVALIDARG,
    E_POINTER,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    WSAENOBUFS,
    COMError,
    IFWXTaskCompletion,
)
from tests.impl.conftest import Rig


@implementer(IFWXTaskCompletion)
class Task(Unknown):
    """Notes the user data and the thread of each call; *work* is called with the user data."""

    def __init__(self, work: Callable[[Any], Any] = lambda tag: None) -> None:
        self.calls: list[tuple[object, str]] = []
        self._work = work

    def CompleteTask(self, UserData: object) -> Any:
        self.calls.append((UserData, threading.current_thread().name))
        return self._work(UserData)


@implementer(sdk.IBlocking)
class BlockingTask(Task):
    """The same, where it may block."""


def test_a_task_runs_on_the_loop_thread(rig: Rig) -> None:
    """B5.4, B5.5: once for each post, in order, later."""
    task = Task()
    for tag in ("first", "second", "first"):
        rig.firewall.PostTaskCompletion(task, tag)
    assert task.calls == []
    rig.settle()
    here = threading.current_thread().name
    assert task.calls == [("first", here), ("second", here), ("first", here)]
    assert len(rig.workers) == 0


def test_a_task_that_blocks_runs_on_a_thread_of_the_pool(rig: Rig) -> None:
    """B5.4: the loop goes on meanwhile; the task may wait for what the loop does."""
    reached = threading.Event()
    task = BlockingTask(lambda tag: reached.wait(5))
    plain = Task(lambda tag: reached.set())
    rig.firewall.PostTaskCompletion(task, 7)
    rig.firewall.PostTaskCompletion(plain, 8)
    rig.until(lambda: plain.calls and len(rig.workers) == 1 and rig.workers._idle == 1)
    ((tag, name),) = task.calls
    assert (tag, name) == (7, "fwx-worker-0")


def test_any_thread_may_post(rig: Rig) -> None:
    """B5.4: from a thread of the pool too."""
    then = Task()
    rig.firewall.PostTaskCompletion(BlockingTask(lambda tag: rig.firewall.PostTaskCompletion(then, tag)), "on")
    rig.until(lambda: then.calls)
    assert then.calls == [("on", threading.current_thread().name)]


@pytest.mark.parametrize("kind", [Task, BlockingTask])
@pytest.mark.parametrize(
    ("work", "words"),
    [
        (lambda tag: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda tag: E_FAIL, "E_FAIL"),
        (lambda tag: (_ for _ in ()).throw(SystemExit(3)), "SystemExit: 3"),
    ],
)
def test_a_fault_is_reported_and_ends_nothing(rig: Rig, kind: type[Task], work: Any, words: str) -> None:
    """B5.9: what it raises or returns; the next task runs."""
    rig.firewall.PostTaskCompletion(kind(work), 0)
    rig.until(lambda: rig.alerts)
    assert words in rig.alerts[0].message
    assert f"filter '{kind.__name__}' failed in CompleteTask" in rig.alerts[0].message
    after = kind()
    rig.firewall.PostTaskCompletion(after, 1)
    rig.until(lambda: after.calls)


def test_an_operation_that_was_not_ended_is_a_fault(rig: Rig) -> None:
    """B5.14: each start is matched; the thread goes back to the pool as one that does not block."""

    def work(tag: object) -> None:
        rig.firewall.StartHeavyBlockingOperation()
        with pytest.raises(COMError):
            rig.firewall.StartHeavyBlockingOperation()

    rig.firewall.PostTaskCompletion(BlockingTask(work), 0)
    rig.until(lambda: rig.alerts)
    assert "returned with 2 heavy blocking operations that it had not ended" in rig.alerts[0].message
    assert len(rig.engine.blocking) == 0
    assert not rig.workers._blocked


@pytest.mark.parametrize(("wrong", "code"), [(None, E_POINTER), (object(), E_INVALIDARG)])
def test_what_is_no_task(rig: Rig, wrong: Any, code: int) -> None:
    with pytest.raises(COMError) as failure:
        rig.firewall.PostTaskCompletion(wrong, 0)
    assert failure.value.hresult == code


def test_tasks_that_wait_for_a_thread_are_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taskcompletion, "MOST_WAITING", 3)
    gate = threading.Event()
    task = BlockingTask(lambda tag: gate.wait(5))
    for _ in range(8):
        rig.firewall.PostTaskCompletion(task, 0)
        rig.until(lambda: not rig.workers._waiting)
    for _ in range(3):
        rig.firewall.PostTaskCompletion(task, 0)
    with pytest.raises(COMError) as failure:
        rig.firewall.PostTaskCompletion(task, 0)
    assert failure.value.hresult == HRESULT_FROM_WIN32(WSAENOBUFS)
    gate.set()
    rig.until(lambda: len(task.calls) == 11)


def test_no_task_for_the_pool_when_the_service_has_stopped(rig: Rig) -> None:
    rig.workers.close()
    for _ in range(2):
        with pytest.raises(COMError) as failure:
            rig.firewall.PostTaskCompletion(BlockingTask(), 0)
        assert failure.value.hresult == FWX_E_TERMINATING
    assert rig.firewall._tasks._waiting == 0
