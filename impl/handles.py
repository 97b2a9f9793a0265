"""What the engine needs of the kernel's files: the host hands in an object with this shape (``fwx.handles``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

Done = Callable[[int, int, bytes], None]
"""Told how an operation ended: the Windows error or 0, the bytes that were moved, and what was read."""

END_OF_FILE: Final = (1 << 64) - 1
"""The offset that means: behind what the file holds when it is written."""


class Handle(Protocol):
    """A hooked descriptor for one operation: a duplicate of its own, given back when the operation ends.

    Any thread may call. ``read`` or ``write`` is called once; *done* comes once, on the loop thread, from the run
    queue.
    """

    def read(self, size: int, offset: int, done: Done) -> None:
        """Read at most *size* bytes; *offset* counts for files alone.

        :raises COMError: the service stops, or has no thread for it.
        """

    def write(self, data: bytes | memoryview, offset: int, done: Done) -> None:
        """Write all of *data*, which nobody changes meanwhile; *offset* may be ``END_OF_FILE``.

        :raises COMError: as :meth:`read`.
        """

    def cancel(self) -> None:
        """End the operation as aborted if it can still be taken back."""

    def close(self) -> None:
        """Give back a handle that no operation was begun on."""


class Handles(Protocol):
    """The descriptors that filters have hooked."""

    def hook(self, fd: int) -> None:
        """Remember *fd*.

        :raises COMError: ``E_HANDLE`` it is not open; ``E_INVALIDARG`` it is hooked.
        """

    def open(self, fd: int) -> Handle:
        """Return *fd* for one operation.

        :raises COMError: ``E_HANDLE`` it is not open; ``E_INVALIDARG`` it was not hooked, or is another file now;
            ``ERROR_TOO_MANY_OPEN_FILES``.
        """

    def close(self) -> None:
        """End everything that is pending as aborted; on the loop thread, before the last of the run queue."""
