"""FWXDatagramSocket: a UDP socket of the firewall or of a session (B4.8, B3.21 to B3.23)."""

from __future__ import annotations

import socket
import struct
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from fwx.impl.admission import admit
from fwx.impl.connecting import Connecting
from fwx.impl.datagramendpoint import DatagramEndpoint
from fwx.impl.datagramflows import DatagramFlows
from fwx.impl.localend import LocalEnd
from fwx.impl.logrecord import Action
from fwx.impl.loopthread import on_loop
from fwx.impl.ownedsocket import OwnedSocket
from fwx.impl.routeddatagrams import RoutedDatagrams
from fwx.impl.socketrecord import SocketTraffic
from fwx.impl.sockets import check_address
from fwx.impl.threadedsocket import threaded
from fwx.impl.winsock import winsock_code
from fwx.interfaces import FwxTimeoutType, IFWXNetworkSocket, SocketAddress
from fwx.interfaces.constants import FWX_PROTOCOL_UDP
from fwx.interfaces.hresult import (
    E_INVALIDARG,
    FWX_E_ADDRESS_NOT_ALLOWED,
    HRESULT_FROM_WIN32,
    WIN32_FROM_HRESULT,
    WSAEACCES,
    WSAEAFNOSUPPORT,
    WSAEINVAL,
    WSAEISCONN,
    WSAENOTCONN,
    WSAEOPNOTSUPP,
    COMError,
    winsock_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwx.impl.engine import Engine, SocketKeeper
    from fwx.impl.policy import Verdict
    from fwx.impl.session import FWXSession
    from fwx.impl.transport import DatagramTransport
    from fwx.interfaces import IFWXAcceptCompletion, IFWXIOBuffer, IFWXIOCompletion, IFWXIpFilter

# What FWX_INCREASE_RECEIVE_BUFFER asks for (B6.21), and what the kernel counts for a datagram beside its bytes.
BURST_BYTES = 64 << 10
_KERNEL_SHARE = 4
# Two threads that send first at the same time make one transport: that is rare, so one lock serves all sockets.
_binding = threading.Lock()


@implementer(IFWXNetworkSocket)
class FWXDatagramSocket(OwnedSocket):
    """A UDP socket that a filter made through the service.

    It sends to any address with ``SendTo``, and to the connected one with ``Send``. Who may send to it depends: a
    socket of the firewall that was bound takes datagrams of whoever its IP filter admits; one that was not bound, and
    every socket of a session, only the answers of those it has sent to.
    """

    __slots__ = ("_connected", "_dial", "_endpoint", "_flows", "_local", "_replies_only", "_routed")

    def __init__(self, engine: Engine, keeper: SocketKeeper, session: FWXSession | None = None) -> None:
        """Made by the registry's adapters; *keeper* closes it when its owner ends."""
        super().__init__(engine, keeper, session, LocalEnd(engine, FWX_PROTOCOL_UDP, engine.network.datagram))
        self._endpoint: DatagramEndpoint | None = None
        self._connected: SocketAddress | None = None
        self._dial: Any = None
        self._local: SocketAddress | None = None
        self._replies_only = True
        # Of a session's socket alone: the firewall's own goes straight, no rule is asked about it.
        self._routed: RoutedDatagrams | None = None
        self._flows = DatagramFlows(self._log, engine.clock, lambda: self._local, self._flow_ended)

    # IFWXSocket.

    def Send(self, pIOBuffer: IFWXIOBuffer, pIFWXIOCompletion: IFWXIOCompletion | None, UserData: object) -> None:
        """Post one datagram to the connected peer.

        :raises COMError: ``WSAENOTCONN`` there is none; otherwise as ``IFWXSocket.Send``.
        """
        self._require_open()
        if self._connected is None and not isinstance(self._neighbour, Connecting):
            raise winsock_error(WSAENOTCONN, "the socket is not connected: SendTo says where a datagram goes")
        super().Send(pIOBuffer, pIFWXIOCompletion, UserData)

    def SendTo(
        self,
        pIOBuffer: IFWXIOBuffer,
        Address: SocketAddress,
        AddressLength: int | None,
        pIFWXIOCompletion: IFWXIOCompletion | None,
        UserData: object,
    ) -> None:
        """Post one datagram to *Address*; a socket without a name gets one (B3.23).

        :raises COMError: ``E_POINTER``, ``E_INVALIDARG`` a name, or not an address; ``FWX_E_ADDRESS_NOT_ALLOWED`` the
            IP filter does not include it; ``FWX_E_POLICY_RULES_DENIED`` the session's policy forbids it;
            ``WSAEAFNOSUPPORT`` the socket is of the other family; otherwise as ``IFWXSocket.SendTo``.
        """
        self._require_open()
        check_address(Address, AddressLength)
        if Address.address is None:
            raise COMError(E_INVALIDARG, f"{Address.host} is a name; SendTo takes an address: ask GetHostByName")
        verdict = self._judge(Address)
        self._require_endpoint(Address.family)
        self._require_family(Address)
        self._queue.call(self._open_flow, Address, verdict)
        completion = threaded(self._strand, pIFWXIOCompletion, self)
        super().SendTo(pIOBuffer, Address, AddressLength, completion, UserData)

    def Recv(self, pIOBuffer: IFWXIOBuffer | None, pIFWXIOCompletion: IFWXIOCompletion, UserData: object) -> None:
        """Ask for one datagram; its sender's address comes with it (B3.21).

        :raises COMError: ``WSAEINVAL`` the socket has no address yet; otherwise as ``IFWXSocket.Recv``.
        """
        self._require_open()
        if self._neighbour is None:
            raise winsock_error(WSAEINVAL, "Recv comes after Bind, Connect or SendTo")
        super().Recv(pIOBuffer, pIFWXIOCompletion, UserData)

    # IFWXNetworkSocket.

    def Connect(self, Address: SocketAddress, AddressLength: int | None = None) -> None:
        """Make *Address* the only peer, which ``Send`` sends to; a name is looked up first, what is posted waits.

        Called by a blocking filter on its thread it blocks until that has been done (B4.14).

        :raises COMError: ``WSAEISCONN`` connected or connecting; ``FWX_E_ADDRESS_NOT_ALLOWED`` and
            ``FWX_E_POLICY_RULES_DENIED`` as :meth:`SendTo`; ``E_POINTER``, ``E_INVALIDARG``; the Winsock error.
        """
        self._require_open()
        check_address(Address, AddressLength)
        if self.engine.strands.current is not None:
            self._wait_connected(lambda tell: on_loop(self._queue, self._start_connect, Address, tell), Address)
        else:
            self._start_connect(Address)

    def _start_connect(self, address: SocketAddress, tell: Callable[[int], None] | None = None) -> None:
        if self._connected is not None or isinstance(self._neighbour, Connecting):
            raise winsock_error(WSAEISCONN, "the socket is connected or connecting")
        if address.address is None:
            waiting = Connecting(self._queue, self._connecting_ended, datagrams=True, told=tell)
            self._neighbour = waiting
            self._queue.call(self._resolve, address, waiting)
            return
        self._connect(address, self._judge(address))
        if tell is not None:
            tell(0)

    def Bind(self, Address: SocketAddress, AddressLength: int | None, pIpFilter: IFWXIpFilter | None) -> None:
        """Give the socket its local address; port 0 takes a free one.

        A firewall's socket opens the port now, or a moment later where a packet filter of the kernel is asked; if that
        fails then, the socket ends.

        :raises COMError: ``WSAEINVAL`` bound already; ``E_INVALIDARG`` not an IP filter of the service's; the Winsock
            error of the bind or the packet filter.
        """
        with _binding:
            self._bind(Address, AddressLength, pIpFilter)
            self._replies_only = self.session is not None
            if not self._replies_only:
                self._open_or_unbind()
            self._begin()

    def GetSockName(self) -> SocketAddress:
        """Return the local address.

        :raises COMError: ``WSAEINVAL`` the socket has none yet.
        """
        return self._local if self._local is not None else super().GetSockName()

    def GetPeerName(self) -> SocketAddress:
        """Return the connected peer.

        :raises COMError: ``WSAENOTCONN``.
        """
        if self._connected is None:
            raise winsock_error(WSAENOTCONN, "the socket is not connected")
        return self._connected

    def Listen(self, Backlog: int) -> None:
        """:raises COMError: ``WSAEOPNOTSUPP``; UDP has no connections to listen for."""
        self._require_open()
        raise winsock_error(WSAEOPNOTSUPP, "a UDP socket does not listen")

    def Accept(self, pIFWXAcceptCompletion: IFWXAcceptCompletion, UserData: object) -> None:
        """:raises COMError: ``WSAEOPNOTSUPP``; UDP has no connections to accept."""
        self._require_open()
        raise winsock_error(WSAEOPNOTSUPP, "a UDP socket does not accept")

    def Close(self, fAbortive: bool) -> None:
        """End the socket and close its port; what is queued still goes out unless *fAbortive*."""
        if self._closed or self._terminated:
            return
        super().Close(fAbortive)
        if self._neighbour is None:
            self._queue.call(self._gone)

    # The service's side.

    def increase_receive_buffer(self) -> None:
        """Have the kernel keep bursts of 64 KiB for this socket: ``FWX_INCREASE_RECEIVE_BUFFER`` (B6.21).

        The kernel counts its own overhead for each datagram, so the room asked for is a multiple; it never shrinks.

        :raises COMError: the Winsock error; ``WSAEINVAL`` the socket is not bound.
        """
        transport = self._local_end.transport
        if transport is None:
            raise winsock_error(WSAEINVAL, "the socket is not bound")
        keep_bursts(transport)

    def terminate_connection(self) -> None:
        """End the socket because its owner ends; what is pending fails, also behind a Close that still sends."""
        self.Close(True)
        if self._endpoint is not None:
            self._endpoint.close(True)
        elif isinstance(self._neighbour, Connecting):
            self._neighbour.close(True)

    def admits_datagram(self, external: SocketAddress, size: int) -> bool:
        """Tell whether a datagram of *external* may be received; a stranger's is dropped (B6.34)."""
        known = external in self._flows
        if not known and (
            self._replies_only or not self._local_end.admits(external) or not self._local_end.is_open_to(external)
        ):
            return False
        if not known:
            self._flows.open(external, None, self._protocol_name)
        self._flows.received(external, size)
        return True

    def datagram_sent(self, external: SocketAddress | None, size: int) -> None:
        target = external if external is not None else self._connected
        if target is not None:
            self._flows.sent(target, size)

    def datagrams_ended(self) -> None:
        self._flows.end_all()
        self._gone()

    def _operation_expired(self, kind: FwxTimeoutType) -> None:
        if self._endpoint is None:
            return
        if kind == FwxTimeoutType.fwxRecvTimeout:
            self._endpoint.expire_recv()
        else:
            self._endpoint.expire_send()

    def _judge(self, address: SocketAddress) -> Verdict | None:
        """Ask the IP filter and the session's policy about the literal *address*; a denial is logged."""
        if not self._local_end.admits(address):
            raise COMError(FWX_E_ADDRESS_NOT_ALLOWED, f"the socket's IP filter does not include {address.host}")
        if self.session is None:
            return None
        verdict, _ = admit(self.engine, self.session.address, address, transport="UDP", who=self.session.who)
        if not verdict.allowed:
            self._deny(address, verdict)
            raise COMError(verdict.hresult, verdict.reason)
        return verdict

    def _deny(self, address: SocketAddress, verdict: Verdict) -> None:
        traffic = SocketTraffic("UDP", self.engine.clock(), self._local, address, verdict)
        self._log.write(Action.Denied, traffic, int(verdict.hresult), verdict.reason)

    def _require_endpoint(self, family: int) -> None:
        """Have an endpoint; a socket that was never bound is bound to a free port of *family* now."""
        with _binding:
            if self._endpoint is None:
                anywhere = "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104  as sendto does
                self._local_end.bind(SocketAddress(anywhere))
                self._begin()

    def _require_family(self, address: SocketAddress) -> None:
        if self.GetSockName().family != address.family:
            raise winsock_error(WSAEAFNOSUPPORT, f"{address} is not of the family of the socket's own address")

    def _begin(self) -> None:
        transport: DatagramTransport | None = self._local_end.transport
        assert transport is not None
        self._local = self._local_end.name()
        if self.session is not None:
            transport = self._routed = RoutedDatagrams(self.engine, transport)
        self._endpoint = DatagramEndpoint(transport, self._queue, self)
        if self._neighbour is None:
            self._neighbour = self._endpoint
        self._queue.call(self._endpoint.start)

    def _open_or_unbind(self) -> None:
        try:
            self._local_end.open_port(None, self._port_answered)
        except COMError:
            transport, self._local_end.transport = self._local_end.transport, None
            if transport is not None:
                transport.close(False)
            raise

    def _port_answered(self, code: int) -> None:
        """The packet filter has opened a port; or it could not, and the socket may not be used."""
        if code:
            traffic = SocketTraffic("UDP", self.engine.clock(), self._local)
            reason = "the packet filter did not open the port"
            self._log.write(Action.Failed, traffic, HRESULT_FROM_WIN32(code), reason)
            self.terminate_connection()

    def _open_flow(self, external: SocketAddress, verdict: Verdict | None) -> None:
        assert self._endpoint is not None
        if self._endpoint.closed:  # before this came from another thread
            return
        if external not in self._flows:
            if self._routed is not None and verdict is not None:
                self._routed.route(external, verdict.upstream)
            if self._replies_only and (verdict is None or not verdict.upstream):
                try:
                    self._local_end.open_port(external, self._port_answered)
                except COMError:
                    # Also when a call of another thread brought it here: what follows may not leave.
                    self.terminate_connection()
                    raise
            self._flows.open(external, verdict, self._protocol_name)

    def _flow_ended(self, external: SocketAddress) -> None:
        self._local_end.close_port(external)
        if self._routed is not None:
            self._routed.forget(external)

    # Connecting.

    def _connect(self, address: SocketAddress, verdict: Verdict | None) -> None:
        self._require_endpoint(address.family)
        self._require_family(address)
        transport = self._routed or self._local_end.transport
        assert transport is not None
        try:
            if self._routed is not None and verdict is not None:
                self._routed.route(address, verdict.upstream)
            transport.connect(address.sockaddr)
        except OSError as error:
            raise winsock_error(winsock_code(error), f"connecting to {address}: {error.strerror}") from error
        self._local = self._local_end.name()
        self._connected = address
        self._queue.call(self._open_flow, address, verdict)

    def _resolve(self, name: SocketAddress, waiting: Connecting) -> None:
        if waiting.code:  # closed before this came from another thread
            return
        self._dial = self._look_up(name, partial(self._resolved, name, waiting))

    def _resolved(self, name: SocketAddress, waiting: Connecting, addresses: list[SocketAddress], code: int) -> None:
        self._dial = None
        if self._neighbour is not waiting:
            return
        verdict: Verdict | None = None
        if addresses and self.session is not None:
            verdict, addresses = admit(self.engine, self.session.address, name, addresses, "UDP", self.session.who)
            if not addresses:
                self._deny(name, verdict)
                code = WSAEACCES
        allowed = [address for address in addresses if self._local_end.admits(address)]
        if addresses and not allowed:
            code = WSAEACCES
        if allowed and self._local is not None:
            allowed = [address for address in allowed if address.family == self._local.family]
            code = WSAEAFNOSUPPORT
        try:
            if not allowed:
                raise winsock_error(code, f"{name} cannot be reached")
            self._connect(allowed[0], verdict)
        except COMError as error:
            self._connect_failed(name, waiting, WIN32_FROM_HRESULT(error.hresult))
            return
        assert self._endpoint is not None
        self._neighbour = self._endpoint
        waiting.pass_on(self._endpoint)

    def _connect_failed(self, name: SocketAddress, waiting: Connecting, code: int) -> None:
        traffic = SocketTraffic("UDP", self.engine.clock(), self._local, name)
        self._log.write(Action.Failed, traffic, HRESULT_FROM_WIN32(code), "connecting failed")
        self._neighbour = self._endpoint
        waiting.fail(code)
        if self._closed:
            self._connecting_ended()

    def _connecting_ended(self) -> None:
        """The socket was closed while the name was looked up, and has nothing left to send."""
        dial, self._dial = self._dial, None
        if dial is not None:
            dial()
        if self._endpoint is not None:
            self._endpoint.close(True)
        else:
            self._gone()


def keep_bursts(transport: DatagramTransport) -> None:
    """Have the kernel keep bursts of 64 KiB for *transport* (B6.21); what it keeps never shrinks.

    :raises COMError: the Winsock error.
    """
    try:
        (present,) = struct.unpack("i", transport.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4))
        wanted = max(present // 2, BURST_BYTES * _KERNEL_SHARE)  # the kernel doubles what it is told
        transport.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
    except OSError as error:
        raise winsock_error(winsock_code(error), str(error)) from error
