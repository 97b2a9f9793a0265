"""The ports of secondary connections in the kernel's packet filter, and FTP of clients that know of no firewall.

A client's namespace, the firewall's, a server's; what is not open is dropped, so whoever tries waits in vain.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fwx
from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import FWX_E_ADDRESS_NOT_ALLOWED
from tests.integration.ftp_server import FILE, FtpServer
from tests.integration.namespaces import CLIENT4, INSIDE4, OTHER4, OUTSIDE4, SERVER4, Gateway, gateway_of, socket_in

pytestmark = pytest.mark.requires("ip", "nft")

TOP = Path(fwx.__file__).parent.parent
BOUND, REDIRECTED = 5001, 5002
CLIENT_PORT, TARGET_PORT = 6000, 7100
SERVICE = """
[service]
name = "gateway"

[packet_filter]
backend = "nftables"

[[network]]
name = "inside"
ranges = ["10.1.0.0/16"]
"""
PROXY = """
[[listener]]
name = "proxy"
kind = "proxy"
bind = "10.1.0.1:1080"

[[rule]]
name = "any"
action = "allow"
protocols = ["any"]
from = ["inside"]
to = ["any"]
"""
TRANSPARENT = """
[[listener]]
name = "tcp4"
kind = "transparent"
mode = "tproxy"
bind = "0.0.0.0:15001"

[[filter]]
name = "ftp-ports"
use = "USE"

[[rule]]
name = "ftp"
action = "allow"
protocols = ["FTP"]
from = ["inside"]
to = ["external"]
filters = ["ftp-ports"]
"""
# Clients ask for it with the port of their target.
PORTS = f"""
from ipaddress import IPv4Address

class Session(Session):
    announced = []

    def __init__(self, firewall, session):
        super().__init__(firewall)
        self.session = session

    def FirewallEventHandler(self, pProxyEvent):
        port = pProxyEvent.Parameters.Connect.Address.port
        tcp, null = sdk.FWX_PROTOCOL_TCP, sdk.GUID_NULL
        if port == 7001:
            client, outside = sdk.SocketAddress("{CLIENT4}", {CLIENT_PORT}), sdk.SocketAddress("{OUTSIDE4}", {BOUND})
            self.announced += self.session.BindForClient(
                [client], None, outside, None, tcp, None, 0, 5, null, None, None, None)[1]
        elif port == 7002:
            inside = sdk.SocketAddress("{INSIDE4}", {REDIRECTED})
            Session.reserved = self.firewall.QueryInterface(sdk.IFWXFirewall3).ReservePorts(tcp, inside, None, 1)
        elif port == 7003:
            target = sdk.SocketAddress("{SERVER4}", {TARGET_PORT})
            self.announced += self.session.QueryInterface(sdk.IFWXSession2).RedirectConnectionsReservedPorts(
                [target], None, None, Session.reserved, None, None, tcp, 0, null, None, None)
        elif port == 7005:
            client, outside = sdk.SocketAddress("{CLIENT4}", {CLIENT_PORT}), sdk.SocketAddress("{OUTSIDE4}", {BOUND})
            server = self.firewall.CreateIpFilter()
            server.IncludeRange(IPv4Address("{SERVER4}"), IPv4Address("{SERVER4}"))
            self.announced += self.session.BindForClient(
                [client], None, outside, None, sdk.FWX_PROTOCOL_UDP, None, 0, 5, null, None, None, server)[1]
        elif port == 7006:
            udp, inside = sdk.FWX_PROTOCOL_UDP, sdk.SocketAddress("{INSIDE4}", {REDIRECTED})
            target = sdk.SocketAddress("{SERVER4}", {TARGET_PORT})
            leaves_from = sdk.SocketAddress("{OUTSIDE4}", {BOUND})
            reserved = self.firewall.QueryInterface(sdk.IFWXFirewall3).ReservePorts(udp, inside, None, 1)
            self.announced += self.session.QueryInterface(sdk.IFWXSession2).RedirectConnectionsReservedPorts(
                [target], None, None, reserved, leaves_from, None, udp, 0, null, None, None)
        elif port == 7004:
            while self.announced:
                last = self.announced.pop()
                (last.Cancel if hasattr(last, "Cancel") else last.Kill)()

class Filter(Filter):
    def AttachToSession(self, piSession, pFilterHookEvents):
        return Session(self.firewall, piSession)
"""


class Ways:
    """What the client and the server can reach."""

    def __init__(self, three: Gateway, nft: str, opened: contextlib.ExitStack) -> None:
        self.three = three
        self._nft = nft
        self._opened = opened
        self.asked_for: dict[int, socket.socket] = {}

    def listen(self, name: str, host: str, port: int) -> socket.socket:
        listener = self._opened.enter_context(socket_in(name))
        listener.bind((host, port))
        listener.listen()
        listener.settimeout(60)
        return listener

    def connect(self, name: str, host: str, port: int, source: str = "") -> socket.socket | None:
        """``None`` where the packets are dropped."""
        sock = self._opened.enter_context(socket_in(name))
        if source:
            sock.bind((source, 0))
        sock.settimeout(0.4)
        try:
            sock.connect((host, port))
        except TimeoutError:
            sock.close()  # or it would try again when the port is open
            return None
        sock.settimeout(60)
        return sock

    def read(self, name: str, host: str, port: int, source: str) -> bytes:
        """Connect and read; who is turned away may be reset before it knows that it was connected."""
        sock = self.connect(name, host, port, source)
        assert sock is not None
        return sock.recv(100)

    @contextlib.contextmanager
    def asking(self, port: int) -> Iterator[None]:
        """A connection of the client's through the proxy to *port* of the server, which both close at the end."""
        sock = self.connect(self.three.client, INSIDE4, 1080, CLIENT4)
        assert sock is not None
        sock.sendall(b"\5\1\0\5\1\0\1" + socket.inet_aton(SERVER4) + port.to_bytes(2, "big"))
        reply = b""
        while len(reply) < 12:
            data = sock.recv(12 - len(reply))
            assert data, reply
            reply += data
        assert reply[3] == 0, reply
        accepted, _ = self.asked_for[port].accept()
        with sock, accepted:
            yield

    def ask(self, port: int) -> None:
        """The same, for a moment."""
        with self.asking(port):
            """It has asked."""

    def bind(self, name: str, host: str, port: int = 0) -> socket.socket:
        """A UDP socket."""
        sock = self._opened.enter_context(socket_in(name, kind=socket.SOCK_DGRAM))
        sock.bind((host, port))
        sock.settimeout(60)
        return sock

    def elements(self, name: str) -> list[tuple[Any, ...]]:
        """What is in one of the packet filter's sets for IPv4, without the protocol."""
        show = (self._nft, "-j", "list", "set", "inet", "fwx_gateway", f"{name}4")
        command = [*self.three.prefix(self.three.firewall), *show]
        shown = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["nftables"]
        (found,) = [each["set"] for each in shown if "set" in each]
        return sorted(tuple(each["elem"]["val"]["concat"][1:]) for each in found.get("elem", []))

    def holes(self) -> list[int]:
        """The ports of the firewall's addresses that the kernel lets others reach."""
        return sorted(port for _, port in self.elements("port"))

    def is_all(self, *flows: tuple[str, int, str, int]) -> bool:
        """Nothing is open but the proxy port and *flows*."""
        rest = [self.elements(name) for name in ("any", "port", "peer")]
        return rest == [[], [(INSIDE4, 1080)], []] and self.elements("flow") == sorted(flows)


@pytest.fixture
def ways(namespace: str, program_path: Callable[[str], str]) -> Iterator[Ways]:
    with gateway_of(namespace, program_path("ip")) as three, contextlib.ExitStack() as opened:
        yield Ways(three, program_path("nft"), opened)


@pytest.fixture
def servers(ways: Ways) -> None:
    """What the client asks for."""
    for port in range(7001, 7007):
        ways.asked_for[port] = ways.listen(ways.three.server, SERVER4, port)


@pytest.fixture
def firewall(ways: Ways, servers: None, serve: Any) -> Any:
    prefix = ways.three.prefix(ways.three.firewall)
    prelude = "import fwx.service\nfwx.service.SESSION_IDLE_SECONDS = 0.2"
    return serve(SERVICE + PROXY, prefix=prefix, filters={"ports": PORTS}, prelude=prelude)


@pytest.mark.parametrize("end", ["use", "cancel", "session"])
def test_a_port_for_a_client(firewall: Any, ways: Ways, eventually: Any, end: str) -> None:
    """B6.1, B6.12: closed, open after BindForClient, closed again after its use, after Kill, with the session."""
    waiting = ways.listen(ways.three.client, CLIENT4, CLIENT_PORT)
    server = ways.three.server
    assert ways.connect(server, OUTSIDE4, BOUND) is None
    assert ways.holes() == [1080]
    with ways.asking(7001):
        eventually(lambda: ways.holes() == [1080, BOUND], "the port to open")
        if end == "use":
            peer = ways.connect(server, OUTSIDE4, BOUND)
            assert peer is not None
            client, _ = waiting.accept()
            eventually(lambda: ways.holes() == [1080], "the port to close")
            assert ways.connect(server, OUTSIDE4, BOUND) is None
            with client, peer:  # what is there goes on
                peer.sendall(b"data")
                client.settimeout(60)
                assert client.recv(100) == b"data"
        elif end == "cancel":
            ways.ask(7004)
            eventually(lambda: ways.holes() == [1080], "the port to close")
        else:
            assert ways.holes() == [1080, BOUND]
    eventually(lambda: ways.holes() == [1080], "the port to close")
    assert ways.connect(server, OUTSIDE4, BOUND) is None
    firewall.wait_base_line()


@pytest.mark.parametrize("end", ["use", "cancel", "session"])
def test_a_port_inside(firewall: Any, ways: Ways, eventually: Any, end: str) -> None:
    """B6.1, B6.22, B6.26: closed while it is reserved, open when it is redirected, closed again."""
    target, client = ways.listen(ways.three.server, SERVER4, TARGET_PORT), ways.three.client
    with ways.asking(7002):
        assert ways.holes() == [1080]
        assert ways.connect(client, INSIDE4, REDIRECTED) is None
        ways.ask(7003)
        eventually(lambda: ways.holes() == [1080, REDIRECTED], "the port to open")
        if end == "use":
            with pytest.raises(ConnectionResetError):
                ways.read(client, INSIDE4, REDIRECTED, OTHER4)
            one = ways.connect(client, INSIDE4, REDIRECTED, CLIENT4)
            assert one is not None
            peer, _ = target.accept()
            eventually(lambda: ways.holes() == [1080], "the port to close")
            with peer, one:
                one.sendall(b"data")
                peer.settimeout(60)
                assert peer.recv(100) == b"data"
        elif end == "cancel":
            ways.ask(7004)
            eventually(lambda: ways.holes() == [1080], "the port to close")
        else:
            assert ways.holes() == [1080, REDIRECTED]
    eventually(lambda: ways.holes() == [1080], "the port to close")
    assert ways.connect(client, INSIDE4, REDIRECTED, CLIENT4) is None
    firewall.wait_base_line()


def got(sock: socket.socket) -> bytes | None:
    """What has come, ``None`` where nothing has."""
    sock.settimeout(0.3)
    try:
        return sock.recv(100)
    except TimeoutError:
        return None
    finally:
        sock.settimeout(60)


@pytest.mark.parametrize("end", ["cancel", "quiet", "session"])
def test_a_udp_port_for_a_client(ways: Ways, servers: None, serve: Any, eventually: Any, end: str) -> None:
    """B6.1, B6.12, B6.32: closed; open after BindForClient, for whom the IP filter lets in; then for that one alone."""
    three, outside = ways.three, (OUTSIDE4, BOUND)
    seconds = 0.4 if end == "quiet" else 30
    prelude = f"import fwx.service\nfwx.service.SESSION_IDLE_SECONDS = 0.2\nfwx.service.UDP_IDLE_SECONDS = {seconds}"
    prefix = three.prefix(three.firewall)
    firewall = serve(SERVICE + PROXY, prefix=prefix, filters={"ports": PORTS}, prelude=prelude)
    three.run(three.server, three.ip, "address", "add", "10.99.0.3/24", "dev", "out0")
    client, other = ways.bind(three.client, CLIENT4, CLIENT_PORT), ways.bind(three.client, OTHER4)
    peer, neighbour = ways.bind(three.server, SERVER4), ways.bind(three.server, SERVER4)
    stranger = ways.bind(three.server, "10.99.0.3")
    peer.sendto(b"early", outside)
    with ways.asking(7005):
        eventually(lambda: ways.holes() == [1080, BOUND], "the port to open")
        if end != "session":
            stranger.sendto(b"forged", outside)
            assert got(client) is None
            peer.sendto(b"data", outside)
            data, inside = client.recvfrom(100)
            assert (data, inside[0]) == (b"data", INSIDE4)
            client.sendto(b"thanks", inside)
            assert peer.recvfrom(100) == (b"thanks", outside)
            if end == "cancel":
                open_ones = ((*outside, *peer.getsockname()), (*inside, CLIENT4, CLIENT_PORT))
                eventually(lambda: ways.is_all(*open_ones), "the port to be open to the peer alone")
                neighbour.sendto(b"late", outside)
                other.sendto(b"forged", inside)
                assert (got(client), got(peer)) == (None, None)
                ways.ask(7004)
    eventually(lambda: ways.is_all(), "the port to close")
    peer.sendto(b"over", outside)
    assert got(client) is None
    if end != "session":
        (row,) = firewall.wait_rows(1, Action=int(Action.Terminate), DestinationPort=peer.getsockname()[1])
        assert (row["rule"], row["bytessent"], row["bytesrecvd"]) == ("any", 6, 4)
        (turned,) = firewall.rows(Action=int(Action.Denied))
        assert (turned["SourceIP"], turned["resultcode"]) == ("10.99.0.3", int(FWX_E_ADDRESS_NOT_ALLOWED))
    firewall.wait_base_line()


@pytest.mark.parametrize("end", ["service", "session"])
def test_a_udp_port_inside(firewall: Any, ways: Ways, eventually: Any, end: str) -> None:
    """B6.1, B6.9, B6.22: for the client alone, which reaches the target from the address that the filter gave."""
    three, inside = ways.three, (INSIDE4, REDIRECTED)
    target, client, other = (
        ways.bind(three.server, SERVER4, TARGET_PORT),
        ways.bind(three.client, CLIENT4),
        ways.bind(three.client, OTHER4),
    )
    client.sendto(b"early", inside)
    with ways.asking(7006):
        eventually(lambda: ways.holes() == [1080, REDIRECTED], "the port to open")
        if end == "service":
            other.sendto(b"forged", inside)
            assert got(target) is None
            client.sendto(b"data", inside)
            assert target.recvfrom(100) == (b"data", (OUTSIDE4, BOUND))
            target.sendto(b"thanks", (OUTSIDE4, BOUND))
            assert client.recvfrom(100) == (b"thanks", inside)
            open_ones = (*inside, *client.getsockname()), (OUTSIDE4, BOUND, SERVER4, TARGET_PORT)
            eventually(lambda: ways.is_all(*open_ones), "the port to be open to the client alone")
            (turned,) = firewall.wait_rows(1, Action=int(Action.Denied))
            assert (turned["SourceIP"], turned["resultcode"]) == (OTHER4, int(FWX_E_ADDRESS_NOT_ALLOWED))
    if end == "service":
        client.sendto(b"more", inside)  # the end of the session's other connection changes nothing
        assert target.recv(100) == b"more"
        firewall.stop()
    else:
        eventually(lambda: ways.is_all(), "the port to close")
        firewall.wait_base_line()
    client.sendto(b"late", inside)
    assert got(target) is None


@pytest.mark.requires("curl")
@pytest.mark.path(entry="tproxy", exit="direct", transport="tcp")
@pytest.mark.path(entry="tproxy", exit="direct", transport="bind")
@pytest.mark.parametrize("mode", ["passive", "extended", "active"])
@pytest.mark.parametrize("use", ["ftp_ports:FtpPorts", "fwx.filters.ftp:FtpFilter"])
def test_ftp(
    ways: Ways,
    serve: Any,
    program_path: Callable[[str], str],
    source_tree: Path,
    eventually: Callable[..., Any],
    mode: str,
    use: str,
) -> None:
    """B2.13, B6.2: a client that knows of no firewall transfers a file, with a rule for FTP's port 21 alone.

    By the example and by the filter that ships.
    """
    three, example = ways.three, source_tree / "examples" / "gateway"
    three.run(three.firewall, program_path("nft"), "-f", str(example / "gateway.nft"))
    three.run(three.firewall, "sh", str(example / "routes.sh"))
    server = FtpServer(lambda: socket_in(three.server), SERVER4, 21)
    try:
        server.extended = mode == "extended"
        prefix = three.prefix(three.firewall)
        path = os.pathsep.join([str(TOP), str(TOP / "examples")])
        firewall = serve(SERVICE + TRANSPARENT.replace("USE", use), prefix=prefix, env={"PYTHONPATH": path})
        other = ways.listen(three.server, SERVER4, 4321)
        assert refused(ways, 4321)
        options = ("--ftp-port", CLIENT4, "--disable-eprt") if mode == "active" else ()
        command = [
            *three.prefix(three.client),
            program_path("curl"),
            "-sS",
            "-m",
            "20",
            *options,
            f"ftp://{SERVER4}/file",
        ]
        got = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert (got.stdout == FILE, got.stderr) == (True, b"")
        eventually(lambda: ways.holes() == [], "the ports of the transfer to be closed")
        for port in server.passive:
            assert refused(ways, port)
        for _, port in server.peers if mode == "active" else ():
            assert ways.connect(three.server, OUTSIDE4, port) is None
        assert refused(ways, 4321)
        assert ways.holes() == []
        rows = firewall.wait_rows(3 if mode == "active" else 2, Action=int(Action.Terminate))
        assert {row["rule"] for row in rows} == {"ftp"}
        assert max(row["bytessent"] + row["bytesrecvd"] for row in rows) == len(FILE)
        firewall.wait_base_line()
        other.close()
    finally:
        server.close()


def refused(ways: Ways, port: int) -> bool:
    """The client's connection to *port* of the server is taken, and reset."""
    try:
        sock = ways.connect(ways.three.client, SERVER4, port)
        return sock is not None and sock.recv(100) == b""
    except ConnectionResetError:
        return True
