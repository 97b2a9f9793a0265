"""What a SOCKS5 upstream answers."""

from __future__ import annotations

from upstreams import check

from fwx.proxy.socks5_client import Socks5Client


def one_input(data: bytes) -> None:
    """Take any bytes; fails where the parser does."""
    check(Socks5Client, data)
