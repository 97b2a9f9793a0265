"""The back end in the service: what goes to the helper in one transaction, and what sockets hear when."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from fwx.impl.packetfilter import Claim, Opening
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import WSAENETDOWN
from fwx.network import Poller
from fwx.packetfilter import backend
from fwx.packetfilter.backend import NftablesPacketFilter, hole_of
from fwx.packetfilter.messages import MOST_RECORDS, Answer, Drops, Frames, Kind, Order, pack_answer, unpack_order
from fwx.packetfilter.plan import Plan
from fwx.reaping import Reaping

PLAN = Plan("fwx_t", ((1, 65535),), ((1, 65535),))


class FakeHelper:
    """The far end of a helper's link, in the test's hands."""

    writer = "a test"
    pid = 1

    def __init__(self, *_arguments: Any) -> None:
        self.notes: list[str] = []
        self.dropped = Drops(3, 180)
        self.link, self.far = socket.socketpair()
        self.link.setblocking(False)
        self.far.setblocking(False)
        self.last: Order | None = None
        self.end_answer: Answer | None = Answer(Kind.DONE)
        self._frames = Frames()

    def orders(self) -> list[Order]:
        """What the service has sent since the last look."""
        try:
            return [unpack_order(body) for body in self._frames.feed(self.far.recv(1 << 20))]
        except BlockingIOError:
            return []

    def say(self, *answers: Answer) -> None:
        self.far.sendall(b"".join(map(pack_answer, answers)))

    def end(self, order: bytes, frames: Frames) -> Answer | None:
        (self.last,) = map(unpack_order, Frames().feed(order))
        self.close()
        return self.end_answer

    def watch(self, poller: Poller) -> Reaping:
        """Its process ends when its link is closed; here that is one that ends at once."""
        self.process = subprocess.Popen(["/bin/true"])
        return Reaping(self.process, poller)

    def reap(self) -> int:
        self.close()
        return self.process.wait()

    def close(self) -> None:
        self.link.close()
        self.far.close()


class Rig:
    """A back end on a loop, with timers that only the test lets go off."""

    def __init__(self, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(backend, "HelperProcess", FakeHelper)
        self.loop = loop
        self.poller = Poller(loop)
        self.timers: dict[Any, tuple[float, Callable[[], None]]] = {}
        self.failures: list[str] = []
        self.differences: list[str] = []
        self.filter = NftablesPacketFilter(
            PLAN, self.poller, self.call_later, self.failures.append, self.differences.append
        )
        self.filter.start(None)
        self.helper: Any = self.filter._helper

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        rig = self

        class Timer:
            def cancel(self) -> None:
                rig.timers.pop(self, None)

        timer = Timer()
        self.timers[timer] = (seconds, callback)
        return timer

    def pass_seconds(self, seconds: float) -> None:
        for timer, (due, callback) in list(self.timers.items()):
            if due == seconds:
                del self.timers[timer]
                callback()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def turn(self) -> list[Order]:
        """Let the loop go round; return what was ordered."""

        async def turns() -> None:
            for _ in range(5):
                await asyncio.sleep(0)

        self.run(turns())
        return [] if self.helper.far.fileno() < 0 else self.helper.orders()

    def answer(self, order: Order, code: int = 0, text: str = "") -> list[Order]:
        """Answer *order*; return what is ordered then."""
        self.helper.say(Answer(Kind.DONE, order.serial, code, text))
        return self.turn()

    def claim(self, port: int, log: list[Any], then: Callable[[int], object] | None = None) -> Claim:
        def done(code: int) -> None:
            log.append((port, code))
            if then is not None:
                then(code)

        claim = Claim(Opening(6, SocketAddress("10.0.0.1", port)), done)
        self.filter.open(claim)
        return claim


@pytest.fixture(params=["asyncio", "uvloop"])
def rig(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    loop = uvloop.new_event_loop() if request.param == "uvloop" else asyncio.new_event_loop()
    rig = Rig(loop, monkeypatch)
    yield rig
    rig.run(rig.filter.stop())
    assert not rig.timers
    assert not len(rig.poller)
    rig.helper.close()
    rig.poller.close()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def ports(order: Order) -> list[tuple[bool, int]]:
    return [(change.opens, change.hole.port) for change in order.changes]


@pytest.fixture
def log() -> list[Any]:
    return []


def test_what_is_asked_in_one_round_is_one_transaction(rig: Rig, log: list[Any]) -> None:
    claims = [rig.claim(port, log) for port in (1, 2, 3)]
    rig.filter.close(claims[1])
    (order,) = rig.turn()
    assert ports(order) == [(True, 1), (True, 3)]
    assert log == []
    assert rig.answer(order) == []
    assert log == [(1, 0), (3, 0)]
    assert len(rig.filter) == 2
    assert rig.filter.transactions == 1


def test_while_one_is_out_the_next_is_gathered(rig: Rig, log: list[Any]) -> None:
    first = rig.claim(1, log)
    (order,) = rig.turn()
    rig.claim(2, log)
    rig.filter.close(first)
    rig.claim(3, log)
    assert rig.turn() == []
    (following,) = rig.answer(order)
    assert ports(following) == [(True, 2), (False, 1), (True, 3)]
    assert log == []
    assert rig.answer(following) == []
    assert log == [(2, 0), (3, 0)]


def test_an_opening_stays_for_the_last_that_claims_it(rig: Rig, log: list[Any]) -> None:
    first, second = rig.claim(1, log), rig.claim(1, log)
    (order,) = rig.turn()
    assert ports(order) == [(True, 1)]
    rig.answer(order)
    third = rig.claim(1, log)
    assert log == [(1, 0)] * 3, "one that is open is at once"
    for claim in (first, third):
        rig.filter.close(claim)
    assert rig.turn() == []
    rig.filter.close(second)
    (order,) = rig.turn()
    assert ports(order) == [(False, 1)]
    assert rig.answer(order) == []
    assert not rig.filter._entries


def test_one_that_is_claimed_again_while_it_closes(rig: Rig, log: list[Any]) -> None:
    """It is not open before the helper has opened it again."""
    claim = rig.claim(1, log)
    (order,) = rig.turn()
    rig.answer(order)
    rig.filter.close(claim)
    (order,) = rig.turn()
    rig.claim(1, log)
    assert log == [(1, 0)]
    (order,) = rig.answer(order)
    assert ports(order) == [(True, 1)]
    assert log == [(1, 0)]
    rig.answer(order)
    assert log == [(1, 0)] * 2


def test_one_that_is_closed_and_claimed_in_one_round(rig: Rig, log: list[Any]) -> None:
    claim = rig.claim(1, log)
    (order,) = rig.turn()
    rig.answer(order)
    rig.filter.close(claim)
    rig.claim(1, log)
    assert rig.turn() == []
    assert log == [(1, 0)] * 2


def test_a_failed_transaction(rig: Rig, log: list[Any]) -> None:
    """Every claim in it hears of it, unless another one's owner has closed it first; an alert says why."""
    claims: list[Claim] = []
    claims.append(rig.claim(1, log, lambda code: rig.filter.close(claims[1])))
    claims.append(rig.claim(1, log))
    claims.append(rig.claim(2, log))
    (order,) = rig.turn()
    assert rig.answer(order, 28, "no room") == []
    assert [port for port, _ in log] == [1, 2]
    assert all(code for _, code in log)
    assert rig.failures == ["the table fwx_t cannot be written: no room"]
    assert all(claim.withdrawn for claim in claims)
    assert not len(rig.filter)
    assert not rig.filter._entries


def test_one_that_is_asked_for_anew_when_it_fails(rig: Rig, log: list[Any]) -> None:
    rig.claim(1, log, lambda code: rig.claim(1, log))
    (order,) = rig.turn()
    (order,) = rig.answer(order, 28, "no room")
    assert ports(order) == [(True, 1)]
    rig.answer(order)
    assert [code == 0 for _, code in log] == [False, True]


def test_many_openings_are_several_transactions(rig: Rig, log: list[Any]) -> None:
    for port in range(1, MOST_RECORDS + 2):
        rig.claim(port, log)
    (order,) = rig.turn()
    assert len(order.changes) == MOST_RECORDS
    (order,) = rig.answer(order)
    assert ports(order) == [(True, MOST_RECORDS + 1)]
    rig.answer(order)
    assert len(log) == MOST_RECORDS + 1


def test_beats(rig: Rig, log: list[Any]) -> None:
    """A beat goes out also where there is always something to change."""
    rig.pass_seconds(backend.BEAT_SECONDS)
    (beat,) = rig.turn()
    assert beat.kind is Kind.BEAT
    rig.claim(1, log)
    rig.pass_seconds(backend.BEAT_SECONDS)
    rig.helper.say(Answer(Kind.NOTE, text="a note"), Answer(Kind.DIFFERENCE, text="somebody was here"))
    (beat,) = rig.answer(beat)
    assert beat.kind is Kind.BEAT
    assert rig.differences == ["somebody was here"]
    (change,) = rig.answer(beat)
    assert change.kind is Kind.CHANGE
    rig.answer(change)


def lose_by_silence(rig: Rig) -> None:
    rig.pass_seconds(backend.ANSWER_SECONDS)


def lose_by_end(rig: Rig) -> None:
    rig.helper.far.close()


def lose_by_nonsense(rig: Rig) -> None:
    rig.helper.far.sendall(b"\0\0\0\1x")


def lose_by_a_lie(rig: Rig) -> None:
    rig.helper.say(Answer(Kind.DONE, 12345))


@pytest.mark.parametrize("lose", [lose_by_silence, lose_by_end, lose_by_nonsense, lose_by_a_lie])
def test_a_helper_that_is_lost(rig: Rig, log: list[Any], lose: Callable[[Rig], None]) -> None:
    """What waits fails, nothing can be opened any more, what is open can be closed, and an alert says so."""
    opened = rig.claim(1, log)
    (order,) = rig.turn()
    rig.answer(order)
    rig.claim(2, log)
    rig.turn()
    lose(rig)
    rig.turn()
    assert log == [(1, 0), (2, WSAENETDOWN)]
    (failure,) = rig.failures
    assert failure.startswith("the packet filter is lost, no port can be opened: ")
    with pytest.raises(OSError, match="helper is not there"):
        rig.claim(3, log)
    rig.filter.close(opened)
    rig.turn()
    assert not rig.filter._entries
    while rig.helper.process.returncode is None:  # it is not asked, which would reap it
        rig.turn()


def test_one_whose_link_is_full_is_lost(rig: Rig, log: list[Any]) -> None:
    rig.helper.link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    for port in range(1, MOST_RECORDS):
        rig.claim(port, log)
    rig.turn()
    assert rig.failures
    assert all(code == WSAENETDOWN for _, code in log)


def test_a_port_that_the_kernel_has_yet_to_choose(rig: Rig, log: list[Any]) -> None:
    """It is for answers alone; they are let in as part of what went out."""
    claim = Claim(Opening(6, SocketAddress("0.0.0.0", 0), SocketAddress("192.0.2.1", 80)), log.append)
    rig.filter.open(claim)
    assert log == [0]
    assert len(rig.filter) == 1
    rig.filter.close(claim)
    assert not len(rig.filter)
    assert rig.turn() == []


def test_from_other_threads(rig: Rig, log: list[Any]) -> None:
    """A filter that blocks opens and closes from a thread of its own."""

    async def elsewhere() -> Claim:
        return await asyncio.to_thread(rig.claim, 1, log)

    claim = rig.run(elsewhere())
    (order,) = rig.turn()
    rig.answer(order)
    assert log == [(1, 0)]

    async def close() -> None:
        await asyncio.to_thread(rig.filter.close, claim)
        late = await asyncio.to_thread(rig.claim, 2, log)
        rig.filter.close(late)  # before the loop has seen it opened

    rig.run(close())
    (order,) = rig.turn()
    assert ports(order) == [(False, 1)]
    rig.answer(order)


@pytest.mark.parametrize(("lock", "kind"), [(False, Kind.REMOVE), (True, Kind.LOCK)])
def test_the_end(rig: Rig, lock: bool, kind: Kind) -> None:
    rig.run(rig.filter.stop(lock=lock))
    assert rig.helper.last.kind is kind
    assert rig.failures == []


def test_an_end_without_an_answer(rig: Rig) -> None:
    rig.helper.end_answer = None
    rig.run(rig.filter.stop())
    assert rig.failures == ["the table fwx_t may have been left behind: its helper did not answer"]


def test_holes() -> None:
    """Addresses that IPv6 writes for IPv4 ones are IPv4's; a scope is no part of an element."""
    mapped = hole_of(Opening(6, SocketAddress("::ffff:10.0.0.1", 80), SocketAddress("::ffff:10.0.0.2", 81)))
    assert str(mapped) == "tcp to 10.0.0.1 port 80 from 10.0.0.2 port 81"
    assert str(hole_of(Opening(17, SocketAddress("fe80::1", 53, 2)))) == "udp to fe80::1 port 53"
