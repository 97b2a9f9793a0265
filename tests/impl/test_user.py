"""Users: the service's own, and those whom a filter has authenticated (behaviour B6.29, B10.2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from zope.interface import implementer

from fwx.impl.raw import Ref, raw
from fwx.impl.unknown import Unknown
from fwx.impl.user import AUTHENTICATED, FWXAuthenticatedUser
from fwx.interfaces import (
    E_ACCESSDENIED,
    E_INVALIDARG,
    E_NOTIMPL,
    E_UNEXPECTED,
    FWX_SESSION_AUTHENTICATED,
    S_OK,
    COMError,
    IFWXAuthenticatedUser,
    IFWXImpersonator,
    SocketAddress,
)
from fwx.testing import MemoryFirewall
from fwx.testing.battery import run_rules
from fwx.testing.unknown import shape_rule, unknown_rules

CLIENT = SocketAddress("10.0.0.7")


@implementer(IFWXAuthenticatedUser)
class Card(Unknown):
    """A user whom a filter knows by a card."""

    def __init__(self, name: Any = "ann", namespace: Any = "CARD") -> None:
        self.name, self.namespace = name, namespace

    @property
    def Username(self) -> Any:
        if isinstance(self.name, Exception):
            raise self.name
        return self.name

    @property
    def Namespace(self) -> Any:
        return self.namespace

    @property
    def UserGroups(self) -> str:
        raise COMError(E_NOTIMPL)

    def Impersonate(self) -> None:
        """There is nobody to act as."""

    def RevertToSelf(self) -> None:
        """Nor back from."""


@pytest.fixture
def firewall() -> Iterator[Any]:
    memory = MemoryFirewall()
    yield memory.firewall
    memory.close()


def private(firewall: Any, user: Any) -> Any:
    return firewall.CreatePrivateSession(CLIENT, None, None, None, user)


def test_the_services_own() -> None:
    """B10.2: both faces; of one who is no user of the system Impersonate and RevertToSelf do nothing, with success."""
    user = FWXAuthenticatedUser("ann", ("staff", "admins"))
    face = raw(user, IFWXAuthenticatedUser)
    for name, wanted in (("Username", "ann"), ("Namespace", "fwx"), ("UserGroups", "staff;admins")):
        cell: Ref[str] = Ref()
        assert getattr(face, f"get_{name}")(cell) == S_OK
        assert cell.value == getattr(user, name) == wanted
        with pytest.raises(AttributeError):
            setattr(user, name, "other")
    assert FWXAuthenticatedUser("bob").UserGroups == ""
    for call in (user.Impersonate, user.RevertToSelf):
        call()
    assert (face.Impersonate(), face.RevertToSelf()) == (S_OK, S_OK)
    assert user.QueryInterface(IFWXImpersonator) is user


@pytest.mark.parametrize("interface", [IFWXImpersonator, IFWXAuthenticatedUser])
def test_the_laws_of_com(interface: Any) -> None:
    rules = (shape_rule(interface, lambda each: each), *unknown_rules(interface, lambda each: each))
    for user in (FWXAuthenticatedUser("ann"), Card()):
        run_rules(interface.__name__, rules, lambda user=user: nullcontext(user)).require()


def test_one_of_a_filters_own(firewall: Any) -> None:
    """B6.29: the session answers with the very object; rules know that it is authenticated, and no more."""
    card = Card()
    session = private(firewall, card)
    assert session.GetAuthenticatedUser() is card
    assert session.GetSessionFlags() & FWX_SESSION_AUTHENTICATED
    assert (session.user_name, session.who) == ("ann", {AUTHENTICATED})
    card.name = "eve"
    assert session.user_name == "ann"


def test_one_of_another_session(firewall: Any) -> None:
    user = FWXAuthenticatedUser("ann", ("staff",))
    session = private(firewall, user)
    assert session.GetAuthenticatedUser() is user
    assert session.who == user.who


@pytest.mark.parametrize(
    ("user", "wanted"),
    [
        ("ann", E_INVALIDARG),
        (Unknown(), E_INVALIDARG),
        (Card(""), E_INVALIDARG),
        (Card(5), E_INVALIDARG),
        (Card(namespace=None), E_INVALIDARG),
        (Card(namespace="FWX"), E_INVALIDARG),
        (Card(COMError(E_ACCESSDENIED)), E_ACCESSDENIED),
        (Card(KeyError("x")), E_UNEXPECTED),
    ],
)
def test_what_is_no_user(firewall: Any, user: Any, wanted: int) -> None:
    """Nobody gets the name space of the configuration's users by saying so."""
    with pytest.raises(COMError) as caught:
        private(firewall, user)
    assert caught.value.hresult == wanted
