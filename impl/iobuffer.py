"""IFWXIOBuffer: one block of memory that a chain of filters shares without copying."""

from __future__ import annotations

import weakref
from threading import Lock
from typing import Any

from zope.interface import implementer

from fwx.impl.argument import DWORD_MOST, whole
from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXIOBuffer
from fwx.interfaces.hresult import E_ACCESSDENIED, E_INVALIDARG, E_OUTOFMEMORY, E_POINTER, FWX_E_BUFFERFULL, COMError

Block = bytes | bytearray | memoryview

# The most bytes one buffer may be asked to hold: lengths that arrive from the Internet must not exhaust memory.
LARGEST = 1 << 26

# Who may change an allocated buffer: its allocator; the service, for a pending Recv; nobody, for good.
_OPEN, _RECEIVING, _FROZEN = range(3)
# Guards the changes between these states: they are rare, so one lock serves all buffers.
_changing = Lock()
# Views that an allocator holds before those that it has dropped are sorted out.
_FEW_VIEWS = 16


@implementer(IFWXIOBuffer)
class FWXIOBuffer(Unknown):
    """A buffer of the service that nobody changes.

    It is made around a fresh immutable block from the network, by :meth:`constant` (the caller's bytes, wrapped) or by
    :meth:`window` (a part of another buffer). What a filter can write to comes from :meth:`allocated`.

    The count owns nothing: the block goes with the last object that holds the buffer, so a filter that releases its
    buffer right after Send takes it away from nobody.
    """

    __slots__ = ("_block", "_parent")

    _can_return = True

    _block: Block
    # What must live as long as this buffer; never read.
    _parent: IFWXIOBuffer

    def __init__(self, block: Block) -> None:
        """Wrap *block*, all of which is in use."""
        self._block = block

    @staticmethod
    def allocated(length: int) -> AllocatedBuffer:
        """Make an empty buffer for *length* bytes that its maker can write to.

        :raises COMError: ``E_INVALIDARG`` the length is negative or over 64 MiB; ``E_OUTOFMEMORY``.
        """
        return AllocatedBuffer(length)

    @classmethod
    def constant(cls, block: Any, length: int | None = None) -> FWXIOBuffer:
        """Wrap the first *length* bytes of *block* without copying; the caller must not change them afterwards.

        :raises COMError: ``E_POINTER`` no block; ``E_INVALIDARG`` not bytes, or shorter than *length*.
        """
        if block is None:
            raise COMError(E_POINTER, "a constant buffer needs a block of memory")
        view = _bytes_of(block)
        most = min(len(view), DWORD_MOST)
        size = whole(len(view) if length is None else length, "the block's length", most=most)
        return cls(block if type(block) is bytes and size == len(block) else view[:size])

    @classmethod
    def window(cls, original: IFWXIOBuffer, offset: int, length: int) -> FWXIOBuffer:
        """View *length* bytes of *original* from *offset*; the parent is frozen, and lives as long as the window.

        :raises COMError: ``E_POINTER`` no original; ``E_INVALIDARG`` the window reaches beyond its data;
            ``E_ACCESSDENIED`` a Recv into the original is pending.
        """
        is_ours = isinstance(original, FWXIOBuffer)
        # A filter's own implementation is asked once: what it would answer the next time does not matter.
        data: bytes | memoryview = b"" if is_ours else data_of(original)
        size = original.GetBufferSizes()[1] if is_ours else len(data)
        whole(offset, "the window's offset", most=size)
        whole(length, "the window's length", most=size - offset)
        if is_ours:
            data = data_of(original)
        return cls.of(memoryview(data)[offset : offset + length], original)

    @classmethod
    def of(cls, data: bytes | memoryview, original: IFWXIOBuffer) -> FWXIOBuffer:
        """Make a buffer around *data*, which is memory of *original*."""
        buffer = cls(data)
        buffer._parent = original
        return buffer

    def freeze(self) -> bytes | memoryview:
        """Return the data to send; nobody changes the buffer from now on.

        :raises COMError: ``E_ACCESSDENIED`` a Recv into it is pending.
        """
        return self._data()

    def begin_receive(self) -> int:
        """Empty the buffer for a Recv and return how much it holds; until :meth:`end_receive` nobody else changes it.

        :raises COMError: ``E_ACCESSDENIED`` the buffer is not the caller's to change, or is posted already;
            ``E_INVALIDARG`` it holds nothing.
        """
        raise self._refusal()

    def GetBufferAndSize(self) -> memoryview:
        """Return the bytes in use, without a copy: to the allocator writable, as long as the buffer is not posted.

        To write into a fresh buffer set its data size first, then write through the view.
        """
        return memoryview(self._data())

    def SetDataSize(self, dwDataSize: int) -> None:
        """Record that *dwDataSize* bytes are in use.

        :raises COMError: ``E_INVALIDARG`` more than was allocated; ``E_ACCESSDENIED`` the buffer is not the caller's to
            change.
        """
        whole(dwDataSize, "dwDataSize", most=self.GetBufferSizes()[0])
        raise self._refusal()

    def ReadAt(self, ulOffset: int, cb: int) -> bytes:
        """Copy at most *cb* bytes from *ulOffset*; an offset at the end gives none.

        :raises COMError: ``E_INVALIDARG`` the offset lies beyond the data or a number is negative.
        """
        data = memoryview(self._data())
        end = min(whole(ulOffset, "ulOffset", most=len(data)) + whole(cb, "cb"), len(data))
        return bytes(data[ulOffset:end])

    def SendToBuffer(self, pDestinationBuffer: IFWXIOBuffer, ulOffset: int, cb: int) -> int:
        """Append at most *cb* bytes from *ulOffset* to *pDestinationBuffer*; return how many were copied.

        :raises COMError: ``FWX_E_BUFFERFULL`` with the count in ``outs`` when not all fitted; ``E_INVALIDARG`` a bad
            offset; ``E_POINTER`` no destination; ``E_ACCESSDENIED`` the destination is not the caller's to change.
        """
        require_buffer(pDestinationBuffer)
        data = self.ReadAt(ulOffset, cb)
        return pDestinationBuffer.Append(data, len(data))

    def Append(self, pv: Any, cb: int | None = None) -> int:
        """Add the first *cb* bytes of *pv* behind the data; return how many were added.

        :raises COMError: ``FWX_E_BUFFERFULL`` with the count in ``outs`` when not all fitted; ``E_POINTER`` no data;
            ``E_INVALIDARG`` no bytes, or fewer than *cb* given; ``E_ACCESSDENIED`` the buffer is not the caller's to
            change.
        """
        data = _to_append(pv, cb)
        allocated, size = self.GetBufferSizes()
        if len(data) and size == allocated:
            raise COMError(FWX_E_BUFFERFULL, f"the buffer's {size} bytes are in use", outs=(0,))
        return self._append(data)

    def GetBufferSizes(self) -> tuple[int, int]:
        """Return the allocated size and the number of bytes in use."""
        size = len(self._block)
        return size, size

    def _data(self) -> bytes | memoryview:
        """Return the bytes in use, which cannot be changed through what is returned."""
        block = self._block
        return memoryview(block).toreadonly() if type(block) is not bytes else block

    def _append(self, data: memoryview) -> int:
        raise self._refusal()

    def _refusal(self) -> COMError:
        return COMError(E_ACCESSDENIED, "only the allocator may change a buffer, and only before it is posted")


class AllocatedBuffer(FWXIOBuffer):
    """A buffer that its allocator can write to, until it is posted.

    Send and a window freeze it for good. A Recv takes it away while it is pending: the data that arrives is all that
    can be read from it afterwards, whatever it was used for before.
    """

    __slots__ = ("_capacity", "_most", "_size", "_state", "_views")

    _block: bytearray | bytes

    def __init__(self, length: int) -> None:
        """Make an empty buffer; raises as :meth:`FWXIOBuffer.allocated`."""
        self._capacity = whole(length, "the buffer's length", most=LARGEST)
        try:
            super().__init__(bytearray(self._capacity))
        except MemoryError as error:
            raise COMError(E_OUTOFMEMORY, f"no memory for a buffer of {length} bytes") from error
        self._size = 0
        # The most bytes that were ever in use: behind them the block is zero.
        self._most = 0
        self._state = _OPEN
        self._views: list[weakref.ref[memoryview]] = []

    def freeze(self) -> bytes | memoryview:
        """Make the buffer read-only for good and return its data; the service calls this when it takes a buffer.

        A view that the allocator got before is released. Where the allocator made further views of it, which cannot be
        taken back, the data is copied instead, so that nobody can change what is in flight.
        """
        if self._state != _FROZEN:
            with _changing:
                self._freeze_now()
        return self._data()

    def begin_receive(self) -> int:
        with _changing:
            if self._state != _OPEN:
                raise self._refusal()
            if not self._capacity:
                raise COMError(E_INVALIDARG, "a buffer to receive into must hold at least one byte")
            if self._take_back_views():
                self._wipe(0)
            else:
                # What the kept views show stays with them.
                self._block = bytearray(self._capacity)
            self._state = _RECEIVING
            self._size = self._most = 0
        return self._capacity

    def end_receive(self, block: bytes | memoryview) -> None:
        """The Recv has ended and brought *block*: the buffer is its allocator's again."""
        if self._state != _RECEIVING:
            raise self._refusal()
        self._state = _OPEN
        self._append(memoryview(block))

    def give_back(self) -> None:
        """The Recv, if there was one, has failed: the empty buffer is its allocator's again."""
        if self._state == _RECEIVING:
            self._state = _OPEN

    def GetBufferAndSize(self) -> memoryview:
        if self._state != _OPEN:
            return memoryview(self._data())
        view = memoryview(self._block)[: self._size]
        if len(self._views) >= _FEW_VIEWS:
            self._views = [each for each in self._views if each() is not None]
        self._views.append(weakref.ref(view))
        return view

    def SetDataSize(self, dwDataSize: int) -> None:
        whole(dwDataSize, "dwDataSize", most=self._capacity)
        if self._state != _OPEN:
            raise self._refusal()
        self._size = dwDataSize
        self._most = max(self._most, dwDataSize)

    def GetBufferSizes(self) -> tuple[int, int]:
        return self._capacity, self._size

    def _data(self) -> bytes | memoryview:
        block = self._block
        if type(block) is bytes:
            return block
        # A pending Recv shows nothing, not even the memory's place.
        return memoryview(block)[: self._size].toreadonly() if self._size else b""

    def _append(self, data: memoryview) -> int:
        if self._state != _OPEN:
            raise self._refusal()
        size = self._size
        written = min(len(data), self._capacity - size)
        memoryview(self._block)[size : size + written] = data[:written]
        self.SetDataSize(size + written)
        if written < len(data):
            raise COMError(FWX_E_BUFFERFULL, f"{written} of {len(data)} bytes fitted", outs=(written,))
        return written

    def _freeze_now(self) -> None:
        if self._state == _RECEIVING:
            raise self._refusal()
        if self._state == _FROZEN:
            return
        if self._take_back_views():
            self._wipe(self._size)
        else:
            self._block = bytes(memoryview(self._block)[: self._size])
        self._state = _FROZEN

    def _wipe(self, start: int) -> None:
        """Forget what the block has held from *start* on."""
        if self._most > start:
            memoryview(self._block)[start : self._most] = bytes(self._most - start)

    def _take_back_views(self) -> bool:
        """Release the views that were handed out; tell whether none that was made of them is left."""
        views, self._views = self._views, []
        block = self._block
        try:
            for view in filter(None, (each() for each in views)):
                view.release()
            if isinstance(block, bytearray) and block:
                # Neither moves memory, and a bytearray with a view left refuses to change its length.
                block.append(block.pop())
        except BufferError:
            return False
        return True


# ---- buffers of any class --------------------------------------------------------------------------------------------


def data_of(buffer: IFWXIOBuffer) -> bytes | memoryview:
    """Return the data to send of *buffer*, frozen; a filter's own implementation is asked by its interface.

    :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` it is no buffer, or holds no bytes; ``E_ACCESSDENIED`` a Recv into
        it is pending; what a filter's own implementation raises.
    """
    if isinstance(buffer, FWXIOBuffer):
        return buffer.freeze()
    require_buffer(buffer)
    return _bytes_of(buffer.GetBufferAndSize())


def begin_receive(buffer: IFWXIOBuffer) -> int:
    """Make *buffer* ready for a Recv, empty; return how much it holds.

    :raises COMError: ``E_INVALIDARG`` it is no buffer or holds nothing; ``E_ACCESSDENIED`` it is not the caller's to
        change, or is posted already; what a filter's own implementation raises.
    """
    if isinstance(buffer, FWXIOBuffer):
        return buffer.begin_receive()
    require_buffer(buffer)
    sizes = buffer.GetBufferSizes()
    if not isinstance(sizes, tuple) or len(sizes) != 2:
        raise COMError(E_INVALIDARG, f"{type(buffer).__name__}.GetBufferSizes gives no two sizes")
    allocated = whole(sizes[0], "the allocated size of a buffer to receive into", least=1)
    buffer.SetDataSize(0)
    return allocated


def end_receive(buffer: IFWXIOBuffer, block: bytes | memoryview) -> None:
    """Put *block*, which a Recv has brought, into *buffer*; a filter's own implementation takes it by its interface.

    :raises COMError: ``FWX_E_BUFFERFULL`` a filter's own took less than it has room for; what that raises.
    """
    if isinstance(buffer, AllocatedBuffer):
        buffer.end_receive(block)
        return
    buffer.SetDataSize(0)
    written = buffer.Append(block, len(block))
    if written != len(block):
        raise COMError(FWX_E_BUFFERFULL, f"{type(buffer).__name__} took {written!r} of {len(block)} bytes")
    buffer.SetDataSize(len(block))


def give_back(buffer: IFWXIOBuffer | None) -> None:
    """Give *buffer* back to its allocator, as it is, if a Recv that has failed took it away."""
    if isinstance(buffer, AllocatedBuffer):
        buffer.give_back()


def require_buffer(buffer: object) -> None:
    """Make sure that *buffer* is one.

    :raises COMError: ``E_POINTER`` it is ``None``; ``E_INVALIDARG`` it is something else.
    """
    if buffer is None:
        raise COMError(E_POINTER, "a buffer is needed")
    if not IFWXIOBuffer.providedBy(buffer):
        raise COMError(E_INVALIDARG, f"an IFWXIOBuffer is needed, not {type(buffer).__name__}")


def _to_append(pv: Any, cb: int | None) -> memoryview:
    if pv is None:
        raise COMError(E_POINTER, "Append needs data")
    data = _bytes_of(pv)
    return data if cb is None else data[: whole(cb, "cb", most=len(data))]


def _bytes_of(block: Any) -> memoryview:
    """Return a read-only view of *block* that is nobody else's to release."""
    try:
        return memoryview(block).cast("B").toreadonly()
    except (TypeError, ValueError, BufferError) as error:
        raise COMError(E_INVALIDARG, f"contiguous bytes are needed, not {type(block).__name__}") from error
