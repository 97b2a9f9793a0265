"""When Python looks for garbage, which nobody else runs meanwhile."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Make many objects without a search for garbage in between: it would look at them all, again and again.

    For what makes next to no cycles and ends soon: imports, and the reading of a configuration, while which the
    connections of a service would wait for each search. On any thread; what another one leaves waits as well.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
