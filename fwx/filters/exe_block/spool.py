"""A file that has no name: it holds what has come of a transfer, through the service's completion port (B12.2)."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from typing import Any

from fwx import sdk

BLOCK = 256 << 10
"""Bytes that are read at a time."""


class SpoolError(Exception):
    """The file could not be written or read: ``str()`` says why.

    :ivar is_full: there is no room on the disk.
    """

    def __init__(self, words: str, *, is_full: bool = False) -> None:
        self.is_full = is_full
        super().__init__(words)


_FULL = frozenset({sdk.ERROR_DISK_FULL, sdk.ERROR_DISK_QUOTA_EXCEEDED, sdk.ERROR_FILE_TOO_LARGE})


@sdk.implementer(sdk.IFWXExternalIOCompletion)
class Spool(sdk.Unknown):
    """The file. Used by one task, which closes it; an access that is under way then still ends, into the void.

    :ivar size: bytes that have been written.
    """

    def __init__(self, firewall: Any, folder: str) -> None:
        """Make the file, for its owner alone (0600). :raises SpoolError: it cannot be made."""
        self.size = 0
        self._firewall = firewall
        self._waiting: asyncio.Future[None] | None = None
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  closed by close
        except OSError as error:
            raise SpoolError(f"no file can be made in {folder}: {error.strerror}") from error
        try:
            firewall.HookToCompletionPort(self._file.fileno())
            self._overlapped = firewall.CreateOverlapped()
            self._overlapped.SetNotificationInterface(self, None)
        except BaseException:
            self._file.close()
            raise

    async def append(self, buffer: sdk.IFWXIOBuffer) -> None:
        """Write *buffer* behind what there is. :raises SpoolError: not all of it could be written."""
        await self._access(sdk.WriteFile, self.size, buffer)
        self.size += buffer.GetBufferSizes()[1]

    async def read(self, place: int) -> sdk.IFWXIOBuffer:
        """Return a buffer of what is written at *place*, which is below ``size``. :raises SpoolError: it fails."""
        buffer: sdk.IFWXIOBuffer = self._firewall.CreateBuffer(min(BLOCK, self.size - place))
        await self._access(sdk.ReadFile, place, buffer)
        return buffer

    def close(self) -> None:
        """Give the file back: nothing is left of it."""
        self._file.close()

    def CompleteAsyncIO(
        self, fSuccess: bool, NumberOfBytesTransfered: int, Win32ErrorCode: int, pOverlapped: Any, UserData: object
    ) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None or waiting.done():
            return  # whoever waited has been cancelled
        if fSuccess:
            waiting.set_result(None)
        elif Win32ErrorCode in _FULL:
            waiting.set_exception(SpoolError("there is no room on the disk", is_full=True))
        else:
            waiting.set_exception(SpoolError(f"error {Win32ErrorCode} of the file"))

    async def _access(self, begin: Callable[..., None], place: int, buffer: sdk.IFWXIOBuffer) -> None:
        structure = self._overlapped.GetOverlapped()
        structure.Offset, structure.OffsetHigh = place & 0xFFFF_FFFF, place >> 32
        try:
            begin(self._file.fileno(), buffer, None, structure)
        except sdk.COMError as error:
            raise SpoolError(str(error)) from error
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting
