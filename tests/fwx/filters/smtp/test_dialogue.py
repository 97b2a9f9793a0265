"""The conversation: what passes, what is refused with which reply, and in which order the client gets its replies."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwx.filters.dialogue import State
from fwx.filters.smtp.body import Limits
from fwx.filters.smtp.dialogue import MOST_WAITING, Dialogue, Rules

RULES = Rules(
    Limits(1000, 1000, None, None),
    frozenset({"VRFY"}),
    frozenset({"SIZE", "PIPELINING", "8BITMIME", "AUTH", "STARTTLS", "SMTPUTF8", "DSN"}),
    recipients=3,
    errors=5,
)
EHLO = b"250-mail\r\n250-SIZE 5000\r\n250-PIPELINING\r\n250-AUTH PLAIN\r\n250-STARTTLS\r\n250 8BITMIME\r\n"


def taken(dialogue: Dialogue) -> tuple[bytes, bytes]:
    """What is to be sent to the server and to the client."""
    dialogue.go_on()
    sent = bytes(dialogue.to_server), bytes(dialogue.to_client)
    dialogue.to_server.clear()
    dialogue.to_client.clear()
    return sent


def opened(rules: Rules = RULES, ehlo: bytes = EHLO) -> Dialogue:
    """A dialogue that has come to the reply to EHLO."""
    dialogue = Dialogue(rules)
    dialogue.from_server(b"220 mail\r\n")
    dialogue.from_client(b"EHLO me\r\n")
    dialogue.from_server(ehlo)
    taken(dialogue)
    return dialogue


def say(dialogue: Dialogue, line: bytes, reply: bytes = b"") -> tuple[bytes, bytes]:
    dialogue.from_client(line)
    if reply:
        dialogue.from_server(reply)
    return taken(dialogue)


def in_data(rules: Rules = RULES) -> Dialogue:
    dialogue = opened(rules)
    say(dialogue, b"MAIL FROM:<a@b>\r\n", b"250 ok\r\n")
    say(dialogue, b"RCPT TO:<c@d>\r\n", b"250 ok\r\n")
    assert say(dialogue, b"DATA\r\n", b"354 go\r\n") == (b"DATA\r\n", b"354 go\r\n")
    return dialogue


def test_a_whole_message() -> None:
    dialogue = in_data()
    assert say(dialogue, b"Subject: x\r\n\r\nhello\r\n..\r\n.\r\n")[0] == b"Subject: x\r\n\r\nhello\r\n..\r\n.\r\n"
    assert dialogue.state is State.COMMANDS
    dialogue.from_server(b"250 queued\r\n")
    assert taken(dialogue) == (b"", b"250 queued\r\n")
    assert say(dialogue, b"QUIT\r\n", b"221 bye\r\n") == (b"QUIT\r\n", b"221 bye\r\n")
    assert not dialogue.notes


def test_pipelining() -> None:
    """Our replies come in their turn, behind the server's to what was sent before (RFC 2920, 3.1)."""
    dialogue = opened()
    sent = say(dialogue, b"MAIL FROM:<a@b>\r\nRCPT TO:<bad>\r\nRCPT TO:<c@d>\r\nDATA\r\nhello\r\n.\r\nQUIT\r\n")
    assert sent == (b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", b"")
    assert dialogue.held
    dialogue.from_server(b"250 sender\r\n")
    assert taken(dialogue) == (b"", b"250 sender\r\n501 5.1.3 Bad address syntax\r\n")
    dialogue.from_server(b"250 recipient\r\n")
    assert taken(dialogue) == (b"", b"250 recipient\r\n")
    dialogue.from_server(b"354 go\r\n")
    assert taken(dialogue) == (b"hello\r\n.\r\nQUIT\r\n", b"354 go\r\n")
    dialogue.from_server(b"250 queued\r\n221 bye\r\n")
    assert taken(dialogue) == (b"", b"250 queued\r\n221 bye\r\n")


def test_what_was_to_be_a_message_is_commands_when_data_is_refused() -> None:
    dialogue = opened()
    say(dialogue, b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", b"250 ok\r\n550 no\r\n")
    assert say(dialogue, b"DATA\r\nRSET\r\n", b"503 no recipients\r\n") == (
        b"DATA\r\nRSET\r\n",
        b"503 no recipients\r\n",
    )


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"VRFY root\r\n", b"502 5.5.1"),
        (b"BDAT 4\r\n", b"500 5.5.2"),
        (b"RCPT TO:<c@d>\r\n", b"503 5.5.1"),
        (b"DATA\r\n", b"503 5.5.1"),
        (b"MAIL FROM:<a@b> SIZE=1001\r\n", b"552 5.3.4"),
        (b"MAIL FROM:<a@b> RET=HDRS\r\n", b"555 5.5.4"),
        (b"FOO\r\n", b"500 5.5.2"),
        (b"MAIL FROM:a\r\n", b"501 5.1.7"),
    ],
)
def test_refused_and_on(line: bytes, reply: bytes) -> None:
    dialogue = opened()
    to_server, to_client = say(dialogue, line)
    assert (to_server, to_client[:9]) == (b"", reply)
    assert len(dialogue.notes) == 1
    assert say(dialogue, b"NOOP\r\n", b"250 ok\r\n") == (b"NOOP\r\n", b"250 ok\r\n")


def test_before_the_greeting() -> None:
    """The client's hello may come early; our refusal waits for the server's greeting."""
    dialogue = Dialogue(RULES)
    assert say(dialogue, b"MAIL FROM:<a@b>\r\n") == (b"", b"")
    dialogue.from_server(b"220 mail\r\n")
    assert taken(dialogue) == (b"", b"220 mail\r\n503 5.5.1 Send EHLO first\r\n")


@pytest.mark.parametrize(
    "line", [b"NOOP\n", b"NO\x00OP\r\n", b"NO\rOP\r\n", b"NOOP" + b"x" * 510, b"x" * 600 + b"\r\n"]
)
def test_lines_that_end_the_connection(line: bytes) -> None:
    dialogue = opened()
    to_server, to_client = say(dialogue, line + b"MAIL FROM:<a@b>\r\n")
    assert to_server == b""
    assert to_client.startswith(b"500 5.5.2 Syntax error: a")
    assert (dialogue.over, len(dialogue.notes)) == (True, 1)
    assert say(dialogue, b"MAIL FROM:<a@b>\r\n") == (b"", b"")


def test_what_was_asked_before_is_still_answered() -> None:
    dialogue = opened()
    assert say(dialogue, b"NOOP\r\nNOOP\n") == (b"NOOP\r\n", b"")
    assert not dialogue.over
    dialogue.from_server(b"250 ok\r\n")
    assert taken(dialogue) == (b"", b"250 ok\r\n500 5.5.2 Syntax error: a bare LF in a line\r\n")
    assert dialogue.over


def test_the_server_that_does_not_answer_before_the_end() -> None:
    dialogue = opened()
    say(dialogue, b"NOOP\r\nNOOP\n")
    dialogue.give_up()
    dialogue.give_up()
    assert taken(dialogue) == (b"", b"500 5.5.2 Syntax error: a bare LF in a line\r\n")
    assert dialogue.over


def test_too_many_errors() -> None:
    dialogue = opened()
    said = [say(dialogue, b"FOO\r\n")[1][:3] for _ in range(RULES.errors)]
    assert said == [b"500"] * (RULES.errors - 1) + [b"421"]
    assert dialogue.over


def test_too_many_recipients() -> None:
    dialogue = opened()
    say(dialogue, b"MAIL FROM:<a@b>\r\n", b"250 ok\r\n")
    said = [say(dialogue, b"RCPT TO:<c@d>\r\n", b"250 ok\r\n" if n < 3 else b"")[1][:3] for n in range(4)]
    assert said == [b"250"] * 3 + [b"452"]


def test_a_sender_that_the_server_refuses_begins_no_transaction() -> None:
    dialogue = opened()
    say(dialogue, b"MAIL FROM:<a@b>\r\n", b"550 no\r\n")
    assert say(dialogue, b"RCPT TO:<c@d>\r\n")[1][:3] == b"503"
    say(dialogue, b"MAIL FROM:<a@b>\r\nRSET\r\nMAIL FROM:<a@c>\r\n")
    dialogue.from_server(b"550 no\r\n250 reset\r\n")
    assert say(dialogue, b"RCPT TO:<c@d>\r\n")[0] == b"RCPT TO:<c@d>\r\n"
    dialogue.from_server(b"250 ok\r\n250 ok\r\n")
    assert say(dialogue, b"MAIL FROM:<a@b>\r\n")[1].endswith(b"503 5.5.1 MAIL inside a mail transaction\r\n")


def test_extensions() -> None:
    """What is not known, CHUNKING above all, is not offered; the size is the smaller one."""
    dialogue = Dialogue(replace(RULES, refused=frozenset({"STARTTLS"})))
    dialogue.from_server(b"220 mail\r\n")
    ehlo = (
        b"250-mail\r\n250-SIZE 5000\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250-X\r\n250-starttls\r\n250-\r\n250 DSN\r\n"
    )
    assert say(dialogue, b"EHLO me\r\n", ehlo)[1] == b"220 mail\r\n250-mail\r\n250-SIZE 1000\r\n250 DSN\r\n"
    assert say(dialogue, b"STARTTLS\r\n")[1][:3] == b"502"


@pytest.mark.parametrize(("offered", "told"), [(b"SIZE", 1000), (b"SIZE 0", 1000), (b"SIZE 10", 10), (b"SIZE x", 1000)])
def test_the_size_that_is_offered(offered: bytes, told: int) -> None:
    dialogue = Dialogue(RULES)
    dialogue.from_server(b"220 mail\r\n")
    assert say(dialogue, b"EHLO me\r\n", b"250-mail\r\n250 " + offered + b"\r\n")[1].endswith(b"250 SIZE %d\r\n" % told)


def test_helo_offers_nothing() -> None:
    dialogue = opened()
    say(dialogue, b"HELO me\r\n", b"250 mail\r\n")
    assert say(dialogue, b"MAIL FROM:<a@b> SIZE=1\r\n")[1][:3] == b"555"


HELLO = b"\x16\x03\x01\x02\x00\x01"


def test_starttls() -> None:
    """Behind it everything passes, as soon as it looks like TLS."""
    dialogue = opened()
    assert say(dialogue, b"STARTTLS\r\n", b"220 go\r\n") == (b"STARTTLS\r\n", b"220 go\r\n")
    assert (dialogue.state, dialogue.secured) == (State.TLS, False)
    assert say(dialogue, HELLO[:1]) == (b"", b"")
    assert say(dialogue, HELLO[1:])[0] == HELLO
    assert dialogue.secured


def test_starttls_refused() -> None:
    dialogue = opened()
    assert say(dialogue, b"STARTTLS\r\n", b"454 not now\r\n")[1] == b"454 not now\r\n"
    assert say(dialogue, b"NOOP\r\n")[0] == b"NOOP\r\n"


@pytest.mark.parametrize(
    "inject",
    [
        lambda dialogue: say(dialogue, b"STARTTLS\r\nMAIL FROM:<a@b>\r\n"),
        lambda dialogue: say(dialogue, b"STARTTLS\r\n" + HELLO),
        lambda dialogue: (say(dialogue, b"STARTTLS\r\n"), say(dialogue, b"M")),
        lambda dialogue: (say(dialogue, b"STARTTLS\r\n"), say(dialogue, HELLO)),
        lambda dialogue: (say(dialogue, b"STARTTLS\r\n", b"220 go\r\n"), say(dialogue, b"MAIL FROM:<a@b>\r\n")),
        lambda dialogue: (say(dialogue, b"STARTTLS\r\n", b"220 go\r\n"), say(dialogue, b"\x16\x02")),
    ],
)
def test_injection_behind_starttls(inject: Callable[[Dialogue], object]) -> None:
    """CVE-2011-0411: neither the server of today nor the one behind TLS gets it."""
    dialogue = opened()
    inject(dialogue)
    assert (dialogue.over, dialogue.secured) == (True, False)
    assert dialogue.notes == ["commands in the clear behind STARTTLS"]
    assert not dialogue.to_server


@pytest.mark.parametrize("late", [b"220 go\r\n250 injected\r\n", b"220 go\r\n2"])
def test_a_server_that_says_more_behind_its_reply_to_starttls(late: bytes) -> None:
    dialogue = opened()
    assert say(dialogue, b"STARTTLS\r\n", late)[1].startswith(b"421 4.3.0")
    assert dialogue.over


def test_a_server_that_speaks_before_tls() -> None:
    dialogue = opened()
    say(dialogue, b"STARTTLS\r\n", b"220 go\r\n")
    dialogue.from_server(b"250 injected\r\n")
    assert taken(dialogue)[1].startswith(b"421 4.3.0")
    assert dialogue.over


def test_authentication() -> None:
    dialogue = opened()
    assert say(dialogue, b"AUTH LOGIN\r\nYWJj\r\n", b"334 VXNlcg==\r\n") == (
        b"AUTH LOGIN\r\nYWJj\r\n",
        b"334 VXNlcg==\r\n",
    )
    dialogue.from_server(b"334 UGFzcw==\r\n")
    assert say(dialogue, b"YWJj\r\n", b"235 welcome\r\n") == (b"YWJj\r\n", b"334 UGFzcw==\r\n235 welcome\r\n")
    assert say(dialogue, b"NOOP\r\n")[0] == b"NOOP\r\n"


def test_no_base64() -> None:
    dialogue = opened()
    say(dialogue, b"AUTH LOGIN\r\n", b"334 VXNlcg==\r\n")
    assert say(dialogue, b"MAIL FROM:<a@b>\r\n")[1][:3] == b"501"
    assert dialogue.over


def test_a_long_response() -> None:
    dialogue = opened()
    say(dialogue, b"AUTH GSSAPI\r\n", b"334 \r\n")
    assert len(say(dialogue, b"YWJj" * 3000 + b"\r\n")[0]) == 12002


@pytest.mark.parametrize(
    "said",
    [b"hello\r\n", b"250 ok\n", b"250 \x00\r\n", b"250-a\r\n251 b\r\n", b"250 ok\r\n250 ok\r\n", b"354 go\r\n",
     b"199 x\r\n", b"250-a\r\n" * 200, b"250 " + b"x" * 2000],
)  # fmt: skip
def test_a_server_that_is_none(said: bytes) -> None:
    dialogue = opened()
    _, to_client = say(dialogue, b"NOOP\r\n", said)
    assert to_client.endswith(b"421 4.3.0 The server is out of order\r\n")
    assert dialogue.over
    assert dialogue.notes[0].startswith("the server: ")


def test_data_without_an_invitation() -> None:
    dialogue = opened()
    say(dialogue, b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", b"250 ok\r\n250 ok\r\n")
    assert b"421 4.3.0" in say(dialogue, b"DATA\r\n", b"250 ok\r\n")[1]


def test_the_server_says_good_bye_at_any_time() -> None:
    dialogue = in_data()
    dialogue.from_server(b"421 timeout\r\n")
    assert taken(dialogue) == (b"", b"421 timeout\r\n")
    assert not dialogue.over


def test_a_flood_waits() -> None:
    """Pipelined commands without end: so many are on their way, no more."""
    dialogue = opened()
    dialogue.from_client(b"NOOP\r\n" * 10000)
    assert taken(dialogue)[0] == b"NOOP\r\n" * MOST_WAITING
    assert dialogue.held
    dialogue.from_server(b"250 ok\r\n")
    assert taken(dialogue) == (b"NOOP\r\n", b"250 ok\r\n")


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        (b"x" * 600 + b"\r\n" + b"x" * 600 + b"\r\n.\r\n", b"552 5.3.4"),
        (b"hello\n.\nMAIL FROM:<x@y>\r\n.\r\n", b"554 5.6.0"),
        (b"hello\r\n.\nMAIL FROM:<x@y>\r\n.\r\n", b"554 5.6.0"),
        (b"a\x00b\r\n.\r\n", b"554 5.6.0"),
    ],
)
def test_a_message_that_is_refused_has_no_end(text: bytes, reply: bytes) -> None:
    dialogue = in_data()
    to_server, to_client = say(dialogue, text)
    assert not re.search(rb"(^|\n)\.\r?\n", to_server)
    assert (to_client[:9], dialogue.over, len(dialogue.notes)) == (reply, True, 1)


SCRIPT = (
    b"EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nFOO\r\nDATA\r\nSubject: x\r\n\r\n..\r\nbye\r\n.\r\nVRFY x\r\n"
    b"MAIL FROM:<>\r\nRSET\r\nNOOP\r\nQUIT\r\n"
)


def converse(pieces: list[bytes], cut_replies: bool = False) -> tuple[bytes, bytes, list[str], bool]:
    """Have a real server's manners answer each command as it comes; return what each side got."""
    dialogue = Dialogue(RULES)
    got, told, unread, in_text = b"", b"", b"", False
    answers = b"220 hi\r\n"
    for piece in [b"", *pieces]:
        if not dialogue.over:
            dialogue.from_client(piece)
        while True:
            to_server, to_client = taken(dialogue)
            got, told, unread = got + to_server, told + to_client, unread + to_server
            while b"\r\n" in unread:
                line, _, unread = unread.partition(b"\r\n")
                if in_text:
                    in_text = line != b"."
                    answers += b"" if in_text else b"250 queued\r\n"
                else:
                    in_text = line == b"DATA"
                    answers += {b"EHLO": EHLO, b"DATA": b"354 go\r\n", b"QUIT": b"221 bye\r\n"}.get(
                        line[:4], b"250 ok\r\n"
                    )
            if not answers or dialogue.over:
                break
            for part in [answers[n : n + 1] for n in range(len(answers))] if cut_replies else [answers]:
                dialogue.from_server(part)
            answers = b""
    return got, told, dialogue.notes, dialogue.over


def test_the_script() -> None:
    got, told, notes, over = converse([SCRIPT])
    assert got == SCRIPT.replace(b"FOO\r\n", b"").replace(b"VRFY x\r\n", b"")
    codes = [line[:3] for line in told.split(b"\r\n")[:-1] if line[3:4] == b" "]
    assert codes == b"220 250 250 250 500 354 250 502 250 250 250 221".split()
    assert (len(notes), over) == (2, False)


def test_every_cut_is_the_same() -> None:
    whole = converse([SCRIPT])
    assert converse([SCRIPT[n : n + 1] for n in range(len(SCRIPT))], cut_replies=True) == whole
    for place in range(len(SCRIPT)):
        assert converse([SCRIPT[:place], SCRIPT[place:]]) == whole


LINES = st.sampled_from(
    [b"EHLO me", b"HELO me", b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA", b".", b"..", b"text", b"RSET", b"NOOP",
     b"AUTH PLAIN", b"YWJj", b"*", b"STARTTLS", b"QUIT", b"BDAT 3", b"\x16\x03\x01", b"MAIL FROM:<a@b> SIZE=99999"]
)  # fmt: skip
ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\x00\r\n", b""])


@given(said=st.lists(st.tuples(LINES, ENDS).map(b"".join), max_size=14), cuts=st.lists(st.integers(0, 200), max_size=3))
def test_any_conversation_is_the_same_however_it_is_cut(said: list[bytes], cuts: list[int]) -> None:
    """And the server never gets a line that ends otherwise than with CRLF."""
    data = b"EHLO me\r\n" + b"".join(said)
    if b"STARTTLS" in data:  # what counts there is what has come at that moment
        data = data.partition(b"STARTTLS")[0]
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    whole = converse([data])
    cut = converse([data[start:stop] for start, stop in itertools.pairwise(edges)])
    assert whole[3] == cut[3]
    if not whole[3]:
        assert whole == cut
    for got in (whole[0], cut[0]):
        assert b"\x00" not in got
        assert got.count(b"\r") == got.count(b"\n") == got.count(b"\r\n")


@given(said=st.binary(max_size=300), heard=st.binary(max_size=200))
def test_noise(said: bytes, heard: bytes) -> None:
    dialogue = opened()
    dialogue.from_client(said)
    dialogue.from_server(heard)
    to_server, _ = taken(dialogue)
    assert b"\x00" not in to_server
