"""The local end of a network socket: its transport, name, options, IP filter, and the ports that it has open."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fwx.impl.argument import octets, whole
from fwx.impl.ipfilter import require_ip_filter
from fwx.impl.packetfilter import Claim, Opening
from fwx.impl.sockopt import from_kernel, to_kernel, value_from_kernel
from fwx.impl.transport import LocalTransport
from fwx.impl.winsock import winsock_code
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import WSAEFAULT, WSAEINVAL, WSAENOPROTOOPT, WSAENOTCONN, winsock_error

if TYPE_CHECKING:
    from fwx.impl.engine import Engine
    from fwx.impl.ipfilter import FWXIpFilter
    from fwx.impl.packetfilter import Answered
    from fwx.interfaces import IFWXIpFilter

AnyTransport = TypeVar("AnyTransport", bound=LocalTransport)

_UNSPECIFIED = {4: "0.0.0.0", 6: "::"}  # noqa: S104  stands for "whichever address the kernel takes"


class LocalEnd(Generic[AnyTransport]):
    """What sockets of every transport protocol have in common here; each network socket owns one.

    :ivar transport: what :meth:`bind` made or :meth:`adopt` took; ``None`` before.
    """

    __slots__ = ("_claims", "_engine", "_ip_filter", "_make", "_options", "_protocol", "transport")

    def __init__(self, engine: Engine, protocol: int, make: Callable[[int], AnyTransport]) -> None:
        """:param protocol: ``FWX_PROTOCOL_TCP`` or ``FWX_PROTOCOL_UDP``. :param make: makes a transport of a family."""
        self._engine = engine
        self._protocol = protocol
        self._make = make
        self._ip_filter: FWXIpFilter | None = None
        # What is open, or was asked for, by the peer; the own address is one at a time.
        self._claims: dict[SocketAddress | None, Claim] = {}
        # Options that were set before there was a transport to set them on.
        self._options: dict[tuple[int, int], tuple[int, int, bytes]] = {}
        self.transport: AnyTransport | None = None

    # The transport.

    def bind(self, address: SocketAddress, *, alone: bool = False) -> AnyTransport:
        """Make a transport with the literal local *address*, port 0 for a free one; *alone* as transports have it.

        :raises COMError: the Winsock error: ``WSAEADDRINUSE``, ``WSAEACCES`` a privileged port, ``WSAEADDRNOTAVAIL``,
            ``WSAEAFNOSUPPORT`` a name, ...
        """
        transport: AnyTransport | None = None
        try:
            transport = self._make(address.family)
            if address.family == socket.AF_INET6:
                # Winsock's default; Linux would take IPv4 on the port as well.
                transport.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._apply_options(transport)
            transport.bind(address.sockaddr, alone=alone)
        except OSError as error:
            if transport is not None:
                transport.close(False)
            raise winsock_error(winsock_code(error), f"bind {address}: {error.strerror or error}") from error
        self.transport = transport
        return transport

    def adopt(self, transport: AnyTransport) -> None:
        """Speak of *transport*, which was connected or accepted, from now on."""
        self.transport = transport
        try:
            self._apply_options(transport)
        except OSError as error:
            raise winsock_error(winsock_code(error), f"an option: {error.strerror or error}") from error

    def name(self) -> SocketAddress:
        """Return the local address. :raises COMError: ``WSAEINVAL`` there is none yet."""
        if self.transport is None:
            raise winsock_error(WSAEINVAL, "the socket is not bound")
        try:
            return SocketAddress.from_sockaddr(self.transport.getsockname())
        except OSError as error:
            raise winsock_error(winsock_code(error), str(error)) from error

    # Options.

    def set_option(self, level: Any, optname: Any, optval: Any, optlen: Any) -> None:
        """Set an option by its Winsock numbers; one that comes before the transport is kept for it.

        :raises COMError: ``WSAENOPROTOOPT`` an option that is not known here; ``WSAEFAULT`` a value of the wrong size;
            ``E_POINTER`` no value; ``E_INVALIDARG`` a value shorter than *optlen*; the Winsock error of the kernel.
        """
        level, optname = whole(level, "level"), whole(optname, "optname")
        value = octets(optval, "optval")
        if optlen is not None:
            value = value[: whole(optlen, "optlen", most=len(value))]
        try:
            kernel = to_kernel(level, optname, value)
        except KeyError:
            raise _unknown_option(level, optname) from None
        except ValueError as error:
            raise winsock_error(WSAEFAULT, str(error)) from error
        if self.transport is None:
            self._options[level, optname] = kernel
            return
        try:
            self.transport.setsockopt(*kernel)
        except OSError as error:
            raise winsock_error(winsock_code(error), str(error)) from error

    def option(self, level: Any, optname: Any) -> bytes:
        """Return an option by its Winsock numbers; integers come as four bytes, least significant first.

        :raises COMError: ``WSAENOPROTOOPT``; ``WSAENOTCONN`` there is no transport yet and the option was not set.
        """
        level, optname = whole(level, "level"), whole(optname, "optname")
        try:
            kernel = from_kernel(level, optname)
        except KeyError:
            raise _unknown_option(level, optname) from None
        if self.transport is None:
            kept = self._options.get((level, optname))
            if kept is None:
                raise winsock_error(WSAENOTCONN, "the socket is neither bound nor connected")
            return value_from_kernel(level, optname, kept[2])
        try:
            return value_from_kernel(level, optname, self.transport.getsockopt(*kernel))
        except OSError as error:
            raise winsock_error(winsock_code(error), str(error)) from error

    def _apply_options(self, transport: LocalTransport) -> None:
        options, self._options = self._options, {}
        for kernel in options.values():
            transport.setsockopt(*kernel)

    # The IP filter.

    @property
    def ip_filter(self) -> IFWXIpFilter | None:
        """A copy of the filter, ``None`` for everyone (B4.11)."""
        return None if self._ip_filter is None else self._ip_filter.Clone()

    @property
    def is_restricted(self) -> bool:
        """There is an IP filter."""
        return self._ip_filter is not None

    def restrict(self, ip_filter: IFWXIpFilter | None) -> None:
        """Deal only with the addresses of *ip_filter*, of which a copy is kept; ``None`` lifts the restriction.

        :raises COMError: ``E_INVALIDARG`` it is none of the service's.
        """
        self._ip_filter = None if ip_filter is None else require_ip_filter(ip_filter).Clone()

    def admits(self, address: SocketAddress) -> bool:
        """Tell whether the socket may deal with the literal *address* (B6.33: an empty filter is nobody)."""
        return self._ip_filter is None or self._ip_filter.admits(address.host)

    # The packet filter.

    def open_port(self, remote: SocketAddress | None, done: Answered, *, local: SocketAddress | None = None) -> None:
        """Open the own port, to *remote* alone or to whoever the IP filter admits, until :meth:`close_ports` (B4.21).

        :param done: gets 0 when the port is open, at once where the packet filter can, or the Windows error; never
            after the port was closed. :param local: the own address, where the transport is elsewhere.
        :raises COMError: the packet filter failed; nothing is open.
        """
        present = self._claims.get(remote)
        if present is not None:
            present.then(done)
            return
        if local is None and self.transport is not None:
            local = self.name()
        elif local is None:
            local = SocketAddress(_UNSPECIFIED[6 if remote is not None and ":" in remote.host else 4])
        claim = Claim(Opening(self._protocol, local, remote), lambda code: self._answered(remote, code, done))
        self._claims[remote] = claim
        try:
            self._engine.packet_filter.open(claim)
        except OSError as error:
            del self._claims[remote]
            raise winsock_error(winsock_code(error), f"the packet filter: {error.strerror or error}") from error

    def keep_port(self, remote: SocketAddress | None, done: Answered) -> None:
        """Have the own port open to *remote* and nothing else. :raises COMError: as :meth:`open_port`."""
        before, self._claims = self._claims, {}
        try:
            self.open_port(remote, done)
        finally:
            for claim in before.values():
                self._engine.packet_filter.close(claim)

    def is_open_to(self, peer: SocketAddress) -> bool:
        """Tell whether the own port was opened to *peer*, by name or as one of all."""
        return peer in self._claims or None in self._claims

    def close_port(self, remote: SocketAddress) -> None:
        """Close what :meth:`open_port` opened to *remote* alone."""
        claim = self._claims.pop(remote, None)
        if claim is not None:
            self._engine.packet_filter.close(claim)

    def close_ports(self) -> None:
        """Close what is open; called when the socket ends. Again it does nothing."""
        claims, self._claims = self._claims, {}
        for claim in claims.values():
            self._engine.packet_filter.close(claim)

    def _answered(self, remote: SocketAddress | None, code: int, done: Answered) -> None:
        if code:
            self._claims.pop(remote, None)
        done(code)


def _unknown_option(level: int, optname: int) -> Exception:
    return winsock_error(WSAENOPROTOOPT, f"option {optname:#x} at level {level:#x}")
