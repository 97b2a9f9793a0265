"""The filter in a firewall in memory: the contract, conversations, ends and resets."""

from __future__ import annotations

from typing import Any

import pytest

from fwx import sdk
from fwx.filter_loader import FilterOptionsError, make_filter
from fwx.filters.conversation import FAREWELL_SECONDS, REPLY_SECONDS
from fwx.filters.smtp import SmtpFilter
from fwx.testing import MemoryFirewall, Playbook


@pytest.fixture
def book(fwx_playbook: Any) -> Playbook:
    return fwx_playbook(SmtpFilter, {"refuse_words": ["secret"]})


def greet(book: Playbook) -> Playbook:
    book.server_sends(b"220 mail\r\n").client_gets(b"220 mail\r\n")
    book.client_sends(b"EHLO me\r\n").server_gets(b"EHLO me\r\n")
    return book.server_sends(b"250-mail\r\n250 CHUNKING\r\n").client_gets(b"250 mail\r\n")


def begin_message(book: Playbook) -> Playbook:
    greet(book)
    for line, reply in (
        (b"MAIL FROM:<a@example.org>\r\n", b"250 ok\r\n"),
        (b"RCPT TO:<b@example.org>\r\n", b"250 ok\r\n"),
        (b"DATA\r\n", b"354 go\r\n"),
    ):
        book.client_sends(line).server_gets(line).server_sends(reply).client_gets(reply)
    return book


def test_a_message(book: Playbook) -> None:
    begin_message(book)
    book.client_sends(b"Subject: x\r\n\r\nhel").server_gets(b"Subject: x\r\n\r\n")
    book.client_sends(b"lo\r\n.\r\n").server_gets(b"hello\r\n.\r\n")
    book.server_sends(b"250 queued\r\n").client_gets(b"250 queued\r\n")
    book.client_sends(b"QUIT\r\n").server_gets(b"QUIT\r\n")
    book.server_sends(b"221 bye\r\n").client_gets(b"221 bye\r\n")
    book.server_ends().client_sees_end()
    book.client_ends().server_sees_end()
    book.play()


def test_a_word(book: Playbook, fwx_firewall: MemoryFirewall) -> None:
    """The server is reset in the middle of the message; the client reads why; the log has it."""
    begin_message(book)
    book.client_sends(b"Subject: x\r\n\r\nhello\r\nthe Secret\r\n.\r\n")
    book.client_gets(b"554 5.7.1 Message refused by policy\r\n").client_sees_end().server_sees_reset().alerts(1)
    book.client_sends(b"more\r\n" * 100)
    book.client_ends()
    book.play()
    (record,) = fwx_firewall.records
    assert record.reason == "smtp: b'Secret' in the text of a message"
    (alert,) = fwx_firewall.alerts
    assert (alert.event, alert.key) == ("SMTP refused", "192.0.2.1")
    assert alert.message == "client 192.0.2.1: b'Secret' in the text of a message"


def test_smuggling(book: Playbook) -> None:
    begin_message(book)
    book.client_sends(b"hello\r\n").server_gets(b"")
    book.client_sends(b"\n.\r\nMAIL FROM:<root@example.org>\r\n")
    book.client_gets(b"554 5.6.0 Message with a bare LF\r\n").client_sees_end().server_sees_reset().alerts(1)
    book.client_ends()
    book.play()


def test_a_command_that_is_refused_is_never_sent(book: Playbook) -> None:
    greet(book)
    book.client_sends(b"VRFY root\r\n").client_gets(b"502 5.5.1 VRFY is not allowed here\r\n").alerts(1)
    book.client_sends(b"NOOP\r\n").server_gets(b"NOOP\r\n")
    book.server_sends(b"250 ok\r\n").client_gets(b"250 ok\r\n")
    book.client_resets().server_sees_reset()
    book.play()


def test_a_client_that_does_not_take_its_leave(book: Playbook) -> None:
    greet(book)
    book.client_sends(b"\n").client_gets(b"500 5.5.2 Syntax error: a bare LF in a line\r\n")
    book.client_sees_end().server_sees_reset().alerts(1)
    book.passes(FAREWELL_SECONDS - 0.1)
    book.passes(0.2)
    opened = book.play()
    assert opened.connection.terminating


def test_a_server_that_is_silent_before_the_end(book: Playbook) -> None:
    greet(book)
    book.client_sends(b"NOOP\r\n\n").server_gets(b"NOOP\r\n").alerts(1)
    book.passes(REPLY_SECONDS - 0.1)
    book.passes(0.2).client_gets(
        b"500 5.5.2 Syntax error: a bare LF in a line\r\n"
    ).client_sees_end().server_sees_reset()
    book.client_ends()
    book.play()


def test_a_server_that_leaves_before_the_end(book: Playbook) -> None:
    greet(book)
    book.client_sends(b"NOOP\r\n\n").server_gets(b"NOOP\r\n").alerts(1)
    book.server_ends().client_gets(b"500 5.5.2 Syntax error: a bare LF in a line\r\n").client_sees_end()
    book.server_sees_reset()
    book.client_ends()
    book.play()


def test_starttls(fwx_playbook: Any, fwx_firewall: MemoryFirewall) -> None:
    hello = b"\x16\x03\x01\x00\x05\n\n\r\x00"
    book = fwx_playbook(SmtpFilter, {})
    book.server_sends(b"220 mail\r\n").client_gets(b"220 mail\r\n")
    book.client_sends(b"EHLO me\r\n").server_gets(b"EHLO me\r\n")
    book.server_sends(b"250-mail\r\n250 STARTTLS\r\n").client_gets(b"250-mail\r\n250 STARTTLS\r\n")
    book.client_sends(b"STARTTLS\r\n").server_gets(b"STARTTLS\r\n").server_sends(b"220 go\r\n").client_gets(
        b"220 go\r\n"
    )
    book.client_sends(hello).server_gets(hello)
    book.server_sends(b"\x00\n\r").client_gets(b"\x00\n\r")
    book.client_sends(b"\n.\n").server_gets(b"\n.\n")
    book.client_ends().server_sees_end().server_ends().client_sees_end()
    book.play()
    assert fwx_firewall.records[0].reason == "smtp: STARTTLS: what is said under TLS is not looked at"


def test_the_server_ends_behind_tls(fwx_playbook: Any) -> None:
    book = fwx_playbook(SmtpFilter, {})
    book.server_sends(b"220 mail\r\n250-mail\r\n250 STARTTLS\r\n220 go\r\n")
    book.client_gets(b"220 mail\r\n421 4.3.0 The server is out of order\r\n").client_sees_end().server_sees_reset()
    book.alerts(1).client_ends()
    book.play()


def test_a_reset_of_the_server(book: Playbook) -> None:
    greet(book)
    book.server_resets().client_sees_reset()
    book.play()


def test_half_a_line_is_not_passed_on(book: Playbook) -> None:
    greet(book)
    book.client_sends(b"NOO")
    book.client_ends().server_sees_end()
    book.server_ends().client_sees_end()
    book.play()


def test_a_client_that_pipelines_and_does_not_read(fwx_firewall: MemoryFirewall) -> None:
    """It is held back, by bounded memory."""
    fwx_firewall.start(lambda: make_filter(SmtpFilter, {"errors": 0}))
    client, server = fwx_firewall.open().established()
    server.send(b"220 mail\r\n")
    with pytest.raises(AssertionError, match="takes no more"):
        client.send(b"FOO\r\n" * (1 << 18))
    client.reset()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"refuse_verbs": ["QUIT"]}, "refuse_verbs: 'QUIT' expected one of AUTH"),
        ({"refuse_in_body": ["("]}, "refuse_in_body: '(' expected a regular expression"),
        ({"refuse_words": [""]}, "refuse_words: '' expected some letters"),
        ({"starttls": "perhaps"}, "starttls: "),
        ({"message_size": -1}, "message_size: "),
        ({"line_length": 10}, "line_length: "),
        ({"speed": 1}, "speed: unknown"),
    ],
)
def test_options_that_are_wrong(options: dict[str, Any], words: str) -> None:
    with pytest.raises(FilterOptionsError) as error:
        make_filter(SmtpFilter, options)
    assert words in str(error.value)


def test_it_says_what_it_wants_to_see() -> None:
    memory = MemoryFirewall()
    made: Any = make_filter(SmtpFilter, {})
    mask = int(made.FilterInit(memory.firewall).dwGlobalEvents)
    assert mask == sdk.fwx_Connect_Tcp | sdk.fwx_AcceptedConnection | sdk.FWX_ALL_SOURCES
    made.FilterShutdown()
    assert made.firewall is None
    memory.close()
