"""What the firewall log costs: records a second into each kind of sink, and what a connection pays on the data path.

    python benchmarks/firewall_log.py [--quick] [--rounds N] [--records N] [--json FILE]

benchmarks/README.rst says how to read the table.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import platform
import socket
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.postgresql import serving
from harness.table import table

from fwx import sdk
from fwx.config import load
from fwx.firewall_log_schema import FirewallLogError
from fwx.impl.connection import FWXConnection
from fwx.impl.connectionrecord import record_of
from fwx.impl.logrecord import Action, LogRecord
from fwx.logs.jsonlines import JsonSink
from fwx.logs.sink import Sink
from fwx.logs.spool import Spool
from fwx.logs.sql import SqlSink
from fwx.logs.sqlite import SqliteSink
from fwx.logs.w3c import W3cSink
from fwx.logs.writer import LogWriter
from fwx.service import Service

PATIENCE = 120.0
UNITS = {"into the sink": "records/s", "CPU": "us/record"}
BUDGET = 10.0
"""Microseconds that a connection may pay on the data path."""

RATE = 5000
"""Connections a second that end beside the writer."""

_AT_ONCE = 10


class Paced(NamedTuple):
    """Microseconds of a record: of the thread that makes it, by the clock on the wall, and of the writer's, by CPU."""

    loop: float
    writer: float


RECORD = LogRecord(
    time=0.0,
    action=Action.Terminate,
    servername="fw1",
    source_ip="10.1.0.17",
    source_port=40123,
    destination_ip="192.0.2.80",
    destination_port=443,
    destination_name="www.example.org",
    source_network="internal",
    destination_network="external",
    rule="staff browse",
    application_protocol="HTTPS",
    bytes_sent=1234,
    bytes_received=56789,
    connection_time=350,
    username="alice",
    session_id=17,
    interface="proxy",
    filters="monitor",
    nat_address="198.51.100.1",
)


class Broken:
    """A sink that takes nothing, so that everything goes to the spool."""

    name = "broken"
    paths: tuple[Path, ...] = ()

    def open(self) -> None:
        pass

    def commit(self, _batch: object) -> None:
        raise FirewallLogError("it is away")

    def prune(self, _now: float | None) -> bool:
        return False

    def close(self) -> None:
        pass


def written(writer: LogWriter, count: int, done: Callable[[], object]) -> dict[str, float]:
    """Write *count* records as a service does, until *done* returns; return the figures."""
    begin, cpu = time.perf_counter(), time.process_time()
    for number in range(count):
        writer.write(RECORD._replace(time=1_767_323_045.0 + number / 1000, connection_id=number))
    done()
    spent = time.perf_counter() - begin
    return {"into the sink": count / spent, "CPU": (time.process_time() - cpu) / count * 1e6}


def into(sink: Sink, count: int) -> dict[str, float]:
    writer = LogWriter(sink)
    writer.open()
    writer.write(RECORD)
    if not writer.flush(PATIENCE):  # it is connected, and has its tables
        raise RuntimeError(f"{sink.name}: {writer.failed}")
    try:
        return written(writer, count, lambda: writer.flush(PATIENCE))
    finally:
        writer.close(PATIENCE)


def into_spool(path: Path, count: int) -> dict[str, float]:
    spool = Spool(path, 1 << 30)
    writer = LogWriter(Broken(), spool)
    writer.open()

    def all_there() -> None:
        while writer._in_memory():
            time.sleep(0.001)

    try:
        return written(writer, count, all_there)
    finally:
        writer.close(0.0)
        path.unlink(missing_ok=True)


async def data_path(rounds: int, count: int, folder: Path) -> Mapping[str, float]:
    """Return microseconds of a connection: its record made and queued, with the writer at work beside, and without."""
    service = Service(load(None))
    client, target = sdk.SocketAddress("127.0.0.1", 40000), sdk.SocketAddress("127.0.0.1", 80)
    session = service.sessions.of(client, sdk.fwxSourceNAT)
    verdict = service.engine.policy.judge(client.host, client.port, target)
    connection = FWXConnection(session, client, target, verdict)
    alone: list[float] = []
    paced: list[Paced] = []
    for number in range(rounds):
        taken: deque[LogRecord] = deque(maxlen=1)
        alone.append(_per_connection(connection, taken.append, count))
        writer = LogWriter(SqliteSink(folder / f"path{number}.db"))
        writer.open()
        paced.append(_at_a_pace(connection, writer, count // 5))
        writer.close(PATIENCE)
    connection.end()
    service.engine.queue.drain()
    await service.stop(0)
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as out:
        begin = time.perf_counter()
        for _ in range(count):
            out.getsockname()[0]
        address = (time.perf_counter() - begin) / count * 1e6
    return {
        "where it has left from": address,
        "record made and queued": statistics.median(alone),
        f"the same, {RATE} a second, with the writer into SQLite beside": statistics.median(
            each.loop for each in paced
        ),
        "CPU of that writer's threads": statistics.median(each.writer for each in paced),
    }


def _at_a_pace(connection: FWXConnection, writer: LogWriter, count: int) -> Paced:
    """Log *count* connections as a busy service does, so that the writer has its several transactions a second."""
    cpu, own, spent = time.process_time(), time.thread_time(), 0.0
    due = time.perf_counter()
    for _ in range(count // _AT_ONCE):
        begin = time.perf_counter()
        for _ in range(_AT_ONCE):
            writer.write(record_of(connection, Action.Terminate, "", (1234, 56789), 0.35))
        spent += time.perf_counter() - begin
        due += _AT_ONCE / RATE
        time.sleep(max(due - time.perf_counter(), 0))
    writer.flush(PATIENCE)
    others = time.process_time() - cpu - (time.thread_time() - own)
    return Paced(spent / count * 1e6, others / count * 1e6)


def _per_connection(connection: FWXConnection, write: Callable[[LogRecord], object], count: int) -> float:
    gc.collect()
    begin = time.perf_counter()
    for _ in range(count):
        write(record_of(connection, Action.Terminate, "", (1234, 56789), 0.35))
    return (time.perf_counter() - begin) / count * 1e6


def measure(options: argparse.Namespace, stack: ExitStack) -> dict[str, list[dict[str, float]]]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fwx-bench-")))
    folder.chmod(0o711)
    (folder / "pg").mkdir()
    url = stack.enter_context(serving(folder / "pg"))
    sinks: dict[str, Callable[[int], dict[str, float]]] = {
        "SQLite": lambda number: into(SqliteSink(folder / f"{number}.db"), options.records),
        "W3C file": lambda number: into(W3cSink(folder / f"w3c{number}"), options.records),
        "JSON lines": lambda number: into(JsonSink(folder / f"json{number}"), options.records),
        "spool": lambda number: into_spool(folder / f"{number}.spool", options.records),
    }
    if url is not None:
        sinks["PostgreSQL"] = lambda number: into(SqlSink(url, f"benchmark {number}"), options.records)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in sinks}
    for number in range(options.rounds):
        names = list(sinks)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            found[name].append(sinks[name](number))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small round")
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--records", type=int, default=50_000, help="records a round; default 50000")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure of every round")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.records = 1, 10_000
    logging.disable()  # the broken sink is no news
    with ExitStack() as stack:
        found = measure(options, stack)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fwx-bench-")))
        path = asyncio.run(data_path(max(options.rounds, 3), options.records, folder))
    medians = {
        name: {column: statistics.median(each[column] for each in rounds) for column in UNITS}
        for name, rounds in found.items()
    }
    print(f"Python {platform.python_version()}, {options.rounds} rounds of {options.records} records, medians\n")
    print(table(medians, UNITS, ()))
    print(f"\nwhat a connection pays on the data path, us (at most {BUDGET:g}):")
    for name, microseconds in path.items():
        print(f"  {name}: {microseconds:.2f}")
    if options.json is not None:
        options.json.write_text(json.dumps({"rounds": found, "data path": dict(path)}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
