"""Requests and network sockets whose rule names an upstream (behaviour topic 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.admission import admit
from fwx.impl.domainset import DomainSet
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.logrecord import Action
from fwx.impl.policy import Policy, Rule
from fwx.impl.route import routes
from fwx.interfaces import FwxTimeoutType, SocketAddress, fwx_dfpc_Middle
from fwx.interfaces.hresult import (
    E_UNEXPECTED,
    ERROR_OPERATION_ABORTED,
    FWX_E_POLICY_RULES_DENIED,
    HRESULT_FROM_WIN32,
    WSAEACCES,
    WSAEAFNOSUPPORT,
    WSAECONNREFUSED,
    WSAECONNRESET,
    WSAEHOSTUNREACH,
    WSAETIMEDOUT,
    COMError,
)
from fwx.proxy.http_connect_client import HttpConnectClient
from fwx.proxy.socks5_client import Socks5Client
from tests.impl.door import CLIENT, Door
from tests.impl.way import GREETED, NAME, REPLY, V4, Way, connect, request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.impl.conftest import Peer, Rig

OK = b"HTTP/1.1 200 OK\r\n\r\n"
OUTSIDE = SocketAddress("203.0.113.5", 443)
BY_NAME = Rule("all", "allow", ("any",), ("localhost",), ("any", "localhost"), upstream="parent")
BY_ADDRESS = Rule("out", "allow", ("any",), ("localhost",), ("outside",), upstream="parent")
BY_DOMAIN = Rule("named", "allow", ("any",), ("localhost",), ("sites",), upstream="parent")


def chain(rig: Rig, way: Way, *rules: Rule, codec: Any = HttpConnectClient) -> None:
    """Have *rules* decide, with the upstream that the test plays."""
    plain = rig.policy(*(rule for rule in rules if "sites" not in rule.destination))
    rig.engine.policy = Policy(plain._networks, (DomainSet("sites", (NAME.host,)),), (), rules)
    rig.engine.routes = routes([way.upstream(codec)])


@pytest.fixture
def door(rig: Rig) -> Iterator[Door]:
    door = Door(rig)
    yield door
    door.gateway.close()
    door.listener.close()


def tunnel(way: Way, target: SocketAddress) -> Peer:
    """Play the upstream that connects to *target*; return it."""
    peer = way.accept()
    peer.expect(connect(target))
    peer.send(OK)
    return peer


# ---- requests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [BY_NAME, BY_DOMAIN], ids=["everything", "domain set"])
def test_a_name_that_is_allowed_by_itself_goes_upstream(rig: Rig, way: Way, door: Door, rule: Rule) -> None:
    """It is not looked up here; the record has the name, no address, and the upstream (B8.1, B8.10)."""
    chain(rig, way, rule)
    door.open(NAME, early=b"GET /")
    peer = tunnel(way, NAME)
    peer.expect(b"GET /")
    peer.send(b"200 OK")
    door.client.expect(b"200 OK")
    peer.shutdown()
    door.client.expect_end()
    door.client.shutdown()
    rig.until(lambda: door.ended)
    assert rig.names.asked == []
    (record,) = rig.records
    assert (record.action, record.destination_name, record.destination_ip) == (Action.Terminate, NAME.host, "")
    assert (record.rule, record.destination_proxy, record.source_proxy) == (rule.name, "parent", "")
    assert (record.bytes_sent, record.bytes_received) == (5, 6)


def test_a_rule_that_depends_on_the_address_has_it_looked_up(rig: Rig, way: Way, door: Door) -> None:
    """Then the address that was judged is asked for, so that nobody can put another one behind the name."""
    chain(rig, way, BY_ADDRESS)
    door.open(NAME)
    rig.names.asked.pop()([OUTSIDE], 0)
    tunnel(way, OUTSIDE)
    rig.until(lambda: door.bound)
    door.gateway.close()
    for connection in rig.sessions.connections():
        connection.end()
    rig.until(lambda: rig.records)
    assert (rig.records[0].destination_name, rig.records[0].destination_ip) == (NAME.host, OUTSIDE.host)


INSIDE = ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.1.1", "0.0.0.0", "fe80::1", "::ffff:0:0"]


@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize("upstream", ["", "parent"])
def test_no_rebinding(rig: Rig, way: Way, door: Door, inside: str, upstream: str) -> None:
    """DESIGN 6: a name that leads to the firewall itself leads nowhere, whatever else it leads to, and by any route."""
    rule = Rule("out", "allow", ("any",), ("localhost",), ("any",), upstream=upstream)
    chain(rig, way, rule)
    door.open(NAME)
    rig.names.asked.pop()([SocketAddress(inside, 443)] * 3, 0)
    assert door.refusal() == FWX_E_POLICY_RULES_DENIED
    assert way.nobody_comes()


@pytest.mark.parametrize("order", [1, -1])
def test_the_allowed_addresses_remain(rig: Rig, way: Way, door: Door, order: int) -> None:
    """DESIGN 6: what is inside is left out, wherever it stands; what another network holds too."""
    chain(rig, way, BY_ADDRESS)
    door.open(NAME)
    hosts = [*INSIDE, "192.0.2.1", "::ffff:192.0.2.1", OUTSIDE.host]
    rig.names.asked.pop()([SocketAddress(host, 443) for host in hosts[::order]], 0)
    peer = way.accept()
    peer.expect(connect(OUTSIDE))
    peer.send(b"HTTP/1.1 503 No\r\n\r\n")
    assert door.refusal() == HRESULT_FROM_WIN32(WSAEHOSTUNREACH)
    assert way.nobody_comes()


def test_a_mapped_address_is_judged_as_its_ipv4_address(rig: Rig, way: Way) -> None:
    chain(rig, way, BY_ADDRESS)
    mapped = SocketAddress(f"::ffff:{OUTSIDE.host}", 443)
    verdict, left = admit(rig.engine, CLIENT, NAME, [mapped])
    assert (verdict.allowed, verdict.upstream, left) == (True, "parent", [mapped])
    verdict, left = admit(rig.engine, CLIENT, SocketAddress("::ffff:127.0.0.1", 443))
    assert (verdict.allowed, left) == (False, [])


def test_datagrams_do_not_take_another_way(rig: Rig, way: Way) -> None:
    """HTTP carries no UDP, so a rule that names such an upstream allows none: straight out is not the rule's way."""
    chain(rig, way, BY_NAME)
    for target, resolved in ((OUTSIDE, None), (NAME, None), (NAME, [OUTSIDE])):
        verdict, left = admit(rig.engine, CLIENT, target, resolved, "UDP")
        assert (verdict.allowed, verdict.hresult, left) == (False, FWX_E_POLICY_RULES_DENIED, [])
    assert "through upstream 'parent', whose protocol carries no UDP" in verdict.reason


def test_the_own_listeners_are_no_target_of_an_upstream(rig: Rig, way: Way, door: Door) -> None:
    chain(rig, way, BY_NAME)
    rig.own_listeners.add(OUTSIDE)
    door.open(OUTSIDE)
    assert door.refusal() == FWX_E_POLICY_RULES_DENIED
    assert way.nobody_comes()


@pytest.mark.parametrize("filtered", [False, True])
def test_what_came_with_the_reply_is_not_lost(rig: Rig, way: Way, door: Door, watcher: Any, filtered: bool) -> None:
    """The server spoke first: its greeting arrives with the upstream's reply, in front of what follows."""
    chain(rig, way, BY_NAME, codec=HttpConnectClient)
    watching = watcher()
    if filtered:
        rig.attaching(watching)
    door.open(NAME)
    peer = way.accept()
    peer.expect(connect(NAME))
    peer.send(OK + b"220 ready\r\n")
    peer.shutdown()
    door.client.expect(b"220 ready\r\n")
    door.client.expect_end()
    door.client.send(b"QUIT")
    peer.expect(b"QUIT")
    door.client.shutdown()
    peer.expect_end()
    rig.until(lambda: door.ended)
    assert (rig.records[0].bytes_sent, rig.records[0].bytes_received) == (4, 11)


@pytest.mark.parametrize("target", [NAME, OUTSIDE])
def test_a_filter_sees_no_difference(rig: Rig, way: Way, door: Door, watcher: Any, target: SocketAddress) -> None:
    """B8.8: the event has the target, with an upstream as without; the outside peer is the upstream."""
    seen: list[Any] = []
    watching = watcher()

    def handle(event: Any) -> None:
        connect = event.Parameters.Connect
        seen.append((event.EventType, event.EventSource, connect.Address, connect.AddressLength, connect.ProtocolGuid))
        seen.append(connect.piConnection)
        connect.piConnection.AttachDataFilter(watching, fwx_dfpc_Middle, None)

    rig.host(handle=handle)
    rig.names.table[NAME.host] = ["127.0.0.1"]
    target = door.address if target is OUTSIDE else SocketAddress(NAME.host, door.address.port)
    door.open(target)
    door.accept()
    chained = Door(rig)
    rig.closing.append(chained.listener.close)
    chain(rig, way, BY_NAME)
    chained.open(target)
    tunnel(way, target)
    rig.until(lambda: chained.bound)
    straight, upstream = seen[1], seen[3]
    assert seen[0] == seen[2]
    assert seen[0][2] == target
    assert straight.GetExternalPeerName() == door.address
    assert upstream.GetExternalPeerName() == way.address
    assert upstream.GetExternalSocketName() == chained.bound[0]


def test_a_filter_denies_before_the_upstream_is_asked(rig: Rig, way: Way, door: Door) -> None:
    chain(rig, way, BY_NAME)
    rig.host(handle=lambda event: event.Parameters.Connect.piConnection.Deny(0))
    door.open(NAME)
    assert door.refusal() == HRESULT_FROM_WIN32(WSAECONNREFUSED)
    assert way.nobody_comes()


@pytest.mark.parametrize(
    ("said", "result", "words"),
    [
        (b"HTTP/1.1 403 No\r\n\r\n", WSAEACCES, "HTTP status 403 (Forbidden)"),
        (b"HTTP/1.1 504 No\r\n\r\n", WSAETIMEDOUT, "HTTP status 504 (Gateway Timeout)"),
    ],
)
def test_the_record_says_why(rig: Rig, way: Way, door: Door, said: bytes, result: int, words: str) -> None:
    """One record, with the reason and the upstream's name."""
    chain(rig, way, BY_NAME)
    door.open(NAME)
    way.accept().send(said)
    assert door.refusal() == HRESULT_FROM_WIN32(result)
    (record,) = rig.records
    assert record.reason == f"connecting to {NAME} failed: upstream 'parent' ({way.address}): {words}"
    assert (record.action, record.destination_proxy) == (Action.Failed, "parent")


@pytest.mark.parametrize("when", ["connecting", "asking"])
def test_the_client_goes_away(rig: Rig, way: Way, door: Door, when: str) -> None:
    """The upstream is let go at once."""
    chain(rig, way, BY_NAME)
    door.open(NAME)
    peer = way.accept() if when == "asking" else None
    rig.settle()
    door.client.reset()
    assert door.refusal() == HRESULT_FROM_WIN32(WSAECONNRESET)
    if peer is not None:
        peer.expect_reset_after_data()


def test_a_rule_without_upstream_goes_straight(rig: Rig, way: Way, door: Door) -> None:
    """B8.1, B8.4: straight out is the default; what is near has a rule of its own."""
    straight = Rule("web", "allow", ("any",), ("localhost",), ("localhost",))
    chain(rig, way, straight, BY_NAME)
    door.open()
    door.accept()
    assert way.nobody_comes()


def test_a_route_that_is_not_there(rig: Rig, way: Way, door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """DESIGN 5: it fails closed."""
    chain(rig, way, BY_NAME)
    rig.engine.routes = routes()
    door.open(OUTSIDE)
    assert door.refusal() == E_UNEXPECTED
    assert "internal failure" in rig.records[0].reason
    assert "KeyError" in caplog.text


# ---- network sockets -----------------------------------------------------------------------------------------------


def test_a_sessions_socket_follows_the_rule(rig: Rig, way: Way, recorder: Any) -> None:
    """B4.22, B8.7: the filter does nothing for it; the peer's name is the target's (B8.8).

    B4.24: the port, the upstream, the policy and the log, all with one socket.
    """
    chain(rig, way, BY_NAME)
    sock = rig.session().CreateNetworkSocket(6)
    completions = recorder()
    sock.Connect(OUTSIDE)
    sock.Send(FWXIOBuffer(b"hello"), completions, "sent")
    sock.Recv(None, completions, "came")
    peer = way.accept()
    peer.expect(connect(OUTSIDE))
    assert completions.calls == []
    peer.send(OK + b"220 ready")
    peer.expect(b"hello")
    rig.until(lambda: len(completions.calls) == 2)
    assert {done.tag: bytes(done.data) for done in completions.calls}["came"] == b"220 ready"
    assert sock.GetPeerName() == OUTSIDE
    (opening,) = rig.packet_filter
    assert (opening.local, opening.remote) == (sock.GetSockName(), way.address)
    sock.Close(False)
    peer.expect_end()
    rig.settle()
    assert not len(rig.packet_filter)
    (record,) = rig.records
    assert (record.destination_ip, record.destination_proxy, record.rule) == (OUTSIDE.host, "parent", "all")
    assert record.bytes_received == 9


def test_a_sessions_socket_leaves_the_name_to_the_upstream(rig: Rig, way: Way) -> None:
    chain(rig, way, BY_NAME)
    sock = rig.session().CreateNetworkSocket(6)
    sock.Connect(NAME)
    tunnel(way, NAME)
    rig.settle()
    assert rig.names.asked == []
    assert sock.GetPeerName() == NAME


def test_an_ip_filter_needs_the_addresses_of_a_name(rig: Rig, way: Way) -> None:
    """B4.11: so the name is looked up here, and an address that it includes is asked for."""
    chain(rig, way, BY_NAME)
    ip_filter = rig.firewall.CreateIpFilter()
    ip_filter.IncludeRange(OUTSIDE.address, OUTSIDE.address)
    sock = rig.session().CreateNetworkSocket(6)
    sock.SetIpFilter(ip_filter)
    sock.Connect(NAME)
    rig.names.asked.pop()([V4, OUTSIDE], 0)
    tunnel(way, OUTSIDE)
    rig.settle()
    assert sock.GetPeerName() == OUTSIDE


def test_the_firewalls_own_socket_goes_straight(rig: Rig, way: Way, closed: SocketAddress) -> None:
    """No rule is asked about it, so none names an upstream."""
    chain(rig, way, BY_NAME)
    sock = rig.firewall.CreateNetworkSocket(6)
    sock.Connect(closed)
    rig.until(lambda: rig.records)
    assert rig.records[0].resultcode == HRESULT_FROM_WIN32(WSAECONNREFUSED)
    assert way.nobody_comes()


def test_a_bound_socket_keeps_its_local_address(rig: Rig, way: Way) -> None:
    """Towards the upstream."""
    chain(rig, way, BY_NAME)
    sock = rig.session().CreateNetworkSocket(6)
    sock.Bind(SocketAddress("127.0.0.1", 0), None, None)
    local = sock.GetSockName()
    sock.Connect(NAME)
    peer = tunnel(way, NAME)
    assert SocketAddress.from_sockaddr(peer._sock.getpeername()) == local
    rig.settle()
    assert sock.GetSockName() == local


def test_a_bound_socket_of_another_family_than_the_upstreams(rig: Rig, way: Way, recorder: Any) -> None:
    chain(rig, way, BY_NAME)
    sock = rig.session().CreateNetworkSocket(6)
    sock.Bind(SocketAddress("::1", 0), None, None)
    with pytest.raises(COMError) as failure:
        sock.Connect(NAME)
    assert failure.value.hresult == HRESULT_FROM_WIN32(WSAEAFNOSUPPORT)
    assert "upstream 'parent'" in rig.records[0].reason


@pytest.mark.parametrize(
    ("said", "code"), [(b"HTTP/1.1 403 No\r\n\r\n", WSAEACCES), (b"HTTP/1.1 502 No\r\n\r\n", WSAEHOSTUNREACH)]
)
def test_a_refusal_fails_what_is_posted(rig: Rig, way: Way, recorder: Any, said: bytes, code: int) -> None:
    chain(rig, way, BY_NAME)
    sock = rig.session().CreateNetworkSocket(6)
    completions = recorder()
    sock.Connect(NAME)
    sock.Recv(None, completions, 0)
    way.accept().send(said)
    rig.until(lambda: completions.calls)
    assert completions.outcomes == [(0, False, code)]
    (record,) = rig.records
    assert record.reason.startswith(f"connecting failed: upstream 'parent' ({way.address}): HTTP status")
    assert not len(rig.packet_filter)


@pytest.mark.parametrize("how", ["closed", "its own time-out", "deadline"])
def test_a_socket_that_waits_for_the_upstream(rig: Rig, way: Way, recorder: Any, how: str) -> None:
    chain(rig, way, BY_NAME)
    sock = rig.session().CreateNetworkSocket(6)
    if how == "its own time-out":
        sock.set_timeout(FwxTimeoutType.fwxConnectExSendTimeout, 500)
    completions = recorder()
    sock.Connect(NAME)
    sock.Recv(None, completions, 0)
    peer = way.accept()
    peer.expect(connect(NAME))
    if how == "closed":
        sock.Close(True)
    else:
        rig.clock.advance(0.5 if how == "its own time-out" else 20.0)
    rig.until(lambda: completions.calls)
    expected = ERROR_OPERATION_ABORTED if how == "closed" else WSAETIMEDOUT
    assert completions.outcomes == [(0, False, expected)]
    peer.expect_reset_after_data()


def test_socks5_too(rig: Rig, way: Way) -> None:
    chain(rig, way, BY_NAME, codec=Socks5Client)
    sock = rig.session().CreateNetworkSocket(6)
    sock.Connect(OUTSIDE)
    sock.Send(FWXIOBuffer(b"hello"), None, 0)
    peer = way.accept()
    peer.expect(GREETED)
    peer.send(b"\x05\x00")
    peer.expect(request(OUTSIDE))
    peer.send(REPLY)
    peer.expect(b"hello")
