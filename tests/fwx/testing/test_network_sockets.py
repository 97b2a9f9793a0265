"""The battery for network sockets: each rule, and a socket that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from zope.interface import implementer

from fwx.impl.accepting import Accepted
from fwx.impl.networksocket import FWXNetworkSocket
from fwx.impl.unknown import Unknown
from fwx.interfaces import (
    E_FAIL,
    WSAETIMEDOUT,
    COMError,
    IFWXAcceptCompletion,
    SocketAddress,
    winsock_error,
)
from fwx.testing import Battery, MemoryFirewall, SocketMaker, check_network_socket, check_socket, memory_pair


def maker_of(kind: type[FWXNetworkSocket]) -> Callable[[], SocketMaker]:
    def make() -> SocketMaker:
        firewall = MemoryFirewall()
        return SocketMaker(lambda: kind(firewall.engine, firewall.firewall), firewall.loop.run, firewall.close)

    return make


class OtherNames(FWXNetworkSocket):
    def Listen(self, backlog: int) -> None:
        super().Listen(backlog)


class HasANameAtOnce(FWXNetworkSocket):
    def GetSockName(self) -> SocketAddress:
        return SocketAddress("127.0.0.1", 0) if self._local_end.transport is None else super().GetSockName()


class SendsNowhere(FWXNetworkSocket):
    def Send(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        if self._neighbour is not None or self._closed:
            super().Send(pIOBuffer, pIFWXIOCompletion, UserData)


class BindsAgain(FWXNetworkSocket):
    def Bind(self, Address: SocketAddress, AddressLength: int | None, pIpFilter: Any) -> None:
        if self._local_end.transport is None:
            super().Bind(Address, AddressLength, pIpFilter)


class IgnoresLengths(FWXNetworkSocket):
    def Connect(self, Address: SocketAddress, AddressLength: int | None = None) -> None:
        super().Connect(Address)


class ListensUnbound(FWXNetworkSocket):
    def Listen(self, Backlog: int) -> None:
        if self._local_end.transport is None:
            self.Bind(SocketAddress("127.0.0.1", 0), None, None)
        super().Listen(Backlog)


@implementer(IFWXAcceptCompletion)
class SwapsAddresses(Unknown):
    def __init__(self, completion: Any) -> None:
        self.completion = completion

    def CompleteAsyncAccept(
        self,
        fSuccess: bool,
        Win32ErrorCode: int,
        pListeningSocket: Any,
        pAcceptSocket: Any,
        RemoteAddress: SocketAddress,
        RemoteAddressLength: int,
        LocalAddress: SocketAddress,
        LocalAddressLength: int,
        UserData: object,
    ) -> None:
        outcome = (fSuccess, Win32ErrorCode, pListeningSocket, pAcceptSocket)
        addresses = (LocalAddress, LocalAddressLength, RemoteAddress, RemoteAddressLength)
        self.completion.CompleteAsyncAccept(*outcome, *addresses, UserData)


class TellsTheWrongAddresses(FWXNetworkSocket):
    def Accept(self, pIFWXAcceptCompletion: Any, UserData: object) -> None:
        super().Accept(pIFWXAcceptCompletion and SwapsAddresses(pIFWXAcceptCompletion), UserData)


class AcceptsTwice(FWXNetworkSocket):
    def Accept(self, pIFWXAcceptCompletion: Any, UserData: object) -> None:
        super().Accept(pIFWXAcceptCompletion, UserData)
        super().Accept(pIFWXAcceptCompletion, UserData)


class DoesNotWait(FWXNetworkSocket):
    def Send(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        if self._endpoint is None:
            raise winsock_error(10057)
        super().Send(pIOBuffer, pIFWXIOCompletion, UserData)


class TellsTheWrongError(FWXNetworkSocket):
    def _connect_failed(self, code: int, reason: str = "") -> None:
        super()._connect_failed(WSAETIMEDOUT)


class ConnectsAgain(FWXNetworkSocket):
    def Connect(self, Address: SocketAddress, AddressLength: int | None = None) -> None:
        if self._endpoint is None:
            super().Connect(Address, AddressLength)


class KeepsItsPort(FWXNetworkSocket):
    def Close(self, fAbortive: bool) -> None:
        self._closed = True


class HasAFilter(FWXNetworkSocket):
    def GetIpFilter(self) -> Any:
        return self


class AcceptsEveryone(FWXNetworkSocket):
    def _admits_peer(self, accepted: Accepted) -> Accepted | None:
        return accepted


class ConnectsEverywhere(FWXNetworkSocket):
    def Connect(self, Address: SocketAddress, AddressLength: int | None = None) -> None:
        self._local_end.restrict(None)
        super().Connect(Address, AddressLength)


class SharesItsFilter(FWXNetworkSocket):
    def SetIpFilter(self, pIpFilter: Any) -> None:
        self._local_end._ip_filter = pIpFilter


class FailsItsSlot(FWXNetworkSocket):
    def _SetPacketFilterOptions(self, fForInternalUse: bool, dwForInternalUse: int) -> None:
        raise COMError(E_FAIL)


class ForgetsOptions(FWXNetworkSocket):
    def GetSockOpt(self, level: int, optname: int) -> bytes:
        return bytes(4)


WRONG: tuple[tuple[str, type[FWXNetworkSocket], str], ...] = (
    (
        "has every member of IFWXNetworkSocket to the letter",
        OtherNames,
        "IFWXNetworkSocket.Listen: expected the parameters (Backlog), found (backlog)",
    ),
    ("has no names while it is neither bound nor connected", HasANameAtOnce, "GetSockName of a new socket: expected"),
    ("refuses to send and to receive without a connection", SendsNowhere, "WSAENOTCONN), found the result None"),
    ("Bind gives it an address, once", BindsAgain, "a second Bind: expected HRESULT_FROM_WIN32(WSAEINVAL)"),
    ("judges the address it is given", IgnoresLengths, "expected E_INVALIDARG, found the result None"),
    ("Bind, Listen, Accept come in this order", ListensUnbound, "Listen without Bind: expected"),
    (
        "Accept tells both sockets and both addresses",
        TellsTheWrongAddresses,
        "RemoteAddress, as the peer's GetSockName",
    ),
    ("one Accept yields one connection", AcceptsTwice, "expected 1, found 2"),
    ("what is posted while connecting waits", DoesNotWait, "it raised COMError: HRESULT_FROM_WIN32(WSAENOTCONN)"),
    ("a refused connect fails what is posted", TellsTheWrongError, "10060"),
    (
        "connects once, and not while it listens",
        ConnectsAgain,
        "a second Connect: expected HRESULT_FROM_WIN32(WSAEISCONN)",
    ),
    (
        "Close fails pending Accepts and frees the port",
        KeepsItsPort,
        "an Accept that was pending at Close never happened",
    ),
    ("starts without an IP filter", HasAFilter, "GetIpFilter of a new socket is not None"),
    ("accepts whom its IP filter includes", AcceptsEveryone, "the IP filter never happened"),
    ("connects where its IP filter includes", ConnectsEverywhere, "Connect to an address outside: expected"),
    ("keeps a copy of its IP filter", SharesItsFilter, "a change of the filter changed the socket's copy"),
    ("the undocumented slot answers", FailsItsSlot, "expected <HRESULT 0x80004001 E_NOTIMPL>"),
    ("keeps its options, or has none", ForgetsOptions, "SO_KEEPALIVE after it was set: expected b'\\x01"),
)


@pytest.mark.parametrize(("rule", "wrong", "reason"), WRONG)
def test_the_rule_catches(
    rule: str, wrong: type[FWXNetworkSocket], reason: str, caught: Callable[[Battery, str, str], None]
) -> None:
    caught(check_network_socket(maker_of(wrong)), rule, reason)


def test_there_is_a_wrong_socket_for_every_rule(shared_rules: tuple[str, ...]) -> None:
    """The rules that come from the battery for sockets have theirs in test_sockets.py."""
    rules = {check.name for check in check_network_socket(maker_of(FWXNetworkSocket))}
    of_sockets = {check.name for check in check_socket(memory_pair)}
    assert rules - of_sockets - set(shared_rules) == {rule for rule, _, _ in WRONG}
    assert len(of_sockets - rules) == 2, "the shape of IFWXSocket, and the blindness that a network socket has not"
