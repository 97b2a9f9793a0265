"""IFWXIOBuffer and its makers through the COM face: each documented result, provoked."""

from __future__ import annotations

import mmap
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.iobuffer import LARGEST, FWXIOBuffer
from fwx.impl.raw import Ref, raw
from fwx.interfaces import IFWXFirewall2, IFWXIOBuffer
from fwx.interfaces.hresult import E_ACCESSDENIED, E_INVALIDARG, E_POINTER, FWX_E_BUFFERFULL, S_OK, COMError

if TYPE_CHECKING:
    from tests.impl.conftest import Rig


def filled(data: bytes = b"abcdef", capacity: int = 8) -> Any:
    buffer = FWXIOBuffer.allocated(capacity)
    buffer.Append(data)
    return buffer


def face(buffer: Any) -> Any:
    return raw(buffer, IFWXIOBuffer)


# ---- IFWXIOBuffer ----------------------------------------------------------------------------------------------------


def test_get_buffer_and_size() -> None:
    """B3.18: the memory itself, and the bytes in use, not the capacity."""
    buffer, view, size = filled(), Ref(), Ref()
    assert face(buffer).GetBufferAndSize(view, size) == S_OK
    assert (bytes(view.value), size.value) == (b"abcdef", 6)
    view.value[0] = ord("X")
    assert buffer.ReadAt(0, 1) == b"X"
    assert face(buffer).GetBufferAndSize(None, size) == E_POINTER
    assert face(buffer).GetBufferAndSize(view, None) == E_POINTER


def test_get_buffer_sizes() -> None:
    """B3.18: allocated, then used."""
    allocated, used = Ref(), Ref()
    assert face(filled()).GetBufferSizes(allocated, used) == S_OK
    assert (allocated.value, used.value) == (8, 6)
    assert face(filled()).GetBufferSizes(None, used) == E_POINTER
    assert face(filled()).GetBufferSizes(allocated, None) == E_POINTER


@pytest.mark.parametrize(
    ("size", "result"),
    [(0, S_OK), (8, S_OK), (9, E_INVALIDARG), (-1, E_INVALIDARG), (1 << 32, E_INVALIDARG), (None, E_INVALIDARG)],
)
def test_set_data_size(size: Any, result: int) -> None:
    """B3.18: it neither allocates nor resizes; a DWORD is a DWORD."""
    buffer = filled()
    assert face(buffer).SetDataSize(size) == result
    assert buffer.GetBufferSizes() == (8, size if result == S_OK else 6)


def test_set_data_size_of_what_is_not_the_callers() -> None:
    assert face(FWXIOBuffer(b"abc")).SetDataSize(1) == E_ACCESSDENIED


@pytest.mark.parametrize(
    ("offset", "count", "result", "data"),
    [
        (0, 6, S_OK, b"abcdef"),
        (4, 0xFFFF_FFFF, S_OK, b"ef"),
        (6, 1, S_OK, b""),
        (7, 1, E_INVALIDARG, None),
        (0xFFFF_FFFF, 1, E_INVALIDARG, None),
        (-1, 1, E_INVALIDARG, None),
        (0, -1, E_INVALIDARG, None),
        (0, 1 << 32, E_INVALIDARG, None),
    ],
)
def test_read_at(offset: int, count: int, result: int, data: bytes | None) -> None:
    """B3.18: cb is the most, pcbRead what it really was."""
    destination, read = Ref(), Ref()
    assert face(filled()).ReadAt(offset, destination, count, read) == result
    assert (destination.value, read.value) == (data, None if data is None else len(data))


def test_read_at_without_places() -> None:
    """IFWXIOBuffer: pcbRead may be NULL, the memory may not."""
    destination = Ref()
    assert face(filled()).ReadAt(1, destination, 2, None) == S_OK
    assert destination.value == b"bc"
    assert face(filled()).ReadAt(1, None, 2, Ref()) == E_POINTER


@pytest.mark.parametrize(
    ("pv", "cb", "result", "written"),
    [
        (b"gh", 2, S_OK, 2),
        (b"ghij", 1, S_OK, 1),
        (b"", 0, S_OK, 0),
        (b"ghi", 3, FWX_E_BUFFERFULL, 2),
        (b"ghi", 4, E_INVALIDARG, None),
        (b"ghi", -1, E_INVALIDARG, None),
        (None, 0, E_POINTER, None),
        ("text", 1, E_INVALIDARG, None),
    ],
)
def test_append(pv: Any, cb: int, result: int, written: int | None) -> None:
    """B3.19: pcbWritten is filled in with FWX_E_BUFFERFULL too, and what fitted is kept."""
    buffer, count = filled(), Ref()
    assert face(buffer).Append(pv, cb, count) == result
    assert count.value == written
    assert buffer.ReadAt(0, 99) == b"abcdef" + (pv[:written] if written else b"")
    assert buffer.GetBufferSizes() == (8, 6 + (written or 0))
    assert face(buffer).Append(b"x", 1, None) == E_POINTER


@pytest.mark.parametrize(
    ("offset", "count", "result", "copied"),
    [
        (0, 3, S_OK, 3),
        (4, 100, S_OK, 2),
        (6, 1, S_OK, 0),
        (0, 6, FWX_E_BUFFERFULL, 4),
        (7, 1, E_INVALIDARG, None),
        (-1, 1, E_INVALIDARG, None),
        (0, -1, E_INVALIDARG, None),
    ],
)
def test_send_to_buffer(offset: int, count: int, result: int, copied: int | None) -> None:
    """B3.19: part of the data was copied and pcbCopied says how much; what the destination held stays."""
    destination, number = filled(b"have"), Ref()
    assert face(filled()).SendToBuffer(destination, offset, count, number) == result
    assert number.value == copied
    assert destination.ReadAt(0, 99) == b"have" + b"abcdef"[max(offset, 0) :][: copied or 0]


def test_send_to_buffer_without_a_destination() -> None:
    assert face(filled()).SendToBuffer(None, 0, 1, Ref()) == E_POINTER
    assert face(filled()).SendToBuffer(filled(), 0, 1, None) == E_POINTER
    assert face(filled()).SendToBuffer(b"bytes", 0, 1, Ref()) == E_INVALIDARG
    assert face(filled()).SendToBuffer(FWXIOBuffer(b"").QueryInterface(IFWXIOBuffer), 0, 0, Ref()) == E_ACCESSDENIED


# ---- the three makers ------------------------------------------------------------------------------------------------


@pytest.fixture
def firewall(rig: Rig) -> Any:
    return raw(rig.firewall, IFWXFirewall2)


@pytest.mark.parametrize(
    ("length", "result"),
    [
        (0, S_OK),
        (1, S_OK),
        (LARGEST, S_OK),
        (LARGEST + 1, E_INVALIDARG),
        (0xFFFF_FFFF, E_INVALIDARG),
        (1 << 32, E_INVALIDARG),
        (-1, E_INVALIDARG),
    ],
)
def test_create_buffer(firewall: Any, length: int, result: int) -> None:
    """B3.16: it starts empty, with the capacity asked for; a length from the Internet exhausts nothing."""
    cell = Ref()
    assert firewall.CreateBuffer(length, cell) == result
    if result == S_OK:
        assert cell.value.GetBufferSizes() == (length, 0)
    else:
        assert cell.value is None
    assert firewall.CreateBuffer(1, None) == E_POINTER


@pytest.mark.parametrize(
    ("memory", "length", "result"),
    [
        (b"abc", 3, S_OK),
        (b"abc", 0, S_OK),
        (bytearray(b"abc"), 2, S_OK),
        (b"abc", 4, E_INVALIDARG),
        (b"abc", -1, E_INVALIDARG),
        (b"abc", 1 << 32, E_INVALIDARG),
        ("abc", 3, E_INVALIDARG),
        (None, 0, E_POINTER),
    ],
)
def test_create_const_buffer(firewall: Any, memory: Any, length: int, result: int) -> None:
    """B3.16: around the caller's memory, full at once."""
    cell = Ref()
    assert firewall.CreateConstBuffer(memory, length, cell) == result
    if result == S_OK:
        assert cell.value.GetBufferSizes() == (length, length)
        assert cell.value.ReadAt(0, 9) == bytes(memory)[:length]
    else:
        assert cell.value is None


@pytest.mark.parametrize(
    ("original", "offset", "length", "result"),
    [
        (filled, 0, 6, S_OK),
        (filled, 6, 0, S_OK),
        (filled, 2, 3, S_OK),
        (filled, 2, 5, E_INVALIDARG),
        (filled, 7, 0, E_INVALIDARG),
        (filled, 0xFFFF_FFFF, 1, E_INVALIDARG),
        (filled, 1, 0xFFFF_FFFF, E_INVALIDARG),
        (filled, -1, 1, E_INVALIDARG),
        (lambda: b"bytes", 0, 1, E_INVALIDARG),
        (lambda: None, 0, 0, E_POINTER),
    ],
)
def test_create_window_buffer(firewall: Any, original: Any, offset: int, length: int, result: int) -> None:
    """B3.16: measured against the bytes in use; two numbers whose sum is too much for a DWORD change nothing."""
    cell, parent = Ref(), original()
    assert firewall.CreateWindowBuffer(parent, offset, length, cell) == result
    if result == S_OK:
        assert cell.value.ReadAt(0, 9) == b"abcdef"[offset : offset + length]
        return
    assert cell.value is None
    if isinstance(parent, FWXIOBuffer):
        assert parent.Append(b"x") == 1, "a window that was refused has frozen nothing"


_LIMITED = """
import resource
from fwx.impl.raw import Ref, raw
from fwx.interfaces import E_OUTOFMEMORY, IFWXFirewall2
from fwx.testing import MemoryFirewall
firewall, cell = raw(MemoryFirewall().firewall, IFWXFirewall2), Ref()
assert firewall.CreateBuffer(64 << 20, cell) == 0
cell.value = None
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20),) * 2)
assert firewall.CreateBuffer(64 << 20, cell) == E_OUTOFMEMORY
assert cell.value is None
assert firewall.CreateBuffer(1 << 20, cell) == 0
"""


def test_create_buffer_without_memory() -> None:
    """B3.16: in a process that may have 16 MiB more, not 64."""
    done = subprocess.run([sys.executable, "-c", _LIMITED], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_memory_that_a_dword_cannot_measure(firewall: Any) -> None:
    """B3.16: sizes are DWORDs; four gigabytes that nobody has touched take no memory."""
    cell = Ref()
    memory = mmap.mmap(-1, (1 << 32) + 1)
    assert firewall.CreateConstBuffer(memory, 0xFFFF_FFFF, cell) == S_OK
    assert cell.value.GetBufferSizes() == (0xFFFF_FFFF, 0xFFFF_FFFF)
    with pytest.raises(COMError) as failure:
        FWXIOBuffer.constant(memory)
    assert failure.value.hresult == E_INVALIDARG


def test_what_comes_out_carries_a_reference(firewall: Any) -> None:
    """B1.44, B3.15: the caller's, which it gives back."""
    cell = Ref()
    assert firewall.CreateBuffer(1, cell) == S_OK
    before = cell.value.AddRef()
    assert face(cell.value).Release() == before - 1
    assert face(cell.value).Release() == before - 2
