"""The battery for SSL network sockets: IFWXNetworkSocket as CreateSSLNetworkSocket makes it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Any

from fwx.impl.iobuffer import FWXIOBuffer
from fwx.interfaces import (
    E_NOTIMPL,
    HRESULT_FROM_WIN32,
    WSAEINVAL,
    WSAENOTCONN,
    WSAENOTSOCK,
    IFWXNetworkSocket,
    SocketAddress,
)
from fwx.testing.battery import Battery, Rule, expect, expect_equal, expect_failure, run_rules
from fwx.testing.completions import AcceptRecorder, Recorder
from fwx.testing.sockets import STREAM_RULES, SocketPair
from fwx.testing.unknown import shape_rule, unknown_rules


@dataclass(frozen=True, slots=True)
class SslSocketMaker:
    """Where SSL sockets come from.

    :ivar pair: returns two SSL sockets, each laid over a connected socket, that speak with each other; its ``run`` and
        ``close`` are called as those of every pair.
    :ivar make: returns an SSL socket without a socket underneath.
    :ivar run: lets happen what is ready to happen; called again and again.
    :ivar close: gives back everything but the pairs; called once, at the end.
    :ivar host: the literal address to bind to.
    """

    pair: Callable[[], SocketPair]
    make: Callable[[], Any]
    run: Callable[[], None]
    close: Callable[[], None]
    host: str = "127.0.0.1"


Maker = Callable[[], SslSocketMaker]


def check_ssl_socket(maker: Maker) -> Battery:
    """Try an SSL network socket: what is its own, then all rules of ``IFWXSocket`` on two that speak with each other.

    *maker* returns a fresh :class:`SslSocketMaker`.
    """

    def make() -> AbstractContextManager[SslSocketMaker]:
        return closing(maker())

    def make_pair() -> AbstractContextManager[SocketPair]:
        return closing(_pair_of(maker()))

    with make() as sockets:
        subject = type(sockets.make()).__qualname__
    own, as_pair = run_rules(subject, _RULES, make), run_rules(subject, STREAM_RULES, make_pair)
    return Battery(subject, own.checks + as_pair.checks)


def _pair_of(sockets: SslSocketMaker) -> SocketPair:
    pair = sockets.pair()

    def close() -> None:
        pair.close()
        sockets.close()

    return SocketPair(pair.left, pair.right, pair.run, close)


def _first(sockets: SslSocketMaker) -> Any:
    return sockets.make()


def _code(code: int) -> int:
    return HRESULT_FROM_WIN32(code)


def _lacks(sockets: SslSocketMaker) -> None:
    recorder, accepts = Recorder(), AcceptRecorder()
    address, buffer = SocketAddress(sockets.host, 9), FWXIOBuffer.constant(b"x")
    pair = sockets.pair()
    with closing(pair):
        for socket in (pair.left, pair.right, sockets.make()):
            expect_failure("Connect", E_NOTIMPL, socket.Connect, address)
            expect_failure("Accept", E_NOTIMPL, socket.Accept, accepts, 0)
            expect_failure("SendTo", E_NOTIMPL, socket.SendTo, buffer, address, None, recorder, 0)
        pair.settle()
    expect(not recorder.calls and not accepts.calls, "a method that is not implemented completed")


def _unconnected(sockets: SslSocketMaker) -> None:
    socket, recorder = sockets.make(), Recorder()
    expect_failure("Send", _code(WSAENOTCONN), socket.Send, FWXIOBuffer.constant(b"x"), recorder, 0)
    expect_failure("Recv", _code(WSAENOTCONN), socket.Recv, None, recorder, 0)
    expect_failure("GetPeerName", _code(WSAENOTCONN), socket.GetPeerName)
    expect_failure("GetSockName", _code(WSAEINVAL), socket.GetSockName)
    sockets.run()
    expect(not recorder.calls, "a refused operation completed")


def _binds(sockets: SslSocketMaker) -> None:
    socket = sockets.make()
    expect_failure("Listen without Bind", _code(WSAEINVAL), socket.Listen, 5)
    socket.Bind(SocketAddress(sockets.host, 0), None, None)
    name = socket.GetSockName()
    expect_equal(name.host, sockets.host, "the address of a bound socket")
    expect(name.port, "the port of a socket that was bound to port 0 is 0")
    expect_failure("a second Bind", _code(WSAEINVAL), socket.Bind, SocketAddress(sockets.host, 0), None, None)
    socket.Listen(5)
    expect_failure("a second Listen", _code(WSAEINVAL), socket.Listen, 5)
    socket.Close(False)
    sockets.run()
    expect_failure("Listen after Close", _code(WSAENOTSOCK), socket.Listen, 5)
    again = sockets.make()
    again.Bind(name, None, None)
    expect_equal(again.GetSockName(), name, "the port of a closed socket, bound again")


def _is_laid_over(sockets: SslSocketMaker) -> None:
    pair = sockets.pair()
    with closing(pair):
        for socket in (pair.left, pair.right):
            expect_failure("Bind", _code(WSAEINVAL), socket.Bind, SocketAddress(sockets.host, 0), None, None)
            expect_failure("Listen", _code(WSAEINVAL), socket.Listen, 5)


def _private_slot(sockets: SslSocketMaker) -> None:
    expect_failure("_SetPacketFilterOptions", E_NOTIMPL, sockets.make()._SetPacketFilterOptions, False, 0)


_RULES: tuple[Rule[SslSocketMaker], ...] = (
    shape_rule(IFWXNetworkSocket, _first),
    *unknown_rules(IFWXNetworkSocket, _first),
    Rule("has no Connect, no Accept, no SendTo", ("B4.18", "B4.19"), _lacks),
    Rule("is not connected without a socket underneath", ("B4.17",), _unconnected),
    Rule("can be bound and listen without a socket underneath", ("B4.2", "B4.21"), _binds),
    Rule("is neither bound nor listens over a socket", ("B4.17",), _is_laid_over),
    Rule("has an undocumented slot that does nothing", ("B4.3", "B4.4"), _private_slot),
)
