"""A client's look-up, shown to the filters before and after the resolution (B2.25 to B2.28)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from fwx.impl.filterhost import FilterFault
from fwx.impl.getxbyy import FWXGetXByY
from fwx.impl.hostentlayout import hostent_size
from fwx.interfaces import fwxSourceWSP
from fwx.interfaces.enums import fwx_GetHostByAddr, fwx_GetHostByName
from fwx.interfaces.hresult import E_UNEXPECTED, FWX_E_FILTER_NOT_REGISTERED, HRESULT_FROM_WIN32, WSAHOST_NOT_FOUND
from fwx.interfaces.structs import (
    FwxFirewallEvent,
    FwxFirewallEventParameters,
    FwxGetHostByAddrEvent,
    FwxGetHostByNameEvent,
)

if TYPE_CHECKING:
    from fwx.impl.engine import Question
    from fwx.impl.filterhost import FilterHost
    from fwx.impl.session import FWXSession
    from fwx.interfaces import Hostent

# The families of Winsock, which the event names.
_FAMILIES = {4: 2, 6: 23}


class Refusal(NamedTuple):
    """Why a look-up is refused: the HRESULT, and words for the log."""

    result: int
    reason: str


class NameEvents:
    """The two events of one look-up. Only those of Firewall clients raise any (B2.25).

    :ivar question: the name, or the address. :ivar answer: what a filter has answered; ``None`` where none has.
    """

    __slots__ = ("_hosts", "_session", "answer", "question")

    def __init__(self, session: FWXSession, hosts: Sequence[FilterHost], question: Question) -> None:
        """:param hosts: the filters that may see it. :param question: a name, or the address whose name is wanted."""
        self._session = session
        self._hosts = hosts if session.source == fwxSourceWSP else ()
        self.question = question
        self.answer: Hostent | None = None

    async def before(self) -> Refusal | None:
        """Raise the first event. There is nothing to resolve any more where *answer* is set afterwards."""
        return await self._show(True)

    async def after(self, host: Hostent | None) -> Refusal | None:
        """Raise the second event, for the answer *host*, ``None`` where the name service has none.

        *answer* is what the client is told afterwards: *host*, or what a filter has put in its place.
        """
        self.answer = host
        return await self._show(False)

    async def _show(self, before: bool) -> Refusal | None:
        for host in self._hosts:
            if host.state != "ready":
                if host.opens_on_error:
                    continue
                return Refusal(FWX_E_FILTER_NOT_REGISTERED, host.complaint)
            told = FWXGetXByY(isinstance(self.question, str), self.answer)
            try:
                await self._tell(host, told, before)
            except FilterFault as fault:
                if not host.opens_on_error:
                    return Refusal(E_UNEXPECTED, str(fault))
                told.answer = self.answer  # nothing that a failing handler set, but its refusal holds
            finally:
                told.invalidate()
            if told.denied:
                reason = f"looking up {self.question} was denied by filter {host.name!r}"
                return Refusal(HRESULT_FROM_WIN32(WSAHOST_NOT_FOUND), reason)
            self.answer = told.answer
        return None

    async def _tell(self, host: FilterHost, told: FWXGetXByY, before: bool) -> None:
        session = self._session
        if host.is_blocking:
            session_filter = await session.session_filter_by_thread(host, self._event_type)
            if session_filter is not None:
                await host.handle_by(session.strand(host), session_filter, self._event(told, before))
            return
        session_filter = session.session_filter(host, self._event_type)
        if session_filter is not None:
            host.handle(session_filter, self._event(told, before))

    @property
    def _event_type(self) -> int:
        return fwx_GetHostByName if isinstance(self.question, str) else fwx_GetHostByAddr

    def _event(self, told: FWXGetXByY, before: bool) -> FwxFirewallEvent:
        question, hostent = self.question, None if before else told.answer
        size = 0 if hostent is None else hostent_size(hostent)
        source = self._session.source
        if isinstance(question, str):
            by_name = FwxGetHostByNameEvent(question, hostent, size, before, piGetXByY=told)
            return FwxFirewallEvent(
                fwx_GetHostByName, source, FwxFirewallEventParameters.of(fwx_GetHostByName, by_name)
            )
        address = question.packed
        by_address = FwxGetHostByAddrEvent(
            address, len(address), _FAMILIES[question.version], hostent, size, before, piGetXByY=told
        )
        return FwxFirewallEvent(fwx_GetHostByAddr, source, FwxFirewallEventParameters.of(fwx_GetHostByAddr, by_address))
