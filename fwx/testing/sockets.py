"""The battery for IFWXSocket, and the pairs of this project's own sockets that it runs on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Any

from fwx.impl.endpoint import Endpoint
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.junction import junction
from fwx.impl.sockets import FWXSocket
from fwx.interfaces import (
    E_NOINTERFACE,
    E_NOTIMPL,
    E_POINTER,
    HRESULT_FROM_WIN32,
    S_FALSE,
    S_OK,
    WSAECONNRESET,
    WSAENOBUFS,
    WSAENOTSOCK,
    WSAESHUTDOWN,
    COMError,
    IFWXNetworkSocket,
    IFWXSocket,
    SocketAddress,
)
from fwx.testing.battery import Battery, BreachError, Rule, describe, expect, expect_equal, expect_failure, run_rules
from fwx.testing.completions import Done, Recorder
from fwx.testing.memory import MemoryNetwork
from fwx.testing.memoryloop import MemoryLoop
from fwx.testing.streambuffers import BUFFER_RULES
from fwx.testing.unknown import shape_rule, unknown_rules

NOT_A_SOCKET = HRESULT_FROM_WIN32(WSAENOTSOCK)
SHUT_DOWN = HRESULT_FROM_WIN32(WSAESHUTDOWN)
CLIENT = SocketAddress("192.0.2.1", 40000)
SERVER = SocketAddress("198.51.100.1", 80)

_PATIENCE = 500
_BLOCK = 1 << 20
_MOST_BLOCKS = 64


def _nothing() -> None:
    """Nothing to close."""


@dataclass(frozen=True, slots=True)
class SocketPair:
    """Two connected sockets: what one sends the other receives.

    :ivar run: lets happen what is ready to happen; called again and again until what a rule waits for has happened.
    :ivar close: gives everything back; called once, at the end.
    """

    left: Any
    right: Any
    run: Callable[[], None]
    close: Callable[[], None] = _nothing

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Run until *condition* holds. :raises BreachError: it never does; *what* names it."""
        for _ in range(_PATIENCE):
            if condition():
                return
            self.run()
        raise BreachError(f"{what} never happened")

    def settle(self) -> None:
        """Run for a while, so that nothing that ought not to happen can hide."""
        for _ in range(3):
            self.run()

    def send(self, socket: Any, data: bytes) -> None:
        """Have *socket* send *data* and wait for nothing."""
        socket.Send(FWXIOBuffer.constant(data), None, 0)

    def receive(self, socket: Any, buffer: Any = None) -> Done:
        """Post one Recv on *socket* and return its completion."""
        recorder = Recorder()
        socket.Recv(buffer, recorder, 0)
        self.until(lambda: recorder.calls, "the completion of a Recv")
        return recorder.calls[0]

    def receive_all(self, socket: Any, count: int) -> bytes:
        """Receive *count* bytes on *socket*."""
        received = b""
        while len(received) < count:
            done = self.receive(socket)
            expect(done.success and done.data, f"{len(received)} of {count} bytes came, then {_told(done)}")
            received += done.data
        return received


PairMaker = Callable[[], SocketPair]


def check_socket(maker: PairMaker) -> Battery:
    """Try an implementation of ``IFWXSocket``; *maker* returns a fresh connected pair of a stream."""

    def make() -> AbstractContextManager[SocketPair]:
        return closing(maker())

    return run_rules(_subject(maker), (*_SOCKET_RULES, *STREAM_RULES), make)


def _subject(maker: PairMaker) -> str:
    with closing(maker()) as pair:
        return type(pair.left).__qualname__


# ---- this project's pairs --------------------------------------------------------------------------------------------


class SocketOwner:
    """Owner of sockets and of their endpoints: keeps the completions that failed."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []

    def completion_failed(self, error: BaseException) -> None:
        self.failures.append(error)

    def endpoint_ended(self, endpoint: Endpoint) -> None:
        """The sockets are closed by the test."""

    def endpoint_broken(self, endpoint: Endpoint, code: int) -> None:
        """The sockets' completions tell."""

    def endpoint_faltered(self, endpoint: Endpoint, doomed: bool) -> None:
        """The sockets' completions tell."""


def memory_pair(loop: MemoryLoop | None = None) -> SocketPair:
    """Return two of the service's sockets with a connection in memory between them."""
    loop = loop or MemoryLoop()
    transports = MemoryNetwork(loop).pair(CLIENT, SERVER)
    owner = SocketOwner()
    left, right = (FWXSocket(loop.queue, owner, Endpoint(each, loop.queue, owner)) for each in transports)

    def close() -> None:
        for transport in transports:
            transport.close(False)
        loop.run()

    return SocketPair(left, right, loop.run, close)


def neighbour_pair(loop: MemoryLoop | None = None) -> SocketPair:
    """Return the sockets of two neighbouring data filters that face each other (B3.4)."""
    loop = loop or MemoryLoop()
    owner = SocketOwner()
    left, right = (FWXSocket(loop.queue, owner, end) for end in junction(loop.queue))
    return SocketPair(left, right, loop.run)


# ---- the rules -------------------------------------------------------------------------------------------------------


def _told(done: Done) -> str:
    if not done.success:
        return f"a failure with error {done.code}"
    return f"{len(done.data)} bytes" if done.data else "the end of the stream"


def _never_inside(pair: SocketPair) -> None:
    sent, received = Recorder(), Recorder()
    pair.left.Send(FWXIOBuffer.constant(b"abc"), sent, 0)
    expect(not sent.calls, "the completion of Send came inside the call that posted it")
    pair.settle()
    pair.right.Recv(None, received, 0)
    expect(not received.calls, "the completion of Recv came inside the call that posted it")
    pair.until(lambda: sent.calls and received.calls, "the completion of Send or Recv")


def _exactly_once(pair: SocketPair) -> None:
    recorder = Recorder()
    tags = [object() for _ in range(4)]
    for tag in tags[:2]:
        pair.right.Recv(None, recorder, tag)
    for tag in tags[2:]:
        pair.left.Send(FWXIOBuffer.constant(b"x"), recorder, tag)
        pair.until(lambda tag=tag: tag in recorder.tags, "the completion of a Send")  # type: ignore[misc]
        pair.settle()
    pair.until(lambda: set(tags) <= set(recorder.tags), "the completion of every operation")
    pair.settle()
    expect(len(recorder.calls) == 4, f"4 operations, {len(recorder.calls)} completions")


def _in_order(pair: SocketPair) -> None:
    sent, received = Recorder(), Recorder()
    for number in range(20):
        pair.right.Recv(FWXIOBuffer.allocated(1), received, number)
    for number in range(20):
        pair.left.Send(FWXIOBuffer.constant(bytes([number])), sent, number)
    pair.until(lambda: len(sent.calls) == len(received.calls) == 20, "the completion of every operation")
    expect_equal(sent.tags, list(range(20)), "the order of the completions of Send")
    expect_equal(received.tags, list(range(20)), "the order of the completions of Recv")
    expect_equal(b"".join(done.data for done in received.calls), bytes(range(20)), "the bytes, in order of completion")


def _unchanged(pair: SocketPair) -> None:
    pieces = [bytes([number]) * (1 + number * 311) for number in range(1, 30)]
    for sender, receiver in ((pair.left, pair.right), (pair.right, pair.left)):
        for piece in pieces:
            pair.send(sender, piece)
        expect_equal(pair.receive_all(receiver, len(b"".join(pieces))), b"".join(pieces), "the stream")


def _no_address(pair: SocketPair) -> None:
    pair.send(pair.left, b"abc")
    done = pair.receive(pair.right)
    expect_equal((done.address, done.address_length), (None, 0), "ExternalAddress and its length of a TCP socket")


def _needs_a_completion(pair: SocketPair) -> None:
    expect_failure("Recv without a completion", E_POINTER, pair.left.Recv, None, None, 0)
    pair.send(pair.left, b"abc")
    expect_equal(pair.receive_all(pair.right, 3), b"abc", "what a Send without a completion sent")


def _stream_only(pair: SocketPair) -> None:
    recorder = Recorder()
    buffer = FWXIOBuffer.constant(b"abc")
    try:
        pair.left.SendTo(buffer, SERVER, None, recorder, 0)
    except COMError:
        pair.settle()
        expect(not recorder.calls, "a refused SendTo completed")
        return
    raise BreachError("SendTo succeeded on a socket of a stream")


def _ends(pair: SocketPair) -> None:
    pair.send(pair.left, b"abc")
    pair.left.Shutdown(False)
    pair.left.Shutdown(False)
    expect_equal(pair.receive_all(pair.right, 3), b"abc", "what was sent before the end")
    for _ in range(2):
        done = pair.receive(pair.right)
        expect(
            done.success and done.buffer is not None and not done.data,
            f"expected a success with a buffer of size 0, found {_told(done)}",
        )


def _half_closed(pair: SocketPair) -> None:
    pair.left.Shutdown(False)
    pair.receive(pair.right)
    pair.send(pair.right, b"still here")
    expect_equal(pair.receive_all(pair.left, 10), b"still here", "what came after the own Shutdown")


def _no_send_after_shutdown(pair: SocketPair) -> None:
    recorder = Recorder()
    pair.left.Shutdown(False)
    expect_failure("Send after Shutdown", SHUT_DOWN, pair.left.Send, FWXIOBuffer.constant(b"x"), recorder, 0)
    pair.settle()
    expect(not recorder.calls, "a refused Send completed")


def _close_flushes(pair: SocketPair) -> None:
    pair.send(pair.left, b"last words")
    pair.left.Close(False)
    pair.left.Close(False)
    pair.left.Close(True)
    expect_equal(pair.receive_all(pair.right, 10), b"last words", "what was sent before Close")
    done = pair.receive(pair.right)
    expect(done.success and not done.data, f"expected the end of the stream after Close, found {_told(done)}")


def _nothing_after_close(pair: SocketPair) -> None:
    pair.left.Close(False)
    recorder = Recorder()
    buffer = FWXIOBuffer.constant(b"x")
    expect_failure("Send after Close", NOT_A_SOCKET, pair.left.Send, buffer, recorder, 0)
    expect_failure("Recv after Close", NOT_A_SOCKET, pair.left.Recv, None, recorder, 0)
    expect_failure("Shutdown after Close", NOT_A_SOCKET, pair.left.Shutdown, False)
    pair.settle()
    expect(not recorder.calls, "a refused operation completed")


def _close_fails_pending(pair: SocketPair) -> None:
    recorder = Recorder()
    pair.left.Recv(None, recorder, 1)
    pair.left.Recv(None, recorder, 2)
    pair.settle()
    pair.left.Close(False)
    pair.until(lambda: len(recorder.calls) >= 2, "the completion of a Recv that was pending at Close")
    pair.settle()
    expect_equal([(done.tag, done.success) for done in recorder.calls], [(1, False), (2, False)], "the completions")


def _resets(method: str) -> Callable[[SocketPair], None]:
    def test(pair: SocketPair) -> None:
        recorder = Recorder()
        pair.right.Recv(None, recorder, 0)
        pair.settle()
        getattr(pair.left, method)(True)
        pair.until(lambda: recorder.calls, f"the completion of the other side's Recv after {method}(True)")
        done = recorder.calls[0]
        expect(not done.success, f"{method}(True): expected a failure at the other side, found {_told(done)}")
        expect_equal(done.code, WSAECONNRESET, "the error at the other side")

    return test


def _again_inside(pair: SocketPair) -> None:
    depth = deepest = 0
    received = bytearray()

    def take(done: Done) -> None:
        nonlocal depth, deepest
        depth += 1
        deepest = max(deepest, depth)
        received.extend(done.data)
        if done.data:
            pair.right.Recv(FWXIOBuffer.allocated(1), recorder, 0)
        depth -= 1

    recorder = Recorder(take)
    pair.send(pair.left, b"abcdef")
    pair.settle()
    pair.right.Recv(FWXIOBuffer.allocated(1), recorder, 0)
    pair.until(lambda: len(received) == 6, "the completion of a Recv that a completion posted")
    expect_equal((bytes(received), deepest), (b"abcdef", 1), "the data and how deep the completions were nested")


def _faulty_completion(pair: SocketPair) -> None:
    def fail(done: Done) -> None:
        raise ValueError(f"a bug that saw {done.success}")

    faulty, recorder = Recorder(fail), Recorder()
    pair.left.Recv(None, faulty, 0)
    pair.left.Recv(None, recorder, 1)
    pair.right.Recv(None, recorder, 2)
    pair.send(pair.right, b"abc")
    pair.until(lambda: faulty.calls, "the completion of a Recv")
    pair.right.Close(True)
    pair.until(lambda: len(recorder.calls) >= 2, "the completion of an operation after another one's had failed")
    pair.settle()
    expect_equal((len(faulty.calls), sorted(map(str, recorder.tags))), (1, ["1", "2"]), "how often each completed")


def _from_any_thread(pair: SocketPair) -> None:
    errors: list[BaseException] = []
    recorder = Recorder()

    def post() -> None:
        try:
            pair.right.Recv(None, recorder, "received")
            pair.left.Send(FWXIOBuffer.constant(b"abc"), recorder, "sent")
        except Exception as error:  # noqa: BLE001  carried to the thread that judges
            errors.append(error)

    thread = threading.Thread(target=post)
    thread.start()
    thread.join()
    expect(not errors, f"posting from another thread raised {describe(errors[0]) if errors else ''}")
    pair.until(lambda: len(recorder.calls) == 2, "the completion of an operation from another thread")
    expect_equal(set(recorder.tags), {"sent", "received"}, "the completions")


def _holds_back(pair: SocketPair) -> None:
    sent = Recorder()
    block = bytes(_BLOCK)
    for number in range(_MOST_BLOCKS):
        try:
            pair.left.Send(FWXIOBuffer.constant(block), sent, number)
        except COMError as error:
            expect_equal(error.hresult, HRESULT_FROM_WIN32(WSAENOBUFS), "the refusal of too many Sends")
            return
        pair.settle()
        if len(sent.calls) <= number:
            return
    raise BreachError(f"{_MOST_BLOCKS} MiB were taken although nobody receives")


def _private_slots(pair: SocketPair) -> None:
    pair.send(pair.left, b"abc")
    pair.receive_all(pair.right, 3)
    try:
        expect_equal(pair.left._GetWriteCount(), 3, "_GetWriteCount")
    except COMError as error:
        expect_equal(error.hresult, E_NOTIMPL, "_GetWriteCount")
    try:
        answer = pair.right._IsDataAvailable()
        expect(
            int(answer) in (int(S_OK), int(S_FALSE)), f"_IsDataAvailable: expected S_OK or S_FALSE, found {answer!r}"
        )
    except COMError as error:
        expect_equal(error.hresult, E_NOTIMPL, "_IsDataAvailable")


def _blind(pair: SocketPair) -> None:
    for socket in (pair.left, pair.right):
        expect_failure("QueryInterface(IFWXNetworkSocket)", E_NOINTERFACE, socket.QueryInterface, IFWXNetworkSocket)
    expect(type(pair.left) is type(pair.right), "the two sockets are of different classes")


_SOCKET_RULES: tuple[Rule[SocketPair], ...] = (
    shape_rule(IFWXSocket, lambda pair: pair.left),
    *unknown_rules(IFWXSocket, lambda pair: pair.left),
    Rule("does not tell what is behind it", ("B3.4", "B4.1"), _blind),
)

# What holds for a network socket too.
STREAM_RULES: tuple[Rule[SocketPair], ...] = (
    Rule("completes later, never inside the call that posts", ("B5.2",), _never_inside),
    Rule("completes every operation exactly once, with its user data", ("B5.3", "B5.5"), _exactly_once),
    Rule("completes in order", ("B5.2", "B5.3"), _in_order),
    Rule("passes the bytes unchanged, both ways", ("B3.3",), _unchanged),
    Rule("gives no address on TCP", ("B3.21",), _no_address),
    *BUFFER_RULES,
    Rule("Recv needs a completion, Send does not", ("B3.13", "B5.2"), _needs_a_completion),
    Rule("SendTo is refused on a stream", ("B3.23",), _stream_only),
    Rule("the end of the stream is a success of size 0", ("B3.24", "B3.25"), _ends),
    Rule("Shutdown leaves the other direction", ("B3.25",), _half_closed),
    Rule("Send after Shutdown is refused", ("B3.25",), _no_send_after_shutdown),
    Rule("Close sends what is queued, and the end; again it does nothing", ("B3.26",), _close_flushes),
    Rule("a closed socket refuses everything", ("B3.26", "B3.28"), _nothing_after_close),
    Rule("Close fails what is pending", ("B3.31",), _close_fails_pending),
    Rule("Close(True) resets", ("B3.26", "B3.27"), _resets("Close")),
    Rule("Shutdown(True) resets", ("B3.25", "B3.27"), _resets("Shutdown")),
    Rule("a completion may post again", ("B5.2",), _again_inside),
    Rule("a completion that raises keeps no other from coming", ("B5.3", "B5.9"), _faulty_completion),
    Rule("any thread may post", ("B5.10",), _from_any_thread),
    Rule("a reader that stops holds the sender back", ("B3.14",), _holds_back),
    Rule("the private slots answer", ("B4.3", "B4.4"), _private_slots),
)
