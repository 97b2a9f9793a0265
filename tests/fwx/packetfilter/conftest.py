"""A network namespace of the test's own, reached through libnftables and through nft."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fwx.packetfilter.nft import Command, Nft, NftLibrary, NftProgram

_CLONE_NEWNET = 0x40000000


class Elsewhere:
    """An nftables that is used by one thread, which has a network namespace of its own."""

    def __init__(self, thread: ThreadPoolExecutor, make: Callable[[], Nft]) -> None:
        self._thread = thread
        self._nft = thread.submit(make).result()
        self.name = self._nft.name

    def run(self, commands: Sequence[Command]) -> list[dict[str, Any]]:
        return self._thread.submit(self._nft.run, commands).result()

    def has(self, command: str) -> None:
        self._thread.submit(self._nft.has, command).result()

    def close(self) -> None:
        self._thread.submit(self._nft.close).result()


def _enter() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")


@pytest.fixture(params=[NftLibrary, NftProgram])
def nft(request: pytest.FixtureRequest) -> Iterator[Elsewhere]:
    """libnftables, and the program, in a network namespace of the test's; for tests marked ``requires("nft")``."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a network namespace")
    with ThreadPoolExecutor(1) as thread:
        try:
            thread.submit(_enter).result()
        except OSError as error:
            pytest.skip(f"cannot make a network namespace: {error}")
        nft = Elsewhere(thread, request.param)
        yield nft
        nft.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], object], str], None]:
    """Poll a condition of the kernel's, which tells nobody when it comes true."""

    def wait(condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, f"still waiting for {what}"
            time.sleep(0.02)

    return wait


@pytest.fixture
def helper_like() -> Iterator[int]:
    """A process that looks like a helper."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()", "fwx.packetfilter.helper"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()
