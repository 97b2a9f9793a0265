"""The battery for buffers: each rule, and a buffer that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from zope.interface import implementer

from fwx.impl.unknown import Unknown
from fwx.interfaces import FWX_E_BUFFERFULL, COMError, IFWXIOBuffer, IUnknown
from fwx.testing import Battery, PlainBuffer, check_buffer


class OtherNames(PlainBuffer):
    def Append(self, data: Any, cb: int | None = None) -> int:
        return super().Append(data, cb)


class KnowsNoText(PlainBuffer):
    def QueryInterface(self, riid: Any) -> Any:
        return super().QueryInterface(None if isinstance(riid, str) else riid)


class NewIdentity(PlainBuffer):
    def QueryInterface(self, riid: Any) -> Any:
        return PlainBuffer(1) if riid is IUnknown else super().QueryInterface(riid)


class HasEverything(PlainBuffer):
    def QueryInterface(self, riid: Any) -> Any:
        return self


class NeverCounts(PlainBuffer):
    def AddRef(self) -> int:
        return 1


class StartsFull(PlainBuffer):
    def __init__(self, capacity: int, data: bytes = b"") -> None:
        super().__init__(capacity, bytes(capacity))


class AppendsInFront(PlainBuffer):
    def Append(self, pv: Any, cb: int | None = None) -> int:
        self.block[:] = bytes(pv)[:cb] + self.block[: len(self.block) - len(bytes(pv)[:cb])]
        self.size += len(bytes(pv)[:cb])
        return len(bytes(pv)[:cb])


class IgnoresCb(PlainBuffer):
    def Append(self, pv: Any, cb: int | None = None) -> int:
        return super().Append(pv)


class Grows(PlainBuffer):
    def Append(self, pv: Any, cb: int | None = None) -> int:
        self.block += bytes(len(pv or b""))
        return super().Append(pv, cb)


class AllOrNothing(PlainBuffer):
    def Append(self, pv: Any, cb: int | None = None) -> int:
        if pv is not None and len(pv) > len(self.block) - self.size:
            raise COMError(FWX_E_BUFFERFULL)
        return super().Append(pv, cb)


class AppendsNone(PlainBuffer):
    def Append(self, pv: Any, cb: int | None = None) -> int:
        return super().Append(pv or b"", cb)


class SizesFreely(PlainBuffer):
    def SetDataSize(self, dwDataSize: int) -> None:
        self.size = dwDataSize


class Dirty(PlainBuffer):
    def __init__(self, capacity: int, data: bytes = b"") -> None:
        super().__init__(capacity, data)
        self.block[len(data) :] = b"?" * (capacity - len(data))


class ShowsACopy(PlainBuffer):
    def GetBufferAndSize(self) -> memoryview:
        return memoryview(bytearray(super().GetBufferAndSize()))


class ReadsTheCapacity(PlainBuffer):
    def ReadAt(self, ulOffset: int, cb: int) -> bytes:
        return bytes(self.block[ulOffset : ulOffset + cb])


class ReadsNoCopy(PlainBuffer):
    def ReadAt(self, ulOffset: int, cb: int) -> Any:
        data = super().ReadAt(ulOffset, cb)
        return memoryview(self.block)[ulOffset : ulOffset + len(data)]


class SendsOver(PlainBuffer):
    def SendToBuffer(self, pDestinationBuffer: IFWXIOBuffer, ulOffset: int, cb: int) -> int:
        if pDestinationBuffer is not None:
            pDestinationBuffer.SetDataSize(0)
        return super().SendToBuffer(pDestinationBuffer, ulOffset, cb)


class SendsNowhere(PlainBuffer):
    def SendToBuffer(self, pDestinationBuffer: IFWXIOBuffer, ulOffset: int, cb: int) -> int:
        return 0 if pDestinationBuffer is None else super().SendToBuffer(pDestinationBuffer, ulOffset, cb)


class ReadsFromTheEnd(PlainBuffer):
    def ReadAt(self, ulOffset: int, cb: int) -> bytes:
        return super().ReadAt(ulOffset % (self.size + 1), cb)


def sharing() -> Callable[[int], PlainBuffer]:
    """Return a maker whose buffers share their memory."""
    shared = bytearray(8)

    def make(capacity: int) -> PlainBuffer:
        buffer = PlainBuffer(capacity)
        if capacity == 8:
            buffer.block = shared
        return buffer

    return make


WRONG: tuple[tuple[str, Callable[[int], Any], str], ...] = (
    (
        "has every member of IFWXIOBuffer to the letter",
        OtherNames,
        "IFWXIOBuffer.Append: expected the parameters (pv, cb), found (data, cb)",
    ),
    ("QueryInterface finds what the object has, by interface, UUID and text", KnowsNoText, "COMError: E_POINTER"),
    ("QueryInterface(IUnknown) gives one and the same object", NewIdentity, "another object each time"),
    ("QueryInterface refuses what the object lacks", HasEverything, "expected E_NOINTERFACE, found the result"),
    ("AddRef and Release count", NeverCounts, "the second AddRef: expected 2, found 1"),
    ("starts empty with the capacity asked for", StartsFull, "expected (1, 0), found (1, 1)"),
    ("Append adds at the end and counts", AppendsInFront, "expected b'abcde', found b'deabc'"),
    ("Append adds the first cb bytes", IgnoresCb, "the bytes added with cb = 2: expected 2, found 6"),
    ("Append to a full buffer keeps what fits and says so", Grows, "expected FWX_E_BUFFERFULL, found the result 4"),
    ("Append to a full buffer keeps what fits and says so", AllOrNothing, "the bytes added: expected (2,), found ()"),
    ("Append without data is E_POINTER", AppendsNone, "expected E_POINTER, found the result 0"),
    ("SetDataSize stays within the allocated size", SizesFreely, "expected E_INVALIDARG, found the result None"),
    ("shows no byte that was not written for it", Dirty, "bytes that nobody has written"),
    ("GetBufferAndSize shows the memory itself", ShowsACopy, "expected b'abc', found b'\\x00\\x00\\x00'"),
    ("ReadAt ends where the data ends", ReadsTheCapacity, "ReadAt(3, 9): expected b'de', found b'de\\x00\\x00\\x00'"),
    ("ReadAt copies", ReadsNoCopy, "expected b'abc', found b'Xbc'"),
    ("SendToBuffer appends to the destination", SendsOver, "the destination: expected b'12bc', found b'bc'"),
    ("SendToBuffer without a destination is E_POINTER", SendsNowhere, "expected E_POINTER, found the result 0"),
    ("a number below 0 is E_INVALIDARG", ReadsFromTheEnd, "ReadAt(-1, 1): expected E_INVALIDARG, found the result b''"),
    (
        "shares no memory with another buffer",
        sharing(),
        "the memory of another buffer: expected b'\\x00\\x00\\x00', found b'abc'",
    ),
)


@pytest.mark.parametrize(("rule", "wrong", "reason"), WRONG)
def test_the_rule_catches(
    rule: str, wrong: Callable[[int], Any], reason: str, caught: Callable[[Battery, str, str], None]
) -> None:
    caught(check_buffer(wrong), rule, reason)


def test_there_is_a_wrong_buffer_for_every_rule() -> None:
    assert {check.name for check in check_buffer(PlainBuffer)} == {rule for rule, _, _ in WRONG}


def test_what_is_no_buffer_fails_every_rule() -> None:
    @implementer(IFWXIOBuffer)
    class Nothing(Unknown):
        def __init__(self, capacity: int) -> None:
            """Holds nothing."""

    failed = {check.name for check in check_buffer(Nothing).failures}
    assert failed == {rule for rule, _, _ in WRONG} - {rule for rule, _, _ in WRONG[1:5]}
