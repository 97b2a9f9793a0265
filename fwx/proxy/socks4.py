"""SOCKS4 and SOCKS4a (the memos of Ying-Da Lee) on the server's side: CONNECT and BIND, and Tor's RESOLVE."""

from __future__ import annotations

import socket
from typing import Final

from fwx.interfaces.address import SocketAddress
from fwx.proxy.request import (
    AuthenticationError,
    Command,
    Demand,
    HandshakeError,
    Outcome,
    ProxyRequest,
    printable,
    request_target,
)
from fwx.proxy.socks5_codes import RESOLVE

#: Most bytes of the user id and of SOCKS4a's name, without the zero that ends each. The memos name no limit.
LONGEST_STRING: Final = 255

_COMMANDS: Final[dict[int, Command]] = {0x01: "connect", 0x02: "bind", RESOLVE: "resolve"}
_GRANTED: Final = 0x5A
_REJECTED: Final = 0x5B
_HEAD: Final = 8


class Socks4Codec:
    """The SOCKS4 side of one connection of the proxy port; the caller has seen the first byte 0x04.

    The protocol has no password: the user id is a claim, and where clients have to authenticate it is refused.
    """

    __slots__ = ("_demand", "_pending", "request")

    credentials = None

    def __init__(self, demand: Demand = "off") -> None:
        self.request: ProxyRequest | None = None
        self._demand = demand
        self._pending = b""

    @property
    def awaited(self) -> str:
        """What has not come yet, in words for the log."""
        return "its SOCKS4 request was complete"

    def receive(self, data: bytes) -> bytes:
        """Take *data*, at least one byte, from the client; nothing is sent before the reply to the request.

        :raises HandshakeError: another command, a bad target, a string that is too long; or SOCKS4 is not enough here.
        """
        self._pending += data
        self.request = self._parse(self._pending)
        if self.request is not None:
            self._pending = b""
        return b""

    def accepted(self) -> bytes:
        raise RuntimeError("SOCKS4 has no credentials")

    def rejected(self) -> bytes:
        raise RuntimeError("SOCKS4 has no credentials")

    def succeeded(self, bound: SocketAddress) -> bytes:
        """Return the reply "granted" with the address *bound*, zeros where it is not IPv4.

        The memos let clients ignore the address after CONNECT. After BIND it comes twice: the second one is the peer's.
        To RESOLVE it is the address that was found.
        """
        literal = bound.address
        packed = literal.packed if literal is not None and literal.version == 4 else bytes(4)
        return bytes((0, _GRANTED)) + bound.port.to_bytes(2, "big") + packed

    def refused(self, outcome: Outcome) -> bytes:  # noqa: ARG002 - the protocol has one code for every failure
        """Return the reply "rejected or failed"."""
        return _rejection()

    def _parse(self, buffer: bytes) -> ProxyRequest | None:
        if len(buffer) >= 2 and buffer[1] not in _COMMANDS:
            raise HandshakeError(f"SOCKS4 command 0x{buffer[1]:02x} is not CONNECT, BIND or RESOLVE", _rejection())
        if len(buffer) < _HEAD:
            return None
        user, end = _string(buffer, _HEAD, "user id")
        packed, name = buffer[4:_HEAD], b""
        by_name = packed[:3] == bytes(3) and packed[3] != 0
        if user is not None and by_name:
            found, end = _string(buffer, end, "name")
            user, name = (user, found) if found is not None else (None, b"")
        if user is None:
            return None
        claim = printable(user.decode("latin-1"))
        if self._demand == "required":
            raise AuthenticationError("SOCKS4 cannot authenticate, which is required here", _rejection(), claim)
        host = _name(name) if by_name else socket.inet_ntop(socket.AF_INET, packed)
        command = _COMMANDS[buffer[1]]
        try:
            target = request_target(command, host, int.from_bytes(buffer[2:4], "big"))
        except ValueError as error:
            raise HandshakeError(f"SOCKS4 {command.upper()}: {error}", _rejection()) from None
        return ProxyRequest("SOCKS4", command, target, "", buffer[end:], claim)


def _string(buffer: bytes, start: int, what: str) -> tuple[bytes | None, int]:
    """Return the string at *start* and where its zero ends; ``None`` while it is incomplete.

    :raises HandshakeError: it is too long.
    """
    end = buffer.find(0, start, start + LONGEST_STRING + 1)
    if end >= 0:
        return buffer[start:end], end + 1
    if len(buffer) > start + LONGEST_STRING:
        raise HandshakeError(f"SOCKS4 {what} over {LONGEST_STRING} bytes", _rejection())
    return None, start


def _name(packed: bytes) -> str:
    if not packed.isascii():
        raise HandshakeError("SOCKS4: the host name is not ASCII, its IDNA form is expected", _rejection())
    return packed.decode("ascii")


def _rejection() -> bytes:
    return bytes((0, _REJECTED)) + bytes(6)
