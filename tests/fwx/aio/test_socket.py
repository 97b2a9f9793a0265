"""AsyncSocket: every call does what its COM call does, and nothing is lost when a task is cancelled."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from fwx.impl.iobuffer import FWXIOBuffer
from fwx.interfaces import (
    E_INVALIDARG,
    E_NOINTERFACE,
    E_POINTER,
    ERROR_OPERATION_ABORTED,
    HRESULT_FROM_WIN32,
    WSAECONNREFUSED,
    WSAECONNRESET,
    WSAEINVAL,
    WSAEISCONN,
    WSAENOTSOCK,
    WSAEOPNOTSUPP,
    WSAESHUTDOWN,
    WSAETIMEDOUT,
    COMError,
    IFWXSocket,
    SocketAddress,
)
from fwx.sdk import AsyncSocket
from fwx.testing import PlainBuffer
from tests.fwx.aio.conftest import MemoryWorld, World

DATA = bytes(range(256)) * 300


def data_of(buffer: Any) -> bytes:
    return bytes(buffer.GetBufferAndSize())


def failure(world: World, coroutine: Any) -> int:
    with pytest.raises(COMError) as raised:
        world.run(coroutine)
    return raised.value.hresult


def winsock(code: int) -> int:
    return int(HRESULT_FROM_WIN32(code))


def put(socket: AsyncSocket, data: bytes) -> None:
    """Send *data* and wait for nothing: a send to a neighbouring filter lasts until that one receives."""
    socket.socket.Send(FWXIOBuffer(data), None, None)


async def received(socket: AsyncSocket) -> bytes:
    return b"".join([data_of(buffer) async for buffer in socket])


@pytest.fixture
def ends(sockets: tuple[Any, Any]) -> tuple[AsyncSocket, AsyncSocket]:
    left, right = sockets
    return AsyncSocket(left), AsyncSocket(right)


Ends = tuple[AsyncSocket, AsyncSocket]


# ---- data ------------------------------------------------------------------------------------------------------------


def test_what_is_sent_is_received(world: World, ends: Ends) -> None:
    async def talk() -> bytes:
        left, right = ends
        sending = asyncio.create_task(left.send(b"hello"))
        got = data_of(await right.receive())
        await sending
        return got

    assert world.run(talk()) == b"hello"


def test_the_end_is_a_buffer_of_size_0_then_and_ever_after(world: World, ends: Ends) -> None:
    """B3.24; and what was sent before it comes first."""

    async def talk() -> list[int]:
        left, right = ends
        put(left, b"bye")
        left.shutdown()
        sizes = [len(data_of(await right.receive())) for _ in range(3)]
        put(right, b"the other direction goes on")
        assert data_of(await left.receive()) == b"the other direction goes on"
        return sizes

    assert world.run(talk()) == [3, 0, 0]


def test_iterating_ends_at_the_end(world: World, ends: Ends) -> None:
    async def talk() -> bytes:
        left, right = ends
        reader = asyncio.create_task(received(right))
        for start in range(0, len(DATA), 1000):
            await left.send(DATA[start : start + 1000])
        left.shutdown()
        return await reader

    assert world.run(talk()) == DATA


def test_a_receive_into_a_buffer_of_the_callers(world: World, ends: Ends) -> None:
    """B3.13."""

    async def talk() -> None:
        left, right = ends
        put(left, b"hello")
        buffer = FWXIOBuffer.allocated(3)
        assert await right.receive(buffer) is buffer
        assert data_of(buffer) == b"hel"
        assert data_of(await right.receive()) == b"lo"

    world.run(talk())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, FWXIOBuffer, lambda data: PlainBuffer(len(data), data)])
def test_what_can_be_sent(world: World, ends: Ends, kind: Callable[[bytes], Any]) -> None:
    async def talk() -> bytes:
        left, right = ends
        sending = asyncio.create_task(left.send(kind(b"hello")))
        got = data_of(await right.receive())
        await sending
        return got

    assert world.run(talk()) == b"hello"


def test_bytes_that_can_change_are_copied(world: World) -> None:
    """The neighbouring filter holds the buffer still when the sender has its bytes back."""
    left, right = map(AsyncSocket, world.neighbours())

    async def talk() -> bytes:
        data = bytearray(b"hello")
        sending = asyncio.create_task(left.send(data))
        buffer = await right.receive()
        await sending
        data[:] = b"jello"
        return data_of(buffer)

    assert world.run(talk()) == b"hello"


@pytest.mark.parametrize(("wrong", "code"), [(None, E_POINTER), ("text", E_INVALIDARG), (7, E_INVALIDARG)])
def test_what_cannot_be_sent(world: World, ends: Ends, wrong: Any, code: int) -> None:
    assert failure(world, ends[0].send(wrong)) == code


def test_datagrams_are_not_for_streams(world: World, ends: Ends) -> None:
    """B3.23. And no address comes with the data of a stream (B3.21)."""
    left, right = ends
    assert failure(world, left.send_to(b"x", SocketAddress("127.0.0.1", 9))) == winsock(WSAEOPNOTSUPP)

    async def talk() -> Any:
        put(left, b"x")
        return await right.receive_from()

    buffer, address = world.run(talk())
    assert (data_of(buffer), address) == (b"x", None)


def test_a_send_returns_when_it_has_completed(world: World) -> None:
    """B3.14: the neighbour has to take the buffer, which is what holds a fast sender back."""
    left, right = map(AsyncSocket, world.neighbours())
    sending = world.start(left.send(b"hello"))
    assert not sending.done()
    receiving = world.start(right.receive())
    assert sending.done()
    assert data_of(receiving.result()) == b"hello"


def test_the_task_goes_on_inside_the_completion(world: World) -> None:
    """So the order of completions is the order of what the tasks do, and no round of the loop is lost."""
    left, right = world.neighbours()
    order: list[str] = []

    class Completion:
        def __init__(self, completion: Any) -> None:
            self._completion = completion

        def CompleteAsyncIO(self, *args: Any) -> None:
            order.append("before")
            self._completion.CompleteAsyncIO(*args)
            order.append("after")

    class Spy:
        """A socket whose completions are watched."""

        def Recv(self, buffer: Any, completion: Any, user_data: Any) -> None:
            right.Recv(buffer, Completion(completion), user_data)

    async def take() -> None:
        await AsyncSocket(Spy()).receive()
        order.append("task")

    task = world.start(take())
    left.Send(FWXIOBuffer(b"x"), None, None)
    world.settle()
    assert task.done()
    assert order == ["before", "task", "after"]


# ---- the end ---------------------------------------------------------------------------------------------------------


def test_close_fails_what_is_pending(world: World, ends: Ends) -> None:
    """B3.31, and a closed socket refuses everything."""
    left, _ = ends
    pending = world.start(left.receive())
    left.close()
    world.settle()
    with pytest.raises(COMError) as raised:
        pending.result()
    assert raised.value.hresult == winsock(ERROR_OPERATION_ABORTED)
    assert failure(world, left.receive()) == winsock(WSAENOTSOCK)
    assert failure(world, left.send(b"x")) == winsock(WSAENOTSOCK)
    left.close()


def test_shutdown_refuses_sends(world: World, ends: Ends) -> None:
    ends[0].shutdown()
    assert failure(world, ends[0].send(b"x")) == winsock(WSAESHUTDOWN)


@pytest.mark.parametrize("method", ["shutdown", "close"])
def test_a_reset_fails_the_other_side(world: World, ends: Ends, method: str) -> None:
    """B3.25, B3.26: the failure of the completion is raised."""
    left, right = ends
    pending = world.start(right.receive())
    getattr(left, method)(abortive=True)

    async def outcome() -> None:
        await pending

    assert failure(world, outcome()) == winsock(WSAECONNRESET)
    assert failure(world, right.send(b"x")) == winsock(WSAECONNRESET)


def test_leaving_the_block_closes(world: World, ends: Ends) -> None:
    left, right = ends

    async def talk() -> bytes:
        async with left as same:
            assert same is left
            put(left, b"all of it")
            got = await right.receive()
        assert not data_of(await right.receive())
        return data_of(got)

    assert world.run(talk()) == b"all of it"


def test_leaving_the_block_by_an_exception_resets(world: World, ends: Ends) -> None:
    left, right = ends

    async def talk() -> None:
        async with left:
            raise LookupError

    with pytest.raises(LookupError):
        world.run(talk())
    assert failure(world, right.receive()) == winsock(WSAECONNRESET)


# ---- nothing is lost -------------------------------------------------------------------------------------------------


def test_cancelled_receives_lose_nothing(world: World, ends: Ends) -> None:
    """Every receive but each seventh is cancelled while it waits, and every byte comes, once and in order."""
    left, right = ends
    got = bytearray()

    async def read() -> None:
        number = 0
        while True:
            number += 1
            receiving = asyncio.create_task(right.receive())
            await asyncio.sleep(0)
            if number % 7:
                receiving.cancel()
            try:
                buffer = await receiving
            except asyncio.CancelledError:
                continue
            if not data_of(buffer):
                return
            got.extend(data_of(buffer))

    async def talk() -> None:
        reader = asyncio.create_task(read())
        for start in range(0, len(DATA), 97):
            await left.send(DATA[start : start + 97])
            await asyncio.sleep(0)
        left.shutdown()
        await reader

    world.run(talk())
    assert bytes(got) == DATA


def test_byte_by_byte_under_cancellation(world: World, ends: Ends) -> None:
    """A receive is cancelled before each single byte comes: each byte goes to the receive after it."""
    left, right = ends

    async def talk() -> bytes:
        got = b""
        for byte in range(64):
            given_up = asyncio.create_task(right.receive())
            await asyncio.sleep(0)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            put(left, bytes([byte]))
            got += data_of(await right.receive())
        return got

    assert world.run(talk()) == bytes(range(64))


def test_a_receive_that_was_given_up_keeps_one_operation_posted(world: World) -> None:
    """The next receive takes it over: giving up again and again posts nothing more."""
    left, right = world.neighbours()
    posted: list[Any] = []

    class Counting:
        def Recv(self, *args: Any) -> None:
            posted.append(args)
            right.Recv(*args)

    socket = AsyncSocket(Counting())  # type: ignore[arg-type]
    for _ in range(5):
        task = world.start(socket.receive())
        task.cancel()
        world.settle()
        assert task.cancelled()
    assert len(posted) == 1
    left.Send(FWXIOBuffer(b"x"), None, None)
    assert data_of(world.run(socket.receive())) == b"x"
    assert len(posted) == 1


def test_what_came_meanwhile_is_kept(world: World, ends: Ends) -> None:
    """Data, then the end: each is kept for the receive that comes."""
    left, right = ends
    tasks = [world.start(right.receive()) for _ in range(2)]
    for task in tasks:
        task.cancel()
    world.settle()
    put(left, b"kept")
    left.shutdown()
    world.settle()
    assert data_of(world.run(right.receive())) == b"kept"
    assert data_of(world.run(right.receive())) == b""


def test_a_failure_is_kept_too(world: World, ends: Ends) -> None:
    left, right = ends
    task = world.start(right.receive())
    task.cancel()
    world.settle()
    left.close(abortive=True)
    world.settle()
    assert failure(world, right.receive()) == winsock(WSAECONNRESET)


def test_the_oldest_receive_gets_what_comes_first(world: World) -> None:
    left, right = map(AsyncSocket, world.neighbours())
    tasks = [world.start(right.receive()) for _ in range(4)]
    tasks[1].cancel()
    world.settle()
    for data in (b"1", b"2", b"3", b"4"):
        put(left, data)
    world.settle()
    assert [data_of(task.result()) for task in tasks if not task.cancelled()] == [b"1", b"2", b"3"]
    assert data_of(world.run(right.receive())) == b"4"


def test_an_outcome_that_its_coroutine_never_took_goes_back(world: World, ends: Ends) -> None:
    """Whoever drives the coroutine may throw into it when the data has come already; it is the next one's then."""
    left, right = ends

    async def talk() -> list[bytes]:
        coroutine = right.receive()
        coroutine.send(None)
        put(left, b"first")
        for _ in range(20):
            await asyncio.sleep(0)
        waiting = asyncio.create_task(right.receive())
        await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            coroutine.throw(asyncio.CancelledError)
        got = [data_of(await waiting)]
        put(left, b"second")
        got.append(data_of(await right.receive()))
        return got

    assert world.run(talk()) == [b"first", b"second"]


def test_a_coroutine_that_is_thrown_away_loses_nothing(world: World, ends: Ends) -> None:
    left, right = ends

    async def talk() -> bytes:
        coroutine = right.receive()
        coroutine.send(None)
        coroutine.close()
        put(left, b"x")
        return data_of(await right.receive())

    assert world.run(talk()) == b"x"


def test_a_receive_that_was_cancelled_and_thrown_away_leaves_nothing_behind(world: World, ends: Ends) -> None:
    left, right = ends

    async def talk() -> bytes:
        coroutine = right.receive()
        coroutine.send(None).cancel()
        coroutine.close()
        put(left, b"x")
        return data_of(await right.receive())

    assert world.run(talk()) == b"x"


def test_a_timeout_loses_nothing(world: World, ends: Ends) -> None:
    left, right = ends

    async def talk() -> bytes:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await right.receive()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(right.receive(), 0.001)
        put(left, b"x")
        return data_of(await right.receive())

    task = world.loop.create_task(talk())
    if world.kind == "memory":
        world.memory.loop.advance(1)  # type: ignore[attr-defined]
    else:
        world.loop.run_until_complete(task)
    assert task.result() == b"x"


def test_a_cancelled_send_goes_out(world: World) -> None:
    left, right = map(AsyncSocket, world.neighbours())
    task = world.start(left.send(b"queued"))
    task.cancel()
    world.settle()
    assert task.cancelled()
    world.start(left.send(b"next"))
    assert data_of(world.run(right.receive())) == b"queued"
    assert data_of(world.run(right.receive())) == b"next"


def test_closing_drops_what_was_not_fetched(world: World, ends: Ends) -> None:
    left, right = ends
    task = world.start(right.receive())
    task.cancel()
    world.settle()
    world.start(left.send(b"nobody wants it"))
    right.close()
    assert failure(world, right.receive()) == winsock(WSAENOTSOCK)


# ---- network sockets -------------------------------------------------------------------------------------------------


def listening(world: World) -> tuple[AsyncSocket, SocketAddress]:
    listener = AsyncSocket(world.firewall.CreateNetworkSocket(6))
    listener.socket.Bind(SocketAddress("127.0.0.1", 0), None, None)
    listener.socket.Listen(8)
    return listener, listener.socket.GetSockName()


def network_socket(world: World) -> AsyncSocket:
    return AsyncSocket(world.firewall.CreateNetworkSocket(6))


def test_connect_and_accept(world: World) -> None:
    """B4.2, B4.12, B4.14: connect returns when the connection is there, accept brings both addresses."""
    listener, address = listening(world)
    near = network_socket(world)

    async def talk() -> None:
        accepting = asyncio.create_task(listener.accept())
        await near.connect(address)
        assert near.socket.GetPeerName() == address
        far, remote, local = await accepting
        assert (remote, local) == (near.socket.GetSockName(), address)
        await far.send(b"welcome")
        assert data_of(await near.receive()) == b"welcome"
        for each in (near, far, listener):
            each.close()

    world.run(talk())


def test_the_connect_sends_nothing(world: World) -> None:
    listener, address = listening(world)
    near = network_socket(world)

    async def talk() -> bytes:
        accepting = asyncio.create_task(listener.accept())
        await near.connect(address)
        near.shutdown()
        far = (await accepting).socket
        got = data_of(await far.receive())
        for each in (near, far, listener):
            each.close()
        return got

    assert world.run(talk()) == b""
    assert near.socket._GetWriteCount() == 0


def test_a_connect_that_fails_raises_its_error(world: World) -> None:
    """B4.14; the socket can be connected once more."""
    near = network_socket(world)
    assert failure(world, near.connect(world.free())) == winsock(WSAECONNREFUSED)
    listener, address = listening(world)
    world.run(near.connect(address))
    assert failure(world, near.connect(address)) == winsock(WSAEISCONN)
    near.close()
    listener.close()


def test_a_cancelled_connect_goes_on(world: World) -> None:
    listener, address = listening(world)
    near = network_socket(world)

    async def cancel() -> None:
        task = asyncio.create_task(near.connect(address))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    world.run(cancel())
    accepting = world.start(listener.accept())

    async def talk() -> bytes:
        far = (await accepting).socket
        await near.send(b"there")
        got = data_of(await far.receive())
        far.close()
        return got

    assert world.run(talk()) == b"there"
    near.close()
    listener.close()


def test_a_data_filters_socket_does_not_connect(world: World, ends: Ends) -> None:
    """DESIGN 4: it has no IFWXNetworkSocket, whatever is behind it."""
    assert failure(world, ends[0].connect(SocketAddress("127.0.0.1", 9))) == E_NOINTERFACE
    assert failure(world, ends[0].accept()) == E_NOINTERFACE


def test_accept_comes_after_listen(world: World) -> None:
    near = network_socket(world)
    assert failure(world, near.accept()) == winsock(WSAEINVAL)
    near.close()


def test_a_cancelled_accept_keeps_its_connection_for_the_next(world: World) -> None:
    listener, address = listening(world)
    task = world.start(listener.accept())
    task.cancel()
    world.settle()
    nears = [network_socket(world), network_socket(world)]

    async def talk() -> list[SocketAddress]:
        for near in nears:
            await near.connect(address)
        return [(await listener.accept()).remote for _ in nears]

    assert world.run(talk()) == [near.socket.GetSockName() for near in nears]
    listener.close()


def test_a_connection_that_nobody_fetched_is_reset_when_the_listener_closes(world: World) -> None:
    listener, address = listening(world)
    task = world.start(listener.accept())
    task.cancel()
    world.settle()
    near = network_socket(world)
    world.run(near.connect(address))
    world.settle()
    listener.close()
    assert failure(world, near.receive()) == winsock(WSAECONNRESET)
    near.close()


def test_a_connection_that_comes_after_the_end_is_reset(world: World) -> None:
    """Its completion was on its way when the listener was closed, and nobody waits for it any more."""

    class Listener:
        def QueryInterface(self, interface: Any) -> Any:
            return self

        def Accept(self, completion: Any, user_data: Any) -> None:
            self.completion = completion

        def Close(self, abortive: bool) -> None:
            """The completion is under way."""

    listener, (accepted, peer) = Listener(), map(AsyncSocket, world.pair())
    socket = AsyncSocket(listener)  # type: ignore[arg-type]
    world.start(socket.accept()).cancel()
    world.settle()
    socket.close()
    here = SocketAddress("127.0.0.1", 9)
    listener.completion.CompleteAsyncAccept(True, 0, listener, accepted.socket, here, 16, here, 16, None)
    assert failure(world, peer.receive()) == winsock(WSAECONNRESET)


def test_closing_the_listener_fails_the_accept(world: World) -> None:
    listener, _ = listening(world)
    pending = world.start(listener.accept())
    listener.close()
    world.settle()
    with pytest.raises(COMError) as raised:
        pending.result()
    assert raised.value.hresult == winsock(ERROR_OPERATION_ABORTED)


# ---- whose sockets ---------------------------------------------------------------------------------------------------


def test_any_socket_will_do(world: World) -> None:
    """It asks for nothing but the methods of IFWXSocket: here a filter's own, which answers at once from a list."""

    class Canned:
        def __init__(self) -> None:
            self.sent: list[bytes] = []
            self.waiting = [b"a", b"b", b""]

        def Recv(self, buffer: Any, completion: Any, user_data: Any) -> None:
            answer = FWXIOBuffer(self.waiting.pop(0))
            world.loop.call_soon(completion.CompleteAsyncIO, True, 0, answer, user_data, None, 0)

        def Send(self, buffer: Any, completion: Any, user_data: Any) -> None:
            self.sent.append(data_of(buffer))
            world.loop.call_soon(completion.CompleteAsyncIO, True, 0, buffer, user_data, None, 0)

    assert set(dir(Canned)) >= {"Recv", "Send"} <= set(IFWXSocket)
    canned = Canned()
    socket = AsyncSocket(canned)  # type: ignore[arg-type]

    async def talk() -> None:
        async for buffer in socket:
            await socket.send(data_of(buffer).upper())

    world.run(talk())
    assert canned.sent == [b"A", b"B"]


def test_nothing_is_left_of_a_socket(world: World, ends: Ends) -> None:
    left, right = ends

    async def talk() -> None:
        put(left, b"x")
        await right.receive()

    world.run(talk())
    socket = AsyncSocket(right.socket)
    world.start(socket.receive()).cancel()
    world.settle()
    parts = [weakref.ref(each) for each in (socket, socket._receives, socket._sends)]
    socket.close()
    world.settle()
    del socket
    gc.collect()
    assert [part() for part in parts] == [None] * 3


# ---- datagrams -------------------------------------------------------------------------------------------------------


def datagram_socket(world: World, *, bound: bool) -> AsyncSocket:
    socket = AsyncSocket(world.firewall.CreateNetworkSocket(17))
    if bound:
        socket.socket.Bind(SocketAddress("127.0.0.1", 0), None, None)
    return socket


def test_datagrams_come_with_their_senders(world: World) -> None:
    """B3.21, B3.23; an empty one is a datagram like others."""
    server, client = datagram_socket(world, bound=True), datagram_socket(world, bound=True)

    async def talk() -> list[tuple[bytes, Any]]:
        got: list[tuple[bytes, Any]] = []
        for data in (b"one", b"", b"three"):
            await client.send_to(data, server.socket.GetSockName())
            buffer, sender = await server.receive_from()
            got.append((data_of(buffer), sender))
            await server.send_to(bytearray(data[::-1]), sender)
            buffer, _ = await client.receive_from()
            assert data_of(buffer) == data[::-1]
        return got

    sender = client.socket.GetSockName()
    assert world.run(talk()) == [(b"one", sender), (b"", sender), (b"three", sender)]
    server.close()
    client.close()


def test_cancelled_receives_lose_no_datagram(world: World) -> None:
    server, client = datagram_socket(world, bound=True), datagram_socket(world, bound=True)
    task = world.start(server.receive_from())
    task.cancel()
    world.settle()

    async def talk() -> list[bytes]:
        for number in range(3):
            await client.send_to(bytes([number]), server.socket.GetSockName())
        return [data_of((await server.receive_from())[0]) for _ in range(3)]

    assert world.run(talk()) == [b"\0", b"\1", b"\2"]
    server.close()
    client.close()


def test_connecting_sends_no_datagram(world: World) -> None:
    """Where a send of no bytes would be one, nobody sends it."""
    server, client = datagram_socket(world, bound=True), datagram_socket(world, bound=False)

    async def talk() -> bytes:
        await client.connect(server.socket.GetSockName())
        await client.send(b"first")
        return data_of(await server.receive())

    assert world.run(talk()) == b"first"
    assert failure(world, datagram_socket(world, bound=False).connect(SocketAddress("name.example", 9))) == E_INVALIDARG
    server.close()
    client.close()


def test_a_datagram_goes_somewhere(world: World) -> None:
    socket = datagram_socket(world, bound=True)
    assert failure(world, socket.send_to(b"x", None)) == E_POINTER  # type: ignore[arg-type]
    socket.close()


def test_connecting_by_name(world: World) -> None:
    listener, address = listening(world)
    names = world.rig.names if world.kind != "memory" else world.memory.names  # type: ignore[attr-defined]
    names.table["server.example"] = ["127.0.0.1"]
    near = network_socket(world)
    world.run(near.connect(SocketAddress("server.example", address.port)))
    assert near.socket.GetPeerName() == address
    near.close()
    listener.close()


def test_a_time_out_of_the_socket_is_raised() -> None:
    """SO_RCVTIMEO fails the receive, and the socket with it, as it does a Recv."""
    world = MemoryWorld()
    listener, address = listening(world)
    near = network_socket(world)
    world.run(near.connect(address))
    near.socket.SetSockOpt(0xFFFF, 0x1006, (5000).to_bytes(4, "little"))
    task = world.start(near.receive())
    world.memory.loop.advance(6)
    with pytest.raises(COMError) as raised:
        task.result()
    assert raised.value.hresult == winsock(WSAETIMEDOUT)
    near.close()
    listener.close()
    world.close()
