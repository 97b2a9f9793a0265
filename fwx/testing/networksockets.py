"""The battery for IFWXNetworkSocket."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.ipfilter import FWXIpFilter
from fwx.interfaces import (
    E_INVALIDARG,
    E_NOTIMPL,
    E_POINTER,
    FWX_E_ADDRESS_NOT_ALLOWED,
    HRESULT_FROM_WIN32,
    WSAEADDRINUSE,
    WSAECONNREFUSED,
    WSAEINVAL,
    WSAEISCONN,
    WSAENOTCONN,
    WSAENOTSOCK,
    COMError,
    IFWXNetworkSocket,
    SocketAddress,
)
from fwx.testing.battery import Battery, Rule, expect, expect_equal, expect_failure, run_rules
from fwx.testing.completions import Accepted, AcceptRecorder, Recorder
from fwx.testing.sockets import STREAM_RULES, SocketPair
from fwx.testing.unknown import shape_rule, unknown_rules

_SOL_SOCKET = 0xFFFF
_SO_KEEPALIVE = 0x0008


@dataclass(frozen=True, slots=True)
class SocketMaker:
    """Where network sockets come from.

    :ivar make: returns a new TCP socket that is neither bound nor connected.
    :ivar run: lets happen what is ready to happen; called again and again.
    :ivar close: gives everything back; called once, at the end.
    :ivar host: the literal address to bind and to connect to.
    """

    make: Callable[[], Any]
    run: Callable[[], None]
    close: Callable[[], None]
    host: str = "127.0.0.1"

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Run until *condition* holds. :raises BreachError: it never does; *what* names it."""
        SocketPair(None, None, self.run).until(condition, what)

    def listening(self) -> Any:
        """Return a socket that listens on a free port."""
        socket = self.make()
        socket.Bind(SocketAddress(self.host, 0), None, None)
        socket.Listen(5)
        return socket

    def accept(self, listening: Any) -> AcceptRecorder:
        """Post one Accept on *listening*."""
        recorder = AcceptRecorder()
        listening.Accept(recorder, 0)
        return recorder

    def pair(self) -> tuple[Any, Accepted]:
        """Return a socket that has connected, and what its peer's Accept was told."""
        listening = self.listening()
        accepts = self.accept(listening)
        socket = self.make()
        socket.Connect(listening.GetSockName())
        self.until(lambda: accepts.calls, "the completion of an Accept")
        self.until(lambda: _has_peer(socket), "connecting")
        return socket, accepts.calls[0]


Maker = Callable[[], SocketMaker]


def check_network_socket(maker: Maker) -> Battery:
    """Try an implementation of ``IFWXNetworkSocket``: what is its own, then all rules of ``IFWXSocket`` on two sockets
    that were connected with each other. *maker* returns a fresh :class:`SocketMaker`.
    """

    def make() -> AbstractContextManager[SocketMaker]:
        return closing(maker())

    def make_pair() -> AbstractContextManager[SocketPair]:
        sockets = maker()
        left, accepted = sockets.pair()
        return closing(SocketPair(left, accepted.socket, sockets.run, sockets.close))

    with make() as sockets:
        subject = type(sockets.make()).__qualname__
    own, as_pair = run_rules(subject, _RULES, make), run_rules(subject, STREAM_RULES, make_pair)
    return Battery(subject, own.checks + as_pair.checks)


def _first(sockets: SocketMaker) -> Any:
    return sockets.make()


def _has_peer(socket: Any) -> bool:
    try:
        socket.GetPeerName()
    except COMError:
        return False
    return True


def _code(code: int) -> int:
    return HRESULT_FROM_WIN32(code)


# ---- the rules -------------------------------------------------------------------------------------------------------


def _has_no_names(sockets: SocketMaker) -> None:
    socket = sockets.make()
    expect_failure("GetSockName of a new socket", _code(WSAEINVAL), socket.GetSockName)
    expect_failure("GetPeerName of a new socket", _code(WSAENOTCONN), socket.GetPeerName)


def _refuses_unconnected(sockets: SocketMaker) -> None:
    socket, recorder = sockets.make(), Recorder()
    buffer = FWXIOBuffer.constant(b"x")
    expect_failure("Send", _code(WSAENOTCONN), socket.Send, buffer, recorder, 0)
    expect_failure("Recv", _code(WSAENOTCONN), socket.Recv, None, recorder, 0)
    sockets.run()
    expect(not recorder.calls, "a refused operation completed")


def _binds(sockets: SocketMaker) -> None:
    socket = sockets.make()
    socket.Bind(SocketAddress(sockets.host, 0), None, None)
    name = socket.GetSockName()
    expect_equal(name.host, sockets.host, "the address of a bound socket")
    expect(name.port, "the port of a socket that was bound to port 0 is 0")
    expect_failure("a second Bind", _code(WSAEINVAL), socket.Bind, SocketAddress(sockets.host, 0), None, None)
    socket.Listen(5)
    other = sockets.make()
    expect_failure("Bind to a taken port", _code(WSAEADDRINUSE), other.Bind, name, None, None)


def _judges_addresses(sockets: SocketMaker) -> None:
    address = SocketAddress(sockets.host, 9)
    for wanted, arguments in ((E_POINTER, (None, None)), (E_INVALIDARG, (address, address.length + 1))):
        expect_failure(f"Connect{arguments}", wanted, sockets.make().Connect, *arguments)
        expect_failure(f"Bind{arguments}", wanted, sockets.make().Bind, *arguments, None)


def _listens_after_bind(sockets: SocketMaker) -> None:
    socket = sockets.make()
    expect_failure("Listen without Bind", _code(WSAEINVAL), socket.Listen, 5)
    expect_failure("Accept without Listen", _code(WSAEINVAL), socket.Accept, AcceptRecorder(), 0)
    expect_failure("Accept(None)", E_POINTER, sockets.listening().Accept, None, 0)


def _accepts(sockets: SocketMaker) -> None:
    listening, recorder, tag = sockets.listening(), AcceptRecorder(), object()
    listening.Accept(recorder, tag)
    expect(not recorder.calls, "the completion of Accept came inside the call that posted it")
    socket = sockets.make()
    socket.Connect(listening.GetSockName())
    sockets.until(lambda: recorder.calls and _has_peer(socket), "the completion of an Accept")
    told = recorder.calls[0]
    expect(told.success and told.socket is not None, f"Accept failed with error {told.code}")
    expect(told.listening is listening, "CompleteAsyncAccept names another listening socket")
    expect(told.tag is tag, "CompleteAsyncAccept brings other user data")
    expect_equal(told.remote, socket.GetSockName(), "RemoteAddress, as the peer's GetSockName tells")
    expect_equal(told.local, socket.GetPeerName(), "LocalAddress, as the peer's GetPeerName tells")
    expect_equal(told.socket.GetPeerName(), told.remote, "GetPeerName of the accepted socket")
    expect_equal(told.socket.GetSockName(), told.local, "GetSockName of the accepted socket")


def _one_each(sockets: SocketMaker) -> None:
    listening = sockets.listening()
    first = sockets.accept(listening)
    clients = [sockets.make(), sockets.make()]
    for client in clients:
        client.Connect(listening.GetSockName())
    sockets.until(lambda: first.calls, "the completion of an Accept")
    sockets.run()
    expect_equal(len(first.calls), 1, "completions of one Accept, with two connections waiting")
    second = sockets.accept(listening)
    sockets.until(lambda: second.calls, "the completion of the second Accept")
    expect(second.calls[0].success, "the second Accept failed")


def _waits_for_connect(sockets: SocketMaker) -> None:
    listening, recorder = sockets.listening(), Recorder()
    accepts = sockets.accept(listening)
    socket = sockets.make()
    socket.Connect(listening.GetSockName())
    socket.Send(FWXIOBuffer.constant(b"early"), recorder, "sent")
    expect(not recorder.calls, "the completion of Send came inside the call that posted it")
    sockets.until(lambda: accepts.calls and recorder.calls, "the completion of a Send that waited for the connect")
    pair = SocketPair(socket, accepts.calls[0].socket, sockets.run)
    expect_equal(pair.receive_all(pair.right, 5), b"early", "what was sent while connecting")


def _refused_connect(sockets: SocketMaker) -> None:
    taken = sockets.make()
    taken.Bind(SocketAddress(sockets.host, 0), None, None)
    address = taken.GetSockName()
    taken.Close(False)
    sockets.run()
    socket, recorder = sockets.make(), Recorder()
    socket.Connect(address)
    socket.Recv(None, recorder, "received")
    socket.Send(FWXIOBuffer.constant(b"x"), recorder, "sent")
    sockets.until(lambda: len(recorder.calls) == 2, "the completion of what was posted while connecting")
    outcomes = {(done.tag, done.success, done.code) for done in recorder.calls}
    wanted = {("received", False, WSAECONNREFUSED), ("sent", False, WSAECONNREFUSED)}
    expect_equal(outcomes, wanted, "what was posted on a socket whose connect was refused")


def _connects_once(sockets: SocketMaker) -> None:
    socket, _ = sockets.pair()
    expect_failure("a second Connect", _code(WSAEISCONN), socket.Connect, socket.GetPeerName())
    listening = sockets.listening()
    expect_failure("Connect of a listener", _code(WSAEINVAL), listening.Connect, listening.GetSockName())


def _close_fails_accepts(sockets: SocketMaker) -> None:
    listening = sockets.listening()
    recorder = sockets.accept(listening)
    address = listening.GetSockName()
    listening.Close(False)
    listening.Close(False)
    sockets.until(lambda: recorder.calls, "the completion of an Accept that was pending at Close")
    told = recorder.calls[0]
    expect(not told.success and told.socket is None, "an Accept that was pending at Close succeeded")
    expect_failure("Accept after Close", _code(WSAENOTSOCK), listening.Accept, recorder, 0)
    again = sockets.make()
    again.Bind(address, None, None)
    expect_equal(again.GetSockName(), address, "the port of a closed listener, bound again")


def _filter_of(sockets: SocketMaker, *, included: bool) -> FWXIpFilter:
    """Return an IP filter that includes the makers' host, or all addresses but it."""
    ip_filter, host = FWXIpFilter(), IPv4Address(sockets.host)
    ip_filter.IncludeRange(IPv4Address(0), IPv4Address(0xFFFFFFFF))
    if not included:
        ip_filter.ExcludeRange(host, host)
    return ip_filter


def _accepts_by_filter(sockets: SocketMaker) -> None:
    listening = sockets.make()
    listening.Bind(SocketAddress(sockets.host, 0), None, _filter_of(sockets, included=False))
    listening.Listen(5)
    accepts, received = sockets.accept(listening), Recorder()
    stranger = sockets.make()
    stranger.Connect(listening.GetSockName())
    stranger.Recv(None, received, 0)
    sockets.until(lambda: received.calls, "the reset of a connection from outside the IP filter")
    expect(not received.calls[0].success, "a connection from outside the IP filter was not reset")
    expect(not accepts.calls, "a connection from outside the IP filter was accepted")
    listening.SetIpFilter(_filter_of(sockets, included=True))
    sockets.make().Connect(listening.GetSockName())
    sockets.until(lambda: accepts.calls, "the completion of an Accept after the IP filter was changed")
    expect(accepts.calls[0].success, "the Accept failed after the IP filter was changed")


def _connects_by_filter(sockets: SocketMaker) -> None:
    listening, socket = sockets.listening(), sockets.make()
    socket.SetIpFilter(_filter_of(sockets, included=False))
    address = listening.GetSockName()
    expect_failure("Connect to an address outside", FWX_E_ADDRESS_NOT_ALLOWED, socket.Connect, address)
    socket.SetIpFilter(FWXIpFilter())
    expect_failure("Connect with an empty IP filter", FWX_E_ADDRESS_NOT_ALLOWED, socket.Connect, address)
    socket.SetIpFilter(_filter_of(sockets, included=True))
    accepts = sockets.accept(listening)
    socket.Connect(address)
    sockets.until(lambda: accepts.calls and _has_peer(socket), "connecting to an address inside the IP filter")


def _copies_its_filter(sockets: SocketMaker) -> None:
    socket, given = sockets.make(), _filter_of(sockets, included=True)
    socket.SetIpFilter(given)
    given.ExcludeFilter(given)
    got = socket.GetIpFilter()
    expect(got.Compare(_filter_of(sockets, included=True)) == 0, "a change of the filter changed the socket's copy")
    got.ExcludeFilter(got)
    expect(
        socket.GetIpFilter().Compare(_filter_of(sockets, included=True)) == 0,
        "a change of what GetIpFilter gave changed the socket's filter",
    )
    socket.SetIpFilter(None)
    expect(socket.GetIpFilter() is None, "GetIpFilter after SetIpFilter(None) is not None")


def _unrestricted(sockets: SocketMaker) -> None:
    socket = sockets.make()
    expect(socket.GetIpFilter() is None, "GetIpFilter of a new socket is not None")
    socket.SetIpFilter(None)
    expect(socket.GetIpFilter() is None, "GetIpFilter after SetIpFilter(None) is not None")


def _private_slot(sockets: SocketMaker) -> None:
    try:
        result = sockets.make()._SetPacketFilterOptions(False, 0)
    except COMError as error:
        expect_equal(error.hresult, E_NOTIMPL, "_SetPacketFilterOptions")
        return
    expect(result is None, f"_SetPacketFilterOptions returned {result!r}")


def _has_options(sockets: SocketMaker) -> None:
    socket, _ = sockets.pair()
    on = (1).to_bytes(4, "little")
    try:
        socket.SetSockOpt(_SOL_SOCKET, _SO_KEEPALIVE, on)
    except COMError as error:
        expect_equal(error.hresult, E_NOTIMPL, "SetSockOpt")
        expect_failure("GetSockOpt", E_NOTIMPL, socket.GetSockOpt, _SOL_SOCKET, _SO_KEEPALIVE)
        return
    expect_equal(bytes(socket.GetSockOpt(_SOL_SOCKET, _SO_KEEPALIVE)), on, "SO_KEEPALIVE after it was set")


_RULES: tuple[Rule[SocketMaker], ...] = (
    shape_rule(IFWXNetworkSocket, _first),
    *unknown_rules(IFWXNetworkSocket, _first),
    Rule("has no names while it is neither bound nor connected", ("B4.2",), _has_no_names),
    Rule("refuses to send and to receive without a connection", ("B4.2",), _refuses_unconnected),
    Rule("Bind gives it an address, once", ("B4.2", "B4.10"), _binds),
    Rule("judges the address it is given", ("B4.10", "B4.14"), _judges_addresses),
    Rule("Bind, Listen, Accept come in this order", ("B4.2", "B4.12"), _listens_after_bind),
    Rule("Accept tells both sockets and both addresses", ("B4.12",), _accepts),
    Rule("one Accept yields one connection", ("B4.13",), _one_each),
    Rule("what is posted while connecting waits", ("B4.14",), _waits_for_connect),
    Rule("a refused connect fails what is posted", ("B4.14",), _refused_connect),
    Rule("connects once, and not while it listens", ("B4.14",), _connects_once),
    Rule("Close fails pending Accepts and frees the port", ("B3.26", "B4.21"), _close_fails_accepts),
    Rule("starts without an IP filter", ("B4.11", "B6.33"), _unrestricted),
    Rule("accepts whom its IP filter includes", ("B4.10", "B6.33", "B6.34"), _accepts_by_filter),
    Rule("connects where its IP filter includes", ("B4.11", "B6.33"), _connects_by_filter),
    Rule("keeps a copy of its IP filter", ("B4.11",), _copies_its_filter),
    Rule("the undocumented slot answers", ("B4.3", "B4.4"), _private_slot),
    Rule("keeps its options, or has none", ("B4.2",), _has_options),
)
