"""Transparent listeners in a running service, between a client's namespace and a server's.

The diversion is that of ``examples/gateway``, so the example is tried. What a client and a server see is also tried
with HAProxy in the place of the service, which shows that the tests ask for what is right.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import FWX_E_IS_BUSY, FWX_E_NETWORK_RULES_DENIED, FWX_E_POLICY_RULES_DENIED
from fwx.packetfilter.confinement import CAP_NET_ADMIN, CAP_NET_BIND_SERVICE
from tests.integration.namespaces import (
    CLIENT4,
    CLIENT6,
    INSIDE4,
    INSIDE6,
    OTHER4,
    OUTSIDE4,
    OUTSIDE6,
    SERVER4,
    SERVER6,
    Gateway,
    gateway_of,
    socket_in,
)
from tests.name_server import ADDRESS, NAME

pytestmark = pytest.mark.requires("ip", "nft")

LOOPS = ("uvloop", "asyncio")
PORT = {"tproxy": 15001, "redirect": 15002}
SERVERS = {"IPv4": SERVER4, "IPv6": SERVER6}
CLIENTS = {"IPv4": CLIENT4, "IPv6": CLIENT6}
GATEWAYS = {"IPv4": OUTSIDE4, "IPv6": OUTSIDE6}
INSIDE = {"IPv4": INSIDE4, "IPv6": INSIDE6}
FAMILIES = tuple(SERVERS)
MANY = 1000

HEAD = """
[service]
name = "gateway"

[[network]]
name = "inside"
ranges = ["10.1.0.0/16", "fd00:1::/64"]

[limits]
tcp_per_address = {limit}
tcp_connects_per_minute_per_address = 5000
udp_per_address = {limit}
"""
LISTENER = """
[[listener]]
name = "{name}"
kind = "transparent"
mode = "{mode}"
bind = "{bind}:{port}"
"""
RULE = """
[[rule]]
name = "out"
action = "allow"
protocols = ["any"]
from = ["inside"]
to = ["any"]
"""
PROTOCOL = """
[[protocol]]
name = "Own"
ports = [
    {{ transport = "tcp", direction = "outbound", first = {port}, last = {port} }},
    {{ transport = "udp", direction = "send_receive", first = {port}, last = {port} }},
]
"""
HAPROXY = """
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend clients
  maxconn 4000
  bind 0.0.0.0:15001 transparent
  bind :::15001 transparent v6only
  default_backend servers
backend servers
  source {source}
  server any *
"""


def config(
    mode: str = "tproxy", *, udp: bool = False, keep: bool = False, rule: str = RULE, more: str = "", limit: int = 4000
) -> str:
    """A configuration with a listener for each family."""
    text = HEAD.format(limit=limit)
    for name, bind in (("tcp4", "0.0.0.0"), ("tcp6", "[::]")):
        for transport in ("tcp", "udp") if udp else ("tcp",):
            listener = LISTENER.format(name=transport + name[-1], mode=mode, bind=bind, port=PORT[mode])
            text += listener + f'transport = "{transport}"\n' + "keep_client_address = true\n" * keep
    return text + rule + more


class Network:
    """The three namespaces with the example's diversion, and what runs in the outer two."""

    def __init__(self, three: Gateway, example: Path, opened: contextlib.ExitStack, nft: str, origin: Any) -> None:
        self.three = three
        self.example = example
        self.nft = nft
        self._opened = opened
        self._origin = origin

    def divert(self, mode: str = "tproxy") -> None:
        """Have what the client sends to others diverted, by the files of the example."""
        firewall = self.three.firewall
        if mode == "redirect":
            self.three.run(firewall, self.nft, "-f", str(self.example / "redirect.nft"))
        else:
            self.three.run(firewall, self.nft, "-f", str(self.example / "gateway.nft"))
            self.three.run(firewall, "sh", str(self.example / "routes.sh"))

    def socket(self, family: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """A socket of the client's."""
        made = self._opened.enter_context(socket_in(self.three.client, family, kind))
        made.settimeout(60)
        return made

    def connect(self, host: str, port: int, source: str = "", seconds: float = 10) -> socket.socket:
        """:raises OSError: as the client sees it."""
        sock = self.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if source:
            sock.bind((source, 0))
        sock.settimeout(seconds)
        sock.connect((host, port))
        return sock

    def serve(self, handler: Any, host: str, port: int = 80) -> Any:
        """A server in the server's namespace."""
        listener = socket_in(self.three.server, socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
        return self._origin(handler, host, listener)


@pytest.fixture
def net(namespace: str, program_path: Callable[[str], str], source_tree: Path, origin: Any) -> Iterator[Network]:
    """A client, a firewall and a server, and nothing that is diverted yet."""
    with gateway_of(namespace, program_path("ip")) as three, contextlib.ExitStack() as opened:
        yield Network(three, source_tree / "examples" / "gateway", opened, program_path("nft"), origin)


@pytest.fixture
def relay(
    net: Network, serve: Any, background: Any, program_path: Callable[[str], str], tmp_path: Path, eventually: Any
) -> Callable[..., Any]:
    """Start the service in the firewall's namespace, or HAProxy: ``relay("fwx", keep=True)``."""

    def start(kind: str = "fwx", mode: str = "tproxy", **options: Any) -> Any:
        net.divert(mode)
        prefix = net.three.prefix(net.three.firewall)
        if kind == "fwx":
            own = {name: options.pop(name) for name in ("loop", "filters", "prelude") if name in options}
            prefix += options.pop("passing", ())
            return serve(config(mode, **options), prefix=prefix, **own)
        source = "0.0.0.0 usesrc clientip" if options.get("keep") else "0.0.0.0"
        file = tmp_path / "haproxy.cfg"
        file.write_text(HAPROXY.format(source=source))
        background(*prefix, program_path("haproxy"), "-db", "-q", "-f", str(file))
        listening = f":{PORT[mode]}"
        eventually(lambda: net.three.run(net.three.firewall, "ss", "-Hltn").count(listening) == 2, "HAProxy to listen")
        return None

    return start


def tell_peer(client: socket.socket) -> None:
    """Tell who the server thinks that the client is, and where it thinks that it is; then echo."""
    client.sendall(f"{client.getpeername()[0]} {client.getsockname()[0]}\n".encode())
    while data := client.recv(65536):
        client.sendall(data)


def line(sock: socket.socket) -> str:
    """Read a line, byte by byte."""
    found = b""
    while not found.endswith(b"\n"):
        data = sock.recv(1)
        assert data, found
        found += data
    return found.decode().strip()


def exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (part := sock.recv(count - len(data))):
        data += part
    return data


BOTH_RELAYS = pytest.mark.parametrize(
    "kind", ["fwx", pytest.param("haproxy", marks=pytest.mark.requires("haproxy", "ss"))]
)


# TCP.


@pytest.mark.path(entry="tproxy", exit="direct", transport="tcp")
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("family", FAMILIES)
def test_tproxy(net: Network, relay: Any, family: str, loop: str) -> None:
    """B2.12: it goes on to where it was going, and is logged under the client's address, without a user."""
    host = SERVERS[family]
    net.serve(tell_peer, host)
    firewall = relay(loop=loop)
    with net.connect(host, 80) as client:
        source = client.getsockname()[1]
        assert client.getpeername()[:2] == (host, 80)
        assert line(client) == f"{GATEWAYS[family]} {host}"
        client.sendall(b"hello")
        assert exactly(client, 5) == b"hello"
    row = firewall.wait_row(Action=int(Action.Terminate))
    assert (row["SourceIP"], row["SourcePort"], row["DestinationIP"], row["DestinationPort"]) == (
        CLIENTS[family], source, host, 80,
    )  # fmt: skip
    assert (row["rule"], row["Interface"], row["ClientUserName"]) == ("out", f"tcp{family[-1]}", "")
    assert (row["ApplicationProtocol"], row["SourceNetwork"], row["bytessent"]) == ("HTTP", "inside", 5)
    firewall.wait_base_line()


@pytest.mark.path(entry="redirect", exit="direct", transport="tcp")
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("family", FAMILIES)
def test_redirect(net: Network, relay: Any, family: str, loop: str) -> None:
    """SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST tell where it was going."""
    host = SERVERS[family]
    net.serve(tell_peer, host)
    firewall = relay(mode="redirect", loop=loop)
    with net.connect(host, 80) as client:
        assert line(client) == f"{GATEWAYS[family]} {host}"
        client.sendall(b"hello")
        assert exactly(client, 5) == b"hello"
    row = firewall.wait_row(Action=int(Action.Terminate))
    assert (row["SourceIP"], row["DestinationIP"], row["DestinationPort"]) == (CLIENTS[family], host, 80)
    assert row["Interface"] == f"tcp{family[-1]}"
    firewall.wait_base_line()


@BOTH_RELAYS
@pytest.mark.parametrize("family", FAMILIES)
def test_the_server_sees_the_client(net: Network, relay: Any, family: str, kind: str) -> None:
    """``keep_client_address``: the answers find their way back through the firewall."""
    host = SERVERS[family]
    net.serve(tell_peer, host)
    firewall = relay(kind, keep=True)
    for _ in range(3):
        with net.connect(host, 80) as client:
            assert line(client) == f"{CLIENTS[family]} {host}"
            block = os.urandom(300_000)
            sender = threading.Thread(target=client.sendall, args=(block,))
            sender.start()
            assert exactly(client, len(block)) == block
            sender.join()
    if firewall is not None:
        firewall.wait_base_line()


@BOTH_RELAYS
@pytest.mark.parametrize("keep", [False, True])
def test_half_close(net: Network, relay: Any, kind: str, keep: bool) -> None:
    net.serve("answer_at_end", SERVER4)
    relay(kind, keep=keep)
    with net.connect(SERVER4, 80) as client:
        client.sendall(b"x" * 100_000)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b"100000 bytes"
        assert client.recv(100) == b""


@pytest.mark.parametrize("mode", ["tproxy", "redirect", "routed"])
def test_resets(net: Network, relay: Any, mode: str) -> None:
    """A reset of either side reaches the other; a port that nobody listens on resets the client.

    The control is a firewall that forwards and diverts nothing; HAProxy makes an orderly end of a reset.
    """
    seen: list[int] = []
    told = threading.Event()

    def server(client: socket.socket) -> None:
        try:
            if client.recv(100) == b"reset me":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                return
            client.recv(100)
        except OSError as error:
            seen.append(error.errno or 0)
            told.set()

    net.serve(server, SERVER4)
    if mode == "routed":
        net.three.run(net.three.firewall, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    else:
        relay(mode=mode)
    with net.connect(SERVER4, 80) as client:
        client.sendall(b"reset me")
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    client = net.connect(SERVER4, 80)
    client.sendall(b"going")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    assert told.wait(10)
    assert seen == [errno.ECONNRESET]
    # Routed, the connection is refused; the service has taken it before it knows.
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)), net.connect(SERVER4, 443) as client:
        client.recv(100)


@BOTH_RELAYS
def test_many_connections(net: Network, relay: Any, kind: str) -> None:
    """A thousand at a time, each with its own answer."""
    net.serve("echo", SERVER4)
    firewall = relay(kind, keep=True)
    clients = [net.connect(SERVER4, 80) for _ in range(MANY)]
    for number, client in enumerate(clients):
        client.sendall(b"%d\n" % number)
    assert [line(client) for client in clients] == [str(number) for number in range(MANY)]
    if firewall is not None:
        assert len({client.getsockname()[1] for client in clients}) == MANY
    for client in clients:
        client.close()
    if firewall is not None:
        firewall.wait_base_line()
        firewall.wait_rows(MANY, Action=int(Action.Terminate))


def test_the_limit_of_an_address(net: Network, relay: Any) -> None:
    """``tcp_per_address`` counts diverted clients like all others."""
    net.serve("echo", SERVER4)
    firewall = relay(limit=2)
    kept = [net.connect(SERVER4, 80) for _ in range(2)]
    for client in kept:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    with pytest.raises(ConnectionResetError), net.connect(SERVER4, 80) as third:
        third.recv(1)
    with net.connect(SERVER4, 80, OTHER4) as other:
        other.sendall(b"y")
        assert other.recv(1) == b"y"
    row = firewall.wait_row(Action=int(Action.Denied))
    assert (row["SourceIP"], row["resultcode"]) == (CLIENT4, int(FWX_E_IS_BUSY))


# Filters, sessions, rules.

TELLER = """
class Data(Data):
    def inspect(self, to_server, buffer):
        if to_server or not buffer.GetBufferSizes()[1]:
            return buffer
        return self.firewall.CreateConstBuffer(bytes(buffer.GetBufferAndSize()).upper())
"""
WHO = """
class Data(Data):
    def inspect(self, to_server, buffer):
        if to_server or not buffer.GetBufferSizes()[1]:
            return buffer
        session = self.connection.GetSession()
        try:
            who = session.GetAuthenticatedUser().Username
        except sdk.COMError as error:
            who = error.hresult.name
        nat = bool(session.GetSessionFlags() & sdk.FWX_SESSION_NAT)
        text = f"{id(session)} {session.GetClientAddress()} {nat} {who} {Session.made}\\n"
        return self.firewall.CreateConstBuffer(text.encode())

class Session(Session):
    made = 0
    def __init__(self, firewall):
        super().__init__(firewall)
        Session.made += 1

    def FirewallEventHandler(self, pProxyEvent):
        assert pProxyEvent.EventSource == sdk.fwxSourceNAT
        super().FirewallEventHandler(pProxyEvent)
"""


@pytest.mark.parametrize("mode", ["tproxy", "redirect"])
def test_a_filter_changes_the_data(net: Network, relay: Any, mode: str) -> None:
    """B2.12, B2.14: the connect event comes, and what is attached in it sees everything."""
    net.serve("echo", SERVER6)
    firewall = relay(mode=mode, filters={"teller": TELLER})
    with net.connect(SERVER6, 80) as client:
        client.sendall(b"hello")
        assert exactly(client, 5) == b"HELLO"
    assert firewall.wait_row(Action=int(Action.Terminate))["filters"] == "teller"


def test_one_session_for_each_client_address(net: Network, relay: Any) -> None:
    """B1.15: a SecureNAT client is its address. Nobody knows its user."""
    net.serve("echo", SERVER4)
    relay(filters={"who": WHO})
    told = []
    with contextlib.ExitStack() as stack:
        for source in (CLIENT4, CLIENT4, OTHER4):
            client = stack.enter_context(net.connect(SERVER4, 80, source))
            client.sendall(b"?")
            told.append(line(client).split())
    first, second, third = told
    assert first[0] == second[0] != third[0]
    assert [each[1] for each in told] == [f"{CLIENT4}:0", f"{CLIENT4}:0", f"{OTHER4}:0"]
    assert [each[2:4] for each in told] == [["True", "FWX_E_NOT_AUTHENTICATED"]] * 3
    assert [each[4] for each in told] == ["1", "1", "2"]


USERS = RULE.replace('"out"', '"staff"') + 'users = ["authenticated"]\n'


def test_a_rule_about_users_is_about_others(net: Network, relay: Any) -> None:
    """B7.10: it cannot match a SecureNAT client; a later rule may."""
    net.serve("echo", SERVER4)
    firewall = relay(rule=USERS)
    with pytest.raises(ConnectionResetError), net.connect(SERVER4, 80) as client:
        client.recv(1)
    row = firewall.wait_row(Action=int(Action.Denied))
    assert (row["rule"], row["resultcode"]) == ("Default rule", int(FWX_E_POLICY_RULES_DENIED))
    assert "rule 'staff' is about users" in row["reason"]
    firewall.stop()
    firewall = relay(rule=USERS + RULE)
    with net.connect(SERVER4, 80) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    assert firewall.wait_row(Action=int(Action.Terminate))["rule"] == "out"


COUNTER = """
class Session(Session):
    def FirewallEventHandler(self, pProxyEvent):
        print("event for", pProxyEvent.Parameters.Connect.Address, flush=True)
"""


@pytest.mark.parametrize("mode", ["tproxy", "redirect"])
def test_a_port_of_no_protocol(net: Network, relay: Any, mode: str) -> None:
    """B2.13: where no protocol begins with the port nothing passes, whatever the rules say, and no event is raised."""
    net.serve("echo", SERVER4, 4444)
    net.serve("echo", SERVER4, 80)
    firewall = relay(mode=mode, filters={"counter": COUNTER})
    with pytest.raises(ConnectionResetError), net.connect(SERVER4, 4444) as client:
        client.recv(1)
    with net.connect(SERVER4, 80) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    row = firewall.wait_row(Action=int(Action.Denied))
    assert (row["DestinationIP"], row["DestinationPort"], row["ApplicationProtocol"]) == (
        SERVER4, 4444, "unidentified TCP",
    )  # fmt: skip
    assert row["reason"].startswith("no protocol begins with TCP port 4444, and no filter has announced")
    assert f"event for {SERVER4}:80" in (firewall.folder / "stderr.txt").read_text()
    assert "4444" not in firewall.stderr()
    firewall.stop()
    relay(mode=mode, more=PROTOCOL.format(port=4444))
    with net.connect(SERVER4, 4444) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"


# What nothing diverted.


@pytest.mark.parametrize("mode", ["tproxy", "redirect"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_connection_to_the_port_itself(net: Network, relay: Any, mode: str, family: str) -> None:
    """Without a packet filter the port is there to be tried: it is reset, and logged."""
    firewall = relay(mode=mode, rule=RULE.replace('to = ["any"]', 'to = ["any", "localhost"]'))
    host = INSIDE[family]
    # The kernel follows no connection until something asks it to; both ways are tried.
    if mode == "redirect":
        net.three.run(net.three.firewall, net.nft, "flush", "ruleset")
    for _ in range(2):
        with pytest.raises(ConnectionResetError), net.connect(host, PORT[mode]) as client:
            client.recv(1)
        net.divert(mode)
    rows = firewall.wait_rows(2, Action=int(Action.Denied))
    assert {row["Interface"] for row in rows} == {f"tcp{family[-1]}"}
    assert all(re.match("nothing (diverted|redirected) the connection", row["reason"]) for row in rows), rows
    firewall.wait_base_line()


NFTABLES = '\n[packet_filter]\nbackend = "nftables"\nexcept = ["tcp/22"]\n'


@pytest.mark.parametrize("mode", ["tproxy", "redirect"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_packet_filter(net: Network, relay: Any, mode: str, family: str) -> None:
    """B6.1: what is diverted passes; the port itself is closed to whoever addresses it."""
    host = SERVERS[family]
    net.serve("echo", host)
    firewall = relay(mode=mode, more=NFTABLES)
    with net.connect(host, 80) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    with pytest.raises(TimeoutError):
        net.connect(INSIDE[family], PORT[mode], seconds=0.5)
    firewall.wait_row(Action=int(Action.Terminate))
    assert not firewall.rows(Action=int(Action.Denied))
    assert not firewall.alerts()


# UDP.


@pytest.fixture
def names(net: Network, background: Any, program_path: Callable[[str], str], tmp_path: Path) -> None:
    """A real name server on both addresses of the server."""
    command = [program_path("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv"]
    command += ["--port=53", f"--listen-address={SERVER4}", f"--listen-address={SERVER6}", "--bind-interfaces"]
    command += [f"--address=/{NAME}/{ADDRESS}", "--user=root", "--log-facility=-", "--log-queries"]
    command += [f"--pid-file={tmp_path / 'pid'}"]
    with (tmp_path / "names.txt").open("wb") as said:
        process = background(*net.three.prefix(net.three.server), *command, stdout=said, stderr=said)
    text = ""
    while "started" not in text:
        assert process.poll() is None, text
        text = (tmp_path / "names.txt").read_text()


@pytest.fixture
def dig(net: Network, program_path: Callable[[str], str]) -> Callable[..., str]:
    """Ask a name server from the client's namespace."""

    def ask(host: str, *options: str, source: str = "", seconds: int = 5) -> str:
        command = [*net.three.prefix(net.three.client), program_path("dig"), "+short", "+tries=1", f"+time={seconds}"]
        command += [*(("-b", source) if source else ()), *options, f"@{host}", NAME]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        return told if told == ADDRESS else "no answer"

    return ask


SHORT = "import fwx.service; fwx.service.UDP_IDLE_SECONDS = 0.5"


@pytest.mark.path(entry="tproxy", exit="direct", transport="udp")
@pytest.mark.requires("dnsmasq", "dig")
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_dig(
    net: Network, relay: Any, names: None, dig: Any, tmp_path: Path, family: str, keep: bool, loop: str
) -> None:
    """The answer comes from the address that was asked, and the server sees whom it should."""
    host = SERVERS[family]
    net.three.run(net.three.firewall, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    assert dig(host) == ADDRESS  # the control: routed, nothing diverted
    firewall = relay(udp=True, keep=keep, loop=loop, prelude=SHORT)
    before = len((tmp_path / "names.txt").read_text())
    assert [dig(host) for _ in range(5)] == [ADDRESS] * 5
    seen = re.findall(r"query\[A\] \S+ from (\S+)", (tmp_path / "names.txt").read_text()[before:])
    assert seen == [CLIENTS[family] if keep else GATEWAYS[family]] * 5
    assert dig(host, "+tcp") == ADDRESS
    rows = firewall.wait_rows(5, Action=int(Action.Terminate), protocol="UDP")
    assert {(row["SourceIP"], row["DestinationIP"], row["DestinationPort"]) for row in rows} == {
        (CLIENTS[family], host, 53)
    }
    assert {(row["Interface"], row["rule"], row["ApplicationProtocol"]) for row in rows} == {
        (f"udp{family[-1]}", "out", "DNS")
    }
    firewall.wait_base_line()  # the clients have been forgotten, and the sockets of the answers with them


PASS_ON = """
import os, socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", 15001))
os.dup2(sock.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="udp4")
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.path(entry="tproxy", exit="direct", transport="udp")
@pytest.mark.requires("dnsmasq", "dig")
def test_a_socket_that_was_passed(net: Network, relay: Any, names: None, dig: Any) -> None:
    """It was bound by another, who passes it as sd_listen_fds(3) describes; the service makes it transparent."""
    firewall = relay(udp=True, passing=(sys.executable, "-c", PASS_ON))
    assert dig(SERVER4) == ADDRESS
    firewall.stop()
    assert {row["Interface"] for row in firewall.wait_rows(1, protocol="UDP")} == {"udp4"}


class Clock:
    """A UDP server in the server's namespace that sends back what comes, behind a word of its own."""

    def __init__(self, net: Network, host: str, word: bytes) -> None:
        self.seen: list[Any] = []
        self._word = word
        self._sock = socket_in(net.three.server, socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind((host, 123))
        self._sock.settimeout(0.1)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                data, source = self._sock.recvfrom(65535)
            except TimeoutError:
                continue
            self.seen.append(source)
            self._sock.sendto(self._word + data, source)

    def close(self) -> None:
        self._over.set()
        self._thread.join(10)
        self._sock.close()


@pytest.fixture
def clock(net: Network) -> Iterator[Callable[[str, bytes], Clock]]:
    """Start UDP servers on port 123."""
    with contextlib.ExitStack() as opened:

        def start(host: str, word: bytes) -> Clock:
            made = Clock(net, host, word)
            opened.callback(made.close)
            return made

        yield start


SECOND4 = "10.99.0.3"


@pytest.mark.parametrize("keep", [False, True])
def test_one_client_and_several_servers(net: Network, relay: Any, clock: Any, keep: bool) -> None:
    """One port of a client asks two servers, three times in turn; each answer comes from whom it asked, and what
    comes later is not lost in the socket that an earlier answer left by."""
    net.three.run(net.three.server, "ip", "address", "add", f"{SECOND4}/24", "dev", "out0")
    first, second = clock(SERVER4, b"first"), clock(SECOND4, b"second")
    firewall = relay(udp=True, keep=keep)
    client = net.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for number in (b"1", b"2", b"3"):
        for host, word in ((SERVER4, b"first"), (SECOND4, b"second")):
            client.sendto(number, (host, 123))
            assert client.recvfrom(100) == (word + number, (host, 123))
    # From one socket: to both servers the client is the same.
    assert len(set(first.seen + second.seen)) == 1
    assert first.seen[0][0] == (CLIENT4 if keep else OUTSIDE4)
    firewall.tell()
    firewall.wait_stopped()
    rows = firewall.rows(Action=int(Action.Terminate))
    assert sorted(row["DestinationIP"] for row in rows) == [SERVER4, SECOND4]
    assert len({row["connectionid"] for row in rows}) == 1


THIRD4 = "10.99.0.4"
NETWORK_RULES = f"""
[[network]]
name = "hidden from"
ranges = ["{SERVER4}"]

[[network]]
name = "shown to"
ranges = ["{SECOND4}"]

[[network_rule]]
name = "hide"
from = ["inside"]
to = ["hidden from"]
relation = "nat"

[[network_rule]]
name = "show"
from = ["inside"]
to = ["shown to"]
relation = "route"
"""


def test_network_rules(net: Network, relay: Any, clock: Any) -> None:
    """B7.2, B7.4: by NAT a server sees the firewall, by a route the client, and what is not related is refused."""
    for host in (SECOND4, THIRD4):
        net.three.run(net.three.server, "ip", "address", "add", f"{host}/24", "dev", "out0")
    for host in (SERVER4, SECOND4):
        net.serve(tell_peer, host)
    clocks = [clock(host, b">") for host in (SERVER4, SECOND4)]
    firewall = relay(udp=True, keep=True, more=NETWORK_RULES)
    for host, seen in ((SERVER4, OUTSIDE4), (SECOND4, CLIENT4)):
        with net.connect(host, 80) as client:
            assert line(client) == f"{seen} {host}"
    with pytest.raises(ConnectionError), net.connect(THIRD4, 80) as client:
        assert client.recv(1) != b""
    client = net.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # From one client to both in turns: each sees always the same.
    for number in (b"1", b"2"):
        client.sendto(number, (THIRD4, 123))
        for host in (SERVER4, SECOND4):
            client.sendto(number, (host, 123))
            assert client.recvfrom(100) == (b">" + number, (host, 123))
    assert [{address for address, _ in each.seen} for each in clocks] == [{OUTSIDE4}, {CLIENT4}]
    rows = firewall.wait_rows(2, resultcode=int(FWX_E_NETWORK_RULES_DENIED))
    assert {(row["Action"], row["rule"], row["DestinationIP"]) for row in rows} == {(int(Action.Denied), "", THIRD4)}
    assert all(row["reason"].startswith("no network rule relates inside and external: denied") for row in rows)


def test_datagrams_of_two_clients_at_one_port(net: Network, relay: Any, clock: Any) -> None:
    """Two addresses with the same port number are two clients, each with its session and its answers."""
    clock(SERVER4, b">")
    firewall = relay(udp=True)
    clients = []
    for host in (CLIENT4, OTHER4):
        clients.append(net.socket(socket.AF_INET, socket.SOCK_DGRAM))
        clients[-1].bind((host, 4000))
    for client in clients:
        client.sendto(client.getsockname()[0].encode(), (SERVER4, 123))
    for client in clients:
        assert client.recvfrom(100)[0].decode() == f">{client.getsockname()[0]}"
    firewall.tell()
    firewall.wait_stopped()
    rows = firewall.rows(Action=int(Action.Terminate))
    assert len({row["sessionid"] for row in rows}) == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_large_datagrams(net: Network, relay: Any, clock: Any, family: str) -> None:
    """Whatever fits into a datagram passes, in fragments on the wire."""
    clock(SERVERS[family], b"")
    relay(udp=True, keep=True)
    client = net.socket(socket.AF_INET6 if family == "IPv6" else socket.AF_INET, socket.SOCK_DGRAM)
    for size in (0, 1, 1472, 9000, 65000):
        block = os.urandom(size)
        client.sendto(block, (SERVERS[family], 123))
        assert client.recv(70000) == block


UDP_FILTER = """
@sdk.implementer(sdk.IFWXDataFilter, sdk.IFWXIOCompletion)
class Both(sdk.Unknown):
    def __init__(self, firewall):
        self.firewall = firewall

    def SetSockets(self, internal, external, connection, context):
        self.sockets = {"there": (internal, external), "back": (external, internal)}
        for direction, (source, sink) in self.sockets.items():
            source.Recv(None, self, direction)

    def CompleteAsyncIO(self, success, code, buffer, direction, address, length):
        if success:
            source, sink = self.sockets[direction]
            if direction == "back":
                buffer = self.firewall.CreateConstBuffer(self.changed(bytes(buffer.GetBufferAndSize())))
            sink.SendTo(buffer, address, None, None, 0)
            source.Recv(None, self, direction)

    def changed(self, data):
        return data.upper()

    def Detach(self):
        self.sockets = None

class Marking(Both):
    def changed(self, data):
        return data + b"!"

class Session(Session):
    def FirewallEventHandler(self, pProxyEvent):
        print("event", hex(pProxyEvent.EventType), flush=True)
        if pProxyEvent.EventType == sdk.fwx_Udp_Destination:
            assert pProxyEvent.EventSource == sdk.fwxSourceNAT
            details = pProxyEvent.Parameters.UdpDest
            details.piConnection.AttachDataFilter(Both(self.firewall), sdk.fwx_dfpc_Middle, None)
            details.piConnection.AttachDataFilterWithDestination(
                Marking(self.firewall), sdk.fwx_dfpc_Middle, None, details.Address, details.AddressLength)

class Filter(Filter):
    def FilterInit(self, pIFWXFirewall):
        self.firewall = pIFWXFirewall
        return sdk.FwxFilterHookEvents(sdk.fwx_Udp_Destination | sdk.fwx_Bind_Udp | sdk.FWX_ALL_SOURCES)
"""


def test_a_filter_changes_datagrams(net: Network, relay: Any, clock: Any) -> None:
    """B2.15, B2.18: one event for the destination, and no bind (B2.20); what sees all is nearer to the client."""
    clock(SERVER4, b"heard ")
    firewall = relay(udp=True, filters={"both": UDP_FILTER})
    client = net.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(3):
        client.sendto(b"hello", (SERVER4, 123))
        assert client.recv(100) == b"HEARD HELLO!"
    assert firewall.stderr().count("event 0x") == 1


@pytest.mark.parametrize(
    ("rule", "more", "port", "words"),
    [
        (USERS, "", 123, "rule 'staff' is about users"),
        (RULE, "", 4444, "no protocol begins with UDP port 4444"),
    ],
)
def test_datagrams_that_are_dropped(net: Network, relay: Any, rule: str, more: str, port: int, words: str) -> None:
    """B7.10 and B2.13 hold for UDP too; each destination is logged once."""
    firewall = relay(udp=True, rule=rule, more=more)
    client = net.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(3):
        client.sendto(b"hello", (SERVER4, port))
    row = firewall.wait_row(Action=int(Action.Denied))
    assert (row["protocol"], row["DestinationIP"], row["DestinationPort"]) == ("UDP", SERVER4, port)
    assert words in row["reason"]


def test_datagrams_of_a_protocol_of_our_own(net: Network, relay: Any, clock: Any) -> None:
    net.three.run(net.three.server, net.nft, "add table ip nat")
    net.three.run(net.three.server, net.nft, "add chain ip nat in { type nat hook prerouting priority dstnat; }")
    net.three.run(net.three.server, net.nft, "add rule ip nat in udp dport 4444 redirect to :123")
    clock(SERVER4, b"!")
    relay(udp=True, more=PROTOCOL.format(port=4444))
    client = net.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.sendto(b"hello", (SERVER4, 4444))
    assert client.recvfrom(100) == (b"!hello", (SERVER4, 4444))


@pytest.mark.parametrize("family", FAMILIES)
def test_datagrams_to_the_port_itself(net: Network, relay: Any, family: str) -> None:
    """They are dropped, and the host that sends them is logged once."""
    firewall = relay(udp=True, rule=RULE.replace('to = ["any"]', 'to = ["any", "localhost"]'))
    client = net.socket(socket.AF_INET6 if family == "IPv6" else socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(3):
        client.sendto(b"hello", (INSIDE[family], 15001))
    row = firewall.wait_row(Action=int(Action.Denied))
    assert (row["SourceIP"], row["Interface"]) == (CLIENTS[family], f"udp{family[-1]}")
    assert row["reason"].startswith("nothing diverted the datagram: it is for")


def test_the_limit_of_an_address_over_udp(net: Network, relay: Any, clock: Any) -> None:
    clock(SERVER4, b"")
    firewall = relay(udp=True, limit=2)
    clients = [net.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    for client in clients:
        client.sendto(b"x", (SERVER4, 123))
        assert client.recv(10) == b"x"
    row = firewall.wait_row(Action=int(Action.Terminate))
    assert (row["SourceIP"], row["resultcode"]) == (CLIENT4, int(FWX_E_IS_BUSY))


# Through an upstream.

UPSTREAM = """
[[upstream]]
name = "parent"
kind = "socks5"
address = "{address}:1080"
"""
DANTE = """
logoutput: stderr
internal: {address} port = 1080
external: {address}
clientmethod: none
socksmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 0/0 to: 0/0 }}
socks pass {{ from: 0/0 to: 0/0 command: connect }}
"""


@pytest.mark.path(entry="tproxy", exit="socks5", transport="tcp")
@pytest.mark.path(entry="redirect", exit="socks5", transport="tcp")
@pytest.mark.parametrize("mode", ["tproxy", "redirect"])
@pytest.mark.parametrize(
    "upstream",
    [
        pytest.param("microsocks", marks=pytest.mark.requires("microsocks", "ss")),
        pytest.param("danted", marks=pytest.mark.requires("danted", "ss")),
    ],
)
def test_through_an_upstream(
    net: Network,
    relay: Any,
    background: Any,
    program_path: Callable[[str], str],
    tmp_path: Path,
    eventually: Any,
    upstream: str,
    mode: str,
) -> None:
    """The upstream connects to where the client was going. What it sees is the firewall, also where servers would see
    the client."""
    command = [*net.three.prefix(net.three.server), program_path(upstream)]
    if upstream == "danted":
        (tmp_path / "danted.conf").write_text(DANTE.format(address=SERVER4))
        command += ["-f", str(tmp_path / "danted.conf")]
    else:
        command += ["-i", SERVER4, "-p", "1080"]
    with (tmp_path / "upstream.txt").open("wb") as said:
        background(*command, stdout=said, stderr=said, start_new_session=True)
    eventually(lambda: ":1080" in net.three.run(net.three.server, "ss", "-Hltn"), "the upstream to listen")
    net.serve(tell_peer, SERVER4)
    firewall = relay(
        mode=mode,
        rule=RULE + 'upstream = "parent"\n',
        more=UPSTREAM.format(address=SERVER4),
        keep=mode == "tproxy",
    )
    with net.connect(SERVER4, 80) as client:
        assert line(client) == f"{SERVER4} {SERVER4}"
        client.sendall(b"hello")
        assert exactly(client, 5) == b"hello"
    row = firewall.wait_row(Action=int(Action.Terminate))
    assert (row["DestinationProxy"], row["DestinationIP"]) == ("parent", SERVER4)


# Who makes the sockets.


def maker_of(firewall: Any) -> int:
    """The process that makes the service's transparent sockets."""
    children = Path(f"/proc/{firewall.pid}/task/{firewall.pid}/children").read_text().split()
    (maker,) = [int(pid) for pid in children if b"fwx.transparent.maker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return maker


def capabilities(pid: int) -> dict[str, int]:
    text = Path(f"/proc/{pid}/status").read_text()
    return {name: int(value, 16) for name, value in re.findall(r"^(Cap\w+):\s+(\w+)$", text, re.MULTILINE)}


def test_privileges(net: Network, relay: Any) -> None:
    """The service has none; the maker has two, and cannot get more."""
    firewall = relay(keep=True)
    assert not any(capabilities(firewall.pid)[name] for name in ("CapEff", "CapPrm", "CapAmb", "CapInh"))
    maker = maker_of(firewall)
    both = 1 << CAP_NET_ADMIN | 1 << CAP_NET_BIND_SERVICE
    assert capabilities(maker) == {"CapInh": 0, "CapPrm": both, "CapEff": both, "CapBnd": both, "CapAmb": 0}
    status = Path(f"/proc/{maker}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Uid:\t0" not in status
    firewall.stop()
    assert not Path(f"/proc/{maker}").exists()


def test_no_maker_where_nobody_needs_one(net: Network, relay: Any) -> None:
    firewall = relay()
    assert Path(f"/proc/{firewall.pid}/task/{firewall.pid}/children").read_text().split() == []


def test_a_maker_that_is_killed(net: Network, relay: Any, clock: Any, eventually: Any) -> None:
    """What has to have a socket fails, with an alert; what is there goes on."""
    net.serve("echo", SERVER4)
    clock(SERVER4, b">")
    firewall = relay(udp=True, keep=True)
    with net.connect(SERVER4, 80) as kept:
        kept.sendall(b"x")
        assert kept.recv(1) == b"x"
        os.kill(maker_of(firewall), signal.SIGKILL)
        eventually(lambda: firewall.alerts(), "the alert")
        (alert,) = firewall.alerts()
        assert alert["event"] == "Transparent listener failure"
        assert "the maker of transparent sockets is lost" in alert["message"]
        with pytest.raises(ConnectionResetError), net.connect(SERVER4, 80) as client:
            client.recv(1)
        net.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"hello", (SERVER4, 123))
        rows = firewall.wait_rows(2, Action=int(Action.Failed))
        assert {row["protocol"] for row in rows} == {"TCP", "UDP"}
        kept.sendall(b"y")
        assert kept.recv(1) == b"y"
    firewall.wait_base_line()


def drop_net_admin() -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(24, CAP_NET_ADMIN, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    # CAP_NET_RAW would do as well.
    if ctypes.CDLL(None, use_errno=True).prctl(24, 13, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_without_privileges_it_does_not_start(net: Network, serve: Any, transport: str) -> None:
    folder = serve.make_folder()
    command, environment = serve.command(folder, "")
    path = folder / "fwx.toml"
    path.write_text(config().replace('transport = "tcp"', f'transport = "{transport}"'))
    ended = subprocess.run(
        [*command, "--config", str(path)], cwd=folder, env=environment, capture_output=True, text=True, timeout=30,
        check=False, preexec_fn=drop_net_admin,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "listener 'tcp4': cannot " in ended.stderr
    assert "a transparent socket needs the capability CAP_NET_ADMIN" in ended.stderr
    assert "Traceback" not in ended.stderr


# The example as it is.


@pytest.mark.requires("dnsmasq", "dig", "curl")
@pytest.mark.parametrize("name", ["fwx.toml", "redirect.toml"])
def test_the_example(
    net: Network, serve: Any, names: None, dig: Any, program_path: Callable[[str], str], name: str
) -> None:
    """curl and dig through the gateway of ``examples/gateway``, and nothing else than its rule allows."""
    seen: list[str] = []

    def web(client: socket.socket) -> None:
        client.recv(65536)
        seen.append(client.getpeername()[0])
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes")

    for host in (SERVER4, SERVER6):
        net.serve(web, host)
        net.serve(web, host, 4444)
    mode = "redirect" if name == "redirect.toml" else "tproxy"
    net.divert(mode)
    firewall = serve((net.example / name).read_text(), prefix=net.three.prefix(net.three.firewall))
    curl = [program_path("curl"), "-q", "-sS", "--noproxy", "*", "--max-time", "5"]
    for url in (f"http://{SERVER4}/", f"http://[{SERVER6}]/"):
        assert net.three.run(net.three.client, *curl, url) == "yes"
    assert seen == ([OUTSIDE4, OUTSIDE6] if mode == "redirect" else [CLIENT4, CLIENT6])
    for url in (f"http://{SERVER4}:4444/", f"http://[{SERVER6}]:4444/"):
        with pytest.raises(subprocess.CalledProcessError):
            net.three.run(net.three.client, *curl, url)
    for host in (SERVER4, SERVER6):
        assert dig(host, "+tcp") == ADDRESS
        if mode == "tproxy":
            assert dig(host) == ADDRESS
    for host in (INSIDE4, INSIDE6):
        with pytest.raises(TimeoutError):
            net.connect(host, PORT[mode], seconds=0.5)
    firewall.wait_rows(2, Action=int(Action.Denied))
    firewall.stop()


def test_the_example_undone(net: Network) -> None:
    """``routes.sh`` may be run again, and leaves nothing when it is undone."""
    net.divert()
    net.divert()
    rules = net.three.run(net.three.firewall, "ip", "rule", "show")
    assert rules.count("fwmark") == 1
    net.three.run(net.three.firewall, "sh", str(net.example / "routes.sh"), "undo")
    for family in ("-4", "-6"):
        assert "fwmark" not in net.three.run(net.three.firewall, "ip", family, "rule", "show")
