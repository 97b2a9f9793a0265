"""IFWXConnection: one connection of a client through the firewall, from the request to the last record."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from fwx.impl.argument import whole
from fwx.impl.chain import Member, link
from fwx.impl.connectionrecord import record_of
from fwx.impl.endpoint import Endpoint
from fwx.impl.event import connect_event, terminating_event
from fwx.impl.filterhost import FilterFault, FilterHost
from fwx.impl.linger import Linger
from fwx.impl.logrecord import Action
from fwx.impl.pump import Pump
from fwx.impl.unknown import Unknown
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
    E_NOTIMPL,
    E_POINTER,
    E_UNEXPECTED,
    FAILED,
    FWX_E_BAD_CONTEXT,
    FWX_E_FILTER_NOT_REGISTERED,
    FWX_E_NOT_EMULATED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    S_OK,
    WSAECONNABORTED,
    WSAECONNREFUSED,
    WSAEFAULT,
    WSAEINVAL,
    COMError,
    winsock_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fwx.impl.engine import Engine
    from fwx.impl.policy import Verdict
    from fwx.impl.session import FWXSession
    from fwx.impl.transport import Transport
    from fwx.interfaces import IFWXIpFilter, IFWXSession, IUnknown
    from fwx.interfaces.structs import FwxFirewallEvent

logger = logging.getLogger("fwx.connection")

_ATTACHABLE = fwx_Connect_Tcp | fwx_AcceptedConnection | fwx_Bind_Udp | fwx_Udp_Destination
_DENIABLE = fwx_Connect_Tcp | fwx_AcceptedConnection | fwx_Bind_Udp | fwx_Bind_Tcp
_LARGEST_BUFFER = 1 << 20


@implementer(IFWXConnection)
class FWXConnection(Unknown):
    """One connection: asked for, judged, shown to the filters, established, pumped, ended and logged.

    The host makes it for a client's request, calls :meth:`raise_connect_event`, then :meth:`establish` or
    :meth:`refuse`. From there it ends by itself, or by :meth:`end`.
    """

    __slots__ = (
        "_attaching",
        "_block_size",
        "_client",
        "_denied_by",
        "_event_type",
        "_junctions",
        "_linger",
        "_members",
        "_pump",
        "_reason",
        "_result",
        "_server",
        "_server_transport",
        "_started",
        "address",
        "agent",
        "client_address",
        "engine",
        "id",
        "interface",
        "on_abandoned",
        "on_ended",
        "session",
        "target",
        "terminating",
        "verdict",
    )

    def __init__(
        self,
        session: FWXSession,
        client_address: SocketAddress,
        target: SocketAddress,
        verdict: Verdict,
        *,
        interface: str = "",
        agent: str = "",
        on_ended: Any = None,
    ) -> None:
        """A request of *client_address* to reach *target*, which the policy has judged.

        :param interface: name of the listener. :param agent: the client program, if it said.
        :param on_ended: called with the connection when it is gone.
        """
        engine = session.engine
        self.engine: Engine = engine
        self.session = session
        self.id = next(engine.connection_ids)
        self.client_address = client_address
        self.target = target
        self.verdict = verdict
        self.interface = interface
        self.agent = agent
        self.on_ended = on_ended
        # Set while the connection is being opened: stops that when it is killed.
        self.on_abandoned: Callable[[], None] | None = None
        self.terminating = False
        # The literal address that was connected to; none where an upstream has resolved the name.
        self.address: SocketAddress | None = None
        self._started = engine.clock()
        self._event_type = 0
        self._attaching: FilterHost | None = None
        self._denied_by = ""
        self._members: list[Member] = []
        self._junctions: list[Any] = []
        self._client: Endpoint | None = None
        self._server: Endpoint | None = None
        self._server_transport: Transport | None = None
        self._pump: Pump | None = None
        self._block_size = 0
        self._linger: Linger | None = None
        self._result: int = S_OK
        self._reason = ""
        session.connections.add(self)

    @property
    def _registry(self) -> Any:
        return self.engine.registry

    # The host's side.

    def raise_connect_event(self, hosts: Iterable[FilterHost]) -> bool:
        """Show the request to the filters, in order; tell whether it may go on. Otherwise :attr:`result` says why."""
        event: FwxFirewallEvent | None = None
        for host in hosts:
            if host.state != "ready":
                if not self._passes_failed(host):
                    return False
                continue
            try:
                session_filter = self.session.session_filter(host, fwx_Connect_Tcp)
                if session_filter is None:
                    continue
                if event is None:
                    event = connect_event(self)
                self._event_type, self._attaching = fwx_Connect_Tcp, host
                host.handle(session_filter, event)
            except FilterFault as fault:
                self._forget_members_of(host)
                if not host.opens_on_error:
                    self._result, self._reason = E_UNEXPECTED, str(fault)
                    return False
            finally:
                self._event_type, self._attaching = 0, None
            if self._denied_by:
                self._result = HRESULT_FROM_WIN32(WSAECONNREFUSED)
                self._reason = f"denied by filter {self._denied_by!r}"
                return False
            if self.terminating:
                return False
        return True

    @property
    def result(self) -> tuple[int, str]:
        """Why the connection was refused or ended: an HRESULT, and words."""
        return self._result, self._reason

    def establish(self, client: Transport, server: Transport, prefix: bytes = b"", answer: bytes = b"") -> None:
        """Start pumping between two connected transports.

        *prefix* came from the client, *answer* from the server, ahead of their transports.
        """
        self.on_abandoned = None
        self._server_transport = server
        if not self._members:
            self._pump = Pump(client, server, self.engine.queue, self, prefix, answer)
            self._pump.start()
            return
        queue = self.engine.queue
        self._client = Endpoint(client, queue, self)
        self._server = Endpoint(server, queue, self)
        if prefix:
            self._client.set_prefix(prefix)
        if answer:
            self._server.set_prefix(answer)
        if self._block_size:
            self._client.set_block_size(self._block_size)
            self._server.set_block_size(self._block_size)
        self._members.sort(key=_priority)
        self._junctions = link(self._members, self._client, self._server, queue)
        for member in list(self._members):
            if self.terminating:
                return
            error = member.set_sockets()
            if error is not None:
                self.filter_failed(member.host, "SetSockets", error)

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
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._pump is not None:
            self._pump.close(True)
        for endpoint in (self._client, self._server):
            if endpoint is not None and not endpoint.closed:
                if endpoint.through:
                    endpoint.close(False)
                else:
                    endpoint.abort(WSAECONNABORTED)
        for junction in self._junctions:
            junction.abort(WSAECONNABORTED)
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

    # What the endpoints and the pump tell.

    def pump_ended(self, code: int) -> None:
        self.end(HRESULT_FROM_WIN32(code), "reset by a peer" if code else "")

    def endpoint_ended(self, endpoint: Endpoint) -> None:
        client, server = self._client, self._server
        if self.terminating or client is None or server is None:
            return
        if client.through and server.through:
            self.end(self._result, self._reason)
        else:
            self._watch_lingering()

    def endpoint_broken(self, endpoint: Endpoint, code: int) -> None:
        """One side was reset: the filters are told by their completions; the other side is reset when they close it."""
        if self.terminating:
            return
        self._result, self._reason = HRESULT_FROM_WIN32(code), "reset by a peer"
        other = self._server if endpoint is self._client else self._client
        if other is not None:
            other.reset_on_close = True
        endpoint.close(True)
        self._watch_lingering()

    def endpoint_faltered(self, endpoint: Endpoint, doomed: bool) -> None:
        """One side is doomed, or both have said all they will: from now on the filters have only so long."""
        both = self._client is not None and self._server is not None and self._client.hung_up and self._server.hung_up
        if (doomed or both) and not self.terminating:
            self._watch_lingering()

    def _watch_lingering(self) -> None:
        if self._linger is None and self._client is not None and self._server is not None and not self.terminating:
            self._linger = Linger(self._client, self._server, self.engine.linger_deadlines, self._stood_still)

    def _stood_still(self) -> None:
        names = ", ".join(member.host.name for member in self._members)
        result = self._result if FAILED(self._result) else HRESULT_FROM_WIN32(WSAECONNABORTED)
        self.end(result, f"one side had ended and filters {names} did not end the other")

    def _let_complete(self, action: Action) -> None:
        """Let complete what was on its way to the sockets, from another thread, when they were ended (B3.31)."""
        self.engine.queue.post(self._finish, action)

    def _finish(self, action: Action) -> None:
        """Tell the filters and the log; last item of the connection's life, which ends whatever they do."""
        try:
            self._take_leave(action)
        finally:
            self._members = []
            self._junctions = []
            self.session.connections.discard(self)
            on_ended, self.on_ended = self.on_ended, None
            if on_ended is not None:
                on_ended(self)
            self._pump = self._client = self._server = self._server_transport = None

    def _take_leave(self, action: Action) -> None:
        """Detach the filters, say that the connection is terminating, write the record."""
        for member in self._members:
            member.detach()
        names = ", ".join(member.host.name for member in self._members)
        attached = self.session.attached_filters(fwx_ConnectionTerminating)
        if attached:
            event = terminating_event(self)
            for host, session_filter in attached:
                try:
                    host.handle(session_filter, event)
                except FilterFault as fault:
                    logger.debug("%s: the connection has ended already", fault)
        if self.verdict.log:
            duration = self.engine.clock() - self._started
            self.engine.write_record(record_of(self, action, names, self._traffic(), duration))

    def _traffic(self) -> tuple[int, int]:
        """Return the bytes sent to the server and received from it."""
        if self._pump is not None:
            return self._pump.up.count, self._pump.down.count
        return (0, 0) if self._server is None else (self._server.sent, self._server.received)

    def _passes_failed(self, host: FilterHost) -> bool:
        if host.opens_on_error:
            return True
        self._result = FWX_E_FILTER_NOT_REGISTERED
        self._reason = f"filter {host.name!r} is {host.state}" + (f": {host.reason}" if host.reason else "")
        return False

    def _forget_members_of(self, host: FilterHost) -> None:
        """Take what a failing handler attached out of the chain again; detached like every attached filter."""
        for member in [member for member in self._members if member.host is host]:
            self._members.remove(member)
            member.detach()

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
        if piDataFilter is None:
            raise COMError(E_POINTER, "AttachDataFilter needs a data filter")
        if not IFWXDataFilter.providedBy(piDataFilter):
            raise COMError(E_INVALIDARG, f"{piDataFilter!r} is no IFWXDataFilter")
        try:
            priority = FwxDataFilterPriorityClass(PriorityClass)
        except ValueError as error:
            raise COMError(E_INVALIDARG, str(error)) from error
        if any(member.data_filter is piDataFilter for member in self._members):
            raise COMError(E_INVALIDARG, "this data filter is attached to the connection already")
        self._members.append(Member(self, self._attaching, piDataFilter, priority, punkFilterContext))

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
        """Return the local address of the socket towards the server; ask in SetSockets or later.

        :raises COMError: ``WSAEINVAL`` it does not exist yet; ``FWX_E_TERMINATING``.
        """
        return self._name(lambda transport: transport.getsockname())

    def GetExternalPeerName(self) -> SocketAddress:
        """Return the address that the socket towards the server is connected to; an upstream's where there is one.

        :raises COMError: ``WSAEINVAL`` it does not exist yet; ``FWX_E_TERMINATING``.
        """
        return self._name(lambda transport: transport.getpeername())

    def GetSession(self) -> IFWXSession:
        """Return the session that the connection belongs to.

        :raises COMError: ``FWX_E_TERMINATING`` the connection has ended.
        """
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection has ended")
        return self.session

    def SetBufferSize(self, BufferSize: int) -> None:
        """Receive in blocks of *BufferSize* bytes, 1 to 1 MiB, instead of the size that adapts itself (B3.20).

        :raises COMError: ``E_INVALIDARG`` out of that range; ``FWX_E_TERMINATING``.
        """
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection has ended")
        self._block_size = whole(BufferSize, "BufferSize", 1, _LARGEST_BUFFER)
        for endpoint in (self._client, self._server):
            if endpoint is not None:
                endpoint.set_block_size(BufferSize)

    def GetConnectionFlags(self) -> int:
        """Return 0: no connection of this version has its inner address translated."""
        return 0

    def SetIpFilter(self, pIpFilter: IFWXIpFilter | None) -> None:
        """Lift every address restriction with ``None``, which is how a connection starts.

        :raises COMError: ``E_NOTIMPL`` for a filter.
        """
        if pIpFilter is not None:
            raise COMError(E_NOTIMPL)

    def GetIpFilter(self) -> IFWXIpFilter | None:
        """Return ``None``: the connection is not restricted (B4.11)."""
        return None

    def IncrementBytesSentCounter(self, dwBytesSent: int) -> None:
        """:raises COMError: ``FWX_E_NOT_EMULATED`` no connection of this version is emulated (B3.39)."""
        raise COMError(FWX_E_NOT_EMULATED)

    def AttachDataFilterWithDestination(
        self,
        piDataFilter: IFWXDataFilter,
        PriorityClass: FwxDataFilterPriorityClass,
        punkFilterContext: IUnknown | None,
        ExternalAddress: SocketAddress | None,
        ExternalAddressLength: int | None = None,
    ) -> None:
        raise COMError(E_NOTIMPL)

    def EmulateConnection(
        self,
        piDataFilter: IFWXDataFilter,
        RemoteAddress: SocketAddress,
        RemoteAddressLength: int | None,
        LocalAddress: SocketAddress,
        LocalAddressLength: int | None = None,
    ) -> IFWXConnection:
        raise COMError(E_NOTIMPL)

    def SetSocketName(self, Address: SocketAddress, AddressLength: int | None = None) -> None:
        raise COMError(E_NOTIMPL)

    def SetClientAddress(self, ClientAddress: SocketAddress, ClientAddressLength: int | None = None) -> None:
        raise COMError(E_NOTIMPL)

    def EmulateForConnect(self, piDataFilter: IFWXDataFilter, punkFilterContext: IUnknown | None) -> None:
        raise COMError(E_NOTIMPL)

    def EmulateForBind(self) -> None:
        raise COMError(E_NOTIMPL)

    def _name(self, ask: Any) -> SocketAddress:
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection has ended")
        if self._server_transport is None:
            raise winsock_error(WSAEINVAL, "the connection to the server does not exist yet")
        try:
            return SocketAddress.from_sockaddr(ask(self._server_transport))
        except OSError as error:
            raise winsock_error(WSAEFAULT, str(error)) from error


def _priority(member: Member) -> int:
    return member.priority
