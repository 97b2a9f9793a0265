"""UDP ASSOCIATE in a running service, by a client as RFC 1928 has it, which Dante has shown to be right."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fwx.impl.datagramconnection import MOST_DESTINATIONS
from fwx.impl.logrecord import Action
from fwx.interfaces.hresult import (
    E_UNEXPECTED,
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_IS_BUSY,
    FWX_E_POLICY_RULES_DENIED,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAEADDRINUSE,
    WSAECONNABORTED,
    WSAECONNREFUSED,
    WSAECONNRESET,
)
from tests.integration.associate import Associated, Refused
from tests.integration.proxies import PASSWORD, USER, Proxies
from tests.integration.test_proxy_clients import USERS
from tests.name_server import ADDRESS, NAME, name_server

Address = tuple[str, int]

LISTENER = """
[[listener]]
name = "proxy"
kind = "proxy"
bind = "{bind}"
authenticate = "{demand}"
"""
RULE = """
[[rule]]
name = "{name}"
action = "{action}"
protocols = ["any"]
from = ["localhost"]
to = [{to}]
"""
QUICK = "import fwx.service; fwx.service.UDP_IDLE_SECONDS = 0.2\n"
# Of the UDP events: who they are about, what they bring; and what is done with them.
EVENTS = """
@sdk.implementer(sdk.IFWXDataFilter, sdk.IFWXIOCompletion)
class Both(sdk.Unknown):
    def SetSockets(self, internal, external, connection, context):
        self.sockets = {"to the server": (internal, external), "to the client": (external, internal)}
        for direction, (source, sink) in self.sockets.items():
            source.Recv(None, self, direction)

    def CompleteAsyncIO(self, success, code, buffer, direction, address, length):
        if success:
            source, sink = self.sockets[direction]
            print("passed", direction, bytes(buffer.GetBufferAndSize()).decode(), address, file=sys.stderr, flush=True)
            sink.SendTo(buffer, address, None, None, 0)
            source.Recv(None, self, direction)

    def Detach(self):
        print("detached", file=sys.stderr, flush=True)
        self.sockets = None

class Session(Session):
    def __init__(self, firewall, session):
        self.session = session

    def FirewallEventHandler(self, pProxyEvent):
        try:
            user = self.session.GetAuthenticatedUser().Username
        except sdk.COMError:
            user = "nobody"
        source = "WSP" if pProxyEvent.EventSource == sdk.fwxSourceWSP else "NAT"
        if pProxyEvent.EventType == sdk.fwx_Bind_Udp:
            details = pProxyEvent.Parameters.Bind
            print("bind", source, user, details.Address, file=sys.stderr, flush=True)
            self.bound(details)
        elif pProxyEvent.EventType == sdk.fwx_Udp_Destination:
            details = pProxyEvent.Parameters.UdpDest
            print("destination", source, user, details.Address, file=sys.stderr, flush=True)
            self.met(details)

    def bound(self, details):
        pass

    def met(self, details):
        pass

    def Detach(self):
        self.session = None

class Filter(Filter):
    def FilterInit(self, pIFWXFirewall):
        return sdk.FwxFilterHookEvents(sdk.fwx_Bind_Udp | sdk.fwx_Udp_Destination | sdk.FWX_ALL_SOURCES)

    def AttachToSession(self, piSession, pFilterHookEvents):
        return Session(None, piSession)
"""
# Lets each connection deal with 127.0.0.1 alone, and with nobody once it has passed what says so.
RESTRICTING = """
from ipaddress import IPv4Address

class Restricting(Both):
    def __init__(self, firewall, connection):
        self.firewall, self.connection = firewall, connection
        only = firewall.CreateIpFilter()
        only.IncludeRange(IPv4Address("127.0.0.1"), IPv4Address("127.0.0.1"))
        connection.SetIpFilter(only)

    def CompleteAsyncIO(self, success, code, buffer, direction, address, length):
        if success and bytes(buffer.GetBufferAndSize()).startswith(b"nobody"):
            self.connection.SetIpFilter(self.firewall.CreateIpFilter())
        if success and address is None:
            source, sink = self.sockets[direction]
            sink.Send(buffer, None, 0)
            source.Recv(None, self, direction)
        else:
            super().CompleteAsyncIO(success, code, buffer, direction, address, length)

class Session(Session):
    def __init__(self, firewall):
        self.firewall = firewall

    def FirewallEventHandler(self, pProxyEvent):
        parameters = pProxyEvent.Parameters
        is_bind = pProxyEvent.EventType == sdk.fwx_Bind_Udp
        connection = (parameters.Bind if is_bind else parameters.Connect).piConnection
        connection.AttachDataFilter(Restricting(self.firewall, connection), sdk.fwx_dfpc_Middle, None)

    def Detach(self):
        self.firewall = None

class Filter(Filter):
    def FilterInit(self, pIFWXFirewall):
        self.firewall = pIFWXFirewall
        return sdk.FwxFilterHookEvents(sdk.fwx_Bind_Udp | sdk.fwx_Connect_Tcp | sdk.FWX_ALL_SOURCES)

    def AttachToSession(self, piSession, pFilterHookEvents):
        return Session(self.firewall)
"""


def doing(**methods: str) -> dict[str, str]:
    """A filter that says what it sees, and runs *methods* (``bound``, ``met``) when it sees it."""
    bodies = "".join(f"    def {name}(self, details):\n        {body}\n" for name, body in methods.items())
    return {"watcher": "import sys\n" + EVENTS + "\nclass Session(Session):\n" + (bodies or "    pass\n")}


@pytest.fixture
def proxies(serve: Any, eventually: Any, program_path: Callable[[str], str]) -> Iterator[Proxies]:
    proxies = Proxies(program_path, serve.make_folder, eventually)
    yield proxies
    proxies.close()


@pytest.fixture
def proxy(serve: Any, proxies: Proxies) -> Callable[..., Address]:
    """Start a proxy of a kind, ``fwx`` or ``dante``, that authenticates nobody or everybody."""

    def start(kind: str, *, account: bool = False) -> Address:
        if kind == "dante":
            return proxies.start(kind, account=account)
        demand = "required" if account else "off"
        address: Address = serve(LISTENER.format(bind="127.0.0.1:0", demand=demand) + USERS * account).address()
        return address

    return start


KINDS = [pytest.param("dante", marks=pytest.mark.requires("danted")), "fwx"]


# ---- it works, as with Dante ---------------------------------------------------------------------------------------


@pytest.mark.path(entry="socks5", exit="direct", transport="udp")
@pytest.mark.parametrize("claims", ["nothing", "itself"])
@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(proxy: Any, associate: Any, upper: Any, kind: str, claims: str) -> None:
    """An address, a name whose answer comes from the address, several servers at once, datagrams of all sizes."""
    made = associate(proxy(kind), claims=claims)
    servers = [upper() for _ in range(5)]
    for server in servers:
        made.say(b"from %d" % server.address[1], server.address)
        server.answer()
    answers = [made.hear() for _ in servers]
    assert sorted(answers) == sorted((b"FROM %d" % server.address[1], server.address) for server in servers)
    server = servers[0]
    made.say(b"by name", ("localhost", server.address[1]))
    server.answer()
    assert made.hear() == (b"BY NAME", server.address)
    for size in (0, 1, 1400, 9000, 65507 - 10):
        made.say(b"x" * size, server.address)
        assert len(server.answer()[0]) == size
        assert made.hear() == (b"X" * size, server.address)


@pytest.mark.path(entry="socks5", exit="direct", transport="udp")
@pytest.mark.parametrize("kind", KINDS)
def test_with_a_password(proxy: Any, associate: Any, upper: Any, kind: str) -> None:
    made, server = associate(proxy(kind, account=True), (USER, PASSWORD)), upper()
    made.say(b"hello", server.address)
    server.answer()
    assert made.hear() == (b"HELLO", server.address)


@pytest.mark.parametrize("kind", KINDS)
def test_fragments_and_strangers_are_dropped(proxy: Any, associate: Any, upper: Any, kind: str) -> None:
    """From another port of the same host once the client is known; with a FRAG; the client is served on."""
    made, server = associate(proxy(kind), claims="itself"), upper()
    made.say(b"hello", server.address)
    server.answer()
    assert made.hear() == (b"HELLO", server.address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"\0\0\0\1" + socket.inet_aton("127.0.0.1") + server.address[1].to_bytes(2, "big") + b"forged",
                        made.relay)  # fmt: skip
        made.say(b"part", server.address, fragment=1)
        made.say(b"last part", server.address, fragment=0x82)
        made.say(b"whole", server.address)
        assert server.answer()[0] == b"whole"
    assert made.hear() == (b"WHOLE", server.address)
    assert server.heard_nothing()


@pytest.mark.parametrize("kind", KINDS)
def test_it_ends_with_the_control_connection(
    proxy: Any, associate: Any, upper: Any, kind: str, eventually: Any
) -> None:
    made, server = associate(proxy(kind)), upper()
    made.say(b"hello", server.address)
    server.answer()
    made.hear()
    made.control.close()
    # The relay port is closed: whoever sends there hears so from the kernel.
    made.datagrams.connect(made.relay)

    def is_gone() -> bool:
        try:
            made.datagrams.send(b"x")
            made.datagrams.settimeout(0.05)
            made.datagrams.recv(1)
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False
        return False

    eventually(is_gone, "the relay port to be closed")


@pytest.mark.path(entry="socks5", exit="direct", transport="udp")
@pytest.mark.requires("dig", "dnsmasq")
def test_dig_through_an_association(serve: Any, associate: Any, program_path: Callable[[str], str]) -> None:
    """A real query of dig, which the client carries, to a real name server."""
    firewall = serve("")
    with name_server(program_path("dnsmasq")) as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind(("127.0.0.1", 0))
        door.settimeout(60)
        made = associate(firewall.address())
        command = [program_path("dig"), "+short", "+tries=1", "-p", str(door.getsockname()[1]), "@127.0.0.1", NAME]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as asking:
            query, asker = door.recvfrom(4096)
            answer, source = made.ask(query, ("127.0.0.1", port))
            door.sendto(answer, asker)
            assert asking.communicate(timeout=60)[0].strip() == ADDRESS
        assert source == ("127.0.0.1", port)
        made.control.close()
        row = firewall.wait_row(DestinationPort=port)
        assert (row["bytessent"], row["bytesrecvd"]) == (len(query), len(answer))


# ---- whose it is ---------------------------------------------------------------------------------------------------


@pytest.mark.path(entry="socks5", exit="direct", transport="udp")
def test_ipv6(serve: Any, associate: Any, upper: Any) -> None:
    """The relay is on the address that the client has reached, of its family; destinations are of both."""
    firewall = serve(LISTENER.format(bind="[::1]:0", demand="off"))
    made, servers = associate(firewall.address()), [upper(), upper("::1")]
    assert made.relay[0] == "::1"
    for server in servers:
        made.say(b"hello", server.address)
        server.answer()
        assert made.hear() == (b"HELLO", server.address)
    made.close()
    rows = firewall.wait_rows(2)
    assert {row["DestinationIP"] for row in rows} == {"127.0.0.1", "::1"}
    firewall.wait_base_line()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_the_log(serve: Any, associate: Any, upper: Any, loop: str) -> None:
    """One record for each destination, with the user, the port that the client sends from, bytes and rule."""
    to = RULE.format(name="far", action="allow", to='"localhost"') + f'users = ["{USER}"]\n'
    firewall = serve(LISTENER.format(bind="0.0.0.0:0", demand="required") + USERS + to, loop=loop)
    proxy = ("127.0.0.1", firewall.address()[1])
    made, server = associate(proxy, (USER, PASSWORD)), upper()
    assert made.relay[0] == "127.0.0.1"
    made.say(b"hello", server.address)
    server.answer()
    made.hear()
    port = made.name[1]
    made.close()
    row = firewall.wait_row()
    assert (row["Action"], row["protocol"], row["rule"], row["Interface"]) == (Action.Terminate, "UDP", "far", "proxy")
    assert (row["ClientUserName"], row["SourceIP"], row["SourcePort"]) == (USER, "127.0.0.1", port)
    assert (row["bytessent"], row["bytesrecvd"], row["DestinationPort"]) == (5, 5, server.address[1])
    firewall.wait_base_line()


def test_the_log_of_one_that_says_nothing(serve: Any, associate: Any) -> None:
    """B9.11: it had a user and an open port, so one record tells of it, with the port."""
    firewall = serve(LISTENER.format(bind="127.0.0.1:0", demand="required") + USERS)
    made = associate(firewall.address(), (USER, PASSWORD))
    made.close()
    row = firewall.wait_row()
    assert (row["Action"], row["protocol"], row["resultcode"]) == (Action.Terminate, "UDP", 0)
    assert (row["ClientUserName"], row["SourceIP"], row["Interface"]) == (USER, "127.0.0.1", "proxy")
    assert (row["DestinationIP"], row["DestinationPort"]) == made.relay
    assert (row["bytessent"], row["bytesrecvd"], row["rule"]) == (0, 0, "")
    firewall.wait_base_line()


def test_each_destination_is_judged(serve: Any, associate: Any, upper: Any) -> None:
    """By name too: what a rule denies is thrown away and logged once; the association goes on."""
    bad = '[[domains]]\nname = "bad"\nnames = ["localhost"]\n' + RULE.format(name="no", action="deny", to='"bad"')
    firewall = serve(bad + RULE.format(name="yes", action="allow", to='"localhost"'))
    made, server = associate(firewall.address()), upper()
    for _ in range(3):
        made.say(b"no", ("localhost", server.address[1]))
    made.say(b"no", ("192.0.2.1", 53))
    made.say(b"yes", server.address)
    assert server.answer()[0] == b"yes"
    assert made.hear() == (b"YES", server.address)
    denied = firewall.wait_rows(2, Action=int(Action.Denied))
    assert {(row["rule"], row["DestinationName"] or row["DestinationIP"]) for row in denied} == {
        ("no", "localhost"), ("Default rule", "192.0.2.1")
    }  # fmt: skip
    assert {row["resultcode"] for row in denied} == {int(FWX_E_POLICY_RULES_DENIED)}


def test_the_services_own_ports_are_no_destination(serve: Any, associate: Any) -> None:
    """An association cannot reach the relay of another, which would take it for its client."""
    firewall = serve("")
    first, second = associate(firewall.address()), associate(firewall.address())
    for relay in (first.relay, second.relay):
        first.say(b"\0\0\0\1\x7f\0\0\1\0\x35", relay)
    for row in firewall.wait_rows(2, Action=int(Action.Denied)):
        assert "is a listener of this service" in row["reason"]


def test_a_place_for_each_association(serve: Any, associate: Any) -> None:
    """B11.3: ``udp_per_address``: the oldest makes room for one more, whose control connection ends, and is logged."""
    firewall = serve("[limits]\nudp_per_address = 2\n")
    made = [associate(firewall.address()) for _ in range(3)]
    assert made[0].control.recv(1) == b""
    row = firewall.wait_row(Action=int(Action.Terminate))
    assert (row["resultcode"], row["protocol"]) == (int(FWX_E_IS_BUSY), "UDP")
    assert row["reason"] == "made room for a newer one: 127.0.0.1 has 2 UDP sessions (udp_per_address)"
    for each in made:
        each.close()
    firewall.wait_base_line()


def test_a_client_behind_an_address_translator(serve: Any, associate: Any, upper: Any) -> None:
    """It claims an address that nobody here knows: the first good datagram of the control connection's host counts."""
    made, server = associate(serve("").address(), claims="10.9.8.7"), upper()
    made.say(b"hello", server.address)
    server.answer()
    assert made.hear() == (b"HELLO", server.address)


@pytest.mark.path(entry="proxy-header", exit="direct", transport="udp")
def test_behind_a_proxy_header(serve: Any, associate: Any, upper: Any) -> None:
    """The client is the header's: it sends to the address that the sender of the header has reached."""
    keys = 'proxy_protocol = "require"\ntrusted = ["127.0.0.1"]\n'
    firewall = serve(LISTENER.format(bind="127.0.0.1:0", demand="off") + keys)
    made = associate(firewall.address(), prelude=b"PROXY TCP4 127.0.0.1 192.0.2.9 1111 1080\r\n")
    server = upper()
    made.say(b"hello", server.address)
    server.answer()
    assert made.hear() == (b"HELLO", server.address)
    made.close()
    assert firewall.wait_row()["SourceProxy"] == "127.0.0.1"
    with pytest.raises(Refused):
        associate(firewall.address(), prelude=b"PROXY TCP6 2001:db8::1 2001:db8::2 1111 1080\r\n")
    reason = firewall.wait_row(Action=int(Action.Failed))["reason"]
    assert reason == "2001:db8::1 cannot send datagrams to 127.0.0.1, which its control connection has reached"
    firewall.wait_base_line()


# ---- filters -------------------------------------------------------------------------------------------------------


@pytest.mark.path(entry="socks5", exit="direct", transport="udp")
def test_a_filter_sees_whose_it_is_and_watches_one_destination(serve: Any, associate: Any, upper: Any) -> None:
    """B2.15, B2.18, B2.20, B3.21: both events come from a Firewall client whose user is known; what is attached for a
    destination has its datagrams alone, with their addresses, and is detached with it."""
    servers = [upper(), upper()]
    attach = f"if details.Address.port == {servers[0].address[1]}: "
    attach += "details.piConnection.AttachDataFilter(Both(), sdk.fwx_dfpc_Middle, None)"
    config = LISTENER.format(bind="127.0.0.1:0", demand="required") + USERS
    firewall = serve(config, filters=doing(met=attach))
    made = associate(firewall.address(), (USER, PASSWORD))
    for server in servers:
        made.say(b"hello", server.address)
        server.answer()
        assert made.hear() == (b"HELLO", server.address)
    made.close()
    rows = firewall.wait_rows(2)
    assert {(row["DestinationPort"], row["filters"]) for row in rows} == {
        (servers[0].address[1], "watcher"), (servers[1].address[1], "")
    }  # fmt: skip
    said = [line for line in firewall.stderr().splitlines() if not line.startswith("fwx:")]
    watched = f"127.0.0.1:{servers[0].address[1]}"
    assert said == [
        f"bind WSP {USER} {made.relay[0]}:{made.relay[1]}",
        f"destination WSP {USER} {watched}",
        f"passed to the server hello {watched}",
        f"passed to the client HELLO {watched}",
        f"destination WSP {USER} {servers[1].address[0]}:{servers[1].address[1]}",
        "detached",
    ]


@pytest.mark.path(entry="socks5", exit="direct", transport="udp")
def test_a_filter_sees_all_for_as_long_as_one_destination_lives(serve: Any, associate: Any, upper: Any) -> None:
    """B2.16, B2.18: attached with a destination, it has the datagrams of the other one too, until the first one makes
    room; then the other one goes on without it."""
    its, other = upper(), upper()
    attach = f"""if details.Address.port == {its.address[1]}:
            details.piConnection.AttachDataFilterWithDestination(
                Both(), sdk.fwx_dfpc_Middle, None, details.Address, details.AddressLength)"""
    firewall = serve("", filters=doing(met=attach))
    made = associate(firewall.address())

    def asked(server: Any, data: bytes) -> None:
        made.say(data, server.address)
        server.answer()
        assert made.hear() == (data.upper(), server.address)

    asked(other, b"before")
    asked(its, b"its")
    asked(other, b"between")
    # What was quiet for longest is its destination; the other one is asked once more meanwhile.
    for number in range(MOST_DESTINATIONS - 1):
        made.say(b"room", (f"127.0.2.{number + 1}", 9))
    row = firewall.wait_row(DestinationPort=its.address[1])
    assert (row["Action"], row["resultcode"], row["filters"]) == (Action.Terminate, S_OK, "watcher")
    asked(other, b"after")
    said = [
        line
        for line in firewall.stderr().splitlines()
        if line.startswith(("passed", "detached")) and "room" not in line
    ]
    its_name, other_name = (f"127.0.0.1:{server.address[1]}" for server in (its, other))
    assert said == [
        f"passed to the server its {its_name}",
        f"passed to the client ITS {its_name}",
        f"passed to the server between {other_name}",
        f"passed to the client BETWEEN {other_name}",
        "detached",
    ]


@pytest.mark.path(entry="socks5", exit="direct", transport="udp")
@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
def test_a_filter_says_with_whom_a_connection_may_deal(
    serve: Any, associate: Any, client: Any, origin: Any, upper: Any
) -> None:
    """B6.31 to B6.34: over UDP a destination outside is refused, one that is there ends when the filter changes; over
    TCP nobody outside is connected to, and an established connection ends."""
    firewall = serve("", filters={"watcher": "import sys\n" + EVENTS + RESTRICTING})
    inside, outside = upper(), upper("127.0.0.2")
    made = associate(firewall.address())
    made.say(b"lost", outside.address)
    made.say(b"hello", inside.address)
    inside.answer()
    assert made.hear() == (b"HELLO", inside.address)
    assert outside.heard_nothing()
    made.say(b"nobody now", inside.address)
    rows = firewall.wait_rows(2, DestinationPort=inside.address[1], resultcode=int(FWX_E_ADDRESS_NOT_ALLOWED))
    assert [row["Action"] for row in rows] == [Action.Terminate, Action.Denied]
    assert inside.heard_nothing()
    made.close()
    row = firewall.wait_row(DestinationPort=outside.address[1])
    assert (row["Action"], row["resultcode"]) == (Action.Denied, int(FWX_E_ADDRESS_NOT_ALLOWED))
    echo = origin("echo")
    assert client.socks_code(firewall.address(), ("127.0.0.2", echo.port)) == 2
    opened = client.socks(firewall.address(), echo.address)
    opened.sendall(b"hello")
    assert client.exactly(opened, 5) == b"hello"
    opened.sendall(b"nobody now")
    with pytest.raises(ConnectionResetError):
        opened.recv(100)
    rows = firewall.wait_rows(2, protocol="TCP", resultcode=int(FWX_E_ADDRESS_NOT_ALLOWED))
    assert [row["Action"] for row in rows] == [Action.Denied, Action.Terminate]
    firewall.wait_base_line()


def test_a_filter_denies_the_bind(serve: Any) -> None:
    """B2.36, B2.37: no association; the record says by whom."""
    firewall = serve("", filters=doing(bound="details.piConnection.Deny(0)"))
    with pytest.raises(Refused) as refused:
        Associated(firewall.address())
    assert refused.value.args == (2,)
    row = firewall.wait_row()
    assert (row["Action"], row["resultcode"]) == (Action.Denied, int(HRESULT_FROM_WIN32(WSAEADDRINUSE)))
    assert row["reason"] == "denied by filter 'watcher'"
    firewall.wait_base_line()


def test_a_filter_denies_a_destination(serve: Any, associate: Any, upper: Any) -> None:
    """B2.19: this datagram and the later ones are thrown away; another destination is not harmed."""
    servers = [upper(), upper()]
    deny = f"if details.Address.port == {servers[0].address[1]}: details.piUdpDestination.Deny(0)"
    firewall = serve("", filters=doing(met=deny))
    made = associate(firewall.address())
    for server in (servers[0], servers[0], servers[1]):
        made.say(b"hello", server.address)
    servers[1].answer()
    assert made.hear() == (b"HELLO", servers[1].address)
    assert servers[0].heard_nothing()
    row = firewall.wait_row(Action=int(Action.Denied))
    assert (row["resultcode"], row["reason"]) == (
        int(HRESULT_FROM_WIN32(WSAECONNREFUSED)), "denied by filter 'watcher'"
    )  # fmt: skip


@pytest.mark.parametrize("event", ["bound", "met"])
def test_a_filter_that_raises(serve: Any, associate: Any, upper: Any, event: str) -> None:
    """It fails closed: no association, or none of its destinations; the log names the filter."""
    firewall = serve("", filters=doing(**{event: "raise RuntimeError('broken')"}))
    firewall.traceback_expected = True
    server = upper()
    if event == "bound":
        with pytest.raises(Refused):
            Associated(firewall.address())
    else:
        made = associate(firewall.address())
        made.say(b"hello", server.address)
    row = firewall.wait_row()
    assert (row["Action"], row["resultcode"]) == (Action.Denied, int(E_UNEXPECTED))
    assert "watcher" in row["reason"]
    assert server.heard_nothing()


def test_a_filter_kills_it(serve: Any, associate: Any, upper: Any) -> None:
    """B3.32: the control connection goes too."""
    firewall = serve("", filters=doing(met="details.piConnection.Kill()"))
    made, server = associate(firewall.address()), upper()
    made.say(b"hello", server.address)
    assert made.has_ended()
    assert server.heard_nothing()
    firewall.wait_base_line()


# ---- the ends ------------------------------------------------------------------------------------------------------


def test_a_reset_of_the_control_connection(serve: Any, associate: Any, upper: Any) -> None:
    firewall = serve("")
    made, server = associate(firewall.address()), upper()
    made.say(b"hello", server.address)
    server.answer()
    made.hear()
    made.reset()
    row = firewall.wait_row()
    assert (row["Action"], row["resultcode"]) == (Action.Terminate, int(HRESULT_FROM_WIN32(WSAECONNRESET)))
    assert row["reason"].startswith("the control connection failed: ")
    firewall.wait_base_line()


def test_what_comes_on_the_control_connection_means_nothing(serve: Any, associate: Any, upper: Any) -> None:
    firewall = serve("")
    made, server = associate(firewall.address()), upper()
    made.control.sendall(b"x" * (1 << 20))
    made.say(b"hello", server.address)
    server.answer()
    assert made.hear() == (b"HELLO", server.address)
    made.control.shutdown(socket.SHUT_WR)
    assert made.has_ended()
    firewall.wait_base_line()


def test_quiet_ones_end(serve: Any, associate: Any, upper: Any) -> None:
    firewall = serve("", prelude=QUICK)
    made, server = associate(firewall.address()), upper()
    made.say(b"hello", server.address)
    server.answer()
    made.hear()
    assert made.has_ended()
    assert firewall.wait_row()["resultcode"] == 0
    firewall.wait_base_line()


def test_the_service_stops(serve: Any, associate: Any, upper: Any) -> None:
    """UDP is not drained: the association ends at once, with its records."""
    firewall = serve("")
    made, server = associate(firewall.address()), upper()
    made.say(b"hello", server.address)
    server.answer()
    made.hear()
    firewall.tell(signal.SIGTERM)
    assert made.has_ended(5)
    firewall.wait_stopped(seconds=5)
    assert [(row["Action"], row["reason"]) for row in firewall.rows()] == [(Action.Terminate, "the service stopped")]


# ---- attacks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["strangers", "fragments", "malformed"])
def test_floods(serve: Any, associate: Any, upper: Any, what: str) -> None:
    """Twenty thousand datagrams that are dropped: the client is served, memory stays, one record says how many."""
    firewall = serve("")
    made, server = associate(firewall.address(), claims="itself"), upper()
    made.say(b"hello", server.address)
    server.answer()
    made.hear()
    before = firewall.memory()
    good = b"\0\0\0\1" + socket.inet_aton("127.0.0.1") + server.address[1].to_bytes(2, "big") + b"x"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        sender = stranger if what == "strangers" else made.datagrams
        bad = {"strangers": good, "fragments": good[:2] + b"\1" + good[3:], "malformed": b"\0\0\0\2" + good}[what]
        for _ in range(20_000):
            sender.sendto(bad, made.relay)
    for _ in range(200):  # what finds no room in the relay's buffer is lost
        made.say(b"still here", server.address)
        server.socket.settimeout(0.1)
        try:
            assert server.answer()[0] == b"still here"
        except TimeoutError:
            continue
        break
    assert made.hear() == (b"STILL HERE", server.address)
    assert firewall.memory() - before < 8 << 20
    made.close()
    row = firewall.wait_row(Action=int(Action.Denied))
    assert row["resultcode"] == int(FWX_E_ADDRESS_NOT_ALLOWED)
    count, kind = row["reason"].removeprefix("datagrams were dropped: ").split(" ", 1)
    assert int(count) > 100
    assert what in kind
    firewall.wait_base_line()


def test_a_thousand_destinations(serve: Any, associate: Any, upper: Any) -> None:
    """At most 160 are known at a time, each of the thousand is logged, and the last ones still answer."""
    firewall = serve("")
    made, server = associate(firewall.address()), upper()
    for port in range(20000, 21000):
        made.say(b"x", (f"127.7.{port >> 8 & 7}.{port & 255}", port))
        if not port % 100:  # in step with the relay, whose buffer is bounded
            made.say(b"hello", server.address)
            server.answer()
            made.hear()
    made.close()
    rows = firewall.wait_rows(1000 + 1)
    assert len({(row["DestinationIP"], row["DestinationPort"]) for row in rows}) == 1001
    firewall.wait_base_line()


def test_the_client_goes_away_as_it_asks(serve: Any, client: Any, eventually: Any) -> None:
    """Half a request and all of one, followed by a reset: nothing is kept."""
    firewall = serve("")
    for request in (b"\x05\x01\x00\x05\x03\x00", b"\x05\x01\x00\x05\x03\x00\x01\0\0\0\0\0\0"):
        for _ in range(20):
            opened = client.connect(firewall.address())
            opened.sendall(request)
            client.reset(opened)
    firewall.wait_base_line()
    assert all(
        row["resultcode"] in {int(HRESULT_FROM_WIN32(code)) for code in (WSAECONNRESET, WSAECONNABORTED)}
        for row in firewall.rows()
    )
