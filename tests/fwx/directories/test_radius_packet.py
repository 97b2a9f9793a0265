"""RADIUS packets: the examples of RFC 2865, and answers that must not be believed."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.directories import radius_packet as packet
from fwx.directories.radius_packet import RadiusError, Response, read_response

SECRET = b"xyzzy5461"
# RFC 2865 section 7.1.
ASKED = bytes.fromhex("0f403f9473978057bd83d5cb98f4227a")
HIDDEN = bytes.fromhex("0dbe708d93d413ce3196e43f782a0aee")
ACCEPTED = bytes.fromhex(
    "020000268 6fe220e7624ba2a1005f6bf9b55e0b206060000000 10f06000000000e06c0a80103".replace(" ", "")
)
SIGNATURE = packet.MESSAGE_AUTHENTICATOR


def answer(
    code: int = packet.ACCESS_ACCEPT,
    attributes: bytes = b"",
    *,
    identifier: int = 7,
    secret: bytes = SECRET,
    signs: bool = True,
    asked: bytes = ASKED,
) -> bytes:
    """Make an answer as a server does, by hand."""
    body = (bytes((SIGNATURE, 18)) + bytes(16) if signs else b"") + attributes
    head = bytes((code, identifier)) + (20 + len(body)).to_bytes(2, "big")
    if signs:
        body = body[:2] + hmac.digest(secret, head + asked + body, "md5") + body[18:]
    return head + hashlib.md5(head + asked + body + secret, usedforsecurity=False).digest() + body


def read(data: bytes, *, needs: bool = True) -> Response:
    return read_response(data, 7, ASKED, SECRET, needs_message_authenticator=needs)


def test_the_example_of_the_rfc() -> None:
    """The password of "nemo", and the server's answer, which has no Message-Authenticator."""
    assert packet.hide_password(b"arctangent", SECRET, ASKED) == HIDDEN
    response = read_response(ACCEPTED, 0, ASKED, SECRET, needs_message_authenticator=False)
    assert response.code == packet.ACCESS_ACCEPT
    assert response.attributes == ((6, b"\0\0\0\1"), (15, bytes(4)), (14, bytes((192, 168, 1, 3))))
    with pytest.raises(RadiusError, match="it has no Message-Authenticator"):
        read_response(ACCEPTED, 0, ASKED, SECRET)


@given(st.binary(max_size=128).filter(lambda password: not password.endswith(b"\0")))
def test_a_hidden_password_can_be_found_by_the_server(password: bytes) -> None:
    """By RFC 2865 section 5.2, read backwards; an empty one is a block of padding."""
    hidden = packet.hide_password(password, SECRET, ASKED)
    assert len(hidden) % 16 == 0
    assert len(hidden) == max(16, (len(password) + 15) // 16 * 16)
    found, before = b"", ASKED
    for start in range(0, len(hidden), 16):
        block = hidden[start : start + 16]
        mask = hashlib.md5(SECRET + before, usedforsecurity=False).digest()
        found += bytes(one ^ other for one, other in zip(block, mask, strict=True))
        before = block
    assert found.rstrip(b"\0") == password


@pytest.mark.parametrize("password", [b"x" * 129, b"x\0"])
def test_a_password_that_cannot_be_sent(password: bytes) -> None:
    with pytest.raises(ValueError, match="a password"):
        packet.hide_password(password, SECRET, ASKED)


def test_a_request_is_signed_first() -> None:
    """RFC 2869 section 5.14: HMAC-MD5 over the packet with the value blank."""
    request = packet.access_request(7, ASKED, SECRET, ((packet.USER_NAME, b"nemo"),))
    assert request[:4] == bytes((1, 7, 0, 44))
    assert request[4:20] == ASKED
    assert request[20:22] == bytes((SIGNATURE, 18))
    assert request[38:] == b"\1\6nemo"
    assert hmac.digest(SECRET, request[:22] + bytes(16) + request[38:], "md5") == request[22:38]


@pytest.mark.parametrize(
    "attributes", [((packet.USER_NAME, b"x" * 254),), ((packet.CLASS, b"x" * 253),) * 16], ids=["value", "packet"]
)
def test_a_request_that_is_too_long(attributes: tuple[tuple[int, bytes], ...]) -> None:
    with pytest.raises(ValueError, match="has"):
        packet.access_request(7, ASKED, SECRET, attributes)


def test_chap() -> None:
    """RFC 1994 section 4.1: MD5 over identifier, secret and challenge."""
    proof = packet.chap_password(9, b"arctangent", ASKED)
    assert proof == b"\x09" + hashlib.md5(b"\x09arctangent" + ASKED, usedforsecurity=False).digest()


@pytest.mark.parametrize("code", [packet.ACCESS_ACCEPT, packet.ACCESS_REJECT, packet.ACCESS_CHALLENGE])
def test_a_signed_answer(code: int) -> None:
    response = read(answer(code, b"\x0b\7staff\x0b\7night") + b"padding")
    assert response.code == code
    assert response.values(packet.FILTER_ID) == (b"staff", b"night")


def signed_twice() -> bytes:
    return answer(attributes=bytes((SIGNATURE, 18)) + bytes(16))


def signed_short() -> bytes:
    return answer(attributes=bytes((SIGNATURE, 4)) + bytes(2), signs=False)


def signature_broken() -> bytes:
    """The Response Authenticator is right, as a forger by BlastRADIUS can have it; the signature is not."""
    body = bytes((SIGNATURE, 18)) + b"x" * 16
    head = bytes((2, 7)) + (20 + len(body)).to_bytes(2, "big")
    return head + hashlib.md5(head + ASKED + body + SECRET, usedforsecurity=False).digest() + body


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes are no packet"),
        (bytes(19), "19 bytes are no packet"),
        (answer()[:30], "the packet says that it has 38 bytes, 30 came"),
        (b"\2\7\0\x13" + bytes(16), "the packet says that it has 19 bytes, 20 came"),
        (b"\2\7\x10\1" + bytes(4093), "the packet says that it has 4097 bytes, 4097 came"),
        (answer(1), "code 1 is no answer to an Access-Request"),
        (answer(5), "code 5 is no answer to an Access-Request"),
        (answer(identifier=8), "it answers another request"),
        (answer(secret=b"another"), "its authenticator is wrong: it is forged, or the secret differs"),
        (answer(asked=bytes(16)), "its authenticator is wrong: it is forged, or the secret differs"),
        (answer(signs=False), "it has no Message-Authenticator"),
        (answer(attributes=b"\x0b\1"), "an attribute runs over the end of the packet"),
        (answer(attributes=b"\x0b\0"), "an attribute runs over the end of the packet"),
        (answer(attributes=b"\x0b\x09x"), "an attribute runs over the end of the packet"),
        (answer(attributes=b"\x0b"), "an attribute runs over the end of the packet"),
        (signed_twice(), "its Message-Authenticator is malformed"),
        (signed_short(), "its Message-Authenticator is malformed"),
        (signature_broken(), "its Message-Authenticator is wrong"),
    ],
)
def test_what_is_no_answer(data: bytes, reason: str) -> None:
    with pytest.raises(RadiusError) as error:
        read(data)
    assert str(error.value) == reason


@pytest.mark.parametrize("data", [signed_twice(), signed_short(), signature_broken()])
def test_a_signature_that_is_there_must_be_right(data: bytes) -> None:
    """Also where none is needed."""
    assert read(answer(signs=False), needs=False).code == packet.ACCESS_ACCEPT
    with pytest.raises(RadiusError):
        read(data, needs=False)


@given(st.data())
def test_no_bit_can_be_changed(data: st.DataObject) -> None:
    good = answer(packet.ACCESS_REJECT, b"\x0b\7staff")
    bit = data.draw(st.integers(0, len(good) * 8 - 1))
    bad = bytearray(good)
    bad[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RadiusError):
        read(bytes(bad))


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    for datagram in (data, b"\2\7\0\x14" + data, answer(attributes=data[:250])):
        try:
            response = read(datagram)
        except RadiusError:
            continue
        assert datagram.startswith(bytes((response.code, 7)))
