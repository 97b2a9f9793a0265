"""Faulty completion objects, and those that do much: they harm no other connection, and nothing comes twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.iobuffer import FWXIOBuffer
from fwx.interfaces import IFWXIOCompletion
from fwx.interfaces.hresult import E_FAIL, ERROR_OPERATION_ABORTED
from tests.impl.parts import Keeper, Recorder

if TYPE_CHECKING:
    from tests.impl.conftest import Rig, Side


class Unspeakable(BaseException):
    def __str__(self) -> str:
        raise SystemExit(3)


class Faulty:
    """A completion object that *does* something instead of its duty."""

    def __init__(self, does: Callable[[], object]) -> None:
        self.does = does
        self.calls = 0

    def CompleteAsyncIO(self, *args: Any) -> object:
        self.calls += 1
        return self.does()


class WithoutTheMethod:
    """A plain object."""


class WithAnother:
    """Takes other parameters."""

    def CompleteAsyncIO(self, fSuccess: bool) -> None:
        raise AssertionError("called with too few")


class WithNoMethod:
    CompleteAsyncIO = 5


def raising(error: type[BaseException]) -> Callable[[], object]:
    def does() -> object:
        raise error

    return does


def endless() -> object:
    return endless()


FAULTS: dict[str, Callable[[], Any]] = {
    **{
        f"raises {error.__name__}": lambda error=error: Faulty(raising(error))
        for error in (
            ValueError,
            SystemExit,
            KeyboardInterrupt,
            GeneratorExit,
            StopIteration,
            MemoryError,
            BaseException,
            Unspeakable,
        )
    },
    "recurses": lambda: Faulty(endless),
    "returns E_FAIL": lambda: Faulty(lambda: E_FAIL),
    "returns a negative number": lambda: Faulty(lambda: -1),
    "returns a number of 40 bits": lambda: Faulty(lambda: 1 << 39),
    "is a plain object": WithoutTheMethod,
    "takes other parameters": WithAnother,
    "has a number for a method": WithNoMethod,
}


@pytest.mark.parametrize("fault", list(FAULTS))
@pytest.mark.parametrize("method", ["Send", "Recv"])
def test_a_faulty_completion_ends_its_connection_alone(rig: Rig, watcher: Any, fault: str, method: str) -> None:
    """B5.9, DESIGN 5: reported once, with the filter's name; its connection is reset; another one goes on."""
    other = rig.open(watcher())
    keeper = Keeper()
    opened = rig.open(hosts=(rig.attaching(keeper, name="faulty"), rig.attaching(watcher(), name="innocent")))
    completion = FAULTS[fault]()
    if method == "Send":
        keeper.internal.Send(FWXIOBuffer(b"x"), completion, 0)
    else:
        keeper.internal.Recv(None, completion, 0)
        opened.client.send(b"x")
    opened.client.expect_reset_after_data()
    opened.server.expect_reset()
    rig.until_gone(opened.connection)
    assert keeper.told == ["Detach"]
    assert [alert.key for alert in rig.alerts] == ["faulty/CompleteAsyncIO"]
    assert "'faulty' failed in CompleteAsyncIO" in rig.records[-1].reason
    other.client.send(b"still here")
    other.server.expect(b"still here")
    other.server.send(b"and back")
    other.client.expect(b"and back")


@pytest.mark.parametrize("answer", ["text", b"bytes", 1, True, False, 2.5, object(), (), [E_FAIL], lambda: E_FAIL])
def test_garbage_that_says_no_failure(rig: Rig, side: Side, answer: object) -> None:
    """B5.9: what is no number is no HRESULT, so it is no failure."""
    side.socket.Send(FWXIOBuffer(b"x"), Faulty(lambda: answer), 0)  # type: ignore[arg-type]
    side.far.expect(b"x")
    rig.settle()
    assert side.owner.failures == []


@pytest.mark.parametrize("method", ["Close", "Shutdown"])
@pytest.mark.parametrize("abortive", [False, True])
def test_a_completion_that_ends_its_socket(rig: Rig, side: Side, method: str, abortive: bool) -> None:
    """B5.3: from inside; the others that were pending complete afterwards, in order, each once."""
    depth: list[int] = []

    def end(done: Any) -> None:
        depth.append(1)
        assert sum(depth) == 1, "a completion inside a completion"
        if done.tag == 0:
            getattr(side.socket, method)(abortive)
        depth.append(-1)

    taken = Recorder(end)
    for tag in range(3):
        side.socket.Recv(None, taken, tag)
    side.far.send(b"x")
    rig.until(lambda: taken.calls)
    rig.settle()
    if method == "Close" or abortive:
        assert taken.outcomes == [(0, True, 0), *((tag, False, ERROR_OPERATION_ABORTED) for tag in (1, 2))]
    else:
        assert taken.tags == [0], "a half close leaves receiving"
    assert side.owner.failures == []


def test_a_completion_that_posts_a_hundred(rig: Rig, side: Side) -> None:
    """B5.3, DESIGN 5: none of them completes inside, all of them do, in order."""
    inside: list[bool] = []

    def post(done: Any) -> None:
        assert not inside, "a completion inside a completion"
        inside.append(True)
        if done.tag == "first":
            for number in range(100):
                side.socket.Send(FWXIOBuffer(b"%02d" % number), sends, number)
            rig.queue.drain()
        inside.clear()

    sends = Recorder(post)
    side.socket.Send(FWXIOBuffer(b"go "), sends, "first")
    side.far.expect(b"go " + b"".join(b"%02d" % number for number in range(100)))
    rig.until(lambda: len(sends.calls) == 101)
    assert sends.tags == ["first", *range(100)]
    assert side.owner.failures == []


def test_a_completion_that_kills_its_connection(rig: Rig, watcher: Any) -> None:
    """B3.31, B3.32: what is pending fails before Detach, which comes once the completion has returned."""
    keeper = Keeper()
    opened = rig.open(keeper, watcher())

    def kill(done: Any) -> None:
        keeper.told.append(f"{done.tag} {done.success}")
        keeper.connection.Kill()

    taken = Recorder(kill)
    for tag in ("first", "second"):
        keeper.internal.Recv(None, taken, tag)
    keeper.external.Recv(None, taken, "external")
    opened.client.send(b"x")
    rig.until_gone(opened.connection)
    assert keeper.told == ["first True", "second False", "external False", "Detach"]
    assert not rig.alerts


def test_an_interface_is_not_asked_for(rig: Rig, side: Side) -> None:
    """IFWXSocket: a completion object is called by its method; that it says what it provides is good manners."""
    done = Faulty(lambda: None)
    assert not IFWXIOCompletion.providedBy(done)
    side.socket.Send(FWXIOBuffer(b"x"), done, 0)  # type: ignore[arg-type]
    side.far.expect(b"x")
    rig.settle()
    assert done.calls == 1
