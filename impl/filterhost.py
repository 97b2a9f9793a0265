"""One configured filter: its object, its state, and the guarded calls of its life cycle (behaviour topic 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from fwx.impl.boundary import attempt
from fwx.impl.caller import STARTS_TASKS
from fwx.impl.fault import shown
from fwx.interfaces import IFWXSessionFilter
from fwx.interfaces.hresult import E_NOTIMPL, E_UNEXPECTED, COMError
from fwx.interfaces.structs import FwxFilterHookEvents

if TYPE_CHECKING:
    from uuid import UUID

    from fwx.impl.fault import FaultReporter
    from fwx.interfaces import IFWXFilter, IFWXFirewall, IFWXSession

State = Literal["new", "ready", "failed", "stopped"]


class FilterFault(Exception):
    """A filter failed; carries the words for the log. The fault has been reported already."""


class FilterHost:
    """Holds one filter: one instance, one CLSID, one name (B1.4).

    :ivar everywhere: it sees every connection, not only those of the rules that name it.
    :ivar opens_on_error: a fault lets the connection through instead of ending it.
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
        "state",
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

    @property
    def is_being_called(self) -> bool:
        """Whether it is attaching to a session, or handles an event, at this moment; on the loop thread."""
        return self._calls > 0

    @property
    def module(self) -> str:
        """The name of the module that the filter's class is in; empty where it was never made."""
        return "" if self._filter is None else type(self._filter).__module__

    @property
    def complaint(self) -> str:
        """Why what it should see is refused, in words for the log; of a filter that is not ready."""
        return f"filter {self.name!r} is {self.state}" + (f": {self.reason}" if self.reason else "")

    def start(self, firewall: IFWXFirewall) -> None:
        """Make the filter and initialise it (B1.3, B1.6); a fault makes it *failed* and is reported, not raised."""
        made, error = attempt(self, "_factory")
        events: Any = None
        if error is None and made is not None:
            self._filter = made
            token = STARTS_TASKS.set(self)
            try:
                events, error = attempt(made, "FilterInit", firewall)
            finally:
                STARTS_TASKS.reset(token)
        if error is None and not (isinstance(events, FwxFilterHookEvents) and isinstance(events.dwGlobalEvents, int)):
            error = COMError(E_UNEXPECTED, f"FilterInit returned {shown(events)}, not FwxFilterHookEvents with a mask")
        if error is not None:
            self.state = "failed"
            self.reason = self._faults.report(self.name, "FilterInit", error)
            return
        self.mask = int(events.dwGlobalEvents)
        self.state = "ready"

    def stop(self) -> None:
        """Tell the filter that the service stops (B1.39), once; :meth:`release` follows."""
        if self.state == "ready" and self._filter is not None:
            self.call(self._filter, "FilterShutdown")
        if self.state != "failed":
            self.state = "stopped"

    def release(self) -> None:
        """Let go of the filter object; called when it has been stopped and its session filters are detached (B1.40)."""
        self._filter = None

    def attach(self, session: IFWXSession) -> tuple[IFWXSessionFilter, int]:
        """Have the filter make its session filter (B1.17, B1.18); return it with the mask of its events.

        :raises FilterFault: the filter failed, or made nothing that is a session filter.
        """
        assert self._filter is not None
        events = FwxFilterHookEvents(self.mask)
        session_filter, error = self._attempt(self._filter, "AttachToSession", session, events)
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
        result, error = self._attempt(session_filter, "FirewallEventHandler", event)
        if error is not None and result != E_NOTIMPL:
            raise FilterFault(self._faults.report(self.name, "FirewallEventHandler", error)) from error

    def _attempt(self, target: object, name: str, *args: Any) -> tuple[Any, BaseException | None]:
        self._calls += 1
        try:
            return attempt(target, name, *args)
        finally:
            self._calls -= 1

    def call(self, target: object, name: str) -> str:
        """Call the method *name* of an object of this filter; return the words of its fault, or nothing."""
        _, error = attempt(target, name)
        return "" if error is None else self._faults.report(self.name, name, error)

    def failed(self, method: str, error: BaseException) -> str:
        """Report a fault that somebody else met in an object of this filter; return the words for the log."""
        return self._faults.report(self.name, method, error)
