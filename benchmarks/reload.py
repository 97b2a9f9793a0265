"""The benchmark of a change: a large policy is exchanged for another while clients are connected.

    python benchmarks/reload.py [--quick] [--rounds N] [--connections N] [--json FILE]

The policies have 1,000 rules, 10,000 address ranges and 100,000 names of hosts. Of the connections one in fifty moves
data all the time, which is compared by checksums, and one in fifty is by a rule that the second policy has not.
benchmarks/README.rst says what the columns are and how to read them.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.load import origin
from harness.process import cpu_seconds, raise_descriptor_limit
from harness.relays import serve
from harness.table import table

COLUMNS = {
    "apply": "s",
    "CPU": "s",
    "stall": "ms",
    "quiet stall": "ms",
    "ended": "conn",
    "disturbed": "conn",
    "moved": "MB",
}
MOVING = 50
GOING = 50
BLOCK = 16384
PROBE_SECONDS = 0.001
GUEST = "127.0.0.2"
HOST = "127.0.0.1"


class Size(NamedTuple):
    """How much of everything there is."""

    connections: int
    rules: int
    ranges: int
    names: int


FULL = Size(5000, 1000, 10_000, 100_000)
QUICK = Size(200, 100, 1000, 10_000)


def policy(folder: Path, port: int, size: Size, *, guests: bool) -> str:
    """Return the configuration; without *guests* no rule lets them in, and all names are others."""
    return "\n".join(_policy(folder, port, size, guests))


def _policy(folder: Path, port: int, size: Size, guests: bool) -> Iterator[str]:
    networks, sets = size.rules // 10, size.rules // 100
    yield f'[service]\nstate_dir = "{folder}/state"\n'
    yield f'[[listener]]\nname = "relay"\nkind = "publish"\nbind = "127.0.0.1:0"\nto = "127.0.0.1:{port}"\n'
    yield "[limits]\ntcp_per_address = 100000\ntcp_connects_per_minute_per_address = 1000000\n"
    yield f'[[network]]\nname = "guests"\nranges = ["{GUEST}"]\n\n[[network]]\nname = "staff"\nranges = ["{HOST}"]\n'
    numbers = iter(range(size.ranges))
    for index in range(networks):
        ranges = [_range(next(numbers)) for _ in range(size.ranges // networks)]
        yield f'[[network]]\nname = "network {index}"\nranges = {json.dumps(ranges)}\n'
    salt = "a" if guests else "b"
    for index in range(sets):
        names = [f"*.{salt}{index}-{each}.example" for each in range(size.names // sets)]
        yield f'[[domains]]\nname = "set {index}"\nnames = {json.dumps(names)}\n'
    for index in range(size.rules - 2):
        yield _rule(f"rule {index}", f"network {index % networks}", f"set {index % sets}")
    yield _rule("guests", "guests", "localhost" if guests else "external")
    yield _rule("staff", "staff", "localhost")


def _range(number: int) -> str:
    return f"10.{number >> 8 & 255}.{number & 255}.0/25"


def _rule(name: str, source: str, destination: str) -> str:
    head = f'[[rule]]\nname = "{name}"\naction = "allow"\nprotocols = ["any"]\n'
    return f'{head}from = ["{source}"]\nto = ["{destination}"]\nlog = false\n'


def echo(server: socket.socket) -> None:
    """Send everything back, to any number of clients; runs in a process of its own."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.transport.abort()

    async def run() -> None:
        server.setblocking(False)
        async with await asyncio.start_server(client, sock=server, backlog=4096) as running:
            await running.serve_forever()

    raise_descriptor_limit()
    asyncio.run(run())


class Clients:
    """Connections through the service: most are silent, some move data, some are to go."""

    def __init__(self, port: int, size: Size) -> None:
        self._port = port
        self._size = size
        self._streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._going: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._moving: list[asyncio.Task[int]] = []
        self._stop = asyncio.Event()
        self.disturbed = 0
        self.moved = 0

    async def connect(self) -> None:
        """Open them all; each has had an exchange."""
        for start in range(0, self._size.connections, 100):
            await asyncio.gather(*(self._connect(number) for number in range(start, start + 100)))
        staying = self._streams[:: MOVING - 1][: self._size.connections // MOVING]
        self._streams = [each for each in self._streams if each not in staying]
        self._moving = [asyncio.create_task(self._move(number, *each)) for number, each in enumerate(staying)]

    async def _connect(self, number: int) -> None:
        source = GUEST if number % GOING == 1 else HOST
        stream = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(source, 0))
        await _exchange(stream, b"%8d" % number)
        (self._going if source == GUEST else self._streams).append(stream)

    async def _move(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        """Send blocks and compare what comes back, until it is enough; return how many bytes it were."""
        data, sent, got, count = random.Random(number), hashlib.sha256(), hashlib.sha256(), 0
        while not self._stop.is_set():
            block = data.randbytes(BLOCK)
            sent.update(block)
            writer.write(block)
            got.update(await reader.readexactly(BLOCK))
            count += BLOCK
            await asyncio.sleep(0.01)
        if sent.digest() != got.digest():
            raise ValueError(f"transfer {number} came back changed")
        return count

    async def probe(self, seconds: list[float]) -> None:
        """Note how long each exchange on one connection takes, until it is enough."""
        stream = self._streams[0]
        while not self._stop.is_set():
            began = time.monotonic()
            await _exchange(stream, b"x" * 8)
            seconds.append(time.monotonic() - began)
            await asyncio.sleep(PROBE_SECONDS)

    def stop(self) -> None:
        """It is enough."""
        self._stop.set()

    async def end(self) -> int:
        """Wait for the transfers; count what was disturbed, and return how many of those that had to go are gone."""
        for moved in await asyncio.gather(*self._moving, return_exceptions=True):
            self.disturbed += isinstance(moved, BaseException)
            self.moved += moved if isinstance(moved, int) else 0
        for number, stream in enumerate(self._streams):
            try:
                await asyncio.wait_for(_exchange(stream, b"%8d" % number), 30)
            except (OSError, EOFError, TimeoutError, ValueError):
                self.disturbed += 1
        gone = 0
        for reader, _ in self._going:
            try:
                gone += not await asyncio.wait_for(reader.read(1), 30)
            except ConnectionError:
                gone += 1
        for _, writer in (*self._streams, *self._going):
            writer.transport.abort()
        return gone


async def _exchange(stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], data: bytes) -> None:
    reader, writer = stream
    writer.write(data)
    if await reader.readexactly(len(data)) != data:
        raise ValueError("another answer")


async def measure(pid: int, port: int, size: Size, folder: Path, after: str) -> dict[str, float]:
    """Put *after* in force under load, and return the figures."""
    clients = Clients(port, size)
    await clients.connect()
    quiet: list[float] = []
    probing = asyncio.create_task(clients.probe(quiet))
    await asyncio.sleep(2)
    calm, busy = max(quiet), len(quiet)
    file = folder / "after.toml"
    file.write_text(after)
    before, began = cpu_seconds(pid), time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fwx", "apply", str(file), "--json", stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    elapsed, cpu = time.monotonic() - began, cpu_seconds(pid) - before
    told = json.loads(output)
    if told["applied"] is None:
        raise RuntimeError(f"the change was refused: {told}")
    await asyncio.sleep(0.2)
    clients.stop()
    await probing
    gone = await clients.end()
    assert gone == told["applied"]["ended"], (gone, told["applied"])
    return {
        "apply": told["applied"]["seconds"],
        "command": elapsed,
        "CPU": cpu,
        "stall": max(quiet[busy:]) * 1000,
        "quiet stall": calm * 1000,
        "ended": gone,
        "disturbed": clients.disturbed,
        "moved": clients.moved / 1e6,
    }


def run(size: Size) -> dict[str, float]:
    """Start a service, connect, change; return the figures of one round."""
    with tempfile.TemporaryDirectory(prefix="fwx-reload-") as text, origin(echo) as target:
        folder = Path(text)
        folder.chmod(0o711)
        before = policy(folder, target, size, guests=True)
        after = policy(folder, target, size, guests=False)
        relay = serve(folder, before, "relay listens on")
        with relay.process:
            return asyncio.run(measure(relay.process.pid, relay.port, size, folder, after))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small policy, few connections")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    size = QUICK if chosen.quick else FULL
    if chosen.connections:
        size = size._replace(connections=chosen.connections)
    raise_descriptor_limit()
    rounds = [run(size) for _ in range(1 if chosen.quick else chosen.rounds)]
    print(f"{size}, {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    medians = {name: statistics.median(each[name] for each in rounds) for name in COLUMNS}
    print(table({"fwx": medians}, COLUMNS, ()))
    if chosen.json:
        chosen.json.write_text(json.dumps({"size": size._asdict(), "units": COLUMNS, "rounds": rounds}, indent=2))


if __name__ == "__main__":
    main()
