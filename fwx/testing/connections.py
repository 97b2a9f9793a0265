"""The battery for IFWXConnection: what a filter may do with one, when, and what both sides see of it."""

# ruff: noqa: N802  the SDK's spelling, letter for letter

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from zope.interface import implementer

from fwx.data_pump import DataPump
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    E_INVALIDARG,
    E_POINTER,
    FWX_E_ALREADY_EMULATED,
    FWX_E_ALREADY_EXISTS,
    FWX_E_BAD_CONTEXT,
    FWX_E_INVALID_ARG,
    FWX_E_NOT_EMULATED,
    FWX_E_TERMINATING,
    HRESULT,
    HRESULT_FROM_WIN32,
    S_FALSE,
    S_OK,
    WSAEADDRINUSE,
    WSAECONNREFUSED,
    WSAEINVAL,
    IFWXConnection,
    IFWXIOBuffer,
    IFWXSlowDataFilter,
    SocketAddress,
    fwx_AcceptedConnection,
    fwx_Bind_Tcp,
    fwx_ConnectionTerminating,
    fwx_dfpc_External,
    fwx_dfpc_Internal,
    fwx_dfpc_Middle,
)
from fwx.testing.battery import Battery, BreachError, Rule, expect, expect_equal, expect_failure, run_rules
from fwx.testing.completions import Recorder
from fwx.testing.hosts import (
    Asked,
    FirewallHost,
    HandlingFilter,
    HeldSockets,
    Peer,
    Scene,
    on_connect,
    opened,
    outcome,
)
from fwx.testing.sockets import CLIENT, SERVER
from fwx.testing.unknown import shape_rule, unknown_rules

REMOTE = SocketAddress("203.0.113.9", 4000)
PLACE = SocketAddress("192.0.2.200", 2121)
_PATIENCE = 100
_LINGER_SECONDS = 31.0


def check_connection(maker: Callable[[], FirewallHost]) -> Battery:
    """Try the connections of a firewall: attaching, denying, the data filters' order, emulation, the end.

    *maker* returns a fresh :class:`fwx.testing.FirewallHost` for each rule.
    """

    with opened(maker) as host:
        subject = type(_connection(host)).__qualname__
    return run_rules(subject, _RULES, lambda: opened(maker))


def _connection(host: FirewallHost) -> Any:
    return host.ask(SERVER).connection


def _handled(host: FirewallHost, then: Callable[[Any], Any]) -> Asked:
    """Have *then* see the details of the connects; ask for the server, and return what came of it."""
    host.start(HandlingFilter(on_connect(then)))
    return host.ask(SERVER)


def _ends(asked: Asked) -> tuple[Peer, Peer]:
    """Return both ends. :raises BreachError: the client did not get to the server."""
    if asked.server is None:
        raise BreachError(f"the client did not get to the server: {asked.refused}")
    return asked.client, asked.server


def _judge(found: list[Any], wanted: Sequence[int], what: str) -> None:
    """Compare the outcomes of calls that a handler has made."""
    expect_equal([each.name for each in found], [HRESULT(code).name for code in wanted], what)


# ---- events ----------------------------------------------------------------------------------------------------------


def _refuses_out_of_context(host: FirewallHost) -> None:
    connection = _connection(host)
    calls = (
        ("AttachDataFilter", HeldSockets(), fwx_dfpc_Middle, None),
        ("EmulateForConnect", HeldSockets(), None),
        ("EmulateForBind",),
        ("Deny", 0),
    )
    for method, *arguments in calls:
        expect_failure(f"{method} outside an event", FWX_E_BAD_CONTEXT, getattr(connection, method), *arguments)


def _denies(host: FirewallHost) -> None:
    codes: list[Any] = []
    asked = _handled(host, lambda connect: codes.extend(outcome(connect.piConnection.Deny, each) for each in (1, 0)))
    _judge(codes, [E_INVALIDARG, S_OK], "Deny(1) and Deny(0) in fwx_Connect_Tcp")
    expect(asked.server is None, "a connection that was denied reached the server")
    expect_equal(asked.refused, HRESULT(HRESULT_FROM_WIN32(WSAECONNREFUSED)), "what the client was told")


def _denies_binds(host: FirewallHost) -> None:
    def handle(event: Any) -> None:
        if event.EventType == fwx_Bind_Tcp:
            event.Parameters.Bind.piConnection.Deny(0)

    host.start(HandlingFilter(handle))
    waiting = host.wait(SERVER)
    expect(waiting.bound is None, "a bind that was denied succeeded")
    expect_equal(waiting.failure, HRESULT(HRESULT_FROM_WIN32(WSAEADDRINUSE)), "what the client was told of its bind")


def _denies_arrivals(host: FirewallHost) -> None:
    def handle(event: Any) -> None:
        if event.EventType == fwx_AcceptedConnection:
            event.Parameters.Accept.piConnectionAccepted.Deny(0)

    host.start(HandlingFilter(handle))
    scene = Scene(host)
    accept = host.listen(CLIENT.with_port(5000))
    bound, _ = scene.bind(CLIENT.with_port(5000))
    peer = host.connect(bound, REMOTE)
    expect(accept() is None, "an accepted connection that was denied reached the client")
    if peer is not None:
        peer.receive()
        expect(peer.was_reset, "an accepted connection that was denied was not aborted")


def _judges_data_filters(host: FirewallHost) -> None:
    codes: list[Any] = []

    def then(connect: Any) -> None:
        held = HeldSockets()
        for data_filter, priority in ((None, 3), (Unknown(), 3), (HeldSockets(), 99), (held, 3), (held, 3)):
            codes.append(outcome(connect.piConnection.AttachDataFilter, data_filter, priority, None))

    _handled(host, then)
    wanted = [E_POINTER, E_INVALIDARG, E_INVALIDARG, S_OK, E_INVALIDARG]
    _judge(codes, wanted, "AttachDataFilter of None, no data filter, an unknown class, one, and the same one again")


class _Marks(DataPump):
    """Passes everything on, and says so."""

    def __init__(self, name: str, passed: list[tuple[str, bool]]) -> None:
        super().__init__()
        self._name = name
        self._passed = passed

    def inspect(self, to_server: bool, buffer: IFWXIOBuffer) -> IFWXIOBuffer | None:
        if buffer.GetBufferSizes()[1]:
            self._passed.append((self._name, to_server))
        return buffer


def _keeps_the_order(host: FirewallHost) -> None:
    passed: list[tuple[str, bool]] = []
    classes = {"external": fwx_dfpc_External, "internal": fwx_dfpc_Internal, "middle": fwx_dfpc_Middle}

    def then(connect: Any) -> None:
        for name, priority in classes.items():
            connect.piConnection.AttachDataFilter(_Marks(name, passed), priority, None)

    client, server = _ends(_handled(host, then))
    client.send(b"there")
    expect_equal(server.receive(), b"there", "what came to the server")
    server.send(b"back")
    expect_equal(client.receive(), b"back", "what came to the client")
    order = ["internal", "middle", "external"]
    wanted = [(name, True) for name in order] + [(name, False) for name in reversed(order)]
    expect_equal(passed, wanted, "the data filters by which data passed, to the server and back")


def _hands_over_contexts(host: FirewallHost) -> None:
    context, with_one, without = Unknown(), HeldSockets(), HeldSockets()

    def then(connect: Any) -> None:
        connect.piConnection.AttachDataFilter(with_one, fwx_dfpc_Internal, context)
        connect.piConnection.AttachDataFilter(without, fwx_dfpc_External, None)

    asked = _handled(host, then)
    expect_equal((with_one.started, without.started), (1, 1), "the SetSockets of two data filters")
    expect(with_one.context is context, f"SetSockets brought {with_one.context!r} as the context")
    expect(without.context is None, f"SetSockets brought {without.context!r} where no context was given")
    expect(with_one.connection is asked.connection, "SetSockets brought another connection")


def _names_come_late(host: FirewallHost) -> None:
    codes: list[Any] = []
    held = HeldSockets()

    def then(connect: Any) -> None:
        connection = connect.piConnection
        codes.extend((outcome(connection.GetExternalSocketName), outcome(connection.GetExternalPeerName)))
        connection.AttachDataFilter(held, fwx_dfpc_Middle, None)

    _handled(host, then)
    late = HRESULT_FROM_WIN32(WSAEINVAL)
    _judge(codes, [late, late], "GetExternalSocketName and GetExternalPeerName in fwx_Connect_Tcp")
    expect_equal(held.connection.GetExternalPeerName(), SERVER, "GetExternalPeerName after SetSockets")
    expect(held.connection.GetExternalSocketName().port, "GetExternalSocketName after SetSockets has no port")


# ---- the end ---------------------------------------------------------------------------------------------------------


def _kills(host: FirewallHost) -> None:
    held, recorder, events = HeldSockets(), Recorder(), list[Any]()

    def handle(event: Any) -> None:
        on_connect(lambda connect: connect.piConnection.AttachDataFilter(held, fwx_dfpc_Middle, None))(event)
        if event.EventType == fwx_ConnectionTerminating:
            events.append((event.Parameters.EndConnect.piConnection, held.detached))

    host.start(HandlingFilter(handle))
    asked = host.ask(SERVER)
    client, server = _ends(asked)
    held.internal.Recv(None, recorder, 0)
    connection = asked.connection
    connection.Kill()
    connection.Kill()
    host.run()
    for name, peer in (("client", client), ("server", server)):
        peer.receive()
        expect(peer.ended or peer.was_reset, f"after Kill the {name} is still connected")
    expect(recorder.calls, "a Recv that was pending at Kill has not completed")
    expect(not recorder.calls[0].success, "a Recv that was pending at Kill succeeded")
    expect_equal(held.detached, 1, "the Detach calls of the data filter")
    expect_equal(events, [(connection, 1)], "fwx_ConnectionTerminating, after Detach, with its connection")
    expect_failure("GetSession after the end", FWX_E_TERMINATING, connection.GetSession)
    attach = connection.AttachDataFilter
    expect_failure("AttachDataFilter after the end", FWX_E_TERMINATING, attach, HeldSockets(), fwx_dfpc_Middle, None)


@implementer(IFWXSlowDataFilter)
class _Slow(HeldSockets):
    """Has something left to do, as often as it is told."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left
        self.asked = 0

    def OkToTerminate(self) -> Any:
        self.asked += 1
        return S_FALSE if self.asked <= self.left else S_OK


def _asks_before_it_ends(host: FirewallHost) -> None:
    slow = _Slow(2)
    asked = _handled(host, lambda connect: connect.piConnection.AttachDataFilter(slow, fwx_dfpc_Middle, None))
    client, server = _ends(asked)
    client.shutdown()
    server.shutdown()
    for _ in range(_PATIENCE):
        if slow.asked == 2 or slow.detached:
            break
        host.advance(_LINGER_SECONDS)
    expect_equal((slow.asked, slow.detached), (2, 0), "OkToTerminate and Detach calls, of a data filter that says no")
    slow.external.Send(host.firewall.CreateConstBuffer(b"the rest"), None, 0)
    host.run()
    expect_equal(server.receive(), b"the rest", "what a data filter sent after OkToTerminate")
    for _ in range(_PATIENCE):
        if slow.detached:
            break
        host.advance(_LINGER_SECONDS)
    expect_equal((slow.asked, slow.detached), (3, 1), "OkToTerminate and Detach calls, of one that has agreed")


def _judges_buffer_sizes(host: FirewallHost) -> None:
    connection = _connection(host)
    expect_failure("SetBufferSize(0)", E_INVALIDARG, connection.SetBufferSize, 0)
    connection.SetBufferSize(4096)


def _is_open_to_all(host: FirewallHost) -> None:
    connection = _connection(host)
    connection.SetIpFilter(None)
    expect(connection.GetIpFilter() is None, "GetIpFilter after SetIpFilter(None) is not None")


# ---- emulation -------------------------------------------------------------------------------------------------------


def _plays_the_server(host: FirewallHost) -> None:
    held, context, codes = HeldSockets(), Unknown(), list[Any]()

    def then(connect: Any) -> None:
        emulate = connect.piConnection.EmulateForConnect
        for data_filter in (None, Unknown(), held, HeldSockets()):
            codes.append(outcome(emulate, data_filter, context))

    asked = _handled(host, then)
    wanted = [E_POINTER, E_INVALIDARG, S_OK, FWX_E_ALREADY_EMULATED]
    _judge(codes, wanted, "EmulateForConnect of None, no data filter, one, and another one")
    expect(asked.server is None, "an emulated connection has connected to the server")
    expect(held.started == 1, "the data filter that plays the server got no SetSockets")
    expect(held.external is None, "the data filter that plays the server got an external socket")
    expect(held.context is context, f"SetSockets brought {held.context!r} as the context")
    recorder = Recorder()
    held.internal.Recv(None, recorder, 0)
    asked.client.send(b"question")
    found = b"".join(bytes(call.buffer.GetBufferAndSize()) for call in recorder.calls)
    expect_equal(found, b"question", "what the client sent, at the data filter")
    held.internal.Send(host.firewall.CreateConstBuffer(b"answer"), None, 0)
    held.internal.Close(False)
    host.run()
    expect_equal((asked.client.receive(), asked.client.ended), (b"answer", True), "the answer, and the end behind it")


def _stands_behind_others(host: FirewallHost) -> None:
    held, passed = HeldSockets(), list[tuple[str, bool]]()

    def then(connect: Any) -> None:
        connect.piConnection.AttachDataFilter(_Marks("other", passed), fwx_dfpc_External, None)
        connect.piConnection.EmulateForConnect(held, None)

    asked = _handled(host, then)
    recorder = Recorder()
    held.internal.Recv(None, recorder, 0)
    asked.client.send(b"question")
    expect(recorder.calls, "nothing came through another data filter to the one that plays the server")
    expect_equal(passed, [("other", True)], "what another data filter saw on its way")


def _has_the_name_it_is_given(host: FirewallHost) -> None:
    codes: list[Any] = []
    held = HeldSockets()

    def then(connect: Any) -> None:
        name = connect.piConnection.SetSocketName
        codes.append(outcome(name, PLACE))
        connect.piConnection.EmulateForConnect(held, None)
        codes.extend(outcome(name, address) for address in (None, PLACE, PLACE))

    _handled(host, then)
    wanted = [FWX_E_NOT_EMULATED, FWX_E_INVALID_ARG, S_OK, FWX_E_ALREADY_EXISTS]
    _judge(codes, wanted, "SetSocketName before emulation, without an address, with one, and again")
    expect_equal(held.connection.GetExternalSocketName(), PLACE, "GetExternalSocketName after SetSocketName")


def _counts_what_it_is_told(host: FirewallHost) -> None:
    plain = _connection(host)
    expect_failure("IncrementBytesSentCounter", FWX_E_NOT_EMULATED, plain.IncrementBytesSentCounter, 1)
    held = HeldSockets()
    asked = _handled(host, lambda connect: connect.piConnection.EmulateForConnect(held, None))
    for count in (5, 7):
        held.connection.IncrementBytesSentCounter(count)
    held.internal.Close(False)
    host.run()
    asked.client.receive()
    asked.client.close()
    host.run()
    expect_equal(host.bytes_sent(), 12, "what the log shows as sent, of 5 and 7 bytes")


def _plays_who_comes(host: FirewallHost) -> None:
    # From where the client waits for somebody.
    remote = SERVER.with_port(REMOTE.port)
    codes: list[Any] = []
    bound: list[Any] = []

    def handle(event: Any) -> None:
        if event.EventType == fwx_Bind_Tcp:
            connection = event.Parameters.Bind.piConnection
            bound.append(connection)
            codes.extend(outcome(connection.EmulateForBind) for _ in range(2))
            codes.append(outcome(connection.SetSocketName, PLACE))

    host.start(HandlingFilter(handle))
    plain = _connection(host).EmulateConnection
    expect_failure(
        "EmulateConnection of a connect", HRESULT_FROM_WIN32(WSAEINVAL), plain, HeldSockets(), remote, None, PLACE
    )
    waiting = host.wait(SERVER)
    _judge(codes, [S_OK, FWX_E_ALREADY_EMULATED, S_OK], "EmulateForBind, again, and SetSocketName")
    expect_equal(waiting.bound, PLACE, "where the client was told that others may connect")
    expect(host.connect(PLACE, remote) is None, "somebody listens where a bind is emulated")
    held = HeldSockets()
    made = bound[0].EmulateConnection(held, remote, None, PLACE)
    host.run()
    expect_equal(waiting.peer_address, remote, "who the client was told has come")
    expect(IFWXConnection.providedBy(made), f"EmulateConnection returned {made!r}")
    expect(held.started == 1 and held.external is None, "SetSockets of an emulated connection, without external socket")
    held.internal.Send(host.firewall.CreateConstBuffer(b"hello"), None, 0)
    host.run()
    expect_equal(waiting.client.receive(), b"hello", "what the filter sent to the client")


_RULES: tuple[Rule[FirewallHost], ...] = (
    shape_rule(IFWXConnection, _connection),
    *unknown_rules(IFWXConnection, _connection),
    Rule("attaches, emulates and denies in event handlers alone", ("B2.34", "B2.36"), _refuses_out_of_context),
    Rule("Deny refuses a connect", ("B2.36", "B2.37"), _denies),
    Rule("Deny fails a bind", ("B2.36", "B2.37"), _denies_binds),
    Rule("Deny aborts an accepted connection", ("B2.36", "B2.37"), _denies_arrivals),
    Rule("AttachDataFilter judges what it is given", ("B2.35",), _judges_data_filters),
    Rule("data filters stand in the order of their classes", ("B3.7",), _keeps_the_order),
    Rule("SetSockets brings the context that was given", ("B1.25", "B1.26"), _hands_over_contexts),
    Rule("its external names are there from SetSockets on", ("B1.25",), _names_come_late),
    Rule("Kill ends it: completions, Detach, the event", ("B3.31", "B3.32", "B1.35"), _kills),
    Rule("OkToTerminate holds up the end", ("B1.38",), _asks_before_it_ends),
    Rule("SetBufferSize judges the size", ("B3.20",), _judges_buffer_sizes),
    Rule("starts without an IP filter", ("B6.33",), _is_open_to_all),
    Rule("EmulateForConnect has a data filter play the server, once", ("B3.6", "B3.33", "B3.38"), _plays_the_server),
    Rule("others stand between the client and who plays the server", ("B3.6", "B3.7"), _stands_behind_others),
    Rule("SetSocketName names an emulated connection, once", ("B3.39",), _has_the_name_it_is_given),
    Rule("IncrementBytesSentCounter counts for the log", ("B3.39", "B9.16"), _counts_what_it_is_told),
    Rule(
        "EmulateForBind and EmulateConnection bring whom the filter plays",
        ("B3.34", "B3.35", "B3.36", "B3.37", "B3.38"),
        _plays_who_comes,
    ),
)
