"""A published UDP port: clients told apart by address, limited, forgotten when they are quiet, ended with the port."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fwx.crowd import CrowdFigures
from fwx.datagram_listener import DatagramListener
from fwx.impl.clientdatagrams import LARGE, MOST_LARGE_WAITING, MOST_WAITING
from fwx.impl.deadline import DeadlineQueue
from fwx.impl.logrecord import Action
from fwx.impl.networks import LocalAddresses
from fwx.interfaces import SocketAddress, fwx_Bind_Udp
from fwx.interfaces.hresult import E_OUTOFMEMORY, FWX_E_IS_BUSY, FWX_E_NO_BACKLOG_PACKET_DROPPED
from fwx.limits import AddressLimits, Figures, LimitTable
from fwx.listener import ListenError
from fwx.network import SocketNetwork
from fwx.testing import MemoryFirewall
from tests.fwx.testing.conftest import open_poller

PORT = SocketAddress("192.0.2.1", 5300)
SERVER = SocketAddress("198.51.100.53", 53)
IDLE_SECONDS = 60.0


class Outside:
    """A datagram socket of the world in memory."""

    def __init__(self, firewall: MemoryFirewall, address: SocketAddress) -> None:
        self._firewall = firewall
        self.address = address
        self.datagrams = firewall.network.datagram(address.family)
        self.datagrams.bind(address.sockaddr)

    def send(self, data: bytes, target: SocketAddress = PORT) -> None:
        self.datagrams.send_to(data, target.sockaddr)
        self._firewall.loop.run()

    def receive(self) -> tuple[bytes, SocketAddress]:
        self._firewall.loop.run()
        data, source = self.datagrams.receive()
        return data, SocketAddress.from_sockaddr(source)

    @property
    def is_quiet(self) -> bool:
        self._firewall.loop.run()
        return not self.datagrams.has_data()


class Port:
    """A listener under test, with the server behind it."""

    def __init__(self, **options: Any) -> None:
        self.firewall = MemoryFirewall()
        self.accepting = True
        loop = self.firewall.loop
        self.idle = DeadlineQueue(IDLE_SECONDS, loop.time, loop.call_later)
        self.listener = DatagramListener(
            "dns",
            PORT,
            SERVER,
            self.firewall.network,
            self.firewall.gateway,
            self.idle,
            AddressLimits(LimitTable(Figures(udp=options.get("most", 2)), crowd=self._crowd(options)), loop.time),
            lambda: self.accepting,
        )
        self.server = Outside(self.firewall, SERVER)

    @staticmethod
    def _crowd(options: Any) -> CrowdFigures:
        return CrowdFigures(udp_sessions=options.get("of_all", 100))

    def client(self, host: str, port: int) -> Outside:
        return Outside(self.firewall, SocketAddress(host, port))

    def close(self) -> None:
        self.listener.close()
        self.firewall.loop.run()
        self.idle.close()
        self.firewall.close()


@pytest.fixture
def opened() -> Iterator[Callable[..., Port]]:
    made: list[Port] = []

    def make(**options: Any) -> Port:
        made.append(Port(**options))
        made[-1].listener.start()
        return made[-1]

    yield make
    for port in made:
        port.close()
        assert not len(port.listener)
        assert PORT not in {each.local for each in port.firewall.network.open_datagrams}


def test_clients_are_told_apart(opened: Any) -> None:
    """Each has a socket towards the server; answers come from the port that was asked."""
    port = opened()
    first, second = port.client("203.0.113.1", 1000), port.client("203.0.113.2", 1000)
    asked = []
    for client in (first, second):
        client.send(b"who? " + client.address.host.encode())
        asked.append(port.server.receive())
    assert len({source for _, source in asked}) == 2
    for data, source in reversed(asked):
        port.server.send(data.upper(), source)
    assert first.receive() == (b"WHO? 203.0.113.1", PORT)
    assert second.receive() == (b"WHO? 203.0.113.2", PORT)
    assert len(port.listener) == 2


def test_another_server(opened: Any) -> None:
    """New clients are led there; those that are known stay where they are."""
    port = opened()
    other = Outside(port.firewall, SocketAddress("198.51.100.54", 53))
    known, new = port.client("192.0.2.9", 9001), port.client("192.0.2.10", 9001)
    known.send(b"one")
    port.listener.target = other.address
    known.send(b"two")
    new.send(b"three")
    assert [port.server.receive()[0] for _ in range(2)] == [b"one", b"two"]
    assert other.receive()[0] == b"three"
    assert port.server.is_quiet


def test_a_quiet_client_is_forgotten(opened: Any) -> None:
    """Whoever moves within the time stays; the record comes with the end."""
    port = opened()
    client = port.client("203.0.113.1", 1000)
    client.send(b"one")
    port.firewall.loop.advance(IDLE_SECONDS - 1)
    client.send(b"two")
    port.firewall.loop.advance(IDLE_SECONDS - 1)
    assert len(port.listener) == 1
    port.server.receive()
    source = port.server.receive()[1]
    port.server.send(b"late answer", source)
    port.firewall.loop.advance(IDLE_SECONDS - 1)
    assert (len(port.listener), port.firewall.records) == (1, [])
    port.firewall.loop.advance(2 * IDLE_SECONDS)
    assert len(port.listener) == 0
    (record,) = port.firewall.records
    told = (record.action, record.protocol, record.destination_ip, record.bytes_sent, record.bytes_received)
    assert told == (Action.Terminate, "UDP", SERVER.host, 6, 11)
    client.send(b"again")
    assert port.server.receive()[0] == b"again"


def test_the_limit_of_an_address(opened: Any) -> None:
    """B11.3: the oldest makes room, and the log says so; others are not touched."""
    port = opened(most=2)
    crowd = [port.client("203.0.113.1", 1000 + number) for number in range(3)]
    port.client("203.0.113.2", 1).send(b"x")
    asked = []
    for client in (crowd[0], crowd[1], crowd[0], crowd[2]):
        client.send(b"x")
        asked.append(port.server.receive()[1])
    assert len(port.listener) == 3
    (record,) = port.firewall.records
    assert (record.action, record.resultcode, record.interface) == (Action.Terminate, int(FWX_E_IS_BUSY), "dns")
    assert (record.source_port, record.bytes_sent) == (1000, 2)
    assert record.reason == "made room for a newer one: 203.0.113.1 has 2 UDP sessions (udp_per_address)"
    crowd[0].send(b"again")
    assert len(port.listener) == 3
    assert port.firewall.records[-1].source_port == 1001
    port.firewall.loop.advance(3 * IDLE_SECONDS)
    assert len(port.listener) == 0


def test_the_log_cannot_take_records(opened: Any) -> None:
    """A firewall fails closed (B9.18)."""
    port = opened()
    port.accepting = False
    client = port.client("203.0.113.1", 1000)
    client.send(b"x")
    assert port.server.is_quiet
    port.accepting = True
    client.send(b"y")
    assert port.server.receive()[0] == b"y"


def test_a_flood_from_many_addresses(opened: Any) -> None:
    """B11.9: who is one too many is not heard; the others go on, and one that has gone makes room."""
    port = opened(of_all=2)
    clients = [port.client(f"203.0.113.{number}", 1000 + number) for number in range(6)]
    for client in clients:
        client.send(client.address.host.encode())
    assert [port.server.receive()[0] for _ in range(2)] == [b"203.0.113.0", b"203.0.113.1"]
    assert port.server.is_quiet
    (words,) = {each.reason for each in port.firewall.records}
    assert words == "there are 2 UDP sessions (udp_sessions)"
    assert {each.resultcode for each in port.firewall.records} == {int(FWX_E_NO_BACKLOG_PACKET_DROPPED)}
    clients[0].send(b"again")
    assert port.server.receive()[0] == b"again"
    port.firewall.loop.advance(3 * IDLE_SECONDS)
    clients[5].send(b"now")
    assert port.server.receive()[0] == b"now"


def test_nobody_new_is_heard_while_memory_is_short(opened: Any) -> None:
    port = opened()
    first, second = port.client("203.0.113.1", 1000), port.client("203.0.113.2", 1000)
    first.send(b"one")
    port.listener._limits.crowd.is_short = True
    second.send(b"two")
    first.send(b"three")
    assert [port.server.receive()[0] for _ in range(2)] == [b"one", b"three"]
    assert port.server.is_quiet
    assert [each.resultcode for each in port.firewall.records] == [int(E_OUTOFMEMORY)]


def test_a_filter_refuses_a_client(opened: Any) -> None:
    """B2.20: the bind event of each client's connection, which comes with its first datagram."""
    port = opened()
    denied = []

    class Session:
        def FirewallEventHandler(self, event: Any) -> None:
            if event.EventType == fwx_Bind_Udp:
                denied.append(event.Parameters.Bind.piConnection)
                event.Parameters.Bind.piConnection.Deny(0)

        def Detach(self) -> None:
            """Nothing to give back."""

    host = port.firewall.start(lambda: _Filter(Session))
    assert host.state == "ready"
    port.client("203.0.113.1", 1000).send(b"x")
    assert port.server.is_quiet
    assert (len(denied), len(port.listener)) == (1, 0)


def _Filter(session: type) -> Any:
    from zope.interface import implementer

    from fwx import sdk

    @implementer(sdk.IFWXSessionFilter)
    class SessionFilter(sdk.Unknown, session):  # type: ignore[misc]
        """The test's."""

    @implementer(sdk.IFWXFilter)
    class Filter(sdk.Unknown):
        def FilterInit(self, pIFWXFirewall: Any) -> Any:
            return sdk.FwxFilterHookEvents(fwx_Bind_Udp | sdk.FWX_ALL_SOURCES)

        def AttachToSession(self, piSession: Any, pFilterHookEvents: Any) -> Any:
            return SessionFilter()

        def FilterShutdown(self) -> None:
            """Nothing to give back."""

    return Filter()


def test_what_waits_is_bounded(opened: Any) -> None:
    port = Port()
    client = port.client("203.0.113.1", 1000)
    port.listener.start()
    client.send(b"first")
    known = port.listener._clients[client.address][0]
    known._handler = None
    for _ in range(MOST_WAITING + 10):
        known.take(b"x", SERVER.sockaddr)
    assert len(known._inbox) == MOST_WAITING
    known._inbox.clear()
    for _ in range(MOST_LARGE_WAITING + 10):
        known.take(bytes(LARGE + 1), SERVER.sockaddr)
    assert len(known._inbox) == MOST_LARGE_WAITING
    known.watch(lambda mask: None)
    assert known.has_data()
    known.close(True)
    known.take(b"y", SERVER.sockaddr)
    assert not known.has_data()
    port.close()


def test_the_address_is_taken(opened: Any) -> None:
    port = opened()
    with pytest.raises(ListenError, match=r"listener 'dns': cannot bind UDP 192\.0\.2\.1:5300: Address already in use"):
        DatagramListener(
            "dns", PORT, SERVER, port.firewall.network, port.firewall.gateway, port.idle, 1, lambda: True
        )  # fmt: skip


@pytest.mark.parametrize(
    ("target", "reached"), [(PORT, True), (PORT.with_port(1), False), (SocketAddress("192.0.2.2", 5300), False)]
)
def test_which_targets_end_here(opened: Any, target: SocketAddress, reached: bool) -> None:
    local = LocalAddresses(reader=lambda _: "", clock=lambda: 0.0)
    assert opened().listener.is_reached_by(target, local) is reached


def test_on_the_kernel() -> None:
    """A burst of a hundred clients through real sockets."""
    with open_poller("uvloop") as (poller, turn):
        firewall = MemoryFirewall()
        firewall.engine.network, firewall.engine.queue = SocketNetwork(poller), poller.queue
        idle = DeadlineQueue(IDLE_SECONDS, firewall.loop.time, firewall.loop.call_later)
        server = socket.socket(type=socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        listener = DatagramListener(
            "dns",
            SocketAddress("127.0.0.1"),
            SocketAddress.from_sockaddr(server.getsockname()),
            firewall.engine.network,
            firewall.gateway,
            idle,
            AddressLimits(LimitTable(Figures()), firewall.loop.time),
            lambda: True,
        )
        listener.start()
        clients = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(100)]
        for number, client in enumerate(clients):
            client.settimeout(5)
            client.sendto(b"%d" % number, listener.address.sockaddr)
        turn()
        for _ in clients:
            data, source = server.recvfrom(100)
            server.sendto(b"answer " + data, source)
        turn()
        assert [client.recv(100) for client in clients] == [b"answer %d" % number for number in range(100)]
        listener.close()
        turn()
        idle.close()
        for sock in (server, *clients):
            sock.close()
        assert not list(firewall.packet_filter)
