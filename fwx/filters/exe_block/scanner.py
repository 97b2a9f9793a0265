"""The data filter of a data connection: a file is held back as a whole, looked at, and passed on or refused (B12.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fwx import sdk
from fwx.filters.exe_block.port import DataPort
from fwx.filters.exe_block.signatures import Head, Signatures
from fwx.filters.exe_block.spool import Spool, SpoolError


@dataclass(frozen=True, slots=True)
class Scanning:
    """How files are looked at. ``largest`` counts bytes, 0 is no limit; ``uploads`` has those looked at too."""

    firewall: Any
    signatures: Signatures
    folder: str
    largest: int
    uploads: bool


class RefusedError(Exception):
    """A file that does not pass: ``reply`` is what the client is told, ``str()`` is for the log.

    :ivar is_failure: it could not be looked at.
    """

    def __init__(self, reply: str, words: str, *, is_failure: bool = False) -> None:
        self.reply = reply
        self.is_failure = is_failure
        super().__init__(words)


def _nothing() -> None:
    """Nobody waits for that."""


class Scanner(sdk.AsyncDataFilter):
    """Looks at what goes over one data connection."""

    def __init__(self, port: DataPort, scanning: Scanning, report: Callable[[str, bool], None]) -> None:
        """*report* is told what was refused, in words, and whether that is because it could not be looked at."""
        self._port = port
        self._scanning = scanning
        self._report = report
        self._is_known = self._is_decided = False
        port.came()

    def Detach(self) -> None:
        super().Detach()
        self._decide()

    async def run(self, internal: sdk.AsyncSocket, external: sdk.AsyncSocket, connection: Any, context: Any) -> None:
        if not self._port.leads_here(connection):
            self._decide()
            await super().run(internal, external, connection, context)
            return
        try:
            await sdk.together(self._download(external, internal), self._upload(internal, external))
        except* RefusedError as refused:
            (first, *_) = refused.exceptions
            assert isinstance(first, RefusedError)
            record: Any = sdk.IRecorded
            words = f"{self._port.what}: {first}"
            record(connection).remark(f"exe-block: {words}")
            self._report(words, first.is_failure)
            # By a reset: a server must not take a part of an upload for the whole.
            external.close(True)
        finally:
            self._decide()

    def _know(self) -> None:
        """From now on the client may hear that the file comes."""
        if not self._is_known:
            self._is_known = True
            self._port.known()

    def _decide(self) -> None:
        """From now on the client may hear how the transfer has ended."""
        self._know()
        if not self._is_decided:
            self._is_decided = True
            self._port.decided()

    async def _download(self, server: sdk.AsyncSocket, client: sdk.AsyncSocket) -> None:
        first = await server.receive()
        if self._port.may_download:
            await self._hold(first, server, client, self._know, self._decide)
            return
        self._decide()
        await _pass(first, server, client)

    async def _upload(self, client: sdk.AsyncSocket, server: sdk.AsyncSocket) -> None:
        first = await client.receive()
        if not self._scanning.uploads:
            await _pass(first, client, server)
            return
        try:
            await self._hold(first, client, server)
        except RefusedError:
            # Its client sends on, and hears of the end only in this way.
            client.close(True)
            raise

    async def _hold(
        self,
        first: sdk.IFWXIOBuffer,
        source: sdk.AsyncSocket,
        sink: sdk.AsyncSocket,
        known: Callable[[], None] = _nothing,
        passes: Callable[[], None] = _nothing,
    ) -> None:
        """Take the whole of a file, *first* at the beginning, then pass it on.

        *known* is called when its beginning is no program's, *passes* when all of it is there.

        :raises RefusedError: it is a program, too large, or cannot be held.
        """
        if not _size_of(first):
            passes()
            sink.shutdown()
            return
        try:
            spool = Spool(self._scanning.firewall, self._scanning.folder)
            try:
                await self._fill(spool, first, source, known)
                passes()
                place = 0
                while place < spool.size:
                    buffer = await spool.read(place)
                    place += _size_of(buffer)
                    await sink.send(buffer)
                sink.shutdown()
            finally:
                spool.close()
        except SpoolError as error:
            reply = "452 Insufficient storage space" if error.is_full else "451 Local error in processing"
            raise RefusedError(self._said(reply), str(error), is_failure=True) from error

    async def _fill(
        self, spool: Spool, first: sdk.IFWXIOBuffer, source: sdk.AsyncSocket, known: Callable[[], None]
    ) -> None:
        """Take everything up to the end of *source*. :raises RefusedError: it does not pass. :raises SpoolError:"""
        scanning = self._scanning
        head, buffer = Head(scanning.signatures), first
        while size := _size_of(buffer):
            found = head.feed(buffer.GetBufferAndSize())
            if found:
                raise RefusedError(self._said("550 Programs are not allowed here"), found)
            if 0 < scanning.largest < spool.size + size:
                words = f"more than {scanning.largest} bytes"
                raise RefusedError(self._said("552 The file is too large to be looked at"), words, is_failure=True)
            await spool.append(buffer)
            if head.is_whole:
                known()
            buffer = await source.receive()

    def _said(self, reply: str) -> str:
        """Have *reply* end the transfer; said before the server notices anything."""
        self._port.refusal = reply
        return reply


async def _pass(first: sdk.IFWXIOBuffer, source: sdk.AsyncSocket, sink: sdk.AsyncSocket) -> None:
    """Pass everything on, *first* at the beginning."""
    if not _size_of(first):
        sink.shutdown()
        return
    await sink.send(first)
    await sdk.pump(source, sink)


def _size_of(buffer: sdk.IFWXIOBuffer) -> int:
    return int(buffer.GetBufferSizes()[1])
