"""The battery for UDP sockets: on the service's own in memory, and on a socket that breaks each rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fwx.impl.datagramsocket import FWXDatagramSocket
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.interfaces import IFWXAcceptCompletion, SocketAddress
from fwx.testing import Battery, MemoryFirewall, SocketMaker, check_datagram_socket


def maker_of(kind: type[FWXDatagramSocket]) -> Callable[[], SocketMaker]:
    def make() -> SocketMaker:
        firewall = MemoryFirewall()
        return SocketMaker(lambda: kind(firewall.engine, firewall.firewall), firewall.loop.run, firewall.close)

    return make


def test_the_sockets_of_the_firewall_in_memory() -> None:
    def make() -> SocketMaker:
        firewall = MemoryFirewall()
        return SocketMaker(lambda: firewall.firewall.CreateNetworkSocket(17), firewall.loop.run, firewall.close)

    check_datagram_socket(make).require()


class OtherNames(FWXDatagramSocket):
    def Listen(self, backlog: int) -> None:
        super().Listen(backlog)


class HasANameAtOnce(FWXDatagramSocket):
    def GetSockName(self) -> SocketAddress:
        return SocketAddress("127.0.0.1", 0) if self._local is None else super().GetSockName()


class BindsAgain(FWXDatagramSocket):
    def Bind(self, Address: SocketAddress, AddressLength: int | None, pIpFilter: Any) -> None:
        if self._local is None:
            super().Bind(Address, AddressLength, pIpFilter)


class HidesTheSource(FWXDatagramSocket):
    def Recv(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        class Hiding:
            def CompleteAsyncIO(self, *outcome: Any) -> None:
                pIFWXIOCompletion.CompleteAsyncIO(*outcome[:4], None, 0)

        super().Recv(pIOBuffer, Hiding(), UserData)  # type: ignore[arg-type]


class DropsEmptyOnes(FWXDatagramSocket):
    def admits_datagram(self, external: SocketAddress, size: int) -> bool:
        return size > 0 and super().admits_datagram(external, size)


class CutsSilently(FWXDatagramSocket):
    def Recv(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        class Silent:
            def CompleteAsyncIO(self, *outcome: Any) -> None:
                pIFWXIOCompletion.CompleteAsyncIO(True, 0, *outcome[2:])

        super().Recv(pIOBuffer, Silent(), UserData)  # type: ignore[arg-type]


class CutsWhatItSends(FWXDatagramSocket):
    def SendTo(self, pIOBuffer: Any, *rest: Any) -> None:
        super().SendTo(pIOBuffer and FWXIOBuffer.constant(pIOBuffer.GetBufferAndSize()[:65507]), *rest)


class ConnectsAgain(FWXDatagramSocket):
    def Connect(self, Address: SocketAddress, AddressLength: int | None = None) -> None:
        if self._connected is None:
            super().Connect(Address, AddressLength)


class IgnoresTheNetwork(FWXDatagramSocket):
    def _begin(self) -> None:
        super()._begin()
        assert self._endpoint is not None
        transport = self._endpoint.transport
        take = transport.take_error
        transport.take_error = lambda: take() and None  # type: ignore[method-assign]


class SendsToNames(FWXDatagramSocket):
    def SendTo(self, pIOBuffer: Any, Address: Any, *rest: Any) -> None:
        if Address is None or Address.address is not None:
            super().SendTo(pIOBuffer, Address, *rest)


class Listens(FWXDatagramSocket):
    def Listen(self, Backlog: int) -> None:
        """As if it could."""

    def Accept(self, pIFWXAcceptCompletion: IFWXAcceptCompletion, UserData: object) -> None:
        """As if it could."""


class TakesEverything(FWXDatagramSocket):
    def admits_datagram(self, external: SocketAddress, size: int) -> bool:
        return True


class TakesStrangers(FWXDatagramSocket):
    def admits_datagram(self, external: SocketAddress, size: int) -> bool:
        return self._local_end.admits(external)


class NeverShuts(FWXDatagramSocket):
    def Shutdown(self, fAbortive: bool) -> None:
        """Nothing."""


class KeepsItsPort(FWXDatagramSocket):
    def Close(self, fAbortive: bool) -> None:
        self._closed = True


class Reverses(FWXDatagramSocket):
    def Recv(self, pIOBuffer: Any, pIFWXIOCompletion: Any, UserData: object) -> None:
        super().Recv(pIOBuffer, pIFWXIOCompletion, UserData)
        if self._endpoint is not None and len(self._endpoint._recvs) > 1:
            self._endpoint._recvs.reverse()


WRONG: tuple[tuple[str, type[FWXDatagramSocket], str], ...] = (
    ("has every member of IFWXNetworkSocket to the letter", OtherNames, "expected the parameters (Backlog)"),
    ("has no names while it is neither bound nor connected", HasANameAtOnce, "GetSockName of a new socket: expected"),
    ("Bind gives it an address, once", BindsAgain, "a second Bind: expected HRESULT_FROM_WIN32(WSAEINVAL)"),
    ("a datagram brings its sender's address", HidesTheSource, "ExternalAddress, the sender's name"),
    ("a datagram stays a datagram, an empty one too", DropsEmptyOnes, "never happened"),
    ("what does not fit into the caller's buffer is cut", CutsSilently, "a datagram that is longer than the buffer"),
    ("what is too long to send fails, and it alone", CutsWhatItSends, "a datagram that is too long: expected"),
    ("Connect gives Send a peer, once", ConnectsAgain, "a second Connect: expected HRESULT_FROM_WIN32(WSAEISCONN)"),
    ("a datagram that nobody takes fails a Recv", IgnoresTheNetwork, "a datagram that nobody takes"),
    ("SendTo judges the address it is given", SendsToNames, "SendTo a name: expected E_INVALIDARG"),
    ("it neither listens nor accepts", Listens, "Listen: expected HRESULT_FROM_WIN32(WSAEOPNOTSUPP)"),
    ("keeps to its IP filter, of which it has a copy", TakesEverything, "outside the IP filter was received"),
    ("takes answers only where it was never bound", TakesStrangers, "what a socket that was never bound received"),
    ("Shutdown leaves the other direction", NeverShuts, "SendTo after Shutdown: expected"),
    ("Close fails what is pending and frees the port", KeepsItsPort, "never happened"),
    ("completes in order, exactly once, with the user data", Reverses, "the user data of the Recvs"),
)


@pytest.mark.parametrize(("rule", "wrong", "reason"), WRONG)
def test_the_rule_catches(
    rule: str, wrong: type[FWXDatagramSocket], reason: str, caught: Callable[[Battery, str, str], None]
) -> None:
    caught(check_datagram_socket(maker_of(wrong)), rule, reason)


def test_there_is_a_wrong_socket_for_every_rule(shared_rules: tuple[str, ...]) -> None:
    rules = {check.name for check in check_datagram_socket(maker_of(FWXDatagramSocket))}
    assert rules - set(shared_rules) == {rule for rule, _, _ in WRONG}
