"""How a connection shows its events to the filters: in order, and to those that block on their threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwx.impl.course import Pending
from fwx.impl.event import CARRY_RULE_DATA, with_rule_data
from fwx.impl.filterhost import FilterFault, FilterHost
from fwx.impl.restriction import Restrictable
from fwx.interfaces.hresult import (
    E_UNEXPECTED,
    FWX_E_FILTER_NOT_REGISTERED,
    HRESULT_FROM_WIN32,
    S_OK,
    COMError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from fwx.impl.chain import Member
    from fwx.impl.datafilterfactory import DataFilterFactory
    from fwx.impl.emulation import Emulation
    from fwx.impl.logrecord import Action
    from fwx.impl.policy import Verdict
    from fwx.impl.session import FWXSession
    from fwx.interfaces import SocketAddress
    from fwx.interfaces.structs import FwxFirewallEvent


class _Once:
    """Makes an event for the first filter that is to see it, and is that event for all."""

    __slots__ = ("_event", "_make")

    def __init__(self, make: Callable[[], FwxFirewallEvent]) -> None:
        self._make = make
        self._event: FwxFirewallEvent | None = None

    def __call__(self) -> FwxFirewallEvent:
        event = self._event
        if event is None:
            event = self._event = self._make()
        return event

    def shown_to(self, host: FilterHost, event_type: int, rule: str) -> FwxFirewallEvent:
        """Return the event for *host*: one of its own where it has data of *rule*, which no other sees (B7.13)."""
        data = host.rule_data
        own = None if data is None or not event_type & CARRY_RULE_DATA else data.get(rule)
        return self() if own is None else with_rule_data(self._make(), own)


class ShowsEvents(Restrictable):
    """A connection as far as its events go; one event is shown to all filters before the next one is."""

    __slots__ = ("_attaching", "_denied_by", "_event_type", "_leaving", "_members", "_reason", "_result", "_round")

    # Of the connection.
    emulation: Emulation | None
    filters: tuple[FilterHost, ...]
    is_secondary: bool
    session: FWXSession
    terminating: bool
    verdict: Verdict

    def __init__(self) -> None:
        self._event_type = 0
        self._attaching: FilterHost | None = None
        # While a blocking filter is shown an event of this connection: the next event waits, and so does the end.
        self._round: Pending[None] | None = None
        self._leaving: Action | None = None
        self._denied_by = ""
        self._members: list[Member] = []
        self._result: int = S_OK
        self._reason = ""

    def adopt(self, host: FilterHost) -> None:
        """Be a connection of *host* from now on, where another of its CLSID was meant."""
        raise NotImplementedError

    def _finish(self, action: Action) -> None:
        raise NotImplementedError

    def is_for_nobody(self, hosts: Collection[FilterHost], event_type: int, *, secondary: bool = False) -> bool:
        """Tell whether :meth:`raise_event` has nothing to do but to say that what it is about may go on.

        ``False`` also where that cannot be told without waiting.
        """
        engine = self.engine
        if self._round is not None or self.filters is not engine.filters or engine.factories.are_set:
            return False
        if not hosts:
            return True
        if self.terminating or self._denied_by:
            return False
        sees, secondary = self.session.sees, secondary or self.is_secondary
        return all(host.state == "ready" and not sees(host, event_type, secondary) for host in hosts)

    async def raise_event(
        self,
        hosts: Iterable[FilterHost],
        event_type: int,
        make: Callable[[], FwxFirewallEvent],
        denial: int,
        *,
        secondary: bool = False,
        at: Iterable[SocketAddress] = (),
        rule: str | None = None,
    ) -> bool:
        """Show an event to the filters, in order; tell whether what it is about may go on.

        Then the data filters are made that were asked for in advance for something *at* one of these addresses; the
        handlers of those who asked are not called (B2.41).

        Of a *secondary* connection, or of what is secondary in this one, those hear who have asked for that (B2.4).

        Otherwise :attr:`result` says why: *denial* is the Winsock error that stands for a filter's ``Deny`` (B2.37).
        *make* makes the event, for the first filter that is to see it. Where none of the filters blocks, this does not
        wait. *rule* is the one that matched, the connection's if it is not given.
        """
        while self._round is not None:
            await self._round
            if self.terminating:
                return False
        try:
            matched = self.verdict.rule if rule is None else rule
            return await self._show_event(hosts, event_type, make, denial, secondary or self.is_secondary, at, matched)
        finally:
            self._end_round()

    async def _show_event(
        self,
        hosts: Iterable[FilterHost],
        event_type: int,
        make: Callable[[], FwxFirewallEvent],
        denial: int,
        secondary: bool,
        at: Iterable[SocketAddress],
        rule: str,
    ) -> bool:
        event = _Once(make)
        before = frozenset(self._members)
        factories = self.engine.factories.serving(self.session, event_type, at)
        served = [factory.host.clsid for factory in factories]
        if self.filters is not self.engine.filters:
            hosts = map(self._own, hosts)
        for host in hosts:
            if host.clsid in served:
                continue
            if host.state != "ready":
                if not self._passes_failed(host):
                    return False
                continue
            try:
                if host.strand is not None:
                    await self._tell_by_thread(host, event_type, event, secondary, rule)
                else:
                    session_filter = self.session.session_filter(host, event_type, secondary)
                    if session_filter is not None:
                        shown = event.shown_to(host, event_type, rule)
                        self._event_type, self._attaching = event_type, host
                        host.handle(session_filter, shown)
            except FilterFault as fault:
                self._forget_members_of(host, before)
                if not host.opens_on_error:
                    self._result, self._reason = E_UNEXPECTED, str(fault)
                    return False
            finally:
                self._event_type, self._attaching = 0, None
            if self._denied_by:
                self._result = HRESULT_FROM_WIN32(denial)
                self._reason = f"denied by filter {self._denied_by!r}"
                return False
            if self.terminating:
                return False
        for factory in factories:
            if not await self._attach_made(factory):
                return False
        return True

    async def _tell_by_thread(
        self, host: FilterHost, event_type: int, event: _Once, secondary: bool, rule: str
    ) -> None:
        """Show the event to a blocking filter, if it is for it. :raises FilterFault: it failed."""
        session = self.session
        self._begin_round()
        session_filter = await session.session_filter_by_thread(host, event_type, secondary)
        if session_filter is not None and not self.terminating:
            shown = event.shown_to(host, event_type, rule)
            self._event_type, self._attaching = event_type, host
            await host.handle_by(session.strand(host), session_filter, shown, lambda: self.terminating)

    def _begin_round(self) -> None:
        """A blocking filter is about to be shown an event."""
        if self._round is None:
            self._round = Pending()

    def _end_round(self) -> None:
        """The event has been shown to all: let what waited for that go on."""
        ended, self._round = self._round, None
        leaving, self._leaving = self._leaving, None
        if ended is not None:
            self.engine.queue.post(ended.settle, None)
        if leaving is not None:
            self.engine.queue.post(self._finish, leaving)

    async def _attach_made(self, factory: DataFilterFactory) -> bool:
        """Attach what *factory* makes; tell whether the connection may go on."""
        self.adopt(factory.host)
        if factory.host.is_blocking:
            self._begin_round()
        try:
            made = await factory.make()
            if self.terminating:
                return False
            self._attach(made, factory.priority, factory.context, factory.host)
        except FilterFault as fault:
            words = str(fault)
        except COMError as error:  # what it made is attached already
            words = factory.host.failed("CreateInstance", error)
        else:
            return True
        if not factory.host.opens_on_error:
            self._result, self._reason = E_UNEXPECTED, words
        return factory.host.opens_on_error

    def _own(self, host: FilterHost) -> FilterHost:
        """Return the filter of *host*'s CLSID that this connection has."""
        if host in self.filters:
            return host
        return next((each for each in self.filters if each.clsid == host.clsid), host)

    def _passes_failed(self, host: FilterHost) -> bool:
        if host.opens_on_error:
            return True
        self._result = FWX_E_FILTER_NOT_REGISTERED
        self._reason = host.complaint
        return False

    def _forget_members_of(self, host: FilterHost, before: frozenset[Member]) -> None:
        """Take what a failing handler attached out of the chain again; detached like every attached filter.

        *before* are those that had been attached in earlier events.
        """
        for member in [member for member in self._members if member.host is host and member not in before]:
            self._members.remove(member)
            member.detach()
        if self.emulation is not None and self.emulation.host is host:
            self.emulation = None

    @property
    def _handler(self) -> FilterHost | None:
        """The filter whose handler of this connection's event makes the call that is being answered, if one does.

        That of a blocking filter runs on a thread, while the loop thread answers others.
        """
        host = self._attaching
        if host is None or not host.is_blocking:
            return host
        acting = self.engine.queue.acting
        return host if acting is self.session.strand(host) else None
