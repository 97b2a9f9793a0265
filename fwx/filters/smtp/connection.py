"""The data filter of one SMTP connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fwx import sdk
from fwx.filters.smtp.dialogue import Dialogue, Rules, State

REPLY_SECONDS = 10.0
"""So long the server has for replies that the client is owed before the one that ends the connection."""
FAREWELL_SECONDS = 5.0
"""So long the client has for taking the last reply; what it sends meanwhile is thrown away."""


class _RefusedError(Exception):
    """The connection is to end: raised by one of the two loops, which ends the other."""


class SmtpConnection(sdk.AsyncDataFilter):
    """Carries a dialogue between the two sockets."""

    def __init__(self, rules: Rules, report: Callable[[str, bool], None]) -> None:
        """*report* is told in words what does not pass, with true, and what else the log should have."""
        self._dialogue = Dialogue(rules)
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
            if dialogue.state is State.CLOSING:
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
        self._report("STARTTLS: what is said under TLS is not looked at", False)
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
                if dialogue.state is State.CLOSING:
                    dialogue.give_up()
                await self._send_on(internal, None)
                self._server_has_ended = True
                replied.set()
                internal.shutdown()
                return
            dialogue.from_server(buffer.GetBufferAndSize())
            replied.set()
            await self._send_on(internal, None)
        await sdk.pump(external, internal)

    async def _send_on(self, internal: sdk.AsyncSocket, external: sdk.AsyncSocket | None) -> None:
        """Send what there is; to the server only in the loop that listens to the client.

        Else the loop that listens to the server would wait for a server that waits to be listened to.

        :raises _RefusedError: that was the last of it.
        """
        dialogue = self._dialogue
        notes, dialogue.notes = dialogue.notes, []
        for words in notes:
            self._report(words, True)
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
