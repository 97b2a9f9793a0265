"""One filter takes the place of another: who sees which connection, and when the old one is shut down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from zope.interface import implementer

from fwx.data_pump import DataPump
from fwx.impl.filterhost import FilterHost
from fwx.impl.retirement import exchange, use
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    GUID_NULL,
    FwxFilterHookEvents,
    IClassFactory,
    SocketAddress,
    fwx_Connect_Tcp,
    fwx_ConnectionTerminating,
    fwx_dfpc_Middle,
)
from fwx.interfaces.constants import FWX_PROTOCOL_TCP
from fwx.interfaces.enums import fwx_EstablishedConnection
from fwx.interfaces.hresult import COMError
from tests.impl.parts import ScriptedFilter

if TYPE_CHECKING:
    from fwx.impl.connection import FWXConnection
    from tests.impl.conftest import Rig

MASK = int(fwx_Connect_Tcp | fwx_ConnectionTerminating | fwx_EstablishedConnection) | FWX_ALL_SOURCES


@pytest.fixture
def old(rig: Rig) -> FilterHost:
    return rig.host("old", mask=MASK)


def successor(rig: Rig, old: FilterHost, name: str = "new", **script: Any) -> FilterHost:
    """A filter of the same CLSID, which is ready and sees nothing yet."""
    scripted = ScriptedFilter(name, rig.journal, mask=MASK, **script)
    made = FilterHost(old.name, old.clsid, lambda: scripted, rig.faults, everywhere=True, opens_on_error=False)
    made.start(rig.firewall)
    return made


def begin(rig: Rig, session: Any = None) -> FWXConnection:
    """A connection that the filters of today have seen."""
    connection = rig.connection(session)
    assert rig.through(connection.raise_connect_event(rig.engine.filters))
    return connection


def calls(rig: Rig, name: str) -> list[str]:
    """What one filter was called for; events by their types' names."""
    return [getattr(call[2], "name", call[1]) for call in rig.journal if call[0] == name]


def test_old_connections_finish_with_the_old_one(rig: Rig, old: FilterHost) -> None:
    """B1.35, B1.39: within one session each connection has one of the two, from its first event to its last."""
    first = begin(rig)
    new = successor(rig, old)
    assert exchange(rig.engine, new) == 1
    assert (rig.engine.filters, rig.engine.retired) == ((new,), (old,))
    assert rig.through(first.raise_connect_event(rig.engine.filters))  # a later event of the old connection
    assert calls(rig, "old")[3:] == ["fwx_Connect_Tcp"]
    second = begin(rig)
    assert second.session is first.session
    second.end()
    rig.settle()
    assert calls(rig, "new") == ["init", "attach", "fwx_Connect_Tcp", "fwx_ConnectionTerminating"]
    assert calls(rig, "old") == ["init", "attach", "fwx_Connect_Tcp", "fwx_Connect_Tcp"]
    third = begin(rig)
    first.end()
    rig.settle()
    rig.sessions.connection_ended(first)
    assert calls(rig, "old")[4:] == ["fwx_ConnectionTerminating", "session detached", "shutdown"]
    assert (old.state, new.state, rig.engine.retired) == ("stopped", "ready", ())
    third.end()
    rig.settle()
    assert calls(rig, "new")[4:] == ["fwx_Connect_Tcp", "fwx_ConnectionTerminating"]
    assert not rig.alerts


def test_one_without_connections_is_shut_down_at_once(rig: Rig, old: FilterHost) -> None:
    begin(rig).end()
    rig.settle()
    assert exchange(rig.engine, successor(rig, old)) == 0
    assert calls(rig, "old")[-2:] == ["session detached", "shutdown"]
    assert rig.engine.retired == ()
    assert rig.session().attached_hosts == []


def test_one_that_never_was_up_is_not_shut_down(rig: Rig) -> None:
    broken = rig.host("old", init=lambda firewall: 1 / 0)
    assert broken.state == "failed"
    assert not rig.through(rig.connection().raise_connect_event(rig.engine.filters))
    assert exchange(rig.engine, successor(rig, broken)) == 0
    assert "shutdown" not in calls(rig, "old")
    begin(rig)
    assert calls(rig, "new") == ["init", "attach", "fwx_Connect_Tcp"]


def test_two_exchanges(rig: Rig, old: FilterHost) -> None:
    """Three versions at a time; each goes when its own connections have gone."""
    first = begin(rig)
    second_host = successor(rig, old, "second")
    exchange(rig.engine, second_host)
    second = begin(rig)
    exchange(rig.engine, successor(rig, old, "third"))
    assert rig.engine.retired == (old, second_host)
    second.end()
    rig.settle()
    rig.sessions.connection_ended(second)
    assert rig.engine.retired == (old,)
    assert calls(rig, "second")[-1] == "shutdown"
    first.end()
    rig.settle()
    rig.sessions.connection_ended(first)
    assert calls(rig, "old")[-1] == "shutdown"


def test_a_connection_that_the_old_one_has_not_seen_goes_over(rig: Rig, old: FilterHost) -> None:
    """It began before the exchange and none of its events has been raised: nothing keeps the old filter."""
    connection = rig.connection()
    exchange(rig.engine, successor(rig, old))
    assert old.state == "stopped"
    assert rig.through(connection.raise_connect_event(rig.engine.filters))
    assert calls(rig, "new")[-1] == "fwx_Connect_Tcp"


def test_the_old_ones_announcement_is_the_old_ones(rig: Rig, old: FilterHost) -> None:
    """Who announced a connection is told of it, also of its end, and stays as long as it can come."""
    primary = begin(rig)
    session = primary.session
    session_filter = session.session_filter(old, fwx_Connect_Tcp)
    target = SocketAddress("192.0.2.9", 20)
    action = session.AllowFutureConnect(
        target, None, None, None, FWX_PROTOCOL_TCP, 0, GUID_NULL, session_filter, None, primary
    )
    exchange(rig.engine, successor(rig, old))
    primary.end()
    rig.settle()
    rig.sessions.connection_ended(primary)
    assert old.state == "ready"  # it waits for what it announced
    granted = rig.engine.permissions.find(session, target, "TCP")
    assert granted is not None
    connection = rig.connection(session, "192.0.2.9:20")
    granted.permission.use(connection)
    assert calls(rig, "old")[-1] == "fwx_EstablishedConnection"
    with pytest.raises(COMError):
        action.Cancel()  # it has been used up
    rig.sessions.connection_ended(primary)
    assert old.state == "ready"  # the connection is its own now
    connection.end()
    rig.settle()
    rig.sessions.connection_ended(connection)
    assert calls(rig, "old")[-3:] == ["fwx_ConnectionTerminating", "session detached", "shutdown"]
    assert "fwx_ConnectionTerminating" not in calls(rig, "new")


def test_what_the_old_ones_factory_serves_the_new_one_does_not_see(rig: Rig, old: FilterHost) -> None:
    """B2.41 holds across an exchange."""

    @implementer(IClassFactory)
    class Factory:
        def CreateInstance(self, outer: Any, interface: Any) -> DataPump:
            return DataPump()

    begin(rig)
    session = rig.session()
    anywhere = SocketAddress("0.0.0.0", 0)
    session.SetDataFilterFactory(fwx_Connect_Tcp, anywhere, None, Factory(), fwx_dfpc_Middle, None, 0)
    new = successor(rig, old)
    exchange(rig.engine, new)
    connection = rig.connection()
    assert rig.through(connection.raise_connect_event((new,), (SocketAddress("127.0.0.1", 80),)))
    assert calls(rig, "new") == ["init"]
    assert connection.involves(old)


def test_an_exchange_needs_a_filter_of_the_clsid(rig: Rig, old: FilterHost) -> None:
    stranger = FilterHost("x", GUID_NULL, FwxFilterHookEvents, rig.faults, everywhere=True, opens_on_error=False)
    with pytest.raises(LookupError, match="no filter has the CLSID"):
        exchange(rig.engine, stranger)
    assert rig.engine.filters == (old,)


def test_one_that_nothing_succeeds_goes_on_with_its_connections(rig: Rig, old: FilterHost) -> None:
    """B1.39: those that have begun with it, whether it has seen them yet or not; it is shut down after the last one."""
    first, unseen = begin(rig), rig.connection()
    use(rig.engine, ())
    assert (rig.engine.filters, rig.engine.retired) == ((), (old,))
    later = begin(rig)
    assert later.filters == ()
    first.end()
    rig.settle()
    rig.sessions.connection_ended(first)
    assert old.state == "ready"
    assert rig.through(unseen.raise_connect_event((old,)))
    unseen.end()
    rig.settle()
    rig.sessions.connection_ended(unseen)
    assert calls(rig, "old")[-1] == "shutdown"
    assert rig.engine.retired == ()
    later.end()


def test_those_that_stay_are_not_touched(rig: Rig, old: FilterHost) -> None:
    """Another order, and another one beside them, is nothing to a filter."""
    other = rig.host("other", mask=MASK)
    rig.engine.filters = (old, other)
    before = calls(rig, "old")
    use(rig.engine, (other, old))
    assert (rig.engine.filters, rig.engine.retired) == ((other, old), ())
    use(rig.engine, (old,))
    assert other.state == "stopped"
    assert (calls(rig, "old"), old.state) == (before, "ready")
