"""Commands by the letter of RFC 5321."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.filters.smtp.command import Command, CommandError, is_base64, limit_of, parse

ALL = frozenset({"SIZE", "8BITMIME", "DSN", "AUTH", "SMTPUTF8", "STARTTLS"})
NONE: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    "line",
    [
        b"HELO mail.example",
        b"ehlo [192.0.2.1]",
        b"EHLO [IPv6:2001:db8::1]",
        b"EHLO my_host",
        b"MAIL FROM:<>",
        b"MAIL FROM:<a@example.org>",
        b"mail from:<a.b+c@example.org>",
        b'MAIL FROM:<"a b\\"@<>"@example.org>',
        b"MAIL FROM:<a@[192.0.2.1]>",
        b"MAIL FROM:<@one.example,@two.example:a@example.org>",
        b"RCPT TO:<Postmaster>",
        b"RCPT TO:<" + b"x" * 64 + b"@example.org>",
        b"DATA",
        b"DATA ",
        b"RSET",
        b"NOOP",
        b"NOOP what ever",
        b"HELP MAIL",
        b"VRFY someone",
        b"QUIT",
    ],
)
def test_good(line: bytes) -> None:
    assert parse(line, NONE).verb == line.split(b" ")[0].decode().upper()


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"", "500 5.5.2"),
        (b"FOO", "500 5.5.2"),
        (b"GET / HTTP/1.1", "500 5.5.2"),
        (b"BDAT 10 LAST", "500 5.5.2"),
        (b"XCLIENT ADDR=192.0.2.1", "500 5.5.2"),
        (b"\xffELO", "500 5.5.2"),
        (b" EHLO a", "500 5.5.2"),
        (b"NOOP\tx", "500 5.5.2"),
        (b"NOOP \x07", "501 5.5.4"),
        (b"HELO", "501 5.5.4"),
        (b"EHLO two words", "501 5.5.4"),
        (b"EHLO -", "501 5.5.4"),
        (b"DATA now", "501 5.5.4"),
        (b"QUIT x", "501 5.5.4"),
        (b"VRFY", "501 5.5.4"),
        (b"MAIL", "501 5.5.4"),
        (b"MAIL TO:<a@b>", "501 5.5.4"),
        (b"MAIL FROM: <a@b>", "501 5.1.7"),
        (b"MAIL FROM:a@b", "501 5.1.7"),
        (b"MAIL FROM:<a@b", "501 5.1.7"),
        (b"MAIL FROM:<a@b>x", "501 5.1.7"),
        (b"MAIL FROM:<a b@example.org>", "501 5.1.7"),
        (b"MAIL FROM:<a@b..c>", "501 5.1.7"),
        (b"MAIL FROM:<.a@b>", "501 5.1.7"),
        (b"MAIL FROM:<a@-b>", "501 5.1.7"),
        (b"MAIL FROM:<\xc3\xa9@b>", "501 5.1.7"),
        (b"MAIL FROM:<" + b"x" * 65 + b"@example.org>", "501 5.1.7"),
        (b"MAIL FROM:<x@" + b"y" * 260 + b">", "501 5.1.7"),
        (b"RCPT TO:<>", "501 5.1.3"),
        (b"RCPT TO:<|/bin/sh>", "501 5.1.3"),
        (b"MAIL FROM:<a@b> SIZE=1", "555 5.5.4"),
        (b"AUTH PLAIN", "502 5.5.1"),
    ],
)
def test_bad(line: bytes, reply: str) -> None:
    with pytest.raises(CommandError) as error:
        parse(line, NONE)
    assert error.value.reply.startswith(reply)


@pytest.mark.parametrize(
    ("line", "parameters"),
    [
        (b"MAIL FROM:<a@b> SIZE=100 BODY=8BITMIME", {"SIZE": b"100", "BODY": b"8BITMIME"}),
        (b"MAIL FROM:<a@b> size=0", {"SIZE": b"0"}),
        (b"MAIL FROM:<\xc3\xa9@b\xc3\xbc.example> SMTPUTF8", {"SMTPUTF8": b""}),
        (b"MAIL FROM:<a@b> RET=HDRS ENVID=x AUTH=<>", {"RET": b"HDRS", "ENVID": b"x", "AUTH": b"<>"}),
        (b"RCPT TO:<a@b> NOTIFY=NEVER ORCPT=rfc822;a@b", {"NOTIFY": b"NEVER", "ORCPT": b"rfc822;a@b"}),
        (b"MAIL FROM:<a@b> SIZE=ten", None),
        (b"MAIL FROM:<a@b> SIZE", None),
        (b"MAIL FROM:<a@b> SIZE=123456789012345678901", None),
        (b"MAIL FROM:<a@b> SIZE=1 SIZE=2", None),
        (b"MAIL FROM:<a@b> BODY=BINARYMIME", None),
        (b"MAIL FROM:<a@b> X=1", None),
        (b"RCPT TO:<a@b> SIZE=1", None),
        (b"MAIL FROM:<a@b> =1", None),
    ],
)
def test_parameters(line: bytes, parameters: dict[str, bytes] | None) -> None:
    if parameters is None:
        with pytest.raises(CommandError):
            parse(line, ALL)
    else:
        assert parse(line, ALL).parameters == parameters


@pytest.mark.parametrize(
    ("argument", "good"),
    [
        (b"PLAIN", True),
        (b"PLAIN =", True),
        (b"PLAIN AGEAYg==", True),
        (b"PLAIN A", False),
        (b"", False),
        (b"\xff", False),
    ],
)
def test_auth(argument: bytes, good: bool) -> None:
    if good:
        assert parse(b"AUTH " + argument, ALL).argument == argument
        return
    with pytest.raises(CommandError):
        parse(b"AUTH " + argument, ALL)


@pytest.mark.parametrize(("text", "good"), [(b"", True), (b"*", True), (b"YWJj", True), (b"YWJ", False), (b"-", False)])
def test_base64(text: bytes, good: bool) -> None:
    assert is_base64(text) is good


def test_limits() -> None:
    """RFC 5321, 4.5.3.1.4; more where an extension grants more."""
    assert [limit_of(line) for line in (b"NOOP", b"x", b"mail FROM", b"RCPT", b"AUTH ")] == [
        512,
        512,
        1165,
        1012,
        12288,
    ]


@given(line=st.binary(max_size=80) | st.from_regex(rb"(MAIL FROM|RCPT TO):<[ -~]{0,30}>( [A-Z]{0,6}=?[0-9]{0,3})?"))
def test_nothing_else_is_raised(line: bytes) -> None:
    reply = ""
    try:
        assert isinstance(parse(line, ALL), Command)
    except CommandError as error:
        reply = error.reply
    assert reply[:3] in ("", "500", "501", "502", "555")
