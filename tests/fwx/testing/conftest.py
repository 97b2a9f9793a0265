"""What the tests of the conformance kit share: judging a battery of something wrong, and sockets of the kernel."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import uvloop

from fwx.impl.endpoint import Endpoint
from fwx.impl.sockets import FWXSocket
from fwx.network import Poller, SocketTransport
from fwx.testing import Battery, SocketPair
from fwx.testing.sockets import SocketOwner

# Rules that every battery takes from the same place; tests/fwx/testing/test_buffers.py has a wrong object for each.
SHARED = (
    "QueryInterface finds what the object has, by interface, UUID and text",
    "QueryInterface(IUnknown) gives one and the same object",
    "QueryInterface refuses what the object lacks",
    "AddRef and Release count",
)


@pytest.fixture(scope="session")
def shared_rules() -> tuple[str, ...]:
    return SHARED


@pytest.fixture(scope="session")
def caught() -> Callable[[Battery, str, str], None]:
    """Judge a battery that tried something wrong: the rule failed, and its reason says what it must."""

    def judge(battery: Battery, rule: str, reason: str) -> None:
        assert rule in {check.name for check in battery}, "there is no such rule"
        failed = {check.name: check.reason for check in battery.failures}
        assert rule in failed, f"only these failed: {sorted(failed)}"
        assert reason in failed[rule]

    return judge


@contextmanager
def open_poller(kind: str) -> Iterator[tuple[Poller, Callable[[], None]]]:
    """Open a poller on a loop of *kind*; yield it with what lets the loop go round a few times."""
    loop = uvloop.new_event_loop() if kind == "uvloop" else asyncio.new_event_loop()
    poller = Poller(loop)

    async def rounds() -> None:
        for _ in range(4):
            await asyncio.sleep(0)

    yield poller, lambda: loop.run_until_complete(rounds())
    watched = len(poller)
    poller.close()
    loop.close()
    assert not watched, f"{watched} descriptors are still watched"


@pytest.fixture(scope="session")
def pollers() -> Callable[[str], AbstractContextManager[tuple[Poller, Callable[[], None]]]]:
    return open_poller


@pytest.fixture(params=["asyncio", "uvloop"])
def opened(request: pytest.FixtureRequest) -> Iterator[tuple[Poller, Callable[[], None]]]:
    with open_poller(request.param) as opened:
        yield opened


@pytest.fixture
def poller(opened: tuple[Poller, Callable[[], None]]) -> Poller:
    return opened[0]


@pytest.fixture
def turn(opened: tuple[Poller, Callable[[], None]]) -> Callable[[], None]:
    """Return what lets the event loop go round a few times."""
    return opened[1]


@pytest.fixture
def kernel_transports(poller: Poller) -> Callable[[], tuple[SocketTransport, SocketTransport]]:
    """Return what makes two connected transports of the kernel."""

    def make() -> tuple[SocketTransport, SocketTransport]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            left = socket.create_connection(listener.getsockname())
            right, _ = listener.accept()
        return SocketTransport(left, poller), SocketTransport(right, poller)

    return make


@pytest.fixture
def kernel_pair(poller: Poller, turn: Callable[[], None], kernel_transports: Any) -> Callable[[], SocketPair]:
    """Return what makes two of the service's sockets with a connection of the kernel between them."""

    def make() -> SocketPair:
        transports = kernel_transports()
        owner = SocketOwner()
        left, right = (FWXSocket(poller.queue, owner, Endpoint(each, poller.queue, owner)) for each in transports)

        def close() -> None:
            for transport in transports:
                transport.close(True)
            turn()

        return SocketPair(left, right, turn, close)

    return make
