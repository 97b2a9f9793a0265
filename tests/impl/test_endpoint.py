"""The network's end of a link, over real sockets: what the owner hears, and how much is read and written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.ceiling import LARGEST_BLOCK, MOST_QUEUED, SMALLEST_BLOCK
from fwx.impl.endpoint import Endpoint
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.operation import MOST_PENDING, Operation
from fwx.interfaces.hresult import ERROR_OPERATION_ABORTED, WSAECONNABORTED, WSAECONNRESET, WSAESHUTDOWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.impl.conftest import Recorder, Rig


class Owner:
    """Writes down what the endpoint tells."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def endpoint_ended(self, endpoint: Endpoint) -> None:
        self.told.append("ended")

    def endpoint_broken(self, endpoint: Endpoint, code: int) -> None:
        self.told.append(code)

    def endpoint_faltered(self, endpoint: Endpoint, doomed: bool) -> None:
        if doomed:
            self.told.append("doomed")

    def completion_failed(self, error: BaseException) -> None:
        raise AssertionError(error)


class End:
    """An endpoint and its peer."""

    def __init__(self, rig: Rig, recorder: Callable[..., Recorder], *, small: bool = False) -> None:
        transport, self.peer = rig.pair(small=small)
        self.rig = rig
        self.owner = Owner()
        self.endpoint = Endpoint(transport, rig.queue, self.owner)
        self.sends, self.recvs = recorder(), recorder()
        rig.closing.append(lambda: transport.close(False))

    def send(self, data: bytes, tag: object = 0) -> None:
        self.endpoint.send(Operation(self.owner, self.sends, tag, FWXIOBuffer(data), data))

    def recv(self, tag: object = 0) -> None:
        self.endpoint.recv(Operation(self.owner, self.recvs, tag, None))


@pytest.fixture
def end(rig: Rig, recorder: Callable[..., Recorder]) -> End:
    return End(rig, recorder)


@pytest.fixture
def small_end(rig: Rig, recorder: Callable[..., Recorder]) -> End:
    return End(rig, recorder, small=True)


def test_nothing_is_read_ahead(small_end: End) -> None:
    """DESIGN 5: without a posted Recv the data stays in the kernel, one Recv brings one block."""
    taken = small_end.peer.push()
    assert small_end.endpoint.received == 0
    small_end.recv()
    small_end.rig.until(lambda: small_end.recvs.calls)
    small_end.rig.settle()
    assert 0 < small_end.endpoint.received <= SMALLEST_BLOCK < taken
    assert len(small_end.recvs.calls) == 1


def test_blocks_grow_and_shrink(end: End) -> None:
    """DESIGN 5: a chatty connection costs little, a fast one gets large blocks."""
    sizes: list[int] = []

    def again(done: Any) -> None:
        sizes.append(len(done.data))
        end.recv()

    end.recvs.then = again
    end.recv()
    end.peer.send(bytes(8 << 20))
    end.rig.until(lambda: end.endpoint.received == 8 << 20)
    assert max(sizes) <= LARGEST_BLOCK
    assert max(sizes) > SMALLEST_BLOCK
    for _ in range(10):
        end.peer.send(b"x")
        end.rig.until(lambda: sizes[-1] == 1)
        sizes.append(0)
    end.recvs.then = None
    end.rig.settle()


def test_a_fixed_block_size(end: End) -> None:
    """B3.20."""
    end.endpoint.set_block_size(3)
    end.peer.send(b"abcdefgh")
    for _ in range(3):
        end.recv()
    end.rig.until(lambda: len(end.recvs.calls) == 3)
    assert [done.data for done in end.recvs.calls] == [b"abc", b"def", b"gh"]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_the_prefix_comes_first(end: End, size: int) -> None:
    """What came with the proxy request, in blocks like the rest, without waiting for the transport."""
    end.endpoint.set_prefix(b"prefix")
    end.endpoint.set_block_size(size)
    while len(end.recvs.received) < 6:
        end.recv()
        end.rig.queue.drain()
    assert end.recvs.received == b"prefix"
    end.peer.send(b"rest")
    while len(end.recvs.received) < 10:
        end.recv()
        end.rig.until(lambda: len(end.recvs.calls) == len(end.recvs.tags))
    assert end.recvs.received == b"prefixrest"
    assert end.endpoint.received == 10


def test_sends_wait_for_the_peer_in_order(small_end: End) -> None:
    """B3.14, DESIGN 5: one Send at a time is on its way; the backlog says what waits."""
    room: list[int] = []
    small_end.endpoint.on_room = lambda: room.append(small_end.endpoint.backlog)
    data = bytes(range(256)) * 4096
    for tag in range(3):
        small_end.send(data, tag)
    small_end.rig.settle()
    waiting = small_end.endpoint.backlog
    assert small_end.sends.calls == []
    assert waiting == 3 * len(data) - small_end.endpoint.sent > 0
    small_end.peer.expect(data * 3)
    small_end.rig.until(lambda: len(small_end.sends.calls) == 3)
    assert small_end.sends.tags == [0, 1, 2]
    assert room[-1] == small_end.endpoint.backlog == 0


def test_limits(small_end: End) -> None:
    assert small_end.endpoint.takes_send()
    small_end.send(bytes(MOST_QUEUED + (4 << 20)))
    assert not small_end.endpoint.takes_send()
    for _ in range(MOST_PENDING):
        small_end.recv()
    assert not small_end.endpoint.takes_recv()


def test_many_small_sends_are_limited(small_end: End) -> None:
    small_end.send(bytes(4 << 20))
    for _ in range(MOST_PENDING):
        small_end.send(b"")
    assert not small_end.endpoint.takes_send()


@pytest.mark.parametrize("order", ["we first", "the peer first"])
def test_both_directions_end(end: End, order: str) -> None:
    """B3.25: the owner hears once that the end is through."""

    def peer_ends() -> None:
        end.peer.shutdown()
        end.recv()
        end.rig.until(lambda: end.recvs.calls)

    def we_end() -> None:
        end.endpoint.shutdown(False)
        end.endpoint.shutdown(False)
        end.peer.expect_end()

    steps = [we_end, peer_ends] if order == "we first" else [peer_ends, we_end]
    steps[0]()
    assert (end.owner.told, end.endpoint.through) == ([], False)
    steps[1]()
    assert (end.owner.told, end.endpoint.through) == (["ended"], True)


def test_a_send_after_the_end_of_sending(end: End) -> None:
    end.endpoint.shutdown(False)
    end.send(b"late")
    end.rig.settle()
    assert end.sends.outcomes == [(0, False, WSAESHUTDOWN)]


@pytest.mark.parametrize("abortive", [False, True])
def test_close_with_data_queued(small_end: End, abortive: bool) -> None:
    """B3.26: FALSE lets it out first; TRUE drops it and resets; the owner hears when the transport is gone."""
    data = bytes(1 << 20)
    small_end.recv("recv")
    small_end.send(data, "send")
    small_end.endpoint.close(abortive)
    small_end.endpoint.close(abortive)
    assert small_end.endpoint.closed is abortive
    if abortive:
        small_end.peer.expect_reset()
        small_end.rig.settle()
        assert small_end.sends.outcomes == [("send", False, ERROR_OPERATION_ABORTED)]
    else:
        small_end.peer.expect(data)
        small_end.peer.expect_end()
        assert small_end.sends.outcomes == [("send", True, 0)]
    assert small_end.recvs.outcomes == [("recv", False, ERROR_OPERATION_ABORTED)]
    assert small_end.owner.told == (["ended"] if abortive else ["doomed", "ended"])
    assert small_end.endpoint.closed


def test_a_close_that_must_reset(end: End) -> None:
    """B3.30: the other side was reset, so this one is too, whatever the filter asks for."""
    end.endpoint.reset_on_close = True
    end.endpoint.close(False)
    end.peer.expect_reset()


def test_abort(small_end: End) -> None:
    """B3.31: everything pending fails with the code given; what comes later fails too."""
    small_end.recv(1)
    small_end.send(bytes(1 << 20), 2)
    small_end.endpoint.abort(WSAECONNABORTED)
    small_end.endpoint.abort(WSAECONNABORTED)
    small_end.recv(3)
    small_end.send(b"x", 4)
    small_end.rig.settle()
    assert small_end.recvs.outcomes == [(1, False, WSAECONNABORTED), (3, False, ERROR_OPERATION_ABORTED)]
    assert small_end.sends.outcomes == [(2, False, WSAECONNABORTED), (4, False, WSAECONNABORTED)]
    small_end.peer.expect_reset()


@pytest.mark.parametrize("found_by", ["recv", "send", "pending recv", "pending send"])
def test_a_reset_is_found(rig: Rig, small_end: End, found_by: str) -> None:
    """B3.30: by whatever is posted; everything pending fails, the owner hears the Winsock number once."""
    end = small_end
    if found_by == "pending recv":
        end.recv()
    if found_by == "pending send":
        end.send(bytes(4 << 20))
    rig.settle()
    end.peer.reset()
    rig.settle()
    if found_by == "recv":
        end.recv()
    if found_by == "send":
        end.send(b"x")
    rig.until(lambda: end.recvs.calls + end.sends.calls)
    (outcome,) = end.recvs.outcomes + end.sends.outcomes
    assert outcome == (0, False, WSAECONNRESET)
    assert [told for told in end.owner.told if told != "doomed"] == [WSAECONNRESET]
    assert end.endpoint.broken == WSAECONNRESET
    end.endpoint.close(False)
    assert end.owner.told[-1] == "ended"


def test_a_reset_that_nobody_waits_for(end: End) -> None:
    """DESIGN 5: the owner hears that the transport falters, so that it need not wait for ever."""
    end.rig.settle()
    end.peer.reset()
    end.rig.until(lambda: end.owner.told)
    assert set(end.owner.told) == {"doomed"}


def test_what_came_before_the_end_is_read_before_it(end: End) -> None:
    """B3.24: the end of the stream comes behind the data, also when both came at once."""
    end.peer.send(b"x" * 100_000)
    end.peer.shutdown()
    end.rig.settle()
    while not end.recvs.calls or end.recvs.calls[-1].data:
        end.recv()
        count = len(end.recvs.calls)
        end.rig.until(lambda count=count: len(end.recvs.calls) > count)
    assert end.recvs.received == b"x" * 100_000
