"""Events and alerts: what the service and its filters signal, how often it is let through, and where it goes."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from uuid import UUID, uuid5

logger = logging.getLogger("fwx.alert")

OTHER_KEYS = "(other keys)"
"""The key of an alert that stands for keys which had no room in the table."""

_NAMESPACE = UUID("6f1d1b3a-94c7-5a0e-8a5e-3d6b5c0d9f21")


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


@dataclass(frozen=True, slots=True)
class EventDefinition:
    """A named, GUID-keyed kind of occurrence (B9.20); made by :meth:`Alerts.define`.

    ``source`` names who defined it: a filter, or the service.
    """

    name: str
    severity: Severity
    category: Category
    guid: UUID
    source: str
    _alerts: Alerts = field(repr=False, compare=False)

    def signal(self, message: str, *, key: str = "", traceback: str = "") -> bool:
        """Signal this event (B9.21); see :meth:`Alerts.signal`."""
        return self._alerts.signal(self, message, key=key, traceback=traceback)


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as the sinks get it.

    ``time`` is in seconds since the epoch; ``source`` is the event's; ``key`` is the sub-kind (B9.26), such as a filter
    or a client address; ``count`` is the number of signals that it stands for.
    """

    time: float
    event: str
    severity: Severity
    source: str
    key: str
    message: str
    traceback: str = ""
    count: int = 1


@dataclass(slots=True)
class _Held:
    """One event and key: when its last alert was raised, and what has been held back since."""

    event: EventDefinition
    key: str
    raised: float | None = None
    message: str = ""
    traceback: str = ""
    count: int = 0

    def hold(self, message: str, traceback: str) -> None:
        self.message, self.traceback = message, traceback
        self.count += 1

    def is_due(self, now: float, interval: float) -> bool:
        """Tell whether an alert may be raised; a clock that was set back must not silence the event for long."""
        return self.raised is None or not 0 <= now - self.raised < interval

    def release(self, now: float) -> Alert:
        event = self.event
        alert = Alert(now, event.name, event.severity, event.source, self.key, self.message, self.traceback, self.count)
        self.raised, self.message, self.traceback, self.count = now, "", "", 0
        return alert


class Alerts:
    """The event definitions of a service, and the limit on what their signals may cost.

    The service makes one and gives it to whoever signals. Every method may be called from any thread.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        sinks: Iterable[Callable[[Alert], object]],
        interval: float = 60.0,
        *,
        max_keys: int = 256,
    ) -> None:
        """Raise alerts to all *sinks*, at most one per event, key and *interval* (B9.23).

        :param clock: returns seconds since the epoch.
        :param sinks: called in order with each alert, on the thread that signalled.
        :param interval: seconds.
        :param max_keys: how many pairs of event and key are told apart at a time. What has no room shares one key per
            event, :data:`OTHER_KEYS`, so that signals with made-up keys cost neither memory nor alerts (B9.27).
        :raises ValueError: *max_keys* is below 1.
        """
        if max_keys < 1:
            raise ValueError(f"max_keys is {max_keys}, it must be 1 or more")
        self._clock = clock
        self._sinks = tuple(sinks)
        self._interval = interval
        self._max_keys = max_keys
        self._lock = threading.Lock()
        self._events: dict[str, EventDefinition] = {}
        self._held: OrderedDict[tuple[str, str], _Held] = OrderedDict()
        self._overflow: dict[str, _Held] = {}

    def define(
        self, name: str, severity: Severity, category: Category, *, source: str, guid: UUID | None = None
    ) -> EventDefinition:
        """Define the event *name*; called when the service or a filter is set up (B9.22).

        The same definition by the same *source* gives the one that exists. Without a *guid* the event gets one that
        is derived from source and name, the same in every run.

        :raises ValueError: the name is taken by another source, or was defined otherwise by this one.
        """
        wanted = EventDefinition(name, severity, category, guid or uuid5(_NAMESPACE, f"{source}/{name}"), source, self)
        with self._lock:
            present = self._events.setdefault(name, wanted)
        if present == wanted:
            return present
        if present.source != source:
            raise ValueError(f"event {name!r} of {source!r} is defined by {present.source!r} already")
        raise ValueError(f"event {name!r} of {source!r} is defined already, otherwise: {present!r}")

    def signal(self, event: EventDefinition | str, message: str, *, key: str = "", traceback: str = "") -> bool:
        """Signal *event*; called by the service and by filters whenever it occurs.

        The first signal of an event and *key* raises an alert at once. Signals within the interval after it are only
        counted; the first one after the interval raises an alert with the sum.

        :param event: a definition, or its name.
        :param message: what happened, for people.
        :param key: the sub-kind that is limited on its own.
        :param traceback: of the exception behind the event, if any.
        :returns: whether an alert was raised now.
        :raises ValueError: no such event is defined here.
        """
        now = self._clock()
        alerts: list[Alert] = []
        with self._lock:
            held = self._entry(self._definition(event), key, now, alerts)
            held.hold(message, traceback)
            raised = held.is_due(now, self._interval)
            if raised:
                alerts.append(self._release(held, now))
        self._deliver(alerts)
        return raised

    def pending(self) -> int:
        """Return the number of signals that are counted and not yet part of an alert."""
        with self._lock:
            return sum(held.count for held in self._all())

    def flush(self, *, due_only: bool = False) -> None:
        """Raise alerts for the signals that are pending; the service calls it when it ends.

        :param due_only: only those whose interval is over; the service calls this from time to time, so that the
            count of a storm that has ended is seen.
        """
        now = self._clock()
        with self._lock:
            alerts = [
                self._release(held, now)
                for held in self._all()
                if held.count and (held.is_due(now, self._interval) or not due_only)
            ]
        self._deliver(alerts)

    def _definition(self, event: EventDefinition | str) -> EventDefinition:
        name = event if isinstance(event, str) else event.name
        present = self._events.get(name)
        if present is None or event not in (name, present):
            raise ValueError(f"event {name!r} is not defined here; define it before it is signalled")
        return present

    def _entry(self, event: EventDefinition, key: str, now: float, evicted: list[Alert]) -> _Held:
        """Return the entry of *event* and *key*; what had to leave for it with signals held goes to *evicted*."""
        held = self._held.get((event.name, key))
        if held is not None:
            return held
        if len(self._held) >= self._max_keys and not self._evict(now, evicted):
            return self._overflow.setdefault(event.name, _Held(event, OTHER_KEYS))
        return self._held.setdefault((event.name, key), _Held(event, key))

    def _evict(self, now: float, evicted: list[Alert]) -> bool:
        """Forget the entry that was raised longest ago if its interval is over; tell whether it was."""
        oldest = next(iter(self._held))
        held = self._held[oldest]
        if not held.is_due(now, self._interval):
            return False
        if held.count:
            evicted.append(held.release(now))
        del self._held[oldest]
        return True

    def _release(self, held: _Held, now: float) -> Alert:
        place = (held.event.name, held.key)
        if self._held.get(place) is held:
            self._held.move_to_end(place)
        return held.release(now)

    def _all(self) -> list[_Held]:
        return [*self._held.values(), *self._overflow.values()]

    def _deliver(self, alerts: list[Alert]) -> None:
        """Call the sinks, outside the lock: a sink may signal."""
        for alert in alerts:
            for sink in self._sinks:
                try:
                    sink(alert)
                except Exception:
                    logger.exception("alert sink %r failed for event %r: %s", sink, alert.event, alert.message)
