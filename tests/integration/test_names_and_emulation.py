"""curl through filters that answer for names and for servers: a cache, a redirection, a refusal."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fwx
from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import HRESULT_FROM_WIN32, WSAHOST_NOT_FOUND

LOOPS = ("uvloop", "asyncio")
TOP = Path(fwx.__file__).parent.parent
CACHE = """
[[filter]]
name = "cache"
use = "from_cache:FromCache"
everywhere = true
"""
# Asks for the name events of Firewall clients; DO is what its handler does with each.
NAMES = """
@sdk.implementer(sdk.IFWXSessionFilter)
class Session(sdk.Unknown):
    def FirewallEventHandler(self, pProxyEvent):
        names = pProxyEvent.Parameters.GetHostByName
        {}

    def Detach(self):
        pass

class Filter(Filter):
    def FilterInit(self, pIFWXFirewall):
        return sdk.FwxFilterHookEvents(sdk.fwx_GetHostByName | sdk.fwxSourceWSP)

    def AttachToSession(self, piSession, pFilterHookEvents):
        return Session()
"""
REDIRECTS = """
        from ipaddress import ip_address
        if names.Hostname == "old.example" and not names.fBeforeAction:
            names.piGetXByY.SetResult(sdk.Hostent("new.example", (), (ip_address("127.0.0.1"),)))
"""
DENIES = """
        if names.fBeforeAction:
            names.piGetXByY.Deny(0)
"""


@pytest.fixture
def curl(program_path: Callable[[str], str]) -> Callable[..., tuple[int, bytes]]:
    """Run curl without the environment's proxies; return its exit status and what it printed."""

    def run(*arguments: str) -> tuple[int, bytes]:
        command = [program_path("curl"), "-q", "-sS", "--noproxy", "", "--max-time", "30", *arguments]
        result = subprocess.run(command, capture_output=True, check=False, env={"PATH": os.environ["PATH"]})
        return result.returncode, result.stdout

    return run


def page(client: Any) -> None:
    """An origin that answers one request."""
    while b"\r\n\r\n" not in client.recv(4096):
        """More of the head comes."""
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\npage\n")


def ways(firewall: Any) -> list[tuple[str, ...]]:
    host, port = firewall.address()
    proxy = f"{host}:{port}"
    return [
        ("-x", f"socks5h://{proxy}"),
        ("-x", f"socks4a://{proxy}"),
        ("-p", "-x", f"http://{proxy}"),
        ("-x", f"http://{proxy}"),
    ]


@pytest.mark.requires("curl")
@pytest.mark.parametrize("loop", LOOPS)
def test_an_answer_from_a_cache(serve: Any, curl: Any, loop: str) -> None:
    """B2.28, B3.40: by every protocol of the proxy port; name and server are the filter's of examples/."""
    firewall = serve(CACHE, loop=loop, env={"PYTHONPATH": os.pathsep.join([str(TOP), str(TOP / "examples")])})
    for way in ways(firewall):
        assert curl(*way, "http://cached.example/") == (0, b"from the cache\n"), way
    for row in firewall.wait_rows(4):
        assert (row["Action"], row["resultcode"], row["reason"]) == (Action.Terminate, 0, "")
        assert (row["DestinationName"], row["DestinationIP"]) == ("cached.example", "")
        assert row["bytesrecvd"] > len("from the cache\n")
    firewall.wait_base_line()


@pytest.mark.requires("curl")
@pytest.mark.parametrize("loop", LOOPS)
def test_a_name_that_is_sent_elsewhere(serve: Any, origin: Any, curl: Any, loop: str) -> None:
    """B2.28: the name service does not know old.example; the filter does."""
    server = origin(page)
    firewall = serve(filters={"names": NAMES.format(REDIRECTS)}, loop=loop)
    for way in ways(firewall):
        assert curl(*way, f"http://old.example:{server.port}/") == (0, b"page\n"), way
    for row in firewall.wait_rows(4):
        assert (row["Action"], row["DestinationName"]) == (Action.Terminate, "old.example")
        assert row["DestinationIP"] == "127.0.0.1"
    assert server.connections == 4
    firewall.wait_base_line()


@pytest.mark.requires("curl")
def test_a_name_that_is_denied(serve: Any, origin: Any, curl: Any, client: Any) -> None:
    """B2.28: to the client there is no such host; an address needs no name."""
    server = origin(page)
    firewall = serve(filters={"names": NAMES.format(DENIES)})
    for way in ways(firewall):
        status, answer = curl(*way, f"http://localhost:{server.port}/")
        assert (status != 0) or answer != b"page\n", way
    for row in firewall.wait_rows(4):
        assert (row["Action"], row["resultcode"]) == (Action.Denied, int(HRESULT_FROM_WIN32(WSAHOST_NOT_FOUND)))
        assert row["reason"] == "looking up localhost was denied by filter 'names'"
    assert client.socks_code(firewall.address(), ("localhost", server.port)) == 4
    assert server.connections == 0
    assert curl(*ways(firewall)[0], f"http://127.0.0.1:{server.port}/") == (0, b"page\n")
    firewall.wait_base_line()


RESOLVES = """
@sdk.implementer(sdk.IFWXSessionFilter)
class Session(sdk.Unknown):
    def FirewallEventHandler(self, pProxyEvent):
        from ipaddress import ip_address
        by_name = pProxyEvent.EventType == sdk.fwx_GetHostByName
        details = pProxyEvent.Parameters.GetHostByName if by_name else pProxyEvent.Parameters.GetHostByAddr
        question = details.Hostname if by_name else str(ip_address(details.Address))
        if question in ("www.example", "192.0.2.80") and details.fBeforeAction:
            details.piGetXByY.SetResult(sdk.Hostent("www.example", (), (ip_address("192.0.2.80"),)))
        elif question in ("denied.example", "192.0.2.81"):
            details.piGetXByY.Deny(0)

    def Detach(self):
        pass

class Filter(Filter):
    def FilterInit(self, pIFWXFirewall):
        return sdk.FwxFilterHookEvents(sdk.fwx_GetHostByName | sdk.fwx_GetHostByAddr | sdk.fwxSourceWSP)

    def AttachToSession(self, piSession, pFilterHookEvents):
        return Session()
"""
DOCUMENTATION = """
[[rule]]
name = "documentation"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["localhost", "any"]
"""


@pytest.mark.requires("tor-resolve")
@pytest.mark.parametrize("loop", LOOPS)
def test_look_ups_by_socks(serve: Any, program_path: Callable[[str], str], loop: str) -> None:
    """B2.25, B2.28: tor-resolve gets addresses by SOCKS4a and SOCKS5, and names, from the hosts file and a filter."""
    firewall = serve(DOCUMENTATION, filters={"names": RESOLVES}, loop=loop)
    host, port = firewall.address()

    def resolve(*arguments: str) -> tuple[int, str]:
        command = [program_path("tor-resolve"), *arguments, f"{host}:{port}"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return result.returncode, result.stdout.strip()

    for version in ("-4", "-5"):
        assert resolve(version, "localhost") == (0, "127.0.0.1")
        assert resolve(version, "www.example") == (0, "192.0.2.80")
        assert resolve(version, "denied.example")[0] != 0
    assert resolve("-x", "192.0.2.80") == (0, "www.example")
    assert resolve("-x", "127.0.0.1") == (0, "localhost")
    assert resolve("-x", "192.0.2.81")[0] != 0
    rows = firewall.wait_rows(6, Action=int(Action.GHBN)) + firewall.wait_rows(3, Action=int(Action.GHBA))
    missing = int(HRESULT_FROM_WIN32(WSAHOST_NOT_FOUND))
    assert [row["resultcode"] for row in rows] == [0, 0, missing] * 2 + [0, 0, missing]
    assert {(row["rule"], row["SourceIP"]) for row in rows} == {("documentation", "127.0.0.1")}
    assert [(row["DestinationIP"], row["DestinationName"]) for row in rows[6:8]] == [
        ("192.0.2.80", "www.example"),
        ("127.0.0.1", "localhost"),
    ]
    firewall.wait_base_line()
