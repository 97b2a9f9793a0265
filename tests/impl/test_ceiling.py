"""What may wait in a connection: filters that send without waiting, readers that stop, and memory that is short."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from zope.interface import implementer

from fwx.impl.ceiling import FREE, LARGEST_BLOCK, SMALLEST_BLOCK, Ceiling
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXDataFilter, SocketAddress
from fwx.interfaces.hresult import HRESULT_FROM_WIN32, WSAENOBUFS, COMError
from tests.impl.parts import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.impl.conftest import Opened, Rig

BLOCK = FWXIOBuffer(bytes(FREE))
MOST = 1 << 20


@implementer(IFWXDataFilter)
class Kept(Unknown):
    """Keeps its sockets; what passes is the test's to say."""

    def SetSockets(self, internal: Any, external: Any, *rest: Any) -> None:
        self.internal, self.external = internal, external

    def Detach(self) -> None:
        """Nothing is held."""


def flood(socket: Any, times: int = 4096) -> int:
    """Send without waiting until that is refused; return how many blocks were taken."""
    taken = 0
    with suppress_refusal():
        while taken < times:
            socket.Send(BLOCK, None, 0)
            taken += 1
    return taken


@contextmanager
def suppress_refusal() -> Iterator[None]:
    try:
        yield
    except COMError as error:
        if error.hresult != HRESULT_FROM_WIN32(WSAENOBUFS):
            raise


@pytest.fixture
def told(rig: Rig) -> list[tuple[str, str]]:
    """Which connections were too much, by client address."""
    told: list[tuple[str, str]] = []
    rig.queue.ceiling.use(MOST)
    rig.queue.ceiling.exceeded = lambda address, words: told.append((address, words))
    return told


def test_a_filter_that_sends_a_gibibyte_without_waiting(rig: Rig, told: list[Any]) -> None:
    """Its Sends are refused at the ceiling, whatever it tries; an alert and the record say so once."""
    kept = Kept()
    opened = rig.open(kept, small=True)
    assert flood(kept.external, 16384) <= MOST // FREE + 4
    assert all(flood(kept.external) == 0 for _ in range(100))
    assert MOST <= opened.connection.bytes_waiting < MOST + FREE
    ((address, words),) = told
    assert (address, "memory_per_connection_kilobytes" in words) == ("127.0.0.1", True)
    assert rig.queue.ceiling.refusals == 101
    opened.connection.end()
    rig.settle()
    (record,) = rig.records
    assert "bytes wait in connection 1, a Send was refused (memory_per_connection_kilobytes)" in record.reason


def test_a_direction_that_stands_still_leaves_the_other_one(rig: Rig, told: list[Any]) -> None:
    """The queue of each may hold a little whatever the others do, else a connection would stand still for good."""
    kept = Kept()
    opened = rig.open(kept, small=True)
    flood(kept.external)
    kept.internal.Send(FWXIOBuffer(b"answer"), None, 0)
    opened.client.expect(b"answer")


def test_room_comes_back(rig: Rig, told: list[Any]) -> None:
    kept, done = Kept(), Recorder()
    opened = rig.open(kept, small=True)
    kept.external.Send(FWXIOBuffer(b""), done, "begins")
    count = flood(kept.external)
    kept.internal.Shutdown(False)
    opened.server.expect(bytes(FREE) * count)
    kept.external.Send(FWXIOBuffer(b"more"), None, 0)
    opened.server.expect(b"more")


@pytest.mark.parametrize("where", ["client", "between", "server"])
def test_all_queues_of_a_connection_count_together(rig: Rig, told: list[Any], where: str) -> None:
    """Those between two filters too: what one holds the others cannot."""
    first, second = Kept(), Kept()
    opened = rig.open(first, second, small=True)
    queues = {"client": first.internal, "between": first.external, "server": second.external}
    flood(queues.pop(where))
    assert opened.connection.bytes_waiting >= MOST
    for other in queues.values():
        assert flood(other) <= 4, "the kernel's buffer, and what is free"
    assert opened.connection.bytes_waiting < MOST + 4 * FREE
    assert len(told) == 1


def test_a_ceiling_that_changes(rig: Rig, told: list[Any]) -> None:
    """What waits already stays; a lower one refuses at once, a higher one takes more."""
    kept = Kept()
    opened = rig.open(kept, small=True)
    flood(kept.external)
    before = opened.connection.bytes_waiting
    rig.queue.ceiling.use(MOST // 2)
    assert (flood(kept.external), opened.connection.bytes_waiting) == (0, before)
    rig.queue.ceiling.use(2 * MOST)
    assert flood(kept.external) == MOST // FREE


def test_while_memory_is_short(rig: Rig, told: list[Any]) -> None:
    """Little may wait in a connection, as long as that lasts; what was set holds again after it."""
    kept, ceiling = Kept(), rig.queue.ceiling
    opened = rig.open(kept, small=True)
    ceiling.tighten()
    flood(kept.external)
    assert opened.connection.bytes_waiting < 2 * FREE
    assert "memory is short" in told[0][1]
    ceiling.use(MOST)
    assert flood(kept.external) == 0
    ceiling.relax()
    assert flood(kept.external) >= MOST // FREE - 2


@pytest.mark.parametrize("filters", [0, 1])
def test_blocks_are_small_while_memory_is_short(rig: Rig, watcher: Any, filters: int) -> None:
    """Of connections that had large ones, too."""
    sizes: list[int] = []
    opened = rig.open(*(watcher() for _ in range(filters)))
    source = opened.connection._pump.up if not filters else opened.connection._client.transport
    receive = source.recv

    def full(size: int) -> bytes:
        """The client sends as much as is asked for, so many times."""
        if len(sizes) % 8 == 0 and sizes:
            return bytes(receive(size))
        sizes.append(size)
        return bytes(size)

    source.recv = full
    for tightens in (False, True):
        if tightens:
            rig.queue.ceiling.tighten()
            sizes.append(0)
        opened.client.send(b"x")
        rig.until(lambda: _drained(opened) and len(sizes) % 8 == 0)
    assert sizes[:8] == [SMALLEST_BLOCK << step for step in range(5)] + [LARGEST_BLOCK] * 3
    assert sizes[9:] == [LARGEST_BLOCK >> 1, *[SMALLEST_BLOCK] * 6], "the byte that came last had made it smaller"


def _drained(opened: Opened) -> bool:
    """Read what has come to the server."""
    with suppress(BlockingIOError):
        while opened.server._sock.recv(1 << 20):
            continue
    return True


def test_many_receives_leave_the_others_their_turn(rig: Rig) -> None:
    """A peer that never stops fills no more than so many of them before their completions have run."""
    kept = Kept()
    opened = rig.open(kept)
    taken: list[int] = [0]

    def full(size: int) -> bytes:
        taken[-1] += size
        return bytes(size)

    opened.connection._client.transport.recv = full
    done = Recorder(lambda _: taken.append(0))
    for tag in range(100):
        kept.internal.Recv(None, done, tag)
    opened.client.send(b"x")
    rig.until(lambda: len(done.calls) == 100)
    assert 16 * LARGEST_BLOCK <= max(taken) < 17 * LARGEST_BLOCK
    assert sum(taken) > 5 * max(taken)
    assert done.tags == list(range(100))


def test_it_is_told_once_of_each_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """And again where so many were that they are not remembered."""
    monkeypatch.setattr("fwx.impl.ceiling._MOST_KNOWN", 2)
    ceiling, told = Ceiling(0), []

    class Holder:
        client_address = SocketAddress("192.0.2.1", 1)

        def __init__(self, id_: int) -> None:
            self.id = id_

        def has_room(self, ahead: int) -> bool:
            raise AssertionError(ahead)

        def exceeds(self, words: str) -> None:
            told.append(self.id)

    one, two, three = map(Holder, (1, 2, 3))
    for each in (one, one, two, two, three, three, one):
        assert not ceiling.admits(1, each)
    assert told == [1, 2, 3, 1]
