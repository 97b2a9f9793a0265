"""The benchmarks of a filter's sockets, of the proxy port and of transparent listeners run, with tiny loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# What may be 0 or below where the load is tiny: a loss, the ticks of the CPU's clock, memory that was there before.
MAY_BE_NOTHING = ("lost", "CPU", "idle")


def measured(
    source_tree: Path, tmp_path: Path, parts: str, path: str, script: str = "sockets.py", relays: str = "fwx"
) -> dict[str, Any]:
    """Return the report of one round of *parts* of *script* with *relays*; programs are looked for in *path*."""
    report = tmp_path / "report.json"
    sizes = ["--rounds", "1", "--seconds", "0.05", "--relays", relays, "--only", parts]
    sizes += ["--idle", "20"] if script == "sockets.py" else []
    result = subprocess.run(
        [sys.executable, str(source_tree / "benchmarks" / script), *sizes, "--json", str(report)],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
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
    result = subprocess.run(
        [sys.executable, str(script), *sizes, "--json", str(report)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    if os.geteuid() != 0:
        assert "left out: it takes root" in result.stdout
        pytest.skip("needs root, to make network namespaces")
    found = json.loads(report.read_text())
    figures = found["rounds"]["fwx+keep"] | found["datagrams"]["fwx+keep"]
    assert figures.keys() == found["units"].keys()
    assert all(values[0] > 0 or column.endswith(MAY_BE_NOTHING) for column, values in figures.items())


def test_the_firewall_log(source_tree: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    script = source_tree / "benchmarks" / "firewall_log.py"
    result = subprocess.run(
        [sys.executable, str(script), "--rounds", "1", "--records", "200", "--json", str(report)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
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
