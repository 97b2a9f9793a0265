"""Completions: their order holds when a socket ends, nothing comes behind Detach, user data is handed back; sizes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from fwx.data_pump import DataPump
from fwx.impl.ceiling import HIGH_WATER
from fwx.impl.iobuffer import LARGEST, FWXIOBuffer
from fwx.impl.junction import junction
from fwx.impl.sockets import FWXSocket
from fwx.impl.unknown import Unknown
from fwx.interfaces.hresult import (
    ERROR_OPERATION_ABORTED,
    FWX_E_TERMINATING,
    COMError,
)
from fwx.testing import PlainBuffer, neighbour_pair
from tests.impl.parts import Keeper, Recorder

if TYPE_CHECKING:
    from tests.impl.conftest import Rig, Side


def in_a_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


# ---- the order at the end, other threads -----------------------------------------------------------------------------


def held_back(rig: Rig) -> tuple[FWXSocket, Recorder]:
    """Return a socket with one Recv posted to its neighbour, and two held back because its twin has enough to send."""
    owner: Any = None
    socket, twin = (FWXSocket(rig.queue, owner, junction(rig.queue)[0]) for _ in range(2))
    socket.pair_with(twin)
    taken = Recorder()
    socket.Recv(None, taken, 0)
    twin.Send(FWXIOBuffer(bytes(HIGH_WATER)), None, 0)
    socket.Recv(None, taken, 1)
    socket.Recv(None, taken, 2)
    return socket, taken


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize(
    "end",
    [
        lambda socket: socket.Close(False),
        lambda socket: socket.Close(True),
        lambda socket: socket.Shutdown(True),
        lambda socket: (socket._neighbour.abort(ERROR_OPERATION_ABORTED), socket.terminate()),
    ],
    ids=["Close", "Close(True)", "Shutdown(True)", "the connection's end"],
)
def test_what_is_held_back_fails_in_its_turn(rig: Rig, end: Any, in_thread: bool) -> None:
    """B3.31, B5.3: in the order of posting, also where the first had been handed to the neighbour already."""
    socket, taken = held_back(rig)
    in_a_thread(lambda: end(socket)) if in_thread else end(socket)
    rig.until(lambda: len(taken.calls) == 3)
    rig.settle()
    assert taken.outcomes == [(tag, False, ERROR_OPERATION_ABORTED) for tag in range(3)]


@pytest.mark.parametrize("in_thread", [False, True])
def test_no_recv_overtakes_one_that_is_held_back(rig: Rig, in_thread: bool) -> None:
    """B5.3: also where there is room again for a moment; what another thread posts is judged when it arrives."""
    near, far = neighbour_pair(), neighbour_pair()
    owner, taken = Unknown(), Recorder()
    socket, twin = (FWXSocket(rig.queue, owner, each.left._neighbour) for each in (near, far))  # type: ignore[arg-type]
    socket.pair_with(twin)
    twin.Send(FWXIOBuffer(bytes(HIGH_WATER)), None, 0)
    queued = twin._neighbour._outbound  # type: ignore[union-attr]

    def post() -> None:
        socket.Recv(None, taken, "first")
        queued.backlog = 0
        socket.Recv(None, taken, "second")
        queued.backlog = HIGH_WATER

    in_a_thread(post) if in_thread else post()
    rig.settle()
    for data in (b"one", b"two"):
        near.right.Send(FWXIOBuffer(data), None, 0)
    far.receive(far.right)
    near.settle()
    rig.until(lambda: len(taken.calls) == 2)
    assert [(done.tag, done.data) for done in taken.calls] == [("first", b"one"), ("second", b"two")]


class Slow(PlainBuffer):
    """Takes its time where the service asks it: until :attr:`go_on`."""

    def __init__(self) -> None:
        super().__init__(8, b"late")
        self.asked, self.go_on = threading.Event(), threading.Event()

    def _wait(self) -> None:
        self.asked.set()
        assert self.go_on.wait(10)

    def GetBufferAndSize(self) -> memoryview:
        self._wait()
        return super().GetBufferAndSize()

    def GetBufferSizes(self) -> tuple[int, int]:
        self._wait()
        return super().GetBufferSizes()


@pytest.mark.parametrize("method", ["Send", "Recv"])
def test_a_call_that_comes_too_late(rig: Rig, watcher: Any, method: str) -> None:
    """B3.31, B1.34: a call of another thread that the end overtakes is refused, and does not complete after Detach."""
    keeper, late, refused = Keeper(), Slow(), list[int]()
    opened = rig.open(keeper, watcher())
    taken = Recorder(lambda done: keeper.told.append("completion"))

    def post() -> None:
        try:
            getattr(keeper.internal, method)(late, taken, 0)
        except COMError as error:
            refused.append(error.hresult)

    thread = threading.Thread(target=post)
    thread.start()
    assert late.asked.wait(10)
    opened.connection.end()
    rig.until_gone(opened.connection)
    late.go_on.set()
    thread.join()
    rig.settle()
    assert keeper.told == ["Detach"]
    assert refused == [FWX_E_TERMINATING]


class SlowQueue:
    """A run queue on which other threads are interrupted just before they post, until :attr:`go_on`."""

    def __init__(self, queue: Any) -> None:
        self.queue, self.thread = queue, queue.thread
        self.asked, self.go_on = threading.Event(), threading.Event()

    def post(self, *args: Any) -> None:
        if threading.get_ident() != self.thread:
            self.asked.set()
            assert self.go_on.wait(10)
        self.queue.post(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.queue, name)


def test_the_end_waits_for_a_call_that_was_accepted(rig: Rig, watcher: Any) -> None:
    """B3.31: one whose thread has been interrupted on its way to the loop completes before Detach too."""
    keeper = Keeper()
    opened = rig.open(keeper, watcher())
    slow: Any = SlowQueue(rig.queue)
    keeper.internal._queue = slow
    taken = Recorder(lambda done: keeper.told.append("completion"))
    thread = threading.Thread(target=keeper.internal.Recv, args=(None, taken, 0))
    thread.start()
    assert slow.asked.wait(10)
    opened.connection.end()
    rig.settle()
    assert keeper.told == []
    slow.go_on.set()
    rig.until_gone(opened.connection)
    thread.join()
    assert keeper.told == ["completion", "Detach"]


def test_a_recv_that_the_end_overtakes_gives_its_buffer_back(rig: Rig) -> None:
    """B3.31: refused behind the loop thread's back; the buffer is its allocator's as before."""

    class Overtaken(FWXSocket):
        def _require_open(self) -> None:
            super()._require_open()
            self._terminated = True

    owner: Any = Unknown()
    socket, mine, codes = Overtaken(rig.queue, owner, junction(rig.queue)[0]), FWXIOBuffer.allocated(8), list[int]()

    def post() -> None:
        with pytest.raises(COMError) as failure:
            socket.Recv(mine, Recorder(), 0)
        codes.append(failure.value.hresult)

    in_a_thread(post)
    assert codes == [FWX_E_TERMINATING]
    assert mine.Append(b"mine") == 4


@pytest.mark.parametrize("turns", range(20))
def test_threads_race_with_the_end(rig: Rig, watcher: Any, turns: int) -> None:
    """B3.31, B5.10: two threads post while the connection is ended: all that was accepted completes before Detach."""
    keeper, accepted, started = Keeper(), list[object](), threading.Barrier(3)
    opened = rig.open(keeper, watcher())
    taken = Recorder(lambda done: keeper.told.append("completion"))

    def post(socket: Any) -> None:
        started.wait()
        for _ in range(300):
            for method, buffer in (("Send", FWXIOBuffer(b"x")), ("Recv", None)):
                tag = object()
                try:
                    getattr(socket, method)(buffer, taken, tag)
                except COMError:
                    return
                accepted.append(tag)

    threads = [threading.Thread(target=post, args=(each,)) for each in (keeper.internal, keeper.external)]
    for thread in threads:
        thread.start()
    started.wait()
    rig.turns(turns)
    opened.connection.end()
    rig.until_gone(opened.connection)
    for thread in threads:
        thread.join()
    rig.settle()
    assert keeper.told[-1] == "Detach"
    assert keeper.told.count("Detach") == 1
    assert len(taken.tags) == len(accepted)
    assert set(map(id, taken.tags)) == set(map(id, accepted))


# ---- user data -------------------------------------------------------------------------------------------------------


class Untouchable:
    """Fails whoever does more than to hand it on."""

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")

    def __hash__(self) -> int:
        raise AssertionError("hashed")

    def __bool__(self) -> bool:
        raise AssertionError("judged")

    def __repr__(self) -> str:
        raise AssertionError("written")


@pytest.mark.parametrize("kind", [Untouchable, lambda: None, lambda: 0, lambda: (1 << 64) - 1, lambda: [1, 2]])
def test_user_data_is_handed_back_as_it_is(rig: Rig, side: Side, kind: Callable[[], object]) -> None:
    """B5.5: whatever it is, the same object, on success and on failure."""
    tags, taken = [kind() for _ in range(3)], Recorder()
    side.socket.Send(FWXIOBuffer(b"x"), taken, tags[0])
    side.far.expect(b"x")
    rig.settle()
    side.socket.Recv(None, taken, tags[1])
    side.socket.Recv(None, taken, tags[2])
    side.far.send(b"y")
    rig.until(lambda: len(taken.calls) == 2)
    side.socket.Close(False)
    rig.settle()
    assert [id(done.tag) for done in taken.calls] == [id(tag) for tag in tags]


def test_one_object_serves_many_sockets(rig: Rig, watcher: Any) -> None:
    """B5.5: told apart by the user data."""
    keepers = [Keeper() for _ in range(3)]
    opened = [rig.open(hosts=(rig.attaching(keeper, name=f"filter {id(keeper)}"),)) for keeper in keepers]
    taken = Recorder()
    for number, keeper in enumerate(keepers):
        keeper.internal.Recv(None, taken, number)
    for number in (2, 0, 1):
        opened[number].client.send(b"%d" % number)
        rig.until(lambda number=number: taken.tags[-1:] == [number])
    assert [(done.tag, done.data) for done in taken.calls] == [(2, b"2"), (0, b"0"), (1, b"1")]


# ---- sizes -----------------------------------------------------------------------------------------------------------


EMPTY: dict[str, Callable[[], Any]] = {
    "constant": lambda: FWXIOBuffer.constant(b""),
    "allocated, without room": lambda: FWXIOBuffer.allocated(0),
    "allocated, nothing in it": lambda: FWXIOBuffer.allocated(9),
    "a window": lambda: FWXIOBuffer.window(FWXIOBuffer.constant(b"abc"), 3, 0),
    "a filter's own": lambda: PlainBuffer(4),
}


@pytest.mark.parametrize("kind", list(EMPTY))
def test_a_send_of_nothing(rig: Rig, side: Side, kind: str) -> None:
    """B3.24: it completes and sends nothing; the other side sees no end of the stream, neither before nor after."""
    sends, empty = Recorder(), EMPTY[kind]()
    side.socket.Send(empty, sends, "alone")
    rig.settle()
    assert sends.outcomes == [("alone", True, 0)]
    assert sends.calls[0].buffer is empty
    side.far.take()
    rig.settle()
    for tag, buffer in (("before", EMPTY[kind]()), ("data", FWXIOBuffer(b"data")), ("after", EMPTY[kind]())):
        side.socket.Send(buffer, sends, tag)
    side.far.expect(b"data")
    rig.settle()
    side.far.take()
    rig.settle()
    assert (side.far.ended, side.far.error, bytes(side.far.data)) == (False, None, b"")
    assert sends.tags == ["alone", "before", "data", "after"]
    assert side.socket._GetWriteCount() == 4


@pytest.mark.parametrize("count", [1, 2, 3])
def test_nothing_through_a_chain(rig: Rig, watcher: Any, count: int) -> None:
    """B3.24: a filter that sends empty buffers ends nobody's stream, however many filters are behind it."""

    class Padding(DataPump):
        def inspect(self, to_server: bool, buffer: Any) -> Any:
            for socket in (self._internal, self._external):
                assert socket is not None
                socket.Send(FWXIOBuffer(b""), None, None)
            return buffer

    opened = rig.open(*(Padding() for _ in range(count)), watcher())
    for near, far in ((opened.client, opened.server), (opened.server, opened.client)):
        near.send(b"something")
        far.expect(b"something")
        far.expect_nothing()
        near.expect_nothing()
    opened.client.shutdown()
    opened.server.expect_end()


def test_the_largest_buffer(rig: Rig, side: Side) -> None:
    """IFWXIOBuffer: 64 MiB can be made and received into; only what is needed of it is used."""
    mine, taken = FWXIOBuffer.allocated(LARGEST), Recorder()
    side.socket.Recv(mine, taken, 0)
    side.far.send(b"x" * 1000)
    rig.until(lambda: taken.calls)
    assert mine.GetBufferSizes() == (LARGEST, 1000)
    mine.SetDataSize(LARGEST)
    assert not any(mine.ReadAt(1000, 1 << 16))
    assert not any(mine.ReadAt(LARGEST - (1 << 16), 1 << 16))
