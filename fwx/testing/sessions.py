"""The battery for IFWXSession and IFWXSession2: what a session announces, binds, redirects and makes."""

# ruff: noqa: N802, N803  the SDK's spelling, letter for letter

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any
from uuid import UUID

from zope.interface import implementer

from fwx.data_pump import DataPump
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    E_INVALIDARG,
    E_POINTER,
    ERROR_NOT_FOUND,
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_NOT_AUTHENTICATED,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TERMINATING,
    FWX_FLAG_ALLOW_MULTIPLE,
    FWX_FLAG_TIMEOUT,
    FWX_PROTOCOL_TCP,
    FWX_SESSION_AUTHENTICATED,
    FWX_SESSION_NAT,
    FWX_SESSION_PRIVATE,
    GUID_NULL,
    HRESULT,
    HRESULT_FROM_WIN32,
    REGDB_E_CLASSNOTREG,
    S_FALSE,
    S_OK,
    WSAHOST_NOT_FOUND,
    COMError,
    Hostent,
    IClassFactory,
    IFWXConnection,
    IFWXDataFilter,
    IFWXFirewallAction,
    IFWXNetworkSocket,
    IFWXSession2,
    SocketAddress,
    fwx_Connect_Tcp,
    fwx_dfpc_Middle,
    fwx_EstablishedConnection,
)
from fwx.interfaces.protocols import by_title
from fwx.testing.battery import Battery, Rule, expect, expect_equal, expect_failure, run_rules
from fwx.testing.firewall import SESSION_SECONDS
from fwx.testing.hosts import (
    FIREWALL,
    FirewallHost,
    HandlingFilter,
    HeldSockets,
    Scene,
    carries,
    opened,
)
from fwx.testing.sockets import CLIENT, SERVER
from fwx.testing.unknown import shape_rule, unknown_rules
from fwx.testing.verification import verify

DATA = SocketAddress("198.51.100.1", 2020)
ELSEWHERE = SocketAddress("198.51.100.1", 2021)
STRANGER = SocketAddress("203.0.113.5", 4000)
_UNKNOWN = SocketAddress("0.0.0.0", 0)  # noqa: S104  a client whose address is not known, nothing is bound
_MINUTE = 61.0
_NO_FILTER = UUID("00000000-dead-beef-0000-000000000000")


def check_session(maker: Callable[[], FirewallHost]) -> Battery:
    """Try the sessions of a firewall: secondary connections, the objects that a session makes, its user and flags.

    *maker* returns a fresh :class:`fwx.testing.FirewallHost` for each rule.
    """

    @contextmanager
    def make() -> Iterator[Scene]:
        with opened(maker) as host:
            yield Scene(host)

    with make() as scene:
        subject = type(scene.session).__qualname__
    return run_rules(subject, _RULES, make)


def _session(scene: Scene) -> Any:
    return scene.session


# ---- the rules -------------------------------------------------------------------------------------------------------


def _tells_its_client(scene: Scene) -> None:
    expect_equal(scene.session.GetClientAddress().host, CLIENT.host, "GetClientAddress")
    flags = scene.session.GetSessionFlags()
    none_of = FWX_SESSION_NAT | FWX_SESSION_PRIVATE | FWX_SESSION_AUTHENTICATED
    expect(not flags & none_of, f"GetSessionFlags of a Firewall client that nobody knows is {flags:#x}")
    expect_failure("GetAuthenticatedUser", FWX_E_NOT_AUTHENTICATED, scene.session.GetAuthenticatedUser)
    expect(scene.connection.GetSession() is scene.session, "GetSession of its connection gives another session")


def _makes_sockets(scene: Scene) -> None:
    socket = scene.session.CreateNetworkSocket(FWX_PROTOCOL_TCP)
    expect(IFWXNetworkSocket.providedBy(socket), f"CreateNetworkSocket returned {socket!r}")
    scene.host.listen(DATA)
    try:
        socket.Connect(DATA)
        scene.host.run()
        connected = socket.GetPeerName() is not None
    except COMError:
        connected = False
    expect(not connected, "a socket of a session connected where no rule allows it")


def _asks_the_rules(scene: Scene) -> None:
    host, check = Hostent("", (), (IPv4Address(SERVER.host),)), scene.session.HostAccessCheck
    scene.host.allow("FTP")
    ftp, dns = by_title()["FTP"].guid, by_title()["DNS"].guid
    check(_NO_FILTER, ftp, host, 0, None, None, 0, None)
    denied = FWX_E_POLICY_RULES_DENIED
    expect_failure("a protocol that no rule allows", denied, check, _NO_FILTER, dns, host, 0, None, None, 0, None)
    expect_failure("no host", E_POINTER, check, _NO_FILTER, ftp, None, 0, None, None, 0, None)
    scene.host.allow()
    look_up, not_found = scene.session.GetHostByName, HRESULT_FROM_WIN32(WSAHOST_NOT_FOUND)
    scene.host.name("www.example", SERVER.host)
    expect_failure("GetHostByName where no rule allows anything", not_found, look_up, "www.example")
    scene.host.allow("any")
    found = [str(address) for address in look_up("www.example").addresses]
    expect_equal(found, [SERVER.host], "the addresses that GetHostByName finds")
    expect_failure("GetHostByName of a name that nobody has", not_found, look_up, "nowhere.example")


def _knows_filters(scene: Scene) -> None:
    expect_failure("AttachFilter of no filter", REGDB_E_CLASSNOTREG, scene.session.AttachFilter, _NO_FILTER)


def _allows_one(scene: Scene) -> None:
    expect(not scene.reaches(DATA), "the client reaches a server that no rule allows")
    action = scene.announce(DATA)
    verify(action, IFWXFirewallAction)
    expect(not scene.reaches(ELSEWHERE), "the client reaches another port than the announced one")
    expect(scene.reaches(DATA), "the client does not reach what was announced")
    expect(not scene.reaches(DATA), "what was announced once was reached twice")


def _allows_many(scene: Scene) -> None:
    scene.announce(DATA, FWX_FLAG_ALLOW_MULTIPLE)
    for time in ("first", "second", "third"):
        expect(scene.reaches(DATA), f"with FWX_FLAG_ALLOW_MULTIPLE the {time} connection is refused")


def _lapses(scene: Scene) -> None:
    scene.announce(DATA, FWX_FLAG_TIMEOUT)
    scene.announce(ELSEWHERE)
    scene.host.advance(_MINUTE)
    expect(not scene.reaches(DATA), "with FWX_FLAG_TIMEOUT it can be used after more than a minute")
    expect(scene.reaches(ELSEWHERE), "without FWX_FLAG_TIMEOUT it has lapsed after a minute")


def _tells_who_asked(scene: Scene) -> None:
    context = Unknown()
    others: list[Any] = []
    scene.host.start(HandlingFilter(others.append))
    scene.announce(DATA, told=True, context=context)
    scene.announce(ELSEWHERE)
    expect(scene.reaches(DATA) and scene.reaches(ELSEWHERE), "the client does not reach what was announced")
    told = scene.of_type(fwx_EstablishedConnection)
    expect_equal(len(told), 1, "fwx_EstablishedConnection events of two connections, one of which is to be told")
    details = told[0].Parameters.EstablishedConnection
    expect_equal((details.Protocol, details.Address), (FWX_PROTOCOL_TCP, DATA), "Protocol and Address of the event")
    expect(details.UserContext is context, f"UserContext of the event is {details.UserContext!r}")
    expect(IFWXConnection.providedBy(details.piConnection), f"piConnection is {details.piConnection!r}")
    heard = [event for event in others if event.EventType == fwx_EstablishedConnection]
    expect(not heard, "another filter than the one that was named heard of the connection")


def _says_that_it_is_secondary(scene: Scene) -> None:
    scene.announce(DATA)
    expect(scene.reaches(DATA), "the client does not reach what was announced")
    found = [event.Parameters.Connect.IsSecondary for event in scene.of_type(fwx_Connect_Tcp)]
    expect_equal(found, [False, True], "IsSecondary of the primary connection and of the announced one")


def _cancels(scene: Scene) -> None:
    kept, dropped = scene.announce(DATA), scene.announce(ELSEWHERE)
    kept.Cancel()
    expect_failure("a second Cancel", FWX_E_TERMINATING, kept.Cancel)
    expect(not scene.reaches(DATA), "what was cancelled can be used")
    dropped.Release()
    expect(scene.reaches(ELSEWHERE), "an action that was only released has withdrawn what it stands for")


def _judges_what_is_announced(scene: Scene) -> None:
    expect_failure("AllowFutureConnect without an address", E_POINTER, scene.announce, None)
    expect_failure("AllowFutureConnect of port 0", E_INVALIDARG, scene.announce, SERVER.with_port(0))
    expect_failure("AllowFutureConnect with unknown flags", E_INVALIDARG, scene.announce, DATA, 0x40000000)
    expect_failure(
        "AllowFutureConnect of the firewall", FWX_E_ADDRESS_NOT_ALLOWED, scene.announce, FIREWALL.with_port(9)
    )


def _binds(scene: Scene) -> None:
    accept = scene.host.listen(CLIENT.with_port(5000))
    bound, connections = scene.bind(CLIENT.with_port(5000))
    expect(bound.port, "BindForClient with port 0 returned port 0")
    expect_equal(len(connections), 1, "the connections of one client address")
    expect_equal(connections[0].GetExternalSocketName(), bound, "GetExternalSocketName of the connection")
    carries(scene.host, scene.host.connect(bound, STRANGER), accept(), "through the bound port")
    expect(scene.host.connect(bound, STRANGER.with_port(4001)) is None, "the port takes a second connection")


def _binds_a_run(scene: Scene) -> None:
    accepts = [scene.host.listen(CLIENT.with_port(5000 + number)) for number in range(3)]
    first, connections = scene.bind(*(CLIENT.with_port(5000 + number) for number in range(3)))
    ports = [connection.GetExternalSocketName().port for connection in connections]
    expect_equal(ports, [first.port, first.port + 1, first.port + 2], "the ports of three client addresses")
    for number in (2, 0, 1):
        peer = scene.host.connect(first.with_port(first.port + number), STRANGER.with_port(4000 + number))
        carries(scene.host, peer, accepts[number](), f"through port {number} of three")


def _binds_for_some(scene: Scene) -> None:
    ip_filter = scene.host.firewall.CreateIpFilter()
    server = IPv4Address(SERVER.host)
    ip_filter.IncludeRange(server, server)
    accept = scene.host.listen(CLIENT.with_port(5000))
    bound, _ = scene.bind(CLIENT.with_port(5000), pIpFilter=ip_filter)
    stranger = scene.host.connect(bound, STRANGER)
    scene.host.run()
    expect(accept() is None, "a peer outside the IP filter has reached the client")
    if stranger is not None:
        stranger.receive()
        expect(stranger.was_reset, "a peer outside the IP filter was not reset")
    carries(scene.host, scene.host.connect(bound, SERVER.with_port(20)), accept(), "from a peer inside the IP filter")


def _binds_before_it_knows(scene: Scene) -> None:
    bound, (connection,) = scene.bind(_UNKNOWN, flags=FWX_FLAG_ALLOW_MULTIPLE)
    accept = scene.host.listen(CLIENT.with_port(5000))
    peer = scene.host.connect(bound, STRANGER)
    expect(accept() is None, "a connection came to the client before SetClientAddress has said where it is")
    connection.SetClientAddress(CLIENT.with_port(5000))
    carries(scene.host, peer, accept(), "after SetClientAddress")
    expect_failure("a second SetClientAddress", E_INVALIDARG, connection.SetClientAddress, CLIENT.with_port(5001))


def _binds_for_the_client_alone(scene: Scene) -> None:
    for address, code in ((STRANGER, FWX_E_ADDRESS_NOT_ALLOWED), (None, E_POINTER)):
        expect_failure(f"BindForClient for {address}", code, scene.bind, address)
    expect_failure("BindForClient for nobody", E_INVALIDARG, scene.bind)


def _stops_listening(scene: Scene) -> None:
    bound, (connection,) = scene.bind(CLIENT.with_port(5000))
    connection.Kill()
    expect(scene.host.connect(bound, STRANGER) is None, "after Kill somebody still listens at the bound port")


def _redirects(scene: Scene) -> None:
    accept = scene.host.listen(DATA)
    inside, actions = scene.redirect(DATA)
    expect_equal(len(actions), 1, "the actions of one target")
    carries(scene.host, scene.host.connect(inside, CLIENT), accept(), "through RedirectConnections")
    expect(scene.host.connect(inside, CLIENT.with_port(1)) is None, "the inside address takes a second connection")


def _redirects_a_run(scene: Scene) -> None:
    accepts = [scene.host.listen(DATA), scene.host.listen(ELSEWHERE)]
    inside, actions = scene.redirect(DATA, ELSEWHERE, flags=FWX_FLAG_ALLOW_MULTIPLE)
    expect_equal(len(actions), 2, "the actions of two targets")
    for number in (1, 0, 1):
        port = CLIENT.with_port(CLIENT.port + number)
        peer = scene.host.connect(inside.with_port(inside.port + number), port)
        carries(scene.host, peer, accepts[number](), f"to target {number} of two")
        if peer is not None:
            peer.close()
    actions[0].Cancel()
    expect(scene.host.connect(inside, CLIENT) is None, "after Cancel somebody still listens for the first target")
    peer = scene.host.connect(inside.with_port(inside.port + 1), CLIENT.with_port(9))
    carries(scene.host, peer, accepts[1](), "to the second target, after Cancel of the first")


def _redirects_the_client_alone(scene: Scene) -> None:
    accept = scene.host.listen(DATA)
    inside, _ = scene.redirect(DATA)
    scene.host.connect(inside, STRANGER)
    expect(accept() is None, "somebody else than the client has reached the target")
    carries(scene.host, scene.host.connect(inside, CLIENT), accept(), "the client, after a stranger was turned away")


def _approves_binds(scene: Scene) -> None:
    scene.host.allow("any")
    waiting = scene.host.wait(SERVER)
    expect(waiting.bound is not None, f"a client may not bind that a rule lets bind: {waiting.failure}")
    scene.host.allow("FTP")
    bound, ftp, dns = waiting.bound, by_title()["FTP"].guid, by_title()["DNS"].guid
    if bound is None:
        return
    turned_away = scene.host.connect(bound, SERVER.with_port(20))
    expect(waiting.peer_address is None, "somebody came to a bind that no rule allows any more")
    if turned_away is not None:
        turned_away.close()

    def approve(place: SocketAddress, protocol: UUID) -> Any:
        return scene.session.RetroactiveAllowBind(FWX_PROTOCOL_TCP, place, None, protocol, 0, None)

    not_found = HRESULT_FROM_WIN32(ERROR_NOT_FOUND)
    expect_failure("RetroactiveAllowBind of no bind", not_found, approve, FIREWALL.with_port(9), ftp)
    expect_failure("RetroactiveAllowBind of what the rules deny", FWX_E_POLICY_RULES_DENIED, approve, bound, dns)
    for code in (S_OK, S_FALSE):
        found = approve(bound, ftp)
        expect(isinstance(found, HRESULT), f"RetroactiveAllowBind returned {found!r}, expected an HRESULT")
        expect_equal(int(found), int(code), "RetroactiveAllowBind, first S_OK and then S_FALSE")
    carries(scene.host, scene.host.connect(bound, SERVER.with_port(20)), waiting.client, "through an approved bind")


def _uses_reserved_ports(scene: Scene) -> None:
    session = scene.session.QueryInterface(IFWXSession2)
    firewall = scene.host.firewall
    accept, accept_there = scene.host.listen(CLIENT.with_port(5000)), scene.host.listen(DATA)
    ports = firewall.ReservePorts(FWX_PROTOCOL_TCP, FIREWALL, None, 1)
    (connection,) = session.BindForClientOnReservedPorts(
        [CLIENT.with_port(5000)], None, ports, FWX_PROTOCOL_TCP, None, 0, 5, GUID_NULL, None, None, None
    )
    place = FIREWALL.with_port(ports.GetFirstPort())
    expect_equal(connection.GetExternalSocketName(), place, "what BindForClientOnReservedPorts has bound")
    carries(scene.host, scene.host.connect(place, STRANGER), accept(), "through a reserved port, inwards")
    ports = firewall.ReservePorts(FWX_PROTOCOL_TCP, FIREWALL, None, 1)
    redirect = session.RedirectConnectionsReservedPorts
    rest = (None, None, FWX_PROTOCOL_TCP, 0, GUID_NULL, None, None)
    expect_failure(
        "two targets on one reserved port", E_INVALIDARG, redirect, [DATA, ELSEWHERE], None, None, ports, *rest
    )
    redirect([DATA], None, None, ports, *rest)
    place = FIREWALL.with_port(ports.GetFirstPort())
    carries(scene.host, scene.host.connect(place, CLIENT), accept_there(), "through a reserved port, outwards")


def _emulates_a_bind(scene: Scene) -> None:
    """The client has bound nothing; who comes is whoever the filter says."""
    scene.host.allow("any")
    accept = scene.host.listen(CLIENT.with_port(5000))
    before = scene.host.connect(FIREWALL.with_port(7777), STRANGER)
    connection = scene.session.EmulateClientBind(
        CLIENT.with_port(5000), None, FIREWALL.with_port(7777), None, FWX_PROTOCOL_TCP, GUID_NULL, False
    )
    expect(before is None, "somebody listens at the place of the emulated bind already")
    expect(scene.host.connect(FIREWALL.with_port(7777), STRANGER) is None, "EmulateClientBind has bound something")
    held = HeldSockets()
    made = connection.EmulateConnection(held, STRANGER, None, FIREWALL.with_port(7777), None)
    expect(made is None or IFWXConnection.providedBy(made), f"EmulateConnection returned {made!r}")
    client = accept()
    expect(client is not None and held.started == 1, "the client did not get the connection that the filter has made")
    expect(held.external is None, "SetSockets of an emulated connection brought an external socket")
    held.internal.Send(scene.host.firewall.CreateConstBuffer(b"from nowhere"), None, 0)
    scene.host.run()
    expect_equal(client.receive() if client else b"", b"from nowhere", "what the filter sent to the client")


@implementer(IClassFactory)
class _Factory(Unknown):
    def __init__(self) -> None:
        self.made: list[DataPump] = []

    def CreateInstance(self, pUnkOuter: Any, riid: Any) -> Any:  # noqa: ARG002  the SDK's signature
        self.made.append(DataPump())
        return self.made[-1]

    def LockServer(self, fLock: bool) -> None:
        """It lives as long as somebody holds it."""


def _takes_factories(scene: Scene) -> None:
    factory = _Factory()
    arguments = (fwx_Connect_Tcp, DATA.with_port(0), None)
    call = scene.session.SetDataFilterFactory
    expect_failure("no factory", E_POINTER, call, *arguments, None, fwx_dfpc_Middle, None, 0)
    expect_failure("an event without data", E_INVALIDARG, call, 0x100, DATA, None, factory, fwx_dfpc_Middle, None, 0)
    action = call(*arguments, factory, fwx_dfpc_Middle, None, 0)
    scene.announce(DATA, FWX_FLAG_ALLOW_MULTIPLE)
    expect(scene.reaches(DATA), "the client does not reach the server through the data filter of a factory")
    expect_equal(len(factory.made), 1, "the data filters that were made for one connection")
    expect(IFWXDataFilter.providedBy(factory.made[0]), "the factory was asked for something else")
    action.Cancel()
    expect(scene.reaches(DATA), "the client does not reach the server after Cancel")
    expect_equal(len(factory.made), 1, "the data filters that were made, one of two connections after Cancel")


def _ends(scene: Scene) -> None:
    scene.primary.client.reset()
    scene.host.run()
    scene.connection.Kill()
    scene.host.run()
    scene.host.advance(SESSION_SECONDS + 1)
    expect_failure("AllowFutureConnect of a session that has ended", FWX_E_TERMINATING, scene.announce, DATA)
    expect_failure("BindForClient then", FWX_E_TERMINATING, scene.bind, CLIENT.with_port(5000))
    expect_failure("CreateNetworkSocket then", FWX_E_TERMINATING, scene.session.CreateNetworkSocket, FWX_PROTOCOL_TCP)


_RULES: tuple[Rule[Scene], ...] = (
    shape_rule(IFWXSession2, _session),
    *unknown_rules(IFWXSession2, _session),
    Rule("tells whose it is", ("B10.2", "B10.3"), _tells_its_client),
    Rule("its sockets obey its policy", ("B4.7",), _makes_sockets),
    Rule("HostAccessCheck and GetHostByName ask the rules", ("B7.17",), _asks_the_rules),
    Rule("AttachFilter knows the filters that there are", ("B1.23",), _knows_filters),
    Rule("AllowFutureConnect allows one connection to one address", ("B6.5", "B6.6"), _allows_one),
    Rule("FWX_FLAG_ALLOW_MULTIPLE allows any number", ("B6.6",), _allows_many),
    Rule("FWX_FLAG_TIMEOUT lets lapse what is not used", ("B6.7",), _lapses),
    Rule(
        "the session filter that was named hears of the connection",
        ("B2.31", "B2.32", "B2.33", "B6.10"),
        _tells_who_asked,
    ),
    Rule("a secondary connection says that it is one", ("B2.4",), _says_that_it_is_secondary),
    Rule("Cancel withdraws, Release does not", ("B6.11",), _cancels),
    Rule("AllowFutureConnect judges its arguments", ("B6.5",), _judges_what_is_announced),
    Rule("BindForClient binds one port for one connection", ("B6.12", "B6.15"), _binds),
    Rule("several client addresses take consecutive ports", ("B6.14",), _binds_a_run),
    Rule("an IP filter says who may come", ("B6.33", "B6.34"), _binds_for_some),
    Rule("SetClientAddress says later where the client is", ("B6.16",), _binds_before_it_knows),
    Rule("BindForClient is for the client's own address", ("B6.12", "B6.35"), _binds_for_the_client_alone),
    Rule("Kill ends a bind", ("B3.32", "B6.12"), _stops_listening),
    Rule("RedirectConnections leads to the target, once", ("B6.22", "B6.25"), _redirects),
    Rule("several targets take consecutive ports, each with its action", ("B6.24", "B6.25"), _redirects_a_run),
    Rule("RedirectConnections is for the client alone", ("B6.22",), _redirects_the_client_alone),
    Rule("RetroactiveAllowBind looks for the bind", ("B6.18", "B6.19"), _approves_binds),
    Rule("reserved ports serve for binds and redirections", ("B6.26",), _uses_reserved_ports),
    Rule("EmulateClientBind binds nothing, and brings the filter's connections", ("B6.27",), _emulates_a_bind),
    Rule("SetDataFilterFactory makes data filters, up to Cancel", ("B2.40", "B2.41", "B2.43"), _takes_factories),
    Rule("refuses everything once it has ended", ("B10.3",), _ends),
)
