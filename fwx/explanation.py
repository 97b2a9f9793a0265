"""Why the rules decide as they do, as data for ``fwx explain`` and in words."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fwx.composition import policy_of
from fwx.impl.admission import by_route
from fwx.impl.alert import Alerts
from fwx.impl.contenttype import sent_type
from fwx.impl.networks import LocalAddresses
from fwx.impl.policy import DEFAULT_RULE
from fwx.impl.route import routes
from fwx.impl.rulematch import Explanation, Match, Miss, Step
from fwx.impl.urlset import Url
from fwx.impl.user import AUTHENTICATED, NOBODY, Who, group_key, user_key
from fwx.impl.webrequest import WebRequest
from fwx.interfaces.enums import fwx_nrt_NAT, fwx_nrt_ReverseNAT, fwx_nrt_Route, fwx_nrt_SameNetwork
from fwx.interfaces.hresult import FWX_E_NETWORK_RULES_DENIED
from fwx.proxy.http_forward import ForwardError, split_target
from fwx.service_events import ServiceEvents
from fwx.upstreams import upstreams_of

if TYPE_CHECKING:
    from fwx.config import Configuration
    from fwx.impl.policy import Policy, Rule, Verdict
    from fwx.impl.route import Route
    from fwx.interfaces import SocketAddress

_RELATIONS = {
    fwx_nrt_SameNetwork: "one network",
    fwx_nrt_Route: "route",
    fwx_nrt_NAT: "NAT",
    fwx_nrt_ReverseNAT: "NAT, in reverse",
}
_BY = {Match.BY_NAME: " by the name", Match.BY_URL: " by the URL"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A connection that is asked about.

    :ivar resolved: an address that the name of *destination* leads to; empty where it is none, or not known.
    :ivar user: what the client is called, for the words. :ivar moment: in seconds since the epoch, ``None`` for now.
    :ivar arrives: somebody waits at *destination*, which *source* connects to. :ivar web: it is for this request.
    """

    source: SocketAddress
    destination: SocketAddress
    transport: str = "TCP"
    resolved: str = ""
    who: Who = NOBODY
    user: str = ""
    moment: float | None = None
    arrives: bool = False
    web: WebRequest | None = None


def known_as(user: str, groups: Iterable[str]) -> Who:
    """Return by which names the rules know a client that is called *user*, empty for nobody, a member of *groups*."""
    return frozenset({AUTHENTICATED, user_key(user), *map(group_key, groups)}) if user else NOBODY


def request_for(url: str, content_type: str | None) -> tuple[SocketAddress, WebRequest]:
    """Return the target of a request for *url* in plain HTTP, and the request, which is answered with *content_type*.

    :raises ValueError: it is no such URL.
    """
    try:
        target, _, path = split_target(url, "GET")
    except ForwardError as error:
        raise ValueError(str(error)) from None
    content = None if content_type is None else sent_type([content_type])
    return target, WebRequest(Url.of(target, path.decode("ascii")), content)


class Explainer:
    """Has a policy explain itself; made where it is known what stands around that: filters, lines of the file."""

    def __init__(
        self, policy: Policy, everywhere: Iterable[str], places: Mapping[str, str], routes: Mapping[str, Route]
    ) -> None:
        """:param everywhere: names of the filters that see every connection. :param places: of the rules in a file, as
        ``fwx.toml:12``. :param routes: the ways out by name; one that is not there carries everything.
        """
        self._policy = policy
        self._everywhere = tuple(everywhere)
        self._places = places
        self._routes = routes

    def explain(self, asked: Asked) -> dict[str, Any]:
        """Return what :func:`in_words` puts into words, and ``fwx explain --json`` prints: what was asked, each rule
        that was tried, and the decision, which is that of :meth:`fwx.impl.policy.Policy.judge`.

        :raises ValueError: an address is none.
        """
        policy = self._policy
        source = asked.source
        explained = policy.explain(
            source.host,
            source.port,
            asked.destination,
            asked.transport,
            asked.resolved or None,
            asked.who,
            asked.arrives,
            asked.moment,
            asked.web,
        )
        verdict = by_route(self._routes, explained.verdict, asked.transport)
        teller = _Teller(policy, asked, explained.verdict)
        return {
            "asked": teller.asked(),
            "network_rules": teller.networks(explained),
            "rules": [
                {"rule": step.rule.name, "place": self._places.get(step.rule.name, ""), **teller.told(step)}
                for step in explained.steps
            ],
            "decision": self._decision(verdict),
        }

    def _decision(self, verdict: Verdict) -> dict[str, Any]:
        allowed = verdict.allowed
        named = tuple(name for name in verdict.filters if name not in self._everywhere)
        return {
            "allowed": allowed,
            "needs_resolution": verdict.needs_resolution,
            "needs_user": verdict.needs_user,
            "rule": verdict.rule,
            "place": self._places.get(verdict.rule, "built in" if verdict.rule == DEFAULT_RULE else ""),
            "result": verdict.hresult.name,
            "reason": verdict.reason,
            "upstream": verdict.upstream,
            "translates": verdict.translates,
            "filters": [*self._everywhere, *named] if allowed else [],
            "log": verdict.log,
            "shadows": [rule.name for rule in verdict.shadows],
        }


def places_of(configuration: Configuration) -> dict[str, str]:
    """Return where the rules of *configuration* stand, system rules too, by their names: ``fwx.toml:12``."""
    rules = enumerate(configuration.all_rules)
    lines = ((rule.name, configuration.line(configuration.rule_path(number))) for number, rule in rules)
    return {name: f"{configuration.source.file}:{line}" for name, line in lines}


def explainer_of(configuration: Configuration, *, datagrams: bool) -> Explainer:
    """Make what explains the rules of a file, for this machine, without a service.

    :param datagrams: questions are about UDP, which not every way out carries; the upstreams' passwords are read.
    :raises ConfigurationError: a password cannot be read. :raises OSError: the own addresses cannot be read.
    """
    failure = ServiceEvents(Alerts(time.time, ())).upstream_failure
    return Explainer(
        policy_of(configuration, LocalAddresses()),
        (table.name for table in configuration.filters if table.everywhere),
        places_of(configuration),
        routes(upstreams_of(configuration, failure)) if datagrams else {},
    )


class _Teller:
    """Says how a rule and a connection fit."""

    def __init__(self, policy: Policy, asked: Asked, verdict: Verdict) -> None:
        self._asked = asked
        self._network_rules = policy.network_rules
        self._protocol = verdict.protocol
        self._rule = verdict.rule
        address = asked.resolved if asked.destination.address is None else asked.destination.host
        self._client = policy.names_of(asked.source.host)
        self._target = policy.names_of(address) if address else ()
        moment = time.time() if asked.moment is None else asked.moment
        self._time = time.strftime("%a %Y-%m-%d %H:%M:%S", time.localtime(moment))

    def asked(self) -> dict[str, Any]:
        asked = self._asked
        return {
            "source": str(asked.source),
            "source_networks": list(self._client),
            "destination": str(asked.destination),
            "address": asked.resolved if asked.destination.address is None else asked.destination.host,
            "destination_networks": list(self._target),
            "transport": asked.transport,
            "url": "" if asked.web is None else str(asked.web.url),
            "content_type": None if asked.web is None else asked.web.content,
            "protocol": self._protocol,
            "user": asked.user,
            "time": self._time,
        }

    def networks(self, explained: Explanation) -> dict[str, Any]:
        """Say what network rules have to do with it, which come before all others (B7.2)."""
        related, verdict = explained.related, explained.verdict
        rule, relation = ("", "") if related is None else (related.rule, related.relation.name)
        if not explained.asks_networks:
            words = ""
        elif verdict.hresult == FWX_E_NETWORK_RULES_DENIED:
            words = f"no network rule relates {verdict.source_network} and {verdict.destination_network}"
        elif related is None:
            all_are = self._network_rules.relates_all_with(self._client)
            depend = f"network rules depend on the address of {self._asked.destination.host}"
            words = "network rules relate every network with the client's" if all_are else depend
        else:
            by = f"network rule {rule!r}" if rule else "no network rule is needed"
            words = f"{by}: {_RELATIONS[related.relation]}"
        return {"asked": explained.asks_networks, "rule": rule, "relation": relation, "words": words}

    def told(self, step: Step) -> dict[str, Any]:
        rule, outcome = step.rule, step.outcome
        missed = isinstance(outcome, Miss)
        return {
            "action": rule.action,
            "shadow": rule.shadow,
            "system": rule.system,
            "matches": not missed and outcome is not Match.UNDECIDED,
            "element": outcome.value if isinstance(outcome, Miss) else None,
            "decides": not missed and not rule.shadow and rule.name == self._rule,
            "words": self._miss(rule, outcome) if isinstance(outcome, Miss) else self._match(rule, outcome),
        }

    def _match(self, rule: Rule, outcome: Match) -> str:
        if outcome is Match.UNDECIDED:
            words = f"depends on the address of {self._asked.destination.host}"
            return f"{words}; a shadow rule decides nothing" if rule.shadow else words
        by = _BY.get(outcome, "")
        if rule.shadow:
            return f"matches{by} and would {rule.action} it; a shadow rule decides nothing"
        return f"matches{by}: {rule.action}"

    def _miss(self, rule: Rule, miss: Miss) -> str:
        asked = self._asked
        if miss is Miss.DISABLED:
            return "disabled"
        if miss is Miss.PROTOCOL:
            found, wanted = f"{asked.transport} port {asked.destination.port} is {self._protocol}", rule.protocols
        elif miss is Miss.SOURCE:
            found, wanted = f"{asked.source.host} is in {', '.join(self._client)}", rule.source
        elif miss is Miss.SOURCE_PORT:
            wanted = tuple(f"{first}-{last}" if first != last else str(first) for first, last in rule.source_ports)
            found = f"the client's port is {asked.source.port}"
        elif miss is Miss.SCHEDULE:
            found, wanted = f"it is {self._time}", (rule.schedule,)
        elif miss is Miss.DESTINATION:
            place = f" is in {', '.join(self._target)}" if self._target else ""
            found, wanted = f"{self._asked_for()}{place}", rule.destination
        elif miss is Miss.CONTENT:
            found, wanted = self._content(), rule.content_types
        else:
            groups = tuple(f"group {group}" for group in rule.groups)
            users = tuple(name for name in rule.users if not (groups and name == "any"))
            found, wanted = f"the client is {asked.user or 'nobody'}", (*users, *groups)
        return f"{miss.value}: {found}, not {' or '.join(wanted)}"

    def _asked_for(self) -> str:
        asked = self._asked
        host = asked.resolved or asked.destination.host
        return host if asked.web is None else f"{asked.web.url} at {host}" if asked.resolved else str(asked.web.url)

    def _content(self) -> str:
        web = self._asked.web
        if web is None:
            return "it is no plain HTTP"
        return f"the response is {web.content}" if web.content else "the response says no type"


def in_words(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that say what :meth:`Explainer.explain` has returned."""
    asked, decision = told["asked"], told["decision"]
    user = f" as {asked['user']}" if asked["user"] else ""
    address = f" at {asked['address']}" if asked["address"] and asked["address"] not in asked["destination"] else ""
    yield f"{asked['source']}{user} to {asked['destination']}{address}, {asked['transport']}, {asked['time']}"
    place = f"; to {', '.join(asked['destination_networks'])}" if asked["destination_networks"] else ""
    yield f"  {asked['protocol']}; from {', '.join(asked['source_networks'])}{place}"
    if asked["url"]:
        content = f", answered with {asked['content_type'] or 'no type'}" if asked["content_type"] is not None else ""
        yield f"  for {asked['url']}{content}"
    if told["network_rules"]["words"]:
        yield f"  {told['network_rules']['words']}"
    for rule in told["rules"]:
        where = f"{rule['place']}: " if rule["place"] else ""
        yield f"  {where}{'system ' * rule['system']}{'shadow ' * rule['shadow']}rule {rule['rule']!r}: {rule['words']}"
    if decision["allowed"]:
        yield f"allowed by rule {decision['rule']!r}"
        yield f"  way out: {decision['upstream'] or 'straight'}; filters: {', '.join(decision['filters']) or 'none'}"
        yield f"  log: {'yes' if decision['log'] else 'no'}"
    elif decision["needs_resolution"]:
        yield f"not decided before the name is resolved: {decision['reason']}"
    else:
        yield f"denied, {decision['result']}: {decision['reason']}"
    if decision["needs_user"]:
        yield "  a client that authenticates itself may be allowed"
