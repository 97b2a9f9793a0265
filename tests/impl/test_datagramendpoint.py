"""The network's end of a link of datagrams, on a transport that does what the test says."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from fwx.impl.datagramendpoint import DatagramEndpoint
from fwx.impl.operation import DatagramOperation
from fwx.impl.transport import ERROR, READABLE, WRITABLE
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import (
    ERROR_OPERATION_ABORTED,
    WSAECONNRESET,
    WSAEHOSTUNREACH,
    WSAEMSGSIZE,
    WSAENOBUFS,
    WSAESHUTDOWN,
    WSAETIMEDOUT,
)
from fwx.testing import MemoryLoop, Recorder

FAR = SocketAddress("192.0.2.1", 53)
STRANGER = SocketAddress("198.51.100.1", 53)


class Transport:
    """A datagram socket whose calls answer from lists: an exception is raised, anything else given."""

    def __init__(self) -> None:
        self.inbox: list[Any] = []
        self.answers: list[Any] = []
        self.errors: list[Any] = []
        self.sent: list[tuple[bytes, Any]] = []
        self.closed = 0
        self.handler: Any = None

    def watch(self, handler: Any) -> None:
        self.handler = handler

    def receive(self) -> tuple[bytes, tuple[Any, ...]]:
        found = self.inbox.pop(0) if self.inbox else BlockingIOError(errno.EAGAIN, "nothing")
        if isinstance(found, Exception):
            raise found
        return found, FAR.sockaddr

    def send_to(self, data: Any, sockaddr: Any) -> None:
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        self.sent.append((bytes(data), sockaddr))

    def send(self, data: Any) -> None:
        self.send_to(data, None)

    def take_error(self) -> Any:
        return self.errors.pop(0) if self.errors else None

    def has_data(self) -> bool:
        return bool(self.inbox)

    def close(self, abortive: bool) -> None:
        self.closed += 1


class Owner:
    def __init__(self) -> None:
        self.admitted = True
        self.asked: list[SocketAddress] = []
        self.sent: list[tuple[Any, int]] = []
        self.ended = 0
        self.failures: list[BaseException] = []

    def admits_datagram(self, external: SocketAddress, size: int) -> bool:
        self.asked.append(external)
        return self.admitted

    def datagram_sent(self, external: SocketAddress | None, size: int) -> None:
        self.sent.append((external, size))

    def datagrams_ended(self) -> None:
        self.ended += 1

    def completion_failed(self, error: BaseException) -> None:
        self.failures.append(error)


class Bench:
    def __init__(self) -> None:
        self.loop = MemoryLoop()
        self.deferred: list[Any] = []
        self.transport = Transport()
        self.owner = Owner()
        self.endpoint = DatagramEndpoint(self.transport, self.loop.queue, self.owner)  # type: ignore[arg-type]
        self.endpoint.start()
        self.recorder = Recorder()

    def recv(self, tag: object = 0) -> None:
        self.endpoint.recv(DatagramOperation(self.owner, self.recorder, tag, None))

    def send(self, data: bytes, target: SocketAddress | None = FAR, tag: object = 0) -> None:
        self.endpoint.send(DatagramOperation(self.owner, self.recorder, tag, None, data, target))

    def outcomes(self) -> list[tuple[object, int]]:
        self.loop.run()
        return [(done.tag, done.code) for done in self.recorder.calls]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_no_room_in_the_kernel(bench: Bench) -> None:
    """What could not be sent waits for the edge; it goes out in order, and on_room is told."""
    told: list[int] = []
    bench.endpoint.on_room = lambda: told.append(bench.endpoint.backlog)
    bench.transport.answers = [BlockingIOError(errno.EAGAIN, "full")] * 2
    bench.send(b"one", tag=1)
    bench.send(b"two", None, tag=2)
    assert (bench.outcomes(), bench.endpoint.backlog) == ([], 6)
    bench.transport.handler(WRITABLE)
    assert bench.outcomes() == []
    bench.transport.handler(WRITABLE)
    assert bench.outcomes() == [(1, 0), (2, 0)]
    assert bench.transport.sent == [(b"one", FAR.sockaddr), (b"two", None)]
    assert (bench.owner.sent, told[-1]) == ([(FAR, 3), (None, 3)], 0)


def test_a_send_that_fails_fails_alone(bench: Bench) -> None:
    bench.transport.answers = [OSError(errno.EMSGSIZE, "long"), OSError(errno.ENOBUFS, "out"), None]
    for tag in range(3):
        bench.send(b"x", tag=tag)
    assert bench.outcomes() == [(0, WSAEMSGSIZE), (1, WSAENOBUFS), (2, 0)]
    assert bench.endpoint.backlog == 0


def test_an_error_of_an_earlier_datagram_is_not_the_sends(bench: Bench) -> None:
    """It is kept for the next Recv, and the call is made once more."""
    bench.transport.answers = [ConnectionRefusedError(errno.ECONNREFUSED, "refused"), None]
    bench.transport.errors = [(errno.ECONNREFUSED, STRANGER.sockaddr)]
    bench.send(b"x", tag="sent")
    bench.recv("received")
    assert bench.outcomes() == [("sent", 0), ("received", WSAECONNRESET)]
    assert bench.recorder.calls[1].address == STRANGER


def test_an_error_that_is_the_sends_own(bench: Bench) -> None:
    """No route: nothing else was reported, so it is this one's."""
    bench.transport.answers = [OSError(errno.EHOSTUNREACH, "no route")]
    bench.send(b"x")
    assert bench.outcomes() == [(0, WSAEHOSTUNREACH)]


def test_errors_by_their_event(bench: Bench) -> None:
    """Each fails one Recv; of those that come while none waits, the last is kept."""
    bench.recv(1)
    bench.transport.errors = [(errno.ECONNREFUSED, None), (errno.ECONNREFUSED, None), (errno.EHOSTUNREACH, None)]
    bench.transport.handler(ERROR)
    bench.recv(2)
    bench.recv(3)
    assert bench.outcomes() == [(1, WSAECONNRESET), (2, WSAEHOSTUNREACH)]
    bench.transport.inbox = [b"fine"]
    bench.transport.handler(READABLE)
    assert bench.outcomes()[2:] == [(3, 0)]


def test_an_error_of_the_receive_itself(bench: Bench) -> None:
    bench.transport.inbox = [OSError(errno.ENOMEM, "out of memory"), b"fine"]
    bench.recv(1)
    bench.recv(2)
    bench.transport.handler(READABLE)
    assert bench.outcomes() == [(1, WSAENOBUFS), (2, 0)]


def test_strangers_are_dropped_in_turns(bench: Bench) -> None:
    """A flood of them ends a turn; the rest is looked at in the loop's next round."""
    rounds: list[Any] = []
    bench.loop.queue._call_soon = rounds.append
    bench.owner.admitted = False
    bench.transport.inbox = [b"forged"] * 600
    bench.recv()
    bench.transport.handler(READABLE)
    assert len(bench.owner.asked) == 256
    while rounds:
        rounds.pop(0)()
    assert len(bench.owner.asked) == 600
    assert bench.outcomes() == []


def test_a_transport_that_has_dropped_a_flood(bench: Bench) -> None:
    """It has not failed: the Recv that waits gets what comes next."""
    rounds: list[Any] = []
    bench.loop.queue._call_soon = rounds.append
    bench.transport.inbox = [InterruptedError(errno.EINTR, "others get their turn"), b"fine"]
    bench.recv()
    bench.transport.handler(READABLE)
    assert bench.outcomes() == []
    while rounds:
        rounds.pop(0)()
    assert bench.outcomes() == [(0, 0)]


def test_a_turn_that_comes_after_the_close(bench: Bench) -> None:
    rounds: list[Any] = []
    bench.loop.queue._call_soon = rounds.append
    bench.owner.admitted = False
    bench.transport.inbox = [b"forged"] * 600
    bench.recv()
    bench.transport.handler(READABLE)
    bench.endpoint.close(True)
    while rounds:
        rounds.pop(0)()
    assert len(bench.owner.asked) == 256


def test_close_lets_out_what_is_queued(bench: Bench) -> None:
    bench.transport.answers = [BlockingIOError(errno.EAGAIN, "full")]
    bench.recv("received")
    bench.send(b"last words", tag="sent")
    bench.endpoint.close(False)
    bench.recv("late")
    bench.send(b"later", tag="later")
    assert (bench.transport.closed, bench.owner.ended) == (0, 0)
    bench.transport.handler(WRITABLE)
    assert bench.outcomes() == [
        ("received", ERROR_OPERATION_ABORTED),
        ("late", ERROR_OPERATION_ABORTED),
        ("later", ERROR_OPERATION_ABORTED),
        ("sent", 0),
    ]
    bench.endpoint.close(False)
    bench.transport.handler(READABLE | WRITABLE)
    assert (bench.transport.closed, bench.owner.ended, bench.endpoint.closed) == (1, 1, True)
    assert not bench.endpoint.has_data()
    bench.endpoint.start()


def test_an_abortive_close_drops_it(bench: Bench) -> None:
    bench.transport.answers = [BlockingIOError(errno.EAGAIN, "full")]
    bench.send(b"never", tag="sent")
    bench.endpoint.shutdown(True)
    assert bench.outcomes() == [("sent", ERROR_OPERATION_ABORTED)]
    assert (bench.transport.sent, bench.transport.closed, bench.endpoint.backlog) == ([], 1, 0)


def test_shutdown_ends_sending_alone(bench: Bench) -> None:
    bench.endpoint.shutdown(False)
    bench.send(b"x", tag="sent")
    bench.recv("received")
    bench.transport.inbox = [b"still here"]
    bench.transport.handler(READABLE)
    assert bench.outcomes() == [("sent", WSAESHUTDOWN), ("received", 0)]


def test_time_is_up(bench: Bench) -> None:
    """The oldest of its kind fails; none is there, nothing happens."""
    bench.endpoint.expire_recv()
    bench.endpoint.expire_send()
    bench.transport.answers = [BlockingIOError(errno.EAGAIN, "full")]
    for tag in (1, 2):
        bench.recv(f"received {tag}")
        bench.send(b"x", tag=f"sent {tag}")
    bench.endpoint.expire_recv()
    bench.endpoint.expire_send()
    assert bench.outcomes() == [("received 1", WSAETIMEDOUT), ("sent 1", WSAETIMEDOUT)]
    assert bench.endpoint.backlog == 1
    bench.transport.handler(WRITABLE)
    assert bench.outcomes()[2:] == [("sent 2", 0)]
