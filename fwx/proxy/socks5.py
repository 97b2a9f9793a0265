"""SOCKS5 (RFC 1928) on the server's side, with user and password (RFC 1929) or without authentication."""

from __future__ import annotations

import socket
from enum import Enum
from typing import Final

from fwx.interfaces.address import SocketAddress
from fwx.proxy.request import (
    AuthenticationError,
    Command,
    Credentials,
    Demand,
    HandshakeError,
    Outcome,
    ProxyRequest,
    request_target,
)
from fwx.proxy.socks5_codes import (
    BIND,
    CONNECT,
    IPV4,
    IPV6,
    NAME,
    NO_ACCEPTABLE_METHOD,
    NO_AUTHENTICATION,
    RESOLVE,
    RESOLVE_PTR,
    UDP_ASSOCIATE,
    USER_PASSWORD,
)

_VERSION: Final = 0x05
_METHOD_NAMES: Final = {NO_AUTHENTICATION: "00 (no authentication)", USER_PASSWORD: "02 (user and password)"}
# In order of preference: who offers a password has one.
_METHODS: Final[dict[Demand, tuple[int, ...]]] = {
    "off": (NO_AUTHENTICATION,),
    "optional": (USER_PASSWORD, NO_AUTHENTICATION),
    "required": (USER_PASSWORD,),
}

_PASSWORD_ACCEPTED: Final = b"\x01\x00"
_PASSWORD_REJECTED: Final = b"\x01\x01"

_COMMANDS: Final[dict[int, Command]] = {
    CONNECT: "connect",
    BIND: "bind",
    UDP_ASSOCIATE: "udp",
    RESOLVE: "resolve",
    RESOLVE_PTR: "resolve-ptr",
}

_GENERAL_FAILURE: Final = 0x01
_COMMAND_NOT_SUPPORTED: Final = 0x07
_ADDRESS_TYPE_NOT_SUPPORTED: Final = 0x08

# A timeout is "TTL expired", as Dante and Tor answer it; Dante's client library turns it back into ETIMEDOUT.
# RFC 1928 has no code for a name that does not exist; "host unreachable" is what clients show best.
_REPLY_CODES: Final = {
    Outcome.DENIED: 0x02,
    Outcome.UNAUTHENTICATED: 0x02,
    Outcome.CONNECTION_REFUSED: 0x05,
    Outcome.NETWORK_UNREACHABLE: 0x03,
    Outcome.HOST_UNREACHABLE: 0x04,
    Outcome.NAME_NOT_FOUND: 0x04,
    Outcome.TIMED_OUT: 0x06,
    Outcome.BUSY: _GENERAL_FAILURE,
    Outcome.FAILED: _GENERAL_FAILURE,
}


class _Stage(Enum):
    """What comes next from the client; the value is the wording for the log."""

    GREETING = "greeting"
    PASSWORD = "password"  # noqa: S105
    REQUEST = "request"


class Socks5Codec:
    """The SOCKS5 side of one connection of the proxy port; the caller has seen the first byte 0x05."""

    __slots__ = ("_demand", "_pending", "_stage", "credentials", "request")

    def __init__(self, demand: Demand = "off") -> None:
        self.request: ProxyRequest | None = None
        self.credentials: Credentials | None = None
        self._demand = demand
        self._stage = _Stage.GREETING
        self._pending = b""

    @property
    def awaited(self) -> str:
        """What has not come yet, in words for the log."""
        return f"its SOCKS5 {self._stage.value} was complete"

    def receive(self, data: bytes) -> bytes:
        """Take *data* from the client; return the method selection once the greeting is complete, else nothing.

        What is incomplete never exceeds one greeting (257 bytes), one password (513) or one request (262).

        :raises HandshakeError: no acceptable method, a malformed password, an unsupported command or address type, a
            bad target. Its reply starts with the method selection if the same *data* completed the greeting.
        """
        self._pending += data
        return self._advance(b"")

    def accepted(self) -> bytes:
        """Return the success reply of RFC 1929, and go on with what has come behind the password."""
        self.credentials = None
        self._stage = _Stage.REQUEST
        return self._advance(_PASSWORD_ACCEPTED)

    def rejected(self) -> bytes:
        """Return the failure reply of RFC 1929 section 2; the connection must then be closed."""
        return _PASSWORD_REJECTED

    def succeeded(self, bound: SocketAddress) -> bytes:
        """Return reply 0x00 with the local address *bound* (RFC 1928 section 6); after BIND another, with the peer's.

        To RESOLVE it has the address that was found, to RESOLVE_PTR the name (Tor's socks-extensions section 2).

        :raises ValueError: *bound* is a name where an address is needed, or one that the protocol has no room for.
        """
        by_name = bound.address is None and self.request is not None and self.request.command == "resolve-ptr"
        return bytes((_VERSION, 0, 0)) + (packed_name(bound) if by_name else packed_address(bound))

    def refused(self, outcome: Outcome) -> bytes:
        """Return the failure reply for *outcome* (RFC 1928 section 6)."""
        return _failure(_REPLY_CODES[outcome])

    def _advance(self, sending: bytes) -> bytes:
        """Take one stage after the other as far as they are complete, and return what to send."""
        try:
            while True:
                stage = self._stage
                sending += self._take()
                if self._stage is stage:
                    return sending
        except HandshakeError as error:
            error.reply = sending + error.reply
            raise

    def _take(self) -> bytes:
        match self._stage:
            case _Stage.GREETING:
                return self._greet()
            case _Stage.PASSWORD:
                if self.credentials is None:
                    self._take_password()
            case _Stage.REQUEST:
                self.request = _parse_request(self._pending)
                if self.request is not None:
                    self._pending = b""
        return b""

    def _greet(self) -> bytes:
        buffer = self._pending
        if len(buffer) < 2 or len(buffer) < 2 + buffer[1]:
            return b""
        end = 2 + buffer[1]
        method = next((method for method in _METHODS[self._demand] if method in buffer[2:end]), None)
        if method is None:
            wanted = " and ".join(_METHOD_NAMES[method] for method in sorted(_METHODS[self._demand]))
            reason = f"SOCKS5 methods {buffer[2:end].hex(' ') or 'none'} lack {wanted}"
            kind = AuthenticationError if self._demand == "required" else HandshakeError
            raise kind(reason, bytes((_VERSION, NO_ACCEPTABLE_METHOD)))
        self._pending = buffer[end:]
        self._stage = _Stage.PASSWORD if method == USER_PASSWORD else _Stage.REQUEST
        return bytes((_VERSION, method))

    def _take_password(self) -> None:
        """Read the name and the password (RFC 1929 section 2), if they are complete."""
        buffer = self._pending
        if buffer[:1] not in (b"\x01", b""):
            reason = f"SOCKS5 password starts with 0x{buffer[0]:02x}, not 01"
            raise AuthenticationError(reason, _PASSWORD_REJECTED)
        if len(buffer) < 2 or len(buffer) < 3 + buffer[1]:
            return
        middle = 2 + buffer[1]
        end = middle + 1 + buffer[middle]
        if len(buffer) >= end:
            self.credentials = Credentials.of(buffer[2:middle], buffer[middle + 1 : end])
            self._pending = buffer[end:]


def _parse_request(buffer: bytes) -> ProxyRequest | None:
    """Return the request at the start of *buffer*, or ``None`` while it is incomplete (RFC 1928 section 4).

    :raises HandshakeError: the request is malformed or unsupported; its reply is the failure reply.
    """
    _check_head(buffer)
    if len(buffer) < 5:
        return None
    start, end = _address_span(buffer)
    if len(buffer) < end + 2:
        return None
    command = _COMMANDS[buffer[1]]
    port, early = int.from_bytes(buffer[end : end + 2], "big"), buffer[end + 2 :]
    if command == "udp":
        return ProxyRequest("SOCKS5", "udp", _sender(buffer[3], buffer[start:end], port), "", early)
    try:
        target = request_target(command, _host(buffer[3], buffer[start:end]), port)
    except ValueError as error:
        raise HandshakeError(f"SOCKS5 {command.upper()}: {error}", _failure(_GENERAL_FAILURE)) from None
    if command == "resolve-ptr" and target.address is None:
        reason = "SOCKS5 RESOLVE_PTR: a name, the address whose name is wanted is expected"
        raise HandshakeError(reason, _failure(_ADDRESS_TYPE_NOT_SUPPORTED))
    return ProxyRequest("SOCKS5", command, target, "", early)


def _sender(kind: int, packed: bytes, port: int) -> SocketAddress:
    """Return what a client says that it will send datagrams from: an address, or zeros where it does not know.

    :raises HandshakeError: it is a name, which nobody could compare a datagram's source with.
    """
    if kind == NAME:
        reason = "SOCKS5 UDP ASSOCIATE: a name for where the client sends from, an address or zeros are expected"
        raise HandshakeError(reason, _failure(_ADDRESS_TYPE_NOT_SUPPORTED))
    return SocketAddress(_host(kind, packed), port)


def _check_head(buffer: bytes) -> None:
    """Check version, command, reserved byte and address type as far as they are in *buffer*."""
    if buffer[:1] not in (b"\x05", b""):
        raise HandshakeError(f"SOCKS5 request starts with 0x{buffer[0]:02x}, not 05", _failure(_GENERAL_FAILURE))
    if len(buffer) < 4:
        return
    if buffer[1] not in _COMMANDS:
        known = "CONNECT, BIND, UDP ASSOCIATE, RESOLVE and RESOLVE_PTR"
        reason = f"SOCKS5 command 0x{buffer[1]:02x} is not supported, only {known}"
        raise HandshakeError(reason, _failure(_COMMAND_NOT_SUPPORTED))
    if buffer[2] != 0:
        raise HandshakeError(f"SOCKS5 reserved byte is 0x{buffer[2]:02x}, not 00", _failure(_GENERAL_FAILURE))
    if buffer[3] not in (IPV4, NAME, IPV6):
        reason = f"SOCKS5 address type 0x{buffer[3]:02x} is not 01, 03 or 04"
        raise HandshakeError(reason, _failure(_ADDRESS_TYPE_NOT_SUPPORTED))


def packed_address(address: SocketAddress) -> bytes:
    """Return the address type, the literal *address* and its port as SOCKS5 writes them.

    :raises ValueError: it is a name.
    """
    literal = address.address
    if literal is None:
        raise ValueError(f"{address} is a name, an address is needed")
    kind = IPV4 if literal.version == 4 else IPV6
    return bytes((kind,)) + literal.packed + address.port.to_bytes(2, "big")


def packed_name(end_point: SocketAddress) -> bytes:
    """Return the address type, the name of *end_point* and its port as SOCKS5 writes them.

    :raises ValueError: the name is no ASCII, or longer than 255 bytes.
    """
    name = end_point.host.encode("ascii")
    if len(name) > 0xFF:
        raise ValueError(f"a name of {len(name)} bytes, at most 255 are expected")
    return bytes((NAME, len(name))) + name + end_point.port.to_bytes(2, "big")


def unpack_address(buffer: bytes, start: int) -> tuple[str, int]:
    """Read the address type and the host at *start*; return the host and where it ends, which is where its port is.

    :raises ValueError: the type is unknown, the host is cut off, or no ASCII.
    """
    kind = buffer[start]
    lengths = {IPV4: 4, IPV6: 16}
    begin = start + 1
    if kind == NAME:
        if len(buffer) <= begin:
            raise ValueError("the name is cut off")
        end = begin + 1 + buffer[begin]
        begin += 1
    elif kind in lengths:
        end = begin + lengths[kind]
    else:
        raise ValueError(f"address type 0x{kind:02x} is not 01, 03 or 04")
    if len(buffer) < end:
        raise ValueError("the address is cut off")
    return _host(kind, buffer[begin:end]), end


def _address_span(buffer: bytes) -> tuple[int, int]:
    if buffer[3] == IPV4:
        return 4, 8
    if buffer[3] == IPV6:
        return 4, 20
    return 5, 5 + buffer[4]


def _host(kind: int, packed: bytes) -> str:
    if kind == IPV4:
        return socket.inet_ntop(socket.AF_INET, packed)
    if kind == IPV6:
        return socket.inet_ntop(socket.AF_INET6, packed)
    if not packed.isascii():
        raise ValueError("the host name is not ASCII, its IDNA form (xn--...) is expected")
    return packed.decode("ascii")


def _failure(code: int) -> bytes:
    return bytes((_VERSION, code, 0, IPV4, 0, 0, 0, 0, 0, 0))
