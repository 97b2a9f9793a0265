"""Descriptors of filters: which ones are hooked, and a duplicate to read and write by."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import stat
import threading
from collections import deque
from typing import Any

from fwx.impl.fileerror import file_error
from fwx.impl.handles import END_OF_FILE
from fwx.interfaces import (
    E_HANDLE,
    E_INVALIDARG,
    ERROR_BROKEN_PIPE,
    ERROR_HANDLE_EOF,
    ERROR_NOT_ENOUGH_MEMORY,
    COMError,
    winsock_error,
)

Result = tuple[int, int, bytes]
"""How an operation ended: the Windows error or 0, the bytes that were moved, what was read."""

# One call moves no more (Linux's own limit is a page less than 2 GiB).
_MOST_AT_ONCE = 1 << 30


class Descriptor:
    """A duplicate of a filter's descriptor: the same open file, whatever becomes of the filter's own number."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        """Duplicate *fd*. :raises OSError: it is not open, or there are too many."""
        self._fd = os.dup(fd)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)

    @property
    def identity(self) -> tuple[int, int]:
        """Which file it is."""
        status = os.fstat(self._fd)
        return status.st_dev, status.st_ino

    @property
    def is_marked(self) -> bool:
        """:meth:`mark` was called for this open file: not for the same path, opened another time."""
        return fcntl.fcntl(self._fd, fcntl.F_GETSIG) == signal.SIGIO

    def mark(self) -> None:
        """Mark the open file, for as long as it is open anywhere.

        The kernel keeps one free value for each open file: the signal for O_ASYNC. SIGIO is what it sends anyway.
        """
        fcntl.fcntl(self._fd, fcntl.F_SETSIG, signal.SIGIO)

    def read_at(self, size: int, offset: int) -> Result:
        """Read *size* bytes at *offset* of a file, fewer at its end; it may block."""
        blocks: list[bytes] = []
        left = size
        try:
            while left:
                block = os.pread(self._fd, min(left, _MOST_AT_ONCE), offset + size - left)
                if not block:
                    break
                blocks.append(block)
                left -= len(block)
        except OSError as error:
            return file_error(error), 0, b""
        except MemoryError:
            return ERROR_NOT_ENOUGH_MEMORY, 0, b""
        if size and left == size:
            return ERROR_HANDLE_EOF, 0, b""
        return 0, size - left, blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def write_at(self, data: bytes | memoryview, offset: int) -> Result:
        """Write all of *data* at *offset* of a file, or behind its end; it may block."""
        appends = offset == END_OF_FILE
        flags = os.RWF_APPEND if appends else 0
        view, written = memoryview(data), 0
        try:
            while written < len(view):
                rest = view[written : written + _MOST_AT_ONCE]
                written += os.pwritev(self._fd, [rest], 0 if appends else offset + written, flags)
        except OSError as error:
            return file_error(error), written, b""
        return 0, written, b""


class Hook:
    """One hooked open file.

    :ivar is_stream: it is waited for, not accessed at a place: a pipe, a socket, an eventfd, a terminal.
    :ivar reads: the reads that wait on a stream, in their order; :attr:`writes`, the writes.
    """

    __slots__ = ("_at_end", "identity", "is_stream", "reads", "writes")

    def __init__(self, descriptor: Descriptor) -> None:
        mode = os.fstat(descriptor.fileno()).st_mode
        self.identity = descriptor.identity
        self.is_stream = _is_pollable(descriptor)
        self.reads: deque[Any] = deque()
        self.writes: deque[Any] = deque()
        self._at_end = ERROR_BROKEN_PIPE if stat.S_ISFIFO(mode) else 0 if stat.S_ISSOCK(mode) else ERROR_HANDLE_EOF

    def read_now(self, descriptor: Descriptor, size: int) -> Result | None:
        """Read from a stream what there is, at most *size* bytes; ``None`` when there is nothing yet."""
        try:
            data = os.read(descriptor.fileno(), min(size, _MOST_AT_ONCE)) if size else b""
        except BlockingIOError:
            return None
        except OSError as error:
            return file_error(error), 0, b""
        except MemoryError:
            return ERROR_NOT_ENOUGH_MEMORY, 0, b""
        return (self._at_end if size and not data else 0), len(data), data


class HookTable:
    """The hooked descriptors by number. Any thread may call.

    A number counts as hooked as long as it stands for the open file that was hooked.
    """

    def __init__(self) -> None:
        self._hooks: dict[int, Hook] = {}
        self._lock = threading.Lock()

    def hook(self, fd: int) -> None:
        """Remember *fd*. :raises COMError: see :class:`fwx.impl.handles.Handles`."""
        descriptor = _duplicate(fd)
        try:
            with self._lock:
                if self._find(fd, descriptor) is not None:
                    raise COMError(E_INVALIDARG, f"descriptor {fd} is hooked already")
                hook = Hook(descriptor)
                descriptor.mark()
                self._hooks[fd] = hook
        except OSError as error:  # an O_PATH descriptor can be duplicated, and nothing else
            raise COMError(E_HANDLE, f"descriptor {fd} is no open file: {error}") from error
        finally:
            descriptor.close()

    def open(self, fd: int) -> tuple[Hook, Descriptor]:
        """Return the hook of *fd* and a duplicate of it. :raises COMError: see :class:`fwx.impl.handles.Handles`."""
        descriptor = _duplicate(fd)
        try:
            hook = self._find(fd, descriptor)
        except OSError as error:
            descriptor.close()
            raise COMError(E_HANDLE, f"descriptor {fd} is no open file: {error}") from error
        if hook is None:
            descriptor.close()
            raise COMError(E_INVALIDARG, f"descriptor {fd} was not hooked with HookToCompletionPort")
        if hook.is_stream:
            os.set_blocking(descriptor.fileno(), False)
        return hook, descriptor

    def _find(self, fd: int, descriptor: Descriptor) -> Hook | None:
        hook = self._hooks.get(fd)
        return hook if hook is not None and descriptor.is_marked and descriptor.identity == hook.identity else None


def _duplicate(fd: int) -> Descriptor:
    try:
        return Descriptor(fd)
    except OSError as error:
        if error.errno == errno.EBADF:
            raise COMError(E_HANDLE, f"{fd} is not an open descriptor") from error
        raise winsock_error(file_error(error), f"descriptor {fd} cannot be duplicated: {error}") from error


def _is_pollable(descriptor: Descriptor) -> bool:
    with select.epoll() as probe:
        try:
            probe.register(descriptor, select.EPOLLIN)
        except PermissionError:  # the kernel's answer for files and for devices without readiness
            return False
    return True
