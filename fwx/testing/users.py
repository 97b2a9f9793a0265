"""The battery for IFWXAuthenticatedUser: a user of the service's, or of a filter's own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from fwx.interfaces import E_NOTIMPL, HRESULT, S_OK, COMError, IFWXAuthenticatedUser, IFWXImpersonator, SocketAddress
from fwx.testing.battery import Battery, Rule, expect, expect_equal, run_rules
from fwx.testing.hosts import MemoryHost
from fwx.testing.unknown import shape_rule, unknown_rules

_PROPERTIES = ("Username", "Namespace", "UserGroups")
_COMPUTER = SocketAddress("192.0.2.77")


def check_user(maker: Callable[[], Any]) -> Battery:
    """Try an implementation of ``IFWXAuthenticatedUser``; *maker* returns a new one, as a filter that authenticates
    gives it to ``CreatePrivateSession``, or as the service gives it.
    """
    return run_rules(type(maker()).__qualname__, _RULES, lambda: nullcontext(maker()))


def _itself(user: Any) -> Any:
    return user


def _has_texts(user: Any) -> None:
    for name in _PROPERTIES:
        try:
            value = getattr(user, name)
        except COMError as error:
            # Allowed for a user of Windows, whose groups are elsewhere.
            expect(name == "UserGroups", f"{name} fails with {error.hresult.name}")
            expect_equal(error.hresult, E_NOTIMPL, "the failure of UserGroups")
            continue
        expect(isinstance(value, str), f"{name} is {value!r}, expected a text")
        expect(value or name == "UserGroups", f"{name} is empty")
        expect_equal(getattr(user, name), value, f"{name}, asked again")


def _is_read_only(user: Any) -> None:
    for name in _PROPERTIES:
        try:
            setattr(user, name, "somebody else")
        except AttributeError:
            continue
        expect(False, f"{name} can be set")


def _separates_groups(user: Any) -> None:
    try:
        groups = user.UserGroups.split(";")
    except COMError:
        return
    expect("" not in groups or groups == [""], f"UserGroups is {user.UserGroups!r}: a group without a name")
    expect(groups == [each.strip() for each in groups], f"UserGroups is {user.UserGroups!r}: blanks at a semicolon")


def _goes_back(user: Any) -> None:
    for _ in range(2):
        for method in (user.Impersonate, user.RevertToSelf):
            found = method()
            fine = found is None or (isinstance(found, HRESULT) and int(found) == int(S_OK))
            expect(fine, f"{method.__name__} returned something else than S_OK: {found!r}")
    expect(IFWXImpersonator.providedBy(user.QueryInterface(IFWXImpersonator)), "it has no IFWXImpersonator")


def _owns_a_session(user: Any) -> None:
    host = MemoryHost()
    try:
        session = host.firewall.CreatePrivateSession(_COMPUTER, None, None, None, user)
        expect(session.GetAuthenticatedUser() is user, "a private session gives another user than itself")
    finally:
        host.close()


_RULES: tuple[Rule[Any], ...] = (
    shape_rule(IFWXAuthenticatedUser, _itself),
    *unknown_rules(IFWXAuthenticatedUser, _itself),
    Rule("has a name, a name space and groups, as texts", ("B10.2",), _has_texts),
    Rule("its properties cannot be set", ("B10.2",), _is_read_only),
    Rule("semicolons separate its groups", ("B10.2",), _separates_groups),
    Rule("Impersonate and RevertToSelf come in pairs", ("B10.2",), _goes_back),
    Rule("a private session takes it", ("B6.29",), _owns_a_session),
)
