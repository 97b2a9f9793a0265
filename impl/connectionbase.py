"""What connections of every kind have in common: their events, their filters, their end."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from fwx.impl.chain import Member
from fwx.impl.emulation import Emulation
from fwx.impl.event import terminating_event
from fwx.impl.filterhost import FilterFault, FilterHost
from fwx.impl.logrecord import Action
from fwx.impl.recorded import IRecorded, Remarks
from fwx.impl.restriction import Restrictable
from fwx.interfaces import IFWXConnection, IFWXDataFilter, SocketAddress
from fwx.interfaces.enums import (
    FwxDataFilterPriorityClass,
    fwx_AcceptedConnection,
    fwx_Bind_Tcp,
    fwx_Bind_Udp,
    fwx_Connect_Tcp,
    fwx_ConnectionTerminating,
    fwx_Udp_Destination,
)
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_POINTER,
    E_UNEXPECTED,
    FWX_E_BAD_CONTEXT,
    FWX_E_FILTER_NOT_REGISTERED,
    FWX_E_NOT_SUPPORTED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAECONNABORTED,
    WSAEINVAL,
    COMError,
    winsock_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fwx.impl.bindapproval import BindApproval
    from fwx.impl.datafilterfactory import DataFilterFactory
    from fwx.impl.engine import Engine
    from fwx.impl.policy import Verdict
    from fwx.impl.session import FWXSession
    from fwx.interfaces import IFWXSession, IUnknown
    from fwx.interfaces.structs import FwxFirewallEvent

logger = logging.getLogger("fwx.connection")

_ATTACHABLE = fwx_Connect_Tcp | fwx_AcceptedConnection | fwx_Bind_Udp | fwx_Udp_Destination
_DENIABLE = fwx_Connect_Tcp | fwx_AcceptedConnection | fwx_Bind_Udp | fwx_Bind_Tcp


@implementer(IFWXConnection, IRecorded)
class ConnectionBase(Restrictable):
    """A connection of a client, whatever it carries: asked for, judged, shown to the filters, ended and logged."""

    __slots__ = (
        "_attaching",
        "_denied_by",
        "_event_type",
        "_members",
        "_reason",
        "_remarks",
        "_result",
        "_started",
        "agent",
        "approval",
        "client_address",
        "engine",
        "filters",
        "id",
        "interface",
        "is_secondary",
        "on_abandoned",
        "on_ended",
        "session",
        "terminating",
        "verdict",
    )

    # It waits for others, so a session that has nothing else is idle.
    waits = False

    def __init__(
        self,
        session: FWXSession,
        client_address: SocketAddress,
        verdict: Verdict,
        *,
        interface: str = "",
        agent: str = "",
        on_ended: Any = None,
    ) -> None:
        """A request of *client_address*, which the policy has judged.

        :param interface: name of the listener. :param agent: the client program, if it said.
        :param on_ended: called with the connection when it is gone.
        """
        engine = session.engine
        self.engine: Engine = engine
        self.session = session
        # A filter may be exchanged for a new one of the same CLSID: the connection goes on with those it began with.
        self.filters = engine.filters
        self.id = next(engine.connection_ids)
        self.client_address = client_address
        self.verdict = verdict
        self.interface = interface
        self.agent = agent
        self.on_ended = on_ended
        # Set while the connection is being opened: stops that when it is killed.
        self.on_abandoned: Callable[[], None] | None = None
        # What a filter has said of what the client has bound (B6.18).
        self.approval: BindApproval | None = None
        # A filter has announced it (B2.11).
        self.is_secondary = False
        self.terminating = False
        self._started = engine.clock()
        self._event_type = 0
        self._attaching: FilterHost | None = None
        self._denied_by = ""
        self._members: list[Member] = []
        self.emulation: Emulation | None = None
        self._ip_filter = None
        self._result: int = S_OK
        self._reason = ""
        self._remarks: Remarks | None = None
        session.connections.add(self)

    @property
    def _registry(self) -> Any:
        return self.engine.registry

    # The host's side.

    def raise_event(
        self,
        hosts: Iterable[FilterHost],
        event_type: int,
        make: Callable[[], FwxFirewallEvent],
        denial: int,
        *,
        secondary: bool = False,
        at: Iterable[SocketAddress] = (),
    ) -> bool:
        """Show an event to the filters, in order; tell whether what it is about may go on.

        Then the data filters are made that were asked for in advance for something *at* one of these addresses; the
        handlers of those who asked are not called (B2.41).

        Of a *secondary* connection, or of what is secondary in this one, those hear who have asked for that (B2.4).

        Otherwise :attr:`result` says why: *denial* is the Winsock error that stands for a filter's ``Deny`` (B2.37).
        *make* makes the event, for the first filter that is to see it.
        """
        event: FwxFirewallEvent | None = None
        before = len(self._members)
        secondary = secondary or self.is_secondary
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
                session_filter = self.session.session_filter(host, event_type, secondary)
                if session_filter is None:
                    continue
                if event is None:
                    event = make()
                self._event_type, self._attaching = event_type, host
                host.handle(session_filter, event)
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
        return all(self._attach_made(factory) for factory in factories)

    def _attach_made(self, factory: DataFilterFactory) -> bool:
        """Attach what *factory* makes; tell whether the connection may go on."""
        self.adopt(factory.host)
        try:
            made = factory.make()
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

    def adopt(self, host: FilterHost) -> None:
        """Be a connection of *host* from now on, where another of its CLSID was meant: *host* has announced it."""
        if host not in self.filters:
            self.filters = tuple(host if each.clsid == host.clsid else each for each in self.filters)

    def involves(self, host: FilterHost) -> bool:
        """Tell whether *host* has seen this connection, or one of its session, and may be called for it again."""
        if host not in self.filters or host not in self.session.attached_hosts:
            return False
        by_rule = host.everywhere or host.name in self.verdict.filters
        return by_rule or any(member.host is host for member in self._members)

    def _own(self, host: FilterHost) -> FilterHost:
        """Return the filter of *host*'s CLSID that this connection has."""
        if host in self.filters:
            return host
        return next((each for each in self.filters if each.clsid == host.clsid), host)

    @property
    def is_shown(self) -> bool:
        """An event of it is being handled."""
        return self._event_type != 0

    @property
    def ruling(self) -> Verdict:
        """The verdict that its secondary connections stand under."""
        return self.verdict

    @property
    def leads_to(self) -> SocketAddress | None:
        """Where it leads to: the literal address where it is known, else the name; ``None`` for nowhere yet."""
        reached: SocketAddress | None = getattr(self, "address", None)
        target: SocketAddress | None = getattr(self, "target", None)
        return target if reached is None else reached

    @property
    def members(self) -> list[Member]:
        """The data filters, in the order of the chain once the connection is established."""
        return self._members

    @property
    def result(self) -> tuple[int, str]:
        """Why the connection was refused or ended: an HRESULT, and words."""
        return self._result, self._reason

    def refuse(self, result: int, reason: str, action: Action = Action.Failed) -> None:
        """End a connection that was never established; its filters are detached without sockets (B1.30)."""
        if not self.terminating:
            self._result, self._reason = result, reason
            self.terminating = True
            self.engine.queue.post(self._finish, action)

    def end(self, result: int = S_OK, reason: str = "") -> None:
        """End the connection now: what is pending fails, then the filters are detached (B3.31), then it is logged."""
        if self.terminating:
            return
        self.terminating = True
        self._result, self._reason = result, reason
        abandon, self.on_abandoned = self.on_abandoned, None
        if abandon is not None:
            abandon()
        self._stop_moving()
        for member in self._members:
            member.terminate()
        self.engine.queue.post(self._let_complete, Action.Terminate)

    def filter_failed(self, host: FilterHost, method: str, error: BaseException) -> None:
        """A filter failed while data flows: report it and end the connection, whatever ``on_error`` says.

        What the filter held back is unknown, so going on without it could let an incomplete stream pass as whole.
        """
        self.end(E_UNEXPECTED, host.failed(method, error))

    def member_of(self, data_filter: IFWXDataFilter) -> Member:
        """Return the place of *data_filter* on this connection; asked by the registry's adapters.

        :raises LookupError: it is not attached to this connection.
        """
        for member in self._members:
            if member.data_filter is data_filter:
                return member
        raise LookupError(f"{data_filter!r} is not attached to connection {self.id}")

    def _let_complete(self, action: Action) -> None:
        """Let arrive and complete what was on its way from another thread when the sockets were ended (B3.31)."""
        again = partial(self.engine.queue.post, self._let_complete, action)
        if not any(member.tell_at_rest(again) for member in self._members):
            self.engine.queue.post(self._finish, action)

    def _finish(self, action: Action) -> None:
        """Tell the filters and the log; last item of the connection's life, which ends whatever they do."""
        try:
            self._take_leave(action)
        finally:
            if self.engine.tracer is not None:
                self.engine.tracer.ended(self, self._denied_by)
            self._members = []
            self.session.connections.discard(self)
            on_ended, self.on_ended = self.on_ended, None
            if on_ended is not None:
                on_ended(self)
            self._let_go()

    def _take_leave(self, action: Action) -> None:
        """Detach the filters, say that the connection is terminating, write the record."""
        for member in self._members:
            member.detach()
        names = ", ".join(member.host.name for member in self._members)
        attached = self.session.attached_filters(fwx_ConnectionTerminating)
        if attached:
            event = terminating_event(self)
            for host, session_filter in attached:
                if self._own(host) is not host:
                    continue
                try:
                    host.handle(session_filter, event)
                except FilterFault as fault:
                    logger.debug("%s: the connection has ended already", fault)
        if self.verdict.log:
            self._write_record(action, names, self.engine.clock() - self._started)

    def _passes_failed(self, host: FilterHost) -> bool:
        if host.opens_on_error:
            return True
        self._result = FWX_E_FILTER_NOT_REGISTERED
        self._reason = host.complaint
        return False

    def _forget_members_of(self, host: FilterHost, before: int) -> None:
        """Take what a failing handler attached out of the chain again; detached like every attached filter.

        *before* is the number of those that had been attached in earlier events.
        """
        for member in [member for member in self._members[before:] if member.host is host]:
            self._members.remove(member)
            member.detach()
        if self.emulation is not None and self.emulation.host is host:
            self.emulation = None

    def reason_with_remarks(self, reason: str) -> str:
        """Return *reason* for the log, with what filters have remarked."""
        return reason if self._remarks is None else self._remarks.after(reason)

    # What each kind of connection does its own way.

    def places_bound(self, protocol: int) -> tuple[SocketAddress, ...]:
        """Return what the client itself has bound on the outside, for ``FWX_PROTOCOL_TCP`` or ``FWX_PROTOCOL_UDP``."""
        return ()

    def approve(self, approval: BindApproval, bursts: bool) -> None:
        """Let those in whom *approval* admits, whatever the rules say (B6.18); only where something is bound.

        *bursts*: the socket is to keep 64 KiB for its reader (B6.21).

        :raises COMError: the Winsock error.
        """
        raise NotImplementedError

    def _stop_moving(self) -> None:
        """Close what carries the data; what is pending fails."""
        raise NotImplementedError

    def _let_go(self) -> None:
        """Forget what carried the data: the connection is over."""

    def _write_record(self, action: Action, filters: str, seconds: float) -> None:
        """Tell the log what became of the connection."""
        raise NotImplementedError

    # IRecorded.

    @property
    def rule(self) -> str:
        return self.verdict.rule

    @property
    def user(self) -> str:
        return self.session.user_name

    @property
    def upstream(self) -> str:
        return self.verdict.upstream

    @property
    def client(self) -> SocketAddress:
        return self.client_address

    def remark(self, words: str) -> None:
        if self._remarks is None:
            self._remarks = Remarks()
        self._remarks.add(words)

    # IFWXConnection.

    def AttachDataFilter(
        self,
        piDataFilter: IFWXDataFilter,
        PriorityClass: FwxDataFilterPriorityClass,
        punkFilterContext: IUnknown | None,
    ) -> None:
        """Put *piDataFilter* into the chain of this connection (B1.24, B2.34, B3.7).

        :raises COMError: ``E_INVALIDARG`` no data filter, an unknown class, or attached already; ``FWX_E_BAD_CONTEXT``
            outside the handler of an event that allows it; ``FWX_E_TERMINATING``.
        """
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection is ending")
        if not self._event_type & _ATTACHABLE or self._attaching is None:
            raise COMError(FWX_E_BAD_CONTEXT, "AttachDataFilter is for the handler of a connect, accept, or UDP event")
        self._attach(piDataFilter, PriorityClass, punkFilterContext, self._attaching)

    def _attach(self, data_filter: IFWXDataFilter, priority: int, context: IUnknown | None, host: FilterHost) -> Member:
        if data_filter is None:
            raise COMError(E_POINTER, "a data filter is needed")
        if not IFWXDataFilter.providedBy(data_filter):
            raise COMError(E_INVALIDARG, f"{data_filter!r} is no IFWXDataFilter")
        try:
            priority = FwxDataFilterPriorityClass(priority)
        except ValueError as error:
            raise COMError(E_INVALIDARG, str(error)) from error
        if any(member.data_filter is data_filter for member in self._members):
            raise COMError(E_INVALIDARG, "this data filter is attached to the connection already")
        member = Member(self, host, data_filter, priority, context)
        self._members.append(member)
        return member

    def Deny(self, Reserved: int) -> None:
        """Refuse the request whose event is being handled (B2.36, B2.37).

        :raises COMError: ``E_INVALIDARG`` *Reserved* is not 0; ``FWX_E_BAD_CONTEXT`` no such event is being handled.
        """
        if Reserved != 0:
            raise COMError(E_INVALIDARG, "Reserved must be 0")
        if not self._event_type & _DENIABLE or self._attaching is None:
            raise COMError(FWX_E_BAD_CONTEXT, "Deny is for the handler of a connect, bind or accept event")
        self._denied_by = self._attaching.name

    def Kill(self) -> None:
        """End the connection by force (B3.32); from any thread."""
        self.engine.queue.call(self.end, HRESULT_FROM_WIN32(WSAECONNABORTED), "killed by a filter")

    def GetExternalSocketName(self) -> SocketAddress:
        """:raises COMError: ``WSAEINVAL`` this kind of connection has no such socket."""
        raise winsock_error(WSAEINVAL, "the connection has no socket of its own towards the outside")

    def GetExternalPeerName(self) -> SocketAddress:
        """:raises COMError: ``WSAEINVAL`` this kind of connection has no one peer."""
        raise winsock_error(WSAEINVAL, "the connection has no one peer")

    def SetBufferSize(self, BufferSize: int) -> None:
        """:raises COMError: ``FWX_E_NOT_SUPPORTED`` this kind of connection receives no stream in blocks."""
        raise COMError(FWX_E_NOT_SUPPORTED, "the connection carries no stream")

    def GetSession(self) -> IFWXSession:
        """Return the session that the connection belongs to.

        :raises COMError: ``FWX_E_TERMINATING`` the connection has ended.
        """
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection has ended")
        return self.session

    def GetConnectionFlags(self) -> int:
        """Return 0: no connection of this version has its inner address translated."""
        return 0

    def AttachDataFilterWithDestination(
        self,
        piDataFilter: IFWXDataFilter,
        PriorityClass: FwxDataFilterPriorityClass,
        punkFilterContext: IUnknown | None,
        ExternalAddress: SocketAddress | None,
        ExternalAddressLength: int | None = None,
    ) -> None:
        """:raises COMError: ``FWX_E_BAD_CONTEXT`` only UDP has destinations; ``FWX_E_TERMINATING``."""
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection is ending")
        raise COMError(FWX_E_BAD_CONTEXT, "AttachDataFilterWithDestination is for the handler of fwx_Udp_Destination")

    def SetClientAddress(self, ClientAddress: SocketAddress, ClientAddressLength: int | None = None) -> None:
        """Refuse it: the connection has its client's address, as all but some of ``BindForClient`` have (B6.16).

        :raises COMError: ``E_INVALIDARG``.
        """
        raise COMError(E_INVALIDARG, f"the client's address is known, {self.client_address}")
