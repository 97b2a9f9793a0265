"""Sockets that systemd passed: which are taken, which are refused and why, and what becomes of their descriptors."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fwx.interfaces import SocketAddress
from fwx.listener import ListenError
from fwx.network import Poller, SocketNetwork
from fwx.passed_sockets import PassedNetwork, PassedSockets

STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM


@pytest.fixture
def poller() -> Iterator[Poller]:
    loop = asyncio.new_event_loop()
    made = Poller(loop)
    yield made
    made.close()
    loop.close()


@pytest.fixture
def bound() -> Iterator[Callable[..., socket.socket]]:
    """Make a socket as systemd does."""
    made: list[socket.socket] = []

    def bind(kind: int = STREAM, host: str = "127.0.0.1", *, listens: bool = True, only: int = 1) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        made.append(sock)
        if ":" in host:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        sock.bind((host, 0))
        if kind == STREAM and listens:
            sock.listen()
        return sock

    yield bind
    for sock in made:
        sock.close()


# ---- what the environment says ---------------------------------------------------------------------------------------


def environment(count: object = 1, names: str = "proxy", pid: int | None = None) -> dict[str, str]:
    told = {"LISTEN_PID": str(os.getpid() if pid is None else pid), "LISTEN_FDS": str(count), "LISTEN_FDNAMES": names}
    return {**told, "HOME": "/"}


@pytest.fixture
def third(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have sockets passed from another descriptor on than 3, which this process needs."""

    def begin_at(*sockets: socket.socket) -> None:
        numbers = [os.dup(sock.fileno()) for sock in sockets]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        monkeypatch.setattr("fwx.passed_sockets._FIRST", numbers[0])

    return begin_at


def test_the_sockets_have_their_names(bound: Any, third: Any) -> None:
    one, two = bound(), bound(DATAGRAM)
    third(one, two)
    told = environment(2, "proxy:dns")
    passed = PassedSockets.from_environment(told, os.getpid())
    assert told == {"HOME": "/"}, "programs that the service starts are told nothing"
    for name, sock in (("proxy", one), ("dns", two)):
        taken = passed._sockets[name]
        assert taken.getsockname() == sock.getsockname()
        assert not taken.get_inheritable()
    passed.close()
    passed.close()


@pytest.mark.parametrize("told", [{}, environment(pid=1), {"LISTEN_FDS": "1"}])
def test_what_was_passed_to_others_is_theirs(told: dict[str, str]) -> None:
    passed = PassedSockets.from_environment(told, os.getpid())
    passed.check_all_taken([])
    assert not {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} & set(told)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (environment("two"), "LISTEN_FDS='two': expected the number of sockets"),
        (environment(""), "LISTEN_FDS='': expected the number of sockets"),
        (environment(-1), "LISTEN_FDS='-1': expected the number of sockets"),
        (environment(2, "proxy"), "LISTEN_FDNAMES='proxy': expected 2 names, as LISTEN_FDS says"),
    ],
)
def test_an_environment_that_contradicts_itself(told: dict[str, str], words: str) -> None:
    with pytest.raises(ListenError, match=words):
        PassedSockets.from_environment(told, os.getpid())


def test_a_descriptor_that_is_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr("fwx.passed_sockets._FIRST", reading)
    with pytest.raises(ListenError, match=f"descriptor {reading}, passed as 'proxy', is no socket"):
        PassedSockets.from_environment(environment(), os.getpid())
    os.close(reading)
    os.close(writing)


def test_a_name_that_comes_twice(bound: Any) -> None:
    sockets = [bound(), bound(), bound()]
    with pytest.raises(ListenError, match="two sockets named 'proxy' were passed"):
        PassedSockets(zip(("proxy", "www", "proxy"), sockets, strict=True))
    assert [sock.fileno() for sock in sockets] == [-1, -1, -1]


def test_a_socket_for_no_listener(bound: Any, poller: Poller) -> None:
    network = SocketNetwork(poller)
    passed = PassedSockets([("proxy", bound()), ("prxy", bound())])
    assert passed.network_for("www", network) is network
    taken = passed.network_for("proxy", network)
    with pytest.raises(ListenError, match=r"'prxy' was passed, and no listener .* must be one of 'proxy', 'www'"):
        passed.check_all_taken(["proxy", "www"])
    passed.close()
    passed.check_all_taken(["proxy", "www"])
    taken.stream(socket.AF_INET).close(False)


# ---- does it fit? ----------------------------------------------------------------------------------------------------


def take(network: PassedNetwork, kind: int, family: int) -> Any:
    return network.stream(family) if kind == STREAM else network.datagram(family)


@pytest.mark.parametrize("kind", [STREAM, DATAGRAM])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "::"])
@pytest.mark.parametrize("port", ["its own", "any"])
def test_one_that_fits(bound: Any, poller: Poller, kind: int, host: str, port: str) -> None:
    sock = bound(kind, host)
    number = sock.getsockname()[1]
    transport = take(PassedNetwork(poller, sock), kind, sock.family)
    if ":" in host:
        transport.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    transport.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    transport.bind(SocketAddress(host, number if port == "its own" else 0).sockaddr)
    assert transport.getsockname()[1] == number
    transport.close(False)
    transport.close(False)
    assert sock.fileno() == -1


@pytest.mark.parametrize(
    ("made", "asked", "words"),
    [
        ((STREAM, "127.0.0.1"), (DATAGRAM, socket.AF_INET), "it is of another kind; expected ListenDatagram"),
        ((DATAGRAM, "127.0.0.1"), (STREAM, socket.AF_INET), "it is of another kind; expected ListenStream"),
        ((STREAM, "127.0.0.1"), (STREAM, socket.AF_INET6), "it is of the family AF_INET; expected AF_INET6"),
        ((DATAGRAM, "::1"), (DATAGRAM, socket.AF_INET), "it is of the family AF_INET6; expected AF_INET"),
    ],
)
def test_one_of_another_kind(bound: Any, poller: Poller, made: Any, asked: Any, words: str) -> None:
    sock = bound(*made)
    with pytest.raises(OSError, match=f"the socket that was passed does not fit: {words}"):
        take(PassedNetwork(poller, sock), *asked)
    assert sock.fileno() == -1


def test_one_that_does_not_listen(bound: Any, poller: Poller) -> None:
    """``Accept=yes`` passes connections."""
    with pytest.raises(OSError, match="it does not listen; Accept must be no"):
        PassedNetwork(poller, bound(listens=False)).stream(socket.AF_INET)


@pytest.mark.parametrize("kind", [STREAM, DATAGRAM])
@pytest.mark.parametrize("wanted", [("127.0.0.2", 0), ("127.0.0.1", 1), ("0.0.0.0", 0)])
def test_one_that_is_bound_elsewhere(bound: Any, poller: Poller, kind: int, wanted: tuple[str, int]) -> None:
    sock = bound(kind)
    transport = take(PassedNetwork(poller, sock), kind, socket.AF_INET)
    with pytest.raises(
        OSError, match=f"it is bound to 127.0.0.1:{sock.getsockname()[1]}; its unit and bind must agree"
    ):
        transport.bind(wanted)
    transport.close(False)


def test_one_for_both_families(bound: Any, poller: Poller) -> None:
    transport = PassedNetwork(poller, bound(STREAM, "::", only=0)).stream(socket.AF_INET6)
    with pytest.raises(OSError, match="it takes IPv4 too; expected BindIPv6Only=ipv6-only"):
        transport.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    transport.close(False)


# ---- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [STREAM, DATAGRAM])
def test_closed_here_and_open_there(bound: Any, poller: Poller, kind: int) -> None:
    """The kernel takes a descriptor out of the set when nobody has the open file any more; systemd has."""
    sock = bound(kind)
    with sock.dup() as elsewhere:
        transport = take(PassedNetwork(poller, sock), kind, socket.AF_INET)
        seen: list[int] = []
        transport.watch_accept(seen.append) if kind == STREAM else transport.watch(seen.append)
        with socket.socket(socket.AF_INET, kind) as client:
            client.connect(elsewhere.getsockname())
            client.send(b"x")
            assert poller._epoll.poll(5)
            transport.close(False)
            assert len(poller) == 0
            assert poller._epoll.poll(0) == []
