"""What an HTTP CONNECT upstream answers."""

from __future__ import annotations

from upstreams import check

from fwx.proxy.http_connect_client import HttpConnectClient


def one_input(data: bytes) -> None:
    """Take any bytes; fails where the parser does."""
    check(HttpConnectClient, data)
