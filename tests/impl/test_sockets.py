"""A data filter's socket: one battery for both kinds of neighbour, because a filter must not be able to tell (B3.4)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.junction import junction
from fwx.impl.sockets import FWXSocket
from fwx.interfaces import IFWXNetworkSocket, IFWXSocket, IUnknown, SocketAddress
from fwx.interfaces.hresult import (
    E_ACCESSDENIED,
    E_INVALIDARG,
    E_NOINTERFACE,
    E_POINTER,
    ERROR_OPERATION_ABORTED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_FALSE,
    WSAECONNRESET,
    WSAENOBUFS,
    WSAENOTSOCK,
    WSAEOPNOTSUPP,
    WSAESHUTDOWN,
    COMError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.impl.conftest import Rig, Side

NOTHING = SocketAddress("203.0.113.1", 53)


def const(data: bytes) -> FWXIOBuffer:
    return FWXIOBuffer.constant(data)


def code_of(call: Callable[..., object], *args: Any) -> int:
    """Return the HRESULT that *call* raises."""
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


# ---- blindness -------------------------------------------------------------------------------------------------------


def test_one_class_and_no_network_socket_behind_either_neighbour(side: Side) -> None:
    """B3.4, B4.1: the same class, the same interfaces, no way to a network socket."""
    assert type(side.socket) is FWXSocket
    assert side.socket.QueryInterface(IFWXSocket) is side.socket
    assert side.socket.QueryInterface(IUnknown) is side.socket
    assert code_of(side.socket.QueryInterface, IFWXNetworkSocket) == E_NOINTERFACE
    assert IFWXNetworkSocket(side.socket, None) is None


def test_refusals_are_the_same(side: Side, recorder: Any) -> None:
    """B3.4, B3.13, B3.23, B4.4: what a bad call gets, whatever the neighbour is."""
    sock = side.socket
    assert code_of(sock.Send, None, recorder(), 0) == E_POINTER
    assert code_of(sock.Send, b"bytes are no buffer", recorder(), 0) == E_INVALIDARG
    assert code_of(sock.Recv, None, None, 0) == E_POINTER
    assert code_of(sock.SendTo, const(b"x"), NOTHING, None, recorder(), 0) == HRESULT_FROM_WIN32(WSAEOPNOTSUPP)
    assert sock._IsDataAvailable() == S_FALSE
    assert not side.owner.failures


# ---- completions -----------------------------------------------------------------------------------------------------


def test_a_send_completes_once_and_not_inside_the_call(rig: Rig, side: Side, recorder: Any) -> None:
    """B3.14, B5.3: exactly once, with the user data, after the posting call has returned."""
    sends = recorder()
    marker = object()
    side.socket.Send(const(b"hello"), sends, marker)
    assert sends.calls == []
    side.far.expect(b"hello")
    rig.settle()
    (done,) = sends.calls
    assert (done.success, done.code, done.tag) == (True, 0, marker)
    assert side.socket._GetWriteCount() == 5


def test_a_receive_completes_once_and_not_inside_the_call(rig: Rig, side: Side, recorder: Any) -> None:
    """B3.12, B5.7: data that is there already does not complete the Recv inside the call."""
    side.far.send(b"hello")
    rig.settle()
    receives = recorder()
    side.socket.Recv(None, receives, "first")
    assert receives.calls == []
    rig.until(lambda: receives.calls)
    rig.settle()
    (done,) = receives.calls
    assert (done.success, done.code, done.data, done.tag) == (True, 0, b"hello", "first")


def test_completions_keep_the_order_of_their_direction(rig: Rig, side: Side, recorder: Any) -> None:
    """B5.5: one completion object, many operations; empty buffers do not overtake."""
    sends = recorder()
    for number, data in enumerate([b"a", b"", b"bc", b"", b"d"]):
        side.socket.Send(const(data), sends, number)
    side.far.expect(b"abcd")
    rig.until(lambda: len(sends.calls) == 5)
    assert sends.outcomes == [(number, True, 0) for number in range(5)]


def test_a_recv_of_another_thread_meets_the_close(rig: Rig, recorder: Any) -> None:
    """B3.31: one that is to be held back when the socket is closed already is not forgotten."""
    near, other = junction(rig.queue)[0], junction(rig.queue)[0]
    owner: Any = None
    socket, twin = (FWXSocket(rig.queue, owner, neighbour) for neighbour in (near, other))
    socket.pair_with(twin)
    twin.Send(const(bytes(300_000)), None, 0)
    receives = recorder()
    thread = threading.Thread(target=socket.Recv, args=(None, receives, 0))
    thread.start()
    thread.join()
    socket.Close(False)
    rig.until(lambda: receives.calls)
    assert receives.outcomes == [(0, False, ERROR_OPERATION_ABORTED)]


def test_receives_complete_in_order(rig: Rig, side: Side, recorder: Any) -> None:
    receives = recorder()
    for number in range(3):
        side.socket.Recv(None, receives, number)
    for number, data in enumerate([b"one", b"two", b"three"]):
        side.far.send(data)
        rig.until(lambda number=number: len(receives.calls) == number + 1)
    assert [(done.tag, done.data) for done in receives.calls] == [(0, b"one"), (1, b"two"), (2, b"three")]


def test_a_completion_posts_the_next_operation(rig: Rig, side: Side, recorder: Any) -> None:
    """DESIGN 5: a callback that posts is not called again inside itself."""
    depth: list[int] = []

    def again(done: Any) -> None:
        depth.append(+1)
        assert sum(depth) == 1
        if done.data:
            side.socket.Recv(None, receives, 0)
        depth.append(-1)

    receives = recorder(again)
    side.socket.Recv(None, receives, 0)
    for letter in (b"a", b"b", b"c"):
        side.far.send(letter)
    side.far.shutdown()
    rig.until(lambda: receives.calls and not receives.calls[-1].data)
    assert receives.received == b"abc"
    assert sum(depth) == 0


def test_a_send_without_a_completion(rig: Rig, side: Side) -> None:
    """B5.3: no completion object asks for no notice."""
    side.socket.Send(const(b"quiet"), None, 0)
    side.far.expect(b"quiet")
    assert not side.owner.failures


def test_any_thread_may_post(rig: Rig, side: Side, recorder: Any) -> None:
    """B5.10: operations of another thread keep their order and complete on the loop's thread."""
    threads: set[int] = set()
    completions = recorder(lambda done: threads.add(threading.get_ident()))

    def post() -> None:
        for number in range(100):
            side.socket.Send(const(b"%03d" % number), completions, number)
        side.socket.Recv(None, completions, "received")

    side.far.send(b"x")
    other = threading.Thread(target=post)
    other.start()
    rig.until(lambda: len(completions.calls) >= 1)
    other.join()
    side.far.expect(b"".join(b"%03d" % number for number in range(100)))
    rig.until(lambda: len(completions.calls) == 101)
    assert [tag for tag in completions.tags if tag != "received"] == list(range(100))
    assert threads == {threading.get_ident()}


def test_another_thread_closes(rig: Rig, side: Side, recorder: Any) -> None:
    """B3.31 from any thread."""
    receives = recorder()
    side.socket.Recv(None, receives, 0)
    other = threading.Thread(target=side.socket.Close, args=(False,))
    other.start()
    rig.until(lambda: receives.calls)
    other.join()
    assert receives.outcomes == [(0, False, ERROR_OPERATION_ABORTED)]
    side.far.expect_end()


# ---- buffers ---------------------------------------------------------------------------------------------------------


def test_receive_into_the_callers_buffer(rig: Rig, side: Side, recorder: Any) -> None:
    """B3.13: the data is copied in, its size is set, and what does not fit comes with the next Recv."""
    mine = FWXIOBuffer.allocated(4)
    mine.Append(b"old!")
    receives = recorder()
    side.socket.Recv(mine, receives, 1)
    side.far.send(b"abcdefg")
    rig.until(lambda: receives.calls)
    assert receives.calls[0].buffer is mine
    assert (mine.GetBufferSizes(), mine.ReadAt(0, 10)) == ((4, 4), b"abcd")
    side.socket.Recv(mine, receives, 2)
    rig.until(lambda: len(receives.calls) == 2)
    assert (mine.GetBufferSizes(), mine.ReadAt(0, 10)) == ((4, 3), b"efg")
    mine.Append(b"!")
    assert mine.ReadAt(0, 4) == b"efg!", "still the caller's own"


def test_receive_into_the_callers_buffer_then_into_the_services(rig: Rig, side: Side, recorder: Any) -> None:
    """B3.12, B3.13: the rest of a block that was taken in part."""
    receives = recorder()
    side.socket.Recv(FWXIOBuffer.allocated(2), receives, 1)
    side.socket.Recv(None, receives, 2)
    side.far.send(b"abcdefg")
    rig.until(lambda: len(receives.calls) == 2)
    assert receives.calls[0].buffer.ReadAt(0, 9) == b"ab"
    assert receives.calls[1].data == b"cdefg"


def test_receive_into_a_filters_own_implementation(rig: Rig, side: Side, recorder: Any, foreign_buffer: Any) -> None:
    """B3.13: the buffer may be the filter's own class."""
    mine = foreign_buffer(b"previous", capacity=5)
    receives = recorder()
    side.socket.Recv(mine, receives, 0)
    side.far.send(b"abcdefg")
    rig.until(lambda: receives.calls)
    assert receives.calls[0].buffer is mine
    assert mine.block == b"abcde"


def test_send_a_filters_own_implementation(rig: Rig, side: Side, recorder: Any, foreign_buffer: Any) -> None:
    sends = recorder()
    side.socket.Send(foreign_buffer(b"made by hand"), sends, 0)
    side.far.expect(b"made by hand")
    rig.until(lambda: sends.calls)
    assert sends.outcomes == [(0, True, 0)]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: FWXIOBuffer.allocated(0), E_INVALIDARG),
        (lambda: FWXIOBuffer(b"received"), E_ACCESSDENIED),
        (lambda: FWXIOBuffer.constant(b"constant"), E_ACCESSDENIED),
        (lambda: b"bytes", E_INVALIDARG),
    ],
    ids=["no room", "received", "constant", "no buffer"],
)
def test_a_buffer_that_cannot_take_anything_is_refused_at_once(
    rig: Rig, side: Side, recorder: Any, make: Any, error: int
) -> None:
    """B3.13: a Recv into it would look like the end of the stream, or lose the data."""
    receives = recorder()
    assert code_of(side.socket.Recv, make(), receives, 0) == error
    side.far.send(b"data")
    side.socket.Recv(None, receives, 1)
    rig.until(lambda: receives.calls)
    assert [(done.tag, done.data) for done in receives.calls] == [(1, b"data")]


def test_a_buffer_that_was_sent_cannot_receive(side: Side, recorder: Any) -> None:
    """B3.14: the buffer is not to be reused after Send."""
    mine = FWXIOBuffer.allocated(8)
    mine.Append(b"abc")
    side.socket.Send(mine, None, 0)
    assert code_of(side.socket.Recv, mine, recorder(), 0) == E_ACCESSDENIED
    side.far.expect(b"abc")


# ---- the end ---------------------------------------------------------------------------------------------------------


def test_the_end_of_the_stream_is_a_buffer_of_size_zero(rig: Rig, side: Side, recorder: Any) -> None:
    """B3.24, B5.11: success, size 0; and again for every later Recv; the caller's own buffer is emptied."""
    side.far.send(b"last words")
    side.far.shutdown()
    receives = recorder()
    mine = FWXIOBuffer.allocated(4)
    for tag in range(2):
        side.socket.Recv(None, receives, tag)
    rig.until(lambda: len(receives.calls) == 2)
    side.socket.Recv(None, receives, 2)
    rig.until(lambda: len(receives.calls) == 3)
    assert [(done.success, done.data) for done in receives.calls] == [(True, b"last words"), (True, b""), (True, b"")]
    side.socket.Recv(mine, receives, 3)
    rig.until(lambda: len(receives.calls) == 4)
    assert receives.calls[3].buffer.GetBufferSizes()[1] == 0


def test_the_end_of_the_stream_in_the_callers_own_buffer(rig: Rig, side: Side, recorder: Any) -> None:
    """B3.13, B3.24: an end that a Recv was waiting for."""
    mine = FWXIOBuffer.allocated(4)
    receives = recorder()
    side.socket.Recv(mine, receives, 0)
    rig.settle()
    side.far.shutdown()
    rig.until(lambda: receives.calls)
    assert receives.calls[0].success
    assert receives.calls[0].buffer.GetBufferSizes()[1] == 0


def test_shutdown_ends_one_direction_behind_what_is_queued(rig: Rig, side: Side, recorder: Any) -> None:
    """B3.25: a half close; the other direction goes on."""
    sends, receives = recorder(), recorder()
    side.socket.Recv(None, receives, 0)
    side.socket.Send(const(b"x" * 100_000), sends, 0)
    side.socket.Shutdown(False)
    side.far.expect(b"x" * 100_000)
    side.far.expect_end()
    side.far.send(b"answer")
    rig.until(lambda: receives.calls)
    assert receives.calls[0].data == b"answer"
    assert code_of(side.socket.Send, const(b"more"), sends, 1) == HRESULT_FROM_WIN32(WSAESHUTDOWN)
    side.socket.Shutdown(False)
    rig.settle()
    assert sends.tags == [0]


@pytest.mark.parametrize("half_closed", [False, True])
def test_an_abortive_shutdown_resets(rig: Rig, side: Side, recorder: Any, half_closed: bool) -> None:
    """B3.25, B3.27: TRUE sends RST, also after a half close; the pending Recv fails."""
    receives = recorder()
    side.socket.Recv(None, receives, 0)
    rig.settle()
    if half_closed:
        side.socket.Shutdown(False)
        rig.settle()
    side.socket.Shutdown(True)
    rig.until(lambda: receives.calls)
    assert receives.outcomes == [(0, False, ERROR_OPERATION_ABORTED)]
    assert code_of(side.socket.Send, const(b"more"), None, 1) == HRESULT_FROM_WIN32(WSAESHUTDOWN)
    side.socket.Recv(None, receives, 1)
    rig.until(lambda: len(receives.calls) == 2)
    assert receives.outcomes[1] == (1, False, ERROR_OPERATION_ABORTED)
    if not half_closed:
        side.far.expect_reset()


@pytest.mark.parametrize("abortive", [False, True])
def test_close_fails_what_is_pending(rig: Rig, side: Side, recorder: Any, abortive: bool) -> None:
    """B3.26, B3.27, B3.31: pending Recvs complete as failed, in order, not inside Close; a second one does nothing."""
    receives = recorder()
    for tag in range(3):
        side.socket.Recv(None, receives, tag)
    side.socket.Close(abortive)
    side.socket.Close(abortive)
    assert receives.calls == []
    rig.settle()
    assert receives.outcomes == [(tag, False, ERROR_OPERATION_ABORTED) for tag in range(3)]
    if abortive:
        side.far.expect_reset()
    else:
        side.far.expect_end()


def test_close_lets_out_what_is_queued(rig: Rig, side: Side, recorder: Any) -> None:
    """B3.26: FALSE ends by FIN, behind the data."""
    sends = recorder()
    side.socket.Send(const(b"y" * 20_000_000), sends, 0)
    side.socket.Close(False)
    side.far.expect(b"y" * 20_000_000)
    side.far.expect_end()
    rig.until(lambda: sends.calls)
    assert sends.outcomes == [(0, True, 0)]


@pytest.mark.parametrize("call", ["Send", "SendTo", "Recv", "Shutdown"])
@pytest.mark.parametrize(
    ("state", "error"), [("closed", HRESULT_FROM_WIN32(WSAENOTSOCK)), ("detached", FWX_E_TERMINATING)]
)
def test_calls_on_a_socket_that_is_over(side: Side, recorder: Any, call: str, state: str, error: int) -> None:
    """B3.28, B1.31: after Close and after Detach nothing is posted, and the call says so."""
    calls: dict[str, tuple[Any, ...]] = {
        "Send": (const(b"x"), recorder(), 0),
        "SendTo": (const(b"x"), NOTHING, None, recorder(), 0),
        "Recv": (None, recorder(), 0),
        "Shutdown": (False,),
    }
    side.socket.Close(False)
    if state == "detached":
        side.socket.terminate()
    assert code_of(getattr(side.socket, call), *calls[call]) == error


def test_the_last_release_closes(rig: Rig, side: Side) -> None:
    """B3.28: what the holder forgot to close is closed with the last reference."""
    assert side.socket.AddRef() == 2
    assert side.socket.Release() == 1
    rig.settle()
    side.far.take()
    assert not side.far.ended
    assert side.socket.Release() == 0
    side.far.expect_end()


def test_a_reset_fails_what_is_pending_and_what_comes(rig: Rig, side: Side, recorder: Any) -> None:
    """B3.30: a failed completion carries the Winsock number; later operations fail the same way, each once."""
    receives, sends = recorder(), recorder()
    side.socket.Recv(None, receives, 0)
    rig.settle()
    side.far.reset()
    rig.until(lambda: receives.calls)
    side.socket.Recv(None, receives, 1)
    side.socket.Send(const(b"x"), sends, 2)
    rig.settle()
    assert receives.outcomes == [(0, False, WSAECONNRESET), (1, False, WSAECONNRESET)]
    assert sends.outcomes == [(2, False, WSAECONNRESET)]


# ---- limits ----------------------------------------------------------------------------------------------------------


def test_too_many_bytes_waiting(side: Side, recorder: Any) -> None:
    """DESIGN 5: 8 MiB may wait to be sent; the next Send is refused and not posted."""
    sends = recorder()
    megabyte = const(bytes(1 << 20))
    taken: list[int] = []

    def send_without_end() -> None:
        for number in range(40):
            side.socket.Send(megabyte, sends, number)
            taken.append(number)

    assert code_of(send_without_end) == HRESULT_FROM_WIN32(WSAENOBUFS)
    assert len(taken) >= 8
    side.socket.Close(True)


def test_too_many_operations_waiting(rig: Rig, side: Side, recorder: Any) -> None:
    """DESIGN 5: 4096 operations of one direction may wait."""
    completions = recorder()
    for number in range(4096):
        side.socket.Recv(None, completions, number)
    assert code_of(side.socket.Recv, None, completions, 4096) == HRESULT_FROM_WIN32(WSAENOBUFS)
    side.socket.Close(False)
    rig.until(lambda: len(completions.calls) == 4096)
    assert completions.tags == list(range(4096))


# ---- a completion object that fails ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "fails"),
    [
        (None, False),
        (0, False),
        (1, False),
        ("anything", False),
        (0x80004005, True),
        (-0x7FFFBFFB, True),
        (0x1_8000_0000, True),
        (-(10**30), True),
        (ValueError, True),
    ],
)
def test_what_a_completion_answers(rig: Rig, side: Side, recorder: Any, answer: object, fails: bool) -> None:
    """B5.9: success or failure, returned or raised; the owner is told of a failure."""

    def then(done: object) -> object:
        if answer is ValueError:
            raise ValueError("a bug")
        return answer

    side.socket.Send(const(b"x"), recorder(then), 0)
    side.far.expect(b"x")
    rig.settle()
    assert bool(side.owner.failures) is fails
