"""RADIUS packets (RFC 2865): what an Access-Request carries, and which answers are to be believed.

Every request has a Message-Authenticator (RFC 2869 section 5.14), as its first attribute; answers need one as well
unless the caller lets them go without: a Response Authenticator alone can be forged on the way (BlastRADIUS,
CVE-2024-3596).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final, NamedTuple

ACCESS_REQUEST: Final = 1
ACCESS_ACCEPT: Final = 2
ACCESS_REJECT: Final = 3
ACCESS_CHALLENGE: Final = 11

USER_NAME: Final = 1
USER_PASSWORD: Final = 2
CHAP_PASSWORD: Final = 3
FILTER_ID: Final = 11
CLASS: Final = 25
NAS_IDENTIFIER: Final = 32
CHAP_CHALLENGE: Final = 60
NAS_PORT_TYPE: Final = 61
MESSAGE_AUTHENTICATOR: Final = 80

VIRTUAL: Final = (5).to_bytes(4, "big")
"""``NAS-Port-Type``: no physical port."""

LONGEST_VALUE: Final = 253
LONGEST_PASSWORD: Final = 128
LONGEST_PACKET: Final = 4096
AUTHENTICATOR_LENGTH: Final = 16

_HEADER: Final = 20
_ANSWERS: Final = frozenset({ACCESS_ACCEPT, ACCESS_REJECT, ACCESS_CHALLENGE})

Attribute = tuple[int, bytes]


class RadiusError(ValueError):
    """A datagram that is no answer to the request. It is to be dropped, and the wait goes on."""


class Response(NamedTuple):
    """An answer that the server with the secret has given to this request."""

    code: int
    attributes: tuple[Attribute, ...]

    def values(self, kind: int) -> tuple[bytes, ...]:
        """Return the values of the attribute *kind*, in the packet's order."""
        return tuple(value for number, value in self.attributes if number == kind)


def hide_password(password: bytes, secret: bytes, authenticator: bytes) -> bytes:
    """Return the value of User-Password (RFC 2865 section 5.2).

    :raises ValueError: *password* is longer than 128 bytes, or ends in NULs, which the server could not tell from the
        padding.
    """
    if len(password) > LONGEST_PASSWORD:
        raise ValueError(f"a password has at most {LONGEST_PASSWORD} bytes")
    if password.endswith(b"\0"):
        raise ValueError("a password cannot end in NUL")
    padded = password.ljust(max(16, -len(password) % 16 + len(password)), b"\0")
    hidden, before = b"", authenticator
    for start in range(0, len(padded), 16):
        mask = int.from_bytes(_md5(secret + before), "big")
        before = (int.from_bytes(padded[start : start + 16], "big") ^ mask).to_bytes(16, "big")
        hidden += before
    return hidden


def chap_password(identifier: int, password: bytes, challenge: bytes) -> bytes:
    """Return the value of CHAP-Password (RFC 2865 section 5.3, RFC 1994 section 4.1)."""
    start = bytes((identifier,))
    return start + _md5(start + password + challenge)


def access_request(identifier: int, authenticator: bytes, secret: bytes, attributes: Iterable[Attribute]) -> bytes:
    """Return an Access-Request with *attributes*, signed by a Message-Authenticator.

    :raises ValueError: a value has more than 253 bytes, or the packet more than 4096.
    """
    body = _encode(((MESSAGE_AUTHENTICATOR, bytes(16)), *attributes))
    head = _head(ACCESS_REQUEST, identifier, _HEADER + len(body)) + authenticator
    if len(head) + len(body) > LONGEST_PACKET:
        raise ValueError(f"a packet has at most {LONGEST_PACKET} bytes")
    return head + body[:2] + _sign(head + body, secret) + body[18:]


def read_response(
    datagram: bytes,
    identifier: int,
    request_authenticator: bytes,
    secret: bytes,
    *,
    needs_message_authenticator: bool = True,
) -> Response:
    """Read *datagram*, which may come from anybody, as the answer to the request of *identifier*.

    What follows the length that the header tells is padding (RFC 2865 section 3).

    :raises RadiusError: it is none, or not from somebody who has the secret.
    """
    if len(datagram) < _HEADER:
        raise RadiusError(f"{len(datagram)} bytes are no packet")
    length = int.from_bytes(datagram[2:4], "big")
    if not _HEADER <= length <= min(len(datagram), LONGEST_PACKET):
        raise RadiusError(f"the packet says that it has {length} bytes, {len(datagram)} came")
    packet = datagram[:length]
    code = packet[0]
    if code not in _ANSWERS:
        raise RadiusError(f"code {code} is no answer to an Access-Request")
    if packet[1] != identifier:
        raise RadiusError("it answers another request")
    expected = _md5(packet[:4] + request_authenticator + packet[_HEADER:] + secret)
    if not hmac.compare_digest(packet[4:_HEADER], expected):
        raise RadiusError("its authenticator is wrong: it is forged, or the secret differs")
    attributes = tuple(_decode(packet[_HEADER:]))
    _check_signature(packet, attributes, request_authenticator, secret, is_needed=needs_message_authenticator)
    return Response(code, attributes)


def _check_signature(
    packet: bytes, attributes: tuple[Attribute, ...], request_authenticator: bytes, secret: bytes, *, is_needed: bool
) -> None:
    position, found = _HEADER, []
    for kind, value in attributes:
        if kind == MESSAGE_AUTHENTICATOR:
            found.append((position + 2, value))
        position += 2 + len(value)
    if not found:
        if is_needed:
            raise RadiusError("it has no Message-Authenticator")
        return
    if len(found) > 1 or len(found[0][1]) != 16:
        raise RadiusError("its Message-Authenticator is malformed")
    start, value = found[0]
    blank = packet[:4] + request_authenticator + packet[_HEADER:start] + bytes(16) + packet[start + 16 :]
    if not hmac.compare_digest(value, _sign(blank, secret)):
        raise RadiusError("its Message-Authenticator is wrong")


def _encode(attributes: Iterable[Attribute]) -> bytes:
    parts = []
    for kind, value in attributes:
        if len(value) > LONGEST_VALUE:
            raise ValueError(f"attribute {kind} has {len(value)} bytes; there is room for {LONGEST_VALUE}")
        parts.append(bytes((kind, len(value) + 2)) + value)
    return b"".join(parts)


def _decode(body: bytes) -> Iterable[Attribute]:
    while body:
        length = body[1] if len(body) > 1 else 0
        if not 2 <= length <= len(body):
            raise RadiusError("an attribute runs over the end of the packet")
        yield body[0], body[2:length]
        body = body[length:]


def _head(code: int, identifier: int, length: int) -> bytes:
    return bytes((code, identifier)) + length.to_bytes(2, "big")


def _sign(packet: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, packet, "md5")


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()
