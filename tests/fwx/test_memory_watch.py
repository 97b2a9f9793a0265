"""The memory of the service: measured, kept under a ceiling, and what follows from it, in order and back again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fwx.impl.ceiling import FREE, MOST_QUEUED, Ceiling
from fwx.limits_control import descriptors_open
from fwx.memory_watch import (
    COLLECT_SECONDS,
    LOOK_SECONDS,
    MemoryWatch,
    ResidentMemory,
    collect_garbage,
    memory_of_machine,
)

MIB = 1 << 20


class World:
    """A watch over 100 MiB, and what it does, by a clock and a measure that only the test moves."""

    def __init__(self, collected: int | None = None) -> None:
        self.now, self.in_use = 0.0, 10
        self.journal: list[str] = []
        self.timers: list[tuple[float, Any]] = []
        self.cancelled = 0
        self.ceiling = Ceiling()
        self._collected = collected
        self.watch = MemoryWatch(
            self._measure,
            self.ceiling,
            self,
            lambda is_short, words: self.journal.append(words),
            lambda: self.now,
            self._call_later,
            self._collect,
        )
        self.watch.most = 100 * MIB

    def _measure(self) -> int:
        if self.in_use < 0:
            raise OSError("there is no /proc")
        return self.in_use * MIB

    def _collect(self) -> None:
        self.journal.append("collected")
        if self._collected is not None:
            self.in_use = self._collected

    def ran_short(self, who: object) -> None:
        assert who is self.watch
        self.journal.append("ran short")

    def has_enough(self, who: object) -> None:
        assert who is self.watch
        self.journal.append("has enough")

    def _call_later(self, seconds: float, callback: Any) -> Any:
        self.timers.append((seconds, callback))
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    def use(self, megabytes: int, seconds: float = LOOK_SECONDS) -> list[str]:
        """Have so much in use, and look; return what was done."""
        self.in_use = megabytes
        self.now += seconds
        self.journal.clear()
        self.watch.look()
        return list(self.journal)


FULL = "100 of 100 MiB are in use, nobody new is let in (memory_megabytes)"
REOPENED = "{} of 100 MiB are in use, clients are let in again (memory_megabytes)"


def test_what_happens_from_where_on() -> None:
    """B11.11: what filters try again waits first, then nobody is let in; with less in use it goes back in steps."""
    world = World()
    assert world.use(74) == []
    assert world.use(75) == ["ran short", "collected"]
    assert (world.ceiling.is_tight, world.ceiling.most) == (True, FREE)
    assert world.use(99) == []
    assert world.use(100) == [FULL]
    assert world.use(130) == []
    assert world.use(91) == []
    assert world.use(90) == [REOPENED.format(90)]
    assert world.use(66) == []
    assert world.ceiling.is_tight
    assert world.use(65) == ["has enough"]
    assert (world.ceiling.is_tight, world.ceiling.most) == (False, MOST_QUEUED)
    assert world.use(75, COLLECT_SECONDS) == ["ran short", "collected"]


def test_a_rise_at_once_and_a_fall_at_once() -> None:
    world = World()
    assert world.use(100) == ["ran short", "collected", FULL]
    assert world.use(10) == [REOPENED.format(10), "has enough"]


def test_garbage_is_collected_first() -> None:
    """Where that is enough nobody is refused."""
    world = World(collected=80)
    assert world.use(120) == ["ran short", "collected"]


def test_garbage_is_not_collected_all_the_time() -> None:
    """It holds up everybody."""
    world = World()
    world.use(100)
    assert world.use(100, COLLECT_SECONDS - 1) == []
    assert world.use(100, 1) == ["collected"]


def test_a_ceiling_that_is_taken_away() -> None:
    """``apply`` may do so at any time: all is as before at the next look, and a new one holds likewise."""
    world = World()
    world.use(100)
    world.watch.most = None
    assert world.use(100) == ["100 MiB are in use, clients are let in again (memory_megabytes)", "has enough"]
    assert world.use(1000) == []
    world.watch.most = 500 * MIB
    assert world.use(1000, COLLECT_SECONDS)[:2] == ["ran short", "collected"]


def test_memory_that_cannot_be_measured() -> None:
    """It refuses nobody: descriptors and the kernel's own limits are left."""
    world = World()
    assert world.use(-1) == []


def test_it_looks_again_and_again_until_it_is_closed() -> None:
    world = World()
    world.watch.start()
    for _ in range(3):
        seconds, again = world.timers[-1]
        assert seconds == LOOK_SECONDS
        again()
    assert len(world.timers) == 4
    world.watch.close()
    world.watch.close()
    assert world.cancelled == 1


def test_this_process_is_measured() -> None:
    before = descriptors_open()[0]
    measure = ResidentMemory()
    small = measure()
    block = bytearray(os.urandom(1)) * (32 * MIB)
    assert measure() >= small + 30 * MIB
    del block
    collect_garbage()
    assert measure() < small + 16 * MIB
    measure.close()
    assert descriptors_open()[0] == before


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("0::/", {}, 1024),
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": str(600 << 10), "memory.max": "max"}, 600),
        ("0::/a/b", {"a/b/memory.max": str(500 << 10), "a/memory.max": str(600 << 10)}, 500),
        ("0::/a", {"a/memory.max": str(2048 << 10)}, 1024),
        ("3:cpu:/a\n2:memory,x:/a", {"memory/a/memory.limit_in_bytes": str(300 << 10)}, 300),
        ("2:cpu:/a", {"memory/a/memory.limit_in_bytes": str(300 << 10)}, 1024),
    ],
)
def test_memory_that_there_is(tmp_path: Path, groups: str, limits: dict[str, str], expected: int) -> None:
    """The machine's, or that of the tightest control group around the service."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemFree: 1 kB\nMemTotal:  1024 kB\n")
    (tmp_path / "proc/self/cgroup").write_text(groups + "\n")
    for name, text in limits.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert memory_of_machine(tmp_path) == expected << 10


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    assert memory_of_machine(tmp_path) is None
