"""The filter smtp in a running service: swaks and smtplib against aiosmtpd, published and through the proxy port."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from typing import Any

import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult

from fwx.impl.logrecord import Action

PUBLISHED = """
[[listener]]
name = "proxy"
kind = "proxy"
bind = "127.0.0.1:0"

[[listener]]
name = "mail"
kind = "publish"
bind = "127.0.0.1:0"
to = "127.0.0.1:{port}"

[[filter]]
name = "mail check"
use = "fwx.filters.smtp:SmtpFilter"
options = {{ {options} }}

[[rule]]
name = "mail"
action = "allow"
protocols = ["any"]
from = ["localhost"]
to = ["localhost"]
filters = ["mail check"]
"""
USER, PASSWORD = b"ann", b"correct horse"


class Mailbox:
    """The handler of aiosmtpd: keeps the messages. It offers what the filter has to take out of its reply to EHLO."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.messages.append(envelope.content)
        return "250 OK kept"

    async def handle_EHLO(self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]) -> Any:
        session.host_name = hostname
        return [*responses[:-1], "250-CHUNKING", "250-PIPELINING", responses[-1]]


class MailServer:
    """aiosmtpd on a free port, on a loop and a thread of its own."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.mailbox = Mailbox()
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(self._loop.create_server(self._make, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    @property
    def messages(self) -> list[bytes]:
        return self.mailbox.messages

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                self._loop.run_until_complete(task)
        self._loop.run_until_complete(self._server.wait_closed())
        self._loop.close()

    def _make(self) -> SMTP:
        return SMTP(
            self.mailbox, loop=self._loop, hostname="mail.example", tls_context=self._tls,
            authenticator=self._authenticate, auth_require_tls=False, enable_SMTPUTF8=True, timeout=30,
        )  # fmt: skip

    def _authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (USER, PASSWORD), handled=False)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[MailServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mail.example").configure_cert(context)
    opened = MailServer(context)
    yield opened
    opened.close()


@pytest.fixture
def service(serve: Any, server: MailServer) -> Callable[..., Any]:
    """Start a service in front of the server, with options of the filter."""
    return lambda options="", **keys: serve(PUBLISHED.format(port=server.port, options=options), **keys)


@pytest.fixture
def swaks(program_path: Callable[[str], str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(port: int | None, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [program_path("swaks"), "--from", "a@example.org", "--to", "b@example.org", "--suppress-data"]
        command += ["--helo", "client.example", *arguments]
        command += [] if port is None else ["--server", "127.0.0.1", "--port", str(port)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    return run


@pytest.mark.requires("swaks")
@pytest.mark.path(entry="publish", exit="direct", transport="tcp")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_swaks(service: Any, server: MailServer, swaks: Any, loop: str) -> None:
    """First straight to the server, the control, then through the filter: the same message arrives."""
    body = (
        "--header",
        "Subject: a test",
        "--header",
        "Date: now",
        "--header",
        "Message-Id: <1@x>",
        "--body",
        "a\n.b\n",
    )
    assert swaks(server.port, *body).returncode == 0
    firewall = service(loop=loop)
    told = swaks(firewall.address("mail")[1], *body)
    assert told.returncode == 0, told.stdout
    assert "CHUNKING" not in told.stdout
    assert "PIPELINING" in told.stdout
    straight, filtered = server.messages
    assert straight == filtered
    row = firewall.wait_row(Action=Action.Terminate)
    assert (row["filters"], row["resultcode"], row["reason"]) == ("mail check", 0, "")
    firewall.wait_base_line()


@pytest.mark.requires("swaks", "ncat")
@pytest.mark.path(entry="socks5", exit="direct", transport="tcp")
def test_swaks_through_the_proxy_port(
    service: Any, server: MailServer, swaks: Any, program_path: Callable[[str], str]
) -> None:
    firewall = service()
    host, port = firewall.address("proxy")
    pipe = f"{program_path('ncat')} --proxy {host}:{port} --proxy-type socks5 127.0.0.1 {server.port}"
    told = swaks(None, "--pipe", pipe)
    assert told.returncode == 0, told.stdout
    assert len(server.messages) == 1
    assert firewall.wait_row(Action=Action.Terminate)["filters"] == "mail check"


@pytest.mark.requires("swaks")
def test_swaks_pipelines(service: Any, server: MailServer, swaks: Any) -> None:
    firewall = service()
    told = swaks(firewall.address("mail")[1], "--pipeline")
    assert told.returncode == 0, told.stdout
    assert len(server.messages) == 1


@pytest.mark.requires("swaks")
@pytest.mark.parametrize(
    ("options", "arguments", "reply"),
    [
        ("message_size = 2000", ("--body", ("y" * 70 + "\n") * 40), "552 5.3.4 Message too big"),
        ('refuse_words = ["viagra"]', ("--header", "Subject: Cheap ViAgRa"), "554 5.7.1 Message refused by policy"),
        (
            'refuse_in_body = ["win \\\\d+ euros"]',
            ("--body", "You win 100 euros"),
            "554 5.7.1 Message refused by policy",
        ),
        ("", ("--from", "a b@example.org"), "501 5.1.7 Bad address syntax"),
        ("", ("--body", "x" * 1200), "554 5.6.0 Line too long"),
    ],
)
def test_what_swaks_is_refused(
    service: Any, server: MailServer, swaks: Any, options: str, arguments: tuple[str, ...], reply: str
) -> None:
    firewall = service(options)
    told = swaks(firewall.address("mail")[1], *arguments)
    assert told.returncode != 0
    assert f"<** {reply}" in told.stdout, told.stdout
    assert server.messages == []
    assert "smtp: " in firewall.wait_row(Action=Action.Terminate)["reason"]
    (alert,) = firewall.alerts()
    assert (alert["event"], alert["key"]) == ("SMTP refused", "127.0.0.1")


def message() -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "a@example.org", "b@example.org", "Grüße"
    made.set_content("Grüße\n.\n..\n" + "text\n" * 5000)
    return made


def test_smtplib(service: Any, server: MailServer) -> None:
    """Authentication, a size that is said beforehand, dots, and a second message on the connection."""
    firewall = service()
    with smtplib.SMTP(*firewall.address("mail"), timeout=60) as client:
        client.login(USER.decode(), PASSWORD.decode())
        client.send_message(message())
        client.send_message(message())
        client.rset()
        assert client.verify("root")[0] == 502
    first, second = server.messages
    assert first == second
    assert b"\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n.\r\n..\r\ntext\r\n" in first


def test_starttls(service: Any, server: MailServer, authority: trustme.CA) -> None:
    firewall = service()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with smtplib.SMTP(timeout=60) as client:
        client.connect(*firewall.address("mail"))
        client._host = "mail.example"  # type: ignore[attr-defined]  # the certificate's name
        client.starttls(context=context)
        client.send_message(message())
    assert len(server.messages) == 1
    reason = firewall.wait_row(Action=Action.Terminate)["reason"]
    assert reason.endswith("smtp: STARTTLS: what is said under TLS is not looked at")


def test_starttls_stripped(service: Any, server: MailServer) -> None:
    firewall = service('starttls = "strip"')
    with smtplib.SMTP(*firewall.address("mail"), timeout=60) as client:
        with pytest.raises(smtplib.SMTPNotSupportedError):
            client.starttls(context=ssl.create_default_context())
        assert client.docmd("STARTTLS")[0] == 502
        client.send_message(message())
    assert len(server.messages) == 1


START = b"EHLO me\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"
SMUGGLED = b"MAIL FROM:<root@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nforged\r\n.\r\nQUIT\r\n"


@pytest.mark.parametrize("end", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r\n.\r", b"\r\n\x00.\r\n"])
@pytest.mark.parametrize("size", [1, 1 << 16])
def test_smuggling(service: Any, server: MailServer, client: Any, end: bytes, size: int) -> None:
    """CVE-2023-51764 and its kin: neither message arrives, the client hears why, nothing is kept."""
    firewall = service()
    raw = client.connect(firewall.address("mail"))
    data = START + b"Subject: x\r\n\r\nhello" + end + SMUGGLED
    for start in range(0, len(data), size):
        raw.sendall(data[start : start + size])
    told = client.to_end(raw)
    assert b"354 " in told
    assert b"\r\n554 5.6.0 Message with a" in told
    raw.close()
    assert server.messages == []
    assert "in a message" in firewall.wait_row(Action=Action.Terminate)["reason"]
    firewall.wait_base_line()


@pytest.mark.parametrize("late", [False, True])
def test_a_command_smuggled_in_before_tls(service: Any, server: MailServer, client: Any, late: bool) -> None:
    """CVE-2011-0411, in one piece with STARTTLS and after the reply to it."""
    firewall = service()
    raw = client.connect(firewall.address("mail"))
    raw.sendall(b"EHLO me\r\n")
    said = b""
    while b"\r\n250 " not in said:
        said += raw.recv(1000)
    raw.sendall(b"STARTTLS\r\n" + (b"" if late else b"MAIL FROM:<x@example.org>\r\n"))
    if late:
        assert client.exactly(raw, 4) == b"220 "
        raw.sendall(b"MAIL FROM:<x@example.org>\r\n")
    assert client.to_end(raw).endswith(b"554 5.5.0 Data behind STARTTLS\r\n")
    raw.close()
    assert firewall.wait_row(Action=Action.Terminate)["reason"] == "smtp: commands in the clear behind STARTTLS"
    firewall.wait_base_line()


def test_a_flood_by_one_that_does_not_read(service: Any, client: Any) -> None:
    """It is held back; another client is served meanwhile."""
    firewall = service()
    flood = client.connect(firewall.address("mail"))
    before = firewall.memory()
    flood.settimeout(0.5)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 256 << 20:
            sent += flood.send(b"EHLO me\r\n" + b"NOOP\r\n" * 10000)
    assert sent < 64 << 20
    assert firewall.memory() - before < 16 << 20
    with smtplib.SMTP(*firewall.address("mail"), timeout=60) as other:
        assert other.noop()[0] == 250
    client.reset(flood)
    firewall.wait_base_line()


def test_garbage(service: Any, client: Any) -> None:
    firewall = service()
    raw = client.connect(firewall.address("mail"))
    raw.sendall(bytes(range(256)) * 64)
    assert b"500 5.5.2 Syntax error" in client.to_end(raw)
    client.reset(raw)
    firewall.wait_base_line()
