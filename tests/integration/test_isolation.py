"""Filters that hold up others, hoard, or are exchanged while the service runs; with curl in front of it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LOOPS = ("uvloop", "asyncio")
SERVICE = "[service]\nblocked_loop_seconds = 0.2\n"

# It waits, on the loop thread, until the test has seen what the service says about that.
SLUGGARD = """
import pathlib, time
FLAG = pathlib.Path(__file__).with_name("go")

class Session(Session):
    def FirewallEventHandler(self, pProxyEvent):
        while not FLAG.exists():
            time.sleep(0.01)
        super().FirewallEventHandler(pProxyEvent)
"""


@pytest.fixture
def curl(program_path: Callable[[str], str]) -> Callable[..., subprocess.Popen[bytes]]:
    """Start curl without the environment's proxies."""

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        command = [program_path("curl"), "-q", "-sS", "--noproxy", "", "--max-time", "30", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    return start


def finish(process: subprocess.Popen[bytes]) -> bytes:
    """What curl has printed; it must have succeeded."""
    printed, complaints = process.communicate(timeout=30)
    assert process.returncode == 0, complaints
    return printed


@pytest.mark.requires("curl")
@pytest.mark.parametrize("loop", LOOPS)
def test_the_watchdog_names_the_filter(
    serve: Any, web: str, curl: Any, wait_until: Callable[..., Any], loop: str
) -> None:
    firewall = serve(SERVICE, filters={"sluggard": SLUGGARD}, loop=loop)
    host, port = firewall.address()
    waiting = curl("--socks5", f"{host}:{port}", web)
    wait_until(lambda: "every connection waits for filter 'sluggard'" in firewall.stderr(), "the watchdog")
    (firewall.folder / "go").touch()
    assert finish(waiting) == b"hello"
    place = re.escape(str(firewall.folder / "filter_sluggard.py"))
    wait_until(lambda: "every connection waited at least" in firewall.stderr(), "the end of the incident")
    firewall.stop()
    said = firewall.stderr()
    assert re.search(rf"waits for filter 'sluggard' in FirewallEventHandler \(Session\.\S+, {place}:\d+\)", said)
    assert re.search(rf'File "{place}", line \d+, in FirewallEventHandler', said)  # the stack
    [alert] = firewall.alerts()
    assert (alert["event"], alert["key"]) == ("Filter blocks the service", "sluggard/FirewallEventHandler")
    assert re.match(r"every connection waited at least [\d.]+ s for filter 'sluggard' in", alert["message"])
