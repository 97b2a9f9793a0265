"""The battery for IFWXNetworkSocket on UDP."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing
from ipaddress import IPv4Address
from typing import Any

from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.ipfilter import FWXIpFilter
from fwx.interfaces import (
    E_INVALIDARG,
    E_POINTER,
    FWX_E_ADDRESS_NOT_ALLOWED,
    HRESULT_FROM_WIN32,
    WSAEADDRINUSE,
    WSAECONNRESET,
    WSAEINVAL,
    WSAEISCONN,
    WSAEMSGSIZE,
    WSAENOTCONN,
    WSAENOTSOCK,
    WSAEOPNOTSUPP,
    WSAESHUTDOWN,
    IFWXNetworkSocket,
    SocketAddress,
)
from fwx.testing.battery import Battery, Rule, expect, expect_equal, expect_failure, run_rules
from fwx.testing.completions import AcceptRecorder, Done, Recorder
from fwx.testing.networksockets import Maker, SocketMaker
from fwx.testing.unknown import shape_rule, unknown_rules

_LARGEST = 65507


def check_datagram_socket(maker: Maker) -> Battery:
    """Try an implementation of ``IFWXNetworkSocket`` on UDP; *maker* returns a fresh :class:`SocketMaker` whose
    ``make`` makes UDP sockets that belong to no user.
    """

    def make() -> AbstractContextManager[SocketMaker]:
        return closing(maker())

    with make() as sockets:
        subject = type(sockets.make()).__qualname__
    return run_rules(subject, _RULES, make)


def _code(code: int) -> int:
    return HRESULT_FROM_WIN32(code)


def _bound(sockets: SocketMaker, ip_filter: Any = None) -> Any:
    socket = sockets.make()
    socket.Bind(SocketAddress(sockets.host, 0), None, ip_filter)
    return socket


def _send_to(socket: Any, data: bytes, address: SocketAddress) -> Recorder:
    recorder = Recorder()
    socket.SendTo(FWXIOBuffer.constant(data), address, None, recorder, 0)
    return recorder


def _receive(sockets: SocketMaker, socket: Any, buffer: Any = None) -> Done:
    recorder = Recorder()
    socket.Recv(buffer, recorder, 0)
    sockets.until(lambda: recorder.calls, "the completion of a Recv")
    return recorder.calls[0]


def _source(done: Done) -> SocketAddress:
    expect(isinstance(done.address, SocketAddress), f"ExternalAddress is {done.address!r}")
    assert isinstance(done.address, SocketAddress)
    return done.address


def _nowhere(sockets: SocketMaker) -> SocketAddress:
    """Return an address that no socket has."""
    socket = _bound(sockets)
    name: SocketAddress = socket.GetSockName()
    socket.Close(False)
    sockets.run()
    return name


# ---- the rules -------------------------------------------------------------------------------------------------------


def _has_no_names(sockets: SocketMaker) -> None:
    socket = sockets.make()
    expect_failure("GetSockName of a new socket", _code(WSAEINVAL), socket.GetSockName)
    expect_failure("GetPeerName of a new socket", _code(WSAENOTCONN), socket.GetPeerName)
    expect_failure("Recv of a new socket", _code(WSAEINVAL), socket.Recv, None, Recorder(), 0)


def _binds(sockets: SocketMaker) -> None:
    socket = _bound(sockets)
    name = socket.GetSockName()
    expect_equal((name.host, bool(name.port)), (sockets.host, True), "the name of a bound socket")
    expect_failure("a second Bind", _code(WSAEINVAL), socket.Bind, SocketAddress(sockets.host, 0), None, None)
    expect_failure("Bind to a taken port", _code(WSAEADDRINUSE), sockets.make().Bind, name, None, None)


def _tells_the_source(sockets: SocketMaker) -> None:
    left, right = _bound(sockets), _bound(sockets)
    sent = _send_to(left, b"abc", right.GetSockName())
    expect(not sent.calls, "the completion of SendTo came inside the call that posted it")
    done = _receive(sockets, right)
    expect_equal((done.success, done.data), (True, b"abc"), "the datagram")
    expect_equal(done.address, left.GetSockName(), "ExternalAddress, the sender's name")
    expect_equal(done.address_length, left.GetSockName().length, "ExternalAddressLength")
    sockets.until(lambda: sent.calls, "the completion of a SendTo")
    expect_equal((sent.calls[0].success, sent.calls[0].address), (True, None), "the completion of SendTo")


def _keeps_boundaries(sockets: SocketMaker) -> None:
    left, right = _bound(sockets), _bound(sockets)
    blocks = (b"a", b"", b"bcd", bytes(1400))
    for block in blocks:
        _send_to(left, block, right.GetSockName())
    expect_equal(tuple(_receive(sockets, right).data for _ in blocks), blocks, "the datagrams")


def _cuts(sockets: SocketMaker) -> None:
    left, right = _bound(sockets), _bound(sockets)
    _send_to(left, b"abcdef", right.GetSockName())
    done = _receive(sockets, right, FWXIOBuffer.allocated(4))
    expect_equal((done.success, done.code), (False, WSAEMSGSIZE), "a datagram that is longer than the buffer")
    expect_equal(done.data, b"abcd", "what the buffer holds of it")
    _send_to(left, b"next", right.GetSockName())
    expect_equal(_receive(sockets, right, FWXIOBuffer.allocated(4)).data, b"next", "the datagram after it")


def _too_long(sockets: SocketMaker) -> None:
    left, right = _bound(sockets), _bound(sockets)
    sent = _send_to(left, bytes(_LARGEST + 1), right.GetSockName())
    sockets.until(lambda: sent.calls, "the completion of a SendTo")
    expect_equal((sent.calls[0].success, sent.calls[0].code), (False, WSAEMSGSIZE), "a datagram that is too long")
    _send_to(left, b"short", right.GetSockName())
    expect_equal(_receive(sockets, right).data, b"short", "what was sent after it")


def _connects(sockets: SocketMaker) -> None:
    left, right = sockets.make(), _bound(sockets)
    expect_failure("Send of an unconnected socket", _code(WSAENOTCONN), left.Send, FWXIOBuffer(b"x"), None, 0)
    left.Connect(right.GetSockName())
    expect_equal(left.GetPeerName(), right.GetSockName(), "GetPeerName of a connected socket")
    expect_failure("a second Connect", _code(WSAEISCONN), left.Connect, right.GetSockName())
    left.Send(FWXIOBuffer.constant(b"abc"), None, 0)
    done = _receive(sockets, right)
    expect_equal((done.data, done.address), (b"abc", left.GetSockName()), "what Send sent, and its source")
    _send_to(right, b"answer", _source(done))
    expect_equal(_receive(sockets, left).data, b"answer", "the answer")


def _nobody_there(sockets: SocketMaker) -> None:
    socket, nowhere, recorder = _bound(sockets), _nowhere(sockets), Recorder()
    socket.Recv(None, recorder, "received")
    _send_to(socket, b"x", nowhere)
    sockets.until(lambda: recorder.calls, "the failure of a Recv after a datagram that nobody takes")
    done = recorder.calls[0]
    expect_equal((done.success, done.code), (False, WSAECONNRESET), "Recv after a datagram that nobody takes")
    other = _bound(sockets)
    _send_to(socket, b"abc", other.GetSockName())
    expect_equal(_receive(sockets, other).data, b"abc", "what was sent after an error of the network")


def _judges_addresses(sockets: SocketMaker) -> None:
    socket, buffer = _bound(sockets), FWXIOBuffer(b"x")
    expect_failure("SendTo nowhere", E_POINTER, socket.SendTo, buffer, None, None, None, 0)
    name = SocketAddress("name.invalid", 9)
    expect_failure("SendTo a name", E_INVALIDARG, socket.SendTo, buffer, name, None, None, 0)
    address = SocketAddress(sockets.host, 9)
    expect_failure("SendTo with a length", E_INVALIDARG, socket.SendTo, buffer, address, address.length + 1, None, 0)
    expect_failure("SendTo without a buffer", E_POINTER, socket.SendTo, None, address, None, None, 0)


def _no_stream(sockets: SocketMaker) -> None:
    socket = _bound(sockets)
    expect_failure("Listen", _code(WSAEOPNOTSUPP), socket.Listen, 5)
    expect_failure("Accept", _code(WSAEOPNOTSUPP), socket.Accept, AcceptRecorder(), 0)


def _keeps_to_its_filter(sockets: SocketMaker) -> None:
    nobody, everyone = FWXIpFilter(), FWXIpFilter()
    everyone.IncludeRange(IPv4Address(0), IPv4Address(0xFFFFFFFF))
    socket, stranger = _bound(sockets, nobody), _bound(sockets)
    nobody.IncludeFilter(everyone)
    expect(socket.GetIpFilter().Compare(FWXIpFilter()) == 0, "a change of the filter changed the socket's copy")
    address, recorder = stranger.GetSockName(), Recorder()
    send = (socket.SendTo, FWXIOBuffer(b"x"), address, None, None, 0)
    expect_failure("SendTo an address outside", FWX_E_ADDRESS_NOT_ALLOWED, *send)
    socket.Recv(None, recorder, 0)
    _send_to(stranger, b"forbidden", socket.GetSockName())
    for _ in range(3):
        sockets.run()
    expect(not recorder.calls, "a datagram of an address outside the IP filter was received")
    socket.SetIpFilter(None)
    _send_to(stranger, b"allowed", socket.GetSockName())
    sockets.until(lambda: recorder.calls, "the completion of a Recv after the filter was lifted")
    expect_equal(recorder.calls[0].data, b"allowed", "what was received after the filter was lifted")


def _answers_only(sockets: SocketMaker) -> None:
    socket, server, stranger = sockets.make(), _bound(sockets), _bound(sockets)
    _send_to(socket, b"question", server.GetSockName())
    asker = _source(_receive(sockets, server))
    recorder = Recorder()
    socket.Recv(None, recorder, 0)
    _send_to(stranger, b"forged", SocketAddress(sockets.host, asker.port))
    _send_to(server, b"answer", asker)
    sockets.until(lambda: recorder.calls, "the completion of a Recv of an answer")
    expect_equal(recorder.calls[0].data, b"answer", "what a socket that was never bound received")


def _no_send_after_shutdown(sockets: SocketMaker) -> None:
    left, right = _bound(sockets), _bound(sockets)
    left.Shutdown(False)
    buffer, name = FWXIOBuffer(b"x"), right.GetSockName()
    expect_failure("SendTo after Shutdown", _code(WSAESHUTDOWN), left.SendTo, buffer, name, None, None, 0)
    _send_to(right, b"still here", left.GetSockName())
    expect_equal(_receive(sockets, left).data, b"still here", "what came after the own Shutdown")


def _close_fails_pending(sockets: SocketMaker) -> None:
    socket, recorder = _bound(sockets), Recorder()
    name = socket.GetSockName()
    for tag in (1, 2):
        socket.Recv(None, recorder, tag)
    socket.Close(False)
    socket.Close(True)
    sockets.until(lambda: len(recorder.calls) == 2, "the completion of a Recv that was pending at Close")
    expect_equal([(done.tag, done.success) for done in recorder.calls], [(1, False), (2, False)], "the completions")
    expect_failure("Recv after Close", _code(WSAENOTSOCK), socket.Recv, None, recorder, 0)
    again = sockets.make()
    again.Bind(name, None, None)
    expect_equal(again.GetSockName(), name, "the port of a closed socket, bound again")


def _once_and_in_order(sockets: SocketMaker) -> None:
    left, right = _bound(sockets), _bound(sockets)
    sent, received, tags = Recorder(), Recorder(), [object() for _ in range(20)]
    for tag in tags:
        right.Recv(None, received, tag)
    for number, tag in enumerate(tags):
        left.SendTo(FWXIOBuffer.constant(b"%d" % number), right.GetSockName(), None, sent, tag)
    sockets.until(lambda: len(received.calls) == len(sent.calls) == len(tags), "the completion of a posted operation")
    sockets.run()
    expect_equal(received.tags, tags, "the user data of the Recvs, in order")
    expect_equal(sent.tags, tags, "the user data of the SendTos, in order")
    expect_equal([done.data for done in received.calls], [b"%d" % number for number in range(20)], "the datagrams")


def _first(sockets: SocketMaker) -> Any:
    return sockets.make()


_RULES: tuple[Rule[SocketMaker], ...] = (
    shape_rule(IFWXNetworkSocket, _first),
    *unknown_rules(IFWXNetworkSocket, _first),
    Rule("has no names while it is neither bound nor connected", ("B4.2",), _has_no_names),
    Rule("Bind gives it an address, once", ("B4.2", "B4.10"), _binds),
    Rule("a datagram brings its sender's address", ("B3.21", "B3.23", "B5.8"), _tells_the_source),
    Rule("a datagram stays a datagram, an empty one too", ("B3.23",), _keeps_boundaries),
    Rule("what does not fit into the caller's buffer is cut", ("B3.13",), _cuts),
    Rule("what is too long to send fails, and it alone", ("B3.23",), _too_long),
    Rule("Connect gives Send a peer, once", ("B4.2", "B4.14"), _connects),
    Rule("a datagram that nobody takes fails a Recv", ("B3.22",), _nobody_there),
    Rule("SendTo judges the address it is given", ("B3.23",), _judges_addresses),
    Rule("it neither listens nor accepts", ("B4.2",), _no_stream),
    Rule("keeps to its IP filter, of which it has a copy", ("B4.10", "B4.11", "B6.33"), _keeps_to_its_filter),
    Rule("takes answers only where it was never bound", ("B4.21",), _answers_only),
    Rule("Shutdown leaves the other direction", ("B3.25",), _no_send_after_shutdown),
    Rule("Close fails what is pending and frees the port", ("B3.26", "B3.31", "B4.21"), _close_fails_pending),
    Rule("completes in order, exactly once, with the user data", ("B5.2", "B5.3", "B5.5"), _once_and_in_order),
)
