"""The battery for SSL sockets: each rule of its own, and a socket that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fwx.impl.networksocket import FWXNetworkSocket
from fwx.impl.sslsocket import FWXSSLSocket
from fwx.impl.tlsparameters import parameters_of
from fwx.interfaces import E_FAIL, GUID_NULL, COMError, SocketAddress, fwxClientSide, fwxServerSide
from fwx.testing import Battery, MemoryFirewall, SocketPair, SslSocketMaker, check_network_socket, check_ssl_socket
from fwx.testing import memory_pair as sockets_underneath
from tests.fwx.testing.test_network_sockets import maker_of as network_maker_of
from tests.impl.tls import certificates


def maker_of(kind: type[FWXSSLSocket]) -> Callable[[], SslSocketMaker]:
    client, server = certificates.client(), certificates.server()

    def make() -> SslSocketMaker:
        memory = MemoryFirewall()

        def socket(side: int, under: Any) -> FWXSSLSocket:
            own, name = (client, certificates.SERVER) if side == fwxServerSide else (server, None)
            arguments = (False, name, None, own, None, side, GUID_NULL, 0, 0, False, under)
            return kind(memory.engine, memory.firewall, parameters_of(lambda: client, *arguments))

        def pair() -> SocketPair:
            under = sockets_underneath(memory.loop)
            left, right = socket(fwxServerSide, under.left), socket(fwxClientSide, under.right)
            return SocketPair(left, right, memory.loop.run, under.close)

        return SslSocketMaker(pair, lambda: socket(fwxServerSide, None), memory.loop.run, memory.close)

    return make


class OtherNames(FWXSSLSocket):
    def Listen(self, backlog: int) -> None:
        super().Listen(backlog)


class Connects(FWXSSLSocket):
    def Connect(self, Address: SocketAddress, AddressLength: int | None = None) -> None:
        """It does not say that it cannot."""


class SendsNowhere(FWXSSLSocket):
    def Send(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        if self._neighbour is not None or self._closed:
            super().Send(pIOBuffer, pIFWXIOCompletion, UserData)


class KeepsItsPort(FWXSSLSocket):
    def Close(self, fAbortive: bool) -> None:
        if self._layer is None:
            self._closed = True
        else:
            super().Close(fAbortive)


class BindsAnyway(FWXSSLSocket):
    def Bind(self, Address: SocketAddress, AddressLength: int | None, pIpFilter: Any) -> None:
        if self._layer is None:
            super().Bind(Address, AddressLength, pIpFilter)


class FailsItsSlot(FWXSSLSocket):
    def _SetPacketFilterOptions(self, fForInternalUse: bool, dwForInternalUse: int) -> None:
        raise COMError(E_FAIL)


WRONG: tuple[tuple[str, type[FWXSSLSocket], str], ...] = (
    (
        "has every member of IFWXNetworkSocket to the letter",
        OtherNames,
        "IFWXNetworkSocket.Listen: expected the parameters (Backlog), found (backlog)",
    ),
    ("has no Connect, no Accept, no SendTo", Connects, "Connect: expected E_NOTIMPL, found the result None"),
    ("is not connected without a socket underneath", SendsNowhere, "WSAENOTCONN), found the result None"),
    ("can be bound and listen without a socket underneath", KeepsItsPort, "it raised COMError"),
    ("is neither bound nor listens over a socket", BindsAnyway, "Bind: expected HRESULT_FROM_WIN32(WSAEINVAL)"),
    ("has an undocumented slot that does nothing", FailsItsSlot, "expected E_NOTIMPL, found E_FAIL"),
)


@pytest.mark.parametrize(("rule", "wrong", "reason"), WRONG)
def test_the_rule_catches(
    rule: str, wrong: type[FWXSSLSocket], reason: str, caught: Callable[[Battery, str, str], None]
) -> None:
    caught(check_ssl_socket(maker_of(wrong)), rule, reason)


def test_there_is_a_wrong_socket_for_every_rule_of_its_own(shared_rules: tuple[str, ...]) -> None:
    rules = {check.name for check in check_ssl_socket(maker_of(FWXSSLSocket))}
    of_network_sockets = {check.name for check in check_network_socket(network_maker_of(FWXNetworkSocket))}
    shape = "has every member of IFWXNetworkSocket to the letter"
    assert rules - of_network_sockets - set(shared_rules) | {shape} == {rule for rule, _, _ in WRONG}
