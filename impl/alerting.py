"""What filters find in the registry to signal events with."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from zope.interface import Interface

if TYPE_CHECKING:
    from fwx.impl.alert import Category, EventDefinition, Severity


class IAlerts(Interface):
    """The event definitions of a service (B9.20, B9.21)."""

    def define(
        name: str, severity: Severity, category: Category, *, source: str, guid: UUID | None = None
    ) -> EventDefinition:
        """Define an event; the definition's ``signal`` raises alerts.

        :raises ValueError: the name is taken by another source.
        """

    def event(name: str) -> EventDefinition:
        """Return the event *name*, one of the service's own or another filter's (B9.21).

        :raises ValueError: nobody has defined it.
        """

    def remove(event: EventDefinition | str) -> None:
        """Remove an event (B9.22).

        :raises EventInUseError: an alert uses it. :raises ValueError: nobody has defined it.
        """
