"""The filter server-split in a running service: curl and raw clients, nginx and raw servers behind one port.

HAProxy, which splits the same way, takes the service's place as control.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import FWX_E_POLICY_RULES_DENIED
from tests.integration.tlsparts import Address, Certificates, Controls

RED, BLUE = "127.0.0.2", "127.0.0.3"
HOSTS = {RED: "red.example", BLUE: "blue.example"}
FILE = bytes(range(256)) * 20000
NGINX = """
daemon off;
user root;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    root {folder};
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    ssl_certificate {certificates}/split.crt;
    ssl_certificate_key {certificates}/split.key;
    {servers}
}}
"""
NGINX_SERVER = """
    server {{
        listen {host}:{port};
        listen {host}:{secure} ssl;
        location = /who {{ return 200 "{host}\n"; }}
    }}
"""
SPLIT = """
[[filter]]
name = "{name}"
use = "fwx.filters.server_split:ServerSplit"

[filter.options]
listen = [{listen}]
by = "{by}"
{more}
"""
SERVER = """
[[filter.options.servers]]
address = "{address}"
{key}
"""
RULES = """
[[network]]
name = "banned"
ranges = ["127.0.0.66/32"]

[[protocol]]
name = "split"
ports = [{ports}]

[[rule]]
name = "ban"
action = "deny"
protocols = ["any"]
from = ["banned"]
to = ["localhost"]

[[protocol]]
name = "behind"
ports = [{{ transport = "tcp", direction = "outbound", first = {behind} }}]

[[listener]]
name = "published"
kind = "publish"
bind = "127.0.0.1:0"
to = "{to}"
proxy_protocol = "require"
trusted = ["127.0.0.1/32"]

[[rule]]
name = "behind"
action = "allow"
protocols = ["behind"]
from = ["external", "localhost"]
to = ["localhost"]
filters = ["behind"]

[[rule]]
name = "split"
action = "allow"
protocols = ["split"]
from = ["localhost"]
to = ["localhost"]
"""
KINDS = ("plain", "tls")
FRONTS = ("fwx", pytest.param("haproxy", marks=pytest.mark.requires("haproxy")))


def free_ports(count: int) -> list[int]:
    """Ports that nobody has; all different."""
    with contextlib.ExitStack() as taken:
        return [taken.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]


@pytest.fixture(scope="module")
def web(
    tmp_path_factory: pytest.TempPathFactory,
    program_path: Callable[[str], str],
    certificates: Certificates,
    eventually: Any,
) -> Iterator[dict[str, Address]]:
    """nginx at two addresses, as two servers: the ports for HTTP and for TLS by address."""
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "file").write_bytes(FILE)
    certificates.issue("split", *HOSTS.values())
    free = free_ports(4)
    ports = {host: (free.pop(), free.pop()) for host in HOSTS}
    servers = "".join(NGINX_SERVER.format(host=host, port=plain, secure=tls) for host, (plain, tls) in ports.items())
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, certificates=certificates.folder, servers=servers))
    with (folder / "errors.txt").open("wb") as errors:
        command = [program_path("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(config)]
        process = subprocess.Popen(command, stdout=errors, stderr=errors)
    try:
        eventually((folder / "nginx.pid").exists, "nginx to start")
        yield {
            f"{host} {kind}": (host, port)
            for host, pair in ports.items()
            for kind, port in zip(KINDS, pair, strict=True)
        }
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def lines() -> Iterator[dict[str, socket.socket]]:
    """Two servers that listen, whose connections the tests take."""
    with contextlib.ExitStack() as opened:
        made = {}
        for host in HOSTS:
            made[host] = opened.enter_context(socket.create_server((host, 0), backlog=1024))
            made[host].settimeout(60)
        yield made


def place(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"


def taken(listener: socket.socket) -> socket.socket:
    sock = listener.accept()[0]
    sock.settimeout(60)
    return sock


class Fronts:
    """A service with several of the filters; :meth:`at` is where each listens."""

    def __init__(self, serve: Any, lines: dict[str, socket.socket], web: dict[str, Address]) -> None:
        red, blue = place(lines[RED]), place(lines[BLUE])
        self._free = free_ports(6)
        self.dead = f"{RED}:{self._free.pop()}"
        by_line = {red: 'lines = ["red.*"]', blue: 'lines = ["blue.*"]'}
        by_line_with_dead = {self.dead: 'lines = ["red.*"]', blue: 'lines = ["blue.*", "red or.*"]'}
        strict = 'seconds = 0.5\nbytes = 100\nrefusal = "NO\\n"\nper_client = 2'
        by_address = {red: 'clients = ["127.0.0.9/32"]', blue: 'clients = ["127.0.0.0/8"]'}
        self._ports: dict[str, int] = {}
        tables = [
            self._table("lines", "line", by_line, "per_client = 0"),
            self._table("strict", "line", by_line_with_dead, strict),
            self._table("addresses", "address", by_address),
        ]
        for kind in KINDS:
            servers = {"{}:{}".format(*web[f"{host} {kind}"]): f'hosts = ["{name}"]' for host, name in HOSTS.items()}
            tables.append(self._table(kind, "host", servers))
        each = (f'{{ transport = "tcp", direction = "inbound", first = {port} }}' for port in self._ports.values())
        tables.append(SPLIT.format(name="behind", by="line", more="", listen=""))
        tables += [SERVER.format(address=address, key=key) for address, key in by_line.items()]
        rules = RULES.format(ports=", ".join(each), to=red, behind=red.rpartition(":")[2])
        self.firewall = serve("".join(tables) + rules)

    def _table(self, name: str, by: str, servers: dict[str, str], more: str = "") -> str:
        port = self._ports[name] = self._free.pop()
        tables = "".join(SERVER.format(address=address, key=key) for address, key in servers.items())
        return SPLIT.format(name=name, listen=f'"127.0.0.1:{port}"', by=by, more=more) + tables

    def at(self, name: str) -> Address:
        return "127.0.0.1", self._ports[name]

    def rows(self, name: str) -> list[Any]:
        """The records of the connections that a filter has made to servers."""
        found: list[Any] = self.firewall.rows(Interface="emulated for client", DestinationPort=self.at(name)[1])
        return [row for row in found if row["OriginalClientIP"]]


@pytest.fixture(scope="module")
def fronts(serve_for_module: Any, lines: dict[str, socket.socket], web: dict[str, Address]) -> Fronts:
    return Fronts(serve_for_module, lines, web)


# ---- HTTP and TLS ----------------------------------------------------------------------------------------------------


def haproxy(kind: str, web: dict[str, Address]) -> str:
    """HAProxy splitting by the host that HTTP, or TLS, asks for."""
    asked = "req.hdr(host),field(1,:)" if kind == "plain" else "req.ssl_sni"
    wait = "  tcp-request inspect-delay 5s\n  tcp-request content accept if { req.ssl_hello_type 1 }\n"
    front = "  mode http\n" if kind == "plain" else wait
    uses = "".join(f"  use_backend {name} if {{ {asked} -i {name} }}\n" for name in HOSTS.values())
    mode = "  mode http\n" if kind == "plain" else ""
    backs = "".join(
        f"backend {name}\n{mode}  server s {web[f'{host} {kind}'][0]}:{web[f'{host} {kind}'][1]}\n"
        for host, name in HOSTS.items()
    )
    return f"frontend f\n  bind 127.0.0.1:{{port}}\n{front}{uses}{backs}"


@pytest.fixture
def curl(program_path: Callable[[str], str], certificates: Certificates) -> Callable[..., tuple[int, bytes]]:
    def run(kind: str, name: str, port: int, *paths: str) -> tuple[int, bytes]:
        scheme = "http" if kind == "plain" else "https"
        urls = [f"{scheme}://{name}:{port}{path}" for path in paths]
        command = [program_path("curl"), "-q", "-sS", "-m", "20", "--noproxy", "*", "--cacert", str(certificates.ca)]
        resolve = ["--resolve", f"{name}:{port}:127.0.0.1"]
        got = subprocess.run([*command, *resolve, *urls], capture_output=True, check=False)
        return got.returncode, got.stdout

    return run


HAPROXY_LINES = """
frontend f
  bind 127.0.0.1:{{port}}
  tcp-request inspect-delay 5s
  tcp-request content accept if {{ req.len gt 4 }}
  use_backend red if {{ req.payload(0,3) -m str red }}
  use_backend blue if {{ req.payload(0,4) -m str blue }}
backend red
  server s {red}
backend blue
  server s {blue}
"""


@pytest.mark.requires("curl", "nginx")
@pytest.mark.parametrize("front", FRONTS)
def test_by_host(
    fronts: Fronts, web: dict[str, Address], controls: Controls, curl: Any, eventually: Any, front: str
) -> None:
    """B6.27, B3.40: two requests on one connection, and a file; plain and under TLS, whose certificate is right."""
    for kind in KINDS:
        port = fronts.at(kind)[1] if front == "fwx" else controls.haproxy(haproxy(kind, web))[1]
        for host, name in HOSTS.items():
            assert curl(kind, name, port, "/who", "/file") == (0, f"{host}\n".encode() + FILE), (kind, host)
        status, _ = curl(kind, "other.example", port, "/who")
        assert status == (0 if kind == "plain" else 35)  # an answer of HTTP; an alert, or a reset
        if front == "haproxy":
            continue
        found = eventually(lambda: rows if len(rows := fronts.rows(kind)) == 2 else None, "two records")  # noqa: B023
        for row, host in zip(found, HOSTS, strict=True):
            assert (row["Action"], row["rule"], row["filters"]) == (Action.Terminate, "split", kind)
            assert (row["SourceIP"], row["DestinationIP"], row["OriginalClientIP"]) == ("127.0.0.1", "127.0.0.1", host)
            assert row["bytesrecvd"] > len(FILE)
    if front == "fwx":
        # The log is written a little later.
        rows = fronts.firewall.rows
        refused = eventually(
            lambda: told if len(told := [row["reason"] for row in rows() if row["reason"]]) > 1 else None, "both"
        )
        assert refused == ["server-split: no server for host 'other.example'"] * 2
        fronts.firewall.wait_base_line()


@pytest.mark.requires("nginx")
@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n", b"421 Misdirected Request"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"\x00\xff garbage\r\n\r\n", b"400 Bad Request"),
        (b"GET / HTTP/1.1\r\nHost: red.example\r\n" + b"x: y\r\n" * 9000, b"431 Request Header Fields Too Large"),
    ],
)
def test_what_is_refused(fronts: Fronts, client: Any, said: bytes, answer: bytes) -> None:
    with client.connect(fronts.at("plain")) as sock:
        sock.sendall(said)
        assert client.to_end(sock).partition(b"\r\n")[0] == b"HTTP/1.1 " + answer
    fronts.firewall.wait_base_line()


# ---- lines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("front", FRONTS)
def test_by_line(fronts: Fronts, lines: Any, client: Any, controls: Controls, front: str) -> None:
    """Half-closed in both orders; a client's reset reaches the server."""
    if front == "fwx":
        address = fronts.at("lines")
    else:
        address = controls.haproxy(HAPROXY_LINES.format(red=place(lines[RED]), blue=place(lines[BLUE])))
    for host, line in ((RED, b"red one\r\n"), (BLUE, b"blue two\r\n")):
        with client.connect(address) as sock:
            sock.sendall(line + FILE[:1000])
            sock.shutdown(socket.SHUT_WR)
            with taken(lines[host]) as server:
                assert client.to_end(server) == line + FILE[:1000]
                server.sendall(FILE)
                server.shutdown(socket.SHUT_WR)
                assert client.to_end(sock) == FILE
    sock = client.connect(address)
    sock.sendall(b"red three\r\n")
    with taken(lines[RED]) as server:
        assert client.exactly(server, 11) == b"red three\r\n"
        client.reset(sock)
        with pytest.raises(ConnectionResetError):
            server.recv(1)
    fronts.firewall.wait_base_line()


def test_a_reset_of_a_server(fronts: Fronts, lines: Any, client: Any) -> None:
    """It reaches the client; HAProxy makes an end of it."""
    sock = client.connect(fronts.at("lines"))
    sock.sendall(b"red four\r\n")
    server = taken(lines[RED])
    assert client.exactly(server, 10) == b"red four\r\n"
    client.reset(server)
    with pytest.raises(ConnectionResetError):
        sock.recv(1)
    fronts.firewall.wait_base_line()


def test_dead_and_silent(fronts: Fronts, lines: Any, client: Any, eventually: Any) -> None:
    """A dead server has the next one tried; who says nothing, too much, or what fits none, is told so and ended."""
    address = fronts.at("strict")
    with client.connect(address) as sock:
        sock.sendall(b"red or blue\n")
        with taken(lines[BLUE]) as server:
            assert client.exactly(server, 12) == b"red or blue\n"
    for said in (b"red alone\n", b"", b"re", b"x" * 100, b"green\n", b"\x00\n"):
        with client.connect(address) as sock:
            sock.sendall(said)
            assert client.to_end(sock) == b"NO\n", said

    def reasons() -> list[str]:
        rows = fronts.firewall.rows(Interface="the firewall's socket", SourcePort=address[1])
        return [row["reason"] for row in rows if row["reason"]]

    words = (
        f"none of {fronts.dead} answers",
        "nothing to choose by in 0.5 s, after 0 bytes (seconds)",
        "nothing to choose by in 0.5 s, after 2 bytes (seconds)",
        "nothing to choose by in 100 bytes (bytes)",
        "no server for line 'green'",
        "no server for line '\\x00'",
    )
    expected = [f"server-split: {each}" for each in words]
    eventually(lambda: reasons() == expected, f"{expected}")
    assert "Inside server silent" in {alert["event"] for alert in fronts.firewall.alerts()}
    fronts.firewall.wait_base_line()


def test_no_more_than_so_many_of_one_client(fronts: Fronts, lines: Any, client: Any) -> None:
    address = fronts.at("strict")
    held = []
    for _ in range(2):
        held.append(client.connect(address, "127.0.0.9"))
        held[-1].sendall(b"blue\n")
        held.append(taken(lines[BLUE]))
    with pytest.raises(ConnectionResetError):
        client.connect(address, "127.0.0.9").recv(1)
    with client.connect(address, "127.0.0.10") as other:
        other.sendall(b"blue\n")
        with taken(lines[BLUE]) as server:
            assert server.recv(10) == b"blue\n"
    for sock in held:
        sock.close()
    fronts.firewall.wait_base_line()


def test_a_thousand_at_once(fronts: Fronts, lines: Any, client: Any, eventually: Any) -> None:
    """And nothing is left of them."""
    address, before = fronts.at("lines"), len(fronts.rows("lines"))
    clients, servers = [], []
    for number in range(1000):
        clients.append(client.connect(address))
        clients[-1].sendall(b"red %d\n" % number)
        servers.append(taken(lines[RED]))
    for number, server in enumerate(servers):
        line = b"red %d\n" % number
        assert client.exactly(server, len(line)) == line
        server.sendall(line)
        assert client.exactly(clients[number], len(line)) == line
    for sock in (*clients, *servers):
        sock.close()
    fronts.firewall.wait_base_line()
    eventually(lambda: len(fronts.rows("lines")) == before + 1000, "a thousand records")


def test_by_address_and_the_rules(fronts: Fronts, lines: Any, client: Any) -> None:
    """B6.29: the rules judge each client outside as who comes to the server, before the server hears of it."""
    address = fronts.at("addresses")
    for source, host in (("127.0.0.9", RED), ("127.0.0.10", BLUE)):
        with client.connect(address, source) as sock, taken(lines[host]) as server:
            server.sendall(b"hello")  # the server speaks first
            assert client.exactly(sock, 5) == b"hello"
    with client.connect(address, "127.0.0.66") as sock:
        assert client.to_end(sock) == b""
    row = fronts.firewall.wait_row(Action=int(Action.Denied))
    assert (row["resultcode"], row["rule"]) == (int(FWX_E_POLICY_RULES_DENIED), "ban")
    assert (row["SourceIP"], row["OriginalClientIP"]) == ("127.0.0.66", BLUE)
    fronts.firewall.wait_base_line()


@pytest.mark.path(entry="publish", exit="direct", transport="tcp")
@pytest.mark.path(entry="proxy-header", exit="direct", transport="tcp")
def test_a_published_port(fronts: Fronts, lines: Any, client: Any, eventually: Any) -> None:
    """B3.33: a listener of the service's in the place of a socket of the filter's: its PROXY header says who comes."""
    with client.connect(fronts.firewall.address("published")) as sock:
        sock.sendall(b"PROXY TCP4 203.0.113.9 192.0.2.7 40000 80\r\nblue ")
        sock.sendall(b"five\n" + FILE[:1000])
        sock.shutdown(socket.SHUT_WR)
        with taken(lines[BLUE]) as server:
            assert client.to_end(server) == b"blue five\n" + FILE[:1000]
            server.sendall(FILE)
        assert client.to_end(sock) == FILE
    rows = eventually(
        lambda: found if len(found := fronts.firewall.rows(SourceIP="203.0.113.9")) == 2 else None, "two records"
    )
    assert {row["rule"] for row in rows} == {"behind"}
    assert {row["OriginalClientIP"] for row in rows} == {"", BLUE}
    assert {(row["bytessent"], row["bytesrecvd"]) for row in rows} == {(1010, len(FILE))}
    fronts.firewall.wait_base_line()


def test_sigterm_in_the_middle(serve: Any, lines: Any, web: Any, client: Any) -> None:
    """What is open goes on up to its end, who is undecided goes, who comes is turned away; nothing is left."""
    fronts = Fronts(lambda config: serve(config, loop="asyncio"), lines, web)
    undecided, sock = (client.connect(fronts.at("lines")) for _ in range(2))
    undecided.sendall(b"re")
    sock.sendall(b"red\n")
    with taken(lines[RED]) as server:
        assert client.exactly(server, 4) == b"red\n"
        fronts.firewall.tell(signal.SIGTERM)
        fronts.firewall.wait_row(Interface="emulated for client", SourceIP=RED, Action=int(Action.Terminate))
        late = client.connect(fronts.at("lines"))
        late.sendall(b"blue\n")
        with contextlib.suppress(ConnectionResetError):
            assert client.to_end(late) == b""
        server.sendall(FILE)
        server.shutdown(socket.SHUT_WR)
        assert client.to_end(sock) == FILE
        sock.close()
        assert client.to_end(server) == b""
    fronts.firewall.wait_stopped()
    with contextlib.suppress(ConnectionResetError):
        assert client.to_end(undecided) == b""
