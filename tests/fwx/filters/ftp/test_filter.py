"""The filter in a firewall in memory: the contract, conversations, and the ports that it opens."""

from __future__ import annotations

from typing import Any

import pytest

from fwx import sdk
from fwx.filter_loader import FilterOptionsError, make_filter
from fwx.filters.ftp import FtpFilter
from fwx.filters.ftp.command import active_address, parse
from fwx.testing import MemoryFirewall, Playbook
from fwx.testing.sockets import CLIENT, SERVER

WAITS = b"227 Entering Passive Mode (%s,4,1).\r\n" % SERVER.host.replace(".", ",").encode()
EXTENDED = b"229 Entering Extended Passive Mode (|||1025|)\r\n"


@pytest.fixture
def book(fwx_playbook: Any) -> Playbook:
    return opened(fwx_playbook(FtpFilter, {}))


def opened(book: Playbook) -> Playbook:
    return book.server_sends(b"220 files\r\n").client_gets(b"220 files\r\n")


def announced(firewall: MemoryFirewall) -> int:
    return len(firewall.engine.permissions)


@pytest.mark.parametrize(("command", "reply"), [(b"PASV\r\n", WAITS), (b"EPSV\r\n", EXTENDED)])
def test_passive(book: Playbook, fwx_firewall: MemoryFirewall, command: bytes, reply: bytes) -> None:
    """B6.2, B6.5, B6.7, B6.11: the server's port is announced, for a minute, and withdrawn with the connection."""
    book.client_sends(command).server_gets(command).server_sends(reply).client_gets(reply)
    opened = book.play()
    assert announced(fwx_firewall) == 1
    session = fwx_firewall.session()
    found = fwx_firewall.engine.permissions.find(session, SERVER.with_port(1025))
    assert found is not None
    assert fwx_firewall.engine.permissions.find(session, SERVER.with_port(1026)) is None
    opened.client.reset()
    fwx_firewall.loop.run()
    assert announced(fwx_firewall) == 0


def test_one_port_at_a_time(book: Playbook, fwx_firewall: MemoryFirewall) -> None:
    for _ in range(3):
        book.client_sends(b"EPSV\r\n").server_gets(b"EPSV\r\n").server_sends(EXTENDED).client_gets(EXTENDED)
    book.play()
    assert announced(fwx_firewall) == 1
    fwx_firewall.loop.advance(61)
    assert announced(fwx_firewall) == 0


def test_a_foreign_address(book: Playbook, fwx_firewall: MemoryFirewall) -> None:
    book.client_sends(b"PASV\r\n").server_gets(b"PASV\r\n").server_sends(b"227 (192,0,2,99,4,1)\r\n")
    book.client_gets(b"425 Can't open data connection\r\n").alerts(1)
    opened = book.play()
    assert announced(fwx_firewall) == 0
    opened.client.reset()
    fwx_firewall.loop.run()
    (record,) = fwx_firewall.records
    assert record.reason.endswith(f"ftp: reply 227: the server, {SERVER.host}, names 192.0.2.99")
    (alert,) = fwx_firewall.alerts
    assert (alert.event, alert.key) == ("FTP refused", CLIENT.host)


def test_a_foreign_address_replaced(fwx_playbook: Any, fwx_firewall: MemoryFirewall) -> None:
    book = opened(fwx_playbook(FtpFilter, {"foreign_address": "replace"}))
    book.client_sends(b"PASV\r\n").server_gets(b"PASV\r\n").server_sends(b"227 (192,0,2,99,4,1)\r\n").client_gets(WAITS)
    book.play()
    assert fwx_firewall.engine.permissions.find(fwx_firewall.session(), SERVER.with_port(1025)) is not None


@pytest.mark.parametrize("low_ports", [False, True])
def test_low_ports(fwx_playbook: Any, fwx_firewall: MemoryFirewall, low_ports: bool) -> None:
    """RFC 2577, 3."""
    book = opened(fwx_playbook(FtpFilter, {"low_ports": low_ports}))
    book.client_sends(b"EPSV\r\n").server_gets(b"EPSV\r\n").server_sends(b"229 (|||1023|)\r\n")
    if low_ports:
        book.client_gets(b"229 Entering Extended Passive Mode (|||1023|)\r\n")
    else:
        book.client_gets(b"425 Can't open data connection\r\n").alerts(1)
        book.client_sends(b"PORT 192,0,2,1,0,25\r\n").client_gets(b"504 Port not allowed\r\n")
    book.play()
    assert announced(fwx_firewall) == low_ports


def test_active(fwx_firewall: MemoryFirewall) -> None:
    """B6.12, B6.15, B6.20, B6.32: a port of the firewall's, for the server alone; the server's refusal closes it."""
    fwx_firewall.start(lambda: make_filter(FtpFilter, {}))
    client, server = fwx_firewall.open().established()
    server.send(b"220 files\r\n")
    client.send(b"PORT 192,0,2,1,23,112\r\n")
    told = active_address(parse(server.receive().removesuffix(b"\r\n")))
    assert told.host != CLIENT.host
    bound = [each for each in fwx_firewall.sessions.connections() if each.is_secondary]
    assert [each.bound for each in bound] == [told]
    ip_filter = bound[0].GetIpFilter()
    assert list(ip_filter.ranges()) == [(SERVER.address, SERVER.address)]
    server.send(b"500 no\r\n")
    assert client.receive() == b"220 files\r\n500 no\r\n"
    assert not [each for each in fwx_firewall.sessions.connections() if each.is_secondary]
    client.reset()


@pytest.mark.parametrize("line", [b"PORT 192,0,2,99,4,1\r\n", b"EPRT |1|192.0.2.99|1025|\r\n"])
def test_a_bounce(book: Playbook, fwx_firewall: MemoryFirewall, line: bytes) -> None:
    """RFC 2577, 3: the server hears nothing of it; B6.13."""
    book.client_sends(line).client_gets(b"504 Address not allowed\r\n").alerts(1)
    book.client_sends(b"NOOP\r\n").server_gets(b"NOOP\r\n")
    opened = book.play()
    opened.client.reset()
    fwx_firewall.loop.run()
    (record,) = fwx_firewall.records
    assert "ftp: " in record.reason
    assert "names 192.0.2.99:1025" in record.reason


def test_an_end_in_the_middle_of_a_line(book: Playbook) -> None:
    """Half a command is not passed on."""
    book.client_sends(b"DELE x").client_ends().server_sees_end()
    book.server_ends().client_sees_end()
    book.play()


def test_tls(fwx_playbook: Any, fwx_firewall: MemoryFirewall) -> None:
    hello = b"\x16\x03\x01\x00\x05\n\n\r\x00"
    book = opened(fwx_playbook(FtpFilter, {"auth_tls": "pass"}))
    book.client_sends(b"AUTH TLS\r\n").server_gets(b"AUTH TLS\r\n").server_sends(b"234 go\r\n").client_gets(
        b"234 go\r\n"
    )
    book.client_sends(hello).server_gets(hello)
    book.server_sends(b"\x00\n\r").client_gets(b"\x00\n\r")
    book.client_sends(b"\n.\n").server_gets(b"\n.\n")
    book.client_ends().server_sees_end().server_ends().client_sees_end()
    book.play()
    (record,) = fwx_firewall.records
    assert record.reason.endswith("ftp: AUTH: what is said under TLS is not looked at, and no data port is opened")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"refuse_verbs": ["RETRIEVE"]}, "expected one of"),
        ({"refuse_verbs": ["QUIT"]}, "expected one of"),
        ({"auth_tls": "strip"}, "refuse"),
        ({"public_address": "192.0.2.7"}, "published = true"),
        ({"published": True, "public_address": "host.example"}, "public_address: "),
        ({"line_length": 10}, "256"),
        ({"errors": -1}, "0"),
        ({"passive": True}, "passive"),
    ],
)
def test_wrong_options(options: dict[str, object], words: str) -> None:
    with pytest.raises(FilterOptionsError, match=words):
        make_filter(FtpFilter, options)


def test_it_sees_control_connections_alone() -> None:
    """B2.4: secondary ones are not in its mask."""
    memory = MemoryFirewall()
    made: Any = make_filter(FtpFilter, {})
    mask = int(made.FilterInit(memory.firewall).dwGlobalEvents)
    assert mask == sdk.fwx_Connect_Tcp | sdk.fwx_AcceptedConnection | sdk.FWX_ALL_SOURCES
    made.FilterShutdown()
    assert made.firewall is None
    memory.close()
