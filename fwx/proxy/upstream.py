"""What the client's sides of the proxy protocols share: the error, the account, and the check of what is asked for."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from fwx.interfaces.address import SocketAddress
from fwx.proxy.request import connect_target


class UpstreamError(OSError):
    """An upstream refuses, or what it says makes no sense.

    ``errno`` is what the kernel would have said of a straight connection, ``EPROTO`` for what makes no sense;
    ``strerror`` is for the log. Neither holds what the upstream or a password says.
    """


@dataclass(frozen=True, slots=True)
class Account:
    """User name and password at an upstream; the password is not shown."""

    user: str
    password: str = field(repr=False)


def askable(target: SocketAddress) -> SocketAddress:
    """Return *target* as an upstream can be asked for it: a literal address, or a name in its ASCII form.

    :raises socket.gaierror: it is no name that anybody could resolve.
    """
    host = target.host
    try:
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
        return connect_target(host, target.port)
    except ValueError as error:  # UnicodeError is one
        raise socket.gaierror(socket.EAI_NONAME, f"it cannot be asked for the target: {error}") from None
