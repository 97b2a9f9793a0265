"""The battery for sessions: fwx's own keeps every rule, and each rule catches one that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fwx.impl.boundforclient import FWXBoundForClient
from fwx.impl.firewallaction import FWXFirewallAction
from fwx.impl.redirection import Redirection
from fwx.impl.session import FWXSession
from fwx.interfaces import (
    FWX_FLAG_ALLOW_ADDRESSES_ALL,
    FWX_FLAG_ALLOW_MULTIPLE,
    FWX_FLAG_TIMEOUT,
    FWX_PROTOCOL_TCP,
    FWX_SESSION_PRIVATE,
    GUID_NULL,
    HRESULT,
    S_OK,
    IFWXFirewall2,
    SocketAddress,
    fwx_Connect_Tcp,
)
from fwx.testing import Battery, MemoryHost, check_session, sessions
from fwx.testing.hosts import HandlingSession
from tests.fwx.testing.faulty import Break, does_nothing, never_fails, only, replaced, with_arguments, with_result

ANYWHERE = SocketAddress("127.0.0.1", 0)


def _sockets_of_the_firewall(self: Any, Protocol: int) -> Any:
    return self.engine.registry.getUtility(IFWXFirewall2).CreateNetworkSocket(Protocol)


def _asks_the_firewall(self: Any, name: str) -> Any:
    return self.engine.registry.getUtility(IFWXFirewall2).GetHostByName(name)


def _other_names(self: Any, guid: Any) -> None:
    """A parameter by another name."""


def _never_secondary(self: Any, pProxyEvent: Any) -> Any:
    if pProxyEvent.EventType == fwx_Connect_Tcp:
        pProxyEvent.Parameters.Connect.IsSecondary = False
    return self._handle(pProxyEvent)


def _bound_elsewhere(
    self: Any, ClientAddresses: Any, ClientAddressLength: Any, ReservedPorts: Any, Protocol: int, *rest: Any
) -> Any:
    return self.BindForClient(ClientAddresses, None, ANYWHERE, None, Protocol, *rest)[1]


def _really_bound(
    self: Any,
    ClientAddress: Any,
    ClientAddressLength: Any,
    ProxyAddress: Any,
    ProxyAddressLength: Any,
    Protocol: int,
    ProtocolGuid: Any,
    fInternalAddressTranslation: bool,
) -> Any:
    arguments = (FWX_PROTOCOL_TCP, None, 0, 5, GUID_NULL, None, None, None)
    return self.BindForClient([ClientAddress], None, ProxyAddress, None, *arguments)[1][0]


def _reversed(found: tuple[Any, tuple[Any, ...]]) -> tuple[Any, tuple[Any, ...]]:
    return found[0], found[1][::-1]


WRONG: tuple[tuple[str, Break, str], ...] = (
    (
        "has every member of IFWXSession2 to the letter",
        replaced(FWXSession, "AttachFilter", _other_names),
        "AttachFilter: expected the parameters (guidFilter), found (guid)",
    ),
    (
        "tells whose it is",
        with_result(FWXSession, "GetSessionFlags", lambda flags: flags | FWX_SESSION_PRIVATE),
        "GetSessionFlags of a Firewall client that nobody knows is 0x8",
    ),
    (
        "its sockets obey its policy",
        replaced(FWXSession, "CreateNetworkSocket", _sockets_of_the_firewall),
        "a socket of a session connected where no rule allows it",
    ),
    (
        "HostAccessCheck and GetHostByName ask the rules",
        does_nothing(FWXSession, "HostAccessCheck"),
        "a protocol that no rule allows: expected FWX_E_POLICY_RULES_DENIED",
    ),
    (
        "HostAccessCheck and GetHostByName ask the rules",
        replaced(FWXSession, "GetHostByName", _asks_the_firewall),
        "GetHostByName where no rule allows anything: expected HRESULT_FROM_WIN32(WSAHOST_NOT_FOUND)",
    ),
    (
        "AttachFilter knows the filters that there are",
        does_nothing(FWXSession, "AttachFilter"),
        "AttachFilter of no filter: expected REGDB_E_CLASSNOTREG",
    ),
    (
        "AllowFutureConnect allows one connection to one address",
        with_arguments(FWXSession, "AllowFutureConnect", dwFlags=lambda flags: flags | FWX_FLAG_ALLOW_MULTIPLE),
        "what was announced once was reached twice",
    ),
    (
        "FWX_FLAG_ALLOW_MULTIPLE allows any number",
        with_arguments(FWXSession, "AllowFutureConnect", dwFlags=lambda flags: flags & ~FWX_FLAG_ALLOW_MULTIPLE),
        "with FWX_FLAG_ALLOW_MULTIPLE the second connection is refused",
    ),
    (
        "FWX_FLAG_TIMEOUT lets lapse what is not used",
        with_arguments(FWXSession, "AllowFutureConnect", dwFlags=lambda flags: flags & ~FWX_FLAG_TIMEOUT),
        "it can be used after more than a minute",
    ),
    (
        "FWX_FLAG_TIMEOUT lets lapse what is not used",
        with_arguments(FWXSession, "AllowFutureConnect", dwFlags=lambda flags: flags | FWX_FLAG_TIMEOUT),
        "without FWX_FLAG_TIMEOUT it has lapsed",
    ),
    (
        "the session filter that was named hears of the connection",
        with_arguments(FWXSession, "AllowFutureConnect", pSessionFilter=None),
        "one of which is to be told: expected 1, found 0",
    ),
    (
        "the session filter that was named hears of the connection",
        with_arguments(FWXSession, "AllowFutureConnect", punkContext=None),
        "UserContext of the event is None",
    ),
    (
        "a secondary connection says that it is one",
        replaced(HandlingSession, "FirewallEventHandler", _never_secondary),
        "expected [False, True], found [False, False]",
    ),
    (
        "Cancel withdraws, Release does not",
        does_nothing(FWXFirewallAction, "Cancel"),
        "a second Cancel: expected FWX_E_TERMINATING",
    ),
    (
        "Cancel withdraws, Release does not",
        replaced(FWXFirewallAction, "FinalRelease", lambda self: self._withdraw()),
        "an action that was only released has withdrawn what it stands for",
    ),
    (
        "AllowFutureConnect judges its arguments",
        never_fails(FWXSession, "AllowFutureConnect"),
        "AllowFutureConnect without an address: expected E_POINTER",
    ),
    (
        "BindForClient binds one port for one connection",
        with_arguments(FWXSession, "BindForClient", dwFlags=lambda flags: flags | FWX_FLAG_ALLOW_MULTIPLE),
        "the port takes a second connection",
    ),
    (
        "several client addresses take consecutive ports",
        with_result(FWXSession, "BindForClient", _reversed),
        "the ports of three client addresses",
    ),
    (
        "an IP filter says who may come",
        with_arguments(FWXSession, "BindForClient", pIpFilter=None),
        "a peer outside the IP filter has reached the client",
    ),
    (
        "SetClientAddress says later where the client is",
        does_nothing(FWXBoundForClient, "SetClientAddress"),
        "after SetClientAddress: there is no connection",
    ),
    (
        "SetClientAddress says later where the client is",
        never_fails(FWXBoundForClient, "SetClientAddress"),
        "a second SetClientAddress: expected E_INVALIDARG",
    ),
    (
        "BindForClient is for the client's own address",
        with_arguments(FWXSession, "BindForClient", dwFlags=lambda flags: flags | FWX_FLAG_ALLOW_ADDRESSES_ALL),
        "expected FWX_E_ADDRESS_NOT_ALLOWED",
    ),
    ("Kill ends a bind", does_nothing(FWXBoundForClient, "Kill"), "after Kill somebody still listens"),
    (
        "RedirectConnections leads to the target, once",
        with_arguments(FWXSession, "RedirectConnections", dwFlags=lambda flags: flags | FWX_FLAG_ALLOW_MULTIPLE),
        "the inside address takes a second connection",
    ),
    (
        "several targets take consecutive ports, each with its action",
        with_result(FWXSession, "RedirectConnections", _reversed),
        "after Cancel somebody still listens for the first target",
    ),
    (
        "RedirectConnections is for the client alone",
        replaced(Redirection, "_admit", lambda self, accepted: accepted),
        "somebody else than the client has reached the target",
    ),
    (
        "RetroactiveAllowBind looks for the bind",
        with_result(FWXSession, "RetroactiveAllowBind", lambda _: HRESULT(S_OK)),
        "first S_OK and then S_FALSE: expected 1, found 0",
    ),
    (
        "RetroactiveAllowBind looks for the bind",
        never_fails(FWXSession, "RetroactiveAllowBind"),
        "RetroactiveAllowBind of no bind: expected HRESULT_FROM_WIN32(ERROR_NOT_FOUND)",
    ),
    (
        "reserved ports serve for binds and redirections",
        replaced(FWXSession, "BindForClientOnReservedPorts", _bound_elsewhere),
        "what BindForClientOnReservedPorts has bound",
    ),
    (
        "EmulateClientBind binds nothing, and brings the filter's connections",
        replaced(FWXSession, "EmulateClientBind", _really_bound),
        "EmulateClientBind has bound something",
    ),
    (
        "SetDataFilterFactory makes data filters, up to Cancel",
        with_result(FWXSession, "SetDataFilterFactory", lambda _: FWXFirewallAction(lambda: True)),
        "one of two connections after Cancel: expected 1, found 2",
    ),
    (
        "refuses everything once it has ended",
        never_fails(FWXSession, "CreateNetworkSocket"),
        "CreateNetworkSocket then: expected FWX_E_TERMINATING",
    ),
)


@pytest.mark.parametrize(("rule", "break_it", "reason"), WRONG)
def test_the_rule_catches(
    rule: str,
    break_it: Break,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caught: Callable[[Battery, str, str], None],
) -> None:
    break_it(monkeypatch)
    only(monkeypatch, sessions, rule)
    caught(check_session(MemoryHost), rule, reason)


def test_the_services_own_keeps_every_rule_and_each_has_a_wrong_one(shared_rules: tuple[str, ...]) -> None:
    battery = check_session(MemoryHost)
    battery.require()
    assert battery.subject == "FWXSession"
    assert {check.name for check in battery} - set(shared_rules) == {rule for rule, _, _ in WRONG}
