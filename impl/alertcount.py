"""Counting signals until an alert may be raised: thresholds (B9.23), and how much a flood of them may cost (B9.27)."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from fwx.impl.alertdefinition import ANY, Alert

if TYPE_CHECKING:
    from fwx.impl.alertdefinition import AlertDefinition
    from fwx.impl.alertevent import EventDefinition

OTHER_KEYS: Final = "(other keys)"
"""The key of an alert that stands for keys which had no room in the table."""

MOST_A_SECOND: Final = 1000
"""The highest threshold of signals in a second: the times of so many are remembered."""

LONGEST_MESSAGE: Final = 4096
"""Characters of a message that are kept; a signal may be made from what a client sent."""

LONGEST_KEY: Final = 256
LONGEST_TRACEBACK: Final = 16384

# How long a key that has not raised anything is remembered while others want its place.
_REMEMBERED: Final = 60.0


class Rate:
    """Tells whether so many signals have come within one second."""

    __slots__ = ("_at", "_times")

    def __init__(self, threshold: int) -> None:
        self._times = array("d", [float("-inf")]) * threshold
        self._at = 0

    def reached(self, now: float) -> bool:
        """Count a signal at *now*, in seconds; tell whether it and those of the second before are enough."""
        times = self._times
        times[self._at] = now
        self._at = (self._at + 1) % len(times)
        return 0 <= now - times[self._at] < 1  # a clock that was set back begins anew


class Allowance:
    """How many alerts may be raised: *most* in a row, and so many again in each minute."""

    __slots__ = ("_most", "_since", "_there_are")

    def __init__(self, most: int) -> None:
        self._most = most
        self._there_are = float(most)
        self._since: float | None = None

    def is_left(self, now: float) -> bool:
        """Tell whether one may be raised at *now*, in seconds."""
        passed = 0.0 if self._since is None else max(now - self._since, 0.0)
        self._since = now
        self._there_are = min(self._there_are + passed * self._most / 60.0, self._most)
        return self._there_are >= 1

    def take(self) -> None:
        """Count one that is raised."""
        self._there_are -= 1


class Held:
    """The signals of one alert, or of one of its keys, since it was last raised.

    :ivar raised: when that was, ``None`` never. :ivar count: of the signals since.
    """

    __slots__ = (
        "_is_fast",
        "_key",
        "_rate",
        "_since",
        "count",
        "definition",
        "event",
        "key",
        "message",
        "raised",
        "traceback",
    )

    def __init__(self, definition: AlertDefinition, event: EventDefinition, now: float, key: str | None = None) -> None:
        """*key* is what the alert names for its key; ``None``, that of the last signal."""
        self.definition = definition
        self.event = event
        self.raised: float | None = None
        self.count = 0
        self.key = key or ""
        self.message = ""
        self.traceback = ""
        self._key = key
        self._since = now
        threshold = definition.events_per_second
        self._rate = Rate(threshold) if threshold is not None else None
        self._is_fast = self._rate is None

    def add(self, message: str, key: str, traceback: str, now: float) -> None:
        """Count a signal."""
        self.count += 1
        self.message, self.traceback = message[:LONGEST_MESSAGE], traceback[:LONGEST_TRACEBACK]
        if self._key is None:
            self.key = key
        if self._rate is not None and self._rate.reached(now):
            self._is_fast = True

    @property
    def has_enough(self) -> bool:
        """Whether the thresholds of number and rate have been reached."""
        return self.count >= self.definition.after_events and self._is_fast

    def is_due(self, now: float) -> bool:
        """Tell whether an alert may be raised; a clock that was set back must not silence the event for long."""
        if not self.has_enough:
            return False
        if self.raised is None:
            return True
        wait = self.definition.again_after
        return wait is not None and not 0 <= now - self.raised < wait

    def is_idle(self, now: float) -> bool:
        """Tell whether it may be forgotten for another key."""
        wait = self.definition.again_after
        if self.raised is None:
            return not 0 <= now - self._since < _REMEMBERED
        return wait is not None and not 0 <= now - self.raised < max(wait, _REMEMBERED)

    def release(self, now: float) -> Alert:
        """Make the alert of what has been counted, and begin anew."""
        event, definition = self.event, self.definition
        severity = event.severity if definition.severity is None else definition.severity
        alert = Alert(
            now, event.name, severity, event.source, self.key, self.message, self.traceback, self.count, definition
        )
        self.raised, self.message, self.traceback, self.count = now, "", "", 0
        self._is_fast = self._rate is None
        return alert


class KeyTable:
    """What is counted by key: a bounded number of keys, the rest of each alert together (B9.27)."""

    def __init__(self, most: int) -> None:
        """*most* pairs of an alert and a key are told apart at a time."""
        self._most = most
        self._held: OrderedDict[tuple[str, str], Held] = OrderedDict()
        self._overflow: dict[str, Held] = {}

    def entry(
        self, definition: AlertDefinition, event: EventDefinition, key: str, now: float, evicted: list[Alert]
    ) -> Held:
        """Return the entry of *definition* and *key*.

        What had to leave for it with enough signals goes to *evicted*; nothing follows it.
        """
        held = self._held.get((definition.name, key))
        if held is not None:
            return held
        if len(self._held) >= self._most and not self._evict(now, evicted):
            return self._overflow.setdefault(definition.name, Held(definition, event, now, OTHER_KEYS))
        return self._held.setdefault((definition.name, key), Held(definition, event, now, key))

    def released(self, held: Held, key: str) -> None:
        """*held* has just raised an alert: it is the last to be forgotten."""
        place = (held.definition.name, key)
        if self._held.get(place) is held:
            self._held.move_to_end(place)

    def all(self) -> list[tuple[str, Held]]:
        """Return each key with its entry."""
        return [*((key, held) for (_, key), held in self._held.items()), *((ANY, h) for h in self._overflow.values())]

    def forget(self, name: str) -> None:
        """Forget all keys of the alert *name*."""
        for place in [place for place in self._held if place[0] == name]:
            del self._held[place]
        self._overflow.pop(name, None)

    def _evict(self, now: float, evicted: list[Alert]) -> bool:
        """Forget the entry that was raised longest ago if it is idle; tell whether it was."""
        oldest, held = next(iter(self._held.items()))
        if not held.is_idle(now):
            return False
        if held.count and held.has_enough:
            evicted.append(held.release(now).without_actions())
        del self._held[oldest]
        return True
