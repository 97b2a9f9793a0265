"""Doing what follows alerts, beside the traffic: so many things at a time, for a bounded time each (B9.24, B9.27)."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fwx.alerts.actions import CommandAction, LogAction, MailAction, StopAction
from fwx.alerts.command import run_command
from fwx.alerts.mail import Delivery, message_of
from fwx.alerts.system_log import write_line
from fwx.alerts.words import environment, plain, sentence
from fwx.interfaces import COMError
from fwx.workers import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from fwx.alerts.actions import Action
    from fwx.impl.alert import Alert
    from fwx.impl.alertdefinition import AlertDefinition

logger = logging.getLogger("fwx.alert")

MOST_COMMANDS: Final = 4
"""Commands that run at a time."""

MOST_MAILS: Final = 2
"""Mails that are under way at a time, each on a thread."""

# How long the threads of mails that were cut short may take to end.
_THREAD_SECONDS: Final = 1.0


class ActionCounts(NamedTuple):
    """How an action has fared: times done, times failed, and why it fails, ``""`` where it does not."""

    name: str
    done: int
    failed: int
    reason: str


class _Course:
    """One action of one definition: what runs, and the one alert that waits, which stands for all that came since."""

    def __init__(self, action: Action) -> None:
        self.action = action
        self.waiting: Alert | None = None
        self.task: asyncio.Task[None] | None = None
        self.done = 0
        self.failed = 0
        self.reason = ""
        self.is_wanted = True


class Performer:
    """A sink of :class:`fwx.impl.alert.Alerts`, called on any thread; everything is done on the loop or started there.

    An action of a definition runs once at a time; alerts that are raised meanwhile wait as one, with the sum of their
    counts. So a flood costs no more than the definitions allow for. An action that fails is reported when it begins to,
    and when it works again.
    """

    def __init__(
        self,
        server: str,
        loop: asyncio.AbstractEventLoop,
        stop: Callable[[str], object],
        failed: Callable[[str, str], object],
    ) -> None:
        """:param server: the firewall's name. :param stop: has the service stopped; gets the alert's name.
        :param failed: hears of an action that begins to fail: the words, and ``alert/action``. It is not told of what
            follows its own event.
        """
        self.own_event = ""
        self._server = server
        self._loop = loop
        self._stop = stop
        self._failed = failed
        self._courses: dict[tuple[str, Action], _Course] = {}
        self._commands = asyncio.Semaphore(MOST_COMMANDS)
        self._mails = asyncio.Semaphore(MOST_MAILS)
        self._pool = WorkerPool(MOST_MAILS, MOST_MAILS)
        self._is_closed = False

    def __call__(self, alert: Alert) -> None:
        """Have everything done that follows *alert*."""
        if alert.definition is not None and alert.definition.actions and not self._is_closed:
            self._loop.call_soon_threadsafe(self._take, alert)

    def counts(self, definition: AlertDefinition) -> list[ActionCounts]:
        """Say how the actions of *definition* have fared."""
        found = []
        for action in definition.actions:
            course = self._courses.get((definition.name, action))
            counts = (0, 0, "") if course is None else (course.done, course.failed, course.reason)
            found.append(ActionCounts(action.name, *counts))
        return found

    def keep(self, definitions: Iterable[AlertDefinition]) -> None:
        """Forget how actions have fared that none of *definitions* has; what runs is let run."""
        wanted = {(definition.name, action) for definition in definitions for action in definition.actions}
        for place, course in list(self._courses.items()):
            course.is_wanted = place in wanted
            if not course.is_wanted:
                course.waiting = None
                if course.task is None:
                    del self._courses[place]

    async def close(self, seconds: float) -> None:
        """Let what was raised be done for *seconds*, then end it; nothing is left of it, and nothing follows later."""
        await asyncio.sleep(0)  # what other threads have raised
        self._is_closed = True
        tasks = [course.task for course in self._courses.values() if course.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._pool.close()
        if len(self._pool):
            await asyncio.to_thread(self._pool.join, _THREAD_SECONDS)

    def _take(self, alert: Alert) -> None:
        definition = alert.definition
        if definition is None or self._is_closed:
            return
        for action in definition.actions:
            if not isinstance(action, StopAction):
                self._begin(self._courses.setdefault((definition.name, action), _Course(action)), alert)
        if any(isinstance(action, StopAction) for action in definition.actions):
            self._stop(definition.name)

    def _begin(self, course: _Course, alert: Alert) -> None:
        if isinstance(course.action, LogAction):
            self._tell(course, alert, write_line(alert.severity, sentence(alert)))
            return
        course.waiting = alert if course.waiting is None else course.waiting.merged(alert)
        if course.task is None:
            course.task = self._loop.create_task(self._run(course, alert.name))

    async def _run(self, course: _Course, name: str) -> None:
        try:
            while course.waiting is not None:
                is_command = isinstance(course.action, CommandAction)
                async with self._commands if is_command else self._mails:
                    alert, course.waiting = course.waiting, None
                    if alert is None:  # it was replaced meanwhile
                        break
                    self._tell(course, alert, await self._perform(course.action, alert))
        except Exception:
            logger.exception("the action %r of alert %r failed", course.action.name, name)
        finally:
            course.task = None
            if not course.is_wanted:
                self._courses.pop((name, course.action), None)

    def _perform(self, action: Action, alert: Alert) -> Coroutine[Any, Any, str]:
        if isinstance(action, CommandAction):
            return run_command(action.argv, environment(alert, self._server), plain(alert.message), action.seconds)
        assert isinstance(action, MailAction)
        return self._mail(action, alert)

    async def _mail(self, action: MailAction, alert: Alert) -> str:
        delivery = Delivery(action, message_of(action, alert, self._server))
        outcome: asyncio.Future[str] = self._loop.create_future()

        def settle(failure: str) -> None:
            if not outcome.done():
                outcome.set_result(failure)

        def run() -> None:
            failure = delivery.run()
            with suppress(RuntimeError):  # the service has ended meanwhile
                self._loop.call_soon_threadsafe(settle, failure)

        try:
            self._pool.submit(run)
            async with asyncio.timeout(action.seconds):
                return await outcome
        except TimeoutError:
            return f"mail server {action.server} has not taken it after {action.seconds:g} s"
        except COMError as error:  # no thread can be started
            return f"no thread for it: {error}"
        finally:
            delivery.abort()

    def _tell(self, course: _Course, alert: Alert, failure: str) -> None:
        """Count how it went, and say so where that has changed."""
        before, course.reason = course.reason, failure
        if not failure:
            course.done += 1
            if before:
                logger.warning("alert %r: %s works again", alert.name, course.action.name)
            return
        course.failed += 1
        if not before:
            words = f"alert {alert.name!r}: {course.action.name} failed: {failure}"
            logger.error("%s", words)
            if alert.event != self.own_event:
                self._failed(words, f"{alert.name}/{course.action.name}")
