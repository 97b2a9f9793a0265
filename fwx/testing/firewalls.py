"""The battery for IFWXFirewall, IFWXFirewall2 and IFWXFirewall3: what a firewall makes and finds for a filter."""

# ruff: noqa: N802  the SDK's spelling, letter for letter

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    E_INVALIDARG,
    E_POINTER,
    FWX_E_NOT_AUTHENTICATED,
    FWX_PROTOCOL_TCP,
    FWX_PROTOCOL_UDP,
    FWX_SESSION_AUTHENTICATED,
    FWX_SESSION_NAT,
    FWX_SESSION_PRIVATE,
    HRESULT_FROM_WIN32,
    S_FALSE,
    WSAEADDRINUSE,
    IFWXAuthenticatedUser,
    IFWXFirewall3,
    IFWXIpFilter,
    IFWXLowResourceRecoverer,
    IFWXNetConfigDetector,
    IFWXNetworkSocket,
    IFWXReservedPorts,
    IFWXSession2,
    SocketAddress,
)
from fwx.testing.battery import Battery, Rule, expect, expect_equal, expect_failure, run_rules
from fwx.testing.hosts import FIREWALL, FirewallHost, opened
from fwx.testing.unknown import shape_rule, unknown_rules
from fwx.testing.verification import verify

COMPUTER = SocketAddress("192.0.2.77", 4000)


def check_firewall(maker: Callable[[], FirewallHost]) -> Battery:
    """Try the firewall object: sessions of clients, reserved ports, and the objects that it makes.

    *maker* returns a fresh :class:`fwx.testing.FirewallHost` for each rule.
    """
    with opened(maker) as host:
        subject = type(host.firewall).__qualname__
    return run_rules(subject, _RULES, lambda: opened(maker))


def _firewall(host: FirewallHost) -> Any:
    return host.firewall


@implementer(IFWXAuthenticatedUser)
class _Card(Unknown):
    """A user whom a filter knows by a card."""

    Username = "ann"
    Namespace = "CARD"
    UserGroups = ""

    def Impersonate(self) -> None:
        """There is nobody to act as."""

    def RevertToSelf(self) -> None:
        """Nor back from."""


def _finds_sessions(host: FirewallHost) -> None:
    find = host.firewall.GetClientSession
    session = find(COMPUTER)
    verify(session, IFWXSession2)
    expect_equal(session.GetClientAddress().host, COMPUTER.host, "GetClientAddress of the session")
    expect(session.GetSessionFlags() & FWX_SESSION_NAT, "the session is none of a SecureNAT client")
    expect(find(COMPUTER.with_port(9)) is session, "another port of the client gives another session")
    expect(find(SocketAddress("192.0.2.78")) is not session, "another client has the same session")
    expect_failure("GetClientSession(None)", E_POINTER, find, None)
    expect_failure("GetClientSession of a name", E_INVALIDARG, find, SocketAddress("www.example", 0))


def _makes_sessions(host: FirewallHost) -> None:
    make, card = host.firewall.CreatePrivateSession, _Card()
    nobody, known = (make(COMPUTER, None, None, None, user) for user in (None, card))
    verify(nobody, IFWXSession2)
    expect(nobody is not known, "CreatePrivateSession gave the same session twice")
    expect(host.firewall.GetClientSession(COMPUTER) not in (nobody, known), "GetClientSession found a private session")
    for session, user in ((nobody, None), (known, card)):
        flags = session.GetSessionFlags()
        expect(flags & FWX_SESSION_PRIVATE, f"FWX_SESSION_PRIVATE is not in the flags {flags:#x}")
        authenticated = bool(flags & FWX_SESSION_AUTHENTICATED)
        expect_equal(authenticated, user is not None, "whether FWX_SESSION_AUTHENTICATED is in the flags")
    expect(known.GetAuthenticatedUser() is card, "GetAuthenticatedUser gives another user than the one that was given")
    expect_failure("GetAuthenticatedUser of nobody", FWX_E_NOT_AUTHENTICATED, nobody.GetAuthenticatedUser)
    expect_failure("a session for no address", E_POINTER, make, None, None, None, None, None)
    expect_failure("a session of something else", E_INVALIDARG, make, COMPUTER, None, None, None, Unknown())


def _reserves_ports(host: FirewallHost) -> None:
    reserve = host.firewall.ReservePorts
    run, other = (reserve(FWX_PROTOCOL_TCP, FIREWALL, None, 3) for _ in range(2))
    for ports in (run, other):
        verify(ports, IFWXReservedPorts)
        expect_equal(ports.GetCount(), 3, "GetCount of three ports")
        expect_equal(ports.GetTransportProtocol(), FWX_PROTOCOL_TCP, "GetTransportProtocol")
    taken = {first + number for first in (run.GetFirstPort(), other.GetFirstPort()) for number in range(3)}
    expect_equal(len(taken), 6, "the ports of two reservations of three")
    expect(0 not in taken, "port 0 is reserved")
    expect_failure("no ports", E_INVALIDARG, reserve, FWX_PROTOCOL_TCP, FIREWALL, None, 0)
    expect_failure("ports of no address", E_POINTER, reserve, FWX_PROTOCOL_TCP, None, None, 1)
    expect_failure("ports of another protocol", E_INVALIDARG, reserve, 1, FIREWALL, None, 1)


def _holds_reserved_ports(host: FirewallHost) -> None:
    ports = host.firewall.ReservePorts(FWX_PROTOCOL_TCP, FIREWALL, None, 1)
    place = FIREWALL.with_port(ports.GetFirstPort())
    socket = host.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)
    taken = HRESULT_FROM_WIN32(WSAEADDRINUSE)
    expect_failure("Bind to a reserved port", taken, socket.Bind, place, None, None)
    expect(host.connect(place, COMPUTER) is None, "somebody listens at a port that is only reserved")
    ports.Release()
    host.run()
    socket.Bind(place, None, None)
    expect_equal(socket.GetSockName(), place, "a reserved port, bound after the last reference has gone")


def _makes_sockets(host: FirewallHost) -> None:
    for protocol in (FWX_PROTOCOL_TCP, FWX_PROTOCOL_UDP):
        verify(host.firewall.CreateNetworkSocket(protocol), IFWXNetworkSocket)
    host.allow()
    accept = host.listen(COMPUTER)
    socket = host.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)
    socket.Connect(COMPUTER)
    host.run()
    expect(accept() is not None, "a socket of the firewall does not connect where no rule speaks of it")


def _makes_ip_filters(host: FirewallHost) -> None:
    one, other = host.firewall.CreateIpFilter(), host.firewall.CreateIpFilter()
    verify(one, IFWXIpFilter)
    expect(one is not other, "CreateIpFilter gave the same filter twice")
    expect_equal(int(one.IsIncluded(COMPUTER.address)), int(S_FALSE), "IsIncluded of a new filter")


def _has_its_parts(host: FirewallHost) -> None:
    for method, interface in (
        ("GetNetConfigDetector", IFWXNetConfigDetector),
        ("GetLowResourceRecoverer", IFWXLowResourceRecoverer),
    ):
        part = getattr(host.firewall, method)()
        verify(part, interface)
        expect(getattr(host.firewall, method)() is part, f"{method} gives another object each time")


_RULES: tuple[Rule[FirewallHost], ...] = (
    shape_rule(IFWXFirewall3, _firewall),
    *unknown_rules(IFWXFirewall3, _firewall),
    Rule("GetClientSession finds the one session of a client", ("B6.28",), _finds_sessions),
    Rule("CreatePrivateSession makes a session, with a user", ("B6.29", "B10.2", "B10.3"), _makes_sessions),
    Rule("ReservePorts takes a run of ports", ("B6.26",), _reserves_ports),
    Rule("reserved ports are nobody else's, up to the last Release", ("B6.26",), _holds_reserved_ports),
    Rule("its sockets belong to no user", ("B4.6",), _makes_sockets),
    Rule("CreateIpFilter makes an empty filter", ("B6.31",), _makes_ip_filters),
    Rule("the detector and the recoverer are there, one of each", ("B11.10", "B13.10"), _has_its_parts),
)
