"""The records of connections that last, and those of connections that begin."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.interim import INTERMEDIATE_SECONDS, InterimRecords
from fwx.impl.logrecord import Action
from fwx.impl.policy import Rule
from fwx.interfaces import SocketAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.impl.conftest import Rig

LOOK = INTERMEDIATE_SECONDS / 30


@pytest.fixture
def interim(rig: Rig) -> Iterator[InterimRecords]:
    interim = InterimRecords(rig.engine)
    interim.start()
    yield interim
    interim.close()
    assert not [timer for timer in rig.clock.timers if timer.callback == interim._look]


def advance(rig: Rig, seconds: float) -> None:
    """Let time pass in the steps of the looks."""
    for _ in range(int(seconds / LOOK)):
        rig.clock.advance(LOOK)


def told(rig: Rig) -> list[tuple[Any, ...]]:
    return [
        (each.action, each.bytes_sent, each.bytes_received, each.connection_time, each.logged_before)
        for each in rig.records
    ]


def test_a_connection_of_a_quarter_of_an_hour_is_logged_with_running_totals(rig: Rig, interim: InterimRecords) -> None:
    """B9.11: and every quarter of an hour after that; each record tells what has come since the one before."""
    opened = rig.open()
    opened.client.send(b"abc")
    opened.server.expect(b"abc")
    advance(rig, INTERMEDIATE_SECONDS - LOOK)
    assert rig.records == []
    advance(rig, LOOK)
    opened.server.send(b"defgh")
    opened.client.expect(b"defgh")
    advance(rig, INTERMEDIATE_SECONDS + LOOK)
    opened.connection.end()
    rig.until_gone(opened.connection)
    assert told(rig) == [
        (Action.Intermediate, 3, 0, 900_000, (0, 0, 0)),
        (Action.Intermediate, 3, 5, 1_800_000, (3, 0, 900_000)),
        (Action.Terminate, 3, 5, 1_830_000, (3, 5, 1_800_000)),
    ]
    assert len({record.connection_id for record in rig.records}) == 1


def test_a_filter_is_named_in_between_too(rig: Rig, interim: InterimRecords, watcher: Any) -> None:
    opened = rig.open(watcher())
    advance(rig, INTERMEDIATE_SECONDS)
    opened.connection.end()
    rig.until_gone(opened.connection)
    assert [(record.action, record.filters) for record in rig.records] == [
        (Action.Intermediate, "filter"),
        (Action.Terminate, "filter"),
    ]


def test_a_rule_without_a_log_has_none_in_between_either(rig: Rig, interim: InterimRecords) -> None:
    """B9.15."""
    rig.engine.policy = rig.policy(Rule("quiet", "allow", ("any",), ("any", "localhost"), ("localhost",), (), False))
    opened = rig.open()
    advance(rig, INTERMEDIATE_SECONDS)
    opened.connection.end()
    rig.until_gone(opened.connection)
    assert rig.records == []


def test_what_is_not_established_has_no_totals(rig: Rig, interim: InterimRecords) -> None:
    connection = rig.connection()
    advance(rig, INTERMEDIATE_SECONDS)
    assert rig.records == []
    connection.refuse(1, "late")
    rig.until_gone(connection)


def test_many_connections_are_spread_over_turns_of_the_loop(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fwx.impl.interim._CONNECTIONS_A_TURN", 2)
    opened = [rig.open() for _ in range(5)]
    interim = InterimRecords(rig.engine, 30.0)
    interim.start()
    rig.clock.advance(30.0)
    assert len(rig.records) == 2
    rig.clock.advance(0)
    rig.clock.advance(0)
    assert [record.action for record in rig.records] == [Action.Intermediate] * 5
    interim.close()
    for each in opened:
        each.connection.end()
        rig.until_gone(each.connection)


def test_where_it_is_asked_for_a_connection_is_bracketed(rig: Rig) -> None:
    """B9.11: Establish and Terminate; a refused one has one record still."""
    rig.engine.logs_establishing = True
    opened = rig.open()
    assert [record.action for record in rig.records] == [Action.Establish]
    opened.connection.end()
    rig.until_gone(opened.connection)
    refused = rig.connection()
    refused.refuse(1, "no")
    rig.until_gone(refused)
    assert [record.action for record in rig.records] == [Action.Establish, Action.Terminate, Action.Failed]
    assert rig.records[0].nat_address == "127.0.0.1"


class Client:
    """The client's end of a UDP connection that has sent one datagram."""

    fd = -1

    def __init__(self, data: bytes, target: SocketAddress) -> None:
        self._inbox = [(data, target.sockaddr)]

    def watch(self, handler: Any) -> None:
        handler(1)

    def receive(self) -> tuple[bytes, tuple[Any, ...]]:
        if not self._inbox:
            raise BlockingIOError
        return self._inbox.pop()

    def send_to(self, data: Any, sockaddr: tuple[Any, ...]) -> None:
        raise AssertionError("nobody answers")

    def take_error(self) -> None:
        return None

    def close(self, abortive: bool) -> None:
        pass


def test_each_destination_of_udp_is_due_by_itself(rig: Rig, interim: InterimRecords) -> None:
    """B9.11."""
    rig.engine.logs_establishing = True
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        target = SocketAddress.from_sockaddr(server.getsockname())
        ended: list[Any] = []
        client = SocketAddress("127.0.0.1", 40000)
        connection = FWXDatagramConnection(
            rig.session(), client, Client(b"hello", target), lambda _: (), interface="proxy", on_ended=ended.append
        )
        assert rig.through(connection.bind(SocketAddress("127.0.0.1", 0), ()))
        connection.start()
        rig.settle()
        advance(rig, INTERMEDIATE_SECONDS)
        connection.end()
        rig.until(lambda: ended)
    assert told(rig) == [
        (Action.Establish, 0, 0, 0, (0, 0, 0)),
        (Action.Intermediate, 5, 0, 900_000, (0, 0, 0)),
        (Action.Terminate, 5, 0, 900_000, (5, 0, 900_000)),
    ]
