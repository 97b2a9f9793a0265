"""The link between two neighbouring filters: bytes, buffers, room, ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.impl.ceiling import MOST_QUEUED
from fwx.impl.iobuffer import FWXIOBuffer, begin_receive, data_of
from fwx.impl.junction import JunctionEnd, junction
from fwx.impl.operation import MOST_PENDING, Operation
from fwx.impl.runqueue import RunQueue
from fwx.interfaces.hresult import ERROR_OPERATION_ABORTED, WSAECONNABORTED, WSAECONNRESET, WSAEFAULT, WSAESHUTDOWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.impl.conftest import Recorder


class Owner:
    def __init__(self) -> None:
        self.failures: list[BaseException] = []

    def completion_failed(self, error: BaseException) -> None:
        self.failures.append(error)


class Link:
    """A junction, driven by hand."""

    def __init__(self, recorder: Callable[..., Recorder]) -> None:
        self.queue = RunQueue(lambda drain: None, lambda drain: None)
        self.client, self.server = junction(self.queue)
        self.owner = Owner()
        self.sends, self.recvs = recorder(), recorder()

    def send(self, end: JunctionEnd, buffer: Any, tag: object = 0) -> None:
        end.send(Operation(self.owner, self.sends, tag, buffer, data_of(buffer)))

    def recv(self, end: JunctionEnd, buffer: Any = None, tag: object = 0) -> None:
        capacity = None if buffer is None else begin_receive(buffer)
        end.recv(Operation(self.owner, self.recvs, tag, buffer, capacity))

    def drain(self) -> None:
        while len(self.queue):
            self.queue.drain()


@pytest.fixture
def link(recorder: Callable[..., Recorder]) -> Link:
    return Link(recorder)


@pytest.mark.parametrize("first", ["send", "recv"])
def test_the_buffer_object_is_handed_over(link: Link, first: str) -> None:
    """B3.12, B3.14: the same object; the Send completes when it has been taken."""
    buffer = FWXIOBuffer(b"data")
    if first == "send":
        link.send(link.client, buffer)
        link.drain()
        assert (link.sends.calls, link.client.backlog) == ([], 4)
        link.recv(link.server)
    else:
        link.recv(link.server)
        link.send(link.client, buffer)
    link.drain()
    assert link.recvs.calls[0].buffer is buffer
    assert link.sends.calls[0].buffer is buffer
    assert link.client.backlog == 0


def test_both_directions_are_apart(link: Link) -> None:
    link.send(link.client, FWXIOBuffer(b"up"))
    link.recv(link.client, tag="down")
    link.drain()
    assert link.recvs.calls == []
    link.send(link.server, FWXIOBuffer(b"down"))
    link.recv(link.server, tag="up")
    link.drain()
    assert [(done.tag, done.data) for done in link.recvs.calls] == [("down", b"down"), ("up", b"up")]


def test_an_empty_send_keeps_its_place(link: Link) -> None:
    """Completions come in the order of posting; nobody receives an empty buffer for it, which would be the end."""
    for tag, data in enumerate([b"", b"a", b"", b"", b"b", b""]):
        link.send(link.client, FWXIOBuffer(data), tag)
    link.drain()
    assert link.sends.tags == [0]
    link.recv(link.server)
    link.drain()
    assert link.sends.tags == [0, 1, 2, 3]
    link.recv(link.server)
    link.drain()
    assert link.sends.tags == [0, 1, 2, 3, 4, 5]
    assert link.recvs.received == b"ab"


def test_room_is_told(link: Link) -> None:
    """DESIGN 5: whoever waits for room is told when some was made, by taking and by failing."""
    told: list[int] = []
    link.client.on_room = lambda: told.append(link.client.backlog)
    assert link.client.on_room is not None
    link.send(link.client, FWXIOBuffer(b"abcd"))
    link.send(link.client, FWXIOBuffer(b"ef"))
    assert told == []
    link.recv(link.server)
    assert told == [2]
    link.server.close(False)
    assert told == [2, 0]


def test_limits(link: Link) -> None:
    assert link.client.takes_send()
    assert link.client.takes_recv()
    link.send(link.client, FWXIOBuffer(bytes(MOST_QUEUED)))
    assert not link.client.takes_send()
    assert link.server.takes_send()
    for _ in range(MOST_PENDING):
        link.recv(link.client)
        link.send(link.server, FWXIOBuffer(b""))
    assert not link.client.takes_recv()
    assert link.server.takes_recv()


def test_many_small_sends_are_limited(link: Link) -> None:
    for _ in range(MOST_PENDING):
        link.send(link.client, FWXIOBuffer(b"x"))
    assert not link.client.takes_send()


@pytest.mark.parametrize("abortive", [False, True])
def test_close(link: Link, abortive: bool) -> None:
    """B3.26: own Recvs are aborted; the neighbour reads the rest and the end, or a reset; its Sends are reset."""
    link.recv(link.client, tag="own recv")
    link.send(link.client, FWXIOBuffer(b"rest"), "own send")
    link.client.close(abortive)
    link.client.close(not abortive)
    link.recv(link.server, tag="neighbour's recv")
    link.recv(link.server, tag="neighbour's second recv")
    link.send(link.server, FWXIOBuffer(b"x"), "neighbour's send")
    link.recv(link.client, tag="own late recv")
    link.drain()
    assert link.recvs.outcomes[0] == ("own recv", False, ERROR_OPERATION_ABORTED)
    assert ("own late recv", False, ERROR_OPERATION_ABORTED) in link.recvs.outcomes
    assert ("neighbour's send", False, WSAECONNRESET) in link.sends.outcomes
    if abortive:
        assert ("own send", False, ERROR_OPERATION_ABORTED) in link.sends.outcomes
        assert ("neighbour's recv", False, WSAECONNRESET) in link.recvs.outcomes
    else:
        assert ("own send", True, 0) in link.sends.outcomes
        assert link.recvs.received == b"rest"
        assert ("neighbour's second recv", True, 0) in link.recvs.outcomes
    assert len(link.sends.calls) + len(link.recvs.calls) == 6


def test_shutdown_leaves_the_other_direction(link: Link) -> None:
    """B3.25."""
    link.client.shutdown(False)
    link.send(link.client, FWXIOBuffer(b"late"), "late")
    link.recv(link.server, tag="end")
    link.recv(link.client, tag="answer")
    link.send(link.server, FWXIOBuffer(b"answer"))
    link.drain()
    assert link.sends.outcomes[0] == ("late", False, WSAESHUTDOWN)
    assert [(done.tag, done.data) for done in link.recvs.calls] == [("end", b""), ("answer", b"answer")]


def test_abort_fails_everything_once(link: Link) -> None:
    """B3.31: what is pending in both directions and what comes."""
    link.recv(link.client)
    link.send(link.client, FWXIOBuffer(b"x"))
    link.client.abort(WSAECONNABORTED)
    link.server.abort(WSAECONNABORTED)
    link.send(link.server, FWXIOBuffer(b"x"))
    link.recv(link.server)
    link.drain()
    assert [code for _, _, code in link.sends.outcomes] == [WSAECONNABORTED] * 2
    assert [code for _, _, code in link.recvs.outcomes] == [WSAECONNABORTED, ERROR_OPERATION_ABORTED]


def test_an_end_in_the_callers_buffer(link: Link) -> None:
    """B3.13, B3.24."""
    mine = FWXIOBuffer.allocated(4)
    mine.Append(b"old")
    link.recv(link.server, mine)
    link.client.shutdown(False)
    link.drain()
    assert link.recvs.calls[0].buffer is mine
    assert mine.GetBufferSizes() == (4, 0)


def test_a_filters_own_buffer_that_fails_is_its_owners_fault(link: Link, foreign_buffer: Any) -> None:
    """B5.9: the Recv completes as failed and its owner is told; the sender is not."""

    class Bad(foreign_buffer):  # type: ignore[misc]
        def Append(self, *args: Any) -> int:
            raise ValueError("a bug")

    link.recv(link.server, Bad(capacity=4))
    link.send(link.client, FWXIOBuffer(b"x"))
    link.drain()
    assert link.recvs.outcomes == [(0, False, WSAEFAULT)]
    assert [type(error) for error in link.owner.failures] == [ValueError]


@given(
    sizes=st.lists(st.integers(0, 40), max_size=30),
    capacities=st.lists(st.none() | st.integers(1, 40), max_size=60),
    order=st.lists(st.booleans(), max_size=90),
)
def test_every_byte_once_and_in_order(sizes: list[int], capacities: list[int | None], order: list[bool]) -> None:
    """B3.12, B3.13: any mixture of Sends and Recvs, of the service's buffers and the callers', in any order."""
    sent, taken, completed = bytearray(), bytearray(), list[int]()

    class Completion:
        def __init__(self, function: Any) -> None:
            self.function = function

        def CompleteAsyncIO(self, ok: bool, code: int, buffer: Any, tag: Any, *rest: Any) -> None:
            assert ok
            self.function(buffer, tag)

    queue = RunQueue(lambda drain: None, lambda drain: None)
    client, server = junction(queue)
    owner = Owner()
    posts, recvs = list(enumerate(sizes)), list(capacities)
    for sending in [*order, *[True] * len(posts), *[False] * len(recvs)]:
        if sending and posts:
            tag, size = posts.pop(0)
            data = bytes((len(sent) + i) % 251 for i in range(size))
            sent += data
            note: Any = Completion(lambda buffer, tag: completed.append(tag))
            client.send(Operation(owner, note, tag, FWXIOBuffer(data), data))
        elif not sending and recvs:
            capacity = recvs.pop(0)
            mine = None if capacity is None else FWXIOBuffer.allocated(capacity)
            take: Any = Completion(lambda buffer, tag: taken.extend(buffer.ReadAt(0, 1000)))
            server.recv(Operation(owner, take, 0, mine, None if mine is None else begin_receive(mine)))
        queue.drain()
    assert taken == sent[: len(taken)]
    assert completed == sorted(completed)
    assert client.backlog == len(sent) - len(taken)
    assert not owner.failures
