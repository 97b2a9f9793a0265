"""The plan: which filters the demonstration uses, in which order they stand, and the configuration of the service."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from fwx.demo import DemoError
from fwx.demo.traffic import PATTERN
from fwx.filter_loader import InstalledFilter, installed_filters
from fwx.interfaces import SocketAddress
from fwx.interfaces.enums import (
    FwxDataFilterPriorityClass,
    fwx_dfpc_External,
    fwx_dfpc_Internal,
    fwx_dfpc_Middle,
)

APPENDED = "\n-- in upper case by a filter of fwx\n"
"""What ``upper-case`` sends behind each answer."""

_CONFIGURATION = """\
# No rule: the embedded policy lets this machine reach everything.
[service]
name = "fwx-demo"
state_dir = "state"

[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:0"
"""

_FILTER = """
[[filter]]
name = {name}
use = {name}
everywhere = true
options = {{ {options} }}
"""


class DemoFilter(NamedTuple):
    """A filter of the demonstration: its entry point, the class it takes in the chain, and who offers it."""

    name: str
    priority: FwxDataFilterPriorityClass
    folder: str


# The configuration names them in this order; the chain's order comes from the classes.
FILTERS = (
    DemoFilter("collector", fwx_dfpc_External, "examples/collector"),
    DemoFilter("data-monitor", fwx_dfpc_Middle, "."),
    DemoFilter("upper-case", fwx_dfpc_Internal, "examples/upper-case"),
)


def choose(installed: Sequence[InstalledFilter] | None = None) -> tuple[tuple[DemoFilter, ...], tuple[DemoFilter, ...]]:
    """Return the filters that are *installed* (asked for if not given), in the order of the chain, and the others.

    :raises DemoError: one is installed and cannot be loaded.
    """
    found = {one.name: one for one in (installed_filters() if installed is None else installed)}
    broken = [found[one.name] for one in FILTERS if one.name in found and found[one.name].error]
    if broken:
        raise DemoError(f"the filter {broken[0].name!r} cannot be loaded: {broken[0].error}")
    there = sorted((one for one in FILTERS if one.name in found), key=lambda one: one.priority)
    return tuple(there), tuple(one for one in FILTERS if one.name not in found)


def chain(filters: Sequence[DemoFilter]) -> str:
    """Return a picture of the chain that *filters* stand in, with their priority classes."""
    return " -> ".join(["client", *(f"{one.name} ({one.priority.name})" for one in filters), "server"])


def configuration(filters: Sequence[DemoFilter], sink: SocketAddress) -> str:
    """Return the text of the service's configuration file; the collector's sessions report to *sink*."""
    options: dict[str, dict[str, Any]] = {
        "collector": {"report_to": str(sink)},
        "data-monitor": {"alert_on": PATTERN.decode()},
        "upper-case": {"append": APPENDED},
    }
    tables = [
        # A JSON string of ASCII is a TOML string too.
        _FILTER.format(
            name=json.dumps(one.name),
            options=", ".join(f"{key} = {json.dumps(value)}" for key, value in options[one.name].items()),
        )
        for one in FILTERS
        if one in filters
    ]
    return _CONFIGURATION + "".join(tables)
