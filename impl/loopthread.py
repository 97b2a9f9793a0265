"""Calls from any thread that the loop thread has to answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from fwx.interfaces.hresult import FWX_E_TERMINATING, COMError

if TYPE_CHECKING:
    from fwx.impl.runqueue import RunQueue

P = ParamSpec("P")
T = TypeVar("T")

ANSWER_SECONDS = 30.0
"""How long another thread waits for the loop thread, which answers at once unless the service has stopped."""


def on_loop(queue: RunQueue, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call *function* on the loop thread and return what it returns; another thread waits for it.

    :raises COMError: ``FWX_E_TERMINATING`` the loop does not answer any more; and what *function* raises.
    """
    if threading.get_ident() == queue.thread:
        return function(*args, **kwargs)
    answers: SimpleQueue[tuple[Any, Exception | None]] = SimpleQueue()
    waiting = [True]
    strand = getattr(queue.local, "strand", None)

    def run() -> None:
        if not waiting:
            return
        queue.acting = strand
        try:
            answers.put((function(*args, **kwargs), None))
        except Exception as error:  # noqa: BLE001  it is raised where it is waited for
            answers.put((None, error))
        finally:
            queue.acting = None

    queue.post(run)
    try:
        result, error = answers.get(timeout=ANSWER_SECONDS)
    except Empty:
        waiting.clear()
        raise COMError(FWX_E_TERMINATING, "the service does not answer any more") from None
    if error is not None:
        raise error
    answer: T = result
    return answer
