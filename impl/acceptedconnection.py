"""FWXAcceptedConnection: a connection from the outside to a client that waits for it (B2.23, B2.24)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from fwx.impl.connection import FWXConnection
from fwx.impl.connectionrecord import arrival_record
from fwx.impl.emulation import Emulation
from fwx.impl.event import accepted_event
from fwx.impl.logrecord import Action, LogRecord
from fwx.impl.transport import ERROR, HANGUP
from fwx.impl.winsock import winsock_name
from fwx.interfaces.enums import fwx_AcceptedConnection, fwx_dfpc_Emulation
from fwx.interfaces.hresult import FWX_E_ADDRESS_NOT_ALLOWED, HRESULT_FROM_WIN32, WSAECONNABORTED, WSAECONNRESET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fwx.impl.dial import Dialled
    from fwx.impl.filterhost import FilterHost
    from fwx.impl.listeningconnection import FWXListeningConnection
    from fwx.impl.policy import Verdict
    from fwx.impl.transport import Transport
    from fwx.interfaces import IFWXDataFilter, SocketAddress


class ClientSide(Protocol):
    """Where the client's end of what arrives comes from; whoever listens for the client hands it in."""

    def join(self, connection: FWXAcceptedConnection, done: Callable[[Dialled], None]) -> Callable[[], None]:
        """Bring the client's transport for *connection*, which policy and filters have let in.

        *done* is called once, inside the call or later, with the transport, or with why there is none. Returns what
        cancels that: *done* is then not called.
        """


class FWXAcceptedConnection(FWXConnection):
    """One connection that has arrived for a client: the external side is the peer's, the internal one the client's.

    The listening connection makes it, calls :meth:`raise_accepted_event`, then :meth:`join` or :meth:`turn_away`. It
    owns the peer's transport from the beginning.

    :ivar local: the address that the peer has connected to. :ivar is_secondary: as of the listening connection.
    """

    __slots__ = ("_arrived", "_cancel", "_early", "_waits", "local")

    def __init__(
        self,
        listening: FWXListeningConnection,
        transport: Transport | None,
        remote: SocketAddress,
        local: SocketAddress,
        verdict: Verdict,
        on_ended: Any,
        early: bytes = b"",
    ) -> None:
        """*transport* is the peer's; ``None`` where a filter plays the peer: :meth:`emulate` follows.

        *early* is what the peer sent ahead of its transport.
        """
        super().__init__(
            listening.session,
            listening.client_address,
            remote,
            verdict,
            interface=listening.interface,
            agent=listening.agent,
            on_ended=on_ended,
        )
        self.local = local
        self.address = remote
        self.is_secondary = listening.is_secondary
        self.claimed_user = listening.claimed_user
        self.source_proxy = listening.source_proxy
        self.proxy_header = listening.proxy_header
        self._server_transport = transport
        self._arrived = transport
        self._early = early
        # The client's end has been asked for, and has not come yet.
        self._waits = False
        self._cancel: Callable[[], None] | None = None
        self.on_abandoned = self._let_peer_go

    def emulate(self, host: FilterHost, data_filter: IFWXDataFilter) -> None:
        """Have *data_filter* play the peer (B3.37).

        :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` it is no data filter.
        """
        member = self._attach(data_filter, fwx_dfpc_Emulation, None, host)
        member.emulates = True
        self.emulation = Emulation(host, member)
        self.emulation.name = self.local

    async def raise_accepted_event(self, hosts: Iterable[FilterHost]) -> bool:
        """Show the arrival to the filters, in order; tell whether it may go on. Otherwise :attr:`result` says why."""
        event, at = (lambda: accepted_event(self)), (self.local,)
        if not await self.raise_event(hosts, fwx_AcceptedConnection, event, WSAECONNABORTED, at=at):
            return False
        if not self.admits(self.target):
            self._result, self._reason = FWX_E_ADDRESS_NOT_ALLOWED, f"the IP filter does not include {self.target}"
            return False
        return True

    def join(self, side: ClientSide) -> None:
        """Have the client's end brought, and pump between the two; the peer is watched for going away until then."""
        if self._arrived is not None:
            self._arrived.watch(self._peer_event)
        self._waits = True
        cancel = side.join(self, self._joined)
        if self._waits:  # it has not ended yet
            self._cancel = cancel

    def dial_again(self, cancel: Callable[[], None]) -> None:
        """The client's side goes about it another way, which *cancel* stops."""
        if self._waits:
            self._cancel = cancel

    def turn_away(self, result: int, reason: str, action: Action = Action.Failed) -> None:
        """Reset what has arrived (B2.37): a filter denies it, or the client cannot be had."""
        self._let_peer_go()
        self.refuse(result, reason, action)

    def _peer_event(self, mask: int) -> None:
        """Half-closed is not gone, and data waits in the kernel."""
        if mask & (ERROR | HANGUP):
            self.turn_away(HRESULT_FROM_WIN32(WSAECONNRESET), "the peer went away before the client was there")

    def _joined(self, dialled: Dialled) -> None:
        self._cancel = None
        client, waits = dialled.transport, self._waits
        if client is None:
            words = dialled.reason or winsock_name(dialled.code)
            self.turn_away(HRESULT_FROM_WIN32(dialled.code), f"the client cannot be had: {words}")
        elif not waits or self.terminating:
            client.close(True)
        else:
            self._waits = False
            peer, self._arrived = self._arrived, None
            self.establish(client, peer, dialled.early, self._early)

    def _let_peer_go(self) -> None:
        self._waits = False
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel()
        arrived, self._arrived = self._arrived, None
        if arrived is not None:
            arrived.close(True)

    def _write_record(self, action: Action, filters: str, seconds: float) -> LogRecord:
        record = arrival_record(self, action, filters, self.traffic, seconds)
        self.engine.write_record(record)
        return record
