"""Certificates for the tests, all of them by trustme, and the credentials made of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import trustme

from fwx.impl.tlscredentials import TlsCredentials

SERVER = "server.example"
YESTERDAY, TOMORROW = (datetime.now(UTC) + timedelta(days=days) for days in (-1, 1))


def chain_of(leaf: trustme.LeafCert) -> bytes:
    return b"".join(each.bytes() for each in leaf.cert_chain_pems)


def key_of(leaf: trustme.LeafCert) -> bytes:
    return leaf.private_key_pem.bytes()


def shows(leaf: trustme.LeafCert, **options: Any) -> TlsCredentials:
    """Return credentials that show *leaf*."""
    return TlsCredentials(certificate=chain_of(leaf), key=key_of(leaf), **options)


@cache
def authority() -> trustme.CA:
    return trustme.CA()


@cache
def stranger() -> trustme.CA:
    """An authority that nobody believes."""
    return trustme.CA()


@cache
def server_leaf() -> trustme.LeafCert:
    return authority().issue_cert(SERVER, "127.0.0.1", "::1", "*.wild.example")


@cache
def client_leaf() -> trustme.LeafCert:
    return authority().issue_cert("client.example")


def roots() -> bytes:
    return authority().cert_pem.bytes()


def server(**options: Any) -> TlsCredentials:
    return shows(server_leaf(), **options)


def client(**options: Any) -> TlsCredentials:
    return TlsCredentials(**{"authorities": roots(), **options})


def issued(*names: str, **options: Any) -> TlsCredentials:
    """Return credentials with a new certificate of the authority."""
    return shows(authority().issue_cert(*names, **options))


def self_signed() -> TlsCredentials:
    ca = stranger()
    return TlsCredentials(certificate=ca.cert_pem.bytes(), key=ca.private_key_pem.bytes())
