"""Bookkeeping for posted operations: each completes once, in order, on the loop's thread, not inside a call."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXIOCompletion
from fwx.interfaces.hresult import COMError
from fwx.testing import PlainBuffer

BUFFERS: dict[str, Callable[[bytes], Any]] = {
    "constant": FWXIOBuffer.constant,
    "allocated": lambda data: _appended(FWXIOBuffer.allocated(len(data) + 3), data),
    "window": lambda data: FWXIOBuffer.window(FWXIOBuffer.constant(b"<" + data + b">"), 1, len(data)),
    "a filter's own": lambda data: PlainBuffer(len(data), data),
}


def _appended(buffer: Any, data: bytes) -> Any:
    buffer.Append(data)
    return buffer


class Operation:
    """One operation that was accepted; itself the user data."""

    def __init__(self, direction: tuple[str, str], buffer: Any) -> None:
        self.direction = direction
        self.buffer = buffer

    def __eq__(self, other: object) -> bool:
        raise AssertionError("user data is compared")

    __hash__ = object.__hash__


@implementer(IFWXIOCompletion)
class Ledger(Unknown):
    """The completion object of every operation, and what is known of them.

    :ivar wrong: what must not have been; it is collected, because the engine takes what a completion raises for a fault
        of the filter.
    :ivar over: a connection's filters have been detached: nothing may complete any more.
    :ivar received: the data of each direction in the order of completion.
    """

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.over = False
        self.pending: dict[tuple[str, str], deque[Operation]] = defaultdict(deque)
        self.received: dict[tuple[str, str], bytearray] = defaultdict(bytearray)
        self.buffers: dict[tuple[str, str], deque[Any]] = defaultdict(deque)
        self.completed = 0
        self._thread = threading.get_ident()
        self._posting = 0
        self._inside = False

    def post(self, call: Callable[[Operation], object], operation: Operation, *, in_thread: bool) -> COMError | None:
        """Have *call* post *operation*, from here or from another thread; return why it was refused, if it was."""
        refused: list[BaseException] = []

        def run() -> None:
            try:
                call(operation)
            except BaseException as error:
                refused.append(error)

        self.pending[operation.direction].append(operation)
        self._posting += 1
        if in_thread:
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
        else:
            run()
        self._posting -= 1
        if not refused:
            return None
        assert self.pending[operation.direction].pop() is operation, "a refused operation has completed"
        (error,) = refused
        if not isinstance(error, COMError):
            raise error
        return error

    def CompleteAsyncIO(self, fSuccess, Win32ErrorCode, pIOBuffer, UserData, Address, Length):  # type: ignore[no-untyped-def]
        self.completed += 1
        self._judge(fSuccess, Win32ErrorCode, pIOBuffer, UserData)
        self._inside = False

    def _judge(self, success: bool, code: int, buffer: Any, operation: Operation) -> None:
        what = f"{operation.direction}"
        if self._inside:
            self.wrong.append(f"{what}: a completion inside a completion")
        self._inside = True
        if threading.get_ident() != self._thread:
            self.wrong.append(f"{what}: on another thread")
        if self._posting:
            self.wrong.append(f"{what}: inside a call that posts")
        if self.over:
            self.wrong.append(f"{what}: after Detach")
        pending = self.pending[operation.direction]
        if not pending or pending[0] is not operation:
            self.wrong.append(f"{what}: twice, or out of order")
            return
        pending.popleft()
        if success is not True and success is not False:
            self.wrong.append(f"{what}: fSuccess is {success!r}")
        if (code == 0) is not success:
            self.wrong.append(f"{what}: success {success} with the code {code}")
        if operation.direction[1] == "Send":
            if buffer is not (operation.buffer if success else None):
                self.wrong.append(f"{what}: it brings {buffer!r}")
        elif success:
            if operation.buffer is not None and buffer is not operation.buffer:
                self.wrong.append(f"{what}: not in the caller's buffer")
            data = bytes(buffer.GetBufferAndSize())
            self.received[operation.direction] += data
            if data:
                self.buffers[operation.direction].append(FWXIOBuffer.constant(data) if operation.buffer else buffer)

    def expect_nothing_wrong(self) -> None:
        assert self.wrong == []

    def expect_all_completed(self) -> None:
        left = {direction: len(pending) for direction, pending in self.pending.items() if pending}
        assert left == {}, "operations that were accepted and never completed"
