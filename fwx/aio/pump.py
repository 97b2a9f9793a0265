"""Moving data between two async sockets, one direction or several things at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from fwx.aio.socket import AsyncSocket


async def pump(source: AsyncSocket, sink: AsyncSocket) -> None:
    """Pass on what *source* receives to *sink*, one buffer at a time, up to the end; then pass on the end (B3.29)."""
    received, sent = source._receives.wait, sink._sends.wait
    while True:
        buffer, _ = await received()
        if not buffer.GetBufferSizes()[1]:
            break
        await sent(buffer)
    sink.shutdown()


async def together(*coroutines: Coroutine[Any, Any, object]) -> None:
    """Run *coroutines* at once and return when all have returned.

    When one fails the others are cancelled, and when they have ended the failure is raised; as an ``ExceptionGroup``
    where several failed. It is a ``asyncio.TaskGroup``, which does for what this is too small for.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(_contained(coroutine))
    except BaseExceptionGroup as failures:
        if len(failures.exceptions) > 1:
            raise
        raise failures.exceptions[0] from None


async def _contained(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run *coroutine*; ``sys.exit`` in it is a fault, and would end the event loop as the end of a task."""
    try:
        await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"a coroutine raised {type(error).__name__}") from error
