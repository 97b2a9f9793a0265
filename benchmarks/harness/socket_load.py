"""The loads of benchmarks/sockets.py: made by ``fast_load.c`` where gcc is there, else by the same ones in Python.

A load returns what was done, what was lost, and the seconds it took; it runs in a process of its own.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from harness import load
from harness.process import LOCALHOST, PATIENCE, Running, find, run_to_end

_SOURCE = Path(__file__).with_name("fast_load.c")
COMPILER_PATIENCE = 60.0
_LOST_AFTER = 0.2
_CHUNK = 1 << 18
_ATTEMPT_BYTES = 4


class Done(NamedTuple):
    """What a load has done: how many *units* (requests, connections, bytes), how many it lost, in how long."""

    units: int
    lost: int
    seconds: float


class Loads:
    """Makes the loads, all of them by the same means."""

    def __init__(self, folder: Path) -> None:
        """Compile the loads into *folder*, if that can be done."""
        self._folder = folder
        self._program: Path | None = None
        compiler = find("gcc")
        if compiler is not None:
            self._program = folder / "fast_load"
            run_to_end([compiler, "-O2", "-o", self._program, _SOURCE], COMPILER_PATIENCE)

    @property
    def name(self) -> str:
        return "benchmarks/harness/" + ("socket_load.py" if self._program is None else _SOURCE.name)

    def echo(self, port: int, clients: int, size: int, seconds: float) -> Done:
        """Send a block of *size* on each of *clients* kept connections, and another when it has come back whole."""
        return self._run("echo", port, clients, size, seconds)

    def accept(self, port: int, clients: int, seconds: float) -> Done:
        """Connect *clients* times, and again when the other side has ended the connection."""
        return self._run("accept", port, clients, seconds)

    def datagrams(self, port: int, clients: int, window: int, size: int, seconds: float) -> Done:
        """Count the datagrams that come back to *clients*, each of which has *window* under way."""
        return self._run("datagrams", port, clients, window, size, seconds)

    @contextmanager
    def reflector(self) -> Iterator[int]:
        """Run what sends every datagram back; give its port."""
        if self._program is None:
            with load.origin(reflect, socket.SOCK_DGRAM) as port:
                yield port
            return
        with Running([str(self._program), "reflect"], self._folder / "reflect.said") as process:
            yield int(process.wait_for_text(r"^(\d+)\n"))

    def _run(self, name: str, *numbers: float) -> Done:
        patience = numbers[-1] + PATIENCE
        if self._program is None:
            in_python: Done = load.run(_IN_PYTHON[name], *numbers, patience=patience)
            return in_python
        said = run_to_end([str(self._program), name, *map(str, numbers)], patience)
        count, lost, seconds = said.split()
        return Done(int(count), int(lost), float(seconds))


def reflect(server: socket.socket) -> None:
    """Send every datagram back."""
    while True:
        server.sendto(*server.recvfrom(65536))


# Streams.


class _Sent:
    """What one kept connection has still to send and to receive of its block."""

    __slots__ = ("to_receive", "to_send")

    def __init__(self, size: int) -> None:
        self.begin(size)

    def begin(self, size: int) -> None:
        self.to_send = self.to_receive = size


def _echo(port: int, clients: int, size: int, seconds: float) -> Done:
    selector = selectors.EpollSelector()
    block = memoryview(bytes(size))
    for _ in range(clients):
        client = socket.create_connection(("127.0.0.1", port), PATIENCE)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setblocking(False)
        state = _Sent(size)
        selector.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE, state)
    count, started = 0, time.monotonic()
    while load.goes_on(spent := time.monotonic() - started, seconds, count):
        for key, _ in selector.select(0.1):
            count += _move(selector, key, block)
    return Done(count, 0, spent)


def _move(selector: selectors.BaseSelector, key: selectors.SelectorKey, block: memoryview) -> int:
    """Go on as far as the kernel lets us; return how many blocks have come back whole."""
    client, state = load.socket_of(key), key.data
    came = 0
    try:
        if state.to_send:
            state.to_send -= client.send(block[-state.to_send :])
        received = len(client.recv(min(state.to_receive, _CHUNK)))
        if not received:
            raise RuntimeError("a kept connection was closed")
        state.to_receive -= received
        if not state.to_receive:
            state.begin(len(block))
            came = 1
            state.to_send -= client.send(block)
    except BlockingIOError:
        pass
    wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if state.to_send else 0)
    if wanted != key.events:
        selector.modify(client, wanted, state)
    return came


def _accept(port: int, clients: int, seconds: float) -> Done:
    selector = selectors.EpollSelector()
    count, started = 0, time.monotonic()
    for _ in range(clients):
        _knock(selector, port)
    while load.goes_on(spent := time.monotonic() - started, seconds, count):
        for key, _ in selector.select(0.1):
            client = load.socket_of(key)
            try:
                if client.recv(1):
                    raise RuntimeError("a connection was not ended but brought data")
            except ConnectionResetError:
                pass
            selector.unregister(client)
            client.close()
            count += 1
            _knock(selector, port)
    return Done(count, 0, spent)


def _knock(selector: selectors.BaseSelector, port: int) -> None:
    client = socket.socket()
    client.setblocking(False)
    try:
        client.connect(("127.0.0.1", port))
    except BlockingIOError:
        pass
    selector.register(client, selectors.EVENT_READ)


# Datagrams.


class _Window:
    """One client's datagrams under way; those of a window that was given up have been counted as lost."""

    def __init__(self, target: tuple[str, int], window: int, size: int) -> None:
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect(target)
        self._window = window
        self._rest = bytes(size - _ATTEMPT_BYTES)
        self._attempt = 0
        self._under_way = 0
        self._answered = time.monotonic()
        self._send(window)

    def take(self) -> int:
        """Take the answers and send as many again; return how many there were."""
        expected = self._attempt.to_bytes(_ATTEMPT_BYTES) + self._rest
        answers = 0
        try:
            while answers < self._window:
                answers += self.socket.recv(65536) == expected
        except BlockingIOError:
            pass
        if answers:
            self._answered = time.monotonic()
            self._under_way -= answers
            self._send(answers)
        return answers

    def give_up(self, now: float) -> int:
        """Begin a new window if nothing has come for too long; return how many datagrams are lost."""
        if now - self._answered < _LOST_AFTER:
            return 0
        lost, self._under_way = self._under_way, 0
        self._attempt += 1
        self._answered = now
        self._send(self._window)
        return lost

    def _send(self, count: int) -> None:
        datagram = self._attempt.to_bytes(_ATTEMPT_BYTES) + self._rest
        for _ in range(count):
            self.socket.send(datagram)
        self._under_way += count


def exchange_datagrams(port: int, clients: int, window: int, size: int, seconds: float, host: str = LOCALHOST) -> Done:
    """Count the datagrams that come back from *port* of *host*, as :meth:`Loads.datagrams`, in this process."""
    selector = selectors.EpollSelector()
    windows = [_Window((host, port), window, size) for _ in range(clients)]
    for each in windows:
        selector.register(each.socket, selectors.EVENT_READ, each)
    count = lost = 0
    started = looked = time.monotonic()
    while load.goes_on(spent := (now := time.monotonic()) - started, seconds, count):
        for key, _ in selector.select(0.02):
            count += key.data.take()
        if now - looked > _LOST_AFTER / 4:
            looked = now
            lost += sum(each.give_up(now) for each in windows)
    return Done(count, lost, spent)


_IN_PYTHON: dict[str, Callable[..., Done]] = {"echo": _echo, "accept": _accept, "datagrams": exchange_datagrams}
