"""What ``fwx sessions`` says of each kind of connection, what passes in a second, and what a kill ends."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from fwx.control import ControlError
from fwx.impl.gateway import Gateway
from fwx.impl.logrecord import Action
from fwx.impl.policy import Rule
from fwx.impl.user import FWXAuthenticatedUser
from fwx.interfaces import SocketAddress, fwxSourceNAT, fwxSourceWSP
from fwx.interfaces.hresult import HRESULT_FROM_WIN32, WSAECONNABORTED
from fwx.sessions_control import SessionsControl
from tests.impl.door import Door
from tests.impl.inward import Handed, Inward
from tests.impl.parts import Watcher
from tests.impl.test_datagramconnection import Association

if TYPE_CHECKING:
    from tests.impl.conftest import Opened, Rig

ANYWHERE = ("any", "localhost")
Told = Mapping[str, Any]


class Lines:
    """What would be sent."""

    def __init__(self) -> None:
        self.sent: list[Told] = []

    async def send(self, line: Told) -> None:
        self.sent.append(json.loads(json.dumps(line)))


def ask(rig: Rig, command: str, meanwhile: Callable[[], object] = lambda: None, **request: Any) -> list[Told]:
    """Do *command*; *meanwhile* is done between the two looks that rates come from."""

    async def sleep(seconds: float) -> None:
        meanwhile()
        rig.clock.advance(seconds)

    control, lines = SessionsControl(rig.engine, sleep), Lines()
    rig.loop.run_until_complete(getattr(control, command)(request, lines))
    assert lines.sent[0] == {"done": {}}
    return lines.sent[1:]


def listed(rig: Rig, **request: Any) -> list[Told]:
    """Return the connections alone."""
    return [line["connection"] for line in ask(rig, "sessions", **request) if "connection" in line]


def killed(rig: Rig, **request: Any) -> list[int]:
    return [line["connection"]["connection"] for line in ask(rig, "kill", **request)]


def opened_by(rig: Rig, host: str, user: str | None = None) -> Opened:
    """Return an established connection of the client *host* as *user*."""
    known = None if user is None else FWXAuthenticatedUser(user)
    session = rig.sessions.of(SocketAddress(host, 0), fwxSourceWSP, known)
    connection = rig.connection(session)
    (inner, client), (outer, server) = rig.pair(), rig.pair()
    connection.establish(inner, outer)
    return type(rig.open())(connection, client, server)


@pytest.fixture
def servers() -> Iterator[list[socket.socket]]:
    """Two UDP servers of the outside."""
    with ExitStack() as stack:
        made = [stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(2)]
        for sock in made:
            sock.bind(("127.0.0.1", 0))
        yield made


def test_a_session_and_its_connection(rig: Rig) -> None:
    """B10.7: the type, server, client address, user, source network and start time."""
    opened = rig.open(Watcher("watcher", rig.journal))
    rig.clock.advance(5)
    session, connection = ask(rig, "sessions")
    told = session["session"]
    assert (told["client"], told["user"], told["kind"], told["private"]) == ("127.0.0.1", "", "Firewall client", False)
    assert (told["server"], told["network"]) == ("rig", "localhost")
    assert (told["since"], told["connections"]) == (rig.clock.now - 5, 1)
    told = connection["connection"]
    assert (told["connection"], told["transport"], told["state"]) == (opened.connection.id, "TCP", "open")
    assert (told["target"], told["rule"], told["filters"]) == ("127.0.0.1:80", "everything", ["filter"])
    assert (told["seconds"], told["sent"], told["received"]) == (5, 0, 0)
    assert "sent_per_second" not in told


def test_a_session_of_a_securenat_client_without_connections(rig: Rig) -> None:
    """B10.7: it is listed, unless connections are asked for."""
    rig.session("192.0.2.9", fwxSourceNAT)
    (line,) = ask(rig, "sessions")
    assert (line["session"]["kind"], line["session"]["connections"]) == ("SecureNAT", 0)
    assert ask(rig, "sessions", rule="everything") == []


def test_the_loop_has_its_turns_within_a_large_session(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """All connections of an address are one session: to look at them, and to end them, is not one turn of the loop."""
    monkeypatch.setattr("fwx.sessions_control._AT_ONCE", 4)
    for _ in range(12):
        opened_by(rig, "127.0.0.1")
    control, rounds = SessionsControl(rig.engine), [0]

    async def count() -> None:
        while True:
            await asyncio.sleep(0)
            rounds[0] += 1

    async def counted(command: str) -> int:
        lines: Any = Lines()
        rounds[0] = 0
        counter = asyncio.create_task(count())
        await getattr(control, command)({"from": "127.0.0.1"}, lines)
        counter.cancel()
        assert len(lines.sent) > 12
        return rounds[0]

    assert rig.loop.run_until_complete(counted("sessions")) >= 3 * 12 // 4
    assert rig.loop.run_until_complete(counted("kill")) >= 2 * 12 // 4


def test_rates_come_from_two_looks(rig: Rig) -> None:
    opened = rig.open()
    opened.client.send(b"x" * 1000)
    rig.until(lambda: opened.connection.traffic[0] == 1000)

    def meanwhile() -> None:
        opened.connection._pump.up.count += 600  # type: ignore[union-attr]
        opened.connection._pump.down.count += 50  # type: ignore[union-attr]

    session, connection = ask(rig, "sessions", meanwhile, interval=2)
    for told in (session["session"], connection["connection"]):
        assert (told["sent"], told["received"]) == (1600, 50)
        assert (told["sent_per_second"], told["received_per_second"]) == (300, 25)


def test_what_ends_between_the_looks_is_left_out(rig: Rig) -> None:
    opened = rig.open()
    assert [*ask(rig, "sessions", opened.connection.end, interval=1)[1:]] == []


def test_a_connection_that_is_being_opened_and_its_end(rig: Rig) -> None:
    """A kill stops the look-up, the client hears that there is none, and the record says who has ended it."""
    door = Door(rig)
    door.open(SocketAddress("www.example", 80))
    (told,) = listed(rig)
    assert (told["state"], told["target"]) == ("opening", "www.example:80")
    assert killed(rig, host="www.example") == [told["connection"]]
    rig.until(lambda: rig.records)
    assert door.refusals == [HRESULT_FROM_WIN32(WSAECONNABORTED)]
    (record,) = rig.records
    assert record.reason == "ended by an operator: fwx sessions kill --to www.example"
    assert rig.names.cancelled == 1
    door.listener.close()


def test_who_waits_and_who_has_come(rig: Rig) -> None:
    transport, client = rig.pair()
    inward = Inward(rig, Handed(transport))
    inward.listen(SocketAddress("127.0.0.1", 0))
    peer = inward.come()
    peer.send(b"hello")
    client.expect(b"hello")
    waiting, arrived = listed(rig)
    assert (waiting["state"], waiting["target"], waiting["arrived"]) == ("waiting", str(inward.connection.bound), False)
    assert (arrived["state"], arrived["arrived"], arrived["received"]) == ("open", True, 5)
    assert arrived["target"] == str(SocketAddress.from_sockaddr(peer._sock.getsockname()))


def test_the_destinations_of_a_udp_connection(rig: Rig, servers: list[socket.socket]) -> None:
    """A target, or a rule, ends a destination; the client ends with all of them."""
    Gateway(rig.engine, rig.sessions, lambda _: None)
    first, second = (SocketAddress.from_sockaddr(sock.getsockname()) for sock in servers)
    association = Association(rig)
    (told,) = listed(rig)
    assert (told["transport"], told["target"], told["state"]) == ("UDP", "", "open")
    association.say(b"one", first)
    association.say(b"three", second)
    assert [(told["target"], told["sent"], told["rule"]) for told in listed(rig)] == [
        (str(first), 3, "everything"),
        (str(second), 5, "everything"),
    ]
    assert len(killed(rig, host=first.host, port=first.port)) == 1
    assert [told["target"] for told in listed(rig)] == [str(second)]
    assert not association.connection.terminating
    (record,) = rig.records
    assert (record.action, record.destination_port) == (Action.Terminate, first.port)
    assert record.reason == f"ended by an operator: fwx sessions kill --to {first}"
    assert killed(rig, session=association.connection.session.id) == [association.connection.id]
    assert association.connection.terminating


def test_a_kill_ends_what_it_says_and_nothing_else(rig: Rig) -> None:
    """Each criterion alone, then two together; what is left goes on."""
    alice, bob = opened_by(rig, "192.0.2.1", "alice"), opened_by(rig, "192.0.2.2", "bob")
    other, nobody = opened_by(rig, "192.0.2.1", "bob"), opened_by(rig, "192.0.2.1")
    alive = {each.connection.id for each in (alice, bob, other, nobody)}
    extra = [told["connection"] for told in listed(rig) if told["connection"] not in alive]
    assert killed(rig, **{"from": "127.0.0.0/8", "dry run": True}) == extra
    assert killed(rig, **{"from": "127.0.0.0/8"}) == extra
    assert killed(rig, user="bob", **{"from": "192.0.2.1"}) == [other.connection.id]
    assert killed(rig, user="ali") == []
    assert killed(rig, connection=bob.connection.id) == [bob.connection.id]
    assert killed(rig, session=alice.connection.session.id) == [alice.connection.id]
    rig.until(lambda: len(rig.records) == len(extra) + 3)
    assert {record.resultcode for record in rig.records} == {int(HRESULT_FROM_WIN32(WSAECONNABORTED))}
    assert [told["connection"] for told in listed(rig)] == [nobody.connection.id]
    nobody.client.send(b"goes on")
    nobody.server.expect(b"goes on")


def test_by_rule_and_by_filter(rig: Rig) -> None:
    """A filter that has come later has not seen what was there; a rule that is gone is known as long as it is used."""
    old = rig.open()
    rig.host("later")
    new = rig.open()
    rig.engine.policy = rig.policy(Rule("other", "allow", ("any",), ANYWHERE, ANYWHERE))
    assert killed(rig, filter="later", **{"dry run": True}) == [new.connection.id]
    assert killed(rig, rule="other", **{"dry run": True}) == []
    assert killed(rig, rule="everything", **{"dry run": True}) == [old.connection.id, new.connection.id]
    assert not old.connection.terminating
    with pytest.raises(ControlError, match=r"^the service has no rule 'othr'.*'other'"):
        killed(rig, rule="othr")


@pytest.mark.parametrize(
    ("command", "request_", "words"),
    [
        ("kill", {}, "nothing says which connections are to end"),
        ("kill", {"dry run": True}, "nothing says which connections are to end"),
        ("kill", {"user": "", "session": 0}, "nothing says which connections are to end"),
        ("kill", {"user": 7}, "'user' is 7; expected a text"),
        ("kill", {"user": "alice", "dry run": "yes"}, "'dry run' is 'yes'; expected true or false"),
        ("kill", {"filter": "lists"}, "the service has no filter 'lists'; there are none"),
        ("kill", {"from": "192.0.2.1/24"}, "'from' is '192.0.2.1/24'; expected an address, or a network"),
        ("kill", {"connection": -1}, "'connection' is -1; expected a whole number"),
        ("sessions", {"interval": 61}, "'interval' is 61; expected a number from 0 to 60"),
        ("sessions", {"port": True}, "'port' is True; expected a whole number"),
    ],
)
def test_what_makes_no_sense_does_nothing(rig: Rig, command: str, request_: dict[str, Any], words: str) -> None:
    opened = rig.open()
    with pytest.raises(ControlError) as failure:
        ask(rig, command, **request_)
    assert str(failure.value).startswith(words)
    assert not opened.connection.terminating
