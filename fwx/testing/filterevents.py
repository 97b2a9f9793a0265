"""The rules for a filter's events beside plain connects: look-ups, binds, secondary connections, IPv6, a denial."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

from fwx.interfaces import (
    FWX_ALL_SOURCES,
    FWX_PROTOCOL_TCP,
    GUID_NULL,
    SocketAddress,
    fwx_AcceptedConnection,
    fwx_Bind_Tcp,
    fwx_Bind_Udp,
    fwx_Connect_Tcp,
    fwx_GetHostByName,
    fwx_Listen,
    fwx_Udp_Destination,
    fwxAssociatedProtocolsAllConnections,
    fwxSourceNAT,
    fwxSourceWSP,
)
from fwx.testing.battery import NotApplicable, Rule, expect
from fwx.testing.datafilters import Stage
from fwx.testing.hosts import FIREWALL, HandlingFilter, MemoryWaiting, allow, connect, on_connect
from fwx.testing.memory import MemoryPeer

_NAME = "www.example"
_BINDS = fwx_Bind_Tcp | fwx_Listen | fwx_AcceptedConnection
_DATAGRAM = 1200
_CLIENT = "2001:db8::1"
_SERVER = "2001:db8::80"


def _require_start(stage: Stage) -> None:
    expect(stage.host.state == "ready", f"FilterInit failed: {'; '.join(stage.firewall.faults)}")


def _looks_up(stage: Stage) -> None:
    target, names = stage.dialogue.target, stage.firewall.names
    names.table[_NAME] = [target.host]
    listener = stage.firewall.network.listen(target)
    for name in (_NAME, "nowhere.example"):
        stage.firewall.open(SocketAddress(name, target.port), answers=False)
    listener.close(False)
    stage.expect_no_fault("fwx_GetHostByName, and the connect behind it")


def _is_bound(stage: Stage) -> None:
    target = stage.dialogue.target
    waiting = MemoryWaiting(stage.firewall, target)
    if waiting.bound is not None:
        peer = connect(stage.firewall, waiting.bound, target)
        if peer is not None:
            _talk(stage, waiting.client, peer)
    stage.expect_no_fault("a client's bind, and who came to it")


def _is_secondary(stage: Stage) -> None:
    opened = stage.firewall.open(stage.dialogue.target)
    if opened.server is None:
        return
    session, target = opened.connection.GetSession(), stage.dialogue.target.with_port(49151)
    allow(stage.firewall)
    settings = (None, FWX_PROTOCOL_TCP, 0, GUID_NULL, None, None, opened.connection)
    session.AllowFutureConnect(target, None, None, *settings)
    secondary = stage.firewall.open(target)
    if secondary.server is not None:
        _talk(stage, secondary.client, secondary.server)
    bound, _ = session.BindForClient(
        [session.GetClientAddress().with_port(49151)], None, FIREWALL, None, FWX_PROTOCOL_TCP, None, 0, 5, *_NOBODY
    )
    listener = stage.firewall.network.listen(session.GetClientAddress().with_port(49151))
    peer = connect(stage.firewall, bound, stage.dialogue.target)
    if peer is not None and listener.backlog:
        _talk(stage, MemoryPeer(listener.accept()[0]), peer)
    listener.close(False)
    stage.expect_no_fault("secondary connections, outwards and inwards")


_NOBODY = (GUID_NULL, None, None, None)


def _talk(stage: Stage, client: MemoryPeer, server: MemoryPeer) -> None:
    """Have both sides say a little, and leave; what comes of it is not looked at."""
    for sender, data in ((client, stage.dialogue.to_server), (server, stage.dialogue.to_client)):
        try:
            sender.send(data)
        except OSError:
            break  # the filter has ended it, as it may
        client.receive()
        server.receive()
    client.reset()
    server.reset()


_EVENTS: tuple[tuple[int, int, Callable[[Stage], None]], ...] = (
    (fwx_GetHostByName, fwxSourceWSP, _looks_up),
    (_BINDS, fwxSourceWSP, _is_bound),
    (fwxAssociatedProtocolsAllConnections, FWX_ALL_SOURCES, _is_secondary),
)


def _handles_other_events(stage: Stage) -> None:
    _require_start(stage)
    mask = stage.host.mask
    asked = [raise_them for events, sources, raise_them in _EVENTS if mask & events and mask & sources]
    if not asked:
        raise NotApplicable("it asks for no look-ups, binds and secondary connections")
    for raise_them in asked:
        raise_them(stage)


def _handles_datagrams(stage: Stage) -> None:
    _require_start(stage)
    mask = stage.host.mask
    if not mask & (fwx_Bind_Udp | fwx_Udp_Destination):
        raise NotApplicable("it asks for no event of UDP")
    for source in (fwxSourceWSP, fwxSourceNAT):
        if not mask & source:
            continue
        opened: Any = stage.firewall.open_datagrams(stage.dialogue.target, source=source)
        try:
            for data in (stage.dialogue.to_server[:_DATAGRAM], b"", b"\x00" * _DATAGRAM):
                opened.client.send(data)
                if opened.server.receive():
                    opened.server.send(stage.dialogue.to_client[:_DATAGRAM])
                opened.client.receive()
        except OSError:
            pass  # the filter has ended the connection, as it may
        connection = weakref.ref(opened.connection)
        opened.connection = None
        stage.firewall.end_connections()
        stage.expect_no_fault(f"datagrams of {source.name}")
        gc.collect()
        expect(connection() is None, "a UDP connection that has ended is still held")
        opened.server.close()


def _handles_ipv6(stage: Stage) -> None:
    _require_start(stage)
    target = SocketAddress(_SERVER, stage.dialogue.target.port)
    opened = stage.firewall.open(target, _CLIENT)
    stage.expect_no_fault(f"a connect of {_CLIENT} to {target}")
    if opened.server is None:
        raise NotApplicable(f"it refuses a connection to {target}: {opened.refused}")
    client, server = opened.client, opened.server
    stage.say_the_opening(client, server)
    for sender, receiver, data, where in (
        (client, server, stage.dialogue.to_server, "from an IPv6 client to its server"),
        (server, client, stage.dialogue.to_client, "from an IPv6 server to its client"),
    ):
        sender.send(data)
        received = receiver.receive()
        sender.shutdown()
        stage.judge(received + receiver.receive(), data, where)
    stage.expect_no_fault("while data passed between IPv6 addresses")


def _bears_denial(stage: Stage) -> None:
    _require_start(stage)
    if not stage.host.mask & fwx_Connect_Tcp:
        raise NotApplicable("it does not ask for fwx_Connect_Tcp")
    denies = HandlingFilter(on_connect(lambda details: details.piConnection.Deny(0)))
    stage.firewall.start(lambda: denies, "denies")
    opened = stage.firewall.open(stage.dialogue.target)
    stage.expect_no_fault("a connect that another filter denied behind it")
    connection = weakref.ref(opened.connection)
    opened.connection = None
    stage.firewall.end_connections()
    gc.collect()
    expect(connection() is None, "a connection that another filter has denied is still held")


EVENT_RULES: tuple[Rule[Stage], ...] = (
    Rule(
        "handles look-ups, binds and secondary connections that it asks for",
        ("B2.4", "B2.20", "B2.26"),
        _handles_other_events,
    ),
    Rule("handles the datagrams that it asks for", ("B2.15", "B2.20", "B1.35"), _handles_datagrams),
    Rule("handles clients and servers of IPv6", ("B2.38",), _handles_ipv6),
    Rule("bears that another filter denies", ("B1.30", "B1.35", "B2.37"), _bears_denial),
)
