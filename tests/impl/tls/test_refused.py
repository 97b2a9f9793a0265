"""Certificates and peers that are refused, and how both ends learn of it (B4.16)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fwx import sdk
from fwx.impl.iobuffer import FWXIOBuffer
from fwx.impl.logrecord import Action
from fwx.impl.tlscredentials import TlsCredentials
from fwx.interfaces.hresult import HRESULT_FROM_WIN32, WSAECONNABORTED
from fwx.testing import Recorder
from tests.impl.tls import certificates
from tests.impl.tls.certificates import SERVER, issued, roots, shows
from tests.impl.tls.parts import Conversation

VERSIONS = ("TLSv1.2", "TLSv1.3")


REFUSED: dict[str, tuple[Callable[[], TlsCredentials], dict[str, Any], str]] = {
    "expired": (lambda: issued(SERVER, not_after=certificates.YESTERDAY), {}, "certificate has expired"),
    "not yet valid": (
        lambda: issued(SERVER, not_before=certificates.TOMORROW),
        {},
        "certificate is not yet valid",
    ),
    "another name": (lambda: issued("other.example"), {}, "Hostname mismatch"),
    "a wildcard for another label": (lambda: issued("*.server.example"), {}, "Hostname mismatch"),
    "another address": (lambda: issued("127.0.0.2"), {"host_name": "127.0.0.1"}, "IP address mismatch"),
    "an address for a name": (lambda: issued("127.0.0.1"), {}, "Hostname mismatch"),
    "self-signed": (certificates.self_signed, {}, "self-signed certificate"),
    "an unknown authority": (
        lambda: shows(certificates.stranger().issue_cert(SERVER)),
        {},
        "unable to get local issuer certificate",
    ),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("server", "options", "words"), REFUSED.values(), ids=REFUSED)
def test_a_certificate_that_is_refused(
    talk: Callable[..., Conversation],
    server: Callable[[], TlsCredentials],
    options: dict[str, Any],
    words: str,
    version: str,
) -> None:
    """B4.16: the client role checks chain and name; both ends fail, the peer by the alert, and both are logged."""
    shown = server()
    pinned = TlsCredentials(certificate=shown.certificate, key=shown.key, protocols=(version,))
    made = talk(server=pinned, **options)
    client, server_end = made.outcomes()
    assert (client.success, client.code) == (False, WSAECONNABORTED)
    assert (server_end.success, server_end.code) == (False, WSAECONNABORTED)
    assert any(words in reason and "certificate verify failed" in reason for reason in made.reasons), made.reasons
    assert any("the peer's alert" in reason for reason in made.reasons), made.reasons
    assert {record.action for record in made.memory.records} == {Action.Failed}
    assert {record.resultcode for record in made.memory.records} == {int(HRESULT_FROM_WIN32(WSAECONNABORTED))}
    assert len(made.memory.records) == 2
    recorder = Recorder()
    made.client.Send(FWXIOBuffer(b"late"), recorder, 1)
    made.client.Recv(None, recorder, 2)
    made.loop.run()
    assert [(done.tag, done.success, done.code) for done in recorder.calls] == [
        (1, False, WSAECONNABORTED),
        (2, False, WSAECONNABORTED),
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_key_that_is_too_weak_for_the_level(talk: Callable[..., Conversation], version: str) -> None:
    """trustme makes no key that OpenSSL's usual level refuses, so the level is raised; all its keys are below it."""
    made = talk(client=certificates.client(ciphers="DEFAULT@SECLEVEL=4", protocols=(version,)))
    assert [done.success for done in made.outcomes()] == [False, False]
    assert len(made.reasons) == 2


REFUSED_CLIENTS: dict[str, tuple[Callable[[], TlsCredentials], str]] = {
    "none": (certificates.client, "peer did not return a certificate"),
    "an unknown authority": (
        lambda: shows(certificates.stranger().issue_cert("me.example"), authorities=roots()),
        "unable to get local issuer certificate",
    ),
    "expired": (
        lambda: shows(
            certificates.authority().issue_cert("me.example", not_after=certificates.YESTERDAY), authorities=roots()
        ),
        "certificate has expired",
    ),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("client", "words"), REFUSED_CLIENTS.values(), ids=REFUSED_CLIENTS)
def test_a_client_that_is_refused(
    talk: Callable[..., Conversation], client: Callable[[], TlsCredentials], words: str, version: str
) -> None:
    strict = certificates.server(authorities=roots(), require_client_certificate=True, protocols=(version,))
    made = talk(client=client(), server=strict)
    client_end, server_end = made.outcomes()
    assert (client_end.success, server_end.success) == (False, False)
    assert any(words in reason for reason in made.reasons), made.reasons


def test_what_is_accepted_only_when_it_is_asked_for(talk: Callable[..., Conversation]) -> None:
    for credentials, host_name, shown in (
        (certificates.client(check_host_name=False), None, certificates.issued("other.example")),
        (certificates.client(check_host_name=False), SERVER, certificates.issued("other.example")),
        (TlsCredentials(verify=False), None, certificates.self_signed()),
        (TlsCredentials(verify=False), SERVER, certificates.issued(SERVER, not_after=certificates.YESTERDAY)),
    ):
        made = talk(client=credentials, server=shown, host_name=host_name)
        assert sdk.tls_info(made.client) is not None


@pytest.mark.parametrize(
    ("client", "server", "words"),
    [
        ({"protocols": ("TLSv1.2",)}, {"protocols": ("TLSv1.3",)}, "unsupported protocol"),
        ({"protocols": ("TLSv1.3",)}, {"protocols": ("TLSv1.2",)}, "unsupported protocol"),
        (
            {"protocols": ("TLSv1.2",), "ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256"},
            {"protocols": ("TLSv1.2",), "ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384"},
            "no shared cipher",
        ),
    ],
)
def test_ends_that_have_nothing_in_common(
    talk: Callable[..., Conversation], client: dict[str, Any], server: dict[str, Any], words: str
) -> None:
    made = talk(client=certificates.client(**client), server=certificates.server(**server))
    assert [done.success for done in made.outcomes()] == [False, False]
    assert any(words in reason for reason in made.reasons), made.reasons
