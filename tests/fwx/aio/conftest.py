"""The worlds that the async face works in: the memory loop, and the engine on asyncio and on uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NamedTuple, Protocol

import pytest
import uvloop

from fwx.impl.endpoint import Endpoint
from fwx.impl.sockets import FWXSocket
from fwx.interfaces import SocketAddress
from fwx.testing import AttachingFilter, MemoryFirewall, MemoryPeer, memory_pair, neighbour_pair
from fwx.testing.sockets import SocketOwner
from tests.impl.conftest import Rig

_PATIENCE = 5.0


class End(Protocol):
    """The outside's end of a connection."""

    def send(self, data: bytes) -> None: ...

    def expect(self, data: bytes) -> None:
        """Exactly *data* comes."""

    def expect_end(self) -> None: ...

    def expect_reset(self) -> None: ...

    def shutdown(self) -> None: ...

    def reset(self) -> None: ...


class Ways(NamedTuple):
    """A connection through data filters."""

    connection: Any
    client: End
    server: End


class World:
    """Where the coroutines of a test run."""

    kind: str
    firewall: Any
    loop: asyncio.AbstractEventLoop
    tasks: Any

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run *coroutine* to its end and return its result."""
        raise NotImplementedError

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start *coroutine* and let happen what is ready to happen."""
        task = self.loop.create_task(coroutine)
        self.settle()
        return task

    def settle(self) -> None:
        raise NotImplementedError

    def pair(self) -> tuple[Any, Any]:
        """Two of the service's sockets with a connection of the network between them."""
        raise NotImplementedError

    def neighbours(self) -> tuple[Any, Any]:
        """Two sockets of neighbouring data filters that face each other."""
        raise NotImplementedError

    def open(self, *makers: Callable[[], Any]) -> Ways:
        """A connection through the data filters that *makers* make."""
        raise NotImplementedError

    def free(self) -> SocketAddress:
        """An address where nobody listens."""
        raise NotImplementedError

    @property
    def faults(self) -> list[str]:
        """The faults of filters, in words."""
        raise NotImplementedError

    @property
    def records(self) -> list[Any]:
        raise NotImplementedError


class MemoryEnd:
    def __init__(self, peer: MemoryPeer) -> None:
        self.peer = peer
        self.send = peer.send
        self.shutdown = peer.shutdown
        self.reset = peer.reset

    def expect(self, data: bytes) -> None:
        assert self.peer.receive() == data

    def expect_end(self) -> None:
        assert self.peer.receive() == b""
        assert (self.peer.ended, self.peer.was_reset) == (True, False)

    def expect_reset(self) -> None:
        assert self.peer.receive() == b""
        assert (self.peer.ended, self.peer.was_reset) == (False, True)


class MemoryWorld(World):
    kind = "memory"

    def __init__(self) -> None:
        self.memory = MemoryFirewall()
        self.firewall = self.memory.firewall
        self.loop = self.memory.loop.asyncio
        self.tasks = self.memory.engine.tasks
        self._closing: list[Callable[[], None]] = []

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        task = self.loop.create_task(coroutine)
        self.memory.loop.run()
        assert task.done(), "the coroutine waits for something that does not come"
        return task.result()

    def settle(self) -> None:
        self.memory.loop.run()

    def pair(self) -> tuple[Any, Any]:
        made = memory_pair(self.memory.loop)
        self._closing.append(made.close)
        return made.left, made.right

    def neighbours(self) -> tuple[Any, Any]:
        made = neighbour_pair(self.memory.loop)
        return made.left, made.right

    def open(self, *makers: Callable[[], Any]) -> Ways:
        for number, maker in enumerate(makers):
            self.memory.start(lambda maker=maker: AttachingFilter(maker), f"filter {number}")  # type: ignore[misc]
        opened = self.memory.open()
        client, server = opened.established()
        return Ways(opened.connection, MemoryEnd(client), MemoryEnd(server))

    def free(self) -> SocketAddress:
        return SocketAddress("127.0.0.1", self.memory.network.next_port())

    @property
    def faults(self) -> list[str]:
        return list(self.memory.faults)

    @property
    def records(self) -> list[Any]:
        return self.memory.records

    def close(self) -> None:
        self.memory.close()
        for close in self._closing:
            close()
        assert len(self.tasks) == 0


class RealWorld(World):
    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.loop = uvloop.new_event_loop() if kind == "uvloop" else asyncio.new_event_loop()
        self.rig = Rig(self.loop)
        self.firewall = self.rig.firewall
        self.tasks = self.rig.tasks

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        async def patiently() -> Any:
            async with asyncio.timeout(_PATIENCE):
                return await coroutine

        return self.loop.run_until_complete(patiently())

    def settle(self) -> None:
        self.rig.settle()

    def pair(self) -> tuple[Any, Any]:
        address = self.free()
        owner = SocketOwner()
        listener = self.rig.network.stream(address.family)
        listener.bind(address.sockaddr)
        listener.listen(1)
        near = self.rig.network.stream(address.family)
        near.start_connect(address.sockaddr)
        far, _ = listener.accept()
        listener.close(False)
        self.rig.closing += [lambda: near.close(True), lambda: far.close(True)]
        queue = self.rig.queue
        return FWXSocket(queue, owner, Endpoint(near, queue, owner)), FWXSocket(
            queue, owner, Endpoint(far, queue, owner)
        )

    def neighbours(self) -> tuple[Any, Any]:
        from fwx.impl.junction import junction

        left, right = (FWXSocket(self.rig.queue, SocketOwner(), end) for end in junction(self.rig.queue))
        return left, right

    def open(self, *makers: Callable[[], Any]) -> Ways:
        opened = self.rig.open(*(maker() for maker in makers))
        self.settle()
        return Ways(*opened)

    def free(self) -> SocketAddress:
        import socket

        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            return SocketAddress.from_sockaddr(sock.getsockname())

    @property
    def faults(self) -> list[str]:
        return [alert.message for alert in self.rig.alerts]

    @property
    def records(self) -> list[Any]:
        return self.rig.records

    def close(self) -> None:
        self.rig.finish()
        assert len(self.rig.poller) == 0
        self.rig.poller.close()
        assert len(self.tasks) == 0
        assert not asyncio.all_tasks(self.loop)
        self.loop.close()


@pytest.fixture(params=["memory", "asyncio", "uvloop"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world: MemoryWorld | RealWorld = MemoryWorld() if request.param == "memory" else RealWorld(request.param)
    yield world
    world.close()


@pytest.fixture(params=["network", "filter"])
def sockets(request: pytest.FixtureRequest, world: World) -> tuple[Any, Any]:
    """Two connected COM sockets: over the network, and of neighbouring filters."""
    return world.pair() if request.param == "network" else world.neighbours()
