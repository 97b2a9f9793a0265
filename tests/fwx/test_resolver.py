"""Names to addresses on threads of the resolver's own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

import fwx.resolver
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import WSAHOST_NOT_FOUND, WSATRY_AGAIN
from fwx.resolver import SystemResolver


class World:
    """A resolver on a loop, and a name service that the test holds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.resolver = SystemResolver(loop)
        self.answers: list[tuple[list[SocketAddress], int]] = []
        self.threads: set[int] = set()
        self.may_answer = threading.Event()
        self.asked: list[str] = []

    def done(self, addresses: list[SocketAddress], code: int) -> None:
        self.threads.add(threading.get_ident())
        self.answers.append((addresses, code))

    def until(self, condition: Callable[[], object]) -> None:
        async def wait() -> None:
            async with asyncio.timeout(5):
                while not condition():  # noqa: ASYNC110  nothing tells of every condition
                    await asyncio.sleep(0)

        self.loop.run_until_complete(wait())

    def getaddrinfo(self, host: str, port: int, **_: Any) -> Any:
        self.asked.append(host)
        assert self.may_answer.wait(5)
        if host == "again.example":
            raise socket.gaierror(socket.EAI_AGAIN, "later")
        if host == "broken.example":
            raise RuntimeError("a bug")
        if host == "strange.example":
            return [(socket.AF_UNIX, 1, 0, "", ("/path",)), (socket.AF_INET, 1, 6, "", ("192.0.2.7", port))]
        return [(socket.AF_INET, 1, 6, "", ("192.0.2.1", port))] * 2 + [
            (socket.AF_INET6, 1, 6, "", ("2001:db8::1", port, 0, 0))
        ]


@pytest.fixture(params=["asyncio", "uvloop"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    loop = uvloop.new_event_loop() if request.param == "uvloop" else asyncio.new_event_loop()
    world = World(loop)
    yield world
    world.may_answer.set()
    world.resolver.close()
    loop.close()


@pytest.fixture
def name_service(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(fwx.resolver.socket, "getaddrinfo", world.getaddrinfo)
    return world


def test_a_real_name(world: World) -> None:
    """The hosts file counts."""
    world.resolver.resolve(SocketAddress("localhost", 80), world.done)
    assert world.answers == [], "never inside the call"
    world.until(lambda: world.answers)
    ((addresses, code),) = world.answers
    assert code == 0
    assert {str(address) for address in addresses} <= {"127.0.0.1:80", "[::1]:80"}
    assert addresses


def test_a_name_that_is_none(world: World) -> None:
    """A label of more than 63 characters cannot even be encoded."""
    world.resolver.resolve(SocketAddress("x" * 64 + ".example", 80), world.done)
    world.until(lambda: world.answers)
    assert world.answers == [([], WSAHOST_NOT_FOUND)]


@pytest.mark.parametrize(
    ("name", "addresses", "code"),
    [
        ("www.example", ["192.0.2.1:443", "[2001:db8::1]:443"], 0),
        ("strange.example", ["192.0.2.7:443"], 0),
        ("again.example", [], WSATRY_AGAIN),
        ("broken.example", [], WSAHOST_NOT_FOUND),
    ],
)
def test_answers(name_service: World, name: str, addresses: list[str], code: int) -> None:
    """Each address once, in the name service's order, with the port; or the Windows error; on the loop's thread."""
    name_service.may_answer.set()
    name_service.resolver.resolve(SocketAddress(name, 443), name_service.done)
    name_service.until(lambda: name_service.answers)
    ((found, error),) = name_service.answers
    assert ([str(address) for address in found], error) == (addresses, code)
    assert name_service.threads == {threading.get_ident()}


def test_cancelled(name_service: World) -> None:
    """Nobody is told, whether the look-up is under way or waits."""
    cancel = name_service.resolver.resolve(SocketAddress("www.example", 1), name_service.done)
    name_service.until(lambda: name_service.asked)
    cancel()
    cancel()
    name_service.may_answer.set()
    name_service.resolver.resolve(SocketAddress("strange.example", 2), name_service.done)
    name_service.until(lambda: name_service.answers)
    assert [address.port for addresses, _ in name_service.answers for address in addresses] == [2]


def test_closed(name_service: World) -> None:
    """A look-up that is under way is forgotten; nothing waits for it."""
    name_service.resolver.resolve(SocketAddress("www.example", 1), name_service.done)
    name_service.until(lambda: name_service.asked)
    name_service.resolver.close()
    name_service.may_answer.set()
    name_service.loop.run_until_complete(asyncio.sleep(0))
    assert name_service.answers == []


def test_a_silent_name_service_holds_few_threads(name_service: World) -> None:
    """Many names, a bounded number of threads; every name is answered in the end."""
    before = threading.active_count()
    for port in range(50):
        name_service.resolver.resolve(SocketAddress("www.example", port), name_service.done)
    assert threading.active_count() - before <= 32
    name_service.may_answer.set()
    name_service.until(lambda: len(name_service.answers) == 50)
    assert sorted(addresses[0].port for addresses, _ in name_service.answers) == list(range(50))
