"""Data filters that the service makes itself, for connections that a filter has described (B1.28, B2.40 to B2.43)."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fwx.impl.argument import whole
from fwx.impl.boundary import attempt
from fwx.impl.caller import calling_host
from fwx.impl.fault import shown
from fwx.impl.filterhost import FilterFault, FilterHost
from fwx.impl.firewallaction import FWXFirewallAction
from fwx.impl.loopthread import on_loop
from fwx.impl.networks import normalise
from fwx.interfaces import GUID_NULL, IClassFactory, IFWXDataFilter, SocketAddress
from fwx.interfaces.constants import FWX_FLAG_ADDRESS_BASED
from fwx.interfaces.enums import (
    FwxDataFilterPriorityClass,
    fwx_AcceptedConnection,
    fwx_Bind_Udp,
    fwx_Connect_Tcp,
    fwx_Udp_Destination,
)
from fwx.interfaces.hresult import E_INVALIDARG, E_POINTER, E_UNEXPECTED, COMError

if TYPE_CHECKING:
    from fwx.impl.session import FWXSession
    from fwx.interfaces import IUnknown

EVENTS: Final = (fwx_Connect_Tcp, fwx_Bind_Udp, fwx_AcceptedConnection, fwx_Udp_Destination)
"""Those that a factory can be set for."""


class DataFilterFactory:
    """One request: data filters for the connections of one event at one address.

    :ivar host: the filter that asked; its handler is not called for what the factory serves (B2.41).
    """

    __slots__ = ("_address", "_event_type", "_factory", "_has_ended", "_session", "context", "host", "priority")

    def __init__(
        self,
        session: FWXSession,
        event_type: int,
        address: SocketAddress,
        factory: Any,
        priority: FwxDataFilterPriorityClass,
        context: IUnknown | None,
    ) -> None:
        """:param address: literal IPv4; the unspecified address stands for every one, port 0 for every port."""
        self._session = session
        self._event_type = event_type
        self._address = address
        self._factory = factory
        self._has_ended = False
        self.priority = priority
        self.context = context
        self.host = asker(session, type(factory).__qualname__)

    def serves(self, event_type: int, addresses: Iterable[SocketAddress]) -> bool:
        """Tell whether it is for this event about something at one of *addresses*."""
        return event_type == self._event_type and any(self._fits(address) for address in addresses)

    async def make(self) -> Any:
        """Have the filter's factory make a data filter, on a thread if the filter blocks.

        :raises FilterFault: it failed, or made something else; reported already.
        """
        if self.host.is_blocking:
            made, error = await self._session.strand(self.host).ask(
                self._factory, "CreateInstance", None, IFWXDataFilter
            )
        else:
            made, error = attempt(self._factory, "CreateInstance", None, IFWXDataFilter)
        if error is None and (made is None or not IFWXDataFilter.providedBy(made)):
            error = COMError(E_UNEXPECTED, f"CreateInstance returned {shown(made)}, not an IFWXDataFilter")
        if error is not None:
            raise FilterFault(self.host.failed("CreateInstance", error)) from error
        return made

    def end(self) -> None:
        """The session ends."""
        self.withdraw()

    def withdraw(self) -> bool:
        """Serve nothing from now on; what was made stays. ``False``: it had ended before."""
        ended, self._has_ended = self._has_ended, True
        if not ended:
            self._session.secondary.forget(self)
            self._session.engine.factories.remove(self)
        return not ended

    def _fits(self, address: SocketAddress) -> bool:
        wanted = self._address
        if wanted.port not in (0, address.port):
            return False
        literal = wanted.address
        assert literal is not None
        return literal.is_unspecified or (address.address is not None and normalise(address.host) == literal)


class DataFilterFactories:
    """What has been asked for: by one session for itself, or for all of its client's address (B2.42)."""

    __slots__ = ("_of_address", "_of_session")

    def __init__(self) -> None:
        self._of_session: dict[FWXSession, list[DataFilterFactory]] = {}
        self._of_address: dict[str, list[DataFilterFactory]] = {}

    def __len__(self) -> int:
        tables: tuple[dict[Any, list[DataFilterFactory]], ...] = (self._of_session, self._of_address)
        return sum(len(each) for table in tables for each in table.values())

    def set(
        self,
        session: FWXSession,
        event_type: Any,
        address: Any,
        factory: Any,
        priority: Any,
        context: IUnknown | None,
        flags: Any,
    ) -> FWXFirewallAction:
        """Do :meth:`fwx.impl.session.FWXSession.SetDataFilterFactory`."""
        if event_type not in EVENTS:
            raise COMError(E_INVALIDARG, f"eProxyEvent {event_type!r}: no event that a data filter is attached in")
        if not isinstance(address, SocketAddress) or address.address is None or address.address.version != 4:
            raise COMError(E_INVALIDARG, f"{address!r} is no IPv4 address")
        if factory is None:
            raise COMError(E_POINTER, "SetDataFilterFactory needs a class factory")
        if not IClassFactory.providedBy(factory):
            raise COMError(E_INVALIDARG, f"{factory!r} is no IClassFactory")
        try:
            place = FwxDataFilterPriorityClass(priority)
        except ValueError as error:
            raise COMError(E_INVALIDARG, str(error)) from error
        if whole(flags, "dwFlags") & ~FWX_FLAG_ADDRESS_BASED:
            raise COMError(E_INVALIDARG, f"dwFlags {flags:#x}: expected 0 or FWX_FLAG_ADDRESS_BASED")

        def add() -> DataFilterFactory:
            session.secondary.require_room()
            made = DataFilterFactory(session, event_type, address, factory, place, context)
            session.secondary.keep(made)
            if flags:
                self._of_address.setdefault(session.address.host, []).append(made)
            else:
                self._of_session.setdefault(session, []).append(made)
            return made

        queue = session.engine.queue
        return FWXFirewallAction(partial(on_loop, queue, on_loop(queue, add).withdraw))

    @property
    def are_set(self) -> bool:
        """There are some, for whatever event."""
        return bool(self._of_session or self._of_address)

    def serving(
        self, session: FWXSession, event_type: int, addresses: Iterable[SocketAddress]
    ) -> list[DataFilterFactory]:
        """Return those for this event of *session* about one of *addresses*, in the order in which they were set."""
        if not self._of_session and not self._of_address:
            return []
        known = (*self._of_session.get(session, ()), *self._of_address.get(session.address.host, ()))
        asked = tuple(addresses)
        return [each for each in known if each.serves(event_type, asked)]

    def remove(self, factory: DataFilterFactory) -> None:
        """Forget one that has ended."""
        tables: tuple[dict[Any, list[DataFilterFactory]], ...] = (self._of_session, self._of_address)
        for table in tables:
            for key, known in list(table.items()):
                if factory in known:
                    known.remove(factory)
                    if not known:
                        del table[key]


def asker(session: FWXSession, name: str) -> FilterHost:
    """Return the filter that asks *session*: the one that is being called, else the one whose data filter's task or
    completion this is, else the only one that is attached to the session.

    A session is shared by its filters, so more cannot be known: else *name* answers for what was asked.
    """
    engine = session.engine
    called = [host for host in (*engine.filters, *engine.retired) if host.is_being_called]
    if called:
        return called[-1]
    if engine.queue.acting is not None:  # it asks from a thread of the pool
        acting: FilterHost = engine.queue.acting.host
        return acting
    calling = calling_host(sys._getframe())
    if calling is not None:
        return calling
    if len(session.attached_hosts) == 1:
        return session.attached_hosts[0]
    host = FilterHost(name, GUID_NULL, None, engine.faults, everywhere=False, opens_on_error=False)
    host.state = "ready"
    return host
