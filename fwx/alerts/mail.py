"""Sending the mail of an alert (B9.24)."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import formatdate, make_msgid
from smtplib import SMTP, SMTPException, SMTPRecipientsRefused, SMTPResponseException
from typing import TYPE_CHECKING

from fwx.alerts.words import body, plain, subject

if TYPE_CHECKING:
    from fwx.alerts.actions import MailAction
    from fwx.impl.alert import Alert


def message_of(action: MailAction, alert: Alert, server: str) -> EmailMessage:
    """Return the mail about *alert* of the firewall *server*."""
    message = EmailMessage(SMTP_POLICY)
    message["From"], message["To"] = action.sender, ", ".join(action.to)
    message["Subject"] = subject(alert, server)
    message["Date"] = formatdate(alert.time)
    message["Message-ID"] = make_msgid(domain=action.sender.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(body(alert, server), cte="quoted-printable")
    return message


class Delivery:
    """A mail on its way, or a greeting alone: :meth:`run` on a thread, :meth:`abort` from any other."""

    def __init__(self, action: MailAction, message: EmailMessage | None) -> None:
        """*message* ``None``: the server is greeted, and asked for what the action needs, without a mail."""
        self._action = action
        self._message = message
        self._smtp: SMTP | None = None
        self._is_aborted = False

    def run(self) -> str:
        """Do it; return ``""``, or why it failed. Each step may take as long as the action may in all."""
        where = f"mail server {self._action.server}"
        try:
            refused = self._deliver()
        except SMTPRecipientsRefused as error:
            refused = error.recipients
        except SMTPResponseException as error:
            return f"{where} answered {error.smtp_code} {_text(error.smtp_error)}"
        except (SMTPException, OSError, ValueError) as error:
            return f"{where}: {plain(str(error)) or type(error).__name__}"
        answers = [f"{to}: {code} {_text(words)}" for to, (code, words) in refused.items()]
        return f"{where} refused {'; '.join(answers)}" if answers else ""

    def abort(self) -> None:
        """Cut it short: what waits for the server fails."""
        self._is_aborted = True
        sock = getattr(self._smtp, "sock", None)
        if isinstance(sock, socket.socket):
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                return  # it is closed

    def meet(self, smtp: SMTP) -> None:
        """Remember who is about to connect."""
        self._smtp = smtp

    def _deliver(self) -> dict[str, tuple[int, bytes]]:
        action = self._action
        try:
            smtp = _Client(self, action)
            if self._is_aborted:
                raise TimeoutError("given up")
            smtp.ehlo_or_helo_if_needed()
            if action.start_tls:
                authorities = None if action.authorities is None else str(action.authorities)
                smtp.starttls(context=ssl.create_default_context(cafile=authorities))
                smtp.ehlo()
            if action.user is not None:
                smtp.login(action.user, action.password)
            refused = {} if self._message is None else smtp.send_message(self._message, action.sender, action.to)
            with suppress(SMTPException, OSError):  # the server has the mail, whatever becomes of the farewell
                smtp.quit()
            return refused
        finally:
            if self._smtp is not None:
                self._smtp.close()


class _Client(SMTP):
    """One that its delivery knows before it connects, and can abort."""

    def __init__(self, owner: Delivery, action: MailAction) -> None:
        owner.meet(self)
        super().__init__(action.server.host, action.server.port, "localhost", action.seconds)


def _text(words: bytes | str) -> str:
    return plain(words.decode(errors="replace") if isinstance(words, bytes) else words)
