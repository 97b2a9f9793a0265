"""SSL sockets and the TLS of others: OpenSSL's, GnuTLS's, curl, ncat and nginx, in both roles (B4.16)."""

from __future__ import annotations

import os
import re
import socket as sockets
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fwx import sdk
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.tlscredentials import TlsCredentials
from fwx.interfaces import FWX_PROTOCOL_TCP, SocketAddress
from fwx.testing import AcceptRecorder, Recorder
from tests.impl.conftest import Rig
from tests.impl.tls import certificates
from tests.impl.tls.certificates import SERVER, chain_of, client_leaf, key_of, roots, shows
from tests.impl.tls.parts import towards_client, towards_server

VERSIONS = {"TLSv1.2": "tls1_2", "TLSv1.3": "tls1_3"}
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\npage\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files that programs need."""
    leaf = certificates.authority().issue_cert(SERVER, "localhost", "127.0.0.1")
    for name, data in (
        ("roots.pem", roots()),
        ("server.pem", chain_of(leaf)),
        ("server.key", key_of(leaf)),
        ("client.pem", chain_of(client_leaf())),
        ("client.key", key_of(client_leaf())),
    ):
        (tmp_path / name).write_bytes(data)
    return tmp_path


def local(**options: Any) -> TlsCredentials:
    """Credentials of a server that is called by its name, by localhost and by its address."""
    return shows(certificates.authority().issue_cert(SERVER, "localhost", "127.0.0.1"), **options)


class Server:
    """A server of SSL sockets, the way a filter makes one: sends back what it gets, or a page at an empty line."""

    def __init__(self, rig: Rig, credentials: TlsCredentials, *, asks: bool = False, pages: bool = False) -> None:
        self._rig = rig
        self._credentials = credentials
        self._asks = asks
        self._pages = pages
        self._listening = rig.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)
        self._listening.Bind(SocketAddress("127.0.0.1"), None, None)
        self._listening.Listen(10)
        self.port = self._listening.GetSockName().port
        self.infos: list[Any] = []
        self._accept()

    def _accept(self) -> None:
        self._accepts = AcceptRecorder()
        self._accepts.CompleteAsyncAccept = self._accepted  # type: ignore[method-assign]
        self._listening.Accept(self._accepts, 0)

    def _accepted(self, success: bool, code: int, listening: Any, accepted: Any, *rest: Any) -> None:
        if not success:
            return
        self._accept()
        socket = towards_client(self._rig.firewall, accepted, self._credentials, self._asks)
        request = bytearray()

        def take(done: Any) -> None:
            if not done.success:
                return
            if not done.data:
                socket.Close(False)
                return
            if not request:
                self.infos.append(sdk.tls_info(socket))
            request.extend(done.data)
            if not self._pages:
                socket.Send(done.buffer, None, 0)
            elif request.endswith(b"\r\n\r\n"):
                socket.Send(FWXIOBuffer(PAGE), None, 0)
                socket.Close(False)
                return
            socket.Recv(None, recorder, 0)

        recorder = Recorder(take)
        socket.Recv(None, recorder, 0)

    def close(self) -> None:
        self._listening.Close(False)


class Client:
    """An SSL socket that plays the TLS client, over a network socket."""

    def __init__(self, rig: Rig, port: int, credentials: TlsCredentials, host_name: str = SERVER) -> None:
        self._rig = rig
        under = rig.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)
        under.Connect(SocketAddress("127.0.0.1", port))
        self.socket = towards_server(rig.firewall, under, credentials, host_name)
        self.data = bytearray()
        self.outcome: Any = None
        self._recorder = Recorder(self._take)
        self.socket.Recv(None, self._recorder, 0)

    def _take(self, done: Any) -> None:
        if done.success and done.data:
            self.data += done.data
            self.socket.Recv(None, self._recorder, 0)
        else:
            self.outcome = "end" if done.success else done.code

    def send(self, data: bytes) -> None:
        self.socket.Send(FWXIOBuffer(data), None, 0)

    def expect(self, data: bytes) -> None:
        self._rig.until(lambda: len(self.data) >= len(data) or self.outcome is not None)
        assert bytes(self.data[: len(data)]) == data, (self.outcome, self._rig.records)
        del self.data[: len(data)]

    def end(self) -> None:
        self.socket.Close(False)
        self._rig.settle()


class Program:
    """A program that runs until the test is over."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        descriptor, name = tempfile.mkstemp(dir=folder)
        with os.fdopen(descriptor, "wb") as output:
            self.process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=output, stderr=output)
        self._output = Path(name)

    def said(self) -> str:
        return self._output.read_text(errors="replace")

    def type(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def background(rig: Rig, folder: Path, program_path: Callable[[str], str]) -> Iterator[Callable[..., Program]]:
    """Start a program that ends with the test."""
    running: list[Program] = []

    def start(program: str, *arguments: object) -> Program:
        running.append(Program(folder, [program_path(program), *map(str, arguments)]))
        return running[-1]

    yield start
    for each in running:
        each.close()


Run = Callable[..., str]
Talk = Callable[..., str]


@pytest.fixture
def talk(rig: Rig, background: Callable[..., Program]) -> Talk:
    """Have a conversation through ``openssl s_client``: each line is typed, then what it is to show is waited for."""

    def talk(port: int, version: str, *lines: tuple[bytes, str], more: tuple[object, ...] = ()) -> str:
        arguments = ("-connect", f"127.0.0.1:{port}", "-CAfile", "roots.pem", version)
        client = background("openssl", "s_client", *arguments, *more)
        rig.until(lambda: "Verify return code: 0" in client.said())
        for typed, shown in lines:
            before = client.said().count(shown)
            client.type(typed)
            rig.until(lambda shown=shown, before=before: client.said().count(shown) > before)  # type: ignore[misc]
        return client.said()

    return talk


@pytest.fixture
def run(rig: Rig, folder: Path, program_path: Callable[[str], str]) -> Run:
    """Run a program to its end while the loop turns; return all that it said."""

    def run(program: str, *arguments: object, given: bytes = b"", succeeds: bool = True) -> str:
        (folder / "input").write_bytes(given)
        with (folder / "input").open("rb") as stdin, (folder / "output").open("wb") as output:
            command = [program_path(program), *map(str, arguments)]
            process = subprocess.Popen(command, cwd=folder, stdin=stdin, stdout=output, stderr=output)
            try:
                rig.until(lambda: process.poll() is not None)
            finally:
                process.kill()
                process.wait()
        said = (folder / "output").read_text(errors="replace")
        assert (process.returncode == 0) == succeeds, said
        return said

    return run


@pytest.fixture
def serve(rig: Rig) -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def make(*args: Any, **options: Any) -> Server:
        made.append(Server(rig, *args, **options))
        return made[-1]

    yield make
    for server in made:
        server.close()
    rig.settle()


def free_port() -> int:
    with sockets.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


# ---- we play the server ----------------------------------------------------------------------------------------------


@pytest.mark.requires("openssl")
@pytest.mark.parametrize("version", VERSIONS)
def test_openssl_s_client(serve: Callable[..., Server], run: Run, talk: Talk, folder: Path, version: str) -> None:
    """SNI, ALPN, a client certificate, data both ways; and the session, given back, is resumed."""
    strict = local(authorities=roots(), require_client_certificate=True, alpn=("echo/1",))
    server = serve(certificates.server(names={SERVER: strict}))
    more = ("-servername", SERVER, "-verify_return_error", "-verify_hostname", SERVER, "-alpn", "echo/1")
    shown = ("-cert", "client.pem", "-key", "client.key")
    option = f"-{VERSIONS[version]}"
    said = talk(server.port, option, (b"hello\n", "hello\n"), more=(*more, *shown, "-sess_out", "session"))
    assert "Verification: OK" in said
    assert "ALPN protocol: echo/1" in said
    info = server.infos[0]
    assert (info.version, info.alpn, info.server_name, info.session_reused) == (version, "echo/1", SERVER, False)
    assert info.peer_certificate is not None
    assert (folder / "session").exists()
    said = talk(server.port, option, (b"again\n", "again\n"), more=(*more, *shown, "-sess_in", "session"))
    assert f"Reused, {version}" in said
    assert server.infos[1].session_reused
    arguments = ("-connect", f"127.0.0.1:{server.port}", "-servername", SERVER, option, "-ign_eof")
    assert "alert" in run("openssl", "s_client", *arguments, given=b"hello\n", succeeds=False)


@pytest.mark.requires("openssl")
def test_openssl_s_client_reconnects(rig: Rig, serve: Callable[..., Server], run: Run) -> None:
    server = serve(local())
    arguments = ("-connect", f"127.0.0.1:{server.port}", "-CAfile", "roots.pem", "-tls1_2", "-reconnect")
    said = run("openssl", "s_client", *arguments, given=b"x\n")
    assert said.count("Reused, TLSv1.2") == 5


@pytest.mark.requires("openssl")
def test_openssl_updates_its_keys(serve: Callable[..., Server], talk: Talk) -> None:
    """RFC 8446 4.6.3: at any time, and asks us for the same."""
    said = talk(serve(local()).port, "-tls1_3", (b"before\n", "before\n"), (b"K\n", "KEYUPDATE"), (b"k\n", "KEYUPDATE"))
    assert said.count("KEYUPDATE") == 2
    assert "after\n" in talk(serve(local()).port, "-tls1_3", (b"K\n", "KEYUPDATE"), (b"after\n", "after\n"))


@pytest.mark.requires("openssl")
def test_openssl_asks_for_renegotiation(serve: Callable[..., Server], talk: Talk) -> None:
    """TLS 1.2 can start over in mid-stream; it is refused (RFC 7457 2.10)."""
    assert "no renegotiation" in talk(serve(local()).port, "-tls1_2", (b"R\n", "no renegotiation"))


@pytest.mark.requires("gnutls-cli")
@pytest.mark.parametrize("priority", ["NORMAL:-VERS-TLS1.3", "NORMAL"])
def test_gnutls_cli(rig: Rig, serve: Callable[..., Server], run: Run, priority: str) -> None:
    server = serve(local(authorities=roots(), alpn=("echo/1",)), asks=True)
    said = run(
        *("gnutls-cli", "--x509cafile", "roots.pem", "--sni-hostname", SERVER, "--verify-hostname", SERVER),
        *("--x509certfile", "client.pem", "--x509keyfile", "client.key", "--alpn", "echo/1", "--priority", priority),
        *("--resume", "--waitresumption", "-p", server.port, "127.0.0.1"),
        given=b"hello\n",
    )
    assert "The certificate is trusted" in said
    assert "echo/1" in said
    assert "This is a resumed session" in said
    rig.until(lambda: server.infos)
    assert server.infos[-1].server_name == SERVER
    assert server.infos[-1].peer_certificate is not None


@pytest.mark.requires("curl")
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl(rig: Rig, serve: Callable[..., Server], run: Run, version: str) -> None:
    server = serve(local(authorities=roots(), require_client_certificate=True, alpn=("http/1.1",)), pages=True)
    arguments = (
        *("-q", "-sS", "--noproxy", "*", "--cacert", "roots.pem", "--tls-max", version, "--tlsv1.2"),
        *("--resolve", f"{SERVER}:{server.port}:127.0.0.1", f"https://{SERVER}:{server.port}/"),
    )
    assert run("curl", *arguments, "--cert", "client.pem", "--key", "client.key") == "page\n"
    assert (server.infos[0].version, server.infos[0].alpn) == (f"TLSv{version}", "http/1.1")
    assert "alert" in run("curl", *arguments, succeeds=False)


@pytest.mark.requires("ncat")
def test_ncat(rig: Rig, serve: Callable[..., Server], run: Run) -> None:
    server = serve(local())
    arguments = ("-4", "--ssl-verify", "--ssl-trustfile", "roots.pem", "localhost", server.port)
    assert run("ncat", *arguments, given=b"hello\n" * 1000) == "hello\n" * 1000


@pytest.mark.requires("nginx", "curl")
def test_nginx_as_client(rig: Rig, serve: Callable[..., Server], run: Run, background: Any, folder: Path) -> None:
    """nginx passes a request on to our server, whose certificate it checks."""
    server, port = serve(local(), pages=True), free_port()
    proxy = f"""
        location / {{
            proxy_pass https://127.0.0.1:{server.port};
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {folder}/roots.pem;
            proxy_ssl_name {SERVER};
            proxy_ssl_server_name on;
        }}"""
    start_nginx(rig, background, folder, f"listen 127.0.0.1:{port}; {proxy}")
    for _ in range(2):
        assert run("curl", "-q", "-sS", "--noproxy", "*", f"http://127.0.0.1:{port}/") == "page\n"
    assert [info.server_name for info in server.infos] == [SERVER] * 2
    assert [info.session_reused for info in server.infos] == [False, True]


def start_nginx(rig: Rig, background: Any, folder: Path, server: str) -> None:
    folder.chmod(0o755)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr warn; events {{}} "
        f"http {{ access_log off; {temporary} server {{ {server} }} }}"
    )
    output = background("nginx", "-p", folder, "-e", "stderr", "-c", folder / "nginx.conf")
    rig.until(lambda: (folder / "nginx.pid").exists() or "emerg" in output.said())
    assert "emerg" not in output.said()


# ---- we play the client ----------------------------------------------------------------------------------------------


@pytest.mark.requires("openssl")
@pytest.mark.parametrize("version", VERSIONS)
def test_openssl_s_server(rig: Rig, background: Any, version: str) -> None:
    """A client certificate, ALPN, SNI, the session resumed; s_server -rev turns each line round."""
    output = background(
        *("openssl", "s_server", "-accept", "127.0.0.1:0", "-rev", "-cert", "server.pem", "-key", "server.key"),
        *("-CAfile", "roots.pem", "-Verify", 3, "-verify_return_error", "-alpn", "echo/1", f"-{VERSIONS[version]}"),
    )
    found: list[str] = []
    rig.until(lambda: found.extend(re.findall(r"ACCEPT 127.0.0.1:(\d+)", output.said())) or found)
    credentials = shows(client_leaf(), authorities=roots(), alpn=("echo/1",))
    reused = []
    for _ in range(2):
        client = Client(rig, int(found[0]), credentials)
        client.send(b"hello\n")
        client.expect(b"olleh\n")
        info = sdk.tls_info(client.socket)
        assert info is not None
        assert (info.version, info.alpn, info.server_name) == (version, "echo/1", SERVER)
        reused.append(info.session_reused)
        client.end()
    assert reused == [False, True]
    nobody = Client(rig, int(found[0]), certificates.client())
    nobody.send(b"hello\n")
    rig.until(lambda: nobody.outcome is not None)
    assert nobody.outcome not in ("end", None)
    nobody.end()


@pytest.mark.requires("openssl")
def test_openssl_chooses_by_name(rig: Rig, background: Any, folder: Path) -> None:
    other = certificates.authority().issue_cert("other.example")
    (folder / "other.pem").write_bytes(chain_of(other))
    (folder / "other.key").write_bytes(key_of(other))
    output = background(
        *("openssl", "s_server", "-accept", "127.0.0.1:0", "-rev", "-cert", "server.pem", "-key", "server.key"),
        *("-servername", "other.example", "-cert2", "other.pem", "-key2", "other.key"),
    )
    found: list[str] = []
    rig.until(lambda: found.extend(re.findall(r"ACCEPT 127.0.0.1:(\d+)", output.said())) or found)
    for name in (SERVER, "other.example", "127.0.0.1"):
        client = Client(rig, int(found[0]), certificates.client(), name)
        client.send(b"abc\n")
        client.expect(b"cba\n")
        client.end()
    wrong = Client(rig, int(found[0]), certificates.client(), "third.example")
    rig.until(lambda: wrong.outcome is not None)
    assert "Hostname mismatch" in rig.records[-2].reason + rig.records[-1].reason
    wrong.end()


@pytest.mark.requires("ncat")
def test_ncat_listens(rig: Rig, background: Any, folder: Path) -> None:
    """And ends: what is a plain end of ncat is no end of TLS unless it says so."""
    port = free_port()
    output = background(
        *("ncat", "-v", "-l", "127.0.0.1", port, "--ssl", "--ssl-cert", "server.pem", "--ssl-key", "server.key"),
        *("--exec", "/bin/cat"),
    )
    rig.until(lambda: "Listening on 127.0.0.1" in output.said())
    client = Client(rig, port, certificates.client())
    client.send(b"hello\n" * 100)
    client.expect(b"hello\n" * 100)
    client.end()


@pytest.mark.requires("nginx")
@pytest.mark.parametrize("version", VERSIONS)
def test_nginx_as_server(rig: Rig, background: Any, folder: Path, version: str) -> None:
    port = free_port()
    (folder / "page").write_bytes(bytes(range(256)) * 20000)
    start_nginx(
        rig,
        background,
        folder,
        f"listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key; "
        f"ssl_protocols {version}; ssl_client_certificate {folder}/roots.pem; ssl_verify_client on; root {folder};",
    )
    credentials = shows(client_leaf(), authorities=roots(), alpn=("http/1.1",))
    reused = []
    for _ in range(2):
        client = Client(rig, port, credentials)
        client.send(b"GET /page HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n")
        rig.until(lambda client=client: client.outcome is not None)  # type: ignore[misc]
        assert client.outcome == "end"
        head, _, body = bytes(client.data).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert body == bytes(range(256)) * 20000
        info = sdk.tls_info(client.socket)
        assert info is not None
        reused.append((info.version, info.alpn, info.session_reused))
        client.end()
    assert reused == [(version, "http/1.1", False), (version, "http/1.1", True)]
