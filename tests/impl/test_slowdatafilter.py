"""OkToTerminate: a data filter holds up the end of a connection that one side has left (B1.38)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from zope.interface import implementer

from fwx.impl.connection import MOST_ASKED
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.interfaces import IFWXDataFilter, IFWXSlowDataFilter
from fwx.interfaces.hresult import S_FALSE, S_OK
from tests.impl.conftest import LINGER_SECONDS
from tests.impl.parts import Keeper

if TYPE_CHECKING:
    from tests.impl.conftest import Rig


@implementer(IFWXDataFilter, IFWXSlowDataFilter)
class Slow(Keeper):
    """Says *answers*, one after the other, and then the last one again."""

    def __init__(self, *answers: Any) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked = 0

    def OkToTerminate(self) -> Any:
        self.asked += 1
        answer = self.answers[min(self.asked, len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


def left(rig: Rig, data_filter: Any) -> Any:
    """A connection that both sides have left while *data_filter* holds what it has."""
    opened = rig.open(data_filter)
    opened.client.shutdown()
    opened.server.shutdown()
    rig.settle()
    return opened


def pass_time(rig: Rig, times: int = 1) -> None:
    for _ in range(times):
        rig.clock.advance(LINGER_SECONDS + 1)
        rig.settle()


def test_the_end_waits_until_the_filter_agrees(rig: Rig) -> None:
    """B1.38: asked at intervals; what it had left still goes out."""
    slow = Slow(S_FALSE, S_FALSE, S_OK)
    opened = left(rig, slow)
    pass_time(rig, 2)
    assert (slow.asked, slow.told, opened.connection.terminating) == (2, [], False)
    slow.external.Send(FWXIOBuffer(b"the rest"), None, 0)
    opened.server.expect(b"the rest")
    pass_time(rig, 2)
    rig.until_gone(opened.connection)
    assert (slow.asked, slow.told) == (3, ["Detach"])


@pytest.mark.parametrize("answer", [S_OK, None, ValueError("a bug")], ids=["agrees", "nothing", "fails"])
def test_one_that_agrees_or_fails_holds_nothing_up(rig: Rig, answer: Any) -> None:
    slow = Slow(answer)
    opened = left(rig, slow)
    pass_time(rig)
    rig.until_gone(opened.connection)
    assert slow.asked == 1


def test_one_that_never_agrees_does_not_hold_it_up_for_ever(rig: Rig) -> None:
    slow = Slow(S_FALSE)
    opened = left(rig, slow)
    pass_time(rig, MOST_ASKED)
    rig.until_gone(opened.connection)
    assert slow.asked == MOST_ASKED - 1


def test_one_that_cannot_be_asked(rig: Rig) -> None:
    opened = left(rig, Keeper())
    pass_time(rig)
    rig.until_gone(opened.connection)
