"""The network in memory behaves as the kernel's does: each test runs on both, so it is known to be right."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from fwx.impl.transport import ENDING, ERROR, HANGUP, READABLE, WRITABLE
from fwx.interfaces import SocketAddress
from fwx.network import SocketNetwork
from fwx.testing import MemoryLoop, MemoryNetwork, MemoryPeer
from fwx.testing.sockets import CLIENT, SERVER


class Wire:
    """Two connected transports and what lets happen what is ready to happen."""

    def __init__(self, network: Any, run: Callable[[], None]) -> None:
        self.network = network
        self.run = run
        self.listener = network.stream(socket.AF_INET)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(8)
        self.left = network.stream(socket.AF_INET)
        self.left.start_connect(self.listener.getsockname())
        accepted: list[Any] = []
        self.listener.watch_accept(lambda mask: accepted.append(self.listener.accept()))
        for _ in range(50):
            if accepted:
                break
            run()
        ((self.right, self.accepted_from),) = accepted

    def watch(self, transport: Any) -> list[int]:
        """Return the list that the masks of *transport* are written to."""
        masks: list[int] = []
        transport.watch(masks.append)
        self.run()
        return masks


@pytest.fixture(params=["memory", "asyncio", "uvloop"])
def wire(request: pytest.FixtureRequest, pollers: Any) -> Iterator[Wire]:
    with ExitStack() as stack:
        if request.param == "memory":
            loop = MemoryLoop()
            wire = Wire(MemoryNetwork(loop), loop.run)
        else:
            poller, turn = stack.enter_context(pollers(request.param))
            wire = Wire(SocketNetwork(poller), turn)
        yield wire
        for transport in (wire.left, wire.right, wire.listener):
            transport.close(True)
        wire.run()


def code_of(call: Callable[..., Any], *args: Any) -> int | None:
    """Return the errno that *call* raises."""
    try:
        call(*args)
    except OSError as error:
        return error.errno
    return None


def recv(wire: Wire, transport: Any, size: int = 1 << 16) -> bytes:
    """Receive when something has come; nothing counts as an error of the test."""
    for _ in range(50):
        try:
            return bytes(transport.recv(size))
        except BlockingIOError:
            wire.run()
    raise AssertionError("nothing came")


def test_names(wire: Wire) -> None:
    assert wire.left.getpeername() == wire.listener.getsockname() == wire.right.getsockname()
    assert wire.right.getpeername() == wire.left.getsockname() == wire.accepted_from
    assert wire.left.getsockname()[1] > 0


def test_bytes_pass_in_order_and_an_empty_wire_blocks(wire: Wire) -> None:
    assert code_of(wire.right.recv, 10) == errno.EAGAIN
    assert wire.left.send(b"abc") == 3
    assert wire.left.send(memoryview(b"de")) == 2
    wire.run()
    assert recv(wire, wire.right, 4) == b"abcd"
    target = bytearray(4)
    assert wire.right.recv_into(target) == 1
    assert target == b"e\0\0\0"


def test_the_first_watch_tells_what_is_ready(wire: Wire) -> None:
    wire.left.send(b"abc")
    wire.run()
    masks = wire.watch(wire.right)
    assert masks[0] & READABLE
    assert masks[0] & WRITABLE
    assert not masks[0] & ENDING


def test_another_handler_is_told_what_is_ready_and_then_of_every_edge(wire: Wire) -> None:
    first = wire.watch(wire.right)
    wire.left.send(b"abc")
    wire.run()
    assert len(first) == 2
    second = wire.watch(wire.right)
    assert len(second) == 1
    assert second[0] & READABLE
    wire.left.send(b"def")
    wire.run()
    assert len(second) == 2
    assert len(first) == 2, "the handler that was replaced hears no more"


def test_half_close(wire: Wire) -> None:
    masks = wire.watch(wire.right)
    wire.left.shutdown_write()
    wire.left.shutdown_write()
    wire.run()
    assert masks[-1] & ENDING
    assert not masks[-1] & (ERROR | HANGUP)
    assert recv(wire, wire.right) == b""
    assert recv(wire, wire.right) == b""
    assert wire.right.send(b"still") == 5
    wire.run()
    assert recv(wire, wire.left) == b"still"
    assert code_of(wire.left.send, b"x") == errno.EPIPE


def test_both_ends_hang_up(wire: Wire) -> None:
    masks = wire.watch(wire.left)
    wire.left.shutdown_write()
    wire.right.shutdown_write()
    wire.run()
    assert masks[-1] & HANGUP
    assert not masks[-1] & ERROR


def test_a_close_is_an_end(wire: Wire) -> None:
    wire.left.send(b"last words")
    wire.left.close(False)
    wire.left.close(True)
    wire.run()
    assert recv(wire, wire.right) == b"last words"
    assert recv(wire, wire.right) == b""
    assert code_of(wire.left.recv, 1) == errno.EBADF


def test_a_reset_is_told_behind_the_data(wire: Wire) -> None:
    masks = wire.watch(wire.right)
    wire.left.close(True)
    wire.run()
    assert masks[-1] & ERROR
    assert masks[-1] & HANGUP
    assert code_of(wire.right.recv, 10) == errno.ECONNRESET
    assert wire.right.recv(10) == b""
    assert code_of(wire.right.send, b"x") == errno.EPIPE


def test_take_error_takes_the_reset(wire: Wire) -> None:
    wire.left.close(True)
    wire.run()
    assert wire.right.take_error() == errno.ECONNRESET
    assert wire.right.take_error() == 0


def test_a_close_that_throws_data_away_is_a_reset(wire: Wire) -> None:
    wire.right.send(b"unread")
    wire.run()
    wire.left.close(False)
    wire.run()
    assert code_of(wire.right.recv, 10) == errno.ECONNRESET


def test_sending_to_one_who_has_closed_is_a_reset(wire: Wire) -> None:
    wire.left.close(False)
    wire.run()
    assert wire.right.recv(10) == b""
    assert wire.right.send(b"x") == 1
    for _ in range(50):
        wire.run()
        if code_of(wire.right.send, b"y") is not None:
            return
    raise AssertionError("no send failed")


def test_room_is_bounded_and_comes_back(wire: Wire) -> None:
    block = bytes(1 << 20)
    sent = 0
    masks = wire.watch(wire.left)
    while True:
        try:
            sent += wire.left.send(block)
        except BlockingIOError:
            wire.run()
            if code_of(wire.left.send, block) == errno.EAGAIN:
                break
    assert sent < 64 << 20
    del masks[:]
    received = 0
    while received < sent:
        received += len(recv(wire, wire.right, 1 << 20))
        wire.run()
    assert masks
    assert masks[-1] & WRITABLE
    assert wire.left.send(b"x") == 1


def test_a_refused_connect(wire: Wire) -> None:
    address = wire.listener.getsockname()
    wire.listener.close(False)
    transport = wire.network.stream(socket.AF_INET)
    transport.start_connect(address)
    masks = wire.watch(transport)
    assert masks[0] & ERROR
    assert transport.take_error() == errno.ECONNREFUSED
    transport.close(True)


def test_an_unconnected_socket(wire: Wire) -> None:
    transport = wire.network.stream(socket.AF_INET)
    assert code_of(transport.getpeername) == errno.ENOTCONN
    assert code_of(transport.recv, 1) == errno.ENOTCONN
    assert transport.getsockname() == ("0.0.0.0", 0)
    transport.shutdown_write()
    transport.close(False)


def test_a_taken_port(wire: Wire) -> None:
    transport = wire.network.stream(socket.AF_INET)
    assert code_of(transport.bind, wire.listener.getsockname()) == errno.EADDRINUSE
    transport.close(False)


def test_paused_accepts_wait_in_the_backlog(wire: Wire) -> None:
    wire.listener.pause_accept()
    assert code_of(wire.listener.accept) == errno.EAGAIN
    late = wire.network.stream(socket.AF_INET)
    late.start_connect(wire.listener.getsockname())
    wire.run()
    taken: list[Any] = []
    wire.listener.watch_accept(lambda mask: taken.append(wire.listener.accept()[0]))
    wire.run()
    assert len(taken) == 1
    late.close(False)
    taken[0].close(False)


def test_options(wire: Wire) -> None:
    wire.left.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    assert wire.left.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 4) == b"\1\0\0\0"
    assert code_of(wire.network.stream, 999) == errno.EAFNOSUPPORT


# What only the network in memory has.


def test_time_stands_still_until_it_is_told() -> None:
    loop, order = MemoryLoop(), list[str]()
    loop.call_later(2, lambda: order.append("second"))
    loop.call_later(1, lambda: order.append("first"))
    loop.call_later(1, lambda: loop.call_later(1, lambda: order.append("second, made by the first")))
    loop.call_later(3, lambda: order.append("never")).cancel()
    loop.run()
    assert order == []
    start = loop.time()
    loop.advance(1)
    assert order == ["first"]
    loop.advance(5)
    assert order == ["first", "second", "second, made by the first"]
    assert loop.time() == start + 6


def test_parts_that_feed_each_other_are_an_error() -> None:
    loop = MemoryLoop()

    def again() -> None:
        loop.queue.post(again)

    again()
    with pytest.raises(RuntimeError, match="parts feed each other for ever"):
        loop.run()


def test_nothing_is_left_open() -> None:
    network = MemoryNetwork(MemoryLoop())
    left, right = network.pair(CLIENT, SERVER)
    listener = network.listen(SocketAddress("::1", 0))
    assert listener.getsockname()[0] == "::1"
    assert network.open_transports == {left, right, listener}
    for transport in (left, right, listener):
        transport.close(False)
    assert not network.open_transports
    with pytest.raises(OSError, match=rf"\[Errno {errno.EBADF}\]"):
        listener.accept()


def test_a_listener_that_closes_resets_who_waits() -> None:
    network = MemoryNetwork(MemoryLoop())
    listener = network.listen(SERVER)
    client = network.stream(socket.AF_INET)
    client.start_connect(SERVER.sockaddr)
    listener.close(False)
    assert client.take_error() == errno.ECONNRESET
    with pytest.raises(OSError, match="in use"):
        network.listen(SocketAddress(*network.listen(SERVER).getsockname()))


def test_a_peer_says_when_the_other_side_takes_no_more() -> None:
    network = MemoryNetwork(MemoryLoop(), capacity=10)
    left, right = (MemoryPeer(each) for each in network.pair(CLIENT, SERVER))
    with pytest.raises(AssertionError, match="2 of 12 bytes left"):
        left.send(b"abcdefghijkl")
    assert right.receive() == b"abcdefghij"
    left.close()
    assert right.receive() == b""
    assert (right.ended, right.was_reset) == (True, False)


def test_what_is_put_off_to_the_next_round_happens() -> None:
    """As on a real loop: behind what is queued now, and also where nothing else is ready."""
    loop, journal = MemoryLoop(), []
    loop.queue.defer(journal.append, "later")
    loop.queue.post(journal.append, "now")
    loop.queue.post(loop.queue.defer, loop.queue.defer, journal.append, "later still")
    loop.run()
    assert sorted(journal) == ["later", "later still", "now"]
    assert journal[-1] == "later still"
    loop.run()
    assert len(journal) == 3
