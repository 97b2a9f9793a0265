"""RetroactiveAllowBind: what a Firewall client has bound is open to others after the event (B6.18 to B6.21)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.datagramconnection import MOST_STRANGERS, FWXDatagramConnection
from fwx.impl.policy import Rule
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    FWX_FLAG_BIDIRECTIONAL,
    FWX_INCREASE_RECEIVE_BUFFER,
    FWX_PROTOCOL_TCP,
    FWX_PROTOCOL_UDP,
    GUID_NULL,
    SocketAddress,
    fwx_AcceptedConnection,
    fwx_Udp_Destination,
    fwxAssociatedProtocolsAllConnections,
    fwxSourceNAT,
    fwxSourceWSP,
)
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_POINTER,
    ERROR_NOT_FOUND,
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_FALSE,
    S_OK,
    COMError,
)
from fwx.interfaces.protocols import by_title
from tests.impl.inward import Handed, Inward
from tests.impl.test_datagramconnection import Client, Server

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

FTP = by_title()["FTP"].guid
NOT_FOUND = HRESULT_FROM_WIN32(ERROR_NOT_FOUND)
MASK = fwx_AcceptedConnection | fwx_Udp_Destination | FWX_ALL_SOURCES | fwxAssociatedProtocolsAllConnections
CLIENT = SocketAddress("127.0.0.1", 40000)
FTP_ONLY = Rule("ftp", "allow", ("FTP",), ("localhost",), ("any", "localhost"))


def code_of(call: Any, *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


@pytest.fixture
def inward(rig: Rig) -> Iterator[Inward]:
    """A client that waits at a port, and after that a policy that lets nobody come."""
    transport, client = rig.pair()
    inward = Inward(rig, Handed(transport))
    inward.client = client  # type: ignore[attr-defined]
    inward.listen()
    rig.engine.policy = rig.policy(FTP_ONLY)
    yield inward
    transport.close(True)


@pytest.mark.parametrize("any_address", [False, True])
def test_a_listening_client(rig: Rig, inward: Inward, any_address: bool) -> None:
    """B6.18, B6.19, B2.11: who was turned away may come, as a secondary connection of the protocol; S_FALSE again."""
    seen: list[Any] = []
    rig.host("watching", handle=seen.append, mask=MASK)
    inward.come().expect_reset()
    assert rig.records[-1].resultcode == FWX_E_POLICY_RULES_DENIED
    bound = inward.connection.bound
    assert bound is not None
    allow = rig.session().RetroactiveAllowBind
    named = SocketAddress("0.0.0.0", bound.port) if any_address else bound
    assert allow(FWX_PROTOCOL_TCP, named, 16, FTP, 0, None) == S_OK
    assert allow(FWX_PROTOCOL_TCP, named, None, FTP, 0, None) == S_FALSE
    inward.come().send(b"data")
    inward.client.expect(b"data")  # type: ignore[attr-defined]
    (event,) = seen
    assert (event.Parameters.Accept.IsSecondary, event.Parameters.Accept.ProtocolGuid) == (True, FTP)


def test_the_ip_filter(rig: Rig, inward: Inward) -> None:
    """B6.18, B6.34: it restricts every connection that results."""
    ip_filter = rig.firewall.CreateIpFilter()
    ip_filter.IncludeRange(IPv4Address("127.0.0.3"), IPv4Address("127.0.0.3"))
    bound = inward.connection.bound
    assert rig.session().RetroactiveAllowBind(FWX_PROTOCOL_TCP, bound, None, FTP, 0, ip_filter) == S_OK
    inward.come().expect_reset()
    assert rig.records[-1].resultcode == FWX_E_ADDRESS_NOT_ALLOWED
    inward.come("127.0.0.3").send(b"data")
    inward.client.expect(b"data")  # type: ignore[attr-defined]


def test_no_such_bind(rig: Rig, inward: Inward) -> None:
    """B6.19, B6.20: then the filter calls BindForClient; what that binds is no bind of the client's."""
    bound = inward.connection.bound
    assert bound is not None
    session = rig.session()
    other = bound.with_port(bound.port - 1 or 2)
    assert code_of(session.RetroactiveAllowBind, FWX_PROTOCOL_TCP, other, None, FTP, 0, None) == NOT_FOUND
    assert code_of(session.RetroactiveAllowBind, FWX_PROTOCOL_UDP, bound, None, FTP, 0, None) == NOT_FOUND
    secure = rig.session(source=fwxSourceNAT)
    assert code_of(secure.RetroactiveAllowBind, FWX_PROTOCOL_TCP, bound, None, FTP, 0, None) == NOT_FOUND
    rig.engine.policy = rig.policy(Rule("all", "allow", ("any",), ("localhost",), ("any", "localhost")))
    unknown, local = SocketAddress("0.0.0.0", 0), SocketAddress("127.0.0.1", 0)
    made, _ = session.BindForClient([unknown], None, local, None, 6, None, 0, 5, FTP, None, None, None)
    assert code_of(session.RetroactiveAllowBind, FWX_PROTOCOL_TCP, made, None, FTP, 0, None) == NOT_FOUND


def test_what_cannot_be_allowed(rig: Rig, inward: Inward) -> None:
    """B6.19: the rules deny the protocol; the bind is being torn down; the session has ended."""
    bound, session = inward.connection.bound, rig.session()
    dns = by_title()["DNS"].guid
    assert code_of(session.RetroactiveAllowBind, 6, bound, None, dns, 0, None) == FWX_E_POLICY_RULES_DENIED
    inward.connection.end()
    assert code_of(session.RetroactiveAllowBind, 6, bound, None, FTP, 0, None) == FWX_E_TERMINATING
    rig.until(lambda: inward.ended)
    session.terminate()
    assert code_of(session.RetroactiveAllowBind, 6, bound, None, FTP, 0, None) == FWX_E_TERMINATING


ADDRESS = SocketAddress("127.0.0.1", 1)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((1, ADDRESS, None, FTP, 0, None), E_INVALIDARG),
        ((6, None, None, FTP, 0, None), E_POINTER),
        ((6, ADDRESS.with_port(0), None, FTP, 0, None), E_INVALIDARG),
        ((6, SocketAddress("a.name", 1), None, FTP, 0, None), E_INVALIDARG),
        ((6, ADDRESS, 17, FTP, 0, None), E_INVALIDARG),
        ((6, ADDRESS, None, None, 0, None), E_POINTER),
        ((6, ADDRESS, None, GUID_NULL, 0, None), E_INVALIDARG),
        ((6, ADDRESS, None, FTP, FWX_FLAG_BIDIRECTIONAL, None), E_INVALIDARG),
        ((17, ADDRESS, None, FTP, 1, None), E_INVALIDARG),
        ((6, ADDRESS, None, FTP, 0, object()), E_INVALIDARG),
    ],
)
def test_bad_arguments(rig: Rig, arguments: tuple[Any, ...], code: int) -> None:
    """B6.18: the port is not zero."""
    assert code_of(rig.session().RetroactiveAllowBind, *arguments) == code


class Datagrams:
    """A client's UDP socket that has written to one server."""

    def __init__(self, rig: Rig, source: Any = fwxSourceWSP) -> None:
        self.rig = rig
        self.client = Client()
        hosts = lambda verdict: rig.engine.filters  # noqa: E731
        self.connection = FWXDatagramConnection(rig.session(source=source), CLIENT, self.client, hosts)  # type: ignore[arg-type]
        self.connection.start()
        self.server, self.stranger = Server(), Server()
        self.client.say(b"hello", self.server.address)
        rig.settle()
        rig.engine.policy = rig.policy(FTP_ONLY)
        self.local = SocketAddress("127.0.0.1", self.connection.GetExternalSocketName().port)

    def write(self, data: bytes, server: Server | None = None) -> bool:
        """A stranger writes; tell whether the client gets it."""
        before = len(self.client.got)
        (server or self.stranger).sock.sendto(data, self.local.sockaddr)
        self.rig.settle()
        return self.client.got[before:] == [(data, (server or self.stranger).address)]

    def allow(self, flags: int = 0, ip_filter: Any = None) -> Any:
        return self.rig.session().RetroactiveAllowBind(FWX_PROTOCOL_UDP, self.local, None, FTP, flags, ip_filter)

    def close(self) -> None:
        self.server.sock.close()
        self.stranger.sock.close()


@pytest.fixture
def datagrams(rig: Rig) -> Iterator[Datagrams]:
    datagrams = Datagrams(rig)
    yield datagrams
    datagrams.close()


def test_a_securenat_client_has_bound_nothing(rig: Rig) -> None:
    """B6.18, B6.20, B10.4: it has a socket here for what it sends, and no bind that could be allowed."""
    made = Datagrams(rig, fwxSourceNAT)
    allow = rig.session(source=fwxSourceNAT).RetroactiveAllowBind
    assert code_of(allow, FWX_PROTOCOL_UDP, made.local, None, FTP, 0, None) == NOT_FOUND
    assert not made.write(b"in")
    made.connection.end()
    rig.settle()
    made.close()


@pytest.mark.parametrize("flags", [0, FWX_FLAG_BIDIRECTIONAL])
def test_a_udp_socket(rig: Rig, datagrams: Datagrams, flags: int) -> None:
    """B6.18, B6.21, B2.15: strangers are heard; they are answered with the flag, or where a rule lets the client."""
    seen: list[Any] = []
    rig.host("watching", handle=seen.append, mask=MASK)
    assert not datagrams.write(b"before")
    assert datagrams.allow(flags) == S_OK
    assert datagrams.allow(flags) == S_FALSE
    assert datagrams.write(b"after")
    assert datagrams.write(b"again")
    (event,) = seen
    assert event.Parameters.UdpDest.Address == datagrams.stranger.address
    assert event.Parameters.UdpDest.IsSecondary
    assert any(each.remote is None and each.local.port == datagrams.local.port for each in rig.packet_filter)
    datagrams.client.say(b"answer", datagrams.stranger.address)
    rig.settle()
    datagrams.stranger.sock.settimeout(0 if not flags else 5)
    if flags:
        assert datagrams.stranger.sock.recv(100) == b"answer"
    else:
        with pytest.raises(BlockingIOError):
            datagrams.stranger.sock.recv(100)
    datagrams.connection.end()
    rig.settle()
    assert not list(rig.packet_filter)
    logged = [record for record in rig.records if record.destination_port == datagrams.stranger.address.port]
    assert (logged[0].rule, logged[0].application_protocol) == ("everything", "FTP")
    assert logged[0].bytes_received == len(b"after" + b"again")


def test_the_ip_filter_of_a_udp_socket(rig: Rig, datagrams: Datagrams) -> None:
    """B6.18: nobody else is heard."""
    datagrams.allow(0, rig.firewall.CreateIpFilter())
    assert not datagrams.write(b"hello")


def test_a_stranger_that_a_filter_refuses(rig: Rig, datagrams: Datagrams) -> None:
    """B2.16, B2.19: it is shown once, and what it writes is thrown away."""
    seen: list[Any] = []

    def handle(event: Any) -> None:
        seen.append(event)
        event.Parameters.UdpDest.piUdpDestination.Deny(0)

    rig.host("refusing", handle=handle, mask=MASK)
    datagrams.allow()
    assert [datagrams.write(b"x") for _ in range(3)] == [False] * 3
    assert len(seen) == 1


def test_no_stranger_is_heard_while_the_log_fails(rig: Rig, datagrams: Datagrams) -> None:
    """B9.18: it may write again when the log works."""
    datagrams.allow()
    rig.engine.accepting = lambda: False
    assert not datagrams.write(b"x")
    rig.engine.accepting = lambda: True
    assert datagrams.write(b"x")


def test_many_strangers(rig: Rig, datagrams: Datagrams) -> None:
    """Whoever forges addresses fills neither memory nor log."""
    datagrams.allow()
    servers = [Server() for _ in range(MOST_STRANGERS + 1)]
    heard = [datagrams.write(b"x", server) for server in servers]
    assert heard == [True] * MOST_STRANGERS + [False]
    for server in servers:
        server.sock.close()


def test_the_receive_buffer(rig: Rig, datagrams: Datagrams) -> None:
    """B6.21: it can keep 64 KiB."""
    (server,) = datagrams.connection._servers
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    datagrams.allow(FWX_INCREASE_RECEIVE_BUFFER)
    kept = int.from_bytes(server.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4), "little")
    assert kept >= 64 << 10


@pytest.mark.parametrize("multiple", [False, True])
def test_a_destination_that_was_announced(rig: Rig, datagrams: Datagrams, multiple: bool) -> None:
    """B6.5, B6.6, B2.11, B2.31 over UDP: AllowFutureConnect lets the client write where no rule allows it."""
    told: list[Any] = []
    host = rig.host("announcer", handle=told.append, mask=MASK)
    session, target = rig.session(), datagrams.stranger.address
    session.AttachFilter(host.clsid)
    named = session.session_filter(host, fwx_Udp_Destination)
    datagrams.stranger.sock.settimeout(5)
    datagrams.client.say(b"before", datagrams.server.address.with_port(1))
    action = session.AllowFutureConnect(
        SocketAddress("203.0.113.9", 9), None, None, None, 17, int(multiple), FTP, named, None, None
    )
    assert session.announces(SocketAddress("203.0.113.9", 9), "UDP")
    action.Cancel()
    assert not session.announces(SocketAddress("203.0.113.9", 9), "UDP")
    primary = rig.connection()
    session.AllowFutureConnect(target, None, None, None, 17, int(multiple), FTP, named, None, primary_to(rig, primary))
    told.clear()
    datagrams.client.say(b"announced", target)
    assert datagrams.stranger.sock.recv(100) == b"announced"
    rig.settle()
    assert told[0].Parameters.UdpDest.IsSecondary
    established = told[1].Parameters.EstablishedConnection
    assert (established.Protocol, established.Address) == (FWX_PROTOCOL_UDP, target)
    assert established.piConnection is datagrams.connection
    assert session.announces(target, "UDP") is multiple
    primary.end()


def primary_to(rig: Rig, connection: Any) -> Any:
    """A connection that leads to the firewall's own address, so that an announcement may."""
    connection.address = SocketAddress("127.0.0.1", 21)
    return connection
