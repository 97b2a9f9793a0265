"""HTTP CONNECT: everything behind the method."""

from __future__ import annotations

from handshakes import check


def one_input(data: bytes) -> None:
    """Take any bytes; fails where the parser does."""
    check(b"CONNECT ", data)
