"""SOCKS4 and SOCKS4a: everything behind the first byte."""

from __future__ import annotations

from handshakes import check


def one_input(data: bytes) -> None:
    """Take any bytes; fails where the parser does."""
    check(b"\x04", data)
