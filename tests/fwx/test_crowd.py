"""What all clients together have pending, and who is refused then (B11.9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fwx.composition import crowd_of, limits_of
from fwx.config_model import Limits
from fwx.crowd import Crowd, CrowdFigures
from fwx.denials import FLOOD_RECORDS, DenialFigures, Denials
from fwx.impl.logrecord import Action, LogRecord
from fwx.impl.lookups import LookUps
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import E_OUTOFMEMORY, FWX_E_IS_BUSY, FWX_E_NO_BACKLOG_PACKET_DROPPED
from fwx.limits import AddressLimits, Figures, LimitTable
from fwx.listener import Listener
from fwx.protection import SHARE_OF_MACHINE, default_memory
from fwx.testing import MemoryFirewall

PLACE = SocketAddress("192.0.2.10", 1080)


@pytest.fixture
def memory() -> Iterator[MemoryFirewall]:
    memory = MemoryFirewall()
    yield memory
    memory.close()


class Door:
    """A listener whose clients say nothing: they stay in the handshake until the test takes them out."""

    def __init__(self, memory: MemoryFirewall, limits: AddressLimits | None = None) -> None:
        self.memory = memory
        self.told: list[tuple[str, str]] = []
        self.crowd = Crowd(CrowdFigures(handshakes=2)) if limits is None else limits.crowd
        self.crowd.exceeded = lambda key, words: self.told.append((key, words))
        self.came: list[Any] = []
        engine = memory.engine
        self.listener = Listener(
            "proxy",
            PLACE,
            memory.network,  # type: ignore[arg-type]
            limits,
            engine,
            lambda: True,
            engine.call_later,
            crowd=self.crowd,
        )
        self.listener.start(self._enter)

    def _enter(self, transport: Any, _address: SocketAddress) -> None:
        self.came.append(transport)
        self.crowd.handshakes.add(transport)

    def client(self) -> Any:
        client = self.memory.network.stream(PLACE.family)
        client.start_connect(PLACE.sockaddr)
        self.memory.loop.run()
        return client

    def close(self) -> None:
        for transport in self.came:
            transport.close(True)
        self.listener.close()


@pytest.fixture(params=["counted by address", "behind a load balancer"])
def door(memory: MemoryFirewall, request: pytest.FixtureRequest) -> Iterator[Door]:
    limits = None
    if request.param == "counted by address":
        table = LimitTable(Figures(), crowd=CrowdFigures(handshakes=2))
        limits = AddressLimits(table, memory.engine.clock)
    door = Door(memory, limits)
    yield door
    door.close()


def is_reset(client: Any) -> bool:
    try:
        client.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return False


def test_too_many_that_have_not_said_what_they_want(door: Door) -> None:
    """B11.9: inbound requests come too fast. Those who are there stay, one who gets on makes room."""
    clients = [door.client() for _ in range(4)]
    assert [is_reset(client) for client in clients] == [False, False, True, True]
    records = door.memory.records
    assert {(each.action, each.resultcode) for each in records} == {
        (Action.Denied, int(FWX_E_NO_BACKLOG_PACKET_DROPPED))
    }
    words = "2 clients have not said yet what they want (handshakes)"
    assert [each.reason for each in records] == [words] * 2
    assert door.told == [("handshakes", words)] * 2
    assert door.crowd.refusals == {"handshakes": 2}
    door.crowd.handshakes.discard(door.came[0])
    assert not is_reset(door.client())


def test_nobody_new_while_memory_is_short(door: Door) -> None:
    """Who is there stays; afterwards all is as before."""
    first = door.client()
    door.crowd.is_short, door.crowd.memory = True, 300 << 20
    assert is_reset(door.client())
    (record,) = door.memory.records
    assert (record.action, record.resultcode) == (Action.Denied, int(E_OUTOFMEMORY))
    assert record.reason == "the service has 300 MiB in use (memory_megabytes)"
    door.crowd.is_short = False
    assert not is_reset(door.client())
    assert not is_reset(first)


def test_too_many_that_are_being_opened() -> None:
    """B11.9: too many requests are pending, of all addresses together; one that is open makes room."""
    limits = AddressLimits(LimitTable(Figures(), crowd=CrowdFigures(connects=2)), lambda: 0.0)
    assert [limits.begin_opening(address) for address in ("a", "b")] == [None, None]
    refused = limits.begin_opening("c")
    assert refused == (FWX_E_IS_BUSY, "2 connections are being opened (connects)")
    limits.end_opening("a")
    assert limits.begin_opening("c") is None
    assert limits.crowd.connects == 2


def test_look_ups_of_all_clients(memory: MemoryFirewall) -> None:
    """One that has ended makes room, for whomever."""
    look_ups, told, answers = LookUps(), [], []
    look_ups.most, look_ups.refused = 2, told.append

    def ask(owner: str) -> list[Any]:
        found: list[Any] = []

        def begin(answer: Any) -> Any:
            answers.append(answer)
            return lambda: None

        look_ups.ask(memory.engine, owner, begin, lambda *outcome: found.append(outcome))
        memory.loop.run()
        return found

    assert [ask(owner) for owner in ("a", "b")] == [[], []]
    assert len(ask("c")) == 1
    assert look_ups.is_full("d")
    assert told == ["all clients together have 2 name look-ups pending"]
    answers[0]([], 0)
    assert (len(look_ups), ask("c"), len(look_ups)) == (1, [], 2)


class Session:
    """One over UDP."""

    def end(self, result: int, reason: str) -> None:
        self.ended = result, reason


def test_udp_sessions_are_counted_however_they_end() -> None:
    limits = AddressLimits(LimitTable(Figures(udp=2)), lambda: 0.0)
    first, second, third = Session(), Session(), Session()
    for session in (first, second, third):
        limits.begin_udp("a", session)
    assert limits.crowd.udp_sessions == 2
    for session in (first, second, second, third):
        limits.end_udp("a", session)
    assert limits.crowd.udp_sessions == 0


def test_figures_that_change() -> None:
    """``apply`` replaces the table of the addresses, and with it what holds for all together."""
    limits = AddressLimits(limits_of(Limits()), lambda: 0.0)
    told: list[CrowdFigures] = []
    limits.crowd.on_change = lambda: told.append(limits.crowd.figures)
    limits.begin_opening("a")
    table = Limits.model_validate(
        {
            "handshakes": 1,
            "connects": 1,
            "look_ups": 2,
            "udp_sessions": 3,
            "memory_megabytes": 4,
            "memory_per_connection_kilobytes": 512,
        }
    )
    limits.use(limits_of(table))
    assert told == [CrowdFigures(1, 1, 2, 3, 4 << 20, 512 << 10)]
    assert limits.begin_opening("b") is not None
    assert (limits.crowd.most_handshakes, limits.crowd.most_udp_sessions) == (1, 3)


def test_memory_that_is_not_configured_or_switched_off() -> None:
    """Three quarters of what the machine, or the control group, has; 0 is no ceiling."""
    assert crowd_of(Limits()).memory == default_memory() > 0  # type: ignore[operator]
    assert SHARE_OF_MACHINE == 0.75
    assert crowd_of(Limits.model_validate({"memory_megabytes": 0})).memory is None


def test_a_flood_does_not_fill_the_log() -> None:
    """B11.9: so many records in a second of what limits refuse, one for the rest; others are not left out."""
    now, written = [100.0], []
    denials = Denials(written.append, lambda: now[0], DenialFigures(), lambda *_: None)
    flood = LogRecord(0.0, Action.Denied, resultcode=int(FWX_E_NO_BACKLOG_PACKET_DROPPED), reason="too many")
    for _ in range(5 * FLOOD_RECORDS):
        denials.write(flood)
        denials.write(LogRecord(0.0, Action.Denied, reason="no rule allows it"))
    assert written.count(flood) == FLOOD_RECORDS
    assert len(written) == 6 * FLOOD_RECORDS
    denials.flush()
    assert (
        written[-1].reason == f"{4 * FLOOD_RECORDS} denials are not in the log, of which this is the last one: too many"
    )
    now[0] += 1
    denials.write(flood)
    assert written[-1] is flood
