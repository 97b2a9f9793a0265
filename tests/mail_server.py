"""aiosmtpd for the tests of alerts: keeps what it gets, with or without TLS and passwords."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult

USER, PASSWORD = "fwx", "correct horse"
REFUSED = "nobody@example.org"


class MailServer:
    """A server on a free port of 127.0.0.1, on a loop and a thread of its own.

    :ivar envelopes: sender and recipients of each message. :ivar greeted: how many clients have said EHLO.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.messages: list[EmailMessage] = []
        self.envelopes: list[tuple[str, list[str]]] = []
        self.greeted = 0
        self._tls = tls
        self._transports: list[Any] = []
        self._arrived = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(self._loop.create_server(self._make, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    async def handle_EHLO(self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]) -> Any:
        session.host_name = hostname
        self.greeted += 1
        return responses

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if address == REFUSED:
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message: Any = message_from_bytes(envelope.content, policy=policy.default)
        with self._arrived:
            self.messages.append(message)
            self.envelopes.append((envelope.mail_from, envelope.rcpt_tos))
            self._arrived.notify_all()
        return "250 OK kept"

    def wait_messages(self, count: int, seconds: float = 10.0) -> list[EmailMessage]:
        """Wait until so many have arrived, and return them."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.messages) >= count, seconds), self.messages
        return self.messages

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                self._loop.run_until_complete(task)
        for transport in self._transports:
            transport.abort()  # also one that a handshake has left half open
        self._loop.run_until_complete(self._server.wait_closed())
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _make(self) -> SMTP:
        return _Conversation(
            self._transports, self, loop=self._loop, hostname="mail.example", tls_context=self._tls,
            authenticator=self._authenticate, auth_require_tls=True, timeout=30,
        )  # fmt: skip

    def _authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (USER.encode(), PASSWORD.encode()), handled=False)


class _Conversation(SMTP):
    """One that notes its transports, so that they can be closed."""

    def __init__(self, transports: list[Any], *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._noted = transports

    def connection_made(self, transport: Any) -> None:
        self._noted.append(transport)
        super().connection_made(transport)
