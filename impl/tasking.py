"""What the async face finds in the registry: who runs coroutines, and who hears of a data filter's faults."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from zope.interface import Interface


class ITasks(Interface):
    """Runs the coroutines of filters, on the loop thread."""

    def start(
        coroutine: Coroutine[Any, Any, object], name: str, failed: Callable[[BaseException], None] | None = None
    ) -> Any:
        """Run *coroutine* as a task, and hold the task until it is done; its first step comes later.

        :param name: of the filter; a fault is reported under it unless *failed* is there to hear of it.
        """


class IFaults(Interface):
    """Hears of the faults of one data filter on one connection; an adapter of the two."""

    def failed(method: str, error: BaseException) -> None:
        """Treat *error*, which *method* of the data filter has raised, as that of a completion: the connection ends."""
