"""IFWXConnection: one connection of a client through the firewall, from the request to the last record."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from fwx.impl.argument import whole
from fwx.impl.chain import chain_order, link
from fwx.impl.connectionbase import ConnectionBase
from fwx.impl.connectionrecord import record_of
from fwx.impl.course import proceed
from fwx.impl.endpoint import Endpoint
from fwx.impl.event import connect_event
from fwx.impl.filterhost import FilterHost
from fwx.impl.linger import Linger
from fwx.impl.logrecord import Action
from fwx.impl.loopthread import on_loop
from fwx.impl.proxied import IProxied
from fwx.impl.pump import Pump
from fwx.impl.tracing import Ends
from fwx.interfaces import SocketAddress
from fwx.interfaces.enums import fwx_Connect_Tcp
from fwx.interfaces.hresult import (
    FAILED,
    FWX_E_ADDRESS_NOT_ALLOWED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    WSAECONNABORTED,
    WSAECONNREFUSED,
    WSAEFAULT,
    WSAEINVAL,
    COMError,
    winsock_error,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence

    from fwx.impl.logrecord import LogRecord
    from fwx.impl.policy import Verdict
    from fwx.impl.session import FWXSession
    from fwx.impl.transport import Transport
    from fwx.impl.webrequest import WebRequest

MOST_ASKED = 20
"""How often a data filter may say that it has data left (B1.38), each time for the time-out of what stands still."""

_LARGEST_BUFFER = 1 << 20


@implementer(IProxied)
class FWXConnection(ConnectionBase):
    """One TCP connection: asked for, judged, shown to the filters, established, pumped, ended and logged.

    The host makes it for a client's request, calls :meth:`raise_connect_event`, then :meth:`establish` or
    :meth:`refuse`. From there it ends by itself, or by :meth:`~fwx.impl.connectionbase.ConnectionBase.end`.
    """

    __slots__ = (
        "_asked",
        "_block_size",
        "_client",
        "_junctions",
        "_linger",
        "_pump",
        "_server",
        "_server_transport",
        "address",
        "candidates",
        "claimed_user",
        "nat_address",
        "proxy_header",
        "source_proxy",
        "target",
        "web",
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
        """A request of *client_address* to reach *target*; the rest as for every connection."""
        super().__init__(session, client_address, verdict, interface=interface, agent=agent, on_ended=on_ended)
        self.target = target
        # Who spoke for the client, by a PROXY header, and what that said.
        self.source_proxy: SocketAddress | None = None
        self.proxy_header: object = None
        # The literal address that was connected to; none where an upstream has resolved the name.
        self.address: SocketAddress | None = None
        # The literal addresses that the rules have allowed, of which one will be that.
        self.candidates: list[SocketAddress] | None = None
        # Whom the client says that it is, where nothing vouches for it.
        self.claimed_user = ""
        # The request in plain HTTP that it carries now, where the proxy port forwards it.
        self.web: WebRequest | None = None
        # The firewall's own address that it has left from; set before it is established, if that is known.
        self.nat_address = ""
        self._junctions: Sequence[Any] = ()
        self._client: Endpoint | None = None
        self._server: Endpoint | None = None
        self._server_transport: Transport | None = None
        self._pump: Pump | None = None
        self._block_size = 0
        self._linger: Linger | None = None
        # How often the filters were asked whether they have data left.
        self._asked = 0

    # The host's side.

    def raise_connect_event(
        self, hosts: Iterable[FilterHost], addresses: Iterable[SocketAddress] = ()
    ) -> Coroutine[Any, None, bool]:
        """Show the request to the filters, in order; tell whether it may go on. Otherwise :attr:`result` says why.

        *addresses* are those that the target may lead to.
        """
        at = (self.target, *addresses)
        return self.raise_event(hosts, fwx_Connect_Tcp, lambda: connect_event(self), WSAECONNREFUSED, at=at)

    def establish(
        self,
        client: Transport,
        server: Transport | None,
        prefix: bytes = b"",
        answer: bytes = b"",
        told: tuple[int, int] | None = None,
    ) -> None:
        """Start pumping between two connected transports; a data filter that emulates the server takes its place.

        *prefix* came from the client, *answer* from the server, ahead of their transports. *told* is what the handlers
        of the two have been told so far, if both have been watched and nothing was read or sent since.
        """
        self.on_abandoned = None
        tracer = self.engine.tracer
        if tracer is not None:
            ends = Ends(client, server, prefix, answer)
            tracer.established(self, ends)
            client, server, prefix, answer = ends.client, ends.server, ends.prefix, ends.answer
            told = None
        self._server_transport = server
        if self.verdict.log and (not self.nat_address or self.engine.logs_establishing):
            self._note_departure(server)
        if not self._members and server is not None:
            self._pump = Pump(client, server, self.engine.queue, self, prefix, answer)
            self._pump.start(told)
            return
        queue = self.engine.queue
        self._client = Endpoint(client, queue, self)
        if prefix:
            self._client.set_prefix(prefix)
        if server is not None:
            self._server = Endpoint(server, queue, self)
            if answer:
                self._server.set_prefix(answer)
        if self._block_size:
            for endpoint in self._endpoints:
                endpoint.set_block_size(self._block_size)
        self._members.sort(key=chain_order)
        self._junctions = link(self._members, self._client, self._server, queue)
        for each in (*self._endpoints, *self._junctions):
            each.holder = self
        for member in list(self._members):
            if self.terminating:
                return
            error = member.set_sockets()
            if error is not None:
                self.filter_failed(member.host, "SetSockets", error)

    def _note_departure(self, server: Transport | None) -> None:
        """Keep for the log where the connection leaves from, and tell it that there is one, if it wants to know."""
        if server is not None and not self.nat_address:
            with contextlib.suppress(OSError):  # it was reset already
                self.nat_address = server.getsockname()[0]
        if self.engine.logs_establishing:
            self._write_interim(Action.Establish, self.engine.clock())

    def log_interim(self, now: float, interval: float) -> None:
        """See :meth:`fwx.impl.connectionbase.ConnectionBase.log_interim`; what is not established yet has no totals."""
        if self.is_established and now - self._logged_at >= interval and self.verdict.log and not self.terminating:
            self._write_interim(Action.Intermediate, now)

    def _judge_peers(self) -> None:
        """The host asks when a handler has set the filter, and when the name that was asked for has led somewhere."""
        peer = self.target if self.target.address is not None else self.address
        if not self._event_type and (self.is_established or peer is not None) and not self.admits(peer):
            self.end(FWX_E_ADDRESS_NOT_ALLOWED, f"the IP filter does not include {peer or self.target}")

    @property
    def _endpoints(self) -> list[Endpoint]:
        """The ends that there are: both, or the client's where a filter emulates the server; none with the pump."""
        return [endpoint for endpoint in (self._client, self._server) if endpoint is not None]

    @property
    def bytes_waiting(self) -> int:
        return sum(each.backlog for each in (*self._endpoints, *self._junctions))

    # What the endpoints and the pump tell.

    def pump_ended(self, code: int) -> None:
        assert self._pump is not None
        if code:
            self.end(HRESULT_FROM_WIN32(code), self._reason_of(self._pump.up.source, self._pump.down.source))
        else:
            self.end()

    def endpoint_ended(self, endpoint: Endpoint) -> None:
        endpoints = self._endpoints
        if self.terminating or not endpoints:
            return
        if all(endpoint.through for endpoint in endpoints):
            self.end(self._result, self._reason)
        else:
            self._watch_lingering()

    def endpoint_broken(self, endpoint: Endpoint, code: int) -> None:
        """One side was reset: the filters are told by their completions; the other side is reset when they close it."""
        if self.terminating:
            return
        self._result, self._reason = HRESULT_FROM_WIN32(code), self._reason_of(endpoint.transport)
        other = self._server if endpoint is self._client else self._client
        if other is not None:
            other.reset_on_close = True
        endpoint.close(True)
        self._watch_lingering()

    def endpoint_faltered(self, endpoint: Endpoint, doomed: bool) -> None:
        """One side is doomed, or both have said all they will: from now on the filters have only so long."""
        # A filter that emulates the server has said all when it has shut its side down.
        emulated = self.emulation is not None and endpoint.write_ended
        said = endpoint.hung_up if emulated else self._server is not None and all(e.hung_up for e in self._endpoints)
        if (doomed or said) and not self.terminating:
            self._watch_lingering()

    def _watch_lingering(self) -> None:
        endpoints = self._endpoints
        if self._linger is None and endpoints and not self.terminating:
            self._linger = Linger(endpoints, self.engine.linger_deadlines, self._stood_still)

    def _stood_still(self) -> None:
        self._linger = None
        self._asked += 1
        proceed(self._ask_whether_to_end())

    async def _ask_whether_to_end(self) -> None:
        if self._asked < MOST_ASKED:
            for member in list(self._members):
                if await member.holds_up():
                    self._watch_lingering()
                    return
        if self.terminating:
            return
        names = ", ".join(member.host.name for member in self._members)
        result = self._result if FAILED(self._result) else HRESULT_FROM_WIN32(WSAECONNABORTED)
        self.end(result, f"one side had ended and filters {names} did not end the other")

    def _stop_moving(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._pump is not None:
            self._pump.close(True)
            return
        for endpoint in self._endpoints:
            if not endpoint.closed:
                if endpoint.through:
                    endpoint.close(False)
                else:
                    endpoint.abort(WSAECONNABORTED)
        for junction in self._junctions:
            junction.abort(WSAECONNABORTED)

    def _let_go(self) -> None:
        self._junctions = ()
        self._pump = self._client = self._server = self._server_transport = None

    def _reason_of(self, *transports: Transport) -> str:
        """Say why a side has failed; *transports*, of which one has."""
        for transport in transports:
            if transport.fault:
                return f"{'the server' if transport is self._server_transport else 'the client'}: {transport.fault}"
        return "reset by a peer"

    def _write_record(self, action: Action, filters: str, seconds: float) -> LogRecord:
        record = record_of(self, action, filters, self.traffic, seconds)
        self.engine.write_record(record)
        return record

    @property
    def is_established(self) -> bool:
        """Data moves, or could."""
        return self._pump is not None or self._client is not None

    @property
    def traffic(self) -> tuple[int, int]:
        """The bytes sent to the server and received from it; of an emulated one what its filter has counted, and what
        the client got."""
        if self._pump is not None:
            return self._pump.up.count, self._pump.down.count
        if self.emulation is not None:
            return self.emulation.sent, 0 if self._client is None else self._client.sent
        return (0, 0) if self._server is None else (self._server.sent, self._server.received)

    # IFWXConnection.

    def GetExternalSocketName(self) -> SocketAddress:
        """Return the local address of the socket towards the server; ask in SetSockets or later. Of an emulated
        connection it is what ``SetSocketName`` said.

        :raises COMError: ``WSAEINVAL`` it does not exist yet, or never will; ``FWX_E_TERMINATING``.
        """
        return on_loop(self.engine.queue, self._external_name)

    def _external_name(self) -> SocketAddress:
        if self.emulation is not None and self.emulation.name is not None and not self.terminating:
            return self.emulation.name
        return self._name(lambda transport: transport.getsockname())

    def GetExternalPeerName(self) -> SocketAddress:
        """Return the address that the socket towards the server is connected to; an upstream's where there is one.

        :raises COMError: ``WSAEINVAL`` it does not exist yet; ``FWX_E_TERMINATING``.
        """
        return on_loop(self.engine.queue, self._name, lambda transport: transport.getpeername())

    def SetBufferSize(self, BufferSize: int) -> None:
        """Receive in blocks of *BufferSize* bytes, 1 to 1 MiB, instead of the size that adapts itself (B3.20).

        :raises COMError: ``E_INVALIDARG`` out of that range; ``FWX_E_TERMINATING``.
        """
        size = whole(BufferSize, "BufferSize", 1, _LARGEST_BUFFER)
        on_loop(self.engine.queue, self._set_block_size, size)

    def _set_block_size(self, size: int) -> None:
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection has ended")
        self._block_size = size
        for endpoint in self._endpoints:
            endpoint.set_block_size(size)

    def _name(self, ask: Any) -> SocketAddress:
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection has ended")
        if self._server_transport is None:
            raise winsock_error(WSAEINVAL, "the connection to the server does not exist yet")
        try:
            return SocketAddress.from_sockaddr(ask(self._server_transport))
        except OSError as error:
            raise winsock_error(WSAEFAULT, str(error)) from error
