"""Our own clients and origins, for machines without iperf3, wrk or nginx; and those that stall and idle.

Each function that serves or loads runs in a process of its own, so that its work is not charged to the relay.
"""

from __future__ import annotations

import multiprocessing
import selectors
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from harness.process import LOCALHOST, PATIENCE

REQUEST = b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
LAST_REQUEST = b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
BODY = b"y" * 64
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 64\r\n\r\n" + BODY
_CHUNK = 1 << 20
FIRST_SECONDS = PATIENCE / 2
"""So long a load waits for the first answer, beyond its time; ``fast_load.c`` has the same number."""
_SPAWN = multiprocessing.get_context("spawn")


@contextmanager
def origin(
    serve: Callable[[socket.socket], None], kind: socket.SocketKind = socket.SOCK_STREAM, host: str = LOCALHOST
) -> Iterator[int]:
    """Run *serve* in a process with a socket of *host*, which listens if it is TCP's; give its port."""
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_serve, args=(serve, kind, host, theirs), daemon=True)
    process.start()
    try:
        if not ours.poll(PATIENCE):
            raise RuntimeError(f"the origin {serve.__name__} did not start")
        yield ours.recv()
    finally:
        process.kill()
        process.join()


def _serve(serve: Callable[[socket.socket], None], kind: socket.SocketKind, host: str, pipe: Connection) -> None:
    with socket.socket(type=kind) as server:
        server.bind((host, 0))
        if kind == socket.SOCK_STREAM:
            server.listen(4096)
        pipe.send(server.getsockname()[1])
        serve(server)


def run(load: Callable[..., Any], *args: Any, patience: float) -> Any:
    """Return what ``load(*args)`` returns in a process of its own.

    :raises RuntimeError: it took longer than *patience* seconds, or its process ended without a word.
    :raises Exception: whatever it raised.
    """
    ours, theirs = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_answer_to, args=(theirs, load, args), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(patience):
            raise RuntimeError(f"the load {load.__name__} took longer than {patience:g} s")
        outcome = ours.recv()
    except EOFError as error:
        raise RuntimeError(f"the process of the load {load.__name__} ended without a figure") from error
    finally:
        process.kill()  # SIGTERM may meet a coverage tracer that is just saving, and that stumbles over it
        process.join()
        ours.close()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _answer_to(pipe: Connection, load: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        outcome = load(*args)
    except Exception as error:  # noqa: BLE001  it is raised again where the load was asked for
        outcome = error
    pipe.send(outcome)


def goes_on(spent: float, seconds: float, done: int) -> bool:
    """Tell whether a load of *seconds* goes on: until then, and on a machine that is busy until anything is *done*.

    :raises RuntimeError: nothing was, for much longer than it may take.
    """
    if spent < seconds:
        return True
    if not done and spent > seconds + FIRST_SECONDS:
        raise RuntimeError(f"nothing came through in {spent:.1f} s")
    return not done


# Bulk.


def sink(server: socket.socket) -> None:
    """Count what each client sends and tell it the number, 8 bytes, when it has ended."""
    room = memoryview(bytearray(_CHUNK))
    while True:
        client, _ = server.accept()
        total = 0
        with client:
            while count := client.recv_into(room):
                total += count
            client.sendall(total.to_bytes(8, "big"))


def push(port: int, seconds: float, host: str = LOCALHOST) -> tuple[int, float]:
    """Send zeros for *seconds*; return the bytes that arrived and the seconds until they had."""
    with tempfile.TemporaryFile() as file, socket.create_connection((host, port), PATIENCE) as client:
        file.truncate(_CHUNK)
        started = time.monotonic()
        client.sendfile(file, 0, _CHUNK)
        while time.monotonic() - started < seconds:
            client.sendfile(file, 0, _CHUNK)
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(8, socket.MSG_WAITALL)
        if len(answer) < 8:
            raise RuntimeError("the connection was closed before all had arrived")
        return int.from_bytes(answer, "big"), time.monotonic() - started


# Requests.


def answer(server: socket.socket) -> None:
    """Answer each request with 64 bytes; close behind a request that asks for it."""
    selector = selectors.EpollSelector()
    server.setblocking(False)
    selector.register(server, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                client, _ = server.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(client, selectors.EVENT_READ, bytearray())
            elif not _answer_one(socket_of(key), key.data):
                selector.unregister(key.fileobj)
                socket_of(key).close()


def _answer_one(client: socket.socket, received: bytearray) -> bool:
    try:
        data = client.recv(65536)
        received += data
        if not received.endswith(b"\r\n\r\n"):
            return bool(data)
        client.sendall(RESPONSE)
    except OSError:  # the client has gone
        return False
    closes = b"Connection: close" in received
    received.clear()
    return not closes


def socket_of(key: selectors.SelectorKey) -> socket.socket:
    """Return the socket that *key* watches."""
    assert isinstance(key.fileobj, socket.socket)
    return key.fileobj


def ask(port: int, clients: int, seconds: float, keep: bool, host: str = LOCALHOST) -> tuple[int, float]:
    """Send requests on *clients* connections, on new ones each time unless *keep*; return answers and seconds.

    It goes on until one answer is there, as every load does: a busy machine may need longer for it than *seconds*.

    :raises RuntimeError: no answer came.
    """
    selector = selectors.EpollSelector()
    for _ in range(clients):
        _begin(selector, (host, port), keep)
    started = time.monotonic()
    answers = 0
    while goes_on(spent := time.monotonic() - started, seconds, answers):
        for key, _ in selector.select(0.1):
            answers += _take_answer(selector, key, (host, port), keep)
    for key in list(selector.get_map().values()):
        socket_of(key).close()
    return answers, spent


def _begin(selector: selectors.BaseSelector, target: tuple[str, int], keep: bool) -> None:
    client = socket.create_connection(target, PATIENCE)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(REQUEST if keep else LAST_REQUEST)
    selector.register(client, selectors.EVENT_READ, bytearray())


def _take_answer(
    selector: selectors.BaseSelector, key: selectors.SelectorKey, target: tuple[str, int], keep: bool
) -> int:
    client, received = socket_of(key), key.data
    data = client.recv(65536)
    received += data
    if keep:
        if not data:
            raise RuntimeError("a kept connection was closed")
        if not received.endswith(BODY):
            return 0
        received.clear()
        client.sendall(REQUEST)
        return 1
    if data:
        return 0
    if not received.endswith(BODY):
        raise RuntimeError(f"a connection was closed after {len(received)} bytes of an answer")
    selector.unregister(client)
    client.close()
    _begin(selector, target, keep)
    return 1


# Readers that stop.


def flood(server: socket.socket) -> None:
    """Send to every client without end, as far as each of them takes it."""
    selector = selectors.EpollSelector()
    selector.register(server, selectors.EVENT_READ)
    block = bytes(65536)
    while True:
        for key, _ in selector.select():
            if key.fileobj is server:
                client, _ = server.accept()
                client.setblocking(False)
                selector.register(client, selectors.EVENT_WRITE)
            elif not push_on(socket_of(key), block):
                selector.unregister(key.fileobj)
                socket_of(key).close()


def ignore(server: socket.socket) -> None:
    """Accept and never read."""
    kept = []
    while True:
        kept.append(server.accept()[0])


def push_on(client: socket.socket, block: bytes) -> bool:
    """Send *block* as far as the kernel takes it now; tell whether the connection is still there."""
    try:
        client.send(block)
    except BlockingIOError:
        return True
    except OSError:  # the other side has closed it
        return False
    return True
