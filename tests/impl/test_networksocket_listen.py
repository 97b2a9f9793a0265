"""Network sockets of a filter: binding, listening, accepting, options (behaviour topic 4)."""

from __future__ import annotations

import errno
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from zope.interface import implementer

from fwx.impl.accepting import PAUSE_SECONDS
from fwx.impl.logrecord import Action
from fwx.impl.policy import Rule
from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXLowResourceRecoveryOperation, SocketAddress
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_NOTIMPL,
    E_POINTER,
    ERROR_OPERATION_ABORTED,
    FWX_E_POLICY_RULES_DENIED,
    HRESULT_FROM_WIN32,
    WSAEADDRINUSE,
    WSAEADDRNOTAVAIL,
    WSAEAFNOSUPPORT,
    WSAEFAULT,
    WSAEINVAL,
    WSAEMFILE,
    WSAENOPROTOOPT,
    WSAENOTCONN,
    WSAENOTSOCK,
    COMError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.impl.conftest import Rig

ANY4 = SocketAddress("127.0.0.1", 0)
ANY6 = SocketAddress("::1", 0)


def code_of(call: Callable[..., object], *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


def winsock(code: int) -> int:
    return HRESULT_FROM_WIN32(code)


class Server:
    """A plain server outside the engine."""

    def __init__(self, rig: Rig, host: str = "127.0.0.1") -> None:
        self._rig = rig
        self.sock = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.sock.setblocking(False)
        self.address = SocketAddress.from_sockaddr(self.sock.getsockname())
        rig.closing.append(self.sock.close)

    def accept(self) -> Any:
        taken: list[Any] = []

        def come() -> bool:
            try:
                taken.append(self.sock.accept()[0])
            except BlockingIOError:
                return False
            return True

        self._rig.until(come)
        return self._rig.peer(taken[0])


@pytest.fixture
def server(rig: Rig) -> Server:
    return Server(rig)


@pytest.fixture(params=["firewall", "session"])
def maker(request: pytest.FixtureRequest, rig: Rig) -> Any:
    """Whoever makes sockets: the firewall, and a session."""
    return rig.firewall if request.param == "firewall" else rig.session()


# ---- binding, listening, accepting -----------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [ANY4, ANY6], ids=str)
def test_listen_and_accept(rig: Rig, maker: Any, accept_recorder: Any, recorder: Any, address: SocketAddress) -> None:
    """B4.12, B4.13: one Accept, one connection, with both addresses; the next comes with the next Accept."""
    listener = maker.CreateNetworkSocket(6)
    listener.Bind(address, None, None)
    listener.Listen(5)
    bound = listener.GetSockName()
    assert bound.port
    accepts = accept_recorder()
    clients = []
    for number in (1, 2):
        client = socket.create_connection((bound.host, bound.port))
        rig.closing.append(client.close)
        clients.append(client)
        rig.settle()
        assert len(accepts.calls) == number - 1, "not before it is asked for"
        listener.Accept(accepts, number)
        assert len(accepts.calls) == number - 1, "not inside Accept"
        rig.until(lambda number=number: len(accepts.calls) == number)
    for number, (client, accepted) in enumerate(zip(clients, accepts.calls, strict=True), 1):
        assert (accepted.success, accepted.code, accepted.tag, accepted.listening) == (True, 0, number, listener)
        assert accepted.remote == SocketAddress.from_sockaddr(client.getsockname())
        assert accepted.local == bound
        assert (accepted.socket.GetPeerName(), accepted.socket.GetSockName()) == (accepted.remote, accepted.local)
        assert accepted.socket.session is listener.session
        received = recorder()
        accepted.socket.Recv(None, received, 0)
        client.sendall(b"hello")
        rig.until(lambda received=received: received.calls)
        assert received.calls[0].data == b"hello"
        accepted.socket.Close(False)
    rig.settle()
    assert [record.action for record in rig.records] == [Action.Terminate] * 2


def test_several_accepts_wait(rig: Rig, maker: Any, accept_recorder: Any) -> None:
    """B4.13: in the order of their posting."""
    listener = maker.CreateNetworkSocket(6)
    listener.Bind(ANY4, None, None)
    listener.Listen(5)
    accepts = accept_recorder()
    for number in range(3):
        listener.Accept(accepts, number)
    for _ in range(3):
        rig.closing.append(socket.create_connection(listener.GetSockName().sockaddr).close)
    rig.until(lambda: len(accepts.calls) == 3)
    assert [accepted.tag for accepted in accepts.calls] == [0, 1, 2]


def test_close_fails_the_accepts_that_wait_and_gives_the_port_back(rig: Rig, maker: Any, accept_recorder: Any) -> None:
    """B3.31: once each, not inside Close."""
    listener = maker.CreateNetworkSocket(6)
    listener.Bind(ANY4, None, None)
    listener.Listen(5)
    address = listener.GetSockName()
    accepts = accept_recorder()
    for number in range(3):
        listener.Accept(accepts, number)
    listener.Close(False)
    listener.Close(False)
    assert accepts.calls == []
    rig.settle()
    assert [(one.success, one.code, one.socket, one.tag) for one in accepts.calls] == [
        (False, ERROR_OPERATION_ABORTED, None, number) for number in range(3)
    ]
    assert code_of(listener.Accept, accepts, 0) == winsock(WSAENOTSOCK)
    again = maker.CreateNetworkSocket(6)
    again.Bind(address, None, None)
    again.Listen(1)


def test_an_accept_of_another_thread_meets_the_close(rig: Rig, maker: Any, accept_recorder: Any) -> None:
    listener = maker.CreateNetworkSocket(6)
    listener.Bind(ANY4, None, None)
    listener.Listen(5)
    accepts = accept_recorder()
    other = threading.Thread(target=listener.Accept, args=(accepts, 1))
    other.start()
    other.join()
    listener.Close(False)
    rig.until(lambda: accepts.calls)
    assert accepts.calls[0].code == ERROR_OPERATION_ABORTED


@pytest.mark.parametrize("answer", [lambda accepted: 1 / 0, lambda accepted: 0x80004005], ids=["raises", "returns"])
def test_an_accept_completion_that_fails(rig: Rig, maker: Any, accept_recorder: Any, answer: Any) -> None:
    """B5.9: the accepted connection is reset, the listener goes on."""
    listener = maker.CreateNetworkSocket(6)
    listener.Bind(ANY4, None, None)
    listener.Listen(5)
    for _ in range(2):
        listener.Accept(accept_recorder(answer), 0)
        rig.peer(socket.create_connection(listener.GetSockName().sockaddr)).expect_reset()
    assert rig.alerts


class Exhausted:
    """A listening transport where *shortages* accepts fail, and then none is left if the peer has *gone*."""

    def __init__(self, bound: Any, shortages: int, *, gone: bool = False) -> None:
        self._bound = bound
        self._gone = gone
        self.shortages = shortages

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bound, name)

    def accept(self) -> Any:
        if self.shortages:
            self.shortages -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        if self._gone:
            raise BlockingIOError
        return self._bound.accept()


@implementer(IFWXLowResourceRecoveryOperation)
class Recovered(Unknown):
    """What a filter could not do for want of resources; *calls* of its Recover, which succeeds."""

    def __init__(self, rig: Rig) -> None:
        self._recoverer: Any = rig.firewall.GetLowResourceRecoverer()
        self._cookie = self._recoverer.RegisterForLowResourceRecovery(self, 7)
        self.calls: list[int] = []

    def signal(self) -> None:
        self._recoverer.SignalLowResourceFailure(self._cookie)

    def Recover(self, UserData: int) -> None:
        self.calls.append(UserData)


def test_out_of_descriptors(rig: Rig, maker: Any, accept_recorder: Any) -> None:
    """B4.12: an accept that fails completes with the Winsock error; the next ones wait for a moment, not for ever.

    B11.11: meanwhile no filter is asked to recover; whoever waited is asked when there is enough.
    """
    listener = maker.CreateNetworkSocket(6)
    listener.Bind(ANY4, None, None)
    listener.Listen(5)
    accepts = accept_recorder(lambda accepted: listener.Accept(accepts, 0))
    for _ in range(2):
        listener.Accept(accepts, 0)
    acceptor = listener._acceptor
    exhausted = acceptor._transport = Exhausted(acceptor._transport, 2)
    rig.closing.append(socket.create_connection(listener.GetSockName().sockaddr).close)
    recovered = Recovered(rig)
    rig.until(lambda: accepts.calls)
    recovered.signal()
    for failures in (1, 2):
        rig.settle()
        assert [(call.success, call.code) for call in accepts.calls] == [(False, WSAEMFILE)] * failures
        assert not recovered.calls
        rig.clock.advance(PAUSE_SECONDS)
    rig.until(lambda: len(accepts.calls) == 3)
    rig.settle()
    assert len(recovered.calls) == 1
    assert accepts.calls[-1].success
    assert not exhausted.shortages


def test_a_listener_that_is_closed_while_it_waits_for_descriptors(rig: Rig, maker: Any, accept_recorder: Any) -> None:
    listener = maker.CreateNetworkSocket(6)
    listener.Bind(ANY4, None, None)
    listener.Listen(5)
    accepts = accept_recorder()
    for _ in range(2):
        listener.Accept(accepts, 0)
    acceptor = listener._acceptor
    acceptor._transport = Exhausted(acceptor._transport, 1)
    rig.closing.append(socket.create_connection(listener.GetSockName().sockaddr).close)
    rig.until(lambda: accepts.calls)
    recovered = Recovered(rig)
    recovered.signal()
    rig.settle()
    assert not recovered.calls
    listener.Close(False)
    rig.settle()
    assert [call.code for call in accepts.calls] == [WSAEMFILE, ERROR_OPERATION_ABORTED]
    assert len(recovered.calls) == 1
    assert not rig.clock.timers


@pytest.mark.parametrize("accepts_after", [0, 1])
def test_a_shortage_that_nobody_meets_any_more(rig: Rig, maker: Any, accept_recorder: Any, accepts_after: int) -> None:
    """B11.11: whoever waited for the descriptor has gone, or no Accept is left; the filters are asked again."""
    listener = maker.CreateNetworkSocket(6)
    listener.Bind(ANY4, None, None)
    listener.Listen(5)
    accepts = accept_recorder()
    for _ in range(1 + accepts_after):
        listener.Accept(accepts, 0)
    acceptor = listener._acceptor
    acceptor._transport = Exhausted(acceptor._transport, 1, gone=True)
    rig.closing.append(socket.create_connection(listener.GetSockName().sockaddr).close)
    rig.until(lambda: accepts.calls)
    recovered = Recovered(rig)
    recovered.signal()
    rig.settle()
    assert not recovered.calls
    rig.clock.advance(PAUSE_SECONDS)
    rig.settle()
    assert len(recovered.calls) == 1
    assert len(accepts.calls) == 1


def test_what_bind_listen_and_accept_refuse(rig: Rig, maker: Any, accept_recorder: Any, server: Server) -> None:
    """IFWXNetworkSocket: the Winsock errors of calls at the wrong time."""
    sock = maker.CreateNetworkSocket(6)
    assert code_of(sock.GetSockName) == winsock(WSAEINVAL)
    assert code_of(sock.Listen, 5) == winsock(WSAEINVAL)
    assert code_of(sock.Accept, accept_recorder(), 0) == winsock(WSAEINVAL)
    assert code_of(sock.Bind, ANY4, None, object()) == E_INVALIDARG
    assert code_of(sock.Bind, SocketAddress("name.example", 1), None, None) == winsock(WSAEAFNOSUPPORT)
    assert code_of(sock.Bind, SocketAddress("203.0.113.77", 0), None, None) == winsock(WSAEADDRNOTAVAIL)
    assert code_of(sock.Bind, server.address, None, None) == winsock(WSAEADDRINUSE)
    sock.Bind(ANY4, None, None)
    assert code_of(sock.Bind, ANY4, None, None) == winsock(WSAEINVAL)
    assert code_of(sock.GetPeerName) == winsock(WSAENOTCONN)
    sock.Listen(5)
    assert code_of(sock.Listen, 5) == winsock(WSAEINVAL)
    assert code_of(sock.Accept, None, 0) == E_POINTER
    assert code_of(sock.Connect, server.address) == winsock(WSAEINVAL)


def test_two_listeners_on_one_port(rig: Rig, maker: Any) -> None:
    """WSAEADDRINUSE at Listen, where Linux finds out."""
    first, second = maker.CreateNetworkSocket(6), maker.CreateNetworkSocket(6)
    first.Bind(ANY4, None, None)
    second.Bind(first.GetSockName(), None, None)
    first.Listen(1)
    assert code_of(second.Listen, 1) == winsock(WSAEADDRINUSE)


def test_a_bound_socket_connects_from_its_address(rig: Rig, maker: Any, server: Server) -> None:
    sock = maker.CreateNetworkSocket(6)
    sock.Bind(ANY4, None, None)
    name = sock.GetSockName()
    sock.Connect(server.address)
    assert sock.GetSockName() == name
    assert server.accept()._sock.getpeername() == name.sockaddr


@pytest.mark.parametrize(("bound", "target"), [(ANY4, "[::1]:80"), (ANY6, "127.0.0.1:80")], ids=["4 to 6", "6 to 4"])
def test_a_bound_socket_connects_within_its_family(rig: Rig, maker: Any, bound: SocketAddress, target: str) -> None:
    """WSAEAFNOSUPPORT, and the port is given back."""
    sock = maker.CreateNetworkSocket(6)
    sock.Bind(bound, None, None)
    assert code_of(sock.Connect, SocketAddress.parse(target)) == winsock(WSAEAFNOSUPPORT)
    assert code_of(sock.GetSockName) == winsock(WSAEINVAL)


def test_a_bound_socket_takes_the_address_of_its_family(rig: Rig, maker: Any, server: Server) -> None:
    rig.names.table["server.example"] = ["::1", "127.0.0.1"]
    sock = maker.CreateNetworkSocket(6)
    sock.Bind(ANY4, None, None)
    sock.Connect(SocketAddress("server.example", server.address.port))
    server.accept()


# ---- options and the rest --------------------------------------------------------------------------------------------

SOL_SOCKET, SO_KEEPALIVE, SO_RCVBUF, SO_LINGER = 0xFFFF, 0x0008, 0x1002, 0x0080


def test_options(rig: Rig, server: Server) -> None:
    """SetSockOpt, GetSockOpt by Winsock's numbers, bound and connected."""
    sock = rig.firewall.CreateNetworkSocket(6)
    assert code_of(sock.GetSockOpt, SOL_SOCKET, SO_KEEPALIVE) == winsock(WSAENOTCONN)
    sock.Bind(ANY4, None, None)
    assert sock.GetSockOpt(SOL_SOCKET, SO_KEEPALIVE) == b"\0\0\0\0"
    sock.SetSockOpt(SOL_SOCKET, SO_KEEPALIVE, b"\1\0\0\0rest", 4)
    assert sock.GetSockOpt(SOL_SOCKET, SO_KEEPALIVE) == b"\1\0\0\0"
    sock.Connect(server.address)
    server.accept()
    rig.settle()
    assert sock.GetSockOpt(SOL_SOCKET, SO_KEEPALIVE) == b"\1\0\0\0"
    refused = [
        (sock.SetSockOpt, (SOL_SOCKET, 0x4711, b"\0\0\0\0"), winsock(WSAENOPROTOOPT)),
        (sock.GetSockOpt, (SOL_SOCKET, 0x4711), winsock(WSAENOPROTOOPT)),
        (sock.SetSockOpt, (SOL_SOCKET, SO_KEEPALIVE, b"\1"), winsock(WSAEFAULT)),
        (sock.SetSockOpt, (SOL_SOCKET, SO_KEEPALIVE, None), E_POINTER),
        (sock.SetSockOpt, (SOL_SOCKET, SO_KEEPALIVE, b"\1\0", 4), E_INVALIDARG),
        (sock.SetSockOpt, (SOL_SOCKET, SO_KEEPALIVE, b"\1\0\0\0\0", -1), E_INVALIDARG),
        (sock.SetSockOpt, (SOL_SOCKET, 0x1008, b"\1\0\0\0"), winsock(WSAENOPROTOOPT)),
        (sock.SetSockOpt, (SOL_SOCKET, 0x1006, b"\1\0"), winsock(WSAEFAULT)),
        (sock.SetSockOpt, (SOL_SOCKET, 0x1006, None), E_POINTER),
    ]
    for call, arguments, code in refused:
        assert code_of(call, *arguments) == code


def test_a_sessions_socket_has_no_options(rig: Rig) -> None:
    """IFWXNetworkSocket: E_NOTIMPL on a socket of IFWXSession.CreateNetworkSocket."""
    sock = rig.session().CreateNetworkSocket(6)
    assert code_of(sock.SetSockOpt, SOL_SOCKET, SO_KEEPALIVE, b"\1\0\0\0") == E_NOTIMPL
    assert code_of(sock.GetSockOpt, SOL_SOCKET, SO_KEEPALIVE) == E_NOTIMPL


def test_the_rest_of_the_interface(maker: Any) -> None:
    """B4.4, B4.11: the private slot, and no restriction by address."""
    sock = maker.CreateNetworkSocket(6)
    assert code_of(sock._SetPacketFilterOptions, True, 0) == E_NOTIMPL
    assert sock.GetIpFilter() is None
    sock.SetIpFilter(None)
    assert code_of(sock.SetIpFilter, object()) == E_INVALIDARG
    sock.Close(False)
    for call in (
        sock.GetIpFilter,
        lambda: sock.SetIpFilter(None),
        lambda: sock.GetSockOpt(1, 1),
        lambda: sock.Listen(1),
    ):
        assert code_of(call) == winsock(WSAENOTSOCK)


# ---- the policy ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["firewall", "session"])
@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0"])
def test_the_rules_judge_who_connects_to_a_sessions_socket(
    rig: Rig, accept_recorder: Any, whose: str, allowed: bool, bound: str
) -> None:
    """B4.6, B4.7: the peer is the source, the socket's own address the target; nobody asks about the firewall's."""
    action = "allow" if allowed else "deny"
    rig.engine.policy = rig.policy(Rule("inbound", action, ("any",), ("localhost",), ("localhost",)))
    listener = (rig.session() if whose == "session" else rig.firewall).CreateNetworkSocket(6)
    listener.Bind(SocketAddress(bound, 0), None, None)
    listener.Listen(5)
    accepts = accept_recorder()
    listener.Accept(accepts, 0)
    client = socket.create_connection(("127.0.0.1", listener.GetSockName().port))
    rig.closing.append(client.close)
    if whose == "firewall" or allowed:
        rig.until(lambda: accepts.calls)
        accepts.calls[0].socket.Close(True)
        rig.until(lambda: rig.records)
        (record,) = rig.records
        assert (record.action, record.rule) == (Action.Terminate, "inbound" if whose == "session" else "")
        return
    rig.until(lambda: rig.records)
    (record,) = rig.records
    assert (record.action, record.rule) == (Action.Denied, "inbound")
    assert record.resultcode == FWX_E_POLICY_RULES_DENIED
    assert (record.source_port, record.destination_port) == (client.getsockname()[1], listener.GetSockName().port)
    assert not accepts.calls
    client.settimeout(5)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
