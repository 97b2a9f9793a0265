"""Events: the named kinds of occurrence that the service and its filters signal (B9.20)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from fwx.impl.alert import Alerts


class Severity(IntEnum):
    """How bad an event is (B9.25)."""

    ERROR = 0
    WARNING = 1
    INFORMATION = 2


class Category(IntEnum):
    """What an event is about (B9.25)."""

    SECURITY = 0
    CACHE = 1
    ROUTING = 2
    FIREWALL_SERVICE = 3
    OTHER = 4
    LOAD_BALANCING = 5


class EventInUseError(ValueError):
    """An event cannot be removed, because an alert uses it (B9.22)."""


@dataclass(frozen=True, slots=True)
class EventDefinition:
    """A named, GUID-keyed kind of occurrence (B9.20); made by :meth:`fwx.impl.alert.Alerts.define`.

    ``source`` names who defined it: a filter, or the service.
    """

    name: str
    severity: Severity
    category: Category
    guid: UUID
    source: str
    _alerts: Alerts = field(repr=False, compare=False)

    def signal(self, message: str, *, key: str = "", traceback: str = "") -> bool:
        """Signal this event (B9.21); see :meth:`fwx.impl.alert.Alerts.signal`."""
        return self._alerts.signal(self, message, key=key, traceback=traceback)

    def remove(self) -> None:
        """Remove this event (B9.22); see :meth:`fwx.impl.alert.Alerts.remove`."""
        self._alerts.remove(self)
