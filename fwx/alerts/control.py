"""The service's end of ``fwx alerts``: commands of the control socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fwx.alerts.words import utc
from fwx.config_problems import did_you_mean
from fwx.control import ControlError
from fwx.control.server import text_of

if TYPE_CHECKING:
    from fwx.alerts.alerting import Alerting
    from fwx.control.server import Lines
    from fwx.impl.alert import Alert, AlertCounts


class AlertsControl:
    """Tells of the alerts in force, and resets them."""

    def __init__(self, alerting: Alerting) -> None:
        self._alerting = alerting

    async def alerts(self, _request: Mapping[str, Any], lines: Lines) -> None:
        """Do the command ``alerts``: a line for each that is in force, then one for each that was raised last."""
        await lines.send({"done": {}})
        for counts in self._alerting.alerts.counts():
            await lines.send({"alert": self._told(counts)})
        for alert in list(self._alerting.recent):
            await lines.send({"raised": _raised(alert)})

    async def reset(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do the command ``reset alert``: ``name`` is that of an alert in force.

        :raises ControlError: there is no such alert.
        """
        name = text_of(request, "name")
        try:
            self._alerting.alerts.reset(name)
        except LookupError as error:
            known = [each.definition.name for each in self._alerting.alerts.counts()]
            raise ControlError(f"{error}{did_you_mean(name, known)}") from error
        return {"name": name}

    def _told(self, counts: AlertCounts) -> dict[str, Any]:
        definition, event = counts.definition, counts.event
        severity = definition.severity if event is None or definition.severity is not None else event.severity
        category = definition.category if event is None or definition.category is not None else event.category
        again = definition.again_after
        return {
            "name": definition.name,
            "event": definition.event,
            "built_in": counts.is_built_in,
            "defined_by": None if event is None else event.source,
            "additional_key": definition.key or None,
            "severity": None if severity is None else severity.name.lower(),
            "category": None if category is None else category.name.lower().replace("_", " "),
            "after_events": definition.after_events,
            "events_per_second": definition.events_per_second,
            "again_after_minutes": "reset" if again is None else again / 60,
            "each_key": definition.each_key,
            "signals": counts.signals,
            "raised": counts.raised,
            "last": None if counts.last is None else utc(counts.last),
            "held": counts.held,
            "actions": [
                {"action": each.name, "done": each.done, "failed": each.failed, "reason": each.reason}
                for each in self._alerting.performer.counts(definition)
            ],
        }


def _raised(alert: Alert) -> dict[str, Any]:
    return {
        "time": utc(alert.time),
        "name": alert.name,
        "event": alert.event,
        "severity": alert.severity.name.lower(),
        "source": alert.source,
        "key": alert.key,
        "count": alert.count,
        "message": alert.message,
    }
