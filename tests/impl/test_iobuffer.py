"""IFWXIOBuffer whole: sizes, copies, windows, and who may change what until when (B3.12 to B3.19)."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.iobuffer import LARGEST, AllocatedBuffer, FWXIOBuffer, data_of
from fwx.interfaces import IFWXIOBuffer, methods
from fwx.interfaces.hresult import E_ACCESSDENIED, E_INVALIDARG, E_POINTER, FWX_E_BUFFERFULL, COMError

if TYPE_CHECKING:
    from tests.impl.conftest import Rig


def failure(call: Any, *args: Any) -> tuple[int, tuple[Any, ...]]:
    """Return what *call* raises: the HRESULT and the outs."""
    with pytest.raises(COMError) as error:
        call(*args)
    return error.value.hresult, error.value.outs


def filled(data: bytes, capacity: int) -> FWXIOBuffer:
    buffer = FWXIOBuffer.allocated(capacity)
    buffer.Append(data)
    return buffer


KINDS = {
    "received": lambda: FWXIOBuffer(b"abcdef"),
    "constant": lambda: FWXIOBuffer.constant(b"abcdef"),
    "constant part": lambda: FWXIOBuffer.constant(bytearray(b"abcdefgh"), 6),
    "window": lambda: FWXIOBuffer.window(FWXIOBuffer(b"..abcdef.."), 2, 6),
    "window of a window": lambda: FWXIOBuffer.window(FWXIOBuffer.window(filled(b"...abcdef..", 20), 1, 10), 2, 6),
    "allocated": lambda: filled(b"abcdef", 10),
}
READ_ONLY = [name for name in KINDS if name != "allocated"]


@pytest.fixture(params=list(KINDS))
def buffer(request: pytest.FixtureRequest) -> FWXIOBuffer:
    return KINDS[request.param]()


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_the_methods_stand_in_the_order_of_the_header() -> None:
    """B3.18."""
    own = [method.name for method in methods(IFWXIOBuffer) if method.interface is IFWXIOBuffer]
    assert own == ["GetBufferAndSize", "SetDataSize", "ReadAt", "SendToBuffer", "Append", "GetBufferSizes"]


def test_sizes(buffer: FWXIOBuffer) -> None:
    """B3.18: allocated and used."""
    allocated, used = buffer.GetBufferSizes()
    assert used == 6
    assert allocated == (10 if isinstance(buffer, AllocatedBuffer) else 6)
    assert buffer.QueryInterface(IFWXIOBuffer) is buffer


@pytest.mark.parametrize(
    ("offset", "count", "data"),
    [(0, 6, b"abcdef"), (2, 3, b"cde"), (4, 100, b"ef"), (6, 1, b""), (0, 0, b"")],
)
def test_read_at(buffer: FWXIOBuffer, offset: int, count: int, data: bytes) -> None:
    """B3.18: a copy, cut where the data ends."""
    found = buffer.ReadAt(offset, count)
    assert (found, type(found)) == (data, bytes)


@pytest.mark.parametrize(("offset", "count"), [(7, 0), (7, 1), (-1, 2), (0, -1)])
def test_read_at_outside(buffer: FWXIOBuffer, offset: int, count: int) -> None:
    assert failure(buffer.ReadAt, offset, count)[0] == E_INVALIDARG


@pytest.mark.parametrize("kind", READ_ONLY)
def test_the_view_of_what_is_not_the_callers(kind: str) -> None:
    """B3.12: read-only, just the data, no copy."""
    buffer = KINDS[kind]()
    view = buffer.GetBufferAndSize()
    assert (bytes(view), view.readonly) == (b"abcdef", True)
    with pytest.raises(TypeError):
        view[0] = 1


def test_no_copy_is_made() -> None:
    """B3.12, B3.17: a received block, a constant and a window show the memory they were made of."""
    block = b"abcdef"
    received, constant = FWXIOBuffer(block), FWXIOBuffer.constant(block)
    window = FWXIOBuffer.window(received, 1, 3)
    assert {id(each.GetBufferAndSize().obj) for each in (received, constant, window)} == {id(block)}
    memory = bytearray(b"abc")
    shown = FWXIOBuffer.constant(memory)
    memory[0] = ord("X")
    assert shown.ReadAt(0, 3) == b"Xbc"


# ---- writing ---------------------------------------------------------------------------------------------------------


def test_the_allocator_writes() -> None:
    """B3.16, B3.18: sized by SetDataSize, then into the view; or by Append."""
    buffer = FWXIOBuffer.allocated(8)
    assert buffer.GetBufferSizes() == (8, 0)
    assert len(buffer.GetBufferAndSize()) == 0
    buffer.SetDataSize(8)
    view = buffer.GetBufferAndSize()
    assert (len(view), view.readonly, bytes(view)) == (8, False, bytes(8))
    view[:3] = b"abc"
    buffer.SetDataSize(3)
    assert buffer.Append(b"de") == 2
    assert buffer.Append(memoryview(b"fgh"), 1) == 1
    assert buffer.Append(b"") == 0
    assert buffer.ReadAt(0, 8) == b"abcdef"
    buffer.SetDataSize(2)
    assert buffer.ReadAt(0, 8) == b"ab"
    buffer.SetDataSize(8)
    assert buffer.ReadAt(0, 8) == b"abcdef\0\0", "what this buffer held before, and zeros; nothing of anybody else"


@pytest.mark.parametrize(
    ("room", "data", "written"),
    [(0, b"x", 0), (2, b"abc", 2), (2, b"abcdefgh", 2)],
)
def test_append_more_than_fits(room: int, data: bytes, written: int) -> None:
    """B3.19: the buffer never grows; what fits is kept, and the count comes with the failure."""
    buffer = filled(b"0123", 4 + room)
    assert failure(buffer.Append, data) == (FWX_E_BUFFERFULL, (written,))
    assert buffer.GetBufferSizes() == (4 + room, 4 + written)
    assert buffer.ReadAt(0, 99) == b"0123" + data[:written]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((None,), E_POINTER),
        ((b"ab", 3), E_INVALIDARG),
        ((b"ab", -1), E_INVALIDARG),
        (("text",), E_INVALIDARG),
        ((memoryview(b"abcdef")[::2],), E_INVALIDARG),
    ],
)
def test_append_what_cannot_be(arguments: Any, code: int) -> None:
    assert failure(FWXIOBuffer.allocated(8).Append, *arguments)[0] == code


@pytest.mark.parametrize(("size", "code"), [(11, E_INVALIDARG), (-1, E_INVALIDARG)])
def test_set_data_size_outside(size: int, code: int) -> None:
    assert failure(filled(b"abc", 10).SetDataSize, size)[0] == code


@pytest.mark.parametrize("kind", READ_ONLY)
def test_nobody_else_writes(kind: str) -> None:
    """IFWXIOBuffer: only the allocator changes a buffer."""
    buffer = KINDS[kind]()
    assert failure(buffer.SetDataSize, 3)[0] == E_ACCESSDENIED
    assert failure(buffer.SetDataSize, 7)[0] == E_INVALIDARG
    assert failure(buffer.Append, b"x") == (FWX_E_BUFFERFULL, (0,))
    assert failure(buffer.Append, b"")[0] == E_ACCESSDENIED
    assert buffer.ReadAt(0, 99) == b"abcdef"


# ---- copying ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "count", "room", "copied", "full"),
    [
        (0, 6, 10, b"abcdef", False),
        (2, 3, 3, b"cde", False),
        (4, 100, 10, b"ef", False),
        (6, 1, 0, b"", False),
        (0, 6, 4, b"abcd", True),
        (0, 6, 0, b"", True),
    ],
)
def test_send_to_buffer(buffer: FWXIOBuffer, offset: int, count: int, room: int, copied: bytes, full: bool) -> None:
    """B3.18, B3.19: appends; on FWX_E_BUFFERFULL a part was copied and the count says how much."""
    destination = filled(b"have", 4 + room)
    if full:
        assert failure(buffer.SendToBuffer, destination, offset, count) == (FWX_E_BUFFERFULL, (len(copied),))
    else:
        assert buffer.SendToBuffer(destination, offset, count) == len(copied)
    assert destination.ReadAt(0, 99) == b"have" + copied


def test_send_to_buffer_of_another_kind(buffer: FWXIOBuffer, foreign_buffer: Any) -> None:
    foreign = foreign_buffer(b"have", capacity=99)
    assert buffer.SendToBuffer(foreign, 1, 2) == 2
    assert foreign.block == b"havebc"


def test_send_to_buffer_refused(buffer: FWXIOBuffer) -> None:
    assert failure(buffer.SendToBuffer, None, 0, 1)[0] == E_POINTER
    assert failure(buffer.SendToBuffer, FWXIOBuffer.allocated(9), 7, 1)[0] == E_INVALIDARG


def test_a_buffer_into_itself() -> None:
    buffer = filled(b"ab", 8)
    assert buffer.SendToBuffer(buffer, 0, 2) == 2
    assert buffer.ReadAt(0, 8) == b"abab"


# ---- making ----------------------------------------------------------------------------------------------------------


def test_the_firewall_makes_buffers(rig: Rig) -> None:
    """B3.16."""
    made = rig.firewall.CreateBuffer(5)
    made.Append(b"hello")
    assert rig.firewall.CreateWindowBuffer(made, 1, 3).ReadAt(0, 9) == b"ell"
    assert rig.firewall.CreateConstBuffer(b"hello", 4).ReadAt(0, 9) == b"hell"
    assert rig.firewall.CreateConstBuffer(b"hello").ReadAt(0, 9) == b"hello"


@pytest.mark.parametrize("length", [-1, LARGEST + 1, 1 << 40, 1.5, "8"])
def test_sizes_that_cannot_be(length: Any) -> None:
    """IFWXIOBuffer: a length from the Internet must not exhaust memory."""
    assert failure(FWXIOBuffer.allocated, length)[0] == E_INVALIDARG


@pytest.mark.parametrize(
    ("block", "length", "code"),
    [
        (None, None, E_POINTER),
        ("text", None, E_INVALIDARG),
        (7, None, E_INVALIDARG),
        (memoryview(b"abcdef")[::2], None, E_INVALIDARG),
        (b"abc", 4, E_INVALIDARG),
        (b"abc", -1, E_INVALIDARG),
        (bytearray(b"abc"), 4, E_INVALIDARG),
    ],
)
def test_constants_that_cannot_be(block: Any, length: int | None, code: int) -> None:
    assert failure(FWXIOBuffer.constant, block, length)[0] == code


@pytest.mark.parametrize(
    ("offset", "length", "code"),
    [(0, 7, E_INVALIDARG), (6, 1, E_INVALIDARG), (-1, 2, E_INVALIDARG), (2, -1, E_INVALIDARG)],
)
def test_windows_that_cannot_be(buffer: FWXIOBuffer, offset: int, length: int, code: int) -> None:
    assert failure(FWXIOBuffer.window, buffer, offset, length)[0] == code
    assert failure(FWXIOBuffer.window, None, 0, 0)[0] == E_POINTER


def test_a_window_freezes_its_original_and_keeps_it() -> None:
    """B3.17: the parent lives as long as the window; its content can no longer change."""
    original = filled(b"abcdef", 10)
    view = original.GetBufferAndSize()
    window = FWXIOBuffer.window(original, 2, 3)
    with pytest.raises(ValueError, match="released"):
        view[2] = 0
    assert failure(original.Append, b"g")[0] == E_ACCESSDENIED
    alive = weakref.ref(original)
    del original
    gc.collect()
    assert alive() is not None
    assert (window.ReadAt(0, 9), window.GetBufferSizes()) == (b"cde", (3, 3))
    del window
    gc.collect()
    assert alive() is None


def test_a_window_of_a_filters_own_implementation(foreign_buffer: Any) -> None:
    assert FWXIOBuffer.window(foreign_buffer(b"abcdef"), 1, 3).ReadAt(0, 9) == b"bcd"


# ---- posted ----------------------------------------------------------------------------------------------------------


def test_frozen_after_it_was_posted() -> None:
    """B3.14: from Send on nobody changes the buffer, its allocator included; earlier views are taken back."""
    buffer = filled(b"abc", 8)
    view = buffer.GetBufferAndSize()
    data = data_of(buffer)
    assert bytes(data) == b"abc"
    with pytest.raises(ValueError, match="released"):
        view[0] = 0
    assert failure(buffer.Append, b"x")[0] == E_ACCESSDENIED
    assert failure(buffer.SetDataSize, 8)[0] == E_ACCESSDENIED
    later = buffer.GetBufferAndSize()
    assert (bytes(later), later.readonly) == (b"abc", True)
    assert data.readonly  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "keep",
    [lambda view: view[1:2], lambda view: memoryview(view), lambda view: view.cast("b"), lambda view: view[:0]],
    ids=["a part", "a view of the view", "cast", "an empty part"],
)
def test_what_is_in_flight_does_not_follow_a_view_that_was_kept(keep: Any) -> None:
    """B3.14: a sub-view cannot be taken back, so the data is copied; also for a filter further down the chain."""
    buffer = filled(b"abc", 8)
    kept = keep(buffer.GetBufferAndSize())
    in_flight = data_of(buffer)
    if len(kept):
        kept[0] = 0x78
    assert bytes(in_flight) == b"abc"
    assert buffer.ReadAt(0, 9) == b"abc"
    assert bytes(FWXIOBuffer.window(buffer, 0, 3).GetBufferAndSize()) == b"abc"


def test_posted_twice() -> None:
    buffer = filled(b"abc", 3)
    assert bytes(data_of(buffer)) == bytes(data_of(buffer)) == b"abc"


def test_an_empty_buffer_is_posted() -> None:
    assert bytes(data_of(FWXIOBuffer.allocated(0))) == b""
    assert bytes(data_of(FWXIOBuffer.allocated(5))) == b""


def test_a_filters_own_implementation_is_posted(foreign_buffer: Any) -> None:
    """IFWXIOBuffer: Send accepts a filter's own class."""
    assert bytes(data_of(foreign_buffer(b"abc"))) == b"abc"


def test_what_is_no_buffer_is_not_posted(foreign_buffer: Any) -> None:
    class Wrong(foreign_buffer):  # type: ignore[misc]
        def GetBufferAndSize(self) -> Any:
            return "text"

    assert failure(data_of, b"bytes")[0] == E_INVALIDARG
    assert failure(data_of, Wrong())[0] == E_INVALIDARG


def test_no_byte_of_one_connection_is_seen_in_another(rig: Rig, watcher: Any) -> None:
    """DESIGN 5: blocks are fresh; what a filter allocates is zero; SetDataSize shows nothing but that."""
    secret = b"secret of the first connection "
    first = rig.open(watcher())
    first.client.send(secret * 1000)
    first.server.expect(secret * 1000)
    first.connection.end()
    rig.until_gone(first.connection)
    watching = watcher()
    second = rig.open(watching)
    for text in (b"x", b"yz" * 100, b"w" * 20_000):
        second.client.send(text)
        second.server.expect(text)
    for passed in watching.passed[True]:
        assert secret[:6] not in bytes(passed.GetBufferAndSize().obj)
    for size in (1, 4096, 1 << 20):
        fresh = FWXIOBuffer.allocated(size)
        fresh.SetDataSize(size)
        assert not any(fresh.ReadAt(0, size))
