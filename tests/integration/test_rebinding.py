"""DESIGN 6: the address that a name resolves to is judged like the name, whatever way a client came.

Whoever owns a name decides what it resolves to: here to this machine, and into a network that the rule does not name.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from tests.integration.associate import Associated, associations

TOP = Path(__file__).resolve().parent.parent.parent
NAME = "rebind.test"
INSIDE = "10.99.0.1"
PAGE = b"the page of the origin\n"
# The resolver of the service is told what the owner of the name would tell it.
LOOK_UP = """
import socket
real = socket.getaddrinfo
def look_up(host, *arguments, **options):
    return real({address!r} if host == "rebind.test" else host, *arguments, **options)
socket.getaddrinfo = look_up
"""
CONFIG = """
[[network]]
name = "inside"
ranges = ["10.99.0.0/16"]

[[domains]]
name = "names"
names = ["rebind.test"]

[[protocol]]
name = "the origin"
ports = [
    {{ transport = "tcp", direction = "outbound", first = {port} }},
    {{ transport = "udp", direction = "send_receive", first = {port} }},
]

[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:0"

[[listener]]
name = "www"
kind = "publish"
bind = "127.0.0.1:0"
to = "rebind.test:{port}"

[[rule]]
name = "out"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = [{to}]
"""
COLLECTOR = """
[[filter]]
name = "collector"
use = "fwx_collector.collector:Collector"
everywhere = true
options = {{ report_to = "rebind.test:{port}" }}

[[rule]]
name = "what the session's socket follows"
action = "allow"
protocols = ["HTTP"]
from = ["localhost"]
to = ["localhost"]
"""
# Where the name leads to, and a rule that allows the name, but not that address.
CASES = {
    "the firewall, any": ("127.0.0.1", '"any"'),
    "the firewall, by its name": ("127.0.0.1", '"names"'),
    "an inside network": (INSIDE, '"external"'),
}


@pytest.fixture
def associate() -> Iterator[Callable[..., Associated]]:
    with associations() as make:
        yield make


def page(client: socket.socket) -> None:
    while b"\r\n\r\n" not in client.recv(65536):
        pass
    client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE)


CURL = {
    "SOCKS4a": ("-x", "socks4a://{proxy}"),
    "SOCKS5": ("-x", "socks5h://{proxy}"),
    "CONNECT": ("-p", "-x", "http://{proxy}"),
    "plain HTTP": ("-x", "http://{proxy}"),
    "published": ("--connect-to", "::{www}"),
}


def fetch(firewall: Any, way: str, port: int, curl: str) -> bytes:
    """Ask for the page of the name; return what came."""
    addresses = {name: "{}:{}".format(*firewall.address(name)) for name in ("proxy", "www")}
    told = [part.format(**addresses) for part in CURL[way]]
    command = [curl, "-q", "-sS", "--noproxy", "", "-m", "20", *told, f"http://{NAME}:{port}/"]
    return subprocess.run(command, capture_output=True, check=False, timeout=30).stdout


@pytest.mark.requires("curl")
@pytest.mark.parametrize("way", CURL)
@pytest.mark.parametrize(("address", "to"), CASES.values(), ids=CASES)
def test_by_tcp(serve: Any, origin: Any, program_path: Callable[[str], str], way: str, address: str, to: str) -> None:
    """Nothing is connected to, and the record names the name."""
    server = origin(page)
    firewall = serve(CONFIG.format(port=server.port, to=to), prelude=LOOK_UP.format(address=address))
    assert PAGE not in fetch(firewall, way, server.port, program_path("curl"))
    row = firewall.wait_row()
    assert (row["Action"], row["DestinationName"]) == (Action.Denied, NAME)
    assert server.connections == 0
    firewall.wait_base_line()


@pytest.mark.requires("curl")
@pytest.mark.parametrize("way", CURL)
def test_the_control_by_tcp(serve: Any, origin: Any, program_path: Callable[[str], str], way: str) -> None:
    """With a rule that names the firewall too, each of these requests gets its page."""
    server = origin(page)
    config = CONFIG.format(port=server.port, to='"names", "localhost"')
    firewall = serve(config, prelude=LOOK_UP.format(address="127.0.0.1"))
    assert fetch(firewall, way, server.port, program_path("curl")) == PAGE


@pytest.mark.parametrize(("address", "to"), [*CASES.values(), ("127.0.0.1", '"names", "localhost"')])
def test_by_udp(serve: Any, associate: Any, address: str, to: str) -> None:
    """A datagram for the name is lost; where the rule names the firewall, which is the control, it arrives."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(60)
        port = server.getsockname()[1]
        firewall = serve(CONFIG.format(port=port, to=to), prelude=LOOK_UP.format(address=address))
        association = associate(firewall.address())
        association.say(b"hello", (NAME, port))
        if "localhost" in to:
            assert server.recv(100) == b"hello"
            return
        row = firewall.wait_row(DestinationName=NAME)
        assert (row["Action"], row["protocol"]) == (Action.Denied, "UDP")
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(100)


@pytest.mark.parametrize("allowed", [False, True])
def test_by_a_socket_of_a_session(serve: Any, origin: Any, client: Any, allowed: bool) -> None:
    """A filter's socket under the session's policy: the lines of ``examples/collector``."""
    got: list[bytes] = []

    def read(peer: socket.socket) -> None:
        got.extend(iter(lambda: peer.recv(65536), b""))

    server, web = origin(read), origin("answer_at_end")
    config = CONFIG.format(port=web.port, to='"names", "localhost"' if allowed else '"names"')
    config = config.replace(f'to = "rebind.test:{web.port}"', f'to = "127.0.0.1:{web.port}"')
    rule = COLLECTOR.format(port=server.port).replace('["HTTP"]', '["the origin"]')
    path = os.pathsep.join([str(TOP), str(TOP / "examples" / "collector")])
    firewall = serve(config + rule, prelude=LOOK_UP.format(address="127.0.0.1"), env={"PYTHONPATH": path})
    with client.socks(firewall.address(), web.address) as opened:
        opened.sendall(b"hello")
        opened.shutdown(socket.SHUT_WR)
        assert client.to_end(opened) == b"5 bytes"
    if allowed:
        firewall.stop()
        assert b'"to_server": 5' in b"".join(got)
    else:
        row = firewall.wait_row(Action=int(Action.Denied))
        assert row["DestinationName"] == NAME
        assert server.connections == 0
