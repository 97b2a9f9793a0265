"""The chain of data filters by its parts: links in a line, and each filter's place and sockets."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from zope.interface import Interface, directlyProvides, providedBy

from fwx.impl.chain import Member, link
from fwx.impl.filterhost import FilterHost
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.sockets import FWXSocket
from fwx.interfaces import GUID_NULL, IFWXConnection, IFWXSocket, fwx_dfpc_Middle
from fwx.interfaces.hresult import E_FAIL, E_UNEXPECTED, FWX_E_BAD_CONTEXT, COMError

if TYPE_CHECKING:
    from tests.impl.conftest import Rig


def members(rig: Rig, count: int) -> list[Member]:
    connection: Any = SimpleNamespace(engine=rig.engine, terminating=False)
    host = FilterHost("filter", GUID_NULL, None, rig.faults, everywhere=True, opens_on_error=False)
    return [Member(connection, host, object(), fwx_dfpc_Middle, None) for _ in range(count)]  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_n_filters_have_n_plus_one_links(rig: Rig, count: int, recorder: Any) -> None:
    """B3.3, B3.5: client, filter 1 .. filter n, server; neighbours share a junction."""
    chain = members(rig, count)
    client, server = SimpleNamespace(datagrams=False), object()
    ends = link(chain, client, server, rig.queue)  # type: ignore[arg-type]
    assert (chain[0].internal, chain[-1].external) == (client, server)
    assert len(ends) == 2 * (count - 1)
    for near, far in pairwise(chain):
        received = recorder()
        FWXSocket(rig.queue, near, near.external).Send(FWXIOBuffer(b"up"), None, 0)
        FWXSocket(rig.queue, far, far.internal).Recv(None, received, 0)
        rig.settle()
        assert received.received == b"up"


def test_the_two_sockets_of_a_filter(rig: Rig) -> None:
    """B3.3: made once each, and twins, in whatever order they are asked for."""
    for sides in (("internal", "external"), ("external", "internal")):
        (member,) = members(rig, 1)
        link([member], *(SimpleNamespace(backlog=0, on_room=None, datagrams=False) for _ in range(2)), rig.queue)  # type: ignore[arg-type]
        made = [member.socket(side) for side in sides]
        assert [member.socket(side) for side in sides] == made
        assert made[0]._twin is made[1]
        assert made[1]._twin is made[0]
        assert made[0]._neighbour is getattr(member, sides[0])


def test_no_sockets_before_there_is_a_chain(rig: Rig) -> None:
    (member,) = members(rig, 1)
    with pytest.raises(COMError) as failure:
        member.socket("internal")
    assert failure.value.hresult == FWX_E_BAD_CONTEXT
    assert member.sockets == {}


def test_another_factory_replaces_the_sockets_of_a_service(rig: Rig, watcher: Any) -> None:
    """DESIGN 4: SetSockets goes through the registry, so a registration replaces what filters get."""

    class IWatched(Interface):
        """Marks the data filters that get other sockets."""

    class Counting(FWXSocket):
        """Another socket."""

    def other(connection: Any, data_filter: Any) -> Counting:
        member = connection.member_of(data_filter)
        return Counting(rig.queue, member, member.internal)

    rig.registry.register_adapter(other, (IFWXConnection, IWatched), IFWXSocket, "internal")
    watching = watcher()
    directlyProvides(watching, IWatched, providedBy(watching))
    opened = rig.open(watching)
    assert [type(socket) for socket in watching.sockets] == [Counting, FWXSocket]
    opened.client.send(b"x")
    opened.server.expect(b"x")


@pytest.mark.parametrize("terminating", [False, True])
def test_a_completion_that_fails_is_the_connections_business(rig: Rig, watcher: Any, terminating: bool) -> None:
    """B5.9: it ends the connection; once it is ending, a failure is no news."""
    watching = watcher()
    opened = rig.open(watching)
    member = opened.connection.member_of(watching)
    if terminating:
        opened.connection.end()
    member.completion_failed(COMError(E_FAIL))
    assert bool(rig.alerts) is not terminating
    rig.until_gone(opened.connection)
    assert rig.records[0].resultcode == (0 if terminating else E_UNEXPECTED)
