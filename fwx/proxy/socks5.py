"""SOCKS5 (RFC 1928) on the server's side: CONNECT without authentication."""

from __future__ import annotations

import socket
from typing import Final

from fwx.interfaces.address import SocketAddress
from fwx.proxy.request import HandshakeError, Outcome, ProxyRequest, connect_target

_VERSION: Final = 0x05
_NO_AUTHENTICATION: Final = 0x00
_METHOD_SELECTED: Final = b"\x05\x00"
_NO_ACCEPTABLE_METHOD: Final = b"\x05\xff"

_CONNECT: Final = 0x01
_COMMANDS: Final = {0x02: "BIND", 0x03: "UDP ASSOCIATE"}

_IPV4: Final = 0x01
_NAME: Final = 0x03
_IPV6: Final = 0x04

_GENERAL_FAILURE: Final = 0x01
_COMMAND_NOT_SUPPORTED: Final = 0x07
_ADDRESS_TYPE_NOT_SUPPORTED: Final = 0x08

# A timeout is "TTL expired", as Dante and Tor answer it; Dante's client library turns it back into ETIMEDOUT.
# RFC 1928 has no code for a name that does not exist; "host unreachable" is what clients show best.
_REPLY_CODES: Final = {
    Outcome.DENIED: 0x02,
    Outcome.CONNECTION_REFUSED: 0x05,
    Outcome.NETWORK_UNREACHABLE: 0x03,
    Outcome.HOST_UNREACHABLE: 0x04,
    Outcome.NAME_NOT_FOUND: 0x04,
    Outcome.TIMED_OUT: 0x06,
    Outcome.BUSY: _GENERAL_FAILURE,
    Outcome.FAILED: _GENERAL_FAILURE,
}


class Socks5Codec:
    """The SOCKS5 side of one connection of the proxy port; the caller has seen the first byte 0x05."""

    __slots__ = ("_greeted", "_pending", "request")

    def __init__(self) -> None:
        self.request: ProxyRequest | None = None
        self._greeted = False
        self._pending = b""

    @property
    def awaited(self) -> str:
        """What has not come yet, in words for the log."""
        return "its SOCKS5 request was complete" if self._greeted else "its SOCKS5 greeting was complete"

    def receive(self, data: bytes) -> bytes:
        """Take *data* from the client; return the method selection once the greeting is complete, else nothing.

        What is held back never exceeds one greeting (257 bytes) or one request (262 bytes).

        :raises HandshakeError: no acceptable method, an unsupported command or address type, a bad target. Its reply
            starts with the method selection if the same *data* completed the greeting.
        """
        buffer = self._pending + data
        if self._greeted:
            return self._continue(buffer, b"")
        if len(buffer) < 2 or len(buffer) < 2 + buffer[1]:
            self._pending = buffer
            return b""
        end = 2 + buffer[1]
        if _NO_AUTHENTICATION not in buffer[2:end]:
            offered = buffer[2:end].hex(" ") or "none"
            raise HandshakeError(f"SOCKS5 methods {offered} lack 00 (no authentication)", _NO_ACCEPTABLE_METHOD)
        self._greeted = True
        return self._continue(buffer[end:], _METHOD_SELECTED)

    def succeeded(self, bound: SocketAddress) -> bytes:
        """Return reply 0x00 with the local address *bound* (RFC 1928 section 6).

        :raises ValueError: *bound* is a name.
        """
        return bytes((_VERSION, 0, 0)) + packed_address(bound)

    def refused(self, outcome: Outcome) -> bytes:
        """Return the failure reply for *outcome* (RFC 1928 section 6)."""
        return _failure(_REPLY_CODES[outcome])

    def _continue(self, buffer: bytes, sending: bytes) -> bytes:
        try:
            self.request = _parse_request(buffer)
        except HandshakeError as error:
            error.reply = sending + error.reply
            raise
        self._pending = buffer if self.request is None else b""
        return sending


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
    try:
        target = connect_target(_host(buffer[3], buffer[start:end]), int.from_bytes(buffer[end : end + 2], "big"))
    except ValueError as error:
        raise HandshakeError(f"SOCKS5 CONNECT: {error}", _failure(_GENERAL_FAILURE)) from None
    return ProxyRequest("SOCKS5", "connect", target, "", buffer[end + 2 :])


def _check_head(buffer: bytes) -> None:
    """Check version, command, reserved byte and address type as far as they are in *buffer*."""
    if buffer[:1] not in (b"\x05", b""):
        raise HandshakeError(f"SOCKS5 request starts with 0x{buffer[0]:02x}, not 05", _failure(_GENERAL_FAILURE))
    if len(buffer) < 4:
        return
    if buffer[1] != _CONNECT:
        command = _COMMANDS.get(buffer[1], f"command 0x{buffer[1]:02x}")
        raise HandshakeError(f"SOCKS5 {command} is not supported, only CONNECT", _failure(_COMMAND_NOT_SUPPORTED))
    if buffer[2] != 0:
        raise HandshakeError(f"SOCKS5 reserved byte is 0x{buffer[2]:02x}, not 00", _failure(_GENERAL_FAILURE))
    if buffer[3] not in (_IPV4, _NAME, _IPV6):
        reason = f"SOCKS5 address type 0x{buffer[3]:02x} is not 01, 03 or 04"
        raise HandshakeError(reason, _failure(_ADDRESS_TYPE_NOT_SUPPORTED))


def packed_address(address: SocketAddress) -> bytes:
    """Return the address type, the literal *address* and its port as SOCKS5 writes them.

    :raises ValueError: it is a name.
    """
    literal = address.address
    if literal is None:
        raise ValueError(f"{address} is a name, an address is needed")
    kind = _IPV4 if literal.version == 4 else _IPV6
    return bytes((kind,)) + literal.packed + address.port.to_bytes(2, "big")


def unpack_address(buffer: bytes, start: int) -> tuple[str, int]:
    """Read the address type and the host at *start*; return the host and where it ends, which is where its port is.

    :raises ValueError: the type is unknown, the host is cut off, or no ASCII.
    """
    kind = buffer[start]
    lengths = {_IPV4: 4, _IPV6: 16}
    begin = start + 1
    if kind == _NAME:
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
    if buffer[3] == _IPV4:
        return 4, 8
    if buffer[3] == _IPV6:
        return 4, 20
    return 5, 5 + buffer[4]


def _host(kind: int, packed: bytes) -> str:
    if kind == _IPV4:
        return socket.inet_ntop(socket.AF_INET, packed)
    if kind == _IPV6:
        return socket.inet_ntop(socket.AF_INET6, packed)
    if not packed.isascii():
        raise ValueError("the host name is not ASCII, its IDNA form (xn--...) is expected")
    return packed.decode("ascii")


def _failure(code: int) -> bytes:
    return bytes((_VERSION, code, 0, _IPV4, 0, 0, 0, 0, 0, 0))
