"""Connecting outward: a race with a handicap (RFC 8305), one deadline for all, given up at any time."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.departure import Departure
from fwx.impl.dial import ATTEMPT_SECONDS, MOST_ATTEMPTS, Dial, Dialled, interleaved
from fwx.impl.transport import ERROR, WRITABLE
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import (
    WSAEAFNOSUPPORT,
    WSAECONNREFUSED,
    WSAEMFILE,
    WSAENOBUFS,
    WSAETIMEDOUT,
    WSAHOST_NOT_FOUND,
    winsock_error,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.impl.conftest import Rig


@pytest.fixture
def listening() -> Iterator[SocketAddress]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield SocketAddress.from_sockaddr(server.getsockname())


class Attempt:
    """A dial that writes down how it ended."""

    def __init__(self, rig: Rig, *addresses: SocketAddress, network: Any = None, **departure: Any) -> None:
        self.ends: list[tuple[bool, SocketAddress | None, int]] = []
        self.rig = rig
        self.dial = Dial(rig.engine, Departure(network or rig.network, **departure), list(addresses), self._done)
        self.dial.start()

    def _done(self, dialled: Dialled) -> None:
        transport = dialled.transport
        self.ends.append((transport is not None, dialled.address, dialled.code))
        if transport is not None:
            assert transport.getpeername() == dialled.address.sockaddr  # type: ignore[union-attr]
            assert (dialled.peer, dialled.early, dialled.reason) == (dialled.address, b"", "")
            transport.close(False)

    def end(self) -> tuple[bool, SocketAddress | None, int]:
        self.rig.until(lambda: self.ends)
        self.rig.settle()
        self.rig.clock.advance(1000.0)
        (end,) = self.ends
        return end


class Wire:
    """A network whose attempts the test decides: it notes when each begins, and which streams are open."""

    class Stream:
        def __init__(self, wire: Wire) -> None:
            self.wire = wire
            self.error = 0

        def start_connect(self, sockaddr: tuple[Any, ...]) -> None:
            host = sockaddr[0]
            self.wire.began.append((host, self.wire.rig.clock.now - self.wire.since))
            if host in self.wire.dead:
                raise OSError(errno.ENETUNREACH, "Network is unreachable")
            self.wire.open[host] = self

        def watch(self, handler: Any) -> None:
            self.handler = handler

        def take_error(self) -> int:
            return self.error

        def close(self, abortive: bool) -> None:
            self.wire.open = {host: stream for host, stream in self.wire.open.items() if stream is not self}

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.since = rig.clock.now
        self.began: list[tuple[str, float]] = []
        self.open: dict[str, Wire.Stream] = {}
        self.dead: set[str] = set()
        self.ends: list[Dialled] = []

    def stream(self, family: int) -> Wire.Stream:
        return Wire.Stream(self)

    def dial(self, *hosts: str) -> Dial:
        addresses = [SocketAddress(host, 80) for host in hosts]
        dial = Dial(self.rig.engine, Departure(self), addresses, self.ends.append)  # type: ignore[arg-type]
        dial.start()
        return dial

    def answer(self, host: str) -> None:
        self.open[host].handler(WRITABLE)

    def refuse(self, host: str) -> None:
        self.open[host].error = errno.ECONNREFUSED
        self.open[host].handler(WRITABLE | ERROR)

    def no_timer_is_left(self) -> bool:
        return not [timer for timer in self.rig.clock.timers if timer.when - self.rig.clock.now < 1]


@pytest.fixture
def wire(rig: Rig) -> Wire:
    return Wire(rig)


V6 = [f"2001:db8::{number}" for number in range(1, 7)]
V4 = [f"192.0.2.{number}" for number in range(1, 7)]


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ([*V6[:2], *V4[:2]], [V6[0], V4[0], V6[1], V4[1]]),
        ([*V4[:2], *V6[:1]], [V4[0], V6[0], V4[1]]),
        ([V6[0], *V4[:3]], [V6[0], *V4[:3]]),
        (V4[:3], V4[:3]),
        ([], []),
    ],
)
def test_families_take_turns(hosts: list[str], expected: list[str]) -> None:
    """RFC 8305 section 4: the resolver's first family first, its order within a family."""
    assert [address.host for address in interleaved([SocketAddress(host) for host in hosts])] == expected


def test_the_next_attempt_starts_beside_a_slow_one(wire: Wire, rig: Rig) -> None:
    """RFC 8305 section 5: after 250 ms; the first connection is kept, the others are closed."""
    wire.dial(*V6[:2], *V4[:2])
    rig.clock.advance(0.249)
    assert wire.began == [(V6[0], 0.0)]
    rig.clock.advance(0.001)
    rig.clock.advance(0.25)
    assert [host for host, _ in wire.began] == [V6[0], V4[0], V6[1]]
    assert [when for _, when in wire.began] == pytest.approx([0.0, 0.25, 0.5])
    wire.answer(V4[0])
    (dialled,) = wire.ends
    assert dialled.address == SocketAddress(V4[0], 80)
    assert list(wire.open) == [V4[0]]
    assert wire.no_timer_is_left()
    rig.clock.advance(100.0)
    assert len(wire.began) == 3
    assert len(wire.ends) == 1


def test_the_slow_one_may_still_win(wire: Wire, rig: Rig) -> None:
    wire.dial(V6[0], V4[0])
    rig.clock.advance(0.25)
    wire.answer(V6[0])
    assert [dialled.address for dialled in wire.ends] == [SocketAddress(V6[0], 80)]
    assert list(wire.open) == [V6[0]]


def test_a_failure_starts_the_next_attempt_at_once(wire: Wire, rig: Rig) -> None:
    """And the one after it has its full time again."""
    wire.dial(V6[0], V4[0], V4[1])
    rig.clock.advance(0.2)
    wire.refuse(V6[0])
    assert [host for host, _ in wire.began] == [V6[0], V4[0]]
    rig.clock.advance(0.2)
    assert len(wire.began) == 2
    rig.clock.advance(0.05)
    assert [host for host, _ in wire.began] == [V6[0], V4[0], V4[1]]


def test_what_fails_at_once_is_passed_over(wire: Wire) -> None:
    wire.dead = set(V6)
    wire.dial(*V6[:3], *V4[:1])
    assert list(wire.open) == [V4[0]]
    wire.answer(V4[0])
    assert wire.ends[0].address == SocketAddress(V4[0], 80)


def test_not_too_many_at_a_time(wire: Wire, rig: Rig) -> None:
    """The fifth waits until one of the four has failed."""
    wire.dial(*V4)
    for _ in range(20):
        rig.clock.advance(0.25)
    assert len(wire.open) == MOST_ATTEMPTS == 4
    assert wire.no_timer_is_left()
    wire.refuse(V4[1])
    assert list(wire.open) == [V4[0], V4[2], V4[3], V4[4]]
    rig.clock.advance(5.0)
    assert len(wire.began) == 5


def test_all_fail(wire: Wire, rig: Rig) -> None:
    wire.dial(V4[0], V4[1])
    rig.clock.advance(0.25)
    for host in (V4[0], V4[1]):
        assert wire.ends == []
        wire.refuse(host)
    assert [dialled.code for dialled in wire.ends] == [WSAECONNREFUSED]
    assert wire.open == {}


@pytest.mark.parametrize("ended", ["cancelled", "timed out"])
def test_every_attempt_is_closed(wire: Wire, rig: Rig, ended: str) -> None:
    dial = wire.dial(*V4)
    for _ in range(3):
        rig.clock.advance(0.25)
    assert len(wire.open) == 4
    if ended == "cancelled":
        dial.cancel()
    else:
        rig.clock.advance(20.0)
    assert [dialled.code for dialled in wire.ends] == [WSAETIMEDOUT] * (ended == "timed out")
    assert wire.open == {}
    assert wire.no_timer_is_left()


def test_a_real_race(rig: Rig, deaf: SocketAddress, listening: SocketAddress) -> None:
    """The first address says nothing; the second is connected to a quarter of a second later."""
    attempt = Attempt(rig, deaf, listening)
    rig.settle()
    assert attempt.ends == []
    rig.clock.advance(0.25)
    assert attempt.end() == (True, listening, 0)


def test_connected(rig: Rig, listening: SocketAddress) -> None:
    """Once, with the transport; the deadline says nothing any more."""
    assert Attempt(rig, listening).end() == (True, listening, 0)


def test_refused(rig: Rig, closed: SocketAddress) -> None:
    assert Attempt(rig, closed).end() == (False, None, WSAECONNREFUSED)


def test_no_address(rig: Rig) -> None:
    assert Attempt(rig).end() == (False, None, WSAHOST_NOT_FOUND)


def test_the_next_address_is_tried(rig: Rig, listening: SocketAddress, closed: SocketAddress) -> None:
    addresses = [SocketAddress("name.is.no.literal", 1), closed, SocketAddress("255.255.255.255", 1), closed]
    assert Attempt(rig, *addresses, listening).end() == (True, listening, 0)


def test_the_last_error_is_told(rig: Rig, closed: SocketAddress) -> None:
    assert Attempt(rig, closed, SocketAddress("name.is.no.literal", 1)).end() == (False, None, WSAEAFNOSUPPORT)


@pytest.mark.parametrize("refusals", [0, 1])
def test_the_deadline_holds_for_all_together(
    rig: Rig, deaf: SocketAddress, closed: SocketAddress, refusals: int
) -> None:
    attempt = Attempt(rig, *[closed] * refusals, deaf)
    rig.settle()
    rig.clock.advance(19.0)
    assert attempt.ends == []
    rig.clock.advance(1.0)
    assert attempt.ends == [(False, None, WSAETIMEDOUT)]


def test_cancelled(rig: Rig, deaf: SocketAddress, listening: SocketAddress) -> None:
    """Nobody is told; the fixture counts the descriptors."""
    waiting, connecting = Attempt(rig, deaf), Attempt(rig, listening)
    for attempt in (waiting, connecting):
        attempt.dial.cancel()
        attempt.dial.cancel()
    rig.settle()
    rig.clock.advance(100.0)
    assert (waiting.ends, connecting.ends) == ([], [])


def test_out_of_descriptors(rig: Rig, closed: SocketAddress) -> None:
    class Exhausted:
        def stream(self, family: int) -> Any:
            raise OSError(24, "Too many open files")

    assert Attempt(rig, closed, network=Exhausted()).end() == (False, None, WSAEMFILE)


def test_a_late_event_finds_nobody(rig: Rig, listening: SocketAddress) -> None:
    attempt = Attempt(rig, listening)
    (transport,) = attempt.dial._attempts
    attempt.dial.cancel()
    attempt.dial._event(transport, listening, WRITABLE)
    assert attempt.ends == []


# ---- a bound stream ------------------------------------------------------------------------------------------------


def bound_stream(rig: Rig) -> dict[str, Any]:
    stream = rig.network.stream(socket.AF_INET)
    stream.bind(("127.0.0.1", 0))
    return {"bound": stream, "bound_family": socket.AF_INET}


def test_a_bound_stream_takes_the_first_address_of_its_family(rig: Rig, listening: SocketAddress) -> None:
    other = SocketAddress("::1", listening.port)
    assert Attempt(rig, other, listening, other, **bound_stream(rig)).end() == (True, listening, 0)


def test_a_bound_stream_has_one_attempt(rig: Rig, closed: SocketAddress, listening: SocketAddress) -> None:
    assert Attempt(rig, closed, listening, **bound_stream(rig)).end() == (False, None, WSAECONNREFUSED)


def test_a_bound_stream_that_cannot_be_used_is_closed(rig: Rig) -> None:
    """The fixture counts the descriptors."""
    assert Attempt(rig, SocketAddress("::1", 1), **bound_stream(rig)).end() == (False, None, WSAEAFNOSUPPORT)


def test_what_comes_before_an_attempt_may_forbid_it(rig: Rig, listening: SocketAddress) -> None:
    """Such as a packet filter that cannot open the port."""
    asked: list[SocketAddress] = []

    def before(address: SocketAddress, done: Any) -> None:
        asked.append(address)
        if address.host == "127.0.0.9":
            raise winsock_error(WSAENOBUFS, "no")
        done(0)

    forbidden = SocketAddress("127.0.0.9", 1)
    assert Attempt(rig, forbidden, before=before).end() == (False, None, WSAENOBUFS)
    assert Attempt(rig, forbidden, listening, before=before).end() == (True, listening, 0)
    assert asked == [forbidden, forbidden, listening]


class Gate:
    """Something before each attempt that answers when the test says so."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def __call__(self, address: SocketAddress, done: Any) -> None:
        self.asked[address.host] = done


def test_an_attempt_waits_for_what_comes_before_it(rig: Rig) -> None:
    """It counts as under way meanwhile; one that is forbidden later makes place for the next one."""
    wire, gate, ends = Wire(rig), Gate(), list[Dialled]()
    addresses = [SocketAddress(f"192.0.2.{number}", 80) for number in range(1, 7)]
    Dial(rig.engine, Departure(wire, before=gate), addresses, ends.append).start()  # type: ignore[arg-type]
    assert (list(gate.asked), wire.began) == (["192.0.2.1"], [])
    for _ in range(5):
        rig.clock.advance(ATTEMPT_SECONDS)
    assert list(gate.asked) == [f"192.0.2.{number}" for number in range(1, 1 + MOST_ATTEMPTS)]
    gate.asked["192.0.2.2"](WSAENOBUFS)
    assert list(gate.asked)[-1] == "192.0.2.5"
    gate.asked["192.0.2.3"](0)
    assert [host for host, _ in wire.began] == ["192.0.2.3"]
    rig.clock.advance(100.0)
    assert [end.code for end in ends] == [WSAETIMEDOUT]
    gate.asked["192.0.2.1"](0)  # too late
    assert [host for host, _ in wire.began] == ["192.0.2.3"]
    assert not wire.open


def test_the_last_attempt_is_forbidden_later(rig: Rig) -> None:
    wire, gate, ends = Wire(rig), Gate(), list[Dialled]()
    addresses = [SocketAddress("192.0.2.1", 80)]
    Dial(rig.engine, Departure(wire, before=gate), addresses, ends.append).start()  # type: ignore[arg-type]
    gate.asked["192.0.2.1"](WSAENOBUFS)
    assert [end.code for end in ends] == [WSAENOBUFS]
    at_once = Attempt(rig, SocketAddress("192.0.2.1", 80), before=lambda _, done: done(WSAENOBUFS))
    assert at_once.end() == (False, None, WSAENOBUFS)
