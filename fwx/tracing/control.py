"""The service's end of ``fwx trace``: the command ``trace`` of the control socket."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fwx.tracing.criteria import Criteria
from fwx.tracing.recorder import Recorder, Recorders

if TYPE_CHECKING:
    from fwx.change.running import Running
    from fwx.control.server import Lines
    from fwx.impl.engine import Engine
    from fwx.tracing.feed import Item

logger = logging.getLogger("fwx.tracing")

FAREWELL_SECONDS = 5.0
"""How long a command may take for what is left when it has asked for the end."""


ENDED = "the recording was ended before the connection was"


class TraceControl:
    """Answers ``trace``: a line for each thing that happens, until the command has had enough or is gone."""

    def __init__(self, running: Running, engine: Engine) -> None:
        self._running = running
        self._engine = engine
        self._recorders = Recorders(engine)

    async def trace(self, request: Mapping[str, Any], lines: Lines) -> None:
        """Do the command ``trace``; its keys are those that :meth:`Criteria.of` takes.

        :raises ControlError: the request is wrong.
        """
        criteria = Criteria.of(request, self._running.configuration)
        recorder = Recorder(self._engine, self._running, criteria)
        self._recorders.add(recorder)
        logger.info("fwx trace records up to %d connections in plain: %s", criteria.count, criteria)
        watch = asyncio.ensure_future(self._watch(recorder, lines))
        try:
            await lines.send({"done": {}})
            while not watch.done():
                await recorder.feed.wait()
                await _tell(recorder, lines)
            recorder.stop(ENDED)
            async with asyncio.timeout(FAREWELL_SECONDS):
                await _tell(recorder, lines)
        except (OSError, TimeoutError) as error:
            logger.debug("fwx trace does not take what is recorded: %s", error)
        finally:
            watch.cancel()
            recorder.stop(ENDED)
            self._recorders.remove(recorder)
            logger.info("fwx trace records no longer")

    async def _watch(self, recorder: Recorder, lines: Lines) -> None:
        """Wait for the command's end: it says no more, or is gone."""
        try:
            await lines.ended()
        except OSError as error:
            logger.debug("fwx trace is gone: %s", error)
        finally:
            recorder.feed.wake()


async def _tell(recorder: Recorder, lines: Lines) -> None:
    while (item := recorder.feed.take()) is not None:
        await lines.send(line_of(item))


def line_of(item: Item) -> dict[str, Any]:
    """Return what JSON has for *item*: bytes are base64, under ``data``; all else is under ``words``."""
    line: dict[str, Any] = {"recording": item.recording, "what": item.what, "at": item.at}
    if isinstance(item.data, bytes):
        return line | {"data": base64.b64encode(item.data).decode()}
    return line | {"words": json.loads(json.dumps(item.data, default=str))}
