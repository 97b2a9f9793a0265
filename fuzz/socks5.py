"""SOCKS5 with and without a password: everything behind the first byte."""

from __future__ import annotations

from handshakes import check


def one_input(data: bytes) -> None:
    """Take any bytes; fails where the parser does."""
    check(b"\x05", data)
