"""Changes of the configuration, one at a time: read, judged, made ready, kept, put in force whole, or nothing of it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from fwx.change import ChangeError
from fwx.change.diff import Difference, differences
from fwx.change.history import Document, History, Version
from fwx.change.parts import Parts, read_parts
from fwx.change.plan import restart_problems
from fwx.change.turns import short_turns
from fwx.config_check import checked
from fwx.config_deep import directory_problems
from fwx.config_problems import ConfigurationError
from fwx.config_source import Source, source_of
from fwx.config_support import unsupported
from fwx.filter_loader import FilterLoadError
from fwx.impl.rejudgement import Disallowed, Judgement, disallowed_by, end_in_turns
from fwx.workers import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fwx.change.live import LiveParts, Ready
    from fwx.change.running import Running
    from fwx.impl.alert import EventDefinition

logger = logging.getLogger("fwx.change")

READ_SECONDS: Final = 120.0
"""How long reading a configuration may take, with the modules, the files and the directories that it names."""

THREADS: Final = 2
"""One that reads a configuration, and one that looks into the history meanwhile."""

T = TypeVar("T")


class Wanted(NamedTuple):
    """A change that somebody asks for.

    :ivar document: ``None`` for the service's own file as it is now. :ivar how: as :attr:`Version.how`. :ivar uid: who
        asks. :ivar of: the version that is to be in force again. :ivar dry_run: nothing is changed.
    """

    document: Document | None
    how: str
    uid: int
    of: int = 0
    dry_run: bool = False


@dataclass(slots=True)
class Outcome:
    """What came of it.

    :ivar version: what is in force now; ``None`` of a dry run. :ivar disallowed: of a dry run, what would end.
    :ivar ended: how many connections were ended. :ivar failures: what filters say that have to be told of the change.
    :ivar notes: what else there is to know.
    """

    differences: list[Difference]
    notes: tuple[str, ...] = ()
    version: Version | None = None
    disallowed: list[Disallowed] = field(default_factory=list)
    ended: int = 0
    failures: list[str] = field(default_factory=list)


class Changer:
    """Puts configurations in force in a service that runs, and remembers those that were; on the loop thread.

    The service calls :meth:`open` when it has started, and :meth:`close` before anything of it stops.

    :ivar own_file: the file that the service was started with, ``None`` without one.
    """

    def __init__(
        self,
        running: Running,
        live: LiveParts,
        upstream_failure: EventDefinition,
        makes_sockets: Callable[[], bool],
    ) -> None:
        """:param makes_sockets: whether there is what makes sockets that speak for others."""
        configuration = running.configuration
        self.own_file = None if configuration.path is None else configuration.path.absolute()
        self.history = History(configuration.state_dir)
        self.running = running
        self._live = live
        self._upstream_failure = upstream_failure
        self._makes_sockets = makes_sockets
        self._loop = asyncio.get_running_loop()
        self._pool = WorkerPool(THREADS, THREADS)
        self._task: asyncio.Task[Outcome] | None = None
        self._wanted: Wanted | None = None
        self._reading = False
        self._is_open = self._is_closed = False
        # A signal came while it was busy, or too early.
        self._again = False

    @property
    def pools(self) -> tuple[WorkerPool, ...]:
        """The threads, which are the service's to end."""
        return (self._pool,)

    def remember_start(self, owner: tuple[int, int] | None) -> None:
        """Open the history, for *owner*, and keep what the service starts with unless that is its newest version.

        :raises OSError: the folder cannot be made or opened.
        """
        self.history.open(owner)
        document = document_of(self.running.configuration.source)
        try:
            known = self.history.versions()
            path = "" if document.path is None else str(document.path)
            if known and (known[-1].sha256, known[-1].path) == (document.sha256, path):
                self.running.version = known[-1]
            else:
                self.running.version = self.history.add(document, time=time.time(), how="start", uid=os.getuid())
            if owner is not None:
                self.history.give(self.running.version, owner)
        except OSError as error:
            logger.error("the configuration cannot be kept in the history: %s", error.strerror)

    def open(self) -> None:
        """Take changes from now on."""
        self._is_open = True
        if self._again:
            self.signalled()

    async def close(self) -> None:
        """Take no more changes; undo the one that is under way, unless it is in force already."""
        self._is_closed = True
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._pool.close()

    def forget(self) -> None:
        """Close the history, when the threads have ended."""
        self.history.close()

    def signalled(self) -> None:
        """Put the service's own file in force, at SIGHUP; the outcome is logged. One that is under way ends first."""
        self._again = True
        if self._is_open and not self._is_busy:
            self._again = False
            self._begin(Wanted(None, "signal", os.getuid()))

    async def change(self, wanted: Wanted) -> Outcome:
        """Do what is *wanted*; all of it or nothing.

        :raises ConfigurationError: the document is refused, each fault named. :raises FilterLoadError: a filter's class
            cannot be loaded. :raises ChangeError: another change is under way, the service stops, or the history cannot
            be written.
        """
        self._check_open()
        if self._is_busy:
            assert self._wanted is not None
            raise ChangeError(f"another change is under way ({self._wanted.how}, by user {self._wanted.uid})")
        return await asyncio.shield(self._begin(wanted))

    async def document(self, number: int | None) -> tuple[int, Document]:
        """Return the version *number* with its document, or the one before that in force.

        :raises ChangeError: there is none.
        """
        if number is None:
            versions = [version.number for version in await self.in_thread(self.history.versions)]
            now = self.running.version.number if self.running.version is not None else (versions or [0])[-1] + 1
            earlier = [each for each in versions if each < now]
            if not earlier:
                raise ChangeError("there is no earlier version")
            number = earlier[-1]
        return number, await self.in_thread(partial(self.history.document, number))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do *work* on the thread for changes. :raises ChangeError: the service stops."""
        outcome: asyncio.Future[T] = self._loop.create_future()

        def run() -> None:
            try:
                deliver = partial(_set, outcome, work())
            except BaseException as error:  # noqa: BLE001  whatever it is, who waits is told
                deliver = partial(_fail, outcome, error)
            try:
                self._loop.call_soon_threadsafe(deliver)
            except RuntimeError:
                logger.debug("the service has ended while a change was being made")

        self._check_open()
        self._pool.submit(run)
        return await outcome

    @property
    def _is_busy(self) -> bool:
        return self._task is not None and not self._task.done()

    def _check_open(self) -> None:
        if self._is_closed:
            raise ChangeError("the service is stopping")
        if not self._is_open:
            raise ChangeError("the service is starting")

    def _begin(self, wanted: Wanted) -> asyncio.Task[Outcome]:
        self._wanted = wanted
        self._task = self._loop.create_task(self._logged(wanted))
        self._task.add_done_callback(_retrieve)
        self._task.add_done_callback(self._ended)
        return self._task

    def _ended(self, _task: object) -> None:
        if self._again and not self._is_closed:
            self._loop.call_soon(self.signalled)

    async def _logged(self, wanted: Wanted) -> Outcome:
        try:
            if self.running.changing.locked():
                raise ChangeError("the code of a filter is being reloaded")
            async with self.running.changing:
                outcome = await self._change(wanted)
        except (ChangeError, ConfigurationError, FilterLoadError) as error:
            if not wanted.dry_run:
                logger.error("the configuration has not been changed (%s): %s", wanted.how, error)
            raise
        except Exception:
            logger.exception("the configuration has not been changed (%s)", wanted.how)
            raise
        version = outcome.version
        if version is not None:
            words = (
                "version %d of the configuration is in force (%s, by user %d): %d tables differ, %d connections ended"
            )
            number, uid = version.number, wanted.uid
            logger.info(words, number, wanted.how, uid, len(outcome.differences), outcome.ended)
            for note in outcome.notes:
                logger.warning("%s", note)
            for failure in outcome.failures:
                logger.error("%s", failure)
        return outcome

    async def _change(self, wanted: Wanted) -> Outcome:
        before = self.running.parts
        document, parts = await self._read(wanted.document, before)
        outcome = Outcome(await self.in_thread(partial(_differ, before, parts)), parts.notes)
        if wanted.dry_run:
            outcome.disallowed = await self._disallowed(parts)
            return outcome
        ready = await self._live.prepare(parts, before)
        try:
            outcome.version = version = await self._keep(document, wanted)
            self._put_in_force(ready, version)
        except BaseException:
            ready.discard()
            raise
        outcome.ended = await self._judge_again()
        outcome.failures = await self._live.tell_filters()
        return outcome

    async def _read(self, document: Document | None, before: Parts) -> tuple[Document, Parts]:
        """:raises ConfigurationError: it cannot be used. :raises ChangeError: it is not read in time."""
        if self._reading:
            raise ChangeError("an earlier configuration is still being read")
        self._reading = True

        def read() -> tuple[Document, Parts]:
            try:
                with short_turns():
                    return self._read_in_thread(document, before)
            finally:
                self._reading = False

        try:
            async with asyncio.timeout(READ_SECONDS):
                return await self.in_thread(read)
        except TimeoutError:
            words = (
                f"it has not been read after {READ_SECONDS:g} s, with the modules, files and directories that it names"
            )
            raise ChangeError(words) from None

    def _read_in_thread(self, document: Document | None, before: Parts) -> tuple[Document, Parts]:
        if document is None:
            if self.own_file is None:
                raise ChangeError("the service was started without a file; name one")
            document = Document(self.own_file, read_file(self.own_file))
        configuration = checked(Source() if document.path is None else source_of(document.path, document.text))
        problems = unsupported(configuration)
        problems += restart_problems(before.configuration, configuration, makes_sockets=self._makes_sockets())
        if problems:
            raise ConfigurationError(problems)
        parts = read_parts(configuration, self._live.engine.faults, self._upstream_failure, before)
        if parts.fingerprint != before.fingerprint and (problems := directory_problems(configuration)):
            raise ConfigurationError(problems)
        return document, parts

    async def _keep(self, document: Document, wanted: Wanted) -> Version:
        """Return *document* as a version of the history; what is in force already is there.

        :raises ChangeError: the history cannot be written.
        """
        running = self.running.version
        path = "" if document.path is None else str(document.path)
        if running is not None and (running.sha256, running.path) == (document.sha256, path):
            return running
        kept: list[Version] = []

        def keep() -> Version:
            version = self.history.add(document, time=time.time(), how=wanted.how, uid=wanted.uid, of=wanted.of)
            kept.append(version)
            if self._is_closed:
                self._forget(version)
                raise ChangeError("the service is stopping")
            return version

        try:
            return await self.in_thread(keep)
        except asyncio.CancelledError:
            for version in kept:
                self._forget(version)
            raise
        except OSError as error:
            raise ChangeError(f"the history cannot be written: {error.strerror}") from error

    def _put_in_force(self, ready: Ready, version: Version) -> None:
        if self._is_closed:
            if version is not self.running.version:
                self._forget(version)
            raise ChangeError("the service is stopping")
        self._live.put_in_force(ready)
        self.running.parts = ready.parts
        self.running.version = version

    def _forget(self, version: Version) -> None:
        """Take *version*, which is not put in force, out of the history; it may be out already."""
        with suppress(FileNotFoundError):
            self.history.forget(version)

    async def _judge_again(self) -> int:
        """End what is no longer allowed (B7.18); return how many connections that were."""
        ended: asyncio.Future[int] = self._loop.create_future()
        end_in_turns(self._live.engine, partial(_set, ended))
        return await ended

    async def _disallowed(self, parts: Parts) -> list[Disallowed]:
        found: asyncio.Future[list[Disallowed]] = self._loop.create_future()
        other = Judgement(parts.policy, parts.routes, self._live.accounts.known_after(parts.users))
        disallowed_by(self._live.engine, other, partial(_set, found))
        return await found


def document_of(source: Source) -> Document:
    """Return the document that *source* was read from."""
    return Document(None if source.path is None else source.path.absolute(), source.content)


def read_file(path: Path) -> bytes:
    """Return what is in *path*. :raises ChangeError: it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        words = f"{path} cannot be read by the service: {error.strerror}; 'fwx apply FILE' reads it for the service"
        raise ChangeError(words) from error


def _differ(before: Parts, after: Parts) -> list[Difference]:
    with short_turns():
        return list(differences(before.configuration.source, after.configuration.source))


def _set(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _retrieve(task: asyncio.Task[Outcome]) -> None:
    """What it failed with has been logged."""
    if not task.cancelled():
        task.exception()
