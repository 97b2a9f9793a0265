"""The PROXY protocol through a running service, with a real HAProxy before it and behind it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import argon2
import pytest

from fwx.impl.logrecord import Action
from fwx.interfaces import SocketAddress
from fwx.proxy.proxy_header import proxy_header
from tests.integration.proxies import free_port

LISTENER = """
[[listener]]
name = "www"
kind = "publish"
bind = "127.0.0.1:0"
to = "127.0.0.1:{port}"
{keys}
"""
PROXY = """
[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:0"
"""
TRUSTED = 'proxy_protocol = "require"\ntrusted = ["127.0.0.1"]'
HAPROXY = """
global
  maxconn 100
defaults
  mode {mode}
  timeout connect 5s
  timeout client 20s
  timeout server 20s
frontend front
  bind 127.0.0.1:{port} {bind}
  {then}
"""
CLIENT, SERVED = SocketAddress("127.0.0.9", 4000), SocketAddress("203.0.113.1", 443)
HEADERS = {version: proxy_header(version, CLIENT, SERVED) for version in (1, 2)}


@pytest.fixture
def haproxy(program_path: Callable[[str], str], tmp_path: Path) -> Iterator[Callable[..., tuple[str, int]]]:
    """Start HAProxy with one frontend and return where it listens."""
    started: list[subprocess.Popen[bytes]] = []

    def start(mode: str, bind: str, then: str) -> tuple[str, int]:
        port = free_port()
        file = tmp_path / "haproxy.cfg"
        file.write_text(HAPROXY.format(mode=mode, port=port, bind=bind, then=then))
        started.append(subprocess.Popen([program_path("haproxy"), "-db", "-q", "-f", str(file)]))
        return "127.0.0.1", port

    yield start
    for process in started:
        process.kill()
        process.wait()


def reset(sock: socket.socket, data: bytes = b"") -> bool:
    """Send *data*; who may not send it is reset at once."""
    try:
        sock.sendall(data)
        return sock.recv(1) == b"" and False
    except ConnectionResetError:
        return True


@pytest.mark.path(entry="proxy-header", exit="direct", transport="tcp")
@pytest.mark.requires("haproxy")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2"])
def test_from_haproxy(
    serve: Any, origin: Any, client: Any, haproxy: Any, eventually: Any, send: str, loop: str
) -> None:
    """Rules judge the client, the log names it and HAProxy; a client that no rule allows is reset."""
    server = origin()
    rule = (
        '[[network]]\nname = "guests"\nranges = ["127.0.0.9"]\n[[rule]]\nname = "guests"\naction = "allow"\n'
        'protocols = ["any"]\nfrom = ["guests"]\nto = ["any", "localhost"]\n'
    )
    firewall = serve(LISTENER.format(port=server.port, keys=TRUSTED) + rule, loop=loop)
    www = firewall.address("www")
    before = haproxy("tcp", "", f"default_backend back\nbackend back\n  server fwx {www[0]}:{www[1]} {send}")
    eventually(lambda: can_connect(before), "HAProxy to listen")
    ours = client.connect(before, "127.0.0.9")
    ours.sendall(b"hello")
    assert client.exactly(ours, 5) == b"hello"
    ours.close()
    row = firewall.wait_row(Action=int(Action.Terminate))
    assert (row["SourceIP"], row["SourceProxy"], row["rule"]) == ("127.0.0.9", "127.0.0.1", "guests")
    other = client.connect(before, "127.0.0.10")
    assert not other.recv(1)
    denied = firewall.wait_row(SourceIP="127.0.0.10")
    assert denied["Action"] == Action.Denied


def can_connect(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 1).close()
    except OSError:
        return False
    return True


@pytest.mark.path(entry="publish", exit="proxy-header", transport="tcp")
@pytest.mark.path(entry="proxy-header", exit="proxy-header", transport="tcp")
@pytest.mark.requires("haproxy")
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("through", ["a client", "another header"])
def test_to_haproxy(serve: Any, client: Any, haproxy: Any, eventually: Any, version: str, through: str) -> None:
    """The server learns who the client is and where it had connected to, also from a header that came in."""
    says = 'http-request return status 200 content-type text/plain lf-string "%[src]:%[src_port] %[dst]:%[dst_port]|"'
    behind = haproxy("http", "accept-proxy", says)
    eventually(lambda: can_connect(behind), "HAProxy to listen")
    header = through == "another header"
    keys = f'send_proxy_protocol = "{version}"\n' + (TRUSTED if header else "")
    firewall = serve(LISTENER.format(port=behind[1], keys=keys))
    ours = client.connect(firewall.address("www"), "127.0.0.1" if header else "127.0.0.9")
    ours.sendall((HEADERS[1] if header else b"") + b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while data := ours.recv(4096):
        answer += data
    own = "127.0.0.9:{} {}:{}".format(ours.getsockname()[1], *firewall.address("www"))
    expected = f"{CLIENT} {SERVED}" if header else own
    assert answer.partition(b"\r\n\r\n")[2].decode() == expected + "|"


@pytest.mark.path(entry="proxy-header", exit="direct", transport="tcp")
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("pieces", ["together", "apart"])
def test_before_a_proxy_request(serve: Any, origin: Any, client: Any, version: int, pieces: str) -> None:
    """On a proxy port the handshake follows, in the same packet or byte after byte."""
    server = origin()
    firewall = serve(PROXY + TRUSTED)
    ours = client.connect(firewall.address())
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = HEADERS[version] + b"\x05\x01\x00" + client.socks_request(server.address)
    for place in range(0, len(data), len(data) if pieces == "together" else 1):
        ours.sendall(data[place : place + (len(data) if pieces == "together" else 1)])
    assert client.exactly(ours, 2) == b"\x05\x00"
    assert client.exactly(ours, 10)[:2] == b"\x05\x00"
    ours.sendall(b"hello")
    assert client.exactly(ours, 5) == b"hello"
    ours.close()
    row = firewall.wait_row(Action=int(Action.Terminate))
    assert (row["SourceIP"], row["SourcePort"], row["SourceProxy"]) == ("127.0.0.9", 4000, "127.0.0.1")
    firewall.wait_base_line()


@pytest.mark.path(entry="proxy-header", exit="direct", transport="tcp")
@pytest.mark.parametrize("pieces", ["together", "apart"])
@pytest.mark.parametrize("kind", ["plain HTTP", "a password"])
def test_before_other_requests(serve: Any, origin: Any, client: Any, kind: str, pieces: str) -> None:
    """Plain HTTP and a password may follow the header as well; the onward connection is the client's."""
    server = origin(_answer_with_a_page)
    hashed = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("secret")
    users = f'[[user]]\nname = "ann"\npassword = "{hashed}"\n'
    firewall = serve(PROXY + 'authenticate = "optional"\n' + TRUSTED + "\n" + users)
    ours = client.connect(firewall.address())
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = HEADERS[2]
    if kind == "plain HTTP":
        data += b"GET http://%s:%d/ HTTP/1.1\r\nHost: x\r\n" % (server.host.encode(), server.port)
        data += b"Proxy-Authorization: Basic YW5uOnNlY3JldA==\r\n\r\n"
    else:
        data += b"\x05\x01\x02\x01\x03ann\x06secret" + client.socks_request(server.address) + b"GET / HTTP/1.1\r\n\r\n"
    for place in range(0, len(data), len(data) if pieces == "together" else 1):
        ours.sendall(data[place : place + (len(data) if pieces == "together" else 1)])
    expected = b"" if kind == "plain HTTP" else b"\x05\x02\x01\x00\x05\x00\x00"
    answer = b""
    while b"page" not in answer:
        answer += client.exactly(ours, 1)
    assert answer.startswith(expected)
    ours.close()
    row = firewall.wait_row(Action=int(Action.Terminate))
    assert (row["SourceIP"], row["SourcePort"], row["SourceProxy"]) == ("127.0.0.9", 4000, "127.0.0.1")
    assert row["ClientUserName"] == "ann"
    firewall.wait_base_line()


def _answer_with_a_page(peer: socket.socket) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        head += peer.recv(4096)
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage")


@pytest.mark.parametrize(
    ("source", "data", "reason"),
    [
        ("127.0.0.2", HEADERS[1], "127.0.0.2 may not send PROXY headers (trusted)"),
        ("127.0.0.1", b"GET / HTTP/1.1\r\n\r\n", "does not begin with a PROXY header"),
        ("127.0.0.1", HEADERS[2][:20], "before the deadline (handshake_seconds)"),
        ("127.0.0.1", b"", "before the deadline (handshake_seconds)"),
    ],
)
def test_refused(serve: Any, origin: Any, client: Any, source: str, data: bytes, reason: str) -> None:
    """Reset before the server hears of it, and logged under the sender."""
    server = origin()
    keys = TRUSTED + "\n[limits]\nhandshake_seconds = 1\n"
    firewall = serve(LISTENER.format(port=server.port, keys=keys))
    ours = client.connect(firewall.address("www"), source)
    assert reset(ours, data)
    row = firewall.wait_row()
    assert (row["SourceIP"], row["Interface"]) == (source, "www")
    assert reason in row["reason"]
    assert row["Action"] == (Action.Denied if source == "127.0.0.2" else Action.Failed)
    assert server.connections == 0
    firewall.wait_base_line()


def test_limits_are_the_clients(serve: Any, origin: Any, client: Any) -> None:
    """A load balancer brings as many as it likes; each client that it speaks for may have two."""
    server = origin()
    keys = TRUSTED + "\n[limits]\ntcp_per_address = 2\ntcp_connects_per_minute_per_address = 4\n"
    firewall = serve(LISTENER.format(port=server.port, keys=keys))

    def begin(host: str) -> Any:
        ours = client.connect(firewall.address("www"))
        ours.sendall(proxy_header(2, SocketAddress(host, 1), SERVED) + b"x")
        return ours

    opened = [begin(f"127.0.1.{number // 2}") for number in range(12)]
    assert [client.exactly(each, 1) for each in opened] == [b"x"] * 12
    assert reset(begin("127.0.1.0"))
    row = firewall.wait_row()
    assert (row["SourceIP"], row["reason"]) == ("127.0.1.0", "127.0.1.0 has 2 connections (tcp_per_address)")
    for each in opened:
        each.close()
    firewall.wait_rows(12, Action=int(Action.Terminate))
    assert client.exactly(begin("127.0.1.0"), 1) == b"x"


def test_sigterm_while_a_header_is_awaited(serve: Any, origin: Any, client: Any) -> None:
    firewall = serve(LISTENER.format(port=origin().port, keys=TRUSTED))
    ours = client.connect(firewall.address("www"))
    ours.sendall(HEADERS[1][:10])
    firewall.tell()
    firewall.wait_stopped(seconds=5)
    assert reset(ours)
