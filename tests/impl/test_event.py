"""What the events say, bit for bit and member for member (behaviour topic 2)."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from fwx.impl.event import connect_event, terminating_event
from fwx.impl.policy import Rule
from fwx.interfaces import (
    FWX_ALL_SOURCES,
    FWX_DENY,
    FWX_EMULATE,
    FWX_PASS,
    FWX_PROTOCOL_TCP,
    GUID_NULL,
    FwxEndConnectionEvent,
    FwxFilterAccess,
    FwxFilterHookEvents,
    FwxFirewallEvent,
    FwxFirewallEventType,
    SocketAddress,
    fwx_AcceptedConnection,
    fwx_Bind_Tcp,
    fwx_Bind_Udp,
    fwx_Connect_Tcp,
    fwx_dfpc_Middle,
    fwx_Udp_Destination,
    fwxAssociatedProtocolsAllConnections,
    fwxSourceNAT,
    fwxSourceWSP,
)
from fwx.interfaces.hresult import FWX_E_BAD_CONTEXT, S_OK, WSAECONNREFUSED, COMError
from fwx.interfaces.protocols import by_title

if TYPE_CHECKING:
    from tests.impl.conftest import Rig


def test_the_types_and_the_sources_have_a_bit_each() -> None:
    """B2.1, B2.3."""
    assert {each.name: each.value for each in FwxFirewallEventType} == {
        "fwx_Connect_Tcp": 1,
        "fwx_Udp_Destination": 2,
        "fwx_Bind_Tcp": 4,
        "fwx_Bind_Udp": 8,
        "fwx_Listen": 0x10,
        "fwx_AcceptedConnection": 0x20,
        "fwx_GetHostByName": 0x40,
        "fwx_GetHostByAddr": 0x80,
        "fwx_ConnectionTerminating": 0x100,
        "fwx_EstablishedConnection": 0x200,
        "fwx_NatPtConnection": 0x400,
    }
    assert (fwxSourceWSP, fwxSourceNAT, FWX_ALL_SOURCES) == (0x4000_0000, 0x8000_0000, 0xC000_0000)


ATTACHABLE = fwx_Connect_Tcp | fwx_AcceptedConnection | fwx_Bind_Udp | fwx_Udp_Destination
DENIABLE = fwx_Connect_Tcp | fwx_AcceptedConnection | fwx_Bind_Udp | fwx_Bind_Tcp


@pytest.mark.parametrize("secondary", [False, True])
@pytest.mark.parametrize(
    ("script", "is_attached", "seen"),
    [
        (None, False, (False, False)),
        ({"mask": fwx_Bind_Tcp | FWX_ALL_SOURCES}, False, (False, False)),
        ({"mask": fwx_Connect_Tcp | fwxSourceNAT}, False, (False, False)),
        ({"mask": fwx_Connect_Tcp | fwxSourceWSP}, False, (True, False)),
        ({"mask": fwx_Connect_Tcp | FWX_ALL_SOURCES | fwxAssociatedProtocolsAllConnections}, False, (True, True)),
        ({"session_mask": fwx_Bind_Tcp | FWX_ALL_SOURCES}, True, (False, False)),
        ({"session_mask": fwx_Connect_Tcp | FWX_ALL_SOURCES}, True, (True, False)),
        ({"blocking": True}, False, (True, False)),
    ],
)
def test_an_event_for_nobody_is_known_without_a_course(
    rig: Rig, script: dict[str, Any] | None, is_attached: bool, seen: tuple[bool, bool], secondary: bool
) -> None:
    """B2.4, B2.5: what would be shown to nobody is told beforehand, as showing it would have had it."""
    hosts = () if script is None else (rig.host(**script),)
    if is_attached:
        rig.session().AttachFilter(hosts[0].clsid)
    connection = rig.connection()
    made: list[Any] = []

    def make() -> Any:
        made.append(connect_event(connection))
        return made[-1]

    expected = seen[secondary]
    assert connection.is_for_nobody(hosts, fwx_Connect_Tcp, secondary=secondary) is not expected
    assert rig.through(connection.raise_event(hosts, fwx_Connect_Tcp, make, WSAECONNREFUSED, secondary=secondary))
    assert bool(made) is expected
    connection.is_secondary = secondary
    assert connection.is_for_nobody(hosts, fwx_Connect_Tcp) is not expected
    connection.refuse(S_OK, "the test is over")


def test_an_event_that_cannot_be_told_to_be_for_nobody(rig: Rig) -> None:
    """A filter that failed, one in the place of another, a connection that ends: those decide who show events."""
    failing = rig.host(mask=fwx_Bind_Tcp, init=lambda firewall: 1 / 0)
    quiet = rig.host(mask=fwx_Bind_Tcp)
    connection = rig.connection()
    assert connection.is_for_nobody((quiet,), fwx_Connect_Tcp)
    assert not connection.is_for_nobody((quiet, failing), fwx_Connect_Tcp)
    rig.engine.filters = (rig.host(mask=fwx_Bind_Tcp),)
    assert not connection.is_for_nobody((quiet,), fwx_Connect_Tcp)
    ending = rig.connection()
    for each in (connection, ending):
        each.refuse(S_OK, "the test is over")
    assert not ending.is_for_nobody((quiet,), fwx_Connect_Tcp)


@pytest.mark.parametrize("event_type", list(FwxFirewallEventType)[:10], ids=lambda each: each.name)
def test_what_belongs_into_which_handler(rig: Rig, watcher: Any, event_type: FwxFirewallEventType) -> None:
    """B2.34, B2.36, B3.33, B3.34: FWX_E_BAD_CONTEXT in the handler of any other event."""
    calls = {
        "AttachDataFilter": ((watcher(), fwx_dfpc_Middle, None), ATTACHABLE),
        "Deny": ((0,), DENIABLE),
        "EmulateForConnect": ((watcher(), None), fwx_Connect_Tcp),
        "EmulateForBind": ((), fwx_Bind_Tcp),
    }
    found: dict[str, int] = {}

    def handle(_event: Any) -> None:
        for method, (arguments, _) in calls.items():
            try:
                getattr(connection, method)(*arguments)
            except COMError as error:
                found[method] = error.hresult
            else:
                found[method] = S_OK

    connection = rig.connection()
    host = rig.host(handle=handle, mask=event_type | FWX_ALL_SOURCES)
    event = lambda: terminating_event(connection)  # noqa: E731  which one does not matter
    passes = rig.through(connection.raise_event((host,), event_type, event, WSAECONNREFUSED))
    assert found == {name: S_OK if event_type & where else FWX_E_BAD_CONTEXT for name, (_, where) in calls.items()}
    assert passes == (not event_type & DENIABLE)
    connection.refuse(S_OK, "the test is over")


def test_the_protocol_of_a_connection(rig: Rig) -> None:
    """B2.10: the definition's GUID where the port has one, else GUID_NULL."""
    everywhere = ("any", "localhost")
    rig.engine.policy = rig.policy(Rule("all", "allow", ("any",), everywhere, everywhere))
    for target, guid in (("127.0.0.1:80", by_title()["HTTP"].guid), ("127.0.0.1:49999", GUID_NULL)):
        connection = rig.connection(target=target)
        assert connect_event(connection).Parameters.Connect.ProtocolGuid == guid
        connection.refuse(S_OK, "the test is over")


def test_a_terminating_event_has_the_connection_and_no_more(rig: Rig) -> None:
    """B2.44."""
    connection = rig.connection()
    assert [field.name for field in fields(FwxEndConnectionEvent)] == ["piConnection"]
    assert terminating_event(connection).Parameters.EndConnect.piConnection is connection
    connection.refuse(S_OK, "the test is over")


def test_filter_init_may_open_listening_sockets(rig: Rig) -> None:
    """B1.9."""
    made: list[Any] = []

    def init(firewall: Any) -> Any:
        socket = firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)
        socket.Bind(SocketAddress("127.0.0.1", 0), None, None)
        socket.Listen(5)
        made.append(socket)
        return FwxFilterHookEvents(0)

    assert rig.host(init=init).state == "ready"
    assert made[0].GetSockName().port
    made[0].Close(False)


@pytest.mark.parametrize("written", [FWX_DENY, FWX_EMULATE])
def test_what_a_filter_writes_into_filter_access_changes_nothing(rig: Rig, written: FwxFilterAccess) -> None:
    """B2.8: an event shows FWX_PASS, and the connection goes its way."""
    shown: list[FwxFilterAccess] = []

    def handle(event: FwxFirewallEvent) -> None:
        shown.append(event.Parameters.Connect.FilterAccess)
        event.Parameters.Connect.FilterAccess = written

    opened = rig.open(hosts=(rig.host(handle=handle),))
    opened.client.send(b"on")
    opened.server.expect(b"on")
    assert shown == [FWX_PASS]
