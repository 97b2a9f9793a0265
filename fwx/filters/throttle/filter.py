"""The filter ``throttle``: its options, and the data filter that waits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from fwx import sdk
from fwx.filters.throttle.bucket import Bucket, Shares

_PIECES_PER_SECOND = 20
_SMALLEST_PIECE, _LARGEST_PIECE = 512, 64 << 10


class ThrottleOptions(sdk.FilterOptions):
    """The options of ``throttle``; docs/filters/throttle.rst explains them."""

    up: int = Field(default=0, ge=0)
    down: int = Field(default=0, ge=0)
    burst: int = Field(default=0, ge=0)
    per: Literal["connection", "user", "address"] = "connection"


class Rate:
    """One direction's rate: makes its buckets, and cuts what goes through them."""

    def __init__(self, rate: int, burst: int) -> None:
        """:param rate: bytes per second, above 0. :param burst: bytes; 0 for a second's worth."""
        self._rate = rate
        self._burst = burst or rate
        # Small enough that a slow connection flows, and several share a rate; no more than the bucket ever holds.
        piece = max(_SMALLEST_PIECE, min(rate // _PIECES_PER_SECOND, _LARGEST_PIECE))
        self.piece = max(min(piece, self._burst), 1)
        self.shares = Shares(self.bucket)

    def bucket(self) -> Bucket:
        """Make a bucket, in time of the running event loop."""
        return Bucket(self._rate, self._burst, asyncio.get_running_loop().time)


class ThrottledConnection(sdk.AsyncDataFilter):
    """Passes everything on, in time."""

    def __init__(self, firewall: sdk.IFWXFirewall, up: Rate | None, down: Rate | None, key: str) -> None:
        """*key* is whom the rates are shared with; empty for nobody."""
        self._firewall: Any = firewall
        self._up, self._down, self._key = up, down, key

    async def run(self, internal: sdk.AsyncSocket, external: sdk.AsyncSocket, connection: Any, context: Any) -> None:
        await sdk.together(self._carry(internal, external, self._up), self._carry(external, internal, self._down))

    def Detach(self) -> None:
        super().Detach()
        self._firewall = None

    async def _carry(self, source: sdk.AsyncSocket, sink: sdk.AsyncSocket, rate: Rate | None) -> None:
        if rate is None:
            await sdk.pump(source, sink)
            return
        if not self._key:
            await self._throttle(source, sink, rate.bucket(), rate.piece)
            return
        bucket = rate.shares.join(self._key)
        try:
            await self._throttle(source, sink, bucket, rate.piece)
        finally:
            rate.shares.leave(self._key)

    async def _throttle(self, source: sdk.AsyncSocket, sink: sdk.AsyncSocket, bucket: Bucket, size: int) -> None:
        """Pass one direction on. Nothing is received while there is something to wait for: that holds the sender."""
        async for buffer in source:
            for piece, count in self._cut(buffer, size):
                delay = bucket.take(count)
                if delay > 0:
                    try:
                        await asyncio.sleep(delay)
                    except asyncio.CancelledError:
                        bucket.give_back(count)
                        raise
                await sink.send(piece)
        sink.shutdown()

    def _cut(self, buffer: sdk.IFWXIOBuffer, size: int) -> Iterator[tuple[sdk.IFWXIOBuffer, int]]:
        length = buffer.GetBufferSizes()[1]
        if length <= size:
            yield buffer, length
            return
        for start in range(0, length, size):
            count = min(size, length - start)
            yield self._firewall.CreateWindowBuffer(buffer, start, count), count


@sdk.implementer(sdk.IFWXFilter)
class Throttle(sdk.ConnectionFilter):
    """The filter object."""

    Options = ThrottleOptions
    EVENTS = ()

    def __init__(self, options: ThrottleOptions) -> None:
        self._up = Rate(options.up, options.burst) if options.up else None
        self._down = Rate(options.down, options.burst) if options.down else None
        self._per = options.per

    def data_filter(self, asked: sdk.AskedConnection) -> sdk.IFWXDataFilter | None:
        if self._up is None and self._down is None:
            return None
        assert self.firewall is not None
        return ThrottledConnection(self.firewall, self._up, self._down, self._key(asked))

    def _key(self, asked: sdk.AskedConnection) -> str:
        if self._per == "connection":
            return ""
        record: Any = sdk.IRecorded
        user = record(asked.connection).user if self._per == "user" else ""
        return f"user {user}" if user else f"address {asked.client.host}"
