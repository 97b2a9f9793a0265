"""The benchmarks of a filter's sockets, of the proxy port and of transparent listeners run, with tiny loads."""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# What may be 0 or below where the load is tiny: a loss, the ticks of the CPU's clock, memory that was there before.
MAY_BE_NOTHING = ("lost", "CPU", "idle")


# What the script may take; it bounds each of its own steps, so that this is for the machine that stands still.
SCRIPT_SECONDS = 240


def run_script(script: Path, *options: str, path: str = os.environ["PATH"]) -> str:
    """Run a benchmark to its end and return what it printed; fail with what it said so far if there is no end."""
    try:
        result = subprocess.run(
            [sys.executable, str(script), *options],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=SCRIPT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        said = [(each or b"").decode(errors="replace") for each in (error.stdout, error.stderr)]
        pytest.fail(f"{script.name} did not end within {SCRIPT_SECONDS} s; it said\n{''.join(said)}")
    assert result.returncode == 0, result.stderr
    return result.stdout


def measured(
    source_tree: Path, tmp_path: Path, parts: str, path: str, script: str = "sockets.py", relays: str = "fwx"
) -> dict[str, Any]:
    """Return the report of one round of *parts* of *script* with *relays*; programs are looked for in *path*."""
    report = tmp_path / "report.json"
    sizes = ["--rounds", "1", "--seconds", "0.05", "--relays", relays, "--only", parts]
    sizes += ["--idle", "20"] if script == "sockets.py" else []
    run_script(source_tree / "benchmarks" / script, *sizes, "--json", str(report), path=path)
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def require_figures(report: dict[str, Any], parts: str, relay: str = "fwx") -> None:
    assert ",".join(report["parts"]) == parts
    for part in report["parts"].values():
        figures = part["rounds"][relay]
        assert figures.keys() == part["units"].keys()
        for column, values in figures.items():
            assert len(values) == 1
            assert values[0] > 0 or column.endswith(MAY_BE_NOTHING), column


@pytest.fixture
def harness(source_tree: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Return what imports a module of benchmarks/harness."""
    monkeypatch.syspath_prepend(source_tree / "benchmarks")
    return lambda name: importlib.import_module(f"harness.{name}")


def test_a_step_without_an_end_is_named(harness: Callable[[str], Any]) -> None:
    """Whatever the step waits in, and with what came before it kept."""
    take, silent = harness("rounds").take, socket.socket(type=socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))

    def waits() -> Iterator[tuple[str, float]]:
        yield "first", 1.0
        with silent:
            harness("load").flood(silent)  # a function of the benchmarks that never returns
        yield "second", 2.0

    taken, problems = take({"slow": waits, "fast": lambda: [("first", 3.0)]}, 1, step=0.2)
    assert taken == {"slow": {"first": [1.0]}, "fast": {"first": [3.0]}}
    (problem,) = problems
    assert problem.startswith("slow, round 1, behind 'first': no end within 0.2 s, in load.py:")
    assert problem.endswith(", flood")
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


LOADS = """
import multiprocessing, os, socket, time
from harness.load import run

loads = (abs, -3, 60), (socket.create_connection, ("127.0.0.1", 1), 60), (os._exit, 0, 60), (time.sleep, 600, 0.1)
for load, argument, patience in loads:
    try:
        print(run(load, argument, patience=patience))
    except Exception as error:
        print(type(error).__name__, error)
print(multiprocessing.active_children())
"""


def test_a_load_in_a_process_of_its_own(source_tree: Path) -> None:
    """Its result, its error, or that there is none: never a wait without an end. The processes are gone."""
    result = subprocess.run(
        [sys.executable, "-c", LOADS],
        cwd=source_tree / "benchmarks", capture_output=True, text=True, check=True, timeout=SCRIPT_SECONDS,
    )  # fmt: skip
    assert result.stdout.splitlines() == [
        "3",
        "ConnectionRefusedError [Errno 111] Connection refused",
        "RuntimeError the process of the load _exit ended without a figure",
        "RuntimeError the load sleep took longer than 0.1 s",
        "[]",
    ]


def test_a_load_goes_on_until_anything_came_through(harness: Callable[[str], Any]) -> None:
    load = harness("load")
    assert load.goes_on(1.0, 2.0, 5)
    assert not load.goes_on(2.0, 2.0, 5)
    assert load.goes_on(2.0, 2.0, 0)
    with pytest.raises(RuntimeError, match=r"nothing came through in 12\.1 s"):
        load.goes_on(12.1, 2.0, 0)


def test_a_program_that_ends_by_itself(harness: Callable[[str], Any]) -> None:
    run_to_end = harness("process").run_to_end
    assert run_to_end(["/bin/echo", "said"]) == "said\n"
    with pytest.raises(RuntimeError, match=r"^sh -c echo why >&2; exit 3 failed: why$"):
        run_to_end(["/bin/sh", "-c", "echo why >&2; exit 3"])
    with pytest.raises(RuntimeError, match=r"^sleep did not end within 0\.1 s: /bin/sleep 600$"):
        run_to_end(["/bin/sleep", "600"], 0.1)


@pytest.mark.requires("gcc")
def test_the_loads_in_c(source_tree: Path, tmp_path: Path) -> None:
    parts = "echo,accept,udp"
    report = measured(source_tree, tmp_path, parts, os.environ["PATH"])
    assert report["about"]["load"]["sockets"].endswith("fast_load.c")
    require_figures(report, parts)


def test_the_loads_in_python(source_tree: Path, tmp_path: Path) -> None:
    parts = "echo,pump,accept,udp"
    report = measured(source_tree, tmp_path, parts, "/nonexistent")
    assert report["about"]["load"]["sockets"].endswith("socket_load.py")
    require_figures(report, parts)


@pytest.mark.requires("openssl")
def test_tls(source_tree: Path, tmp_path: Path) -> None:
    parts = "tls,handshakes-ecdsa"
    require_figures(measured(source_tree, tmp_path, parts, os.environ["PATH"]), parts)


@pytest.mark.requires("gcc", "danted", "microsocks")
def test_the_proxy_port(source_tree: Path, tmp_path: Path) -> None:
    """All that is compared gives all figures. microsocks has no UDP, and no half-close."""
    parts = "connect,bulk,udp"
    report = measured(source_tree, tmp_path, parts, os.environ["PATH"], "proxy_port.py", "fwx,dante,microsocks")
    for relay in ("fwx", "dante"):
        require_figures(report, parts, relay)
    assert [list(part["rounds"]) for part in report["parts"].values()] == [
        ["fwx", "dante", "microsocks"], ["fwx", "dante"], ["fwx", "dante"]
    ]  # fmt: skip


@pytest.mark.requires("ip", "nft")
def test_transparent(source_tree: Path, tmp_path: Path) -> None:
    """A tiny round of the service alone; a user without root is told why nothing is measured."""
    report = tmp_path / "report.json"
    script = source_tree / "benchmarks" / "transparent.py"
    sizes = ["--rounds", "1", "--seconds", "0.05", "--only", "fwx+keep"]
    said = run_script(script, *sizes, "--json", str(report))
    if os.geteuid() != 0:
        assert "left out: it takes root" in said
        pytest.skip("needs root, to make network namespaces")
    found = json.loads(report.read_text())
    figures = found["rounds"]["fwx+keep"] | found["datagrams"]["fwx+keep"]
    assert figures.keys() == found["units"].keys()
    assert all(values[0] > 0 or column.endswith(MAY_BE_NOTHING) for column, values in figures.items())


def test_the_firewall_log(source_tree: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    script = source_tree / "benchmarks" / "firewall_log.py"
    run_script(script, "--rounds", "1", "--records", "200", "--json", str(report))
    found = json.loads(report.read_text())
    assert {"SQLite", "W3C file", "spool"} <= set(found["rounds"])
    assert all(figure > 0 for rounds in found["rounds"].values() for each in rounds for figure in each.values())
    assert all(0 < microseconds < 1000 for microseconds in found["data path"].values())


def test_a_large_policy(source_tree: Path, tmp_path: Path) -> None:
    """What it decides is for other tests to say; here it runs, and has a figure for every line."""
    report = tmp_path / "report.json"
    script = source_tree / "benchmarks" / "policy.py"
    command = [sys.executable, str(script), "--rounds", "1", "--share", "200", "--json", str(report)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    figures = json.loads(report.read_text())
    assert {name.partition(":")[0] for name in figures} == {"build", "memory", "decision", "look-up"}
    assert all(len(each["rounds"]) == 1 and each["rounds"][0] >= 0 for each in figures.values())
