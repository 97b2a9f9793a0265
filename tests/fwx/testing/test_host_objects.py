"""The batteries for the firewall, name events, the recoverer, the detector and users, each with what breaks a rule."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from types import ModuleType
from typing import Any

import pytest
from zope.interface import implementer

from fwx.impl.datagramconnection import FWXDatagramConnection
from fwx.impl.firewall import FWXFirewall
from fwx.impl.getxbyy import FWXGetXByY
from fwx.impl.lowresource import FWXLowResourceRecoverer
from fwx.impl.nameevent import NameEvents
from fwx.impl.netadapter import FWXNetworkAddress
from fwx.impl.netconfig import FWXNetConfigDetector
from fwx.impl.netcontext import ContextSlots, NetworkItem
from fwx.impl.netsnapshot import FWXNetConfigDetectionSnapshot
from fwx.impl.reservedports import FWXReservedPorts
from fwx.impl.sockets import FWXSocket
from fwx.impl.udpdestination import FWXUdpDestination
from fwx.impl.unknown import Unknown
from fwx.impl.user import FWXAuthenticatedUser
from fwx.interfaces import (
    E_INVALIDARG,
    E_NOTIMPL,
    COMError,
    FwxIpRangesToNetworkElements,
    IFWXAuthenticatedUser,
    SocketAddress,
)
from fwx.testing import (
    Battery,
    MemoryHost,
    check_firewall,
    check_name_events,
    check_net_config,
    check_recoverer,
    check_udp_destination,
    check_user,
    firewalls,
    nameevents,
    netconfigs,
    recoverers,
    udpdestinations,
)
from fwx.testing.hosts import HandlingSession
from tests.fwx.testing.faulty import Break, does_nothing, never_fails, only, replaced, with_arguments, with_result

LOWEST, HIGHEST = IPv4Address(0), IPv4Address(0xFFFFFFFF)
Wrong = tuple[tuple[str, Break, str], ...]
Catch = Callable[[Battery, str, str], None]


def _private_always(self: Any, Address: Any, AddressLength: Any = None) -> Any:
    return self.CreatePrivateSession(Address, AddressLength, None, None, None)


def _finds_private(
    self: Any,
    ClientAddress: Any,
    ClientAddressLength: Any,
    ProxyInternalAddress: Any,
    ProxyInternalAddressLength: Any,
    AuthenticatedUser: Any,
) -> Any:
    return self.GetClientSession(ClientAddress)


def _under_policy(self: Any, Protocol: int) -> Any:
    session = self.GetClientSession(SocketAddress("192.0.2.77"))
    return session.CreateNetworkSocket(Protocol)


FIREWALL: Wrong = (
    (
        "has every member of IFWXFirewall3 to the letter",
        replaced(FWXFirewall, "CreateBuffer", lambda self, length: None),
        "CreateBuffer: expected the parameters (dwBufferLength), found (length)",
    ),
    (
        "GetClientSession finds the one session of a client",
        replaced(FWXFirewall, "GetClientSession", _private_always),
        "another port of the client gives another session",
    ),
    (
        "CreatePrivateSession makes a session, with a user",
        replaced(FWXFirewall, "CreatePrivateSession", _finds_private),
        "CreatePrivateSession gave the same session twice",
    ),
    (
        "CreatePrivateSession makes a session, with a user",
        with_arguments(FWXFirewall, "CreatePrivateSession", AuthenticatedUser=None),
        "whether FWX_SESSION_AUTHENTICATED is in the flags: expected True, found False",
    ),
    (
        "ReservePorts takes a run of ports",
        with_arguments(FWXFirewall, "ReservePorts", usCount=1),
        "GetCount of three ports: expected 3, found 1",
    ),
    (
        "ReservePorts takes a run of ports",
        with_result(FWXReservedPorts, "GetFirstPort", lambda port: 4000),
        "the ports of two reservations of three",
    ),
    (
        "reserved ports are nobody else's, up to the last Release",
        does_nothing(FWXReservedPorts, "FinalRelease"),
        "WSAEADDRINUSE",
    ),
    (
        "its sockets belong to no user",
        replaced(FWXFirewall, "CreateNetworkSocket", _under_policy),
        "it raised COMError: FWX_E_POLICY_RULES_DENIED",
    ),
    (
        "CreateIpFilter makes an empty filter",
        with_result(FWXFirewall, "CreateIpFilter", lambda made: made.IncludeRange(LOWEST, HIGHEST) or made),
        "IsIncluded of a new filter",
    ),
    (
        "the detector and the recoverer are there, one of each",
        replaced(FWXFirewall, "GetLowResourceRecoverer", lambda self: FWXLowResourceRecoverer(self.engine)),
        "GetLowResourceRecoverer gives another object each time",
    ),
)


NAMES: Wrong = (
    (
        "has every member of IFWXGetXByY to the letter",
        replaced(FWXGetXByY, "Deny", lambda self, reserved: None),
        "Deny: expected the parameters (Reserved), found (reserved)",
    ),
    (
        "the event comes before and after the resolution",
        replaced(NameEvents, "after", lambda self, answer: answer),
        "Hostname and fBeforeAction of the events",
    ),
    (
        "SetResult before the resolution is the answer",
        does_nothing(FWXGetXByY, "SetResult"),
        "of a name that a filter alone knows: expected ['198.51.100.81'], found []",
    ),
    (
        "SetResult after the resolution replaces the answer",
        does_nothing(FWXGetXByY, "SetResult"),
        "of a name with another answer: expected ['198.51.100.81'], found ['198.51.100.80']",
    ),
    (
        "Deny before the resolution says that there is no such host",
        does_nothing(FWXGetXByY, "Deny"),
        "what the client is told of a look-up that was denied",
    ),
    (
        "Deny after the resolution says so too",
        does_nothing(FWXGetXByY, "Deny"),
        "what the client is told of a look-up that was denied",
    ),
    (
        "Deny and SetResult judge their arguments",
        with_arguments(FWXGetXByY, "Deny", Reserved=0),
        "Deny(1) and SetResult(None)",
    ),
    (
        "Deny and SetResult are for event handlers alone",
        does_nothing(FWXGetXByY, "invalidate"),
        "Deny after the event: expected FWX_E_BAD_CONTEXT",
    ),
)


def _sends_elsewhere(self: Any, pIOBuffer: Any, Address: Any, *rest: Any) -> None:
    """What is sent gets lost."""


def _sees_twice(self: Any, pProxyEvent: Any) -> Any:
    self._handle(pProxyEvent)
    return self._handle(pProxyEvent)


def _denies_nothing(self: Any, Reserved: int) -> None:
    if Reserved:
        raise COMError(E_INVALIDARG)


DATAGRAMS: Wrong = (
    (
        "has every member of IFWXUdpDestination to the letter",
        replaced(FWXUdpDestination, "Deny", lambda self, reserved: None),
        "Deny: expected the parameters (Reserved), found (reserved)",
    ),
    (
        "a destination has one event, behind that of the bind",
        replaced(HandlingSession, "FirewallEventHandler", _sees_twice),
        "the events of two datagrams to one destination",
    ),
    (
        "Deny throws away what goes to a destination",
        does_nothing(FWXUdpDestination, "Deny"),
        "Deny(1) and Deny(0): expected",
    ),
    (
        "Deny throws away what goes to a destination",
        replaced(FWXUdpDestination, "Deny", _denies_nothing),
        "at a destination that was denied: expected [], found [b'one', b'two']",
    ),
    (
        "Deny fails a UDP bind",
        does_nothing(FWXDatagramConnection, "Deny"),
        "what the client of a bind that was denied is told",
    ),
    (
        "Deny is for the event handler alone",
        never_fails(FWXUdpDestination, "Deny"),
        "Deny after the event: expected FWX_E_BAD_CONTEXT",
    ),
    (
        "a data filter of the bind has datagrams with their addresses",
        does_nothing(FWXDatagramConnection, "AttachDataFilter"),
        "the SetSockets of a data filter: expected 1, found 0",
    ),
    (
        "a data filter of a destination has datagrams with their addresses",
        replaced(FWXSocket, "SendTo", _sends_elsewhere),
        "what came to the server: expected [b'QUERY'], found []",
    ),
)


def _recovers_at_once(self: Any, hCookie: int) -> None:
    operation = self._find(hCookie)
    operation.target.Recover(operation.user_data)


def _gives_up(self: Any, cookie: int, operation: Any) -> None:
    operation.is_queued = operation.is_wanted = False
    operation.target.Recover(operation.user_data)


def _forgets_to_stop(self: Any, dwCookie: int) -> None:
    self._find(dwCookie)


RECOVERER: Wrong = (
    (
        "has every member of IFWXLowResourceRecoverer to the letter",
        replaced(FWXLowResourceRecoverer, "SignalLowResourceFailure", lambda self, cookie: None),
        "SignalLowResourceFailure: expected the parameters (hCookie), found (cookie)",
    ),
    (
        "Recover follows a signal, not inside it, with the user data",
        replaced(FWXLowResourceRecoverer, "SignalLowResourceFailure", _recovers_at_once),
        "Recover came inside SignalLowResourceFailure",
    ),
    (
        "Recover follows a signal, not inside it, with the user data",
        with_arguments(FWXLowResourceRecoverer, "RegisterForLowResourceRecovery", UserData=0),
        "expected [[], [8]], found [[], [0]]",
    ),
    (
        "Recover comes again until it succeeds",
        replaced(FWXLowResourceRecoverer, "_recover", _gives_up),
        "the calls of Recover, of which three fail: expected 4, found 1",
    ),
    (
        "a registration ends",
        replaced(FWXLowResourceRecoverer, "UnregisterFromLowResourceRecovery", _forgets_to_stop),
        "the calls of Recover after the registration has ended",
    ),
    (
        "judges what is registered",
        never_fails(FWXLowResourceRecoverer, "RegisterForLowResourceRecovery"),
        "registering None: expected E_POINTER",
    ),
)


def _cut_short(table: FwxIpRangesToNetworkElements) -> FwxIpRangesToNetworkElements:
    return FwxIpRangesToNetworkElements(table.IpRanges[:-1], len(table.IpRanges) - 1)


def _shared(self: Any, uiContextSlot: int) -> Any:
    return next(iter(self._contexts.values()), None)


DETECTOR: Wrong = (
    (
        "has every member of IFWXNetConfigDetector to the letter",
        replaced(FWXNetConfigDetector, "Unregister", lambda self, handle: None),
        "Unregister: expected the parameters (uiNcdRegistrationHandle), found (handle)",
    ),
    (
        "a snapshot has everything, counted from 1",
        with_result(FWXNetConfigDetectionSnapshot, "GetNetworkAddresses", lambda found: type(found)(())),
        "GetNetworkAddresses is empty",
    ),
    (
        "an address leads to its adapter and its network",
        with_result(FWXNetworkAddress, "GetMask", lambda _: SocketAddress("255.0.0.0")),
        "GetMask of 10.1.0.1/16",
    ),
    (
        "networks are found by GUID and by address",
        replaced(
            FWXNetConfigDetectionSnapshot,
            "GetLocalHostNetworkElement",
            lambda self: self.GetNetworkElements().GetItem(2),
        ),
        "the firewall's own address is not in the local host network",
    ),
    (
        "the table of ranges covers all addresses",
        with_result(FWXNetConfigDetectionSnapshot, "GetIpRangesToNetworkElements", _cut_short),
        "the ranges do not reach the highest address",
    ),
    (
        "Register(True) tells everything before it returns",
        with_arguments(FWXNetConfigDetector, "Register", fIssueAllNotifications=False),
        "whether notices came inside Register(True)",
    ),
    (
        "Register(False) tells everything after that",
        with_arguments(FWXNetConfigDetector, "Register", fIssueAllNotifications=True),
        "whether notices came inside Register(False)",
    ),
    (
        "changes are told, up to Unregister",
        does_nothing(FWXNetConfigDetector, "_changed"),
        "the addresses in fwx_ncd_AddNetworkAddress: expected ['10.9.0.1'], found []",
    ),
    (
        "changes are told, up to Unregister",
        does_nothing(FWXNetConfigDetector, "Unregister"),
        "a second Unregister: expected E_INVALIDARG",
    ),
    (
        "SetContext keeps an object for one registration",
        replaced(NetworkItem, "GetContext", _shared),
        "another registration sees the context",
    ),
    (
        "SetContext keeps an object for one registration",
        with_result(ContextSlots, "check", lambda _: 1),
        "another registration sees the context",
    ),
    ("judges who is to be told", never_fails(FWXNetConfigDetector, "Register"), "registering None: expected E_POINTER"),
)


@pytest.mark.parametrize(
    ("check", "module", "rule", "break_it", "reason"),
    [
        (check, module, *each)
        for check, module, wrong in (
            (check_firewall, firewalls, FIREWALL),
            (check_name_events, nameevents, NAMES),
            (check_recoverer, recoverers, RECOVERER),
            (check_net_config, netconfigs, DETECTOR),
            (check_udp_destination, udpdestinations, DATAGRAMS),
        )
        for each in wrong
    ],
)
def test_the_rule_catches(
    check: Callable[..., Battery],
    module: ModuleType,
    rule: str,
    break_it: Break,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caught: Catch,
) -> None:
    break_it(monkeypatch)
    only(monkeypatch, module, rule)
    caught(check(MemoryHost), rule, reason)


@pytest.mark.parametrize(
    ("check", "subject", "wrong"),
    [
        (check_firewall, "FWXFirewall", FIREWALL),
        (check_name_events, "FWXGetXByY", NAMES),
        (check_recoverer, "FWXLowResourceRecoverer", RECOVERER),
        (check_net_config, "FWXNetConfigDetector", DETECTOR),
        (check_udp_destination, "FWXUdpDestination", DATAGRAMS),
    ],
)
def test_the_services_own_keeps_every_rule_and_each_has_a_wrong_one(
    check: Callable[..., Battery], subject: str, wrong: Wrong, shared_rules: tuple[str, ...]
) -> None:
    battery = check(MemoryHost)
    battery.require()
    assert battery.subject == subject
    assert {each.name for each in battery} - set(shared_rules) == {rule for rule, _, _ in wrong}


@implementer(IFWXAuthenticatedUser)
class Card(Unknown):
    """A right user, whom a filter knows by a card."""

    @property
    def Username(self) -> Any:
        return "ann"

    @property
    def Namespace(self) -> str:
        return "CARD"

    @property
    def UserGroups(self) -> str:
        raise COMError(E_NOTIMPL)

    def Impersonate(self) -> Any:
        """There is nobody to act as."""

    def RevertToSelf(self) -> Any:
        """Nor back from."""


class OtherNames(Card):
    def Impersonate(self, token: int) -> None:  # type: ignore[override]
        """It takes something."""


class Nameless(Card):
    @property
    def Username(self) -> Any:
        return ""


class Numbered(Card):
    @property
    def Username(self) -> Any:
        return 7


class Renamed(Card):
    def __init__(self) -> None:
        self.name = "ann"

    @property
    def Username(self) -> Any:
        return self.name

    @Username.setter
    def Username(self, name: str) -> None:
        self.name = name


class Blanks(Card):
    @property
    def UserGroups(self) -> str:
        return "staff; admins"


class ActsAlone(Card):
    def RevertToSelf(self) -> Any:
        return False


class Pretends(Card):
    @property
    def Namespace(self) -> str:
        return "fwx"


USERS = (
    ("has every member of IFWXAuthenticatedUser to the letter", OtherNames, "Impersonate: expected the parameters ()"),
    ("has a name, a name space and groups, as texts", Nameless, "Username is empty"),
    ("has a name, a name space and groups, as texts", Numbered, "Username is 7, expected a text"),
    ("its properties cannot be set", Renamed, "Username can be set"),
    ("semicolons separate its groups", Blanks, "blanks at a semicolon"),
    ("Impersonate and RevertToSelf come in pairs", ActsAlone, "RevertToSelf returned something else than S_OK"),
    ("a private session takes it", Pretends, "come from the configuration alone"),
)


@pytest.mark.parametrize(("rule", "wrong", "reason"), USERS)
def test_the_rule_for_users_catches(rule: str, wrong: type, reason: str, caught: Catch) -> None:
    caught(check_user(wrong), rule, reason)


@pytest.mark.parametrize("maker", [Card, lambda: FWXAuthenticatedUser("ann", ("staff", "admins"))])
def test_a_right_user(maker: Callable[[], Any], shared_rules: tuple[str, ...]) -> None:
    battery = check_user(maker)
    battery.require()
    assert {each.name for each in battery} - set(shared_rules) == {rule for rule, _, _ in USERS}
