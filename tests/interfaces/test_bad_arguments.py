"""Whatever a caller hands to an object of the service, the answer is an HRESULT, never an error from inside."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fwx import sdk
from fwx.interfaces import (
    FWX_PROTOCOL_TCP,
    IFWXConnection,
    IFWXFirewall2,
    IFWXIOBuffer,
    IFWXNetworkSocket,
    IFWXOverlapped,
    IFWXSession,
    IFWXSocket,
    MethodInfo,
    SocketAddress,
    methods,
)
from fwx.interfaces.idl import Passing
from fwx.testing import AttachingFilter, MemoryFirewall, memory_pair
from tests.impl.tls import certificates
from tests.impl.tls.parts import towards_server


class Keeper(sdk.DataPump):
    """Keeps the service's own sockets for the test."""

    sockets: tuple[Any, Any]

    def SetSockets(
        self, piInternalSocket: Any, pIExternalSocket: Any, piConnection: Any, punkFilterContext: Any
    ) -> None:
        self.sockets = piInternalSocket._socket, pIExternalSocket._socket


@pytest.fixture
def firewall() -> Iterator[MemoryFirewall]:
    firewall = MemoryFirewall()
    yield firewall
    firewall.close()


def socket_of(firewall: MemoryFirewall) -> Any:
    keeper = Keeper()
    firewall.start(lambda: AttachingFilter(lambda: keeper))
    firewall.open()
    return keeper.sockets[0]


def bound(firewall: MemoryFirewall) -> Any:
    socket = firewall.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)
    socket.Bind(SocketAddress("127.0.0.1"), None, None)
    return socket


def secure(firewall: MemoryFirewall) -> Any:
    return towards_server(firewall.firewall, memory_pair(firewall.loop).left, certificates.client())


OBJECTS: dict[str, tuple[Any, Callable[[MemoryFirewall], Any]]] = {
    "firewall": (IFWXFirewall2, lambda firewall: firewall.firewall),
    "session": (IFWXSession, lambda firewall: firewall.session()),
    "connection": (IFWXConnection, lambda firewall: firewall.open().connection),
    "socket": (IFWXSocket, socket_of),
    "network socket": (IFWXNetworkSocket, lambda firewall: firewall.firewall.CreateNetworkSocket(FWX_PROTOCOL_TCP)),
    "bound network socket": (IFWXNetworkSocket, bound),
    "SSL socket": (IFWXNetworkSocket, secure),
    "SSL socket without one underneath": (IFWXNetworkSocket, lambda firewall: towards_server(firewall.firewall, None)),
    "overlapped object": (IFWXOverlapped, lambda firewall: firewall.firewall.CreateOverlapped()),
    "received buffer": (IFWXIOBuffer, lambda firewall: firewall.firewall.CreateConstBuffer(b"abc")),
    "allocated buffer": (IFWXIOBuffer, lambda firewall: firewall.firewall.CreateBuffer(8)),
}
WRONG: tuple[Any, ...] = (None, "text", -1, 1 << 40, 1.5, b"bytes", object(), SocketAddress("name.invalid", 1))
CASES = [
    pytest.param(name, method, id=f"{name}-{method.name}")
    for name, (interface, _) in OBJECTS.items()
    for method in methods(interface)
    if not method.attributes or "propget" not in method.attributes
]


@pytest.mark.parametrize(("name", "method"), CASES)
def test_wrong_arguments_give_an_hresult(firewall: MemoryFirewall, name: str, method: MethodInfo) -> None:
    """DESIGN 3: out-of-range numbers, text where bytes belong, no object where one belongs."""
    interface, make = OBJECTS[name]
    given = [one for one in method.parameters if one.passing not in (Passing.RESULT, Passing.RESULT_LENGTH)]
    for position in range(max(len(given), 1)):
        for wrong in WRONG:
            target = make(firewall)
            arguments: list[Any] = [_fitting(one) for one in given]
            if given:
                arguments[position] = wrong
            with contextlib.suppress(sdk.COMError):
                getattr(target, method.name)(*arguments)
    assert interface.providedBy(target)


def _fitting(parameter: Any) -> Any:
    """A value of the parameter's type, as far as one does without an object of its own."""
    if parameter.type in (int, bool):
        return 1
    return {bytes: b"ab", str: "name", SocketAddress: SocketAddress("127.0.0.1", 1)}.get(parameter.type)
