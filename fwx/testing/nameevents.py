"""The battery for the look-ups of clients: the two name events, and IFWXGetXByY."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from fwx.interfaces import (
    E_INVALIDARG,
    E_POINTER,
    FWX_E_BAD_CONTEXT,
    FWX_E_TERMINATING,
    HRESULT,
    HRESULT_FROM_WIN32,
    WSAHOST_NOT_FOUND,
    Hostent,
    IFWXGetXByY,
    SocketAddress,
    fwx_Connect_Tcp,
    fwx_GetHostByName,
)
from fwx.testing.battery import Battery, Rule, expect, expect_equal, expect_failure, run_rules
from fwx.testing.hosts import FirewallHost, HandlingFilter, opened, outcome
from fwx.testing.unknown import shape_rule, unknown_rules

NAME = SocketAddress("www.example", 80)
TRUE = SocketAddress("198.51.100.80", 80)
ELSEWHERE = SocketAddress("198.51.100.81", 80)
_ELSEWHERE = Hostent("elsewhere.example", (), (IPv4Address(ELSEWHERE.host),))


class Asking:
    """A host whose client asks for a name, and a filter that does something in the events.

    :ivar events: the details of the name events. :ivar connects: the ``Address`` of each connect event.
    """

    def __init__(self, host: FirewallHost) -> None:
        self.host = host
        self.events: list[Any] = []
        self.connects: list[SocketAddress] = []
        self.codes: list[HRESULT] = []
        self.do: dict[bool, Callable[[Any], Any]] = {}
        self.at = {place: host.listen(place) for place in (TRUE, ELSEWHERE)}
        host.start(HandlingFilter(self._handle))

    def _handle(self, event: Any) -> None:
        if event.EventType == fwx_Connect_Tcp:
            self.connects.append(event.Parameters.Connect.Address)
        if event.EventType != fwx_GetHostByName:
            return
        details = event.Parameters.GetHostByName
        self.events.append(details)
        if details.fBeforeAction in self.do:
            self.do[details.fBeforeAction](details.piGetXByY)

    def ask(self, *, known: bool = True) -> HRESULT | None:
        """Have the client ask for the name, which the resolver may know; return what it was told."""
        if known:
            self.host.name(NAME.host, TRUE.host)
        refused: HRESULT | None = self.host.ask(NAME, answers=False).refused
        return refused

    def where(self) -> list[str]:
        """Return where the client's connection arrived."""
        return [place.host for place, accept in self.at.items() if accept() is not None]


def check_name_events(maker: Callable[[], FirewallHost]) -> Battery:
    """Try the name events of a firewall, which its clients' names raise: when they come, and what a filter makes of it.

    *maker* returns a fresh :class:`fwx.testing.FirewallHost` for each rule.
    """
    with opened(maker) as host:
        subject = type(_object(host)).__qualname__
    return run_rules(subject, _RULES, lambda: opened(maker))


def _object(host: FirewallHost) -> Any:
    asking = Asking(host)
    asking.ask()
    return asking.events[0].piGetXByY


_NOT_FOUND = HRESULT(HRESULT_FROM_WIN32(WSAHOST_NOT_FOUND))


def _comes_twice(host: FirewallHost) -> None:
    asking = Asking(host)
    asking.ask()
    found = [(event.Hostname, event.fBeforeAction) for event in asking.events]
    expect_equal(found, [(NAME.host, True), (NAME.host, False)], "Hostname and fBeforeAction of the events")
    before, after = (event.Hostent for event in asking.events)
    expect(before is None, f"Hostent is {before!r} before the resolution")
    expect_equal([str(each) for each in after.addresses], [TRUE.host], "the addresses in Hostent after the resolution")
    expect_equal(asking.where(), [TRUE.host], "where the client's connection arrived")
    expect_equal(len(asking.connects), 1, "the connect events, behind the name events")


def _answers_before(host: FirewallHost) -> None:
    asking = Asking(host)
    asking.do[True] = lambda look_up: look_up.SetResult(_ELSEWHERE)
    asking.ask(known=False)
    expect_equal(asking.where(), [ELSEWHERE.host], "where the connection arrived, of a name that a filter alone knows")


def _replaces_the_answer(host: FirewallHost) -> None:
    asking = Asking(host)
    asking.do[False] = lambda look_up: look_up.SetResult(_ELSEWHERE)
    asking.ask()
    expect_equal(asking.where(), [ELSEWHERE.host], "where the connection arrived, of a name with another answer")


def _denies(before: bool) -> Callable[[FirewallHost], None]:
    def test(host: FirewallHost) -> None:
        asking = Asking(host)
        asking.do[before] = lambda look_up: look_up.Deny(0)
        expect_equal(asking.ask(), _NOT_FOUND, "what the client is told of a look-up that was denied")
        expect_equal(asking.where(), [], "where a connection arrived")

    return test


def _judges(host: FirewallHost) -> None:
    asking = Asking(host)

    def do(look_up: Any) -> None:
        asking.codes += [outcome(look_up.Deny, 1), outcome(look_up.SetResult, None)]

    asking.do[True] = do
    asking.ask()
    wanted = [HRESULT(E_INVALIDARG), HRESULT(E_POINTER)]
    expect_equal(asking.codes, wanted, "Deny(1) and SetResult(None)")
    expect_equal(asking.where(), [TRUE.host], "where the connection arrived after calls that were refused")


def _ends(host: FirewallHost) -> None:
    asking = Asking(host)
    asking.ask()
    for event in asking.events:
        expect_failure("Deny after the event", FWX_E_BAD_CONTEXT, event.piGetXByY.Deny, 0)
        expect_failure("SetResult after the look-up", FWX_E_TERMINATING, event.piGetXByY.SetResult, _ELSEWHERE)


_RULES: tuple[Rule[FirewallHost], ...] = (
    shape_rule(IFWXGetXByY, _object),
    *unknown_rules(IFWXGetXByY, _object),
    Rule("the event comes before and after the resolution", ("B2.25", "B2.26", "B2.27"), _comes_twice),
    Rule("SetResult before the resolution is the answer", ("B2.28",), _answers_before),
    Rule("SetResult after the resolution replaces the answer", ("B2.28",), _replaces_the_answer),
    Rule("Deny before the resolution says that there is no such host", ("B2.28",), _denies(before=True)),
    Rule("Deny after the resolution says so too", ("B2.28",), _denies(before=False)),
    Rule("Deny and SetResult judge their arguments", ("B2.28",), _judges),
    Rule("Deny and SetResult are for event handlers alone", ("B2.28",), _ends),
)
