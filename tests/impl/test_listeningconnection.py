"""Clients that wait on the outside: bind, listen, accept, and every way to turn somebody away (topics 2 and 6)."""

from __future__ import annotations

import errno
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.ipfilter import FWXIpFilter
from fwx.impl.logrecord import Action
from fwx.impl.policy import Rule
from fwx.impl.user import FWXAuthenticatedUser
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    GUID_NULL,
    IFWXConnection,
    SocketAddress,
    fwx_AcceptedConnection,
    fwx_Bind_Tcp,
    fwx_ConnectionTerminating,
    fwx_dfpc_Middle,
    fwx_Listen,
    fwxAssociatedProtocolsAllConnections,
    fwxSourceWSP,
)
from fwx.interfaces.hresult import (
    E_UNEXPECTED,
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_BAD_CONTEXT,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAEACCES,
    WSAEADDRINUSE,
    WSAECONNABORTED,
    WSAECONNREFUSED,
    WSAECONNRESET,
    WSAEINVAL,
    WSAETIMEDOUT,
    COMError,
)
from tests.impl.inward import ANYWHERE, CLIENT, Called, Handed, Inward

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

ALL = fwx_Bind_Tcp | fwx_Listen | fwx_AcceptedConnection | FWX_ALL_SOURCES | fwxAssociatedProtocolsAllConnections
ENDS = ALL | fwx_ConnectionTerminating
DENY = Rule("no", "deny", ("any",), ("any", "localhost"), ("any", "localhost"))


def code_of(call: Any, *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return int(failure.value.hresult)


def winsock(code: int) -> int:
    return int(HRESULT_FROM_WIN32(code))


@pytest.fixture
def seen(rig: Rig) -> list[Any]:
    """What a filter that is everywhere, and asks for all of it, gets."""
    events: list[Any] = []
    rig.host("watching", handle=events.append, mask=ALL, session_mask=ENDS)
    return events


@pytest.fixture
def handed(rig: Rig) -> Any:
    """A client's side that is there, and the client."""
    transport, client = rig.pair()
    side = Handed(transport)
    rig.closing.append(lambda: transport.close(False))
    return side, client


def denying(rig: Rig) -> Any:
    def handle(event: Any) -> None:
        if event.EventType == fwx_Bind_Tcp:
            event.Parameters.Bind.piConnection.Deny(0)

    return rig.host("denying", handle=handle, mask=ALL)


def nobody_listens(bound: SocketAddress) -> bool:
    with socket.socket(bound.family) as probe:
        return probe.connect_ex(bound.sockaddr) == errno.ECONNREFUSED


# ---- the way in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_bind_listen_accept(rig: Rig, seen: list[Any], handed: Any, host: str) -> None:
    """B2.20, B2.21, B2.23, B2.24, B2.29: each event in its turn, with its addresses, of the client's session."""
    side, client = handed
    inward = Inward(rig, side)
    bound = inward.listen(SocketAddress(host, 0))
    assert (bound.host, inward.connection.GetExternalSocketName()) == (host, bound)
    assert bound.port
    assert [event.EventType for event in seen] == [fwx_Bind_Tcp, fwx_Listen]
    bind, listen = seen[0].Parameters.Bind, seen[1].Parameters.Listen
    assert {event.EventSource for event in seen} == {fwxSourceWSP}
    for details in (bind, listen):
        assert (details.Address, details.AddressLength, details.piConnection) == (
            bound,
            bound.length,
            inward.connection,
        )
        assert details.ProtocolGuid == GUID_NULL
    assert bind.IsSecondary is False
    peer = inward.come(host)
    rig.until(lambda: side.joined)
    accept = seen[2].Parameters.Accept
    (connection,) = side.joined
    assert seen[2].EventType == fwx_AcceptedConnection
    assert accept.piConnectionAccepted is connection is not inward.connection
    assert (accept.RemoteAddress, accept.LocalAddress) == (peer.address, bound)
    assert (accept.RemoteAddressLength, accept.LocalAddressLength) == (peer.address.length, bound.length)
    assert (accept.IsSecondary, accept.ProtocolGuid) == (False, GUID_NULL)
    assert connection.GetSession() is inward.connection.GetSession()
    assert (connection.GetExternalSocketName(), connection.GetExternalPeerName()) == (bound, peer.address)
    peer.send(b"from outside")
    client.expect(b"from outside")
    client.send(b"from the client")
    peer.expect(b"from the client")
    inward.connection.end()
    rig.until(lambda: inward.ended)
    peer.shutdown()
    client.expect_end()
    client.close()
    peer.expect_end()
    rig.until(lambda: inward.accepted_ended)
    assert [event.Parameters.EndConnect.piConnection for event in seen[3:]] == [inward.connection, connection]
    ends = {record.connection_id: record for record in rig.records if record.action is Action.Terminate}
    record = ends[connection.id]
    assert (record.source_ip, record.source_port) == (peer.address.host, peer.address.port)
    assert (record.destination_ip, record.destination_port) == (bound.host, bound.port)
    assert (record.original_client_ip, record.rule, record.agent) == (CLIENT.host, "everything", "client")
    assert (record.bytes_sent, record.bytes_received, record.resultcode) == (12, 15, 0)
    began, ended = [record for record in rig.records if record.connection_id == inward.connection.id]
    assert (began.action, ended.action) == (Action.Listen, Action.Terminate)
    for record in (began, ended):
        assert (record.source_ip, record.source_port) == (CLIENT.host, CLIENT.port)
        assert (record.destination_ip, record.destination_port, record.interface) == (bound.host, bound.port, "proxy")


def test_a_data_filter_of_what_arrives(rig: Rig, handed: Any, watcher: Any) -> None:
    """B2.34: attached at the accept it stands between the client, inside, and the peer, outside."""
    side, client = handed
    side.early = b"early"
    watching = watcher()

    def handle(event: Any) -> None:
        if event.EventType == fwx_AcceptedConnection:
            event.Parameters.Accept.piConnectionAccepted.AttachDataFilter(watching, fwx_dfpc_Middle, None)

    rig.host(handle=handle, mask=ALL)
    inward = Inward(rig, side)
    inward.listen()
    peer = inward.come()
    rig.until(lambda: watching.connection is not None)
    assert watching.connection is side.joined[0]
    peer.expect(b"early")
    client.send(b" and late")
    peer.expect(b" and late")
    peer.send(b"answer")
    client.expect(b"answer")
    assert b"".join(bytes(buffer.GetBufferAndSize()) for buffer in watching.passed[True]) == b"early and late"
    assert b"".join(bytes(buffer.GetBufferAndSize()) for buffer in watching.passed[False]) == b"answer"
    peer.shutdown()
    client.expect_end()
    client.shutdown()
    peer.expect_end()
    rig.until(lambda: inward.accepted_ended)
    assert watching.detached == 1
    (record,) = [record for record in rig.records if record.connection_id == side.joined[0].id]
    assert record.filters == "filter"


def test_one_client_many_peers(rig: Rig, seen: list[Any]) -> None:
    """B2.24: the client is dialled for each one that comes, after the event."""
    dialled_before: list[int] = []

    def handle(event: Any) -> None:
        if event.EventType == fwx_AcceptedConnection:
            dialled_before.append(len(side.joined))

    rig.host("counting", handle=handle, mask=ALL)
    with socket.create_server(("127.0.0.1", 0)) as server:
        side = Called(rig, SocketAddress.from_sockaddr(server.getsockname()))
        inward = Inward(rig, side, is_secondary=True)
        inward.listen()
        pairs = []
        for count in range(1, 4):
            peer = inward.come()
            rig.until(lambda count=count: len(side.joined) == count)
            pairs.append((peer, rig.peer(server.accept()[0])))
        for number, (peer, client) in enumerate(pairs):
            peer.send(b"to %d" % number)
            client.expect(b"to %d" % number)
            client.send(b"from %d" % number)
            peer.expect(b"from %d" % number)
        assert [event.Parameters.Accept.IsSecondary for event in seen[2:]] == [True] * 3
        assert dialled_before == [0, 1, 2]
        assert seen[0].Parameters.Bind.IsSecondary is True
        inward.connection.end()
        rig.until(lambda: inward.ended)
        pairs[0][0].send(b"still there")
        pairs[0][1].expect(b"still there")


def test_consecutive_ports(rig: Rig) -> None:
    """A port that is taken is no failure of the listening connection, which takes another one."""
    first = Inward(rig, Called(rig, CLIENT))
    taken = first.connection.take(ANYWHERE)
    second = Inward(rig, Called(rig, CLIENT))
    assert code_of(second.connection.take, taken) == winsock(WSAEADDRINUSE)
    assert second.connection.take(ANYWHERE).port != taken.port
    for inward in (first, second):
        inward.connection.refuse(S_OK, "the test is over")
        rig.until(lambda inward=inward: inward.ended)


# ---- the packet filter -----------------------------------------------------------------------------------------------


def test_the_port_is_open_while_it_listens(rig: Rig, handed: Any) -> None:
    """B6.1, B4.21: closed before, open to whoever comes, closed when the listening connection has ended."""
    side, _ = handed
    inward = Inward(rig, side)
    bound = inward.connection.take(ANYWHERE)
    assert not len(rig.packet_filter)
    assert nobody_listens(bound)
    assert rig.through(inward.connection.bind(rig.engine.policy.judge_waiting(bound)))
    told: list[int] = []
    inward.connection.listen(1, lambda: told.append(1))
    assert not told, "not inside the call: the kernel may still refuse to listen"
    ((protocol, local, remote),) = rig.packet_filter
    assert (protocol, local, remote) == (6, bound, None)
    inward.come()
    rig.until(lambda: side.joined)
    assert len(rig.packet_filter) == 1
    inward.connection.end()
    assert not len(rig.packet_filter)
    assert nobody_listens(bound)


@pytest.mark.parametrize("when", ["at once", "later"])
def test_the_packet_filter_fails(rig: Rig, handed: Any, when: str) -> None:
    """The client hears of no port that nobody could reach."""
    claims: list[Any] = []

    class Failing:
        def open(self, claim: Any) -> None:
            if when == "at once":
                raise OSError(errno.EACCES, "no")
            claims.append(claim)

        def close(self, claim: Any) -> None:
            raise AssertionError("it is not open")

    rig.engine.packet_filter = Failing()  # type: ignore[assignment]
    inward = Inward(rig, handed[0])
    bound = inward.connection.take(ANYWHERE)
    assert rig.through(inward.connection.bind(rig.engine.policy.judge_waiting(bound)))
    inward.connection.listen(1, lambda: pytest.fail("it does not listen"))
    for claim in claims:
        rig.settle()
        assert not inward.ended
        claim.settle(WSAEACCES)
    rig.until(lambda: inward.ended)
    assert inward.connection.result[0] == winsock(WSAEACCES)
    assert nobody_listens(bound)
    (record,) = rig.records
    assert (record.action, record.resultcode) == (Action.Failed, winsock(WSAEACCES))


def test_the_packet_filter_takes_its_time(rig: Rig, handed: Any, seen: list[Any]) -> None:
    """Nobody is told, and nobody let in, before it has answered."""
    claims: list[Any] = []

    class Slow:
        def open(self, claim: Any) -> None:
            claims.append(claim)

        def close(self, claim: Any) -> None:
            claims.remove(claim)
            claim.withdraw()

    rig.engine.packet_filter = Slow()  # type: ignore[assignment]
    side, _ = handed
    inward = Inward(rig, side)
    bound = inward.connection.take(ANYWHERE)
    assert rig.through(inward.connection.bind(rig.engine.policy.judge_waiting(bound)))
    told: list[int] = []
    inward.connection.listen(1, partial(told.append, 1))
    inward.come()
    rig.settle()
    assert (told, side.joined, [event.EventType for event in seen]) == ([], [], [fwx_Bind_Tcp])
    claims[0].settle(0)
    rig.until(lambda: side.joined)
    assert told == [1]
    inward.connection.end()
    assert not claims


# ---- who may ---------------------------------------------------------------------------------------------------------


def test_a_filter_denies_the_bind(rig: Rig, handed: Any) -> None:
    """B2.36, B2.37: the client sees an address in use; nothing was open, and the others hear of it no more."""
    denying(rig)
    later = rig.host("later", mask=ENDS)
    inward = Inward(rig, handed[0])
    bound = inward.connection.take(ANYWHERE)
    assert not rig.through(inward.connection.bind(rig.engine.policy.judge_waiting(bound)))
    assert inward.connection.result == (winsock(WSAEADDRINUSE), "denied by filter 'denying'")
    inward.connection.refuse(*inward.connection.result, Action.Denied)
    rig.until(lambda: inward.ended)
    assert nobody_listens(bound)
    assert (later.name, "event", fwx_Bind_Tcp) not in rig.journal
    (record,) = rig.records
    assert (record.action, record.resultcode) == (Action.Denied, winsock(WSAEADDRINUSE))
    assert "denying" in record.reason


@pytest.mark.parametrize("how", ["deny", "fail", "return"])
def test_a_listen_cannot_be_refused(rig: Rig, handed: Any, watcher: Any, how: str) -> None:
    """B2.22, B2.34, B2.36: Deny and a data filter are out of place, and a filter that fails does not make it fail; the
    others hear of it.
    """
    codes: list[int] = []

    def handle(event: Any) -> Any:
        if event.EventType != fwx_Listen:
            return None
        if how == "deny":
            connection = event.Parameters.Listen.piConnection
            codes.append(code_of(connection.Deny, 0))
            codes.append(code_of(connection.AttachDataFilter, watcher(), fwx_dfpc_Middle, None))
        return {"deny": lambda: None, "fail": lambda: 1 / 0, "return": lambda: E_UNEXPECTED}[how]()

    rig.host("bad", handle=handle, mask=ALL)
    rig.host("good", mask=ALL)
    side, client = handed
    inward = Inward(rig, side)
    inward.listen()
    assert codes == [FWX_E_BAD_CONTEXT] * (2 if how == "deny" else 0)
    assert ("good", "event", fwx_Listen) in rig.journal
    peer = inward.come()
    peer.send(b"in")
    client.expect(b"in")
    assert bool(rig.alerts) == (how != "deny")
    inward.connection.end()
    rig.until(lambda: inward.ended)
    assert rig.records[-1].resultcode == S_OK


def test_a_filter_denies_what_arrives(rig: Rig, handed: Any) -> None:
    """B2.36, B2.37: it is aborted and logged, the client hears nothing, the next one may be let in."""
    side, _ = handed
    denied: list[Any] = []

    def handle(event: Any) -> None:
        if event.EventType == fwx_AcceptedConnection and not denied:
            denied.append(event.Parameters.Accept.piConnectionAccepted)
            denied[0].Deny(0)

    rig.host("denying", handle=handle, mask=ALL)
    inward = Inward(rig, side)
    inward.listen()
    inward.come().expect_reset()
    rig.until(lambda: inward.accepted_ended)
    assert not side.joined
    (record,) = [record for record in rig.records if record.connection_id == denied[0].id]
    assert (record.action, record.resultcode) == (Action.Denied, winsock(WSAECONNABORTED))
    inward.come()
    rig.until(lambda: side.joined)


@pytest.mark.parametrize("how", ["kills", "fails"])
def test_a_filter_ends_what_arrives(rig: Rig, handed: Any, watcher: Any, how: str) -> None:
    """B3.32, B2.39: killed in the handler, or by its fault; what it had attached is detached."""
    side, _ = handed
    watching = watcher()

    def handle(event: Any) -> None:
        if event.EventType == fwx_AcceptedConnection:
            connection = event.Parameters.Accept.piConnectionAccepted
            connection.AttachDataFilter(watching, fwx_dfpc_Middle, None)
            if how == "kills":
                connection.Kill()
            else:
                raise RuntimeError("no")

    rig.host("bad", handle=handle, mask=ALL)
    inward = Inward(rig, side)
    inward.listen()
    inward.come().expect_reset()
    rig.until(lambda: inward.accepted_ended)
    assert not side.joined
    assert watching.journal == [("watcher", "detach", None)]
    assert not inward.ended


def test_an_ip_filter(rig: Rig, handed: Any) -> None:
    """B6.32, B6.33, B6.34: who is outside is rejected, and logged with the session's user and the reason."""
    side, client = handed
    only = FWXIpFilter()
    only.IncludeRange(SocketAddress("127.0.0.9").address, SocketAddress("127.0.0.9").address)  # type: ignore[arg-type]
    user = FWXAuthenticatedUser("alice", ("staff",))
    session = rig.sessions.of(CLIENT, fwxSourceWSP, user)
    inward = Inward(rig, side, session, ip_filter=only)
    bound = inward.listen()
    wrong = inward.come("127.0.0.1")
    wrong.expect_reset()
    record = rig.records[-1]
    assert (record.action, record.resultcode) == (Action.Denied, FWX_E_ADDRESS_NOT_ALLOWED)
    assert (record.source_ip, record.source_port) == (wrong.address.host, wrong.address.port)
    assert (record.destination_port, record.username, record.original_client_ip) == (bound.port, "alice", CLIENT.host)
    assert not side.joined
    right = inward.come("127.0.0.9")
    right.send(b"me")
    client.expect(b"me")
    assert inward.connection.GetIpFilter().Compare(only) == S_OK  # type: ignore[union-attr]
    inward.connection.SetIpFilter(FWXIpFilter())
    inward.come("127.0.0.9").expect_reset()
    inward.connection.SetIpFilter(None)
    assert inward.connection.GetIpFilter() is None
    inward.come("127.0.0.1")
    rig.until(lambda: len(side.joined) == 2)


def test_policy_says_who_may_connect(rig: Rig, handed: Any) -> None:
    """DESIGN 6: the peer is the source, the firewall's address the destination, the session's user the user."""
    user = FWXAuthenticatedUser("alice", ("staff",))
    session = rig.sessions.of(CLIENT, fwxSourceWSP, user)
    for users, comes in ((("alice",), True), (("bob",), False)):
        rule = Rule("in", "allow", ("any",), ("localhost",), ("localhost",), users=users)
        rig.engine.policy = rig.policy(rule)
        side = Handed(rig.pair()[0])
        rig.closing.append(partial(side.transport.close, False))
        inward = Inward(rig, side, session)
        inward.connection.take(ANYWHERE)
        assert rig.through(inward.connection.bind(rig.policy(rule).judge_waiting(ANYWHERE, session.who)))
        inward.connection.listen(1)
        peer = inward.come()
        if comes:
            rig.until(lambda side=side: side.joined)
        else:
            peer.expect_reset()
            record = rig.records[-1]
            assert (record.resultcode, record.username) == (FWX_E_POLICY_RULES_DENIED, "alice")
            assert not side.joined


def test_filters_of_the_rule_of_the_peer(rig: Rig, handed: Any) -> None:
    """The bind is for the filters of its verdict, the arrival for those of its own."""
    for name in ("of the bind", "of the peer"):
        rig.host(name, everywhere=False, mask=ALL)
    rules = (
        Rule("far", "allow", ("any",), ("outside",), ("localhost",), filters=("of the bind",)),
        Rule("near", "allow", ("any",), ("localhost",), ("localhost",), filters=("of the peer",)),
    )
    rig.engine.policy = rig.policy(*rules)
    side, _ = handed
    inward = Inward(rig, side)
    inward.listen()
    inward.come()
    rig.until(lambda: side.joined)
    events = [entry for entry in rig.journal if entry[1] == "event"]
    assert events == [
        ("of the bind", "event", fwx_Bind_Tcp),
        ("of the bind", "event", fwx_Listen),
        ("of the peer", "event", fwx_AcceptedConnection),
    ]


# ---- the ends --------------------------------------------------------------------------------------------------------


def test_the_client_cannot_be_had(rig: Rig, closed: SocketAddress) -> None:
    """The peer is reset; the next one is tried again."""
    inward = Inward(rig, Called(rig, closed))
    inward.listen()
    for count in (1, 2):
        inward.come().expect_reset()
        rig.until(lambda count=count: len(inward.accepted_ended) == count)
        record = rig.records[-1]
        assert (record.action, record.resultcode) == (Action.Failed, winsock(WSAECONNREFUSED))
        assert "the client cannot be had" in record.reason


def test_the_client_does_not_answer(rig: Rig, deaf: SocketAddress) -> None:
    inward = Inward(rig, Called(rig, deaf))
    inward.listen()
    peer = inward.come()
    rig.settle()
    rig.clock.advance(20.0)
    peer.expect_reset()
    rig.until(lambda: inward.accepted_ended)
    assert rig.records[-1].resultcode == winsock(WSAETIMEDOUT)


@pytest.mark.parametrize("how", ["reset", "killed", "stopped"])
def test_the_peer_waits_for_the_client(rig: Rig, deaf: SocketAddress, how: str) -> None:
    """It goes away, or a filter or the service ends it: the client is no longer dialled, nothing is left."""
    side = Called(rig, deaf)
    inward = Inward(rig, side)
    inward.listen()
    peer = inward.come()
    rig.until(lambda: side.joined)
    match how:
        case "reset":
            peer.reset()
            result = winsock(WSAECONNRESET)
        case "killed":
            side.joined[0].Kill()
            result = winsock(WSAECONNABORTED)
        case _:
            side.joined[0].end(FWX_E_TERMINATING, "the service stopped")
            result = FWX_E_TERMINATING
    rig.until(lambda: inward.accepted_ended)
    assert rig.records[-1].resultcode == result
    assert not inward.ended
    if how != "reset":
        peer.expect_reset()


def test_a_peer_that_has_said_all(rig: Rig) -> None:
    """Half-closed before the client is there: what it sent, and its end, come through."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        inward = Inward(rig, Called(rig, SocketAddress.from_sockaddr(server.getsockname())))
        inward.listen()
        peer = inward.come()
        peer.send(b"all")
        peer.shutdown()
        rig.settle()
        client = rig.peer(server.accept()[0])
        client.expect(b"all")
        client.expect_end()
        client.send(b"answer")
        client.shutdown()
        peer.expect(b"answer")
        peer.expect_end()
        rig.until(lambda: inward.accepted_ended)


@pytest.mark.parametrize("how", ["Kill", "service", "deadline"])
def test_the_listening_connection_ends(rig: Rig, handed: Any, seen: list[Any], how: str) -> None:
    """B2.29, B6.1: the port is given back at once, the filters are told, the log has it."""
    inward = Inward(rig, handed[0])
    bound = inward.listen()
    match how:
        case "Kill":
            inward.connection.Kill()
            result = winsock(WSAECONNABORTED)
        case "service":
            inward.gateway.close()
            result = FWX_E_TERMINATING
        case _:
            inward.connection.end(HRESULT_FROM_WIN32(WSAETIMEDOUT), "nobody came")
            result = winsock(WSAETIMEDOUT)
    assert nobody_listens(bound)
    assert not len(rig.packet_filter)
    rig.until(lambda: inward.ended)
    assert seen[-1].EventType == fwx_ConnectionTerminating
    assert rig.records[-1].resultcode == result
    assert code_of(inward.connection.GetExternalSocketName) == FWX_E_TERMINATING
    assert not inward.connection.GetSession.__self__.session.connections


def test_killed_in_its_own_events(rig: Rig, handed: Any) -> None:
    """B3.32: at the bind, and at the listen, which is when the kernel listens already."""
    for event_type in (fwx_Bind_Tcp, fwx_Listen):

        def handle(event: Any, event_type: int = event_type) -> None:
            if event.EventType == event_type:
                (event.Parameters.Bind if event_type == fwx_Bind_Tcp else event.Parameters.Listen).piConnection.Kill()

        rig.engine.filters = ()
        rig.host(handle=handle, mask=ALL)
        inward = Inward(rig, handed[0])
        bound = inward.connection.take(ANYWHERE)
        if rig.through(inward.connection.bind(rig.engine.policy.judge_waiting(bound))):
            inward.connection.listen(1, lambda: pytest.fail("it was killed"))
        rig.until(lambda inward=inward: inward.ended)
        assert inward.connection.result[0] == winsock(WSAECONNABORTED)
        assert nobody_listens(bound)


def test_what_it_does_not_have(rig: Rig, handed: Any) -> None:
    """It has no peer, takes no data filter (B2.34), and says so."""
    inward = Inward(rig, handed[0])
    connection = inward.connection
    assert IFWXConnection.providedBy(connection)
    assert code_of(connection.GetExternalSocketName) == winsock(WSAEINVAL)
    attached: list[int] = []

    def handle(event: Any) -> None:
        if event.EventType == fwx_Bind_Tcp:
            attached.append(code_of(event.Parameters.Bind.piConnection.AttachDataFilter, None, 0, None))

    rig.host(handle=handle, mask=ALL)
    inward.listen()
    assert attached == [FWX_E_BAD_CONTEXT]
    assert code_of(connection.GetExternalPeerName) == winsock(WSAEINVAL)


def test_policy_without_a_rule_for_it(rig: Rig) -> None:
    """No rule could let anybody in: the client need not wait."""
    policy = rig.policy(DENY)
    verdict = policy.judge_waiting(SocketAddress("127.0.0.1", 4000))
    assert (verdict.allowed, verdict.rule, verdict.hresult) == (False, "no", FWX_E_POLICY_RULES_DENIED)
