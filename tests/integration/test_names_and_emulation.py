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
