"""What the tests of TLS on listeners share: certificates as files, a client in pieces, HAProxy as the control."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trustme

from tests.integration.proxies import free_port

Address = tuple[str, int]

NAME = "www.example.org"
HAPROXY = """
global
  maxconn 400
defaults
  mode tcp
  timeout connect 5s
  timeout client 20s
  timeout server 20s
{text}
"""


class Certificates:
    """PEM files of an authority, of servers and of clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca)
        self.www = self.issue("www", NAME, "localhost", "127.0.0.1")
        self.client = self.issue("client", "client.example.org")
        stranger = trustme.CA()
        self.stranger_ca = folder / "stranger-ca.pem"
        stranger.cert_pem.write_to_path(self.stranger_ca)
        self.stranger = self._write("stranger", stranger.issue_cert(NAME, "127.0.0.1"))

    def issue(self, stem: str, *names: str, **options: Any) -> Path:
        """Return the file with a certificate, its chain and its key; ``stem.crt`` and ``stem.key`` are parts of it."""
        return self._write(stem, self._authority.issue_cert(*names, **options))

    def _write(self, stem: str, leaf: trustme.LeafCert) -> Path:
        chain = b"".join(each.bytes() for each in leaf.cert_chain_pems)
        (self.folder / f"{stem}.crt").write_bytes(chain)
        key = self.folder / f"{stem}.key"
        key.write_bytes(leaf.private_key_pem.bytes())
        key.chmod(0o600)
        both = self.folder / f"{stem}.pem"
        both.write_bytes(chain + leaf.private_key_pem.bytes())
        return both

    def tls(self, more: str = "") -> str:
        """The key ``tls`` of a listener."""
        return f'tls = {{ certificate = "{self.folder}/www.crt", key = "{self.folder}/www.key"{more} }}'

    def context(self, **options: Any) -> ssl.SSLContext:
        """What a client of ours believes."""
        context = ssl.create_default_context(cafile=str(self.ca))
        for name, value in options.items():
            setattr(context, name, value)
        return context

    def server_context(self, file: Path | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file or self.www)
        return context


def secure(plain: socket.socket, context: ssl.SSLContext, name: str | None = NAME) -> ssl.SSLSocket:
    """Lay TLS over a connected socket of ours; the new socket has its descriptor."""
    return context.wrap_socket(plain, server_hostname=name)


class Conversation:
    """A TLS client over a plain socket in which each step is a call of its own: half-close, and bytes one by one."""

    def __init__(self, plain: socket.socket, context: ssl.SSLContext, name: str | None = NAME) -> None:
        self.plain = plain
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    def hello(self) -> bytes:
        """The ClientHello."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._outgoing.read()

    def shake(self, chunk: int = 1 << 20) -> None:
        """Shake hands, sending *chunk* bytes at a time."""
        self._until(self.tls.do_handshake, chunk)

    def send(self, data: bytes, chunk: int = 1 << 20) -> None:
        self.tls.write(data)
        self._flush(chunk)

    def receive(self) -> bytes:
        """What comes next; nothing at close_notify."""
        try:
            found: bytes = self._until(lambda: self.tls.read(1 << 16))
        except ssl.SSLZeroReturnError:
            return b""
        return found

    def to_end(self) -> bytes:
        return b"".join(iter(self.receive, b""))

    def end(self, *, fin: bool = False) -> None:
        """Send close_notify, and FIN; receiving goes on."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self._flush()
        if fin:
            self.plain.shutdown(socket.SHUT_WR)

    def _until(self, step: Callable[[], Any], chunk: int = 1 << 20) -> Any:
        while True:
            try:
                found = step()
            except ssl.SSLWantReadError:
                self._flush(chunk)
                data = self.plain.recv(1 << 16)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
                continue
            except ssl.SSLError:
                self._flush()
                raise
            self._flush(chunk)
            return found

    def _flush(self, chunk: int = 1 << 20) -> None:
        data = self._outgoing.read()
        for place in range(0, len(data), chunk):
            self.plain.sendall(data[place : place + chunk])


class Controls:
    """Starts HAProxy processes, the peer that shows a test to be right; ends them."""

    def __init__(self, path_of: Callable[[str], str], folder: Path, eventually: Any) -> None:
        self._path_of = path_of
        self._folder = folder
        self._eventually = eventually
        self._started: list[subprocess.Popen[bytes]] = []

    def haproxy(self, text: str) -> Address:
        """Run HAProxy with *text*, in which ``{port}`` is where it is to listen; return that."""
        port = free_port()
        file = self._folder / f"haproxy-{len(self._started)}.cfg"
        file.write_text(HAPROXY.format(text=text.replace("{port}", str(port))))
        self._run(port, self._path_of("haproxy"), "-db", "-q", "-f", str(file))
        return "127.0.0.1", port

    def program(self, name: str, *arguments: str) -> Address:
        """Run a program that listens on ``{port}``, which *arguments* name."""
        port = free_port()
        self._run(port, self._path_of(name), *(each.replace("{port}", str(port)) for each in arguments))
        return "127.0.0.1", port

    def _run(self, port: int, *command: str) -> None:
        output = self._folder / f"control-{len(self._started)}.txt"
        with output.open("wb") as file:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        self._started.append(process)

        def is_up() -> bool:
            assert process.poll() is None, output.read_text()
            listening = Path("/proc/net/tcp").read_text()
            return f":{port:04X} 00000000:0000 0A" in listening

        self._eventually(is_up, f"{command[0]} to listen")

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.wait()


def served(context: ssl.SSLContext, handler: Callable[[ssl.SSLSocket], None]) -> Callable[[socket.socket], None]:
    """Make the handler of an origin that speaks TLS; the end of a peer that is cut off is no fault of the test's."""

    def handle(plain: socket.socket) -> None:
        try:
            with context.wrap_socket(plain, server_side=True) as tls:
                handler(tls)
        except ssl.SSLError:
            return

    return handle
