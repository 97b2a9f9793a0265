"""The filter in a firewall in memory: what passes, what is announced, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from fwx import sdk
from fwx.filter_loader import FilterOptionsError, make_filter
from fwx.filters.connector import Connector
from fwx.filters.connector.signals import CONNECTOR
from fwx.testing import Dialogue, MemoryFirewall, Playbook, check_filter
from fwx.testing.sockets import CLIENT, SERVER

TEXT = Dialogue(
    to_server=b"SAY %s \xc3\xbc\xff\n" % (b"word " * 500),
    to_client=b"SAID \xff\r\n" * 60,
    elsewhere=b"SAY %s\r\n" % (b"other " * 500),
)
# As FTP announces, and as IRC does.
EPSV = {"line": r"229 .*\(\|\|\|(?P<port>\d+)\|\)", "said_by": "server"}
PORTS = range(41230, 41240)


class Announced:
    """What the client of a firewall may do now."""

    def __init__(self, firewall: MemoryFirewall) -> None:
        self._firewall = firewall

    def ports(self, host: str = SERVER.host, transport: str = "TCP") -> list[int]:
        """Those of *host* that its session may connect to."""
        session, permissions = self._firewall.session(), self._firewall.engine.permissions
        wanted = (sdk.SocketAddress(host, port) for port in (80, *PORTS))
        return [each.port for each in wanted if permissions.find(session, each, transport) is not None]

    def bound(self) -> list[Any]:
        connections = self._firewall.sessions.connections()
        return [each for each in connections if each.is_secondary and not each.terminating]


@pytest.fixture
def announced(fwx_firewall: MemoryFirewall) -> Announced:
    return Announced(fwx_firewall)


@pytest.fixture
def book(fwx_playbook: Any) -> Playbook:
    made: Playbook = fwx_playbook(Connector, {})
    return made


def test_the_contract() -> None:
    battery = check_filter(Connector, {}, dialogue=TEXT)
    battery.require()


def test_a_connection_out(book: Playbook, fwx_firewall: MemoryFirewall, announced: Announced) -> None:
    """B6.2, B6.5, B6.7, B6.11: exactly that port is announced, before the server hears of it, and for a minute."""
    book.client_sends(b"HELLO\nCONNECT tcp 41234\n").server_gets(b"HELLO\nCONNECT tcp 41234\n")
    book.server_sends(b"OK\r\n").client_gets(b"OK\r\n")
    opened = book.play()
    assert announced.ports() == [41234]
    assert announced.ports(transport="UDP") == []
    assert announced.ports(CLIENT.host) == []
    fwx_firewall.loop.advance(61)
    assert announced.ports() == []
    opened.client.reset()


@pytest.mark.parametrize("end", ["reset", "kill"])
def test_it_is_withdrawn_with_the_primary(
    book: Playbook, fwx_firewall: MemoryFirewall, announced: Announced, end: str
) -> None:
    book.client_sends(b"CONNECT udp 41234\nLISTEN tcp 41235\n")
    book.server_gets(b"CONNECT udp 41234\nLISTEN tcp 41235\n")
    opened = book.play()
    assert announced.ports(transport="UDP") == [41234]
    assert len(announced.bound()) == 1
    opened.client.reset() if end == "reset" else opened.connection.Kill()
    fwx_firewall.loop.run()
    assert announced.ports(transport="UDP") == []
    assert not announced.bound()
    assert not len(fwx_firewall.engine.permissions)
    opened.client.close()


def test_once_or_many(fwx_playbook: Any, fwx_firewall: MemoryFirewall, announced: Announced) -> None:
    """B6.6: the second connection to a port that was announced once is not let through."""
    once = {"line": r"ONE (?P<port>\d+)"}
    many = {"line": r"MANY (?P<port>\d+)", "times": "many", "lapses": False}
    book = fwx_playbook(Connector, {"signals": [once, many], "ports": [SERVER.port]})
    book.client_sends(b"ONE 41231\nMANY 41232\n").server_gets(b"ONE 41231\nMANY 41232\n")
    opened = book.play()
    for _ in range(2):
        for port in (41231, 41232):
            if port in announced.ports():
                fwx_firewall.open(SERVER.with_port(port)).client.reset()
        assert announced.ports() == [41232]
    fwx_firewall.loop.advance(3600)
    assert announced.ports() == [41232]
    opened.client.reset()


@pytest.mark.parametrize("line", [b"LISTEN tcp 41234\r\n", b"LISTEN tcp %s 41234\r\n" % CLIENT.host.encode()])
def test_a_connection_in(fwx_firewall: MemoryFirewall, announced: Announced, line: bytes) -> None:
    """B6.12, B6.20, B6.32: the client's own port outside, for the server alone; the line says the firewall's address.

    A port that is taken is another one in the line.
    """
    fwx_firewall.start(lambda: make_filter(Connector, {}))
    client, server = fwx_firewall.open().established()
    client.send(line)
    (bound,) = announced.bound()
    outside = bound.bound
    assert outside.port == 41234
    said = line.replace(CLIENT.host.encode(), outside.host.encode())
    assert server.receive() == said
    assert list(bound.GetIpFilter().ranges()) == [(SERVER.address, SERVER.address)]
    other = fwx_firewall.open(client="192.0.2.99").established()
    other[0].send(b"LISTEN tcp 41234\r\n")
    second = next(each for each in announced.bound() if each is not bound).bound
    assert second.port != 41234
    assert other[1].receive() == b"LISTEN tcp %d\r\n" % second.port
    client.send(line)  # once more: the first one makes room
    assert server.receive() == said
    assert len(announced.bound()) == 2
    for peer in (client, other[0]):
        peer.reset()


def test_datagrams_in(fwx_firewall: MemoryFirewall, announced: Announced) -> None:
    """B6.12, B6.32."""
    fwx_firewall.start(lambda: make_filter(Connector, {}))
    client, server = fwx_firewall.open().established()
    client.send(b"LISTEN udp 41234\n")
    assert server.receive() == b"LISTEN udp 41234\n"
    (bound,) = announced.bound()
    assert (bound.bound.port, list(bound.GetIpFilter().ranges())) == (41234, [(SERVER.address, SERVER.address)])
    client.reset()
    assert not announced.bound()


def test_no_more_than_so_many(fwx_playbook: Any, announced: Announced) -> None:
    """The oldest goes."""
    book = fwx_playbook(Connector, {"announcements": 3})
    lines = b"".join(b"CONNECT tcp %d\n" % port for port in PORTS)
    book.client_sends(lines).server_gets(lines)
    opened = book.play()
    assert announced.ports() == [41237, 41238, 41239]
    opened.client.reset()


def test_what_the_server_says(fwx_playbook: Any, announced: Announced) -> None:
    """As FTP has it."""
    book = fwx_playbook(Connector, {"signals": [EPSV]})
    reply = b"229 Entering Extended Passive Mode (|||41234|)\r\n"
    book.client_sends(b"229 (|||41239|)\r\n").server_gets(b"229 (|||41239|)\r\n")
    book.server_sends(reply).client_gets(reply)
    opened = book.play()
    assert announced.ports() == [41234]
    opened.client.reset()


REFUSED = [
    (b"CONNECT tcp 80\n", "the client: tcp port 80: below 1024"),
    (b"LISTEN tcp 80\n", "the client: tcp port 80: below 1024"),
    (b"CONNECT tcp 203.0.113.66 41234\n", f"of 203.0.113.66, and the server is {SERVER.host}"),
    (b"CONNECT tcp other.example 41234\n", "'other.example' is no address"),
    (b"LISTEN tcp 203.0.113.66 41234\n", f"of 203.0.113.66, and the client is {CLIENT.host}"),
    (b"CONNECT tcp 0\n", "'0' is no port"),
    (b"HELLO\x00\n", "the client: a NUL in a line"),
    (b"HEL\rLO\n", "the client: a bare CR in a line"),
    (b"x" * 4097, "the client: a line of more than 4096 bytes"),
]


@pytest.mark.parametrize(("line", "words"), REFUSED)
def test_what_is_refused(
    book: Playbook, fwx_firewall: MemoryFirewall, announced: Announced, line: bytes, words: str
) -> None:
    """The connection ends, and the server hears nothing of it; what was said before has passed."""
    book.client_sends(b"HELLO\n").server_gets(b"HELLO\n").client_sends(line + b"MORE\n")
    book.client_sees_end().server_sees_reset().alerts(1)
    opened = book.play()
    assert announced.ports() == []
    assert not announced.bound()
    opened.client.close()
    fwx_firewall.loop.run()
    (record,) = fwx_firewall.records
    assert "connector: " in record.reason
    assert words in record.reason
    (alert,) = fwx_firewall.alerts
    assert (alert.event, alert.key) == ("Secondary connection refused", CLIENT.host)


@pytest.mark.parametrize("side", ["client", "server"])
def test_an_answer_in_the_place_of_the_end(
    fwx_playbook: Any, fwx_firewall: MemoryFirewall, announced: Announced, side: str
) -> None:
    """To the client, whoever has said it; the conversation goes on."""
    book: Playbook = fwx_playbook(Connector, {"answer": "ERR refused"})
    if side == "client":
        book.client_sends(b"CONNECT tcp 80\r\nHELLO\n").server_gets(b"HELLO\n")
        book.client_gets(b"ERR refused\r\n")
    else:
        book.server_sends(b"CONNECT tcp 80\r\nHELLO\n").client_gets(b"ERR refused\r\nHELLO\n")
    book.alerts(1)
    book.client_ends().server_sees_end().server_ends().client_sees_end()
    book.play()
    assert announced.ports() == []
    assert fwx_firewall.records[0].reason.endswith(f"connector: the {side}: tcp port 80: below 1024")


def test_what_options_allow(fwx_playbook: Any, announced: Announced) -> None:
    book = fwx_playbook(Connector, {"low_ports": True, "third_party": "allow"})
    lines = b"CONNECT tcp 80\nCONNECT tcp 203.0.113.66 41234\n"
    book.client_sends(lines).server_gets(lines)
    opened = book.play()
    assert announced.ports() == [80]
    assert announced.ports("203.0.113.66") == [41234]
    opened.client.reset()


def test_a_published_server(fwx_firewall: MemoryFirewall) -> None:
    """B6.22, B6.23: the client hears of a port of the firewall's."""
    fwx_firewall.start(lambda: make_filter(Connector, {"published": True}))
    client, server = fwx_firewall.open().established()
    server.send(b"CONNECT tcp %s 41234\r\n" % SERVER.host.encode())
    line = client.receive()
    (listener,) = [each for each in fwx_firewall.network.open_transports if each.backlog is not None]
    assert line == b"CONNECT tcp %s %d\r\n" % (listener.local.host.encode(), listener.local.port)
    client.reset()
    fwx_firewall.loop.run()
    assert listener.closed


def test_a_half_line_at_the_end(book: Playbook) -> None:
    """It is not passed on; the other direction stays open."""
    book.client_sends(b"HELLO\nCONNECT tcp 4123").server_gets(b"HELLO\n").client_ends().server_sees_end()
    book.server_sends(b"BYE\n").client_gets(b"BYE\n").server_ends().client_sees_end()
    book.play()


@pytest.mark.parametrize("port", [SERVER.port, SERVER.port + 1])
def test_the_port_of_the_primary(fwx_firewall: MemoryFirewall, port: int) -> None:
    fwx_firewall.start(lambda: make_filter(Connector, {"ports": [SERVER.port]}))
    opened = fwx_firewall.open(SERVER.with_port(port))
    opened.client.reset()
    assert bool(fwx_firewall.records[0].filters) == (port == SERVER.port)


def test_many_primaries(fwx_firewall: MemoryFirewall) -> None:
    """What has ended, and what the service ends, leaves nothing behind."""
    fwx_firewall.start(lambda: make_filter(Connector, {}))
    opened = [fwx_firewall.open(client=f"192.0.2.{number % 250 + 1}").established() for number in range(300)]
    for client, _ in opened:
        client.send(b"CONNECT tcp 41234\n")
    assert len(fwx_firewall.engine.permissions) == 300
    for client, server in opened[:200]:
        client.reset()
        server.reset()
    assert len(fwx_firewall.engine.permissions) == 100
    fwx_firewall.stop()
    assert not len(fwx_firewall.engine.permissions)
    assert not fwx_firewall.sessions.connections()
    for client, server in opened[200:]:
        client.reset()
        server.reset()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"signals": []}, "signals"),
        ({"signals": [{"line": "("}]}, "regular expression"),
        ({"signals": [{"line": "PORT"}]}, "group for the port"),
        ({"signals": [{"line": "(?P<port>.)(?P<user>.)"}]}, "'user'"),
        ({"signals": [{"line": "(?P<port>.)", "opens": "both"}]}, "to-server"),
        ({"signals": [{"line": "(?P<port>.)", "said_by": "me"}]}, "client"),
        ({"ports": [0]}, "ports"),
        ({"answer": "a\nb"}, "one line"),
        ({"announcements": 0}, "1"),
        ({"line_length": 1}, "64"),
        ({"third_party": "maybe"}, "refuse"),
        ({"hosts": []}, "hosts"),
    ],
)
def test_wrong_options(options: dict[str, object], words: str) -> None:
    with pytest.raises(FilterOptionsError, match=words):
        make_filter(Connector, options)


def test_it_sees_primary_connections_alone() -> None:
    """B2.4."""
    memory = MemoryFirewall()
    made: Any = make_filter(Connector, {})
    mask = int(made.FilterInit(memory.firewall).dwGlobalEvents)
    assert mask == sdk.fwx_Connect_Tcp | sdk.FWX_ALL_SOURCES
    made.FilterShutdown()
    memory.close()
    assert len(CONNECTOR) == 3
