"""The commands of FTP: what is one, what names a data port, and what changes files."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.filters.ftp.command import Command, CommandError, active_address, active_command, parse
from fwx.sdk import SocketAddress


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"NOOP", Command("NOOP")),
        (b"retr a b", Command("RETR", b"a b")),
        (b"CWD  a", Command("CWD", b" a")),
        (b"PWD", Command("PWD")),
        (b"STOR Gr\xc3\xbc\xc3\x9fe\tx", Command("STOR", b"Gr\xc3\xbc\xc3\x9fe\tx")),
    ],
)
def test_a_command(line: bytes, command: Command) -> None:
    assert parse(line) == command


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"", "500"),
        (b" PORT 127,0,0,1,4,1", "500"),
        (b"PORT\t127,0,0,1,4,1", "500"),
        (b"P", "500"),
        (b"P\xc3\xb6RT", "500"),
        (b"RETR a\x1b[2J", "501"),
        (b"RETR a\x7f", "501"),
        (b"PORT 1\x0b", "501"),
    ],
)
def test_no_command(line: bytes, code: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse(line)
    assert caught.value.reply.startswith(code)


@pytest.mark.parametrize(
    ("line", "host", "port"),
    [
        (b"PORT 192,0,2,1,4,1", "192.0.2.1", 1025),
        (b"PORT 192,000,002,001,004,001 ", "192.0.2.1", 1025),
        (b"PORT 10,0,0,1,255,255", "10.0.0.1", 65535),
        (b"EPRT |1|192.0.2.1|1025|", "192.0.2.1", 1025),
        (b"EPRT !2!2001:DB8::1!6000!", "2001:db8::1", 6000),
    ],
)
def test_an_address(line: bytes, host: str, port: int) -> None:
    assert active_address(parse(line)) == SocketAddress(host, port)


@pytest.mark.parametrize(
    "line",
    [
        "PORT",
        "PORT 192,0,2,1,4",
        "PORT 192,0,2,1,4,1,1",
        "PORT 192,0,2,256,4,1",
        "PORT 192,0,2,1,256,1",
        "PORT 192,0,2,1,0,0",
        "PORT 192,0,2,1,-4,1",
        "PORT 192, 0,2,1,4,1",
        "PORT 192,0,2,1,4,1 9",
        "PORT 0x7f,0,0,1,4,1",
        "EPRT",
        "EPRT |1|192.0.2.1|1025",
        "EPRT |1|192.0.2.1|0|",
        "EPRT |1|192.0.2.1|65536|",
        "EPRT |1|192.0.2.1|000001025|",
        "EPRT |1|192.0.2.01|1025|",
        "EPRT |1|host.example|1025|",
        "EPRT |2|192.0.2.1|1025|",
        "EPRT |1|2001:db8::1|1025|",
        "EPRT |2|fe80::1%eth0|1025|",
        "EPRT |1|192.0.2.1|1025|x",
        "EPRT x|1|192.0.2.1|1025|",
        "EPRT |1|192.0.2.1|²|",
    ],
)
def test_no_address(line: str) -> None:
    with pytest.raises(CommandError, match=r"^501 "):
        active_address(parse(line.encode("latin-1")))


@pytest.mark.parametrize("family", ["0", "3", "", "01"])
def test_another_family(family: str) -> None:
    """RFC 2428, 2."""
    with pytest.raises(CommandError, match=r"^522 .*\(1,2\)$"):
        active_address(parse(f"EPRT |{family}|192.0.2.1|1025|".encode()))


hosts = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@given(host=hosts, port=st.integers(1, 65535))
def test_what_is_written_is_read_again(host: IPv4Address | IPv6Address, port: int) -> None:
    address = SocketAddress(str(host), port)
    line = active_command(address)
    assert line.endswith(b"\r\n")
    assert active_address(parse(line[:-2])) == address


@given(argument=st.binary(max_size=60), verb=st.sampled_from(["PORT", "EPRT"]))
def test_anything_is_an_address_or_refused(argument: bytes, verb: str) -> None:
    try:
        address = active_address(Command(verb, argument))
    except CommandError:
        return
    assert address.address is not None
    assert 0 < address.port < 65536


@pytest.mark.parametrize(
    ("line", "changes"),
    [
        (b"STOR x", True),
        (b"stou", True),
        (b"APPE x", True),
        (b"DELE x", True),
        (b"RMD x", True),
        (b"XRMD x", True),
        (b"MKD x", True),
        (b"XMKD x", True),
        (b"RNFR x", True),
        (b"RNTO x", True),
        (b"MFMT 20200101000000 x", True),
        (b"MDTM 20200101000000 x", True),
        (b"MDTM x", False),
        (b"MDTM 20200101000000", False),
        (b"SITE CHMOD 777 x", True),
        (b"SITE chmod 777 x", True),
        (b"SITE UTIME x", True),
        (b"SITE", True),
        (b"SITE help", False),
        (b"RETR x", False),
        (b"LIST", False),
        (b"REST 5", False),
    ],
)
def test_what_changes_files(line: bytes, changes: bool) -> None:
    assert parse(line).changes_files is changes
