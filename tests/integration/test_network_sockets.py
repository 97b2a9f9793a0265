"""Network sockets of a filter in a running service: a relay for DNS over UDP, and a port for those of an IP filter."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from tests.name_server import ADDRESS, dig, name_server

LOOPS = ("uvloop", "asyncio")

# Each client of the relay has a socket of its own towards the server; where it listens is told on standard error.
RELAY = """
import sys

@sdk.implementer(sdk.IFWXIOCompletion)
class Relay(sdk.Unknown):
    def __init__(self, firewall):
        self.firewall, self.clients = firewall, {{}}
        self.inside = firewall.CreateNetworkSocket(sdk.FWX_PROTOCOL_UDP)
        self.inside.Bind(sdk.SocketAddress("127.0.0.1", 0), None, None)
        self.inside.Recv(None, self, None)

    def CompleteAsyncIO(self, success, code, buffer, client, address, length):
        if client is None:
            if success:
                self.outward(address).Send(buffer, None, 0)
                self.inside.Recv(None, self, None)
        elif success:
            self.inside.SendTo(buffer, client, None, None, 0)
            self.clients.pop(client).Close(False)

    def outward(self, client):
        if client not in self.clients:
            outward = self.clients[client] = self.firewall.CreateNetworkSocket(sdk.FWX_PROTOCOL_UDP)
            outward.Connect(sdk.SocketAddress("127.0.0.1", {port}))
            outward.Recv(None, self, client)
        return self.clients[client]

Base = Filter

class Filter(Base):
    def FilterInit(self, pIFWXFirewall):
        self.relay = Relay(pIFWXFirewall)
        print("opened", self.relay.inside.GetSockName(), file=sys.stderr, flush=True)
        return super().FilterInit(pIFWXFirewall)
"""
DOOR = """
import sys
from ipaddress import IPv4Address

@sdk.implementer(sdk.IFWXAcceptCompletion)
class Door(sdk.Unknown):
    def __init__(self, firewall):
        self.firewall = firewall
        guests = firewall.CreateIpFilter()
        guests.IncludeRange(IPv4Address("127.0.0.2"), IPv4Address("127.0.0.9"))
        self.socket = firewall.CreateNetworkSocket(sdk.FWX_PROTOCOL_TCP)
        self.socket.Bind(sdk.SocketAddress("127.0.0.1", 0), None, guests)
        self.socket.Listen(64)
        self.socket.Accept(self, 0)

    def CompleteAsyncAccept(self, success, code, listening, accepted, remote, rlen, local, llen, data):
        if success:
            accepted.Send(self.firewall.CreateConstBuffer(b"welcome"), None, 0)
            accepted.Close(False)
            self.socket.Accept(self, 0)

Base = Filter

class Filter(Base):
    def FilterInit(self, pIFWXFirewall):
        self.door = Door(pIFWXFirewall)
        print("opened", self.door.socket.GetSockName(), file=sys.stderr, flush=True)
        return super().FilterInit(pIFWXFirewall)
"""


def opened_port(firewall: Any) -> int:
    """Return the port of the filter's socket."""
    told = re.search(r"^opened 127\.0\.0\.1:(\d+)$", firewall.stderr(), re.MULTILINE)
    assert told is not None, firewall.stderr()
    return int(told[1])


@pytest.fixture
def server(program_path: Callable[[str], str]) -> Iterator[int]:
    """The port of a real name server, which has been tried: the control."""
    with name_server(program_path("dnsmasq")) as port:
        assert dig(program_path("dig"), port) == ADDRESS
        yield port


@pytest.mark.requires("dnsmasq", "dig")
@pytest.mark.parametrize("loop", LOOPS)
def test_dig_through_a_filters_sockets(serve: Any, server: int, program_path: Callable[[str], str], loop: str) -> None:
    """B3.21, B3.23, B4.6: a hundred real queries, eight at a time; each socket ends with its record and descriptor."""
    firewall = serve(loop=loop, filters={"relay": RELAY.format(port=server)})
    port = opened_port(firewall)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(partial(dig, program_path("dig")), [port] * 100))
    assert answers == [ADDRESS] * 100
    firewall.wait_base_line()
    rows = firewall.wait_rows(100, Action=int(Action.Terminate))
    assert {(row["protocol"], row["DestinationPort"], row["ClientUserName"]) for row in rows} <= {
        ("UDP", server, ""),
        ("UDP", server, None),
    }
    assert all(row["bytessent"] > 20 and row["bytesrecvd"] > 30 for row in rows)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_port_for_some(serve: Any, loop: str) -> None:
    """B4.10, B6.34: whoever the IP filter leaves out is reset before the filter hears of it, and logged."""
    firewall = serve(loop=loop, filters={"door": DOOR})
    address = ("127.0.0.1", opened_port(firewall))

    def greeting(source: str) -> bytes:
        with socket.create_connection(address, 10, (source, 0)) as client:
            return client.recv(100)

    for source, welcome in (("127.0.0.2", True), ("127.0.0.1", False), ("127.0.0.9", True), ("127.0.0.10", False)):
        if welcome:
            assert greeting(source) == b"welcome"
        else:
            with pytest.raises(ConnectionResetError):  # which may come before the client knows of its connection
                greeting(source)
    rows = firewall.wait_rows(2, Action=int(Action.Denied))
    assert [row["SourceIP"] for row in rows] == ["127.0.0.1", "127.0.0.10"]
    firewall.wait_base_line()
