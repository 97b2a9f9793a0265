"""Buffers that would show another connection's bytes, or change under way: tried on purpose, refused or harmless."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from fwx.impl.ceiling import LARGEST_BLOCK
from fwx.impl.iobuffer import LARGEST, FWXIOBuffer
from fwx.interfaces import IFWXIOBuffer
from fwx.interfaces.hresult import (
    E_ACCESSDENIED,
    E_INVALIDARG,
    ERROR_OPERATION_ABORTED,
    FWX_E_BUFFERFULL,
    HRESULT_FROM_WIN32,
    WSAEFAULT,
    WSAENOBUFS,
    WSAENOTSOCK,
    COMError,
)
from fwx.testing import PlainBuffer, SocketPair, memory_pair, neighbour_pair
from tests.impl.parts import ForeignBuffer, Recorder

SECRET = b"secret of the first connection!!"
SIZE = len(SECRET)


def code_of(call: Callable[..., object], *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


def received(pair: SocketPair, buffer: Any, data: bytes) -> Any:
    """Have *buffer* receive *data* on the right side of *pair*."""
    pair.send(pair.left, data)
    pair.settle()
    done = pair.receive(pair.right, buffer)
    assert done.success
    assert done.data == data
    return done.buffer


def copied(buffer: Any) -> bytes:
    destination = FWXIOBuffer.allocated(SIZE)
    buffer.SendToBuffer(destination, 0, SIZE)
    return destination.ReadAt(0, SIZE)


def windowed(buffer: Any) -> bytes:
    return FWXIOBuffer.window(buffer, 0, buffer.GetBufferSizes()[1]).ReadAt(0, SIZE)


LOOKS: dict[str, Callable[[Any], bytes]] = {
    "GetBufferAndSize": lambda buffer: bytes(buffer.GetBufferAndSize()),
    "ReadAt": lambda buffer: buffer.ReadAt(0, SIZE),
    "SendToBuffer": copied,
    "a window": windowed,
    "a window of a window": lambda buffer: windowed(FWXIOBuffer.window(buffer, 0, buffer.GetBufferSizes()[1])),
    "what is behind a view": lambda buffer: bytes(buffer.GetBufferAndSize().obj),
}


@pytest.fixture(params=[memory_pair, neighbour_pair], ids=["network", "filter"])
def pairs(request: pytest.FixtureRequest) -> Any:
    """Two connections, each a pair of sockets; the neighbour of each is the network, or a filter."""
    made = [request.param(), request.param()]
    yield made
    for pair in made:
        pair.left.Close(True)
        pair.right.Close(True)
        pair.settle()
        pair.close()


# ---- used for one connection, then for another -----------------------------------------------------------------------


@pytest.mark.parametrize("look", list(LOOKS))
@pytest.mark.parametrize("former", ["received", "appended", "written"])
def test_a_buffer_that_is_received_into_again(pairs: Any, former: str, look: str) -> None:
    """B3.13: whatever it held before, SetDataSize shows what was received and zeros."""
    first, second = pairs
    mine = FWXIOBuffer.allocated(SIZE)
    if former == "received":
        received(first, mine, SECRET)
    elif former == "appended":
        mine.Append(SECRET)
    else:
        mine.SetDataSize(SIZE)
        mine.GetBufferAndSize()[:] = SECRET
    received(second, mine, b"new")
    mine.SetDataSize(SIZE)
    assert LOOKS[look](mine) == b"new".ljust(SIZE, b"\0")


@pytest.mark.parametrize("look", list(LOOKS))
def test_what_lies_behind_the_data_does_not_travel(pairs: Any, look: str) -> None:
    """B3.14: a buffer that was shortened and sent has nothing behind its data, for nobody down the chain."""
    (pair, _), mine = pairs, FWXIOBuffer.allocated(SIZE)
    mine.Append(SECRET)
    mine.SetDataSize(0)
    mine.Append(b"new")
    pair.left.Send(mine, None, 0)
    assert LOOKS[look](pair.receive(pair.right).buffer).rstrip(b"\0") == b"new"
    assert LOOKS[look](mine).rstrip(b"\0") == b"new"


def test_views_that_were_kept(pairs: Any) -> None:
    """B3.13: they neither see nor change what the buffer receives later, on whatever connection."""
    first, second = pairs
    mine = FWXIOBuffer.allocated(SIZE)
    received(first, mine, SECRET)
    view = mine.GetBufferAndSize()
    part, exported = view[4:20], memoryview(view)
    received(second, mine, b"new data of the second".ljust(SIZE))
    assert (bytes(part), bytes(exported)) == (SECRET[4:20], SECRET)
    part[:] = b"X" * 16
    assert mine.ReadAt(0, SIZE) == b"new data of the second".ljust(SIZE)
    alone = FWXIOBuffer.allocated(SIZE)
    alone.SetDataSize(SIZE)
    view = alone.GetBufferAndSize()
    received(first, alone, b"x")
    with pytest.raises(ValueError, match="released"):
        view[0] = 0


def test_a_constant_made_of_a_view(pairs: Any) -> None:
    """B3.17: the wrapped memory stays what it was, also when its buffer goes on to another connection."""
    first, second = pairs
    mine = FWXIOBuffer.allocated(SIZE)
    received(first, mine, SECRET)
    constant = FWXIOBuffer.constant(mine.GetBufferAndSize())
    received(second, mine, b"new")
    assert constant.ReadAt(0, SIZE) == SECRET


def test_a_window_keeps_what_it_shows(pairs: Any) -> None:
    """B3.17: what has a window is not received into any more."""
    first, second = pairs
    mine = FWXIOBuffer.allocated(SIZE)
    received(first, mine, SECRET)
    window = FWXIOBuffer.window(mine, 0, 6)
    for buffer in (mine, window):
        assert code_of(second.right.Recv, buffer, Recorder(), 0) == E_ACCESSDENIED
    second.settle()
    assert window.ReadAt(0, 6) == SECRET[:6]


def test_a_received_buffer_that_is_kept(pairs: Any) -> None:
    """B3.12, B3.15: nothing that arrives later, here or elsewhere, gets into it."""
    first = pairs[0]
    first.send(first.left, SECRET)
    kept = first.receive(first.right).buffer
    view = kept.GetBufferAndSize()
    for pair in pairs:
        for number in range(50):
            pair.send(pair.left, bytes([number]) * SIZE)
            pair.receive(pair.right)
    assert kept.ReadAt(0, SIZE) == bytes(view) == SECRET


# ---- taken away while a Recv is pending ------------------------------------------------------------------------------


def attempts(buffer: Any, pair: SocketPair, other: SocketPair) -> dict[str, Callable[[], object]]:
    """What somebody might try with a buffer that is posted for a Recv."""
    return {
        "Recv again": lambda: pair.right.Recv(buffer, Recorder(), 0),
        "Recv on another connection": lambda: other.right.Recv(buffer, Recorder(), 0),
        "Send": lambda: pair.right.Send(buffer, None, 0),
        "Send on another connection": lambda: other.right.Send(buffer, None, 0),
        "window": lambda: FWXIOBuffer.window(buffer, 0, 0),
        "Append": lambda: buffer.Append(b"x"),
        "SetDataSize": lambda: buffer.SetDataSize(SIZE),
        "SendToBuffer": lambda: FWXIOBuffer(b"x").SendToBuffer(buffer, 0, 1),
    }


ATTEMPTS = list(attempts(None, None, None))  # type: ignore[arg-type]


@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.parametrize("arrived", [False, True])
def test_a_buffer_that_is_being_received_into(pairs: Any, attempt: str, arrived: bool) -> None:
    """B3.13: frozen in flight, for its allocator too, from the Recv until its completion; empty for who looks."""
    first, second = pairs
    mine = FWXIOBuffer.allocated(SIZE)
    mine.Append(b"former use")
    taken = Recorder()
    if arrived:
        first.send(first.left, SECRET)
        first.settle()
    first.right.Recv(mine, taken, "first")
    assert code_of(attempts(mine, first, second)[attempt]) == E_ACCESSDENIED
    view = mine.GetBufferAndSize()
    assert (bytes(view), view.readonly, mine.GetBufferSizes(), mine.ReadAt(0, 9)) == (b"", True, (SIZE, 0), b"")
    assert taken.calls == []
    if not arrived:
        first.send(first.left, SECRET)
    first.until(lambda: taken.calls, "the completion")
    assert (taken.received, taken.tags, bytes(view)) == (SECRET, ["first"], b"")
    mine.SetDataSize(SIZE - 1)
    assert mine.Append(b"?") == 1


def test_in_its_completion_the_buffer_is_the_allocators_again(pairs: Any) -> None:
    """B3.13: it can be sent on or posted again from there."""
    (pair, _), mine = pairs, FWXIOBuffer.allocated(4)
    received: list[bytes] = []

    def again(done: Any) -> None:
        received.append(mine.ReadAt(0, 4))
        mine.SetDataSize(0)
        mine.Append(b"own")
        if len(received) < 3:
            pair.right.Recv(mine, taken, 0)
        else:
            pair.right.Send(mine, None, 0)

    taken = Recorder(again)
    pair.right.Recv(mine, taken, 0)
    pair.send(pair.left, b"abcdefghij")
    pair.until(lambda: len(received) == 3, "the third completion")
    assert received == [b"abcd", b"efgh", b"ij"]
    assert pair.receive(pair.left).data == b"own"


def test_a_buffer_comes_back_when_its_recv_fails(pairs: Any) -> None:
    """B3.31: empty, and its allocator's."""
    (pair, other), mine = pairs, FWXIOBuffer.allocated(SIZE)
    mine.Append(SECRET)
    taken = Recorder()
    pair.right.Recv(mine, taken, 0)
    pair.right.Close(False)
    pair.settle()
    assert taken.outcomes == [(0, False, ERROR_OPERATION_ABORTED)]
    assert mine.GetBufferSizes() == (SIZE, 0)
    received(other, mine, b"new")
    mine.SetDataSize(SIZE)
    assert mine.ReadAt(0, SIZE) == b"new".ljust(SIZE, b"\0")


def test_a_recv_that_is_refused_leaves_the_buffer(pairs: Any) -> None:
    """IFWXSocket: a method that raises has posted nothing."""
    (pair, other), mine = pairs, FWXIOBuffer.allocated(8)
    mine.Append(b"mine")
    assert code_of(pair.right.Recv, mine, None, 0) != 0
    for _ in range(4096):
        pair.right.Recv(None, Recorder(), 0)
    assert code_of(pair.right.Recv, mine, Recorder(), 0) == HRESULT_FROM_WIN32(WSAENOBUFS)
    other.right.Close(False)
    assert code_of(other.right.Recv, mine, Recorder(), 0) == HRESULT_FROM_WIN32(WSAENOTSOCK)
    assert code_of(other.right.Send, mine, None, 0) == HRESULT_FROM_WIN32(WSAENOTSOCK)
    assert mine.Append(b"!") == 1
    assert mine.ReadAt(0, 8) == b"mine!"


def test_sent_and_received_at_once(pairs: Any) -> None:
    """B3.14: what was sent is frozen for good, so that no Recv changes what is in flight."""
    (pair, other), mine = pairs, FWXIOBuffer.allocated(SIZE)
    mine.Append(SECRET)
    pair.left.Send(mine, None, 0)
    for each in (pair, other):
        assert code_of(each.left.Recv, mine, Recorder(), 0) == E_ACCESSDENIED
    assert pair.receive_all(pair.right, SIZE) == SECRET


def test_wrapped_memory_that_its_owner_changes(pairs: Any) -> None:
    """B3.17: to leave it alone is the owner's duty; the change is seen in its own stream, the length stays."""
    (pair, _), memory = pairs, bytearray(b"abc")
    constant = FWXIOBuffer.constant(memory)
    memory[0] = ord("X")
    with pytest.raises(BufferError):
        memory.extend(b"more")
    pair.left.Send(constant, None, 0)
    assert pair.receive_all(pair.right, 3) == b"Xbc"


# ---- a filter's own implementation -----------------------------------------------------------------------------------


class Restless(PlainBuffer):
    """Gives something else, and more, whenever it is asked again."""

    def __init__(self, data: bytes) -> None:
        super().__init__(1000, data)
        self.asked = 0

    def GetBufferAndSize(self) -> memoryview:
        self.asked += 1
        return memoryview(self.block[: self.size] if self.asked == 1 else b"another answer" * self.asked)


def test_what_changes_its_answer_is_asked_once(pairs: Any) -> None:
    """IFWXIOBuffer: Send accepts a filter's own class; what it said then is what travels, whatever it says later."""
    (pair, _), mine, sent = pairs, Restless(b"the first answer"), Recorder()
    pair.left.Send(mine, sent, 0)
    done = pair.receive(pair.right)
    assert (done.data, bytes(done.buffer.GetBufferAndSize())) == (b"the first answer",) * 2
    assert mine.asked == 1
    assert sent.calls[0].buffer is mine
    assert FWXIOBuffer.window(Restless(b"the first answer"), 4, 5).ReadAt(0, 99) == b"first"


def test_the_neighbour_gets_a_buffer_of_the_services(pairs: Any) -> None:
    """B3.4, B3.12: read-only, around the same memory, and whole, though the filter's class has half of the methods."""
    (pair, _), mine = pairs, ForeignBuffer(b"by hand")
    pair.left.Send(mine, None, 0)
    buffer = pair.receive(pair.right).buffer
    assert type(buffer) is FWXIOBuffer
    assert buffer.ReadAt(0, 9) == b"by hand"
    assert code_of(buffer.SetDataSize, 0) == E_ACCESSDENIED
    assert buffer.GetBufferAndSize().readonly


class Liar(PlainBuffer):
    """Holds eight bytes; *lies* replaces what its methods answer."""

    def __init__(self, **lies: Any) -> None:
        super().__init__(8)
        self.lies = lies

    def _answer(self, method: str, *args: Any) -> Any:
        lie = self.lies.get(method, getattr(PlainBuffer, method))
        return lie(self, *args) if callable(lie) else lie

    def GetBufferAndSize(self) -> Any:
        return self._answer("GetBufferAndSize")

    def GetBufferSizes(self) -> Any:
        return self._answer("GetBufferSizes")

    def SetDataSize(self, dwDataSize: int) -> Any:
        return self._answer("SetDataSize", dwDataSize)

    def Append(self, pv: Any, cb: int | None = None) -> Any:
        return self._answer("Append", pv, cb)


def released() -> memoryview:
    view = memoryview(b"abc")
    view.release()
    return view


@pytest.mark.parametrize(
    "answer",
    [None, "text", 7, memoryview(b"abcdef")[::2], released(), (b"abc", 3)],
    ids=["None", "text", "a number", "every other byte", "a released view", "a tuple"],
)
def test_bytes_that_are_none(pairs: Any, answer: Any) -> None:
    """IFWXIOBuffer: what a filter's own class answers is judged like an argument; nothing is posted."""
    (pair, _), mine = pairs, Liar(GetBufferAndSize=answer)
    assert code_of(pair.left.Send, mine, Recorder(), 0) == E_INVALIDARG
    assert code_of(FWXIOBuffer.window, mine, 0, 0) == E_INVALIDARG
    assert code_of(FWXIOBuffer.constant, answer) != 0
    assert code_of(FWXIOBuffer.allocated(8).Append, answer) != 0


@pytest.mark.parametrize("sizes", [None, 8, (8,), (8, 0, 0), ("8", 0), (0, 0), (-1, 0), (8.0, 0), (1 << 32, 0)])
def test_sizes_that_are_none(pairs: Any, sizes: Any) -> None:
    pair, _ = pairs
    assert code_of(pair.right.Recv, Liar(GetBufferSizes=sizes), Recorder(), 0) == E_INVALIDARG


def test_a_capacity_that_nobody_has() -> None:
    """B3.13: a size that a filter claims takes no memory of the service's, whatever it is."""
    pair, taken, asked = memory_pair(), Recorder(), list[int]()
    transport = pair.right._neighbour.transport
    receive = transport.recv
    transport.recv = lambda size: asked.append(size) or receive(size)
    pair.send(pair.left, bytes(3 * LARGEST_BLOCK))
    for mine in (Liar(GetBufferSizes=((1 << 32) - 1, 0)), FWXIOBuffer.allocated(LARGEST)):
        pair.right.Recv(mine, taken, 0)
        pair.settle()
    assert max(asked) == LARGEST_BLOCK
    assert [done.success for done in taken.calls] == [False, True]
    pair.close()


@pytest.mark.parametrize(
    "lies",
    [
        {"Append": lambda self, pv, cb: 2},
        {"Append": lambda self, pv, cb: None},
        {"Append": lambda self, pv, cb: 1 / 0},
        {"Append": lambda self, pv, cb: (_ for _ in ()).throw(SystemExit(3))},
        {"GetBufferSizes": (9, 0)},
    ],
    ids=["takes a part", "counts nothing", "raises", "exits", "has less room than it says"],
)
def test_what_does_not_take_its_data(pairs: Any, lies: Any) -> None:
    """B5.9: the Recv fails, once, and its owner is told, so that no stream loses a part unnoticed."""
    (pair, _), taken = pairs, Recorder()
    failures = pair.right._owner.failures
    pair.right.Recv(Liar(**lies), taken, 0)
    assert failures == []
    pair.send(pair.left, b"nine byte")
    pair.until(lambda: taken.calls, "the completion")
    pair.settle()
    assert taken.outcomes == [(0, False, WSAEFAULT)]
    assert len(failures) == 1


def test_the_size_is_recorded(pairs: Any) -> None:
    """IFWXIOBuffer: the service records how many bytes came with SetDataSize, in a filter's own class too."""
    sizes: list[int] = []

    class Noting(PlainBuffer):
        def SetDataSize(self, dwDataSize: int) -> None:
            sizes.append(dwDataSize)
            super().SetDataSize(dwDataSize)

    received(pairs[0], Noting(8, b"old"), b"abcd")
    assert sizes == [0, 0, 4]


def test_a_refusal_of_the_buffer_is_the_calls(pairs: Any) -> None:
    """B3.13: a class whose SetDataSize refuses cannot be received into."""
    (pair, _), taken = pairs, Recorder()

    def refuses(self: Any, size: int) -> None:
        raise COMError(FWX_E_BUFFERFULL)

    assert code_of(pair.right.Recv, Liar(SetDataSize=refuses), taken, 0) == FWX_E_BUFFERFULL
    pair.send(pair.left, b"abc")
    assert pair.receive(pair.right).data == b"abc"
    assert taken.calls == []


@pytest.mark.parametrize("then", ["Recv", "Send", "Close", "Shutdown"])
def test_a_buffer_that_calls_its_socket_while_it_is_filled(pairs: Any, then: str) -> None:
    """B5.3: a filter's code runs only where completions do, so that nothing comes twice or out of order."""
    (pair, _), taken = pairs, Recorder()
    calls: dict[str, Callable[[], None]] = {
        "Recv": lambda: pair.right.Recv(None, taken, "third"),
        "Send": lambda: pair.right.Send(FWXIOBuffer(b"from inside"), taken, "third"),
        "Close": lambda: pair.right.Close(True),
        "Shutdown": lambda: pair.right.Shutdown(False),
    }

    def append(self: Any, pv: Any, cb: int) -> int:
        assert self.posted, "the filter's code runs inside the call that posted the Recv"
        calls[then]()
        return PlainBuffer.Append(self, pv, cb)

    mine = Liar(Append=append)
    mine.posted = False  # type: ignore[attr-defined]
    for piece in (b"one", b"two", b"3"):
        pair.send(pair.left, piece.ljust(8))
    pair.settle()
    pair.right.Recv(mine, taken, "first")
    pair.right.Recv(FWXIOBuffer.allocated(8), taken, "second")
    mine.posted = True  # type: ignore[attr-defined]
    pair.left.Recv(None, Recorder(), 0)
    pair.settle()
    recvs = [(done.tag, done.data) for done in taken.calls if done.success and done.tag != "third"]
    assert recvs == [("first", b"one     "), ("second", b"two     ")]
    assert len(taken.calls) == (3 if then in ("Recv", "Send") else 2)
    if then == "Recv":
        assert (taken.calls[2].tag, taken.calls[2].data) == ("third", b"3       ")


def test_one_of_a_filters_own_on_two_connections(pairs: Any) -> None:
    """B3.13: the service cannot refuse that; each completion still shows its own connection's data alone."""
    mine, seen = PlainBuffer(SIZE), list[tuple[object, bytes]]()
    takers = [Recorder(lambda done: seen.append((done.tag, done.data))) for _ in pairs]
    for number, pair in enumerate(pairs):
        pair.right.Recv(mine, takers[number], number)
        pair.send(pair.left, (SECRET, b"new")[number])
    for pair in pairs:
        pair.settle()
    assert seen == [(0, SECRET), (1, b"new")]


def test_the_parent_of_a_window_is_kept_whatever_its_class() -> None:
    """B3.17: also a filter's own; its memory is not given back while a window shows it."""
    gone: list[str] = []

    class Mortal(PlainBuffer):
        def __del__(self) -> None:
            gone.append("parent")

    window = FWXIOBuffer.window(Mortal(8, b"abcdef"), 1, 3)
    gc.collect()
    assert (gone, window.ReadAt(0, 9)) == ([], b"bcd")
    assert IFWXIOBuffer.providedBy(window)
    del window
    gc.collect()
    assert gone == ["parent"]
