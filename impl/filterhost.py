"""One configured filter: its object, its state, and the guarded calls of its life cycle (behaviour topic 1)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

from fwx.impl.blocking import IBlocking
from fwx.impl.boundary import attempt
from fwx.impl.caller import STARTS_TASKS
from fwx.impl.course import Course, proceed
from fwx.impl.fault import shown
from fwx.interfaces import IFWXSessionFilter
from fwx.interfaces.hresult import E_NOINTERFACE, E_NOTIMPL, E_UNEXPECTED, FWX_E_TERMINATING, COMError
from fwx.interfaces.structs import FwxFilterHookEvents

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from fwx.impl.course import Pending
    from fwx.impl.fault import FaultReporter
    from fwx.impl.strand import Outcome, Strand
    from fwx.interfaces import COMInterfaceClass, IFWXFilter, IFWXPerRuleDataplugin, IFWXSession

logger = logging.getLogger("fwx.filterhost")

State = Literal["new", "ready", "failed", "stopped"]


class FilterFault(Exception):
    """A filter failed; carries the words for the log. The fault has been reported already."""


class FilterHost:
    """Holds one filter: one instance, one CLSID, one name (B1.4).

    :ivar everywhere: it sees every connection, not only those of the rules that name it.
    :ivar opens_on_error: a fault lets the connection through instead of ending it.
    :ivar rule_data: its objects by the names of the rules (B7.12), which the events carry; ``None`` of a filter that
        has no data of rules. Set by :class:`fwx.impl.ruledata.RuleData`.
    :ivar strand: of a blocking filter the calls that belong to no session, ``FilterInit`` for one; ``None`` of one that
        is called on the loop thread.
    """

    __slots__ = (
        "_calls",
        "_factory",
        "_faults",
        "_filter",
        "clsid",
        "everywhere",
        "mask",
        "name",
        "opens_on_error",
        "reason",
        "rule_data",
        "state",
        "strand",
    )

    def __init__(
        self, name: str, clsid: UUID, factory: Any, faults: FaultReporter, *, everywhere: bool, opens_on_error: bool
    ) -> None:
        """*factory* takes no argument and makes the filter object; it is called by :meth:`start`."""
        self.name = name
        self.clsid = clsid
        self.everywhere = everywhere
        self.opens_on_error = opens_on_error
        self.mask = 0
        self.state: State = "new"
        self.reason = ""
        self._factory = factory
        self._faults = faults
        self._filter: IFWXFilter | None = None
        self._calls = 0
        self.strand: Strand | None = None
        self.rule_data: Mapping[str, IFWXPerRuleDataplugin] | None = None

    @property
    def is_blocking(self) -> bool:
        """Whether its objects are called on threads of the pool; known once it has been made."""
        return self.strand is not None

    @property
    def is_being_called(self) -> bool:
        """Whether it is attaching to a session, or handles an event, at this moment, on the loop thread."""
        return self._calls > 0

    @property
    def module(self) -> str:
        """The name of the module that the filter's class is in; empty where it was never made."""
        return "" if self._filter is None else type(self._filter).__module__

    @property
    def complaint(self) -> str:
        """Why what it should see is refused, in words for the log; of a filter that is not ready."""
        return f"filter {self.name!r} is {self.state}" + (f": {self.reason}" if self.reason else "")

    def start(self, firewall: Any) -> Course[None]:
        """Make the filter and initialise it (B1.3, B1.6); a fault makes it *failed* and is reported, not raised.

        The object is made here; ``FilterInit`` of a blocking filter is called on a thread, and has not returned when
        this has.

        :param firewall: the service's :class:`~fwx.impl.firewall.FWXFirewall`.
        """
        return proceed(self._start(firewall))

    async def _start(self, firewall: Any) -> None:
        made, error = attempt(self, "_factory")
        events: Any = None
        if error is None and made is not None:
            self._filter = made
            if IBlocking.providedBy(made):
                self.strand = firewall.engine.strands.strand(self)
            events, error = await self.ask(made, "FilterInit", firewall)
        if error is None and not (isinstance(events, FwxFilterHookEvents) and isinstance(events.dwGlobalEvents, int)):
            error = COMError(E_UNEXPECTED, f"FilterInit returned {shown(events)}, not FwxFilterHookEvents with a mask")
        if error is not None:
            self.state = "failed"
            self.reason = self._faults.report(self.name, "FilterInit", error)
            return
        self.mask = int(events.dwGlobalEvents)
        self.state = "ready"

    def stop(self) -> Course[None]:
        """Tell the filter that the service stops (B1.39), once; :meth:`release` follows.

        The course of a blocking filter ends when it knows.
        """
        return proceed(self._stop())

    async def _stop(self) -> None:
        state, made = self.state, self._filter
        if state != "failed":
            self.state = "stopped"
        if state == "ready" and made is not None:
            if self.strand is None:
                self.call(made, "FilterShutdown")
            else:
                _, error = await self.strand.ask(made, "FilterShutdown")
                if error is not None:
                    self._faults.report(self.name, "FilterShutdown", error)

    async def give_up(self, words: str) -> None:
        """Be *failed*, for the reason *words*: it has been initialised, and cannot serve after all. It is shut down."""
        await self._stop()
        self.state, self.reason = "failed", words

    async def face(self, interface: COMInterfaceClass) -> Any:
        """Return an optional interface of the filter object, ``None`` where it has not got it.

        :raises FilterFault: ``QueryInterface`` failed otherwise.
        """
        made = self._filter
        if made is None or interface.providedBy(made):
            return made
        face, error = await self.ask(made, "QueryInterface", interface)
        if error is None or (isinstance(error, COMError) and error.hresult == E_NOINTERFACE):
            return face
        raise FilterFault(self._faults.report(self.name, "QueryInterface", error)) from error

    async def ask(self, target: object, name: str, *args: Any) -> Outcome:
        """Call the method *name* of an object of this filter that belongs to no session; return what came of it.

        Those of one filter come one after the other, ``FilterInit`` and ``FilterShutdown`` among them.
        """
        if self.strand is not None:
            return await self.strand.ask(target, name, *args)
        token = STARTS_TASKS.set(self)
        try:
            return attempt(target, name, *args)
        finally:
            STARTS_TASKS.reset(token)

    def release(self) -> None:
        """Let go of what the filter has made; called when it has been stopped, its session filters detached (B1.40)."""
        self._filter = self.rule_data = None

    def attach(self, session: IFWXSession) -> tuple[IFWXSessionFilter, int]:
        """Have the filter make its session filter (B1.17, B1.18); return it with the mask of its events.

        :raises FilterFault: the filter failed, or made nothing that is a session filter.
        """
        assert self._filter is not None
        events = FwxFilterHookEvents(self.mask)
        session_filter, error = self._attempt(self._filter, "AttachToSession", session, events)
        return self._attached(session_filter, error, events)

    async def attach_by(self, strand: Strand, session: IFWXSession) -> tuple[IFWXSessionFilter, int]:
        """Do :meth:`attach` of a blocking filter, on *strand*, the session's."""
        assert self._filter is not None
        events = FwxFilterHookEvents(self.mask)
        session_filter, error = await strand.ask(self._filter, "AttachToSession", session, events)
        return self._attached(session_filter, error, events)

    def _attached(
        self, session_filter: Any, error: BaseException | None, events: FwxFilterHookEvents
    ) -> tuple[IFWXSessionFilter, int]:
        if error is None and (session_filter is None or not IFWXSessionFilter.providedBy(session_filter)):
            error = COMError(
                E_UNEXPECTED, f"AttachToSession returned {shown(session_filter)}, not an IFWXSessionFilter"
            )
        if error is None and not isinstance(events.dwGlobalEvents, int):
            error = COMError(E_UNEXPECTED, f"AttachToSession set the mask to {shown(events.dwGlobalEvents)}")
        if error is not None:
            raise FilterFault(self._faults.report(self.name, "AttachToSession", error)) from error
        return session_filter, int(events.dwGlobalEvents)

    def handle(self, session_filter: IFWXSessionFilter, event: Any) -> None:
        """Give *event* to the session filter; only a returned ``E_NOTIMPL`` means that it does not handle it.

        :raises FilterFault: it raised, or returned another failure.
        """
        self._handled(*self._attempt(session_filter, "FirewallEventHandler", event))

    async def handle_by(
        self, strand: Strand, session_filter: IFWXSessionFilter, event: Any, has_ended: Callable[[], bool] = bool
    ) -> None:
        """Do :meth:`handle` of a blocking filter, on *strand*, the session's.

        *has_ended* tells whether what the event is about has ended meanwhile: it is no fault to have met that.
        """
        result, error = await strand.ask(session_filter, "FirewallEventHandler", event)
        if has_ended() and tells_of_the_end(error):
            logger.debug("filter %r was interrupted by the end of a connection: %s", self.name, error)
        else:
            self._handled(result, error)

    def _handled(self, result: Any, error: BaseException | None) -> None:
        if error is not None and result != E_NOTIMPL:
            raise FilterFault(self._faults.report(self.name, "FirewallEventHandler", error)) from error

    def _attempt(self, target: object, name: str, *args: Any) -> Outcome:
        self._calls += 1
        try:
            return attempt(target, name, *args)
        finally:
            self._calls -= 1

    def call(self, target: object, name: str) -> str:
        """Call the method *name* of an object of this filter; return the words of its fault, or nothing."""
        _, error = attempt(target, name)
        return "" if error is None else self._faults.report(self.name, name, error)

    def detach_by(self, strand: Strand, target: object) -> Pending[Outcome]:
        """Have ``Detach`` of an object of a blocking filter called on *strand*, behind what was posted there before.

        A fault is reported; what is returned settles when it is over.
        """
        pending = strand.ask(target, "Detach")
        pending.when_settled(lambda: self._detached(pending))
        return pending

    def _detached(self, pending: Pending[Outcome]) -> None:
        _, error = pending.outcome
        if error is not None:
            self._faults.report(self.name, "Detach", error)

    def failed(self, method: str, error: BaseException) -> str:
        """Report a fault that somebody else met in an object of this filter; return the words for the log."""
        return self._faults.report(self.name, method, error)


def tells_of_the_end(error: BaseException | None) -> bool:
    """Tell whether *error* is what calls raise once a connection has ended, perhaps while a thread works for it."""
    return isinstance(error, COMError) and error.hresult == FWX_E_TERMINATING
