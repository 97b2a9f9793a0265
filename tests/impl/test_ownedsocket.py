"""What every network socket of a filter has: protocol, IP filter, options, data that is there, whose it is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.logrecord import Action
from fwx.impl.user import FWXAuthenticatedUser
from fwx.interfaces import (
    GUID_NULL,
    S_FALSE,
    S_OK,
    COMError,
    IFWXNetworkSocket,
    IFWXNetworkSocketInspection,
    SocketAddress,
)
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_NOTIMPL,
    E_POINTER,
    ERROR_OPERATION_ABORTED,
    FWX_E_ADDRESS_NOT_ALLOWED,
    HRESULT_FROM_WIN32,
    WSAEACCES,
    WSAEADDRNOTAVAIL,
    WSAENOTCONN,
    WSAENOTSOCK,
)
from fwx.interfaces.protocols import WELL_KNOWN_PROTOCOLS
from fwx.testing import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.impl.conftest import Rig

ANY4, ANY6 = SocketAddress("127.0.0.1", 0), SocketAddress("::", 0)
TCP, UDP = 6, 17
SOL_SOCKET, IPPROTO_TCP, IPPROTO_IPV6 = 0xFFFF, 6, 41
TCP_NODELAY, TCP_KEEPALIVE, IPV6_V6ONLY, SO_REUSEADDR = 1, 3, 27, 4
SMTP = next(each for each in WELL_KNOWN_PROTOCOLS if each.title == "SMTP")
LOCALHOST = IPv4Address("127.0.0.1")


def code_of(call: Callable[..., object], *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


@pytest.fixture(params=["firewall", "session"])
def maker(request: pytest.FixtureRequest, rig: Rig) -> Any:
    return rig.firewall if request.param == "firewall" else rig.session()


@pytest.fixture(params=[TCP, UDP])
def sock(request: pytest.FixtureRequest, maker: Any) -> Any:
    return maker.CreateNetworkSocket(request.param)


def listening(maker: Any, address: SocketAddress = ANY4) -> Any:
    listener = maker.CreateNetworkSocket(TCP)
    listener.Bind(address, None, None)
    listener.Listen(5)
    return listener


def without(*hosts: IPv4Address, rig: Rig) -> Any:
    ip_filter = rig.firewall.CreateIpFilter()
    ip_filter.IncludeRange(IPv4Address(0), IPv4Address(0xFFFFFFFF))
    for host in hosts:
        ip_filter.ExcludeRange(host, host)
    return ip_filter


# ---- the hidden inspection interface ---------------------------------------------------------------------------------


def test_inspection(sock: Any) -> None:
    """B4.15: had by QueryInterface, which leads back; no inspection is promised that nobody does."""
    inspection = sock.QueryInterface(IFWXNetworkSocketInspection)
    assert inspection.QueryInterface(IFWXNetworkSocket) is sock
    assert code_of(inspection.SetIpsInspectTraffic) == E_NOTIMPL
    assert code_of(inspection.AssociateProtocol, None) == E_POINTER
    assert code_of(inspection.AssociateProtocol, UUID(int=7)) == E_INVALIDARG
    assert code_of(inspection.AssociateProtocol, "SMTP") == E_INVALIDARG
    inspection.AssociateProtocol(SMTP.guid)
    sock.Close(False)
    assert code_of(inspection.AssociateProtocol, SMTP.guid) == HRESULT_FROM_WIN32(WSAENOTSOCK)


@pytest.mark.parametrize(("guid", "name"), [(SMTP.guid, "SMTP"), (GUID_NULL, "")])
def test_the_protocol_in_the_records(rig: Rig, accept_recorder: Any, guid: UUID, name: str) -> None:
    """B4.15: of the socket, of what it accepts, and of datagrams."""
    listener, accepts = listening(rig.firewall), accept_recorder()
    client, datagrams = (rig.firewall.CreateNetworkSocket(each) for each in (TCP, UDP))
    for each in (listener, client, datagrams):
        each.AssociateProtocol(SMTP.guid)
        each.AssociateProtocol(guid)
    listener.Accept(accepts, 0)
    client.Connect(listener.GetSockName())
    datagrams.SendTo(FWXIOBuffer(b"x"), SocketAddress("127.0.0.1", 9), None, None, 0)
    rig.until(lambda: accepts.calls)
    for each in (client, accepts.calls[0].socket, datagrams):
        each.Close(True)
    rig.until(lambda: len(rig.records) == 3)
    assert {record.application_protocol for record in rig.records} == {name}


# ---- IP filters ------------------------------------------------------------------------------------------------------


def test_bind_with_a_filter(rig: Rig, sock: Any) -> None:
    """B4.10, B4.11: Bind takes it; GetIpFilter gives a copy; a Bind that fails changes nothing."""
    given = without(LOCALHOST, rig=rig)
    assert code_of(sock.Bind, SocketAddress("203.0.113.7", 0), None, given) == HRESULT_FROM_WIN32(WSAEADDRNOTAVAIL)
    assert sock.GetIpFilter() is None
    sock.Bind(ANY4, None, given)
    assert sock.GetIpFilter().Compare(given) == S_OK
    assert sock.GetIpFilter() is not given


def test_a_peer_that_may_not_connect(rig: Rig, maker: Any, accept_recorder: Any) -> None:
    """B6.34: reset, and logged with FWX_E_ADDRESS_NOT_ALLOWED; the Accept goes on waiting."""
    listener, accepts = listening(maker), accept_recorder()
    listener.SetIpFilter(without(LOCALHOST, rig=rig))
    listener.Accept(accepts, 0)
    stranger = rig.peer(socket.create_connection(listener.GetSockName().sockaddr))
    stranger.expect_reset()
    (record,) = rig.records
    assert (record.action, record.resultcode) == (Action.Denied, int(FWX_E_ADDRESS_NOT_ALLOWED))
    assert record.destination_port == listener.GetSockName().port
    assert not accepts.calls
    listener.SetIpFilter(None)
    rig.closing.append(socket.create_connection(listener.GetSockName().sockaddr).close)
    rig.until(lambda: accepts.calls)


def test_a_name_whose_addresses_are_outside(rig: Rig, maker: Any) -> None:
    """B4.11: what is posted fails with WSAEACCES; one address inside is enough."""
    listener = listening(rig.firewall)
    port = listener.GetSockName().port
    for addresses, code in ((["192.0.2.1"], WSAEACCES), (["192.0.2.1", "127.0.0.1"], ERROR_OPERATION_ABORTED)):
        sock, recorder = maker.CreateNetworkSocket(TCP), Recorder()
        only = rig.firewall.CreateIpFilter()
        only.IncludeRange(LOCALHOST, LOCALHOST)
        sock.SetIpFilter(only)
        sock.Connect(SocketAddress("server.example", port))
        sock.Recv(None, recorder, 0)
        rig.names.asked.pop()([SocketAddress(host, port) for host in addresses], 0)
        rig.settle()
        sock.Close(True)
        rig.settle()
        assert [done.code for done in recorder.calls] == [code]
    assert [record.action for record in rig.records] == [Action.Denied, Action.Terminate]


# ---- options ---------------------------------------------------------------------------------------------------------


def number(value: int) -> bytes:
    return value.to_bytes(4, "little")


def test_options_that_come_before_the_socket(rig: Rig, accept_recorder: Any) -> None:
    """Kept until Bind, Connect; TCP_NODELAY is on at first, on accepted sockets too."""
    listener, accepts = listening(rig.firewall), accept_recorder()
    listener.Accept(accepts, 0)
    sock = rig.firewall.CreateNetworkSocket(TCP)
    sock.SetSockOpt(IPPROTO_TCP, TCP_KEEPALIVE, number(77))
    assert sock.GetSockOpt(IPPROTO_TCP, TCP_KEEPALIVE) == number(77)
    assert code_of(sock.GetSockOpt, IPPROTO_TCP, TCP_NODELAY) == HRESULT_FROM_WIN32(WSAENOTCONN)
    sock.Connect(listener.GetSockName())
    rig.until(lambda: accepts.calls)
    rig.settle()
    assert sock.GetSockOpt(IPPROTO_TCP, TCP_KEEPALIVE) == number(77)
    assert sock.GetSockOpt(IPPROTO_TCP, TCP_NODELAY) == number(1)
    assert accepts.calls[0].socket.GetSockOpt(IPPROTO_TCP, TCP_NODELAY) == number(1)


@pytest.mark.parametrize(("level", "optname"), [([], 1), (SOL_SOCKET, {}), (65535.0, 4102.0), (-1, 1), ("a", 1)])
def test_what_is_no_option_at_all(rig: Rig, level: Any, optname: Any) -> None:
    sock = rig.firewall.CreateNetworkSocket(TCP)
    assert code_of(sock.SetSockOpt, level, optname, number(1)) == E_INVALIDARG
    assert code_of(sock.GetSockOpt, level, optname) == E_INVALIDARG


def test_ipv6_alone_unless_asked_otherwise(rig: Rig, accept_recorder: Any) -> None:
    """Winsock's default: a socket on :: takes no IPv4; IPV6_V6ONLY off lets it."""
    alone = listening(rig.firewall, ANY6)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", alone.GetSockName().port))
    both, accepts = rig.firewall.CreateNetworkSocket(TCP), accept_recorder()
    both.SetSockOpt(IPPROTO_IPV6, IPV6_V6ONLY, number(0))
    both.Bind(ANY6, None, None)
    both.Listen(5)
    both.Accept(accepts, 0)
    rig.closing.append(socket.create_connection(("127.0.0.1", both.GetSockName().port)).close)
    rig.until(lambda: accepts.calls)
    assert accepts.calls[0].remote.host == "::ffff:127.0.0.1"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give it up")
@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_privileged_port(protocol: int) -> None:
    """WSAEACCES once root has been given up, as the service does it."""
    script = f"""
        import os
        from fwx.interfaces import COMError, SocketAddress
        from fwx.testing import MemoryFirewall
        import asyncio
        from fwx.network import Poller, SocketNetwork
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
            first = int(file.read())
        assert first > 1, "this machine has no privileged ports"
        loop = asyncio.new_event_loop()
        firewall = MemoryFirewall()
        firewall.engine.network = SocketNetwork(Poller(loop))
        sock = firewall.firewall.CreateNetworkSocket({protocol})
        os.setgid(65534), os.setuid(65534)
        try:
            sock.Bind(SocketAddress("127.0.0.1", 1), None, None)
        except COMError as error:
            print(hex(error.hresult))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == hex(HRESULT_FROM_WIN32(WSAEACCES))


# ---- what is there, and whose it is ----------------------------------------------------------------------------------


def test_is_data_available(rig: Rig, accept_recorder: Any) -> None:
    """B4.3, B4.4: S_OK for data and for the end, S_FALSE for nothing, an error where there is nothing to ask."""
    listener, accepts, recorder = listening(rig.firewall), accept_recorder(), Recorder()
    sock = rig.firewall.CreateNetworkSocket(TCP)
    assert code_of(sock._IsDataAvailable) == HRESULT_FROM_WIN32(WSAENOTCONN)
    listener.Accept(accepts, 0)
    sock.Connect(listener.GetSockName())
    assert sock._IsDataAvailable() == S_FALSE
    rig.until(lambda: accepts.calls)
    other = accepts.calls[0].socket
    assert sock._IsDataAvailable() == S_FALSE
    other.Send(FWXIOBuffer(b"x"), None, 0)
    rig.until(lambda: sock._IsDataAvailable() == S_OK)
    sock.Recv(None, recorder, 0)
    rig.until(lambda: recorder.calls)
    assert (recorder.calls[0].data, sock._IsDataAvailable()) == (b"x", S_FALSE)
    other.Shutdown(False)
    rig.until(lambda: sock._IsDataAvailable() == S_OK)
    sock.Close(False)
    assert code_of(sock._IsDataAvailable) == HRESULT_FROM_WIN32(WSAENOTSOCK)


def test_datagrams_are_available(rig: Rig) -> None:
    left, right = (rig.firewall.CreateNetworkSocket(UDP) for _ in range(2))
    for each in (left, right):
        each.Bind(ANY4, None, None)
    assert right._IsDataAvailable() == S_FALSE
    left.SendTo(FWXIOBuffer(b""), right.GetSockName(), None, None, 0)
    rig.until(lambda: right._IsDataAvailable() == S_OK)


def test_whose_records_they_are(rig: Rig) -> None:
    """B4.6, B4.7: the session's user and client, or nobody and the service."""
    listener, session = listening(rig.firewall), rig.session()
    session.user = FWXAuthenticatedUser(r"EXAMPLE\bob")
    for maker in (session, rig.firewall):
        sock = maker.CreateNetworkSocket(TCP)
        sock.Connect(listener.GetSockName())
        rig.settle()
        sock.Close(True)
        rig.settle()
    assert [(one.username, one.session_id, one.interface) for one in rig.records] == [
        (r"EXAMPLE\bob", session.id, "a session's socket"),
        ("", 0, "the firewall's socket"),
    ]
