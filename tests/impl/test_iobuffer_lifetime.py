"""How long a buffer's memory lives, and that nothing copies it on its way through a chain."""

from __future__ import annotations

import tracemalloc
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from fwx.data_pump import DataPump
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.raw import Ref, raw
from fwx.interfaces import IFWXFirewall2, IFWXIOBuffer, IFWXSocket
from fwx.interfaces.hresult import E_UNEXPECTED, S_OK, COMError
from fwx.testing import PlainBuffer, SocketPair, memory_pair, neighbour_pair
from tests.impl.parts import Recorder

if TYPE_CHECKING:
    from tests.impl.conftest import Opened, Rig

LARGE = 8 << 20


@pytest.fixture(params=[memory_pair, neighbour_pair], ids=["network", "filter"])
def pair(request: pytest.FixtureRequest) -> Any:
    pair = request.param()
    yield pair
    for socket in (pair.left, pair.right):
        socket.Close(True)
    pair.settle()
    pair.close()


def in_use() -> int:
    return tracemalloc.get_traced_memory()[0]


@pytest.fixture
def traced() -> Any:
    tracemalloc.start()
    yield in_use()
    tracemalloc.stop()


# ---- memory goes back with the last reference ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["allocated", "frozen", "window", "constant", "received"])
def test_memory_goes_back_at_once(kind: str, traced: int) -> None:
    """B3.15: with the last holder, without a collection of garbage; a window is a holder of its parent (B3.17)."""
    buffer: Any = FWXIOBuffer.allocated(LARGE)
    if kind == "frozen":
        buffer.SetDataSize(LARGE)
        buffer.freeze()
    elif kind == "window":
        buffer.SetDataSize(LARGE)
        buffer = FWXIOBuffer.window(FWXIOBuffer.window(buffer, 10, 1000), 10, 10)
    elif kind == "constant":
        buffer = FWXIOBuffer.constant(bytearray(LARGE), 10)
    elif kind == "received":
        buffer = FWXIOBuffer(bytes(LARGE))
    assert in_use() - traced > LARGE - 1000
    view = buffer.GetBufferAndSize()
    del buffer
    assert in_use() - traced > LARGE - 1000, "a view holds the memory too"
    del view
    assert in_use() - traced < 100_000


def test_views_that_were_dropped_are_not_kept(traced: int) -> None:
    """B3.15: an allocator that looks at its buffer again and again."""
    mine = FWXIOBuffer.allocated(8)
    mine.SetDataSize(8)
    for _ in range(10_000):
        mine.GetBufferAndSize()[0] = 1
    assert in_use() - traced < 100_000
    kept = [mine.GetBufferAndSize() for _ in range(100)]
    mine.freeze()
    for view in kept:
        with pytest.raises(ValueError, match="released"):
            view[0] = 2


def test_an_operation_holds_its_buffer(pair: SocketPair) -> None:
    """IFWXIOBuffer: Send and Recv hold the buffer until CompleteAsyncIO has returned, then give it up."""
    alive: list[bool] = []
    sent, filled = FWXIOBuffer.allocated(3), FWXIOBuffer.allocated(3)
    sent.Append(b"abc")
    watched = [weakref.ref(sent), weakref.ref(filled)]

    class Looks(Recorder):
        def CompleteAsyncIO(self, *args: Any) -> Any:
            alive.append(watched[args[3]]() is args[2] is not None)

    pair.left.Send(sent, Looks(), 0)
    pair.right.Recv(filled, Looks(), 1)
    del sent, filled
    assert all(each() is not None for each in watched)
    pair.settle()
    assert alive == [True, True]
    assert [each() for each in watched] == [None, None]


@pytest.mark.parametrize("how", ["completed", "failed", "without a completion"])
def test_nothing_is_left_of_what_passed(pair: SocketPair, how: str, traced: int) -> None:
    """B3.15: a hundred megabytes later the memory is what it was."""
    pair.settle()
    before = in_use()
    completion = None if how == "without a completion" else Recorder(lambda done: completion.calls.clear())
    for _ in range(100):
        pair.left.Send(FWXIOBuffer.constant(bytes(1 << 20)), completion, 0)
        if how == "failed":
            pair.left.Shutdown(True)
            break
        for _ in range(64):
            if not pair.left._backlog:
                break
            pair.receive(pair.right)
    pair.settle()
    assert in_use() - before < 300_000


def test_a_chain_gives_back_what_passed(rig: Rig) -> None:
    """B3.15: through three filters; what the filters do not keep is gone when it has been sent."""
    buffers: list[weakref.ref[Any]] = []

    class Weak(DataPump):
        def inspect(self, to_server: bool, buffer: Any) -> Any:
            buffers.append(weakref.ref(buffer))
            return buffer

    opened = rig.open(Weak(), Weak(), Weak())
    for _ in range(10):
        opened.client.send(b"x" * 50_000)
        opened.server.expect(b"x" * 50_000)
    rig.settle()
    assert len(buffers) >= 30
    assert [each() for each in buffers if each() is not None] == []


# ---- the reference count owns no memory ------------------------------------------------------------------------------


def test_a_filter_that_releases_after_send(pair: SocketPair, rig: Rig) -> None:
    """B3.15, IFWXIOBuffer: right after Send, as in C++; what is in flight is whole, and so is what arrives."""
    cell: Ref[Any] = Ref()
    assert raw(rig.firewall, IFWXFirewall2).CreateBuffer(5, cell) == S_OK
    made, sends = raw(cell.value, IFWXIOBuffer), Recorder()
    assert made.Append(b"hello", 5, Ref()) == S_OK
    assert raw(pair.left, IFWXSocket).Send(cell.value, sends, 7) == S_OK
    while made.Release():
        """Also the reference of the one who called CreateBuffer on the Python face."""
    cell.value = None
    done = pair.receive(pair.right)
    pair.until(lambda: sends.calls, "the completion of the Send")
    assert (done.data, sends.tags) == (b"hello", [7])
    taken = raw(done.buffer, IFWXIOBuffer)
    counts = [taken.AddRef(), taken.AddRef(), taken.Release()]
    assert counts == [counts[0], counts[0] + 1, counts[0]]
    assert counts[0] >= 1
    view, size = Ref(), Ref()
    assert taken.GetBufferAndSize(view, size) == S_OK
    assert (bytes(view.value), size.value) == (b"hello", 5)
    pair.right.Send(done.buffer, None, 0)
    assert pair.receive(pair.left).data == b"hello"


def test_released_too_often(pair: SocketPair) -> None:
    """B3.15: a count that is wrong is the fault of who counts; it takes nothing away from who holds the buffer."""
    mine = FWXIOBuffer.constant(b"hello")
    view = mine.GetBufferAndSize()
    window = FWXIOBuffer.window(mine, 0, 4)
    assert mine.Release() == 0
    with pytest.raises(COMError) as failure:
        mine.Release()
    assert failure.value.hresult == E_UNEXPECTED
    pair.left.Send(mine, None, 0)
    pair.left.Send(window, None, 0)
    assert pair.receive_all(pair.right, 9) == b"hellohell"
    assert bytes(view) == b"hello"
    assert (mine.AddRef(), mine.Release()) == (1, 0)


# ---- zero copies -----------------------------------------------------------------------------------------------------


class Traffic:
    """What the transports of one connection have read, and what they were given to send."""

    def __init__(self, opened: Opened) -> None:
        self.read: list[bytes] = []
        self.sent: list[Any] = []
        client, server = (end.transport for end in (opened.connection._client, opened.connection._server))
        receive, send = client.recv, server.send
        client.recv = lambda size: self.read.append(receive(size)) or self.read[-1]
        server.send = lambda data: self.sent.append(data) or send(data)

    def memory(self) -> list[bytes]:
        """The objects whose memory was sent, each once, in order."""
        return list({id(each): each for each in map(_behind, self.sent)}.values())


def _behind(data: Any) -> Any:
    return data.obj if isinstance(data, memoryview) else data


def same(one: list[Any], other: list[Any]) -> bool:
    return [id(each) for each in one] == [id(each) for each in other]


def test_whole_buffers_are_not_copied(rig: Rig, watcher: Any) -> None:
    """B3.12, issue 4: what the client's transport read is, object for object, what the server's is given to send."""
    opened = rig.open(watcher(), watcher(), watcher())
    traffic, data = Traffic(opened), bytes(range(256)) * 1000
    opened.client.send(data)
    opened.server.expect(data)
    read = [block for block in traffic.read if block]
    assert b"".join(read) == data
    assert same(traffic.memory(), read)
    whole = [each for each in traffic.sent if type(each) is bytes]
    assert same(whole, read), "each block is handed over as it is; only a rest that did not fit is a view of it"


class Cutting(DataPump):
    """Sends what it gets as two windows; *keeps* none of the rest."""

    def __init__(self, make: Callable[[Any, int, int], Any] = FWXIOBuffer.window) -> None:
        super().__init__()
        self.make = make

    def inspect(self, to_server: bool, buffer: Any) -> Any:
        size = buffer.GetBufferSizes()[1]
        if size < 2:
            return buffer
        assert self._external is not None
        self._external.Send(self.make(buffer, 0, size // 2), None, None)
        return self.make(buffer, size // 2, size - size // 2)


def test_windows_are_not_copied(rig: Rig) -> None:
    """B3.16, B3.12: windows of windows of windows are sent from the block that was read."""
    opened = rig.open(Cutting(), Cutting(), Cutting())
    traffic, data = Traffic(opened), bytes(range(256)) * 100
    opened.client.send(data)
    opened.server.expect(data)
    read = [block for block in traffic.read if block]
    assert len(traffic.sent) >= 8 * len(read)
    assert same(traffic.memory(), read)


def replaced(kind: str, memory: bytearray) -> Any:
    """Return a buffer of a *kind* around *memory*, and what must be behind the data that is sent."""
    if kind == "constant":
        buffer: Any = FWXIOBuffer.constant(memory)
        return buffer, memory
    if kind == "a filter's own":
        buffer = PlainBuffer(len(memory), bytes(memory))
        return buffer, buffer.block
    buffer = FWXIOBuffer.allocated(len(memory) + 5)
    buffer.Append(memory)
    return buffer, buffer._block


@pytest.mark.parametrize("kind", ["constant", "allocated", "a filter's own"])
def test_what_a_filter_makes_is_not_copied(rig: Rig, watcher: Any, kind: str) -> None:
    """B3.16: neither by Send nor further down the chain."""
    made, block = replaced(kind, bytearray(b"something else"))

    class Replacing(DataPump):
        def inspect(self, to_server: bool, buffer: Any) -> Any:
            return made if buffer.GetBufferSizes()[1] else buffer

    watching = watcher()
    opened = rig.open(Replacing(), watching, watcher())
    traffic = Traffic(opened)
    opened.client.send(b"x")
    opened.server.expect(b"something else")
    assert same(traffic.memory(), [block])
    (passed,) = watching.passed[True]
    assert (passed is made) is (kind != "a filter's own")
    assert passed.GetBufferAndSize().obj is block


def test_the_rest_of_a_block_is_not_copied(rig: Rig) -> None:
    """B3.12, B3.13: a Recv with a buffer takes its part by copying, the next one without gets the rest of the block."""
    pair = neighbour_pair()
    block = bytes(range(200))
    pair.left.Send(FWXIOBuffer(block), None, 0)
    assert pair.receive(pair.right, FWXIOBuffer.allocated(50)).data == block[:50]
    rest = pair.receive(pair.right).buffer
    assert (rest.ReadAt(0, 200), rest.GetBufferAndSize().obj is block) == (block[50:], True)
