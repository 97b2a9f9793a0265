"""Making network sockets by protocol: through the registry, so that a plug-in can put others in their place."""

from __future__ import annotations

from typing import Any

from fwx.interfaces import IFWXNetworkSocket
from fwx.interfaces.constants import FWX_PROTOCOL_TCP, FWX_PROTOCOL_UDP
from fwx.interfaces.hresult import WSAEPROTONOSUPPORT, winsock_error

_NAMES = {FWX_PROTOCOL_TCP: "tcp", FWX_PROTOCOL_UDP: "udp"}


def make_socket(registry: Any, owner: object, protocol: Any) -> IFWXNetworkSocket:
    """Return a new socket of the firewall or session *owner*, as its adapter for the protocol's name makes it (B4.8).

    :raises COMError: ``WSAEPROTONOSUPPORT`` neither TCP nor UDP; GRE has a number too, but no sockets here.
    """
    name = _NAMES.get(protocol) if isinstance(protocol, int) else None
    if name is None:
        raise winsock_error(WSAEPROTONOSUPPORT, f"protocol {protocol!r}; there are sockets for TCP (6) and UDP (17)")
    socket: IFWXNetworkSocket = registry.getAdapter(owner, IFWXNetworkSocket, name=name)
    return socket
