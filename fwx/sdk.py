"""What a filter author imports: the contract, the base class, options, events, and a pump to start from.

``from fwx import sdk`` gives every name of :mod:`fwx.interfaces` and what is defined here.
"""

from __future__ import annotations

from typing import Any

from zope.interface import implementer
from zope.interface.interfaces import IComponentLookup

from fwx.data_pump import DataPump
from fwx.filter_options import FilterOptions
from fwx.impl.alert import Category, EventDefinition, Severity
from fwx.impl.alerting import IAlerts
from fwx.impl.hostnames import IHostNames
from fwx.impl.timeouts import ISocketTimeouts
from fwx.impl.unknown import TearOff, Unknown
from fwx.interfaces import *  # noqa: F403  the contract is re-exported whole
from fwx.interfaces import __all__ as _contract

__all__ = [  # noqa: PLE0604  the contract's own list
    *_contract,
    "Category",
    "DataPump",
    "EventDefinition",
    "FilterOptions",
    "IComponentLookup",
    "IHostNames",
    "ISocketTimeouts",
    "Severity",
    "TearOff",
    "Unknown",
    "define_event",
    "implementer",
    "signal",
]


def define_event(
    firewall: Any,
    name: str,
    *,
    source: str,
    severity: Severity = Severity.WARNING,
    category: Category = Category.SECURITY,
) -> EventDefinition:
    """Define an event that a filter signals; call it in FilterInit with the firewall given there (B9.20, B9.22).

    *source* is the filter's own name: two filters may not define the same event.

    :raises ValueError: the name is taken by another source.
    """
    lookup: Any = IComponentLookup
    alerts = lookup(firewall).getUtility(IAlerts)
    event: EventDefinition = alerts.define(name, severity, category, source=source)
    return event


def signal(event: EventDefinition, message: str, *, key: str = "") -> bool:
    """Signal *event*, from any thread (B9.21); tell whether an alert was raised now.

    The same event and *key* raise at most one alert a minute, with the number of signals held back (B9.27).
    """
    return event.signal(message, key=key)
