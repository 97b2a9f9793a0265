"""Who is told that a connection has come that a filter prepared: fwx_EstablishedConnection (B2.31 to B2.33)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fwx.impl.course import proceed
from fwx.impl.event import established_event
from fwx.impl.filterhost import FilterFault, FilterHost
from fwx.interfaces.hresult import E_INVALIDARG, E_UNEXPECTED, COMError

if TYPE_CHECKING:
    from fwx.impl.connectionbase import ConnectionBase
    from fwx.impl.session import FWXSession
    from fwx.interfaces import FwxFirewallEvent, IFWXSessionFilter, IUnknown, SocketAddress


class Notice(NamedTuple):
    """The session filter that was named, and the context that it gets.

    :ivar session: the session that the filter is attached to. :ivar host: the filter that it is a part of.
    """

    session: FWXSession
    host: FilterHost
    session_filter: IFWXSessionFilter
    context: IUnknown | None

    def give(self, connection: ConnectionBase, protocol: int, address: SocketAddress) -> None:
        """Tell it of *connection*, which goes to *address*; a fault ends the connection unless the filter is open.

        Nobody is told whose session has ended.
        """
        if self.session.terminated or connection.terminating:
            return
        connection.adopt(self.host)
        proceed(self._give(connection, established_event(connection, protocol, address, self.context)))

    async def _give(self, connection: ConnectionBase, event: FwxFirewallEvent) -> None:
        try:
            if self.host.is_blocking:
                await self.host.handle_by(self.session.strand(self.host), self.session_filter, event)
            else:
                self.host.handle(self.session_filter, event)
        except FilterFault as fault:
            if not self.host.opens_on_error:
                connection.end(E_UNEXPECTED, str(fault))


def notice_of(session: FWXSession, session_filter: Any, context: IUnknown | None) -> Notice | None:
    """Return who is told; nobody without a *session_filter* (B6.10).

    :raises COMError: ``E_INVALIDARG`` it is no session filter that the service has.
    """
    if session_filter is None:
        return None
    for each in (session, *session.engine.sessions):
        host = each.host_of(session_filter)
        if host is not None:
            return Notice(each, host, session_filter, context)
    raise COMError(E_INVALIDARG, f"{session_filter!r} is no session filter that this service has attached")
