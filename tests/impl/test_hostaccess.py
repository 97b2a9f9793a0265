"""HostAccessCheck: what the rules would say to a connection (B7.17)."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from fwx.impl.networkrules import NetworkRule
from fwx.impl.networks import LocalAddresses, Network, Networks
from fwx.impl.policy import Policy, Rule
from fwx.impl.urlset import UrlSet
from fwx.impl.user import FWXAuthenticatedUser
from fwx.interfaces import GUID_NULL, Hostent, SocketAddress, fwxSourceWSP
from fwx.interfaces.constants import FWX_FLAG_USE_EXTENTION, FWX_FLAG_USE_MIME
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_POINTER,
    FWX_E_MIME_NEEDED,
    FWX_E_NETWORK_RULES_DENIED,
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


def web_policy(*rules: Rule, network_rules: tuple[NetworkRule, ...] = ()) -> Policy:
    local = LocalAddresses(reader=lambda path: "", clock=lambda: 0.0)
    networks = Networks((Network("outside", ("203.0.113.0/24",)), Network("other", ("192.0.2.0/24",))), local)
    urls = (UrlSet("pages", ("www.example/a/*",)),)
    return Policy(networks, (), (), rules, url_sets=urls, network_rules=network_rules)


def test_a_path_makes_it_a_request(rig: Rig) -> None:
    """B7.17: with a path, rules about URLs and content types count."""
    rig.engine.policy = web_policy(
        Rule("pages", "allow", ("HTTP",), ANYWHERE, ("pages",)),
        Rule("typed", "allow", ("HTTP",), ANYWHERE, ("outside",), content_types=("text/html",)),
    )
    session, there = rig.session(), host("www.example", OUTSIDE)
    cases: list[tuple[dict[str, Any], bool]] = [
        ({}, False),
        ({"path": "/a/x"}, True),
        ({"path": "/b"}, True),  # as long as the content is not known
        ({"path": "/b", "mime": "text/html; charset=x"}, True),
        ({"path": "/b", "mime": "image/png"}, False),
        ({"path": "/a/x", "mime": "image/png"}, True),
        ({"mime": "text/html"}, False),
        ({"path": "/b/x.html?y.exe", "flags": FWX_FLAG_USE_EXTENTION}, True),
        ({"path": "/b/x.exe", "flags": FWX_FLAG_USE_EXTENTION}, False),
        ({"path": "/b/x", "flags": FWX_FLAG_USE_EXTENTION}, False),
    ]
    for asked, allowed in cases:
        assert check(session, there, **asked) == (S_OK if allowed else FWX_E_POLICY_RULES_DENIED), asked
    assert check(session, there, path="/a/x", flags=FWX_FLAG_USE_MIME) == FWX_E_MIME_NEEDED
    assert check(session, there, path="/a/x", mime="x/y", flags=FWX_FLAG_USE_MIME) == S_OK
    assert [check(session, there, path=1), check(session, there, mime=1)] == [E_INVALIDARG] * 2


def test_network_rules_count(rig: Rig) -> None:
    """B7.17, B7.2: for whatever a filter asks about, plain HTTP too."""
    client = rig.sessions.of(SocketAddress("192.0.2.5"), fwxSourceWSP)
    everything = Rule("all", "allow", ("any",), ANYWHERE, ANYWHERE)
    related = NetworkRule("r", ("other",), ("external",), "nat")
    rig.engine.policy = web_policy(everything, network_rules=(related,))
    for path in (None, "/"):
        assert check(client, host("", OUTSIDE), path=path) == FWX_E_NETWORK_RULES_DENIED
        assert check(client, host("", INSIDE), path=path) == S_OK


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
