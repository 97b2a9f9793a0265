"""What one rule lets through: so much of each user and address, and so many datagram sessions in a second (B11.4)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from fwx.interfaces.hresult import FWX_E_IS_BUSY, FWX_E_RULE_QUOTA_EXCEEDED_DROPPED, HRESULT

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwx.impl.session import FWXSession

NON_TCP_A_SECOND: Final = 1000
"""New sessions over UDP that one rule lets through in a second (B11's table)."""

# Whose a connection is: user and name space, or the address of nobody.
_Owner: TypeAlias = "tuple[str, str] | str"


class RuleLimits(NamedTuple):
    """What a rule limits; ``None`` for what it does not.

    :ivar connections_per_user: open connections of one user, or of one address as nobody; over UDP, destinations.
    :ivar new_per_second_per_address: new ones of one address in a second.
    """

    connections_per_user: int | None = None
    new_per_second_per_address: int | None = None


class Refused(NamedTuple):
    """Too many. :ivar is_first: the first refusal in this second for rule and address, which the log has to tell."""

    result: HRESULT
    reason: str
    is_first: bool


class Place(NamedTuple):
    """What an admitted connection occupies until :meth:`give_back`, which is called once."""

    quotas: RuleQuotas
    rule: str
    owner: _Owner

    def give_back(self) -> None:
        self.quotas.give_back(self.rule, self.owner)


class RuleQuotas:
    """Counts what the rules with limits have let in, and what every rule lets in over UDP in the current second.

    Asked once for each TCP connection and UDP destination that a rule allows; what filters have announced is not.

    :ivar exceeded: told of each refusal: the rule, and words that name the address (B11.6). :ivar refusals: how many.
    """

    __slots__ = (
        "_clock",
        "_non_tcp",
        "_open",
        "_refusals",
        "_second",
        "_started",
        "exceeded",
        "non_tcp_a_second",
        "refusals",
    )

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.non_tcp_a_second = NON_TCP_A_SECOND
        self.exceeded: Callable[[str, str], object] = lambda _rule, _words: None
        self.refusals = 0
        self._open: Counter[tuple[str, _Owner]] = Counter()
        # Of the current second, by rule, and by rule and address.
        self._second = clock()
        self._non_tcp: Counter[str] = Counter()
        self._started: Counter[tuple[str, str]] = Counter()
        self._refusals: set[tuple[str, str]] = set()

    def take(self, rule: str, limits: RuleLimits | None, session: FWXSession, transport: str) -> Place | Refused | None:
        """Count what *rule*, which has *limits*, lets in for *session* over ``TCP`` or ``UDP``.

        Returns the place that it takes, if the rule limits open connections; or why it is too many.
        """
        if self._clock() - self._second >= 1:
            self._begin_second()
        address = session.address.host
        if transport != "TCP" and self._non_tcp[rule] >= self.non_tcp_a_second:
            words = f"{self.non_tcp_a_second} UDP sessions in a second (udp_new_per_second_per_rule)"
            return self._refuse(FWX_E_RULE_QUOTA_EXCEEDED_DROPPED, rule, address, words)
        place = None
        if limits is not None:
            found = self._within(rule, limits, session)
            if isinstance(found, Refused):
                return found
            place = found
        if transport != "TCP":
            self._non_tcp[rule] += 1
        return place

    def give_back(self, rule: str, owner: _Owner) -> None:
        """What has taken a place is gone."""
        key = rule, owner
        self._open[key] -= 1
        if not self._open[key]:
            del self._open[key]

    def open_of(self, rule: str) -> dict[_Owner, int]:
        """Return how many places of *rule* each user has, and each address that is nobody."""
        return {owner: count for (name, owner), count in self._open.items() if name == rule}

    def datagrams_of(self, rule: str) -> int:
        """Return how many sessions over UDP *rule* has let in in the current second."""
        return self._non_tcp[rule] if self._clock() - self._second < 1 else 0

    def _within(self, rule: str, limits: RuleLimits, session: FWXSession) -> Place | Refused | None:
        address, user = session.address.host, session.user
        most_new, most_open = limits.new_per_second_per_address, limits.connections_per_user
        if most_new is not None and self._started[rule, address] >= most_new:
            words = f"{most_new} new connections in a second (new_per_second_per_address)"
            return self._refuse(FWX_E_RULE_QUOTA_EXCEEDED_DROPPED, rule, address, words)
        place = None
        if most_open is not None:
            owner = address if user is None else (user.Namespace, user.Username)
            if self._open[rule, owner] >= most_open:
                whose = "" if user is None else f" of user {user.Username}"
                words = f"{most_open} connections{whose} (connections_per_user)"
                return self._refuse(FWX_E_IS_BUSY, rule, address, words)
            self._open[rule, owner] += 1
            place = Place(self, rule, owner)
        if most_new is not None:
            self._started[rule, address] += 1
        return place

    def _refuse(self, result: HRESULT, rule: str, address: str, words: str) -> Refused:
        reason = f"rule {rule!r} has let in {words}, and {address} wants one more"
        is_first = (rule, address) not in self._refusals
        self._refusals.add((rule, address))
        self.refusals += 1
        self.exceeded(rule, reason)
        return Refused(result, reason, is_first)

    def _begin_second(self) -> None:
        self._second = self._clock()
        self._non_tcp.clear()
        self._started.clear()
        self._refusals.clear()
