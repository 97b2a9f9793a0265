"""What every protocol of the proxy port shares: the request, its outcome, the error, and the check of a target."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal, Protocol, TypeAlias

from fwx.interfaces.address import SocketAddress

Demand: TypeAlias = Literal["off", "optional", "required"]
"""Whether a listener authenticates its clients: never, those that offer it, all."""

#: Most bytes that a handshake holds while the request is incomplete, and the longest HTTP request head.
LONGEST_HANDSHAKE: Final = 16 * 1024

_LONGEST_NAME: Final = 253
_NAME: Final = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")
_ENDS_IN_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?")


Command: TypeAlias = Literal["connect", "bind", "udp", "resolve", "resolve-ptr"]


class Outcome(Enum):
    """Why a connection that a client asked for was not made; the value is the wording for people."""

    DENIED = "denied by policy"
    UNAUTHENTICATED = "denied by policy without a user"
    CONNECTION_REFUSED = "connection refused"
    NETWORK_UNREACHABLE = "network unreachable"
    HOST_UNREACHABLE = "host unreachable"
    NAME_NOT_FOUND = "name not found"
    TIMED_OUT = "timed out"
    BUSY = "connection limit reached"
    FAILED = "internal failure"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The name and the password that a client sent; as long as nobody has checked them, a claim."""

    user: str
    password: bytes = field(repr=False)

    @classmethod
    def of(cls, user: bytes, password: bytes) -> Credentials:
        """Make them of bytes; a *user* that is not UTF-8 is read as Latin-1, as old clients write it."""
        try:
            return cls(user.decode(), password)
        except UnicodeDecodeError:
            return cls(user.decode("latin-1"), password)


@dataclass(frozen=True, slots=True)
class ProxyRequest:
    """A complete request of a client of the proxy port.

    To ``connect``, ``target`` is where to. To ``bind``, it is who is expected to connect: its port may be 0, and the
    unspecified address stands for anybody. For ``udp``, an association, it is what the client says that it will send
    datagrams from, port 0 and the unspecified address where it does not know. To ``resolve`` it is whose addresses are
    wanted, for ``resolve-ptr`` the address whose name is; the port means nothing. It is a literal address or a name in
    the spelling the client used: case and a trailing dot are kept, so whoever compares names with a policy normalises
    first. ``agent`` is the ``User-Agent``, with what cannot be printed replaced by ``?``, or empty. ``early`` are the
    bytes that followed the request and belong to the server. ``claimed_user`` is the user id of a SOCKS4 client, which
    nothing vouches for; printable, often empty.
    """

    protocol: Literal["SOCKS4", "SOCKS5", "HTTP"]
    command: Command
    target: SocketAddress
    agent: str
    early: bytes
    claimed_user: str = ""


class HandshakeError(Exception):
    """The client's handshake cannot go on.

    Raised by :class:`~fwx.proxy.handshake.ProxyHandshake`; the service logs ``reason``, sends ``reply`` (it may be
    empty) and closes. ``reason`` quotes at most the target, never a header, which may hold a password.
    """

    #: What went wrong is the client's doing, not the service's.
    client_fault: Final = True

    def __init__(self, reason: str, reply: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.reply = reply


class AuthenticationError(HandshakeError):
    """The client has to authenticate itself and has not. *claimed_user* is whom it claims to be, or empty."""

    def __init__(self, reason: str, reply: bytes = b"", claimed_user: str = "") -> None:
        super().__init__(reason, reply)
        self.claimed_user = claimed_user


class ProxyCodec(Protocol):
    """One protocol of the proxy port, from the first byte of a connection to the reply to its request."""

    @property
    def request(self) -> ProxyRequest | None:
        """The request, or ``None`` while it is incomplete, or its client not known."""

    @property
    def credentials(self) -> Credentials | None:
        """What the client sent to be checked; ``None`` before, and after :meth:`accepted`."""

    @property
    def awaited(self) -> str:
        """What has not come yet, in words for the log."""

    def receive(self, data: bytes) -> bytes:
        """Take *data* from the client and return what to send.

        :raises HandshakeError: the input is malformed, unsupported or too long.
        """

    def accepted(self) -> bytes:
        """Go on after the credentials were found right; return what to send.

        :raises HandshakeError: what had come behind them is malformed.
        """

    def rejected(self) -> bytes:
        """The reply to credentials that are wrong; the connection then ends."""

    def succeeded(self, bound: SocketAddress) -> bytes:
        """The reply that the connection was made from the local address *bound*.

        :raises ValueError: *bound* is a name and the protocol has to tell the address.
        """

    def refused(self, outcome: Outcome) -> bytes:
        """The reply that the connection was not made because of *outcome*."""


def request_target(command: str, host: str, port: int) -> SocketAddress:
    """Check the target of a request by its *command* and return it (:func:`connect_target`); only one to connect needs
    a port.

    :raises ValueError: it is no target.
    """
    if command in ("resolve", "resolve-ptr"):
        return connect_target(host, 1).with_port(0)
    if command == "bind" and port == 0:
        return connect_target(host, 1).with_port(0)
    return connect_target(host, port)


def connect_target(host: str, port: int) -> SocketAddress:
    """Check the target of a request and return it, a literal address in its shortest spelling.

    A name consists of 1 to 253 letters, digits, hyphens, underscores and dots, with labels of at most 63; names in
    other scripts come in their IDNA form. A host that ends in a number is an IPv4 address in four decimal parts or an
    error: resolvers read ``127.1`` and ``0x7f000001`` as addresses, which a policy on names would not see.

    :raises ValueError: *host* is neither an address nor such a name, or *port* is not 1 to 65535.
    """
    if not 1 <= port <= 0xFFFF:
        raise ValueError(f"port {port} is outside 1 to 65535")
    if ":" in host:
        return SocketAddress(_literal(socket.AF_INET6, host, "an IPv6 address"), port)
    if len(host.removesuffix(".")) > _LONGEST_NAME or not _NAME.fullmatch(host):
        raise ValueError(f"{quoted(host)} is not a host name of 1 to 253 letters, digits, hyphens and dots")
    if _ENDS_IN_NUMBER.fullmatch(host):
        host = _literal(socket.AF_INET, host, "an IPv4 address in four decimal parts")
    return SocketAddress(host, port)


def quoted(text: str) -> str:
    """Return *text* as a literal fit for the log: escaped, and cut after 80 characters."""
    return ascii(text if len(text) <= 80 else text[:80] + "...")


def printable(text: str) -> str:
    """Return *text* fit for the log: what cannot be printed is replaced by ``?``."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _literal(family: socket.AddressFamily, host: str, expected: str) -> str:
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, host))
    except (OSError, ValueError):
        raise ValueError(f"{quoted(host)} is not {expected}") from None
