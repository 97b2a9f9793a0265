"""BIND, from the request to the one connection: who may wait, whom for, and every way not to get it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.logrecord import Action
from fwx.impl.lookups import MOST_LOOK_UPS
from fwx.impl.policy import Rule
from fwx.impl.user import FWXAuthenticatedUser
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    SocketAddress,
    fwx_AcceptedConnection,
    fwx_Bind_Tcp,
    fwx_ConnectionTerminating,
    fwx_dfpc_Middle,
    fwx_GetHostByName,
    fwx_Listen,
)
from fwx.interfaces.hresult import (
    E_UNEXPECTED,
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_DNS_QUOTA_EXCEEDED,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    WSAEADDRINUSE,
    WSAEAFNOSUPPORT,
    WSAECONNABORTED,
    WSAECONNRESET,
    WSAETIMEDOUT,
    WSAHOST_NOT_FOUND,
)
from tests.impl.binder import CLIENT, PEER, Binder
from tests.impl.test_emulation import Cache

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

ANYBODY = SocketAddress("0.0.0.0", 0)
ALL = fwx_Bind_Tcp | fwx_Listen | fwx_AcceptedConnection | fwx_ConnectionTerminating | FWX_ALL_SOURCES


@pytest.fixture
def binder(rig: Rig) -> Binder:
    return Binder(rig)


def winsock(code: int) -> int:
    return int(HRESULT_FROM_WIN32(code))


# ---- it works --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("kind", ["address", "anybody", "name"])
def test_two_answers(rig: Rig, binder: Binder, host: str, kind: str) -> None:
    """RFC 1928 sections 4 and 6: where others may connect, who has come, then the data of both, early one too."""
    rig.names.table["peer.example"] = [host]
    unspecified = "::" if ":" in host else "0.0.0.0"
    target = SocketAddress({"address": host, "anybody": unspecified, "name": "peer.example"}[kind], 21)
    told = binder.wait(target, early=b"early")
    assert told.port
    assert not told.address.is_unspecified, "others could not use it"  # type: ignore[union-attr]
    assert (kind == "anybody") or told.host == host
    binder.client.send(b" and later")
    peer = binder.come(host)
    rig.until(lambda: binder.peers)
    assert binder.peers == [peer.address]
    peer.expect(b"early and later")
    peer.send(b"answer")
    binder.client.expect(b"answer")
    rig.settle()
    assert not len(rig.packet_filter)
    binder.closed()
    assert not binder.left, "the client has its place until its connection ends"
    peer.close()
    binder.client.expect_end()
    binder.client.close()
    rig.until(lambda: binder.left)
    assert (binder.refusals, binder.left, len(binder.ended)) == ([], 1, 2)
    listening, waited, connection = rig.records
    assert [record.action for record in rig.records] == [Action.Listen, Action.Terminate, Action.Terminate]
    assert (listening.source_port, waited.resultcode, connection.bytes_received) == (CLIENT.port, 0, 15)
    assert (connection.source_ip, connection.source_port) == (peer.address.host, peer.address.port)
    assert (connection.original_client_ip, connection.rule) == (CLIENT.host, "everything")


def test_the_users_session(rig: Rig, binder: Binder) -> None:
    """DESIGN 6: its events, its record, the rules of its user."""
    rig.engine.policy = rig.policy(Rule("staff", "allow", ("any",), ("localhost",), ("localhost",), groups=("staff",)))
    events: list[Any] = []
    rig.host(handle=events.append, mask=ALL)
    binder.wait(user=FWXAuthenticatedUser("alice", ("staff",)))
    binder.come()
    rig.until(lambda: binder.peers)
    rig.until(lambda: len(events) == 4)
    assert [event.EventType for event in events] == [
        fwx_Bind_Tcp, fwx_Listen, fwx_AcceptedConnection, fwx_ConnectionTerminating,
    ]  # fmt: skip
    session = events[0].Parameters.Bind.piConnection.session
    assert session.user_name == "alice"
    assert events[2].Parameters.Accept.piConnectionAccepted.session is session
    assert {record.username for record in rig.records} == {"alice"}


def test_a_data_filter(rig: Rig, binder: Binder, watcher: Any) -> None:
    watching = watcher()

    def handle(event: Any) -> None:
        if event.EventType == fwx_AcceptedConnection:
            event.Parameters.Accept.piConnectionAccepted.AttachDataFilter(watching, fwx_dfpc_Middle, None)

    rig.host(handle=handle, mask=ALL)
    binder.wait(early=b"early")
    peer = binder.come()
    peer.expect(b"early")
    peer.send(b"in")
    binder.client.expect(b"in")
    assert b"".join(bytes(buffer.GetBufferAndSize()) for buffer in watching.passed[False]) == b"in"


def test_a_name_with_several_addresses(rig: Rig, binder: Binder) -> None:
    """Whichever of them comes; the family is the one that the client's protocol prefers."""
    rig.names.table["peer.example"] = ["::1", "127.0.0.3", "127.0.0.4"]
    told = binder.wait(SocketAddress("peer.example", 0))
    assert told.host == "127.0.0.1"
    binder.come("127.0.0.5").expect_reset()
    assert not binder.peers
    binder.come("127.0.0.4")
    rig.until(lambda: binder.peers)
    assert binder.peers[0].host == "127.0.0.4"


# ---- who comes -------------------------------------------------------------------------------------------------------


def test_the_wrong_peer(rig: Rig, binder: Binder) -> None:
    """It is reset and logged; the right one may still come, and nobody after it."""
    binder.wait(SocketAddress("127.0.0.9", 21))
    for _ in range(3):
        wrong = binder.come("127.0.0.8")
        wrong.expect_reset()
        record = rig.records[-1]
        assert (record.action, record.resultcode) == (Action.Denied, FWX_E_ADDRESS_NOT_ALLOWED)
        assert (record.source_ip, record.source_port) == (wrong.address.host, wrong.address.port)
        assert record.reason == f"{wrong.address} is not 127.0.0.9, for which the client waits"
    binder.come("127.0.0.9")
    rig.until(lambda: binder.peers)
    assert len(binder.peers) == 1
    binder.closed()


def test_who_comes_to_the_same_port_at_once(rig: Rig, binder: Binder) -> None:
    """One arrival only: the others that the kernel had taken are reset."""
    binder.wait()
    peers = [binder.come() for _ in range(3)]
    rig.until(lambda: binder.peers)
    rig.settle()
    assert len(binder.peers) == 1
    for peer in peers[1:]:
        peer.expect_reset()


def test_nobody_comes_while_the_log_fails(rig: Rig, binder: Binder) -> None:
    """B9.18: who does is reset; the client goes on waiting."""
    binder.wait()
    rig.engine.accepting = lambda: False
    binder.come().expect_reset()
    assert not binder.peers
    rig.engine.accepting = lambda: True
    binder.come()
    rig.until(lambda: binder.peers)


def test_policy_turns_somebody_away(rig: Rig, binder: Binder) -> None:
    """Whoever policy allows, and nobody else."""
    rig.engine.policy = rig.policy(Rule("outside", "allow", ("any",), ("outside",), ("any", "localhost")))
    binder.wait(ANYBODY)
    binder.come().expect_reset()
    assert rig.records[-1].resultcode == FWX_E_POLICY_RULES_DENIED
    assert not binder.peers
    binder.client.close()
    binder.refusal()


def test_another_rules_upstream(rig: Rig, binder: Binder) -> None:
    """Who would have to come through an upstream does not come straight."""
    rules = (
        Rule("far", "allow", ("any",), ("outside",), ("any", "localhost")),
        Rule("near", "allow", ("any",), ("localhost",), ("any", "localhost"), upstream="parent"),
    )
    rig.engine.policy = rig.policy(*rules)
    binder.wait(ANYBODY)
    binder.come().expect_reset()
    assert "through upstream 'parent'" in rig.records[-1].reason
    binder.client.close()
    binder.refusal()


# ---- who may wait ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [PEER, ANYBODY], ids=["address", "anybody"])
def test_denied_by_policy(rig: Rig, binder: Binder, target: SocketAddress) -> None:
    rig.engine.policy = rig.policy(Rule("no", "deny", ("any",), ("any", "localhost"), ("any", "localhost")))
    binder.bind(target)
    assert binder.refusal() == FWX_E_POLICY_RULES_DENIED
    (record,) = rig.records
    assert (record.action, record.rule, record.source_ip) == (Action.Denied, "no", CLIENT.host)
    assert f"waiting for {target.host}" in record.reason


def test_a_protocols_inbound_ports(rig: Rig) -> None:
    """A rule for a protocol with inbound ports lets others in there, and no client out."""
    policy = rig.engine.policy
    inbound = policy.judge("127.0.0.1", 1, SocketAddress("127.0.0.1", 1433), arrives=True)
    assert inbound.protocol == "Microsoft SQL Server"
    assert policy.judge("127.0.0.1", 1, SocketAddress("127.0.0.1", 1433)).protocol != "Microsoft SQL Server"


def test_a_name_that_no_rule_speaks_of(rig: Rig, binder: Binder) -> None:
    """It is not looked up, as for GetHostByName of the session (B9.12)."""
    rig.engine.policy = rig.policy(Rule("far", "allow", ("any",), ("outside",), ("any", "localhost")))
    binder.bind(SocketAddress("peer.example", 0))
    assert binder.refusal() == FWX_E_POLICY_RULES_DENIED
    assert not rig.names.asked


def test_a_name_whose_addresses_may_not_come(rig: Rig, binder: Binder) -> None:
    rule = Rule("out", "allow", ("any",), ("localhost",), ("outside",))
    rig.engine.policy = rig.policy(rule)
    rig.names.table["peer.example"] = ["203.0.113.7"]
    binder.bind(SocketAddress("peer.example", 0))
    assert binder.refusal() == FWX_E_POLICY_RULES_DENIED


@pytest.mark.parametrize("code", [WSAHOST_NOT_FOUND, WSAETIMEDOUT])
def test_no_such_name(rig: Rig, binder: Binder, code: int) -> None:
    if code == WSAHOST_NOT_FOUND:
        rig.names.table["peer.example"] = code
    binder.bind(SocketAddress("peer.example", 0))
    rig.clock.advance(20.0)
    assert binder.refusal() == winsock(code)
    assert rig.names.cancelled == (code == WSAETIMEDOUT)
    assert not len(rig.engine.look_ups)


def test_too_many_look_ups(rig: Rig, binder: Binder) -> None:
    """B5.17."""
    binders = [Binder(rig) for _ in range(MOST_LOOK_UPS)]
    for each in binders:
        each.bind(SocketAddress("slow.example", 0))
    binder.bind(SocketAddress("slow.example", 0))
    rig.until(lambda: binder.refusals)
    assert binder.refusals == [FWX_E_DNS_QUOTA_EXCEEDED]
    for each in binders:
        each.gateway.close()
        rig.until(lambda each=each: each.refusals == [FWX_E_TERMINATING])


@pytest.mark.parametrize("target", ["::", "::1", "six.example"])
def test_addresses_that_the_protocol_cannot_name(rig: Rig, binder: Binder, target: str) -> None:
    """SOCKS4 knows IPv4 alone."""
    rig.names.table["six.example"] = ["::1"]
    binder.bind(SocketAddress(target, 0), (socket.AF_INET,))
    assert binder.refusal() == winsock(WSAEAFNOSUPPORT)


def test_denied_by_a_filter(rig: Rig, binder: Binder) -> None:
    """B2.37: as if the address was in use."""

    def handle(event: Any) -> None:
        if event.EventType == fwx_Bind_Tcp:
            event.Parameters.Bind.piConnection.Deny(0)

    rig.host("denying", handle=handle, mask=ALL)
    binder.bind()
    assert binder.refusal() == winsock(WSAEADDRINUSE)
    (record,) = rig.records
    assert (record.action, "'denying'" in record.reason) == (Action.Denied, True)


def test_a_filter_denies_one_arrival(rig: Rig, binder: Binder) -> None:
    """B2.37: it is aborted; the client still waits, and has its place."""
    denied: list[Any] = []

    def handle(event: Any) -> None:
        if event.EventType == fwx_AcceptedConnection and not denied:
            denied.append(event.Parameters.Accept.piConnectionAccepted)
            denied[0].Deny(0)

    rig.host("denying", handle=handle, mask=ALL)
    binder.wait()
    binder.come().expect_reset()
    rig.until(lambda: binder.ended)
    assert (binder.left, binder.refusals, rig.records[-1].resultcode) == (0, [], winsock(WSAECONNABORTED))
    binder.come()
    rig.until(lambda: binder.peers)


# ---- the ends --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("while_", ["resolving", "waiting"])
def test_the_client_goes_away(rig: Rig, binder: Binder, how: str, while_: str) -> None:
    """The port is closed at once."""
    if while_ == "resolving":
        binder.bind(SocketAddress("slow.example", 0))
        rig.settle()
    else:
        binder.wait()
    binder.client.reset() if how == "reset" else binder.client.close()
    assert binder.refusal() == winsock(WSAECONNRESET)
    assert rig.names.cancelled == (while_ == "resolving")
    assert rig.records[-1].resultcode == winsock(WSAECONNRESET)


@pytest.mark.parametrize("answer", [0, 1])
def test_the_client_is_gone_when_it_is_told(rig: Rig, binder: Binder, answer: int) -> None:
    binder.is_there[answer] = False
    binder.bind()
    rig.until(lambda: binder.told)
    if answer:
        binder.come().expect_reset()
        rig.until(lambda: binder.left)
        assert (binder.left, binder.refusals) == (1, [])
        assert winsock(WSAECONNABORTED) in [record.resultcode for record in rig.records]
    else:
        assert binder.refusal() == winsock(WSAECONNRESET)


def test_nobody_comes(rig: Rig, binder: Binder) -> None:
    """The entry's deadline."""
    binder.wait()
    binder.binding.give_up(HRESULT_FROM_WIN32(WSAETIMEDOUT), "nobody came in time")
    assert binder.refusal() == winsock(WSAETIMEDOUT)
    assert rig.records[-1].reason == "waiting for 127.0.0.1: nobody came in time"
    binder.binding.give_up(E_UNEXPECTED, "again")
    assert len(binder.refusals) == 1


@pytest.mark.parametrize("how", ["service", "filter"])
def test_it_is_ended(rig: Rig, binder: Binder, how: str) -> None:
    """By the service that stops, or by a filter that kills the listening connection (B3.32)."""
    kept: list[Any] = []
    rig.host(
        handle=lambda event: event.EventType == fwx_Listen and kept.append(event.Parameters.Listen.piConnection),
        mask=ALL,
    )
    binder.wait()
    if how == "service":
        binder.gateway.close()
    else:
        kept[0].Kill()
    assert binder.refusal() == (FWX_E_TERMINATING if how == "service" else winsock(WSAECONNABORTED))


def test_a_fault_of_ours(rig: Rig, binder: Binder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails closed."""

    def fail(*_: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(rig.engine.policy, "judge_waiting", fail)
    binder.bind(ANYBODY)
    assert binder.refusal() == E_UNEXPECTED
    assert "RuntimeError: broken" in rig.records[0].reason


def test_a_filter_plays_the_peer(rig: Rig, binder: Binder) -> None:
    """B3.34, B3.36: the client is told the place and the peer that the filter has named; nobody else listens."""
    place, remote = SocketAddress("192.0.2.1", 2121), SocketAddress("203.0.113.9", 4000)
    cache, waiting = Cache(), []

    def handle(event: Any) -> None:
        if event.EventType == fwx_Bind_Tcp:
            waiting.append(event.Parameters.Bind.piConnection)
            waiting[0].EmulateForBind()
            waiting[0].SetSocketName(place)

    rig.host(mask=ALL, handle=handle)
    assert binder.wait(ANYBODY) == place
    assert not len(rig.packet_filter)
    waiting[0].EmulateConnection(cache, remote, None, place)
    assert binder.peers == [remote]
    binder.client.send(b"x")
    binder.client.expect(b"cached: x")
    binder.client.shutdown()
    rig.until(lambda: binder.left)
    assert cache.calls[1:] == ["Detach"]


def test_the_name_of_the_peer_is_shown_to_the_filters(rig: Rig, binder: Binder) -> None:
    """B2.26, B2.28: a filter that denies it refuses the client."""
    rig.host(
        mask=fwx_GetHostByName | FWX_ALL_SOURCES,
        handle=lambda event: event.Parameters.GetHostByName.piGetXByY.Deny(0),
    )
    binder.bind(SocketAddress("peer.example", 21))
    assert binder.refusal() == winsock(WSAHOST_NOT_FOUND)
    assert rig.names.asked == []
