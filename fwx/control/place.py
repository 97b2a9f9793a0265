"""Names of the control socket that fit into a socket's address."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fwx.control import SOCKET


def short_name(folder: int) -> str:
    """Return a name of the socket in *folder*, an open descriptor: an address has 107 bytes, a path may be longer."""
    return f"/proc/self/fd/{folder}/{SOCKET}"


@contextmanager
def short_path(folder: Path) -> Iterator[str]:
    """Give such a name as long as the context lasts.

    :raises OSError: the folder cannot be opened.
    """
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield short_name(descriptor)
    finally:
        os.close(descriptor)
