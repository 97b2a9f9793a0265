"""What benchmarks/sockets.py measures, part by part: who is compared, by which columns, under which loads."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

from harness import load, socket_relays, tls_load, tools
from harness.parts import Column, Part
from harness.process import PATIENCE, find
from harness.relays import Start, relay
from harness.socket_load import Done, Loads

CLIENTS = 32
BULK_CLIENTS = 4
TLS_CLIENTS = 4
BULK_BLOCK = 256 << 10
BLOCK = 64
DATAGRAMS = (64, 1200)
# All that is under way fits into the kernel's buffer of one socket, so that a loss is the relay's.
UDP_CLIENTS, WINDOW = 8, 8
# So many clients come and go before the memory is read the first time.
WARM = 64
SOURCES = 8

Target = Callable[[], AbstractContextManager[int]]


class Plan(NamedTuple):
    """How long and how often to measure, and how many idle sockets there are."""

    seconds: float
    rounds: int
    idle: int


class Bench:
    """Measures whoever is started; every load meets a relay that has just started."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self.loads = Loads(folder)
        self._runs = 0

    # TCP.

    def echo(self, start: Start) -> Iterator[Column]:
        yield from _rate("requests", *self._loaded(start, _no_target, partial(self._echo, CLIENTS, BLOCK)))
        done, cpu = self._loaded(start, _no_target, partial(self._echo, BULK_CLIENTS, BULK_BLOCK))
        yield from _throughput("bulk", done._replace(units=done.units * BULK_BLOCK), cpu)
        yield "idle", self._idle(start, _no_target, _tcp_client)

    def _echo(self, clients: int, size: int, port: int) -> Done:
        return self.loads.echo(port, clients, size, self._plan.seconds)

    def pump(self, start: Start) -> Iterator[Column]:
        yield from _throughput("bulk", *self._loaded(start, self._bulk_origin, self._push))
        yield from _rate("kept", *self._loaded(start, self._request_origin, partial(self._ask, True)))
        yield from _rate("new", *self._loaded(start, self._request_origin, partial(self._ask, False)))

    def _push(self, port: int) -> Done:
        count, spent = tools.push(port, self._plan.seconds)
        return Done(count, 0, spent)

    def _ask(self, keep: bool, port: int) -> Done:
        count, spent = tools.ask(port, CLIENTS, self._plan.seconds, keep)
        return Done(count, 0, spent)

    def door(self, start: Start) -> Iterator[Column]:
        yield from _rate("accepted", *self._loaded(start, _no_target, self._knock))

    def _knock(self, port: int) -> Done:
        return self.loads.accept(port, CLIENTS, self._plan.seconds)

    # UDP.

    def datagrams(self, start: Start) -> Iterator[Column]:
        for size in DATAGRAMS:
            done, cpu = self._loaded(start, self.loads.reflector, partial(self._exchange, size))
            yield from _rate(f"{size} B", done, cpu)
            yield f"{size} B lost", 100 * done.lost / (done.lost + done.units)
        yield "idle", self._idle(start, self.loads.reflector, _udp_client)

    def _exchange(self, size: int, port: int) -> Done:
        return self.loads.datagrams(port, UDP_CLIENTS, WINDOW, size, self._plan.seconds)

    # TLS.

    def tls(self, start: Start) -> Iterator[Column]:
        sink, flood = partial(load.origin, tls_load.count_until_mark), partial(load.origin, load.flood)
        yield from _throughput("to server", *self._loaded(start, sink, partial(self._move, tls_load.push)))
        yield from _throughput("to client", *self._loaded(start, flood, partial(self._move, tls_load.pull)))

    def _move(self, use: Callable[[int, float], tuple[int, float]], port: int) -> Done:
        count, spent = load.run(use, port, self._plan.seconds, patience=self._plan.seconds + PATIENCE)
        return Done(count, 0, spent)

    def handshakes(self, start: Start) -> Iterator[Column]:
        yield from _rate("full", *self._loaded(start, self._request_origin, partial(self._shake, False)))
        yield from _rate("resumed", *self._loaded(start, self._request_origin, partial(self._shake, True)))

    def _shake(self, resumed: bool, port: int) -> Done:
        return tls_load.shake(port, TLS_CLIENTS, self._plan.seconds, resumed)

    # What they have in common.

    def _loaded(self, start: Start, target: Target, use: Callable[[int], Done]) -> tuple[Done, float]:
        """Put a relay to *target* under the load *use*; return what was done and the relay's CPU seconds."""
        with target() as origin, relay(start, self._next_folder(), origin) as running:
            before = running.cpu()
            done = use(running.port)
            if not done.units:
                raise RuntimeError("nothing came through")
            return done, running.cpu() - before

    def _idle(self, start: Start, target: Target, connect: Callable[[int, int], socket.socket]) -> float:
        """Return the KiB that a client costs that stays after one exchange and does nothing more."""
        with target() as origin, relay(start, self._next_folder(), origin) as running, ExitStack() as clients:
            for number in range(WARM):
                connect(running.port, number).close()
            before = running.memory()
            for number in range(self._plan.idle):
                clients.enter_context(connect(running.port, number))
            return (running.memory() - before) / self._plan.idle / 1024

    def _next_folder(self) -> Path:
        self._runs += 1
        return self._folder / str(self._runs)

    def _bulk_origin(self) -> AbstractContextManager[int]:
        return tools.bulk_origin(self._folder)

    def _request_origin(self) -> AbstractContextManager[int]:
        return tools.request_origin(self._folder)


def _no_target() -> AbstractContextManager[int]:
    return nullcontext(0)


def _rate(name: str, done: Done, cpu: float) -> Iterator[Column]:
    yield name, done.units / done.seconds
    yield f"{name} CPU", cpu / done.units * 1e6


def _throughput(name: str, done: Done, cpu: float) -> Iterator[Column]:
    yield name, done.units * 8 / 1e9 / done.seconds
    yield f"{name} CPU", cpu / (done.units / 1e9)


def _tcp_client(port: int, number: int) -> socket.socket:
    source = (f"127.0.0.{2 + number % SOURCES}", 0)
    return _exchanged(socket.create_connection(("127.0.0.1", port), PATIENCE, source))


def _udp_client(port: int, number: int) -> socket.socket:
    client = socket.socket(type=socket.SOCK_DGRAM)
    client.settimeout(PATIENCE)
    client.bind((f"127.0.0.{2 + number % SOURCES}", 0))
    client.connect(("127.0.0.1", port))
    return _exchanged(client)


def _exchanged(client: socket.socket) -> socket.socket:
    block = bytes(BLOCK)
    try:
        client.sendall(block)
        if client.recv(BLOCK + 1) != block:
            raise RuntimeError("what came back is not what was sent")
    except BaseException:
        client.close()
        raise
    return client


def parts(bench: Bench, folder: Path) -> tuple[dict[str, Part], list[str]]:
    """Return the parts that this machine can do, and what is left out."""
    found = {
        "echo": Part("TCP echo", _ECHO, socket_relays.echoes(), bench.echo, ("uvloop",)),
        "pump": Part("TCP pump", _PUMP, socket_relays.pumps(), bench.pump, ("haproxy", "nginx")),
        "accept": Part("accepted and closed", _ACCEPT, socket_relays.doors(), bench.door, ("haproxy", "nginx")),
        "udp": Part("UDP relay", _UDP, socket_relays.datagram_relays(), bench.datagrams, ("nginx",)),
    }
    left_out = []
    if not find("haproxy"):
        left_out.append("haproxy (it is not installed)")
    if not socket_relays.has_nginx_stream():
        left_out.append("nginx (it is not installed, or its stream module is not: libnginx-mod-stream)")
    if find("openssl"):
        found |= _tls_parts(bench, folder)
    else:
        left_out.append("the tls and handshakes parts (openssl is not installed)")
    return found, left_out


def _tls_parts(bench: Bench, folder: Path) -> dict[str, Part]:
    files = {kind: tls_load.make_certificate(folder, kind) for kind in tls_load.KEYS}
    relays = {kind: socket_relays.tls_pumps(file) for kind, file in files.items()}
    found = {"tls": Part("TLS pump", _TLS, relays["ECDSA"], bench.tls, ("haproxy",))}
    for kind, each in relays.items():
        title = f"TLS handshakes, {kind}"
        found[f"handshakes-{kind.lower()}"] = Part(title, _HANDSHAKES, each, bench.handshakes, ("haproxy",))
    return found


_ECHO = {"requests": "req/s", "requests CPU": "us/req", "bulk": "Gbit/s", "bulk CPU": "s/GB", "idle": "KiB/socket"}
_PUMP = {
    "bulk": "Gbit/s",
    "bulk CPU": "s/GB",
    "kept": "req/s",
    "kept CPU": "us/req",
    "new": "conn/s",
    "new CPU": "us/conn",
}
_ACCEPT = {"accepted": "conn/s", "accepted CPU": "us/conn"}
_UDP = {
    **{
        name: unit
        for size in DATAGRAMS
        for name, unit in ((f"{size} B", "trips/s"), (f"{size} B CPU", "us/trip"), (f"{size} B lost", "%"))
    },
    "idle": "KiB/socket",
}
_TLS = {"to server": "Gbit/s", "to server CPU": "s/GB", "to client": "Gbit/s", "to client CPU": "s/GB"}
_HANDSHAKES = {"full": "conn/s", "full CPU": "us/conn", "resumed": "conn/s", "resumed CPU": "us/conn"}
