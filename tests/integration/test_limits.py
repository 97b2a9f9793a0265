"""What one client address may have, and what it is told beyond that (behaviour topic 11)."""

from __future__ import annotations

from typing import Any

import pytest

from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import FWX_E_IS_BUSY, FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED


def is_refused(client: Any, proxy: tuple[str, int], source: str | None = None) -> None:
    """The service resets the connection before it has read anything."""
    with pytest.raises(ConnectionResetError):
        client.connect(proxy, source).recv(1)


@pytest.mark.parametrize(("kind", "loop"), [("connected", "uvloop"), ("silent", "asyncio")])
def test_connections_at_a_time(serve: Any, origin: Any, client: Any, loop: str, kind: str) -> None:
    """Whether they have got anywhere or not. Other addresses are served, and one that ends makes room."""
    firewall = serve("[limits]\ntcp_per_address = 5\n", loop=loop)
    proxy, server = firewall.address(), origin()

    def begin() -> Any:
        return client.socks(proxy, server.address) if kind == "connected" else client.connect(proxy)

    opened = [begin() for _ in range(5)]
    for _ in range(3):
        is_refused(client, proxy)
    rows = firewall.wait_rows(3)
    assert {(row["Action"], row["resultcode"]) for row in rows} == {(Action.Denied, int(FWX_E_IS_BUSY))}
    assert {row["reason"] for row in rows} == {"127.0.0.1 has 5 connections (tcp_per_address)"}
    assert client.socks_code(proxy, server.address, "127.0.0.5") == 0
    opened.pop().close()
    firewall.wait_rows(5)
    assert client.socks_code(proxy, server.address) == 0
    for sock in opened:
        sock.close()
    firewall.wait_rows(10)
    firewall.wait_base_line()


def test_connections_in_a_minute(serve: Any, origin: Any, client: Any) -> None:
    firewall = serve("[limits]\ntcp_connects_per_minute_per_address = 5\n")
    proxy, server = firewall.address(), origin()
    for _ in range(5):
        assert client.socks_code(proxy, server.address) == 0
    for _ in range(3):
        is_refused(client, proxy)
    rows = firewall.wait_rows(3, Action=int(Action.Denied))
    assert {row["resultcode"] for row in rows} == {int(FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED)}
    assert "127.0.0.1 has begun 5 connections in a minute" in rows[0]["reason"]
    assert client.socks_code(proxy, server.address, "127.0.0.5") == 0
    firewall.wait_base_line()


PUBLISHED = """
[[listener]]
name = "www"
kind = "publish"
bind = "127.0.0.1:0"
to = "127.0.0.1:{port}"

[limits]
tcp_per_address = 2
"""


def test_published_servers_count_too(serve: Any, origin: Any, client: Any) -> None:
    server = origin()
    firewall = serve(PUBLISHED.format(port=server.port))
    opened = [client.connect(firewall.address("www")) for _ in range(2)]
    for sock in opened:
        sock.sendall(b"x")
        client.exactly(sock, 1)
    is_refused(client, firewall.address("www"))
    row = firewall.wait_row()
    assert (row["Interface"], row["resultcode"]) == ("www", int(FWX_E_IS_BUSY))


def test_no_descriptors_left(serve: Any, origin: Any, client: Any) -> None:
    """Out of descriptors, clients wait until there are some again; none is lost, and nothing spins or dies."""
    prelude = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n"
    firewall = serve(prelude=prelude)
    server = origin()
    opened = [client.connect(firewall.address()) for _ in range(60)]
    assert client.exactly(_greeted(opened[0]), 2) == b"\x05\x00"
    for sock in opened[:-1]:
        sock.close()
    last = opened[-1]
    last.sendall(b"\x05\x01\x00" + client.socks_request(server.address))
    assert client.exactly(last, 4)[3] == 0
    assert "takes no clients for a moment" in firewall.stderr()
    last.close()
    firewall.wait_base_line()
    firewall.wait_rows(60)


def _greeted(sock: Any) -> Any:
    sock.sendall(b"\x05\x01\x00")
    return sock
