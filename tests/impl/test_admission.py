"""Whether a client may reach a target: names, each of their addresses, and the service's own listeners (DESIGN 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fwx.impl.admission import admit, keep_to_protocols
from fwx.impl.policy import Rule
from fwx.impl.session import FWXSession
from fwx.interfaces import SocketAddress, fwxSourceNAT
from fwx.interfaces.hresult import FWX_E_POLICY_RULES_DENIED

if TYPE_CHECKING:
    from tests.impl.conftest import Rig

CLIENT = SocketAddress("127.0.0.1", 40000)
OUTSIDE, INSIDE, OWN = "203.0.113.5", "127.0.0.1", "203.0.113.9"
TO_THE_OUTSIDE = Rule("out", "allow", ("any",), ("localhost",), ("outside",))
TO_EVERYTHING = Rule("all", "allow", ("any",), ("localhost",), ("any", "localhost"))


@pytest.fixture
def rules(rig: Rig) -> Rig:
    rig.engine.policy = rig.policy(TO_THE_OUTSIDE)
    rig.own_listeners.update({SocketAddress(OWN, 8080), SocketAddress(INSIDE, 8080)})
    return rig


@pytest.mark.parametrize(
    ("target", "resolved", "allowed", "addresses", "reason"),
    [
        # a literal address
        (f"{OUTSIDE}:80", None, True, [f"{OUTSIDE}:80"], "allows"),
        (f"{INSIDE}:80", None, False, [], "no rule allows"),
        (f"{OWN}:8080", None, False, [], "is a listener of this service"),
        (f"{OWN}:80", None, True, [f"{OWN}:80"], "allows"),
        # a name: by itself it has to be resolved, then each address counts
        ("www.example:80", None, False, [], "depends on the address"),
        ("www.example:80", [OUTSIDE], True, [f"{OUTSIDE}:80"], "allows"),
        ("www.example:80", [INSIDE], False, [], "no rule allows"),
        ("www.example:80", [INSIDE, OUTSIDE], True, [f"{OUTSIDE}:80"], "allows"),
        ("www.example:8080", [OWN, OUTSIDE], True, [f"{OUTSIDE}:8080"], "allows"),
        ("www.example:8080", [OWN], False, [], "is a listener of this service"),
        ("www.example:80", [], False, [], "depends on the address"),
    ],
)
def test_admit(
    rules: Rig, target: str, resolved: list[str] | None, allowed: bool, addresses: list[str], reason: str
) -> None:
    wanted = SocketAddress.parse(target)
    literal = None if resolved is None else [SocketAddress(host, wanted.port) for host in resolved]
    verdict, left = admit(rules.engine, CLIENT, wanted, literal)
    assert verdict.allowed is allowed
    assert [str(address) for address in left] == addresses
    assert reason in verdict.reason
    if not allowed:
        assert verdict.hresult == FWX_E_POLICY_RULES_DENIED


def test_a_name_that_the_rules_allow_by_itself(rig: Rig) -> None:
    """The verdict is provisional: there is no address to connect to yet."""
    rig.engine.policy = rig.policy(TO_EVERYTHING)
    verdict, addresses = admit(rig.engine, CLIENT, SocketAddress("www.example", 80))
    assert (verdict.allowed, addresses) == (True, [])


def test_addresses_of_another_rule_are_left_out(rig: Rig) -> None:
    """The connection has one verdict: an address that another rule allows would miss that rule's filters."""
    scanned = Rule("scanned", "allow", ("any",), ("localhost",), ("localhost",), filters=("scanner",))
    rig.engine.policy = rig.policy(TO_THE_OUTSIDE, scanned)
    name = SocketAddress("two.example", 80)
    for order in ([OUTSIDE, INSIDE], [INSIDE, OUTSIDE]):
        verdict, left = admit(rig.engine, CLIENT, name, [SocketAddress(host, 80) for host in order])
        assert [address.host for address in left] == order[:1]
        assert verdict.rule == ("out" if order[0] == OUTSIDE else "scanned")


class Announced(FWXSession):
    """A session in which filters have announced some destinations."""

    __slots__ = ("announced",)

    def announces(self, target: SocketAddress, transport: str) -> bool:
        return (target, transport) in self.announced


@pytest.mark.parametrize(
    ("port", "transport", "allowed"),
    [
        (80, "TCP", True),
        (53, "UDP", True),
        (80, "UDP", False),
        (4444, "TCP", False),
        (4445, "TCP", True),
        (4445, "UDP", False),
    ],
)
def test_what_a_securenat_client_may_begin_with(rig: Rig, port: int, transport: str, allowed: bool) -> None:
    """B2.13: a port of a defined protocol, or what was announced; that the rules allow it is not enough."""
    rig.engine.policy = rig.policy(TO_THE_OUTSIDE)
    session = Announced(rig.engine, CLIENT.with_port(0), fwxSourceNAT)
    session.announced = {(SocketAddress(OUTSIDE, 4445), "TCP")}
    target = SocketAddress(OUTSIDE, port)
    found = admit(rig.engine, CLIENT, target, transport=transport)
    assert found[0].allowed
    verdict, left = keep_to_protocols(session, target, *found, transport)
    assert (verdict.allowed, left) == (allowed, [target] if allowed else [])
    if not allowed:
        assert verdict.hresult == FWX_E_POLICY_RULES_DENIED
        assert verdict.reason == (
            f"no protocol begins with {transport} port {port}, and no filter has announced {target}"
        )


def test_what_the_rules_deny_stays_denied(rig: Rig) -> None:
    rig.engine.policy = rig.policy(TO_THE_OUTSIDE)
    session = FWXSession(rig.engine, CLIENT.with_port(0), fwxSourceNAT)
    target = SocketAddress(INSIDE, 4444)
    found = admit(rig.engine, CLIENT, target)
    assert keep_to_protocols(session, target, *found) == found
