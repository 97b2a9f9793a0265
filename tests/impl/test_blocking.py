"""Heavy blocking operations: nesting, the limit, the loop thread, threads that die."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fwx.impl.raw import raw
from fwx.interfaces import (
    FWX_E_ALREADY_IN_BLOCKING_OP,
    FWX_E_BAD_CONTEXT,
    FWX_E_NOT_IN_BLOCKING_OP,
    FWX_E_THREAD_QUOTA_EXCEEDED,
    S_OK,
    COMError,
    IFWXFirewall,
)
from tests.impl.conftest import Rig


class OneThread:
    """Calls on one other thread, one after the other."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._pool.submit(function, *args).result(5)

    def end(self) -> None:
        self._pool.shutdown()


@pytest.fixture
def threads() -> Iterator[Callable[[], OneThread]]:
    made: list[OneThread] = []

    def make() -> OneThread:
        made.append(OneThread())
        return made[-1]

    yield make
    for each in made:
        each.end()


def start(rig: Rig) -> int:
    return int(raw(rig.firewall, IFWXFirewall).StartHeavyBlockingOperation())


def end(rig: Rig) -> int:
    return int(raw(rig.firewall, IFWXFirewall).EndHeavyBlockingOperation())


def test_starts_nest_and_each_is_matched_by_an_end(rig: Rig, threads: Any) -> None:
    """B5.14, B5.15: the second start is refused and counted, so as many ends follow; then there is none to end."""
    other = threads()
    assert [other(start, rig) for _ in range(3)] == [
        S_OK,
        FWX_E_ALREADY_IN_BLOCKING_OP,
        FWX_E_ALREADY_IN_BLOCKING_OP,
    ]
    assert [other(end, rig) for _ in range(4)] == [S_OK, S_OK, S_OK, FWX_E_NOT_IN_BLOCKING_OP]
    assert other(start, rig) == S_OK
    assert other(end, rig) == S_OK


def test_threads_count_for_themselves(rig: Rig, threads: Any) -> None:
    """B5.15: one thread's operation is not another's."""
    first, second = threads(), threads()
    assert first(start, rig) == S_OK
    assert second(end, rig) == FWX_E_NOT_IN_BLOCKING_OP
    assert second(start, rig) == S_OK
    assert first(end, rig) == S_OK
    assert first(end, rig) == FWX_E_NOT_IN_BLOCKING_OP
    assert len(rig.engine.blocking) == 1
    assert second(end, rig) == S_OK
    assert len(rig.engine.blocking) == 0


@pytest.mark.parametrize("method", ["StartHeavyBlockingOperation", "EndHeavyBlockingOperation"])
def test_the_loop_thread_must_not_block(rig: Rig, method: str) -> None:
    """DESIGN 5: refused there, with a text that says what to do; nothing is counted."""
    with pytest.raises(COMError) as failure:
        getattr(rig.firewall, method)()
    assert failure.value.hresult == FWX_E_BAD_CONTEXT
    assert f"{method} on the loop thread, which must never block" in failure.value.text
    assert "IBlocking" in failure.value.text
    assert len(rig.engine.blocking) == 0


def test_a_limit_of_threads(rig: Rig, threads: Any) -> None:
    """B5.17: beyond it a start is refused and not counted; it is for other threads again as soon as one is out."""
    rig.workers.most_blocked = 2
    inside, refused = [threads(), threads()], threads()
    assert [each(start, rig) for each in inside] == [S_OK, S_OK]
    assert refused(start, rig) == FWX_E_THREAD_QUOTA_EXCEEDED
    assert refused(end, rig) == FWX_E_NOT_IN_BLOCKING_OP
    assert inside[0](start, rig) == FWX_E_ALREADY_IN_BLOCKING_OP
    assert inside[0](end, rig) == S_OK
    assert refused(start, rig) == FWX_E_THREAD_QUOTA_EXCEEDED
    assert inside[0](end, rig) == S_OK
    assert refused(start, rig) == S_OK
    for each in (inside[1], refused):
        assert each(end, rig) == S_OK


def test_a_thread_that_died_inside_counts_no_more(rig: Rig) -> None:
    """B5.17: many threads die inside an operation, and none is refused in the end."""
    rig.workers.most_blocked = 1
    for _ in range(3):
        results: list[int] = []
        thread = threading.Thread(target=lambda results=results: results.append(start(rig)))
        thread.start()
        thread.join()
        assert results == [S_OK]
    assert len(rig.engine.blocking) == 0
