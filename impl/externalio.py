"""Overlapped operations of filters on files, pipes and other descriptors: the five steps of B5.18 and what follows."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from fwx.impl.argument import DWORD_MOST, whole
from fwx.impl.boundary import attempt
from fwx.impl.handles import END_OF_FILE
from fwx.impl.iobuffer import data_of
from fwx.impl.overlapped import STATUS_PENDING, FWXOverlapped, owner_of
from fwx.interfaces import IFWXIOBuffer
from fwx.interfaces.hresult import (
    E_ACCESSDENIED,
    E_HANDLE,
    E_INVALIDARG,
    E_POINTER,
    ERROR_NOACCESS,
    ERROR_NOT_FOUND,
    FWX_E_TERMINATING,
    WSAENOBUFS,
    COMError,
    winsock_error,
)

if TYPE_CHECKING:
    from fwx.impl.engine import Engine
    from fwx.impl.handles import Handle
    from fwx.impl.strand import Strand
    from fwx.interfaces import IFWXExternalIOCompletion

MOST_PENDING = 4096
"""How many operations of all filters together may be pending; each costs a descriptor."""

_LAST_OFFSET = (1 << 63) - 1
_FD_MOST = 0x7FFF_FFFF


class Transfer:
    """One operation from its ReadFile or WriteFile to its completion.

    A read fills ``buffer``, or ``memory`` of the filter's, when it ends: nothing is written there before, so that one
    that is aborted never writes. A write takes its data from ``memory`` where it was given no buffer.
    """

    __slots__ = ("buffer", "completion", "hFile", "handle", "memory", "overlapped", "strand", "user_data")

    def __init__(
        self, overlapped: FWXOverlapped, hFile: int, completion: IFWXExternalIOCompletion, user_data: object
    ) -> None:
        self.overlapped = overlapped
        self.hFile = hFile
        self.completion = completion
        self.user_data = user_data
        self.handle: Handle | None = None
        # Where a blocking filter is told.
        self.strand: Strand | None = None
        self.buffer: Any = None
        self.memory: memoryview | None = None

    def fill(self, data: bytes) -> None:
        """Put what was read where it belongs; a buffer of the filter's own may raise anything."""
        if self.buffer is not None:
            self.buffer.SetDataSize(0)
            self.buffer.Append(data, len(data))
        elif self.memory is not None:
            self.memory[: len(data)] = data

    def let_go(self) -> None:
        """Give buffer and memory back to the filter."""
        memory, self.memory, self.buffer = self.memory, None, None
        if memory is not None:
            with suppress(BufferError):  # a thread still writes from it: the service stops without waiting
                memory.release()


class ExternalIO:
    """The overlapped operations of one service."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._closed = False
        self._pending = 0

    def __len__(self) -> int:
        """The number of pending operations."""
        return self._pending

    def hook(self, h: object) -> None:
        """Tie the descriptor *h* to the service (B5.18).

        :raises COMError: ``E_INVALIDARG`` no whole number, or hooked already; ``E_HANDLE`` not open.
        """
        self._require_running()
        self._engine.handles.hook(_descriptor(h))

    def begin(self, overlapped: FWXOverlapped, hFile: object) -> Transfer:
        """Return a new operation with *overlapped* on the handle *hFile*, which is its own from now on.

        :raises COMError: every reason why there cannot be one; nothing has happened then.
        """
        if overlapped.told is None:
            raise COMError(E_INVALIDARG, "SetNotificationInterface comes before the operation")
        completion, user_data = overlapped.told
        transfer = Transfer(overlapped, _descriptor(hFile), completion, user_data)
        transfer.strand = self._engine.strands.current
        with self._lock:
            self._require_running()
            if overlapped.transfer is not None:
                raise COMError(E_INVALIDARG, "the overlapped object's last operation is still pending")
            if self._pending >= MOST_PENDING:
                raise winsock_error(WSAENOBUFS, f"{MOST_PENDING} operations are pending: wait for the completions")
            overlapped.transfer = transfer
            self._pending += 1
        try:
            transfer.handle = self._engine.handles.open(transfer.hFile)
        except BaseException:
            self._release(transfer)
            raise
        overlapped.structure.Internal, overlapped.structure.InternalHigh = STATUS_PENDING, 0
        return transfer

    def give_up(self, transfer: Transfer) -> None:
        """Forget *transfer*, which could not be started."""
        if transfer.handle is not None:
            transfer.handle.close()
        self._release(transfer)

    def end(self, transfer: Transfer, code: int, count: int, data: bytes) -> None:
        """Complete *transfer*; called once, on the loop thread, from the run queue."""
        overlapped = transfer.overlapped
        if data and not code:
            code, count = self._fill(transfer, count, data)
        self._release(transfer)
        overlapped.structure.Internal, overlapped.structure.InternalHigh = code, count
        self._tell(transfer, "CompleteAsyncIO", not code, count, code, overlapped, transfer.user_data)

    def close(self) -> None:
        """End what is pending as aborted, and begin nothing more; called on the loop thread when the service stops."""
        with self._lock:
            self._closed = True
        self._engine.handles.close()

    def _fill(self, transfer: Transfer, count: int, data: bytes) -> tuple[int, int]:
        try:
            transfer.fill(data)
        except BaseException as error:  # noqa: BLE001  a filter's own buffer may raise anything
            self._engine.faults.report(type(transfer.completion).__name__, "ReadFile", error)
            return ERROR_NOACCESS, 0
        return 0, count

    def _tell(self, transfer: Transfer, method: str, *args: object) -> None:
        if transfer.strand is not None:
            failed = partial(self._engine.faults.report, type(transfer.completion).__name__, method)
            transfer.strand.tell(transfer.completion, method, args, failed)
            return
        _, error = attempt(transfer.completion, method, *args)
        if error is not None:
            self._engine.faults.report(type(transfer.completion).__name__, method, error)

    def _release(self, transfer: Transfer) -> None:
        transfer.let_go()
        with self._lock:
            transfer.overlapped.transfer = None
            self._pending -= 1

    def _require_running(self) -> None:
        if self._closed:
            raise COMError(FWX_E_TERMINATING, "the service stops")


def ReadFile(hFile: int, lpBuffer: Any, nNumberOfBytesToRead: int | None, lpOverlapped: Any) -> None:
    """Start to read from the hooked descriptor *hFile*; the callback of *lpOverlapped* tells the end (B5.18).

    Called by a filter, from any thread, where its Windows code calls the function of that name. A file is read from the
    place that *lpOverlapped* says, up to the size or its end; a pipe, a socket and the like give what there is, as soon
    as there is something. The buffer is the operation's until then and is filled at the end.

    :param hFile: a descriptor of the filter's own, hooked with ``HookToCompletionPort``. It may be closed as soon as
        this function has returned.
    :param lpBuffer: an ``IFWXIOBuffer`` that can be written to, filled from its start; or writable memory.
    :param nNumberOfBytesToRead: how many bytes at most; ``None`` for as many as *lpBuffer* holds.
    :param lpOverlapped: what ``GetOverlapped`` gave.
    :raises COMError: nothing has been started. ``E_POINTER`` no buffer or no *lpOverlapped*; ``E_HANDLE`` *hFile* is
        not open; ``E_INVALIDARG`` it was not hooked (B5.19), a bad buffer or size, or an *lpOverlapped* that is none of
        ``GetOverlapped``'s, has no notification interface, is in use, or holds an offset that is none;
        ``E_ACCESSDENIED`` the buffer cannot be written to; ``WSAENOBUFS`` 4096 operations are pending;
        ``ERROR_TOO_MANY_OPEN_FILES``; ``FWX_E_TERMINATING`` the service stops.
    """
    overlapped = owner_of(lpOverlapped)
    room = _room_of(lpBuffer)
    size = room if nNumberOfBytesToRead is None else whole(nNumberOfBytesToRead, "nNumberOfBytesToRead", most=room)
    offset = _offset_of(overlapped, appends=False)
    external = overlapped.external
    transfer = external.begin(overlapped, hFile)
    try:
        if IFWXIOBuffer.providedBy(lpBuffer):
            lpBuffer.SetDataSize(0)
            transfer.buffer = lpBuffer
        else:
            transfer.memory = _memory(lpBuffer)
        assert transfer.handle is not None
        transfer.handle.read(size, offset, lambda *outcome: external.end(transfer, *outcome))
    except BaseException:
        external.give_up(transfer)
        raise


def WriteFile(hFile: int, lpBuffer: Any, nNumberOfBytesToWrite: int | None, lpOverlapped: Any) -> None:
    """Start to write to the hooked descriptor *hFile*; the callback of *lpOverlapped* tells the end (B5.18).

    Called by a filter, from any thread, where its Windows code calls the function of that name. A success has written
    everything: to a file at the place that *lpOverlapped* says, to a pipe or a socket as its reader takes it. A buffer
    is frozen as ``Send`` does; other memory is the filter's to leave as it is until the end.

    :param hFile: as for :func:`ReadFile`.
    :param lpBuffer: an ``IFWXIOBuffer``, or bytes.
    :param nNumberOfBytesToWrite: how many of its bytes; ``None`` for all that are in use.
    :param lpOverlapped: what ``GetOverlapped`` gave.
    :raises COMError: as :func:`ReadFile`.
    """
    overlapped = owner_of(lpOverlapped)
    used = _used_of(lpBuffer)
    size = used if nNumberOfBytesToWrite is None else whole(nNumberOfBytesToWrite, "nNumberOfBytesToWrite", most=used)
    offset = _offset_of(overlapped, appends=True)
    external = overlapped.external
    transfer = external.begin(overlapped, hFile)
    try:
        if IFWXIOBuffer.providedBy(lpBuffer):
            data = data_of(lpBuffer)[:size]
        else:
            data = transfer.memory = _memory(lpBuffer)[:size].toreadonly()
        assert transfer.handle is not None
        transfer.handle.write(data, offset, lambda *outcome: external.end(transfer, *outcome))
    except BaseException:
        external.give_up(transfer)
        raise


def CancelIoEx(hFile: int, lpOverlapped: Any) -> None:
    """Ask for an early end of a pending operation, which then completes with ``ERROR_OPERATION_ABORTED``.

    Called by a filter, from any thread. What cannot be taken back any more, an access to a file that a thread has
    begun, ends as if nobody had asked: the completion tells which it was. Windows cancels everything on the handle
    where *lpOverlapped* is NULL; here one operation must be named.

    :param hFile: the number that the operation was started with, also when it has been closed since.
    :param lpOverlapped: that of the operation.
    :raises COMError: ``ERROR_NOT_FOUND`` no such operation is pending; ``E_POINTER`` no *lpOverlapped*;
        ``E_INVALIDARG`` it is none of ``GetOverlapped``'s, or *hFile* is no number.
    """
    overlapped = owner_of(lpOverlapped)
    if not isinstance(hFile, int):
        raise COMError(E_INVALIDARG, f"hFile is {hFile!r}, not a descriptor")
    transfer = overlapped.transfer
    if transfer is None or transfer.handle is None or transfer.hFile != hFile:
        raise winsock_error(ERROR_NOT_FOUND, f"no operation with this OVERLAPPED is pending on {hFile}")
    transfer.handle.cancel()


def _descriptor(h: object) -> int:
    if not isinstance(h, int):
        raise COMError(E_INVALIDARG, f"{h!r} is not a descriptor, which is a whole number")
    if not 0 <= h <= _FD_MOST:
        raise COMError(E_HANDLE, f"{h} is not an open descriptor")
    return int(h)


def _offset_of(overlapped: FWXOverlapped, *, appends: bool) -> int:
    structure = overlapped.structure
    if structure.hEvent is not None:
        raise COMError(E_INVALIDARG, "hEvent stays None: the notification interface is told of the end")
    low = whole(structure.Offset, "Offset", most=DWORD_MOST)
    offset = low | whole(structure.OffsetHigh, "OffsetHigh", most=DWORD_MOST) << 32
    if offset > _LAST_OFFSET and not (appends and offset == END_OF_FILE):
        raise COMError(E_INVALIDARG, f"a file has no place {offset:#x}")
    return offset


def _memory(block: Any) -> memoryview:
    if block is None:
        raise COMError(E_POINTER, "a buffer is needed")
    try:
        return memoryview(block).cast("B")
    except TypeError as error:
        raise COMError(
            E_INVALIDARG, f"an IFWXIOBuffer or contiguous bytes are needed, not {type(block).__name__}"
        ) from error


def _room_of(buffer: Any) -> int:
    """Return how many bytes can be read into *buffer*."""
    if IFWXIOBuffer.providedBy(buffer):
        return int(buffer.GetBufferSizes()[0])
    with _memory(buffer) as view:
        if view.readonly:
            raise COMError(E_ACCESSDENIED, "the memory to read into cannot be written to")
        return len(view)


def _used_of(buffer: Any) -> int:
    """Return how many bytes of *buffer* can be written out."""
    if IFWXIOBuffer.providedBy(buffer):
        return int(buffer.GetBufferSizes()[1])
    with _memory(buffer) as view:
        return len(view)
