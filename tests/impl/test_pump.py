"""The built-in pump over real sockets (B3.1); the streams themselves are in test_connection, at 0 filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.pump import Pump
from fwx.impl.transport import PEER_CLOSED, READABLE, WRITABLE
from fwx.interfaces.hresult import WSAECONNRESET

if TYPE_CHECKING:
    from tests.impl.conftest import Rig


class Pumped:
    """A pump between two peers, and how it ended."""

    def __init__(self, rig: Rig, prefix: bytes = b"", *, small: bool = False, started: bool = True) -> None:
        (client, self.client), (server, self.server) = rig.pair(small=small), rig.pair(small=small)
        self.ends: list[int] = []
        self.pump = Pump(client, server, rig.queue, self, prefix)
        rig.closing.append(lambda: self.pump.close(False))
        if started:
            self.pump.start()

    def pump_ended(self, code: int) -> None:
        self.ends.append(code)

    @property
    def counts(self) -> tuple[int, int]:
        return self.pump.up.count, self.pump.down.count


def test_counts(rig: Rig) -> None:
    """B9.16: bytes in each direction, what came with the request among them."""
    pumped = Pumped(rig, b"early")
    pumped.server.expect(b"early")
    pumped.client.send(b"abc")
    pumped.server.expect(b"abc")
    pumped.server.send(b"x" * 3_000_000)
    pumped.client.expect(b"x" * 3_000_000)
    assert pumped.counts == (8, 3_000_000)


class Quiet:
    """A transport that tells nobody of what it has: only who knows it already will read."""

    fd = -1

    def __init__(self, *blocks: bytes) -> None:
        self.blocks = list(blocks)
        self.sent = b""
        self.is_shut = False

    def recv(self, size: int) -> bytes:
        if not self.blocks:
            raise BlockingIOError
        return self.blocks.pop(0)

    def send(self, data: bytes) -> int:
        self.sent += data
        return len(data)

    def take_over(self, handler: Any) -> None:
        """It has been watched."""

    def shutdown_write(self) -> None:
        self.is_shut = True

    def close(self, abortive: bool) -> None:
        """Nothing to give back."""


@pytest.mark.parametrize(
    ("client", "server", "to_server", "to_client"),
    [
        (0, WRITABLE, b"early ", b""),
        (WRITABLE, WRITABLE, b"early ", b""),
        (READABLE | WRITABLE, WRITABLE, b"early request", b""),
        (WRITABLE, READABLE | WRITABLE, b"early ", b"answer"),
    ],
)
def test_what_was_told_before(rig: Rig, client: int, server: int, to_server: bytes, to_client: bytes) -> None:
    """A pump goes by what its transports have told others, soon, and reads what it has not heard of from nobody."""
    ends = Quiet(b"request"), Quiet(b"answer")
    pump = Pump(*ends, rig.queue, None, b"early ")  # type: ignore[arg-type]
    pump.start((client, server))
    assert (ends[1].sent, ends[0].sent) == (b"", b"")
    rig.queue.drain()
    assert (ends[1].sent, ends[0].sent) == (to_server, to_client)


def test_an_end_that_was_told_before(rig: Rig) -> None:
    ends = Quiet(b"request", b""), Quiet()
    pump = Pump(*ends, rig.queue, None)  # type: ignore[arg-type]
    pump.start((READABLE | WRITABLE | PEER_CLOSED, WRITABLE))
    rig.queue.drain()
    assert (ends[1].sent, ends[1].is_shut) == (b"request", True)


def test_closed_before_it_has_begun(rig: Rig) -> None:
    ends = Quiet(b"request"), Quiet(b"answer")
    pump = Pump(*ends, rig.queue, None, b"early")  # type: ignore[arg-type]
    pump.start((READABLE, READABLE))
    pump.close(False)
    rig.queue.drain()
    assert (ends[0].sent, ends[1].sent) == (b"", b"")


def test_an_early_end(rig: Rig) -> None:
    """What both sides did before the pump took over is not lost."""
    pumped = Pumped(rig, b"early ", started=False)
    pumped.client.send(b"request")
    pumped.client.shutdown()
    pumped.server.send(b"banner")
    pumped.server.shutdown()
    rig.settle()
    pumped.pump.start()
    pumped.server.expect(b"early request")
    pumped.server.expect_end()
    pumped.client.expect(b"banner")
    pumped.client.expect_end()
    rig.until(lambda: pumped.ends)
    assert pumped.ends == [0]


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_before_the_start(rig: Rig, who: str) -> None:
    pumped = Pumped(rig, started=False)
    (pumped.client if who == "client" else pumped.server).reset()
    rig.settle()
    pumped.pump.start()
    (pumped.server if who == "client" else pumped.client).expect_reset()
    assert pumped.ends == [WSAECONNRESET]


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_while_the_other_side_does_not_read(rig: Rig, who: str) -> None:
    """DESIGN 5: nobody reads from the side that is reset, and yet it is found."""
    pumped = Pumped(rig, small=True)
    near, far = (pumped.client, pumped.server) if who == "client" else (pumped.server, pumped.client)
    near.push()
    near.reset()
    rig.until(lambda: pumped.ends)
    assert pumped.ends == [WSAECONNRESET]
    far.expect_reset_after_data()


@pytest.mark.parametrize("who", ["client", "server"])
def test_an_early_answer_reaches_the_client_before_the_reset(rig: Rig, who: str) -> None:
    """What a side had sent before it was reset is passed on: it is already here."""
    pumped = Pumped(rig, small=True)
    near, far = (pumped.client, pumped.server) if who == "client" else (pumped.server, pumped.client)
    near.push()
    far.send(b"too large, goodbye")
    near.expect(b"too large, goodbye")
    far.reset()
    near.expect_reset()
    rig.until(lambda: pumped.ends)
    assert pumped.ends == [WSAECONNRESET]


@pytest.mark.parametrize("other_has_ended", [False, True])
@pytest.mark.parametrize("who", ["client", "server"])
def test_the_side_that_gets_the_data_is_reset(rig: Rig, who: str, other_has_ended: bool) -> None:
    """A sink that is reset while data waits for it: the source is reset as well."""
    pumped = Pumped(rig, small=True)
    near, far = (pumped.client, pumped.server) if who == "client" else (pumped.server, pumped.client)
    if other_has_ended:
        far.shutdown()
        near.expect_end()
    near.push()
    far.reset()
    rig.until(lambda: pumped.ends)
    assert pumped.ends == [WSAECONNRESET]


def test_close_tells_nobody(rig: Rig) -> None:
    pumped = Pumped(rig)
    pumped.pump.close(True)
    pumped.client.expect_reset()
    pumped.server.expect_reset()
    rig.settle()
    assert pumped.ends == []


def test_a_long_stream_leaves_the_others_their_turn(rig: Rig) -> None:
    """DESIGN 5: a flow that never runs dry is continued from the run queue, not for ever in one event."""

    class Endless:
        """A transport that always has data, and always takes some."""

        fd = -1

        def __init__(self) -> None:
            self.calls = 0

        def recv(self, size: int) -> bytes:
            self.calls += 1
            return bytes(size)

        def send(self, data: Any) -> int:
            return len(data)

        def watch(self, handler: Any) -> None:
            """There is data from the first."""
            rig.queue.post(handler, READABLE)

        def close(self, abortive: bool) -> None:
            """Nothing to give back."""

    client, server = Endless(), Endless()
    pump = Pump(client, server, rig.queue, None)  # type: ignore[arg-type]
    pump.start()
    rig.turns(1)
    first = client.calls
    assert 0 < first < 100
    rig.turns(1)
    assert client.calls > first
    pump.close(False)
    rig.settle()
    after = client.calls
    rig.settle()
    assert client.calls == after
