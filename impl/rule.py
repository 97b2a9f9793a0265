"""A rule of the policy as it is written; :mod:`fwx.impl.rulematch` compiles it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from fwx.impl.networks import ANY, LOCALHOST
from fwx.impl.rulequotas import RuleLimits
from fwx.impl.user import AUTHENTICATED, Who, group_key, user_key

DEFAULT_RULE: Final = "Default rule"
EMBEDDED_RULE: Final = "Embedded default"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what it matches, and what then happens.

    *protocols* are names of protocols or ``any``; *source* networks and sets of computers; *destination* these, sets of
    domains and sets of URLs. ``any``, ``external`` and ``localhost`` are networks. *filters* are the names of the
    filters that see the connection, *upstream* is the name of the route that it takes, empty for straight out. *users*
    are names, or ``any``, or ``authenticated``; with *groups*, ``any`` is not everybody but the groups. It holds while
    *schedule* does, empty for always. *source_ports* are first and last ports of the client, none for any. A *shadow*
    rule decides nothing: what it would have decided is told with the verdict. *limits* are counted by who opens what
    the rule allows. *content_types* are those of the responses that it allows, none for all; with them it is about
    plain HTTP alone (B7.7). A *system* rule is about traffic to or from the firewall itself, and comes before those
    that are none (B7.1). One that is not *enabled* matches nothing (B7.7).
    """

    name: str
    action: Literal["allow", "deny"]
    protocols: tuple[str, ...]
    source: tuple[str, ...]
    destination: tuple[str, ...]
    filters: tuple[str, ...] = ()
    log: bool = True
    upstream: str = ""
    users: tuple[str, ...] = (ANY,)
    groups: tuple[str, ...] = ()
    schedule: str = ""
    source_ports: tuple[tuple[int, int], ...] = ()
    shadow: bool = False
    limits: RuleLimits | None = None
    content_types: tuple[str, ...] = ()
    system: bool = False
    enabled: bool = True

    @property
    def who(self) -> Who | None:
        """Whom the rule is about, in the names of :data:`Who`; ``None`` where it is everybody."""
        if ANY in self.users and not self.groups:
            return None
        users = (name if name == AUTHENTICATED else user_key(name) for name in self.users if name != ANY)
        return frozenset((*users, *map(group_key, self.groups)))


EMBEDDED_DEFAULT: Final = Rule(EMBEDDED_RULE, "allow", (ANY,), (LOCALHOST,), (ANY, LOCALHOST))
"""What holds where no rule is written: all is allowed from this machine, to itself as well."""
