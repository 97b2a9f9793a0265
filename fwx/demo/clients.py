"""The clients: SOCKS5 and HTTP CONNECT over plain sockets, and curl and ncat where they are installed."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from fwx.demo import DemoError
from fwx.interfaces import SocketAddress

SECONDS = 30.0
"""How long a client waits for the next byte, and a program for its end."""

_BLOCK = 256 << 10
_LONGEST_HEAD = 64 << 10

Advance = Callable[[int], None]
"""Told of bytes that moved."""


class Answer(NamedTuple):
    """The body of an answer: its size in bytes, its SHA-256, and how it begins."""

    size: int
    digest: str
    beginning: bytes


class Reader:
    """Takes an HTTP answer in pieces and keeps what the checks need of it."""

    def __init__(self, *, head: bool = True) -> None:
        """With *head* the pieces begin with a status line and headers; curl leaves them out."""
        self._head: bytes | None = b"" if head else None
        self._digest = hashlib.sha256()
        self._size = 0
        self._beginning = b""

    def feed(self, data: bytes) -> None:
        """Take the next piece.

        :raises DemoError: the status is not 200, or the head has no end.
        """
        if self._head is not None:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                if len(head) > _LONGEST_HEAD:
                    raise DemoError(f"the answer's head has no end: {head[:80]!r}...")
                return
            if b" 200 " not in head.partition(b"\r\n")[0]:
                raise DemoError(f"the origin answered {head[:80]!r}")
            self._head = None
        self._digest.update(data)
        self._size += len(data)
        if not self._beginning:
            self._beginning = data[:1024]

    def answer(self) -> Answer:
        """Return the answer when the last piece has come.

        :raises DemoError: it ended within the head.
        """
        if self._head is not None:
            raise DemoError(f"the connection ended before the answer's body, after {self._head!r}")
        return Answer(self._size, self._digest.hexdigest(), self._beginning)


def through_socks5(proxy: SocketAddress, target: SocketAddress) -> socket.socket:
    """Connect to *target*, an IPv4 address, through *proxy* (RFC 1928).

    :raises DemoError: the proxy refused. :raises OSError: it cannot be reached.
    """
    connection = _connected(proxy)
    try:
        connection.sendall(b"\x05\x01\x00")
        _expect(connection, b"\x05\x00", 2)
        request = b"\x05\x01\x00\x01" + socket.inet_aton(target.host) + target.port.to_bytes(2, "big")
        connection.sendall(request)
        _expect(connection, b"\x05\x00\x00\x01", 10)
    except BaseException:
        connection.close()
        raise
    return connection


def through_connect(proxy: SocketAddress, target: SocketAddress) -> socket.socket:
    """Connect to *target* through *proxy* with HTTP CONNECT (RFC 9110, 9.3.6).

    :raises DemoError: the proxy refused. :raises OSError: it cannot be reached.
    """
    connection = _connected(proxy)
    try:
        connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        head = b""
        # Byte by byte: what follows the head is the tunnel's.
        while not head.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)
            if not byte or len(head) > _LONGEST_HEAD:
                raise DemoError(f"the proxy answered CONNECT with {head[:80]!r}")
            head += byte
        if not head.startswith(b"HTTP/1.1 200"):
            raise DemoError(f"the proxy answered CONNECT with {head[:80]!r}")
    except BaseException:
        connection.close()
        raise
    return connection


WAYS: tuple[tuple[str, Callable[[SocketAddress, SocketAddress], socket.socket]], ...] = (
    ("SOCKS5", through_socks5),
    ("HTTP CONNECT", through_connect),
)


def get(path: str) -> Iterator[bytes]:
    """Yield the request for *path*."""
    yield f"GET {path} HTTP/1.0\r\n\r\n".encode()


def put(body: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the request that sends *body*, *size* bytes in all."""
    yield f"PUT / HTTP/1.0\r\nContent-Length: {size}\r\n\r\n".encode()
    yield from body


def exchange(connection: socket.socket, request: Iterable[bytes], sent: Advance, received: Advance) -> Answer:
    """Send *request* piece by piece, read the answer to the end of the connection, and close it."""
    reader = Reader()
    with connection:
        for piece in request:
            connection.sendall(piece)
            sent(len(piece))
        while data := connection.recv(_BLOCK):
            reader.feed(data)
            received(len(data))
    return reader.answer()


def programs() -> dict[str, Callable[[SocketAddress, SocketAddress, str], Answer]]:
    """Return what fetches a path of a target through a proxy with a program, by name; empty when none is installed.

    Each raises :class:`DemoError` when the program fails.
    """
    found: dict[str, Callable[[SocketAddress, SocketAddress, str], Answer]] = {}
    curl, ncat = shutil.which("curl"), shutil.which("ncat")
    if curl is not None:
        found["curl over SOCKS5"] = partial(_curl, curl, ("-x", "socks5h://{}"))
        found["curl over HTTP CONNECT"] = partial(_curl, curl, ("-p", "-x", "http://{}"))
    if ncat is not None:
        found["ncat over SOCKS5"] = partial(_ncat, ncat, "socks5")
        found["ncat over HTTP CONNECT"] = partial(_ncat, ncat, "http")
    return found


def _curl(program: str, options: tuple[str, ...], proxy: SocketAddress, target: SocketAddress, path: str) -> Answer:
    command = (program, "-q", "-sS", "--noproxy", "", "--max-time", f"{SECONDS:g}")
    by_proxy = (option.format(proxy) for option in options)
    return _run((*command, *by_proxy, f"http://{target}{path}"), b"", Reader(head=False))


def _ncat(program: str, kind: str, proxy: SocketAddress, target: SocketAddress, path: str) -> Answer:
    command = (program, "--proxy", str(proxy), "--proxy-type", kind, target.host, str(target.port))
    return _run(command, b"".join(get(path)), Reader())


def _run(command: tuple[str, ...], stdin: bytes, reader: Reader) -> Answer:
    # Proxies of the environment would come between.
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    try:
        result = subprocess.run(  # noqa: S603 (the commands are above)
            command, input=stdin, capture_output=True, check=False, env=environment, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        raise DemoError(f"it did not end within {SECONDS:g} s") from None
    if result.returncode:
        raise DemoError(f"exit status {result.returncode}: {result.stderr.decode(errors='replace').strip()}")
    reader.feed(result.stdout)
    return reader.answer()


def _connected(address: SocketAddress) -> socket.socket:
    connection = socket.create_connection(address.sockaddr, SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _expect(connection: socket.socket, beginning: bytes, size: int) -> None:
    reply = connection.recv(size, socket.MSG_WAITALL)
    if len(reply) != size or not reply.startswith(beginning):
        raise DemoError(f"the proxy answered {reply!r}; expected {size} bytes that begin with {beginning!r}")
