"""UDP through real upstreams: Dante and other services of our own, alone and chained; those that carry none."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import (
    FWX_E_POLICY_RULES_DENIED,
    HRESULT_FROM_WIN32,
    WSAECONNABORTED,
    WSAECONNRESET,
    WSAETIMEDOUT,
)
from tests.integration.proxies import PASSWORD, USER, Proxies
from tests.integration.test_associations import doing
from tests.integration.test_upstreams import IMPATIENT, NO_LOOK_UPS, RULE, table

Address = tuple[str, int]
RESTLESS = "import fwx.impl.datagramways; fwx.impl.datagramways.REST_SECONDS = 0.2\n"
# A session's own UDP socket, which says what it gets.
SOCKET = """
import sys
from fwx import sdk

@sdk.implementer(sdk.IFWXSessionFilter, sdk.IFWXIOCompletion)
class Session(sdk.Unknown):
    def __init__(self, firewall, session):
        self.firewall, self.session = firewall, session
        self.socket = None

    def FirewallEventHandler(self, pProxyEvent):
        if self.socket is None:
            self.socket = self.session.CreateNetworkSocket(sdk.FWX_PROTOCOL_UDP)
            for text in (b"from a session", b"once more"):
                buffer = self.firewall.CreateConstBuffer(text, None)
                self.socket.SendTo(buffer, sdk.SocketAddress("127.0.0.1", PORT), None, self, "sent")
            self.socket.Recv(None, self, "got")

    def CompleteAsyncIO(self, success, code, buffer, what, address, length):
        said = bytes(buffer.GetBufferAndSize()) if success else code
        print("socket", what, said, address, file=sys.stderr, flush=True)
        if success and what == "got":
            self.socket.Recv(None, self, "got")

    def Detach(self):
        self.socket = self.session = None

@sdk.implementer(sdk.IFWXFilter)
class Filter(sdk.Unknown):
    def FilterInit(self, pIFWXFirewall):
        self.firewall = pIFWXFirewall
        return sdk.FwxFilterHookEvents(sdk.fwx_Bind_Udp | sdk.FWX_ALL_SOURCES)

    def AttachToSession(self, piSession, pFilterHookEvents):
        return Session(self.firewall, piSession)

    def FilterShutdown(self):
        self.firewall = None
"""


@pytest.fixture
def proxies(serve: Any, eventually: Any, program_path: Callable[[str], str]) -> Iterator[Proxies]:
    proxies = Proxies(program_path, serve.make_folder, eventually)
    yield proxies
    proxies.close()


class Way:
    """A service whose rule names the last of several upstreams, each reached through the one before it."""

    def __init__(self, serve: Any, *upstreams: Address, account: bool = False, prelude: str = "", **more: Any) -> None:
        kind = more.pop("kind", "socks5")
        folder: Path = serve.make_folder()
        secret = folder / "parent.secret"
        secret.write_text(PASSWORD + "\n")
        secret.chmod(0o600)
        keys = [f'user = "{USER}"', 'password_file = "parent.secret"'] if account else []
        tables = [
            table(f"u{number}", kind, each, *([f'via = "u{number - 1}"'] if number else []), *keys)
            for number, each in enumerate(upstreams)
        ]
        config = "".join(tables) + RULE.format(upstream=f"u{len(upstreams) - 1}")
        self.firewall = serve(config, folder=folder, prelude=NO_LOOK_UPS + prelude, **more)
        self.path = ", ".join(f"u{number}" for number in range(len(upstreams)))


def there_and_back(way: Way, made: Any, upper: Any) -> None:
    """IPv4 by address and by name, 64 KiB, and what the log says; nothing is looked up here."""
    servers = {"127.0.0.1": upper(), "localhost": upper()}
    for data, host in ((b"hello", "127.0.0.1"), (b"by name", "localhost"), (b"x" * 60000, "127.0.0.1")):
        server = servers[host]
        made.say(data, (host, server.address[1]))
        assert server.answer()[0] == data
        assert made.hear() == (data.upper(), server.address)
    made.close()
    rows = way.firewall.wait_rows(2)
    assert {(row["DestinationIP"], row["DestinationName"], row["bytessent"], row["bytesrecvd"]) for row in rows} == {
        ("127.0.0.1", "", 60005, 60005), ("", "localhost", 7, 7)
    }  # fmt: skip
    assert {(row["DestinationProxy"], row["Action"]) for row in rows} == {(way.path, Action.Terminate)}
    assert "LOOKED UP" not in way.firewall.stderr()
    way.firewall.wait_base_line()


@pytest.mark.path(entry="socks5", exit="socks5", transport="udp")
@pytest.mark.requires("danted")
@pytest.mark.parametrize("account", [False, True])
def test_dante(serve: Any, proxies: Proxies, associate: Any, upper: Any, account: bool) -> None:
    way = Way(serve, proxies.start("dante", account=account), account=account)
    there_and_back(way, associate(way.firewall.address()), upper)


@pytest.mark.path(entry="socks5", exit="socks5", transport="udp")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_another_fwx(serve: Any, associate: Any, upper: Any, loop: str) -> None:
    parent = serve("", loop=loop)
    way = Way(serve, parent.address(), loop=loop)
    there_and_back(way, associate(way.firewall.address()), upper)
    parent.wait_base_line()


@pytest.mark.path(entry="socks5", exit="chain", transport="udp")
@pytest.mark.requires("danted")
def test_a_chain(serve: Any, proxies: Proxies, associate: Any, upper: Any) -> None:
    """Three in a row: each relay gets a header less."""
    services = [serve(""), serve("")]
    way = Way(serve, proxies.start("dante"), *(each.address() for each in services))
    there_and_back(way, associate(way.firewall.address()), upper)
    for each in services:
        each.wait_base_line()


def test_ipv6_behind_an_ipv4_upstream(serve: Any, associate: Any, upper: Any) -> None:
    way = Way(serve, serve("").address())
    made, server = associate(way.firewall.address()), upper("::1")
    made.say(b"hello", server.address)
    server.answer()
    assert made.hear() == (b"HELLO", server.address)


def test_a_filter_sees_the_same(serve: Any, associate: Any, upper: Any) -> None:
    """B8.8: events, addresses and datagrams are those of a straight way."""
    said = []
    attach = "details.piConnection.AttachDataFilter(Both(), sdk.fwx_dfpc_Middle, None)"
    servers = {"127.0.0.1": upper(), "localhost": upper()}
    for parent in (None, serve("")):
        filters = doing(met=attach)
        firewall = (
            serve("", filters=filters) if parent is None else Way(serve, parent.address(), filters=filters).firewall
        )
        made = associate(firewall.address())
        for host, server in servers.items():
            made.say(b"hello", (host, server.address[1]))
            server.answer()
            assert made.hear() == (b"HELLO", server.address)
        made.close()
        firewall.wait_rows(2)
        lines = firewall.stderr().replace(f":{made.relay[1]}\n", ":RELAY\n").splitlines()
        said.append([line for line in lines if not line.startswith(("fwx:", "LOOKED"))])
    assert len(said[0]) == 1 + 2 + 4 + 2
    assert said[0] == said[1]


@pytest.mark.path(entry="session-socket", exit="socks5", transport="udp")
@pytest.mark.requires("danted")
def test_a_sessions_socket(serve: Any, proxies: Proxies, associate: Any, upper: Any, eventually: Any) -> None:
    """B4.22, B8.7: a filter's code is the same, and its datagrams go the rule's way."""
    server = upper()
    source = {"sender": SOCKET.replace("PORT", str(server.address[1]))}
    way = Way(serve, proxies.start("dante"), filters=source)
    associate(way.firewall.address())
    assert server.answer()[0] == b"from a session"
    assert server.answer()[0] == b"once more"
    lines = [f"socket got {text} 127.0.0.1:{server.address[1]}" for text in (b"FROM A SESSION", b"ONCE MORE")]
    eventually(lambda: all(line in way.firewall.stderr() for line in lines), "the answers")
    way.firewall.tell()
    way.firewall.wait_stopped()
    row = way.firewall.wait_row(Interface="a session's socket")
    assert (row["DestinationProxy"], row["bytessent"], row["bytesrecvd"]) == ("u0", 23, 23)


def test_a_sessions_socket_and_an_upstream_that_is_not_there(serve: Any, associate: Any, eventually: Any) -> None:
    """What was sent fails, as where no way leads there."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        address = reserved.getsockname()
    way = Way(serve, address, filters={"sender": SOCKET.replace("PORT", "9")})
    associate(way.firewall.address())
    for line in ("socket sent 10065 None",):
        eventually(lambda line=line: way.firewall.stderr().count(line) == 2, "both to fail")


# ---- what fails ----------------------------------------------------------------------------------------------------


@pytest.mark.requires("microsocks")
def test_an_upstream_without_udp(serve: Any, proxies: Proxies, associate: Any, eventually: Any) -> None:
    """Microsocks refuses the command: a record for the destination, an alert, and the association goes on."""
    way = Way(serve, proxies.start("microsocks"))
    made = associate(way.firewall.address())
    for _ in range(5):
        made.say(b"hello", ("127.0.0.1", 9))
    row = way.firewall.wait_row()
    assert (row["Action"], row["resultcode"]) == (Action.Failed, int(HRESULT_FROM_WIN32(WSAECONNABORTED)))
    assert "upstream 'u0'" in row["reason"]
    assert "SOCKS5 reply 0x07 (command not supported)" in row["reason"]
    eventually(way.firewall.alerts, "an alert", 15)
    assert not made.control.setblocking(False)
    with pytest.raises(BlockingIOError):
        made.control.recv(1)


@pytest.mark.requires("tinyproxy")
def test_an_http_upstream(serve: Any, proxies: Proxies, associate: Any) -> None:
    """It is no way for datagrams, and straight out is none of the rule's."""
    way = Way(serve, proxies.start("tinyproxy"), kind="http")
    associate(way.firewall.address()).say(b"hello", ("127.0.0.1", 9))
    row = way.firewall.wait_row()
    assert (row["Action"], row["resultcode"]) == (Action.Denied, int(FWX_E_POLICY_RULES_DENIED))
    assert row["reason"].endswith("through upstream 'u0', whose protocol carries no UDP")


def test_an_upstream_that_hangs(serve: Any, associate: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        way = Way(serve, silent.getsockname(), prelude=IMPATIENT)
        associate(way.firewall.address()).say(b"hello", ("127.0.0.1", 9))
        row = way.firewall.wait_row()
    assert (row["Action"], row["resultcode"]) == (Action.Failed, int(HRESULT_FROM_WIN32(WSAETIMEDOUT)))


def test_an_upstream_that_dies_and_comes_back(serve: Any, associate: Any, upper: Any) -> None:
    """The destination ends with a record; after a rest the next datagram finds a new one."""
    parent = serve("")
    way = Way(serve, parent.address(), prelude=RESTLESS)
    made, server = associate(way.firewall.address()), upper()
    made.say(b"hello", server.address)
    server.answer()
    assert made.hear() == (b"HELLO", server.address)
    parent.tell(signal.SIGKILL)
    parent.process.wait()
    row = way.firewall.wait_row()
    assert (row["Action"], row["resultcode"]) == (Action.Failed, int(HRESULT_FROM_WIN32(WSAECONNRESET)))
    assert (row["bytessent"], row["bytesrecvd"], row["DestinationProxy"]) == (5, 5, "u0")
    host, port = parent.address()
    again = serve(f'[[listener]]\nname = "proxy"\nkind = "proxy"\nbind = "{host}:{port}"\n')
    server.socket.settimeout(0.1)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        made.say(b"again", server.address)
        try:
            server.answer()
        except TimeoutError:
            continue
        break
    assert made.hear() == (b"AGAIN", server.address)
    made.close()
    again.wait_base_line()
    way.firewall.wait_base_line()
