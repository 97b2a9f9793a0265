"""Hot reload: the new code of a filter takes the place of the old while the service runs."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from typing import Any

from fwx.change.running import Running
from fwx.composition import filter_host, options_fit
from fwx.config_problems import did_you_mean
from fwx.control import ControlError
from fwx.control.server import text_of
from fwx.courses import ended
from fwx.filter_loader import FilterLoadError
from fwx.fresh_code import FreshCode
from fwx.impl.engine import Engine
from fwx.impl.fault import describe
from fwx.impl.filterhost import FilterHost
from fwx.impl.retirement import exchange
from fwx.impl.ruledata import RuleData

logger = logging.getLogger("fwx.reload")

IMPORT_SECONDS = 30.0
"""How long a filter's modules may take to be imported anew."""


class FilterReloader:
    """Reloads filters one after the other; whatever fails leaves the old code in place."""

    def __init__(self, running: Running, engine: Engine, firewall: Any) -> None:
        """:param running: what says which filters there are. :param firewall: what ``FilterInit`` is given."""
        self._running = running
        self._engine = engine
        self._firewall = firewall
        self._importing: threading.Thread | None = None
        self._is_closed = False

    def close(self) -> None:
        """Reload nothing any more: the service stops."""
        self._is_closed = True

    async def reload(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do the command ``reload filter`` of the control socket: ``name`` is that of a ``[[filter]]`` table.

        Returns the name, and how many connections finish with the old code.

        :raises ControlError: there is no such filter; its code cannot be imported, does not take the options of the
            configuration in force, or fails in ``FilterInit`` or ``PrepareRulesData``.
        """
        name = text_of(request, "name")
        async with self._running.changing:
            names = [table.name for table in self._running.configuration.filters]
            if name not in names:
                hint = did_you_mean(name, names) or (f"; there are {', '.join(names)}" if names else "; there are none")
                raise ControlError(f"the service has no filter {name!r}{hint}")
            left = await self._reload(names.index(name))
        logger.info("filter %r has been reloaded; %d connections finish with the old code", name, left)
        return {"name": name, "connections": left}

    async def _reload(self, index: int) -> int:
        table = self._running.configuration.filters[index]
        try:
            fresh = await self._import(table.use)
            try:
                host = await self._started(index, fresh.filter_class)
            except BaseException:
                fresh.undo()
                raise
        except (FilterLoadError, ControlError) as error:
            logger.warning("filter %r has not been reloaded: %s", table.name, error)
            raise ControlError(f"filter {table.name!r} goes on with the code that it has: {error}") from error
        if self._is_closed:
            host.stop()
            raise ControlError("the service is stopping")
        return exchange(self._engine, host)

    async def _import(self, use: str) -> FreshCode:
        """Import the code on a thread, as it may take long or never end.

        :raises FilterLoadError: it cannot be imported. :raises ControlError: it is not done in time.
        """
        if self._importing is not None and self._importing.is_alive():
            raise ControlError("modules that an earlier request had imported are still busy with that")
        outcome: asyncio.Future[FreshCode] = asyncio.get_running_loop().create_future()
        self._importing = threading.Thread(target=_import, args=(use, outcome), name="fwx-import", daemon=True)
        self._importing.start()
        try:
            async with asyncio.timeout(IMPORT_SECONDS):
                return await outcome
        except TimeoutError:
            raise ControlError(f"its modules have not been imported after {IMPORT_SECONDS:g} s") from None

    async def _started(self, index: int, filter_class: type) -> FilterHost:
        """Return the filter with the new code, ready.

        :raises ControlError: it does not take the options, it fails in ``FilterInit`` or ``PrepareRulesData``, or the
            service is stopping.
        """
        if self._is_closed:
            raise ControlError("the service is stopping")
        configuration = self._running.configuration
        problems = options_fit(configuration, index, filter_class)
        if problems:
            raise ControlError("; ".join(map(str, problems)))
        host = filter_host(configuration, index, filter_class, self._engine.faults)
        await ended(host.start(self._firewall))
        await ended(RuleData(self._engine).begin(host))
        if host.state != "ready":
            raise ControlError(host.reason)
        return host


def _import(use: str, outcome: asyncio.Future[FreshCode]) -> None:
    """Give *outcome* the code, or what it failed with; on a thread."""
    fresh: FreshCode | None = None
    failure: Exception | None = None
    try:
        fresh = FreshCode(use)
    except FilterLoadError as error:
        failure = error
    except BaseException as error:  # noqa: BLE001  a module may raise anything when it is imported
        failure = ControlError(f"importing {use!r} raised {describe(error)}")

    def deliver() -> None:
        if not outcome.done():
            if failure is not None:
                outcome.set_exception(failure)
            elif fresh is not None:
                outcome.set_result(fresh)
        elif fresh is not None:  # nobody waits any more
            fresh.undo()

    try:
        outcome.get_loop().call_soon_threadsafe(deliver)
    except RuntimeError:
        logger.debug("the service has ended while %r was imported", use)
