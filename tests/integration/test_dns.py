"""The filter dns in a running service: dig and raw sockets to dnsmasq through a published port of UDP and of TCP."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from tests.dns_wire import message, query, question, record
from tests.name_server import ADDRESS, NAME, name_server

CONFIG = """
[[listener]]
name = "dns"
kind = "publish"
transport = "udp"
bind = "127.0.0.1:0"
to = "127.0.0.1:{port}"

[[listener]]
name = "dns-tcp"
kind = "publish"
bind = "127.0.0.1:0"
to = "127.0.0.1:{port}"

[limits]
udp_per_address = 160

[[filter]]
name = "dns check"
use = "fwx.filters.dns:DnsFilter"
options = {{ {options} }}

[[rule]]
name = "names"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["localhost"]
filters = ["dns check"]
"""
TRANSPORTS = ("udp", "tcp")


@pytest.fixture
def server(program_path: Callable[[str], str]) -> Iterator[int]:
    with name_server(program_path("dnsmasq")) as port:
        yield port


@pytest.fixture
def service(serve: Any, server: int) -> Callable[..., Any]:
    return lambda options="", **keys: serve(CONFIG.format(port=server, options=options), **keys)


@pytest.fixture
def dig(program_path: Callable[[str], str]) -> Callable[..., str]:
    def run(port: int, *arguments: str) -> str:
        command = [program_path("dig"), "+tries=1", "+time=3", "-p", str(port), "@127.0.0.1", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout

    return run


def port_of(firewall: Any, transport: str) -> int:
    port: int = firewall.address("dns-tcp" if transport == "tcp" else "dns")[1]
    return port


def status(told: str) -> str:
    found = re.search(r"status: (\w+)", told)
    return "no answer" if found is None else found[1]


@pytest.mark.requires("dnsmasq", "dig")
@pytest.mark.path(entry="publish", exit="direct", transport="udp")
@pytest.mark.path(entry="publish", exit="direct", transport="tcp")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_dig(service: Any, server: int, dig: Any, loop: str) -> None:
    """Straight to the server, the control, and through the filter: the same answers, on both transports."""
    firewall = service(loop=loop)
    for transport in TRANSPORTS:
        for extra in ((), ("+noedns",), ("+dnssec", "+bufsize=1400"), ("+cookie",)):
            asked = (NAME, f"+{'' if transport == 'tcp' else 'no'}tcp", *extra)
            assert f"\n{NAME}.\t\t0\tIN\tA\t{ADDRESS}\n" in dig(server, *asked)
            told = dig(port_of(firewall, transport), *asked)
            assert f"\n{NAME}.\t\t0\tIN\tA\t{ADDRESS}\n" in told, told
            assert "WARNING" not in told
    assert status(dig(port_of(firewall, "udp"), "nowhere.example")) == status(dig(server, "nowhere.example"))
    firewall.tell()
    firewall.wait_stopped(seconds=5)
    rows = firewall.rows(Action=int(Action.Terminate))
    assert {row["filters"] for row in rows} == {"dns check"}
    assert not any("dns:" in row["reason"] for row in rows)
    assert firewall.alerts() == []


@pytest.mark.requires("dnsmasq", "dig")
def test_many_at_once(service: Any, dig: Any) -> None:
    firewall = service()
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: dig(port_of(firewall, "udp"), NAME, "+short"), range(60)))
    assert told == [f"{ADDRESS}\n"] * 60


@pytest.mark.requires("dnsmasq", "dig")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("options", "asked", "told"),
    [
        ("", (NAME, "ANY"), "REFUSED"),
        ("", ("version.bind", "TXT", "CH"), "REFUSED"),
        ("", (NAME, "+opcode=STATUS"), "REFUSED"),
        ('types = ["A", "AAAA"]', (NAME, "MX"), "REFUSED"),
        ('types = ["A", "AAAA"]', (NAME, "A"), "NOERROR"),
        ('refuse_names = ["example"]', (NAME,), "REFUSED"),
        ("name_length = 20", ("a-rather-long-name.example",), "REFUSED"),
        ("", (NAME, "+zflag"), "FORMERR"),
        ('on_refusal = "drop"', (NAME, "ANY"), "no answer"),
        ('classes = ["IN", "CH"]', ("version.bind", "TXT", "CH"), "NOERROR"),
    ],
)
def test_the_policy(service: Any, dig: Any, transport: str, options: str, asked: tuple[str, ...], told: str) -> None:
    firewall = service(options)
    extra = ("+time=1", "+tcp" if transport == "tcp" else "+notcp")
    answer = dig(port_of(firewall, transport), *asked, *extra)
    assert status(answer) == told, answer
    if told != "NOERROR":
        firewall.tell()
        firewall.wait_stopped(seconds=5)
        (alert,) = firewall.alerts()
        assert (alert["event"], alert["key"]) == ("DNS refused", "127.0.0.1")
        (row,) = firewall.rows(Action=int(Action.Terminate))
        assert "dns: " in row["reason"]


BROKEN = {
    "bytes behind": query() + b"x",
    "a circle": message(b"\x03www\xc0\x0c" + struct.pack("!HH", 1, 1)),
    "a long name": message(b"\x3f" + b"x" * 63 + (b"\x3f" + b"y" * 63) * 3 + b"\x00" + struct.pack("!HH", 1, 1)),
    "two questions": message(question(), question(), counts=(2, 0, 0, 0)),
    "counts": message(question(), counts=(1, 0, 0, 9)),
    "an answer in a query": message(question(), record(), counts=(1, 1, 0, 0)),
}


@pytest.mark.requires("dnsmasq")
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_broken_queries(service: Any, client: Any, transport: str) -> None:
    """Each is told FORMERR by the filter, and the next query is answered."""
    firewall = service()
    target = ("127.0.0.1", port_of(firewall, transport))
    with socket.socket(type=socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM) as asker:
        asker.settimeout(60)
        asker.connect(target)

        def ask(data: bytes) -> bytes:
            asker.sendall(struct.pack("!H", len(data)) + data if transport == "tcp" else data)
            if transport == "udp":
                return asker.recv(4096)
            return client.exactly(asker, int.from_bytes(client.exactly(asker, 2), "big"))

        for data in BROKEN.values():
            told = ask(data)
            assert told[:2] == data[:2]
            assert (told[2] & 0x80, told[3] & 15, len(told) <= len(data)) == (0x80, 1, True)
        assert socket.inet_aton(ADDRESS) in ask(query(NAME))
    firewall.tell()
    firewall.wait_stopped(seconds=5)
    (row,) = firewall.rows(Action=int(Action.Terminate))
    assert row["reason"].endswith("dns: 1 bytes behind the last record (and 5 more)")


@pytest.mark.requires("dnsmasq", "dig")
def test_a_flood_of_garbage(service: Any, dig: Any) -> None:
    """Nothing of it reaches the server, and others are served meanwhile."""
    firewall = service()
    with socket.socket(type=socket.SOCK_DGRAM) as flood:
        flood.connect(("127.0.0.1", port_of(firewall, "udp")))
        for number in range(20000):
            flood.send(number.to_bytes(4, "big") * (number % 40))
        # The kernel drops what the port has no room for, so one question may be lost.
        assert dig(port_of(firewall, "udp"), NAME, "+short", "+tries=5", "+time=1").endswith(f"{ADDRESS}\n")
    firewall.tell()
    firewall.wait_stopped(seconds=5)
    assert sum(alert["count"] for alert in firewall.alerts()) > 100
    assert len(firewall.alerts()) == 2  # at once, and the rest of the minute at the end
    assert 0 in {row["bytessent"] for row in firewall.rows(Action=int(Action.Terminate))}


@pytest.mark.requires("dnsmasq")
def test_a_reset_in_the_middle(service: Any, client: Any) -> None:
    firewall = service()
    raw = client.connect(("127.0.0.1", port_of(firewall, "tcp")))
    raw.sendall(b"\x00\x1d" + query()[:5])
    client.reset(raw)
    firewall.wait_base_line()
