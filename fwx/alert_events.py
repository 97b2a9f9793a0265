"""The events that ``[[alert]]`` tables name: whether there are such, as far as a file and its filters say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fwx.config_problems import Problem, did_you_mean
from fwx.config_source import Source
from fwx.filter_loader import FilterLoadError, load_filter_class
from fwx.service_events import BUILT_IN_NAMES

EVENTS_ATTRIBUTE = "EVENTS"
"""What the class of a filter names its events with, so that they are known before it has started (B9.22)."""


class _Declared(NamedTuple):
    """The events that the filters of a file declare, and the names of those filters that declare nothing."""

    events: frozenset[str]
    silent: tuple[str, ...]


def event_problems(source: Source) -> Iterator[Problem]:
    """Yield what is wrong whatever the filters do: events that there cannot be, names of built-in alerts of others."""
    has_filters = any(True for _ in source.tables("filter"))
    for path, table in source.tables("alert"):
        name, event = table.get("name"), table.get("event")
        if isinstance(event, str) and event not in BUILT_IN_NAMES and not has_filters:
            hint = did_you_mean(event, BUILT_IN_NAMES) or "; expected a built-in one, as no [[filter]] defines another"
            yield source.problem((*path, "event"), f"unknown event {event!r}{hint}")
        if isinstance(name, str) and name in BUILT_IN_NAMES and name != event:
            message = f"{name!r} is the built-in alert of the event of that name; expected another name"
            yield source.problem((*path, "name"), message)


def undeclared_events(source: Source) -> tuple[list[Problem], list[Problem]]:
    """Return the faults and the warnings about events of filters, which are imported for what they declare.

    It is a fault where every filter of the file declares its events. Filters that cannot be loaded are passed over.
    """
    alerts = [
        (path, event)
        for path, table in source.tables("alert")
        if isinstance(event := table.get("event"), str) and event not in BUILT_IN_NAMES
    ]
    declared = _declared(source) if alerts else None
    faults, warnings = list[Problem](), list[Problem]()
    for path, event in alerts:
        if declared is None or event in declared.events or not any(True for _ in source.tables("filter")):
            continue  # the last of them is told by event_problems
        hint = did_you_mean(event, BUILT_IN_NAMES | declared.events)
        if declared.silent:
            silent = ", ".join(map(repr, declared.silent))
            message = f"no event {event!r} is known; it cannot be raised unless {silent} defines it{hint}"
            warnings.append(source.problem((*path, "event"), message))
        else:
            expected = hint or f"; expected a built-in one or one of {', '.join(sorted(declared.events))}"
            faults.append(source.problem((*path, "event"), f"unknown event {event!r}{expected}"))
    return faults, warnings


def _declared(source: Source) -> _Declared:
    events, silent = set[str](), list[str]()
    for _, table in source.tables("filter"):
        use, name = table.get("use"), table.get("name")
        if not isinstance(use, str):
            continue
        try:
            declared = getattr(load_filter_class(use), EVENTS_ATTRIBUTE, None)
        except FilterLoadError:
            declared = None
        if declared is None:
            silent.append(str(name))
        else:
            events.update(map(str, declared))
    return _Declared(frozenset(events), tuple(silent))
