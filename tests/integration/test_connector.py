"""The filter connector between a client's and a server's namespace, with the kernel's packet filter on.

The peers are the pair connector_client.py and connector_server.py, which do what they say without a firewall too; and
curl with pyftpdlib, whose replies the filter is told to read by a pattern. A rule names the primary's port alone.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from tests.integration.connector_server import PAYLOAD
from tests.integration.ftp_server import FILE, FtpServer
from tests.integration.namespaces import CLIENT4, INSIDE4, OUTSIDE4, SERVER4, Gateway, gateway_of, socket_in
from tests.integration.test_secondary_ports import Ways, refused

pytestmark = pytest.mark.requires("ip", "nft")

HERE = Path(__file__).parent
PRIMARY, SECONDARY = 7000, 41234
OTHERS = (SECONDARY - 1, SECONDARY + 1)
CONFIG = r"""
[service]
name = "gateway"

[packet_filter]
backend = "nftables"

[[network]]
name = "inside"
ranges = ["10.1.0.0/16"]

[[listener]]
name = "tcp4"
kind = "transparent"
mode = "tproxy"
bind = "0.0.0.0:15001"

[[listener]]
name = "udp4"
kind = "transparent"
mode = "tproxy"
transport = "udp"
bind = "0.0.0.0:15001"

[[listener]]
name = "proxy"
kind = "proxy"
bind = "10.1.0.1:1080"

[[protocol]]
name = "Connector"
ports = [{ transport = "tcp", direction = "outbound", first = 7000 }]

[[filter]]
name = "pair"
use = "fwx.filters.connector:Connector"

[[filter]]
name = "like ftp"
use = "fwx.filters.connector:Connector"

[filter.options]
answer = "425 Can't open data connection"

[[filter.options.signals]]
said_by = "server"
line = '229 .*\(\|\|\|(?P<port>\d+)\|\).*'

[[filter.options.signals]]
line = 'EPRT \|1\|(?P<host>[0-9.]+)\|(?P<port>\d+)\|'
opens = "to-client"

[[rule]]
name = "pair"
action = "allow"
protocols = ["Connector"]
from = ["inside"]
to = ["external"]
filters = ["pair"]

[[rule]]
name = "files"
action = "allow"
protocols = ["FTP"]
from = ["inside"]
to = ["external"]
filters = ["like ftp"]
"""


class Client:
    """connector_client.py in the client's namespace."""

    def __init__(self, ways: Ways, way: str, *, proxy: str = "") -> None:
        three = ways.three
        command = [sys.executable, "-I", str(HERE / "connector_client.py"), SERVER4, str(PRIMARY), way, str(SECONDARY)]
        self.process = subprocess.Popen(
            [*three.prefix(three.client), *command, *filter(None, (proxy,))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def leave(self) -> None:
        self.go_on()
        assert self.process.wait(10) == 0

    def discard(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def three(namespace_for_module: str, program_path: Callable[[str], str], source_tree: Path) -> Iterator[Gateway]:
    with gateway_of(namespace_for_module, program_path("ip")) as made:
        example = source_tree / "examples" / "gateway"
        made.run(made.firewall, program_path("nft"), "-f", str(example / "gateway.nft"))
        made.run(made.firewall, "sh", str(example / "routes.sh"))
        yield made


@pytest.fixture
def ways(three: Gateway, program_path: Callable[[str], str]) -> Iterator[Ways]:
    with contextlib.ExitStack() as opened:
        yield Ways(three, program_path("nft"), opened)


@pytest.fixture(scope="module")
def firewall(three: Gateway, serve_for_module: Any) -> Any:
    prelude = "import fwx.service\nfwx.service.UDP_IDLE_SECONDS = 0.2"
    return serve_for_module(CONFIG, prefix=three.prefix(three.firewall), prelude=prelude)


@pytest.fixture(scope="module")
def server(three: Gateway) -> Iterator[None]:
    """connector_server.py in the server's namespace."""
    command = [sys.executable, "-I", str(HERE / "connector_server.py"), SERVER4, str(PRIMARY)]
    process = subprocess.Popen([*three.prefix(three.server), *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield
    process.kill()
    process.communicate()


@pytest.fixture
def begin(ways: Ways, server: None) -> Iterator[Callable[..., Client]]:
    with contextlib.ExitStack() as started:

        def start(way: str, **keys: Any) -> Client:
            made = Client(ways, way, **keys)
            started.callback(made.discard)
            return made

        yield start


def closed_outside(ways: Ways, *ports: int) -> bool:
    """The server cannot reach these ports of the firewall."""
    return all(ways.connect(ways.three.server, OUTSIDE4, port) is None for port in ports)


@pytest.mark.path(entry="tproxy", exit="direct", transport="tcp")
@pytest.mark.parametrize("way", ["connect-tcp", "offer"])
def test_out(firewall: Any, ways: Ways, begin: Any, eventually: Any, way: str) -> None:
    """B6.2, B6.5, B6.6: that port once, and no other one; nothing is open to the firewall itself."""
    for port in (SECONDARY, *OTHERS):
        assert refused(ways, port)
    one = begin(way)
    answer = one.says()
    assert answer == "OK" if way == "connect-tcp" else answer.startswith("CONNECT tcp ")
    used = SECONDARY if way == "connect-tcp" else int(answer.split()[-1])
    for port in OTHERS:
        assert refused(ways, port)
    one.go_on()
    assert one.says() == f"got {len(PAYLOAD)}"
    assert ways.holes() == [1080]
    assert refused(ways, used)
    one.leave()
    row = eventually(lambda: firewall.rows(DestinationPort=used, Action=int(Action.Terminate)), "its record")[0]
    assert (row["rule"], row["bytesrecvd"]) == ("pair", len(PAYLOAD))
    firewall.wait_base_line()


@pytest.mark.path(entry="tproxy", exit="direct", transport="udp")
def test_datagrams_out(firewall: Any, begin: Any) -> None:
    """B6.5: over UDP, which the rules allow nobody."""
    one = begin("connect-udp")
    assert one.says() == "OK"
    one.go_on()
    assert one.says() == "got 1000"
    one.leave()
    row = firewall.wait_row(DestinationPort=SECONDARY, protocol="UDP", Action=int(Action.Terminate))
    assert (row["rule"], row["bytesrecvd"]) == ("pair", 1000)
    firewall.wait_base_line()


@pytest.mark.path(entry="tproxy", exit="direct", transport="bind")
def test_in(firewall: Any, ways: Ways, begin: Any, eventually: Any) -> None:
    """B6.1, B6.12, B6.20, B6.32: the port that the client has named is open outside, once, and to the server alone."""
    assert closed_outside(ways, SECONDARY)
    assert ways.holes() == [1080]
    one = begin("listen")
    assert one.says() == "OK"
    eventually(lambda: ways.holes() == [1080, SECONDARY], "the port to open")
    assert closed_outside(ways, OTHERS[0])
    one.go_on()
    assert one.says() == f"got {len(PAYLOAD)}"
    eventually(lambda: ways.holes() == [1080], "the port to close")
    assert closed_outside(ways, SECONDARY)
    one.leave()
    (row,) = firewall.rows(DestinationPort=SECONDARY, OriginalClientIP=CLIENT4, Action=int(Action.Terminate))
    assert (row["SourceIP"], row["DestinationIP"], row["rule"]) == (SERVER4, OUTSIDE4, "pair")
    firewall.wait_base_line()


@pytest.mark.path(entry="tproxy", exit="direct", transport="bind")
def test_datagrams_in(firewall: Any, ways: Ways, begin: Any, eventually: Any) -> None:
    """B6.12, B6.32: over UDP."""
    one = begin("listen-udp")
    assert one.says() == "OK"
    eventually(lambda: ways.holes() == [1080, SECONDARY], "the port to open")
    one.go_on()
    assert one.says() == "got 1000"
    one.leave()
    eventually(lambda: ways.holes() == [1080], "the port to close")
    firewall.wait_base_line()


@pytest.mark.parametrize("way", ["connect-tcp", "listen"])
def test_withdrawn_with_the_primary(firewall: Any, ways: Ways, begin: Any, eventually: Any, way: str) -> None:
    """B6.11: what nobody has used."""
    one = begin(way)
    assert one.says() == "OK"
    if way == "listen":
        eventually(lambda: ways.holes() == [1080, SECONDARY], "the port to open")
    one.discard()
    eventually(lambda: not firewall_knows(firewall), "the primary connection to end")
    eventually(lambda: ways.holes() == [1080], "the port to close")
    assert refused(ways, SECONDARY)
    firewall.wait_base_line()


def firewall_knows(firewall: Any) -> bool:
    """Whether the service holds anything of a client."""
    return bool(firewall.descriptors() > firewall.base_line)


@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
def test_through_the_proxy(firewall: Any, ways: Ways, begin: Any) -> None:
    """The rule allows the primary's port alone; the secondary one is asked for by the proxy's protocol too."""
    one = begin("connect-tcp", proxy=f"{INSIDE4}:1080")
    assert one.says() == "OK"
    one.go_on()
    assert one.says() == f"got {len(PAYLOAD)}"
    one.leave()
    firewall.wait_base_line()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"CONNECT tcp 22\n", "below 1024"),
        (b"LISTEN tcp 10.1.0.3 41234\n", "of 10.1.0.3, and the client is 10.1.0.2"),
        (b"LISTEN tcp 198.51.100.9 25000\n", "of 198.51.100.9, and the client is"),
        (b"CONNECT tcp 198.51.100.9 41234\n", "of 198.51.100.9, and the server is"),
        (b"CONNECT tcp " + b"9" * 5000, "a line of more than 4096 bytes"),
    ],
)
def test_hostile(firewall: Any, ways: Ways, server: None, eventually: Any, line: bytes, words: str) -> None:
    """Nothing is opened, the server hears nothing, the log says why."""
    sock = ways.connect(ways.three.client, SERVER4, PRIMARY)
    assert sock is not None
    with sock:
        sock.sendall(b"HELLO\n")
        assert sock.recv(100) == b"WHAT\r\n"
        sock.sendall(line)
        assert sock.recv(100) == b""
        assert ways.holes() == [1080]
    eventually(lambda: any(words in row["reason"] for row in firewall.rows(rule="pair")), "the record")
    firewall.wait_base_line()


@pytest.mark.requires("curl")
@pytest.mark.parametrize("mode", ["extended", "active"])
def test_ftp_by_patterns(firewall: Any, ways: Ways, program_path: Callable[[str], str], mode: str) -> None:
    """An existing protocol, of which the filter knows two patterns."""
    three = ways.three
    server = FtpServer(lambda: socket_in(three.server), SERVER4, 21)
    try:
        server.extended = True
        options = ("--ftp-port", CLIENT4) if mode == "active" else ()
        command = [program_path("curl"), "-sS", "-m", "20", *options, f"ftp://{SERVER4}/file"]
        got = subprocess.run([*three.prefix(three.client), *command], capture_output=True, timeout=60, check=False)
        assert (got.stdout == FILE, got.stderr) == (True, b"")
        for port in server.passive:
            assert refused(ways, port)
        assert ways.holes() == [1080]
        firewall.wait_base_line()
    finally:
        server.close()


# ---- on this machine -------------------------------------------------------------------------------------------------


LOCAL = """
[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:0"

[[protocol]]
name = "Connector"
ports = [{{ transport = "tcp", direction = "outbound", first = {port} }}]

[[filter]]
name = "pair"
use = "fwx.filters.connector:Connector"

[[rule]]
name = "pair"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["localhost"]
filters = ["pair"]
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@pytest.fixture
def local_server(background: Any) -> int:
    """The port of connector_server.py on this machine."""
    port = free_port()
    command = [sys.executable, "-I", str(HERE / "connector_server.py"), "127.0.0.1", str(port)]
    assert background(*command, stdout=subprocess.PIPE).stdout.readline() == b"ready\n"
    return port


@pytest.mark.path(entry="socks5", exit="direct", transport="bind")
def test_a_port_that_the_client_has_bound(serve: Any, client: Any, local_server: int) -> None:
    """B6.18, B6.20: what the client has bound by itself is opened to the server, and no other port is bound for it."""
    firewall = serve(LOCAL.format(port=local_server))
    proxy = firewall.address("proxy")
    with client.socks(proxy, ("127.0.0.1", local_server)) as primary, client.connect(proxy) as bind:
        bind.sendall(b"\5\1\0\5\2\0\1\x7f\0\0\1" + local_server.to_bytes(2, "big"))
        told = client.exactly(bind, 12)
        assert told[2:4] == b"\5\0", told
        primary.sendall(b"LISTEN tcp %d\r\n" % int.from_bytes(told[-2:], "big"))
        assert client.exactly(primary, 4) == b"OK\r\n"
        primary.sendall(b"GO\r\n")
        assert client.exactly(bind, 10)[:2] == b"\5\0"
        assert client.to_end(bind) == PAYLOAD
        assert client.exactly(primary, 6) == b"SENT\r\n"
    firewall.wait_base_line()
    firewall.stop()  # the log is whole then
    assert firewall.rows(Action=int(Action.Denied)) == []
    assert firewall.rows(Interface="bound for client") == []


@pytest.mark.parametrize("way", ["connect-tcp", "connect-udp", "offer", "listen", "listen-udp"])
def test_the_pair_by_itself(local_server: int, way: str) -> None:
    """Without a firewall between them: the tests above ask for what is right."""
    where = ["127.0.0.1", str(local_server), way, str(free_port())]
    command = [sys.executable, "-I", str(HERE / "connector_client.py"), *where]
    said = subprocess.run(command, input="\n\n", capture_output=True, text=True, timeout=60, check=True).stdout
    assert said.splitlines()[-1] == f"got {1000 if 'udp' in way else len(PAYLOAD)}"
