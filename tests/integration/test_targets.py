"""Targets that cannot be reached: the reply that the client gets, and the record that stays."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import (
    HRESULT_FROM_WIN32,
    WSAECONNREFUSED,
    WSAECONNRESET,
    WSAEHOSTUNREACH,
    WSAENETUNREACH,
    WSAETIMEDOUT,
    WSAHOST_NOT_FOUND,
    WSATRY_AGAIN,
)

LOOPS = ("uvloop", "asyncio")
# Names that this machine's resolver does not have to know.
NAMES = """
import socket, threading
real = socket.getaddrinfo
ADDRESSES = {
    "two.test": ["127.0.0.3", "127.0.0.1"],
    "dead.test": ["127.0.0.3", "127.0.0.4"],
}
def look_up(host, port, *args, **options):
    if host == "slow.test":
        threading.Event().wait(60)
    if host == "later.test":
        raise socket.gaierror(socket.EAI_AGAIN, "try again")
    if host not in ADDRESSES and host.endswith(".test"):
        raise socket.gaierror(socket.EAI_NONAME, "no such name")
    found = [real(address, port, *args, **options) for address in ADDRESSES.get(host, [host])]
    return [entry for entries in found for entry in entries]
socket.getaddrinfo = look_up
"""
IMPATIENT = "import fwx.service; fwx.service.CONNECT_SECONDS = 0.3\n"


@pytest.fixture
def closed_port() -> Iterator[tuple[str, int]]:
    """An address that refuses connections for as long as the test runs."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()


@pytest.fixture
def silent_port(eventually: Any) -> Iterator[tuple[str, int]]:
    """An address that neither accepts nor refuses: the listener's backlog is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting: list[socket.socket] = []

        def is_full() -> bool:
            waiting.append(socket.socket())
            waiting[-1].settimeout(0.2)
            try:
                waiting[-1].connect(address)
            except TimeoutError:
                return True
            return False

        eventually(is_full, "the backlog to be full")
        yield address
        for sock in waiting:
            sock.close()


def check_record(row: dict[str, Any], target: tuple[str, int], code: int, reason: str) -> None:
    assert (row["Action"], row["resultcode"]) == (Action.Failed, int(HRESULT_FROM_WIN32(code)))
    assert target == (row["DestinationName"] or row["DestinationIP"], row["DestinationPort"])
    assert row["reason"] == reason
    assert (row["bytessent"], row["bytesrecvd"]) == (0, 0)


def ask_both_ways(firewall: Any, client: Any, target: tuple[str, int]) -> tuple[int, int]:
    """The SOCKS5 reply code and the HTTP status for *target*."""
    return client.socks_code(firewall.address(), target), client.http_status(firewall.address(), target)


@pytest.mark.parametrize("loop", LOOPS)
def test_refused(serve: Any, client: Any, closed_port: tuple[str, int], loop: str) -> None:
    firewall = serve(loop=loop)
    assert ask_both_ways(firewall, client, closed_port) == (5, 502)
    for row in firewall.wait_rows(2):
        check_record(row, closed_port, WSAECONNREFUSED, f"connecting to 127.0.0.1:{closed_port[1]} failed")
    firewall.wait_base_line()


@pytest.mark.parametrize("loop", LOOPS)
def test_timed_out(serve: Any, client: Any, silent_port: tuple[str, int], loop: str) -> None:
    firewall = serve(loop=loop, prelude=IMPATIENT)
    assert ask_both_ways(firewall, client, silent_port) == (6, 504)
    for row in firewall.wait_rows(2):
        check_record(row, silent_port, WSAETIMEDOUT, f"connecting to 127.0.0.1:{silent_port[1]} failed")
        assert 300 <= row["connectiontime"] < 5000
    firewall.wait_base_line()


@pytest.mark.parametrize(
    ("name", "code"), [("none.test", WSAHOST_NOT_FOUND), ("later.test", WSATRY_AGAIN)], ids=["unknown", "no answer"]
)
def test_unknown_name(serve: Any, client: Any, name: str, code: int) -> None:
    firewall = serve(prelude=NAMES)
    assert ask_both_ways(firewall, client, (name, 80)) == (4, 502)
    for row in firewall.wait_rows(2):
        check_record(row, (name, 80), code, f"{name} could not be resolved")
    firewall.wait_base_line()


def test_name_with_several_addresses(serve: Any, client: Any, origin: Any) -> None:
    """The addresses are tried in turn; the record tells the one that answered."""
    firewall = serve(prelude=NAMES)
    port = origin("echo").port
    with client.socks(firewall.address(), ("two.test", port)) as opened:
        opened.sendall(b"x")
        client.exactly(opened, 1)
    row = firewall.wait_row()
    assert (row["DestinationName"], row["DestinationIP"], row["resultcode"]) == ("two.test", "127.0.0.1", 0)
    assert client.socks_code(firewall.address(), ("dead.test", port)) == 5
    check_record(
        firewall.wait_row(connectionid=2),
        ("dead.test", port),
        WSAECONNREFUSED,
        f"connecting to dead.test:{port} failed",
    )


@pytest.mark.parametrize(
    "prelude", [NAMES, NAMES.replace('"slow.test"', '"nobody.test"')], ids=["resolving", "dialling"]
)
def test_client_that_goes_away_meanwhile(
    serve: Any, client: Any, silent_port: tuple[str, int], prelude: str, eventually: Any
) -> None:
    """A client resets its connection before there is another one: what was begun for it is given up at once."""
    firewall = serve(prelude=prelude)
    target = ("slow.test", 80) if prelude is NAMES else silent_port
    opened = client.connect(firewall.address())
    opened.sendall(b"\x05\x01\x00" + client.socks_request(target))
    assert client.exactly(opened, 2) == b"\x05\x00"
    client.reset(opened)
    check_record(firewall.wait_row(), target, WSAECONNRESET, "the client went away before it was connected")
    firewall.wait_base_line()


def test_published_target_that_refuses(serve: Any, client: Any, closed_port: tuple[str, int]) -> None:
    """The client of a published server is told by a reset; there is nothing else to tell it with."""
    firewall = serve(
        f'[[listener]]\nname = "www"\nkind = "publish"\nbind = "127.0.0.1:0"\nto = "127.0.0.1:{closed_port[1]}"'
    )
    with pytest.raises(ConnectionResetError):
        client.connect(firewall.address("www")).recv(1)
    check_record(firewall.wait_row(), closed_port, WSAECONNREFUSED, f"connecting to 127.0.0.1:{closed_port[1]} failed")
    firewall.wait_base_line()


@pytest.mark.requires("ip", "curl")
@pytest.mark.parametrize(
    ("route", "reply", "code"),
    [("", 3, WSAENETUNREACH), ("unreachable", 4, WSAEHOSTUNREACH)],
    ids=["network unreachable", "host unreachable"],
)
def test_unreachable(
    serve: Any, namespace: str, program_path: Callable[[str], str], route: str, reply: int, code: int
) -> None:
    """198.51.100.1 from a namespace without a way out: no packet leaves it."""
    ip = program_path("ip")
    if route:
        subprocess.run([ip, "-n", namespace, "route", "add", route, "198.51.100.0/24"], check=True)
    inside = (ip, "netns", "exec", namespace)
    firewall = serve(prefix=inside)
    proxy = "{}:{}".format(*firewall.address())

    def curl(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*inside, program_path("curl"), "-q", "-sS", "--noproxy", "", *arguments, "http://198.51.100.1/"]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert f"198.51.100.1. ({reply})" in curl("-x", f"socks5h://{proxy}").stderr
    assert curl("-p", "-x", f"http://{proxy}", "-w", "%{http_connect}").stdout == "502"
    for row in firewall.wait_rows(2):
        check_record(row, ("198.51.100.1", 80), code, "connecting to 198.51.100.1:80 failed")


@pytest.mark.requires("ip", "curl")
def test_real_resolver_without_a_network(serve: Any, namespace: str, program_path: Callable[[str], str]) -> None:
    inside = (program_path("ip"), "netns", "exec", namespace)
    firewall = serve(prefix=inside)
    proxy = "{}:{}".format(*firewall.address())
    asked = subprocess.run(
        [*inside, program_path("curl"), "-q", "-sS", "--noproxy", "", "-x", f"socks5h://{proxy}", "http://nobody.invalid/"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "nobody.invalid. (4)" in asked.stderr
    row = firewall.wait_row()
    assert (row["Action"], row["DestinationName"], row["DestinationIP"]) == (Action.Failed, "nobody.invalid", "")
