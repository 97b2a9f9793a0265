"""The pool of threads: how it grows, how it shrinks, how it ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from fwx.interfaces import E_OUTOFMEMORY, FWX_E_TERMINATING, COMError
from fwx.workers import MOST_THREADS, WORKERS, WorkerPool

PATIENCE = 5.0


class Jobs:
    """Work that notes when it begins and ends when it is let go."""

    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool
        self.begun = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)

    def add(self, count: int, *, blocks: bool = False) -> None:
        for _ in range(count):
            self.pool.submit(self._announced if blocks else self._plain)

    def begin(self, count: int) -> None:
        """Wait until *count* more have begun."""
        for _ in range(count):
            assert self.begun.acquire(timeout=PATIENCE)

    def let_go(self, count: int) -> None:
        self.gate.release(count)
        for _ in range(count):
            assert self.ended.acquire(timeout=PATIENCE)

    def _plain(self) -> None:
        self.begun.release()
        assert self.gate.acquire(timeout=PATIENCE)
        self.ended.release()

    def _announced(self) -> None:
        self.pool.thread_blocks()
        self.begun.release()
        assert self.gate.acquire(timeout=PATIENCE)
        self.pool.thread_works()
        self.ended.release()


@pytest.fixture
def pools() -> Iterator[Callable[[int, int], WorkerPool]]:
    made: list[WorkerPool] = []

    def make(workers: int, most: int) -> WorkerPool:
        made.append(WorkerPool(workers, most))
        return made[-1]

    yield make
    for pool in made:
        pool.close()
        assert pool.join(PATIENCE) == 0
        assert len(pool) == 0


def test_no_thread_without_work(pools: Callable[..., WorkerPool]) -> None:
    before = threading.active_count()
    pool = WorkerPool()
    assert (WORKERS, MOST_THREADS, pool.most_blocked) == (8, 64, 56)
    assert len(pool) == 0
    assert threading.active_count() == before


def test_threads_are_started_as_they_are_needed(pools: Callable[..., WorkerPool]) -> None:
    """One that is idle takes the next call; no more than the pool may have work at one time."""
    pool = pools(3, 5)
    jobs = Jobs(pool)
    for _ in range(3):
        jobs.add(1)
        jobs.begin(1)
        jobs.let_go(1)
        pool.settle(lambda: False, PATIENCE)
    assert len(pool) == 1
    jobs.add(5)
    jobs.begin(3)
    assert len(pool) == 3
    assert not jobs.begun.acquire(blocking=False)
    jobs.let_go(1)
    jobs.begin(1)
    jobs.let_go(3)
    jobs.begin(1)
    jobs.let_go(1)


def test_a_thread_that_announces_that_it_blocks_is_replaced(pools: Callable[..., WorkerPool]) -> None:
    """B5.13, B5.14: when all threads are inside a heavy blocking operation, work that waits gets another one."""
    pool = pools(2, 6)
    jobs, others = Jobs(pool), Jobs(pool)
    jobs.add(2, blocks=True)
    jobs.begin(2)
    assert len(pool) == 2
    others.add(1)
    others.begin(1)
    assert len(pool) == 3
    others.let_go(1)
    jobs.let_go(2)


def test_one_that_announces_it_lets_waiting_work_go_on(pools: Callable[..., WorkerPool]) -> None:
    """B5.13: the work was there before the announcement."""
    pool = pools(1, 3)
    announce = threading.Event()
    seen = threading.Event()

    def blocks() -> None:
        assert announce.wait(PATIENCE)
        pool.thread_blocks()
        assert seen.wait(PATIENCE)
        pool.thread_works()

    pool.submit(blocks)
    pool.submit(seen.set)
    assert len(pool) == 1
    announce.set()
    assert seen.wait(PATIENCE)


def test_the_pool_grows_no_further_than_its_limit(pools: Callable[..., WorkerPool]) -> None:
    """B5.17: and what waits runs when a thread is back."""
    pool = pools(1, 3)
    jobs, others = Jobs(pool), Jobs(pool)
    jobs.add(3, blocks=True)
    jobs.begin(3)
    others.add(1)
    assert len(pool) == 3
    assert not others.begun.acquire(blocking=False)
    jobs.let_go(1)
    others.begin(1)
    others.let_go(1)
    jobs.let_go(2)


def test_threads_too_many_end_when_they_are_back(pools: Callable[..., WorkerPool]) -> None:
    pool = pools(2, 6)
    jobs = Jobs(pool)
    jobs.add(6, blocks=True)
    jobs.begin(6)
    assert len(pool) == 6
    jobs.let_go(6)
    pool.settle(lambda: False, PATIENCE)
    assert len(pool) == 2
    jobs.add(2)
    jobs.begin(2)
    jobs.let_go(2)


def test_a_thread_that_ends_leaves_its_work_to_another(pools: Callable[..., WorkerPool]) -> None:
    """The call wakes one of two idle threads, which is one too many by then and ends instead of taking it."""
    pool, ran = pools(2, 6), threading.Event()
    blocked, others = Jobs(pool), Jobs(pool)
    back, works = threading.Event(), threading.Event()

    def comes_back() -> None:
        pool.thread_blocks()
        blocked.begun.release()
        assert back.wait(PATIENCE)
        pool.thread_works()
        works.set()
        assert blocked.gate.acquire(timeout=PATIENCE)
        blocked.ended.release()

    pool.submit(comes_back)
    blocked.begin(1)
    others.add(2)
    others.begin(2)
    others.let_go(2)
    pool.settle(lambda: False, PATIENCE, leaves_blocked=True)
    assert (len(pool), pool._idle) == (3, 2)
    back.set()
    assert works.wait(PATIENCE)
    pool.submit(ran.set)
    assert ran.wait(PATIENCE)
    assert len(pool) == 2
    blocked.let_go(1)


def test_threads_that_are_not_of_the_pool_change_nothing(pools: Callable[..., WorkerPool]) -> None:
    pool = pools(1, 2)
    pool.thread_blocks()
    pool.thread_works()
    assert not pool._blocked


def test_a_failure_ends_no_thread(pools: Callable[..., WorkerPool], caplog: pytest.LogCaptureFixture) -> None:
    pool, ran = pools(1, 2), threading.Event()

    def fails() -> None:
        raise SystemExit(1)

    with caplog.at_level(logging.ERROR, "fwx.workers"):
        pool.submit(fails)
        pool.submit(ran.set)
        assert ran.wait(PATIENCE)
    assert "failed on a thread of the pool" in caplog.text
    assert len(pool) == 1


def test_closing_does_what_waits_and_takes_no_more(pools: Callable[..., WorkerPool]) -> None:
    pool = pools(1, 2)
    jobs = Jobs(pool)
    jobs.add(3)
    jobs.begin(1)
    pool.close()
    with pytest.raises(COMError) as failure:
        jobs.add(1)
    assert failure.value.hresult == FWX_E_TERMINATING
    jobs.let_go(1)
    jobs.begin(1)
    jobs.let_go(1)
    jobs.begin(1)
    jobs.let_go(1)
    assert pool.join(PATIENCE) == 0


def test_a_thread_that_hangs_holds_nobody_up(
    pools: Callable[..., WorkerPool], caplog: pytest.LogCaptureFixture
) -> None:
    """It is a daemon; what waits behind it is dropped, and the log says so."""
    pool = pools(1, 2)
    jobs = Jobs(pool)
    jobs.add(3)
    jobs.begin(1)
    assert all(thread.daemon for thread in pool._threads)
    pool.close()
    with caplog.at_level(logging.WARNING, "fwx.workers"):
        assert pool.join(0) == 1
    assert "1 threads still block, 2 calls that waited for one are dropped" in caplog.text
    jobs.let_go(1)


def test_no_thread_can_be_started(pools: Callable[..., WorkerPool], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is needed, so the call fails; a further one is not, so it waits."""
    pool = pools(2, 4)

    def refuses(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuses)
        with pytest.raises(COMError) as failure:
            pool.submit(lambda: None)
        assert failure.value.hresult == E_OUTOFMEMORY
        assert not pool._waiting
    jobs = Jobs(pool)
    jobs.add(1)
    jobs.begin(1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuses)
        jobs.add(1)
    jobs.let_go(1)
    jobs.begin(1)
    jobs.let_go(1)


def test_waiting_for_rest(pools: Callable[..., WorkerPool]) -> None:
    """What a memory loop does: not for ever; one that leaves blocked threads alone does not wait for them."""
    pool = pools(2, 4)
    jobs = Jobs(pool)
    assert pool.settle(lambda: False, PATIENCE) is False
    jobs.add(1)
    with pytest.raises(TimeoutError, match="has not come back within 0 s"):
        pool.settle(lambda: False, 0)
    assert pool.settle(lambda: True, PATIENCE) is True
    jobs.begin(1)
    jobs.let_go(1)
    jobs.add(1, blocks=True)
    pool.settle(lambda: False, PATIENCE, leaves_blocked=True)
    jobs.begin(1)
    assert pool.settle(lambda: False, PATIENCE, leaves_blocked=True) is False
    with pytest.raises(TimeoutError):
        pool.settle(lambda: False, 0)
    jobs.let_go(1)
