"""The battery for IFWXIOBuffer."""

# ruff: noqa: N802, N803  the SDK's spelling, letter for letter

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from zope.interface import implementer

from fwx.impl.unknown import Unknown
from fwx.interfaces import E_INVALIDARG, E_POINTER, FWX_E_BUFFERFULL, COMError, IFWXIOBuffer
from fwx.testing.battery import Battery, Rule, expect, expect_equal, expect_failure, run_rules
from fwx.testing.unknown import shape_rule, unknown_rules

Maker = Callable[[int], Any]


def check_buffer(maker: Maker) -> Battery:
    """Try an implementation of ``IFWXIOBuffer``; *maker* returns a new empty one that holds so many bytes (B3.16)."""
    subject = type(maker(1)).__qualname__
    return run_rules(subject, _RULES, lambda: nullcontext(maker))


@implementer(IFWXIOBuffer)
class PlainBuffer(Unknown):
    """A buffer as a filter may write its own: a ``bytearray`` of fixed capacity, always writable."""

    def __init__(self, capacity: int, data: bytes = b"") -> None:
        self.block = bytearray(capacity)
        self.size = len(data)
        self.block[: len(data)] = data

    def GetBufferAndSize(self) -> memoryview:
        return memoryview(self.block)[: self.size]

    def SetDataSize(self, dwDataSize: int) -> None:
        if not 0 <= dwDataSize <= len(self.block):
            raise COMError(E_INVALIDARG, f"{dwDataSize} bytes in a buffer of {len(self.block)}")
        self.size = dwDataSize

    def ReadAt(self, ulOffset: int, cb: int) -> bytes:
        if not 0 <= ulOffset <= self.size or cb < 0:
            raise COMError(E_INVALIDARG, f"offset {ulOffset} of {self.size}")
        return bytes(self.block[ulOffset : min(ulOffset + cb, self.size)])

    def SendToBuffer(self, pDestinationBuffer: IFWXIOBuffer, ulOffset: int, cb: int) -> int:
        if pDestinationBuffer is None:
            raise COMError(E_POINTER, "no destination")
        return pDestinationBuffer.Append(self.ReadAt(ulOffset, cb))

    def Append(self, pv: Any, cb: int | None = None) -> int:
        if pv is None:
            raise COMError(E_POINTER, "no data")
        data = bytes(pv)
        if cb is not None and not 0 <= cb <= len(data):
            raise COMError(E_INVALIDARG, f"{cb} of {len(data)} bytes")
        data = data[:cb]
        added = data[: len(self.block) - self.size]
        self.block[self.size : self.size + len(added)] = added
        self.size += len(added)
        if len(added) < len(data):
            raise COMError(FWX_E_BUFFERFULL, f"{len(added)} of {len(data)} bytes fitted", outs=(len(added),))
        return len(added)

    def GetBufferSizes(self) -> tuple[int, int]:
        return len(self.block), self.size


def _filled(make: Maker, data: bytes, capacity: int = 8) -> Any:
    buffer = make(capacity)
    buffer.Append(data)
    return buffer


def _content(buffer: Any) -> bytes:
    return bytes(buffer.ReadAt(0, buffer.GetBufferSizes()[0]))


def _starts_empty(make: Maker) -> None:
    for capacity in (0, 1, 4096):
        expect_equal(tuple(make(capacity).GetBufferSizes()), (capacity, 0), "allocated and actual size of a new buffer")


def _appends(make: Maker) -> None:
    buffer = make(8)
    expect_equal(buffer.Append(b"abc"), 3, "the bytes added")
    expect_equal(buffer.Append(bytearray(b"de")), 2, "the bytes added")
    expect_equal(_content(buffer), b"abcde", "the data after two Appends")
    expect_equal(tuple(buffer.GetBufferSizes()), (8, 5), "the sizes after two Appends")


def _appends_a_part(make: Maker) -> None:
    buffer = make(8)
    expect_equal(buffer.Append(b"abcdef", 2), 2, "the bytes added with cb = 2")
    expect_equal(_content(buffer), b"ab", "the data")
    expect_failure("cb beyond pv", E_INVALIDARG, buffer.Append, b"abc", 4)
    expect_equal(_content(buffer), b"ab", "the data after the refusal")


def _is_full(make: Maker) -> None:
    buffer = _filled(make, b"abc", 5)
    error = expect_failure("Append of more than fits", FWX_E_BUFFERFULL, buffer.Append, b"defg")
    expect_equal(tuple(error.outs), (2,), "the outs of FWX_E_BUFFERFULL, the bytes added")
    expect_equal(_content(buffer), b"abcde", "the data: what fitted is kept")
    expect_equal(tuple(buffer.GetBufferSizes()), (5, 5), "the sizes: a buffer never grows")


def _needs_data(make: Maker) -> None:
    expect_failure("Append(None)", E_POINTER, make(8).Append, None)


def _sets_size(make: Maker) -> None:
    buffer = make(4)
    buffer.SetDataSize(4)
    expect_equal(tuple(buffer.GetBufferSizes()), (4, 4), "the sizes after SetDataSize(4)")
    expect_failure("SetDataSize beyond the allocated size", E_INVALIDARG, buffer.SetDataSize, 5)
    expect_equal(tuple(buffer.GetBufferSizes()), (4, 4), "the sizes after the refusal")


def _hides_old_memory(make: Maker) -> None:
    old = make(64)
    old.Append(b"secret of another connection".ljust(64, b"!"))
    del old
    buffer = make(64)
    buffer.SetDataSize(64)
    expect_equal(_content(buffer), bytes(64), "bytes that nobody has written")


def _shows_memory(make: Maker) -> None:
    buffer = make(8)
    buffer.SetDataSize(3)
    view = buffer.GetBufferAndSize()
    expect(isinstance(view, memoryview), f"GetBufferAndSize returned {type(view).__name__}, expected a memoryview")
    expect_equal(len(view), 3, "the length of the view, with 3 bytes in use")
    view[:] = b"abc"
    expect_equal(_content(buffer), b"abc", "what was written through the view")


def _reads(make: Maker) -> None:
    buffer = _filled(make, b"abcde")
    for offset, count, wanted in ((0, 5, b"abcde"), (1, 2, b"bc"), (3, 9, b"de"), (5, 1, b""), (0, 0, b"")):
        expect_equal(bytes(buffer.ReadAt(offset, count)), wanted, f"ReadAt({offset}, {count})")
    expect_failure("ReadAt beyond the data", E_INVALIDARG, buffer.ReadAt, 6, 1)


def _reads_a_copy(make: Maker) -> None:
    buffer = _filled(make, b"abc")
    data = buffer.ReadAt(0, 3)
    buffer.GetBufferAndSize()[:1] = b"X"
    expect_equal(bytes(data), b"abc", "what ReadAt returned, after the buffer has changed")


def _sends_to_buffer(make: Maker) -> None:
    source = _filled(make, b"abcde")
    for destination in (_filled(make, b"12", 5), PlainBuffer(5, b"12")):
        expect_equal(source.SendToBuffer(destination, 1, 2), 2, "the bytes copied")
        expect_equal(_content(destination), b"12bc", "the destination")
        error = expect_failure("more than fits", FWX_E_BUFFERFULL, source.SendToBuffer, destination, 0, 5)
        expect_equal(tuple(error.outs), (1,), "the outs of FWX_E_BUFFERFULL, the bytes copied")
        expect_equal(_content(destination), b"12bca", "the full destination")
    expect_equal(_content(source), b"abcde", "the source")


def _needs_a_destination(make: Maker) -> None:
    expect_failure("SendToBuffer(None)", E_POINTER, _filled(make, b"abc").SendToBuffer, None, 0, 1)


def _judges_numbers(make: Maker) -> None:
    buffer = _filled(make, b"abc")
    for call, arguments in (
        (buffer.ReadAt, (-1, 1)),
        (buffer.ReadAt, (0, -1)),
        (buffer.SetDataSize, (-1,)),
        (buffer.Append, (b"abc", -1)),
        (buffer.SendToBuffer, (make(8), -1, 1)),
        (buffer.SendToBuffer, (make(8), 0, -1)),
    ):
        expect_failure(f"{call.__name__}{arguments}", E_INVALIDARG, call, *arguments)
    expect_equal(_content(buffer), b"abc", "the data after the refusals")


def _keeps_to_itself(make: Maker) -> None:
    first, second = make(8), make(8)
    first.Append(b"abc")
    second.SetDataSize(3)
    expect_equal(_content(second), bytes(3), "the memory of another buffer")


_RULES: tuple[Rule[Maker], ...] = (
    shape_rule(IFWXIOBuffer, lambda make: make(8)),
    *unknown_rules(IFWXIOBuffer, lambda make: make(8)),
    Rule("starts empty with the capacity asked for", ("B3.16", "B3.18"), _starts_empty),
    Rule("Append adds at the end and counts", ("B3.18",), _appends),
    Rule("Append adds the first cb bytes", ("B3.18",), _appends_a_part),
    Rule("Append to a full buffer keeps what fits and says so", ("B3.19",), _is_full),
    Rule("Append without data is E_POINTER", ("B3.18",), _needs_data),
    Rule("SetDataSize stays within the allocated size", ("B3.18",), _sets_size),
    Rule("shows no byte that was not written for it", ("B3.16",), _hides_old_memory),
    Rule("GetBufferAndSize shows the memory itself", ("B3.18",), _shows_memory),
    Rule("ReadAt ends where the data ends", ("B3.18",), _reads),
    Rule("ReadAt copies", ("B3.18",), _reads_a_copy),
    Rule("SendToBuffer appends to the destination", ("B3.18", "B3.19"), _sends_to_buffer),
    Rule("SendToBuffer without a destination is E_POINTER", ("B3.18",), _needs_a_destination),
    Rule("a number below 0 is E_INVALIDARG", ("B3.18",), _judges_numbers),
    Rule("shares no memory with another buffer", ("B3.16",), _keeps_to_itself),
)
