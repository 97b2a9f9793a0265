"""The look-ups of what connects: one deadline and one bound for clients, sockets and datagrams (B5.17)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.lookups import MOST_LOOK_UPS
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import WSAHOST_NOT_FOUND, WSATRY_AGAIN

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

SLOW = SocketAddress("slow.example", 9)


@pytest.fixture(params=["firewall", "session"])
def maker(request: pytest.FixtureRequest, rig: Rig) -> Any:
    return rig.firewall if request.param == "firewall" else rig.session()


@pytest.mark.parametrize("protocol", [6, 17], ids=["TCP", "UDP"])
def test_sockets_of_one_owner_do_not_take_the_resolver(rig: Rig, maker: Any, recorder: Any, protocol: int) -> None:
    """The one too many fails, later; another owner is served; what has ended makes room."""
    held = []

    def connect(who: Any) -> Any:
        sock, completions = who.CreateNetworkSocket(protocol), recorder()
        sock.Connect(SLOW)
        sock.Recv(None, completions, 0)
        held.append(sock)
        return completions

    for _ in range(MOST_LOOK_UPS):
        connect(maker)
    refused = connect(maker)
    assert not refused.calls, "not inside Connect"
    rig.until(lambda: refused.calls)
    assert refused.outcomes == [(0, False, WSATRY_AGAIN)]
    assert len(rig.names.asked) == len(rig.engine.look_ups) == MOST_LOOK_UPS
    other = rig.session("127.0.0.9")
    connect(other)
    assert len(rig.names.asked) == MOST_LOOK_UPS + 1
    held[0].Close(True)
    waiting = connect(maker)
    rig.settle()
    assert len(rig.names.asked) == MOST_LOOK_UPS + 2
    for done in rig.names.asked:
        done([], WSAHOST_NOT_FOUND)
    rig.until(lambda: waiting.calls)
    assert waiting.outcomes == [(0, False, WSAHOST_NOT_FOUND)]
    assert not len(rig.engine.look_ups)


def test_what_was_refused_and_is_closed_meanwhile(rig: Rig, maker: Any, recorder: Any) -> None:
    for _ in range(MOST_LOOK_UPS):
        maker.CreateNetworkSocket(6).Connect(SLOW)
    sock = maker.CreateNetworkSocket(6)
    sock.Connect(SLOW)
    sock.Close(True)
    records = len(rig.records)
    rig.settle()
    assert len(rig.records) == records, "no second record"


def test_an_answer_after_the_end_is_nobodys(rig: Rig) -> None:
    """Whoever cancels, or was too late, hears nothing; the place is given back once."""
    told: list[tuple[list[SocketAddress], int]] = []

    def done(addresses: list[SocketAddress], code: int) -> None:
        told.append((addresses, code))

    cancel = rig.engine.look_ups.begin(rig.engine, "owner", SLOW, done)
    cancel()
    rig.names.asked.pop()([SLOW], 0)
    cancel()
    assert not told
    assert not len(rig.engine.look_ups)
    assert rig.names.cancelled == 1
    rig.engine.look_ups.begin(rig.engine, "owner", SLOW, done)
    rig.clock.advance(20.0)
    rig.names.asked.pop()([SLOW], 0)
    assert len(told) == 1
    assert not len(rig.engine.look_ups)
