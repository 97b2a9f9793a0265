"""The proxy port behind TLS: SOCKS, CONNECT and plain HTTP with a password, by real clients; stunnel-like by socat."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from typing import Any

import argon2
import pytest

from fwx.impl.logrecord import Action
from tests.integration.tlsparts import NAME, Certificates, Controls, Conversation, secure

PROXY = """
[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:0"
authenticate = "{demand}"
{tls}
[[user]]
name = "ann"
password = "{password}"
"""
PASSWORD = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash("secret")
PAGE = b"the page of the origin\n"
TLS_TCP = {"exit": "direct", "transport": "tcp"}


def page(peer: socket.socket) -> None:
    head = b""
    while b"\r\n\r\n" not in head and (data := peer.recv(65536)):
        head += data
    peer.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE)


@pytest.fixture
def proxy(serve: Any, certificates: Certificates) -> Callable[..., Any]:
    def start(demand: str = "off", loop: str = "uvloop", more: str = "") -> Any:
        return serve(PROXY.format(demand=demand, tls=certificates.tls() + more, password=PASSWORD), loop=loop)

    return start


@pytest.fixture
def curl(program_path: Callable[[str], str], certificates: Certificates) -> Callable[..., Any]:
    def run(port: int, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [program_path("curl"), "-q", "-sS", "--noproxy", "", "-m", "30", "--proxy-cacert"]
        command += [str(certificates.ca), "-x", f"https://localhost:{port}", *arguments]
        return subprocess.run(command, capture_output=True, check=False, env={"PATH": os.environ["PATH"]})

    return run


@pytest.mark.requires("curl")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("demand", ["off", "required"])
@pytest.mark.parametrize(
    "way",
    [
        pytest.param("CONNECT", marks=pytest.mark.path(entry="tls+http-connect", **TLS_TCP)),
        pytest.param("plain", marks=pytest.mark.path(entry="tls+http", **TLS_TCP)),
    ],
)
def test_http_by_curl(proxy: Any, origin: Any, curl: Any, way: str, demand: str, loop: str) -> None:
    """With a password where one is asked for; the log has the user."""
    firewall = proxy(demand, loop)
    options = ["-p"] if way == "CONNECT" else []
    options += ["-U", "ann:secret"] if demand == "required" else []
    result = curl(firewall.address()[1], *options, f"http://127.0.0.1:{origin(page).port}/page")
    assert (result.returncode, result.stdout) == (0, PAGE), result
    row = firewall.wait_row(Action=int(Action.Terminate))
    assert (row["ClientUserName"] == "ann") == (demand == "required")
    assert row["resultcode"] == 0
    firewall.wait_base_line()


@pytest.mark.requires("curl")
@pytest.mark.parametrize("options", [(), ("-p",)])
def test_a_wrong_password_gets_its_answer(proxy: Any, origin: Any, curl: Any, options: tuple[str, ...]) -> None:
    firewall = proxy("required")
    target = f"http://127.0.0.1:{origin(page).port}/page"
    result = curl(firewall.address()[1], *options, "-w", "%{http_code} %{http_connect}", "-U", "ann:wrong", target)
    assert b"407" in result.stdout
    row = firewall.wait_row(Action=int(Action.Denied))
    assert row["ClientUserName"] == "ann (?)"
    firewall.wait_base_line()


@pytest.mark.path(entry="tls+http", **TLS_TCP)
@pytest.mark.requires("curl")
def test_many_requests_on_one_connection(proxy: Any, origin: Any, curl: Any) -> None:
    """Kept alive, to one server and then to another, with a body that does not fit into one record."""
    bodies: list[int] = []

    def keep(peer: socket.socket) -> None:
        data = b""
        while chunk := peer.recv(1 << 16):
            data += chunk
            head, end, body = data.partition(b"\r\n\r\n")
            length = int(next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))[15:])
            if end and len(body) == length:
                bodies.append(length)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                data = b""

    firewall = proxy()
    targets = [f"http://127.0.0.1:{origin(keep).port}/{number}" for number in range(2)]
    body = "x" * 1_000_000
    command = ["-d", body[:100_000], "-H", "Expect:"]
    result = curl(firewall.address()[1], *command, targets[0], targets[0], targets[1], targets[0])
    assert (result.returncode, result.stdout) == (0, b"ok" * 4), result.stderr
    assert bodies == [100_000] * 4
    firewall.wait_base_line()


@pytest.mark.path(entry="tls+socks5", **TLS_TCP)
@pytest.mark.requires("curl", "socat")
@pytest.mark.parametrize("kind", ["socks5", "socks5h", "socks4", "socks4a"])
def test_socks_by_curl_through_socat(
    proxy: Any, origin: Any, program_path: Any, certificates: Certificates, controls: Controls, kind: str
) -> None:
    """No client speaks SOCKS over TLS by itself: socat lays the TLS."""
    firewall = proxy()
    port = firewall.address()[1]
    tls = f"OPENSSL:127.0.0.1:{port},cafile={certificates.ca},commonname={NAME},snihost={NAME}"
    _, local = controls.program("socat", "TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr", tls)
    target = f"http://localhost:{origin(page).port}/page"
    command = [program_path("curl"), "-q", "-sS", "-4", "-m", "30", "-x", f"{kind}://127.0.0.1:{local}", target]
    result = subprocess.run(command, capture_output=True, check=False, env={"PATH": os.environ["PATH"]})
    assert (result.returncode, result.stdout) == (0, PAGE), result
    row = firewall.wait_row(Action=int(Action.Terminate))
    assert row["resultcode"] == 0
    firewall.wait_base_line()


@pytest.mark.path(entry="tls+socks5", **TLS_TCP)
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_everything_byte_after_byte(
    proxy: Any, origin: Any, client: Any, certificates: Certificates, loop: str
) -> None:
    """TLS, a SOCKS5 request with a password, and data: one byte a segment, and all records in one."""
    server = origin()
    firewall = proxy("required", loop)
    request = b"\x05\x01\x02" + b"\x01\x03ann\x06secret" + client.socks_request(server.address) + b"hello"
    for chunk in (1, 1 << 20):
        ours = Conversation(client.connect(firewall.address()), certificates.context())
        ours.shake(chunk)
        for place in range(0, len(request), chunk):
            ours.send(request[place : place + chunk], chunk)
        answer = b""
        while not answer.endswith(b"hello"):
            answer += ours.receive()
        assert answer[:6] == b"\x05\x02\x01\x00\x05\x00"
        ours.end(fin=True)
        assert ours.to_end() == b""
    rows = firewall.wait_rows(2, Action=int(Action.Terminate))
    assert [(row["resultcode"], row["ClientUserName"]) for row in rows] == [(0, "ann")] * 2
    firewall.wait_base_line()


def test_a_denial_is_read_to_its_end(proxy: Any, client: Any, certificates: Certificates) -> None:
    """The refusal comes whole, and close_notify behind it, though the client has sent more than was read."""
    rule = '\n[[rule]]\nname = "none"\naction = "deny"\nprotocols = ["any"]\nfrom = ["any"]\nto = ["any"]\n'
    firewall = proxy(more=rule)
    ours = Conversation(client.connect(firewall.address()), certificates.context())
    ours.shake()
    ours.send(b"CONNECT 192.0.2.1:80 HTTP/1.1\r\nHost: a\r\n\r\n" + bytes(100_000))
    assert ours.to_end().startswith(b"HTTP/1.1 403 ")
    firewall.wait_row(Action=int(Action.Denied))
    ours.end(fin=True)
    firewall.wait_base_line()


def test_plain_and_tls_are_told_apart(serve: Any, proxy: Any, client: Any, certificates: Certificates) -> None:
    """Each on the other's port is refused, and the record says what it was."""
    encrypted, plain = proxy(), serve()
    ours = client.connect(encrypted.address())
    ours.sendall(b"\x05\x01\x00")
    with pytest.raises(ConnectionResetError):
        ours.recv(1)
    row = encrypted.wait_row()
    assert row["reason"] == "the client does not speak TLS: first byte 0x05, as SOCKS has it"
    with pytest.raises(OSError, match=r".*"):
        secure(client.connect(plain.address()), certificates.context())
    assert plain.wait_row()["reason"].startswith("TLS (first byte 0x16) on the proxy port")
