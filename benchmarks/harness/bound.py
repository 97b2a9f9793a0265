"""A bound on a step that waits for others: whoever it waits in is told, and the step is named."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_BENCHMARKS = Path(__file__).resolve().parent.parent


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Bound what the main thread does in a ``with`` block, whatever it waits for there; blocks do not nest.

    :raises RuntimeError: it did not end within *seconds*; says where it was.
    """

    def overdue(_number: int, frame: FrameType | None) -> None:
        raise RuntimeError(f"no end within {seconds:g} s, in {_place(frame)}")

    before = signal.signal(signal.SIGALRM, overdue)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _place(frame: FrameType | None) -> str:
    """Return the innermost place in the benchmarks, which says more than the one in the standard library."""
    while frame is not None:
        file = Path(frame.f_code.co_filename).resolve()
        if file.is_relative_to(_BENCHMARKS) and file != Path(__file__).resolve():
            return f"{file.name}:{frame.f_lineno}, {frame.f_code.co_qualname}"
        frame = frame.f_back
    return "an unknown place"
