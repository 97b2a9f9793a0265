"""BIND through a running service: our own client of it, Dante's ``socksify`` with an FTP client; Dante as control."""

from __future__ import annotations

import errno
import os
import random
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import argon2
import pytest
import trustme

from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import (
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_POLICY_RULES_DENIED,
    HRESULT_FROM_WIN32,
    WSAEADDRINUSE,
    WSAECONNABORTED,
    WSAECONNRESET,
    WSAETIMEDOUT,
)
from tests.integration.bind_client import ANYBODY, BindClient, Refused, come
from tests.integration.proxies import PASSWORD, USER, Proxies

Address = tuple[str, int]

LOOPS = ("uvloop", "asyncio")
BODY = random.Random(9).randbytes(2 << 20)
HASH = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
USERS = f"""
[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:0"
authenticate = "required"
[[user]]
name = "{USER}"
groups = ["staff"]
password = "{HASH}"
[[rule]]
name = "staff alone"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["localhost"]
groups = ["staff"]
"""
# The filter listens in the place of the service, and makes each connection to the client out of what comes to it.
EMULATING = """
import asyncio

class Bridge(sdk.AsyncDataFilter):
    def __init__(self, peer):
        self.peer = peer

    async def run(self, internal, external, connection, context):
        assert external is None
        async with self.peer:
            await sdk.together(self.outward(internal, connection), sdk.pump(self.peer, internal))

    async def outward(self, internal, connection):
        async for buffer in internal:
            connection.IncrementBytesSentCounter(buffer.GetBufferSizes()[1])  # the service sees none of them
            await self.peer.send(buffer)
        self.peer.shutdown()

async def take(listener, bind):
    async with sdk.AsyncSocket(listener) as listening:
        accepted = await listening.accept()
        bind.EmulateConnection(Bridge(accepted.socket), accepted.remote, None, accepted.local)

@sdk.implementer(sdk.IFWXSessionFilter)
class Session(sdk.Unknown):
    def __init__(self, firewall):
        self.firewall = firewall
        self.tasks = []

    def FirewallEventHandler(self, pProxyEvent):
        if pProxyEvent.EventType == sdk.fwx_Bind_Tcp:
            bind = pProxyEvent.Parameters.Bind.piConnection
            bind.EmulateForBind()
            listener = self.firewall.CreateNetworkSocket(sdk.FWX_PROTOCOL_TCP)
            listener.Bind(sdk.SocketAddress("127.0.0.1", 0), None, None)
            listener.Listen(5)
            bind.SetSocketName(listener.GetSockName())
            self.tasks.append(sdk.spawn(self.firewall, take(listener, bind), name="emulating"))

    def Detach(self):
        for task in self.tasks:
            task.cancel()

class Filter(Filter):
    def FilterInit(self, pIFWXFirewall):
        self.firewall = pIFWXFirewall
        return sdk.FwxFilterHookEvents(sdk.fwx_Bind_Tcp | sdk.FWX_ALL_SOURCES)

    def AttachToSession(self, piSession, pFilterHookEvents):
        return Session(self.firewall)
"""
IMPATIENT = "import fwx.service; fwx.service.BIND_SECONDS = 0.5\n"
# Of each event that has to do with BIND one line goes to standard error; what arrives gets a data filter.
WATCHING = """
import sys

class Session(Session):
    def FirewallEventHandler(self, pProxyEvent):
        kind, parameters = pProxyEvent.EventType, pProxyEvent.Parameters
        if kind == sdk.fwx_Bind_Tcp:
            say("BIND", parameters.Bind.Address)
        elif kind == sdk.fwx_Listen:
            say("LISTEN", parameters.Listen.Address)
        elif kind == sdk.fwx_AcceptedConnection:
            say("ACCEPTED", parameters.Accept.RemoteAddress, parameters.Accept.LocalAddress)
            connection = parameters.Accept.piConnectionAccepted
            connection.AttachDataFilter(Data(self.firewall, connection), sdk.fwx_dfpc_Middle, None)
        return refuse(kind, parameters)

def say(*words):
    print(*words, file=sys.stderr, flush=True)

def refuse(kind, parameters):
    pass

class Filter(Filter):
    def FilterInit(self, pIFWXFirewall):
        self.firewall = pIFWXFirewall
        asked = sdk.fwx_Bind_Tcp | sdk.fwx_Listen | sdk.fwx_AcceptedConnection
        return sdk.FwxFilterHookEvents(asked | sdk.FWX_ALL_SOURCES)

    def AttachToSession(self, piSession, pFilterHookEvents):
        return Session(self.firewall)
"""
DENIES = """
def refuse(kind, parameters):
    if kind == sdk.fwx_Bind_Tcp and "{at}" == "bind":
        parameters.Bind.piConnection.Deny(0)
    if kind == sdk.fwx_AcceptedConnection and "{at}" == "accept":
        parameters.Accept.piConnectionAccepted.Deny(0)
"""


@pytest.fixture
def proxies(serve: Any, eventually: Any, program_path: Callable[[str], str]) -> Iterator[Proxies]:
    proxies = Proxies(program_path, serve.make_folder, eventually)
    yield proxies
    proxies.close()


def is_closed(address: Address) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as probe:
        return probe.connect_ex(address) == errno.ECONNREFUSED


def turned_away(bound: Address, source: str | None = None) -> None:
    """Come from *source*, and be reset, which may be as soon as the connection is there."""
    with pytest.raises(ConnectionResetError), come(bound, source) as peer:
        peer.recv(1)


def talk(client: BindClient, peer: socket.socket, *, end: bool = True) -> None:
    """Both say something long, and end one after the other."""
    peer.sendall(BODY[:300_000])
    assert client.receive(300_000) == BODY[:300_000]
    client.sock.sendall(BODY[:200_000])
    received = b""
    while len(received) < 200_000:
        received += peer.recv(65536)
    assert received == BODY[:200_000]
    if not end:
        return
    peer.shutdown(socket.SHUT_WR)
    assert client.at_end()
    client.sock.sendall(b"last")
    client.sock.shutdown(socket.SHUT_WR)
    assert b"".join(iter(lambda: peer.recv(100), b"")) == b"last"


# ---- it works --------------------------------------------------------------------------------------------------------


@pytest.mark.requires("danted")
@pytest.mark.parametrize("protocol", ["socks4", "socks5"])
def test_the_control(proxies: Proxies, protocol: str) -> None:
    """The client that the tests below use gets from Dante what it gets from us."""
    proxy = proxies.start("dante")
    with BindClient(proxy, protocol) as client:
        bound = client.bind(("127.0.0.1", 0 if protocol == "socks5" else 4711))
        with come(bound) as peer:
            assert client.reply() == peer.getsockname()
            talk(client, peer)


@pytest.mark.path(entry="socks4", exit="direct", transport="bind")
@pytest.mark.path(entry="socks4a", exit="direct", transport="bind")
@pytest.mark.path(entry="socks5", exit="direct", transport="bind")
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("protocol", ["socks4", "socks4a", "socks5"])
def test_bind(serve: Any, protocol: str, loop: str, filtered: bool) -> None:
    """B2.20, B2.23, RFC 1928 section 6: two replies, then the data of both, with a data filter and without."""
    firewall = serve(loop=loop, filters={"watch": WATCHING} if filtered else None)
    with BindClient(firewall.address(), protocol) as client:
        bound = client.bind(("localhost" if protocol == "socks4a" else "127.0.0.1", 0))
        assert bound[0] == "127.0.0.1"
        with come(bound) as peer:
            name = peer.getsockname()
            assert client.reply() == name
            assert is_closed(bound)
            talk(client, peer)
    row = firewall.wait_row(SourcePort=name[1], Action=Action.Terminate)
    assert (row["SourceIP"], row["DestinationIP"], row["DestinationPort"]) == ("127.0.0.1", *bound)
    assert (row["bytessent"], row["bytesrecvd"], row["filters"]) == (300_000, 200_004, "watch" if filtered else "")
    first, last = firewall.wait_rows(2, DestinationPort=bound[1], connectionid=row["connectionid"] - 1)
    assert (first["Action"], last["Action"], last["resultcode"]) == (Action.Listen, Action.Terminate, 0)
    if filtered:
        at = f"{bound[0]}:{bound[1]}"
        said = [line for line in firewall.stderr().splitlines() if line.startswith(("BIND", "LISTEN", "ACCEPTED"))]
        assert said == [f"BIND {at}", f"LISTEN {at}", f"ACCEPTED {name[0]}:{name[1]} {at}"]
    firewall.wait_base_line()


@pytest.mark.path(entry="socks5", exit="direct", transport="bind")
@pytest.mark.parametrize("peer", ["::1", "::", "localhost", "0.0.0.0"])
def test_whom_it_waits_for(serve: Any, peer: str) -> None:
    """IPv6, names, anybody; the address that is told can be connected to."""
    firewall = serve()
    with BindClient(firewall.address()) as client:
        bound = client.bind((peer, 0), early=b"early")
        assert bound[0] not in ("::", "0.0.0.0")
        with come(bound) as outside:
            assert client.reply() == outside.getsockname()[:2]
            client.sock.sendall(b" and late")
            assert b"".join(outside.recv(1) for _ in range(14)) == b"early and late"
    firewall.wait_base_line()


@pytest.mark.path(entry="socks5", exit="direct", transport="bind")
def test_a_user(serve: Any) -> None:
    """A rule about users lets others connect to what its user waits for, and to nobody else's."""
    firewall = serve(USERS)
    with BindClient(firewall.address(), account=(USER, PASSWORD)) as client:
        bound = client.bind(("127.0.0.1", 0))
        with come(bound) as peer:
            assert client.reply() == peer.getsockname()
    for row in firewall.wait_rows(3):
        assert (row["ClientUserName"], row["rule"]) == (USER, "staff alone")


@pytest.mark.path(entry="socks4", exit="direct", transport="bind")
@pytest.mark.path(entry="socks4a", exit="direct", transport="bind")
@pytest.mark.path(entry="socks5", exit="direct", transport="bind")
def test_an_emulated_bind(serve: Any, eventually: Any) -> None:
    """B3.34 to B3.39: the client is told the filter's address, and who has come; nothing is left when it goes."""
    firewall = serve(filters={"emulating": EMULATING})
    for protocol in ("socks4", "socks4a", "socks5"):
        with BindClient(firewall.address(), protocol) as client:
            bound = client.bind(("127.0.0.1", 0))
            with come(bound) as peer:
                assert client.reply() == peer.getsockname()
                talk(client, peer)
        eventually(lambda bound=bound: is_closed(bound), "the filter's port to be closed")
    rows = firewall.wait_rows(3, Action=Action.Terminate, filters="emulating")
    assert [(row["bytessent"], row["bytesrecvd"]) for row in rows] == [(300_000, 200_004)] * 3
    firewall.wait_base_line()


SOCKS_CONF = """
resolveprotocol: fake
route {{
 from: 0.0.0.0/0 to: 0.0.0.0/0 via: {host} port = {port}
 proxyprotocol: {protocol}
 command: connect bind
 method: none
}}
"""


def active_ftp(client: socket.socket) -> None:
    """An FTP server that connects to where its client says, and knows one file."""
    data: Address = ("", 0)
    client.sendall(b"220 ready\r\n")
    for line in client.makefile("rb"):
        verb, _, argument = line.decode().strip().partition(" ")
        match verb:
            case "PORT":
                numbers = argument.split(",")
                data = ".".join(numbers[:4]), int(numbers[4]) * 256 + int(numbers[5])
            case "RETR":
                client.sendall(b"150 on its way\r\n")
                with socket.create_connection(data, timeout=60) as sending:
                    sending.sendall(BODY)
        answers = {"USER": "331 password", "PASS": "230 in", "PWD": '257 "/"', "RETR": "226 done", "QUIT": "221 bye"}
        client.sendall(f"{answers.get(verb, '200 ok')}\r\n".encode())


@pytest.mark.requires("curl", "danted", "socksify")
@pytest.mark.path(entry="socks4", exit="direct", transport="bind")
@pytest.mark.path(entry="socks5", exit="direct", transport="bind")
@pytest.mark.parametrize("protocol", ["socks_v4", "socks_v5"])
@pytest.mark.parametrize("kind", ["dante", "fwx", "emulated"])
def test_active_ftp(serve: Any, proxies: Proxies, origin: Any, program_path: Any, kind: str, protocol: str) -> None:
    """B3.34 to B3.36: curl under Dante's socksify gets a file by FTP in active mode: through Dante as control, through
    us, and with a filter that listens in our place."""
    filters = {"emulating": EMULATING} if kind == "emulated" else None
    firewall = serve(filters=filters) if kind != "dante" else None
    host, port = firewall.address() if firewall is not None else proxies.start("dante")
    folder = serve.make_folder()
    (folder / "socks.conf").write_text(SOCKS_CONF.format(host=host, port=port, protocol=protocol))
    server = origin(active_ftp)
    options = ("-q", "-sS", "--noproxy", "*", "--max-time", "30", "--disable-eprt", "--ftp-port", "-")
    command = [program_path("socksify"), program_path("curl"), *options, f"ftp://127.0.0.1:{server.port}/file"]
    environment = {"PATH": os.environ["PATH"], "SOCKS_CONF": str(folder / "socks.conf")}
    got = subprocess.run(command, capture_output=True, timeout=60, check=False, env=environment)
    assert (got.returncode, len(got.stdout)) == (0, len(BODY)), got.stderr
    assert got.stdout == BODY
    if firewall is not None:
        rows = firewall.wait_rows(3 if filters else 2, Action=Action.Terminate)
        (row,) = [row for row in rows if row["bytessent"] == len(BODY)]
        assert row["filters"] == ("emulating" if filters else "")
        assert (row["OriginalClientIP"], row["resultcode"]) == ("127.0.0.1", 0)
        firewall.wait_base_line()


TLS = """
[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:0"
tls = { certificate = "cert.pem", key = "key.pem" }
"""


@pytest.mark.path(entry="tls+socks5", exit="direct", transport="bind")
@pytest.mark.parametrize("filtered", [False, True])
def test_inside_tls(serve: Any, eventually: Any, filtered: bool) -> None:
    """Replies and data, the early one too, go inside TLS; a client that leaves its TLS open and goes is noticed."""
    authority, folder = trustme.CA(), serve.make_folder()
    leaf = authority.issue_cert("127.0.0.1")
    (folder / "cert.pem").write_bytes(b"".join(each.bytes() for each in leaf.cert_chain_pems))
    (folder / "key.pem").write_bytes(leaf.private_key_pem.bytes())
    context = ssl.create_default_context()
    authority.configure_trust(context)
    firewall = serve(TLS, folder=folder, filters={"watch": WATCHING} if filtered else None)

    def connect() -> ssl.SSLSocket:
        plain = socket.create_connection(firewall.address(), timeout=60)
        return context.wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False)

    with BindClient(connect()) as client:
        bound = client.bind(("127.0.0.1", 0), early=b"early")
        with come(bound) as peer:
            assert client.reply() == peer.getsockname()
            assert b"".join(peer.recv(1) for _ in range(5)) == b"early"
            talk(client, peer, end=False)
            peer.shutdown(socket.SHUT_WR)
            assert client.at_end()
    firewall.wait_rows(2, Action=Action.Terminate)
    with BindClient(connect()) as client:
        bound = client.bind(("127.0.0.1", 0))
    eventually(lambda: is_closed(bound), "the port to be closed")
    firewall.wait_base_line()


# ---- through upstreams -----------------------------------------------------------------------------------------------

CHAINED = """
[[rule]]
name = "chained"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["any", "localhost"]
upstream = "{upstream}"
"""


def table(name: str, address: Address, *more: str, kind: str = "socks5") -> str:
    lines = [f'name = "{name}"', f'kind = "{kind}"', f'address = "{address[0]}:{address[1]}"', *more]
    return "[[upstream]]\n" + "\n".join(lines) + "\n"


@pytest.mark.requires("danted")
@pytest.mark.path(entry="socks4", exit="socks5", transport="bind")
@pytest.mark.path(entry="socks5", exit="socks5", transport="bind")
@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("protocol", ["socks4", "socks5"])
@pytest.mark.parametrize("kind", ["dante", "fwx"])
def test_an_upstream(serve: Any, proxies: Proxies, kind: str, protocol: str, filtered: bool) -> None:
    """Dante, or another of us, binds; the filter sees what it sees without (B8.8), the record names the upstream."""
    parent = serve() if kind == "fwx" else None
    upstream = parent.address() if parent is not None else proxies.start("dante")
    config = table("parent", upstream) + CHAINED.format(upstream="parent")
    firewall = serve(config, filters={"watch": WATCHING} if filtered else None)
    with BindClient(firewall.address(), protocol) as client:
        bound = client.bind(("127.0.0.1", 21), early=b"")
        with come(bound) as peer:
            name = peer.getsockname()
            assert client.reply() == name
            talk(client, peer)
    row = firewall.wait_row(SourcePort=name[1], Action=Action.Terminate)
    assert (row["DestinationIP"], row["DestinationPort"], row["DestinationProxy"]) == (*bound, "parent")
    assert (row["bytessent"], row["bytesrecvd"], row["rule"]) == (300_000, 200_004, "chained")
    if filtered:
        at = f"{bound[0]}:{bound[1]}"
        said = [line for line in firewall.stderr().splitlines() if line.startswith(("LISTEN", "ACCEPTED"))]
        assert said == [f"LISTEN {at}", f"ACCEPTED {name[0]}:{name[1]} {at}"]
    for each in (firewall, *((parent,) if parent is not None else ())):
        each.wait_base_line()


@pytest.mark.requires("danted", "tinyproxy")
@pytest.mark.path(entry="socks5", exit="chain", transport="bind")
def test_three_upstreams_in_a_row(serve: Any, proxies: Proxies) -> None:
    """The last one binds; those before it only carry, whatever they speak. tinyproxy does not keep half-close."""
    last = serve()
    tables = (
        table("third", last.address(), 'via = "second"'),
        table("second", proxies.start("tinyproxy"), 'via = "first"', kind="http"),
        table("first", proxies.start("dante")),
    )
    firewall = serve("".join(tables) + CHAINED.format(upstream="third"))
    with BindClient(firewall.address()) as client:
        bound = client.bind(("127.0.0.1", 0))
        with come(bound) as peer:
            assert client.reply() == peer.getsockname()
            talk(client, peer, end=False)
    (row,) = firewall.wait_rows(1, SourcePort=peer_port(last), Action=Action.Terminate)
    assert row["DestinationProxy"] == "first, second, third"
    firewall.wait_base_line()


def peer_port(firewall: Any) -> int:
    """From which port the peer has come, as the service where it did knows it."""
    (row,) = [row for row in firewall.wait_rows(2, Action=Action.Terminate) if row["bytessent"]]
    return int(row["SourcePort"])


@pytest.mark.requires("danted")
def test_an_upstream_that_refuses(serve: Any, proxies: Proxies, eventually: Any) -> None:
    """HTTP has no BIND; who waits there for somebody who comes to us waits in vain; a client that goes lets it go."""
    dante = proxies.start("dante")
    firewall = serve(table("parent", dante, kind="http") + CHAINED.format(upstream="parent"))
    with BindClient(firewall.address()) as client, pytest.raises(Refused) as refused:
        client.bind(("127.0.0.1", 0))
    assert (refused.value.number, refused.value.code) == (1, 2)
    assert "has no BIND" in firewall.wait_row(Action=Action.Denied)["reason"]
    firewall.stop()
    firewall = serve(table("parent", dante) + CHAINED.format(upstream="parent"))
    with BindClient(firewall.address()) as client:
        bound = client.bind(("127.0.0.1", 0))
    eventually(lambda: is_closed(bound), "the upstream's port to be closed")
    firewall.wait_base_line()


# ---- who comes -------------------------------------------------------------------------------------------------------


def test_the_wrong_peer(serve: Any) -> None:
    """It is refused and logged; the right one may still come."""
    firewall = serve()
    with BindClient(firewall.address()) as client:
        bound = client.bind(("127.0.0.9", 0))
        turned_away(bound, "127.0.0.8")
        row = firewall.wait_row(Action=Action.Denied)
        assert (row["SourceIP"], row["resultcode"]) == ("127.0.0.8", FWX_E_ADDRESS_NOT_ALLOWED)
        with come(bound, "127.0.0.9") as right:
            assert client.reply() == right.getsockname()
            right.sendall(b"me")
            assert client.receive(2) == b"me"


@pytest.mark.parametrize(("at", "code"), [("bind", WSAEADDRINUSE), ("accept", WSAECONNABORTED)])
def test_a_filter_denies(serve: Any, at: str, code: int) -> None:
    """B2.36, B2.37: the bind fails, or what has arrived is aborted."""
    firewall = serve(filters={"deny": WATCHING + DENIES.format(at=at)})
    with BindClient(firewall.address()) as client:
        if at == "bind":
            with pytest.raises(Refused) as refused:
                client.bind(("127.0.0.1", 0))
            assert (refused.value.number, refused.value.code) == (1, 1)
            assert client.at_end()
        else:
            turned_away(client.bind(("127.0.0.1", 0)))
        row = firewall.wait_row(Action=Action.Denied)
        assert row["resultcode"] == int(HRESULT_FROM_WIN32(code))
    firewall.wait_base_line()


# ---- the ends --------------------------------------------------------------------------------------------------------


def test_policy_denies(serve: Any) -> None:
    """No rule lets anybody in for a client without a user."""
    firewall = serve(USERS.replace('"required"', '"optional"'))
    for peer in (("127.0.0.1", 0), ANYBODY):
        with BindClient(firewall.address()) as client, pytest.raises(Refused) as refused:
            client.bind(peer)
        assert (refused.value.number, refused.value.code) == (1, 2)
    for row in firewall.wait_rows(2):
        assert (row["Action"], row["resultcode"]) == (Action.Denied, FWX_E_POLICY_RULES_DENIED)
    firewall.wait_base_line()


@pytest.mark.parametrize(("protocol", "code"), [("socks5", 6), ("socks4", 0x5B)])
def test_nobody_comes(serve: Any, protocol: str, code: int) -> None:
    """The second reply says so."""
    firewall = serve(prelude=IMPATIENT)
    with BindClient(firewall.address(), protocol) as client:
        bound = client.bind(("127.0.0.1", 0))
        with pytest.raises(Refused) as refused:
            client.reply()
        assert (refused.value.number, refused.value.code) == (2, code)
        assert client.at_end()
    assert is_closed(bound)
    assert firewall.wait_row(Action=Action.Terminate)["resultcode"] == int(HRESULT_FROM_WIN32(WSAETIMEDOUT))
    firewall.wait_base_line()


def test_the_client_goes_away(serve: Any, eventually: Any) -> None:
    """The port is closed at once, and the next client gets its place."""
    firewall = serve("[limits]\ntcp_per_address = 1\n")
    for _ in range(3):
        with BindClient(firewall.address()) as client:
            bound = client.bind(("127.0.0.1", 0))
        eventually(lambda bound=bound: is_closed(bound), "the port to be closed")
        firewall.wait_base_line()
    for row in firewall.wait_rows(3, Action=Action.Terminate):
        assert row["resultcode"] == int(HRESULT_FROM_WIN32(WSAECONNRESET))


def test_the_service_stops(serve: Any) -> None:
    """Who waits is turned away at once."""
    firewall = serve()
    with BindClient(firewall.address()) as client:
        client.bind(("127.0.0.1", 0))
        firewall.tell()
        with pytest.raises(Refused) as refused:
            client.reply()
        assert refused.value.number == 2
        firewall.wait_stopped(seconds=5)
