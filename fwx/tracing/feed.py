"""What has been noted and not yet been told to the command: bounded, so that one that is slow holds nothing up."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, NamedTuple

MOST_WAITING = 8 << 20
"""Bytes, with :data:`_ITEM` for each item."""

_ITEM = 256


class Item(NamedTuple):
    """Something of one recording. *what* is a word of a playbook's side, such as ``client sends``, or ``begin``,
    ``call``, ``note``, ``cut``, ``end``; *data* is bytes, words, or what JSON has."""

    recording: int
    what: str
    at: float
    data: Any = b""


class Feed:
    """From the recordings to the command; on the loop thread alone."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._items: deque[Item] = deque()
        self._most = most
        self._waiting = 0
        self._awake = asyncio.Event()

    def put(self, item: Item, *, always: bool = False) -> bool:
        """Add *item*; ``False`` where it has no room. How a recording has begun and ended is *always* taken."""
        size = _size(item)
        if self._waiting + size > self._most and not always:
            return False
        self._waiting += size
        self._items.append(item)
        self._awake.set()
        return True

    def take(self) -> Item | None:
        """Return the oldest item, or ``None``."""
        if not self._items:
            return None
        item = self._items.popleft()
        self._waiting -= _size(item)
        return item

    def wake(self) -> None:
        """Have :meth:`wait` return though nothing has come."""
        self._awake.set()

    async def wait(self) -> None:
        """Wait until something has come since the last time."""
        await self._awake.wait()
        self._awake.clear()


def _size(item: Item) -> int:
    return _ITEM + (len(item.data) if isinstance(item.data, bytes | str) else 0)
