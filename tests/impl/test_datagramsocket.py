"""UDP sockets on the kernel: what the battery for any implementation does not ask (behaviour topics 3 and 4)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl import datagramflows
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.logrecord import Action
from fwx.impl.policy import Rule
from fwx.impl.user import FWXAuthenticatedUser
from fwx.interfaces import FWX_PROTOCOL_UDP, COMError, SocketAddress
from fwx.interfaces.hresult import (
    E_NOTIMPL,
    ERROR_OPERATION_ABORTED,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    WSAEACCES,
    WSAEAFNOSUPPORT,
    WSAECONNRESET,
    WSAEFAULT,
    WSAEINVAL,
    WSAEMSGSIZE,
    WSAENOTCONN,
    WSAETIMEDOUT,
    WSAHOST_NOT_FOUND,
)
from fwx.testing import PlainBuffer, Recorder
from tests.name_server import ADDRESS, dig, name_server

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

ANY4, ANY6 = SocketAddress("127.0.0.1", 0), SocketAddress("::1", 0)
SOL_SOCKET, SO_RCVBUF, SO_BROADCAST = 0xFFFF, 0x1002, 0x0020


def code_of(call: Callable[..., object], *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


def const(data: bytes) -> FWXIOBuffer:
    return FWXIOBuffer.constant(data)


def bound(maker: Any, address: SocketAddress = ANY4) -> Any:
    sock = maker.CreateNetworkSocket(FWX_PROTOCOL_UDP)
    sock.Bind(address, None, None)
    return sock


def received(rig: Rig, sock: Any) -> Any:
    recorder = Recorder()
    sock.Recv(None, recorder, 0)
    rig.until(lambda: recorder.calls)
    return recorder.calls[0]


@pytest.fixture(params=["firewall", "session"])
def maker(request: pytest.FixtureRequest, rig: Rig) -> Any:
    return rig.firewall if request.param == "firewall" else rig.session()


@pytest.fixture
def outside() -> Iterator[socket.socket]:
    """A plain UDP socket outside the engine."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        yield sock


def name_of(sock: socket.socket) -> SocketAddress:
    return SocketAddress.from_sockaddr(sock.getsockname())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_there_and_back(rig: Rig, maker: Any, host: str) -> None:
    """B3.21, B3.23: on IPv4 and IPv6, without Bind, with a buffer of the filter's own."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = maker.CreateNetworkSocket(FWX_PROTOCOL_UDP)
    with socket.socket(family, socket.SOCK_DGRAM) as outside:
        outside.bind((host, 0))
        outside.settimeout(5)
        sock.SendTo(PlainBuffer(8, b"question"), name_of(outside), None, None, 0)
        data, asker = outside.recvfrom(100)
        assert data == b"question"
        assert asker[1] == sock.GetSockName().port
        outside.sendto(b"answer", asker)
        done = received(rig, sock)
    assert (done.data, done.address, done.address_length) == (b"answer", name_of_peer(host, done), done.address.length)


def name_of_peer(host: str, done: Any) -> SocketAddress:
    return SocketAddress(host, done.address.port)


def test_the_source_can_be_forged(rig: Rig, outside: socket.socket) -> None:
    """B3.22: the address that comes with a datagram is what the datagram says, and no proof of anything."""
    sock = bound(rig.firewall)
    with socket.socket(type=socket.SOCK_DGRAM) as forger:
        port = outside.getsockname()[1]
        outside.close()
        forger.bind(("127.0.0.1", port))
        forger.sendto(b"as if", sock.GetSockName().sockaddr)
        assert received(rig, sock).address == SocketAddress("127.0.0.1", port)


def test_families_do_not_mix(rig: Rig, maker: Any) -> None:
    sock = bound(maker)
    assert code_of(sock.SendTo, const(b"x"), SocketAddress("::1", 9), None, None, 0) == HRESULT_FROM_WIN32(
        WSAEAFNOSUPPORT
    )
    for address, other in ((ANY4, "::1"), (SocketAddress("::1", 0), "127.0.0.1")):
        sock = bound(maker, address)
        assert code_of(sock.Connect, SocketAddress(other, 9)) == HRESULT_FROM_WIN32(WSAEAFNOSUPPORT)
        assert code_of(sock.GetPeerName) == HRESULT_FROM_WIN32(WSAENOTCONN)
    wide = bound(maker, SocketAddress("::", 0))
    narrow = bound(maker, SocketAddress("0.0.0.0", wide.GetSockName().port))
    assert narrow.GetSockName().port == wide.GetSockName().port, "a socket for IPv6 leaves IPv4's port alone"


def test_an_error_of_the_network_is_told_once_and_spoils_no_send(rig: Rig, outside: socket.socket) -> None:
    """ICMP: the Recv that comes next fails, with the address that nobody has; what is sent meanwhile leaves."""
    sock, recorder = bound(rig.firewall), Recorder()
    with socket.socket(type=socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        nobody = name_of(gone)
    sock.SendTo(const(b"lost"), nobody, None, recorder, "lost")
    for number in range(3):
        sock.SendTo(const(b"%d" % number), name_of(outside), None, recorder, number)
    rig.settle()
    assert [outside.recv(10) for _ in range(3)] == [b"0", b"1", b"2"]
    assert [done.success for done in recorder.calls] == [True] * 4
    failed = received(rig, sock)
    assert (failed.success, failed.code, failed.address) == (False, WSAECONNRESET, nobody)
    outside.sendto(b"fine", sock.GetSockName().sockaddr)
    assert received(rig, sock).data == b"fine"


def test_a_burst_waits_in_the_kernel(rig: Rig, outside: socket.socket) -> None:
    """B6.21: 64 KiB of datagrams that come before the filter asks are all there after ``increase_receive_buffer``."""
    sock = rig.firewall.CreateNetworkSocket(FWX_PROTOCOL_UDP)
    assert code_of(sock.increase_receive_buffer) == HRESULT_FROM_WIN32(WSAEINVAL)
    sock.SetSockOpt(SOL_SOCKET, SO_RCVBUF, (4096).to_bytes(4, "little"))
    sock.Bind(ANY4, None, None)
    sock.increase_receive_buffer()
    before = sock.GetSockOpt(SOL_SOCKET, SO_RCVBUF)
    sock.increase_receive_buffer()
    assert sock.GetSockOpt(SOL_SOCKET, SO_RCVBUF) == before
    for number in range(64):
        outside.sendto(number.to_bytes(2, "big") + bytes(1022), sock.GetSockName().sockaddr)
    found = [received(rig, sock).data[:2] for _ in range(64)]
    assert found == [number.to_bytes(2, "big") for number in range(64)]


def test_a_flood_of_strangers_leaves_the_others_their_turn(rig: Rig, outside: socket.socket) -> None:
    """What is dropped is dropped in turns; the answer that the filter waits for comes through."""
    sock, recorder = rig.firewall.CreateNetworkSocket(FWX_PROTOCOL_UDP), Recorder()
    sock.SendTo(const(b"question"), name_of(outside), None, None, 0)
    rig.settle()
    _, asker = outside.recvfrom(100)
    with socket.socket(type=socket.SOCK_DGRAM) as stranger:
        for _ in range(100):
            stranger.sendto(b"forged", asker)
        outside.sendto(b"answer", asker)
        sock.Recv(None, recorder, 0)
        rig.until(lambda: recorder.calls)
    assert recorder.calls[0].data == b"answer"


def test_a_connected_name_within_the_family(rig: Rig, maker: Any, outside: socket.socket) -> None:
    """A bound socket takes the name's address of its family; where there is none, what was posted fails."""
    port = outside.getsockname()[1]
    rig.names.table |= {"both.example": ["::1", "127.0.0.1"], "six.example": ["::1"]}
    sock = bound(maker)
    sock.Connect(SocketAddress("both.example", port))
    assert sock.GetPeerName() == name_of(outside)
    sock, recorder = bound(maker), Recorder()
    sock.Connect(SocketAddress("slow.example", port))
    sock.Send(const(b"x"), recorder, 0)
    rig.names.asked.pop()([SocketAddress("::1", port)], 0)
    rig.settle()
    assert [done.code for done in recorder.calls] == [WSAEAFNOSUPPORT]
    sock.Connect(name_of(outside))
    assert sock.GetPeerName() == name_of(outside)


def test_a_connected_name_before_a_deadline(rig: Rig, maker: Any, outside: socket.socket) -> None:
    sock, recorder = maker.CreateNetworkSocket(FWX_PROTOCOL_UDP), Recorder()
    sock.Connect(SocketAddress("slow.example", 9))
    sock.Send(const(b"x"), recorder, 0)
    rig.clock.advance(20.0)
    rig.settle()
    assert [done.code for done in recorder.calls] == [WSAETIMEDOUT]
    assert rig.names.cancelled == 1


def test_closed_behind_a_send_to_a_name_that_is_not_there(rig: Rig, maker: Any) -> None:
    """B3.26: what is queued still goes out, or fails; then the descriptor and the port are given back."""
    watched = len(rig.poller)
    sock, recorder = bound(maker), Recorder()
    sock.Connect(SocketAddress("slow.example", 9))
    sock.Send(const(b"x"), recorder, 0)
    sock.Close(False)
    rig.names.asked.pop()([], WSAHOST_NOT_FOUND)
    rig.settle()
    assert [done.code for done in recorder.calls] == [WSAHOST_NOT_FOUND]
    assert len(rig.poller) == watched
    assert not len(rig.packet_filter)


@pytest.mark.parametrize("abortive", [False, True], ids=["graceful", "abortive"])
def test_everything_from_another_thread(rig: Rig, maker: Any, outside: socket.socket, abortive: bool) -> None:
    """B5.10, B3.26: a socket that is closed before its calls have reached the loop thread keeps their order."""
    rig.names.table["server.example"] = ["127.0.0.1"]
    recorder = Recorder()
    sock = maker.CreateNetworkSocket(FWX_PROTOCOL_UDP)

    def use() -> None:
        sock.Connect(SocketAddress("server.example", outside.getsockname()[1]))
        sock.Send(const(b"from afar"), recorder, 0)
        sock.Close(abortive)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    rig.until(lambda: recorder.calls)
    assert recorder.calls[0].success
    assert outside.recvfrom(100)[0] == b"from afar"
    rig.settle()
    assert not len(rig.poller)
    assert not len(rig.packet_filter)


def test_a_send_of_another_thread_meets_the_close(
    rig: Rig, maker: Any, outside: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    """B3.31: it fails, opens no port any more, and nobody complains."""
    sock, recorder = maker.CreateNetworkSocket(FWX_PROTOCOL_UDP), Recorder()
    sock.SendTo(const(b"first"), SocketAddress("127.0.0.1", 9), None, None, 0)
    rig.settle()
    thread = threading.Thread(target=sock.SendTo, args=(const(b"late"), name_of(outside), None, recorder, 0))
    thread.start()
    thread.join()
    sock._endpoint.close(True)
    rig.until(lambda: recorder.calls)
    assert [done.code for done in recorder.calls] == [ERROR_OPERATION_ABORTED]
    assert not len(rig.packet_filter)
    assert not caplog.records


def test_a_connected_name(rig: Rig, maker: Any, outside: socket.socket) -> None:
    """Connect looks the name up; what is posted meanwhile waits; a name that is not there fails it."""
    sock, recorder = maker.CreateNetworkSocket(FWX_PROTOCOL_UDP), Recorder()
    port = outside.getsockname()[1]
    sock.Connect(SocketAddress("server.example", port))
    sock.Send(const(b"early"), recorder, 0)
    sock.Recv(None, recorder, 1)
    rig.settle()
    assert not recorder.calls
    rig.names.asked.pop()([SocketAddress("127.0.0.1", port)], 0)
    rig.settle()
    data, asker = outside.recvfrom(100)
    outside.sendto(data.upper(), asker)
    rig.until(lambda: len(recorder.calls) == 2)
    assert [done.data for done in recorder.calls] == [b"early", b"EARLY"]
    assert sock.GetPeerName() == name_of(outside)
    missing, recorder = maker.CreateNetworkSocket(FWX_PROTOCOL_UDP), Recorder()
    rig.names.table["missing.example"] = WSAHOST_NOT_FOUND
    missing.Connect(SocketAddress("missing.example", port))
    rig.settle()
    assert code_of(missing.Send, const(b"x"), recorder, 0) == HRESULT_FROM_WIN32(WSAENOTCONN)
    closing = maker.CreateNetworkSocket(FWX_PROTOCOL_UDP)
    closing.Connect(SocketAddress("slow.example", port))
    closing.Recv(None, recorder, 2)
    closing.Close(False)
    rig.settle()
    assert [done.code for done in recorder.calls] == [ERROR_OPERATION_ABORTED]
    assert rig.names.cancelled == 1


def test_a_sessions_socket_obeys_its_policy(rig: Rig, outside: socket.socket) -> None:
    """B4.7, B9.16: judged as UDP, logged as the session's user's; a denial is a record."""
    rig.engine.policy = rig.policy(
        Rule("dns", "allow", ("DNS",), ("any", "localhost"), ("any", "localhost")),
    )
    session = rig.session()
    session.user = FWXAuthenticatedUser(r"EXAMPLE\ann")
    sock = session.CreateNetworkSocket(FWX_PROTOCOL_UDP)
    assert code_of(sock.SendTo, const(b"x"), name_of(outside), None, None, 0) == FWX_E_POLICY_RULES_DENIED
    assert code_of(sock.Connect, name_of(outside)) == FWX_E_POLICY_RULES_DENIED
    sock.SendTo(const(b"query"), SocketAddress("127.0.0.1", 53), None, None, 0)
    rig.settle()
    sock.Close(False)
    rig.settle()
    told = [(one.action, one.protocol, one.rule, one.destination_port, one.bytes_sent) for one in rig.records]
    port = outside.getsockname()[1]
    assert told == [
        (Action.Denied, "UDP", "Default rule", port, 0),
        (Action.Denied, "UDP", "Default rule", port, 0),
        (Action.Terminate, "UDP", "dns", 53, 5),
    ]
    assert {(one.username, one.source_ip, one.session_id) for one in rig.records} == {
        (r"EXAMPLE\ann", "127.0.0.1", session.id)
    }


def test_the_firewalls_socket_asks_no_policy(rig: Rig, outside: socket.socket) -> None:
    """B4.6: whatever the rules say; logged as the service's own."""
    rig.engine.policy = rig.policy()
    sock = rig.firewall.CreateNetworkSocket(FWX_PROTOCOL_UDP)
    sock.SendTo(const(b"abc"), name_of(outside), None, None, 0)
    rig.settle()
    outside.sendto(b"defgh", outside.recvfrom(10)[1])
    assert received(rig, sock).data == b"defgh"
    sock.Close(False)
    rig.settle()
    (record,) = rig.records
    assert (record.action, record.username, record.session_id, record.rule) == (Action.Terminate, "", 0, "")
    assert (record.bytes_sent, record.bytes_received, record.interface) == (3, 5, "the firewall's socket")


def test_the_name_that_a_policy_forbids(rig: Rig, outside: socket.socket) -> None:
    """Connect to a name whose address turns out to be forbidden: what is posted fails with WSAEACCES."""
    rig.engine.policy = rig.policy(Rule("outside", "allow", ("any",), ("any", "localhost"), ("outside",)))
    sock, recorder = rig.session().CreateNetworkSocket(FWX_PROTOCOL_UDP), Recorder()
    rig.names.table["server.example"] = ["127.0.0.1"]
    sock.Connect(SocketAddress("server.example", outside.getsockname()[1]))
    rig.settle()
    assert (rig.records[0].action, rig.records[0].destination_name) == (Action.Denied, "server.example")
    waiting = rig.session().CreateNetworkSocket(FWX_PROTOCOL_UDP)
    waiting.Connect(SocketAddress("other.example", outside.getsockname()[1]))
    waiting.Recv(None, recorder, 0)
    rig.names.asked.pop()([SocketAddress("127.0.0.1", outside.getsockname()[1])], 0)
    rig.settle()
    assert recorder.calls[0].code == WSAEACCES


def test_a_session_that_ends(rig: Rig) -> None:
    session = rig.session()
    sock, recorder = bound(session), Recorder()
    sock.Recv(None, recorder, 0)
    session.terminate()
    rig.settle()
    assert recorder.calls[0].code == ERROR_OPERATION_ABORTED
    assert code_of(sock.Recv, None, recorder, 0) in (FWX_E_TERMINATING, HRESULT_FROM_WIN32(10038))
    assert code_of(session.CreateNetworkSocket, FWX_PROTOCOL_UDP) == FWX_E_TERMINATING


def test_addresses_that_a_socket_knows_are_bounded(
    rig: Rig, outside: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that was quiet for longest makes room: its port is closed and its record written."""
    monkeypatch.setattr(datagramflows, "MOST_FLOWS", 2)
    sock = rig.firewall.CreateNetworkSocket(FWX_PROTOCOL_UDP)
    first, second, third = (SocketAddress(f"127.0.0.{number}", 9) for number in (1, 2, 3))
    for target in (first, second, first, third):
        sock.SendTo(const(b"x"), target, None, None, 0)
    rig.settle()
    assert {opening.remote for opening in rig.packet_filter} == {first, third}
    assert [(record.destination_ip, record.source_port) for record in rig.records] == [
        ("127.0.0.2", sock.GetSockName().port)
    ]


def test_options(rig: Rig) -> None:
    """B4.7: a session's socket has none; the firewall's keeps those that come before Bind."""
    sock = rig.firewall.CreateNetworkSocket(FWX_PROTOCOL_UDP)
    sock.SetSockOpt(SOL_SOCKET, SO_BROADCAST, b"\1\0\0\0")
    assert sock.GetSockOpt(SOL_SOCKET, SO_BROADCAST) == b"\1\0\0\0"
    sock.Bind(ANY4, None, None)
    assert sock.GetSockOpt(SOL_SOCKET, SO_BROADCAST) == b"\1\0\0\0"
    assert code_of(bound(rig.session()).GetSockOpt, SOL_SOCKET, SO_BROADCAST) == E_NOTIMPL


def test_a_buffer_that_fails(rig: Rig, outside: socket.socket) -> None:
    """A filter's own buffer that raises fails its own Recv and resets the socket; the fault is reported."""

    class Broken(PlainBuffer):
        def Append(self, pv: Any, cb: int | None = None) -> int:
            raise ValueError("no room, and no COMError either")

    sock, recorder = bound(rig.firewall), Recorder()
    sock.Recv(Broken(10), recorder, 0)
    outside.sendto(b"x", sock.GetSockName().sockaddr)
    rig.until(lambda: recorder.calls)
    assert recorder.calls[0].code == WSAEFAULT
    assert rig.alerts


def test_cut_into_a_filters_own_buffer(rig: Rig, outside: socket.socket) -> None:
    """WSAEMSGSIZE, the address, and what did fit."""
    sock, recorder = bound(rig.firewall), Recorder()
    sock.Recv(PlainBuffer(3), recorder, 0)
    outside.sendto(b"abcdef", sock.GetSockName().sockaddr)
    rig.until(lambda: recorder.calls)
    done = recorder.calls[0]
    assert (done.code, done.data, done.address) == (WSAEMSGSIZE, b"abc", name_of(outside))


# ---- a real client, a real server ------------------------------------------------------------------------------------


class Relay:
    """A filter's UDP relay: each client has a socket of its own towards the server."""

    def __init__(self, firewall: Any, server: SocketAddress) -> None:
        self.inside = bound(firewall)
        self._firewall = firewall
        self._server = server
        self._clients: dict[SocketAddress, Any] = {}
        self.inside.Recv(None, self, None)

    def CompleteAsyncIO(self, success: bool, code: int, buffer: Any, client: Any, address: Any, length: int) -> None:
        if not success:
            return
        if client is not None:
            self.inside.SendTo(buffer, client, None, None, 0)
            self._clients[client].Recv(None, self, client)
            return
        if address not in self._clients:
            outward = self._clients[address] = self._firewall.CreateNetworkSocket(FWX_PROTOCOL_UDP)
            outward.Connect(self._server)
            outward.Recv(None, self, address)
        self._clients[address].Send(buffer, None, 0)
        self.inside.Recv(None, self, None)


@pytest.fixture
def server(program_path: Callable[[str], str]) -> Iterator[SocketAddress]:
    """A real DNS server that knows one name."""
    with name_server(program_path("dnsmasq")) as port:
        yield SocketAddress("127.0.0.1", port)


@pytest.mark.requires("dnsmasq", "dig")
def test_dig_through_a_relay(rig: Rig, server: SocketAddress, program_path: Callable[[str], str]) -> None:
    """B3.21, B3.23, B4.6: the control first, dig straight to the server; then through the filter's sockets."""
    with ThreadPoolExecutor(1) as pool:

        def ask(port: int) -> str:
            asked = pool.submit(dig, program_path("dig"), port)
            rig.until(asked.done)
            return asked.result()

        assert ask(server.port) == ADDRESS
        relay = Relay(rig.firewall, server)
        assert [ask(relay.inside.GetSockName().port) for _ in range(2)] == [ADDRESS] * 2
