"""The session filters of a session: made once, asked for by its events, detached with it (B1.17 to B1.23)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from uuid import UUID

from fwx.impl.course import Pending, proceed
from fwx.impl.filterhost import FilterFault
from fwx.impl.sessionrequests import SessionRequests
from fwx.interfaces.enums import fwxAssociatedProtocolsAllConnections
from fwx.interfaces.hresult import E_UNEXPECTED, FWX_E_TERMINATING, REGDB_E_CLASSNOTREG, COMError

if TYPE_CHECKING:
    from fwx.impl.engine import Engine
    from fwx.impl.filterhost import FilterHost
    from fwx.impl.strand import Outcome, Strand
    from fwx.interfaces import FwxFirewallEventSource, IFWXSessionFilter

logger = logging.getLogger("fwx.session")


class HasSessionFilters(SessionRequests):
    """A session as far as its filters go; the calls of a blocking one for this session come one at a time."""

    __slots__ = ("_attaching", "_filters", "_strands")

    # Of the session.
    engine: Engine
    source: FwxFirewallEventSource
    terminated: bool

    def __init__(self) -> None:
        self._filters: dict[FilterHost, tuple[IFWXSessionFilter, int]] = {}
        # Of blocking filters: those that are just being attached, and the calls for this session.
        self._attaching: dict[FilterHost, Pending[None]] = {}
        self._strands: dict[FilterHost, Strand] = {}

    def session_filter(self, host: FilterHost, event_type: int, secondary: bool = False) -> IFWXSessionFilter | None:
        """Return *host*'s session filter if this event is for it, made now if this is the first such event (B1.17).

        :param secondary: whether it is an event of a secondary connection.
        :raises FilterFault: AttachToSession failed; the next event tries again.
        """
        attached = self._filters.get(host)
        if attached is None:
            if not wants(host.mask, event_type, self.source, secondary):
                return None
            attached = self._filters[host] = host.attach(self._session)
        session_filter, mask = attached
        return session_filter if wants(mask, event_type, self.source, secondary) else None

    def sees(self, host: FilterHost, event_type: int, secondary: bool = False) -> bool:
        """Tell whether this event is for *host*, as :meth:`session_filter` does, which may attach it for that."""
        attached = self._filters.get(host)
        return wants(host.mask if attached is None else attached[1], event_type, self.source, secondary)

    async def session_filter_by_thread(
        self, host: FilterHost, event_type: int, secondary: bool = False
    ) -> IFWXSessionFilter | None:
        """Do :meth:`session_filter` of a blocking filter, whose ``AttachToSession`` runs on a thread, once (B1.17)."""
        if host not in self._filters and not wants(host.mask, event_type, self.source, secondary):
            return None
        session_filter, mask = await self.attach_by_thread(host)
        return session_filter if wants(mask, event_type, self.source, secondary) else None

    async def attach_by_thread(self, host: FilterHost) -> tuple[IFWXSessionFilter, int]:
        """Return the session filter of *host*, a blocking filter, and its mask; made now if there is none.

        :raises FilterFault: AttachToSession failed, or the session has ended meanwhile.
        """
        while host in self._attaching:
            await self._attaching[host]
        attached = self._filters.get(host)
        if attached is not None:
            return attached
        pending = self._attaching[host] = Pending()
        try:
            attached = await host.attach_by(self.strand(host), self._session)
            if self.terminated:
                host.detach_by(self.strand(host), attached[0])
                raise FilterFault(f"the session ended while filter {host.name!r} was being attached")
            self._filters[host] = attached
        finally:
            del self._attaching[host]
            self.engine.queue.post(pending.settle, None)  # behind the event that it was attached for
        return attached

    def strand(self, host: FilterHost) -> Strand:
        """Return the strand of the calls that *host*, a blocking filter, gets for this session."""
        strand = self._strands.get(host)
        if strand is None:
            strand = self._strands[host] = self.engine.strands.strand(host)
        return strand

    def host_of(self, session_filter: object) -> FilterHost | None:
        """Return the filter whose session filter here is *session_filter*."""
        return next((host for host, (attached, _) in self._filters.items() if attached is session_filter), None)

    @property
    def attached_hosts(self) -> list[FilterHost]:
        """The filters that have a session filter here, or are just making one."""
        return [*self._filters, *self._attaching]

    @property
    def has_filters(self) -> bool:
        """Whether there is a session filter, or one is just being made."""
        return bool(self._filters or self._attaching)

    def attached_filters(self, event_type: int) -> list[tuple[FilterHost, IFWXSessionFilter]]:
        """Return the session filters there are that asked for *event_type*; none is made for it."""
        return [
            (host, session_filter)
            for host, (session_filter, mask) in self._filters.items()
            if wants(mask, event_type, self.source)
        ]

    def release(self, host: FilterHost) -> Pending[Outcome] | None:
        """Detach the session filter of *host*, which has no more connections here.

        Returns what settles when a blocking filter has been detached.
        """
        attached = self._filters.pop(host, None)
        detaching = None if attached is None else self._detach(host, attached[0])
        self._strands.pop(host, None)
        return detaching

    def _detach(self, host: FilterHost, session_filter: IFWXSessionFilter) -> Pending[Outcome] | None:
        if host.is_blocking:
            return host.detach_by(self.strand(host), session_filter)
        host.call(session_filter, "Detach")
        return None

    def _detach_all(self) -> None:
        attached, self._filters = self._filters, {}
        for host, (session_filter, _) in attached.items():
            self._detach(host, session_filter)

    def _attach_filter(self, guidFilter: UUID) -> None:
        if self.terminated:
            raise COMError(FWX_E_TERMINATING, "the session has ended")
        host = next((host for host in self.engine.filters if host.clsid == guidFilter and host.state == "ready"), None)
        if host is None:
            raise COMError(REGDB_E_CLASSNOTREG, f"no running filter has the CLSID {guidFilter}")
        if host in self._filters:
            return
        if host.is_blocking:
            proceed(self.attach_by_thread(host), _reported)
            return
        try:
            self._filters[host] = host.attach(self._session)
        except FilterFault as fault:
            cause = fault.__cause__
            raise cause if isinstance(cause, COMError) else COMError(E_UNEXPECTED, str(fault)) from fault


def _reported(error: Exception) -> None:
    """A filter that was asked for by another one could not be attached: the fault has been reported."""
    if not isinstance(error, FilterFault):
        raise error
    logger.debug("AttachFilter: %s", error)


def wants(mask: int, event_type: int, source: int, secondary: bool = False) -> bool:
    """Tell whether a mask of events asks for this type from this source (B2.5), on secondary connections too (B2.4)."""
    return bool(mask & event_type and mask & source and (not secondary or mask & fwxAssociatedProtocolsAllConnections))
