"""KeyUpdate of TLS 1.3 (RFC 8446, 4.6.3), for which Python's ``ssl`` has no call: records made of the secret."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

UPDATE_REQUESTED = b"\x18\0\0\x01\x01"
_HANDSHAKE, _APPLICATION_DATA = b"\x16", 0x17


def client_secret(key_log: Path) -> bytes:
    """The first secret of what the client sends, of the one connection in *key_log*."""
    lines = (line.split() for line in key_log.read_text().splitlines())
    return next(bytes.fromhex(words[2]) for words in lines if words[0] == "CLIENT_TRAFFIC_SECRET_0")


def key_updates(secret: bytes) -> Iterator[bytes]:
    """Records of a client that has sent no data yet: each has the server update its keys, and say so.

    *secret* is one of TLS_AES_256_GCM_SHA384, OpenSSL's first choice.
    """
    while True:
        inner = UPDATE_REQUESTED + _HANDSHAKE
        header = struct.pack("!BHH", _APPLICATION_DATA, 0x0303, len(inner) + 16)
        # Each is the first record of its key: the nonce is the IV.
        yield header + AESGCM(_expand(secret, b"key", 32)).encrypt(_expand(secret, b"iv", 12), inner, header)
        secret = _expand(secret, b"traffic upd", 48)


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    label = b"tls13 " + label
    info = struct.pack("!HB", length, len(label)) + label + b"\0"
    return HKDFExpand(SHA384(), length, info).derive(secret)
