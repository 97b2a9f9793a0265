"""HostAccessCheck: what the rules would say to a connection (B7.17)."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from fwx.impl.policy import Rule
from fwx.impl.user import FWXAuthenticatedUser
from fwx.interfaces import GUID_NULL, Hostent, SocketAddress, fwxSourceWSP
from fwx.interfaces.constants import FWX_FLAG_USE_EXTENTION, FWX_FLAG_USE_MIME
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_POINTER,
    FWX_E_POLICY_RULES_DENIED,
    FWX_E_TERMINATING,
    S_OK,
    COMError,
)
from fwx.interfaces.protocols import by_title

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

FILTER = uuid4()
HTTP, SMTP = (by_title()[title].guid for title in ("HTTP", "SMTP"))
ANYWHERE = ("any", "localhost")
OUTSIDE, INSIDE = "203.0.113.80", "198.51.100.7"


def check(session: Any, host: Hostent | None, protocol: UUID | None = HTTP, **more: Any) -> int:
    given = {"filter": FILTER, "port": 4000, "path": None, "mime": None, "flags": 0, **more}
    try:
        session.HostAccessCheck(
            given["filter"], protocol, host, given["port"], given["path"], given["mime"], given["flags"], None
        )
    except COMError as error:
        return error.hresult
    return S_OK


def host(name: str, *addresses: str) -> Hostent:
    return Hostent(name, (), tuple(map(ip_address, addresses)))


@pytest.fixture
def session(rig: Rig) -> Any:
    rig.engine.policy = rig.policy(Rule("web", "allow", ("HTTP",), ANYWHERE, ("outside",)))
    return rig.session()


@pytest.mark.parametrize(
    ("asked", "protocol", "allowed"),
    [
        (host("", OUTSIDE), HTTP, True),
        (host("www.example", OUTSIDE), HTTP, True),
        (host("www.example", INSIDE, OUTSIDE), HTTP, True),
        (host("www.example", INSIDE), HTTP, False),
        (host("www.example"), HTTP, False),
        (host(OUTSIDE), HTTP, True),
        (host("", OUTSIDE), SMTP, False),
        (host("", OUTSIDE), GUID_NULL, False),
    ],
)
def test_the_rules_answer(session: Any, asked: Hostent, protocol: UUID, allowed: bool) -> None:
    """B7.17: by the one policy, name and addresses, for the port where the protocol begins."""
    assert check(session, asked, protocol) == (S_OK if allowed else FWX_E_POLICY_RULES_DENIED)


def test_the_port_counts(rig: Rig) -> None:
    """B7.17: SrcPort is the port that the client connects from."""
    low = Rule("low", "deny", ("any",), ANYWHERE, ANYWHERE, source_ports=((1, 1023),))
    rig.engine.policy = rig.policy(low, Rule("all", "allow", ("any",), ANYWHERE, ANYWHERE))
    session = rig.session()
    asked = host("", OUTSIDE)
    assert [check(session, asked, port=port) for port in (1023, 1024)] == [FWX_E_POLICY_RULES_DENIED, S_OK]


def test_the_user_counts(rig: Rig) -> None:
    """B7.17: it is the session's user that the rules are asked about."""
    rig.engine.policy = rig.policy(Rule("ann's", "allow", ("any",), ANYWHERE, ANYWHERE, users=("ann",)))
    ann = rig.sessions.of(SocketAddress("127.0.0.1"), fwxSourceWSP, FWXAuthenticatedUser("ann"))
    assert check(ann, host("www.example", OUTSIDE)) == S_OK
    assert check(rig.session(), host("www.example", OUTSIDE)) == FWX_E_POLICY_RULES_DENIED


def test_a_protocol_that_is_not_known_needs_a_rule_for_all(rig: Rig) -> None:
    rig.engine.policy = rig.policy(Rule("all", "allow", ("any",), ANYWHERE, ("outside",)))
    assert check(rig.session(), host("", OUTSIDE), GUID_NULL) == S_OK


def test_an_own_listener_is_never_allowed(rig: Rig, session: Any) -> None:
    rig.own_listeners.add(SocketAddress(OUTSIDE, 80))
    assert check(session, host("", OUTSIDE)) == FWX_E_POLICY_RULES_DENIED


def test_what_is_no_question(session: Any) -> None:
    there = host("", OUTSIDE)
    for flags in (FWX_FLAG_USE_MIME, FWX_FLAG_USE_EXTENTION, FWX_FLAG_USE_MIME | FWX_FLAG_USE_EXTENTION):
        assert check(session, there, flags=flags, path="/a.exe") == S_OK
    assert [check(session, None), check(session, there, None), check(session, there, filter=None)] == [E_POINTER] * 3
    wrong: list[dict[str, Any]] = [{"flags": 4}, {"port": -1}, {"port": 65536}, {"filter": "filter"}]
    assert [check(session, there, **each) for each in wrong] == [E_INVALIDARG] * 4
    assert [check(session, Hostent("")), check(session, there, uuid4())] == [E_INVALIDARG] * 2
    session.terminate()
    assert check(session, there) == FWX_E_TERMINATING
