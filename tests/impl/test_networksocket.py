"""Network sockets of a filter: making, connecting, policy and log (behaviour topic 4)."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.logrecord import Action
from fwx.impl.networksocket import FWXNetworkSocket
from fwx.impl.policy import Rule
from fwx.interfaces import IFWXNetworkSocket, IFWXSocket, SocketAddress
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_POINTER,
    ERROR_OPERATION_ABORTED,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    WSAEACCES,
    WSAECONNREFUSED,
    WSAECONNRESET,
    WSAEISCONN,
    WSAENOTCONN,
    WSAENOTSOCK,
    WSAEPROTONOSUPPORT,
    WSAETIMEDOUT,
    WSAHOST_NOT_FOUND,
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


# ---- making ----------------------------------------------------------------------------------------------------------


def test_both_makers_make_network_sockets(rig: Rig, maker: Any) -> None:
    """B4.5, DESIGN 4: by the method and by the registry's adapter."""
    for sock in (maker.CreateNetworkSocket(6), rig.registry.getAdapter(maker, IFWXNetworkSocket, name="tcp")):
        assert type(sock) is FWXNetworkSocket
        assert sock.QueryInterface(IFWXNetworkSocket) is sock
        assert sock.QueryInterface(IFWXSocket) is sock
        assert (sock.session is None) == (maker is rig.firewall)


@pytest.mark.parametrize("protocol", [0, 47, 99, None, "6"])
def test_other_protocols(maker: Any, protocol: Any) -> None:
    """B4.8: there are sockets for TCP and UDP; GRE has a number and no sockets."""
    assert code_of(maker.CreateNetworkSocket, protocol) == winsock(WSAEPROTONOSUPPORT)


# ---- connecting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_connect(rig: Rig, maker: Any, recorder: Any, host: str) -> None:
    """B4.2, B4.14: what is posted while the socket connects goes out when it has; both names are known."""
    server = Server(rig, host)
    sock = maker.CreateNetworkSocket(6)
    completions = recorder()
    sock.Connect(server.address)
    sock.Send(FWXIOBuffer(b"hello "), completions, "first")
    sock.Send(FWXIOBuffer(b"you"), completions, "second")
    sock.Recv(None, completions, "answer")
    assert completions.calls == []
    peer = server.accept()
    peer.expect(b"hello you")
    assert sock.GetPeerName() == server.address
    assert sock.GetSockName() == SocketAddress.from_sockaddr(peer._sock.getpeername())
    peer.send(b"me")
    rig.until(lambda: len(completions.calls) == 3)
    assert completions.tags == ["first", "second", "answer"]
    assert completions.calls[-1].data == b"me"
    sock.Close(False)
    peer.expect_end()


def test_connect_by_name(rig: Rig, maker: Any, server: Server) -> None:
    """DESIGN 3: an address may be a name; the first address that answers counts."""
    rig.names.table["server.example"] = ["::1", "127.0.0.1"]
    sock = maker.CreateNetworkSocket(6)
    sock.Connect(SocketAddress("server.example", server.address.port))
    server.accept()
    rig.settle()
    assert sock.GetPeerName() == server.address


def test_what_was_posted_fails_with_the_error_of_connecting(
    rig: Rig, maker: Any, recorder: Any, closed: SocketAddress
) -> None:
    """DESIGN 5: each operation completes once, in order, with the error; one record."""
    sock = maker.CreateNetworkSocket(6)
    completions = recorder()
    sock.Connect(closed)
    sock.Recv(None, completions, 1)
    sock.Send(FWXIOBuffer(b"x"), completions, 2)
    sock.Shutdown(False)
    rig.until(lambda: len(completions.calls) == 2)
    assert completions.outcomes == [(1, False, WSAECONNREFUSED), (2, False, WSAECONNREFUSED)]
    (record,) = rig.records
    assert (record.action, record.resultcode) == (Action.Failed, winsock(WSAECONNREFUSED))
    assert code_of(sock.GetPeerName) == winsock(WSAENOTCONN)


def test_what_fails_at_once_is_raised(rig: Rig, maker: Any) -> None:
    """IFWXNetworkSocket.Connect: the Winsock error; nothing could be posted that would bring it."""
    rig.names.table["nowhere.example"] = WSAHOST_NOT_FOUND
    sock = maker.CreateNetworkSocket(6)
    assert code_of(sock.Connect, SocketAddress("nowhere.example", 80)) == winsock(WSAHOST_NOT_FOUND)
    assert [record.action for record in rig.records] == [Action.Failed]


def test_a_second_try_belongs_to_its_owner_as_well(rig: Rig, server: Server, closed: SocketAddress) -> None:
    """B4.7: a socket that connects after a failure ends with the session."""
    session = rig.session()
    sock = session.CreateNetworkSocket(6)
    sock.Connect(closed)
    rig.until(lambda: rig.records)
    sock.Connect(server.address)
    peer = server.accept()
    session.terminate()
    peer.expect_reset()


def test_a_connect_that_nobody_answers(rig: Rig, maker: Any, recorder: Any, deaf: SocketAddress) -> None:
    """B4.14: it fails in the end."""
    sock = maker.CreateNetworkSocket(6)
    completions = recorder()
    sock.Connect(deaf)
    sock.Recv(None, completions, 0)
    rig.settle()
    assert completions.calls == []
    rig.clock.advance(20.0)
    rig.settle()
    assert completions.outcomes == [(0, False, WSAETIMEDOUT)]


@pytest.mark.parametrize("where", ["resolving", "connecting"])
def test_close_while_connecting(rig: Rig, maker: Any, recorder: Any, server: Server, where: str) -> None:
    """B3.31: what was posted fails, the attempt is given up."""
    sock = maker.CreateNetworkSocket(6)
    completions = recorder()
    sock.Connect(SocketAddress("slow.example", 80) if where == "resolving" else server.address)
    sock.Recv(None, completions, 0)
    sock.Close(False)
    rig.settle()
    assert completions.outcomes == [(0, False, ERROR_OPERATION_ABORTED)]
    assert rig.names.cancelled == (where == "resolving")
    assert code_of(sock.Connect, server.address) == winsock(WSAENOTSOCK)


@pytest.mark.parametrize("first", ["operations", "close"])
def test_another_thread_while_the_socket_connects(
    rig: Rig, maker: Any, recorder: Any, server: Server, first: str
) -> None:
    """B5.10, B3.31: what another thread posted before the socket was connected and what arrives after it: not lost."""
    sock = maker.CreateNetworkSocket(6)
    completions = recorder()
    sock.Connect(server.address)

    def post() -> None:
        sock.Send(FWXIOBuffer(b"from afar"), completions, 1)
        sock.Recv(None, completions, 2)
        if first == "close":
            sock.Close(False)

    # The thread's calls wait in the run queue; connecting ends before it is drained.
    rig.queue._scheduled = True
    other = threading.Thread(target=post)
    other.start()
    other.join()
    dialled, sock._dial = sock._dial, None
    (transport,) = dialled.__self__._attempts
    rig.until(lambda: server.sock and _connected(transport))
    dialled.__self__._event(transport, server.address, 0x004)
    rig.queue._scheduled = False
    rig.queue.post(int)
    peer = server.accept()
    peer.expect(b"from afar")
    rig.until(lambda: completions.calls)
    assert completions.calls[0].success
    if first == "close":
        peer.expect_end()
        rig.until(lambda: len(completions.calls) == 2)
        assert completions.outcomes[1] == (2, False, ERROR_OPERATION_ABORTED)


@pytest.mark.parametrize("abortive", [False, True], ids=["graceful", "abortive"])
def test_everything_from_another_thread(rig: Rig, maker: Any, recorder: Any, server: Server, abortive: bool) -> None:
    """B5.10, B3.26: a socket that is closed before its calls have reached the loop thread keeps their order."""
    completions = recorder()
    sock = maker.CreateNetworkSocket(6)

    def use() -> None:
        sock.Bind(ANY4, None, None)
        sock.Connect(server.address)
        sock.Send(FWXIOBuffer(b"from afar"), completions, 1)
        sock.Close(abortive)

    other = threading.Thread(target=use)
    other.start()
    other.join()
    rig.until(lambda: completions.calls)
    if abortive:
        assert completions.outcomes == [(1, False, ERROR_OPERATION_ABORTED)]
    else:
        assert completions.calls[0].success
        peer = server.accept()
        peer.expect(b"from afar")
        peer.expect_end()
        peer.close()
    rig.settle()
    assert not len(rig.poller)
    assert not len(rig.packet_filter)


def test_a_name_that_nobody_answers(rig: Rig, maker: Any, recorder: Any) -> None:
    """B4.14: connecting has one deadline for the look-up too."""
    sock, completions = maker.CreateNetworkSocket(6), recorder()
    sock.Connect(SocketAddress("slow.example", 80))
    sock.Recv(None, completions, 0)
    rig.clock.advance(20.0)
    rig.settle()
    assert completions.outcomes == [(0, False, WSAETIMEDOUT)]
    assert rig.names.cancelled == 1


def test_closed_behind_a_send_to_a_name_that_is_not_there(rig: Rig, maker: Any, recorder: Any) -> None:
    """B3.26: what is queued still goes out, or fails; then the bound port is given back."""
    sock, completions = maker.CreateNetworkSocket(6), recorder()
    sock.Bind(ANY4, None, None)
    address = sock.GetSockName()
    sock.Connect(SocketAddress("slow.example", 80))
    sock.Send(FWXIOBuffer(b"x"), completions, 0)
    sock.Close(False)
    rig.names.asked.pop()([], WSAHOST_NOT_FOUND)
    rig.settle()
    assert completions.outcomes == [(0, False, WSAHOST_NOT_FOUND)]
    with socket.socket() as again:
        again.bind(address.sockaddr)


def _connected(transport: Any) -> bool:
    try:
        transport.getpeername()
    except OSError:
        return False
    return True


def test_connecting_twice(rig: Rig, maker: Any, server: Server) -> None:
    sock = maker.CreateNetworkSocket(6)
    sock.Connect(server.address)
    assert code_of(sock.Connect, server.address) == winsock(WSAEISCONN)
    server.accept()
    rig.settle()
    assert code_of(sock.Connect, server.address) == winsock(WSAEISCONN)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((None,), E_POINTER),
        (("127.0.0.1:80",), E_INVALIDARG),
        ((SocketAddress("127.0.0.1", 80), 17), E_INVALIDARG),
    ],
)
def test_addresses_that_are_none(maker: Any, arguments: Any, code: int) -> None:
    """DESIGN 3: a length longer than the address, and what is no address."""
    assert code_of(maker.CreateNetworkSocket(6).Connect, *arguments) == code
    assert code_of(maker.CreateNetworkSocket(6).Bind, *(*arguments, None)[:2], None) == code


@pytest.mark.parametrize("call", ["Send", "Recv", "Shutdown", "GetPeerName"])
def test_not_connected(rig: Rig, maker: Any, recorder: Any, server: Server, call: str) -> None:
    """WSAENOTCONN before Connect; a refused Shutdown leaves no trace."""
    sock = maker.CreateNetworkSocket(6)
    calls: dict[str, tuple[Any, ...]] = {
        "Send": (FWXIOBuffer(b"x"), None, 0),
        "Recv": (None, recorder(), 0),
        "Shutdown": (False,),
        "GetPeerName": (),
    }
    assert code_of(getattr(sock, call), *calls[call]) == winsock(WSAENOTCONN)
    sock.Connect(server.address)
    sock.Send(FWXIOBuffer(b"x"), None, 0)
    server.accept().expect(b"x")


def test_a_reset_and_the_record(rig: Rig, maker: Any, recorder: Any, server: Server) -> None:
    """B3.30, B9.16: the pending Recv fails; one record with the error and the counts."""
    sock = maker.CreateNetworkSocket(6)
    completions = recorder()
    sock.Connect(server.address)
    sock.Send(FWXIOBuffer(b"abc"), None, 0)
    sock.Recv(None, completions, 0)
    peer = server.accept()
    peer.expect(b"abc")
    peer.reset()
    rig.until(lambda: completions.calls)
    assert completions.outcomes == [(0, False, WSAECONNRESET)]
    (record,) = rig.records
    assert (record.action, record.resultcode) == (Action.Terminate, winsock(WSAECONNRESET))
    assert (record.bytes_sent, record.bytes_received) == (3, 0)


@pytest.mark.parametrize("order", ["we end first", "the server ends first"])
def test_both_directions_end_and_one_record(rig: Rig, maker: Any, recorder: Any, server: Server, order: str) -> None:
    """B3.24, B3.25, B9.11: the socket is closed when both directions have ended, and logged once."""
    sock = maker.CreateNetworkSocket(6)
    completions = recorder()
    sock.Connect(server.address)
    sock.Recv(None, completions, 0)
    peer = server.accept()
    rig.settle()
    if order == "we end first":
        sock.Shutdown(False)
        peer.expect_end()
        peer.shutdown()
        rig.until(lambda: completions.calls)
    else:
        peer.shutdown()
        rig.until(lambda: completions.calls)
        sock.Shutdown(False)
        peer.expect_end()
    assert completions.calls[0].data == b""
    sock.Close(False)
    rig.settle()
    assert [record.action for record in rig.records] == [Action.Terminate]


def test_a_completion_that_fails_resets_the_socket(rig: Rig, maker: Any, recorder: Any, server: Server) -> None:
    """B5.9: the fault is reported; other sockets go on."""
    other, bad = maker.CreateNetworkSocket(6), maker.CreateNetworkSocket(6)
    other.Connect(server.address)
    other_peer = server.accept()
    bad.Connect(server.address)
    bad.Send(FWXIOBuffer(b"x"), recorder(lambda done: 1 / 0), 0)
    server.accept().expect_reset()
    assert len(rig.alerts) == 1
    other.Send(FWXIOBuffer(b"y"), None, 0)
    other_peer.expect(b"y")


# ---- whose socket it is ----------------------------------------------------------------------------------------------

NO_WEB = Rule("no web", "deny", ("any",), ("any", "localhost"), ("localhost",))


def test_the_policy_binds_a_sessions_socket_only(rig: Rig, server: Server) -> None:
    """B4.6, B4.7: the firewall's socket belongs to nobody and is always allowed."""
    rig.engine.policy = rig.policy(NO_WEB)
    sock = rig.session().CreateNetworkSocket(6)
    assert code_of(sock.Connect, server.address) == FWX_E_POLICY_RULES_DENIED
    (record,) = rig.records
    assert (record.action, record.rule, record.session_id) == (Action.Denied, "no web", rig.session().id)
    assert record.resultcode == FWX_E_POLICY_RULES_DENIED
    rig.firewall.CreateNetworkSocket(6).Connect(server.address)
    server.accept()


def test_a_name_is_judged_by_its_addresses(rig: Rig, recorder: Any, server: Server) -> None:
    """DESIGN 6: what a name resolved to is judged too; one record, the denial."""
    rig.engine.policy = rig.policy(NO_WEB)
    sock = rig.session().CreateNetworkSocket(6)
    completions = recorder()
    sock.Connect(SocketAddress("rebind.example", server.address.port))
    sock.Recv(None, completions, 0)
    rig.names.asked.pop()([server.address], 0)
    rig.until(lambda: completions.calls)
    assert completions.outcomes == [(0, False, WSAEACCES)]
    (record,) = rig.records
    assert (record.action, record.destination_name) == (Action.Denied, "rebind.example")


def test_the_services_own_listeners_are_no_target(rig: Rig, server: Server) -> None:
    """DESIGN 6."""
    rig.own_listeners.add(server.address)
    sock = rig.session().CreateNetworkSocket(6)
    assert code_of(sock.Connect, server.address) == FWX_E_POLICY_RULES_DENIED
    assert "is a listener of this service" in rig.records[0].reason


@pytest.mark.parametrize("whose", ["firewall", "session"])
def test_the_record_names_its_owner(rig: Rig, server: Server, whose: str) -> None:
    """B4.7: logged as the session's, with its client; the firewall's own with no session."""
    session = rig.session("127.0.0.9")
    sock = (session if whose == "session" else rig.firewall).CreateNetworkSocket(6)
    sock.Connect(server.address)
    server.accept()
    rig.settle()
    local = sock.GetSockName()
    sock.Close(False)
    rig.settle()
    (record,) = rig.records
    assert record.session_id == (session.id if whose == "session" else 0)
    assert record.source_ip == ("127.0.0.9" if whose == "session" else "127.0.0.1")
    assert record.source_port == local.port
    assert (record.destination_ip, record.destination_port) == (server.address.host, server.address.port)
    assert record.rule == ("everything" if whose == "session" else "")


def test_a_rule_without_log_logs_no_socket(rig: Rig, server: Server) -> None:
    quiet = Rule("quiet", "allow", ("any",), ("any", "localhost"), ("any", "localhost"), log=False)
    rig.engine.policy = rig.policy(quiet)
    sock = rig.session().CreateNetworkSocket(6)
    sock.Connect(server.address)
    server.accept()
    sock.Close(False)
    rig.settle()
    assert rig.records == []


@pytest.mark.parametrize("state", ["connected", "connecting", "listening", "bound", "new"])
@pytest.mark.parametrize("whose", ["firewall", "session"])
def test_sockets_end_with_their_owner(
    rig: Rig, recorder: Any, accept_recorder: Any, server: Server, whose: str, state: str
) -> None:
    """B4.7, B3.28: what a filter forgot to close; the fixture counts the descriptors."""
    session = rig.session()
    sock = (session if whose == "session" else rig.firewall).CreateNetworkSocket(6)
    completions, accepts = recorder(), accept_recorder()
    if state in ("connected", "connecting"):
        sock.Connect(server.address)
        sock.Recv(None, completions, 0)
    if state == "connected":
        server.accept()
        rig.settle()
    if state in ("bound", "listening"):
        sock.Bind(ANY4, None, None)
    if state == "listening":
        sock.Listen(1)
        sock.Accept(accepts, 0)
    if whose == "session":
        session.terminate()
        assert code_of(session.CreateNetworkSocket, 6) == FWX_E_TERMINATING
    else:
        rig.firewall.close_sockets()
    rig.settle()
    assert len(completions.calls) == (state in ("connected", "connecting"))
    assert len(accepts.calls) == (state == "listening")
    assert code_of(sock.Connect, server.address) == winsock(WSAENOTSOCK)


def test_the_last_release_closes(rig: Rig, maker: Any, server: Server) -> None:
    """B3.28."""
    sock = maker.CreateNetworkSocket(6)
    sock.Connect(server.address)
    peer = server.accept()
    rig.settle()
    assert sock.Release() == 0
    peer.expect_end()
