"""What a filter derives from, and what it may tell the log."""

from __future__ import annotations

from typing import Any

import pytest

from fwx import sdk
from fwx.impl.recorded import LONGEST_REMARK, Remarks
from fwx.testing import MemoryFirewall


class Watch(sdk.ConnectionFilter):
    """Attaches to everything but port 81, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[sdk.AskedConnection] = []
        self.calls: list[str] = []

    def started(self, firewall: sdk.IFWXFirewall) -> None:
        self.calls.append("started")

    def ended(self) -> None:
        assert self.firewall is not None
        self.calls.append("ended")

    def data_filter(self, asked: sdk.AskedConnection) -> sdk.IFWXDataFilter | None:
        self.asked.append(asked)
        return None if asked.target.port == 81 else sdk.DataPump()


def recorded(connection: Any) -> Any:
    interface: Any = sdk.IRecorded
    return interface(connection)


def test_it_is_asked_for_each_connection(fwx_firewall: MemoryFirewall) -> None:
    watch = Watch()
    fwx_firewall.start(lambda: watch)
    targets = [sdk.SocketAddress("198.51.100.1", port) for port in (80, 81)]
    for target in targets:
        client, server = fwx_firewall.open(target).established()
        client.send(b"hello")
        assert server.receive() == b"hello"
        client.close()
        server.close()
    assert [(asked.target, asked.client.host, asked.transport) for asked in watch.asked] == [
        (target, "192.0.2.1", "tcp") for target in targets
    ]
    assert [record.filters for record in fwx_firewall.records] == ["filter", ""]
    session: Any = watch.asked[0].session
    assert watch.asked[1].session is session
    watch.asked.clear()
    fwx_firewall.stop()
    assert watch.calls == ["started", "ended"]
    assert watch.firewall is None


def test_other_events_pass_and_none_after_the_end(fwx_firewall: MemoryFirewall) -> None:
    watch: Any = Watch()
    watch.FilterInit(fwx_firewall.firewall)
    session = watch.AttachToSession(fwx_firewall.session(), sdk.FwxFilterHookEvents(0))
    details: Any = sdk.FwxEndConnectionEvent(sdk.Unknown())  # type: ignore[arg-type]
    parameters = sdk.FwxFirewallEventParameters.of(sdk.fwx_ConnectionTerminating, details)
    event = sdk.FwxFirewallEvent(sdk.fwx_ConnectionTerminating, sdk.fwxSourceWSP, parameters)
    assert session.FirewallEventHandler(event) == sdk.E_NOTIMPL
    session.Detach()
    assert session.FirewallEventHandler(event) == sdk.FWX_E_TERMINATING
    watch.FilterShutdown()


def test_who_derives_from_it_says_what_to_attach() -> None:
    with pytest.raises(NotImplementedError):
        sdk.ConnectionFilter().data_filter(None)  # type: ignore[arg-type]


def test_what_it_remarks_is_in_the_record(fwx_firewall: MemoryFirewall) -> None:
    fwx_firewall.start(Watch)
    opened = fwx_firewall.open(user="ann")
    about = recorded(opened.connection)
    assert (about.rule, about.user) == ("everything", "ann")
    about.remark("no verb")
    about.remark("no noun")
    opened.client.reset()
    (record,) = fwx_firewall.records
    assert record.reason == "reset by a peer; no verb (and 1 more)"


def test_what_it_remarks_on_what_has_arrived_is_in_the_record(fwx_firewall: MemoryFirewall) -> None:
    """Of a client's inbound connection, and of the place where it waits."""
    watch = Watch()
    fwx_firewall.start(lambda: watch)
    session: Any = fwx_firewall.session()
    client = sdk.SocketAddress("192.0.2.1", 6000)
    listener = fwx_firewall.network.listen(client)
    outside = sdk.SocketAddress("203.0.113.1", 0)
    bound, (waiting,) = session.BindForClient(
        [client], None, outside, None, sdk.FWX_PROTOCOL_TCP, None, 0, 1, sdk.GUID_NULL, None, None, None
    )
    fwx_firewall.loop.run()
    watch.events = 0
    recorded(waiting).remark("waits")
    peer = fwx_firewall.network.stream(2)
    peer.start_connect(bound.sockaddr)
    fwx_firewall.loop.run()
    (arrived,) = [each for each in fwx_firewall.sessions.connections() if each is not waiting]
    recorded(arrived).remark("has come")
    peer.close(True)
    fwx_firewall.loop.run()
    reasons = [record.reason for record in fwx_firewall.records]
    assert [reason for reason in reasons if reason.endswith("; has come")]
    assert [reason for reason in reasons if reason.endswith("; waits")]
    listener.close(False)


def test_what_it_remarks_on_its_own_sockets_is_in_the_record(fwx_firewall: MemoryFirewall) -> None:
    """Those that it has accepted, and those that it has connected for a session."""
    place = sdk.SocketAddress("192.0.2.7", 80)
    listening = fwx_firewall.firewall.CreateNetworkSocket(sdk.FWX_PROTOCOL_TCP)
    listening.Bind(place, None, None)
    listening.Listen(5)

    async def accept() -> None:
        accepted = await sdk.AsyncSocket(listening).accept()
        about = recorded(accepted.socket.socket)
        assert (about.rule, about.user, about.client) == ("", "", accepted.remote)
        about.remark("too late")
        accepted.socket.close(True)

    sdk.spawn(fwx_firewall.firewall, accept(), name="test")
    socket: Any = fwx_firewall.session(user="ann").CreateNetworkSocket(sdk.FWX_PROTOCOL_TCP)
    socket.Connect(place)
    about = recorded(socket)
    assert (about.rule, about.user, about.client.host) == ("everything", "ann", "192.0.2.1")
    about.remark("out of order")
    fwx_firewall.loop.run()
    socket.Close(True)
    fwx_firewall.loop.run()
    assert sorted(record.reason for record in fwx_firewall.records) == ["out of order", "too late"]
    listening.Close(False)
    assert recorded(listening).client.host == "0.0.0.0"


def test_a_remark_is_bounded() -> None:
    remarks = Remarks()
    assert remarks.after("why") == "why"
    remarks.add("x" * 1000)
    assert remarks.after("") == "x" * LONGEST_REMARK
