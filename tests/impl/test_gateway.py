"""From a request to an established connection, and every way not to get there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.domainset import DomainSet
from fwx.impl.engine import Answer
from fwx.impl.logrecord import Action
from fwx.impl.lookups import MOST_LOOK_UPS
from fwx.impl.networks import LocalAddresses, Networks
from fwx.impl.policy import Policy, Rule
from fwx.impl.user import FWXAuthenticatedUser
from fwx.interfaces import Hostent, SocketAddress, fwx_dfpc_Middle
from fwx.interfaces.hresult import (
    E_UNEXPECTED,
    FWX_E_DNS_QUOTA_EXCEEDED,
    FWX_E_IS_BUSY,
    FWX_E_NOT_AUTHENTICATED,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    WSAECONNABORTED,
    WSAECONNREFUSED,
    WSAECONNRESET,
    WSAETIMEDOUT,
    WSAHOST_NOT_FOUND,
)
from tests.impl.door import Door

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.impl.conftest import Rig


@pytest.fixture
def door(rig: Rig) -> Iterator[Door]:
    door = Door(rig)
    yield door
    door.gateway.close()
    door.listener.close()


@pytest.mark.parametrize("named", [False, True])
def test_opened(rig: Rig, door: Door, named: bool) -> None:
    """The entry hears where the connection leaves from; what the client sent early goes first; one record."""
    rig.names.table["www.example"] = ["127.0.0.1"]
    door.open(SocketAddress("www.example", door.address.port) if named else None, early=b"GET /")
    server = door.accept()
    assert door.bound == [SocketAddress.from_sockaddr(server._sock.getpeername())]
    assert not door.gateway.opening
    server.expect(b"GET /")
    server.send(b"200 OK")
    door.client.expect(b"200 OK")
    server.shutdown()
    door.client.expect_end()
    door.client.shutdown()
    rig.until(lambda: door.ended)
    (record,) = rig.records
    assert record.nat_address == door.bound[0].host == "127.0.0.1"
    assert (record.action, record.interface, record.agent) == (Action.Terminate, "proxy", "browser")
    assert (record.destination_ip, record.destination_name) == ("127.0.0.1", "www.example" if named else "")
    assert door.refusals == []


DENY = Rule("no", "deny", ("any",), ("any", "localhost"), ("localhost",))


def test_denied(rig: Rig, door: Door) -> None:
    """A request that policy denies raises no event."""
    host = rig.host()
    rig.engine.policy = rig.policy(DENY)
    door.open()
    assert door.refusal() == FWX_E_POLICY_RULES_DENIED
    assert rig.records[0].action is Action.Denied
    assert [entry for entry in rig.journal if entry[1] == "event"] == []
    assert host.state == "ready"


def test_a_name_is_denied_by_its_address(rig: Rig, door: Door) -> None:
    """DESIGN 6: the address that a name resolved to is judged too."""
    rig.engine.policy = rig.policy(DENY)
    door.open(SocketAddress("rebind.example", 80))
    rig.settle()
    assert door.refusals == []
    rig.names.asked.pop()([SocketAddress("127.0.0.1", 80)], 0)
    assert door.refusal() == FWX_E_POLICY_RULES_DENIED
    assert (rig.records[0].destination_name, rig.records[0].rule) == ("rebind.example", "no")


@pytest.mark.parametrize("action", ["allow", "deny"])
def test_an_address_is_not_looked_up(rig: Rig, door: Door, action: Any) -> None:
    """B7.11: whose name it is, is whatever somebody has written into the DNS; rules about names judge the name used."""
    local = LocalAddresses(reader=lambda path: "", clock=rig.clock)
    rules = (
        Rule("by name", action, ("any",), ("localhost",), ("named",)),
        Rule("rest", "allow", ("any",), ("localhost",), ("localhost",)),
    )
    rig.engine.policy = Policy(Networks((), local), (DomainSet("named", ("*.in-addr.arpa", "*.example")),), (), rules)
    rig.names.answers[door.address.address] = Answer(Hostent("www.example", (), ()))
    door.open()
    door.accept()
    (connection,) = rig.sessions.connections()
    assert connection.verdict.rule == "rest"
    assert (rig.names.asked, rig.names.looking_up) == ([], [])
    connection.end()
    rig.until(lambda: door.ended)


def test_no_such_name(rig: Rig, door: Door) -> None:
    rig.names.table["nowhere.example"] = WSAHOST_NOT_FOUND
    door.open(SocketAddress("nowhere.example", 80))
    assert door.refusal() == HRESULT_FROM_WIN32(WSAHOST_NOT_FOUND)
    assert rig.records[0].action is Action.Failed


def test_refused(rig: Rig, door: Door, watcher: Any, closed: SocketAddress) -> None:
    """B1.30: the data filters that wait for the connection are detached."""
    watching = watcher()
    rig.attaching(watching)
    door.open(closed)
    assert door.refusal() == HRESULT_FROM_WIN32(WSAECONNREFUSED)
    assert watching.journal == [("watcher", "detach", None)]


@pytest.mark.parametrize("named", [False, True])
def test_while_the_log_fails(rig: Rig, door: Door, named: bool) -> None:
    """B9.18: what is asked for is refused, and no name is looked up for it."""
    rig.engine.accepting = lambda: False
    door.open(SocketAddress("www.example", door.address.port) if named else door.address)
    assert door.refusal() == FWX_E_IS_BUSY
    assert rig.names.asked == []
    door.listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        door.listener.accept()


@pytest.mark.parametrize(
    ("handle", "result"),
    [
        (lambda event: event.Parameters.Connect.piConnection.Deny(0), HRESULT_FROM_WIN32(WSAECONNREFUSED)),
        (lambda event: event.Parameters.Connect.piConnection.Kill(), HRESULT_FROM_WIN32(WSAECONNABORTED)),
        (lambda event: 1 / 0, E_UNEXPECTED),
    ],
    ids=["denies", "kills", "fails"],
)
def test_a_filter_that_does_not_want_it(rig: Rig, door: Door, handle: Any, result: int) -> None:
    """B2.37, B2.39, B3.32: the server is not even asked."""
    rig.host(handle=handle)
    door.open()
    assert door.refusal() == result
    door.listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        door.listener.accept()


def test_killed_while_connecting(rig: Rig, door: Door) -> None:
    """B3.32: the attempt ends, the client is refused, the server is let go."""
    kept: list[Any] = []
    rig.host(handle=lambda event: kept.append(event.Parameters.Connect.piConnection))
    door.open()
    kept[0].Kill()
    assert door.refusal() == HRESULT_FROM_WIN32(WSAECONNABORTED)


@pytest.mark.parametrize("while_", ["resolving", "connecting"])
def test_the_client_goes_away(rig: Rig, door: Door, deaf: SocketAddress, while_: str) -> None:
    """The attempt is given up at once."""
    door.open(SocketAddress("slow.example", 80) if while_ == "resolving" else deaf)
    rig.settle()
    door.client.reset()
    assert door.refusal() == HRESULT_FROM_WIN32(WSAECONNRESET)
    assert rig.names.cancelled == (while_ == "resolving")


def test_a_client_that_half_closes_is_still_there(rig: Rig, door: Door) -> None:
    """What it sent and its end wait in the kernel."""
    door.client.send(b"one-way")
    door.client.shutdown()
    door.open(SocketAddress("slow.example", door.address.port))
    rig.settle()
    assert door.refusals == []
    rig.names.asked.pop()([door.address], 0)
    server = door.accept()
    server.expect(b"one-way")
    server.expect_end()


def test_the_client_is_gone_when_it_is_told(rig: Rig, door: Door) -> None:
    door.client_is_there = False
    door.open()
    server = door.accept()
    server.expect_reset()
    rig.until(lambda: door.ended)
    assert rig.records[0].resultcode == HRESULT_FROM_WIN32(WSAECONNABORTED)
    assert door.refusals == []


def test_the_service_stops(rig: Rig, door: Door) -> None:
    door.open(SocketAddress("slow.example", 80))
    door.gateway.close()
    assert door.refusal() == FWX_E_TERMINATING


def test_the_deadline(rig: Rig, door: Door, deaf: SocketAddress) -> None:
    door.open(deaf)
    rig.settle()
    rig.clock.advance(20.0)
    assert door.refusal() == HRESULT_FROM_WIN32(WSAETIMEDOUT)


def test_the_deadline_holds_for_names_too(rig: Rig, door: Door) -> None:
    door.open(SocketAddress("slow.example", 80))
    rig.clock.advance(20.0)
    assert door.refusal() == HRESULT_FROM_WIN32(WSAETIMEDOUT)
    assert rig.names.cancelled == 1
    assert not len(rig.engine.look_ups)


def test_one_client_does_not_take_the_resolver(rig: Rig, door: Door) -> None:
    """B5.17: more look-ups than the quota are refused; those that ended count no more."""
    doors = [Door(rig) for _ in range(MOST_LOOK_UPS)]
    for each in doors:
        each.gateway = door.gateway
        each.open(SocketAddress("slow.example", 80))
        rig.closing.append(each.listener.close)
    door.open(SocketAddress("slow.example", 80))
    rig.until(lambda: door.refusals)
    assert door.refusals == [FWX_E_DNS_QUOTA_EXCEEDED]
    assert rig.records[-1].resultcode == FWX_E_DNS_QUOTA_EXCEEDED
    for done in rig.names.asked:
        done([], WSAHOST_NOT_FOUND)
    rig.settle()
    assert [each.refusals for each in doors] == [[HRESULT_FROM_WIN32(WSAHOST_NOT_FOUND)]] * MOST_LOOK_UPS
    assert not len(rig.engine.look_ups)


def test_which_filters_see_it(rig: Rig, door: Door) -> None:
    """DESIGN 5: those that are everywhere, in the order of their tables, then the rule's, in the order of the rule."""
    names = [("first", True), ("second", False), ("third", False), ("fourth", True)]
    for name, everywhere in names:
        rig.host(name, everywhere=everywhere)
    rule = Rule("some", "allow", ("any",), ("localhost",), ("localhost",), filters=("third", "second", "first"))
    rig.engine.policy = rig.policy(rule)
    door.open()
    door.accept()
    assert [entry[0] for entry in rig.journal if entry[1] == "event"] == ["first", "fourth", "third", "second"]


def test_filters_that_take_the_place_of_others_see_it(rig: Rig, door: Door) -> None:
    """Who sees the connections of a verdict is remembered for as long as the engine has the same filters."""
    verdict = rig.engine.policy.judge("127.0.0.1", 40000, door.address)
    named, everywhere = replace(verdict, filters=("named",)), rig.host("first")
    hosts = [rig.host("named", everywhere=False)]
    assert [door.gateway.hosts_of(each) for each in (verdict, named)] == [(everywhere,), (everywhere, *hosts)]
    hosts.append(rig.host("named", everywhere=False))
    rig.engine.filters = (everywhere, hosts[1])
    assert [door.gateway.hosts_of(each) for each in (named, verdict)] == [(everywhere, hosts[1]), (everywhere,)]
    door.transport.close(False)


def test_a_fault_of_ours_refuses_the_client(rig: Rig, door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """DESIGN 5: it fails closed."""
    rig.engine.policy = None  # type: ignore[assignment]
    door.open()
    assert door.refusal() == E_UNEXPECTED
    assert "internal failure" in rig.records[0].reason
    assert "AttributeError" in caplog.text


def test_a_connection_with_a_filter(rig: Rig, door: Door, watcher: Any) -> None:
    """B1.24, B1.25: from the event to the sockets."""
    watching = watcher()

    def handle(event: Any) -> None:
        event.Parameters.Connect.piConnection.AttachDataFilter(watching, fwx_dfpc_Middle, None)

    rig.host(handle=handle)
    door.open(early=b"early")
    server = door.accept()
    server.expect(b"early")
    assert watching.journal == [("watcher", "sockets", None)]
    assert bytes(watching.passed[True][0].GetBufferAndSize()) == b"early"


STAFF_ALONE = Rule("staff", "allow", ("any",), ("localhost",), ("any", "localhost"), groups=("staff",))


def test_a_user_is_judged_and_logged(rig: Rig, door: Door) -> None:
    """B9.16, B10.2: the session carries user and groups before the first filter runs."""
    seen: list[Any] = []

    def handle(event: Any) -> None:
        seen.append(event.Parameters.Connect.piConnection.GetSession().GetAuthenticatedUser())

    rig.host(handle=handle)
    rig.engine.policy = rig.policy(STAFF_ALONE)
    user = FWXAuthenticatedUser("ann", ("staff",))
    door.open(user=user)
    server = door.accept()
    assert seen == [user]
    server.reset()
    rig.until(lambda: door.ended)
    assert (rig.records[0].username, rig.records[0].rule) == ("ann", "staff")


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    ("user", "told"),
    [(None, FWX_E_NOT_AUTHENTICATED), (FWXAuthenticatedUser("bob"), FWX_E_POLICY_RULES_DENIED)],
)
def test_the_entry_hears_that_a_user_would_help(
    rig: Rig, door: Door, user: FWXAuthenticatedUser | None, told: int, named: bool
) -> None:
    """The log has the denial as every other; so has what a name resolved to."""
    rig.engine.policy = rig.policy(replace(STAFF_ALONE, destination=("localhost",)))
    rig.names.table["www.example"] = ["127.0.0.1"]
    door.open(SocketAddress("www.example", 80) if named else None, user=user)
    rig.until(lambda: door.ended)
    assert door.refusals == [told]
    assert rig.records[0].resultcode == FWX_E_POLICY_RULES_DENIED
    assert rig.records[0].action is Action.Denied


@pytest.mark.parametrize(("user", "logged"), [(None, "eve (?)"), (FWXAuthenticatedUser("ann"), "ann")])
def test_what_a_client_claims(rig: Rig, door: Door, user: FWXAuthenticatedUser | None, logged: str) -> None:
    door.open(user=user, claimed_user="eve")
    door.accept().reset()
    rig.until(lambda: door.ended)
    assert rig.records[0].username == logged


@pytest.mark.parametrize("target", [None, "closed"])
def test_who_asked_hears_of_the_end(rig: Rig, door: Door, closed: SocketAddress, target: str | None) -> None:
    """Once, when the connection is gone, established or not: the client's place in the limits is free."""
    ended: list[int] = []
    door.open(closed if target else None, on_ended=lambda: ended.append(len(rig.sessions.connections())))
    if not target:
        server = door.accept()
        rig.settle()
        assert ended == []
        server.reset()
    rig.until(lambda: door.ended)
    assert ended == [0]
