"""The events that the service itself signals, beside those of its filters."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fwx.impl.alert import Category, Severity

if TYPE_CHECKING:
    from fwx.impl.alert import Alerts, EventDefinition


class ServiceEvents:
    """Defines them once for a service, whose parts signal them."""

    __slots__ = (
        "denied_too_often",
        "directory_failure",
        "filter_blocks",
        "filter_fault",
        "limit_exceeded",
        "log_failure",
        "packet_filter_changed",
        "packet_filter_failure",
        "rule_limit_exceeded",
        "socket_maker_failure",
        "upstream_failure",
    )

    def __init__(self, alerts: Alerts) -> None:
        define, service = partial(alerts.define, source="fwx"), Category.FIREWALL_SERVICE
        self.filter_fault: EventDefinition = define("Filter fault", Severity.ERROR, service)
        self.filter_blocks: EventDefinition = define("Filter blocks the service", Severity.ERROR, service)
        self.log_failure: EventDefinition = define("Log failure", Severity.ERROR, service)
        self.packet_filter_failure: EventDefinition = define("Packet filter failure", Severity.ERROR, service)
        self.packet_filter_changed: EventDefinition = define(
            "Packet filter changed by others", Severity.WARNING, Category.SECURITY
        )
        self.denied_too_often: EventDefinition = define("Client denied too often", Severity.WARNING, Category.SECURITY)
        self.limit_exceeded: EventDefinition = define("Connection limit exceeded", Severity.WARNING, Category.SECURITY)
        self.rule_limit_exceeded: EventDefinition = define(
            "Connection limit of a rule exceeded", Severity.WARNING, Category.SECURITY
        )
        self.socket_maker_failure: EventDefinition = define("Transparent listener failure", Severity.ERROR, service)
        self.directory_failure: EventDefinition = define("Directory failure", Severity.ERROR, service)
        self.upstream_failure: EventDefinition = define("Upstream failure", Severity.WARNING, service)

    def denied(self, address: str, words: str) -> None:
        """The client *address* was denied too often in a minute (B11.6)."""
        self.denied_too_often.signal(words, key=address)

    def limit(self, address: str, words: str) -> None:
        """A limit of the client *address* is exceeded (B11.6)."""
        self.limit_exceeded.signal(words, key=address)

    def rule_limit(self, rule: str, words: str) -> None:
        """A limit of *rule* is exceeded; *words* name the client's address."""
        self.rule_limit_exceeded.signal(words, key=rule)
