"""The data that filters have for each rule, and what they are told when the rules have changed (B7.12 to B7.15)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from fwx.impl.course import Course, proceed
from fwx.impl.fault import shown
from fwx.impl.filterhost import FilterFault, FilterHost
from fwx.impl.policyrule import FPCPolicyRule
from fwx.interfaces import IFWXPerRuleData, IFWXPerRuleDataplugin, IFWXPolicyChangeNotification
from fwx.interfaces.hresult import E_UNEXPECTED, S_FALSE, S_OK, COMError

if TYPE_CHECKING:
    from fwx.impl.engine import Engine
    from fwx.impl.policy import Policy

ByRule: TypeAlias = Mapping[str, IFWXPerRuleDataplugin]
"""One filter's objects, by the names of the rules."""


class RuleDataError(Exception):
    """Filters could not make their data of a policy. The faults have been reported already.

    :ivar failures: what failed, in words, by the names of these filters.
    """

    def __init__(self, failures: Mapping[str, str]) -> None:
        self.failures = failures
        super().__init__("; ".join(failures.values()))


@dataclass(frozen=True, slots=True)
class PreparedRuleData:
    """What the filters have made for *policy*; nothing of it is in force yet."""

    policy: Policy
    _made: tuple[tuple[FilterHost, ByRule | None], ...]

    def enforce(self) -> None:
        """Have the events carry this from now on; to be called in the step that puts the policy in force."""
        for host, data in self._made:
            host.rule_data = data


class RuleData:
    """Asks the filters of a service for their data of rules; called by the host, on the loop thread.

    Whoever changes the policy or exchanges a filter does so one at a time. What is returned is a course, since the
    calls of a blocking filter are made on its thread; a service waits for it with ``fwx.courses.ended``.

    :ivar asking: the name of the filter that :meth:`prepare` or :meth:`notify` has asked last, for who waits no more.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.asking = ""

    def begin(self, host: FilterHost) -> Course[None]:
        """Prepare the data of *host*, which has just been initialised, for the policy in force, and put it in force.

        Called at the start of the service, before clients are let in, and for a filter's new code. A fault makes the
        filter *failed*, as if ``FilterInit`` had failed: what names it is denied unless its configuration says
        ``on_error = "open"``. It is told by ``FilterShutdown``.
        """
        return proceed(self._begin(host))

    async def _begin(self, host: FilterHost) -> None:
        if host.state != "ready":
            return
        try:
            data = await _prepared(host, self._engine.policy)
        except FilterFault as fault:
            await host.give_up(str(fault))
        else:
            host.rule_data = data

    def prepare(self, policy: Policy, hosts: Iterable[FilterHost]) -> Course[PreparedRuleData]:
        """Have *hosts*, the filters that there will be, make their data for each rule of *policy* (B7.12), which is not
        in force yet. Every filter is asked, whether another one has failed or not. One that does not block is asked on
        the loop thread, and holds it up meanwhile.

        A filter's new object of a rule is compared with the one that it has had for the rule of that name: where it
        holds the same the old one stays (B7.14). A comparison that fails is reported, and counts as a difference. The
        filters of today that will only finish their connections, and the old code of others, are asked as well: what
        they fail in is reported, and they keep what they have.

        :returns: what :meth:`PreparedRuleData.enforce` puts in force; to be dropped if nothing comes of the policy.
        :raises RuleDataError: filters have failed; nothing has changed.
        """
        return proceed(self._prepare(policy, tuple(hosts)), _told_by_result)

    async def _prepare(self, policy: Policy, hosts: tuple[FilterHost, ...]) -> PreparedRuleData:
        made: list[tuple[FilterHost, ByRule | None]] = []
        failures: dict[str, str] = {}
        others = (each for each in (*self._engine.filters, *self._engine.retired) if each not in hosts)
        for host in (*hosts, *others):
            if host.state != "ready":
                continue
            self.asking = host.name
            try:
                made.append((host, await _prepared(host, policy)))
            except FilterFault as fault:
                if host in hosts:
                    failures[host.name] = str(fault)
        if failures:
            raise RuleDataError(failures)
        return PreparedRuleData(policy, tuple(made))

    def notify(self) -> Course[list[str]]:
        """Tell the filters that a change is in force (B7.15): ``ReloadConfiguration``, one filter after the other.

        Called when the service itself has changed. It is serialised with ``FilterInit`` and ``FilterShutdown`` of the
        same filter: all three are called on the loop thread, or by one strand of a filter that blocks.

        :returns: what failed, in words for who applied the change; each is reported as a fault too, and nothing is
            taken back.
        """
        return proceed(self._notify())

    async def _notify(self) -> list[str]:
        failures: list[str] = []
        for host in (*self._engine.filters, *self._engine.retired):
            self.asking = host.name
            try:
                await _told(host)
            except FilterFault as fault:
                failures.append(str(fault))
        return failures


def _told_by_result(error: Exception) -> None:
    """Nothing more: who waits for the data asks for the result, and each filter's fault has been reported.

    It may be that nobody waits any more. The service that stops settles what its filters have not come back from, and
    must not fail in the middle of that.
    """


async def _prepared(host: FilterHost, policy: Policy) -> ByRule | None:
    """Return the data of *host* for each rule, ``None`` where it has none of rules. :raises FilterFault: it failed."""
    maker = await host.face(IFWXPerRuleData)
    if maker is None:
        return None
    known, data = host.rule_data or {}, {}
    for order, rule in enumerate(policy.rules, 1):
        made, error = await host.ask(maker, "PrepareRulesData", FPCPolicyRule(rule, order))
        if error is None and made is not None and not IFWXPerRuleDataplugin.providedBy(made):
            words = f"PrepareRulesData returned {shown(made)}, not an IFWXPerRuleDataplugin"
            error = COMError(E_UNEXPECTED, words)
        if error is not None:
            words = host.failed("PrepareRulesData", error)
            raise FilterFault(f"{words} (rule {rule.name!r})") from error
        if made is not None:
            old = known.get(rule.name)
            data[rule.name] = old if old is not None and await _is_same(host, made, old) else made
    return data


async def _is_same(host: FilterHost, made: IFWXPerRuleDataplugin, old: IFWXPerRuleDataplugin) -> bool:
    """Ask *made* whether it holds the same as *old*, which the filter has made earlier (B7.14)."""
    if made is old:
        return True
    result, error = await host.ask(made, "CompareRulesData", old)
    if error is None and not _is_answer(result):
        error = COMError(E_UNEXPECTED, f"CompareRulesData returned {shown(result)}, not S_OK or S_FALSE")
    if error is not None:
        host.failed("CompareRulesData", error)
        return False
    return result is None or int(result) == int(S_OK)


def _is_answer(result: Any) -> bool:
    return result is None or (type(result) is not bool and isinstance(result, int) and int(result) in (S_OK, S_FALSE))


async def _told(host: FilterHost) -> None:
    """Have *host* read its configuration again, if it wants to. :raises FilterFault: it failed."""
    listener = await host.face(IFWXPolicyChangeNotification)
    if listener is None or host.state != "ready":
        return
    _, error = await host.ask(listener, "ReloadConfiguration")
    if error is not None:
        raise FilterFault(host.failed("ReloadConfiguration", error)) from error
