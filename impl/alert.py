"""Events and alerts: what the service and its filters signal, how often it is let through, and where it goes."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID, uuid5

from fwx.impl.alertcount import LONGEST_KEY, OTHER_KEYS, Allowance, Held, KeyTable
from fwx.impl.alertdefinition import ANY, Alert, AlertDefinition
from fwx.impl.alertevent import Category, EventDefinition, EventInUseError, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["OTHER_KEYS", "Alert", "AlertCounts", "Alerts", "Category", "EventDefinition", "EventInUseError", "Severity"]

logger = logging.getLogger("fwx.alert")

MOST_RAISED = 60
"""Alerts of definitions that the service raises in a row, and in each minute after that (B9.27)."""

MOST_RAISED_OF_ONE = 10
"""The same of one definition: a flood of its event leaves room for the others."""

_NAMESPACE = UUID("6f1d1b3a-94c7-5a0e-8a5e-3d6b5c0d9f21")


class AlertCounts(NamedTuple):
    """What has become of the signals of one alert.

    :ivar event: ``None`` while nobody has defined it. :ivar is_built_in: no table of the configuration defines it.
    :ivar signals: how many it has had. :ivar raised: how many times it was raised. :ivar last: when it was last, in
        seconds since the epoch, ``None`` never. :ivar held: signals that are counted and not yet part of an alert.
    """

    definition: AlertDefinition
    event: EventDefinition | None
    is_built_in: bool
    signals: int
    raised: int
    last: float | None
    held: int


class _InForce:
    """A definition with its counts; *keys* is where it counts by key."""

    __slots__ = ("allowance", "definition", "keys", "last", "raised", "signals", "together")

    def __init__(self, definition: AlertDefinition, keys: KeyTable, allowance: Allowance | None) -> None:
        self.definition = definition
        self.keys = keys
        self.allowance = allowance
        self.together: Held | None = None
        self.signals = 0
        self.raised = 0
        self.last: float | None = None

    def all(self) -> list[tuple[str, Held]]:
        name = self.definition.name
        found = [(key, held) for key, held in self.keys.all() if held.definition.name == name]
        return found if self.together is None else [*found, (ANY, self.together)]

    def entry(self, event: EventDefinition, key: str, now: float, evicted: list[Alert]) -> Held:
        if self.definition.each_key:
            return self.keys.entry(self.definition, event, key, now, evicted)
        if self.together is None or self.together.event is not event:
            self.together = Held(self.definition, event, now)
        return self.together

    def forget(self) -> None:
        self.keys.forget(self.definition.name)
        self.together = None


class Alerts:
    """The event definitions of a service, the alerts that use them, and the limit on what their signals may cost.

    The service makes one and gives it to whoever signals. Every method may be called from any thread.

    A signal goes to the definitions in force that are for its event and its key. One that none is for goes to the
    event's built-in alert, which has the event's name and is raised once in an interval for each key.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        sinks: Iterable[Callable[[Alert], object]],
        interval: float = 60.0,
        *,
        max_keys: int = 256,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        """Raise alerts to all *sinks*, the built-in ones at most once per event, key and *interval* (B9.23).

        :param clock: returns seconds since the epoch.
        :param sinks: called in order with each alert, on the thread that signalled.
        :param interval: seconds.
        :param max_keys: how many pairs of event and key are told apart at a time, and how many keys of each definition.
            What has no room shares one key per event, :data:`OTHER_KEYS`, so that signals with made-up keys cost
            neither memory nor alerts (B9.27).
        :param monotonic: returns seconds that only grow, by which everything is limited; without it *clock*.
        :raises ValueError: *max_keys* is below 1.
        """
        if max_keys < 1:
            raise ValueError(f"max_keys is {max_keys}, it must be 1 or more")
        self._wall_clock = clock
        self._clock = monotonic or clock
        self._sinks = tuple(sinks)
        self._interval = interval
        self._max_keys = max_keys
        self._lock = threading.Lock()
        self._events: dict[str, EventDefinition] = {}
        self._definers: dict[str, int] = {}
        self._keys = KeyTable(max_keys)
        self._built_in: dict[str, _InForce] = {}
        self._defined: tuple[_InForce, ...] = ()
        self._of_event: dict[str, tuple[_InForce, ...]] = {}
        self._allowance = Allowance(MOST_RAISED)

    def define(
        self, name: str, severity: Severity, category: Category, *, source: str, guid: UUID | None = None
    ) -> EventDefinition:
        """Define the event *name*; called when the service or a filter is set up (B9.22).

        The same definition by the same *source* gives the one that exists, which then has to be removed as often.
        Without a *guid* the event gets one that is derived from source and name, the same in every run.

        :raises ValueError: the name is taken by another source, or was defined otherwise by this one.
        """
        wanted = EventDefinition(name, severity, category, guid or uuid5(_NAMESPACE, f"{source}/{name}"), source, self)
        with self._lock:
            present = self._events.setdefault(name, wanted)
            if present == wanted:
                self._definers[name] = self._definers.get(name, 0) + 1
                if name not in self._built_in:
                    definition = AlertDefinition(name, name, again_after=self._interval, each_key=True)
                    self._built_in[name] = _InForce(definition, self._keys, None)
                return present
        if present.source != source:
            raise ValueError(f"event {name!r} of {source!r} is defined by {present.source!r} already")
        raise ValueError(f"event {name!r} of {source!r} is defined already, otherwise: {present!r}")

    def event(self, name: str) -> EventDefinition:
        """Return the event *name*, for whoever signals one that somebody else has defined (B9.21).

        :raises ValueError: no such event is defined here.
        """
        with self._lock:
            return self._definition(name)

    def remove(self, event: EventDefinition | str) -> None:
        """Remove *event*; called by whoever has defined it, when the alerts that use it are gone (B9.22).

        Of an event that was defined several times this takes one back. What is counted and not told yet is raised.

        :raises EventInUseError: a definition in force uses it; nothing is changed.
        :raises ValueError: no such event is defined here.
        """
        now, alerts = self._clock(), list[Alert]()
        with self._lock:
            name = self._definition(event).name
            if self._definers[name] > 1:
                self._definers[name] -= 1
                return
            users = [in_force.definition.name for in_force in self._of_event.get(name, ())]
            if users:
                raise EventInUseError(f"event {name!r} is used by alert {users[0]!r}; remove the alert first")
            built_in = self._built_in.pop(name)
            alerts += self._all_released([built_in], now, due_only=False)
            built_in.forget()
            del self._events[name], self._definers[name]
        self._deliver(alerts)

    def put_in_force(self, definitions: Iterable[AlertDefinition]) -> None:
        """Replace the definitions by *definitions*, all at once; called at the start and when they are changed.

        What an equal one has counted is kept. Of the others, enough signals that are not told yet are raised, and
        nothing follows. The event of a definition need not be there yet.

        :raises ValueError: two have the same name; nothing is changed.
        """
        wanted = tuple(definitions)
        names = [definition.name for definition in wanted]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two alerts are called {name!r}")
        now = self._clock()
        with self._lock:
            before = {in_force.definition.name: in_force for in_force in self._defined}
            made = tuple(
                old if old is not None and old.definition == definition else self._in_force(definition)
                for definition in wanted
                for old in (before.get(definition.name),)
            )
            gone = [in_force for in_force in self._defined if in_force not in made]
            alerts = self._all_released(gone, now, due_only=False)
            self._defined, self._of_event = made, {}
            for in_force in made:
                event = in_force.definition.event
                self._of_event[event] = (*self._of_event.get(event, ()), in_force)
        self._deliver([alert.without_actions() for alert in alerts])

    def _in_force(self, definition: AlertDefinition) -> _InForce:
        return _InForce(definition, KeyTable(self._max_keys), Allowance(MOST_RAISED_OF_ONE))

    def signal(self, event: EventDefinition | str, message: str, *, key: str = "", traceback: str = "") -> bool:
        """Signal *event*; called by the service and by filters whenever it occurs.

        What is defined for the event and *key* says when this raises an alert, see
        :class:`~fwx.impl.alertdefinition.AlertDefinition`. Where nothing is, the first signal of an event and *key*
        raises one at once. Signals within the interval after it are only counted; the first one after the interval
        raises an alert with the sum.

        :param event: a definition, or its name.
        :param message: what happened, for people.
        :param key: the sub-kind, the additional key of alerts (B9.26).
        :param traceback: of the exception behind the event, if any.
        :returns: whether an alert was raised now.
        :raises ValueError: no such event is defined here.
        """
        now = self._clock()
        alerts: list[Alert] = []
        raised = False
        key = key[:LONGEST_KEY]
        with self._lock:
            definition = self._definition(event)
            for in_force in self._for(definition.name, key):
                in_force.signals += 1
                evicted: list[Alert] = []
                held = in_force.entry(definition, key, now, evicted)
                self._count_evicted(in_force, evicted)
                alerts += evicted
                held.add(message, key, traceback, now)
                if held.is_due(now) and self._may_raise(in_force, now):
                    alerts.append(self._release(in_force, held, key, now))
                    raised = True
        self._deliver(alerts)
        return raised

    def pending(self) -> int:
        """Return the number of signals that are counted and not yet part of an alert."""
        with self._lock:
            return sum(held.count for in_force in self._everything() for _, held in in_force.all())

    def flush(self, *, due_only: bool = False) -> None:
        """Raise alerts for the signals that are pending, if there are enough; the service calls it when it ends.

        :param due_only: only those that may be raised again; the service calls this from time to time, so that the
            count of a storm that has ended is seen.
        """
        now = self._clock()
        with self._lock:
            alerts = self._all_released(self._everything(), now, due_only=due_only)
        self._deliver(alerts)

    def reset(self, name: str) -> None:
        """Have the alert *name* begin anew: it may be raised again, and what it has counted is forgotten (B9.23).

        :raises LookupError: there is no such alert.
        """
        with self._lock:
            found = [each for each in self._everything() if each.definition.name == name]
            if not found:
                raise LookupError(f"there is no alert {name!r}")
            for in_force in found:
                in_force.forget()

    def counts(self) -> list[AlertCounts]:
        """Say what has become of all signals: of what is defined in its order, then of the built-in alerts."""
        with self._lock:
            return [
                AlertCounts(
                    in_force.definition,
                    self._events.get(in_force.definition.event),
                    self._built_in.get(in_force.definition.name) is in_force,
                    in_force.signals,
                    in_force.raised,
                    in_force.last,
                    sum(held.count for _, held in in_force.all()),
                )
                for in_force in self._everything()
            ]

    def _definition(self, event: EventDefinition | str) -> EventDefinition:
        name = event if isinstance(event, str) else event.name
        present = self._events.get(name)
        if present is None or event not in (name, present):
            raise ValueError(f"event {name!r} is not defined here; define it before it is signalled")
        return present

    def _for(self, event: str, key: str) -> Iterable[_InForce]:
        found = [in_force for in_force in self._of_event.get(event, ()) if in_force.definition.covers(key)]
        return found or (self._built_in[event],)

    def _everything(self) -> list[_InForce]:
        return [*self._defined, *self._built_in.values()]

    def _may_raise(self, in_force: _InForce, now: float) -> bool:
        """Tell whether the allowances let it be raised, and count it there (B9.27)."""
        allowance = in_force.allowance
        if allowance is None or in_force.definition.urgent:
            return True
        if not (allowance.is_left(now) and self._allowance.is_left(now)):
            return False
        allowance.take()
        self._allowance.take()
        return True

    def _count_evicted(self, in_force: _InForce, evicted: list[Alert]) -> None:
        """Count what made room: of the same definition, or of any built-in one, which share their table."""
        for alert in evicted:
            owner = in_force if in_force.allowance is not None else self._built_in[alert.event]
            owner.raised += 1
            owner.last = self._wall_clock()

    def _release(self, in_force: _InForce, held: Held, key: str, now: float) -> Alert:
        in_force.raised += 1
        in_force.last = self._wall_clock()
        in_force.keys.released(held, key)
        return held.release(now)

    def _all_released(self, those: Iterable[_InForce], now: float, *, due_only: bool) -> list[Alert]:
        """Raise what is pending of *those*. In the end, nothing waits for its time but what waits to be reset."""
        alerts = []
        for in_force in those:
            waits = in_force.definition.again_after is None
            for key, held in in_force.all():
                if due_only or waits:
                    ready = held.count > 0 and held.is_due(now) and (not due_only or self._may_raise(in_force, now))
                else:
                    ready = held.count > 0 and held.has_enough
                if ready:
                    alerts.append(self._release(in_force, held, key, now))
        return alerts

    def _deliver(self, alerts: list[Alert]) -> None:
        """Call the sinks, outside the lock: a sink may signal."""
        for each in alerts:
            alert = replace(each, time=self._wall_clock())
            for sink in self._sinks:
                try:
                    sink(alert)
                except Exception:
                    logger.exception("alert sink %r failed for event %r: %s", sink, alert.event, alert.message)
