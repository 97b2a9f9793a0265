"""What connections of every kind have in common: their events, their filters, their end."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from fwx.impl.chain import Member
from fwx.impl.course import proceed
from fwx.impl.emulation import Emulation
from fwx.impl.event import terminating_event
from fwx.impl.eventrounds import ShowsEvents
from fwx.impl.filterhost import FilterFault, FilterHost
from fwx.impl.logrecord import Action
from fwx.impl.loopthread import on_loop
from fwx.impl.recorded import IRecorded, Remarks
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
    from collections.abc import Callable

    from fwx.impl.bindapproval import BindApproval
    from fwx.impl.engine import Engine
    from fwx.impl.logrecord import LogRecord
    from fwx.impl.policy import Verdict
    from fwx.impl.rulequotas import Place
    from fwx.impl.session import FWXSession
    from fwx.interfaces import IFWXSession, IUnknown

logger = logging.getLogger("fwx.connection")

_ATTACHABLE = fwx_Connect_Tcp | fwx_AcceptedConnection | fwx_Bind_Udp | fwx_Udp_Destination
_DENIABLE = fwx_Connect_Tcp | fwx_AcceptedConnection | fwx_Bind_Udp | fwx_Bind_Tcp


@implementer(IFWXConnection, IRecorded)
class ConnectionBase(ShowsEvents):
    """A connection of a client, whatever it carries: asked for, judged, shown to the filters, ended and logged."""

    __slots__ = (
        "_logged_at",
        "_remarks",
        "_started",
        "agent",
        "approval",
        "client_address",
        "engine",
        "filters",
        "id",
        "interface",
        "is_secondary",
        "logged_before",
        "on_abandoned",
        "on_ended",
        "place",
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
        super().__init__()
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
        # What it occupies of its rule's limits.
        self.place: Place | None = None
        # A filter has announced it (B2.11).
        self.is_secondary = False
        self.terminating = False
        self._started = self._logged_at = engine.clock()
        # Bytes sent and received and milliseconds, of the last record that said them.
        self.logged_before = (0, 0, 0)
        self.emulation: Emulation | None = None
        self._ip_filter = None
        self._remarks: Remarks | None = None
        session.connections.add(self)

    @property
    def _registry(self) -> Any:
        return self.engine.registry

    # The host's side.

    def adopt(self, host: FilterHost) -> None:
        """Be a connection of *host* from now on, where another of its CLSID was meant: *host* has announced it."""
        if host not in self.filters:
            self.filters = tuple(host if each.clsid == host.clsid else each for each in self.filters)

    def forgo(self, host: FilterHost) -> None:
        """Be no connection of *host* any more, which goes, and has never seen it."""
        self.filters = tuple(each for each in self.filters if each is not host)

    def involves(self, host: FilterHost) -> bool:
        """Tell whether *host* has seen this connection, or one of its session, and may be called for it again."""
        return host in self.session.attached_hosts and self.may_meet(host)

    def may_meet(self, host: FilterHost) -> bool:
        """Tell whether *host* is a filter of this connection, by the rule that has let it in or of all."""
        if host not in self.filters:
            return False
        by_rule = host.everywhere or host.name in self.verdict.filters
        return by_rule or any(member.host is host for member in self._members)

    @property
    def age(self) -> float:
        """Seconds since it was asked for."""
        return self.engine.clock() - self._started

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
        if not self._members:
            self.engine.queue.post(self._finish, Action.Terminate)
            return
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
        if self._round is not None:  # a filter is still being shown an event
            self._leaving = action
        elif self._members or self.session.has_filters:
            proceed(self._depart(action))
        else:
            self._depart_unseen(action)

    def _depart_unseen(self, action: Action) -> None:
        """Depart where no filter is to hear of it."""
        try:
            self._log_parts(action)
            if self.verdict.log:
                self._write_record(action, "", self.engine.clock() - self._started)
        finally:
            self._be_gone()

    async def _depart(self, action: Action) -> None:
        try:
            await self._take_leave(action)
        finally:
            self._be_gone()

    def _be_gone(self) -> None:
        """Tell those who keep it, last of all."""
        if self.engine.tracer is not None:
            self.engine.tracer.ended(self, self._denied_by)
        if self._members:
            self._members = []
        if self.place is not None:
            self.place.give_back()
        self.session.connections.discard(self)
        on_ended, self.on_ended = self.on_ended, None
        if on_ended is not None:
            on_ended(self)
        self._let_go()

    async def _take_leave(self, action: Action) -> None:
        """Detach the filters, say that the connection is terminating, write the record."""
        self._log_parts(action)
        detaching = [member.detach() for member in self._members]
        for each in detaching:
            if each is not None:
                await each
        names = self._filter_names()
        attached = self.session.attached_filters(fwx_ConnectionTerminating)
        if attached:
            event = terminating_event(self)
            for host, session_filter in attached:
                if self._own(host) is not host:
                    continue
                try:
                    if host.is_blocking:
                        await host.handle_by(self.session.strand(host), session_filter, event)
                    else:
                        host.handle(session_filter, event)
                except FilterFault as fault:
                    logger.debug("%s: the connection has ended already", fault)
        if self.verdict.log:
            self._write_record(action, names, self.engine.clock() - self._started)

    def log_interim(self, now: float, interval: float) -> None:
        """Log the running totals if that is due (B9.11): *interval* seconds after the beginning, or the last time.

        :param now: the time by the engine's clock.
        """

    def _write_interim(self, action: Action, now: float) -> None:
        """Write a record of a connection that goes on; the next one tells what has come since."""
        record = self._write_record(action, self._filter_names(), now - self._started)
        if record is not None:
            self._logged_at = now
            self.logged_before = (record.bytes_sent, record.bytes_received, record.connection_time)

    def _filter_names(self) -> str:
        return ", ".join(member.host.name for member in self._members)

    def reason_with_remarks(self, reason: str) -> str:
        """Return *reason* for the log, with what filters have remarked."""
        return reason if self._remarks is None else self._remarks.after(reason)

    # What each kind of connection does its own way.

    def _log_parts(self, action: Action) -> None:
        """Write the records of what it consists of, before the filters are detached; of most it is one thing."""

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

    def _write_record(self, action: Action, filters: str, seconds: float) -> LogRecord | None:
        """Tell the log what became of the connection; return what it was told."""
        raise NotImplementedError

    # What waits in its queues (fwx.impl.ceiling).

    @property
    def bytes_waiting(self) -> int:
        """Bytes that filters have sent and nobody has taken yet."""
        return 0

    def has_room(self, ahead: int) -> bool:
        return self.engine.queue.ceiling.admits(self.bytes_waiting + ahead, self)

    def exceeds(self, words: str) -> None:
        self.engine.queue.call(self.remark, words)

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
        on_loop(self.engine.queue, self._attach_in_handler, piDataFilter, PriorityClass, punkFilterContext)

    def _attach_in_handler(self, data_filter: IFWXDataFilter, priority: int, context: IUnknown | None) -> None:
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection is ending")
        host = self._handler
        if not self._event_type & _ATTACHABLE or host is None:
            raise COMError(FWX_E_BAD_CONTEXT, "AttachDataFilter is for the handler of a connect, accept, or UDP event")
        self._attach(data_filter, priority, context, host)

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
        on_loop(self.engine.queue, self._deny)

    def _deny(self) -> None:
        host = self._handler
        if not self._event_type & _DENIABLE or host is None:
            raise COMError(FWX_E_BAD_CONTEXT, "Deny is for the handler of a connect, bind or accept event")
        self._denied_by = host.name

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
