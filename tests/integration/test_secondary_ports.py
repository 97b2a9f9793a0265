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
        listener.settimeout(10)
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
        sock.settimeout(10)
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

    def holes(self) -> list[int]:
        """The ports of the firewall's addresses that the kernel lets others reach."""
        command = [
            *self.three.prefix(self.three.firewall),
            self._nft,
            "-j",
            "list",
            "set",
            "inet",
            "fwx_gateway",
            "port4",
        ]
        shown = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["nftables"]
        (found,) = [each["set"] for each in shown if "set" in each]
        return sorted(each["elem"]["val"]["concat"][2] for each in found.get("elem", []))


@pytest.fixture
def ways(namespace: str, program_path: Callable[[str], str]) -> Iterator[Ways]:
    with gateway_of(namespace, program_path("ip")) as three, contextlib.ExitStack() as opened:
        yield Ways(three, program_path("nft"), opened)


@pytest.fixture
def servers(ways: Ways) -> None:
    """What the client asks for."""
    for port in (7001, 7002, 7003, 7004):
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
                client.settimeout(10)
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
                peer.settimeout(10)
                assert peer.recv(100) == b"data"
        elif end == "cancel":
            ways.ask(7004)
            eventually(lambda: ways.holes() == [1080], "the port to close")
        else:
            assert ways.holes() == [1080, REDIRECTED]
    eventually(lambda: ways.holes() == [1080], "the port to close")
    assert ways.connect(client, INSIDE4, REDIRECTED, CLIENT4) is None
    firewall.wait_base_line()


@pytest.mark.requires("curl")
@pytest.mark.path(entry="tproxy", exit="direct", transport="tcp")
@pytest.mark.path(entry="tproxy", exit="direct", transport="bind")
@pytest.mark.parametrize("mode", ["passive", "extended", "active"])
@pytest.mark.parametrize("use", ["ftp_ports:FtpPorts", "fwx.filters.ftp:FtpFilter"])
def test_ftp(
    ways: Ways, serve: Any, program_path: Callable[[str], str], source_tree: Path, mode: str, use: str
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
