"""The same loads by the programs people know: iperf3 for bulk, wrk for requests, nginx as the origin."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import load
from harness.process import LOCALHOST, PATIENCE, Running, find, free_port

_NGINX = """\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  server {{ listen {host}:{port} backlog=4096; root {folder}; }}
}}
"""


def used() -> dict[str, str]:
    """Return who makes which load on this machine."""
    return {
        "bulk": "iperf3" if find("iperf3") else "benchmarks/harness/load.py",
        "requests": "wrk" if find("wrk") else "benchmarks/harness/load.py",
        "origin": "nginx" if find("nginx") else "benchmarks/harness/load.py",
    }


@contextmanager
def bulk_origin(folder: Path, host: str = LOCALHOST) -> Iterator[int]:
    """Run what takes the bulk data; give its port of *host*."""
    program = find("iperf3")
    if program is None:
        with load.origin(load.sink, host=host) as port:
            yield port
        return
    port = free_port(host=host)
    with Running([program, "-s", "-B", host, "-p", str(port)], folder / "iperf3.said") as server:
        server.wait_for_port(port, host=host)
        yield port


def push(port: int, seconds: float, host: str = LOCALHOST) -> tuple[int, float]:
    """Send as much as goes through *port* of *host* in *seconds*; return the bytes that arrived, and their time."""
    program = find("iperf3")
    if program is None:
        moved: tuple[int, float] = load.run(load.push, port, seconds, host, patience=seconds + PATIENCE)
        return moved
    report = json.loads(_run([program, "-J", "-c", host, "-p", str(port), "-t", whole(seconds)], seconds))
    if "error" in report:
        raise RuntimeError(f"iperf3: {report['error']}")
    received = report["end"]["sum_received"]
    return received["bytes"], received["seconds"]


@contextmanager
def request_origin(folder: Path, host: str = LOCALHOST) -> Iterator[int]:
    """Run what answers requests; give its port of *host*."""
    program = find("nginx")
    if program is None:
        with load.origin(load.answer, host=host) as port:
            yield port
        return
    port, configuration = free_port(host=host), folder / "origin.conf"
    configuration.write_text(_NGINX.format(folder=folder, host=host, port=port))
    (folder / "x").write_bytes(load.BODY)
    with Running([program, "-e", "stderr", "-c", str(configuration)], folder / "origin.said") as server:
        server.wait_for_port(port, host=host)
        yield port


def ask(port: int, clients: int, seconds: float, keep: bool, host: str = LOCALHOST) -> tuple[int, float]:
    """Send requests on *clients* connections, on a new one each time unless *keep*; return answers and seconds.

    :raises RuntimeError: a request failed.
    """
    program = find("wrk")
    if program is None:
        answered: tuple[int, float] = load.run(
            load.ask, port, clients, seconds, keep, host, patience=seconds + PATIENCE
        )
        return answered
    headers = [] if keep else ["-H", "Connection: close"]
    command = [program, "-t1", f"-c{clients}", f"-d{whole(seconds)}s", *headers, f"http://{host}:{port}/x"]
    said = _run(command, seconds)
    wrong = re.search(r"Socket errors: .*|Non-2xx.*", said)
    if wrong:
        raise RuntimeError(f"wrk: {wrong[0]}")
    counted = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if counted is None or rate is None or not float(rate[1]):
        raise RuntimeError(f"wrk gave no figures: {said.strip()[-300:]}")
    return int(counted[1]), int(counted[1]) / float(rate[1])


def whole(seconds: float) -> str:
    """Return *seconds* as programs take them that know whole ones only."""
    return str(max(math.ceil(seconds), 1))


def _run(command: list[str], seconds: float) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds + PATIENCE, check=False).stdout
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{command[0]} did not end within {error.timeout:g} s: nothing came through") from error
