"""The real network: edges of readiness on either loop, and transports that give their descriptors back."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from fwx.descriptors import Descriptor
from fwx.impl.runqueue import TURN_SECONDS
from fwx.impl.transport import ENDING, READABLE, WRITABLE
from fwx.network import Poller, SocketNetwork, SocketTransport


@pytest.fixture(scope="module")
def _loops_warmed_up() -> None:
    for make in (asyncio.new_event_loop, uvloop.new_event_loop):
        make().close()


class World:
    """A poller on a loop, and the outside."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.poller = Poller(loop)
        self.network = SocketNetwork(self.poller)
        self.outside: list[socket.socket] = []
        self.transports: list[SocketTransport] = []

    def turns(self, count: int = 10) -> None:
        async def turn() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turn())

    def until(self, condition: Callable[[], object]) -> None:
        async def wait() -> None:
            async with asyncio.timeout(5):
                while not condition():  # noqa: ASYNC110  nothing tells of every condition
                    await asyncio.sleep(0)

        self.loop.run_until_complete(wait())

    def stream(self, family: int = socket.AF_INET) -> SocketTransport:
        transport = self.network.stream(family)
        self.transports.append(transport)
        return transport

    def pair(self) -> tuple[SocketTransport, socket.socket]:
        """Return a connected transport and the outside's end of it."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            inside = socket.create_connection(server.getsockname())
            outside, _ = server.accept()
        transport = SocketTransport(inside, self.poller)
        self.transports.append(transport)
        self.outside.append(outside)
        return transport, outside


@pytest.fixture(params=["asyncio", "uvloop"])
def world(request: pytest.FixtureRequest, _loops_warmed_up: None) -> Iterator[World]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    loop = uvloop.new_event_loop() if request.param == "uvloop" else asyncio.new_event_loop()
    world = World(loop)
    yield world
    for transport in world.transports:
        transport.close(False)
    for sock in world.outside:
        sock.close()
    watched = len(world.poller)
    world.poller.close()
    loop.close()
    assert watched == 0
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_edges(world: World) -> None:
    """A handler is told once until the call would block, then anew; a replaced handler hears no more."""
    transport, outside = world.pair()
    masks: list[int] = []
    transport.watch(masks.append)
    world.until(lambda: masks)
    assert masks[0] & WRITABLE
    masks.clear()
    outside.send(b"abc")
    world.until(lambda: masks)
    world.turns()
    assert len(masks) == 1
    assert masks[0] & READABLE
    assert not masks[0] & ENDING
    assert transport.recv(100) == b"abc"
    with pytest.raises(BlockingIOError):
        transport.recv(100)
    later: list[int] = []
    transport.watch(later.append)
    outside.send(b"def")
    world.until(lambda: later)
    assert len(masks) == 1
    outside.shutdown(socket.SHUT_WR)
    world.until(lambda: later[-1] & ENDING)


def test_reading_into_memory(world: World) -> None:
    transport, outside = world.pair()
    outside.send(b"abc")
    block = bytearray(2)
    assert transport.recv_into(block) == 2
    assert block == b"ab"


def test_connecting(world: World) -> None:
    """The watching handler is told when it has ended; an error is taken from the socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        transport = world.stream()
        masks: list[int] = []
        transport.start_connect(server.getsockname())
        transport.watch(masks.append)
        world.until(lambda: masks)
        assert masks[-1] & WRITABLE
        assert transport.take_error() == 0
        assert transport.getpeername() == server.getsockname()
        address = server.getsockname()
    refused = world.stream()
    masks.clear()
    refused.start_connect(address)
    refused.watch(masks.append)
    world.until(lambda: masks)
    assert refused.take_error() == errno.ECONNREFUSED
    assert refused.take_error() == 0


def test_connecting_fails_at_once(world: World) -> None:
    with pytest.raises(OSError, match=r"unreachable|denied"):
        world.stream().start_connect(("255.255.255.255", 1))


def test_accepting(world: World) -> None:
    """As long as somebody waits; paused, they wait in the backlog."""
    listener = world.stream()
    listener.bind(("127.0.0.1", 0))
    listener.listen(5)
    address = listener.getsockname()
    taken: list[Any] = []

    def take(mask: int) -> None:
        transport, sockaddr = listener.accept()
        world.transports.append(transport)
        taken.append((sockaddr, transport.getpeername()))

    def call() -> socket.socket:
        client = socket.create_connection(address)
        world.outside.append(client)
        return client

    listener.watch_accept(take)
    first, second = call(), call()
    world.until(lambda: len(taken) == 2)
    assert taken == [(first.getsockname(), first.getsockname()), (second.getsockname(), second.getsockname())]
    listener.pause_accept()
    listener.pause_accept()
    call()
    world.turns()
    assert len(taken) == 2
    listener.watch_accept(take)
    world.until(lambda: len(taken) == 3)
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_streams_as_they_are_made(world: World) -> None:
    """Neither an accepted nor a connecting one ever blocks, or waits for more to send (Nagle)."""
    listener = world.stream()
    listener.bind(("127.0.0.1", 0))
    listener.listen(5)
    connecting = world.stream()
    connecting.start_connect(listener.getsockname())
    accepted, sockaddr = listener.accept()
    world.transports.append(accepted)
    assert sockaddr == connecting.getsockname() == accepted.getpeername()
    for each in (accepted, connecting):
        assert each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 4) != bytes(4)
        assert not os.get_blocking(each.fd)
        assert not os.get_inheritable(each.fd)
        with pytest.raises(BlockingIOError):
            each.recv(1)


def test_taking_over(world: World) -> None:
    """What the first handler was told is not told again; what comes then is told to the second alone."""
    transport, outside = world.pair()
    transport.take_over(print)  # nobody has watched it
    first: list[int] = []
    second: list[int] = []
    outside.send(b"a")
    transport.watch(first.append)
    world.until(lambda: first)
    transport.take_over(second.append)
    world.turns()
    assert (len(first), second) == (1, [])
    outside.send(b"b")
    world.until(lambda: second)
    assert (len(first), second[0] & READABLE) == (1, READABLE)
    transport.close(False)
    transport.take_over(first.append)
    assert len(world.poller) == 0


@pytest.mark.parametrize("abortive", [False, True])
def test_closing(world: World, abortive: bool) -> None:
    """FIN or RST; once; what is closed is watched no more, and cannot be watched again."""
    transport, outside = world.pair()
    transport.watch(lambda mask: None)
    assert len(world.poller) == 1
    transport.close(abortive)
    transport.close(not abortive)
    assert len(world.poller) == 0
    transport.watch(lambda mask: None)
    assert len(world.poller) == 0
    if abortive:
        with pytest.raises(ConnectionResetError):
            outside.recv(1)
    else:
        assert outside.recv(1) == b""
    with pytest.raises(OSError, match="Bad file descriptor"):
        transport.recv(1)


def test_shutdown(world: World) -> None:
    """FIN; on a connection that is gone nothing."""
    transport, outside = world.pair()
    transport.shutdown_write()
    assert outside.recv(1) == b""
    outside.send(b"still")
    world.turns()
    assert transport.recv(10) == b"still"
    transport.close(False)
    transport.shutdown_write()


def test_resetting_what_is_closed_below(world: World) -> None:
    """A descriptor that went away under the transport is no reason to fail at the end."""
    transport, _ = world.pair()
    transport._sock.close()
    transport.close(True)


def test_options(world: World) -> None:
    transport, _ = world.pair()
    assert transport.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 4) == b"\1\0\0\0", "Nagle is off"
    transport.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    assert transport.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 4) == b"\1\0\0\0"


def test_an_unknown_family(world: World) -> None:
    with pytest.raises(OSError, match="not supported"):
        world.network.stream(9999)


def test_a_handler_that_fails_stops_nobody(world: World, caplog: pytest.LogCaptureFixture) -> None:
    (bad, outside), (good, other) = world.pair(), world.pair()
    masks: list[int] = []
    bad.watch(lambda mask: 1 // 0)
    good.watch(masks.append)
    outside.send(b"x")
    other.send(b"x")
    world.until(lambda: any(mask & READABLE for mask in masks))
    assert "ZeroDivisionError" in caplog.text


def test_the_queue_is_drained_after_the_events(world: World) -> None:
    """DESIGN 5: what a handler posts runs after the handlers of the batch, before the loop's next round."""
    (first, one), (second, other) = world.pair(), world.pair()
    order: list[str] = []

    def handler(name: str) -> Callable[[int], None]:
        def handle(mask: int) -> None:
            if mask & READABLE:
                order.append(f"{name} event")
                world.poller.queue.post(order.append, f"{name} item")

        return handle

    first.watch(handler("first"))
    second.watch(handler("second"))
    world.turns()
    one.send(b"x")
    other.send(b"x")
    world.until(lambda: len(order) == 4)
    assert order == ["first event", "second event", "first item", "second item"]


def test_a_handler_closes_another_of_the_same_batch(world: World) -> None:
    (first, one), (second, other) = world.pair(), world.pair()
    events: list[str] = []

    def closing(name: str, victim: SocketTransport) -> Callable[[int], None]:
        def handle(mask: int) -> None:
            if mask & READABLE:
                events.append(name)
                victim.close(False)

        return handle

    first.watch(closing("first", second))
    second.watch(closing("second", first))
    world.turns()
    one.send(b"x")
    other.send(b"x")
    world.until(lambda: events)
    world.turns()
    assert len(events) == 1


def test_a_handler_closes_the_poller(world: World) -> None:
    """The service stops inside an event."""
    transport, outside = world.pair()
    transport.watch(lambda mask: mask & READABLE and world.poller.close())
    world.turns()
    outside.send(b"x")
    world.until(lambda: world.poller._epoll.closed)
    world.turns()
    world.poller = Poller(world.loop)


def test_posting_from_outside_the_poller(world: World) -> None:
    """The loop's own callbacks post too."""
    done: list[int] = []
    world.loop.call_soon(world.poller.queue.post, done.append, 1)
    world.until(lambda: done)


def test_many_at_once(world: World) -> None:
    """More events than one batch takes."""
    pairs = [world.pair() for _ in range(300)]
    ready: set[int] = set()
    for transport, _ in pairs:
        transport.watch(lambda mask, fd=transport.fd: ready.add(fd) if mask & READABLE else None)
    for _, outside in pairs:
        outside.send(b"x")
    world.until(lambda: len(ready) == 300)
    assert len(world.poller) == 300


def test_a_duplicate_is_taken_out_of_the_set_before_it_is_closed(world: World) -> None:
    """Its open file lives on, and with it the kernel's entry: the next owner of the number must hear nothing of it."""
    reader, writer = os.pipe()
    duplicate = Descriptor(reader)
    number = duplicate.fileno()
    masks: list[int] = []
    world.poller.watch(number, masks.append)
    world.turns()
    assert masks == []
    world.poller.release(duplicate)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    others: list[int] = []
    other = os.eventfd(0)
    assert other == number
    world.poller.watch(other, others.append)
    world.until(lambda: others)  # an eventfd can be written to
    others.clear()
    os.write(writer, b"x")
    world.turns()
    assert (masks, others) == ([], [])
    world.poller.pause(other)
    for fd in (reader, writer, other):
        os.close(fd)


def test_a_number_that_is_taken_again_within_a_batch(world: World) -> None:
    """What is left of a batch of events was meant for the descriptor that had the number before."""
    pipes = [os.pipe() for _ in range(2)]
    pair = [Descriptor(reader) for reader, _ in pipes]
    heard: list[int] = []
    others: list[int] = []

    def handler_of(own: Descriptor, other: Descriptor) -> Callable[[int], None]:
        def handle(mask: int) -> None:
            number = other.fileno()
            heard.append(own.fileno())
            world.poller.release(other)
            event = os.eventfd(0)
            if event != number:
                os.dup2(event, number)
                os.close(event)
            world.poller.watch(number, others.append)

        return handle

    for _, writer in pipes:
        os.write(writer, b"x")
    for own, other in (pair, pair[::-1]):
        world.poller.watch(own.fileno(), handler_of(own, other))
    world.until(lambda: others)  # an eventfd can be written to
    world.turns()
    (first,) = heard
    (taken,) = {each.fileno() for each in pair} - {first}
    assert others == [WRITABLE]
    world.poller.pause(taken)
    world.poller.release(next(each for each in pair if each.fileno() == first))
    for fd in (taken, *(end for pipe in pipes for end in pipe)):
        os.close(fd)


def test_the_loop_has_its_turn_when_time_is_over(world: World) -> None:
    """However many sockets can be read, however much each brings: timers and signals do not wait for all of them."""
    pairs = [world.pair() for _ in range(200)]
    ready: list[int] = []
    now = [0.0]
    world.poller.queue.clock = lambda: now[0]

    def take(mask: int) -> None:
        if mask & READABLE:
            now[0] += TURN_SECONDS / 4
            ready.append(mask)

    for transport, _ in pairs:
        transport.watch(take)
    world.turns()
    for _, outside in pairs:
        outside.send(b"x")
    seen = [0]

    def look() -> bool:
        seen.append(len(ready))
        return len(ready) == 200

    world.until(look)
    assert all(after - before <= 32 for before, after in itertools.pairwise(seen))
