"""Carries a conversation of commands and replies between two sockets; what may pass, a dialogue says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from fwx import sdk

REPLY_SECONDS = 10.0
"""So long the server has for replies that the client is owed before the one that ends the connection."""
FAREWELL_SECONDS = 5.0
"""So long the client has for taking the last reply; what it sends meanwhile is thrown away."""


class Dialogue(Protocol):
    """What is said on one connection. It moves no bytes.

    :ivar to_server: what may be sent, as is :ivar:`to_client`. :ivar over: the connection is to end, once that is sent.
    :ivar notes: what has been refused since they were last taken, in words, and is worth an alert; :ivar:`remarks`,
        what the log alone should have. :ivar secured: from now on nothing can be read, and all passes.
    """

    to_server: bytearray
    to_client: bytearray
    notes: list[str]
    remarks: list[str]
    over: bool
    secured: bool

    @property
    def held(self) -> bool:
        """Whether the client is not listened to until the server has replied."""

    @property
    def closing(self) -> bool:
        """Whether only the replies that the client is owed are still to come."""

    def from_client(self, data: bytes | memoryview) -> None:
        """Take bytes of the client."""

    def from_server(self, data: bytes | memoryview) -> None:
        """Take bytes of the server."""

    def go_on(self) -> None:
        """Take what the client has sent already, as far as it may be taken now."""

    def give_up(self) -> None:
        """The server does not reply to what came before the end: the client is told the end alone."""

    def awaited(self) -> Awaitable[object] | None:
        """Return what the server's next reply waits for, which has come; then :meth:`from_server` is told nothing new.

        ``None`` where the server is to be listened to.
        """


class _RefusedError(Exception):
    """The connection is to end: raised by one of the two loops, which ends the other."""


class Conversation(sdk.AsyncDataFilter):
    """Carries a dialogue between the two sockets."""

    def __init__(self, dialogue: Dialogue, report: Callable[[str, bool], None]) -> None:
        """*report* is told in words what does not pass, with true, and what else the log should have."""
        self._dialogue = dialogue
        self._report = report
        self._server_has_ended = False

    def Detach(self) -> None:
        super().Detach()
        self._report = _to_nobody

    async def run(self, internal: sdk.AsyncSocket, external: sdk.AsyncSocket, connection: Any, context: Any) -> None:
        replied = asyncio.Event()
        try:
            await sdk.together(
                self._listen_to_client(internal, external, replied), self._listen_to_server(internal, external, replied)
            )
        except* _RefusedError:
            # By a reset: a server that has half a message must not take it for a whole one.
            external.close(True)
            await self._take_leave(internal)

    async def _listen_to_client(
        self, internal: sdk.AsyncSocket, external: sdk.AsyncSocket, replied: asyncio.Event
    ) -> None:
        dialogue = self._dialogue
        while not dialogue.secured:
            await self._send_on(internal, external)
            if dialogue.closing:
                await asyncio.sleep(REPLY_SECONDS)
                dialogue.give_up()
            elif dialogue.held and not self._server_has_ended:
                replied.clear()
                await replied.wait()
                dialogue.go_on()
            else:
                buffer = await internal.receive()
                if not buffer.GetBufferSizes()[1]:
                    # What is left is half a line, and half a line is not passed on.
                    external.shutdown()
                    return
                if not dialogue.held:  # else its reply will never come
                    dialogue.from_client(buffer.GetBufferAndSize())
        await self._send_on(internal, external)
        await sdk.pump(internal, external)

    async def _listen_to_server(
        self, internal: sdk.AsyncSocket, external: sdk.AsyncSocket, replied: asyncio.Event
    ) -> None:
        dialogue = self._dialogue
        while True:
            buffer = await external.receive()
            if dialogue.secured:
                await internal.send(buffer)
                break
            if not buffer.GetBufferSizes()[1]:
                if dialogue.closing:
                    dialogue.give_up()
                await self._send_on(internal, None)
                self._server_has_ended = True
                replied.set()
                internal.shutdown()
                return
            dialogue.from_server(buffer.GetBufferAndSize())
            replied.set()
            await self._send_on(internal, None)
            while (awaited := dialogue.awaited()) is not None:
                await awaited
                dialogue.from_server(b"")
                replied.set()
                await self._send_on(internal, None)
        await sdk.pump(external, internal)

    async def _send_on(self, internal: sdk.AsyncSocket, external: sdk.AsyncSocket | None) -> None:
        """Send what there is; to the server only in the loop that listens to the client.

        Else the loop that listens to the server would wait for a server that waits to be listened to.

        :raises _RefusedError: that was the last of it.
        """
        dialogue = self._dialogue
        for told, alarming in ((dialogue.notes, True), (dialogue.remarks, False)):
            for words in told:
                self._report(words, alarming)
            told.clear()
        if dialogue.over:
            raise _RefusedError
        while dialogue.to_client and not self._server_has_ended:
            await internal.send(_taken(dialogue.to_client))
        if external is not None and dialogue.to_server:
            await external.send(_taken(dialogue.to_server))

    async def _take_leave(self, internal: sdk.AsyncSocket) -> None:
        """Tell the client the last reply; a reset on top of what it still sends could overtake it."""
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                if not self._server_has_ended:
                    await internal.send(_taken(self._dialogue.to_client))
                    internal.shutdown()
                async for _ in internal:
                    """Too late."""
        except TimeoutError:
            internal.close(True)


def _to_nobody(words: str, is_refusal: bool) -> None:
    """The connection has ended."""


def _taken(data: bytearray) -> bytes:
    taken = bytes(data)
    data.clear()
    return taken
