"""The address of the firewall that a client reaches it by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwx.impl.winsock import winsock_code
from fwx.interfaces import SocketAddress
from fwx.interfaces.hresult import winsock_error

if TYPE_CHECKING:
    from fwx.impl.session import FWXSession

# Any port will do: nothing is sent.
_DISCARD = 9


def inside_address(session: FWXSession) -> SocketAddress:
    """Return the inside address, port 0, for connections of the client of *session*: the one that packets to it leave
    from, or what the session was given (B6.22, B6.29).

    :raises COMError: the Winsock error; there is no route to the client.
    """
    if session.inside_address is not None:
        return session.inside_address
    client = session.address
    try:
        probe = session.engine.network.datagram(client.family)
        try:
            probe.connect(client.with_port(_DISCARD).sockaddr)
            return SocketAddress.from_sockaddr(probe.getsockname()).with_port(0)
        finally:
            probe.close(True)
    except OSError as error:
        raise winsock_error(winsock_code(error), f"no way to {client.host}: {error.strerror or error}") from error
