"""Names to addresses on threads of the resolver's own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
import uvloop

import fwx.resolver
from fwx.hosts_file import HostsFile
from fwx.impl.engine import Answer
from fwx.interfaces import Hostent, SocketAddress
from fwx.interfaces.hresult import WSAHOST_NOT_FOUND, WSANO_DATA, WSATRY_AGAIN
from fwx.resolver import MOST_ADDRESSES, SystemResolver

FOUR, SIX = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")


class World:
    """A resolver on a loop, and a name service that the test holds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, hosts: Path) -> None:
        self.loop = loop
        self.now = 1000.0
        self.hosts = hosts
        hosts.write_text("192.0.2.77 inscribed.example\n")
        self.resolver = SystemResolver(loop, self.clock, HostsFile(self.clock, hosts))
        self.answers: list[tuple[list[SocketAddress], int]] = []
        self.told: list[Answer] = []
        self.threads: set[int] = set()
        self.may_answer = threading.Event()
        self.asked: list[str] = []

    def clock(self) -> float:
        return self.now

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
        if host == "canonical.example":
            return [
                (socket.AF_INET6, 1, 6, "Web.example", ("fe80::1%eth7", port, 0, 7)),
                (socket.AF_INET, 1, 6, "", ("192.0.2.1", port)),
            ]
        if host == "none.example":
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        if host == "crowd.example":
            return [(socket.AF_INET, 1, 6, "", (f"198.51.100.{number}", port)) for number in range(200)]
        if host == "strange.example":
            return [(socket.AF_UNIX, 1, 0, "", ("/path",)), (socket.AF_INET, 1, 6, "", ("192.0.2.7", port))]
        return [(socket.AF_INET, 1, 6, "", ("192.0.2.1", port))] * 2 + [
            (socket.AF_INET6, 1, 6, "", ("2001:db8::1", port, 0, 0))
        ]

    def getnameinfo(self, sockaddr: tuple[str, int], flags: int) -> tuple[str, str]:
        self.asked.append(sockaddr[0])
        assert self.may_answer.wait(5)
        assert flags & socket.NI_NAMEREQD
        if sockaddr[0] == "192.0.2.200":
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return "web.example", "0"

    def look_up(self, question: Any) -> Answer:
        """Look up, and return what was told of it."""
        told: list[Answer] = []
        self.resolver.look_up(question, told.append)
        assert told == [], "never inside the call"
        self.until(lambda: told)
        return told[0]


@pytest.fixture(params=["asyncio", "uvloop"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    loop = uvloop.new_event_loop() if request.param == "uvloop" else asyncio.new_event_loop()
    world = World(loop, tmp_path / "hosts")
    yield world
    world.may_answer.set()
    world.resolver.close()
    loop.close()


@pytest.fixture
def name_service(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(fwx.resolver.socket, "getaddrinfo", world.getaddrinfo)
    monkeypatch.setattr(fwx.resolver.socket, "getnameinfo", world.getnameinfo)
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
    for port in range(50):
        name_service.resolver.resolve(SocketAddress(f"www{port}.example", port), name_service.done)
    assert len(name_service.resolver._threads) == 32
    name_service.may_answer.set()
    name_service.until(lambda: len(name_service.answers) == 50)
    assert sorted(addresses[0].port for addresses, _ in name_service.answers) == list(range(50))


# ---- hosts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("www.example", Answer(Hostent("www.example", (), (FOUR, SIX)))),
        ("WWW.Example", Answer(Hostent("www.example", (), (FOUR, SIX)))),
        (
            "canonical.example",
            Answer(Hostent("Web.example", ("canonical.example",), (IPv6Address("fe80::1%7"), FOUR))),
        ),
        ("none.example", Answer(None, WSAHOST_NOT_FOUND)),
        ("again.example", Answer(None, WSATRY_AGAIN)),
        (FOUR, Answer(Hostent("web.example", (), (FOUR,)))),
        (SIX, Answer(Hostent("web.example", (), (SIX,)))),
        (IPv4Address("192.0.2.200"), Answer(None, WSAHOST_NOT_FOUND)),
    ],
)
def test_hosts(name_service: World, question: Any, answer: Answer) -> None:
    name_service.may_answer.set()
    assert name_service.look_up(question) == answer


def test_a_scope_is_kept(name_service: World) -> None:
    name_service.may_answer.set()
    name_service.resolver.resolve(SocketAddress("canonical.example", 80), name_service.done)
    name_service.until(lambda: name_service.answers)
    ((addresses, _),) = name_service.answers
    assert addresses == [SocketAddress("fe80::1", 80, 7), SocketAddress("192.0.2.1", 80)]


def test_a_name_of_very_many_addresses(name_service: World) -> None:
    name_service.may_answer.set()
    host = name_service.look_up("crowd.example").host
    assert host is not None
    assert len(host.addresses) == MOST_ADDRESSES


# ---- what is asked once ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", ["www.example", "none.example", FOUR, IPv4Address("192.0.2.200")])
def test_what_was_answered_is_known(name_service: World, question: Any) -> None:
    """To connections too, and for a time."""
    name_service.may_answer.set()
    assert name_service.resolver.known(question) is None
    answer = name_service.look_up(question)
    assert name_service.resolver.known(question) == answer
    assert name_service.look_up(question) == answer
    if isinstance(question, str):
        assert name_service.resolver.known(question.upper()) == answer
        name_service.resolver.resolve(SocketAddress(question, 80), name_service.done)
        assert name_service.answers == [], "never inside the call"
        name_service.until(lambda: name_service.answers)
        assert name_service.answers[0][1] == answer.code
    assert len(name_service.asked) == 1
    name_service.now += 61
    assert name_service.resolver.known(question) is None
    assert name_service.look_up(question) == answer
    assert len(name_service.asked) == 2


def test_a_failure_that_may_pass_is_asked_again(name_service: World) -> None:
    name_service.may_answer.set()
    for number in (1, 2):
        assert name_service.look_up("again.example") == Answer(None, WSATRY_AGAIN)
        assert name_service.resolver.known("again.example") is None
        assert len(name_service.asked) == number


def test_many_ask_for_one_name_at_once(name_service: World) -> None:
    """Connections and filters alike; who leaves takes nothing from the others."""
    resolver, told = name_service.resolver, name_service.told
    cancels = [resolver.look_up(name, told.append) for name in ("www.example", "WWW.example", "www.example")]
    resolver.resolve(SocketAddress("www.example", 80), name_service.done)
    name_service.until(lambda: name_service.asked)
    resolver.look_up("www.example", told.append)
    cancels[1]()
    name_service.may_answer.set()
    name_service.until(lambda: len(told) == 3 and name_service.answers)
    assert name_service.asked == ["www.example"]
    assert len(set(told)) == 1


def test_a_name_that_everybody_left_is_not_asked_for(name_service: World) -> None:
    """Unless somebody comes back before its turn."""
    for number in range(32):
        name_service.resolver.look_up(f"busy{number}.example", name_service.told.append)
    name_service.until(lambda: len(name_service.asked) == 32)
    left = [name_service.resolver.look_up(name, name_service.told.append) for name in ("left.example", "www.example")]
    for cancel in left:
        cancel()
    name_service.resolver.look_up("www.example", name_service.told.append)
    name_service.may_answer.set()
    name_service.until(lambda: len(name_service.told) == 33)
    assert "left.example" not in name_service.asked
    assert name_service.asked.count("www.example") == 1
    assert name_service.look_up("left.example").code == 0


def test_a_known_answer_can_be_cancelled(name_service: World) -> None:
    name_service.may_answer.set()
    name_service.look_up("www.example")
    cancel = name_service.resolver.look_up("www.example", name_service.told.append)
    cancel()
    name_service.loop.run_until_complete(asyncio.sleep(0))
    name_service.loop.run_until_complete(asyncio.sleep(0))
    assert name_service.told == []


def test_one_who_fails_stops_no_other(name_service: World) -> None:
    reported: list[Any] = []
    name_service.loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))

    def fail(answer: Answer) -> None:
        raise KeyError(answer.code)

    name_service.resolver.look_up("www.example", fail)
    name_service.resolver.look_up("www.example", name_service.told.append)
    name_service.may_answer.set()
    name_service.until(lambda: name_service.told and reported)
    assert isinstance(reported[0], KeyError)


def test_a_machine_that_gives_no_thread(name_service: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look-up fails, and can be tried again; with one thread there all goes on."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    name_service.may_answer.set()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert name_service.look_up("www.example") == Answer(None, WSATRY_AGAIN)
    assert name_service.look_up("www.example").code == 0
    monkeypatch.setattr(threading.Thread, "start", refuse)
    for number in range(3):
        name_service.resolver.look_up(f"www{number}.example", name_service.told.append)
    name_service.until(lambda: len(name_service.told) == 3)
    assert {answer.code for answer in name_service.told} == {0}


# ---- the hosts file --------------------------------------------------------------------------------------------------


def test_the_hosts_file_is_known(name_service: World) -> None:
    address = IPv4Address("192.0.2.77")
    inscribed = Answer(Hostent("inscribed.example", (), (address,)))
    assert name_service.resolver.known("Inscribed.example") == inscribed
    assert name_service.resolver.known(address) == inscribed
    assert name_service.asked == []


def test_a_changed_hosts_file_is_read_on_a_thread_and_ends_what_was_known(name_service: World) -> None:
    name_service.may_answer.set()
    name_service.look_up("www.example")
    name_service.hosts.write_text("192.0.2.78 www.example added.example\n")
    name_service.now += 2
    assert name_service.resolver.known("www.example") is None
    name_service.until(lambda: name_service.resolver.known("added.example"))
    assert name_service.resolver.known("www.example") == Answer(
        Hostent("www.example", ("added.example",), (IPv4Address("192.0.2.78"),))
    )
    assert name_service.resolver.known("inscribed.example") is None


def test_no_data(name_service: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NODATA, "no address")

    monkeypatch.setattr(fwx.resolver.socket, "getaddrinfo", nothing)
    assert name_service.look_up("www.example") == Answer(None, WSANO_DATA)
    assert name_service.resolver.known("www.example") == Answer(None, WSANO_DATA)
