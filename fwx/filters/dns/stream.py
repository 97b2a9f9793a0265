"""The data filter of one TCP connection: messages with their lengths before them (RFC 1035, 4.2.2; RFC 7766)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fwx import sdk
from fwx.filters.dns.guard import Guard, Rules, Verdict
from fwx.filters.dns.message import HEADER


class FrameError(ValueError):
    """A length that no message has."""


class Frames:
    """Cuts a stream into messages."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take *data* and yield each message that is whole. :raises FrameError: a message without room for a header."""
        data, place = self._data + data, 0
        self._data = b""
        while place + 2 <= len(data):
            end = place + 2 + int.from_bytes(data[place : place + 2], "big")
            if end - place - 2 < HEADER.size:
                raise FrameError(f"a message of {end - place - 2} bytes")
            if end > len(data):
                break
            yield data[place + 2 : end]
            place = end
        self._data = data[place:]


class DnsStream(sdk.AsyncDataFilter):
    """Passes queries and responses on; answers or drops the others."""

    def __init__(self, rules: Rules, report: Callable[[str], None]) -> None:
        """*report* is told in words what does not pass."""
        self._guard = Guard(rules, stream=True)
        self._report = report

    def Detach(self) -> None:
        super().Detach()
        self._report = _to_nobody

    async def run(self, internal: sdk.AsyncSocket, external: sdk.AsyncSocket, connection: Any, context: Any) -> None:
        try:
            await sdk.together(
                self._carry(internal, external, internal, self._guard.query),
                self._carry(external, internal, internal, self._guard.response),
            )
        except* FrameError as errors:
            self._report(str(errors.exceptions[0]))
            internal.close(True)
            external.close(True)

    async def _carry(
        self,
        source: sdk.AsyncSocket,
        sink: sdk.AsyncSocket,
        client: sdk.AsyncSocket,
        judge: Callable[[bytes], Verdict],
    ) -> None:
        frames = Frames()
        async for buffer in source:
            passed, replies = bytearray(), bytearray()
            try:
                for message in frames.feed(bytes(buffer.GetBufferAndSize())):
                    verdict = judge(message)
                    if verdict.passes:
                        passed += _framed(message)
                    else:
                        self._report(verdict.words)
                        replies += _framed(verdict.reply) if verdict.reply else b""
            finally:
                # What was right before the fault still goes.
                for data, socket in ((passed, sink), (replies, client)):
                    if data:
                        await socket.send(bytes(data))
        sink.shutdown()


def _framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def _to_nobody(words: str) -> None:
    """The connection has ended."""
