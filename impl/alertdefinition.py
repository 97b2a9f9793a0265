"""Alerts: what binds actions to an event (B9.20), and what one is that has been raised."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fwx.impl.alertevent import Category, Severity

ANY = ""
"""The additional key of an alert for all of an event's (B9.26)."""


@dataclass(frozen=True, slots=True)
class AlertDefinition:
    """When an event raises an alert, and what follows. Two that are equal share their counts when they are replaced.

    :ivar name: unique among the definitions in force. :ivar event: the event's name.
    :ivar key: the additional key that it is for; one that ends with ``*`` is for all that begin so; ``""``,
        for any.
    :ivar severity: ``None``, the event's (B9.25). :ivar category: likewise.
    :ivar after_events: signals before it is raised, from 1 up (B9.23). :ivar events_per_second: that there must have
        been so many in one second, too; ``None``, however few. :ivar again_after: seconds until it may be raised again,
        0 at once, ``None`` not before it is reset.
    :ivar each_key: each additional key is counted by itself.
    :ivar urgent: what the whole service may raise does not hold it back.
    :ivar actions: what follows, as whoever acts understands it; they can be compared and hashed.
    """

    name: str
    event: str
    key: str = ANY
    severity: Severity | None = None
    category: Category | None = None
    after_events: int = 1
    events_per_second: int | None = None
    again_after: float | None = 60.0
    each_key: bool = False
    urgent: bool = False
    actions: tuple[Any, ...] = ()

    def covers(self, key: str) -> bool:
        """Tell whether it is for signals with the additional *key* (B9.26)."""
        if self.key.endswith("*"):
            return key.startswith(self.key[:-1])
        return self.key in (ANY, key)


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that has been raised, as the sinks get it.

    ``time`` is in seconds since the epoch; ``source`` is the event's; ``key`` is the sub-kind (B9.26), such as a filter
    or a client address, of the last signal; ``count`` is the number of signals that it stands for. ``definition`` is
    what it was raised by.
    """

    time: float
    event: str
    severity: Severity
    source: str
    key: str
    message: str
    traceback: str = ""
    count: int = 1
    definition: AlertDefinition | None = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The alert's name; that of the event, where nothing else is defined."""
        return self.event if self.definition is None else self.definition.name

    def merged(self, later: Alert) -> Alert:
        """Return one alert that stands for this one and a *later* one, whose words it has."""
        return replace(later, count=self.count + later.count)

    def without_actions(self) -> Alert:
        """Return this alert as one that nothing follows."""
        return self if self.definition is None else replace(self, definition=replace(self.definition, actions=()))

    def without_traceback(self) -> Alert:
        """Return this alert for whoever keeps many."""
        return replace(self, traceback="")
