"""Sessions: one per client and kind of client, their session filters, their end (B1.14 to B1.23)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from fwx.impl.raw import Ref, raw
from fwx.impl.sessionfilters import wants
from fwx.impl.user import NOBODY, FWXAuthenticatedUser
from fwx.interfaces import (
    FWX_SESSION_AUTHENTICATED,
    FWX_SESSION_NAT,
    FWX_SESSION_PRIVATE,
    FWX_SESSION_TERMINATED,
    IFWXAuthenticatedUser,
    IFWXAuthenticatedWindowsUser,
    IFWXImpersonator,
    IFWXSession,
    SocketAddress,
    fwx_Bind_Tcp,
    fwx_Connect_Tcp,
    fwx_ConnectionTerminating,
    fwxAnyProtocol,
    fwxAssociatedProtocolsAllConnections,
    fwxSourceNAT,
    fwxSourceWSP,
)
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_NOINTERFACE,
    E_OUTOFMEMORY,
    E_POINTER,
    E_UNEXPECTED,
    FWX_E_NOT_AUTHENTICATED,
    FWX_E_NOT_SUPPORTED,
    FWX_E_TERMINATING,
    REGDB_E_CLASSNOTREG,
    S_OK,
    COMError,
)

if TYPE_CHECKING:
    from tests.impl.conftest import Rig


def code_of(call: Any, *args: Any) -> int:
    with pytest.raises(COMError) as failure:
        call(*args)
    return failure.value.hresult


@pytest.mark.parametrize(
    ("mask", "event", "source", "wanted"),
    [
        (fwx_Connect_Tcp | fwxSourceWSP, fwx_Connect_Tcp, fwxSourceWSP, True),
        (fwx_Connect_Tcp | fwxSourceWSP, fwx_Connect_Tcp, fwxSourceNAT, False),
        (fwx_Connect_Tcp | fwxSourceWSP, fwx_Bind_Tcp, fwxSourceWSP, False),
        (fwx_Connect_Tcp | fwx_Bind_Tcp | fwxSourceNAT | fwxSourceWSP, fwx_Bind_Tcp, fwxSourceNAT, True),
        (fwx_Connect_Tcp | fwxSourceWSP | fwxAnyProtocol, fwx_Connect_Tcp, fwxSourceWSP, True),
        (fwx_Connect_Tcp | fwxAnyProtocol, fwx_Connect_Tcp, fwxSourceWSP, False),
        (fwx_Connect_Tcp, fwx_Connect_Tcp, fwxSourceWSP, False),
        (fwxSourceWSP, fwx_Connect_Tcp, fwxSourceWSP, False),
        (0, fwx_Connect_Tcp, fwxSourceWSP, False),
    ],
)
def test_the_mask(mask: int, event: int, source: int, wanted: bool) -> None:
    """B2.5: type and source must both be asked for; the protocol is the rules' to say."""
    assert wants(mask, event, source) is wanted


def test_the_mask_of_secondary_connections() -> None:
    """B2.4: only who asks for them gets their events; primary ones come in any case."""
    mask = fwx_Connect_Tcp | fwxSourceWSP
    assert not wants(mask, fwx_Connect_Tcp, fwxSourceWSP, True)
    assert wants(mask | fwxAssociatedProtocolsAllConnections, fwx_Connect_Tcp, fwxSourceWSP, True)
    assert wants(mask | fwxAssociatedProtocolsAllConnections, fwx_Connect_Tcp, fwxSourceWSP)


def test_one_session_per_client_and_kind(rig: Rig) -> None:
    """B1.14, B1.15: the port does not matter, the kind of client does."""
    first = rig.sessions.of(SocketAddress("10.0.0.1", 1000), fwxSourceWSP)
    assert rig.sessions.of(SocketAddress("10.0.0.1", 2000), fwxSourceWSP) is first
    others = {
        rig.sessions.of(SocketAddress("10.0.0.1", 1000), fwxSourceNAT),
        rig.sessions.of(SocketAddress("10.0.0.2", 1000), fwxSourceWSP),
    }
    assert first not in others
    assert len(rig.sessions) == 3
    assert {first, *others} == set(rig.sessions)
    assert len({session.id for session in rig.sessions}) == 3
    assert first.GetClientAddress() == SocketAddress("10.0.0.1", 0)
    assert first.QueryInterface(IFWXSession) is first


def test_a_session_filter_is_made_for_its_first_event_and_once(rig: Rig) -> None:
    """B1.17, B1.20: not before an event that was asked for, then the same one for each."""
    host, session = rig.host(), rig.session()
    assert session.session_filter(host, fwx_Bind_Tcp) is None
    assert ("filter", "attach", host.mask) not in rig.journal
    made = session.session_filter(host, fwx_Connect_Tcp)
    assert made is not None
    assert session.session_filter(host, fwx_Connect_Tcp) is made
    other = rig.session("10.0.0.9").session_filter(host, fwx_Connect_Tcp)
    assert other is not made
    assert [entry[1] for entry in rig.journal].count("attach") == 2


def test_the_event_that_attaches_is_the_first_that_is_handled(rig: Rig) -> None:
    """B1.22: the request of the session's second connection attaches nothing more."""
    host = rig.host()
    for _ in range(2):
        connection = rig.connection()
        assert rig.through(connection.raise_connect_event((host,)))
        connection.refuse(S_OK, "the test is over")
    assert [entry[1:] for entry in rig.journal if entry[0] == "filter"] == [
        ("init", None),
        ("attach", host.mask),
        ("event", fwx_Connect_Tcp),
        ("event", fwx_Connect_Tcp),
    ]


def test_the_session_filters_own_mask_counts_then(rig: Rig) -> None:
    """B1.18."""
    host = rig.host(session_mask=fwx_Bind_Tcp | fwxSourceWSP)
    session = rig.session()
    assert session.session_filter(host, fwx_Connect_Tcp) is None
    assert session.session_filter(host, fwx_Bind_Tcp) is not None
    assert session.attached_filters(fwx_ConnectionTerminating) == []
    assert [each for each, _ in session.attached_filters(fwx_Bind_Tcp)] == [host]


def test_attach_filter(rig: Rig) -> None:
    """B1.23: attaches without an event, once."""
    host, session = rig.host(), rig.session()
    session.AttachFilter(host.clsid)
    session.AttachFilter(host.clsid)
    assert [entry[1] for entry in rig.journal].count("attach") == 1
    assert code_of(session.AttachFilter, uuid4()) == REGDB_E_CLASSNOTREG


@pytest.mark.parametrize(
    ("attach", "code"),
    [(lambda session: E_OUTOFMEMORY, E_OUTOFMEMORY), (lambda session: 1 / 0, E_UNEXPECTED)],
)
def test_attach_filter_that_fails(rig: Rig, attach: Any, code: int) -> None:
    """B1.23: what AttachToSession failed with, if it was an HRESULT."""
    host = rig.host(attach=attach)
    assert code_of(rig.session().AttachFilter, host.clsid) == code


def test_attach_filter_that_is_not_running(rig: Rig) -> None:
    host = rig.host(init=lambda firewall: E_OUTOFMEMORY)
    assert code_of(rig.session().AttachFilter, host.clsid) == REGDB_E_CLASSNOTREG


def test_the_end(rig: Rig) -> None:
    """B1.33, B10.3: the session filters are detached, once, and nothing works any more."""
    host, session = rig.host(), rig.session()
    session.session_filter(host, fwx_Connect_Tcp)
    session.terminate()
    session.terminate()
    assert [entry[1] for entry in rig.journal] == ["init", "attach", "session detached"]
    assert session.GetSessionFlags() == FWX_SESSION_TERMINATED
    assert code_of(session.AttachFilter, host.clsid) == FWX_E_TERMINATING
    assert code_of(session.CreateNetworkSocket, 6) == FWX_E_TERMINATING


def test_a_detach_that_fails(rig: Rig) -> None:
    """B1.33: the others are detached all the same."""
    failing, other = rig.host("failing", detach=lambda: 1 / 0), rig.host("other")
    session = rig.session()
    for host in (failing, other):
        session.session_filter(host, fwx_Connect_Tcp)
    session.terminate()
    assert rig.journal[-1] == ("other", "session detached", None)
    assert [alert.key for alert in rig.alerts] == ["failing/Detach"]


def test_an_idle_session_ends(rig: Rig) -> None:
    """B1.16: after its last connection and a while; another connection in time keeps it."""
    session = rig.session()

    def connect_and_end() -> None:
        connection = rig.connection(session)
        connection.on_ended = rig.sessions.connection_ended
        connection.end()
        rig.settle()

    connect_and_end()
    rig.clock.advance(59.0)
    connect_and_end()
    rig.clock.advance(59.0)
    assert not session.terminated
    assert rig.session() is session
    rig.clock.advance(1.0)
    assert session.terminated
    assert len(rig.sessions) == 0
    assert rig.session() is not session


def test_a_session_with_a_connection_does_not_end(rig: Rig) -> None:
    session = rig.session()
    first, second = rig.connection(session), rig.connection(session)
    first.on_ended = second.on_ended = rig.sessions.connection_ended
    first.end()
    rig.settle()
    rig.clock.advance(1000.0)
    assert not session.terminated
    assert rig.sessions.connections() == [second]
    second.end()
    rig.settle()
    rig.clock.advance(60.0)
    assert session.terminated


@pytest.mark.parametrize(("source", "flags"), [(fwxSourceNAT, FWX_SESSION_NAT), (fwxSourceWSP, 0)])
def test_flags(rig: Rig, source: Any, flags: int) -> None:
    """B10.3."""
    assert (FWX_SESSION_NAT, FWX_SESSION_AUTHENTICATED, FWX_SESSION_TERMINATED, FWX_SESSION_PRIVATE) == (1, 2, 4, 8)
    session = rig.session("10.0.0.3", source)
    assert session.GetSessionFlags() == flags
    session.terminate()
    assert session.GetSessionFlags() == flags | FWX_SESSION_TERMINATED


@pytest.mark.parametrize("groups", [(), ("staff",), ("staff", "night shift")])
def test_the_user(rig: Rig, groups: tuple[str, ...]) -> None:
    """B10.2, B10.3: name, name space and groups of whom the entry has authenticated; Impersonate does nothing."""
    user = FWXAuthenticatedUser("ann", groups)
    session = rig.sessions.of(SocketAddress("10.0.0.3"), fwxSourceWSP, user)
    got: Any = session.GetAuthenticatedUser()
    assert got is session.GetAuthenticatedUser()
    assert (got.Username, got.Namespace, got.UserGroups) == ("ann", "fwx", ";".join(groups))
    assert session.GetSessionFlags() == FWX_SESSION_AUTHENTICATED
    assert session.user_name == "ann"
    got.Impersonate()
    got.RevertToSelf()
    assert got.QueryInterface(IFWXImpersonator) is got
    assert code_of(got.QueryInterface, IFWXAuthenticatedWindowsUser) == E_NOINTERFACE
    with pytest.raises(AttributeError):
        got.Username = "bob"


def test_the_user_on_the_com_face(rig: Rig) -> None:
    """The properties are get_ methods that fill a cell; a holder that releases too often takes the user from nobody."""
    session = rig.sessions.of(SocketAddress("10.0.0.3"), fwxSourceWSP, FWXAuthenticatedUser("ann", ("a", "b")))
    for _ in range(2):
        cell, name, groups = Ref(), Ref(), Ref()
        assert raw(session, IFWXSession).GetAuthenticatedUser(cell) == S_OK
        face = raw(cell.value, IFWXAuthenticatedUser)
        assert (face.get_Username(name), face.get_UserGroups(groups)) == (S_OK, S_OK)
        assert (name.value, groups.value) == ("ann", "a;b")
        assert face.Impersonate() == S_OK
        while face.Release():
            continue


def test_one_session_per_user(rig: Rig) -> None:
    """B1.14: one address and kind of client, and one session for each user behind it and for those without one."""
    client = SocketAddress("10.0.0.4")
    users = [None, FWXAuthenticatedUser("ann"), FWXAuthenticatedUser("bob"), FWXAuthenticatedUser("ann", (), "RADIUS")]
    sessions = [rig.sessions.of(client, fwxSourceWSP, user) for user in users]
    assert len({session.id for session in sessions}) == 4
    assert rig.sessions.of(client, fwxSourceWSP, FWXAuthenticatedUser("ann")) is sessions[1]
    assert [session.who == NOBODY for session in sessions] == [True, False, False, False]


def test_a_user_whose_groups_have_changed_has_another_session(rig: Rig) -> None:
    """What was allowed by the old groups is not allowed to new connections."""
    client = SocketAddress("10.0.0.4")
    before = rig.sessions.of(client, fwxSourceWSP, FWXAuthenticatedUser("ann", ("staff",), "LDAP"))
    after = rig.sessions.of(client, fwxSourceWSP, FWXAuthenticatedUser("ann", (), "LDAP"))
    assert after is not before
    assert "group staff" in before.who
    assert "group staff" not in after.who
    assert rig.sessions.of(client, fwxSourceWSP, FWXAuthenticatedUser("ann", ("staff",), "LDAP")) is before


def test_a_users_session_ends_when_it_is_idle(rig: Rig) -> None:
    session = rig.sessions.of(SocketAddress("10.0.0.5"), fwxSourceWSP, FWXAuthenticatedUser("ann"))
    connection = rig.connection(session)
    connection.refuse(0, "enough")
    rig.until_gone(connection)
    rig.sessions.connection_ended(connection)
    rig.clock.advance(60.0)
    assert session.terminated
    assert list(rig.sessions) == []


def test_the_session_of_a_client(rig: Rig) -> None:
    """B6.28: found or made, whatever the port; without a connection it ends after a while."""
    made: Any = rig.firewall.GetClientSession(SocketAddress("10.0.0.6", 99), 16)
    assert made is rig.firewall.GetClientSession(SocketAddress("10.0.0.6"))
    assert made is rig.session("10.0.0.6", fwxSourceNAT)
    assert (made.GetClientAddress(), made.GetSessionFlags()) == (SocketAddress("10.0.0.6"), FWX_SESSION_NAT)
    rig.clock.advance(59.0)
    assert made is rig.firewall.GetClientSession(SocketAddress("10.0.0.6"))
    rig.clock.advance(59.0)
    assert not made.terminated
    rig.clock.advance(1.0)
    assert made.terminated
    assert rig.firewall.GetClientSession(SocketAddress("10.0.0.6")) is not made


def test_a_private_session(rig: Rig) -> None:
    """B6.29, B10.3: the service does not know it by the client's address; rules see its user, or the address alone."""
    client, user = SocketAddress("10.0.0.7", 80), FWXAuthenticatedUser("ann", ("staff",))
    made: Any = rig.firewall.CreatePrivateSession(client, None, None, None, None)
    other: Any = rig.firewall.CreatePrivateSession(client, None, SocketAddress("10.0.0.1", 5), None, user)
    assert made.GetSessionFlags() == FWX_SESSION_NAT | FWX_SESSION_PRIVATE
    assert other.GetSessionFlags() == FWX_SESSION_NAT | FWX_SESSION_PRIVATE | FWX_SESSION_AUTHENTICATED
    assert len({made, other, rig.session("10.0.0.7", fwxSourceNAT)}) == 3
    assert (made.who, made.inside_address) == (NOBODY, None)
    assert (other.who, other.inside_address) == (user.who, SocketAddress("10.0.0.1"))
    assert other.GetAuthenticatedUser() is user
    assert {made, other} <= set(rig.sessions)


def test_a_private_session_ends(rig: Rig) -> None:
    """B6.29: when a while has passed without connections and sockets."""
    session: Any = rig.firewall.CreatePrivateSession(SocketAddress("10.0.0.7"), None, None, None, None)
    socket = session.CreateNetworkSocket(6)
    rig.clock.advance(600.0)
    assert not session.terminated
    socket.Close(False)
    rig.settle()
    rig.clock.advance(60.0)
    assert session.terminated
    assert session not in set(rig.sessions)


def test_private_sessions_end_with_the_service(rig: Rig) -> None:
    session: Any = rig.firewall.CreatePrivateSession(SocketAddress("10.0.0.7"), None, None, None, None)
    rig.sessions.close()
    assert session.terminated
    assert len(rig.sessions) == 0


CLIENT = SocketAddress("10.0.0.7", 80)


@pytest.mark.parametrize(
    ("method", "arguments", "code"),
    [
        ("GetClientSession", (None,), E_POINTER),
        ("GetClientSession", ("10.0.0.7",), E_INVALIDARG),
        ("GetClientSession", (SocketAddress("a.name"),), E_INVALIDARG),
        ("GetClientSession", (SocketAddress("0.0.0.0"),), E_INVALIDARG),
        ("GetClientSession", (CLIENT, 17), E_INVALIDARG),
        ("CreatePrivateSession", (None, None, None, None, None), E_POINTER),
        ("CreatePrivateSession", (SocketAddress("a.name"), None, None, None, None), E_INVALIDARG),
        ("CreatePrivateSession", (CLIENT, None, SocketAddress("a.name"), None, None), E_INVALIDARG),
        ("CreatePrivateSession", (CLIENT, None, CLIENT, 99, None), E_INVALIDARG),
        ("CreatePrivateSession", (CLIENT, None, None, None, "ann"), E_INVALIDARG),
    ],
)
def test_sessions_that_nobody_can_have(rig: Rig, method: str, arguments: tuple[Any, ...], code: int) -> None:
    assert code_of(getattr(rig.firewall, method), *arguments) == code
    assert len(rig.sessions) == 0


def test_what_nobody_said(rig: Rig) -> None:
    """B10.1, B10.2."""
    assert code_of(rig.session().GetClientMachineName) == FWX_E_NOT_SUPPORTED
    assert code_of(rig.session().GetAuthenticatedUser) == FWX_E_NOT_AUTHENTICATED
