"""What the policy says to one connection, and how it puts it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import UUID

from fwx.impl.rule import DEFAULT_RULE, Rule
from fwx.impl.rulequotas import RuleLimits
from fwx.interfaces.hresult import FWX_E_NETWORK_RULES_DENIED, FWX_E_POLICY_RULES_DENIED, HRESULT, S_OK

if TYPE_CHECKING:
    from fwx.impl.rulematch import Question


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says to one connection, and why.

    ``allowed`` for a name without an address is provisional: each address is judged too. ``needs_resolution`` says that
    the name alone does not decide; the verdict then denies. ``hresult`` is ``S_OK``, ``FWX_E_POLICY_RULES_DENIED`` or
    ``FWX_E_NETWORK_RULES_DENIED``; for the latter there is no ``rule``. ``destination_network`` is empty while no
    address is known. ``reason`` is for people. ``upstream`` names the route of what is allowed, empty for straight out.
    ``needs_user`` says that a client without a user was denied what a rule allows some users. ``shadows`` are the
    shadow rules that would have decided before the rule that does. ``limits`` are the rule's. ``translates`` says that
    a network rule hides the client's address from the server.
    """

    allowed: bool
    rule: str
    filters: tuple[str, ...]
    log: bool
    hresult: HRESULT
    protocol: str
    protocol_guid: UUID
    source_network: str
    destination_network: str
    reason: str
    needs_resolution: bool = False
    upstream: str = ""
    needs_user: bool = False
    shadows: tuple[Rule, ...] = ()
    limits: RuleLimits | None = None
    translates: bool = False

    @property
    def remark(self) -> str:
        """What the log is to say of the shadow rules; empty without one."""
        return "; ".join(f"shadow rule {rule.name!r} would {rule.action} it" for rule in self.shadows)


def decided(question: Question, rule: Rule) -> Verdict:
    """Make the verdict of the *rule* that matches."""
    if rule.action == "deny":
        return denied(question, f"rule {rule.name!r} denies {question.text}", rule)
    return Verdict(
        allowed=True,
        rule=rule.name,
        filters=rule.filters,
        log=rule.log,
        hresult=S_OK,
        protocol=question.traffic.name,
        protocol_guid=question.traffic.guid,
        source_network=question.client[0],
        destination_network=question.target[0] if question.target else "",
        reason=f"rule {rule.name!r} allows {question.text}",
        upstream=rule.upstream,
        limits=rule.limits,
    )


def denied(
    question: Question,
    reason: str,
    rule: Rule | None = None,
    *,
    needs_resolution: bool = False,
) -> Verdict:
    """Make the verdict that denies, for *reason*; without a *rule* it is the built-in one's."""
    return Verdict(
        allowed=False,
        rule=rule.name if rule else DEFAULT_RULE,
        filters=(),
        log=rule.log if rule else True,
        hresult=FWX_E_POLICY_RULES_DENIED,
        protocol=question.traffic.name,
        protocol_guid=question.traffic.guid,
        source_network=question.client[0],
        destination_network=question.target[0] if question.target else "",
        reason=reason,
        needs_resolution=needs_resolution,
    )


def unrelated(question: Question) -> Verdict:
    """Make the verdict on networks that no network rule relates (B7.4)."""
    here, there = question.client[0], question.target[0]
    return Verdict(
        allowed=False,
        rule="",
        filters=(),
        log=True,
        hresult=FWX_E_NETWORK_RULES_DENIED,
        protocol=question.traffic.name,
        protocol_guid=question.traffic.guid,
        source_network=here,
        destination_network=there,
        reason=f"no network rule relates {here} and {there}: denied {question.text}",
    )


def waiting(question: Question, verdict: Verdict) -> Verdict:
    """Return *verdict* on a name of which it is not known whether its network is related with the client's."""
    if not verdict.allowed:
        return verdict
    return replace(
        verdict,
        allowed=False,
        hresult=FWX_E_POLICY_RULES_DENIED,
        reason=f"network rules depend on the address: {question.text}",
        needs_resolution=True,
        filters=(),
        upstream="",
        limits=None,
    )
