"""The block of memory that travels through a chain of filters without being copied."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from zope.interface import taggedValue

from fwx.interfaces.com import DWORD, ULONG, Idl, IUnknown, Length, LengthOf, MethodIdl, Out, ReadableBuffer


class IFWXIOBuffer(IUnknown):
    """A counted block of memory with a fixed capacity (*allocated size*) and the bytes in use (*actual size*).

    The service implements it; a filter may supply objects of its own, which every socket takes. Whoever allocated a
    buffer owns it, and nobody else changes its content: a buffer that came from ``Recv`` with no buffer given is
    read-only. After ``Send`` not even its owner may touch it. ``Send``, ``SendTo`` and ``Recv`` hold a reference until
    the completion returns; who keeps the buffer longer calls ``AddRef``.
    """

    taggedValue("iid", UUID("0CF075BB-A8F6-11D0-A7F1-0000F8750B21"))

    def GetBufferAndSize() -> Annotated[
        memoryview,
        Out("ppBuffer", "BYTE**", length=Length("pdwSize", "DWORD*", "out", capacity=False)),
        MethodIdl("local"),
    ]:
        """Return the memory itself, not a copy. Called by any holder, at any time.

        The view is writable only for the allocator and only before the buffer is posted. What is written is counted
        by ``SetDataSize`` afterwards.

        :returns: *ppBuffer*, a view of the bytes in use; *pdwSize* is its length.
        :raises COMError: none of its own.
        """

    def SetDataSize(dwDataSize: DWORD) -> None:
        """Set the number of bytes in use. Called by the allocator after writing, and by the service after a receive.

        Nothing is allocated, and no byte becomes visible that was not written for this connection.

        :param dwDataSize: bytes in use, at most the allocated size.
        :raises COMError: ``E_INVALIDARG``, more than the allocated size.
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
        :returns: *pv*, the bytes; fewer than *cb* where the data ends. *pcbRead* is their number.
        :raises COMError: ``E_INVALIDARG``, the offset lies beyond the data; ``E_POINTER``, no memory given
            (COM face only).
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
        """

    def Append(
        pv: Annotated[ReadableBuffer, Idl("void const*", "size_is(cb)")],
        cb: Annotated[ULONG | None, LengthOf("pv")] = None,
    ) -> Annotated[ULONG, Out("pcbWritten"), MethodIdl("local")]:
        """Add bytes at the end of the data. Called by the allocator. The buffer never grows (B3.19).

        :param pv: the bytes.
        :param cb: how many of them; ``None`` for all.
        :returns: *pcbWritten*, the bytes added.
        :raises COMError: ``FWX_E_BUFFERFULL``, only a part fitted and is kept; ``outs`` holds the bytes added.
            ``E_INVALIDARG``, *cb* is more than *pv* has.
        """

    def GetBufferSizes() -> tuple[
        Annotated[DWORD, Out("pdwAlocatedSize", "LPDWORD")], Annotated[DWORD, Out("pdwActualSize", "LPDWORD")]
    ]:
        """Return both sizes. Called by any holder, at any time.

        :returns: *pdwAlocatedSize* (so spelled), the capacity in bytes; *pdwActualSize*, the bytes in use.
        :raises COMError: ``E_POINTER``, no place for a result (COM face only).
        """
