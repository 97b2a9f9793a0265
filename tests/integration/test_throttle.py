"""The filter throttle in a running service: curl gets a file no faster than it may; a fast sender costs little."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fwx.impl.logrecord import Action

CONFIG = """
[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:0"

[[filter]]
name = "slow"
use = "fwx.filters.throttle:Throttle"
everywhere = true
options = {{ {options} }}

[[rule]]
name = "all"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["localhost"]
"""
SIZE = 400_000
BODY = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + b"x" * SIZE


def web(client: Any) -> None:
    """Answer a request with the file, and take what is put."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(65536)
    if head.startswith(b"PUT"):
        left = SIZE - len(head.partition(b"\r\n\r\n")[2])
        while left:
            left -= len(client.recv(65536))
        client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")
    else:
        client.sendall(BODY)


@pytest.fixture
def curl(program_path: Callable[[str], str], origin: Any) -> Callable[..., float]:
    """Get or put the file through a service, *count* times at once; return how long it took."""
    server = origin(web)

    def run(firewall: Any, *arguments: str, count: int = 1) -> float:
        host, port = firewall.address("proxy")
        command = [program_path("curl"), "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Expect:"]
        command += ["--socks5", f"{host}:{port}"]
        command += [*arguments, f"http://127.0.0.1:{server.port}/"]
        began = time.monotonic()
        with ThreadPoolExecutor(count) as pool:
            done = pool.map(lambda _: subprocess.run(command, capture_output=True, check=False), range(count))
            assert {each.stdout for each in done} == {b"200"}
        return time.monotonic() - began

    return run


@pytest.mark.requires("curl")
@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_curl(serve: Any, curl: Any, loop: str, tmp_path: Any) -> None:
    """400 kB at 200 kB/s, of which 100 kB come at once; without a rate, the control, in no time."""
    free = serve(CONFIG.format(options=""), loop=loop)
    assert curl(free) < 1
    slow = serve(CONFIG.format(options="down = 200000, burst = 100000"), loop=loop)
    assert 1.4 < curl(slow) < 3
    file = tmp_path / "file"
    file.write_bytes(b"x" * SIZE)
    assert curl(slow, "-T", str(file)) < 1
    row = slow.wait_rows(2, Action=Action.Terminate)[0]
    assert (row["filters"], row["resultcode"]) == ("slow", 0)
    slow.wait_base_line()


@pytest.mark.requires("curl")
def test_two_share_a_rate(serve: Any, curl: Any) -> None:
    firewall = serve(CONFIG.format(options='down = 400000, burst = 100000, per = "address"'))
    assert 1.6 < curl(firewall, count=2) < 3.5


@pytest.mark.requires("curl")
def test_upload(serve: Any, curl: Any, tmp_path: Any) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * SIZE)
    firewall = serve(CONFIG.format(options="up = 200000, burst = 100000"))
    assert 1.4 < curl(firewall, "-T", str(file)) < 3


def test_a_fast_sender_costs_little(serve: Any, origin: Any, client: Any) -> None:
    """Eight that send as fast as they can, with nowhere to go."""
    firewall = serve(CONFIG.format(options="up = 1000"))
    server = origin("echo")
    before = firewall.memory()
    opened = [client.socks(firewall.address(), server.address) for _ in range(8)]
    for each in opened:
        each.settimeout(0.2)
        with pytest.raises(TimeoutError):
            each.sendall(bytes(64 << 20))
    assert firewall.memory() - before < 8 << 21
    for each in opened:
        client.reset(each)
    firewall.wait_base_line()
