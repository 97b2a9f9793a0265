"""Live connections when a schedule begins or ends: those that are no longer allowed end, and no other is disturbed."""

from __future__ import annotations

import calendar
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.domainset import DomainSet
from fwx.impl.logrecord import Action
from fwx.impl.networks import LocalAddresses, Networks
from fwx.impl.policy import Policy, Rule
from fwx.impl.rejudgement import AT_ONCE, Disallowed, Judgement, disallowed, disallowed_by, end_disallowed, end_in_turns
from fwx.impl.schedule import Calendar, Schedule
from fwx.impl.urlset import Url, UrlSet
from fwx.impl.webrequest import WebRequest
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import FWX_E_POLICY_CONNECTION_CLOSED, FWX_E_POLICY_RULES_DENIED
from fwx.period_watch import LOOK_SECONDS, PeriodWatch
from tests.impl.door import Door
from tests.impl.inward import Handed, Inward
from tests.impl.test_datagramconnection import Association

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

ANYWHERE = ("any", "localhost")
MONDAY = calendar.timegm((2026, 11, 2, 0, 0, 0))
NOON, EVENING = MONDAY + 12 * 3600, MONDAY + 18 * 3600


class Wall:
    """A clock that only the test moves; local time is UTC."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def door(rig: Rig) -> Iterator[Door]:
    door = Door(rig)
    yield door
    door.gateway.close()
    door.listener.close()


def rule(name: str, action: Any = "allow", to: tuple[str, ...] = ANYWHERE, **parts: Any) -> Rule:
    return Rule(name, action, ("any",), ANYWHERE, to, **parts)


def by(rig: Rig, wall: Wall, *rules: Rule) -> None:
    """Have the rig judge by *rules*; ``work`` is a schedule that ends at 18:00, ``evening`` begins then."""
    local = LocalAddresses(reader=lambda _path: "", clock=rig.clock)
    days = frozenset(range(7))
    schedules = (Schedule("work", days, ((480, 1080),)), Schedule("evening", days, ((1080, 1320),)))
    sets = (DomainSet("own", ("www.example",)),)
    rig.engine.policy = Policy(Networks((), local), sets, (), rules, Calendar(schedules, wall, time.gmtime))


def closed(rig: Rig) -> list[str]:
    """Return the rules of the connections that were ended because the policy said so."""
    found = [record for record in rig.records if record.resultcode == FWX_E_POLICY_CONNECTION_CLOSED]
    assert all(record.action is Action.Terminate for record in found)
    assert all(record.reason.startswith("no longer allowed: ") for record in found)
    return [record.rule for record in found]


def test_a_connection_ends_with_its_period(rig: Rig, wall: Wall, door: Door) -> None:
    """B7.19: the schedule is checked all the time; the result is FWX_E_POLICY_CONNECTION_CLOSED."""
    by(rig, wall, rule("by day", schedule="work"))
    door.open()
    server = door.accept()
    watch = PeriodWatch(rig.engine, rig.clock.call_later)
    watch.start()
    rig.clock.advance(LOOK_SECONDS)
    server.send(b"still here")
    door.client.expect(b"still here")
    wall.now = EVENING
    rig.clock.advance(LOOK_SECONDS)
    rig.until(lambda: door.ended)
    door.client.expect_reset()
    server.expect_reset()
    assert closed(rig) == ["by day"]
    assert "no rule allows" in rig.records[0].reason
    assert any(timer.callback == watch._look for timer in rig.clock.timers)
    watch.stop()
    assert not any(timer.callback == watch._look for timer in rig.clock.timers)


def test_a_clock_that_is_put_back_ends_connections_too(rig: Rig, wall: Wall, door: Door) -> None:
    """B7.19: also when the clock changes."""
    by(rig, wall, rule("by day", schedule="work"))
    door.open()
    door.accept()
    watch = PeriodWatch(rig.engine, rig.clock.call_later)
    watch.start()
    wall.now = MONDAY
    rig.clock.advance(LOOK_SECONDS)
    rig.until(lambda: door.ended)
    assert closed(rig) == ["by day"]
    watch.stop()


def test_without_schedules_nobody_looks(rig: Rig, wall: Wall) -> None:
    by(rig, wall, rule("always"))
    watch = PeriodWatch(rig.engine, rig.clock.call_later)
    watch.start()
    assert rig.clock.timers == []
    watch.stop()


def test_the_request_that_a_connection_carries_is_judged(rig: Rig, wall: Wall, door: Door) -> None:
    """B7.19, B7.7: with its URL, and with the content of the response once that is known."""
    host, port = door.address.host, door.address.port
    local = LocalAddresses(reader=lambda _path: "", clock=rig.clock)
    sets = (UrlSet("old", (f"{host}:*/old/*",)), UrlSet("new", (f"{host}:*/new",)))

    def judge_by(*rules: Rule) -> None:
        rig.engine.policy = Policy(Networks((), local), (), (), rules, url_sets=sets)

    judge_by(rule("all"))
    door.open(web=WebRequest(Url(host, port, "/old/x")))
    door.accept()
    (connection,) = rig.sessions.connections()
    judge_by(rule("old", to=("old",), content_types=("text/*",)))
    assert list(disallowed(rig.engine)) == []
    connection.web = WebRequest(Url(host, port, "/old/x"), "image/png")
    assert len(list(disallowed(rig.engine))) == 1
    connection.web = WebRequest(Url(host, port, "/old/x"), "text/html")
    assert list(disallowed(rig.engine)) == []
    judge_by(rule("new", to=("new",)))
    assert end_disallowed(rig.engine) == 1
    rig.until(lambda: door.ended)
    assert closed(rig) == ["all"]


def test_a_denial_that_begins_ends_what_an_unchanged_rule_allowed(rig: Rig, wall: Wall, door: Door) -> None:
    by(rig, wall, rule("not now", "deny", schedule="evening"), rule("always"))
    door.open()
    door.accept()
    wall.now = EVENING
    assert end_disallowed(rig.engine) == 1
    rig.until(lambda: door.ended)
    assert closed(rig) == ["always"]
    assert "rule 'not now' denies" in rig.records[0].reason


def test_what_another_rule_allows_now_goes_on(rig: Rig, wall: Wall, door: Door) -> None:
    by(rig, wall, rule("by day", schedule="work"), rule("later", schedule="evening"))
    door.open()
    server = door.accept()
    wall.now = EVENING
    assert end_disallowed(rig.engine) == 0
    server.send(b"untouched")
    door.client.expect(b"untouched")
    wall.now = EVENING + 4 * 3600
    assert [each.connection.verdict.rule for each in disallowed(rig.engine)] == ["by day"]
    assert not door.ended, "asking ends nothing"
    assert end_disallowed(rig.engine) == 1
    assert end_disallowed(rig.engine) == 0, "once is enough"
    rig.until(lambda: door.ended)


@pytest.mark.parametrize("to", [("own",), ("localhost",)])
def test_a_name_is_judged_with_the_address_it_led_to(rig: Rig, wall: Wall, door: Door, to: tuple[str, ...]) -> None:
    rules = (
        rule("by day", to=(*to, "localhost"), schedule="work"),
        rule("later", to=(*to, "localhost"), schedule="evening"),
    )
    by(rig, wall, *rules)
    rig.names.table["www.example"] = ["127.0.0.1"]
    door.open(SocketAddress("www.example", door.address.port))
    door.accept()
    wall.now = EVENING
    assert end_disallowed(rig.engine) == 0
    wall.now = EVENING + 4 * 3600
    assert end_disallowed(rig.engine) == 1
    rig.until(lambda: door.ended)
    assert closed(rig) == ["by day"]


def test_what_is_being_opened_is_judged_by_what_it_may_reach(rig: Rig, wall: Wall, door: Door) -> None:
    """While its name is looked up nothing is decided; while it is dialled the addresses are those that were allowed."""
    by(
        rig,
        wall,
        rule("by day", to=("localhost",), schedule="work"),
        rule("later", to=("localhost",), schedule="evening"),
    )
    door.open(SocketAddress("www.example", door.address.port))
    assert rig.names.asked
    assert end_disallowed(rig.engine) == 0
    rig.names.asked.pop()([SocketAddress("127.0.0.1", door.address.port)], 0)
    (connection,) = rig.sessions.connections()
    assert connection.address is None, "it is dialling"
    wall.now = EVENING
    assert end_disallowed(rig.engine) == 0
    wall.now = EVENING + 4 * 3600
    assert end_disallowed(rig.engine) == 1
    rig.until(lambda: door.ended)
    assert [record.resultcode for record in rig.records] == [FWX_E_POLICY_CONNECTION_CLOSED]
    assert door.refusals == [FWX_E_POLICY_CONNECTION_CLOSED]


def test_what_a_filter_has_announced_stands_under_the_rule_of_its_primary(rig: Rig, wall: Wall) -> None:
    by(rig, wall, rule("by day", schedule="work"), rule("later", to=("own",)))
    opened = rig.open()
    opened.connection.is_secondary = True
    assert end_disallowed(rig.engine) == 0
    wall.now = EVENING
    (found,) = disallowed(rig.engine)
    assert found.reason == "rule 'by day', under which it stands, is not in force"
    found.end()
    rig.until_gone(opened.connection)
    assert closed(rig) == ["by day"]


def test_waiting_for_others_and_who_has_come(rig: Rig, wall: Wall) -> None:
    by(rig, wall, rule("by day", schedule="work"), rule("later", schedule="evening"))
    transport, client = rig.pair()
    inward = Inward(rig, Handed(transport))
    inward.listen(SocketAddress("127.0.0.1", 0))
    peer = inward.come()
    peer.send(b"hello")
    client.expect(b"hello")
    wall.now = EVENING
    assert end_disallowed(rig.engine) == 0
    wall.now = EVENING + 4 * 3600
    assert end_disallowed(rig.engine) == 2
    rig.until(lambda: inward.accepted_ended and inward.ended)
    peer.expect_reset()
    assert closed(rig) == ["by day", "by day"]


def test_who_still_waits_is_told(rig: Rig, wall: Wall) -> None:
    by(rig, wall, rule("by day", schedule="work"))
    transport, _client = rig.pair()
    rig.closing.append(lambda: transport.close(True))
    inward = Inward(rig, Handed(transport))
    inward.listen(SocketAddress("127.0.0.1", 0))
    assert end_disallowed(rig.engine) == 0
    wall.now = EVENING
    assert end_disallowed(rig.engine) == 1
    rig.until(lambda: inward.ended)
    assert closed(rig) == ["by day"]


def test_one_destination_ends_and_the_others_go_on(rig: Rig, wall: Wall) -> None:
    by(rig, wall, rule("no names", "deny", to=("own",), schedule="evening"), rule("always"))
    rig.names.table["www.example"] = ["127.0.0.2"]
    with socket.socket(type=socket.SOCK_DGRAM) as first, socket.socket(type=socket.SOCK_DGRAM) as second:
        for sock, host in ((first, "127.0.0.1"), (second, "127.0.0.2")):
            sock.bind((host, 0))
            sock.settimeout(5)
        association = Association(rig)
        literal = SocketAddress.from_sockaddr(first.getsockname())
        named = SocketAddress("www.example", second.getsockname()[1])
        association.say(b"one", literal)
        association.say(b"two", named)
        assert (first.recv(99), second.recv(99)) == (b"one", b"two")
        assert end_disallowed(rig.engine) == 0
        wall.now = EVENING
        assert end_disallowed(rig.engine) == 1
        assert closed(rig) == ["always"]
        assert (rig.records[0].protocol, rig.records[0].destination_name) == ("UDP", "www.example")
        association.say(b"three", literal)
        assert first.recv(99) == b"three"
        association.say(b"four", named)
        assert (rig.records[1].resultcode, rig.records[1].rule) == (FWX_E_POLICY_RULES_DENIED, "no names")
        # What was refused is allowed again, over the association that is there.
        wall.now = EVENING + 12 * 3600
        association.say(b"five", named)
        assert end_disallowed(rig.engine) == 0
        association.say(b"six", named)
        assert second.recv(99) == b"six"
        assert len(rig.records) == 2
        association.end()


def test_many_are_judged_in_turns(rig: Rig, wall: Wall) -> None:
    """The loop goes round meanwhile, and every connection is judged."""
    by(rig, wall, rule("no names", "deny", to=("own",), schedule="evening"), rule("by day", schedule="work"))
    opened = [rig.connection() for _ in range(2 * AT_ONCE + 1)]
    counts: list[int] = []
    wall.now = EVENING
    end_in_turns(rig.engine, counts.append)
    assert sum(connection.terminating for connection in opened) == AT_ONCE
    assert counts == []
    rig.until(lambda: counts)
    assert counts == [len(opened)]
    rig.until(lambda: len(closed(rig)) == len(opened))


def test_what_another_policy_would_not_allow(rig: Rig, wall: Wall, door: Door) -> None:
    """Nothing is ended by asking, and nobody is judged by that policy."""
    by(rig, wall, rule("now"))
    in_force = rig.engine.policy
    door.open()
    server = door.accept()
    by(rig, wall, rule("then", schedule="evening"))
    other, rig.engine.policy = rig.engine.policy, in_force
    found: list[list[Disallowed]] = []
    disallowed_by(rig.engine, Judgement(other, rig.engine.routes, lambda user: user.who), found.append)
    rig.until(lambda: bool(found))
    ((told,),) = found
    assert told.connection.verdict.rule == "now"
    assert "no rule allows" in told.reason
    assert rig.engine.policy is in_force
    server.send(b"still here")
    door.client.expect(b"still here")
