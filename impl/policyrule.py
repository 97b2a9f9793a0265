"""IFPCPolicyRule: a rule of the policy as filters see it, read-only (B7.7, B7.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zope.interface import Attribute, Interface, implementer

from fwx.impl.unknown import Unknown
from fwx.interfaces import IFPCPolicyRule

if TYPE_CHECKING:
    from fwx.impl.rule import Rule

ALLOW: Final = 0
DENY: Final = 1
"""``Action`` of a rule (B7.7)."""

ACCESS_RULE: Final = 0
"""``Type`` of a rule (B7.8). Ours are all of this type: one for a published server judges its target like any other."""


class IPolicyRule(Interface):
    """What a rule matches, as the configuration file has it: the names of the ``[[rule]]`` keys, in tuples.

    Had by ``IPolicyRule(pPolicyRule)``. The SDK spreads the same over objects that this version has not.
    """

    protocols = Attribute("Names of protocols, or ``any``.")
    source = Attribute("``from``: names of networks.")
    destination = Attribute("``to``: names of networks and sets.")
    users = Attribute("Names of users, ``any`` or ``authenticated``.")
    groups = Attribute("Names of groups.")
    schedule = Attribute("The name of a schedule; empty for always.")
    source_ports = Attribute("First and last ports of the client, in pairs; none for any.")
    filters = Attribute("Names of filters.")
    upstream = Attribute("The name of an upstream; empty for straight out.")
    shadow = Attribute("Whether the rule decides nothing.")
    content_types = Attribute("Types of the responses in plain HTTP that it allows; none for all.")
    system = Attribute("Whether it is a ``[[system_rule]]``.")


@implementer(IFPCPolicyRule, IPolicyRule)
class FPCPolicyRule(Unknown):
    """One rule, made for each call of ``PrepareRulesData``. It does not change: a changed rule is another object."""

    __slots__ = ("Order", "_rule")

    # Nothing of the outside hangs on the count.
    _can_return = True

    def __init__(self, rule: Rule, order: int) -> None:
        """:param order: its place in the policy, counted from 1."""
        self._rule = rule
        self.Order = order

    @property
    def Name(self) -> str:
        return self._rule.name

    @property
    def Enabled(self) -> bool:
        return self._rule.enabled

    @property
    def Action(self) -> int:
        return ALLOW if self._rule.action == "allow" else DENY

    @property
    def EnableLogging(self) -> bool:
        return self._rule.log

    @property
    def Type(self) -> int:
        return ACCESS_RULE

    @property
    def protocols(self) -> tuple[str, ...]:
        return self._rule.protocols

    @property
    def source(self) -> tuple[str, ...]:
        return self._rule.source

    @property
    def destination(self) -> tuple[str, ...]:
        return self._rule.destination

    @property
    def users(self) -> tuple[str, ...]:
        return self._rule.users

    @property
    def groups(self) -> tuple[str, ...]:
        return self._rule.groups

    @property
    def schedule(self) -> str:
        return self._rule.schedule

    @property
    def source_ports(self) -> tuple[tuple[int, int], ...]:
        return self._rule.source_ports

    @property
    def filters(self) -> tuple[str, ...]:
        return self._rule.filters

    @property
    def upstream(self) -> str:
        return self._rule.upstream

    @property
    def shadow(self) -> bool:
        return self._rule.shadow

    @property
    def content_types(self) -> tuple[str, ...]:
        return self._rule.content_types

    @property
    def system(self) -> bool:
        return self._rule.system
