"""IFWXIOBuffer: one block of memory that a chain of filters shares without copying."""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from fwx.impl.argument import whole
from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXIOBuffer
from fwx.interfaces.hresult import E_ACCESSDENIED, E_INVALIDARG, E_POINTER, FWX_E_BUFFERFULL, COMError

Block = bytes | bytearray | memoryview

# The most bytes one buffer may be asked to hold: lengths that arrive from the Internet must not exhaust memory.
LARGEST = 1 << 26


@implementer(IFWXIOBuffer)
class FWXIOBuffer(Unknown):
    """A buffer of the service.

    Made in four ways: around a fresh immutable block from the network, by :meth:`allocated` (the only writable kind),
    by :meth:`constant` (the caller's bytes, wrapped) and by :meth:`window` (a part of another buffer). A buffer is
    frozen for everybody, its allocator included, from the moment it is posted to Send.
    """

    __slots__ = ("_block", "_parent", "_size", "_views", "_writable")

    _block: Block
    _size: int
    _writable: bool
    _parent: FWXIOBuffer | None
    _views: list[memoryview] | None

    def __init__(self, block: Block, size: int | None = None) -> None:
        """Wrap *block*; *size* bytes of it are in use (all by default). Read-only unless :meth:`allocated` made it."""
        self._block = block
        self._size = len(block) if size is None else size
        self._writable = False
        self._parent = None

    @classmethod
    def allocated(cls, length: int) -> FWXIOBuffer:
        """Make an empty writable buffer of *length* bytes, all zero.

        :raises COMError: ``E_INVALIDARG`` the length is negative or over 64 MiB.
        """
        buffer = cls(bytearray(whole(length, "the buffer's length", most=LARGEST)), 0)
        buffer._writable = True
        buffer._views = []
        return buffer

    @classmethod
    def constant(cls, block: Any, length: int | None = None) -> FWXIOBuffer:
        """Wrap the first *length* bytes of *block* without copying; the caller must not change them afterwards.

        :raises COMError: ``E_POINTER`` no block; ``E_INVALIDARG`` not bytes, or shorter than *length*.
        """
        if block is None:
            raise COMError(E_POINTER, "a constant buffer needs a block of memory")
        if type(block) is bytes and (length is None or length == len(block)):
            return cls(block)
        view = _bytes_of(block).toreadonly()
        return cls(view if length is None else view[: whole(length, "the block's length", most=len(view))])

    @classmethod
    def window(cls, original: IFWXIOBuffer, offset: int, length: int) -> FWXIOBuffer:
        """View *length* bytes of *original* from *offset*; the parent lives as long as the window.

        :raises COMError: ``E_POINTER`` no original; ``E_INVALIDARG`` the window reaches beyond its data.
        """
        require_buffer(original)
        _, size = original.GetBufferSizes()
        whole(offset, "the window's offset", most=size)
        whole(length, "the window's length", most=size - offset)
        if isinstance(original, FWXIOBuffer):
            original.freeze()
            buffer = cls(memoryview(original._block)[offset : offset + length].toreadonly())
            buffer._parent = original
        else:
            buffer = cls(memoryview(original.GetBufferAndSize())[offset : offset + length].toreadonly())
        return buffer

    def freeze(self) -> bytes | memoryview:
        """Make the buffer read-only for good and return its data; the service calls this when it takes a buffer.

        A view that the allocator got before is released. Where the allocator made further views of it, which cannot be
        taken back, the data is copied instead, so that nobody can change what is in flight.
        """
        if self._writable:
            self._writable = False
            if not self._take_back_views():
                self._block = bytes(self._block)
        block = self._block
        if self._size == len(block) and not isinstance(block, bytearray):
            return block
        return memoryview(block)[: self._size].toreadonly()

    def GetBufferAndSize(self) -> memoryview:
        """Return the bytes in use, without a copy: to the allocator writable, as long as the buffer is not posted.

        To write into a fresh buffer set its data size first, then write through the view.
        """
        view = memoryview(self._block)
        if len(view) != self._size:
            view = view[: self._size]
        if not self._writable:
            return view.toreadonly()
        if self._views is not None:
            self._views.append(view)
        return view

    def SetDataSize(self, dwDataSize: int) -> None:
        """Record that *dwDataSize* bytes are in use.

        :raises COMError: ``E_INVALIDARG`` more than was allocated; ``E_ACCESSDENIED`` the buffer is not the caller's to
            change.
        """
        whole(dwDataSize, "dwDataSize", most=len(self._block))
        self._require_writable()
        self._size = dwDataSize

    def ReadAt(self, ulOffset: int, cb: int) -> bytes:
        """Copy at most *cb* bytes from *ulOffset*; an offset at the end gives none.

        :raises COMError: ``E_INVALIDARG`` the offset lies beyond the data or a number is negative.
        """
        end = min(whole(ulOffset, "ulOffset", most=self._size) + whole(cb, "cb"), self._size)
        return bytes(memoryview(self._block)[ulOffset:end])

    def SendToBuffer(self, pDestinationBuffer: IFWXIOBuffer, ulOffset: int, cb: int) -> int:
        """Append at most *cb* bytes from *ulOffset* to *pDestinationBuffer*; return how many were copied.

        :raises COMError: ``FWX_E_BUFFERFULL`` with the count in ``outs`` when not all fitted; ``E_INVALIDARG`` a bad
            offset; ``E_POINTER`` no destination.
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
        if pv is None:
            raise COMError(E_POINTER, "Append needs data")
        data = _bytes_of(pv)
        cb = len(data) if cb is None else whole(cb, "cb", most=len(data))
        room = len(self._block) - self._size
        if not room and cb:
            raise COMError(FWX_E_BUFFERFULL, f"the buffer's {self._size} bytes are in use", outs=(0,))
        self._require_writable()
        written = min(cb, room)
        memoryview(self._block)[self._size : self._size + written] = data[:written]
        self._size += written
        if written < cb:
            raise COMError(FWX_E_BUFFERFULL, f"{written} of {cb} bytes fitted", outs=(written,))
        return written

    def GetBufferSizes(self) -> tuple[int, int]:
        """Return the allocated size and the number of bytes in use."""
        return len(self._block), self._size

    def _take_back_views(self) -> bool:
        """Release the views that were handed out; tell whether none that was made of them is left."""
        views, self._views = self._views or [], None
        block = self._block
        try:
            for view in views:
                view.release()
            if isinstance(block, bytearray) and block:
                # Neither moves memory, and a bytearray with a view left refuses to change its length.
                block.append(block.pop())
        except BufferError:
            return False
        return True

    def _require_writable(self) -> None:
        if not self._writable:
            raise COMError(E_ACCESSDENIED, "only the allocator may change a buffer, and only before it is posted")


def data_of(buffer: IFWXIOBuffer) -> bytes | memoryview:
    """Return the data to send of *buffer*, frozen; a filter's own implementation is asked by its interface.

    :raises COMError: ``E_INVALIDARG`` it is no buffer, or holds no bytes; what a filter's own implementation raises.
    """
    if type(buffer) is FWXIOBuffer:
        return buffer.freeze()
    require_buffer(buffer)
    return _bytes_of(buffer.GetBufferAndSize()).toreadonly()


def require_buffer(buffer: object) -> None:
    """Make sure that *buffer* is one.

    :raises COMError: ``E_POINTER`` it is ``None``; ``E_INVALIDARG`` it is something else.
    """
    if buffer is None:
        raise COMError(E_POINTER, "a buffer is needed")
    if not IFWXIOBuffer.providedBy(buffer):
        raise COMError(E_INVALIDARG, f"an IFWXIOBuffer is needed, not {type(buffer).__name__}")


def _bytes_of(block: Any) -> memoryview:
    try:
        return memoryview(block).cast("B")
    except TypeError as error:
        raise COMError(E_INVALIDARG, f"contiguous bytes are needed, not {type(block).__name__}") from error
