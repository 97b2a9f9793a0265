"""How the filters see the destinations of a UDP connection, attach data filters and refuse (B2.15 to B2.19)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwx.impl.chain import chain_order
from fwx.impl.connectionbase import ConnectionBase
from fwx.impl.event import udp_destination_event
from fwx.impl.loopthread import on_loop
from fwx.impl.sockets import check_address
from fwx.impl.udpdestination import FWXUdpDestination, State
from fwx.interfaces.enums import fwx_Udp_Destination
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    FWX_E_BAD_CONTEXT,
    FWX_E_TERMINATING,
    S_OK,
    WSAECONNREFUSED,
    COMError,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from fwx.impl.chain import Member
    from fwx.impl.destinationadmission import HostsOf
    from fwx.impl.destinations import Destinations
    from fwx.impl.policy import Verdict
    from fwx.impl.tiedfilters import TiedFilters
    from fwx.impl.udpdestination import Destination
    from fwx.interfaces import (
        FwxDataFilterPriorityClass,
        FwxFirewallEvent,
        IFWXDataFilter,
        IUnknown,
        SocketAddress,
    )


class HasDestinations(ConnectionBase):
    """A connection with destinations, each of which is shown to the filters once; what they attach goes with it."""

    __slots__ = ("_destinations", "_hosts_of", "_shown", "_tied")

    _destinations: Destinations
    _hosts_of: HostsOf
    # The destination whose event the filters see.
    _shown: Destination | None
    # Those that see every datagram; made for the first one.
    _tied: TiedFilters | None

    @property
    def ruling(self) -> Verdict:
        """That of the destination which is being shown, or was used last."""
        leading = self._leading
        return self.verdict if leading is None or leading.verdict is None else leading.verdict

    @property
    def leads_to(self) -> SocketAddress | None:
        """Where that destination is."""
        leading = self._leading
        return None if leading is None else leading.address or leading.target

    @property
    def _leading(self) -> Destination | None:
        if self._shown is not None:
            return self._shown
        known = (each for each in reversed(self._destinations.values()) if not each.secondary)
        return next((each for each in known if each.state is State.OPEN), None)

    def deny_destination(self) -> bool:
        """Note that the filter which handles ``fwx_Udp_Destination`` refuses it; ``False`` at any other time.

        From any thread.
        """
        return on_loop(self.engine.queue, self._deny_destination)

    def _deny_destination(self) -> bool:
        host = self._handler
        if self._shown is None or host is None:
            return False
        self._denied_by = host.name
        return True

    def release(self, members: Collection[Member]) -> None:
        """Detach the filters of a destination that is forgotten."""
        if self._tied is not None:
            self._tied.remove(members)
        for member in members:
            member.terminate()
            if member in self._members:
                self._members.remove(member)
            self.engine.queue.post(member.detach)

    async def _show(self, destination: Destination) -> bool:
        """Raise ``fwx_Udp_Destination``; what is attached in it belongs to the destination (B2.18).

        ``False`` where it is denied, or nobody wants to reach it any more.
        """
        verdict = destination.verdict
        assert verdict is not None
        hosts = self._hosts_of(verdict)
        before = frozenset(self._members)
        told = FWXUdpDestination(self)
        secondary = destination.secondary

        def event() -> FwxFirewallEvent:
            self._shown = destination  # only now: another one's event may have had to end first
            return udp_destination_event(self, destination.target, verdict, told, secondary)

        at = (destination.target, destination.address or destination.target)
        try:
            passes = await self.raise_event(
                hosts, fwx_Udp_Destination, event, WSAECONNREFUSED, secondary=secondary, at=at, rule=verdict.rule
            )
        finally:
            self._shown = None
            told.invalidate()
        attached = sorted((each for each in self._members if each not in before), key=chain_order)
        destination.tied = [member for member in attached if member.sees_all]
        destination.members = [member for member in attached if not member.sees_all]
        if self.terminating:
            return False
        if self._destinations.get(destination.target) is not destination:
            destination.tied, destination.members = [], []
            self.release(attached)  # it was forgotten while a blocking filter was asked
            return False
        # A handler may have set the IP filter.
        admits = self.admits(destination.address)
        if passes and admits:
            return True
        result, reason = self.result
        if self.engine.tracer is not None:
            self.engine.tracer.destination_denied(self, destination, self._denied_by)
        self._denied_by, self._result, self._reason = "", S_OK, ""
        destination.tied, destination.members = [], []
        self.release(attached)
        if admits:
            self._destinations.deny(destination, result, reason)
        else:
            self._destinations.bar(destination)
        return False

    def _judge_peers(self) -> None:
        """What is there is judged in a turn of its own: whoever has set the filter may be called for one of them."""
        self._destinations.forget_barred()
        self.engine.queue.post(self._judge_destinations)

    def _judge_destinations(self) -> None:
        if not self.terminating:
            self._destinations.judge_again(self.admits)

    # IFWXConnection.

    def AttachDataFilterWithDestination(
        self,
        piDataFilter: IFWXDataFilter,
        PriorityClass: FwxDataFilterPriorityClass,
        punkFilterContext: IUnknown | None,
        ExternalAddress: SocketAddress | None,
        ExternalAddressLength: int | None = None,
    ) -> None:
        """Have *piDataFilter* see every datagram of the connection for as long as the destination is remembered whose
        event is being handled, *ExternalAddress* (B2.16, B2.18).

        It stands between the filters that were attached for the connection and those of one destination. What it sends
        to an address that the client has not been let reach is lost. ``None`` for the address is ``AttachDataFilter``:
        the data filter sees that destination's datagrams alone.

        :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` as ``AttachDataFilter``, or the address is not that
            destination's; ``FWX_E_BAD_CONTEXT`` outside the handler of ``fwx_Udp_Destination``; ``FWX_E_TERMINATING``.
        """
        on_loop(
            self.engine.queue,
            self._attach_to_destination,
            piDataFilter,
            PriorityClass,
            punkFilterContext,
            ExternalAddress,
            ExternalAddressLength,
        )

    def _attach_to_destination(
        self,
        data_filter: IFWXDataFilter,
        priority: int,
        context: IUnknown | None,
        address: SocketAddress | None,
        length: int | None,
    ) -> None:
        shown, host = self._shown, self._handler
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection is ending")
        if shown is None or host is None:
            words = "AttachDataFilterWithDestination is for the handler of fwx_Udp_Destination"
            raise COMError(FWX_E_BAD_CONTEXT, words)
        if address is not None:
            check_address(address, length)
            if address not in (shown.target, shown.address):
                raise COMError(E_INVALIDARG, f"the event is about {shown.target}, not about {address}")
        member = self._attach(data_filter, priority, context, host)
        member.sees_all = address is not None
