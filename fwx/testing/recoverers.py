"""The battery for IFWXLowResourceRecoverer: what filters try again after a lack of resources."""

# ruff: noqa: N802, N803  the SDK's spelling, letter for letter

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    E_INVALIDARG,
    E_OUTOFMEMORY,
    E_POINTER,
    HRESULT,
    S_OK,
    IFWXLowResourceRecoverer,
    IFWXLowResourceRecoveryOperation,
)
from fwx.testing.battery import Battery, Rule, expect, expect_equal, expect_failure, run_rules
from fwx.testing.hosts import FirewallHost, opened
from fwx.testing.unknown import shape_rule, unknown_rules

_AN_HOUR = 3600.0


@implementer(IFWXLowResourceRecoveryOperation)
class _Operation(Unknown):
    """Fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.calls: list[int] = []

    def Recover(self, UserData: int) -> HRESULT:
        self.calls.append(UserData)
        return HRESULT(E_OUTOFMEMORY if len(self.calls) <= self.failures else S_OK)


def check_recoverer(maker: Callable[[], FirewallHost]) -> Battery:
    """Try the recoverer of a firewall: registrations, signals, and when ``Recover`` comes.

    *maker* returns a fresh :class:`fwx.testing.FirewallHost` for each rule.
    """
    with opened(maker) as host:
        subject = type(_recoverer(host)).__qualname__
    return run_rules(subject, _RULES, lambda: opened(maker))


def _recoverer(host: FirewallHost) -> Any:
    return host.firewall.GetLowResourceRecoverer()


def _waits_for_a_signal(host: FirewallHost) -> None:
    recoverer, operations = _recoverer(host), (_Operation(), _Operation())
    cookies = [recoverer.RegisterForLowResourceRecovery(each, 7 + place) for place, each in enumerate(operations)]
    expect(cookies[0] != cookies[1], "two registrations have the same cookie")
    host.advance(_AN_HOUR)
    expect_equal([each.calls for each in operations], [[], []], "the calls of Recover without a signal")
    recoverer.SignalLowResourceFailure(cookies[1])
    expect(not operations[1].calls, "Recover came inside SignalLowResourceFailure")
    host.advance(_AN_HOUR)
    expect_equal([each.calls for each in operations], [[], [8]], "the calls of Recover, with their user data")
    recoverer.SignalLowResourceFailure(cookies[1])
    host.advance(_AN_HOUR)
    expect_equal(operations[1].calls, [8, 8], "the calls of Recover after a second signal")


def _tries_again(host: FirewallHost) -> None:
    recoverer, operation = _recoverer(host), _Operation(3)
    recoverer.SignalLowResourceFailure(recoverer.RegisterForLowResourceRecovery(operation, 0))
    host.run()
    expect(len(operation.calls) <= 1, "Recover came again at once, without a pause")
    host.advance(_AN_HOUR)
    expect_equal(len(operation.calls), 4, "the calls of Recover, of which three fail")


def _ends_registrations(host: FirewallHost) -> None:
    recoverer, operation = _recoverer(host), _Operation(1000)
    cookie = recoverer.RegisterForLowResourceRecovery(operation, 0)
    recoverer.SignalLowResourceFailure(cookie)
    host.run()
    before = len(operation.calls)
    recoverer.UnregisterFromLowResourceRecovery(cookie)
    host.advance(_AN_HOUR)
    expect_equal(len(operation.calls), before, "the calls of Recover after the registration has ended")
    for method in (recoverer.UnregisterFromLowResourceRecovery, recoverer.SignalLowResourceFailure):
        expect_failure(f"{method.__name__} of an old cookie", E_INVALIDARG, method, cookie)


def _judges(host: FirewallHost) -> None:
    register = _recoverer(host).RegisterForLowResourceRecovery
    expect_failure("registering None", E_POINTER, register, None, 0)
    expect_failure("registering something else", E_INVALIDARG, register, Unknown(), 0)


_RULES: tuple[Rule[FirewallHost], ...] = (
    shape_rule(IFWXLowResourceRecoverer, _recoverer),
    *unknown_rules(IFWXLowResourceRecoverer, _recoverer),
    Rule("Recover follows a signal, not inside it, with the user data", ("B11.10", "B11.11"), _waits_for_a_signal),
    Rule("Recover comes again until it succeeds", ("B11.11", "B11.12"), _tries_again),
    Rule("a registration ends", ("B11.11",), _ends_registrations),
    Rule("judges what is registered", ("B11.10",), _judges),
)
