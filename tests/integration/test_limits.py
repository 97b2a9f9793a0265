"""What one client address may have, and what it is told beyond that (behaviour topic 11)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from fwx.commands.limits import limits
from fwx.commands.log import log
from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import (
    FWX_E_IS_BUSY,
    FWX_E_NO_BACKLOG_PACKET_DROPPED,
    FWX_E_TCP_RATE_QUOTA_EXCEEDED_DROPPED,
    HRESULT_FROM_WIN32,
    WSAEMFILE,
)


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


def test_no_descriptors_left(serve: Any, origin: Any, client: Any, eventually: Any) -> None:
    """Out of descriptors, clients wait until there are some again; none is lost, and what is there goes on.

    A connection that would need one more is refused with the reason. Nothing spins or dies.
    """
    prelude = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
    firewall = serve(prelude=prelude)
    server = origin()
    kept = client.socks(firewall.address(), server.address)
    opened = [client.connect(firewall.address()) for _ in range(80)]
    assert client.exactly(_greeted(opened[0]), 2) == b"\x05\x00"
    eventually(lambda: "takes no clients for a moment" in firewall.stderr(), "the descriptors to run out")
    kept.sendall(b"goes on")
    assert client.exactly(kept, 7) == b"goes on"
    asking = opened[0]
    asking.sendall(client.socks_request(server.address))
    assert client.exactly(asking, 2)[1] == 1
    (row,) = firewall.wait_rows(1, Action=int(Action.Failed))
    assert (row["resultcode"], row["reason"]) == (
        int(HRESULT_FROM_WIN32(WSAEMFILE)),
        f"connecting to {server.address[0]}:{server.address[1]} failed",
    )
    for sock in opened[:-1]:
        sock.close()
    last = opened[-1]
    last.sendall(b"\x05\x01\x00" + client.socks_request(server.address))
    assert client.exactly(last, 4)[3] == 0
    last.close()
    kept.close()
    firewall.wait_base_line()
    firewall.wait_rows(81)


def _greeted(sock: Any) -> Any:
    sock.sendall(b"\x05\x01\x00")
    return sock


TABLE = """
[limits]
tcp_per_address = 3
handshakes = 2
http_requests_per_minute_per_address = 2
exceptions = { addresses = ["127.0.0.9"], tcp_per_address = 4 }

[[network]]
name = "staff"
ranges = ["127.0.0.7"]

[[rule]]
name = "staff"
action = "allow"
protocols = ["any"]
from = ["staff"]
to = ["localhost"]
limits = { connections_per_user = 1 }

[[rule]]
name = "others"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["localhost"]
"""


@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
def test_the_table_its_exceptions_and_a_rule(serve: Any, origin: Any, client: Any) -> None:
    """B11.2, B11.5, B11.6, B11.7: each in one service; ``fwx limits`` says how far each client is."""
    firewall, server = serve(TABLE), origin()
    proxy, config = firewall.address(), ["--config", str(firewall.folder / "fwx.toml")]
    opened = [client.socks(proxy, server.address, "127.0.0.9") for _ in range(4)]
    is_refused(client, proxy, "127.0.0.9")
    opened += [client.socks(proxy, server.address, "127.0.0.8") for _ in range(3)]
    is_refused(client, proxy, "127.0.0.8")

    opened.append(client.socks(proxy, server.address, "127.0.0.7"))
    assert client.socks_code(proxy, server.address, "127.0.0.7") == 1
    row = firewall.wait_row(rule="staff")
    assert (row["Action"], row["resultcode"]) == (Action.Denied, int(FWX_E_IS_BUSY))
    assert row["reason"].endswith("(connections_per_user), and 127.0.0.7 wants one more")

    told = json.loads(CliRunner().invoke(limits, [*config, "--json"]).stdout)
    used = {each["address"]: each["tcp"] for each in told["addresses"]}
    assert (used["127.0.0.9"], used["127.0.0.8"]) == ({"is": 4, "most": 4}, {"is": 3, "most": 3})
    assert told["service"]["refused"] == {"addresses": 2, "rules": 1}
    (rule,) = told["rules"]
    assert (rule["rule"], rule["users"]) == ("staff", [{"user": "127.0.0.7", "is": 1, "most": 1}])
    words = CliRunner().invoke(limits, [*config, "--from", "127.0.0.9"]).stdout.splitlines()
    assert words[3].startswith("127.0.0.9: 4/4 TCP connections, 4/6000 new ones in the minute, 0/80 being opened, ")
    assert words[-1] == "  127.0.0.7: 1/1 connections"

    assert words[1].startswith("memory: ")
    assert told["service"]["memory"]["most"] > told["service"]["memory"]["is"] > 10 << 20

    silent = [client.connect(proxy, f"127.0.0.{number}") for number in (1, 2)]
    is_refused(client, proxy, "127.0.0.3")
    row = firewall.wait_row(resultcode=int(FWX_E_NO_BACKLOG_PACKET_DROPPED))
    assert (row["SourceIP"], row["reason"]) == (
        "127.0.0.3",
        "2 clients have not said yet what they want (handshakes)",
    )
    for sock in silent:
        sock.close()
    firewall.wait_rows(2, reason="the client closed before it sent anything")

    asking = client.connect(proxy, "127.0.0.6")
    for status in (b"403", b"403", b"503"):
        asking.sendall(b"GET http://192.0.2.1/ HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n")
        assert asking.recv(4096).startswith(b"HTTP/1.1 " + status)
    row = firewall.wait_row(SourceIP="127.0.0.6", resultcode=int(FWX_E_IS_BUSY))
    assert row["reason"].endswith("has made 2 HTTP requests in a minute (http_requests_per_minute_per_address)")
    for sock in opened:
        sock.close()
    asking.close()
    firewall.wait_base_line()
    firewall.tell()
    firewall.wait_stopped()
    alerts = CliRunner().invoke(log, [*config, "--alerts"]).stdout
    for alert in ("Connection limit exceeded", "Connection limit of a rule exceeded", "Too many requests at once"):
        assert alert in alerts
    for address in ("127.0.0.9", "127.0.0.8", "127.0.0.7", "127.0.0.6"):
        assert f"{address} " in alerts


def test_refusals_that_are_not_logged(serve: Any, origin: Any, client: Any) -> None:
    """B11.6: connections and requests in plain HTTP; the event is raised all the same."""
    figures = "tcp_per_address = 1\nhttp_requests_per_minute_per_address = 1\nlog_refused = false\n"
    firewall = serve("[limits]\n" + figures)
    asking = client.connect(firewall.address())
    for status in (b"502", b"503"):
        asking.sendall(b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")
        assert asking.recv(4096).startswith(b"HTTP/1.1 " + status)
    is_refused(client, firewall.address())
    asking.close()
    firewall.wait_base_line()
    firewall.tell()
    firewall.wait_stopped()
    assert firewall.rows(resultcode=int(FWX_E_IS_BUSY)) == []
    assert {alert["event"] for alert in firewall.alerts()} == {"Connection limit exceeded"}
