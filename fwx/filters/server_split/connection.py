"""The outer side of a connection to an inside server: carries what passes between it and the client outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fwx import sdk


class _LeftError(Exception):
    """The client outside has reset its connection."""


class SplitConnection(sdk.AsyncDataFilter):
    """Plays the peer of an inside server (B3.37); the client outside is the filter's own socket.

    :ivar joined: whether the server is there, once that is known. :ivar ended: is done when the connection is over.
    """

    def __init__(self, outside: sdk.AsyncSocket, first: bytes, sent: Callable[[int], None]) -> None:
        """*first* is what the client has said already; *sent* is told how many bytes went on to the server."""
        loop = asyncio.get_running_loop()
        self.joined: asyncio.Future[bool] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._outside: sdk.AsyncSocket | None = outside
        self._first = first
        self._sent = sent

    def SetSockets(
        self,
        piInternalSocket: sdk.IFWXSocket,
        pIExternalSocket: sdk.IFWXSocket | None,
        piConnection: Any,
        punkFilterContext: Any,
    ) -> None:
        _settle(self.joined, True)
        super().SetSockets(piInternalSocket, pIExternalSocket, piConnection, punkFilterContext)

    def Detach(self) -> None:
        super().Detach()
        self._sent = uncounted
        self._outside = None
        _settle(self.joined, False)
        _settle(self.ended, None)

    async def run(self, internal: sdk.AsyncSocket, external: sdk.AsyncSocket, connection: Any, context: Any) -> None:
        outside, abortive = self._outside, True
        if outside is None:
            return
        try:
            await sdk.together(self._carry_in(outside, internal), self._carry_out(internal, outside, connection))
            abortive = False
        except* _LeftError:
            record: Any = sdk.IRecorded
            record(connection).remark("server-split: the client has reset the connection")
            internal.close(True)
        finally:
            outside.close(abortive)

    async def _carry_in(self, outside: sdk.AsyncSocket, internal: sdk.AsyncSocket) -> None:
        first, self._first = self._first, b""
        if first:
            await internal.send(first)
            self._sent(len(first))
        while True:
            try:
                buffer = await outside.receive()
            except sdk.COMError as error:
                raise _LeftError from error
            size = buffer.GetBufferSizes()[1]
            if not size:
                internal.shutdown()
                return
            await internal.send(buffer)
            self._sent(size)

    async def _carry_out(self, internal: sdk.AsyncSocket, outside: sdk.AsyncSocket, connection: Any) -> None:
        """The service does not see what goes out, so it is told how much that is (B3.39)."""
        async for buffer in internal:
            size = buffer.GetBufferSizes()[1]
            try:
                await outside.send(buffer)
            except sdk.COMError as error:
                raise _LeftError from error
            connection.IncrementBytesSentCounter(size)
        outside.shutdown()


def uncounted(size: int) -> None:
    """The service counts by itself what comes from a socket of the filter's."""


def _settle(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)
