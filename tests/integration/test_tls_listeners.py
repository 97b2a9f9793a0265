"""A published server behind a listener that ends TLS: real clients, every way to end, every way to go wrong.

What a proxy has to do is tried with HAProxy in the service's place too, which shows that the test is right.
"""

from __future__ import annotations

import hashlib
import os
import random
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import HRESULT_FROM_WIN32, WSAECONNABORTED, WSAECONNRESET, WSAETIMEDOUT
from fwx.proxy.proxy_header import proxy_header
from tests.integration.proxies import free_port
from tests.integration.tlsparts import NAME, Certificates, Controls, Conversation, secure

LISTENER = """
[[listener]]
name = "www"
kind = "publish"
bind = "127.0.0.1:0"
to = "127.0.0.1:{port}"
{keys}
"""
LIMITS = """
[limits]
handshake_seconds = 0.5
tcp_per_address = 2000
tcp_connects_per_minute_per_address = 5000
"""
BIG = random.Random(5).randbytes(8 << 20)
Address = tuple[str, int]

PUBLISHED = pytest.mark.path(entry="publish-tls", exit="direct", transport="tcp")
FRONTS = [
    pytest.param("uvloop", marks=PUBLISHED),
    pytest.param("asyncio", marks=PUBLISHED),
    pytest.param("haproxy", marks=pytest.mark.requires("haproxy")),
]


@pytest.fixture
def publish(serve: Any, certificates: Certificates, controls: Controls) -> Callable[..., tuple[Address, Any]]:
    """Put TLS before the plain server at a port; return where it listens, and the service, ``None`` for HAProxy."""

    def start(front: str, port: int, more: str = "") -> tuple[Address, Any]:
        if front == "haproxy":
            return controls.haproxy(
                f"listen www\n  bind 127.0.0.1:{{port}} ssl crt {certificates.www}\n  server s 127.0.0.1:{port}\n"
            ), None
        firewall = serve(LISTENER.format(port=port, keys=certificates.tls()) + more, loop=front)
        return firewall.address("www"), firewall

    return start


def drop(opened: socket.socket) -> None:
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    opened.close()


def fill(opened: socket.socket) -> None:
    """Send until nothing more goes in, for a moment."""
    try:
        for _ in range(10_000):
            opened.send(BIG[:100_000])
    except (ssl.SSLWantWriteError, BlockingIOError):
        return
    pytest.fail("a reader that stands still took a gigabyte")


# Real clients.

CLIENTS = {
    "curl": ("-q", "-sS", "--noproxy", "*", "--cacert", "{ca}", "--resolve", "{name}:{port}:127.0.0.1", "{url}"),
    "openssl": ("s_client", "-quiet", "-CAfile", "{ca}", "-verify_return_error", "-servername", "{name}",
                "-verify_hostname", "{name}", "-connect", "127.0.0.1:{port}"),
    "gnutls-cli": ("--logfile=/dev/null", "--x509cafile={ca}", "--sni-hostname={name}", "--verify-hostname={name}",
                   "-p", "{port}", "127.0.0.1"),
    "socat": ("-t20", "-", "OPENSSL:127.0.0.1:{port},cafile={ca},commonname={name},snihost={name}"),
    "wget": ("-q", "-O-", "--no-proxy", "--ca-certificate={ca}", "https://localhost:{port}/page"),
}  # fmt: skip


def page(client: socket.socket) -> None:
    head = b""
    while b"\r\n\r\n" not in head and (data := client.recv(65536)):
        head += data
    client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\npage\n")


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("program", [pytest.param(name, marks=pytest.mark.requires(name)) for name in CLIENTS])
def test_real_clients(
    publish: Any, origin: Any, certificates: Certificates, program_path: Any, program: str, front: str
) -> None:
    """Each checks the certificate and its name."""
    (_, port), firewall = publish(front, origin(page).port)
    words = {"ca": certificates.ca, "name": NAME, "port": port, "url": f"https://{NAME}:{port}/page"}
    command = [program_path(program), *(each.format(**words) for each in CLIENTS[program])]
    request = b"" if program in ("curl", "wget") else b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"
    result = subprocess.run(
        command, input=request, capture_output=True, timeout=30, check=False, env={"PATH": os.environ["PATH"]}
    )
    assert result.stdout.endswith(b"page\n"), result
    if firewall is not None:
        row = firewall.wait_row(Action=int(Action.Terminate))
        # wget goes away without reading close_notify, which makes its kernel reset the connection.
        assert row["Interface"] == "www"
        assert row["resultcode"] == 0 or program == "wget"
        firewall.wait_base_line()


@pytest.mark.requires("openssl")
def test_what_is_spoken(publish: Any, origin: Any, certificates: Certificates, client: Any, program_path: Any) -> None:
    """TLS 1.2 and 1.3, nothing older; no application protocol is chosen; sessions are resumed."""
    address, firewall = publish("uvloop", origin().port)
    for version, spoken in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        context = certificates.context(maximum_version=version)
        context.set_alpn_protocols(["h2", "http/1.1"])
        session = None
        for turn in range(2):
            with context.wrap_socket(client.connect(address), server_hostname=NAME, session=session) as tls:
                tls.sendall(b"hello")
                assert client.exactly(tls, 5) == b"hello"
                assert (tls.version(), tls.selected_alpn_protocol()) == (spoken, None)
                assert tls.session_reused == bool(turn)
                session = tls.session
                tls.unwrap()
    firewall.wait_rows(4, Action=int(Action.Terminate), resultcode=0)
    command = [program_path("openssl"), "s_client", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-connect"]
    old = subprocess.run([*command, f"127.0.0.1:{address[1]}"], input=b"", capture_output=True, timeout=30, check=False)
    assert b"alert protocol version" in old.stderr
    row = firewall.wait_row(Action=int(Action.Failed))
    assert row["reason"] == "the TLS handshake failed: unsupported protocol"


@pytest.mark.requires("openssl")
def test_renegotiation_is_refused(publish: Any, origin: Any, certificates: Certificates, program_path: Any) -> None:
    address, firewall = publish("uvloop", origin().port)
    command = [program_path("openssl"), "s_client", "-tls1_2", "-CAfile", str(certificates.ca), "-connect"]
    result = subprocess.run(
        [*command, f"127.0.0.1:{address[1]}"], input=b"R\n", capture_output=True, timeout=30, check=False
    )
    assert b"RENEGOTIATING" in result.stdout + result.stderr
    assert b"no renegotiation" in result.stdout + result.stderr
    firewall.wait_row(Action=int(Action.Terminate))
    firewall.wait_base_line()


# Bytes, ends and resets.


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("fin", [True, False])
def test_half_close(publish: Any, origin: Any, certificates: Certificates, client: Any, front: str, fin: bool) -> None:
    """close_notify, with FIN behind it or not, ends what the server gets; the answer still comes, and its end."""
    if front == "haproxy" and fin:
        pytest.skip("HAProxy takes FIN of a TLS client for its end, the answer is lost")
    address, firewall = publish(front, origin("answer_at_end").port)
    ours = Conversation(client.connect(address), certificates.context())
    ours.shake()
    ours.send(BIG[:500_000])
    ours.end(fin=fin)
    assert ours.to_end() == b"500000 bytes"
    assert ours.plain.recv(1) == b""
    ours.plain.close()
    if firewall is not None:
        row = firewall.wait_row(Action=int(Action.Terminate))
        assert (row["resultcode"], row["bytessent"], row["bytesrecvd"]) == (0, 500_000, 12)
        firewall.wait_base_line()


@pytest.mark.parametrize("front", FRONTS)
def test_both_ways_at_once(publish: Any, origin: Any, certificates: Certificates, client: Any, front: str) -> None:
    """8 MiB there and back, while neither waits for the other."""
    address, firewall = publish(front, origin().port)
    ours = secure(client.connect(address), certificates.context())
    back = hashlib.sha256()
    left = len(BIG)
    with ours:
        sending = memoryview(BIG)
        ours.setblocking(False)
        while left:
            try:
                while sending:
                    sending = sending[ours.send(sending[:100_000]) :]
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                pass
            try:
                while data := ours.recv(1 << 16):
                    back.update(data)
                    left -= len(data)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                continue
        ours.settimeout(60)
        ours.unwrap()
    assert back.digest() == hashlib.sha256(BIG).digest()
    if firewall is not None:
        row = firewall.wait_row(Action=int(Action.Terminate))
        assert (row["resultcode"], row["bytessent"], row["bytesrecvd"]) == (0, len(BIG), len(BIG))


@pytest.mark.parametrize("front", FRONTS)
def test_a_slow_reader_gets_all(
    publish: Any, origin: Any, certificates: Certificates, client: Any, eventually: Any, front: str
) -> None:
    """The server has sent everything and gone before the client reads."""
    # What fits into the kernel's buffers and the service's; the rest would keep the server.
    size = 3 << 20
    gone = []

    def send(peer: socket.socket) -> None:
        peer.recv(1)
        peer.sendall(BIG[:size])
        gone.append(True)

    address, firewall = publish(front, origin(send).port)
    ours = Conversation(client.connect(address), certificates.context())
    ours.shake()
    ours.send(b"x")
    ours.end()
    eventually(lambda: gone, "the server to have sent everything")
    assert hashlib.sha256(ours.to_end()).digest() == hashlib.sha256(BIG[:size]).digest()
    ours.plain.close()
    if firewall is not None:
        row = firewall.wait_row(Action=int(Action.Terminate))
        assert (row["resultcode"], row["bytesrecvd"]) == (0, size)
        firewall.wait_base_line()


@pytest.mark.parametrize("front", FRONTS[:2])
@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_is_kept(
    publish: Any, origin: Any, certificates: Certificates, client: Any, eventually: Any, front: str, who: str
) -> None:
    seen: list[str] = []

    def serve_one(peer: socket.socket) -> None:
        assert peer.recv(1) == b"x"
        if who == "server":
            drop(peer)
            return
        peer.sendall(b"y")
        try:
            seen.append(repr(peer.recv(1)))
        except ConnectionResetError:
            seen.append("reset")

    address, firewall = publish(front, origin(serve_one).port)
    ours = Conversation(client.connect(address), certificates.context())
    ours.shake()
    ours.send(b"x")
    if who == "server":
        with pytest.raises(ConnectionResetError):
            ours.receive()
    else:
        assert ours.receive() == b"y"
        drop(ours.plain)
        eventually(lambda: seen, "the server to hear of the reset")
        assert seen == ["reset"]
    row = firewall.wait_row(Action=int(Action.Terminate))
    assert row["resultcode"] == int(HRESULT_FROM_WIN32(WSAECONNRESET))
    firewall.wait_base_line()


@PUBLISHED
@pytest.mark.parametrize("filtered", [False, True])
def test_an_end_without_close_notify_is_no_end(
    serve: Any, origin: Any, certificates: Certificates, client: Any, eventually: Any, filtered: bool
) -> None:
    """What came before it arrives; then the server is reset, since somebody may have cut the stream."""
    seen: list[bytes] = []

    def read(peer: socket.socket) -> None:
        try:
            while data := peer.recv(100):
                seen.append(data)
            seen.append(b"end")
        except ConnectionResetError:
            seen.append(b"reset")

    server = origin(read)
    keys = LISTENER.format(port=server.port, keys=certificates.tls())
    firewall = serve(keys, filters={"plain": ""} if filtered else None)
    ours = Conversation(client.connect(firewall.address("www")), certificates.context())
    ours.shake()
    ours.send(b"a part")
    eventually(lambda: seen, "the part to arrive")
    ours.plain.shutdown(socket.SHUT_WR)
    row = firewall.wait_row(Action=int(Action.Terminate))
    eventually(lambda: seen[-1] != b"a part", "the server to hear of the end")
    assert (b"".join(seen[:-1]), seen[-1]) == (b"a part", b"reset")
    assert row["reason"] == "the client: TLS failed: the peer ended the connection without close_notify"
    assert row["resultcode"] == int(HRESULT_FROM_WIN32(WSAECONNABORTED))
    firewall.wait_base_line()


@PUBLISHED
def test_bytes_that_were_changed_on_the_way(publish: Any, origin: Any, certificates: Certificates, client: Any) -> None:
    address, firewall = publish("uvloop", origin().port)
    ours = Conversation(client.connect(address), certificates.context())
    ours.shake()
    ours.plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        ours.to_end()
    row = firewall.wait_row(Action=int(Action.Terminate))
    assert row["reason"] == "the client: TLS failed: decryption failed or bad record mac"


@PUBLISHED
@pytest.mark.parametrize("filtered", [False, True])
def test_filters_see_plain_bytes(
    serve: Any, origin: Any, certificates: Certificates, client: Any, filtered: bool
) -> None:
    """A filter that changes what passes; without one the bytes pass as they are."""
    source = """
class Changing(Data):
    def inspect(self, to_server, buffer):
        data = bytes(buffer.GetBufferAndSize())
        return self.firewall.CreateConstBuffer(data.replace(b"plain", b"PLAIN")) if to_server and data else buffer

def _handle(self, pProxyEvent):
    connection = pProxyEvent.Parameters.Connect.piConnection
    connection.AttachDataFilter(Changing(self.firewall, connection), sdk.fwx_dfpc_Middle, None)

Session.FirewallEventHandler = _handle
"""
    firewall = serve(
        LISTENER.format(port=origin().port, keys=certificates.tls()), filters={"f": source} if filtered else None
    )
    with secure(client.connect(firewall.address("www")), certificates.context()) as ours:
        ours.sendall(b"in plain text")
        assert client.exactly(ours, 13) == (b"in PLAIN text" if filtered else b"in plain text")
        ours.sendall(BIG[:1_000_000])
        assert client.exactly(ours, 1_000_000) == BIG[:1_000_000]
        ours.unwrap()
    row = firewall.wait_row(Action=int(Action.Terminate))
    assert (row["resultcode"], row["bytessent"]) == (0, 1_000_013)
    firewall.wait_base_line()


@PUBLISHED
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_byte_after_byte(publish: Any, origin: Any, certificates: Certificates, client: Any, loop: str) -> None:
    """The ClientHello, the rest of the handshake and a record, each byte a segment of its own."""
    address, firewall = publish(loop, origin().port)
    ours = Conversation(client.connect(address), certificates.context())
    ours.shake(chunk=1)
    ours.send(b"hello", chunk=1)
    assert ours.receive() == b"hello"
    ours.end()
    assert ours.to_end() == b""
    firewall.wait_row(Action=int(Action.Terminate), resultcode=0)


@PUBLISHED
@pytest.mark.parametrize("reads", [True, False])
def test_who_stands_still_costs_little(
    serve: Any, origin: Any, certificates: Certificates, client: Any, eventually: Any, reads: bool
) -> None:
    """Sixteen connections of which one side does not read, for good: at most 2 MiB each are waiting."""
    stop = threading.Event()

    def serve_one(peer: socket.socket) -> None:
        peer.recv(1)
        if not reads:
            stop.wait()
        while not stop.is_set():
            peer.sendall(BIG[:100_000])

    server = origin(serve_one)
    firewall = serve(LISTENER.format(port=server.port, keys=certificates.tls()))
    address = firewall.address("www")
    before = firewall.memory()
    for _ in range(16):
        ours = secure(client.connect(address), certificates.context())
        ours.sendall(b"x")
        ours.setblocking(False)
        client._opened.callback(ours.close)
        if not reads:
            fill(ours)
    eventually(lambda: server.connections == 16, "16 connections")
    grown = firewall.memory() - before
    stop.set()
    assert grown < 16 * 2 << 20, f"{grown / 16 / (1 << 20):.2f} MiB each"


# Together with the PROXY protocol.


@pytest.mark.path(entry="proxy-header", exit="direct", transport="tcp")
@PUBLISHED
@pytest.mark.requires("haproxy")
@pytest.mark.parametrize("pieces", ["together", "apart"])
def test_behind_a_proxy_header(serve: Any, origin: Any, certificates: Certificates, client: Any, pieces: str) -> None:
    """The header comes before TLS, in one segment with it or byte after byte; the record has the client."""
    keys = certificates.tls() + '\nproxy_protocol = "require"\ntrusted = ["127.0.0.1"]'
    firewall = serve(LISTENER.format(port=origin().port, keys=keys))
    ours = Conversation(client.connect(firewall.address("www")), certificates.context())
    header = proxy_header(2, SocketAddress("127.0.0.9", 4000), SocketAddress("203.0.113.1", 443))
    first = header + ours.hello()
    step = len(first) if pieces == "together" else 1
    for place in range(0, len(first), step):
        ours.plain.sendall(first[place : place + step])
    ours.shake()
    ours.send(b"hello")
    assert ours.receive() == b"hello"
    ours.end()
    row = firewall.wait_row(Action=int(Action.Terminate))
    assert (row["SourceIP"], row["SourcePort"], row["SourceProxy"]) == ("127.0.0.9", 4000, "127.0.0.1")


@PUBLISHED
@pytest.mark.requires("haproxy")
def test_before_and_behind_haproxy(serve: Any, certificates: Certificates, client: Any, controls: Controls) -> None:
    """HAProxy before sends PROXY headers and passes TLS on, HAProxy behind takes PROXY headers and plain HTTP."""
    says = 'http-request return status 200 content-type text/plain lf-string "%[src] %[dst]|"'
    behind = controls.haproxy(f"frontend f\n  mode http\n  bind 127.0.0.1:{{port}} accept-proxy\n  {says}\n")
    keys = f'{certificates.tls()}\nproxy_protocol = "require"\ntrusted = ["127.0.0.1"]\nsend_proxy_protocol = "v2"'
    firewall = serve(LISTENER.format(port=behind[1], keys=keys))
    port = firewall.address("www")[1]
    before = controls.haproxy(f"listen f\n  bind 127.0.0.1:{{port}}\n  server s 127.0.0.1:{port} send-proxy-v2\n")
    with secure(client.connect(before, "127.0.0.9"), certificates.context()) as ours:
        ours.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.to_end(ours).partition(b"\r\n\r\n")[2] == b"127.0.0.9 127.0.0.1|"
    row = firewall.wait_row(Action=int(Action.Terminate))
    assert (row["SourceIP"], row["SourceProxy"]) == ("127.0.0.9", "127.0.0.1")


# Certificates of clients.


def refused(ours: Conversation) -> None:
    """In TLS 1.3 the client's handshake is done when its certificate is refused: it hears of it by the first read."""
    ours.shake()
    ours.receive()


@PUBLISHED
def test_certificates_of_clients(serve: Any, origin: Any, certificates: Certificates, client: Any) -> None:
    keys = certificates.tls(f', ca = "{certificates.ca}"')
    firewall = serve(LISTENER.format(port=origin().port, keys=keys))
    address = firewall.address("www")
    shown = certificates.context()
    shown.load_cert_chain(certificates.client)
    with secure(client.connect(address), shown) as ours:
        ours.sendall(b"hello")
        assert client.exactly(ours, 5) == b"hello"
        ours.unwrap()
    firewall.wait_row(Action=int(Action.Terminate), resultcode=0)
    strange = certificates.context()
    strange.load_cert_chain(certificates.stranger)
    reasons = {"peer did not return a certificate": certificates.context(), "certificate verify failed: ": strange}
    for count, (reason, context) in enumerate(reasons.items(), 1):
        ours = Conversation(client.connect(address), context)
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            refused(ours)
        row = firewall.wait_rows(count, Action=int(Action.Failed))[-1]
        assert row["reason"].startswith(f"the TLS handshake failed: {reason}")


# What goes wrong.


def tls_hello(certificates: Certificates) -> bytes:
    left, right = socket.socketpair()
    with left, right:
        context = certificates.context()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        with pytest.raises(ssl.SSLWantReadError):
            context.wrap_bio(incoming, outgoing, server_hostname=NAME).do_handshake()
        return outgoing.read()


PLAIN = "the client does not speak TLS: first byte "
WRONG: dict[str, tuple[bytes, str]] = {
    "HTTP": (b"GET / HTTP/1.1\r\n\r\n", PLAIN + "0x47, as HTTP has it"),
    "SOCKS5": (b"\x05\x01\x00", PLAIN + "0x05, as SOCKS has it"),
    "SSH": (b"SSH-2.0-OpenSSH\r\n", PLAIN + "0x53, as SSH has it"),
    "a PROXY header": (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", PLAIN + "0x50, as the PROXY protocol has it"),
    "one zero": (b"\x00", PLAIN + "0x00"),
    "SSLv2": (b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10", PLAIN + "0x80"),
    "zeros": (bytes(200_000), PLAIN + "0x00"),
    "garbage in a record": (b"\x16\x03\x01\x00\x20" + b"\xaa" * 32, "the TLS handshake failed: "),
    "an oversized record": (b"\x16\x03\x01\xff\xff" + bytes(70_000), "the TLS handshake failed: "),
    "an oversized hello": (b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16_380), "the TLS handshake failed: "),
    "data before the handshake": (b"\x17\x03\x03\x00\x05hello", PLAIN + "0x17"),
    "an alert": (b"\x15\x03\x03\x00\x02\x02\x28", "the TLS handshake failed: unexpected message"),
}


@pytest.fixture(scope="module")
def guarded(serve_for_module: Any, certificates: Certificates) -> Any:
    """A service whose published server is not there: who gets to it has gone too far."""
    return serve_for_module(LISTENER.format(port=free_port(), keys=certificates.tls()) + LIMITS)


@pytest.mark.parametrize("what", WRONG)
def test_wrong_input(guarded: Any, client: Any, what: str) -> None:
    """Told by an alert or reset, and logged; nothing is kept."""
    data, reason = WRONG[what]
    before = len(guarded.rows())
    ours = client.connect(guarded.address("www"))
    try:
        ours.sendall(data)
        told = client.to_end(ours)
    except ConnectionError:
        told = b""
    ours.close()
    assert told == b"" or told[:2] == b"\x15\x03"
    row = guarded.wait_rows(before + 1)[-1]
    assert row["reason"].startswith(reason)
    assert (row["Action"], row["resultcode"]) == (Action.Failed, int(HRESULT_FROM_WIN32(WSAECONNABORTED)))
    assert (row["SourceIP"], row["Interface"]) == ("127.0.0.1", "www")
    guarded.wait_base_line()


@pytest.mark.parametrize("length", [0, 1, 5, 100])
@pytest.mark.parametrize("then", ["waits", "ends", "resets"])
def test_an_unfinished_handshake(guarded: Any, client: Any, certificates: Certificates, length: int, then: str) -> None:
    before = len(guarded.rows())
    ours = client.connect(guarded.address("www"))
    ours.sendall(tls_hello(certificates)[:length])
    if then == "resets":
        drop(ours)
    elif then == "ends":
        ours.shutdown(socket.SHUT_WR)
    row = guarded.wait_rows(before + 1)[-1]
    reasons = {
        "waits": ("the TLS handshake was not complete before the deadline (handshake_seconds)", WSAETIMEDOUT),
        "ends": (f"the client ended the connection {'during the' if length else 'before a'} TLS handshake",
                 WSAECONNABORTED),
        "resets": ("the client went away during the TLS handshake: Connection reset by peer", WSAECONNRESET),
    }  # fmt: skip
    reason, code = reasons[then]
    assert (row["reason"], row["resultcode"]) == (reason, int(HRESULT_FROM_WIN32(code)))
    guarded.wait_base_line()


def test_a_thousand_that_stall(serve: Any, origin: Any, client: Any, certificates: Certificates) -> None:
    """Others are served meanwhile; each has its record; nothing of them stays."""
    limits = LIMITS.replace("0.5", "3")
    firewall = serve(LISTENER.format(port=origin().port, keys=certificates.tls()) + limits)
    address = firewall.address("www")
    hello = tls_hello(certificates)
    before = firewall.memory()
    for number in range(1000):
        client.connect(address).sendall(hello[: number % len(hello)])
    grown = firewall.memory() - before
    assert grown < 1000 * 64 << 10, f"{grown / 1000 / 1024:.1f} KiB each"
    with secure(client.connect(address), certificates.context()) as ours:
        ours.sendall(b"hello")
        assert client.exactly(ours, 5) == b"hello"
        ours.unwrap()
    firewall.wait_rows(1000, Action=int(Action.Failed), resultcode=int(HRESULT_FROM_WIN32(WSAETIMEDOUT)))
    firewall.wait_base_line()


@pytest.mark.parametrize("when", ["in the handshake", "connected"])
def test_sigterm(serve: Any, origin: Any, client: Any, certificates: Certificates, when: str) -> None:
    firewall = serve(LISTENER.format(port=origin().port, keys=certificates.tls()))
    if when == "connected":
        with secure(client.connect(firewall.address("www")), certificates.context()) as ours:
            firewall.tell()
            ours.sendall(b"hello")
            assert client.exactly(ours, 5) == b"hello"
            ours.unwrap()
    else:
        client.connect(firewall.address("www")).sendall(b"\x16\x03\x01")
        firewall.tell()
    firewall.wait_stopped(seconds=5)


# Certificates that do not load.


def test_certificates_that_do_not_load(serve: Any, certificates: Certificates) -> None:
    """The service does not start, and says which key of the file is at fault."""
    folder = certificates.folder
    (folder / "text.pem").write_text("this is no certificate")
    (folder / "cut.crt").write_bytes((folder / "www.crt").read_bytes()[:200])
    files = {
        ("missing.crt", "www.key"): "certificate: {folder}/missing.crt: No such file or directory",
        ("www.crt", "missing.key"): "key: {folder}/missing.key: No such file or directory",
        ("www.crt", "client.key"): "key: it does not belong to the certificate",
        ("text.pem", "www.key"): "certificate: there is none that can be read",
        ("cut.crt", "www.key"): "certificate: there is none that can be read",
        ("www.crt", "text.pem"): "key: there is none that can be read",
        (".", "www.key"): "certificate: {folder}: Is a directory",
    }
    for (certificate, key), words in files.items():
        tls = f'tls = {{ certificate = "{folder / certificate}", key = "{folder / key}" }}'
        _, status, said = serve.refused(LISTENER.format(port=1, keys=tls))
        assert status == 1
        assert f"fwx.toml:7: listener.tls.{words.format(folder=folder)}" in said
        assert "Traceback" not in said
    ca = certificates.tls(f', ca = "{folder}/text.pem"')
    _, status, said = serve.refused(LISTENER.format(port=1, keys=ca))
    assert (status, "listener.tls.ca: there is no certificate in it" in said) == (1, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to have a file that the service may not read later")
@PUBLISHED
def test_the_key_is_read_before_root_is_given_up(
    publish: Any, origin: Any, certificates: Certificates, client: Any
) -> None:
    key = Path(certificates.folder / "www.key")
    assert (key.stat().st_uid, key.stat().st_mode & 0o777) == (0, 0o600)
    address, firewall = publish("uvloop", origin().port)
    assert firewall.status("Uid")[0] != "0"
    with secure(client.connect(address), certificates.context()) as ours:
        ours.sendall(b"hello")
        assert client.exactly(ours, 5) == b"hello"
