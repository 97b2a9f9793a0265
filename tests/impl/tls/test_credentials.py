"""TlsCredentials: what is wrong with them is said when they are made, by the name of the field."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from fwx.impl.tlscredentials import TlsCredentials
from tests.impl.tls import certificates
from tests.impl.tls.certificates import chain_of, client_leaf, key_of, roots, server_leaf


def encrypted_key() -> bytes:
    key: Any = load_pem_private_key(key_of(server_leaf()), None)
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    return pem


def rsa_key() -> bytes:
    return key_of(certificates.stranger().issue_cert("x.example", key_type=trustme.KeyType.RSA))


CHAIN = chain_of(server_leaf())
BROKEN = CHAIN.replace(b"MII", b"XXX")
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no certificate in it": ({"certificate": b"x", "key": key_of(server_leaf())}, "certificate: there is none"),
    "a broken certificate": ({"certificate": BROKEN, "key": key_of(server_leaf())}, "certificate: there is none"),
    "no such file": ({"certificate": "/nonexistent/a.pem"}, "certificate: /nonexistent/a.pem: No such file"),
    "no key": ({"certificate": CHAIN}, "key: there is none"),
    "a broken key": ({"certificate": CHAIN, "key": b"-----BEGIN PRIVATE KEY-----\nx"}, "key: there is none"),
    "a missing key": ({"certificate": CHAIN, "key": Path("/nonexistent/key")}, "key: /nonexistent/key: No such file"),
    "another's key": ({"certificate": CHAIN, "key": key_of(client_leaf())}, "key: it does not belong"),
    "a key of another kind": ({"certificate": CHAIN, "key": rsa_key()}, "key: it does not belong"),
    "a key alone": ({"key": key_of(server_leaf())}, "key: there is no certificate"),
    "an encrypted key": ({"certificate": CHAIN, "key": encrypted_key()}, "password: the key is encrypted"),
    "the wrong password": (
        {"certificate": CHAIN, "key": encrypted_key(), "password": "guess"},
        "password: it does not decrypt",
    ),
    "no authorities in it": ({"authorities": b"none"}, "authorities: there is no certificate"),
    "no such authorities": ({"authorities": "/nonexistent"}, "authorities: /nonexistent: No such file"),
    "an old protocol": ({"protocols": ("TLSv1.1", "TLSv1.2")}, r"protocols: \['TLSv1.1'\]: choose from TLSv1.2, TLS"),
    "no protocol": ({"protocols": ()}, "protocols: "),
    "protocols as text": ({"protocols": "TLSv1.2"}, "protocols: a tuple"),
    "unknown ciphers": ({"ciphers": "ROT13"}, "ciphers: 'ROT13'"),
    "an empty ALPN name": ({"alpn": ("",)}, "alpn: "),
    "an ALPN name that is not ASCII": ({"alpn": ("hé",)}, "alpn: "),
    "numbers for ALPN": ({"alpn": (2,)}, "alpn: a tuple of strings"),
    "clients of nobody": ({"require_client_certificate": True}, "authorities: say which"),
    "a name that leads nowhere": ({"names": {"a.example": None}}, "names: 'a.example' leads to NoneType"),
    "a name with names": (
        {"names": {"a.example": certificates.server(names={"b.example": certificates.server()})}},
        "names: the credentials of 'a.example' have names",
    ),
    "a name without a certificate": ({"names": {"a.example": TlsCredentials()}}, "names: the credentials of 'a.exa"),
}


@pytest.mark.parametrize(("options", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named_at_once(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        TlsCredentials(**options)


def test_files_are_read_when_the_object_is_made(tmp_path: Path) -> None:
    certificate, key, authorities = tmp_path / "certificate", tmp_path / "key", tmp_path / "authorities"
    certificate.write_bytes(CHAIN)
    key.write_bytes(encrypted_key())
    authorities.write_bytes("Zürich\n".encode() + roots())
    credentials = TlsCredentials(certificate=certificate, key=str(key), password=b"secret", authorities=authorities)
    for path in (certificate, key, authorities):
        path.unlink()
    assert credentials.server_context(asks=True).get_ca_certs()
    assert credentials.client_context().get_ca_certs()


def test_the_key_may_stand_behind_the_certificate() -> None:
    assert TlsCredentials(certificate=CHAIN + key_of(server_leaf())).has_certificate


def test_a_folder_of_authorities(tmp_path: Path) -> None:
    context = TlsCredentials(authorities=tmp_path).client_context()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert not context.get_ca_certs()


def test_secrets_are_not_shown() -> None:
    shown = repr(TlsCredentials(certificate=CHAIN, key=encrypted_key(), password="secret"))
    assert "secret" not in shown
    assert "PRIVATE" not in shown


def test_modern_defaults() -> None:
    for context in (certificates.server().server_context(asks=False), certificates.client().client_context()):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.maximum_version == ssl.TLSVersion.TLSv1_3
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert not context.options & getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
        assert not context.hostname_checks_common_name
        assert not [each for each in context.get_ciphers() if each["strength_bits"] < 128]


def test_who_is_verified() -> None:
    client = certificates.client().client_context()
    assert (client.verify_mode, client.check_hostname) == (ssl.CERT_REQUIRED, True)
    anyone = certificates.client(check_host_name=False).client_context()
    assert (anyone.verify_mode, anyone.check_hostname) == (ssl.CERT_REQUIRED, False)
    unsafe = certificates.client(verify=False).client_context()
    assert (unsafe.verify_mode, unsafe.check_hostname) == (ssl.CERT_NONE, False)
    server = certificates.server(authorities=roots())
    assert server.server_context(asks=False).verify_mode == ssl.CERT_NONE
    assert server.server_context(asks=True).verify_mode == ssl.CERT_OPTIONAL
    strict = certificates.server(authorities=roots(), require_client_certificate=True)
    assert strict.server_context(asks=False).verify_mode == ssl.CERT_REQUIRED


def test_contexts_are_made_once() -> None:
    """Tickets are good in the context alone that made them; without resumption there is nothing to share."""
    server = certificates.server()
    assert server.server_context(asks=False) is server.server_context(asks=False)
    assert server.server_context(asks=False) is not server.server_context(asks=True)
    forgetful = certificates.server(resume=False)
    assert forgetful.server_context(asks=False) is not forgetful.server_context(asks=False)


def test_names_are_looked_up_as_certificates_match_them() -> None:
    one, wild = certificates.server(), certificates.server()
    base = certificates.server(names={"One.example": one, "*.example": wild})
    assert base.for_name("one.EXAMPLE") is one
    assert base.for_name("two.example") is wild
    for name in ("a.two.example", "example", "other.test", "", None):
        assert base.for_name(name) is base


def test_sessions_are_used_once_and_bounded() -> None:
    credentials, session = certificates.client(), object()
    for number in range(1100):
        credentials.keep_session(f"{number}.example", session, anonymous=False)  # type: ignore[arg-type]
    assert len(credentials._sessions) == 1024
    assert credentials.session_for("0.example", anonymous=False) is None
    assert credentials.session_for("1099.example", anonymous=True) is None
    assert credentials.session_for("1099.example", anonymous=False) is session
    assert credentials.session_for("1099.example", anonymous=False) is None
    forgetful = certificates.client(resume=False)
    forgetful.keep_session("a.example", session, anonymous=False)  # type: ignore[arg-type]
    assert forgetful.session_for("a.example", anonymous=False) is None
