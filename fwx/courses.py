"""Courses of the engine, awaited by what runs on asyncio."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from fwx.impl.course import Course

T = TypeVar("T")


async def ended(course: Course[T]) -> T:
    """Wait until *course* has ended, return what it returns; on the loop thread.

    :raises Exception: what it raises.
    """
    if not course.has_ended:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        course.when_ended(lambda: None if future.done() else future.set_result(None))
        await future
    return course.result()
