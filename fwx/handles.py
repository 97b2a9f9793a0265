"""Overlapped operations on descriptors: files by a thread, everything else when the kernel says that it is ready."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from fwx.descriptors import Descriptor, Hook, HookTable, Result
from fwx.impl.fileerror import file_error
from fwx.impl.handles import Done
from fwx.impl.runqueue import RunQueue
from fwx.impl.transport import Handler
from fwx.interfaces import ERROR_GEN_FAILURE, ERROR_OPERATION_ABORTED

logger = logging.getLogger("fwx.handles")

_ABORTED: Result = (ERROR_OPERATION_ABORTED, 0, b"")


class Watcher(Protocol):
    """Tells when a descriptor is ready: the poller of the host, or the memory loop of a test."""

    def watch(self, fd: int, handler: Handler) -> None:
        """Have *handler* called at every edge of readiness of *fd*. :raises OSError: it cannot be watched."""

    def release(self, descriptor: Descriptor) -> None:
        """Watch *descriptor* no more, and close it."""


def _nothing() -> Result:
    """What is left of an operation that has ended."""
    return _ABORTED


class DescriptorHandles:
    """The hooked descriptors of one service (:class:`fwx.impl.handles.Handles`)."""

    def __init__(self, queue: RunQueue, watcher: Watcher, submit: Callable[[Callable[[], object]], object]) -> None:
        """*submit* has a function called where it may block: on a thread of a pool."""
        self.queue = queue
        self.watcher = watcher
        self.submit = submit
        self._table = HookTable()
        self._lock = threading.Lock()
        self._pending: set[FileHandle | StreamHandle] = set()
        self._closed = False

    def __len__(self) -> int:
        """The number of operations that have not ended."""
        return len(self._pending)

    def hook(self, fd: int) -> None:
        self._table.hook(fd)

    def open(self, fd: int) -> FileHandle | StreamHandle:
        hook, descriptor = self._table.open(fd)
        return StreamHandle(self, descriptor, hook) if hook.is_stream else FileHandle(self, descriptor)

    def close(self) -> None:
        """Abort what is pending. What a thread has begun is left to it: its end is not told again."""
        with self._lock:
            pending = list(self._pending)
            self._closed = True
        for handle in pending:
            handle.abort()

    # For the handles.

    def begin(self, handle: FileHandle | StreamHandle) -> bool:
        """Count *handle* among what is pending; tell whether the service still runs."""
        with self._lock:
            self._pending.add(handle)
            return not self._closed

    def end(self, handle: FileHandle | StreamHandle) -> None:
        with self._lock:
            self._pending.discard(handle)

    def deliver(self, function: Callable[[Result], None], result: Result) -> None:
        """Have *function* called on the loop thread; called on a thread of the pool, which may outlive the loop."""
        with self._lock:
            if not self._closed:
                self.queue.post(function, result)


class FileHandle:
    """A file for one operation, which a thread makes (:class:`fwx.impl.handles.Handle`)."""

    __slots__ = ("_access", "_descriptor", "_done", "_lock", "_owner")

    def __init__(self, owner: DescriptorHandles, descriptor: Descriptor) -> None:
        self._owner = owner
        self._descriptor = descriptor
        self._lock = threading.Lock()
        # What is to be done, until a thread or an abort takes it: whoever does closes the descriptor.
        self._access: Callable[[], Result] | None = None
        self._done: Done | None = None

    def read(self, size: int, offset: int, done: Done) -> None:
        self._start(partial(self._descriptor.read_at, size, offset), done)

    def write(self, data: bytes | memoryview, offset: int, done: Done) -> None:
        self._start(partial(self._descriptor.write_at, data, offset), done)

    def cancel(self) -> None:
        if self._take() is not None:
            self._descriptor.close()
            self._owner.queue.post(self._end, _ABORTED)

    def abort(self) -> None:
        """End the operation as aborted whatever a thread does; on the loop thread."""
        if self._take() is not None:
            self._descriptor.close()
        self._owner.queue.post(self._end, _ABORTED)

    def close(self) -> None:
        self._descriptor.close()

    def _start(self, access: Callable[[], Result], done: Done) -> None:
        self._access, self._done = access, done
        runs = self._owner.begin(self)
        if not runs:
            self.abort()
            return
        try:
            self._owner.submit(self._run)
        except BaseException:
            self._owner.end(self)
            raise

    def _take(self) -> Callable[[], Result] | None:
        with self._lock:
            access, self._access = self._access, None
        return access

    def _run(self) -> None:
        """Access the file; on a thread that may block."""
        access = self._take()
        if access is None:
            return
        try:
            result = access()
        except Exception:
            logger.exception("an access to descriptor %d failed", self._descriptor.fileno())
            result = ERROR_GEN_FAILURE, 0, b""
        self._descriptor.close()
        del access  # it holds the filter's memory, which is given back at the end
        self._owner.deliver(self._end, result)

    def _end(self, result: Result) -> None:
        done, self._done = self._done, None
        if done is not None:
            self._owner.end(self)
            done(*result)


class StreamHandle:
    """A pipe, a socket or the like for one operation, which waits until it is ready (:class:`fwx.impl.handles.Handle`).

    The operations of one direction end in the order in which they began; but for ``_done`` all is the loop thread's.
    """

    __slots__ = ("_attempt", "_descriptor", "_done", "_hook", "_line", "_owner", "_watched", "_written")

    def __init__(self, owner: DescriptorHandles, descriptor: Descriptor, hook: Hook) -> None:
        self._owner = owner
        self._descriptor = descriptor
        self._hook = hook
        self._line: deque[StreamHandle] = hook.reads
        self._attempt: Callable[[], Result | None] = _nothing
        self._done: Done | None = None
        self._watched = False
        self._written = 0

    def read(self, size: int, offset: int, done: Done) -> None:  # noqa: ARG002  a stream has no places
        self._start(partial(self._hook.read_now, self._descriptor, size), done)

    def write(self, data: bytes | memoryview, offset: int, done: Done) -> None:  # noqa: ARG002
        self._line = self._hook.writes
        self._start(partial(self._write_now, data), done)

    def cancel(self) -> None:
        self._owner.queue.call(self.abort)

    def abort(self) -> None:
        """End the operation as aborted; on the loop thread."""
        if self._done is None:
            return
        line = self._line
        was_first = bool(line) and line[0] is self
        if self in line:
            line.remove(self)
        self._finish(_ABORTED)
        if was_first:
            _advance(line)

    def close(self) -> None:
        self._descriptor.close()

    def _start(self, attempt: Callable[[], Result | None], done: Done) -> None:
        self._attempt, self._done = attempt, done
        runs = self._owner.begin(self)
        self._owner.queue.call(self._enter if runs else self.abort)

    def _enter(self) -> None:
        if self._done is None:  # aborted on its way from another thread
            return
        self._line.append(self)
        if self._line[0] is self:
            _advance(self._line)

    def go(self) -> bool:
        """Try; tell whether the operation has ended. What is not ready is watched."""
        result = self._attempt()
        if result is None:
            result = self._watch()
        if result is None:
            return False
        self._line.popleft()
        self._finish(result)
        return True

    def _watch(self) -> Result | None:
        if not self._watched:
            try:
                self._owner.watcher.watch(self._descriptor.fileno(), lambda _mask: _advance(self._line))
            except OSError as error:
                return file_error(error), self._written, b""
            self._watched = True
        return None

    def _write_now(self, data: bytes | memoryview) -> Result | None:
        view = memoryview(data)
        try:
            while self._written < len(view):
                self._written += os.write(self._descriptor.fileno(), view[self._written :])
        except BlockingIOError:
            return None
        except OSError as error:
            return file_error(error), self._written, b""
        return 0, self._written, b""

    def _finish(self, result: Result) -> None:
        done, self._done = self._done, None
        assert done is not None
        self._attempt = _nothing  # what it held, the filter's memory among it, is given back
        if self._watched:
            self._owner.watcher.release(self._descriptor)
        else:
            self._descriptor.close()
        self._owner.queue.post(self._tell, done, result)

    def _tell(self, done: Done, result: Result) -> None:
        self._owner.end(self)
        done(*result)


def _advance(line: deque[StreamHandle]) -> None:
    """Let the operations of *line* end as far as there is something for them, one after the other."""
    while line and line[0].go():
        pass
