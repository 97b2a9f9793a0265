"""What every socket that a filter makes through the service has in common (B4.2, B4.5)."""

from __future__ import annotations

from functools import partial
from queue import Empty
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar
from uuid import UUID

from zope.interface import implementer

from fwx.impl.argument import whole
from fwx.impl.localend import LocalEnd
from fwx.impl.loopthread import on_loop
from fwx.impl.socketrecord import SocketLog
from fwx.impl.sockets import FWXSocket, check_address
from fwx.impl.sockopt import SO_RCVTIMEO, SO_SNDTIMEO, SOL_SOCKET, milliseconds_of, milliseconds_value
from fwx.impl.threadedsocket import threaded
from fwx.impl.timeouts import ISocketTimeouts, TimedCompletion, Timeouts
from fwx.interfaces import GUID_NULL, FwxTimeoutType, IFWXNetworkSocketInspection
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    E_NOTIMPL,
    E_POINTER,
    FWX_E_TERMINATING,
    WSAEFAULT,
    WSAEINVAL,
    WSAETIMEDOUT,
    COMError,
    winsock_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwx.impl.engine import Engine, Resolved, SocketKeeper
    from fwx.impl.session import FWXSession
    from fwx.interfaces import IFWXIOBuffer, IFWXIOCompletion, IFWXIpFilter, SocketAddress

P = ParamSpec("P")
T = TypeVar("T")

GRACE_SECONDS: Final = 1.0
"""What a call on another thread grants the loop beyond the deadline of what it waits for."""

_TIMEOUT_OPTIONS = {
    (SOL_SOCKET, SO_SNDTIMEO): FwxTimeoutType.fwxSendTimeout,
    (SOL_SOCKET, SO_RCVTIMEO): FwxTimeoutType.fwxRecvTimeout,
}


@implementer(IFWXNetworkSocketInspection, ISocketTimeouts)
class OwnedSocket(FWXSocket):
    """A network socket of the firewall, or of a *session*.

    With a session it is user-specific: it obeys the session's policy, is logged as its user's, and ends with it.
    Without, it belongs to no user, no policy applies, and it ends with the service.
    """

    __slots__ = ("_keeper", "_local_end", "_log", "_protocol_name", "_strand", "_timeouts", "engine", "session")

    def __init__(
        self,
        engine: Engine,
        keeper: SocketKeeper,
        session: FWXSession | None,
        local_end: LocalEnd[Any],
    ) -> None:
        """*keeper* ends the socket when its owner ends."""
        super().__init__(engine.queue, self)
        self.engine = engine
        self.session = session
        self._keeper = keeper
        self._local_end = local_end
        self._log = SocketLog(engine, session)
        self._timeouts = Timeouts(engine.call_later)
        self._protocol_name = ""
        # Of a blocking filter: the completions come where it made the socket.
        self._strand = engine.strands.current
        keeper.keep(self)

    @property
    def _registry(self) -> Any:
        return self.engine.registry

    def _look_up(self, name: SocketAddress, done: Resolved) -> Callable[[], None]:
        """Look *name* up for a Connect, counted with what else the client, or the firewall, is connecting to."""
        owner = "" if self.session is None else self.session.address.host
        return self.engine.look_ups.begin(self.engine, owner, name, done)

    # IFWXSocket, with time-outs.

    def Send(self, pIOBuffer: IFWXIOBuffer, pIFWXIOCompletion: IFWXIOCompletion | None, UserData: object) -> None:
        pIFWXIOCompletion = threaded(self._strand, pIFWXIOCompletion, self)
        if self._timeouts.limits(FwxTimeoutType.fwxSendTimeout):
            post = partial(super().Send, pIOBuffer, UserData=UserData)
            self._post_timed(FwxTimeoutType.fwxSendTimeout, post, pIFWXIOCompletion)
        else:
            super().Send(pIOBuffer, pIFWXIOCompletion, UserData)

    def Recv(self, pIOBuffer: IFWXIOBuffer | None, pIFWXIOCompletion: IFWXIOCompletion, UserData: object) -> None:
        pIFWXIOCompletion = threaded(self._strand, pIFWXIOCompletion, self)
        if pIFWXIOCompletion is not None and self._timeouts.limits(FwxTimeoutType.fwxRecvTimeout):
            post = partial(super().Recv, pIOBuffer, UserData=UserData)
            self._post_timed(FwxTimeoutType.fwxRecvTimeout, post, pIFWXIOCompletion)
        else:
            super().Recv(pIOBuffer, pIFWXIOCompletion, UserData)

    def _post_timed(self, kind: FwxTimeoutType, post: Callable[..., None], completion: IFWXIOCompletion | None) -> None:
        timed = TimedCompletion(completion)
        post(pIFWXIOCompletion=timed)
        # On the loop thread, where timers live; the operation cannot complete before this has run there.
        self._queue.call(self._start_clock, kind, timed)

    def _start_clock(self, kind: FwxTimeoutType, timed: TimedCompletion) -> None:
        if not timed.ended:
            timed.timer = self._timeouts.start(kind, partial(self._operation_expired, kind))

    def _operation_expired(self, kind: FwxTimeoutType) -> None:
        """The oldest operation of this kind has been pending for too long."""
        raise NotImplementedError

    # IFWXNetworkSocket.

    def GetSockName(self) -> SocketAddress:
        """Return the local address.

        :raises COMError: ``WSAEINVAL`` the socket is not bound.
        """
        return self._answer(self._local_end.name)

    def SetSockOpt(
        self, level: int, optname: int, optval: bytes | bytearray | memoryview, optlen: int | None = None
    ) -> None:
        """Set an option by its Winsock numbers; one that comes before the socket is bound is kept for it.

        :raises COMError: ``E_NOTIMPL`` on a session's socket; ``WSAENOPROTOOPT`` an option that is not known here;
            ``WSAEFAULT`` a value of the wrong size; ``E_POINTER`` no value; ``E_INVALIDARG`` a value shorter than
            *optlen*.
        """
        self._require_options()
        kind = _timeout_option(level, optname)
        if kind is None:
            self._answer(self._set_option, level, optname, optval, optlen)
            return
        try:
            self._timeouts.put(kind, milliseconds_of(optval, optlen))
        except ValueError as error:
            raise winsock_error(WSAEFAULT, str(error)) from error

    def GetSockOpt(self, level: int, optname: int) -> bytes:
        """Read an option by its Winsock numbers; integers come as four bytes, least significant first.

        :raises COMError: as :meth:`SetSockOpt`; ``WSAENOTCONN`` the socket is neither bound nor connected, and the
            option was not set.
        """
        self._require_options()
        kind = _timeout_option(level, optname)
        if kind is not None:
            return milliseconds_value(self._timeouts.get(kind))
        return self._answer(self._option, level, optname)

    def _set_option(self, level: int, optname: int, optval: Any, optlen: int | None) -> None:
        self._local_end.set_option(level, optname, optval, optlen)

    def _option(self, level: int, optname: int) -> bytes:
        return self._local_end.option(level, optname)

    def _SetPacketFilterOptions(self, fForInternalUse: bool, dwForInternalUse: int) -> None:
        """:raises COMError: ``E_NOTIMPL``; the slot is the service's own."""
        raise COMError(E_NOTIMPL)

    def SetIpFilter(self, pIpFilter: IFWXIpFilter | None) -> None:
        """Deal only with the addresses of a filter, of which a copy is kept; ``None`` lifts the restriction (B4.11).

        :raises COMError: ``E_INVALIDARG`` not an IP filter of the service's; ``WSAENOTSOCK`` after Close.
        """
        self._require_open()
        self._answer(self._local_end.restrict, pIpFilter)

    def GetIpFilter(self) -> IFWXIpFilter | None:
        """Return a copy of the IP filter, ``None`` when the socket is not restricted (B4.11).

        :raises COMError: ``WSAENOTSOCK`` after Close.
        """
        self._require_open()
        return self._local_end.ip_filter

    # IFWXNetworkSocketInspection.

    def AssociateProtocol(self, ProtocolGuid: UUID) -> None:
        """Say which protocol runs on the socket: its records name it from now on (B4.15).

        :raises COMError: ``E_POINTER`` no GUID; ``E_INVALIDARG`` no protocol definition has it.
        """
        self._require_open()
        if ProtocolGuid is None:
            raise COMError(E_POINTER, "AssociateProtocol needs a GUID")
        if ProtocolGuid == GUID_NULL:
            self._protocol_name = ""
            return
        name = self.engine.policy.protocol_name(ProtocolGuid) if isinstance(ProtocolGuid, UUID) else None
        if name is None:
            raise COMError(E_INVALIDARG, f"no protocol definition has the GUID {ProtocolGuid}")
        self._protocol_name = name

    def SetIpsInspectTraffic(self) -> None:
        """There is no inspection system to put the traffic under, and saying otherwise would be no firewall's answer.

        :raises COMError: ``E_NOTIMPL``.
        """
        raise COMError(E_NOTIMPL, "there is no network inspection")

    # ISocketTimeouts.

    def set_timeout(self, kind: FwxTimeoutType, milliseconds: int) -> None:
        self._require_open()
        self._timeouts.put(kind, milliseconds)

    def timeout(self, kind: FwxTimeoutType) -> int:
        return self._timeouts.get(kind)

    # The service's side.

    def terminate_connection(self) -> None:
        """End the socket because its owner ends; what is pending fails, also behind a Close that still sends."""
        raise NotImplementedError

    def completion_failed(self, error: BaseException) -> None:
        """A completion object given to this socket raised or returned a failure: the socket is reset."""
        self.engine.faults.report(self._log.owner_name, "CompleteAsyncIO", error)
        self.Close(True)

    def _bind(self, address: SocketAddress, length: int | None, ip_filter: IFWXIpFilter | None) -> None:
        """Take a local address; shared by every ``Bind``."""
        self._require_open()
        check_address(address, length)
        if self._local_end.transport is not None or self._neighbour is not None:
            raise winsock_error(WSAEINVAL, "the socket is bound already")
        before = self._local_end.ip_filter
        self._local_end.restrict(ip_filter)
        try:
            self._local_end.bind(address)
        except COMError:
            self._local_end.restrict(before)
            raise

    def _answer(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call *function*, for a thread of the pool on the loop thread."""
        if self.engine.strands.current is None:
            return function(*args, **kwargs)
        return on_loop(self._queue, function, *args, **kwargs)

    def _wait_connected(self, begin: Callable[[Callable[[int], None]], object], address: SocketAddress) -> None:
        """Block a thread of the pool until *begin* has told the Windows error of a Connect, or 0 (B4.14).

        :raises COMError: the error; ``WSAETIMEDOUT`` the loop thread told none.
        """
        seconds = self.engine.connect_deadlines.seconds + GRACE_SECONDS
        try:
            code = self.engine.blocking.wait(begin, seconds)
        except Empty:
            raise winsock_error(WSAETIMEDOUT, f"connecting to {address} took too long") from None
        if code:
            raise winsock_error(code, f"connecting to {address} failed")

    def _require_open(self) -> None:
        super()._require_open()
        if self.session is not None and self.session.terminated:
            raise COMError(FWX_E_TERMINATING, "the session has ended")

    def _require_options(self) -> None:
        self._require_open()
        if self.session is not None:
            raise COMError(E_NOTIMPL, "a session's socket has no options")

    def _gone(self) -> None:
        """The socket has ended: its ports are closed, nobody has to keep it."""
        self._local_end.close_ports()
        self._keeper.forget(self)


def _timeout_option(level: Any, optname: Any) -> FwxTimeoutType | None:
    """Return the time-out that an option stands for. :raises COMError: ``E_INVALIDARG`` no numbers of an option."""
    return _TIMEOUT_OPTIONS.get((whole(level, "level"), whole(optname, "optname")))
