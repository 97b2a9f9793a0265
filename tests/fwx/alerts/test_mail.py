"""The mail of an alert, against aiosmtpd and servers that behave badly (B9.24)."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from fwx.alerts.actions import MailAction
from fwx.alerts.mail import Delivery, message_of
from fwx.impl.alert import Alert, Severity
from fwx.interfaces import SocketAddress
from tests.mail_server import PASSWORD, REFUSED, USER, MailServer

ALERT = Alert(
    0.0, "Log failure", Severity.ERROR, "fwx", "k", "the disk is full: \u2026\r\nBcc: x@y", "line 1\nline 2", 3
)


@pytest.fixture
def mails(tmp_path: Path) -> Iterator[Callable[..., MailServer]]:
    """Start a mail server; with TLS its authority is in ``ca.pem``."""
    with ExitStack() as undo:

        def start(*, tls: bool = False) -> MailServer:
            context = None
            if tls:
                authority = trustme.CA()
                authority.cert_pem.write_to_path(tmp_path / "ca.pem")
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                authority.issue_cert("127.0.0.1").configure_cert(context)
            server = MailServer(context)
            undo.callback(server.close)
            return server

        yield start


def action(port: int, **how: Any) -> MailAction:
    given: dict[str, Any] = {"to": ("ops@example.org",), "sender": "fwx@example.org", "seconds": 10.0}
    return MailAction(server=SocketAddress("127.0.0.1", port), **{**given, **how})


def deliver(what: MailAction) -> str:
    return Delivery(what, message_of(what, ALERT, "fw1")).run()


def test_what_is_sent(mails: Any) -> None:
    server = mails()
    assert deliver(action(server.port, to=("ops@example.org", "two@example.org"))) == ""
    (message,) = server.messages
    assert server.envelopes == [("fwx@example.org", ["ops@example.org", "two@example.org"])]
    assert (message["From"], message["To"]) == ("fwx@example.org", "ops@example.org, two@example.org")
    assert message["Subject"] == "fwx fw1: error: Log failure"
    assert (message["Auto-Submitted"], message["Bcc"]) == ("auto-generated", None)
    assert message["Date"].datetime.timestamp() == 0
    assert message.get_content().splitlines() == [
        "the disk is full: \u2026\\r\\nBcc: x@y", "",
        "Alert: Log failure", "Event: Log failure", "Severity: error", "Server: fw1", "Time: 1970-01-01T00:00:00Z",
        "Defined by: fwx", "Key: k", "Signals: 3", "", "line 1", "line 2",
    ]  # fmt: skip


def test_with_tls_and_a_password(mails: Any, tmp_path: Path) -> None:
    server = mails(tls=True)
    secured = {"start_tls": True, "authorities": tmp_path / "ca.pem"}
    assert deliver(action(server.port, **secured, user=USER, password=PASSWORD)) == ""
    assert len(server.messages) == 1
    assert "535" in deliver(action(server.port, **secured, user=USER, password="wrong"))
    assert "CERTIFICATE_VERIFY_FAILED" in deliver(action(server.port, start_tls=True))
    assert len(server.messages) == 1
    assert PASSWORD not in repr(action(1, password=PASSWORD))


def test_a_server_without_tls_gets_nothing(mails: Any) -> None:
    server = mails()
    assert "STARTTLS" in deliver(action(server.port, start_tls=True, user=USER, password=PASSWORD))
    assert server.messages == []


def test_a_server_that_refuses(mails: Any) -> None:
    server = mails()
    told = f"mail server 127.0.0.1:{server.port} refused {REFUSED}: 550 5.1.1 no such user"
    assert deliver(action(server.port, to=(REFUSED,))) == told
    assert server.messages == []
    assert deliver(action(server.port, to=(REFUSED, "ops@example.org"))) == told
    assert len(server.messages) == 1, "the others get it"


def test_a_greeting_alone(mails: Any) -> None:
    server = mails()
    assert Delivery(action(server.port), None).run() == ""
    assert (server.greeted, server.messages) == (1, [])


@pytest.fixture
def rude() -> Iterator[Callable[[bytes], int]]:
    """A server that says something and then nothing."""
    with ExitStack() as undo:

        def start(greeting: bytes) -> int:
            listener = undo.enter_context(socket.create_server(("127.0.0.1", 0)))

            def serve() -> None:
                client, _ = listener.accept()
                client.sendall(greeting)
                while client.recv(4096):
                    continue
                client.close()

            thread = threading.Thread(target=serve)
            thread.start()
            undo.callback(thread.join)
            port: int = listener.getsockname()[1]
            return port

        yield start


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert deliver(action(port)) == f"mail server 127.0.0.1:{port}: [Errno 111] Connection refused"


@pytest.mark.parametrize(
    ("greeting", "seconds", "told"),
    [
        (b"554 go \x1b[2J away\r\n", 60.0, "answered 554 go \\x1b[2J away"),
        (b"220 hello\r\n", 0.2, "timed out"),
        (b"", 0.2, "timed out"),
    ],
)
def test_a_server_that_says_no_or_nothing(rude: Any, greeting: bytes, seconds: float, told: str) -> None:
    assert told in deliver(action(rude(greeting), seconds=seconds))


def test_one_that_is_called_off_ends_at_once(rude: Any) -> None:
    """Also one that waits for a server which never says enough."""
    delivery = Delivery(action(rude(b"220-"), seconds=60.0), None)
    told: list[str] = []
    thread = threading.Thread(target=lambda: told.append(delivery.run()))
    thread.start()
    while delivery._smtp is None or delivery._smtp.file is None:  # it has connected, and reads
        assert thread.is_alive()
    delivery.abort()
    thread.join(10)
    assert told, "it has ended"
    assert "mail server" in told[0]
    delivery.abort()
