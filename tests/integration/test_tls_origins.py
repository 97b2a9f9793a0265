"""TLS towards a published server: nginx, ``openssl s_server`` and HAProxy behind, HAProxy in the service's place."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import HRESULT_FROM_WIN32, WSAECONNABORTED, WSAETIMEDOUT
from tests.integration.tlsparts import NAME, Address, Certificates, Controls, Conversation, served

LISTENER = """
[[listener]]
name = "www"
kind = "publish"
bind = "127.0.0.1:0"
to = "127.0.0.1:{port}"
{keys}
"""
NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{}}
stream {{ server {{
  listen 127.0.0.1:{{port}} ssl; ssl_certificate {certificate}; ssl_certificate_key {certificate};
  return "$ssl_server_name $ssl_protocol";
}} }}
"""
TO_TLS = pytest.mark.path(entry="publish", exit="tls", transport="tcp")
BOTH = pytest.mark.path(entry="publish-tls", exit="tls", transport="tcp")
FRONTS = [
    pytest.param("uvloop", marks=TO_TLS),
    pytest.param("asyncio", marks=TO_TLS),
    pytest.param("haproxy", marks=pytest.mark.requires("haproxy")),
]


def trusting(certificates: Certificates, more: str = "") -> str:
    return f'to_tls = {{ ca = "{certificates.ca}", server_name = "{NAME}"{more} }}'


@pytest.fixture
def publish(serve: Any, certificates: Certificates, controls: Controls) -> Callable[..., tuple[Address, Any]]:
    """Lay TLS towards the server at a port; return where plain clients come in, and the service."""

    def start(front: str, port: int) -> tuple[Address, Any]:
        if front == "haproxy":
            options = f"ssl verify required ca-file {certificates.ca} sni str({NAME}) verifyhost {NAME}"
            server = f"listen www\n  bind 127.0.0.1:{{port}}\n  server s 127.0.0.1:{port} {options}\n"
            return controls.haproxy(server), None
        firewall = serve(LISTENER.format(port=port, keys=trusting(certificates)), loop=front)
        return firewall.address("www"), firewall

    return start


def echo(peer: ssl.SSLSocket) -> None:
    while data := peer.recv(1 << 16):
        peer.sendall(data)
    peer.unwrap()


@pytest.mark.parametrize("front", FRONTS)
def test_to_openssl(publish: Any, certificates: Certificates, controls: Controls, client: Any, front: str) -> None:
    """A page of ``openssl s_server``, which says what it saw."""
    options = ("-quiet", "-www", "-cert", str(certificates.www), "-servername", NAME, "-cert2", str(certificates.www))
    server = controls.program("openssl", "s_server", "-accept", "127.0.0.1:{port}", *options)
    address, firewall = publish(front, server[1])
    ours = client.connect(address)
    ours.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = client.to_end(ours)
    ours.close()
    assert b"TLSv1.3" in answer
    if firewall is not None:
        row = firewall.wait_row(Action=int(Action.Terminate))
        assert row["resultcode"] == 0
        firewall.wait_base_line()


@pytest.mark.parametrize("front", FRONTS)
def test_what_the_server_sees(publish: Any, origin: Any, certificates: Certificates, client: Any, front: str) -> None:
    """The name as SNI, TLS 1.3, no application protocol; the client's half-close as close_notify, the rest comes."""
    seen: list[Any] = []

    def answer(peer: ssl.SSLSocket) -> None:
        total = 0
        while data := peer.recv(1 << 16):
            total += len(data)
        seen.append((peer.version(), peer.selected_alpn_protocol(), total))
        peer.sendall(b"x" * total)
        peer.unwrap()

    context = certificates.server_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.sni_callback = lambda tls, name, context: seen.append(name)
    address, firewall = publish(front, origin(served(context, answer)).port)
    ours = client.connect(address)
    ours.sendall(b"y" * 1_000_000)
    ours.shutdown(socket.SHUT_WR)
    assert client.to_end(ours) == b"x" * 1_000_000
    assert seen == [NAME, ("TLSv1.3", None, 1_000_000)]
    if firewall is not None:
        row = firewall.wait_row(Action=int(Action.Terminate))
        assert (row["resultcode"], row["bytessent"], row["bytesrecvd"]) == (0, 1_000_000, 1_000_000)
        firewall.wait_base_line()


@BOTH
@pytest.mark.parametrize("filtered", [False, True])
def test_terminated_and_originated(
    serve: Any, origin: Any, certificates: Certificates, client: Any, filtered: bool
) -> None:
    """Plain in the middle alone: a filter sees the text, and both ends speak TLS."""
    keys = certificates.tls() + "\n" + trusting(certificates)
    port = origin(served(certificates.server_context(), echo)).port
    watched = """
class Watching(Data):
    def inspect(self, to_server, buffer):
        if b"in plain text" in bytes(buffer.GetBufferAndSize()):
            print("the filter saw it", file=__import__("sys").stderr, flush=True)
        return buffer

def _handle(self, pProxyEvent):
    connection = pProxyEvent.Parameters.Connect.piConnection
    connection.AttachDataFilter(Watching(self.firewall, connection), sdk.fwx_dfpc_Middle, None)

Session.FirewallEventHandler = _handle
"""
    firewall = serve(LISTENER.format(port=port, keys=keys), filters={"f": watched} if filtered else None)
    ours = Conversation(client.connect(firewall.address("www")), certificates.context())
    ours.shake()
    for size in (1, 16_384, 16_385, 3_000_000):
        data = bytes(range(256)) * (size // 256) + b"z" * (size % 256)
        ours.send(data)
        back = b""
        while len(back) < size:
            back += ours.receive()
        assert back == data
    ours.send(b"this is in plain text")
    assert ours.receive() == b"this is in plain text"
    ours.end()
    assert ours.to_end() == b""
    row = firewall.wait_row(Action=int(Action.Terminate))
    assert row["resultcode"] == 0
    assert ("the filter saw it" in firewall.stderr()) == filtered
    firewall.wait_base_line()


@pytest.mark.path(entry="proxy-header", exit="tls", transport="tcp")
@TO_TLS
@pytest.mark.requires("haproxy")
def test_a_header_before_tls(serve: Any, certificates: Certificates, client: Any, controls: Controls) -> None:
    """HAProxy behind takes the PROXY header first, in plain, then TLS."""
    says = 'http-request return status 200 content-type text/plain lf-string "%[src] %[ssl_fc_sni]|"'
    behind = controls.haproxy(
        f"frontend f\n  mode http\n  bind 127.0.0.1:{{port}} accept-proxy ssl crt {certificates.www}\n  {says}\n"
    )
    keys = trusting(certificates) + '\nsend_proxy_protocol = "v1"'
    firewall = serve(LISTENER.format(port=behind[1], keys=keys))
    ours = client.connect(firewall.address("www"), "127.0.0.9")
    ours.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert client.to_end(ours).partition(b"\r\n\r\n")[2] == f"127.0.0.9 {NAME}|".encode()
    ours.close()
    firewall.wait_row(Action=int(Action.Terminate), resultcode=0)


# What goes wrong: the client is reset, the log says why, the server gets no byte of the client's.


@pytest.fixture
def refused(serve: Any, client: Any) -> Callable[..., str]:
    def run(port: int, keys: str, code: int = WSAECONNABORTED, **options: Any) -> str:
        firewall = serve(LISTENER.format(port=port, keys=keys), **options)
        with contextlib.suppress(ConnectionResetError):  # it may be refused before it has sent, or connected
            ours = client.connect(firewall.address("www"))
            ours.sendall(b"secret")
            assert client.to_end(ours) == b""
        row = firewall.wait_row()
        assert (row["Action"], row["resultcode"]) == (Action.Failed, int(HRESULT_FROM_WIN32(code)))
        firewall.wait_base_line()
        reason: str = row["reason"]
        return reason.removeprefix(f"TLS to 127.0.0.1:{port}: ")

    return run


def test_certificates_that_are_not_good(
    origin: Any, certificates: Certificates, refused: Any, serve: Any, client: Any
) -> None:
    got: list[bytes] = []
    ca = f'ca = "{certificates.ca}"'
    expired = certificates.issue("expired", NAME, not_after=datetime.now(UTC) - timedelta(days=1))
    cases = [
        (certificates.stranger, f'{ca}, server_name = "{NAME}"', "unable to get local issuer certificate"),
        (expired, f'{ca}, server_name = "{NAME}"', "certificate has expired"),
        (certificates.www, f'{ca}, server_name = "other.example"', "Hostname mismatch, certificate is not valid for"),
        (certificates.client, ca, "IP address mismatch, certificate is not valid for '127.0.0.1'."),
        (certificates.www, f'server_name = "{NAME}"', "self-signed certificate in certificate chain"),
    ]
    for file, keys, words in cases:
        server = origin(served(certificates.server_context(file), lambda peer: got.append(peer.recv(10))))
        reason = refused(server.port, f"to_tls = {{ {keys} }}")
        assert reason.startswith("the TLS handshake failed: certificate verify failed: ")
        assert words in reason or "unable to get local issuer" in reason
    assert not any(got)
    # The same certificates pass where nothing is verified, and a good one for an address without a name.
    for file, keys in ((certificates.stranger, "verify = false"), (certificates.www, ca)):
        server = origin(served(certificates.server_context(file), echo))
        firewall = serve(LISTENER.format(port=server.port, keys=f"to_tls = {{ {keys} }}"))
        ours = client.connect(firewall.address("www"))
        ours.sendall(b"hello")
        assert client.exactly(ours, 5) == b"hello"
        ours.close()


def test_servers_that_speak_no_tls(origin: Any, certificates: Certificates, refused: Any) -> None:
    def greet(peer: socket.socket) -> None:
        peer.sendall(b"220 mail.example ESMTP\r\n")
        peer.recv(1 << 16)

    def leave(peer: socket.socket) -> None:
        peer.recv(1)
        peer.recv(1 << 16)

    def reject(peer: socket.socket) -> None:
        peer.recv(1 << 16)
        peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    keys = trusting(certificates)
    assert refused(origin(greet).port, keys) == "the server does not speak TLS: first byte 0x32"
    assert refused(origin(reject).port, keys) == "the server does not speak TLS: first byte 0x48, as HTTP has it"
    assert refused(origin(leave).port, keys) == "the server ended the connection before a TLS handshake"


def test_a_server_that_says_nothing(origin: Any, certificates: Certificates, refused: Any) -> None:
    server = origin(lambda peer: [None for _ in iter(lambda: peer.recv(1 << 16), b"")])
    prelude = "import fwx.service; fwx.service.CONNECT_SECONDS = 0.5"
    reason = refused(server.port, trusting(certificates), WSAETIMEDOUT, prelude=prelude)
    assert reason == "the TLS handshake was not complete before the deadline"


def test_a_client_that_goes_away_meanwhile(
    serve: Any, origin: Any, client: Any, certificates: Certificates, eventually: Any
) -> None:
    server = origin(lambda peer: [None for _ in iter(lambda: peer.recv(1 << 16), b"")])
    firewall = serve(LISTENER.format(port=server.port, keys=trusting(certificates)))
    ours = client.connect(firewall.address("www"))
    eventually(lambda: server.connections == 1, "the connection to the server")
    client.reset(ours)
    row = firewall.wait_row()
    assert row["reason"] == "the client went away before it was connected"
    firewall.wait_base_line()


@BOTH
def test_a_cut_stream_is_cut_on_the_other_side(
    serve: Any, origin: Any, client: Any, certificates: Certificates
) -> None:
    """A server that ends without close_notify: the client gets what came, and no close_notify either."""

    def cut(peer: ssl.SSLSocket) -> None:
        peer.recv(1)
        peer.sendall(b"the first half")
        peer.shutdown(socket.SHUT_RDWR)

    server = origin(served(certificates.server_context(), cut))
    keys = certificates.tls() + "\n" + trusting(certificates)
    firewall = serve(LISTENER.format(port=server.port, keys=keys))
    ours = Conversation(client.connect(firewall.address("www")), certificates.context())
    ours.shake()
    ours.send(b"x")
    with pytest.raises(ConnectionResetError):
        ours.to_end()
    row = firewall.wait_row(Action=int(Action.Terminate))
    assert row["reason"] == "the server: TLS failed: the peer ended the connection without close_notify"
    firewall.wait_base_line()
