"""IFWXNetworkSocket: a real socket of the firewall or of a session (B4.2 to B4.7)."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from fwx.impl.admission import admit
from fwx.impl.argument import INT_MOST, octets, whole
from fwx.impl.boundary import attempt
from fwx.impl.connecting import Connecting, OneTransport
from fwx.impl.dial import Dial
from fwx.impl.endpoint import Endpoint
from fwx.impl.logrecord import Action, LogRecord
from fwx.impl.policy import Verdict
from fwx.impl.sockets import FWXSocket
from fwx.impl.sockopt import from_kernel, to_kernel, value_from_kernel
from fwx.impl.winsock import winsock_code
from fwx.interfaces import IFWXNetworkSocket, SocketAddress
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_NOTIMPL,
    E_POINTER,
    ERROR_OPERATION_ABORTED,
    FWX_E_TERMINATING,
    HRESULT_FROM_WIN32,
    WSAEACCES,
    WSAEAFNOSUPPORT,
    WSAEFAULT,
    WSAEINVAL,
    WSAEISCONN,
    WSAENOPROTOOPT,
    WSAENOTCONN,
    WSAETIMEDOUT,
    COMError,
    winsock_error,
)

if TYPE_CHECKING:
    from fwx.impl.deadline import Deadline
    from fwx.impl.engine import Engine, SocketKeeper
    from fwx.impl.session import FWXSession
    from fwx.impl.transport import Transport
    from fwx.interfaces import IFWXAcceptCompletion, IFWXIpFilter


@implementer(IFWXNetworkSocket)
class FWXNetworkSocket(FWXSocket):
    """A TCP socket that a filter made through the service.

    With a *session* it is user-specific: it obeys the session's policy, is logged as its user's, and closes with it.
    Without, it belongs to no user, no policy applies, and it closes with the service.
    """

    __slots__ = (
        "_accepts",
        "_bound",
        "_dial",
        "_endpoint",
        "_keeper",
        "_linger",
        "_listening",
        "_local",
        "_remote",
        "_started",
        "_verdict",
        "engine",
        "session",
    )

    def __init__(self, engine: Engine, keeper: SocketKeeper, session: FWXSession | None = None) -> None:
        """Made by the registry's adapters; *keeper* closes it when its owner ends."""
        super().__init__(engine.queue, self)
        self.engine = engine
        self.session = session
        self._accepts: deque[tuple[IFWXAcceptCompletion, object]] = deque()
        self._bound: Transport | None = None
        self._listening = False
        self._endpoint: Endpoint | None = None
        self._dial: Any = None
        self._linger: Deadline | None = None
        self._verdict: Verdict | None = None
        self._local: SocketAddress | None = None
        self._remote: SocketAddress | None = None
        self._started = engine.clock()
        self._keeper = keeper
        keeper.keep(self)

    @property
    def _registry(self) -> Any:
        return self.engine.registry

    # IFWXNetworkSocket.

    def Connect(self, Address: SocketAddress, AddressLength: int | None = None) -> None:
        """Start to connect; what is posted meanwhile waits, and fails with the error if connecting fails (DESIGN 5).

        :raises COMError: ``WSAEISCONN`` connected or connecting; ``WSAEINVAL`` it listens;
            ``FWX_E_POLICY_RULES_DENIED`` the session's policy forbids a literal address (a name that turns out
            forbidden fails what is posted with ``WSAEACCES``); ``E_POINTER``, ``E_INVALIDARG``; the Winsock error where
            connecting fails at once.
        """
        self._require_open()
        _check_address(Address, AddressLength)
        if self._neighbour is not None:
            raise winsock_error(WSAEISCONN, "the socket is connected or connecting")
        if self._listening:
            raise winsock_error(WSAEINVAL, "the socket listens")
        if self.session is not None and Address.address is not None:
            self._verdict, _ = admit(self.engine, self.session.address, Address)
            if not self._verdict.allowed:
                self._log_denial(Address)
                raise COMError(self._verdict.hresult, self._verdict.reason)
        waiting = self._neighbour = Connecting(self._queue, self._connecting_ended)
        self._remote = Address
        self._keeper.keep(self)
        self._queue.call(self._start_connect, Address, waiting)
        if waiting.code:
            raise winsock_error(waiting.code, f"connecting to {Address} failed")

    def Bind(self, Address: SocketAddress, AddressLength: int | None, pIpFilter: IFWXIpFilter | None) -> None:
        """Give the socket its local address; port 0 takes a free one.

        :raises COMError: ``E_NOTIMPL`` an IP filter; ``WSAEINVAL`` bound already; the Winsock error of the bind.
        """
        self._require_open()
        _check_address(Address, AddressLength)
        self.SetIpFilter(pIpFilter)
        if self._bound is not None or self._neighbour is not None:
            raise winsock_error(WSAEINVAL, "the socket is bound already")
        transport: Transport | None = None
        try:
            transport = self.engine.network.stream(Address.family)
            transport.bind(Address.sockaddr)
        except OSError as error:
            if transport is not None:
                transport.close(False)
            raise winsock_error(winsock_code(error), f"bind {Address}: {error}") from error
        self._bound = transport

    def GetSockName(self) -> SocketAddress:
        """Return the local address.

        :raises COMError: ``WSAEINVAL`` the socket is not bound.
        """
        return self._name("getsockname", self._local, WSAEINVAL, "the socket is not bound")

    def GetPeerName(self) -> SocketAddress:
        """Return the peer's address.

        :raises COMError: ``WSAENOTCONN``.
        """
        if self._endpoint is None:
            raise winsock_error(WSAENOTCONN, "the socket is not connected")
        return self._name("getpeername", self._remote, WSAENOTCONN, "the socket is not connected")

    def Listen(self, Backlog: int) -> None:
        """Take connections on the bound address; :meth:`Accept` hands them out.

        :raises COMError: ``WSAEINVAL`` not bound, or listening; the Winsock error of the listen.
        """
        self._require_open()
        if self._bound is None or self._listening or self._neighbour is not None:
            raise winsock_error(WSAEINVAL, "Listen comes once, after Bind")
        try:
            self._bound.listen(max(whole(Backlog, "Backlog", -INT_MOST, INT_MOST), 0))
        except OSError as error:
            raise winsock_error(winsock_code(error), str(error)) from error
        self._listening = True

    def SetSockOpt(
        self, level: int, optname: int, optval: bytes | bytearray | memoryview, optlen: int | None = None
    ) -> None:
        """Set an option by its Winsock numbers.

        :raises COMError: ``E_NOTIMPL`` on a session's socket; ``WSAENOPROTOOPT`` an option that is not known here;
            ``WSAEFAULT`` a value of the wrong size; ``WSAENOTCONN`` neither bound nor connected yet; ``E_POINTER`` no
            value; ``E_INVALIDARG`` a value shorter than *optlen*.
        """
        self._require_options()
        whole(level, "level"), whole(optname, "optname")
        value = octets(optval, "optval")
        if optlen is not None:
            value = value[: whole(optlen, "optlen", most=len(value))]
        try:
            kernel = to_kernel(level, optname, value)
        except KeyError:
            raise winsock_error(WSAENOPROTOOPT, f"option {optname:#x} at level {level:#x}") from None
        except ValueError as error:
            raise winsock_error(WSAEFAULT, str(error)) from error
        try:
            self._require_transport().setsockopt(*kernel)
        except OSError as error:
            raise winsock_error(winsock_code(error), str(error)) from error

    def GetSockOpt(self, level: int, optname: int) -> bytes:
        """Read an option by its Winsock numbers; integers come as four bytes, least significant first.

        :raises COMError: as :meth:`SetSockOpt`.
        """
        self._require_options()
        whole(level, "level"), whole(optname, "optname")
        try:
            kernel = from_kernel(level, optname)
        except KeyError:
            raise winsock_error(WSAENOPROTOOPT, f"option {optname:#x} at level {level:#x}") from None
        try:
            return value_from_kernel(level, optname, self._require_transport().getsockopt(*kernel))
        except OSError as error:
            raise winsock_error(winsock_code(error), str(error)) from error

    def Accept(self, pIFWXAcceptCompletion: IFWXAcceptCompletion, UserData: object) -> None:
        """Ask for one connection (B4.12, B4.13).

        :raises COMError: ``E_POINTER`` no completion; ``WSAEINVAL`` the socket does not listen.
        """
        self._require_open()
        if pIFWXAcceptCompletion is None:
            raise COMError(E_POINTER, "Accept needs a completion")
        if not self._listening:
            raise winsock_error(WSAEINVAL, "Accept comes after Listen")
        self._queue.call(self._post_accept, pIFWXAcceptCompletion, UserData)

    def _SetPacketFilterOptions(self, fForInternalUse: bool, dwForInternalUse: int) -> None:
        """:raises COMError: ``E_NOTIMPL``; the slot is the service's own."""
        raise COMError(E_NOTIMPL)

    def SetIpFilter(self, pIpFilter: IFWXIpFilter | None) -> None:
        """Lift the restriction with ``None``, which is how a socket starts (B4.11).

        :raises COMError: ``E_NOTIMPL`` for a filter; ``WSAENOTSOCK`` after Close.
        """
        self._require_open()
        if pIpFilter is not None:
            raise COMError(E_NOTIMPL, "IP filters")

    def GetIpFilter(self) -> IFWXIpFilter | None:
        """Return ``None``: the socket is not restricted (B4.11).

        :raises COMError: ``WSAENOTSOCK`` after Close.
        """
        self._require_open()
        return None

    def Close(self, fAbortive: bool) -> None:
        """End the socket (B3.26); a listening one gives its port back and fails the pending Accepts."""
        if self._closed or self._terminated:
            return
        super().Close(fAbortive)
        if self._neighbour is None:
            self._queue.call(self._close_bound)

    # The service's side.

    def take_over(self, transport: Transport, local: SocketAddress, remote: SocketAddress) -> None:
        """Become the socket of an accepted connection."""
        self._local, self._remote = local, remote
        self._neighbour = self._endpoint = Endpoint(transport, self._queue, self)

    def terminate_connection(self) -> None:
        """End the socket because its owner ends; what is pending fails, also behind a Close that still sends."""
        self.Close(True)
        if self._endpoint is not None:
            self._endpoint.close(True)
        elif isinstance(self._neighbour, Connecting):
            self._neighbour.close(True)

    def completion_failed(self, error: BaseException) -> None:
        """A completion object given to this socket raised or returned a failure: the socket is reset."""
        self.engine.faults.report(self._owner_name, "CompleteAsyncIO", error)
        self.Close(True)

    def _connecting_ended(self) -> None:
        """The socket was closed while it connected."""
        if self._dial is not None:
            dial, self._dial = self._dial, None
            dial()
        self._close_bound()

    def endpoint_ended(self, endpoint: Endpoint) -> None:
        if endpoint.closed:
            self._log_end(endpoint)
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

    @property
    def _owner_name(self) -> str:
        return "a session's socket" if self.session is not None else "the firewall's socket"

    def _start_connect(self, address: SocketAddress, waiting: Connecting) -> None:
        if self._closed:
            return
        if address.address is None:
            self._dial = self.engine.resolver.resolve(address, self._resolved)
        else:
            self._dial_to([address])

    def _resolved(self, addresses: list[SocketAddress], code: int) -> None:
        self._dial = None
        if addresses and self.session is not None and self._remote is not None:
            self._verdict, addresses = admit(self.engine, self.session.address, self._remote, addresses)
            if not addresses:
                self._log_denial(self._remote)
                self._give_up(WSAEACCES)
                return
        if addresses:
            self._dial_to(addresses)
        else:
            self._connect_failed(code)

    def _dial_to(self, addresses: list[SocketAddress]) -> None:
        bound, self._bound = self._bound, None
        network: Any = self.engine.network
        if bound is not None:
            self._local = SocketAddress.from_sockaddr(bound.getsockname())
            network = OneTransport(bound)
            addresses = [address for address in addresses if address.family == self._local.family][:1]
            if not addresses:
                bound.close(False)
                self._connect_failed(WSAEAFNOSUPPORT)
                return
        dial = Dial(network, addresses, self.engine.connect_deadlines, self._dialled)
        self._dial = dial.cancel
        dial.start()

    def _dialled(self, transport: Transport | None, address: SocketAddress | None, code: int) -> None:
        self._dial = None
        waiting = self._neighbour
        if transport is None:
            self._connect_failed(code)
            return
        assert isinstance(waiting, Connecting)
        self._local = SocketAddress.from_sockaddr(transport.getsockname())
        self._remote = address
        self._neighbour = self._endpoint = Endpoint(transport, self._queue, self)
        waiting.pass_on(self._endpoint)

    def _connect_failed(self, code: int) -> None:
        self._log(Action.Failed, HRESULT_FROM_WIN32(code), "connecting failed")
        self._give_up(code)

    def _give_up(self, code: int) -> None:
        """Fail what was posted; the socket can be connected once more."""
        waiting = self._neighbour
        if isinstance(waiting, Connecting):
            waiting.fail(code)
        self._neighbour = self._local = self._remote = None
        if self._closed:
            self._keeper.forget(self)

    def _post_accept(self, completion: IFWXAcceptCompletion, user_data: object) -> None:
        if self._closed or self._bound is None:
            self._queue.post(self._complete_accept, completion, user_data, None, ERROR_OPERATION_ABORTED)
            return
        self._accepts.append((completion, user_data))
        if len(self._accepts) == 1:
            self._bound.watch_accept(self._accept_ready)

    def _accept_ready(self, mask: int) -> None:
        while self._accepts and self._bound is not None:
            try:
                transport, sockaddr = self._bound.accept()
            except BlockingIOError:
                return
            except OSError as error:
                completion, user_data = self._accepts.popleft()
                self._queue.post(self._complete_accept, completion, user_data, None, winsock_code(error))
                continue
            completion, user_data = self._accepts.popleft()
            accepted = FWXNetworkSocket(self.engine, self._keeper, self.session)
            local = SocketAddress.from_sockaddr(transport.getsockname())
            accepted.take_over(transport, local, SocketAddress.from_sockaddr(sockaddr))
            self._queue.post(self._complete_accept, completion, user_data, accepted, 0)
        if self._bound is not None and not self._accepts:
            self._bound.pause_accept()

    def _complete_accept(
        self, completion: IFWXAcceptCompletion, user_data: object, accepted: FWXNetworkSocket | None, code: int
    ) -> None:
        remote = local = _NOWHERE
        if accepted is not None and accepted._remote is not None and accepted._local is not None:
            remote, local = accepted._remote, accepted._local
        _, error = attempt(
            completion,
            "CompleteAsyncAccept",
            accepted is not None,
            code,
            self,
            accepted,
            remote,
            remote.length,
            local,
            local.length,
            user_data,
        )
        if error is not None:
            self.engine.faults.report(self._owner_name, "CompleteAsyncAccept", error)
            if accepted is not None:
                accepted.Close(True)

    def _close_bound(self) -> None:
        bound, self._bound = self._bound, None
        if bound is not None:
            bound.close(False)
        while self._accepts:
            completion, user_data = self._accepts.popleft()
            self._queue.post(self._complete_accept, completion, user_data, None, ERROR_OPERATION_ABORTED)
        self._keeper.forget(self)

    def _require_open(self) -> None:
        super()._require_open()
        if self.session is not None and self.session.terminated:
            raise COMError(FWX_E_TERMINATING, "the session has ended")

    def _name(self, method: str, known: SocketAddress | None, code: int, text: str) -> SocketAddress:
        if known is not None:
            return known
        if self._bound is None:
            raise winsock_error(code, text)
        try:
            return SocketAddress.from_sockaddr(getattr(self._bound, method)())
        except OSError as error:
            raise winsock_error(winsock_code(error), str(error)) from error

    def _require_options(self) -> None:
        self._require_open()
        if self.session is not None:
            raise COMError(E_NOTIMPL, "a session's socket has no options")

    def _require_transport(self) -> Transport:
        transport = self._endpoint.transport if self._endpoint is not None else self._bound
        if transport is None:
            raise winsock_error(WSAENOTCONN, "the socket is neither bound nor connected")
        return transport

    def _log_end(self, endpoint: Endpoint) -> None:
        code = endpoint.broken
        self._log(Action.Terminate, HRESULT_FROM_WIN32(code), "", endpoint.sent, endpoint.received)
        self._keeper.forget(self)

    def _log_denial(self, target: SocketAddress) -> None:
        self._remote = target
        if self._verdict is not None:
            self._log(Action.Denied, int(self._verdict.hresult), self._verdict.reason)

    def _log(self, action: Action, result: int, reason: str, sent: int = 0, received: int = 0) -> None:
        verdict, remote = self._verdict, self._remote or _NOWHERE
        if verdict is not None and not verdict.log:
            return
        source = self.session.address if self.session is not None else (self._local or _NOWHERE)
        literal = remote.address is not None
        self.engine.write_record(
            LogRecord(
                time=self.engine.wall_clock(),
                action=action,
                servername=self.engine.server_name,
                source_ip=source.host if source is not _NOWHERE else "",
                source_port=self._local.port if self._local is not None else 0,
                destination_ip=remote.host if literal and remote is not _NOWHERE else "",
                destination_port=remote.port,
                destination_name="" if literal else remote.host,
                source_network=verdict.source_network if verdict is not None else "",
                destination_network=verdict.destination_network if verdict is not None else "",
                resultcode=int(result),
                rule=verdict.rule if verdict is not None else "",
                application_protocol=verdict.protocol if verdict is not None else "",
                bytes_sent=sent,
                bytes_received=received,
                connection_time=int((self.engine.clock() - self._started) * 1000),
                session_id=self.session.id if self.session is not None else 0,
                connection_id=next(self.engine.connection_ids),
                interface=self._owner_name,
                reason=reason,
            )
        )


_NOWHERE = SocketAddress("0.0.0.0", 0)  # noqa: S104  stands for no address, nothing is bound to it


def _check_address(address: SocketAddress, length: int | None) -> None:
    if address is None:
        raise COMError(E_POINTER, "an address is needed")
    if not isinstance(address, SocketAddress):
        raise COMError(E_INVALIDARG, f"{address!r} is no address")
    if length is not None:
        whole(length, "AddressLength", most=address.length)
