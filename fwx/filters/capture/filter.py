"""The filter ``capture``: its options, and the data filter that records what it passes on."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from fwx import sdk
from fwx.filters.capture.files import Files
from fwx.filters.capture.flow import Flow
from fwx.filters.capture.packet import Ends
from fwx.filters.capture.pcapng import section
from fwx.filters.capture.writer import Writer


def _folder(text: str) -> str:
    if not PurePosixPath(text).is_absolute():
        raise ValueError("expected an absolute path")
    return text


def _prefix(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", text):
        raise ValueError("expected the beginning of a file name: letters, digits, '_', '.' and '-'")
    return text


class CaptureOptions(sdk.FilterOptions):
    """The options of ``capture``; docs/filters/capture.rst explains them."""

    folder: Annotated[str, AfterValidator(_folder)]
    prefix: Annotated[str, AfterValidator(_prefix)] = "capture"
    file_size: int = Field(default=100_000_000, ge=1 << 17)
    files: int = Field(default=10, ge=1, le=9999)
    on_full: Literal["pass", "close"] = "pass"


class _NotRecordedError(Exception):
    """Something could not be written, and nothing may pass that is not."""


class CapturedConnection(sdk.AsyncDataFilter):
    """Passes everything on unchanged, once it waits to be written."""

    def __init__(self, writer: Writer, client: sdk.SocketAddress, target: sdk.SocketAddress, about: str, closes: bool):
        """*about* is what stands beside the first packet; *closes*, that nothing passes when the disk is full."""
        self._writer = writer
        self._client, self._target, self._about = client, target, about
        self._closes = closes
        self._failures = writer.failures

    async def run(self, internal: sdk.AsyncSocket, external: sdk.AsyncSocket, connection: Any, context: Any) -> None:
        target = self._target if self._target.address is not None else connection.GetExternalPeerName()
        ends = Ends((self._client.host, self._client.port), (target.host, target.port))
        flow = Flow(ends, self._about)
        self._writer.add(flow, flow.opening())
        try:
            if self._closes:
                await self._writer.catch_up()
                self._require_records()
            await sdk.together(
                self._carry(flow, internal, external, from_client=True),
                self._carry(flow, external, internal, from_client=False),
            )
        except* _NotRecordedError:
            self._writer.add(flow, flow.reset(False))
            record: Any = sdk.IRecorded
            record(connection).remark("capture: the packets cannot be recorded")
            internal.close(True)
            external.close(True)

    async def _carry(self, flow: Flow, source: sdk.AsyncSocket, sink: sdk.AsyncSocket, *, from_client: bool) -> None:
        writer = self._writer
        while True:
            try:
                buffer = await source.receive()
            except sdk.COMError:
                writer.add(flow, flow.reset(from_client))
                raise
            if not buffer.GetBufferSizes()[1]:
                break
            writer.add(flow, flow.data(from_client, bytes(buffer.GetBufferAndSize())))
            if writer.is_behind:
                await writer.catch_up()
            self._require_records()
            try:
                await sink.send(buffer)
            except sdk.COMError:
                writer.add(flow, flow.reset(not from_client))
                raise
        writer.add(flow, flow.end(from_client))
        sink.shutdown()

    def _require_records(self) -> None:
        """:raises _NotRecordedError: something was lost since the connection began, and that may not be."""
        if self._closes and self._writer.failures != self._failures:
            raise _NotRecordedError


@sdk.implementer(sdk.IFWXFilter)
class Capture(sdk.ConnectionFilter):
    """The filter object."""

    Options = CaptureOptions
    EVENTS = ("Capture not written",)

    def __init__(self, options: CaptureOptions) -> None:
        self._options = options
        self._writer: Writer | None = None
        self._event: sdk.EventDefinition | None = None

    def started(self, firewall: sdk.IFWXFirewall) -> None:
        """:raises OSError: the folder is not there, or no file can be made in it."""
        options = self._options
        self._event = sdk.define_event(firewall, "Capture not written", source="capture", severity=sdk.Severity.ERROR)
        files = Files(
            options.folder, options.prefix, options.file_size, options.files, section("fwx capture", options.prefix)
        )
        try:
            files.begin()
        except OSError:
            files.close()
            raise
        self._writer = Writer(firewall, files, self._troubled)

    def ended(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def data_filter(self, asked: sdk.AskedConnection) -> sdk.IFWXDataFilter:
        assert self._writer is not None
        record: Any = sdk.IRecorded
        about = record(asked.connection)
        words = [f"rule: {about.rule}", f"user: {about.user or '-'}", f"target: {asked.target}"]
        closes = self._options.on_full == "close"
        return CapturedConnection(self._writer, about.client, asked.target, ", ".join(words), closes)

    def _troubled(self, words: str) -> None:
        event = self._event
        if event is not None:
            sdk.signal(event, f"{self._options.folder}: {words}")
