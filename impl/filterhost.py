"""One configured filter: its object, its state, and the guarded calls of its life cycle (behaviour topic 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from fwx.impl.boundary import failing_result
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

    def start(self, firewall: IFWXFirewall) -> None:
        """Make the filter and initialise it (B1.3, B1.6); a fault makes it *failed* and is reported, not raised."""
        try:
            self._filter = self._factory()
            result: Any = self._filter.FilterInit(firewall)
            failure = failing_result(result)
            if failure is not None:
                raise COMError(failure, "returned by FilterInit")
            if not isinstance(result, FwxFilterHookEvents):
                raise COMError(E_UNEXPECTED, f"FilterInit returned {result!r}, not FwxFilterHookEvents")
        except Exception as error:  # noqa: BLE001  a filter may raise anything
            self.state = "failed"
            self.reason = self._faults.report(self.name, "FilterInit", error)
            return
        self.mask = int(result.dwGlobalEvents)
        self.state = "ready"

    def stop(self) -> None:
        """Tell the filter that the service stops (B1.39), once."""
        if self.state == "ready" and self._filter is not None:
            self.call("FilterShutdown", self._filter.FilterShutdown)
        if self.state != "failed":
            self.state = "stopped"
        self._filter = None

    def attach(self, session: IFWXSession) -> tuple[IFWXSessionFilter, int]:
        """Have the filter make its session filter (B1.17, B1.18); return it with the mask of its events.

        :raises FilterFault: the filter failed, or made nothing that is a session filter.
        """
        assert self._filter is not None
        events = FwxFilterHookEvents(self.mask)
        try:
            session_filter: Any = self._filter.AttachToSession(session, events)
            failure = failing_result(session_filter)
            if failure is not None:
                raise COMError(failure, "returned by AttachToSession")
            if session_filter is None or not IFWXSessionFilter.providedBy(session_filter):
                raise COMError(E_UNEXPECTED, f"AttachToSession returned {session_filter!r}, not an IFWXSessionFilter")
        except Exception as error:
            raise FilterFault(self._faults.report(self.name, "AttachToSession", error)) from error
        return session_filter, int(events.dwGlobalEvents)

    def handle(self, session_filter: IFWXSessionFilter, event: Any) -> None:
        """Give *event* to the session filter; only a returned ``E_NOTIMPL`` means that it does not handle it.

        :raises FilterFault: it raised, or returned another failure.
        """
        try:
            result = session_filter.FirewallEventHandler(event)
            failure = failing_result(result)
            if failure is not None and failure != E_NOTIMPL:
                raise COMError(failure, "returned by FirewallEventHandler")
        except Exception as error:
            raise FilterFault(self._faults.report(self.name, "FirewallEventHandler", error)) from error

    def call(self, name: str, method: Any, *args: Any) -> str:
        """Call a method of an object of this filter; return the words of its fault, or nothing."""
        try:
            failure = failing_result(method(*args))
            if failure is not None:
                raise COMError(failure, f"returned by {name}")
        except Exception as error:  # noqa: BLE001  a filter may raise anything
            return self._faults.report(self.name, name, error)
        return ""

    def failed(self, method: str, error: BaseException) -> str:
        """Report a fault that somebody else met in an object of this filter; return the words for the log."""
        return self._faults.report(self.name, method, error)
