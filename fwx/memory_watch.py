"""The memory of the service: measured now and then, and kept under a ceiling."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from fwx.impl.ceiling import Ceiling
    from fwx.impl.deadline import Timer

logger = logging.getLogger("fwx.memory_watch")

LOOK_SECONDS: Final = 0.25
"""How often the memory is measured."""

COLLECT_SECONDS: Final = 10.0
"""What passes at least from one collection of garbage to the next while memory is short."""

# Parts of the ceiling: what is little, what is much, from where on it is no longer too much.
_RELAXED, _TIGHT, _REOPENED = 0.65, 0.75, 0.9
_MIB = 1 << 20
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Recoverer(Protocol):
    """See :class:`fwx.impl.lowresource.FWXLowResourceRecoverer`."""

    def ran_short(self, who: object) -> None: ...

    def has_enough(self, who: object) -> None: ...


class ResidentMemory:
    """Measures this process, by one small read: the file stays open, for descriptors may be short as well."""

    def __init__(self, path: str = "/proc/self/statm") -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __call__(self) -> int:
        """Return the bytes in use. :raises OSError: the kernel does not tell."""
        return int(os.pread(self._fd, 256, 0).split()[1]) * _PAGE

    def close(self) -> None:
        os.close(self._fd)


class MemoryWatch:
    """Measures the memory in use, and acts where that comes near the ceiling, in this order:

    from three quarters on the filters' operations that wait for resources are put off (B11.11), what waits in
    connections has a lower ceiling, and garbage is collected; at the ceiling nobody new is let in. What is there goes
    on. With nine tenths clients are let in again, with two thirds all is as before.

    :ivar most: bytes; ``None`` for no ceiling. :ivar in_use: bytes, as they were measured last.
    """

    def __init__(
        self,
        measure: Callable[[], int],
        ceiling: Ceiling,
        recoverer: Recoverer,
        on_short: Callable[[bool, str], object],
        clock: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], Timer],
        collect: Callable[[], object],
    ) -> None:
        """:param measure: returns the bytes in use. :param ceiling: of connections, lowered while memory is short.

        :param on_short: told whether nobody is to be let in, and in words why, when that changes.
        :param collect: gives back what is not used any more.
        """
        self.most: int | None = None
        self.in_use = 0
        self._measure = measure
        self._ceiling = ceiling
        self._recoverer = recoverer
        self._on_short = on_short
        self._clock = clock
        self._call_later = call_later
        self._collect = collect
        self._collected = -COLLECT_SECONDS
        self._is_tight = False
        self._is_short = False
        self._timer: Timer | None = None

    def start(self) -> None:
        """Begin to look, every :data:`LOOK_SECONDS`."""
        self._timer = self._call_later(LOOK_SECONDS, self.start)
        self.look()

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self) -> None:
        """Measure, and act."""
        try:
            self.in_use = self._measure()
        except (OSError, ValueError, IndexError) as error:
            logger.warning("the memory in use cannot be measured: %s", error)
            self.in_use = 0
        if self.most is None:
            self._relax()
            return
        if self.in_use >= self.most * _TIGHT:
            self._tighten()
        if self.in_use >= self.most:
            self._set_short(True)
        elif self.in_use <= self.most * _REOPENED:
            self._set_short(False)
        if self.in_use <= self.most * _RELAXED:
            self._relax()

    def _tighten(self) -> None:
        assert self.most is not None
        if not self._is_tight:
            self._is_tight = True
            logger.warning("memory is short: %d of %d MiB are in use", self.in_use // _MIB, self.most // _MIB)
            self._recoverer.ran_short(self)
            self._ceiling.tighten()
        now = self._clock()
        if now - self._collected >= COLLECT_SECONDS:
            self._collected = now
            self._collect()
            self.in_use = self._measure()

    def _relax(self) -> None:
        self._set_short(False)
        if self._is_tight:
            self._is_tight = False
            logger.warning("memory is no longer short: %d MiB are in use", self.in_use // _MIB)
            self._ceiling.relax()
            self._recoverer.has_enough(self)

    def _set_short(self, is_short: bool) -> None:
        if is_short == self._is_short:
            return
        self._is_short = is_short
        follows = "nobody new is let in" if is_short else "clients are let in again"
        of = "" if self.most is None else f" of {self.most // _MIB}"
        self._on_short(is_short, f"{self.in_use // _MIB}{of} MiB are in use, {follows} (memory_megabytes)")


def collect_garbage() -> None:
    """Collect garbage, and give free memory back to the kernel where the C library can."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def memory_of_machine(root: Path = Path("/")) -> int | None:
    """Return the bytes that this process may have: the machine's, or those of its control groups where they are fewer;
    ``None`` where nothing tells. *root* is another one in tests."""
    found = [*_group_limits(root)]
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) << 10 for line in lines if line.startswith("MemTotal:")]
    except (OSError, ValueError) as error:
        logger.debug("/proc/meminfo: %s", error)
    return min(found, default=None)


def _group_limits(root: Path) -> list[int]:
    """Return the limits of the control groups that this process is in: of its own, and of those around it."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        group = base / path.strip("/")
        while group.is_relative_to(base):
            try:
                limits.append(int((group / name).read_text()))
            except (OSError, ValueError):  # no such file, or "max"
                pass
            group = group.parent
    return limits
