"""Which filter calls the service, where it is not an event of its that is being handled."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from fwx.impl.operation import Operation

if TYPE_CHECKING:
    from types import FrameType

    from fwx.impl.filterhost import FilterHost

STARTS_TASKS: ContextVar[FilterHost | None] = ContextVar("STARTS_TASKS", default=None)
"""The filter that is initialised, or whose data filter is given its sockets. The tasks that it starts there keep it,
and so do theirs."""


def calling_host(frame: FrameType | None) -> FilterHost | None:
    """Return the filter of the data filter whose task runs in *frame*, or whose completion is being called there.

    *frame* is the innermost one of the calling thread; ``None`` is returned where neither is so.
    """
    host = STARTS_TASKS.get()
    while host is None and frame is not None:
        caller = frame.f_locals.get("self") if frame.f_code.co_name == "_complete" else None
        if isinstance(caller, Operation):
            # A network socket's operations belong to no filter that could be told.
            return getattr(caller.owner, "host", None)
        frame = frame.f_back
    return host
