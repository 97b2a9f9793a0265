"""EmulateClientBind over UDP: whoever writes to the client is a data filter (B6.27, B3.35 to B3.39)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from zope.interface import implementer

from fwx import sdk
from fwx.impl import emulateddatagrams
from fwx.impl.gateway import Gateway
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.logrecord import Action
from fwx.impl.packetfilter import Opening
from fwx.impl.policy import Rule
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    FWX_CONNECTION_INTERNAL_ADDRESS_TRANSLATION,
    FWX_PROTOCOL_UDP,
    GUID_NULL,
    IFWXDataFilter,
    IFWXIOCompletion,
    SocketAddress,
    fwx_Bind_Udp,
    fwx_dfpc_Middle,
    fwx_Udp_Destination,
)
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_POINTER,
    E_UNEXPECTED,
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_ALREADY_EXISTS,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    WSAEADDRINUSE,
    WSAECONNABORTED,
    WSAENOBUFS,
    COMError,
)
from tests.impl.datagrampeers import DatagramPeer
from tests.impl.test_datagramconnection import Passing

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

MASK = fwx_Bind_Udp | fwx_Udp_Destination | FWX_ALL_SOURCES
PLACE = SocketAddress("192.0.2.1", 5060)
REMOTE = SocketAddress("203.0.113.9", 5061)


@implementer(IFWXDataFilter, IFWXIOCompletion)
class Caller(sdk.Unknown):
    """Plays the peer: says what it is told to, and answers what the client says."""

    def __init__(self, faulty: bool = False) -> None:
        self.calls: list[Any] = []
        self.got: list[tuple[bytes, SocketAddress]] = []
        self.internal: Any = None
        self._faulty = faulty

    def SetSockets(self, internal: Any, external: Any, connection: Any, context: Any) -> None:
        self.calls.append(external)
        if self._faulty:
            raise ValueError("a bug")
        self.internal = internal
        internal.Recv(None, self, None)

    def say(self, data: bytes, source: SocketAddress | None = REMOTE) -> None:
        self.internal.SendTo(FWXIOBuffer(data), source, None, None, None)

    def CompleteAsyncIO(self, success: bool, code: int, buffer: Any, user: Any, address: Any, length: int) -> None:
        if success:
            self.got.append((bytes(buffer.GetBufferAndSize()), address))
            self.internal.Recv(None, self, None)

    def Detach(self) -> None:
        self.calls.append("Detach")
        self.internal = None


def code_of(call: Any, *args: Any, **more: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args, **more)
    return failure.value.hresult


@pytest.fixture
def client(rig: Rig) -> DatagramPeer:
    Gateway(rig.engine, rig.sessions, lambda _: None)
    return DatagramPeer(rig)


def emulate(rig: Rig, client: DatagramPeer, **more: Any) -> Any:
    given = {"at": client.address, "place": PLACE, "guid": GUID_NULL, "translates": False} | more
    return rig.session().EmulateClientBind(
        given["at"], None, given["place"], None, FWX_PROTOCOL_UDP, given["guid"], given["translates"]
    )


def test_a_peer_that_is_a_filter(rig: Rig, client: DatagramPeer) -> None:
    """B6.27, B3.35, B3.37: nothing is bound to the place; the filter has the internal socket alone."""
    connection, caller = emulate(rig, client, translates=True), Caller()
    assert connection.GetExternalSocketName() == PLACE
    assert connection.GetConnectionFlags() == FWX_CONNECTION_INTERNAL_ADDRESS_TRANSLATION
    assert not len(rig.packet_filter)
    assert connection.EmulateConnection(caller, REMOTE, None, PLACE) is connection
    assert caller.calls == [None]
    caller.say(b"hello")
    inside = client.expect(b"hello")
    client.send(b"who is there?")
    assert caller.got == [(b"who is there?", REMOTE)]
    assert set(rig.packet_filter) == {Opening(FWX_PROTOCOL_UDP, inside, client.address)}
    connection.IncrementBytesSentCounter(13)
    connection.Kill()
    rig.settle()
    assert caller.calls == [None, "Detach"]
    assert not len(rig.packet_filter)
    assert not rig.sessions.connections()
    assert not len(rig.session().secondary)
    peer, place = rig.records
    assert (peer.destination_ip, peer.bytes_received, peer.filters) == (REMOTE.host, 5, "EmulateClientBind")
    assert (place.action, place.destination_port, place.bytes_sent) == (Action.Terminate, PLACE.port, 13)
    assert code_of(connection.EmulateConnection, Caller(), REMOTE, None, PLACE) == FWX_E_TERMINATING
    assert code_of(connection.GetExternalSocketName) == FWX_E_TERMINATING


def test_several_peers(rig: Rig, client: DatagramPeer, monkeypatch: Any) -> None:
    """Each has a port inside; a filter speaks for its own peer alone."""
    monkeypatch.setattr(emulateddatagrams, "MOST_AT_ONCE", 2)
    connection, callers = emulate(rig, client), [Caller(), Caller()]
    remotes = [REMOTE, REMOTE.with_port(7)]
    for caller, remote in zip(callers, remotes, strict=True):
        connection.EmulateConnection(caller, remote, None, PLACE)
        caller.say(b"hello", SocketAddress("198.51.100.1", 9))
        client.expect(b"hello")
        client.send(b"to %d" % remote.port)
        assert caller.got == [(b"to %d" % remote.port, remote)]
    again = (Caller(), REMOTE, None, PLACE)
    assert code_of(connection.EmulateConnection, *again) == FWX_E_ALREADY_EXISTS
    assert code_of(connection.EmulateConnection, Caller(), REMOTE.with_port(8), None, PLACE) == HRESULT_FROM_WIN32(
        WSAENOBUFS
    )
    connection.end()


def test_other_filters_see_it(rig: Rig, client: DatagramPeer) -> None:
    """B2.15, B2.17, B2.20: the bind and the peer; both may get a data filter, and the emulating one is outermost."""
    seen: list[Any] = []
    scanners = {fwx_Bind_Udp: Passing(b"1"), fwx_Udp_Destination: Passing(b"2")}

    def handle(event: Any) -> None:
        details = event.Parameters.Bind if event.EventType == fwx_Bind_Udp else event.Parameters.UdpDest
        seen.append((details.Address, details.IsSecondary))
        details.piConnection.AttachDataFilter(scanners[event.EventType], fwx_dfpc_Middle, None)

    rig.host("scanner", mask=MASK, handle=handle)
    connection, caller = emulate(rig, client), Caller()
    connection.EmulateConnection(caller, REMOTE, None, PLACE)
    assert seen == [(PLACE, False), (REMOTE, False)]
    caller.say(b"hello")
    client.expect(b"hello21")
    client.send(b"yes")
    assert caller.got == [(b"yes12", REMOTE)]
    connection.end()
    rig.settle()
    assert [scanner.detached for scanner in scanners.values()] == [1, 1]


def test_a_filter_refuses(rig: Rig, client: DatagramPeer) -> None:
    """B2.19, B2.37: the peer, or the bind; nothing is left of either."""
    refuses = fwx_Udp_Destination

    def handle(event: Any) -> None:
        if event.EventType != refuses:
            return
        if refuses == fwx_Bind_Udp:
            event.Parameters.Bind.piConnection.Deny(0)
        else:
            event.Parameters.UdpDest.piUdpDestination.Deny(0)

    rig.host("refusing", mask=MASK, handle=handle)
    connection, caller = emulate(rig, client), Caller()
    assert code_of(connection.EmulateConnection, caller, REMOTE, None, PLACE) == HRESULT_FROM_WIN32(WSAECONNABORTED)
    rig.settle()
    assert caller.calls == ["Detach"]
    assert rig.records[-1].action == Action.Denied
    refuses = fwx_Bind_Udp
    assert code_of(emulate, rig, client) == HRESULT_FROM_WIN32(WSAEADDRINUSE)
    rig.settle()
    assert rig.sessions.connections() == [connection]
    connection.end()


def test_a_faulty_filter(rig: Rig, client: DatagramPeer) -> None:
    """It ends the connection."""
    connection, caller = emulate(rig, client), Caller(faulty=True)
    assert code_of(connection.EmulateConnection, caller, REMOTE, None, PLACE) == E_UNEXPECTED
    rig.settle()
    assert connection.terminating
    assert caller.calls == [None, "Detach"]


def test_quiet_peers_and_the_session(rig: Rig, client: DatagramPeer) -> None:
    """A peer is forgotten when it was quiet, and what has no peers does not keep the session."""
    connection, caller = emulate(rig, client), Caller()
    connection.EmulateConnection(caller, REMOTE, None, PLACE)
    rig.clock.advance(30.0)
    caller.say(b"hello")
    client.expect(b"hello")
    rig.clock.advance(30.0)
    client.send(b"yes")
    rig.clock.advance(60.0)
    assert caller.internal is not None
    rig.clock.advance(60.0)
    rig.settle()
    assert caller.calls == [None, "Detach"]
    assert connection.waits
    assert not len(rig.packet_filter)
    session = rig.session()
    rig.clock.advance(60.0)
    rig.settle()
    assert session.terminated
    assert connection.terminating


@pytest.mark.parametrize("used", [False, True])
def test_when_the_service_stops(rig: Rig, client: DatagramPeer, used: bool) -> None:
    connection, caller = emulate(rig, client), Caller()
    if used:
        connection.EmulateConnection(caller, REMOTE, None, PLACE)
    rig.engine.gateway.close()
    rig.settle()
    assert connection.terminating
    assert not rig.sessions.connections()
    assert caller.calls == ([None, "Detach"] if used else [])


def test_what_is_refused(rig: Rig, client: DatagramPeer) -> None:
    """B6.27, B3.35: nothing is left of what fails."""
    relay = DatagramPeer(rig).address
    rig.engine.is_own_listener = lambda address, transport: (address, transport) == (relay, "UDP")
    for address in (relay, SocketAddress("127.0.0.2", 9)):
        assert code_of(emulate, rig, client, at=address) == FWX_E_ADDRESS_NOT_ALLOWED
    connection = emulate(rig, client)
    assert code_of(connection.EmulateConnection, None, REMOTE, None, PLACE) == E_POINTER
    for given in (
        (object(), REMOTE, None, PLACE),
        (Caller(), SocketAddress("a.name", 9), None, PLACE),
        (Caller(), REMOTE, None, SocketAddress("a.name", 9)),
    ):
        assert code_of(connection.EmulateConnection, *given) == E_INVALIDARG
    assert connection.destinations == ()
    connection.end()
    rig.engine.policy = rig.policy(Rule("no", "deny", ("any",), ("any", "localhost"), ("any", "localhost")))
    assert code_of(emulate, rig, client) == FWX_E_POLICY_RULES_DENIED
    rig.settle()
    assert not rig.sessions.connections()
