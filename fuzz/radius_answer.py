"""A RADIUS server's answer, as anybody on the way may have made it."""

from __future__ import annotations

import hashlib
import hmac

from fwx.directories import radius_packet
from fwx.directories.radius_packet import RadiusError, Response

SECRET = b"xyzzy5461"
ASKED = bytes(range(16))


def read(datagram: bytes, *, needs: bool) -> Response | None:
    """Return what the parser makes of *datagram* as the answer to request 7."""
    try:
        return radius_packet.read_response(datagram, 7, ASKED, SECRET, needs_message_authenticator=needs)
    except RadiusError as error:
        reason = str(error)
    assert reason.isprintable(), reason
    return None


def sealed(code: int, body: bytes) -> bytes:
    """Make an answer with these attributes whose Response Authenticator is right."""
    head = bytes((code, 7)) + (20 + len(body)).to_bytes(2, "big")
    return head + hashlib.md5(head + ASKED + body + SECRET, usedforsecurity=False).digest() + body


def signed(code: int, body: bytes) -> bytes:
    """Make one that has a right Message-Authenticator too."""
    head = bytes((code, 7)) + (38 + len(body)).to_bytes(2, "big")
    start = bytes((radius_packet.MESSAGE_AUTHENTICATOR, 18))
    mark = hmac.digest(SECRET, head + ASKED + start + bytes(16) + body, "md5")
    return sealed(code, start + mark + body)


def one_input(data: bytes) -> None:
    """Take any bytes, as a datagram and as the attributes of a genuine one; fails where the parser does."""
    for needs in (True, False):
        read(data, needs=needs)
    body = data[:4000]
    read(sealed(2, body), needs=False)
    for code in (2, 3, 11):
        response = read(signed(code, body), needs=True)
        if response is not None:
            assert response.code == code
            assert sum(len(value) + 2 for _, value in response.attributes) == 18 + len(body)
            assert [kind for kind, _ in response.attributes].count(radius_packet.MESSAGE_AUTHENTICATOR) == 1
