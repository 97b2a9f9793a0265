"""A network namespace of the test's own, reached through libnftables."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from fwx.packetfilter.nft import NftLibrary

_CLONE_NEWNET = 0x40000000


@pytest.fixture
def nft() -> Iterator[NftLibrary]:
    """libnftables in a network namespace that is gone when the test is over; for tests marked ``requires("nft")``.

    A thread of its own enters the namespace, for good: the library's socket stays in it whoever uses it.
    """
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a network namespace")
    made: list[NftLibrary | OSError] = []

    def enter() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET):
            made.append(OSError(ctypes.get_errno(), "unshare"))
            return
        made.append(NftLibrary())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    (found,) = made
    if isinstance(found, OSError):
        pytest.skip(f"cannot make a network namespace: {found}")
    yield found
    found.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], object], str], None]:
    """Poll a condition of the kernel's, which tells nobody when it comes true."""

    def wait(condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + 10
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
