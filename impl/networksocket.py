"""FWXNetworkSocket: a TCP socket of the firewall or of a session (B4.2 to B4.7)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from fwx.impl.accepting import Accepted, Acceptor, PostedAccept, listen_on
from fwx.impl.admission import admit, admit_arrival
from fwx.impl.boundary import attempt
from fwx.impl.connecting import Connecting
from fwx.impl.departure import Departure
from fwx.impl.endpoint import Endpoint
from fwx.impl.localend import LocalEnd
from fwx.impl.logrecord import Action
from fwx.impl.loopthread import on_loop
from fwx.impl.ownedsocket import OwnedSocket
from fwx.impl.recorded import IRecorded, Remarks
from fwx.impl.socketrecord import SocketTraffic
from fwx.impl.sockets import check_address
from fwx.interfaces import FwxTimeoutType, IFWXNetworkSocket, SocketAddress
from fwx.interfaces.constants import FWX_PROTOCOL_TCP
from fwx.interfaces.hresult import (
    E_POINTER,
    ERROR_OPERATION_ABORTED,
    FWX_E_ADDRESS_NOT_ALLOWED,
    HRESULT_FROM_WIN32,
    WIN32_FROM_HRESULT,
    WSAEACCES,
    WSAEINVAL,
    WSAEISCONN,
    WSAENOTCONN,
    WSAETIMEDOUT,
    COMError,
    winsock_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwx.impl.deadline import Deadline, Timer
    from fwx.impl.dial import Dialled
    from fwx.impl.engine import Engine, SocketKeeper
    from fwx.impl.policy import Verdict
    from fwx.impl.route import Route
    from fwx.impl.session import FWXSession
    from fwx.impl.transport import Transport
    from fwx.interfaces import IFWXAcceptCompletion, IFWXIpFilter

_NOWHERE = SocketAddress("0.0.0.0", 0)  # noqa: S104  stands for no address, nothing is bound to it


@implementer(IFWXNetworkSocket, IRecorded)
class FWXNetworkSocket(OwnedSocket):
    """A TCP socket that a filter made through the service."""

    __slots__ = (
        "_acceptor",
        "_connect_timer",
        "_dial",
        "_endpoint",
        "_first_data",
        "_linger",
        "_local",
        "_remarks",
        "_remote",
        "_started",
        "_verdict",
    )

    def __init__(self, engine: Engine, keeper: SocketKeeper, session: FWXSession | None = None) -> None:
        """Made by the registry's adapters; *keeper* closes it when its owner ends."""
        super().__init__(engine, keeper, session, LocalEnd(engine, FWX_PROTOCOL_TCP, engine.network.stream))
        self._acceptor: Acceptor | None = None
        self._endpoint: Endpoint | None = None
        self._dial: Any = None
        self._connect_timer: Timer | None = None
        self._first_data: Timer | None = None
        self._linger: Deadline | None = None
        self._verdict: Verdict | None = None
        self._remarks: Remarks | None = None
        self._local: SocketAddress | None = None
        self._remote: SocketAddress | None = None
        self._started = engine.clock()

    # IFWXNetworkSocket.

    def Connect(self, Address: SocketAddress, AddressLength: int | None = None) -> None:
        """Start to connect; what is posted meanwhile waits, and fails with the error if connecting fails (DESIGN 5).

        Called by a blocking filter on its thread it blocks until it is connected, or has failed (B4.14).

        :raises COMError: ``WSAEISCONN`` connected or connecting; ``WSAEINVAL`` it listens;
            ``FWX_E_ADDRESS_NOT_ALLOWED`` the IP filter does not include a literal address;
            ``FWX_E_POLICY_RULES_DENIED`` the session's policy forbids one (a name that turns out forbidden, by either,
            fails what is posted with ``WSAEACCES``); ``E_POINTER``, ``E_INVALIDARG``; the Winsock error where
            connecting fails at once, or where it is waited for.
        """
        self._require_open()
        check_address(Address, AddressLength)
        if self.engine.strands.current is not None:
            self._wait_connected(lambda tell: on_loop(self._queue, self._connect, Address, tell), Address)
            return
        waiting = self._connect(Address)
        if waiting.code:
            raise winsock_error(waiting.code, f"connecting to {Address} failed")

    def _connect(self, Address: SocketAddress, tell: Callable[[int], None] | None = None) -> Connecting:
        if self._neighbour is not None:
            raise winsock_error(WSAEISCONN, "the socket is connected or connecting")
        if self._acceptor is not None:
            raise winsock_error(WSAEINVAL, "the socket listens")
        if Address.address is not None:
            self._judge_literal(Address)
        waiting = self._neighbour = Connecting(self._queue, self._connecting_ended, told=tell)
        self._remote = Address
        self._keeper.keep(self)
        self._queue.call(self._start_connect, Address, waiting)
        return waiting

    def Bind(self, Address: SocketAddress, AddressLength: int | None, pIpFilter: IFWXIpFilter | None) -> None:
        """Give the socket its local address; port 0 takes a free one. It deals with *pIpFilter*'s addresses only.

        :raises COMError: ``WSAEINVAL`` bound already; ``E_INVALIDARG`` not an IP filter of the service's; the Winsock
            error of the bind.
        """
        self._answer(self._bind, Address, AddressLength, pIpFilter)

    def GetSockName(self) -> SocketAddress:
        """Return the local address.

        :raises COMError: ``WSAEINVAL`` the socket is not bound.
        """
        return self._local if self._local is not None else super().GetSockName()

    def GetPeerName(self) -> SocketAddress:
        """Return the peer's address.

        :raises COMError: ``WSAENOTCONN``.
        """
        if self._endpoint is None or self._remote is None:
            raise winsock_error(WSAENOTCONN, "the socket is not connected")
        return self._remote

    def Listen(self, Backlog: int) -> None:
        """Take connections on the bound address; :meth:`Accept` hands them out.

        The port opens now, or a moment later where a packet filter of the kernel is asked; if that fails then, the
        socket ends.

        :raises COMError: ``WSAEINVAL`` not bound, or listening; the Winsock error of the listen or the packet filter.
        """
        self._answer(self._listen, Backlog)

    def _listen(self, Backlog: int) -> None:
        self._require_open()
        transport = self._local_end.transport
        if transport is None or self._acceptor is not None or self._neighbour is not None:
            raise winsock_error(WSAEINVAL, "Listen comes once, after Bind")
        listen_on(self._local_end, Backlog, self._port_answered)
        self._acceptor = Acceptor(transport, self._admits_peer, self._accept_ended, self.engine)

    def Accept(self, pIFWXAcceptCompletion: IFWXAcceptCompletion, UserData: object) -> None:
        """Ask for one connection (B4.12, B4.13).

        :raises COMError: ``E_POINTER`` no completion; ``WSAEINVAL`` the socket does not listen.
        """
        self._require_open()
        if pIFWXAcceptCompletion is None:
            raise COMError(E_POINTER, "Accept needs a completion")
        if self._acceptor is None:
            raise winsock_error(WSAEINVAL, "Accept comes after Listen")
        accept = PostedAccept(pIFWXAcceptCompletion, UserData, self.engine.clock())
        self._queue.call(self._post_accept, accept)

    def Close(self, fAbortive: bool) -> None:
        """End the socket (B3.26); a listening one gives its port back and fails the pending Accepts."""
        if self._closed or self._terminated:
            return
        super().Close(fAbortive)
        if self._neighbour is None:
            self._queue.call(self._close_bound)

    # IRecorded.

    @property
    def rule(self) -> str:
        return "" if self._verdict is None else self._verdict.rule

    @property
    def user(self) -> str:
        return "" if self.session is None else self.session.user_name

    @property
    def upstream(self) -> str:
        return "" if self._verdict is None else self._verdict.upstream

    @property
    def client(self) -> SocketAddress:
        """The session's client; of a socket that belongs to no user who has connected to it, else nowhere."""
        if self.session is not None:
            return self.session.address
        return _NOWHERE if self._remote is None else self._remote

    def remark(self, words: str) -> None:
        if self._remarks is None:
            self._remarks = Remarks()
        self._remarks.add(words)

    # The service's side.

    def take_over(self, accepted: Accepted) -> None:
        """Become the socket of an accepted connection."""
        self._local, self._remote = accepted.local, accepted.remote
        self._local_end.adopt(accepted.transport)
        self._neighbour = self._endpoint = Endpoint(accepted.transport, self._queue, self)
        self._local_end.open_port(accepted.remote, self._port_answered)

    def terminate_connection(self) -> None:
        """End the socket because its owner ends; what is pending fails, also behind a Close that still sends."""
        self.Close(True)
        if self._endpoint is not None:
            self._endpoint.close(True)
        elif isinstance(self._neighbour, Connecting):
            self._neighbour.close(True)

    def _operation_expired(self, kind: FwxTimeoutType) -> None:
        """What a stream has half sent or received cannot be taken back: the connection ends (Winsock's words too)."""
        if self._endpoint is not None:
            self._endpoint.abort(WSAETIMEDOUT)
        elif isinstance(self._neighbour, Connecting):
            self._cancel_dial()
            self._connect_failed(WSAETIMEDOUT)

    def endpoint_ended(self, endpoint: Endpoint) -> None:
        if endpoint.closed:
            self._ended(endpoint)
        else:
            endpoint.close(False)  # which tells us again

    def endpoint_broken(self, endpoint: Endpoint, code: int) -> None:
        endpoint.close(True)

    def endpoint_faltered(self, endpoint: Endpoint, doomed: bool) -> None:
        """An open socket's owner learns of it by what it posts; a closed one has as long as its data still moves."""
        if doomed and self._closed and self._linger is None:
            self._watch_lingering(endpoint)

    def _watch_lingering(self, endpoint: Endpoint) -> None:
        self._linger = self.engine.linger_deadlines.add(partial(self._lingered, endpoint, endpoint.sent))

    def _lingered(self, endpoint: Endpoint, sent: int) -> None:
        if endpoint.closed:
            return
        if endpoint.sent != sent:
            self._watch_lingering(endpoint)
        else:
            endpoint.abort(WSAETIMEDOUT)

    # Connecting.

    def _judge_literal(self, address: SocketAddress) -> None:
        if not self._local_end.admits(address):
            raise COMError(FWX_E_ADDRESS_NOT_ALLOWED, f"the socket's IP filter does not include {address.host}")
        if self.session is None:
            return
        self._verdict, _ = admit(self.engine, self.session.address, address, who=self.session.who)
        if not self._verdict.allowed:
            self._remote = address
            self._write(Action.Denied, int(self._verdict.hresult), self._verdict.reason)
            raise COMError(self._verdict.hresult, self._verdict.reason)

    def _start_connect(self, address: SocketAddress, waiting: Connecting) -> None:
        if waiting.code:  # closed before this came from another thread
            return
        self._connect_timer = self._timeouts.start(
            FwxTimeoutType.fwxConnectExSendTimeout,
            partial(self._operation_expired, FwxTimeoutType.fwxConnectExSendTimeout),
        )
        if address.address is not None:
            self._dial_to([address])
        elif self._goes_by_name(address):
            self._dial_to(None)
        else:
            self._dial = self._look_up(address, self._resolved)

    def _goes_by_name(self, name: SocketAddress) -> bool:
        """Tell whether policy allows *name* by itself, and its route resolves it; an IP filter needs its addresses."""
        if self.session is None or self._local_end.is_restricted:
            return False
        verdict, _ = admit(self.engine, self.session.address, name, who=self.session.who)
        if not verdict.allowed or not self.engine.routes[verdict.upstream].takes_names:
            return False
        self._verdict = verdict
        return True

    def _route(self) -> Route:
        """Return the route of the rule that allows it (B8.7); no rule is asked about the firewall's own sockets."""
        return self.engine.routes["" if self._verdict is None else self._verdict.upstream]

    def _resolved(self, addresses: list[SocketAddress], code: int) -> None:
        self._dial = None
        if not addresses:
            self._connect_failed(code)
            return
        result, reason = 0, ""
        if self.session is not None and self._remote is not None:
            session = self.session
            self._verdict, addresses = admit(self.engine, session.address, self._remote, addresses, who=session.who)
            result, reason = int(self._verdict.hresult), self._verdict.reason
        if addresses:
            addresses = [address for address in addresses if self._local_end.admits(address)]
            result, reason = int(FWX_E_ADDRESS_NOT_ALLOWED), "the socket's IP filter includes none of its addresses"
        if addresses:
            self._dial_to(addresses)
        else:
            self._write(Action.Denied, result, reason)
            self._give_up(WSAEACCES)

    def _dial_to(self, addresses: list[SocketAddress] | None) -> None:
        """Take the route to *addresses*, or to the name itself; a bound socket keeps its local address.

        No packet leaves to an address before the port is open to it.
        """
        target, waiting = self._remote, self._neighbour
        assert target is not None
        bound: Transport | None = self._local_end.transport
        self._local_end.transport = None
        family = 0
        if bound is not None:
            self._local = SocketAddress.from_sockaddr(bound.getsockname())
            family = self._local.family
        open_port = partial(self._local_end.open_port, local=self._local)
        departure = Departure(self.engine.network, bound, family, open_port)
        cancel = self._route().dial(self.engine, departure, target, addresses, self._dialled)
        if self._neighbour is waiting:  # it has not ended yet
            self._dial = cancel

    def _port_answered(self, code: int) -> None:
        """The packet filter has opened the own port; or it could not, and what may not be used has to end."""
        if not code:
            return
        if self._endpoint is not None:
            self._endpoint.abort(code)
        else:
            self._write(Action.Failed, HRESULT_FROM_WIN32(code), "the packet filter did not open the port")
            self.Close(True)

    def _dialled(self, dialled: Dialled) -> None:
        self._dial = None
        waiting, transport = self._neighbour, dialled.transport
        if transport is None:
            self._connect_failed(dialled.code, dialled.reason)
            return
        assert isinstance(waiting, Connecting)
        self._stop_connect_timer()
        try:
            self._local_end.adopt(transport)
            self._local = self._local_end.name()
            self._local_end.keep_port(dialled.peer, self._port_answered)
        except COMError as error:
            transport.close(True)
            self._connect_failed(WIN32_FROM_HRESULT(error.hresult))
            return
        self._remote = dialled.address or self._remote
        self._neighbour = self._endpoint = Endpoint(transport, self._queue, self)
        if dialled.early:
            self._endpoint.set_prefix(dialled.early)
        waiting.pass_on(self._endpoint)

    def _connect_failed(self, code: int, reason: str = "") -> None:
        words = "connecting failed" + f": {reason}" * bool(reason)
        self._write(Action.Failed, HRESULT_FROM_WIN32(code), words)
        self._give_up(code)

    def _give_up(self, code: int) -> None:
        """Fail what was posted; the socket can be connected once more."""
        self._stop_connect_timer()
        transport, self._local_end.transport = self._local_end.transport, None
        if transport is not None:
            transport.close(False)
        waiting = self._neighbour
        if isinstance(waiting, Connecting):
            waiting.fail(code)
        self._neighbour = self._local = self._remote = None
        self._local_end.close_ports()
        if self._closed:
            self._close_bound()

    def _connecting_ended(self) -> None:
        """The socket was closed while it connected."""
        self._cancel_dial()
        self._stop_connect_timer()
        self._close_bound()

    def _cancel_dial(self) -> None:
        dial, self._dial = self._dial, None
        if dial is not None:
            dial()

    def _stop_connect_timer(self) -> None:
        timer, self._connect_timer = self._connect_timer, None
        if timer is not None:
            timer.cancel()

    # Accepting.

    def _post_accept(self, accept: PostedAccept) -> None:
        if self._closed or self._acceptor is None:
            self._accept_ended(accept, None, ERROR_OPERATION_ABORTED)
            return
        accept.timer = self._timeouts.start(
            FwxTimeoutType.fwxAcceptTimeout, partial(self._acceptor.expire, accept)
        ) or self._timeouts.start(FwxTimeoutType.fwxAcceptExTimeout, partial(self._acceptor.expire, accept))
        self._acceptor.post(accept)

    def _admits_peer(self, accepted: Accepted) -> Accepted | None:
        """Return *accepted* if the peer may connect; who may not is logged (B6.34).

        Of a session's socket the rules are asked too (B4.7): the peer is the source, the socket's address the target.
        """
        peer, verdict = accepted.remote, None
        result: int = FWX_E_ADDRESS_NOT_ALLOWED
        if not self._local_end.admits(peer):
            reason = f"the IP filter does not include {peer}"
        elif not self._local_end.is_open_to(peer):
            reason = f"the port is not open to {peer}"
        else:
            if self.session is None:
                return accepted
            verdict = admit_arrival(self.engine, peer, accepted.local, self.session.who)
            if verdict.allowed:
                return accepted._replace(verdict=verdict)
            result, reason = int(verdict.hresult), verdict.reason
        traffic = self._traffic(source=peer)
        traffic.verdict = verdict
        self._log.write(Action.Denied, traffic, result, reason)
        return None

    def _accept_ended(self, accept: PostedAccept, accepted: Accepted | None, code: int) -> None:
        if accept.timer is not None:
            accept.timer.cancel()
        socket: FWXNetworkSocket | None = None
        if accepted is not None:
            socket = FWXNetworkSocket(self.engine, self._keeper, self.session)
            socket._timeouts = self._timeouts.copy()
            socket._strand = self._strand
            socket._protocol_name = self._protocol_name
            socket._verdict = accepted.verdict
            try:
                socket.take_over(accepted)
            except COMError as error:
                accepted.transport.close(True)
                socket._gone()
                socket, code = None, WIN32_FROM_HRESULT(error.hresult)
            else:
                socket._expect_data(accept.started)
        self._queue.post(self._complete_accept, accept, socket, code)

    def _expect_data(self, started: float) -> None:
        """Keep to the two time-outs of ``AcceptEx``: a peer that says nothing for so long is reset."""
        now = self.engine.clock()
        ends = (
            (started, self._timeouts.get(FwxTimeoutType.fwxAcceptExTimeout)),
            (now, self._timeouts.get(FwxTimeoutType.fwxAcceptExRecvTimeout)),
        )
        limits = [max(start + limit / 1000 - now, 0.0) for start, limit in ends if limit]
        if limits:
            self._first_data = self.engine.call_later(min(limits), self._first_data_missing)

    def _first_data_missing(self) -> None:
        endpoint = self._endpoint
        if endpoint is not None and not endpoint.received and not endpoint.closed and not endpoint.has_data():
            endpoint.abort(WSAETIMEDOUT)

    def _complete_accept(self, accept: PostedAccept, accepted: FWXNetworkSocket | None, code: int) -> None:
        remote = local = _NOWHERE
        if accepted is not None and accepted._remote is not None and accepted._local is not None:
            remote, local = accepted._remote, accepted._local
        outcome = (accepted is not None, code, self, accepted)
        args = (*outcome, remote, remote.length, local, local.length, accept.user_data)
        if self._strand is not None:
            self._strand.tell(accept.completion, "CompleteAsyncAccept", args, partial(self._accept_failed, accepted))
            return
        _, error = attempt(accept.completion, "CompleteAsyncAccept", *args)
        if error is not None:
            self._accept_failed(accepted, error)

    def _accept_failed(self, accepted: FWXNetworkSocket | None, error: BaseException) -> None:
        self.engine.faults.report(self._log.owner_name, "CompleteAsyncAccept", error)
        if accepted is not None:
            accepted.Close(True)

    def _close_bound(self) -> None:
        acceptor, self._acceptor = self._acceptor, None
        transport, self._local_end.transport = self._local_end.transport, None
        if acceptor is not None:
            acceptor.close()
        elif transport is not None:
            transport.close(False)
        self._gone()

    # The record.

    def _ended(self, endpoint: Endpoint) -> None:
        if self._first_data is not None:
            self._first_data.cancel()
        traffic = self._traffic()
        traffic.sent, traffic.received = endpoint.sent, endpoint.received
        self._log.write(Action.Terminate, traffic, HRESULT_FROM_WIN32(endpoint.broken), self._with_remarks(""))
        self._gone()

    def _write(self, action: Action, result: int, reason: str) -> None:
        self._log.write(action, self._traffic(), result, self._with_remarks(reason))

    def _with_remarks(self, reason: str) -> str:
        return reason if self._remarks is None else self._remarks.after(reason)

    def _traffic(self, source: SocketAddress | None = None) -> SocketTraffic:
        """What a record says of this socket; of a refused *source* that it came to the socket's own address."""
        local, remote = (self._local, self._remote) if source is None else (source, self.GetSockName())
        name = self._protocol_name
        return SocketTraffic("TCP", self._started, local, remote, self._verdict, application_protocol=name)
