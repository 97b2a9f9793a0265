"""How long a thread keeps the interpreter from the others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

TURN_SECONDS: Final = 0.0003
"""What a thread may have in a row meanwhile; Python's own is 5 ms."""


@contextmanager
def short_turns() -> Iterator[None]:
    """Let other threads have the interpreter soon while this one works for long, as one that reads a configuration.

    The loop gives the interpreter up in every call of the kernel, and would wait a whole turn each time until it has it
    back: a tenth of a second and more in one round of the loop. One thread at a time uses it, as it is put back to what
    it was before.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(TURN_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
