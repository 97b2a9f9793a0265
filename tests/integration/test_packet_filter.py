"""The nftables back end in a running service: three namespaces, real packets, and a filter that opens ports.

The client and the server see the firewall from outside; what a test does inside a namespace it does with a socket that
was made there.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fwx.interfaces.hresult import FWX_E_FULLDENY_DROPPED
from fwx.packetfilter.confinement import CAP_NET_ADMIN
from tests.integration.bind_client import BindClient
from tests.integration.namespaces import socket_in

pytestmark = pytest.mark.requires("ip", "nft")

LOOPS = ("uvloop", "asyncio")
FIREWALL4, FIREWALL6 = "10.98.0.1", "2001:db8:98::1"
SERVER = "10.99.0.2"
DOOR = 5000
MANY, ROUNDS = 100, 20
_IP_TRANSPARENT = 19
_PR_CAPBSET_DROP = 24

CONFIG = """
[service]
name = "gateway"

[[listener]]
name = "proxy"
kind = "proxy"
bind = "0.0.0.0:1080"

[packet_filter]
backend = "nftables"
except = ["tcp/22"]
{more}

[[rule]]
name = "any"
action = "allow"
protocols = ["any"]
from = ["any"]
to = ["any"]
"""
# Clients ask for it with the port of their target: open or close a TCP or UDP port, or open and close many.
DOORS = """
import socket

@sdk.implementer(sdk.IFWXAcceptCompletion, sdk.IFWXIOCompletion)
class Door(sdk.Unknown):
    def __init__(self, firewall, protocol, host):
        self.firewall, self.udp = firewall, protocol == sdk.FWX_PROTOCOL_UDP
        self.socket = firewall.CreateNetworkSocket(protocol)
        self.socket.Bind(sdk.SocketAddress(host, {door}), None, None)
        if self.udp:
            self.socket.Recv(None, self, None)
        else:
            self.socket.Listen(64)
            self.socket.Accept(self, 0)

    def CompleteAsyncAccept(self, success, code, listening, accepted, remote, rlen, local, llen, data):
        if success:
            accepted.Send(self.firewall.CreateConstBuffer(b"welcome"), None, 0)
            accepted.Close(False)
            self.socket.Accept(self, 0)

    def CompleteAsyncIO(self, success, code, buffer, client, address, length):
        if success:
            self.socket.SendTo(self.firewall.CreateConstBuffer(b"welcome"), address, None, None, 0)
            self.socket.Recv(None, self, None)

def open_many(firewall):
    sockets = []
    for _ in range({many}):
        sock = firewall.CreateNetworkSocket(sdk.FWX_PROTOCOL_TCP)
        sock.Bind(sdk.SocketAddress("{firewall}", 0), None, None)
        sock.Listen(1)
        sockets.append(sock)
    return sockets

class Session(Session):
    doors = []

    def FirewallEventHandler(self, pProxyEvent):
        connect = pProxyEvent.Parameters.Connect
        port = connect.Address.port
        if port in (7001, 7002, 7003):
            protocol = sdk.FWX_PROTOCOL_UDP if port == 7002 else sdk.FWX_PROTOCOL_TCP
            self.doors.append(Door(self.firewall, protocol, "{firewall6}" if port == 7003 else "{firewall}"))
        elif port == 7008:
            connect.piConnection.AttachDataFilter(Busy(self.firewall), sdk.fwx_dfpc_Middle, None)
        elif port == 7009:
            while self.doors:
                self.doors.pop().socket.Close(False)

class Busy(sdk.DataPump):
    # Each buffer that passes opens some ports and closes those of the one before, until there have been enough.
    def __init__(self, firewall):
        super().__init__()
        self.firewall, self.open, self.left = firewall, [], {rounds}

    def inspect(self, to_server, buffer):
        before, self.open = self.open, []
        if self.left and to_server:
            self.left -= 1
            self.open = open_many(self.firewall)
        for sock in before:
            sock.Close(False)
        return buffer
"""


class Namespaces(NamedTuple):
    """The names of three namespaces; the firewall's has a link to each of the others."""

    client: str
    firewall: str
    server: str
    ip: str
    nft: str

    @property
    def prefix(self) -> tuple[str, ...]:
        return (self.ip, "netns", "exec", self.firewall)

    def table(self) -> dict[str, Any] | None:
        """The service's table as nft shows it: sets by name to elements, and ``rules``; ``None`` without it."""
        command = [*self.prefix, self.nft, "-j", "list", "table", "inet", "fwx_gateway"]
        shown = subprocess.run(command, capture_output=True, text=True, check=False)
        if shown.returncode:
            return None
        listing = json.loads(shown.stdout)["nftables"]
        found: dict[str, Any] = {each["set"]["name"]: each["set"].get("elem", []) for each in listing if "set" in each}
        return {**found, "rules": sum("rule" in each for each in listing)}

    def run(self, *command: str) -> None:
        subprocess.run([*self.prefix, *command], check=True)


@pytest.fixture
def three(namespace: str, program_path: Callable[[str], str]) -> Iterator[Namespaces]:
    """A client's namespace, a firewall's, a server's."""
    ip = program_path("ip")
    names = Namespaces(f"{namespace}-c", namespace, f"{namespace}-s", ip, program_path("nft"))

    def run(*arguments: str) -> None:
        subprocess.run([ip, *arguments], check=True)

    with contextlib.ExitStack() as made:
        for number, name in ((98, names.client), (99, names.server)):
            run("netns", "add", name)
            made.callback(run, "netns", "del", name)
            run("-n", name, "link", "set", "lo", "up")
            run("link", "add", f"fw{number}", "netns", namespace, "type", "veth", "peer", "out0", "netns", name)
            for inside, link, host in ((namespace, f"fw{number}", 1), (name, "out0", 2)):
                run("-n", inside, "address", "add", f"10.{number}.0.{host}/24", "dev", link)
                run("-n", inside, "address", "add", f"2001:db8:{number}::{host}/64", "dev", link, "nodad")
                run("-n", inside, "link", "set", link, "up")
        yield names


@pytest.fixture
def server(three: Namespaces) -> Iterator[None]:
    """What the ports 7001 to 7009 of the server reach: it takes connections and reads them to the end."""
    with contextlib.ExitStack() as opened:
        threads = []
        for port in (7001, 7002, 7003, 7004, 7008, 7009):
            listener = opened.enter_context(socket_in(three.server))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("0.0.0.0", port))
            listener.listen(64)
            threads.append(threading.Thread(target=_read_all, args=(listener,)))
            threads[-1].start()
            opened.callback(listener.shutdown, socket.SHUT_RDWR)
        yield
        opened.close()
        for thread in threads:
            thread.join(10)


def _read_all(listener: socket.socket) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client, contextlib.suppress(ConnectionError):  # what the proxy does with one that is given up
            total = 0
            while data := client.recv(1 << 16):
                total += len(data)
            client.sendall(b"%d" % total)


class Outside:
    """A client in its namespace."""

    def __init__(self, three: Namespaces, opened: contextlib.ExitStack) -> None:
        self._name = three.client
        self._opened = opened

    def connect(self, port: int, host: str = FIREWALL4, seconds: float = 10) -> socket.socket:
        """:raises TimeoutError: what arrives there is dropped."""
        sock = socket_in(self._name, socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._opened.callback(sock.close)
        sock.settimeout(seconds)
        sock.connect((host, port))
        return sock

    def ask(self, port: int) -> socket.socket:
        """A connection through the proxy to *port* of the server."""
        sock = self.connect(1080)
        sock.sendall(b"\5\1\0\5\1\0\1" + socket.inet_aton(SERVER) + port.to_bytes(2, "big"))
        reply = b""
        while len(reply) < 12:
            data = sock.recv(12 - len(reply))
            assert data, reply
            reply += data
        assert reply[3] == 0, reply
        return sock

    def finds(self, port: int = DOOR, host: str = FIREWALL4) -> bytes | None:
        """What a TCP port says; ``None`` where the packets are dropped."""
        try:
            with self.connect(port, host, 0.4) as sock:
                sock.settimeout(60)
                return sock.recv(100)
        except TimeoutError:
            return None

    def hears(self, port: int = DOOR) -> bytes | None:
        """What a UDP port answers; ``None`` when it says nothing."""
        with socket_in(self._name, kind=socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.4)
            sock.sendto(b"hello", (FIREWALL4, port))
            try:
                return sock.recv(100)
            except TimeoutError:
                return None


@pytest.fixture
def outside(three: Namespaces) -> Iterator[Outside]:
    with contextlib.ExitStack() as opened:
        yield Outside(three, opened)


@pytest.fixture
def foreign(three: Namespaces) -> Iterator[None]:
    """Another program on the firewall, on the excepted port 22 and on 5432: it greets and then echoes."""
    with contextlib.ExitStack() as opened:
        threads = []
        for port in (22, 5432):
            listener = opened.enter_context(socket_in(three.firewall))
            listener.bind(("0.0.0.0", port))
            listener.listen()
            threads.append(threading.Thread(target=_greet, args=(listener, opened)))
            threads[-1].start()
            opened.callback(listener.shutdown, socket.SHUT_RDWR)
        yield
        opened.close()
        for thread in threads:
            thread.join(10)


def _greet(listener: socket.socket, opened: contextlib.ExitStack) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        opened.callback(client.close)
        client.sendall(b"foreign")


@pytest.fixture
def gateway(serve: Any, three: Namespaces) -> Callable[..., Any]:
    """Start the service in the firewall's namespace with the filter that opens ports."""
    values = {"door": DOOR, "firewall": FIREWALL4, "firewall6": FIREWALL6, "many": MANY, "rounds": ROUNDS}

    def start(more: str = "", **options: Any) -> Any:
        text = DOORS
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", str(value))
        return serve(CONFIG.format(more=more), prefix=three.prefix, filters={"doors": text}, **options)

    return start


def helper_of(firewall: Any) -> int:
    """The process of the service's helper."""
    children = Path(f"/proc/{firewall.pid}/task/{firewall.pid}/children").read_text().split()
    (helper,) = [int(pid) for pid in children if b"fwx.packetfilter.helper" in _command(int(pid))]
    return helper


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("loop", LOOPS)
def test_a_port_is_closed_then_open_then_closed(
    gateway: Any, three: Namespaces, outside: Outside, server: None, foreign: None, loop: str, eventually: Any
) -> None:
    """B4.21, B6.1: a socket's port is open while the socket is, and nothing else of the firewall is ever."""
    assert outside.finds(5432) == b"foreign"  # the control: without a service everybody gets in
    firewall = gateway(loop=loop)
    assert outside.finds() is outside.hears() is outside.finds(host=FIREWALL6) is None
    outside.ask(7001).close()
    eventually(lambda: outside.finds() == b"welcome", "the port to open")
    assert outside.hears() is outside.finds(host=FIREWALL6) is None
    outside.ask(7002).close()
    eventually(lambda: outside.hears() == b"welcome", "the port to open")
    outside.ask(7003).close()
    eventually(lambda: outside.finds(host=FIREWALL6) == b"welcome", "the port to open")
    table = three.table()
    assert table is not None
    shown = [each["elem"]["val"]["concat"] for name in ("port4", "port6") for each in table[name]]
    assert sorted(shown) == sorted([["tcp", FIREWALL4, DOOR], ["udp", FIREWALL4, DOOR], ["tcp", FIREWALL6, DOOR]])
    outside.ask(7009).close()
    eventually(lambda: not any(three.table()[name] for name in ("port4", "port6")), "the ports to close")  # type: ignore[index]
    assert outside.finds() is outside.hears() is outside.finds(host=FIREWALL6) is None
    assert outside.finds(5432) is None
    assert outside.finds(22) == b"foreign"
    firewall.stop()
    assert three.table() is None
    assert outside.finds(5432) == b"foreign"


def test_what_others_listen_on_is_named(gateway: Any, foreign: None, outside: Outside) -> None:
    """An operator who forgot a port reads of it when the service starts."""
    firewall = gateway()
    assert re.search(r"WARNING: packet filter: tcp/5432 of .* is closed to new clients", firewall.stderr())
    assert "tcp/22 of" not in firewall.stderr()
    assert "tcp/1080 of" not in firewall.stderr()


def test_other_interfaces_are_left_alone(gateway: Any, foreign: None, outside: Outside) -> None:
    gateway('interfaces = ["fw99", "ppp*"]')
    assert outside.finds(5432) == b"foreign"


def test_what_is_diverted_on_purpose_passes(gateway: Any, three: Namespaces, outside: Outside) -> None:
    """Connections to others that nftables gives to a transparent socket of this machine are not the guard's concern."""
    gateway()
    subprocess.run([three.ip, "-n", three.client, "route", "add", "10.99.0.0/24", "via", FIREWALL4], check=True)
    three.run(three.nft, "add table inet divert")
    three.run(three.nft, "add chain inet divert prerouting { type filter hook prerouting priority mangle; }")
    rule = "tcp dport 80 tproxy ip to :1081 meta mark set 1"
    three.run(three.nft, f"add rule inet divert prerouting meta nfproto ipv4 {rule}")
    three.run(three.ip, "rule", "add", "fwmark", "1", "lookup", "100")
    three.run(three.ip, "route", "add", "local", "default", "dev", "lo", "table", "100")
    with socket_in(three.firewall) as listener:
        listener.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
        listener.bind(("0.0.0.0", 1081))
        listener.listen()
        outside.connect(80, SERVER).close()
        with pytest.raises(TimeoutError):
            outside.connect(81, SERVER, 0.4)  # not diverted, and nobody forwards
        with pytest.raises(TimeoutError):
            outside.connect(1081, FIREWALL4, 0.4)


def test_a_service_that_is_killed(
    gateway: Any, three: Namespaces, outside: Outside, server: None, foreign: None, eventually: Any
) -> None:
    """B11.13, B11.14: nothing new comes in but what is excepted; what was there goes on; a new start takes over.

    B11.15, B11.16: no alert is raised meanwhile; what was dropped is logged by the start, which ends the lockdown.
    """
    firewall = gateway()
    helper = helper_of(firewall)
    outside.ask(7001).close()
    kept = outside.connect(22)
    assert kept.recv(100) == b"foreign"
    eventually(lambda: outside.finds() == b"welcome", "the port to open")
    firewall.process.kill()
    firewall.process.wait()
    eventually(lambda: not _command(helper), "the helper to end")
    assert "the service is gone: nothing new is let in" in firewall.stderr()
    table = three.table()
    assert table is not None
    assert not any(elements for name, elements in table.items() if name != "rules")
    assert table["rules"] == 13
    assert [outside.finds(port) for port in (DOOR, 1080, 5432)] == [None] * 3
    assert outside.finds(22) == b"foreign"
    kept.sendall(b"still here")
    again = gateway(folder=firewall.folder)
    row = again.wait_row(resultcode=int(FWX_E_FULLDENY_DROPPED))
    assert re.fullmatch(r"\d+ packets of \d+ bytes were dropped in lockdown", row["reason"])
    assert int(row["reason"].split()[0]) >= 3
    assert again.alerts() == []
    assert "the table fwx_gateway of a run that did not end as it should is replaced" in again.stderr()
    outside.ask(7001).close()
    eventually(lambda: outside.finds() == b"welcome", "the port to open")
    again.stop()
    assert three.table() is None


def test_lockdown_by_hand(gateway: Any, three: Namespaces, outside: Outside, foreign: None) -> None:
    """B11.13: where the operator wants it, a service that is stopped leaves nothing open either."""
    firewall = gateway('lockdown = "always"')
    firewall.stop()
    assert three.table() is not None
    assert [outside.finds(port) for port in (1080, 5432)] == [None] * 2
    assert outside.finds(22) == b"foreign"


LAST = """
[limits]
denials_before_alert = 1

[[alert]]
name = "last"
event = "Client denied too often"
stop_service = true
"""


def test_lockdown_by_an_alert(gateway: Any, three: Namespaces, outside: Outside, foreign: None) -> None:
    """B11.13, B9.18: an alert that stops the service leaves nothing open, whatever ``lockdown`` says."""
    firewall = gateway(LAST)
    sock = outside.connect(1080)
    sock.sendall(b"\5\1\0\5\1\0\1" + socket.inet_aton(FIREWALL4) + (9).to_bytes(2, "big"))
    firewall.wait_stopped()
    assert three.table() is not None
    assert [outside.finds(port) for port in (1080, 5432)] == [None] * 2
    assert outside.finds(22) == b"foreign"


def test_a_helper_that_is_killed(
    gateway: Any, three: Namespaces, outside: Outside, server: None, eventually: Any
) -> None:
    """No port can be opened any more, what was established goes on, and an alert says so; no zombie is left."""
    firewall = gateway()
    passing = outside.ask(7004)
    helper = helper_of(firewall)
    os.kill(helper, signal.SIGKILL)
    eventually(lambda: firewall.alerts(), "the alert")
    eventually(lambda: not Path(f"/proc/{helper}").exists(), "the end of the process")
    (alert,) = firewall.alerts()
    assert alert["event"] == "Packet filter failure"
    assert "the packet filter is lost" in alert["message"]
    passing.sendall(b"12345")
    passing.shutdown(socket.SHUT_WR)
    assert passing.recv(100) == b"5"
    with outside.connect(1080) as refused:  # the filter fails to open its port, so the connection is denied
        refused.sendall(b"\5\1\0\5\1\0\1" + socket.inet_aton(SERVER) + (7001).to_bytes(2, "big"))
        reply = b""
        while data := refused.recv(100):
            reply += data
        assert reply[:2] == b"\5\0"
        assert reply[3] != 0
    assert outside.finds() is None
    firewall.traceback_expected = True  # the filter's
    firewall.stop()
    assert three.table() is not None, "nobody is left who may remove it"
    again = gateway()
    assert "is replaced" in again.stderr()


def test_signals_to_the_whole_group(
    gateway: Any, three: Namespaces, outside: Outside, server: None, eventually: Any
) -> None:
    """systemd sends SIGTERM to every process of a unit: the helper waits for the service's word."""
    firewall = gateway()
    helper = helper_of(firewall)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(helper, number)
    outside.ask(7001).close()
    eventually(lambda: outside.finds() == b"welcome", "the port to open")
    firewall.stop()
    assert three.table() is None
    assert not _command(helper)


def test_a_table_that_another_program_flushes(
    gateway: Any, three: Namespaces, outside: Outside, foreign: None, eventually: Any
) -> None:
    """It is put back, and an alert says so."""
    firewall = gateway()
    three.run(three.nft, "flush", "ruleset")
    eventually(lambda: three.table() is not None, "the table to come back")
    eventually(lambda: firewall.alerts(), "the alert")
    (alert,) = firewall.alerts()
    assert alert["event"] == "Packet filter changed by others"
    assert alert["message"] == "the table fwx_gateway is gone"
    assert outside.finds(5432) is None
    outside.connect(1080).close()


def test_two_services_of_one_name(gateway: Any, serve: Any, three: Namespaces, outside: Outside) -> None:
    """The second one leaves the first one's table alone."""
    gateway()
    folder = serve.make_folder()
    command, environment = serve.command(folder, "")
    path = folder / "fwx.toml"
    path.write_text(CONFIG.format(more="").replace(":1080", ":1081"))
    ended = subprocess.run(
        [*three.prefix, *command, "--config", str(path)], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=30, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "keeps the table fwx_gateway: is fwx running already?" in ended.stderr
    outside.connect(1080).close()


def drop_net_admin() -> None:
    """Take CAP_NET_ADMIN from what is run next, root or not."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_CAPBSET_DROP, CAP_NET_ADMIN, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def test_without_privileges_it_does_not_start(serve: Any, three: Namespaces) -> None:
    """A firewall fails closed: no service without the packet filter that was asked for."""
    folder = serve.make_folder()
    command, environment = serve.command(folder, "")
    path = folder / "fwx.toml"
    path.write_text(CONFIG.format(more="").replace("0.0.0.0:1080", "127.0.0.1:0"))
    ended = subprocess.run(
        [*command, "--config", str(path)], cwd=folder, env=environment, capture_output=True, text=True, timeout=30,
        check=False, preexec_fn=drop_net_admin,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "needs the capability CAP_NET_ADMIN" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("loop", LOOPS)
def test_openings_while_a_transfer_runs(
    gateway: Any, three: Namespaces, outside: Outside, server: None, loop: str, eventually: Any
) -> None:
    """Thousands of ports are opened and closed by the filter that the data passes through; nothing of it is lost."""
    firewall = gateway(loop=loop)
    block, blocks = bytes(1 << 16), 500
    with outside.ask(7008) as passing:
        passing.sendall(block)
        eventually(lambda: len(three.table()["port4"]) == MANY, "the first ports to open")  # type: ignore[index]
        for _ in range(blocks - 1):
            passing.sendall(block)
        passing.shutdown(socket.SHUT_WR)
        assert passing.recv(100) == b"%d" % (len(block) * blocks)
    eventually(lambda: not three.table()["port4"], "the ports to close")  # type: ignore[index]
    firewall.wait_base_line()
    firewall.stop()
    told = re.search(r"packet filter: (\d+) openings in (\d+) transactions", firewall.stderr())
    assert told is not None, firewall.stderr()
    opened, transactions = int(told[1]), int(told[2])
    # What was closed before it was its turn was never opened in the kernel; the listener's port was one more.
    assert MANY < opened <= MANY * ROUNDS + 1
    assert transactions <= 2 * ROUNDS + 2
    assert not firewall.alerts()


@pytest.mark.parametrize("how", ["comes", "goes away"])
def test_bind_of_a_client(serve: Any, three: Namespaces, outside: Outside, eventually: Any, how: str) -> None:
    """B6.1: the port that a client of BIND waits at is closed, open for as long as it waits, and closed again."""
    config = CONFIG.format(more="").replace('to = ["any"]', 'to = ["any", "localhost"]')
    firewall = serve(config, prefix=three.prefix)

    def comes(port: int, seconds: float = 0.4) -> socket.socket | None:
        sock = socket_in(three.server)
        sock.settimeout(seconds)
        try:
            sock.connect(("10.99.0.1", port))
        except TimeoutError:
            sock.close()
            return None
        return sock

    before = three.table()
    assert comes(50_000) is None
    with BindClient(outside.connect(1080)) as client:
        host, port = client.bind((SERVER, 0))
        assert host == "10.99.0.1"
        during = three.table()
        assert before is not None
        assert during is not None
        opened = [name for name, elements in during.items() if elements != before[name]]
        assert len(opened) == 1, during
        assert str(port) in json.dumps(during[opened[0]])
        if how == "comes":
            peer = comes(port, 10)
            assert peer is not None
            with peer:
                assert client.reply() == peer.getsockname()
                eventually(lambda: three.table() == before, "the port to be closed")
                peer.sendall(b"still open")
                assert client.receive(10) == b"still open"
                assert comes(port) is None
    eventually(lambda: three.table() == before, "the port to be closed")
    assert comes(port) is None
    firewall.wait_base_line()
