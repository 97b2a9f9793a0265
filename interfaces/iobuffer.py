"""The block of memory that travels through a chain of filters without being copied."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from zope.interface import taggedValue

from fwx.interfaces.com import DWORD, ULONG, Idl, IUnknown, Length, LengthOf, MethodIdl, Out, ReadableBuffer


class IFWXIOBuffer(IUnknown):
    """A counted block of memory with a fixed capacity (*allocated size*) and the bytes in use (*actual size*), so that
    a chain of filters shares data without copying it (B3.15, B3.18).

    Implemented by the service; a filter may supply objects of its own, which every socket takes. Whoever allocated a
    buffer owns it, and nobody else changes its content: a buffer that came from ``Recv`` with no buffer given is
    read-only. After ``Send`` not even its owner may touch it. ``Send``, ``SendTo`` and ``Recv`` hold a reference until
    the completion returns; who keeps the buffer longer calls ``AddRef``. Here the memory lives as long as any object
    holds the buffer, a window or a view of it, whatever the count says.

    The SDK says nothing of writing to constant and window buffers; here both are read-only, and so is any buffer from
    the moment it is sent or a window is made of it. One that is posted to ``Recv`` is its allocator's again in the
    completion; until then it is empty, and every use of it but reading is refused with ``E_ACCESSDENIED``.
    """

    taggedValue("iid", UUID("0CF075BB-A8F6-11D0-A7F1-0000F8750B21"))

    def GetBufferAndSize() -> Annotated[
        memoryview,
        Out("ppBuffer", "BYTE**", length=Length("pdwSize", "DWORD*", "out", capacity=False)),
        MethodIdl("local"),
    ]:
        """Return the memory itself, not a copy. Called by any holder, at any time.

        The view is writable only for the allocator and only before the buffer is posted; otherwise it is read-only. It
        spans the bytes in use: to fill a fresh buffer set its data size, write into the view, and set it again to what
        was written. Posting releases the views that were given before.

        :returns: *ppBuffer*, a view of the memory; *pdwSize* of the COM face is the number of bytes in use.
        :raises COMError: ``E_NOTIMPL``, caller and buffer are in different COM apartments. There are none here: this
            implementation never fails.
        """

    def SetDataSize(dwDataSize: DWORD) -> None:
        """Set the number of bytes in use. Called by the allocator after writing, and by the service after a receive
        into a buffer of the filter's.

        Nothing is allocated, and no byte becomes visible that was not written for this connection: behind what came
        with the last ``Recv`` there are zeros.

        :param dwDataSize: bytes in use, at most the allocated size.
        :raises COMError: ``E_INVALIDARG``, more than the allocated size; here also ``E_ACCESSDENIED``, the buffer is
            not the caller's to change.
        """

    def ReadAt(
        ulOffset: ULONG,
        cb: ULONG,
    ) -> Annotated[
        bytes,
        Out(
            "pv",
            "void*",
            "size_is(cb)",
            "length_is(*pcbRead)",
            before="cb",
            length=Length("pcbRead", "ULONG*", "out", capacity=False, optional=True, trailing=True),
        ),
        MethodIdl("local"),
    ]:
        """Copy bytes out of the buffer. Called by any holder, at any time.

        :param ulOffset: where to start, in bytes from the start of the buffer.
        :param cb: the most bytes wanted.
        :returns: *pv*, the bytes; fewer than *cb* where the data ends, none for an offset right at the end. *pcbRead*
            of the COM face is their number; NULL may be given for it.
        :raises COMError: ``E_INVALIDARG``, a bad argument, which the SDK does not detail: here an offset beyond the
            data; ``E_POINTER``, no memory given (COM face only).
        """

    def SendToBuffer(
        pDestinationBuffer: IFWXIOBuffer, ulOffset: ULONG, cb: ULONG
    ) -> Annotated[ULONG, Out("pcbCopied")]:
        """Append bytes of this buffer to another one. Called by the allocator of the other one.

        :param pDestinationBuffer: what it holds already stays; the bytes come after that.
        :param ulOffset: where to start in this buffer, in bytes.
        :param cb: the most bytes to copy.
        :returns: *pcbCopied*, the bytes copied.
        :raises COMError: ``FWX_E_BUFFERFULL``, the destination took only a part; ``outs`` holds the bytes copied.
            ``E_NOTIMPL``, caller and buffer are in different COM apartments; never here. Not specified, and here
            ``E_INVALIDARG``, the offset lies beyond the data; ``E_POINTER``, no destination; ``E_ACCESSDENIED``, the
            destination is not the caller's to change.
        """

    def Append(
        pv: Annotated[ReadableBuffer, Idl("void const*", "size_is(cb)")],
        cb: Annotated[ULONG | None, LengthOf("pv")] = None,
    ) -> Annotated[ULONG, Out("pcbWritten"), MethodIdl("local")]:
        """Add bytes at the end of the data. Called by the allocator before the buffer is posted. The buffer never grows
        (B3.19).

        :param pv: the bytes.
        :param cb: how many of them; ``None`` for all.
        :returns: *pcbWritten*, the bytes added.
        :raises COMError: ``FWX_E_BUFFERFULL``, only a part fitted and is kept; ``outs`` holds the bytes added. Not
            specified, and here ``E_INVALIDARG``, *cb* is more than *pv* has; ``E_POINTER``, no bytes;
            ``E_ACCESSDENIED``, the buffer is not the caller's to change.
        """

    def GetBufferSizes() -> tuple[
        Annotated[DWORD, Out("pdwAlocatedSize", "LPDWORD")], Annotated[DWORD, Out("pdwActualSize", "LPDWORD")]
    ]:
        """Return both sizes. Called by any holder, at any time.

        :returns: *pdwAlocatedSize* (so spelled), the capacity in bytes; *pdwActualSize*, the bytes in use.
        :raises COMError: ``E_POINTER``, no place for a result (COM face only).
        """
