"""A published UDP server in a running service: dig through it to a real name server, with rules, filters and limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import FWX_E_IS_BUSY
from tests.name_server import ADDRESS, dig, name_server

LOOPS = ("uvloop", "asyncio")

PUBLISHED = """
[service]
name = "gateway"

[[network]]
name = "inside"
ranges = ["127.0.0.0/8"]

[[listener]]
name = "dns"
kind = "publish"
transport = "udp"
bind = "127.0.0.1:0"
to = "127.0.0.1:{port}"

[limits]
udp_per_address = {limit}
"""
RULE = """
[[rule]]
name = "names"
action = "{action}"
protocols = [{protocols}]
from = ["localhost"]
to = ["localhost"]
filters = [{filters}]
"""
PROTOCOL = """
[[protocol]]
name = "test names"
ports = [{{ transport = "udp", direction = "send_receive", first = {port}, last = {port} }}]
"""
COUNTER = """
@sdk.implementer(sdk.IFWXDataFilter, sdk.IFWXIOCompletion)
class Both(sdk.Unknown):
    def SetSockets(self, internal, external, connection, context):
        self.sockets = {"to the server": (internal, external), "to the client": (external, internal)}
        for direction, (source, sink) in self.sockets.items():
            source.Recv(None, self, direction)

    def CompleteAsyncIO(self, success, code, buffer, direction, address, length):
        if success:
            source, sink = self.sockets[direction]
            sink.SendTo(buffer, address, None, None, 0)
            source.Recv(None, self, direction)

    def Detach(self):
        self.sockets = None

class Session(Session):
    def FirewallEventHandler(self, pProxyEvent):
        if pProxyEvent.EventType == sdk.fwx_Udp_Destination:
            details = pProxyEvent.Parameters.UdpDest
            connection = details.piConnection
            connection.AttachDataFilter(Both(), sdk.fwx_dfpc_Middle, None)
            connection.AttachDataFilterWithDestination(
                Both(), sdk.fwx_dfpc_Middle, None, details.Address, details.AddressLength)

class Filter(Filter):
    def FilterInit(self, pIFWXFirewall):
        self.firewall = pIFWXFirewall
        return sdk.FwxFilterHookEvents(sdk.fwx_Udp_Destination | sdk.FWX_ALL_SOURCES)

    def AttachToSession(self, piSession, pFilterHookEvents):
        return Session(self.firewall)
"""


@pytest.fixture
def server(program_path: Callable[[str], str]) -> Iterator[int]:
    """The port of a real name server, which has been tried: the control."""
    with name_server(program_path("dnsmasq")) as port:
        assert dig(program_path("dig"), port) == ADDRESS
        yield port


@pytest.fixture
def ask(program_path: Callable[[str], str]) -> Callable[..., str]:
    """Ask a running service's port ``dns``."""
    return lambda firewall, seconds=5: dig(program_path("dig"), firewall.address("dns")[1], seconds)


def config(port: int, *, limit: int = 160, action: str = "allow", protocols: str = '"any"', more: str = "") -> str:
    filters = '"counter"' if "counter" in more else ""
    rule = RULE.format(action=action, protocols=protocols, filters=filters)
    own = PROTOCOL.format(port=port) if "test names" in protocols else ""
    return PUBLISHED.format(port=port, limit=limit) + own + rule + more


@pytest.mark.path(entry="publish", exit="direct", transport="udp")
@pytest.mark.requires("dnsmasq", "dig")
@pytest.mark.parametrize("loop", LOOPS)
def test_dig_to_a_published_name_server(serve: Any, server: int, ask: Any, loop: str) -> None:
    """A hundred real queries, eight at a time; SIGTERM ends their connections, each with its record.

    A connection is a client's port, and now and then the kernel gives two queries the same one.
    """
    firewall = serve(config(server), loop=loop)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, [firewall] * 100))
    assert answers == [ADDRESS] * 100
    firewall.tell()
    firewall.wait_stopped(seconds=5)
    rows = firewall.rows(Action=int(Action.Terminate))
    assert len(rows) == len({row["SourcePort"] for row in rows})
    query = min(row["bytessent"] for row in rows)
    assert sum(row["bytessent"] for row in rows) == 100 * query
    assert {(row["protocol"], row["rule"], row["Interface"], row["DestinationPort"]) for row in rows} == {
        ("UDP", "names", "dns", server)
    }
    assert all(row["bytessent"] > 20 and row["bytesrecvd"] > 30 for row in rows)


@pytest.mark.requires("dnsmasq", "dig")
def test_a_filter_of_the_rule(serve: Any, server: int, ask: Any) -> None:
    """B2.15, B2.18, B3.21: attached with the destination, one for its datagrams, one for all; the record names both."""
    table = '\n[[filter]]\nname = "counter"\nuse = "filter_counter:Filter"\n'
    firewall = serve(config(server, more=table), filters={"counter": COUNTER})
    assert [ask(firewall) for _ in range(5)] == [ADDRESS] * 5
    firewall.tell()
    firewall.wait_stopped(seconds=5)
    assert {row["filters"] for row in firewall.rows(Action=int(Action.Terminate))} == {"counter, counter"}


@pytest.mark.requires("dnsmasq", "dig")
@pytest.mark.parametrize(
    ("action", "protocols", "answer"),
    [
        ("allow", '"test names"', ADDRESS),
        ("allow", '"HTTP"', "no answer"),
        ("deny", '"any"', "no answer"),
    ],
)
def test_rules(serve: Any, server: int, ask: Any, action: str, protocols: str, answer: str) -> None:
    """A protocol of UDP ports of the configuration's own; what no rule allows is dropped, and logged once."""
    firewall = serve(config(server, action=action, protocols=protocols))
    assert ask(firewall, 1) == answer
    if answer == "no answer":
        firewall.wait_rows(1, Action=int(Action.Denied))


@pytest.mark.requires("dnsmasq", "dig")
def test_the_limit_of_an_address(serve: Any, server: int, ask: Any) -> None:
    """B11.3: each client is served, the oldest makes room."""
    firewall = serve(config(server, limit=2))
    assert [ask(firewall, 1) for _ in range(4)] == [ADDRESS] * 4
    rows = firewall.wait_rows(2, Action=int(Action.Terminate))
    assert {row["resultcode"] for row in rows} == {int(FWX_E_IS_BUSY)}
