"""Faults of filters: reported with the filter's name, the traceback once."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwx.impl.alert import EventDefinition

logger = logging.getLogger("fwx.filter")

# Different faults whose traceback has been shown; beyond it (a filter that makes up exceptions) only lines follow.
_MOST_KNOWN = 1024


def describe(error: BaseException) -> str:
    """Return the type and the text of a filter's *error*, whose text may be a fault of its own."""
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001  a filter's exception may raise anything
        return f"{type(error).__name__}, whose text cannot be had"


def shown(value: object) -> str:
    """Return how *value*, a filter's, is written, which may be a fault of its own."""
    try:
        return repr(value)
    except BaseException:  # noqa: BLE001  a filter's object may raise anything
        return f"a {type(value).__name__}"


class FaultReporter:
    """Writes a filter's fault to stderr and raises the alert for it; the traceback is shown the first time only."""

    def __init__(self, event: EventDefinition) -> None:
        """*event* is the service's definition of a filter fault."""
        self._event = event
        self._known: set[tuple[object, ...]] = set()

    def report(self, filter_name: str, method: str, error: BaseException) -> str:
        """Report that *method* of the filter raised or returned *error*; return the words for the log."""
        words = f"filter {filter_name!r} failed in {method}: {describe(error)}"
        frames = traceback.extract_tb(error.__traceback__)
        place = (frames[-1].filename, frames[-1].lineno) if frames else None
        key = (filter_name, method, type(error), place)
        shown = ""
        if key not in self._known and len(self._known) < _MOST_KNOWN:
            self._known.add(key)
            shown = "".join(traceback.format_exception(error)) if frames else ""
        logger.error("%s%s", words, f"\n{shown}" if shown else "")
        self._event.signal(words, key=f"{filter_name}/{method}", traceback=shown)
        return words
