"""FWXSSLSocket: TLS laid over a connected socket (B4.16 to B4.19)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from fwx.impl.accepting import listen_on
from fwx.impl.localend import LocalEnd
from fwx.impl.logrecord import Action
from fwx.impl.ownedsocket import OwnedSocket
from fwx.impl.socketrecord import SocketTraffic
from fwx.impl.tls import TlsLayer
from fwx.impl.tlsinfo import ITls, TlsInfo
from fwx.interfaces import FwxTimeoutType, IFWXNetworkSocket, SocketAddress
from fwx.interfaces.constants import FWX_PROTOCOL_TCP
from fwx.interfaces.hresult import (
    E_NOTIMPL,
    HRESULT_FROM_WIN32,
    WSAEINVAL,
    WSAENOTCONN,
    WSAETIMEDOUT,
    COMError,
    winsock_error,
)

if TYPE_CHECKING:
    from fwx.impl.deadline import Deadline
    from fwx.impl.engine import Engine, SocketKeeper
    from fwx.impl.tlsparameters import TlsParameters
    from fwx.interfaces import IFWXAcceptCompletion, IFWXIOBuffer, IFWXIOCompletion, IFWXIpFilter


@implementer(IFWXNetworkSocket, ITls)
class FWXSSLSocket(OwnedSocket):
    """A TLS connection over any ``IFWXSocket``, which is this socket's from then on.

    It belongs to no user. Towards the server (``fwxServerSide``) it plays the TLS client, towards the client
    (``fwxClientSide``) the TLS server (B4.16). The handshake begins at once; what is posted meanwhile waits for it.
    Without a socket underneath it can be bound and listen, and no more: there is no ``Accept``.
    """

    __slots__ = ("_existing", "_handshake", "_layer", "_linger", "_listening", "_started")

    def __init__(self, engine: Engine, keeper: SocketKeeper, parameters: TlsParameters) -> None:
        """Made by the registry's adapter; *keeper* closes it when the service stops."""
        super().__init__(engine, keeper, None, LocalEnd(engine, FWX_PROTOCOL_TCP, engine.network.stream))
        self._timeouts.put(FwxTimeoutType.fwxSendTimeout, parameters.send_timeout)
        self._timeouts.put(FwxTimeoutType.fwxRecvTimeout, parameters.recv_timeout)
        self._protocol_name = engine.policy.protocol_name(parameters.protocol) or ""
        self._existing: Any = parameters.existing_socket
        self._listening = False
        self._handshake: Deadline | None = None
        self._linger: Deadline | None = None
        self._started = engine.clock()
        self._layer: TlsLayer | None = None
        if self._existing is not None:
            self._layer = self._neighbour = TlsLayer(engine.queue, self._existing, parameters.role(), self)
            engine.queue.call(self._start, self._layer)

    # ITls.

    def tls_info(self) -> TlsInfo | None:
        return self._layer.info if self._layer is not None else None

    def is_tunnel(self) -> bool:
        return self._layer is not None and self._layer.opened and self._layer.info is None

    # IFWXSocket.

    def SendTo(
        self,
        pIOBuffer: IFWXIOBuffer,
        Address: SocketAddress,
        AddressLength: int | None,
        pIFWXIOCompletion: IFWXIOCompletion | None,
        UserData: object,
    ) -> None:
        """:raises COMError: ``E_NOTIMPL``, always (B4.19)."""
        raise COMError(E_NOTIMPL, "an SSL socket sends no datagrams")

    def Close(self, fAbortive: bool) -> None:
        """End the socket and the one underneath (B3.26): what is queued, close_notify, the end; or a reset."""
        if self._closed or self._terminated:
            return
        super().Close(fAbortive)
        if self._layer is None:
            self._queue.call(self._close_bound)
        else:
            self._call(0, self._watch_lingering, self._layer)

    # IFWXNetworkSocket.

    def Connect(self, Address: SocketAddress, AddressLength: int | None = None) -> None:
        """:raises COMError: ``E_NOTIMPL``, always (B4.18): it is laid over a socket that is connected."""
        raise COMError(E_NOTIMPL, "an SSL socket is laid over a connected socket")

    def Accept(self, pIFWXAcceptCompletion: IFWXAcceptCompletion, UserData: object) -> None:
        """:raises COMError: ``E_NOTIMPL``, always (B4.19)."""
        raise COMError(E_NOTIMPL, "an SSL socket is laid over an accepted socket")

    def Bind(self, Address: SocketAddress, AddressLength: int | None, pIpFilter: IFWXIpFilter | None) -> None:
        """Give the socket its local address; port 0 takes a free one.

        :raises COMError: ``WSAEINVAL`` bound already, or laid over a socket; otherwise as on every network socket.
        """
        self._answer(self._bind, Address, AddressLength, pIpFilter)

    def Listen(self, Backlog: int) -> None:
        """Open the bound port (B4.21). Connections wait there for ever, because there is no ``Accept``.

        :raises COMError: ``WSAEINVAL`` not bound, listening already, or laid over a socket; the Winsock error of the
            listen or the packet filter.
        """
        self._answer(self._listen, Backlog)

    def _listen(self, Backlog: int) -> None:
        self._require_open()
        if self._local_end.transport is None or self._listening:
            raise winsock_error(WSAEINVAL, "Listen comes once, after Bind")
        listen_on(self._local_end, Backlog, self._port_answered)
        self._listening = True

    def GetSockName(self) -> SocketAddress:
        """Return the local address, of the socket underneath where there is one.

        :raises COMError: ``WSAEINVAL`` not bound, or laid over a socket that has no address to tell.
        """
        if self._existing is None:
            return super().GetSockName()
        return self._underneath(WSAEINVAL).GetSockName()

    def GetPeerName(self) -> SocketAddress:
        """Return the peer's address, which the socket underneath knows.

        :raises COMError: ``WSAENOTCONN`` there is none, or it does not tell.
        """
        return self._underneath(WSAENOTCONN).GetPeerName()

    def SetIpFilter(self, pIpFilter: IFWXIpFilter | None) -> None:
        self._require_open()
        if self._existing is None:
            super().SetIpFilter(pIpFilter)
        elif pIpFilter is not None:
            self._underneath(WSAENOTCONN).SetIpFilter(pIpFilter)
        elif IFWXNetworkSocket.providedBy(self._existing):
            self._existing.SetIpFilter(None)

    def GetIpFilter(self) -> IFWXIpFilter | None:
        self._require_open()
        if not IFWXNetworkSocket.providedBy(self._existing):
            return super().GetIpFilter()
        ip_filter: IFWXIpFilter | None = self._existing.GetIpFilter()
        return ip_filter

    def _set_option(self, level: int, optname: int, optval: Any, optlen: int | None) -> None:
        if self._existing is None:
            super()._set_option(level, optname, optval, optlen)
        else:
            self._underneath(WSAENOTCONN).SetSockOpt(level, optname, optval, optlen)

    def _option(self, level: int, optname: int) -> bytes:
        if self._existing is None:
            return super()._option(level, optname)
        return self._underneath(WSAENOTCONN).GetSockOpt(level, optname)

    def _underneath(self, code: int) -> IFWXNetworkSocket:
        if not IFWXNetworkSocket.providedBy(self._existing):
            raise winsock_error(code, "there is no network socket underneath")
        socket: IFWXNetworkSocket = self._existing
        return socket

    # The service's side.

    def terminate_connection(self) -> None:
        """End the socket because the service stops; what is pending fails, also behind a Close that still sends."""
        self.Close(True)
        if self._layer is not None:
            self._layer.close(True)

    def layer_opened(self, layer: TlsLayer) -> None:
        self._stop_waiting()

    def layer_failed(self, layer: TlsLayer, code: int, reason: str) -> None:
        if reason:
            kind = "TLS" if layer.opened else "the TLS handshake"
            self._log.write(Action.Failed, self._traffic(layer), HRESULT_FROM_WIN32(code), f"{kind} failed: {reason}")

    def layer_ended(self, layer: TlsLayer) -> None:
        self._stop_waiting()
        if self._linger is not None:
            self._linger.cancel()
        self._gone()

    def carrier_faulted(self, method: str, error: BaseException) -> None:
        self.engine.faults.report(self._log.owner_name, f"{method} of the socket underneath", error)

    def _start(self, layer: TlsLayer) -> None:
        self._handshake = self.engine.connect_deadlines.add(partial(self._handshake_expired, layer))
        layer.start()

    def _handshake_expired(self, layer: TlsLayer) -> None:
        layer.abort(WSAETIMEDOUT, "it took too long")

    def _stop_waiting(self) -> None:
        if self._handshake is not None:
            self._handshake.cancel()

    def _operation_expired(self, kind: FwxTimeoutType) -> None:
        """What is half sent or received cannot be taken back: the connection ends."""
        if self._layer is not None:
            self._layer.abort(WSAETIMEDOUT)

    def _watch_lingering(self, layer: TlsLayer) -> None:
        """A closed socket has as long as its data still moves."""
        if layer.closing:
            self._linger = self.engine.linger_deadlines.add(partial(self._lingered, layer, layer.sent))

    def _lingered(self, layer: TlsLayer, sent: int) -> None:
        if layer.sent != sent:
            self._watch_lingering(layer)
        else:
            layer.abort(WSAETIMEDOUT)

    def _port_answered(self, code: int) -> None:
        """The packet filter has opened the port; or it could not, and the socket may not be used."""
        if code:
            traffic = SocketTraffic("TCP", self._started, self._name_of("GetSockName"), None)
            reason = "the packet filter did not open the port"
            self._log.write(Action.Failed, traffic, HRESULT_FROM_WIN32(code), reason)
            self.Close(True)

    def _close_bound(self) -> None:
        transport, self._local_end.transport = self._local_end.transport, None
        if transport is not None:
            transport.close(False)
        self._gone()

    def _traffic(self, layer: TlsLayer) -> SocketTraffic:
        local, remote = self._name_of("GetSockName"), self._name_of("GetPeerName")
        name = self._protocol_name
        return SocketTraffic("TCP", self._started, local, remote, None, layer.sent, layer.received, name)

    def _name_of(self, method: str) -> SocketAddress | None:
        try:
            address: SocketAddress = getattr(self, method)()
        except COMError:
            return None
        return address
