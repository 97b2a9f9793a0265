"""Emulated connections: a data filter is the outer side, and says what the service cannot see (B3.33 to B3.40)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwx.impl.argument import whole
from fwx.impl.loopthread import on_loop
from fwx.impl.unknown import Unknown
from fwx.interfaces import SocketAddress
from fwx.interfaces.enums import fwx_Bind_Tcp, fwx_Connect_Tcp, fwx_dfpc_Emulation
from fwx.interfaces.hresult import (
    FWX_E_ALREADY_EMULATED,
    FWX_E_ALREADY_EXISTS,
    FWX_E_BAD_CONTEXT,
    FWX_E_INVALID_ARG,
    FWX_E_NOT_EMULATED,
    FWX_E_TERMINATING,
    WSAEINVAL,
    COMError,
    winsock_error,
)

if TYPE_CHECKING:
    from fwx.impl.chain import Member
    from fwx.impl.engine import Engine
    from fwx.impl.filterhost import FilterHost
    from fwx.interfaces import IFWXConnection, IFWXDataFilter, IUnknown


class Emulation:
    """What a filter has made of a connection by emulating it.

    :ivar host: the filter. :ivar member: its data filter's place; ``None`` for a bind, whose connections come later.
    :ivar name: what the socket is called that there is not; :attr:`sent`, the bytes that the filter has counted.
    """

    __slots__ = ("host", "member", "name", "sent")

    def __init__(self, host: FilterHost, member: Member | None = None) -> None:
        self.host = host
        self.member = member
        self.name: SocketAddress | None = None
        self.sent = 0


class Emulable(Unknown):
    """The methods of ``IFWXConnection`` that make a connection an emulated one, or are for such alone."""

    __slots__ = ("emulation",)

    emulation: Emulation | None
    # Of the connection.
    terminating: bool
    engine: Engine
    _event_type: int

    @property
    def _handler(self) -> FilterHost | None:
        raise NotImplementedError

    def _attach(self, data_filter: IFWXDataFilter, priority: int, context: IUnknown | None, host: FilterHost) -> Member:
        raise NotImplementedError

    def EmulateForConnect(self, piDataFilter: IFWXDataFilter, punkFilterContext: IUnknown | None) -> None:
        """Have *piDataFilter* play the server: nothing is connected to, and its external socket is ``None`` (B3.33).

        :raises COMError: ``FWX_E_BAD_CONTEXT`` outside the handler of ``fwx_Connect_Tcp``; ``FWX_E_ALREADY_EMULATED``
            (B3.38); ``E_POINTER`` no data filter; ``E_INVALIDARG`` something else, or attached already;
            ``FWX_E_TERMINATING``.
        """
        on_loop(self.engine.queue, self._emulate_server, piDataFilter, punkFilterContext)

    def _emulate_server(self, data_filter: IFWXDataFilter, context: IUnknown | None) -> None:
        host = self._emulates_in(fwx_Connect_Tcp, "EmulateForConnect is for the handler of fwx_Connect_Tcp")
        member = self._attach(data_filter, fwx_dfpc_Emulation, context, host)
        member.emulates = True
        self.emulation = Emulation(host, member)

    def EmulateForBind(self) -> None:
        """Let nobody connect: who comes for the client comes from the filter, by ``EmulateConnection`` (B3.34).

        :raises COMError: ``FWX_E_BAD_CONTEXT`` outside the handler of ``fwx_Bind_Tcp``; ``FWX_E_ALREADY_EMULATED``
            (B3.38); ``FWX_E_TERMINATING``.
        """
        on_loop(self.engine.queue, self._emulate_bind)

    def _emulate_bind(self) -> None:
        self.emulation = Emulation(self._emulates_in(fwx_Bind_Tcp, "EmulateForBind is for the handler of fwx_Bind_Tcp"))

    def EmulateConnection(
        self,
        piDataFilter: IFWXDataFilter,
        RemoteAddress: SocketAddress,
        RemoteAddressLength: int | None,
        LocalAddress: SocketAddress,
        LocalAddressLength: int | None = None,
    ) -> IFWXConnection:
        """:raises COMError: ``WSAEINVAL`` this kind of connection does not listen; ``FWX_E_TERMINATING``."""
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection is ending")
        raise winsock_error(WSAEINVAL, "the connection does not listen")

    def SetSocketName(self, Address: SocketAddress, AddressLength: int | None = None) -> None:
        """Say where an emulated connection leaves from, or waits: the client is told so (B3.39).

        :raises COMError: ``FWX_E_NOT_EMULATED``; ``FWX_E_ALREADY_EXISTS`` it has a name; ``FWX_E_INVALID_ARG`` no
            literal address; ``FWX_E_TERMINATING``.
        """
        on_loop(self.engine.queue, self._set_socket_name, Address)

    def _set_socket_name(self, Address: SocketAddress) -> None:
        emulation = self._require_emulation()
        if not isinstance(Address, SocketAddress) or Address.address is None:
            raise COMError(FWX_E_INVALID_ARG, f"{Address!r} is no literal address")
        if emulation.name is not None:
            raise COMError(FWX_E_ALREADY_EXISTS, f"the socket's name is {emulation.name}")
        emulation.name = Address

    def IncrementBytesSentCounter(self, dwBytesSent: int) -> None:
        """Count bytes that the emulating filter has sent: the service does not see them, the log shows the sum (B3.39).

        :raises COMError: ``FWX_E_NOT_EMULATED``; ``E_INVALIDARG`` no count of 32 bits; ``FWX_E_TERMINATING``.
        """
        on_loop(self.engine.queue, self._count_sent, dwBytesSent)

    def _count_sent(self, count: int) -> None:
        self._require_emulation().sent += whole(count, "dwBytesSent")

    def _emulates_in(self, event_type: int, words: str) -> FilterHost:
        """Return the filter whose handler of *event_type* is running."""
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection is ending")
        host = self._handler
        if self._event_type != event_type or host is None:
            raise COMError(FWX_E_BAD_CONTEXT, words)
        if self.emulation is not None:
            raise COMError(FWX_E_ALREADY_EMULATED, f"filter {self.emulation.host.name!r} emulates it already")
        return host

    def _require_emulation(self) -> Emulation:
        if self.terminating:
            raise COMError(FWX_E_TERMINATING, "the connection has ended")
        if self.emulation is None:
            raise COMError(FWX_E_NOT_EMULATED, "no filter emulates the connection")
        return self.emulation
