"""The events that the service itself signals, beside those of its filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from fwx.impl.alert import Category, Severity

if TYPE_CHECKING:
    from fwx.impl.alert import Alerts, EventDefinition

SERVICE: Final = "fwx"
"""Who defines them, as the log calls it."""


class BuiltIn(NamedTuple):
    """One of them: its name, how bad it is and what it is about (B9.25), and what its additional key is (B9.26)."""

    name: str
    severity: Severity
    category: Category
    key: str = ""


_ERROR, _WARNING = Severity.ERROR, Severity.WARNING
_FIREWALL, _SECURITY = Category.FIREWALL_SERVICE, Category.SECURITY

EVENTS: Final[Mapping[str, BuiltIn]] = {
    "action_failure": BuiltIn("Alert action failure", _WARNING, _FIREWALL, "alert/action"),
    "connection_memory_exceeded": BuiltIn("Memory of a connection exceeded", _WARNING, _SECURITY, "client address"),
    "denied_too_often": BuiltIn("Client denied too often", _WARNING, _SECURITY, "client address"),
    "directory_failure": BuiltIn("Directory failure", _ERROR, _FIREWALL, "directory"),
    "filter_blocks": BuiltIn("Filter blocks the service", _ERROR, _FIREWALL, "filter/method"),
    "filter_fault": BuiltIn("Filter fault", _ERROR, _FIREWALL, "filter/method"),
    "limit_exceeded": BuiltIn("Connection limit exceeded", _WARNING, _SECURITY, "client address"),
    "log_failure": BuiltIn("Log failure", _ERROR, _FIREWALL),
    "memory_short": BuiltIn("Memory is short", _ERROR, _FIREWALL),
    "packet_filter_changed": BuiltIn("Packet filter changed by others", _WARNING, _SECURITY),
    "packet_filter_failure": BuiltIn("Packet filter failure", _ERROR, _FIREWALL),
    "rule_limit_exceeded": BuiltIn("Connection limit of a rule exceeded", _WARNING, _SECURITY, "rule"),
    "socket_maker_failure": BuiltIn("Transparent listener failure", _ERROR, _FIREWALL),
    "too_many_pending": BuiltIn("Too many requests at once", _ERROR, _SECURITY, "key of [limits]"),
    "upstream_failure": BuiltIn("Upstream failure", _WARNING, _FIREWALL, "upstream"),
}
"""By the attribute of :class:`ServiceEvents` that holds the definition. docs/alerts.rst tells of each."""

BUILT_IN_NAMES: Final = frozenset(event.name for event in EVENTS.values())


class ServiceEvents:
    """Defines them once for a service, whose parts signal them."""

    action_failure: EventDefinition
    connection_memory_exceeded: EventDefinition
    denied_too_often: EventDefinition
    directory_failure: EventDefinition
    filter_blocks: EventDefinition
    filter_fault: EventDefinition
    limit_exceeded: EventDefinition
    log_failure: EventDefinition
    memory_short: EventDefinition
    packet_filter_changed: EventDefinition
    packet_filter_failure: EventDefinition
    rule_limit_exceeded: EventDefinition
    socket_maker_failure: EventDefinition
    too_many_pending: EventDefinition
    upstream_failure: EventDefinition

    __slots__ = tuple(EVENTS)

    def __init__(self, alerts: Alerts) -> None:
        for attribute, event in EVENTS.items():
            setattr(self, attribute, alerts.define(event.name, event.severity, event.category, source=SERVICE))

    def connection_memory(self, address: str, words: str) -> None:
        """What waits in a connection of the client *address* is more than may."""
        self.connection_memory_exceeded.signal(words, key=address)

    def crowd(self, key: str, words: str) -> None:
        """All clients together have more pending than *key* of ``[limits]`` lets them (B11.9); or memory is short."""
        if key == "memory_megabytes":
            self.memory_short.signal(words)
        else:
            self.too_many_pending.signal(words, key=key)

    def denied(self, address: str, words: str) -> None:
        """The client *address* was denied too often in a minute (B11.6)."""
        self.denied_too_often.signal(words, key=address)

    def limit(self, address: str, words: str) -> None:
        """A limit of the client *address* is exceeded (B11.6)."""
        self.limit_exceeded.signal(words, key=address)

    def rule_limit(self, rule: str, words: str) -> None:
        """A limit of *rule* is exceeded; *words* name the client's address."""
        self.rule_limit_exceeded.signal(words, key=rule)
