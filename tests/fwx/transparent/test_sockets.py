"""The maker of transparent sockets and what the service orders from it, in a process of its own."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fwx.interfaces import SocketAddress
from fwx.network import Poller
from fwx.transparent import sockets
from fwx.transparent.orders import Kind
from fwx.transparent.sockets import MOST_ORDERED, SocketMaker, SocketMakerError

FOREIGN4, FOREIGN6 = SocketAddress("192.0.2.1", 0), SocketAddress("2001:db8::1", 0)


@pytest.fixture
def with_maker() -> Callable[[Callable[[SocketMaker], Awaitable[None]]], list[str]]:
    """Run a coroutine with a maker that runs; gives the failures that it has told."""

    def run(use: Callable[[SocketMaker], Awaitable[None]]) -> list[str]:
        failures: list[str] = []

        async def around() -> None:
            poller = Poller(asyncio.get_running_loop())
            maker = SocketMaker(poller, failures.append)
            try:
                maker.start(None)
                await use(maker)
            finally:
                await maker.stop()
                poller.queue.drain()
                poller.close()

        asyncio.run(around())
        return failures

    if os.geteuid() != 0:
        pytest.skip("needs root, for transparent sockets")
    return run


async def made(maker: SocketMaker, kind: Kind, address: SocketAddress) -> tuple[socket.socket | None, int]:
    told: asyncio.Future[tuple[socket.socket | None, int]] = asyncio.get_running_loop().create_future()
    maker.order(kind, address, lambda *result: told.set_result(result))
    return await told


def test_what_is_made(with_maker: Any) -> None:
    """Bound to addresses that are nobody's here, the port of a server included."""

    async def use(maker: SocketMaker) -> None:
        for kind, address in (
            (Kind.STREAM, FOREIGN4),
            (Kind.STREAM, FOREIGN6),
            (Kind.DATAGRAM, FOREIGN4),
            (Kind.DATAGRAM, FOREIGN6),
            (Kind.ANSWER, FOREIGN4.with_port(53)),
            (Kind.ANSWER, FOREIGN4.with_port(53)),
            (Kind.ANSWER, FOREIGN6.with_port(53)),
        ):
            sock, code = await made(maker, kind, address)
            assert code == 0
            assert sock is not None
            with sock:
                name = SocketAddress.from_sockaddr(sock.getsockname())
                assert name.host == address.host
                assert kind is not Kind.ANSWER or name.port == 53
                assert sock.type == (socket.SOCK_STREAM if kind is Kind.STREAM else socket.SOCK_DGRAM)
        assert len(maker) == 0

    assert with_maker(use) == []


def test_what_cannot_be_made(with_maker: Any) -> None:
    async def use(maker: SocketMaker) -> None:
        # A link-local address without its interface.
        sock, code = await made(maker, Kind.DATAGRAM, SocketAddress("fe80::1", 0))
        assert (sock, code) == (None, errno.EINVAL)

    assert with_maker(use) == []


def test_what_is_no_order(with_maker: Any) -> None:
    """Whoever sends from port 0 cannot end the maker, which refuses to serve whoever orders an answer from there."""

    async def use(maker: SocketMaker) -> None:
        for kind, address in ((Kind.ANSWER, FOREIGN4), (Kind.STREAM, FOREIGN4.with_port(80))):
            with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
                maker.order(kind, address, lambda sock, code: pytest.fail(f"{sock} {code}"))
        sock, _ = await made(maker, Kind.STREAM, FOREIGN4)
        assert sock is not None
        sock.close()

    assert with_maker(use) == []


def test_many_at_a_time_and_some_that_nobody_wants(with_maker: Any) -> None:
    """More than the maker gets at once wait their turn; each is answered, and what is not wanted is closed."""

    async def use(maker: SocketMaker) -> None:
        got: list[socket.socket] = []
        all_there = asyncio.Event()

        def take(sock: socket.socket | None, code: int) -> None:
            assert sock is not None, os.strerror(code)
            got.append(sock)
            if len(got) == 2 * MOST_ORDERED:
                all_there.set()

        ordered = [maker.order(Kind.STREAM, FOREIGN4, take) for _ in range(4 * MOST_ORDERED)]
        for each in ordered[::2]:
            each.cancel()
        await all_there.wait()
        assert len(got) == 2 * MOST_ORDERED
        for sock in got:
            sock.close()

    assert with_maker(use) == []


def test_too_many(with_maker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MOST_WAITING", 3)
    monkeypatch.setattr(sockets, "MOST_ORDERED", 0)

    async def use(maker: SocketMaker) -> None:
        for _ in range(3):
            maker.order(Kind.STREAM, FOREIGN4, lambda sock, code: pytest.fail(f"{sock} {code}"))
        with pytest.raises(OSError, match=os.strerror(errno.ENOBUFS)):
            maker.order(Kind.STREAM, FOREIGN4, lambda sock, code: None)
        assert len(maker) == 3  # whom a stop forgets

    assert with_maker(use) == []


def test_no_descriptor_left(with_maker: Any) -> None:
    """The kernel drops the socket on its way: that order fails, those after it do not."""

    async def use(maker: SocketMaker) -> None:
        order = asyncio.ensure_future(made(maker, Kind.STREAM, FOREIGN4))
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        try:
            assert await order == (None, errno.EMFILE)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        sock, code = await made(maker, Kind.STREAM, FOREIGN4)
        assert sock is not None, os.strerror(code)
        sock.close()

    assert with_maker(use) == []


def test_a_maker_that_is_gone(with_maker: Any) -> None:
    """Whoever waits is told, and so is whoever comes later; no zombie waits for the stop."""

    async def use(maker: SocketMaker) -> None:
        assert maker._process is not None
        process = maker._process
        os.kill(maker._process.pid, signal.SIGSTOP)
        waiting = asyncio.ensure_future(made(maker, Kind.STREAM, FOREIGN4))
        await asyncio.sleep(0)
        os.kill(maker._process.pid, signal.SIGKILL)
        assert await waiting == (None, errno.ENETDOWN)
        with pytest.raises(OSError, match=os.strerror(errno.ENETDOWN)):
            maker.order(Kind.STREAM, FOREIGN4, lambda sock, code: None)
        async with asyncio.timeout(20):
            while process.returncode is None:  # noqa: ASYNC110  it is not asked, which would reap it
                await asyncio.sleep(0)
        assert process.returncode == -signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)

    (failure,) = with_maker(use)
    assert failure.startswith("the maker of transparent sockets is lost: ")


def test_a_maker_that_cannot_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here for want of the program; the process is waited for."""
    monkeypatch.setattr(sockets, "_command", lambda account, link: ["/bin/false"])

    async def use() -> None:
        poller = Poller(asyncio.get_running_loop())
        maker = SocketMaker(poller, lambda text: None)
        with pytest.raises(SocketMakerError, match="the maker of transparent sockets does not start"):
            maker.start(None)
        assert maker._process is None
        await maker.stop()
        poller.close()

    asyncio.run(use())
