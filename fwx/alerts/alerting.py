"""The alerts of a running service: its events, what is defined for them, and what follows."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from fwx.alerts.definitions import definitions_of
from fwx.alerts.performer import Performer
from fwx.alerts.words import sentence
from fwx.config_problems import did_you_mean
from fwx.impl.alert import Alert, Alerts
from fwx.service_events import ServiceEvents

if TYPE_CHECKING:
    import asyncio

    from fwx.config import Configuration
    from fwx.impl.alertdefinition import AlertDefinition

logger = logging.getLogger("fwx.service")

MOST_RECENT: Final = 100
"""Alerts that ``fwx alerts`` can tell of; the firewall log has them all."""


class Alerting:
    """What a service has of alerts.

    :ivar alerts: for whoever signals. :ivar events: the service's own. :ivar performer: does what follows.
    :ivar recent: the alerts that were raised last, without their tracebacks.
    :ivar stop: what an alert that stops the service calls, once; ``fwx serve`` sets it.
    :ivar stopped_by: the name of the alert that has stopped the service, ``""`` none.
    """

    def __init__(
        self,
        configuration: Configuration,
        write: Callable[[Alert], object],
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        """*write* takes every alert that is raised into the firewall log.

        *clock* gives seconds since the epoch, *monotonic* those by which alerts are limited.

        :raises ConfigurationError: the password of a mail server cannot be read.
        """
        self.stop: Callable[[], object] | None = None
        self.stopped_by = ""
        self.recent: deque[Alert] = deque(maxlen=MOST_RECENT)
        definitions = definitions_of(configuration)
        self.performer = Performer(configuration.service.name, loop, self._stop, self._action_failed)
        self.alerts = Alerts(clock, (write, self._remember, _show, self.performer), monotonic=monotonic)
        self.events = ServiceEvents(self.alerts)
        self.performer.own_event = self.events.action_failure.name
        self.put_in_force(definitions)

    def put_in_force(self, definitions: Iterable[AlertDefinition]) -> None:
        """Replace what is defined, at once; those that stay the same keep their counts.

        :param definitions: such as :func:`~fwx.alerts.definitions.definitions_of` makes.
        """
        wanted = tuple(definitions)
        self.alerts.put_in_force(wanted)
        self.performer.keep(wanted)

    def warn_of_unknown_events(self) -> None:
        """Say which alerts are for an event that nobody has defined; called when the filters have started."""
        counts = self.alerts.counts()
        known = [each.event.name for each in counts if each.event is not None]
        for each in counts:
            if each.event is None:
                event = each.definition.event
                words = "alert %r cannot be raised: neither the service nor a filter has defined the event %r%s"
                logger.warning(words, each.definition.name, event, did_you_mean(event, known))

    async def close(self, seconds: float) -> None:
        """Raise what is pending and let what follows be done for *seconds*; called when the service has stopped."""
        self.alerts.flush()
        await self.performer.close(seconds)

    def _remember(self, alert: Alert) -> None:
        self.recent.append(alert.without_traceback())

    def _action_failed(self, words: str, key: str) -> None:
        self.events.action_failure.signal(words, key=key)

    def _stop(self, name: str) -> None:
        if self.stopped_by:
            return
        self.stopped_by = name
        if self.stop is None:
            logger.error("alert %r stops the service, which is not run by 'fwx serve' and goes on", name)
            return
        logger.error("alert %r stops the service", name)
        self.stop()


def _show(alert: Alert) -> None:
    logger.warning("%s", sentence(alert))
