"""The battery for the datagrams of clients: the bind, the destinations, IFWXUdpDestination and data filters of UDP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fwx.interfaces import (
    E_INVALIDARG,
    FWX_E_BAD_CONTEXT,
    HRESULT,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAEADDRINUSE,
    IFWXUdpDestination,
    SocketAddress,
    fwx_Bind_Udp,
    fwx_dfpc_Middle,
    fwx_Udp_Destination,
)
from fwx.testing.battery import Battery, Rule, expect, expect_equal, expect_failure, run_rules
from fwx.testing.completions import Recorder
from fwx.testing.hosts import FirewallHost, HandlingFilter, HeldSockets, opened, outcome
from fwx.testing.unknown import shape_rule, unknown_rules

SERVER = SocketAddress("198.51.100.1", 53)


def check_udp_destination(maker: Callable[[], FirewallHost]) -> Battery:
    """Try the UDP connections of a firewall's clients: their events, ``IFWXUdpDestination``, and data filters.

    *maker* returns a fresh :class:`fwx.testing.FirewallHost` for each rule.
    """
    with opened(maker) as host:
        subject = type(_object(host)).__qualname__
    return run_rules(subject, _RULES, lambda: opened(maker))


def _watched(host: FirewallHost, then: Callable[[Any], Any] = lambda _: None) -> list[Any]:
    """Have a filter keep the UDP events, and call *then* with each."""
    events: list[Any] = []

    def handle(event: Any) -> None:
        if event.EventType in (fwx_Bind_Udp, fwx_Udp_Destination):
            events.append(event)
            then(event)

    host.start(HandlingFilter(handle))
    return events


def _object(host: FirewallHost) -> Any:
    events = _watched(host)
    host.ask_datagrams(SERVER).client.send(b"x")
    return events[-1].Parameters.UdpDest.piUdpDestination


def _comes_once(host: FirewallHost) -> None:
    events = _watched(host)
    asked = host.ask_datagrams(SERVER)
    for datagram in (b"one", b"two"):
        asked.client.send(datagram)
    expect_equal(asked.server.receive(), [b"one", b"two"], "the datagrams at the server")
    found = [event.EventType for event in events]
    expect_equal(found, [fwx_Bind_Udp, fwx_Udp_Destination], "the events of two datagrams to one destination")
    details = events[1].Parameters.UdpDest
    expect_equal(details.Address, SERVER, "Address of fwx_Udp_Destination")
    expect(details.piConnection is events[0].Parameters.Bind.piConnection, "the two events name two connections")


def _denies(host: FirewallHost) -> None:
    codes: list[HRESULT] = []

    def then(event: Any) -> None:
        if event.EventType == fwx_Udp_Destination:
            codes.extend(outcome(event.Parameters.UdpDest.piUdpDestination.Deny, each) for each in (1, 0))

    _watched(host, then)
    asked = host.ask_datagrams(SERVER)
    for datagram in (b"one", b"two"):
        asked.client.send(datagram)
    expect_equal(codes, [HRESULT(E_INVALIDARG), HRESULT(S_OK)], "Deny(1) and Deny(0)")
    expect_equal(asked.server.receive(), [], "the datagrams at a destination that was denied")


def _denies_binds(host: FirewallHost) -> None:
    def then(event: Any) -> None:
        if event.EventType == fwx_Bind_Udp:
            event.Parameters.Bind.piConnection.Deny(0)

    _watched(host, then)
    asked = host.ask_datagrams(SERVER)
    taken = HRESULT(HRESULT_FROM_WIN32(WSAEADDRINUSE))
    expect_equal(asked.refused, taken, "what the client of a bind that was denied is told")


def _denies_in_time(host: FirewallHost) -> None:
    destination = _object(host)
    expect_failure("Deny after the event", FWX_E_BAD_CONTEXT, destination.Deny, 0)


def _carries_datagrams(event_type: int) -> Callable[[FirewallHost], None]:
    def test(host: FirewallHost) -> None:
        held = HeldSockets()

        def then(event: Any) -> None:
            if event.EventType == event_type:
                details = event.Parameters.Bind if event_type == fwx_Bind_Udp else event.Parameters.UdpDest
                details.piConnection.AttachDataFilter(held, fwx_dfpc_Middle, None)

        _watched(host, then)
        asked, there, back = host.ask_datagrams(SERVER), Recorder(), Recorder()
        asked.client.send(b"query")
        host.run()
        expect_equal(held.started, 1, "the SetSockets of a data filter")
        held.internal.Recv(None, there, 0)
        held.external.Recv(None, back, 0)
        host.run()
        expect_equal(_told(there), [(b"query", SERVER)], "what came from the client, and where it is to go")
        held.external.SendTo(host.firewall.CreateConstBuffer(b"QUERY"), SERVER, None, None, 0)
        host.run()
        expect_equal(asked.server.receive(), [b"QUERY"], "what came to the server")
        asked.server.send(b"response")
        host.run()
        expect_equal(_told(back), [(b"response", SERVER)], "what came from the server, and from where")
        held.internal.SendTo(host.firewall.CreateConstBuffer(b"RESPONSE"), SERVER, None, None, 0)
        host.run()
        expect_equal(asked.client.receive(), [b"RESPONSE"], "what came to the client")

    return test


def _told(recorder: Recorder) -> list[tuple[bytes, object]]:
    """Return the data and the external addresses that completions have brought."""
    return [(bytes(call.buffer.GetBufferAndSize()), call.address) for call in recorder.calls if call.success]


_RULES: tuple[Rule[FirewallHost], ...] = (
    shape_rule(IFWXUdpDestination, _object),
    *unknown_rules(IFWXUdpDestination, _object),
    Rule("a destination has one event, behind that of the bind", ("B2.15", "B2.16", "B2.20"), _comes_once),
    Rule("Deny throws away what goes to a destination", ("B2.19",), _denies),
    Rule("Deny fails a UDP bind", ("B2.36", "B2.37"), _denies_binds),
    Rule("Deny is for the event handler alone", ("B2.19",), _denies_in_time),
    Rule(
        "a data filter of the bind has datagrams with their addresses",
        ("B2.34", "B3.21", "B3.23"),
        _carries_datagrams(fwx_Bind_Udp),
    ),
    Rule(
        "a data filter of a destination has datagrams with their addresses",
        ("B2.34", "B3.21", "B3.23"),
        _carries_datagrams(fwx_Udp_Destination),
    ),
)
