"""A connection inside the process behaves as one of the kernel does, as far as the engine looks."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest

from fwx.impl.runqueue import RunQueue
from fwx.impl.transport import ERROR, HANGUP, PEER_CLOSED, READABLE, WRITABLE
from fwx.pipe import CAPACITY, PipeEnd, pipe


class Bench:
    def __init__(self) -> None:
        self.queue = RunQueue(lambda call: None, lambda call: None)
        self.near, self.far = pipe(self.queue, ("10.0.0.1", 1), ("10.0.0.2", 2))
        self.masks: list[int] = []

    def watch(self, end: PipeEnd) -> list[int]:
        end.watch(self.masks.append)
        return self.drained()

    def drained(self) -> list[int]:
        """Return the masks of the edges that were due."""
        self.queue.drain()
        masks = list(self.masks)
        self.masks.clear()
        return masks


@pytest.fixture
def bench() -> Bench:
    return Bench()


def errno_of(call: Callable[..., Any], *args: Any) -> int | None:
    with pytest.raises(OSError, match=r".") as caught:
        call(*args)
    return caught.value.errno


def test_the_names(bench: Bench) -> None:
    assert (bench.near.getsockname(), bench.near.getpeername()) == (("10.0.0.1", 1), ("10.0.0.2", 2))
    assert (bench.far.getsockname(), bench.far.getpeername()) == (("10.0.0.2", 2), ("10.0.0.1", 1))


def test_bytes_pass_in_order(bench: Bench) -> None:
    assert bench.near.send(b"abc") == 3
    assert bench.near.send(memoryview(b"def")) == 3
    assert bench.far.has_data()
    assert [bench.far.recv(4), bench.far.recv(100)] == [b"abcd", b"ef"]
    assert errno_of(bench.far.recv, 1) == errno.EAGAIN
    bench.far.send(b"xyz")
    target = bytearray(2)
    assert (bench.near.recv_into(target), target) == (2, b"xy")


def test_what_was_sent_may_change_afterwards(bench: Bench) -> None:
    data = bytearray(b"abc")
    bench.near.send(data)
    data[0] = 0
    assert bench.far.recv(3) == b"abc"


def test_it_is_bounded(bench: Bench) -> None:
    assert bench.watch(bench.near) == [WRITABLE]
    assert bench.near.send(bytes(CAPACITY + 5)) == CAPACITY
    assert errno_of(bench.near.send, b"x") == errno.EAGAIN
    assert bench.drained() == []
    bench.far.recv(10)
    assert bench.drained() == [WRITABLE]
    assert bench.near.send(bytes(20)) == 10


def test_edges_come_later_and_once(bench: Bench) -> None:
    bench.watch(bench.far)
    bench.near.send(b"a")
    bench.near.send(b"b")
    assert bench.masks == []
    assert bench.drained() == [READABLE | WRITABLE]
    assert bench.drained() == []
    bench.near.send(b"c")
    assert bench.drained() == [READABLE | WRITABLE]


def test_a_new_handler_hears_what_is_ready(bench: Bench) -> None:
    bench.near.send(b"a")
    bench.watch(bench.far)
    assert bench.watch(bench.far) == [READABLE | WRITABLE]


def test_half_close(bench: Bench) -> None:
    bench.watch(bench.far)
    bench.near.send(b"a")
    bench.near.shutdown_write()
    bench.near.shutdown_write()
    assert bench.drained() == [READABLE | WRITABLE | PEER_CLOSED]
    assert errno_of(bench.near.send, b"x") == errno.EPIPE
    assert [bench.far.recv(9), bench.far.recv(9), bench.far.recv(9)] == [b"a", b"", b""]
    bench.far.send(b"b")
    assert bench.near.recv(9) == b"b"
    bench.far.shutdown_write()
    assert bench.drained() == [READABLE | WRITABLE | PEER_CLOSED | HANGUP]
    assert bench.near.recv(9) == b""


def test_closed(bench: Bench) -> None:
    bench.near.send(b"a")
    bench.near.close(False)
    bench.near.close(True)
    assert [bench.far.recv(9), bench.far.recv(9)] == [b"a", b""]
    for call in (lambda: bench.near.recv(1), lambda: bench.near.send(b"")):
        assert errno_of(call) == errno.EBADF
    assert bench.far.send(b"x") == 1  # it leaves, and a reset answers
    assert errno_of(bench.far.send, b"y") == errno.ECONNRESET
    assert errno_of(bench.far.send, b"y") == errno.EPIPE


@pytest.mark.parametrize("unread", [False, True])
def test_reset(bench: Bench, unread: bool) -> None:
    """By an abortive close, or by a close with data unread."""
    bench.watch(bench.far)
    if unread:
        bench.far.send(b"never read")
    bench.near.close(not unread)
    assert bench.drained() == [READABLE | WRITABLE | PEER_CLOSED | HANGUP | ERROR]
    assert errno_of(bench.far.recv, 9) == errno.ECONNRESET
    assert bench.far.recv(9) == b""
    assert bench.far.take_error() == 0
    bench.far.close(True)
    assert bench.drained() == []


def test_what_came_before_a_reset_can_be_read(bench: Bench) -> None:
    bench.near.send(b"a")
    bench.near.close(True)
    assert bench.far.recv(9) == b"a"
    assert bench.far.take_error() == errno.ECONNRESET


def test_a_closed_end_hears_nothing(bench: Bench) -> None:
    bench.watch(bench.far)
    bench.near.send(b"a")
    bench.far.close(False)
    assert bench.drained() == []
    assert bench.watch(bench.far) == []


def test_what_a_pipe_has_not(bench: Bench) -> None:
    for call, number in (
        (lambda: bench.near.bind(("", 0)), errno.EINVAL),
        (lambda: bench.near.start_connect(("", 0)), errno.EISCONN),
        (lambda: bench.near.listen(1), errno.EINVAL),
        (lambda: bench.near.watch_accept(lambda mask: None), errno.EINVAL),
        (bench.near.pause_accept, errno.EINVAL),
        (bench.near.accept, errno.EINVAL),
        (lambda: bench.near.setsockopt(1, 1, 1), errno.ENOPROTOOPT),
        (lambda: bench.near.getsockopt(1, 1, 1), errno.ENOPROTOOPT),
    ):
        assert errno_of(call) == number


@pytest.mark.parametrize("abortive", [False, True])
def test_it_ends_as_a_socket_of_the_kernel_does(bench: Bench, abortive: bool) -> None:
    """The same steps on both, and the same outcomes."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as left:
        right, _ = listener.accept()
        with right:
            kernel = _steps(left, right, lambda: _close(left, abortive))
    assert _steps(bench.near, bench.far, lambda: bench.near.close(abortive)) == kernel


def _steps(near: Any, far: Any, close: Callable[[], None]) -> list[object]:
    near.send(b"abc")
    outcome: list[object] = [far.recv(2), far.recv(9)]
    close()
    for _ in range(2):
        try:
            outcome.append(far.recv(9))
        except OSError as error:
            outcome.append(error.errno)
    return outcome


def _close(sock: socket.socket, abortive: bool) -> None:
    if abortive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
