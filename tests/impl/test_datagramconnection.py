"""The UDP socket of a client: destinations judged once, shown to filters, counted, logged; nothing else comes back."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from zope.interface import implementer

from fwx import sdk
from fwx.impl import datagramconnection
from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.logrecord import Action
from fwx.impl.packetfilter import Claim
from fwx.impl.policy import Rule
from fwx.impl.transport import READABLE
from fwx.interfaces import (
    COMError,
    IFWXConnection,
    IFWXDataFilter,
    IFWXIOCompletion,
    IFWXUdpDestination,
    SocketAddress,
    fwx_Bind_Udp,
    fwx_ConnectionTerminating,
    fwx_dfpc_Emulation,
    fwx_dfpc_Middle,
    fwx_dfpc_NAT,
    fwx_Udp_Destination,
)
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_OUTOFMEMORY,
    E_UNEXPECTED,
    FWX_E_BAD_CONTEXT,
    FWX_E_DNS_QUOTA_EXCEEDED,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    WSAEACCES,
    WSAEADDRINUSE,
    WSAEINVAL,
    WSAETIMEDOUT,
    WSAHOST_NOT_FOUND,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.impl.conftest import Rig

CLIENT = SocketAddress("127.0.0.1", 40000)
UDP_MASK = fwx_Bind_Udp | fwx_Udp_Destination | sdk.FWX_ALL_SOURCES


class Client:
    """The client's end as an entry makes it: what it receives comes with the target, what it sends with the source."""

    def __init__(self) -> None:
        self.inbox: list[tuple[bytes, tuple[Any, ...]]] = []
        self.got: list[tuple[bytes, SocketAddress]] = []
        self.handler: Any = None
        self.closed = 0
        self.fd = -1
        self.fails: OSError | None = None

    def watch(self, handler: Any) -> None:
        self.handler = handler

    def say(self, data: bytes, target: SocketAddress) -> None:
        self.inbox.append((data, target.sockaddr))
        if self.handler is not None:
            self.handler(READABLE)

    def receive(self) -> tuple[bytes, tuple[Any, ...]]:
        if not self.inbox:
            raise BlockingIOError(errno.EAGAIN, "nothing")
        return self.inbox.pop(0)

    def send_to(self, data: Any, sockaddr: tuple[Any, ...]) -> None:
        if self.fails is not None:
            raise self.fails
        self.got.append((bytes(data), SocketAddress.from_sockaddr(sockaddr)))

    def take_error(self) -> None:
        return None

    def close(self, abortive: bool) -> None:
        self.closed += 1


class Server:
    """A UDP server outside that answers in capitals when asked to."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((host, 0))
        self.sock.settimeout(5)
        self.address = SocketAddress.from_sockaddr(self.sock.getsockname())

    def answer(self) -> bytes:
        data, asker = self.sock.recvfrom(0x10000)
        self.sock.sendto(data.upper(), asker)
        return data


@pytest.fixture
def servers() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def make(host: str = "127.0.0.1") -> Server:
        made.append(Server(host))
        return made[-1]

    yield make
    for server in made:
        server.sock.close()


class Association:
    """A connection under test, with its client."""

    def __init__(self, rig: Rig, *hosts: Any, binds: bool = True, **options: Any) -> None:
        self.rig = rig
        self.client = Client()
        self.ended: list[Any] = []
        options |= {"interface": "proxy", "on_ended": self.ended.append}
        self.connection = FWXDatagramConnection(rig.session(), CLIENT, self.client, lambda _: hosts, **options)
        self.bound = rig.through(self.connection.bind(SocketAddress("127.0.0.1", 0), hosts)) if binds else True
        if self.bound:
            self.connection.start()

    def say(self, data: bytes, target: SocketAddress) -> None:
        self.client.say(data, target)
        self.rig.settle()

    def end(self) -> None:
        self.connection.end()
        self.rig.until(lambda: self.ended)


@pytest.fixture
def association(rig: Rig) -> Callable[..., Association]:
    return lambda *hosts, **options: Association(rig, *hosts, **options)


def test_there_and_back(rig: Rig, association: Any, servers: Any) -> None:
    """B2.15, B4.21: IPv4, IPv6, several destinations from one socket; one record for each, and no port left open."""
    made, targets = association(), [servers(), servers(), servers("::1")]
    for server in targets:
        made.say(b"hello", server.address)
        server.answer()
        rig.until(lambda server=server: (b"HELLO", server.address) in made.client.got)
    assert {opening.remote for opening in rig.packet_filter} == {server.address for server in targets}
    assert IFWXConnection.providedBy(made.connection)
    assert made.connection.GetExternalSocketName().port
    made.end()
    assert not list(rig.packet_filter)
    assert made.client.closed == 1
    told = [(one.action, one.protocol, one.destination_port, one.bytes_sent, one.bytes_received) for one in rig.records]
    assert told == [(Action.Terminate, "UDP", server.address.port, 5, 5) for server in targets]
    assert {one.source_port for one in rig.records} == {CLIENT.port}
    assert not rig.session().connections


def test_strangers_are_not_heard(rig: Rig, association: Any, servers: Any) -> None:
    """Whoever was not sent to reaches nobody, though it knows the port."""
    made, server, stranger = association(), servers(), servers()
    made.say(b"hello", server.address)
    _, asker = server.sock.recvfrom(100)
    stranger.sock.sendto(b"forged", asker)
    server.sock.sendto(b"true", asker)
    rig.until(lambda: made.client.got)
    rig.settle()
    assert made.client.got == [(b"true", server.address)]


def test_a_denied_destination_is_remembered(rig: Rig, association: Any, servers: Any) -> None:
    """B2.16: judged once, logged once; another destination is not harmed."""
    server = servers()
    rig.engine.policy = rig.policy(Rule("dns", "allow", ("DNS",), ("localhost",), ("localhost",)))
    made = association()
    for _ in range(3):
        made.say(b"x", server.address)
    (record,) = rig.records
    assert (record.action, record.resultcode) == (Action.Denied, int(FWX_E_POLICY_RULES_DENIED))
    made.say(b"x", SocketAddress("127.0.0.1", 53))
    assert [each.state.name for each in made.connection.destinations] == ["DENIED", "OPEN"]


def test_no_destination_is_new_while_the_log_fails(rig: Rig, association: Any, servers: Any) -> None:
    """B9.18: those that are there go on; one that was dropped is judged when the log works again."""
    made, known, new = association(), servers(), servers()
    made.say(b"one", known.address)
    assert known.answer() == b"one"
    rig.engine.accepting = lambda: False
    made.say(b"lost", new.address)
    made.say(b"two", known.address)
    assert known.answer() == b"two"
    assert [each.target for each in made.connection.destinations] == [known.address]
    rig.engine.accepting = lambda: True
    made.say(b"three", new.address)
    assert new.answer() == b"three"


def test_names(rig: Rig, association: Any, servers: Any) -> None:
    """Looked up once; what comes meanwhile waits, at most so much; the answer comes from the address."""
    made, server = association(), servers()
    target = SocketAddress("server.example", server.address.port)
    for number in range(20):
        made.say(b"%02d" % number, target)
    (done,) = rig.names.asked
    done([SocketAddress("127.0.0.1", server.address.port)], 0)
    rig.settle()
    assert [server.answer() for _ in range(16)] == [b"%02d" % number for number in range(16)]
    rig.until(lambda: len(made.client.got) == 16)
    assert made.client.got[0] == (b"00", server.address)
    missing = SocketAddress("missing.example", 9)
    rig.names.table["missing.example"] = WSAHOST_NOT_FOUND
    made.say(b"x", missing)
    assert (rig.records[0].action, rig.records[0].destination_name) == (Action.Failed, "missing.example")
    assert missing not in [each.target for each in made.connection.destinations]


def test_what_waits_for_names_is_bounded_by_bytes(rig: Rig, association: Any) -> None:
    """Of all destinations together; the record says so."""
    rig.queue.ceiling.use(100_000)
    made = association()
    for name in ("a.example", "b.example"):
        for _ in range(3):
            made.say(bytes(30_000), SocketAddress(name, 9))
    assert made.connection.bytes_waiting == 90_000
    assert rig.queue.ceiling.refusals == 3
    made.end()
    assert made.connection.reason_with_remarks("").startswith("120000 bytes wait in connection")


def test_a_name_that_leads_to_the_firewall(rig: Rig, association: Any) -> None:
    """Judged like the name: no rebinding."""
    rig.engine.policy = rig.policy(Rule("out", "allow", ("any",), ("localhost",), ("any",)))
    made = association()
    made.say(b"x", SocketAddress("rebind.example", 53))
    rig.names.asked.pop()([SocketAddress("127.0.0.1", 53)], 0)
    rig.settle()
    assert [(one.action, one.destination_name) for one in rig.records] == [(Action.Denied, "rebind.example")]


def test_look_ups_are_bounded(rig: Rig, association: Any) -> None:
    made = association()
    for number in range(18):
        made.say(b"x", SocketAddress(f"name{number}.example", 9))
    assert len(rig.names.asked) == 16
    assert {one.resultcode for one in rig.records} == {int(FWX_E_DNS_QUOTA_EXCEEDED)}
    assert len(made.connection.destinations) == 16


def test_the_oldest_destination_makes_room(rig: Rig, association: Any, servers: Any) -> None:
    """Its port is closed, its record written; a name that was being looked up is given up."""
    made, first, second = association(most_destinations=2), servers(), servers()
    made.say(b"x", SocketAddress("slow.example", 9))
    made.say(b"x", first.address)
    made.say(b"x", second.address)
    assert rig.names.cancelled == 1
    made.say(b"x", SocketAddress("127.0.0.1", 9))
    assert [one.destination_port for one in rig.records] == [first.address.port]
    assert first.address not in {opening.remote for opening in rig.packet_filter}
    first.sock.sendto(b"late", ("127.0.0.1", made.connection.GetExternalSocketName().port))
    rig.settle()
    assert made.client.got == []


def test_a_flood_leaves_the_others_their_turn(rig: Rig, association: Any, servers: Any) -> None:
    made, server = association(binds=False), servers()
    made.client.inbox = [(b"x", server.address.sockaddr)] * 300
    made.client.handler(READABLE)
    assert len(made.client.inbox) == 300 - datagramconnection._TAKEN_AT_ONCE
    rig.until(lambda: not made.client.inbox)


def test_what_cannot_be_sent_is_lost_and_no_more(rig: Rig, association: Any, servers: Any) -> None:
    """Too long for the network, no route, a client that takes nothing: the next datagram goes its way."""
    made, server = association(), servers()
    made.say(bytes(65535), server.address)
    made.say(b"hello", server.address)
    server.answer()
    rig.until(lambda: made.client.got)
    made.client.fails = OSError(errno.ENOBUFS, "no room")
    made.say(b"more", server.address)
    server.answer()
    rig.settle()
    made.client.fails = None
    made.say(b"again", server.address)
    server.answer()
    rig.until(lambda: len(made.client.got) == 2)
    nobody = servers()
    nobody.sock.close()
    made.say(b"x", nobody.address)
    made.say(b"y", nobody.address)
    made.say(b"z", server.address)
    assert server.sock.recv(10) == b"z"


def test_the_end(rig: Rig, association: Any, servers: Any) -> None:
    """Twice is once; afterwards nothing passes and every question is refused."""
    made, server = association(), servers()
    with pytest.raises(COMError) as failure:
        made.connection.GetExternalSocketName()
    assert failure.value.hresult == HRESULT_FROM_WIN32(WSAEINVAL)
    made.say(b"x", server.address)
    made.connection.Kill()
    made.connection.end()
    rig.until(lambda: made.ended)
    made.client.say(b"y", server.address)
    assert made.ended == [made.connection]
    for call in (made.connection.GetExternalSocketName, made.connection.GetSession):
        with pytest.raises(COMError) as failure:
            call()
        assert failure.value.hresult == FWX_E_TERMINATING
    with pytest.raises(COMError):
        made.connection.SetBufferSize(100)


# ---- filters ---------------------------------------------------------------------------------------------------------


@implementer(IFWXDataFilter, IFWXIOCompletion)
class Passing(sdk.Unknown):
    """A data filter on UDP that passes on what it may have changed, and remembers the addresses."""

    def __init__(self, mark: bytes = b"") -> None:
        self.mark = mark
        self.seen: list[tuple[str, Any]] = []
        self.detached = 0
        self.sockets: Any = None

    def SetSockets(self, internal: Any, external: Any, connection: Any, context: Any) -> None:
        self.sockets = {"internal": (internal, external), "external": (external, internal)}
        for side in self.sockets:
            self.sockets[side][0].Recv(None, self, side)

    def CompleteAsyncIO(self, success: bool, code: int, buffer: Any, side: Any, address: Any, length: int) -> None:
        if not success:
            return
        self.seen.append((side, address))
        source, sink = self.sockets[side]
        data = bytes(buffer.GetBufferAndSize()) + self.mark
        sink.SendTo(FWXIOBuffer(data), address, None, None, 0)
        source.Recv(None, self, side)

    def Detach(self) -> None:
        self.detached += 1


def attaching(
    rig: Rig, event: int, make: Callable[[], Any], name: str = "filter", priority: int = fwx_dfpc_Middle
) -> Any:
    """A filter that attaches what *make* makes to the connection in events of the type *event*."""

    def handle(told: Any) -> None:
        if told.EventType == event:
            details = told.Parameters.Bind if event == fwx_Bind_Udp else told.Parameters.UdpDest
            details.piConnection.AttachDataFilter(make(), priority, None)

    return rig.host(name, handle=handle, mask=UDP_MASK)


def test_a_filter_on_the_socket(rig: Rig, association: Any, servers: Any) -> None:
    """B2.20, B2.34, B3.21: attached at the bind, it sees what goes to and comes from every destination."""
    data_filter = Passing(b"!")
    made = association(attaching(rig, fwx_Bind_Udp, lambda: data_filter))
    first, second = servers(), servers()
    for server in (first, second):
        made.say(b"hello", server.address)
        assert server.answer() == b"hello!"
    rig.until(lambda: len(made.client.got) == 2)
    assert made.client.got == [(b"HELLO!!", first.address), (b"HELLO!!", second.address)]
    assert sorted(data_filter.seen, key=str) == sorted(
        [(side, server.address) for side in ("internal", "external") for server in (first, second)], key=str
    )
    made.end()
    assert data_filter.detached == 1


def test_filters_of_a_destination(rig: Rig, association: Any, servers: Any) -> None:
    """B2.18, B2.34: each destination has its own; it is detached when the destination makes room."""
    made_filters: list[Passing] = []

    def make() -> Passing:
        made_filters.append(Passing(b"?"))
        return made_filters[-1]

    made = association(attaching(rig, fwx_Udp_Destination, make), most_destinations=2)
    targets = [servers() for _ in range(3)]
    for server in targets:
        made.say(b"hello", server.address)
        assert server.answer() == b"hello?"
        rig.until(lambda server=server: (b"HELLO??", server.address) in made.client.got)
    rig.settle()
    assert [each.detached for each in made_filters] == [1, 0, 0]
    assert [one.filters for one in rig.records] == ["filter"]
    made.end()
    assert [each.detached for each in made_filters] == [1, 1, 1]


def test_both_at_once(rig: Rig, association: Any, servers: Any) -> None:
    """The socket's filter is nearer to the client than the destination's."""
    inner, outer, server = Passing(b"1"), Passing(b"2"), servers()
    hosts = (
        attaching(rig, fwx_Bind_Udp, lambda: inner, "one"),
        attaching(rig, fwx_Udp_Destination, lambda: outer, "two"),
    )
    made = association(*hosts)
    made.say(b"x", server.address)
    assert server.answer() == b"x12"
    rig.until(lambda: made.client.got)
    assert made.client.got == [(b"X1221", server.address)]


@pytest.mark.parametrize("event", [fwx_Bind_Udp, fwx_Udp_Destination])
def test_priority_classes(rig: Rig, association: Any, servers: Any, event: int) -> None:
    """B3.7, B3.9: the low class is next to the client, whoever was first."""
    server = servers()
    hosts = (
        attaching(rig, event, lambda: Passing(b"6"), "outer", fwx_dfpc_Emulation),
        attaching(rig, event, lambda: Passing(b"0"), "inner", fwx_dfpc_NAT),
    )
    made = association(*hosts)
    made.say(b"x", server.address)
    assert server.answer() == b"x06"
    rig.until(lambda: made.client.got)
    assert made.client.got == [(b"X0660", server.address)]


@pytest.mark.parametrize("event", [fwx_Bind_Udp, fwx_Udp_Destination])
@pytest.mark.parametrize("raises", [False, True])
def test_no_memory_for_the_sockets(rig: Rig, association: Any, servers: Any, event: int, raises: bool) -> None:
    """B1.27: the connection ends, nothing goes out, and the filter is detached."""

    class Starved(Passing):
        def SetSockets(self, *arguments: Any) -> Any:
            if raises:
                raise MemoryError
            return E_OUTOFMEMORY

    starved, server = Starved(), servers()
    made = association(attaching(rig, event, lambda: starved))
    made.say(b"x", server.address)
    rig.until(lambda: made.ended)
    assert starved.detached == 1
    assert made.connection.result[0] == E_UNEXPECTED
    assert [alert.key for alert in rig.alerts] == ["filter/SetSockets"]
    server.sock.settimeout(0)
    with pytest.raises(BlockingIOError):
        server.sock.recv(10)


def test_a_filter_cannot_reach_what_was_not_judged(rig: Rig, association: Any, servers: Any) -> None:
    """A destination's filter sends to its destination, whatever it names; the socket's filter is judged anew."""
    server, elsewhere = servers(), servers()

    class Diverting(Passing):
        def CompleteAsyncIO(self, success: bool, code: int, buffer: Any, side: Any, address: Any, length: int) -> None:
            if success:
                self.sockets[side][1].SendTo(buffer, elsewhere.address, None, None, 0)

    made = association(attaching(rig, fwx_Udp_Destination, Diverting))
    made.say(b"x", server.address)
    assert server.sock.recv(10) == b"x"


@pytest.mark.parametrize("reserved", [0, 1])
def test_a_filter_refuses_a_destination(rig: Rig, association: Any, servers: Any, reserved: int) -> None:
    """B2.15, B2.16, B2.19: asked once for each destination; later datagrams are thrown away; others pass."""
    server, other, told = servers(), servers(), list[Any]()

    def handle(event: Any) -> None:
        if event.EventType != fwx_Udp_Destination:
            return
        details = event.Parameters.UdpDest
        told.append(details.piUdpDestination)
        assert IFWXUdpDestination.providedBy(details.piUdpDestination)
        assert (details.AddressLength, details.piConnection) == (details.Address.length, made.connection)
        if details.Address == server.address:
            details.piUdpDestination.Deny(reserved)
        else:  # the first one's object does nothing here
            with pytest.raises(COMError) as failure:
                told[0].Deny(0)
            assert failure.value.hresult == FWX_E_BAD_CONTEXT

    made = association(rig.host(handle=handle, mask=UDP_MASK))
    for _ in range(2):
        made.say(b"x", server.address)
        made.say(b"y", other.address)
    assert [other.sock.recv(10) for _ in range(2)] == [b"y", b"y"]
    assert len(told) == 2
    server.sock.settimeout(0)
    with pytest.raises(BlockingIOError):
        server.sock.recv(10)
    record = rig.records[0]
    assert (record.action, record.destination_port) == (Action.Denied, server.address.port)
    assert ("denied by filter" in record.reason) == (reserved == 0)
    with pytest.raises(COMError) as failure:
        told[0].Deny(0)
    assert failure.value.hresult == FWX_E_BAD_CONTEXT
    with pytest.raises(COMError) as failure:
        told[0].Deny(1)
    assert failure.value.hresult == E_INVALIDARG
    assert not made.connection.deny_destination()


def test_a_filter_refuses_the_bind(rig: Rig, association: Any) -> None:
    """B2.20, B2.37: 10048, address in use."""

    def handle(event: Any) -> None:
        event.Parameters.Bind.piConnection.Deny(0)

    made = association(rig.host(handle=handle, mask=UDP_MASK))
    assert not made.bound
    assert made.connection.result[0] == HRESULT_FROM_WIN32(WSAEADDRINUSE)
    made.connection.refuse(*made.connection.result)
    rig.until(lambda: made.ended)


@pytest.mark.parametrize("opens", [False, True])
def test_a_handler_that_raises(rig: Rig, association: Any, servers: Any, opens: bool) -> None:
    """The destination is denied, or passes without that filter; the socket's own filter stays."""
    kept, server = Passing(b"."), servers()

    def handle(event: Any) -> None:
        if event.EventType == fwx_Bind_Udp:
            event.Parameters.Bind.piConnection.AttachDataFilter(kept, fwx_dfpc_Middle, None)
            return
        event.Parameters.UdpDest.piConnection.AttachDataFilter(Passing(b"never"), fwx_dfpc_Middle, None)
        raise ValueError("a fault")

    made = association(rig.host(handle=handle, mask=UDP_MASK, opens=opens))
    made.say(b"x", server.address)
    if opens:
        assert server.sock.recv(10) == b"x."
    else:
        assert rig.records[0].action == Action.Denied
    assert rig.alerts
    assert kept.detached == 0


def test_a_data_filter_that_raises(rig: Rig, association: Any, servers: Any) -> None:
    """A fault of a filter ends its connection, and its destinations are logged with it."""

    class Broken(Passing):
        def CompleteAsyncIO(self, *outcome: Any) -> None:
            if outcome[0]:
                raise ValueError("a fault")

    made = association(attaching(rig, fwx_Bind_Udp, Broken))
    made.say(b"x", servers().address)
    rig.until(lambda: made.ended)
    assert rig.alerts


def test_a_filter_that_does_not_receive_loses_datagrams(rig: Rig, association: Any, servers: Any) -> None:
    """What waits for it is bounded; nothing else is."""

    class Deaf(Passing):
        def SetSockets(self, *arguments: Any) -> None:
            """Asks for nothing."""

    made = association(attaching(rig, fwx_Bind_Udp, Deaf))
    target = servers().address
    for _ in range(200):
        made.client.inbox += [(bytes(1000), target.sockaddr)] * 50
        made.client.handler(READABLE)
    rig.settle()
    assert not made.client.inbox
    made.end()


def test_the_terminating_event(rig: Rig, association: Any, servers: Any) -> None:
    """B2.29: for the connection, once, to those that asked for it."""
    events: list[int] = []
    mask = UDP_MASK | fwx_ConnectionTerminating
    host = rig.host(handle=lambda event: events.append(event.EventType), mask=mask, session_mask=mask)
    made = association(host)
    made.say(b"x", servers().address)
    made.end()
    assert events == [fwx_Bind_Udp, fwx_Udp_Destination, fwx_ConnectionTerminating]


def test_a_way_that_cannot_be_opened(rig: Rig, association: Any, servers: Any) -> None:
    """A firewall fails closed: the destination is refused."""

    class Broken:
        def open(self, opening: Any) -> None:
            raise PermissionError(errno.EPERM, "not permitted")

    rig.engine.packet_filter = Broken()
    made, server = association(), servers()
    made.say(b"x", server.address)
    assert [(one.action, one.resultcode) for one in rig.records] == [
        (Action.Failed, int(HRESULT_FROM_WIN32(WSAEACCES)))
    ]


def test_a_way_that_does_not_open_ends_the_connection(rig: Rig, association: Any, servers: Any) -> None:
    """A packet filter that asks the kernel answers when the first datagram is on its way."""
    claims: list[Claim] = []

    class Late:
        open = staticmethod(claims.append)

        def close(self, claim: Claim) -> None:
            raise AssertionError("a claim that failed is not to be closed")

    rig.engine.packet_filter = Late()  # type: ignore[assignment]
    made, server = association(), servers()
    made.say(b"x", server.address)
    (claim,) = claims
    claim.settle(WSAEACCES)
    rig.settle()
    assert made.connection.terminating
    assert {one.resultcode for one in rig.records} == {int(HRESULT_FROM_WIN32(WSAEACCES))}
    assert any("did not open the way" in one.reason for one in rig.records)


def test_a_name_that_nobody_answers(rig: Rig, association: Any) -> None:
    """It does not keep its place for ever: the deadline of connecting is its own too."""
    made = association()
    made.say(b"x", SocketAddress("slow.example", 9))
    rig.clock.advance(20.0)
    assert [record.resultcode for record in rig.records] == [int(HRESULT_FROM_WIN32(WSAETIMEDOUT))]
    assert not made.connection.destinations
    assert not len(rig.engine.look_ups)
