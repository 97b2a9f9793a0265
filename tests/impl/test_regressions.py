"""Faults that were found by attacking the engine, each with the test that showed it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from zope.interface import implementer

from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.unknown import Unknown
from fwx.interfaces import IFWXDataFilter

if TYPE_CHECKING:
    from tests.impl.conftest import Rig


@pytest.mark.parametrize("first", ["client", "server"])
def test_a_reset_of_a_side_that_has_ended(rig: Rig, first: str) -> None:
    """impl/pump.py: a side that ended and is then reset while the other is idle goes unnoticed for ever."""
    opened = rig.open()
    near, far = (opened.client, opened.server) if first == "client" else (opened.server, opened.client)
    near.shutdown()
    far.expect_end()
    near.reset()
    rig.settle()
    assert ("rig", "ended", opened.connection.id) in rig.journal


def test_an_event_of_a_closed_descriptor_is_not_its_successors(rig: Rig) -> None:
    """fwx/network.py: within one batch of events no other socket gets the number of one that was closed.

    A dial would take the old socket's readiness for its own and say that it is connected.
    """
    (first, one), (second, other) = rig.pair(), rig.pair()
    rig.settle()
    handled: list[str] = []

    def replace(victim: Any) -> None:
        if handled:
            handled.append("the victim's event")
            return
        handled.append("the first event")
        number = victim.fd
        victim.close(False)
        successors = [rig.pair()[0] for _ in range(4)]
        rig.closing.extend(lambda one=one: one.close(False) for one in successors)
        assert number not in {successor.fd for successor in successors}

    first.watch(lambda mask: replace(second))
    second.watch(lambda mask: replace(first))
    rig.closing.extend((lambda: first.close(False), lambda: second.close(False)))
    rig.poller._epoll.poll(0)  # the edges of the registrations
    one._sock.send(b"x")
    other._sock.send(b"x")
    rig.poller._dispatch()
    assert handled == ["the first event"]


def test_close_with_data_unread_ends_by_fin(rig: Rig) -> None:
    """impl/endpoint.py: Close(FALSE) is a FIN (B3.26); with unread data in the kernel the client gets a reset."""

    @implementer(IFWXDataFilter)
    class Refusing(Unknown):
        def SetSockets(self, internal: Any, external: Any, *rest: Any) -> None:
            self.sockets = (internal, external)

        def refuse(self) -> None:
            self.sockets[0].Send(FWXIOBuffer(b"refused"), None, 0)
            for socket in self.sockets:
                socket.Close(False)

        def Detach(self) -> None:
            self.sockets = ()

    refusing = Refusing()
    opened = rig.open(refusing)
    opened.client.send(b"a long request")
    rig.settle()
    refusing.refuse()
    opened.client.expect(b"refused")
    opened.client.expect_end()
