"""IFWXRadiusAuthenticator: users whom filters have authenticated."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from zope.interface import implementer

from fwx.impl.authentication import WRONG, Checked, IRadiusUsers
from fwx.impl.radiusauthenticator import ERROR_LOGON_FAILURE, ERROR_NO_LOGON_SERVERS
from fwx.impl.raw import Ref, raw
from fwx.impl.unknown import Unknown
from fwx.impl.user import FWXAuthenticatedUser
from fwx.interfaces import (
    E_FAIL,
    E_INVALIDARG,
    E_POINTER,
    FWX_E_NOT_SUPPORTED,
    S_OK,
    COMError,
    IFWXAuthenticationCompletion,
    IFWXFirewall2,
    IFWXRadiusAuthenticator,
)
from tests.impl.conftest import Rig

CAROL = FWXAuthenticatedUser(r"branch\carol", ("staff", "night"), "RADIUS")


@implementer(IRadiusUsers)
class Servers:
    """RADIUS servers that say later what the test wants."""

    is_configured = True

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.asked: list[tuple[str, bytes]] = []
        self.result = Checked(CAROL)

    def check(self, name: str, password: bytes, done: Callable[[Checked], None]) -> Callable[[], None]:
        self.asked.append((name, password))
        self.rig.engine.queue.post(done, self.result)
        return lambda: None


@implementer(IFWXAuthenticationCompletion)
class Completion(Unknown):
    def __init__(self, answer: Any = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._answer = answer

    def CompleteAsyncAuthentication(
        self, fSuccess: bool, Win32ErrorCode: int, pIFWXAuthenticatedUser: Any, UserData: object
    ) -> Any:
        self.calls.append((fSuccess, Win32ErrorCode, pIFWXAuthenticatedUser, UserData, threading.get_ident()))
        return self._answer


@pytest.fixture
def servers(rig: Rig) -> Servers:
    made = Servers(rig)
    rig.engine.registry.register_utility(made, IRadiusUsers)
    return made


def test_without_servers_there_is_no_authenticator(rig: Rig) -> None:
    with pytest.raises(COMError, match="radius") as error:
        rig.firewall.CreateRadiusAuthenticator()
    assert error.value.hresult == FWX_E_NOT_SUPPORTED


def test_each_call_makes_one_that_serves_any_number_of_users(rig: Rig, servers: Servers) -> None:
    """B5.4, B10.2: never inside the call; once for each; with the user, whose name space is RADIUS, and its data."""
    first, second = (rig.firewall.CreateRadiusAuthenticator() for _ in range(2))
    assert first is not second
    assert IFWXRadiusAuthenticator.providedBy(first)
    completion = Completion()
    for tag in ("one", "two"):
        first.AuthenticateRadiusUser("carol", "gehëim", completion, tag)
    assert completion.calls == []
    rig.settle()
    here = threading.get_ident()
    assert completion.calls == [(True, 0, CAROL, "one", here), (True, 0, CAROL, "two", here)]
    assert servers.asked == [("carol", "gehëim".encode())] * 2
    user = completion.calls[0][2]
    assert (user.Username, user.Namespace, user.UserGroups) == (r"branch\carol", "RADIUS", "staff;night")


@pytest.mark.parametrize(
    ("result", "code"), [(WRONG, ERROR_LOGON_FAILURE), (Checked(None, "no answer"), ERROR_NO_LOGON_SERVERS)]
)
def test_a_failure_has_its_windows_error_and_no_user(rig: Rig, servers: Servers, result: Checked, code: int) -> None:
    servers.result = result
    completion = Completion()
    rig.firewall.CreateRadiusAuthenticator().AuthenticateRadiusUser("carol", "", completion, 7)
    rig.settle()
    assert [call[:4] for call in completion.calls] == [(False, code, None, 7)]


@pytest.mark.parametrize(
    ("arguments", "hresult"),
    [
        ((None, "x", Completion(), 0), E_POINTER),
        (("x", None, Completion(), 0), E_POINTER),
        (("x", "x", None, 0), E_POINTER),
        ((b"x", "x", Completion(), 0), E_INVALIDARG),
        (("x", 5, Completion(), 0), E_INVALIDARG),
        (("x", "\udcff", Completion(), 0), E_INVALIDARG),
        (("x", "x", object(), 0), E_INVALIDARG),
    ],
)
def test_what_is_not_started_has_no_completion(
    rig: Rig, servers: Servers, arguments: tuple[Any, ...], hresult: int
) -> None:
    with pytest.raises(COMError) as error:
        rig.firewall.CreateRadiusAuthenticator().AuthenticateRadiusUser(*arguments)
    assert error.value.hresult == hresult
    rig.settle()
    assert servers.asked == []
    if isinstance(arguments[2], Completion):
        assert arguments[2].calls == []


def test_a_completion_that_fails_is_the_filters_fault(rig: Rig, servers: Servers) -> None:
    before = len(rig.alerts)
    rig.firewall.CreateRadiusAuthenticator().AuthenticateRadiusUser("carol", "x", Completion(E_FAIL), 0)
    rig.settle()
    assert len(rig.alerts) == before + 1


def test_the_com_face(rig: Rig, servers: Servers) -> None:
    face = raw(rig.firewall.QueryInterface(IFWXFirewall2), IFWXFirewall2)

    cell = Ref()
    assert face.CreateRadiusAuthenticator(cell) == S_OK
    completion = Completion()
    authenticator = raw(cell.value, IFWXRadiusAuthenticator)
    assert authenticator.AuthenticateRadiusUser("carol", "x", completion, 9) == S_OK
    assert authenticator.AuthenticateRadiusUser("carol", "x", None, 9) == E_POINTER
    rig.settle()
    assert [call[:4] for call in completion.calls] == [(True, 0, CAROL, 9)]


def test_from_another_thread(rig: Rig, servers: Servers) -> None:
    """The call waits for the loop, the completion comes there."""
    completion, authenticator = Completion(), rig.firewall.CreateRadiusAuthenticator()
    thread = threading.Thread(target=authenticator.AuthenticateRadiusUser, args=("carol", "x", completion, 1))
    thread.start()
    while thread.is_alive():
        rig.settle()
        thread.join(0.001)
    rig.settle()
    assert [call[4] for call in completion.calls] == [threading.get_ident()]


def test_of_a_blocking_filter(rig: Rig, servers: Servers) -> None:
    """B5.4: the completion comes on a thread of the pool, behind the call that has asked."""
    seen: list[str] = []

    @implementer(IFWXAuthenticationCompletion)
    class Noting(Unknown):
        def CompleteAsyncAuthentication(self, *args: Any) -> None:
            seen.append(f"told {threading.current_thread().name}")

    completion = Noting()

    def handle(event: Any) -> None:
        rig.firewall.CreateRadiusAuthenticator().AuthenticateRadiusUser("carol", "x", completion, 1)
        seen.append(f"asked {threading.current_thread().name}")

    host = rig.host(blocking=True, handle=handle)
    assert rig.through(rig.connection().raise_connect_event((host,)))
    rig.until(lambda: len(seen) == 2)
    assert [words.partition("-worker")[0] for words in seen] == ["asked fwx", "told fwx"]
